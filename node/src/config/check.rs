//! Checks gathered settings and makes the configuration of them. It goes through all of them before it gives up, so that
//! a person mends everything at once.

use super::{
    Admin, Configuration, Cxip, EmulatedLink, Federation, Http, Journal, Log, LogFormat, Organization, Pair,
    Transactions, Witness,
    schema::{self, Kind},
    sources::{Setting, Settings},
};
use hansa_core::{
    code::Fault,
    limit,
    mirror::pair::{OnMirrorLost, Timing},
};
use multiaddr::{Multiaddr, Protocol};
use std::{net::SocketAddr, path::PathBuf, str::FromStr};
use tracing_subscriber::EnvFilter;

/// Bytes of a socket's path: the least that common systems allow, less the terminating zero and some room.
pub const SOCKET_PATH_BYTES_MAX: usize = 100;
/// Links that can be emulated at once.
const EMULATED_LINKS_MAX: usize = 1_024;
/// The longest distance that can be emulated.
const EMULATED_DELAY_MS_MAX: u64 = 60_000;

/// Make the configuration. `None` only if a fault was added.
pub fn check(settings: &Settings, faults: &mut Vec<Fault>) -> Option<Configuration> {
    let mut check = Check { settings, faults };
    let name = check.title("organization.name");
    let city = check.title("organization.city");
    let cxip = check.socket("cxip.listen");
    let open = check.flag("cxip.open");
    let tls_certificate = check.file("cxip.tls_certificate");
    let tls_key = check.file("cxip.tls_key");
    let client_authority = check.file("cxip.client_authority");
    check.tls(tls_certificate.as_ref(), tls_key.as_ref(), client_authority.as_ref());
    let cxip_admin = check.optional_socket("cxip.admin_listen");
    let cxip_announce = check.host("cxip.announce");
    let cxip_http = check.loopback_socket("cxip.http_listen");
    let listen = check.listen_addresses("federation.listen");
    let announce = check.multiaddresses("federation.announce");
    let known_peers = check.multiaddresses("federation.known_peers");
    let mdns = check.flag("federation.mdns");
    let federation_name = check.title("federation.name");
    let timing = check.choice("pair.profile", &[("default", Timing::DEFAULT), ("lan", Timing::LAN)]);
    let lost = [("solo", OnMirrorLost::Solo), ("halt", OnMirrorLost::Halt)];
    let on_mirror_lost = check.choice("pair.on_mirror_lost", &lost);
    let offer = check.flag("witness.offer");
    let pairs_max = check.whole("witness.pairs_max");
    let http = check.socket("http.listen");
    let socket = check.path("admin.socket");
    let segment_mib = check.whole("journal.segment_mib");
    let checkpoint_mib = check.whole("journal.checkpoint_mib");
    let keep_mib = check.whole("journal.keep_mib");
    let open_max = check.whole("transactions.open_max");
    let finished_keep_hours = check.whole("transactions.finished_keep_hours");
    let format = check.choice("log.format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    let filter = check.filter("log.level");
    let links = check.links("emulation.link");
    if let (Some(cxip), Some(http)) = (cxip, http)
        && cxip == http
        && cxip.port() != 0
    {
        check.fault(
            "http.listen",
            &format!("{http} is the address of cxip.listen too"),
            "choose another port for one of them",
        );
    }
    if let (Some(cxip), Some(Some(admin))) = (cxip, cxip_admin)
        && cxip == admin
        && cxip.port() != 0
    {
        check.fault(
            "cxip.admin_listen",
            &format!("{admin} is the address of cxip.listen too"),
            "choose another port: administration is not spoken where services and clients attach",
        );
    }
    Some(Configuration {
        organization: Organization { name: name?, city: city? },
        cxip: Cxip {
            listen: cxip?,
            announce: cxip_announce?,
            open: open?,
            tls_certificate: tls_certificate?,
            tls_key: tls_key?,
            client_authority: client_authority?,
            admin_listen: cxip_admin?,
            http_listen: cxip_http?,
        },
        federation: Federation {
            listen: listen?,
            announce: announce?,
            known_peers: known_peers?,
            mdns: mdns?,
            name: federation_name?,
        },
        pair: Pair { timing: timing?, on_mirror_lost: on_mirror_lost? },
        witness: Witness { offer: offer?, pairs_max: pairs_max? },
        http: Http { listen: http? },
        admin: Admin { socket: socket? },
        journal: Journal { segment_mib: segment_mib?, checkpoint_mib: checkpoint_mib?, keep_mib: keep_mib? },
        transactions: Transactions { open_max: open_max?, finished_keep_hours: finished_keep_hours? },
        log: Log { format: format?, filter: filter? },
        emulation: links?,
    })
}

struct Check<'a> {
    settings: &'a Settings,
    faults: &'a mut Vec<Fault>,
}

