//! CXIP over HTTP (T14): the same messages, for services and clients that only an HTTP proxy lets through. A session of HTTP
//! requests is a stream in memory, at whose other end [`session::serve`] does what it does for every connection; here
//! bytes are carried from requests into it and from it into responses. What they mean is not known here.

use axum::{
    Extension, Router,
    body::{Body, Bytes, HttpBody},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::post,
};
use bytes::BytesMut;
use futures::{FutureExt as _, StreamExt as _};
use hansa_core::{
    code::{Code, Fault},
    limit,
};
use hansa_sdk::cxip::{
    HEADER_BYTES, Header,
    session::{self, Arrival, Door, Room},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    net::TcpListener,
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The type of bodies.
const MIME: &str = "application/x-cxip-v10";
/// Names the session, in requests and responses.
const SESSION: HeaderName = HeaderName::from_static("cxip-session");
/// How many seconds to wait for something to answer.
const WAIT: HeaderName = HeaderName::from_static("cxip-wait");
/// In responses: which byte of all that the node has said in the session is the first of the body.
const OFFSET: HeaderName = HeaderName::from_static("cxip-offset");
/// In responses: the session is over. In requests: the other side has nothing more to say.
const END: HeaderName = HeaderName::from_static("cxip-end");
/// Bytes on their way in memory, each way.
const PIPE_BYTES: usize = 128 * 1024;
/// How long the body of a request may take.
const BODY: Duration = Duration::from_secs(30);
/// How long a connection may be idle, or take to begin a request.
const IDLE: Duration = Duration::from_secs(60);
/// How long the last words of a session that is over can be fetched.
const LINGER: Duration = Duration::from_secs(10);
/// How long requests that are being answered get when the node stops.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long to pause when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running listener. Dropped, it ends at once.
#[derive(Debug)]
pub struct HttpListener {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl HttpListener {
    /// Listen at `address`; port 0 takes any that is free. What is in memory is counted in `room`.
    ///
    /// # Errors
    /// [`Code::PortInUse`] where another process has the port, else [`Code::ConfigurationInvalid`].
    pub async fn start<D: Door>(address: SocketAddr, door: Arc<D>, room: Arc<Room>) -> Result<Self, Fault> {
        let failed = |error: io::Error| {
            let code = match error.kind() {
                io::ErrorKind::AddrInUse => Code::PortInUse,
                _ => Code::ConfigurationInvalid,
            };
            Fault::new(code, format!("cannot listen at {address} (cxip.http_listen): {error}"))
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let sessions = Arc::new(Sessions { door, room, stop: stop.clone(), open: Mutex::default() });
        let task = tokio::spawn(accept(listener, sessions, stop.clone()));
        Ok(Self { address, stop, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accept nothing more and end every session.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // Whether the task ended or panicked, it is over.
        let _ = (&mut self.task).await;
    }
}

impl Drop for HttpListener {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

async fn accept<D: Door>(listener: TcpListener, sessions: Arc<Sessions<D>>, stop: CancellationToken) {
    let router = Router::new()
        .route("/cxip", post(exchange::<D>))
        .fallback(|| async { (StatusCode::NOT_FOUND, "There is POST /cxip.\n") })
        .with_state(sessions);
    let room = Arc::new(Semaphore::new(limit::CXIP_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for CXIP over HTTP");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(%peer, "a connection for CXIP over HTTP too many");
            continue;
        };
        // Small messages shall not wait for each other; where that cannot be had, they do.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone().layer(Extension(peer)));
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE)
                .serve_connection(TokioIo::new(stream), service);
            // What goes wrong on a connection is the other side's affair.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    // Sessions end with `stop`, and with them every request that waits for one.
    let _ = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
}

/// The sessions that are open, by their tokens.
struct Sessions<D> {
    door: Arc<D>,
    room: Arc<Room>,
    stop: CancellationToken,
    open: Mutex<HashMap<String, Arc<Tunnel>>>,
}

/// This end of a session's stream.
struct Tunnel {
    up: tokio::sync::Mutex<WriteHalf<DuplexStream>>,
    down: tokio::sync::Mutex<Down>,
}

/// What comes from the node.
struct Down {
    stream: ReadHalf<DuplexStream>,
    arrived: BytesMut,
    /// How much was taken already.
    taken: u64,
    over: bool,
}

/// Why a request is not even an exchange.
type Refused = Box<Response>;

fn refused(status: StatusCode, words: &str) -> Refused {
    Box::new((status, format!("{words}\n")).into_response())
}

impl<D: Door> Sessions<D> {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Tunnel>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begin a session. The task that serves it ends by itself: when its other end is silent or gone, or the node stops.
    fn begin(self: &Arc<Self>, peer: SocketAddr) -> Result<(String, Arc<Tunnel>), Refused> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|_| refused(StatusCode::INTERNAL_SERVER_ERROR, "the system gives no randomness"))?;
        let token = format!("{:032x}", u128::from_be_bytes(random));
        let (ours, theirs) = duplex(PIPE_BYTES);
        let (stream, up) = split(ours);
        let down = Down { stream, arrived: BytesMut::new(), taken: 0, over: false };
        let tunnel = Arc::new(Tunnel { up: up.into(), down: down.into() });
        {
            let mut open = self.open();
            if open.len() >= limit::CXIP_HTTP_SESSIONS_MAX {
                return Err(refused(StatusCode::SERVICE_UNAVAILABLE, "the node has as many sessions as it may have"));
            }
            open.insert(token.clone(), Arc::clone(&tunnel));
        }
        let (sessions, ended) = (Arc::clone(self), token.clone());
        tokio::spawn(async move {
            let arrival = Arrival::new(theirs, format_args!("{peer} over HTTP")).proxied();
            session::serve(arrival, &*sessions.door, &sessions.room, &sessions.stop).await;
            sleep(LINGER).await;
            sessions.open().remove(&ended);
        });
        Ok((token, tunnel))
    }
}

async fn exchange<D: Door>(
    State(sessions): State<Arc<Sessions<D>>>,
    Extension(peer): Extension<SocketAddr>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(sessions, peer, headers, body).await.unwrap_or_else(|refused| *refused)
}

async fn answer<D: Door>(
    sessions: Arc<Sessions<D>>,
    peer: SocketAddr,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    if headers.get(CONTENT_TYPE).is_none_or(|mime| mime.as_bytes() != MIME.as_bytes()) {
        return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the Content-Type is to be application/x-cxip-v10"));
    }
    let wait_ms = match headers.get(WAIT) {
        None => limit::CXIP_HTTP_WAIT_MS_MAX,
        Some(wait) => {
            let seconds = wait.to_str().ok().and_then(|wait| wait.parse::<u64>().ok());
            let malformed = || refused(StatusCode::BAD_REQUEST, "Cxip-Wait is a whole number of seconds");
            seconds.ok_or_else(malformed)?.saturating_mul(1_000).min(limit::CXIP_HTTP_WAIT_MS_MAX)
        }
    };
    let (token, tunnel) = match headers.get(SESSION) {
        None => sessions.begin(peer)?,
        Some(token) => {
            let token = token.to_str().unwrap_or_default().to_owned();
            let known = sessions.open().get(&token).cloned();
            let words = "there is no such session; it may have ended: begin another, without Cxip-Session";
            (token, known.ok_or_else(|| refused(StatusCode::NOT_FOUND, words))?)
        }
    };
    // One that only fetches is in nobody's way who brings something at the same time.
    if headers.contains_key(END) || !HttpBody::is_end_stream(&body) {
        let Ok(mut up) = tunnel.up.try_lock() else {
            return Err(refused(StatusCode::CONFLICT, "another request of this session is bringing messages"));
        };
        // Dropped half-way, by a connection that broke or time that ran out, it takes the session along: nobody knows where
        // the next message would begin.
        let mut broken = Broken { sessions: &sessions, token: Some(&token) };
        if !matches!(timeout(BODY, carry(body, &mut up)).await, Ok(Ok(()))) {
            return Err(refused(StatusCode::REQUEST_TIMEOUT, "the body did not come whole; the session is over"));
        }
        if headers.contains_key(END) {
            // For the session that is the end of its connection. One that is over already hears nothing.
            let _ = up.shutdown().await;
        }
        broken.token = None;
    }
    let (offset, bytes, over) = match tunnel.down.try_lock() {
        // Another request waits for what the node says; this one only brought something.
        Err(_) => (0, Bytes::new(), false),
        Ok(mut down) => {
            // Whether something came or the time is over, what is there is the answer.
            let _ = timeout(Duration::from_millis(wait_ms), down.wait()).await;
            let offset = down.taken;
            (offset, down.take(), down.is_over())
        }
    };
    if over {
        sessions.open().remove(&token);
    }
    let status = match (bytes.is_empty(), over) {
        (false, _) => StatusCode::OK,
        (true, false) => StatusCode::NO_CONTENT,
        (true, true) => StatusCode::GONE,
    };
    let mut response = (status, bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MIME));
    headers.insert(OFFSET, HeaderValue::from(offset));
    headers.insert(SESSION, HeaderValue::from_str(&token).expect("hexadecimal digits are a header's value"));
    if over {
        headers.insert(END, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Takes a session away when it is dropped, unless its token was taken out.
struct Broken<'s, D: Door> {
    sessions: &'s Sessions<D>,
    token: Option<&'s str>,
}

impl<D: Door> Drop for Broken<'_, D> {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.sessions.open().remove(token);
        }
    }
}

/// Carry a body into the stream, as fast as the node takes it. A node that takes nothing more has said why.
async fn carry(body: Body, up: &mut WriteHalf<DuplexStream>) -> Result<(), axum::Error> {
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        if up.write_all(&piece?).await.is_err() {
            break;
        }
    }
    Ok(())
}

impl Down {
    /// Wait until a whole message or fragment is there, or nothing more comes. Dropped before it is ready, nothing is lost.
    async fn wait(&mut self) {
        while !self.over && Header::whole_bytes(&self.arrived) == 0 {
            self.over = self.read().await == 0;
        }
        while !self.over && self.arrived.len() < limit::CXIP_HTTP_RESPONSE_BYTES_MAX {
            match self.read().now_or_never() {
                Some(bytes) => self.over = bytes == 0,
                None => break,
            }
        }
    }

    async fn read(&mut self) -> usize {
        self.arrived.reserve(HEADER_BYTES + limit::CXIP_FRAGMENT_BYTES_MAX);
        self.stream.read_buf(&mut self.arrived).await.unwrap_or(0)
    }

    /// What is there, up to the end of a message or a fragment.
    fn take(&mut self) -> Bytes {
        let end = Header::whole_bytes(&self.arrived);
        self.taken += end as u64;
        self.arrived.split_to(end).freeze()
    }

    fn is_over(&self) -> bool {
        self.over && Header::whole_bytes(&self.arrived) == 0
    }
}
