//! What a client has asked for and not yet heard: so that after a broken connection everything is asked again, in order,
//! and nothing twice. Knows no connection; the attachment tells it what happened to which message number.

use crate::cxip::{Message, Refusal};
use hansa_core::{
    code::{Code, Fault},
    document::Text,
    ident::{DefinitionName, TransactionId},
    limit,
    session::{Response, Status, Tracking},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

type Tell<T> = oneshot::Sender<Result<T, Fault>>;

/// Something that a caller asked for, and where to tell what became of it.
#[derive(Debug)]
pub(super) enum Ask {
    Submit {
        transaction: TransactionId,
        definition: DefinitionName,
        document: Text,
        /// There until the node took it.
        taken: Option<Tell<Tracking>>,
        response: Tell<Response>,
        /// Held while it is open.
        _permit: OwnedSemaphorePermit,
    },
    Await {
        transaction: TransactionId,
        response: Tell<Response>,
        /// Held while it is open.
        _permit: OwnedSemaphorePermit,
    },
    Query {
        transaction: TransactionId,
        status: Tell<Status>,
    },
    Cancel {
        transaction: TransactionId,
        done: Tell<()>,
    },
    /// Whatever is done when it is acknowledged, and can be repeated until then.
    Say {
        message: Message,
        done: Tell<Tracking>,
    },
}

impl Ask {
    /// The message that asks for it now.
    fn message(&self) -> Message {
        match self {
            Self::Submit { transaction, definition, document, taken: Some(_), .. } => Message::Submit {
                definition: definition.clone(),
                transaction: Some(*transaction),
                document: document.clone(),
            },
            Self::Submit { transaction, .. } | Self::Await { transaction, .. } => {
                Message::Await { transaction: *transaction }
            }
            Self::Query { transaction, .. } => Message::Query { transaction: *transaction },
            Self::Cancel { transaction, .. } => Message::Cancel { transaction: *transaction },
            Self::Say { message, .. } => message.clone(),
        }
    }

    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Submit { taken: Some(taken), .. } => taken.is_closed(),
            Self::Submit { response, .. } | Self::Await { response, .. } => response.is_closed(),
            Self::Query { status, .. } => status.is_closed(),
            Self::Cancel { done, .. } => done.is_closed(),
            Self::Say { done, .. } => done.is_closed(),
        }
    }

    pub(super) fn fail(self, fault: Fault) {
        // Whoever asked may have stopped waiting.
        let _ = match self {
            Self::Submit { taken: Some(taken), .. } => taken.send(Err(fault)).is_ok(),
            Self::Submit { response, .. } | Self::Await { response, .. } => response.send(Err(fault)).is_ok(),
            Self::Query { status, .. } => status.send(Err(fault)).is_ok(),
            Self::Cancel { done, .. } => done.send(Err(fault)).is_ok(),
            Self::Say { done, .. } => done.send(Err(fault)).is_ok(),
        };
    }
}

#[derive(Debug)]
struct Entry {
    ask: Ask,
    /// Since when the node has been busy for it.
    busy_since: Option<Instant>,
}

/// The ledger.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    last: u64,
    open: BTreeMap<u64, Entry>,
    /// To be sent, in this order.
    ready: VecDeque<u64>,
    /// To be sent again at a certain time.
    postponed: BTreeSet<(Instant, u64)>,
    /// Sent on the connection of now, by message number.
    sent: HashMap<u64, u64>,
}

impl Ledger {
    pub(super) fn add(&mut self, ask: Ask) {
        self.last += 1;
        self.open.insert(self.last, Entry { ask, busy_since: None });
        self.ready.push_back(self.last);
    }

    /// How many wait to be sent.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The connection is a new one: everything that somebody still waits for is to be asked again.
    pub(super) fn reconnected(&mut self) {
        self.sent.clear();
        self.postponed.clear();
        self.open.retain(|_, entry| !entry.ask.is_abandoned());
        self.ready = self.open.keys().copied().collect();
    }

    /// The next message to send; [`Ledger::sent`] or [`Ledger::unsendable`] says what became of it.
    pub(super) fn next(&mut self) -> Option<(u64, Message)> {
        loop {
            let id = self.ready.pop_front()?;
            match self.open.get(&id) {
                Some(entry) if entry.ask.is_abandoned() => drop(self.open.remove(&id)),
                Some(entry) => return Some((id, entry.ask.message())),
                None => (),
            }
        }
    }

    pub(super) fn sent(&mut self, id: u64, number: u64) {
        self.sent.insert(number, id);
    }

