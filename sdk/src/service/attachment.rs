//! A service at work: one task that keeps a connection to the node, starts handlers and sends their replies. What was
//! performed already is asked of [`Memory`]; here is only the traffic.

use super::{
    Answer, Handler,
    memory::{Arrival, Memory},
    request::{Cancellation, Request},
};
use crate::{
    cxip::{Acknowledgement, Ended, Incoming, Message, Refusal, Stream, Wire},
    reach::{Approach, Door, Opened, Welcome, is_passing},
};
use hansa_core::{
    code::{Code, Fault},
    ident::{InvocationId, OperationName, ServiceName},
    invocation::Invocation,
    limit, offer,
    session::Tracking,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    future::pending,
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    task::{Id, JoinError, JoinHandle, JoinSet, yield_now},
    time::{Instant, sleep, sleep_until, timeout_at},
};

/// How long [`Running::stop`] waits for handlers and for the node to take their replies.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Invocations at work, waiting or on their way, for each that may be at work: a node that came back may ask for as many
/// again while the earlier ones still run.
const OPEN_PER_CREDIT: usize = 4;

/// A service that is attached to a node. Dropped, it ends at once; [`Running::stop`] ends it in order.
#[derive(Debug)]
pub struct Running {
    service: ServiceName,
    welcome: Welcome,
    connected: watch::Receiver<bool>,
    stop: watch::Sender<Option<Duration>>,
    task: JoinHandle<()>,
}

impl Running {
    /// The name of the service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Whose node it was attached to.
    #[must_use]
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Whether it is connected and registered now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Wait until it is connected and registered.
    pub async fn connected(&mut self) {
        if self.connected.wait_for(|connected| *connected).await.is_err() {
            // Its task is gone, so it never will be.
            pending().await
        }
    }

    /// Take nothing new, let the handlers that run come to their end, hand their replies over, and end. After five seconds
    /// it ends anyway; the node then asks another service, or this one when it is back.
    pub async fn stop(self) {
        self.stop_within(STOP_PATIENCE).await;
    }

    /// The same with another patience than five seconds.
    pub async fn stop_within(mut self, patience: Duration) {
        self.stop.send_replace(Some(patience));
        // Whether the task ended or panicked, it is over.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a service wants to work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// How many requests are at work at once.
    pub(super) credit: u32,
    /// How long to wait for a node that does not answer yet.
    pub(super) patience: Duration,
    /// Whether a handler is dropped when its request is withdrawn.
    pub(super) stop_withdrawn: bool,
}

/// Everything that a running service knows.
pub(super) struct Attachment {
    approach: Approach,
    offer: offer::Service,
    handlers: BTreeMap<OperationName, Handler>,
    credit: u32,
    stop_withdrawn: bool,
    memory: Memory,
    /// Taken, but for want of credit not begun.
    waiting: VecDeque<(Invocation, Cancellation)>,
    tasks: JoinSet<Answer>,
    invocations: HashMap<Id, InvocationId>,
    /// Replies to send.
    outbox: VecDeque<InvocationId>,
    /// Replies to send again at a certain time, because the node was busy.
    postponed: BTreeSet<(Instant, InvocationId)>,
    connected: watch::Sender<bool>,
    /// Whether it shall end, and how long that may take.
    stop: watch::Receiver<Option<Duration>>,
}

/// A connection, and what is known of it only.
struct Line {
    wire: Wire<Stream>,
    welcome: Welcome,
    /// The number of the Register message, until it is acknowledged.
    registering: Option<u64>,
    /// Invocations for which there was no room when they came, with the numbers of their messages. They stay
    /// unacknowledged, so the node's credit bounds them.
    held: VecDeque<(u64, Invocation)>,
    /// Replies sent and not yet acknowledged, by the numbers of their messages.
    sent: HashMap<u64, InvocationId>,
}

impl Line {
    fn over((wire, welcome): Opened) -> Self {
        Self { wire, welcome, registering: None, held: VecDeque::new(), sent: HashMap::new() }
    }
}

/// Why there is no connection any more.
enum Over {
    /// It shall end, at that time at the latest.
    Stopped(Instant),
    Lost(Ended),
    Refused(Refusal),
}

type Ready = oneshot::Sender<Result<Welcome, Fault>>;

impl Attachment {
    /// Begin, and wait until the service is registered or cannot be.
    pub(super) async fn begin(
        door: Door,
        offer: offer::Service,
        handlers: BTreeMap<OperationName, Handler>,
        options: Options,
    ) -> Result<Running, Fault> {
        let (connected, sees_connected) = watch::channel(false);
        let (stop, stops) = watch::channel(None);
        let service = offer.name.clone();
        let attachment = Self {
            approach: Approach::new(door),
            offer,
            handlers,
            credit: options.credit,
            stop_withdrawn: options.stop_withdrawn,
            memory: Memory::default(),
            waiting: VecDeque::new(),
            tasks: JoinSet::new(),
            invocations: HashMap::new(),
            outbox: VecDeque::new(),
            postponed: BTreeSet::new(),
            connected,
            stop: stops,
        };
        let (ready, is_ready) = oneshot::channel();
        // Held from here on, so that the task ends with it also when the caller stops waiting.
        let mut running = Running {
            service,
            welcome: Welcome::default(),
            connected: sees_connected,
            stop,
            task: tokio::spawn(attachment.run(ready, Instant::now() + options.patience)),
        };
        let gone = |_| Err(Fault::new(Code::Internal, "the task of the service ended before it was attached"));
        running.welcome = is_ready.await.unwrap_or_else(gone)?;
        Ok(running)
    }

