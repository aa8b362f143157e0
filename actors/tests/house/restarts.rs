//! Crashes at every point of a run: what is open goes on under the same ids, what has ended is found, nothing is done
//! twice (T12, T14, invariant 2).

use crate::fixture::{CLIENT, DESK, Node, copied, credentials, definition, options, organization, transaction};
use hansa_actors::standby::Ground;
use hansa_core::{dispatch::Input, ident::TransactionId, membership, session::Ending};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// What a step of the run does.
#[derive(Clone, Copy)]
enum Step {
    Submit(usize),
    Answer(usize),
}
use Step::{Answer, Submit};

/// Three transactions of two operations each, with a crash after every step; `checkpoint` says before which crashes
/// there is a checkpoint.
async fn run(shards: usize, checkpoint: impl Fn(usize) -> bool) {
    let steps = [Submit(0), Submit(1), Answer(0), Submit(2), Answer(1), Answer(0), Answer(2), Answer(1), Answer(2)];
    let ids: Vec<TransactionId> = (0..3).map(transaction).collect();
    let mut node =
        Node::found(&[definition("purchase", "", 2)], 8, |options| options.transaction_shards = shards).await;
    // The operation that each waits for, if it is open; those that have ended wait for number 3.
    let mut at: BTreeMap<usize, u32> = BTreeMap::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Submit(which) => {
                assert_eq!(node.submit(ids[which], "purchase").await.unwrap(), "submitted");
                at.insert(which, 1);
            }
            Answer(which) => {
                let invocation = node.performed(DESK, ids[which], at[&which]).await;
                node.answer(DESK, invocation.id).await.unwrap();
                *at.get_mut(&which).unwrap() += 1;
            }
        }
        let mut open = BTreeMap::new();
        for (which, operation) in at.iter().filter(|(_, operation)| **operation < 3) {
            open.insert(*which, node.performed(DESK, ids[*which], *operation).await);
        }
        if checkpoint(number) {
            node.house.checkpoint().await.unwrap();
        }
        node = node.crash(|options| options.transaction_shards = shards).await;
        node.register(DESK, 8).await;
        for (which, invocation) in &open {
            let again = node.performed(DESK, ids[*which], at[which]).await;
            assert_eq!(&again, invocation, "the same invocation is performed again");
        }
        for (which, operation) in &at {
            assert_eq!(node.submit(ids[*which], "purchase").await.unwrap(), "repeated");
            if *operation == 3 {
                assert!(matches!(node.awaited(ids[*which]).await.ending, Ending::Completed(_)));
            }
        }
        assert_eq!(node.house.statistics().transactions_open, open.len() as u64, "after step {number}");
    }
    assert!(at.values().all(|operation| *operation == 3), "all have ended");
    node.house.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_journal_alone() {
    run(1, |_| false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_store_alone() {
    run(1, |_| true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_store_and_the_journal_behind_it() {
    run(3, |number| number % 2 == 1).await;
}

/// A process that stopped well and starts again goes on as after a crash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_stop() {
    let node = Node::found(&[definition("purchase", "", 1)], 8, |_| ()).await;
    let id = transaction(1);
    node.submit(id, "purchase").await.unwrap();
    let invocation = node.performed(DESK, id, 1).await;
    node.house.stop().await.unwrap();
    let node = node.crash(|_| ()).await;
    node.register(DESK, 8).await;
    assert_eq!(node.performed(DESK, id, 1).await, invocation);
    node.answer(DESK, invocation.id).await.unwrap();
    node.awaited(id).await;
}

/// T11: a checkpoint cuts the journal, and a start after it reads only what came later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_cuts_the_journal_and_a_start_reads_only_the_rest() {
    let node = Node::found(&[definition("purchase", "", 1)], 256, |_| ()).await;
    let ids: Vec<_> = (0..200).map(transaction).collect();
    for id in &ids {
        node.submit(*id, "purchase").await.unwrap();
    }
    let before = node.house.statistics().journal;
    assert!(before.segments > 2, "the test needs several segments, there are {}", before.segments);
    node.house.checkpoint().await.unwrap();
    let after = node.house.statistics().journal;
    assert!(after.first > 1 && after.segments < before.segments, "nothing was cut: {after:?}");
    node.answer(DESK, node.performed(DESK, ids[7], 1).await.id).await.unwrap();

    let node = node.crash(|_| ()).await;
    // In memory is what the journal's rest names; the others are resumed from the store.
    node.register(DESK, 256).await;
    for (number, id) in ids.iter().enumerate() {
        if number != 7 {
            node.answer(DESK, node.performed(DESK, *id, 1).await.id).await.unwrap();
        }
        assert!(matches!(node.awaited(*id).await.ending, Ending::Completed(_)));
    }
    assert_eq!(node.house.statistics().transactions_open, 0);
    node.house.stop().await.unwrap();
}

/// What only the store knows may end before the start has come to it; it is counted as open once all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_end_while_the_start_goes_on_are_counted_once() {
    let node = Node::found(&[definition("purchase", "", 1)], 8, |_| ()).await;
    let ids: Vec<_> = (0..600).map(transaction).collect();
    for id in &ids {
        node.submit(*id, "purchase").await.unwrap();
    }
    node.house.checkpoint().await.unwrap();
    let node = node.crash(|_| ()).await;
    for id in ids.iter().rev() {
        node.cancel(*id).await.unwrap();
        assert!(node.house.statistics().transactions_open < 600, "counted below zero");
    }
    assert_eq!(node.house.statistics().transactions_open, 0);
    node.house.stop().await.unwrap();
}

/// M3: one of a pair that was killed before its first checkpoint knows its federation all the same, although nothing of its journal
/// counts before others say so; without that it would never get to them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_count_yet_says_whom_to_ask_whether_it_does() {
    let node = Node::found(&[definition("purchase", "", 1)], 8, |_| ()).await;
    let belong = |asker| {
        Input::Membership(membership::Input::Belong { asker, organization: organization(), credentials: credentials() })
    };
    node.ask(CLIENT, belong).await.unwrap();
    let left = copied(node.folder.path());
    let failed = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&failed);
    let fatal: hansa_actors::supervisor::Fatal = Arc::new(move |fault| told.lock().unwrap().push(fault));
    let (ground, standby) = Ground::open(options(left.path()), Arc::clone(&node.world) as _, &fatal, false).unwrap();
    assert_eq!(standby.membership().unwrap().credentials(), Some(&credentials()));
    assert_eq!(standby.taken(), 0, "it has taken nothing in");
    ground.close().unwrap();
    assert!(failed.lock().unwrap().is_empty());
    node.house.stop().await.unwrap();
}

