//! What the built-in functions promise: the reference is the table, types are checked with the definition, and no
//! expression over any document panics or makes what it did not announce (T9).

use super::{
    Papers, around, document,
    evaluation::{call, evaluated, number, op, text, value, var},
    parse,
};
use crate::{
    code::Code,
    transaction::{
        Count, Expression, FUNCTIONS, Function, Join, Makes, Source, Takes, Value, ValueType,
        function::Sample::{self, B, D, N, Q, T, V},
        request_document,
    },
};
use proptest::prelude::*;

const REFERENCE: &str = include_str!("../../../../../docs/transactions.md");

/// The document on which the examples of the reference work.
const SAMPLE: &str = r#"<Order>
  <Line><Item>bolt</Item><Quantity>2.50</Quantity></Line>
  <Line><Item>nut</Item><Quantity>10</Quantity></Line>
</Order>"#;

/// A call with a VALTYPE.
fn call_as(name: &str, value_type: &str, arguments: &[&str]) -> String {
    call(name, arguments).replacen("</FUNCNAME>", &format!("</FUNCNAME><VALTYPE>{value_type}</VALTYPE>"), 1)
}

/// The expression as the only argument of operation 1's request.
fn expression(xml: &str, value_type: &str) -> Result<Expression, Vec<crate::code::Fault>> {
    let argument = format!("<ARG><NAME>x</NAME><VALTYPE>{value_type}</VALTYPE>{xml}</ARG>");
    let mut definition = parse(&around(&format!("<JOIN>{argument}</JOIN>")))?;
    let Join::Arguments(arguments) = &mut definition.operations[1].join else { panic!("the join has arguments") };
    let Source::Expression(expression) = arguments.remove(0).source else { panic!("it is an expression") };
    Ok(expression)
}

fn written(sample: &Sample) -> (String, String) {
    let path = |path: &str, value_type| (path.to_owned(), var(path, value_type));
    match sample {
        N(it) => ((*it).to_owned(), number(it)),
        B(it) => ((*it).to_owned(), value(it, "BOOLVALUE")),
        T(it) => (format!("\"{it}\""), text_exactly(it)),
        V(it) => path(it, "STRVALUE"),
        Q(it) => path(it, "NUMVALUE"),
        D(it) => path(it, "DOCVALUE"),
    }
}

/// A text whose outer space counts, which a VALUE has not.
fn text_exactly(it: &str) -> String {
    if it.trim() == it { text(it) } else { call("BEFORE", &[&text(&format!("{it}|")), &text("|")]) }
}

fn words(makes: Makes) -> String {
    match makes {
        Makes::Type(value_type) => value_type.to_string(),
        Makes::Same => "as given".to_owned(),
        Makes::Declared => "as asked".to_owned(),
    }
}

/// The row of the reference for a function.
fn row(function: &Function) -> String {
    let (samples, value) = function.example();
    let arguments: Vec<String> = samples.iter().map(|sample| written(sample).0).collect();
    let signature = function.signature();
    let (_, parameters) = signature.split_once('(').unwrap();
    format!(
        "| `{}` | {} | {} | {} | `{}({})` is `{value}` |",
        function.name,
        parameters.trim_end_matches(')'),
        words(function.makes),
        function.meaning,
        function.name,
        arguments.join(", "),
    )
}

