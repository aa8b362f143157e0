//! What distinguishes one pair machine from another, for the explorer among the tests: every field, moments as what is left until then or
//! has gone by since, numbers of beats and questions left out. It must not leave a field out in silence.

use super::{
    super::{Certified, Configuration, History, Mode},
    Life, Pair, Partner,
    follower::UNANSWERED_MAX,
};
use crate::moment::Moment;
use std::hash::{Hash, Hasher};

/// The numbers that messages under way are held against.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Beats that were not answered.
    pub beats: Vec<u64>,
    /// The last beat.
    pub beat: u64,
    /// The last question.
    pub question: u64,
    /// A snapshot that answers this question or an earlier one is of no use.
    pub answered: u64,
}

/// What is due later than this is never waited for.
const FAR: u64 = 64;

impl Pair {
    /// Hash what distinguishes it; what else it is, is told. Nothing asks how long ago something was beyond a lease.
    pub fn pictured(&self, now: Moment, lease_ms: u64, to: &mut impl Hasher) -> Numbers {
        // All times of a side are the same here, so what it said that it waits is what it waits.
        let Self { certified, rounds, told_grace_ms: _, life } = self;
        let until = |at: &Option<Moment>| at.map(|at| at.since_ms(now).min(FAR));
        let since = |at: &Moment| now.since_ms(*at).min(lease_ms);
        certified.as_deref().map(|certified| told(&certified.configuration)).hash(to);
        rounds.hash(to);
        let Life {
            state,
            history,
            durable,
            committed,
            proposal,
            retry_at,
            outbid,
            partner,
            beats,
            beat,
            beat_at,
            granted_ms,
            lease_until,
            patience_until,
            held,
            target,
            grace_until,
            joined,
            received,
            acknowledged,
            behind_since,
            question,
            unanswered,
            answered,
            installing,
            ask_at,
            floor_at,
            floored,
            unfit,
            alarm,
        } = &**life;
        state.hash(to);
        ends(history, to);
        (durable, committed, until(retry_at), outbid, proposal.is_some()).hash(to);
        if let Some(proposal) = proposal {
            proposal.pictured(to);
        }
        let Partner { member, shipped, sent_through, fork, acked, heard, unfit: partner_unfit } = partner;
        (member.map(|member| member.journal), shipped, sent_through, fork, acked).hash(to);
        (heard.as_ref().map(since), partner_unfit).hash(to);
        // An answer to an older beat is no lease.
        let beats: Vec<_> = beats.iter().filter(|(_, sent)| since(sent) < lease_ms).collect();
        beats.len().hash(to);
        for (nonce, sent) in &beats {
            (beat - nonce, since(sent)).hash(to);
        }
        granted_ms.hash(to);
        (until(beat_at), until(lease_until), until(patience_until), held, target, until(grace_until)).hash(to);
        (joined, received, acknowledged, behind_since.as_ref().map(since)).hash(to);
        unanswered.min(&UNANSWERED_MAX).hash(to);
        (installing, until(ask_at), until(floor_at), floored, unfit, alarm.map(|alarm| alarm as u8)).hash(to);
        Numbers {
            beats: beats.iter().map(|(nonce, _)| *nonce).collect(),
            beat: *beat,
            question: *question,
            answered: *answered,
        }
    }
}

/// A configuration, without its proof.
pub fn word_of(certified: &Certified) -> (u64, u64, Option<u64>) {
    let (active, mirror) = sides(certified.configuration.mode);
    (certified.epoch(), active, mirror)
}

/// The same with its witnesses: all that it says.
pub fn told(configuration: &Configuration) -> (u64, u64, Option<u64>, Vec<u64>) {
    let (active, mirror) = sides(configuration.mode);
    let witnesses = configuration.witnesses.members.iter().map(|witness| witness.journal).collect();
    (configuration.epoch, active, mirror, witnesses)
}

/// Who serves and who follows, by their journals.
pub fn sides(mode: Mode) -> (u64, Option<u64>) {
    (mode.active().journal, mode.mirror().map(|mirror| mirror.journal))
}

/// A log.
pub fn ends(history: &History, to: &mut impl Hasher) {
    history.0.hash(to);
}
