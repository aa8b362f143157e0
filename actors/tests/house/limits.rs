//! What a house does at its limits, and when something in it fails: it says so, and what was acknowledged is kept
//! (invariant 6).

use crate::fixture::{CLIENT, DESK, Node, copied, definition, transaction, until};
use hansa_actors::{
    listing::Which,
    store::{Changes, RedbStore, Store as _},
    switchboard::WAITING_MAX,
};
use hansa_core::{
    address::{KeyBytes as _, Kind},
    code::Code,
    dispatch::from_session,
    ident::TransactionId,
    session::FromSession,
    transaction::Instance,
};
use std::sync::{Arc, mpsc};

/// What the kind of a transaction has with it in the store when it has ended.
const ENDED: u8 = 0x80;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_with_too_many_orders_waiting_is_busy_until_they_are_done() {
    let node = Node::found(&[definition("purchase", "", 1)], 8, |_| ()).await;
    let id = transaction(1);
    let (begun, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let house = Arc::clone(&node.house);
    let look = tokio::spawn(async move {
        let hold = move |_: &hansa_actors::shard::Sight<'_, Instance>| {
            begun.send(()).unwrap();
            let _ = may_go_on.recv();
        };
        house.look::<Instance, _>(&id, hold).await
    });
    until("the shard is held up", || has_begun.try_recv().ok()).await;
    let query = || from_session(node.asker(CLIENT), FromSession::Query { transaction: id }, id);
    for _ in 0..WAITING_MAX {
        node.house.admit(query()).unwrap();
    }
    assert_eq!(node.house.admit(query()).unwrap_err().code, Code::Busy);
    assert!(!node.house.has_room(&query()));
    let asker = node.asker(CLIENT);
    let submission = from_session(asker, Node::submission(id, "purchase"), id);
    assert_eq!(node.house.admit(submission).unwrap_err().code, Code::Busy);
    drop(go_on);
    look.await.unwrap();
    until("there is room", || node.house.has_room(&query()).then_some(())).await;
    assert_eq!(node.submit(id, "purchase").await.unwrap(), "submitted");
    node.house.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_transactions_are_open_at_once_than_configured() {
    let node = Node::found(&[definition("purchase", "", 1)], 8, |options| options.transactions_open_max = 2).await;
    let ids: Vec<_> = (0..3).map(transaction).collect();
    for id in &ids[..2] {
        node.submit(*id, "purchase").await.unwrap();
    }
    assert_eq!(node.submit(ids[2], "purchase").await.unwrap_err().code, Code::LimitReached);
    let node = node.crash(|options| options.transactions_open_max = 2).await;
    assert_eq!(node.submit(ids[2], "purchase").await.unwrap_err().code, Code::LimitReached);
    node.cancel(ids[0]).await.unwrap();
    assert_eq!(node.submit(ids[2], "purchase").await.unwrap(), "submitted");
    node.house.stop().await.unwrap();
}

/// T11, T12: a transaction that is not kept and has ended takes no room of open ones; its response is remembered, of as many
/// as there is room for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_transactions_that_are_not_kept_are_no_open_work_and_the_oldest_make_room() {
    let few = |options: &mut hansa_actors::house::HouseOptions| {
        options.transactions_open_max = 1;
        options.responses_kept_max = 2;
    };
    let passing = definition("passing", "<SAVE>NO</SAVE>", 1);
    let node = Node::found(&[passing], 8, few).await;
    let ids: Vec<_> = (0..4).map(transaction).collect();
    for id in &ids[..3] {
        assert_eq!(node.submit(*id, "passing").await.unwrap(), "submitted", "those before are not open any more");
        node.answer(DESK, node.performed(DESK, *id, 1).await.id).await.unwrap();
        node.responded(*id).await;
        assert_eq!(node.house.statistics().transactions_open, 0);
    }
    assert_eq!(node.awake().await, 0, "and are put away at once");
    assert_eq!(node.query(ids[0]).await.unwrap_err().code, Code::TransactionUnknown, "the oldest made room");
    for id in &ids[1..3] {
        assert_eq!(node.submit(*id, "passing").await.unwrap(), "repeated");
    }
    // After a crash they are known again, with their bound and their time.
    node.house.checkpoint().await.unwrap();
    let node = node.crash(few).await;
    node.register(DESK, 8).await;
    let timers = node.house.look_all::<Instance, _>(|sight| sight.timers());
    let mut timers = timers.await.into_iter().sum::<usize>();
    let began = std::time::Instant::now();
    while timers < 2 {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "they are not resumed");
        tokio::task::yield_now().await;
        timers = node.house.look_all::<Instance, _>(|sight| sight.timers()).await.into_iter().sum();
    }
    assert_eq!(node.house.statistics().transactions_open, 0);
    assert_eq!(node.submit(ids[3], "passing").await.unwrap(), "submitted");
    node.answer(DESK, node.performed(DESK, ids[3], 1).await.id).await.unwrap();
    node.responded(ids[3]).await;
    assert_eq!(node.query(ids[1]).await.unwrap_err().code, Code::TransactionUnknown);
    assert_eq!(node.submit(ids[2], "passing").await.unwrap(), "repeated");
    node.house.stop().await.unwrap();
}

