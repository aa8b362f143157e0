//! Decides how frames and duty messages go over a link: one task reads, one writes, and the session hands what came to the node.
//!
//! The reader never waits for the node, because a peer cannot send more than the windows before the node has taken it; so
//! grants and farewells are always heard, however slow the node is. Frames and duty messages go separate ways to the node: the
//! latter are told where they are read.

use super::{
    attendance::Item,
    ledger::Ledger,
    queue::{Closing, Queue},
    wire::{PacketReader, Unreadable, encode, encode_duty},
};
use crate::{
    event::{Attend, DutyEvent, Event},
    frame::{FRAMES, PACKET_BYTES_MAX, Packet, readable},
    shared::{Link, Shared},
};
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use hansa_core::code::{Code, Fault};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Bytes that are collected before they are written.
const BATCH_BYTES: usize = 256 * 1024;
/// After so long without anything to send, a side says that it is there.
const HERE_INTERVAL: Duration = Duration::from_secs(1);
/// In how many steps silence is noticed.
const SILENCE_STEPS: u32 = 4;
/// How long the last packet may take to go out.
pub(super) const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// What the swarm loop gives a session whose link it accepted.
pub(crate) struct Opening {
    pub(crate) link: Arc<Link>,
    /// What the link has to tell the node about frames.
    pub(crate) items: Items,
    /// Resolves when the node has been told everything about duties of the link that this one replaces. About frames, the
    /// items say so.
    pub(crate) previous: Option<oneshot::Receiver<()>>,
    /// Dropped when the node has been told the same of this one.
    pub(crate) finished: oneshot::Sender<()>,
}

/// See [`Opening`].
pub(crate) struct Items(pub(super) mpsc::UnboundedReceiver<Item>);

/// The ways to the node.
pub(super) struct Told {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) duties: Arc<dyn Attend>,
}

/// The node does not listen any more.
struct Deaf;

/// What came over a link and has not been told yet.
struct Arriving {
    link: Arc<Link>,
    shared: Arc<Shared>,
    frames: Arc<Ledger>,
    duties: Arc<Ledger>,
    attendant: Arc<dyn Attend>,
    /// The message whose last part has not come yet.
    part: Vec<u8>,
}

/// Carry frames and messages until the link ends. Tells `ended` when the stream is done, which may be before the node has
/// taken all.
pub(super) async fn run<R, W>(
    opening: Opening,
    mut reader: PacketReader<R>,
    writer: W,
    shared: Arc<Shared>,
    told: Told,
    ended: impl Future<Output = ()> + Send + 'static,
) where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let Opening { link, items, previous, finished } = opening;
    reader.bytes_max = PACKET_BYTES_MAX;
    let queue = Arc::clone(&link.queue);
    let frames = Arc::new(Ledger::new(FRAMES, Arc::clone(&queue)));
    let duties = Arc::new(Ledger::new(queue.limits().window, Arc::clone(&queue)));
    let reading = tokio::spawn({
        let (link, frames, duties) = (Arc::clone(&link), Arc::clone(&frames), Arc::clone(&duties));
        let attendant = told.duties;
        let mut arriving = Arriving { link, shared, frames, duties, attendant, part: Vec::new() };
        async move {
            if let Some(previous) = previous {
                // An error as well means that the previous session is over.
                let _ = previous.await;
            }
            let link = Arc::clone(&arriving.link);
            arriving.tell_up();
            let (heard, silence_max) = (Arc::clone(&reader.heard), link.silence_max);
            tokio::select! {
                () = silence(&heard, silence_max) => {
                    let silent = format!("nothing was heard of the peer for {} s", silence_max.as_secs_f32());
                    link.queue.close(Closing::silent(silent));
                }
                closing = arriving.read(&mut reader) => link.queue.close(closing),
                _ = link.queue.closed() => {}
            }
            // Behind everything that came.
            arriving.shared.ended(&link);
            arriving.attendant.attend(DutyEvent::PairDown { subnode: link.subnode });
            drop(finished);
        }
    });
    let writing = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move {
            if let Err(error) = write(writer, &queue, &frames, &duties).await {
                queue.close(Closing::silent(format!("the connection broke: {error}")));
            }
        }
    });
    let watching = tokio::spawn(watch(Arc::clone(&queue), writing, ended));
    if tell(&link, &told.events, items.0).await.is_err() {
        queue.close(Closing::silent("the node stops"));
    }
    let _ = reading.await;
    let _ = watching.await;
}

