//! The simulated network: links between organizations, which break when they lose something, and single messages between
//! sub-nodes about pairs, of which any may be lost, late or come twice.

use super::{Event, World, organization_id};
use crate::simulation::invariants::Violation;
use hansa_core::{
    directory,
    dispatch::{Input, ToPeer},
    link,
    mirror::Message,
    moment::Moment,
};
use std::rc::Rc;

/// The link of two organizations, between the sub-nodes that serve.
pub(super) struct Connection {
    sites: [usize; 2],
    organizations: [usize; 2],
    /// When the last thing that was sent arrives: a connection keeps the order, unless it is at fault.
    last: [Moment; 2],
}

impl World {
    fn organization(&self, site: usize) -> usize {
        usize::from(self.names[site].organization) - 1
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|cuts| *cuts > 0)
    }

    // Single messages.

    pub(super) fn say_of_pair(&mut self, from: usize, to: usize, message: Message) {
        if self.is_cut(from, to) {
            return;
        }
        let options = &self.schedule.options;
        let (lost, twice, late) = (u64::from(options.lost), u64::from(options.twice), u64::from(options.late));
        let mishap = if self.faulty { self.dice.below(1_000) } else { 999 };
        if mishap < lost {
            self.note([20, to as u64], |world| format!("{} to {}: lost", world.names[from], world.names[to]));
            return;
        }
        let delay = 1 + self.dice.below(if mishap < lost + late { 400 } else { 5 });
        let message = Rc::new(message);
        if mishap >= 1_000 - twice.min(900) && self.faulty {
            let again = delay + self.dice.below(500);
            self.schedule(again, Event::Mirror { from, to, message: Rc::clone(&message) });
        }
        self.schedule(delay, Event::Mirror { from, to, message });
    }

    // Links.

    pub(super) fn connection_of(&self, site: usize, peer: usize) -> Vec<u64> {
        let is = |it: &Connection| {
            it.sites.contains(&site) && it.organizations.contains(&peer) && self.organization(site) != peer
        };
        self.connections.iter().filter(|(_, it)| is(it)).map(|(connection, _)| *connection).collect()
    }

    /// Two organizations connect: whoever serves in each, of two that think so the later. A link to one that served before ends.
    pub(super) fn connect(&mut self, one: usize, other: usize) -> Result<(), Violation> {
        let organizations = [one.min(other), one.max(other)];
        if self.connections.values().any(|it| it.organizations == organizations) {
            return Ok(());
        }
        let serving = organizations.map(|organization| self.serving(organization));
        let (Some(first), Some(second)) = (serving[0], serving[1]) else {
            return self.connect_later(one, other);
        };
        let stopped = [first, second].iter().any(|site| self.sites[*site].stopped_until > self.now);
        if stopped || self.is_cut(first, second) || self.is_cut(second, first) {
            return self.connect_later(one, other);
        }
        self.note([21, (one << 8 | other) as u64], |world| {
            format!("{} and {} connect", world.names[first], world.names[second])
        });
        self.scheduled += 1;
        let connection = Connection { sites: [first, second], organizations, last: [self.now; 2] };
        self.connections.insert(self.scheduled, connection);
        for (site, peer) in [(first, organizations[1]), (second, organizations[0])] {
            let peer = organization_id(peer);
            self.give(site, Input::Link(peer, link::Input::Opened))?;
            self.give(site, Input::Directory(directory::Input::Connected { peer }))?;
        }
        Ok(())
    }

    fn connect_later(&mut self, one: usize, other: usize) -> Result<(), Violation> {
        let delay = 20 + self.dice.below(50);
        self.schedule(delay, Event::Connect { one, other });
        Ok(())
    }

    pub(super) fn disconnect(&mut self, connection: u64) -> Result<(), Violation> {
        let Some(Connection { sites, organizations, .. }) = self.connections.remove(&connection) else { return Ok(()) };
        self.note([22, connection], |world| {
            format!("{} and {} are disconnected", world.names[sites[0]], world.names[sites[1]])
        });
        for (site, peer) in [(sites[0], organizations[1]), (sites[1], organizations[0])] {
            if self.sites[site].is_up && self.sites[site].serves {
                let peer = organization_id(peer);
                self.give(site, Input::Link(peer, link::Input::Disconnected))?;
            }
        }
        let delay = 1 + self.dice.below(if self.faulty { 500 } else { 50 });
        let [one, other] = organizations;
        self.schedule(delay, Event::Connect { one, other });
        Ok(())
    }

    /// A sub-node serves no more, or is gone: so are its links and sessions.
    pub(super) fn let_go(&mut self, site: usize) -> Result<(), Violation> {
        let broken = self.connections.iter().filter(|(_, it)| it.sites.contains(&site));
        for connection in broken.map(|(connection, _)| *connection).collect::<Vec<_>>() {
            self.disconnect(connection)?;
        }
        let gone: Vec<_> = self.sessions.iter().filter(|(_, it)| it.1 == site).map(|(id, it)| (*id, it.0)).collect();
        for (session, person) in gone {
            self.sessions.remove(&session);
            let delay = 1 + self.dice.below(if self.faulty { 500 } else { 50 });
            self.schedule(delay, Event::Attach { person });
        }
        Ok(())
    }

    /// Whatever is connected to a sub-node that another has replaced notices.
    pub(super) fn drop_stale(&mut self) -> Result<(), Violation> {
        for connection in self.connections.keys().copied().collect::<Vec<_>>() {
            self.disconnect(connection)?;
        }
        Ok(())
    }

    pub(super) fn send(&mut self, from: usize, to: usize, said: &Rc<ToPeer>) {
        let Some((&connection, link)) =
            self.connections.iter().find(|(_, it)| it.sites.contains(&from) && it.organizations.contains(&to))
        else {
            return;
        };
        let side = usize::from(link.sites[1] == from);
        let to = link.sites[1 - side];
        let options = &self.schedule.options;
        let (lost, twice, late) = (u64::from(options.lost), u64::from(options.twice), u64::from(options.late));
        let mishap = if self.faulty { self.dice.below(1_000) } else { 999 };
        if mishap < lost || self.is_cut(from, to) {
            // A stream that loses something is broken, which shows after a while.
            self.note([23, connection], |world| format!("{} to {}: lost", world.names[from], world.names[to]));
            let delay = self.dice.below(500);
            self.schedule(delay, Event::Disconnect { connection });
            return;
        }
        let is_late = mishap < lost + late;
        let delay = 1 + self.dice.below(if is_late { 300 } else { 10 });
        let mut at = self.now.plus_ms(delay);
        if !(is_late && mishap % 2 == 0) {
            let last = &mut self.connections.get_mut(&connection).expect("it is up").last[side];
            *last = at.max(*last);
            at = *last;
        }
        let arrive = |said| Event::Arrive { connection, from, to, said };
        if mishap >= 1_000 - twice.min(900) && self.faulty {
            let delay = self.dice.below(200);
            self.schedule(at.since_ms(self.now) + delay, arrive(Rc::clone(said)));
        }
        self.schedule(at.since_ms(self.now), arrive(Rc::clone(said)));
    }

    pub(super) fn arrive(&mut self, from: usize, to: usize, said: &ToPeer) -> Result<(), Violation> {
        let (sender, receiver) = (self.organization(from), self.organization(to));
        let peer = organization_id(sender);
        if !self.sites[to].is_up {
            return Ok(());
        }
        self.note([24, (from << 8 | to) as u64], |world| {
            let what = match said {
                ToPeer::Position { accepted_through } => format!("position {accepted_through}"),
                ToPeer::Frames(frames) => {
                    format!("frames {:?}", frames.iter().map(|frame| frame.sequence).collect::<Vec<_>>())
                }
                ToPeer::Confirm { accepted_through, .. } => format!("confirm {accepted_through}"),
                ToPeer::Digest(_) => "digest".to_owned(),
                ToPeer::Records(_) => "records".to_owned(),
            };
            format!("{} hears from {}: {what}", world.names[to], world.names[from])
        });
        match said {
            ToPeer::Position { accepted_through } => {
                let connected = link::Input::Connected { accepted_through: *accepted_through };
                self.give(to, Input::Link(peer, connected))?;
            }
            ToPeer::Frames(frames) => {
                for frame in frames {
                    self.traffic.sent(sender, receiver, frame)?;
                    self.give(to, Input::Link(peer, link::Input::Arrived(frame.clone())))?;
                }
            }
            ToPeer::Confirm { accepted_through, .. } => {
                let confirmed = link::Input::Confirmed { accepted_through: *accepted_through };
                self.give(to, Input::Link(peer, confirmed))?;
            }
            ToPeer::Digest(versions) => {
                let digest = directory::Input::Digest { from: peer, versions: versions.clone() };
                self.give(to, Input::Directory(digest))?;
            }
            ToPeer::Records(records) => {
                for signed in records {
                    let arrived = directory::Input::Arrived { from: peer, signed: signed.clone() };
                    self.give(to, Input::Directory(arrived))?;
                }
            }
        }
        Ok(())
    }
}
