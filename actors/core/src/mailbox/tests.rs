//! What the mailbox of a service promises: every invocation goes to one session at a time, in order, within its credit, and
//! comes back when the session goes.

use super::*;
use crate::fixture::{Came, Fed, asker, invocation, organization, text};

fn mailbox() -> Fed<Mailbox> {
    Fed::new("credit".parse().unwrap(), ())
}

fn caller() -> Caller {
    Caller::Peer(organization(1))
}

fn offer(number: u32) -> Input {
    Input::Offer { caller: caller(), invocation: invocation(1, "check-credit", number) }
}

fn attach(session: u64, credit: u32) -> Input {
    Input::Attach { asker: asker(session, 1), credit }
}

fn answer(session: u64, number: u32) -> Input {
    Input::Answer {
        asker: asker(session, 2),
        invocation: invocation(1, "check-credit", number).id,
        outcome: Outcome::Completed(text("<Yes/>")),
    }
}

fn withdraw(number: u32) -> Input {
    Input::Withdraw { invocation: invocation(1, "check-credit", number).id }
}

/// The effects in words: `7 performs 2` is invocation 2 handed to session 7.
fn told(came: &Came<Mailbox>) -> Vec<String> {
    let number = |id: &InvocationId| {
        (0..100).find(|number| invocation(1, "check-credit", *number).id == *id).expect("one of this test's")
    };
    let words = came.effects.iter().map(|effect| match effect {
        Effect::Perform { session, invocation } => format!("{} performs {}", session.0, number(&invocation.id)),
        Effect::Withdraw { session, invocation } => format!("{} forgets {}", session.0, number(invocation)),
        Effect::Return { invocation, outcome: Outcome::Completed(_), .. } => format!("{} done", number(invocation)),
        Effect::Return { invocation, outcome, .. } => {
            format!("{} not done: {}", number(invocation), outcome.fault().unwrap().code)
        }
        Effect::Stray { invocation, from, refusal, .. } => {
            format!("{} has a stray answer of {from}: {refusal:?}", number(invocation))
        }
        Effect::Refuse { asker, fault } => format!("{} refused: {}", asker.session.0, fault.code),
        Effect::Acknowledge { asker } => format!("{} registered", asker.session.0),
    });
    words.collect()
}

#[test]
fn an_invocation_waits_for_a_session_and_its_outcome_goes_to_the_caller() {
    let mut mailbox = mailbox();
    assert!(!mailbox.machine.is_open());
    assert_eq!(told(&mailbox.give(offer(1))), Vec::<String>::new());
    assert_eq!((mailbox.machine.queued(), mailbox.machine.in_flight()), (1, 0));
    assert_eq!(told(&mailbox.give(attach(7, 1))), ["7 registered", "7 performs 1"]);
    assert_eq!((mailbox.machine.queued(), mailbox.machine.in_flight()), (0, 1));
    let came = mailbox.give(answer(7, 1));
    assert_eq!(told(&came), ["1 done"]);
    let Effect::Return { caller: to, asker: acknowledged, .. } = &came.effects[0] else { panic!() };
    assert_eq!((to, acknowledged), (&caller(), &Some(asker(7, 2))), "whoever records the answer acknowledges it");
    mailbox.give(Input::Detach { session: SessionId(7) });
    assert!(!mailbox.machine.is_open(), "nothing is left");
}

#[test]
fn no_session_gets_more_than_its_credit_and_the_freest_gets_the_next() {
    let mut mailbox = mailbox();
    mailbox.give(attach(7, 1));
    mailbox.give(attach(8, 2));
    let told_all: Vec<_> = (1..=4).flat_map(|number| told(&mailbox.give(offer(number)))).collect();
    assert_eq!(told_all, ["8 performs 1", "8 performs 2", "7 performs 3"]);
    assert_eq!(told(&mailbox.give(answer(7, 3))), ["3 done", "7 performs 4"], "an answer makes room for the next");
}

