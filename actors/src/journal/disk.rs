//! The narrow port through which the journal sees a disk, and the real one behind it: a folder of preallocated files.
//! It decides how bytes and names become durable, and must not know what the bytes mean. Tests put a disk that lies
//! behind the same port.
//!
//! A segment is reserved with `fallocate` and not filled with zeros where the file system supports that. Measured on
//! ext4: 600-byte appends each followed by `fdatasync` take 42 µs (p50) and 95 µs (p99) in a reserved file, 53–64 µs and
//! 74–89 µs in one filled with zeros, 63 µs and 109 µs in a growing one; filling would only write every byte twice.

use rustix::fs::FallocateFlags;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A flat folder of segments.
pub trait Disk: Send + Sync + 'static {
    /// The names in the folder.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Creates a segment of zeros whose room is reserved and whose content is synced; its name is not durable yet.
    /// Leaves nothing behind when it fails.
    fn create_preallocated(&self, name: &str, bytes: u64) -> io::Result<Box<dyn Segment>>;
    /// Opens a segment for reading and writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn Segment>>;
    /// Gives a segment another name, at once or not at all.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a segment.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_folder(&self) -> io::Result<()>;
    /// Where the folder is, for messages.
    fn place(&self) -> String;
}

/// One preallocated file.
pub trait Segment: Send {
    /// Its length, which writes never change.
    fn length(&self) -> io::Result<u64>;
    /// Fills `bytes` from `offset`.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`; durable only after [`Segment::sync_data`].
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written durable. After an error nobody knows what is, ever.
    fn sync_data(&self) -> io::Result<()>;
}

/// Whether an error means that the disk, or the share of it that this user may have, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The real disk.
#[derive(Debug)]
pub struct FolderDisk {
    folder: PathBuf,
}

impl FolderDisk {
    /// The disk that keeps its segments in `folder`, which is made if it is not there.
    pub fn new(folder: &Path) -> io::Result<Self> {
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
            if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self { folder: folder.to_owned() })
    }
}

impl Disk for FolderDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn create_preallocated(&self, name: &str, bytes: u64) -> io::Result<Box<dyn Segment>> {
        let path = self.folder.join(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        match reserve(&file, bytes) {
            Ok(()) => Ok(Box::new(FileSegment { file })),
            Err(error) => {
                // What could not be reserved must not take the room that others need.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Segment>> {
        let file = OpenOptions::new().read(true).write(true).open(self.folder.join(name))?;
        Ok(Box::new(FileSegment { file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn place(&self) -> String {
        self.folder.display().to_string()
    }
}

fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes)) {
        Ok(()) => {}
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            let zeros = vec![0u8; 1 << 20];
            let mut offset = 0;
            while offset < bytes {
                let part = usize::try_from(bytes - offset).map_or(zeros.len(), |rest| rest.min(zeros.len()));
                file.write_all_at(&zeros[..part], offset)?;
                offset += part as u64;
            }
        }
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

struct FileSegment {
    file: File,
}

impl Segment for FileSegment {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
