//! The store in one file, by redb. It decides how the file is laid out, what happens to one that is damaged, and how
//! faults of the disk are told. The house opens it, [`WriteBehind`](super::WriteBehind) uses it.
//!
//! Two tables: `entries` from the kind's byte followed by the key to the value, `meta` with the number of this layout and
//! the position. Commits are durable and leave what the next opening needs (redb: quick-repair, and with it two-phase),
//! so opening after a crash takes no longer than otherwise.
//!
//! The store is made from the journal, so a damaged file is no loss as long as the journal reaches back to its
//! beginning: it is moved aside and an empty one, whose position is 0, takes its place. Whether the journal reaches
//! back is for the journal to say. That happens only when the store is opened; under a running node an empty store
//! would be wrong, for memory no longer has what it lost.

use super::{
    Changes, Page, Position, Row, Store,
    leisure::{Leisure, LeisurelyFile},
};
use hansa_core::code::{Code, Fault};
use redb::{
    Builder, Database, DatabaseError, Error, ReadableDatabase, StorageBackend, StorageError, TableDefinition,
    backends::FileBackend,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read},
    ops::Bound,
    os::unix::fs::OpenOptionsExt,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

const ENTRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const META_FORMAT: &str = "format";
const META_APPLIED: &str = "applied";
/// The number of the layout that this file describes.
const FORMAT: u64 = 1;
/// The newest layout of its own that redb reads.
const REDB_FORMAT: u8 = 3;
/// Pages of the file that are kept in memory; redb's own choice would be 1 GiB.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of entries that are put in the place of others at once.
const REPLACED_BYTES: usize = 16 * 1024 * 1024;
/// How many damaged files are left lying beside the store.
const BROKEN_MAX: usize = 1_000;

/// Makes what redb writes to of a file; tests put a failing disk between.
type Opening = dyn Fn(File) -> Result<Box<dyn StorageBackend>, DatabaseError> + Send + Sync;

/// A store in one file.
pub struct RedbStore {
    path: PathBuf,
    opening: Box<Opening>,
    /// None between a failure and the next attempt to open the file.
    database: RwLock<Option<Database>>,
    /// After a failure redb refuses everything until the file is opened again.
    failed: AtomicBool,
    applied: AtomicU64,
    leisure: Arc<Leisure>,
}

/// Why a file is not opened.
enum Obstacle {
    /// The file is no store, or not a whole one.
    Damaged(String),
    Other(Fault),
}

impl RedbStore {
    /// Opens the store at `path`, or makes an empty one if there is none or it is damaged. Whoever calls it replays the
    /// journal from [`Store::position`] on, which is 0 if the store is empty.
    ///
    /// # Errors
    /// [`Code::DataInUse`], [`Code::DataNewer`], [`Code::DiskFull`], or [`Code::StoreFailed`] when the disk fails.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        Self::open_through(path, Box::new(|file| Ok(Box::new(FileBackend::new(file)?))))
    }

    pub(super) fn open_through(path: &Path, opening: Box<Opening>) -> Result<Self, Fault> {
        let leisure = Arc::default();
        let folder = folder(path);
        fs::create_dir_all(folder).map_err(|error| disk_fault(folder, &error))?;
        let (database, position) = match open(path, &opening, &leisure) {
            Err(Obstacle::Damaged(what)) => {
                let aside = move_aside(path).map_err(|error| disk_fault(path, &error))?;
                tracing::warn!(
                    store = %path.display(), aside = %aside.display(), %what,
                    "the look-up store is damaged; it was moved aside and is made anew from the journal"
                );
                open(path, &opening, &leisure)
            }
            opened => opened,
        }
        .map_err(|obstacle| obstacle.fault(path))?;
        Ok(Self {
            path: path.to_owned(),
            opening,
            database: RwLock::new(Some(database)),
            failed: AtomicBool::new(false),
            applied: AtomicU64::new(position.applied),
            leisure,
        })
    }

    /// Works on the database, which is opened again first if it has failed before. Only that excludes others.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Fault> {
        loop {
            if self.failed.load(Ordering::Acquire) {
                self.reopen()?;
            }
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(database) = &*database {
                return work(database).map_err(|error| {
                    self.failed.store(true, Ordering::Release);
                    store_fault(&self.path, &error)
                });
            }
            drop(database);
            // Somebody's attempt to open it again ended in between, and failed.
            self.failed.store(true, Ordering::Release);
        }
    }

    fn reopen(&self) -> Result<(), Fault> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        // Closed first, because it holds the lock on the file.
        *database = None;
        let (opened, position) =
            open(&self.path, &self.opening, &self.leisure).map_err(|obstacle| obstacle.fault(&self.path))?;
        let known = self.applied.load(Ordering::Acquire);
        if position.applied < known {
            let what = format!("it has gone back from journal entry {known} to {}", position.applied);
            return Err(Obstacle::Damaged(what).fault(&self.path));
        }
        // The commit that failed may have been done all the same.
        self.applied.store(position.applied, Ordering::Release);
        *database = Some(opened);
        self.failed.store(false, Ordering::Release);
        tracing::info!(store = %self.path.display(), "the look-up store is open again after a failure");
        Ok(())
    }
}

