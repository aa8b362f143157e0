//! What this sub-node is to its organization just now: whether it serves, and where its partner is. Whoever runs the pair
//! says so here; the wiring reads it. Nothing is decided here.

use hansa_core::{
    code::{Code, Fault},
    directory::Subnode,
    ident::{City, OrganizationId, SubnodeId},
    membership::Certificate,
    signed::{Purpose, Signed},
};
use std::sync::{PoisonError, RwLock};

/// What a sub-node does for its organization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// It has just started, and nobody has said yet.
    #[default]
    Starting,
    /// It serves.
    Serving {
        /// Since this epoch.
        epoch: u64,
    },
    /// It follows; the other one serves.
    Following,
}

/// The other sub-node, as it has introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    /// Which it is.
    pub subnode: SubnodeId,
    /// Where it stands.
    pub city: City,
    /// What proves it, and where members reach it.
    pub certified: Subnode,
    /// Where services and clients attach to it, host and port.
    pub cxip: String,
}

impl Partner {
    /// The partner that `certificate` proves.
    ///
    /// # Errors
    /// [`Code::CertificateForged`]: it is not one that this organization gave.
    pub fn introduced(
        own: OrganizationId,
        certificate: Signed,
        addresses: Vec<String>,
        cxip: String,
    ) -> Result<Self, Fault> {
        let opened: Certificate = certificate.open(Purpose::Certificate, Code::CertificateForged)?;
        if certificate.by != own {
            let message = format!("{} is no sub-node of this organization", opened.subnode.short());
            return Err(Fault::new(Code::CertificateForged, message));
        }
        let Certificate { subnode, city, .. } = opened;
        Ok(Self { subnode, city, certified: Subnode { certificate, addresses }, cxip })
    }
}

/// See above.
#[derive(Debug, Default)]
pub struct Role {
    part: RwLock<Part>,
    partner: RwLock<Option<Partner>>,
}

impl Role {
    /// What it does now.
    pub fn part(&self) -> Part {
        *self.part.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it does this.
    pub fn set(&self, part: Part) {
        *self.part.write().unwrap_or_else(PoisonError::into_inner) = part;
    }

    /// The partner has introduced itself, or is none any more.
    pub fn meet(&self, partner: Option<Partner>) {
        *self.partner.write().unwrap_or_else(PoisonError::into_inner) = partner;
    }

    /// The other sub-node, if one is known.
    pub fn partner(&self) -> Option<Partner> {
        self.partner.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where services and clients find the one that serves, if that is the other one and known.
    pub fn active_cxip(&self) -> Option<String> {
        (self.part() == Part::Following).then(|| self.partner()).flatten().map(|partner| partner.cxip)
    }

    /// Why this sub-node does nothing of what was asked, and who does.
    pub fn not_active(&self) -> Fault {
        match (self.part(), self.partner()) {
            (Part::Following, Some(Partner { city, cxip, .. })) => {
                Fault::new(Code::NotActive, format!("this sub-node follows; the active one is at {cxip} ({city})"))
                    .help(format!("go to {cxip}; `hansa pair status` says which sub-node is active"))
            }
            (Part::Following, None) => {
                Fault::new(Code::NotActive, "this sub-node follows, and has not heard yet where the active one is")
                    .help("try again in a moment; `hansa pair status` says which sub-node is active")
            }
            (Part::Starting | Part::Serving { .. }, _) => {
                Fault::new(Code::NotActive, "this sub-node does not serve yet, or does not any more")
                    .help("try again in a moment; `hansa pair status` says which sub-node is active")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use hansa_core::moment::Moment;

    fn certificate(key: &SigningKey) -> Signed {
        let certificate = Certificate {
            subnode: SubnodeId([2; 32]),
            name: "Acme BV".parse().unwrap(),
            city: "Hamburg".parse().unwrap(),
            issued: Moment(1),
        };
        Signed::new(key, Purpose::Certificate, &certificate)
    }

    // M4: whoever asks the wrong sub-node hears which is the right one.
    #[test]
    fn a_follower_says_where_the_active_one_is_as_soon_as_it_knows() {
        let (key, stranger) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[9; 32]));
        let own = OrganizationId(key.verifying_key().to_bytes());
        let introduced = |key| Partner::introduced(own, certificate(key), Vec::new(), "10.0.0.2:4000".into());
        assert_eq!(introduced(&stranger).unwrap_err().code, Code::CertificateForged);

        let role = Role::default();
        let fault = role.not_active();
        assert!(fault.code == Code::NotActive && !fault.message.contains("follows"), "{fault}");
        role.set(Part::Following);
        assert!(role.not_active().message.contains("not heard yet"));
        role.meet(Some(introduced(&key).unwrap()));
        assert!(role.not_active().message.contains("10.0.0.2:4000 (Hamburg)"));
        assert_eq!(role.active_cxip().as_deref(), Some("10.0.0.2:4000"));
        role.set(Part::Serving { epoch: 3 });
        assert_eq!(role.active_cxip(), None, "one that serves sends nobody away");
    }
}