    /// Connect, serve, connect again, until stopped. Before the first success, no longer than until `patience`.
    async fn run(mut self, ready: Ready, patience: Instant) {
        let mut ready = Some(ready);
        loop {
            let is_last = ready.is_some() && Instant::now() >= patience;
            let opened = tokio::select! {
                grace = stopped(self.stop.clone()) => return self.finish(grace).await,
                opened = self.approach.round(is_last) => opened,
            };
            let over = match opened {
                Ok(opened) => {
                    let over = self.serve(Line::over(opened), &mut ready).await;
                    self.connected.send_replace(false);
                    over
                }
                Err(fault) => Over::Refused(fault.into()),
            };
            match over {
                Over::Stopped(grace) => return self.finish(grace).await,
                Over::Lost(ended) => {
                    let node = self.approach.node();
                    tracing::warn!(service = %self.offer.name, %node, %ended, "connection lost");
                    if let Some(ready) = ready.take_if(|_| Instant::now() >= patience) {
                        let _ = ready.send(Err(self.approach.door().unanswered(&node.to_string(), ended)));
                        return;
                    }
                    self.approach.lost(&ended);
                }
                Over::Refused(refusal) => {
                    let fault = &refusal.fault;
                    tracing::warn!(service = %self.offer.name, node = %self.approach.node(), %fault, "not attached");
                    self.approach.refused(&refusal);
                    if let Some(ready) = ready.take_if(|_| !is_passing(fault.code) || Instant::now() >= patience) {
                        // Whoever waited may have stopped waiting; then the task is aborted anyway.
                        let _ = ready.send(Err(refusal.fault));
                        return;
                    }
                }
            }
            let pause = self.approach.pause();
            tokio::select! {
                grace = stopped(self.stop.clone()) => return self.finish(grace).await,
                () = sleep(pause) => (),
            }
        }
    }

    /// Let the handlers that run come to their end, without a connection for what they answer.
    async fn finish(&mut self, until: Instant) {
        self.waiting.clear();
        while let Ok(Some(_)) = timeout_at(until, self.tasks.join_next()).await {}
    }

    /// Serve over one connection until it is over.
    async fn serve(&mut self, mut line: Line, ready: &mut Option<Ready>) -> Over {
        self.outbox = self.memory.reconnected().into();
        self.postponed.clear();
        let register = Message::Register { service: self.offer.clone(), credit: self.credit };
        match line.wire.send(0, &register) {
            Ok(number) => line.registering = Some(number),
            Err(fault) => return Over::Refused(fault.into()),
        }
        let mut grace: Option<Instant> = None;
        let mut stopped = pin!(stopped(self.stop.clone()));
        loop {
            self.take_held(&mut line);
            if self.start_waiting() {
                // Whoever answers at once gets to, so that acknowledgement and reply leave in one write.
                yield_now().await;
                self.end_all();
            }
            self.send_replies(&mut line);
            if let Some(until) = grace.filter(|grace| self.memory.is_idle() || Instant::now() >= *grace) {
                line.wire.finish().await;
                return Over::Stopped(until);
            }
            let due = self.postponed.first().map(|(due, _)| *due).into_iter().chain(grace).min();
            tokio::select! {
                until = &mut stopped, if grace.is_none() => {
                    line.wire.grant(0);
                    grace = Some(until);
                }
                () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => self.resume_postponed(),
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    self.end(ended);
                    self.end_all();
                }
                incoming = line.wire.receive() => {
                    let mut taken = incoming.map(Some).map_err(Over::Lost);
                    while let Ok(Some(incoming)) = taken {
                        taken = self
                            .take_in(&mut line, ready, incoming, grace.is_some())
                            .and_then(|()| line.wire.received().map_err(Over::Lost));
                    }
                    if let Err(over) = taken {
                        line.wire.finish().await;
                        return grace.map_or(over, Over::Stopped);
                    }
                }
            }
        }
    }

