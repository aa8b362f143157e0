//! What rests: transactions that wait are put away and woken, those that ended are kept for a while, and neither costs
//! memory to speak of (T11, T12, invariant 8).

use crate::fixture::{CLIENT, DESK, Node, definition, text, transaction, until};
use hansa_actors::{clock, listing::Which};
use hansa_core::{
    code::Code,
    dispatch::from_session,
    document::Text,
    ident::TransactionId,
    limit,
    machine::Machine as _,
    moment::Moment,
    session::{Ending, ToSession},
    transaction::Instance,
};

fn rests_briefly(options: &mut hansa_actors::house::HouseOptions) {
    options.rest_ms = 20;
}

fn purchase() -> [Text; 1] {
    [definition("purchase", "", 1)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_was_put_away_is_woken_by_its_answer_and_its_requester_is_told() {
    let node = Node::found(&purchase(), 8, rests_briefly).await;
    let id = transaction(1);
    node.submit(id, "purchase").await.unwrap();
    let invocation = node.performed(DESK, id, 1).await;
    for _ in 0..3 {
        node.asleep().await;
        // A look at it wakes it as well, and whoever waits is not forgotten when it is put away again.
        node.query(id).await.unwrap();
    }
    node.asleep().await;
    node.answer(DESK, invocation.id).await.unwrap();
    assert!(matches!(node.responded(id).await.ending, Ending::Completed(_)));
    let responses = node.left().into_iter().filter(|left| matches!(left.message, ToSession::Respond { .. }));
    assert!(responses.map(|left| left.session).eq([CLIENT]), "the requester is told, and told once");
    node.house.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_was_put_away_is_woken_by_its_time() {
    let timed = definition("timed", "<TIMEOUT>1</TIMEOUT>", 1);
    let node = Node::found(&[timed], 8, rests_briefly).await;
    let id = transaction(1);
    node.submit(id, "timed").await.unwrap();
    node.asleep().await;
    assert_eq!(node.responded(id).await.ending, Ending::TimedOut);
    node.house.stop().await.unwrap();
}

/// Invariant 8: a time that nobody waits for any more leaves nothing, and a machine that is woken often waits only once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_transaction_that_waits_has_one_timer_and_one_that_ended_has_none() {
    let timed = definition("timed", "<TIMEOUT>3600</TIMEOUT>", 1);
    let node = Node::found(&[timed], 8, rests_briefly).await;
    let timers = async || {
        let timers = node.house.look_all::<Instance, _>(|sight| sight.timers()).await;
        timers.into_iter().sum::<usize>()
    };
    let ids = [1, 2].map(transaction);
    for id in ids {
        node.submit(id, "timed").await.unwrap();
    }
    for _ in 0..3 {
        node.asleep().await;
        node.query(ids[0]).await.unwrap();
        assert_eq!(timers().await, 2);
    }
    node.answer(DESK, node.performed(DESK, ids[0], 1).await.id).await.unwrap();
    node.responded(ids[0]).await;
    assert_eq!(timers().await, 1);
    node.asleep().await;
    node.cancel(ids[1]).await.unwrap();
    assert_eq!(timers().await, 0);
    node.house.stop().await.unwrap();
}

/// However often an earlier time comes up, one tick is on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_has_one_tick_on_its_way() {
    let sooner_and_sooner: Vec<_> = (0..30).map(|number| (format!("timed{number}"), 3_600 - number)).collect();
    let definitions =
        sooner_and_sooner.iter().map(|(name, seconds)| definition(name, &format!("<TIMEOUT>{seconds}</TIMEOUT>"), 1));
    let node = Node::found(&definitions.collect::<Vec<_>>(), 8, |_| ()).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for (number, (name, _)) in (0..).zip(&sooner_and_sooner) {
        node.submit(transaction(number), name).await.unwrap();
    }
    // A task that is aborted ends with the runtime's next turns, long before its time.
    for _ in 0..1_000 {
        if tasks() > before + 1 {
            node.awake().await;
        }
    }
    assert!(tasks() <= before + 1, "{} tasks for one tick", tasks() - before);
    node.house.stop().await.unwrap();
}

/// T12: what only the store knows is resumed after a start, with its timers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_a_transaction_that_only_the_store_knows_comes_after_a_restart_too() {
    let timed = definition("timed", "<TIMEOUT>2</TIMEOUT>", 1);
    let node = Node::found(&[timed], 8, rests_briefly).await;
    let id = transaction(1);
    node.submit(id, "timed").await.unwrap();
    node.house.checkpoint().await.unwrap();
    let node = node.crash(rests_briefly).await;
    assert_eq!(node.awaited(id).await.ending, Ending::TimedOut);
    node.house.stop().await.unwrap();
}

/// A time that came while the process was not there is told only when the definitions are there that say what to do. One
/// thread runs everything, so that a shard that does not let go would be noticed.
#[tokio::test]
async fn a_time_that_came_while_the_process_was_away_waits_for_what_it_needs() {
    let timed = definition("timed", "", 1).as_str().replace("<CXCNAME>", "<TIMEOUT>1</TIMEOUT><CXCNAME>");
    let node = Node::found(&[text(&timed)], 8, |_| ()).await;
    let id = transaction(1);
    node.submit(id, "timed").await.unwrap();
    let deadline = node.performed(DESK, id, 1).await.deadline.unwrap();
    let folder = crate::fixture::copied(node.folder.path());
    node.house.stop().await.unwrap();
    until("the operation's time has come", || (clock::now() > deadline).then_some(())).await;
    let node = Node::open(folder, |_| ()).await;
    let Ending::Failed(fault) = node.awaited(id).await.ending else { panic!("it should have failed") };
    assert_eq!(fault.code, Code::OperationTimedOut);
    assert_eq!(node.house.statistics().refused, 0, "it was told of its time too early");
    node.house.stop().await.unwrap();
}