impl Check<'_> {
    fn fault(&mut self, path: &str, message: &str, help: &str) {
        let fault = match self.settings.get(path) {
            Some(setting) => setting.origin.fault(&format!("{path}: {message}")),
            None => Fault::new(hansa_core::code::Code::ConfigurationInvalid, format!("{path}: {message}")),
        };
        self.faults.push(fault.help(help));
    }

    /// What was said for `path`, if `read` accepts it; otherwise a fault that says what would fit.
    fn take<T>(&mut self, path: &str, read: impl FnOnce(&toml::Value) -> Result<T, String>) -> Option<T> {
        let expectation = schema::find(path).map(|key| key.kind.expectation()).unwrap_or_default();
        let Some(Setting { value, .. }) = self.settings.get(path) else {
            let variable = schema::find(path).map(schema::Key::variable).unwrap_or_default();
            self.fault(
                path,
                "this must be said, and is missing",
                &format!("write it into the file, or set {variable}; it is {expectation}"),
            );
            return None;
        };
        match read(value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.fault(path, &message, &format!("it must be {expectation}"));
                None
            }
        }
    }

    fn title<T: FromStr<Err = Fault>>(&mut self, path: &str) -> Option<T> {
        self.take(path, |value| text(value)?.parse::<T>().map_err(|fault| fault.message))
    }

    fn socket(&mut self, path: &str) -> Option<SocketAddr> {
        self.take(path, socket)
    }

    fn optional_socket(&mut self, path: &str) -> Option<Option<SocketAddr>> {
        self.take(path, |value| match text(value)? {
            "" => Ok(None),
            _ => socket(value).map(Some),
        })
    }

    fn loopback_socket(&mut self, path: &str) -> Option<Option<SocketAddr>> {
        self.take(path, |value| match text(value)? {
            "" => Ok(None),
            address => match socket(value)? {
                socket if socket.ip().is_loopback() => Ok(Some(socket)),
                _ => Err(format!(
                    "'{}' can be reached from other machines, and nothing there is encrypted",
                    shown(address)
                )),
            },
        })
    }

    fn flag(&mut self, path: &str) -> Option<bool> {
        self.take(path, |value| value.as_bool().ok_or_else(|| mismatch(value)))
    }

    fn whole(&mut self, path: &str) -> Option<u64> {
        let Some(Kind::Whole { min, max }) = schema::find(path).map(|key| key.kind) else {
            unreachable!("{path} is a whole number in the table")
        };
        self.take(path, |value| whole(value, min, max))
    }

    fn path(&mut self, path: &str) -> Option<Option<PathBuf>> {
        self.take(path, |value| match text(value)? {
            "" => Ok(None),
            long if long.len() > SOCKET_PATH_BYTES_MAX => Err(format!("this path has {} bytes", long.len())),
            path if path.contains('\0') => Err("a path cannot have a zero byte".into()),
            path => Ok(Some(PathBuf::from(path))),
        })
    }

    fn file(&mut self, path: &str) -> Option<Option<PathBuf>> {
        self.take(path, |value| match text(value)? {
            "" => Ok(None),
            path if path.contains('\0') => Err("a path cannot have a zero byte".into()),
            path => Ok(Some(PathBuf::from(path))),
        })
    }

    /// Certificate and key belong together, and who checks clients must speak TLS.
    fn tls(
        &mut self,
        certificate: Option<&Option<PathBuf>>,
        key: Option<&Option<PathBuf>>,
        authority: Option<&Option<PathBuf>>,
    ) {
        let (Some(certificate), Some(key), Some(authority)) = (certificate, key, authority) else { return };
        match (certificate, key) {
            (Some(_), None) => self.fault("cxip.tls_key", "the certificate has no key", "set cxip.tls_key too"),
            (None, Some(_)) => {
                self.fault("cxip.tls_certificate", "the key has no certificate", "set cxip.tls_certificate too");
            }
            (None, None) if authority.is_some() => self.fault(
                "cxip.client_authority",
                "clients can show certificates over TLS only",
                "set cxip.tls_certificate and cxip.tls_key too",
            ),
            _ => {}
        }
    }

    /// What one of these words stands for.
    fn choice<T: Copy>(&mut self, path: &str, words: &[(&str, T)]) -> Option<T> {
        self.take(path, |value| {
            let text = text(value)?;
            let chosen = words.iter().find(|(word, _)| *word == text);
            chosen.map(|(_, meaning)| *meaning).ok_or_else(|| format!("'{}' is none of the words for it", shown(text)))
        })
    }

    fn host(&mut self, path: &str) -> Option<Option<String>> {
        self.take(path, |value| match text(value)? {
            "" => Ok(None),
            address if is_host_and_port(address) => Ok(Some(address.to_owned())),
            other => Err(format!("'{}' is no host with a port", shown(other))),
        })
    }

    fn filter(&mut self, path: &str) -> Option<String> {
        self.take(path, |value| {
            let text = text(value)?;
            // A lone word that is no level would silently be taken for the name of a part of the program.
            let levels = ["off", "error", "warn", "info", "debug", "trace"];
            let lone = text
                .split(',')
                .map(str::trim)
                .find(|part| !part.contains(['=', '[']) && !levels.contains(&part.to_ascii_lowercase().as_str()));
            match (lone, EnvFilter::builder().parse(text)) {
                (Some(word), _) => Err(format!("'{}' is no level", shown(word))),
                (None, Err(error)) => Err(format!("'{}' cannot be read: {error}", shown(text))),
                (None, Ok(_)) => Ok(text.to_owned()),
            }
        })
    }

    fn multiaddresses(&mut self, path: &str) -> Option<Vec<Multiaddr>> {
        self.take(path, |value| {
            let list = value.as_array().ok_or_else(|| mismatch(value))?;
            let count_max = if path == "federation.known_peers" { limit::MEMBERS_MAX } else { limit::ADDRESSES_MAX };
            if list.len() > count_max {
                return Err(format!("{} addresses are more than the {count_max} that there may be", list.len()));
            }
            list.iter()
                .map(|item| {
                    let text = text(item)?;
                    let address: Multiaddr =
                        text.parse().map_err(|error| format!("'{}' is no multiaddress: {error}", shown(text)))?;
                    if is_reachable(&address) {
                        Ok(address)
                    } else {
                        Err(format!("'{}' is neither a TCP nor a QUIC address", shown(text)))
                    }
                })
                .collect()
        })
    }

    fn listen_addresses(&mut self, path: &str) -> Option<Vec<Multiaddr>> {
        let addresses = self.multiaddresses(path)?;
        if addresses.is_empty() {
            self.fault(path, "a node needs at least one address", "name one, such as [\"/ip4/0.0.0.0/tcp/4100\"]");
            return None;
        }
        for address in &addresses {
            if socket_of(address).is_none() {
                self.fault(
                    path,
                    &format!("'{address}' is nothing that a node can listen on"),
                    "use /ip4/ADDRESS/tcp/PORT or /ip4/ADDRESS/udp/PORT/quic-v1, or ip6 in place of ip4",
                );
            }
        }
        addresses.iter().all(|address| socket_of(address).is_some()).then_some(addresses)
    }

    fn links(&mut self, path: &str) -> Option<Vec<EmulatedLink>> {
        self.take(path, |value| {
            let list = value.as_array().ok_or_else(|| mismatch(value))?;
            if list.len() > EMULATED_LINKS_MAX {
                return Err(format!("more than {EMULATED_LINKS_MAX} links"));
            }
            list.iter().map(link).collect()
        })
    }
}

