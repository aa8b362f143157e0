//! Mirrored pairs among the organizations of a testnet (M1 to M4): their second sub-nodes join, and this says which sub-node is active
//! and whether a pair is whole. It asks the nodes as an operator would; the demo of failures and the benchmark of takeovers stand on it.

use crate::{
    cluster::Cluster,
    process::{Executable, Node},
};
use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use hansa_core::code::{Code, Fault};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long a pair may take until it is whole again: the other sub-node starts, catches up and is agreed on.
const WHOLE_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a takeover may take, that of two cities included.
const TAKEOVER_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a pair may take until it is ready for another sub-node.
const READY_WAIT_MAX: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// One of the two sub-nodes of an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// That which the organization began with.
    First,
    /// That which joined it.
    Second,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// How a pair is, as one of its sub-nodes sees it. It is read by name; a node may say more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PairStatus {
    /// What the sub-node that answers is just now.
    pub role: String,
    /// The number of the configuration.
    #[serde(default)]
    pub epoch: u64,
    /// What an acknowledgement rests on: `pair`, `solo` or `single`.
    #[serde(default)]
    pub mode: String,
    /// Entries that the active has and the other has not.
    #[serde(default)]
    pub lag_entries: u64,
    /// The last entry.
    #[serde(default)]
    pub tail: u64,
    /// What an operator must see to.
    #[serde(default)]
    pub alarm: Option<String>,
    /// Who decides on the next configuration.
    #[serde(default)]
    pub witnesses: Vec<Witness>,
}

/// A witness of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Witness {
    /// Whose it is.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether it is connected.
    #[serde(default)]
    pub linked: bool,
}

impl PairStatus {
    /// Ask a sub-node.
    ///
    /// # Errors
    /// It does not answer, or in another shape.
    pub async fn of(node: &Node) -> Result<Self> {
        let status = node.ask("pair-status", json!({})).await?;
        serde_json::from_value(status).context("the status of a pair has an unknown shape")
    }

    fn serves(&self) -> bool {
        self.role == "active"
    }

    /// Whether these two, of the active and of the other one, say that both have everything and either can go on alone.
    #[must_use]
    pub fn are_whole(active: &Self, other: &Self) -> bool {
        active.serves() && active.mode == "pair" && other.role == "mirror" && active.epoch == other.epoch
    }
}

impl Cluster {
    /// Whether this member, by its place, has a second sub-node.
    fn mirror_of(&self, organization: usize) -> Result<usize> {
        let found = self.mirrors.iter().position(|mirror| mirror.of == organization);
        found.with_context(|| format!("member {organization} of the testnet is no pair"))
    }

    /// A sub-node of a member, by the member's place.
    ///
    /// # Errors
    /// There is none.
    pub fn subnode(&self, organization: usize, side: Side) -> Result<&Node> {
        Ok(match side {
            Side::First => &self.nodes[organization],
            Side::Second => &self.mirrors[self.mirror_of(organization)?].node,
        })
    }

    /// The same, to start or end it.
    ///
    /// # Errors
    /// There is none.
    pub fn subnode_mut(&mut self, organization: usize, side: Side) -> Result<&mut Node> {
        let mirror = self.mirror_of(organization);
        Ok(match side {
            Side::First => &mut self.nodes[organization],
            Side::Second => &mut self.mirrors[mirror?].node,
        })
    }

    /// Make a member a pair: its first sub-node founds it with these witnesses, the second one joins, and this waits until the pair
    /// is whole.
    ///
    /// # Errors
    /// A node refuses, or something takes too long.
    pub async fn make_pair(&mut self, organization: usize, witnesses: &[&str]) -> Result<()> {
        self.make_pairs(&[(organization, witnesses.to_vec())]).await?;
        Ok(())
    }

    /// The same with several members at once, each with its witnesses; says after how long each was whole.
    ///
    /// # Errors
    /// As [`Self::make_pair`].
    pub async fn make_pairs(&mut self, pairs: &[(usize, Vec<&str>)]) -> Result<Vec<Duration>> {
        let began = Instant::now();
        let founding =
            pairs.iter().map(|(organization, witnesses)| self.pairing_code(*organization, Side::First, witnesses));
        let codes = try_join_all(founding).await?;
        let joining = self.mirrors.iter_mut().filter_map(|mirror| {
            let place = pairs.iter().position(|(organization, _)| *organization == mirror.of)?;
            Some((mirror, &codes[place]))
        });
        let joined = joining.map(|(mirror, code)| async move {
            mirror.node.join_pair(code, &mirror.settings).await?;
            mirror.node.start().await
        });
        try_join_all(joined).await?;
        let whole = pairs.iter().map(|(organization, _)| async {
            self.wait_until_whole(*organization).await?;
            anyhow::Ok(began.elapsed())
        });
        try_join_all(whole).await
    }

    /// The code with which another sub-node comes to this one. It is asked for until the node is ready to give it: who shall be a
    /// witness may not have heard of the organization yet, and who lost its mirror may not have noticed.
    async fn pairing_code(&self, organization: usize, active: Side, witnesses: &[&str]) -> Result<String> {
        let node = self.subnode(organization, active)?;
        let began = Instant::now();
        let founded = loop {
            let is_late = began.elapsed() > READY_WAIT_MAX;
            match node.ask("pair-init", json!({ "witnesses": witnesses })).await {
                Err(error) if is_not_ready(&error) && !is_late => sleep(LOOK_PAUSE * 5).await,
                answered => break answered?,
            }
        };
        Ok(founded["code"].as_str().context("the pairing code has an unknown shape")?.to_owned())
    }

