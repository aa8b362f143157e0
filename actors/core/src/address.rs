//! Whom a record is about: the kind of a machine and its key, as bytes that sort like the keys.

use crate::ident::{OrganizationId, ServiceName, TopicAddress, TransactionId};

/// The kinds of machines. The numbers are in journals and stores, so they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A transaction.
    Transaction = 1,
    /// The mailbox of a service.
    Mailbox = 2,
    /// The link to a peer.
    Link = 3,
    /// The directory.
    Directory = 4,
    /// The catalogue of definitions.
    Catalogue = 5,
    /// The membership.
    Membership = 6,
    /// A topic.
    Topic = 7,
    /// The accounts of those who may attach.
    Access = 8,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Transaction,
        Self::Mailbox,
        Self::Link,
        Self::Directory,
        Self::Catalogue,
        Self::Membership,
        Self::Topic,
        Self::Access,
    ];

    /// Whom a record is about: the machine with this key.
    #[must_use]
    pub fn address(self, key: &impl KeyBytes) -> Vec<u8> {
        let mut address = key.to_bytes();
        address.insert(0, self as u8);
        address
    }

    /// The kind of this number.
    #[must_use]
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// A machine's key as bytes.
pub trait KeyBytes: Sized {
    /// The bytes; they sort like the keys.
    fn to_bytes(&self) -> Vec<u8>;
    /// The key, if the bytes are one.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl KeyBytes for TransactionId {
    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl KeyBytes for ServiceName {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_str().as_bytes().to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok()?.parse().ok()
    }
}

impl KeyBytes for OrganizationId {
    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }
}

/// A byte that says whether an organization follows, the organization, and the name: one's own topics come first.
impl KeyBytes for TopicAddress {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.organization.is_some())];
        bytes.extend(self.organization.iter().flat_map(|organization| organization.0));
        bytes.extend(self.name.as_str().as_bytes());
        bytes
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (organization, name) = match bytes.split_first()? {
            (0, name) => (None, name),
            (1, rest) => {
                let (organization, name) = rest.split_first_chunk::<32>()?;
                (Some(OrganizationId(*organization)), name)
            }
            _ => return None,
        };
        Some(Self { organization, name: std::str::from_utf8(name).ok()?.parse().ok()? })
    }
}

/// The key of a machine of which there is one.
impl KeyBytes for () {
    fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_their_bytes_and_sort_alike() {
        let (early, late) = (TransactionId(7), TransactionId(1 << 90));
        assert!(early.to_bytes() < late.to_bytes());
        assert_eq!(TransactionId::from_bytes(&late.to_bytes()), Some(late));
        let service: ServiceName = "credit".parse().unwrap();
        assert_eq!(ServiceName::from_bytes(&service.to_bytes()), Some(service));
        assert_eq!(ServiceName::from_bytes(b"two words"), None);
        assert_eq!(OrganizationId::from_bytes(&[1; 31]), None);
        let own = TopicAddress::own("prices".parse().unwrap());
        let peers = TopicAddress { organization: Some(OrganizationId([0; 32])), ..own.clone() };
        assert!(own < peers && own.to_bytes() < peers.to_bytes());
        assert_eq!(TopicAddress::from_bytes(&own.to_bytes()), Some(own));
        assert_eq!(TopicAddress::from_bytes(&peers.to_bytes()), Some(peers));
        assert_eq!(TopicAddress::from_bytes(b"\x01prices"), None);
    }

    #[test]
    fn every_kind_is_found_by_its_number() {
        for kind in Kind::ALL {
            assert_eq!(Kind::numbered(kind as u8), Some(kind));
        }
        assert_eq!(Kind::numbered(0), None);
    }
}
