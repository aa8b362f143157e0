//! What the duties of two sub-nodes and their witnesses do with real journals on disk: found, join, count on both, take over, switch,
//! come back.

use crate::pair_fixture::{
    Lines, Node, folder, followed, hashes, id, join, organization, pair, pair_behind, served, transport,
};
use hansa_actors::{
    duties::{Carrier, Status, Word},
    journal::Watch,
};
use hansa_core::{
    address::Kind,
    code::Code,
    durability::Durability,
    ident::SubnodeId,
    mirror::{
        Message, Mode, Position,
        pair::{State, Timing},
    },
    moment::Moment,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Nobody waits so long.
const FOREVER: Duration = Duration::from_secs(36_000);

// M1, M2: the mirror has the active's log, entry for entry, and nothing leaves that only one of them has.
#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_the_active_is_in_both_logs() {
    let lines = Lines::default();
    let (active, mirror, _witnesses) = pair(&lines).await;
    active.write(1_000);
    active.until_released(1_010).await;
    assert_eq!(active.said(), Some(Durability::TwoSites));
    let (ours, theirs) = (active.entries(), mirror.entries());
    assert_eq!(ours.len(), 1_010);
    assert_eq!(hashes(&ours), hashes(&theirs));

    // The mirror is not there: what is appended is held until the witnesses say that the active is alone.
    mirror.cut();
    active.write(10);
    active.until("serving alone", |status| status.state == State::ActiveSolo).await;
    active.until_released(1_020).await;
    assert_eq!(active.said(), Some(Durability::OneSite));
    assert_eq!(mirror.entries().len(), 1_010);

    // It comes back, catches up while more is written, and counts again.
    active.write(5_000);
    mirror.mend();
    active.until("a pair again", |status| status.state == State::ActivePair).await;
    active.until_released(6_020).await;
    active.write(1);
    active.until_released(6_021).await;
    assert_eq!(active.said(), Some(Durability::TwoSites));
    mirror.until("the whole log", |status| status.tail == 6_021).await;
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
}

// M2, M3, M4: the mirror takes over with everything that left the active; the old active drops what did not count, and follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_takes_over_with_everything_that_left_and_the_old_active_follows() {
    let lines = Lines::default();
    let (mut active, mut mirror, _witnesses) = pair(&lines).await;
    active.write(100);
    active.until_released(110).await;
    active.cut();
    // This never leaves: the mirror does not have it.
    active.write(7);
    mirror.until("serving alone", |status| status.state == State::ActiveSolo).await;
    assert!(mirror.duties.status().await.unwrap().took_over.is_some());
    assert_eq!(mirror.entries().len(), 110);
    assert!(served(&mut mirror).await);
    mirror.write(50);
    mirror.until_released(50).await;

    active.mend();
    mirror.until("a pair again", |status| status.state == State::ActivePair).await;
    active.until("the mirror", |status| status.state == State::Mirror && status.tail == 160).await;
    assert!(followed(&mut active).await);
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
    assert_eq!(active.released.0.load(Ordering::Relaxed), 110);

    // And back again, as planned: nobody is alone in between.
    mirror.duties.switch().await.unwrap();
    active.until("the active", |status| status.state == State::ActivePair).await;
    assert!(served(&mut active).await);
    active.write(5);
    active.until_released(115).await;
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
}

// M3: after both were stopped, they find out between them who serves; neither does before.
#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_was_stopped_as_a_whole_goes_on_where_it_was() {
    let lines = Lines::default();
    let (active, mirror, _witnesses) = pair(&lines).await;
    active.write(100);
    active.until_released(110).await;
    let folders = [&active, &mirror].map(|node| {
        node.duties.end();
        node.journal.close().unwrap();
        Arc::clone(&node.folder)
    });
    let before = hashes(&active.entries());
    drop((active, mirror));
    let [first, second] = folders;
    let mirror = Node::start(&lines, 1, 1, second, None);
    mirror.mend();
    let active = Node::start(&lines, 1, 0, first, None);
    active.mend();
    for node in [&active, &mirror] {
        node.until("whole", |status| {
            matches!(status.state, State::ActivePair | State::Mirror) && status.epoch > Some(2)
        })
        .await;
    }
    let serving = if active.duties.status().await.unwrap().state.serves() { &active } else { &mirror };
    serving.write(1);
    serving.until_released(1).await;
    assert_eq!(hashes(&active.entries())[..110], before[..]);
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
}

