//! One sub-node's side of a mirrored pair: whether it serves, follows, takes over or waits, by the table in
//! `docs/protocols/mirror.md` (M1 to M4). The shell tells it what its log has and what its partner and the witnesses say; it
//! answers with what counts, what to send and what to cut. It must not know what entries mean, and it never waits.
//!
//! What it stores is small: the last configuration with its proof, how many ballots it used, and how long it said that it waits. All
//! else lives with the process: a restart asks again. That life is copied when something is decided and recorded whole, unjournaled, so that absorbing stays
//! the only mutation.

mod active;
mod follower;
#[cfg(test)]
pub(super) mod pictured;
mod turn;

use super::{
    configuration::{Certified, Configuration, MemberId},
    entry::Entry,
    flaw::Flaw,
    message::{Fork, History, Message, Position},
    register::Proposal,
};
use crate::{
    code::Fault,
    dice::Dice,
    ident::SubnodeId,
    machine::{Decision, Machine},
    moment::Moment,
};
pub use active::BEATS_MAX;
use ed25519_dalek::SigningKey;
pub use follower::UNANSWERED_MAX;
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, sync::Arc};
use turn::Turn;

/// What the active does when its mirror is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnMirrorLost {
    /// Serve alone, as soon as the witnesses hold that it is alone.
    #[default]
    Solo,
    /// Acknowledge nothing until the mirror is back.
    Halt,
}

/// How soon things are noticed. Nothing but speed depends on them, as long as a lease is shorter than the grace by more than two
/// clocks drift apart in it; that it is shorter than the other's grace as well is seen to by [`Timing::within`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two beats of the active.
    pub beat_ms: u64,
    /// How long after a beat that was answered the active may take it that nobody else is.
    pub lease_ms: u64,
    /// How long after a beat the mirror waits until it takes over.
    pub grace_ms: u64,
    /// After how long a question is asked again.
    pub retry_ms: u64,
    /// Between two floors that witnesses are told.
    pub floor_ms: u64,
    /// Entries that may be under way to the follower.
    pub window_entries: u64,
    /// How near to the end of the log a learner must be before the active stops for it.
    pub near_entries: u64,
}

impl Timing {
    /// For two cities.
    pub const DEFAULT: Self = Self {
        beat_ms: 500,
        lease_ms: 3_000,
        grace_ms: 4_000,
        retry_ms: 500,
        floor_ms: 5_000,
        window_entries: 8_192,
        near_entries: 512,
    };
    /// For one building.
    pub const LAN: Self = Self {
        beat_ms: 100,
        lease_ms: 300,
        grace_ms: 400,
        retry_ms: 100,
        floor_ms: 1_000,
        window_entries: 8_192,
        near_entries: 512,
    };

    /// The same beside a mirror that waits so long: if it waits less than this sub-node would in its place, leases are shorter and beats
    /// more frequent in proportion.
    #[must_use]
    pub fn within(self, grace_ms: u64) -> Self {
        let (told, own) = (u128::from(grace_ms.min(self.grace_ms)), u128::from(self.grace_ms.max(1)));
        let shorter = |time_ms: u64| u64::try_from(u128::from(time_ms) * told / own).unwrap_or(time_ms);
        Self { beat_ms: shorter(self.beat_ms).max(1), lease_ms: shorter(self.lease_ms), ..self }
    }
}

/// What a pair machine looks at: who it is.
#[derive(Clone, Debug)]
pub struct Site {
    /// The key that it seals proposals with: its sub-node's.
    pub key: SigningKey,
    /// Its organization's, with which the pair's witnesses are named.
    pub organization: SigningKey,
    /// Who it is.
    pub member: MemberId,
    /// The other sub-node.
    pub partner: SubnodeId,
    /// How soon.
    pub timing: Timing,
    /// What then.
    pub on_mirror_lost: OnMirrorLost,
    /// A fault that is built in on purpose, in the simulation alone.
    pub flaw: Option<Flaw>,
}

