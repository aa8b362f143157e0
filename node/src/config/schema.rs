//! Every key that the configuration has: its type, its default and its meaning. The checker, the commented file that
//! `hansa init` writes and `docs/configuration.md` are all made from this one table, so that they cannot drift apart.

use hansa_core::limit;

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name as people write it, of an organization, a city or a federation.
    Title,
    /// An IP address and a port.
    Socket,
    /// An IP address and a port, or nothing.
    OptionalSocket,
    /// A host and a port, or nothing.
    OptionalHost,
    /// An IP address of this machine alone and a port, or nothing.
    LoopbackSocket,
    /// A list of multiaddresses.
    Multiaddresses,
    /// True or false.
    Flag,
    /// A whole number within bounds, both included.
    Whole {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A path; empty means the default place.
    Path,
    /// A file that is there; empty means none.
    File,
    /// Which log lines are written, as tracing's filters say it.
    Filter,
    /// A list of emulated links.
    Links,
}

impl Kind {
    /// What fits, for a person.
    pub fn expectation(self) -> String {
        match self {
            Self::Title => format!("1 to {} bytes of text without control characters", limit::TITLE_BYTES_MAX),
            Self::Socket => "an IP address and a port, such as \"127.0.0.1:4000\"; port 0 takes any free one".into(),
            Self::OptionalSocket => "an IP address and a port, such as \"127.0.0.1:4001\", or \"\" for none".into(),
            Self::OptionalHost => {
                "a name or IP address and a port, such as \"acme.example:4000\", or \"\" for none".into()
            }
            Self::LoopbackSocket => {
                "an address of this machine alone and a port, such as \"127.0.0.1:4081\", or \"\" for none".into()
            }
            Self::Multiaddresses => {
                "a list of multiaddresses, such as [\"/ip4/0.0.0.0/tcp/4100\"] or [\"/dns4/acme.example/tcp/4100\"]"
                    .into()
            }
            Self::Flag => "true or false".into(),
            Self::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Self::Choice(words) => {
                format!("one of {}", words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", "))
            }
            Self::Path => "a path of at most 100 bytes, or \"\" for the default".into(),
            Self::File => "the path of a file, or \"\" for none".into(),
            Self::Filter => "error, warn, info, debug or trace, or by part: \"info,libp2p=warn\"".into(),
            Self::Links => "a list of tables with address, one_way_ms and jitter_ms".into(),
        }
    }
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its table in the file.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What it must be.
    pub kind: Kind,
    /// What holds where nobody says anything, as TOML; `None` for what must be said.
    pub default: Option<&'static str>,
    /// What it is for.
    pub meaning: &'static str,
}

impl Key {
    /// The key in full, as in messages and after `--set`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("HANSA_{}_{}", self.section.to_ascii_uppercase(), self.name.to_ascii_uppercase())
    }
}

