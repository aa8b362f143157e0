//! The functions that expressions can call by themselves: what each is named, takes, makes and does (T9).
//!
//! [`table`] has them all. The checker reads arity and types from it, evaluation runs what it names, and a test holds the
//! reference in `docs/transactions.md` to it, examples included. A function gets values and returns one: it knows neither
//! documents nor operations, nothing here reads a clock, and none produces more than a document may hold.

mod call;
mod check;
mod date;
mod number;
mod table;
mod text;
mod xpath;

pub(super) use call::weight;
pub(super) use check::Site;
pub use table::{FUNCTIONS, Sample};

use super::value::{Value, ValueType};
use regex::Regex;
use std::sync::Arc;

/// A function of the table.
pub struct Function {
    /// As FUNCNAME writes it.
    pub name: &'static str,
    /// What it takes, in order.
    pub parameters: &'static [Parameter],
    /// What it makes.
    pub makes: Makes,
    /// What it does, in words.
    pub meaning: &'static str,
    run: Run,
    example: (&'static [Sample], &'static str),
}

/// One parameter of a function.
pub struct Parameter {
    /// Its name in messages and in the reference.
    pub name: &'static str,
    /// What may stand for it.
    pub takes: Takes,
    /// How many arguments may.
    pub count: Count,
}

/// How many arguments a parameter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// One.
    One,
    /// One or none; what follows may be left out too.
    Optional,
    /// One or more, to the last.
    Many,
}

/// What may be the argument of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// A value of this type.
    Type(ValueType),
    /// A number, a text or a truth value.
    Scalar,
    /// A truth value, or a number.
    Condition,
    /// Values of this type: of a variable, all that its path leads to.
    All(ValueType),
    /// A variable, which need not be there.
    Variable,
    /// A value of any type, the same for all parameters that take it.
    Same,
    /// A day or a moment, as text.
    Date,
    /// A constant, which is checked with the definition.
    Constant(Constant),
}

/// What a constant argument says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constant {
    /// A regular expression.
    Pattern,
    /// An XPath expression.
    Xpath,
    /// A unit of time.
    Unit,
    /// The form of a date.
    Format,
}

/// What a function makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makes {
    /// Always this.
    Type(ValueType),
    /// The type of the arguments that take [`Takes::Same`].
    Same,
    /// What VALTYPE asks for.
    Declared,
}

/// How a function is run.
#[derive(Clone, Copy)]
enum Run {
    /// On the values of all its arguments.
    Values(fn(&Call<'_>) -> Result<Value, String>),
    /// In a way of its own, because not every argument is evaluated, or because it looks around.
    Not,
    Count,
    Exists,
    If,
    Coalesce,
    Today,
    Now,
    Xpath,
}

/// What a function of values gets.
struct Call<'a> {
    /// The values of its arguments in order, those of [`Takes::All`] one after the other.
    values: &'a [Value],
    /// What was made of its constant argument.
    prepared: Option<&'a Prepared>,
}

/// A constant argument, read once when the definition is checked.
#[derive(Clone, Debug)]
pub(in crate::transaction) enum Prepared {
    Pattern(Regex),
    Xpath(Arc<xpath::Xpath>),
    Unit(date::Unit),
    Format(String),
}

impl std::fmt::Debug for Function {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name)
    }
}

impl Function {
    /// The function that a definition means.
    #[must_use]
    pub fn named(text: &str) -> Option<&'static Self> {
        FUNCTIONS.iter().find(|function| function.name == text)
    }

    /// The arguments of a call, on the sample document of the reference, and what comes of it.
    #[must_use]
    pub fn example(&self) -> (&'static [Sample], &'static str) {
        self.example
    }

    /// How many arguments it takes at least.
    fn arguments_min(&self) -> usize {
        self.parameters.iter().filter(|parameter| parameter.count != Count::Optional).count()
    }

    /// How many arguments it takes at most.
    fn arguments_max(&self) -> usize {
        let many = self.parameters.iter().any(|parameter| parameter.count == Count::Many);
        if many { usize::MAX } else { self.parameters.len() }
    }

    /// The parameter of the argument at this position.
    fn parameter(&self, position: usize) -> Option<&Parameter> {
        self.parameters.get(position).or_else(|| self.parameters.last().filter(|last| last.count == Count::Many))
    }

    /// "SUBSTRING(text, from, length?)".
    #[must_use]
    pub fn signature(&self) -> String {
        let parameters = self.parameters.iter().map(|parameter| {
            let more = match parameter.count {
                Count::One => "",
                Count::Optional => "?",
                Count::Many => "…",
            };
            format!("{}{more}", parameter.name)
        });
        format!("{}({})", self.name, parameters.collect::<Vec<_>>().join(", "))
    }
}

impl<'a> Call<'a> {
    fn text(&self, position: usize) -> Result<&'a str, String> {
        match self.values.get(position) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(self.mismatch(position, "text")),
        }
    }

    fn number(&self, position: usize) -> Result<rust_decimal::Decimal, String> {
        match self.values.get(position) {
            Some(Value::Number(number)) => Ok(*number),
            _ => Err(self.mismatch(position, "number")),
        }
    }

    /// A whole number from `least` to `most`; `otherwise` where the argument is left out.
    fn whole(&self, position: usize, name: &str, least: i64, most: i64, otherwise: i64) -> Result<i64, String> {
        if self.values.len() <= position {
            return Ok(otherwise);
        }
        let number = self.number(position)?;
        i64::try_from(number)
            .ok()
            .filter(|whole| number.fract().is_zero() && (least..=most).contains(whole))
            .ok_or_else(|| format!("its {name} is {number}, and must be a whole number from {least} to {most}"))
    }

    /// The checker leaves nothing of this kind; evaluation stays total all the same.
    fn mismatch(&self, position: usize, wanted: &str) -> String {
        format!("its argument {} is no {wanted}", position + 1)
    }
}
