//! A snapshot as a file: all entries of a look-up store one behind the other, and a label that tells its length and hash. It decides
//! that form, and that neither to write one nor to read one takes memory that grows with it. [`crate::standby::Ground`] writes and
//! reads them, the duties carry them from one sub-node to the other; what is in them they need not know.
//!
//! The form: for each entry the length of the key and that of the value, 32 bits each, little-endian, then key and value.

use crate::store::Row;
use hansa_core::{
    code::{Code, Fault},
    mirror::History,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, BufWriter, ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The number of the form that this page describes.
pub const FORMAT: u16 = 1;
/// Bytes of the two lengths before an entry.
const LENGTHS_BYTES: usize = 8;
/// Bytes that are read or written at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// What a snapshot is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The number of its form.
    pub format: u16,
    /// Its bytes.
    pub bytes: u64,
    /// The hash of them.
    #[serde(with = "serde_bytes")]
    pub hash: [u8; 32],
}

impl Label {
    /// What the pair's machine is told of it instead of the whole.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        [&self.format.to_le_bytes()[..], &self.bytes.to_le_bytes(), &self.hash].concat()
    }
}

/// A snapshot that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What log it reflects.
    pub history: History,
    /// What it is known by.
    pub label: Label,
}

/// A snapshot that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is known by.
    pub label: Label,
}

/// One that is being written.
pub(crate) struct Writing<'a> {
    path: &'a Path,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<'a> Writing<'a> {
    pub(crate) fn begin(path: &'a Path) -> Result<Self, Fault> {
        let file = BufWriter::with_capacity(BUFFER_BYTES, create(path)?);
        Ok(Self { path, file, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).map(u32::to_le_bytes);
        let (Ok(key_length), Ok(value_length)) = (length(key), length(value)) else {
            let message = "an entry of the look-up store is larger than a snapshot can have";
            return Err(Fault::new(Code::StoreFailed, message));
        };
        for part in [&key_length[..], &value_length, key, value] {
            self.hasher.update(part);
            self.bytes += part.len() as u64;
            self.file.write_all(part).map_err(|error| disk_fault(self.path, &error))?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Label, Fault> {
        self.file.flush().map_err(|error| disk_fault(self.path, &error))?;
        Ok(Label { format: FORMAT, bytes: self.bytes, hash: *self.hasher.finalize().as_bytes() })
    }
}

/// One that is being read.
pub(crate) struct Reading<'a> {
    snapshot: &'a Received,
    file: BufReader<File>,
    hasher: blake3::Hasher,
    left: u64,
}

impl<'a> Reading<'a> {
    pub(crate) fn begin(snapshot: &'a Received) -> Result<Self, Fault> {
        let file = File::open(&snapshot.path).map_err(|error| disk_fault(&snapshot.path, &error))?;
        let file = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(Self { snapshot, file, hasher: blake3::Hasher::new(), left: snapshot.label.bytes })
    }

    /// The next entry; none at the end, where it is sure that everything was as it was written.
    pub(crate) fn next(&mut self) -> Result<Option<Row>, Fault> {
        if self.left == 0 {
            let fits = *self.hasher.finalize().as_bytes() == self.snapshot.label.hash;
            return if fits { Ok(None) } else { Err(self.broken("its hash is another")) };
        }
        let lengths = self.take(LENGTHS_BYTES)?;
        let length = |at: usize| u32::from_le_bytes(lengths[at..at + 4].try_into().expect("four bytes were cut"));
        let key = self.take(length(0) as usize)?;
        Ok(Some((key, self.take(length(4) as usize)?)))
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, Fault> {
        if length as u64 > self.left {
            return Err(self.broken("an entry reaches beyond its end"));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact(&mut bytes).map_err(|error| disk_fault(&self.snapshot.path, &error))?;
        self.hasher.update(&bytes);
        self.left -= length as u64;
        Ok(bytes)
    }

    fn broken(&self, why: &str) -> Fault {
        let path = self.snapshot.path.display();
        Fault::new(Code::StoreFailed, format!("the snapshot in {path} is not what was sent: {why}"))
            .help("start the node again: it asks for another; if this comes again, check the disk")
    }
}

/// An empty file in the place of what is there.
pub(crate) fn create(path: &Path) -> Result<File, Fault> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path);
    file.map_err(|error| disk_fault(path, &error))
}

/// Take one away, if it is there. Nobody rests on that: a start does it again.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a snapshot that is not wanted any more cannot be removed");
    }
}

pub(crate) fn disk_fault(path: &Path, error: &io::Error) -> Fault {
    let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let code = if is_full { Code::DiskFull } else { Code::StoreFailed };
    Fault::new(code, format!("the snapshot in {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(path: &Path, entries: &[(&[u8], &[u8])]) -> Received {
        let mut writing = Writing::begin(path).unwrap();
        for (key, value) in entries {
            writing.put(key, value).unwrap();
        }
        Received { path: path.to_owned(), label: writing.finish().unwrap() }
    }

    fn read(snapshot: &Received) -> Result<Vec<Row>, Fault> {
        let mut reading = Reading::begin(snapshot)?;
        std::iter::from_fn(|| reading.next().transpose()).collect()
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        assert_eq!(read(&written(&path, &[])).unwrap(), []);
        let large = vec![7; 3 * BUFFER_BYTES];
        let entries: [(&[u8], &[u8]); 3] = [(b"a", b""), (b"b", &large), (b"c", b"last")];
        let snapshot = written(&path, &entries);
        assert_eq!(snapshot.label.bytes, std::fs::metadata(&path).unwrap().len());
        let owned: Vec<_> = entries.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        assert_eq!(read(&snapshot).unwrap(), owned);
        assert_eq!(snapshot.label.to_bytes().len(), 42);

        // Whatever one byte of it is changed to, and wherever it is cut off, it is not taken.
        let bytes = std::fs::read(&path).unwrap();
        for place in [0, 4, 8, 9, 13, 17, 1_000, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[place] ^= 0x40;
            std::fs::write(&path, &changed).unwrap();
            assert_eq!(read(&snapshot).unwrap_err().code, Code::StoreFailed, "byte {place}");
            std::fs::write(&path, &bytes[..place]).unwrap();
            assert_eq!(read(&snapshot).unwrap_err().code, Code::StoreFailed, "cut at {place}");
        }
    }
}
