//! CXIP over HTTP (T14), the side of whoever attaches: a pipe in memory whose bytes travel in the bodies of requests and
//! responses. [`crate::reach`] makes one where an address begins with `http://` or `https://`; everything else drives it
//! like any connection. What the bytes mean is not known here, but for where a message ends.

use crate::{
    cxip::{HEADER_BYTES, Header, Stream},
    tls::Tls,
};
use bytes::{Bytes, BytesMut};
use hansa_core::{
    code::{Code, Fault},
    limit,
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    net::TcpStream,
    sync::Mutex,
    time::timeout,
};

/// The type of bodies.
const MIME: &str = "application/x-cxip-v10";
/// Bytes on their way in memory, each way.
const PIPE_BYTES: usize = 256 * 1024;
/// Bytes of a response: what the node puts into one, and the fragment that goes beyond.
const RESPONSE_BYTES_MAX: usize =
    limit::CXIP_HTTP_RESPONSE_BYTES_MAX + 2 * (HEADER_BYTES + limit::CXIP_FRAGMENT_BYTES_MAX);
/// How long an exchange may take beyond what it waits for: a proxy may be slow, a response must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether an address is one of these.
pub(crate) fn is_url(address: &str) -> bool {
    address.starts_with("http://") || address.starts_with("https://")
}

/// Where a node is reached over HTTP.
#[derive(Clone, Debug)]
struct Target {
    /// As it was given.
    url: String,
    /// Host and port, for the connection.
    address: String,
    /// The same without the port that goes without saying, for the header.
    host: String,
    path: String,
    tls: Option<Tls>,
}

impl Target {
    fn of(url: &str, tls: Option<&Tls>) -> Result<Self, Fault> {
        let wrong = |why: &str| {
            Fault::new(Code::ConfigurationInvalid, format!("'{url}' is no address of CXIP over HTTP: {why}"))
                .help("write http://HOST[:PORT][/PATH] or https://…; without a path it is /cxip")
        };
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
        let secured = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        if authority.contains('@') {
            return Err(wrong("name and password belong to the account, not into the address"));
        }
        let port = uri.port_u16().unwrap_or(if secured { 443 } else { 80 });
        let path = match uri.path_and_query().map(ToString::to_string) {
            Some(path) if path != "/" => path,
            _ => "/cxip".to_owned(),
        };
        let tls = match (secured, tls) {
            (true, None) => {
                return Err(Fault::new(Code::TlsFailed, format!("nobody is trusted to vouch for {url}"))
                    .help("say with `tls` (or --authority) whose certificates to trust"));
            }
            (false, Some(_)) => {
                return Err(Fault::new(Code::TlsFailed, format!("{url} would not be encrypted, and TLS is asked for"))
                    .help("begin the address with https://"));
            }
            (_, tls) => tls.cloned(),
        };
        Ok(Self { url: url.to_owned(), address: format!("{host}:{port}"), host: authority, path, tls })
    }

    fn unanswered(&self, why: impl std::fmt::Display) -> Fault {
        Fault::new(Code::NodeStopped, format!("no node answers at {}: {why}", self.url))
            .help("start the node with `hansa run`, see that cxip.http_listen is set, or correct the address")
    }
}

/// A connection that is kept for the next request.
struct Line {
    target: Arc<Target>,
    kept: Option<SendRequest<Full<Bytes>>>,
}

/// What came back of an exchange.
struct Answer {
    session: Option<String>,
    /// Which byte of all that the node says in this session is the first here.
    offset: u64,
    bytes: Bytes,
    over: bool,
}

impl Line {
    fn new(target: &Arc<Target>) -> Self {
        Self { target: Arc::clone(target), kept: None }
    }

