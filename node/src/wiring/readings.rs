//! The numbers that monitoring reads, of the house, the journal, the federation and the pair. It decides their names, which are a
//! promise to whoever watches them; [`super::administration`] hands them out.

use super::{Machines, pair::role};
use crate::admin::protocol::{PairRole, Reading};
use hansa_actors::{
    clock,
    duties::{Progress, Status},
    stage,
};
use hansa_core::{dispatch::Tally, durability::Durability, mirror::Mode};

impl Machines {
    /// All of them.
    pub(super) async fn all_readings(&self) -> Vec<Reading> {
        let statistics = self.statistics();
        let journal = &statistics.journal;
        let mut readings = vec![
            Reading::gauge(
                "hansa_uptime_seconds",
                "Seconds since the process started.",
                clock::now().since_ms(self.start.started.0) as f64 / 1_000.0,
            ),
            Reading::gauge("hansa_healthy", "One if the node does its work.", f64::from(self.findings().is_empty())),
            Reading::gauge(
                "hansa_serving",
                "One if this sub-node serves, zero if it follows.",
                f64::from(self.housed().is_some()),
            ),
            Reading::gauge(
                "hansa_transactions_open",
                "Transactions that are open.",
                statistics.transactions_open as f64,
            ),
            Reading::gauge("hansa_topics", "Topics that have subscribers.", statistics.topics as f64),
            Reading::gauge(
                "hansa_topics_bytes",
                "Bytes of publications that topics keep for their subscribers.",
                statistics.topics_bytes as f64,
            ),
            Reading::counter("hansa_inputs_refused", "Inputs that machines refused.", statistics.refused as f64),
            Reading::counter(
                "hansa_answers_unknown",
                "Answers of services that were refused and that no transaction records: nobody asked, or too many of them came.",
                statistics.strays as f64,
            ),
            Reading::gauge("hansa_sessions", "Connections of services and clients.", self.ways.sessions.count() as f64),
            Reading::gauge(
                "hansa_cxip_arriving_bytes",
                "Bytes of CXIP messages that have come in part.",
                self.room.get().map_or(0, |room| room.assembly_bytes()) as f64,
            ),
            Reading::gauge(
                "hansa_cxip_queued_bytes",
                "Bytes that wait for services and clients that read slowly.",
                self.room.get().map_or(0, |room| room.queued_bytes()) as f64,
            ),
            Reading::counter("hansa_journal_entries", "Entries made durable.", journal.entries as f64),
            Reading::counter("hansa_journal_bytes", "Bytes written to the journal.", journal.bytes_written as f64),
            Reading::counter("hansa_journal_syncs", "Syncs of the journal.", journal.syncs as f64),
            Reading::counter(
                "hansa_journal_sync_seconds",
                "Time that syncs of the journal took.",
                journal.sync_us_total as f64 / 1e6,
            ),
            Reading::gauge("hansa_journal_segments", "Segment files of the journal.", journal.segments as f64),
            Reading::gauge(
                "hansa_journal_kept_bytes",
                "Bytes of the journal's segment files.",
                journal.segment_bytes as f64,
            ),
            Reading::counter(
                "hansa_journal_segments_dropped",
                "Segment files that were dropped, the oldest first.",
                journal.segments_dropped as f64,
            ),
            Reading::gauge("hansa_journal_queued_bytes", "Bytes that wait for the disk.", journal.queued_bytes as f64),
        ];
        readings.push(Reading::counter(
            "hansa_processor_seconds",
            "Processor time of the process.",
            stage::of_process().as_secs_f64(),
        ));
        for (name, spent) in stage::spent() {
            let help = "Processor time by stage of the work, sampled; the rest is sockets, threads and the runtime.";
            readings.push(Reading::counter("hansa_stage_seconds", help, spent.as_secs_f64()).label("stage", name));
        }
        let count = |tally: Tally| {
            let found = statistics.tallies.iter().find(|(counted, _)| *counted == tally);
            found.map_or(0, |(_, count)| *count) as f64
        };
        let endings = [Tally::Completed, Tally::Failed, Tally::TimedOut, Tally::Cancelled];
        for (tally, state) in endings.into_iter().zip(["completed", "failed", "timed-out", "cancelled"]) {
            let ended =
                Reading::counter("hansa_transactions_ended", "Transactions that ended, by state.", count(tally));
            readings.push(ended.label("state", state));
        }
        for (tally, name, help) in Tally::ALL {
            if !endings.contains(&tally) {
                readings.push(Reading::counter(&format!("hansa_{name}"), &format!("{help}."), count(tally)));
            }
        }
        if let Some(federation) = self.ways.peers.federation() {
            let counters = federation.counters();
            readings.push(Reading::gauge(
                "hansa_peers",
                "Members that are connected.",
                self.connected_members().len() as f64,
            ));
            for (name, help, value) in [
                ("hansa_links_opened", "Links to members that came up.", counters.links_opened),
                ("hansa_peers_refused", "Peers that this node refused.", counters.refused_here),
                ("hansa_refused_by_peers", "Peers that refused this node.", counters.refused_by_peer),
                ("hansa_dials_failed", "Dials of members that failed.", counters.dials_failed),
            ] {
                readings.push(Reading::counter(name, help, value as f64));
            }
        }
        let refused = self.frames_refused.load(std::sync::atomic::Ordering::Relaxed);
        readings.push(Reading::counter("hansa_frames_refused", "Frames of peers that were refused.", refused as f64));
        readings.extend(self.pair_readings().await);
        readings
    }

