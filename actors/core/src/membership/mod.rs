//! Who belongs to the federation: charter, admissions, certificates and invites.

mod credentials;
mod machine;
#[cfg(test)]
mod tests;

pub use credentials::{Admission, Certificate, Charter, Credentials, Invite, InviteText, federation_id};
pub use machine::{Effect, Input, InviteKey, Membership, Record};
