//! Decides how packets lie in a stream: four bytes of length, big-endian, then CBOR; and what is refused while reading.
//!
//! Used by the link's reader and writer only. A length is believed only as far as bytes have really arrived.

use crate::frame::{Outgoing, Packet};
use bytes::{Buf, BytesMut};
use futures::{AsyncRead, AsyncReadExt};
use hansa_core::code::{Code, Fault};
use serde::Serialize;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Bytes of the length before a packet.
const PREFIX_BYTES: usize = 4;
/// How much room is made ahead of what has arrived.
const CHUNK_BYTES: usize = 64 * 1024;
/// Nesting of a packet's CBOR.
const DEPTH_MAX: usize = 32;

/// Why no further packet can be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The peer ended the stream between two packets.
    End,
    /// The stream broke.
    Broken(io::Error),
    /// What arrived is no packet.
    Wrong(Fault),
}

/// Reads packets.
pub(super) struct PacketReader<R> {
    stream: R,
    arrived: BytesMut,
    chunk: Box<[u8]>,
    /// Bytes that a packet may have.
    pub(super) bytes_max: usize,
    /// Grows whenever anything comes.
    pub(super) heard: Arc<AtomicU64>,
}

impl<R: AsyncRead + Unpin> PacketReader<R> {
    pub(super) fn new(stream: R, bytes_max: usize) -> Self {
        Self {
            stream,
            arrived: BytesMut::new(),
            chunk: vec![0; CHUNK_BYTES].into_boxed_slice(),
            bytes_max,
            heard: Arc::default(),
        }
    }

    /// The next packet, and how many bytes it took.
    pub(super) async fn next(&mut self) -> Result<(Packet, usize), Unreadable> {
        while self.arrived.len() < PREFIX_BYTES {
            self.fill().await?;
        }
        let length =
            u32::from_be_bytes(self.arrived[..PREFIX_BYTES].try_into().expect("four bytes are there")) as usize;
        if length > self.bytes_max {
            let message = format!("a packet of {length} bytes was announced, and {} are the most", self.bytes_max);
            return Err(Unreadable::Wrong(Fault::new(Code::FrameRefused, message)));
        }
        while self.arrived.len() < PREFIX_BYTES + length {
            self.fill().await?;
        }
        self.arrived.advance(PREFIX_BYTES);
        let bytes = self.arrived.split_to(length);
        let packet = decode(&bytes).map_err(Unreadable::Wrong)?;
        Ok((packet, PREFIX_BYTES + length))
    }

    async fn fill(&mut self) -> Result<(), Unreadable> {
        match self.stream.read(&mut self.chunk).await {
            Ok(0) if self.arrived.is_empty() => Err(Unreadable::End),
            Ok(0) => Err(Unreadable::Broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(length) => {
                self.heard.fetch_add(1, Relaxed);
                self.arrived.extend_from_slice(&self.chunk[..length]);
                Ok(())
            }
            Err(error) => Err(Unreadable::Broken(error)),
        }
    }

    /// Read and forget until the peer ends the stream.
    pub(super) async fn drain(&mut self) {
        while let Ok(1..) = self.stream.read(&mut self.chunk).await {}
    }
}

fn decode(bytes: &[u8]) -> Result<Packet, Fault> {
    let mut rest = bytes;
    let wrong =
        |what: &str| Fault::new(Code::FrameRefused, format!("what arrived is no packet of this protocol{what}"));
    let packet = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX).map_err(|_| wrong(""))?;
    if !rest.is_empty() {
        return Err(wrong(": more follows after its end"));
    }
    if matches!(&packet, Packet::Frame(frame) if !frame.within_limits()) {
        return Err(wrong(": it carries more than the limit"));
    }
    Ok(packet)
}

/// Append `packet` with its length, and say how many bytes that took.
pub(super) fn encode(packet: &Packet, buffer: &mut Vec<u8>) -> usize {
    append(packet, buffer)
}

/// Append a part of a duty message, without a copy in between.
pub(super) fn encode_duty(part: &[u8], last: bool, buffer: &mut Vec<u8>) -> usize {
    append(&Outgoing::Duty { part: serde_bytes::Bytes::new(part), last }, buffer)
}

fn append(packet: &impl Serialize, buffer: &mut Vec<u8>) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; PREFIX_BYTES]);
    ciborium::into_writer(packet, &mut *buffer).expect("encoding into memory cannot fail");
    let length = buffer.len() - start - PREFIX_BYTES;
    let prefix = u32::try_from(length).expect("packets are checked against their limit before").to_be_bytes();
    buffer[start..start + PREFIX_BYTES].copy_from_slice(&prefix);
    PREFIX_BYTES + length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, PACKET_BYTES_MAX};
    use futures::io::Cursor;

    async fn read(bytes: &[u8]) -> Result<(Packet, usize), Unreadable> {
        PacketReader::new(Cursor::new(bytes), PACKET_BYTES_MAX).next().await
    }

    #[tokio::test]
    async fn packets_come_back_in_order_and_then_the_end() {
        let packets = [
            Packet::Open { link: 7 },
            Packet::Frame(Frame::Position { accepted_through: 9 }),
            Packet::Grant { frames: 1, bytes: 2 },
        ];
        let mut bytes = Vec::new();
        let lengths = packets.each_ref().map(|packet| encode(packet, &mut bytes));
        let mut reader = PacketReader::new(Cursor::new(&bytes), PACKET_BYTES_MAX);
        for (packet, length) in packets.into_iter().zip(lengths) {
            assert_eq!(reader.next().await.unwrap(), (packet, length));
        }
        assert!(matches!(reader.next().await, Err(Unreadable::End)));
    }

    // Invariant 5: nothing is allocated by what a length claims.
    #[tokio::test]
    async fn a_length_is_neither_believed_nor_exceeded() {
        let announced = [&0x0130_0000_u32.to_be_bytes()[..], b"short"].concat();
        let mut reader = PacketReader::new(Cursor::new(&announced), PACKET_BYTES_MAX);
        assert!(matches!(reader.next().await, Err(Unreadable::Broken(_))));
        assert!(reader.arrived.capacity() < 2 * CHUNK_BYTES);
        let oversized = read(&(PACKET_BYTES_MAX as u32 + 1).to_be_bytes()).await;
        assert!(matches!(oversized, Err(Unreadable::Wrong(fault)) if fault.message.contains("20971521")));
    }

    #[tokio::test]
    async fn garbage_trailing_bytes_and_deep_nesting_are_no_packets() {
        let framed = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
        let mut trailing = Vec::new();
        ciborium::into_writer(&Packet::Superseded, &mut trailing).unwrap();
        trailing.push(0);
        // An array of 2^60 entries, and arrays within arrays.
        let endless = [0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0];
        for bytes in [&b"garbage"[..], &trailing, &endless, &[0x81; 100_000], &[]] {
            assert!(matches!(read(&framed(bytes)).await, Err(Unreadable::Wrong(_))));
        }
    }
}
