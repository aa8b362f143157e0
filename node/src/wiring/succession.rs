//! Does in this node what its duties tell: serve, pause, follow, take in what counts. One task, so that these come one after the
//! other, in the order in which they were decided. It decides nothing; [`super::serving`] is what it means to serve.

use super::{
    Machines, pair,
    role::{Part, Partner},
};
use hansa_actors::{
    duties::{Carrier, Duties, Happening, Introduction, Opened, Start, Word},
    standby::{Ground, Standby},
    supervisor::Fatal,
};
use hansa_core::{
    code::{Code, Fault},
    durability::Durability,
    ident::SubnodeId,
    membership::Credentials,
};
use hansa_federation::{Attend, DutyEvent, Unsent};
use std::{
    path::PathBuf,
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// How long what counts is collected before it is taken in: a follower has nothing to be in a hurry for, and many entries at once cost
/// less. Whoever takes over takes in the rest first.
const COLLECTING: Duration = Duration::from_millis(10);
/// How often a follower looks whether a checkpoint is due, and where members are.
const LOOK: Duration = Duration::from_secs(1);
/// How long a disk may take nothing, at least, before its sub-node counts as lost.
const DISK_PATIENCE_MS: u64 = 5_000;
/// How long a node that stops waits for the other sub-node to serve.
const HAND_OVER_MAX: Duration = Duration::from_secs(3);

/// See above.
pub(super) struct Succession {
    pub(super) machines: Arc<Machines>,
    pub(super) ground: Arc<Ground>,
    pub(super) duties: Arc<Duties>,
    pub(super) happenings: mpsc::UnboundedReceiver<Happening>,
    /// What takes in what counts, while this sub-node follows.
    pub(super) standby: Option<Standby>,
    /// The entry that the duties know the standby to be stopped by.
    pub(super) poisoned: Option<u64>,
    pub(super) fatal: Fatal,
}

impl Succession {
    /// Until the duties end. What cannot be done here ends the node: going on could serve with what does not count.
    pub(super) async fn run(mut self) {
        let mut committed = self.duties.committed();
        if let Err(fault) = self.tell_of_standby() {
            return (self.fatal)(fault);
        }
        let mut look = tokio::time::interval(LOOK);
        let mut taken_at = tokio::time::Instant::now();
        loop {
            let done = tokio::select! {
                biased;
                happening = self.happenings.recv() => match happening {
                    Some(happening) => self.happened(happening).await,
                    None => return,
                },
                counted = collected(&mut committed, taken_at + COLLECTING), if self.standby.is_some() => match counted {
                    Ok(()) => {
                        taken_at = tokio::time::Instant::now();
                        let through = *committed.borrow_and_update();
                        let taken = self.stand_by(move |standby| standby.take_counting(through)).await;
                        taken.and_then(|()| self.tell_of_standby())
                    }
                    Err(_) => return,
                },
                _ = look.tick() => self.look().await,
            };
            if let Err(fault) = done {
                if fault.code == Code::NodeStopped {
                    return;
                }
                tracing::error!(code = %fault.code, "{}", fault.message);
                return (self.fatal)(fault);
            }
        }
    }

    async fn happened(&mut self, happening: Happening) -> Result<(), Fault> {
        match happening {
            Happening::Serve { epoch, durability } => self.serve(epoch, durability).await,
            Happening::Pause => {
                self.machines.pause(true);
                Ok(())
            }
            Happening::Follow => self.follow().await,
            Happening::Changed => self.changed().await,
            Happening::MakeSnapshot { path } => {
                self.snapshot(path);
                Ok(())
            }
            Happening::Install { history, snapshot } => {
                let ground = Arc::clone(&self.ground);
                self.standby = None;
                let installed = blocking(move || ground.install(&history, &snapshot).map(|()| history)).await;
                self.standby = Some(self.ground.standby()?);
                self.duties.installed(installed);
                self.tell_of_standby()
            }
            Happening::Alarm(alarm) => {
                tracing::error!("the pair needs its operator: {}; see `hansa pair status`", pair::alarm(alarm));
                Ok(())
            }
        }
    }

    async fn serve(&mut self, epoch: u64, durability: Durability) -> Result<(), Fault> {
        self.machines.role.set(Part::Serving { epoch });
        if let Some(mut standby) = self.standby.take() {
            let begun = Instant::now();
            let (accedes, standby) = blocking(move || Ok((standby.accede()?, standby))).await?;
            if !accedes {
                // What has to be done instead is told already.
                return Ok(());
            }
            let house = standby.serve(Arc::clone(&self.fatal)).await?;
            self.machines.follow_with(None);
            self.machines.begin_serving(house).await?;
            tracing::info!(epoch, took = ?begun.elapsed(), "this sub-node serves");
        }
        tracing::info!(epoch, "what is acknowledged from here on is on {}", durability.phrase());
        self.machines.pause(false);
        if let Some(federation) = self.machines.ways.peers.federation() {
            federation.set_serving(epoch);
        }
        Ok(())
    }

    async fn follow(&mut self) -> Result<(), Fault> {
        self.machines.role.set(Part::Following);
        if let Some(federation) = self.machines.ways.peers.federation() {
            federation.set_serving(0);
        }
        if let Some(house) = self.machines.stop_serving() {
            house.leave().await;
        }
        self.machines.pause(false);
        self.machines.follow_with(Some(Arc::clone(self.ground.journal())));
        self.standby = Some(self.ground.standby()?);
        tracing::info!("this sub-node follows");
        self.tell_of_standby()
    }

    /// What others do with what the standby took in: administrators are let in by a follower, too; and one that cannot take an entry
    /// in does not serve.
    fn tell_of_standby(&mut self) -> Result<(), Fault> {
        let Some(standby) = &mut self.standby else { return Ok(()) };
        self.machines.admit_accounts(standby.accounts()?);
        let poisoned = standby.poison().map(|poison| poison.sequence);
        if poisoned != self.poisoned {
            self.poisoned = poisoned;
            self.duties.fitness(standby.poison().cloned());
        }
        Ok(())
    }

    async fn changed(&self) -> Result<(), Fault> {
        let status = self.duties.status().await?;
        if status.state.follows() && self.standby.is_some() {
            self.machines.role.set(Part::Following);
        }
        let introduced = status.partner.and_then(|partner| partner.introduction);
        let partner = introduced.map(|introduction| {
            let Introduction { certificate, federation, cxip } = *introduction;
            Partner::introduced(self.machines.own(), certificate, federation, cxip)
        });
        match partner.transpose() {
            Ok(partner) => {
                if let Some(partner) = &partner {
                    let whereabouts = vec![(partner.subnode, partner.certified.addresses.clone())];
                    self.machines.ways.peers.learn(whereabouts);
                }
                self.machines.role.meet(partner);
            }
            Err(fault) => tracing::warn!(%fault, "the other sub-node is not what it says"),
        }
        self.machines.introduce().await;
        Ok(())
    }

    /// What a follower does now and then.
    async fn look(&mut self) -> Result<(), Fault> {
        let Some(standby) = &self.standby else { return Ok(()) };
        if let Some(credentials) = self.machines.hear_of_members(standby)?
            && let Some(federation) = self.machines.ways.peers.federation()
        {
            federation.set_credentials(credentials).await?;
        }
        if standby.is_checkpoint_due(Instant::now()) {
            self.stand_by(Standby::checkpoint).await?;
        }
        Ok(())
    }

    /// Make a snapshot beside everything else: of the last checkpoint, for to make one could mean to wait for the very sub-node that
    /// wants the snapshot. What is behind it, the journal keeps.
    fn snapshot(&self, path: PathBuf) {
        let (ground, duties) = (Arc::clone(&self.ground), Arc::clone(&self.duties));
        tokio::spawn(async move {
            let made = blocking(move || ground.snapshot(&path)).await;
            if let Err(fault) = &made {
                tracing::warn!(%fault, "no snapshot for the other sub-node could be made; it asks again");
            }
            duties.snapshot_made(made.ok());
        });
    }

    async fn stand_by(
        &mut self,
        work: impl FnOnce(&mut Standby) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), Fault> {
        let Some(mut standby) = self.standby.take() else { return Ok(()) };
        let standby = blocking(move || work(&mut standby).map(|()| standby));
        self.standby = Some(standby.await?);
        Ok(())
    }
}

impl Machines {
    /// What this node's duties are begun with.
    pub(super) fn duties_start(
        self: &Arc<Self>,
        opened: Opened,
        ground: &Ground,
        happenings: mpsc::UnboundedSender<Happening>,
        fatal: &Fatal,
    ) -> Start {
        let (configuration, witness) = (&self.start.configuration, self.start.configuration.witness());
        Start {
            opened,
            journal: Arc::clone(ground.journal()),
            folder: self.start.folder.path().to_owned(),
            is_blank: ground.is_blank(),
            organization: self.keys.organization.clone(),
            key: self.keys.node.clone(),
            timing: configuration.pair().timing(),
            on_mirror_lost: configuration.pair().on_mirror_lost(),
            disk_patience_ms: DISK_PATIENCE_MS.max(2 * configuration.pair().timing().grace_ms),
            witnessed_max: if witness.offer() { usize::try_from(witness.pairs_max()).unwrap_or(usize::MAX) } else { 0 },
            carrier: Box::new(Post(Arc::downgrade(self))),
            happenings,
            fatal: Arc::clone(fatal),
        }
    }

    /// What the log of a follower says of the members: where they are, and the papers of the organization, if they are others than
    /// before.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn hear_of_members(&self, standby: &Standby) -> Result<Option<Credentials>, Fault> {
        self.ways.peers.learn(standby.directory()?.whereabouts());
        let Some(credentials) = standby.membership()?.credentials().cloned() else { return Ok(None) };
        // The log says now what the papers said.
        self.start.folder.forget_papers();
        let is_new = self.remember(credentials.clone());
        Ok(is_new.then_some(credentials))
    }

    /// The duties of this sub-node; they begin before anything is listened to.
    pub(super) fn duties(&self) -> Arc<Duties> {
        Arc::clone(&self.pair.get().expect("duties begin with the node").0)
    }

    /// No new work is taken, or is again.
    fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    /// Tell the partner where this sub-node is.
    pub(super) fn introduce_to_partner(&self) {
        let cxip = self.announced_cxip();
        let certificate = self.identity.certificate.clone();
        self.duties().introduce(Introduction { certificate, federation: self.addresses(), cxip });
    }

    /// A node that stops lets the other sub-node serve before, if there is one that can: that takes a moment, and a takeover seconds.
    pub(super) async fn hand_over(&self) {
        let Some((duties, _)) = self.pair.get() else { return };
        match duties.hand_over(HAND_OVER_MAX).await {
            Ok(true) => tracing::info!("the other sub-node serves"),
            Ok(false) => {}
            Err(fault) => tracing::warn!("{}; if it is there, it takes over by itself", fault.message),
        }
    }
}

