//! The benchmarks, small: they measure what they say and lose nothing.

use super::{ALONE, executable};
use hansa_testnet::{
    bench::{recovery, transactions},
    screen::Screen,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_measured_beside_the_limits_of_the_machine() {
    let _alone = ALONE.lock().await;
    let options = transactions::Options { concurrency: 8, seconds: 1, document_bytes: 500 };
    let figures = transactions::measure(&executable(), &options, Screen::new(true)).await.unwrap();
    assert!(figures.transactions > 0 && figures.in_flight == 8);
    assert!(figures.latency_ms_p50 > 0.0 && figures.latency_ms_p99 >= figures.latency_ms_p50);
    assert!(figures.fdatasync_us_p50 > 0.0 && figures.loopback_rtt_us_p50 > 0.0);
    assert!(figures.bytes_written_per_transaction > 0.0, "what is acknowledged is on the disk");
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
