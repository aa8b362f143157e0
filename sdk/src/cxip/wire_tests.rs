//! What a connection promises, over a stream in memory and with a clock that the test moves.

use super::{Ended, Incoming, Message, Wire, encode, tests::text};
use bytes::BytesMut;
use hansa_core::{
    code::{Code, Fault},
    ident::{InvocationId, TransactionId},
    limit,
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    time::{Instant, sleep, timeout},
};

const QUERY: Message = Message::Query { transaction: TransactionId(5) };

fn pair() -> (Wire<DuplexStream>, Wire<DuplexStream>) {
    let (one, other) = duplex(64 * 1024);
    (Wire::new(one, 4), Wire::new(other, 4))
}

/// Let one end know the other's credit, and answer nothing but probes.
async fn greet(one: &mut Wire<DuplexStream>, other: &mut Wire<DuplexStream>) {
    one.grant(4);
    other.grant(4);
    while !(one.may_send() && other.may_send()) {
        tokio::select! {
            incoming = one.receive() => panic!("{incoming:?}"),
            incoming = other.receive() => panic!("{incoming:?}"),
            () = sleep(Duration::from_millis(1)) => (),
        }
    }
}

// T14: presence.
#[tokio::test(start_paused = true)]
async fn two_quiet_ends_stay_connected_because_they_ask_each_other_for_signs_of_life() {
    let (mut one, mut other) = pair();
    let quiet = Duration::from_millis(limit::CXIP_SILENCE_MS_MAX * 10);
    tokio::select! {
        ended = one.receive() => panic!("{ended:?}"),
        ended = other.receive() => panic!("{ended:?}"),
        () = sleep(quiet) => (),
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_shows_no_sign_of_life_is_given_up_in_time() {
    let (stream, _kept) = duplex(64 * 1024);
    let (mut wire, begun) = (Wire::new(stream, 4), Instant::now());
    assert!(matches!(wire.receive().await, Err(Ended::Silent)));
    let waited = begun.elapsed().as_millis() as u64;
    assert!(
        (limit::CXIP_SILENCE_MS_MAX..=limit::CXIP_SILENCE_MS_MAX + limit::CXIP_PROBE_MS).contains(&waited),
        "{waited}"
    );
}

// M3: whoever has somewhere else to go finds out sooner, without the other end knowing of it.
#[tokio::test(start_paused = true)]
async fn an_end_that_watches_closely_gives_up_a_silent_other_sooner_and_a_quiet_one_never() {
    let (probe, silence_max) = (Duration::from_secs(1), Duration::from_secs(3));
    let (stream, _kept) = duplex(64 * 1024);
    let (mut wire, begun) = (Wire::new(stream, 4), Instant::now());
    wire.watch(probe, silence_max);
    assert!(matches!(wire.receive().await, Err(Ended::Silent)));
    assert!((silence_max..=silence_max + probe).contains(&begun.elapsed()), "on the clock of the test");
    let (mut one, mut other) = pair();
    one.watch(probe, silence_max);
    tokio::select! {
        ended = one.receive() => panic!("{ended:?}"),
        ended = other.receive() => panic!("{ended:?}"),
        () = sleep(silence_max * 100) => (),
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_given_up_loses_no_bytes_in_either_direction() {
    let (mut one, mut other) = pair();
    greet(&mut one, &mut other).await;
    let document = text(&format!("<a>{}</a>", "x".repeat(300_000)));
    let message = Message::Completed { invocation: InvocationId(1), service: "s".parse().unwrap(), document };
    let number = one.send(0, &message).unwrap();
    let arrived = loop {
        // Each wait is dropped after a moment, with part of the message written and part of it read.
        if let Ok(incoming) = timeout(Duration::from_millis(1), other.receive()).await {
            break incoming.unwrap();
        }
        assert!(timeout(Duration::from_millis(1), one.receive()).await.is_err());
    };
    assert_eq!(arrived, Incoming::Message { number, correlation: 0, message });
}

// T13: every message but an Acknowledge is acknowledged, once.
#[tokio::test(start_paused = true)]
async fn a_message_is_answered_once_and_credit_comes_back_with_the_answer() {
    let (mut one, mut other) = pair();
    greet(&mut one, &mut other).await;
    let numbers: Vec<_> = (0..4).map(|_| one.send(0, &QUERY).unwrap()).collect();
    assert!(!one.may_send(), "the credit is used up");
    for number in &numbers {
        let arrived = tokio::select! {
            incoming = other.receive() => incoming.unwrap(),
            incoming = one.receive() => panic!("{incoming:?}"),
        };
        assert_eq!(arrived, Incoming::Message { number: *number, correlation: 0, message: QUERY });
    }
    // In another order, and one of them twice.
    other.refuse(numbers[2], Fault::new(Code::Busy, "later"));
    other.acknowledge(numbers[0], Default::default());
    other.acknowledge(numbers[0], Default::default());
    other.acknowledge(numbers[1], Default::default());
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(tokio::select! {
            incoming = one.receive() => incoming.unwrap(),
            incoming = other.receive() => panic!("{incoming:?}"),
        });
    }
    let Incoming::Refused { message, refusal } = &answers[0] else { panic!("{answers:?}") };
    assert_eq!((*message, refusal.retry_after_ms), (numbers[2], Some(limit::BUSY_RETRY_MS)));
    let acknowledged = answers[1..].iter().map(|answer| match answer {
        Incoming::Acknowledged { message, .. } => *message,
        other => panic!("{other:?}"),
    });
    assert!(acknowledged.eq(numbers[..2].iter().copied()));
    assert!(one.may_send() && one.is_waiting());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_answers_is_not_read_from_any_more() {
    let (stream, mut peer) = duplex(1024);
    let mut wire = Wire::new(stream, u32::MAX);
    let asking = async {
        let mut bytes = BytesMut::new();
        let mut number = 0;
        loop {
            number += 1;
            bytes.clear();
            encode(&mut bytes, number, 0, 1, &QUERY).unwrap();
            // The peer only ever writes.
            if timeout(Duration::from_millis(limit::CXIP_SILENCE_MS_MAX * 2), peer.write_all(&bytes)).await.is_err() {
                return number;
            }
        }
    };
    let answering = async {
        loop {
            match wire.receive().await {
                Ok(Incoming::Message { number, .. }) => wire.acknowledge(number, Default::default()),
                Ok(other) => panic!("{other:?}"),
                Err(ended) => return ended,
            }
        }
    };
    tokio::select! {
        messages = asking => panic!("the writer was held for ever, at message {messages}"),
        ended = answering => assert!(matches!(ended, Ended::Silent), "{ended}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_words_are_heard() {
    let (stream, mut peer) = duplex(64);
    let mut wire = Wire::new(stream, 4);
    wire.refuse_all(Fault::new(Code::LimitReached, "x".repeat(1_000)));
    let listening = tokio::spawn(async move {
        let mut heard = Vec::new();
        peer.read_to_end(&mut heard).await.unwrap();
        heard.len()
    });
    wire.finish().await;
    assert!(listening.await.unwrap() > 1_000);
}

fn answer(invocation: u128, bytes: usize) -> Message {
    let document = text(&format!("<a>{}</a>", "x".repeat(bytes)));
    Message::Completed { invocation: InvocationId(invocation), service: "s".parse().unwrap(), document }
}

// T14: a large document does not hold up what is small.
#[tokio::test(start_paused = true)]
async fn what_is_small_overtakes_what_is_large() {
    let (mut one, mut other) = pair();
    greet(&mut one, &mut other).await;
    let large = one.send(0, &answer(1, 2_000_000)).unwrap();
    // The pipe is full of it before the small one is sent.
    assert!(timeout(Duration::from_millis(1), one.receive()).await.is_err());
    let small = one.send(0, &QUERY).unwrap();
    let mut arrived = Vec::new();
    while arrived.len() < 2 {
        let incoming = tokio::select! {
            incoming = other.receive() => incoming.unwrap(),
            incoming = one.receive() => panic!("{incoming:?}"),
        };
        let Incoming::Message { number, .. } = incoming else { panic!("{incoming:?}") };
        arrived.push(number);
    }
    assert_eq!(arrived, [small, large]);
}

// T14: back-pressure in both directions holds nobody up for ever.
// T14: numbers grow, also where a large message and small ones are sent in one go, and where more are large than may be
// under way at once.
#[tokio::test(start_paused = true)]
async fn what_is_sent_after_a_large_message_does_not_come_before_its_beginning() {
    let (left, right) = duplex(64 * 1024);
    let (mut one, mut other) = (Wire::new(left, 64), Wire::new(right, 64));
    greet(&mut one, &mut other).await;
    let document = text(&format!("<a>{}</a>", "x".repeat(300_000)));
    let large = Message::Completed { invocation: InvocationId(1), service: "s".parse().unwrap(), document };
    let mut sent = Vec::new();
    for _ in 0..limit::CXIP_FRAGMENTED_MAX + 2 {
        sent.push((one.send(0, &large).unwrap(), large.clone()));
        sent.push((one.send(0, &QUERY).unwrap(), QUERY));
    }
    let mut came = Vec::new();
    while came.len() < sent.len() {
        let arrived = tokio::select! {
            incoming = other.receive() => incoming.unwrap(),
            incoming = one.receive() => panic!("{incoming:?}"),
        };
        let Incoming::Message { number, message, .. } = arrived else { panic!("{arrived:?}") };
        came.push((number, message));
    }
    came.sort_by_key(|(number, _)| *number);
    assert_eq!(came, sent);
}

#[tokio::test(start_paused = true)]
async fn two_ends_that_send_each_other_large_documents_through_a_narrow_pipe_both_get_on() {
    const EACH: u128 = 8;
    async fn exchange(mut wire: Wire<DuplexStream>) {
        let (mut sent, mut arrived, mut taken) = (0, 0, 0);
        while arrived < EACH || taken < EACH {
            while sent < EACH && wire.may_send() {
                sent += 1;
                wire.send(0, &answer(sent, 400_000)).unwrap();
            }
            match wire.receive().await.unwrap() {
                Incoming::Message { number, .. } => {
                    arrived += 1;
                    wire.acknowledge(number, Default::default());
                }
                Incoming::Acknowledged { .. } => taken += 1,
                other => panic!("{other:?}"),
            }
        }
        // The other side may still wait for the last acknowledgement.
        let _ = timeout(Duration::from_secs(5), wire.receive()).await;
    }
    let (one, other) = duplex(4 * 1024);
    let (mut one, mut other) = (Wire::new(one, 4), Wire::new(other, 4));
    greet(&mut one, &mut other).await;
    tokio::join!(exchange(one), exchange(other));
}

#[tokio::test(start_paused = true)]
async fn a_large_message_that_is_refused_half_way_is_cut_short_and_the_connection_goes_on() {
    let (stream, other) = duplex(64 * 1024);
    // The other end has no room for so much.
    let mut other = Wire::within(super::Budget::new(200_000), other, 4);
    let mut one = Wire::new(stream, 4);
    greet(&mut one, &mut other).await;
    let large = one.send(0, &answer(1, 2_000_000)).unwrap();
    let refused = tokio::select! {
        incoming = one.receive() => incoming.unwrap(),
        incoming = other.receive() => panic!("{incoming:?}"),
    };
    let Incoming::Refused { message, refusal } = refused else { panic!("{refused:?}") };
    assert_eq!((message, refusal.fault.code, refusal.retry_after_ms), (large, Code::Busy, Some(limit::BUSY_RETRY_MS)));
    let next = one.send(0, &answer(2, 100_000)).unwrap();
    let arrived = tokio::select! {
        incoming = other.receive() => incoming.unwrap(),
        incoming = one.receive() => panic!("{incoming:?}"),
    };
    assert!(matches!(arrived, Incoming::Message { number, .. } if number == next), "{arrived:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_fragments_stay_away_is_refused_and_the_connection_goes_on() {
    let (stream, mut peer) = duplex(64 * 1024);
    let mut wire = Wire::new(stream, 4);
    let mut bytes = BytesMut::new();
    encode(&mut bytes, 1, 0, 4, &answer(1, 100_000)).unwrap();
    let alive = async {
        peer.write_all(&bytes[..70_000]).await.unwrap();
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("message-incomplete") {
            peer.read_buf(&mut heard).await.unwrap();
            // Signs of life: more of the same fragment, which never ends.
            peer.write_all(&bytes[70_000..70_001]).await.unwrap();
        }
    };
    tokio::select! {
        incoming = wire.receive() => panic!("{incoming:?}"),
        () = alive => (),
    }
}
