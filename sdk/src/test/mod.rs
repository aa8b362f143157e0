//! A node in memory, for tests of services and clients: no process, no port, no folder, and time that can be moved.
//!
//! It decides with the machines of the real node, so that a transaction with splits, joins, time limits and retries goes
//! here as it goes there, and it is attached to over real CXIP, through a stream in memory. It differs in this: nothing is
//! on a disk, there are no other members, and it can be told to misbehave.
//!
//! ```
//! use hansa_sdk::{Fault, Request, Service, Text, test::Node};
//!
//! /// The service under test.
//! fn credit() -> Result<Service, Fault> {
//!     Service::new("credit")?.operation("check-credit", |request: Request| async move {
//!         let order = request.document().tree()?;
//!         let small = order.root.attribute("total").is_some_and(|total| total.len() < 4);
//!         Text::parse(format!("<Credit granted='{small}'/>").as_bytes())
//!     })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Fault> {
//! let node = Node::start().await;
//! let running = credit()?.attach_to(&node).await?;
//! let answer = node.perform("check-credit", Text::parse(b"<Order total='250'/>")?).await?;
//! assert_eq!(answer.as_str(), "<Credit granted='true'/>");
//! assert_eq!(node.invocations("check-credit").len(), 1);
//! running.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Time
//!
//! The node's clock is tokio's: it goes on by itself, and with `#[tokio::test(start_paused = true)]` it stands still until
//! everybody waits, and then jumps. [`Node::advance`] moves the node's time alone, and tells on the way everybody whose
//! time has come. Use the runtime of one thread, which `#[tokio::test]` gives: then what happens at a moment has happened
//! before the next one comes.
//!
//! # What can go wrong
//!
//! | in the world | here |
//! | --- | --- |
//! | a connection breaks | [`Node::drop_connections`] |
//! | the node's process dies and comes back | [`Node::restart`], or [`Node::stop`] and later [`Node::restart`] |
//! | the node asks again for what was answered, because it died before it had the answer | [`Node::redeliver`] |
//! | the service's process dies | drop what [`Service::attach_to`](crate::Service::attach_to) gave, and attach again |
//! | nobody waits for an answer any more | [`Node::cancel`] the transaction, or [`Node::advance`] past its time limit |
//! | the wrong password | [`Node::require_password`] |

mod asked;
#[cfg(test)]
mod pair_tests;
#[cfg(test)]
mod stray_tests;
#[cfg(test)]
mod tests;
mod world;

pub use asked::Asked;
pub use hansa_core::{
    invocation::Outcome,
    transaction::{LegPicture, Loader, OperationPicture, Picture},
};
pub(crate) use world::Pipe;

use crate::{Answer, Client, Submission};
use hansa_core::{
    code::{Code, Fault},
    document::Text,
    ident::{DefinitionName, InvocationId, OperationName, TransactionId},
    moment::Moment,
    session::Ending,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::OnceCell, task::JoinHandle};
use world::World;

/// A node in memory. Clones are the same node; with the last of them it ends, and everything that is attached loses it.
#[derive(Clone, Debug)]
pub struct Node(Arc<Held>);

#[derive(Debug)]
struct Held {
    world: Arc<World>,
    client: OnceCell<Client>,
    clock: JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clock.abort();
        self.world.end();
    }
}

impl Node {
    /// A node of an organization of its own, with no definitions and no services.
    pub async fn start() -> Self {
        Self::start_with(Loader::default()).await
    }

    /// The same with something that runs libraries of functions, such as `hansa_library::Runtime::new()?.loader()` of the crate
    /// `hansa-library`, so that definitions may call them. This crate has none, for most services need no WebAssembly.
    pub async fn start_with(loader: Loader) -> Self {
        let world = World::new(loader);
        let clock = tokio::spawn(Arc::clone(&world).keep_time());
        Self(Arc::new(Held { world, client: OnceCell::new(), clock }))
    }

    /// Store a definition, as `hansa transaction define` does.
    ///
    /// # Errors
    /// It has faults. The message has all of them, each with its place; code, place and help are those of the first.
    pub fn define(&self, definition: impl AsRef<[u8]>) -> Result<(), Fault> {
        self.0.world.define(definition.as_ref())
    }

    /// Store a library of functions, as `hansa library add` does, so that definitions that are stored from then on may call it.
    ///
    /// # Errors
    /// It is none; or the node was not started [with a loader](Self::start_with).
    pub fn add_library(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        self.0.world.add_library(name.parse()?, bytes)
    }

