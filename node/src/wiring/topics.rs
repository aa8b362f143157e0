//! What the administrator asks of topics: who is subscribed and how far, and a publication of the node's own. Nothing is
//! decided here.

use super::Machines;
use crate::admin::protocol::{Published, TopicEntry, TopicSubscriber};
use hansa_core::{
    code::Fault,
    dispatch::Input,
    document::Text,
    ident::{OrganizationId, PublicationId, TopicAddress, TopicName},
    topic::{self, Subscriber, Topic},
};

impl Machines {
    pub(super) async fn topic_entries(&self) -> Result<Vec<TopicEntry>, Fault> {
        let house = self.house()?;
        let topics = house.look_all::<Topic, _>(|sight| {
            let seen = sight.awake().map(|(address, topic)| {
                let subscribers: Vec<_> = topic.subscribers().collect();
                (address.clone(), topic.published(), topic.kept(), topic.kept_bytes(), topic.oldest(), subscribers)
            });
            seen.collect::<Vec<_>>()
        });
        let surroundings = house.surroundings();
        let name = |organization: &OrganizationId| surroundings.offers().name(organization).cloned();
        let mut entries: Vec<_> = topics
            .await
            .into_iter()
            .flatten()
            .map(|(address, published, kept, kept_bytes, oldest, subscribers)| TopicEntry {
                topic: address.name,
                organization_name: address.organization.as_ref().and_then(name),
                organization: address.organization,
                published,
                kept: kept as u64,
                kept_bytes: kept_bytes as u64,
                oldest: oldest.map(Into::into),
                subscribers: subscribers
                    .into_iter()
                    .map(|picture| {
                        let (subscriber, organization) = match picture.subscriber {
                            Subscriber::Named(name) => (Some(name), None),
                            Subscriber::Peer(peer) => (None, Some(peer)),
                        };
                        TopicSubscriber {
                            subscriber,
                            organization_name: organization.as_ref().and_then(name),
                            organization,
                            subscribed: picture.subscribed.into(),
                            connected: picture.recipients > 0,
                            sessions: picture.recipients as u64,
                            lag: picture.lag,
                            in_flight: picture.in_flight as u64,
                            missed: picture.missed,
                            refused: picture.refused,
                        }
                    })
                    .collect(),
            })
            .collect();
        entries.sort_by(|one, other| (&one.topic, one.organization).cmp(&(&other.topic, other.organization)));
        Ok(entries)
    }

    pub(super) async fn publish_own(
        &self,
        topic: TopicName,
        document: String,
        public: bool,
        id: Option<PublicationId>,
    ) -> Result<Published, Fault> {
        let document = Text::parse(document.as_bytes())?;
        let publication = match id {
            Some(id) => id,
            None => PublicationId(self.fresh_transaction()?.0),
        };
        let address = TopicAddress::own(topic.clone());
        let publish = |asker| Input::Topic(address, topic::Input::Publish { asker, publication, public, document });
        let tracking = self.ask(publish).await?;
        let repeated = tracking.word.as_deref() == Some("repeated");
        Ok(Published { topic, publication, repeated, durability: tracking.durability })
    }
}
