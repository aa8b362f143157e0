//! The contents about topics, and Signal, as XML: what [`super::read`] and [`super::write`] do for all others. A topic of
//! another organization is named by the attribute `organization`.

use super::{
    Message,
    envelope::Envelope,
    read::{document, needed, number, optional, optional_number, truth},
    write::Root,
};
use bytes::BytesMut;
use hansa_core::{
    code::Fault,
    ident::{SubscriberName, TopicAddress},
    moment::Moment,
    session::Notification,
};

/// The content of this name, if it is one of these.
pub(super) fn read(envelope: &mut Envelope) -> Result<Option<Message>, Fault> {
    Ok(Some(match envelope.local {
        "Publish" => Message::Publish {
            topic: needed(envelope, "topic")?,
            publication: optional(envelope, "publication")?,
            public: truth(envelope, "public")?.unwrap_or(false),
            document: document(envelope)?,
        },
        "Notify" => {
            let (topic, subscriber) = subscription(envelope)?;
            let notification = Notification {
                number: number(envelope, "number")?,
                publication: needed(envelope, "publication")?,
                published: Moment(number(envelope, "published")?),
                missed: optional_number(envelope, "missed")?.unwrap_or(0),
                document: document(envelope)?,
            };
            Message::Notify { topic, subscriber, notification }
        }
        "Subscribe" => {
            envelope.nothing_inside()?;
            let (topic, subscriber) = subscription(envelope)?;
            Message::Subscribe { topic, subscriber, credit: number(envelope, "credit")? }
        }
        "Unsubscribe" => {
            envelope.nothing_inside()?;
            let (topic, subscriber) = subscription(envelope)?;
            Message::Unsubscribe { topic, subscriber }
        }
        "Signal" => Message::Signal {
            transaction: needed(envelope, "transaction")?,
            signal: needed(envelope, "signal")?,
            document: document(envelope)?,
        },
        _ => return Ok(None),
    }))
}

fn subscription(envelope: &mut Envelope) -> Result<(TopicAddress, SubscriberName), Fault> {
    let topic = TopicAddress { organization: optional(envelope, "organization")?, name: needed(envelope, "topic")? };
    Ok((topic, needed(envelope, "subscriber")?))
}

/// Append the content of `message`, if it is one of these.
pub(super) fn write(buffer: &mut BytesMut, message: &Message) {
    match message {
        Message::Publish { topic, publication, public, document } => {
            let root =
                Root::open(buffer, "Publish").value("topic", topic).optional("publication", publication.as_ref());
            root.optional("public", public.then_some(true).as_ref()).document(document);
        }
        Message::Notify { topic, subscriber, notification } => {
            let Notification { number, publication, published, missed, document } = notification;
            of(Root::open(buffer, "Notify"), topic, subscriber)
                .value("number", number)
                .value("publication", publication)
                .value("published", published.0)
                .optional("missed", (*missed > 0).then_some(missed).as_ref())
                .document(document);
        }
        Message::Subscribe { topic, subscriber, credit } => {
            of(Root::open(buffer, "Subscribe"), topic, subscriber).value("credit", credit).end();
        }
        Message::Unsubscribe { topic, subscriber } => {
            of(Root::open(buffer, "Unsubscribe"), topic, subscriber).end();
        }
        Message::Signal { transaction, signal, document } => {
            Root::open(buffer, "Signal").value("transaction", transaction).value("signal", signal).document(document)
        }
        _ => (),
    }
}

fn of<'b>(root: Root<'b>, topic: &TopicAddress, subscriber: &SubscriberName) -> Root<'b> {
    root.value("topic", &topic.name)
        .optional("organization", topic.organization.as_ref())
        .value("subscriber", subscriber)
}