    /// Begin a transaction, as a client of this node.
    ///
    /// # Errors
    /// The node refuses it.
    pub async fn submit(&self, definition: &str, document: Text) -> Result<Submission, Fault> {
        self.client().await?.submit(definition, document).await
    }

    /// Have an operation performed by whoever is attached and signed up for it, and wait for the answer. It is a transaction
    /// of that one operation, without a time limit.
    ///
    /// # Errors
    /// The fault that the handler returned, or [`Code::NoPerformer`] where nobody is signed up for the operation.
    pub async fn perform(&self, operation: &str, document: Text) -> Answer {
        let operation: OperationName = operation.parse()?;
        let definition = self.0.world.alone(&operation)?;
        let mut submission = self.submit(definition.as_str(), document).await?;
        answer(submission.response().await?.ending)
    }

    /// Cancel a transaction, as a client does: what it asked of services is withdrawn.
    ///
    /// # Errors
    /// There is no such transaction, or it has ended.
    pub async fn cancel(&self, transaction: TransactionId) -> Result<(), Fault> {
        self.client().await?.cancel(transaction).await
    }

    /// Signal to a transaction, for an operation of it that waits for that.
    ///
    /// # Errors
    /// There is no such transaction, or it does not wait for such a signal.
    pub fn signal(&self, transaction: TransactionId, signal: &str, document: Text) -> Result<(), Fault> {
        self.0.world.signal(transaction, signal.parse()?, document)
    }

    /// The node's own client, which [`Node::submit`] uses. Its name is `test`. Another is connected with
    /// [`Connecting::connect_to`](crate::Connecting::connect_to).
    ///
    /// # Errors
    /// The node is stopped.
    pub async fn client(&self) -> Result<&Client, Fault> {
        let connecting = || Client::named("test").password(self.0.world.own_password()).connect_to(self);
        self.0.client.get_or_try_init(connecting).await
    }

    /// How far a transaction is, with every operation and document: what `hansa transaction show` shows. None where there is
    /// no such transaction.
    #[must_use]
    pub fn picture(&self, transaction: TransactionId) -> Option<Picture> {
        self.0.world.picture(transaction)
    }

    /// What was asked of services under this operation, in order, and what came of it. The same invocation delivered again
    /// is one still.
    #[must_use]
    pub fn invocations(&self, operation: &str) -> Vec<Asked> {
        self.0.world.asked(operation)
    }

