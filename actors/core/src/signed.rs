//! What an organization has signed: raw bytes with a signature over them and over their purpose.
//!
//! The bytes are kept and passed on as they were signed, never decoded and encoded again: CBOR has more than one encoding
//! of a value. The purpose keeps a signature for one thing from being shown as one for another.

use crate::{
    code::{Code, Fault},
    ident::OrganizationId,
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// For what a signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The charter of a federation, by its founder.
    Charter,
    /// An admission of a member, by a member.
    Admission,
    /// A certificate of a sub-node's transport key.
    Certificate,
    /// An invite.
    Invite,
    /// A member's directory record.
    Directory,
    /// A frame of the forward protocol.
    Forward,
    /// A receipt for frames.
    Receipt,
}

impl Purpose {
    /// What is signed before the bytes.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Charter => b"hansa/1 charter\0",
            Self::Admission => b"hansa/1 admission\0",
            Self::Certificate => b"hansa/1 certificate\0",
            Self::Invite => b"hansa/1 invite\0",
            Self::Directory => b"hansa/1 directory\0",
            Self::Forward => b"hansa/1 forward\0",
            Self::Receipt => b"hansa/1 receipt\0",
        }
    }
}

/// Signed bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Who signed.
    pub by: OrganizationId,
    /// What was signed: the CBOR of some value.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// The ed25519 signature, 64 bytes.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
}

impl Signed {
    /// Sign `value`, encoded as CBOR.
    #[must_use]
    pub fn new<T: Serialize>(key: &SigningKey, purpose: Purpose, value: &T) -> Self {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).expect("encoding into memory cannot fail");
        let signature = key.sign(&signed_text(purpose, &bytes)).to_bytes().to_vec();
        Self { by: OrganizationId(key.verifying_key().to_bytes()), bytes, signature }
    }

    /// Check the signature and decode what was signed.
    ///
    /// # Errors
    /// A fault with `forged` as its code where the signature does not fit or the bytes are no such value.
    pub fn open<T: DeserializeOwned>(&self, purpose: Purpose, forged: Code) -> Result<T, Fault> {
        let signature = Signature::from_slice(&self.signature);
        let key = VerifyingKey::from_bytes(&self.by.0);
        let fits = match (key, signature) {
            (Ok(key), Ok(signature)) => key.verify_strict(&signed_text(purpose, &self.bytes), &signature).is_ok(),
            _ => false,
        };
        if !fits {
            return Err(Fault::new(
                forged,
                format!("the signature does not fit what {} should have signed", self.by.short()),
            ));
        }
        self.read(forged)
    }

    /// Decode what was signed without a look at the signature: for what was checked when it came, and is one's own since.
    ///
    /// # Errors
    /// A fault with `forged` as its code where the bytes are no such value.
    pub fn read<T: DeserializeOwned>(&self, forged: Code) -> Result<T, Fault> {
        ciborium::de::from_reader_with_recursion_limit(&self.bytes[..], 32)
            .map_err(|_| Fault::new(forged, format!("what {} signed is not what it should be", self.by.short())))
    }
}

fn signed_text(purpose: Purpose, bytes: &[u8]) -> Vec<u8> {
    [purpose.label(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    // F3: an unsigned, forged or repurposed record is refused.
    #[test]
    fn only_the_signers_own_bytes_for_the_same_purpose_open() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let signed = Signed::new(&key, Purpose::Directory, &"hello".to_owned());
        let open = |signed: &Signed, purpose| signed.open::<String>(purpose, Code::RecordForged);
        assert_eq!(open(&signed, Purpose::Directory).unwrap(), "hello");
        assert_eq!(open(&signed, Purpose::Receipt).unwrap_err().code, Code::RecordForged);

        let mut changed = signed.clone();
        changed.bytes[1] ^= 1;
        assert!(open(&changed, Purpose::Directory).is_err());
        let mut stolen = signed.clone();
        stolen.by = OrganizationId(SigningKey::from_bytes(&[4; 32]).verifying_key().to_bytes());
        assert!(open(&stolen, Purpose::Directory).is_err());
        let mut unsigned = signed;
        unsigned.signature.clear();
        assert!(open(&unsigned, Purpose::Directory).is_err());
    }
}
