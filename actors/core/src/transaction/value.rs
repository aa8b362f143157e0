//! The values that expressions work on, and how they are read from and written to text.
//!
//! Definitions say what a value is (VALTYPE); documents only have text. Expressions and joins use it.

use super::path::shown;
use crate::document::Element;
use rust_decimal::Decimal;
use std::fmt;

/// What a value is: VALTYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// A decimal number.
    Number,
    /// A text.
    Text,
    /// True or false.
    Boolean,
    /// Elements.
    Document,
}

impl ValueType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Number, Self::Text, Self::Boolean, Self::Document];

    /// As definitions write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "NUMVALUE",
            Self::Text => "STRVALUE",
            Self::Boolean => "BOOLVALUE",
            Self::Document => "DOCVALUE",
        }
    }

    /// The type that a definition means.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|value_type| value_type.as_str() == text)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Number => "number",
            Self::Text => "text",
            Self::Boolean => "truth value",
            Self::Document => "document section",
        })
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An exact decimal.
    Number(Decimal),
    /// A text.
    Text(String),
    /// True or false.
    Boolean(bool),
    /// Elements of a document.
    Document(Vec<Element>),
}

impl Value {
    /// What it is.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Number,
            Self::Text(_) => ValueType::Text,
            Self::Boolean(_) => ValueType::Boolean,
            Self::Document(_) => ValueType::Document,
        }
    }

    /// Reads the text of an element or an attribute. Space around it is not part of it.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(text: &str, value_type: ValueType) -> Result<Self, String> {
        let text = text.trim();
        match value_type {
            ValueType::Number => number(text).map(Self::Number),
            ValueType::Text => Ok(Self::Text(text.to_owned())),
            ValueType::Boolean => match text {
                "true" | "1" => Ok(Self::Boolean(true)),
                "false" | "0" => Ok(Self::Boolean(false)),
                _ => Err(format!("'{}' is not true, false, 1 or 0", shown(text))),
            },
            ValueType::Document => Err(format!("'{}' is no document section", shown(text))),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(out),
            Self::Text(text) => out.pad(text),
            Self::Boolean(truth) => truth.fmt(out),
            Self::Document(elements) => elements.iter().try_for_each(|element| out.write_str(&element.text())),
        }
    }
}

/// Reads a number as XML Schema writes decimals: digits, at most one point, a sign; no exponent, no grouping.
///
/// # Errors
/// What is wrong with it, in words.
pub fn number(text: &str) -> Result<Decimal, String> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.is_empty() && fraction.is_empty() {
        return Err(format!("'{}' is no number", shown(text)));
    }
    // Zeros at either end say nothing and must not count as digits.
    let whole = whole.trim_start_matches('0');
    let fraction = if fraction.len() > 28 { fraction.trim_end_matches('0') } else { fraction };
    let plain = format!(
        "{}{}{}{fraction}",
        if text.starts_with('-') { "-" } else { "" },
        if whole.is_empty() { "0" } else { whole },
        if fraction.is_empty() { "" } else { "." },
    );
    Decimal::from_str_exact(&plain).map_err(|_| format!("'{}' has more digits than 28", shown(text)))
}