// T9: one table of functions, from which the reference, the checker and evaluation draw.
#[test]
fn the_reference_has_every_function_as_it_is_with_an_example_that_holds() {
    assert!(REFERENCE.contains(SAMPLE), "the document of the examples");
    let rows: Vec<String> = FUNCTIONS.iter().map(row).collect();
    let missing: Vec<&String> = rows.iter().filter(|row| !REFERENCE.contains(row.as_str())).collect();
    let all = rows.join("\n");
    assert!(missing.is_empty(), "docs/transactions.md misses {missing:#?}\n\nThe whole table:\n{all}");
    let listed = REFERENCE.lines().filter(|line| line.contains(")` is `")).count();
    assert_eq!(listed, FUNCTIONS.len(), "the reference has functions that are not there");
    for function in FUNCTIONS {
        let (samples, expected) = function.example();
        let arguments: Vec<String> = samples.iter().map(|sample| written(sample).1).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let made = match function.makes {
            Makes::Type(made) => made,
            Makes::Same if function.name == "COALESCE" => ValueType::Number,
            Makes::Same => ValueType::Text,
            Makes::Declared => ValueType::Number,
        };
        let xml = call_as(function.name, made.as_str(), &arguments);
        let expression = expression(&xml, made.as_str()).unwrap_or_else(|faults| panic!("{faults:#?}"));
        let value = expression.evaluate(&Papers::input(SAMPLE)).unwrap();
        assert_eq!((value.to_string().as_str(), value.value_type()), (expected, made), "{}", function.name);
    }
}

#[test]
fn functions_have_the_values_that_people_expect_at_the_edges() {
    let table: &[(String, &str)] = &[
        (call("SUBSTRING", &[&text("abc"), &number("2")]), "bc"),
        (call("SUBSTRING", &[&text("abc"), &number("9")]), ""),
        (call("LENGTH", &[&text("")]), "0"),
        (call("POSITION", &[&text("Köln"), &text("n")]), "4"),
        (call("POSITION", &[&text("abc"), &text("x")]), "0"),
        (call("BEFORE", &[&text("abc"), &text("x")]), ""),
        (call("AFTER", &[&text("a.b.c"), &text(".")]), "b.c"),
        (call("JOIN", &[&text("-"), &text("a")]), "a"),
        (call("PADLEFT", &[&text("12345"), &number("3"), &text("0")]), "12345"),
        // A pattern describes the whole text, and letters are letters everywhere.
        (call("MATCHES", &[&text("DE50667"), &text("[0-9]+")]), "false"),
        (call("MATCHES", &[&text("Köln"), &text(r"\w+")]), "true"),
        (call("MATCHES", &[&text("ab"), &text("a|b")]), "false"),
        // Money is rounded as merchants do, and has the places that it is to have.
        (call("ROUND", &[&number("-2.5")]), "-3"),
        (call("ROUND", &[&number("0.125"), &number("2")]), "0.13"),
        (call("ROUND", &[&number("7"), &number("2")]), "7.00"),
        (call("FORMATNUMBER", &[&number("-0.004"), &number("2")]), "0.00"),
        (call("FORMATNUMBER", &[&number("-1234.5"), &number("0"), &text("."), &text(",")]), "-1,235"),
        (call("FORMATNUMBER", &[&number("123"), &number("1")]), "123.0"),
        (call("MODULO", &[&number("-1"), &number("7")]), "6"),
        (call("MODULO", &[&number("5.5"), &number("-2")]), "-0.5"),
        (call("POWER", &[&number("2"), &number("-2")]), "0.25"),
        (call("POWER", &[&number("0"), &number("0")]), "1"),
        (call("AVERAGE", &[&number("1"), &number("2"), &number("2")]), "1.6666666666666666666666666667"),
        // Dates.
        (call("DATE", &[&text("2026-02-28Z")]), "2026-02-28"),
        (call("DATE", &[&text("2026-11-24T23:30:00-05:00")]), "2026-11-24"),
        (call("MOMENT", &[&text("2026-11-24T23:30:00-05:00")]), "2026-11-25T04:30:00Z"),
        (call("MOMENT", &[&text("2026-11-24")]), "2026-11-24T00:00:00Z"),
        (call("MOMENT", &[&text("2026-11-24T12:00:00.250")]), "2026-11-24T12:00:00.25Z"),
        (call("DATEADD", &[&text("2024-02-29"), &number("1"), &text("YEARS")]), "2025-02-28"),
        (call("DATEADD", &[&text("2026-11-24"), &number("-24"), &text("DAYS")]), "2026-10-31"),
        (call("DATEADD", &[&text("2026-11-24"), &number("36"), &text("HOURS")]), "2026-11-25T12:00:00Z"),
        (call("DATEDIFF", &[&text("2026-03-01"), &text("2026-02-01")]), "-28"),
        (call("DATEDIFF", &[&text("2026-01-31"), &text("2026-02-28"), &text("MONTHS")]), "0"),
        (call("DATEDIFF", &[&text("2026-11-24T10:00:00Z"), &text("2026-11-24T11:59:59Z"), &text("HOURS")]), "1"),
        (call("ISBEFORE", &[&text("2026-11-24"), &text("2026-11-24T00:00:01Z")]), "true"),
        (call("ISAFTER", &[&text("2026-11-24T00:00:00+01:00"), &text("2026-11-24")]), "false"),
        (call("FORMATDATE", &[&text("2026-11-24T09:05:00Z"), &text("%H:%M")]), "09:05"),
        (call("WEEKDAY", &[&text("2026-11-29")]), "7"),
        // What is not asked for is not evaluated.
        (call("IF", &[&value("false", "BOOLVALUE"), &var("Lime", "NUMVALUE"), &number("2")]), "2"),
        (call("COALESCE", &[&var("Lime", "STRVALUE"), &var("Note", "STRVALUE"), &text("x")]), ""),
        // XPath sees names as XPath does: those without a prefix are in no namespace.
        (call_as("XPATH", "NUMVALUE", &[&text("count(//Line)"), &var(".", "DOCVALUE")]), "0"),
        (call_as("XPATH", "NUMVALUE", &[&text("count(//*[local-name()='Line'])"), &var(".", "DOCVALUE")]), "2"),
        (
            call_as("XPATH", "STRVALUE", &[&text("//o:Line[o:Quantity &gt; 5]/o:Item"), &var(".", "DOCVALUE")])
                .replace("<FUNCTION>", "<FUNCTION xmlns:o='urn:example:order'>"),
            "nut",
        ),
        (call_as("XPATH", "STRVALUE", &[&text("/*/*/@scheme"), &var(".", "DOCVALUE")]), "internal"),
        (call_as("XPATH", "BOOLVALUE", &[&text("//*[@unit='KGM']"), &var(".", "DOCVALUE")]), "true"),
        (call_as("XPATH", "BOOLVALUE", &[&text("//*[@unit='KGM']"), &var("Line[1]", "DOCVALUE")]), "false"),
        (call_as("XPATH", "DOCVALUE", &[&text("//*[local-name()='Item']"), &var(".", "DOCVALUE")]), "boltnut"),
        (
            call(
                "COALESCE",
                &[&call_as("XPATH", "STRVALUE", &[&text("//None"), &var(".", "DOCVALUE")]), &text("none")],
            ),
            "none",
        ),
    ];
    for (expression, expected) in table {
        assert_eq!(evaluated(expression).as_deref(), Ok(*expected), "{expression}");
    }
}

