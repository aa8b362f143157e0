//! What the catalogue promises: a name means the last definition, every version stays, nothing wrong comes in (T2, T3).

use super::*;
use crate::fixture::{Came, Fed, Shop, asker, text};

fn definition(timeout: u32) -> Text {
    text(&format!(
        "<TRANSACTION><NAME>purchase</NAME><TIMEOUT>{timeout}</TIMEOUT>\
         <OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID>\
         <OPLINK><SRCOPID>0</SRCOPID><DSTOPID>9</DSTOPID></OPLINK></OPERATION>\
         <OPERATION><NAME>CXtsTailOp</NAME><OPID>9</OPID></OPERATION></TRANSACTION>"
    ))
}

fn define(timeout: u32) -> Input {
    Input::Define { asker: asker(1, 1), text: definition(timeout) }
}

fn drawn(came: &Came<Catalogue>) -> Option<&Definitions> {
    came.effects.iter().find_map(|effect| match effect {
        Effect::Redraw(definitions) => Some(definitions),
        _ => None,
    })
}

fn is_new(came: &Came<Catalogue>) -> bool {
    came.effects.iter().any(|effect| matches!(effect, Effect::Acknowledge { new: true, .. }))
}

/// The timeout of the version that the name means.
fn current(definitions: &Definitions) -> Option<u64> {
    definitions.named(&"purchase".parse().unwrap()).unwrap().timeout_ms
}

#[test]
fn a_name_means_the_last_definition_and_every_version_stays() {
    let mut catalogue = Fed::<Catalogue>::new((), Loader::default());
    let came = catalogue.give(define(1));
    assert!(is_new(&came) && current(drawn(&came).unwrap()) == Some(1_000));
    let came = catalogue.give(define(2));
    let definitions = drawn(&came).unwrap();
    assert_eq!(current(definitions), Some(2_000));
    let first = definitions.version(&Definition::hash_of(&definition(1))).unwrap();
    assert_eq!((first.timeout_ms, definitions.current().count()), (Some(1_000), 1));
}

#[test]
fn the_same_again_is_nothing_new_and_an_older_version_can_come_back() {
    let mut catalogue = Fed::<Catalogue>::new((), Loader::default());
    catalogue.give(define(1));
    let came = catalogue.give(define(1));
    assert!(came.records.is_empty() && !is_new(&came));
    catalogue.give(define(2));
    let came = catalogue.give(define(1));
    assert!(is_new(&came) && current(drawn(&came).unwrap()) == Some(1_000));
    assert_eq!(catalogue.machine.versions.len(), 2);
}

// T2.
#[test]
fn a_faulty_definition_does_not_come_in() {
    let mut catalogue = Fed::<Catalogue>::new((), Loader::default());
    let fault = catalogue.refused(Input::Define { asker: asker(1, 1), text: text("<TRANSACTION/>") });
    assert_eq!(fault.code, Code::DefinitionInvalid);
    assert!(fault.place.is_some());
}

// T12: from the journal and from a snapshot alike; each text is read once.
#[test]
fn a_restart_draws_the_same_picture() {
    let mut catalogue = Fed::<Catalogue>::new((), Loader::default());
    catalogue.give(define(1));
    catalogue.give(define(2));
    let came = catalogue.restart();
    let before = drawn(&came).unwrap().named(&"purchase".parse().unwrap()).unwrap();
    let again = catalogue.give(Input::Redraw);
    let after = drawn(&again).unwrap().named(&"purchase".parse().unwrap()).unwrap();
    assert!(Arc::ptr_eq(before, after));
    let durable = catalogue.journal.len();
    let came = catalogue.restart_with(durable);
    assert_eq!(current(drawn(&came).unwrap()), Some(2_000));
}

fn add(name: &str, signatures: &str) -> Input {
    Input::AddLibrary { asker: asker(1, 1), name: name.parse().unwrap(), bytes: Bytes::new(signatures.as_bytes()) }
}

fn remove(name: &str) -> Input {
    Input::RemoveLibrary { asker: asker(1, 1), name: name.parse().unwrap() }
}

/// A definition whose output is what the library's function makes.
fn calling() -> Input {
    let call = "<EXPR><FUNCTION><FUNCNAME>twice</FUNCNAME><LIBNAME>shop</LIBNAME>\
                <EXPR><VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR></FUNCTION></EXPR>";
    let join = format!("<JOIN><ARG><NAME>x</NAME><VALTYPE>NUMVALUE</VALTYPE>{call}</ARG></JOIN>");
    let text = text(
        &definition(1).as_str().replace("<OPID>9</OPID></OPERATION>", &format!("<OPID>9</OPID>{join}</OPERATION>")),
    );
    Input::Define { asker: asker(1, 1), text }
}

