//! Decides how late bytes arrive, for test networks that put cities on one machine: real libp2p over loopback, with the
//! delay of a line between the TCP socket of whoever dials and everything above it (Noise, Yamux, hansa).
//!
//! The dialing side delays both directions, so the other side needs to know nothing. A line keeps order and does not
//! limit throughput below its buffer per delay. A destination can also be cut off, at run time, for chaos tests: its
//! connections break at once and no new one is made. Only TCP is emulated; QUIC and what others dial is not touched.
//! The table belongs to one federation handle; this must not know what travels.

mod line;

use futures::{AsyncRead, AsyncWrite, FutureExt, future::BoxFuture};
use hansa_core::dice::Dice;
use libp2p::{
    Multiaddr,
    core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent},
    multiaddr::Protocol,
    tcp::tokio::TcpStream,
};
use line::Line;
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::Notify;

/// How a line to one destination behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The socket address that is dialed; port 0 stands for every port of the address.
    pub destination: SocketAddr,
    /// How long a byte travels in one direction.
    pub one_way_ms: u32,
    /// At most how much longer a byte may travel.
    pub jitter_ms: u32,
    /// Whether the line is cut.
    pub cut: bool,
}

/// The table, shared by the transport, the streams and the handle.
#[derive(Clone, Default)]
pub(crate) struct Emulation(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    table: Vec<Latency>,
    lines: Vec<Weak<LineState>>,
}

/// What a running stream needs to know.
#[derive(Debug)]
pub(crate) struct LineState {
    destination: SocketAddr,
    delayed: bool,
    one_way_ms: AtomicU64,
    jitter_ms: AtomicU64,
    broken: AtomicBool,
    broke: Notify,
    reader: futures::task::AtomicWaker,
    writer: futures::task::AtomicWaker,
}

impl LineState {
    fn break_off(&self) {
        self.broken.store(true, Relaxed);
        self.broke.notify_waiters();
        self.reader.wake();
        self.writer.wake();
    }

    /// Resolves once the line is cut.
    async fn broken(&self) {
        loop {
            let broke = self.broke.notified();
            if self.broken.load(Relaxed) {
                return;
            }
            broke.await;
        }
    }

    /// How long the next bytes travel.
    fn delay(&self, dice: &mut Dice) -> Duration {
        let jitter_us = self.jitter_ms.load(Relaxed).saturating_mul(1_000);
        Duration::from_millis(self.one_way_ms.load(Relaxed)) + Duration::from_micros(dice.below(jitter_us + 1))
    }
}

impl Emulation {
    pub(crate) fn new(table: Vec<Latency>) -> Self {
        let emulation = Self::default();
        emulation.lock().table = table;
        emulation
    }

    /// Replace the table. Delays of running delayed lines change at once; a line that is cut, or that ran without delay
    /// and now has one, breaks, so that whoever used it dials again.
    pub(crate) fn set(&self, table: Vec<Latency>) {
        let mut state = self.lock();
        state.table = table;
        let State { table, lines } = &mut *state;
        lines.retain(|line| {
            let Some(line) = line.upgrade() else { return false };
            let latency = find(table, line.destination);
            let (one_way_ms, jitter_ms) = latency.map_or((0, 0), |latency| (latency.one_way_ms, latency.jitter_ms));
            if latency.is_some_and(|latency| latency.cut) || (!line.delayed && one_way_ms + jitter_ms > 0) {
                line.break_off();
                return false;
            }
            line.one_way_ms.store(one_way_ms.into(), Relaxed);
            line.jitter_ms.store(jitter_ms.into(), Relaxed);
            true
        });
    }

    fn latency(&self, destination: SocketAddr) -> Option<Latency> {
        find(&self.lock().table, destination).cloned()
    }

