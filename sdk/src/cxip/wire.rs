//! One end of a CXIP connection: frames in and out of a stream, message numbers, credit both ways, and finding out that
//! the other end is gone. Node, services and clients all drive one of these from one task; what messages mean is theirs.
//!
//! Everything that is sent between two waits travels in one write; everything that has come is read in one read. Large
//! messages wait beside the others and go out fragment by fragment, so that what is small overtakes them.
//!
//! Two ends never wait for each other for ever. An end stops reading only while more than [`UNSENT_BYTES_STALLED`] of its
//! Acknowledges wait, for everything else is held back long before; and Acknowledges are bounded by the credit granted.

use super::{
    Acknowledgement, Assembly, Budget, Frame, Framing, Message, Refusal, Unread, encode, encode_piece,
    fragments::Fragments,
};
use bytes::{Buf, BytesMut};
use hansa_core::{
    code::{Code, Fault},
    limit,
};
use std::{
    collections::{HashSet, VecDeque},
    fmt,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{Instant, Interval, MissedTickBehavior, timeout},
};

/// First and largest room that a read gets; it doubles while reads fill it.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 256 * 1024;
/// Above so much unsent, messages that can wait shall wait.
const UNSENT_BYTES_HIGH: usize = 256 * 1024;
/// Above so many bytes of large messages unsent, more of them shall wait.
const LARGE_BYTES_HIGH: usize = 2 * limit::CXIP_CONTENT_BYTES_MAX;
/// Below so much unsent, the next fragment is put behind it: what is small waits for no more than that.
const FILLED_BYTES: usize = limit::CXIP_FRAGMENT_BYTES_MAX;
/// How many fragments leave before others get their turn.
const FRAGMENTS_AT_ONCE: usize = 4;
/// Above so much unsent, nothing more is read: who does not take answers shall not ask.
const UNSENT_BYTES_STALLED: usize = 1024 * 1024;
/// A buffer that grew larger for a large message is given back afterwards.
const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// How long an end of a connection waits for the other side to take the last words.
const FAREWELL_MS_MAX: u64 = 1_000;

/// One end of a connection.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// Messages that go out in fragments, by turns. All have begun.
    large: VecDeque<Fragments>,
    large_bytes: usize,
    unflushed: bool,
    read_bytes: usize,
    /// The number of the last message sent.
    sent: u64,
    assembly: Assembly,
    /// The credit that this end grants, and the other side's messages that it has not answered.
    granted: u32,
    /// The largest that it ever granted: what was on its way when it granted less is no offence.
    granted_max: u32,
    owed: HashSet<u64>,
    /// This end's messages that the other side has not answered.
    unacknowledged: HashSet<u64>,
    /// Ticks when the other side should have been heard of.
    probe: Interval,
    probe_ms: u64,
    silence_ms_max: u64,
    /// Of the clock by which fragments are waited for, whatever the other one does.
    unticked_ms: u64,
    /// Whether the other side did not take more bytes when it was tried last.
    is_blocked: bool,
    heard: bool,
    silent_probes: u64,
}

/// What came over a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// A message; it waits for [`Wire::acknowledge`] or [`Wire::refuse`].
    Message {
        /// Its number.
        number: u64,
        /// The number of this end's message that it answers, or zero.
        correlation: u64,
        /// Its content.
        message: Message,
    },
    /// An answer came whose content cannot be read; it was refused already.
    Unread(Unread),
    /// A message of this end was taken.
    Acknowledged {
        /// Its number.
        message: u64,
        /// What came with it.
        acknowledgement: Acknowledgement,
    },
    /// A message of this end was refused.
    Refused {
        /// Its number; zero where the connection itself is refused.
        message: u64,
        /// Why.
        refusal: Refusal,
    },
}

/// Why a connection is over.
#[derive(Debug)]
pub enum Ended {
    /// The other side closed it.
    Closed,
    /// The other side showed no sign of life for too long.
    Silent,
    /// What came is no message; the other side has been told.
    Malformed(Fault),
    /// The network or the operating system ended it.
    Failed(io::Error),
}

impl fmt::Display for Ended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => out.write_str("the other side closed the connection"),
            Self::Silent => out.write_str("the other side showed no sign of life"),
            Self::Malformed(fault) => write!(out, "what came is no message: {fault}"),
            Self::Failed(error) => write!(out, "the connection failed: {error}"),
        }
    }
}