/// M2: who begins to follow puts away soon what it had to take in, so that it need not take it in again before it can serve, however
/// often the two change places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_follower_took_in_at_first_is_soon_in_its_store() {
    let node = Node::found(&[definition("purchase", "", 1)], 8, |_| ()).await;
    for number in 0..600 {
        let id = transaction(number);
        node.submit(id, "purchase").await.unwrap();
        node.cancel(id).await.unwrap();
    }
    let left = copied(node.folder.path());
    let fatal: hansa_actors::supervisor::Fatal = Arc::new(|fault| panic!("{fault}"));
    let (ground, mut standby) =
        Ground::open(options(left.path()), Arc::clone(&node.world) as _, &fatal, false).unwrap();
    let tail = ground.journal().tail();
    assert!(tail > 1_200);
    standby.take_through(tail).unwrap();
    let soon = Instant::now() + Duration::from_secs(1);
    assert!(!standby.is_checkpoint_due(soon - Duration::from_secs(1)) && standby.is_checkpoint_due(soon));
    standby.checkpoint().unwrap();
    assert!(!standby.is_checkpoint_due(soon), "there is nothing new");
    drop(standby);
    assert_eq!(ground.standby().unwrap().taken(), tail, "the next begins there");
    ground.close().unwrap();
    node.house.stop().await.unwrap();
}
