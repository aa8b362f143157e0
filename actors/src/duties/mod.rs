//! The duties of a sub-node beside serving: its part in its own mirrored pair, and being a witness of others' (M1 to M4). One thread
//! houses the core's machines for both, feeds them what the journal, the network, the operator and the clock say, and does what they
//! want done. It decides nothing: every rule is in `hansa_core::mirror`.
//!
//! It keeps the law of the shards, with its own [`ledger`]: what a machine recorded is durable before anything is done about it. What
//! concerns the machines of the exchange (to serve, to follow, to take entries in) it does not do itself but tells as a [`Happening`].

mod acting;
mod ledger;
mod seen;
mod stall;
mod status;
mod word;

pub use status::{Duty, Partner, Status, Takeover};
pub use word::{Introduction, Word};

use crate::{clock, journal::Journal, poison::Poison};
use ed25519_dalek::SigningKey;
use hansa_core::{
    code::{Code, Fault},
    dice::Dice,
    dispatch::Outward,
    durability::Durability,
    ident::{OrganizationId, SubnodeId},
    machine::{Machine as _, feed},
    membership::Certificate,
    mirror::{
        Certified, Configuration, History, MemberId, Message, Mode, Pair, Position, Witness, Witnesses,
        pair::{self, OnMirrorLost, Site, Timing},
        witness::{self, Bench},
    },
    moment::Moment,
    signed::Purpose,
};
use ledger::{Kept, Ledger};
use seen::Seen;
use stall::Stall;
use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{mpsc as notices, oneshot, watch};

/// How long members are asked to be witnesses.
const ASKING_MS: u64 = 3_000;
/// How long a planned change may take before the operator hears that it did not come about.
const SWITCHING_MS: u64 = 15_000;
/// Characters of another's reason that are shown.
const REASON_CHARACTERS_MAX: usize = 200;
/// The longest sleep: the clock may be set, and the machine may be suspended, which a sleep does not notice.
const SLEEP_MAX: Duration = Duration::from_millis(250);

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
    /// A snapshot for the partner: give it to [`Duties::snapshot_made`]. No other is wanted before that.
    MakeSnapshot,
    /// Put this in the place of all machines, and tell [`Duties::installed`].
    Install {
        /// What it reflects.
        history: History,
        /// The machines, as [`crate::house::House`] exported them.
        state: Vec<u8>,
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
        self.known.pair.certified().is_some()
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
    AskWitnesses(Vec<SubnodeId>, oneshot::Sender<Asked>),
    Found(Vec<MemberId>, oneshot::Sender<Result<(), Fault>>),
    Partnered(SubnodeId, oneshot::Sender<Result<Box<Certified>, Fault>>),
    Switch(oneshot::Sender<Result<(), Fault>>),
    Status(oneshot::Sender<Status>),
    SnapshotMade(Option<(History, Vec<u8>)>),
    Installed(Result<History, Fault>),
    Fitness(Option<Poison>),
    End,
}

