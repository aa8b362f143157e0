//! The definitions of this node: every version that was ever defined, and which one a name means now (T3); and the libraries of functions
//! that they call (T9).
//!
//! A definition is bound to the versions of the libraries that were in force when it was defined: they are part of its version, and stay as
//! long as it does, whatever becomes of their names.

mod shelf;
#[cfg(test)]
mod tests;

pub use shelf::{Bytes, LibraryPicture};

use crate::{
    code::{Code, Fault},
    dice::Dice,
    document::Text,
    ident::{DefinitionHash, DefinitionName, LibraryHash, LibraryName},
    limit,
    machine::{Decision, Machine},
    moment::Moment,
    session::Asker,
    transaction::{Definition, Libraries, Loader},
};
use serde::{Deserialize, Serialize};
use shelf::Shelf;
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// The catalogue of one node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Catalogue {
    versions: BTreeMap<DefinitionHash, Version>,
    current: BTreeMap<DefinitionName, DefinitionHash>,
    shelf: Shelf,
}

/// One version of a definition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    /// Its text, as it was given.
    pub text: Text,
    /// The versions of the libraries that it calls.
    pub libraries: BTreeMap<LibraryName, LibraryHash>,
    /// When it was defined first.
    pub defined: Moment,
    /// What the text says; read from it once, when it is first wanted.
    #[serde(skip)]
    definition: OnceLock<Option<Arc<Definition>>>,
}

impl Version {
    fn definition(&self, shelf: &Shelf, loader: &Loader) -> Option<Arc<Definition>> {
        let read = || {
            let mut libraries = Libraries::default();
            for (name, hash) in &self.libraries {
                libraries.add(name.clone(), shelf.loaded(hash, loader)?);
            }
            Definition::parse_with(&self.text, &libraries).ok().map(Arc::new)
        };
        self.definition.get_or_init(read).clone()
    }
}

/// The definitions as transactions look at them: immutable, shared.
#[derive(Clone, Debug, Default)]
pub struct Definitions(Arc<Picture>);

#[derive(Debug, Default)]
struct Picture {
    versions: BTreeMap<DefinitionHash, (Arc<Definition>, Moment)>,
    current: BTreeMap<DefinitionName, DefinitionHash>,
    libraries: Vec<LibraryPicture>,
    library_versions: BTreeMap<LibraryHash, Bytes>,
    callable: Libraries,
}

impl Definitions {
    /// Definitions as a node has them that was told only these, whatever libraries they are bound to; the last of a name is the one in
    /// force.
    #[must_use]
    pub fn of(definitions: impl IntoIterator<Item = Arc<Definition>>) -> Self {
        let mut picture = Picture::default();
        for definition in definitions {
            picture.current.insert(definition.name.clone(), definition.hash);
            picture.versions.insert(definition.hash, (definition, Moment(0)));
        }
        Self(Arc::new(picture))
    }

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

    /// The libraries that new definitions may call, by name.
    #[must_use]
    pub fn libraries(&self) -> &[LibraryPicture] {
        &self.0.libraries
    }

    /// What a version of a library consists of, which a name or a definition means.
    #[must_use]
    pub fn library_version(&self, hash: &LibraryHash) -> Option<&Bytes> {
        self.0.library_versions.get(hash)
    }

