//! What the catalogue promises: a name means the last definition, every version stays, nothing wrong comes in (T2, T3).

use super::*;
use crate::fixture::{Came, Fed, asker, text};

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
        Effect::Acknowledge { .. } => None,
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
    let mut catalogue = Fed::<Catalogue>::new((), ());
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
    let mut catalogue = Fed::<Catalogue>::new((), ());
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
    let mut catalogue = Fed::<Catalogue>::new((), ());
    let fault = catalogue.refused(Input::Define { asker: asker(1, 1), text: text("<TRANSACTION/>") });
    assert_eq!(fault.code, Code::DefinitionInvalid);
    assert!(fault.place.is_some());
}

// T12: from the journal and from a snapshot alike; each text is read once.
#[test]
fn a_restart_draws_the_same_picture() {
    let mut catalogue = Fed::<Catalogue>::new((), ());
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

#[test]
fn the_versions_of_a_name_are_listed_the_oldest_first_and_the_current_one_is_marked() {
    let mut catalogue = Fed::<Catalogue>::new((), ());
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
