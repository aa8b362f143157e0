//! A client: submits transactions to a node and hears how they ended, over connections that it keeps by itself.

mod attachment;
mod ledger;
#[cfg(test)]
mod tests;

use crate::{
    Administrator, Tls,
    cxip::{Message, Password},
    reach::{Credentials, Door, Welcome, now, random, within_reason},
    subscription::{Subscribing, Subscription},
    test,
};
use attachment::Attachment;
use hansa_core::{
    code::{Code, Fault},
    document::Text,
    durability::Durability,
    ident::{DefinitionName, PublicationId, TransactionId},
    limit,
    session::{Ending, Response, Status, Tracking},
};
use ledger::Ask;
use std::{sync::Arc, time::Duration};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Asks that wait for the client's task.
const ASKS_MAX: usize = 1_024;

/// A client of a node. Clones share one connection; with the last of them and the last [`Submission`] it is closed.
///
/// While the connection is broken, calls wait until it is made again; whoever does not want to wait so long drops the
/// future, which every method allows at any time. Only where the node lets the client in no more, with
/// [`Code::AccessDenied`], do they end with that.
///
/// ```no_run
/// use hansa_sdk::{Client, Ending, Text};
///
/// # async fn example() -> Result<(), hansa_sdk::Fault> {
/// let client = Client::connect("127.0.0.1:4000", "acme-erp").await?;
/// let order = Text::parse(b"<Order number='4711' total='250'/>")?;
/// let mut submission = client.submit("purchase", order).await?;
/// println!("{} is safe with the node now", submission.transaction());
/// match submission.response().await?.ending {
///     Ending::Completed(document) => println!("{}", document.as_str()),
///     ending => println!("{}", ending.word()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    asks: mpsc::Sender<Ask>,
    open: Arc<Semaphore>,
    connected: watch::Receiver<bool>,
    welcome: Welcome,
    /// For the connections of subscriptions.
    door: Door,
}

/// A client in the making: [`Client::named`].
#[derive(Clone, Debug)]
pub struct Connecting {
    name: String,
    credentials: Credentials,
    patience: Duration,
    submissions_open_max: usize,
}

impl Connecting {
    /// What proves to the node that the client may attach, where the node asks for that.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.credentials.password = Some(Password(password.into()));
        self
    }

    /// The account that it comes as, where the node has accounts and none of its name.
    ///
    /// # Errors
    /// The name is none.
    pub fn account(mut self, name: &str) -> Result<Self, Fault> {
        self.credentials.account = Some(name.parse()?);
        Ok(self)
    }

    /// Speak TLS with the node (T14).
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.credentials.tls = Some(tls);
        self
    }

    /// How long to wait for a node that does not answer yet. Not at all unless said otherwise.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// After how long without a sign of life from the node the connection is given up and made again: between 300 milliseconds and
    /// 30 seconds. Unless said otherwise some 3 seconds where several addresses are known, and else 30.
    #[must_use]
    pub fn silence_max(mut self, silence_max: Duration) -> Self {
        self.credentials.silence_max = Some(within_reason(silence_max));
        self
    }

    /// How many submissions may be without a response at once; the next one waits. 4,096 unless said otherwise.
    #[must_use]
    pub fn submissions_open_max(mut self, submissions_open_max: usize) -> Self {
        self.submissions_open_max = submissions_open_max.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Connect to the node that listens at `address` (host and port). Of a node whose sub-nodes are a pair, both addresses
    /// may be given, with a comma between: the active one is found. One is enough: it tells of the other.
    ///
    /// # Errors
    /// No node answers, or it refuses the client.
    pub async fn connect(self, address: &str) -> Result<Client, Fault> {
        self.connect_over(address, None).await
    }

    /// Connect to the administration port of a node, `address` (host and port), as an administrator instead. Several may be
    /// given, with commas between; the first that lets in is taken.
    ///
    /// # Errors
    /// No node answers, or it refuses the account, or that has not the right to administer.
    pub async fn administer(self, address: &str) -> Result<Administrator, Fault> {
        Administrator::open(Door::at(address, self.name, self.credentials, None)).await
    }

    /// Connect to a node in memory, in a test.
    ///
    /// # Errors
    /// The node is stopped, or refuses the client.
    pub async fn connect_to(self, node: &test::Node) -> Result<Client, Fault> {
        self.connect_over("memory", Some(node.pipe())).await
    }

    async fn connect_over(self, address: &str, pipe: Option<test::Pipe>) -> Result<Client, Fault> {
        let door = Door::at(address, self.name, self.credentials, pipe);
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (connects, connected) = watch::channel(false);
        let welcome = Attachment::begin(door.clone(), asked, connects, self.patience).await?;
        Ok(Client { asks, open: Arc::new(Semaphore::new(self.submissions_open_max)), connected, welcome, door })
    }
}

