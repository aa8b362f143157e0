//! A mirrored pair as text: how it is, and what its operator should see to. The doctor says the latter in the same words.

use super::{bytes, duration, indented, table};
use crate::admin::protocol::*;
use std::fmt::Write as _;

/// `hansa pair status`.
pub fn pair(status: &PairStatus) -> String {
    let mut text = format!("{}\n", headline(status));
    let mut rows = vec![("active", site(&status.active))];
    if status.mode != PairMode::Single {
        let mirror = match &status.mirror {
            Some(mirror) => format!("{}, {}", site(mirror), behind(status.lag_entries)),
            None if status.lag_entries > 0 => format!("none; the other one is {}", behind(status.lag_entries)),
            None => "none".to_owned(),
        };
        rows.push(("mirror", mirror));
    }
    let mode = match status.mode {
        PairMode::Single => "single",
        PairMode::Pair => "pair: what is acknowledged is on both disks",
        PairMode::Solo => "solo: what is acknowledged is on the active's disk alone",
    };
    if let Some(snapshot) = &status.snapshot {
        rows.push(("snapshot", on_its_way(snapshot)));
    }
    rows.push(("mode", format!("{mode}; epoch {}", status.epoch)));
    let counts = if status.committed == status.tail { "all".to_owned() } else { status.committed.to_string() };
    rows.push(("journal", format!("entry {} ({counts} count)", status.tail)));
    if !status.witnesses.is_empty() {
        let linked = status.witnesses.iter().filter(|witness| witness.linked).count();
        let names = status.witnesses.iter().map(|witness| {
            let mark = if witness.linked { "●" } else { "○" };
            format!("{mark} {}", witness_word(witness))
        });
        let names = names.collect::<Vec<_>>().join(", ");
        let words =
            format!("{linked} of {} connected, {} decide; {names}", status.witnesses.len(), status.witnesses_needed);
        rows.push(("witnesses", words));
    }
    if !status.duties.is_empty() {
        let duties = status.duties.iter().map(|duty| {
            let whose = who(duty.name.as_ref(), duty.organization);
            let heard =
                duty.heard.map_or_else(|| "not heard since the start".to_owned(), |at| format!("heard at {at}"));
            let over = match (duty.replaced, duty.ended) {
                (true, _) => ", others took its place",
                (false, true) => ", that pair is ended",
                (false, false) => "",
            };
            format!("{whose} (epoch {}, {heard}{over})", duty.epoch)
        });
        rows.push(("witness of", duties.collect::<Vec<_>>().join(", ")));
    }
    if let Some(Takeover { at, epoch, why }) = &status.last_takeover {
        rows.push(("last takeover", format!("{at}, epoch {epoch}: {why}")));
    }
    text.push_str(&indented(&table(&[], rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]))));
    for concern in pair_concerns(status) {
        let mark = if concern.is_wrong { "✘" } else { "!" };
        let _ = write!(text, "\n{mark} {}\n  → {}\n", concern.what, concern.advice);
    }
    text
}

/// A pair in one line, for `hansa status`.
pub fn pair_line(status: &PairStatus) -> String {
    let city = |site: &PairSite| site.city.as_ref().map_or_else(|| site.subnode.short(), ToString::to_string);
    let other = match (status.role, &status.mirror) {
        (PairRole::Mirror | PairRole::Learner | PairRole::TakingOver, _) => {
            format!("the active in {} serves, this one {}", city(&status.active), is_behind(status.lag_entries))
        }
        (_, Some(mirror)) => format!("the mirror in {} {}", city(mirror), is_behind(status.lag_entries)),
        (_, None) => "there is no mirror".to_owned(),
    };
    let linked = status.witnesses.iter().filter(|witness| witness.linked).count();
    let witnesses = format!("{linked} of {} witnesses connected", status.witnesses.len());
    let alarm = status.alarm.as_ref().map(|alarm| format!("; ✘ {alarm}")).unwrap_or_default();
    format!("{}, epoch {}: {other}; {witnesses}{alarm}", status.role.word(), status.epoch)
}

fn is_behind(entries: u64) -> String {
    if entries == 0 { behind(0) } else { format!("is {}", behind(entries)) }
}