const fn key(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Key {
    Key { section, name, kind, default, meaning }
}

/// The sections in the order of the file, each with what it is about.
pub const SECTIONS: &[(&str, &str)] = &[
    ("organization", "Who this node belongs to, as the other members see it."),
    ("cxip", "Where the organization's own services and clients attach."),
    ("federation", "How this node and the nodes of other members find and reach each other."),
    ("pair", "The mirrored pair, where this node is one of two sub-nodes (docs/pairs.md); both should say the same."),
    (
        "witness",
        "What this node does for the pairs of other members: it remembers which sub-node is active, and nothing else.",
    ),
    ("http", "Health and metrics: GET /health, GET /metrics (OpenMetrics)."),
    ("admin", "The socket through which the commands of `hansa` talk to the running node."),
    ("journal", "The journal, which every change goes to before it is acted on."),
    ("transactions", "How many transactions, and how long they are kept."),
    ("log", "What the node says on standard error."),
    ("emulation", "For testnets only: distance that this node adds on the way to others."),
];

/// Every key, in the order of the file.
pub const KEYS: &[Key] = &[
    key("organization", "name", Kind::Title, None, "The organization's name."),
    key("organization", "city", Kind::Title, None, "The city in which this node stands."),
    key(
        "cxip",
        "listen",
        Kind::Socket,
        Some("\"127.0.0.1:4000\""),
        "Address for services and clients. At one that is not of this machine alone, only accounts are let in (`hansa access`).",
    ),
    key(
        "cxip",
        "announce",
        Kind::OptionalHost,
        Some("\"\""),
        "What services, clients and the other sub-node of a pair are told of where to attach, where it is not cxip.listen: one that all addresses or a router stand for.",
    ),
    key(
        "cxip",
        "open",
        Kind::Flag,
        Some("false"),
        "Whether, as long as there are no accounts, others than this machine are let in too: for a network that you trust.",
    ),
    key(
        "cxip",
        "tls_certificate",
        Kind::File,
        Some("\"\""),
        "The node's certificate, PEM; with it and tls_key, services and clients speak TLS. `hansa access certificate` makes one.",
    ),
    key("cxip", "tls_key", Kind::File, Some("\"\""), "The private key of tls_certificate, PEM."),
    key(
        "cxip",
        "client_authority",
        Kind::File,
        Some("\"\""),
        "Who vouches for client certificates, PEM; such a certificate opens the account that it names, without a password.",
    ),
    key(
        "cxip",
        "admin_listen",
        Kind::OptionalSocket,
        Some("\"\""),
        "Address for administration (`hansa --node`), with TLS where services and clients have it; \"\" is none. Only accounts with the right to administer are let in (`hansa access add --administer`).",
    ),
    key(
        "cxip",
        "http_listen",
        Kind::LoopbackSocket,
        Some("\"\""),
        "Address for CXIP over HTTP (POST /cxip); \"\" is none. It has no TLS, so put a proxy that has on this machine. Unless cxip.open is set, only accounts are let in.",
    ),
    key(
        "federation",
        "listen",
        Kind::Multiaddresses,
        Some("[\"/ip4/0.0.0.0/tcp/4100\"]"),
        "Addresses for other members: /ip4/…/tcp/PORT, or /ip4/…/udp/PORT/quic-v1 for QUIC.",
    ),
    key(
        "federation",
        "announce",
        Kind::Multiaddresses,
        Some("[]"),
        "Addresses that others should use, where they differ from those of listen (behind a router, for instance).",
    ),
    key(
        "federation",
        "known_peers",
        Kind::Multiaddresses,
        Some("[]"),
        "Addresses of members to try first; an invite and the directory usually suffice.",
    ),
    key("federation", "mdns", Kind::Flag, Some("true"), "Whether to look for members on the local network."),
    key(
        "federation",
        "name",
        Kind::Title,
        Some("\"hansa\""),
        "Name of the federation, where this node founds one; whoever joins takes the name that is there.",
    ),
    key(
        "pair",
        "profile",
        Kind::Choice(&["default", "lan"]),
        Some("\"default\""),
        "How soon a lost sub-node is noticed: \"default\" within 4 s, between cities; \"lan\" within 0.4 s, in one building. That of the sub-node that is the mirror counts.",
    ),
    key(
        "pair",
        "on_mirror_lost",
        Kind::Choice(&["solo", "halt"]),
        Some("\"solo\""),
        "What the active does without its mirror: \"solo\" goes on alone as soon as the witnesses hold that it is alone; \"halt\" acknowledges nothing until the mirror is back. A mirror that took over serves alone with either.",
    ),
    key(
        "witness",
        "offer",
        Kind::Flag,
        Some("true"),
        "Whether pairs of other members may have this node as a witness.",
    ),
    key(
        "witness",
        "pairs_max",
        Kind::Whole { min: 0, max: 1_024 },
        Some("32"),
        "For how many pairs it is a witness at most.",
    ),
    key("http", "listen", Kind::Socket, Some("\"127.0.0.1:4080\""), "Address for monitoring."),
    key(
        "admin",
        "socket",
        Kind::Path,
        Some("\"\""),
        "Path of the Unix socket; \"\" is admin.sock in the data folder. Only its owner can open it.",
    ),
    key(
        "journal",
        "segment_mib",
        Kind::Whole { min: 1, max: 1_024 },
        Some("32"),
        "Size of one file of the journal, in MiB; it is reserved at once.",
    ),
    key(
        "journal",
        "checkpoint_mib",
        Kind::Whole { min: 1, max: 65_536 },
        Some("64"),
        "After how many MiB of journal the state is put away, so that a start reads less.",
    ),
    key(
        "journal",
        "keep_mib",
        Kind::Whole { min: 0, max: 1 << 24 },
        Some("4096"),
        "How many MiB of journal are kept in all, so that the history of transactions can be read; the oldest go first.",
    ),
    key(
        "transactions",
        "open_max",
        Kind::Whole { min: 1, max: limit::TRANSACTIONS_OPEN_MAX as u64 },
        Some("2000000"),
        "How many transactions may be open at once; more are answered `busy`.",
    ),
    key(
        "transactions",
        "finished_keep_hours",
        Kind::Whole { min: 0, max: 87_600 },
        Some("168"),
        "How many hours an ended transaction can still be looked at.",
    ),
    key("log", "format", Kind::Choice(&["text", "json"]), Some("\"text\""), "Form of the log lines."),
    key(
        "log",
        "level",
        Kind::Filter,
        Some("\"info\""),
        "Which lines are written; \"info,libp2p=warn\" says it by part.",
    ),
    key(
        "emulation",
        "link",
        Kind::Links,
        Some("[]"),
        "Links on which this node delays what it sends and receives: address, one_way_ms, jitter_ms.",
    ),
];

/// The key of this full name.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path() == path)
}

/// The name of `among` that `given` was probably meant to be.
pub fn nearest<'a>(given: &str, among: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    among
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|&(distance, name)| distance <= 2.max(name.len() / 3))
        .min()
        .map(|(_, name)| name)
}
