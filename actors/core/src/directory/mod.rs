//! The directory: the services of this organization, and the signed records of all members (F5).
//!
//! Every member signs one record about itself: name, sub-nodes, addresses, public services. The newest wins. On connecting,
//! two nodes compare what they have and send each other what is newer; a record that changes a node's picture is passed on
//! to its other peers. A private service is in no record, so it never leaves its node.

use crate::{
    code::{Code, Fault},
    dice::Dice,
    ident::{FederationId, OrganizationId, OrganizationName, ServiceName, SubnodeId},
    limit,
    machine::{Decision, Machine},
    membership::{Certificate, Credentials},
    moment::Moment,
    offer::{Offers, PeerOffer, Service},
    session::Asker,
    signed::{Purpose, Signed},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// What a member says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// Who it is: must be the signer.
    pub organization: OrganizationId,
    /// Its name.
    pub name: OrganizationName,
    /// Its papers: whoever has the charter can check them.
    pub credentials: Credentials,
    /// Grows with every change; the greatest wins.
    pub version: u64,
    /// Its sub-nodes.
    pub subnodes: Vec<Subnode>,
    /// Its public services.
    pub services: Vec<Service>,
}

/// One sub-node of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnode {
    /// The signed [`Certificate`].
    pub certificate: Signed,
    /// Where it listens, as multiaddresses.
    pub addresses: Vec<String>,
}

/// A member as the directory knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Member {
    /// The record as its organization signed it.
    pub signed: Signed,
    /// The same, opened and checked.
    pub record: MemberRecord,
    /// The certificates of its sub-nodes, opened and checked.
    pub certificates: Vec<Certificate>,
    /// When this node took it in.
    pub merged: Moment,
}

/// The directory of one node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Directory {
    own: Option<Own>,
    services: BTreeMap<ServiceName, Service>,
    members: BTreeMap<OrganizationId, Member>,
}

/// What this node says about itself beside its services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// Its organization.
    pub organization: OrganizationId,
    /// Its name.
    pub name: OrganizationName,
    /// Its papers.
    pub credentials: Credentials,
    /// Its sub-nodes.
    pub subnodes: Vec<Subnode>,
}

/// What is asked of the directory, or arrives for it.
#[derive(Debug)]
pub enum Input {
    /// This node says who it is; again at each start, since addresses change.
    Introduce(Own),
    /// A session registers a service of this node.
    Register {
        /// Whom to acknowledge.
        asker: Asker,
        /// The service.
        service: Service,
        /// How many invocations the session takes at once.
        credit: u32,
    },
    /// A service shall not be known any more.
    Remove {
        /// Whom to acknowledge.
        asker: Asker,
        /// Which.
        service: ServiceName,
    },
    /// Write this node's own record anew, if it says something else than before.
    Publish,
    /// Draw the picture of who offers what anew.
    Redraw,
    /// This node's own record, signed.
    Signed(Signed),
    /// A record came from a peer.
    Arrived {
        /// Which peer passed it on.
        from: OrganizationId,
        /// The record.
        signed: Signed,
    },
    /// A peer is connected.
    Connected {
        /// Which.
        peer: OrganizationId,
    },
    /// A peer says what it has.
    Digest {
        /// Which peer.
        from: OrganizationId,
        /// Organizations and the versions of their records.
        versions: Vec<(OrganizationId, u64)>,
    },
    /// Nothing: the directory sets no timers.
    Due,
    /// The process has started again.
    Resumed,
}

/// What happened in the directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// This node said who it is.
    Introduced(Own),
    /// A service was registered.
    Registered(Service),
    /// A service was removed.
    Removed(ServiceName),
    /// A member's record was taken in.
    Merged {
        /// The record.
        signed: Signed,
        /// When.
        merged: Moment,
    },
}

/// What the directory wants done.
#[derive(Debug)]
pub enum Effect {
    /// Sign this as the organization, and hand it back.
    Sign(MemberRecord),
    /// Pass a record on to all connected peers but one.
    Announce {
        /// The record.
        signed: Signed,
        /// Whoever it came from.
        except: Option<OrganizationId>,
    },
    /// Tell a peer what this node has.
    SendDigest {
        /// Which peer.
        to: OrganizationId,
        /// Organizations and the versions of their records.
        versions: Vec<(OrganizationId, u64)>,
    },
    /// Send a peer records that are newer than what it has.
    SendRecords {
        /// Which peer.
        to: OrganizationId,
        /// The records.
        records: Vec<Signed>,
    },
    /// Where a member's sub-nodes can be reached.
    Learn {
        /// Sub-nodes with their addresses.
        subnodes: Vec<(SubnodeId, Vec<String>)>,
    },
    /// The picture of who offers what has changed.
    Redraw(Offers),
    /// The session performs the service from now on.
    Attach {
        /// Whom to acknowledge.
        asker: Asker,
        /// Which service.
        service: ServiceName,
        /// How many invocations it takes at once.
        credit: u32,
    },
    /// Acknowledge what was asked.
    Acknowledge {
        /// To whom.
        asker: Asker,
        /// What was done.
        word: &'static str,
    },
}

