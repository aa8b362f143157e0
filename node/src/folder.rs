//! The data folder of a node: what lies where, who may read it, which version wrote it, and who uses it now.
//!
//! Every command finds its files through this. It knows no content of theirs but its own small ones: the version, the
//! lock, the addresses of the running node, and an invite or the papers of a pair that wait for the next start.

use crate::config::SOCKET_PATH_BYTES_MAX;
use hansa_core::code::{Code, Fault};
use hansa_federation::{Keys, NODE_KEY_FILE, ORGANIZATION_KEY_FILE};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// Version of the folder's layout that this program writes.
const VERSION: u32 = 1;
/// Bytes of the small files that are read whole.
const SMALL_FILE_BYTES_MAX: u64 = 256 * 1024;
/// Bytes of the papers of a pair.
const PAPERS_BYTES_MAX: u64 = 1024 * 1024;

/// How often a lock is tried again, and after which pause.
const LOCK_TRIES: u32 = 3;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A data folder. The path is absolute; the folder need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
}

/// What a running node tells about itself in `listening.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The process.
    pub pid: u32,
    /// Where services and clients attach.
    pub cxip: String,
    /// Health and metrics.
    pub http: String,
    /// Where other members reach it.
    pub federation: Vec<String>,
    /// The administration socket.
    pub admin: PathBuf,
    /// The administration port, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cxip_admin: Option<String>,
    /// Since when, in RFC 3339.
    pub started: String,
}

/// Proof that no other process uses the folder; dropping it ends that.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The system does the same when the process ends; whoever waits sees an empty file meanwhile, never an old pid.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

impl Folder {
    /// The folder at `path`, relative to the working folder.
    ///
    /// # Errors
    /// If there is no working folder to make the path absolute with.
    pub fn new(path: &Path) -> Result<Self, Fault> {
        let path = std::path::absolute(path)
            .map_err(|error| Fault::new(Code::DataMissing, format!("'{}' is no path: {error}", path.display())))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration, unless another file is named.
    pub fn configuration(&self) -> PathBuf {
        self.path.join("hansa.toml")
    }

    fn version(&self) -> PathBuf {
        self.path.join("version")
    }

    fn listening_file(&self) -> PathBuf {
        self.path.join("listening.json")
    }

    fn invite_file(&self) -> PathBuf {
        self.path.join("invite.pending")
    }

    /// Where the journal of the duties lies.
    pub fn duty(&self) -> PathBuf {
        self.path.join("duty")
    }

    fn papers_file(&self) -> PathBuf {
        self.path.join("pair.pending")
    }

    /// The administration socket: the configured one, else `admin.sock` here; where that path would be longer than
    /// sockets allow, one below the system's folder for temporary files, in a folder that only its owner enters.
    pub fn socket(&self, configured: Option<&PathBuf>) -> PathBuf {
        let wanted = configured.map_or_else(|| self.path.join("admin.sock"), |path| self.path.join(path));
        if wanted.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return wanted;
        }
        let name = blake3::hash(wanted.as_os_str().as_encoded_bytes()).to_hex();
        std::env::temp_dir().join(format!("hansa-{}", &name[..16])).join("admin.sock")
    }

    /// Whether an organization lives here.
    pub fn is_initialized(&self) -> bool {
        self.version().exists()
    }

