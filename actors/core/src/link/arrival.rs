//! What becomes of a frame that arrives from the peer, and which local service performs its request.

use super::{Asked, Body, Effect, Input, Link, Numbered, Record, Taken, one_hop_further, topics};
use crate::{
    code::{Code, Fault},
    document::Text,
    ident::{InvocationId, ServiceName},
    invocation::{Invocation, Outcome},
    limit,
    machine::Decision,
    offer::Offers,
};

impl Link {
    pub(super) fn arrived(&self, offers: &Offers, turn: u64, frame: Numbered) -> Result<Decision<Self>, Fault> {
        if frame.sequence <= self.accepted_through {
            return Ok(Decision::nothing().effect(Effect::Confirm { accepted_through: self.accepted_through }));
        }
        if frame.sequence != self.accepted_through + 1 {
            return Err(Fault::new(
                Code::FrameRefused,
                format!("{} sent frame {} after frame {}", self.peer.short(), frame.sequence, self.accepted_through),
            ));
        }
        let confirm = Effect::Confirm { accepted_through: frame.sequence };
        let frame = with_checked_answer(frame);
        let accepted = |taken| Decision::nothing().record(Record::Accepted { frame: frame.clone(), taken });
        Ok(match &frame.body {
            // A repetition: what was answered is answered once more, and nothing is performed again.
            Body::Request { invocation, .. } if self.answered.contains_key(&invocation.id) => {
                accepted(Taken::Plainly).effect(confirm).then(Input::Transmit)
            }
            Body::Request { invocation, .. } if self.performing.contains_key(&invocation.id) => {
                accepted(Taken::Plainly).effect(confirm)
            }
            Body::Request { invocation, leg } => match self.accept(offers, turn, invocation, *leg) {
                Ok(service) => accepted(Taken::By(service.clone()))
                    .effect(confirm)
                    .effect(Effect::Offer { service, invocation: one_hop_further(invocation) }),
                Err(fault) => accepted(Taken::Refused(fault)).effect(confirm).then(Input::Transmit),
            },
            Body::Answer { invocation, service, outcome } => {
                let decision = accepted(Taken::Plainly).effect(confirm);
                match self.asked.get(invocation) {
                    Some(Asked { caller, answer: None }) => decision.effect(Effect::Return {
                        caller: *caller,
                        invocation: *invocation,
                        service: service.clone(),
                        outcome: outcome.clone(),
                    }),
                    _ => decision,
                }
            }
            Body::Withdraw { invocation } => {
                let mut decision = accepted(Taken::Plainly).effect(confirm);
                if let Some(performing) = self.performing.get(invocation) {
                    let service = performing.service.clone();
                    decision.effects.push(Effect::Withdraw { service, invocation: *invocation });
                }
                decision
            }
            Body::Topic(body) => match topics::checked(body) {
                Ok(()) => {
                    let mut decision = accepted(Taken::Plainly).effect(confirm);
                    let arrived = self.topics.arrived(frame.sequence, body);
                    decision.effects.extend(arrived.map(Effect::Topic));
                    decision
                }
                Err(fault) => accepted(Taken::Refused(fault)).effect(confirm),
            },
        })
    }

    /// Which local service performs a request of the peer's.
    fn accept(&self, offers: &Offers, turn: u64, invocation: &Invocation, leg: u32) -> Result<ServiceName, Fault> {
        let context = &invocation.context;
        if context.organization != self.peer {
            return Err(Fault::new(Code::FrameRefused, "a peer may forward operations of its own transactions only"));
        }
        let id = InvocationId::new(&self.peer, context.transaction, context.operation, leg, context.attempt);
        if invocation.id != id {
            return Err(Fault::new(Code::FrameRefused, "the id of the invocation is not the one that its content has"));
        }
        if context.hops >= limit::HOPS_MAX {
            return Err(Fault::new(Code::LimitReached, "the invocation has crossed as many nodes as it may"));
        }
        if self.performing.len() >= limit::LINK_INVOCATIONS_OPEN_MAX {
            return Err(Fault::new(Code::Busy, format!("{} of your requests are open here", self.performing.len())));
        }
        Text::parse(invocation.document.as_str().as_bytes())?;
        offers.public_performer(&invocation.target, turn).ok_or_else(|| {
            let at = invocation.target.service.as_ref().map(|name| format!(" at service {name}")).unwrap_or_default();
            Fault::new(Code::NoPerformer, format!("nobody here performs {}{at}", invocation.target.operation))
        })
    }
}

/// The same frame; an answer that is no document has become a failure. What a peer sends was decoded and not looked into.
fn with_checked_answer(mut frame: Numbered) -> Numbered {
    if let Body::Answer { outcome, .. } = &mut frame.body
        && let Outcome::Completed(document) = outcome
        && let Err(fault) = Text::parse(document.as_str().as_bytes())
    {
        *outcome = Outcome::Failed(fault);
    }
    frame
}
