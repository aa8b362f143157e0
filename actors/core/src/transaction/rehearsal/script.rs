//! What is given to a dry run in place of services: the answers of operations, signals, and a cancellation.
//!
//! It is read with serde, from JSON for instance. Documents in it are checked like all that comes from outside.

use crate::{
    code::{Code, Fault},
    document::Text,
    ident::{DefinitionName, SignalName},
    invocation::Outcome,
    transaction::{Definitions, Operation, Work, grammar::meant},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A whole script.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct Script {
    /// What operations answer, by name or OPID.
    pub operations: BTreeMap<String, ScriptedOperation>,
    /// The signals that come.
    pub signals: Vec<ScriptedSignal>,
    /// When the transaction is cancelled, counted from its beginning.
    pub cancel_after_ms: Option<u64>,
    /// The scripts of sub-transactions, by definition; without one, this script is theirs too.
    pub transactions: BTreeMap<DefinitionName, Script>,
}

/// What one operation answers.
///
/// Each time it is asked for, the first answer counts that fits the leg and the attempt. One that names neither is used
/// once; the last of these is used from then on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct ScriptedOperation {
    /// The answers.
    pub answers: Vec<ScriptedAnswer>,
    /// The answers of what undoes it.
    pub compensation: Vec<ScriptedAnswer>,
    /// How many recipients a broadcast has; without it, as many as there are answers.
    pub recipients: Option<u32>,
}

/// One answer. With neither document nor failure, none comes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct ScriptedAnswer {
    /// What is answered.
    #[serde(deserialize_with = "checked")]
    pub document: Option<Text>,
    /// Why it is not done.
    pub failure: Option<ScriptedFailure>,
    /// After how long.
    pub after_ms: u64,
    /// For which recipient of a broadcast or line of an iteration only, from one.
    pub leg: Option<u32>,
    /// For which attempt only, from one.
    pub attempt: Option<u32>,
}

/// Why something is not done.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct ScriptedFailure {
    /// The code.
    #[serde(default = "operation_failed")]
    pub code: Code,
    /// In words.
    #[serde(default)]
    pub message: String,
}

/// A signal that comes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct ScriptedSignal {
    /// Its name.
    pub name: SignalName,
    /// What it says.
    #[serde(deserialize_with = "needed")]
    pub document: Text,
    /// When, counted from the beginning of the transaction.
    #[serde(default)]
    pub after_ms: u64,
}

/// Lists are no substitute for objects: derived readers would take an empty one for an object without fields.
macro_rules! objects {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Object;
                impl<'de> Visitor<'de> for Object {
                    type Value = $name;
                    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                        out.write_str("an object")
                    }
                    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<$name, M::Error> {
                        $name::deserialize(MapAccessDeserializer::new(map))
                    }
                }
                deserializer.deserialize_map(Object)
            }
        }
    )*};
}

objects!(Script, ScriptedOperation, ScriptedAnswer, ScriptedFailure, ScriptedSignal);

/// Something in a script that nothing in the definitions answers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The keys that lead to it, the outermost first.
    pub path: Vec<String>,
    /// What is wrong, in words.
    pub message: String,
}

fn operation_failed() -> Code {
    Code::OperationFailed
}

fn checked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| Text::parse(text.as_bytes()).map_err(D::Error::custom)).transpose()
}

fn needed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
    Text::parse(String::deserialize(deserializer)?.as_bytes()).map_err(D::Error::custom)
}

