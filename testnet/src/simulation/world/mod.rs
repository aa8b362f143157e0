//! The world around the sub-nodes: time, a network that loses, repeats, delays and cuts, disks that are slow, services and clients
//! that come and go. A schedule decides everything, so that it happens again in the same way.

mod faults;
mod mirror;
mod network;
mod sessions;

use super::{
    BEGIN,
    clock::Clock,
    invariants::{Invariants, Violation, effects::Traffic, hold},
    options::{Options, Schedule, SiteName},
    papers::{organization, subnode},
    people::{Client, Service},
    plan::{DEFINITIONS, WISHED, Wish, definition},
    site::{Making, Refused, Site},
};
use hansa_core::{
    code::Fault,
    dice::Dice,
    dispatch::{Input, Outward, ToPeer},
    ident::{OrganizationId, TransactionId},
    mirror::{
        Message,
        pair::{OnMirrorLost, State, Timing},
    },
    moment::Moment,
    session::{FromSession, SessionId, ToSession},
};
use network::Connection;
use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

/// How long everything may take to come to rest behind the faults.
const REST_MS: u64 = 120_000;
/// Events after which a story is taken to be without end.
const EVENTS_MAX: u64 = 3_000_000;
/// Lines of the trace that are kept.
const TRACE_LINES: usize = 80;

/// What happens at a moment.
enum Event {
    /// Something of a peer's arrives, unless the connection that carried it is gone.
    Arrive {
        connection: u64,
        from: usize,
        to: usize,
        said: Rc<ToPeer>,
    },
    /// A sub-node hears of a pair.
    Mirror {
        from: usize,
        to: usize,
        message: Rc<Message>,
    },
    /// A disk has written.
    Sync {
        site: usize,
    },
    /// A snapshot is in its place.
    Installed {
        site: usize,
    },
    Connect {
        one: usize,
        other: usize,
    },
    Disconnect {
        connection: u64,
    },
    Start {
        site: usize,
    },
    /// Somebody mended what the machines of a sub-node could not take in.
    Heal {
        site: usize,
    },
    /// A node tells a session something, or the other way.
    Hear {
        person: usize,
        session: SessionId,
        said: ToSession,
    },
    Say {
        person: usize,
        session: SessionId,
        message: u64,
        said: FromSession,
    },
    /// A person connects to its node, or does what it has to do next.
    Attach {
        person: usize,
    },
    Act {
        person: usize,
    },
    /// Something goes wrong.
    Fault {
        index: usize,
    },
    /// A cut is mended.
    Mend {
        from: usize,
        to: usize,
    },
}

/// A client or a service.
enum Person {
    Client(Client),
    Service(Service),
}

/// What came of a story.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What happened, in number.
    pub events: u64,
    /// A hash over all of it: two runs of a schedule must agree.
    pub hash: u64,
    /// From which state a pair went to which, with how often.
    pub transitions: BTreeMap<(State, State), u64>,
    /// Transactions that ended.
    pub transactions: u64,
    /// What went wrong, and other things that matter when they happen, with how often.
    pub happened: BTreeMap<&'static str, u64>,
    /// The last that happened, if the story was traced.
    pub trace: Vec<String>,
}

pub struct World {
    schedule: Schedule,
    now: Moment,
    dice: Dice,
    queue: BTreeMap<(Moment, u64), Event>,
    scheduled: u64,
    sites: Vec<Site>,
    names: Vec<SiteName>,
    states: Vec<State>,
    syncing: Vec<bool>,
    slow_until: Vec<Moment>,
    cuts: BTreeMap<(usize, usize), u32>,
    connections: BTreeMap<u64, Connection>,
    people: Vec<Person>,
    /// Which person a session is of, and at which sub-node.
    sessions: BTreeMap<SessionId, (usize, usize)>,
    next_session: u64,
    next_journal: u64,
    /// When a witness has forgotten, no other may.
    forgotten: bool,
    /// The witness that lies; there is one.
    liar: Option<usize>,
    invariants: Invariants,
    traffic: Traffic,
    faulty: bool,
    traced: bool,
    trace: VecDeque<String>,
    report: Report,
}

