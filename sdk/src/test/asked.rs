//! What an in-memory node remembers of invocations, so that a test can look at them: the newest, up to a maximum. The node
//! writes down here what passes; nothing is decided by it.

use hansa_core::{
    document::Text,
    ident::{InvocationId, OperationName, ServiceName, TransactionId},
    invocation::{Invocation, Outcome},
    limit,
};
use std::collections::{HashMap, VecDeque};

/// An invocation that was asked of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asked {
    /// Its id: the service's idempotency key.
    pub id: InvocationId,
    /// The transaction that it belongs to.
    pub transaction: TransactionId,
    /// What was asked for.
    pub operation: OperationName,
    /// Of whom; the last, where it was asked of several.
    pub service: ServiceName,
    /// Which attempt at the operation it is, from one.
    pub attempt: u32,
    /// The document that the service was given.
    pub document: Text,
    /// How often it was delivered: once, unless a connection or the node broke, or a test had it delivered again.
    pub deliveries: u32,
    /// What the service answered.
    pub outcome: Option<Outcome>,
    /// Whether the service was told that nobody waits any more.
    pub withdrawn: bool,
}

/// The newest invocations.
#[derive(Debug, Default)]
pub(super) struct Register {
    order: VecDeque<InvocationId>,
    entries: HashMap<InvocationId, (Asked, Invocation)>,
}

impl Register {
    pub(super) fn delivered(&mut self, service: &ServiceName, invocation: &Invocation) {
        let id = invocation.id;
        if let Some((asked, _)) = self.entries.get_mut(&id) {
            asked.deliveries += 1;
            asked.service = service.clone();
            return;
        }
        if self.order.len() == limit::TEST_INVOCATIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        let asked = Asked {
            id,
            transaction: invocation.context.transaction,
            operation: invocation.target.operation.clone(),
            service: service.clone(),
            attempt: invocation.context.attempt,
            document: invocation.document.clone(),
            deliveries: 1,
            outcome: None,
            withdrawn: false,
        };
        self.order.push_back(id);
        self.entries.insert(id, (asked, invocation.clone()));
    }

    pub(super) fn answered(&mut self, id: InvocationId, outcome: &Outcome) {
        if let Some((asked, _)) = self.entries.get_mut(&id) {
            asked.outcome = Some(outcome.clone());
        }
    }

    pub(super) fn withdrawn(&mut self, id: InvocationId) {
        if let Some((asked, _)) = self.entries.get_mut(&id) {
            asked.withdrawn = true;
        }
    }

    /// The invocation as it was delivered, and to whom.
    pub(super) fn find(&self, id: InvocationId) -> Option<(ServiceName, Invocation)> {
        self.entries.get(&id).map(|(asked, invocation)| (asked.service.clone(), invocation.clone()))
    }

    pub(super) fn of(&self, operation: &str) -> Vec<Asked> {
        let all = self.order.iter().filter_map(|id| self.entries.get(id));
        all.filter(|(asked, _)| asked.operation.as_str() == operation).map(|(asked, _)| asked.clone()).collect()
    }
}
