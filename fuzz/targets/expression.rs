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
    transaction::{Definition, Documents, Join, Side, Source, ValueType, request_document},
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

/// What an operator or a function takes.
#[derive(Clone, Copy)]
enum Operands {
    Two(ValueType),
    One(ValueType),
    Many(ValueType),
    Variable,
    Any,
}

use ValueType::{Boolean, Document, Number, Text as Words};

/// Operators and functions by what they make.
const MAKERS: &[(ValueType, &str, &str, Operands)] = &[
    (Boolean, "OPERATOR", "GREATER", Operands::Two(Number)),
    (Boolean, "OPERATOR", "LESS", Operands::Two(Number)),
    (Boolean, "OPERATOR", "GREATEROREQUAL", Operands::Two(Number)),
    (Boolean, "OPERATOR", "LESSOREQUAL", Operands::Two(Number)),
    (Boolean, "OPERATOR", "EQUAL", Operands::Two(Number)),
    (Boolean, "OPERATOR", "EQUAL", Operands::Two(Words)),
    (Boolean, "OPERATOR", "NOTEQUAL", Operands::Two(Words)),
    (Boolean, "OPERATOR", "NOTEQUAL", Operands::Two(Boolean)),
    (Boolean, "OPERATOR", "AND", Operands::Two(Boolean)),
    (Boolean, "OPERATOR", "OR", Operands::Two(Boolean)),
    (Boolean, "FUNCTION", "NOT", Operands::One(Boolean)),
    (Boolean, "FUNCTION", "EXISTS", Operands::Variable),
    (Number, "OPERATOR", "PLUS", Operands::Two(Number)),
    (Number, "OPERATOR", "MINUS", Operands::Two(Number)),
    (Number, "OPERATOR", "MULTIPLY", Operands::Two(Number)),
    (Number, "OPERATOR", "DIVIDE", Operands::Two(Number)),
    (Number, "FUNCTION", "COUNT", Operands::Variable),
    (Number, "FUNCTION", "SUM", Operands::Many(Number)),
    (Number, "FUNCTION", "MIN", Operands::Many(Number)),
    (Number, "FUNCTION", "MAX", Operands::Many(Number)),
    (Number, "FUNCTION", "NUMBER", Operands::One(Words)),
    (Number, "FUNCTION", "NUMBER", Operands::One(Boolean)),
    (Words, "OPERATOR", "PLUS", Operands::Two(Words)),
    (Words, "FUNCTION", "CONCAT", Operands::Many(Words)),
    (Words, "FUNCTION", "STRING", Operands::One(Number)),
    (Words, "FUNCTION", "STRING", Operands::One(Boolean)),
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
    Ok(match choices.int_in_range(0..=7)? {
        0 => literal(choices, value_type)?,
        1 | 2 => variable(choices, value_type)?,
        _ => {
            let makers: Vec<_> = MAKERS.iter().filter(|(made, ..)| *made == value_type).collect();
            if makers.is_empty() {
                return variable(choices, value_type);
            }
            let &&(_, element, name, operands) = choices.choose(&makers)?;
            let operands = if choices.ratio(1, 64)? { Operands::Any } else { operands };
            let operands = operands_of(choices, operands, depth)?;
            let tag = if element == "OPERATOR" { "OPNAME" } else { "FUNCNAME" };
            format!("<EXPR><{element}><{tag}>{name}</{tag}>{operands}</{element}></EXPR>")
        }
    })
}

fn operands_of(choices: &mut Unstructured<'_>, operands: Operands, depth: usize) -> Result<String> {
    let mut each = |value_types: &[ValueType]| -> Result<String> {
        value_types.iter().map(|&value_type| expression(choices, value_type, depth + 1)).collect()
    };
    match operands {
        Operands::Two(value_type) => each(&[value_type; 2]),
        Operands::One(value_type) => each(&[value_type]),
        Operands::Many(value_type) => {
            let count = choices.int_in_range(1..=4)?;
            (0..count).map(|_| expression(choices, value_type, depth + 1)).collect()
        }
        Operands::Variable => {
            let value_type = *choices.choose(&ValueType::ALL)?;
            variable(choices, value_type)
        }
        Operands::Any => {
            let count = choices.int_in_range(0..=3)?;
            (0..count)
                .map(|_| {
                    let value_type = *choices.choose(&ValueType::ALL)?;
                    expression(choices, value_type, depth + 1)
                })
                .collect()
        }
    }
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
