//! What a link promises: frames in order and once, each request answered once, nothing lost over restarts and connections,
//! and a peer that lies gets nothing by it (F6, F7).

use super::*;
use crate::{
    document::Text,
    fixture::{Came, Fed, asker, invocation, organization, service, text},
    invocation::Target,
};

/// This node is organization 1; the peer is organization 2.
fn link() -> Fed<Link> {
    let mut hidden = service("vault", &["check-stock", "open-vault"]);
    hidden.public = false;
    let offers =
        Offers::new(organization(1), "Acme".parse().unwrap(), [service("stock", &["check-stock"]), hidden], []);
    Fed::new(organization(2), offers)
}

fn connected() -> Fed<Link> {
    let mut link = link();
    link.give(Input::Connected { accepted_through: 0 });
    link
}

fn ask(number: u32) -> Input {
    Input::Ask { caller: TransactionId(7), invocation: invocation(1, "confirm", number), leg: 0 }
}

fn request(sequence: u64, number: u32) -> Numbered {
    Numbered { sequence, body: Body::Request { invocation: invocation(2, "check-stock", number), leg: 0 } }
}

fn changed(sequence: u64, change: impl FnOnce(&mut Invocation)) -> Input {
    let mut invocation = invocation(2, "check-stock", 1);
    change(&mut invocation);
    Input::Arrived(Numbered { sequence, body: Body::Request { invocation, leg: 0 } })
}

fn theirs(number: u32) -> InvocationId {
    invocation(2, "check-stock", number).id
}

fn ours(number: u32) -> InvocationId {
    invocation(1, "confirm", number).id
}

fn done() -> Outcome {
    Outcome::Completed(text("<Done/>"))
}

fn answer(number: u32) -> Input {
    Input::Answer { invocation: theirs(number), outcome: done(), asker: Some(asker(5, 6)) }
}

fn answered(sequence: u64, number: u32) -> Input {
    let body = Body::Answer { invocation: ours(number), service: None, outcome: done() };
    Input::Arrived(Numbered { sequence, body })
}

/// The effects in words; frames as `send 1 2 3`.
fn told(came: &Came<Link>) -> Vec<String> {
    let words = came.effects.iter().map(|effect| match effect {
        Effect::Position { accepted_through } => format!("position {accepted_through}"),
        Effect::Transmit { frames } => {
            let numbers: Vec<_> = frames.iter().map(|frame| frame.sequence.to_string()).collect();
            format!("send {}", numbers.join(" "))
        }
        Effect::Confirm { accepted_through } => format!("confirm {accepted_through}"),
        Effect::Offer { service, .. } => format!("offer to {service}"),
        Effect::Withdraw { service, .. } => format!("withdraw from {service}"),
        Effect::Inquire { .. } => "inquire".to_owned(),
        Effect::Return { outcome: Outcome::Completed(_), .. } => "return".to_owned(),
        Effect::Return { outcome, .. } => format!("return {}", outcome.fault().unwrap().code),
        Effect::Acknowledge { .. } => "acknowledge".to_owned(),
        Effect::Topic(topics::Effect::Had { number, .. }) => format!("had {number}"),
        Effect::Topic(topics::Effect::Heard { sequence, .. }) => format!("heard {sequence}"),
        Effect::Topic(other) => format!("{other:?}").to_lowercase(),
    });
    words.collect()
}

/// The code with which the last frame in the outbox refuses a request.
fn refusal(link: &Fed<Link>) -> Code {
    match &link.machine.outbox.back().unwrap().body {
        Body::Answer { outcome: Outcome::Failed(fault), .. } => fault.code,
        other => panic!("{other:?} refuses nothing"),
    }
}

// F6: store and forward: a request waits for the connection, and for the confirmation behind it.
#[test]
fn a_request_is_kept_until_the_peers_journal_has_it() {
    let mut link = link();
    assert_eq!(told(&link.give(ask(1))), Vec::<String>::new(), "no connection");
    assert_eq!(told(&link.give(ask(1))), Vec::<String>::new(), "and one request still");
    assert_eq!(link.machine.outbox(), 1);
    assert_eq!(told(&link.give(Input::Opened)), ["position 0"]);
    assert_eq!(told(&link.give(Input::Connected { accepted_through: 0 })), ["send 1"]);
    assert_eq!(told(&link.give(ask(2))), ["send 2"]);
    link.give(Input::Confirmed { accepted_through: 1 });
    assert_eq!(link.machine.outbox(), 1);
    link.give(Input::Disconnected);
    assert_eq!(told(&link.give(Input::Connected { accepted_through: 1 })), ["send 2"]);
    link.give(Input::Confirmed { accepted_through: 2 });
    assert_eq!(link.machine.outbox(), 0);
}

