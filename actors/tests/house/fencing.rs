//! What becomes of machines that ran ahead of what counts when another sub-node of the pair serves: nothing of theirs gets into the
//! log or the store, however long they are still there (M1, M2, M3).

use crate::fixture::{CLIENT, Node, copied, definition, options, transaction, until};
use hansa_actors::{house::HouseOptions, standby::Ground};
use hansa_core::{
    code::Code, dispatch::from_session, durability::Durability, ident::TransactionId, mirror::Entry, moment::Moment,
    transaction::Instance,
};
use std::sync::Arc;

/// A node that leads a pair's log, all of which counts, with one transaction in it.
async fn leading() -> (Node, TransactionId) {
    let node = Node::found(&[definition("purchase", "", 1)], 8, |_| ()).await;
    let id = transaction(0);
    assert_eq!(node.submit(id, "purchase").await.unwrap(), "submitted");
    let journal = node.ground.journal();
    journal.lead(2, Durability::OneSite).unwrap();
    journal.wait_durable(journal.tail()).unwrap();
    journal.commit(journal.tail());
    (node, id)
}

/// Submit what is never said to count; gives the journal's tail then.
async fn submit_in_vain(node: &Node, id: TransactionId) -> u64 {
    let journal = node.ground.journal();
    let before = journal.tail();
    node.house.admit(from_session(node.asker(CLIENT), Node::submission(id, "purchase"), id)).unwrap();
    until("it is in the log", || (journal.tail() > before).then_some(())).await;
    assert!(node.house.look::<Instance, _>(&id, move |sight| sight.machine(&id).is_some()).await.unwrap());
    journal.wait_durable(journal.tail()).unwrap();
    journal.tail()
}

/// What the other sub-node wrote behind what this one's folder has.
fn written_by_another(node: &Node, count: u64) -> Vec<Entry> {
    let folder = copied(node.folder.path());
    let (ground, _) =
        Ground::open(options(folder.path()), Arc::clone(&node.world) as _, &(Arc::new(|_| ()) as _), false).unwrap();
    let journal = ground.journal();
    journal.lead(3, Durability::OneSite).unwrap();
    let before = journal.tail();
    for number in 0..count {
        // Of a link that nobody looks at here.
        journal.append(&[(b"\x03nobody".as_slice(), b"\x80".as_slice())], Moment(number), Vec::new());
    }
    journal.wait_durable(journal.tail()).unwrap();
    journal.entries(before, u64::MAX, 1 << 20).unwrap()
}

// M1, M2: the look-up store never gets what is cut off later, not even if as much of another's counts in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_machines_whose_log_was_cut_does_not_reach_the_store() {
    let (node, counted) = leading().await;
    let journal = node.ground.journal();
    let counting = journal.position(journal.committed()).unwrap().unwrap();
    let theirs = written_by_another(&node, 20);
    let lost = transaction(1);
    let tail = submit_in_vain(&node, lost).await;
    // The other sub-node serves; nobody has left this house yet.
    journal.follow(journal.position(tail).unwrap().unwrap()).unwrap();
    journal.cut(counting).unwrap();
    journal.write(theirs).unwrap();
    journal.wait_durable(journal.tail()).unwrap();
    journal.commit(journal.tail());
    assert!(journal.committed() > tail);
    assert_eq!(node.house.checkpoint().await.unwrap_err().code, Code::PairNotReady);

    node.house.leave().await;
    let mut standby = node.ground.standby().unwrap();
    journal.lead(4, Durability::OneSite).unwrap();
    assert!(standby.take_through(counting.sequence).is_ok());
    let house = standby.serve(Arc::new(|fault| panic!("{fault}"))).await.unwrap();
    for (id, is_known) in [(counted, true), (lost, false)] {
        let known = house.look::<Instance, _>(&id, move |sight| sight.machine(&id).is_some()).await;
        assert_eq!(known, Some(is_known), "{id}");
    }
}

// M3: a house that was told to go and is not gone yet writes nothing, also when its sub-node serves again.
#[tokio::test(flavor = "multi_thread")]
async fn machines_of_before_write_nothing_when_their_node_serves_again() {
    let (node, _) = leading().await;
    let journal = node.ground.journal();
    let tail = submit_in_vain(&node, transaction(1)).await;
    journal.follow(journal.position(tail).unwrap().unwrap()).unwrap();
    assert_eq!(journal.reign(), None);
    journal.lead(4, Durability::OneSite).unwrap();
    let id = transaction(2);
    node.house.admit(from_session(node.asker(CLIENT), Node::submission(id, "purchase"), id)).unwrap();
    assert!(node.house.look::<Instance, _>(&id, move |sight| sight.machine(&id).is_some()).await.unwrap());
    assert_eq!(journal.tail(), tail, "it took the transaction, and the log did not");
    assert_eq!(node.house.checkpoint().await.unwrap_err().code, Code::PairNotReady);
}

// M2: who is to serve and has to follow again before it has taken in the log does not serve.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_goes_on_from_a_log_only_while_that_is_its_own_to_write() {
    let (node, _) = leading().await;
    let journal = node.ground.journal();
    let tail = journal.position(journal.tail()).unwrap().unwrap();
    journal.follow(tail).unwrap();
    node.house.leave().await;
    let mut standby = node.ground.standby().unwrap();
    assert!(!standby.accede().unwrap());
    journal.lead(4, Durability::OneSite).unwrap();
    assert!(standby.accede().unwrap());
    assert_eq!(standby.taken(), tail.sequence);
}

// M2: a follower that has much to catch up with does not keep it all in memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_follower_takes_in_goes_to_the_store_on_the_way() {
    // The house puts nothing away by itself: done late, that would leave the follower too little to take in.
    let node = Node::found(&[definition("purchase", "", 1)], 8, |_| ()).await;
    for number in 0..60 {
        node.submit(transaction(number), "purchase").await.unwrap();
    }
    let left = copied(node.folder.path());
    let follower = HouseOptions { checkpoint_bytes: 2_000, ..options(left.path()) };
    let (ground, mut standby) =
        Ground::open(follower, Arc::clone(&node.world) as _, &(Arc::new(|_| ()) as _), false).unwrap();
    let journal = ground.journal();
    let tail = journal.position(journal.tail()).unwrap().unwrap();
    journal.follow(tail).unwrap();
    let before = standby.taken();
    standby.take_counting(tail.sequence).unwrap();
    assert_eq!(standby.taken(), tail.sequence);
    if before == tail.sequence {
        // On a slow machine the house had time to put all of it there.
        return;
    }
    // What it had for the store goes there beside; nothing is to be gained from a wait without end.
    for _ in 0..3_000 {
        if ground.standby().unwrap().taken() > before {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the store has no part of it");
}

// M3: a sub-node that has forgotten that it is of a pair does not take what its log has for all that counts.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_pair_is_not_served_as_that_of_a_single_node() {
    let (node, _) = leading().await;
    submit_in_vain(&node, transaction(1)).await;
    let folder = copied(node.folder.path());
    let open = |counts_alone| {
        let world = Arc::clone(&node.world) as _;
        Ground::open(options(folder.path()), world, &(Arc::new(|_| ()) as _), counts_alone).map(drop)
    };
    assert_eq!(open(true).unwrap_err().code, Code::PairNotReady);
    assert!(open(false).is_ok());
}