impl Directory {
    /// The members that the directory knows, this node's organization among them.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Where each sub-node of each member can be reached.
    #[must_use]
    pub fn whereabouts(&self) -> Vec<(SubnodeId, Vec<String>)> {
        self.members.values().flat_map(learned).collect()
    }

    /// The services of this node.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// The picture of who offers what.
    #[must_use]
    pub fn offers(&self) -> Offers {
        let Some(own) = &self.own else { return Offers::default() };
        let peers = self.members.values().filter(|member| member.record.organization != own.organization);
        Offers::new(
            own.organization,
            own.name.clone(),
            self.services.values().cloned(),
            peers.filter_map(|member| {
                Some(PeerOffer {
                    organization: member.record.organization,
                    name: member.record.name.clone(),
                    city: member.certificates.first()?.city.clone(),
                    services: member.record.services.clone(),
                })
            }),
        )
    }

    fn versions(&self) -> Vec<(OrganizationId, u64)> {
        self.members.values().map(|member| (member.record.organization, member.record.version)).collect()
    }

    fn federation(&self) -> Option<FederationId> {
        self.own.as_ref().map(|own| own.credentials.federation())
    }

    /// This node's own record, if it says something else than the one that is published.
    fn draft(&self, now: Moment) -> Option<MemberRecord> {
        let own = self.own.as_ref()?;
        let published = self.members.get(&own.organization).map(|member| &member.record);
        let mut draft = MemberRecord {
            organization: own.organization,
            name: own.name.clone(),
            credentials: own.credentials.clone(),
            version: published.map_or(0, |record| record.version),
            subnodes: own.subnodes.clone(),
            services: self.services.values().filter(|service| service.public).cloned().collect(),
        };
        if published == Some(&draft) {
            return None;
        }
        // Time in the version lets a node that lost its data overtake what its peers remember of it.
        draft.version = now.0.max(draft.version.saturating_add(1));
        Some(draft)
    }

    fn register(&self, asker: Asker, service: Service, credit: u32) -> Result<Decision<Self>, Fault> {
        if service.operations.is_empty() || service.operations.len() > limit::SERVICE_OPERATIONS_MAX {
            return Err(Fault::new(
                Code::ServiceConflict,
                format!("service {} signs up for {} operations", service.name, service.operations.len()),
            )
            .help(format!("sign up for 1 to {}", limit::SERVICE_OPERATIONS_MAX)));
        }
        if service.name.as_str().starts_with("CXts") || service.name.as_str() == "ANY" {
            return Err(Fault::new(
                Code::ServiceConflict,
                format!("the name {} is reserved: it means something else in a transaction definition", service.name),
            ));
        }
        let known = self.services.get(&service.name);
        if known.is_none() && self.services.len() >= limit::SERVICES_MAX {
            return Err(Fault::new(
                Code::LimitReached,
                format!("{} services are registered already", self.services.len()),
            ));
        }
        let attach = Effect::Attach { asker, service: service.name.clone(), credit };
        Ok(if known == Some(&service) {
            Decision::nothing().effect(attach)
        } else {
            Decision::nothing().record(Record::Registered(service)).effect(attach).then(Input::Publish)
        })
    }

    /// Check a record that came from outside.
    fn checked(&self, signed: &Signed) -> Result<Option<Member>, Fault> {
        let forged = |what: String| Fault::new(Code::RecordForged, what);
        let Some(federation) = self.federation() else { return Ok(None) };
        if signed.bytes.len() > limit::DIRECTORY_RECORD_BYTES_MAX {
            return Err(forged(format!("the record of {} is too large", signed.by.short())));
        }
        // The version that is known already is the common case, and needs no signature checked.
        if self.members.get(&signed.by).is_some_and(|member| member.signed.bytes == signed.bytes) {
            return Ok(None);
        }
        let member = open(signed)?;
        member.record.credentials.verify(federation, signed.by)?;
        let known = self.members.get(&signed.by).map(|member| member.record.version);
        if known >= Some(member.record.version) {
            return Ok(None);
        }
        if known.is_none() && self.members.len() >= limit::MEMBERS_MAX {
            return Err(Fault::new(Code::LimitReached, format!("{} members are known already", self.members.len())));
        }
        Ok(Some(member))
    }

    fn merge(&self, signed: Signed, from: Option<OrganizationId>, now: Moment) -> Result<Decision<Self>, Fault> {
        let Some(member) = self.checked(&signed)? else { return Ok(Decision::nothing()) };
        let own = self.own.as_ref().map(|own| own.organization);
        if from.is_some() && own == Some(signed.by) {
            // What peers remember of this node is newer than what it knows itself: say it anew, above that.
            return Ok(Decision::nothing().record(Record::Merged { signed, merged: now }).then(Input::Publish));
        }
        Ok(Decision::nothing()
            .record(Record::Merged { signed: signed.clone(), merged: now })
            .effect(Effect::Announce { signed, except: from })
            .effect(Effect::Learn { subnodes: learned(&member) })
            .then(Input::Redraw))
    }
}

