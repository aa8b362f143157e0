//! The administration's way to the pair: how it is, who joins it, who serves. What the machines of the pair decide is their
//! business; here it is asked and shown.

use super::Machines;
use crate::{
    admin::{
        protocol::{
            Declined, PairAppointed, PairDuty, PairEnded, PairInitiated, PairMode, PairRole, PairSite, PairSnapshot,
            PairStatus, PairSwitched, PairWitness, SnapshotStage, Takeover,
        },
        time::Time,
    },
    folder::Folder,
    pairing::{CODE_MS, Pairing, PairingCode, Papers, Secret, Whereabouts},
};
use hansa_actors::{
    clock,
    duties::{Duty, Paired, Progress, Stage, Status},
    standby::Poison,
};
use hansa_core::{
    code::{Code, Fault},
    directory::{Directory, Member},
    ident::{City, OrganizationId, OrganizationName, SubnodeId},
    membership::Certificate,
    mirror::{
        MemberId, Mode, WITNESSES_MAX,
        pair::{Alarm, State},
    },
};

/// Witnesses that are taken of those who agree, where none were named: four decide with three.
const WITNESSES_CHOSEN: usize = 4;
/// Members that are asked at once.
const CANDIDATES_MAX: usize = 8;

/// What the administration shows of a pair machine's state.
pub fn role(state: State) -> PairRole {
    match state {
        State::Single => PairRole::Single,
        State::Boot => PairRole::Starting,
        State::ActivePair | State::ActiveSolo => PairRole::Active,
        State::Suspect => PairRole::Suspect,
        State::Reconfig => PairRole::Reconfiguring,
        State::Joining => PairRole::Joining,
        State::Switching => PairRole::Switching,
        State::Mirror => PairRole::Mirror,
        State::Takeover => PairRole::TakingOver,
        State::Learner => PairRole::Learner,
    }
}

/// What an operator is told. `docs/pairs.md` says under these words what to do.
pub fn alarm(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::MemoryLost => "this sub-node's disk lost entries that it had: it does not take over",
        Alarm::Diverged => "the two logs differ where they must not: one of the disks returned what was not written",
        Alarm::Unfit => "this sub-node cannot take in an entry of the log: it has everything, and does not take over",
        Alarm::ActiveSilent => "the active is silent, and this sub-node has not everything: it does not take over",
    }
}

/// What an operator is told of a follower whose disk takes nothing.
const SILENT: &str = "this sub-node's disk takes nothing: it keeps silent, and the active goes on without it";

/// What an operator is told between the end of a pair and the next start.
const ENDED: &str = "the pair is ended: start this sub-node again, and it is a single node";

/// The papers with which this sub-node came to a pair, until its part of that has taken them up.
///
/// # Errors
/// What lies there are none.
pub fn pending(folder: &Folder) -> Result<Option<Papers>, Fault> {
    folder.pending_papers().map(|bytes| Papers::from_bytes(&bytes)).transpose()
}

/// What the duties have to know of the papers.
pub fn paired(papers: &Papers) -> Paired {
    Paired { partner: papers.active.subnode, certified: Box::new(papers.founding.clone()) }
}

