//! What expressions evaluate to, and what SPLIT and BROADCAST make of it (T7, T8, T9).

use super::{PURCHASE_ORDER, Papers, around, document, parse};
use crate::{
    code::Code,
    transaction::{Definition, Join, Side, Source},
};

const INPUT: &str = r#"<Order xmlns="urn:example:order" xmlns:c="urn:example:common">
  <c:ID scheme="internal"> 4711 </c:ID>
  <c:Urgent>true</c:Urgent>
  <c:Note/>
  <Line><Item>bolt</Item><Quantity unit="C62">2.50</Quantity></Line>
  <Line><Item>nut</Item><Quantity unit="KGM">10</Quantity></Line>
  <Big>79228162514264337593543950335</Big>
  <Long>1.00000000000000000000000000000000000</Long>
</Order>"#;

pub(super) fn value(text: &str, value_type: &str) -> String {
    format!("<EXPR><VALUE>{text}</VALUE><VALTYPE>{value_type}</VALTYPE></EXPR>")
}

pub(super) fn number(text: &str) -> String {
    value(text, "NUMVALUE")
}

pub(super) fn text(text: &str) -> String {
    value(text, "STRVALUE")
}

pub(super) fn var(path: &str, value_type: &str) -> String {
    format!(
        "<EXPR><VAR><VARNAME>{path}</VARNAME><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE><VALTYPE>{value_type}</VALTYPE></VAR></EXPR>"
    )
}

pub(super) fn op(name: &str, left: &str, right: &str) -> String {
    format!("<EXPR><OPERATOR><OPNAME>{name}</OPNAME>{left}{right}</OPERATOR></EXPR>")
}

pub(super) fn call(name: &str, arguments: &[&str]) -> String {
    format!("<EXPR><FUNCTION><FUNCNAME>{name}</FUNCNAME>{}</FUNCTION></EXPR>", arguments.concat())
}

/// The value on the order above as text, or the message of the fault.
pub(super) fn evaluated(expression: &str) -> Result<String, String> {
    let definition = ["NUMVALUE", "STRVALUE", "BOOLVALUE", "DOCVALUE"].into_iter().find_map(|value_type| {
        let argument = format!("<ARG><NAME>x</NAME><VALTYPE>{value_type}</VALTYPE>{expression}</ARG>");
        parse(&around(&format!("<JOIN>{argument}</JOIN>"))).ok()
    });
    let definition = definition.unwrap_or_else(|| panic!("{expression} has no type"));
    let Join::Arguments(arguments) = &definition.operations[1].join else { panic!("the join has arguments") };
    let Source::Expression(expression) = &arguments[0].source else { panic!("the argument has an expression") };
    expression.evaluate(&Papers::input(INPUT)).map(|value| value.to_string()).map_err(|fault| {
        assert_eq!(fault.code, Code::ExpressionFailed);
        assert!(fault.place.is_some(), "{fault}");
        fault.message
    })
}

