//! The sessions of this node: connections of services and clients, and the node's own questions to its machines.
//!
//! Every session is a number and a way to tell it something. The administration and the federation ask through session
//! zero, whose answers are collected here, so that a question of the node's own takes the way of every other one.

use hansa_core::{
    code::{Code, Fault},
    ident::{AccountName, ServiceName, TopicAddress, TransactionId},
    session::{Asker, Response, SessionId, ToSession, Tracking},
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot};

/// The session of the node's own questions.
const OWN: SessionId = SessionId(0);
/// Numbers of questions for a transaction's response have this bit, the others have not.
const RESPONSE: u64 = 1 << 63;

/// Somebody who waits for a response.
type Awaiting = oneshot::Sender<Result<Response, Fault>>;

/// A session that is open.
struct Seat {
    way: mpsc::UnboundedSender<ToSession>,
    /// The account that it came as, where it needed one.
    account: Option<AccountName>,
}

/// Who is connected.
#[derive(Default)]
struct Seats {
    /// Why nobody may come just now.
    closed: Option<Fault>,
    all: HashMap<SessionId, Seat>,
}

/// The sessions that are open.
#[derive(Default)]
pub struct Sessions {
    last: AtomicU64,
    open: RwLock<Seats>,
    /// The services that each session performs.
    services: Mutex<HashMap<SessionId, Vec<ServiceName>>>,
    /// The topics that each session takes publications of.
    topics: Mutex<HashMap<SessionId, BTreeSet<TopicAddress>>>,
    last_question: AtomicU64,
    questions: Mutex<HashMap<u64, oneshot::Sender<Result<Tracking, Fault>>>>,
    responses: Mutex<HashMap<u64, Vec<Awaiting>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    /// A new session. Where none is let in, it is over at once: nobody holds its way.
    pub fn open(&self, account: Option<AccountName>, way: mpsc::UnboundedSender<ToSession>) -> SessionId {
        let session = SessionId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.closed.is_none() {
            open.all.insert(session, Seat { way, account });
        }
        session
    }

