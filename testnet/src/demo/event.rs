//! What happens in the demo, as a person reads it and as `--json` prints it.

use super::watch::{OperationSeen, PerformerSeen};
use crate::{
    cities::City,
    cluster::{Member, Peer},
    screen::{Screen, Tone, table},
    trade::response::Summary,
};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event<'a> {
    /// A new act begins.
    Act {
        /// What it shows.
        title: &'a str,
    },
    /// A node is up.
    Node {
        /// Whose.
        organization: &'a str,
        /// Where.
        city: &'a str,
        /// The process.
        pid: u32,
        /// Where services attach.
        cxip: String,
        /// How long it took to listen.
        ready_ms: u64,
    },
    /// How long messages take between the cities, one way, in the order of the nodes.
    Latencies {
        /// Row by row.
        one_way_ms: Vec<Vec<u64>>,
        /// The cities.
        cities: Vec<&'a str>,
    },
    /// One node has found another.
    Discovered {
        /// Who.
        organization: &'a str,
        /// Whom.
        peer: &'a Peer,
    },
    /// Who offers what.
    Offer {
        /// Who.
        organization: String,
        /// Where.
        city: String,
        /// Its operations.
        operations: Vec<String>,
    },
    /// An order was submitted and acknowledged.
    Submitted {
        /// What is special about it.
        order: &'a str,
        /// Its transaction.
        transaction: &'a str,
    },
    /// An operation of a transaction is in another state than before.
    Operation {
        /// The transaction.
        transaction: &'a str,
        /// The operation.
        operation: &'a OperationSeen,
    },
    /// The whole graph of a transaction, when it has ended.
    Graph {
        /// The transaction.
        transaction: &'a str,
        /// Its operations.
        operations: &'a [OperationSeen],
        /// How long it took.
        duration_ms: u64,
    },
    /// A transaction was answered.
    Answered {
        /// The transaction.
        transaction: &'a str,
        /// What the answer says.
        response: &'a Summary,
    },
    /// A process was killed.
    Killed {
        /// Whose node.
        organization: &'a str,
        /// In which city.
        city: &'a str,
        /// The process.
        pid: u32,
        /// What it was in the middle of.
        during: &'a str,
    },
    /// It was started again.
    Restarted {
        /// Whose node.
        organization: &'a str,
        /// The new process.
        pid: u32,
        /// How long it took to listen.
        ready_ms: u64,
    },
    /// A pair is whole: both sub-nodes have everything, and either can go on alone.
    Whole {
        /// Whose.
        organization: &'a str,
        /// Where the active sub-node is.
        active: &'a str,
        /// Where the mirror is.
        mirror: &'a str,
        /// How long it took.
        after_ms: u64,
    },
    /// Something was done to a sub-node that serves, or to the disk of one.
    Trouble {
        /// What.
        what: &'a str,
        /// Whose sub-node.
        organization: &'a str,
        /// In which city.
        city: &'a str,
    },
    /// The other sub-node serves.
    TakenOver {
        /// Whose.
        organization: &'a str,
        /// In which city.
        city: &'a str,
        /// How long nobody served.
        after_ms: u64,
    },
    /// Something was checked and holds.
    Checked {
        /// What.
        what: String,
    },
    /// The end.
    Summary {
        /// Transactions that were acknowledged, all of which ended.
        transactions: usize,
        /// Processes that were killed.
        killed: usize,
        /// Invocations that were delivered again and had no second effect.
        repeated_deliveries: u32,
        /// How long all took.
        duration_ms: u64,
    },
    /// The end of the demo of failures.
    Survived {
        /// Sub-nodes that there were.
        subnodes: usize,
        /// Transactions that were acknowledged, all of which ended as they must.
        transactions: usize,
        /// Takeovers.
        takeovers: usize,
        /// How long the longest took.
        takeover_ms_max: u64,
        /// Invocations that were delivered again and had no second effect.
        repeated_deliveries: u32,
        /// How long all took.
        duration_ms: u64,
    },
}

/// Tells what happens, with the time since the demo began.
#[derive(Clone, Copy, Debug)]
pub struct Teller {
    screen: Screen,
    began: Instant,
}

impl Teller {
    /// Tell on this screen, from now on.
    #[must_use]
    pub fn new(screen: Screen) -> Self {
        Self { screen, began: Instant::now() }
    }

    /// How long the demo has run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The screen.
    #[must_use]
    pub const fn screen(&self) -> Screen {
        self.screen
    }

