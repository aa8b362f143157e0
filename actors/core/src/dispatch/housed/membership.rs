//! The place of the membership: it tells those who asked.

use super::{Housed, done};
use crate::{
    address::Kind,
    dispatch::{Delivery, Surroundings},
    membership::{self, Membership},
    session::Asker,
};

impl Housed for Membership {
    const KIND: Kind = Kind::Membership;
    const PUT_AWAY: bool = false;

    fn around(_: &Surroundings) -> &() {
        &()
    }

    fn dispatch((): &(), effect: membership::Effect) -> Delivery {
        let membership::Effect::Acknowledge { asker, word } = effect;
        done(asker, word)
    }

    fn asker(input: &membership::Input) -> Option<Asker> {
        match input {
            membership::Input::Belong { asker, .. }
            | membership::Input::Invite { asker, .. }
            | membership::Input::Knock { asker, .. } => Some(*asker),
            membership::Input::Due | membership::Input::Resumed => None,
        }
    }
}