#[test]
fn what_a_function_cannot_work_on_is_a_fault_of_the_expression_that_names_it() {
    let table: &[(String, &str)] = &[
        (
            call("SUBSTRING", &[&text("abc"), &number("0")]),
            "SUBSTRING: its from is 0, and must be a whole number from 1",
        ),
        (call("SUBSTRING", &[&text("abc"), &number("1.5")]), "its from is 1.5"),
        (call("PART", &[&text("a-b"), &text("-"), &number("3")]), "PART: the text has fewer than 3 parts"),
        (call("REPLACE", &[&text("a"), &text(""), &text("b")]), "what it shall replace is empty"),
        (call("PADLEFT", &[&text("a"), &number("10001")]), "from 0 to 10000"),
        (call("PADLEFT", &[&text("a"), &number("5"), &text("ab")]), "not one character"),
        (call("MODULO", &[&number("1"), &number("0")]), "its divisor is zero"),
        (call("POWER", &[&number("10"), &number("29")]), "more than 28 digits"),
        (call("POWER", &[&number("2"), &number("101")]), "from -100 to 100"),
        (call("POWER", &[&number("0"), &number("-1")]), "no negative power"),
        (call("ROUND", &[&var("Big", "NUMVALUE"), &number("2")]), "more than 28 digits"),
        (call("DATE", &[&text("24.11.2026")]), "DATE: '24.11.2026' is no date: write it as 2026-11-24"),
        (call("DATE", &[&text("2026-02-30")]), "is no date"),
        (call("DATE", &[&text("2026-11-24+99")]), "is no date"),
        (call("YEAR", &[&text("")]), "is no date"),
        (call("DATEADD", &[&text("9999-12-31"), &number("1"), &text("DAYS")]), "outside of the calendar"),
        (call("DATEADD", &[&text("2026-11-24"), &number("0.5"), &text("DAYS")]), "its amount is 0.5"),
        (call("COALESCE", &[&var("Lime", "STRVALUE"), &var("Lemon", "STRVALUE")]), "'Lemon' is not in"),
        (call_as("XPATH", "STRVALUE", &[&text("//None"), &var(".", "DOCVALUE")]), "'//None' finds nothing"),
        (call_as("XPATH", "NUMVALUE", &[&text("//*[@unit]/../*[1]"), &var(".", "DOCVALUE")]), "'bolt' is no number"),
        (call_as("XPATH", "NUMVALUE", &[&text("1 div 0"), &var(".", "DOCVALUE")]), "'Infinity' is no number"),
        (call_as("XPATH", "DOCVALUE", &[&text("//@unit"), &var(".", "DOCVALUE")]), "it finds an attribute"),
        (call_as("XPATH", "DOCVALUE", &[&text("1"), &var(".", "DOCVALUE")]), "a single value"),
        (call_as("XPATH", "STRVALUE", &[&text("."), &var("Line", "DOCVALUE")]), "its document is 2 elements"),
    ];
    for (expression, expected) in table {
        let message = evaluated(expression).expect_err(expression);
        assert!(message.contains(expected), "{expression}: {message}");
    }
}

