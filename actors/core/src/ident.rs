//! Who is who: the identities that records, frames and screens speak of, each a type of its own.

use crate::{
    code::{Code, Fault},
    limit,
    moment::Moment,
};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr, sync::Arc};

/// Bytes on the wire, text for people: one implementation for all fixed identities.
macro_rules! key_identity {
    ($(#[$doc:meta])* $name:ident, $length:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// The first characters of the text form: enough for a screen, never for a decision.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string().chars().take($prefix.len() + 8).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; ($length * 8usize).div_ceil(5)];
                BASE32_NOPAD.encode_mut(&self.0, &mut text);
                text.make_ascii_lowercase();
                out.write_str($prefix)?;
                out.write_str(std::str::from_utf8(&text).expect("base 32 is ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl FromStr for $name {
            type Err = Fault;
            fn from_str(text: &str) -> Result<Self, Fault> {
                let read = |rest: &str| {
                    let mut upper = <[u8; ($length * 8usize).div_ceil(5)]>::try_from(rest.as_bytes()).ok()?;
                    upper.make_ascii_uppercase();
                    let mut bytes = [0; $length];
                    BASE32_NOPAD.decode_mut(&upper, &mut bytes).ok().map(|_| Self(bytes))
                };
                text.strip_prefix($prefix)
                    .and_then(read)
                    .ok_or_else(|| Fault::new(
                        Code::IdentityMalformed,
                        format!("'{}' is no identity of the form {}…", text.chars().take(80).collect::<String>(), $prefix),
                    ))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
                    <[u8; $length]>::try_from(bytes.as_slice()).map(Self).map_err(D::Error::custom)
                }
            }
        }
    };
}

key_identity!(
    /// An organization: its ed25519 public key (F3).
    OrganizationId, 32, "org-"
);
key_identity!(
    /// A sub-node: the ed25519 public key of its transport, certified by its organization (F3).
    SubnodeId, 32, "node-"
);
key_identity!(
    /// A federation: the BLAKE3 hash of its charter (F4).
    FederationId, 32, "fed-"
);
key_identity!(
    /// A version of a transaction definition: the BLAKE3 hash of its text (T3).
    DefinitionHash, 32, "def-"
);
key_identity!(
    /// A version of a library of functions: the BLAKE3 hash of its bytes (T9).
    LibraryHash, 32, "lib-"
);

/// A transaction instance (T4). Ids grow with time, so that a store keyed by them is written in order.
/// Text form: 26 characters of Crockford's base 32, as in ULID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub u128);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl TransactionId {
    /// An id for a transaction that is submitted at `now`; `random` makes it unique.
    #[must_use]
    pub fn new(now: Moment, random: [u8; 16]) -> Self {
        let random = u128::from_be_bytes(random) & ((1 << 80) - 1);
        Self(u128::from(now.0 & ((1 << 48) - 1)) << 80 | random)
    }

    /// The id of the transaction that `parent` begins for an invocation: always the same, and beside the parent's in the
    /// order of ids.
    #[must_use]
    pub fn of_subtransaction(parent: Self, invocation: InvocationId) -> Self {
        let hash = blake3::derive_key("hansa sub-transaction 1", &invocation.0.to_be_bytes());
        let low: [u8; 16] = hash[..16].try_into().expect("a BLAKE3 hash has 32 bytes");
        let mask = (1 << 80) - 1;
        Self(parent.0 & !mask | u128::from_be_bytes(low) & mask)
    }

    /// When the id was made, by the clock of whoever made it.
    #[must_use]
    pub fn moment(self) -> Moment {
        Moment((self.0 >> 80) as u64)
    }
}

/// A publication to a topic (T13), chosen by its publisher as the key under which a repetition is the same publication.
/// Text form: as that of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicationId(pub u128);

impl PublicationId {
    /// An id for a publication that is made at `now`; `random` makes it unique.
    #[must_use]
    pub fn new(now: Moment, random: [u8; 16]) -> Self {
        Self(TransactionId::new(now, random).0)
    }
}