/// The way to the duties of a sub-node. They end with [`Duties::end`].
pub struct Duties {
    arrivals: mpsc::Sender<Arrival>,
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

/// Members are being asked to be witnesses.
struct Asking {
    unanswered: BTreeSet<SubnodeId>,
    asked: Asked,
    until: Moment,
    answer: oneshot::Sender<Asked>,
}

/// The thread's state.
struct Desk {
    journal: Arc<Journal<Outward>>,
    seen: Arc<Seen>,
    ledger: Ledger,
    organization_key: SigningKey,
    organization: OrganizationId,
    site: Site,
    bench: Bench,
    witnessed_max: usize,
    pair: Pair,
    witnesses: BTreeMap<OrganizationId, Witness>,
    introduction: Option<Box<Introduction>>,
    introduced: Option<Box<Introduction>>,
    dice: Dice,
    carrier: Box<dyn Carrier>,
    happenings: notices::UnboundedSender<Happening>,
    committed: watch::Sender<u64>,
    linked: BTreeSet<SubnodeId>,
    asking: Option<Asking>,
    switching: Option<(Moment, oneshot::Sender<Result<(), Fault>>)>,
    /// The last position that was shipped, so that it need not be read again.
    shipped: Position,
    took_over: Option<Takeover>,
    takeovers: u64,
    poison: Option<Poison>,
    /// What the machine wants done, behind what is being done.
    wanted: VecDeque<pair::Effect>,
    snapshot: Option<SnapshotAsked>,
    stall: Stall,
    disk_patience_ms: u64,
}

/// The follower needs more than the journal keeps. One snapshot is made at a time, and is for its last question.
struct SnapshotAsked {
    nonce: u64,
    epoch: u64,
    /// When it was sent, if it was.
    sent: Option<Moment>,
}

impl Duties {
    /// Begin them. Without a pair nothing happens but what others want of a witness.
    ///
    /// # Errors
    /// The ledger cannot be read or written.
    pub fn start(start: Start) -> Result<Self, Fault> {
        let fatal = Arc::clone(&start.fatal);
        let (arrivals, arriving) = mpsc::channel();
        let (committed, committing) = watch::channel(0);
        let seen = Arc::new(Seen::new(arrivals.clone()));
        let mut desk = Desk::new(start, seen, committed)?;
        desk.begin()?;
        let thread = std::thread::Builder::new().name("duties".into()).spawn(move || {
            // A thread that ended without a word would leave an active that serves for ever and knows nothing of its lease.
            let ended = panic::catch_unwind(AssertUnwindSafe(|| desk.run(&arriving)));
            let ended = ended
                .unwrap_or_else(|_| Err(Fault::new(Code::Internal, "the duties of this sub-node ended in a panic")));
            if let Err(fault) = ended {
                tracing::error!(%fault, "the duties of this sub-node failed");
                fatal(fault);
            }
        });
        let thread =
            thread.map_err(|error| Fault::new(Code::Internal, format!("no thread can be started: {error}")))?;
        Ok(Self { arrivals, committed: committing, thread: std::sync::Mutex::new(Some(thread)) })
    }

