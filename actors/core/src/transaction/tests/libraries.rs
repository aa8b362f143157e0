//! What calls of libraries promise a definition: names, types and versions are checked with it, and faults name the function (T2, T9).

use super::{Papers, around, document};
use crate::{
    code::{Code, Fault},
    fixture::Shop,
    transaction::{Definition, Libraries, Load as _, request_document},
};

fn libraries() -> Libraries {
    let mut libraries = Libraries::default();
    libraries.add(
        "shop".parse().unwrap(),
        Shop.load(b"twice(NUMVALUE)NUMVALUE label(STRVALUE)DOCVALUE lie()NUMVALUE").unwrap(),
    );
    libraries
}

fn call(library: &str, function: &str, arguments: &str) -> String {
    format!("<EXPR><FUNCTION><FUNCNAME>{function}</FUNCNAME><LIBNAME>{library}</LIBNAME>{arguments}</FUNCTION></EXPR>")
}

fn argument(value_type: &str, expression: &str) -> String {
    format!("<JOIN><ARG><NAME>x</NAME><VALTYPE>{value_type}</VALTYPE>{expression}</ARG></JOIN>")
}

fn number(text: &str) -> String {
    format!("<EXPR><VALUE>{text}</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR>")
}

fn defined(join: &str) -> Result<Definition, Vec<Fault>> {
    Definition::parse_with(&document(&around(join)), &libraries())
}

fn requested(join: &str) -> Result<String, String> {
    let definition = defined(join).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let request = request_document(&definition, 1, &Papers::input("<Order/>"));
    request.map(|text| text.as_str().to_owned()).map_err(|fault| {
        assert!(fault.place.is_some());
        fault.message
    })
}

#[test]
fn a_function_of_a_library_is_called_with_values_and_makes_one() {
    let nested = call("shop", "twice", &call("shop", "twice", &number("2.5")));
    let data = requested(&argument("NUMVALUE", &nested)).unwrap();
    assert!(data.contains(r#"<Variable name="x">10.0</Variable>"#), "{data}");
}

// The source: "the output of the entry point would be a single document".
#[test]
fn a_function_can_make_the_whole_document_of_a_join() {
    let text = "<EXPR><VALUE>Acme</VALUE><VALTYPE>STRVALUE</VALTYPE></EXPR>";
    let join = format!("<JOIN>{}</JOIN>", call("shop", "label", text));
    assert_eq!(requested(&join).as_deref(), Ok("<label>Acme</label>"));
    for (join, words) in [
        (format!("<JOIN>{}</JOIN>", number("1")), "the request is a document, and this is a number"),
        (
            format!(
                "<JOIN>{}<DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE></DOCUMENT></JOIN>",
                call("shop", "label", text)
            ),
            "<JOIN> has an <EXPR>, which is the whole document, and more",
        ),
    ] {
        let faults = defined(&join).unwrap_err();
        assert!(faults[0].message.contains(words), "{faults:#?}");
    }
}

#[test]
fn what_a_library_has_not_is_a_fault_with_place_and_help() {
    for (expression, code, message, help) in [
        (
            call("shopp", "twice", &number("1")),
            Code::LibraryUnknown,
            "the library 'shopp' is not here",
            "did you mean shop?",
        ),
        (
            call("depot", "twice", &number("1")),
            Code::LibraryUnknown,
            "the library 'depot' is not here",
            "hansa library add depot",
        ),
        (call("shop", "twise", &number("1")), Code::DefinitionType, "has no function 'twise'", "did you mean twice?"),
        (
            call("shop", "twice", ""),
            Code::DefinitionType,
            "takes 1 arguments, and here are 0",
            "twice(NUMVALUE)NUMVALUE",
        ),
        (
            call("shop", "label", &number("1")),
            Code::DefinitionType,
            "argument 1 of label is a text, and this is a number",
            "STRVALUE",
        ),
        (
            call("shop", "twice", &number("1")).replace("</LIBNAME>", "</LIBNAME><VALTYPE>STRVALUE</VALTYPE>"),
            Code::DefinitionType,
            "twice makes a number, not a text",
            "write VALTYPE NUMVALUE",
        ),
    ] {
        let faults = defined(&argument("NUMVALUE", &expression)).unwrap_err();
        let fault = &faults[0];
        assert_eq!(fault.code, code, "{fault}");
        assert!(fault.place.is_some() && fault.message.contains(message) && fault.advice().contains(help), "{fault:?}");
    }
}

#[test]
fn what_goes_wrong_in_a_library_is_a_fault_of_the_expression_that_names_the_function() {
    let negative = requested(&argument("NUMVALUE", &call("shop", "twice", &number("-1")))).unwrap_err();
    assert!(negative.contains("shop.twice: it is negative"), "{negative}");
    // A library that breaks its own signature is found out, not believed.
    let lie = requested(&argument("NUMVALUE", &call("shop", "lie", ""))).unwrap_err();
    assert!(lie.contains("shop.lie: it made a text, not a number"), "{lie}");
}

// The work of all calls of one evaluation is bounded together.
#[test]
fn an_evaluation_ends_when_its_calls_have_used_what_they_have() {
    let many: String = (0..12)
        .map(|index| {
            let call = call("shop", "twice", &number("1"));
            format!("<ARG><NAME>x{index}</NAME><VALTYPE>NUMVALUE</VALTYPE>{call}</ARG>")
        })
        .collect();
    let message = requested(&format!("<JOIN>{many}</JOIN>")).unwrap_err();
    assert!(message.contains("no fuel is left"), "{message}");
}

#[test]
fn the_version_of_a_definition_covers_the_versions_of_what_it_calls() {
    let text = document(&around(&argument("NUMVALUE", &call("shop", "twice", &number("1")))));
    let one = Definition::parse_with(&text, &libraries()).unwrap();
    let mut changed = Libraries::default();
    changed.add("shop".parse().unwrap(), Shop.load(b"twice(NUMVALUE)NUMVALUE").unwrap());
    let other = Definition::parse_with(&text, &changed).unwrap();
    assert_ne!(one.hash, other.hash);
    assert_eq!(one.libraries.len(), 1);
    // A library that it does not call changes nothing.
    let plain = Definition::parse_with(&document(&around("")), &libraries()).unwrap();
    assert_eq!((plain.hash, plain.libraries.len()), (Definition::hash_of(&document(&around(""))), 0));
}

#[test]
fn the_example_of_the_page_on_functions_is_sound() {
    let page = include_str!("../../../../../docs/functions.md");
    let example = page.split_once("```xml\n").unwrap().1.split_once("```").unwrap().0;
    let mut libraries = Libraries::default();
    libraries.add("freight".parse().unwrap(), Shop.load(b"shipping_cost(NUMVALUE,STRVALUE)NUMVALUE").unwrap());
    let text = document(&around(&argument("NUMVALUE", example)));
    Definition::parse_with(&text, &libraries).unwrap_or_else(|faults| panic!("{faults:#?}"));
}