impl RedbStore {
    /// Hand everything that it has, as it was at one commit, to `each`: keys, each with the byte of its kind before it, and values, in
    /// their order. Gives that commit's position. What is committed meanwhile waits for nothing.
    ///
    /// # Errors
    /// The store cannot be read, or what `each` says.
    pub fn export(&self, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>) -> Result<Position, Fault> {
        self.with(|database| {
            let transaction = database.begin_read()?;
            let applied = transaction.open_table(META)?.get(META_APPLIED)?.map_or(0, |applied| applied.value());
            for entry in transaction.open_table(ENTRIES)?.range::<&[u8]>(..)? {
                let (key, value) = entry?;
                if let Err(fault) = each(key.value(), value.value()) {
                    return Ok(Err(fault));
                }
            }
            Ok(Ok(Position { applied }))
        })?
    }

    /// Put what `next` gives, until it gives none, in the place of all that this one has. It goes there in pieces, so that memory does
    /// not grow with it; in between the store is neither what it was nor what it will be, and its position is 0.
    ///
    /// # Errors
    /// The store cannot be written, or what `next` says: then part of it is there.
    pub fn replace(
        &self,
        position: Position,
        mut next: impl FnMut() -> Result<Option<Row>, Fault>,
    ) -> Result<(), Fault> {
        self.with(|database| {
            let (mut is_first, mut has_more) = (true, true);
            while has_more {
                let mut transaction = database.begin_write()?;
                transaction.set_quick_repair(true);
                if std::mem::take(&mut is_first) {
                    transaction.delete_table(ENTRIES)?;
                }
                let (mut entries, mut bytes) = (transaction.open_table(ENTRIES)?, 0);
                while bytes < REPLACED_BYTES {
                    let Some((key, value)) = (match next() {
                        Ok(entry) => entry,
                        Err(fault) => return Ok(Err(fault)),
                    }) else {
                        has_more = false;
                        break;
                    };
                    bytes += key.len() + value.len();
                    entries.insert(key.as_slice(), value.as_slice())?;
                }
                drop(entries);
                let applied = if has_more { 0 } else { position.applied };
                transaction.open_table(META)?.insert(META_APPLIED, applied)?;
                transaction.commit()?;
                self.applied.store(applied, Ordering::Release);
            }
            Ok(Ok(()))
        })?
    }
}

