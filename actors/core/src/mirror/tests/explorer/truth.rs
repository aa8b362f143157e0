//! What must hold in every world of the explorer, seen from above as nobody in it can: the invariants of `docs/protocols/mirror.md` that
//! speak of what is so at a moment. A configuration is decided here as soon as a quorum accepted it, whether or not anybody knows.

use super::world::{Node, SIDES};
use crate::{
    mirror::{
        Accepted, Ballot, Configuration, MemberId, Mode, Position,
        pair::{State, pictured::told},
    },
    moment::Moment,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{Hash, Hasher},
    rc::Rc,
};

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.invariant, self.seen)
    }
}

/// End with a violation unless something holds.
macro_rules! hold {
    ($holds:expr, $invariant:expr, $($seen:tt)*) => {
        if !$holds {
            return Err(Violation { invariant: $invariant, seen: format!($($seen)*) });
        }
    };
}
pub(super) use hold;

pub const DURABLE: &str = "acknowledged entries are durable on every member";
pub const ONE_VALUE: &str = "one acknowledged value for each sequence";
pub const ONE_CONFIGURATION: &str = "one configuration for each epoch";
pub const MONOTONE: &str = "epochs and ballots only grow";
pub const RECORDED: &str = "nothing is acknowledged alone before that is recorded";
pub const TRUNCATED: &str = "what is cut off was never acknowledged";
pub const BY_MEMBER: &str = "only a member takes over";
pub const LEASES: &str = "no two hold a lease";
pub const ONE_LOG: &str = "within an epoch there is one log";
pub const NO_ALARM: &str = "nobody misses what no disk lost";

/// What is known from above.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// What was acknowledged, in order.
    pub acknowledged: Vec<Position>,
    /// Configurations that were decided.
    pub decided: BTreeMap<u64, Rc<Configuration>>,
    /// Who accepted what for the next epochs.
    accepted: BTreeMap<(u64, Ballot), (Rc<Configuration>, BTreeSet<usize>)>,
    /// The last epoch and the last ballot of each member.
    last: BTreeMap<MemberId, (u64, u64)>,
    /// Members whose disk is gone, and who should have said so.
    pub lost: BTreeSet<MemberId>,
}

impl Truth {
    pub fn picture(&self, to: &mut impl Hasher) {
        self.acknowledged.hash(to);
        self.decided.values().for_each(|decided| told(decided).hash(to));
        // What was accepted behind the last decision may be decided yet.
        let last = self.decided.keys().next_back().copied().unwrap_or_default();
        for ((_, ballot), (wanted, who)) in self.accepted.iter().filter(|((epoch, _), _)| *epoch > last) {
            (ballot.round, ballot.by.journal, told(wanted), who).hash(to);
        }
        self.lost.len().hash(to);
    }

    /// A witness accepted: with a quorum that is decided.
    pub fn accepted(&mut self, witness: usize, accepted: &Accepted) -> Result<(), Violation> {
        let Accepted { ballot, configuration, .. } = accepted;
        let entry = self.accepted.entry((configuration.epoch, *ballot));
        let (wanted, who) = entry.or_insert_with(|| (Rc::new(configuration.clone()), BTreeSet::new()));
        who.insert(witness);
        // Those of the one before decide.
        let before = self.decided.get(&(configuration.epoch - 1));
        if !before.map_or(&configuration.witnesses, |before| &before.witnesses).decide(who.len()) {
            return Ok(());
        }
        let wanted = Rc::clone(wanted);
        self.decided(&wanted)
    }

    /// A configuration is decided.
    pub fn decided(&mut self, configuration: &Configuration) -> Result<(), Violation> {
        let epoch = configuration.epoch;
        if let Some(known) = self.decided.get(&epoch) {
            let (one, other) = (known.mode, configuration.mode);
            hold!(**known == *configuration, ONE_CONFIGURATION, "epoch {epoch} is {one} and {other}");
            return Ok(());
        }
        if let Some(before) = epoch.checked_sub(1).and_then(|before| self.decided.get(&before)) {
            let (active, mode) = (configuration.mode.active(), before.mode);
            let is_member = active == mode.active() || Some(active) == mode.mirror();
            hold!(is_member, BY_MEMBER, "{active} is active at epoch {epoch}, and epoch {} was {mode}", before.epoch);
        }
        self.decided.insert(epoch, Rc::new(configuration.clone()));
        Ok(())
    }

    /// A sub-node says that its entries count up to here.
    pub fn committed(&mut self, side: usize, nodes: &[Rc<Node>; 2], through: u64) -> Result<(), Violation> {
        let node = &nodes[side];
        let known = self.acknowledged.len() as u64;
        let name = SIDES[side];
        if !node.serves {
            hold!(through <= known, ONE_VALUE, "{name} takes in entry {through}, and {known} are acknowledged");
        } else if through > known {
            self.recorded(side, nodes, through)?;
        }
        hold!(through <= node.log.len() as u64, ONE_VALUE, "{name} says that entry {through} counts, and has it not");
        let both = through.min(known) as usize;
        if both > 0 {
            let (here, there) = (node.log[both - 1], self.acknowledged[both - 1]);
            let (one, other) = (here.epoch, there.epoch);
            hold!(
                here == there,
                ONE_VALUE,
                "{name} says that entry {both} of epoch {one} counts, and that of epoch {other} does"
            );
        }
        self.acknowledged.extend(node.log.iter().take(through as usize).skip(known as usize));
        Ok(())
    }

