//! How answers and faults look as text. Pure functions from data to text: nothing here asks or prints.

use crate::{
    admin::protocol::*,
    config::Settings,
    doctor::{Finding, State},
};
use hansa_core::code::Fault;
use std::fmt::Write as _;

mod definition;
mod difference;
mod pair;
mod transaction;

pub use definition::{Look, definition_faults};
pub use difference::{changed_lines, definition_versions, difference};
pub use pair::{pair, pair_appointed, pair_concerns, pair_ended, pair_initiated, pair_line, pair_switched};
pub use transaction::{dry_run, history, show, transactions};

/// The columns of rows, aligned, below their heads where there are any. The last column is not padded.
pub fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let heads = (!heads.is_empty()).then(|| heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>());
    let rows: Vec<Vec<String>> = heads.into_iter().chain(rows).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `1 member`, `2 members`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A duration in the two largest units that say something.
pub fn duration(milliseconds: u64) -> String {
    let (seconds, minutes, hours) = (milliseconds / 1_000, milliseconds / 60_000, milliseconds / 3_600_000);
    match hours {
        24.. => format!("{} d {} h", hours / 24, hours % 24),
        1.. => format!("{hours} h {} min", minutes % 60),
        0 if minutes > 0 => format!("{minutes} min {} s", seconds % 60),
        0 if seconds > 0 => format!("{seconds}.{} s", milliseconds % 1_000 / 100),
        0 => format!("{milliseconds} ms"),
    }
}

/// A number of bytes in the unit that says most.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1_024 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A fault, and the several that it sums up.
pub fn faults(first: &Fault, all: &[Fault]) -> String {
    let mut text = format!("hansa: {first}\n");
    if all.is_empty() {
        let _ = writeln!(text, "  → {}", first.advice());
    }
    for fault in all {
        let place = fault.place.map(|place| format!(" ({place})")).unwrap_or_default();
        let _ = writeln!(text, "  ✘ {}{place}\n    → {}", fault.message, fault.advice());
    }
    text
}

/// `hansa status`.
pub fn status(status: &Status) -> String {
    let mut text = format!("{} in {}\n", status.organization.name, status.organization.city);
    let federation = match &status.federation {
        Some(federation) => {
            format!("{} ({}), {}", federation.name, federation.id.short(), count(federation.members, "member"))
        }
        None => "none yet: `hansa invite` founds one, `hansa join INVITE` joins one".to_owned(),
    };
    let (node, addresses, journal) = (&status.node, &status.addresses, &status.journal);
    let transactions = &status.transactions;
    let rows = [
        ("identity", status.organization.id.to_string()),
        ("federation", federation),
        (
            "node",
            format!("{} {}, process {}, up {}", node.id.short(), node.version, node.pid, duration(node.uptime_ms)),
        ),
        ("in its pair", status.pair.as_deref().map(pair_line).unwrap_or_default()),
        ("services at", addresses.cxip.clone()),
        ("members at", addresses.federation.join(", ")),
        ("administered at", addresses.cxip_admin.clone().unwrap_or_default()),
        ("monitoring at", format!("http://{}", addresses.http)),
        (
            "journal",
            format!(
                "entry {} ({} durable), {} in {}, last sync {} µs, {} free of {}",
                journal.sequence,
                if journal.durable == journal.sequence { "all".to_owned() } else { journal.durable.to_string() },
                bytes(journal.bytes),
                count(journal.segments, "segment"),
                journal.sync_us_last,
                bytes(journal.disk.free_bytes),
                bytes(journal.disk.total_bytes),
            ),
        ),
        (
            "transactions",
            format!(
                "{} open; {} completed, {} failed, {} timed out, {} cancelled since the start",
                transactions.open,
                transactions.completed,
                transactions.failed,
                transactions.timed_out,
                transactions.cancelled
            ),
        ),
        ("health", health(&status.health)),
    ];
    let said = rows.into_iter().filter(|(_, value)| !value.is_empty());
    text.push_str(&indented(&table(&[], said.map(|(name, value)| vec![name.to_owned(), value]))));
    if !status.peers.is_empty() {
        let connected = status.peers.iter().filter(|peer| peer.connected).count();
        let _ = writeln!(text, "\nPeers: {connected} of {} connected", status.peers.len());
        text.push_str(&indented(&table(&[], status.peers.iter().flat_map(peer))));
    }
    if !status.services.is_empty() {
        let _ = write!(text, "\nServices\n{}", indented(&services(&status.services)));
    }
    text
}

