//! The place of the accounts: they are what sessions are let in by.

use super::{Housed, done};
use crate::{
    access::{self, Access},
    address::Kind,
    dispatch::{Change, Delivery, Surroundings},
    session::Asker,
};

impl Housed for Access {
    const KIND: Kind = Kind::Access;
    const PUT_AWAY: bool = false;

    fn around(_: &Surroundings) -> &() {
        &()
    }

    fn dispatch((): &(), effect: access::Effect) -> Delivery {
        match effect {
            access::Effect::Redraw(accounts) => Delivery::Redraw(Change::Accounts(accounts)),
            access::Effect::Acknowledge { asker, word } => done(asker, word),
        }
    }

    fn asker(input: &access::Input) -> Option<Asker> {
        match input {
            access::Input::Add { asker, .. } | access::Input::Remove { asker, .. } => Some(*asker),
            access::Input::Due | access::Input::Resumed => None,
        }
    }
}
