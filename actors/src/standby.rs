//! A house that does not serve: journal and store of a sub-node, and machines that take in what counts, so that they can begin to
//! serve at once (M2). It decides when what they took in goes to the store. The node's start makes one, serves with it, and makes
//! another when the other sub-node of the pair serves; whether and when that is, it must not know.

use crate::{
    clock,
    common::{Common, Gate},
    gathering::{Fate, Gathering, Story},
    house::{House, HouseOptions, World},
    journal::{self, Entry, Journal, JournalOptions, disk::Disk},
    poison::{self, Outcome},
    recovery::{Recovery, Taken},
    shard::Slot,
    snapshot::{Reading, Received, Snapshot, Writing},
    store::{Position, RedbStore, Store as _, WriteBehind},
    supervisor::{Fatal, Supervisor},
};
use hansa_core::{
    access::{Access, Accounts},
    address::{KeyBytes as _, Kind},
    code::{Code, Fault},
    directory::Directory,
    dispatch::{Housed, Outward},
    ident::TransactionId,
    machine::Machine,
    membership::Membership,
    mirror::History,
    moment::Moment,
};
use ractor::Actor as _;
use std::{
    collections::HashMap,
    fs::File,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// The file that is there while a snapshot is put in place.
const INSTALLING: &str = "installing";
/// Bytes of entries that are read at once to take them in.
const TAKEN_BYTES_MAX: usize = 256 << 10;
/// Entries after which it is looked whether a checkpoint is due.
const TAKEN_ENTRIES_MAX: u64 = 1_000;
/// Entries after which what was taken in goes to the store.
const CHECKPOINT_ENTRIES: u64 = 100_000;
/// The longest pause between two checkpoints while anything is taken in.
const PAUSE: Duration = Duration::from_secs(30);
/// The first comes sooner if so many were taken in: those that the store had not when this began to follow, and that would have to be
/// taken in again, before it can serve, if it began anew soon.
const FIRST_ENTRIES: u64 = 1_000;
/// How soon.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

pub use crate::poison::Poison;

/// Journal and store of a sub-node: what stays whether it serves or not.
pub struct Ground {
    options: HouseOptions,
    journal: Arc<Journal<Outward>>,
    store: Arc<RedbStore>,
    committing: Arc<Committing>,
}

/// See above.
pub struct Standby {
    common: Arc<Common>,
    options: HouseOptions,
    recovery: Recovery,
    /// What was taken in and not read yet.
    gathering: Gathering,
    /// What the journal had of the members when it was opened, whether that counts or not: whoever says what counts must be found before.
    heard: Recovery,
    /// The last entry that was taken in.
    taken: u64,
    /// When the last one was written, by the clock of whoever serves.
    moment: Moment,
    /// The entry behind that, if it cannot be.
    poison: Option<Poison>,
    checkpoint: (u64, Instant),
    is_first: bool,
    committing: Arc<Committing>,
    /// Who may attach, as it was behind this entry of theirs.
    accounts: Option<(u64, Accounts)>,
    /// Bytes that were taken in since.
    grown_bytes: u64,
}

/// What a checkpoint has for the store is on its way there, on a thread of its own: one who is to serve must not wait for that.
#[derive(Default)]
struct Committing(Mutex<Option<JoinHandle<()>>>);

impl Committing {
    fn begin(&self, work: impl FnOnce() + Send + 'static) -> Result<(), Fault> {
        self.wait();
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(work);
        let thread =
            thread.map_err(|error| Fault::new(Code::Internal, format!("no thread can be started: {error}")))?;
        *self.lock() = Some(thread);
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.lock().as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn wait(&self) {
        let thread = self.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a checkpoint ended in a panic; the journal still has everything");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ground {
    /// Open journal and store. With `counts_alone` everything in the journal counts, and is taken in at once: so it is without a pair.
    /// Else what counts is told later, see [`Standby::take_through`].
    ///
    /// # Errors
    /// What is wrong with journal or store, and what to do about it.
    pub fn open(
        options: HouseOptions,
        world: Arc<dyn World>,
        fatal: &Fatal,
        counts_alone: bool,
    ) -> Result<(Self, Standby), Fault> {
        empty_half_installed(&options.folder)?;
        let journal_options = JournalOptions {
            segment_bytes: options.segment_bytes,
            epoch: options.epoch,
            ..JournalOptions::new(options.folder.join("journal"))
        };
        let disk = journal::folder_disk(&journal_options.folder)?;
        Self::open_on(disk, journal_options, options, world, fatal, counts_alone)
    }

    /// The same with the journal on any disk.
    ///
    /// # Errors
    /// As [`Ground::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        journal_options: JournalOptions,
        options: HouseOptions,
        world: Arc<dyn World>,
        fatal: &Fatal,
        counts_alone: bool,
    ) -> Result<(Self, Standby), Fault> {
        let store = Arc::new(RedbStore::open(&options.folder.join("lookup.redb"))?);
        let epoch_alone = journal_options.epoch;
        let position = store.position();
        let on_fatal = Arc::clone(fatal);
        let reading = WriteBehind::new(Box::new(Arc::clone(&store)));
        let (mut recovery, mut heard) = (Recovery::default(), Recovery::default());
        let journal = Journal::open_on(
            disk,
            journal_options,
            Gate(world),
            Box::new(move |fault| on_fatal(fault)),
            position.applied + 1,
            &mut |entry: Entry| match (counts_alone, is_of_members(&entry)) {
                (true, _) => recovery.take(&reading, Taken::from(&entry)),
                (false, true) => hear(&mut heard, &reading, &entry),
                (false, false) => Ok(()),
            },
        )?;
        if counts_alone && journal.history().tail().epoch > epoch_alone {
            let message = format!(
                "the journal in {} is that of a sub-node of a pair, and what this sub-node remembers of the pair is gone",
                options.folder.display()
            );
            return Err(Fault::new(Code::PairNotReady, message).help(
                "Put the folder `duty` back beside the journal. If it is lost, let this sub-node join its pair anew in an empty data folder.",
            ));
        }
        let ground = Self { options, journal: Arc::new(journal), store, committing: Arc::default() };
        let mut standby = ground.standby()?;
        if counts_alone {
            standby.taken = ground.journal.tail();
        }
        (standby.recovery, standby.heard) = (recovery, heard);
        Ok((ground, standby))
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Arc<Journal<Outward>> {
        &self.journal
    }

    /// Whether neither journal nor store has anything.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.journal.tail() == 0 && self.store.position().applied == 0
    }

    /// Machines as the store has them, when the last checkpoint has reached it. The house that served before must be gone, see
    /// [`House::leave`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn standby(&self) -> Result<Standby, Fault> {
        self.wait_for_checkpoint();
        let common = Common::new(Arc::clone(&self.journal), Arc::clone(&self.store), self.options.loader.clone());
        let taken = self.store.position().applied;
        Ok(Standby {
            gathering: Gathering::new(&common.store)?,
            common,
            options: self.options.clone(),
            recovery: Recovery::default(),
            heard: Recovery::default(),
            taken,
            moment: Moment(0),
            poison: None,
            checkpoint: (taken, Instant::now()),
            is_first: true,
            committing: Arc::clone(&self.committing),
            accounts: None,
            grown_bytes: 0,
        })
    }

    /// Write all machines as the last checkpoint has them into this file, for a sub-node that needs more than the journal keeps; give
    /// what log they reflect, too. The journal keeps what is behind that until it is told otherwise, see [`Journal::keep_from`]: for
    /// the other sub-node will want it. Work goes on meanwhile. Blocks.
    ///
    /// # Errors
    /// Store or journal cannot be read, or the file cannot be written.
    pub fn snapshot(&self, path: &Path) -> Result<Snapshot, Fault> {
        self.journal.keep_from(Some(self.store.position().applied + 1));
        let mut writing = Writing::begin(path)?;
        let position = self.store.export(|key, value| writing.put(key, value))?;
        let label = writing.finish()?;
        let mut history = self.journal.history();
        match self.journal.position(position.applied)? {
            Some(reflected) => history.cut(reflected),
            None => {
                let message = format!("entry {} is not kept any more, so no snapshot can be made", position.applied);
                return Err(Fault::new(Code::JournalFailed, message));
            }
        }
        Ok(Snapshot { history, label })
    }

    /// Put a snapshot in the place of journal and store. A crash in the middle leaves a disk that counts as empty. Blocks.
    ///
    /// # Errors
    /// The snapshot is none, or the disk: what is left counts as empty, too, and nothing may go on from it.
    pub fn install(&self, history: &History, snapshot: &Received) -> Result<(), Fault> {
        let mut reading = Reading::begin(snapshot)?;
        let marker = self.options.folder.join(INSTALLING);
        self.wait_for_checkpoint();
        mark(&marker).map_err(|error| disk_fault(&marker, &error))?;
        self.journal.install(history)?;
        self.store.replace(Position { applied: history.tail().sequence }, || reading.next())?;
        std::fs::remove_file(&marker).map_err(|error| disk_fault(&marker, &error))
    }

    /// Make everything durable and close the journal. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub fn close(&self) -> Result<(), Fault> {
        self.wait_for_checkpoint();
        self.journal.close()
    }

    /// It may take its time no longer.
    fn wait_for_checkpoint(&self) {
        self.store.hurry();
        self.committing.wait();
    }
}