impl World {
    pub fn new(schedule: &Schedule, traced: bool) -> Self {
        let schedule = schedule.clone();
        let mut dice = Dice::new(schedule.seed ^ 0x5eed);
        let members = schedule.options.members;
        let mut people = Vec::new();
        for home in 0..usize::from(members) {
            people.push(Person::Service(Service::new(home)));
            for _ in 0..schedule.options.clients {
                let wish = Wish {
                    definition: DEFINITIONS[dice.below(WISHED) as usize].parse().expect("it is a name"),
                    home: home as u8 + 1,
                    at: 1 + dice.below(u64::from(members)) as u8,
                    members,
                    yes: dice.below(2) == 0,
                    can: dice.below(4) > 0,
                };
                let id = TransactionId::new(BEGIN, dice.bytes());
                people.push(Person::Client(Client::new(home, id, wish, dice.below(8) == 0)));
            }
        }
        let definitions = Rc::new(DEFINITIONS.map(definition).to_vec());
        let (mut sites, mut names) = (Vec::new(), Vec::new());
        for number in 1..=members {
            for side in 0..if number <= schedule.options.pairs { 2 } else { 1 } {
                names.push(SiteName { organization: number, side: side + 1 });
                let Options { drift, keep, window, hasty, way, .. } = schedule.options;
                let ahead_ms = dice.below(schedule.options.clocks_ms + 1);
                let fast = if drift == 0 { 0 } else { dice.below(2 * u64::from(drift) + 1) as i64 - i64::from(drift) };
                sites.push(Site::new(Making {
                    organization: number,
                    side,
                    journal: names.len() as u64,
                    clock: Clock::new(ahead_ms, fast),
                    definitions: Rc::clone(&definitions),
                    timing: timing(window, hasty == side + 1),
                    on_mirror_lost: if schedule.options.halt { OnMirrorLost::Halt } else { OnMirrorLost::Solo },
                    under_way_max: (way > 0).then_some(way),
                    keep: (keep > 0).then_some(keep.into()),
                    flaw: schedule.flaw,
                }));
            }
        }
        Self {
            now: BEGIN,
            queue: BTreeMap::new(),
            scheduled: 0,
            states: vec![State::Single; sites.len()],
            syncing: vec![false; sites.len()],
            slow_until: vec![Moment(0); sites.len()],
            cuts: BTreeMap::new(),
            connections: BTreeMap::new(),
            people,
            sessions: BTreeMap::new(),
            next_session: 1,
            next_journal: 1_000,
            forgotten: false,
            liar: None,
            invariants: Invariants::new((1..=members).map(organization)),
            traffic: Traffic::default(),
            faulty: false,
            traced,
            trace: VecDeque::new(),
            report: Report { hash: schedule.seed, ..Report::default() },
            schedule,
            dice,
            sites,
            names,
        }
    }

    /// The whole story: meet, work while things go wrong, heal, come to rest.
    ///
    /// # Errors
    /// What did not hold.
    pub fn run(&mut self) -> Result<(), Violation> {
        let told = self.story();
        self.report.trace = self.trace.iter().cloned().collect();
        told
    }

    pub fn report(&self) -> &Report {
        &self.report
    }