    /// Whoever acknowledges alone is alone, and a quorum knows.
    fn recorded(&self, side: usize, nodes: &[Rc<Node>; 2], through: u64) -> Result<(), Violation> {
        let Some(configuration) = nodes[side].pair.certified().map(|certified| &certified.configuration) else {
            return Ok(());
        };
        let entry = nodes[side].position(through);
        let other = &nodes[1 - side];
        let has = other.durable as u64 >= through && other.position(through) == entry;
        let was_lost = configuration.mode.mirror().is_some_and(|mirror| self.lost.contains(&mirror));
        let alone =
            matches!(configuration.mode, Mode::Solo { active } if active == nodes[side].member) && entry.is_some();
        hold!(
            has || was_lost || alone && self.decided.contains_key(&configuration.epoch),
            RECORDED,
            "{} acknowledges entry {through} alone at epoch {}, which is {}",
            SIDES[side],
            configuration.epoch,
            configuration.mode
        );
        Ok(())
    }

    /// A sub-node cut its log behind so many entries.
    pub fn cut(&self, side: usize, removed: &[Position]) -> Result<(), Violation> {
        for entry in removed {
            let acknowledged = self.acknowledged.get(entry.sequence as usize - 1) == Some(entry);
            hold!(!acknowledged, TRUNCATED, "{} cuts entry {} of epoch {}", SIDES[side], entry.sequence, entry.epoch);
        }
        Ok(())
    }

    /// Look at a whole world. Leases mean something only where both clocks run alike.
    pub fn check(&mut self, nodes: &[Rc<Node>; 2], now: Option<Moment>) -> Result<(), Violation> {
        for node in nodes {
            if let Some(certified) = node.pair.certified() {
                self.decided(&certified.configuration)?;
                let (epoch, rounds) =
                    self.last.insert(node.member, (certified.epoch(), node.rounds)).unwrap_or_default();
                let grows = epoch <= certified.epoch() && rounds <= node.rounds;
                let (member, to) = (node.member, certified.epoch());
                hold!(grows, MONOTONE, "{member} went from epoch {epoch} to {to}");
            }
        }
        self.durable(nodes)?;
        self.one_log(nodes)?;
        now.map_or(Ok(()), |now| leases(nodes, now))
    }

    fn durable(&self, nodes: &[Rc<Node>; 2]) -> Result<(), Violation> {
        let (Some((epoch, decided)), Some(last)) = (self.decided.last_key_value(), self.acknowledged.last()) else {
            return Ok(());
        };
        for (side, node) in nodes.iter().enumerate() {
            let is_member = node.member == decided.mode.active() || Some(node.member) == decided.mode.mirror();
            if is_member && !self.lost.contains(&node.member) {
                let has = node.durable as u64 >= last.sequence && node.position(last.sequence) == Some(*last);
                hold!(
                    has,
                    DURABLE,
                    "{} has {} durable and is of epoch {epoch}, {}; entry {} of epoch {} was acknowledged",
                    SIDES[side],
                    node.durable,
                    decided.mode,
                    last.sequence,
                    last.epoch
                );
            }
        }
        Ok(())
    }

    fn one_log(&self, nodes: &[Rc<Node>; 2]) -> Result<(), Violation> {
        for (one, other) in nodes[0].log.iter().zip(&nodes[1].log).filter(|(one, other)| one.epoch == other.epoch) {
            hold!(one == other, ONE_LOG, "A and B have different entries {} of epoch {}", one.sequence, one.epoch);
        }
        Ok(())
    }
}

/// Nobody serves alone at a later epoch while another may still take itself for the only active.
fn leases(nodes: &[Rc<Node>; 2], now: Moment) -> Result<(), Violation> {
    for (leased, later) in [(0, 1), (1, 0)] {
        let (one, other) = (nodes[leased].pair.picture(), nodes[later].pair.picture());
        let holds = one.state == State::ActivePair && one.lease_until.is_some_and(|until| until > now);
        let epoch = |side: usize| nodes[side].pair.certified().map_or(0, |certified| certified.epoch());
        let usurps = nodes[later].serves && other.state == State::ActiveSolo && epoch(later) > epoch(leased);
        hold!(
            !(holds && usurps),
            LEASES,
            "{} holds a lease at epoch {}, and {} serves at epoch {}",
            SIDES[leased],
            epoch(leased),
            SIDES[later],
            epoch(later)
        );
    }
    Ok(())
}
