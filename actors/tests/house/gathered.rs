//! What a mirror has never read: transactions that began and ended while it followed lie in its store as what happened to them, and
//! are what they are on the active to whoever asks for them (decision 0036).

use crate::{
    fixture::{DESK, Node, text, transaction as made},
    upkeep::{completed, following, keeps_its_journal, listed, purchase, take_over},
};
use hansa_actors::{
    house::House,
    listing::Which,
    standby::Ground,
    store::{RedbStore, Store as _},
};
use hansa_core::{
    address::{KeyBytes as _, Kind},
    code::Code,
    dispatch::Input,
    ident::TransactionId,
    invocation::{Outcome, Performer},
    moment::Moment,
    transaction,
};
use std::collections::BTreeMap;

/// The follower gets what the active wrote since; all of it counts. Gives the last of it.
fn catch_up(node: &Node, ground: &Ground) -> u64 {
    let entries = node.ground.journal().entries(ground.journal().tail(), u64::MAX, 16 << 20).unwrap();
    let tail = entries.last().unwrap().position.sequence;
    ground.journal().write(entries).unwrap();
    ground.journal().wait_durable(tail).unwrap();
    ground.journal().commit(tail);
    tail
}

/// The active writes a record of this name about a transaction, in which there is nothing that such a record says.
fn strange(node: &Node, id: TransactionId, name: &str) {
    let (address, mut record) = (Kind::Transaction.address(&id), Vec::new());
    ciborium::into_writer(&[BTreeMap::from([(name, 7)])], &mut record).unwrap();
    let sequence = node.ground.journal().append(&[(&address[..], &record[..])], Moment(1), Vec::new());
    node.ground.journal().wait_durable(sequence).unwrap();
}

async fn is_the_same(active: &House, mirror: &House, id: TransactionId) {
    let (there, here) = (active.trailed(id).await.unwrap(), mirror.trailed(id).await.unwrap());
    assert!(here.machine.is_same_as(&there.machine), "{:?} is not {:?}", here.machine, there.machine);
    assert_eq!((here.applied, here.trail), (there.applied, there.trail));
    assert_eq!(mirror.replay(id).await.unwrap().difference, None);
}

/// M2, T12: whatever a transaction has come to when the mirror takes over, it goes on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_read_is_what_it_is_on_the_active() {
    let node = Node::found(&purchase(), 64, keeps_its_journal).await;
    let before = made(1);
    completed(&node, before).await;
    let (_folder, ground, mut standby) = following(&node, keeps_its_journal);
    standby.take_through(ground.journal().tail()).unwrap();

    let [ended, asked_late, checkpointed, open] = [2, 3, 4, 5].map(made);
    completed(&node, ended).await;
    node.submit(asked_late, "purchase").await.unwrap();
    let late = node.performed(DESK, asked_late, 1).await.id;
    node.cancel(asked_late).await.unwrap();
    node.submit(checkpointed, "purchase").await.unwrap();
    node.submit(open, "purchase").await.unwrap();
    standby.take_counting(catch_up(&node, &ground)).unwrap();
    // What goes to the store in the middle is read, and goes on there.
    standby.checkpoint().unwrap();
    node.answer(DESK, node.performed(DESK, checkpointed, 1).await.id).await.unwrap();
    node.awaited(checkpointed).await;
    // Something comes behind the end, and is recorded.
    let answer = transaction::Input::Answer {
        invocation: late,
        outcome: Outcome::Completed(text("<Late/>")),
        from: Performer::Local("desk".parse().unwrap()),
        asker: None,
    };
    let recorded = node.house.trailed(asked_late).await.unwrap().applied;
    node.house.deliver(Input::Transaction(asked_late, answer));
    while node.house.trailed(asked_late).await.unwrap().applied == recorded {
        tokio::task::yield_now().await;
    }
    let last = made(6);
    completed(&node, last).await;
    let tail = catch_up(&node, &ground);
    standby.take_counting(tail).unwrap();
    assert_eq!(standby.taken(), tail);

    let mirror = take_over(&ground, standby).await;
    assert_eq!(listed(&mirror, Which::Open).await, [open]);
    assert_eq!(listed(&mirror, Which::Ended).await, [last, checkpointed, asked_late, ended, before]);
    for id in [before, ended, asked_late, checkpointed, open, last] {
        is_the_same(&node.house, &mirror, id).await;
    }
    // It survives what the one that serves does with it, and can be forgotten. Whatever it writes counts.
    ground.journal().commit(u64::MAX);
    mirror.checkpoint().await.unwrap();
    is_the_same(&node.house, &mirror, ended).await;
    mirror.purge(ended).await.unwrap();
    assert_eq!(listed(&mirror, Which::Ended).await, [last, checkpointed, asked_late, before]);
    mirror.stop().await.unwrap();
    node.house.stop().await.unwrap();
}

