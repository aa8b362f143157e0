//! What is done to the processes of a pair and the lines between them: chosen by dice, so that a seed repeats it, and never more than
//! the promise allows for: of everything acknowledged, one disk that has it lives.

use crate::{cluster::Cluster, pair::Side, process::Node};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};
use tokio::time::{Instant, sleep};

/// How long something is broken, from not noticed to long given up.
const BROKEN_MS: RangeInclusive<u64> = 10..=1_500;
/// How long the other sub-node may take until it serves and takes in a new one.
const REPLACED_TIME_MAX: Duration = Duration::from_secs(60);
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Something that is done to a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The process of the active sub-node is killed, and started again at once or later.
    KillActive,
    /// That of the other.
    KillOther,
    /// Both are killed, one shortly after the other, and started in any order.
    KillBoth,
    /// One is killed, and again while it starts, and again.
    KillAgainAndAgain,
    /// The active stands still for a while.
    StallActive,
    /// The other does.
    StallOther,
    /// The line between the two is cut.
    CutBetween,
    /// The active hears nobody, and nobody it.
    CutOffActive,
    /// One of the witnesses stands still while the active is killed.
    StallWitnessAndKillActive,
    /// The operator lets the other one serve, and one of them is killed in the middle.
    SwitchAndKill,
    /// The active is stopped as an operator stops it, and started again.
    Stop,
    /// The disk of one is lost while the other has everything; a new machine takes its place.
    LoseDisk,
}

impl Trouble {
    const ALL: [Self; 12] = [
        Self::KillActive,
        Self::KillOther,
        Self::KillBoth,
        Self::KillAgainAndAgain,
        Self::StallActive,
        Self::StallOther,
        Self::CutBetween,
        Self::CutOffActive,
        Self::StallWitnessAndKillActive,
        Self::SwitchAndKill,
        Self::Stop,
        Self::LoseDisk,
    ];
}

/// Makes them.
pub(super) struct Troublemaker<'a> {
    cluster: &'a mut Cluster,
    pair: usize,
    dice: fastrand::Rng,
    /// What is still to be done, so that each was done before one is done again.
    bag: Vec<Trouble>,
}

impl<'a> Troublemaker<'a> {
    pub(super) fn new(cluster: &'a mut Cluster, pair: usize, seed: u64) -> Self {
        Self { cluster, pair, dice: fastrand::Rng::with_seed(seed), bag: Vec::new() }
    }

