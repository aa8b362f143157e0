//! The configuration of a node: one TOML file, overridden by the environment, overridden by flags, and checked whole.
//!
//! Whoever holds a [`Configuration`] holds one that passed every check: its fields are private and nothing else makes
//! one. It knows no data folder and opens nothing.

mod check;
mod schema;
mod sources;
mod template;
#[cfg(test)]
mod tests;

pub use check::{SOCKET_PATH_BYTES_MAX, Transport, socket_of};
pub use sources::{Settings, Sources};
pub use template::{file_text, reference_page};

use hansa_core::{
    code::Fault,
    ident::{City, OrganizationName},
    mirror::pair::{OnMirrorLost, Timing},
};
use multiaddr::Multiaddr;
use std::{net::SocketAddr, path::PathBuf};

/// The configuration in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    organization: Organization,
    cxip: Cxip,
    federation: Federation,
    pair: Pair,
    witness: Witness,
    http: Http,
    admin: Admin,
    journal: Journal,
    transactions: Transactions,
    log: Log,
    emulation: Vec<EmulatedLink>,
}

/// Each section is a struct with private fields and a getter for each.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty => $get:ty, $how:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($field: $kind,)* }

        impl $name {
            $($(#[$field_doc])* pub fn $field(&self) -> $get {
                let how: fn(&$kind) -> $get = $how;
                how(&self.$field)
            })*
        }
    };
}

section!(
    /// Who the node belongs to.
    Organization {
        /// The organization's name.
        name: OrganizationName => &OrganizationName, |value| value;
        /// Where the node stands.
        city: City => &City, |value| value;
    }
);
section!(
    /// Where services and clients attach.
    Cxip {
        /// Where to listen.
        listen: SocketAddr => SocketAddr, |value| *value;
        /// What others are told in place of it.
        announce: Option<String> => Option<&str>, |value| value.as_deref();
        /// Whether others than this machine are let in while there are no accounts.
        open: bool => bool, |value| *value;
        /// The node's certificate.
        tls_certificate: Option<PathBuf> => Option<&PathBuf>, |value| value.as_ref();
        /// Its key.
        tls_key: Option<PathBuf> => Option<&PathBuf>, |value| value.as_ref();
        /// Who vouches for clients' certificates.
        client_authority: Option<PathBuf> => Option<&PathBuf>, |value| value.as_ref();
        /// Where to listen for administrators, if anywhere.
        admin_listen: Option<SocketAddr> => Option<SocketAddr>, |value| *value;
        /// Where to listen for the same over HTTP, if anywhere.
        http_listen: Option<SocketAddr> => Option<SocketAddr>, |value| *value;
    }
);
section!(
    /// How members find and reach each other.
    Federation {
        /// Where to listen: each an address of which [`socket_of`] tells the socket.
        listen: Vec<Multiaddr> => &[Multiaddr], |value| value;
        /// What to announce in place of where we listen; empty for the same.
        announce: Vec<Multiaddr> => &[Multiaddr], |value| value;
        /// Whom to try first.
        known_peers: Vec<Multiaddr> => &[Multiaddr], |value| value;
        /// Whether to look on the local network.
        mdns: bool => bool, |value| *value;
        /// Name of the federation, if this node founds one.
        name: OrganizationName => &OrganizationName, |value| value;
    }
);
section!(
    /// The mirrored pair.
    Pair {
        /// How soon a lost sub-node is noticed.
        timing: Timing => Timing, |value| *value;
        /// What the active does without its mirror.
        on_mirror_lost: OnMirrorLost => OnMirrorLost, |value| *value;
    }
);
section!(
    /// What this node does for the pairs of others.
    Witness {
        /// Whether it is a witness.
        offer: bool => bool, |value| *value;
        /// Of how many pairs at most.
        pairs_max: u64 => u64, |value| *value;
    }
);
section!(
    /// Health and metrics.
    Http {
        /// Where to listen.
        listen: SocketAddr => SocketAddr, |value| *value;
    }
);
section!(
    /// The administration socket.
    Admin {
        /// Its path, if it is not the default one.
        socket: Option<PathBuf> => Option<&PathBuf>, |value| value.as_ref();
    }
);
section!(
    /// The journal.
    Journal {
        /// Size of a segment.
        segment_mib: u64 => u64, |value| *value;
        /// After how much to checkpoint.
        checkpoint_mib: u64 => u64, |value| *value;
        /// How much is kept in all.
        keep_mib: u64 => u64, |value| *value;
    }
);
section!(
    /// Transactions.
    Transactions {
        /// How many may be open.
        open_max: u64 => u64, |value| *value;
        /// How long ended ones are kept.
        finished_keep_hours: u64 => u64, |value| *value;
    }
);
section!(
    /// The log.
    Log {
        /// Its form.
        format: LogFormat => LogFormat, |value| *value;
        /// Which lines, as tracing's filters say it.
        filter: String => &str, |value| value;
    }
);

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// For a machine: one JSON object a line.
    Json,
}

section!(
    /// A link on which this node delays what it sends and receives.
    EmulatedLink {
        /// The other side, as this node dials it.
        address: SocketAddr => SocketAddr, |value| *value;
        /// The delay one way.
        one_way_ms: u64 => u64, |value| *value;
        /// By how much the delay varies.
        jitter_ms: u64 => u64, |value| *value;
    }
);

impl Configuration {
    /// Gather, check, and give the configuration with all its settings and their origins.
    ///
    /// # Errors
    /// Every fault of every source.
    pub fn load(sources: &Sources) -> Result<(Self, Settings), Vec<Fault>> {
        let mut faults = Vec::new();
        let settings = sources::gather(sources, &mut faults);
        let configuration = check::check(&settings, &mut faults);
        match configuration {
            Some(configuration) if faults.is_empty() => Ok((configuration, settings)),
            _ => Err(faults),
        }
    }

    /// Who the node belongs to.
    pub fn organization(&self) -> &Organization {
        &self.organization
    }

    /// Where services and clients attach.
    pub fn cxip(&self) -> &Cxip {
        &self.cxip
    }

    /// How members find and reach each other.
    pub fn federation(&self) -> &Federation {
        &self.federation
    }

    /// The mirrored pair.
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// What this node does for the pairs of others.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Health and metrics.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The administration socket.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Transactions.
    pub fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Links to delay.
    pub fn emulation(&self) -> &[EmulatedLink] {
        &self.emulation
    }
}