fn headline(status: &PairStatus) -> String {
    let role = match status.role {
        PairRole::Single => "This node has no mirror.",
        PairRole::Active if status.mode == PairMode::Solo => "This sub-node is active: it serves, and it is alone.",
        PairRole::Active => "This sub-node is active: it serves.",
        PairRole::Mirror => "This sub-node is the mirror: it follows, and takes over if the active is lost.",
        PairRole::Learner => "This sub-node is a learner: it follows, and catches up to become the mirror.",
        PairRole::Starting => "This sub-node has started, and asks the witnesses whether it may serve.",
        PairRole::Suspect => "This sub-node is active, and does not hear its mirror: nothing is acknowledged just now.",
        PairRole::Reconfiguring => "This sub-node is active, and asks the witnesses to let it serve alone.",
        PairRole::Joining => "This sub-node is active; the other one is about to become its mirror.",
        PairRole::Switching => "This sub-node is active, and hands over to its mirror.",
        PairRole::TakingOver => "This sub-node asks the witnesses to let it serve in the place of the active.",
    };
    role.to_owned()
}

fn site(site: &PairSite) -> String {
    let city = site.city.as_ref().map_or_else(|| "somewhere".to_owned(), ToString::to_string);
    let cxip = site.cxip.as_ref().map(|cxip| format!(", services at {cxip}")).unwrap_or_default();
    format!("{city} ({}){cxip}", site.subnode.short())
}

fn behind(entries: u64) -> String {
    match entries {
        0 => "has everything".to_owned(),
        1 => "1 entry behind".to_owned(),
        more => format!("{more} entries behind"),
    }
}

fn on_its_way(snapshot: &PairSnapshot) -> String {
    let (had, of) = (bytes(snapshot.bytes), bytes(snapshot.of));
    match snapshot.stage {
        SnapshotStage::Making => {
            "for the other sub-node, which needs more than the journal has, is being made".to_owned()
        }
        SnapshotStage::Sending => format!("on its way to the other sub-node, which has {had} of {of}"),
        SnapshotStage::Receiving => format!("on its way here: {had} of {of}"),
        SnapshotStage::Installing => format!("of {of} has come, and is put in the place of what was here"),
        SnapshotStage::NoRoom => format!("of {of} is offered, and does not fit"),
    }
}

fn who(name: Option<&hansa_core::ident::OrganizationName>, organization: hansa_core::ident::OrganizationId) -> String {
    name.map_or_else(|| organization.short(), ToString::to_string)
}

/// Something that an operator should see to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// Whether something does not work, or only may not for long.
    pub is_wrong: bool,
    /// What it is.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// What an operator should see to, the worst first.
pub fn pair_concerns(status: &PairStatus) -> Vec<Concern> {
    let mut concerns = Vec::new();
    let mut concern = |is_wrong, what: String, advice: &str| {
        concerns.push(Concern { is_wrong, what, advice: advice.to_owned() });
    };
    if let Some(alarm) = &status.alarm {
        concern(true, alarm.clone(), "do what docs/pairs.md says under Alarms; delete nothing before");
    }
    if !status.mirror_fit && status.alarm.is_none() {
        concern(
            true,
            "the other sub-node cannot take in an entry of the log: it has everything, and does not take over"
                .to_owned(),
            "see there with `hansa pair status` which entry and why, and start it with a version that can take it in",
        );
    }
    if let Some(PairSnapshot { stage: SnapshotStage::NoRoom, of, .. }) = status.snapshot {
        concern(
            true,
            format!("this sub-node's disk has no room for the snapshot that it needs: that has {}", bytes(of)),
            "make room for twice as much and 64 MiB; it is offered again by itself",
        );
    }
    let linked = status.witnesses.iter().filter(|witness| witness.linked).count() as u64;
    let away = status.witnesses.len() as u64 - linked;
    if linked < status.witnesses_needed {
        let is = if linked == 1 { "1 witness is".to_owned() } else { format!("{linked} witnesses are") };
        concern(
            true,
            format!("{is} connected, and it takes {} to decide", status.witnesses_needed),
            "as long as that is so, nobody can take over, and the active cannot go on alone: see with `hansa status` which members are away",
        );
    } else if away > 0 {
        let what =
            if away == 1 { "1 witness is not connected".into() } else { format!("{away} witnesses are not connected") };
        concern(
            false,
            what,
            "enough are; ask its operator, for with more away nobody could take over. If it is lost for good, `hansa pair appoint` at the active has another in its place",
        );
    }
    match (status.role, status.mode) {
        (PairRole::Single, _) => concern(
            false,
            "everything that is acknowledged is on one disk alone".to_owned(),
            "add a mirror: `hansa pair init` here, then `hansa pair join CODE --city CITY` on another machine",
        ),
        (PairRole::Suspect | PairRole::Reconfiguring | PairRole::TakingOver | PairRole::Starting, _) => concern(
            true,
            "nothing is acknowledged until the witnesses have decided".to_owned(),
            "it goes on by itself; if it lasts, see whether witnesses and the other sub-node can be reached",
        ),
        (_, PairMode::Solo) => concern(
            false,
            "there is no mirror: what is acknowledged is on the active's disk alone".to_owned(),
            "start the other sub-node; if its disk is lost, `hansa pair init` makes a code for `hansa pair join` in an empty folder",
        ),
        _ => {}
    }
    concerns
}

