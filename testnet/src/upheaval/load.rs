//! What clients ask of a pair while it is broken, and what its service does for them, written down so that in the end every
//! acknowledgement can be held against what is there.

use anyhow::{Result, ensure};
use futures::{StreamExt as _, stream};
use hansa_sdk::{Client, Ending, Publication, Request, Running, Text, TransactionId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

pub(super) const DEFINITION: &str = include_str!("../../data/bench-once.xml");
const DEFINITION_NAME: &str = "bench-once";
const OPERATION: &str = "bench-counted";
const TOPIC: &str = "rates";
const SUBSCRIBER: &str = "ledger";
/// Between two requests of one client: the load shall be there and leave the processors to those that are broken.
const THINKING: Duration = Duration::from_millis(10);
/// The longest that the service works on a request, so that some are always at work.
const WORK_MS_MAX: u64 = 60;
/// How long a question of what became of a transaction may take.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(60);
const QUESTIONS_AT_ONCE: usize = 64;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn document(number: u64) -> Result<Text> {
    Ok(Text::parse(format!("<Order number=\"{number}\"/>").as_bytes())?)
}

fn number_of(document: &Text) -> Option<u64> {
    document.tree().ok()?.root.attribute("number")?.parse().ok()
}

/// The service: each invocation has its effect once, as in a database that writes the key down with it.
#[derive(Clone, Debug, Default)]
pub(super) struct Service(Arc<Mutex<Account>>);

#[derive(Debug, Default)]
struct Account {
    /// For each order, under which keys it had its effect.
    effects: BTreeMap<u64, BTreeSet<String>>,
    repeated: u64,
}

impl Service {
    pub(super) async fn attach(&self, address: &str) -> Result<Running> {
        let account = self.clone();
        let service = hansa_sdk::Service::new(OPERATION)?.operation(OPERATION, move |request: Request| {
            let account = account.clone();
            async move {
                sleep(Duration::from_millis(fastrand::u64(0..=WORK_MS_MAX))).await;
                account.perform(&request)
            }
        })?;
        Ok(service.attach(address).await?)
    }

    fn perform(&self, request: &Request) -> Result<Text, hansa_sdk::Fault> {
        let number = number_of(request.document());
        let number = number.ok_or_else(|| hansa_sdk::Fault::new(hansa_sdk::Code::OperationFailed, "no order"))?;
        let account = &mut *locked(&self.0);
        if !account.effects.entry(number).or_default().insert(request.invocation().to_string()) {
            account.repeated += 1;
        }
        Ok(request.document().clone())
    }

    pub(super) fn repeated(&self) -> u64 {
        locked(&self.0).repeated
    }

    /// Orders that had not exactly one effect, in words.
    pub(super) fn wrongs(&self, ended: &Ended) -> Vec<String> {
        let account = locked(&self.0);
        let keys = |number: &u64| account.effects.get(number).map_or(0, BTreeSet::len);
        let wrong = ended.transactions.keys().filter(|number| keys(number) != 1);
        let mut wrong: Vec<_> =
            wrong.map(|number| format!("order {number} had its effect under {} keys", keys(number))).collect();
        let unknown = account.effects.keys().filter(|number| !ended.transactions.contains_key(number));
        wrong.extend(unknown.map(|number| format!("order {number} had an effect and was not answered")));
        wrong
    }
}

/// What goes on while the pair is broken.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    ordering: JoinSet<Result<Vec<(u64, Answered)>>>,
    publishing: JoinHandle<Result<BTreeSet<u64>>>,
    received: Arc<Mutex<Received>>,
    subscribing: JoinHandle<()>,
}

/// An order that was acknowledged, and how it was answered.
#[derive(Clone, Debug)]
struct Answered {
    transaction: TransactionId,
    wrong: Option<String>,
}

/// What the subscriber got.
#[derive(Debug, Default)]
struct Received {
    /// What came at each place of the topic.
    by_place: BTreeMap<u64, u64>,
    wrong: Vec<String>,
}

