//! A node of one organization without its doors: a house, a world that writes everything down, and the words that a
//! client and a service would say. A crash is a copy of the folder that is taken while everything runs.

use ed25519_dalek::SigningKey;
use hansa_actors::{
    house::{House, HouseOptions, World},
    listing::Which,
    standby::Ground,
    supervisor::Fatal,
};
use hansa_core::{
    code::Fault,
    directory::{self, Own},
    dispatch::{Input, Outward, from_session},
    document::Text,
    ident::{InvocationId, OrganizationId, TransactionId},
    invocation::{Invocation, Outcome},
    mailbox,
    membership::{Charter, Credentials},
    moment::Moment,
    offer::Service,
    session::{Asker, FromSession, Response, SessionId, ToSession, Tracking},
    signed::{Purpose, Signed},
    transaction::catalogue,
};
use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The sessions that the tests speak as.
pub const CLIENT: u64 = 1;
pub const DESK: u64 = 2;

/// The longest that anything here may take; nothing depends on how long it does.
const PATIENCE: Duration = Duration::from_secs(60);

/// A message that left the node, and how much of the journal was durable at that moment.
#[derive(Clone, Debug)]
pub struct Left {
    pub session: u64,
    pub message: ToSession,
    pub durable: u64,
}

impl Left {
    /// Whether somebody is to perform something for a transaction.
    pub fn is_about(&self, id: TransactionId) -> bool {
        matches!(&self.message, ToSession::Perform { invocation, .. } if invocation.context.transaction == id)
    }
}

type Watch = Box<dyn Fn(&ToSession) + Send + Sync>;

/// The world: it writes down what it is told, and signs what the directory wants signed.
pub struct Recorder {
    pub left: Mutex<Vec<Left>>,
    house: OnceLock<Weak<House>>,
    /// Called on the journal's thread with everything that leaves, before it is written down.
    watch: OnceLock<Watch>,
}

impl World for Recorder {
    fn outward(&self, effect: Outward) {
        let house = self.house.get().and_then(Weak::upgrade);
        match effect {
            Outward::Session(session, message) => {
                if let Some(watch) = self.watch.get() {
                    watch(&message);
                }
                let durable = house.map_or(0, |house| house.statistics().journal.durable);
                self.left.lock().unwrap().push(Left { session: session.0, message, durable });
            }
            Outward::Sign(record) => {
                let signed = Signed::new(&key(), Purpose::Directory, &*record);
                if let Some(house) = house {
                    house.deliver(Input::Directory(directory::Input::Signed(signed)));
                }
            }
            Outward::Peer(..) | Outward::Announce { .. } | Outward::Learn(_) => {}
        }
    }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub fn organization() -> OrganizationId {
    OrganizationId(key().verifying_key().to_bytes())
}

/// Those of a federation of one.
pub fn credentials() -> Credentials {
    let charter = Charter { name: "Grain Exchange".parse().unwrap(), founder: organization(), founded: Moment(1) };
    Credentials { charter: Signed::new(&key(), Purpose::Charter, &charter), admissions: Vec::new() }
}

pub fn text(xml: &str) -> Text {
    Text::parse(xml.as_bytes()).unwrap()
}

/// A definition whose operations `work` follow each other, with `head` before them.
pub fn definition(name: &str, head: &str, operations: u32) -> Text {
    let link = |id: u32| format!("<OPLINK><SRCOPID>{id}</SRCOPID><DSTOPID>{}</DSTOPID></OPLINK>", id + 1);
    let join =
        |id: u32| format!("<JOIN><DOCUMENT><OPID>{id}</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>");
    let work = (1..=operations).map(|id| {
        let asked_with = join(id - 1);
        format!(
            "<OPERATION><NAME>work-{id}</NAME><OPID>{id}</OPID><CXCNAME>ANY</CXCNAME>{}{asked_with}\
             <hx:PERFORMS>work</hx:PERFORMS></OPERATION>",
            link(id)
        )
    });
    text(&format!(
        "<TRANSACTION xmlns:hx=\"urn:hansa:transaction:1\"><NAME>{name}</NAME>{head}<OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID>{}</OPERATION>{}\
         <OPERATION><NAME>CXtsTailOp</NAME><OPID>{}</OPID>{}</OPERATION></TRANSACTION>",
        link(0),
        work.collect::<String>(),
        operations + 1,
        join(operations)
    ))
}

/// Wait until `look` sees something.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// A copy of a house's folder: what a crash at this moment leaves.
pub fn copied(folder: &Path) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &to);
            } else if let Err(error) = fs::copy(entry.path(), to) {
                // A spare segment is renamed when it is taken into use.
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            }
        }
    }
    let copied = tempfile::tempdir().unwrap();
    copy(folder, copied.path());
    copied
}

