//! The load of the benchmark of takeovers: clients that order one after the other, a service that writes down what it does, and in
//! the end the question of every order that was acknowledged: is it there, was it answered, did it happen once (M2). It knows
//! nothing of pairs, as its clients do not.

use anyhow::Result;
use futures::{StreamExt as _, stream};
use hansa_sdk::{Client, Ending, InvocationId, Request, Response, Running, Service, Text, TransactionId};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

pub(super) const DEFINITION: &str = include_str!("../../../data/bench-once.xml");
const DEFINITION_NAME: &str = "bench-once";
const OPERATION: &str = "bench-counted";
/// No request takes longer, whatever is killed meanwhile.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);
/// Between two requests of one client: the load shall be there and not be what is measured.
const THINKING: Duration = Duration::from_millis(10);
/// Questions at the end that are under way at once.
const QUESTIONS_AT_ONCE: usize = 64;

/// A transaction that was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Submitted {
    pub number: u64,
    pub transaction: TransactionId,
    /// When it was submitted.
    pub begun: Instant,
    /// When the client heard that the node has it.
    pub acknowledged: Instant,
    /// When its response came, or was not waited for any longer.
    pub ended: Instant,
    /// What is wrong with the response.
    pub wrong: Option<String>,
}

/// What the clients asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    pub acknowledged: Vec<Submitted>,
    /// Requests that a client was told to have failed, in words.
    pub failed: Vec<String>,
}

impl Requests {
    fn add(&mut self, request: Result<Submitted, String>) {
        match request {
            Ok(submitted) => self.acknowledged.push(submitted),
            Err(why) => self.failed.push(why),
        }
    }

    pub(super) fn extend(&mut self, more: Self) {
        self.acknowledged.extend(more.acknowledged);
        self.failed.extend(more.failed);
    }
}

pub(super) fn order(number: u64) -> Result<Text, hansa_sdk::Fault> {
    Text::parse(format!("<Order number=\"{number}\"/>").as_bytes())
}

/// What is wrong with this answer to an order.
fn wrong_with(response: &Response, order: &Text) -> Option<String> {
    match &response.ending {
        Ending::Completed(document) if document == order => None,
        Ending::Completed(_) => Some("was answered with the document of another".to_owned()),
        Ending::Failed(fault) => Some(format!("failed: {fault}")),
        other => Some(format!("ended as {}", other.word())),
    }
}

/// Submit the next order and wait for its response.
///
/// # Errors
/// It was not acknowledged: why, in words.
pub(super) async fn submit(client: &Client, numbers: &AtomicU64) -> Result<Submitted, String> {
    let number = numbers.fetch_add(1, Ordering::Relaxed);
    let order = order(number).map_err(|fault| fault.to_string())?;
    let begun = Instant::now();
    let submission = timeout(ANSWER_WAIT_MAX, client.submit(DEFINITION_NAME, order.clone())).await;
    let mut submission = match submission {
        Ok(Ok(submission)) => submission,
        Ok(Err(fault)) => return Err(format!("order {number} was refused: {fault}")),
        Err(_) => {
            let waited = ANSWER_WAIT_MAX.as_secs();
            return Err(format!("order {number} was not acknowledged within {waited} s"));
        }
    };
    let acknowledged = Instant::now();
    let wrong = match timeout(ANSWER_WAIT_MAX, submission.response()).await {
        Ok(Ok(response)) => wrong_with(&response, &order),
        Ok(Err(fault)) => Some(format!("had no response: {fault}")),
        Err(_) => Some(format!("had no response within {} s", ANSWER_WAIT_MAX.as_secs())),
    };
    let transaction = submission.transaction();
    Ok(Submitted { number, transaction, begun, acknowledged, ended: Instant::now(), wrong })
}

/// Clients that each submit the next order when the last was answered.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    /// The number of the next order.
    pub numbers: Arc<AtomicU64>,
    tasks: JoinSet<Requests>,
}

impl Load {
    pub(super) fn begin(client: &Client, clients: usize) -> Self {
        let (stop, numbers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (client, stop, numbers) = (client.clone(), Arc::clone(&stop), Arc::clone(&numbers));
            tasks.spawn(async move {
                let mut requests = Requests::default();
                while !stop.load(Ordering::Relaxed) {
                    requests.add(submit(&client, &numbers).await);
                    sleep(THINKING).await;
                }
                requests
            });
        }
        Self { stop, numbers, tasks }
    }

    /// Order nothing more, and wait for what is under way.
    pub(super) async fn end(mut self) -> Result<Requests> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Requests::default();
        while let Some(ended) = self.tasks.join_next().await {
            all.extend(ended?);
        }
        Ok(all)
    }
}

/// The service: writes down every effect under its idempotency key, as one does that keeps books.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter(Arc<Mutex<BTreeMap<InvocationId, Effect>>>);

/// What was done under one key.
#[derive(Clone, Copy, Debug)]
struct Effect {
    order: u64,
    times: u32,
}

impl Counter {
    pub(super) fn service(&self) -> Result<Service, hansa_sdk::Fault> {
        let counter = self.clone();
        Service::new(OPERATION)?.operation(OPERATION, move |request: Request| {
            let counter = counter.clone();
            async move { counter.perform(request.invocation(), request.document()) }
        })
    }

