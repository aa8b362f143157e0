//! Where the node listens, and what is said when it cannot.

use super::Service;
use crate::event::Event;
use hansa_core::{
    code::{Code, Fault},
    limit,
};
use libp2p::{Multiaddr, core::transport::TransportError, multiaddr::Protocol};
use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
};

impl Service {
    /// Listen at everything that is configured.
    pub(super) fn listen(&mut self) {
        for address in self.options.announce.clone() {
            self.swarm.add_external_address(address.clone());
            self.shared.addresses().push(address.with_p2p(self.own).unwrap_or_else(|address| address));
        }
        for address in self.options.listen.clone() {
            let listened = ensure_free(&address).and_then(|()| {
                self.swarm.listen_on(address.clone()).map(drop).map_err(|error| match error {
                    TransportError::Other(error) => error,
                    TransportError::MultiaddrNotSupported(_) => io::Error::other("no transport can listen at it"),
                })
            });
            if let Err(error) = listened {
                let fault = fault(&address, &error);
                tracing::error!(%address, %fault, "cannot listen");
                self.backlog.push_back(Event::ListenFailed { address, fault });
            }
        }
    }

    pub(super) fn on_listening(&mut self, address: Multiaddr) {
        let address = address.with_p2p(self.own).unwrap_or_else(|address| address);
        if self.options.announce.is_empty() {
            let mut addresses = self.shared.addresses();
            if addresses.len() < limit::ADDRESSES_MAX && !addresses.contains(&address) {
                addresses.push(address.clone());
            }
        }
        tracing::info!(%address, "listening");
        self.report(Event::Listening { address });
    }

    pub(super) fn on_listening_ended(&mut self, ended: impl IntoIterator<Item = Multiaddr>, reason: Option<io::Error>) {
        for address in ended {
            let full = address.clone().with_p2p(self.own).unwrap_or_else(|address| address);
            self.shared.addresses().retain(|other| *other != full);
            let error = reason.as_ref().map_or_else(
                || io::Error::other("the address is gone"),
                |reason| io::Error::new(reason.kind(), reason.to_string()),
            );
            let fault = fault(&address, &error);
            self.report(Event::ListenFailed { address, fault });
        }
    }

    /// Interfaces may come and go for ever while the node takes no events: the oldest news of that kind is worth least.
    fn report(&mut self, event: Event) {
        if self.backlog.len() >= super::EVENTS_MAX {
            self.backlog.pop_front();
        }
        self.backlog.push_back(event);
    }
}

/// libp2p listens with SO_REUSEPORT, so two nodes would share a port without a word; an ordinary socket finds out.
fn ensure_free(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => TcpListener::bind(SocketAddr::new(ip, port)).map(drop),
        _ => Ok(()),
    }
}

fn fault(address: &Multiaddr, error: &io::Error) -> Fault {
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    });
    match port {
        Some(port) if is_in_use(error) => Fault::new(
            Code::PortInUse,
            format!("port {port} is in use by another process, so {address} cannot be listened at"),
        ),
        _ => Fault::new(Code::ConfigurationInvalid, format!("cannot listen at {address}: {error}"))
            .help("choose an address of this machine, or 0.0.0.0 for all of them"),
    }
}

/// Transports wrap the error of the operating system in others.
fn is_in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse || error.to_string().contains("in use")
}