    async fn open(&mut self) -> Result<SendRequest<Full<Bytes>>, Fault> {
        if let Some(kept) = self.kept.take().filter(|kept| !kept.is_closed()) {
            return Ok(kept);
        }
        let target = &self.target;
        let stream = TcpStream::connect(&*target.address).await.map_err(|error| target.unanswered(error))?;
        stream.set_nodelay(true).map_err(|error| target.unanswered(error))?;
        let stream = match &target.tls {
            None => Stream::Plain(stream),
            Some(tls) => tls.secure(&target.address, stream).await?,
        };
        let (sends, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| target.unanswered(error))?;
        // It ends with what is sent over it; why, the request hears.
        tokio::spawn(connection);
        Ok(sends)
    }

    /// Bring `body`, and wait up to so many seconds for something to fetch.
    async fn exchange(&mut self, session: Option<&str>, wait_s: u64, body: Bytes, ends: bool) -> Result<Answer, Fault> {
        let patience = PATIENCE + Duration::from_secs(wait_s);
        let exchanged = timeout(patience, self.exchange_in_time(session, wait_s, body, ends)).await;
        exchanged.unwrap_or_else(|_| Err(self.target.unanswered("it did not answer in time")))
    }

    async fn exchange_in_time(
        &mut self,
        session: Option<&str>,
        wait_s: u64,
        body: Bytes,
        ends: bool,
    ) -> Result<Answer, Fault> {
        let mut sends = self.open().await?;
        let target = &self.target;
        sends.ready().await.map_err(|error| target.unanswered(error))?;
        let mut request = Request::post(&*target.path)
            .header(HOST, &*target.host)
            .header(CONTENT_TYPE, MIME)
            .header("cxip-wait", wait_s);
        if let Some(session) = session {
            request = request.header("cxip-session", session);
        }
        if ends {
            request = request.header("cxip-end", "true");
        }
        let request = request.body(Full::new(body)).map_err(|error| target.unanswered(error))?;
        let response = sends.send_request(request).await.map_err(|error| target.unanswered(error))?;
        let answer = self.read(response).await?;
        self.kept = Some(sends);
        Ok(answer)
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Answer, Fault> {
        let status = response.status();
        let header =
            |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        let is_cxip = header("content-type").is_some_and(|mime| mime == MIME);
        let (session, over) = (header("cxip-session"), header("cxip-end").is_some());
        let offset = header("cxip-offset").and_then(|offset| offset.parse().ok());
        let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| self.target.unanswered(error))?.to_bytes();
        match status {
            StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::GONE if is_cxip => {
                let offset =
                    offset.ok_or_else(|| self.target.unanswered("it does not say where its answer belongs"))?;
                Ok(Answer { session, offset, bytes, over })
            }
            _ => {
                let said: String = String::from_utf8_lossy(&bytes).trim().chars().take(200).collect();
                Err(self.target.unanswered(format!("HTTP status {status}: {said}")))
            }
        }
    }
}

/// What has come, put into its order: of two requests under way nobody knows whose response comes first.
struct Ordered {
    pipe: WriteHalf<DuplexStream>,
    next: u64,
    early: BTreeMap<u64, Bytes>,
}

impl Ordered {
    async fn take(&mut self, Answer { offset, bytes, .. }: Answer) -> std::io::Result<()> {
        if !bytes.is_empty() {
            self.early.insert(offset, bytes);
        }
        while let Some(bytes) = self.early.remove(&self.next) {
            self.next += bytes.len() as u64;
            self.pipe.write_all(&bytes).await?;
        }
        Ok(())
    }
}

/// A pipe to the node at `url`. The session begins with the first message that is written.
pub(crate) fn carrier(url: &str, tls: Option<&Tls>) -> Result<Stream, Fault> {
    let target = Arc::new(Target::of(url, tls)?);
    let (ours, theirs) = duplex(PIPE_BYTES);
    tokio::spawn(async move {
        if let Err(fault) = carry(&target, theirs).await {
            tracing::debug!(url = target.url, %fault, "a session over HTTP broke");
        }
    });
    Ok(Stream::Piped(ours))
}

