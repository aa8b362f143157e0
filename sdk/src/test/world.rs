//! What is behind an in-memory node: the machines of a node, fed under one lock whenever a session says something or a time
//! comes, and the sessions that are told what leaves them. [`super::Node`] has it; it decides nothing about the exchange.

use super::{
    alone,
    asked::{Asked, Register},
};
use crate::{
    cxip::{
        Password, Stream,
        session::{self, Door, Entrance, Unwelcome, Visitor},
    },
    reach::{self, Welcome},
};
use ed25519_dalek::SigningKey;
use hansa_core::{
    code::{Code, Fault},
    dice::Dice,
    directory::{self, Own, Subnode},
    dispatch::{self, Housed, Input, Outward},
    document::Text,
    ensemble::{Ensemble, Scribe},
    ident::{
        DefinitionName, InvocationId, LibraryName, OperationName, OrganizationId, ServiceName, SignalName, SubnodeId,
        TopicAddress, TransactionId,
    },
    invocation::Outcome,
    mailbox,
    membership::{Certificate, Charter, Credentials},
    moment::Moment,
    session::{Asker, FromSession, SessionId, ToSession, Tracking},
    signed::{Purpose, Signed},
    topic,
    transaction::{Definition, Loader, Picture, catalogue},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    io::duplex,
    sync::{Notify, mpsc, oneshot},
    task::{JoinSet, yield_now},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// The session of the node's own questions.
const OWN: SessionId = SessionId(0);
/// What one direction of a connection holds, like a socket's buffer.
const PIPE_BYTES: usize = 256 * 1024;
/// When everybody had so many turns and nobody said anything, nothing moves any more.
const QUIET_TURNS: u32 = 64;

/// The node.
pub(super) struct World {
    state: Mutex<State>,
    sessions: Mutex<JoinSet<()>>,
    /// That a machine wants to be told the time at another moment than before.
    rescheduled: Notify,
    /// What the node's own client shows.
    own_password: String,
}

struct State {
    ensemble: Ensemble,
    dice: Dice,
    key: SigningKey,
    own: Own,
    origin: Moment,
    started: Instant,
    advanced_ms: u64,
    is_up: bool,
    password: Option<Password>,
    seats: BTreeMap<SessionId, Seat>,
    last_session: u64,
    /// Answers to the node's own questions, by number.
    answers: HashMap<u64, Result<Tracking, Fault>>,
    last_question: u64,
    register: Register,
    /// Who waits for another answer to what was answered before.
    redelivered: HashMap<InvocationId, oneshot::Sender<Outcome>>,
    /// Definitions of one operation, once they are stored.
    alone: BTreeMap<OperationName, DefinitionName>,
    /// How many of them there were to be.
    alone_count: u64,
    /// How often anything was said.
    words: u64,
}

/// A session that is open.
struct Seat {
    way: mpsc::UnboundedSender<ToSession>,
    services: BTreeSet<ServiceName>,
    topics: BTreeSet<TopicAddress>,
}

/// What machines let out during one input. Nothing is written down: what is durable here lives as long as the test.
#[derive(Default)]
struct Page(Vec<Outward>);

impl Scribe for Page {
    fn append<M: Housed>(&mut self, _: &M::Key, _: &M::Record) {}

    fn release(&mut self, outward: Outward) {
        self.0.push(outward);
    }
}

impl World {
    pub(super) fn new(loader: Loader) -> Arc<Self> {
        let key = SigningKey::from_bytes(&[1; 32]);
        let origin = reach::now();
        let mut state = State {
            ensemble: Ensemble::new(loader),
            dice: Dice::new(u64::from_ne_bytes(reach::random())),
            own: own(&key, origin),
            key,
            origin,
            started: Instant::now(),
            advanced_ms: 0,
            is_up: true,
            password: None,
            seats: BTreeMap::new(),
            last_session: 0,
            answers: HashMap::new(),
            last_question: 0,
            register: Register::default(),
            redelivered: HashMap::new(),
            alone: BTreeMap::new(),
            alone_count: 0,
            words: 0,
        };
        state.begin();
        Arc::new(Self {
            state: Mutex::new(state),
            sessions: Mutex::default(),
            rescheduled: Notify::new(),
            own_password: format!("{:032x}", u128::from_ne_bytes(reach::random())),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Change the state, and have the clock look again if that changed when somebody wants to be woken.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let before = state.wakes_at();
        let outcome = change(&mut state);
        if state.wakes_at() != before {
            self.rescheduled.notify_one();
        }
        outcome
    }

    /// Tell machines the time when they want to be told, for ever.
    pub(super) async fn keep_time(self: Arc<Self>) {
        loop {
            let pause = {
                let state = self.state();
                state.wakes_at().map(|at| Duration::from_millis(at.since_ms(state.now())))
            };
            tokio::select! {
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => self.change(State::wake),
                () = self.rescheduled.notified() => (),
            }
        }
    }

    pub(super) async fn advance(&self, by: Duration) {
        let until = self.now().plus_ms(u64::try_from(by.as_millis()).unwrap_or(u64::MAX));
        self.settle().await;
        while self.change(|state| state.step_towards(until)) {
            self.settle().await;
        }
    }

    pub(super) async fn settle(&self) {
        let (mut words, mut quiet) = (self.state().words, 0);
        while quiet < QUIET_TURNS {
            yield_now().await;
            let now = self.state().words;
            quiet = if now == words { quiet + 1 } else { 0 };
            words = now;
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.state().now()
    }

    pub(super) fn define(&self, text: &[u8]) -> Result<(), Fault> {
        let text = Text::parse(text)?;
        self.change(|state| {
            let callable = state.ensemble.surroundings().definitions().callable();
            Definition::parse_with(&text, callable).map_err(together)?;
            state.ask(|asker| Input::Catalogue(catalogue::Input::Define { asker, text }))
        })?;
        Ok(())
    }

    pub(super) fn add_library(&self, name: LibraryName, bytes: &[u8]) -> Result<(), Fault> {
        let bytes = catalogue::Bytes::new(bytes);
        self.change(|state| state.ask(|asker| Input::Catalogue(catalogue::Input::AddLibrary { asker, name, bytes })))?;
        Ok(())
    }

    pub(super) fn signal(&self, transaction: TransactionId, signal: SignalName, document: Text) -> Result<(), Fault> {
        let signal = FromSession::Signal { transaction, signal, document };
        self.change(|state| state.ask(|asker| dispatch::from_session(asker, signal, transaction)))?;
        Ok(())
    }

    /// The name of a definition of this one operation, which somebody is signed up for.
    pub(super) fn alone(&self, operation: &OperationName) -> Result<DefinitionName, Fault> {
        let name: DefinitionName = {
            let mut state = self.state();
            if state.ensemble.surroundings().offers().performers(operation, false).is_empty() {
                let message = format!("no service is attached that is signed up for {operation}");
                return Err(Fault::new(Code::NoPerformer, message).help("attach it to the node first"));
            }
            if let Some(known) = state.alone.get(operation) {
                return Ok(known.clone());
            }
            state.alone_count += 1;
            format!("alone:{}", state.alone_count).parse()?
        };
        self.define(alone(&name, operation).as_bytes())?;
        // Known only now that it is defined; another thread may have been faster.
        Ok(self.state().alone.entry(operation.clone()).or_insert(name).clone())
    }

    pub(super) fn picture(&self, transaction: TransactionId) -> Option<Picture> {
        let state = self.state();
        let instance = state.ensemble.transaction(transaction)?;
        instance.picture(state.ensemble.surroundings().definitions().version(&instance.definition_hash()?)?)
    }

    pub(super) fn asked(&self, operation: &str) -> Vec<Asked> {
        self.state().register.of(operation)
    }

    pub(super) fn left_over(&self) -> Vec<String> {
        self.state().ensemble.left_over()
    }

    pub(super) fn own_password(&self) -> String {
        self.own_password.clone()
    }

    pub(super) fn require_password(&self, password: String) {
        self.state().password = Some(Password(password));
    }

    pub(super) fn redeliver(&self, id: InvocationId) -> Result<oneshot::Receiver<Outcome>, Fault> {
        let mut state = self.state();
        let unknown = |message| Fault::new(Code::ServiceUnknown, message);
        let (service, invocation) =
            state.register.find(id).ok_or_else(|| unknown(format!("no service was asked for {id}")))?;
        // The newest: an older one may be gone without having been noticed.
        let attached = state.seats.iter().rfind(|(_, seat)| seat.services.contains(&service)).map(|(id, _)| *id);
        let session = attached.ok_or_else(|| unknown(format!("the service {service} is not attached")))?;
        let (outcome, outcomes) = oneshot::channel();
        state.redelivered.insert(id, outcome);
        state.tell(session, ToSession::Perform { service, invocation });
        Ok(outcomes)
    }

    /// Another connection, whose other end the node serves.
    fn connect(self: &Arc<Self>) -> Result<Stream, Fault> {
        if !self.state().is_up {
            return Err(Fault::new(Code::NodeStopped, "the node in memory is stopped"));
        }
        let (theirs, ours) = duplex(PIPE_BYTES);
        let world = Arc::clone(self);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        while sessions.try_join_next().is_some() {}
        sessions.spawn(async move {
            let arrival = session::Arrival::new(ours, "memory");
            session::serve(arrival, &*world, &session::Room::default(), &CancellationToken::new()).await
        });
        Ok(theirs.into())
    }

    pub(super) async fn drop_connections(&self) {
        let mut sessions = std::mem::take(&mut *self.sessions.lock().unwrap_or_else(PoisonError::into_inner));
        sessions.shutdown().await;
        self.state().redelivered.clear();
    }

    pub(super) async fn stop(&self) {
        self.change(|state| state.is_up = false);
        self.drop_connections().await;
    }

    pub(super) async fn restart(&self) {
        self.stop().await;
        self.change(|state| {
            state.ensemble = state.ensemble.restarted();
            state.is_up = true;
            state.begin();
        });
    }

    /// The test is over.
    pub(super) fn end(&self) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.state().is_up = false;
    }
}

impl fmt::Debug for World {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("World").finish_non_exhaustive()
    }
}

impl Entrance for World {
    type Guest = ();

    async fn welcome(&self, visitor: Visitor<'_>) -> Result<(Welcome, ()), Unwelcome> {
        let state = self.state();
        let shown = visitor.password.map(|password| password.0.as_str());
        let is_own = shown == Some(self.own_password.as_str());
        if !is_own && state.password.as_ref().is_some_and(|wanted| shown != Some(wanted.0.as_str())) {
            let message = format!("{} did not show the password that this node asks for", visitor.name);
            return Err(Fault::new(Code::AccessDenied, message).into());
        }
        let organization = Some(state.own.name.clone());
        Ok((Welcome { organization, city: "Testville".parse().ok(), alternates: Vec::new() }, ()))
    }
}

impl Door for World {
    fn open(&self, (): (), to_session: mpsc::UnboundedSender<ToSession>) -> SessionId {
        let mut state = self.state();
        state.last_session += 1;
        let session = SessionId(state.last_session);
        state.seats.insert(session, Seat { way: to_session, services: BTreeSet::new(), topics: BTreeSet::new() });
        session
    }

    fn deliver(&self, asker: Asker, input: FromSession) -> Result<(), Fault> {
        self.change(|state| state.deliver(asker, input));
        Ok(())
    }

    fn close(&self, session: SessionId) {
        self.change(|state| state.close(session));
    }
}

impl State {
    fn now(&self) -> Moment {
        self.origin.plus_ms(self.started.elapsed().as_millis() as u64).plus_ms(self.advanced_ms)
    }

    fn wakes_at(&self) -> Option<Moment> {
        self.ensemble.wakes_at().filter(|_| self.is_up)
    }

    /// What a node does when its process starts.
    fn begin(&mut self) {
        self.run(|ensemble, now, dice, page| ensemble.redraw(now, dice, page));
        self.take(Input::Directory(directory::Input::Introduce(self.own.clone())));
        self.run(|ensemble, now, dice, page| ensemble.resume(now, dice, page));
    }

    fn wake(&mut self) {
        self.run(|ensemble, now, dice, page| drop(ensemble.wake(now, dice, page)));
    }

    /// Go on to the next moment at which something happens, but not beyond `until`. Says whether there is more to come.
    fn step_towards(&mut self, until: Moment) -> bool {
        let next = self.wakes_at().filter(|at| *at <= until);
        self.advanced_ms += next.unwrap_or(until).since_ms(self.now());
        if next.is_some() {
            self.wake();
        }
        next.is_some()
    }

    fn take(&mut self, input: Input) {
        self.run(|ensemble, now, dice, page| drop(ensemble.take(now, dice, input, page)));
    }

    /// Have the machines do something, and then what follows from what they let out.
    fn run(&mut self, act: impl FnOnce(&mut Ensemble, Moment, &mut Dice, &mut Page)) {
        self.words += 1;
        let mut page = Page::default();
        let now = self.now();
        act(&mut self.ensemble, now, &mut self.dice, &mut page);
        let mut inputs = VecDeque::new();
        loop {
            for outward in std::mem::take(&mut page.0) {
                inputs.extend(self.let_out(outward));
            }
            let Some(input) = inputs.pop_front() else { return };
            self.ensemble.take(now, &mut self.dice, input, &mut page);
        }
    }

    fn let_out(&mut self, outward: Outward) -> Option<Input> {
        match outward {
            Outward::Session(OWN, answer) => self.own_answer(answer),
            Outward::Session(session, words) => {
                match &words {
                    ToSession::Perform { service, invocation } => self.register.delivered(service, invocation),
                    ToSession::Withdraw { invocation } => self.register.withdrawn(*invocation),
                    _ => {}
                }
                // A session can end while work is on its way to it; then its mailbox gives the work to another.
                if let Some(ToSession::Perform { service, .. }) = self.tell(session, words) {
                    return Some(Input::Mailbox(service, mailbox::Input::Detach { session }));
                }
            }
            Outward::Sign(record) => {
                let signed = Signed::new(&self.key, Purpose::Directory, &*record);
                return Some(Input::Directory(directory::Input::Signed(signed)));
            }
            // There are no peers.
            Outward::Peer(..) | Outward::Announce { .. } | Outward::Learn(_) => {}
        }
        None
    }

    /// Tell a session something; what it was not told because it is over is given back.
    fn tell(&mut self, session: SessionId, words: ToSession) -> Option<ToSession> {
        self.words += 1;
        match self.seats.get(&session) {
            Some(seat) => seat.way.send(words).err().map(|unsent| unsent.0),
            None => Some(words),
        }
    }

    fn own_answer(&mut self, answer: ToSession) {
        match answer {
            ToSession::Acknowledged { message, tracking } => drop(self.answers.insert(message, Ok(tracking))),
            ToSession::Refused { message, fault } => drop(self.answers.insert(message, Err(fault))),
            _ => {}
        }
    }

    /// Ask as the node itself; machines answer at once.
    fn ask(&mut self, question: impl FnOnce(Asker) -> Input) -> Result<Tracking, Fault> {
        self.last_question += 1;
        let message = self.last_question;
        self.take(question(Asker { session: OWN, message }));
        self.answers
            .remove(&message)
            .unwrap_or_else(|| Err(Fault::new(Code::Internal, "the node did not answer its own question")))
    }

    fn deliver(&mut self, asker: Asker, input: FromSession) {
        match &input {
            FromSession::Register { service, .. } => {
                if let Some(seat) = self.seats.get_mut(&asker.session) {
                    seat.services.insert(service.name.clone());
                }
            }
            FromSession::Subscribe { topic, .. } => {
                if let Some(seat) = self.seats.get_mut(&asker.session) {
                    seat.topics.insert(topic.clone());
                }
            }
            FromSession::Answer { invocation, outcome, .. } => {
                if let Some(waits) = self.redelivered.remove(invocation) {
                    // Whoever waited for it may have stopped waiting.
                    let _ = waits.send(outcome.clone());
                    let tracking = Tracking { invocation: Some(*invocation), ..Tracking::default() };
                    self.tell(asker.session, ToSession::Acknowledged { message: asker.message, tracking });
                    return;
                }
                self.register.answered(*invocation, outcome);
            }
            _ => {}
        }
        let fresh = TransactionId::new(self.now(), self.dice.bytes());
        self.take(dispatch::from_session(asker, input, fresh));
    }

    fn close(&mut self, session: SessionId) {
        let Some(seat) = self.seats.remove(&session) else { return };
        for service in seat.services {
            self.take(Input::Mailbox(service, mailbox::Input::Detach { session }));
        }
        for topic in seat.topics {
            self.take(Input::Topic(topic, topic::Input::Detach { session }));
        }
    }
}

/// The way to a node in memory, for whoever attaches to it.
#[derive(Clone)]
pub(crate) struct Pipe(Weak<World>);

impl Pipe {
    pub(super) fn to(world: &Arc<World>) -> Self {
        Self(Arc::downgrade(world))
    }

    /// A new connection to it.
    pub(crate) fn connect(&self) -> Result<Stream, Fault> {
        let gone = || Fault::new(Code::NodeStopped, "the node in memory is gone");
        self.0.upgrade().ok_or_else(gone)?.connect()
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Pipe")
    }
}

/// Who the node says it is: the founder of a federation of one.
fn own(key: &SigningKey, now: Moment) -> Own {
    let organization = OrganizationId(key.verifying_key().to_bytes());
    let name = || "Test".parse().expect("a name");
    let certificate = Certificate {
        subnode: SubnodeId([1; 32]),
        name: name(),
        city: "Testville".parse().expect("a city"),
        issued: now,
    };
    let charter = Charter { name: "Test".parse().expect("a name"), founder: organization, founded: now };
    Own {
        organization,
        name: name(),
        credentials: Credentials { charter: Signed::new(key, Purpose::Charter, &charter), admissions: Vec::new() },
        subnodes: vec![Subnode {
            certificate: Signed::new(key, Purpose::Certificate, &certificate),
            addresses: Vec::new(),
        }],
    }
}

/// All faults of a definition as one.
fn together(faults: Vec<Fault>) -> Fault {
    let message = match &faults[..] {
        [one] => one.message.clone(),
        many => many.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    };
    let first = faults.into_iter().next();
    Fault { message, ..first.unwrap_or_else(|| Fault::new(Code::DefinitionInvalid, "no definition")) }
}