// M1: a disk that was lost is another member: it gets everything anew and does not take over before.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_whose_disk_was_wiped_gets_everything_anew() {
    let lines = Lines::default();
    let (active, mirror, _witnesses) = pair(&lines).await;
    active.write(500);
    active.until_released(510).await;
    mirror.duties.end();
    mirror.journal.close().unwrap();
    mirror.cut();
    drop(mirror);
    active.until("serving alone", |status| status.state == State::ActiveSolo).await;
    let certified = active.duties.partnered(SubnodeId(id(&transport(1, 1)))).await.unwrap();
    let mirror = join(&lines, &active, certified, folder());
    active.until("a pair again", |status| status.state == State::ActivePair).await;
    mirror.until("the whole log", |status| status.state == State::Mirror && status.tail == 510).await;
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
}

// M3: duties that end in a panic end the node: an active without them would serve for ever, whoever else is told to.
#[tokio::test(flavor = "multi_thread")]
async fn duties_that_panic_end_the_node() {
    struct Broken;
    impl Carrier for Broken {
        fn tell(&self, _: SubnodeId, _: &Word) {
            panic!("this test breaks it");
        }
    }
    let node = Node::start_with(&Lines::default(), 1, 0, folder(), None, Box::new(Broken));
    let other = SubnodeId(id(&transport(2, 0)));
    assert!(node.duties.ask_witnesses(vec![other]).await.is_err());
    assert_eq!(node.until_failed().await.code, Code::Internal);
}

// M4: while the mirror is there, nobody comes in its place, however old the code is that opens the pair.
#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_is_whole_takes_nobody_in() {
    let lines = Lines::default();
    let (active, mirror, _witnesses) = pair(&lines).await;
    let stranger = SubnodeId(id(&transport(7, 1)));
    assert_eq!(active.duties.partnered(stranger).await.unwrap_err().code, Code::PairNotReady);
    active.write(5);
    active.until_released(15).await;
    mirror.cut();
    active.until("serving alone", |status| status.state == State::ActiveSolo).await;
    assert!(active.duties.partnered(stranger).await.is_ok());
}

// M3: what counts leaves no later than the lease says, also where a process stood still and nobody came to tell the journal.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_after_the_lease_has_run_out() {
    struct Nobody;
    impl Watch for Nobody {
        fn sealed(&self, _: &[Position]) {}
        fn synced(&self, _: Position) {}
    }
    let node = Node::start(&Lines::default(), 1, 0, folder(), None);
    let released = || node.released.0.load(Ordering::Relaxed);
    node.journal.lead(1, Durability::OneSite).unwrap();
    node.journal.lease(Some(Moment(1)));
    node.write(3);
    node.journal.wait_durable(3).unwrap();
    node.journal.commit(3);
    for _ in 0..2 {
        // The second is carried out after the writer has looked what may leave.
        node.journal.watch(Arc::new(Nobody)).unwrap();
    }
    assert_eq!(released(), 0);
    node.journal.lease(Some(Moment(u64::MAX)));
    node.until_released(3).await;
}

// M4: who stops does not wait for a mirror that is not there, and goes on to be the active one until it ends.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_hands_over_to_a_mirror_that_is_gone() {
    let lines = Lines::patient();
    let (active, mirror, witnesses) = pair(&lines).await;
    for gone in [mirror.subnode, witnesses[0].subnode, witnesses[1].subnode] {
        active.duties.unlinked(gone);
        let enough = gone == witnesses[0].subnode;
        if !enough {
            let fault = active.duties.hand_over(FOREVER).await.unwrap_err();
            assert_eq!(fault.code, Code::PairNotReady);
            assert_eq!(active.duties.status().await.unwrap().state, State::ActivePair, "it was not begun");
        }
        if gone == mirror.subnode {
            active.duties.linked(gone);
        }
    }
    active.duties.linked(witnesses[1].subnode);
    assert!(active.duties.hand_over(FOREVER).await.unwrap(), "three of four decide");
    assert!(!active.duties.hand_over(FOREVER).await.unwrap(), "it follows, and there is nothing to hand over");
}

