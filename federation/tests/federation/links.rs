//! One link for each pair of nodes, whoever dials, and again after every loss (F6).

use crate::{
    raw::{Connection, Hello, Packet, Raw, Scene},
    world::{Organization, QUIC, TCP, knowing, options, pair, until},
};
use hansa_core::code::Code;
use hansa_federation::{Event, Frame, Options};

#[tokio::test]
async fn frames_arrive_in_order_in_both_directions_over_tcp_and_quic() {
    for listen in [TCP, QUIC] {
        let (mut one, mut other) = pair(listen).await;
        for number in 0..500 {
            one.position(other.id, number);
            other.position(one.id, 1_000 + number);
        }
        for number in 0..500 {
            assert_eq!(other.frame().await, (one.id, Frame::Position { accepted_through: number }));
            assert_eq!(one.frame().await, (other.id, Frame::Position { accepted_through: 1_000 + number }));
        }
        let traffic = one.handle.peers()[0].traffic;
        assert!((traffic.frames_in, traffic.frames_out, traffic.frames_queued) == (500, 500, 0), "{traffic:?}");
    }
}

#[tokio::test]
async fn nodes_that_dial_each_other_at_once_get_one_link() {
    // Both learn of each other at the same moment; which dial comes first is left to chance, so there are several rounds.
    for _ in 0..5 {
        let founder = Organization::founder("Founder");
        let member = founder.with_member("Member");
        let (mut one, mut other) = (founder.start(options(TCP)), member.start(options(TCP)));
        let (at_one, at_other) = (one.listening().await, other.listening().await);
        let (to_one, to_other) = ([at_one.to_string()], [at_other.to_string()]);
        let (learned, learned_too) = tokio::join!(
            one.handle.learn(member.keys.subnode_id(), &to_other),
            other.handle.learn(founder.keys.subnode_id(), &to_one)
        );
        learned.and(learned_too).unwrap();
        one.up(other.id).await;
        other.up(one.id).await;
        // Each side's frame arrives over the link that the other has, and no link has gone down for another to come up.
        one.position(other.id, 1);
        other.position(one.id, 2);
        for (node, expected) in [(&mut one, 2), (&mut other, 1)] {
            let frame = node.wait("the frame and no other link", |event| match event {
                Event::Arrived { frame, .. } => Some(frame),
                Event::PeerUp { .. } | Event::PeerDown { .. } => panic!("the link was replaced: {event:?}"),
                _ => None,
            });
            assert_eq!(frame.await, Frame::Position { accepted_through: expected });
            assert_eq!((node.handle.peers().len(), node.handle.counters().links_opened), (1, 1));
        }
    }
}

#[tokio::test]
async fn a_link_returns_when_a_stopped_node_comes_back_at_the_same_port() {
    let founder = Organization::founder("Founder");
    let member = founder.with_member("Member");
    let mut one = founder.start(options(TCP));
    let address = one.listening().await;
    let mut other = member.start(knowing(TCP, std::slice::from_ref(&address)));
    one.up(other.id).await;
    let listen = address.to_string().split("/p2p/").next().unwrap().to_owned();
    one.handle.stop().await;
    drop(one);
    assert!(other.down(founder.id()).await.contains("stopped"), "it said goodbye");
    assert!(other.handle.peers().is_empty());
    assert!(other.handle.send(founder.id(), Frame::Digest(vec![])).is_err());
    let mut again = founder.start(options(&listen));
    other.up(founder.id()).await;
    again.up(other.id).await;
    again.position(other.id, 3);
    assert_eq!(other.frame().await, (founder.id(), Frame::Position { accepted_through: 3 }));
}

#[tokio::test]
async fn a_link_returns_when_a_node_vanishes_without_goodbye() {
    let founder = Organization::founder("Founder");
    let member = founder.with_member("Member");
    let mut one = founder.start(options(TCP));
    let address = one.listening().await;
    let (died, death) = std::sync::mpsc::channel();
    let known = knowing(TCP, &[address]);
    let vanishing = member.identity();
    let credentials = member.credentials.clone();
    let options = known.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let start = hansa_federation::Start {
            identity: vanishing,
            credentials,
            terms_hash: crate::world::TERMS,
            options,
            serving: 1,
            duties: std::sync::Arc::new(()),
        };
        let running = runtime.block_on(async { hansa_federation::start(start).unwrap() });
        death.recv().unwrap();
        // The tasks end where they stand, as in a process that is killed; nobody says anything.
        runtime.shutdown_background();
        drop(running);
    });
    one.up(member.id()).await;
    died.send(()).unwrap();
    thread.join().unwrap();
    one.down(member.id()).await;
    let mut again = member.start(known);
    again.up(one.id).await;
    one.up(again.id).await;
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_given_up_though_its_connection_is_open() {
    let mut scene = Scene::with(Options { silence_ms_max: 2_000, ..options(TCP) }).await;
    let raw = Raw::larger_than(scene.founder.keys.subnode_id());
    let mut connection = raw.connect(&scene.address).await;
    connection.link(scene.honest(&raw, &scene.member), false).await;
    scene.node.up(scene.member_id()).await;
    assert!(scene.node.down(scene.member_id()).await.contains("nothing was heard"));
    scene.node.pair_down(raw.subnode()).await;
    // The node itself has said all the time that it is there.
    let mut here = 0;
    while let Some(packet) = connection.receive().await {
        here += usize::from(matches!(packet, Packet::Here));
    }
    assert!(here > 0);
}

