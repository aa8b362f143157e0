//! What the journal's writer did and the duties have not looked at: the ends of what was sealed, and what is durable. It decides that
//! many batches may become one look, so that neither waits for the other and nothing piles up.

use super::{Arrival, desk::Desk, room::Room};
use crate::journal::Watch;
use hansa_core::mirror::Position;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See above.
pub(super) struct Seen {
    room: Arc<Room<Desk>>,
    news: Mutex<News>,
}

#[derive(Default)]
struct News {
    ends: Vec<Position>,
    synced: Option<Position>,
}

impl Seen {
    pub(super) fn new(room: Arc<Room<Desk>>) -> Self {
        Self { room, news: Mutex::default() }
    }

    /// What was sealed since, and what the disk has, if that is new. At once: what is left here says that somebody comes to look.
    pub(super) fn take(&self) -> (Vec<Position>, Option<Position>) {
        let news = std::mem::take(&mut *self.news());
        (news.ends, news.synced)
    }

    /// What was seen is not true any more.
    pub(super) fn clear(&self) {
        *self.news() = News::default();
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut News)) {
        let mut news = self.news();
        let is_first = news.ends.is_empty() && news.synced.is_none();
        change(&mut news);
        drop(news);
        if is_first {
            self.room.arrive(Arrival::Looked);
        }
    }
}

impl Watch for Seen {
    fn sealed(&self, ends: &[Position]) {
        self.note(|news| {
            for end in ends {
                match news.ends.last_mut() {
                    Some(last) if last.epoch == end.epoch => *last = *end,
                    _ => news.ends.push(*end),
                }
            }
        });
    }

    fn synced(&self, durable: Position) {
        self.note(|news| news.synced = Some(durable));
    }
}