impl Machines {
    /// Found a pair with these witnesses, named by name or id, or with the members that are connected and offer it; or, where
    /// it is founded already, make the code anew.
    ///
    /// # Errors
    /// [`Code::PairNotReady`]: too few agreed, or it has its two sub-nodes; [`Code::NotActive`].
    pub async fn pair_init(&self, city: Option<City>, witnesses: Vec<String>) -> Result<PairInitiated, Fault> {
        self.house()?;
        let own = self.start.configuration.organization().city();
        if let Some(city) = city.filter(|city| city != own) {
            let message = format!("this node stands in {own}, not in {city}");
            return Err(Fault::new(Code::ConfigurationInvalid, message)
                .help("leave --city out, or set organization.city and start the node again"));
        }
        let duties = self.duties();
        // Where a pair was ended, it is that one which goes on.
        duties.resume().await?;
        let status = duties.status().await?;
        let repeated = status.epoch.is_some();
        // One that may not serve alone keeps the mode until another has come in the place of the mirror that it lost.
        if matches!(status.mode, Some(Mode::Pair { .. })) && status.state != State::Suspect {
            return Err(Fault::new(Code::PairNotReady, "the pair has both its sub-nodes").help(
                "a code is needed only for one in the place of the other: stop that first; `hansa pair status` shows both",
            ));
        }
        let mut declined = Vec::new();
        if !repeated {
            let candidates = self.witness_candidates(&witnesses, |_| false)?;
            let agreed;
            (agreed, declined) = self.ask_witnesses(&candidates, &witnesses).await?;
            let chosen = if witnesses.is_empty() { WITNESSES_CHOSEN } else { WITNESSES_MAX };
            duties.found(agreed.into_iter().take(chosen).collect()).await?;
        }
        let code = self.pairing_code()?;
        let status = duties.status().await?;
        Ok(PairInitiated {
            code: code.to_string(),
            expires: Time(code.expires),
            witnesses: self.witnesses(&status).await,
            declined,
            repeated,
        })
    }

    /// Have these members, named by name or id, take the place of the pair's witnesses; or, where none are named, those that are connected
    /// and offer it, as many as there are now and at least four, those first who are witnesses already.
    ///
    /// # Errors
    /// [`Code::PairNotReady`]: too few agreed, or too few of the present witnesses are there to decide on it; [`Code::NotActive`].
    pub async fn pair_appoint(&self, witnesses: Vec<String>) -> Result<PairAppointed, Fault> {
        self.house()?;
        let duties = self.duties();
        let status = duties.status().await?;
        if status.epoch.is_none() {
            return Err(Fault::new(Code::PairNotReady, "this node is of no pair, so it has no witnesses")
                .help("`hansa pair init` begins a pair"));
        }
        let linked = status.witnesses.iter().filter(|(_, linked)| *linked).count() as u64;
        if linked < status.witnesses_needed {
            let message = format!(
                "{linked} of the {} witnesses are connected, and it takes {} of them to decide on others",
                status.witnesses.len(),
                status.witnesses_needed
            );
            return Err(Fault::new(Code::PairNotReady, message)
                .help("get them back first: ask their operators; `hansa pair status` shows which are away"));
        }
        let present: Vec<_> = status.witnesses.iter().map(|(witness, _)| *witness).collect();
        let is_present = |subnode: &SubnodeId| present.iter().any(|witness| witness.subnode == *subnode);
        let candidates = self.witness_candidates(&witnesses, is_present)?;
        let (mut agreed, declined) = self.ask_witnesses(&candidates, &witnesses).await?;
        if witnesses.is_empty() {
            // Whoever is one already, with the memory that it had, goes on.
            agreed.sort_by_key(|one| (!present.contains(one), !is_present(&one.subnode)));
            agreed.truncate(present.len().max(WITNESSES_CHOSEN));
            if agreed.len() < present.len() {
                let message =
                    format!("{} members would be witnesses, and the pair has {}", agreed.len(), present.len());
                return Err(Fault::new(Code::PairNotReady, message).help(
                    "fewer could lose fewer, so nothing is changed; wait for more members, or name those that it shall have with --witness",
                ));
            }
        }
        // In the order in which they are, so that the same ones are no change.
        agreed.sort_by_key(|one| present.iter().position(|witness| witness == one).unwrap_or(usize::MAX));
        let changed = agreed != present;
        if changed {
            duties.appoint(agreed).await?;
        }
        let status = duties.status().await?;
        Ok(PairAppointed {
            witnesses: self.witnesses(&status).await,
            witnesses_needed: status.witnesses_needed,
            declined,
            epoch: status.epoch.unwrap_or_default(),
            changed,
        })
    }

