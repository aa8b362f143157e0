//! Clients and services as the SDK makes them: they come back when their connection is gone, repeat what was not acknowledged,
//! and services also answer twice, forget, or crash.

use super::{
    invariants::{Violation, effects::Traffic, hold},
    papers::name,
    plan::{OPERATIONS, Wish, outcome},
};
use hansa_core::{
    code::Code,
    dice::Dice,
    ident::TransactionId,
    offer,
    session::{FromSession, Response, ToSession},
};

const ANSWERED: &str = "what a client is told stays true";

/// What a person does next.
pub enum Spoken {
    Say { message: u64, delay_ms: u64, said: FromSession },
    Act { delay_ms: u64 },
    Crash,
}

/// A client that wants one transaction and waits for its end.
pub struct Client {
    pub home: usize,
    pub id: TransactionId,
    pub wish: Wish,
    /// Whether it tries to cancel what it wanted.
    pub cancels: bool,
    pub response: Option<Response>,
    acknowledged: bool,
    message: u64,
}

impl Client {
    pub fn new(home: usize, id: TransactionId, wish: Wish, cancels: bool) -> Self {
        Self { home, id, wish, cancels, response: None, acknowledged: false, message: 0 }
    }

    fn say(&mut self, delay_ms: u64, said: FromSession) -> Spoken {
        self.message += 1;
        Spoken::Say { message: self.message, delay_ms, said }
    }

    /// It has a connection: it submits until that was acknowledged, and then only waits.
    pub fn attached(&mut self) -> Vec<Spoken> {
        if self.response.is_some() { Vec::new() } else { self.act() }
    }

    pub fn act(&mut self) -> Vec<Spoken> {
        let transaction = self.id;
        if self.acknowledged {
            let mut said: Vec<_> = self.signals(1).into_iter().collect();
            said.push(self.say(1, FromSession::Await { transaction }));
            return said;
        }
        let (definition, document) = (self.wish.definition.clone(), self.wish.document());
        let mut said = vec![self.say(1, FromSession::Submit { transaction: Some(transaction), definition, document })];
        said.extend(self.signals(20));
        if self.cancels {
            said.push(self.say(30, FromSession::Cancel { transaction }));
        }
        said
    }

    fn signals(&mut self, delay_ms: u64) -> Option<Spoken> {
        let (signal, document) = self.wish.signal()?;
        Some(self.say(delay_ms, FromSession::Signal { transaction: self.id, signal, document }))
    }

    /// # Errors
    /// It was told what cannot be.
    pub fn hear(&mut self, said: ToSession) -> Result<Vec<Spoken>, Violation> {
        Ok(match said {
            ToSession::Acknowledged { tracking, .. } => {
                self.acknowledged |= matches!(tracking.word.as_deref(), Some("submitted" | "repeated"));
                Vec::new()
            }
            ToSession::Refused { fault, .. } => match fault.code {
                Code::Busy | Code::DefinitionUnknown => vec![Spoken::Act { delay_ms: 100 }],
                // It cancelled what has ended, or what the node has not taken yet.
                Code::TransactionEnded if self.cancels => Vec::new(),
                Code::TransactionUnknown if (self.cancels || self.wish.signal().is_some()) && !self.acknowledged => {
                    Vec::new()
                }
                _ => {
                    let (id, acknowledged) = (self.id, self.acknowledged);
                    hold!(false, ANSWERED, "transaction {id} was acknowledged: {acknowledged}, and now: {fault}");
                    Vec::new()
                }
            },
            ToSession::Respond { response, .. } => {
                let before = self.response.replace(response);
                hold!(before.is_none() || before == self.response, ANSWERED, "two responses to {} differ", self.id);
                Vec::new()
            }
            other => {
                hold!(false, ANSWERED, "a client hears {other:?}");
                Vec::new()
            }
        })
    }
}

/// The one service of an organization.
pub struct Service {
    pub home: usize,
    message: u64,
}

impl Service {
    pub fn new(home: usize) -> Self {
        Self { home, message: 0 }
    }

    fn say(&mut self, delay_ms: u64, said: FromSession) -> Spoken {
        self.message += 1;
        Spoken::Say { message: self.message, delay_ms, said }
    }

    fn service(&self) -> offer::Service {
        offer::Service {
            name: name(self.home as u8 + 1).parse().expect("it is a name"),
            operations: OPERATIONS.map(|operation| operation.parse().expect("it is a name")).to_vec(),
            public: true,
        }
    }

    pub fn attached(&mut self, dice: &mut Dice) -> Vec<Spoken> {
        let (service, credit) = (self.service(), 1 + dice.below(8) as u32);
        vec![self.say(1, FromSession::Register { service, credit })]
    }

    /// # Errors
    /// It is asked what cannot be.
    pub fn hear(
        &mut self,
        said: ToSession,
        dice: &mut Dice,
        faulty: bool,
        traffic: &mut Traffic,
    ) -> Result<Vec<Spoken>, Violation> {
        let ToSession::Perform { service, invocation } = said else { return Ok(Vec::new()) };
        hold!(service == self.service().name, ANSWERED, "{service} is asked at another service's door");
        traffic.performed(self.home, &invocation)?;
        let slow = faulty && dice.below(5) == 0;
        let delay_ms = 1 + dice.below(if slow { 3_000 } else { 20 });
        let outcome = outcome(self.home as u8 + 1, &invocation);
        let answer = FromSession::Answer { invocation: invocation.id, service, outcome };
        Ok(match if faulty { dice.below(20) } else { 19 } {
            0 => vec![Spoken::Crash],
            // It forgets, until it comes anew.
            1 => Vec::new(),
            2 => vec![self.say(delay_ms, answer.clone()), self.say(delay_ms + 5, answer)],
            _ => vec![self.say(delay_ms, answer)],
        })
    }
}
