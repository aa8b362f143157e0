//! On how many sites something lies that was acknowledged (M1). What records nothing has none. Machines say the least that holds, for
//! they must not know whether their log is mirrored; the shell, which lets their effects out, knows by which rule entries counted, and
//! says the rest with [`crate::dispatch::Outward::rest_on`].

use crate::code::{Code, Fault};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// See above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// On the disk of the one that serves.
    #[default]
    OneSite,
    /// On the disks of both sub-nodes of a pair.
    TwoSites,
}

impl Durability {
    /// The word for it, in protocols and documents.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::OneSite => "one-site",
            Self::TwoSites => "two-sites",
        }
    }

    /// How many disks that are.
    #[must_use]
    pub const fn sites(self) -> u64 {
        match self {
            Self::OneSite => 1,
            Self::TwoSites => 2,
        }
    }

    /// The same for people.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::OneSite => "one site",
            Self::TwoSites => "two sites",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

impl FromStr for Durability {
    type Err = Fault;

    fn from_str(word: &str) -> Result<Self, Fault> {
        [Self::OneSite, Self::TwoSites].into_iter().find(|one| one.word() == word).ok_or_else(|| {
            Fault::new(Code::MessageMalformed, format!("durability is one-site or two-sites, not '{word}'"))
        })
    }
}