/// Records in packets that a link to a peer can carry.
fn batches<'a>(records: impl Iterator<Item = &'a Signed>) -> Vec<Vec<Signed>> {
    let mut batches: Vec<Vec<Signed>> = Vec::new();
    let mut bytes = 0;
    for record in records {
        bytes += record.bytes.len();
        match batches.last_mut() {
            Some(batch) if bytes <= limit::DIRECTORY_BATCH_BYTES_MAX => batch.push(record.clone()),
            _ => {
                bytes = record.bytes.len();
                batches.push(vec![record.clone()]);
            }
        }
    }
    batches
}

fn learned(member: &Member) -> Vec<(SubnodeId, Vec<String>)> {
    let addresses = member.record.subnodes.iter().map(|subnode| subnode.addresses.clone());
    member.certificates.iter().map(|certificate| certificate.subnode).zip(addresses).collect()
}

/// Open a record: the signatures on it and on its certificates must fit.
fn open(signed: &Signed) -> Result<Member, Fault> {
    member(signed, signed.open(Purpose::Directory, Code::RecordForged)?, |certificate| {
        certificate.open(Purpose::Certificate, Code::CertificateForged)
    })
}

/// The same of a record that was opened before.
fn reopen(signed: &Signed) -> Result<Member, Fault> {
    member(signed, signed.read(Code::RecordForged)?, |certificate| certificate.read(Code::CertificateForged))
}

fn member(
    signed: &Signed,
    record: MemberRecord,
    certificate: impl Fn(&Signed) -> Result<Certificate, Fault>,
) -> Result<Member, Fault> {
    let forged = |what: &str| Fault::new(Code::RecordForged, format!("the record of {} {what}", signed.by.short()));
    if record.organization != signed.by {
        return Err(forged("speaks for another organization"));
    }
    if record.services.len() > limit::SERVICES_MAX || record.services.iter().any(|service| !service.public) {
        return Err(forged("has too many services, or one that is not public"));
    }
    if record.subnodes.is_empty() || record.subnodes.len() > 2 {
        return Err(forged("must name one or two sub-nodes"));
    }
    let mut certificates = Vec::new();
    for subnode in &record.subnodes {
        let opened = certificate(&subnode.certificate)?;
        if subnode.certificate.by != signed.by || subnode.addresses.len() > limit::ADDRESSES_MAX {
            return Err(forged("has a sub-node that its organization did not certify, or too many addresses"));
        }
        certificates.push(opened);
    }
    Ok(Member { signed: signed.clone(), record, certificates, merged: Moment(0) })
}

impl Machine for Directory {
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
        Ok(match input {
            Input::Introduce(own) if self.own.as_ref() == Some(&own) => Decision::nothing().then(Input::Publish),
            Input::Introduce(own) => Decision::nothing().record(Record::Introduced(own)).then(Input::Publish),
            Input::Register { asker, service, credit } => self.register(asker, service, credit)?,
            Input::Remove { asker, service } => {
                if !self.services.contains_key(&service) {
                    return Err(Fault::new(Code::ServiceUnknown, format!("no service {service} is registered here")));
                }
                Decision::nothing()
                    .record(Record::Removed(service))
                    .effect(Effect::Acknowledge { asker, word: "removed" })
                    .then(Input::Publish)
            }
            Input::Publish => {
                let mut decision = Decision::nothing().effect(Effect::Redraw(self.offers()));
                decision.effects.extend(self.draft(now).map(Effect::Sign));
                decision
            }
            Input::Redraw => Decision::nothing().effect(Effect::Redraw(self.offers())),
            Input::Signed(signed) => self.merge(signed, None, now)?,
            Input::Arrived { from, signed } => self.merge(signed, Some(from), now)?,
            Input::Connected { peer } => {
                Decision::nothing().effect(Effect::SendDigest { to: peer, versions: self.versions() })
            }
            Input::Digest { from, versions } => {
                let theirs: BTreeMap<_, _> = versions.into_iter().collect();
                let newer = self
                    .members
                    .values()
                    .filter(|member| theirs.get(&member.record.organization) < Some(&member.record.version));
                let batches = batches(newer.map(|member| &member.signed));
                let effects = batches.into_iter().map(|records| Effect::SendRecords { to: from, records });
                Decision { effects: effects.collect(), ..Decision::nothing() }
            }
            Input::Resumed => {
                let subnodes = self.whereabouts();
                Decision::nothing().effect(Effect::Learn { subnodes }).effect(Effect::Redraw(self.offers()))
            }
            Input::Due => Decision::nothing(),
        })
    }

    fn absorb(&mut self, record: &Record) {
        match record {
            Record::Introduced(own) => self.own = Some(own.clone()),
            Record::Registered(service) => {
                self.services.insert(service.name.clone(), service.clone());
            }
            Record::Removed(service) => {
                self.services.remove(service);
            }
            Record::Merged { signed, merged } => {
                // Checked when it was decided; a journal that is not what was written is found out by its hashes.
                if let Ok(member) = reopen(signed) {
                    self.members.insert(signed.by, Member { merged: *merged, ..member });
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