    /// How the pair is; of a node without one, how little that is.
    async fn pair_readings(&self) -> Vec<Reading> {
        match self.duties().status().await {
            Ok(status) => pair_readings(&status),
            // The node is stopping.
            Err(_) => Vec::new(),
        }
    }
}

fn pair_readings(status: &Status) -> Vec<Reading> {
    let durability = match status.mode {
        Some(Mode::Pair { .. }) => Durability::TwoSites,
        Some(Mode::Solo { .. }) | None => Durability::OneSite,
    };
    let mut readings = vec![
        Reading::gauge(
            "hansa_durability_sites",
            "Sites that have what is acknowledged: two in a pair, one alone.",
            durability.sites() as f64,
        ),
        Reading::gauge(
            "hansa_witness_duties",
            "Pairs of other members that this sub-node is a witness of.",
            status.duties.iter().filter(|duty| !duty.replaced && !duty.ended).count() as f64,
        ),
        Reading::counter(
            "hansa_pair_takeovers",
            "Times that this sub-node took over from the other.",
            status.takeovers as f64,
        ),
    ];
    let now = role(status.state);
    for is in PairRole::ALL {
        let help = "One for what this sub-node is in its pair, zero for all that it is not.";
        readings.push(Reading::gauge("hansa_pair_role", help, f64::from(is == now)).label("role", is.word()));
    }
    let Some(epoch) = status.epoch else { return readings };
    let linked = status.witnesses.iter().filter(|(_, linked)| *linked).count();
    let mirror_linked = status.partner.as_ref().is_some_and(|partner| partner.linked);
    for (name, help, value) in [
        ("hansa_pair_epoch", "Number of the pair's configuration.", epoch),
        ("hansa_pair_lag_entries", "Entries that the active has and the other has not.", status.lag_entries),
        ("hansa_pair_committed", "The last entry that counts.", status.committed),
        ("hansa_pair_partner_linked", "One if the other sub-node is connected.", u64::from(mirror_linked)),
        ("hansa_pair_witnesses", "Members that are witnesses of the pair.", status.witnesses.len() as u64),
        ("hansa_pair_witnesses_linked", "Of them those that are connected.", linked as u64),
        ("hansa_pair_witnesses_needed", "How many of them decide.", status.witnesses_needed),
        ("hansa_pair_mirror_fit", "One if the one that follows could serve.", u64::from(status.follower_fit)),
        ("hansa_pair_alarm", "One if an operator must see to the pair.", u64::from(status.alarm.is_some())),
    ] {
        readings.push(Reading::gauge(name, help, value as f64));
    }
    if let Some(Progress { bytes, of, .. }) = status.snapshot {
        let help = "Of a snapshot on its way between the two, what the receiver has.";
        readings.push(Reading::gauge("hansa_pair_snapshot_bytes", help, bytes as f64));
        let help = "Of a snapshot on its way between the two, all of it; zero while it is being made.";
        readings.push(Reading::gauge("hansa_pair_snapshot_bytes_all", help, of as f64));
    }
    readings
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_actors::duties::Stage;
    use hansa_core::{
        ident::SubnodeId,
        mirror::{MemberId, pair::State},
    };

    // M1 to M4: what is watched of a pair.
    #[test]
    fn a_pair_is_watched_by_numbers_and_a_node_without_one_says_that() {
        let member = |seed| MemberId { subnode: SubnodeId([seed; 32]), journal: 1 };
        let mut status = Status {
            silent: false,
            snapshot: Some(Progress { stage: Stage::Sending, bytes: 5, of: 9 }),
            retired: None,
            state: State::ActivePair,
            epoch: Some(7),
            mode: Some(Mode::Pair { active: member(1), mirror: member(2) }),
            witnesses: vec![(member(3), true), (member(4), false)],
            witnesses_needed: 2,
            tail: 40,
            committed: 38,
            lag_entries: 2,
            joined: true,
            leased: true,
            partner: None,
            took_over: None,
            takeovers: 3,
            poison: None,
            follower_fit: false,
            alarm: None,
            duties: Vec::new(),
        };
        let value = |status: &Status, name: &str, role: Option<&str>| {
            let is_meant = |reading: &&Reading| {
                reading.name == name && role.is_none_or(|role| reading.labels.iter().any(|(_, value)| value == role))
            };
            pair_readings(status).iter().find(is_meant).map(|reading| reading.value)
        };
        for (name, expected) in [
            ("hansa_durability_sites", 2.0),
            ("hansa_pair_epoch", 7.0),
            ("hansa_pair_lag_entries", 2.0),
            ("hansa_pair_committed", 38.0),
            ("hansa_pair_witnesses_linked", 1.0),
            ("hansa_pair_takeovers", 3.0),
            ("hansa_pair_partner_linked", 0.0),
            ("hansa_pair_mirror_fit", 0.0),
            ("hansa_pair_snapshot_bytes", 5.0),
            ("hansa_pair_snapshot_bytes_all", 9.0),
        ] {
            assert_eq!(value(&status, name, None), Some(expected), "{name}");
        }
        assert_eq!(value(&status, "hansa_pair_role", Some("active")), Some(1.0));
        assert_eq!(value(&status, "hansa_pair_role", Some("mirror")), Some(0.0));
        (status.state, status.epoch, status.mode) = (State::Single, None, None);
        assert_eq!(value(&status, "hansa_durability_sites", None), Some(1.0));
        assert_eq!(value(&status, "hansa_pair_role", Some("single")), Some(1.0));
        assert_eq!(value(&status, "hansa_pair_epoch", None), None);
    }
}
