//! The benchmarks, small: they measure what they say and lose nothing.

use super::{ALONE, executable};
use hansa_testnet::{
    bench::{catchup, recovery, size, takeover, transactions, waiting},
    screen::Screen,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_measured_beside_the_limits_of_the_machine() {
    let _alone = ALONE.lock().await;
    let options =
        transactions::Options { concurrency: 8, seconds: 1, document_bytes: 500, stored: Some(50), pair: true };
    let figures = transactions::measure(&executable(), &options, Screen::new(true)).await.unwrap();
    assert!(figures.transactions > 0 && figures.in_flight == 8);
    assert!(figures.latency_ms_p50 > 0.0 && figures.latency_ms_p99 >= figures.latency_ms_p50);
    assert!(figures.fdatasync_us_p50 > 0.0 && figures.loopback_rtt_us_p50 > 0.0);
    assert!(figures.bytes_written_per_transaction > 0.0, "what is acknowledged is on the disk");
    for stage in ["parse", "decide", "journal", "network", "beside"] {
        assert!(figures.stages.iter().any(|it| it.stage == stage && it.share > 0.0), "{stage}: {:?}", figures.stages);
    }
    let stored: Vec<_> = figures.stored.iter().map(|point| point.stored).collect();
    assert!(
        stored.len() == 2 && stored[0] >= 1 && stored[1] >= 50,
        "the store was filled between the points: {stored:?}"
    );
    let pair = figures.pair.unwrap();
    assert!(pair.transactions_per_second > 0.0 && pair.throughput_ratio > 0.0 && pair.added_limit_ms > 0.0);
    assert!(pair.sites.is_none_or(|sites| sites.throughput_ratio > 0.0));
    assert!(pair.mirror_cpu_ms_per_transaction > 0.0, "a mirror takes part in every transaction");
}

// T5: large transactions work, whatever their shape, with real processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_of_every_shape_and_size_end() {
    let _alone = ALONE.lock().await;
    let options = size::Options { operations: 30, shapes: Vec::new() };
    let figures = size::measure(&executable(), &options, Screen::new(true)).await.unwrap();
    assert_eq!(figures.points.iter().map(|point| point.operations).collect::<Vec<_>>(), [10, 30].repeat(4));
    assert!(figures.points.iter().all(|point| point.journal_bytes_per_operation > 0.0));
    let ends = figures.linearity.iter().map(|it| (it.operations_min, it.operations_max));
    assert_eq!(ends.collect::<Vec<_>>(), [(10, 30); 4]);
    assert!(figures.linearity.iter().all(|it| it.time_ratio > 0.0 && it.ratio_max > 1.0), "{:?}", figures.linearity);
}

// T12, T17: those that wait for a service or for a signal are woken one by one, and a killed node has every one of the others again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_wait_are_woken_and_outlive_the_process() {
    let _alone = ALONE.lock().await;
    let options = waiting::Options { instances: 200, woken: 120, document_bytes: 500 };
    let figures = waiting::measure(&executable(), &options, Screen::new(true)).await.unwrap();
    assert_eq!((figures.waiting, figures.waiting_for_signals, figures.woken), (200, 100, 120));
    assert!((20..=100).contains(&figures.signalled) && figures.signal_ms_max > 0.0, "both kinds are woken");
    assert!(figures.memory_bytes > 0 && figures.wake_ms_max >= figures.wake_ms_p50);
    assert!(figures.memory_ratio > 0.0 && figures.wake_ratio_max >= figures.wake_ratio_p50, "each beside its limit");
    assert!(figures.restart_ready_ms <= figures.restart_resumed_ms);
}

// Recovery: what was in flight is delivered again, the very same invocations, and ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_in_flight_goes_on_after_a_kill() {
    let _alone = ALONE.lock().await;
    let options = recovery::Options { in_flight: 200, journal_bytes: 0, document_bytes: 500 };
    let figures = recovery::measure(&executable(), &options, Screen::new(true)).await.unwrap();
    assert_eq!(figures.in_flight, 200);
    assert!(figures.ready_ms <= figures.all_resumed_ms);
}

// M2, M3, M4: a pair loses nothing and does nothing twice when its active sub-node is killed, and when the other is let serve. With
// the profile of two cities: a machine that is busy with other things is not to be taken for a dead one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeovers_and_switches_are_measured_and_everything_is_accounted_for() {
    let _alone = ALONE.lock().await;
    let options = takeover::Options { count: 1, profile: takeover::Profile::Default, clients: 2, switch: true };
    let figures = takeover::measure(&executable(), &options, Screen::new(true)).await.unwrap();
    assert_eq!(
        (figures.takeovers, figures.not_taken_over, figures.lost, figures.doubled, figures.failed),
        (1, 0, 0, 0, 0)
    );
    let switches = figures.switches.unwrap();
    assert!(switches.switches == 1 && figures.transactions > 2);
    assert!(figures.limits.iter().any(|limit| limit.figure == "switch_ms_p99"));
}

// M1: a mirror that was away gets everything that was written meanwhile while the active sub-node goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_was_away_catches_up_under_load() {
    let _alone = ALONE.lock().await;
    let mirrors = tempfile::tempdir().unwrap();
    let options = catchup::Options {
        entries: 500,
        concurrency: 8,
        seconds: 1,
        document_bytes: 500,
        mirror_folder: Some(mirrors.path().to_owned()),
    };
    let figures = catchup::measure(&executable(), &options, Screen::new(true)).await.unwrap();
    assert!(figures.mirror_folder.is_some() && mirrors.path().read_dir().unwrap().next().is_none(), "it is tidied up");
    assert!(figures.entries_behind >= 500 && figures.entries_per_second > 0.0);
    assert!(figures.alone_transactions_per_second > 0.0);
    assert!(figures.half_transactions_per_second < figures.full_transactions_per_second);
    assert!(figures.transactions_during > 0 && figures.whole_ms >= figures.ready_ms);
    assert!(figures.latency_before_ms_p99 > 0.0 && figures.latency_during_ms_p99 > 0.0);
}
