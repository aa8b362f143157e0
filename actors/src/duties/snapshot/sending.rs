//! The active's side of [`super`]: it has one snapshot made at a time, and keeps it, and the journal behind it, as long as the other
//! sub-node wants it.

use super::{PART_BYTES_MAX, Parcel, Progress, SENT, Stage, UNDER_WAY_BYTES_MAX};
use crate::{
    clock,
    duties::{Happening, desk::Desk},
    snapshot::{self, Snapshot},
};
use hansa_core::{mirror::pair::State, moment::Moment};
use serde_bytes::ByteBuf;
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// How long a snapshot is kept for a sub-node that says nothing of it, and the journal for one that takes nothing.
const KEPT_MS: u64 = 600_000;

/// See above.
pub(in crate::duties) struct Sending {
    path: PathBuf,
    /// The last question that a snapshot answers.
    asked: Option<Asked>,
    state: Making,
    /// The journal keeps what is behind a snapshot: since when the other sub-node has acknowledged this, and nothing more.
    keeping: Option<(u64, Moment)>,
}

#[derive(Clone, Copy)]
struct Asked {
    epoch: u64,
    nonce: u64,
}

enum Making {
    /// Nobody wants one.
    Nothing,
    /// It is being made.
    Begun,
    /// It is there.
    Made(Box<Made>),
}

struct Made {
    snapshot: Snapshot,
    file: File,
    /// How much was sent of it, and how much of that arrived.
    sent: u64,
    had: u64,
    /// When the other sub-node last wanted it.
    wanted: Moment,
}

impl Sending {
    pub(in crate::duties) fn new(folder: &Path) -> Self {
        Self { path: folder.join(SENT), asked: None, state: Making::Nothing, keeping: None }
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        self.asked?;
        match &self.state {
            Making::Nothing => None,
            Making::Begun => Some(Progress { stage: Stage::Making, bytes: 0, of: 0 }),
            Making::Made(made) => {
                Some(Progress { stage: Stage::Sending, bytes: made.had, of: made.snapshot.label.bytes })
            }
        }
    }

    /// Nobody wants it. One that is being made is taken away when it is.
    fn drop_made(&mut self) {
        self.asked = None;
        if matches!(self.state, Making::Made(_)) {
            self.state = Making::Nothing;
            snapshot::remove(&self.path);
        }
    }
}

impl Made {
    /// Whether the journal goes on where it ends.
    fn is_of_use(&self, first: u64) -> bool {
        self.snapshot.history.tail().sequence + 1 >= first
    }

    /// The next part, if it may be sent by now.
    fn next(&mut self) -> io::Result<Option<Parcel>> {
        let label = self.snapshot.label;
        let end = label.bytes.min(self.had.saturating_add(UNDER_WAY_BYTES_MAX));
        let bytes = end.saturating_sub(self.sent).min(PART_BYTES_MAX as u64);
        if bytes == 0 {
            return Ok(None);
        }
        let mut part = vec![0; usize::try_from(bytes).unwrap_or(PART_BYTES_MAX)];
        self.file.read_exact_at(&mut part, self.sent)?;
        let offset = self.sent;
        self.sent += bytes;
        Ok(Some(Parcel::Part { hash: label.hash, offset, bytes: ByteBuf::from(part) }))
    }
}

impl Desk {
    /// The follower asked for what the journal does not keep any more, perhaps once more. What is there, or is being made, answers
    /// this question too: the follower takes the answer to an earlier one.
    pub(in crate::duties) fn want_snapshot(&mut self, epoch: u64, nonce: u64) {
        self.sending.asked = Some(Asked { epoch, nonce });
        let first = self.journal.first();
        match &self.sending.state {
            Making::Begun => return,
            Making::Made(made) if made.is_of_use(first) => return self.offer(),
            Making::Made(_) | Making::Nothing => {}
        }
        self.sending.state = Making::Begun;
        self.sending.keeping = Some((0, clock::steady()));
        self.happen(Happening::MakeSnapshot { path: self.sending.path.clone() });
    }

