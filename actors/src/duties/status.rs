//! The pair and the duties as people see them, for `hansa pair status`, metrics and the console. Decides what is worth telling.

use super::{Introduction, Progress, desk::Desk};
use crate::{clock, poison::Poison};
use hansa_core::{
    ident::{OrganizationId, SubnodeId},
    mirror::{Certified, MemberId, Mode, pair},
    moment::Moment,
};
use serde::{Deserialize, Serialize};

/// See above.
#[derive(Clone, Debug)]
pub struct Status {
    /// What this sub-node is just now.
    pub state: pair::State,
    /// What holds, as far as it knows; none without a pair.
    pub epoch: Option<u64>,
    /// Who does what.
    pub mode: Option<Mode>,
    /// Who decides on the next configuration, and whether each is linked.
    pub witnesses: Vec<(MemberId, bool)>,
    /// How many of them decide.
    pub witnesses_needed: u64,
    /// The log's end.
    pub tail: u64,
    /// Up to where entries count.
    pub committed: u64,
    /// How many entries the other sub-node is behind, as far as the active knows; of a follower, how many that it knows of it lacks.
    pub lag_entries: u64,
    /// Whether it is fit to take over: its log is known to be a beginning of the active's.
    pub joined: bool,
    /// Whether nobody else can be active just now, by the lease.
    pub leased: bool,
    /// The other sub-node.
    pub partner: Option<Partner>,
    /// When who serves changed last, as this sub-node saw it.
    pub took_over: Option<Takeover>,
    /// How often it did since then.
    pub takeovers: u64,
    /// What its machines cannot take in, if it follows and there is anything.
    pub poison: Option<Poison>,
    /// Whether the one that follows could serve, as far as this one knows.
    pub follower_fit: bool,
    /// How far a snapshot is that one of the two sends the other.
    pub snapshot: Option<Progress>,
    /// Its disk takes nothing, so it keeps silent.
    pub silent: bool,
    /// At which epoch the pair ended here, if it did: this sub-node goes on without it, or, if there is a mode still, from the next
    /// start on.
    pub retired: Option<u64>,
    /// What is wrong.
    pub alarm: Option<pair::Alarm>,
    /// Whose witness this sub-node is.
    pub duties: Vec<Duty>,
}

/// The other sub-node.
#[derive(Clone, Debug)]
pub struct Partner {
    /// Which it is.
    pub subnode: SubnodeId,
    /// Where it said that it is.
    pub introduction: Option<Box<Introduction>>,
    /// Whether there is a link to it.
    pub linked: bool,
}

/// When the other sub-node began to serve in the place of the one before, by takeover or as planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// When.
    pub at: Moment,
    /// Which epoch began with it.
    pub epoch: u64,
    /// Why, for people.
    pub why: String,
}

/// Whose witness a sub-node is.
#[derive(Clone, Debug)]
pub struct Duty {
    /// Whose pair it is.
    pub organization: OrganizationId,
    /// The latest epoch that it knows of.
    pub epoch: u64,
    /// Others took its place: it decides nothing any more, and only remembers.
    pub replaced: bool,
    /// The pair is ended; it can be taken up again.
    pub ended: bool,
    /// When that pair said something last, since this process began. A pair that changes nothing and writes nothing is silent.
    pub heard: Option<Moment>,
}

impl Desk {
    pub(super) fn status(&self) -> Status {
        let picture = self.pair.picture();
        let configuration = picture.configuration.filter(|_| !self.is_out());
        let partner = self.site.partner;
        let partner = (partner != SubnodeId([0; 32]) && !self.is_out()).then(|| Partner {
            subnode: partner,
            introduction: self.introduced.clone(),
            linked: self.linked.contains(&partner),
        });
        let witnesses = configuration.iter().flat_map(|it| &it.witnesses.members);
        Status {
            state: picture.state,
            epoch: configuration.map(|it| it.epoch),
            mode: configuration.map(|it| it.mode),
            witnesses: witnesses.map(|it| (*it, self.linked.contains(&it.subnode))).collect(),
            witnesses_needed: configuration.map_or(0, |it| u64::from(it.witnesses.quorum)),
            tail: picture.tail.sequence,
            committed: picture.committed,
            lag_entries: if picture.state.serves() {
                picture.tail.sequence.saturating_sub(picture.acknowledged)
            } else {
                picture.known.saturating_sub(picture.tail.sequence)
            },
            joined: picture.joined,
            leased: picture.lease_until.is_some_and(|until| until > clock::steady()),
            partner,
            took_over: self.took_over.clone(),
            takeovers: self.takeovers,
            poison: self.poison.clone(),
            follower_fit: if picture.state.serves() { picture.follower_fit } else { self.poison.is_none() },
            snapshot: self.progress(),
            silent: self.stall.is_silent,
            retired: self.retired.filter(|_| self.is_retired()),
            alarm: picture.alarm,
            duties: self
                .witnesses
                .iter()
                .filter(|(organization, witness)| witness.base().is_some() || self.has_place(organization, witness))
                .map(|(organization, witness)| Duty {
                    organization: *organization,
                    epoch: witness.base().map_or(0, Certified::epoch),
                    replaced: !witness.is_needed(self.bench.witness),
                    ended: self.is_ended(organization, witness),
                    heard: self.heard.get(organization).copied(),
                })
                .collect(),
        }
    }
}