fn health(health: &Health) -> String {
    let mut text = String::from(if health.ok { "✔ well" } else { "✘ not well" });
    for finding in &health.findings {
        let _ = write!(text, "; {finding}: {}", finding.advice());
    }
    text
}

/// A member, and below it its mirrors.
fn peer(peer: &Peer) -> Vec<Vec<String>> {
    let mut about = Vec::new();
    about.extend(peer.rtt_ms.filter(|_| peer.connected).map(|rtt| format!("{rtt:.1} ms")));
    about.extend(peer.address.clone());
    about.extend(peer.discovered_by.as_ref().map(|by| format!("by {by}")));
    about.extend(peer.since.map(|since| format!("since {since}")));
    about.extend((peer.outbox > 0).then(|| format!("{} waiting for it", peer.outbox)));
    about.extend(peer.durability.map(|durability| format!("confirms on {}", durability.phrase())));
    let mark = if peer.connected { "●" } else { "○" };
    let word = if peer.connected { "connected" } else { "away" };
    let mut rows =
        vec![vec![format!("{mark} {}", peer.name), peer.city.to_string(), word.to_owned(), about.join(", ")]];
    rows.extend(peer.mirrors.iter().map(|mirror| {
        let rtt = mirror.rtt_ms.map(|rtt| format!("{rtt:.1} ms, ")).unwrap_or_default();
        let about = format!("{rtt}{}", mirror.address);
        vec!["  and its mirror".to_owned(), mirror.city.to_string(), "connected".to_owned(), about]
    }));
    rows
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn names<T: ToString>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `hansa service list`.
pub fn services(services: &[Service]) -> String {
    if services.is_empty() {
        return "No service is registered here.\n".into();
    }
    let rows = services.iter().map(|service| {
        vec![
            service.name.to_string(),
            if service.public { "public" } else { "private" }.to_owned(),
            service.sessions.to_string(),
            service.queued.to_string(),
            service.in_flight.to_string(),
            names(&service.operations),
        ]
    });
    table(&["SERVICE", "KNOWN", "CONNECTIONS", "QUEUED", "IN FLIGHT", "OPERATIONS"], rows)
}

/// `hansa directory`.
pub fn directory(entries: &[DirectoryEntry]) -> String {
    if entries.is_empty() {
        return "Nobody offers that, as far as this node knows.\n".into();
    }
    let mut text = String::new();
    for entry in entries {
        let word = match (entry.own, entry.connected) {
            (true, _) => "this node",
            (false, true) => "connected",
            (false, false) => "away",
        };
        let mark = if entry.own || entry.connected { "●" } else { "○" };
        let _ = writeln!(text, "{mark} {} in {} ({word}, {})", entry.name, entry.city, entry.organization.short());
        let rows = entry.services.iter().map(|service| {
            let known = if service.public { "" } else { " (private)" };
            vec![format!("{}{known}", service.name), names(&service.operations)]
        });
        text.push_str(&indented(&indented(&table(&[], rows))));
    }
    text
}

/// `hansa transaction definitions`.
pub fn definitions(definitions: &[DefinitionEntry]) -> String {
    if definitions.is_empty() {
        return "No transaction is defined. Define one: hansa transaction define FILE\n".into();
    }
    let rows = definitions.iter().map(|definition| {
        vec![
            definition.name.to_string(),
            definition.operations.to_string(),
            definition.versions.to_string(),
            definition.hash.short(),
            definition.defined.to_string(),
        ]
    });
    table(&["DEFINITION", "OPERATIONS", "VERSIONS", "NEWEST", "SINCE"], rows)
}

/// `hansa config`.
pub fn settings(settings: &Settings) -> String {
    let rows = settings
        .iter()
        .map(|(path, setting)| vec![path.clone(), setting.value.to_string(), setting.origin.to_string()]);
    table(&["KEY", "VALUE", "SAID BY"], rows)
}

/// `hansa doctor`.
pub fn findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.state {
            State::Well => "✔",
            State::Doubtful => "!",
            State::Wrong => "✘",
            State::Skipped => "·",
        };
        let _ = writeln!(text, "{mark} {:13}  {}", finding.check, finding.message);
        if let Some(advice) = &finding.advice {
            let _ = writeln!(text, "                 → {advice}");
        }
    }
    let number = |state| findings.iter().filter(|finding| finding.state == state).count() as u64;
    let _ = match (number(State::Wrong), number(State::Doubtful)) {
        (0, 0) => writeln!(text, "\nAll is well."),
        (0, doubtful) => writeln!(text, "\nNothing is wrong; {} to look at.", count(doubtful, "thing")),
        (wrong, _) => {
            writeln!(text, "\n{} wrong.", if wrong == 1 { "1 thing is".into() } else { format!("{wrong} things are") })
        }
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::pretended;
    use hansa_core::code::{Code, Place};

    #[test]
    fn the_status_names_everything_that_a_person_asks_for() {
        let text = status(&pretended::status());
        for part in [
            "Acme BV in Rotterdam",
            "hansa (fed-",
            "3 members",
            "process 4711, up 1 d 2 h",
            "127.0.0.1:4000",
            "/ip4/127.0.0.1/tcp/4100",
            "http://127.0.0.1:4080",
            "entry 1234 (1230 durable), 64.0 MiB in 2 segments",
            "1 open; 3 completed",
            "✔ well; Cedar Pte is away [peer-unreachable]: ",
            "Peers: 1 of 2 connected",
            "in its pair    active, epoch 7: the mirror in Hamburg is 3 entries behind; 1 of 2 witnesses connected",
            "● Birch GmbH      Hamburg    connected  12.3 ms, /ip4/10.0.0.2/tcp/4100, by mdns, since 2026-",
            "confirms on two sites",
            "  and its mirror  Bremen     connected  9.0 ms, /ip4/10.0.0.3/tcp/4100",
            "○ Cedar Pte       Singapore  away       by directory, 7 waiting for it",
            "credit   private  2            1       3          check-credit, book",
        ] {
            assert!(text.contains(part), "'{part}' is missing in:\n{text}");
        }
    }

    #[test]
    fn faults_say_what_where_and_what_to_do() {
        let place = Place { line: 3, column: 1 };
        let one = Fault::new(Code::DataInUse, "process 7 uses '/data'").help("stop it");
        assert_eq!(faults(&one, &[]), "hansa: process 7 uses '/data' [data-in-use]\n  → stop it\n");
        let all = [Fault::new(Code::ConfigurationInvalid, "hansa.toml: x").at(place).help("y"), one];
        let first = Fault::new(Code::ConfigurationInvalid, "the configuration has 2 faults");
        assert_eq!(
            faults(&first, &all),
            "hansa: the configuration has 2 faults [configuration-invalid]\n  ✘ hansa.toml: x (line 3, column 1)\n    → y\n  \
             ✘ process 7 uses '/data'\n    → stop it\n"
        );
    }

    #[test]
    fn numbers_are_told_in_the_unit_that_says_most() {
        let durations = [0, 999, 1_234, 61_000, 3_660_000, 93_784_000].map(duration);
        assert_eq!(durations, ["0 ms", "999 ms", "1.2 s", "1 min 1 s", "1 h 1 min", "1 d 2 h"]);
        assert_eq!([0, 1_023, 1_536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!([count(1, "member"), count(2, "member")], ["1 member", "2 members"]);
    }

    #[test]
    fn columns_align_by_characters_not_bytes() {
        let rows = [vec!["ä".to_owned(), "x".to_owned()], vec!["bb".to_owned(), "y".to_owned()]];
        assert_eq!(table(&["A", "B"], rows), "A   B\nä   x\nbb  y\n");
    }
}
