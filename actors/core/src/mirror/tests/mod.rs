//! The pair and its witnesses, step by step. Whole federations of pairs are in the simulation; what is here reads like the protocol's
//! page.

mod exhaustive;
mod explorer;
mod followers;
mod pairs;
mod papers;
mod witnesses;

use super::{
    Ballot, Certified, Configuration, MemberId, Message, Mode, Witness, Witnesses,
    witness::{self, Bench},
};
use crate::{
    code::Fault,
    dice::Dice,
    ident::{OrganizationId, SubnodeId},
    machine::{Machine, feed},
    moment::Moment,
};
use ed25519_dalek::SigningKey;

/// How many worlds are to be looked at, if somebody says so.
fn worlds() -> Option<usize> {
    let read = |worlds: String| worlds.parse().unwrap_or_else(|_| panic!("HANSA_WORLDS is '{worlds}', and no number"));
    std::env::var("HANSA_WORLDS").ok().map(read)
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn subnode(number: u8) -> SubnodeId {
    SubnodeId(key(number).verifying_key().to_bytes())
}

fn member(number: u8) -> MemberId {
    MemberId { subnode: subnode(number), journal: u64::from(number) }
}

fn organization() -> OrganizationId {
    OrganizationId(key(200).verifying_key().to_bytes())
}

/// Sub-nodes 1 and 2 are the pair's, from 11 on its witnesses.
fn founded(mode: Mode, witnesses: Witnesses) -> Box<Certified> {
    let configuration = Configuration { pair: organization(), epoch: 1, mode, witnesses };
    Box::new(Certified::founded(&key(200), configuration))
}

fn whole() -> Mode {
    Mode::Pair { active: member(1), mirror: member(2) }
}

fn four() -> Witnesses {
    Witnesses::new((11..15).map(member).collect())
}

fn ballot(round: u64, by: u8) -> Ballot {
    Ballot { round, by: member(by) }
}

/// A witness with its journal, which a crash keeps.
#[derive(Clone, Debug)]
struct Kept {
    bench: Bench,
    witness: Witness,
    records: Vec<witness::Record>,
}

impl Kept {
    fn new(number: u8) -> Self {
        let bench = Bench { key: key(number), witness: member(number), flaw: None };
        Self { bench, witness: Witness::new(&organization()), records: Vec::new() }
    }

    fn hear(&mut self, from: u8, message: Message) -> Result<Option<Message>, Fault> {
        let input = witness::Input::Heard { from: subnode(from), message: Box::new(message) };
        let (mut said, records) = (None, &mut self.records);
        feed(&mut self.witness, &self.bench, Moment(1), &mut Dice::new(1), input, |happened, effects| {
            records.extend(happened);
            said = effects.into_iter().next().map(|effect| effect.message);
        })?;
        // What it remembers is what its records say, and nothing else.
        let mut again = Witness::new(&organization());
        self.records.iter().for_each(|record| again.absorb(record));
        assert_eq!(again, self.witness);
        Ok(said)
    }
}
