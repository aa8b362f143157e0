//! Decides how the history of a log's epochs is found when the journal is opened, for those segments that nothing else looks at
//! then, because the store has what is in them. Recovery alone calls it. It must not know what epochs mean.
//!
//! Every segment says where the one before it ended, so only those are followed in which an epoch ends.

use super::{
    disk::Disk,
    reading::{Chain, Lost},
};
use hansa_core::mirror::{History, Position};
use std::io;

/// The ends of the epochs in `segments`, whose last entry is `end`. A segment that cannot be read hides what is before it: only
/// whoever looks into it is refused.
pub(super) fn before(disk: &dyn Disk, segments: &[u64], end: Position) -> History {
    let mut ends = Vec::new();
    let mut end = end;
    let mut later = segments.iter().rev();
    loop {
        if end.sequence > 0 {
            ends.push(end);
        }
        let Some(&first) = later.next() else { break };
        match within(disk, first, end) {
            Ok((start, within)) => {
                ends.extend(within.into_iter().rev());
                end = start;
            }
            Err(why) => {
                let folder = disk.place();
                tracing::warn!(
                    folder,
                    first,
                    why,
                    "a segment of the journal cannot be read; what epochs it has is unknown"
                );
                break;
            }
        }
    }
    let mut history = History::default();
    for end in ends.into_iter().rev() {
        history.extend(end);
    }
    history
}

/// The last entry before a segment that ends with `end`, and the ends of epochs in it, ascending.
fn within(disk: &dyn Disk, first: u64, end: Position) -> Result<(Position, Vec<Position>), String> {
    let why = |lost| match lost {
        Lost::Broken(fault) => fault.to_string(),
        Lost::Unreadable(_, error) => io::Error::to_string(&error),
    };
    let mut chain = Chain::open(disk, first).map_err(why)?;
    let start = chain.last;
    if start.epoch == end.epoch {
        return Ok((start, Vec::new()));
    }
    let mut ends: Vec<Position> = Vec::new();
    while chain.last.sequence < end.sequence {
        let last = chain.next().map_err(why)?.position;
        // The first of the epoch that the segment ends with: there is nothing more to be found.
        if last.epoch == end.epoch {
            break;
        }
        extend(&mut ends, last);
    }
    Ok((start, ends))
}

/// The log goes on to here: note where its epoch ends now.
pub(super) fn extend(ends: &mut Vec<Position>, to: Position) {
    match ends.last_mut() {
        Some(end) if end.epoch == to.epoch => *end = to,
        _ => ends.push(to),
    }
}
