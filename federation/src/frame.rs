//! What members send each other over a link, and what is packed around it. Decides the form and the limits of each.
//!
//! To this crate a frame's content is opaque: what is signed was signed by the node's wiring and is checked there.
//! [`ForwardBody`] is the form of the signed bytes of [`Frame::Forward`]. `docs/protocols/federation.md` describes all of it.

use ed25519_dalek::SigningKey;
use hansa_core::{
    code::{Code, Fault},
    ident::{FederationId, OrganizationId},
    limit,
    membership::Credentials,
    signed::{Purpose, Signed},
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::fmt;

/// Bytes of one packet on a link, length prefix not counted.
pub const PACKET_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Bytes of a packet before the peer has proved who it is.
pub(crate) const HELLO_BYTES_MAX: usize = 128 * 1024;
/// The version of everything on this page.
pub(crate) const PROTOCOL_VERSION: u16 = 2;
/// What may be under way of frames.
pub(crate) const FRAMES: Window = Window { count: 1_024, bytes: 8 * 1024 * 1024 };
/// Bytes of a duty message that travel in one packet, so that no packet grows with what is said.
pub(crate) const PART_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the answer to a pairing code: it must fit into a packet from before hello.
pub(crate) const PAIRED_BYTES_MAX: usize = HELLO_BYTES_MAX - 1_024;
/// Characters of a message that a peer sends for people to read.
const MESSAGE_CHARACTERS_MAX: usize = 500;
/// Bytes that the encoding adds to a signed value, at most.
const SIGNED_OVERHEAD_BYTES: usize = 160;

/// How much may be under way to a receiver that has not taken it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Packets.
    pub(crate) count: u32,
    /// Bytes of them; the last one within it may reach beyond, or one larger than the window could never be sent.
    pub(crate) bytes: u64,
}

/// What limits the duty messages of one link. Both ends know whose node the other is, so both choose the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DutyLimits {
    /// Bytes of one message.
    pub(crate) message_bytes: usize,
    /// Bytes that wait to be sent; one message of any permitted size always may.
    pub(crate) queue_bytes: usize,
    /// What may be under way.
    pub(crate) window: Window,
}

impl DutyLimits {
    /// Between the two sub-nodes of one organization: a journal goes over it, of which an entry is never cut.
    pub(crate) const PARTNER: Self = Self {
        message_bytes: limit::ENTRY_BYTES_MAX + 1024 * 1024,
        queue_bytes: 64 * 1024 * 1024,
        window: Window { count: 4_096, bytes: 32 * 1024 * 1024 },
    };
    /// Between organizations: words to a witness, and its answers.
    pub(crate) const MEMBER: Self =
        Self { message_bytes: 256 * 1024, queue_bytes: 1024 * 1024, window: Window { count: 256, bytes: 1024 * 1024 } };
}

/// What one member sends another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// Which version of whose directory record the sender has.
    Digest(Vec<(OrganizationId, u64)>),
    /// Signed directory records.
    Records(Vec<Signed>),
    /// Forwarded bodies, each a signed [`ForwardBody`], in the order of their sequence numbers.
    Forward(Vec<Signed>),
    /// A signed receipt.
    Confirm(Signed),
    /// Up to which sequence number the sender has accepted what came from the receiver.
    Position {
        /// The last one accepted.
        accepted_through: u64,
    },
}

impl Frame {
    /// At least as many bytes as the encoding takes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        let signed = |signed: &Signed| signed.bytes.len() + signed.signature.len() + SIGNED_OVERHEAD_BYTES;
        64 + match self {
            Self::Digest(entries) => entries.len() * 48,
            Self::Records(all) | Self::Forward(all) => all.iter().map(signed).sum(),
            Self::Confirm(one) => signed(one),
            Self::Position { .. } => 0,
        }
    }

    /// Whether it keeps to the limits on how many things it may carry.
    pub(crate) fn within_limits(&self) -> bool {
        match self {
            Self::Digest(entries) => entries.len() <= limit::MEMBERS_MAX,
            Self::Records(records) => {
                records.len() <= limit::MEMBERS_MAX
                    && records.iter().all(|record| record.bytes.len() <= limit::DIRECTORY_RECORD_BYTES_MAX)
            }
            Self::Forward(bodies) => bodies.len() <= limit::LINK_WINDOW_FRAMES_MAX,
            Self::Confirm(_) | Self::Position { .. } => true,
        }
    }
}

