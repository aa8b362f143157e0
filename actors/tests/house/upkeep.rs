//! What an administrator does to transactions: recover one or all of them on a running node (T12), and purge what has
//! ended (T11).

use crate::fixture::{DESK, Left, Node, copied, definition, options, text, transaction, until};
use hansa_actors::{
    clock,
    house::{House, HouseOptions},
    listing::Which,
    standby::{Ground, Standby},
    supervisor::Fatal,
};
use hansa_core::{
    code::Code,
    dispatch::Input,
    document::Text,
    durability::Durability,
    ident::TransactionId,
    mailbox,
    moment::Moment,
    session::{Ending, ToSession},
    transaction::{Instance, Record},
};
use std::{
    fs,
    sync::{Arc, mpsc},
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::oneshot;

pub fn purchase() -> [Text; 1] {
    [definition("purchase", "", 1)]
}

pub async fn completed(node: &Node, id: TransactionId) {
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

/// What nobody may find any more, and one that has the same id as one that was purged, and is another.
async fn is_purged_and_begun_anew(house: &House, purged: TransactionId, anew: TransactionId) {
    for fault in [house.trailed(purged).await.err(), house.purge(purged).await.err()] {
        assert_eq!(fault.map(|fault| fault.code), Some(Code::TransactionUnknown));
    }
    let history = house.history(anew, &house.trailed(anew).await.unwrap(), 0).await.unwrap();
    assert!(matches!(history.episodes[0].records[0], Record::Submitted { .. }));
    let submitted = history.episodes.iter().flat_map(|episode| &episode.records);
    let submitted = submitted.filter(|record| matches!(record, Record::Submitted { .. } | Record::Purged));
    assert_eq!(submitted.count(), 1, "nothing of the one before it");
    assert_eq!(house.replay(anew).await.unwrap().difference, None);
}

pub async fn listed(house: &House, which: Which) -> Vec<TransactionId> {
    let page = house.transactions_before(None, which, 100).await.unwrap();
    page.transactions.iter().map(|(id, _)| *id).collect()
}

pub fn keeps_its_journal(options: &mut HouseOptions) {
    options.journal_keep_bytes = u64::MAX;
}

/// T11, M1: a purge is in the journal. What the store does not have of it, replay brings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_purged_stays_away_if_only_the_journal_has_that() {
    let node = Node::found(&purchase(), 64, keeps_its_journal).await;
    let [stored, unstored, again, kept] = [1, 2, 3, 4].map(transaction);
    for id in [stored, again] {
        completed(&node, id).await;
    }
    node.house.checkpoint().await.unwrap();
    for id in [unstored, kept] {
        completed(&node, id).await;
    }
    let before = copied(node.folder.path());
    for id in [stored, unstored, again] {
        node.house.purge(id).await.unwrap();
    }
    assert_eq!(node.submit(again, "purchase").await.unwrap(), "submitted");
    is_purged_and_begun_anew(&node.house, stored, again).await;

    // The process is killed, and the store is as it was before.
    let left = copied(node.folder.path());
    fs::copy(before.path().join("lookup.redb"), left.path().join("lookup.redb")).unwrap();
    let mut again_open = Node::open(left, keeps_its_journal).await;
    for _ in 0..2 {
        is_purged_and_begun_anew(&again_open.house, stored, again).await;
        is_purged_and_begun_anew(&again_open.house, unstored, again).await;
        assert_eq!(listed(&again_open.house, Which::Ended).await, [kept]);
        assert_eq!(listed(&again_open.house, Which::Open).await, [again]);
        again_open.house.checkpoint().await.unwrap();
        again_open = again_open.crash(keeps_its_journal).await;
    }
    again_open.house.stop().await.unwrap();
    node.house.stop().await.unwrap();
}

/// A sub-node that follows, with everything that the node has now in its journal; and nothing taken in yet.
pub fn following(node: &Node, with: impl FnOnce(&mut HouseOptions)) -> (TempDir, Ground, Standby) {
    let folder = copied(node.folder.path());
    let fatal: Fatal = Arc::new(|fault| panic!("{fault}"));
    let mut options = options(folder.path());
    with(&mut options);
    let (ground, standby) = Ground::open(options, Arc::clone(&node.world) as _, &fatal, false).unwrap();
    let tail = ground.journal().position(ground.journal().tail()).unwrap().unwrap();
    ground.journal().follow(tail).unwrap();
    (folder, ground, standby)
}

pub async fn take_over(ground: &Ground, mut standby: Standby) -> Arc<House> {
    ground.journal().lead(2, Durability::OneSite).unwrap();
    ground.journal().commit(ground.journal().tail());
    assert!(standby.accede().unwrap());
    standby.serve(Arc::new(|fault| panic!("{fault}"))).await.unwrap()
}

/// T11, M1: what was purged is not back when the mirror takes over, whether its store had it or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_purged_is_purged_on_the_mirror() {
    let node = Node::found(&purchase(), 64, keeps_its_journal).await;
    let [stored, unstored, again, kept] = [1, 2, 3, 4].map(transaction);
    for id in [stored, again] {
        completed(&node, id).await;
    }
    let (_folder, ground, mut standby) = following(&node, keeps_its_journal);
    let first = ground.journal().tail();
    standby.take_through(first).unwrap();
    standby.checkpoint().unwrap();
    for id in [unstored, kept] {
        completed(&node, id).await;
    }
    for id in [stored, unstored, again] {
        node.house.purge(id).await.unwrap();
    }
    assert_eq!(node.submit(again, "purchase").await.unwrap(), "submitted");

    let entries = node.ground.journal().entries(first, u64::MAX, 1 << 20).unwrap();
    let tail = node.ground.journal().tail();
    ground.journal().write(entries).unwrap();
    ground.journal().wait_durable(tail).unwrap();
    ground.journal().commit(tail);
    standby.take_counting(tail).unwrap();
    standby.checkpoint().unwrap();
    let house = take_over(&ground, standby).await;
    is_purged_and_begun_anew(&house, stored, again).await;
    is_purged_and_begun_anew(&house, unstored, again).await;
    assert_eq!(listed(&house, Which::Ended).await, [kept]);
    assert_eq!(listed(&house, Which::Open).await, [again]);
    house.stop().await.unwrap();
    node.house.stop().await.unwrap();
}

