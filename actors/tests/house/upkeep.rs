//! What an administrator does to transactions: recover one or all of them on a running node (T12), and purge what has
//! ended (T11).

use crate::fixture::{DESK, Node, definition, transaction, until};
use hansa_actors::{clock, listing::Which};
use hansa_core::{code::Code, dispatch::Input, document::Text, ident::TransactionId, mailbox, moment::Moment};

fn purchase() -> [Text; 1] {
    [definition("purchase", "", 1)]
}

async fn completed(node: &Node, id: TransactionId) {
    node.submit(id, "purchase").await.unwrap();
    node.answer(DESK, node.performed(DESK, id, 1).await.id).await.unwrap();
    node.awaited(id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_or_all_transactions_ask_once_more_on_a_running_node() {
    let node = Node::found(&purchase(), 64, |options| options.rest_ms = 20).await;
    let ids: Vec<_> = (1..=5).map(transaction).collect();
    for id in &ids {
        node.submit(*id, "purchase").await.unwrap();
        let invocation = node.performed(DESK, *id, 1).await.id;
        // The mailbox loses it, which no journal would bring back while the node runs.
        node.house.deliver(Input::Mailbox("desk".parse().unwrap(), mailbox::Input::Withdraw { invocation }));
    }
    node.asleep().await;
    let asked = |id: TransactionId| {
        let left = node.left();
        left.iter().filter(|left| left.session == DESK && left.is_about(id)).count()
    };
    node.house.recover(ids[2]).await.unwrap();
    until("it is asked once more", || (asked(ids[2]) == 2).then_some(())).await;
    assert_eq!(asked(ids[0]), 1, "the others are left alone");

    let mut before = None;
    let mut recovered = 0;
    loop {
        let part = node.house.recover_all(before).await.unwrap();
        recovered += part.done;
        before = part.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(recovered, 5);
    for id in [0, 1, 3, 4].map(|place| ids[place]) {
        until("it is asked once more", || (asked(id) == 2).then_some(())).await;
    }
    for id in &ids {
        node.answer(DESK, node.performed(DESK, *id, 1).await.id).await.unwrap();
        node.awaited(*id).await;
    }
    assert_eq!(node.house.recover(ids[0]).await.unwrap_err().code, Code::TransactionEnded);
    assert_eq!(node.house.recover(transaction(9)).await.unwrap_err().code, Code::TransactionUnknown);
    node.house.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_purged_stays_away_after_a_crash_at_any_time() {
    let mut node = Node::found(&purchase(), 64, |options| options.journal_keep_bytes = u64::MAX).await;
    let ids: Vec<_> = (1..=6).map(transaction).collect();
    for id in &ids[..5] {
        completed(&node, *id).await;
    }
    node.submit(ids[5], "purchase").await.unwrap();
    assert_eq!(node.house.purge(ids[5]).await.unwrap_err().code, Code::TransactionOpen);
    for gone in 0..3 {
        node.house.purge(ids[gone]).await.unwrap();
        assert_eq!(node.house.purge(ids[gone]).await.unwrap_err().code, Code::TransactionUnknown);
        node = node.crash(|options| options.journal_keep_bytes = u64::MAX).await;
        let mut kept = ids[gone + 1..].to_vec();
        kept.reverse();
        assert_eq!(node.listed(Which::All).await, kept);
    }
    // An id that was purged is new again.
    node.register(DESK, 8).await;
    assert_eq!(node.submit(ids[0], "purchase").await.unwrap(), "submitted");
    node.house.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_ended_before_a_moment_is_purged_and_nothing_else() {
    let node = Node::found(&purchase(), 64, |_| ()).await;
    let (old, new) = ([transaction(1), transaction(2)], transaction(3));
    for id in old {
        completed(&node, id).await;
    }
    let open = transaction(4);
    node.submit(open, "purchase").await.unwrap();
    let between = clock::now().plus_ms(1);
    until("time goes on", || (clock::now() > between).then_some(())).await;
    completed(&node, new).await;
    assert_eq!(node.house.purge_ended_before(Moment(0), None).await.unwrap().done, 0);
    let part = node.house.purge_ended_before(between, None).await.unwrap();
    assert_eq!((part.looked, part.done, part.next), (3, 2, None));
    assert_eq!(node.listed(Which::Ended).await, [new]);
    assert_eq!(node.listed(Which::Open).await, [open]);
    node.house.stop().await.unwrap();
}

/// A list is whole wherever its transactions are, and each is in it once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_in_pages_has_every_transaction_once() {
    let node = Node::found(&purchase(), 64, |options| options.transaction_shards = 3).await;
    let mut ids: Vec<_> = (0..40).map(transaction).collect();
    for (number, id) in ids.iter().enumerate() {
        node.submit(*id, "purchase").await.unwrap();
        if number % 3 == 0 {
            node.answer(DESK, node.performed(DESK, *id, 1).await.id).await.unwrap();
            node.awaited(*id).await;
        }
        if number == 20 {
            node.house.checkpoint().await.unwrap();
        }
    }
    ids.sort_unstable();
    ids.reverse();
    assert_eq!(node.listed(Which::All).await, ids);
    let (ended, open) = (node.listed(Which::Ended).await, node.listed(Which::Open).await);
    assert_eq!((ended.len(), open.len()), (14, 26));
    assert!(ended.iter().all(|id| !open.contains(id)));
    // After a crash those that only the store knows are put away, the others awake.
    let node = node.crash(|options| options.transaction_shards = 3).await;
    assert_eq!(node.listed(Which::All).await, ids);
    assert_eq!(node.listed(Which::Ended).await, ended);
    node.house.stop().await.unwrap();
}

/// Ended ones that are not kept are found among those that ended, for as long as they are remembered: before and after a
/// checkpoint, and after a crash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_ended_transactions_has_those_that_are_remembered_for_a_while() {
    let node = Node::found(&[definition("passing", "<SAVE>NO</SAVE>", 1)], 8, |_| ()).await;
    let (ended, open) = (transaction(1), transaction(2));
    for id in [ended, open] {
        node.submit(id, "passing").await.unwrap();
        // The store has both as open ones.
        node.house.checkpoint().await.unwrap();
    }
    node.answer(DESK, node.performed(DESK, ended, 1).await.id).await.unwrap();
    node.responded(ended).await;
    let listed = async |node: &Node| (node.listed(Which::Ended).await, node.listed(Which::Open).await);
    assert_eq!(listed(&node).await, (vec![ended], vec![open]));
    node.house.checkpoint().await.unwrap();
    assert_eq!(listed(&node).await, (vec![ended], vec![open]));
    let node = node.crash(|_| ()).await;
    assert_eq!(listed(&node).await, (vec![ended], vec![open]));
    assert_eq!(node.listed(Which::All).await, [open, ended]);
    node.house.purge(ended).await.unwrap();
    assert_eq!(listed(&node).await, (vec![], vec![open]));
    node.house.stop().await.unwrap();
}
