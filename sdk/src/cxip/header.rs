//! The fixed header of a CXIP message: 32 bytes, big endian. Decides whether thirty-two bytes are one, and knows nothing
//! of contents.

use super::Framing;
use hansa_core::{
    code::{Code, Fault},
    limit,
};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 32;
/// The first four bytes of every message.
pub const MAGIC: [u8; 4] = *b"CXIP";
/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;
/// The one flag, in byte 7: more fragments of this message follow.
const MORE: u8 = 1;

/// The eight message types (T13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Asks for something.
    Request = 1,
    /// Answers a request.
    Reply = 2,
    /// Takes a request back.
    Cancel = 3,
    /// Offers a document to all who subscribed; not in version 1.
    Publish = 4,
    /// Brings a published document; not in version 1.
    Notify = 5,
    /// Asks for notifications; not in version 1.
    Subscribe = 6,
    /// Ends a subscription; not in version 1.
    Unsubscribe = 7,
    /// Says that a message was taken, or why it was not.
    Acknowledge = 8,
}

impl Kind {
    /// Every type, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Request,
        Self::Reply,
        Self::Cancel,
        Self::Publish,
        Self::Notify,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Acknowledge,
    ];

    /// The type with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message type.
    pub kind: Kind,
    /// The sender's own count of its messages on this connection, from one.
    pub number: u64,
    /// The number of the other side's message that this one answers or acknowledges; else zero.
    pub correlation: u64,
    /// Whether the content goes on in another fragment: a header with the same number.
    pub more: bool,
    /// Bytes of content that follow this header.
    pub content_bytes: u32,
    /// How many messages, Acknowledges not counted, the sender is ready to have unacknowledged towards it at once.
    pub credit: u32,
}

impl Header {
    /// How many bytes the whole messages and fragments at the beginning of `bytes` have.
    #[must_use]
    pub fn whole_bytes(bytes: &[u8]) -> usize {
        let mut end = 0;
        while let Ok(Some(header)) = Self::decode(&bytes[end..]) {
            let next = end + HEADER_BYTES + header.content_bytes as usize;
            if next > bytes.len() {
                break;
            }
            end = next;
        }
        end
    }

    /// The header as it travels.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind as u8;
        bytes[7] = u8::from(self.more) * MORE;
        bytes[8..16].copy_from_slice(&self.number.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.correlation.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.content_bytes.to_be_bytes());
        bytes[28..32].copy_from_slice(&self.credit.to_be_bytes());
        bytes
    }

    /// The header at the beginning of `bytes`; none while fewer than thirty-two are there.
    ///
    /// # Errors
    /// What cannot be, as soon as the bytes so far show it, and in the same words however many more of them have come.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, Framing> {
        let lost = |code, message: String| Framing { number: 0, fault: Fault::new(code, message) };
        if let Some(wrong) = bytes.iter().zip(MAGIC).position(|(byte, magic)| *byte != magic) {
            // Nothing behind the first wrong byte is told: more may have come or not, and the words are the same.
            let begins = &bytes[..=wrong];
            return Err(lost(
                Code::MessageMalformed,
                format!("a message begins with the bytes 43 58 49 50 (\"CXIP\"), not with {begins:02x?}"),
            ));
        }
        if let Some(&version) = bytes.get(4).filter(|version| **version != VERSION) {
            let message =
                format!("the message is of version {version} of the protocol; this side speaks version {VERSION}");
            return Err(lost(Code::VersionUnknown, message));
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let number = be_u64(bytes, 8);
        let malformed = |message: String| Framing { number, fault: Fault::new(Code::MessageMalformed, message) };
        let Some(kind) = Kind::from_number(bytes[5]) else {
            return Err(malformed(format!("the message type (byte 5) is {}; the types are 1 to 8", bytes[5])));
        };
        if bytes[6] != 0 || bytes[7] & !MORE != 0 {
            let words = "of the flags (bytes 6 and 7) others are set than the lowest, which says that fragments follow";
            return Err(malformed(words.to_owned()));
        }
        if number == 0 {
            return Err(malformed("the message number (bytes 8 to 15) is zero; numbers count from one".to_owned()));
        }
        let content_bytes = be_u32(bytes, 24);
        if content_bytes as usize > limit::CXIP_FRAGMENT_BYTES_MAX {
            let message = format!(
                "the header announces {content_bytes} bytes; at most {} are taken at once, and more travel in fragments",
                limit::CXIP_FRAGMENT_BYTES_MAX
            );
            return Err(Framing { number, fault: Fault::new(Code::MessageTooLarge, message) });
        }
        let more = bytes[7] & MORE != 0;
        Ok(Some(Self { kind, number, correlation: be_u64(bytes, 16), more, content_bytes, credit: be_u32(bytes, 28) }))
    }
}

fn be_u64(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|place| bytes[at + place]))
}

fn be_u32(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_be_bytes(std::array::from_fn(|place| bytes[at + place]))
}
