//! A crash behind every single entry of the journal, with the look-up store as any earlier checkpoint left it, or without
//! one: whatever was begun goes on under the same ids and comes to its end, and the stored transactions are what their
//! records make (T12, T17).

use crate::fixture::{DESK, Node, copied, definition, text, transaction};
use hansa_actors::{
    house::HouseOptions,
    listing::Which,
    store::{RedbStore, Store as _},
};
use hansa_core::{
    code::Code,
    ident::{InvocationId, TransactionId},
    session::{Ending, ToSession},
    transaction::Instance,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const STORE: &str = "lookup.redb";

/// Transactions are put away almost at once, and the journal is kept whole.
fn with(options: &mut HouseOptions) {
    options.journal_keep_bytes = u64::MAX;
    options.rest_ms = 10;
    options.transaction_shards = 2;
}

/// Where an entry ends: its segment, and the byte behind it.
struct Boundary {
    segment: PathBuf,
    end: usize,
}

/// Every entry of a journal, in order, as `actors/src/journal/format.rs` lays them.
fn boundaries(journal: &Path) -> Vec<Boundary> {
    let mut segments: Vec<_> = fs::read_dir(journal).unwrap().map(|file| file.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    segments.sort();
    let mut boundaries = Vec::new();
    for segment in segments {
        let bytes = fs::read(&segment).unwrap();
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let mut offset = 128;
        while offset + 56 <= bytes.len() {
            let (length, is_entry) = match &bytes[offset..offset + 4] {
                b"ENTR" => (56 + (number(offset + 4) + number(offset + 8)).next_multiple_of(8) + 32, true),
                b"MARK" => (56, false),
                _ => break,
            };
            offset += length;
            if is_entry {
                boundaries.push(Boundary { segment: segment.clone(), end: offset });
            }
        }
    }
    boundaries
}

/// A folder whose journal ends behind `boundary`, with a store or without.
fn cut(folder: &Path, boundary: &Boundary, store: Option<&Path>) -> TempDir {
    let cut = copied(folder);
    let _ = fs::remove_file(cut.path().join(STORE));
    if let Some(store) = store {
        fs::copy(store, cut.path().join(STORE)).unwrap();
    }
    let name = boundary.segment.file_name().unwrap();
    for file in fs::read_dir(cut.path().join("journal")).unwrap().map(|file| file.unwrap()) {
        if file.file_name() > *name {
            fs::remove_file(file.path()).unwrap();
        } else if file.file_name() == *name {
            let mut bytes = fs::read(file.path()).unwrap();
            bytes[boundary.end..].fill(0);
            fs::write(file.path(), bytes).unwrap();
        }
    }
    cut
}

/// Answer whatever is asked until all transactions have ended; gives the invocations that were answered.
async fn to_the_end(node: &Node, ids: &[TransactionId]) -> BTreeSet<(TransactionId, u32, InvocationId)> {
    answer_until(node, ids, Instance::is_ended).await
}

/// Answer whatever is asked until all transactions are `there`.
async fn answer_until(
    node: &Node,
    ids: &[TransactionId],
    there: impl Fn(&Instance) -> bool,
) -> BTreeSet<(TransactionId, u32, InvocationId)> {
    let begun = Instant::now();
    let mut answered = BTreeSet::new();
    loop {
        let mut all_there = true;
        for id in ids {
            all_there &= there(&node.house.trailed(*id).await.unwrap().machine);
        }
        if all_there {
            return answered;
        }
        assert!(begun.elapsed() < PATIENCE, "transactions do not come where they should");
        for left in node.left() {
            if let ToSession::Perform { invocation, .. } = &left.message
                && answered.insert((invocation.context.transaction, invocation.context.operation, invocation.id))
            {
                // Nobody may wait for it any more.
                let _ = node.answer(DESK, invocation.id).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn end_of(node: &Node, id: TransactionId) -> Ending {
    node.house.trailed(id).await.unwrap().machine.ending().cloned().unwrap()
}

/// Cancel, if it has not ended.
async fn cancelled(node: &Node, id: TransactionId) {
    if let Err(fault) = node.cancel(id).await {
        assert_eq!(fault.code, Code::TransactionEnded);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_every_entry_and_with_every_store() {
    let node = Node::found(&[definition("purchase", "", 2)], 8, with).await;
    let setup = node.house.statistics().journal.tail;
    let ids: Vec<_> = (1..=3).map(transaction).collect();
    let stores = tempfile::tempdir().unwrap();
    // The stores of all checkpoints, by the entry up to which they have everything.
    let mut checkpoints: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut checkpoint = async |node: &Node| {
        node.asleep().await;
        node.house.checkpoint().await.unwrap();
        let path = stores.path().join(checkpoints.len().to_string());
        fs::copy(node.folder.path().join(STORE), &path).unwrap();
        let applied = RedbStore::open(&path).unwrap().position().applied;
        checkpoints.insert(applied, path);
    };
    for id in &ids {
        node.submit(*id, "purchase").await.unwrap();
        node.performed(DESK, *id, 1).await;
    }
    checkpoint(&node).await;
    node.answer(DESK, node.performed(DESK, ids[0], 1).await.id).await.unwrap();
    node.answer(DESK, node.performed(DESK, ids[1], 1).await.id).await.unwrap();
    checkpoint(&node).await;
    node.performed(DESK, ids[1], 2).await;
    cancelled(&node, ids[2]).await;
    node.answer(DESK, node.performed(DESK, ids[0], 2).await.id).await.unwrap();
    checkpoint(&node).await;
    let lived = {
        to_the_end(&node, &ids).await;
        let mut asked = BTreeMap::new();
        for left in node.left() {
            if let ToSession::Perform { invocation, .. } = &left.message {
                let place = (invocation.context.transaction, invocation.context.operation);
                assert_eq!(*asked.entry(place).or_insert(invocation.id), invocation.id);
            }
        }
        asked
    };
    node.house.stop().await.unwrap();
    let boundaries = boundaries(&node.folder.path().join("journal"));
    let entries = node.house.statistics().journal.tail;
    assert_eq!(boundaries.len() as u64, entries, "every entry is found");
    assert!(checkpoints.len() == 3 && entries >= setup + 8, "the test needs entries between its checkpoints");

    for sequence in setup..=entries {
        let boundary = &boundaries[sequence as usize - 1];
        let older = checkpoints.range(..=sequence).map(|(_, path)| Some(path.as_path()));
        for store in older.chain([None]) {
            let folder = cut(node.folder.path(), boundary, store);
            let again = Node::open(folder, with).await;
            again.register(DESK, 8).await;
            for id in &ids {
                again.submit(*id, "purchase").await.unwrap();
            }
            cancelled(&again, ids[2]).await;
            for (transaction, operation, invocation) in to_the_end(&again, &ids).await {
                // The random part of an id comes from the transaction, so even what was lost is asked under the same.
                if let Some(before) = lived.get(&(transaction, operation)) {
                    assert_eq!(invocation, *before, "behind entry {sequence}, operation {operation} of {transaction}");
                }
            }
            for id in &ids {
                let replay = again.house.replay(*id).await.unwrap();
                assert_eq!(replay.difference, None, "behind entry {sequence}");
                let completed = matches!(end_of(&again, *id).await, Ending::Completed(_));
                assert_eq!(completed, *id != ids[2], "behind entry {sequence}");
            }
            assert_eq!(again.house.statistics().transactions_open, 0);
            assert!(again.fatal.lock().unwrap().is_empty());
            again.house.stop().await.unwrap();
        }
    }
}

/// What goes beyond the source is recovered like the rest: a sub-transaction, a signal, and what undoes an operation (T17).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_subtransactions_signals_and_undoing_too() {
    let link = |from: u32, to: u32| format!("<OPLINK><SRCOPID>{from}</SRCOPID><DSTOPID>{to}</DSTOPID></OPLINK>");
    let outer = text(&format!(
        "<TRANSACTION xmlns:hx=\"urn:hansa:transaction:1\"><NAME>outer</NAME>\
         <OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID>{}</OPERATION>\
         <OPERATION><NAME>book</NAME><OPID>1</OPID><CXCNAME>ANY</CXCNAME>{}<hx:PERFORMS>work</hx:PERFORMS>\
           <hx:COMPENSATION><NAME>work</NAME></hx:COMPENSATION></OPERATION>\
         <OPERATION><NAME>part</NAME><OPID>2</OPID>{}<hx:TRANSACTION>inner</hx:TRANSACTION></OPERATION>\
         <OPERATION><NAME>approval</NAME><OPID>3</OPID>{}<hx:SIGNAL>approved</hx:SIGNAL></OPERATION>\
         <OPERATION><NAME>CXtsTailOp</NAME><OPID>4</OPID></OPERATION></TRANSACTION>",
        link(0, 1),
        link(1, 2),
        link(2, 3),
        link(3, 4)
    ));
    let definitions = [outer, definition("inner", "", 1)];
    let node = Node::found(&definitions, 8, with).await;
    let setup = node.house.statistics().journal.tail;
    let [approved, undone] = [transaction(1), transaction(2)];
    let ids = [approved, undone];
    // Everything is answered, until both wait for their signals; one gets it, the other is cancelled.
    let drive = async |node: &Node| {
        for id in ids {
            node.submit(id, "outer").await.unwrap();
        }
        let waits = |machine: &Instance| {
            let definition = machine.definition_hash();
            let surroundings = node.house.surroundings();
            let definition = definition.and_then(|hash| surroundings.definitions().version(&hash).cloned()).unwrap();
            machine.is_ended() || machine.picture(&definition).unwrap().operations[3].state == "running"
        };
        answer_until(node, &ids, waits).await;
        match node.signal(approved, "approved").await {
            Err(fault) => assert_eq!(fault.code, Code::TransactionEnded),
            Ok(tracking) => assert!(tracking.word.is_some()),
        }
        cancelled(node, undone).await;
        to_the_end(node, &ids).await;
    };
    drive(&node).await;
    node.house.stop().await.unwrap();
    let boundaries = boundaries(&node.folder.path().join("journal"));
    let entries = node.house.statistics().journal.tail;
    assert!(entries > setup + 10, "the test needs entries: {entries}");
    for sequence in setup..=entries {
        let folder = cut(node.folder.path(), &boundaries[sequence as usize - 1], None);
        let mut again = Node::open(folder, with).await;
        again.register(DESK, 8).await;
        if sequence % 2 == 0 {
            // And once more from the store, with everything put away.
            again.house.checkpoint().await.unwrap();
            again = again.crash(with).await;
            again.register(DESK, 8).await;
        }
        drive(&again).await;
        assert!(matches!(end_of(&again, approved).await, Ending::Completed(_)), "behind entry {sequence}");
        assert_eq!(end_of(&again, undone).await, Ending::Cancelled, "behind entry {sequence}");
        for id in again.listed(Which::All).await {
            let replay = again.house.replay(id).await.unwrap();
            assert_eq!(replay.difference, None, "behind entry {sequence}");
        }
        again.house.stop().await.unwrap();
    }
}
