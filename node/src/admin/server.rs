//! The administration socket: who may open it, how much it takes at once, and how long it waits for anybody.
//!
//! `commands::run` starts it. It knows the protocol, and of the node only the [`Administration`] that it is given.

use super::{
    Administration,
    protocol::{Reply, Request},
};
use crate::admin;
use crate::shutdown::Shutdown;
use hansa_core::{
    code::{Code, Fault},
    limit,
};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(600);
/// How long a line that has begun, or an answer, may take to get through.
const TRANSFER: Duration = Duration::from_secs(30);

/// The bound socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Socket {
    /// Bind to `path`. A socket that a dead process left there is replaced; one that somebody answers at is not.
    ///
    /// # Errors
    /// [`Code::DataInUse`] if somebody answers there, [`Code::DataPermissions`] if others could reach it.
    pub async fn bind(path: &Path) -> Result<Self, Fault> {
        let cannot = |error: io::Error| {
            Fault::new(Code::DataMissing, format!("no socket can be made at '{}': {error}", path.display()))
                .help("name another path with admin.socket, in a folder in which you may write")
        };
        if let Some(folder) = path.parent()
            && !folder.exists()
        {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cannot)?;
        }
        // Whoever could enter the folder could put a socket of his own there.
        if let Some(metadata) = path.parent().and_then(|folder| fs::metadata(folder).ok())
            && metadata.uid() != rustix::process::geteuid().as_raw()
        {
            return Err(Fault::new(
                Code::DataPermissions,
                format!("the folder of '{}' belongs to another user", path.display()),
            )
            .help("name another path with admin.socket, in a folder of your own"));
        }
        if UnixStream::connect(path).await.is_ok() {
            return Err(Fault::new(Code::DataInUse, format!("another node answers at '{}'", path.display()))
                .help("stop it with `hansa stop`, or name another path with admin.socket"));
        }
        match fs::symlink_metadata(path) {
            Ok(metadata) if is_socket(&metadata) => fs::remove_file(path).map_err(cannot)?,
            Ok(_) => return Err(cannot(io::Error::other("there is something else that is no socket"))),
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(cannot)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(cannot)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answer until `shutdown`. Requests that are being answered then are given up.
    pub async fn serve<A: Administration>(self, administration: Arc<A>, shutdown: Shutdown) {
        let room = Arc::new(Semaphore::new(limit::ADMIN_CONNECTIONS_MAX));
        let large = Arc::new(Semaphore::new(limit::ADMIN_LINES_LARGE_MAX));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let stream = tokio::select! {
                () = shutdown.triggered() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "the administration socket cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let permit = room.clone().try_acquire_owned();
            let connection =
                Connection { administration: administration.clone(), shutdown: shutdown.clone(), large: large.clone() };
            connections.spawn(async move {
                match permit {
                    Ok(_permit) => connection.converse(stream).await,
                    Err(_) => refuse(stream).await,
                }
            });
        }
        // The answer to `stop` itself is on its way through one of these.
        let drained = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(Duration::from_millis(200), drained).await;
    }
}

fn is_socket(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    metadata.file_type().is_socket()
}

async fn refuse(mut stream: UnixStream) {
    let message = format!("{} connections are open already", limit::ADMIN_CONNECTIONS_MAX);
    let _ = send(&mut stream, &Reply::<()>::Fault(Fault::new(Code::Busy, message))).await;
}

struct Connection<A> {
    administration: Arc<A>,
    shutdown: Shutdown,
    large: Arc<Semaphore>,
}

impl<A: Administration> Connection<A> {
    async fn converse(self, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        loop {
            let (line, _permit) = match read_line(&mut read, &self.large).await {
                Ok(Some(line)) => line,
                Ok(None) => return,
                Err(fault) => {
                    // Where the next line begins is no longer known.
                    let _ = send(&mut write, &Reply::<()>::Fault(fault)).await;
                    return;
                }
            };
            let reply = match admin::read(&line) {
                Ok(request) => {
                    if matches!(request, Request::Stop) {
                        tracing::info!("stopping, as asked over the administration socket");
                        self.shutdown.trigger();
                    }
                    admin::reply(&*self.administration, request).await
                }
                Err(fault) => Reply::Fault(fault),
            };
            if send(&mut write, &reply).await.is_err() {
                return;
            }
        }
    }
}

async fn send<T: serde::Serialize>(
    stream: &mut (impl tokio::io::AsyncWrite + Unpin),
    reply: &Reply<T>,
) -> io::Result<()> {
    let mut line = admin::write(reply).into_bytes();
    line.push(b'\n');
    timeout(TRANSFER, stream.write_all(&line)).await.map_err(io::Error::other)?
}

