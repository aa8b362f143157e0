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

// T17: every document is read once, whatever the number of lines.
#[test]
fn an_iteration_over_ten_thousand_lines() {
    let iterate = format!(
        "<hx:ITERATE><DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE><OPDOCVARTYPE>Line</OPDOCVARTYPE></DOCUMENT>\
         <hx:MAX>{OPERATIONS}</hx:MAX></hx:ITERATE>"
    );
    let lines = ["0 CXtsHeadOp > 1".to_owned(), format!("1 work > 2 | {iterate}"), "2 CXtsTailOp".to_owned()];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let mut run = run(define("purchase", "", &lines), offers(&["work"], &[])).uncompared();
    let order = format!("<Order>{}</Order>", "<Line/>".repeat(OPERATIONS as usize));
    let mut asked = std::collections::VecDeque::new();
    let mut came = run.give(submit_as(1, "purchase", &order));
    loop {
        asked.extend(came.effects.iter().filter_map(|effect| match effect {
            Effect::Offer { invocation, .. } => Some(invocation.id),
            _ => None,
        }));
        assert!(asked.len() <= 16, "no more at once than the definition says");
        let Some(invocation) = asked.pop_front() else { break };
        came = run.give(run.answer_to(invocation, completed("<Done/>")));
    }
    assert_eq!(run.output().matches("<Done ").count(), OPERATIONS as usize);
    assert!(run.decisions <= 4 * OPERATIONS as usize, "{} decisions", run.decisions);
    assert!(run.journal.len() <= 3 * OPERATIONS as usize, "{} records", run.journal.len());
}

// T6: the default join is flat, so a row of it is bounded by the size of documents and not by their depth.
#[test]
fn a_long_row_of_operations_with_the_default_join() {
    const ROW: u32 = 300;
    let head = std::iter::once("0 CXtsHeadOp > 1".to_owned());
    let row = (1..=ROW).map(|id| format!("{id} op{id} > {} | <hx:PERFORMS>work</hx:PERFORMS>", id + 1));
    let run = finish(large(head.chain(row).chain([format!("{} CXtsTailOp", ROW + 1)])));
    assert_eq!(run.output().matches("<Done ").count(), ROW as usize, "each once");
    assert_eq!(run.output().matches("<Order ").count(), 1);
}

// T6: what a row of default joins costs grows with the square of its length, so it is bounded, and the fault says what to do.
#[test]
fn the_requests_that_are_made_in_one_transaction_are_bounded_together() {
    let lines = ["0 CXtsHeadOp > 1", "1 first > 2", "2 second > 3", "3 third > 4", "4 CXtsTailOp"];
    let row = || {
        let mut run = run(define("purchase", "", &lines), offers(&["first", "second", "third"], &[]));
        run.give(submit());
        run.answer(1, completed("<Done/>"));
        run
    };
    let made: usize = row().begun().requested_bytes;
    assert_eq!(made, row().begun().request_of(state::Part::new(2, 0)).unwrap().as_str().len(), "the input is not made");
    let mut run = row();
    run.answer(2, completed("<Done/>"));
    let third = run.begun().requested_bytes - made;
    assert!(third > made, "each has what the one before had");

    for (room, state) in [(third, OperationState::Running), (third - 1, OperationState::Failed)] {
        let mut run = row().uncompared();
        run.machine.begun.as_mut().unwrap().requested_bytes = limit::TRANSACTION_REQUESTS_BYTES_MAX - room;
        run.answer(2, completed("<Done/>"));
        assert_eq!(run.state(3), Some(state));
        if state == OperationState::Failed {
            let picture = run.machine.picture(&run.definition()).unwrap();
            let fault = picture.operations[3].fault.as_ref().unwrap();
            assert_eq!(fault.code, Code::DocumentTooLarge);
            assert!(fault.message.contains("operation 3 (third)") && fault.help.as_ref().unwrap().contains("JOIN"));
        }
    }
}

// T17: undoing goes on one by one, and each step is small.
#[test]
fn ten_thousand_operations_that_are_undone() {
    let links: Vec<_> = (1..=OPERATIONS).map(|id| id.to_string()).collect();
    let head = std::iter::once(format!("0 CXtsHeadOp > {} {}", links.join(" "), OPERATIONS + 2));
    let undo = "<hx:PERFORMS>work</hx:PERFORMS><hx:COMPENSATION><NAME>work</NAME></hx:COMPENSATION>";
    let tail = OPERATIONS + 3;
    let side_by_side = (1..=OPERATIONS).map(|id| format!("{id} op{id} > {tail} | {undo}"));
    let missing =
        format!("<JOIN><DOCUMENT><OPID>{}</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>", OPERATIONS + 2);
    let rest = [format!("{} fail > {tail}", OPERATIONS + 2), format!("{tail} CXtsTailOp | {missing}")];
    let lines: Vec<_> = head.chain(side_by_side).chain(rest).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let mut run = run(define("purchase", "", &lines), offers(&["work", "fail"], &[])).uncompared();
    let mut asked = std::collections::VecDeque::new();
    let mut came = run.give(submit());
    loop {
        asked.extend(came.effects.iter().filter_map(|effect| match effect {
            Effect::Offer { invocation, .. } => Some((invocation.id, invocation.target.operation.as_str() == "fail")),
            _ => None,
        }));
        let Some((invocation, fails)) = asked.pop_front() else { break };
        let outcome = if fails { failed() } else { completed("<Done/>") };
        came = run.give(run.answer_to(invocation, outcome));
    }
    assert_eq!(run.failure(), Code::OperationFailed);
    let picture = run.machine.picture(&run.definition()).unwrap();
    let undone = picture.operations.iter().filter_map(|operation| operation.compensation.as_ref());
    assert!(undone.clone().all(|it| it.state == "completed") && undone.count() == OPERATIONS as usize);
    assert!(run.begun().compensating.as_ref().is_some_and(|it| it.left.is_empty() && it.failed.is_empty()));
    assert!(run.decisions <= 8 * OPERATIONS as usize, "{} decisions", run.decisions);
}
