//! The libraries that a catalogue keeps: which version a name means now, and every version that a definition still calls (T9).
//!
//! The catalogue alone uses it. What a library does is the loader's; here are its bytes.

use crate::{
    code::{Code, Fault},
    ident::{LibraryHash, LibraryName},
    limit,
    moment::Moment,
    transaction::{Libraries, Library, Loader, Signature},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, OnceLock},
};

/// The bytes of a library: cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(Arc<[u8]>);

impl Bytes {
    /// These.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// As they are.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The version that they are.
    #[must_use]
    pub fn hash(&self) -> LibraryHash {
        LibraryHash(*blake3::hash(&self.0).as_bytes())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Bytes({})", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_bytes::ByteBuf::deserialize(deserializer).map(|bytes| Self::new(&bytes))
    }
}

/// A library as others see it.
#[derive(Clone, Debug)]
pub struct LibraryPicture {
    /// The name by which definitions call it.
    pub name: LibraryName,
    /// Its version.
    pub hash: LibraryHash,
    /// When it got this name.
    pub added: Moment,
    /// How many bytes it has.
    pub bytes: u64,
    /// Its functions, by name.
    pub functions: Vec<Signature>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Shelf {
    current: BTreeMap<LibraryName, (LibraryHash, Moment)>,
    versions: BTreeMap<LibraryHash, Version>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Version {
    bytes: Bytes,
    /// What the loader made of them, when it was first wanted.
    #[serde(skip)]
    library: OnceLock<Option<Arc<dyn Library>>>,
}

impl Shelf {
    /// Whether the bytes are new under this name.
    pub(super) fn accepts(&self, name: &LibraryName, bytes: &Bytes, loader: &Loader) -> Result<bool, Fault> {
        if bytes.0.len() > limit::LIBRARY_BYTES_MAX {
            let message =
                format!("the library has {} bytes, and the limit is {}", bytes.0.len(), limit::LIBRARY_BYTES_MAX);
            return Err(Fault::new(Code::LibraryInvalid, message).help("build it for release, and strip it"));
        }
        loader.load(&bytes.0)?;
        let hash = bytes.hash();
        if self.current.get(name).is_some_and(|(current, _)| *current == hash) {
            return Ok(false);
        }
        if self.current.len() >= limit::LIBRARIES_MAX && !self.current.contains_key(name) {
            let message = format!("{} libraries are here already", self.current.len());
            return Err(Fault::new(Code::LimitReached, message).help("remove one with `hansa library remove NAME`"));
        }
        let kept: usize = self.versions.values().map(|version| version.bytes.0.len()).sum();
        if !self.versions.contains_key(&hash) && kept + bytes.0.len() > limit::LIBRARIES_BYTES_MAX {
            let message = format!("the libraries that are kept have {kept} bytes already");
            let help = "versions that definitions call are kept; remove libraries that none calls";
            return Err(Fault::new(Code::LimitReached, message).help(help));
        }
        Ok(true)
    }

    /// The version that a name means.
    pub(super) fn named(&self, name: &LibraryName) -> Result<LibraryHash, Fault> {
        let current = self.current.get(name).map(|(hash, _)| *hash);
        current.ok_or_else(|| Fault::new(Code::LibraryUnknown, format!("there is no library '{name}' here")))
    }

    pub(super) fn put(&mut self, name: LibraryName, bytes: Bytes, at: Moment) {
        let hash = bytes.hash();
        self.current.insert(name, (hash, at));
        self.versions.entry(hash).or_insert_with(|| Version { bytes, library: OnceLock::new() });
    }

    pub(super) fn take(&mut self, name: &LibraryName) {
        self.current.remove(name);
    }

    /// Forget the versions that neither a name nor one of these means.
    pub(super) fn sweep<'a>(&mut self, used: impl Iterator<Item = &'a LibraryHash>) {
        let named = self.current.values().map(|(hash, _)| *hash);
        let used: BTreeSet<LibraryHash> = used.copied().chain(named).collect();
        self.versions.retain(|hash, _| used.contains(hash));
    }

    /// Every version that is kept. Clones share the bytes.
    pub(super) fn versions(&self) -> BTreeMap<LibraryHash, Bytes> {
        self.versions.iter().map(|(hash, version)| (*hash, version.bytes.clone())).collect()
    }

    pub(super) fn loaded(&self, hash: &LibraryHash, loader: &Loader) -> Option<Arc<dyn Library>> {
        let version = self.versions.get(hash)?;
        version.library.get_or_init(|| loader.load(&version.bytes.0).ok()).clone()
    }

    /// What a new definition may call.
    pub(super) fn current(&self, loader: &Loader) -> Libraries {
        let mut libraries = Libraries::default();
        for (name, (hash, _)) in &self.current {
            if let Some(library) = self.loaded(hash, loader) {
                libraries.add(name.clone(), library);
            }
        }
        libraries
    }

    pub(super) fn picture(&self, loader: &Loader) -> Vec<LibraryPicture> {
        let pictures = self.current.iter().filter_map(|(name, (hash, added))| {
            let bytes = self.versions.get(hash)?.bytes.0.len() as u64;
            let functions = self.loaded(hash, loader).map(|library| library.functions().to_vec()).unwrap_or_default();
            Some(LibraryPicture { name: name.clone(), hash: *hash, added: *added, bytes, functions })
        });
        pictures.collect()
    }
}