#[test]
fn a_new_connection_takes_over_from_one_whose_end_nobody_noticed() {
    let mut link = connected();
    assert_eq!(told(&link.give(ask(1))), ["send 1"]);
    assert_eq!(told(&link.give(Input::Opened)), ["position 0"]);
    assert_eq!(told(&link.give(ask(2))), Vec::<String>::new(), "nothing goes before the peer has said where it is");
    assert_eq!(told(&link.give(Input::Connected { accepted_through: 0 })), ["send 1 2"]);
}

#[test]
fn no_more_than_the_window_is_under_way() {
    let mut link = connected().uncompared();
    let window = limit::LINK_WINDOW_FRAMES_MAX as u32;
    for number in 0..window + 5 {
        let sent = told(&link.give(ask(number))).len();
        assert_eq!(sent, usize::from(number < window), "request {number}");
    }
    assert_eq!(
        told(&link.give(Input::Confirmed { accepted_through: 2 })),
        [format!("send {} {}", window + 1, window + 2)]
    );
}

// F6: exactly once: the next frame only, a repeated one is confirmed and otherwise ignored.
#[test]
fn each_frame_is_accepted_once_and_in_order() {
    let mut link = connected();
    assert_eq!(told(&link.give(Input::Arrived(request(1, 1)))), ["confirm 1", "offer to stock"]);
    assert_eq!(told(&link.give(Input::Arrived(request(1, 1)))), ["confirm 1"]);
    assert_eq!(link.refused(Input::Arrived(request(3, 3))).code, Code::FrameRefused, "frame 2 is missing");
    assert_eq!(link.machine.accepted_through(), 1);
    assert_eq!(told(&link.give(Input::Arrived(request(2, 2)))), ["confirm 2", "offer to stock"]);
}

#[test]
fn a_peers_request_is_performed_one_hop_further_and_its_answer_sent_and_acknowledged() {
    let mut link = connected();
    let came = link.give(Input::Arrived(request(1, 1)));
    let Effect::Offer { invocation, .. } = &came.effects[1] else { panic!() };
    assert_eq!((invocation.id, invocation.context.hops), (theirs(1), 1));
    assert_eq!(told(&link.give(answer(1))), ["acknowledge", "send 1"]);
    assert_eq!(link.machine.performing(), 0);
    assert_eq!(link.refused(answer(1)).code, Code::ResponseRefused, "the first answer counts");
}

// DESIGN invariant 4: a repeated request gets its original answer, and nothing is performed again.
#[test]
fn a_request_that_comes_again_in_a_new_frame_gets_its_original_answer() {
    let mut link = connected();
    link.give(Input::Arrived(request(1, 1)));
    assert_eq!(told(&link.give(Input::Arrived(request(2, 1)))), ["confirm 2"], "open: one still");
    link.give(answer(1));
    assert_eq!(told(&link.give(Input::Arrived(request(3, 1)))), ["confirm 3", "send 2"]);
    let bodies: Vec<_> = link.machine.outbox.iter().map(|frame| frame.body.clone()).collect();
    assert_eq!(bodies[0], bodies[1]);
}

#[test]
fn remembered_answers_are_bounded_in_number_and_in_bytes() {
    let mut link = connected().uncompared();
    let mut sequence = 0;
    let mut answer_with = |link: &mut Fed<Link>, document: Text| {
        sequence += 1;
        link.give(Input::Arrived(request(sequence, sequence as u32)));
        let invocation = theirs(sequence as u32);
        link.give(Input::Answer { invocation, outcome: Outcome::Completed(document), asker: None });
        link.give(Input::Confirmed { accepted_through: sequence });
    };
    for _ in 0..ANSWERED_MAX + 10 {
        answer_with(&mut link, text("<Small/>"));
    }
    assert_eq!(link.machine.answered.len(), ANSWERED_MAX);
    let large = text(&format!("<Large>{}</Large>", "x".repeat(ANSWERED_BYTES_MAX / 4)));
    for _ in 0..6 {
        answer_with(&mut link, large.clone());
    }
    assert!(link.machine.answered_bytes <= ANSWERED_BYTES_MAX);
    assert_eq!(link.machine.answered.len(), 3);
    assert_eq!(link.machine.answered.len(), link.machine.answered_order.len());
}

#[test]
fn our_request_is_answered_settled_and_forgotten() {
    let mut link = connected();
    link.give(ask(1));
    assert_eq!(told(&link.give(answered(1, 1))), ["confirm 1", "return"]);
    assert_eq!(told(&link.give(ask(1))), ["return"], "asked again before it is settled: the answer is there");
    link.give(Input::Settle { invocation: ours(1) });
    assert_eq!(link.machine.asked(), 0);
    assert_eq!(told(&link.give(answered(2, 1))), ["confirm 2"], "an answer that nobody asked for");
}

