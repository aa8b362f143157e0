//! Who the organizations and sub-nodes of a simulated federation are: keys and papers, made from their numbers.

use ed25519_dalek::SigningKey;
use hansa_core::{
    ident::{OrganizationId, SubnodeId},
    membership::{Admission, Charter, Credentials},
    moment::Moment,
    signed::{Purpose, Signed},
};

/// The key of an organization.
pub fn signing_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

/// An organization.
pub fn organization(number: u8) -> OrganizationId {
    OrganizationId(signing_key(number).verifying_key().to_bytes())
}

pub(super) fn transport_key(organization: u8, side: u8) -> SigningKey {
    SigningKey::from_bytes(&[100 + organization * 2 + side; 32])
}

/// A sub-node of an organization.
pub fn subnode(organization: u8, side: u8) -> SubnodeId {
    SubnodeId(transport_key(organization, side).verifying_key().to_bytes())
}

/// The name of organization `number`.
pub fn name(number: u8) -> String {
    format!("org{number}")
}

/// Member 1 founded the federation and admitted all others.
pub(super) fn credentials(number: u8) -> Credentials {
    let charter =
        Charter { name: "Federation".parse().expect("it is a name"), founder: organization(1), founded: Moment(1) };
    let charter = Signed::new(&signing_key(1), Purpose::Charter, &charter);
    let mut credentials = Credentials { charter, admissions: Vec::new() };
    if number > 1 {
        let admission = Admission {
            federation: credentials.federation(),
            organization: organization(number),
            name: name(number).parse().expect("it is a name"),
            admitted: Moment(2),
        };
        credentials.admissions.push(Signed::new(&signing_key(1), Purpose::Admission, &admission));
    }
    credentials
}