// T2, T9: arity, types and constants are checked with the definition, and what was meant is told.
#[test]
fn a_call_that_does_not_fit_is_a_fault_of_the_definition_with_place_and_help() {
    let table: &[(String, &str, &str)] = &[
        (call("SUBSTRNG", &[&text("a"), &number("1")]), "<FUNCNAME> cannot be 'SUBSTRNG'", "did you mean SUBSTRING?"),
        (call("LENGTH", &[]), "LENGTH takes one argument, and here are 0", "LENGTH(text)"),
        (call("LENGTH", &[&text("a"), &text("b")]), "LENGTH takes one argument, and here are 2", "LENGTH(text)"),
        (call("SUBSTRING", &[&text("a")]), "SUBSTRING takes 2 to 3 arguments, and here is 1", "length?"),
        (call("TODAY", &[&text("a")]), "TODAY takes no argument", "TODAY()"),
        (call("JOIN", &[&text("a")]), "JOIN takes at least 2 arguments", "text…"),
        (call("LENGTH", &[&number("1")]), "LENGTH works on texts, and this is a number", "STRING"),
        (call("ROUND", &[&number("1"), &text("2")]), "ROUND's places works on numbers, and this is a text", "NUMBER"),
        (call("YEAR", &[&number("2026")]), "YEAR is a date, which is a text", "2026-11-24"),
        (
            call("IF", &[&text("x"), &number("1"), &number("2")]),
            "IF needs a condition, and this is a text",
            "compare it",
        ),
        (
            call("IF", &[&number("1"), &number("1"), &text("2")]),
            "IF has a number before, and this is a text",
            "same VALTYPE",
        ),
        (call("MATCHES", &[&text("a"), &var("ID", "STRVALUE")]), "MATCHES's pattern must be a constant text", "VALUE"),
        (call("MATCHES", &[&text("a"), &text("(a")]), "MATCHES's pattern cannot be '(a'", "regular expression"),
        (
            call("MATCHES", &[&text("a"), &text("(?:a{1000}){1000}")]),
            "MATCHES's pattern cannot be",
            "regular expression",
        ),
        (call("DATEADD", &[&text("a"), &number("1"), &text("DAY")]), "it is no unit of time", "did you mean DAYS?"),
        (call("FORMATDATE", &[&text("a"), &text("%Q")]), "it has '%Q'", "%Y"),
        (call("FORMATDATE", &[&text("a"), &text("%999999Y")]), "it has '%9'", "%Y"),
        (call("XPATH", &[&text("//a"), &var(".", "DOCVALUE")]), "XPATH has no <VALTYPE>", "NUMVALUE"),
        (
            call_as("XPATH", "STRVALUE", &[&text("//a["), &var(".", "DOCVALUE")]),
            "XPATH's expression cannot be '//a['",
            "XPath 1.0",
        ),
        (
            call_as("XPATH", "STRVALUE", &[&text("//c:a"), &var(".", "DOCVALUE")]),
            "the prefix 'c' stands for no namespace",
            "xmlns:c",
        ),
        (
            call_as("XPATH", "STRVALUE", &[&text("//a[counts(b)]"), &var(".", "DOCVALUE")]),
            "no function counts()",
            "did you mean count()?",
        ),
        (call_as("XPATH", "STRVALUE", &[&text("$x"), &var(".", "DOCVALUE")]), "it has a variable", "OPERATOR"),
        (
            call_as("XPATH", "STRVALUE", &[&text("//a"), &text("b")]),
            "XPATH's document works on a document section",
            "DOCVALUE",
        ),
        (call_as("LENGTH", "STRVALUE", &[&text("a")]), "LENGTH makes a number, not a text", "write VALTYPE NUMVALUE"),
    ];
    for (xml, message, help) in table {
        let faults = ["NUMVALUE", "STRVALUE", "BOOLVALUE", "DOCVALUE"]
            .map(|value_type| expression(xml, value_type).err().unwrap_or_else(|| panic!("{xml} is taken for right")));
        let told = faults[0].iter().find(|fault| fault.message.contains(message));
        let told = told.unwrap_or_else(|| panic!("{xml}: {:#?}", faults[0]));
        assert_eq!(told.code, Code::DefinitionType);
        assert!(told.place.is_some() && told.advice().contains(help), "{xml}: {told:?}");
    }
}

