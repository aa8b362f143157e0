//! From an input to the shard that houses its machine, with the credits that stand before every shard.
//!
//! What comes from outside is admitted only while a shard has fewer orders waiting than its limit; otherwise the answer is
//! `busy`. What machines of the node send each other is bounded by what was admitted, and always delivered.

use crate::shard::{Order, Sight};
use hansa_core::{
    access::Access,
    code::{Code, Fault},
    directory::Directory,
    dispatch::{Housed, Input},
    ident::TransactionId,
    link::Link,
    mailbox::Mailbox,
    membership::Membership,
    topic::Topic,
    transaction::{Catalogue, Instance},
};
use ractor::ActorRef;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::oneshot;

/// Orders that may wait at one shard before the outside is told `busy`.
pub const WAITING_MAX: usize = 16_384;

/// The way to one shard.
pub struct Line<M: Housed> {
    pub(crate) actor: ActorRef<Order<M>>,
    pub(crate) waiting: Arc<AtomicUsize>,
}

impl<M: Housed> Line<M> {
    fn order(&self, key: M::Key, input: M::Input) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // A shard that is gone has taken the process with it, or is stopping with it.
        let _ = self.actor.send_message(Order::Input(key, input));
    }

    /// Tell machines that the process has started again.
    pub(crate) fn resume(&self, keys: Vec<M::Key>) {
        let _ = self.actor.send_message(Order::Resume(keys));
    }

    /// Tell the shard that the store has no more machines to resume.
    pub(crate) fn all_resumed(&self) {
        let _ = self.actor.send_message(Order::AllResumed);
    }

    fn admits(&self) -> Result<(), Fault> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting < WAITING_MAX {
            return Ok(());
        }
        Err(Fault::new(Code::Busy, format!("{waiting} requests wait already")))
    }
}

/// The ways to all shards.
pub struct Lines {
    pub(crate) transactions: Vec<Line<Instance>>,
    pub(crate) mailboxes: Line<Mailbox>,
    pub(crate) links: Line<Link>,
    pub(crate) directory: Line<Directory>,
    pub(crate) catalogue: Line<Catalogue>,
    pub(crate) membership: Line<Membership>,
    pub(crate) topics: Line<Topic>,
    pub(crate) access: Line<Access>,
}

impl Lines {
    pub(crate) fn transaction(&self, id: TransactionId) -> &Line<Instance> {
        &self.transactions[(id.0 % self.transactions.len() as u128) as usize]
    }
}

/// Finds the shard of every machine; shards hold it before they exist, so it is connected last.
#[derive(Clone, Default)]
pub struct Switchboard(Arc<OnceLock<Lines>>);

/// A kind of machine whose shards can be found.
pub trait Connected: Housed {
    /// The shard of this machine.
    fn line<'a>(lines: &'a Lines, key: &Self::Key) -> &'a Line<Self>;
    /// All shards of the kind.
    fn lines(lines: &Lines) -> Vec<&Line<Self>>;
}

/// A kind that one shard houses.
macro_rules! one_shard {
    ($machine:ty, $line:ident) => {
        impl Connected for $machine {
            fn line<'a>(lines: &'a Lines, _: &Self::Key) -> &'a Line<Self> {
                &lines.$line
            }
            fn lines(lines: &Lines) -> Vec<&Line<Self>> {
                vec![&lines.$line]
            }
        }
    };
}

one_shard!(Mailbox, mailboxes);
one_shard!(Link, links);
one_shard!(Directory, directory);
one_shard!(Catalogue, catalogue);
one_shard!(Membership, membership);
one_shard!(Topic, topics);
one_shard!(Access, access);

impl Connected for Instance {
    fn line<'a>(lines: &'a Lines, key: &TransactionId) -> &'a Line<Self> {
        lines.transaction(*key)
    }
    fn lines(lines: &Lines) -> Vec<&Line<Self>> {
        lines.transactions.iter().collect()
    }
}

impl Switchboard {
    pub(crate) fn connect(&self, lines: Lines) {
        assert!(self.0.set(lines).is_ok(), "a switchboard is connected once");
    }

    pub(crate) fn lines(&self) -> &Lines {
        self.0.get().expect("inputs flow only after the switchboard is connected")
    }

    /// Deliver what another machine of the node sends.
    pub fn deliver(&self, input: Input) {
        let lines = self.lines();
        match input {
            Input::Transaction(id, input) => lines.transaction(id).order(id, input),
            Input::Mailbox(service, input) => lines.mailboxes.order(service, input),
            Input::Link(peer, input) => lines.links.order(peer, input),
            Input::Directory(input) => lines.directory.order((), input),
            Input::Catalogue(input) => lines.catalogue.order((), input),
            Input::Membership(input) => lines.membership.order((), input),
            Input::Topic(address, input) => lines.topics.order(address, input),
            Input::Access(input) => lines.access.order((), input),
        }
    }

    /// Whether there is room for an input from outside.
    ///
    /// # Errors
    /// [`Code::Busy`].
    pub fn admits(&self, input: &Input) -> Result<(), Fault> {
        let lines = self.lines();
        match input {
            Input::Transaction(id, _) => lines.transaction(*id).admits(),
            Input::Mailbox(..) => lines.mailboxes.admits(),
            Input::Link(..) => lines.links.admits(),
            Input::Directory(_) => lines.directory.admits(),
            Input::Catalogue(_) => lines.catalogue.admits(),
            Input::Membership(_) => lines.membership.admits(),
            Input::Topic(..) => lines.topics.admits(),
            Input::Access(_) => lines.access.admits(),
        }
    }

    /// Look at one shard's machines, after everything that it was told before.
    pub async fn look<M: Connected, T: Send + 'static>(
        &self,
        key: &M::Key,
        look: impl FnOnce(&Sight<'_, M>) -> T + Send + 'static,
    ) -> Option<T> {
        Self::look_along(M::line(self.lines(), key), look).await
    }

    /// Look at the machines of all shards of a kind.
    pub async fn look_all<M: Connected, T: Send + 'static>(
        &self,
        look: impl Fn(&Sight<'_, M>) -> T + Clone + Send + 'static,
    ) -> Vec<T> {
        let mut seen = Vec::new();
        for line in M::lines(self.lines()) {
            let look = look.clone();
            seen.extend(Self::look_along(line, move |sight: &Sight<'_, M>| look(sight)).await);
        }
        seen
    }

    async fn look_along<M: Housed, T: Send + 'static>(
        line: &Line<M>,
        look: impl FnOnce(&Sight<'_, M>) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let look = Box::new(move |sight: &Sight<'_, M>| {
            let _ = answer.send(look(sight));
        });
        line.actor.send_message(Order::Look(look)).ok()?;
        answered.await.ok()
    }
}
