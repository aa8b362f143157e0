//! Log lines on standard error: for a person, or one JSON object a line for a machine. What they may say is decided where
//! they are written: never a key, a password, a document or a private service.

use crate::config::{Log, LogFormat};
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// What libraries say only when it matters.
const QUIET: &str = ",libp2p=warn,libp2p_kad=error,libp2p_mdns=warn,libp2p_swarm=warn,libp2p_tcp=warn,libp2p_core=warn,\
                     libp2p_quic=warn,libp2p_dns=warn,libp2p_identify=warn,hickory_proto=warn,yamux=warn";

/// From now on, write log lines as `log` says. The first call of a process counts.
pub fn begin(log: &Log) {
    // libp2p tells at `info` what is told here in the node's own words; whoever wants its lines names it in log.level.
    let quiet = if log.filter().contains("libp2p") { "" } else { QUIET };
    let filter =
        EnvFilter::builder().parse(format!("{}{quiet}", log.filter())).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second node in one process (in tests) shares the first one's log.
    let _ = match log.format() {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
