//! A disk in memory that behaves as badly as disks may: it loses what was not synced, byte by byte and name by name,
//! stops at a chosen step, fails syncs and keeps showing what it lost, and is full. It knows nothing of entries.

use crate::journal::disk::{Disk, Segment};
use fastrand::Rng;
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

#[derive(Clone, Default)]
struct Content {
    /// What survives the loss of power.
    durable: Vec<u8>,
    /// What a process reads.
    seen: Vec<u8>,
    /// Writes that no sync has covered, in order.
    pending: Vec<(usize, Vec<u8>)>,
}

type Names = BTreeMap<String, u64>;

#[derive(Default)]
struct State {
    contents: BTreeMap<u64, Content>,
    names: Names,
    durable_names: Names,
    /// The folder after each change that no sync has covered.
    pending_names: Vec<Names>,
    files_made: u64,
    steps: u64,
    /// The step at which the machine stops.
    crash_step: Option<u64>,
    sync_fails: bool,
    room_bytes: Option<u64>,
    write_is_full: bool,
}

#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets the machine stop at its `step`th step from now.
    pub fn crash_after(&self, step: u64) {
        let mut state = self.state();
        state.crash_step = Some(state.steps + step);
    }

    pub fn has_crashed(&self) -> bool {
        let state = self.state();
        state.crash_step.is_some_and(|step| state.steps >= step)
    }

    /// From now on every sync fails, and what it should have saved is shown but lost.
    pub fn fail_syncs(&self, fail: bool) {
        self.state().sync_fails = fail;
    }

    /// How much more may be reserved; none for any amount.
    pub fn set_room(&self, room_bytes: Option<u64>) {
        self.state().room_bytes = room_bytes;
    }

    /// Whether even writes into reserved room find the disk full, as on file systems that copy on write.
    pub fn set_write_full(&self, full: bool) {
        self.state().write_is_full = full;
    }

    pub fn has_unsynced_data(&self) -> bool {
        self.state().contents.values().any(|content| !content.pending.is_empty())
    }

    /// The disk after the power was lost: what was synced, and of the rest whatever `keeps` keeps, asked for every
    /// `sector` bytes of every write.
    pub fn after_power_loss(&self, sector: usize, keeps: &mut dyn FnMut() -> bool) -> Self {
        let state = self.state();
        let mut names = state.durable_names.clone();
        for later in &state.pending_names {
            if !keeps() {
                break;
            }
            names = later.clone();
        }
        let contents = names.values().map(|file| {
            let mut bytes = state.contents[file].durable.clone();
            for (offset, written) in &state.contents[file].pending {
                let mut start = *offset;
                while start < offset + written.len() {
                    let end = ((start / sector + 1) * sector).min(offset + written.len());
                    if keeps() {
                        bytes[start..end].copy_from_slice(&written[start - offset..end - offset]);
                    }
                    start = end;
                }
            }
            (*file, Content { seen: bytes.clone(), durable: bytes, pending: Vec::new() })
        });
        let contents = contents.collect();
        let fresh = State {
            contents,
            durable_names: names.clone(),
            names,
            files_made: state.files_made,
            room_bytes: state.room_bytes,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(fresh)))
    }

    /// One of the many disks that a loss of power may leave.
    pub fn after_some_power_loss(&self, rng: &mut Rng) -> Self {
        let sector = *rng.choice(&[1, 8, 64, 512]).unwrap();
        let percent = *rng.choice(&[0, 20, 50, 80, 100]).unwrap();
        self.after_power_loss(sector, &mut || rng.u32(0..100) < percent)
    }

    /// The same disk for another process, without loss of power.
    pub fn copy(&self) -> Self {
        let state = self.state();
        let copy = State {
            contents: state.contents.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            pending_names: state.pending_names.clone(),
            files_made: state.files_made,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(copy)))
    }

    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.contents[&state.names[name]].seen.clone()
    }

    /// Changes bytes behind everybody's back.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names[name];
        let content = state.contents.get_mut(&file).unwrap();
        change(&mut content.durable);
        content.seen = content.durable.clone();
    }

    pub fn lose(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    /// Counts a step; the one that crashes is still seen by those who write, but nothing after it.
    fn step(state: &mut State) -> io::Result<bool> {
        let crash = state.crash_step.unwrap_or(u64::MAX);
        if state.steps >= crash {
            return Err(io::Error::other("the machine has stopped"));
        }
        state.steps += 1;
        Ok(state.steps < crash)
    }

    fn change_names(state: &mut State, change: impl FnOnce(&mut Names)) {
        change(&mut state.names);
        let now = state.names.clone();
        state.pending_names.push(now);
    }
}

fn stopped(alive: bool) -> io::Result<()> {
    if alive { Ok(()) } else { Err(io::Error::other("the machine stops")) }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn create_preallocated(&self, name: &str, bytes: u64) -> io::Result<Box<dyn Segment>> {
        let mut state = self.state();
        let alive = Self::step(&mut state)?;
        if let Some(room) = state.room_bytes {
            if room < bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.room_bytes = Some(room - bytes);
        }
        state.files_made += 1;
        let file = state.files_made;
        let zeros = vec![0; bytes as usize];
        state.contents.insert(file, Content { durable: zeros.clone(), seen: zeros, pending: Vec::new() });
        Self::change_names(&mut state, |names| {
            names.insert(name.into(), file);
        });
        stopped(alive)?;
        Ok(Box::new(MemorySegment { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Segment>> {
        let file = *self.state().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemorySegment { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let alive = Self::step(&mut state)?;
        let file = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        Self::change_names(&mut state, |names| {
            names.remove(from);
            names.insert(to.into(), file);
        });
        stopped(alive)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let alive = Self::step(&mut state)?;
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Self::change_names(&mut state, |names| {
            names.remove(name);
        });
        stopped(alive)
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.state();
        stopped(Self::step(&mut state)?)?;
        state.pending_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn place(&self) -> String {
        "memory".into()
    }
}

struct MemorySegment {
    disk: MemoryDisk,
    file: u64,
}

impl Segment for MemorySegment {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().contents[&self.file].seen.len() as u64)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        let source = state.contents[&self.file].seen.get(offset as usize..offset as usize + bytes.len());
        bytes.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let alive = MemoryDisk::step(&mut state)?;
        if state.write_is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = state.contents.get_mut(&self.file).unwrap();
        let offset = offset as usize;
        assert!(offset + bytes.len() <= content.seen.len(), "a write never makes a segment longer");
        content.seen[offset..offset + bytes.len()].copy_from_slice(bytes);
        content.pending.push((offset, bytes.to_vec()));
        stopped(alive)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        stopped(MemoryDisk::step(&mut state)?)?;
        let fails = state.sync_fails;
        let content = state.contents.get_mut(&self.file).unwrap();
        let pending = std::mem::take(&mut content.pending);
        if fails {
            return Err(io::Error::other("the disk cannot be written"));
        }
        // Not all that is seen: what a failed sync lost stays lost, however often one syncs again.
        for (offset, written) in pending {
            content.durable[offset..offset + written.len()].copy_from_slice(&written);
        }
        Ok(())
    }
}
