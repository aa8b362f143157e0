//! What a glance at an entry says is what reading it says.

use super::*;
use crate::fixture::encoded;
use std::collections::BTreeMap;

/// What a glance at these records has to see.
fn expected(records: &[Record]) -> Option<Glance> {
    let (mut begins, mut ends) = (false, false);
    for (place, record) in records.iter().enumerate() {
        match record {
            Record::Submitted { save: true, parent: None, .. } if place == 0 => begins = true,
            Record::Submitted { .. } | Record::Settled | Record::Forgotten | Record::Purged => return None,
            Record::Finished { .. } => ends = true,
            _ => {}
        }
    }
    match (begins, ends) {
        (true, true) => None,
        (true, false) => Some(Glance::Begins),
        (false, true) => Some(Glance::Ends),
        (false, false) => Some(Glance::GoesOn),
    }
}

/// Look at a transaction's journal in entries of so many records each.
pub(super) fn agree(run: &Fed<Instance>, together: usize) {
    let records: Vec<Record> = run.journal.iter().map(|bytes| ciborium::from_reader(&bytes[..]).unwrap()).collect();
    let mut machine = Instance::new(&run.machine.id);
    let mut is_gathered = false;
    for entry in records.chunks(together) {
        let seen = Instance::glance(&encoded(&entry));
        assert_eq!(seen, expected(entry), "{entry:?}");
        entry.iter().for_each(|record| machine.absorb(record));
        is_gathered = seen.is_some() && (is_gathered || seen == Some(Glance::Begins));
        if is_gathered && seen == Some(Glance::Ends) {
            assert!(machine.is_ended() && !machine.is_open() && machine.is_kept(), "{machine:?}");
        }
    }
}

fn ended(head: &str) -> Fed<Instance> {
    let lines = ["0 CXtsHeadOp > 1", "1 check > 2", "2 confirm > 9", "9 CXtsTailOp"];
    let mut run = run(define("purchase", head, &lines), offers(&["check", "confirm"], &[]));
    run.give(submit());
    run.answer(1, completed("<Credit>Finished</Credit>"));
    run.answer(2, completed("<Confirmed/>"));
    run.output();
    run
}

fn glances(run: &Fed<Instance>) -> Vec<Option<Glance>> {
    let records = run.journal.iter().map(|bytes| ciborium::from_reader(&bytes[..]).unwrap());
    records.map(|record: Record| Instance::glance(&encoded(&[record]))).collect()
}

// M2: a mirror need not read what begins and ends under its eyes.
#[test]
fn beginning_and_end_of_a_transaction_that_is_kept_are_seen_at_a_glance() {
    let seen = glances(&ended(""));
    assert_eq!((seen.first(), seen.last()), (Some(&Some(Glance::Begins)), Some(&Some(Glance::Ends))));
    assert!(seen[1..seen.len() - 1].iter().all(|seen| *seen == Some(Glance::GoesOn)), "{seen:?}");
    for together in 1..=seen.len() {
        agree(&ended(""), together);
    }
}

// T12.
#[test]
fn a_transaction_that_is_forgotten_at_its_end_is_to_be_read() {
    let run = ended("<SAVE>NO</SAVE>");
    assert_eq!(glances(&run)[0], None);
    agree(&run, 1);
}

#[test]
fn what_is_not_known_is_to_be_read() {
    let entry = |name: &str| encoded(&[BTreeMap::from([(name, 7)])]);
    assert_eq!(Instance::glance(&entry("Waited")), Some(Glance::GoesOn));
    assert_eq!(Instance::glance(&entry("Teleported")), None);
    assert_eq!(Instance::glance(&encoded(&"Settled")), None);
    assert_eq!(Instance::glance(&encoded(&["Purged"])), None);
    let whole = encoded(&[Record::Sought { operation: 1, leg: 0, at: Moment(1), again_at: Moment(2) }]);
    for length in 0..whole.len() {
        assert_eq!(Instance::glance(&whole[..length]), None, "cut off at {length}");
    }
}

// Names are written once more for the glance: they are those of the records.
#[test]
fn the_names_of_a_glance_are_those_of_the_records() {
    let unknown = encoded(&BTreeMap::from([("Teleported", 7)]));
    let refused = ciborium::from_reader::<Record, _>(&unknown[..]).unwrap_err().to_string();
    let names = refused.split('`').skip(3).step_by(2);
    let silent = ["Responded", "Settled", "Forgotten", "Purged", "Awaited"];
    for name in names.filter(|name| !silent.contains(name)) {
        let seen = Instance::glance(&encoded(&[BTreeMap::from([(name, [(); 0])])]));
        assert!(seen.is_some() || name == "Submitted", "{name}: a record that says something is known to the glance");
    }
    assert!(refused.contains("`Submitted`") && refused.contains("`Purged`"), "{refused}");
}
