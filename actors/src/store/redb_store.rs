//! The store on disk: redb, one file. It decides what becomes of a file that cannot be read: it is moved aside, never
//! deleted, and an empty store takes its place, to be rebuilt from the journal.
//!
//! Commits are two-phase with quick repair, so that opening after a crash takes milliseconds however large the file is,
//! and no bytes that others have shaped can make a torn commit look whole. redb refuses everything after an error of the
//! disk; after a full disk the file is opened again, after any other error the fault stays.

use super::{Change, KeyValue, Position, Store, range};
use crate::journal::disk::is_full;
use hansa_core::{
    code::{Code, Fault},
    moment::Moment,
};
use redb::{
    AccessGuard, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition,
};
use std::{
    fs::{self, File},
    io,
    ops::Bound,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// All kinds in one table: the kind leads the key.
const VALUES: TableDefinition<(u8, &[u8]), &[u8]> = TableDefinition::new("values");
const POSITION: TableDefinition<&str, (u64, u64)> = TableDefinition::new("position");
const POSITION_KEY: &str = "journal";

/// Memory that redb may use for pages.
const CACHE_BYTES: usize = 64 << 20;

/// The look-up store of a node.
#[derive(Debug)]
pub struct RedbStore {
    path: PathBuf,
    /// None while a failed database could not be opened again.
    database: RwLock<Option<Database>>,
    moved_aside: Option<PathBuf>,
}

impl RedbStore {
    /// Opens the store at `path`, or begins one. A file that is no readable store is moved aside; the store is then empty
    /// at [`Position::default`], and [`RedbStore::moved_aside`] says where the old file is.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let (database, moved_aside) = match open_database(path) {
            Ok(database) => (database, None),
            Err(Refusal::Broken(reason)) => {
                let aside = move_aside(path).map_err(|error| failed(path, &error))?;
                tracing::warn!(
                    store = %path.display(), moved_to = %aside.display(), reason,
                    "the look-up store cannot be read and was moved aside; it is rebuilt from the journal"
                );
                (open_database(path).map_err(|refusal| refusal.fault(path))?, Some(aside))
            }
            Err(refusal) => return Err(refusal.fault(path)),
        };
        Ok(Self { path: path.to_owned(), database: RwLock::new(Some(database)), moved_aside })
    }

    /// Where an unreadable file was moved to when this store was opened.
    #[must_use]
    pub fn moved_aside(&self) -> Option<&Path> {
        self.moved_aside.as_deref()
    }

    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, Fault> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| failed(&self.path, &"it could not be opened again"))?;
        let read = database.begin_read().map_err(redb::Error::from).and_then(|transaction| read(&transaction));
        read.map_err(|error| failed(&self.path, &error))
    }

    /// After an error of the disk redb takes nothing more until it is opened again.
    fn reopen(&self) -> Result<(), Fault> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *database = None;
        *database = Some(open_database(&self.path).map_err(|refusal| refusal.fault(&self.path))?);
        Ok(())
    }
}

impl Store for RedbStore {
    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.read(|transaction| {
            let value = transaction.open_table(VALUES)?.get((kind, key))?;
            Ok(value.map(|value| value.value().to_vec()))
        })
    }

    fn scan(&self, kind: u8, from: Bound<&[u8]>, reverse: bool, limit: usize) -> Result<Vec<KeyValue>, Fault> {
        self.read(|transaction| {
            let table = transaction.open_table(VALUES)?;
            let (lower, upper) = range(from, reverse);
            let lower = match lower {
                Bound::Unbounded => Bound::Included((kind, &[][..])),
                bound => bound.map(|key| (kind, key)),
            };
            let upper = match (upper, kind.checked_add(1)) {
                (Bound::Unbounded, Some(next)) => Bound::Excluded((next, &[][..])),
                (Bound::Unbounded, None) => Bound::Unbounded,
                (bound, _) => bound.map(|key| (kind, key)),
            };
            let found = table.range::<(u8, &[u8])>((lower, upper))?;
            if reverse {
                found.rev().take(limit).map(copied).collect()
            } else {
                found.take(limit).map(copied).collect()
            }
        })
    }

    fn commit(&self, changes: &[Change], position: Position) -> Result<(), Fault> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.reopen()?;
        }
        let outcome = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            let database = database.as_ref().ok_or_else(|| failed(&self.path, &"it could not be opened again"))?;
            write(database, changes, position)
        };
        outcome.map_err(|error| match &error {
            redb::Error::Io(io) if is_full(io) => {
                if let Err(still) = self.reopen() {
                    tracing::warn!(fault = %still, "the look-up store waits for room on the disk");
                }
                let message = format!("the disk has no room for the look-up store {}: {io}", self.path.display());
                Fault::new(Code::DiskFull, message)
            }
            _ => failed(&self.path, &error),
        })
    }

    fn position(&self) -> Result<Position, Fault> {
        self.read(|transaction| {
            let position = transaction.open_table(POSITION)?.get(POSITION_KEY)?.map(|position| position.value());
            Ok(position.map_or_else(Position::default, |(resume_from, applied)| Position { resume_from, applied }))
        })
    }
}

