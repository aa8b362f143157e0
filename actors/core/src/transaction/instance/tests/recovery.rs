//! Restarts: what was asked is asked again under the same ids, and wherever the journal was cut, the end is the same (T12).

use super::*;
use std::collections::BTreeSet;

/// A split, a broadcast over two peers, and a join.
fn rich() -> Fed<Instance> {
    let choose = format!("1 choose > 2 3 | {}", split(1, &[2, 3]));
    let quote = "2 quote > 4 | <TIMEOUT>9</TIMEOUT><BROADCAST><RESPONSE><MIN>2</MIN></RESPONSE>\
        <hx:SCOPE>FEDERATION</hx:SCOPE></BROADCAST>";
    let definition = define(
        "purchase",
        "<TIMEOUT>60</TIMEOUT>",
        &["0 CXtsHeadOp > 1 5", &choose, quote, "3 order > 4", "4 send > 9", "5 note > 9", "9 CXtsTailOp"],
    );
    run(definition, offers(&["choose", "order", "send", "note"], &[(2, "Birch", &["quote"]), (3, "Cedar", &["quote"])]))
}

/// The answer that every operation gives.
fn outcome_of(id: u32) -> Outcome {
    match id {
        1 => completed("<Choice><to2/></Choice>"),
        5 => failed(),
        _ => completed("<Done/>"),
    }
}

fn invocations(came: &Came<Instance>) -> BTreeSet<InvocationId> {
    let ids = came.effects.iter().filter_map(|effect| match effect {
        Effect::Offer { invocation, .. } | Effect::Ask { invocation, .. } => Some(invocation.id),
        _ => None,
    });
    ids.collect()
}

/// Answer whatever is open until the transaction has ended.
fn to_the_end(run: &mut Fed<Instance>) {
    while let Some((id, leg, _)) = run.open_legs().first().copied() {
        run.answer_leg(id, leg, outcome_of(id));
    }
    assert!(run.machine.is_ended(), "nothing is open and it has not ended");
}

// T12.
#[test]
fn after_a_restart_whoever_has_not_answered_is_asked_again_and_nobody_else() {
    let mut run = rich();
    run.give(submit());
    run.answer(1, outcome_of(1));
    run.answer_leg(2, 1, outcome_of(2));
    let open: BTreeSet<_> = run.open_legs().into_iter().map(|(_, _, invocation)| invocation).collect();
    let wakes_at = run.machine.wakes_at();
    let came = run.restart();
    assert!(came.records.is_empty(), "asking again is nothing new");
    assert_eq!(invocations(&came), open);
    assert_eq!(came.effects.len(), 2);
    assert_eq!(run.machine.wakes_at(), wakes_at, "timers are kept");
}

// T12: the same document, from the records alone.
#[test]
fn what_is_asked_again_is_asked_with_the_same_document_and_deadline() {
    let mut run = rich();
    let mut asked = Vec::new();
    let mut note = |came: &Came<Instance>| {
        asked.extend(came.effects.iter().filter_map(|effect| match effect {
            Effect::Offer { invocation, .. } | Effect::Ask { invocation, .. } => Some(invocation.clone()),
            _ => None,
        }));
    };
    note(&run.give(submit()));
    note(&run.answer(1, outcome_of(1)));
    let came = run.restart();
    for effect in came.effects {
        let (Effect::Offer { invocation, .. } | Effect::Ask { invocation, .. }) = effect else { panic!() };
        assert!(asked.contains(&invocation));
    }
}

// Every record is an entry of its own in the journal; a torn tail may end between any two.
#[test]
fn a_transaction_goes_on_wherever_its_journal_was_cut() {
    let mut whole = rich();
    whole.give(submit());
    to_the_end(&mut whole);
    let output = whole.output().to_owned();
    let states = |run: &Fed<Instance>| [1, 2, 3, 4, 5].map(|id| run.state(id));
    for durable in 0..=whole.journal.len() {
        let mut run = rich();
        run.journal.clone_from(&whole.journal);
        run.restart_with(durable);
        if durable == 0 {
            run.give(submit());
        }
        to_the_end(&mut run);
        assert_eq!((run.output(), states(&run)), (&*output, states(&whole)), "cut behind record {durable}");
    }
}

#[test]
fn timeouts_that_came_while_the_process_was_down_are_noticed_at_the_start() {
    let mut run = rich();
    run.give(submit());
    run.answer(1, outcome_of(1));
    run.now = run.now.plus_ms(9_000);
    let came = run.restart();
    assert!(recorded(&came).contains(&"ended 2 timedout".to_owned()), "{:?}", recorded(&came));
    run.now = run.now.plus_ms(60_000);
    assert_eq!(recorded(&run.restart()), ["finished timed-out"]);
}

// Requesters are sessions of this process: after a restart they come again.
#[test]
fn requesters_do_not_outlive_the_process_and_may_come_again() {
    let mut run = rich();
    run.give(submit());
    run.restart();
    let came = run.give(Input::Await { asker: asker(8, 1) });
    assert_eq!(run.told(&came), ["awaiting"]);
    run.answer(5, outcome_of(5));
    let came = run.answer(1, failed());
    assert_eq!(run.told(&came), ["answered", "respond 1 completed"]);
}

#[test]
fn an_ended_transaction_is_not_disturbed_by_a_restart() {
    let mut run = rich();
    run.give(submit());
    to_the_end(&mut run);
    let came = run.restart();
    assert!(came.records.is_empty() && came.effects.is_empty());
}

// F6: the link gives an answer again when it may not have been recorded; once it is, that says nothing new.
#[test]
fn the_same_answer_again_is_settled_and_not_recorded() {
    let mut run = rich();
    run.give(submit());
    run.answer(1, outcome_of(1));
    let invocation = run.invocation(2, 0);
    let again = || answer_of_peer(2, invocation, outcome_of(2));
    run.give(again());
    let came = run.give(again());
    assert_eq!((recorded(&came), run.told(&came)), (nothing(), vec!["settle".to_owned()]));
    let other = answer_of_peer(2, invocation, failed());
    assert_eq!(recorded(&run.give(other)), ["duplicate 2.0"]);
    let stranger = InvocationId(5);
    let came = run.give(answer_of_peer(2, stranger, failed()));
    assert_eq!((recorded(&came), run.told(&came)), (vec!["foreign".to_owned()], vec!["settle".to_owned()]));
    let came = run.give(answer(stranger, failed()));
    assert_eq!(run.told(&came), ["refuse response-refused"]);
}

// F6: a link that is not sure asks; what is not waited for is withdrawn.
#[test]
fn a_link_is_told_which_requests_are_waited_for() {
    let mut run = rich();
    let inquire = |invocation| Input::Inquire {
        invocation,
        performer: Performer::Peer { organization: organization(2), service: None },
    };
    let came = run.give(inquire(InvocationId(5)));
    assert_eq!(run.told(&came), ["peer 2 stops"], "no such transaction");
    run.give(submit());
    run.answer(1, outcome_of(1));
    let open = run.invocation(2, 0);
    assert!(run.give(inquire(open)).effects.is_empty());
    to_the_end(&mut run);
    let came = run.give(inquire(open));
    assert_eq!(run.told(&came), ["peer 2 stops"]);
}