impl Standby {
    /// The last entry that its machines took in.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The first entry that its machines cannot take in: it stays in the log, and nothing behind it is taken in here. A new standby,
    /// of a process that can, begins with it.
    #[must_use]
    pub fn poison(&self) -> Option<&Poison> {
        self.poison.as_ref()
    }

    /// Take in what counts, at most up to here, as far as the journal has it and there is no [`Standby::poison`]. Reads the journal,
    /// and blocks.
    ///
    /// # Errors
    /// An entry is not kept any more, or the disk.
    pub fn take_through(&mut self, through: u64) -> Result<(), Fault> {
        while self.taken < through && self.poison.is_none() {
            let entries = self.common.journal.entries(self.taken, through, TAKEN_BYTES_MAX)?;
            if entries.is_empty() {
                break;
            }
            for entry in &entries {
                let (sequence, address, record) = (entry.position.sequence, &entry.address[..], &entry.record[..]);
                self.grown_bytes += (address.len() + record.len()) as u64;
                let transactions = &self.recovery.transactions;
                let read = match self.gathering.take(entry, |id| transactions.contains_key(id)) {
                    Fate::Gathered => None,
                    Fate::Ended(id, story) => {
                        self.common.keep_told(&id, &story);
                        None
                    }
                    Fate::Read(story) => {
                        let before = told(&story, address);
                        self.read(before.chain([Taken { sequence, address, record }]))?
                    }
                };
                if let Some(poison) = read {
                    return self.set_aside(poison);
                }
                (self.taken, self.moment) = (sequence, entry.moment);
                self.recovery.put_away_ended(&self.common, address);
            }
            let moment = self.moment;
            self.read_gathered(|gathering| gathering.next_old(moment))?;
        }
        Ok(())
    }