impl Store for RedbStore {
    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let key = entry_key(kind, key);
        self.with(|database| {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            Ok(entries.get(key.as_slice())?.map(|value| value.value().to_vec()))
        })
    }

    fn scan(&self, kind: u8, from: &[u8], reverse: bool, count_max: usize) -> Result<Page, Fault> {
        let from = entry_key(kind, from);
        let (first, last) = ([kind], [kind.wrapping_add(1)]);
        let range: (Bound<&[u8]>, Bound<&[u8]>) = match (reverse, kind) {
            (true, _) => (Bound::Included(&first), Bound::Included(&from)),
            (false, u8::MAX) => (Bound::Included(&from), Bound::Unbounded),
            (false, _) => (Bound::Included(&from), Bound::Excluded(&last)),
        };
        self.with(|database| {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            let range = entries.range::<&[u8]>(range)?;
            let range: Box<dyn Iterator<Item = _>> = if reverse { Box::new(range.rev()) } else { Box::new(range) };
            range
                .take(count_max)
                .map(|entry| entry.map(|(key, value)| (key.value()[1..].to_vec(), value.value().to_vec())))
                .collect::<Result<_, _>>()
                .map_err(Error::from)
        })
    }

    fn commit(&self, changes: &Changes, position: Position) -> Result<(), Fault> {
        self.with(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_quick_repair(true);
            let mut entries = transaction.open_table(ENTRIES)?;
            let mut entry_key = Vec::new();
            for ((kind, key), value) in changes {
                entry_key.clear();
                entry_key.push(*kind);
                entry_key.extend_from_slice(key);
                match value {
                    Some(value) => entries.insert(entry_key.as_slice(), value.as_slice())?,
                    None => entries.remove(entry_key.as_slice())?,
                };
                self.leisure.rest_if_due();
            }
            drop(entries);
            transaction.open_table(META)?.insert(META_APPLIED, position.applied)?;
            transaction.commit()?;
            self.applied.store(position.applied, Ordering::Release);
            Ok(())
        })
    }

    fn position(&self) -> Position {
        Position { applied: self.applied.load(Ordering::Acquire) }
    }

    fn take_time(&self) {
        self.leisure.take_time();
    }

    fn hurry(&self) {
        self.leisure.hurry();
    }
}

fn entry_key(kind: u8, key: &[u8]) -> Vec<u8> {
    [&[kind], key].concat()
}

/// Opens the file as it is, and reads its position.
fn open(path: &Path, opening: &Opening, leisure: &Arc<Leisure>) -> Result<(Database, Position), Obstacle> {
    let repaired = Arc::new(AtomicBool::new(false));
    let mut database = open_database(path, opening, leisure, &repaired)?;
    if repaired.swap(false, Ordering::Relaxed) {
        tracing::warn!(store = %path.display(), "the look-up store was repaired after a crash");
        // What is in memory after a repair is not to be trusted as much as what is in the file.
        drop(database);
        database = open_database(path, opening, leisure, &repaired)?;
    }
    let position = caught(|| prepare(path, &database))?;
    Ok((database, position))
}

fn open_database(
    path: &Path,
    opening: &Opening,
    leisure: &Arc<Leisure>,
    repaired: &Arc<AtomicBool>,
) -> Result<Database, Obstacle> {
    let new = !path.exists();
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(|error| Obstacle::Other(disk_fault(path, &error)))?;
    let mut builder = Builder::new();
    let repaired = Arc::clone(repaired);
    builder.set_cache_size(CACHE_BYTES).set_repair_callback(move |_| repaired.store(true, Ordering::Relaxed));
    let create = |file| builder.create_with_backend(LeisurelyFile::new(opening(file)?, Arc::clone(leisure)));
    let database = caught(|| create(file).map_err(|error| Obstacle::new(path, &error.into())))?;
    if new {
        let synced = File::open(folder(path)).and_then(|folder| folder.sync_all());
        synced.map_err(|error| Obstacle::Other(disk_fault(path, &error)))?;
    }
    Ok(database)
}

/// What the file says of itself; an empty one is made a store.
fn prepare(path: &Path, database: &Database) -> Result<Position, Obstacle> {
    let read = || read_meta(database).map_err(|error| Obstacle::new(path, &error));
    let mut meta = read()?;
    if meta.is_none() {
        create_tables(database).map_err(|error| Obstacle::new(path, &error))?;
        meta = read()?;
    }
    match meta {
        Some(Meta { format: Some(FORMAT), applied: Some(applied) }) => Ok(Position { applied }),
        Some(Meta { format: Some(format), .. }) if format > FORMAT => Err(Obstacle::newer(path)),
        _ => Err(Obstacle::Damaged("it does not say what it is, or how far it goes".into())),
    }
}

