//! What can never be is found before it is tried, and nothing that can be is called impossible (T2, T7).

use super::parse;
use crate::code::{Code, Fault};
use std::fmt::Write as _;

/// A definition from lines like `1 ask > 2 3 | <JOIN>…</JOIN>`: OPID, name, links, and whatever else the operation has.
fn define(lines: &[&str]) -> String {
    let mut text = String::from("<TRANSACTION xmlns:hx=\"urn:hansa:transaction:1\"><NAME>t</NAME>\n");
    for line in lines {
        let (graph, inside) = line.split_once('|').unwrap_or((line, ""));
        let (who, links) = graph.split_once('>').unwrap_or((graph, ""));
        let (id, name) = who.trim().split_once(' ').unwrap();
        let _ = write!(text, "<OPERATION><NAME>{name}</NAME><OPID>{id}</OPID><CXCNAME>ANY</CXCNAME>{inside}");
        for to in links.split_whitespace() {
            let _ = write!(text, "<OPLINK><SRCOPID>{id}</SRCOPID><DSTOPID>{to}</DSTOPID></OPLINK>");
        }
        text += "</OPERATION>\n";
    }
    text + "</TRANSACTION>"
}

fn variable(id: u32, name: &str, value_type: &str) -> String {
    format!(
        "<EXPR><VAR><VARNAME>{name}</VARNAME><OPID>{id}</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>{value_type}</VALTYPE></VAR></EXPR>"
    )
}

fn value(value: &str, value_type: &str) -> String {
    format!("<EXPR><VALUE>{value}</VALUE><VALTYPE>{value_type}</VALTYPE></EXPR>")
}

fn operator(name: &str, left: &str, right: &str) -> String {
    format!("<EXPR><OPERATOR><OPNAME>{name}</OPNAME>{left}{right}</OPERATOR></EXPR>")
}

/// The weight that operation 1 answers, compared.
fn weight(name: &str, number: &str) -> String {
    operator(name, &variable(1, "Weight", "NUMVALUE"), &value(number, "NUMVALUE"))
}

fn split(statements: &[(&str, &str)]) -> String {
    let statement = |(expression, to): &(&str, &str)| {
        let to: String = to.split(' ').map(|to| format!("<OPID>{to}</OPID>")).collect();
        format!("<STMT>{expression}{to}</STMT>")
    };
    format!("<SPLIT>{}</SPLIT>", statements.iter().map(statement).collect::<String>())
}

/// The faults of operation 1 with this SPLIT to operations 2 and 3, both before 4, which has `join`.
fn faults(split: &str, join: &str) -> Vec<Fault> {
    let text = define(&[
        "0 CXtsHeadOp > 1",
        &format!("1 weigh > 2 3 | {split}"),
        "2 heavy > 4",
        "3 light > 4",
        &format!("4 carry > 9 | {join}"),
        "9 CXtsTailOp",
    ]);
    parse(&text).err().unwrap_or_default()
}

fn only(faults: &[Fault], words: &str) {
    assert_eq!(faults.len(), 1, "{words}: {faults:#?}");
    assert_eq!(faults[0].code, Code::DefinitionContradiction, "{faults:#?}");
    assert!(faults[0].message.contains(words), "'{words}' is not in {faults:#?}");
    assert!(faults[0].place.is_some() && faults[0].help.is_some(), "{faults:#?}");
}

#[test]
fn a_statement_that_is_never_true_is_a_fault() {
    let other = weight("LESS", "5");
    for (never, words) in [
        (value("0", "NUMVALUE"), "it is a constant"),
        (operator("GREATER", &value("1", "NUMVALUE"), &value("2", "NUMVALUE")), "it is a constant"),
        (operator("AND", &weight("GREATER", "10"), &weight("LESS", "10")), "more than 10 and less than 10"),
        (operator("AND", &weight("EQUAL", "10"), &weight("NOTEQUAL", "10.0")), "cannot be 10 and not 10.0"),
        (
            operator(
                "AND",
                &operator("EQUAL", &variable(1, "Unit", "STRVALUE"), &value("kg", "STRVALUE")),
                &operator("EQUAL", &value("lb", "STRVALUE"), &variable(1, "Unit", "STRVALUE")),
            ),
            "'Unit' in the output document of operation 1 (weigh) cannot be 'kg' and 'lb'",
        ),
        (
            operator(
                "AND",
                &operator("GREATER", &variable(1, "A", "NUMVALUE"), &variable(1, "B", "NUMVALUE")),
                &operator("GREATER", &variable(1, "B", "NUMVALUE"), &variable(1, "A", "NUMVALUE")),
            ),
            "the difference",
        ),
    ] {
        only(&faults(&split(&[(&never, "2"), (&other, "3"), (&weight("GREATER", "7"), "2")]), ""), words);
    }
}

