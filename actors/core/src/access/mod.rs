//! Who may attach to this node, and what each may do there: accounts with a password's verifier and rights (T14, T15).
//!
//! The machine keeps accounts and refuses what makes none; the node's listeners ask the picture that it draws. How a
//! password is checked against a verifier is the shell's business: here it is an opaque text that is never shown.

mod rights;
#[cfg(test)]
mod tests;

pub use rights::{Granted, Rights};

use crate::{
    code::{Code, Fault},
    dice::Dice,
    ident::AccountName,
    limit,
    machine::{Decision, Machine},
    moment::Moment,
    session::Asker,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// What a password is checked against: its salted hash in PHC form. Shown nowhere (DESIGN invariant 7).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Verifier(String);

impl Verifier {
    /// The verifier of this PHC string.
    #[must_use]
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string, for whoever checks a password.
    #[must_use]
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Verifier(…)")
    }
}

/// Somebody who may attach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What its password is checked against; without one, only a client certificate opens.
    pub verifier: Option<Verifier>,
    /// What it may do.
    pub rights: Rights,
    /// When it was added, or last changed.
    pub added: Moment,
}

/// The accounts as listeners look at them: immutable, shared.
#[derive(Clone, Debug, Default)]
pub struct Accounts(Arc<BTreeMap<AccountName, Account>>);

impl Accounts {
    /// The account of this name.
    #[must_use]
    pub fn named(&self, name: &AccountName) -> Option<&Account> {
        self.0.get(name)
    }

    /// All, by name.
    pub fn all(&self) -> impl Iterator<Item = (&AccountName, &Account)> {
        self.0.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The accounts of one node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Access {
    accounts: BTreeMap<AccountName, Account>,
}

impl Access {
    /// The accounts as they are now.
    #[must_use]
    pub fn picture(&self) -> Accounts {
        Accounts(Arc::new(self.accounts.clone()))
    }
}

/// What is asked.
#[derive(Debug)]
pub enum Input {
    /// Let somebody in, or give somebody who is known another password or other rights.
    Add {
        /// Whom to acknowledge.
        asker: Asker,
        /// The name.
        name: AccountName,
        /// The password's verifier, if a password shall open.
        verifier: Option<Verifier>,
        /// What it may do.
        rights: Rights,
    },
    /// Let somebody in no more.
    Remove {
        /// Whom to acknowledge.
        asker: Asker,
        /// The name.
        name: AccountName,
    },
    /// Nothing: accounts do not expire.
    Due,
    /// The process has started again.
    Resumed,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// An account was added or changed.
    Added {
        /// The name.
        name: AccountName,
        /// The account.
        account: Account,
    },
    /// An account was removed.
    Removed {
        /// The name.
        name: AccountName,
    },
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// The picture of the accounts has changed.
    Redraw(Accounts),
    /// Acknowledge.
    Acknowledge {
        /// To whom.
        asker: Asker,
        /// What was done.
        word: &'static str,
    },
}

impl Access {
    fn drawn(&self, change: &Record) -> Effect {
        let mut after = self.clone();
        after.absorb(change);
        Effect::Redraw(after.picture())
    }

    fn changed(&self, record: Record, asker: Asker, word: &'static str) -> Decision<Self> {
        let drawn = self.drawn(&record);
        Decision::nothing().record(record).effect(drawn).effect(Effect::Acknowledge { asker, word })
    }
}

impl Machine for Access {
    type Key = ();
    type Input = Input;
    type Record = Record;
    type Effect = Effect;
    type Around = ();

    fn is_journaled(_: &Record) -> bool {
        true
    }

    fn new((): &()) -> Self {
        Self::default()
    }

    fn decide(&self, (): &(), now: Moment, _: &mut Dice, input: Input) -> Result<Decision<Self>, Fault> {
        match input {
            Input::Add { asker, name, verifier, rights } => {
                let known = self.accounts.contains_key(&name);
                if !known && self.accounts.len() >= limit::ACCOUNTS_MAX {
                    let message = format!("there are {} accounts already", self.accounts.len());
                    return Err(Fault::new(Code::LimitReached, message).help("remove one that is not needed"));
                }
                rights.within_limits()?;
                let account = Account { verifier, rights, added: now };
                Ok(self.changed(Record::Added { name, account }, asker, if known { "changed" } else { "added" }))
            }
            Input::Remove { asker, name } => {
                if !self.accounts.contains_key(&name) {
                    return Err(Fault::new(Code::AccountUnknown, format!("there is no account {name}"))
                        .help("`hansa access list` shows those that are there"));
                }
                Ok(self.changed(Record::Removed { name }, asker, "removed"))
            }
            Input::Due => Ok(Decision::nothing()),
            Input::Resumed => Ok(Decision::nothing().effect(Effect::Redraw(self.picture()))),
        }
    }

    fn absorb(&mut self, record: &Record) {
        match record {
            Record::Added { name, account } => {
                self.accounts.insert(name.clone(), account.clone());
            }
            Record::Removed { name } => {
                self.accounts.remove(name);
            }
        }
    }

    fn wakes_at(&self) -> Option<Moment> {
        None
    }

    fn due() -> Input {
        Input::Due
    }

    fn resumed() -> Input {
        Input::Resumed
    }
}