fn link(value: &toml::Value) -> Result<EmulatedLink, String> {
    let table = value.as_table().ok_or_else(|| mismatch(value))?;
    const NAMES: [&str; 3] = ["address", "one_way_ms", "jitter_ms"];
    if let Some(unknown) = table.keys().find(|name| !NAMES.contains(&name.as_str())) {
        let hint = schema::nearest(unknown, NAMES).map(|name| format!("; did you mean '{name}'?")).unwrap_or_default();
        return Err(format!("a link has no '{}'{hint}", shown(unknown)));
    }
    let delay = |name: &str| {
        table.get(name).map_or(Ok(0), |value| {
            whole(value, 0, EMULATED_DELAY_MS_MAX).map_err(|message| format!("{name}: {message}"))
        })
    };
    let address = table.get("address").ok_or("a link must have an address")?;
    Ok(EmulatedLink { address: socket(address)?, one_way_ms: delay("one_way_ms")?, jitter_ms: delay("jitter_ms")? })
}

/// Whether members can reach each other so: a host, then TCP or QUIC, then at most a peer id.
fn is_reachable(address: &Multiaddr) -> bool {
    use Protocol::{Dns, Dns4, Dns6, Dnsaddr, Ip4, Ip6, P2p, QuicV1, Tcp, Udp};
    let mut parts = address.iter();
    let host = matches!(parts.next(), Some(Ip4(_) | Ip6(_) | Dns(_) | Dns4(_) | Dns6(_) | Dnsaddr(_)));
    let port = match parts.next() {
        Some(Tcp(_)) => true,
        Some(Udp(_)) => parts.next() == Some(QuicV1),
        _ => false,
    };
    host && port && matches!((parts.next(), parts.next()), (None | Some(P2p(_)), None))
}

