//! Administration: how the commands of `hansa` talk to the running node.
//!
//! One JSON object a line over a Unix socket that only the node's owner can open, or the same JSON in the messages of the
//! administration port (`cxip::administration`). [`protocol`] has the requests and results, [`reply`] answers with whatever
//! [`Administration`] the wiring gives it, [`server`] is the socket, [`client`] asks over either.

pub mod client;
#[cfg(test)]
pub mod pretended;
pub mod protocol;
pub mod server;
pub mod time;

use hansa_core::{
    access::{Rights, Verifier},
    code::{Code, Fault},
    ident::{
        AccountName, City, DefinitionHash, DefinitionName, LibraryHash, LibraryName, OperationName, PublicationId,
        SignalName, TopicName, TransactionId,
    },
    mirror::WITNESSES_MAX,
};
use protocol::{
    AccountChanged, AccountEntry, Answer, Awaited, Cancelled, Defined, DefinitionEntry, DefinitionSource,
    DefinitionVersion, DirectoryEntry, HistoryPage, Invited, Joined, LibraryAdded, LibraryEntry, LibraryRemoved,
    LibrarySource, LinesCut, ListFilter, PairAppointed, PairEnded, PairInitiated, PairStatus, PairSwitched, Published,
    Purged, PurgedPart, Reading, Recovered, RecoveredPart, Replayed, Reply, Request, Service, Show, Signalled, Status,
    Stopping, Submitted, TopicEntry, TransactionPage,
};
use serde::Serialize;
use std::{net::SocketAddr, time::Duration};
use time::Time;

