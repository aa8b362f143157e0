//! Decides when each byte of a delayed line goes on: in order, each after its own delay, without limiting throughput.
//!
//! Two delay lines run between a local pipe and the socket, one for each direction. Each reads as fast as its buffer has
//! room, stamps what it read with the moment at which it is due, and writes it on then.

use super::LineState;
use crate::random_u64;
use futures::{AsyncRead, AsyncWrite};
use hansa_core::dice::Dice;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until},
};

/// Bytes that may be under way in one direction: more than 600 Mbit/s at 100 ms.
const IN_FLIGHT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes that are read at once.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// The local end of a delayed line.
pub(super) struct Line(DuplexStream);

impl Line {
    /// Put a line between the caller and `socket`.
    pub(super) fn new(socket: TcpStream, state: Arc<LineState>) -> Self {
        let (near, far) = tokio::io::duplex(CHUNK_BYTES_MAX);
        let (from_socket, to_socket) = socket.into_split();
        let (from_caller, to_caller) = tokio::io::split(far);
        tokio::spawn(async move {
            tokio::select! {
                () = state.broken() => {}
                // Both directions run on after one has ended, as those of a TCP connection do.
                _ = async { tokio::join!(carry(from_caller, to_socket, &state), carry(from_socket, to_caller, &state)) } => {}
            }
        });
        Self(near)
    }
}

struct Chunk {
    bytes: Vec<u8>,
    due: Instant,
    _room: OwnedSemaphorePermit,
}

/// Carry bytes from `source` to `sink` until either ends.
async fn carry(
    mut source: impl tokio::io::AsyncRead + Unpin,
    mut sink: impl tokio::io::AsyncWrite + Unpin,
    state: &LineState,
) -> io::Result<()> {
    // The queue itself is bounded by the room that its chunks hold.
    let (queue, mut queued) = mpsc::unbounded_channel::<Chunk>();
    let room = Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX));
    let mut dice = Dice::new(random_u64());
    let read = async move {
        let mut buffer = vec![0; CHUNK_BYTES_MAX];
        let mut due_before = Instant::now();
        loop {
            let length = source.read(&mut buffer).await?;
            let count = u32::try_from(length).expect("a chunk is smaller than 4 GiB");
            let held = Arc::clone(&room).acquire_many_owned(count).await.map_err(io::Error::other)?;
            // Jitter must not let a byte overtake another.
            due_before = due_before.max(Instant::now() + state.delay(&mut dice));
            let chunk = Chunk { bytes: buffer[..length].to_vec(), due: due_before, _room: held };
            if queue.send(chunk).is_err() || length == 0 {
                return Ok::<_, io::Error>(());
            }
        }
    };
    let write = async move {
        while let Some(chunk) = queued.recv().await {
            sleep_until(chunk.due).await;
            if chunk.bytes.is_empty() {
                break;
            }
            sink.write_all(&chunk.bytes).await?;
        }
        sink.shutdown().await
    };
    tokio::try_join!(read, write).map(|_| ())
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let poll = tokio::io::AsyncRead::poll_read(Pin::new(&mut self.0), context, &mut buffer);
        poll.map_ok(|()| buffer.filled().len())
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(Pin::new(&mut self.0), context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_flush(Pin::new(&mut self.0), context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut self.0), context)
    }
}
