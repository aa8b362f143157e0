//! Decides whether a peer is who it says, and has a right to speak to this node (F3, F4, F6).
//!
//! Called by a session once the peer's hello is there. The transport has proved which key the peer holds; everything else
//! is proved by signatures here. Asks nobody, waits for nothing.

use crate::{
    frame::{Hello, PROTOCOL_VERSION, PairingSecret, Standing},
    identity::Keys,
};
use ed25519_dalek::SigningKey;
use hansa_core::{
    code::{Code, Fault},
    ident::{City, FederationId, OrganizationId, OrganizationName, SubnodeId},
    membership::{Certificate, Credentials, InviteText},
    moment::Moment,
    signed::{Purpose, Signed},
};

/// Who this node is, apart from what it is a member of.
#[derive(Clone)]
pub struct Identity {
    /// The transport's key.
    pub node: SigningKey,
    /// A signed [`Certificate`] for that key.
    pub certificate: Signed,
}

impl Identity {
    /// The identity of a node that holds both keys itself.
    #[must_use]
    pub fn new(keys: &Keys, name: OrganizationName, city: City, issued: Moment) -> Self {
        let certificate = Certificate { subnode: keys.subnode_id(), name, city, issued };
        Self {
            node: keys.node.clone(),
            certificate: Signed::new(&keys.organization, Purpose::Certificate, &certificate),
        }
    }

    /// Whose node it is.
    #[must_use]
    pub fn organization(&self) -> OrganizationId {
        self.certificate.by
    }

    /// Which node it is.
    #[must_use]
    pub fn subnode(&self) -> SubnodeId {
        SubnodeId(self.node.verifying_key().to_bytes())
    }
}

/// What a peer's hello is held against.
pub(crate) struct Expected {
    pub(crate) federation: FederationId,
    pub(crate) terms_hash: [u8; 32],
    pub(crate) organization: OrganizationId,
    /// This node's own key.
    pub(crate) own: SubnodeId,
    /// The key that the transport proved.
    pub(crate) peer: SubnodeId,
}

/// Who the peer is.
#[derive(Debug)]
pub(crate) enum Proved {
    Member {
        organization: OrganizationId,
        certificate: Certificate,
    },
    Newcomer {
        organization: OrganizationId,
        certificate: Certificate,
        invite: Box<InviteText>,
    },
    /// Only the secret tells whether it may become a sub-node of this organization.
    Partner {
        certificate: Certificate,
        secret: PairingSecret,
    },
}

/// Check everything in a hello.
pub(crate) fn prove(hello: &Hello, expected: &Expected) -> Result<Proved, Fault> {
    if hello.protocol_version != PROTOCOL_VERSION {
        return Err(Fault::new(
            Code::VersionUnknown,
            format!(
                "the peer speaks version {} of the link protocol, this node {PROTOCOL_VERSION}",
                hello.protocol_version
            ),
        ));
    }
    // Whoever comes with a pairing code knows of no federation yet.
    if !matches!(hello.standing, Standing::Partner { .. }) && hello.federation != expected.federation {
        let (theirs, ours) = (hello.federation.short(), expected.federation.short());
        return Err(Fault::new(
            Code::MemberUnknown,
            format!("the peer belongs to another federation: {theirs} instead of {ours}"),
        ));
    }
    let certificate = prove_certificate(&hello.certificate, expected.peer)?;
    let organization = hello.certificate.by;
    if expected.peer == expected.own {
        return Err(Fault::new(
            Code::MemberUnknown,
            format!("the peer says that it is {}, this very node", expected.own.short()),
        )
        .help("two data directories seem to hold the same keys; stop one of them"));
    }
    let proved = match &hello.standing {
        Standing::Member(credentials) => {
            credentials.verify(expected.federation, organization)?;
            Proved::Member { organization, certificate }
        }
        Standing::Newcomer(_) if organization == expected.organization => {
            return Err(Fault::new(
                Code::MemberUnknown,
                format!("the peer says that it is {} itself, this node's own organization", organization.short()),
            )
            .help("a second node of the organization joins with `hansa pair join`, not with an invite"));
        }
        Standing::Newcomer(signed) => {
            let invite = InviteText::new(signed.clone())?;
            if invite.inviter() != expected.organization
                || invite.invite.credentials.federation() != expected.federation
            {
                return Err(Fault::new(Code::InviteForeign, "the invite is not from this member of this federation"));
            }
            Proved::Newcomer { organization, certificate, invite: Box::new(invite) }
        }
        Standing::Partner { secret } => Proved::Partner { certificate, secret: *secret },
    };
    // Last, so that only who belongs here learns that its terms are behind.
    if hello.terms_hash != expected.terms_hash {
        return Err(Fault::new(
            Code::TermsDiffer,
            format!("{} has other terms of the federation than this node", organization.short()),
        ));
    }
    Ok(proved)
}

