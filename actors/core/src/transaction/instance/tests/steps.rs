//! The way from head to tail: links, joins, splits (T5, T6, T7), and what a requester is told on it (T4).

use super::*;

fn chain() -> Fed<Instance> {
    run(
        define("purchase", "", &["0 CXtsHeadOp > 1", "1 check > 2", "2 confirm > 9", "9 CXtsTailOp"]),
        offers(&["check", "confirm"], &[]),
    )
}

// T4, T5, T12.
#[test]
fn a_transaction_goes_from_head_to_tail_and_responds() {
    let mut run = chain();
    let came = run.give(submit());
    assert_eq!(run.told(&came), ["submitted", "desk does check"]);
    assert_eq!(recorded(&came), ["submitted", "awaited", "ended 0 completed", "requested 1 of 1"]);
    let came = run.answer(1, completed("<Credit/>"));
    assert_eq!(recorded(&came), ["answered 1.0", "ended 1 completed", "requested 2 of 1"]);
    assert_eq!(run.told(&came), ["answered", "desk does confirm"]);
    let came = run.answer(2, completed("<Confirmed/>"));
    let ends = ["answered 2.0", "ended 2 completed", "ended 3 completed", "finished completed", "responded"];
    assert_eq!(recorded(&came), ends);
    assert_eq!(run.told(&came), ["answered", "respond 1 completed"]);
    assert!(run.output().contains("<Confirmed xmlns=\"\"/>"), "{}", run.output());
    assert!(!run.machine.is_open() && run.machine.wakes_at().is_none());
}

// T6: the document of an operation behind the head alone is the input itself, and is not kept twice.
#[test]
fn the_first_operation_is_asked_with_the_input() {
    let mut run = chain();
    let came = run.give(submit());
    let Effect::Offer { invocation, .. } = &came.effects[1] else { panic!() };
    assert_eq!(invocation.document, text("<Order/>"));
    assert_eq!((invocation.context.operation, invocation.context.attempt, invocation.context.hops), (1, 1, 0));
    assert_eq!(invocation.id, InvocationId::new(&organization(1), ID, 1, 0, 1));
    assert!(matches!(&came.records[3], Record::Requested { request: Some(Request::Input), .. }));
}

// T5: branches run at the same time; an operation behind both waits for both.
#[test]
fn branches_run_concurrently_and_meet_again() {
    let definition =
        define("purchase", "", &["0 CXtsHeadOp > 1 2", "1 left > 3", "2 right > 3", "3 both > 9", "9 CXtsTailOp"]);
    let mut run = run(definition, offers(&["left", "right", "both"], &[]));
    let came = run.give(submit());
    assert_eq!(run.told(&came), ["submitted", "desk does left", "desk does right"]);
    let came = run.answer(2, completed("<Right/>"));
    assert_eq!(run.told(&came), ["answered"]);
    let came = run.answer(1, completed("<Left/>"));
    assert_eq!(run.told(&came), ["answered", "desk does both"]);
    let Some(Effect::Offer { invocation, .. }) = came.effects.last() else { panic!() };
    let document = invocation.document.as_str();
    assert!(document.contains("<Left ") && document.contains("<Right "), "{document}");
}

// T5: complete for any reason: what failed does not stop what follows.
#[test]
fn an_operation_behind_a_failed_one_is_performed_on_what_there_is() {
    let definition =
        define("purchase", "", &["0 CXtsHeadOp > 1 2", "1 left > 3", "2 right > 3", "3 both > 9", "9 CXtsTailOp"]);
    let mut run = run(definition, offers(&["left", "right", "both"], &[]));
    run.give(submit());
    run.answer(1, failed());
    assert_eq!(run.state(1), Some(OperationState::Failed));
    let came = run.answer(2, completed("<Right/>"));
    assert_eq!(run.told(&came), ["answered", "desk does both"]);
    run.answer(3, completed("<Both/>"));
    run.output();
}

/// 1 leads to 2 or 3; 4 follows 2 alone, 5 follows 3 and 4.
fn forked() -> Fed<Instance> {
    let fork = format!("1 choose > 2 3 | {}", split(1, &[2, 3]));
    let definition = define(
        "purchase",
        "",
        &["0 CXtsHeadOp > 1", &fork, "2 stock > 4", "3 order > 5", "4 pack > 5", "5 send > 9", "9 CXtsTailOp"],
    );
    run(definition, offers(&["choose", "stock", "order", "pack", "send"], &[]))
}

// T7: what no true statement leads to is eliminated, and so is all that only it leads to; an operation with one live and one
// eliminated predecessor is performed.
#[test]
fn a_split_eliminates_transitively() {
    let mut run = forked();
    run.give(submit());
    let came = run.answer(1, completed("<Choice><to3/></Choice>"));
    assert_eq!(run.told(&came), ["answered", "desk does order"]);
    for eliminated in [2, 4] {
        assert_eq!(run.state(eliminated), Some(OperationState::Eliminated));
    }
    assert_eq!(run.state(5), None, "it waits for 3");
    let came = run.answer(3, completed("<Ordered/>"));
    assert_eq!(run.told(&came), ["answered", "desk does send"]);
    run.answer(5, completed("<Sent/>"));
    run.output();
}

#[test]
fn a_split_may_follow_several_links() {
    let mut run = forked();
    run.give(submit());
    let came = run.answer(1, completed("<Choice><to2/><to3/></Choice>"));
    assert_eq!(run.told(&came), ["answered", "desk does stock", "desk does order"]);
}

#[test]
fn a_transaction_whose_end_no_link_leads_to_fails_and_says_so() {
    let mut run = forked();
    run.give(submit());
    let came = run.answer(1, completed("<Choice/>"));
    assert_eq!(run.told(&came), ["answered", "respond 1 failed"]);
    assert_eq!(run.failure(), Code::OperationFailed);
}