/// Text form of identities that grow with time: 26 characters of Crockford's base 32.
macro_rules! growing_identity {
    ($name:ident, $noun:literal, $help:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0u8; 26];
                for (place, character) in text.iter_mut().rev().enumerate() {
                    *character = CROCKFORD[(self.0 >> (5 * place) & 31) as usize];
                }
                out.write_str(std::str::from_utf8(&text).expect("Crockford's alphabet is ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl FromStr for $name {
            type Err = Fault;
            fn from_str(text: &str) -> Result<Self, Fault> {
                crockford(text).map(Self).ok_or_else(|| {
                    let shown: String = text.chars().take(40).collect();
                    Fault::new(Code::IdentityMalformed, format!("'{shown}' is no {} id", $noun)).help($help)
                })
            }
        }
    };
}

growing_identity!(
    TransactionId,
    "transaction",
    "a transaction id has 26 characters, as `hansa transaction list` shows them"
);
growing_identity!(PublicationId, "publication", "a publication id has 26 characters, like a ULID");

/// The number that a text of Crockford's base 32 stands for.
fn crockford(text: &str) -> Option<u128> {
    if text.len() != 26 {
        return None;
    }
    let mut value: u128 = 0;
    for (place, byte) in text.bytes().enumerate() {
        let upper = byte.to_ascii_uppercase();
        let digit = CROCKFORD.iter().position(|&character| character == upper)? as u128;
        if place == 0 && digit > 7 {
            return None;
        }
        value = value << 5 | digit;
    }
    Some(value)
}

/// One act that a service is asked for, and its idempotency key: the same act keeps its id over redelivery, restart and
/// takeover, so whoever performs it can tell a repetition (DESIGN invariant 4). Text form: 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvocationId(pub u128);

impl InvocationId {
    /// The id of leg `leg` in attempt `attempt` of operation `operation` of a transaction of `organization`.
    #[must_use]
    pub fn new(
        organization: &OrganizationId,
        transaction: TransactionId,
        operation: u32,
        leg: u32,
        attempt: u32,
    ) -> Self {
        let mut bytes = [0u8; 60];
        bytes[..32].copy_from_slice(&organization.0);
        bytes[32..48].copy_from_slice(&transaction.0.to_be_bytes());
        bytes[48..52].copy_from_slice(&operation.to_be_bytes());
        bytes[52..56].copy_from_slice(&leg.to_be_bytes());
        bytes[56..].copy_from_slice(&attempt.to_be_bytes());
        let hash = blake3::hash(&bytes);
        Self(u128::from_be_bytes(hash.as_bytes()[..16].try_into().expect("a BLAKE3 hash has 32 bytes")))
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&HEXLOWER.encode(&self.0.to_be_bytes()))
    }
}

impl fmt::Debug for InvocationId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for InvocationId {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self, Fault> {
        HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(|bytes| Self(u128::from_be_bytes(bytes)))
            .ok_or_else(|| {
                let shown: String = text.chars().take(40).collect();
                Fault::new(Code::IdentityMalformed, format!("'{shown}' is no invocation id"))
                    .help("an invocation id has 32 lower-case hexadecimal digits")
            })
    }
}

/// Sixteen bytes in records, text for people.
macro_rules! wide_number_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0.to_be_bytes())
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
                    let bytes = <[u8; 16]>::try_from(bytes.as_slice()).map_err(D::Error::custom)?;
                    Ok(Self(u128::from_be_bytes(bytes)))
                }
            }
        }
    };
}

wide_number_serde!(TransactionId);
wide_number_serde!(InvocationId);
wide_number_serde!(PublicationId);

/// Short texts that people choose, checked once when they enter the node.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $noun:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Fault;
            fn from_str(text: &str) -> Result<Self, Fault> {
                $check($noun, text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, out)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

checked_text!(
    /// A service, by the name that its organization gives it.
    ServiceName, "service name", name_checked
);
checked_text!(
    /// An operation that services sign up for (T10).
    OperationName, "operation name", name_checked
);
checked_text!(
    /// A transaction definition (T3).
    DefinitionName, "definition name", name_checked
);
checked_text!(
    /// A signal that a transaction waits for (T17).
    SignalName, "signal name", name_checked
);
checked_text!(
    /// A topic that is published to and subscribed to (T13).
    TopicName, "topic name", name_checked
);
checked_text!(
    /// Somebody who subscribes to topics, over all its connections (T13).
    SubscriberName, "subscriber name", name_checked
);
checked_text!(
    /// A library of functions for expressions (T9).
    LibraryName, "library name", name_checked
);
checked_text!(
    /// An account of somebody who may attach to this node (T14).
    AccountName, "account name", name_checked
);
checked_text!(
    /// An organization's name, as people write it.
    OrganizationName, "organization name", title_checked
);
checked_text!(
    /// A city.
    City, "city", title_checked
);

/// A topic: one of this organization, or one of another as this node hears it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicAddress {
    /// Whose topic it is; none for one of this organization's own.
    pub organization: Option<OrganizationId>,
    /// Its name there.
    pub name: TopicName,
}

