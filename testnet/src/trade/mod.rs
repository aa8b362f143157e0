//! The trade that the demo and the fault tests play: a buyer, its suppliers, and what their services answer.
//!
//! Plain values that read the documents they are given and answer with documents; how they are attached to a node is
//! [`crate::attach`]'s business, when they are called is the demo's. The shapes are described in `data/README.md`.

pub mod buyer;
pub mod ledger;
pub mod order;
pub mod response;
pub mod role;
pub mod supplier;
#[cfg(test)]
mod tests;

use hansa_core::{
    code::{Code, Fault},
    document::{Element, Node},
};
use rust_decimal::Decimal;

/// The namespace of the demo's own documents.
pub const NAMESPACE: &str = "urn:hansa:demo:1";

/// One call of a service: what a service may know of an invocation.
#[derive(Clone, Debug)]
pub struct Call {
    /// The invocation's id: its idempotency key.
    pub key: String,
    /// The transaction.
    pub transaction: String,
    /// What is to be done.
    pub operation: String,
    /// What to work on.
    pub document: hansa_core::document::Text,
}

/// A document that a service cannot work with, as its answer.
fn unusable(message: impl Into<String>) -> Fault {
    Fault::new(Code::OperationFailed, message)
}

/// Every element of this local name at or below `root`, not looking inside those that it finds, in document order.
fn all_named<'a>(root: &'a Element, local: &str) -> Vec<&'a Element> {
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(element) = open.pop() {
        if *element.name.local == *local {
            found.push(element);
        } else {
            let below: Vec<_> = element.elements().collect();
            open.extend(below.into_iter().rev());
        }
    }
    found
}

/// The first document of the demo's own with this root, wherever it stands in a request.
fn own_document<'a>(root: &'a Element, local: &str) -> Option<&'a Element> {
    all_named(root, local).into_iter().find(|element| element.name.namespace.as_deref() == Some(NAMESPACE))
}

/// The element at the end of a path of local names.
fn at<'a>(element: &'a Element, path: &[&str]) -> Option<&'a Element> {
    path.iter().try_fold(element, |element, local| element.child(local))
}

/// The text at the end of a path, without the white space around it.
fn text_at(element: &Element, path: &[&str]) -> Result<String, Fault> {
    at(element, path)
        .map(|element| element.text().trim().to_owned())
        .ok_or_else(|| unusable(format!("'{}' has no '{}'", element.name.local, path.join("/"))).at(element.place))
}

/// The number at the end of a path.
fn number_at(element: &Element, path: &[&str]) -> Result<Decimal, Fault> {
    let text = text_at(element, path)?;
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        unusable(format!("'{}' of '{}' is no number: '{shown}'", path.join("/"), element.name.local)).at(element.place)
    })
}

/// The product of two numbers of a document, or that it is out of reach: outside bytes must not overflow.
fn times(one: Decimal, other: Decimal) -> Result<Decimal, Fault> {
    one.checked_mul(other).ok_or_else(|| unusable("the numbers of the document are too large to reckon with"))
}

/// The sum of numbers of a document.
fn sum(numbers: impl IntoIterator<Item = Decimal>) -> Result<Decimal, Fault> {
    numbers
        .into_iter()
        .try_fold(Decimal::ZERO, Decimal::checked_add)
        .ok_or_else(|| unusable("the numbers of the document are too large to reckon with"))
}

/// An element of the demo's namespace.
fn own(local: &str) -> Element {
    Element::new(local).with_namespace("", NAMESPACE)
}

/// The same with an element of the demo's namespace that holds a text.
fn with(parent: Element, local: &str, text: &str) -> Element {
    parent.with_child(leaf(local, text))
}

fn leaf(local: &str, text: &str) -> Element {
    own_inside(local).with_text(text)
}

/// As [`own`], for inside another: the namespace is declared on the root.
fn own_inside(local: &str) -> Element {
    let mut element = Element::new(local);
    element.name = hansa_core::document::Name::within(NAMESPACE, "", local);
    element
}

/// The elements right below an element, to be changed.
fn elements_of(element: &mut Element) -> impl Iterator<Item = &mut Element> {
    element.children.iter_mut().filter_map(|node| match node {
        Node::Element(element) => Some(element),
        Node::Text(_) => None,
    })
}

/// An amount of money as documents write it: two decimals.
fn money(amount: Decimal) -> String {
    format!("{:.2}", amount.round_dp_with_strategy(2, rust_decimal::RoundingStrategy::MidpointAwayFromZero))
}
