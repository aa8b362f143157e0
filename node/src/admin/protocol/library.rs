//! What is asked and answered about libraries of functions.

use crate::admin::time::Time;
use hansa_core::{
    ident::{DefinitionName, LibraryHash, LibraryName},
    transaction::Signature,
};
use serde::{Deserialize, Serialize};

/// A library that definitions may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryEntry {
    /// The name by which they call it.
    pub name: LibraryName,
    /// Which version.
    pub hash: LibraryHash,
    /// When it got this name.
    pub added: Time,
    /// How many bytes it has.
    pub bytes: u64,
    /// Its functions, by name.
    pub functions: Vec<LibraryFunction>,
    /// The definitions whose current version calls this version.
    pub definitions: Vec<DefinitionName>,
}

/// A function of a library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryFunction {
    /// As FUNCNAME writes it.
    pub name: String,
    /// The VALTYPEs of what it takes.
    pub parameters: Vec<String>,
    /// The VALTYPE of what it makes.
    pub makes: String,
}

impl From<&Signature> for LibraryFunction {
    fn from(signature: &Signature) -> Self {
        Self {
            name: signature.name.clone(),
            parameters: signature.parameters.iter().map(|it| it.as_str().to_owned()).collect(),
            makes: signature.makes.as_str().to_owned(),
        }
    }
}

/// What a version of a library consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibrarySource {
    /// Which version.
    pub hash: LibraryHash,
    /// Its bytes, in base 64.
    pub bytes: String,
}

/// A library was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryAdded {
    /// Its name.
    pub name: LibraryName,
    /// Which version.
    pub hash: LibraryHash,
    /// Whether this very version was there under this name before.
    pub unchanged: bool,
}

/// The name of a library was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryRemoved {
    /// Which.
    pub name: LibraryName,
    /// The definitions that still call it, and keep it.
    pub definitions: Vec<DefinitionName>,
}
