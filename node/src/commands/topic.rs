//! `hansa topic …`: publish, subscribe, and see who is subscribed and how far.

use super::{Context, Failure, attach::Credentials, document::read_document, render};
use crate::{
    admin::{
        protocol::{DirectoryEntry, Published, Request, TopicEntry, TopicSubscriber},
        time::Time,
    },
    shutdown::Shutdown,
};
use clap::{Args, Subcommand};
use hansa_core::{
    code::{Code, Fault},
    ident::{OrganizationId, PublicationId, SubscriberName, TopicName},
};
use hansa_sdk::{Client, Subscribing};
use serde::Serialize;
use std::path::PathBuf;

/// Publish to topics, subscribe to them, and see who does
#[derive(Debug, Args)]
pub struct TopicArguments {
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Debug, Subcommand)]
enum TopicCommand {
    Publish(Publish),
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    List(List),
    Show(Show),
}

/// Publish a document to a topic
///
/// When the command returns, the node has it for good, and every subscriber of the topic will get it. What is published to
/// nobody is gone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa topic publish prices --document price.xml\n  \
    hansa topic publish prices --document - --public < price.xml")]
struct Publish {
    /// The topic
    #[arg(value_name = "NAME")]
    topic: TopicName,
    /// The document, XML; - reads standard input
    #[arg(long, value_name = "FILE")]
    document: PathBuf,
    /// Let peers that are subscribed get it too
    #[arg(long)]
    public: bool,
    /// The publication's id, to be able to repeat it; 26 characters like a ULID [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<PublicationId>,
}

/// Subscribe to a topic and print what is published, until it is interrupted
///
/// Without --subscriber the subscription ends with the command. With it, it is durable: the node keeps what is published
/// meanwhile, and the next subscribe under this name begins with that.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa topic subscribe prices\n  \
    hansa topic subscribe prices --subscriber audit --count 10 --json\n  \
    hansa topic subscribe prices --organization \"Birch GmbH\"")]
struct Subscribe {
    #[command(flatten)]
    which: Which,
    /// Subscribe durably under this name
    #[arg(long, value_name = "NAME")]
    subscriber: Option<SubscriberName>,
    /// End after so many publications
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// End a durable subscription
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa topic unsubscribe prices --subscriber audit")]
struct Unsubscribe {
    #[command(flatten)]
    which: Which,
    /// The name that it has
    #[arg(long, value_name = "NAME")]
    subscriber: SubscriberName,
}

/// A topic, and the node to ask.
#[derive(Debug, Args)]
struct Which {
    /// The topic
    #[arg(value_name = "NAME")]
    topic: TopicName,
    /// The peer whose topic it is, by name or id [default: this node's own organization]
    #[arg(long, value_name = "ORGANIZATION")]
    organization: Option<String>,
    /// The node's address for clients, host and port [default: that of the node in the data folder]
    #[arg(long, value_name = "HOST:PORT")]
    node: Option<String>,
    #[command(flatten)]
    credentials: Credentials,
}

/// List the topics that have subscribers
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa topic list")]
struct List {}

/// Show a topic: who is subscribed, who is connected, and how far each is
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa topic show prices")]
struct Show {
    /// The topic
    #[arg(value_name = "NAME")]
    topic: TopicName,
}

/// A publication, as it is printed.
#[derive(Debug, Serialize)]
struct Notified {
    topic: TopicName,
    number: u64,
    publication: PublicationId,
    published: Time,
    missed: u64,
    document: String,
}

impl TopicArguments {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            TopicCommand::Publish(publish) => publish.perform(context).await,
            TopicCommand::Subscribe(subscribe) => subscribe.perform(context).await,
            TopicCommand::Unsubscribe(unsubscribe) => unsubscribe.perform(context).await,
            TopicCommand::List(List {}) => {
                let topics: Vec<TopicEntry> = context.client().await?.ask(&Request::Topics).await?;
                context.show(&topics, |topics| list(topics));
                Ok(())
            }
            TopicCommand::Show(show) => show.perform(context).await,
        }
    }
}

impl Publish {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        let document = read_document(&self.document, Code::DocumentMalformed)?;
        let request = Request::Publish { topic: self.topic, document, public: self.public, id: self.id };
        let published: Published = context.client().await?.ask(&request).await?;
        context.show(&published, |published| {
            let word = if published.repeated { "was published before" } else { "is published" };
            let safe = published.durability.map(|durability| format!(", safe on {}", durability.phrase()));
            format!("{} {word} to {}{}.", published.publication, published.topic, safe.unwrap_or_default())
        });
        Ok(())
    }
}

impl Which {
    /// A subscription of this topic at the node.
    async fn subscription(&self, context: &Context, subscriber: &str) -> Result<Subscribing, Fault> {
        let organization = match &self.organization {
            None => None,
            Some(text) => {
                let request = Request::Directory { operation: None, city: None };
                let members: Vec<DirectoryEntry> = context.client().await?.ask(&request).await?;
                Some(member(&members, text)?)
            }
        };
        let address = match &self.node {
            Some(address) => address.clone(),
            None => context.cxip().await?,
        };
        let client = self.credentials.of_client(Client::named("hansa topic"))?.connect(&address).await?;
        let subscription = client.subscription(self.topic.as_str(), subscriber)?;
        Ok(match organization {
            Some(organization) => subscription.of(organization),
            None => subscription,
        })
    }
}