#[test]
fn a_withdrawn_request_is_withdrawn_at_the_peer_unless_it_was_answered() {
    let mut link = connected();
    link.give(ask(1));
    assert_eq!(told(&link.give(Input::Withdraw { invocation: ours(1) })), ["send 2"]);
    link.give(ask(2));
    link.give(answered(1, 2));
    assert_eq!(told(&link.give(Input::Withdraw { invocation: ours(2) })), Vec::<String>::new());
    assert_eq!(link.machine.asked(), 0);
}

#[test]
fn a_withdrawal_by_the_peer_reaches_the_service() {
    let mut link = connected();
    link.give(Input::Arrived(request(1, 1)));
    let body = Body::Withdraw { invocation: theirs(1) };
    assert_eq!(told(&link.give(Input::Arrived(Numbered { sequence: 2, body }))), ["confirm 2", "withdraw from stock"]);
    assert_eq!(link.machine.performing(), 0);
    assert_eq!(link.refused(answer(1)).code, Code::ResponseRefused);
}

// F6: the deadline is kept by whoever performs, also if the caller is away.
#[test]
fn a_request_that_is_not_answered_by_its_deadline_has_expired() {
    let mut link = connected();
    let deadline = link.now.plus_ms(500);
    link.give(changed(1, |invocation| invocation.deadline = Some(deadline)));
    assert_eq!(link.machine.wakes_at(), Some(deadline));
    assert_eq!(told(&link.pass(499)), Vec::<String>::new());
    assert_eq!(told(&link.pass(1)), ["withdraw from stock", "send 1"]);
    assert_eq!((link.machine.wakes_at(), link.machine.performing()), (None, 0));
}

// F7: a peer that lies is refused, and the refusal is its answer.
#[test]
fn a_request_is_refused_that_is_not_the_peers_own_or_crossed_too_many_nodes() {
    type Change = fn(&mut Invocation);
    let cases: [(&str, Code, Change); 5] = [
        ("another organization's transaction", Code::FrameRefused, |it| it.context.organization = organization(3)),
        ("the id of another organization's", Code::FrameRefused, |it| it.id = invocation(1, "check-stock", 1).id),
        ("an id made up", Code::FrameRefused, |it| it.context.attempt = 2),
        ("too many hops", Code::LimitReached, |it| it.context.hops = u8::MAX),
        ("no document", Code::DocumentMalformed, |it| it.document = Text::trusted("<Order>")),
    ];
    for (what, code, change) in cases {
        let mut link = connected();
        assert_eq!(told(&link.give(changed(1, change))), ["confirm 1", "send 1"], "{what}");
        assert_eq!((refusal(&link), link.machine.performing()), (code, 0), "{what}");
    }
}

#[test]
fn an_answer_of_a_peer_that_is_no_document_is_a_failure() {
    let mut link = connected();
    link.give(ask(1));
    let outcome = Outcome::Completed(Text::trusted("<a><b></a>"));
    let body = Body::Answer { invocation: ours(1), service: None, outcome };
    let came = link.give(Input::Arrived(Numbered { sequence: 1, body }));
    assert_eq!(told(&came), ["confirm 1", "return document-malformed"]);
}

// F5: private services do not exist for peers, whoever else signed up for the same operation.
#[test]
fn a_private_service_is_never_chosen_for_a_peer() {
    let mut link = connected();
    for number in 1..=50 {
        let came = link.give(Input::Arrived(request(u64::from(number), number)));
        assert_eq!(told(&came)[1], "offer to stock");
    }
    let by_name = |name: &str, operation: &str| Target {
        operation: operation.parse().unwrap(),
        service: Some(name.parse().unwrap()),
    };
    for (sequence, target) in [(51, by_name("vault", "open-vault")), (52, by_name("stock", "open-vault"))] {
        link.give(changed(sequence, |invocation| {
            invocation.target = target;
            invocation.context.attempt = sequence as u32;
            invocation.id = InvocationId::new(&organization(2), TransactionId(7), 1, 0, sequence as u32);
        }));
        assert_eq!(refusal(&link), Code::NoPerformer);
    }
}

#[test]
fn a_peer_that_never_had_or_lost_frames_is_told_so() {
    let mut link = link();
    assert_eq!(link.refused(Input::Connected { accepted_through: 1 }).code, Code::FrameRefused, "never sent");
    link.give(ask(1));
    link.give(ask(2));
    link.give(Input::Connected { accepted_through: 2 });
    link.give(Input::Disconnected);
    let fault = link.refused(Input::Connected { accepted_through: 1 });
    assert_eq!(fault.code, Code::FrameRefused, "confirmed before");
    assert!(fault.help.is_some());
    link.give(Input::Confirmed { accepted_through: 99 });
    assert_eq!(link.machine.outbox(), 0, "a confirmation of what was never sent changes nothing");
}

