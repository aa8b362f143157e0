//! Whatever bytes come over a CXIP connection: however they are cut, the same messages come out, and each of them, written
//! and read again, is itself. Run by `.ci/fuzz`.
//!
//! An input whose first byte is a message type (1 to 8) is one message with the rest as its content, so that the fuzzer
//! need not guess lengths; any other first byte says how the rest is cut.

#![no_main]

use bytes::BytesMut;
use hansa_sdk::cxip::{Assembly, Frame, Framing, Header, Kind, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let (frames, _) = match Kind::from_number(first) {
        Some(kind) => {
            let content_bytes = u32::try_from(rest.len()).expect("inputs are short");
            let header = Header { kind, number: 7, correlation: 3, more: false, content_bytes, credit: 5 };
            arrived(&[&header.encode(), rest].concat(), usize::MAX)
        }
        None => {
            let whole = arrived(rest, usize::MAX);
            assert_eq!(whole, arrived(rest, usize::from(first % 64).max(1)), "cuts make a difference");
            whole
        }
    };
    for frame in frames {
        again(&frame);
    }
});

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
