//! What a sub-node sends its follower of the log: in messages of some entries each, and only so many at once, as the way of a node has
//! room for so many bytes. Called by [`super`]; what there is to send, and to whom, the pair's machine says.

use super::{Did, Site};
use hansa_core::{code::Fault, dice::Dice, ident::SubnodeId, mirror::Message, mirror::pair::Input, moment::Moment};
use std::collections::VecDeque;

/// Entries of one message to the follower.
const APPENDED_ENTRIES_MAX: usize = 64;

/// Entries that are to be sent: behind one, through another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shipping {
    pub(super) to: SubnodeId,
    pub(super) epoch: u64,
    pub(super) after: u64,
    pub(super) through: u64,
    pub(super) committed: u64,
}

/// The way to the follower.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// What waits.
    shipping: Option<Shipping>,
    /// The ends of the messages that were sent and not acknowledged.
    sent: VecDeque<u64>,
}

impl Way {
    /// Where it goes on what waited, that goes first.
    pub(super) fn want(&mut self, shipping: Shipping) {
        let goes_on = |before: &Shipping| before.epoch == shipping.epoch && before.through == shipping.after;
        let after = self.shipping.filter(goes_on).map_or(shipping.after, |before| before.after);
        self.shipping = Some(Shipping { after, ..shipping });
    }
}

impl Site {
    /// Send what waits, as far as there is room.
    pub(super) fn ship(&mut self, now: Moment, dice: &mut Dice, did: &mut Vec<Did>) -> Result<(), Fault> {
        let acknowledged = self.pair.picture().acknowledged;
        self.way.sent.retain(|end| *end > acknowledged);
        while let Some(Shipping { to, epoch, after, through, committed }) = self.way.shipping {
            if self.pair.certified().is_none_or(|certified| certified.epoch() != epoch) {
                self.way.shipping = None;
                break;
            }
            if self.under_way_max.is_some_and(|most| self.way.sent.len() >= usize::from(most)) {
                self.seen.push("way full");
                break;
            }
            self.way.shipping = None;
            let disk = &self.writing.disk;
            let entries = disk.entries(after as usize, through as usize);
            let entries = entries[..entries.len().min(APPENDED_ENTRIES_MAX)].to_vec();
            let (Some(previous), Some(last)) = (disk.position(after), entries.last().map(|entry| entry.position))
            else {
                self.pair_input(now, dice, Input::Unshipped)?;
                break;
            };
            if entries.len() == APPENDED_ENTRIES_MAX {
                self.seen.push("append full");
            }
            if last.sequence < through {
                self.way.shipping = Some(Shipping { to, epoch, after: last.sequence, through, committed });
            }
            self.way.sent.push_back(last.sequence);
            did.push(Did::Say { to, message: Message::Append { epoch, previous, entries, committed } });
            self.pair_input(now, dice, Input::Shipped { through: last })?;
        }
        Ok(())
    }
}