impl Client {
    /// Connect as `name` to the node that listens at `address` (host and port; several with commas between).
    ///
    /// # Errors
    /// No node answers, or it refuses the client.
    pub async fn connect(address: &str, name: &str) -> Result<Self, Fault> {
        Self::named(name).connect(address).await
    }

    /// A client with more to say about it than its name, which is for the node's logs.
    #[must_use]
    pub fn named(name: &str) -> Connecting {
        Connecting {
            name: name.to_owned(),
            credentials: Credentials::default(),
            patience: Duration::ZERO,
            submissions_open_max: limit::SUBMISSIONS_OPEN,
        }
    }

    /// Whose node it was connected to first.
    #[must_use]
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Whether it is connected now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Begin a transaction. When this returns, the node has it for good: it will end, whatever breaks meanwhile (T4).
    ///
    /// A connection that breaks before leads to the same submission again, under the same id, so that there is one
    /// transaction and not two.
    ///
    /// # Errors
    /// The node refuses it; then nothing was begun. If it is busy it is asked again for a minute.
    pub async fn submit(&self, definition: &str, document: Text) -> Result<Submission, Fault> {
        self.submit_as(TransactionId::new(now(), random()), definition, document).await
    }

    /// Begin a transaction under an id that the caller chose, and keeps to be able to submit the same again after its own
    /// restart, or to [`Client::response`] it.
    ///
    /// # Errors
    /// As [`Client::submit`]; also [`Code::TransactionConflict`] where the id stands for another submission.
    pub async fn submit_as(
        &self,
        transaction: TransactionId,
        definition: &str,
        document: Text,
    ) -> Result<Submission, Fault> {
        let definition: DefinitionName = definition.parse()?;
        let permit = Arc::clone(&self.open).acquire_owned().await.map_err(gone)?;
        let (taken, is_taken) = oneshot::channel();
        let (response, responds) = oneshot::channel();
        self.ask(Ask::Submit { transaction, definition, document, taken: Some(taken), response, _permit: permit })
            .await?;
        let tracking = is_taken.await.map_err(gone)??;
        Ok(Submission { transaction, tracking, responds, response: None, _client: self.clone() })
    }

    /// How a transaction ended; waits for the end.
    ///
    /// # Errors
    /// The node does not know the transaction.
    pub async fn response(&self, transaction: TransactionId) -> Result<Response, Fault> {
        let permit = Arc::clone(&self.open).acquire_owned().await.map_err(gone)?;
        let (response, responds) = oneshot::channel();
        self.ask(Ask::Await { transaction, response, _permit: permit }).await?;
        responds.await.map_err(gone)?
    }

    /// How far a transaction is.
    ///
    /// # Errors
    /// The node does not know the transaction.
    pub async fn query(&self, transaction: TransactionId) -> Result<Status, Fault> {
        let (status, tells) = oneshot::channel();
        self.ask(Ask::Query { transaction, status }).await?;
        tells.await.map_err(gone)?
    }

    /// End a transaction; what it asked of services is withdrawn.
    ///
    /// # Errors
    /// The node does not know the transaction, or it has ended already.
    pub async fn cancel(&self, transaction: TransactionId) -> Result<(), Fault> {
        let (done, is_done) = oneshot::channel();
        self.ask(Ask::Cancel { transaction, done }).await?;
        is_done.await.map_err(gone)?
    }

    /// Submit and wait for the output document: synchronous use, where nothing is to be done meanwhile.
    ///
    /// # Errors
    /// As [`Client::submit`]; and the reason, if the transaction ends without an output document.
    pub async fn call(&self, definition: &str, document: Text) -> Result<Text, Fault> {
        let response = self.submit(definition, document).await?.response().await?;
        let ended = |code, how| Err(Fault::new(code, format!("transaction {} {how}", response.transaction)));
        match response.ending {
            Ending::Completed(document) => Ok(document),
            Ending::Failed(fault) => Err(fault),
            Ending::TimedOut => ended(Code::TransactionTimedOut, "timed out"),
            Ending::Cancelled => ended(Code::TransactionCancelled, "was cancelled"),
        }
    }