#[test]
fn a_statement_that_can_be_true_is_none() {
    for may in [
        value("1", "NUMVALUE"),
        operator("OR", &weight("GREATER", "10"), &weight("LESS", "10")),
        operator("AND", &weight("GREATEROREQUAL", "10"), &weight("LESSOREQUAL", "10")),
        operator("AND", &weight("GREATER", "10"), &weight("LESS", "10.1")),
        operator("AND", &weight("NOTEQUAL", "10"), &weight("NOTEQUAL", "11")),
        // Read as a text, the same variable is another thing.
        operator(
            "AND",
            &weight("EQUAL", "10"),
            &operator("EQUAL", &variable(1, "Weight", "STRVALUE"), &value("10.0", "STRVALUE")),
        ),
    ] {
        assert_eq!(faults(&split(&[(&may, "2"), (&weight("LESS", "5"), "3")]), ""), []);
    }
}

#[test]
fn a_document_that_is_never_there_where_it_is_used_is_a_fault() {
    // Operation 2 is performed for what is heavy, 3 for what is light; so neither can use the other's answer.
    let choice = split(&[(&weight("GREATER", "10"), "2"), (&weight("LESSOREQUAL", "10"), "3 4")]);
    let uses = |source: &str, optional: &str| {
        format!("<JOIN><ARG><NAME>x</NAME><VALTYPE>STRVALUE</VALTYPE>{optional}{source}</ARG></JOIN>")
    };
    let text = |inside: &str| {
        define(&[
            "0 CXtsHeadOp > 1",
            &format!("1 weigh > 2 3 4 | {choice}"),
            "2 heavy > 3 4",
            &format!("3 light > 4 | {inside}"),
            "4 carry > 9",
            "9 CXtsTailOp",
        ])
        // Whoever comes from 2 to 3 must not be there by its link alone.
        .replace(
            "<NAME>heavy</NAME><OPID>2</OPID><CXCNAME>ANY</CXCNAME>",
            &format!(
                "<NAME>heavy</NAME><OPID>2</OPID><CXCNAME>ANY</CXCNAME>{}",
                split(&[(&weight("LESS", "3"), "3"), (&weight("GREATER", "10"), "4")])
            ),
        )
    };
    let told = parse(&text(&uses(&variable(2, "Name", "STRVALUE"), ""))).unwrap_err();
    assert!(told.iter().all(|fault| fault.code == Code::DefinitionContradiction), "{told:#?}");
    let messages: Vec<_> = told.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(messages[0].contains("2 (heavy) is performed only where 'Weight'"), "{messages:?}");
    assert!(
        messages[1].contains("operation 2 (heavy) is never performed where operation 3 (light) is"),
        "{messages:?}"
    );

    let optional = parse(&text(&uses(&variable(2, "Name", "STRVALUE"), "<OPTIONAL>YES</OPTIONAL>"))).unwrap_err();
    assert_eq!(optional.len(), 1, "an optional argument can do without: {optional:#?}");
    let asks =
        format!("<EXPR><FUNCTION><FUNCNAME>EXISTS</FUNCNAME>{}</FUNCTION></EXPR>", variable(2, "Name", "STRVALUE"));
    let asked = uses(&asks, "").replace("STRVALUE</VALTYPE><EXPR><FUN", "BOOLVALUE</VALTYPE><EXPR><FUN");
    assert_eq!(parse(&text(&asked)).unwrap_err().len(), 1, "whoever asks whether it is there does not need it");
}

