//! Timeouts, cancelling, and who is told of the end (T4, T11).

use super::*;

fn timed(head: &str, operation: &str) -> Fed<Instance> {
    let line = format!("1 check > 2 | {operation}");
    run(
        define("purchase", head, &["0 CXtsHeadOp > 1", &line, "2 confirm > 9", "9 CXtsTailOp"]),
        offers(&["check", "confirm"], &[]),
    )
}

// T11: a timed-out operation is complete, and what follows goes on.
#[test]
fn an_operation_that_is_not_answered_in_time_is_told_to_stop_and_the_next_begins() {
    let mut run = timed("", "<TIMEOUT>5</TIMEOUT>");
    run.give(submit());
    let late = run.invocation(1, 0);
    assert_eq!(run.machine.wakes_at(), Some(run.now.plus_ms(5_000)));
    assert_eq!(run.pass(4_999).effects.len(), 0);
    let came = run.pass(1);
    assert_eq!(run.told(&came), ["desk stops", "desk does confirm"]);
    assert_eq!((run.state(1), run.machine.wakes_at()), (Some(OperationState::TimedOut), None));
    let came = run.give(answer(late, completed("<Credit/>")));
    assert_eq!(recorded(&came), ["late 1.0"]);
    run.answer(2, completed("<Confirmed/>"));
    run.output();
}

#[test]
fn an_answer_in_time_stops_the_clock() {
    let mut run = timed("", "<TIMEOUT>5</TIMEOUT>");
    run.give(submit());
    run.answer(1, completed("<Credit/>"));
    assert_eq!(run.machine.wakes_at(), None);
}

// T11: a timed-out instance ends and says so.
#[test]
fn a_transaction_ends_at_its_timeout() {
    let mut run = timed("<TIMEOUT>10</TIMEOUT>", "<TIMEOUT>60</TIMEOUT>");
    let came = run.give(submit());
    let Some(Effect::Offer { invocation, .. }) = came.effects.last() else { panic!() };
    assert_eq!(invocation.deadline, Some(run.now.plus_ms(10_000)), "the earlier of the two deadlines");
    let came = run.pass(10_000);
    assert_eq!(run.told(&came), ["desk stops", "respond 1 timed-out"]);
    assert_eq!(run.state(1), Some(OperationState::Cancelled));
    assert_eq!((run.machine.is_open(), run.machine.wakes_at()), (false, None));
}

// T4.
#[test]
fn a_cancelled_transaction_tells_everybody() {
    let mut run = timed("", "");
    let cancel = || Input::Cancel { asker: asker(2, 5) };
    assert_eq!(run.refused(cancel()).code, Code::TransactionUnknown);
    run.give(submit());
    let came = run.give(cancel());
    assert_eq!(run.told(&came), ["cancelled", "desk stops", "respond 1 cancelled"]);
    let came = run.give(cancel());
    assert_eq!(run.told(&came), ["cancelled"], "asked again, the same is said again");
}

// T4: the same submission twice is one transaction.
#[test]
fn a_submission_may_be_repeated_but_not_changed() {
    let mut run = timed("", "");
    run.give(submit());
    let came = run.give(submit_as(2, "purchase", "<Order/>"));
    assert_eq!(run.told(&came), ["repeated"]);
    assert_eq!(run.refused(submit_as(3, "purchase", "<Other/>")).code, Code::TransactionConflict);
    assert_eq!(run.refused(submit_as(3, "sale", "<Order/>")).code, Code::TransactionConflict);
    run.answer(1, completed("<Credit/>"));
    let came = run.answer(2, completed("<Confirmed/>"));
    assert_eq!(run.told(&came), ["answered", "respond 1 completed", "respond 2 completed"]);
    let came = run.give(submit_as(4, "purchase", "<Order/>"));
    assert_eq!(run.told(&came), ["repeated", "respond 4 completed"], "also after the end");
}

#[test]
fn whoever_awaits_is_answered_at_the_end_or_at_once_behind_it() {
    let mut run = timed("", "");
    let wait = |message| Input::Await { asker: asker(2, message) };
    assert_eq!(run.refused(wait(1)).code, Code::TransactionUnknown);
    run.give(submit());
    let came = run.give(wait(2));
    assert_eq!(run.told(&came), ["awaiting"]);
    assert!(run.give(wait(2)).records.is_empty(), "the same message waits once");
    run.answer(1, completed("<Credit/>"));
    let came = run.answer(2, completed("<Confirmed/>"));
    assert_eq!(run.told(&came), ["answered", "respond 1 completed", "respond 2 completed"]);
    let came = run.give(wait(3));
    assert_eq!(run.told(&came), ["awaiting", "respond 3 completed"]);
}

// DESIGN invariant 6.
#[test]
fn requesters_are_bounded() {
    let mut run = timed("", "");
    run.give(submit());
    for message in 1..limit::REQUESTERS_MAX as u64 {
        run.give(Input::Await { asker: asker(2, message) });
    }
    assert_eq!(run.refused(Input::Await { asker: asker(3, 1) }).code, Code::LimitReached);
}

// T12: SAVE=NO instances are not kept after they end.
#[test]
fn a_transaction_is_kept_after_its_end_as_its_definition_says() {
    for (save, kept) in [("", true), ("<SAVE>NO</SAVE>", false)] {
        let mut run = timed(save, "");
        run.give(submit());
        assert!(run.machine.is_kept(), "while it runs");
        run.give(Input::Cancel { asker: asker(1, 2) });
        run.pass(limit::RESPONSE_KEEP_MS - 1);
        let came = run.give(submit_as(3, "purchase", "<Order/>"));
        assert_eq!(run.told(&came), ["repeated", "respond 3 cancelled"], "whoever lost the connection learns it");
        assert_eq!(run.machine.lingers_until().is_some(), !kept);
        run.pass(1);
        assert_eq!((run.machine.is_kept(), run.machine.is_open()), (kept, false));
    }
}

#[test]
fn where_there_is_no_room_the_response_of_a_transaction_that_is_not_kept_is_forgotten_early_and_nothing_else_is() {
    let mut run = timed("<SAVE>NO</SAVE>", "");
    run.give(submit());
    assert!(run.give(Input::Forget).records.is_empty(), "it has not ended");
    run.give(Input::Cancel { asker: asker(1, 2) });
    run.give(Input::Forget);
    assert_eq!((run.machine.is_kept(), run.machine.is_open()), (false, false));
    assert!(run.give(Input::Forget).records.is_empty());
    let around = run.around.clone();
    let records: Vec<Record> = run.journal.iter().map(|bytes| ciborium::from_reader(&bytes[..]).unwrap()).collect();
    crate::transaction::rehearsal::replay(ID, &around, &records).expect("a replay forgets as early");

    let mut run = timed("", "");
    run.give(submit());
    run.give(Input::Cancel { asker: asker(1, 2) });
    assert!(run.give(Input::Forget).records.is_empty(), "it is kept");
}