impl TopicAddress {
    /// A topic of this organization.
    #[must_use]
    pub fn own(name: TopicName) -> Self {
        Self { organization: None, name }
    }
}

impl fmt::Display for TopicAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.organization {
            None => write!(out, "{}", self.name),
            Some(organization) => write!(out, "{} of {}", self.name, organization.short()),
        }
    }
}

fn name_checked(noun: &str, text: &str) -> Result<(), Fault> {
    let fits = !text.is_empty()
        && text.len() <= limit::NAME_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte));
    if fits {
        return Ok(());
    }
    let shown: String = text.chars().take(60).collect();
    Err(Fault::new(Code::NameMalformed, format!("'{}' is no {noun}", shown.escape_debug()))
        .help(format!("use 1 to {} letters, digits, dots, dashes, underscores or colons", limit::NAME_BYTES_MAX)))
}

fn title_checked(noun: &str, text: &str) -> Result<(), Fault> {
    let fits = !text.trim().is_empty()
        && text.trim() == text
        && text.len() <= limit::TITLE_BYTES_MAX
        && !text.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    let shown: String = text.chars().take(60).collect();
    Err(Fault::new(Code::NameMalformed, format!("'{}' is no {noun}", shown.escape_debug())).help(format!(
        "use 1 to {} bytes of text without control characters or spaces around it",
        limit::TITLE_BYTES_MAX
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_survive_text_and_cbor() {
        let organization = OrganizationId([7; 32]);
        assert_eq!(organization.to_string().parse::<OrganizationId>().unwrap(), organization);
        let transaction = TransactionId::new(Moment(1_795_219_200_007), [9; 16]);
        assert_eq!(transaction.to_string().parse::<TransactionId>().unwrap(), transaction);
        assert_eq!(transaction.moment(), Moment(1_795_219_200_007));
        let invocation = InvocationId::new(&organization, transaction, 3, 0, 1);
        assert_eq!(invocation.to_string().parse::<InvocationId>().unwrap(), invocation);

        let mut bytes = Vec::new();
        ciborium::into_writer(&(organization, transaction, invocation), &mut bytes).unwrap();
        assert!(bytes.len() < 75, "identities travel as byte strings, not as arrays: {} bytes", bytes.len());
        let read: (OrganizationId, TransactionId, InvocationId) = ciborium::from_reader(&bytes[..]).unwrap();
        assert_eq!(read, (organization, transaction, invocation));
    }

    #[test]
    fn transaction_ids_sort_by_time_as_text_and_as_number() {
        let early = TransactionId::new(Moment(1_000), [0xff; 16]);
        let late = TransactionId::new(Moment(1_001), [0; 16]);
        assert!(early < late && early.to_string() < late.to_string());
    }

    #[test]
    fn each_leg_and_attempt_has_an_invocation_id_of_its_own() {
        let (organization, transaction) = (OrganizationId([1; 32]), TransactionId(5));
        let id = |operation, leg, attempt| InvocationId::new(&organization, transaction, operation, leg, attempt);
        let ids = [id(1, 0, 1), id(2, 0, 1), id(1, 1, 1), id(1, 0, 2)];
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(id(1, 0, 1), ids[0], "and keeps it");
    }

    #[test]
    fn names_that_could_confuse_are_refused_with_advice() {
        for bad in ["", "two words", "ä", "a/b", "<x>", &"n".repeat(129)] {
            let fault = bad.parse::<ServiceName>().unwrap_err();
            assert_eq!(fault.code, Code::NameMalformed);
            assert!(fault.help.is_some());
        }
        assert!("check-stock.v2:eu".parse::<OperationName>().is_ok());
        assert!("Acme BV".parse::<OrganizationName>().is_ok());
        assert!("\u{7}bell".parse::<City>().is_err());
        assert!("not an id".parse::<TransactionId>().is_err());
        assert!("ZZZZZZZZZZZZZZZZZZZZZZZZZZ".parse::<TransactionId>().is_err());
    }
}
