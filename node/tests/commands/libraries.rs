//! Libraries of functions from the command line to a transaction's output, and over a restart (T9).

use super::{Place, finished};
use std::{fs, path::PathBuf};

/// A library with one function, which returns its argument.
const ECHO: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "hansa_allocate") (param i32) (result i32) (i32.const 4096))
    (func (export "echo(STRVALUE)STRVALUE") (param $at i32) (param $length i32) (result i64)
        (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32)) (i64.extend_i32_u (local.get $length)))))"#;

const DEFINITION: &str = "<TRANSACTION><NAME>echo</NAME>\
    <OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID><OPLINK><SRCOPID>0</SRCOPID><DSTOPID>1</DSTOPID></OPLINK></OPERATION>\
    <OPERATION><NAME>CXtsTailOp</NAME><OPID>1</OPID><JOIN><ARG><NAME>said</NAME><VALTYPE>STRVALUE</VALTYPE>\
    <EXPR><FUNCTION><FUNCNAME>echo</FUNCNAME><LIBNAME>voice</LIBNAME>\
    <EXPR><VAR><VARNAME>Word</VARNAME><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE><VALTYPE>STRVALUE</VALTYPE></VAR></EXPR>\
    </FUNCTION></EXPR></ARG></JOIN></OPERATION></TRANSACTION>";

fn file(place: &Place, name: &str, content: &[u8]) -> PathBuf {
    let path = place.0.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn a_library_is_added_called_shown_kept_over_a_restart_and_removed() {
    let place = Place::new();
    place.init();
    let module = file(&place, "voice.wasm", &wat::parse_str(ECHO).unwrap());
    let definition = file(&place, "echo.xml", DEFINITION.as_bytes());
    let input = file(&place, "input.xml", b"<Call><Word>hello</Word></Call>");
    let (module, definition) = (module.to_str().unwrap(), definition.to_str().unwrap());
    let submit = |place: &Place| {
        let said = finished(place.command(&["transaction", "submit", "echo", "--wait", "--input"]).arg(&input));
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.out.contains(r#"<Variable name="said">hello</Variable>"#), "{}", said.out);
    };

    let running = place.run(&[]);
    let unknown = |place: &Place, arguments: &[&str]| {
        let said = place.say(&[&["--json", "transaction"], arguments].concat());
        assert_eq!(said.code, 1, "{}", said.out);
        assert_eq!(said.json()[0]["code"], "library-unknown");
    };
    unknown(&place, &["define", definition]);
    unknown(&place, &["check", definition]);
    let given = format!("voice={module}");
    assert_eq!(place.say(&["transaction", "check", definition, "--library", &given]).code, 0);
    let added = place.say(&["--json", "library", "add", "voice", module]).json();
    assert_eq!(added["unchanged"], false);
    assert_eq!(place.say(&["--json", "library", "add", "voice", module]).json()["unchanged"], true);
    assert_eq!(place.say(&["transaction", "define", definition]).code, 0);
    submit(&place);
    let shown = place.say(&["--json", "library", "show", "voice"]).json();
    assert_eq!(shown["hash"], added["hash"]);
    assert_eq!(
        shown["functions"][0],
        serde_json::json!({ "name": "echo", "parameters": ["STRVALUE"], "makes": "STRVALUE" })
    );
    assert_eq!(shown["definitions"][0], "echo");
    // Killed, not stopped: the library comes back from the journal.
    drop(running);
    fs::remove_file(place.data().join("listening.json")).unwrap();

    let _running = place.run(&[]);
    submit(&place);
    assert_eq!(place.say(&["--json", "library", "list"]).json()[0]["hash"], added["hash"]);
    // A dry run calls it too: the node's, or one from a file where no node is asked.
    let answers = file(&place, "answers.json", b"{}");
    let rehearsed = |place: &Place, more: &[&str]| {
        let mut command = place.command(&["transaction", "dry-run", "echo", "--json", "--input"]);
        let said = finished(command.arg(&input).arg("--answers").arg(&answers).args(more));
        assert_eq!(said.code, 0, "{} {}", said.out, said.err);
        assert!(said.out.contains(r#"name=\"said\">hello<"#), "{}", said.out);
    };
    rehearsed(&place, &[]);
    rehearsed(&place, &["--definition", definition, "--library", &given]);
    let removed = place.say(&["library", "remove", "voice"]);
    assert!(removed.out.contains("echo keep it"), "{}", removed.out);
    assert_eq!(place.say(&["--json", "library", "show", "voice"]).fault(), "library-unknown");
    submit(&place);
    // What ran before can still be replayed: a definition keeps its libraries.
    for transaction in place.say(&["--json", "transaction", "list"]).json().as_array().unwrap() {
        let replayed = place.say(&["--json", "transaction", "replay", transaction["id"].as_str().unwrap()]).json();
        assert_eq!(replayed["difference"], serde_json::Value::Null);
    }
    let again = DEFINITION.replace("<NAME>said<", "<NAME>told<");
    let again = file(&place, "again.xml", again.as_bytes());
    unknown(&place, &["define", again.to_str().unwrap()]);
}

#[test]
fn what_is_no_library_is_refused_before_the_node_is_asked() {
    let place = Place::new();
    place.init();
    let text = file(&place, "text.wasm", b"not a module");
    assert_eq!(place.say(&["--json", "library", "add", "text", text.to_str().unwrap()]).fault(), "library-invalid");
    assert_eq!(place.say(&["--json", "library", "add", "none", "/nowhere.wasm"]).fault(), "library-invalid");
}