    /// Ask these whether they will be witnesses: who will, and who will not.
    ///
    /// # Errors
    /// [`Code::PairNotReady`]: one of the members that were named will not.
    async fn ask_witnesses(
        &self,
        candidates: &[(SubnodeId, OrganizationId)],
        named: &[String],
    ) -> Result<(Vec<MemberId>, Vec<Declined>), Fault> {
        let asked = self.duties().ask_witnesses(candidates.iter().map(|(subnode, _)| *subnode).collect()).await?;
        let declined = asked.declined.into_iter().filter_map(|(subnode, why)| {
            let (_, organization) = candidates.iter().find(|(candidate, _)| *candidate == subnode)?;
            Some(Declined { organization: *organization, name: self.known_name(organization), why })
        });
        let declined: Vec<_> = declined.collect();
        if asked.agreed.len() < named.len() {
            let who: Vec<_> =
                declined.iter().map(|one| format!("{}: {}", self.name_of(&one.organization), one.why)).collect();
            let message = format!("not every witness agreed: {}", who.join("; "));
            return Err(Fault::new(Code::PairNotReady, message).help("name others, or none"));
        }
        Ok((asked.agreed, declined))
    }

    /// Sub-nodes of members that could be witnesses: one of each organization, those that serve. Those that
    /// are `preferred` come first, where more are connected than are asked.
    fn witness_candidates(
        &self,
        named: &[String],
        preferred: impl Fn(&SubnodeId) -> bool,
    ) -> Result<Vec<(SubnodeId, OrganizationId)>, Fault> {
        let mut links = self.ways.peers.federation().map(hansa_federation::Handle::peers).unwrap_or_default();
        links.retain(|link| link.up && link.organization != self.own());
        links.sort_by_key(|link| !preferred(&link.subnode));
        let mut connected: Vec<Connected> = Vec::new();
        for link in links {
            if !connected.iter().any(|known| known.organization == link.organization) {
                connected.push(Connected { subnode: link.subnode, organization: link.organization, name: link.name });
            }
        }
        let own_name = self.start.configuration.organization().name();
        let mut candidates = match named {
            [] => connected,
            named => meant(named, &connected, own_name)?,
        };
        candidates.truncate(CANDIDATES_MAX);
        Ok(candidates.into_iter().map(|one| (one.subnode, one.organization)).collect())
    }

    /// How the pair is.
    ///
    /// # Errors
    /// The part that runs it does not answer.
    pub async fn pair_status(&self) -> Result<PairStatus, Fault> {
        let status = self.duties().status().await?;
        let duties = status.duties.iter().map(|duty| self.duty(duty)).collect();
        let Some((mode, epoch)) = status.mode.zip(status.epoch) else {
            let journal = self.statistics().journal;
            return Ok(PairStatus {
                role: PairRole::Single,
                epoch: status.retired.unwrap_or(1),
                mode: PairMode::Single,
                active: self.this_site(),
                mirror: None,
                lag_entries: 0,
                committed: journal.durable,
                tail: journal.tail,
                witnesses: Vec::new(),
                witnesses_needed: 0,
                duties,
                last_takeover: None,
                mirror_fit: true,
                snapshot: None,
                alarm: None,
            });
        };
        Ok(PairStatus {
            role: role(status.state),
            epoch,
            mode: if mode.mirror().is_some() { PairMode::Pair } else { PairMode::Solo },
            active: self.site(mode.active().subnode),
            mirror: mode.mirror().map(|mirror| self.site(mirror.subnode)),
            lag_entries: status.lag_entries,
            committed: status.committed,
            tail: status.tail,
            witnesses: self.witnesses(&status).await,
            witnesses_needed: status.witnesses_needed,
            duties,
            last_takeover: status.took_over.map(|took| Takeover {
                at: Time(took.at),
                epoch: took.epoch,
                why: took.why,
            }),
            mirror_fit: status.follower_fit,
            snapshot: status.snapshot.map(snapshot),
            alarm: match (status.alarm, &status.poison) {
                (Some(Alarm::Unfit), Some(Poison { fault, .. })) => Some(format!("{} ({fault})", alarm(Alarm::Unfit))),
                (known, _) => {
                    let silent = status.silent.then_some(SILENT);
                    known.map(alarm).or(silent).or(status.retired.map(|_| ENDED)).map(str::to_owned)
                }
            },
        })
    }