    fn take_in(
        &mut self,
        line: &mut Line,
        ready: &mut Option<Ready>,
        incoming: Incoming,
        stopping: bool,
    ) -> Result<(), Over> {
        match incoming {
            // What comes after the credit was taken back stays unanswered: the node gives it to somebody else.
            Incoming::Message { message: Message::Perform { .. }, .. } if stopping => (),
            Incoming::Message { number, message: Message::Perform { service, invocation }, .. } => {
                self.arrive(line, number, &service, invocation);
            }
            Incoming::Message { number, message: Message::Withdraw { invocation }, .. } => {
                line.wire.acknowledge(number, of_invocation(invocation));
                if let Some(place) = line.held.iter().position(|(_, held)| held.id == invocation) {
                    let held = line.held.remove(place);
                    held.into_iter().for_each(|(number, _)| line.wire.acknowledge(number, of_invocation(invocation)));
                }
                self.memory.withdraw(invocation);
            }
            Incoming::Unread(_) => (),
            Incoming::Message { number, .. } => {
                let fault = Fault::new(Code::MessageOutOfOrder, "a service is asked to perform, and to withdraw");
                line.wire.refuse(number, fault);
            }
            Incoming::Acknowledged { message, .. } if line.registering == Some(message) => {
                line.registering = None;
                self.approach.succeeded();
                self.connected.send_replace(true);
                tracing::info!(service = %self.offer.name, node = %self.approach.node(), "attached");
                if let Some(ready) = ready.take() {
                    // Whoever waited may have stopped waiting; then the task is aborted anyway.
                    let _ = ready.send(Ok(line.welcome.clone()));
                }
            }
            Incoming::Acknowledged { message, .. } => {
                if let Some(id) = line.sent.remove(&message) {
                    self.memory.confirm(id);
                }
            }
            Incoming::Refused { message, refusal }
                if message == 0 || line.registering == Some(message) || refusal.fault.code == Code::NotActive =>
            {
                return Err(Over::Refused(refusal));
            }
            Incoming::Refused { message, refusal } => {
                if let Some(id) = line.sent.remove(&message) {
                    self.refused(id, refusal);
                }
            }
        }
        Ok(())
    }

    fn arrive(&mut self, line: &mut Line, number: u64, service: &ServiceName, invocation: Invocation) {
        if *service != self.offer.name {
            let message = format!("this is the service {}, not {service}", self.offer.name);
            return line.wire.refuse(number, Fault::new(Code::ServiceUnknown, message));
        }
        if line.held.is_empty() {
            self.take(line, number, invocation);
        } else {
            line.held.push_back((number, invocation));
        }
    }

    /// Take what had to be held, as far as there is room now.
    fn take_held(&mut self, line: &mut Line) {
        for _ in 0..line.held.len() {
            let before = line.held.len();
            let Some((number, invocation)) = line.held.pop_front() else { return };
            self.take(line, number, invocation);
            if line.held.len() == before {
                // There was no room still, so it is the last now; the others come before it again.
                line.held.rotate_right(1);
                return;
            }
        }
    }

    fn take(&mut self, line: &mut Line, number: u64, invocation: Invocation) {
        let id = invocation.id;
        match self.memory.arrive(id, number, self.credit as usize * OPEN_PER_CREDIT) {
            Arrival::Perform(cancellation) => self.waiting.push_back((invocation, cancellation)),
            Arrival::AtWork => (),
            Arrival::Answered => self.outbox.push_back(id),
            Arrival::Full => return line.held.push_back((number, invocation)),
        }
        line.wire.acknowledge(number, of_invocation(id));
    }

