//! The definitions of this node: every version that was ever defined, and which one a name means now (T3).

use crate::{
    code::{Code, Fault},
    dice::Dice,
    document::Text,
    ident::{DefinitionHash, DefinitionName},
    limit,
    machine::{Decision, Machine},
    moment::Moment,
    session::Asker,
    transaction::Definition,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

#[cfg(test)]
mod tests;

/// The catalogue of one node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Catalogue {
    versions: BTreeMap<DefinitionHash, Version>,
    current: BTreeMap<DefinitionName, DefinitionHash>,
}

/// One version of a definition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    /// Its text, as it was given.
    pub text: Text,
    /// When it was defined first.
    pub defined: Moment,
    /// What the text says; read from it once, when it is first wanted.
    #[serde(skip)]
    definition: OnceLock<Option<Arc<Definition>>>,
}

impl Version {
    fn definition(&self) -> Option<Arc<Definition>> {
        self.definition.get_or_init(|| Definition::parse(&self.text).ok().map(Arc::new)).clone()
    }
}

/// The definitions as transactions look at them: immutable, shared.
#[derive(Clone, Debug, Default)]
pub struct Definitions(Arc<Picture>);

#[derive(Debug, Default)]
struct Picture {
    versions: BTreeMap<DefinitionHash, (Arc<Definition>, Moment)>,
    current: BTreeMap<DefinitionName, DefinitionHash>,
}

impl Definitions {
    /// The definition that `name` means now.
    #[must_use]
    pub fn named(&self, name: &DefinitionName) -> Option<&Arc<Definition>> {
        self.version(self.0.current.get(name)?)
    }

    /// One version.
    #[must_use]
    pub fn version(&self, hash: &DefinitionHash) -> Option<&Arc<Definition>> {
        self.0.versions.get(hash).map(|(definition, _)| definition)
    }

    /// How many versions of a name are kept.
    #[must_use]
    pub fn versions_of(&self, name: &DefinitionName) -> usize {
        self.0.versions.values().filter(|(definition, _)| definition.name == *name).count()
    }

    /// The versions of a name that are kept, the oldest first: each with the moment at which it was defined first, and
    /// whether it is the one that the name means now.
    #[must_use]
    pub fn versions(&self, name: &DefinitionName) -> Vec<(&Arc<Definition>, Moment, bool)> {
        let current = self.0.current.get(name);
        let of_name = self.0.versions.iter().filter(|(_, (definition, _))| definition.name == *name);
        let mut versions: Vec<_> =
            of_name.map(|(hash, (definition, at))| (definition, *at, current == Some(hash))).collect();
        versions.sort_by_key(|(_, at, _)| *at);
        versions
    }

    /// The current definitions, by name, each with the moment at which it was defined.
    pub fn current(&self) -> impl Iterator<Item = (&Arc<Definition>, Moment)> {
        self.0.current.values().filter_map(|hash| self.0.versions.get(hash)).map(|(definition, at)| (definition, *at))
    }
}

/// What is asked of the catalogue.
#[derive(Debug)]
pub enum Input {
    /// Take this definition in, as the current one of its name.
    Define {
        /// Whom to acknowledge.
        asker: Asker,
        /// The definition.
        text: Text,
    },
    /// Draw the picture anew.
    Redraw,
    /// Nothing: the catalogue sets no timers.
    Due,
    /// The process has started again.
    Resumed,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A definition was taken in, or made the current one again.
    Defined {
        /// Its text.
        text: Text,
        /// When.
        at: Moment,
    },
}

/// What the catalogue wants done.
#[derive(Debug)]
pub enum Effect {
    /// The picture of the definitions has changed.
    Redraw(Definitions),
    /// Acknowledge the definition.
    Acknowledge {
        /// To whom.
        asker: Asker,
        /// The version that is current now.
        hash: DefinitionHash,
        /// Whether it is new.
        new: bool,
    },
}

impl Catalogue {
    fn picture(&self) -> Definitions {
        let versions = self.versions.iter();
        let versions = versions.filter_map(|(hash, version)| Some((*hash, (version.definition()?, version.defined))));
        Definitions(Arc::new(Picture { versions: versions.collect(), current: self.current.clone() }))
    }
}

impl Machine for Catalogue {
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
            Input::Define { asker, text } => {
                let definition = Definition::parse(&text).map_err(|faults| {
                    faults.into_iter().next().unwrap_or_else(|| Fault::new(Code::DefinitionInvalid, "no definition"))
                })?;
                let hash = definition.hash;
                let acknowledge = |new| Effect::Acknowledge { asker, hash, new };
                if self.current.get(&definition.name) == Some(&hash) {
                    return Ok(Decision::nothing().effect(acknowledge(false)));
                }
                if self.versions.len() >= limit::DEFINITIONS_MAX && !self.versions.contains_key(&hash) {
                    return Err(Fault::new(
                        Code::LimitReached,
                        format!("{} versions of definitions are kept already", self.versions.len()),
                    ));
                }
                Ok(Decision::nothing()
                    .record(Record::Defined { text, at: now })
                    .effect(acknowledge(true))
                    .then(Input::Redraw))
            }
            Input::Redraw | Input::Resumed => Ok(Decision::nothing().effect(Effect::Redraw(self.picture()))),
            Input::Due => Ok(Decision::nothing()),
        }
    }

    fn absorb(&mut self, record: &Record) {
        let Record::Defined { text, at } = record;
        // Checked when it was decided.
        let Ok(definition) = Definition::parse(text) else { return };
        self.current.insert(definition.name.clone(), definition.hash);
        self.versions.entry(definition.hash).or_insert_with(|| Version {
            text: text.clone(),
            defined: *at,
            definition: OnceLock::from(Some(Arc::new(definition))),
        });
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

    fn is_open(&self) -> bool {
        true
    }

    fn is_kept(&self) -> bool {
        true
    }
}
