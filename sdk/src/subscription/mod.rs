//! A subscription to a topic: hands publications to whoever pulls them or to a handler, acknowledges each when it is done
//! with, and keeps its connection by itself (T13, T15). What happens on the connection is [`attachment`]'s.

mod attachment;
#[cfg(test)]
mod tests;

use crate::reach::Door;
use attachment::Attachment;
use hansa_core::{
    code::{Code, Fault},
    document::Text,
    ident::{OrganizationId, PublicationId, SubscriberName, TopicAddress, TopicName},
    limit,
    moment::Moment,
    session::Notification,
};
use std::{future::Future, time::Duration};
use tokio::sync::mpsc;

/// How many publications a subscription takes at once, unless it says otherwise.
const CREDIT: u32 = 16;
/// After how long a publication comes again that was dropped or could not be handled.
const AGAIN: Duration = Duration::from_secs(1);

/// A subscription in the making: [`crate::Client::subscription`].
#[derive(Clone, Debug)]
pub struct Subscribing {
    door: Door,
    topic: TopicAddress,
    subscriber: SubscriberName,
    credit: u32,
}

impl Subscribing {
    pub(crate) fn new(door: Door, topic: TopicName, subscriber: SubscriberName) -> Self {
        Self { door, topic: TopicAddress::own(topic), subscriber, credit: CREDIT }
    }

    /// Subscribe to the topic of this peer instead of one of the node's own organization.
    #[must_use]
    pub fn of(mut self, organization: OrganizationId) -> Self {
        self.topic.organization = Some(organization);
        self
    }

    /// How many publications to have under way at once; 16 unless said otherwise. With 1, the order is strict even where some
    /// are put off.
    #[must_use]
    pub fn credit(mut self, credit: u32) -> Self {
        self.credit = credit.clamp(1, limit::SESSION_CREDIT_MAX);
        self
    }

    /// Subscribe, or go on with the subscription of this name.
    ///
    /// # Errors
    /// No node answers, or it refuses.
    pub async fn begin(self) -> Result<Subscription, Fault> {
        let (deliver, deliveries) = mpsc::unbounded_channel();
        let (tell, told) = mpsc::unbounded_channel();
        Attachment::begin(self, deliver, tell.clone(), told).await?;
        Ok(Subscription { deliveries, tell })
    }
}

/// What is told to the attachment.
#[derive(Debug)]
enum Tell {
    /// What to say to a publication.
    Word { number: u64, publication: PublicationId, word: Word },
    /// Close the connection, and say so.
    Close(tokio::sync::oneshot::Sender<()>),
    /// End the subscription for good.
    Unsubscribe(tokio::sync::oneshot::Sender<Result<(), Fault>>),
}

/// What to say to a publication.
#[derive(Debug)]
enum Word {
    Done,
    Refuse(Fault),
    Later(Duration),
}

/// A durable subscription, connected. Dropped, it goes on at the node, which keeps what is published until it is back.
///
/// ```no_run
/// use hansa_sdk::Client;
///
/// # async fn example() -> Result<(), hansa_sdk::Fault> {
/// let client = Client::connect("127.0.0.1:4000", "audit").await?;
/// let mut subscription = client.subscribe("prices", "audit").await?;
/// while let Some(publication) = subscription.next().await {
///     println!("{}", publication.document().as_str());
///     publication.done();
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Subscription {
    deliveries: mpsc::UnboundedReceiver<Publication>,
    tell: mpsc::UnboundedSender<Tell>,
}

impl Subscription {
    /// The next publication, over as many connections as that takes; none when the node lets the subscriber in no more.
    pub async fn next(&mut self) -> Option<Publication> {
        self.deliveries.recv().await
    }

    /// The next publication that is here already.
    pub fn try_next(&mut self) -> Option<Publication> {
        self.deliveries.try_recv().ok()
    }

    /// Hand every publication to `handler`, one after the other, and acknowledge each when that is done with it. One that it
    /// fails comes again a second later.
    ///
    /// ```no_run
    /// # async fn example(client: hansa_sdk::Client) -> Result<(), hansa_sdk::Fault> {
    /// let subscription = client.subscribe("prices", "audit").await?;
    /// subscription.each(|document| async move { println!("{}", document.as_str()); Ok(()) }).await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn each<H, F>(mut self, mut handler: H)
    where
        H: FnMut(Text) -> F,
        F: Future<Output = Result<(), Fault>>,
    {
        while let Some(publication) = self.next().await {
            match handler(publication.document().clone()).await {
                Ok(()) => publication.done(),
                Err(fault) => {
                    tracing::warn!(number = publication.number(), %fault, "a publication was not handled; it comes again");
                    publication.later(AGAIN);
                }
            }
        }
    }

    /// Close the connection when everything that was said to publications has been sent. The subscription goes on at the node.
    pub async fn close(self) {
        let Self { deliveries, tell } = self;
        let (done, is_done) = tokio::sync::oneshot::channel();
        if tell.send(Tell::Close(done)).is_ok() {
            drop(deliveries);
            // It is over either way.
            let _ = is_done.await;
        }
    }

    /// End the subscription for good: the node keeps nothing for this subscriber any more.
    ///
    /// # Errors
    /// The node refuses it.
    pub async fn unsubscribe(self) -> Result<(), Fault> {
        let (done, is_done) = tokio::sync::oneshot::channel();
        let gone = || Fault::new(Code::NodeStopped, "the subscription is over already");
        self.tell.send(Tell::Unsubscribe(done)).map_err(|_| gone())?;
        is_done.await.map_err(|_| gone())?
    }
}

/// A publication that a subscriber was handed. Say [`Publication::done`] when it is dealt with: until then the node keeps it.
/// Dropped without a word, it comes again.
#[derive(Debug)]
pub struct Publication {
    notification: Notification,
    tell: Option<mpsc::UnboundedSender<Tell>>,
}

impl Publication {
    /// What was published.
    #[must_use]
    pub fn document(&self) -> &Text {
        &self.notification.document
    }

    /// Its number in the topic: the order.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.notification.number
    }

    /// The id that its publisher chose.
    #[must_use]
    pub fn id(&self) -> PublicationId {
        self.notification.publication
    }

    /// When it was published.
    #[must_use]
    pub fn published(&self) -> Moment {
        self.notification.published
    }

    /// How many publications before it this subscriber will never get, because it was away for too long.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.notification.missed
    }

    /// It is dealt with; it does not come again.
    pub fn done(mut self) {
        self.say(Word::Done);
    }

    /// It cannot be dealt with, now or later; it does not come again, and the node counts it.
    pub fn refuse(mut self, fault: Fault) {
        self.say(Word::Refuse(fault));
    }

    /// It shall come again after a pause, and nothing behind it before.
    pub fn later(mut self, pause: Duration) {
        self.say(Word::Later(pause));
    }

    fn say(&mut self, word: Word) {
        let Some(tell) = self.tell.take() else { return };
        let (number, publication) = (self.notification.number, self.notification.publication);
        // The subscription may be over; then the node gives it to the next session.
        let _ = tell.send(Tell::Word { number, publication, word });
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.say(Word::Later(AGAIN));
    }
}
