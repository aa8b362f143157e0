//! The tree of a document, and how code builds one: elements, attributes and text, with names resolved to namespaces.
//!
//! Comments, processing instructions and the difference between text, CDATA and references are gone; so is the choice of
//! quotes. Trees come from [`Document::parse`] or from the builder methods of [`Element`].

use super::{Limits, Text, build, write};
use crate::code::{Fault, Place};
use std::sync::Arc;

/// A whole document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its only root element.
    pub root: Element,
}

/// The name of an element or an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The prefix as written.
    pub prefix: Option<Arc<str>>,
    /// The name without its prefix.
    pub local: Arc<str>,
    /// The namespace that the prefix, or its absence, stands for.
    pub namespace: Option<Arc<str>>,
}

/// One attribute. Two are equal wherever they stand.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// Its name; without a prefix it is in no namespace.
    pub name: Name,
    /// Its value, references resolved and white space normalized.
    pub value: String,
    /// Where its name begins; line 0 if it was not parsed.
    pub place: Place,
}

/// A namespace declaration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Declaration {
    /// The prefix, or none for the default namespace.
    pub prefix: Option<Arc<str>>,
    /// The namespace; empty where the default namespace is undone.
    pub namespace: Arc<str>,
}

/// One element. Two are equal when they say the same with the same prefixes, wherever they stand.
#[derive(Clone, Debug)]
pub struct Element {
    /// Its name.
    pub name: Name,
    /// Its attributes in the order written, without namespace declarations.
    pub attributes: Vec<Attribute>,
    /// The namespaces that it declares itself.
    pub namespaces: Vec<Declaration>,
    /// Its content; texts are never empty and never next to each other.
    pub children: Vec<Node>,
    /// Where its `<` is; line 0 if it was not parsed.
    pub place: Place,
    /// Where the first text right in it is that is not white space alone; none if there is none, or it was not parsed.
    pub text_place: Option<Place>,
    /// Every namespace in scope here when it was parsed.
    pub(super) scope: Option<Arc<Scope>>,
}

/// Content of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// An element.
    Element(Element),
    /// Character data, references resolved and line ends normalized to `\n`.
    Text(String),
}

/// The declarations of one element, and those around it: shared by all elements below that declare nothing, so that an
/// element that is cut out of its document still knows what prefixes in its values and texts mean.
#[derive(Debug)]
pub(super) struct Scope {
    pub declarations: Vec<Declaration>,
    pub outer: Option<Arc<Scope>>,
}

/// Where built elements are.
const NOWHERE: Place = Place { line: 0, column: 0 };

impl Document {
    /// Checks a document and builds its tree.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, Fault> {
        build::document(bytes, limits)
    }

    /// The document as text, without XML declaration: UTF-8 needs none. For one that was built see [`Element::new`].
    ///
    /// It can be longer than what was parsed, and than the limit, as CDATA sections become escaped text.
    #[must_use]
    pub fn to_text(&self) -> Text {
        Text::trusted(self.root.to_xml())
    }

    /// As [`Document::to_text`], and checked like a document from outside: for trees that were put together from parts
    /// whose names, depth or size others decided.
    pub fn to_checked_text(&self, limits: &Limits) -> Result<Text, Fault> {
        Text::parse_within(self.root.to_xml().as_bytes(), limits)
    }
}

impl From<Element> for Document {
    fn from(root: Element) -> Self {
        Self { root }
    }
}

impl Name {
    /// A name in no namespace.
    #[must_use]
    pub fn local(local: &str) -> Self {
        Self { prefix: None, local: local.into(), namespace: None }
    }

    /// A name in a namespace, written with `prefix`, or without one if that is empty.
    #[must_use]
    pub fn within(namespace: &str, prefix: &str, local: &str) -> Self {
        let prefix = if namespace.is_empty() { "" } else { prefix };
        Self { prefix: non_empty(prefix), local: local.into(), namespace: non_empty(namespace) }
    }

    /// Whether this is the name `local` of `namespace`, whatever its prefix.
    #[must_use]
    pub fn is(&self, namespace: Option<&str>, local: &str) -> bool {
        *self.local == *local && self.namespace.as_deref() == namespace
    }
}