#[test]
fn what_two_ways_lead_to_needs_only_what_both_have_in_common() {
    let choice = split(&[(&weight("GREATER", "10"), "2"), (&weight("LESSOREQUAL", "10"), "3")]);
    let of_one = "<JOIN><DOCUMENT><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>";
    assert_eq!(faults(&choice, of_one), [], "operation 4 may come from 2, and then its document is there");

    // Behind operation 4 both are possible again.
    let text = define(&[
        "0 CXtsHeadOp > 1",
        &format!("1 weigh > 2 3 | {choice}"),
        "2 heavy > 4",
        "3 light > 4",
        &format!("4 carry > 5 6 | {}", split(&[(&weight("GREATER", "20"), "5"), (&weight("LESS", "5"), "6")])),
        "5 crane > 9",
        "6 hand > 9",
        "9 CXtsTailOp",
    ]);
    assert!(parse(&text).is_ok());
}

#[test]
fn an_operation_that_needs_two_contradictory_statements_is_never_performed() {
    let text = define(&[
        "0 CXtsHeadOp > 1",
        &format!("1 weigh > 2 3 | {}", split(&[(&weight("GREATER", "10"), "2"), (&weight("LESSOREQUAL", "10"), "3")])),
        &format!("2 heavy > 4 9 | {}", split(&[(&weight("LESS", "5"), "4"), (&value("1", "NUMVALUE"), "9")])),
        "3 light > 9",
        "4 never > 9",
        "9 CXtsTailOp",
    ]);
    let told = parse(&text).unwrap_err();
    only(
        &told,
        "operation 2 (heavy) is performed only where 'Weight' in the output document of operation 1 (weigh) is more than 10, and the statement needs less than 5",
    );
    assert_eq!(told[0].place.unwrap().line, 4);
}

#[test]
fn an_operation_that_no_statement_leads_to_is_never_performed() {
    let told = faults(&split(&[(&weight("LESS", "5"), "3")]), "");
    only(&told, "operation 2 (heavy) is never performed: no statement of operation 1 (weigh) leads to it");
}

#[test]
fn a_minimum_that_cannot_be_reached_is_a_fault() {
    // T8
    let multicast = |minimum: u32, scope: &str| {
        define(&[
            "0 CXtsHeadOp > 1",
            &format!(
                "1 ask > 9 | <BROADCAST><RESPONSE><MIN>{minimum}</MIN></RESPONSE><hx:SERVICE>a</hx:SERVICE>\
                 <hx:SERVICE>b</hx:SERVICE>{scope}</BROADCAST>"
            ),
            "9 CXtsTailOp",
        ])
    };
    assert!(parse(&multicast(2, "")).is_ok());
    let told = parse(&multicast(3, "")).unwrap_err();
    assert_eq!((told.len(), told[0].code), (1, Code::DefinitionCombination));
    assert!(told[0].message.contains("asks for 3 responses, and at most 2 services are asked"), "{told:#?}");
    assert!(
        parse(&multicast(3, "<hx:SCOPE>FEDERATION</hx:SCOPE>")).is_ok(),
        "members may have services of these names"
    );

    let never = define(&[
        "0 CXtsHeadOp > 1",
        &format!("1 ask > 9 | <BROADCAST><RESPONSE><MIN>1</MIN></RESPONSE>{}</BROADCAST>", value("false", "BOOLVALUE")),
        "9 CXtsTailOp",
    ]);
    only(&parse(&never).unwrap_err(), "no response to operation 1 (ask) ever counts");
}

#[test]
fn twenty_thousand_choices_are_checked_one_after_the_other() {
    // Each operation chooses by a variable of its own, and one of them contradicts the first.
    const CHOICES: u32 = 19_000;
    let mut lines = vec!["0 CXtsHeadOp > 1".to_owned()];
    for id in 1..=CHOICES {
        let own = operator("GREATER", &variable(id, "Weight", "NUMVALUE"), &value("10", "NUMVALUE"));
        lines.push(format!("{id} w{id} > {} | {}", id + 1, split(&[(&own, &(id + 1).to_string())])));
    }
    let late = operator("LESS", &variable(CHOICES, "Weight", "NUMVALUE"), &value("10", "NUMVALUE"));
    let (last, tail) = (CHOICES + 1, CHOICES + 2);
    lines.push(format!("{last} last > {tail} | {}", split(&[(&late, &tail.to_string())])));
    lines.push(format!("{tail} CXtsTailOp"));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    only(&parse(&define(&lines)).unwrap_err(), "this statement is never true");
}