    pub(super) fn unsendable(&mut self, id: u64, fault: Fault) {
        if let Some(entry) = self.open.remove(&id) {
            entry.ask.fail(fault);
        }
    }

    /// None of what is open will be answered.
    pub(super) fn fail_all(&mut self, fault: &Fault) {
        self.sent.clear();
        self.postponed.clear();
        self.ready.clear();
        std::mem::take(&mut self.open).into_values().for_each(|entry| entry.ask.fail(fault.clone()));
    }

    /// The node took message `number`.
    pub(super) fn acknowledged(&mut self, number: u64, tracking: Tracking) {
        let Some(&id) = self.sent.get(&number) else { return };
        let Some(entry) = self.open.get_mut(&id) else { return };
        entry.busy_since = None;
        match &mut entry.ask {
            Ask::Submit { taken, .. } => {
                if let Some(taken) = taken.take() {
                    // Whoever asked may have stopped waiting.
                    let _ = taken.send(Ok(tracking));
                }
            }
            Ask::Await { .. } | Ask::Query { .. } => (),
            Ask::Say { .. } => {
                self.sent.remove(&number);
                if let Some(Entry { ask: Ask::Say { done, .. }, .. }) = self.open.remove(&id) {
                    let _ = done.send(Ok(tracking));
                }
            }
            Ask::Cancel { .. } => {
                self.sent.remove(&number);
                if let Some(Entry { ask: Ask::Cancel { done, .. }, .. }) = self.open.remove(&id) {
                    let _ = done.send(Ok(()));
                }
            }
        }
    }

    /// The node refused message `number`. What it is only too busy for is asked again after a pause that `cut` makes of
    /// the one it names, but not for ever.
    pub(super) fn refused(&mut self, number: u64, refusal: Refusal, cut: impl FnOnce(u64) -> Duration) {
        let Some(id) = self.sent.remove(&number) else { return };
        let Some(entry) = self.open.get_mut(&id) else { return };
        if let Some(retry_after_ms) = refusal.retry_after_ms {
            let now = Instant::now();
            let since = *entry.busy_since.get_or_insert(now);
            if now.duration_since(since) < Duration::from_millis(limit::BUSY_PATIENCE_MS_MAX) {
                self.postponed.insert((now + cut(retry_after_ms.clamp(1, limit::RECONNECT_MS_MAX)), id));
                return;
            }
        }
        self.unsendable(id, refusal.fault);
    }

    /// The reply to message `number`: how a transaction ended. Says whether it fits what was asked.
    pub(super) fn responded(&mut self, number: u64, answer: Response) -> bool {
        let Some(entry) = self.take_answered(number, answer.transaction) else { return false };
        match entry.ask {
            Ask::Submit { taken, response, .. } => {
                if let Some(taken) = taken {
                    let tracking = Tracking { transaction: Some(answer.transaction), ..Tracking::default() };
                    let _ = taken.send(Ok(tracking));
                }
                let _ = response.send(Ok(answer));
            }
            Ask::Await { response, .. } => drop(response.send(Ok(answer))),
            other => {
                other.fail(Fault::new(Code::MessageOutOfOrder, "the node answered something else than was asked"));
                return false;
            }
        }
        true
    }

    /// The reply to message `number`: how far a transaction is. Says whether it fits what was asked.
    pub(super) fn told(&mut self, number: u64, answer: Status) -> bool {
        let Some(entry) = self.take_answered(number, answer.transaction) else { return false };
        match entry.ask {
            Ask::Query { status, .. } => {
                let _ = status.send(Ok(answer));
                true
            }
            other => {
                other.fail(Fault::new(Code::MessageOutOfOrder, "the node answered something else than was asked"));
                false
            }
        }
    }

    fn take_answered(&mut self, number: u64, about: TransactionId) -> Option<Entry> {
        let id = *self.sent.get(&number)?;
        let asked = match self.open.get(&id)?.ask {
            Ask::Submit { transaction, .. }
            | Ask::Await { transaction, .. }
            | Ask::Query { transaction, .. }
            | Ask::Cancel { transaction, .. } => transaction,
            Ask::Say { .. } => return None,
        };
        if asked != about {
            return None;
        }
        self.sent.remove(&number);
        self.open.remove(&id)
    }

    /// When something is to be sent again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.postponed.first().map(|(due, _)| *due)
    }

    /// Send again what is due.
    pub(super) fn resume_postponed(&mut self) {
        let now = Instant::now();
        while let Some((due, id)) = self.postponed.first().copied() {
            if due > now {
                return;
            }
            self.postponed.pop_first();
            self.ready.push_back(id);
        }
    }
}