/// Resolves when more counts than was last looked at, but not before that moment.
async fn collected(
    committed: &mut watch::Receiver<u64>,
    not_before: tokio::time::Instant,
) -> Result<(), watch::error::RecvError> {
    tokio::time::sleep_until(not_before).await;
    committed.changed().await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.unwrap_or_else(|error| Err(Fault::new(Code::Internal, format!("work on the journal ended: {error}"))))
}

/// Carries the duties' words over the federation.
pub(super) struct Post(Weak<Machines>);

impl Carrier for Post {
    fn tell(&self, to: SubnodeId, word: &Word) {
        let Some(machines) = self.0.upgrade() else { return };
        let Some(federation) = machines.ways.peers.federation() else { return };
        match federation.tell(to, word.bytes()) {
            Ok(()) => {}
            Err(Unsent::TooLarge) => {
                tracing::error!(subnode = %to.short(), "an entry is larger than what the other sub-node takes at once");
            }
            Err(unsent) => tracing::debug!(subnode = %to.short(), %unsent, "a word of the pair was not sent"),
        }
    }
}

/// Takes to the duties what other sub-nodes say.
pub(super) struct Hearing(pub(super) Arc<Duties>);

impl Attend for Hearing {
    fn attend(&self, event: DutyEvent) {
        match event {
            DutyEvent::PairUp { subnode, .. } => self.0.linked(subnode),
            DutyEvent::PairDown { subnode } => self.0.unlinked(subnode),
            DutyEvent::Told { subnode, organization, bytes, credit } => match Word::read(&bytes) {
                Ok(word) => self.0.told(subnode, organization, word, credit),
                Err(fault) => tracing::warn!(subnode = %subnode.short(), %fault, "refused"),
            },
        }
    }
}
