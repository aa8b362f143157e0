//! Makes the keys of a new organization. A stand-in with the signature that `hansa_federation::identity` will have;
//! `commands::init` is its only caller.

use ed25519_dalek::SigningKey;
use hansa_core::{
    code::{Code, Fault},
    ident::{OrganizationId, SubnodeId},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

const ORGANIZATION_KEY: &str = "organization.key";
const NODE_KEY: &str = "node.key";

/// Make an organization key and a node key in `folder`, or find those that an interrupted `init` left there.
///
/// # Errors
/// If they cannot be written or read.
pub fn create_keys(folder: &Path) -> Result<(OrganizationId, SubnodeId), Fault> {
    let organization = create_or_read(&folder.join(ORGANIZATION_KEY))?;
    let node = create_or_read(&folder.join(NODE_KEY))?;
    Ok((OrganizationId(organization.verifying_key().to_bytes()), SubnodeId(node.verifying_key().to_bytes())))
}

/// The identities of the keys in `folder`.
///
/// # Errors
/// If a key is missing or is none.
pub fn read_identities(folder: &Path) -> Result<(OrganizationId, SubnodeId), Fault> {
    let organization = read(&folder.join(ORGANIZATION_KEY))?;
    let node = read(&folder.join(NODE_KEY))?;
    Ok((OrganizationId(organization.verifying_key().to_bytes()), SubnodeId(node.verifying_key().to_bytes())))
}

fn create_or_read(path: &Path) -> Result<SigningKey, Fault> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| Fault::new(Code::Internal, format!("the system gives no random bytes: {error}")))?;
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&seed)?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(SigningKey::from_bytes(&seed)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(path),
        Err(error) => Err(Fault::new(Code::DataMissing, format!("'{}' cannot be written: {error}", path.display()))),
    }
}

fn read(path: &Path) -> Result<SigningKey, Fault> {
    let mut seed = Vec::new();
    let read = File::open(path).and_then(|file| file.take(33).read_to_end(&mut seed));
    read.map_err(|error| Fault::new(Code::DataMissing, format!("'{}' cannot be read: {error}", path.display())))?;
    let seed: [u8; 32] = seed.as_slice().try_into().map_err(|_| {
        Fault::new(Code::DataMissing, format!("'{}' is no key", path.display())).help("restore it from your backup")
    })?;
    Ok(SigningKey::from_bytes(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn keys_are_made_once_are_found_again_and_only_their_owner_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let made = create_keys(folder.path()).unwrap();
        assert_eq!(create_keys(folder.path()).unwrap(), made);
        assert_eq!(read_identities(folder.path()).unwrap(), made);
        for name in [ORGANIZATION_KEY, NODE_KEY] {
            assert_eq!(std::fs::metadata(folder.path().join(name)).unwrap().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_key_is_a_clear_fault() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(ORGANIZATION_KEY), "short").unwrap();
        assert!(create_keys(folder.path()).unwrap_err().message.contains("is no key"));
    }
}