impl Script {
    /// The operations and definitions that the script names, and that are not among those which a dry run of `root` runs by
    /// it: their answers would never be given.
    #[must_use]
    pub fn unknown(&self, definitions: &Definitions, root: &DefinitionName) -> Vec<Unknown> {
        let mut unknown = Vec::new();
        let mut scripts: Vec<(&Self, Vec<String>, BTreeSet<&DefinitionName>)> =
            vec![(self, Vec::new(), BTreeSet::from([root]))];
        while let Some((script, path, roots)) = scripts.pop() {
            // This script is that of sub-transactions too, as far as it has none of their own.
            let (mut shared, mut next) = (BTreeSet::new(), Vec::from_iter(roots));
            let mut own = BTreeSet::new();
            let (mut keys, mut is_whole) = (BTreeSet::new(), true);
            while let Some(name) = next.pop() {
                if !shared.insert(name) {
                    continue;
                }
                let Some(definition) = definitions.named(name) else {
                    is_whole = false;
                    continue;
                };
                for operation in &definition.operations {
                    keys.extend([operation.name.to_string(), operation.id.to_string()]);
                    match &operation.work {
                        Work::Transaction(inner) => match script.transactions.get_key_value(inner) {
                            Some(_) => {
                                own.insert(inner);
                            }
                            None => next.push(inner),
                        },
                        Work::Service | Work::Signal(_) => {}
                    }
                }
            }
            let at = |keys: [&str; 2]| path.iter().cloned().chain(keys.map(str::to_owned)).collect::<Vec<_>>();
            // What a definition has that is not there, nobody knows.
            for key in script.operations.keys().filter(|key| is_whole && !keys.contains(*key)) {
                let meant =
                    meant(key, keys.iter().map(String::as_str)).map(|meant| format!("; did you mean '{meant}'?"));
                let message = format!("no operation has the NAME or OPID '{key}'{}", meant.unwrap_or_default());
                unknown.push(Unknown { path: at(["operations", key]), message });
            }
            for (name, inner) in &script.transactions {
                let path = at(["transactions", name.as_str()]);
                if own.contains(name) {
                    scripts.push((inner, path, BTreeSet::from([name])));
                } else if is_whole {
                    let message = format!("no operation runs the definition '{name}' as a sub-transaction");
                    unknown.push(Unknown { path, message });
                }
            }
        }
        unknown
    }

    /// What an operation answers, if the script says.
    pub(super) fn operation(&self, operation: &Operation) -> Option<&ScriptedOperation> {
        self.operations.get(operation.name.as_str()).or_else(|| self.operations.get(&operation.id.to_string()))
    }
}

impl ScriptedOperation {
    /// How many recipients a broadcast of it has.
    pub(super) fn recipients(&self) -> u32 {
        let named = self.answers.iter().filter_map(|answer| answer.leg).max().unwrap_or_default();
        self.recipients.unwrap_or_else(|| named.max(self.answers.len() as u32))
    }
}

impl ScriptedAnswer {
    /// What comes, if anything does.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match (&self.document, &self.failure) {
            (Some(document), _) => Some(Outcome::Completed(document.clone())),
            (None, Some(ScriptedFailure { code, message })) => {
                let message = if message.is_empty() { code.meaning().trim_end_matches('.') } else { message };
                Some(Outcome::Failed(Fault::new(*code, message)))
            }
            (None, None) => None,
        }
    }

    fn fits(&self, leg: u32, attempt: u32) -> bool {
        self.leg.is_none_or(|only| only == leg) && self.attempt.is_none_or(|only| only == attempt)
    }

    fn is_for_any(&self) -> bool {
        self.leg.is_none() && self.attempt.is_none()
    }
}

/// The answer for a leg (from one) and an attempt. `used` counts how many of those that name neither were used.
pub(super) fn pick<'a>(
    answers: &'a [ScriptedAnswer],
    leg: u32,
    attempt: u32,
    used: &mut usize,
) -> Option<&'a ScriptedAnswer> {
    let named = answers.iter().find(|answer| !answer.is_for_any() && answer.fits(leg, attempt));
    named.or_else(|| {
        let any = answers.iter().filter(|answer| answer.is_for_any());
        let last = any.clone().count().checked_sub(1)?;
        let place = (*used).min(last);
        *used += 1;
        any.clone().nth(place)
    })
}