    /// Let machines take in entries of one of them, up to the first that it cannot.
    fn read<'a>(&mut self, entries: impl Iterator<Item = Taken<'a>>) -> Result<Option<Poison>, Fault> {
        for entry in entries {
            if let Outcome::Poisoned(poison) = poison::take(&mut self.recovery, &self.common.store, entry)? {
                return Ok(Some(poison));
            }
        }
        Ok(None)
    }

    /// The same for what was gathered of some transactions. Behind an entry that cannot be taken in nothing is, but what is before it and
    /// was gathered anew is read as well.
    fn read_gathered(
        &mut self,
        mut next: impl FnMut(&mut Gathering) -> Option<(TransactionId, Story)>,
    ) -> Result<(), Fault> {
        while let Some((id, story)) = next(&mut self.gathering) {
            let address = Kind::Transaction.address(&id);
            if let Some(poison) = self.read(told(&story, &address))? {
                self.set_aside(poison)?;
            }
        }
        Ok(())
    }

    /// Stop before an entry: its machine may have taken in half of it, so all begin again from the store.
    fn set_aside(&mut self, poison: Poison) -> Result<(), Fault> {
        tracing::error!(entry = poison.sequence, code = %poison.fault.code, "set aside: {}", poison.fault.message);
        (self.recovery, self.accounts) = (Recovery::default(), None);
        self.gathering.clear();
        // One that is found later is earlier: it was gathered before.
        self.poison = None;
        self.taken = self.common.behind.load(Ordering::Acquire);
        self.take_through(poison.sequence - 1)?;
        // One before it may be the next one, now.
        self.poison.get_or_insert(poison);
        Ok(())
    }

    /// The same for what is known to count and goes to the store on the way, so that memory does not grow with it, however much a
    /// follower has to catch up with.
    ///
    /// # Errors
    /// As [`Self::take_through`], or the store cannot be written.
    pub fn take_counting(&mut self, through: u64) -> Result<(), Fault> {
        while self.taken < through {
            let (taken, next) = (self.taken, through.min(self.taken + TAKEN_ENTRIES_MAX));
            self.take_through(next)?;
            if self.is_checkpoint_due(Instant::now()) {
                self.checkpoint()?;
            }
            if self.taken == taken {
                break;
            }
        }
        Ok(())
    }

    /// Whether [`Standby::checkpoint`] is due.
    #[must_use]
    pub fn is_checkpoint_due(&self, now: Instant) -> bool {
        let (grown, since) = (self.taken - self.checkpoint.0, now.saturating_duration_since(self.checkpoint.1));
        let is_first_due = self.is_first && grown >= FIRST_ENTRIES && since >= FIRST_PAUSE;
        let is_much = grown >= CHECKPOINT_ENTRIES || self.grown_bytes >= self.options.checkpoint_bytes;
        let is_due = is_much || is_first_due || (grown > 0 && since >= PAUSE);
        is_due && self.committing.is_over()
    }

    /// Begin to write to the store what was taken in, and to let the journal go that is behind it and not kept for those who look
    /// back. Blocks, but not for the disk: that goes on beside whatever comes next. If it fails, the journal still has everything, and
    /// the next checkpoint tries it again.
    ///
    /// # Errors
    /// No thread can be started, or the store cannot be read.
    pub fn checkpoint(&mut self) -> Result<(), Fault> {
        self.read_gathered(Gathering::next)?;
        let Self { common, recovery, .. } = self;
        put_away(common, &mut recovery.transactions);
        // These are never put away: they stay here as well.
        keep(common, &mut recovery.links);
        keep(common, &mut recovery.directory);
        keep(common, &mut recovery.catalogue);
        keep(common, &mut recovery.membership);
        keep(common, &mut recovery.topics);
        keep(common, &mut recovery.access);
        let (common, applied) = (Arc::clone(common), self.taken);
        // What ended long ago is gone here no sooner than on the active, if both keep it as long: a clock that is ahead purges nothing.
        let now = clock::now().min(self.moment);
        let (keep_ms, keep_bytes) = (self.options.finished_keep_ms, self.options.journal_keep_bytes);
        let (settled, is_settled) = mpsc::channel();
        self.committing.begin(move || {
            let settle = move || {
                // Nobody who has given up waiting needs to know.
                let _ = settled.send(());
                Ok(())
            };
            let committed = common.store.flush_when(Position { applied }, settle).and_then(|()| {
                common.behind.fetch_max(applied, Ordering::AcqRel);
                common.journal.truncate_before(applied + 1, keep_bytes)?;
                common.purge(now, keep_ms)
            });
            if let Err(fault) = committed {
                tracing::error!(%fault, "no checkpoint could be made; it is tried again");
            }
        })?;
        // What is changed after this, by a house that serves, is not of this position. An error says that there was nothing to settle.
        let _ = is_settled.recv();
        (self.checkpoint, self.grown_bytes) = ((self.taken, Instant::now()), 0);
        self.is_first = false;
        Ok(())
    }

    /// The directory as it is here: where members can be reached. It may know more than counts.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn directory(&self) -> Result<Directory, Fault> {
        let latest = later(self.recovery.directory.get(&()), self.heard.directory.get(&()));
        self.or_stored(latest)
    }

    /// What federation this node is of, as far as it is known here. It may know more than counts.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn membership(&self) -> Result<Membership, Fault> {
        let latest = later(self.recovery.membership.get(&()), self.heard.membership.get(&()));
        self.or_stored(latest)
    }

    /// Who may attach here, so that those who administer can be let in while this sub-node follows.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn accounts(&mut self) -> Result<Accounts, Fault> {
        let slot = self.recovery.access.get(&());
        let applied = slot.map_or(0, |slot| slot.applied);
        if let Some((at, accounts)) = &self.accounts
            && *at == applied
        {
            return Ok(accounts.clone());
        }
        let accounts = self.or_stored::<Access>(slot.map(|slot| slot.machine.clone()))?.picture();
        self.accounts = Some((applied, accounts.clone()));
        Ok(accounts)
    }

    fn or_stored<M: Housed + Machine<Key = ()>>(&self, taken: Option<M>) -> Result<M, Fault> {
        if let Some(machine) = taken {
            return Ok(machine);
        }
        let stored = self.common.stored::<M>(&().to_bytes())?;
        Ok(stored.map_or_else(|| M::new(&()), |slot| slot.machine))
    }

    /// Take in all of the log, for this sub-node is to go on from there. Says whether it may: not if it has to follow again meanwhile,
    /// and then nothing of this is of use any more. Blocks.
    ///
    /// # Errors
    /// The disk, or an entry cannot be read.
    pub fn accede(&mut self) -> Result<bool, Fault> {
        let journal = Arc::clone(&self.common.journal);
        let Some(reign) = journal.reign() else { return Ok(false) };
        let tail = journal.tail();
        let taken = journal.wait_durable(tail).and_then(|()| self.take_through(tail));
        if journal.reign() != Some(reign) {
            return Ok(false);
        }
        taken?;
        self.read_gathered(Gathering::next)?;
        self.common.begin_reign(reign);
        Ok(true)
    }

    /// Start the shards with what was taken in. `fatal` is called when going on would be unsafe.
    ///
    /// # Errors
    /// The store cannot be read, or a shard does not start.
    pub async fn serve(mut self, fatal: Fatal) -> Result<Arc<House>, Fault> {
        self.read_gathered(Gathering::next)?;
        if let Some(Poison { fault, .. }) = self.poison {
            return Err(
                fault.help("this sub-node cannot serve with that entry: start it with a version that can take it in")
            );
        }
        let (supervisor, _) = Supervisor::spawn(None, Supervisor, Arc::clone(&fatal))
            .await
            .map_err(|error| Fault::new(Code::Internal, format!("the supervisor did not start: {error}")))?;
        let populated = House::populate(self.common, self.options, supervisor.clone(), self.recovery, fatal).await;
        if populated.is_err() {
            supervisor.stop_children(None);
            supervisor.stop(None);
        }
        populated
    }
}