    /// The node's time.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.0.world.now()
    }

    /// Let the node's time go on by so much at once. Whatever was to happen on the way happens, in order, and what answers
    /// without waiting has answered before the next thing happens.
    ///
    /// ```
    /// use hansa_sdk::{Code, Ending, Service, Text, test::Node};
    /// use std::{future::pending, time::Duration};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), hansa_sdk::Fault> {
    /// let node = Node::start().await;
    /// // Somebody thinks for ever; the definition gives it an hour.
    /// let _thinker = Service::new("thinker")?.operation("think", |_| pending())?.attach_to(&node).await?;
    /// node.define(
    ///     "<TRANSACTION><NAME>ask</NAME>
    ///        <OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID>
    ///          <OPLINK><SRCOPID>0</SRCOPID><DSTOPID>1</DSTOPID></OPLINK></OPERATION>
    ///        <OPERATION><NAME>think</NAME><OPID>1</OPID><CXCNAME>ANY</CXCNAME><TIMEOUT>3600</TIMEOUT>
    ///          <OPLINK><SRCOPID>1</SRCOPID><DSTOPID>2</DSTOPID></OPLINK></OPERATION>
    ///        <OPERATION><NAME>CXtsTailOp</NAME><OPID>2</OPID>
    ///          <JOIN><DOCUMENT><OPID>1</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN></OPERATION>
    ///      </TRANSACTION>",
    /// )?;
    /// let mut submission = node.submit("ask", Text::parse(b"<Question/>")?).await?;
    /// node.advance(Duration::from_secs(3_600)).await;
    /// let ending = submission.response().await?.ending;
    /// assert!(matches!(ending, Ending::Failed(fault) if fault.code == Code::OperationTimedOut));
    /// assert!(node.invocations("think")[0].withdrawn);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn advance(&self, by: Duration) {
        self.0.world.advance(by).await;
    }

    /// Wait until nothing moves any more without time or somebody from outside.
    pub async fn settle(&self) {
        self.0.world.settle().await;
    }

    /// What is not finished, each in words: transactions that run, and invocations that services have or that wait for them.
    #[must_use]
    pub fn left_over(&self) -> Vec<String> {
        self.0.world.left_over()
    }

    /// Break every connection at once; what was on its way in them is lost. Services and clients come back by themselves.
    pub async fn drop_connections(&self) {
        self.0.world.drop_connections().await;
    }

    /// The node's process dies: connections break, nobody answers, and no time comes, until [`Node::restart`].
    pub async fn stop(&self) {
        self.0.world.stop().await;
    }

    /// The node's process dies, if it runs, and is started anew on what it had written down: definitions and transactions are
    /// there, and what was asked of services and not answered is asked again, under the same ids.
    pub async fn restart(&self) {
        self.0.world.restart().await;
    }

    /// Ask a service once more for an invocation that it has answered, as a node does that lost the answer, and wait for
    /// what it says now. The transaction is not touched.
    ///
    /// A service that stayed attached answers from memory, and its handler is not called. A service that was attached anew
    /// since, like one whose process was started again, has its handler called once more with the same
    /// [`Request::invocation`](crate::Request::invocation): what the handler does beside answering must not be done twice.
    ///
    /// ```
    /// use hansa_sdk::{Running, Service, Text, test::Node};
    /// use std::{
    ///     collections::BTreeSet,
    ///     sync::{Arc, Mutex},
    /// };
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), hansa_sdk::Fault> {
    /// // What the service has booked outlives its process.
    /// let booked = Arc::new(Mutex::new(BTreeSet::new()));
    /// let ledger = || {
    ///     let booked = Arc::clone(&booked);
    ///     Service::new("ledger")?.operation("book", move |request: hansa_sdk::Request| {
    ///         booked.lock().unwrap().insert(request.invocation());
    ///         async { Text::parse(b"<Booked/>") }
    ///     })
    /// };
    /// let node = Node::start().await;
    /// let running = ledger()?.attach_to(&node).await?;
    /// let answer = node.perform("book", Text::parse(b"<Amount>12</Amount>")?).await?;
    /// drop(running);
    /// let _again = ledger()?.attach_to(&node).await?;
    /// assert_eq!(node.redeliver(node.invocations("book")[0].id).await?, answer);
    /// assert_eq!(booked.lock().unwrap().len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The fault that it answers with; [`Code::ServiceUnknown`] where the service is not attached, or was never asked.
    pub async fn redeliver(&self, invocation: InvocationId) -> Answer {
        match self.0.world.redeliver(invocation)?.await {
            Ok(Outcome::Completed(document)) => Ok(document),
            Ok(outcome) => Err(outcome.fault().unwrap_or_else(|| Fault::new(Code::Internal, "no outcome"))),
            Err(_) => Err(Fault::new(Code::NodeStopped, "the connection broke before the service answered again")),
        }
    }

    /// From now on, whoever connects must show this password.
    pub fn require_password(&self, password: impl Into<String>) {
        self.0.world.require_password(password.into());
    }

    pub(crate) fn pipe(&self) -> Pipe {
        Pipe::to(&self.0.world)
    }
}

fn answer(ending: Ending) -> Answer {
    match ending {
        Ending::Completed(document) => Ok(document),
        Ending::Failed(fault) => Err(fault),
        Ending::TimedOut => Err(Fault::new(Code::TransactionTimedOut, "the transaction timed out")),
        Ending::Cancelled => Err(Fault::new(Code::TransactionCancelled, "the transaction was cancelled")),
    }
}

/// A definition of nothing but this operation.
fn alone(name: &DefinitionName, operation: &OperationName) -> String {
    format!(
        "<TRANSACTION><NAME>{name}</NAME>\
         <OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID>\
         <OPLINK><SRCOPID>0</SRCOPID><DSTOPID>1</DSTOPID></OPLINK></OPERATION>\
         <OPERATION><NAME>{operation}</NAME><OPID>1</OPID><CXCNAME>ANY</CXCNAME>\
         <OPLINK><SRCOPID>1</SRCOPID><DSTOPID>2</DSTOPID></OPLINK>\
         <JOIN><DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE></DOCUMENT></JOIN></OPERATION>\
         <OPERATION><NAME>CXtsTailOp</NAME><OPID>2</OPID>\
         <JOIN><DOCUMENT><OPID>1</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN></OPERATION>\
         </TRANSACTION>"
    )
}
