//! Any expression on any document: what passes the check evaluates to the type that it announced, or to a fault with a
//! place, and to the same whenever it is asked. Run by `.ci/fuzz`.
//!
//! An input that begins with `<` is an expression, an empty line, and a document, as written. Any other is a row of choices
//! from which a well-formed expression, mostly well typed, and a document are grown, so that the fuzzer gets behind the
//! checker.

#![no_main]

use hansa_core::{
    code::Code,
    document::Text,
    moment::Moment,
    transaction::{
        Count, Definition, Documents, FUNCTIONS, Function, Join, Makes, Side, Source, Takes, ValueType,
        request_document,
    },
};
use libfuzzer_sys::{
    arbitrary::{Result, Unstructured},
    fuzz_target,
};

fuzz_target!(|bytes: &[u8]| {
    if bytes.first() == Some(&b'<') {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let (expression, document) = text.split_once("\n\n").unwrap_or((text, "<a/>"));
        for value_type in ValueType::ALL {
            judge(expression, value_type, document);
        }
    } else {
        let mut choices = Unstructured::new(bytes);
        let Ok((expression, value_type)) = grown(&mut choices) else { return };
        let document = element(&mut choices, 0).unwrap_or_else(|_| "<a/>".to_owned());
        judge(&expression, value_type, &document);
    }
});

/// The input of the transaction, which is the head's on both sides; nothing else is there.
struct Papers(Text);

impl Documents for Papers {
    fn document(&self, operation: usize, _: Side) -> Option<&Text> {
        (operation == 0).then_some(&self.0)
    }

    fn submitted(&self) -> Moment {
        Moment(1_795_547_700_000)
    }
}

fn judge(expression: &str, value_type: ValueType, document: &str) {
    let Ok(document) = Text::parse(document.as_bytes()) else { return };
    let definition = format!(
        "<TRANSACTION xmlns:hx=\"urn:hansa:transaction:1\"><NAME>t</NAME>\
         <OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID><OPLINK><SRCOPID>0</SRCOPID><DSTOPID>1</DSTOPID></OPLINK></OPERATION>\
         <OPERATION><NAME>work</NAME><OPID>1</OPID><CXCNAME>ANY</CXCNAME>\
         <OPLINK><SRCOPID>1</SRCOPID><DSTOPID>2</DSTOPID></OPLINK>\
         <JOIN><ARG><NAME>x</NAME><VALTYPE>{}</VALTYPE>{expression}</ARG></JOIN></OPERATION>\
         <OPERATION><NAME>CXtsTailOp</NAME><OPID>2</OPID></OPERATION></TRANSACTION>",
        value_type.as_str()
    );
    let Ok(definition) = Text::parse(definition.as_bytes()) else { return };
    let Ok(definition) = Definition::parse(&definition) else { return };
    let papers = Papers(document);
    for operation in &definition.operations {
        let Join::Arguments(arguments) = &operation.join else { continue };
        for argument in arguments {
            let Source::Expression(expression) = &argument.source else { continue };
            assert_eq!(expression.value_type(), argument.value_type, "the argument has another type");
            let value = expression.evaluate(&papers);
            assert_eq!(format!("{value:?}"), format!("{:?}", expression.evaluate(&papers)), "asked twice");
            match value {
                Ok(value) => assert_eq!(value.value_type(), expression.value_type(), "{value:?}"),
                Err(fault) => assert!(fault.code == Code::ExpressionFailed && fault.place.is_some(), "{fault:?}"),
            }
        }
    }
    for index in 0..definition.operations.len() {
        if let Ok(request) = request_document(&definition, index, &papers) {
            Text::parse(request.as_str().as_bytes()).expect("a request is a document");
        }
    }
}

use ValueType::{Boolean, Document, Number, Text as Words};

/// Operators by what they make, and what both operands are.
const OPERATORS: &[(ValueType, &str, ValueType)] = &[
    (Boolean, "GREATER", Number),
    (Boolean, "LESS", Number),
    (Boolean, "GREATEROREQUAL", Number),
    (Boolean, "LESSOREQUAL", Number),
    (Boolean, "EQUAL", Number),
    (Boolean, "EQUAL", Words),
    (Boolean, "NOTEQUAL", Words),
    (Boolean, "NOTEQUAL", Boolean),
    (Boolean, "AND", Boolean),
    (Boolean, "OR", Boolean),
    (Number, "PLUS", Number),
    (Number, "MINUS", Number),
    (Number, "MULTIPLY", Number),
    (Number, "DIVIDE", Number),
    (Words, "PLUS", Words),
];

