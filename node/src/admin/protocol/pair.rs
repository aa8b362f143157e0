//! The mirrored pair, as the administration socket speaks of it: how it is, and what is done to it.

use crate::admin::time::Time;
use hansa_core::ident::{City, OrganizationId, OrganizationName, SubnodeId};
use serde::{Deserialize, Serialize};

/// What a sub-node is just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairRole {
    /// There is no pair.
    #[default]
    Single,
    /// It serves, with a mirror or alone.
    Active,
    /// It follows, and takes over.
    Mirror,
    /// It follows, and must not take over.
    Learner,
    /// It was active when its process ended, and asks whether it may be again.
    Starting,
    /// It serves, and has not heard its mirror for a while: nothing is acknowledged.
    Suspect,
    /// It asked the witnesses to serve alone, and waits for their answer.
    Reconfiguring,
    /// It serves; the other one catches up, and nothing is acknowledged for the last step of that.
    Joining,
    /// It hands over to its mirror.
    Switching,
    /// It asked the witnesses to serve instead of the other, and waits for their answer.
    TakingOver,
}

impl PairRole {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Single,
        Self::Active,
        Self::Mirror,
        Self::Learner,
        Self::Starting,
        Self::Suspect,
        Self::Reconfiguring,
        Self::Joining,
        Self::Switching,
        Self::TakingOver,
    ];

    /// The word for it, as in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Active => "active",
            Self::Mirror => "mirror",
            Self::Learner => "learner",
            Self::Starting => "starting",
            Self::Suspect => "suspect",
            Self::Reconfiguring => "reconfiguring",
            Self::Joining => "joining",
            Self::Switching => "switching",
            Self::TakingOver => "taking-over",
        }
    }
}

/// How many sub-nodes an acknowledgement rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairMode {
    /// There is no pair.
    Single,
    /// On both.
    Pair,
    /// On the active alone, as the witnesses know.
    Solo,
}

/// One of the two sub-nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairSite {
    /// Where it stands, as far as this sub-node has heard.
    pub city: Option<City>,
    /// Which it is.
    pub subnode: SubnodeId,
    /// Where services and clients attach to it, as far as this sub-node has heard.
    pub cxip: Option<String>,
}

/// A witness of this pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairWitness {
    /// The name of its organization, if it is known.
    pub name: Option<OrganizationName>,
    /// Which sub-node.
    pub subnode: SubnodeId,
    /// Whether it is connected.
    pub linked: bool,
}

/// A pair of another member that this sub-node is a witness of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairDuty {
    /// Whose pair.
    pub organization: OrganizationId,
    /// The name of that organization, if it is known.
    pub name: Option<OrganizationName>,
    /// The last epoch that it knows.
    pub epoch: u64,
    /// Others took its place: it decides nothing any more, and only remembers what it promised.
    #[serde(default)]
    pub replaced: bool,
    /// The pair is ended: it has no place any more, and what this sub-node promised is remembered, for it can be taken up again.
    #[serde(default)]
    pub ended: bool,
    /// When that pair said something last, since this node started.
    #[serde(default)]
    pub heard: Option<Time>,
}

/// When the other sub-node began to serve, last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// When.
    pub at: Time,
    /// At which epoch.
    pub epoch: u64,
    /// Why, in words.
    pub why: String,
}

/// A snapshot on its way from one sub-node to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairSnapshot {
    /// What is done with it.
    pub stage: SnapshotStage,
    /// Bytes that the other sub-node has of it.
    pub bytes: u64,
    /// Its bytes; zero while it is being made.
    pub of: u64,
}

/// What is done with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotStage {
    /// The active writes it.
    Making,
    /// The active sends it.
    Sending,
    /// It comes here.
    Receiving,
    /// It is put in the place of what this sub-node had.
    Installing,
    /// This sub-node has no room for it.
    NoRoom,
}

/// How a pair is, as one of its sub-nodes sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairStatus {
    /// What the sub-node is that answers.
    pub role: PairRole,
    /// The configuration's number.
    pub epoch: u64,
    /// What an acknowledgement rests on.
    pub mode: PairMode,
    /// Who serves.
    pub active: PairSite,
    /// Who follows and takes over; none where nobody does.
    pub mirror: Option<PairSite>,
    /// Entries that the active has and the other has not, as far as this sub-node knows.
    pub lag_entries: u64,
    /// The last entry that counts.
    pub committed: u64,
    /// The last entry.
    pub tail: u64,
    /// Who decides on the next configuration.
    pub witnesses: Vec<PairWitness>,
    /// How many of them it takes.
    pub witnesses_needed: u64,
    /// What this sub-node is a witness of.
    pub duties: Vec<PairDuty>,
    /// When the other one began to serve, last, as far as this sub-node remembers.
    pub last_takeover: Option<Takeover>,
    /// Whether the one that follows could serve: its machines take in what counts. As far as this sub-node knows.
    #[serde(default = "fit")]
    pub mirror_fit: bool,
    /// A snapshot that one of the two sends the other, which needs more than the journal has; none where there is none.
    #[serde(default)]
    pub snapshot: Option<PairSnapshot>,
    /// What an operator must see to, in words.
    pub alarm: Option<String>,
}

