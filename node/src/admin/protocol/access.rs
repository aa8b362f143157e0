//! Accounts, as the administration socket speaks of them.

use crate::admin::time::Time;
use hansa_core::{
    access::{Account, Accounts},
    ident::AccountName,
};
use serde::{Deserialize, Serialize};

/// An account in a list. How its password is checked is told to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountEntry {
    /// Its name.
    pub name: AccountName,
    /// Whether a password opens it; else only a client certificate does.
    pub password: bool,
    /// The services that it may register; `*` for all.
    pub services: Vec<String>,
    /// The definitions by which it may submit; `*` for all.
    pub definitions: Vec<String>,
    /// The topics that it may publish and subscribe to; `*` for all.
    pub topics: Vec<String>,
    /// Whether it may administer the node.
    pub administer: bool,
    /// When it was added, or last changed.
    pub added: Time,
}

/// An account was added, changed or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountChanged {
    /// Its name.
    pub name: AccountName,
    /// What was done: `added`, `changed`, `removed`.
    pub done: String,
}

/// The accounts in a list, by name.
pub fn entries(accounts: &Accounts) -> Vec<AccountEntry> {
    let entry = |(name, account): (&AccountName, &Account)| AccountEntry {
        name: name.clone(),
        password: account.verifier.is_some(),
        services: account.rights.services.names(),
        definitions: account.rights.definitions.names(),
        topics: account.rights.topics.names(),
        administer: account.rights.administer,
        added: account.added.into(),
    };
    accounts.all().map(entry).collect()
}