/// T11: what ended long ago is purged by its end, read or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_read_is_purged_when_it_is_old() {
    let node = Node::found(&purchase(), 64, keeps_its_journal).await;
    let (_folder, ground, mut standby) = following(&node, keeps_its_journal);
    let ids = [1, 2, 3].map(made);
    for id in ids {
        completed(&node, id).await;
    }
    standby.take_counting(catch_up(&node, &ground)).unwrap();
    let mirror = take_over(&ground, standby).await;
    ground.journal().commit(u64::MAX);
    let mut purged = 0;
    let mut from = None;
    loop {
        let upkeep = mirror.purge_ended_before(Moment(u64::MAX), from).await.unwrap();
        purged += upkeep.done;
        from = upkeep.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!((purged, listed(&mirror, Which::All).await), (3, vec![]));
    mirror.stop().await.unwrap();
    node.house.stop().await.unwrap();
}

/// M4: an entry that looks as it should and cannot be read is found when its transaction has not ended; everything before it is in the
/// store with the checkpoint that found it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_only_looks_right_is_found_before_anything_rests_on_it() {
    let node = Node::found(&purchase(), 64, keeps_its_journal).await;
    let (folder, ground, mut standby) = following(&node, keeps_its_journal);
    let (before, open) = (made(1), made(2));
    for id in [before, open] {
        node.submit(id, "purchase").await.unwrap();
    }
    let good = node.ground.journal().tail();
    strange(&node, open, "Waited");
    completed(&node, made(3)).await;
    standby.take_counting(catch_up(&node, &ground)).unwrap();
    standby.checkpoint().unwrap();
    let poison = standby.poison().cloned().expect("that entry");
    assert_eq!((poison.sequence, poison.fault.code, standby.taken()), (good + 1, Code::DataNewer, good));
    drop(standby);
    assert_eq!(ground.standby().unwrap().taken(), good);
    ground.close().unwrap();
    drop(ground);
    let store = RedbStore::open(&folder.path().join("lookup.redb")).unwrap();
    for id in [before, open] {
        let stored = store.get(Kind::Transaction as u8, &id.to_bytes()).unwrap();
        assert!(stored.is_some(), "transaction {id} is open, and what was taken in is in the store");
    }
    node.house.stop().await.unwrap();
}

/// M4: an entry that cannot be read is found although what is before it was not read, and nothing behind it is taken in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_cannot_be_read_is_found_behind_what_was_not_read() {
    let node = Node::found(&purchase(), 64, keeps_its_journal).await;
    let (_folder, ground, mut standby) = following(&node, keeps_its_journal);
    let (ended, open) = (made(1), made(2));
    completed(&node, ended).await;
    node.submit(open, "purchase").await.unwrap();
    standby.take_counting(catch_up(&node, &ground)).unwrap();
    let before = standby.taken();

    // Of a version to come, about a transaction that is gathered here.
    strange(&node, open, "Teleported");
    completed(&node, made(3)).await;
    let tail = catch_up(&node, &ground);
    standby.take_counting(tail).unwrap();
    let poison = standby.poison().cloned().expect("that entry");
    assert_eq!((poison.sequence, poison.fault.code, standby.taken()), (before + 1, Code::DataNewer, before));
    standby.checkpoint().unwrap();
    drop(standby);
    assert_eq!(ground.standby().unwrap().taken(), before, "what is before it is in the store");
    assert_eq!(ground.journal().tail(), tail, "the log goes on");
    node.house.stop().await.unwrap();
}
