//! Messages too large for one piece: cut into fragments by the sender, put together again by the receiver. Decides what is
//! a message, and how much of one that is not whole yet is kept; [`super::Wire`] asks. It knows no stream and no clock.
//!
//! What a header claims is never believed: memory is taken as content comes, out of a [`Budget`] that many connections may
//! share. A message for which there is none left is refused; then what it held is free again, so that others get on.

use super::{Frame, Framing, HEADER_BYTES, Header, Kind, Message, Unread, read};
use bytes::{Buf, Bytes, BytesMut};
use hansa_core::{
    code::{Code, Fault},
    limit,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A content that was read, or what is wrong with it and what it was to answer.
type Read = (Result<Message, Fault>, Option<Unread>);

fn read_whole(kind: Kind, content: &[u8]) -> Read {
    let message = read::message(kind, content);
    let unread = if message.is_err() { read::unread(kind, content) } else { None };
    (message, unread)
}

/// A message on its way out in fragments.
#[derive(Debug)]
pub(super) struct Fragments {
    header: Header,
    content: Bytes,
}

impl Fragments {
    pub(super) fn new(header: Header, content: Bytes) -> Self {
        Self { header, content }
    }

    /// The number of the message.
    pub(super) fn number(&self) -> u64 {
        self.header.number
    }

    /// Bytes that are still to be sent.
    pub(super) fn bytes(&self) -> usize {
        self.content.len()
    }

    /// Write the next fragment behind what `buffer` holds, and say whether more follow.
    pub(super) fn put(&mut self, buffer: &mut BytesMut, credit: u32) -> bool {
        let piece = self.content.split_to(self.content.len().min(limit::CXIP_FRAGMENT_BYTES_MAX));
        let more = !self.content.is_empty();
        let header = Header { more, content_bytes: piece.len() as u32, credit, ..self.header };
        buffer.extend_from_slice(&header.encode());
        buffer.extend_from_slice(&piece);
        more
    }

    /// Send nothing more of it: the other side has refused it, and only waits for its end.
    pub(super) fn cut(&mut self) {
        self.content.clear();
    }
}

/// How many bytes of messages that are not whole yet may be in memory. Clones share one budget.
#[derive(Clone, Debug)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { used: Arc::default(), bytes_max }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let within = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.bytes_max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Default for Budget {
    /// As much as one connection may have on its way at once.
    fn default() -> Self {
        Self::new(limit::CXIP_FRAGMENTED_MAX * limit::CXIP_CONTENT_BYTES_MAX)
    }
}

/// A message that has come in part.
#[derive(Debug)]
struct Partial {
    kind: Kind,
    correlation: u64,
    content: Content,
    /// Probes since the first fragment, and since the last.
    age: u32,
    idle: u32,
}

/// Its content so far; none once the message is refused and the rest of it only passed over.
type Content = Option<Held>;

#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    budget: Budget,
    /// What was taken from the budget: the capacity.
    taken: usize,
}

impl Held {
    fn new(budget: &Budget) -> Self {
        Self { bytes: Vec::new(), budget: budget.clone(), taken: 0 }
    }

