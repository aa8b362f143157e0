//! Decides how frames go over a link that is up: one task reads, one writes, and the session hands what came to the node.
//!
//! The reader never waits for the node, because a peer cannot send more than the window before the node has taken it; so
//! grants and farewells are always heard, however slow the node is.

use super::{
    queue::{Closing, Credit, Ledger, Queue},
    wire::{PacketReader, Unreadable, encode},
};
use crate::{
    event::Event,
    frame::{Frame, PACKET_BYTES_MAX, Packet, readable},
    shared::Link,
};
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use hansa_core::code::{Code, Fault};
use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

/// Bytes that are collected before they are written.
const BATCH_BYTES: usize = 256 * 1024;
/// How long the last packet may take to go out.
pub(super) const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// What the swarm loop gives a session whose link it accepted.
pub(crate) struct Opening {
    pub(crate) link: Arc<Link>,
    /// Resolves when the node has been told everything of the link that this one replaces.
    pub(crate) previous: Option<oneshot::Receiver<()>>,
    /// Dropped when the node has been told everything of this one.
    pub(crate) finished: oneshot::Sender<()>,
}

/// Carry frames until the link ends. Tells `ended` when the stream is done, which may be before the node has taken all.
pub(super) async fn run<R, W>(
    opening: Opening,
    mut reader: PacketReader<R>,
    writer: W,
    events: mpsc::Sender<Event>,
    ended: impl Future<Output = ()> + Send + 'static,
) where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let Opening { link, previous, finished } = opening;
    reader.bytes_max = PACKET_BYTES_MAX;
    let queue = Arc::clone(&link.queue);
    let ledger = Arc::new(Ledger::new(Arc::clone(&queue)));
    // Bounded by the window that the ledger keeps.
    let (arrived, mut arriving) = mpsc::unbounded_channel();
    let reading = tokio::spawn({
        let (queue, ledger) = (Arc::clone(&queue), Arc::clone(&ledger));
        async move {
            tokio::select! {
                closing = read(&mut reader, &queue, &ledger, &arrived) => queue.close(closing),
                _ = queue.closed() => {}
            }
        }
    });
    let writing = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move {
            if let Err(error) = write(writer, &queue, &ledger).await {
                queue.close(Closing::silent(format!("the connection broke: {error}")));
            }
        }
    });
    let watching = tokio::spawn(watch(Arc::clone(&queue), writing, ended));
    if let Some(previous) = previous {
        // An error as well means that the previous session is over.
        let _ = previous.await;
    }
    tell(&link, &events, &mut arriving).await;
    drop(finished);
    // The node does not listen any more, or everything ended by itself.
    queue.close(Closing::silent("the node stops"));
    reading.abort();
    let _ = watching.await;
}

/// Tell the node everything of the link, from its coming up to its going down.
async fn tell(link: &Link, events: &mpsc::Sender<Event>, arriving: &mut mpsc::UnboundedReceiver<(Frame, Credit)>) {
    let (organization, subnode) = (link.organization, link.subnode);
    if events.send(link.up()).await.is_err() {
        return;
    }
    loop {
        let event = tokio::select! {
            arrived = arriving.recv() => match arrived {
                Some((frame, credit)) => Event::Arrived { organization, subnode, frame, credit },
                None => break,
            },
            () = link.queue.writable.notified() => Event::Writable { organization },
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
    let reason = link.queue.closed().await.reason;
    let _ = events.send(Event::PeerDown { organization, subnode, reason }).await;
}

/// Once the link is closed, let the last packet go out, and say that the stream is done.
async fn watch(queue: Arc<Queue>, mut writing: JoinHandle<()>, ended: impl Future<Output = ()>) {
    queue.closed().await;
    if timeout(FAREWELL_MAX, &mut writing).await.is_err() {
        writing.abort();
    }
    ended.await;
}

/// Read until there is a reason to stop.
async fn read<R: AsyncRead + Unpin>(
    reader: &mut PacketReader<R>,
    queue: &Queue,
    ledger: &Arc<Ledger>,
    arrived: &mpsc::UnboundedSender<(Frame, Credit)>,
) -> Closing {
    let refuse = |what: &str| refusal(Fault::new(Code::FrameRefused, what));
    loop {
        match reader.next().await {
            Ok((Packet::Frame(frame), bytes)) => {
                queue.counts.frames_in.fetch_add(1, Relaxed);
                queue.counts.bytes_in.fetch_add(bytes as u64, Relaxed);
                let Some(credit) = ledger.arrived(bytes) else {
                    return refuse("the peer sent more than it was granted");
                };
                if arrived.send((frame, credit)).is_err() {
                    return Closing::silent("the node stops");
                }
            }
            Ok((Packet::Grant { frames, bytes }, _)) => {
                if !queue.grant(frames, bytes) {
                    return refuse("the peer granted more than it was sent");
                }
            }
            Ok((Packet::Goodbye, _)) => return Closing::silent("the peer stopped"),
            Ok((Packet::Superseded, _)) => return Closing::silent("the peer has another link with this node"),
            Ok((Packet::Refuse(fault), _)) => {
                return Closing::silent(format!("the peer refused this node: {}", readable(fault)));
            }
            Ok(_) => return refuse("the peer sent a packet that does not belong on a link that is up"),
            Err(Unreadable::End) => return Closing::silent("the peer closed the link"),
            Err(Unreadable::Broken(error)) => return Closing::silent(format!("the connection broke: {error}")),
            Err(Unreadable::Wrong(fault)) => return refusal(fault),
        }
    }
}

fn refusal(fault: Fault) -> Closing {
    Closing { reason: fault.to_string(), last: Some(Packet::Refuse(fault)) }
}

/// Write what the peer has room for, what it may send more, and at the end the farewell.
async fn write<W: AsyncWrite + Unpin>(mut writer: W, queue: &Queue, ledger: &Ledger) -> io::Result<()> {
    let mut batch = Vec::new();
    loop {
        if let Some((frames, bytes)) = ledger.due() {
            encode(&Packet::Grant { frames, bytes }, &mut batch);
        }
        while batch.len() < BATCH_BYTES
            && let Some(frame) = queue.pop()
        {
            queue.sent(encode(&Packet::Frame(frame), &mut batch));
        }
        if !batch.is_empty() {
            writer.write_all(&batch).await?;
            writer.flush().await?;
            queue.counts.bytes_out.fetch_add(batch.len() as u64, Relaxed);
            batch.clear();
            // One large frame must not hold its memory for as long as the link lives.
            batch.shrink_to(2 * BATCH_BYTES);
        } else if let Some(closing) = queue.closing() {
            if let Some(last) = &closing.last {
                encode(last, &mut batch);
                writer.write_all(&batch).await?;
                writer.flush().await?;
            }
            return writer.close().await;
        } else {
            queue.work.notified().await;
        }
    }
}
