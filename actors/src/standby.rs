//! A house that does not serve: journal and store of a sub-node, and machines that take in what counts, so that they can begin to
//! serve at once (M2). It decides when what they took in goes to the store. The node's start makes one, serves with it, and makes
//! another when the other sub-node of the pair serves; whether and when that is, it must not know.

use crate::{
    clock,
    common::{Common, Gate},
    house::{House, HouseOptions, World},
    journal::{Entry, Journal, JournalOptions},
    recovery::{Recovery, Taken},
    shard::Slot,
    store::{Position, RedbStore, Store as _},
    supervisor::{Fatal, Supervisor},
};
use hansa_core::{
    code::{Code, Fault},
    directory::Directory,
    dispatch::{Housed, Outward},
    machine::Machine,
    membership::Membership,
    mirror::History,
};
use ractor::Actor as _;
use serde_bytes::ByteBuf;
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// The file that is there while a snapshot is put in place.
const INSTALLING: &str = "installing";
/// Bytes of entries that are read at once to take them in.
const TAKEN_BYTES_MAX: usize = 4 << 20;
/// Entries after which it is looked whether a checkpoint is due.
const TAKEN_ENTRIES_MAX: u64 = 1_000;
/// Entries after which what was taken in goes to the store.
const CHECKPOINT_ENTRIES: u64 = 100_000;
/// The longest pause between two checkpoints while anything is taken in.
const PAUSE: Duration = Duration::from_secs(30);

/// Journal and store of a sub-node: what stays whether it serves or not.
pub struct Ground {
    options: HouseOptions,
    journal: Arc<Journal<Outward>>,
    store: Arc<RedbStore>,
}

/// See above.
pub struct Standby {
    common: Arc<Common>,
    options: HouseOptions,
    recovery: Recovery,
    /// What the log says of the federation, whether it counts or not: without it nobody would be found who says what counts.
    hearsay: Recovery,
    /// The last entry that was taken in.
    taken: u64,
    checkpoint: (u64, Instant),
    /// Bytes that were taken in since.
    grown_bytes: u64,
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
        let store = Arc::new(RedbStore::open(&options.folder.join("lookup.redb"))?);
        let position = store.position();
        let journal_options = JournalOptions {
            segment_bytes: options.segment_bytes,
            ..JournalOptions::new(options.folder.join("journal"))
        };
        let on_fatal = Arc::clone(fatal);
        let (mut recovery, mut hearsay) = (Recovery::default(), Recovery::default());
        let reading = crate::store::WriteBehind::new(Box::new(Arc::clone(&store)));
        let journal = Journal::open(
            journal_options,
            Gate(world),
            Box::new(move |fault| on_fatal(fault)),
            position.applied + 1,
            &mut |entry: Entry| match counts_alone {
                true => recovery.take(&reading, Taken::from(&entry)),
                false if Recovery::is_of_federation(&entry) => hearsay.take(&reading, Taken::from(&entry)),
                false => Ok(()),
            },
        )?;
        if counts_alone && journal.history().tail().epoch > 1 {
            let message = format!(
                "the journal in {} is that of a sub-node of a pair, and what this sub-node remembers of the pair is gone",
                options.folder.display()
            );
            return Err(Fault::new(Code::PairNotReady, message).help(
                "Put the folder `duty` back beside the journal. If it is lost, let this sub-node join its pair anew in an empty data folder.",
            ));
        }
        let ground = Self { options, journal: Arc::new(journal), store };
        let mut standby = ground.standby();
        if counts_alone {
            standby.taken = ground.journal.tail();
        }
        (standby.recovery, standby.hearsay) = (recovery, hearsay);
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

    /// Machines as the store has them. The house that served before must be gone, see [`House::leave`].
    #[must_use]
    pub fn standby(&self) -> Standby {
        let common = Common::new(Arc::clone(&self.journal), Arc::clone(&self.store), self.options.loader.clone());
        let taken = self.store.position().applied;
        Standby {
            common,
            options: self.options.clone(),
            recovery: Recovery::default(),
            hearsay: Recovery::default(),
            taken,
            checkpoint: (taken, Instant::now()),
            grown_bytes: 0,
        }
    }

    /// All machines as the last checkpoint has them, for a sub-node that needs more than the journal keeps; and what log they reflect.
    /// Blocks.
    ///
    /// # Errors
    /// Store or journal cannot be read.
    pub fn snapshot(&self) -> Result<(History, Vec<u8>), Fault> {
        let (position, page) = self.store.export()?;
        let mut history = self.journal.history();
        match self.journal.position(position.applied)? {
            Some(reflected) => history.cut(reflected),
            None => {
                let message = format!("entry {} is not kept any more, so no snapshot can be made", position.applied);
                return Err(Fault::new(Code::JournalFailed, message));
            }
        }
        let page: Vec<_> = page.into_iter().map(|(key, value)| (ByteBuf::from(key), ByteBuf::from(value))).collect();
        let mut state = Vec::new();
        ciborium::into_writer(&page, &mut state).expect("encoding into memory cannot fail");
        Ok((history, state))
    }