    /// Make the folder for a new organization. The version is written last, by [`Folder::seal`]: until then the folder
    /// counts as empty, and an interrupted `init` can be repeated.
    ///
    /// # Errors
    /// If it cannot be made, or has something else in it.
    pub fn create(&self) -> Result<(), Fault> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(|error| {
            Fault::new(Code::DataMissing, format!("'{}' cannot be made: {error}", self.path.display()))
                .help("choose a folder with --data in which you may write")
        })
    }

    /// Say that the folder is complete.
    ///
    /// # Errors
    /// If the version cannot be written.
    pub fn seal(&self) -> Result<(), Fault> {
        self.write_whole(&self.version(), format!("{VERSION}\n").as_bytes())
    }

    /// Check that an organization lives here, that this program knows the layout, and that others keep out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Fault> {
        if !self.is_initialized() {
            return Err(Fault::new(Code::DataMissing, format!("'{}' holds no organization yet", self.path.display())));
        }
        let text = read_small(&self.version())
            .map_err(|error| Fault::new(Code::DataMissing, format!("{}: {error}", self.version().display())))?;
        match text.trim().parse::<u32>() {
            Ok(version) if version <= VERSION => Ok(()),
            Ok(version) => Err(Fault::new(
                Code::DataNewer,
                format!("'{}' has layout {version}; this program knows {VERSION}", self.path.display()),
            )),
            Err(_) => Err(Fault::new(
                Code::DataNewer,
                format!("{}: '{}' is no version", self.version().display(), text.trim().escape_debug()),
            )),
        }
    }

    /// Files here that somebody else than their owner could read, though they should not.
    pub fn exposed(&self) -> Vec<PathBuf> {
        let open = |path: &Path, mask: u32| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & mask != 0);
        let keys = fs::read_dir(&self.path).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut exposed: Vec<_> = keys
            .filter(|path| path.extension().is_some_and(|extension| extension == "key") && open(path, 0o077))
            .collect();
        exposed.extend(open(&self.path, 0o077).then(|| self.path.clone()));
        exposed.sort();
        exposed
    }

    /// Take the folder for this process.
    ///
    /// # Errors
    /// [`Code::DataInUse`] if another one has it.
    pub fn lock(&self) -> Result<Lock, Fault> {
        let path = self.path.join("lock");
        let cannot = |error: std::io::Error| Fault::new(Code::DataMissing, format!("{}: {error}", path.display()));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(cannot)?;
        match locked(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = (&mut file).take(32).read_to_string(&mut holder);
                let holder = holder.trim();
                let who = if holder.is_empty() { "another process".into() } else { format!("process {holder}") };
                return Err(Fault::new(Code::DataInUse, format!("{who} uses '{}'", self.path.display()))
                    .help("stop it with `hansa stop`, or choose another folder with --data"));
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(cannot)?;
        Ok(Lock { file })
    }

    /// Whether another process has the folder.
    pub fn is_in_use(&self) -> bool {
        File::open(self.path.join("lock")).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Tell where the running node listens.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn announce(&self, listening: &Listening) -> Result<(), Fault> {
        let mut text = serde_json::to_vec_pretty(listening).expect("strings and numbers are JSON");
        text.push(b'\n');
        self.write_whole(&self.listening_file(), &text)
    }

    /// Take back what [`Folder::announce`] told.
    pub fn withdraw(&self) {
        let _ = fs::remove_file(self.listening_file());
    }

    /// Where the running node listens, if there is one; a node that was killed may have left it.
    pub fn listening(&self) -> Option<Listening> {
        serde_json::from_str(&read_small(&self.listening_file()).ok()?).ok()
    }

    /// Keep an invite for the next start.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep_invite(&self, invite: &str) -> Result<(), Fault> {
        self.write_whole(&self.invite_file(), invite.as_bytes())
    }

    /// The invite that waits, if one does.
    pub fn pending_invite(&self) -> Option<String> {
        read_small(&self.invite_file()).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The invite was used, or never will be.
    pub fn forget_invite(&self) {
        let _ = fs::remove_file(self.invite_file());
    }

    /// Write the keys of a node that gets them from elsewhere, each for its owner only.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn keep_keys(&self, keys: &Keys) -> Result<(), Fault> {
        self.write_whole(&self.path.join(ORGANIZATION_KEY_FILE), &keys.organization.to_bytes())?;
        self.write_whole(&self.path.join(NODE_KEY_FILE), &keys.node.to_bytes())
    }

    /// Keep the papers of a pair for the next start.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn keep_papers(&self, papers: &[u8]) -> Result<(), Fault> {
        self.write_whole(&self.papers_file(), papers)
    }

    /// The papers of a pair that wait, if some do.
    pub fn pending_papers(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.papers_file()).ok()?.take(PAPERS_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The papers of a pair were taken up.
    pub fn forget_papers(&self) {
        let _ = fs::remove_file(self.papers_file());
    }

    /// Write a file that is seen whole or not at all, and that only its owner reads.
    ///
    /// # Errors
    /// If it cannot be written, [`Code::DiskFull`] where that is the reason.
    pub fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        let new = path.with_extension("new");
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|error| {
            let code = if error.kind() == ErrorKind::StorageFull { Code::DiskFull } else { Code::DataMissing };
            Fault::new(code, format!("'{}' cannot be written: {error}", path.display()))
                .help("check the folder's permissions and the room on its disk")
        })
    }
}

