//! Measures what a link carries between two nodes over loopback: round trips of small frames, a number of them in flight.
//! `cargo run --release -p hansa-federation --example round_trips [IN_FLIGHT] [SECONDS]`

use hansa_core::{
    ident::OrganizationId,
    membership::{Admission, Charter, Credentials},
    moment::Moment,
    signed::{Purpose, Signed},
};
use hansa_federation::{Event, Frame, Handle, Identity, Keys, Multiaddr, Options, Start, start};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Bytes of what is signed in each frame.
const BODY_BYTES: usize = 200;

type Node = (Handle, mpsc::Receiver<Event>);

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let in_flight = arguments.next().unwrap_or(256);
    let duration = Duration::from_secs(arguments.next().unwrap_or(5));
    let ((one, mut one_events), (other, mut other_events), one_id, other_id) = linked().await;

    let answering = tokio::spawn({
        let other = other.clone();
        async move {
            let mut answered = 0;
            while let Some(event) = other_events.recv().await {
                if let Event::Arrived { frame: Frame::Forward(_), .. } = event {
                    answered += 1;
                    other.send(one_id, Frame::Position { accepted_through: answered }).expect("few are in flight");
                }
            }
        }
    });
    let frame = || Frame::Forward(vec![body()]);
    for _ in 0..in_flight {
        one.send(other_id, frame()).expect("few are in flight");
    }
    let (begun, mut done) = (Instant::now(), 0_u64);
    while begun.elapsed() < duration {
        if let Some(Event::Arrived { frame: Frame::Position { .. }, .. }) = one_events.recv().await {
            done += 1;
            one.send(other_id, frame()).expect("few are in flight");
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let latency = seconds / done as f64 * in_flight as f64 * 1e3;
    println!("{:.0} round trips/s with {in_flight} in flight, {latency:.2} ms each", done as f64 / seconds);
    answering.abort();
}

fn body() -> Signed {
    Signed { by: OrganizationId([1; 32]), bytes: vec![2; BODY_BYTES], signature: vec![3; 64] }
}

/// A founder and a member, linked.
async fn linked() -> (Node, Node, OrganizationId, OrganizationId) {
    let (founder, member) = (Keys::generate(), Keys::generate());
    let charter =
        Charter { name: "Measure".parse().expect("a name"), founder: founder.organization_id(), founded: Moment(1) };
    let charter = Signed::new(&founder.organization, Purpose::Charter, &charter);
    let papers = Credentials { charter, admissions: vec![] };
    let admission = Admission {
        federation: papers.federation(),
        organization: member.organization_id(),
        name: "Member".parse().expect("a name"),
        admitted: Moment(2),
    };
    let admission = Signed::new(&founder.organization, Purpose::Admission, &admission);
    let admitted = Credentials { admissions: vec![admission], ..papers.clone() };
    let mut one = node(&founder, papers, vec![]);
    let Some(Event::Listening { address }) = one.1.recv().await else { panic!("it does not listen") };
    let mut other = node(&member, admitted, vec![address]);
    while !matches!(one.1.recv().await, Some(Event::PeerUp { .. })) {}
    while !matches!(other.1.recv().await, Some(Event::PeerUp { .. })) {}
    (one, other, founder.organization_id(), member.organization_id())
}

fn node(keys: &Keys, credentials: Credentials, known_peers: Vec<Multiaddr>) -> Node {
    let identity = Identity::new(keys, "Node".parse().expect("a name"), "Bruges".parse().expect("a city"), Moment(3));
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    let options = Options { listen, known_peers, ..Options::default() };
    let (credentials, duties) = (Some(credentials), std::sync::Arc::new(()));
    let start_with = Start { identity, credentials, terms_hash: [0; 32], options, serving: 1, duties };
    let (handle, events) = start(start_with).expect("it starts");
    (handle, events)
}
