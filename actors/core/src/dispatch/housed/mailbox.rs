//! The place of mailboxes: what they give to sessions, and to whom outcomes go.

use super::{Housed, acknowledge, noted};
use crate::{
    address::Kind,
    dispatch::{Delivery, Input, Outward, Surroundings},
    ident::ServiceName,
    invocation::{Caller, Performer},
    link,
    mailbox::{self, Mailbox},
    session::{Asker, ToSession},
    transaction,
};

impl Housed for Mailbox {
    const KIND: Kind = Kind::Mailbox;
    const PUT_AWAY: bool = false;

    fn around(_: &Surroundings) -> &() {
        &()
    }

    fn dispatch(key: &ServiceName, effect: mailbox::Effect) -> Delivery {
        use mailbox::Effect;
        match effect {
            Effect::Perform { session, invocation } => {
                Delivery::Outward(Outward::Session(session, ToSession::Perform { service: key.clone(), invocation }))
            }
            Effect::Withdraw { session, invocation } => {
                Delivery::Outward(Outward::Session(session, ToSession::Withdraw { invocation }))
            }
            Effect::Return { caller: Caller::Transaction(id), invocation, outcome, asker } => {
                Delivery::Inward(Input::Transaction(
                    id,
                    transaction::Input::Answer { invocation, outcome, from: Performer::Local(key.clone()), asker },
                ))
            }
            Effect::Return { caller: Caller::Peer(organization), invocation, outcome, asker } => {
                Delivery::Inward(Input::Link(organization, link::Input::Answer { invocation, outcome, asker }))
            }
            Effect::Stray { caller, invocation, from, outcome, refusal } => {
                let from = Performer::Local(from);
                let stray = transaction::Input::Strayed { invocation, from, outcome, refusal };
                Delivery::Inward(Input::Transaction(caller, stray))
            }
            Effect::Refuse { asker, fault } => {
                Delivery::Outward(Outward::Session(asker.session, ToSession::Refused { message: asker.message, fault }))
            }
            // A mailbox and who performs for it live with the process.
            Effect::Acknowledge { asker } => acknowledge(asker, noted("registered")),
        }
    }

    fn asker(input: &mailbox::Input) -> Option<Asker> {
        match input {
            mailbox::Input::Attach { asker, .. } | mailbox::Input::Answer { asker, .. } => Some(*asker),
            _ => None,
        }
    }
}
