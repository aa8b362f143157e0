//! The papers of a federation: charter, admissions, certificates, invites, and how they prove who somebody is.
//!
//! A federation is its charter; its founder signed it. A member is whoever holds a chain of admissions from the founder
//! down to itself. A sub-node is whoever holds the transport key that a member's certificate names. Nothing here asks a
//! third party: whoever has the charter can check any papers alone (F3, F4).

use crate::{
    code::{Code, Fault},
    ident::{City, FederationId, OrganizationId, OrganizationName, SubnodeId},
    limit,
    moment::Moment,
    signed::{Purpose, Signed},
};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How many admissions may lie between the founder and a member.
const ADMISSION_CHAIN_MAX: usize = 64;
/// Characters of an invite's text.
const INVITE_CHARACTERS_MAX: usize = 64 * 1024;
/// How an invite's text begins.
const INVITE_PREFIX: &str = "hansa-invite-";

/// What a federation is founded on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charter {
    /// What people call it.
    pub name: OrganizationName,
    /// Who founded it.
    pub founder: OrganizationId,
    /// When.
    pub founded: Moment,
}

/// The id of the federation that this signed charter founds.
#[must_use]
pub fn federation_id(charter: &Signed) -> FederationId {
    FederationId(*blake3::hash(&charter.bytes).as_bytes())
}

/// A member's word that another organization is a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// To which federation.
    pub federation: FederationId,
    /// Who is admitted.
    pub organization: OrganizationId,
    /// Under which name.
    pub name: OrganizationName,
    /// When.
    pub admitted: Moment,
}

/// An organization's word that a transport key is a sub-node of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The sub-node's transport key.
    pub subnode: SubnodeId,
    /// The organization's name.
    pub name: OrganizationName,
    /// Where the sub-node stands.
    pub city: City,
    /// When it was issued; of two certificates the later counts.
    pub issued: Moment,
}

/// Everything that proves a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The signed [`Charter`].
    pub charter: Signed,
    /// The signed [`Admission`]s from the founder down to the organization; empty for the founder.
    pub admissions: Vec<Signed>,
}

impl Credentials {
    /// The federation that they are for.
    #[must_use]
    pub fn federation(&self) -> FederationId {
        federation_id(&self.charter)
    }

    /// Check that they prove `organization` a member of `federation`.
    ///
    /// # Errors
    /// [`Code::InviteForeign`] for another federation, [`Code::CertificateForged`] for a broken chain.
    pub fn verify(&self, federation: FederationId, organization: OrganizationId) -> Result<(), Fault> {
        if self.federation() != federation {
            return Err(Fault::new(
                Code::InviteForeign,
                format!("{} belongs to another federation: {}", organization.short(), self.federation().short()),
            ));
        }
        let forged = |what: &str| Fault::new(Code::CertificateForged, format!("{what} of {}", organization.short()));
        let charter: Charter = self.charter.open(Purpose::Charter, Code::CertificateForged)?;
        if charter.founder != self.charter.by {
            return Err(forged("the charter is not signed by the founder in the papers"));
        }
        if self.admissions.len() > ADMISSION_CHAIN_MAX {
            return Err(forged("there are too many admissions in the papers"));
        }
        let mut holder = charter.founder;
        for signed in &self.admissions {
            let admission: Admission = signed.open(Purpose::Admission, Code::CertificateForged)?;
            if signed.by != holder || admission.federation != federation {
                return Err(forged("an admission in the papers is not by the member before it:"));
            }
            holder = admission.organization;
        }
        if holder == organization { Ok(()) } else { Err(forged("the papers are for another organization than that")) }
    }
}

/// What a member gives to an organization that may join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// The inviting member's credentials: the newcomer's chain continues them.
    pub credentials: Credentials,
    /// The member's name.
    pub name: OrganizationName,
    /// Where the member's node listens, as multiaddresses that end in its peer id.
    pub addresses: Vec<String>,
    /// What makes the invite one.
    #[serde(with = "serde_bytes")]
    pub secret: Vec<u8>,
    /// After this it opens nothing.
    pub expires: Moment,
}

/// An invite as it is passed on: signed, in one line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteText {
    /// The invite, whole.
    pub signed: Signed,
    /// The same, opened and checked.
    pub invite: Invite,
}