// T5: of one priority, first come, first served; what a session held keeps its place.
#[test]
fn what_is_more_urgent_is_given_first_and_of_one_priority_the_oldest() {
    let mut mailbox = mailbox();
    for (number, priority) in [(1, 0), (2, 5), (3, 9), (4, 5), (5, 0), (6, 200)] {
        let mut invocation = invocation(1, "check-credit", number);
        invocation.context.priority = priority;
        mailbox.give(Input::Offer { caller: caller(), invocation });
    }
    let mut told_all = told(&mailbox.give(attach(7, 1)));
    for number in [3, 6, 2] {
        told_all.extend(told(&mailbox.give(answer(7, number))));
    }
    let expected =
        ["7 registered", "7 performs 3", "3 done", "7 performs 6", "6 done", "7 performs 2", "2 done", "7 performs 4"];
    assert_eq!(told_all, expected, "more than the highest priority is no more than it");
    mailbox.give(Input::Detach { session: SessionId(7) });
    assert_eq!(told(&mailbox.give(attach(8, 1))), ["8 registered", "8 performs 4"]);
}

#[test]
fn an_invocation_that_is_offered_again_is_one_still() {
    let mut mailbox = mailbox();
    mailbox.give(attach(7, 10));
    assert_eq!(told(&mailbox.give(offer(1))), ["7 performs 1"]);
    assert_eq!(told(&mailbox.give(offer(1))), Vec::<String>::new());
}

// T12: a service that dies costs a redelivery under the same id; the order is what it was.
#[test]
fn what_a_session_held_waits_again_in_its_old_place_when_the_session_goes() {
    let mut mailbox = mailbox();
    mailbox.give(attach(7, 5));
    for number in 1..=8 {
        mailbox.give(offer(number));
    }
    assert_eq!(mailbox.machine.in_flight(), 5);
    mailbox.give(Input::Detach { session: SessionId(7) });
    assert_eq!((mailbox.machine.queued(), mailbox.machine.in_flight()), (8, 0));
    let again = told(&mailbox.give(attach(9, 8)));
    let expected: Vec<_> = (1..=8).map(|number| format!("9 performs {number}")).collect();
    assert_eq!(again[1..], expected);
}

#[test]
fn the_first_answer_counts_and_whoever_waited_for_it_refuses_every_other() {
    let mut mailbox = mailbox();
    mailbox.give(attach(7, 5));
    assert_eq!(mailbox.refused(answer(7, 1)).code, Code::ResponseRefused, "never asked");
    mailbox.give(offer(1));
    mailbox.give(answer(7, 1));
    // The caller knows whether it is the same answer once more, and records what it refuses (T8).
    assert_eq!(told(&mailbox.give(answer(7, 1))), ["1 done"], "answered");
    mailbox.give(offer(2));
    assert_eq!(told(&mailbox.give(withdraw(2))), ["7 forgets 2"]);
    assert_eq!(told(&mailbox.give(answer(7, 2))), ["2 done"], "withdrawn");
    assert_eq!(told(&mailbox.give(withdraw(2))), Vec::<String>::new());
}

#[test]
fn only_a_session_that_registered_the_service_answers_for_it() {
    let mut mailbox = mailbox();
    mailbox.give(attach(7, 5));
    mailbox.give(offer(1));
    assert_eq!(mailbox.refused(answer(8, 1)).code, Code::ResponseRefused);
    assert_eq!(mailbox.machine.in_flight(), 1);
}