    /// Let the other sub-node serve, and wait until it does.
    ///
    /// # Errors
    /// [`Code::PairNotReady`]: there is no mirror that has everything; [`Code::NotActive`].
    pub async fn pair_switch(&self) -> Result<PairSwitched, Fault> {
        self.house()?;
        let begun = std::time::Instant::now();
        let duties = self.duties();
        duties.switch().await?;
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = duties.status().await?;
        let active = status.mode.map_or_else(|| self.this_site(), |mode| self.site(mode.active().subnode));
        Ok(PairSwitched { active, epoch: status.epoch.unwrap_or_default(), took_ms })
    }

    /// End the pair: from the next start on this sub-node is a single node.
    ///
    /// # Errors
    /// [`Code::PairNotReady`]: it does not serve alone; [`Code::NotActive`].
    pub async fn pair_end(&self) -> Result<PairEnded, Fault> {
        self.house()?;
        Ok(PairEnded { epoch: self.duties().retire().await? })
    }

    /// Somebody shows a pairing code: if it opens, it becomes the other sub-node.
    ///
    /// # Errors
    /// [`Code::PairingExpired`], or why there is no pair to come to.
    pub(super) async fn pairing(&self, secret: &[u8; 32], certificate: &Certificate) -> Result<Vec<u8>, Fault> {
        let house = self.house()?;
        self.pairings.redeem(secret, clock::now())?;
        let credentials = self
            .credentials()
            .await
            .ok_or_else(|| Fault::new(Code::MemberUnknown, "this node belongs to no federation itself"))?;
        let founding = self.duties().partnered(certificate.subnode).await?;
        let certificate =
            Certificate { name: self.start.configuration.organization().name().clone(), ..certificate.clone() };
        let members = house.look::<Directory, _>(&(), |sight| sight.machine(&()).map(|it| it.whereabouts())).await;
        let members: Vec<_> = members
            .flatten()
            .unwrap_or_default()
            .into_iter()
            .filter(|(subnode, _)| *subnode != self.keys.subnode_id())
            .collect();
        tracing::info!(subnode = %certificate.subnode.short(), city = %certificate.city, "a sub-node joins the pair");
        let key = &self.keys.organization;
        Ok(Pairing::new(key, &certificate, credentials, *founding, self.whereabouts(), members).to_bytes())
    }

    /// What this sub-node was told when it was made: whose it is, and where others are.
    pub(super) fn take_up(&self, papers: Papers) {
        let Papers { credentials, active, mut members, .. } = papers;
        self.remember(credentials);
        members.push((active.subnode, active.federation));
        self.ways.peers.learn(members);
    }

    /// This sub-node, as the administration shows it.
    pub(super) fn this_site(&self) -> PairSite {
        PairSite {
            city: Some(self.start.configuration.organization().city().clone()),
            subnode: self.keys.subnode_id(),
            cxip: Some(self.announced_cxip()),
        }
    }

    /// A sub-node of this organization, as the administration shows it: this one, or the partner as far as it is known.
    pub(super) fn site(&self, subnode: SubnodeId) -> PairSite {
        if subnode == self.keys.subnode_id() {
            return self.this_site();
        }
        let partner = self.role.partner().filter(|partner| partner.subnode == subnode);
        let (city, cxip) = partner.map(|partner| (partner.city, partner.cxip)).unzip();
        PairSite { city, subnode, cxip }
    }

    /// Where services and clients attach to this sub-node, as others are told.
    pub fn announced_cxip(&self) -> String {
        let configured = self.start.configuration.cxip();
        let listens = || self.cxip.get().copied().unwrap_or_else(|| configured.listen()).to_string();
        configured.announce().map_or_else(listens, str::to_owned)
    }