/// A row of the table as redb lends it.
type Row<'a> = (AccessGuard<'a, (u8, &'static [u8])>, AccessGuard<'a, &'static [u8]>);

fn copied(row: Result<Row<'_>, StorageError>) -> Result<KeyValue, redb::Error> {
    let (key, value) = row?;
    Ok((key.value().1.to_vec(), value.value().to_vec()))
}

fn write(database: &Database, changes: &[Change], position: Position) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    {
        let mut values = transaction.open_table(VALUES)?;
        for Change { kind, key, value } in changes {
            match value {
                Some(value) => values.insert((*kind, key.as_slice()), value.as_slice())?,
                None => values.remove((*kind, key.as_slice()))?,
            };
        }
        transaction.open_table(POSITION)?.insert(POSITION_KEY, (position.resume_from, position.applied))?;
    }
    transaction.commit()?;
    Ok(())
}

/// Why a file did not become a store.
enum Refusal {
    /// It is none, or a damaged one.
    Broken(String),
    /// Somebody else has it.
    InUse,
    /// Something else is wrong, and the file may be whole.
    Failed(redb::Error),
}

impl Refusal {
    fn fault(self, path: &Path) -> Fault {
        match self {
            Self::Broken(reason) => failed(path, &reason),
            Self::InUse => Fault::new(Code::DataInUse, format!("another process has opened {}", path.display())),
            Self::Failed(error) => failed(path, &error),
        }
    }
}

impl From<redb::Error> for Refusal {
    fn from(error: redb::Error) -> Self {
        use redb::Error;
        match error {
            Error::DatabaseAlreadyOpen => Self::InUse,
            Error::Corrupted(_)
            | Error::RepairAborted
            | Error::UpgradeRequired(_)
            | Error::TableTypeMismatch { .. }
            | Error::TypeDefinitionChanged { .. }
            | Error::TableIsMultimap(_)
            | Error::TableDoesNotExist(_) => Self::Broken(error.to_string()),
            Error::Io(ref io) if matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                Self::Broken(error.to_string())
            }
            _ => Self::Failed(error),
        }
    }
}

/// Opens or begins a database, repairs it if need be, and reads from it once.
fn open_database(path: &Path) -> Result<Database, Refusal> {
    let attempt = panic::catch_unwind(AssertUnwindSafe(|| {
        let is_new = fs::metadata(path).map_or(true, |metadata| metadata.len() == 0);
        let mut repaired = false;
        let mut database = create(path, &mut repaired)?;
        if repaired {
            // Opened once more: what a repair has seen of the file is not to be trusted.
            drop(database);
            database = create(path, &mut false)?;
        }
        if is_new {
            write(&database, &[], Position::default())?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(parent).and_then(|folder| folder.sync_all()).map_err(redb::Error::Io)?;
        }
        let transaction = database.begin_read()?;
        transaction.open_table(VALUES)?.first()?;
        transaction.open_table(POSITION)?.get(POSITION_KEY)?;
        drop(transaction);
        Ok(database)
    }));
    match attempt {
        Ok(opened) => opened.map_err(|error: redb::Error| error.into()),
        // redb checks more than it reports; bytes from a disk must not end the process.
        Err(_) => Err(Refusal::Broken("its content contradicts itself".into())),
    }
}

fn create(path: &Path, repaired: &mut bool) -> Result<Database, DatabaseError> {
    let seen = Arc::new(AtomicBool::new(false));
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_repair_callback({
        let seen = Arc::clone(&seen);
        move |_| seen.store(true, Ordering::Relaxed)
    });
    let database = builder.create(path)?;
    *repaired = seen.load(Ordering::Relaxed);
    Ok(database)
}

fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let mut aside = path.as_os_str().to_owned();
    // Colons are no part of a file's name everywhere.
    aside.push(format!(".broken-{}", Moment(now).to_string().replace(':', "-")));
    let aside = PathBuf::from(aside);
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn failed(path: &Path, error: &dyn ToString) -> Fault {
    Fault::new(Code::StoreFailed, format!("the look-up store {} cannot be used: {}", path.display(), error.to_string()))
}
