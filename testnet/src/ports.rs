//! Free TCP ports for the nodes of a testnet, chosen before the nodes start because each node's configuration names the
//! others' ports, and kept over a restart.
//!
//! They are taken below the range from which the system hands out ports by itself. A port of that range could be taken
//! by any outgoing connection while its node is down, and a client that tries a port where nobody listens could even be
//! connected to itself.

use anyhow::{Result, bail};
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

/// Where the system's own range begins if it does not say: the default of Linux.
const EPHEMERAL_FIRST_DEFAULT: u16 = 32_768;
/// Lower ports belong to well-known services.
const PORT_MIN: u16 = 10_000;
/// How often to guess before giving up.
const ATTEMPTS_PER_PORT_MAX: usize = 200;

fn candidates(system_range: Option<&str>) -> Range<u16> {
    let first = system_range
        .and_then(|text| text.split_whitespace().next())
        .and_then(|word| word.parse().ok())
        .filter(|first| *first > PORT_MIN + 1_000)
        .unwrap_or(EPHEMERAL_FIRST_DEFAULT);
    PORT_MIN..first
}

/// `count` different ports that are free on the loopback address now, at random so that several testnets rarely meet.
///
/// # Errors
/// No port is free, or this process may not listen at all.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let system_range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let candidates = candidates(system_range.as_deref());
    let mut held = Vec::with_capacity(count);
    let mut chosen = BTreeSet::new();
    for _ in 0..count.saturating_mul(ATTEMPTS_PER_PORT_MAX) {
        if held.len() == count {
            break;
        }
        let port = fastrand::u16(candidates.clone());
        // Held until all are found, so that none is given twice.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            && chosen.insert(port)
        {
            held.push((port, listener));
        }
    }
    if held.len() < count {
        bail!("found only {} of {count} free ports between {} and {}", held.len(), candidates.start, candidates.end);
    }
    Ok(held.into_iter().map(|(port, _)| port).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_different_and_can_be_listened_on() {
        let ports = free_ports(20).unwrap();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 20);
        assert!(ports.iter().all(|port| *port >= PORT_MIN));
    }

    #[test]
    fn ports_stay_below_the_range_of_the_system() {
        assert_eq!(candidates(Some("32768\t60999\n")), PORT_MIN..32_768);
        assert_eq!(candidates(Some("49152 65535")), PORT_MIN..49_152);
        assert_eq!(candidates(Some("1024 65535")), PORT_MIN..EPHEMERAL_FIRST_DEFAULT);
        assert_eq!(candidates(None), PORT_MIN..EPHEMERAL_FIRST_DEFAULT);
    }
}