#[test]
fn expressions_have_the_values_that_their_documents_give_them() {
    let quantity = var("Line/Quantity", "NUMVALUE");
    let missing = var("Lime", "NUMVALUE");
    let table: &[(String, &str)] = &[
        (number("3"), "3"),
        (number(" -0.50 "), "-0.50"),
        (number(".5"), "0.5"),
        (number("+007."), "7"),
        (text(" a b "), "a b"),
        (value("1", "BOOLVALUE"), "true"),
        // Exact decimals: nothing like 0.30000000000000004.
        (op("PLUS", &number("0.1"), &number("0.2")), "0.3"),
        (op("MINUS", &number("1"), &number("0.9")), "0.1"),
        (op("MULTIPLY", &number("19.99"), &number("3")), "59.97"),
        (op("DIVIDE", &number("10"), &number("4")), "2.5"),
        (op("DIVIDE", &number("1"), &number("3")), "0.3333333333333333333333333333"),
        (op("PLUS", &text("a"), &text("b")), "ab"),
        // Numbers compare as numbers, texts as texts.
        (op("EQUAL", &number("2.50"), &var("Line[1]/Quantity", "NUMVALUE")), "true"),
        (op("EQUAL", &text("2.5"), &var("Line[1]/Quantity", "STRVALUE")), "false"),
        (op("EQUAL", &text("2.50"), &var("Line[1]/Quantity", "STRVALUE")), "true"),
        (op("NOTEQUAL", &text("a"), &text("b")), "true"),
        (op("EQUAL", &var("Urgent", "BOOLVALUE"), &value("true", "BOOLVALUE")), "true"),
        (op("GREATER", &number("10"), &number("9")), "true"),
        (op("LESS", &number("10"), &number("9")), "false"),
        (op("GREATEROREQUAL", &number("9"), &number("9.0")), "true"),
        (op("LESSOREQUAL", &number("9.1"), &number("9")), "false"),
        // Conditions: a number other than zero is true, and the right side is asked only where it matters.
        (op("AND", &number("2"), &value("true", "BOOLVALUE")), "true"),
        (op("AND", &number("0"), &missing), "false"),
        (op("OR", &number("1"), &missing), "true"),
        (op("OR", &number("0"), &number("0.0")), "false"),
        (call("NOT", &[&number("0")]), "true"),
        // Variables: local names whatever the namespace, positions, attributes, sections.
        (var("ID", "NUMVALUE"), "4711"),
        (var("ID", "STRVALUE"), "4711"),
        (var("ID/@scheme", "STRVALUE"), "internal"),
        (var("Line[2]/Item", "STRVALUE"), "nut"),
        (var("Line[2]/Quantity/@unit", "STRVALUE"), "KGM"),
        (var("Note", "STRVALUE"), ""),
        (var("Long", "NUMVALUE"), "1"),
        // Functions.
        (call("SUM", &[&quantity]), "12.50"),
        (call("SUM", &[&quantity, &number("0.5")]), "13.00"),
        (call("MIN", &[&quantity]), "2.50"),
        (call("MAX", &[&quantity, &number("11")]), "11"),
        (call("COUNT", &[&var("Line", "DOCVALUE")]), "2"),
        (call("COUNT", &[&missing]), "0"),
        (call("EXISTS", &[&var("Line[2]", "DOCVALUE")]), "true"),
        (call("EXISTS", &[&var("Line[3]", "DOCVALUE")]), "false"),
        (call("EXISTS", &[&var("ID/@scheme", "STRVALUE")]), "true"),
        (call("CONCAT", &[&var("Line/Item", "STRVALUE"), &text("!")]), "boltnut!"),
        (call("NUMBER", &[&text("1.50")]), "1.50"),
        (call("NUMBER", &[&var("Urgent", "BOOLVALUE")]), "1"),
        (call("STRING", &[&number("1.50")]), "1.50"),
        (call("STRING", &[&var("Urgent", "BOOLVALUE")]), "true"),
    ];
    for (expression, expected) in table {
        assert_eq!(evaluated(expression).as_deref(), Ok(*expected), "{expression}");
    }
}

#[test]
fn what_the_documents_do_not_give_is_a_fault_that_names_operation_and_variable() {
    let table: &[(String, &str)] = &[
        (var("Lime", "NUMVALUE"), "the variable 'Lime' is not in the input document of operation 0 (CXtsHeadOp)"),
        (var("Line[3]/Item", "STRVALUE"), "'Line[3]/Item' is not in"),
        (var("ID/@agency", "STRVALUE"), "'ID/@agency' is not in"),
        (var("Line/Quantity", "NUMVALUE"), "2 values where one is needed; pick one with [1]"),
        (var("Line[1]/Item", "NUMVALUE"), "'bolt' is no number"),
        (var("Note", "NUMVALUE"), "'' is no number"),
        (var("ID", "BOOLVALUE"), "'4711' is not true, false, 1 or 0"),
        (op("DIVIDE", &number("1"), &number("0")), "DIVIDE by zero"),
        (op("MULTIPLY", &var("Big", "NUMVALUE"), &number("2")), "more than 28 digits"),
        (op("PLUS", &var("Big", "NUMVALUE"), &number("1")), "more than 28 digits"),
        (op("AND", &number("1"), &var("Lime", "NUMVALUE")), "'Lime' is not in"),
        (call("SUM", &[&var("Lime", "NUMVALUE")]), "'Lime' is not in"),
        (call("SUM", &[&var("Line/Item", "NUMVALUE")]), "'bolt' is no number"),
        (call("NUMBER", &[&text("1,5")]), "'1,5' is no number"),
        (call("NUMBER", &[&text("1e5")]), "'1e5' is no number"),
        (call("NUMBER", &[&text("1_000")]), "'1_000' is no number"),
        (call("NUMBER", &[&text("0.12345678901234567890123456789")]), "has more digits than 28"),
    ];
    for (expression, expected) in table {
        let message = evaluated(expression).expect_err(expression);
        assert!(message.contains(expected), "{expression}: {message}");
    }
}

#[test]
fn an_operation_that_was_not_performed_has_no_variables() {
    let definition = parse(PURCHASE_ORDER).unwrap();
    let fault = definition.operations[3].split.as_ref().unwrap().followed(&Papers::input("<Order/>")).unwrap_err();
    assert_eq!(fault.code, Code::ExpressionFailed);
    assert!(fault.message.contains("operation 3 (choose-supplier) has no OUTPUT document"), "{fault}");
}

#[test]
fn in_a_document_of_variables_a_path_begins_with_the_variable() {
    let data = r#"<Data xmlns="urn:hansa:data:1"><Variable name="quantity">7</Variable><Variable name="order"><Order xmlns=""><ID>9</ID></Order></Variable></Data>"#;
    for (path, expected) in [("quantity", "7"), ("order/ID", "9")] {
        let join =
            format!("<JOIN><ARG><NAME>x</NAME><VALTYPE>NUMVALUE</VALTYPE>{}</ARG></JOIN>", var(path, "NUMVALUE"));
        let definition = parse(&around(&join)).unwrap();
        let Join::Arguments(arguments) = &definition.operations[1].join else { panic!("the join has arguments") };
        let Source::Expression(expression) = &arguments[0].source else { panic!("the argument has an expression") };
        assert_eq!(expression.evaluate(&Papers::input(data)).unwrap().to_string(), expected);
    }
}

