//! What is seen of an entry of a transaction without reading it whole: whether it begins one that is kept, and whether it ends it. A
//! mirror looks at entries so, for most transactions have ended before anybody there asks for them. It decides nothing about a
//! transaction; whatever it does not know, it says nothing about.

use super::Instance;
use cbor4ii::core::{
    dec::{Decode as _, IgnoredAny},
    types::{Array, Map},
    utils::SliceReader,
};

/// The names of all records that say something, as they are in the journal.
const NAMES: [&str; 11] = [
    SUBMITTED,
    "Sought",
    "Iterated",
    "Requested",
    "Waited",
    "Signalled",
    "Answered",
    "AnswerRefused",
    "Ended",
    "CompensationBegan",
    FINISHED,
];
const SUBMITTED: &str = "Submitted";
const FINISHED: &str = "Finished";

/// See above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// A transaction begins that is kept when it has ended, and that nobody has to have settled then.
    Begins,
    /// It goes on.
    GoesOn,
    /// It ends.
    Ends,
}

impl Instance {
    /// Look at an entry's records as the journal has them. None: they are to be read. It may be that the
    /// transaction ends where it begins, or is not to be kept, or that what happened is of a kind that is not known here.
    #[must_use]
    pub fn glance(entry: &[u8]) -> Option<Glance> {
        let reader = &mut SliceReader::new(entry);
        let mut seen = Glance::GoesOn;
        for place in 0..Array::len(reader).ok()?? {
            match name(reader)? {
                SUBMITTED if place == 0 && is_submitted_to_be_kept(reader)? => seen = Glance::Begins,
                SUBMITTED => return None,
                FINISHED if seen == Glance::Begins => return None,
                known => {
                    IgnoredAny::decode(reader).ok()?;
                    if known == FINISHED {
                        seen = Glance::Ends;
                    }
                }
            }
        }
        Some(seen)
    }
}

/// The name of the next record; those that say nothing but their names end what was or forget it, and are never passed over.
fn name(reader: &mut SliceReader<'_>) -> Option<&'static str> {
    if Map::len(reader).ok()?? != 1 {
        return None;
    }
    let name = text(reader)?;
    NAMES.into_iter().find(|known| *known == name)
}

fn text<'a>(reader: &mut SliceReader<'a>) -> Option<&'a str> {
    <&str>::decode(reader).ok()
}

fn is_submitted_to_be_kept(reader: &mut SliceReader<'_>) -> Option<bool> {
    let (mut is_saved, mut has_parent) = (false, false);
    for _ in 0..Map::len(reader).ok()?? {
        match text(reader)? {
            "save" => is_saved = bool::decode(reader).ok()?,
            field => {
                has_parent |= field == "parent";
                IgnoredAny::decode(reader).ok()?;
            }
        }
    }
    Some(is_saved && !has_parent)
}
