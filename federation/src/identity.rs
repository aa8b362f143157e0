//! Decides how the two keys of a node lie on disk, and how a sub-node is named by libp2p.
//!
//! The organization key signs papers and receipts; the node key is the transport's and says nothing but "it is me again".
//! Called by the node when it is set up and when it starts. Knows nothing of who is a member of what.

use ed25519_dalek::SigningKey;
use hansa_core::{
    code::{Code, Fault},
    ident::{OrganizationId, SubnodeId},
};
use libp2p::{
    PeerId,
    identity::{Keypair, PublicKey, ed25519},
};
use rustix::fs::{Mode, OFlags};
use std::{
    fs, io,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// The file with the organization's key.
pub const ORGANIZATION_KEY_FILE: &str = "organization.key";
/// The file with the transport's key.
pub const NODE_KEY_FILE: &str = "node.key";

/// The keys of a node. There is deliberately no way to print them.
pub struct Keys {
    /// Signs certificates, admissions, directory records and receipts.
    pub organization: SigningKey,
    /// Authenticates the transport.
    pub node: SigningKey,
}

impl Keys {
    /// New keys, from the randomness of the operating system.
    #[must_use]
    pub fn generate() -> Self {
        Self { organization: random_key(), node: random_key() }
    }

    /// New keys, written into `folder` with access for their owner only.
    ///
    /// # Errors
    /// [`Code::DataExists`] where a key lies there already; nothing is overwritten.
    pub fn create(folder: &Path) -> Result<Self, Fault> {
        let keys = Self::generate();
        for name in [ORGANIZATION_KEY_FILE, NODE_KEY_FILE] {
            if folder.join(name).exists() {
                return Err(exists(&folder.join(name)));
            }
        }
        write_key(folder, ORGANIZATION_KEY_FILE, &keys.organization)?;
        write_key(folder, NODE_KEY_FILE, &keys.node)?;
        Ok(keys)
    }

    /// The keys that lie in `folder`; one that is missing is made. So an interrupted set-up can be repeated, and an
    /// organization whose key was restored from a backup gets a new node.
    ///
    /// # Errors
    /// As those of [`Keys::create`] and [`Keys::open`].
    pub fn ensure(folder: &Path) -> Result<Self, Fault> {
        for name in [ORGANIZATION_KEY_FILE, NODE_KEY_FILE] {
            if !folder.join(name).exists() {
                write_key(folder, name, &random_key())?;
            }
        }
        Self::open(folder)
    }

    /// The keys that lie in `folder`.
    ///
    /// # Errors
    /// [`Code::DataMissing`] where there are none, [`Code::DataPermissions`] where others than their owner can reach them.
    pub fn open(folder: &Path) -> Result<Self, Fault> {
        Ok(Self { organization: read_key(folder, ORGANIZATION_KEY_FILE)?, node: read_key(folder, NODE_KEY_FILE)? })
    }

    /// Who the organization is.
    #[must_use]
    pub fn organization_id(&self) -> OrganizationId {
        OrganizationId(self.organization.verifying_key().to_bytes())
    }

    /// Who the sub-node is.
    #[must_use]
    pub fn subnode_id(&self) -> SubnodeId {
        SubnodeId(self.node.verifying_key().to_bytes())
    }
}

/// The name that libp2p gives to a sub-node.
///
/// # Errors
/// [`Code::IdentityMalformed`] where the bytes are no ed25519 public key.
pub fn peer_id(subnode: SubnodeId) -> Result<PeerId, Fault> {
    ed25519::PublicKey::try_from_bytes(&subnode.0).map(|key| PublicKey::from(key).to_peer_id()).map_err(|_| {
        Fault::new(Code::IdentityMalformed, format!("{} is not the public key of any node", subnode.short()))
    })
}

/// The sub-node that libp2p gives this name; none where its key is not an ed25519 key.
#[must_use]
pub fn subnode_id(peer: &PeerId) -> Option<SubnodeId> {
    let hash = peer.as_ref();
    // Code zero is the "identity" multihash: the digest is the encoded public key itself.
    if hash.code() != 0 {
        return None;
    }
    let key = PublicKey::try_decode_protobuf(hash.digest()).ok()?.try_into_ed25519().ok()?;
    Some(SubnodeId(key.to_bytes()))
}

/// The node key in the form that libp2p wants.
pub(crate) fn keypair(node: &SigningKey) -> Keypair {
    Keypair::ed25519_from_bytes(node.to_bytes()).expect("every 32 bytes are the seed of an ed25519 key")
}

fn random_key() -> SigningKey {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system has randomness");
    SigningKey::from_bytes(&seed)
}

/// Written under another name first, so that a crash leaves either no key or a whole one.
fn write_key(folder: &Path, name: &str, key: &SigningKey) -> Result<(), Fault> {
    let path = folder.join(name);
    let unfinished = folder.join(format!(".{name}.unfinished"));
    let write = || -> io::Result<()> {
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = fs::File::from(rustix::fs::open(&unfinished, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(&key.to_bytes())?;
        file.sync_all()?;
        // A link, not a rename: it fails where a key of that name has appeared meanwhile.
        fs::hard_link(&unfinished, &path)?;
        fs::remove_file(&unfinished)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(&path),
        _ => unusable(&path, "write", &error),
    })
}

fn read_key(folder: &Path, name: &str) -> Result<SigningKey, Fault> {
    let path = folder.join(name);
    let mut file = fs::File::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Fault::new(Code::DataMissing, format!("there is no key {}", path.display())),
        _ => unusable(&path, "read", &error),
    })?;
    let mode = file.metadata().map_err(|error| unusable(&path, "read", &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Fault::new(
            Code::DataPermissions,
            format!("{} can be reached by others than its owner: its mode is {:o}", path.display(), mode & 0o777),
        )
        .help(format!("run `chmod 600 {}`, and consider replacing the key", path.display())));
    }
    let mut bytes = Vec::with_capacity(33);
    Read::by_ref(&mut file).take(33).read_to_end(&mut bytes).map_err(|error| unusable(&path, "read", &error))?;
    let seed: [u8; 32] = bytes.try_into().map_err(|_| {
        Fault::new(Code::IdentityMalformed, format!("{} does not hold the 32 bytes of a key", path.display()))
            .help("restore the file from a backup; without it the organization cannot prove who it is")
    })?;
    Ok(SigningKey::from_bytes(&seed))
}