/// Which operations follow `operation` of the demo's definition, by OPID.
fn followed(definition: &Definition, operation: usize, papers: &Papers) -> Vec<u32> {
    let split = definition.operations[operation].split.as_ref().unwrap();
    split.followed(papers).unwrap().into_iter().map(|index| definition.operations[index].id).collect()
}

#[test]
fn a_split_goes_on_with_the_operations_of_true_statements_alone() {
    // T7
    let definition = parse(PURCHASE_ORDER).unwrap();
    let credit = |approved: &str| {
        Papers::input("<Order/>").with(
            1,
            Side::Output,
            &format!("<Credit xmlns='urn:x'><Approved>{approved}</Approved></Credit>"),
        )
    };
    assert_eq!(followed(&definition, 1, &credit("true")), [2]);
    assert_eq!(followed(&definition, 1, &credit("false")), [6]);
    // The demo's own order, of ten lines and 12,336 pieces.
    let order = include_str!("../../../../../testnet/data/order.xml");
    let choice = |quantity: &str| {
        Papers::input(order).with(3, Side::Output, &format!("<Choice><Quantity>{quantity}</Quantity></Choice>"))
    };
    assert_eq!(followed(&definition, 3, &choice("12336.0")), [4]);
    assert_eq!(followed(&definition, 3, &choice("12335.99")), [5]);
}

#[test]
fn what_several_statements_name_is_followed_once_and_what_none_names_not_at_all() {
    let statement_of = |expression: &str, targets: &[u32]| {
        let targets: String = targets.iter().map(|id| format!("<OPID>{id}</OPID>")).collect();
        format!("<STMT>{expression}{targets}</STMT>")
    };
    let statement = |truth: &str, targets: &[u32]| statement_of(&number(truth), targets);
    // A constant that is not true would be a fault of the definition.
    let none = "<EXPR><FUNCTION><FUNCNAME>COUNT</FUNCNAME><EXPR><VAR><VARNAME>a</VARNAME><OPID>0</OPID>\
        <OPDOCIOTYPE>INPUT</OPDOCIOTYPE><VALTYPE>STRVALUE</VALTYPE></VAR></EXPR></FUNCTION></EXPR>";
    let more = |id: u32| format!("<OPLINK><SRCOPID>1</SRCOPID><DSTOPID>{id}</DSTOPID></OPLINK>");
    let operation = |id: u32| {
        format!(
            "<OPERATION><NAME>o{id}</NAME><OPID>{id}</OPID><CXCNAME>ANY</CXCNAME><OPLINK><SRCOPID>{id}</SRCOPID><DSTOPID>2</DSTOPID></OPLINK></OPERATION>"
        )
    };
    let split = [statement("1", &[4, 3]), statement("-0.1", &[3, 2]), statement_of(none, &[5])].concat();
    let inside = format!("{}{}{}<SPLIT>{split}</SPLIT>", more(3), more(4), more(5));
    let tail = "<OPERATION><NAME>CXtsTailOp<";
    let definition =
        parse(&around(&inside).replace(tail, &format!("{}{}{}{tail}", operation(3), operation(4), operation(5))))
            .unwrap();
    assert_eq!(followed(&definition, 1, &Papers::default()), [3, 4, 2], "as the definition orders its operations");
}

#[test]
fn a_broadcast_judges_each_response_by_itself() {
    // T8
    let definition = parse(PURCHASE_ORDER).unwrap();
    let index = definition.index_of(2).unwrap();
    let broadcast = definition.operations[index].broadcast.as_ref().unwrap();
    let counts = |response: &str| broadcast.counts(index, &Papers::input("<Order/>"), &document(response)).unwrap();
    assert!(counts("<Stock xmlns='urn:x'><Quantity>3</Quantity></Stock>"));
    assert!(!counts("<Sorry/>"));
}

#[test]
fn the_organization_of_an_operation_comes_from_a_document() {
    // F6: several peers could, one is chosen.
    let definition = parse(PURCHASE_ORDER).unwrap();
    let confirm = &definition.operations[definition.index_of(4).unwrap()];
    let chosen = |name: &str| {
        Papers::default().with(3, Side::Output, &format!("<Choice><Organization>{name}</Organization></Choice>"))
    };
    assert_eq!(confirm.organization(&chosen("Cedar Supply")).unwrap().as_deref(), Some("Cedar Supply"));
    assert!(confirm.organization(&chosen(" ")).unwrap_err().message.contains("empty"));
    assert_eq!(definition.operations[1].organization(&chosen("x")).unwrap(), None);
}
