//! Who belongs to the federation: charter, admissions, certificates and invites.

mod credentials;

pub use credentials::{Admission, Certificate, Charter, Credentials, Invite, InviteText, federation_id};