fn non_empty(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

/// Reading.
impl Element {
    /// All text in it and below it, in order.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut open = vec![self.children.iter()];
        while let Some(children) = open.last_mut() {
            match children.next() {
                Some(Node::Text(run)) => text.push_str(run),
                Some(Node::Element(element)) => open.push(element.children.iter()),
                None => drop(open.pop()),
            }
        }
        text
    }

    /// Roughly how many bytes of memory it takes with all that is below it.
    #[must_use]
    pub fn weight(&self) -> usize {
        let own = |element: &Self| {
            let values = element.attributes.iter().map(|attribute| size_of::<Attribute>() + attribute.value.len());
            size_of::<Self>() + values.sum::<usize>()
        };
        let mut weight = own(self);
        let mut open = vec![self.children.iter()];
        while let Some(children) = open.last_mut() {
            match children.next() {
                Some(Node::Text(run)) => weight += run.len(),
                Some(Node::Element(element)) => {
                    weight += own(element);
                    open.push(element.children.iter());
                }
                None => drop(open.pop()),
            }
        }
        weight
    }

    /// The elements right below it.
    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|child| match child {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first element right below it of this local name, in any namespace.
    #[must_use]
    pub fn child(&self, local: &str) -> Option<&Element> {
        self.elements().find(|element| *element.name.local == *local)
    }

    /// The first element right below it of this name.
    #[must_use]
    pub fn child_in(&self, namespace: Option<&str>, local: &str) -> Option<&Element> {
        self.elements().find(|element| element.name.is(namespace, local))
    }

    /// The value of the attribute of this name that is in no namespace.
    #[must_use]
    pub fn attribute(&self, local: &str) -> Option<&str> {
        self.attribute_in(None, local)
    }

    /// The value of the attribute of this name.
    #[must_use]
    pub fn attribute_in(&self, namespace: Option<&str>, local: &str) -> Option<&str> {
        let named = self.attributes.iter().find(|attribute| attribute.name.is(namespace, local));
        named.map(|attribute| attribute.value.as_str())
    }

    /// The namespace that `prefix` stands for here, also when it was declared further out; for prefixes in values and
    /// texts, as in `type="xs:string"`. An empty prefix asks for the default namespace.
    #[must_use]
    pub fn namespace_of(&self, prefix: &str) -> Option<&str> {
        let mut scope = self.scope.as_deref();
        let outer = std::iter::from_fn(|| {
            let this = scope?;
            scope = this.outer.as_deref();
            Some(this.declarations.as_slice())
        });
        let declarations = std::iter::once(self.namespaces.as_slice()).chain(outer).flatten();
        let found = declarations.into_iter().find(|it| it.prefix.as_deref().unwrap_or_default() == prefix);
        found.map(|declaration| &*declaration.namespace).filter(|namespace| !namespace.is_empty())
    }
}

/// Building.
impl Element {
    /// An empty element in no namespace.
    ///
    /// What is built is well formed as long as names are names ([`is_name`](super::is_name)), attributes differ and
    /// namespaces are none of the two that XML reserves. In values and texts every string is right: characters that XML
    /// cannot carry are written as U+FFFD. Where others decide on names or depth, end with [`Document::to_checked_text`].
    #[must_use]
    pub fn new(local: &str) -> Self {
        Self {
            name: Name::local(local),
            attributes: Vec::new(),
            namespaces: Vec::new(),
            children: Vec::new(),
            place: NOWHERE,
            text_place: None,
            scope: None,
        }
    }

    /// Puts the element itself into `namespace`, written with `prefix` or, if that is empty, as the default namespace.
    /// Elements inside it are in the namespaces that they name themselves; nothing is inherited.
    #[must_use]
    pub fn with_namespace(mut self, prefix: &str, namespace: &str) -> Self {
        self.name = Name::within(namespace, prefix, &self.name.local);
        self.with_declaration(prefix, namespace)
    }

    /// Declares a namespace here, for prefixes in values and texts; those of names are declared where they are missing.
    #[must_use]
    pub fn with_declaration(mut self, prefix: &str, namespace: &str) -> Self {
        let declaration = Declaration { prefix: non_empty(prefix), namespace: namespace.into() };
        self.namespaces.retain(|other| other.prefix != declaration.prefix);
        self.namespaces.push(declaration);
        self
    }

    /// Adds an attribute in no namespace, or replaces its value.
    #[must_use]
    pub fn with_attribute(self, local: &str, value: impl Into<String>) -> Self {
        self.with_attribute_in(Name::local(local), value)
    }

    /// Adds an attribute in a namespace, or replaces its value. The name needs a prefix to be in a namespace.
    #[must_use]
    pub fn with_attribute_in(mut self, name: Name, value: impl Into<String>) -> Self {
        let value = value.into();
        let same = |other: &&mut Attribute| other.name.is(name.namespace.as_deref(), &name.local);
        match self.attributes.iter_mut().find(same) {
            Some(attribute) => attribute.value = value,
            None => self.attributes.push(Attribute { name, value, place: NOWHERE }),
        }
        self
    }

    /// Adds an element at the end.
    #[must_use]
    pub fn with_child(mut self, child: Element) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    /// Adds text at the end.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.push_text(text);
        self
    }

    /// Adds text at the end, to the text that is there already.
    pub fn push_text(&mut self, text: &str) {
        match self.children.last_mut() {
            _ if text.is_empty() => {}
            Some(Node::Text(run)) => run.push_str(text),
            _ => self.children.push(Node::Text(text.into())),
        }
    }

    /// The element as XML that can stand alone: namespaces that are in scope here but declared around it are declared
    /// on it, as are those of names that nothing declares. So every part that is cut out is longer by as much.
    #[must_use]
    pub fn to_xml(&self) -> String {
        write::element(self)
    }
}

impl PartialEq for Attribute {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.value == other.value
    }
}

impl Eq for Attribute {}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.attributes == other.attributes
            && self.namespaces == other.namespaces
            && self.children == other.children
    }
}

impl Eq for Element {}