    pub(super) async fn attach(&self, address: &str) -> Result<Running> {
        Ok(self.service()?.attach(address).await?)
    }

    fn perform(&self, key: InvocationId, order: &Text) -> Result<Text, hansa_sdk::Fault> {
        let tree = order.tree()?;
        let number = tree.root.attribute("number").and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| hansa_sdk::Fault::new(hansa_sdk::Code::OperationFailed, "no order"))?;
        self.effects().entry(key).or_insert(Effect { order: number, times: 0 }).times += 1;
        Ok(order.clone())
    }

    fn effects(&self) -> std::sync::MutexGuard<'_, BTreeMap<InvocationId, Effect>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By order, under how many keys it had its effect, and how often in all.
    fn by_order(&self) -> BTreeMap<u64, (u32, u32)> {
        let mut orders: BTreeMap<u64, (u32, u32)> = BTreeMap::new();
        for effect in self.effects().values() {
            let (keys, times) = orders.entry(effect.order).or_default();
            *keys += 1;
            *times += effect.times;
        }
        orders
    }

    /// Every order that had its effect more than once, under one key or under several, in words.
    pub(super) fn doubled(&self) -> Vec<String> {
        let doubled = self.by_order().into_iter().filter(|(_, (_, times))| *times > 1);
        doubled
            .map(|(number, (keys, times))| format!("order {number} had its effect {times} times, under {keys} keys"))
            .collect()
    }
}

/// Ask the node for every transaction that was acknowledged, its state and its response; what is wrong with those that are not as
/// they must be, in words.
pub(super) async fn lost(client: &Client, counter: &Counter, requests: &[Submitted]) -> Vec<String> {
    let effects = &counter.by_order();
    let questions = stream::iter(requests).map(|submitted| async move {
        let asked = timeout(ANSWER_WAIT_MAX, look_up(client, submitted)).await;
        let wrong = match (&submitted.wrong, asked) {
            (Some(wrong), _) => Some(wrong.clone()),
            (None, Err(_)) => Some("is not answered for".to_owned()),
            (None, Ok(wrong)) => wrong,
        };
        let has_no_effect = !effects.contains_key(&submitted.number);
        let wrong = wrong.or_else(|| has_no_effect.then(|| "had no effect".to_owned()))?;
        Some(format!("transaction {} of order {} {wrong}", submitted.transaction, submitted.number))
    });
    questions.buffer_unordered(QUESTIONS_AT_ONCE).filter_map(std::future::ready).collect().await
}

/// What is wrong with a transaction as the node has it now.
async fn look_up(client: &Client, submitted: &Submitted) -> Option<String> {
    match client.query(submitted.transaction).await {
        Err(fault) => return Some(format!("is not there: {fault}")),
        Ok(status) if status.state != "completed" => return Some(format!("is shown as {}", status.state)),
        Ok(_) => {}
    }
    let order = order(submitted.number).ok()?;
    match client.response(submitted.transaction).await {
        Err(fault) => Some(format!("has no response any more: {fault}")),
        Ok(response) => wrong_with(&response, &order),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_sdk::test;

    // M2: the benchmark finds what it is there to find.
    #[tokio::test]
    async fn what_is_lost_or_doubled_is_counted() {
        let node = test::Node::start().await;
        node.define(DEFINITION).unwrap();
        let counter = Counter::default();
        let _running = counter.service().unwrap().attach_to(&node).await.unwrap();
        let client = Client::named("bench").connect_to(&node).await.unwrap();
        let numbers = AtomicU64::new(1);
        let mut requests = Requests::default();
        for _ in 0..4 {
            requests.add(submit(&client, &numbers).await);
        }
        assert!(requests.failed.is_empty(), "{:?}", requests.failed);
        let mut requests = requests.acknowledged;
        assert!(lost(&client, &counter, &requests).await.is_empty() && counter.doubled().is_empty());

        // Once more under the key that it has, and once under another.
        let key = |number| *counter.effects().iter().find(|(_, effect)| effect.order == number).unwrap().0;
        counter.perform(key(2), &order(2).unwrap()).unwrap();
        counter.perform(InvocationId(7), &order(3).unwrap()).unwrap();
        let doubled = counter.doubled().join("\n");
        assert!(doubled.contains("order 2 had its effect 2 times, under 1 keys"), "{doubled}");
        assert!(doubled.contains("order 3 had its effect 2 times, under 2 keys"), "{doubled}");
        let first = key(1);
        counter.effects().remove(&first);
        requests[2].transaction = TransactionId(7);
        requests[3].number = 2;
        let lost = lost(&client, &counter, &requests).await.join("\n");
        assert!(lost.contains("order 1 had no effect") && lost.contains("order 3 is not there"), "{lost}");
        assert!(lost.contains("was answered with the document of another"), "{lost}");
    }

    #[tokio::test]
    async fn a_request_that_failed_is_no_transaction() {
        let node = test::Node::start().await;
        let client = Client::named("bench").connect_to(&node).await.unwrap();
        let refused = submit(&client, &AtomicU64::new(1)).await.unwrap_err();
        assert!(refused.contains("order 1 was refused"), "{refused}");
    }
}