    /// The session is over. What it performed and subscribed to is given back, to be told to mailboxes and topics.
    pub fn close(&self, session: SessionId) -> (Vec<ServiceName>, BTreeSet<TopicAddress>) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).all.remove(&session);
        let services = locked(&self.services).remove(&session).unwrap_or_default();
        (services, locked(&self.topics).remove(&session).unwrap_or_default())
    }

    /// Sessions are let in: from the beginning, and again after [`Sessions::close_all`].
    pub fn let_in(&self) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).closed = None;
    }

    fn is_open(&self) -> Result<(), Fault> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).closed.clone().map_or(Ok(()), Err)
    }

    /// Every session is cut, and no more are let in; the node's own questions are answered with `why`.
    pub fn close_all(&self, why: &Fault) {
        {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            open.closed = Some(why.clone());
            open.all.clear();
        }
        for (_, answer) in locked(&self.questions).drain() {
            let _ = answer.send(Err(why.clone()));
        }
        for answer in locked(&self.responses).drain().flat_map(|(_, answers)| answers) {
            let _ = answer.send(Err(why.clone()));
        }
    }

    /// The session takes publications of a topic.
    pub fn subscribes(&self, session: SessionId, topic: &TopicAddress) {
        locked(&self.topics).entry(session).or_default().insert(topic.clone());
    }

    /// The account that a session came as.
    pub fn account(&self, session: SessionId) -> Option<AccountName> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).all.get(&session)?.account.clone()
    }

    /// The session registers a service.
    pub fn performs(&self, session: SessionId, service: &ServiceName) {
        let mut services = locked(&self.services);
        let services = services.entry(session).or_default();
        if !services.contains(service) {
            services.push(service.clone());
        }
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.open.read().unwrap_or_else(PoisonError::into_inner).all.len()
    }

    /// Tell a session something; what it was not told because it is over is given back.
    pub fn tell(&self, session: SessionId, message: ToSession) -> Option<ToSession> {
        if session == OWN {
            self.answered(message);
            return None;
        }
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        match open.all.get(&session) {
            Some(seat) => seat.way.send(message).err().map(|unsent| unsent.0),
            None => Some(message),
        }
    }

    /// Ask as the node itself: `question` hands the asker to a machine. The answer is the acknowledgement, once durable.
    pub async fn ask(&self, question: impl FnOnce(Asker) -> Result<(), Fault>) -> Result<Tracking, Fault> {
        let number = self.last_question.fetch_add(1, Ordering::Relaxed) + 1;
        let (answer, answered) = oneshot::channel();
        locked(&self.questions).insert(number, answer);
        // Looked at behind that: whoever closes answers what was there before.
        if let Err(fault) = self.is_open().and_then(|()| question(Asker { session: OWN, message: number })) {
            locked(&self.questions).remove(&number);
            return Err(fault);
        }
        answered.await.unwrap_or_else(|_| Err(Self::stopping()))
    }

    /// Wait for a transaction's response. All who wait for one transaction are one asker to it.
    pub async fn response(
        &self,
        transaction: TransactionId,
        question: impl FnOnce(Asker) -> Result<(), Fault>,
    ) -> Result<Response, Fault> {
        let number = transaction.0 as u64 | RESPONSE;
        let (answer, answered) = oneshot::channel();
        {
            let mut responses = locked(&self.responses);
            let waiting = responses.entry(number).or_default();
            waiting.retain(|answer| !answer.is_closed());
            waiting.push(answer);
        }
        self.is_open().and_then(|()| question(Asker { session: OWN, message: number }))?;
        answered.await.unwrap_or_else(|_| Err(Self::stopping()))
    }

    fn answered(&self, message: ToSession) {
        match message {
            ToSession::Acknowledged { message, tracking } => {
                if let Some(answer) = locked(&self.questions).remove(&message) {
                    let _ = answer.send(Ok(tracking));
                }
            }
            ToSession::Refused { message, fault } => {
                if let Some(answer) = locked(&self.questions).remove(&message) {
                    let _ = answer.send(Err(fault));
                } else {
                    self.respond(message, &Err(fault));
                }
            }
            ToSession::Respond { message, response } => self.respond(message, &Ok(response)),
            // The node performs nothing itself and asks for no status in this way.
            ToSession::Perform { .. }
            | ToSession::Notify { .. }
            | ToSession::Withdraw { .. }
            | ToSession::Status { .. } => {}
        }
    }

    fn respond(&self, message: u64, response: &Result<Response, Fault>) {
        for answer in locked(&self.responses).remove(&message).into_iter().flatten() {
            let _ = answer.send(response.clone());
        }
    }

    fn stopping() -> Fault {
        Fault::new(Code::NodeStopped, "the node is stopping")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_of_the_nodes_own_is_answered_like_any_other() {
        let sessions = Sessions::default();
        let acknowledged = sessions.ask(|asker| {
            let tracking = Tracking { word: Some("defined".into()), ..Tracking::default() };
            assert!(
                sessions.tell(asker.session, ToSession::Acknowledged { message: asker.message, tracking }).is_none()
            );
            Ok(())
        });
        assert_eq!(acknowledged.await.unwrap().word.as_deref(), Some("defined"));
        let busy = || Fault::new(Code::Busy, "no room");
        assert_eq!(sessions.ask(|_| Err(busy())).await.unwrap_err().code, Code::Busy);
        assert!(locked(&sessions.questions).is_empty(), "and leaves nothing behind");
    }

    #[tokio::test]
    async fn a_session_that_is_over_gives_back_what_it_performed_and_what_it_was_not_told() {
        let sessions = Sessions::default();
        let (way, mut told) = mpsc::unbounded_channel();
        let session = sessions.open(None, way);
        sessions.performs(session, &"credit".parse().unwrap());
        sessions.performs(session, &"credit".parse().unwrap());
        let message = ToSession::Refused { message: 1, fault: Fault::new(Code::Busy, "no room") };
        assert!(sessions.tell(session, message.clone()).is_none());
        assert_eq!(told.recv().await, Some(message.clone()));
        sessions.subscribes(session, &TopicAddress::own("prices".parse().unwrap()));
        let (services, topics) = sessions.close(session);
        assert_eq!((services.len(), topics.len()), (1, 1));
        assert_eq!(sessions.tell(session, message.clone()), Some(message));
    }

    // M4: a sub-node that does not serve any more holds no connection and leaves no question open.
    #[tokio::test]
    async fn when_all_are_cut_nobody_is_left_waiting_and_none_comes_in_before_it_is_let_in() {
        let sessions = Sessions::default();
        let (way, mut told) = mpsc::unbounded_channel();
        sessions.open(None, way);
        let gone = || Fault::new(Code::NotActive, "elsewhere");
        let asked = sessions.ask(|_| {
            sessions.close_all(&gone());
            Ok(())
        });
        assert_eq!(asked.await.unwrap_err().code, Code::NotActive);
        sessions.let_in();
        let awaited = sessions.response(TransactionId(7), |_| {
            sessions.close_all(&gone());
            Ok(())
        });
        assert_eq!(awaited.await.unwrap_err().code, Code::NotActive);
        assert_eq!((told.recv().await, sessions.count()), (None, 0), "its way is let go of");
        assert_eq!(sessions.ask(|_| panic!("nobody is there to ask")).await.unwrap_err().code, Code::NotActive);
        let (way, mut told) = mpsc::unbounded_channel();
        sessions.open(None, way);
        assert_eq!((told.recv().await, sessions.count()), (None, 0));
        sessions.let_in();
        let (way, _told) = mpsc::unbounded_channel();
        sessions.open(None, way);
        assert_eq!(sessions.count(), 1);
    }
}