/// What a forwarding organization signs: to whom, in which place of their order, and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardBody {
    /// For whom it is, so that it cannot be shown to another.
    pub to: OrganizationId,
    /// Its place among everything that the signer sends to that organization.
    pub sequence: u64,
    /// What is forwarded.
    pub body: ByteBuf,
}

impl ForwardBody {
    /// Sign it.
    #[must_use]
    pub fn sign(&self, organization: &SigningKey) -> Signed {
        Signed::new(organization, Purpose::Forward, self)
    }

    /// Open what `from` sent to `to`.
    ///
    /// # Errors
    /// [`Code::FrameRefused`] where another signed it, or it is for another, or the signature does not fit.
    pub fn open(signed: &Signed, from: OrganizationId, to: OrganizationId) -> Result<Self, Fault> {
        let refused = |what: &str| Fault::new(Code::FrameRefused, format!("a frame from {} {what}", from.short()));
        if signed.by != from {
            return Err(refused("is signed by somebody else"));
        }
        let body: Self = signed.open(Purpose::Forward, Code::FrameRefused)?;
        if body.to == to { Ok(body) } else { Err(refused("is for somebody else")) }
    }
}

/// Everything that travels over a link, each with a length before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Packet {
    /// Who the sender is; the first packet in each direction, the dialer's before the other's.
    Hello(Box<Hello>),
    /// The end: the sender does not accept the receiver, or what it sent.
    Refuse(Fault),
    /// The answer to a newcomer.
    Admitted(Box<Credentials>),
    /// From the dialer, unless it sends [`Packet::Open`] anyway: it accepts the other's hello.
    Welcome,
    /// From the sub-node with the smaller id: this connection is the link of the two.
    Open {
        /// The name of the link, random.
        link: u64,
    },
    /// The end: there is another link already.
    Superseded,
    /// The end: the sender stops.
    Goodbye,
    /// A frame; counts against the window.
    Frame(Frame),
    /// The sender took as much from its peer, which may send as much more.
    Grant {
        /// Frames.
        frames: u32,
        /// Bytes of their packets.
        bytes: u64,
    },
    /// At which epoch the sender serves its organization; zero where it does not. First on every link.
    Serving {
        /// The epoch.
        epoch: u64,
    },
    /// Frames may go both ways as far as the sender is concerned: it serves, and takes the receiver for the sub-node that
    /// serves the other organization.
    Attend {
        /// The sender's name for this stretch of time, another one each time; zero where there is none.
        round: u64,
    },
    /// The frames that follow are for this round of the receiver.
    Begin {
        /// The receiver's round.
        round: u64,
    },
    /// A part of a duty message; counts against a window of its own.
    Duty {
        /// The bytes.
        part: ByteBuf,
        /// Whether the message ends with it.
        last: bool,
    },
    /// The sender took as much of duty messages.
    DutyGrant {
        /// Parts.
        parts: u32,
        /// Bytes of their packets.
        bytes: u64,
    },
    /// The sender has nothing to say, and is there.
    Here,
    /// The answer to a node that came with a pairing code.
    Paired(Sealed),
}

/// The same as [`Packet::Duty`] on the wire, without a copy of the bytes.
#[derive(Serialize)]
pub(crate) enum Outgoing<'a> {
    Duty { part: &'a serde_bytes::Bytes, last: bool },
}

/// Bytes that may hold a key: nothing shows them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed(pub(crate) ByteBuf);

impl fmt::Debug for Sealed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} bytes", self.0.len())
    }
}

/// What makes a pairing code one. Nothing shows it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct PairingSecret(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl fmt::Debug for PairingSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the secret of a pairing code")
    }
}

impl PartialEq for PairingSecret {
    /// Takes as long whatever is in it, so that nobody can find it out byte by byte.
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
    }
}

impl Eq for PairingSecret {}

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// [`PROTOCOL_VERSION`].
    pub(crate) protocol_version: u16,
    /// Which federation the sender means.
    pub(crate) federation: FederationId,
    /// The hash of everything that members must agree on.
    #[serde(with = "serde_bytes")]
    pub(crate) terms_hash: [u8; 32],
    /// Signed by the organization: this transport key is a sub-node of mine.
    pub(crate) certificate: Signed,
    /// A number that the sender chose when it started: another one tells that it forgot everything before.
    pub(crate) incarnation: u64,
    /// The last link with the receiver that ended, as far as the sender knows.
    pub(crate) ended_link: Option<u64>,
    /// With what right it comes.
    pub(crate) standing: Standing,
}

