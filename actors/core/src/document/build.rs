//! Builds the tree of a document from what the checker tells. It decides nothing about well-formedness.

use super::{
    Limits,
    check::{self, Handler, Namespace},
    prolog,
    syntax::{self, PlaceCounter, Written},
    tree::{Attribute, Declaration, Document, Element, Name, Node, Scope},
};
use crate::code::{Code, Fault};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Checks a document and builds its tree.
pub(super) fn document(bytes: &[u8], limits: &Limits) -> Result<Document, Fault> {
    let text = prolog::decode(bytes, limits)?;
    let mut builder = Builder {
        text,
        places: PlaceCounter::new(),
        names: BTreeSet::new(),
        namespaces: BTreeMap::new(),
        open: Vec::new(),
        root: None,
    };
    check::check(text, limits, &mut builder)?;
    let root = builder.root.ok_or_else(|| Fault::new(Code::Internal, "a checked document has no root element"))?;
    Ok(Document { root })
}

struct Builder<'a> {
    text: &'a str,
    places: PlaceCounter,
    /// Every name and prefix once: documents repeat the same few.
    names: BTreeSet<Arc<str>>,
    /// Every namespace once, by its number.
    namespaces: BTreeMap<usize, Arc<str>>,
    open: Vec<Element>,
    root: Option<Element>,
}

impl Builder<'_> {
    fn interned(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.names.insert(Arc::clone(&new));
        new
    }

    fn optional(&mut self, name: &str) -> Option<Arc<str>> {
        (!name.is_empty()).then(|| self.interned(name))
    }

    fn namespace(&mut self, namespace: &Namespace<'_>) -> Arc<str> {
        let known = self.namespaces.entry(namespace.number);
        Arc::clone(known.or_insert_with(|| Arc::from(&*namespace.text)))
    }

    fn name(&mut self, written: Written<'_>, namespace: Option<&Namespace<'_>>) -> Name {
        Name {
            prefix: self.optional(written.prefix()),
            local: self.interned(written.local()),
            namespace: namespace.map(|namespace| self.namespace(namespace)),
        }
    }
}

impl<'a> Handler<'a> for Builder<'a> {
    fn start(&mut self, at: usize, name: Written<'a>, scope: check::Scope<'a, '_>) {
        let place = self.places.advance(self.text, at);
        let namespaces: Vec<_> = scope
            .declarations()
            .iter()
            .map(|binding| Declaration {
                prefix: self.optional(binding.prefix),
                namespace: self.namespace(&binding.namespace),
            })
            .collect();
        let around = self.open.last().and_then(|element| element.scope.clone());
        let inside = match namespaces.is_empty() {
            true => around,
            false => Some(Arc::new(Scope { declarations: namespaces.clone(), outer: around })),
        };
        let attributes = scope
            .attributes()
            .iter()
            .map(|attribute| Attribute {
                name: self.name(attribute.raw.name, scope.of_attribute(attribute)),
                value: syntax::normalized_value(attribute.raw.value).into_owned(),
                place: self.places.advance(self.text, attribute.raw.name_at),
            })
            .collect();
        let name = self.name(name, scope.of_element());
        self.open.push(Element {
            name,
            attributes,
            namespaces,
            children: Vec::new(),
            place,
            text_place: None,
            scope: inside,
        });
    }

    fn end(&mut self) {
        let Some(mut element) = self.open.pop() else { return };
        element.children.shrink_to_fit();
        match self.open.last_mut() {
            Some(around) => around.children.push(Node::Element(element)),
            None => self.root = Some(element),
        }
    }

    fn text(&mut self, at: usize, raw: &'a str) {
        let Some(element) = self.open.last_mut() else { return };
        if element.text_place.is_none()
            && let Some(within) = raw.find(|character: char| !character.is_ascii_whitespace())
        {
            element.text_place = Some(self.places.advance(self.text, at + within));
        }
        element.push_text(&normalized_lines(raw));
    }

    fn character(&mut self, at: usize, character: char) {
        let Some(element) = self.open.last_mut() else { return };
        if element.text_place.is_none() && !character.is_ascii_whitespace() {
            element.text_place = Some(self.places.advance(self.text, at));
        }
        element.push_text(character.encode_utf8(&mut [0; 4]));
    }
}

/// Every line end as `\n`.
fn normalized_lines(raw: &str) -> Cow<'_, str> {
    if raw.contains('\r') { Cow::Owned(raw.replace("\r\n", "\n").replace('\r', "\n")) } else { Cow::Borrowed(raw) }
}
