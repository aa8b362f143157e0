//! Definitions from outside: checked without a node, and by whoever defines them (T2, T3).

use super::Place;
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
}

// T2: a file that is not even read is told of in the same form, and so is why that matters.
#[test]
fn what_is_too_large_or_is_no_document_for_a_definition_is_shown_like_every_other_fault() {
    let place = Place::new();
    let nested = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    for (name, text, code, where_to) in [
        ("large.xml", " ".repeat(16 * 1024 * 1024 + 1), "document-too-large", ""),
        ("nested.xml", nested, "document-too-deep", ":1:"),
        ("entity.xml", format!("<!DOCTYPE TRANSACTION>\n{PURCHASE}"), "document-doctype", ":1:1"),
        ("latin.xml", PURCHASE.replacen("UTF-8", "latin1", 1), "document-encoding", ":1:"),
    ] {
        let file = file(&place, name, &text);
        for arguments in [&["transaction", "check", &file][..], &["transaction", "define", &file]] {
            let said = place.say(arguments);
            assert_eq!(said.code, 1, "{}", said.err);
            let arrow = format!("--> {file}{where_to}");
            for part in [&*format!("error[{code}]: "), &arrow, "  = why: ", "  = help: ", "has 1 fault"] {
                assert!(said.err.contains(part), "{arguments:?}: no '{part}' in {}", said.err);
            }
        }
    }
}

