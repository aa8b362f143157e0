//! Finding the node of a door, first and again: rounds over all known addresses, until one lets in. An address that does not
//! answer is not waited for; the next one is tried beside it, and the first that lets in is taken. So whoever is attached finds the
//! active sub-node of a pair wherever it is (M3), and a dead one costs a moment.

use super::{Door, Opened, Pauses, is_passing, known::Known};
use crate::cxip::{Ended, Refusal};
use hansa_core::{
    code::{Code, Fault},
    limit,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::pending,
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

const STAGGER: Duration = Duration::from_millis(limit::RECONNECT_STAGGER_MS);

/// The way to the node of one door, for as long as somebody keeps a connection to it.
#[derive(Debug)]
pub(crate) struct Approach {
    door: Door,
    pauses: Pauses,
    /// Attempts under way. One that hangs goes on beside later rounds, in which its address is not tried again.
    attempts: JoinSet<(String, Result<Opened, Refusal>)>,
    /// Since when, by address.
    under_way: BTreeMap<String, Instant>,
    /// How often it was sent on since it last went well.
    hops: u32,
    /// Whether the next round needs no pause before it.
    goes_at_once: bool,
}

/// One time over all addresses.
struct Round {
    /// To be tried.
    ahead: VecDeque<String>,
    /// What was tried in this round, or is under way from an earlier one.
    tried: BTreeSet<String>,
    hops: u32,
    faults: Vec<Fault>,
    /// When the next one is tried although the last has not answered.
    next: Instant,
}

impl Approach {
    pub(crate) fn new(door: Door) -> Self {
        Self {
            door,
            pauses: Pauses::new(),
            attempts: JoinSet::new(),
            under_way: BTreeMap::new(),
            hops: 0,
            goes_at_once: false,
        }
    }

    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// Where the node is, for people.
    pub(crate) fn node(&self) -> &Known {
        &self.door.known
    }

    /// Try every address until one lets in; where none does, say why and leave it to the caller to [`Self::pause`]. With
    /// `to_the_end`, everybody who may still answer is waited for; otherwise those that hang are left for the next round.
    /// Dropped before it is ready, what is under way goes on in the next round.
    pub(crate) async fn round(&mut self, to_the_end: bool) -> Result<Opened, Fault> {
        let tried: BTreeSet<_> = self.under_way.keys().cloned().collect();
        let mut ahead = VecDeque::from(self.door.known.in_order());
        ahead.retain(|address| !tried.contains(address));
        let mut round = Round { ahead, tried, hops: 0, faults: Vec::new(), next: Instant::now() };
        loop {
            let now = Instant::now();
            if round.next <= now
                && let Some(address) = round.ahead.pop_front()
            {
                round.next = now + STAGGER;
                round.tried.insert(address.clone());
                self.begin(address, now);
                continue;
            }
            let mut wakes = Some(round.next).filter(|_| !round.ahead.is_empty());
            if round.ahead.is_empty() {
                if self.attempts.is_empty() {
                    return Err(round.verdict(&self.door));
                }
                // Who says no for good may be the wrong one, and who is slow the right one; only a passing reason is no
                // reason to wait.
                if !to_the_end && !round.faults.is_empty() && round.faults.iter().all(|fault| is_passing(fault.code)) {
                    let patience = self.under_way.values().max().map_or(now, |youngest| *youngest + STAGGER);
                    if patience <= now {
                        return Err(round.verdict(&self.door));
                    }
                    wakes = Some(patience);
                }
            }
            let ended = tokio::select! {
                Some(ended) = self.attempts.join_next(), if !self.attempts.is_empty() => ended,
                () = async { match wakes { Some(until) => sleep_until(until).await, None => pending().await } } => continue,
            };
            match ended {
                Ok((address, Ok(opened))) => return Ok(self.arrived(&address, opened)),
                Ok((address, Err(refusal))) => {
                    self.under_way.remove(&address);
                    tracing::debug!(node = address, fault = %refusal.fault, "not connected");
                    round.refused(&self.door.known, &address, refusal);
                }
                Err(error) => {
                    // A fault of ours; the addresses are tried again in the next round.
                    round.faults.push(Fault::new(Code::Internal, format!("an attempt to connect ended: {error}")));
                    self.attempts = JoinSet::new();
                    self.under_way.clear();
                }
            }
        }
    }

    fn begin(&mut self, address: String, now: Instant) {
        let door = self.door.clone();
        self.under_way.insert(address.clone(), now);
        self.attempts.spawn(async move {
            let opened = door.open(&address).await;
            (address, opened)
        });
    }

    /// All other attempts are given up.
    fn arrived(&mut self, address: &str, mut opened: Opened) -> Opened {
        self.attempts = JoinSet::new();
        self.under_way.clear();
        self.door.known.welcomed(address, &opened.1.alternates);
        if let Some((probe, silence_max)) = self.door.watchfulness() {
            opened.0.watch(probe, silence_max);
        }
        opened
    }

    /// Rounds until one lets in, for good reason none ever will, or `patience` is over.
    pub(crate) async fn first(&mut self, patience: Instant) -> Result<Opened, Fault> {
        loop {
            let is_last = Instant::now() >= patience;
            match self.round(is_last).await {
                Err(fault) if is_passing(fault.code) && !is_last => tokio::time::sleep(self.pause()).await,
                decided => return decided,
            }
        }
    }

    /// How long to wait before the next round.
    pub(crate) fn pause(&mut self) -> Duration {
        if std::mem::take(&mut self.goes_at_once) {
            return Duration::ZERO;
        }
        self.pauses.next(self.door.known.are_several())
    }

    /// Between half of so many milliseconds and all of them.
    pub(crate) fn cut(&mut self, whole_ms: u64) -> Duration {
        self.pauses.cut(whole_ms)
    }

    /// The node took something; pauses begin small again.
    pub(crate) fn succeeded(&mut self) {
        self.pauses.reset();
        self.hops = 0;
    }

    /// A connection is over. A node that showed no sign of life will hardly answer the next attempt.
    pub(crate) fn lost(&mut self, ended: &Ended) {
        if matches!(ended, Ended::Silent) {
            self.door.known.doubt();
        }
    }

    /// The node refuses the connection itself. Where it says who would not, that is where to go, without a pause.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        if let Some(address) = &refusal.address
            && self.door.known.point(None, address)
            && self.hops < limit::RECONNECT_HOPS_MAX
        {
            self.hops += 1;
            self.goes_at_once = true;
        }
    }
}

