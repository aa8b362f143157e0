//! What a service did, by idempotency key: a repeated invocation gets the answer of the first and has no second effect.
//!
//! The demo and the fault tests read it to say whether every effect happened once.

use super::Call;
use hansa_core::{code::Fault, document::Text};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What one service did. Kept for as long as the process: the business state of a demo, which no node knows.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    operation: String,
    transaction: String,
    answer: Text,
    deliveries: u32,
}

/// What the ledgers of an organization say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Effects, by transaction and operation. More than one is a fault.
    pub effects: BTreeMap<(String, String), u32>,
    /// Invocations that came again and were answered with what the first one did.
    pub repeated: u32,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // A panic in an effect leaves no entry behind, so what is there is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to this call: what `effect` gives if it is new, else what it gave the first time. A refusal is no
    /// effect and is not kept.
    ///
    /// # Errors
    /// What `effect` refuses with.
    pub fn once(&self, call: &Call, effect: impl FnOnce() -> Result<Text, Fault>) -> Result<Text, Fault> {
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(&call.key) {
            entry.deliveries += 1;
            return Ok(entry.answer.clone());
        }
        let answer = effect()?;
        let entry = Entry {
            operation: call.operation.clone(),
            transaction: call.transaction.clone(),
            answer: answer.clone(),
            deliveries: 1,
        };
        entries.insert(call.key.clone(), entry);
        Ok(answer)
    }

    /// What it has come to.
    #[must_use]
    pub fn account(&self) -> Account {
        let mut account = Account::default();
        for entry in self.entries().values() {
            *account.effects.entry((entry.transaction.clone(), entry.operation.clone())).or_default() += 1;
            account.repeated += entry.deliveries - 1;
        }
        account
    }
}

impl Account {
    /// How often `operation` had its effect for `transaction`.
    #[must_use]
    pub fn effects_of(&self, transaction: &str, operation: &str) -> u32 {
        self.effects.get(&(transaction.to_owned(), operation.to_owned())).copied().unwrap_or(0)
    }

    /// The effects that happened more than once, in words.
    #[must_use]
    pub fn doubled(&self) -> Vec<String> {
        let doubled = self.effects.iter().filter(|(_, count)| **count > 1);
        doubled
            .map(|((transaction, operation), count)| format!("{operation} of {transaction}: {count} times"))
            .collect()
    }
}