/// A witness by the name of its organization; one that is not connected may have none here.
fn witness_word(witness: &PairWitness) -> String {
    witness.name.as_ref().map_or_else(|| witness.subnode.short(), ToString::to_string)
}

/// What `hansa pair init` says beside the code.
pub fn pair_initiated(initiated: &PairInitiated) -> String {
    let mut text = String::from(if initiated.repeated {
        "The pair is there already; this is a new code for its other sub-node.\n"
    } else {
        "The pair is founded.\n"
    });
    let names = |list: Vec<String>| if list.is_empty() { "nobody".to_owned() } else { list.join(", ") };
    let agreed = initiated.witnesses.iter().map(witness_word);
    let _ = writeln!(text, "  witnesses  {}", names(agreed.collect()));
    for Declined { organization, name, why } in &initiated.declined {
        let _ = writeln!(text, "  declined   {}: {why}", who(name.as_ref(), *organization));
    }
    let _ = write!(
        text,
        "The code opens once, until {}; whoever has it becomes this organization. On the other machine:\n  \
         hansa pair join CODE --city CITY\n\n",
        initiated.expires
    );
    text
}

/// `hansa pair appoint`.
pub fn pair_appointed(appointed: &PairAppointed) -> String {
    let names: Vec<_> = appointed.witnesses.iter().map(witness_word).collect();
    let (names, needed, epoch) = (names.join(", "), appointed.witnesses_needed, appointed.epoch);
    let mut text = if appointed.changed {
        format!("The witnesses are {names} since epoch {epoch}; {needed} of them decide.\n")
    } else {
        format!("The witnesses are {names}, as before; {needed} of them decide.\n")
    };
    for Declined { organization, name, why } in &appointed.declined {
        let _ = writeln!(text, "  declined   {}: {why}", who(name.as_ref(), *organization));
    }
    text
}

/// `hansa pair switch`.
pub fn pair_switched(switched: &PairSwitched) -> String {
    format!(
        "The sub-node in {} serves since epoch {}; it took {}. This one follows.\n",
        site(&switched.active),
        switched.epoch,
        duration(switched.took_ms)
    )
}