/// T11, M1: a follower purges by the time of the log, so that one whose clock is ahead keeps what the active keeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_keeps_what_ended_as_long_as_the_log_says() {
    let node = Node::found(&purchase(), 64, |_| ()).await;
    let (old, new) = (transaction(1), transaction(2));
    completed(&node, old).await;
    let between = clock::now();
    until("time goes on", || (clock::now() > between).then_some(())).await;
    completed(&node, new).await;
    let (_folder, ground, mut standby) = following(&node, |options| options.finished_keep_ms = 0);
    standby.take_through(ground.journal().tail()).unwrap();
    let written = clock::now();
    until("time goes on", || (clock::now() > written).then_some(())).await;
    standby.checkpoint().unwrap();
    // It waits until that is over.
    drop(ground.standby().unwrap());
    let house = take_over(&ground, standby).await;
    assert_eq!(listed(&house, Which::All).await, [new]);
    house.stop().await.unwrap();
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

/// A transaction whose operation is another, whose operation `work` is the desk's.
fn outer_and_inner() -> [Text; 2] {
    let link = |from: u32| format!("<OPLINK><SRCOPID>{from}</SRCOPID><DSTOPID>{}</DSTOPID></OPLINK>", from + 1);
    let outer = text(&format!(
        "<TRANSACTION xmlns:hx=\"urn:hansa:transaction:1\"><NAME>outer</NAME>\
         <OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID>{}</OPERATION>\
         <OPERATION><NAME>part</NAME><OPID>1</OPID>{}<hx:TRANSACTION>inner</hx:TRANSACTION></OPERATION>\
         <OPERATION><NAME>CXtsTailOp</NAME><OPID>2</OPID></OPERATION></TRANSACTION>",
        link(0),
        link(1)
    ));
    [outer, definition("inner", "", 1)]
}

/// T11, T17: what a transaction in another came to is kept until the other has recorded it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_subtransaction_is_not_purged_while_the_one_around_it_still_waits() {
    let node = Node::found(&outer_and_inner(), 64, |options| {
        options.transaction_shards = 2;
        options.rest_ms = 20;
    })
    .await;
    // Two that are in different shards, so that the inner one gets on while the outer one's shard is held up.
    let mut begun = Vec::new();
    let (outer, inner) = loop {
        let outer = transaction(begun.len() as u64);
        node.submit(outer, "outer").await.unwrap();
        let asked = |left: &Left| match &left.message {
            ToSession::Perform { invocation, .. } => Some(invocation.context.transaction),
            _ => None,
        };
        let inner =
            node.until_left("the inner one asks", |left| asked(left).filter(|inner| !begun.contains(inner))).await;
        begun.push(inner);
        if inner.0 % 2 != outer.0 % 2 {
            break (outer, inner);
        }
    };
    let (release, released) = mpsc::channel::<()>();
    let (holds, held) = oneshot::channel();
    let house = Arc::clone(&node.house);
    let holder = tokio::spawn(async move {
        house
            .look::<Instance, _>(&outer, move |_| {
                let _ = holds.send(());
                #[expect(clippy::disallowed_methods, reason = "the shard shall stall, and nobody else")]
                let _ = tokio::task::block_in_place(|| released.recv());
            })
            .await
    });
    held.await.unwrap();

    node.answer(DESK, node.performed(DESK, inner, 1).await.id).await.unwrap();
    assert_eq!(node.house.purge(inner).await.unwrap_err().code, Code::TransactionNeeded);
    // Neither awake nor stored it is taken for one that nobody needs.
    let awake =
        async || node.house.look::<Instance, _>(&inner, move |sight| sight.awake().any(|(id, _)| *id == inner)).await;
    while awake().await == Some(true) {
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert_eq!(node.house.purge(inner).await.unwrap_err().code, Code::TransactionNeeded);
    assert_eq!(node.house.purge_ended_before(Moment(u64::MAX), None).await.unwrap().done, 0);

    release.send(()).unwrap();
    holder.await.unwrap();
    let Ending::Completed(_) = node.awaited(outer).await.ending else { panic!("it knows what the inner one came to") };
    // That is recorded, so the inner one hears at once that it is needed no more.
    while let Err(fault) = node.house.purge(inner).await {
        assert_eq!(fault.code, Code::TransactionNeeded);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert!(!node.listed(Which::All).await.contains(&inner));
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
