//! How a snapshot goes from the active to a sub-node that needs more than the active's journal keeps: through a file on each side, in
//! parts, a few at a time between other words. It decides how many are under way, when one is said again, and when a file is not
//! wanted any more; [`super::desk`] and [`super::talking`] call it. The pair's machine is told of a snapshot when all of it is there
//! and its hash fits, as of one that came whole; what is in it, and how it is put in place, this must not know.
//!
//! The receiver says how far it has it, so whatever is lost, and however often a link breaks, it goes on from there. A sender that
//! has begun anew has another snapshot, or the same one: the hash tells.

mod receiving;
mod sending;

pub(super) use receiving::Receiving;
pub(super) use sending::Sending;

use super::{Word, desk::Desk};
use crate::snapshot::{self, Label};
use hansa_core::{code::Fault, ident::SubnodeId, mirror::History};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::path::Path;

/// Bytes of a snapshot that travel in one word. With more, what comes behind it would wait longer.
pub const PART_BYTES_MAX: usize = 128 * 1024;
/// Bytes that may be under way: so many that an acknowledgement from far away is in time for the next, and no more.
pub const UNDER_WAY_BYTES_MAX: u64 = 16 * PART_BYTES_MAX as u64;
/// The file of the one who sends.
pub const SENT: &str = "snapshot.sent";
/// The file of the one who receives.
pub const RECEIVED: &str = "snapshot.received";

/// What the two say to each other about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parcel {
    /// The active has one that answers this question. Said again whenever it is asked.
    Offered {
        /// The active's epoch.
        epoch: u64,
        /// Which question is answered.
        nonce: u64,
        /// What it reflects.
        history: History,
        /// What it is known by.
        label: Label,
    },
    /// The next part of it.
    Part {
        /// Of which one.
        #[serde(with = "serde_bytes")]
        hash: [u8; 32],
        /// Behind how many bytes.
        offset: u64,
        /// The bytes.
        bytes: ByteBuf,
    },
    /// The receiver has so much of it.
    Had {
        /// Of which one.
        #[serde(with = "serde_bytes")]
        hash: [u8; 32],
        /// How many bytes.
        through: u64,
        /// What was sent behind that is not coming any more: it is to be sent again.
        again: bool,
    },
    /// The receiver has all of it, and it is not what was offered.
    Refused {
        /// Which one.
        #[serde(with = "serde_bytes")]
        hash: [u8; 32],
    },
}

/// How far a snapshot is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is done with it.
    pub stage: Stage,
    /// Bytes that the receiver has.
    pub bytes: u64,
    /// Of how many; zero while that is not known.
    pub of: u64,
}

/// What is done with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The active writes it.
    Making,
    /// The active sends it.
    Sending,
    /// It comes here.
    Receiving,
    /// It is put in the place of what is here.
    Installing,
    /// There is no room for it here.
    NoRoom,
}

impl Desk {
    /// The partner says something of a snapshot.
    pub(super) fn parcel(&mut self, from: SubnodeId, parcel: Parcel) -> Result<(), Fault> {
        if from != self.site.partner {
            return Ok(());
        }
        match parcel {
            Parcel::Offered { epoch, nonce, history, label } => {
                self.offered(receiving::Question { epoch, nonce, history }, label)
            }
            Parcel::Part { hash, offset, bytes } => self.part(hash, offset, &bytes),
            Parcel::Had { hash, through, again } => {
                self.had(hash, through, again);
                Ok(())
            }
            Parcel::Refused { hash } => {
                self.refused(hash);
                Ok(())
            }
        }
    }

    /// What time brings about.
    pub(super) fn tend_snapshots(&mut self) {
        self.tend_sending();
        self.tend_receiving();
    }

    /// How far a snapshot is, if there is one.
    pub(super) fn progress(&self) -> Option<Progress> {
        self.sending.progress().or_else(|| self.receiving.progress())
    }

    fn tell_of_snapshot(&self, parcel: Parcel) {
        if self.linked.contains(&self.site.partner) && !self.stall.is_silent {
            self.carrier.tell(self.site.partner, &Word::Snapshot(Box::new(parcel)));
        }
    }
}

/// What a process before left lying is of no use: nobody knows any more how far it was.
pub(super) fn clear(folder: &Path) {
    for name in [SENT, RECEIVED] {
        snapshot::remove(&folder.join(name));
    }
}
