//! What becomes of a publication: whether there is room for it, what is dropped for it, and who holds it up.

use super::{Effect, Input, PUBLICATION_BYTES, Record, Subscriber, Topic};
use crate::{
    code::{Code, Fault},
    document::Text,
    ident::PublicationId,
    limit,
    machine::Decision,
    moment::Moment,
    session::{Asker, Notification},
};

impl Topic {
    pub(super) fn publish(
        &self,
        now: Moment,
        asker: Asker,
        publication: PublicationId,
        public: bool,
        document: Text,
    ) -> Result<Decision<Self>, Fault> {
        let fingerprint = fingerprint(&document);
        let acknowledge = |word| Effect::Acknowledge { asker, publication: Some(publication), moment: now, word };
        match self.remembered.get(&publication) {
            Some(before) if *before == fingerprint => {
                return Ok(Decision::nothing().effect(acknowledge("repeated")));
            }
            Some(_) => {
                let words = format!("publication {publication} was made to {} with another document", self.address);
                return Err(Fault::new(Code::PublicationConflict, words));
            }
            None => (),
        }
        let room = self.room_for(&document, now);
        if let Some(dropped) = &room
            && let Some(slow) = self.held_up_by(dropped, now)
        {
            return Err(Fault::new(
                Code::Busy,
                format!("{} keeps {} publications already, which {slow} has not had", self.address, self.kept.len()),
            ));
        }
        let mut decision = Decision::nothing().effect(acknowledge("published"));
        decision.records.extend(room);
        let (at, heard, missed) = (now, None, 0);
        Ok(decision
            .record(Record::Published { publication, at, public, fingerprint, heard, missed, document })
            .then(Input::Give { only: None }))
    }

    /// What the peer published. A link cannot be told to wait, so what has no room pushes out the oldest.
    pub(super) fn heard(&self, now: Moment, sequence: u64, notification: Notification) -> Decision<Self> {
        if self.address.organization.is_none() {
            return Decision::nothing();
        }
        let decision = Decision::nothing().effect(Effect::Settle { sequence });
        if sequence <= self.heard_through || self.subscriptions.is_empty() {
            return decision;
        }
        let Notification { publication, missed, document, .. } = notification;
        let mut decision = decision.then(Input::Give { only: None });
        decision.records.extend(self.room_for(&document, now));
        let fingerprint = fingerprint(&document);
        let (at, public, heard) = (now, false, Some(sequence));
        decision.record(Record::Published { publication, at, public, fingerprint, heard, missed, document })
    }

    /// What must be dropped so that there is room for a document.
    fn room_for(&self, document: &Text, now: Moment) -> Option<Record> {
        let mut bytes = self.bytes + document.as_str().len() + PUBLICATION_BYTES;
        let mut count = self.kept.len() + 1;
        let mut drop = 0;
        for kept in &self.kept {
            let outlived = now.since_ms(kept.published) >= limit::TOPIC_KEEP_MS_MAX;
            if !outlived && bytes <= limit::TOPIC_BYTES_MAX && count <= limit::TOPIC_PUBLICATIONS_MAX {
                break;
            }
            bytes -= kept.bytes();
            count -= 1;
            drop += 1;
        }
        self.dropped(drop)
    }

    /// The record that the `count` oldest publications are kept no more.
    pub(super) fn dropped(&self, count: u64) -> Option<Record> {
        let through = self.first() - 1 + count;
        let missed = || self.subscriptions.values().map(|subscription| subscription.lacks(through)).sum();
        (count > 0).then(|| Record::Dropped { through, missed: missed() })
    }

    /// Who would lose something by what is dropped, though it is there and on its way.
    fn held_up_by(&self, dropped: &Record, now: Moment) -> Option<String> {
        let Record::Dropped { through, .. } = dropped else { return None };
        let slow = self
            .subscriptions
            .iter()
            .find(|(_, subscription)| subscription.is_active(now) && subscription.lacks(*through) > 0);
        slow.map(|(subscriber, _)| match subscriber {
            Subscriber::Named(name) => name.to_string(),
            Subscriber::Peer(peer) => peer.short(),
        })
    }
}

/// What tells two documents apart that came under the same id: a guard against mistakes, not against malice.
fn fingerprint(document: &Text) -> u64 {
    let hash = blake3::hash(document.as_str().as_bytes());
    u64::from_be_bytes(hash.as_bytes()[..8].try_into().expect("a BLAKE3 hash has 32 bytes"))
}