    fn story(&mut self) -> Result<(), Violation> {
        for site in 0..self.sites.len() {
            self.start(site)?;
        }
        self.found_pairs()?;
        let members = usize::from(self.schedule.options.members);
        for other in 0..members {
            for one in 0..other {
                self.schedule(20, Event::Connect { one, other });
            }
        }
        for person in 0..self.people.len() {
            if matches!(self.people[person], Person::Service(_)) {
                self.schedule(30, Event::Attach { person });
            }
        }
        self.until(self.now.plus_ms(20_000), |world| world.everybody_knows_everybody() && world.pairs_are_whole())?;
        hold!(self.everybody_knows_everybody(), LIVE, "the directories did not become one");
        hold!(self.pairs_are_whole(), LIVE, "the pairs did not become whole: {}", self.pairs());

        self.faulty = true;
        for person in 0..self.people.len() {
            if matches!(self.people[person], Person::Client(_)) {
                let delay = self.dice.below(self.schedule.options.faults_ms * 3 / 4);
                self.schedule(delay, Event::Attach { person });
            }
        }
        for index in 0..self.schedule.faults.len() {
            self.schedule(self.schedule.faults[index].0, Event::Fault { index });
        }
        self.until(self.now.plus_ms(self.schedule.options.faults_ms), |_| false)?;

        self.faulty = false;
        self.heal()?;
        self.until(self.now.plus_ms(REST_MS), Self::is_at_rest)?;
        self.check_rest()
    }

    fn until(&mut self, end: Moment, done: impl Fn(&Self) -> bool) -> Result<(), Violation> {
        // To look whether all is done costs more than an event.
        let mut looked = 0;
        loop {
            if self.report.events >= looked {
                if done(self) {
                    return Ok(());
                }
                looked = self.report.events + 16;
            }
            if !self.step(end)? {
                break;
            }
        }
        if !done(self) {
            self.now = self.now.max(end);
        }
        Ok(())
    }

    /// The next thing that happens before `end`.
    fn step(&mut self, end: Moment) -> Result<bool, Violation> {
        let next = self.queue.first_key_value().map(|((at, _), _)| *at);
        let wakes = self.sites.iter().enumerate().filter(|(_, site)| site.is_up);
        let wake = wakes.filter_map(|(number, site)| Some((site.wakes_at()?, number))).min();
        let Some(at) = next.into_iter().chain(wake.map(|(at, _)| at)).min().filter(|at| *at <= end) else {
            return Ok(false);
        };
        self.now = self.now.max(at);
        self.report.events += 1;
        hold!(self.report.events < EVENTS_MAX, LIVE, "it never comes to rest");
        match wake.filter(|(wake, _)| next.is_none_or(|next| *wake < next)) {
            Some((_, site)) => {
                self.note([1, site as u64], |world| format!("{} wakes", world.names[site]));
                let woken = self.sites[site].wake(self.now, &mut self.dice);
                let refused = self.unless_refused(site, woken);
                self.after(site, refused)?;
            }
            None => {
                let (_, event) = self.queue.pop_first().expect("it was there");
                self.happen(event)?;
            }
        }
        Ok(true)
    }

    fn schedule(&mut self, delay_ms: u64, event: Event) {
        self.scheduled += 1;
        self.queue.insert((self.now.plus_ms(delay_ms), self.scheduled), event);
    }

    /// Something that a search should have seen.
    fn count(&mut self, what: &'static str) {
        *self.report.happened.entry(what).or_default() += 1;
    }

