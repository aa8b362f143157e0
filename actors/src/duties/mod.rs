//! The duties of a sub-node beside serving: its part in its own mirrored pair, and being a witness of others' (M1 to M4). One desk
//! houses the core's machines for both, feeds them what the journal, the network, the operator and the clock say, and does what they
//! want done. It decides nothing: every rule is in `hansa_core::mirror`.
//!
//! It keeps the law of the shards, with its own [`ledger`]: what a machine recorded is durable before anything is done about it. What
//! concerns the machines of the exchange (to serve, to follow, to take entries in) it does not do itself but tells as a [`Happening`].

mod acting;
mod appointing;
mod desk;
mod feeding;
mod leaving;
mod ledger;
mod pace;
mod retiring;
mod room;
mod seen;
mod snapshot;
mod stall;
mod status;
mod talking;
mod under_way;
mod word;

pub use snapshot::{PART_BYTES_MAX, Parcel, Progress, RECEIVED, SENT, Stage, UNDER_WAY_BYTES_MAX};
pub use status::{Duty, Partner, Status, Takeover};
pub use word::{Introduction, Word};

use crate::{
    journal::Journal,
    poison::Poison,
    snapshot::{Received, Snapshot},
};
use desk::Desk;
use ed25519_dalek::SigningKey;
use hansa_core::{
    code::{Code, Fault},
    dispatch::Outward,
    durability::Durability,
    ident::{OrganizationId, SubnodeId},
    machine::Machine as _,
    mirror::{
        Certified, History, MemberId,
        pair::{self, OnMirrorLost, Timing},
    },
};
use ledger::{Kept, Ledger};
use room::Room;
use seen::Seen;
use std::{
    any::Any,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};
use tokio::sync::{mpsc as notices, oneshot, watch};

/// Who carries words to other sub-nodes. Must not wait; what it cannot carry is lost, and said again by the protocol.
pub trait Carrier: Send + 'static {
    /// Send this.
    fn tell(&self, to: SubnodeId, word: &Word);
}

/// What the machines of the exchange have to do. In order.
#[derive(Debug)]
pub enum Happening {
    /// Serve, with everything that the log has; or, if this sub-node serves already, go on, and take work again.
    Serve {
        /// At which epoch.
        epoch: u64,
        /// What an acknowledgement rests on from now on.
        durability: Durability,
    },
    /// Take no new work: another is about to serve.
    Pause,
    /// Do not serve any more, and follow.
    Follow,
    /// What holds, or where the partner is, changed.
    Changed,
    /// A snapshot for the partner is wanted: tell [`Duties::snapshot_made`]. No other is wanted before that.
    MakeSnapshot {
        /// The file that it goes into.
        path: PathBuf,
    },
    /// Put this in the place of all machines, and tell [`Duties::installed`].
    Install {
        /// What it reflects.
        history: History,
        /// The file with the machines.
        snapshot: Received,
    },
    /// An operator must know.
    Alarm(pair::Alarm),
}

/// How the duties of a sub-node are begun.
pub struct Start {
    /// Their own journal, see [`Opened`].
    pub opened: Opened,
    /// The node's journal.
    pub journal: Arc<Journal<Outward>>,
    /// The node's data folder, where snapshots lie while they are on their way.
    pub folder: PathBuf,
    /// Whether journal and store were empty: then the disk is another than it was.
    pub is_blank: bool,
    /// Whose sub-node this is.
    pub organization: SigningKey,
    /// The sub-node's key.
    pub key: SigningKey,
    /// How soon things are noticed.
    pub timing: Timing,
    /// What then.
    pub on_mirror_lost: OnMirrorLost,
    /// How long the disk may take nothing before this sub-node counts as lost. Longer than the grace, or a pause of a disk in order
    /// would be taken for its end.
    pub disk_patience_ms: u64,
    /// Pairs that this sub-node will be a witness of, at most; none if it does not offer that.
    pub witnessed_max: usize,
    /// Who carries words.
    pub carrier: Box<dyn Carrier>,
    /// Who does what the exchange has to do.
    pub happenings: notices::UnboundedSender<Happening>,
    /// Called when the ledger or the journal fails, for nothing can be promised then.
    pub fatal: Arc<dyn Fn(Fault) + Send + Sync>,
}

/// What the duties remember, before they begin: whether there is a pair says how the node's journal is to be read.
pub struct Opened {
    ledger: Ledger,
    known: ledger::Known,
}

