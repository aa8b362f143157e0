//! The CXIP listener (T14): accepts the connections of services and clients, as many as there may be, and has the SDK's
//! [`session`] serve each. The wiring starts it and gives it a [`Door`] to the machines.

mod administration;
mod http;
pub mod secure;
#[cfg(test)]
mod tests;

pub use administration::{Desk, Office};
pub use http::HttpListener;

use hansa_core::{
    code::{Code, Fault},
    limit,
};
use hansa_sdk::cxip::{
    Wire,
    session::{self, Arrival, Door, Room},
};
use secure::{Secured, Security, Unsecured};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// How long the listener pauses when the system has no room for another connection.
const ACCEPT_PAUSE_MS: u64 = 100;

/// What serves the connections of a listener.
pub trait Attendant: Send + Sync + 'static {
    /// The configuration's key of its address.
    const KEY: &'static str;
    /// How many connections there may be.
    const CONNECTIONS_MAX: usize;

    /// Serve a connection until it ends, or until `stop`.
    fn attend(&self, arrival: Arrival, room: &Room, stop: &CancellationToken) -> impl Future<Output = ()> + Send;
}

/// Serves services and clients.
struct Attached<D>(Arc<D>);

impl<D: Door> Attendant for Attached<D> {
    const KEY: &'static str = "cxip.listen";
    const CONNECTIONS_MAX: usize = limit::CXIP_CONNECTIONS_MAX;

    async fn attend(&self, arrival: Arrival, room: &Room, stop: &CancellationToken) {
        session::serve(arrival, &*self.0, room, stop).await;
    }
}

/// A running listener. Dropped, it ends at once.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    room: Arc<Room>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listen at `address`, host and port, for services and clients; port 0 takes any that is free.
    ///
    /// # Errors
    /// [`Code::PortInUse`] where another process has the port, else [`Code::ConfigurationInvalid`]; both name the address.
    pub async fn start<D: Door>(address: &str, security: Security, door: Arc<D>) -> Result<Self, Fault> {
        Self::start_with(address, security, Attached(door), Arc::default()).await
    }

    /// The same for others. What is in memory is counted in `room`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with<A: Attendant>(
        address: &str,
        security: Security,
        attendant: A,
        room: Arc<Room>,
    ) -> Result<Self, Fault> {
        let key = A::KEY;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                Fault::new(Code::PortInUse, format!("another process listens at {address} ({key})"))
            }
            _ => Fault::new(Code::ConfigurationInvalid, format!("cannot listen at {address} ({key}): {error}"))
                .help(format!("set {key} to an address of this machine and a port, for example \"127.0.0.1:4000\"")),
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept(listener, security, Arc::new(attendant), Arc::clone(&room), stop.clone()));
        Ok(Self { address, room, stop, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its connections share with those of other listeners.
    #[must_use]
    pub fn room(&self) -> Arc<Room> {
        Arc::clone(&self.room)
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

async fn accept<A: Attendant>(
    listener: TcpListener,
    security: Security,
    attendant: Arc<A>,
    room: Arc<Room>,
    stop: CancellationToken,
) {
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
                Ok((stream, peer)) if sessions.len() < A::CONNECTIONS_MAX => {
                    let (security, attendant, room) = (security.clone(), Arc::clone(&attendant), Arc::clone(&room));
                    sessions.spawn(attend(stream, security, peer, attendant, room, stop.clone()));
                }
                // The few that are being sent away have room of their own, and no more than that.
                Ok((stream, peer)) if sessions.len() < A::CONNECTIONS_MAX + A::CONNECTIONS_MAX / 16 => {
                    tracing::warn!(%peer, "a CXIP connection too many");
                    sessions.spawn(send_away(stream, A::CONNECTIONS_MAX));
                }
                Ok(_) => (),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a CXIP connection");
                    sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
            },
        }
    }
    drop(listener);
    while sessions.join_next().await.is_some() {}
}

async fn attend<A: Attendant>(
    stream: TcpStream,
    security: Security,
    peer: SocketAddr,
    attendant: Arc<A>,
    room: Arc<Room>,
    stop: CancellationToken,
) {
    match stream.set_nodelay(true) {
        Ok(()) => match security.secure(stream).await {
            Ok(Secured { stream, certified }) => {
                let arrival = Arrival::new(stream, peer).certified(certified);
                attendant.attend(arrival, &room, &stop).await;
            }
            Err(Unsecured::Plain(stream, fault)) => {
                tracing::info!(%peer, "a CXIP connection without TLS was sent away");
                let mut wire = Wire::new(stream, 0);
                wire.refuse_all(fault);
                wire.finish().await;
            }
            Err(Unsecured::Over(why)) => tracing::info!(%peer, why, "a CXIP connection could not be secured"),
        },
        Err(error) => tracing::debug!(%peer, %error, "a CXIP connection was over before it began"),
    }
}

async fn send_away(stream: TcpStream, connections_max: usize) {
    let mut wire = Wire::new(stream, 0);
    let message = format!("the node has {connections_max} connections already");
    wire.refuse_all(Fault::new(Code::LimitReached, message));
    wire.finish().await;
}