/// Options for tests: nothing happens by itself that a test does not ask for.
pub fn options(folder: &Path) -> HouseOptions {
    HouseOptions {
        segment_bytes: 16 << 10,
        journal_keep_bytes: 0,
        checkpoint_bytes: u64::MAX,
        rest_ms: 3_600_000,
        ..HouseOptions::new(folder)
    }
}

pub struct Node {
    pub house: Arc<House>,
    pub ground: Ground,
    pub world: Arc<Recorder>,
    pub folder: TempDir,
    /// What `fatal` was called with.
    pub fatal: Arc<Mutex<Vec<Fault>>>,
    messages: AtomicU64,
}

impl Node {
    /// A house on what a folder has.
    pub async fn open(folder: TempDir, with: impl FnOnce(&mut HouseOptions)) -> Self {
        let mut options = options(folder.path());
        with(&mut options);
        let world = Arc::new(Recorder { left: Mutex::default(), house: OnceLock::new(), watch: OnceLock::new() });
        let fatal: Arc<Mutex<Vec<Fault>>> = Arc::default();
        let told = Arc::clone(&fatal);
        let on_fatal: Fatal = Arc::new(move |fault| told.lock().unwrap().push(fault));
        let (ground, standby) = Ground::open(options, Arc::clone(&world) as _, &on_fatal, true).unwrap();
        let house = standby.serve(on_fatal).await.unwrap();
        assert!(world.house.set(Arc::downgrade(&house)).is_ok());
        Self { house, ground, world, folder, fatal, messages: AtomicU64::new(1) }
    }

    /// A new node that knows `definitions`, and whose desk performs `work`, `credit` invocations at once.
    pub async fn found(definitions: &[Text], credit: u32, with: impl FnOnce(&mut HouseOptions)) -> Self {
        let node = Self::open(tempfile::tempdir().unwrap(), with).await;
        node.house.deliver(Input::Directory(directory::Input::Introduce(Own {
            organization: organization(),
            name: "Acme".parse().unwrap(),
            credentials: credentials(),
            subnodes: Vec::new(),
        })));
        for definition in definitions {
            let text = definition.clone();
            node.ask(CLIENT, |asker| Input::Catalogue(catalogue::Input::Define { asker, text })).await.unwrap();
        }
        node.register(DESK, credit).await;
        node
    }

    /// The process is killed now, and starts again.
    pub async fn crash(self, with: impl FnOnce(&mut HouseOptions)) -> Self {
        let folder = copied(self.folder.path());
        // What it still does reaches only the folder that nobody looks at any more.
        let _ = self.house.stop().await;
        Self::open(folder, with).await
    }

    pub fn asker(&self, session: u64) -> Asker {
        Asker { session: SessionId(session), message: self.messages.fetch_add(1, Ordering::Relaxed) }
    }

    /// Everything that left so far.
    pub fn left(&self) -> Vec<Left> {
        self.world.left.lock().unwrap().clone()
    }

    /// Watch what leaves, on the journal's thread.
    pub fn watch(&self, watch: impl Fn(&ToSession) + Send + Sync + 'static) {
        assert!(self.world.watch.set(Box::new(watch)).is_ok(), "a world is watched once");
    }

    /// Wait for something that leaves.
    pub async fn until_left<T>(&self, what: &str, seen: impl Fn(&Left) -> Option<T>) -> T {
        until(what, || self.world.left.lock().unwrap().iter().find_map(&seen)).await
    }

    /// Ask for something, and wait for the acknowledgement or the refusal.
    pub async fn ask(&self, session: u64, input: impl FnOnce(Asker) -> Input) -> Result<Tracking, Fault> {
        let asker = self.asker(session);
        self.house.admit(input(asker))?;
        self.until_left("it is acknowledged", |left| match &left.message {
            ToSession::Acknowledged { message, tracking } if *message == asker.message => Some(Ok(tracking.clone())),
            ToSession::Refused { message, fault } if *message == asker.message => Some(Err(fault.clone())),
            _ => None,
        })
        .await
    }