#[test]
fn every_argument_that_does_not_fit_is_told_at_once() {
    let faults = expression(&call("SUBSTRING", &[&number("1"), &text("a"), &text("b")]), "STRVALUE").unwrap_err();
    assert_eq!(faults.len(), 3, "{faults:#?}");
}

// T12: replay must come to the same end, so the present is a record of the past.
#[test]
fn the_present_is_the_moment_of_the_transactions_submission() {
    assert_eq!(evaluated(&call("TODAY", &[])).as_deref(), Ok("2026-11-24"));
    let due = call("DATEADD", &[&call("TODAY", &[]), &number("30"), &text("DAYS")]);
    assert_eq!(evaluated(&due).as_deref(), Ok("2026-12-24"));
}

#[test]
fn an_evaluation_is_stopped_when_its_values_are_too_much_together() {
    let big = format!("<Order><Text>{}</Text></Order>", "x".repeat(8 * 1024 * 1024));
    let texts = var("Text", "STRVALUE").repeat(60);
    let sum = call("LENGTH", &[&call("JOIN", &[&text(","), &texts])]);
    let fault = expression(&sum, "NUMVALUE").unwrap().evaluate(&Papers::input(&big)).unwrap_err();
    assert!(fault.message.contains("its values are more than 256 MiB together"), "{fault}");
}

#[test]
fn xpath_stops_where_it_would_visit_too_much() {
    let wide = format!("<r>{}</r>", "<a/>".repeat(20_000));
    let every = call_as("XPATH", "NUMVALUE", &[&text("count(//a[count(//a) &gt; 0])"), &var(".", "DOCVALUE")]);
    let fault = expression(&every, "NUMVALUE").unwrap().evaluate(&Papers::input(&wide)).unwrap_err();
    assert!(fault.message.contains("failed"), "{fault}");
    let big = format!("<r>{}</r>", "x".repeat(1024 * 1024));
    let fault = expression(&every, "NUMVALUE").unwrap().evaluate(&Papers::input(&big)).unwrap_err();
    assert!(fault.message.contains("XPath works on up to"), "{fault}");
}

