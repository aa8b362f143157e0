//! What a topic promises (T13): what was acknowledged is kept, every subscriber gets it in order, and what cannot be kept is
//! told.

use super::*;
use crate::{
    fixture::{Came, Fed, asker, organization, text},
    session::{Notification, SessionId, Taken},
};

fn own() -> Fed<Topic> {
    let offers = Offers::new(organization(1), "Acme".parse().unwrap(), [], []);
    Fed::new(TopicAddress::own("prices".parse().unwrap()), offers)
}

pub(super) fn publish(message: u64, id: u128) -> Input {
    let document = text(&format!("<Price of='{id}'/>"));
    Input::Publish { asker: asker(9, message), publication: PublicationId(id), public: id.is_multiple_of(2), document }
}

pub(super) fn subscribe(session: u64, subscriber: &str, credit: u32) -> Input {
    Input::Subscribe { asker: asker(session, 1), subscriber: subscriber.parse().unwrap(), credit }
}

fn taken(session: u64, subscriber: &str, number: u64, word: Taken) -> Input {
    let recipient = Recipient::Session(SessionId(session));
    Input::Taken { subscriber: named(subscriber), recipient, number, word }
}

fn had(session: u64, subscriber: &str, number: u64) -> Input {
    taken(session, subscriber, number, Taken::Had)
}

fn named(subscriber: &str) -> Subscriber {
    Subscriber::Named(subscriber.parse().unwrap())
}

/// The effects in words.
fn words(came: &Came<Topic>) -> Vec<String> {
    came.effects
        .iter()
        .map(|effect| match effect {
            Effect::Notify { session, subscriber, notification } => {
                let missed =
                    if notification.missed > 0 { format!(" missed {}", notification.missed) } else { String::new() };
                format!("{subscriber}@{} gets {}{missed}", session.0, notification.number)
            }
            Effect::Forward { notification, .. } => format!("forward {}", notification.number),
            Effect::Acknowledge { word, .. } => (*word).to_owned(),
            Effect::Settle { sequence } => format!("settle {sequence}"),
            other => format!("{other:?}").to_lowercase(),
        })
        .collect()
}

fn picture(topic: &Fed<Topic>, subscriber: &str) -> SubscriberPicture {
    topic.machine.subscribers().find(|picture| picture.subscriber == named(subscriber)).unwrap()
}

#[test]
fn everybody_gets_everything_after_subscribing_and_it_is_kept_once_until_all_have_it() {
    let mut topic = own();
    assert_eq!(words(&topic.give(subscribe(1, "audit", 8))), ["subscribed"]);
    assert_eq!(words(&topic.give(publish(1, 1))), ["published", "audit@1 gets 1"]);
    topic.give(subscribe(2, "stock", 8));
    assert_eq!(words(&topic.give(publish(2, 2))), ["published", "audit@1 gets 2", "stock@2 gets 2"]);
    assert_eq!(topic.machine.kept(), 2);
    topic.give(had(1, "audit", 1));
    assert_eq!(topic.machine.kept(), 1, "the first is nobody's any more");
    topic.give(had(1, "audit", 2));
    assert_eq!((topic.machine.kept(), picture(&topic, "stock").lag), (1, 1));
    topic.give(had(2, "stock", 2));
    assert_eq!((topic.machine.kept(), topic.machine.kept_bytes()), (0, 0));
}

#[test]
fn a_publication_that_comes_again_is_the_same_and_another_under_its_id_is_refused() {
    let mut topic = own();
    topic.give(subscribe(1, "audit", 8));
    topic.give(publish(1, 7));
    assert_eq!(words(&topic.give(publish(2, 7))), ["repeated"]);
    topic.restart();
    assert_eq!(words(&topic.give(publish(3, 7))), ["repeated"], "also after a restart");
    let document = text("<Other/>");
    let other = Input::Publish { asker: asker(9, 4), publication: PublicationId(7), public: false, document };
    assert_eq!(topic.refused(other).code, Code::PublicationConflict);
    assert_eq!(topic.machine.published(), 1);
}

#[test]
fn who_is_away_gets_what_it_missed_in_order_when_it_is_back_and_nothing_that_it_had() {
    let mut topic = own();
    topic.give(subscribe(1, "audit", 8));
    topic.give(publish(1, 1));
    topic.give(publish(2, 2));
    topic.give(had(1, "audit", 1));
    topic.give(Input::Detach { session: SessionId(1) });
    assert_eq!((picture(&topic, "audit").recipients, picture(&topic, "audit").lag), (0, 1));
    topic.give(publish(3, 3));
    let everything = topic.journal.len();
    topic.restart_with(everything);
    assert_eq!(words(&topic.give(subscribe(5, "audit", 8))), ["resumed", "audit@5 gets 2", "audit@5 gets 3"]);
}

