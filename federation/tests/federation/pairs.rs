//! Pairs: which sub-node of an organization others speak to, and what the two say to each other (M1, M4).

use crate::{
    raw::{Packet, Raw, Scene},
    world::{Node, Organization, TCP, TERMS, knowing, options, until},
};
use hansa_core::code::{Code, Fault};
use hansa_federation::{DutyEvent, Event, Frame, Keys, Latency, Multiaddr, Options, PairingSecret, Unsent};

/// A sub-node that serves at that epoch, and where it listens.
async fn subnode(of: &Organization, serving: u64, known: &[Multiaddr]) -> (Node, Multiaddr) {
    let mut node = of.start_serving(serving, TERMS, knowing(TCP, known));
    let address = node.listening().await;
    (node, address)
}

/// What a node is told about another organization: which of its sub-nodes is up or down, or the number of a frame.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Up(&'static str),
    Down(&'static str),
    Frame(&'static str, u64),
}

/// The next that `node` hears; sub-nodes by these names.
async fn hears(node: &mut Node, names: &[(&Organization, &'static str)]) -> Heard {
    let name = |subnode| {
        let known = names.iter().find(|(of, _)| of.keys.subnode_id() == subnode);
        known.expect("nobody else is up").1
    };
    node.wait("news of the organization", |event| match event {
        Event::PeerUp { subnode, .. } => Some(Heard::Up(name(subnode))),
        Event::PeerDown { subnode, .. } => Some(Heard::Down(name(subnode))),
        Event::Arrived { subnode, frame: Frame::Position { accepted_through }, .. } => {
            Some(Heard::Frame(name(subnode), accepted_through))
        }
        _ => None,
    })
    .await
}

#[tokio::test]
async fn two_subnodes_of_an_organization_are_linked_and_never_peers_of_each_other() {
    let one = Organization::founder("Founder");
    let two = one.partner();
    let (mut first, address) = subnode(&one, 3, &[]).await;
    let (mut second, _) = subnode(&two, 0, &[address]).await;
    assert_eq!(first.pair_up(second.subnode).await, one.id());
    assert_eq!(second.pair_up(first.subnode).await, one.id());
    first.handle.tell(second.subnode, b"append".to_vec()).unwrap();
    assert_eq!(second.told().await, (first.subnode, b"append".to_vec()));
    second.handle.tell(first.subnode, b"acknowledge".to_vec()).unwrap();
    assert_eq!(first.told().await, (second.subnode, b"acknowledge".to_vec()));
    // Even if both serve, as for a moment at a switch.
    second.handle.set_serving(4);
    until("the epochs", || first.handle.peers()[0].serving == 4 && second.handle.peers()[0].serving == 3).await;
    assert_eq!(first.handle.send(one.id(), Frame::Digest(vec![])), Err(Unsent::Disconnected));
    first.handle.stop().await;
    second.pair_down(first.subnode).await;
    assert!(second.handle.tell(first.subnode, b"late".to_vec()).is_err());
    for node in [&mut first, &mut second] {
        while let Ok(event) = node.events.try_recv() {
            assert!(
                !matches!(event, Event::PeerUp { .. } | Event::PeerDown { .. } | Event::Arrived { .. }),
                "{event:?}"
            );
        }
        assert!(!node.handle.peers().iter().any(|peer| peer.up));
    }
}

// M4: others speak to the sub-node that serves, and change over when another does.
#[tokio::test]
async fn frames_go_to_the_subnode_with_the_highest_epoch_and_the_old_one_is_down_before_the_new_one_is_up() {
    let founder = Organization::founder("Founder");
    let (mut peer, address) = subnode(&founder, 1, &[]).await;
    let one = founder.with_member("Pair");
    let two = one.partner();
    let names = [(&one, "one"), (&two, "two"), (&founder, "peer")];
    let (mut first, at_first) = subnode(&one, 3, std::slice::from_ref(&address)).await;
    assert_eq!(hears(&mut peer, &names).await, Heard::Up("one"));
    assert_eq!(hears(&mut first, &names).await, Heard::Up("peer"));
    let (mut second, _) = subnode(&two, 0, &[address, at_first]).await;
    peer.pair_up(second.subnode).await;
    first.pair_up(second.subnode).await;
    assert_eq!(second.handle.send(peer.id, Frame::Digest(vec![])), Err(Unsent::Disconnected), "it does not serve");
    peer.position(one.id(), 1);
    assert_eq!(hears(&mut first, &names).await, Heard::Frame("peer", 1));

    // The second takes over, and nobody told the first.
    second.handle.set_serving(4);
    assert_eq!(hears(&mut peer, &names).await, Heard::Down("one"));
    assert_eq!(hears(&mut peer, &names).await, Heard::Up("two"));
    assert_eq!(
        hears(&mut first, &names).await,
        Heard::Down("peer"),
        "the peer does not take it for the active any more"
    );
    assert_eq!(hears(&mut second, &names).await, Heard::Up("peer"));
    peer.position(one.id(), 2);
    assert_eq!(hears(&mut second, &names).await, Heard::Frame("peer", 2));
    second.position(peer.id, 3);
    assert_eq!(hears(&mut peer, &names).await, Heard::Frame("two", 3));
    assert_eq!(first.handle.send(peer.id, Frame::Digest(vec![])), Err(Unsent::Disconnected));

    // The second is gone: the first is still the one of an epoch that is over.
    second.handle.stop().await;
    assert_eq!(hears(&mut peer, &names).await, Heard::Down("two"));
    let serving = peer.handle.peers().iter().map(|peer| (peer.serving, peer.up)).collect::<Vec<_>>();
    assert_eq!(serving, [(3, false)], "its link is there, as a witness needs it");
    first.handle.set_serving(5);
    assert_eq!(hears(&mut peer, &names).await, Heard::Up("one"));
    assert_eq!(hears(&mut first, &names).await, Heard::Up("peer"));
    first.position(peer.id, 4);
    assert_eq!(hears(&mut peer, &names).await, Heard::Frame("one", 4));
}

/// Both say something whenever they are up, until each has heard the other in the stretch of time that it takes for the current.
async fn speak(one: &mut Node, other: &mut Node) {
    let (mut first, mut second) = (false, false);
    while !(first && second) {
        let (spoken_to, event) = tokio::select! {
            event = one.events.recv() => (true, event),
            event = other.events.recv() => (false, event),
            () = tokio::time::sleep(crate::world::PATIENCE) => panic!("one of them waits in vain: {first}, {second}"),
        };
        let (node, peer, heard) = if spoken_to { (&*one, &*other, &mut first) } else { (&*other, &*one, &mut second) };
        match event.expect("both run") {
            Event::PeerUp { .. } => {
                *heard = false;
                let _ = node.handle.send(peer.id, Frame::Position { accepted_through: 1 });
            }
            Event::PeerDown { .. } => *heard = false,
            Event::Arrived { .. } => *heard = true,
            _ => {}
        }
    }
}

// No first word of a side is dropped by the other without both starting anew, however their changes meet.
#[tokio::test]
async fn whoever_ceases_to_serve_and_begins_again_is_heard_by_its_peers() {
    let founder = Organization::founder("Founder");
    let (mut one, address) = subnode(&founder, 1, &[]).await;
    let (mut other, _) = subnode(&founder.with_member("Member"), 1, &[address]).await;
    speak(&mut one, &mut other).await;
    for epoch in 2..200 {
        // One of them, the other, or both; and sometimes it takes a moment.
        for (node, part) in [(&one, 1), (&other, 2)] {
            if (epoch % 3 + 1) & part != 0 {
                node.handle.set_serving(0);
                if epoch % 2 == 0 {
                    tokio::task::yield_now().await;
                }
                node.handle.set_serving(epoch);
            }
        }
        speak(&mut one, &mut other).await;
    }
    assert_eq!((one.handle.counters().links_opened, one.handle.peers().len()), (1, 1), "all that went over one link");
}

#[tokio::test]
async fn a_node_that_does_not_serve_has_no_peers_and_all_of_them_once_it_does() {
    let founder = Organization::founder("Founder");
    let (mut node, address) = subnode(&founder, 0, &[]).await;
    let members = [founder.with_member("One"), founder.with_member("Two")];
    let known = [address];
    let (mut one, _) = subnode(&members[0], 1, &known).await;
    let (mut two, _) = subnode(&members[1], 7, &known).await;
    // In whatever order they come.
    let mut missing = vec![one.subnode, two.subnode];
    while !missing.is_empty() {
        let up = |event| if let DutyEvent::PairUp { subnode, .. } = event { Some(subnode) } else { None };
        let up = node.wait_duty("a link with each", up).await;
        missing.retain(|subnode| *subnode != up);
    }
    for member in [&one, &two] {
        assert_eq!(node.handle.send(member.id, Frame::Digest(vec![])), Err(Unsent::Disconnected));
    }
    let names = [(&founder, "node"), (&members[0], "one"), (&members[1], "two")];
    for epoch in 1..10 {
        node.handle.set_serving(epoch);
        let mut up = [hears(&mut node, &names).await, hears(&mut node, &names).await];
        up.sort_by_key(|heard| *heard == Heard::Up("two"));
        assert_eq!(up, [Heard::Up("one"), Heard::Up("two")]);
        for member in [&mut one, &mut two] {
            assert_eq!(hears(member, &names).await, Heard::Up("node"));
        }
        node.handle.set_serving(0);
        for member in [&mut one, &mut two] {
            assert!(matches!(hears(&mut node, &names).await, Heard::Down(_)));
            assert_eq!(hears(member, &names).await, Heard::Down("node"));
        }
        until("no round on either side", || node.handle.peers().iter().all(|peer| !peer.up)).await;
    }
}

#[tokio::test]
async fn another_epoch_of_the_subnode_that_serves_changes_nothing_for_its_peers() {
    let (mut one, mut other) = crate::world::pair(TCP).await;
    for epoch in 2..10 {
        one.handle.set_serving(epoch);
        until("the epoch", || other.handle.peers()[0].serving == epoch).await;
    }
    one.position(other.id, 1);
    other.position(one.id, 2);
    for node in [&mut other, &mut one] {
        let quiet = node.wait("the frame and nothing before it", |event| match event {
            Event::Arrived { .. } => Some(()),
            Event::PeerUp { .. } | Event::PeerDown { .. } => panic!("{event:?}"),
            _ => None,
        });
        quiet.await;
    }
}

#[tokio::test]
async fn frames_before_a_peer_is_up_are_dropped_and_counted() {
    let mut scene = Scene::new().await;
    let raw = Raw::larger_than(scene.founder.keys.subnode_id());
    let mut connection = raw.connect(&scene.address).await;
    connection.open(scene.honest(&raw, &scene.member), false).await;
    let frame = |number| Packet::Frame(crate::raw::Frame::Position { accepted_through: number });
    connection.send(&frame(1)).await;
    connection.send(&Packet::Serving { epoch: 1 }).await;
    connection.send(&frame(2)).await;
    connection.send(&Packet::Attend { round: 9 }).await;
    connection.send(&frame(3)).await;
    // For a round that is none of the node's.
    connection.send(&Packet::Begin { round: 1_000 }).await;
    connection.send(&frame(4)).await;
    scene.node.up(scene.member_id()).await;
    connection.send(&Packet::Begin { round: 1 }).await;
    connection.send(&frame(5)).await;
    assert_eq!(scene.node.frame().await.1, Frame::Position { accepted_through: 5 });
    assert_eq!(scene.node.handle.counters().frames_dropped, 4);
    let (mut begun, mut round) = (None, None);
    while begun.is_none() {
        match connection.receive().await.expect("the node speaks") {
            Packet::Serving { epoch } => assert_eq!(epoch, 1),
            Packet::Attend { round: told } => round = Some(told),
            Packet::Begin { round: told } => begun = Some(told),
            Packet::Here => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((round, begun), (Some(1), Some(9)));
}

#[tokio::test]
async fn a_large_message_arrives_whole_between_partners_and_not_between_organizations() {
    let one = Organization::founder("Founder");
    let two = one.partner();
    let (mut first, address) = subnode(&one, 1, &[]).await;
    let (mut second, _) = subnode(&two, 0, std::slice::from_ref(&address)).await;
    let (mut member, _) = subnode(&one.with_member("Member"), 1, &[address]).await;
    for node in [&mut second, &mut member] {
        node.pair_up(first.subnode).await;
    }
    first.pair_up(second.subnode).await;
    // Larger than the queue and the window, and a second behind it in parts, and then small ones.
    let snapshot: Vec<u8> = (0..80 << 20).map(|place: u32| (place / 1_000) as u8).collect();
    first.handle.tell(second.subnode, snapshot.clone()).unwrap();
    assert_eq!(first.handle.tell(second.subnode, b"beat".to_vec()), Err(Unsent::Full));
    let (from, arrived) = second.told().await;
    assert!(from == first.subnode && arrived == snapshot);
    let entries = vec![7; 5 << 20];
    let mut said = Vec::new();
    for number in 0..20_u8 {
        said.push(if number % 3 == 0 { entries.clone() } else { vec![number] });
        while first.handle.tell(second.subnode, said[usize::from(number)].clone()) == Err(Unsent::Full) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    for expected in said {
        assert!(second.told().await == (first.subnode, expected), "in order, and whole");
    }
    let limit = 256 * 1024;
    assert_eq!(first.handle.tell(member.subnode, vec![0; limit + 1]), Err(Unsent::TooLarge));
    first.handle.tell(member.subnode, vec![3; limit]).unwrap();
    assert_eq!(member.told().await, (first.subnode, vec![3; limit]));
}

// Invariant 6, and beats pass by a house that takes nothing.
#[tokio::test]
async fn duty_messages_pass_by_frames_that_nobody_takes_and_the_other_way_round() {
    let (mut one, mut other) = crate::world::pair(TCP).await;
    one.pair_up(other.subnode).await;
    other.pair_up(one.subnode).await;
    let mut sent = 0;
    while one.handle.send(other.id, Frame::Position { accepted_through: sent }).is_ok() {
        sent += 1;
    }
    let stuck = || one.handle.peers()[0].traffic.frames_queued > 0;
    until("a window of frames", || other.handle.peers()[0].traffic.frames_in == 1_024).await;
    assert!(stuck());
    for number in 0..2_000_u32 {
        one.handle.tell(other.subnode, number.to_be_bytes().to_vec()).unwrap();
        assert_eq!(other.told().await, (one.subnode, number.to_be_bytes().to_vec()));
    }
    assert!(stuck());
    // And a node that does no duties gets its frames; who speaks to it comes to a halt.
    let mut told = 0_u32;
    while one.handle.tell(other.subnode, vec![0; 1_000]).is_ok() {
        told += 1;
    }
    assert!(told >= 500, "{told}");
    for expected in 0..sent {
        assert_eq!(other.frame().await.1, Frame::Position { accepted_through: expected });
    }
    for _ in 0..told {
        assert_eq!(other.told().await.1.len(), 1_000);
    }
}

#[tokio::test]
async fn the_credit_of_a_duty_message_is_the_events() {
    let (one, mut other) = crate::world::pair(TCP).await;
    other.pair_up(one.subnode).await;
    until("the link", || !one.handle.peers().is_empty()).await;
    let mut kept = Vec::new();
    for number in 0..8 {
        while one.handle.tell(other.subnode, vec![number; 250_000]) == Err(Unsent::Full) {
            assert!(kept.len() < 5, "there is no more room than the queue and the window");
            let told = |event| matches!(event, DutyEvent::Told { .. }).then_some(event);
            kept.push(other.wait_duty("a message", told).await);
        }
    }
    assert!(!kept.is_empty());
    drop(kept);
    while other.told().await.1[0] != 7 {}
}

#[tokio::test]
async fn who_sends_more_than_it_may_of_duty_messages_is_refused() {
    for packets in [
        // Untaken messages beyond the window.
        vec![Packet::Duty { part: vec![0; 100].into(), last: true }; 300],
        // A message that is too large, in parts that are not.
        vec![Packet::Duty { part: vec![0; 200_000].into(), last: false }; 2],
        vec![Packet::Duty { part: vec![].into(), last: false }],
        vec![Packet::DutyGrant { parts: 1, bytes: 0 }],
    ] {
        let mut scene = Scene::new().await;
        let raw = Raw::larger_than(scene.founder.keys.subnode_id());
        let mut connection = raw.connect(&scene.address).await;
        connection.link(scene.honest(&raw, &scene.member), false).await;
        connection.send_all(&packets).await;
        let fault = loop {
            match connection.receive().await {
                Some(Packet::Refuse(fault)) => break fault,
                Some(_) => {}
                None => panic!("the link ended without a reason"),
            }
        };
        assert_eq!(fault.code, Code::FrameRefused, "{fault}");
        scene.node.pair_down(raw.subnode()).await;
        scene.expect_alive().await;
    }
}

// M1: a node with a pairing code becomes the other sub-node; what it is told travels encrypted, and nobody else gets it.
#[tokio::test]
async fn a_pairing_code_opens_the_way_to_the_active_subnode_and_to_nobody_else() {
    let one = Organization::founder("Founder");
    let (mut active, address) = subnode(&one, 1, &[]).await;
    let newcomer = Organization::new("Second");
    let mut joining = newcomer.start_serving(0, TERMS, options(TCP));
    joining.listening().await;
    let secret = PairingSecret([9; 32]);
    let refusal = Fault::new(Code::InviteExpired, "the code was used on Monday");
    for (answer, expected) in [(Err(refusal.clone()), Err(refusal)), (Ok(b"the key".to_vec()), Ok(b"the key".to_vec()))]
    {
        let asking = tokio::spawn({
            let (handle, address, subnode) = (joining.handle.clone(), address.clone(), active.subnode);
            async move { handle.pair(subnode, vec![address], secret).await }
        });
        let pairing = active.wait("a pairing code", |event| match event {
            Event::Pairing { subnode, secret, certificate, answer } => Some((subnode, secret, certificate, answer)),
            _ => None,
        });
        let (subnode, shown, certificate, answering) = pairing.await;
        assert_eq!((subnode, shown, certificate.subnode), (joining.subnode, secret, joining.subnode));
        assert_eq!(certificate.city.as_str(), "Lübeck");
        answering.send(answer).unwrap();
        match (asking.await.unwrap(), expected) {
            (Ok(bytes), Ok(expected)) => assert_eq!(bytes, expected),
            (Err(fault), Err(expected)) => assert_eq!((fault.code, fault.message), (expected.code, expected.message)),
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    }
    assert!(joining.handle.peers().is_empty() && active.handle.peers().is_empty(), "that is no link");
    // At that address answers somebody else than the code says.
    let fault = joining.handle.pair(Keys::generate().subnode_id(), vec![address], secret).await.unwrap_err();
    assert_eq!(fault.code, Code::PeerUnreachable);
    // Then it starts anew, with what it was told.
    joining.handle.stop().await;
    let keys = Keys { organization: one.keys.organization.clone(), node: newcomer.keys.node.clone() };
    let second = Organization { keys, name: "Founder", credentials: one.credentials.clone() };
    let (mut mirror, _) = subnode(&second, 0, &active.handle.addresses()).await;
    mirror.pair_up(active.subnode).await;
    active.pair_up(mirror.subnode).await;
}

#[tokio::test]
async fn partners_are_linked_again_after_a_cut_and_a_restart() {
    let one = Organization::founder("Founder");
    let two = one.partner();
    let (first, address) = subnode(&one, 3, &[]).await;
    let (mut second, back) = subnode(&two, 0, std::slice::from_ref(&address)).await;
    let line = |address: &Multiaddr, cut| {
        let text = address.to_string();
        let parts: Vec<_> = text.split('/').collect();
        let destination = format!("{}:{}", parts[2], parts[4]).parse().unwrap();
        vec![Latency { destination, one_way_ms: 10, jitter_ms: 1, cut }]
    };
    for cut in [false, true, false] {
        second.handle.set_emulation(line(&address, cut)).await.unwrap();
        first.handle.set_emulation(line(&back, cut)).await.unwrap();
        if cut {
            until("the end of the link", || first.handle.peers().is_empty() && second.handle.peers().is_empty()).await;
        } else {
            until("the link", || !first.handle.peers().is_empty() && !second.handle.peers().is_empty()).await;
        }
    }
    let listen = address.to_string().split("/p2p/").next().unwrap().to_owned();
    first.handle.stop().await;
    drop(first);
    until("the end", || second.handle.peers().is_empty()).await;
    let mut again = one.start_serving(0, TERMS, Options { known_peers: vec![], ..options(&listen) });
    again.pair_up(second.subnode).await;
    second.handle.set_serving(4);
    until("the epoch", || again.handle.peers().first().is_some_and(|peer| peer.serving == 4)).await;
    again.handle.tell(second.subnode, b"join".to_vec()).unwrap();
    assert_eq!(second.told().await, (again.subnode, b"join".to_vec()));
}

#[tokio::test]
async fn a_node_that_takes_no_frames_hears_of_links_and_messages_all_the_same() {
    let founder = Organization::founder("Founder");
    let (mut one, address) = subnode(&founder, 1, &[]).await;
    let (mut busy, _) = subnode(&founder.with_member("Busy"), 1, std::slice::from_ref(&address)).await;
    one.up(busy.id).await;
    busy.pair_up(one.subnode).await;
    for number in 0..1_000 {
        one.position(busy.id, number);
    }
    // More than its queue of events holds, and then another link.
    until("the frames", || busy.handle.peers()[0].traffic.frames_in == 1_000).await;
    let listen = address.to_string().split("/p2p/").next().unwrap().to_owned();
    one.handle.stop().await;
    drop(one);
    busy.pair_down(founder.keys.subnode_id()).await;
    let again = founder.start(options(&listen));
    busy.pair_up(again.subnode).await;
    until("the link", || !again.handle.peers().is_empty()).await;
    again.handle.tell(busy.subnode, b"beat".to_vec()).unwrap();
    assert_eq!(busy.told().await, (again.subnode, b"beat".to_vec()));
    // Once it takes them, everything is there, in order: the frames, the end, and the new beginning.
    for expected in 0..1_000 {
        assert_eq!(busy.frame().await.1, Frame::Position { accepted_through: expected });
    }
    busy.down(again.id).await;
    busy.up(again.id).await;
}
