//! A folder whose disk gets full, hangs, is slow or fails, when a test says so.

use hansa_actors::journal::disk::{Disk, FolderDisk, Segment};
use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

/// What the disk does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// What it shall.
    #[default]
    Sound,
    /// It has no room.
    Full,
    /// Each sync takes so many milliseconds.
    Slow(u64),
    /// Nothing that is written becomes durable, and nobody hears why.
    Hangs,
    /// What was written cannot be made durable.
    Fails,
}

/// The switch of such a disk.
#[derive(Clone, Default)]
pub struct Switch(Arc<(Mutex<Behaviour>, Condvar)>);

impl Switch {
    pub fn set(&self, behaviour: Behaviour) {
        *self.0.0.lock().unwrap() = behaviour;
        self.0.1.notify_all();
    }

    /// Wait as long as it hangs; how it behaves then.
    fn now(&self) -> Behaviour {
        *self.0.1.wait_while(self.0.0.lock().unwrap(), |behaviour| *behaviour == Behaviour::Hangs).unwrap()
    }

    fn room(&self) -> io::Result<()> {
        if *self.0.0.lock().unwrap() == Behaviour::Full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

pub struct FaultyDisk {
    disk: FolderDisk,
    switch: Switch,
}

impl FaultyDisk {
    pub fn new(folder: &Path, switch: Switch) -> Self {
        Self { disk: FolderDisk::new(folder).unwrap(), switch }
    }

    fn wrapped(&self, segment: Box<dyn Segment>) -> Box<dyn Segment> {
        Box::new(FaultySegment { segment, switch: self.switch.clone() })
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create_preallocated(&self, name: &str, bytes: u64) -> io::Result<Box<dyn Segment>> {
        self.switch.room()?;
        Ok(self.wrapped(self.disk.create_preallocated(name, bytes)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Segment>> {
        Ok(self.wrapped(self.disk.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.disk.sync_folder()
    }

    fn place(&self) -> String {
        self.disk.place()
    }
}

struct FaultySegment {
    segment: Box<dyn Segment>,
    switch: Switch,
}

impl Segment for FaultySegment {
    fn length(&self) -> io::Result<u64> {
        self.segment.length()
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.segment.read(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // A file system that gives out blocks late has none even for a file that was reserved.
        self.switch.room()?;
        self.segment.write_at(offset, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.switch.now() {
            Behaviour::Fails => Err(io::Error::other("the medium does not answer")),
            Behaviour::Slow(milliseconds) => {
                std::thread::sleep(Duration::from_millis(milliseconds));
                self.segment.sync_data()
            }
            _ => self.segment.sync_data(),
        }
    }
}