/// What a sub-node is just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// There is no pair.
    #[default]
    Single,
    /// It was active when its process ended, and asks whether it may be again.
    Boot,
    /// It serves, and entries count when both have them.
    ActivePair,
    /// The same, but the mirror has not been heard for as long as a lease.
    Suspect,
    /// It asked to serve alone, and does not know yet what was decided.
    Reconfig,
    /// It serves alone.
    ActiveSolo,
    /// It serves alone and acknowledges nothing, until the other has everything and is a mirror again.
    Joining,
    /// It hands over to its mirror.
    Switching,
    /// It follows, and will take over.
    Mirror,
    /// It asked to serve instead of the other.
    Takeover,
    /// It follows, and is not fit to take over.
    Learner,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::Single,
        Self::Boot,
        Self::ActivePair,
        Self::Suspect,
        Self::Reconfig,
        Self::ActiveSolo,
        Self::Joining,
        Self::Switching,
        Self::Mirror,
        Self::Takeover,
        Self::Learner,
    ];

    /// Whether it serves.
    #[must_use]
    pub fn serves(self) -> bool {
        use State::{ActivePair, ActiveSolo, Joining, Reconfig, Suspect, Switching};
        matches!(self, ActivePair | Suspect | Reconfig | ActiveSolo | Joining | Switching)
    }

    /// Whether it follows.
    #[must_use]
    pub fn follows(self) -> bool {
        matches!(self, Self::Mirror | Self::Takeover | Self::Learner)
    }
}

/// See above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    certified: Option<Box<Certified>>,
    rounds: u64,
    /// How long it said that it waits, where leases that rest on that may still run.
    #[serde(default)]
    told_grace_ms: u64,
    #[serde(skip)]
    life: Arc<Life>,
}

/// What of the machine lives with the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    state: State,
    /// The log, with what is on its way to the disk.
    history: History,
    /// What the disk has.
    durable: Position,
    /// Up to where entries count.
    committed: Position,
    proposal: Option<Proposal>,
    /// When the witnesses are asked again.
    retry_at: Option<Moment>,
    /// Another's ballot was promised, so the next attempt needs a higher one.
    outbid: Option<u64>,
    partner: Partner,
    /// Beats that were sent, each with its time.
    beats: VecDeque<(u64, Moment)>,
    beat: u64,
    beat_at: Option<Moment>,
    /// How long the mirror said that it waits behind a beat.
    granted_ms: Option<u64>,
    lease_until: Option<Moment>,
    /// When the active stops to hope for its mirror.
    patience_until: Option<Moment>,
    /// Nothing that rests on being the only active may leave.
    held: bool,
    /// What the other must have before it joins or takes over.
    target: u64,
    grace_until: Option<Moment>,
    /// The follower's log is a beginning of the active's.
    joined: bool,
    /// Where the follower's batches end that it has not acknowledged: it acknowledges no other places, so that the active can hold
    /// each against what it sent.
    received: VecDeque<Position>,
    acknowledged: Option<Position>,
    /// Since when more was sent to the follower than it has.
    behind_since: Option<Moment>,
    question: u64,
    /// How often it was asked without an answer.
    unanswered: u32,
    /// A snapshot that answers this question or an earlier one is of before what this log has.
    answered: u64,
    /// A snapshot is being put in the place of the log.
    installing: bool,
    ask_at: Option<Moment>,
    floor_at: Option<Moment>,
    floored: u64,
    /// The machines of this sub-node cannot take in what counts.
    unfit: bool,
    alarm: Option<Alarm>,
}

/// The follower as the active sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Partner {
    /// Who asked to follow, at this epoch.
    member: Option<MemberId>,
    /// What it was sent, and has not said that it has; the ends of batches.
    shipped: VecDeque<Position>,
    sent_through: u64,
    fork: u64,
    acked: Position,
    heard: Option<Moment>,
    /// It said that it could not serve.
    unfit: bool,
}

impl Partner {
    /// Up to where it was sent the log. Less than it is to be sent, while the way there has no room.
    fn sent(&self) -> u64 {
        self.shipped.back().map_or(self.acked.sequence.max(self.fork), |end| end.sequence)
    }
}