    async fn say(&self, session: u64, message: FromSession) -> Result<Tracking, Fault> {
        self.ask(session, |asker| from_session(asker, message, TransactionId(0))).await
    }

    pub async fn register(&self, session: u64, credit: u32) {
        let service =
            Service { name: "desk".parse().unwrap(), operations: vec!["work".parse().unwrap()], public: true };
        self.say(session, FromSession::Register { service, credit }).await.unwrap();
    }

    pub fn detach(&self, session: u64) {
        let session = SessionId(session);
        self.house.deliver(Input::Mailbox("desk".parse().unwrap(), mailbox::Input::Detach { session }));
    }

    pub fn submission(id: TransactionId, definition: &str) -> FromSession {
        let document = text(&format!("<Order>{id}</Order>"));
        FromSession::Submit { transaction: Some(id), definition: definition.parse().unwrap(), document }
    }

    /// Submit; gives the word of the acknowledgement.
    pub async fn submit(&self, id: TransactionId, definition: &str) -> Result<String, Fault> {
        let tracking = self.say(CLIENT, Self::submission(id, definition)).await?;
        assert_eq!(tracking.transaction, Some(id));
        Ok(tracking.word.unwrap())
    }

    pub async fn answer(&self, session: u64, invocation: InvocationId) -> Result<Tracking, Fault> {
        let outcome = Outcome::Completed(text("<Done/>"));
        let service = "desk".parse().unwrap();
        self.say(session, FromSession::Answer { invocation, service, outcome }).await
    }

    pub async fn cancel(&self, transaction: TransactionId) -> Result<Tracking, Fault> {
        self.say(CLIENT, FromSession::Cancel { transaction }).await
    }

    pub async fn signal(&self, transaction: TransactionId, name: &str) -> Result<Tracking, Fault> {
        let (signal, document) = (name.parse().unwrap(), text("<Yes/>"));
        self.say(CLIENT, FromSession::Signal { transaction, signal, document }).await
    }

    pub async fn query(&self, transaction: TransactionId) -> Result<Tracking, Fault> {
        self.say(CLIENT, FromSession::Query { transaction }).await
    }

    /// What `session` was asked to perform of `operation` of a transaction.
    pub async fn performed(&self, session: u64, transaction: TransactionId, operation: u32) -> Invocation {
        self.until_left("it is to be performed", |left| match &left.message {
            ToSession::Perform { invocation, .. }
                if left.session == session
                    && invocation.context.transaction == transaction
                    && invocation.context.operation == operation =>
            {
                Some(invocation.clone())
            }
            _ => None,
        })
        .await
    }

    /// The response, for whoever submitted or awaits.
    pub async fn responded(&self, transaction: TransactionId) -> Response {
        self.until_left("it is responded to", |left| match &left.message {
            ToSession::Respond { response, .. } if response.transaction == transaction => Some(response.clone()),
            _ => None,
        })
        .await
    }

    /// The response, asked for once more.
    pub async fn awaited(&self, transaction: TransactionId) -> Response {
        self.say(CLIENT, FromSession::Await { transaction }).await.unwrap();
        self.responded(transaction).await
    }

    /// All transactions, page by page, as a list shows them.
    pub async fn listed(&self, which: Which) -> Vec<TransactionId> {
        let (mut before, mut listed) = (None, Vec::new());
        loop {
            let page = self.house.transactions_before(before, which, 3).await.unwrap();
            listed.extend(page.transactions.iter().map(|(id, _)| *id));
            before = page.next;
            if before.is_none() {
                return listed;
            }
        }
    }

    /// How many transactions are awake.
    pub async fn awake(&self) -> usize {
        use hansa_core::transaction::Instance;
        self.house.look_all::<Instance, _>(|sight| sight.awake().count()).await.into_iter().sum()
    }

    /// Wait until everything is put away.
    pub async fn asleep(&self) {
        let began = Instant::now();
        while self.awake().await > 0 {
            assert!(began.elapsed() < PATIENCE, "transactions are not put away");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
}

/// The id of transaction `number`, made now.
pub fn transaction(number: u64) -> TransactionId {
    let mut random = [0; 16];
    random[8..].copy_from_slice(&number.to_be_bytes());
    TransactionId::new(hansa_actors::clock::now(), random)
}
