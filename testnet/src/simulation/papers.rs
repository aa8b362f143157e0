//! Who the organizations and sub-nodes of a simulated federation are: keys and papers, made from their numbers.

use ed25519_dalek::SigningKey;
use hansa_core::{
    ident::{OrganizationId, SubnodeId},
    membership::{Admission, Charter, Credentials},
    moment::Moment,
    signed::{Purpose, Signed},
};
use std::sync::LazyLock;

/// Keys by the byte that they are made from; to make one takes as long as a whole event.
static KEYS: LazyLock<Vec<SigningKey>> =
    LazyLock::new(|| (0..=u8::MAX).map(|byte| SigningKey::from_bytes(&[byte; 32])).collect());

/// The key of an organization.
pub fn signing_key(number: u8) -> SigningKey {
    KEYS[usize::from(number)].clone()
}

/// An organization.
pub fn organization(number: u8) -> OrganizationId {
    OrganizationId(KEYS[usize::from(number)].verifying_key().to_bytes())
}

fn transport(organization: u8, side: u8) -> &'static SigningKey {
    &KEYS[100 + usize::from(organization) * 2 + usize::from(side)]
}

pub(super) fn transport_key(organization: u8, side: u8) -> SigningKey {
    transport(organization, side).clone()
}

/// A sub-node of an organization.
pub fn subnode(organization: u8, side: u8) -> SubnodeId {
    SubnodeId(transport(organization, side).verifying_key().to_bytes())
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
