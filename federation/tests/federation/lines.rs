//! Emulated lines under real nodes: delay, cut and healing (the test network's cities).

use crate::world::{Organization, TCP, knowing, options, until};
use hansa_federation::{Event, Frame, Latency, Multiaddr, Options, Unsent};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

fn socket(address: &Multiaddr) -> SocketAddr {
    let text = address.to_string();
    let parts: Vec<_> = text.split('/').collect();
    format!("{}:{}", parts[2], parts[4]).parse().unwrap()
}

fn line(address: &Multiaddr, one_way_ms: u32, cut: bool) -> Vec<Latency> {
    vec![Latency { destination: socket(address), one_way_ms, jitter_ms: 0, cut }]
}

#[tokio::test]
async fn a_round_trip_takes_at_least_twice_the_way_whoever_begins() {
    let founder = Organization::founder("Founder");
    let mut one = founder.start(options(TCP));
    let address = one.listening().await;
    let options = Options { latency_emulation: line(&address, 60, false), ..knowing(TCP, &[address]) };
    let mut other = founder.with_member("Member").start(options);
    other.up(one.id).await;
    one.up(other.id).await;
    let (first, second) = (one.id, other.id);
    for _ in 0..2 {
        let begun = Instant::now();
        one.position(second, 1);
        assert_eq!(other.frame().await.0, first);
        other.position(first, 2);
        assert_eq!(one.frame().await.0, second);
        assert!(begun.elapsed() >= Duration::from_millis(120), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_cut_line_parts_two_members_until_it_is_healed() {
    let founder = Organization::founder("Founder");
    let mut one = founder.start(options(TCP));
    let address = one.listening().await;
    let mut other = founder.with_member("Member").start(knowing(TCP, std::slice::from_ref(&address)));
    other.up(one.id).await;
    one.up(other.id).await;
    for one_way_ms in [0, 5] {
        // What other dials, and what one could dial, is cut.
        let back = other.handle.addresses().remove(0);
        other.handle.set_emulation(line(&address, one_way_ms, true)).await.unwrap();
        one.handle.set_emulation(line(&back, one_way_ms, true)).await.unwrap();
        other.down(one.id).await;
        one.down(other.id).await;
        assert_eq!(other.handle.send(one.id, Frame::Digest(vec![])), Err(Unsent::Disconnected));
        let failed = other.handle.counters().dials_failed;
        until("two dials in vain", || other.handle.counters().dials_failed >= failed + 2).await;
        other.handle.set_emulation(line(&address, one_way_ms, false)).await.unwrap();
        one.handle.set_emulation(line(&back, one_way_ms, false)).await.unwrap();
        other.up(one.id).await;
        one.up(other.id).await;
        other.position(one.id, 9);
        let arrived = one.wait("the frame", |event| match event {
            Event::Arrived { frame, .. } => Some(frame),
            _ => None,
        });
        assert_eq!(arrived.await, Frame::Position { accepted_through: 9 });
    }
}
