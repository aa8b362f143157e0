//! Decides how much of the log may be under way to the follower. The window of the pair's machine counts entries; this counts bytes, so
//! that a burst of large ones neither fills the queue of the link, where more would be lost, nor holds up the beats behind it for as
//! long as a lease. Used by [`super::acting`]; it must not know what entries are.

use std::collections::VecDeque;

/// Bytes of entries that may be under way. One message with any always may: an entry is never cut.
const UNDER_WAY_BYTES_MAX: u64 = 8 << 20;

/// What was sent and is not acknowledged.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    /// Each message by the sequence of its last entry, with its bytes; ascending.
    messages: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl UnderWay {
    /// Whether another may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < UNDER_WAY_BYTES_MAX
    }

    pub(super) fn sent(&mut self, last: u64, bytes: u64) {
        self.messages.push_back((last, bytes));
        self.bytes += bytes;
    }

    /// The follower has everything through there.
    pub(super) fn acknowledged(&mut self, through: u64) {
        while let Some((_, bytes)) = self.messages.pop_front_if(|(last, _)| *last <= through) {
            self.bytes -= bytes;
        }
    }

    /// Nothing of it is waited for any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // X2: flow control towards the mirror.
    #[test]
    fn messages_are_sent_until_too_many_bytes_are_under_way_and_again_when_enough_is_acknowledged() {
        let mut way = UnderWay::default();
        let message = UNDER_WAY_BYTES_MAX / 4;
        let mut last = 0;
        while way.has_room() {
            last += 10;
            way.sent(last, message);
        }
        assert_eq!(last, 40);
        way.acknowledged(9);
        assert!(!way.has_room(), "the first is not there as a whole");
        way.acknowledged(10);
        assert!(way.has_room());
        way.sent(50, message);
        assert!(!way.has_room());
        way.clear();
        assert!(way.has_room());
    }

    #[test]
    fn one_message_of_any_size_is_sent_and_then_none_before_it_has_come() {
        let mut way = UnderWay::default();
        assert!(way.has_room());
        way.sent(1, 3 * UNDER_WAY_BYTES_MAX);
        assert!(!way.has_room());
        way.acknowledged(1);
        assert!(way.has_room());
    }
}
