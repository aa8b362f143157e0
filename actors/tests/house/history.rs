//! Looking back: every record of a transaction is found again in the journal, whatever was put away, checkpointed or
//! restarted meanwhile, for as long as the journal keeps it (T12, T17).

use crate::fixture::{DESK, Node, definition, transaction};
use hansa_actors::house::HouseOptions;
use hansa_core::{
    code::Code,
    ident::TransactionId,
    machine::Machine as _,
    transaction::{Instance, Record},
};

fn keeps_all(options: &mut HouseOptions) {
    options.journal_keep_bytes = u64::MAX;
}

/// What the history of a transaction says, and the machine that its records make.
async fn history(node: &Node, id: TransactionId) -> (Vec<Record>, Instance, hansa_actors::history::History) {
    let trailed = node.house.trailed(id).await.unwrap();
    let history = node.house.history(id, &trailed, 0).await.unwrap();
    let records: Vec<_> = history.episodes.iter().flat_map(|episode| episode.records.clone()).collect();
    let mut made = Instance::new(&id);
    records.iter().for_each(|record| made.absorb(record));
    (records, made, history)
}

async fn run(node: &Node, id: TransactionId) {
    node.submit(id, "purchase").await.unwrap();
    for operation in [1, 2] {
        node.answer(DESK, node.performed(DESK, id, operation).await.id).await.unwrap();
    }
    node.awaited(id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_records_of_a_transaction_make_it_anew_wherever_it_is() {
    let mut node = Node::found(&[definition("purchase", "", 2)], 64, keeps_all).await;
    let (ended, open) = (transaction(1), transaction(2));
    run(&node, ended).await;
    node.submit(open, "purchase").await.unwrap();
    node.performed(DESK, open, 1).await;
    // Others fill segments between its entries.
    for number in 10..60 {
        run(&node, transaction(number)).await;
    }
    for round in 0..3 {
        for id in [ended, open] {
            let (records, made, history) = history(&node, id).await;
            assert!(matches!(records[0], Record::Submitted { .. }), "round {round}");
            assert_eq!(made.ending().is_some(), id == ended);
            assert!(!history.beginning_dropped && history.next.is_none());
            assert!(history.episodes.is_sorted_by(|one, other| one.sequence < other.sequence));
            let stored = node.house.trailed(id).await.unwrap().machine;
            assert_eq!(made.ending(), stored.ending());
            assert_eq!(made.submitted(), stored.submitted());
        }
        node.house.checkpoint().await.unwrap();
        node = node.crash(keeps_all).await;
    }
    node.register(DESK, 8).await;
    let before = history(&node, open).await.0.len();
    node.answer(DESK, node.performed(DESK, open, 1).await.id).await.unwrap();
    assert!(history(&node, open).await.0.len() > before, "what is recorded now is there at once");
    node.house.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_goes_on_behind_any_of_its_entries() {
    let node = Node::found(&[definition("purchase", "", 2)], 8, keeps_all).await;
    let id = transaction(1);
    run(&node, id).await;
    let trailed = node.house.trailed(id).await.unwrap();
    let whole = node.house.history(id, &trailed, 0).await.unwrap().episodes;
    for (place, episode) in whole.iter().enumerate() {
        let rest = node.house.history(id, &trailed, episode.sequence).await.unwrap().episodes;
        assert!(rest.iter().map(|episode| episode.sequence).eq(whole[place + 1..].iter().map(|it| it.sequence)));
    }
    node.house.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_keeps_as_much_for_history_as_it_is_told_and_says_what_is_gone() {
    let keeps = |options: &mut HouseOptions| options.journal_keep_bytes = 4 * options.segment_bytes;
    let node = Node::found(&[definition("purchase", "", 2)], 8, keeps).await;
    let first = transaction(1);
    run(&node, first).await;
    let mut last = first;
    for number in 2..80 {
        last = transaction(number);
        run(&node, last).await;
        if number % 20 == 0 {
            node.house.checkpoint().await.unwrap();
        }
    }
    node.house.checkpoint().await.unwrap();
    let statistics = node.house.statistics().journal;
    assert_eq!(statistics.segments, 4);
    assert!(statistics.segments_dropped > 0);
    let (records, _, gone) = history(&node, first).await;
    assert_eq!((records, gone.beginning_dropped, gone.first_kept), (Vec::new(), true, statistics.first));
    let (_, last, _) = history(&node, last).await;
    assert!(last.ending().is_some(), "the newest are kept");
    node.house.stop().await.unwrap();
}

/// T17: what is stored is what its records make, after any crash, with a checkpoint in between or without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_made_anew_is_the_one_that_is_stored() {
    let mut node = Node::found(&[definition("purchase", "", 2)], 64, keeps_all).await;
    let (ended, open) = (transaction(1), transaction(2));
    run(&node, ended).await;
    node.submit(open, "purchase").await.unwrap();
    node.performed(DESK, open, 1).await;
    for round in 0..4 {
        for id in [ended, open] {
            let replay = node.house.replay(id).await.unwrap();
            assert_eq!(replay.difference, None, "round {round}");
            assert!(!replay.entries.is_empty() && replay.first <= replay.last);
        }
        if round % 2 == 0 {
            node.house.checkpoint().await.unwrap();
        }
        node = node.crash(keeps_all).await;
    }
    node.house.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_journal_does_not_have_whole_is_not_proven() {
    let node = Node::found(&[definition("purchase", "", 2)], 8, |_| ()).await;
    let first = transaction(1);
    run(&node, first).await;
    for number in 2..40 {
        run(&node, transaction(number)).await;
    }
    node.house.checkpoint().await.unwrap();
    assert_eq!(node.house.replay(first).await.unwrap_err().code, Code::HistoryIncomplete);
    assert_eq!(node.house.replay(transaction(99)).await.unwrap_err().code, Code::TransactionUnknown);
    node.house.stop().await.unwrap();
}
