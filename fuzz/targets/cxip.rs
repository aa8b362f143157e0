//! Whatever bytes come over a CXIP connection: however they are cut, the same messages come out, and each of them, written
//! and read again, is itself. Run by `.ci/fuzz`.
//!
//! An input whose first byte is a message type (1 to 8) is one message with the rest as its content, so that the fuzzer
//! need not guess lengths. One whose first byte is 9 to 15 is the same for the types 1 to 7, with the content in fragments
//! of a size that the second byte says. Any other first byte says how the rest is cut.

#![no_main]

use bytes::BytesMut;
use hansa_sdk::cxip::{Assembly, Frame, Framing, HEADER_BYTES, Header, Kind, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let frames = match first {
        1..=8 => message(first, rest),
        9..=15 => {
            let Some((&size, content)) = rest.split_first() else { return };
            let whole = message(first - 8, content);
            assert_eq!(whole, in_fragments(first - 8, content, usize::from(size) + 1), "fragments make a difference");
            whole
        }
        cut => {
            let whole = arrived(rest, usize::MAX);
            assert_eq!(whole, arrived(rest, usize::from(cut % 64).max(1)), "cuts make a difference");
            whole.0
        }
    };
    for frame in frames {
        again(&frame);
    }
});

fn header(kind: u8, number: u64, more: bool, content: &[u8]) -> [u8; HEADER_BYTES] {
    let kind = Kind::from_number(kind).expect("it is 1 to 8");
    let content_bytes = u32::try_from(content.len()).expect("inputs are short");
    Header { kind, number, correlation: 3, more, content_bytes, credit: 5 }.encode()
}

/// What one message of this type with this content is read as.
fn message(kind: u8, content: &[u8]) -> Vec<Frame> {
    arrived(&[&header(kind, 7, false, content), content].concat(), usize::MAX).0
}

/// The same in fragments of so many bytes, between which other messages come.
fn in_fragments(kind: u8, content: &[u8], size: usize) -> Vec<Frame> {
    let (mut bytes, mut number, mut rest) = (Vec::new(), 7, content);
    loop {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        bytes.extend_from_slice(&header(kind, 7, !after.is_empty(), piece));
        bytes.extend_from_slice(piece);
        number += 1;
        bytes.extend_from_slice(&header(Kind::Acknowledge as u8, number, false, &[]));
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    let (mut frames, refused) = arrived(&bytes, usize::MAX);
    assert_eq!(refused, None, "they are fragments as the protocol wants them");
    let all = frames.len();
    frames.retain(|frame| frame.header.kind != Kind::Acknowledge);
    assert_eq!((all - frames.len()) as u64, number - 7, "what comes between them is lost");
    for frame in &mut frames {
        // The header that is shown is the last fragment's.
        frame.header.content_bytes = content.len() as u32;
    }
    frames
}

/// The messages in `bytes` when they come `cut` at a time, and why there are no more.
fn arrived(bytes: &[u8], cut: usize) -> (Vec<Frame>, Option<Framing>) {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    // Fragments of a message may lie between those of others.
    let mut assembly = Assembly::default();
    for piece in bytes.chunks(cut.min(bytes.len().max(1))) {
        buffer.extend_from_slice(piece);
        loop {
            match assembly.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(framing) => return (frames, Some(framing)),
            }
        }
    }
    assert!(buffer.len() <= bytes.len(), "nothing is made of nothing");
    (frames, None)
}

/// A message that was understood says the same when it is written and read again.
fn again(frame: &Frame) {
    let Ok(message) = &frame.message else { return };
    let Header { number, correlation, credit, .. } = frame.header;
    let mut buffer = BytesMut::new();
    encode(&mut buffer, number, correlation, credit, message).expect("what was read can be written");
    let read = Assembly::default().decode(&mut buffer).expect("it is a message").expect("it is whole");
    assert!(buffer.is_empty());
    assert_eq!((read.header.kind, read.header.number), (frame.header.kind, number));
    assert_eq!((read.header.correlation, read.header.credit), (correlation, credit));
    assert_eq!(read.message.as_ref(), Ok(message));
}