/// A shard that fails takes the process with it; until that ends, no checkpoint pretends that all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_fails_is_fatal_and_nothing_acknowledged_is_lost() {
    let node = Node::found(&[definition("purchase", "", 1)], 8, |_| ()).await;
    let id = transaction(1);
    node.submit(id, "purchase").await.unwrap();
    let invocation = node.performed(DESK, id, 1).await;
    let looked = node.house.look::<Instance, ()>(&id, |_| panic!("a mistake, made by the test")).await;
    assert!(looked.is_none());
    let fault = until("the process is told to end", || node.fatal.lock().unwrap().first().cloned()).await;
    assert_eq!(fault.code, Code::Internal);
    assert!(fault.message.contains("a mistake, made by the test"), "{fault}");
    node.house.checkpoint().await.expect_err("a checkpoint without a shard would lose what it had");

    let node = Node::open(copied(node.folder.path()), |_| ()).await;
    node.register(DESK, 8).await;
    assert_eq!(node.performed(DESK, id, 1).await, invocation);
    node.house.stop().await.unwrap();
}

/// A transaction that the store has and nobody can read is there all the same: it must not be begun anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_cannot_be_read_is_fatal_and_not_taken_for_a_new_one() {
    let node = Node::found(&[definition("purchase", "", 1)], 8, |_| ()).await;
    let id: TransactionId = transaction(1);
    node.submit(id, "purchase").await.unwrap();
    node.house.stop().await.unwrap();
    let folder = copied(node.folder.path());
    {
        let store = RedbStore::open(&folder.path().join("lookup.redb")).unwrap();
        let spoilt = Changes::from([((Kind::Transaction as u8, id.to_bytes()), Some(vec![0xff; 40]))]);
        store.commit(&spoilt, store.position()).unwrap();
    }
    let node = Node::open(folder, |_| ()).await;
    let fault = until("the process is told to end", || node.fatal.lock().unwrap().first().cloned()).await;
    assert!(fault.message.contains("cannot be read"), "{fault}");
    let submission = from_session(node.asker(CLIENT), Node::submission(id, "purchase"), id);
    let _ = node.house.admit(submission);
    assert_eq!(node.house.statistics().journal.tail, node.house.statistics().journal.durable);
    assert_eq!(node.house.statistics().transactions_open, 0);
}

/// One that ended and that nobody can read any more has its place in the list, and keeps nobody from the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_has_what_can_be_read_and_says_what_cannot() {
    let node = Node::found(&[definition("purchase", "", 1)], 8, |_| ()).await;
    let mut ids = [1, 2, 3, 4, 5].map(transaction);
    ids.sort_by(|one, other| other.cmp(one));
    for id in ids {
        node.submit(id, "purchase").await.unwrap();
        node.cancel(id).await.unwrap();
        node.awaited(id).await;
    }
    node.house.stop().await.unwrap();
    let folder = copied(node.folder.path());
    {
        let store = RedbStore::open(&folder.path().join("lookup.redb")).unwrap();
        let key = |id: TransactionId| (Kind::Transaction as u8 | ENDED, id.to_bytes());
        assert!(store.get(key(ids[2]).0, &key(ids[2]).1).unwrap().is_some());
        let spoilt = [ids[1], ids[2]].map(|id| (key(id), Some(vec![0xff; 40])));
        store.commit(&Changes::from(spoilt), store.position()).unwrap();
    }
    let node = Node::open(folder, |_| ()).await;
    for (count_max, which) in (1..7).flat_map(|count_max| [(count_max, Which::Ended), (count_max, Which::All)]) {
        let (mut before, mut listed) = (None, Vec::new());
        loop {
            let page = node.house.transactions_before(before, which, count_max).await.unwrap();
            listed.extend(page.transactions.into_iter().map(|(id, read)| (id, read.map_err(|fault| fault.code).err())));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let spoilt = Some(Code::StoreFailed);
        let expected = [(ids[0], None), (ids[1], spoilt), (ids[2], spoilt), (ids[3], None), (ids[4], None)];
        assert_eq!(listed, expected, "{count_max} at once, {which:?}");
    }
    assert_eq!(
        node.house.trailed(ids[1]).await.err().unwrap().code,
        Code::StoreFailed,
        "whoever asks for it hears why"
    );
    node.house.stop().await.unwrap();
}
