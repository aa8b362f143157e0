//! The pauses between rounds. How addresses are tried is shown in `test/pair_tests.rs`, where there are nodes.

use super::*;

fn all(pauses: &mut Pauses, may_take_over: bool) -> Vec<u64> {
    (0..100).map(|_| pauses.next(may_take_over).as_millis() as u64).collect()
}

#[test]
fn pauses_grow_to_a_maximum_and_begin_small_again_after_success() {
    let mut pauses = Pauses::new();
    let all = all(&mut pauses, false);
    assert!(all[0] <= limit::RECONNECT_MS_MIN);
    assert!(all.iter().all(|pause| *pause <= limit::RECONNECT_MS_MAX));
    assert!(all[39] >= limit::RECONNECT_MS_MAX / 2);
    pauses.reset();
    assert!(pauses.next(false).as_millis() as u64 <= limit::RECONNECT_MS_MIN);
}

// M3: a takeover is seen soon.
#[test]
fn pauses_stay_short_for_as_long_as_a_takeover_takes_and_then_grow() {
    let all = all(&mut Pauses::new(), true);
    let (during, after) = all.split_at(limit::RECONNECT_TAKEOVER_PAUSES as usize);
    assert!(during[0] <= limit::RECONNECT_MS_MIN);
    assert!(during.iter().all(|pause| *pause <= limit::RECONNECT_TAKEOVER_MS_MAX));
    assert!(during.iter().sum::<u64>() >= 2_500, "between two cities a takeover may take some seconds");
    assert!(after[0] > limit::RECONNECT_TAKEOVER_MS_MAX / 2);
    assert!(after.iter().all(|pause| *pause <= limit::RECONNECT_MS_MAX));
    assert!(after[20] >= limit::RECONNECT_MS_MAX / 2);
}