    /// Tell a transaction that something has come that an operation of it waits for (T17). It may come before the operation is
    /// ready; a signal's name counts once.
    ///
    /// # Errors
    /// The node does not know the transaction, or it has ended, or waits for no such signal.
    pub async fn signal(&self, transaction: TransactionId, signal: &str, document: Text) -> Result<Tracking, Fault> {
        self.say(Message::Signal { transaction, signal: signal.parse()?, document }).await
    }

    /// Publish to a topic of the node's organization, for its own subscribers (T13). When this returns, the node has it for
    /// good: every subscriber will get it. A connection that breaks before leads to the same publication again, under the same
    /// id.
    ///
    /// # Errors
    /// The node refuses it. While the topic is full of what a subscriber is slow to take, it is asked again for a minute.
    pub async fn publish(&self, topic: &str, document: Text) -> Result<Tracking, Fault> {
        self.publish_as(PublicationId::new(now(), random()), topic, false, document).await
    }

    /// As [`Client::publish`], for subscribers at peers too.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub async fn publish_public(&self, topic: &str, document: Text) -> Result<Tracking, Fault> {
        self.publish_as(PublicationId::new(now(), random()), topic, true, document).await
    }

    /// Publish under an id that the caller chose, and keeps to be able to publish the same again after its own restart.
    ///
    /// # Errors
    /// As [`Client::publish`]; also [`Code::PublicationConflict`] where the id stands for another document.
    pub async fn publish_as(
        &self,
        publication: PublicationId,
        topic: &str,
        public: bool,
        document: Text,
    ) -> Result<Tracking, Fault> {
        self.say(Message::Publish { topic: topic.parse()?, publication: Some(publication), public, document }).await
    }

    /// Subscribe to a topic as `subscriber`, or go on with the subscription of that name, on a connection of its own (T13).
    ///
    /// # Errors
    /// No node answers, or it refuses.
    pub async fn subscribe(&self, topic: &str, subscriber: &str) -> Result<Subscription, Fault> {
        self.subscription(topic, subscriber)?.begin().await
    }

    /// A subscription with more to say about it than topic and name.
    ///
    /// # Errors
    /// A name is malformed.
    pub fn subscription(&self, topic: &str, subscriber: &str) -> Result<Subscribing, Fault> {
        Ok(Subscribing::new(self.door.clone(), topic.parse()?, subscriber.parse()?))
    }

    async fn say(&self, message: Message) -> Result<Tracking, Fault> {
        let (done, is_done) = oneshot::channel();
        self.ask(Ask::Say { message, done }).await?;
        is_done.await.map_err(gone)?
    }

    async fn ask(&self, ask: Ask) -> Result<(), Fault> {
        self.asks.send(ask).await.map_err(gone)
    }
}

/// A transaction that the node has taken. Dropped, it goes on there; only its response is not heard.
#[derive(Debug)]
pub struct Submission {
    transaction: TransactionId,
    tracking: Tracking,
    responds: oneshot::Receiver<Result<Response, Fault>>,
    response: Option<Result<Response, Fault>>,
    /// Keeps the connection.
    _client: Client,
}

impl Submission {
    /// Its id.
    #[must_use]
    pub fn transaction(&self) -> TransactionId {
        self.transaction
    }

    /// What the node said when it took it: when, and whether it had it already.
    #[must_use]
    pub fn tracking(&self) -> &Tracking {
        &self.tracking
    }

    /// On how many sites it was durable when the node took it, if the node said so: on one, or, where the node's sub-nodes are a
    /// pair, on two (M1). The [`Response`] says the same of the end.
    #[must_use]
    pub fn durability(&self) -> Option<Durability> {
        self.tracking.durability
    }

    /// How it ended; waits for the end, over as many connections as that takes. Asked again, it says the same again.
    ///
    /// # Errors
    /// The node knows nothing of it any more, which can happen only after it ended, while the connection was broken.
    pub async fn response(&mut self) -> Result<Response, Fault> {
        if self.response.is_none() {
            self.response = Some((&mut self.responds).await.unwrap_or_else(|error| Err(gone(error))));
        }
        self.response.clone().expect("it was put there just now")
    }
}

/// The client's task ends with the last handle only, so this is a fault of ours.
fn gone(_: impl Sized) -> Fault {
    Fault::new(Code::Internal, "the task of the client has ended")
}
