//! The place of the catalogue: its definitions are what transactions look at.

use super::{Housed, done};
use crate::{
    address::Kind,
    dispatch::{Change, Delivery, Surroundings},
    session::Asker,
    transaction::{Catalogue, Loader, catalogue},
};

impl Housed for Catalogue {
    const KIND: Kind = Kind::Catalogue;
    const PUT_AWAY: bool = false;

    fn around(surroundings: &Surroundings) -> &Loader {
        &surroundings.loader
    }

    fn dispatch((): &(), effect: catalogue::Effect) -> Delivery {
        match effect {
            catalogue::Effect::Redraw(definitions) => Delivery::Redraw(Change::Definitions(definitions)),
            catalogue::Effect::Acknowledge { asker, hash, new } => {
                done(asker, if new { format!("defined {hash}") } else { format!("unchanged {hash}") })
            }
            catalogue::Effect::AcknowledgeLibrary { asker, word, hash } => done(asker, format!("{word} {hash}")),
        }
    }

    fn asker(input: &catalogue::Input) -> Option<Asker> {
        match input {
            catalogue::Input::Define { asker, .. }
            | catalogue::Input::AddLibrary { asker, .. }
            | catalogue::Input::RemoveLibrary { asker, .. } => Some(*asker),
            _ => None,
        }
    }
}
