//! The place of the directory: its records for peers, its offers for every machine, and services that attach.

use super::{Housed, done};
use crate::{
    address::Kind,
    directory::{self, Directory},
    dispatch::{Change, Delivery, Input, Outward, Surroundings, Tally, ToPeer},
    mailbox,
    session::Asker,
};

impl Housed for Directory {
    const KIND: Kind = Kind::Directory;
    const PUT_AWAY: bool = false;

    fn tally(record: &directory::Record) -> Option<Tally> {
        matches!(record, directory::Record::Merged { .. }).then_some(Tally::Merged)
    }

    fn around(_: &Surroundings) -> &() {
        &()
    }

    fn dispatch((): &(), effect: directory::Effect) -> Delivery {
        use directory::Effect;
        match effect {
            Effect::Sign(record) => Delivery::Outward(Outward::Sign(Box::new(record))),
            Effect::Announce { signed, except } => Delivery::Outward(Outward::Announce { signed, except }),
            Effect::SendDigest { to, versions } => Delivery::Outward(Outward::Peer(to, ToPeer::Digest(versions))),
            Effect::SendRecords { to, records } => Delivery::Outward(Outward::Peer(to, ToPeer::Records(records))),
            Effect::Learn { subnodes } => Delivery::Outward(Outward::Learn(subnodes)),
            Effect::Redraw(offers) => Delivery::Redraw(Change::Offers(offers)),
            Effect::Attach { asker, service, credit } => {
                Delivery::Inward(Input::Mailbox(service, mailbox::Input::Attach { asker, credit }))
            }
            Effect::Acknowledge { asker, word } => done(asker, word),
        }
    }

    fn asker(input: &directory::Input) -> Option<Asker> {
        match input {
            directory::Input::Register { asker, .. } | directory::Input::Remove { asker, .. } => Some(*asker),
            _ => None,
        }
    }
}
