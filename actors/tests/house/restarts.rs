//! Crashes at every point of a run: what is open goes on under the same ids, what has ended is found, nothing is done
//! twice (T12, T14, invariant 2).

use crate::fixture::{CLIENT, DESK, Node, copied, definition, options, transaction};
use hansa_actors::{standby::Ground, supervisor::Fatal};
use hansa_core::{dispatch::Input, ident::TransactionId, membership, session::Ending};
use std::{collections::BTreeMap, sync::Arc};

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

// M3, M4: both sub-nodes of a pair were killed: neither knows what counts before it has asked the witnesses, and to be let in by them
// it must know already what federation it is of, and where they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_sub_node_of_a_pair_knows_its_federation_before_it_knows_what_counts() {
    let node = Node::found(&[], 1, |_| ()).await;
    let (organization, credentials) = node.founding();
    let belong = |asker| Input::Membership(membership::Input::Belong { asker, organization, credentials });
    node.ask(CLIENT, belong).await.unwrap();
    let (world, fatal): (_, Fatal) = (Arc::clone(&node.world), Arc::new(|fault| panic!("{fault}")));
    let copied = copied(node.folder.path());
    let (_ground, standby) = Ground::open(options(copied.path()), world, &fatal, false).unwrap();
    assert_eq!(standby.taken(), 0, "nothing is known to count");
    assert!(standby.membership().unwrap().credentials().is_some());
    assert_eq!(standby.directory().unwrap().whereabouts().len(), 0, "nobody else is known");
}