/// What an operator must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// The log is shorter than it was: the disk lost what it had.
    MemoryLost,
    /// The two logs differ where they must not.
    Diverged,
    /// The active is silent, and this sub-node is not fit to take over.
    ActiveSilent,
    /// The machines of this sub-node cannot take in an entry that counts, so it does not take over.
    Unfit,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// This configuration holds.
    Adopted(Box<Certified>),
    /// So many ballots are used.
    Balloted(u64),
    /// It says from now on that it waits so long, in milliseconds.
    GraceTold(u64),
    /// The life of the process went on; not journaled.
    #[serde(skip)]
    Lived(Arc<Life>),
}

/// What a pair machine is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// The process has started; the log was verified, and this is what it has.
    Started {
        /// The log.
        history: History,
    },
    /// The pair is founded, or this sub-node comes to it.
    Configured(Box<Certified>),
    /// The active's log goes on to here: entries are on their way to the disk.
    Sealed {
        /// The ends of the epochs that go on or begin with it, ascending; the last is the tail.
        ends: Vec<Position>,
    },
    /// The disk has everything up to here.
    Synced {
        /// Up to where.
        durable: Position,
    },
    /// Entries up to here were sent to the follower.
    Shipped {
        /// Up to where.
        through: Position,
    },
    /// Entries that were to be sent to the follower cannot be read, or are not kept any more.
    Unshipped,
    /// The state of a snapshot is in place, and durable.
    Installed {
        /// What it reflects.
        history: History,
    },
    /// Somebody says something.
    Heard {
        /// The sub-node that it came from, proved by whoever carried it.
        from: SubnodeId,
        /// What.
        message: Message,
    },
    /// There is a new connection to the partner.
    Connected,
    /// Whether the machines of this sub-node take in what counts. They do unless it is said.
    Fitness {
        /// Whether they do.
        fit: bool,
    },
    /// The operator wants the other sub-node to serve.
    Switch,
    /// The operator wants these witnesses, who agreed, in the place of those that there are; or those that there are, and no others
    /// any more.
    Appoint(Vec<MemberId>),
    /// See [`Machine::due`].
    Due,
}

/// What a pair machine wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this.
    Send {
        /// To whom.
        to: SubnodeId,
        /// What.
        message: Message,
    },
    /// Send the log's entries from one sequence, exclusive, through another as [`Message::Append`]s, as soon as the way has room, and say
    /// [`Input::Shipped`] of each; or [`Input::Unshipped`].
    Ship {
        /// To whom.
        to: SubnodeId,
        /// The epoch.
        epoch: u64,
        /// The entry before the first.
        after: u64,
        /// The last.
        through: u64,
        /// Up to where entries count.
        committed: u64,
    },
    /// Answer a [`Message::Join`]: with a [`Message::Tail`] at the log's position there, or, if that is not kept any more, with a
    /// [`Message::Snapshot`].
    Answer {
        /// To whom.
        to: SubnodeId,
        /// The epoch.
        epoch: u64,
        /// Which question.
        nonce: u64,
        /// Where the logs part; none where nobody knows.
        fork: Option<Fork>,
    },
    /// Cut the log behind this position, and say [`Input::Synced`].
    Cut {
        /// The last entry that stays.
        after: Position,
    },
    /// Write these entries, sync, and say [`Input::Synced`].
    Write {
        /// The entries.
        entries: Vec<Entry>,
    },
    /// Put this state in the place of log and machines, and say [`Input::Installed`].
    Install {
        /// What it reflects.
        history: History,
        /// The machines.
        state: Vec<u8>,
    },
    /// Entries up to here count: the active lets out what waits for them, the follower takes them in.
    Commit {
        /// Up to where.
        through: u64,
    },
    /// Serve, and write entries at this epoch.
    Serve {
        /// The epoch.
        epoch: u64,
    },
    /// Take no new work, for another is about to serve.
    Pause,
    /// Do not serve (any more): what waits is dropped, and so is what came into the log behind the tail that the machine knew when it
    /// decided. Say [`Input::Synced`] then.
    Follow {
        /// The tail.
        tail: Position,
    },
    /// Whether what rests on being the only active must wait.
    Hold(bool),
    /// The operator must know.
    Alarm(Alarm),
}