fn exists(path: &Path) -> Fault {
    Fault::new(Code::DataExists, format!("there is a key already: {}", path.display()))
}

fn unusable(path: &Path, act: &str, error: &io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::PermissionDenied => Code::DataPermissions,
        io::ErrorKind::StorageFull => Code::DiskFull,
        _ => Code::DataMissing,
    };
    Fault::new(code, format!("cannot {act} {}: {error}", path.display()))
        .help("make sure that the folder exists and belongs to the user who runs the node")
}

#[cfg(test)]
mod tests {
    use super::*;

    // F3: keys are the node's own, and nobody else's.
    #[test]
    fn keys_are_created_once_for_their_owner_only_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::create(folder.path()).unwrap();
        for name in [ORGANIZATION_KEY_FILE, NODE_KEY_FILE] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "and nothing else is left there");
        let read = Keys::open(folder.path()).unwrap();
        assert_eq!((read.organization_id(), read.subnode_id()), (keys.organization_id(), keys.subnode_id()));
        assert_eq!(Keys::create(folder.path()).err().unwrap().code, Code::DataExists);
    }

    #[test]
    fn a_missing_key_is_made_beside_the_one_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::ensure(folder.path()).unwrap();
        fs::remove_file(folder.path().join(NODE_KEY_FILE)).unwrap();
        let again = Keys::ensure(folder.path()).unwrap();
        assert_eq!(again.organization_id(), keys.organization_id());
        assert_ne!(again.subnode_id(), keys.subnode_id());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        Keys::create(folder.path()).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(folder.path().join(NODE_KEY_FILE), fs::Permissions::from_mode(mode)).unwrap();
            let fault = Keys::open(folder.path()).err().unwrap();
            assert_eq!(fault.code, Code::DataPermissions);
            assert!(fault.advice().contains("chmod 600") && fault.advice().contains(NODE_KEY_FILE));
        }
    }

    #[test]
    fn missing_and_damaged_keys_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Keys::open(folder.path()).err().unwrap().code, Code::DataMissing);
        Keys::create(folder.path()).unwrap();
        fs::write(folder.path().join(NODE_KEY_FILE), [0; 40]).unwrap();
        assert_eq!(Keys::open(folder.path()).err().unwrap().code, Code::IdentityMalformed);
    }

    #[test]
    fn a_subnode_and_its_peer_id_lead_to_each_other() {
        let keys = Keys::generate();
        let peer = peer_id(keys.subnode_id()).unwrap();
        assert_eq!(peer, keypair(&keys.node).public().to_peer_id());
        assert_eq!(subnode_id(&peer), Some(keys.subnode_id()));
        assert_eq!(subnode_id(&PeerId::random()), None, "a random hash is no key");
    }
}
