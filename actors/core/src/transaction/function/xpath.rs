//! XPath 1.0 over a document, by the library uppsala.
//!
//! What can be known of an expression is checked with the definition: its syntax, its functions, its prefixes, which are
//! those that are declared where it stands. It is read once and shared. Its cost is bounded by the nodes that it visits
//! and by the size of the document that it may work on. Names without a prefix are in no namespace, as XPath has it.

use crate::{
    document::{Element, Node},
    limit,
    transaction::{
        grammar::meant,
        path::shown,
        value::{self, Value, ValueType},
    },
};
use std::{collections::BTreeSet, fmt};
use uppsala::{Document, NodeId, NodeKind, XPathEvaluator, XPathValue};

/// A checked expression.
pub(in crate::transaction) struct Xpath {
    text: String,
    evaluator: XPathEvaluator,
}

/// The functions that the library has, without those that make no sense here.
const FUNCTIONS: [&str; 27] = [
    "boolean",
    "ceiling",
    "concat",
    "contains",
    "count",
    "false",
    "floor",
    "id",
    "lang",
    "last",
    "local-name",
    "name",
    "namespace-uri",
    "normalize-space",
    "not",
    "number",
    "position",
    "round",
    "starts-with",
    "string",
    "string-length",
    "substring",
    "substring-after",
    "substring-before",
    "sum",
    "translate",
    "true",
];

/// What is followed by a parenthesis and is no function.
const NODE_TYPES: [&str; 4] = ["node", "text", "comment", "processing-instruction"];

impl Xpath {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong, and what helps.
    pub(super) fn compile(text: &str, namespace: &dyn Fn(&str) -> Option<String>) -> Result<Self, (String, String)> {
        if text.len() > limit::XPATH_BYTES_MAX {
            let why = format!("it has more than {} bytes", limit::XPATH_BYTES_MAX);
            return Err((why, "divide it into several".to_owned()));
        }
        let mut evaluator = XPathEvaluator::new()
            .with_max_depth(limit::EXPRESSION_DEPTH_MAX as u32)
            .with_max_node_visits(limit::XPATH_VISITS_MAX);
        for word in words(text) {
            match word {
                Word::Prefix(prefix) => match namespace(prefix) {
                    Some(namespace) => evaluator.add_namespace(prefix, namespace),
                    None if prefix == "xml" => {}
                    None => {
                        let help =
                            format!("declare it around, as in <EXPR xmlns:{prefix}=\"…\">, or ask for local-name()");
                        return Err((format!("the prefix '{prefix}' stands for no namespace here"), help));
                    }
                },
                Word::Function(name) if NODE_TYPES.contains(&name) || ["and", "or", "div", "mod"].contains(&name) => {}
                Word::Function(name) if !FUNCTIONS.contains(&name) => {
                    let help = match meant(name, FUNCTIONS) {
                        Some(meant) => format!("did you mean {meant}()?"),
                        None => format!("XPath 1.0 has {}", FUNCTIONS.join(", ")),
                    };
                    return Err((format!("it has no function {}()", shown(name)), help));
                }
                Word::Function(_) => {}
                Word::Variable => {
                    return Err((
                        "it has a variable, and there are none".to_owned(),
                        "build the condition with OPERATOR and FUNCTION".to_owned(),
                    ));
                }
            }
        }
        // Evaluated on nothing to learn whether it can be read; what it finds there does not matter.
        let nothing = uppsala::parse("<nothing/>").map_err(|error| (error.to_string(), String::new()))?;
        if let Err(error) = evaluator.evaluate(&nothing, nothing.root(), text) {
            let why = error.to_string();
            let why = why.strip_prefix("XPath error: ").unwrap_or(&why).to_owned();
            return Err((shown(&why), "write an XPath 1.0 expression, such as //Line[1]/Item".to_owned()));
        }
        Ok(Self { text: text.to_owned(), evaluator })
    }

    /// Enough of it for a message.
    pub(super) fn shown(&self) -> String {
        shown(&self.text)
    }

