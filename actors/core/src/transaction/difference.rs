//! What two versions of a definition say differently: operations, links, conditions, documents, in words (T3).
//!
//! Whoever shows versions to people calls it, with two definitions that were checked. Operations are the same where they
//! have the same name, or, renamed, the same OPID; order, comments and the writing of the XML do not count.

use super::{definition::Definition, parse::key};
use crate::document::Element;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The operation that it is in; none for the definition as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// What it is: `operation`, or elements as the definition nests them.
    pub what: String,
    /// What the old version says; none where it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What the new version says; none where it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// What an element says, part by part, each in words.
type Parts = BTreeMap<String, String>;

/// A definition, part by part.
struct Outline {
    whole: Parts,
    /// Names in the order of the text.
    names: Vec<String>,
    operations: BTreeMap<String, Parts>,
}

/// What `new` says differently from `old`: first the definition as a whole, then operation by operation.
#[must_use]
pub fn difference(old: &Definition, new: &Definition) -> Vec<Change> {
    // Operations that are there under another name keep their number.
    let kept: BTreeSet<&str> = new.operations.iter().map(|operation| operation.name.as_str()).collect();
    let before: BTreeSet<&str> = old.operations.iter().map(|operation| operation.name.as_str()).collect();
    let mut renamed = BTreeMap::new();
    for operation in old.operations.iter().filter(|operation| !kept.contains(operation.name.as_str())) {
        if let Some(now) = new.index_of(operation.id).map(|index| new.operations[index].name.as_str())
            && !before.contains(now)
        {
            renamed.insert(operation.name.as_str(), now);
        }
    }
    let names = |definition: &Definition, renamed: &BTreeMap<&str, &str>| -> BTreeMap<u32, String> {
        let name = |name: &str| renamed.get(name).copied().unwrap_or(name).to_owned();
        definition.operations.iter().map(|operation| (operation.id, name(operation.name.as_str()))).collect()
    };
    let from = outline(old, &names(old, &renamed));
    let to = outline(new, &names(new, &BTreeMap::new()));

    let mut changes = Vec::new();
    compare(None, &from.whole, &to.whole, &mut changes);
    let removed = from.names.iter().filter(|name| !to.operations.contains_key(*name));
    let in_order: Vec<&String> = to.names.iter().chain(removed).collect();
    for name in in_order {
        let change = |old: Option<&str>, new: Option<&str>| Change {
            operation: Some(name.clone()),
            what: "operation".to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        match (from.operations.get(name), to.operations.get(name)) {
            (Some(_), None) => changes.push(change(Some(name), None)),
            (None, Some(parts)) => {
                changes.push(change(None, Some(name)));
                compare(Some(name), &Parts::new(), parts, &mut changes);
            }
            (Some(from), Some(to)) => {
                if let Some((was, _)) = renamed.iter().find(|(_, now)| *now == name) {
                    changes.push(Change { what: "NAME".to_owned(), ..change(Some(was), Some(name)) });
                }
                compare(Some(name), from, to, &mut changes);
            }
            (None, None) => {}
        }
    }
    changes
}

fn compare(operation: Option<&String>, old: &Parts, new: &Parts, changes: &mut Vec<Change>) {
    let parts: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for part in parts.into_iter().filter(|part| old.get(*part) != new.get(*part)) {
        changes.push(Change {
            operation: operation.cloned(),
            what: part.clone(),
            old: old.get(part).cloned(),
            new: new.get(part).cloned(),
        });
    }
}

fn outline(definition: &Definition, names: &BTreeMap<u32, String>) -> Outline {
    let mut outline = Outline { whole: Parts::new(), names: Vec::new(), operations: BTreeMap::new() };
    // It was a document when it was checked.
    let Ok(tree) = definition.text.tree() else { return outline };
    let mut operations = definition.operations.iter();
    for child in tree.root.elements() {
        if key(child).as_deref() != Some("OPERATION") {
            add(child, "", names, &mut outline.whole);
            continue;
        }
        let Some(name) = operations.next().and_then(|operation| names.get(&operation.id)) else { continue };
        let mut parts = Parts::new();
        for part in child.elements().filter(|part| key(part).as_deref() != Some("NAME")) {
            add(part, "", names, &mut parts);
        }
        outline.names.push(name.clone());
        outline.operations.insert(name.clone(), parts);
    }
    outline
}

/// Adds what an element and those in it say, below `above`.
fn add(element: &Element, above: &str, names: &BTreeMap<u32, String>, parts: &mut Parts) {
    let name = key(element).unwrap_or_default();
    let below = if above.is_empty() { name.clone() } else { format!("{above} {name}") };
    let (part, says) = match name.as_str() {
        "OPLINK" => (format!("link to {}", operation(element, "DSTOPID", names)), String::new()),
        "EXPR" => (below, expression(element, names)),
        "DOCUMENT" => (below, document(element, names)),
        "ARG" => {
            let optional = texts(element, "OPTIONAL").eq_ignore_ascii_case("YES");
            let from = element.elements().find_map(|source| match key(source).as_deref() {
                Some("EXPR") => Some(expression(source, names)),
                Some("DOCUMENT") => Some(document(source, names)),
                _ => None,
            });
            let optional = if optional { ", optional" } else { "" };
            let says = format!("{} ({}{optional})", from.unwrap_or_default(), texts(element, "VALTYPE"));
            (format!("{below} {}", texts(element, "NAME")), says)
        }
        "STMT" => {
            let targets: Vec<&str> = element
                .elements()
                .filter(|target| key(target).as_deref() == Some("OPID"))
                .map(|target| named(&target.text(), names))
                .collect();
            let condition = element.elements().find(|child| key(child).as_deref() == Some("EXPR"));
            let says = condition.map_or_else(String::new, |condition| expression(condition, names));
            (format!("{above} to {}", targets.join(", ")), says)
        }
        _ if element.elements().next().is_some() => {
            for child in element.elements() {
                add(child, &below, names, parts);
            }
            return;
        }
        _ => (below, element.text().trim().to_owned()),
    };
    parts
        .entry(part)
        .and_modify(|before| {
            before.push_str("; ");
            before.push_str(&says);
        })
        .or_insert(says);
}

/// The text of a child, trimmed.
fn texts(element: &Element, child: &str) -> String {
    element
        .elements()
        .find(|one| key(one).as_deref() == Some(child))
        .map_or_else(String::new, |one| one.text().trim().to_owned())
}

fn named<'a>(id: &str, names: &'a BTreeMap<u32, String>) -> &'a str {
    id.trim().parse().ok().and_then(|id: u32| names.get(&id)).map_or("?", String::as_str)
}