// T12, F6: after a restart the peer's requests are offered again, and answers that the caller may not have recorded are given
// again.
#[test]
fn after_a_restart_whatever_may_have_been_lost_is_caused_again() {
    let mut link = connected();
    link.give(Input::Arrived(request(1, 1)));
    link.give(ask(1));
    link.give(ask(2));
    link.give(answered(2, 2));
    let mut words = told(&link.restart());
    words.sort();
    assert_eq!(words, ["inquire", "offer to stock", "return"]);
    assert!(!link.machine.is_connected());
    assert_eq!(told(&link.give(Input::Connected { accepted_through: 0 })), ["send 1 2"]);
}

// Every record is an entry of its own, and a torn tail may end between any two.
#[test]
fn a_refused_request_is_answered_wherever_the_journal_was_cut() {
    let mut link = connected();
    link.give(changed(1, |invocation| invocation.context.hops = u8::MAX));
    for durable in 0..=link.journal.len() {
        let mut copy = connected();
        copy.journal.clone_from(&link.journal);
        copy.restart_with(durable);
        let accepted = copy.machine.accepted_through();
        assert_eq!(copy.machine.outbox() as u64, accepted, "accepted and answered are one");
    }
}

#[test]
fn an_outbox_that_is_full_is_an_answer() {
    let mut link = link().uncompared();
    let frame = Numbered { sequence: 1, body: Body::Withdraw { invocation: ours(1) } };
    link.machine.outbox = std::iter::repeat_n(frame, limit::LINK_OUTBOX_FRAMES_MAX).collect();
    assert_eq!(told(&link.give(ask(1))), ["return busy"]);
    let mut far = invocation(1, "confirm", 2);
    far.context.hops = limit::HOPS_MAX;
    let came = link.give(Input::Ask { caller: TransactionId(7), invocation: far, leg: 0 });
    assert_eq!(told(&came), ["return limit-reached"]);
    assert_eq!(link.machine.asked(), 0);
}

// Topics (T13).

fn price(number: u64) -> crate::session::Notification {
    crate::session::Notification {
        number,
        publication: crate::ident::PublicationId(u128::from(number)),
        published: Moment(5),
        missed: 0,
        document: text("<Price/>"),
    }
}

fn prices() -> crate::ident::TopicName {
    "prices".parse().unwrap()
}

fn forward(number: u64) -> Input {
    Input::Topic(topics::Input::Forward { topic: prices(), notification: price(number) })
}

fn theirs_says(sequence: u64, body: topics::Body) -> Input {
    Input::Arrived(Numbered { sequence, body: Body::Topic(body) })
}

#[test]
fn publications_go_to_a_peer_that_follows_once_and_their_topic_hears_when_the_peer_has_them() {
    let mut link = connected();
    assert!(link.give(forward(1)).effects.is_empty(), "it does not follow");
    link.give(theirs_says(1, topics::Body::Follow { topic: prices() }));
    assert_eq!(told(&link.give(forward(1))), ["send 1"]);
    assert!(link.give(forward(1)).effects.is_empty(), "it is on its way");
    assert_eq!(told(&link.give(forward(4))), ["send 2"]);
    assert_eq!(told(&link.give(Input::Confirmed { accepted_through: 1 })), ["had 1"]);
    link.restart();
    assert_eq!(told(&link.give(forward(1))), ["had 1"], "the topic had not heard of it");
    assert_eq!(told(&link.give(Input::Connected { accepted_through: 2 })), ["had 4"]);
    assert!(link.give(Input::Topic(topics::Input::Inquire { topic: prices() })).effects.is_empty());
    link.give(theirs_says(2, topics::Body::Unfollow { topic: prices() }));
    assert_eq!(link.give(Input::Topic(topics::Input::Inquire { topic: prices() })).effects.len(), 1);
    assert!(link.give(forward(5)).effects.is_empty(), "it follows no more");
}

#[test]
fn what_a_peer_publishes_is_told_until_its_topic_has_it_and_must_be_a_document() {
    let mut link = connected();
    assert_eq!(told(&link.give(Input::Topic(topics::Input::Follow { topic: prices() }))), ["send 1"]);
    assert!(link.give(Input::Topic(topics::Input::Follow { topic: prices() })).effects.is_empty());
    let published = |notification| topics::Body::Published { topic: prices(), notification };
    assert_eq!(told(&link.give(theirs_says(1, published(price(9))))), ["confirm 1", "heard 1"]);
    let torn = crate::session::Notification { document: Text::trusted("<torn"), ..price(10) };
    assert_eq!(told(&link.give(theirs_says(2, published(torn)))), ["confirm 2"]);
    assert!(told(&link.restart()).contains(&"heard 1".to_owned()));
    link.give(Input::Topic(topics::Input::Settle { sequence: 1 }));
    assert!(!told(&link.restart()).contains(&"heard 1".to_owned()));
}