    /// What happens goes into the hash as numbers, and into the trace in words, if there is one.
    fn note(&mut self, told: [u64; 2], words: impl FnOnce(&Self) -> String) {
        for number in [self.now.0, told[0], told[1]] {
            self.report.hash = (self.report.hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        }
        if self.traced {
            let line = format!("{:>6} {}", self.now.since_ms(BEGIN), words(self));
            if self.trace.len() == TRACE_LINES {
                self.trace.pop_front();
            }
            self.trace.push_back(line);
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        if let Some(until) = self.stopped(&event) {
            // A process that stands still finds everything when it goes on.
            self.schedule(until.since_ms(self.now).max(1), event);
            return Ok(());
        }
        match event {
            Event::Arrive { connection, from, to, said } => {
                if self.connections.contains_key(&connection) {
                    self.arrive(from, to, &said)?;
                }
            }
            Event::Mirror { from, to, message } => self.heard_of_pair(from, to, &message)?,
            Event::Sync { site } => self.sync(site)?,
            Event::Installed { site } => self.installed(site)?,
            Event::Connect { one, other } => self.connect(one, other)?,
            Event::Disconnect { connection } => self.disconnect(connection)?,
            Event::Start { site } => self.start(site)?,
            Event::Hear { person, session, said } => {
                if self.sessions.get(&session).is_some_and(|(whose, _)| *whose == person) {
                    self.hear(person, session, said)?;
                }
            }
            Event::Say { person, session, message, said } => self.said(person, session, message, said)?,
            Event::Attach { person } => self.attach(person)?,
            Event::Act { person } => self.act(person)?,
            Event::Fault { index } => self.go_wrong(index)?,
            Event::Mend { from, to } => self.mend(from, to),
            Event::Heal { site } => self.fitness(site, true)?,
        }
        Ok(())
    }

    /// Whether an event is for a process that stands still, and until when.
    fn stopped(&self, event: &Event) -> Option<Moment> {
        let site = match event {
            Event::Arrive { to, .. } | Event::Mirror { to, .. } => *to,
            Event::Sync { site } | Event::Installed { site } => *site,
            Event::Say { session, .. } => self.sessions.get(session)?.1,
            _ => return None,
        };
        let until = self.sites[site].stopped_until;
        (until > self.now).then_some(until)
    }

    fn give(&mut self, site: usize, input: Input) -> Result<(), Violation> {
        let refused = self.sites[site].take(self.now, &mut self.dice, input);
        self.after(site, refused)
    }

    /// What machines refuse is a message that nobody should have sent, and no more.
    fn unless_refused<T: Default>(&mut self, site: usize, done: Result<T, Fault>) -> T {
        done.unwrap_or_else(|fault| {
            self.note([2, site as u64], |world| format!("{} refuses: {fault}", world.names[site]));
            T::default()
        })
    }

    /// Behind every input: what the machines want done is done, the disk has something to write, and a link that refuses loses
    /// its connection.
    fn after(&mut self, site: usize, refused: Refused) -> Result<(), Violation> {
        for (peer, fault) in refused {
            self.note([3, site as u64], |world| format!("{} refuses: {fault}", world.names[site]));
            let peer = self.number(peer);
            let broken = self.connection_of(site, peer);
            for connection in broken {
                self.disconnect(connection)?;
            }
        }
        self.settle(site)
    }

    fn sync(&mut self, site: usize) -> Result<(), Violation> {
        self.syncing[site] = false;
        if !self.sites[site].is_up {
            return Ok(());
        }
        // A batch is what has come so far, or a part of it.
        let undurable = self.sites[site].undurable() as u64;
        let batch = if self.faulty { undurable - self.dice.below(undurable.min(3) + 1) } else { undurable };
        self.note([4, site as u64], |world| format!("{} writes {batch}", world.names[site]));
        let synced = self.sites[site].sync(batch as usize, self.now, &mut self.dice);
        self.unless_refused(site, synced);
        self.after(site, Refused::new())
    }

    /// What may leave leaves.
    fn release(&mut self, site: usize) -> Result<(), Violation> {
        for outward in self.sites[site].released(self.now) {
            let organization = self.sites[site].organization;
            self.invariants.truths[&organization].effects.released(&outward)?;
            match outward {
                Outward::Session(session, said) => {
                    if let Some((person, _)) = self.sessions.get(&session).copied() {
                        let delay = self.dice.below(5);
                        self.schedule(delay, Event::Hear { person, session, said });
                    }
                }
                Outward::Peer(peer, said) => self.send(site, self.number(peer), &Rc::new(said)),
                Outward::Announce { signed, except } => {
                    let said = Rc::new(ToPeer::Records(vec![signed]));
                    for peer in 0..usize::from(self.schedule.options.members) {
                        let id = organization_id(peer);
                        if id != organization && Some(id) != except {
                            self.send(site, peer, &said);
                        }
                    }
                }
                Outward::Learn(_) => {}
                Outward::Sign(record) => {
                    let signed = self.sites[site].sign(&record);
                    let signed = hansa_core::directory::Input::Signed(signed);
                    self.give(site, Input::Directory(signed))?;
                }
            }
        }
        Ok(())
    }

    // What must be.

    /// The sub-node of an organization that serves; of two that think so the one with the later epoch.
    fn serving(&self, organization: usize) -> Option<usize> {
        let epoch = |site: &usize| self.sites[*site].pair.certified().map_or(0, |certified| certified.epoch());
        self.sites_of(organization).filter(|site| self.sites[*site].is_up && self.sites[*site].serves).max_by_key(epoch)
    }

    fn sites_of(&self, organization: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.sites.len()).filter(move |site| usize::from(self.names[*site].organization) == organization + 1)
    }

    fn number(&self, id: OrganizationId) -> usize {
        (0..usize::from(self.schedule.options.members)).find(|number| organization_id(*number) == id).expect("a member")
    }

    fn site_of(&self, id: hansa_core::ident::SubnodeId) -> Option<usize> {
        (0..self.sites.len()).find(|site| self.sites[*site].subnode == id)
    }

    fn everybody_knows_everybody(&self) -> bool {
        let members = usize::from(self.schedule.options.members);
        (0..members).all(|member| {
            self.serving(member).is_some_and(|site| {
                let site = &self.sites[site];
                let offers = site.surroundings().offers();
                !site.is_busy()
                    && offers.local().count() == 1
                    && offers.peers().filter(|peer| peer.services.len() == 1).count() == members - 1
            })
        })
    }

    fn is_at_rest(&self) -> bool {
        let clients_done = self.people.iter().all(|person| match person {
            Person::Client(client) => client.response.is_some(),
            Person::Service(_) => true,
        });
        clients_done
            && self.pairs_are_whole()
            && self.sites.iter().all(|site| {
                site.is_up
                    && !site.is_busy()
                    && !site.has_outward()
                    && site.taken_in() == site.disk().end()
                    && (!site.serves || site.left_over().is_empty())
            })
            && self.pairs_are_level()
    }

    /// Everything acknowledged has ended as the model says, everybody who asked was answered, and nothing is left over.
    fn check_rest(&mut self) -> Result<(), Violation> {
        hold!(self.pairs_are_whole(), LIVE, "the pairs did not become whole: {}", self.pairs());
        for site in self.sites.iter().filter(|site| site.serves) {
            let left = site.left_over();
            hold!(left.is_empty(), LIVE, "{} has left over: {left:?}", site.member());
        }
        for person in &self.people {
            let Person::Client(client) = person else { continue };
            let Some(response) = client.response.as_ref() else {
                hold!(false, LIVE, "the client of {} was never answered: {:?}", client.id, client.wish);
                continue;
            };
            let ending = &response.ending;
            hold!(
                client.wish.allows(ending, client.cancels),
                "transactions end as they should",
                "{:?} cannot end as {ending:?}",
                client.wish
            );
            let site = self.serving(client.home).expect("every organization is served");
            let known = self.sites[site].transaction(client.id).and_then(|instance| instance.ending());
            hold!(
                known == Some(ending),
                "what a client is told stays true",
                "{} ended as {known:?}, not as {ending:?}",
                client.id
            );
            self.report.transactions += 1;
        }
        self.invariants.at_rest(&self.sites)
    }
}

const LIVE: &str = "after healing everything accepted is answered, and pairs are whole";

/// The times of a sub-node: of one building, or half of them, as if its operator had been in a hurry.
fn timing(window: u16, half: bool) -> Timing {
    let part = if half { 2 } else { 1 };
    Timing {
        window_entries: window.into(),
        near_entries: Timing::LAN.near_entries.min(window.into()),
        beat_ms: Timing::LAN.beat_ms / part,
        lease_ms: Timing::LAN.lease_ms / part,
        grace_ms: Timing::LAN.grace_ms / part,
        retry_ms: Timing::LAN.retry_ms / part,
        ..Timing::LAN
    }
}

/// Organizations are numbered from zero here, and from one where they have names.
fn organization_id(number: usize) -> OrganizationId {
    organization(number as u8 + 1)
}

fn subnode_of(name: SiteName) -> hansa_core::ident::SubnodeId {
    subnode(name.organization, name.side - 1)
}
