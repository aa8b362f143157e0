//! The table of functions.
//!
//! One entry is all that a new function of values needs: the checker, evaluation and the reference follow.

use super::{
    Constant::{Format, Pattern, Unit, Xpath},
    Count::{self, Many, One, Optional},
    Function, Makes, Parameter, Run,
    Takes::{self, All, Condition, Constant, Date, Same, Scalar, Type, Variable},
    date, number, text,
};
use crate::transaction::value::ValueType::{Boolean, Number, Text};

/// An argument of an example.
#[derive(Clone, Copy, Debug)]
pub enum Sample {
    /// A number.
    N(&'static str),
    /// A text.
    T(&'static str),
    /// A truth value.
    B(&'static str),
    /// Texts at a path of the reference's sample document.
    V(&'static str),
    /// Numbers at a path of it.
    Q(&'static str),
    /// Elements at a path of it.
    D(&'static str),
}

use Sample::{B, D, N, Q, T, V};

const fn takes(name: &'static str, takes: Takes, count: Count) -> Parameter {
    Parameter { name, takes, count }
}

const fn one(name: &'static str, kind: Takes) -> Parameter {
    takes(name, kind, One)
}

const fn optional(name: &'static str, kind: Takes) -> Parameter {
    takes(name, kind, Optional)
}

const TEXT: Parameter = one("text", Type(Text));
const NUMBER: Parameter = one("number", Type(Number));
const DATE: Parameter = one("date", Date);

/// Writes an entry the way that the reference shows it.
macro_rules! functions {
    ($($name:literal ($($parameter:expr),*) -> $makes:expr, $run:expr, $meaning:literal, [$($sample:expr),*] = $value:literal;)*) => {
        /// Every function, in the order of the reference.
        pub const FUNCTIONS: &[Function] = &[$(Function {
            name: $name,
            parameters: &[$($parameter),*],
            makes: $makes,
            meaning: $meaning,
            run: $run,
            example: (&[$($sample),*], $value),
        },)*];
    };
}

const fn makes(value_type: crate::transaction::ValueType) -> Makes {
    Makes::Type(value_type)
}

functions! {
    // On what there is.
    "COUNT" (one("variable", Variable)) -> makes(Number), Run::Count,
        "how many there are; 0 if none", [D("Line")] = "2";
    "EXISTS" (one("variable", Variable)) -> makes(Boolean), Run::Exists,
        "whether there is one", [D("Discount")] = "false";
    "IF" (one("condition", Condition), one("then", Same), one("otherwise", Same)) -> Makes::Same, Run::If,
        "one of the two; the other is not evaluated", [B("true"), T("express"), T("standard")] = "express";
    "COALESCE" (takes("value", Same, Many)) -> Makes::Same, Run::Coalesce,
        "the first value that is there", [Q("Discount"), N("0")] = "0";
    "NOT" (one("condition", Condition)) -> makes(Boolean), Run::Not,
        "the opposite", [B("true")] = "false";
    // Texts.
    "CONCAT" (takes("text", All(Text), Many)) -> makes(Text), Run::Values(text::concat),
        "the texts one behind the other", [V("Line/Item"), T("!")] = "boltnut!";
    "JOIN" (one("separator", Type(Text)), takes("text", All(Text), Many)) -> makes(Text), Run::Values(text::join),
        "the texts with the separator between them", [T(", "), V("Line/Item")] = "bolt, nut";
    "PART" (TEXT, one("separator", Type(Text)), one("number", Type(Number))) -> makes(Text), Run::Values(text::part),
        "the part with this number, counted from 1, of a text that separators divide", [T("DE-50667-Köln"), T("-"), N("2")] = "50667";
    "SUBSTRING" (TEXT, one("from", Type(Number)), optional("length", Type(Number))) -> makes(Text), Run::Values(text::substring),
        "the characters from this one on, counted from 1, at most so many", [T("Köln"), N("2"), N("2")] = "öl";
    "BEFORE" (TEXT, one("mark", Type(Text))) -> makes(Text), Run::Values(text::before),
        "what stands before the first mark; nothing if it is not there", [T("4711/2026"), T("/")] = "4711";
    "AFTER" (TEXT, one("mark", Type(Text))) -> makes(Text), Run::Values(text::after),
        "what stands behind the first mark; nothing if it is not there", [T("4711/2026"), T("/")] = "2026";
    "LENGTH" (TEXT) -> makes(Number), Run::Values(text::length),
        "how many characters it has", [T("Köln")] = "4";
    "POSITION" (TEXT, one("part", Type(Text))) -> makes(Number), Run::Values(text::position),
        "at which character the part begins; 0 if it is not there", [T("freight"), T("eight")] = "3";
    "UPPER" (TEXT) -> makes(Text), Run::Values(text::upper), "in capitals", [T("Köln")] = "KÖLN";
    "LOWER" (TEXT) -> makes(Text), Run::Values(text::lower), "in small letters", [T("Köln")] = "köln";
    "TRIM" (TEXT) -> makes(Text), Run::Values(text::trim),
        "without space around it, and with single spaces within", [T("two   words")] = "two words";
    "REPLACE" (TEXT, one("what", Type(Text)), one("with", Type(Text))) -> makes(Text), Run::Values(text::replace),
        "with every occurrence replaced", [T("1.234.567"), T("."), T("")] = "1234567";
    "PADLEFT" (TEXT, one("length", Type(Number)), optional("filling", Type(Text))) -> makes(Text), Run::Values(text::pad_left),
        "filled up on its left, with spaces or the one character that is given", [T("42"), N("5"), T("0")] = "00042";
    "PADRIGHT" (TEXT, one("length", Type(Number)), optional("filling", Type(Text))) -> makes(Text), Run::Values(text::pad_right),
        "filled up on its right", [T("42"), N("5"), T("*")] = "42***";
    "CONTAINS" (TEXT, one("part", Type(Text))) -> makes(Boolean), Run::Values(text::contains),
        "whether the part is in it", [T("freight"), T("eight")] = "true";
    "STARTSWITH" (TEXT, one("part", Type(Text))) -> makes(Boolean), Run::Values(text::starts_with),
        "whether it begins with the part", [T("freight"), T("fre")] = "true";
    "ENDSWITH" (TEXT, one("part", Type(Text))) -> makes(Boolean), Run::Values(text::ends_with),
        "whether it ends with the part", [T("freight"), T("fre")] = "false";
    "MATCHES" (TEXT, one("pattern", Constant(Pattern))) -> makes(Boolean), Run::Values(text::matches),
        "whether the whole text is what the regular expression describes", [T("50667"), T("[0-9]{5}")] = "true";
    "STRING" (one("value", Scalar)) -> makes(Text), Run::Values(text::string),
        "the value as text", [N("1.50")] = "1.50";
    // Numbers.
    "NUMBER" (one("value", Scalar)) -> makes(Number), Run::Values(number::number),
        "the text as number; of a truth value, 1 or 0", [T("1.50")] = "1.50";
    "SUM" (takes("number", All(Number), Many)) -> makes(Number), Run::Values(number::sum),
        "the numbers together", [Q("Line/Quantity")] = "12.50";
    "AVERAGE" (takes("number", All(Number), Many)) -> makes(Number), Run::Values(number::average),
        "their sum divided by their count", [Q("Line/Quantity")] = "6.25";
    "MIN" (takes("number", All(Number), Many)) -> makes(Number), Run::Values(number::min),
        "the least", [Q("Line/Quantity")] = "2.50";
    "MAX" (takes("number", All(Number), Many)) -> makes(Number), Run::Values(number::max),
        "the greatest", [Q("Line/Quantity"), N("11")] = "11";
    "ROUND" (NUMBER, optional("places", Type(Number))) -> makes(Number), Run::Values(number::round),
        "to so many places, or to a whole number; halves away from zero", [N("2.675"), N("2")] = "2.68";
    "FLOOR" (NUMBER) -> makes(Number), Run::Values(number::floor), "the next whole number below", [N("-2.5")] = "-3";
    "CEILING" (NUMBER) -> makes(Number), Run::Values(number::ceiling), "the next whole number above", [N("2.1")] = "3";
    "ABS" (NUMBER) -> makes(Number), Run::Values(number::abs), "without its sign", [N("-2.50")] = "2.50";
    "MODULO" (NUMBER, one("divisor", Type(Number))) -> makes(Number), Run::Values(number::modulo),
        "what is left of a division, with the divisor's sign", [N("17"), N("5")] = "2";
    "POWER" (NUMBER, one("exponent", Type(Number))) -> makes(Number), Run::Values(number::power),
        "multiplied with itself; the exponent is a whole number from -100 to 100", [N("1.1"), N("3")] = "1.331";
    "FORMATNUMBER" (NUMBER, one("places", Type(Number)), optional("point", Type(Text)), optional("grouping", Type(Text))) -> makes(Text), Run::Values(number::format),
        "as text with so many places, and with these marks instead of `.` and nothing", [N("1234567.5"), N("2"), T(","), T(".")] = "1.234.567,50";
    // Days and moments.
    "TODAY" () -> makes(Text), Run::Today,
        "the day on which the transaction was submitted, in UTC", [] = "2026-11-24";
    "NOW" () -> makes(Text), Run::Now,
        "the moment at which the transaction was submitted", [] = "2026-11-24T09:30:00.007Z";
    "DATE" (DATE) -> makes(Text), Run::Values(date::date),
        "its day, as it is written", [T("20261124")] = "2026-11-24";
    "MOMENT" (DATE) -> makes(Text), Run::Values(date::moment),
        "the moment in UTC; a day begins at midnight", [T("2026-11-24T01:00:00+02:00")] = "2026-11-23T23:00:00Z";
    "YEAR" (DATE) -> makes(Number), Run::Values(date::year), "its year", [T("2026-11-24")] = "2026";
    "MONTH" (DATE) -> makes(Number), Run::Values(date::month), "its month, 1 to 12", [T("2026-11-24")] = "11";
    "DAY" (DATE) -> makes(Number), Run::Values(date::day), "its day of the month", [T("2026-11-24")] = "24";
    "WEEKDAY" (DATE) -> makes(Number), Run::Values(date::weekday), "from 1, Monday, to 7, Sunday", [T("2026-11-24")] = "2";
    "DATEADD" (DATE, one("amount", Type(Number)), one("unit", Constant(Unit))) -> makes(Text), Run::Values(date::add),
        "moved by so much; a month has its last day at most. Hours make a moment of a day", [T("2026-11-30"), N("3"), T("MONTHS")] = "2027-02-28";
    "DATEDIFF" (one("from", Date), one("to", Date), optional("unit", Constant(Unit))) -> makes(Number), Run::Values(date::difference),
        "how many whole units lie between, days if nothing else is asked; less than 0 if the second is earlier", [T("2026-11-24"), T("2026-12-24")] = "30";
    "ISBEFORE" (one("date", Date), one("other", Date)) -> makes(Boolean), Run::Values(date::is_before),
        "whether the first is earlier", [T("2026-11-24"), T("2026-12-24")] = "true";
    "ISAFTER" (one("date", Date), one("other", Date)) -> makes(Boolean), Run::Values(date::is_after),
        "whether the first is later", [T("2026-11-24"), T("2026-12-24")] = "false";
    "FORMATDATE" (DATE, one("form", Constant(Format))) -> makes(Text), Run::Values(date::format),
        "written in this form, in which `%Y`, `%m`, `%d`, `%H`, `%M`, `%S` and others stand for its parts", [T("2026-11-24"), T("%d.%m.%Y")] = "24.11.2026";
    // Documents.
    "XPATH" (one("expression", Constant(Xpath)), one("document", Type(crate::transaction::ValueType::Document))) -> Makes::Declared, Run::Xpath,
        "what an XPath 1.0 expression finds, as the `VALTYPE` that must be there", [T("sum(//Quantity)"), D(".")] = "12.5";
}
