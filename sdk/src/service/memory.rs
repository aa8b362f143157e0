//! What a service remembers of invocations, so that within one life of the process each is performed once: those at work,
//! replies on their way, and the replies of the recent past. Pure; the attachment asks it what to do.

use super::request::Cancellation;
use crate::cxip::Message;
use hansa_core::{
    code::Fault,
    document::Text,
    ident::{InvocationId, ServiceName},
    limit,
};
use lru::LruCache;
use std::collections::HashMap;

/// The memory.
#[derive(Debug)]
pub(super) struct Memory {
    working: HashMap<InvocationId, Work>,
    /// Replies that the node has not taken yet.
    unconfirmed: HashMap<InvocationId, Reply>,
    unconfirmed_bytes: usize,
    /// Replies that the node has taken or has no use for.
    confirmed: LruCache<InvocationId, Message>,
    confirmed_bytes: usize,
    replies_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Work {
    cancellation: Cancellation,
    /// The number of the message that asked, on the connection of now.
    asked: u64,
}

/// A reply on its way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    /// The number of the message that asked, on the connection of now; zero if it came over an earlier one.
    pub asked: u64,
    /// The reply.
    pub message: Message,
}

/// What to do about an invocation that arrived.
#[derive(Debug)]
pub(super) enum Arrival {
    /// It is new: perform it.
    Perform(Cancellation),
    /// It is at work already, or its reply is on its way: that will come.
    AtWork,
    /// It was performed already: the reply is to be sent again.
    Answered,
    /// There is no room to take it.
    Full,
}

impl Memory {
    pub(super) fn new(replies_max: usize, bytes_max: usize) -> Self {
        Self {
            working: HashMap::new(),
            unconfirmed: HashMap::new(),
            unconfirmed_bytes: 0,
            confirmed: LruCache::unbounded(),
            confirmed_bytes: 0,
            replies_max,
            bytes_max,
        }
    }

    /// Whether nothing is at work and nothing on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.working.is_empty() && self.unconfirmed.is_empty()
    }

    /// An invocation came in message `asked`; at most `open_max` may be at work or on their way.
    pub(super) fn arrive(&mut self, id: InvocationId, asked: u64, open_max: usize) -> Arrival {
        if let Some(work) = self.working.get_mut(&id) {
            work.asked = asked;
            return Arrival::AtWork;
        }
        if let Some(reply) = self.unconfirmed.get_mut(&id) {
            reply.asked = asked;
            return Arrival::AtWork;
        }
        if let Some(message) = self.confirmed.pop(&id) {
            self.confirmed_bytes -= bytes_of(&message);
            self.put(id, Reply { asked, message });
            return Arrival::Answered;
        }
        let is_full = self.working.len() + self.unconfirmed.len() >= open_max;
        if is_full || self.unconfirmed_bytes >= self.bytes_max {
            return Arrival::Full;
        }
        let cancellation = Cancellation::default();
        self.working.insert(id, Work { cancellation: cancellation.clone(), asked });
        Arrival::Perform(cancellation)
    }

    /// The work on an invocation ended in `message`. Says whether that is to be sent.
    pub(super) fn end(&mut self, id: InvocationId, message: Message) -> bool {
        let Some(work) = self.working.remove(&id) else { return false };
        if work.cancellation.is_cancelled() {
            self.remember(id, message);
            return false;
        }
        self.put(id, Reply { asked: work.asked, message });
        true
    }

    /// The reply of an invocation, if it is on its way.
    pub(super) fn reply(&self, id: InvocationId) -> Option<&Reply> {
        self.unconfirmed.get(&id)
    }

    /// The node took the reply, or has no use for it.
    pub(super) fn confirm(&mut self, id: InvocationId) {
        if let Some(reply) = self.unconfirmed.remove(&id) {
            self.unconfirmed_bytes -= bytes_of(&reply.message);
            self.remember(id, reply.message);
        }
    }

    /// The node cannot take the reply: put a failure in its place. Says whether that is to be sent; a failure that cannot
    /// be taken either is not replaced, and forgotten.
    pub(super) fn fail_instead(&mut self, id: InvocationId, service: &ServiceName, fault: &Fault) -> bool {
        match self.unconfirmed.get_mut(&id) {
            Some(reply) if matches!(reply.message, Message::Completed { .. }) => {
                let words = format!("the answer was refused: {}", fault.message);
                let fault = Fault { message: words, ..fault.clone() };
                self.unconfirmed_bytes -= bytes_of(&reply.message);
                reply.message = Message::Failed { invocation: id, service: service.clone(), fault };
                self.unconfirmed_bytes += bytes_of(&reply.message);
                true
            }
            _ => {
                self.confirm(id);
                false
            }
        }
    }

    /// Nobody waits any more for an invocation.
    pub(super) fn withdraw(&mut self, id: InvocationId) {
        if let Some(work) = self.working.get(&id) {
            work.cancellation.cancel();
        }
        self.confirm(id);
    }

    /// The connection is a new one. Says which replies are on their way and must be sent again.
    pub(super) fn reconnected(&mut self) -> Vec<InvocationId> {
        self.working.values_mut().for_each(|work| work.asked = 0);
        self.unconfirmed.values_mut().for_each(|reply| reply.asked = 0);
        self.unconfirmed.keys().copied().collect()
    }

    fn put(&mut self, id: InvocationId, reply: Reply) {
        self.unconfirmed_bytes += bytes_of(&reply.message);
        self.unconfirmed.insert(id, reply);
    }

    fn remember(&mut self, id: InvocationId, message: Message) {
        self.confirmed_bytes += bytes_of(&message);
        if let Some(replaced) = self.confirmed.put(id, message) {
            self.confirmed_bytes -= bytes_of(&replaced);
        }
        while self.confirmed.len() > self.replies_max || self.confirmed_bytes > self.bytes_max {
            let Some((_, oldest)) = self.confirmed.pop_lru() else { break };
            self.confirmed_bytes -= bytes_of(&oldest);
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(limit::REPLIES_REMEMBERED_MAX, limit::REPLIES_REMEMBERED_BYTES_MAX)
    }
}