/// `hansa pair end`.
pub fn pair_ended(ended: &PairEnded) -> String {
    format!(
        "The pair is ended. Start this node again: then it is a single one, at epoch {}, and asks no witnesses any more.\n\
         The other sub-node does not come back: remove its data folder.\n",
        ended.epoch
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::pretended;

    #[test]
    fn the_status_of_a_pair_answers_what_a_person_asks() {
        let text = pair(&pretended::pair_status());
        for part in [
            "This sub-node is active: it serves.",
            "active         Rotterdam (",
            "services at 10.0.0.1:4000",
            "mirror         Hamburg (",
            "3 entries behind",
            "pair: what is acknowledged is on both disks; epoch 7",
            "entry 1234 (1231 count)",
            "1 of 2 connected, 2 decide; ● Birch GmbH, ○ node-",
            "witness of     Birch GmbH (epoch 2, heard at 20",
            "epoch 6: the active in Hamburg was not heard for 4 s",
            "✘ 1 witness is connected, and it takes 2 to decide\n  → as long as",
        ] {
            assert!(text.contains(part), "'{part}' is missing in:\n{text}");
        }
    }

    #[test]
    fn a_snapshot_is_told_with_how_much_of_it_has_come() {
        let shown = |stage, bytes| {
            let snapshot = Some(PairSnapshot { stage, bytes, of: 200 << 20 });
            pair(&PairStatus { snapshot, ..pretended::pair_status() })
        };
        for (stage, part) in [
            (SnapshotStage::Making, "snapshot       for the other sub-node"),
            (
                SnapshotStage::Sending,
                "snapshot       on its way to the other sub-node, which has 12.0 MiB of 200.0 MiB",
            ),
            (SnapshotStage::Receiving, "snapshot       on its way here: 12.0 MiB of 200.0 MiB"),
            (SnapshotStage::Installing, "snapshot       of 200.0 MiB has come"),
            (SnapshotStage::NoRoom, "snapshot       of 200.0 MiB is offered, and does not fit"),
        ] {
            let text = shown(stage, 12 << 20);
            assert!(text.contains(part), "'{part}' is missing in:\n{text}");
        }
        assert!(!pair(&pretended::pair_status()).contains("snapshot"));
    }

    #[test]
    fn whatever_is_not_as_it_should_be_has_advice_and_what_is_has_none() {
        let mut status = pretended::pair_status();
        status.witnesses[1].linked = true;
        assert_eq!(pair_concerns(&status), []);
        status.witnesses_needed = 1;
        status.witnesses[1].linked = false;
        let concerns = pair_concerns(&status);
        assert!(concerns.len() == 1 && !concerns[0].is_wrong && concerns[0].what.contains("1 witness is"));
        status.witnesses.clear();
        status.witnesses_needed = 0;
        let of = |change: &dyn Fn(&mut PairStatus)| {
            let mut changed = status.clone();
            change(&mut changed);
            let concerns = pair_concerns(&changed);
            assert_eq!(concerns.len(), 1, "{concerns:?}");
            assert!(pair(&changed).contains(&concerns[0].advice));
            concerns[0].clone()
        };
        assert!(of(&|status| status.alarm = Some("the two logs differ".into())).is_wrong);
        assert!(of(&|status| status.role = PairRole::Suspect).is_wrong);
        assert!(of(&|status| status.mirror_fit = false).is_wrong);
        let no_room = PairSnapshot { stage: SnapshotStage::NoRoom, bytes: 0, of: 1 << 30 };
        assert!(of(&|status| status.snapshot = Some(no_room)).is_wrong);
        let alone = of(&|status| (status.mode, status.mirror) = (PairMode::Solo, None));
        assert!(!alone.is_wrong && alone.advice.contains("hansa pair init"));
        let single = of(&|status| (status.role, status.mode) = (PairRole::Single, PairMode::Single));
        assert!(!single.is_wrong && single.advice.contains("hansa pair join"));
    }

    #[test]
    fn a_founding_says_who_agreed_who_did_not_and_until_when_the_code_opens() {
        let initiated = PairInitiated {
            code: "hansa-pair-x".into(),
            expires: pretended::NOW,
            witnesses: pretended::pair_status().witnesses,
            declined: vec![Declined {
                organization: hansa_core::ident::OrganizationId([4; 32]),
                name: Some("Cedar Pte".parse().unwrap()),
                why: "it offers none".into(),
            }],
            repeated: false,
        };
        let text = pair_initiated(&initiated);
        for part in ["founded", "witnesses  Birch GmbH, node-", "declined   Cedar Pte: it offers none", "until 2026-"] {
            assert!(text.contains(part), "'{part}' is missing in:\n{text}");
        }
        assert!(!text.contains("hansa-pair-x"), "the code is on standard output alone");
        let switched = PairSwitched { active: pretended::pair_status().active, epoch: 8, took_ms: 310 };
        assert!(pair_switched(&switched).contains("epoch 8; it took 310 ms"));
        let status = pretended::pair_status();
        let mut appointed = PairAppointed {
            witnesses: status.witnesses,
            witnesses_needed: 2,
            declined: Vec::new(),
            epoch: 8,
            changed: true,
        };
        let text = pair_appointed(&appointed);
        assert!(text.contains("since epoch 8; 2 of them decide") && text.contains("Birch GmbH"), "{text}");
        appointed.changed = false;
        assert!(pair_appointed(&appointed).contains("as before"));
        assert!(pair_ended(&PairEnded { epoch: 8 }).contains("single one, at epoch 8"));
    }
}