impl Load {
    pub(super) async fn begin(client: &Client, clients: usize) -> Result<Self> {
        let (stop, numbers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
        let received = Arc::<Mutex<Received>>::default();
        let mut subscription = client.subscribe(TOPIC, SUBSCRIBER).await?;
        let taking = Arc::clone(&received);
        let subscribing = tokio::spawn(async move {
            while let Some(publication) = subscription.next().await {
                locked(&taking).take(&publication);
                publication.done();
            }
        });
        let mut ordering = JoinSet::new();
        for _ in 0..clients {
            ordering.spawn(order_until(client.clone(), Arc::clone(&stop), Arc::clone(&numbers)));
        }
        let publishing = tokio::spawn(publish_until(client.clone(), Arc::clone(&stop)));
        Ok(Self { stop, ordering, publishing, received, subscribing })
    }

    /// Begin nothing more, and wait until everything that was begun is answered, and everything published taken.
    pub(super) async fn end(mut self, client: &Client) -> Result<Ended> {
        self.stop.store(true, Ordering::Relaxed);
        let mut transactions = BTreeMap::new();
        while let Some(ended) = self.ordering.join_next().await {
            transactions.extend(ended??);
        }
        let mut publications = self.publishing.await??;
        // What comes behind it says that everything before it has come.
        let last = publications.last().copied().unwrap_or_default() + 1;
        client.publish(TOPIC, document(last)?).await?;
        publications.insert(last);
        while !locked(&self.received).by_place.values().any(|number| *number == last) {
            sleep(THINKING).await;
        }
        self.subscribing.abort();
        let received = std::mem::take(&mut *locked(&self.received));
        Ok(Ended { transactions, publications, received })
    }
}

impl Received {
    fn take(&mut self, publication: &Publication) {
        let place = publication.number();
        if publication.missed() > 0 {
            self.wrong.push(format!("{} publications before place {place} were missed", publication.missed()));
        }
        let Some(number) = number_of(publication.document()) else {
            return self.wrong.push(format!("at place {place} came what nobody published"));
        };
        // It may come again as what it was, but never as another.
        if let Some(before) = self.by_place.insert(place, number).filter(|before| *before != number) {
            self.wrong.push(format!("at place {place} came publication {before}, and then {number}"));
        }
    }
}

async fn order_until(client: Client, stop: Arc<AtomicBool>, numbers: Arc<AtomicU64>) -> Result<Vec<(u64, Answered)>> {
    let mut all = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let order = document(number)?;
        // Acknowledged from here on: it must end.
        let mut submission = client.submit(DEFINITION_NAME, order.clone()).await?;
        let response = submission.response().await?;
        let wrong = match &response.ending {
            Ending::Completed(answer) if *answer == order => None,
            Ending::Completed(_) => Some("was answered with the document of another".to_owned()),
            Ending::Failed(fault) => Some(format!("failed: {fault}")),
            other => Some(format!("ended as {}", other.word())),
        };
        ensure!(response.transaction == submission.transaction(), "a response is of another transaction");
        all.push((number, Answered { transaction: response.transaction, wrong }));
        sleep(THINKING).await;
    }
    Ok(all)
}

async fn publish_until(client: Client, stop: Arc<AtomicBool>) -> Result<BTreeSet<u64>> {
    let mut all = BTreeSet::new();
    for number in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        client.publish(TOPIC, document(number)?).await?;
        all.insert(number);
        sleep(THINKING).await;
    }
    Ok(all)
}

/// Everything that was acknowledged.
#[derive(Debug)]
pub(super) struct Ended {
    transactions: BTreeMap<u64, Answered>,
    publications: BTreeSet<u64>,
    received: Received,
}

impl Ended {
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.transactions.len(), self.publications.len())
    }

    /// What was answered otherwise than it must be, and publications that did not come, or came under two numbers.
    pub(super) fn wrongs(&self) -> Vec<String> {
        let answers = self.transactions.iter().filter_map(|(number, answered)| {
            let wrong = answered.wrong.as_ref()?;
            Some(format!("order {number} ({}) {wrong}", answered.transaction))
        });
        let mut wrong: Vec<_> = answers.chain(self.received.wrong.iter().cloned()).collect();
        let mut places: BTreeMap<u64, usize> = BTreeMap::new();
        for number in self.received.by_place.values() {
            *places.entry(*number).or_default() += 1;
        }
        for number in &self.publications {
            match places.get(number) {
                Some(1) => {}
                Some(places) => wrong.push(format!("publication {number} has {places} places in its topic")),
                None => wrong.push(format!("publication {number} was acknowledged and did not come")),
            }
        }
        wrong
    }

    /// Transactions that are not there any more, or not as they ended, in words.
    pub(super) async fn missing(&self, client: &Client) -> Vec<String> {
        let questions = stream::iter(&self.transactions).map(|(number, answered)| async move {
            let asked = timeout(QUESTION_TIME_MAX, client.query(answered.transaction)).await;
            let wrong = match asked {
                Err(_) => "is not answered for".to_owned(),
                Ok(Err(fault)) => format!("is not there: {fault}"),
                Ok(Ok(status)) if status.state != "completed" => format!("is shown as {}", status.state),
                Ok(Ok(_)) => return None,
            };
            Some(format!("order {number} ({}) {wrong}", answered.transaction))
        });
        questions.buffer_unordered(QUESTIONS_AT_ONCE).filter_map(std::future::ready).collect().await
    }
}