/// T11: the time that a transaction is kept begins with its end, however long ago it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ended_transaction_is_kept_for_a_while_after_its_end() {
    let node = Node::found(&purchase(), 8, |options| options.finished_keep_ms = 3_600_000).await;
    let began_long_ago = TransactionId::new(Moment(1_000), [1; 16]);
    let ids = [began_long_ago, transaction(1), transaction(2)];
    for id in ids {
        node.submit(id, "purchase").await.unwrap();
    }
    for id in &ids[..2] {
        node.answer(DESK, node.performed(DESK, *id, 1).await.id).await.unwrap();
        node.responded(*id).await;
    }
    node.house.checkpoint().await.unwrap();
    assert_eq!(node.listed(Which::Ended).await, [ids[1], ids[0]], "the newest comes first");
    let last = clock::now();

    let node = node.crash(|options| options.finished_keep_ms = 1).await;
    until("the time has come", || (clock::now() > last.plus_ms(1)).then_some(())).await;
    node.house.checkpoint().await.unwrap();
    assert_eq!(node.listed(Which::Ended).await, []);
    assert_eq!(node.query(ids[1]).await.unwrap_err().code, Code::TransactionUnknown);
    node.query(ids[2]).await.expect("what is open is not purged");
    node.house.stop().await.unwrap();
}

/// T12: a transaction whose definition says SAVE NO survives a crash while it is open, and after its end it is there only as
/// long as somebody may ask for its response once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_not_saved_is_kept_for_its_response_only() {
    let node = Node::found(&[definition("passing", "<SAVE>NO</SAVE>", 1)], 8, |_| ()).await;
    let id = transaction(1);
    node.submit(id, "passing").await.unwrap();
    node.house.checkpoint().await.unwrap();
    let node = node.crash(|_| ()).await;
    node.register(DESK, 8).await;
    assert_eq!(node.submit(id, "passing").await.unwrap(), "repeated");
    node.answer(DESK, node.performed(DESK, id, 1).await.id).await.unwrap();
    let response = node.responded(id).await;
    node.house.checkpoint().await.unwrap();
    let node = node.crash(|_| ()).await;
    assert_eq!(node.awaited(id).await, response);
    let machine = node.house.trailed(id).await.unwrap().machine;
    let forgotten_at = machine.ended_at().unwrap().plus_ms(limit::RESPONSE_KEEP_MS);
    assert_eq!(machine.wakes_at(), Some(forgotten_at), "then it is forgotten");
    node.house.stop().await.unwrap();
}

/// Memory of the process in bytes, as the system counts it.
#[cfg(target_os = "linux")]
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// Submit `count` transactions, wait until all are taken and put away, and forget what left.
#[cfg(target_os = "linux")]
async fn submit_and_put_away(node: &Node, numbers: std::ops::Range<u64>) {
    let count = numbers.end - numbers.start;
    for number in numbers {
        let id = transaction(number);
        let input = from_session(node.asker(CLIENT), Node::submission(id, "purchase"), id);
        node.house.admit(input).unwrap();
    }
    let is_taken = |message: &ToSession| match message {
        ToSession::Acknowledged { tracking, .. } => tracking.word.as_deref() == Some("submitted"),
        _ => false,
    };
    let mut taken = 0;
    until("all are taken", || {
        let left = std::mem::take(&mut *node.world.left.lock().unwrap());
        taken += left.iter().filter(|left| is_taken(&left.message)).count() as u64;
        (taken == count).then_some(())
    })
    .await;
    node.asleep().await;
}

/// Invariant 8: a transaction that waits costs no task and at most 2 KiB, its request in the mailbox included.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run in a process of its own by the test below"]
async fn measure_transactions_that_wait() {
    const COUNT: u64 = 20_000;
    const WAVE: u64 = 500;
    let node = Node::found(&purchase(), 1, |options| {
        rests_briefly(options);
        options.segment_bytes = 32 << 20;
    })
    .await;
    submit_and_put_away(&node, 0..WAVE).await;
    node.house.checkpoint().await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (bytes_before, tasks_before) = (resident_bytes(), tasks());
    for wave in 1..=COUNT / WAVE {
        submit_and_put_away(&node, wave * WAVE..(wave + 1) * WAVE).await;
        node.house.checkpoint().await.unwrap();
    }
    assert_eq!(node.house.statistics().transactions_open, COUNT + WAVE);
    let grown = resident_bytes().saturating_sub(bytes_before);
    println!("{} bytes for each transaction that waits", grown / COUNT as usize);
    assert!(grown <= COUNT as usize * 2048, "{} bytes each", grown / COUNT as usize);
    // Each shard has at most one task for its next timer, and each wave leaves none behind.
    assert!(tasks() <= tasks_before + 8, "{tasks_before} tasks became {}", tasks());
    node.house.stop().await.unwrap();
}

/// In a process of its own, because the system counts memory by process and other tests would be counted too.
#[cfg(target_os = "linux")]
#[test]
fn a_transaction_that_waits_costs_no_task_and_at_most_two_kibibytes() {
    let mut measure = std::process::Command::new(std::env::current_exe().unwrap());
    let measured =
        measure.args(["--ignored", "--exact", "--nocapture", "rest::measure_transactions_that_wait"]).output().unwrap();
    let said = String::from_utf8_lossy(&measured.stdout);
    assert!(measured.status.success(), "{said}{}", String::from_utf8_lossy(&measured.stderr));
    assert!(said.contains("1 passed"), "nothing was measured: {said}");
}
