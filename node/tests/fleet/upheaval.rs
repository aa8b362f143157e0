//! A pair that is broken in every way, again and again, under load: nothing acknowledged is lost, nothing is done twice.

use super::{ALONE, executable, number};
use hansa_testnet::upheaval::{self, Options};

/// Every kind of trouble once. `HANSA_KILLS=1000` makes more of them.
const TROUBLES: usize = 12;

// M1, M2, M3, M4, X2: whatever happens to a pair, nothing acknowledged is lost and nothing is done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_a_pair_nothing_acknowledged_is_lost_and_nothing_is_done_twice() {
    let _alone = ALONE.lock().await;
    let seed = number("HANSA_TEST_SEED").unwrap_or(4711);
    let troubles = number("HANSA_KILLS").unwrap_or(TROUBLES);
    let options = Options { troubles, clients: 4, seed };
    let report = upheaval::raise(&executable(), &options).await.unwrap_or_else(|error| panic!("{error:#}"));
    println!("seed {seed}: {report:?}");
    assert_eq!(report.troubles.values().sum::<usize>(), troubles);
    assert!(report.transactions > 0 && report.publications > 0 && report.epochs > 2, "seed {seed}: {report:?}");
    assert!(report.wrong.is_empty(), "seed {seed}: {:#?}", report.wrong);
}