/// Until one side has nothing more to say, or HTTP fails: then the pipe is dropped, and its other end sees that.
async fn carry(target: &Arc<Target>, pipe: DuplexStream) -> Result<(), Fault> {
    let (up, down) = split(pipe);
    let mut up = Up { pipe: up, read: BytesMut::new() };
    let first = up.next().await;
    if first.is_empty() {
        return Ok(());
    }
    let mut line = Line::new(target);
    let wait_s = limit::CXIP_HTTP_WAIT_MS_MAX / 1_000;
    let answer = line.exchange(None, wait_s, first, false).await?;
    let session = answer.session.clone().ok_or_else(|| target.unanswered("it names no session"))?;
    let over = answer.over;
    let ordered = Mutex::new(Ordered { pipe: down, next: 0, early: BTreeMap::new() });
    let broken = |error: std::io::Error| target.unanswered(error);
    ordered.lock().await.take(answer).await.map_err(broken)?;
    if over {
        return Ok(());
    }
    let brings = async {
        loop {
            let bytes = up.next().await;
            let ends = bytes.is_empty();
            let answer = line.exchange(Some(&session), 0, bytes, ends).await?;
            ordered.lock().await.take(answer).await.map_err(broken)?;
            if ends {
                return Ok(());
            }
        }
    };
    let fetches = async {
        let mut line = Line::new(target);
        loop {
            let answer = line.exchange(Some(&session), wait_s, Bytes::new(), false).await?;
            let over = answer.over;
            ordered.lock().await.take(answer).await.map_err(broken)?;
            if over {
                return Ok(());
            }
        }
    };
    tokio::try_join!(brings, fetches).map(|_: ((), ())| ())
}

/// What this side says.
struct Up {
    pipe: ReadHalf<DuplexStream>,
    read: BytesMut,
}

impl Up {
    /// Whole messages and fragments, as many as there are; nothing when no more come.
    async fn next(&mut self) -> Bytes {
        loop {
            let end = Header::whole_bytes(&self.read);
            if end > 0 {
                return self.read.split_to(end).freeze();
            }
            self.read.reserve(HEADER_BYTES + limit::CXIP_FRAGMENT_BYTES_MAX);
            match self.pipe.read_buf(&mut self.read).await {
                Ok(bytes) if bytes > 0 => (),
                _ => return Bytes::new(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, Fault> {
        Target::of(url, None)
    }

    #[test]
    fn an_address_says_host_port_and_path_or_leaves_out_what_goes_without_saying() {
        let plain = target("http://proxy.acme.example").unwrap();
        assert_eq!(
            (&*plain.address, &*plain.host, &*plain.path),
            ("proxy.acme.example:80", "proxy.acme.example", "/cxip")
        );
        let full = target("http://[::1]:4081/exchange/cxip").unwrap();
        assert_eq!((&*full.address, &*full.path), ("[::1]:4081", "/exchange/cxip"));
        for (url, code) in [
            ("http://", Code::ConfigurationInvalid),
            ("http://erp:secret@acme.example", Code::ConfigurationInvalid),
            ("ftp://acme.example", Code::ConfigurationInvalid),
            ("http://two words", Code::ConfigurationInvalid),
            ("https://acme.example", Code::TlsFailed),
        ] {
            assert_eq!(target(url).unwrap_err().code, code, "{url}");
        }
    }

    #[tokio::test]
    async fn responses_that_overtake_each_other_are_put_into_order() {
        let (ours, theirs) = duplex(64);
        let (mut reads, _keeps) = split(ours);
        let (_, pipe) = split(theirs);
        let mut ordered = Ordered { pipe, next: 0, early: BTreeMap::new() };
        let answer = |offset, bytes: &'static [u8]| Answer {
            session: None,
            offset,
            bytes: Bytes::from_static(bytes),
            over: false,
        };
        for (offset, bytes) in [(3, &b"lo"[..]), (5, b""), (0, b"hel"), (5, b"!")] {
            ordered.take(answer(offset, bytes)).await.unwrap();
        }
        let mut said = [0; 6];
        reads.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"hello!");
    }
}