/// Resolves when nothing was heard for about that long. In steps, so that a pause of this process is not taken for the peer's.
async fn silence(heard: &AtomicU64, silence_max: Duration) {
    let (mut before, mut steps) = (heard.load(Relaxed), 0);
    while steps < SILENCE_STEPS {
        sleep(silence_max / SILENCE_STEPS).await;
        let now = heard.load(Relaxed);
        steps = if now == before { steps + 1 } else { 0 };
        before = now;
    }
}

/// Tell the node everything about frames, between the link's coming up and its going down, perhaps several times.
async fn tell(link: &Link, events: &mpsc::Sender<Event>, mut items: mpsc::UnboundedReceiver<Item>) -> Result<(), Deaf> {
    let (organization, subnode) = (link.organization, link.subnode);
    let mut up = None;
    loop {
        let event = tokio::select! {
            item = items.recv() => match item {
                Some(Item::Up { previous, finished }) => {
                    if let Some(previous) = previous {
                        // An error as well means that the previous link is down.
                        let _ = previous.await;
                    }
                    link.attendance.told();
                    up = Some(finished);
                    link.up()
                }
                Some(Item::Frame(frame, credit)) => Event::Arrived { organization, subnode, frame, credit },
                Some(Item::Down(reason)) => Event::PeerDown { organization, subnode, reason },
                None => return Ok(()),
            },
            () = link.queue.writable.notified() => Event::Writable { organization },
        };
        let is_down = matches!(event, Event::PeerDown { .. });
        events.send(event).await.map_err(|_| Deaf)?;
        if is_down {
            drop(up.take());
        }
    }
}

/// Once the link is closed, let the last packet go out, and say that the stream is done.
async fn watch(queue: Arc<Queue>, mut writing: JoinHandle<()>, ended: impl Future<Output = ()>) {
    queue.closed().await;
    if timeout(FAREWELL_MAX, &mut writing).await.is_err() {
        writing.abort();
    }
    ended.await;
}

impl Arriving {
    fn tell_up(&self) {
        let (subnode, organization, address) = (self.link.subnode, self.link.organization, self.link.address.clone());
        self.attendant.attend(DutyEvent::PairUp { subnode, organization, address });
    }

    /// Read until there is a reason to stop.
    async fn read<R: AsyncRead + Unpin>(&mut self, reader: &mut PacketReader<R>) -> Closing {
        loop {
            match reader.next().await {
                Ok((packet, bytes)) => {
                    if let Err(closing) = self.take(packet, bytes) {
                        return closing;
                    }
                }
                Err(Unreadable::End) => return Closing::silent("the peer closed the link"),
                Err(Unreadable::Broken(error)) => return Closing::silent(format!("the connection broke: {error}")),
                Err(Unreadable::Wrong(fault)) => return refusal(fault),
            }
        }
    }