fn shop() -> Fed<Catalogue> {
    Fed::new((), Loader::new(Arc::new(Shop)))
}

fn hash(came: &Came<Catalogue>) -> DefinitionHash {
    drawn(came).unwrap().named(&"purchase".parse().unwrap()).unwrap().hash
}

// T9.
#[test]
fn a_definition_is_bound_to_the_version_of_a_library_that_it_was_defined_with() {
    let mut catalogue = shop();
    assert_eq!(catalogue.refused(calling()).code, Code::LibraryUnknown);
    catalogue.give(add("shop", "twice(NUMVALUE)NUMVALUE"));
    let first = hash(&catalogue.give(calling()));
    let came = catalogue.give(add("shop", "twice(NUMVALUE)NUMVALUE label(STRVALUE)DOCVALUE"));
    assert_eq!(hash(&came), first, "a new version of the library changes no definition");
    assert_eq!(drawn(&came).unwrap().libraries()[0].functions.len(), 2);
    let second = hash(&catalogue.give(calling()));
    assert_ne!(first, second, "defined again, it is another version");
    let came = catalogue.restart();
    let definitions = drawn(&came).unwrap();
    assert!(definitions.version(&first).is_some() && definitions.version(&second).is_some());
}

#[test]
fn a_library_whose_name_is_removed_stays_with_the_definitions_that_call_it() {
    let mut catalogue = shop();
    catalogue.give(add("shop", "twice(NUMVALUE)NUMVALUE"));
    catalogue.give(add("depot", "label(STRVALUE)DOCVALUE"));
    let defined = hash(&catalogue.give(calling()));
    catalogue.give(remove("depot"));
    catalogue.give(remove("shop"));
    assert_eq!(catalogue.refused(remove("shop")).code, Code::LibraryUnknown);
    assert_eq!(catalogue.refused(calling()).code, Code::LibraryUnknown);
    let durable = catalogue.journal.len();
    for came in [catalogue.restart(), catalogue.restart_with(durable)] {
        let definitions = drawn(&came).unwrap();
        assert!(definitions.version(&defined).is_some() && definitions.libraries().is_empty());
    }
}

#[test]
fn the_same_library_again_is_nothing_new_and_what_is_none_does_not_come_in() {
    let mut catalogue = shop();
    catalogue.give(add("shop", "twice(NUMVALUE)NUMVALUE"));
    let came = catalogue.give(add("shop", "twice(NUMVALUE)NUMVALUE"));
    assert!(came.records.is_empty());
    assert!(matches!(came.effects[0], Effect::AcknowledgeLibrary { word: "unchanged", .. }));
    assert_eq!(catalogue.refused(add("shop", "twice")).code, Code::LibraryInvalid);
}

#[test]
fn the_libraries_of_a_node_are_bounded_in_number_and_in_bytes() {
    let mut catalogue = shop();
    for number in 0..limit::LIBRARIES_MAX {
        catalogue.give(add(&format!("l{number}"), "twice(NUMVALUE)NUMVALUE"));
    }
    assert_eq!(catalogue.refused(add("more", "twice(NUMVALUE)NUMVALUE")).code, Code::LimitReached);
    let large = format!("{}twice(NUMVALUE)NUMVALUE", " ".repeat(limit::LIBRARY_BYTES_MAX));
    assert_eq!(catalogue.refused(add("l0", &large)).code, Code::LibraryInvalid);
}

#[test]
fn the_versions_of_a_name_are_listed_the_oldest_first_and_the_current_one_is_marked() {
    let mut catalogue = Fed::<Catalogue>::new((), Loader::default());
    for timeout in [1, 2, 3] {
        catalogue.give(define(timeout));
    }
    let came = catalogue.give(define(2));
    let definitions = drawn(&came).unwrap();
    let versions = definitions.versions(&"purchase".parse().unwrap());
    let mut timeouts: Vec<_> =
        versions.iter().map(|(definition, _, is_current)| (definition.timeout_ms, *is_current)).collect();
    assert!(versions.is_sorted_by_key(|(_, at, _)| *at));
    timeouts.sort();
    assert_eq!(timeouts, [(Some(1_000), false), (Some(2_000), true), (Some(3_000), false)]);
    assert!(definitions.versions(&"sale".parse().unwrap()).is_empty());
}
