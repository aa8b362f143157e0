//! Definitions from outside: checked without a node, and by whoever defines them (T2, T3).

use super::{Place, finished};
use serde_json::Value;
use std::{fs, io::Write as _, process::Stdio};

const PURCHASE: &str = include_str!("../../../docs/examples/purchase.xml");

fn file(place: &Place, name: &str, text: &str) -> String {
    let path = place.0.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The purchase with two faults: a link to nowhere, and a timeout that is no number.
fn faulty() -> String {
    PURCHASE
        .replacen("<SRCOPID>1</SRCOPID><DSTOPID>2</DSTOPID>", "<SRCOPID>1</SRCOPID><DSTOPID>7</DSTOPID>", 1)
        .replacen("<CXCNAME>ANY</CXCNAME>", "<CXCNAME>ANY</CXCNAME><TIMEOUT>soon</TIMEOUT>", 1)
}

#[test]
fn a_sound_definition_is_called_so_without_a_node() {
    // T2
    let place = Place::new();
    let purchase = file(&place, "purchase.xml", PURCHASE);
    let said = place.say(&["transaction", "check", &purchase]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("is sound: purchase of 3 operations"), "{}", said.out);
    let said = place.say(&["transaction", "check", &purchase, "--json"]);
    assert_eq!((said.code, said.json()), (0, Value::Array(Vec::new())));
}

#[test]
fn every_fault_is_shown_with_its_line_why_and_help_and_as_json_for_programs() {
    // T2
    let place = Place::new();
    let faulty_file = file(&place, "faulty.xml", &faulty());
    let said = place.say(&["transaction", "check", &faulty_file]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("error[definition-link]: a link of operation 1 leads to operation 7"), "{}", said.err);
    assert!(said.err.contains(&format!("--> {faulty_file}:14:")), "{}", said.err);
    for part in ["^^^^^^^", "= why: ", "= help: ", "<DSTOPID>7</DSTOPID>", "has 2 faults"] {
        assert!(said.err.contains(part), "no '{part}' in {}", said.err);
    }
    assert!(!said.err.contains('\u{1b}'), "no colours but at a terminal: {}", said.err);

    let said = place.say(&["transaction", "check", &faulty_file, "--json"]);
    assert_eq!(said.code, 1);
    let faults = said.json();
    let codes: Vec<_> = faults.as_array().unwrap().iter().map(|fault| fault["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["definition-invalid", "definition-link"]);
    for fault in faults.as_array().unwrap() {
        assert!(fault["line"].as_u64() > Some(1) && fault["column"].as_u64() > Some(1), "{fault}");
        assert!(fault["message"].is_string() && fault["help"].is_string(), "{fault}");
    }
}

#[test]
fn what_comes_on_standard_input_is_checked_too_and_what_is_no_xml_has_its_place() {
    let place = Place::new();
    for (text, line, code) in [
        (&b"<TRANSACTION>\n  <NAME>a</NAM>\n"[..], 2, "document-malformed"),
        (b"<TRANSACTION>\n<NAME>\xff</NAME></TRANSACTION>", 2, "document-encoding"),
        (b"", 1, "document-malformed"),
    ] {
        let mut command = place.command(&["transaction", "check", "-", "--json"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let faults: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((faults[0]["line"].as_u64(), faults[0]["code"].as_str()), (Some(line), Some(code)), "{faults}");
    }
    let said = finished(&mut place.command(&["transaction", "check", "/nowhere/a.xml", "--json"]));
    assert_eq!(said.fault(), "definition-invalid");
}

#[test]
fn define_checks_in_the_same_way_before_it_asks_a_node() {
    // T2: there is no node here, and none is needed to refuse it.
    let place = Place::new();
    let faulty_file = file(&place, "faulty.xml", &faulty());
    let checked = place.say(&["transaction", "check", &faulty_file]);
    let defined = place.say(&["transaction", "define", &faulty_file]);
    assert_eq!((defined.code, defined.err), (1, checked.err));
    let checked = place.say(&["transaction", "check", &faulty_file, "--json"]);
    let defined = place.say(&["transaction", "define", &faulty_file, "--json"]);
    assert_eq!((defined.code, defined.out), (1, checked.out));
}
