//! Whoever is attached finds the active sub-node of a pair by itself (M2, M3, M4). The sub-nodes here are listeners in this process
//! in front of one node in memory, as if everything were mirrored; which of them serves, the test says.

use super::{Node, world::World};
use crate::{
    Client, Code, Ending, Fault, Running, Service, Text, Welcome,
    cxip::{
        Stream,
        session::{self, Arrival, Door, Entrance, Room, Unwelcome, Visitor},
    },
};
use hansa_core::session::{Asker, FromSession, SessionId, ToSession};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{copy_bidirectional, duplex},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

fn text(xml: &str) -> Text {
    Text::parse(xml.as_bytes()).unwrap()
}

/// What a sub-node does.
#[derive(Clone, Debug)]
enum Standing {
    /// It serves, and tells of these.
    Active(Vec<String>),
    /// It does not, and sends on to this address.
    Mirror(Option<String>),
}

/// What the listener of a sub-node shares with the test.
struct Subnode {
    world: Arc<World>,
    standing: Mutex<Standing>,
    /// Names of those who were let in, and of those who were not.
    came: Mutex<Vec<(String, bool)>>,
    frozen: watch::Sender<bool>,
    stop: Mutex<CancellationToken>,
}

impl Subnode {
    fn refused(&self) -> Option<Unwelcome> {
        match &*self.standing.lock().unwrap() {
            Standing::Active(_) => None,
            Standing::Mirror(address) => {
                let fault = Fault::new(Code::NotActive, "this sub-node is the mirror");
                Some(Unwelcome { fault, address: address.clone() })
            }
        }
    }
}

impl Entrance for Subnode {
    type Guest = ();

    async fn welcome(&self, visitor: Visitor<'_>) -> Result<(Welcome, ()), Unwelcome> {
        let refused = self.refused();
        self.came.lock().unwrap().push((visitor.name.to_owned(), refused.is_none()));
        if let Some(unwelcome) = refused {
            return Err(unwelcome);
        }
        let (welcome, ()) = self.world.welcome(visitor).await?;
        match &*self.standing.lock().unwrap() {
            Standing::Active(alternates) => Ok((Welcome { alternates: alternates.clone(), ..welcome }, ())),
            Standing::Mirror(_) => unreachable!("it was asked above, and the test has one thread"),
        }
    }
}

impl Door for Subnode {
    fn open(&self, (): (), to_session: mpsc::UnboundedSender<ToSession>) -> SessionId {
        self.world.open((), to_session)
    }

    fn deliver(&self, asker: Asker, input: FromSession) -> Result<(), Fault> {
        self.refused().map_or(Ok(()), |unwelcome| Err(unwelcome.fault))?;
        self.world.deliver(asker, input)
    }

    fn close(&self, session: SessionId) {
        self.world.close(session);
    }
}

/// A sub-node with its listener, which can be killed.
struct Listening {
    subnode: Arc<Subnode>,
    address: String,
    task: JoinHandle<()>,
}

impl Listening {
    async fn start(node: &Node, standing: Standing) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let subnode = Arc::new(Subnode {
            world: Arc::clone(&node.0.world),
            standing: Mutex::new(standing),
            came: Mutex::default(),
            frozen: watch::channel(false).0,
            stop: Mutex::new(CancellationToken::new()),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&subnode)));
        Self { subnode, address, task }
    }

    fn becomes(&self, standing: Standing) {
        *self.subnode.standing.lock().unwrap() = standing;
    }

    /// Every connection is cut, as when a sub-node stops to serve or its process dies.
    fn cut(&self) {
        std::mem::take(&mut *self.subnode.stop.lock().unwrap()).cancel();
    }

    /// The process stands still: the operating system takes bytes and connections, and nobody answers.
    fn freeze(&self) {
        self.subnode.frozen.send_replace(true);
    }

    async fn kill(self) {
        self.cut();
        self.task.abort();
        // Then its port is closed.
        let _ = self.task.await;
    }

    fn let_in(&self, name: &str) -> bool {
        self.subnode.came.lock().unwrap().iter().any(|(came, let_in)| came == name && *let_in)
    }

    fn sent_away(&self, name: &str) -> bool {
        self.subnode.came.lock().unwrap().iter().any(|(came, let_in)| came == name && !*let_in)
    }
}

async fn accept(listener: TcpListener, subnode: Arc<Subnode>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let stop = subnode.stop.lock().unwrap().clone();
        connections.spawn(carry(stream, Arc::clone(&subnode), stop));
    }
}

/// A connection, with a process behind it that may be frozen.
async fn carry(mut stream: TcpStream, subnode: Arc<Subnode>, stop: CancellationToken) {
    let (mut ours, theirs) = duplex(64 * 1024);
    let room = Room::default();
    let arrival = Arrival::new(Stream::from(theirs), "test");
    let mut frozen = subnode.frozen.subscribe();
    tokio::select! {
        () = session::serve(arrival, &*subnode, &room, &stop) => (),
        _ = copy_bidirectional(&mut stream, &mut ours) => (),
        () = async { drop(frozen.wait_for(|frozen| *frozen).await) } => stop.cancelled().await,
    }
}