/// What a reply weighs in memory: its words, and a round figure for the rest.
fn bytes_of(message: &Message) -> usize {
    let words = match message {
        Message::Completed { document, .. } => Text::as_str(document).len(),
        Message::Failed { fault, .. } => fault.message.len() + fault.help.as_ref().map_or(0, String::len),
        _ => 0,
    };
    words + 256
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_core::code::Code;

    fn completed(id: u128, content: &str) -> Message {
        Message::Completed {
            invocation: InvocationId(id),
            service: "credit".parse().unwrap(),
            document: Text::parse(format!("<a>{content}</a>").as_bytes()).unwrap(),
        }
    }

    fn perform(memory: &mut Memory, id: u128) -> Cancellation {
        match memory.arrive(InvocationId(id), 1, 100) {
            Arrival::Perform(cancellation) => cancellation,
            other => panic!("a new invocation is performed, not {other:?}"),
        }
    }

    // T5: each operation is performed at most once.
    #[test]
    fn an_invocation_that_comes_again_is_answered_and_not_performed_again() {
        let (mut memory, id) = (Memory::default(), InvocationId(1));
        perform(&mut memory, 1);
        assert!(matches!(memory.arrive(id, 2, 100), Arrival::AtWork));
        assert!(memory.end(id, completed(1, "yes")));
        assert_eq!(memory.reply(id), Some(&Reply { asked: 2, message: completed(1, "yes") }), "to who asked last");
        assert!(matches!(memory.arrive(id, 3, 100), Arrival::AtWork), "its reply is on its way");
        memory.confirm(id);
        assert!(memory.is_idle());
        assert!(matches!(memory.arrive(id, 4, 100), Arrival::Answered));
        assert_eq!(memory.reply(id).unwrap().asked, 4);
    }

    #[test]
    fn what_is_unconfirmed_is_never_forgotten_and_what_is_confirmed_is_when_room_is_needed() {
        let mut memory = Memory::new(2, 10_000);
        for id in 1..=5 {
            perform(&mut memory, id);
            assert!(memory.end(InvocationId(id), completed(id, "yes")));
        }
        assert_eq!(memory.reconnected().len(), 5);
        assert_eq!(memory.reply(InvocationId(1)).unwrap().asked, 0, "the number belonged to the earlier connection");
        (1..=5).for_each(|id| memory.confirm(InvocationId(id)));
        assert!(matches!(memory.arrive(InvocationId(5), 9, 100), Arrival::Answered));
        assert!(matches!(memory.arrive(InvocationId(1), 9, 100), Arrival::Perform(_)), "the oldest made room");

        let mut memory = Memory::new(1_000, 2_000);
        for id in 1..=3 {
            perform(&mut memory, id);
            memory.end(InvocationId(id), completed(id, &"x".repeat(1_000)));
            memory.confirm(InvocationId(id));
        }
        assert!(memory.confirmed_bytes <= 2_000 && memory.confirmed.len() == 1);
    }

    #[test]
    fn a_withdrawn_invocation_is_told_and_its_reply_is_not_sent() {
        let mut memory = Memory::default();
        let cancellation = perform(&mut memory, 1);
        memory.withdraw(InvocationId(1));
        assert!(cancellation.is_cancelled());
        assert!(!memory.end(InvocationId(1), completed(1, "late")));
        assert!(memory.is_idle());
    }

    #[test]
    fn more_than_there_is_room_for_is_not_taken() {
        let mut memory = Memory::default();
        perform(&mut memory, 1);
        assert!(matches!(memory.arrive(InvocationId(2), 1, 1), Arrival::Full));
        assert!(matches!(memory.arrive(InvocationId(1), 1, 1), Arrival::AtWork));

        let mut memory = Memory::new(1_000, 2_000);
        for id in 1..=2 {
            perform(&mut memory, id);
            memory.end(InvocationId(id), completed(id, &"x".repeat(1_000)));
        }
        assert!(matches!(memory.arrive(InvocationId(3), 1, 100), Arrival::Full), "until the node takes some of it");
        assert!(memory.fail_instead(InvocationId(1), &"credit".parse().unwrap(), &Fault::new(Code::Busy, "no")));
        assert!(matches!(memory.arrive(InvocationId(3), 1, 100), Arrival::Perform(_)));
        memory.confirm(InvocationId(1));
        memory.confirm(InvocationId(2));
        assert_eq!(memory.unconfirmed_bytes, 0);
    }
}
