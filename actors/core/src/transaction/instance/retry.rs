//! Whether a leg is asked for once more, and when (T11).

use super::{
    Again, Record,
    state::{Begun, OperationState, Part, Step},
};
use crate::{
    code::Code,
    dice::Dice,
    invocation::{Outcome, Performer},
    limit,
    moment::Moment,
    transaction::{Operation as Defined, Retry},
};

/// The retry policy of a leg.
pub(super) fn policy(defined: &Defined, part: Part) -> Option<&Retry> {
    if part.is_compensation() {
        defined.compensation.as_ref().and_then(|compensation| compensation.retry.as_ref())
    } else {
        defined.retry.as_ref()
    }
}

/// Whether a leg whose attempt had this outcome is asked for again.
///
/// A peer that had not even begun is passed over for another one, without counting as an attempt (F6). What failed is
/// asked for again as long as its policy and the time that is left allow.
pub(super) fn again(
    step: Step<'_>,
    dice: &mut Dice,
    defined: &Defined,
    part: Part,
    outcome: &Outcome,
) -> Option<Again> {
    let Step { around, begun, now, .. } = step;
    let fault = outcome.fault()?;
    let leg = begun.leg(part);
    let attempts = leg.map_or(0, |leg| leg.attempt);
    if let Some(Performer::Peer { organization, .. }) =
        leg.filter(|leg| leg.is_open).and_then(|leg| leg.performer.as_ref())
        && (defined.organization.is_none() || part.is_compensation())
        && (defined.broadcast.is_none() || part.is_compensation())
        && attempts < limit::OPERATION_ATTEMPTS_MAX
        && matches!(outcome, Outcome::Failed(_))
        && matches!(fault.code, Code::NoPerformer | Code::Busy | Code::LimitReached)
    {
        return Some(Again { at: None, excluded: Some(*organization) });
    }
    let retry = policy(defined, part)?;
    let failures = leg.map_or(0, |leg| leg.failures) + 1;
    if failures >= retry.attempts_max || retry.except.contains(&fault.code) {
        return None;
    }
    if let Some(Record::Answered { again, .. }) = around.lived.as_deref() {
        return again.clone();
    }
    let pause_ms = pause_ms(retry, failures);
    let at = now.plus_ms(pause_ms + dice.below(pause_ms / 10 + 1));
    // An attempt that could not even begin in time is not waited for.
    deadline(begun, part).is_none_or(|deadline| at < deadline).then_some(Again { at: Some(at), excluded: None })
}

/// When it is too late for another attempt.
fn deadline(begun: &Begun, part: Part) -> Option<Moment> {
    let operation = begun.operations.get(&part.operation)?;
    if part.is_compensation() {
        return operation.compensation.as_ref()?.deadline;
    }
    let is_over = operation.state == OperationState::Running || operation.state == OperationState::Seeking;
    operation.deadline.filter(|_| is_over)
}

/// What all pauses, and all attempts that have a time of their own, take at most.
pub(super) fn longest_ms(retry: &Retry) -> u64 {
    let pauses_ms = (1..retry.attempts_max).map(|failures| {
        let pause_ms = pause_ms(retry, failures);
        pause_ms + pause_ms / 10 + 1
    });
    let attempts_ms = retry.attempt_timeout_ms.unwrap_or(0).saturating_mul(u64::from(retry.attempts_max));
    pauses_ms.sum::<u64>().saturating_add(attempts_ms)
}

/// The pause after so many failures, without what chance adds.
pub(super) fn pause_ms(retry: &Retry, failures: u32) -> u64 {
    let mut pause_ms = retry.pause_ms.min(retry.pause_ms_max);
    for _ in 1..failures {
        if pause_ms >= retry.pause_ms_max {
            break;
        }
        pause_ms =
            (u128::from(pause_ms) * u128::from(retry.factor_percent) / 100).min(u128::from(retry.pause_ms_max)) as u64;
    }
    pause_ms
}
