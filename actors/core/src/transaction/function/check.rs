//! Whether a call fits its function: how many arguments, of which types, with which constants (T2).
//!
//! The parser calls it for every FUNCTION without a library. Constants are read here, once for all transactions.

use super::{
    Constant, Function, Makes, Parameter, Prepared, Takes,
    date::{self, Unit},
    xpath::Xpath,
};
use crate::{
    code::{Code, Fault, Place},
    limit,
    transaction::{
        expression::{Expression, Kind},
        grammar::meant,
        path::shown,
        value::{Value, ValueType},
    },
};
use regex::RegexBuilder;
use std::sync::Arc;

/// Where the call stands in its definition.
pub(in crate::transaction) struct Site<'a> {
    /// The place of the expression.
    pub place: Place,
    /// What VALTYPE asks for, and where.
    pub declared: Option<(ValueType, Place)>,
    /// The namespace that a prefix stands for there.
    pub namespace: &'a dyn Fn(&str) -> Option<String>,
}

impl Function {
    /// The call as an expression.
    ///
    /// # Errors
    /// [`Code::DefinitionType`] for everything that does not fit.
    pub(in crate::transaction) fn on(
        &'static self,
        arguments: Vec<Expression>,
        site: &Site<'_>,
    ) -> Result<Expression, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut add = |place: Place, message: String, help: String| {
            faults.push(Fault::new(Code::DefinitionType, message).at(place).help(help));
        };
        let (least, most) = (self.arguments_min(), self.arguments_max());
        if !(least..=most).contains(&arguments.len()) {
            let wanted = match (least, most) {
                (0, 0) => "no argument".to_owned(),
                (1, 1) => "one argument".to_owned(),
                (1, usize::MAX) => "at least one argument".to_owned(),
                (least, usize::MAX) => format!("at least {least} arguments"),
                (least, most) if least == most => format!("{least} arguments"),
                (least, most) => format!("{least} to {most} arguments"),
            };
            let (name, given) = (self.name, arguments.len());
            let are = if given == 1 { "is" } else { "are" };
            add(
                site.place,
                format!("{name} takes {wanted}, and here {are} {given}"),
                format!("each EXPR in the FUNCTION is one argument: {}", self.signature()),
            );
            // Which argument was meant for what is anybody's guess now.
            return Err(faults);
        }
        let mut same: Option<ValueType> = None;
        let mut prepared = None;
        for (position, argument) in arguments.iter().enumerate() {
            let Some(parameter) = self.parameter(position) else { break };
            match self.fits(parameter, argument, &mut same, site) {
                Ok(Some(constant)) => prepared = Some(constant),
                Ok(None) => {}
                Err((message, help)) => add(argument.place(), message, help),
            }
        }
        let value_type = match self.makes {
            Makes::Type(value_type) => value_type,
            Makes::Same => same.unwrap_or(ValueType::Text),
            Makes::Declared => site.declared.map(|(declared, _)| declared).unwrap_or_else(|| {
                let help = "add NUMVALUE, STRVALUE, BOOLVALUE or DOCVALUE";
                add(site.place, format!("{} has no <VALTYPE>, which says what it makes", self.name), help.to_owned());
                ValueType::Text
            }),
        };
        // A function that was mistaken for another makes something else, too: that is one fault, not two.
        if let Some((wanted, at)) = site.declared
            && faults.is_empty()
            && wanted != value_type
        {
            let message = format!("{} makes a {value_type}, not a {wanted}", self.name);
            let help = format!("write VALTYPE {}, or leave it out", value_type.as_str());
            faults.push(Fault::new(Code::DefinitionType, message).at(at).help(help));
        }
        if faults.is_empty() {
            Ok(Expression::of(Kind::Function(self, arguments, prepared), value_type, site.place))
        } else {
            Err(faults)
        }
    }

    fn fits(
        &self,
        parameter: &Parameter,
        argument: &Expression,
        same: &mut Option<ValueType>,
        site: &Site<'_>,
    ) -> Result<Option<Prepared>, (String, String)> {
        let (name, given) = (self.name, argument.value_type());
        let whose =
            || if self.parameters.len() == 1 { name.to_owned() } else { format!("{name}'s {}", parameter.name) };
        let wrong = |message: String, help: &str| Err((message, help.to_owned()));
        match parameter.takes {
            Takes::Type(wanted) | Takes::All(wanted) if given != wanted => {
                let works = match wanted {
                    ValueType::Number => "works on numbers",
                    ValueType::Text => "works on texts",
                    ValueType::Boolean => "works on truth values",
                    ValueType::Document => "works on a document section",
                };
                let help = match wanted {
                    ValueType::Number => "give it VALTYPE NUMVALUE, or convert it with the function NUMBER",
                    ValueType::Text => "give it VALTYPE STRVALUE, or convert it with the function STRING",
                    ValueType::Boolean => "give it VALTYPE BOOLVALUE",
                    ValueType::Document => "write a VAR with VALTYPE DOCVALUE",
                };
                wrong(format!("{} {works}, and this is a {given}", whose()), help)
            }
            Takes::Date if given != ValueType::Text => wrong(
                format!("{} is a date, which is a text, and this is a {given}", whose()),
                "give it VALTYPE STRVALUE: 2026-11-24, or 2026-11-24T09:30:00Z",
            ),
            Takes::Scalar if given == ValueType::Document => wrong(
                format!("{name} cannot convert a whole document section (DOCVALUE)"),
                "lead the variable's path to a single element or attribute, and give it STRVALUE",
            ),
            Takes::Condition => argument
                .check_condition(name)
                .map(|()| None)
                .map_err(|fault| (fault.message, fault.help.unwrap_or_default())),
            Takes::Variable if !matches!(argument.kind(), Kind::Variable(_)) => {
                wrong(format!("{name} takes a variable, and this is none"), "write a VAR in its EXPR")
            }
            Takes::Same => match same.get_or_insert(given) {
                first if *first == given => Ok(None),
                first => wrong(
                    format!("{name} has a {first} before, and this is a {given}"),
                    "give all of them the same VALTYPE, or convert with the function NUMBER or STRING",
                ),
            },
            Takes::Constant(constant) => {
                let Kind::Value(Value::Text(text)) = argument.kind() else {
                    return wrong(
                        format!("{} must be a constant text", whose()),
                        "write a VALUE with VALTYPE STRVALUE in its EXPR; it is checked with the definition",
                    );
                };
                constant
                    .prepare(text, site)
                    .map(Some)
                    .map_err(|(why, help)| (format!("{} cannot be '{}': {why}", whose(), shown(text)), help))
            }
            _ => Ok(None),
        }
    }
}