impl Opened {
    /// Open the duties' own journal in this folder, or begin it. `paired` is what this sub-node was told when it was made the mirror
    /// of another, and counts if it is of no pair yet. `fatal` is called when nothing can be remembered any more.
    ///
    /// # Errors
    /// The disk, what cannot be read on it, or a certificate that proves nothing.
    pub fn open(
        folder: &Path,
        paired: Option<Paired>,
        fatal: &Arc<dyn Fn(Fault) + Send + Sync>,
    ) -> Result<Self, Fault> {
        let on_fatal = Arc::clone(fatal);
        let (mut ledger, mut known) = Ledger::open(folder, Box::new(move |fault| on_fatal(fault)))?;
        if let Some(Paired { partner, certified }) = paired
            && known.pair.certified().is_none()
        {
            certified.verify(None)?;
            let record = pair::Record::Adopted(certified);
            known.pair.absorb(&record);
            known.partner = Some(partner);
            ledger.keep(&[Kept::Partnered(partner), Kept::Pair(record)])?;
        }
        Ok(Self { ledger, known })
    }

    /// Whether this sub-node is of a pair.
    #[must_use]
    pub fn is_paired(&self) -> bool {
        self.known.pair.certified().is_some() && self.known.retired().is_none()
    }

    /// At which epoch it serves if it is of no pair: where the pair ended that it was of, so that others take it for no older one.
    #[must_use]
    pub fn epoch_alone(&self) -> u64 {
        self.known.retired().unwrap_or(1)
    }
}

/// What makes a sub-node the mirror of another.
#[derive(Clone, Debug)]
pub struct Paired {
    /// The other sub-node.
    pub partner: SubnodeId,
    /// The pair's configuration.
    pub certified: Box<Certified>,
}

/// What the thread is told.
enum Arrival {
    /// There is something in [`Seen`].
    Looked,
    Linked {
        subnode: SubnodeId,
    },
    Unlinked {
        subnode: SubnodeId,
    },
    Told {
        from: SubnodeId,
        organization: OrganizationId,
        word: Box<Word>,
        /// Dropped when the word is dealt with, so that the sender may send more.
        _credit: Box<dyn Any + Send>,
    },
    Introducing(Box<Introduction>),
    AskWitnesses(Vec<SubnodeId>, oneshot::Sender<Result<Asked, Fault>>),
    Appoint(Vec<MemberId>, oneshot::Sender<Result<(), Fault>>),
    Found(Vec<MemberId>, oneshot::Sender<Result<(), Fault>>),
    Partnered(SubnodeId, oneshot::Sender<Result<Box<Certified>, Fault>>),
    Switch(oneshot::Sender<Result<(), Fault>>),
    Retire(oneshot::Sender<Result<u64, Fault>>),
    Resume(oneshot::Sender<Result<(), Fault>>),
    Status(oneshot::Sender<Status>),
    SnapshotMade(Option<Snapshot>),
    Installed(Result<History, Fault>),
    Fitness(Option<Poison>),
    End,
}

/// The way to the duties of a sub-node. They end with [`Duties::end`].
pub struct Duties {
    room: Arc<Room<Desk>>,
    committed: watch::Receiver<u64>,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Duties {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Duties")
    }
}

/// What members said who were asked to be witnesses.
#[derive(Debug, Default)]
pub struct Asked {
    /// Who will be one.
    pub agreed: Vec<MemberId>,
    /// Who will not, and why, for people.
    pub declined: Vec<(SubnodeId, String)>,
}

impl Duties {
    /// Begin them. Without a pair nothing happens but what others want of a witness.
    ///
    /// # Errors
    /// The ledger cannot be read or written.
    pub fn start(start: Start) -> Result<Self, Fault> {
        let fatal = Arc::clone(&start.fatal);
        let (committed, committing) = watch::channel(0);
        let room = Arc::new(Room::new());
        let seen = Arc::new(Seen::new(Arc::clone(&room)));
        let mut desk = Desk::new(start, seen, committed)?;
        desk.begin()?;
        room.open(desk);
        let working = Arc::clone(&room);
        let thread = std::thread::Builder::new().name("duties".into()).spawn(move || {
            // A thread that ended without a word would leave an active that serves for ever and knows nothing of its lease.
            if let Err(fault) = working.run() {
                tracing::error!(%fault, "the duties of this sub-node failed");
                fatal(fault);
            }
        });
        let thread =
            thread.map_err(|error| Fault::new(Code::Internal, format!("no thread can be started: {error}")))?;
        Ok(Self { room, committed: committing, thread: std::sync::Mutex::new(Some(thread)) })
    }

    fn arrive(&self, arrival: Arrival) {
        self.room.arrive(arrival);
    }