    /// Where services and clients attach besides: what an acknowledged Connect tells as alternates.
    pub fn alternates(&self) -> Vec<String> {
        self.role.partner().map(|partner| partner.cxip).into_iter().collect()
    }

    /// This sub-node, as the papers for another tell of it.
    pub(super) fn whereabouts(&self) -> Whereabouts {
        Whereabouts {
            subnode: self.keys.subnode_id(),
            city: self.start.configuration.organization().city().clone(),
            federation: self.addresses(),
            cxip: self.announced_cxip(),
        }
    }

    /// The witnesses of this pair, as the administration shows them: by the names that the directory has, or on a follower the links.
    async fn witnesses(&self, status: &Status) -> Vec<PairWitness> {
        let links = self.ways.peers.federation().map(hansa_federation::Handle::peers).unwrap_or_default();
        let wanted: Vec<_> = status.witnesses.iter().map(|(witness, _)| witness.subnode).collect();
        let listed = match self.housed() {
            Some(house) => house.look::<Directory, _>(&(), move |sight| named(sight.machine(&()), &wanted)).await,
            None => None,
        };
        let listed = listed.unwrap_or_default();
        let shown = |subnode: SubnodeId, linked| {
            let link = links.iter().find(|link| link.subnode == subnode).map(|link| link.name.clone());
            let listed = || listed.iter().find(|(known, _)| *known == subnode).map(|(_, name)| name.clone());
            PairWitness { name: link.or_else(listed), subnode, linked }
        };
        status.witnesses.iter().map(|(witness, linked)| shown(witness.subnode, *linked)).collect()
    }

    /// A pair that this sub-node is a witness of, as the administration shows it.
    pub(super) fn duty(&self, duty: &Duty) -> PairDuty {
        let Duty { organization, epoch, replaced, ended, heard } = *duty;
        let name = self.known_name(&organization);
        PairDuty { organization, name, epoch, replaced, ended, heard: heard.map(Time) }
    }

    /// The name of a member, from the directory or, on a follower, from the links.
    fn known_name(&self, organization: &OrganizationId) -> Option<OrganizationName> {
        let named = self.housed().and_then(|house| house.surroundings().offers().name(organization).cloned());
        let linked = || {
            let links = self.ways.peers.federation()?.peers();
            links.into_iter().find(|link| link.organization == *organization).map(|link| link.name)
        };
        named.or_else(linked)
    }

    /// Make the code that opens the pair to one more sub-node; the one before opens no more.
    ///
    /// # Errors
    /// This node listens for members nowhere, or the system gives no randomness.
    fn pairing_code(&self) -> Result<PairingCode, Fault> {
        let addresses = self.addresses();
        if addresses.is_empty() {
            return Err(Fault::new(Code::PeerUnreachable, "this node listens for members nowhere")
                .help("set federation.listen, or federation.announce"));
        }
        let code = PairingCode {
            active: self.keys.subnode_id(),
            addresses,
            secret: Secret::random()?,
            expires: clock::now().plus_ms(CODE_MS),
        };
        self.pairings.issue(code.clone());
        Ok(code)
    }
}

/// A member that is connected, by the sub-node that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Connected {
    subnode: SubnodeId,
    organization: OrganizationId,
    name: OrganizationName,
}

/// Which members are meant by these names or beginnings of ids: one by each, and no two by the same.
///
/// # Errors
/// [`Code::PairNotReady`]: what is wrong with which name.
fn meant(named: &[String], connected: &[Connected], own: &OrganizationName) -> Result<Vec<Connected>, Fault> {
    let wrong =
        |message: String| Err(Fault::new(Code::PairNotReady, message).help("`hansa peers` lists who is connected"));
    let mut found: Vec<Connected> = Vec::new();
    for name in named {
        if *name == own.to_string() {
            return wrong(format!("'{name}' is this organization, and nobody witnesses for itself"));
        }
        let by_name = connected.iter().filter(|one| one.name.to_string() == *name);
        let by_id =
            connected.iter().filter(|one| !name.is_empty() && one.organization.to_string().starts_with(name.as_str()));
        let mut fitting: Vec<_> = by_name.collect();
        if fitting.is_empty() {
            fitting = by_id.collect();
        }
        match fitting[..] {
            [one] if found.contains(one) => return wrong(format!("'{name}' is named twice")),
            [one] => found.push(one.clone()),
            [] => {
                let names: Vec<_> = connected.iter().map(|one| one.name.to_string()).collect();
                let message = format!(
                    "not every named witness is connected: '{name}' is not; connected are: {}",
                    names.join(", ")
                );
                return wrong(message);
            }
            _ => {
                return wrong(format!(
                    "more than one member that is connected fits '{name}': name it by more of its id"
                ));
            }
        }
    }
    Ok(found)
}

