//! The data directory of a node: decides who may use it, one process at a time, and whether this version understands it.
//! The node opens it before anything in it; what else lies in it, this file must not know.
//!
//! `VERSION` says in one line which format the directory has; `lock` is locked as long as a process uses the directory
//! and holds that process's id for messages. The lock is the operating system's, so a crash leaves none behind.

use hansa_core::code::{Code, Fault};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
};

/// The format that this version writes.
const FORMAT: u64 = 1;
const VERSION_NAME: &str = "VERSION";
const VERSION_BYTES_MAX: u64 = 1_024;
const LOCK_NAME: &str = "lock";

/// A data directory that this process holds until the value is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// Closing it unlocks.
    _lock: File,
}

impl DataFolder {
    /// Opens the directory at `path`, which must be one already.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        if !path.join(VERSION_NAME).is_file() {
            return Err(Fault::new(Code::DataMissing, format!("{} is no data directory of hansa", path.display())));
        }
        let folder = Self::lock(path)?;
        folder.check_version()?;
        Ok(folder)
    }

    /// Opens the directory at `path`, and makes it first, readable by its owner only, if it is not there.
    pub fn create(path: &Path) -> Result<Self, Fault> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path).and_then(|()| {
            // A name is durable once the folder that holds it is synced.
            path.canonicalize()?.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        });
        made.map_err(|error| unusable(path, &error))?;
        let folder = Self::lock(path)?;
        if !path.join(VERSION_NAME).exists() {
            folder.write_version().map_err(|error| unusable(path, &error))?;
        }
        folder.check_version()?;
        Ok(folder)
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn lock(path: &Path) -> Result<Self, Fault> {
        let name = path.join(LOCK_NAME);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&name);
        let mut lock = open.map_err(|error| unusable(path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Just for the message: the holder may be writing it at this moment.
                let _ = lock.take(20).read_to_string(&mut holder);
                let by = holder.trim().parse::<u32>().map_or(String::new(), |process| format!(" (process {process})"));
                let message = format!("another process{by} uses the data directory {}", path.display());
                return Err(Fault::new(Code::DataInUse, message));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(path, &error)),
        }
        let written = lock.set_len(0).and_then(|()| writeln!(lock, "{}", process::id()));
        written.map_err(|error| unusable(path, &error))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    fn write_version(&self) -> io::Result<()> {
        let new = self.path.join("VERSION.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "format = {FORMAT}")?;
        file.sync_all()?;
        fs::rename(&new, self.path.join(VERSION_NAME))?;
        File::open(&self.path)?.sync_all()
    }

    fn check_version(&self) -> Result<(), Fault> {
        let mut text = String::new();
        let read = File::open(self.path.join(VERSION_NAME))
            .and_then(|file| file.take(VERSION_BYTES_MAX).read_to_string(&mut text));
        read.map_err(|error| unusable(&self.path, &error))?;
        let place = self.path.join(VERSION_NAME);
        let format = text.trim().strip_prefix("format").and_then(|rest| rest.trim_start().strip_prefix('='));
        match format.and_then(|number| number.trim().parse::<u64>().ok()) {
            Some(FORMAT) => Ok(()),
            Some(format) if format > FORMAT => {
                let message = format!(
                    "the data directory {} has format {format}, this version knows formats up to {FORMAT}",
                    self.path.display()
                );
                Err(Fault::new(Code::DataNewer, message))
            }
            _ => Err(Fault::new(Code::DataNewer, format!("{} names no format that was ever written", place.display()))
                .help("Restore the file from a backup; in a directory of this version it reads 'format = 1'.")),
        }
    }
}

fn unusable(path: &Path, error: &io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::ConfigurationInvalid,
    };
    Fault::new(code, format!("the data directory {} cannot be used: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_directory_is_its_owners_alone_and_says_its_format() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/data");
        let folder = DataFolder::create(&path).unwrap();
        assert_eq!(folder.path(), path);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_to_string(path.join("VERSION")).unwrap(), "format = 1\n");
        drop(folder);
        DataFolder::open(&path).unwrap();
    }

    #[test]
    fn a_directory_in_use_names_the_process_that_uses_it_and_is_free_after_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::create(parent.path()).unwrap();
        for attempt in [DataFolder::open(parent.path()), DataFolder::create(parent.path())] {
            let fault = attempt.unwrap_err();
            assert_eq!(fault.code, Code::DataInUse);
            assert!(fault.message.contains(&format!("process {}", process::id())), "{fault}");
        }
        drop(folder);
        DataFolder::open(parent.path()).unwrap();
    }

    #[test]
    fn a_directory_that_is_none_of_ours_is_not_opened() {
        let parent = tempfile::tempdir().unwrap();
        assert_eq!(DataFolder::open(parent.path()).unwrap_err().code, Code::DataMissing);
        assert_eq!(DataFolder::open(&parent.path().join("nowhere")).unwrap_err().code, Code::DataMissing);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0, "a refusal leaves nothing behind");
    }

    #[test]
    fn a_directory_of_a_newer_version_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        drop(DataFolder::create(parent.path()).unwrap());
        for text in ["format = 2\n", "format = 99999999999999999999999", "", "form", "format = 0"] {
            fs::write(parent.path().join("VERSION"), text).unwrap();
            for attempt in [DataFolder::open(parent.path()), DataFolder::create(parent.path())] {
                assert_eq!(attempt.unwrap_err().code, Code::DataNewer, "{text}");
            }
            assert_eq!(fs::read_to_string(parent.path().join("VERSION")).unwrap(), text);
        }
    }
}