/// As deep as definitions may nest, and one more.
const DEPTH_MAX: usize = hansa_core::limit::EXPRESSION_DEPTH_MAX + 1;
const NAMES: &[&str] = &["a", "b", "c", "Long-Name"];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2.50",
    "0.1",
    "3",
    "79228162514264337593543950335",
    "-79228162514264337593543950335",
    "0.0000000000000000000000000001",
    "1e3",
    "007",
    ".5",
    "5.",
    "",
];
const DATES: &[&str] = &[
    "2026-11-24",
    "2024-02-29",
    "9999-12-31",
    "0001-01-01",
    "-0044-03-15",
    "2026-11-24T19:15:00Z",
    "2026-11-24T19:15:00.123456789+05:30",
    "2026-02-30",
    "T",
    "",
];
/// Patterns, XPath expressions, units and forms: each is wrong for most of what takes a constant, which is to be said.
const CONSTANTS: &[&str] = &[
    "a+b*",
    "^[0-9]+$",
    "(a|b){1,9}",
    "(",
    "\\p{L}",
    "/a/b",
    "count(//b)",
    "//@c",
    "string(/a)",
    "/a/b[1] = 2",
    "sum(//b) div 0",
    "//*[not(@c)]",
    "][",
    "DAYS",
    "MONTHS",
    "SECONDS",
    "HOURS",
    "%Y-%m-%d",
    "%d.%m.%Y %H:%M",
    "%",
];
const WORDS: &[&str] = &["", "a", "true", "0", " 12 ", "2026-11-24", "&lt;&amp;", "ä€😀", "abcabc", "a,b"];

/// An expression and its type. Seldom one that is not well typed.
fn grown(choices: &mut Unstructured<'_>) -> Result<(String, ValueType)> {
    let value_type = *choices.choose(&[Boolean, Number, Words, Document])?;
    Ok((expression(choices, value_type, 1)?, value_type))
}

fn expression(choices: &mut Unstructured<'_>, value_type: ValueType, depth: usize) -> Result<String> {
    let value_type = if choices.ratio(1, 64)? { *choices.choose(&ValueType::ALL)? } else { value_type };
    if depth >= DEPTH_MAX || choices.is_empty() {
        return literal(choices, value_type);
    }
    match choices.int_in_range(0..=7)? {
        0 => literal(choices, value_type),
        1 | 2 => variable(choices, value_type),
        3 | 4 => {
            let makers: Vec<_> = OPERATORS.iter().filter(|(made, ..)| *made == value_type).collect();
            if makers.is_empty() {
                return variable(choices, value_type);
            }
            let &&(_, name, operand) = choices.choose(&makers)?;
            let (left, right) = (expression(choices, operand, depth + 1)?, expression(choices, operand, depth + 1)?);
            Ok(format!("<EXPR><OPERATOR><OPNAME>{name}</OPNAME>{left}{right}</OPERATOR></EXPR>"))
        }
        _ => {
            let makes = |function: &&Function| !matches!(function.makes, Makes::Type(made) if made != value_type);
            let makers: Vec<_> = FUNCTIONS.iter().filter(makes).collect();
            let function = *choices.choose(&makers)?;
            call(choices, function, value_type, depth)
        }
    }
}

