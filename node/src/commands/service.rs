//! `hansa service …`: the services of this node, one to try things out with, and the beginning of a new one.

use super::{Context, Failure, attach::Credentials, document::read_document, render, service_new::New};
use crate::{
    admin::{
        protocol::{Request, Service},
        time::Time,
    },
    shutdown::Shutdown,
};
use clap::{Args, Subcommand};
use hansa_core::{
    code::{Code, Fault},
    document::Text,
    ident::{OperationName, ServiceName},
    limit,
};
use serde::Serialize;
use serde_json::json;
use std::{path::PathBuf, time::Duration};

/// Look at the services of this node, be one, or begin to write one
#[derive(Debug, Args)]
pub struct ServiceArguments {
    #[command(subcommand)]
    command: ServiceCommand,
}

#[derive(Debug, Subcommand)]
enum ServiceCommand {
    List(List),
    Answer(Answer),
    New(New),
}

/// List the services that are registered at this node
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa service list")]
struct List {}

/// Be a service that answers every request with the same document, until it is interrupted
///
/// It is a service like any other, made with the SDK: good for trying things out before the real one is written.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa service answer --service credit --operation check-credit --with granted.xml\n  \
    hansa service answer --service depot --operation check-stock --operation confirm --with yes.xml --delay-ms 500")]
struct Answer {
    /// The service's name
    #[arg(long, value_name = "NAME")]
    service: ServiceName,
    /// An operation that it performs; can be repeated
    #[arg(long, value_name = "OPERATION", required = true)]
    operation: Vec<OperationName>,
    /// The document that it answers with, XML; - reads standard input
    #[arg(long, value_name = "FILE")]
    with: PathBuf,
    /// Keep it from the other members: only this node's own transactions reach it
    #[arg(long)]
    private: bool,
    /// Take so long for each answer, in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    delay_ms: u64,
    /// How many requests to take at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=i64::from(limit::SESSION_CREDIT_MAX)))]
    credit: u32,
    /// The node's address for services, host and port [default: that of the node in the data folder]
    #[arg(long, value_name = "HOST:PORT")]
    node: Option<String>,
    #[command(flatten)]
    credentials: Credentials,
}

/// A request that was answered, as it is shown.
#[derive(Debug, Serialize)]
struct Answered {
    at: Time,
    operation: String,
    invocation: String,
    transaction: String,
    definition: String,
    organization: String,
    attempt: u32,
}

impl ServiceArguments {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            ServiceCommand::List(List {}) => {
                let services: Vec<Service> = context.client().await?.ask(&Request::Services).await?;
                context.show(&services, |services| render::services(services));
                Ok(())
            }
            ServiceCommand::Answer(answer) => answer.perform(context).await,
            ServiceCommand::New(new) => Ok(new.perform(context)?),
        }
    }
}

impl Answer {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        let document = Text::parse(read_document(&self.with, Code::DocumentMalformed)?.as_bytes())?;
        let address = match self.node {
            Some(address) => address,
            None => context.cxip().await?,
        };
        let shutdown = Shutdown::new();
        shutdown.on_signals().map_err(|error| Fault::new(Code::Internal, format!("signals cannot be had: {error}")))?;

        let (json, delay) = (context.json, Duration::from_millis(self.delay_ms));
        let mut service = hansa_sdk::Service::new(self.service.as_str())?.public(!self.private).credit(self.credit);
        for operation in &self.operation {
            let document = document.clone();
            service = service.operation(operation.as_str(), move |request: hansa_sdk::Request| {
                let document = document.clone();
                async move {
                    tokio::time::sleep(delay).await;
                    tell(&request, json);
                    Ok(document)
                }
            })?;
        }
        let running = self.credentials.of_service(service)?.attach(&address).await?;
        if json {
            super::print(&json!({ "attached": self.service, "node": address }).to_string());
        } else {
            let operations = self.operation.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            super::print(&format!("{} answers {operations} at {address}. Ctrl-C ends it.", self.service));
        }
        shutdown.triggered().await;
        running.stop().await;
        Ok(())
    }
}

fn tell(request: &hansa_sdk::Request, json: bool) {
    let answered = Answered {
        at: Time::now(),
        operation: request.operation().to_string(),
        invocation: request.invocation().to_string(),
        transaction: request.transaction().to_string(),
        definition: request.definition().to_string(),
        organization: request.organization().to_string(),
        attempt: request.attempt(),
    };
    if json {
        super::print(&serde_json::to_string(&answered).expect("strings and numbers are JSON"));
    } else {
        super::print(&format!(
            "{} {} for {} {} of {}",
            answered.at,
            answered.operation,
            answered.definition,
            answered.transaction,
            request.organization().short()
        ));
    }
}