    fn take(&mut self, packet: Packet, bytes: usize) -> Result<(), Closing> {
        let refuse = |what: &str| Err(refusal(Fault::new(Code::FrameRefused, what)));
        let beyond = "the peer sent more than it was granted";
        let Self { link, shared, .. } = &*self;
        let queue = &link.queue;
        match packet {
            Packet::Frame(frame) => {
                queue.counts.frames_in.fetch_add(1, Relaxed);
                queue.counts.bytes_in.fetch_add(bytes as u64, Relaxed);
                let Some(credit) = self.frames.arrived(bytes) else { return refuse(beyond) };
                if !link.attendance.arrived(frame, credit) {
                    shared.counts.frames_dropped.fetch_add(1, Relaxed);
                }
            }
            Packet::Duty { part, last } => {
                queue.counts.bytes_in.fetch_add(bytes as u64, Relaxed);
                return self.take_part(part.into_vec(), last, bytes);
            }
            Packet::Grant { frames, bytes } => {
                if !queue.grant(frames, bytes) {
                    return refuse("the peer granted more than it was sent");
                }
            }
            Packet::DutyGrant { parts, bytes } => {
                if !queue.grant_duty(parts, bytes) {
                    return refuse("the peer granted more than it was sent");
                }
            }
            Packet::Serving { epoch } => shared.on_serving(link, epoch),
            Packet::Attend { round } => shared.on_attend(link, round),
            Packet::Here => {}
            Packet::Begin { round } => link.attendance.peer_begins(round),
            Packet::Goodbye => return Err(Closing::silent("the peer stopped")),
            Packet::Superseded => return Err(Closing::silent("the peer has another link with this node")),
            Packet::Refuse(fault) => {
                return Err(Closing::silent(format!("the peer refused this node: {}", readable(fault))));
            }
            _ => return refuse("the peer sent a packet that does not belong on a link that is up"),
        }
        Ok(())
    }

    /// Put a message together, and hand it on when it is whole.
    fn take_part(&mut self, part: Vec<u8>, last: bool, bytes: usize) -> Result<(), Closing> {
        let refuse = |what: &str| Err(refusal(Fault::new(Code::FrameRefused, what)));
        let beyond = "the peer sent more of a duty message than it was granted";
        if self.part.len() + part.len() > self.link.queue.limits().message_bytes {
            return refuse("the peer sent a larger duty message than it may");
        }
        let is_whole = last && self.part.is_empty();
        let credit = match (is_whole, last) {
            (true, _) => self.duties.arrived(bytes),
            (false, true) => self.duties.arrived_last_part(bytes),
            (false, false) => {
                if part.is_empty() {
                    return refuse("the peer sent an empty part of a duty message");
                }
                if !self.duties.arrived_part(bytes) {
                    return refuse(beyond);
                }
                self.part.extend_from_slice(&part);
                return Ok(());
            }
        };
        let Some(credit) = credit else { return refuse(beyond) };
        let message = if is_whole {
            part
        } else {
            let mut message = std::mem::take(&mut self.part);
            message.extend_from_slice(&part);
            message
        };
        let (subnode, organization) = (self.link.subnode, self.link.organization);
        self.attendant.attend(DutyEvent::Told { subnode, organization, bytes: message, credit });
        Ok(())
    }
}

fn refusal(fault: Fault) -> Closing {
    Closing { reason: fault.to_string(), last: Some(Packet::Refuse(fault)) }
}

/// Write what the peer has room for, what it may send more, and at the end the farewell.
async fn write<W: AsyncWrite + Unpin>(
    mut writer: W,
    queue: &Queue,
    frames: &Ledger,
    duties: &Ledger,
) -> io::Result<()> {
    let mut batch = Vec::new();
    loop {
        if let Some((frames, bytes)) = frames.due() {
            encode(&Packet::Grant { frames, bytes }, &mut batch);
        }
        if let Some((parts, bytes)) = duties.due() {
            encode(&Packet::DutyGrant { parts, bytes }, &mut batch);
        }
        while batch.len() < BATCH_BYTES {
            if let Some(word) = queue.pop_word() {
                encode(&word, &mut batch);
            } else if let Some((part, last)) = queue.pop_duty() {
                queue.sent_duty(encode_duty(&part, last, &mut batch));
            } else if let Some(frame) = queue.pop() {
                queue.sent(encode(&Packet::Frame(frame), &mut batch));
            } else {
                break;
            }
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
        } else if timeout(HERE_INTERVAL, queue.work.notified()).await.is_err() {
            encode(&Packet::Here, &mut batch);
        }
    }
}
