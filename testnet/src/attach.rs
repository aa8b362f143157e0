//! Attaches the roles of the trade to their organizations' nodes, as services over CXIP.

use crate::trade::{Call, role::Role};
use anyhow::{Context as _, Result};
use hansa_sdk::{Request, Running, Service};
use std::{net::SocketAddr, time::Duration};

/// How long an attachment waits for a node that does not answer yet.
const PATIENCE: Duration = Duration::from_secs(10);

/// Attach every service of `role` to the node that listens at `address`.
///
/// # Errors
/// The node does not answer or refuses a service.
pub async fn attach(role: &Role, address: SocketAddr) -> Result<Vec<Running>> {
    let mut running = Vec::new();
    for (name, operations) in role.services() {
        let mut service = Service::new(name)?.public(role.is_public()).patience(PATIENCE);
        for operation in *operations {
            let role = role.clone();
            service = service.operation(operation, move |request: Request| {
                let role = role.clone();
                let call = call_of(&request);
                async move { role.perform(call).await }
            })?;
        }
        let attached = service.attach(&address.to_string()).await;
        running.push(attached.with_context(|| format!("could not attach the service '{name}' at {address}"))?);
    }
    Ok(running)
}

fn call_of(request: &Request) -> Call {
    Call {
        key: request.invocation().to_string(),
        transaction: request.transaction().to_string(),
        operation: request.operation().to_string(),
        document: request.document().clone(),
    }
}