#[tokio::test]
async fn a_quiet_peer_is_not_given_up() {
    let founder = Organization::founder("Founder");
    let quick = |options: Options| Options { silence_ms_max: 2_000, ..options };
    let mut one = founder.start(quick(options(TCP)));
    let address = one.listening().await;
    let mut other = founder.with_member("Member").start(quick(knowing(TCP, &[address])));
    one.up(other.id).await;
    other.up(one.id).await;
    let said = other.handle.peers()[0].traffic.bytes_out;
    // Several times the silence that ends a link, in the words that are said meanwhile.
    until("signs of life", || other.handle.peers()[0].traffic.bytes_out > said + 40).await;
    assert_eq!((one.handle.counters().links_opened, other.handle.counters().links_opened), (1, 1));
}

/// A member's node that is linked, played by `raw`; `ended_link` and `incarnation` as in its hello. Whether it becomes the link.
async fn says_hello(scene: &Scene, raw: &Raw, incarnation: u64, ended_link: Option<u64>) -> (Connection, Option<u64>) {
    let mut connection = raw.connect(&scene.address).await;
    let hello = Hello { incarnation, ended_link, ..scene.honest(raw, &scene.member) };
    connection.send(&Packet::Hello(Box::new(hello))).await;
    assert!(matches!(connection.receive().await, Some(Packet::Hello(_))));
    connection.send(&Packet::Welcome).await;
    match connection.receive().await {
        Some(Packet::Open { link }) => {
            connection.attend().await;
            (connection, Some(link))
        }
        Some(Packet::Superseded) => (connection, None),
        other => panic!("neither a link nor another: {other:?}"),
    }
}

#[tokio::test]
async fn a_second_connection_becomes_the_link_only_where_the_first_is_known_to_be_gone() {
    let mut scene = Scene::new().await;
    let raw = Raw::larger_than(scene.founder.keys.subnode_id());
    let member = scene.member_id();
    let (_first, link) = says_hello(&scene, &raw, 1, None).await;
    scene.node.up(member).await;
    assert!(says_hello(&scene, &raw, 1, None).await.1.is_none(), "both dialed at once");
    assert!(says_hello(&scene, &raw, 1, Some(!link.unwrap())).await.1.is_none(), "it speaks of an older one");
    let (_second, second) = says_hello(&scene, &raw, 1, link).await;
    assert!(second.is_some() && second != link, "it knows that the first is gone, and this node did not");
    assert!(scene.node.down(member).await.contains("replaced"));
    scene.node.up(member).await;
    let (mut third, link) = says_hello(&scene, &raw, 2, None).await;
    assert!(link.is_some(), "it has been started anew");
    scene.node.down(member).await;
    scene.node.up(member).await;
    third.send(&Packet::Goodbye).await;
    scene.node.down(member).await;
    assert_eq!(scene.node.handle.counters().refused_here, 0);
}

#[tokio::test]
async fn the_status_shows_who_is_linked_and_how() {
    let (one, other) = pair(TCP).await;
    until("a round trip", || one.handle.peers()[0].round_trip.is_some()).await;
    let peer = one.handle.peers().remove(0);
    assert_eq!((peer.organization, peer.name.as_str(), peer.city.as_str()), (other.id, "Member", "Lübeck"));
    assert!(!peer.dialed && other.handle.peers()[0].dialed);
    assert_eq!(peer.refused, 0);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let founder = Organization::founder("Founder");
    let mut one = founder.start(options(TCP));
    let address = one.listening().await;
    let listen = address.to_string().split("/p2p/").next().unwrap().to_owned();
    let port = listen.rsplit('/').next().unwrap().to_owned();
    let mut second = founder.with_member("Second").start(options(&listen));
    let fault = second.wait("the failure", |event| match event {
        Event::ListenFailed { fault, .. } => Some(fault),
        _ => None,
    });
    let fault = fault.await;
    assert_eq!(fault.code, Code::PortInUse);
    assert!(fault.message.contains(&format!("port {port} ")), "{fault}");
}

#[tokio::test]
async fn options_that_do_not_fit_start_nothing() {
    let founder = Organization::founder("Founder");
    let start = hansa_federation::Start {
        identity: founder.identity(),
        credentials: None,
        terms_hash: [0; 32],
        options: Options { connections_max: 0, ..Options::default() },
        serving: 1,
        duties: std::sync::Arc::new(()),
    };
    assert_eq!(hansa_federation::start(start).err().unwrap().code, Code::ConfigurationInvalid);
}

#[tokio::test]
async fn strangers_leave_the_slots_of_members_free() {
    let founder = Organization::founder("Founder");
    let few = Options { connections_max: 3, connections_for_members: 2, ..options(TCP) };
    let mut one = founder.start(few);
    let address = one.listening().await;
    let member = founder.with_member("Member");
    // The directory told of it, so it is no stranger.
    one.handle.learn(member.keys.subnode_id(), &[]).await.unwrap();
    let held = Raw::new(60).connect(&address).await;
    let mut other = member.start(knowing(TCP, &[address]));
    other.up(one.id).await;
    drop(held);
}
