//! Credits: whatever a sender wants, a slow receiver holds no more than the window, and nothing is lost or reordered.

use crate::world::{TCP, pair, until};
use hansa_core::{ident::OrganizationId, signed::Signed};
use hansa_federation::{Event, Frame, PACKET_BYTES_MAX, QUEUE_FRAMES_MAX, Unsent};

const FRAMES: u64 = 100_000;
/// Frames that the receiver may hold untaken (docs/protocols/federation.md).
const WINDOW_FRAMES: u64 = 1_024;

fn signed(bytes: usize) -> Signed {
    Signed { by: OrganizationId([3; 32]), bytes: vec![1; bytes], signature: vec![2; 64] }
}

#[tokio::test]
async fn many_frames_reach_a_slow_receiver_in_order_with_bounded_memory() {
    let (one, mut other) = pair(TCP).await;
    let (sender, to, from) = (one.handle.clone(), other.id, one.id);
    let mut writable = one.events;
    let sending = tokio::spawn(async move {
        let mut full = 0;
        for number in 0..FRAMES {
            while let Err(unsent) = sender.send(to, Frame::Position { accepted_through: number }) {
                assert_eq!(unsent, Unsent::Full);
                full += 1;
                // The node is told when there is room again, instead of asking.
                while !matches!(writable.recv().await, Some(Event::Writable { organization }) if organization == to) {}
            }
        }
        (full, writable)
    });
    // At first nothing is taken at all: the sender comes to a halt with its queue full and the window used up.
    let frames_in = || other.handle.peers()[0].traffic.frames_in;
    until("a window of frames", || frames_in() >= WINDOW_FRAMES).await;
    assert_eq!(frames_in(), WINDOW_FRAMES);
    for expected in 0..FRAMES {
        let taken = other.handle.peers()[0].traffic.frames_in;
        assert!(taken <= expected + WINDOW_FRAMES, "{taken} frames came while {expected} were taken");
        assert_eq!(other.frame().await, (from, Frame::Position { accepted_through: expected }));
    }
    let (full, _writable) = sending.await.unwrap();
    assert!(full >= (FRAMES - QUEUE_FRAMES_MAX as u64) / QUEUE_FRAMES_MAX as u64 / 2, "{full}");
}

#[tokio::test]
async fn the_credit_is_the_events_so_a_receiver_that_keeps_them_gets_no_more() {
    let (one, mut other) = pair(TCP).await;
    for number in 0..2 * WINDOW_FRAMES {
        one.position(other.id, number);
    }
    let mut kept = Vec::new();
    for _ in 0..WINDOW_FRAMES {
        kept.push(other.wait("a frame", |event| matches!(event, Event::Arrived { .. }).then_some(event)).await);
    }
    assert_eq!(other.handle.peers()[0].traffic.frames_in, WINDOW_FRAMES);
    drop(kept);
    assert_eq!(other.frame().await.1, Frame::Position { accepted_through: WINDOW_FRAMES });
}

#[tokio::test]
async fn the_largest_frame_arrives_whole_and_a_larger_one_is_not_taken() {
    let (one, mut other) = pair(TCP).await;
    assert_eq!(one.handle.send(other.id, Frame::Confirm(signed(PACKET_BYTES_MAX))), Err(Unsent::TooLarge));
    let large = Frame::Confirm(signed(PACKET_BYTES_MAX - 1_000));
    one.handle.send(other.id, large.clone()).unwrap();
    assert!(other.frame().await.1 == large);
    // It was larger than the window of bytes; what follows is not held up by that for ever.
    one.position(other.id, 1);
    assert_eq!(other.frame().await.1, Frame::Position { accepted_through: 1 });
}

#[tokio::test]
async fn a_node_that_takes_no_events_does_not_stop_its_swarm() {
    let (one, other) = pair(TCP).await;
    for number in 0..3_000 {
        one.position(other.id, number);
    }
    // The other's event queue is full and stays so; its connections are still answered, so a round trip is measured.
    until("a full window and a round trip", || {
        let peer = one.handle.peers().remove(0);
        peer.traffic.frames_out >= WINDOW_FRAMES && peer.round_trip.is_some()
    })
    .await;
    assert!(one.handle.peers()[0].traffic.frames_queued > 0);
    other.handle.stop().await;
}
