//! Clients and services in the simulated world: they attach to whichever sub-node of their organization serves, and come back when
//! their connection is gone.

use super::{Event, Person, Refused, World};
use crate::simulation::{invariants::Violation, people::Spoken};
use hansa_core::{
    dispatch::from_session,
    ident::TransactionId,
    session::{Asker, FromSession, SessionId, ToSession},
};
use std::collections::BTreeSet;

impl World {
    fn home(&self, person: usize) -> usize {
        match &self.people[person] {
            Person::Client(client) => client.home,
            Person::Service(service) => service.home,
        }
    }

    /// A person connects, if it wants to and can. It knows both sub-nodes and tries one of them; a mirror sends it on.
    pub(super) fn attach(&mut self, person: usize) -> Result<(), Violation> {
        if self.sessions.values().any(|(attached, _)| *attached == person) {
            return Ok(());
        }
        let sites: Vec<_> = self.sites_of(self.home(person)).collect();
        let site = sites[self.dice.below(sites.len() as u64) as usize];
        let welcome = self.sites[site].is_up
            && self.sites[site].serves
            && self.sites[site].takes_work
            && self.sites[site].stopped_until <= self.now;
        if !welcome {
            self.schedule(50, Event::Attach { person });
            return Ok(());
        }
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.sessions.insert(session, (person, site));
        self.sites[site].sessions.insert(session, BTreeSet::new());
        self.note([30, person as u64], |world| format!("person {person} attaches to {}", world.names[site]));
        let said = match &mut self.people[person] {
            Person::Client(client) => client.attached(),
            Person::Service(service) => service.attached(&mut self.dice),
        };
        self.say(person, said)
    }

    pub(super) fn detach(&mut self, person: usize) -> Result<(), Violation> {
        let found = self.sessions.iter().find(|(_, it)| it.0 == person).map(|(session, it)| (*session, it.1));
        let Some((session, site)) = found else { return Ok(()) };
        self.note([31, person as u64], |_| format!("person {person} is gone"));
        self.sessions.remove(&session);
        if self.sites[site].is_up {
            self.sites[site].close(self.now, &mut self.dice, session);
            self.after(site, Refused::new())?;
        }
        let delay = 1 + self.dice.below(if self.faulty { 2_000 } else { 50 });
        self.schedule(delay, Event::Attach { person });
        Ok(())
    }

    pub(super) fn act(&mut self, person: usize) -> Result<(), Violation> {
        let said = match &mut self.people[person] {
            Person::Client(client) => client.act(),
            Person::Service(_) => Vec::new(),
        };
        self.say(person, said)
    }

    pub(super) fn say(&mut self, person: usize, said: Vec<Spoken>) -> Result<(), Violation> {
        let session = self.sessions.iter().find(|(_, it)| it.0 == person).map(|(session, _)| *session);
        for spoken in said {
            match (spoken, session) {
                (Spoken::Say { message, delay_ms, said }, Some(session)) => {
                    self.schedule(delay_ms, Event::Say { person, session, message, said });
                }
                (Spoken::Act { delay_ms }, _) => self.schedule(delay_ms, Event::Act { person }),
                (Spoken::Say { .. }, None) => {}
                (Spoken::Crash, _) => self.detach(person)?,
            }
        }
        Ok(())
    }

    pub(super) fn said(
        &mut self,
        person: usize,
        session: SessionId,
        message: u64,
        said: FromSession,
    ) -> Result<(), Violation> {
        let Some((_, site)) = self.sessions.get(&session).copied() else { return Ok(()) };
        if !self.sites[site].is_up || !self.sites[site].serves {
            return Ok(());
        }
        if !self.sites[site].takes_work {
            // The sub-node hands over: it leaves what comes now unread.
            self.schedule(10, Event::Say { person, session, message, said });
            return Ok(());
        }
        self.note([32, (person as u64) << 32 | message], |world| {
            format!("person {person} says {message} to {}: {}", world.names[site], word(&said))
        });
        if let FromSession::Register { service, .. } = &said {
            self.sites[site].sessions.entry(session).or_default().insert(service.name.clone());
        }
        let fresh = TransactionId::new(self.now, self.dice.bytes());
        let input = from_session(Asker { session, message }, said, fresh);
        self.give(site, input)
    }

    pub(super) fn hear(&mut self, person: usize, session: SessionId, said: ToSession) -> Result<(), Violation> {
        self.note([33, person as u64], |_| format!("person {person} in session {} hears {}", session.0, heard(&said)));
        let faulty = self.faulty;
        let said = match &mut self.people[person] {
            Person::Client(client) => client.hear(said)?,
            Person::Service(service) => service.hear(said, &mut self.dice, faulty, &mut self.traffic)?,
        };
        self.say(person, said)
    }
}

fn word(said: &FromSession) -> &'static str {
    match said {
        FromSession::Register { .. } => "register",
        FromSession::Submit { .. } => "submit",
        FromSession::Await { .. } => "await",
        FromSession::Query { .. } => "query",
        FromSession::Cancel { .. } => "cancel",
        FromSession::Signal { .. } => "signal",
        FromSession::Publish { .. } => "publish",
        FromSession::Subscribe { .. } => "subscribe",
        FromSession::Unsubscribe { .. } => "unsubscribe",
        FromSession::Taken { .. } => "taken",
        FromSession::Answer { .. } => "answer",
        FromSession::Strayed { .. } => "stray answer",
    }
}

fn heard(said: &ToSession) -> String {
    match said {
        ToSession::Acknowledged { message, .. } => format!("that {message} was taken"),
        ToSession::Refused { message, fault } => format!("that {message} was refused: {fault}"),
        ToSession::Perform { invocation, .. } => format!("to perform {}", invocation.target.operation),
        ToSession::Notify { subscriber, notification, .. } => format!("{subscriber} of {}", notification.number),
        ToSession::Withdraw { .. } => "to stop".to_owned(),
        ToSession::Status { .. } => "a status".to_owned(),
        ToSession::Respond { response, .. } => format!("the end: {}", response.ending.word()),
    }
}