#[test]
fn a_broadcast_that_nobody_can_ever_answer_is_a_fault() {
    // T8, T13: CXCNAME binds it to one service, which counts once here.
    let bound = |inside: &str| {
        let ask = format!("1 ask > 9 | <BROADCAST>{inside}</BROADCAST>");
        let text = define(&["0 CXtsHeadOp > 1", &ask, "9 CXtsTailOp"]);
        text.replace("<OPID>1</OPID><CXCNAME>ANY<", "<OPID>1</OPID><CXCNAME>svc<")
    };
    let minimum = "<RESPONSE><MIN>2</MIN></RESPONSE>";
    let own = "<hx:SERVICE>svc</hx:SERVICE>";
    let other = "<hx:SERVICE>north</hx:SERVICE>";
    let federation = "<hx:SCOPE>FEDERATION</hx:SCOPE>";
    for (inside, words) in [
        (minimum.to_owned(), "<MIN> asks for 2 responses, and at most one service is asked"),
        (minimum.to_owned() + own, "<MIN> asks for 2 responses, and at most one service is asked"),
        (other.to_owned(), "<hx:SERVICE> north is never asked: <CXCNAME> says that svc alone is"),
        (own.to_owned() + other, "<hx:SERVICE> north is never asked"),
        (other.to_owned() + federation, "<hx:SERVICE> north is never asked"),
    ] {
        let told = parse(&bound(&inside)).unwrap_err();
        assert_eq!((told.len(), told[0].code), (1, Code::DefinitionCombination), "{inside}: {told:#?}");
        assert!(told[0].message.contains(words) && told[0].help.is_some(), "{inside}: {told:#?}");
    }
    for inside in
        [String::new(), own.to_owned(), minimum.to_owned() + federation, minimum.to_owned() + own + federation]
    {
        assert!(parse(&bound(&inside)).is_ok(), "{inside}: every member may have a service of this name");
    }
}

#[test]
fn documents_that_are_never_there_together_are_a_fault() {
    let argument = |of: u32, optional: &str| {
        let value = variable(of, "Name", "STRVALUE");
        format!("<ARG><NAME>a{of}</NAME><VALTYPE>STRVALUE</VALTYPE>{optional}{value}</ARG>")
    };
    let join = |one: &str, other: &str| format!("<JOIN>{}{}</JOIN>", argument(2, one), argument(3, other));
    let apart = split(&[(&weight("GREATER", "5"), "2"), (&weight("LESSOREQUAL", "5"), "3")]);
    let words = "operation 3 (light) is never performed where operation 2 (heavy) is";
    only(&faults(&apart, &join("", "")), words);
    assert_eq!(faults(&apart, &join("<OPTIONAL>YES</OPTIONAL>", "")), []);
    assert_eq!(faults(&apart, &join("<OPTIONAL>YES</OPTIONAL>", "<OPTIONAL>YES</OPTIONAL>")), []);
    let together = split(&[(&weight("GREATER", "5"), "2"), (&weight("LESSOREQUAL", "50"), "3")]);
    assert_eq!(faults(&together, &join("", "")), [], "what weighs 20 has both");
}

#[test]
fn a_statement_that_names_an_operation_twice_is_a_fault() {
    let told = faults(&split(&[(&weight("GREATER", "5"), "2 3 2")]), "");
    assert_eq!((told.len(), told[0].code), (1, Code::DefinitionDuplicate), "{told:#?}");
    assert!(told[0].message.contains("names operation 2 twice"), "{told:#?}");
}

#[test]
fn head_and_tail_have_no_time_of_their_own() {
    let text = |timeout: &str| {
        define(&[&format!("0 CXtsHeadOp > 1 | {timeout}"), "1 ask > 9", &format!("9 CXtsTailOp | {timeout}")])
    };
    let told = parse(&text("<TIMEOUT>3</TIMEOUT>")).unwrap_err();
    let messages: Vec<_> = told.iter().map(|fault| (fault.code, &*fault.message)).collect();
    assert_eq!(
        messages,
        [
            (Code::DefinitionReserved, "CXtsHeadOp cannot have <TIMEOUT>: it ends at once"),
            (Code::DefinitionReserved, "CXtsTailOp cannot have <TIMEOUT>: it ends at once"),
        ]
    );
    assert!(parse(&text("<TIMEOUT>0</TIMEOUT>")).is_ok(), "zero is none");
}