/// The next line without its end, and the permit that a large one holds. `None` when the other side has closed.
async fn read_line(
    read: &mut (impl AsyncBufRead + Unpin),
    large: &Arc<Semaphore>,
) -> Result<Option<(Vec<u8>, Option<OwnedSemaphorePermit>)>, Fault> {
    match timeout(IDLE, read.fill_buf()).await {
        Ok(Ok(bytes)) if !bytes.is_empty() => {}
        _ => return Ok(None),
    }
    let rest = async {
        let mut line = Vec::new();
        let mut permit = None;
        loop {
            let Ok(bytes) = read.fill_buf().await else { return Ok(None) };
            if bytes.is_empty() {
                // The last line need not have an end.
                return Ok((!line.is_empty()).then_some((line, permit)));
            }
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let taken = end.unwrap_or(bytes.len());
            if line.len() + taken > limit::ADMIN_LINE_BYTES_MAX {
                let message = format!("a request has more than {} bytes", limit::ADMIN_LINE_BYTES_MAX);
                return Err(Fault::new(Code::MessageTooLarge, message));
            }
            line.extend_from_slice(&bytes[..taken]);
            read.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(Some((line, permit)));
            }
            if line.len() > limit::ADMIN_LINE_BYTES_SMALL && permit.is_none() {
                permit = large.clone().acquire_owned().await.ok();
            }
        }
    };
    timeout(TRANSFER, rest).await.unwrap_or_else(|_| {
        Err(Fault::new(Code::MessageMalformed, format!("a request did not end within {} s", TRANSFER.as_secs()))
            .help("send the whole line at once, with a newline at its end"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::pretended::Pretended;
    use crate::admin::{
        client::Client,
        protocol::{Stopping, Submitted},
    };

    struct Running {
        _folder: tempfile::TempDir,
        path: PathBuf,
        shutdown: Shutdown,
        task: tokio::task::JoinHandle<()>,
    }

    async fn running() -> Running {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let shutdown = Shutdown::new();
        let socket = Socket::bind(&path).await.unwrap();
        let task = tokio::spawn(socket.serve(Arc::new(Pretended), shutdown.clone()));
        Running { _folder: folder, path, shutdown, task }
    }

    async fn say(stream: &mut BufReader<UnixStream>, line: &[u8]) -> String {
        stream.get_mut().write_all(line).await.unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn only_the_owner_can_open_the_socket_and_it_goes_when_the_node_stops() {
        let running = running().await;
        assert_eq!(fs::metadata(&running.path).unwrap().mode() & 0o777, 0o600);
        running.shutdown.trigger();
        running.task.await.unwrap();
        assert!(!running.path.exists());
    }

    #[tokio::test]
    async fn a_socket_left_by_a_dead_node_is_replaced_and_one_in_use_is_not() {
        let running = running().await;
        assert_eq!(Socket::bind(&running.path).await.unwrap_err().code, Code::DataInUse);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the file outlives its process");
        Socket::bind(&path).await.unwrap();
        fs::write(&path, "a file that matters to somebody").unwrap();
        Socket::bind(&path).await.unwrap_err();
        assert!(path.exists());
    }

    #[tokio::test]
    async fn each_line_is_answered_by_one_line_also_when_it_makes_no_sense() {
        let running = running().await;
        let mut stream = BufReader::new(UnixStream::connect(&running.path).await.unwrap());
        for nonsense in
            [&b"\n"[..], b"{\n", b"[]\n", b"{\"command\":\"fly\"}\n", b"\xff\xfe\n", b"{\"command\":\"show\"}\n"]
        {
            let answer = say(&mut stream, nonsense).await;
            assert!(answer.contains("\"message-malformed\"") && answer.ends_with('\n'), "{answer}");
        }
        let deep = format!("{}\n", "[".repeat(100_000));
        assert!(say(&mut stream, deep.as_bytes()).await.contains("message-malformed"));
        assert!(say(&mut stream, b"{\"command\":\"status\"}\n").await.starts_with("{\"ok\":{"));
    }

    #[tokio::test]
    async fn a_last_line_without_an_end_is_answered_too() {
        let running = running().await;
        let mut stream = BufReader::new(UnixStream::connect(&running.path).await.unwrap());
        stream.get_mut().write_all(b"{\"command\":\"services\"}").await.unwrap();
        stream.get_mut().shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        assert!(answer.starts_with("{\"ok\":["), "{answer}");
    }

    #[tokio::test]
    async fn a_large_document_passes_and_a_line_over_the_limit_is_refused() {
        let running = running().await;
        let document = format!("<a>{}</a>", "\"".repeat(1_000_000));
        let request = Request::Submit { definition: "d".parse().unwrap(), document, id: None };
        let mut client = Client::connect(&running.path).await.unwrap();
        client.ask::<Submitted>(&request).await.unwrap();

        let mut stream = BufReader::new(UnixStream::connect(&running.path).await.unwrap());
        let chunk = vec![b'x'; 1 << 20];
        // The server stops reading at the limit; its answer is there before the last write fails.
        for _ in 0..=limit::ADMIN_LINE_BYTES_MAX / chunk.len() {
            if stream.get_mut().write_all(&chunk).await.is_err() {
                break;
            }
        }
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        assert!(answer.contains("message-too-large"), "{answer}");
    }

    #[tokio::test]
    async fn connections_over_the_limit_are_told_so() {
        let running = running().await;
        let mut held = Vec::new();
        for _ in 0..limit::ADMIN_CONNECTIONS_MAX {
            let mut client = Client::connect(&running.path).await.unwrap();
            client.ask::<serde_json::Value>(&Request::Services).await.unwrap();
            held.push(client);
        }
        let mut stream = BufReader::new(UnixStream::connect(&running.path).await.unwrap());
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        assert!(answer.contains("\"busy\""), "{answer}");
    }

    #[tokio::test]
    async fn stop_is_answered_before_the_node_stops() {
        let running = running().await;
        let mut client = Client::connect(&running.path).await.unwrap();
        let stopping = client.ask::<Stopping>(&Request::Stop).await.unwrap();
        assert_eq!(stopping.pid, std::process::id());
        running.task.await.unwrap();
    }
}