/// The entries of a transaction that was gathered, to be taken in.
fn told<'a>(story: &'a Story, address: &'a [u8]) -> impl Iterator<Item = Taken<'a>> {
    story.iter().map(move |(sequence, record)| Taken { sequence: *sequence, address, record })
}

fn hear(heard: &mut Recovery, store: &WriteBehind, entry: &Entry) -> Result<(), Fault> {
    if let Outcome::Poisoned(_) = poison::take(heard, store, Taken::from(entry))? {
        // Whether it counts is not known yet; if it does, it is set aside then.
        *heard = Recovery::default();
    }
    Ok(())
}

/// Whether it tells who the members are, and where: papers that prove themselves, and addresses that are tried.
fn is_of_members(entry: &Entry) -> bool {
    let kind = entry.address.first().copied().and_then(Kind::numbered);
    matches!(kind, Some(Kind::Directory | Kind::Membership))
}

fn later<M: Housed>(taken: Option<&Slot<M>>, heard: Option<&Slot<M>>) -> Option<M> {
    let latest = taken.into_iter().chain(heard).max_by_key(|slot| slot.applied);
    latest.map(|slot| slot.machine.clone())
}

/// A snapshot that was not put in place wholly has left nothing that could be gone on from.
fn empty_half_installed(folder: &Path) -> Result<(), Fault> {
    let marker = folder.join(INSTALLING);
    if !marker.exists() {
        return Ok(());
    }
    tracing::warn!(folder = %folder.display(), "a snapshot was not put in place wholly: journal and store begin empty");
    let (journal, store) = (folder.join("journal"), folder.join("lookup.redb"));
    let gone = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    gone(std::fs::remove_dir_all(&journal)).map_err(|error| disk_fault(&journal, &error))?;
    gone(std::fs::remove_file(&store)).map_err(|error| disk_fault(&store, &error))?;
    std::fs::remove_file(&marker).map_err(|error| disk_fault(&marker, &error))
}

/// Make a file that is there after a crash, too.
fn mark(path: &Path) -> std::io::Result<()> {
    File::create(path)?.sync_all()?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn disk_fault(path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(Code::JournalFailed, format!("{} cannot be changed: {error}", path.display()))
}

fn keep<M: Housed>(common: &Common, machines: &mut HashMap<M::Key, Slot<M>>) {
    for (key, slot) in machines.iter_mut().filter(|(_, slot)| slot.changed) {
        slot.changed = false;
        common.keep(key, slot);
    }
}

fn put_away<M: Housed>(common: &Common, machines: &mut HashMap<M::Key, Slot<M>>) {
    keep(common, machines);
    machines.clear();
    machines.shrink_to_fit();
}