// T2: whatever the file is, the answer is a list of faults that say what is wrong with it, and the exit code is 1.
#[test]
fn a_check_of_what_is_no_definition_says_so_in_the_same_form() {
    let place = Place::new();
    let written = |name: &str, content: &[u8]| {
        let path = place.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let folder = place.0.path().to_str().unwrap().to_owned();
    let utf16: Vec<u8> = std::iter::once(0xfeff).chain(PURCHASE.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let nested = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    let entity = format!(
        "<!DOCTYPE TRANSACTION [<!ENTITY lol 'lol'>]>{}",
        PURCHASE.split_once("?>").map_or(PURCHASE, |it| it.1)
    );
    let missing = [("--library", "voice=/nowhere/voice.wasm")];
    let purchase = written("purchase.xml", PURCHASE.as_bytes());
    for (what, file, more, has_place, code, words) in [
        ("missing", "/nowhere/a.xml".to_owned(), None, false, "definition-invalid", "cannot be read"),
        ("a folder", folder, None, false, "definition-invalid", "cannot be read"),
        ("no library", purchase, Some(missing[0]), false, "library-invalid", "cannot be read"),
        (
            "too large",
            written("large", &vec![b' '; 16 * 1024 * 1024 + 1]),
            None,
            false,
            "document-too-large",
            "16777216",
        ),
        ("empty", written("empty", b""), None, true, "document-malformed", "no root element"),
        ("binary", written("binary", b"\x7fELF\x02\x01\x01\x00\x00\xff\xfe"), None, true, "document-encoding", "UTF-8"),
        ("UTF-16", written("utf16", &utf16), None, true, "document-encoding", "UTF-16"),
        ("nested", written("nested", nested.as_bytes()), None, true, "document-too-deep", "nest"),
        ("an entity", written("entity", entity.as_bytes()), None, true, "document-doctype", "DOCTYPE"),
    ] {
        let mut arguments = vec!["transaction", "check", &file, "--json"];
        arguments.extend(more.into_iter().flat_map(|(option, value)| [option, value]));
        let said = place.say(&arguments);
        let faults = said.json();
        let fault = &faults[0];
        assert_eq!((said.code, faults.as_array().map(Vec::len)), (1, Some(1)), "{what}: {faults}");
        assert_eq!(fault["code"], code, "{what}: {fault}");
        assert!(fault["message"].as_str().unwrap().contains(words), "{what}: {fault}");
        assert!(fault["help"].as_str().is_some_and(|help| !help.is_empty()), "{what}: {fault}");
        assert_eq!((fault["line"].is_u64(), fault["column"].is_u64()), (has_place, has_place), "{what}: {fault}");
        assert!(fault["line"].is_u64() || fault["line"].is_null(), "{what}: {fault}");
    }
    let marked = written("marked.xml", &[&b"\xef\xbb\xbf"[..], PURCHASE.as_bytes()].concat());
    let said = place.say(&["transaction", "check", &marked, "--json"]);
    assert_eq!((said.code, said.out.trim()), (0, "[]"), "a byte order mark of UTF-8 is nothing wrong");
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

#[test]
fn files_are_compared_by_what_they_say_without_a_node() {
    // T3
    let place = Place::new();
    let old = file(&place, "old.xml", PURCHASE);
    let changed = PURCHASE.replacen("<CXCNAME>ANY</CXCNAME>", "<CXCNAME>desk</CXCNAME><TIMEOUT>5</TIMEOUT>", 1);
    let new = file(&place, "new.xml", &changed);
    let said = place.say(&["transaction", "diff", &old, &new]);
    assert_eq!(said.code, 0, "{}", said.err);
    for part in ["~ operation check-credit", "~ CXCNAME: ANY → desk", "+ TIMEOUT: 5", "-    <CXCNAME>ANY</CXCNAME>"] {
        assert!(said.out.contains(part), "no '{part}' in {}", said.out);
    }
    let told = place.say(&["transaction", "diff", &old, &new, "--json"]).json();
    assert_eq!(told["changes"].as_array().map(Vec::len), Some(2), "{told}");
    assert_eq!(told["changes"][0]["operation"], "check-credit");

    let commented = file(&place, "commented.xml", &PURCHASE.replacen("<OPID>", "<!-- the first --><OPID>", 1));
    let said = place.say(&["transaction", "diff", &old, &commented]);
    assert!(said.out.contains("They say the same; only how it is written differs."), "{}", said.out);
    let said = place.say(&["transaction", "diff", &old, &old]);
    assert!(said.out.contains("They are the same."), "{}", said.out);
    let said = place.say(&["transaction", "diff", &old, "/nowhere/new.xml", "--json"]);
    assert_eq!(said.code, 1);
    assert!(said.json()["fault"]["message"].as_str().unwrap().contains("/nowhere/new.xml"), "{}", said.out);
}

#[test]
fn versions_are_kept_listed_printed_and_compared() {
    // T3
    let place = Place::new();
    place.init();
    let _running = place.run(&[]);
    let changed = PURCHASE.replacen("<CXCNAME>ANY</CXCNAME>", "<CXCNAME>desk</CXCNAME>", 1);
    let (old, new) = (file(&place, "old.xml", PURCHASE), file(&place, "new.xml", &changed));
    let said = place.say(&["transaction", "define", &old]);
    assert_eq!(said.code, 0, "{}", said.err);
    let only = place.say(&["transaction", "diff", "purchase", "--json"]);
    assert_eq!(only.fault(), "definition-unknown");
    place.say(&["transaction", "define", &new]);

    let versions = place.say(&["transaction", "definitions", "--versions", "purchase", "--json"]).json();
    let [first, second] = &versions.as_array().unwrap()[..] else { panic!("{versions}") };
    assert_eq!((&first["current"], &second["current"]), (&Value::Bool(false), &Value::Bool(true)));
    let hash = first["hash"].as_str().unwrap();
    let said = place.say(&["transaction", "definition", "purchase"]);
    assert_eq!(said.out.trim(), changed.trim(), "the current one");
    let said = place.say(&["transaction", "definition", "purchase", "--version", &hash[..10]]);
    assert_eq!(said.out.trim(), PURCHASE.trim(), "the one before: {}", said.err);
    let said = place.say(&["transaction", "diff", "purchase"]);
    assert!(said.out.contains("~ CXCNAME: ANY → desk"), "{}{}", said.out, said.err);
    let said = place.say(&["transaction", "diff", "purchase", second["hash"].as_str().unwrap(), hash]);
    assert!(said.out.contains("~ CXCNAME: desk → ANY"), "{}{}", said.out, said.err);

    for strange in ["", "def-zzzzzz", "\u{1b}[2J", "def-"] {
        let said = place.say(&["transaction", "definition", "purchase", "--version", strange, "--json"]);
        assert_eq!(said.fault(), "definition-unknown", "{strange:?}");
    }
    let said = place.say(&["transaction", "definitions", "--versions", "sale", "--json"]);
    assert_eq!(said.fault(), "definition-unknown");
}