fn fit() -> bool {
    true
}

/// A witness that would not, or did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declined {
    /// Who.
    pub organization: OrganizationId,
    /// Its name, if it is known.
    pub name: Option<OrganizationName>,
    /// Why, in words.
    pub why: String,
}

/// A pair was founded, or its code made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairInitiated {
    /// What the other sub-node joins with. It is a secret.
    pub code: String,
    /// Until when it opens.
    pub expires: Time,
    /// Who agreed to be a witness.
    pub witnesses: Vec<PairWitness>,
    /// Who was asked and did not.
    pub declined: Vec<Declined>,
    /// Whether the pair was there before, and only the code is new.
    pub repeated: bool,
}

/// Who the witnesses of the pair are, after others were asked to take their place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairAppointed {
    /// The witnesses.
    pub witnesses: Vec<PairWitness>,
    /// How many of them decide.
    pub witnesses_needed: u64,
    /// Who was asked and did not agree.
    pub declined: Vec<Declined>,
    /// The epoch from which on these decide.
    pub epoch: u64,
    /// Whether they are others than before.
    pub changed: bool,
}

/// The other sub-node serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairSwitched {
    /// Who serves now.
    pub active: PairSite,
    /// At which epoch.
    pub epoch: u64,
    /// From the request until it served.
    pub took_ms: u64,
}

/// The pair is ended: with the next start the sub-node is a single node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairEnded {
    /// The epoch at which it goes on.
    pub epoch: u64,
}

#[cfg(test)]
mod tests {
    use crate::admin::{pretended::Pretended, read, reply, write};
    use serde_json::{Value, json};

    async fn asked(request: Value) -> Value {
        let request = read(request.to_string().as_bytes()).unwrap();
        serde_json::from_str(&write(&reply(&Pretended, request).await)).unwrap()
    }

    #[tokio::test]
    async fn a_pair_is_told_in_the_form_that_scripts_rely_on() {
        let status = asked(json!({ "command": "pair-status" })).await["ok"].clone();
        let keys: Vec<_> = status.as_object().unwrap().keys().map(String::as_str).collect();
        let promised = [
            "role",
            "epoch",
            "mode",
            "active",
            "mirror",
            "lag_entries",
            "committed",
            "tail",
            "witnesses",
            "duties",
            "last_takeover",
            "snapshot",
            "alarm",
        ];
        assert!(promised.iter().all(|key| keys.contains(key)), "{keys:?}");
        assert_eq!(
            (&status["role"], &status["mode"], &status["alarm"]),
            (&json!("active"), &json!("pair"), &json!(null))
        );
        assert_eq!(status["mirror"]["cxip"], "10.0.0.2:4000");
        assert_eq!(status["witnesses"][0]["linked"], true);
        assert_eq!(status["last_takeover"]["epoch"], 6);
        assert_eq!(status["snapshot"], json!(null));
        let snapshot = super::PairSnapshot { stage: super::SnapshotStage::NoRoom, bytes: 0, of: 7 };
        assert_eq!(serde_json::to_value(snapshot).unwrap(), json!({ "stage": "no-room", "bytes": 0, "of": 7 }));
        for role in super::PairRole::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.word());
        }
    }

    #[tokio::test]
    async fn a_pair_is_founded_with_the_witnesses_that_were_named_and_no_more_than_it_can_have() {
        let initiated = asked(json!({ "command": "pair-init", "city": "Hamburg", "witnesses": ["Birch GmbH"] })).await;
        let initiated = &initiated["ok"];
        assert!(initiated["code"].as_str().unwrap().starts_with("hansa-pair-"), "{initiated}");
        assert_eq!(initiated["witnesses"].as_array().unwrap().len(), 1);
        assert!(initiated["declined"][0]["why"].is_string() && initiated["expires"].is_string());
        let many: Vec<_> = (0..8).map(|number| format!("member {number}")).collect();
        let refused = asked(json!({ "command": "pair-init", "witnesses": many })).await;
        assert_eq!(refused["fault"]["code"], "limit-reached");
        let switched = asked(json!({ "command": "pair-switch" })).await["ok"].clone();
        assert_eq!((&switched["active"]["city"], &switched["took_ms"]), (&json!("Hamburg"), &json!(310)));
        let appointed = asked(json!({ "command": "pair-appoint", "witnesses": ["Birch GmbH"] })).await["ok"].clone();
        assert_eq!((&appointed["changed"], &appointed["epoch"]), (&json!(true), &json!(8)));
        assert_eq!(appointed["witnesses"].as_array().unwrap().len(), 2);
        let refused = asked(json!({ "command": "pair-appoint", "witnesses": many })).await;
        assert_eq!(refused["fault"]["code"], "limit-reached");
        assert_eq!(asked(json!({ "command": "pair-end" })).await["ok"], json!({ "epoch": 7 }));
    }
}
