//! The desk of the duties: what it has before it, and what becomes of each arrival. Who works at it is decided by [`super::room`]. It
//! decides nothing; [`super::feeding`] gives it to the machines, [`super::talking`] is what other sub-nodes say.

use super::{
    Arrival, Carrier, Happening, Introduction, Opened, Start, Takeover, Word,
    acting::Shipping,
    appointing::{Appointing, Asking},
    feeding::Before,
    ledger::{self, Kept, Ledger},
    pace::Pace,
    room::Work,
    seen::Seen,
    snapshot::{self, Receiving, Sending},
    stall::Stall,
    under_way::UnderWay,
};
use crate::{clock, journal::Journal, poison::Poison};
use hansa_core::{
    code::{Code, Fault},
    dice::Dice,
    dispatch::Outward,
    ident::{OrganizationId, SubnodeId},
    machine::Machine as _,
    mirror::{
        Certified, Configuration, MemberId, Message, Mode, Pair, Position, Witness, Witnesses,
        pair::{self, Site},
        witness::Bench,
    },
    moment::Moment,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use tokio::sync::{mpsc as notices, oneshot, watch};

/// How long a planned change may take before the operator hears that it did not come about.
const SWITCHING_MS: u64 = 15_000;

/// The thread's state.
pub(super) struct Desk {
    pub(super) journal: Arc<Journal<Outward>>,
    pub(super) seen: Arc<Seen>,
    pub(super) ledger: Ledger,
    pub(super) organization: OrganizationId,
    pub(super) site: Site,
    pub(super) bench: Bench,
    pub(super) witnessed_max: usize,
    pub(super) pair: Pair,
    pub(super) witnesses: BTreeMap<OrganizationId, Witness>,
    /// At which epoch, while that holds, these pairs are ended that it is a witness of.
    pub(super) ended: BTreeMap<OrganizationId, Option<u64>>,
    /// Until when each of those that asked has a place, if it does not take it up; since this process began.
    pub(super) agreed_until: BTreeMap<OrganizationId, Moment>,
    /// When each of these pairs said something last, since this process began.
    pub(super) heard: BTreeMap<OrganizationId, Moment>,
    pub(super) introduction: Option<Box<Introduction>>,
    pub(super) introduced: Option<Box<Introduction>>,
    pub(super) dice: Dice,
    pub(super) carrier: Box<dyn Carrier>,
    pub(super) happenings: notices::UnboundedSender<Happening>,
    pub(super) committed: watch::Sender<u64>,
    pub(super) linked: BTreeSet<SubnodeId>,
    pub(super) asking: Option<Asking>,
    pub(super) appointing: Option<Appointing>,
    pub(super) switching: Option<(Moment, oneshot::Sender<Result<(), Fault>>)>,
    /// The last position that was shipped, so that it need not be read again.
    pub(super) shipped: Position,
    pub(super) shipping: Option<Shipping>,
    pub(super) under_way: UnderWay,
    pub(super) pace: Pace,
    pub(super) took_over: Option<Takeover>,
    /// The pair is ended here, see [`super::retiring`].
    pub(super) retired: Option<u64>,
    pub(super) takeovers: u64,
    pub(super) poison: Option<Poison>,
    /// What the machine wants done, behind what is being done.
    pub(super) wanted: VecDeque<pair::Effect>,
    /// What the machine recorded and the ledger does not have yet; and what was before that.
    pub(super) unkept: Vec<Kept>,
    pub(super) unsettled: Option<Before>,
    /// What the disk has, if the machine has not been told.
    pub(super) synced: Option<Position>,
    /// Whether somebody is at work who must not wait.
    pub(super) light: bool,
    /// Snapshots for the other sub-node, and from it.
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
    pub(super) stall: Stall,
    pub(super) disk_patience_ms: u64,
}

impl Desk {
    pub(super) fn new(start: Start, seen: Arc<Seen>, committed: watch::Sender<u64>) -> Result<Self, Fault> {
        let Opened { mut ledger, mut known } = start.opened;
        if let Some(certified) = known.pair.certified().filter(|_| start.is_blank) {
            // What this disk had is gone: as a member it is somebody new, and comes back as a learner.
            if is_member(certified, known.member) {
                tracing::warn!(
                    "the journal is empty, although this sub-node was a member of its pair: it joins as a new one"
                );
            }
            known.member = ledger::number()?;
            ledger.keep(&[Kept::Numbered { member: known.member, witness: known.witness }])?;
        }
        let subnode = SubnodeId(start.key.verifying_key().to_bytes());
        snapshot::clear(&start.folder);
        let seed = ledger::number()?;
        Ok(Self {
            organization: OrganizationId(start.organization.verifying_key().to_bytes()),
            site: Site {
                key: start.key.clone(),
                organization: start.organization,
                member: MemberId { subnode, journal: known.member },
                // Until there is one, nothing is sent to it and nothing comes from it.
                partner: known.partner.unwrap_or(SubnodeId([0; 32])),
                timing: start.timing,
                on_mirror_lost: start.on_mirror_lost,
                flaw: None,
            },
            bench: Bench { key: start.key, witness: MemberId { subnode, journal: known.witness }, flaw: None },
            witnessed_max: start.witnessed_max,
            pair: known.pair,
            witnesses: known.witnesses,
            ended: known.ended,
            agreed_until: BTreeMap::new(),
            heard: BTreeMap::new(),
            introduction: None,
            introduced: known.introduced,
            dice: Dice::new(seed),
            journal: start.journal,
            seen,
            ledger,
            carrier: start.carrier,
            happenings: start.happenings,
            committed,
            linked: BTreeSet::new(),
            asking: None,
            appointing: None,
            switching: None,
            shipped: Position::default(),
            shipping: None,
            under_way: UnderWay::default(),
            pace: Pace::new(),
            took_over: known.took_over,
            retired: known.retired,
            takeovers: 0,
            poison: None,
            wanted: VecDeque::new(),
            unkept: Vec::new(),
            unsettled: None,
            synced: None,
            light: false,
            sending: Sending::new(&start.folder),
            receiving: Receiving::new(&start.folder),
            stall: Stall::new(),
            disk_patience_ms: start.disk_patience_ms,
        })
    }

    /// Who was of a pair when the process ended goes on from there; it does not serve before it knows that it may.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        if self.is_single() || self.is_retired() {
            return Ok(());
        }
        let history = self.journal.watch(Arc::clone(&self.seen) as _)?;
        let tail = history.tail();
        self.journal.follow(tail)?;
        self.pair_input(pair::Input::Started { history })
    }

    pub(super) fn is_single(&self) -> bool {
        self.pair.certified().is_none()
    }

    /// Whether there are entries to be shipped now, behind what else there is to do.
    pub(super) fn is_shipping(&self) -> bool {
        self.shipping.is_some() && self.under_way.has_room() && self.waits_to_ship().is_none()
    }

    pub(super) fn tick(&mut self) -> Result<(), Fault> {
        if !self.is_out() && !self.is_single() {
            self.watch_disk()?;
            self.tend_snapshots();
        }
        if self.ledger.is_long() {
            let Site { member, partner, .. } = self.site;
            let partner = Some(partner).filter(|partner| partner.0 != [0; 32]);
            self.ledger.shorten(&ledger::Known {
                member: member.journal,
                witness: self.bench.witness.journal,
                partner,
                introduced: self.introduced.clone(),
                took_over: self.took_over.clone(),
                retired: self.retired,
                pair: self.pair.clone(),
                witnesses: self.witnesses.clone(),
                ended: self.ended.clone(),
            })?;
        }
        let now = clock::steady();
        if self.pair.wakes_at().is_some_and(|at| at <= now) {
            self.pair_input(pair::Input::Due)?;
        }
        self.tend_witnesses(now)?;
        if self.switching.as_ref().is_some_and(|(until, _)| *until <= now)
            && let Some((_, answer)) = self.switching.take()
        {
            let message = "the other sub-node did not take over in time, and this one goes on";
            let _ = answer.send(Err(Fault::new(Code::PairNotReady, message)));
        }
        Ok(())
    }

    fn take(&mut self, arrival: Arrival) -> Result<(), Fault> {
        match arrival {
            Arrival::Looked => self.look()?,
            Arrival::Linked { subnode } => {
                self.linked.insert(subnode);
                self.ask_of_duties(subnode);
                self.tell_of_end(Some(subnode));
                if subnode == self.site.partner && !self.is_retired() {
                    self.introduce();
                    self.snapshot_linked();
                    self.pair_input(pair::Input::Connected)?;
                }
            }
            Arrival::Unlinked { subnode } => {
                self.linked.remove(&subnode);
            }
            Arrival::Told { from, organization, word, _credit } => self.told(from, organization, *word)?,
            Arrival::Introducing(introduction) => {
                self.introduction = Some(introduction);
                self.introduce();
            }
            Arrival::AskWitnesses(candidates, answer) => self.ask_witnesses(candidates, answer),
            Arrival::Appoint(witnesses, answer) => self.appoint(witnesses, answer)?,
            Arrival::Found(witnesses, answer) => {
                let founded = self.found(witnesses);
                let _ = answer.send(founded);
            }
            Arrival::Partnered(partner, answer) => {
                let partnered = self.partnered(partner);
                let _ = answer.send(partnered);
            }
            Arrival::Switch(answer) if self.is_single() || self.is_out() => {
                let fault = Fault::new(Code::PairNotReady, "this node is of no pair, so there is no other to serve");
                drop(answer.send(Err(fault.help("`hansa pair init` begins a pair"))));
            }
            Arrival::Switch(answer) => match self.pair_refusable(pair::Input::Switch)? {
                Ok(()) => self.switching = Some((clock::steady().plus_ms(SWITCHING_MS), answer)),
                Err(fault) => drop(answer.send(Err(fault))),
            },
            Arrival::Retire(answer) => drop(answer.send(self.retire())),
            Arrival::Resume(answer) => drop(answer.send(self.resume())),
            Arrival::Status(answer) => drop(answer.send(self.status())),
            Arrival::SnapshotMade(made) => self.snapshot_made(made),
            Arrival::Installed(Ok(history)) => {
                self.forget();
                self.snapshot_installed();
                self.pair_input(pair::Input::Installed { history })?;
            }
            Arrival::Installed(Err(fault)) => return Err(fault),
            Arrival::Fitness(poison) => {
                let fit = poison.is_none();
                self.poison = poison;
                self.pair_input(pair::Input::Fitness { fit })?;
            }
            Arrival::End => {}
        }
        Ok(())
    }

    /// What the journal did since.
    pub(super) fn look(&mut self) -> Result<(), Fault> {
        let (mut ends, synced) = self.seen.take();
        self.synced = synced.or(self.synced);
        let tail = self.pair.picture().tail.sequence;
        ends.retain(|end| end.sequence > tail);
        if !ends.is_empty() {
            self.pair_input(pair::Input::Sealed { ends })?;
        }
        if self.light && self.is_burdened() {
            // It is looked at when that is done.
            return Ok(());
        }
        match self.synced.take() {
            Some(durable) if durable.sequence > self.pair.picture().durable.sequence => {
                self.pair_input(pair::Input::Synced { durable })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn introduce(&mut self) {
        if let Some(introduction) = self.introduction.clone()
            && self.linked.contains(&self.site.partner)
        {
            self.carrier.tell(self.site.partner, &Word::Introduce(introduction));
        }
    }

    pub(super) fn found(&mut self, witnesses: Vec<MemberId>) -> Result<(), Fault> {
        if !self.is_single() {
            return Err(Fault::new(Code::PairNotReady, "this sub-node is of a pair already"));
        }
        if witnesses.is_empty() {
            return Err(Fault::new(Code::PairNotReady, "no other member agreed to be a witness of the pair").help(
                "at least one other member must be linked and have `witness.offer = true`; with four the pair can lose one of them",
            ));
        }
        let configuration = Configuration {
            pair: self.organization,
            epoch: 1,
            mode: Mode::Solo { active: self.site.member },
            witnesses: Witnesses::new(witnesses),
        };
        let certified = Box::new(Certified::founded(&self.site.organization, configuration));
        let history = self.journal.watch(Arc::clone(&self.seen) as _)?;
        self.pair_input(pair::Input::Started { history })?;
        self.pair_input(pair::Input::Configured(certified.clone()))?;
        for witness in &certified.configuration.witnesses.members {
            // They keep the place for those whom they know to have taken it up.
            self.say(witness.subnode, Message::Configured(certified.clone()));
        }
        Ok(())
    }

    pub(super) fn partnered(&mut self, partner: SubnodeId) -> Result<Box<Certified>, Fault> {
        let Some(certified) = self.pair.certified().filter(|_| !self.is_retired()).cloned() else {
            return Err(Fault::new(Code::PairNotReady, "there is no pair yet").help("begin one with `hansa pair init`"));
        };
        let mirror = certified.configuration.mode.mirror();
        if mirror.is_some_and(|mirror| mirror.subnode != partner) && self.pair.picture().state != pair::State::Suspect {
            // A code may have been given before the mirror came back; taken in now, the new one would be heard instead of it.
            return Err(Fault::new(Code::PairNotReady, "the pair has both its sub-nodes")
                .help("stop the other sub-node first, if this one is to come in its place"));
        }
        if partner != self.site.partner {
            self.ledger.keep(&[Kept::Partnered(partner)])?;
            self.site.partner = partner;
            self.introduced = None;
            let _ = self.happenings.send(Happening::Changed);
        }
        Ok(Box::new(certified))
    }
}

impl Work for Desk {
    type Arrival = Arrival;

    fn is_light(arrival: &Arrival) -> bool {
        match arrival {
            Arrival::Looked => true,
            Arrival::Told { word, .. } => matches!(
                &**word,
                Word::Say(message) if matches!(
                    **message,
                    Message::Append { .. } | Message::AppendAck { .. } | Message::Beat { .. } | Message::BeatAck { .. }
                )
            ),
            _ => false,
        }
    }

    fn is_end(arrival: &Arrival) -> bool {
        matches!(arrival, Arrival::End)
    }

    fn take_lightly(&mut self, arrival: Arrival) -> Result<(), Fault> {
        self.light = true;
        let taken = Desk::take(self, arrival).and_then(|()| self.ship());
        self.light = false;
        taken
    }

    fn is_burdened(&self) -> bool {
        !self.unkept.is_empty() || !self.wanted.is_empty() || self.is_shipping()
    }

    fn unburden(&mut self) -> Result<(), Fault> {
        if let Some(before) = self.unsettled.take() {
            self.settle(before)?;
        }
        self.act()?;
        self.look()
    }

    fn take(&mut self, arrival: Arrival) -> Result<(), Fault> {
        Desk::take(self, arrival)
    }

    fn go_on(&mut self) -> Result<bool, Fault> {
        self.tick()?;
        self.ship()?;
        Ok(self.is_shipping())
    }

    fn wakes_at(&self) -> Option<Moment> {
        let asking = self.asking.as_ref().map(|asking| asking.until);
        let appointing = self.appointing.as_ref().map(|appointing| appointing.until);
        let switching = self.switching.as_ref().map(|(until, _)| *until);
        // Moments are whole milliseconds.
        let ships_at = self.waits_to_ship().map(|wait| clock::steady().plus_ms(wait.as_millis() as u64 + 1));
        [self.pair.wakes_at(), asking, appointing, switching, ships_at].into_iter().flatten().min()
    }
}

fn is_member(certified: &Certified, number: u64) -> bool {
    let mode = certified.configuration.mode;
    mode.active().journal == number || mode.mirror().is_some_and(|mirror| mirror.journal == number)
}
