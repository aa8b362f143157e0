//! What the journal's writer did and the duties have not looked at: the ends of what was sealed, and what is durable. It decides that
//! many batches may become one look, so that neither waits for the other and nothing piles up.

use super::{Arrival, desk::Desk, room::Room};
use crate::journal::{Waking, Watch};
use hansa_core::mirror::Position;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio::{runtime::Handle, task::yield_now};

/// See above.
pub(super) struct Seen {
    room: Arc<Room<Desk>>,
    news: Mutex<News>,
    /// Whether what is sealed is sent at once: acknowledgements wait for the other sub-node.
    is_paired: AtomicBool,
}

#[derive(Default)]
struct News {
    ends: Vec<Position>,
    synced: Option<Position>,
}

impl Seen {
    pub(super) fn new(room: Arc<Room<Desk>>) -> Self {
        Self { room, news: Mutex::default(), is_paired: AtomicBool::new(false) }
    }

    /// What was sealed since, and what the disk has, if that is new. At once: what is left here says that somebody comes to look.
    pub(super) fn take(&self) -> (Vec<Position>, Option<Position>) {
        let news = std::mem::take(&mut *self.news());
        (news.ends, news.synced)
    }

    /// Whether acknowledgements wait for the other sub-node from now on.
    pub(super) fn set_paired(&self, is_paired: bool) {
        self.is_paired.store(is_paired, Ordering::Relaxed);
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

    fn sealed_ahead(&self, waking: Waking) {
        if self.is_paired.load(Ordering::Relaxed) {
            drop_behind_others(waking);
        }
    }

    fn synced(&self, durable: Position) {
        self.note(|news| news.synced = Some(durable));
    }
}

/// Drop it when the tasks that were woken before have had their turn, as those that send what was sealed; at once if no tasks run here.
fn drop_behind_others(it: impl Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            yield_now().await;
            drop(it);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::sync::Notify;

    struct Dropped(mpsc::Sender<&'static str>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send("the writer is woken");
        }
    }

    #[tokio::test]
    async fn the_writer_is_woken_behind_the_task_that_sends_and_the_one_that_it_hands_on_to() {
        let (done, order) = mpsc::channel();
        let (link, connection) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        tokio::spawn({
            let (done, link, connection) = (done.clone(), Arc::clone(&link), Arc::clone(&connection));
            async move {
                link.notified().await;
                done.send("the link has it").unwrap();
                connection.notify_one();
            }
        });
        let sent = tokio::spawn({
            let done = done.clone();
            async move {
                connection.notified().await;
                done.send("it is sent").unwrap();
            }
        });
        yield_now().await;
        link.notify_one();
        drop_behind_others(Dropped(done));
        sent.await.unwrap();
        yield_now().await;
        let order: Vec<_> = order.try_iter().collect();
        assert_eq!(order, ["the link has it", "it is sent", "the writer is woken"]);
    }

    #[test]
    fn where_no_tasks_run_the_writer_is_woken_at_once() {
        let (done, order) = mpsc::channel();
        drop_behind_others(Dropped(done));
        assert_eq!(order.try_iter().count(), 1);
    }
}