/// The member that is called so.
fn member(members: &[DirectoryEntry], text: &str) -> Result<OrganizationId, Fault> {
    let named = members.iter().find(|member| member.name.as_str() == text || member.organization.to_string() == text);
    named.map(|member| member.organization).ok_or_else(|| {
        Fault::new(Code::MemberUnknown, format!("no member '{text}' is known here"))
            .help("`hansa directory` lists the members")
    })
}

impl Subscribe {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        let shutdown = Shutdown::new();
        shutdown.on_signals().map_err(|error| Fault::new(Code::Internal, format!("signals cannot be had: {error}")))?;
        let passing = format!("hansa-topic-{}", std::process::id());
        let name = self.subscriber.as_ref().map_or(passing.as_str(), SubscriberName::as_str);
        let mut subscription = self.which.subscription(context, name).await?.begin().await?;
        if !context.json {
            eprintln!("Subscribed to {}. Ctrl-C ends it.", self.which.topic);
        }
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let publication = tokio::select! {
                () = shutdown.triggered() => break,
                publication = subscription.next() => publication,
            };
            let Some(publication) = publication else {
                return Err(Fault::new(Code::AccessDenied, "the node lets this subscriber in no more").into());
            };
            let notified = Notified {
                topic: self.which.topic.clone(),
                number: publication.number(),
                publication: publication.id(),
                published: publication.published().into(),
                missed: publication.missed(),
                document: publication.document().as_str().to_owned(),
            };
            if context.json {
                super::print(&serde_json::to_string(&notified).expect("strings and numbers are JSON"));
            } else {
                if notified.missed > 0 {
                    eprintln!(
                        "{} missed before number {}",
                        render::count(notified.missed, "publication"),
                        notified.number
                    );
                }
                super::print(&notified.document);
            }
            publication.done();
            left -= 1;
        }
        if self.subscriber.is_none() {
            subscription.unsubscribe().await?;
        } else {
            subscription.close().await;
        }
        Ok(())
    }
}

impl Unsubscribe {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        let subscription = self.which.subscription(context, self.subscriber.as_str()).await?.begin().await?;
        subscription.unsubscribe().await?;
        let ended =
            serde_json::json!({ "topic": self.which.topic, "subscriber": self.subscriber, "subscribed": false });
        context.show(&ended, |_| format!("{} is subscribed to {} no more.", self.subscriber, self.which.topic));
        Ok(())
    }
}

impl Show {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        let mut topics: Vec<TopicEntry> = context.client().await?.ask(&Request::Topics).await?;
        topics.retain(|entry| entry.topic == self.topic);
        if topics.is_empty() {
            return Err(Fault::new(Code::TopicUnknown, format!("nobody is subscribed to {}", self.topic)).into());
        }
        context.show(&topics, |topics| topics.iter().map(show).collect::<Vec<_>>().join("\n"));
        Ok(())
    }
}

/// The organization of a topic, for a column.
fn owner(topic: &TopicEntry) -> String {
    match (&topic.organization_name, &topic.organization) {
        (Some(name), _) => name.to_string(),
        (None, Some(organization)) => organization.short(),
        (None, None) => "own".to_owned(),
    }
}

fn list(topics: &[TopicEntry]) -> String {
    if topics.is_empty() {
        return "Nobody is subscribed to any topic.\n".into();
    }
    let rows = topics.iter().map(|topic| {
        let there = topic.subscribers.iter().filter(|subscriber| subscriber.connected).count();
        let missed: u64 = topic.subscribers.iter().map(|subscriber| subscriber.missed).sum();
        vec![
            topic.topic.to_string(),
            owner(topic),
            format!("{there} of {}", topic.subscribers.len()),
            topic.published.to_string(),
            topic.kept.to_string(),
            missed.to_string(),
        ]
    });
    render::table(&["TOPIC", "OF", "CONNECTED", "PUBLISHED", "KEPT", "MISSED"], rows)
}

fn show(topic: &TopicEntry) -> String {
    let oldest = topic.oldest.map(|oldest| format!(", the oldest of {oldest}")).unwrap_or_default();
    let kept = format!("{} in {}{oldest}", topic.kept, render::bytes(topic.kept_bytes));
    let head = format!("{} ({})\npublished {}, kept {kept}\n\n", topic.topic, owner(topic), topic.published);
    let name = |subscriber: &TopicSubscriber| match (&subscriber.subscriber, &subscriber.organization_name) {
        (Some(name), _) => name.to_string(),
        (None, Some(name)) => format!("{name} (peer)"),
        (None, None) => subscriber.organization.map(|organization| organization.short()).unwrap_or_default(),
    };
    let rows = topic.subscribers.iter().map(|subscriber| {
        vec![
            name(subscriber),
            if subscriber.connected { "connected" } else { "away" }.to_owned(),
            subscriber.sessions.to_string(),
            subscriber.lag.to_string(),
            subscriber.in_flight.to_string(),
            subscriber.missed.to_string(),
            subscriber.refused.to_string(),
            subscriber.subscribed.to_string(),
        ]
    });
    let heads = ["SUBSCRIBER", "PRESENCE", "CONNECTIONS", "LAG", "IN FLIGHT", "MISSED", "REFUSED", "SINCE"];
    head + &render::table(&heads, rows)
}