    fn extend(&mut self, piece: &[u8]) -> Result<(), Fault> {
        let bytes = self.bytes.len() + piece.len();
        if bytes > limit::CXIP_CONTENT_BYTES_MAX {
            let message = format!(
                "the message's fragments have {bytes} bytes together; at most {} are taken",
                limit::CXIP_CONTENT_BYTES_MAX
            );
            return Err(Fault::new(Code::MessageTooLarge, message));
        }
        if bytes > self.taken {
            let wanted = (self.taken * 2).clamp(bytes, limit::CXIP_CONTENT_BYTES_MAX);
            let fitting = [wanted, bytes].into_iter().find(|wanted| self.budget.take(wanted - self.taken));
            let Some(fitting) = fitting else {
                return Err(Fault::new(Code::Busy, "too much is arriving in fragments at this moment"));
            };
            self.taken = fitting;
            self.bytes.reserve_exact(fitting - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give(self.taken);
    }
}

/// What has come over one connection: the count of its messages, and those that are not whole yet.
#[derive(Debug, Default)]
pub struct Assembly {
    budget: Budget,
    /// The greatest message number so far.
    received: u64,
    credit: u32,
    partial: BTreeMap<u64, Partial>,
}

impl Assembly {
    /// With a budget that others share.
    #[must_use]
    pub fn within(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    /// The credit that the last header granted.
    #[must_use]
    pub fn credit(&self) -> u32 {
        self.credit
    }

    /// Take the next message out of `buffer`: one that is whole now, or one that is refused before it is. None while
    /// more has to come.
    ///
    /// # Errors
    /// The bytes are no messages, as soon as that shows.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Framing> {
        loop {
            let Some(header) = Header::decode(buffer)? else { return Ok(None) };
            let end = HEADER_BYTES + header.content_bytes as usize;
            if buffer.len() < end {
                return Ok(None);
            }
            self.credit = header.credit;
            let is_new = header.number > self.received;
            let message = if is_new && !header.more {
                Some(read_whole(header.kind, &buffer[HEADER_BYTES..end]))
            } else {
                self.fragment(&header, is_new, &buffer[HEADER_BYTES..end])?
            };
            self.received = self.received.max(header.number);
            buffer.advance(end);
            if let Some((message, unread)) = message {
                return Ok(Some(Frame { header, message, unread }));
            }
        }
    }

    fn fragment(&mut self, header: &Header, is_new: bool, piece: &[u8]) -> Result<Option<Read>, Framing> {
        let lost = |code, message: String| Framing { number: header.number, fault: Fault::new(code, message) };
        if is_new {
            if header.kind == Kind::Acknowledge {
                return Err(lost(Code::MessageMalformed, "an Acknowledge comes whole, not in fragments".to_owned()));
            }
            if self.partial.len() == limit::CXIP_FRAGMENTED_MAX {
                let words = format!("{} messages are on their way in fragments already", self.partial.len());
                return Err(lost(Code::LimitReached, words));
            }
            let content = Some(Held::new(&self.budget));
            let (kind, correlation) = (header.kind, header.correlation);
            self.partial.insert(header.number, Partial { kind, correlation, content, age: 0, idle: 0 });
        }
        let Some(partial) = self.partial.get_mut(&header.number) else {
            let message = format!("message {} came after message {}; numbers grow", header.number, self.received);
            return Err(lost(Code::MessageOutOfOrder, message));
        };
        if (partial.kind, partial.correlation) != (header.kind, header.correlation) {
            let words = "the fragments of a message differ in type or correlation";
            return Err(lost(Code::MessageMalformed, words.to_owned()));
        }
        partial.idle = 0;
        let refused = match &mut partial.content {
            Some(held) => held.extend(piece).err(),
            None => None,
        };
        if refused.is_some() {
            partial.content = None;
        }
        if header.more {
            return Ok(refused.map(|fault| (Err(fault), None)));
        }
        let whole = self.partial.remove(&header.number).and_then(|partial| partial.content);
        Ok(match whole {
            Some(held) => Some(read_whole(header.kind, &held.bytes)),
            None => refused.map(|fault| (Err(fault), None)),
        })
    }

    /// Some time has passed, a probe's. Says the numbers of the messages that take too long; what comes of them still is
    /// passed over.
    pub fn tick(&mut self) -> Vec<u64> {
        let mut late = Vec::new();
        for (number, partial) in &mut self.partial {
            partial.age += 1;
            partial.idle += 1;
            let is_late =
                partial.idle > limit::CXIP_FRAGMENT_PROBES_MAX || partial.age > limit::CXIP_FRAGMENTS_PROBES_MAX;
            if is_late && partial.content.take().is_some() {
                late.push(*number);
            }
        }
        late
    }
}
