//! The reading of single elements: what may stand in one, by the grammar, and the simple values that texts are.
//!
//! All of `parse` reads through it; it knows names, counts and forms of values, and not what they are for.

use super::Reader;
use crate::{
    code::{Code, Fault},
    document::{Element, Node},
    transaction::{
        expression::Side,
        grammar::{EXTENSIONS, Occurs, meant, rule},
        path::shown,
        value::{self, ValueType},
    },
};
use rust_decimal::Decimal;
use std::{ops::RangeInclusive, str::FromStr};

/// The element as the grammar names it; `None` for one of a namespace that definitions do not have.
pub(in crate::transaction) fn key(element: &Element) -> Option<String> {
    match element.name.namespace.as_deref() {
        None | Some("") => Some(element.name.local.to_string()),
        Some(EXTENSIONS) => Some(format!("hx:{}", element.name.local)),
        Some(_) => None,
    }
}

/// The element as definitions write it, for messages.
pub(super) fn written(element: &Element) -> String {
    key(element).unwrap_or_else(|| shown(&element.name.local))
}

/// The text right in an element, not in those below it.
pub(super) fn own_text(element: &Element) -> String {
    let texts = element.children.iter().filter_map(|child| match child {
        Node::Text(text) => Some(text.as_str()),
        Node::Element(_) => None,
    });
    texts.collect()
}

/// The children of an element, as its rule allows them.
pub(super) struct Fields<'a>(Vec<(&'static str, &'a Element)>);

impl<'a> Fields<'a> {
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'a Element> {
        self.0.iter().filter(move |(key, _)| *key == name).map(|(_, element)| *element)
    }

    pub(super) fn one(&self, name: &str) -> Option<&'a Element> {
        self.all(name).next()
    }
}

