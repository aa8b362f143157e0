//! XML documents: what every request, response and definition is made of.
//!
//! [`Text`] is a document as it travels and as records keep it: well formed, checked once, cheap to clone. [`Document`]
//! is its tree, for those who look inside. Bytes from outside become one of both here and nowhere else, so that
//! everything behind this module may rely on well-formed XML 1.0 with namespaces, in UTF-8, without a DOCTYPE, within
//! [`Limits`]. It must not know what any document means.
//!
//! Recursion: the nesting of every tree that was parsed is at most [`limit::DOCUMENT_DEPTH_MAX`], whatever `Limits` say,
//! so that dropping, cloning and comparing a tree, which recurse, need little stack. Checking and building do not recurse.

mod build;
mod check;
mod prolog;
mod syntax;
mod tree;
mod write;

#[cfg(test)]
mod tests;

pub use syntax::is_name;
pub use tree::{Attribute, Declaration, Document, Element, Name, Node};

use crate::{code::Fault, limit};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// Limits of one parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the document.
    pub bytes_max: usize,
    /// Nesting of elements; more than [`limit::DOCUMENT_DEPTH_MAX`] is never allowed.
    pub depth_max: usize,
    /// Elements, attributes and text runs together.
    pub nodes_max: usize,
    /// Attributes of one element, namespace declarations among them.
    pub attributes_max: usize,
    /// Namespace declarations in scope at one element.
    pub namespaces_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: limit::DOCUMENT_BYTES_MAX,
            depth_max: limit::DOCUMENT_DEPTH_MAX,
            nodes_max: limit::DOCUMENT_NODES_MAX,
            attributes_max: limit::DOCUMENT_ATTRIBUTES_MAX,
            namespaces_max: limit::DOCUMENT_NAMESPACES_MAX,
        }
    }
}

/// A well-formed XML document as text: checked once, cheap to clone, without a byte order mark.
///
/// Two are equal when they are written the same. In records it is a plain string, and read back unchecked: see
/// [`Text::trusted`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text(Arc<str>);

impl Text {
    /// Checks a document from outside, within the default limits.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        Self::parse_within(bytes, &Limits::default())
    }

    /// Checks a document from outside.
    pub fn parse_within(bytes: &[u8], limits: &Limits) -> Result<Self, Fault> {
        let text = prolog::decode(bytes, limits)?;
        check::check(text, limits, &mut ())?;
        Ok(Self(text.into()))
    }

    /// Takes over what was checked before and is read back from where only this node writes, such as its journal.
    ///
    /// Nothing is checked here. Whatever comes from anybody else goes through [`Text::parse`], also when it arrives
    /// inside a record that serde decodes.
    #[must_use]
    pub fn trusted(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The document as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tree. It fails only for a text that was [`trusted`](Text::trusted) and should not have been, or that was
    /// checked within wider limits than the default ones.
    pub fn tree(&self) -> Result<Document, Fault> {
        Document::parse(self.0.as_bytes(), &Limits::default())
    }

    /// The document from its root's `<` on, so that it can stand inside another document.
    ///
    /// A root without a namespace takes on the default namespace of the place where it is put, if there is one.
    #[must_use]
    pub fn without_declaration(&self) -> &str {
        let mut rest = self.0.strip_prefix('\u{FEFF}').unwrap_or(&self.0);
        loop {
            rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            let (begin, end) = match rest.as_bytes() {
                [b'<', b'?', ..] => (2, "?>"),
                [b'<', b'!', b'-', b'-', ..] => (4, "-->"),
                _ => return rest,
            };
            let Some(at) = rest[begin..].find(end) else { return rest };
            rest = &rest[begin + at + end.len()..];
        }
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The beginning and the length: whole documents make logs unreadable, and may be confidential.
impl fmt::Debug for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHARACTERS_MAX: usize = 40;
        let root = self.without_declaration();
        let begin: String = root.chars().take(CHARACTERS_MAX).collect();
        let more = if begin.len() < root.len() { "…" } else { "" };
        write!(out, "Text({begin:?}{more}, {} bytes)", self.0.len())
    }
}