/// A call of a function that shall make a value of this type.
fn call(choices: &mut Unstructured<'_>, function: &Function, value_type: ValueType, depth: usize) -> Result<String> {
    let mut arguments = String::new();
    // The same for all parameters that take the same.
    let same = match function.makes {
        Makes::Same => value_type,
        _ => *choices.choose(&[Boolean, Number, Words])?,
    };
    for parameter in function.parameters {
        let count = match parameter.count {
            Count::One => 1,
            Count::Optional => choices.int_in_range(0..=1)?,
            Count::Many => choices.int_in_range(1..=3)?,
        };
        let count = if choices.ratio(1, 64)? { count + 1 } else { count };
        for _ in 0..count {
            arguments += &match parameter.takes {
                Takes::Type(value_type) | Takes::All(value_type) => expression(choices, value_type, depth + 1)?,
                Takes::Scalar => {
                    let value_type = *choices.choose(&[Boolean, Number, Words])?;
                    expression(choices, value_type, depth + 1)?
                }
                Takes::Condition => {
                    let value_type = *choices.choose(&[Boolean, Number])?;
                    expression(choices, value_type, depth + 1)?
                }
                Takes::Variable => {
                    let value_type = *choices.choose(&ValueType::ALL)?;
                    variable(choices, value_type)?
                }
                Takes::Same => expression(choices, same, depth + 1)?,
                Takes::Date => text(choices.choose(DATES)?),
                Takes::Constant(_) => text(choices.choose(CONSTANTS)?),
            };
        }
    }
    let declared = if matches!(function.makes, Makes::Declared) || choices.ratio(1, 4)? {
        format!("<VALTYPE>{}</VALTYPE>", value_type.as_str())
    } else {
        String::new()
    };
    Ok(format!("<EXPR><FUNCTION><FUNCNAME>{}</FUNCNAME>{declared}{arguments}</FUNCTION></EXPR>", function.name))
}

fn text(text: &str) -> String {
    format!("<EXPR><VALUE>{text}</VALUE><VALTYPE>STRVALUE</VALTYPE></EXPR>")
}

fn literal(choices: &mut Unstructured<'_>, value_type: ValueType) -> Result<String> {
    let text = match value_type {
        Number => choices.choose(NUMBERS)?,
        Boolean => choices.choose(&["true", "false", "1", "0"])?,
        Words | Document => choices.choose(WORDS)?,
    };
    Ok(format!("<EXPR><VALUE>{text}</VALUE><VALTYPE>{}</VALTYPE></EXPR>", value_type.as_str()))
}

fn variable(choices: &mut Unstructured<'_>, value_type: ValueType) -> Result<String> {
    let mut steps = Vec::new();
    for _ in 0..choices.int_in_range(0..=3)? {
        let name = choices.choose(NAMES)?;
        let number = choices.int_in_range(0..=9)?;
        steps.push(if (1..=3).contains(&number) { format!("{name}[{number}]") } else { (*name).to_owned() });
    }
    if choices.ratio(1, 4)? {
        steps.push(format!("@{}", choices.choose(NAMES)?));
    }
    let path = if steps.is_empty() { ".".to_owned() } else { steps.join("/") };
    let section = if choices.ratio(1, 4)? {
        format!("<OPDOCVARTYPE>{}</OPDOCVARTYPE>", choices.choose(&[".", "a", "b[2]", "a/b", "@c"])?)
    } else {
        String::new()
    };
    let operation = if choices.ratio(1, 32)? { 1 } else { 0 };
    let side = choices.choose(&["INPUT", "OUTPUT"])?;
    Ok(format!(
        "<EXPR><VAR><VARNAME>{path}</VARNAME><OPID>{operation}</OPID><OPDOCIOTYPE>{side}</OPDOCIOTYPE>{section}\
         <VALTYPE>{}</VALTYPE></VAR></EXPR>",
        value_type.as_str()
    ))
}

/// A document with the names that variables look for.
fn element(choices: &mut Unstructured<'_>, depth: usize) -> Result<String> {
    let name = if depth == 0 { "a" } else { choices.choose(NAMES)? };
    let attribute = if choices.ratio(1, 3)? {
        format!(" {}=\"{}\"", choices.choose(NAMES)?, choices.choose(NUMBERS)?)
    } else {
        String::new()
    };
    let mut inside = String::new();
    if depth < 4 {
        for _ in 0..choices.int_in_range(0..=4)? {
            inside += &element(choices, depth + 1).unwrap_or_default();
        }
    }
    if choices.ratio(1, 2)? {
        inside += choices.choose(if choices.len().is_multiple_of(2) { NUMBERS } else { WORDS })?;
    }
    Ok(format!("<{name}{attribute}>{inside}</{name}>"))
}
