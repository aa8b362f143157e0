//! Fragments (T14): what is cut comes together again in whatever order, and what is hostile costs nothing that lasts.

use super::{Assembly, Budget, Frame, HEADER_BYTES, Header, Kind, Message, encode, tests::text};
use bytes::BytesMut;
use hansa_core::{
    code::{Code, Fault},
    ident::InvocationId,
    limit,
};
use proptest::{collection::vec, prelude::*};

fn answer(invocation: u128, bytes: usize) -> Message {
    let document = text(&format!("<a>{}</a>", "x".repeat(bytes)));
    Message::Completed { invocation: InvocationId(invocation), service: "s".parse().unwrap(), document }
}

/// The fragments of a message as somebody might cut it.
fn cut(number: u64, message: &Message, sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut whole = BytesMut::new();
    encode(&mut whole, number, 3, 8, message).unwrap();
    // What stands between the headers is the content.
    let (mut content, mut rest) = (Vec::new(), &whole[..]);
    while let Some(header) = Header::decode(rest).unwrap() {
        let end = HEADER_BYTES + header.content_bytes as usize;
        content.extend_from_slice(&rest[HEADER_BYTES..end]);
        rest = &rest[end..];
    }
    let (mut pieces, mut rest) = (Vec::new(), &content[..]);
    for size in sizes {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.extend(rest.chunks(limit::CXIP_FRAGMENT_BYTES_MAX));
    let last = pieces.len() - 1;
    let framed = pieces.into_iter().enumerate().map(|(place, piece)| {
        let kind = message.kind();
        let header =
            Header { kind, number, correlation: 3, more: place < last, content_bytes: piece.len() as u32, credit: 8 };
        [&header.encode()[..], piece].concat()
    });
    framed.collect()
}

fn fragment(number: u64, more: bool, content: &[u8]) -> BytesMut {
    let content_bytes = content.len() as u32;
    let header = Header { kind: Kind::Reply, number, correlation: 0, more, content_bytes, credit: 1 };
    BytesMut::from(&[&header.encode()[..], content].concat()[..])
}

fn refusal(frame: Option<Frame>) -> (u64, Code) {
    let frame = frame.expect("a refusal");
    (frame.header.number, frame.message.unwrap_err().code)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 48 } else { 2_000 }))]

    // T14: multiplexing in any order, any interleaving, any cut.
    #[test]
    fn messages_come_together_again_however_they_are_cut_and_mixed(
        messages in vec((0..200_000usize, vec(0..70_000usize, 0..4)), 1..8),
        order in vec(0..limit::CXIP_FRAGMENTED_MAX, 0..64),
        reads in vec(1..100_000usize, 1..16),
    ) {
        let sent: Vec<_> = messages.iter().enumerate().map(|(place, (bytes, _))| answer(place as u128, *bytes)).collect();
        let mut waiting: Vec<_> = sent
            .iter()
            .zip(&messages)
            .enumerate()
            .map(|(place, (message, (_, sizes)))| {
                let sizes: Vec<_> = sizes.iter().map(|size| (*size).min(limit::CXIP_FRAGMENT_BYTES_MAX)).collect();
                cut(place as u64 + 1, message, &sizes).into_iter()
            })
            .collect::<std::collections::VecDeque<_>>()
            .into();
        // As many as may be under way at once, each time one of them; a message begins after those of smaller numbers.
        let (mut stream, mut open, mut order) = (BytesMut::new(), Vec::new(), order.into_iter());
        waiting.reverse();
        loop {
            while open.len() < limit::CXIP_FRAGMENTED_MAX {
                let Some(mut next) = waiting.pop() else { break };
                stream.extend_from_slice(&next.next().unwrap());
                open.push(next);
            }
            if open.is_empty() {
                break;
            }
            let place = order.next().unwrap_or(0) % open.len();
            match open[place].next() {
                Some(piece) => stream.extend_from_slice(&piece),
                None => drop(open.remove(place)),
            }
        }
        let budget = Budget::new(limit::CXIP_ASSEMBLY_BYTES_MAX);
        let (mut assembly, mut arrived, mut got) = (Assembly::within(budget.clone()), BytesMut::new(), Vec::new());
        for bytes in reads.iter().cycle() {
            if stream.is_empty() {
                break;
            }
            arrived.extend_from_slice(&stream.split_to((*bytes).min(stream.len())));
            while let Some(frame) = assembly.decode(&mut arrived).unwrap() {
                got.push((frame.header.number, frame.message.unwrap()));
            }
        }
        got.sort_by_key(|(number, _)| *number);
        let expected: Vec<_> = sent.into_iter().enumerate().map(|(place, message)| (place as u64 + 1, message)).collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(budget.used(), 0);
    }

    // DESIGN invariants 5 and 6.
    #[test]
    fn hostile_fragments_neither_panic_nor_take_more_than_the_budget(
        fragments in vec((1..6u64, any::<bool>(), 1..=8u8, 0..70_000usize, any::<bool>()), 0..80),
    ) {
        let budget = Budget::new(300_000);
        let mut assembly = Assembly::within(budget.clone());
        for (number, more, kind, bytes, time) in fragments {
            let content_bytes = bytes.min(limit::CXIP_FRAGMENT_BYTES_MAX) as u32;
            let kind = Kind::from_number(kind).unwrap();
            let header = Header { kind, number, correlation: 0, more, content_bytes, credit: 1 };
            let mut bytes = BytesMut::from(&header.encode()[..]);
            bytes.resize(HEADER_BYTES + content_bytes as usize, b'<');
            if time {
                assembly.tick();
            }
            let decoded = assembly.decode(&mut bytes);
            prop_assert!(budget.used() <= 300_000);
            if decoded.is_err() {
                break;
            }
        }
        drop(assembly);
        prop_assert_eq!(budget.used(), 0);
    }
}