    /// The libraries that new definitions may call, to check definitions with.
    #[must_use]
    pub fn callable(&self) -> &Libraries {
        &self.0.callable
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
    /// Take this library in, as the one that its name means for definitions from now on.
    AddLibrary {
        /// Whom to acknowledge.
        asker: Asker,
        /// Its name.
        name: LibraryName,
        /// What it consists of.
        bytes: Bytes,
    },
    /// Forget the name of a library; definitions that call it keep it.
    RemoveLibrary {
        /// Whom to acknowledge.
        asker: Asker,
        /// Its name.
        name: LibraryName,
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
        /// Its name.
        name: DefinitionName,
        /// Its version.
        hash: DefinitionHash,
        /// Its text.
        text: Text,
        /// The versions of the libraries that it calls.
        libraries: BTreeMap<LibraryName, LibraryHash>,
        /// When.
        at: Moment,
    },
    /// A library was taken in, or made the current one of its name again.
    LibraryAdded {
        /// Its name.
        name: LibraryName,
        /// What it consists of.
        bytes: Bytes,
        /// When.
        at: Moment,
    },
    /// The name of a library was forgotten.
    LibraryRemoved {
        /// Which.
        name: LibraryName,
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
    /// Acknowledge what was done with a library.
    AcknowledgeLibrary {
        /// To whom.
        asker: Asker,
        /// What was done.
        word: &'static str,
        /// With which version.
        hash: LibraryHash,
    },
}

impl Catalogue {
    fn picture(&self, loader: &Loader) -> Definitions {
        let versions = self.versions.iter();
        let versions = versions
            .filter_map(|(hash, version)| Some((*hash, (version.definition(&self.shelf, loader)?, version.defined))));
        Definitions(Arc::new(Picture {
            versions: versions.collect(),
            current: self.current.clone(),
            libraries: self.shelf.picture(loader),
            library_versions: self.shelf.versions(),
            callable: self.shelf.current(loader),
        }))
    }

    fn define(&self, loader: &Loader, now: Moment, asker: Asker, text: Text) -> Result<Decision<Self>, Fault> {
        let definition = Definition::parse_with(&text, &self.shelf.current(loader)).map_err(|faults| {
            faults.into_iter().next().unwrap_or_else(|| Fault::new(Code::DefinitionInvalid, "no definition"))
        })?;
        let hash = definition.hash;
        let acknowledge = |new| Effect::Acknowledge { asker, hash, new };
        if self.current.get(&definition.name) == Some(&hash) {
            return Ok(Decision::nothing().effect(acknowledge(false)));
        }
        if self.versions.len() >= limit::DEFINITIONS_MAX && !self.versions.contains_key(&hash) {
            let kept = self.versions.len();
            return Err(Fault::new(Code::LimitReached, format!("{kept} versions of definitions are kept already")));
        }
        let Definition { name, libraries, .. } = definition;
        Ok(Decision::nothing()
            .record(Record::Defined { name, hash, text, libraries, at: now })
            .effect(acknowledge(true))
            .then(Input::Redraw))
    }
}

impl Machine for Catalogue {
    type Key = ();
    type Input = Input;
    type Record = Record;
    type Effect = Effect;
    type Around = Loader;

    fn is_journaled(_: &Record) -> bool {
        true
    }

    fn new((): &()) -> Self {
        Self::default()
    }

    fn decide(&self, loader: &Loader, now: Moment, _: &mut Dice, input: Input) -> Result<Decision<Self>, Fault> {
        match input {
            Input::Define { asker, text } => self.define(loader, now, asker, text),
            Input::AddLibrary { asker, name, bytes } => {
                let hash = bytes.hash();
                let acknowledge = |word| Effect::AcknowledgeLibrary { asker, word, hash };
                if !self.shelf.accepts(&name, &bytes, loader)? {
                    return Ok(Decision::nothing().effect(acknowledge("unchanged")));
                }
                Ok(Decision::nothing()
                    .record(Record::LibraryAdded { name, bytes, at: now })
                    .effect(acknowledge("added"))
                    .then(Input::Redraw))
            }
            Input::RemoveLibrary { asker, name } => {
                let hash = self.shelf.named(&name)?;
                Ok(Decision::nothing()
                    .record(Record::LibraryRemoved { name })
                    .effect(Effect::AcknowledgeLibrary { asker, word: "removed", hash })
                    .then(Input::Redraw))
            }
            Input::Redraw | Input::Resumed => Ok(Decision::nothing().effect(Effect::Redraw(self.picture(loader)))),
            Input::Due => Ok(Decision::nothing()),
        }
    }

    fn absorb(&mut self, record: &Record) {
        match record {
            Record::Defined { name, hash, text, libraries, at } => {
                self.current.insert(name.clone(), *hash);
                self.versions.entry(*hash).or_insert_with(|| Version {
                    text: text.clone(),
                    libraries: libraries.clone(),
                    defined: *at,
                    definition: OnceLock::new(),
                });
            }
            Record::LibraryAdded { name, bytes, at } => self.shelf.put(name.clone(), bytes.clone(), *at),
            Record::LibraryRemoved { name } => self.shelf.take(name),
        }
        if !matches!(record, Record::Defined { .. }) {
            self.shelf.sweep(self.versions.values().flat_map(|version| version.libraries.values()));
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
