//! Whether the records of a transaction follow from its definition and from what came from outside.
//!
//! From outside come the submission, who was chosen to perform, outcomes, signals, cancellation, and the time at which each
//! of these and each timer came. They are taken from the records. Everything else the machine must decide anew: requests,
//! splits, joins, what counts, retries, what is undone, and the ending. Each record that it makes must be the recorded one.

use crate::{
    code::Fault,
    dice::Dice,
    ident::{InvocationId, TransactionId},
    invocation::Performer,
    machine::Machine,
    moment::Moment,
    session::{Asker, Ending, SessionId},
    transaction::{Answerer, Around, Input, Instance, Record},
};
use std::{collections::BTreeMap, sync::Arc};

/// Nobody asks in a replay.
const NOBODY: Asker = Asker { session: SessionId(0), message: 0 };

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The transaction that was made anew. What is stored should be [the same](Instance::is_same_as).
    pub instance: Instance,
    /// How many records were computed anew and are the same.
    pub records: usize,
}

/// Where a replay left the records.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Which record, from zero: the first that is not the same.
    pub index: usize,
    /// What is recorded; nothing where the records end and the machine goes on.
    pub recorded: Option<Box<Record>>,
    /// What the machine decided; nothing where it decides nothing.
    pub computed: Option<Box<Record>>,
    /// Why the machine refused what came from outside, where it did.
    pub refused: Option<Fault>,
}

/// Compute the records of transaction `id` anew; `around` has its definition, and nothing else there is looked at.
///
/// `records` are all that the journal has of it, in their order.
///
/// # Errors
/// The first record that the machine does not decide as it is recorded.
pub fn replay(id: TransactionId, around: &Around, records: &[Record]) -> Result<Replayed, Box<Difference>> {
    let mut replay = Replay {
        instance: Instance::new(&id),
        around: around.clone(),
        dice: Dice::new(0),
        records,
        index: 0,
        asked: BTreeMap::new(),
    };
    while replay.index < records.len() {
        replay.step()?;
    }
    Ok(Replayed { instance: replay.instance, records: replay.index })
}

struct Replay<'a> {
    instance: Instance,
    around: Around,
    dice: Dice,
    records: &'a [Record],
    index: usize,
    /// Whom each leg was asked of last, and under which id.
    asked: BTreeMap<(u32, u32), (InvocationId, Performer)>,
}

impl Replay<'_> {
    /// Give the machine what made the next record, and compare all that follows from it.
    fn step(&mut self) -> Result<(), Box<Difference>> {
        let next = &self.records[self.index];
        let now = next.at().or(self.instance.wakes_at()).unwrap_or(Moment(0));
        // What was refused changed nothing and rests on nothing but that it came.
        if let Record::AnswerRefused(_) = next {
            self.instance.absorb(next);
            self.index += 1;
            return Ok(());
        }
        let input = self.cause(next);
        let before = self.index;
        self.feed(now, input)?;
        if self.index > before {
            return Ok(());
        }
        Err(self.differs(None, None))
    }

    /// What came from outside, so that this was recorded.
    fn cause(&self, record: &Record) -> Input {
        match record {
            Record::Submitted { definition, input, parent, .. } => match parent {
                Some(parent) => {
                    Input::Begin { parent: parent.clone(), definition: definition.clone(), document: input.clone() }
                }
                None => Input::Submit { asker: NOBODY, definition: definition.clone(), document: input.clone() },
            },
            Record::Signalled { signal, document, .. } => {
                Input::Signal { asker: NOBODY, signal: signal.clone(), document: document.clone() }
            }
            Record::Answered { operation, leg, outcome, from, .. } if *from != Answerer::Nobody => {
                match self.asked.get(&(*operation, *leg)) {
                    None => self.time(),
                    Some((invocation, performer)) => Input::Answer {
                        invocation: *invocation,
                        outcome: outcome.clone(),
                        from: match (from, performer) {
                            (Answerer::Service(service), Performer::Peer { organization, .. }) => {
                                Performer::Peer { organization: *organization, service: Some(service.clone()) }
                            }
                            _ => performer.clone(),
                        },
                        asker: None,
                    },
                }
            }
            Record::Finished { ending: Ending::Cancelled, .. }
            | Record::CompensationBegan { ending: Ending::Cancelled, .. } => Input::Cancel { asker: NOBODY },
            Record::Settled => match self.instance.parent() {
                Some(parent) => Input::Settle { invocation: parent.invocation },
                None => self.time(),
            },
            Record::Forgotten => Input::Forget,
            _ => self.time(),
        }
    }

    /// A time has come. Where the process had ended with an answer recorded and not judged, that was judged first.
    fn time(&self) -> Input {
        if self.instance.is_ended() { Input::Due } else { Input::JudgeAll }
    }

    fn feed(&mut self, now: Moment, input: Input) -> Result<(), Box<Difference>> {
        let mut next = Some(input);
        while let Some(input) = next {
            self.around.lived = self.records.get(self.index).map(|record| Arc::new(record.clone()));
            let decided = self.instance.decide(&self.around, now, &mut self.dice, input);
            let decision = decided.map_err(|fault| self.differs(None, Some(fault)))?;
            for record in decision.records {
                if Instance::is_journaled(&record) {
                    if self.records.get(self.index) != Some(&record) {
                        return Err(self.differs(Some(record), None));
                    }
                    self.index += 1;
                    if let Record::Requested { operation, asked, .. } = &record {
                        let legs = asked
                            .iter()
                            .map(|asked| ((*operation, asked.leg), (asked.invocation, asked.performer.clone())));
                        self.asked.extend(legs);
                    }
                }
                self.instance.absorb(&record);
            }
            next = decision.then;
            // The process ended here when it was lived, and what follows was decided when it was there again.
            if self.is_cut(now) {
                next = None;
            }
        }
        Ok(())
    }

    /// Whether the next record, though it follows from what came before, was made at another time.
    fn is_cut(&self, now: Moment) -> bool {
        match self.records.get(self.index) {
            None => true,
            Some(record) => record.at().is_some_and(|at| at != now),
        }
    }

    fn differs(&self, computed: Option<Record>, refused: Option<Fault>) -> Box<Difference> {
        Box::new(Difference {
            index: self.index,
            recorded: self.records.get(self.index).cloned().map(Box::new),
            computed: computed.map(Box::new),
            refused,
        })
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "record {} is ", self.index + 1)?;
        match &self.recorded {
            Some(recorded) => write!(out, "{recorded:?}")?,
            None => out.write_str("not there")?,
        }
        match (&self.computed, &self.refused) {
            (Some(computed), _) => write!(out, ", and computed anew {computed:?}"),
            (None, Some(fault)) => write!(out, ", and computed anew, what led to it is refused: {fault}"),
            (None, None) => out.write_str(", and computed anew nothing leads to it"),
        }
    }
}
