//! `hansa run`: starts the node, tells where it listens, and stops it when it shall.
//!
//! This is the only place that knows the order of things: signals, lock, listeners, node, announcement; and back.

use super::{Context, Failure, init};
use crate::{
    admin::{Administration, server::Socket, time::Time},
    folder::{Folder, Listening},
    http, logging,
    shutdown::Shutdown,
    wiring::{Node, Start},
};
use clap::Args;
use hansa_core::{
    code::{Code, Fault},
    ident::{City, OrganizationName},
    membership::InviteText,
};
use std::{sync::Arc, time::Duration};

/// First pause before an unreachable inviter is asked again; it doubles.
const JOIN_RETRY_MIN: Duration = Duration::from_millis(250);
/// The longest such pause.
const JOIN_RETRY_MAX: Duration = Duration::from_secs(30);
/// How long a node may take to stop in order; what it has acknowledged is durable all the same.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Run the node until it is told to stop
///
/// It stops in order on Ctrl-C, SIGTERM or `hansa stop`: it takes nothing new, makes durable what is under way, and ends.
/// A second signal ends it at once. When it is ready it writes listening.json into its data folder.
#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:\n  \
    hansa run\n  \
    hansa run --data ./acme --set log.level=debug\n  \
    hansa run --data ./birch --organization \"Birch GmbH\" --city Hamburg --join hansa-invite-…")]
pub struct Run {
    /// Make this organization first, where the data folder is empty
    #[arg(long, value_name = "NAME", requires = "city")]
    organization: Option<OrganizationName>,
    /// The city of that organization
    #[arg(long, value_name = "CITY", requires = "organization")]
    city: Option<City>,
    /// Join the federation of this invite
    #[arg(long, value_name = "INVITE")]
    join: Option<String>,
    /// End when the process that started this one ends, as the testnet's nodes do
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

impl Run {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let started = Time::now();
        if self.exit_with_parent {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).map_err(|error| {
                Fault::new(Code::Internal, format!("the process cannot be tied to its parent: {error}"))
            })?;
        }
        if let Some(invite) = &self.join {
            invite.parse::<InviteText>()?;
        }
        init::ensure(context, self.organization.as_ref(), self.city.as_ref())?;
        let folder = &context.folder;
        folder.check()?;
        let (configuration, _) = context.configuration()?;
        logging::begin(configuration.log());
        let shutdown = Shutdown::new();
        shutdown.on_signals().map_err(|error| Fault::new(Code::Internal, format!("signals cannot be had: {error}")))?;

        let lock = folder.lock()?;
        // A node that was killed could not take these back.
        folder.withdraw();
        if let Some(invite) = &self.join {
            folder.keep_invite(invite)?;
        }
        let admin = folder.socket(configuration.admin().socket());
        let socket = Socket::bind(&admin).await?;
        let http_listener = http::bind(configuration.http().listen()).await?;
        let http_address = http_listener
            .local_addr()
            .map_err(|error| Fault::new(Code::Internal, format!("the port for monitoring has no address: {error}")))?;

        let invited = folder.pending_invite().is_some();
        let start = Start {
            configuration,
            folder: folder.clone(),
            http: http_address,
            admin: admin.clone(),
            started,
            shutdown: shutdown.clone(),
            invited,
        };
        let node = tokio::select! {
            node = Node::start(start) => node?,
            // What was recovered so far is only read: nothing is lost.
            () = shutdown.triggered() => return Ok(()),
        };
        let listening = Listening {
            pid: std::process::id(),
            cxip: node.cxip().to_string(),
            http: http_address.to_string(),
            federation: node.federation(),
            admin,
            cxip_admin: node.cxip_admin().map(|address| address.to_string()),
            started: started.to_string(),
        };
        folder.announce(&listening)?;
        tracing::info!(
            cxip = listening.cxip,
            http = listening.http,
            federation = ?listening.federation,
            data = %folder.path().display(),
            "the node is ready"
        );

        // Monitoring goes on while the node stops; administration ends at once, so that nothing new comes in.
        let served = Shutdown::new();
        let tasks = [
            tokio::spawn(socket.serve(node.administration(), shutdown.clone())),
            tokio::spawn(http::serve(http_listener, node.administration(), served.clone())),
            tokio::spawn(join(node.administration(), folder.clone())),
        ];
        let failed = tokio::select! {
            () = shutdown.triggered() => None,
            fault = node.failed() => Some(fault),
        };
        folder.withdraw();
        if failed.is_none() && tokio::time::timeout(STOP_MAX, node.stop()).await.is_err() {
            tracing::warn!("the node did not stop within {} s, and is ended", STOP_MAX.as_secs());
        }
        served.trigger();
        shutdown.trigger();
        let [administration, monitoring, joining] = tasks;
        joining.abort();
        let _ = tokio::join!(administration, monitoring);
        drop(lock);
        match failed {
            None => {
                tracing::info!("the node has stopped");
                Ok(())
            }
            Some(fault) => {
                tracing::error!(code = %fault.code, "{}", fault.message);
                Err(fault.into())
            }
        }
    }
}

/// Join with the invite that waits, if one does. An inviter that is away is asked again; a refusal is final.
async fn join<A: Administration>(administration: Arc<A>, folder: Folder) {
    let Some(invite) = folder.pending_invite() else { return };
    let mut pause = JOIN_RETRY_MIN;
    loop {
        match administration.join(invite.clone()).await {
            Ok(joined) => {
                tracing::info!(federation = %joined.federation.name, members = joined.federation.members, "joined");
                folder.forget_invite();
                return;
            }
            Err(fault) if matches!(fault.code, Code::PeerUnreachable | Code::Busy) => {
                tracing::warn!(retry_ms = pause.as_millis(), "{}", fault.message);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(JOIN_RETRY_MAX);
            }
            Err(fault) => {
                tracing::error!(code = %fault.code, help = fault.advice(), "cannot join: {}", fault.message);
                folder.forget_invite();
                return;
            }
        }
    }
}