    /// What it finds in a document that is there as text and as tree; nothing where it leads to no node.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn find(&self, text: &str, root: &Element, wanted: ValueType) -> Result<Option<Value>, String> {
        if text.len() > limit::XPATH_DOCUMENT_BYTES_MAX {
            let most = limit::XPATH_DOCUMENT_BYTES_MAX;
            return Err(format!("the document has {} bytes, and XPath works on up to {most}", text.len()));
        }
        let mut document = uppsala::parse(text).map_err(|error| error.to_string())?;
        document.prepare_xpath();
        let found = self.evaluator.evaluate(&document, document.root(), &self.text).map_err(|error| {
            let why = error.to_string();
            format!("'{}' failed: {}", self.shown(), shown(why.strip_prefix("XPath error: ").unwrap_or(&why)))
        })?;
        let nodes = match &found {
            XPathValue::NodeSet(nodes) => Some(nodes),
            _ => None,
        };
        Ok(Some(match wanted {
            ValueType::Boolean => Value::Boolean(found.to_boolean()),
            ValueType::Document => {
                let Some(nodes) = nodes else { return Err("it finds no elements, but a single value".to_owned()) };
                let elements = elements(&document, nodes, root)?;
                if elements.is_empty() {
                    return Ok(None);
                }
                Value::Document(elements)
            }
            _ if nodes.is_some_and(Vec::is_empty) => return Ok(None),
            ValueType::Text => Value::Text(found.to_string_value(&document).trim().to_owned()),
            ValueType::Number => {
                let text = found.to_string_value(&document);
                value::number(&text).map(Value::Number)?
            }
        }))
    }
}

/// The elements of our own tree that are these nodes of the library's.
///
/// Both trees have the same elements in the same order, so one walk over both finds them.
fn elements(document: &Document<'_>, nodes: &[NodeId], root: &Element) -> Result<Vec<Element>, String> {
    let wanted: BTreeSet<usize> = nodes.iter().map(|node| node.index()).collect();
    let is_element = |node: &NodeId| matches!(document.node_kind(*node), Some(NodeKind::Element(_)));
    if let Some(other) = nodes.iter().find(|node| !is_element(node) && **node != document.root()) {
        let what = match document.node_kind(*other) {
            Some(NodeKind::Attribute(..)) => "an attribute",
            _ => "a text",
        };
        return Err(format!("it finds {what}, which is no document section"));
    }
    let mut found = Vec::new();
    let Some(top) = document.document_element() else { return Ok(found) };
    let whole = wanted.contains(&document.root().index());
    let mut open = vec![(top, root)];
    while let Some((node, element)) = open.pop() {
        if wanted.contains(&node.index()) || whole && node == top {
            found.push(element.clone());
        }
        let children: Vec<_> = document
            .children_iter(node)
            .filter(is_element)
            .zip(element.children.iter().filter_map(|child| match child {
                Node::Element(element) => Some(element),
                Node::Text(_) => None,
            }))
            .collect();
        open.extend(children.into_iter().rev());
    }
    Ok(found)
}

/// What has to be known of an expression besides its syntax.
enum Word<'a> {
    Prefix(&'a str),
    Function(&'a str),
    Variable,
}

/// The words of an expression that stand outside of quotes and mean something elsewhere.
fn words(text: &str) -> Vec<Word<'_>> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '"' || first == '\'' {
            rest = rest[1..].split_once(first).map_or("", |(_, after)| after);
        } else if first == '$' {
            words.push(Word::Variable);
            rest = &rest[1..];
        } else if first.is_ascii_alphabetic() || first == '_' {
            let (name, after) = rest.split_at(rest.find(|character| !is_name(character)).unwrap_or(rest.len()));
            let next = after.trim_start();
            if next.starts_with(':') && !next.starts_with("::") {
                words.push(Word::Prefix(name));
            } else if next.starts_with('(') {
                words.push(Word::Function(name));
            }
            rest = after;
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    words
}

impl fmt::Debug for Xpath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, out)
    }
}