impl Reader<'_> {
    /// The children of `element`, whose name in the grammar is `name`; faults for all that does not belong.
    pub(super) fn fields<'a>(&mut self, element: &'a Element, name: &'static str) -> Fields<'a> {
        let rule = rule(name).expect("fields are asked of elements that have a rule");
        self.no_attributes(element);
        if !own_text(element).trim().is_empty() {
            let message = format!("<{name}> has text between its elements");
            self.faults.invalid(
                element.text_place.unwrap_or(element.place),
                message,
                "remove the text, or put it into the element that it belongs to",
            );
        }
        let mut fields = Fields(Vec::new());
        for child in element.elements() {
            let key = key(child);
            if let Some((known, _)) = rule.children.iter().find(|(known, _)| Some(*known) == key.as_deref()) {
                fields.0.push((known, child));
                continue;
            }
            let names = rule.children.iter().map(|(known, _)| *known);
            let help = match meant(&child.name.local, names.clone().map(|name| name.trim_start_matches("hx:"))) {
                Some(meant) if names.clone().any(|name| name.strip_prefix("hx:") == Some(meant)) => {
                    format!("write it as <hx:{meant} xmlns:hx=\"{EXTENSIONS}\">")
                }
                Some(meant) if meant == &*child.name.local => format!("write <{meant}> without a namespace"),
                Some(meant) => format!("did you mean <{meant}>?"),
                None => format!("<{name}> can have {}", names.collect::<Vec<_>>().join(", ")),
            };
            self.faults.invalid(
                child.place,
                format!("<{}> does not belong into <{name}>", shown(&child.name.local)),
                help,
            );
        }
        for (child, occurs) in rule.children {
            let count = fields.all(child).count();
            if occurs.allows(count) {
                continue;
            }
            let (place, message, help) = match (count, occurs) {
                (0, _) => (element.place, format!("<{name}> has no <{child}>"), format!("add <{child}>")),
                (_, Occurs::Twice) => (
                    element.place,
                    format!("<{name}> has {count} <{child}>, and needs two"),
                    "give it a left and a right side".to_owned(),
                ),
                _ => {
                    let second = fields.all(child).nth(1).map_or(element.place, |second| second.place);
                    (second, format!("<{name}> has more than one <{child}>"), "keep one of them".to_owned())
                }
            };
            self.faults.invalid(place, message, help);
        }
        fields
    }

    pub(super) fn no_attributes(&mut self, element: &Element) {
        // Attributes of other namespaces are for other tools, as xsi:noNamespaceSchemaLocation is.
        let own = element.attributes.iter().find(|attribute| attribute.name.namespace.is_none());
        if let Some(attribute) = own {
            let message =
                format!("<{}> has the attribute '{}'", shown(&element.name.local), shown(&attribute.name.local));
            self.faults.invalid(element.place, message, "definitions have no attributes; values are elements");
        }
    }

    /// The text of an element that holds nothing else.
    pub(super) fn text(&mut self, element: &Element) -> Option<String> {
        self.no_attributes(element);
        if let Some(child) = element.elements().next() {
            let message =
                format!("<{}> holds text, not the element <{}>", shown(&element.name.local), shown(&child.name.local));
            self.faults.invalid(child.place, message, "write the value itself");
            return None;
        }
        Some(own_text(element).trim().to_owned())
    }

    pub(super) fn parsed<T: FromStr<Err = Fault>>(&mut self, element: &Element) -> Option<T> {
        let text = self.text(element)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(fault) => {
                let help = fault.advice().to_owned();
                self.faults.invalid(element.place, fault.message, help);
                None
            }
        }
    }

    /// A text that must be one of a few.
    pub(super) fn chosen<T>(
        &mut self,
        element: &Element,
        code: Code,
        choices: &[&str],
        choose: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(element)?;
        let chosen = choose(&text);
        if chosen.is_none() {
            let help = match meant(&text, choices.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("it is one of {}", choices.join(", ")),
            };
            let message = format!("<{}> cannot be '{}'", written(element), shown(&text));
            self.add(code, element.place, message, help);
        }
        chosen
    }

    pub(super) fn yes_or_no(&mut self, element: &Element) -> Option<bool> {
        self.chosen(element, Code::DefinitionInvalid, &["YES", "NO"], |text| match text {
            "YES" | "yes" => Some(true),
            "NO" | "no" => Some(false),
            _ => None,
        })
    }

    pub(super) fn side(&mut self, element: &Element) -> Option<Side> {
        self.chosen(element, Code::DefinitionInvalid, &["INPUT", "OUTPUT"], |text| match text {
            "INPUT" => Some(Side::Input),
            "OUTPUT" => Some(Side::Output),
            _ => None,
        })
    }

    pub(super) fn value_type(&mut self, element: &Element) -> Option<ValueType> {
        self.chosen(element, Code::DefinitionType, &ValueType::ALL.map(ValueType::as_str), ValueType::named)
    }

    pub(super) fn whole_number(&mut self, element: &Element, what: &str) -> Option<u32> {
        let text = self.text(element)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        if number.is_none() {
            let message = format!("<{}> cannot be '{}'", written(element), shown(&text));
            self.faults.invalid(element.place, message, format!("write {what} as a whole number up to {}", u32::MAX));
        }
        number
    }

    /// A whole number within bounds.
    pub(super) fn bounded(&mut self, element: &Element, what: &str, bounds: RangeInclusive<u32>) -> Option<u32> {
        let text = self.text(element)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && bounds.contains(number));
        if number.is_none() {
            let message = format!("<{}> cannot be '{}'", written(element), shown(&text));
            let help = format!("{what}: a whole number from {} to {}", bounds.start(), bounds.end());
            self.faults.invalid(element.place, message, help);
        }
        number
    }

    /// A decimal within bounds, as a whole number of its `parts`: of seconds, 1000 for milliseconds.
    pub(super) fn decimal(
        &mut self,
        element: &Element,
        what: &str,
        parts: u32,
        bounds: RangeInclusive<u64>,
    ) -> Option<u64> {
        let text = self.text(element)?;
        let read = value::number(&text).ok().and_then(|number| number.checked_mul(parts.into()));
        let number = read.filter(|number| number.fract().is_zero()).and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let message = format!("<{}> cannot be '{}'", written(element), shown(&text));
            let part = |whole: &u64| Decimal::from(*whole) / Decimal::from(parts);
            let help = format!(
                "{what}: a number from {} to {}, in steps of {}",
                part(bounds.start()),
                part(bounds.end()),
                part(&1)
            );
            self.faults.invalid(element.place, message, help);
        }
        number
    }

    pub(super) fn identity(&mut self, element: &Element) -> Option<u32> {
        self.whole_number(element, "an operation's id")
    }

    /// Zero means that there is none.
    pub(super) fn timeout(&mut self, element: &Element) -> Option<u64> {
        self.whole_number(element, "seconds").filter(|&seconds| seconds > 0).map(|seconds| u64::from(seconds) * 1_000)
    }
}
