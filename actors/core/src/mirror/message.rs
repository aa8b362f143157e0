//! What the members of a pair and their witnesses send each other, as `docs/protocols/mirror.md` describes it. Whoever carries a
//! message has proved which sub-node it comes from; nothing else is taken on trust.

use super::{
    configuration::{Ballot, Certified, Configuration, MemberId, Seal},
    entry::{Entry, packed},
};
use crate::ident::OrganizationId;
use serde::{Deserialize, Serialize};

/// Epochs of a log's history that are told; who is further behind gets a snapshot.
pub const HISTORY_EPOCHS_MAX: usize = 256;

/// A place in a log. Two logs that have the same position are the same up to it, for the hash covers all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The entry's number; zero is before the first.
    pub sequence: u64,
    /// The epoch in which it was written.
    pub epoch: u64,
    /// Its hash.
    #[serde(with = "serde_bytes")]
    pub hash: [u8; 32],
}

/// How long a log's epochs reach: for each epoch that wrote entries, the last of them. Ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History(pub Vec<Position>);

impl History {
    /// The last entry.
    #[must_use]
    pub fn tail(&self) -> Position {
        self.0.last().copied().unwrap_or_default()
    }

    /// The log goes on to here.
    pub fn extend(&mut self, to: Position) {
        match self.0.last_mut() {
            Some(last) if last.epoch == to.epoch => *last = to,
            _ => self.0.push(to),
        }
        if self.0.len() > HISTORY_EPOCHS_MAX {
            self.0.remove(0);
        }
    }

    /// The log is cut behind this position, which it has.
    pub fn cut(&mut self, to: Position) {
        self.0.retain(|last| last.sequence <= to.sequence);
        if to.sequence > 0 && self.tail() != to {
            self.0.push(to);
        }
    }

    /// The epoch in which the log wrote an entry.
    #[must_use]
    pub fn epoch_of(&self, sequence: u64) -> Option<u64> {
        self.0.iter().find(|last| last.sequence >= sequence).map(|last| last.epoch)
    }

    /// Whether it reaches back to the log's first entry.
    fn is_whole(&self) -> bool {
        self.0.len() < HISTORY_EPOCHS_MAX
    }

    /// The last entry that both logs have. An epoch has one writer, whose log only grows within it: of what both wrote in the
    /// same epoch, the shorter is a beginning of the longer.
    #[must_use]
    pub fn fork(&self, other: &Self) -> Option<Fork> {
        let theirs = |epoch| other.0.iter().find(|last| last.epoch == epoch);
        let common = self.0.iter().rev().find_map(|own| Some((own, theirs(own.epoch)?)));
        match common {
            Some((own, theirs)) => Some(Fork { sequence: own.sequence.min(theirs.sequence), epoch: own.epoch }),
            None if self.0.is_empty() || other.0.is_empty() => Some(Fork::default()),
            // Each reaches back to its first entry, and these were written in different epochs already.
            None if self.is_whole() && other.is_whole() => Some(Fork::default()),
            // One of them remembers less far back than the other reaches.
            None => None,
        }
    }
}

/// Where two logs part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fork {
    /// The last entry that both have.
    pub sequence: u64,
    /// Its epoch.
    pub epoch: u64,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The active's entries behind a position.
    Append {
        /// The sender's epoch.
        epoch: u64,
        /// The entry before the first.
        previous: Position,
        /// The entries.
        #[serde(with = "packed")]
        entries: Vec<Entry>,
        /// Up to where entries count.
        committed: u64,
    },
    /// The follower's disk has everything up to here.
    AppendAck {
        /// The sender's epoch.
        epoch: u64,
        /// Who it is: what another disk had, under the same key, this one does not have.
        member: MemberId,
        /// Up to where.
        durable: Position,
    },
    /// The active is there.
    Beat {
        /// The sender's epoch.
        epoch: u64,
        /// Which of its beats.
        nonce: u64,
        /// Whether the active has a follower that it sends to; one that takes itself for that asks again.
        knows: bool,
        /// Up to where entries were sent.
        sent: u64,
        /// Up to where entries count.
        committed: u64,
    },
    /// The follower heard it; a mirror waits.
    BeatAck {
        /// The sender's epoch.
        epoch: u64,
        /// Who it is: only the mirror's word is a lease.
        member: MemberId,
        /// Which beat.
        nonce: u64,
        /// Whether its machines take in what counts, so that it could serve.
        fit: bool,
        /// How long it waits behind a beat until it takes over: no lease of this beat may last so long.
        grace_ms: u64,
    },
    /// What holds now, for one who seems not to know it.
    Configured(Box<Certified>),
    /// The sender is behind: it knows of nothing later than this epoch.
    Behind {
        /// The sender's epoch.
        epoch: u64,
    },
    /// A follower says what it has, and asks for the rest.
    Join {
        /// The sender's epoch.
        epoch: u64,
        /// Who it is.
        member: MemberId,
        /// What its log is.
        history: History,
        /// Which of its questions this is.
        nonce: u64,
    },
    /// The active's answer: the follower's log is right up to here, and goes on from here.
    Tail {
        /// The sender's epoch.
        epoch: u64,
        /// The last entry that both have.
        fork: Position,
        /// Which question is answered.
        nonce: u64,
    },
    /// The active's answer: the follower needs more than is kept, and gets a snapshot.
    Snapshot {
        /// The sender's epoch.
        epoch: u64,
        /// What the snapshot reflects.
        history: History,
        /// Which question is answered.
        nonce: u64,
        /// The machines, as the active's store has them.
        #[serde(with = "serde_bytes")]
        state: Vec<u8>,
    },
    /// To a witness: promise to accept nothing below this ballot.
    Prepare {
        /// The configuration that the sender goes out from, for a witness that has not heard of it.
        base: Box<Certified>,
        /// The ballot.
        ballot: Ballot,
    },
    /// A witness promised.
    Promise {
        /// The pair.
        pair: OrganizationId,
        /// The epoch that is decided on.
        epoch: u64,
        /// The ballot.
        ballot: Ballot,
        /// Who promised.
        witness: MemberId,
        /// What it accepted before, with the proposer's seal.
        accepted: Option<Box<Accepted>>,
        /// How far the pair's log reached at least, as it was told.
        floor: Position,
    },
    /// To a witness: accept this.
    Accept {
        /// As for a [`Message::Prepare`].
        base: Box<Certified>,
        /// What is proposed.
        proposed: Box<Accepted>,
    },
    /// A witness accepted.
    Accepted {
        /// The pair.
        pair: OrganizationId,
        /// The epoch that is decided on.
        epoch: u64,
        /// The ballot.
        ballot: Ballot,
        /// Who accepted.
        witness: MemberId,
        /// Its seal on the configuration.
        seal: Seal,
    },
    /// A witness promised a higher ballot to another.
    Refused {
        /// The pair.
        pair: OrganizationId,
        /// The epoch that is decided on.
        epoch: u64,
        /// The ballot that it promised.
        promised: Ballot,
    },
    /// To a witness: the pair's log reaches at least to here.
    Floor {
        /// The pair.
        pair: OrganizationId,
        /// The sender's epoch.
        epoch: u64,
        /// Up to where.
        position: Position,
    },
}

/// A configuration that was proposed, and may be decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// At which ballot.
    pub ballot: Ballot,
    /// What.
    pub configuration: Configuration,
    /// The proposer's seal, at the ballot that it was first proposed at or proposed again.
    pub seal: Seal,
}