/// A snapshot on its way, as the administration shows it.
fn snapshot(progress: Progress) -> PairSnapshot {
    let stage = match progress.stage {
        Stage::Making => SnapshotStage::Making,
        Stage::Sending => SnapshotStage::Sending,
        Stage::Receiving => SnapshotStage::Receiving,
        Stage::Installing => SnapshotStage::Installing,
        Stage::NoRoom => SnapshotStage::NoRoom,
    };
    PairSnapshot { stage, bytes: progress.bytes, of: progress.of }
}

/// Whose these sub-nodes are, as far as the directory knows.
fn named(directory: Option<Directory>, wanted: &[SubnodeId]) -> Vec<(SubnodeId, OrganizationName)> {
    let directory = directory.unwrap_or_default();
    let of = |subnode: &SubnodeId| {
        let is_its = |member: &&Member| member.certificates.iter().any(|certificate| certificate.subnode == *subnode);
        directory.members().find(is_its).map(|member| (*subnode, member.record.name.clone()))
    };
    wanted.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_witness_that_is_named_is_one_member_or_it_is_said_which_is_none() {
        let one = |number: u8, name: &str| Connected {
            subnode: SubnodeId([number; 32]),
            organization: OrganizationId([number; 32]),
            name: name.parse().unwrap(),
        };
        let connected = [one(1, "Birch"), one(2, "Cedar"), one(3, "Cedar")];
        let own = "Alder".parse().unwrap();
        let meant = |named: &[&str]| {
            let named: Vec<_> = named.iter().map(|name| (*name).to_owned()).collect();
            super::meant(&named, &connected, &own)
        };
        let birch = OrganizationId([1; 32]).to_string();
        assert_eq!(meant(&["Birch"]).unwrap(), [one(1, "Birch")]);
        assert_eq!(
            meant(&[&birch[..9], &OrganizationId([3; 32]).to_string()]).unwrap(),
            [one(1, "Birch"), one(3, "Cedar")]
        );
        for (named, said) in [
            (vec!["Birch", &birch], "named twice"),
            (vec!["Birch", "Dogwood"], "'Dogwood' is not"),
            (vec!["Cedar"], "more than one"),
            (vec![""], "'' is not"),
            (vec!["Alder"], "this organization"),
        ] {
            let fault = meant(&named).unwrap_err();
            assert!(fault.code == Code::PairNotReady && fault.message.contains(said), "{named:?}: {fault}");
        }
    }

    #[test]
    fn the_operators_page_has_each_alarm_in_the_words_in_which_it_is_told() {
        let page = include_str!("../../../docs/pairs.md");
        let alarms = [Alarm::MemoryLost, Alarm::Diverged, Alarm::ActiveSilent, Alarm::Unfit].map(alarm);
        for told in alarms.into_iter().chain([SILENT, ENDED]) {
            assert!(page.contains(&format!("**\"{told}\"**")), "{told}");
        }
    }

    #[test]
    fn a_role_that_serves_is_never_shown_as_one_that_follows() {
        for state in State::ALL {
            let follows = matches!(role(state), PairRole::Mirror | PairRole::Learner | PairRole::TakingOver);
            assert_eq!(follows, state.follows(), "{state:?}");
        }
    }
}