/// An expression of this type, of functions and operators on each other.
fn any_expression(value_type: ValueType, depth: u32) -> BoxedStrategy<String> {
    let leaf = match value_type {
        ValueType::Number => prop_oneof![
            "-?[0-9]{1,12}(\\.[0-9]{1,6})?".prop_map(|it| number(&it)),
            Just(var("Line[1]/Quantity", "NUMVALUE")),
            Just(var("Line/Quantity", "NUMVALUE")),
            Just(var("None", "NUMVALUE")),
        ]
        .boxed(),
        ValueType::Text => prop_oneof![
            "[a-zäß0-9.,:T/-]{0,12}".prop_map(|it| text(&it)),
            "[12][0-9]{3}-[01][0-9]-[0-3][0-9](T[0-2][0-9]:00:00(Z|[+-]0[0-9]:00)?)?".prop_map(|it| text(&it)),
            Just(var("Line[1]/Item", "STRVALUE")),
            Just(var("Line/Item", "STRVALUE")),
        ]
        .boxed(),
        ValueType::Boolean => prop_oneof!["true|false".prop_map(|it| value(&it, "BOOLVALUE"))].boxed(),
        ValueType::Document => {
            prop_oneof![Just(var(".", "DOCVALUE")), Just(var("Line", "DOCVALUE")), Just(var("Line[2]", "DOCVALUE")),]
                .boxed()
        }
    };
    if depth == 0 || value_type == ValueType::Document {
        return leaf;
    }
    let fitting: Vec<&'static Function> = FUNCTIONS
        .iter()
        .filter(|function| match function.makes {
            Makes::Type(made) => made == value_type,
            Makes::Same | Makes::Declared => true,
        })
        .collect();
    let called = prop::sample::select(fitting).prop_flat_map(move |function| {
        let mut arguments: Vec<BoxedStrategy<String>> = Vec::new();
        for parameter in function.parameters {
            let argument = match parameter.takes {
                Takes::Type(wanted) | Takes::All(wanted) => any_expression(wanted, depth - 1),
                Takes::Scalar => any_expression(ValueType::Number, depth - 1),
                Takes::Condition => any_expression(ValueType::Boolean, depth - 1),
                Takes::Same => any_expression(value_type, depth - 1),
                Takes::Date => any_expression(ValueType::Text, depth - 1),
                Takes::Variable => Just(var("Line/Item", "STRVALUE")).boxed(),
                Takes::Constant(_) => constant(function.name),
            };
            match parameter.count {
                Count::One => arguments.push(argument),
                Count::Optional => {
                    let given = prop::collection::vec(argument, 0..2);
                    arguments.push(given.prop_map(|given| given.concat()).boxed());
                }
                Count::Many => {
                    let given = prop::collection::vec(argument, 1..4);
                    arguments.push(given.prop_map(|given| given.concat()).boxed());
                }
            }
        }
        let wanted = value_type.as_str();
        arguments.prop_map(move |arguments| {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            call_as(function.name, wanted, &arguments)
        })
    });
    let numbers = || (any_expression(ValueType::Number, depth - 1), any_expression(ValueType::Number, depth - 1));
    let operated = match value_type {
        ValueType::Number => {
            ("PLUS|MINUS|MULTIPLY|DIVIDE", numbers()).prop_map(|(name, (left, right))| op(&name, &left, &right)).boxed()
        }
        ValueType::Boolean => {
            ("GREATER|LESS|EQUAL", numbers()).prop_map(|(name, (left, right))| op(&name, &left, &right)).boxed()
        }
        _ => leaf.clone(),
    };
    prop_oneof![1 => leaf, 1 => operated, 4 => called].boxed()
}

