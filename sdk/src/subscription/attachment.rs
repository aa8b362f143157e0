//! A subscription at work: one task that keeps a connection, hands publications on and says to the node what became of them.
//!
//! The node gives a publication again that was not acknowledged before a connection broke. What is in the application's hands,
//! or was done with already, is known by number and id and is not handed on twice.

use super::{Publication, Subscribing, Tell, Word};
use crate::{
    cxip::{Ended, Incoming, Message, Refusal, Stream, Wire},
    reach::{Approach, settle},
};
use hansa_core::{
    code::{Code, Fault},
    ident::PublicationId,
    limit,
    session::Notification,
};
use std::collections::{HashMap, HashSet, VecDeque};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

type Key = (u64, PublicationId);
/// Whoever waits for the end of the subscription.
type WhenEnded = oneshot::Sender<Result<(), Fault>>;

pub(super) struct Attachment {
    subscribing: Subscribing,
    deliver: mpsc::UnboundedSender<Publication>,
    /// What publications that are handed on say their word to.
    tell: mpsc::WeakUnboundedSender<Tell>,
    told: mpsc::UnboundedReceiver<Tell>,
    approach: Approach,
    /// What the application has in its hands, with the number of the message that brought it on this connection.
    handed: HashMap<Key, Option<u64>>,
    /// What it was done with, the oldest first.
    done: HashSet<Key>,
    done_order: VecDeque<Key>,
    /// The Unsubscribe that is to be acknowledged: its number on this connection, and who waits.
    ending: Option<(Option<u64>, WhenEnded)>,
}

/// Why there is no connection any more.
enum Over {
    /// Nobody has a handle any more, or the subscription was ended.
    Released,
    Lost(Ended),
    Refused(Refusal),
}

impl Attachment {
    pub(super) async fn begin(
        subscribing: Subscribing,
        deliver: mpsc::UnboundedSender<Publication>,
        tell: mpsc::UnboundedSender<Tell>,
        told: mpsc::UnboundedReceiver<Tell>,
    ) -> Result<(), Fault> {
        let mut approach = Approach::new(subscribing.door.clone());
        let wire = subscribing.open(&mut approach, true).await?;
        let attachment = Self {
            subscribing,
            deliver,
            tell: tell.downgrade(),
            told,
            approach,
            handed: HashMap::new(),
            done: HashSet::new(),
            done_order: VecDeque::new(),
            ending: None,
        };
        tokio::spawn(attachment.run(wire));
        Ok(())
    }

    async fn run(mut self, mut wire: Wire<Stream>) {
        loop {
            match self.serve(wire).await {
                Over::Released => return,
                Over::Lost(ended) => {
                    tracing::warn!(node = %self.approach.node(), %ended, "connection lost");
                    self.approach.lost(&ended);
                }
                Over::Refused(refusal) => {
                    tracing::warn!(node = %self.approach.node(), fault = %refusal.fault, "connection refused");
                    self.approach.refused(&refusal);
                }
            }
            wire = loop {
                sleep(self.approach.pause()).await;
                if self.deliver.is_closed() && self.ending.is_none() && self.handed.is_empty() {
                    return;
                }
                match self.subscribing.open(&mut self.approach, false).await {
                    Ok(wire) => break wire,
                    Err(fault) if fault.code == Code::AccessDenied => {
                        if let Some((_, done)) = self.ending.take() {
                            let _ = done.send(Err(fault));
                        }
                        return;
                    }
                    Err(fault) => tracing::debug!(%fault, "not connected"),
                }
            };
        }
    }

    /// Take publications over one connection until it is over.
    async fn serve(&mut self, mut wire: Wire<Stream>) -> Over {
        self.handed.values_mut().for_each(|message| *message = None);
        if let Some((number, _)) = &mut self.ending {
            *number = None;
        }
        let over = loop {
            if let Some((number @ None, _)) = &mut self.ending
                && wire.may_send()
            {
                match wire.send(0, &self.subscribing.unsubscribe()) {
                    Ok(sent) => *number = Some(sent),
                    Err(fault) => break Over::Refused(fault.into()),
                }
            }
            tokio::select! {
                // What was said goes out before anything ends.
                biased;
                told = self.told.recv() => match told {
                    Some(Tell::Word { number, publication, word }) => self.say(&mut wire, (number, publication), word),
                    Some(Tell::Close(done)) => {
                        wire.finish().await;
                        let _ = done.send(());
                        return Over::Released;
                    }
                    Some(Tell::Unsubscribe(done)) => self.ending = Some((None, done)),
                    None => break Over::Released,
                },
                // Whoever ends a subscription drops it; then its end is still to be heard.
                () = self.deliver.closed(), if self.ending.is_none() && self.handed.is_empty() && self.told.is_empty() => {
                    break Over::Released;
                }
                incoming = wire.receive() => {
                    let mut taken = incoming.map(Some).map_err(Over::Lost);
                    while let Ok(Some(incoming)) = taken {
                        taken = self.take_in(&mut wire, incoming).and_then(|()| wire.received().map_err(Over::Lost));
                    }
                    if let Err(over) = taken {
                        break over;
                    }
                }
            }
        };
        wire.finish().await;
        over
    }