    pub(super) fn between(&mut self, range: &RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.dice.u64(range.clone()))
    }

    pub(super) fn choose(&mut self) -> Trouble {
        if self.bag.is_empty() {
            self.bag = Trouble::ALL.to_vec();
            self.dice.shuffle(&mut self.bag);
        }
        self.bag.pop().expect("it was filled")
    }

    pub(super) async fn make(&mut self, trouble: Trouble) -> Result<()> {
        let active = self.active().await?;
        match trouble {
            Trouble::KillActive => self.kill(active).await,
            Trouble::KillOther => self.kill(active.other()).await,
            Trouble::KillBoth => self.kill_both(active).await,
            Trouble::KillAgainAndAgain => {
                let side = self.any_side();
                for _ in 0..3 {
                    self.node(side)?.kill().await?;
                    self.node(side)?.launch()?;
                    self.while_broken().await;
                }
                self.node(side)?.wait_until_ready().await
            }
            Trouble::StallActive => self.stall(active).await,
            Trouble::StallOther => self.stall(active.other()).await,
            Trouble::CutBetween => {
                let [first, second] = Side::ALL.map(|side| self.address(side));
                self.cut(&[(Side::First, vec![second?]), (Side::Second, vec![first?])]).await
            }
            Trouble::CutOffActive => {
                let all = self.addresses()?;
                self.cut(&[(active, all)]).await
            }
            Trouble::StallWitnessAndKillActive => {
                let witness = self.dice.usize(1..self.cluster.nodes.len());
                self.cluster.nodes[witness].pause()?;
                let killed = self.kill(active).await;
                self.cluster.nodes[witness].resume()?;
                killed
            }
            Trouble::SwitchAndKill => {
                let admin = self.node(active)?.admin()?;
                let switching = tokio::spawn(async move { admin.ask("pair-switch", json!({})).await });
                sleep(Duration::from_millis(self.dice.u64(0..=60))).await;
                let side = self.any_side();
                self.kill(side).await?;
                // It may have been refused, or cut off in the middle, or have come about.
                let _ = switching.await;
                Ok(())
            }
            Trouble::Stop => {
                self.node(active)?.stop().await?;
                self.while_broken().await;
                self.node(active)?.start().await.map(drop)
            }
            Trouble::LoseDisk => self.lose_disk().await,
        }?;
        self.nobody_ended()
    }

    /// Everything runs again, and every line is whole.
    pub(super) async fn heal(&mut self) -> Result<()> {
        self.nobody_ended()?;
        for node in self.all() {
            node.ask("cut-lines", json!({ "destinations": [] })).await?;
        }
        Ok(())
    }

    /// Which sub-node is active, as far as anybody says; any, while nobody does.
    async fn active(&mut self) -> Result<Side> {
        let active = self.cluster.active_of(self.pair).await?;
        Ok(active.unwrap_or_else(|| self.any_side()))
    }

    fn any_side(&mut self) -> Side {
        if self.dice.bool() { Side::First } else { Side::Second }
    }

    fn node(&mut self, side: Side) -> Result<&mut Node> {
        self.cluster.subnode_mut(self.pair, side)
    }

    fn address(&self, side: Side) -> Result<SocketAddr> {
        Ok(self.cluster.subnode(self.pair, side)?.home.federation)
    }

    fn all(&self) -> impl Iterator<Item = &Node> {
        self.cluster.nodes.iter().chain(self.cluster.mirrors.iter().map(|mirror| &mirror.node))
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>> {
        Ok(self.all().map(|node| node.home.federation).collect())
    }

    async fn while_broken(&mut self) {
        let broken = self.between(&BROKEN_MS);
        sleep(broken).await;
    }

    /// No process ends but by what is done here.
    fn nobody_ended(&mut self) -> Result<()> {
        for node in self.cluster.nodes.iter_mut().chain(self.cluster.mirrors.iter_mut().map(|mirror| &mut mirror.node))
        {
            node.ensure_running()?;
        }
        Ok(())
    }

    async fn kill(&mut self, side: Side) -> Result<()> {
        self.node(side)?.kill().await?;
        self.while_broken().await;
        self.node(side)?.start().await.map(drop)
    }

    async fn kill_both(&mut self, active: Side) -> Result<()> {
        self.node(active)?.kill().await?;
        if self.dice.bool() {
            self.while_broken().await;
        }
        self.node(active.other())?.kill().await?;
        let first = self.any_side();
        self.node(first)?.launch()?;
        self.while_broken().await;
        self.node(first.other())?.launch()?;
        for side in Side::ALL {
            self.node(side)?.wait_until_ready().await?;
        }
        Ok(())
    }

    async fn stall(&mut self, side: Side) -> Result<()> {
        self.node(side)?.pause()?;
        self.while_broken().await;
        self.node(side)?.resume()
    }

    /// Cut lines of these, in both directions, for a while.
    async fn cut(&mut self, lines: &[(Side, Vec<SocketAddr>)]) -> Result<()> {
        for (side, destinations) in lines {
            let own = self.address(*side)?;
            let destinations: Vec<_> = destinations.iter().filter(|there| **there != own).collect();
            self.node(*side)?.ask("cut-lines", json!({ "destinations": destinations })).await?;
        }
        if let [(side, _)] = lines {
            // The other ends send nothing either.
            let own = self.address(*side)?;
            for node in self.all().filter(|node| node.home.federation != own) {
                node.ask("cut-lines", json!({ "destinations": [own] })).await?;
            }
        }
        self.while_broken().await;
        for node in self.all() {
            node.ask("cut-lines", json!({ "destinations": [] })).await?;
        }
        Ok(())
    }

    async fn lose_disk(&mut self) -> Result<()> {
        // Only the other one's disk may be trusted then, so it has to have everything.
        self.cluster.wait_until_whole(self.pair).await?;
        let lost = self.any_side();
        self.node(lost)?.kill().await?;
        let began = Instant::now();
        while let Err(error) = self.cluster.replace(self.pair, lost).await {
            if began.elapsed() > REPLACED_TIME_MAX {
                bail!("no new machine is taken in: {error:#}");
            }
            sleep(LOOK_PAUSE).await;
        }
        self.node(lost)?.pid().context("the new machine runs").map(drop)
    }
}
