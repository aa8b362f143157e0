//! Writes elements as XML: escapes what must be, and declares every namespace that an element needs and that nothing
//! around it in the output declares.

use super::{
    check::XML_NAMESPACE,
    syntax::is_character,
    tree::{Element, Name, Node, Scope},
};
use std::sync::Arc;

/// The element as a document of its own.
pub(super) fn element(element: &Element) -> String {
    let mut writer = Writer { out: String::new(), declared: Vec::new() };
    // What is still to be written of the elements around: children, and how many declarations were in force outside.
    let mut open = Vec::new();
    let mut next = Some(element);
    let mut scope = None;
    loop {
        if let Some(element) = next.take() {
            let declared_before = writer.declared.len();
            writer.start(element, scope, open.is_empty());
            if element.children.is_empty() {
                writer.out.push_str("/>");
                writer.declared.truncate(declared_before);
            } else {
                writer.out.push('>');
                open.push((element, element.children.iter(), declared_before));
            }
        }
        let Some((around, children, declared_before)) = open.last_mut() else { return writer.out };
        match children.next() {
            Some(Node::Text(text)) => escape(&mut writer.out, text, false),
            Some(Node::Element(child)) => {
                next = Some(child);
                scope = around.scope.as_ref();
            }
            None => {
                writer.out.push_str("</");
                writer.name(&around.name);
                writer.out.push('>');
                writer.declared.truncate(*declared_before);
                open.pop();
            }
        }
    }
}

/// The output, and the declarations in force where it ends: prefix and namespace, each empty for none.
struct Writer<'t> {
    out: String,
    declared: Vec<(&'t str, &'t str)>,
}

impl<'t> Writer<'t> {
    /// A start tag up to its `>` or `/>`. `around` is the scope that the element around it was parsed in.
    fn start(&mut self, element: &'t Element, around: Option<&'t Arc<Scope>>, outermost: bool) {
        self.out.push('<');
        self.name(&element.name);
        let own = self.declared.len();
        for declaration in &element.namespaces {
            self.declare(declaration.prefix.as_deref().unwrap_or_default(), &declaration.namespace, own);
        }
        for (prefix, namespace) in foreign(element.scope.as_ref(), around.filter(|_| !outermost)) {
            self.need(prefix, namespace, own);
        }
        // Attributes without a prefix are in no namespace, whatever is declared; elements without one are.
        self.need_for(&element.name, own);
        for attribute in element.attributes.iter().filter(|attribute| attribute.name.prefix.is_some()) {
            self.need_for(&attribute.name, own);
        }
        for attribute in &element.attributes {
            self.out.push(' ');
            self.name(&attribute.name);
            self.out.push_str("=\"");
            escape(&mut self.out, &attribute.value, true);
            self.out.push('"');
        }
    }

    fn need_for(&mut self, name: &'t Name, own: usize) {
        let (prefix, namespace) = (name.prefix.as_deref().unwrap_or_default(), name.namespace.as_deref());
        self.need(prefix, namespace.unwrap_or_default(), own);
    }

    /// Declares `prefix` unless it means `namespace` already, or is declared on this very element.
    fn need(&mut self, prefix: &'t str, namespace: &'t str, own: usize) {
        if prefix == "xml" {
            return; // It is declared always.
        }
        let known = self.declared.iter().rposition(|&(other, _)| other == prefix);
        let meant = known.map_or("", |index| self.declared[index].1);
        // The same string in most cases, and namespaces may be long.
        let same = std::ptr::eq(meant, namespace) || meant == namespace;
        if !same && known.is_none_or(|index| index < own) {
            self.declare(prefix, namespace, own);
        }
    }

    fn declare(&mut self, prefix: &'t str, namespace: &'t str, own: usize) {
        // A prefix cannot be undone, and `xml` cannot be another.
        let impossible = namespace.is_empty() && !prefix.is_empty();
        let twice = self.declared[own..].iter().any(|&(other, _)| other == prefix);
        if impossible || twice || (prefix == "xml" && namespace != XML_NAMESPACE) {
            return;
        }
        self.declared.push((prefix, namespace));
        self.out.push_str(" xmlns");
        if !prefix.is_empty() {
            self.out.push(':');
            self.out.push_str(prefix);
        }
        self.out.push_str("=\"");
        escape(&mut self.out, namespace, true);
        self.out.push('"');
    }

    fn name(&mut self, name: &Name) {
        if let Some(prefix) = &name.prefix {
            self.out.push_str(prefix);
            self.out.push(':');
        }
        self.out.push_str(&name.local);
    }
}

/// The declarations in force in `scope` that do not come from `around`, each prefix once. Elements that stand where they
/// were parsed share the scope around them, so that only their own are left.
fn foreign<'t>(scope: Option<&'t Arc<Scope>>, around: Option<&'t Arc<Scope>>) -> Vec<(&'t str, &'t str)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    let mut next = scope;
    while let Some(this) = next.filter(|this| !around.is_some_and(|around| Arc::ptr_eq(this, around))) {
        for declaration in &this.declarations {
            let prefix = declaration.prefix.as_deref().unwrap_or_default();
            if found.iter().all(|&(inner, _)| inner != prefix) {
                found.push((prefix, &declaration.namespace));
            }
        }
        next = this.outer.as_ref();
    }
    found
}

/// Writes a value or a text so that parsing it gives the same again.
fn escape(out: &mut String, text: &str, in_attribute: bool) {
    let mut copied = 0;
    for (at, character) in text.char_indices() {
        let replacement = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            // Parsers take a literal one for a line end, and line ends in attributes for spaces.
            '\r' => "&#13;",
            '"' if in_attribute => "&quot;",
            '\t' if in_attribute => "&#9;",
            '\n' if in_attribute => "&#10;",
            _ if is_character(character) => continue,
            _ => "\u{FFFD}",
        };
        out.push_str(&text[copied..at]);
        out.push_str(replacement);
        copied = at + character.len_utf8();
    }
    out.push_str(&text[copied..]);
}
