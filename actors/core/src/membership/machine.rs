//! Membership of this node: which federation it belongs to, which invites it has given, and whom it has admitted.

use crate::{
    code::{Code, Fault},
    dice::Dice,
    ident::{FederationId, OrganizationId, OrganizationName},
    limit,
    machine::{Decision, Machine},
    membership::{Credentials, InviteText},
    moment::Moment,
    session::Asker,
    signed::Signed,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The membership of one node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Membership {
    credentials: Option<Credentials>,
    /// Open and used invites by the hash of their secret.
    invites: BTreeMap<InviteKey, Given>,
}

/// The hash of an invite's secret: the journal need not hold what opens the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InviteKey(u128);

impl InviteKey {
    /// The key of a secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let hash = blake3::hash(secret);
        Self(u128::from_be_bytes(hash.as_bytes()[..16].try_into().expect("a BLAKE3 hash has 32 bytes")))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Given {
    expires: Moment,
    used_by: Option<OrganizationId>,
}

/// What is asked of the membership.
#[derive(Debug)]
pub enum Input {
    /// Belong to this federation: the founder's own, or one that admitted this node.
    Belong {
        /// Whom to acknowledge.
        asker: Asker,
        /// This node's organization.
        organization: OrganizationId,
        /// Its papers.
        credentials: Credentials,
    },
    /// Give an invite.
    Invite {
        /// Whom to acknowledge.
        asker: Asker,
        /// The hash of its secret.
        key: InviteKey,
        /// After this it opens nothing.
        expires: Moment,
    },
    /// A newcomer shows an invite.
    Knock {
        /// Whom to acknowledge.
        asker: Asker,
        /// The invite, signed by whoever gave it.
        invite: Signed,
        /// Who knocks.
        organization: OrganizationId,
        /// Its name.
        name: OrganizationName,
    },
    /// Nothing: invites expire by being looked at.
    Due,
    /// Nothing.
    Resumed,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// The node belongs to a federation.
    Joined(Credentials),
    /// An invite was given.
    Invited {
        /// The hash of its secret.
        key: InviteKey,
        /// After this it opens nothing.
        expires: Moment,
        /// When it was given.
        at: Moment,
    },
    /// A newcomer was admitted.
    Admitted {
        /// By which invite.
        key: InviteKey,
        /// Who.
        organization: OrganizationId,
        /// Its name.
        name: OrganizationName,
    },
}

/// What the membership wants done.
#[derive(Debug)]
pub enum Effect {
    /// Acknowledge: for a knock that means that the newcomer may be given its admission.
    Acknowledge {
        /// To whom.
        asker: Asker,
        /// What was done.
        word: &'static str,
    },
}

impl Membership {
    /// This node's papers, once it belongs to a federation.
    #[must_use]
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Whether this node may go to another federation: it may as long as it is alone in the one that it founded.
    ///
    /// # Errors
    /// [`Code::InviteForeign`]: others are there, or were invited.
    pub fn may_leave(&self) -> Result<(), Fault> {
        match &self.credentials {
            Some(credentials) if !credentials.admissions.is_empty() || !self.invites.is_empty() => Err(Fault::new(
                Code::InviteForeign,
                format!(
                    "this node belongs to federation {} already, and is not alone there",
                    credentials.federation().short()
                ),
            )),
            _ => Ok(()),
        }
    }

    fn federation(&self) -> Option<FederationId> {
        self.credentials.as_ref().map(Credentials::federation)
    }

    fn knock(
        &self,
        now: Moment,
        asker: Asker,
        invite: Signed,
        organization: OrganizationId,
        name: OrganizationName,
    ) -> Result<Decision<Self>, Fault> {
        let invite = InviteText::new(invite)?.invite;
        if Some(invite.credentials.federation()) != self.federation() {
            return Err(Fault::new(Code::InviteForeign, "the invite is for another federation than this node's"));
        }
        let key = InviteKey::new(&invite.secret);
        let acknowledge = Effect::Acknowledge { asker, word: "admitted" };
        match self.invites.get(&key) {
            None => Err(Fault::new(Code::InviteExpired, "this node has not given that invite, or has forgotten it")),
            // A newcomer whose admission was lost on the way knocks again with the same invite.
            Some(given) if given.used_by == Some(organization) => Ok(Decision::nothing().effect(acknowledge)),
            Some(given) if given.used_by.is_some() => {
                Err(Fault::new(Code::InviteExpired, "the invite was used by another organization"))
            }
            Some(given) if given.expires <= now => {
                Err(Fault::new(Code::InviteExpired, format!("the invite was good until {}", given.expires)))
            }
            Some(_) => Ok(Decision::nothing().record(Record::Admitted { key, organization, name }).effect(acknowledge)),
        }
    }
}

impl Machine for Membership {
    type Key = ();
    type Input = Input;
    type Record = Record;
    type Effect = Effect;
    type Around = ();

    fn is_journaled(_: &Record) -> bool {
        true
    }

    fn new((): &()) -> Self {
        Self::default()
    }

    fn decide(&self, (): &(), now: Moment, _: &mut Dice, input: Input) -> Result<Decision<Self>, Fault> {
        match input {
            Input::Belong { asker, organization, credentials } => {
                credentials.verify(credentials.federation(), organization)?;
                let acknowledge = Effect::Acknowledge { asker, word: "joined" };
                match self.federation() {
                    Some(federation) if federation != credentials.federation() => {
                        self.may_leave()?;
                        Ok(Decision::nothing().record(Record::Joined(credentials)).effect(acknowledge))
                    }
                    Some(_) => Ok(Decision::nothing().effect(acknowledge)),
                    None => Ok(Decision::nothing().record(Record::Joined(credentials)).effect(acknowledge)),
                }
            }
            Input::Invite { asker, key, expires } => {
                if self.federation().is_none() {
                    return Err(Fault::new(Code::DataMissing, "this node belongs to no federation yet")
                        .help("found one with `hansa init`, or join one with `hansa join INVITE`"));
                }
                let current = || self.invites.values().filter(|given| given.expires > now);
                let open = current().filter(|given| given.used_by.is_none()).count();
                if open >= limit::INVITES_MAX || current().count() >= limit::MEMBERS_MAX {
                    return Err(Fault::new(Code::LimitReached, format!("{open} invites are open already"))
                        .help("wait until one of them is used or expires"));
                }
                if self.invites.contains_key(&key) {
                    return Err(Fault::new(Code::InviteExpired, "an invite with this secret was given already"));
                }
                Ok(Decision::nothing()
                    .record(Record::Invited { key, expires, at: now })
                    .effect(Effect::Acknowledge { asker, word: "invited" }))
            }
            Input::Knock { asker, invite, organization, name } => self.knock(now, asker, invite, organization, name),
            Input::Due | Input::Resumed => Ok(Decision::nothing()),
        }
    }

    fn absorb(&mut self, record: &Record) {
        match record {
            Record::Joined(credentials) => self.credentials = Some(credentials.clone()),
            Record::Invited { key, expires, at } => {
                // Invites that open nothing any more are forgotten when a new one is given, so that they cannot pile up.
                self.invites.retain(|_, given| given.expires > *at);
                self.invites.entry(*key).or_insert(Given { expires: *expires, used_by: None });
            }
            Record::Admitted { key, organization, .. } => {
                if let Some(given) = self.invites.get_mut(key) {
                    given.used_by = Some(*organization);
                }
            }
        }
    }

    fn wakes_at(&self) -> Option<Moment> {
        None
    }

    fn due() -> Input {
        Input::Due
    }

    fn resumed() -> Input {
        Input::Resumed
    }
}
