//! What a handler is given: the document to work on, and in what context it is asked for.

use hansa_core::{
    document::Text,
    ident::{DefinitionName, InvocationId, OperationName, OrganizationId, TransactionId},
    invocation::Invocation,
    moment::Moment,
};
use tokio_util::sync::CancellationToken;

/// One operation to perform.
#[derive(Clone, Debug)]
pub struct Request {
    invocation: Invocation,
    cancellation: Cancellation,
}

impl Request {
    /// A request, for tests of a handler.
    #[must_use]
    pub fn new(invocation: Invocation) -> Self {
        Self { invocation, cancellation: Cancellation::default() }
    }

    pub(super) fn with(invocation: Invocation, cancellation: Cancellation) -> Self {
        Self { invocation, cancellation }
    }

    /// The document to work on.
    #[must_use]
    pub fn document(&self) -> &Text {
        &self.invocation.document
    }

    /// The operation that is asked for, one of those that the service signed up for.
    #[must_use]
    pub fn operation(&self) -> &OperationName {
        &self.invocation.target.operation
    }

    /// The id of this act, and its idempotency key: the same act keeps it when it is asked for again, also after the
    /// service or the node was started anew. A handler with effects of its own writes it down together with them.
    #[must_use]
    pub fn invocation(&self) -> InvocationId {
        self.invocation.id
    }

    /// The transaction that it belongs to.
    #[must_use]
    pub fn transaction(&self) -> TransactionId {
        self.invocation.context.transaction
    }

    /// The definition of that transaction.
    #[must_use]
    pub fn definition(&self) -> &DefinitionName {
        &self.invocation.context.definition
    }

    /// The OPID of the operation in that definition.
    #[must_use]
    pub fn operation_id(&self) -> u32 {
        self.invocation.context.operation
    }

    /// Whose transaction it is.
    #[must_use]
    pub fn organization(&self) -> OrganizationId {
        self.invocation.context.organization
    }

    /// Which attempt at the operation this is, from one. Another attempt is another act with another id.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.invocation.context.attempt
    }

    /// After this moment nobody waits for the answer.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.invocation.deadline
    }

    /// Tells when nobody waits for the answer any more.
    #[must_use]
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }
}

/// Tells a handler that nobody waits for its answer any more. It may stop then, and need not.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(CancellationToken);

impl Cancellation {
    /// Whether it has been cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Wait until it is cancelled.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    pub(super) fn cancel(&self) {
        self.0.cancel();
    }
}
