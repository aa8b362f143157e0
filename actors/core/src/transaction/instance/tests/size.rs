//! Large transactions cost in proportion to their size: decisions are counted, and each is small.

use super::*;

const OPERATIONS: u32 = 10_000;
/// Names are unique in a definition, and all these operations are the same service's.
const WORK: &str = "<hx:PERFORMS>work</hx:PERFORMS>";

/// Run to the end, answering everything in the order in which it is asked.
fn finish(mut run: Fed<Instance>) -> Fed<Instance> {
    let mut asked = std::collections::VecDeque::new();
    let mut came = run.give(submit());
    loop {
        asked.extend(came.effects.iter().filter_map(|effect| match effect {
            Effect::Offer { invocation, .. } => Some(invocation.id),
            _ => None,
        }));
        let Some(invocation) = asked.pop_front() else { return run };
        came = run.give(run.answer_to(invocation, completed("<Done/>")));
    }
}

fn large(lines: impl Iterator<Item = String>) -> Fed<Instance> {
    let lines: Vec<_> = lines.collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    run(define("purchase", "", &lines), offers(&["work"], &[])).uncompared()
}

fn tail() -> String {
    format!("{} CXtsTailOp", OPERATIONS + 1)
}

/// Each is asked with the answer of the one before: the default join hands on everything since the beginning, which soon nests
/// deeper than a document may.
#[test]
fn ten_thousand_operations_in_a_row() {
    let join = |id| format!("<JOIN><DOCUMENT><OPID>{id}</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>");
    let head = std::iter::once("0 CXtsHeadOp > 1".to_owned());
    let row = (1..=OPERATIONS).map(|id| format!("{id} work{id} > {} | {WORK}{}", id + 1, join(id - 1)));
    let run = finish(large(head.chain(row).chain([tail()])));
    run.output();
    assert!(run.begun().operations.values().all(|operation| operation.state == OperationState::Completed));
    assert!(run.decisions <= 5 * OPERATIONS as usize, "{} decisions", run.decisions);
    assert!(run.journal.len() <= 4 * OPERATIONS as usize, "{} records", run.journal.len());
}

#[test]
fn ten_thousand_operations_side_by_side() {
    let links: Vec<_> = (1..=OPERATIONS).map(|id| id.to_string()).collect();
    let head = std::iter::once(format!("0 CXtsHeadOp > {}", links.join(" ")));
    let side_by_side = (1..=OPERATIONS).map(|id| format!("{id} work{id} > {} | {WORK}", OPERATIONS + 1));
    let run = finish(large(head.chain(side_by_side).chain([tail()])));
    assert_eq!(run.output().matches("<Done ").count(), OPERATIONS as usize);
    assert!(run.decisions <= 5 * OPERATIONS as usize, "{} decisions", run.decisions);
}

#[test]
fn a_broadcast_to_ten_thousand() {
    let services: Vec<_> = (0..OPERATIONS).map(|number| service(&format!("desk{number}"), &["work"])).collect();
    let offers = Offers::new(organization(1), "Acme".parse().unwrap(), services, []);
    let lines = ["0 CXtsHeadOp > 1", "1 work > 2 | <BROADCAST/>", "2 CXtsTailOp"];
    let run = finish(run(define("purchase", "", &lines), offers).uncompared());
    assert_eq!(run.output().matches("<Done ").count(), OPERATIONS as usize);
    assert!(run.decisions <= 3 * OPERATIONS as usize, "{} decisions", run.decisions);
}