    fn arrive(&self, arrival: Arrival) {
        // Whoever waits for an answer of a thread that has ended hears that from its answer's channel.
        let _ = self.arrivals.send(arrival);
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
    /// [`Code::NodeStopped`].
    pub async fn ask_witnesses(&self, candidates: Vec<SubnodeId>) -> Result<Asked, Fault> {
        self.ask(|answer| Arrival::AskWitnesses(candidates, answer)).await
    }

    /// Found the pair: this sub-node is active alone, until another joins it.
    ///
    /// # Errors
    /// There is a pair already, there is no witness, or the ledger cannot be written.
    pub async fn found(&self, witnesses: Vec<MemberId>) -> Result<(), Fault> {
        self.ask(|answer| Arrival::Found(witnesses, answer)).await?
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

    /// A picture for people.
    ///
    /// # Errors
    /// [`Code::NodeStopped`].
    pub async fn status(&self) -> Result<Status, Fault> {
        self.ask(Arrival::Status).await
    }

    /// The answer to [`Happening::MakeSnapshot`]; none if none could be made.
    pub fn snapshot_made(&self, made: Option<(History, Vec<u8>)>) {
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

impl Desk {
    fn new(start: Start, seen: Arc<Seen>, committed: watch::Sender<u64>) -> Result<Self, Fault> {
        let Opened { mut ledger, mut known } = start.opened;
        if start.is_blank && known.pair.certified().is_some_and(|certified| is_member(certified, known.member)) {
            // What this disk had is gone: as a member it is somebody new, and comes back as a learner.
            tracing::warn!(
                "the journal is empty, although this sub-node was a member of its pair: it joins as a new one"
            );
            known.member = ledger::number()?;
            ledger.keep(&[Kept::Numbered { member: known.member, witness: known.witness }])?;
        }
        let subnode = SubnodeId(start.key.verifying_key().to_bytes());
        let seed = ledger::number()?;
        Ok(Self {
            organization: OrganizationId(start.organization.verifying_key().to_bytes()),
            organization_key: start.organization,
            site: Site {
                key: start.key.clone(),
                member: MemberId { subnode, journal: known.member },
                // Until there is one, nothing is sent to it and nothing comes from it.
                partner: known.partner.unwrap_or(SubnodeId([0; 32])),
                timing: start.timing,
                on_mirror_lost: start.on_mirror_lost,
                flaw: None,
            },
            bench: Bench { key: start.key, witness: MemberId { subnode, journal: known.witness }, flaw: None },
            witnessed_max: start.witnessed_max,
            pair: known.pair,
            witnesses: known.witnesses,
            introduction: None,
            introduced: known.introduced,
            dice: Dice::new(seed),
            journal: start.journal,
            seen,
            ledger,
            carrier: start.carrier,
            happenings: start.happenings,
            committed,
            linked: BTreeSet::new(),
            asking: None,
            switching: None,
            shipped: Position::default(),
            took_over: None,
            takeovers: 0,
            poison: None,
            wanted: VecDeque::new(),
            snapshot: None,
            stall: Stall::new(),
            disk_patience_ms: start.disk_patience_ms,
        })
    }

    /// Who was of a pair when the process ended goes on from there; it does not serve before it knows that it may.
    fn begin(&mut self) -> Result<(), Fault> {
        if self.is_single() {
            return Ok(());
        }
        let history = self.journal.watch(Arc::clone(&self.seen) as _)?;
        let tail = history.tail();
        self.journal.follow(tail)?;
        self.pair_input(pair::Input::Started { history })
    }

    fn is_single(&self) -> bool {
        self.pair.certified().is_none()
    }

    fn run(&mut self, arriving: &mpsc::Receiver<Arrival>) -> Result<(), Fault> {
        loop {
            let now = clock::steady();
            let wakes_at = [self.pair.wakes_at(), self.asking.as_ref().map(|asking| asking.until)];
            let switching = self.switching.as_ref().map(|(until, _)| *until);
            let next = wakes_at.into_iter().chain([switching]).flatten().min();
            let sleep = next.map_or(SLEEP_MAX, |at| Duration::from_millis(at.since_ms(now)).min(SLEEP_MAX));
            match arriving.recv_timeout(sleep) {
                Ok(Arrival::End) | Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(arrival) => self.take(arrival)?,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            self.tick()?;
        }
    }

    fn tick(&mut self) -> Result<(), Fault> {
        if !self.is_single() {
            self.watch_disk()?;
        }
        if self.ledger.is_long() {
            let Site { member, partner, .. } = self.site;
            let partner = Some(partner).filter(|partner| partner.0 != [0; 32]);
            self.ledger.shorten(&ledger::Known {
                member: member.journal,
                witness: self.bench.witness.journal,
                partner,
                introduced: self.introduced.clone(),
                pair: self.pair.clone(),
                witnesses: self.witnesses.clone(),
            })?;
        }
        let now = clock::steady();
        if self.pair.wakes_at().is_some_and(|at| at <= now) {
            self.pair_input(pair::Input::Due)?;
        }
        if self.asking.as_ref().is_some_and(|asking| asking.until <= now || asking.unanswered.is_empty())
            && let Some(Asking { unanswered, mut asked, answer, .. }) = self.asking.take()
        {
            asked.declined.extend(unanswered.into_iter().map(|subnode| (subnode, "it did not answer".to_owned())));
            let _ = answer.send(asked);
        }
        if self.switching.as_ref().is_some_and(|(until, _)| *until <= now)
            && let Some((_, answer)) = self.switching.take()
        {
            let message = "the other sub-node did not take over in time, and this one goes on";
            let _ = answer.send(Err(Fault::new(Code::PairNotReady, message)));
        }
        Ok(())
    }

    fn take(&mut self, arrival: Arrival) -> Result<(), Fault> {
        match arrival {
            Arrival::Looked => self.look()?,
            Arrival::Linked { subnode } => {
                self.linked.insert(subnode);
                if subnode == self.site.partner {
                    self.introduce();
                    self.pair_input(pair::Input::Connected)?;
                }
            }
            Arrival::Unlinked { subnode } => {
                self.linked.remove(&subnode);
            }
            Arrival::Told { from, organization, word, _credit } => self.told(from, organization, *word)?,
            Arrival::Introducing(introduction) => {
                self.introduction = Some(introduction);
                self.introduce();
            }
            Arrival::AskWitnesses(candidates, answer) => {
                for candidate in &candidates {
                    self.carrier.tell(*candidate, &Word::Ask);
                }
                let until = clock::steady().plus_ms(ASKING_MS);
                let unanswered = candidates.into_iter().collect();
                self.asking = Some(Asking { unanswered, asked: Asked::default(), until, answer });
            }
            Arrival::Found(witnesses, answer) => {
                let founded = self.found(witnesses);
                let _ = answer.send(founded);
            }
            Arrival::Partnered(partner, answer) => {
                let partnered = self.partnered(partner);
                let _ = answer.send(partnered);
            }
            Arrival::Switch(answer) => match self.pair_refusable(pair::Input::Switch)? {
                Ok(()) => self.switching = Some((clock::steady().plus_ms(SWITCHING_MS), answer)),
                Err(fault) => drop(answer.send(Err(fault))),
            },
            Arrival::Status(answer) => drop(answer.send(self.status())),
            Arrival::SnapshotMade(made) => self.snapshot_made(made),
            Arrival::Installed(Ok(history)) => {
                self.forget();
                self.pair_input(pair::Input::Installed { history })?;
            }
            Arrival::Installed(Err(fault)) => return Err(fault),
            Arrival::Fitness(poison) => {
                let fit = poison.is_none();
                self.poison = poison;
                self.pair_input(pair::Input::Fitness { fit })?;
            }
            Arrival::End => {}
        }
        Ok(())
    }

    /// What the journal did since.
    fn look(&mut self) -> Result<(), Fault> {
        let (mut ends, synced) = self.seen.take();
        let tail = self.pair.picture().tail.sequence;
        ends.retain(|end| end.sequence > tail);
        if !ends.is_empty() {
            self.pair_input(pair::Input::Sealed { ends })?;
        }
        match synced {
            Some(durable) if durable.sequence > self.pair.picture().durable.sequence => {
                self.pair_input(pair::Input::Synced { durable })
            }
            _ => Ok(()),
        }
    }

    fn introduce(&mut self) {
        if let Some(introduction) = self.introduction.clone()
            && self.linked.contains(&self.site.partner)
        {
            self.carrier.tell(self.site.partner, &Word::Introduce(introduction));
        }
    }

    fn found(&mut self, witnesses: Vec<MemberId>) -> Result<(), Fault> {
        if !self.is_single() {
            return Err(Fault::new(Code::PairNotReady, "this sub-node is of a pair already"));
        }
        if witnesses.is_empty() {
            return Err(Fault::new(Code::PairNotReady, "no other member agreed to be a witness of the pair").help(
                "at least one other member must be linked and have `witness.offer = true`; with four the pair can lose one of them",
            ));
        }
        let configuration = Configuration {
            pair: self.organization,
            epoch: 1,
            mode: Mode::Solo { active: self.site.member },
            witnesses: Witnesses::new(witnesses),
        };
        let certified = Box::new(Certified::founded(&self.organization_key, configuration));
        let history = self.journal.watch(Arc::clone(&self.seen) as _)?;
        self.pair_input(pair::Input::Started { history })?;
        self.pair_input(pair::Input::Configured(certified))
    }

    fn partnered(&mut self, partner: SubnodeId) -> Result<Box<Certified>, Fault> {
        let Some(certified) = self.pair.certified().cloned() else {
            return Err(Fault::new(Code::PairNotReady, "there is no pair yet").help("begin one with `hansa pair init`"));
        };
        let mirror = certified.configuration.mode.mirror();
        if mirror.is_some_and(|mirror| mirror.subnode != partner) && self.pair.picture().state != pair::State::Suspect {
            // A code may have been given before the mirror came back; taken in now, the new one would be heard instead of it.
            return Err(Fault::new(Code::PairNotReady, "the pair has both its sub-nodes")
                .help("stop the other sub-node first, if this one is to come in its place"));
        }
        if partner != self.site.partner {
            self.ledger.keep(&[Kept::Partnered(partner)])?;
            self.site.partner = partner;
            self.introduced = None;
            let _ = self.happenings.send(Happening::Changed);
        }
        Ok(Box::new(certified))
    }

    fn told(&mut self, from: SubnodeId, organization: OrganizationId, word: Word) -> Result<(), Fault> {
        match word {
            Word::Say(message) => {
                let whose = match &*message {
                    Message::Prepare { base, .. } | Message::Accept { base, .. } | Message::Configured(base) => {
                        base.configuration.pair
                    }
                    Message::Floor { pair, .. } => *pair,
                    _ => self.organization,
                };
                if whose == self.organization {
                    let input = pair::Input::Heard { from, message: *message };
                    self.unless_refused(from, input)
                } else {
                    self.witness_input(whose, from, message)
                }
            }
            Word::Introduce(introduction) => self.introduced(from, introduction),
            Word::Ask => {
                let word = match self.agree(organization)? {
                    Ok(()) => Word::Agree { witness: self.bench.witness },
                    Err(reason) => Word::Decline { reason },
                };
                self.carrier.tell(from, &word);
                Ok(())
            }
            Word::Agree { witness } => {
                if let Some(asking) = &mut self.asking
                    && witness.subnode == from
                    && asking.unanswered.remove(&from)
                {
                    asking.asked.agreed.push(witness);
                }
                Ok(())
            }
            Word::Decline { reason } => {
                if let Some(asking) = &mut self.asking
                    && asking.unanswered.remove(&from)
                {
                    let reason = reason.chars().filter(|one| !one.is_control()).take(REASON_CHARACTERS_MAX).collect();
                    asking.asked.declined.push((from, reason));
                }
                Ok(())
            }
        }
    }

    /// Whether this sub-node will be a witness of that organization's pair; it remembers before it says so.
    fn agree(&mut self, organization: OrganizationId) -> Result<Result<(), String>, Fault> {
        if self.witnesses.contains_key(&organization) {
            return Ok(Ok(()));
        }
        if organization == self.organization {
            return Ok(Err("nobody witnesses for itself".to_owned()));
        }
        if self.witnesses.len() >= self.witnessed_max {
            return Ok(Err(format!("this member is a witness of {} pairs, and offers no more", self.witnesses.len())));
        }
        self.ledger.keep(&[Kept::Agreed(organization)])?;
        self.witnesses.insert(organization, Witness::new(&organization));
        tracing::info!(organization = %organization.short(), "this sub-node is a witness of a member's pair");
        Ok(Ok(()))
    }

    fn introduced(&mut self, from: SubnodeId, introduction: Box<Introduction>) -> Result<(), Fault> {
        let signed = &introduction.certificate;
        let certificate: Certificate = match signed.open(Purpose::Certificate, Code::CertificateForged) {
            Ok(certificate) => certificate,
            Err(fault) => {
                tracing::warn!(%fault, "the other sub-node shows a certificate that is none");
                return Ok(());
            }
        };
        if from != self.site.partner || signed.by != self.organization || certificate.subnode != from {
            return Ok(());
        }
        if self.introduced.as_ref() != Some(&introduction) {
            self.ledger.keep(&[Kept::Introduced(introduction.clone())])?;
            self.introduced = Some(introduction);
            let _ = self.happenings.send(Happening::Changed);
        }
        Ok(())
    }

    // The machines.

    /// Feed the pair machine, and do what it wants done. A refusal is somebody else's mistake.
    fn pair_input(&mut self, input: pair::Input) -> Result<(), Fault> {
        if let Err(fault) = self.pair_refusable(input)? {
            tracing::debug!(%fault, "the pair refused an input");
        }
        Ok(())
    }

    fn unless_refused(&mut self, from: SubnodeId, input: pair::Input) -> Result<(), Fault> {
        if let Err(fault) = self.pair_refusable(input)? {
            tracing::warn!(subnode = %from.short(), %fault, "a message about the pair is refused");
        }
        Ok(())
    }

    fn pair_refusable(&mut self, input: pair::Input) -> Result<Result<(), Fault>, Fault> {
        let fed = self.feed_pair(input)?;
        self.act()?;
        Ok(fed)
    }

    fn feed_pair(&mut self, input: pair::Input) -> Result<Result<(), Fault>, Fault> {
        let (before, epoch) = (self.pair.picture().state, self.epoch());
        let (mut records, wanted) = (Vec::new(), &mut self.wanted);
        let now = clock::steady();
        let fed = feed(&mut self.pair, &self.site, now, &mut self.dice, input, |happened, effects| {
            records.extend(happened.into_iter().filter(Pair::is_journaled).map(Kept::Pair));
            wanted.extend(effects);
        });
        if !records.is_empty() {
            self.ledger.keep(&records)?;
        }
        self.lease();
        self.changed(before, epoch);
        Ok(fed)
    }

    /// The journal knows how long what counts may leave without another word: this thread may come too late to stop it.
    fn lease(&self) {
        let picture = self.pair.picture();
        match picture.state {
            pair::State::ActivePair | pair::State::Switching => {
                self.journal.lease(Some(picture.lease_until.unwrap_or_default()));
            }
            pair::State::Single | pair::State::ActiveSolo | pair::State::Joining => self.journal.lease(None),
            // It is held already, or nothing leaves.
            _ => {}
        }
    }

    fn epoch(&self) -> u64 {
        self.pair.certified().map_or(0, Certified::epoch)
    }

    /// Say what became of it, to people and to who waits.
    fn changed(&mut self, before: pair::State, epoch: u64) {
        let state = self.pair.picture().state;
        if state == before && self.epoch() == epoch {
            return;
        }
        tracing::info!(was = ?before, is = ?state, epoch = self.epoch(), "the pair changed");
        if before == pair::State::Takeover && state.serves() {
            self.takeovers += 1;
            self.took_over = Some(Takeover {
                at: clock::now(),
                epoch: self.epoch(),
                why: "the active was silent for longer than its lease".to_owned(),
            });
        }
        if before == pair::State::Switching
            && let Some((_, answer)) = self.switching.take()
        {
            let switched = if state.follows() {
                Ok(())
            } else {
                let message = "the other sub-node was lost before it had taken over, and this one goes on";
                Err(Fault::new(Code::PairNotReady, message))
            };
            let _ = answer.send(switched);
        }
        let _ = self.happenings.send(Happening::Changed);
    }

    fn witness_input(&mut self, whose: OrganizationId, from: SubnodeId, message: Box<Message>) -> Result<(), Fault> {
        // Whoever was not agreed with costs nothing here.
        let Some(witness) = self.witnesses.get_mut(&whose) else { return Ok(()) };
        let (mut records, mut wanted) = (Vec::new(), Vec::new());
        let input = witness::Input::Heard { from, message };
        let fed = feed(witness, &self.bench, clock::steady(), &mut self.dice, input, |happened, effects| {
            records.extend(happened.into_iter().map(|record| Kept::Witness(whose, record)));
            wanted.extend(effects);
        });
        if let Err(fault) = fed {
            tracing::warn!(subnode = %from.short(), %fault, "a question to this witness is refused");
        }
        if !records.is_empty() {
            self.ledger.keep(&records)?;
        }
        for witness::Effect { to, message } in wanted {
            self.say(to, message);
        }
        Ok(())
    }

    fn say(&self, to: SubnodeId, message: Message) {
        self.carrier.tell(to, &Word::Say(Box::new(message)));
    }
}

fn is_member(certified: &Certified, number: u64) -> bool {
    let mode = certified.configuration.mode;
    mode.active().journal == number || mode.mirror().is_some_and(|mirror| mirror.journal == number)
}
