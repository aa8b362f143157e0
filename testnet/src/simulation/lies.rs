//! A witness that lies: it answers as one that promised and accepted nothing, or keeps another memory for each who asks, and names a
//! floor that nobody told it. What it says it seals with its own key, for it has no other. With three or four witnesses, of
//! which one is such, there must still be one decision (M3).

use hansa_core::{
    dice::Dice,
    ident::{OrganizationId, SubnodeId},
    machine::{Machine as _, feed},
    mirror::{
        Message, Position, Witness,
        witness::{Bench, Effect, Input},
    },
    moment::Moment,
};
use std::collections::BTreeMap;

/// What it remembers of its lies, to be consistent in them.
#[derive(Debug, Default)]
pub struct Lies {
    faces: BTreeMap<(OrganizationId, SubnodeId), Witness>,
}

impl Lies {
    /// A lie in answer to this, or none: it tells the truth often enough to be believed.
    pub fn told(
        &mut self,
        bench: &Bench,
        now: Moment,
        dice: &mut Dice,
        pair: OrganizationId,
        input: &Input,
    ) -> Option<Vec<Effect>> {
        let Input::Heard { from, .. } = input else { return None };
        let mut blank = Witness::new(&pair);
        let face = match dice.below(4) {
            0 => return None,
            1 => &mut blank,
            _ => self.faces.entry((pair, *from)).or_insert_with(|| Witness::new(&pair)),
        };
        let mut said = Vec::new();
        let fed = feed(face, bench, now, dice, input.clone(), |_, effects| said.extend(effects));
        if fed.is_err() {
            // Even a liar cannot make sense of it.
            return None;
        }
        for Effect { message, .. } in &mut said {
            if let Message::Promise { floor, .. } = message
                && dice.below(8) == 0
            {
                *floor = Position { sequence: 1 + dice.below(1 << 40), ..Position::default() };
            }
        }
        Some(said)
    }
}
