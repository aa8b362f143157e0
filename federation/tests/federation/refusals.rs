//! Whoever does not belong, or does not keep to the protocol, is refused, counted and visible, and the node lives on (F3, F4).

use crate::{
    raw::{Packet, Raw, Scene, Standing, framed},
    world::{Organization, TCP, admit, knowing, options},
};
use ed25519_dalek::SigningKey;
use hansa_core::{code::Code, signed::Signed};
use hansa_federation::{Frame, PACKET_BYTES_MAX, Unsent};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

#[tokio::test]
async fn a_member_is_accepted_whichever_of_the_two_has_the_smaller_id() {
    let mut scene = Scene::new().await;
    let founder = scene.founder.keys.subnode_id();
    for (raw, decides) in [(Raw::smaller_than(founder), true), (Raw::larger_than(founder), false)] {
        let mut connection = raw.connect(&scene.address).await;
        connection.link(scene.honest(&raw, &scene.member), decides).await;
        scene.node.up(scene.member_id()).await;
    }
    assert_eq!(scene.node.handle.counters().refused_here, 0);
}

#[tokio::test]
async fn forged_papers_are_refused() {
    let mut scene = Scene::new().await;
    let raw = Raw::new(50);
    let (member, stranger) = (scene.member.clone(), key(31));
    let member_id = scene.member_id();
    let genuine = Raw::certificate(&member, raw.subnode());
    let credentials = scene.founder.admit(member_id, "Raw");
    let by_stranger = admit(&stranger, scene.founder.credentials.as_ref().unwrap(), member_id, "Raw");
    let stolen = Signed { by: member_id, ..Raw::certificate(&stranger, raw.subnode()) };
    let cases = [
        ("a certificate for another node", Raw::certificate(&member, Raw::new(51).subnode()), credentials.clone()),
        ("a certificate that another organization signed", stolen, credentials.clone()),
        ("credentials of somebody else", Raw::certificate(&stranger, raw.subnode()), credentials),
        ("an admission by a stranger", genuine, by_stranger),
    ];
    for (count, (what, certificate, credentials)) in (0..).zip(cases) {
        let mut connection = raw.connect(&scene.address).await;
        connection.send(&Packet::Hello(Box::new(scene.hello(certificate, credentials)))).await;
        let fault = scene.expect_refusal(&mut connection, Code::CertificateForged, count).await;
        eprintln!("{what}: {fault}");
    }
    scene.expect_alive().await;
}

#[tokio::test]
async fn another_federation_and_another_version_are_refused() {
    let mut scene = Scene::new().await;
    let raw = Raw::new(52);
    let mut foreign = scene.honest(&raw, &scene.member);
    let other = Organization::founder("Other");
    foreign.federation = other.credentials.as_ref().unwrap().federation();
    let mut relabelled = scene.honest(&raw, &scene.member);
    relabelled.standing = Standing::Member(other.admit(relabelled.certificate.by, "Raw"));
    let mut newer = scene.honest(&raw, &scene.member);
    newer.protocol_version = 3;
    let cases = [(foreign, Code::MemberUnknown), (relabelled, Code::InviteForeign), (newer, Code::VersionUnknown)];
    for (count, (hello, code)) in (0..).zip(cases) {
        let mut connection = raw.connect(&scene.address).await;
        connection.send(&Packet::Hello(Box::new(hello))).await;
        scene.expect_refusal(&mut connection, code, count).await;
    }
    scene.expect_alive().await;
}

#[tokio::test]
async fn members_with_other_terms_refuse_each_other_and_both_say_so() {
    let mut scene = Scene::new().await;
    let mut member = scene.founder.with_member("Member").start_with([8; 32], knowing(TCP, &[scene.address.clone()]));
    let (fault, by_peer) = scene.node.refused().await;
    assert_eq!((fault.code, by_peer), (Code::TermsDiffer, false));
    let (fault, by_peer) = member.refused().await;
    assert_eq!((fault.code, by_peer), (Code::TermsDiffer, true));
    assert_eq!(scene.node.handle.send(member.id, Frame::Digest(vec![])), Err(Unsent::Disconnected));
    member.handle.stop().await;
    scene.expect_alive().await;
}

#[tokio::test]
async fn a_node_without_credentials_accepts_nobody() {
    let mut outsider = Organization::new("Outsider").start(options(TCP));
    let address = outsider.listening().await;
    let founder = Organization::founder("Founder").start(knowing(TCP, &[address]));
    let (fault, by_peer) = outsider.refused().await;
    assert_eq!((fault.code, by_peer), (Code::MemberUnknown, false));
    assert!(founder.handle.peers().is_empty());
}

#[tokio::test]
async fn what_is_no_packet_is_refused_before_and_after_hello() {
    let mut scene = Scene::new().await;
    let raw = Raw::new(53);
    let oversized = u32::try_from(PACKET_BYTES_MAX + 1).unwrap().to_be_bytes().to_vec();
    let garbage = framed(b"GET / HTTP/1.1\r\n\r\n");
    let mut count = 0;
    for bytes in [&oversized, &garbage] {
        let mut connection = raw.connect(&scene.address).await;
        connection.write(bytes).await;
        scene.expect_refusal(&mut connection, Code::FrameRefused, count).await;
        count += 1;

        let mut connection = raw.connect(&scene.address).await;
        let decides = raw.subnode() < scene.founder.keys.subnode_id();
        let hello = scene.honest(&raw, &scene.member);
        let organization = hello.certificate.by;
        connection.link(hello, decides).await;
        scene.node.up(organization).await;
        connection.write(bytes).await;
        let fault = loop {
            if let Some(Packet::Refuse(fault)) = connection.receive().await {
                break fault;
            }
        };
        assert_eq!(fault.code, Code::FrameRefused);
        // Who tells first, the link or the loop, is left open.
        let mut told = (false, false);
        while told != (true, true) {
            let (down, refused) = scene
                .node
                .wait("the end of the link, and the refusal", |event| match event {
                    hansa_federation::Event::PeerDown { .. } => Some((true, told.1)),
                    hansa_federation::Event::Refused { .. } => Some((told.0, true)),
                    _ => None,
                })
                .await;
            told = (down, refused);
        }
        count += 1;
        assert_eq!(scene.node.handle.counters().refused_here, count);
    }
    scene.expect_alive().await;
}

#[tokio::test]
async fn frames_beyond_the_granted_window_end_the_link() {
    let mut scene = Scene::new().await;
    let raw = Raw::new(54);
    let mut connection = raw.connect(&scene.address).await;
    let decides = raw.subnode() < scene.founder.keys.subnode_id();
    let hello = scene.honest(&raw, &scene.member);
    let organization = hello.certificate.by;
    connection.link(hello, decides).await;
    scene.node.up(organization).await;
    // The node takes nothing meanwhile, so nothing more is granted.
    let mut frame = Vec::new();
    ciborium::into_writer(&Packet::Frame(crate::raw::Frame::Position { accepted_through: 1 }), &mut frame).unwrap();
    connection.write(&framed(&frame).repeat(1_025)).await;
    let fault = loop {
        match connection.receive().await {
            Some(Packet::Refuse(fault)) => break fault,
            Some(_) => {}
            None => panic!("the link ended without a reason"),
        }
    };
    assert_eq!(fault.code, Code::FrameRefused);
    assert!(scene.node.down(organization).await.contains("granted"));
    scene.expect_alive().await;
}