    /// It was made, or could not be; then the follower asks again.
    pub(in crate::duties) fn snapshot_made(&mut self, made: Option<Snapshot>) {
        self.sending.state = Making::Nothing;
        let opened = made.and_then(|snapshot| match File::open(&self.sending.path) {
            Ok(file) => Some((snapshot, file)),
            Err(error) => {
                tracing::warn!(%error, "the snapshot for the other sub-node cannot be read");
                None
            }
        });
        let Some((snapshot, file)) = opened.filter(|_| self.sending.asked.is_some()) else {
            snapshot::remove(&self.sending.path);
            return self.keep_no_more();
        };
        tracing::info!(bytes = snapshot.label.bytes, "a snapshot for the other sub-node is ready");
        let made = Made { snapshot, file, sent: 0, had: 0, wanted: clock::steady() };
        self.sending.state = Making::Made(Box::new(made));
        self.offer();
    }

    fn offer(&mut self) {
        let (Some(Asked { epoch, nonce }), Making::Made(made)) = (self.sending.asked, &mut self.sending.state) else {
            return;
        };
        made.wanted = clock::steady();
        let Snapshot { history, label } = made.snapshot.clone();
        self.tell_of_snapshot(Parcel::Offered { epoch, nonce, history, label });
    }

    pub(super) fn had(&mut self, hash: [u8; 32], through: u64, again: bool) {
        let Making::Made(made) = &mut self.sending.state else { return };
        let label = made.snapshot.label;
        // Of another, or more than there is.
        if label.hash != hash || through > label.bytes || (through > made.sent && !again) {
            return;
        }
        made.wanted = clock::steady();
        if again {
            (made.had, made.sent) = (through, through);
        }
        made.had = made.had.max(through);
        loop {
            let Making::Made(made) = &mut self.sending.state else { return };
            match made.next() {
                Ok(Some(part)) => self.tell_of_snapshot(part),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "the snapshot for the other sub-node cannot be read: it is made anew");
                    self.sending.drop_made();
                    return self.keep_no_more();
                }
            }
        }
    }

    pub(super) fn refused(&mut self, hash: [u8; 32]) {
        if let Making::Made(made) = &self.sending.state
            && made.snapshot.label.hash == hash
        {
            tracing::warn!("the snapshot did not arrive as it was made: it is made anew when it is asked for again");
            self.sending.drop_made();
            self.keep_no_more();
        }
    }

    /// The logs met: the follower needs no snapshot, and takes what is behind it.
    pub(in crate::duties) fn want_no_snapshot(&mut self) {
        self.sending.drop_made();
        if let Some((_, since)) = &mut self.sending.keeping {
            *since = clock::steady();
        }
    }

    pub(super) fn tend_sending(&mut self) {
        let (picture, now, first) = (self.pair.picture(), clock::steady(), self.journal.first());
        let (serves, state, acknowledged) = (picture.state.serves(), picture.state, picture.acknowledged);
        match &self.sending.state {
            Making::Made(made) if !serves || !made.is_of_use(first) || now.since_ms(made.wanted) >= KEPT_MS => {
                tracing::info!("the snapshot for the other sub-node is not of use any more");
                self.sending.drop_made();
                self.keep_no_more();
            }
            Making::Made(_) => {}
            Making::Begun if serves => {}
            Making::Begun => self.sending.asked = None,
            Making::Nothing => {
                let Some((reached, since)) = self.sending.keeping else { return };
                if !serves || state == State::ActivePair || now.since_ms(since) >= KEPT_MS {
                    self.keep_no_more();
                } else if acknowledged > reached {
                    self.sending.keeping = Some((acknowledged, now));
                    self.journal.keep_from(Some(acknowledged + 1));
                }
            }
        }
    }

    fn keep_no_more(&mut self) {
        self.sending.keeping = None;
        self.journal.keep_from(None);
    }
}
