//! What a pair does when a disk is full, hangs, is slow or fails: on the active and on the mirror (M2, M3, M4).

use crate::{
    faulty_disk::Behaviour,
    pair_fixture::{Lines, Node, followed, hashes, pair, served},
};
use hansa_core::{code::Code, mirror::pair::State};

/// Everything that was let out is in the log of this sub-node, which serves alone now.
async fn took_over(mirror: &mut Node, entries: usize) {
    mirror.until("serving alone", |status| status.state == State::ActiveSolo).await;
    assert!(served(mirror).await);
    assert!(mirror.entries().len() >= entries, "{}", mirror.entries().len());
    mirror.write(5);
    mirror.until_released(5).await;
}

// M2, M3: a disk that cannot make anything durable ends its sub-node at once, and the mirror has everything that was let out.
#[tokio::test(flavor = "multi_thread")]
async fn an_active_whose_disk_fails_ends_and_the_mirror_takes_over_with_everything() {
    let lines = Lines::default();
    let (active, mut mirror, _witnesses) = pair(&lines).await;
    active.write(100);
    active.until_released(110).await;
    active.disk.set(Behaviour::Fails);
    active.write(7);
    assert_eq!(active.until_failed().await.code, Code::JournalFailed);
    took_over(&mut mirror, 110).await;
    assert_eq!(active.released.0.load(std::sync::atomic::Ordering::Relaxed), 110, "nothing left that is not durable");
}

// M2: the pair does not stand still because the disk of one does.
#[tokio::test(flavor = "multi_thread")]
async fn an_active_whose_disk_hangs_ends_and_the_mirror_takes_over_with_everything() {
    let lines = Lines::default();
    let (active, mut mirror, _witnesses) = pair(&lines).await;
    active.write(100);
    active.until_released(110).await;
    active.disk.set(Behaviour::Hangs);
    active.write(7);
    assert_eq!(active.until_failed().await.code, Code::JournalFailed);
    took_over(&mut mirror, 110).await;
    active.disk.set(Behaviour::Sound);
}

// M4: an active without room lets the mirror serve, and follows.
#[tokio::test(flavor = "multi_thread")]
async fn an_active_whose_disk_is_full_lets_the_mirror_serve() {
    let lines = Lines::default();
    let (mut active, mut mirror, _witnesses) = pair(&lines).await;
    active.write(100);
    active.until_released(110).await;
    active.disk.set(Behaviour::Full);
    // More than the rest of its segment: the writer meets the full disk, and the next segment cannot be made.
    active.write(1);
    mirror.until("the active", |status| status.state.serves()).await;
    assert!(served(&mut mirror).await);
    // It follows, or has ended because its disk could not take the order to; then it is started again.
    if !followed(&mut active).await {
        active.until_failed().await;
    }
    mirror.until("serving alone", |status| status.state == State::ActiveSolo).await;
    assert!(mirror.entries().len() >= 110);
    mirror.write(5);
    mirror.until_released(5).await;
}

// M2, M3: a mirror without room is to the pair as one that is not there, until it has room again.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_whose_disk_is_full_or_hangs_does_not_stop_the_pair() {
    for behaviour in [Behaviour::Full, Behaviour::Hangs] {
        let lines = Lines::default();
        let (active, mirror, _witnesses) = pair(&lines).await;
        active.write(100);
        active.until_released(110).await;
        mirror.disk.set(behaviour);
        active.write(100);
        active.until("serving alone", |status| status.state == State::ActiveSolo).await;
        active.until_released(210).await;
        assert!(mirror.duties.status().await.unwrap().silent, "{behaviour:?}");
        // For as long as that lasts.
        let epoch = active.duties.status().await.unwrap().epoch;
        active.write(100);
        active.until_released(310).await;
        assert_eq!(active.duties.status().await.unwrap().epoch, epoch, "nobody asks for what the disk cannot take");

        mirror.disk.set(Behaviour::Sound);
        active.until("a pair again", |status| status.state == State::ActivePair).await;
        mirror.until("the whole log", |status| status.tail == 310 && !status.silent).await;
        assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
        assert!(active.fatal.lock().unwrap().is_empty() && mirror.fatal.lock().unwrap().is_empty());
    }
}

// M1: slow is not dead: the pair goes on as fast as the slower of both disks.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_slows_the_pair_and_changes_nothing_else() {
    let lines = Lines::default();
    let (active, mirror, _witnesses) = pair(&lines).await;
    let mut released = 10;
    for (ours, theirs) in [(40, 0), (0, 40), (40, 40)] {
        active.disk.set(Behaviour::Slow(ours));
        mirror.disk.set(Behaviour::Slow(theirs));
        for _ in 0..10 {
            active.write(10);
            released += 10;
            active.until_released(released).await;
        }
    }
    active.until("a pair", |status| status.state == State::ActivePair).await;
    mirror.until("the whole log", |status| status.tail == released).await;
    assert!(active.fatal.lock().unwrap().is_empty() && mirror.fatal.lock().unwrap().is_empty());
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
}