    fn say(&mut self, wire: &mut Wire<Stream>, key: Key, word: Word) {
        let Some(message) = self.handed.remove(&key) else { return };
        if !matches!(word, Word::Later(_)) && self.done.insert(key) {
            self.done_order.push_back(key);
            if self.done_order.len() > limit::REPLIES_REMEMBERED_MAX
                && let Some(oldest) = self.done_order.pop_front()
            {
                self.done.remove(&oldest);
            }
        }
        // Without a message it came over a connection that is gone: the node gives it again, and is told then.
        let Some(message) = message else { return };
        match word {
            Word::Done => wire.acknowledge(message, Default::default()),
            Word::Refuse(fault) => wire.refuse(message, fault),
            Word::Later(pause) => {
                let fault = Fault::new(Code::Busy, "the subscriber wants it later");
                let retry_after_ms = Some(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX).max(1));
                wire.refuse_with(message, Refusal { retry_after_ms, ..Refusal::new(fault) });
            }
        }
    }

    fn take_in(&mut self, wire: &mut Wire<Stream>, incoming: Incoming) -> Result<(), Over> {
        match incoming {
            Incoming::Message { number, message: Message::Notify { notification, .. }, .. } => {
                self.approach.succeeded();
                self.notified(wire, number, notification);
            }
            Incoming::Unread(_) => (),
            Incoming::Message { number, .. } => {
                wire.refuse(
                    number,
                    Fault::new(Code::MessageOutOfOrder, "a subscriber is sent notifications, and nothing else"),
                );
            }
            Incoming::Acknowledged { message, .. } => {
                if let Some((_, done)) = self.ending.take_if(|(number, _)| *number == Some(message)) {
                    let _ = done.send(Ok(()));
                    return Err(Over::Released);
                }
            }
            Incoming::Refused { message, refusal } => {
                // Who serves no more sends on to the other sub-node; what is not answered is asked there.
                if message == 0 || refusal.fault.code == Code::NotActive {
                    return Err(Over::Refused(refusal));
                }
                if let Some((_, done)) = self.ending.take_if(|(number, _)| *number == Some(message)) {
                    let _ = done.send(Err(refusal.fault));
                    return Err(Over::Released);
                }
            }
        }
        Ok(())
    }

    fn notified(&mut self, wire: &mut Wire<Stream>, message: u64, notification: Notification) {
        let key = (notification.number, notification.publication);
        if self.done.contains(&key) {
            wire.acknowledge(message, Default::default());
        } else if let Some(known) = self.handed.get_mut(&key) {
            *known = Some(message);
        } else if self.ending.is_none()
            && let Some(tell) = self.tell.upgrade()
        {
            self.handed.insert(key, Some(message));
            // If nobody takes it, its end says that it shall come again.
            let _ = self.deliver.send(Publication { notification, tell: Some(tell) });
        }
    }
}

impl Subscribing {
    /// A connection over which publications come, after one round over the node's addresses.
    async fn open(&self, approach: &mut Approach, to_the_end: bool) -> Result<Wire<Stream>, Fault> {
        let (mut wire, _) = approach.round(to_the_end).await?;
        let (topic, subscriber) = (self.topic.clone(), self.subscriber.clone());
        let subscribe = Message::Subscribe { topic, subscriber, credit: self.credit };
        let unanswered = |ended| self.door.unanswered(&self.door.known.to_string(), ended);
        match settle(&mut wire, &subscribe, unanswered).await {
            Ok(_) => Ok(wire),
            Err(refusal) => {
                approach.refused(&refusal);
                Err(refusal.fault)
            }
        }
    }

    fn unsubscribe(&self) -> Message {
        Message::Unsubscribe { topic: self.topic.clone(), subscriber: self.subscriber.clone() }
    }
}
