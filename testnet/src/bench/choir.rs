//! Many services over few connections, for benchmarks that need more of them than a process should have connections, or
//! need to hold more invocations than a handler each: it speaks CXIP itself. Its invocations are answered at once with what they
//! brought, or held until somebody says so.

use anyhow::{Context as _, Result, bail};
use hansa_core::{
    code::Code,
    document::Text,
    ident::{InvocationId, OperationName, ServiceName, TransactionId},
    limit, offer,
};
use hansa_sdk::cxip::{Acknowledgement, Incoming, Message, Wire};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Registering and answering takes no longer.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// What one voice has of an invocation that it holds.
#[derive(Clone, Debug)]
struct Held {
    voice: usize,
    invocation: InvocationId,
    service: ServiceName,
}

/// What all voices share.
#[derive(Debug, Default)]
struct Score {
    held: Mutex<HashMap<TransactionId, Held>>,
}

/// Services on connections of their own, until it is dropped.
#[derive(Debug)]
pub struct Choir {
    score: Arc<Score>,
    count: watch::Receiver<usize>,
    answers: Vec<mpsc::UnboundedSender<(Held, Text)>>,
    voices: JoinSet<Result<()>>,
}

/// What a choir sings.
#[derive(Clone, Debug)]
pub struct Part {
    /// The services of each connection.
    pub connections: Vec<Vec<String>>,
    /// What all of them perform.
    pub operation: &'static str,
    /// Whether invocations are held.
    pub holds: bool,
}

impl Choir {
    /// Attach everybody; all are registered when this returns.
    ///
    /// # Errors
    /// The node refuses one of them.
    pub async fn attach(address: &str, part: Part) -> Result<Self> {
        let score = Arc::new(Score::default());
        let (counts, count) = watch::channel(0);
        let (registered, mut is_registered) = mpsc::channel(part.connections.len().max(1));
        let (mut answers, mut voices) = (Vec::new(), JoinSet::new());
        let connections = part.connections.len();
        for (place, services) in part.connections.into_iter().enumerate() {
            let (answer, to_answer) = mpsc::unbounded_channel();
            answers.push(answer);
            let stream = TcpStream::connect(address).await.context("a connection of the benchmark's services")?;
            stream.set_nodelay(true)?;
            let voice = Voice {
                place,
                wire: Wire::new(stream, limit::CXIP_CREDIT),
                queue: VecDeque::new(),
                score: part.holds.then(|| Arc::clone(&score)),
                counts: counts.clone(),
            };
            voices.spawn(voice.sing(services, part.operation, registered.clone(), to_answer));
        }
        let mut choir = Self { score, count, answers, voices };
        let everybody = async {
            for _ in 0..connections {
                tokio::select! {
                    // One ends only with a fault.
                    Some(ended) = choir.voices.join_next() => return ended?,
                    Some(()) = is_registered.recv() => {}
                }
            }
            Ok(())
        };
        timeout(WAIT_MAX, everybody).await.context("the services were not all registered in time")??;
        Ok(choir)
    }

    /// Wait until so many invocations have come.
    ///
    /// # Errors
    /// A connection broke.
    pub async fn delivered(&mut self, invocations: usize) -> Result<()> {
        tokio::select! {
            Some(ended) = self.voices.join_next() => ended?,
            reached = self.count.wait_for(|count| *count >= invocations) => {
                reached.context("the services are gone")?;
                Ok(())
            }
        }
    }

    /// Answer the invocation that is held for this transaction.
    ///
    /// # Errors
    /// None is held.
    pub fn answer(&self, transaction: TransactionId, document: Text) -> Result<()> {
        let held = self.score.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&transaction);
        let held = held.with_context(|| format!("nothing is held for transaction {transaction}"))?;
        self.answers[held.voice].send((held, document)).ok().context("a connection of the benchmark's services broke")
    }
}

/// One connection.
struct Voice {
    place: usize,
    wire: Wire<TcpStream>,
    /// What waits for the node's credit: the message, and what it answers.
    queue: VecDeque<(u64, Message)>,
    score: Option<Arc<Score>>,
    counts: watch::Sender<usize>,
}

impl Voice {
    async fn sing(
        mut self,
        services: Vec<String>,
        operation: &'static str,
        registered: mpsc::Sender<()>,
        mut answers: mpsc::UnboundedReceiver<(Held, Text)>,
    ) -> Result<()> {
        let operation: OperationName = operation.parse()?;
        let name = format!("bench-choir-{}", self.place);
        self.wire.send(0, &Message::Connect { name, account: None, password: None })?;
        for name in services {
            let service = offer::Service { name: name.parse()?, operations: vec![operation.clone()], public: false };
            self.queue.push_back((0, Message::Register { service, credit: limit::SESSION_CREDIT_MAX }));
        }
        // Those that are not acknowledged: by number, to be sent again where the node is busy.
        let mut sent: HashMap<u64, (u64, Message)> = HashMap::new();
        let mut is_registered = false;
        loop {
            while self.wire.may_send()
                && let Some((correlation, message)) = self.queue.pop_front()
            {
                let number = self.wire.send(correlation, &message)?;
                sent.insert(number, (correlation, message));
            }
            if !is_registered && self.queue.is_empty() && !self.wire.is_waiting() {
                is_registered = true;
                registered.send(()).await?;
            }
            tokio::select! {
                answer = answers.recv() => match answer {
                    Some((held, document)) => self.complete(0, held.invocation, held.service, document),
                    None => return Ok(()),
                },
                incoming = self.wire.receive() => {
                    let mut incoming = Some(incoming?);
                    while let Some(one) = incoming {
                        self.take_in(one, &mut sent).await?;
                        incoming = self.wire.received()?;
                    }
                }
            }
        }
    }

    async fn take_in(&mut self, incoming: Incoming, sent: &mut HashMap<u64, (u64, Message)>) -> Result<()> {
        match incoming {
            Incoming::Message { number, message: Message::Perform { service, invocation }, .. } => {
                self.wire.acknowledge(number, Acknowledgement::default());
                match &self.score {
                    None => self.complete(number, invocation.id, service, invocation.document),
                    Some(score) => {
                        let held = Held { voice: self.place, invocation: invocation.id, service };
                        let mut all = score.held.lock().unwrap_or_else(PoisonError::into_inner);
                        all.insert(invocation.context.transaction, held);
                    }
                }
                self.counts.send_modify(|count| *count += 1);
            }
            Incoming::Message { number, .. } => self.wire.acknowledge(number, Acknowledgement::default()),
            Incoming::Unread(_) => (),
            Incoming::Acknowledged { message, .. } => drop(sent.remove(&message)),
            Incoming::Refused { message, refusal } if refusal.fault.code == Code::Busy => {
                sleep(Duration::from_millis(refusal.retry_after_ms.unwrap_or(limit::BUSY_RETRY_MS))).await;
                self.queue.extend(sent.remove(&message));
            }
            Incoming::Refused { refusal, .. } => bail!("the node refused the benchmark's services: {}", refusal.fault),
        }
        Ok(())
    }

    fn complete(&mut self, correlation: u64, invocation: InvocationId, service: ServiceName, document: Text) {
        self.queue.push_back((correlation, Message::Completed { invocation, service, document }));
    }
}