/// With what right somebody comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// As a member.
    Member(Credentials),
    /// With an invite, signed by the organization that it comes to.
    Newcomer(Signed),
    /// With a pairing code of the organization that it comes to: it wants to be its other sub-node. Its certificate is signed
    /// by a key that it threw away.
    Partner {
        /// What makes the code one.
        secret: PairingSecret,
    },
}

/// A peer's fault with no more text than a person would read, and nothing that could steer a terminal.
pub(crate) fn readable(fault: Fault) -> Fault {
    let clean = |text: String| -> String {
        text.chars().filter(|character| !character.is_control()).take(MESSAGE_CHARACTERS_MAX).collect()
    };
    Fault { code: fault.code, message: clean(fault.message), place: fault.place, help: fault.help.map(clean) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(key: &SigningKey) -> OrganizationId {
        OrganizationId(key.verifying_key().to_bytes())
    }

    // F3: what is forwarded is signed for one receiver and one place.
    #[test]
    fn a_forwarded_body_opens_only_for_its_receiver_and_only_from_its_signer() {
        let (sender, receiver, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]), [3; 32]);
        let other = id(&SigningKey::from_bytes(&other));
        let body = ForwardBody { to: id(&receiver), sequence: 7, body: ByteBuf::from(b"goods".to_vec()) };
        let signed = body.sign(&sender);
        assert_eq!(ForwardBody::open(&signed, id(&sender), id(&receiver)).unwrap(), body);
        assert_eq!(ForwardBody::open(&signed, id(&sender), other).unwrap_err().code, Code::FrameRefused);
        assert_eq!(ForwardBody::open(&signed, other, id(&receiver)).unwrap_err().code, Code::FrameRefused);
    }

    #[test]
    fn the_estimate_of_a_frames_size_is_never_too_small() {
        let signed = Signed { by: OrganizationId([9; 32]), bytes: vec![1; 70_000], signature: vec![2; 64] };
        for frame in [
            Frame::Digest(vec![(OrganizationId([9; 32]), u64::MAX); 1_000]),
            Frame::Records(vec![signed.clone(); 3]),
            Frame::Forward(vec![signed.clone(); 3]),
            Frame::Confirm(signed),
            Frame::Position { accepted_through: u64::MAX },
        ] {
            let estimate = frame.bytes_max();
            let mut bytes = Vec::new();
            ciborium::into_writer(&Packet::Frame(frame), &mut bytes).unwrap();
            assert!(bytes.len() <= estimate, "{} > {estimate}", bytes.len());
        }
    }

    #[test]
    fn a_part_that_is_not_copied_looks_the_same_on_the_wire() {
        let mut bytes = Vec::new();
        ciborium::into_writer(&Outgoing::Duty { part: serde_bytes::Bytes::new(b"said"), last: true }, &mut bytes)
            .unwrap();
        let packet: Packet = ciborium::from_reader(&bytes[..]).unwrap();
        assert_eq!(packet, Packet::Duty { part: ByteBuf::from(b"said".to_vec()), last: true });
    }

    #[test]
    fn secrets_are_compared_and_never_shown() {
        let (secret, mut other) = (PairingSecret([7; 32]), [7; 32]);
        assert_eq!(secret, PairingSecret(other));
        other[31] = 8;
        assert_ne!(secret, PairingSecret(other));
        let answer = Packet::Paired(Sealed(ByteBuf::from(vec![7; 100])));
        let shown = format!("{:?} {answer:?}", Standing::Partner { secret });
        assert!(!shown.contains('7') && shown.contains("100 bytes"), "{shown}");
    }

    #[test]
    fn a_peers_words_cannot_steer_a_terminal_or_fill_a_screen() {
        let fault = readable(Fault::new(Code::FrameRefused, format!("\u{1b}[2J{}", "a".repeat(10_000))));
        assert!(fault.message.starts_with("[2J") && fault.message.chars().count() == MESSAGE_CHARACTERS_MAX);
    }
}
