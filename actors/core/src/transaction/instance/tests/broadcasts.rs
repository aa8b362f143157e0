//! Broadcasts: asked of all, here and at peers, until enough answers count (T8).

use super::*;

fn broadcast(inside: &str) -> Fed<Instance> {
    let line = format!("1 quote > 9 | <BROADCAST>{inside}<hx:SCOPE>FEDERATION</hx:SCOPE></BROADCAST>");
    let definition = define("purchase", "", &["0 CXtsHeadOp > 1", &line, "9 CXtsTailOp"]);
    run(definition, offers(&["quote"], &[(2, "Birch", &["quote"]), (3, "Cedar", &["quote"])]))
}

#[test]
fn a_broadcast_asks_everybody_at_once_each_under_an_id_of_its_own() {
    let mut run = broadcast("<RESPONSE><MIN>2</MIN></RESPONSE>");
    let came = run.give(submit());
    assert_eq!(run.told(&came), ["submitted", "desk does quote", "peer 2 does quote", "peer 3 does quote"]);
    let ids: std::collections::BTreeSet<_> = (0..3).map(|leg| run.invocation(1, leg)).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn without_the_wider_scope_only_services_here_are_asked() {
    let definition = define(
        "purchase",
        "",
        &["0 CXtsHeadOp > 1", "1 quote > 9 | <BROADCAST><RESPONSE><MIN>1</MIN></RESPONSE></BROADCAST>", "9 CXtsTailOp"],
    );
    let mut run = run(definition, offers(&["quote"], &[(2, "Birch", &["quote"])]));
    let came = run.give(submit());
    assert_eq!(run.told(&came), ["submitted", "desk does quote"]);
}

#[test]
fn min_answers_are_enough_and_the_rest_are_told_to_stop_and_come_too_late() {
    let mut run = broadcast("<RESPONSE><MIN>2</MIN></RESPONSE>");
    run.give(submit());
    let late = run.invocation(1, 1);
    assert_eq!(recorded(&run.answer_leg(1, 0, completed("<Q>1</Q>"))), ["answered 1.0"]);
    let came = run.answer_leg(1, 2, completed("<Q>3</Q>"));
    assert_eq!(run.told(&came), ["settle", "peer 2 stops", "respond 1 completed"]);
    let output = run.output().to_owned();
    assert!(output.contains("organization=\"Acme\"") && output.contains("organization=\"Cedar\""), "{output}");
    assert!(!output.contains("Birch"));

    let came = run.give(answer_of_peer(2, late, completed("<Q>2</Q>")));
    assert_eq!(recorded(&came), ["late 1.1"]);
    assert_eq!(run.told(&came), ["settle"]);
    assert_eq!(run.output(), output, "recorded and ignored");
}

#[test]
fn only_answers_that_the_expression_is_true_for_count() {
    let mut run = broadcast(&format!("<RESPONSE><MIN>2</MIN></RESPONSE>{}", has(1, "Price")));
    run.give(submit());
    run.answer_leg(1, 0, completed("<Q><Price>1</Price></Q>"));
    let came = run.answer_leg(1, 1, completed("<Q/>"));
    assert_eq!(recorded(&came), ["answered 1.1 uncounted"]);
    run.answer_leg(1, 2, completed("<Q><Price>3</Price></Q>"));
    assert!(run.output().contains("counted=\"false\"") && run.output().contains("counted=\"true\""));
}

#[test]
fn without_min_everybody_must_have_ended_and_one_must_have_answered() {
    let mut run = broadcast("");
    run.give(submit());
    run.answer_leg(1, 0, completed("<Q/>"));
    run.answer_leg(1, 1, failed());
    assert_eq!(run.state(1), Some(OperationState::Running));
    run.answer_leg(1, 2, completed("<Q/>"));
    assert_eq!(run.state(1), Some(OperationState::Completed));

    let mut run = broadcast("");
    run.give(submit());
    (0..3).for_each(|leg| drop(run.answer_leg(1, leg, failed())));
    assert_eq!(run.state(1), Some(OperationState::Failed));
}

#[test]
fn too_few_answers_fail_the_broadcast() {
    let mut run = broadcast("<RESPONSE><MIN>2</MIN></RESPONSE>");
    run.give(submit());
    run.answer_leg(1, 0, failed());
    run.answer_leg(1, 1, Outcome::Expired);
    assert_eq!(run.state(1), Some(OperationState::Running));
    run.answer_leg(1, 2, completed("<Q/>"));
    assert_eq!(run.state(1), Some(OperationState::Failed));
    assert_eq!(run.begun().cause.as_ref().unwrap().code, Code::BroadcastTooFew);
}

#[test]
fn a_broadcast_waits_until_as_many_are_known_as_it_needs() {
    let mut run = broadcast("<RESPONSE><MIN>4</MIN></RESPONSE>");
    let came = run.give(submit());
    assert_eq!(run.told(&came), ["submitted"]);
    assert_eq!(run.state(1), Some(OperationState::Seeking));
    let known: [(u8, &str, &[&str]); 3] = [(2, "Birch", &["quote"]), (3, "Cedar", &["quote"]), (4, "Elm", &["quote"])];
    run.around.offers = offers(&["quote"], &known);
    let came = run.pass(1_000);
    assert_eq!(came.effects.len(), 4);
}