    /// Put a snapshot in the place of journal and store. A crash in the middle leaves a disk that counts as empty. Blocks.
    ///
    /// # Errors
    /// The snapshot is none, or the disk.
    pub fn install(&self, history: &History, state: &[u8]) -> Result<(), Fault> {
        let page: Vec<(ByteBuf, ByteBuf)> = ciborium::from_reader(state)
            .map_err(|error| Fault::new(Code::FrameRefused, format!("a snapshot cannot be read: {error}")))?;
        let page = page.into_iter().map(|(key, value)| (key.into_vec(), value.into_vec())).collect();
        let marker = self.options.folder.join(INSTALLING);
        std::fs::write(&marker, "").map_err(|error| disk_fault(&marker, &error))?;
        self.journal.install(history)?;
        self.store.replace(&page, Position { applied: history.tail().sequence })?;
        std::fs::remove_file(&marker).map_err(|error| disk_fault(&marker, &error))
    }

    /// Make everything durable and close the journal. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub fn close(&self) -> Result<(), Fault> {
        self.journal.close()
    }
}

impl Standby {
    /// The last entry that its machines took in.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Take in what counts, at most up to here, as far as the journal has it. Reads the journal, and blocks.
    ///
    /// # Errors
    /// An entry is not kept any more, or cannot be read.
    pub fn take_through(&mut self, through: u64) -> Result<(), Fault> {
        while self.taken < through {
            let entries = self.common.journal.entries(self.taken, through, TAKEN_BYTES_MAX)?;
            let Some(last) = entries.last() else { break };
            let last = last.position.sequence;
            for entry in &entries {
                let (address, record) = (&entry.address[..], &entry.record[..]);
                let taken = Taken { sequence: entry.position.sequence, address, record };
                self.recovery.take(&self.common.store, taken)?;
                self.grown_bytes += (address.len() + record.len()) as u64;
            }
            self.taken = last;
        }
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
            if self.is_checkpoint_due() {
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
    pub fn is_checkpoint_due(&self) -> bool {
        let grown = self.taken - self.checkpoint.0;
        let is_much = grown >= CHECKPOINT_ENTRIES || self.grown_bytes >= self.options.checkpoint_bytes;
        is_much || (grown > 0 && self.checkpoint.1.elapsed() >= PAUSE)
    }

    /// Write to the store what was taken in, and let the journal go that is behind it and not kept for those who look back. Blocks.
    ///
    /// # Errors
    /// Journal or store failed; the journal still has everything.
    pub fn checkpoint(&mut self) -> Result<(), Fault> {
        let Self { common, recovery, .. } = self;
        put_away(common, &mut recovery.transactions);
        // These are never put away: they stay here as well.
        keep(common, &mut recovery.links);
        keep(common, &mut recovery.directory);
        keep(common, &mut recovery.catalogue);
        keep(common, &mut recovery.membership);
        keep(common, &mut recovery.topics);
        keep(common, &mut recovery.access);
        common.purge(clock::now(), self.options.finished_keep_ms)?;
        common.store.flush(Position { applied: self.taken })?;
        common.behind.store(self.taken, Ordering::Release);
        common.journal.truncate_before(self.taken + 1, self.options.journal_keep_bytes)?;
        (self.checkpoint, self.grown_bytes) = ((self.taken, Instant::now()), 0);
        Ok(())
    }

    /// The directory as it is here: where members can be reached. After a start it may be ahead of what counts.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn directory(&self) -> Result<Directory, Fault> {
        let taken = self.recovery.directory.get(&()).or_else(|| self.hearsay.directory.get(&()));
        let taken = taken.map(|slot| slot.machine.clone());
        self.or_stored(taken)
    }

    /// What federation this node is of, as far as it is known here. After a start it may be ahead of what counts.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn membership(&self) -> Result<Membership, Fault> {
        let taken = self.recovery.membership.get(&()).or_else(|| self.hearsay.membership.get(&()));
        let taken = taken.map(|slot| slot.machine.clone());
        self.or_stored(taken)
    }

    fn or_stored<M: Housed + Machine<Key = ()>>(&self, taken: Option<M>) -> Result<M, Fault> {
        use hansa_core::address::KeyBytes as _;
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
        self.common.begin_reign(reign);
        Ok(true)
    }

    /// Start the shards with what was taken in. `fatal` is called when going on would be unsafe.
    ///
    /// # Errors
    /// The store cannot be read, or a shard does not start.
    pub async fn serve(self, fatal: Fatal) -> Result<Arc<House>, Fault> {
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