impl InviteText {
    /// Check a signed invite, and open it.
    ///
    /// # Errors
    /// [`Code::InviteMalformed`] unless a member of the invite's own federation signed it whole.
    pub fn new(signed: Signed) -> Result<Self, Fault> {
        let invite: Invite = signed.open(Purpose::Invite, Code::InviteMalformed)?;
        invite.credentials.verify(invite.credentials.federation(), signed.by)?;
        if invite.addresses.is_empty() || invite.addresses.len() > limit::ADDRESSES_MAX {
            return Err(Fault::new(Code::InviteMalformed, "the invite names no address, or too many"));
        }
        Ok(Self { signed, invite })
    }

    /// Who invites.
    #[must_use]
    pub fn inviter(&self) -> OrganizationId {
        self.signed.by
    }
}

impl fmt::Display for InviteText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::new();
        ciborium::into_writer(&self.signed, &mut bytes).map_err(|_| fmt::Error)?;
        write!(out, "{INVITE_PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for InviteText {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self, Fault> {
        let malformed = |what: &str| Fault::new(Code::InviteMalformed, what.to_owned());
        let text = text.trim();
        if text.len() > INVITE_CHARACTERS_MAX {
            return Err(malformed("the text is too long for an invite"));
        }
        let rest = text
            .strip_prefix(INVITE_PREFIX)
            .ok_or_else(|| malformed("an invite begins with 'hansa-invite-', and this text does not"))?;
        let bytes = BASE64URL_NOPAD
            .decode(rest.as_bytes())
            .map_err(|_| malformed("the invite has characters that do not belong there, or is cut off"))?;
        let signed: Signed = ciborium::de::from_reader_with_recursion_limit(&bytes[..], 32)
            .map_err(|_| malformed("the invite is cut off or changed"))?;
        Self::new(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn id(seed: u8) -> OrganizationId {
        OrganizationId(key(seed).verifying_key().to_bytes())
    }

    fn founded_by(seed: u8) -> Credentials {
        let charter = Charter { name: "Grain Exchange".parse().unwrap(), founder: id(seed), founded: Moment(1) };
        Credentials { charter: Signed::new(&key(seed), Purpose::Charter, &charter), admissions: vec![] }
    }

    fn admitted(by: u8, credentials: &Credentials, seed: u8) -> Credentials {
        let admission = Admission {
            federation: credentials.federation(),
            organization: id(seed),
            name: "Newcomer".parse().unwrap(),
            admitted: Moment(2),
        };
        let mut longer = credentials.clone();
        longer.admissions.push(Signed::new(&key(by), Purpose::Admission, &admission));
        longer
    }

    // F4: membership is a chain of signatures that anybody can check with the charter alone.
    #[test]
    fn a_chain_of_admissions_from_the_founder_proves_a_member() {
        let founder = founded_by(1);
        let second = admitted(1, &founder, 2);
        let third = admitted(2, &second, 3);
        let federation = founder.federation();
        assert!(founder.verify(federation, id(1)).is_ok());
        assert!(second.verify(federation, id(2)).is_ok());
        assert!(third.verify(federation, id(3)).is_ok());
        let code = |result: Result<(), Fault>| result.unwrap_err().code;
        assert_eq!(code(third.verify(federation, id(2))), Code::CertificateForged, "they prove their last member only");
        assert_eq!(code(admitted(9, &founder, 4).verify(federation, id(4))), Code::CertificateForged, "by no member");
        assert_eq!(code(founded_by(7).verify(federation, id(7))), Code::InviteForeign, "another federation's");
    }

    #[test]
    fn an_invite_survives_its_text_and_nothing_else_passes_for_one() {
        let credentials = founded_by(1);
        let invite = Invite {
            credentials,
            name: "Acme BV".parse().unwrap(),
            addresses: vec!["/ip4/127.0.0.1/tcp/4100".into()],
            secret: vec![5; 16],
            expires: Moment(10),
        };
        let text = InviteText::new(Signed::new(&key(1), Purpose::Invite, &invite)).unwrap().to_string();
        let read: InviteText = format!("  {text}\n").parse().unwrap();
        assert_eq!((read.inviter(), &read.invite), (id(1), &invite));

        let code = |text: &str| text.parse::<InviteText>().unwrap_err().code;
        assert_eq!(code("hello"), Code::InviteMalformed);
        assert_eq!(code(&text[..text.len() - 9]), Code::InviteMalformed);
        assert_eq!(code(&text.replace('A', "B")), Code::InviteMalformed);
        let stolen = Signed::new(&key(2), Purpose::Invite, &invite);
        assert!(InviteText::new(stolen).is_err(), "an invite that a stranger signed with a member's papers");
    }
}