/// Transport and socket of an address that a node can listen on.
pub fn socket_of(address: &Multiaddr) -> Option<(Transport, SocketAddr)> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let (transport, port) = match (parts.next()?, parts.next()) {
        (Protocol::Tcp(port), None | Some(Protocol::P2p(_))) => (Transport::Tcp, port),
        (Protocol::Udp(port), Some(Protocol::QuicV1)) => (Transport::Quic, port),
        _ => return None,
    };
    Some((transport, SocketAddr::new(ip, port)))
}

/// How members reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP with Noise and Yamux.
    Tcp,
    /// QUIC.
    Quic,
}

fn text(value: &toml::Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| mismatch(value))
}

fn socket(value: &toml::Value) -> Result<SocketAddr, String> {
    let text = text(value)?;
    text.parse().map_err(|_| format!("'{}' is no IP address with a port", shown(text)))
}

/// Whether others can be told to go there: a port that is one, at a name or an address that is somewhere.
fn is_host_and_port(text: &str) -> bool {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return socket.port() != 0 && !socket.ip().is_unspecified();
    }
    let is_of_names = |host: &str| host.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._".contains(letter));
    text.rsplit_once(':').is_some_and(|(host, port)| {
        (1..=253).contains(&host.len()) && is_of_names(host) && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

fn whole(value: &toml::Value, min: u64, max: u64) -> Result<u64, String> {
    let number = value.as_integer().ok_or_else(|| mismatch(value))?;
    match u64::try_from(number) {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{number} is out of range")),
    }
}

fn mismatch(value: &toml::Value) -> String {
    let what = match value {
        toml::Value::String(text) => return format!("'{}' is not of the right type", shown(text)),
        toml::Value::Integer(_) => "a whole number",
        toml::Value::Float(_) => "a number with a point",
        toml::Value::Boolean(_) => "true or false",
        toml::Value::Datetime(_) => "a date",
        toml::Value::Array(_) => "a list",
        toml::Value::Table(_) => "a table",
    };
    format!("{what} does not fit here")
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect::<String>().escape_debug().to_string()
}