impl Round {
    fn refused(&mut self, known: &Known, address: &str, refusal: Refusal) {
        self.faults.push(refusal.fault);
        // Nobody is to be waited for behind an answer.
        self.next = Instant::now();
        if let Some(elsewhere) = refusal.address
            && known.point(Some(address), &elsewhere)
            && !self.tried.contains(&elsewhere)
            && self.hops < limit::RECONNECT_HOPS_MAX
        {
            self.hops += 1;
            self.ahead.retain(|address| *address != elsewhere);
            self.ahead.push_front(elsewhere);
        }
    }

    /// What says most of what was said: that somebody is not let in before that there is nobody.
    fn verdict(mut self, door: &Door) -> Fault {
        let rank = |fault: &Fault| match fault.code {
            Code::NodeStopped => 3,
            Code::Busy => 2,
            Code::NotActive => 1,
            _ => 0,
        };
        self.faults.sort_by_key(rank);
        let all: BTreeSet<_> = self.faults.iter().map(|fault| fault.message.clone()).collect();
        let first = self.faults.into_iter().next();
        let mut fault = first.unwrap_or_else(|| door.unanswered(&door.known.to_string(), "nothing was tried"));
        if fault.code == Code::NodeStopped {
            fault.message = all.into_iter().collect::<Vec<_>>().join("; ");
        }
        fault
    }
}