#[test]
fn many_connections_with_half_sent_messages_stay_within_one_budget_and_others_get_on() {
    let budget = Budget::new(limit::CXIP_ASSEMBLY_BYTES_MAX);
    let piece = vec![b'x'; limit::CXIP_FRAGMENT_BYTES_MAX];
    let mut connections: Vec<_> = (0..30).map(|_| Assembly::within(budget.clone())).collect();
    let mut refused = 0;
    for _ in 0..limit::CXIP_CONTENT_BYTES_MAX / piece.len() {
        for assembly in &mut connections {
            if let Some(frame) = assembly.decode(&mut fragment(1, true, &piece)).unwrap() {
                assert_eq!(frame.message.unwrap_err().code, Code::Busy);
                refused += 1;
            }
            assert!(budget.used() <= limit::CXIP_ASSEMBLY_BYTES_MAX);
        }
    }
    assert!((1..30).contains(&refused), "those that were refused make room for the others: {refused}");
    drop(connections);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_message_whose_fragments_do_not_come_is_given_up_and_its_rest_passed_over() {
    let budget = Budget::new(1 << 20);
    let mut assembly = Assembly::within(budget.clone());
    assert!(assembly.decode(&mut fragment(1, true, b"<a")).unwrap().is_none());
    let mut late = Vec::new();
    for _ in 0..=limit::CXIP_FRAGMENT_PROBES_MAX {
        assert!(late.is_empty());
        late = assembly.tick();
    }
    assert_eq!(late, [1]);
    assert_eq!(budget.used(), 0);
    assert!(assembly.tick().is_empty(), "it is said once");
    assert!(assembly.decode(&mut fragment(1, true, b"/")).unwrap().is_none());
    assert!(assembly.decode(&mut fragment(1, false, b">")).unwrap().is_none());
    assert_eq!(assembly.decode(&mut fragment(1, false, b">")).unwrap_err().fault.code, Code::MessageOutOfOrder);

    // One that trickles in is given up as well.
    let mut assembly = Assembly::within(budget);
    let mut ticks = 0;
    loop {
        assert!(assembly.decode(&mut fragment(2, true, b" ")).unwrap().is_none());
        ticks += 1;
        if assembly.tick() == [2] {
            break;
        }
    }
    assert_eq!(ticks, limit::CXIP_FRAGMENTS_PROBES_MAX + 1);
}

#[test]
fn fragments_that_cannot_be_are_refused() {
    let mut assembly = Assembly::default();
    for number in 1..=limit::CXIP_FRAGMENTED_MAX as u64 {
        assert!(assembly.decode(&mut fragment(number, true, b"x")).unwrap().is_none());
    }
    assert!(assembly.decode(&mut fragment(9, false, b"<Wait/>")).unwrap().is_some(), "a whole one always fits between");
    assert_eq!(assembly.decode(&mut fragment(10, true, b"x")).unwrap_err().fault.code, Code::LimitReached);

    let mut other = fragment(1, false, b"x");
    other[5] = Kind::Request as u8;
    assert_eq!(assembly.decode(&mut other).unwrap_err().fault.code, Code::MessageMalformed);

    let mut acknowledge = fragment(11, true, b"x");
    acknowledge[5] = Kind::Acknowledge as u8;
    assert_eq!(assembly.decode(&mut acknowledge).unwrap_err().fault.code, Code::MessageMalformed);
}

#[test]
fn fragments_that_are_too_much_together_are_refused_once_and_the_rest_is_passed_over() {
    let budget = Budget::default();
    let mut assembly = Assembly::within(budget.clone());
    let piece = vec![b'x'; limit::CXIP_FRAGMENT_BYTES_MAX];
    for _ in 0..limit::CXIP_CONTENT_BYTES_MAX / piece.len() {
        assert!(assembly.decode(&mut fragment(1, true, &piece)).unwrap().is_none());
    }
    assert_eq!(refusal(assembly.decode(&mut fragment(1, true, &piece)).unwrap()), (1, Code::MessageTooLarge));
    assert_eq!(budget.used(), 0);
    assert!(assembly.decode(&mut fragment(1, true, &piece)).unwrap().is_none());
    assert!(assembly.decode(&mut fragment(1, false, &piece)).unwrap().is_none());
    assert!(assembly.decode(&mut fragment(2, false, b"")).unwrap().is_some());
}

#[test]
fn the_largest_document_fits_into_its_envelope_and_nothing_larger_is_sent() {
    let message = answer(1, limit::DOCUMENT_BYTES_MAX - 7);
    let mut wire = BytesMut::new();
    encode(&mut wire, 1, 0, 1, &message).unwrap();
    assert_eq!(Assembly::default().decode(&mut wire).unwrap().unwrap().message, Ok(message));

    let fault = Fault::new(Code::OperationFailed, "x".repeat(limit::CXIP_CONTENT_BYTES_MAX));
    let refused = Message::Failed { invocation: InvocationId(1), service: "s".parse().unwrap(), fault };
    assert_eq!(encode(&mut wire, 1, 0, 1, &refused).unwrap_err().code, Code::MessageTooLarge);
    assert!(wire.is_empty(), "what could not be sent leaves nothing behind");
}