impl std::error::Error for Ended {}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// An end on `stream` that lets the other side have `granted` messages unacknowledged. Needs a tokio runtime with time.
    pub fn new(stream: S, granted: u32) -> Self {
        Self::within(Budget::default(), stream, granted)
    }

    /// The same, with a budget for what comes in fragments that other connections share.
    pub fn within(budget: Budget, stream: S, granted: u32) -> Self {
        let mut probe = tokio::time::interval(Duration::from_millis(limit::CXIP_PROBE_MS));
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            stream,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            large: VecDeque::new(),
            large_bytes: 0,
            unflushed: false,
            read_bytes: READ_BYTES_MIN,
            sent: 0,
            assembly: Assembly::within(budget),
            granted,
            granted_max: granted,
            owed: HashSet::new(),
            unacknowledged: HashSet::new(),
            probe,
            probe_ms: limit::CXIP_PROBE_MS,
            silence_ms_max: limit::CXIP_SILENCE_MS_MAX,
            unticked_ms: 0,
            is_blocked: false,
            // An interval ticks at once; that first one finds nothing amiss.
            heard: true,
            silent_probes: 0,
        }
    }

    /// Ask for a sign of life after `probe` without one, and take the other side for dead after `silence_max`, instead of the
    /// protocol's own times, which the other side keeps to. For whoever has somewhere else to go.
    pub fn watch(&mut self, probe: Duration, silence_max: Duration) {
        let milliseconds = |duration: Duration, most: u64| (duration.as_millis() as u64).clamp(1, most);
        self.probe_ms = milliseconds(probe, limit::CXIP_PROBE_MS);
        self.silence_ms_max = milliseconds(silence_max, limit::CXIP_SILENCE_MS_MAX);
        let probe = Duration::from_millis(self.probe_ms);
        self.probe = tokio::time::interval_at(Instant::now() + probe, probe);
        self.probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }

    /// The stream.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Whether the other side's credit and the room for unsent bytes admit a message now, of whatever size. Acknowledges
    /// need no credit.
    pub fn may_send(&self) -> bool {
        self.may_send_small() && self.large_bytes < LARGE_BYTES_HIGH && self.large.len() < limit::CXIP_FRAGMENTED_MAX
    }

    /// Whether they admit a message that is no larger than a fragment.
    pub fn may_send_small(&self) -> bool {
        self.unacknowledged.len() < self.assembly.credit() as usize && self.outgoing.len() < UNSENT_BYTES_HIGH
    }

    /// Whether messages of this end are neither acknowledged nor refused yet.
    pub fn is_waiting(&self) -> bool {
        !self.unacknowledged.is_empty()
    }

    /// Queue a message and say its number. It leaves at the next [`Wire::receive`].
    ///
    /// # Errors
    /// The message is larger than any may be.
    pub fn send(&mut self, correlation: u64, message: &Message) -> Result<u64, Fault> {
        let number = self.sent + 1;
        if let Some(large) = encode_piece(&mut self.outgoing, number, correlation, self.granted, message)? {
            // Numbers grow on the wire: it begins now, before anything with a greater one. Who asked whether it may be sent
            // finds no others in its way.
            while self.large.len() >= limit::CXIP_FRAGMENTED_MAX {
                self.fill();
            }
            self.put_fragment(large);
        }
        self.sent = number;
        self.unacknowledged.insert(number);
        Ok(number)
    }

    /// Say that a message was taken. One that was answered already is left alone.
    pub fn acknowledge(&mut self, message: u64, acknowledgement: Acknowledgement) {
        if self.owed.remove(&message) {
            self.put(message, &Message::Acknowledged(acknowledgement));
        }
    }

    /// Say that a message was refused. One that was answered already is left alone.
    pub fn refuse(&mut self, message: u64, fault: Fault) {
        if self.owed.remove(&message) {
            self.put_refused(message, fault);
        }
    }

    /// Refuse a message in these words, which may name a time after which to try again.
    pub fn refuse_with(&mut self, message: u64, refusal: Refusal) {
        if self.owed.remove(&message) {
            self.put(message, &Message::Refused(refusal));
        }
    }

    /// Refuse the connection itself, or whatever else is no message with a number.
    pub fn refuse_all(&mut self, fault: Fault) {
        self.put_refused(0, fault);
    }

    /// Grant another credit from now on, and say so. Zero asks the other side to send nothing more.
    pub fn grant(&mut self, granted: u32) {
        self.granted = granted;
        self.granted_max = self.granted_max.max(granted);
        self.put(0, &Message::Probe);
    }

    fn put_refused(&mut self, message: u64, fault: Fault) {
        let retry_after_ms = (fault.code == Code::Busy).then_some(limit::BUSY_RETRY_MS);
        self.put(message, &Message::Refused(Refusal { retry_after_ms, ..Refusal::new(fault) }));
    }

    fn put(&mut self, correlation: u64, acknowledge: &Message) {
        self.sent += 1;
        if let Err(fault) = encode(&mut self.outgoing, self.sent, correlation, self.granted, acknowledge) {
            // Only words can be so long; the code says enough.
            let brief = Message::Refused(Refusal::new(Fault::new(fault.code, "…")));
            encode(&mut self.outgoing, self.sent, correlation, self.granted, &brief)
                .expect("a few words fit in a message");
        }
    }

    /// Wait for what comes next, and send what is queued meanwhile. Dropped before it is ready, nothing is lost.
    ///
    /// What is wrong in itself is refused here and not shown: contents that mean nothing, but for what an answer among them was
    /// to answer, and messages beyond the credit.
    ///
    /// # Errors
    /// The connection is over; call [`Wire::finish`] so that the other side gets to hear the last words.
    pub async fn receive(&mut self) -> Result<Incoming, Ended> {
        loop {
            if let Some(incoming) = self.received()? {
                return Ok(incoming);
            }
            self.wait().await?;
        }
    }

    /// Wait until more bytes have come, and send what is queued meanwhile; then look with [`Wire::received`]. Dropped before
    /// it is ready, nothing is lost.
    ///
    /// # Errors
    /// As [`Wire::receive`].
    pub async fn wait(&mut self) -> Result<(), Ended> {
        give_back(&mut self.incoming);
        poll_fn(|context| self.turn(context)).await
    }

    /// What has come already and needs no waiting for. Whoever takes all of it before the next wait has its answers
    /// travel together.
    ///
    /// # Errors
    /// As [`Wire::receive`].
    pub fn received(&mut self) -> Result<Option<Incoming>, Ended> {
        loop {
            match self.assembly.decode(&mut self.incoming) {
                Ok(Some(frame)) => {
                    if let Some(incoming) = self.take_in(frame)? {
                        return Ok(Some(incoming));
                    }
                }
                Ok(None) => return Ok(None),
                Err(framing) => return Err(self.lost(framing)),
            }
        }
    }

    /// Send what is queued, tell the other side that nothing more comes, and wait a little for it to do the same, so that
    /// the last words are not lost to a reset.
    pub async fn finish(mut self) {
        let farewell = async {
            self.stream.write_all(&self.outgoing).await?;
            self.stream.shutdown().await?;
            let mut rest = (&mut self.stream).take(limit::CXIP_CONTENT_BYTES_MAX as u64);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
        };
        // Whether it is heard or not, the connection is over.
        let _ = timeout(Duration::from_millis(FAREWELL_MS_MAX), farewell).await;
    }

    fn take_in(&mut self, Frame { header, message, unread }: Frame) -> Result<Option<Incoming>, Ended> {
        let message = match message {
            Ok(Message::Probe) => {
                if header.correlation == 0 {
                    self.put(header.number, &Message::Probe);
                }
                return Ok(None);
            }
            Ok(Message::Acknowledged(acknowledgement)) => {
                let known = self.unacknowledged.remove(&header.correlation);
                return Ok(known.then_some(Incoming::Acknowledged { message: header.correlation, acknowledgement }));
            }
            Ok(Message::Refused(refusal)) => {
                let known = self.unacknowledged.remove(&header.correlation) || header.correlation == 0;
                self.cut(header.correlation);
                return Ok(known.then_some(Incoming::Refused { message: header.correlation, refusal }));
            }
            // An Acknowledge is not answered, so one that cannot be understood leaves both sides apart for good.
            Err(fault) if header.kind == super::Kind::Acknowledge => {
                return Err(self.lost(Framing { number: 0, fault }));
            }
            other => other,
        };
        let message = match message {
            Ok(message) if self.owed.len() < self.granted_max as usize => message,
            Ok(_) => {
                let words = format!("more than {} messages are unacknowledged", self.granted_max);
                self.put_refused(header.number, Fault::new(Code::CreditExceeded, words));
                return Ok(None);
            }
            Err(fault) => {
                self.put_refused(header.number, fault);
                return Ok(unread.map(Incoming::Unread));
            }
        };
        self.owed.insert(header.number);
        Ok(Some(Incoming::Message { number: header.number, correlation: header.correlation, message }))
    }

    /// A message was refused before all of it was sent: the rest can be spared, but for its end.
    fn cut(&mut self, number: u64) {
        if let Some(large) = self.large.iter_mut().find(|large| large.number() == number) {
            self.large_bytes -= large.bytes();
            large.cut();
        }
    }

    fn lost(&mut self, framing: Framing) -> Ended {
        self.put_refused(framing.number, framing.fault.clone());
        Ended::Malformed(framing.fault)
    }

    /// Ready when something was read; writes as long as nothing can be read, or when much is unsent.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        while self.probe.poll_tick(context).is_ready() {
            self.tick()?;
        }
        loop {
            if self.outgoing.len() >= UNSENT_BYTES_HIGH {
                self.write(context)?;
            }
            let reads = self.outgoing.len() < UNSENT_BYTES_STALLED;
            if reads && self.read(context)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            self.write(context)?;
            if reads || self.outgoing.len() >= UNSENT_BYTES_STALLED {
                return Poll::Pending;
            }
        }
    }

    fn read(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, Ended> {
        if self.incoming.capacity() - self.incoming.len() < self.read_bytes / 4 {
            self.incoming.reserve(self.read_bytes);
        }
        let room = self.incoming.capacity() - self.incoming.len();
        let read = pin!(self.stream.read_buf(&mut self.incoming));
        match read.poll(context) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Ok(0)) => Err(Ended::Closed),
            Poll::Ready(Ok(bytes)) => {
                self.heard = true;
                if bytes == room {
                    self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
                }
                Ok(Poll::Ready(()))
            }
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    /// Put the next fragment of a large message behind what is to be sent.
    fn fill(&mut self) {
        let Some(large) = self.large.pop_front() else { return };
        self.large_bytes -= large.bytes();
        self.put_fragment(large);
    }

    fn put_fragment(&mut self, mut large: Fragments) {
        if large.put(&mut self.outgoing, self.granted) {
            self.large_bytes += large.bytes();
            self.large.push_back(large);
        }
    }

    fn write(&mut self, context: &mut Context<'_>) -> Result<(), Ended> {
        let mut filled = 0;
        loop {
            if !self.large.is_empty() && self.outgoing.len() < FILLED_BYTES {
                if filled == FRAGMENTS_AT_ONCE {
                    context.waker().wake_by_ref();
                    return Ok(());
                }
                filled += 1;
                self.fill();
            }
            if self.outgoing.is_empty() {
                break;
            }
            let stalled = self.outgoing.len() >= UNSENT_BYTES_STALLED;
            match Pin::new(&mut self.stream).poll_write(context, &self.outgoing) {
                Poll::Pending => {
                    self.is_blocked = true;
                    return Ok(());
                }
                Poll::Ready(Ok(0)) => return Err(Ended::Closed),
                Poll::Ready(Ok(bytes)) => {
                    self.outgoing.advance(bytes);
                    self.unflushed = true;
                    // While nothing is read, that the other side takes bytes is its sign of life; and where the line was
                    // full, that there is room again is one, for what it was full of has arrived.
                    self.heard |= stalled || std::mem::take(&mut self.is_blocked);
                }
                Poll::Ready(Err(error)) => return Err(error.into()),
            }
        }
        give_back(&mut self.outgoing);
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(context) {
                Poll::Pending => (),
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Ended> {
        self.unticked_ms += self.probe_ms;
        if self.unticked_ms >= limit::CXIP_PROBE_MS {
            self.unticked_ms = 0;
            for number in self.assembly.tick() {
                let words = "its fragments did not come in time";
                self.put_refused(number, Fault::new(Code::MessageIncomplete, words));
            }
        }
        if std::mem::take(&mut self.heard) {
            self.silent_probes = 0;
            return Ok(());
        }
        self.silent_probes += 1;
        if self.silent_probes * self.probe_ms >= self.silence_ms_max {
            return Err(Ended::Silent);
        }
        self.put(0, &Message::Probe);
        Ok(())
    }
}

fn give_back(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > KEPT_BYTES_MAX {
        *buffer = BytesMut::new();
    }
}