// The first thing that went wrong is the reason that is told.
#[test]
fn a_transaction_fails_with_the_fault_that_began_it() {
    let mut run = forked();
    run.give(submit());
    run.answer(1, failed());
    let Some(Ending::Failed(fault)) = run.machine.ending() else { panic!() };
    assert_eq!(fault.message, "out of paper");
}

// T9: a condition that cannot be evaluated is a fault with a place.
#[test]
fn a_split_that_cannot_be_decided_follows_nothing() {
    let condition = "<OPERATOR><OPNAME>GREATER</OPNAME><EXPR><VAR><VARNAME>Price</VARNAME><OPID>1</OPID>\
        <OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>NUMVALUE</VALTYPE></VAR></EXPR>\
        <EXPR><VALUE>10</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR></OPERATOR>";
    let line = format!("1 choose > 9 | <SPLIT><STMT><EXPR>{condition}</EXPR><OPID>9</OPID></STMT></SPLIT>");
    let mut run = run(define("purchase", "", &["0 CXtsHeadOp > 1", &line, "9 CXtsTailOp"]), offers(&["choose"], &[]));
    run.give(submit());
    run.answer(1, completed("<Choice><Price>cheap</Price></Choice>"));
    let Some(Ending::Failed(fault)) = run.machine.ending() else { panic!() };
    assert_eq!(fault.code, Code::ExpressionFailed);
    assert!(fault.place.is_some());
}

// T6: a failed join fails the operation, and what follows goes on.
#[test]
fn an_operation_whose_mandatory_argument_is_missing_fails_without_being_asked_for() {
    let join = "<JOIN><ARG><NAME>Limit</NAME><VALTYPE>STRVALUE</VALTYPE><DOCUMENT><OPID>1</OPID>\
        <OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><OPDOCVARTYPE>Limit</OPDOCVARTYPE></DOCUMENT></ARG></JOIN>";
    let line = format!("2 confirm > 9 | {join}");
    let mut run = run(
        define("purchase", "", &["0 CXtsHeadOp > 1", "1 check > 2", &line, "9 CXtsTailOp"]),
        offers(&["check", "confirm"], &[]),
    );
    run.give(submit());
    let came = run.answer(1, completed("<Credit/>"));
    assert_eq!(run.told(&came), ["answered", "respond 1 completed"]);
    assert_eq!(run.state(2), Some(OperationState::Failed));
    assert_eq!(run.begun().cause.as_ref().unwrap().code, Code::JoinFailed);
}

// T6: an output that cannot be built fails the transaction, with the first cause.
#[test]
fn a_tail_that_cannot_be_joined_fails_the_transaction() {
    let tail = "9 CXtsTailOp | <JOIN><DOCUMENT><OPID>1</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>";
    let mut run = run(define("purchase", "", &["0 CXtsHeadOp > 1", "1 check > 9", tail]), offers(&["check"], &[]));
    run.give(submit());
    let came = run.answer(1, failed());
    assert_eq!(run.told(&came), ["answered", "respond 1 failed"]);
    assert_eq!(run.failure(), Code::OperationFailed);
}

#[test]
fn a_transaction_without_operations_answers_with_its_input() {
    let mut run = run(define("purchase", "", &["0 CXtsHeadOp > 9", "9 CXtsTailOp"]), offers(&[], &[]));
    let came = run.give(submit());
    assert_eq!(run.told(&came), ["submitted", "respond 1 completed"]);
    assert_eq!(run.output(), "<Order/>");
}

// T4: how far it is.
#[test]
fn a_query_tells_how_far_a_transaction_is() {
    let mut run = chain();
    let query = || Input::Query { asker: asker(2, 1) };
    assert_eq!(run.refused(query()).code, Code::TransactionUnknown);
    run.give(submit());
    let came = run.give(query());
    assert_eq!(run.told(&came), ["queried", "running 1/4"]);
    run.answer(1, completed("<Credit/>"));
    run.answer(2, completed("<Confirmed/>"));
    let came = run.give(query());
    assert_eq!(run.told(&came), ["queried", "completed 4/4"]);
    let picture = run.machine.picture(&run.definition()).unwrap();
    assert_eq!(picture.operations[1].state, "completed");
    assert_eq!(picture.output.unwrap().as_str(), run.output());
}

// T3: a running transaction keeps the version that it started with.
#[test]
fn a_new_version_of_the_definition_does_not_touch_what_runs() {
    let one = define("purchase", "", &["0 CXtsHeadOp > 1", "1 check > 2", "2 confirm > 9", "9 CXtsTailOp"]);
    let other = define("purchase", "", &["0 CXtsHeadOp > 1", "1 check > 9", "9 CXtsTailOp"]);
    let mut run = run(one.clone(), offers(&["check", "confirm"], &[]));
    run.give(submit());
    run.around.definitions = definitions(&[one, other]);
    let came = run.answer(1, completed("<Credit/>"));
    assert_eq!(run.told(&came), ["answered", "desk does confirm"]);
    let mut later = Fed::<Instance>::new(TransactionId(8), run.around.clone());
    later.give(submit());
    later.answer(1, completed("<Credit/>"));
    later.output();
}

#[test]
fn what_cannot_begin_is_refused() {
    let mut run = chain();
    assert_eq!(run.refused(submit_as(1, "sale", "<Order/>")).code, Code::DefinitionUnknown);
    run.around.offers = Offers::default();
    assert_eq!(run.refused(submit()).code, Code::Busy, "the node does not know yet who it is");
    assert!(!run.machine.is_open() && !run.machine.is_kept());
}