    /// Tell it.
    pub fn tell(&self, event: &Event<'_>) {
        if self.screen.is_json() {
            #[derive(Serialize)]
            struct Timed<'t, 'e> {
                at_ms: u64,
                #[serde(flatten)]
                event: &'t Event<'e>,
            }
            self.screen.object(&Timed { at_ms: milliseconds(self.elapsed()), event });
        } else if let Event::Act { title } = event {
            self.screen.say(&format!("\n{}", self.screen.tone(Tone::Strong, &format!("── {title}"))));
        } else {
            let time = format!("{:7.3}", self.elapsed().as_secs_f64());
            for (place, line) in lines_of(self.screen, event).into_iter().enumerate() {
                let time = if place == 0 { time.as_str() } else { "       " };
                self.screen.say(&format!("{}  {line}", self.screen.tone(Tone::Faint, time)));
            }
        }
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The latencies between all members.
#[must_use]
pub fn latencies(members: &[Member]) -> Vec<Vec<u64>> {
    let one_way = |from: &City, to: &City| if from == to { 0 } else { from.one_way_ms(to) };
    members.iter().map(|from| members.iter().map(|to| one_way(from.city, to.city)).collect()).collect()
}

fn lines_of(screen: Screen, event: &Event<'_>) -> Vec<String> {
    let tone = |tone, text: &str| screen.tone(tone, text);
    match event {
        Event::Act { title } => vec![(*title).to_owned()],
        Event::Node { organization, city, pid, cxip, ready_ms } => vec![format!(
            "{} {city:<10} {organization:<16} process {pid}, services at {cxip}, ready after {ready_ms} ms",
            tone(Tone::Good, "up")
        )],
        Event::Latencies { one_way_ms, cities } => latency_lines(one_way_ms, cities),
        Event::Discovered { organization, peer } => {
            let by = peer.discovered_by.as_deref().unwrap_or("the directory");
            let since = peer.since.as_deref().map_or_else(String::new, |since| format!(" at {}", time_of_day(since)));
            let rtt = peer.rtt_ms.map_or_else(String::new, |rtt| format!(", round trip {rtt:.0} ms"));
            vec![format!("{organization} found {} in {} by {by}{since}{rtt}", peer.name, peer.city)]
        }
        Event::Offer { organization, city, operations } => {
            vec![format!("{organization} in {city} performs {}", operations.join(", "))]
        }
        Event::Submitted { order, transaction } => vec![format!("submitted {order} as transaction {transaction}")],
        Event::Operation { operation, .. } => vec![operation_line(screen, operation)],
        Event::Graph { operations, duration_ms, .. } => graph_lines(screen, operations, *duration_ms),
        Event::Answered { response, .. } => answer_lines(screen, response),
        Event::Killed { organization, city, pid, during } => vec![format!(
            "{} the node of {organization} in {city} (process {pid}) in the middle of {during}",
            tone(Tone::Bad, "SIGKILL")
        )],
        Event::Restarted { organization, pid, ready_ms } => vec![format!(
            "{} the node of {organization} (process {pid}); it listens after {ready_ms} ms",
            tone(Tone::Good, "started again:")
        )],
        Event::Whole { organization, active, mirror, after_ms } => vec![format!(
            "{} {organization}: active in {active}, mirror in {mirror}, after {after_ms} ms",
            tone(Tone::Good, "a whole pair")
        )],
        Event::Trouble { what, organization, city } => {
            vec![format!("{} {organization} in {city}", tone(Tone::Bad, what))]
        }
        Event::TakenOver { organization, city, after_ms } => {
            vec![format!("{} {organization} in {city}, after {after_ms} ms", tone(Tone::Good, "taken over:"))]
        }
        Event::Survived { subnodes, transactions, takeovers, takeover_ms_max, repeated_deliveries, duration_ms } => {
            vec![
                tone(Tone::Strong, "Every acknowledged transaction ended, and every effect happened once."),
                format!(
                    "{transactions} transactions on {subnodes} sub-nodes, {takeovers} takeovers (the longest took \
                 {takeover_ms_max} ms), {repeated_deliveries} deliveries repeated without a second effect, {:.1} s",
                    *duration_ms as f64 / 1_000.0
                ),
            ]
        }
        Event::Checked { what } => vec![format!("{} {what}", tone(Tone::Good, "✓"))],
        Event::Summary { transactions, killed, repeated_deliveries, duration_ms } => vec![
            tone(Tone::Strong, "Every acknowledged transaction ended, and every effect happened once."),
            format!(
                "{transactions} transactions, {killed} processes killed, {repeated_deliveries} deliveries repeated \
                 without a second effect, {:.1} s",
                *duration_ms as f64 / 1_000.0
            ),
        ],
    }
}

/// The time of day of a moment in RFC 3339; anything else as it is.
fn time_of_day(moment: &str) -> &str {
    moment.split_once('T').map_or(moment, |(_, time)| time.trim_end_matches('Z'))
}

fn latency_lines(one_way_ms: &[Vec<u64>], cities: &[&str]) -> Vec<String> {
    let mut rows = vec![std::iter::once("one way, ms").chain(cities.iter().copied()).map(str::to_owned).collect()];
    rows.extend(one_way_ms.iter().zip(cities).map(|(row, city)| {
        let cell = |value: &u64| if *value == 0 { "·".to_owned() } else { value.to_string() };
        std::iter::once((*city).to_owned()).chain(row.iter().map(cell)).collect::<Vec<_>>()
    }));
    table(&rows)
}

fn state_tone(state: &str) -> Tone {
    match state {
        "completed" => Tone::Good,
        "running" => Tone::Lively,
        "waiting" | "eliminated" => Tone::Faint,
        _ => Tone::Bad,
    }
}

/// Who performs an operation, and where.
fn performers_text(performers: &[PerformerSeen]) -> String {
    let one = |performer: &PerformerSeen| {
        let place = match (&performer.organization_name, &performer.city) {
            (Some(name), Some(city)) => format!("→ {name}, {city}"),
            (Some(name), None) => format!("→ {name}"),
            _ => match &performer.service {
                Some(service) => format!("here, by {service}"),
                None => "here".to_owned(),
            },
        };
        match performer.duration_ms {
            Some(duration) if performers.len() > 1 => format!("{place} ({duration} ms)"),
            _ if performers.len() > 1 => format!("{place} ({})", performer.state),
            _ => place,
        }
    };
    performers.iter().map(one).collect::<Vec<_>>().join("  ")
}

fn operation_line(screen: Screen, operation: &OperationSeen) -> String {
    let duration = match operation.duration_ms {
        Some(duration) if operation.ended.is_some() => format!("{duration} ms"),
        _ => String::new(),
    };
    let state = screen.tone(state_tone(&operation.state), &format!("{:<10}", operation.state));
    let fault = operation.fault.as_ref().map_or_else(String::new, |fault| format!("  {fault}"));
    let performers = performers_text(&operation.performers);
    format!("  {:>2} {:<16} {state} {duration:>8}  {performers}{fault}", operation.id, operation.name)
        .trim_end()
        .to_owned()
}

fn graph_lines(screen: Screen, operations: &[OperationSeen], duration_ms: u64) -> Vec<String> {
    let mut lines = vec![format!("the graph, {duration_ms} ms in all:")];
    lines.extend(operations.iter().map(|operation| {
        let links: Vec<_> = operation.links.iter().map(u32::to_string).collect();
        let links = if links.is_empty() { String::new() } else { format!("─▶ {}", links.join(", ")) };
        let state = screen.tone(state_tone(&operation.state), &format!("{:<10}", operation.state));
        let duration = operation.duration_ms.filter(|_| operation.ended.is_some());
        let duration = duration.map_or_else(String::new, |duration| format!("{duration} ms"));
        format!("  {:>2} {:<16} {links:<9} {state} {duration:>8}", operation.id, operation.name).trim_end().to_owned()
    }));
    lines
}

fn answer_lines(screen: Screen, response: &Summary) -> Vec<String> {
    let word = match response.code.as_str() {
        "AP" => screen.tone(Tone::Good, "accepted"),
        "CA" => screen.tone(Tone::Lively, "accepted with changes"),
        _ => screen.tone(Tone::Bad, "refused"),
    };
    let delivery = response.delivery.as_deref().map_or_else(String::new, |day| format!(", delivery {day}"));
    let mut lines =
        vec![format!("OrderResponse {}: {word}, {}{delivery}. {}", response.id, response.payable, response.note)];
    let line = |(item, quantity, back_ordered): &(String, String, String)| match back_ordered.as_str() {
        "" => format!("{item} {quantity}"),
        _ => format!("{item} {quantity} (+{back_ordered} later)"),
    };
    lines.extend(
        response.lines.chunks(5).map(|few| format!("  {}", few.iter().map(line).collect::<Vec<_>>().join(", "))),
    );
    lines
}