// M4: one that stops as well does not take over: whoever waits for it sees that when its link goes.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_hands_over_gives_up_when_the_mirror_goes_meanwhile() {
    let lines = Lines::patient();
    let (active, mirror, _witnesses) = pair(&lines).await;
    mirror.cut();
    active.write(3);
    active.until("what the mirror does not get", |status| status.tail == 13).await;
    let handing = async {
        let fault = active.duties.hand_over(FOREVER).await.unwrap_err();
        assert_eq!(fault.code, Code::PairNotReady);
        // What it has and the mirror has not stays in its log, and does not count for now.
        active.duties.waits_in_vain().await;
        let status = active.duties.status().await.unwrap();
        assert!(status.committed < status.tail);
    };
    let stopping = async {
        active.until("handing over", |status| status.state == State::Switching).await;
        mirror.duties.end();
        active.duties.unlinked(mirror.subnode);
    };
    tokio::join!(handing, stopping);
}

/// The sub-node's process ends, and another begins on what it left.
fn again(lines: &Lines, node: Node, side: u8) -> Node {
    again_of(lines, node, 1, side)
}

fn again_of(lines: &Lines, node: Node, organization: u8, side: u8) -> Node {
    node.duties.end();
    node.journal.close().unwrap();
    let folder = Arc::clone(&node.folder);
    drop(node);
    Node::start(lines, organization, side, folder, None)
}

/// Entries that a single node takes in at its start: of a link with which nothing has happened.
fn write(node: &Node, count: u64) {
    let address = [&[Kind::Link as u8][..], &[9; 32]].concat();
    (0..count).for_each(|number| node.append(&address, b"\x80", number));
}

// M3: a pair that ends leaves one node, which needs no witness to go on, and which nobody can take the place of; until it is taken up.
#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_ends_leaves_one_node_that_nobody_takes_over_from() {
    let lines = Lines::default();
    let (active, mirror, witnesses) = pair_behind(&lines, |active| write(active, 10)).await;
    for refusing in [&active, &mirror, &witnesses[0]] {
        assert_eq!(refusing.duties.retire().await.unwrap_err().code, Code::PairNotReady);
    }
    // Only the active may say that it has ended the pair, and only of what was decided.
    let certified = active.duties.partnered(mirror.subnode).await.unwrap();
    let Mode::Pair { active: one, mirror: other } = certified.configuration.mode else { panic!("it is whole") };
    for (said_by, alone) in [(&mirror, other), (&active, one), (&mirror, one)] {
        let mut by = certified.clone();
        by.configuration.mode = Mode::Solo { active: alone };
        let whose = certified.configuration.pair;
        witnesses[0].duties.told(said_by.subnode, whose, Word::Alone { by, is_ended: true }, ());
    }
    assert!(witnesses[0].duties.status().await.unwrap().duties.iter().all(|duty| !duty.ended));
    // One witness misses it all.
    witnesses[3].cut();
    mirror.cut();
    active.duties.unlinked(mirror.subnode);
    active.until("serving alone", |status| status.state == State::ActiveSolo).await;
    let epoch = active.duties.retire().await.unwrap();
    // Its witnesses remember what they promised, and have its place for another.
    let is_over = |status: &Status| status.duties.iter().any(|duty| duty.ended && duty.epoch == epoch);
    witnesses[0].until("hearing of the end", is_over).await;
    active.duties.resume().await.unwrap();
    witnesses[0].until("hearing that it goes on", |status| !is_over(status)).await;
    assert_eq!(active.duties.retire().await.unwrap(), epoch);
    witnesses[0].until("hearing of the end again", is_over).await;
    witnesses[3].mend();
    witnesses[3].until("hearing of it all", is_over).await;
    // It goes on, and the other one does not join any more.
    mirror.mend();
    mirror.until("it knows that it is out", |status| status.state == State::Learner).await;
    write(&active, 5);
    active.until_released(15).await;
    assert_eq!(active.duties.status().await.unwrap().state, State::ActiveSolo);

    // Nobody is there to be asked, and it serves, at the epoch that it had.
    witnesses.iter().for_each(Node::cut);
    let single = again(&lines, active, 0);
    let status = single.duties.status().await.unwrap();
    assert_eq!((status.state, status.mode, status.retired), (State::Single, None, Some(epoch)));
    assert!(single.duties.switch().await.unwrap_err().message.contains("no pair"));
    write(&single, 5);
    single.until_released(5).await;
    assert_eq!(single.entries().last().unwrap().position.epoch, epoch);

    // The other one is there, and so are the witnesses: whatever it tries, it does not serve, and does not get the log.
    for node in witnesses.iter().chain([&single]) {
        node.mend();
    }
    let mirror = again(&lines, mirror, 1);
    mirror.mend();
    mirror.until("it knows that the active says nothing", |status| status.alarm.is_some()).await;
    assert_eq!(mirror.duties.status().await.unwrap().state, State::Learner);
    assert_eq!(single.duties.status().await.unwrap().state, State::Single);
    assert_eq!(single.duties.partnered(mirror.subnode).await.unwrap_err().code, Code::PairNotReady);

    // Taken up again, it is the same pair, and the other one comes back to it.
    assert_eq!(single.duties.resume().await.unwrap_err().code, Code::PairNotReady, "with the next start");
    let active = again(&lines, single, 0);
    active.mend();
    active.until("a pair again", |status| status.state == State::ActivePair && status.epoch > Some(epoch)).await;
    witnesses[0].until("being needed again", |status| status.duties.iter().all(|duty| !duty.ended)).await;
    mirror.until("the whole log", |status| status.state == State::Mirror && status.tail == 20).await;
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
}