    /// Begin what waits, as far as the credit goes; says whether any handler was started.
    fn start_waiting(&mut self) -> bool {
        let running = self.tasks.len();
        while self.tasks.len() < self.credit as usize
            && let Some((invocation, cancellation)) = self.waiting.pop_front()
        {
            let id = invocation.id;
            match self.handlers.get(&invocation.target.operation) {
                _ if cancellation.is_cancelled() => {
                    self.answer(id, Err(Fault::new(Code::OperationFailed, "withdrawn")))
                }
                Some(handler) => {
                    let withdrawn = self.stop_withdrawn.then(|| cancellation.clone());
                    let request = Request::with(invocation, cancellation);
                    let handle = self.tasks.spawn(perform(Arc::clone(handler), request, withdrawn));
                    self.invocations.insert(handle.id(), id);
                }
                None => {
                    let message =
                        format!("the service {} does not perform {}", self.offer.name, invocation.target.operation);
                    self.answer(id, Err(Fault::new(Code::OperationFailed, message)));
                }
            }
        }
        self.tasks.len() > running
    }

    /// Take in what every handler that has ended has to say.
    fn end_all(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.end(ended);
        }
    }

    fn end(&mut self, ended: Result<(Id, Answer), JoinError>) {
        let (task, answer) = match ended {
            Ok((task, answer)) => (task, answer),
            Err(error) => {
                tracing::error!(service = %self.offer.name, %error, "a handler did not come to its end");
                let fault = Fault::new(Code::OperationFailed, format!("the handler in {} panicked", self.offer.name));
                (error.id(), Err(fault))
            }
        };
        if let Some(id) = self.invocations.remove(&task) {
            self.answer(id, answer);
        }
    }

    fn answer(&mut self, id: InvocationId, answer: Answer) {
        let service = self.offer.name.clone();
        let message = match answer {
            Ok(document) => Message::Completed { invocation: id, service, document },
            Err(fault) => Message::Failed { invocation: id, service, fault },
        };
        if self.memory.end(id, message) {
            self.outbox.push_back(id);
        }
    }

    fn send_replies(&mut self, line: &mut Line) {
        while line.registering.is_none() && line.wire.may_send() {
            let Some(id) = self.outbox.pop_front() else { return };
            let Some(reply) = self.memory.reply(id) else { continue };
            match line.wire.send(reply.asked, &reply.message) {
                Ok(number) => drop(line.sent.insert(number, id)),
                Err(fault) => self.fail_instead(id, fault),
            }
        }
    }

    fn refused(&mut self, id: InvocationId, Refusal { fault, retry_after_ms, .. }: Refusal) {
        match retry_after_ms {
            Some(pause_ms) => {
                let pause = self.approach.cut(pause_ms.clamp(1, limit::RECONNECT_MS_MAX) * 2);
                self.postponed.insert((Instant::now() + pause, id));
            }
            // Nobody waits for the answer any more.
            None if fault.code == Code::ResponseRefused => self.memory.confirm(id),
            None => self.fail_instead(id, fault),
        }
    }

    /// The node cannot take this answer as it is; the one who waits for it shall at least hear that.
    fn fail_instead(&mut self, id: InvocationId, fault: Fault) {
        tracing::warn!(service = %self.offer.name, invocation = %id, %fault, "the node refused an answer");
        if self.memory.fail_instead(id, &self.offer.name, &fault) {
            self.outbox.push_back(id);
        }
    }

    fn resume_postponed(&mut self) {
        let now = Instant::now();
        while let Some((due, id)) = self.postponed.first().copied() {
            if due > now {
                return;
            }
            self.postponed.pop_first();
            self.outbox.push_back(id);
        }
    }
}

/// Run a handler, all of it in a task of its own: what it does before its first `await` can panic and block as well.
async fn perform(handler: Handler, request: Request, withdrawn: Option<Cancellation>) -> Answer {
    let work = async move { handler(request).await };
    match withdrawn {
        None => work.await,
        Some(withdrawn) => tokio::select! {
            answer = work => answer,
            () = withdrawn.cancelled() => Err(Fault::new(Code::OperationFailed, "withdrawn")),
        },
    }
}

/// Wait until the service shall end; then until when.
async fn stopped(mut stop: watch::Receiver<Option<Duration>>) -> Instant {
    let patience = stop.wait_for(Option::is_some).await.ok().and_then(|patience| *patience);
    match patience {
        Some(patience) => Instant::now() + patience,
        // Nobody is left who could say so; then the task is aborted.
        None => pending().await,
    }
}

fn of_invocation(id: InvocationId) -> Acknowledgement {
    Acknowledgement { tracking: Tracking { invocation: Some(id), ..Tracking::default() }, ..Acknowledgement::default() }
}
