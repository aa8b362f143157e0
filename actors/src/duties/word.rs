//! What the duties of two sub-nodes say to each other, and its bytes. It decides the form and nothing else; whoever carries it
//! proves which sub-node it comes from. Read by [`super`], written for a [`super::Carrier`].

use super::Parcel;
use hansa_core::{
    code::{Code, Fault},
    mirror::{Certified, Entry, MemberId, Message},
    signed::Signed,
};
use serde::{Deserialize, Serialize};

/// Nesting of a word's CBOR: certificates and entries are a handful of levels.
const DEPTH_MAX: usize = 48;

/// Nearly every word but for entries and parts of snapshots is smaller.
const SMALL_BYTES: usize = 512;

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// Of a pair, by the protocol of mirrored pairs.
    Say(Box<Message>),
    /// To the partner: where this sub-node is.
    Introduce(Box<Introduction>),
    /// To the partner: of a snapshot that is on its way.
    Snapshot(Box<Parcel>),
    /// To a witness: the active is alone.
    Alone {
        /// By this configuration.
        by: Box<Certified>,
        /// Whether it has ended the pair.
        is_ended: bool,
    },
    /// To a sub-node of another organization: will it be a witness of the asker's pair?
    Ask,
    /// It will.
    Agree {
        /// Who it is as a witness.
        witness: MemberId,
    },
    /// It will not.
    Decline {
        /// Why, for people.
        reason: String,
    },
}

/// Where a sub-node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// Signed by the organization: this transport key is a sub-node of mine, in this city.
    pub certificate: Signed,
    /// Where members reach it, as multiaddresses.
    pub federation: Vec<String>,
    /// Where services and clients reach it, as host and port.
    pub cxip: String,
}

impl Word {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes_about());
        ciborium::into_writer(self, &mut bytes).expect("encoding into memory cannot fail");
        bytes
    }

    /// So that what is large does not move while it is written.
    fn bytes_about(&self) -> usize {
        match self {
            Self::Say(message) if let Message::Append { entries, .. } = &**message => {
                entries.iter().map(Entry::packed_bytes).sum::<usize>() + SMALL_BYTES
            }
            _ => SMALL_BYTES,
        }
    }

    /// Read one.
    ///
    /// # Errors
    /// [`Code::FrameRefused`]: the bytes are none.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        ciborium::de::from_reader_with_recursion_limit(bytes, DEPTH_MAX)
            .map_err(|error| Fault::new(Code::FrameRefused, format!("what a sub-node says cannot be read: {error}")))
    }
}
