//! What an account may do, and whether a message is within it. Called for every message of a session that has an account.

use crate::{
    code::{Code, Fault},
    ident::{DefinitionName, ServiceName, TopicName},
    limit,
    session::FromSession,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// Which of the things with such names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Granted<T: Ord> {
    /// Whatever they are called.
    All,
    /// These.
    Only(BTreeSet<T>),
}

impl<T: Ord> Default for Granted<T> {
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl<T: Ord + FromStr<Err = Fault>> Granted<T> {
    /// What a list of names grants; `*` among them grants all.
    ///
    /// # Errors
    /// [`Code::NameMalformed`] where one is no name.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, Fault> {
        let mut only = BTreeSet::new();
        let mut all = false;
        for name in names {
            if name == "*" {
                all = true;
            } else {
                only.insert(name.parse()?);
            }
        }
        Ok(if all { Self::All } else { Self::Only(only) })
    }
}

impl<T: Ord> Granted<T> {
    /// Whether it is among them.
    #[must_use]
    pub fn has(&self, name: &T) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::All => 1,
            Self::Only(names) => names.len(),
        }
    }
}

impl<T: Ord + fmt::Display> Granted<T> {
    /// The names, `*` for all.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::All => vec!["*".to_owned()],
            Self::Only(names) => names.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What an account may do. Awaiting, asking about, signalling to and cancelling a transaction is open to whoever knows its
/// id: ids cannot be guessed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// The services that it may register.
    pub services: Granted<ServiceName>,
    /// The definitions by which it may submit transactions.
    pub definitions: Granted<DefinitionName>,
    /// The topics that it may publish to and subscribe to.
    pub topics: Granted<TopicName>,
    /// Whether it may administer the node.
    pub administer: bool,
}

impl Rights {
    /// Whether the message is within the rights of the account `name`.
    ///
    /// # Errors
    /// [`Code::AccessDenied`], with what would have to be granted.
    pub fn permit(&self, name: &dyn fmt::Display, message: &FromSession) -> Result<(), Fault> {
        let (allowed, what, option) = match message {
            FromSession::Register { service, .. } => (
                self.services.has(&service.name),
                format!("register the service {}", service.name),
                format!("--service {}", service.name),
            ),
            FromSession::Submit { definition, .. } => (
                self.definitions.has(definition),
                format!("submit transactions of {definition}"),
                format!("--definition {definition}"),
            ),
            FromSession::Answer { service, .. } | FromSession::Strayed { service, .. } => {
                (self.services.has(service), format!("answer as the service {service}"), format!("--service {service}"))
            }
            FromSession::Publish { topic, .. } => self.topic("publish to", topic),
            FromSession::Subscribe { topic, .. }
            | FromSession::Unsubscribe { topic, .. }
            | FromSession::Taken { topic, .. } => self.topic("subscribe to", &topic.name),
            FromSession::Await { .. }
            | FromSession::Query { .. }
            | FromSession::Cancel { .. }
            | FromSession::Signal { .. } => return Ok(()),
        };
        if allowed {
            return Ok(());
        }
        Err(Fault::new(Code::AccessDenied, format!("the account {name} may not {what}"))
            .help(format!("the node's operator grants it with `hansa access add {name} {option} …`")))
    }

    /// Whether the account `name` may administer the node.
    ///
    /// # Errors
    /// [`Code::AccessDenied`], with what would have to be granted.
    pub fn permit_to_administer(&self, name: &dyn fmt::Display) -> Result<(), Fault> {
        if self.administer {
            return Ok(());
        }
        Err(Fault::new(Code::AccessDenied, format!("the account {name} may not administer the node"))
            .help(format!("the node's operator grants it with `hansa access add {name} --administer …`")))
    }

    fn topic(&self, act: &str, topic: &TopicName) -> (bool, String, String) {
        (self.topics.has(topic), format!("{act} the topic {topic}"), format!("--topic {topic}"))
    }

    pub(super) fn within_limits(&self) -> Result<(), Fault> {
        let count = self.services.count() + self.definitions.count() + self.topics.count();
        if count <= limit::ACCOUNT_RIGHTS_MAX {
            return Ok(());
        }
        let message =
            format!("{count} rights are more than the {} that an account can have", limit::ACCOUNT_RIGHTS_MAX);
        Err(Fault::new(Code::LimitReached, message).help("grant all with *"))
    }
}