fn constant(function: &str) -> BoxedStrategy<String> {
    match function {
        "MATCHES" => "[a-z.*+?]{1,4}|\\[[a-z0-9]{1,3}\\]\\+".prop_map(|it| text(&it)).boxed(),
        "XPATH" => prop::sample::select(vec![
            "//Item",
            "count(//*)",
            "string(.)",
            "//Line[2]/*",
            "//None",
            "1 div 0",
            "//text()",
        ])
        .prop_map(text)
        .boxed(),
        "FORMATDATE" => "%[YmdHMSjaB] [a-z]{0,3}x".prop_map(|it| text(&it)).boxed(),
        _ => "SECONDS|HOURS|DAYS|WEEKS|MONTHS|YEARS".prop_map(|it| text(&it)).boxed(),
    }
}

fn any_typed() -> impl Strategy<Value = (ValueType, String)> {
    let types = prop::sample::select(vec![ValueType::Number, ValueType::Text, ValueType::Boolean]);
    types.prop_flat_map(|value_type| (Just(value_type), any_expression(value_type, 3)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_expression_over_any_document_makes_what_it_announced_or_a_fault(
        (value_type, xml) in any_typed(),
        quantities in prop::collection::vec("-?[0-9]{0,20}(\\.[0-9]{0,20})?|[a-z ]{0,3}", 0..4),
    ) {
        let lines: String = quantities.iter().map(|it| format!("<Line><Item>i{it}</Item><Quantity>{it}</Quantity></Line>")).collect();
        let papers = Papers::input(&format!("<Order>{lines}</Order>"));
        // A pattern may be none; all else fits by construction.
        let Ok(expression) = expression(&xml, value_type.as_str()) else {
            prop_assert!(xml.contains("MATCHES"), "{xml}");
            return Ok(());
        };
        prop_assert_eq!(expression.value_type(), value_type);
        match expression.evaluate(&papers) {
            Ok(value) => prop_assert_eq!(value.value_type(), value_type, "{}", xml),
            Err(fault) => {
                prop_assert_eq!(fault.code, Code::ExpressionFailed);
                prop_assert!(fault.place.is_some());
            }
        }
        // A second time on the same documents, the same.
        prop_assert_eq!(expression.evaluate(&papers), expression.evaluate(&papers));
    }

    #[test]
    fn any_text_is_a_pattern_an_xpath_a_form_a_date_or_a_reason_why_not(it in "[ -~äß]{0,24}") {
        let escaped = it.replace('&', "&amp;").replace('<', "&lt;");
        for xml in [
            call("MATCHES", &[&var("a", "STRVALUE"), &text(&escaped)]),
            call_as("XPATH", "STRVALUE", &[&text(&escaped), &var(".", "DOCVALUE")]),
            call("FORMATDATE", &[&text("2026-11-24"), &text(&escaped)]),
            call("DATE", &[&text(&escaped)]),
        ] {
            for value_type in ["STRVALUE", "BOOLVALUE"] {
                if let Ok(expression) = expression(&xml, value_type) {
                    let _ = expression.evaluate(&Papers::input("<r><a>1</a></r>"));
                }
            }
        }
    }
}

#[test]
fn a_document_that_xpath_finds_can_be_an_argument() {
    let xpath = call_as("XPATH", "DOCVALUE", &[&text("//Line[Quantity &gt; 5]"), &var(".", "DOCVALUE")]);
    let argument = format!("<ARG><NAME>large</NAME><VALTYPE>DOCVALUE</VALTYPE>{xpath}</ARG>");
    let definition = parse(&around(&format!("<JOIN>{argument}</JOIN>"))).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let request = request_document(&definition, 1, &Papers::input(SAMPLE)).unwrap();
    let expected = r#"<Data xmlns="urn:hansa:data:1"><Variable name="large"><Line xmlns=""><Item>nut</Item><Quantity>10</Quantity></Line></Variable></Data>"#;
    assert_eq!(request, document(expected));
    assert!(matches!(Value::read("1", ValueType::Document), Err(message) if message.contains("no document section")));
}