fn operation<'a>(element: &Element, child: &str, names: &'a BTreeMap<u32, String>) -> &'a str {
    named(&texts(element, child), names)
}

/// `OUTPUT of weigh`, `Parcel/Weight in OUTPUT of weigh`.
fn document(element: &Element, names: &BTreeMap<u32, String>) -> String {
    let (of, side) = (operation(element, "OPID", names), texts(element, "OPDOCIOTYPE"));
    match texts(element, "OPDOCVARTYPE").as_str() {
        "" | "." => format!("{side} of {of}"),
        section => format!("{section} in {side} of {of}"),
    }
}

/// An expression as people write one.
fn expression(element: &Element, names: &BTreeMap<u32, String>) -> String {
    let Some(kind) = element.elements().find(|kind| key(kind).as_deref() != Some("VALTYPE")) else {
        return String::new();
    };
    let operands = || -> Vec<String> {
        let operands = kind.elements().filter(|operand| key(operand).as_deref() == Some("EXPR"));
        operands.map(|operand| expression(operand, names)).collect()
    };
    match key(kind).as_deref() {
        Some("VALUE") if texts(element, "VALTYPE") == "STRVALUE" => format!("'{}'", kind.text().trim()),
        Some("VALUE") => kind.text().trim().to_owned(),
        Some("VAR") => format!("{} in {}", texts(kind, "VARNAME"), document(kind, names)),
        Some("OPERATOR") => {
            let name = texts(kind, "OPNAME");
            let sign = match name.as_str() {
                "GREATER" => ">",
                "LESS" => "<",
                "EQUAL" => "=",
                "NOTEQUAL" => "≠",
                "GREATEROREQUAL" => "≥",
                "LESSOREQUAL" => "≤",
                "PLUS" => "+",
                "MINUS" => "−",
                "MULTIPLY" => "×",
                "DIVIDE" => "÷",
                "AND" => "and",
                "OR" => "or",
                other => other,
            };
            format!("({})", operands().join(&format!(" {sign} ")))
        }
        _ => {
            let library = texts(kind, "LIBNAME");
            let dot = if library.is_empty() { "" } else { "." };
            format!("{library}{dot}{}({})", texts(kind, "FUNCNAME"), operands().join(", "))
        }
    }
}