// M3: a witness tells when it heard of each of its pairs last, so that its operator sees which are there no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_knows_when_it_heard_of_a_pair_last() {
    let lines = Lines::default();
    let (active, _mirror, witnesses) = pair(&lines).await;
    let before = witnesses[0].duties.status().await.unwrap().duties[0].heard;
    assert!(before.is_some());
    active.write(1);
    witnesses[0].until("hearing how far the log is", |status| status.duties[0].heard > before).await;
}

// M3: who asked and took others has no place with a witness for ever, and no duty that an operator would wonder about.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_was_promised_and_not_taken_up_is_free_again() {
    let lines = Lines::default();
    let asking: Vec<_> = (1..=3).map(|number| Node::start(&lines, number, 0, folder(), None)).collect();
    let witness = Node::start(&lines, 6, 0, folder(), None);
    let asked_of = witness.subnode;
    let answered = async |node: &Node| {
        let asked = node.duties.ask_witnesses(vec![asked_of]).await.unwrap();
        asked.declined.first().map(|(_, reason)| reason.clone())
    };
    assert_eq!(answered(&asking[0]).await, None);
    assert_eq!(answered(&asking[1]).await, None);
    assert!(answered(&asking[2]).await.unwrap().contains("2 pairs"), "it offers two");
    assert_eq!(answered(&asking[0]).await, None, "who has a place keeps it");
    assert_eq!(witness.duties.status().await.unwrap().duties.len(), 2);
    // One of them takes it up.
    let named = asking[1].duties.ask_witnesses(vec![witness.subnode]).await.unwrap().agreed;
    asking[1].duties.found(named).await.unwrap();
    witness.until("hearing of the pair", |status| status.duties.iter().any(|duty| duty.epoch > 0)).await;

    let witness = again_of(&lines, witness, 6, 0);
    let duties = witness.duties.status().await.unwrap().duties;
    assert_eq!(duties.iter().map(|duty| duty.organization.0).collect::<Vec<_>>(), [id(&organization(2))]);
    let asked = asking[2].duties.ask_witnesses(vec![witness.subnode]).await.unwrap();
    assert_eq!(asked.agreed.len(), 1);
    // Who comes too late is not heard: there is no place any more.
    asking[0]
        .duties
        .found(asking[1].duties.status().await.unwrap().witnesses.iter().map(|(it, _)| *it).collect())
        .await
        .unwrap();
    asking[2].duties.found(asked.agreed).await.unwrap();
    let are = |status: &Status| {
        status.duties.iter().filter(|duty| duty.epoch > 0).map(|duty| duty.organization.0).collect::<Vec<_>>()
    };
    let mut taken = [id(&organization(2)), id(&organization(3))];
    taken.sort_unstable();
    witness.until("the third to take its place up", |status| are(status) == taken).await;
    assert!(answered(&asking[0]).await.is_some(), "it offers two");
    // A pair that is ended has no place any more, also after the witness was started anew.
    asking[1].duties.retire().await.unwrap();
    witness.until("hearing of the end", |status| status.duties.iter().any(|duty| duty.ended)).await;
    let witness = again_of(&lines, witness, 6, 0);
    for duty in witness.duties.status().await.unwrap().duties {
        assert_eq!(duty.ended, duty.organization.0 == id(&organization(2)));
    }
    assert_eq!(answered(&asking[0]).await, None);
}

