//! The CXIP listener (T14): accepts the connections of services and clients and turns their messages into
//! [`FromSession`] and [`ToSession`] back into messages. The wiring starts it and gives it a [`Door`] to the machines.
//! It knows the protocol and sessions; what a message brings about is the machines' business.

mod session;

#[cfg(test)]
mod tests;

use hansa_core::{
    code::{Code, Fault},
    ident::{City, OrganizationName},
    limit,
    session::{Asker, FromSession, SessionId, ToSession},
};
use hansa_sdk::cxip::{Password, Wire};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// How long the listener pauses when the system has no room for another connection.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Whose node it is: what a Connect is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The organization.
    pub organization: OrganizationName,
    /// Its city.
    pub city: City,
}

/// The way from connections to the machines. None of its methods waits.
pub trait Door: Send + Sync + 'static {
    /// Whether `name` may attach, and to whom.
    ///
    /// # Errors
    /// [`Code::AccessDenied`], or another reason for the one who tries.
    fn welcome(&self, name: &str, password: Option<&Password>) -> Result<Welcome, Fault>;

    /// A session begins; what it is to be told goes to `to_session`. The session drains that channel without waiting for
    /// its connection, and ends when more than [`limit::CXIP_QUEUE_BYTES_MAX`] wait for a connection that is slow.
    /// When the last sender is dropped the session ends.
    fn open(&self, to_session: mpsc::UnboundedSender<ToSession>) -> SessionId;

    /// A session has something to say. Taken, it is answered later in [`ToSession`], with `asker.message`; an asker with
    /// message 0 hears no answer.
    ///
    /// # Errors
    /// Why it is refused at once; [`Code::Busy`] where it may be tried again.
    fn deliver(&self, asker: Asker, input: FromSession) -> Result<(), Fault>;

    /// A session is over; what it held unanswered goes to others.
    fn close(&self, session: SessionId);
}

/// A running listener. Dropped, it ends at once.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listen at `address`, host and port; port 0 takes any that is free.
    ///
    /// # Errors
    /// [`Code::PortInUse`] where another process has the port, else [`Code::ConfigurationInvalid`]; both name the address.
    pub async fn start<D: Door>(address: &str, door: Arc<D>) -> Result<Self, Fault> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                Fault::new(Code::PortInUse, format!("another process listens at {address} (cxip.listen)"))
            }
            _ => Fault::new(Code::ConfigurationInvalid, format!("cannot listen at {address} (cxip.listen): {error}"))
                .help("set cxip.listen to an address of this machine and a port, for example \"127.0.0.1:4000\""),
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let sessions = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(accept(listener, door, stop.clone(), sessions));
        Ok(Self { address, stop, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accept nothing more and end every connection; what is queued for them is still sent, as far as they take it within
    /// a second.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // Whether the task ended or panicked, it is over.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<D: Door>(listener: TcpListener, door: Arc<D>, stop: CancellationToken, count: Arc<AtomicUsize>) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = sessions.join_next(), if !sessions.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a CXIP session did not come to its end");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if sessions.len() < limit::CXIP_CONNECTIONS_MAX => {
                    sessions.spawn(session::run(stream, peer, Arc::clone(&door), stop.clone()));
                }
                // The few that are being sent away have room of their own, and no more than that.
                Ok((stream, peer)) if sessions.len() < limit::CXIP_CONNECTIONS_MAX + limit::CXIP_CONNECTIONS_MAX / 16 => {
                    tracing::warn!(%peer, "a CXIP connection too many");
                    sessions.spawn(send_away(stream));
                }
                Ok(_) => (),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a CXIP connection");
                    sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
            },
        }
        count.store(sessions.len(), Ordering::Relaxed);
    }
    drop(listener);
    while sessions.join_next().await.is_some() {
        count.store(sessions.len(), Ordering::Relaxed);
    }
}

async fn send_away(stream: TcpStream) {
    let mut wire = Wire::new(stream, 0);
    let message = format!("the node has {} connections already", limit::CXIP_CONNECTIONS_MAX);
    wire.refuse_all(Fault::new(Code::LimitReached, message));
    wire.finish().await;
}