    /// Forget everything that a sub-node has on its disk, which must not run, and let it join again: a new machine in its place.
    ///
    /// # Errors
    /// As [`Self::make_pair`].
    pub async fn replace(&mut self, organization: usize, lost: Side) -> Result<()> {
        let place = self.mirror_of(organization)?;
        let code = self.pairing_code(organization, lost.other(), &[]).await?;
        let node = self.subnode(organization, lost)?;
        let settings = match lost {
            Side::Second => self.mirrors[place].settings.clone(),
            Side::First => node.settings()?,
        };
        wipe(node)?;
        node.join_pair(&code, &settings).await?;
        self.subnode_mut(organization, lost)?.start().await?;
        Ok(())
    }

    /// How both sub-nodes see the pair; none where one does not answer.
    async fn both(&self, organization: usize) -> Result<[Option<PairStatus>; 2]> {
        let [first, second] = [self.subnode(organization, Side::First)?, self.subnode(organization, Side::Second)?];
        let (first, second) = tokio::join!(seen(first), seen(second));
        Ok([first, second])
    }

    /// Which sub-node serves; none while nobody does.
    ///
    /// # Errors
    /// The member is no pair.
    pub async fn active_of(&self, organization: usize) -> Result<Option<Side>> {
        let both = self.both(organization).await?;
        let serving = Side::ALL.into_iter().zip(&both).filter_map(|(side, seen)| Some((side, seen.as_ref()?)));
        let serving = serving.filter(|(_, seen)| seen.serves());
        // One that was cut off may not have heard yet that it serves no more.
        Ok(serving.max_by_key(|(_, seen)| seen.epoch).map(|(side, _)| side))
    }

    /// Wait until this sub-node serves; says after how long.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn wait_until_active(&self, organization: usize, side: Side) -> Result<Duration> {
        let began = Instant::now();
        while !seen(self.subnode(organization, side)?).await.is_some_and(|status| status.serves()) {
            if began.elapsed() > TAKEOVER_WAIT_MAX {
                let home = &self.subnode(organization, side)?.home;
                let (waited, seen) = (TAKEOVER_WAIT_MAX.as_secs(), self.both(organization).await?);
                bail!("{} in {} did not take over within {waited} s: {seen:?}", home.organization, home.city);
            }
            sleep(LOOK_PAUSE).await;
        }
        Ok(began.elapsed())
    }

    /// Wait until a pair is whole; says which sub-node is active, and after how long it was.
    ///
    /// # Errors
    /// It is not in time.
    pub async fn wait_until_whole(&self, organization: usize) -> Result<(Side, Duration)> {
        let began = Instant::now();
        let (mut lag_min, mut nearer) = (u64::MAX, began);
        loop {
            let both = self.both(organization).await?;
            // One that has much to catch up with is waited for as long as it comes nearer.
            if let Some(lag) = both.iter().flatten().map(|status| status.lag_entries).max()
                && lag < lag_min
            {
                (lag_min, nearer) = (lag, Instant::now());
            }
            if let [Some(first), Some(second)] = &both {
                for (side, active, other) in [(Side::First, first, second), (Side::Second, second, first)] {
                    if PairStatus::are_whole(active, other) {
                        return Ok((side, began.elapsed()));
                    }
                }
            }
            if nearer.elapsed() > WHOLE_WAIT_MAX {
                let (name, waited) = (&self.nodes[organization].home.organization, WHOLE_WAIT_MAX.as_secs());
                bail!("the pair of {name} was not whole within {waited} s, nor nearer to it: {both:?}");
            }
            sleep(LOOK_PAUSE).await;
        }
    }
}

/// Whether a node says that its pair cannot do what it was asked for just now.
pub(crate) fn is_not_ready(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Fault>().is_some_and(|fault| fault.code == Code::PairNotReady)
}

/// A sub-node that was killed, or stands still, does not answer for a while.
async fn seen(node: &Node) -> Option<PairStatus> {
    node.pid()?;
    tokio::time::timeout(Duration::from_secs(1), PairStatus::of(node)).await.ok()?.ok()
}

/// Remove a data folder, as a disk takes it along that breaks.
fn wipe(node: &Node) -> Result<()> {
    let data = &node.home.data;
    fs::remove_dir_all(data).with_context(|| format!("could not remove {}", data.display()))
}

/// Whether this executable knows pairs; one that does not is said to be none at once, and not when its node is asked.
///
/// # Errors
/// It does not, or does not run.
pub async fn ensure_known(executable: &Executable) -> Result<()> {
    let help = tokio::process::Command::new(&executable.0).args(["pair", "--help"]).output().await;
    let help = help.with_context(|| format!("could not start {}", executable.0.display()))?;
    if !help.status.success() {
        bail!("{} has no mirrored pairs", executable.0.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(role: &str, mode: &str, epoch: u64) -> PairStatus {
        let shown = json!({ "role": role, "mode": mode, "epoch": epoch, "mirror": null, "lag_entries": 7 });
        serde_json::from_value(shown).unwrap()
    }

    // M4: only a mirror that may take over makes a pair whole.
    #[test]
    fn a_pair_is_whole_when_both_are_of_one_mind_and_either_can_go_on_alone() {
        let active = status("active", "pair", 3);
        assert!(PairStatus::are_whole(&active, &status("mirror", "pair", 3)));
        for other in [status("learner", "solo", 3), status("mirror", "pair", 2), status("active", "pair", 3)] {
            assert!(!PairStatus::are_whole(&active, &other), "{other:?}");
        }
        assert!(!PairStatus::are_whole(&status("active", "solo", 3), &status("mirror", "pair", 3)));
        assert_eq!(Side::First.other().other(), Side::First);
    }
}