#[test]
fn an_answer_that_is_none_is_told_to_the_transaction_that_waits_for_the_right_one() {
    // T8
    let mut mailbox = mailbox();
    mailbox.give(attach(7, 5));
    let caller = Caller::Transaction(crate::ident::TransactionId(4));
    mailbox.give(Input::Offer { caller, invocation: invocation(1, "check-credit", 1) });
    let strayed = |session, number, from: &str| Input::Strayed {
        session: SessionId(session),
        invocation: invocation(1, "check-credit", number).id,
        from: from.parse().unwrap(),
        outcome: OutcomeKind::Completed,
        refusal: Refusal::Malformed,
    };
    assert_eq!(told(&mailbox.give(strayed(7, 1, "credit"))), ["1 has a stray answer of credit: Malformed"]);
    assert_eq!(told(&mailbox.give(strayed(8, 1, "other"))), ["1 has a stray answer of other: Foreign"]);
    assert_eq!(
        told(&mailbox.give(answer(8, 1))),
        ["1 has a stray answer of credit: Foreign", "8 refused: response-refused"],
        "a connection that is not registered"
    );
    assert_eq!(mailbox.machine.in_flight(), 1, "the right answer is waited for all the same");
    mailbox.give(answer(7, 1));
    assert_eq!(told(&mailbox.give(strayed(7, 1, "credit"))), ["1 has a stray answer of credit: Malformed"]);
    // Of what nobody asked for there is nothing to tell; and a peer's transaction is not here.
    mailbox.give(offer(3));
    for number in [2, 3] {
        assert_eq!(mailbox.refused(strayed(7, number, "credit")).code, Code::ResponseRefused);
    }
}

#[test]
fn a_service_that_came_back_may_answer_what_another_session_was_given_meanwhile() {
    let mut mailbox = mailbox();
    mailbox.give(attach(7, 1));
    mailbox.give(offer(1));
    mailbox.give(attach(8, 1));
    assert_eq!(told(&mailbox.give(Input::Detach { session: SessionId(7) })), ["8 performs 1"]);
    mailbox.give(attach(9, 1));
    assert_eq!(told(&mailbox.give(answer(9, 1))), ["8 forgets 1", "1 done"]);
    assert_eq!(mailbox.machine.in_flight(), 0);
}

#[test]
fn a_session_that_registers_again_keeps_what_it_holds_and_gets_its_new_credit() {
    let mut mailbox = mailbox();
    mailbox.give(attach(7, 2));
    for number in 1..=4 {
        mailbox.give(offer(number));
    }
    assert_eq!(told(&mailbox.give(attach(7, 3))), ["7 registered", "7 performs 3"], "two it has, one more it takes");
    assert_eq!((mailbox.machine.sessions(), mailbox.machine.in_flight()), (1, 3));
}

// DESIGN invariant 6: a bound is an answer.
#[test]
fn the_connections_of_a_service_are_bounded_and_credit_is_clamped() {
    let mut mailbox = mailbox().uncompared();
    for session in 0..limit::SERVICE_SESSIONS_MAX as u64 {
        mailbox.give(attach(session, u32::MAX));
    }
    assert_eq!(mailbox.refused(attach(9_999, 1)).code, Code::ServiceConflict);
    mailbox.give(attach(3, 0));
    let came = mailbox.give(offer(1));
    assert!(matches!(came.effects[..], [Effect::Perform { .. }]));
}

// DESIGN invariant 8: what was withdrawn leaves nothing behind, also while an older one blocks the way.
#[test]
fn memory_does_not_grow_with_what_was_withdrawn() {
    let mut mailbox = mailbox();
    mailbox.give(offer(1));
    for _ in 0..1_000 {
        mailbox.give(offer(2));
        mailbox.give(withdraw(2));
    }
    assert_eq!((mailbox.machine.entries.len(), mailbox.machine.waiting.len()), (1, 1));
}

// T12: the mailbox owns nothing, so nothing of it is journaled.
#[test]
fn nothing_of_a_mailbox_outlives_the_process() {
    let mut mailbox = mailbox();
    mailbox.give(attach(7, 1));
    mailbox.give(offer(1));
    assert!(mailbox.journal.is_empty() && !mailbox.machine.is_kept());
    mailbox.restart();
    assert_eq!((mailbox.machine.sessions(), mailbox.machine.queued()), (0, 0));
    assert_eq!(mailbox.machine.wakes_at(), None);
}