    /// A line to `destination`, unless it has been cut meanwhile.
    fn line(&self, destination: SocketAddr) -> io::Result<Arc<LineState>> {
        let mut state = self.lock();
        let latency = find(&state.table, destination);
        if latency.is_some_and(|latency| latency.cut) {
            return Err(cut(destination));
        }
        let (one_way_ms, jitter_ms) = latency.map_or((0, 0), |latency| (latency.one_way_ms, latency.jitter_ms));
        let line = Arc::new(LineState {
            destination,
            delayed: one_way_ms + jitter_ms > 0,
            one_way_ms: AtomicU64::new(one_way_ms.into()),
            jitter_ms: AtomicU64::new(jitter_ms.into()),
            broken: AtomicBool::new(false),
            broke: Notify::new(),
            reader: futures::task::AtomicWaker::new(),
            writer: futures::task::AtomicWaker::new(),
        });
        state.lines.retain(|line| line.strong_count() > 0);
        state.lines.push(Arc::downgrade(&line));
        Ok(line)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(table: &[Latency], destination: SocketAddr) -> Option<&Latency> {
    let exact = table.iter().find(|latency| latency.destination == destination);
    exact.or_else(|| {
        table.iter().find(|latency| latency.destination.port() == 0 && latency.destination.ip() == destination.ip())
    })
}

fn cut(destination: SocketAddr) -> io::Error {
    io::Error::new(io::ErrorKind::HostUnreachable, format!("the emulated line to {destination} is cut"))
}

/// The TCP transport with lines.
pub(crate) struct EmulatedTransport<T> {
    inner: T,
    emulation: Emulation,
}

impl<T> EmulatedTransport<T> {
    pub(crate) fn new(inner: T, emulation: Emulation) -> Self {
        Self { inner, emulation }
    }
}

impl<T> Transport for EmulatedTransport<T>
where
    T: Transport<Output = TcpStream, Error = io::Error> + Unpin,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    type Output = EmulatedStream;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<EmulatedStream>>;
    type Dial = BoxFuture<'static, io::Result<EmulatedStream>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let destination = socket_address(&address);
        let dial = self.inner.dial(address, options)?;
        let Some(destination) = destination else { return Ok(dial.map(|dialed| dialed.map(plain)).boxed()) };
        let emulation = self.emulation.clone();
        Ok(async move {
            if let Some(latency) = emulation.latency(destination) {
                if latency.cut {
                    return Err(cut(destination));
                }
                // The handshake of TCP takes one round trip.
                tokio::time::sleep(Duration::from_millis(2 * u64::from(latency.one_way_ms))).await;
            }
            let stream = dial.await?;
            let state = emulation.line(destination)?;
            Ok(if state.delayed {
                EmulatedStream(Kind::Delayed(Line::new(stream.into(), state)))
            } else {
                EmulatedStream(Kind::Direct(stream, Some(state)))
            })
        }
        .boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.inner)
            .poll(context)
            .map(|event| event.map_upgrade(|upgrade| upgrade.map(|accepted| accepted.map(plain)).boxed()))
    }
}

fn plain(stream: TcpStream) -> EmulatedStream {
    EmulatedStream(Kind::Direct(stream, None))
}

/// The socket address in a multiaddress that needs no name lookup any more.
fn socket_address(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// A TCP stream, perhaps with a line before it.
pub(crate) struct EmulatedStream(Kind);

enum Kind {
    Direct(TcpStream, Option<Arc<LineState>>),
    Delayed(Line),
}

impl fmt::Debug for EmulatedStream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.0 {
            Kind::Direct(..) => "a direct stream",
            Kind::Delayed(_) => "a delayed stream",
        })
    }
}

/// Watches for a cut while an operation of a direct stream is pending.
fn unless_broken<R>(
    state: Option<&Arc<LineState>>,
    waker: impl Fn(&LineState) -> &futures::task::AtomicWaker,
    context: &mut Context<'_>,
    operation: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<R>>,
) -> Poll<io::Result<R>> {
    if let Some(state) = state {
        waker(state).register(context.waker());
        if state.broken.load(Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
    }
    operation(context)
}

impl AsyncRead for EmulatedStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Direct(stream, state) => unless_broken(
                state.as_ref(),
                |state| &state.reader,
                context,
                |context| Pin::new(stream).poll_read(context, buffer),
            ),
            Kind::Delayed(line) => Pin::new(line).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for EmulatedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Direct(stream, state) => unless_broken(
                state.as_ref(),
                |state| &state.writer,
                context,
                |context| Pin::new(stream).poll_write(context, bytes),
            ),
            Kind::Delayed(line) => Pin::new(line).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Direct(stream, _) => Pin::new(stream).poll_flush(context),
            Kind::Delayed(line) => Pin::new(line).poll_flush(context),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Direct(stream, _) => Pin::new(stream).poll_close(context),
            Kind::Delayed(line) => Pin::new(line).poll_close(context),
        }
    }
}

#[cfg(test)]
mod tests;