/// The definition with one operation, and a service of it that waits for the gate and notes what it did.
async fn credit(node: &Node, addresses: &str) -> (Running, Arc<Semaphore>, Arc<Mutex<Vec<String>>>) {
    node.define(include_str!("../../../docs/examples/purchase.xml")).unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let performed: Arc<Mutex<Vec<String>>> = Arc::default();
    let (waits, notes) = (Arc::clone(&gate), Arc::clone(&performed));
    let service = Service::new("credit").unwrap().operation("check-credit", move |request| {
        let (waits, notes) = (Arc::clone(&waits), Arc::clone(&notes));
        async move {
            notes.lock().unwrap().push(request.document().as_str().to_owned());
            waits.acquire().await.unwrap().forget();
            Ok(text("<Credit/>"))
        }
    });
    let service = service.unwrap().silence_max(Duration::from_millis(300));
    (service.attach(addresses).await.unwrap(), gate, performed)
}

// M3: one address is enough, and it may be the wrong one.
#[tokio::test]
async fn whoever_comes_to_the_mirror_is_sent_to_the_active() {
    let node = Node::start().await;
    let active = Listening::start(&node, Standing::Active(Vec::new())).await;
    let mirror = Listening::start(&node, Standing::Mirror(Some(active.address.clone()))).await;
    let (_running, gate, _) = credit(&node, &mirror.address).await;
    let client = Client::connect(&mirror.address, "erp").await.unwrap();
    let mut subscription = client.subscribe("prices", "audit").await.unwrap();
    gate.add_permits(1);
    let mut submission = client.submit("purchase", text("<Order/>")).await.unwrap();
    assert_eq!(submission.response().await.unwrap().ending, Ending::Completed(text("<Credit/>")));
    client.publish("prices", text("<Price/>")).await.unwrap();
    assert_eq!(subscription.next().await.unwrap().document().as_str(), "<Price/>");
    for name in ["erp", "credit"] {
        assert!(mirror.sent_away(name) && active.let_in(name), "{name}");
    }
}

#[tokio::test]
async fn where_nobody_serves_the_reason_is_that_and_not_that_nobody_answers() {
    let node = Node::start().await;
    let gone = Listening::start(&node, Standing::Mirror(None)).await;
    let gone_address = gone.address.clone();
    gone.kill().await;
    let mirror = Listening::start(&node, Standing::Mirror(Some(gone_address.clone()))).await;
    let addresses = format!("{gone_address}, {}", mirror.address);
    assert_eq!(Client::connect(&addresses, "erp").await.unwrap_err().code, Code::NotActive);
    // Whoever has patience sees it take over.
    let waits = tokio::spawn(Client::named("erp").patience(Duration::from_secs(600)).connect_later(addresses));
    while !mirror.sent_away("erp") {
        tokio::task::yield_now().await;
    }
    mirror.becomes(Standing::Active(Vec::new()));
    assert!(waits.await.unwrap().unwrap().is_connected());
}

impl crate::Connecting {
    async fn connect_later(self, addresses: String) -> Result<Client, Fault> {
        self.connect(&addresses).await
    }
}

// M2, M3, M4: killed, taken over, and back again; nothing acknowledged is lost, nothing is done twice.
#[tokio::test]
async fn when_the_active_dies_everybody_goes_on_with_the_other_that_they_were_told_of() {
    let node = Node::start().await;
    let second = Listening::start(&node, Standing::Mirror(None)).await;
    let first = Listening::start(&node, Standing::Active(vec![second.address.clone()])).await;
    second.becomes(Standing::Mirror(Some(first.address.clone())));
    // Nobody was told of the second but by the first.
    let (running, gate, performed) = credit(&node, &first.address).await;
    let client = Client::connect(&first.address, "erp").await.unwrap();
    let mut subscription = client.subscribe("prices", "audit").await.unwrap();
    let mut submissions = Vec::new();
    for number in 0..10 {
        submissions.push(client.submit("purchase", text(&format!("<Order number='{number}'/>"))).await.unwrap());
    }
    first.kill().await;
    let submits = tokio::spawn({
        let client = client.clone();
        async move { client.submit("purchase", text("<Order number='10'/>")).await }
    });
    while !(second.sent_away("erp") && second.sent_away("credit")) {
        tokio::task::yield_now().await;
    }
    let third = Listening::start(&node, Standing::Mirror(Some(second.address.clone()))).await;
    second.becomes(Standing::Active(vec![third.address.clone()]));
    submissions.push(submits.await.unwrap().unwrap());
    client.publish("prices", text("<Price/>")).await.unwrap();
    assert_eq!(subscription.next().await.unwrap().document().as_str(), "<Price/>");
    gate.add_permits(submissions.len());
    for submission in &mut submissions {
        assert_eq!(submission.response().await.unwrap().ending, Ending::Completed(text("<Credit/>")));
    }
    // What the second told of is remembered as well.
    third.becomes(Standing::Active(vec![second.address.clone()]));
    second.kill().await;
    gate.add_permits(1);
    let mut last = client.submit("purchase", text("<Order number='11'/>")).await.unwrap();
    assert_eq!(last.response().await.unwrap().ending, Ending::Completed(text("<Credit/>")));
    assert!(third.let_in("erp") && third.let_in("credit"));
    running.stop().await;
    let mut performed = std::mem::take(&mut *performed.lock().unwrap());
    performed.sort();
    performed.dedup();
    assert_eq!(performed.len(), 12);
    assert_eq!(node.invocations("check-credit").len(), 12, "and nothing was begun twice");
}

