//! What must hold after every event, whatever goes wrong: one file for each. They look at the world from above, as nobody in it
//! can, and keep nothing but what they need of the past. The numbers are those of `docs/protocols/mirror.md`.

mod durable_on_members;
pub mod effects;
mod leases;
mod monotone;
mod one_configuration;
mod one_log;
mod one_value;
mod replicas;
mod solo_recorded;
mod takeover_by_member;
mod truncated;

use super::site::Site;
use effects::Effects;
use hansa_core::{
    ident::OrganizationId,
    mirror::{Certified, MemberId, Position},
    moment::Moment,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// What was seen.
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
            return Err($crate::simulation::invariants::Violation { invariant: $invariant, seen: format!($($seen)*) });
        }
    };
}
pub(super) use hold;

/// What is known from above of one organization's log.
#[derive(Default)]
pub struct Truth {
    /// What was acknowledged, in order.
    pub acknowledged: Vec<Position>,
    /// What those entries say.
    pub effects: Effects,
    /// Configurations that were decided.
    pub decided: BTreeMap<u64, Certified>,
}

/// All invariants, and what they remember.
pub struct Invariants {
    /// By organization.
    pub truths: BTreeMap<OrganizationId, Truth>,
    monotone: monotone::Monotone,
    replicas: replicas::Replicas,
    /// Members whose disk is gone.
    pub lost: BTreeSet<MemberId>,
}

impl Invariants {
    pub fn new(organizations: impl Iterator<Item = OrganizationId>) -> Self {
        Self {
            truths: organizations.map(|organization| (organization, Truth::default())).collect(),
            monotone: monotone::Monotone::default(),
            replicas: replicas::Replicas::default(),
            lost: BTreeSet::new(),
        }
    }

    /// A sub-node says that its entries count up to here; `served`: as one that serves.
    pub fn committed(&mut self, site: &Site, sites: &[Site], through: u64, served: bool) -> Result<(), Violation> {
        let truth = self.truths.get_mut(&site.organization).expect("an organization of this world");
        if served {
            solo_recorded::check(site, sites, truth, &self.lost, through)?;
        }
        let before = truth.acknowledged.len() as u64;
        one_value::check(site, truth, through, served)?;
        if served {
            for entry in site.disk().entries(before as usize, through as usize) {
                let follows = entry.position.sequence == truth.acknowledged.len() as u64 + 1;
                hold!(follows, "one acknowledged value for each sequence", "entry {} is not kept", before + 1);
                truth.acknowledged.push(entry.position);
                truth.effects.read(entry)?;
            }
        }
        self.durable(site.organization, sites)
    }

    fn durable(&self, organization: OrganizationId, sites: &[Site]) -> Result<(), Violation> {
        durable_on_members::check(&self.truths[&organization], &self.lost, organization, sites)
    }

    /// Something happened at a sub-node.
    pub fn happened(&mut self, site: &Site, sites: &[Site], now: Moment) -> Result<(), Violation> {
        let heard = site.pair.certified().map(|certified| (site.organization, certified));
        let witnessed = site.witnesses().filter_map(|(pair, witness)| Some((*pair, witness.base()?)));
        for (pair, certified) in heard.into_iter().chain(witnessed) {
            let truth = self.truths.get_mut(&pair).expect("an organization of this world");
            if one_configuration::check(truth, certified)? {
                takeover_by_member::check(truth, certified)?;
            }
        }
        self.monotone.check(site)?;
        one_log::check(site, sites)?;
        leases::check(site, sites, now)?;
        self.replicas.happened(site, sites)?;
        self.durable(site.organization, sites)
    }

    /// A sub-node cut entries off its log.
    pub fn cut(&self, site: &Site, removed: &[Position]) -> Result<(), Violation> {
        truncated::check(site, &self.truths[&site.organization], removed)
    }

    /// A sub-node starts anew: what it remembers may be less than it was, unless its disk has it.
    pub fn started(&mut self, site: &Site) {
        self.monotone.started(site);
        self.replicas.started(site);
    }

    /// All is quiet.
    pub fn at_rest(&self, sites: &[Site]) -> Result<(), Violation> {
        sites.iter().try_for_each(|site| replicas::at_rest(site, sites))
    }
}