impl Constant {
    /// What the text says; or what is wrong with it, and what helps.
    fn prepare(self, text: &str, site: &Site<'_>) -> Result<Prepared, (String, String)> {
        match self {
            Self::Pattern => {
                // Only linear matching, and bounded memory for the automaton.
                let built = RegexBuilder::new(&format!("^(?:{text})$"))
                    .size_limit(limit::PATTERN_BYTES_MAX)
                    .dfa_size_limit(limit::PATTERN_BYTES_MAX)
                    .nest_limit(limit::EXPRESSION_DEPTH_MAX as u32)
                    .build();
                built.map(Prepared::Pattern).map_err(|error| {
                    let last = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
                    (last, "correct the regular expression; it describes the whole text".to_owned())
                })
            }
            Self::Xpath => Xpath::compile(text, site.namespace).map(|xpath| Prepared::Xpath(Arc::new(xpath))),
            Self::Unit => Unit::named(text).map(Prepared::Unit).ok_or_else(|| {
                let names = Unit::ALL.map(|(_, name)| name);
                let help = meant(text, names).map_or_else(
                    || format!("it is one of {}", names.join(", ")),
                    |meant| format!("did you mean {meant}?"),
                );
                ("it is no unit of time".to_owned(), help)
            }),
            Self::Format => date::check_format(text).map(|()| Prepared::Format(text.to_owned())).map_err(|why| {
                (
                    why,
                    "write parts such as %Y, %m, %d, %H, %M, %S, with any text between them; %% is a percent sign"
                        .to_owned(),
                )
            }),
        }
    }
}