/// What the table `meta` says.
struct Meta {
    format: Option<u64>,
    applied: Option<u64>,
}

/// Reads the table `meta`; none if the file is empty.
fn read_meta(database: &Database) -> Result<Option<Meta>, Error> {
    let transaction = database.begin_read()?;
    if transaction.list_tables()?.next().is_none() {
        return Ok(None);
    }
    let meta = transaction.open_table(META)?;
    let number = |name| Ok::<_, StorageError>(meta.get(name)?.map(|number| number.value()));
    let format = number(META_FORMAT)?;
    if format == Some(FORMAT) {
        // That it is there and of its type.
        transaction.open_table(ENTRIES)?;
    }
    Ok(Some(Meta { format, applied: number(META_APPLIED)? }))
}

fn create_tables(database: &Database) -> Result<(), Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    transaction.open_table(ENTRIES)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert(META_FORMAT, FORMAT)?;
    meta.insert(META_APPLIED, 0)?;
    drop(meta);
    transaction.commit()?;
    Ok(())
}

/// Does what a damaged file could make redb panic at.
fn caught<T>(work: impl FnOnce() -> Result<T, Obstacle>) -> Result<T, Obstacle> {
    panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Obstacle::Damaged("its content contradicts itself".into())))
}

impl Obstacle {
    fn new(path: &Path, error: &Error) -> Self {
        let damaged = match error {
            Error::Io(error) => matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
            Error::Corrupted(_)
            | Error::UpgradeRequired(_)
            | Error::TableDoesNotExist(_)
            | Error::TableTypeMismatch { .. }
            | Error::TableIsMultimap(_)
            | Error::TypeDefinitionChanged { .. } => true,
            _ => false,
        };
        match damaged {
            true if redb_format(path).is_ok_and(|format| format > REDB_FORMAT) => Self::newer(path),
            true => Self::Damaged(error.to_string()),
            false => Self::Other(store_fault(path, error)),
        }
    }

    fn newer(path: &Path) -> Self {
        let message = format!("{} has a layout that is newer than this version of hansa", path.display());
        Self::Other(Fault::new(Code::DataNewer, message))
    }

    fn fault(self, path: &Path) -> Fault {
        match self {
            Self::Damaged(what) => Fault::new(Code::StoreFailed, format!("{} is damaged: {what}", path.display())),
            Self::Other(fault) => fault,
        }
    }
}

/// The number of redb's layout. redb tells a newer one from a damaged one only in words, so it is read where redb's
/// description of its header has it: after the magic number, one bit says which of the two commit slots is in force, and
/// a slot begins with the number.
fn redb_format(path: &Path) -> io::Result<u8> {
    let mut header = [0; 193];
    File::open(path)?.read_exact(&mut header)?;
    if !header.starts_with(b"redb\x1a\n\xa9\r\n") {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(header[if header[9] & 1 == 0 { 64 } else { 192 }])
}

/// Gives a damaged file the first free name of its kind beside it.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 1..=BROKEN_MAX {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".broken-{number}"));
        let aside = path.with_file_name(name);
        if !aside.try_exists()? {
            fs::rename(path, &aside)?;
            File::open(folder(path))?.sync_all()?;
            return Ok(aside);
        }
    }
    Err(io::Error::other(format!("{BROKEN_MAX} damaged files lie beside it; remove them")))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn store_fault(path: &Path, error: &Error) -> Fault {
    match error {
        Error::DatabaseAlreadyOpen => {
            Fault::new(Code::DataInUse, format!("another process uses the look-up store {}", path.display()))
        }
        Error::Io(error) => disk_fault(path, error),
        error => Fault::new(Code::StoreFailed, format!("the look-up store {}: {error}", path.display())),
    }
}

fn disk_fault(path: &Path, error: &io::Error) -> Fault {
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let code = if full { Code::DiskFull } else { Code::StoreFailed };
    Fault::new(code, format!("the look-up store {}: {error}", path.display()))
}
