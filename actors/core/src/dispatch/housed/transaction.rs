//! The place of transactions: whom their effects reach, what of them is counted, and who waits for them.

use super::{Housed, acknowledge, noted};
use crate::{
    address::Kind,
    dispatch::{Delivery, Input, Outward, Surroundings, Tally},
    durability::Durability,
    ident::TransactionId,
    invocation::{Caller, Performer},
    link, mailbox,
    moment::Moment,
    session::{Asker, Ending, ToSession, Tracking},
    transaction::{self, Instance},
};

impl Housed for Instance {
    const KIND: Kind = Kind::Transaction;
    const PUT_AWAY: bool = true;

    fn tally(record: &transaction::Record) -> Option<Tally> {
        use transaction::Record;
        Some(match record {
            Record::Submitted { .. } => Tally::Submitted,
            Record::Requested { .. } => Tally::Requested,
            Record::AnswerRefused(_) => Tally::AnswersRefused,
            Record::Finished { ending: Ending::Completed(_), .. } => Tally::Completed,
            Record::Finished { ending: Ending::Failed(_), .. } => Tally::Failed,
            Record::Finished { ending: Ending::TimedOut, .. } => Tally::TimedOut,
            Record::Finished { ending: Ending::Cancelled, .. } => Tally::Cancelled,
            _ => return None,
        })
    }

    fn is_needed(&self) -> bool {
        Self::is_needed(self)
    }

    fn is_ended(&self) -> bool {
        Self::is_ended(self)
    }

    fn lingers_until(&self) -> Option<Moment> {
        Self::lingers_until(self)
    }

    fn forget() -> Option<transaction::Input> {
        Some(transaction::Input::Forget)
    }

    fn purged() -> Option<transaction::Record> {
        Some(transaction::Record::Purged)
    }

    fn begins(record: &transaction::Record) -> bool {
        matches!(record, transaction::Record::Submitted { .. })
    }

    fn waiting(&self) -> &[Asker] {
        self.requesters()
    }

    fn waits(asker: Asker) -> Option<transaction::Record> {
        Some(transaction::Record::Awaited { asker })
    }

    fn around(surroundings: &Surroundings) -> &transaction::Around {
        &surroundings.around
    }

    fn dispatch(key: &TransactionId, effect: transaction::Effect) -> Delivery {
        use transaction::Effect;
        match effect {
            Effect::Offer { service, invocation } => Delivery::Inward(Input::Mailbox(
                service,
                mailbox::Input::Offer { caller: Caller::Transaction(*key), invocation },
            )),
            Effect::Ask { organization, invocation, leg } => {
                Delivery::Inward(Input::Link(organization, link::Input::Ask { caller: *key, invocation, leg }))
            }
            Effect::Withdraw { performer: Performer::Local(service), invocation } => {
                Delivery::Inward(Input::Mailbox(service, mailbox::Input::Withdraw { invocation }))
            }
            Effect::Withdraw { performer: Performer::Peer { organization, .. }, invocation } => {
                Delivery::Inward(Input::Link(organization, link::Input::Withdraw { invocation }))
            }
            Effect::Withdraw { performer: Performer::Transaction(id), invocation } => {
                Delivery::Inward(Input::Transaction(id, transaction::Input::Withdraw { invocation }))
            }
            Effect::Settle { performer: Performer::Peer { organization, .. }, invocation } => {
                Delivery::Inward(Input::Link(organization, link::Input::Settle { invocation }))
            }
            Effect::Settle { performer: Performer::Transaction(id), invocation } => {
                Delivery::Inward(Input::Transaction(id, transaction::Input::Settle { invocation }))
            }
            // A mailbox keeps no answer; there it means that nobody waits any more.
            Effect::Settle { performer: Performer::Local(service), invocation } => {
                Delivery::Inward(Input::Mailbox(service, mailbox::Input::Withdraw { invocation }))
            }
            Effect::Begin { transaction, parent, definition, document } => Delivery::Inward(Input::Transaction(
                transaction,
                transaction::Input::Begin { parent, definition, document },
            )),
            Effect::Return { parent, invocation, outcome } => Delivery::Inward(Input::Transaction(
                parent,
                transaction::Input::Answer { invocation, outcome, from: Performer::Transaction(*key), asker: None },
            )),
            Effect::Inquire { parent, invocation } => Delivery::Inward(Input::Transaction(
                parent,
                transaction::Input::Inquire { invocation, performer: Performer::Transaction(*key) },
            )),
            Effect::Refuse { asker, fault } => {
                Delivery::Outward(Outward::Session(asker.session, ToSession::Refused { message: asker.message, fault }))
            }
            Effect::Acknowledge { asker, invocation, word } => {
                // Whoever waits or looks changes nothing.
                let durability = (!matches!(word, "awaiting" | "queried")).then_some(Durability::OneSite);
                acknowledge(asker, Tracking { transaction: Some(*key), invocation, durability, ..noted(word) })
            }
            Effect::Report { asker, status } => {
                Delivery::Outward(Outward::Session(asker.session, ToSession::Status { message: asker.message, status }))
            }
            Effect::Respond { asker, response } => Delivery::Outward(Outward::Session(
                asker.session,
                ToSession::Respond { message: asker.message, response },
            )),
        }
    }

    fn asker(input: &transaction::Input) -> Option<Asker> {
        use transaction::Input;
        match input {
            Input::Submit { asker, .. }
            | Input::Await { asker }
            | Input::Query { asker }
            | Input::Cancel { asker }
            | Input::Signal { asker, .. } => Some(*asker),
            Input::Answer { asker, .. } => *asker,
            Input::Begin { .. }
            | Input::Strayed { .. }
            | Input::Inquire { .. }
            | Input::Withdraw { .. }
            | Input::Settle { .. }
            | Input::Advance
            | Input::Judge { .. }
            | Input::JudgeAll
            | Input::Forget
            | Input::Due
            | Input::Resumed => None,
        }
    }
}