#[test]
fn credit_bounds_what_is_under_way_and_sessions_of_one_name_share_it() {
    let mut topic = own();
    topic.give(subscribe(1, "audit", 1));
    topic.give(subscribe(2, "audit", 1));
    assert_eq!(topic.give(publish(1, 1)).effects.len(), 2);
    assert_eq!(topic.give(publish(2, 2)).effects.len(), 2);
    assert_eq!(words(&topic.give(publish(3, 3))), ["published"], "both hold one");
    let holder = if topic.machine.subscriptions[&named("audit")].holds(Recipient::Session(SessionId(1)), 2).is_some() {
        1
    } else {
        2
    };
    assert_eq!(words(&topic.give(had(holder, "audit", 2))), [format!("audit@{holder} gets 3")]);
    assert_eq!(topic.machine.kept(), 3, "the first is not had yet");
    let other = 3 - holder;
    let gone = topic.give(Input::Detach { session: SessionId(other) });
    assert!(gone.effects.is_empty());
    assert_eq!(
        words(&topic.give(had(holder, "audit", 3))),
        [format!("audit@{holder} gets 1")],
        "it goes to who is left"
    );
    assert!(topic.give(had(other, "audit", 1)).records.is_empty(), "who holds it no more cannot acknowledge it");
}

#[test]
fn what_is_put_off_comes_again_before_all_else_and_what_is_refused_does_not() {
    let mut topic = own();
    topic.give(subscribe(1, "audit", 1));
    topic.give(publish(1, 1));
    topic.give(publish(2, 2));
    assert!(words(&topic.give(taken(1, "audit", 1, Taken::Later { pause_ms: 500 }))).is_empty(), "the order is kept");
    assert_eq!(words(&topic.pass(499)), Vec::<String>::new());
    assert_eq!(words(&topic.pass(1)), ["audit@1 gets 1"]);
    assert_eq!(words(&topic.give(taken(1, "audit", 1, Taken::Refused))), ["audit@1 gets 2"]);
    assert_eq!((picture(&topic, "audit").refused, picture(&topic, "audit").lag), (1, 1));
}

#[test]
fn a_full_topic_makes_publishers_wait_for_who_is_there_and_drops_the_oldest_for_who_is_away() {
    let mut topic = own().uncompared();
    topic.give(subscribe(1, "audit", 1));
    let size = limit::TOPIC_BYTES_MAX / 4 - PUBLICATION_BYTES;
    let large = |id: u128| {
        let document = Text::trusted(format!("<L>{}</L>", "x".repeat(size - 7)));
        Input::Publish { asker: asker(9, id as u64), publication: PublicationId(id), public: false, document }
    };
    for id in 1..=4 {
        topic.give(large(id));
    }
    assert_eq!(topic.refused(large(5)).code, Code::Busy);
    topic.now = topic.now.plus_ms(limit::SUBSCRIBER_STALL_MS_MAX);
    topic.give(large(5));
    assert_eq!(
        (topic.machine.kept(), picture(&topic, "audit").missed),
        (4, 1),
        "it stands still, so it holds up nobody"
    );
    topic.give(Input::Detach { session: SessionId(1) });
    let dropped = topic.give(large(6));
    assert!(dropped.records.contains(&Record::Dropped { through: 2, missed: 1 }), "and it is counted");
    topic.restart();
    let back = topic.give(subscribe(2, "audit", 2));
    assert_eq!(
        words(&back),
        ["resumed", "audit@2 gets 3 missed 2"],
        "told once, with the next; large ones go one by one"
    );
    topic.give(had(2, "audit", 3));
    topic.give(Input::Detach { session: SessionId(2) });
    assert_eq!(
        words(&topic.give(subscribe(3, "audit", 1))),
        ["resumed", "audit@3 gets 4"],
        "what was told is not told again"
    );
}

#[test]
fn nothing_is_kept_longer_than_the_limit_says() {
    let mut topic = own();
    topic.give(subscribe(1, "audit", 1));
    topic.give(publish(1, 1));
    topic.give(Input::Detach { session: SessionId(1) });
    topic.pass(limit::TOPIC_KEEP_MS_MAX - 1);
    assert_eq!(topic.machine.kept(), 1);
    topic.pass(1);
    assert_eq!((topic.machine.kept(), picture(&topic, "audit").missed), (0, 1));
}