/// What a running node does for its administrator. The wiring implements it; each method is one request.
///
/// An answer that acknowledges something (`define`, `submit`, `signal`, `cancel`, `purge`, `join`, `invite`, `pair_init`) is given only when it is durable.
pub trait Administration: Send + Sync + 'static {
    /// How the node is.
    fn status(&self) -> impl Future<Output = Result<Status, Fault>> + Send;

    /// Who offers what, as far as this node knows: every organization, or those with a service for `operation`, or those
    /// in `city`.
    fn directory(
        &self,
        operation: Option<OperationName>,
        city: Option<City>,
    ) -> impl Future<Output = Result<Vec<DirectoryEntry>, Fault>> + Send;

    /// The services of this node.
    fn services(&self) -> impl Future<Output = Result<Vec<Service>, Fault>> + Send;

    /// The topics that have subscribers.
    fn topics(&self) -> impl Future<Output = Result<Vec<TopicEntry>, Fault>> + Send;

    /// Publish to a topic of this organization; with an id, a repetition finds the first one.
    fn publish(
        &self,
        topic: TopicName,
        document: String,
        public: bool,
        id: Option<PublicationId>,
    ) -> impl Future<Output = Result<Published, Fault>> + Send;

    /// Check a transaction definition and store it.
    fn define(&self, text: String) -> impl Future<Output = Result<Defined, Fault>> + Send;

    /// The transaction definitions.
    fn definitions(&self) -> impl Future<Output = Result<Vec<DefinitionEntry>, Fault>> + Send;

    /// The versions of a definition, the oldest first.
    fn definition_versions(
        &self,
        name: DefinitionName,
    ) -> impl Future<Output = Result<Vec<DefinitionVersion>, Fault>> + Send;

    /// The text of a version of a definition; without one, of that which new transactions get.
    fn definition_source(
        &self,
        name: DefinitionName,
        version: Option<DefinitionHash>,
    ) -> impl Future<Output = Result<DefinitionSource, Fault>> + Send;

    /// The libraries of functions.
    fn libraries(&self) -> impl Future<Output = Result<Vec<LibraryEntry>, Fault>> + Send;

    /// What a version of a library consists of.
    fn library_source(&self, hash: LibraryHash) -> impl Future<Output = Result<LibrarySource, Fault>> + Send;

    /// Check a library of functions, given in base 64, and store it.
    fn add_library(&self, name: LibraryName, bytes: String)
    -> impl Future<Output = Result<LibraryAdded, Fault>> + Send;

    /// Forget the name of a library of functions.
    fn remove_library(&self, name: LibraryName) -> impl Future<Output = Result<LibraryRemoved, Fault>> + Send;

    /// Transactions, newest first. It looks at a bounded number and says where to go on.
    fn list(&self, filter: ListFilter) -> impl Future<Output = Result<TransactionPage, Fault>> + Send;

    /// Everything about one transaction.
    fn show(&self, id: TransactionId) -> impl Future<Output = Result<Show, Fault>> + Send;

    /// What was recorded of a transaction, behind the entry `after`.
    fn history(&self, id: TransactionId, after: u64) -> impl Future<Output = Result<HistoryPage, Fault>> + Send;

    /// Make a transaction anew from its records, and compare it with the one that is stored.
    fn replay(&self, id: TransactionId) -> impl Future<Output = Result<Replayed, Fault>> + Send;

    /// Send a signal to a transaction.
    fn signal(
        &self,
        id: TransactionId,
        signal: SignalName,
        document: String,
    ) -> impl Future<Output = Result<Signalled, Fault>> + Send;

    /// Let a transaction ask once more whoever has not answered.
    fn recover(&self, id: TransactionId) -> impl Future<Output = Result<Recovered, Fault>> + Send;

    /// Let a part of all open transactions do so.
    fn recover_all(&self, before: Option<TransactionId>) -> impl Future<Output = Result<RecoveredPart, Fault>> + Send;

    /// Forget a transaction that has ended.
    fn purge(&self, id: TransactionId) -> impl Future<Output = Result<Purged, Fault>> + Send;

    /// Forget a part of the transactions that ended before a moment.
    fn purge_ended(
        &self,
        before: Time,
        from: Option<TransactionId>,
    ) -> impl Future<Output = Result<PurgedPart, Fault>> + Send;

    /// Begin a transaction; with an id, a repetition finds the first one.
    fn submit(
        &self,
        definition: DefinitionName,
        document: String,
        id: Option<TransactionId>,
    ) -> impl Future<Output = Result<Submitted, Fault>> + Send;

    /// Wait until a transaction has ended, or until `timeout` has passed: then its state is still `running`.
    fn await_response(
        &self,
        id: TransactionId,
        timeout: Duration,
    ) -> impl Future<Output = Result<Awaited, Fault>> + Send;

    /// Cancel a transaction.
    fn cancel(&self, id: TransactionId) -> impl Future<Output = Result<Cancelled, Fault>> + Send;

    /// Make an invite into the federation that opens for `hours`.
    fn invite(&self, hours: u32) -> impl Future<Output = Result<Invited, Fault>> + Send;

    /// The accounts of those who may attach.
    fn accounts(&self) -> impl Future<Output = Result<Vec<AccountEntry>, Fault>> + Send;

    /// Add an account, or give one that is there another password or other rights.
    fn add_account(
        &self,
        name: AccountName,
        verifier: Option<Verifier>,
        rights: Rights,
    ) -> impl Future<Output = Result<AccountChanged, Fault>> + Send;

    /// Let somebody in no more.
    fn remove_account(&self, name: AccountName) -> impl Future<Output = Result<AccountChanged, Fault>> + Send;

    /// Join the federation of an invite; [`Code::PeerUnreachable`] if nobody there answers now.
    fn join(&self, invite: String) -> impl Future<Output = Result<Joined, Fault>> + Send;

    /// Found a pair with these witnesses, or make its code anew.
    fn pair_init(
        &self,
        city: Option<City>,
        witnesses: Vec<String>,
    ) -> impl Future<Output = Result<PairInitiated, Fault>> + Send;

    /// How the pair is.
    fn pair_status(&self) -> impl Future<Output = Result<PairStatus, Fault>> + Send;

    /// Let the other sub-node serve; the answer comes when it does.
    fn pair_switch(&self) -> impl Future<Output = Result<PairSwitched, Fault>> + Send;

    /// Have these members, or those that are connected, take the place of the pair's witnesses; the answer comes when they have.
    fn pair_appoint(&self, witnesses: Vec<String>) -> impl Future<Output = Result<PairAppointed, Fault>> + Send;

    /// End the pair: from the next start on the sub-node is a single node.
    fn pair_end(&self) -> impl Future<Output = Result<PairEnded, Fault>> + Send;

    /// Cut these of the lines that a testnet emulates, and make all others whole.
    fn cut_lines(&self, destinations: Vec<SocketAddr>) -> impl Future<Output = Result<LinesCut, Fault>> + Send;

    /// The numbers of the node, as `GET /metrics` shows them.
    fn readings(&self) -> impl Future<Output = Vec<Reading>> + Send;
}

/// Whether a pair can have as many witnesses as are named.
///
/// # Errors
/// [`Code::LimitReached`].
pub fn few_witnesses(named: &[String]) -> Result<(), Fault> {
    if named.len() <= WITNESSES_MAX {
        return Ok(());
    }
    let message = format!("{} witnesses are more than the {WITNESSES_MAX} of a pair", named.len());
    Err(Fault::new(Code::LimitReached, message).help("name fewer; four decide with three of them"))
}

/// The request that this JSON is.
///
/// # Errors
/// [`Code::MessageMalformed`]: it is none.
pub fn read(json: &[u8]) -> Result<Request, Fault> {
    serde_json::from_slice(json).map_err(|error| {
        Fault::new(Code::MessageMalformed, format!("this is no request: {error}"))
            .help("send a JSON object such as {\"command\":\"status\"}, on one line")
    })
}

/// What `administration` answers to a request. To [`Request::Stop`] it is only said that the node stops: whoever has the
/// answer on its way sees to that.
pub async fn reply<A: Administration>(administration: &A, request: Request) -> Reply<Answer> {
    match request {
        Request::Stop => Reply::Ok(Answer::Stopping(Stopping { pid: std::process::id() })),
        request => match answer(administration, request).await {
            Ok(answer) => Reply::Ok(answer),
            Err(fault) => Reply::Fault(fault),
        },
    }
}