// M3: a witness that is lost for good is replaced while the pair serves; who takes over then is decided by the ones that there are now.
#[tokio::test(flavor = "multi_thread")]
async fn others_take_the_place_of_witnesses_and_decide_then_who_takes_over() {
    let lines = Lines::default();
    let (active, mirror, mut witnesses) = pair(&lines).await;
    let lost = witnesses.remove(0);
    let other = Node::start(&lines, 6, 0, folder(), None);
    other.mend();
    active.mend();
    lost.cut();
    let candidates: Vec<_> = witnesses.iter().chain([&other]).map(|node| node.subnode).collect();
    let asked = active.duties.ask_witnesses(candidates).await.unwrap();
    assert_eq!(asked.agreed.len(), 4);
    let refused = mirror.duties.appoint(asked.agreed.clone()).await.unwrap_err();
    assert_eq!(refused.code, Code::PairNotReady, "a follower appoints nobody");
    active.duties.appoint(asked.agreed.clone()).await.unwrap();
    active.write(5);
    active.until_released(15).await;
    assert_eq!(active.said(), Some(Durability::TwoSites));

    let named = asked.agreed;
    let are_named = |status: &Status| status.witnesses.iter().all(|(witness, _)| named.contains(witness));
    mirror.until("the others", |status| status.state == State::Mirror && status.joined && are_named(status)).await;
    // Of those who decided before, two more are lost: with the one that is lost already they were too many.
    witnesses.remove(0).cut();
    active.cut();
    mirror.until("taking over", |status| status.state == State::ActiveSolo).await;
    assert_eq!(mirror.duties.status().await.unwrap().tail, 15);
    // The one in whose place another is remembers, and is free for another pair.
    lost.mend();
    lost.until("hearing of it", |status| status.duties[0].replaced).await;
}

// X2, invariant 6: a burst that the follower does not acknowledge is sent as far as the way holds, and the rest when it has room again.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_under_way_than_the_way_holds_and_nothing_is_asked_for_twice() {
    let lines = Lines::patient();
    let (active, mirror, _witnesses) = pair(&lines).await;
    let (sent, asked, holds) = <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
    holds.store(true, Ordering::Relaxed);
    {
        let (sent, asked, holds) = (Arc::clone(&sent), Arc::clone(&asked), Arc::clone(&holds));
        lines.befall(move |word| {
            if let Word::Say(message) = &word {
                match &**message {
                    Message::Append { entries, .. } => drop(sent.fetch_add(entries.len() as u64, Ordering::Relaxed)),
                    Message::AppendAck { .. } if holds.load(Ordering::Relaxed) => return None,
                    Message::Join { .. } => drop(asked.fetch_add(1, Ordering::Relaxed)),
                    _ => {}
                }
            }
            Some(word)
        });
    }
    let large = vec![7; 1 << 20];
    (0..20).for_each(|number| active.append(b"\x03address", &large, number));
    active.journal.wait_durable(30).unwrap();
    active.until("a full way", |status| status.tail == 30 && sent.load(Ordering::Relaxed) >= 8).await;
    // Beats go by that say how far the active is, and the follower would have asked by now.
    tokio::time::sleep(Duration::from_millis(Timing::LAN.beat_ms * 5)).await;
    let under_way = sent.load(Ordering::Relaxed);
    assert!((8..=9).contains(&under_way), "{under_way} of a MiB each");
    assert_eq!(mirror.duties.status().await.unwrap().tail, 10 + under_way);

    holds.store(false, Ordering::Relaxed);
    active.until_released(30).await;
    assert_eq!((sent.load(Ordering::Relaxed), asked.load(Ordering::Relaxed)), (20, 0));
    assert_eq!(hashes(&active.entries()), hashes(&mirror.entries()));
}