#[test]
fn an_ended_subscription_holds_nothing_and_a_topic_without_any_is_as_new() {
    let mut topic = own();
    topic.give(publish(1, 1));
    assert!(!topic.machine.is_open() && !topic.machine.is_kept(), "published to nobody");
    topic.give(subscribe(1, "audit", 8));
    topic.give(subscribe(2, "stock", 8));
    topic.give(publish(2, 2));
    topic.give(had(1, "audit", 1));
    let ends = |name: &str| Input::Unsubscribe { asker: asker(3, 3), subscriber: name.parse().unwrap() };
    assert_eq!(words(&topic.give(ends("stock"))), ["unsubscribed"]);
    assert_eq!(topic.machine.kept(), 0, "nobody else needed it");
    assert_eq!(words(&topic.give(ends("stock"))), ["not-subscribed"]);
    topic.give(ends("audit"));
    assert!(!topic.machine.is_open() && !topic.machine.is_kept());
    assert_eq!(topic.machine.published(), 0);
}

#[test]
fn subscribers_are_bounded() {
    let mut topic = own().uncompared();
    for number in 0..limit::TOPIC_SUBSCRIBERS_MAX {
        topic.give(subscribe(1, &format!("s{number}"), 1));
    }
    assert_eq!(topic.refused(subscribe(1, "one-more", 1)).code, Code::LimitReached);
    topic.give(subscribe(2, "s0", 1));
}

// Across the federation.

#[test]
fn a_peer_gets_what_is_public_and_nothing_else_and_never_holds_up_what_is_private() {
    let mut topic = own();
    topic.give(Input::Follow { peer: organization(2) });
    assert_eq!(words(&topic.give(publish(1, 1))), ["published"], "private");
    assert_eq!(topic.machine.kept(), 0);
    assert_eq!(words(&topic.give(publish(2, 2))), ["published", "forward 2"]);
    topic.give(publish(3, 3));
    assert_eq!(topic.machine.kept(), 2);
    let restarted = topic.restart();
    assert_eq!(words(&restarted).last().unwrap(), "forward 2", "the link may not have it");
    let (subscriber, recipient) = (Subscriber::Peer(organization(2)), Recipient::Link);
    topic.give(Input::Taken { subscriber, recipient, number: 2, word: Taken::Had });
    assert_eq!(topic.machine.kept(), 0);
    topic.give(Input::Unfollow { peer: organization(2) });
    assert!(!topic.machine.is_open());
}

#[test]
fn a_topic_of_a_peer_is_followed_while_somebody_subscribes_and_takes_each_frame_once() {
    let address = TopicAddress { organization: Some(organization(2)), name: "prices".parse().unwrap() };
    let peer = crate::offer::PeerOffer {
        organization: organization(2),
        name: "Birch".parse().unwrap(),
        city: "Hamburg".parse().unwrap(),
        services: Vec::new(),
    };
    let offers = Offers::new(organization(1), "Acme".parse().unwrap(), [], [peer]);
    let mut topic = Fed::<Topic>::new(address, offers);
    assert_eq!(words(&topic.give(subscribe(1, "audit", 8))), ["follow", "subscribed"]);
    let heard = |sequence, missed| Input::Heard {
        sequence,
        notification: Notification {
            number: 900,
            publication: PublicationId(u128::from(sequence)),
            published: Moment(5),
            missed,
            document: text("<Price/>"),
        },
    };
    assert_eq!(words(&topic.give(heard(4, 0))), ["settle 4", "audit@1 gets 1"]);
    assert_eq!(words(&topic.give(heard(4, 0))), ["settle 4"], "the link had not heard that it is settled");
    assert_eq!(words(&topic.give(heard(7, 3))), ["settle 7", "audit@1 gets 2 missed 3"]);
    assert_eq!(words(&topic.restart()), ["follow"], "the link may not have it");
    assert!(topic.give(Input::Inquire).effects.is_empty());
    let ended = topic.give(Input::Unsubscribe { asker: asker(1, 2), subscriber: "audit".parse().unwrap() });
    assert_eq!(words(&ended), ["unfollow", "unsubscribed"]);
    assert_eq!(words(&topic.give(Input::Inquire)), ["unfollow"]);
    assert_eq!(words(&topic.give(heard(8, 0))), ["settle 8"], "nobody wants it any more");
}

#[test]
fn a_topic_of_a_stranger_or_of_oneself_is_refused() {
    for number in [1, 3] {
        let address = TopicAddress { organization: Some(organization(number)), name: "prices".parse().unwrap() };
        let offers = Offers::new(organization(1), "Acme".parse().unwrap(), [], []);
        assert_eq!(Fed::<Topic>::new(address, offers).refused(subscribe(1, "audit", 8)).code, Code::MemberUnknown);
    }
}