/// A picture of the machine, for people and for checks.
#[derive(Clone, Debug)]
pub struct Picture<'a> {
    /// What it is.
    pub state: State,
    /// What holds, as far as it knows.
    pub configuration: Option<&'a Configuration>,
    /// Its log's end.
    pub tail: Position,
    /// What its disk has.
    pub durable: Position,
    /// Up to where entries count.
    pub committed: u64,
    /// How far the follower is known to have it.
    pub acknowledged: u64,
    /// Of a follower, up to where it heard that entries count.
    pub known: u64,
    /// Whether it asks the witnesses for another configuration.
    pub proposes: bool,
    /// Until when nobody else can be active.
    pub lease_until: Option<Moment>,
    /// Whether its log is known to be a beginning of the active's.
    pub joined: bool,
    /// Of an active, whether its follower could serve, as far as it said.
    pub follower_fit: bool,
    /// Of an active, how many beats it remembers that were not answered; at most [`BEATS_MAX`].
    pub beats: usize,
    /// Of a follower, how often it asked without an answer; beyond [`UNANSWERED_MAX`] its pauses grow no longer.
    pub unanswered: u32,
    /// What is wrong.
    pub alarm: Option<Alarm>,
}

impl Pair {
    /// See [`Picture`].
    #[must_use]
    pub fn picture(&self) -> Picture<'_> {
        let life = &self.life;
        Picture {
            state: life.state,
            configuration: self.certified.as_ref().map(|certified| &certified.configuration),
            tail: life.history.tail(),
            durable: life.durable,
            committed: life.committed.sequence,
            acknowledged: life.partner.acked.sequence,
            known: life.target,
            proposes: life.proposal.is_some(),
            lease_until: life.lease_until,
            joined: life.joined,
            follower_fit: !life.partner.unfit,
            beats: life.beats.len(),
            unanswered: life.unanswered,
            alarm: life.alarm.or(life.unfit.then_some(Alarm::Unfit)),
        }
    }

    /// What holds, with its proof.
    #[must_use]
    pub fn certified(&self) -> Option<&Certified> {
        self.certified.as_deref()
    }
}

impl Machine for Pair {
    type Key = ();
    type Input = Input;
    type Record = Record;
    type Effect = Effect;
    type Around = Site;

    fn is_journaled(record: &Record) -> bool {
        !matches!(record, Record::Lived(_))
    }

    fn new((): &()) -> Self {
        Self::default()
    }

    fn decide(&self, site: &Site, now: Moment, dice: &mut Dice, input: Input) -> Result<Decision<Self>, Fault> {
        let mut turn = Turn::new(self, site, now, dice);
        turn.take(input)?;
        Ok(turn.end())
    }

    fn absorb(&mut self, record: &Record) {
        match record {
            Record::Adopted(certified) => self.certified = Some(certified.clone()),
            Record::Balloted(rounds) => self.rounds = *rounds,
            Record::GraceTold(grace_ms) => self.told_grace_ms = *grace_ms,
            Record::Lived(life) => self.life = Arc::clone(life),
        }
    }

    fn wakes_at(&self) -> Option<Moment> {
        let life = &self.life;
        let patience =
            life.patience_until.filter(|_| matches!(life.state, State::ActivePair | State::Joining | State::Switching));
        [life.retry_at, life.beat_at, patience, life.grace_until, life.ask_at, life.floor_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn due() -> Input {
        Input::Due
    }

    fn resumed() -> Input {
        Input::Due
    }

    fn is_open(&self) -> bool {
        self.certified.is_some()
    }

    fn is_kept(&self) -> bool {
        self.certified.is_some()
    }
}