/// Check that a certificate is for the key that the transport proved.
fn prove_certificate(signed: &Signed, peer: SubnodeId) -> Result<Certificate, Fault> {
    let certificate: Certificate = signed.open(Purpose::Certificate, Code::CertificateForged)?;
    if certificate.subnode == peer {
        return Ok(certificate);
    }
    Err(Fault::new(
        Code::CertificateForged,
        format!("{} shows a certificate that is for {}", peer.short(), certificate.subnode.short()),
    ))
}

/// Check the credentials that an inviter answered with.
pub(crate) fn prove_admission(
    credentials: &Credentials,
    invite: &InviteText,
    organization: OrganizationId,
) -> Result<(), Fault> {
    credentials.verify(invite.invite.credentials.federation(), organization)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_core::membership::{Charter, Invite};

    fn hello(keys: &Keys, standing: Standing) -> Hello {
        let identity = Identity::new(keys, "Name".parse().unwrap(), "City".parse().unwrap(), Moment(1));
        Hello {
            protocol_version: PROTOCOL_VERSION,
            federation: FederationId([0; 32]),
            terms_hash: [1; 32],
            certificate: identity.certificate,
            incarnation: 1,
            ended_link: None,
            standing,
        }
    }

    fn founder() -> (Keys, Credentials) {
        let keys = Keys::generate();
        let charter =
            Charter { name: "Exchange".parse().unwrap(), founder: keys.organization_id(), founded: Moment(1) };
        let charter = Signed::new(&keys.organization, Purpose::Charter, &charter);
        (keys, Credentials { charter, admissions: vec![] })
    }

    fn other_node(keys: &Keys) -> Keys {
        Keys { organization: keys.organization.clone(), node: Keys::generate().node }
    }

    fn expected(by: &Keys, credentials: &Credentials, peer: &Keys) -> Expected {
        Expected {
            federation: credentials.federation(),
            terms_hash: [1; 32],
            organization: by.organization_id(),
            own: by.subnode_id(),
            peer: peer.subnode_id(),
        }
    }

    // M1: the two sub-nodes of an organization know each other by its signature; nobody is its own partner.
    #[test]
    fn the_other_subnode_of_the_organization_is_a_member_and_the_same_one_is_not() {
        let (keys, credentials) = founder();
        let federation = credentials.federation();
        let shown = |by: &Keys| Hello { federation, ..hello(by, Standing::Member(credentials.clone())) };
        let partner = other_node(&keys);
        let proved = prove(&shown(&partner), &expected(&keys, &credentials, &partner)).unwrap();
        assert!(matches!(proved, Proved::Member { organization, .. } if organization == keys.organization_id()));
        let fault = prove(&shown(&keys), &expected(&keys, &credentials, &keys)).unwrap_err();
        assert_eq!(fault.code, Code::MemberUnknown);
        // A certificate for the partner does not help who has another key.
        let thief = Keys::generate();
        let fault = prove(&shown(&partner), &expected(&keys, &credentials, &thief)).unwrap_err();
        assert_eq!(fault.code, Code::CertificateForged);
    }

    #[test]
    fn an_organization_is_not_invited_into_its_own_federation() {
        let (keys, credentials) = founder();
        let invite = Invite {
            credentials: credentials.clone(),
            name: "Name".parse().unwrap(),
            addresses: vec![],
            secret: vec![5; 16],
            expires: Moment(u64::MAX),
        };
        let invite = Signed::new(&keys.organization, Purpose::Invite, &invite);
        let partner = other_node(&keys);
        let shown = Hello { federation: credentials.federation(), ..hello(&partner, Standing::Newcomer(invite)) };
        let fault = prove(&shown, &expected(&keys, &credentials, &partner)).unwrap_err();
        assert_eq!(fault.code, Code::MemberUnknown);
        assert!(fault.advice().contains("pair join"), "{}", fault.advice());
    }

    // M1: whoever wants to be a partner knows no federation, but its key is proved and its terms are the same.
    #[test]
    fn a_pairing_code_comes_with_a_key_of_its_own_and_the_same_terms() {
        let (keys, credentials) = founder();
        let newcomer = Keys::generate();
        let standing = Standing::Partner { secret: PairingSecret([3; 32]) };
        let shown = hello(&newcomer, standing);
        let proved = prove(&shown, &expected(&keys, &credentials, &newcomer)).unwrap();
        assert!(matches!(proved, Proved::Partner { secret, .. } if secret == PairingSecret([3; 32])));
        let stranger = expected(&keys, &credentials, &Keys::generate());
        assert_eq!(prove(&shown, &stranger).unwrap_err().code, Code::CertificateForged);
        let other_terms = Hello { terms_hash: [2; 32], ..shown };
        let fault = prove(&other_terms, &expected(&keys, &credentials, &newcomer)).unwrap_err();
        assert_eq!(fault.code, Code::TermsDiffer);
    }
}