    /// There is a link to a sub-node.
    pub fn linked(&self, subnode: SubnodeId) {
        self.arrive(Arrival::Linked { subnode });
    }

    /// There is none any more.
    pub fn unlinked(&self, subnode: SubnodeId) {
        self.arrive(Arrival::Unlinked { subnode });
    }

    /// A sub-node said this; `credit` is dropped when it is dealt with.
    pub fn told(&self, from: SubnodeId, organization: OrganizationId, word: Word, credit: impl Any + Send) {
        self.arrive(Arrival::Told { from, organization, word: Box::new(word), _credit: Box::new(credit) });
    }

    /// Where this sub-node is, for its partner.
    pub fn introduce(&self, introduction: Introduction) {
        self.arrive(Arrival::Introducing(Box::new(introduction)));
    }

    /// Ask these to be witnesses; gives what they said within some seconds.
    ///
    /// # Errors
    /// [`Code::PairNotReady`]: others are being asked just now. [`Code::NodeStopped`].
    pub async fn ask_witnesses(&self, candidates: Vec<SubnodeId>) -> Result<Asked, Fault> {
        self.ask(|answer| Arrival::AskWitnesses(candidates, answer)).await?
    }

    /// Found the pair: this sub-node is active alone, until another joins it.
    ///
    /// # Errors
    /// There is a pair already, there is no witness, or the ledger cannot be written.
    pub async fn found(&self, witnesses: Vec<MemberId>) -> Result<(), Fault> {
        self.ask(|answer| Arrival::Found(witnesses, answer)).await?
    }

    /// These, who agreed, take the place of the pair's witnesses; returns when they have.
    ///
    /// # Errors
    /// [`Code::PairNotReady`]: there is no pair, this sub-node is not active, a pair cannot have these, or those that there are have not
    /// decided on it in time.
    pub async fn appoint(&self, witnesses: Vec<MemberId>) -> Result<(), Fault> {
        self.ask(|answer| Arrival::Appoint(witnesses, answer)).await?
    }

    /// This sub-node is the other one from now on; gives what it has to know of the pair.
    ///
    /// # Errors
    /// There is no pair, or the ledger cannot be written.
    pub async fn partnered(&self, subnode: SubnodeId) -> Result<Box<Certified>, Fault> {
        self.ask(|answer| Arrival::Partnered(subnode, answer)).await?
    }

    /// Let the other sub-node serve; returns when it does.
    ///
    /// # Errors
    /// [`Code::PairNotReady`]: why it cannot, or did not.
    pub async fn switch(&self) -> Result<(), Fault> {
        self.ask(Arrival::Switch).await?
    }

    /// End the pair, for this sub-node: from its next start on it is a single one. Gives the epoch that it keeps.
    ///
    /// # Errors
    /// [`Code::PairNotReady`]: it does not serve alone. Or the ledger cannot be written.
    pub async fn retire(&self) -> Result<u64, Fault> {
        self.ask(Arrival::Retire).await?
    }

    /// Take the pair up again that was ended here.
    ///
    /// # Errors
    /// [`Code::PairNotReady`]: that comes about with the next start. Or the ledger cannot be written.
    pub async fn resume(&self) -> Result<(), Fault> {
        self.ask(Arrival::Resume).await?
    }

    /// A picture for people.
    ///
    /// # Errors
    /// [`Code::NodeStopped`].
    pub async fn status(&self) -> Result<Status, Fault> {
        self.ask(Arrival::Status).await
    }

    /// The answer to [`Happening::MakeSnapshot`]; none if none could be made.
    pub fn snapshot_made(&self, made: Option<Snapshot>) {
        self.arrive(Arrival::SnapshotMade(made));
    }

    /// The answer to [`Happening::Install`].
    pub fn installed(&self, history: Result<History, Fault>) {
        self.arrive(Arrival::Installed(history));
    }

    /// What the machines of a sub-node that follows cannot take in, if there is anything: it does not serve then, see
    /// [`crate::standby::Standby::poison`].
    pub fn fitness(&self, poison: Option<Poison>) {
        self.arrive(Arrival::Fitness(poison));
    }

    /// Up to where entries count on a sub-node that follows.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    /// End them. Blocks until the thread has ended.
    pub fn end(&self) {
        self.arrive(Arrival::End);
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the duties of this sub-node ended in a panic");
        }
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Arrival) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        self.arrive(question(answer));
        answered.await.map_err(|_| Fault::new(Code::NodeStopped, "the duties of this sub-node have ended"))
    }
}