/// A reply as JSON, on one line.
pub fn write<T: Serialize>(reply: &Reply<T>) -> String {
    serde_json::to_string(reply).unwrap_or_else(|error| {
        let fault = Fault::new(Code::Internal, format!("the answer cannot be written: {error}"));
        serde_json::to_string(&Reply::<()>::Fault(fault)).expect("a fault is JSON")
    })
}

/// Ask `administration` what `request` asks. [`Request::Stop`] is not its business and is refused here.
async fn answer<A: Administration>(administration: &A, request: Request) -> Result<Answer, Fault> {
    Ok(match request {
        Request::Status => Answer::Status(Box::new(administration.status().await?)),
        Request::Directory { operation, city } => Answer::Directory(administration.directory(operation, city).await?),
        Request::Services => Answer::Services(administration.services().await?),
        Request::Topics => Answer::Topics(administration.topics().await?),
        Request::Publish { topic, document, public, id } => {
            Answer::Published(administration.publish(topic, document, public, id).await?)
        }
        Request::Define { text } => Answer::Defined(administration.define(text).await?),
        Request::Definitions => Answer::Definitions(administration.definitions().await?),
        Request::Libraries => Answer::Libraries(administration.libraries().await?),
        Request::LibrarySource { hash } => Answer::LibrarySource(administration.library_source(hash).await?),
        Request::AddLibrary { name, bytes } => Answer::LibraryAdded(administration.add_library(name, bytes).await?),
        Request::RemoveLibrary { name } => Answer::LibraryRemoved(administration.remove_library(name).await?),
        Request::DefinitionVersions { name } => {
            Answer::DefinitionVersions(administration.definition_versions(name).await?)
        }
        Request::DefinitionSource { name, version } => {
            Answer::DefinitionSource(administration.definition_source(name, version).await?)
        }
        Request::List(filter) => {
            let limit = filter.limit.unwrap_or(protocol::LIST_DEFAULT).min(protocol::LIST_MAX);
            Answer::Transactions(administration.list(ListFilter { limit: Some(limit), ..*filter }).await?)
        }
        Request::Show { id } => Answer::Show(Box::new(administration.show(id).await?)),
        Request::History { id, after } => Answer::History(administration.history(id, after.unwrap_or_default()).await?),
        Request::Replay { id } => Answer::Replayed(Box::new(administration.replay(id).await?)),
        Request::Signal { id, signal, document } => {
            Answer::Signalled(administration.signal(id, signal, document).await?)
        }
        Request::Recover { id } => Answer::Recovered(administration.recover(id).await?),
        Request::RecoverAll { before } => Answer::RecoveredPart(administration.recover_all(before).await?),
        Request::Purge { id } => Answer::Purged(administration.purge(id).await?),
        Request::PurgeEnded { before, from } => Answer::PurgedPart(administration.purge_ended(before, from).await?),
        Request::Submit { definition, document, id } => {
            Answer::Submitted(administration.submit(definition, document, id).await?)
        }
        Request::AwaitResponse { id, timeout_ms } => {
            let timeout = Duration::from_millis(timeout_ms.min(protocol::AWAIT_MS_MAX));
            Answer::Awaited(administration.await_response(id, timeout).await?)
        }
        Request::Cancel { id } => Answer::Cancelled(administration.cancel(id).await?),
        Request::Invite { hours } => Answer::Invited(administration.invite(hours).await?),
        Request::Accounts => Answer::Accounts(administration.accounts().await?),
        Request::AddAccount { name, verifier, rights } => {
            Answer::AccountChanged(administration.add_account(name, verifier, rights).await?)
        }
        Request::RemoveAccount { name } => Answer::AccountChanged(administration.remove_account(name).await?),
        Request::Join { invite } => Answer::Joined(administration.join(invite).await?),
        Request::PairInit { city, witnesses } => {
            few_witnesses(&witnesses)?;
            Answer::PairInitiated(administration.pair_init(city, witnesses).await?)
        }
        Request::PairStatus => Answer::PairStatus(Box::new(administration.pair_status().await?)),
        Request::PairSwitch => Answer::PairSwitched(administration.pair_switch().await?),
        Request::PairAppoint { witnesses } => {
            few_witnesses(&witnesses)?;
            Answer::PairAppointed(administration.pair_appoint(witnesses).await?)
        }
        Request::PairEnd => Answer::PairEnded(administration.pair_end().await?),
        Request::Metrics => Answer::Metrics(administration.readings().await),
        Request::CutLines { destinations } => Answer::LinesCut(administration.cut_lines(destinations).await?),
        Request::Stop => {
            return Err(Fault::new(Code::Internal, "whoever took the request stops the node, not its machines"));
        }
    })
}
