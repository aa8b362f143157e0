//! What the doctor tries on the network: whether our ports can be had, and whether the members can be reached.

use super::{Finding, State};
use crate::{
    admin::protocol::Status,
    config::{Configuration, Transport, socket_of},
};
use futures::{StreamExt as _, stream};
use hansa_core::code::{Code, Fault};
use multiaddr::{Multiaddr, Protocol};
use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};

/// How long a connection to a peer may take.
const REACH: Duration = Duration::from_secs(3);
/// How many addresses are tried at once.
const REACH_AT_ONCE: usize = 16;
/// How many addresses are tried at all.
const REACH_MAX: usize = 200;

/// Whether each port that the configuration names can be had, or is held by our own node.
pub fn ports(configuration: &Configuration, status: Option<&Status>, findings: &mut Vec<Finding>) {
    let mut wanted = vec![
        ("cxip.listen", Transport::Tcp, configuration.cxip().listen()),
        ("http.listen", Transport::Tcp, configuration.http().listen()),
    ];
    let administered = configuration.cxip().admin_listen();
    wanted.extend(administered.map(|address| ("cxip.admin_listen", Transport::Tcp, address)));
    let federation = configuration.federation().listen().iter().filter_map(socket_of);
    wanted.extend(federation.map(|(transport, address)| ("federation.listen", transport, address)));
    for (key, transport, address) in wanted {
        let held = status.and_then(|status| match key {
            "cxip.listen" => Some(status.addresses.cxip.clone()),
            "cxip.admin_listen" => status.addresses.cxip_admin.clone(),
            "http.listen" => Some(status.addresses.http.clone()),
            _ => Some(status.addresses.federation.join(", ")),
        });
        findings.push(port(key, transport, address, held.as_deref()));
    }
}

/// `held` is where the running node listens, if one runs.
fn port(key: &str, transport: Transport, address: SocketAddr, held: Option<&str>) -> Finding {
    if address.port() == 0 {
        return Finding::well("ports", format!("{key} takes any free port of {}", address.ip()));
    }
    let bound = match transport {
        Transport::Tcp => TcpListener::bind(address).map(drop),
        Transport::Quic => UdpSocket::bind(address).map(drop),
    };
    match (bound, held) {
        (Ok(()), Some(held)) => {
            let message = format!("{key}: the running node listens on {held}, not on {address}");
            Finding::new("ports", State::Doubtful, message).advice(
                "it was started with other flags or variables, or the configuration has changed since: restart it to \
                 let this one hold",
            )
        }
        (Ok(()), None) => Finding::well("ports", format!("{key}: {address} is free")),
        (Err(_), Some(_)) => Finding::well("ports", format!("{key}: {address} is held by the running node")),
        (Err(error), None) => {
            let fault = Fault::new(Code::PortInUse, format!("{key}: {address} cannot be had: {error}"))
                .help(format!("stop what listens there, or choose another address for {key}"));
            Finding::fault("ports", State::Wrong, &fault)
        }
    }
}

/// Whether the members that we know can be reached.
pub async fn peers(configuration: Option<&Configuration>, status: Option<&Status>, findings: &mut Vec<Finding>) {
    let mut addresses: Vec<(String, String)> = Vec::new();
    for peer in status.iter().flat_map(|status| &status.peers) {
        let who = format!("{} in {}", peer.name, peer.city);
        match &peer.address {
            // It opened the line, from a port at which it does not listen.
            Some(_) if peer.connected && peer.discovered_by.as_deref() == Some("inbound") => {
                findings.push(Finding::well("peers", format!("{who} is connected: it came here")));
            }
            Some(address) => addresses.push((who, address.clone())),
            None => findings.push(unreachable(&who, "no address of it is known")),
        }
    }
    for address in configuration.iter().flat_map(|configuration| configuration.federation().known_peers()) {
        addresses.push(("a known peer".to_owned(), address.to_string()));
    }
    if addresses.is_empty() && status.is_none_or(|status| status.peers.is_empty()) {
        findings.push(match status {
            Some(_) => Finding::well("peers", "this node knows no other member yet"),
            None => Finding::skipped("peers", "only the running node knows them"),
        });
        return;
    }
    if addresses.len() > REACH_MAX {
        let message = format!("{} of {} addresses are tried", REACH_MAX, addresses.len());
        findings.push(Finding::skipped("peers", message));
        addresses.truncate(REACH_MAX);
    }
    let tried = stream::iter(addresses).map(|(who, address)| async move {
        match timeout(REACH, reach(&address)).await {
            Ok(Ok(())) => Finding::well("peers", format!("{who} answers at {address}")),
            Ok(Err(Reach::NotTried)) => {
                Finding::skipped("peers", format!("{who}: {address} is not TCP, and is not tried"))
            }
            Ok(Err(Reach::Failed(message))) => unreachable(&who, &format!("{address}: {message}")),
            Err(_) => unreachable(&who, &format!("{address}: no answer within {} s", REACH.as_secs())),
        }
    });
    findings.extend(tried.buffered(REACH_AT_ONCE).collect::<Vec<_>>().await);
}

fn unreachable(who: &str, why: &str) -> Finding {
    let fault = Fault::new(Code::PeerUnreachable, format!("{who}: {why}"))
        .help("what is meant for it waits; check the firewalls on the way, and whether its node runs");
    Finding::fault("peers", State::Doubtful, &fault)
}

enum Reach {
    NotTried,
    Failed(String),
}

async fn reach(address: &str) -> Result<(), Reach> {
    let address: Multiaddr = address.parse().map_err(|_| Reach::NotTried)?;
    let mut parts = address.iter();
    let host = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.to_string(),
        Some(Protocol::Ip6(ip)) => ip.to_string(),
        Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)) => name.into_owned(),
        _ => return Err(Reach::NotTried),
    };
    let Some(Protocol::Tcp(port)) = parts.next() else { return Err(Reach::NotTried) };
    TcpStream::connect((host.as_str(), port)).await.map(drop).map_err(|error| Reach::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::pretended;

    #[tokio::test]
    async fn a_peer_that_answers_one_that_does_not_and_one_without_address_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap().port();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut status = pretended::status();
        status.peers.push(status.peers[0].clone());
        status.peers[0].address = Some(format!("/ip4/127.0.0.1/tcp/{here}"));
        status.peers[2].address = Some(format!("/ip4/127.0.0.1/tcp/{closed}"));
        let mut came = status.peers[2].clone();
        came.discovered_by = Some("inbound".into());
        status.peers.push(came);
        let mut findings = Vec::new();
        peers(None, Some(&status), &mut findings).await;
        assert!(findings[1].state == State::Well && findings.remove(1).message.contains("it came here"));
        let states: Vec<_> =
            findings.iter().map(|finding| (finding.state, finding.message.contains("answers"))).collect();
        assert_eq!(states, [(State::Doubtful, false), (State::Well, true), (State::Doubtful, false)], "{findings:#?}");
        assert!(findings[0].message.contains("no address"));
    }

    #[test]
    fn a_port_that_somebody_else_holds_is_wrong_and_one_that_our_node_holds_is_well() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(port("cxip.listen", Transport::Tcp, address, None).code, Some(Code::PortInUse));
        assert_eq!(port("cxip.listen", Transport::Tcp, address, Some("here")).state, State::Well);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let held = port("federation.listen", Transport::Quic, socket.local_addr().unwrap(), None);
        assert_eq!(held.state, State::Wrong);
    }
}
