//! Decides what can be configured about the federation, and which values fit.
//!
//! The node fills this from its configuration; nothing here reads files.

use crate::emulation::Latency;
use hansa_core::{
    code::{Code, Fault},
    limit,
};
use libp2p::{Multiaddr, multiaddr::Protocol};

/// Everything configurable. `Options::default()` listens nowhere and knows nobody.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen: `/ip4/0.0.0.0/tcp/4100`, or `/ip4/0.0.0.0/udp/4100/quic-v1`.
    pub listen: Vec<Multiaddr>,
    /// Under which addresses others reach this node, where they differ from where it listens.
    pub announce: Vec<Multiaddr>,
    /// Members to dial in any case, with or without `/p2p/…` at the end.
    pub known_peers: Vec<Multiaddr>,
    /// Whether to look for members in the local network by multicast.
    pub mdns: bool,
    /// Connections at once, all together.
    pub connections_max: u32,
    /// How many of these only members may take.
    pub connections_for_members: u32,
    /// Connections at once with one peer. Two are needed while both sides dial each other.
    pub connections_per_peer_max: u32,
    /// Connections at once that are still being set up, in each direction.
    pub connections_pending_max: u32,
    /// How often each connection is probed.
    pub keep_alive_interval_ms: u64,
    /// How long a probe may take before the connection is given up.
    pub keep_alive_timeout_ms: u64,
    /// After so long without a word over a link, its peer is taken for dead. An honest one says something every second.
    pub silence_ms_max: u64,
    /// The same for this organization's other sub-node.
    pub partner_silence_ms_max: u64,
    /// Pause after the first failed dial; it doubles with each further one.
    pub dial_delay_ms_min: u64,
    /// Longest pause between two dials of the same member.
    pub dial_delay_ms_max: u64,
    /// How long a peer may take to say hello, and a member to answer a request to join.
    pub hello_timeout_ms: u64,
    /// Delays that are put on connections which this node dials, for test networks; see [`crate::emulation`].
    pub latency_emulation: Vec<Latency>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            announce: Vec::new(),
            known_peers: Vec::new(),
            mdns: false,
            connections_max: 1_024,
            connections_for_members: 768,
            connections_per_peer_max: 4,
            connections_pending_max: 128,
            keep_alive_interval_ms: 5_000,
            keep_alive_timeout_ms: 10_000,
            silence_ms_max: 6_000,
            partner_silence_ms_max: 3_000,
            dial_delay_ms_min: 250,
            dial_delay_ms_max: 30_000,
            hello_timeout_ms: 15_000,
            latency_emulation: Vec::new(),
        }
    }
}

impl Options {
    /// Every value that does not fit, with the name of its key.
    #[must_use]
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut check = |fits: bool, message: String, help: String| {
            if !fits {
                faults.push(Fault::new(Code::ConfigurationInvalid, message).help(help));
            }
        };
        for (key, addresses) in
            [("listen", &self.listen), ("announce", &self.announce), ("known_peers", &self.known_peers)]
        {
            let count_max = if key == "known_peers" { limit::MEMBERS_MAX } else { limit::ADDRESSES_MAX };
            check(
                addresses.len() <= count_max,
                format!("{key}: {} addresses are too many", addresses.len()),
                format!("give at most {count_max}"),
            );
            for address in addresses {
                check(
                    is_transport_address(address),
                    format!("{key}: {address} is neither a TCP nor a QUIC address"),
                    "write for example /ip4/0.0.0.0/tcp/4100, /dns/exchange.example/tcp/4100 or \
                     /ip4/0.0.0.0/udp/4100/quic-v1"
                        .into(),
                );
            }
        }
        for (key, value, least, most) in [
            ("connections_max", u64::from(self.connections_max), 2, 100_000),
            (
                "connections_for_members",
                u64::from(self.connections_for_members),
                0,
                u64::from(self.connections_max.saturating_sub(1)),
            ),
            ("connections_per_peer_max", u64::from(self.connections_per_peer_max), 2, 64),
            ("connections_pending_max", u64::from(self.connections_pending_max), 1, 10_000),
            ("keep_alive_interval_ms", self.keep_alive_interval_ms, 100, 300_000),
            ("keep_alive_timeout_ms", self.keep_alive_timeout_ms, 100, 300_000),
            ("silence_ms_max", self.silence_ms_max, 2_000, 300_000),
            ("partner_silence_ms_max", self.partner_silence_ms_max, 2_000, 300_000),
            ("dial_delay_ms_min", self.dial_delay_ms_min, 10, 60_000),
            ("dial_delay_ms_max", self.dial_delay_ms_max, self.dial_delay_ms_min, 86_400_000),
            ("hello_timeout_ms", self.hello_timeout_ms, 100, 300_000),
        ] {
            check(
                (least..=most.max(least)).contains(&value),
                format!("{key}: {value} does not fit"),
                format!("choose a value from {least} to {}", most.max(least)),
            );
        }
        faults
    }
}

/// Whether one of the transports can use it.
fn is_transport_address(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    let host = matches!(
        parts.next(),
        Some(
            Protocol::Ip4(_)
                | Protocol::Ip6(_)
                | Protocol::Dns(_)
                | Protocol::Dns4(_)
                | Protocol::Dns6(_)
                | Protocol::Dnsaddr(_)
        )
    );
    let port = match parts.next() {
        Some(Protocol::Tcp(_)) => true,
        Some(Protocol::Udp(_)) => matches!(parts.next(), Some(Protocol::QuicV1)),
        _ => false,
    };
    host && port && matches!((parts.next(), parts.next()), (None, None) | (Some(Protocol::P2p(_)), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_and_limit_connections() {
        let options = Options::default();
        assert!(options.validate().is_empty(), "{:?}", options.validate());
        assert!(options.connections_for_members < options.connections_max);
    }

    #[test]
    fn every_wrong_value_is_named_at_once_with_what_fits() {
        let options = Options {
            listen: vec!["/ip4/127.0.0.1/udp/4100".parse().unwrap(), "/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            connections_max: 0,
            connections_for_members: 5,
            dial_delay_ms_max: 1,
            ..Options::default()
        };
        let faults = options.validate();
        let keys: Vec<_> = faults.iter().map(|fault| fault.message.split(':').next().unwrap()).collect();
        assert_eq!(keys, ["listen", "connections_max", "connections_for_members", "dial_delay_ms_max"]);
        assert!(faults.iter().all(|fault| fault.code == Code::ConfigurationInvalid && fault.help.is_some()));
    }
}