// M4: a planned switch loses no request, also one that comes to the old active just when it has ceased to be it.
#[tokio::test]
async fn what_is_refused_because_the_other_serves_now_is_asked_there() {
    let node = Node::start().await;
    let old = Listening::start(&node, Standing::Active(Vec::new())).await;
    let new = Listening::start(&node, Standing::Active(vec![old.address.clone()])).await;
    let (mut running, gate, performed) = credit(&node, &old.address).await;
    let client = Client::connect(&old.address, "erp").await.unwrap();
    let mut before = client.submit("purchase", text("<Order number='1'/>")).await.unwrap();
    old.becomes(Standing::Mirror(Some(new.address.clone())));
    let mut submission = client.submit("purchase", text("<Order number='2'/>")).await.unwrap();
    assert!(old.sent_away("erp") && new.let_in("erp"), "it was the old one that said where to go");
    // The service's answer is refused by the old one, and taken by the new one.
    gate.add_permits(2);
    for submission in [&mut before, &mut submission] {
        assert_eq!(submission.response().await.unwrap().ending, Ending::Completed(text("<Credit/>")));
    }
    running.connected().await;
    assert!(new.let_in("credit"));
    assert_eq!(performed.lock().unwrap().len(), 2);
}

// M3: a listener that takes the connection and says nothing holds up nobody.
#[tokio::test]
async fn an_address_that_swallows_everything_is_not_waited_for() {
    let node = Node::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let black_hole = silent.local_addr().unwrap().to_string();
    let good = Listening::start(&node, Standing::Active(Vec::new())).await;
    let connects = tokio::spawn(Client::named("erp").connect_later(format!("{black_hole},{}", good.address)));
    let (mut swallowed, _) = silent.accept().await.unwrap();
    let given_up = async { tokio::io::copy(&mut swallowed, &mut tokio::io::sink()).await };
    tokio::pin!(given_up);
    // It is let in before the silent address is given up, and not only after that.
    let client = tokio::select! {
        biased;
        connected = connects => connected.unwrap().unwrap(),
        _ = &mut given_up => panic!("the first address was waited for"),
    };
    assert!(good.let_in("erp") && client.is_connected());
    // Then it is given up.
    let _ = given_up.await;
}

// M3: a process that stands still, or a line that is cut, closes no connection.
#[tokio::test]
async fn an_active_that_falls_silent_is_left_for_the_other() {
    let node = Node::start().await;
    let second = Listening::start(&node, Standing::Mirror(None)).await;
    let first = Listening::start(&node, Standing::Active(vec![second.address.clone()])).await;
    second.becomes(Standing::Mirror(Some(first.address.clone())));
    let (_running, gate, performed) = credit(&node, &first.address).await;
    let client = Client::named("erp").silence_max(Duration::from_millis(300)).connect(&first.address).await.unwrap();
    let mut submission = client.submit("purchase", text("<Order/>")).await.unwrap();
    first.freeze();
    gate.add_permits(2);
    while !(second.sent_away("erp") && second.sent_away("credit")) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    second.becomes(Standing::Active(vec![first.address.clone()]));
    assert_eq!(submission.response().await.unwrap().ending, Ending::Completed(text("<Credit/>")));
    client.submit("purchase", text("<Order number='2'/>")).await.unwrap().response().await.unwrap();
    assert_eq!(performed.lock().unwrap().len(), 2, "what was asked again was not done again");
}

#[tokio::test]
async fn who_is_let_in_nowhere_hears_so_although_another_address_is_dead() {
    let node = Node::start().await;
    node.require_password("open sesame");
    let dead = Listening::start(&node, Standing::Mirror(None)).await;
    let addresses = format!("{},", dead.address);
    dead.kill().await;
    assert_eq!(Client::connect(&addresses, "erp").await.unwrap_err().code, Code::NodeStopped);
    let good = Listening::start(&node, Standing::Active(Vec::new())).await;
    let addresses = addresses + &good.address;
    assert_eq!(Client::connect(&addresses, "erp").await.unwrap_err().code, Code::AccessDenied);
    let administrator = Client::named("operator").password("open sesame").administer(&addresses).await.unwrap();
    assert!(administrator.welcome().organization.is_some(), "administrators go round over the addresses as well");
}
