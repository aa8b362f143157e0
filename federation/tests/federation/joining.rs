//! How an organization becomes a member (F4), and how members find each other (F5).

use crate::world::{Node, Organization, PATIENCE, QUIC, TCP, knowing, options};
use hansa_core::{
    code::{Code, Fault},
    membership::Credentials,
};
use hansa_federation::{DiscoveredBy, Event, Frame, Options};

/// Let `newcomer` join through `member`, whose node `door` decides with `decision`.
async fn join(
    door: &mut Node,
    member: &Organization,
    newcomer: &Node,
    decision: impl FnOnce(hansa_core::ident::OrganizationId, &str) -> Result<Credentials, Fault>,
) -> Result<Credentials, Fault> {
    let invite = member.invite(&door.handle.addresses());
    let joining = tokio::spawn({
        let (handle, invite) = (newcomer.handle.clone(), invite.clone());
        async move { handle.join(invite).await }
    });
    let knock = |event| match event {
        Event::Knock { organization, certificate, invite, answer } => Some((organization, certificate, invite, answer)),
        _ => None,
    };
    let (organization, certificate, shown, answer) = door.wait("a knock", knock).await;
    assert_eq!(*shown, invite);
    answer.send(decision(organization, certificate.name.as_str())).unwrap();
    tokio::time::timeout(PATIENCE, joining).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_invited_organization_joins_is_linked_and_speaks() {
    for listen in [TCP, QUIC] {
        let founder = Organization::founder("Founder");
        let newcomer = Organization::new("Newcomer");
        let mut door = founder.start(options(listen));
        door.listening().await;
        let mut new = newcomer.start(options(listen));
        new.listening().await;
        let credentials = join(&mut door, &founder, &new, |organization, name| {
            assert_eq!((organization, name), (newcomer.id(), "Newcomer"));
            Ok(founder.admit(organization, name))
        })
        .await
        .unwrap();
        assert!(new.handle.peers().is_empty(), "nothing is used before the node has made it durable");
        new.handle.set_credentials(credentials).await.unwrap();

        let how = new.wait("the link", |event| match event {
            Event::PeerUp { organization, name, city, dialed, discovered_by, .. } => {
                Some((organization, name.to_string(), city.to_string(), dialed, discovered_by))
            }
            _ => None,
        });
        assert_eq!(how.await, (door.id, "Founder".into(), "Lübeck".into(), true, DiscoveredBy::Invite));
        door.up(new.id).await;
        new.position(door.id, 4);
        assert_eq!(door.frame().await, (new.id, Frame::Position { accepted_through: 4 }));
        door.position(new.id, 5);
        assert_eq!(new.frame().await, (door.id, Frame::Position { accepted_through: 5 }));
    }
}

#[tokio::test]
async fn a_third_that_a_newcomer_invites_is_accepted_by_the_founder_too() {
    let founder = Organization::founder("Founder");
    let second = founder.with_member("Second");
    let mut one = founder.start(options(TCP));
    let address = one.listening().await;
    let mut two = second.start(knowing(TCP, &[address]));
    two.listening().await;
    one.up(two.id).await;
    let mut three = Organization::new("Third").start(options(TCP));
    let credentials = join(&mut two, &second, &three, |id, name| Ok(second.admit(id, name))).await.unwrap();
    three.handle.set_credentials(credentials).await.unwrap();
    three.up(two.id).await;
    // The directory of the node would tell it where the founder is.
    let addresses: Vec<_> = one.handle.addresses().iter().map(ToString::to_string).collect();
    let subnode = founder.keys.subnode_id();
    three.handle.learn(subnode, &addresses).await.unwrap();
    three.up(one.id).await;
    one.up(three.id).await;
    assert_eq!(one.handle.peers().len(), 2);
}

#[tokio::test]
async fn the_inviters_refusal_reaches_whoever_asked() {
    let founder = Organization::founder("Founder");
    let mut door = founder.start(options(TCP));
    door.listening().await;
    let new = Organization::new("Newcomer").start(Options::default());
    let expired = Fault::new(Code::InviteExpired, "this invite was used on Monday");
    let fault = join(&mut door, &founder, &new, |_, _| Err(expired.clone())).await.unwrap_err();
    assert_eq!((fault.code, fault.message.as_str()), (Code::InviteExpired, "this invite was used on Monday"));
    // And credentials for somebody else are no better than none.
    let fault = join(&mut door, &founder, &new, |_, name| Ok(founder.admit(founder.id(), name))).await.unwrap_err();
    assert_eq!(fault.code, Code::CertificateForged);
}

#[tokio::test]
async fn an_invite_whose_addresses_answer_not_says_which_and_why() {
    let founder = Organization::founder("Founder");
    let mut door = founder.start(options(TCP));
    let address = door.listening().await;
    let invite = founder.invite(std::slice::from_ref(&address));
    door.handle.stop().await;
    let new = Organization::new("Newcomer").start(Options::default());
    let fault = new.handle.join(invite).await.unwrap_err();
    assert_eq!(fault.code, Code::PeerUnreachable);
    let port = address.to_string().split('/').nth(4).unwrap().to_owned();
    assert!(fault.message.contains(&format!("/ip4/127.0.0.1/tcp/{port}: ")), "{fault}");
    assert!(fault.message.to_lowercase().contains("refused"), "{fault}");
}

#[tokio::test]
async fn an_inviter_that_does_not_answer_is_given_up() {
    let founder = Organization::founder("Founder");
    let mut door = founder.start(options(TCP));
    let address = door.listening().await;
    let patience = Options { hello_timeout_ms: 300, ..Options::default() };
    let new = Organization::new("Newcomer").start(patience);
    let fault = new.handle.join(founder.invite(&[address])).await.unwrap_err();
    assert_eq!(fault.code, Code::PeerUnreachable);
}

#[tokio::test]
async fn whether_a_member_may_go_to_another_federation_is_the_nodes_to_decide() {
    let founder = Organization::founder("Founder");
    let node = founder.start(Options::default());
    let other = Organization::founder("Other");
    let fault = node.handle.join(other.invite(&["/ip4/127.0.0.1/tcp/9".parse().unwrap()])).await.unwrap_err();
    assert_eq!(fault.code, Code::PeerUnreachable, "it is tried, and nobody is there");
}

// F5: members on one local network find each other without configuration.
#[tokio::test]
async fn members_find_each_other_by_multicast_where_the_machine_has_it() {
    if !multicast_works() {
        eprintln!("skipped: multicast does not work on this machine");
        return;
    }
    let founder = Organization::founder("Founder");
    let with_mdns = || Options { mdns: true, ..options("/ip4/0.0.0.0/tcp/0") };
    let mut one = founder.start(with_mdns());
    let mut other = founder.with_member("Member").start(with_mdns());
    one.up(other.id).await;
    other.up(one.id).await;
}

/// Whether a datagram to a group comes back to a member of it.
fn multicast_works() -> bool {
    let group = std::net::Ipv4Addr::new(224, 0, 0, 251);
    let trial = || -> std::io::Result<()> {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        socket.join_multicast_v4(&group, &std::net::Ipv4Addr::UNSPECIFIED)?;
        socket.set_read_timeout(Some(std::time::Duration::from_millis(500)))?;
        socket.send_to(b"hansa", (group, socket.local_addr()?.port()))?;
        socket.recv_from(&mut [0; 8]).map(drop)
    };
    trial().is_ok()
}