/// Lock the file. Somebody who only looks whether it is locked has it for an instant, so one refusal says nothing yet.
fn locked(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            other => return other,
        }
    }
    file.try_lock()
}

fn read_small(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(SMALL_FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn folder() -> (tempfile::TempDir, Folder) {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(&temporary.path().join("data")).unwrap();
        folder.create().unwrap();
        (temporary, folder)
    }

    #[test]
    fn a_folder_counts_as_empty_until_it_is_sealed_and_only_its_owner_enters() {
        let (_temporary, folder) = folder();
        assert_eq!(folder.check().unwrap_err().code, Code::DataMissing);
        folder.seal().unwrap();
        folder.check().unwrap();
        assert_eq!(folder.exposed(), Vec::<PathBuf>::new());
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_folder_of_a_newer_version_is_left_alone() {
        let (_temporary, folder) = folder();
        for text in ["2", "99", "soon", ""] {
            fs::write(folder.version(), text).unwrap();
            assert_eq!(folder.check().unwrap_err().code, Code::DataNewer, "{text}");
        }
    }

    #[test]
    fn a_folder_has_one_user_at_a_time_and_the_second_learns_who_the_first_is() {
        let (_temporary, folder) = folder();
        assert!(!folder.is_in_use());
        let lock = folder.lock().unwrap();
        assert!(folder.is_in_use());
        let fault = folder.lock().unwrap_err();
        assert_eq!(fault.code, Code::DataInUse);
        assert!(fault.message.contains(&std::process::id().to_string()), "{fault}");
        drop(lock);
        assert!(!folder.is_in_use());
        folder.lock().unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_is_found() {
        let (_temporary, folder) = folder();
        let key = folder.path().join("node.key");
        fs::write(&key, "secret").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(folder.exposed(), std::slice::from_ref(&key));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(folder.exposed(), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_the_running_node_tells_is_read_back_and_taken_back() {
        let (_temporary, folder) = folder();
        let listening = Listening {
            pid: 7,
            cxip: "127.0.0.1:1".into(),
            http: "127.0.0.1:2".into(),
            federation: vec!["/ip4/127.0.0.1/tcp/3".into()],
            admin: "/a".into(),
            cxip_admin: Some("127.0.0.1:4".into()),
            started: "2026-11-21T00:00:00.000Z".into(),
        };
        folder.announce(&listening).unwrap();
        assert_eq!(folder.listening(), Some(listening));
        folder.withdraw();
        assert_eq!(folder.listening(), None);
    }

    #[test]
    fn a_socket_whose_path_would_be_too_long_moves_to_a_short_one_that_is_always_the_same() {
        let short = Folder::new(Path::new("/data")).unwrap();
        assert_eq!(short.socket(None), Path::new("/data/admin.sock"));
        assert_eq!(short.socket(Some(&"/run/hansa.sock".into())), Path::new("/run/hansa.sock"));
        let long = Folder::new(&Path::new("/data").join("d".repeat(200))).unwrap();
        assert_eq!(long.socket(None), long.socket(None));
        assert!(long.socket(None).as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
    }
}
