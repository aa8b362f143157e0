//! The paths that VARNAME and OPDOCVARTYPE are: how a variable is found in a document.
//!
//! A path walks down by local names and ignores namespaces: business documents are full of them, and a definition should
//! say `OrderLine/LineItem/Quantity`. Expressions and joins use it; it knows documents and nothing else.

use crate::{document::Element, limit};
use std::{fmt, str::FromStr};

/// Namespace of the documents that joins build.
pub const DATA_NAMESPACE: &str = "urn:hansa:data:1";

/// A checked path: `.` or steps separated by `/`, the last of which may be an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    steps: Vec<Step>,
    attribute: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    name: String,
    /// Which one below the same parent, from one; without it, all.
    number: Option<usize>,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'a> {
    /// Elements, in the order of the document.
    Elements(Vec<&'a Element>),
    /// Values of attributes, in the order of the document.
    Attributes(Vec<&'a str>),
}

impl Found<'_> {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Elements(elements) => elements.len(),
            Self::Attributes(attributes) => attributes.len(),
        }
    }

    /// Their text.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Elements(elements) => elements.iter().map(|element| element.text()).collect(),
            Self::Attributes(attributes) => attributes.iter().map(|&value| value.to_owned()).collect(),
        }
    }
}

impl Path {
    /// The path to the whole document.
    #[must_use]
    pub fn whole() -> Self {
        Self { steps: Vec::new(), attribute: None }
    }

    /// Whether it leads to the whole document.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.steps.is_empty() && self.attribute.is_none()
    }

    /// Whether it leads to attributes.
    #[must_use]
    pub fn is_attribute(&self) -> bool {
        self.attribute.is_some()
    }

    /// The name at its end, if it has one.
    #[must_use]
    pub fn last_name(&self) -> Option<&str> {
        self.attribute.as_deref().or_else(|| self.steps.last().map(|step| step.name.as_str()))
    }

    /// This path and then `rest`. An attribute has nothing below it, so only `.` can follow one.
    #[must_use]
    pub fn then(mut self, rest: Self) -> Option<Self> {
        if rest.is_whole() {
            return Some(self);
        }
        if self.attribute.is_some() || self.steps.len() + rest.steps.len() > limit::DOCUMENT_DEPTH_MAX {
            return None;
        }
        self.steps.extend(rest.steps);
        self.attribute = rest.attribute;
        Some(self)
    }

    /// What it leads to below `root`.
    ///
    /// In a document of variables, the first step names a variable and stands for its value: the elements in it, or
    /// itself where it holds text.
    #[must_use]
    pub fn find<'a>(&self, root: &'a Element) -> Found<'a> {
        let mut found = vec![root];
        let mut steps = self.steps.iter();
        if is_data(root)
            && let Some(first) = self.steps.first()
        {
            steps.next();
            found = first.pick(root.elements().filter(|variable| variable.attribute("name") == Some(&*first.name)));
            found = found.into_iter().flat_map(value_of).collect();
        }
        for step in steps {
            found = found
                .into_iter()
                .flat_map(|parent| step.pick(parent.elements().filter(|child| step.names(child))))
                .collect();
        }
        match &self.attribute {
            None => Found::Elements(found),
            Some(name) => Found::Attributes(found.into_iter().filter_map(|element| element.attribute(name)).collect()),
        }
    }
}

/// Whether an element is the root of a document of variables.
pub(super) fn is_data(element: &Element) -> bool {
    element.name.is(Some(DATA_NAMESPACE), "Data")
}

fn value_of(variable: &Element) -> Vec<&Element> {
    let inside: Vec<&Element> = variable.elements().collect();
    if inside.is_empty() { vec![variable] } else { inside }
}

impl Step {
    fn names(&self, element: &Element) -> bool {
        *element.name.local == *self.name
    }

    fn pick<'a>(&self, mut matching: impl Iterator<Item = &'a Element>) -> Vec<&'a Element> {
        match self.number {
            None => matching.collect(),
            Some(number) => matching.nth(number - 1).into_iter().collect(),
        }
    }
}

/// Whether a text can be the name of a variable, an element or an attribute in a path.
#[must_use]
pub fn is_step_name(text: &str) -> bool {
    !text.is_empty()
        && text != "."
        && text != ".."
        && text.len() <= limit::NAME_BYTES_MAX
        && text.chars().all(|character| character.is_alphanumeric() || "._-".contains(character))
}

impl FromStr for Path {
    /// What is wrong with the text and what fits.
    type Err = (String, String);

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "." {
            return Ok(Self::whole());
        }
        let wrong = |why: String, help: &str| Err((format!("'{}' is no path: {why}", shown(text)), help.to_owned()));
        let mut path = Self::whole();
        let mut parts = text.split('/').peekable();
        while let Some(part) = parts.next() {
            if let Some(name) = part.strip_prefix('@') {
                if parts.peek().is_some() {
                    return wrong(
                        format!("nothing can follow the attribute '{}'", shown(part)),
                        "end the path with it",
                    );
                }
                if !is_step_name(name) {
                    return wrong(
                        format!("'{}' is no attribute's name", shown(name)),
                        "write its local name, as in '@currencyID'",
                    );
                }
                path.attribute = Some(name.to_owned());
                break;
            }
            let (name, number) = match part.split_once('[') {
                None => (part, None),
                Some((name, rest)) => match rest.strip_suffix(']').and_then(|digits| digits.parse::<u32>().ok()) {
                    Some(number) if number > 0 => (name, Some(number as usize)),
                    _ => {
                        return wrong(
                            format!("'[{}' is no position", shown(rest)),
                            "count from one, as in 'OrderLine[1]'",
                        );
                    }
                },
            };
            if name.contains(':') {
                return wrong(
                    format!("'{}' has a prefix", shown(name)),
                    "paths ignore namespaces: write the local name alone",
                );
            }
            if !is_step_name(name) {
                let why = if name.is_empty() {
                    "a step is empty".to_owned()
                } else {
                    format!("'{}' is no name", shown(name))
                };
                return wrong(
                    why,
                    "separate names by single slashes, as in 'OrderLine/LineItem/Quantity'; '.' is the whole document",
                );
            }
            if path.steps.len() == limit::DOCUMENT_DEPTH_MAX {
                return wrong("it has more steps than a document has levels".to_owned(), "shorten it");
            }
            path.steps.push(Step { name: name.to_owned(), number });
        }
        Ok(path)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            return out.write_str(".");
        }
        for (index, step) in self.steps.iter().enumerate() {
            if index > 0 {
                out.write_str("/")?;
            }
            out.write_str(&step.name)?;
            if let Some(number) = step.number {
                write!(out, "[{number}]")?;
            }
        }
        if let Some(attribute) = &self.attribute {
            write!(out, "{}@{attribute}", if self.steps.is_empty() { "" } else { "/" })?;
        }
        Ok(())
    }
}

/// Enough of a text from outside to recognise it in a message.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}
