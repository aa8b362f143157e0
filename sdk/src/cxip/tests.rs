//! What the codec promises: every message survives the wire, however it is cut; nothing else becomes a message.

use super::{
    Acknowledgement, Assembly, Frame, Framing, HEADER_BYTES, Header, Kind, Message, NAMESPACE, Password, Refusal,
    decode, encode,
};
use bytes::BytesMut;
use hansa_core::{
    code::{Code, Fault, Place},
    document::Text,
    durability::Durability,
    ident::{InvocationId, OrganizationId, PublicationId, TopicAddress, TransactionId},
    invocation::{Context, Invocation, Target},
    limit,
    moment::Moment,
    offer::Service,
    session::{Ending, Notification, Response, Status, Tracking},
};
use proptest::{collection::vec, option, prelude::*};

pub(super) fn text(xml: &str) -> Text {
    Text::parse(xml.as_bytes()).unwrap()
}

/// A message with content as somebody else might write it.
fn handmade(kind: Kind, content: &str) -> BytesMut {
    handmade_bytes(kind, content.as_bytes())
}

fn handmade_bytes(kind: Kind, content: &[u8]) -> BytesMut {
    let header =
        Header { kind, number: 7, correlation: 0, more: false, content_bytes: content.len() as u32, credit: 1 };
    let mut bytes = BytesMut::from(&header.encode()[..]);
    bytes.extend_from_slice(content);
    bytes
}

fn read(kind: Kind, content: &str) -> Result<Message, Fault> {
    decode(&mut handmade(kind, content)).unwrap().unwrap().message
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9._:-]{1,40}"
}

fn address() -> impl Strategy<Value = String> {
    "[a-z0-9.-]{1,40}:[1-9][0-9]{0,3}"
}

fn parsed<T: std::str::FromStr<Err = Fault> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    name().prop_map(|name| name.parse().unwrap_or_else(|_| unreachable!("the pattern makes names")))
}

fn words() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[\t\n\r -\u{7e}ä€\u{1f600}\u{fffd}]{0,60}").unwrap()
}

fn document() -> impl Strategy<Value = Text> {
    ("[a-zA-Z<>&\"' \n\r\t]{0,80}", "[a-z]{1,8}", 0..3usize).prop_map(|(content, name, form)| {
        let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        text(&match form {
            0 => format!("<{name}>{content}</{name}>"),
            1 => format!("<x:{name} xmlns:x='urn:x'>{content}<x:{name}/></x:{name}>"),
            _ => format!("<{name} xmlns=\"urn:y\"/>"),
        })
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    (proptest::sample::select(Code::ALL), words(), option::of((1..9u32, 1..9u32)), option::of(words())).prop_map(
        |(code, message, place, help)| Fault {
            code,
            message,
            place: place.map(|(line, column)| Place { line, column }),
            help,
        },
    )
}

fn transaction() -> impl Strategy<Value = TransactionId> {
    any::<u128>().prop_map(TransactionId)
}

fn invocation_id() -> impl Strategy<Value = InvocationId> {
    any::<u128>().prop_map(InvocationId)
}

fn invocation() -> impl Strategy<Value = Invocation> {
    let context = (any::<[u8; 32]>(), transaction(), parsed(), any::<u32>(), any::<u32>(), any::<u8>());
    let context = context.prop_map(|(organization, transaction, definition, operation, attempt, priority)| Context {
        organization: OrganizationId(organization),
        transaction,
        definition,
        operation,
        attempt,
        priority,
        hops: 0,
    });
    (invocation_id(), context, parsed(), document(), option::of(any::<u64>())).prop_map(
        |(id, context, operation, document, deadline)| Invocation {
            id,
            context,
            target: Target { operation, service: None },
            document,
            deadline: deadline.map(Moment),
        },
    )
}

fn response() -> impl Strategy<Value = Response> {
    let ending = prop_oneof![
        document().prop_map(Ending::Completed),
        fault().prop_map(Ending::Failed),
        Just(Ending::TimedOut),
        Just(Ending::Cancelled),
    ];
    (transaction(), parsed(), ending, durability()).prop_map(|(transaction, definition, ending, durability)| Response {
        transaction,
        definition,
        ending,
        durability,
    })
}

fn durability() -> impl Strategy<Value = Option<Durability>> {
    option::of(prop_oneof![Just(Durability::OneSite), Just(Durability::TwoSites)])
}

fn tracking() -> impl Strategy<Value = Tracking> {
    let ids = (option::of(transaction()), option::of(invocation_id()), option::of(any::<u128>()));
    (ids, option::of(any::<u64>()), option::of(words()), durability()).prop_map(
        |((transaction, invocation, publication), moment, word, durability)| Tracking {
            durability,
            transaction,
            invocation,
            publication: publication.map(PublicationId),
            moment: moment.map(Moment),
            word,
        },
    )
}

fn topic() -> impl Strategy<Value = TopicAddress> {
    (option::of(any::<[u8; 32]>()), parsed())
        .prop_map(|(organization, name)| TopicAddress { organization: organization.map(OrganizationId), name })
}

fn about_topics() -> impl Strategy<Value = Message> {
    let notification = (any::<u64>(), any::<u128>(), any::<u64>(), any::<u64>(), document()).prop_map(
        |(number, publication, published, missed, document)| Notification {
            number,
            publication: PublicationId(publication),
            published: Moment(published),
            missed,
            document,
        },
    );
    prop_oneof![
        (parsed(), option::of(any::<u128>()), any::<bool>(), document()).prop_map(
            |(topic, publication, public, document)| Message::Publish {
                topic,
                publication: publication.map(PublicationId),
                public,
                document
            }
        ),
        (topic(), parsed(), notification).prop_map(|(topic, subscriber, notification)| Message::Notify {
            topic,
            subscriber,
            notification
        }),
        (topic(), parsed(), any::<u32>()).prop_map(|(topic, subscriber, credit)| Message::Subscribe {
            topic,
            subscriber,
            credit
        }),
        (topic(), parsed()).prop_map(|(topic, subscriber)| Message::Unsubscribe { topic, subscriber }),
        (transaction(), parsed(), document()).prop_map(|(transaction, signal, document)| Message::Signal {
            transaction,
            signal,
            document
        }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        ("[ -\u{7e}ä]{1,60}", option::of(parsed()), option::of(words()))
            .prop_map(|(name, account, password)| Message::Connect { name, account, password: password.map(Password) }),
        (parsed(), vec(parsed(), 1..5), any::<bool>(), any::<u32>()).prop_map(|(name, operations, public, credit)| {
            Message::Register { service: Service { name, operations, public }, credit }
        }),
        (parsed(), option::of(transaction()), document())
            .prop_map(|(definition, transaction, document)| { Message::Submit { definition, transaction, document } }),
        transaction().prop_map(|transaction| Message::Await { transaction }),
        transaction().prop_map(|transaction| Message::Query { transaction }),
        transaction().prop_map(|transaction| Message::Cancel { transaction }),
        (parsed(), invocation()).prop_map(|(service, invocation)| Message::Perform { service, invocation }),
        invocation_id().prop_map(|invocation| Message::Withdraw { invocation }),
        (invocation_id(), parsed(), document()).prop_map(|(invocation, service, document)| Message::Completed {
            invocation,
            service,
            document
        }),
        (invocation_id(), parsed(), fault()).prop_map(|(invocation, service, fault)| Message::Failed {
            invocation,
            service,
            fault
        }),
        response().prop_map(Message::Response),
        (transaction(), parsed(), words(), any::<u32>(), any::<u32>()).prop_map(
            |(transaction, definition, state, operations, operations_ended)| {
                Message::Status(Status { transaction, definition, state, operations, operations_ended })
            }
        ),
        (tracking(), vec(address(), 0..3)).prop_map(|(tracking, alternates)| {
            Message::Acknowledged(Acknowledgement {
                tracking,
                organization: Some("Acme & Söhne <BV>".parse().unwrap()),
                city: Some("Rotterdam".parse().unwrap()),
                alternates,
            })
        }),
        (fault(), option::of(any::<u64>()), option::of(address())).prop_map(|(fault, retry_after_ms, address)| {
            Message::Refused(Refusal { fault, retry_after_ms, address })
        }),
        about_topics(),
        Just(Message::Probe),
    ]
}

/// A piece of a stream: a message, a header of any fields with a content that fits or does not, or no such thing.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let header = (0..10u8, 0..4u8, 0..5u64, prop_oneof![9 => Just(0), 1 => any::<u32>()], vec(any::<u8>(), 0..60));
    prop_oneof![
        3 => (message(), 1..5u64).prop_map(|(message, number)| {
            let mut wire = BytesMut::new();
            encode(&mut wire, number, 3, 8, &message).unwrap();
            wire.to_vec()
        }),
        4 => header.prop_map(|(kind, flags, number, more_bytes, content)| {
            let content_bytes = (content.len() as u32).wrapping_add(more_bytes);
            let header = Header { kind: Kind::Request, number, correlation: 0, more: false, content_bytes, credit: 1 };
            let mut bytes = header.encode();
            (bytes[5], bytes[7]) = (kind, flags);
            [&bytes[..], &content].concat()
        }),
        1 => vec(any::<u8>(), 0..80),
        1 => vec(any::<u8>(), 0..40).prop_map(|rest| [b"CXIP", &rest[..]].concat()),
    ]
}

/// The messages in `bytes` when they come in pieces of these sizes, over and over, and why there are no more.
fn arrived(bytes: &[u8], sizes: &[usize]) -> (Vec<Frame>, Option<Framing>) {
    let (mut assembly, mut buffer, mut frames) = (Assembly::default(), BytesMut::new(), Vec::new());
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while let Some(size) = sizes.next().filter(|_| !rest.is_empty()) {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        buffer.extend_from_slice(piece);
        rest = after;
        loop {
            match assembly.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(framing) => return (frames, Some(framing)),
            }
        }
    }
    (frames, None)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    // T14: header with the content's length, then XML; multiplexed, so several follow each other.
    #[test]
    fn every_message_survives_the_wire_however_the_bytes_are_cut(
        messages in vec((message(), 1..u64::MAX, any::<u64>(), any::<u32>()), 1..4),
        cuts in vec(1..400usize, 1..20),
    ) {
        let mut wire = BytesMut::new();
        for (message, number, correlation, credit) in &messages {
            encode(&mut wire, *number, *correlation, *credit, message).unwrap();
        }
        let (mut arrived, mut frames, mut cuts) = (BytesMut::new(), Vec::new(), cuts.into_iter().cycle());
        while !wire.is_empty() {
            let next = wire.split_to(cuts.next().unwrap().min(wire.len()));
            arrived.extend_from_slice(&next);
            while let Some(frame) = decode(&mut arrived).unwrap() {
                frames.push(frame);
            }
        }
        prop_assert_eq!(frames.len(), messages.len());
        for (frame, (message, number, correlation, credit)) in frames.into_iter().zip(messages) {
            prop_assert_eq!(frame.header.kind, message.kind());
            prop_assert_eq!(
                (frame.header.number, frame.header.correlation, frame.header.credit),
                (number, correlation, credit)
            );
            prop_assert_eq!(frame.message.unwrap(), message);
        }
    }

    // T14: what the network does to a stream changes nothing, not even the words of a refusal.
    #[test]
    fn any_bytes_give_the_same_messages_and_the_same_refusal_however_they_are_cut(
        pieces in vec(piece(), 0..6),
        change in option::of((any::<prop::sample::Index>(), any::<u8>())),
        cuts in vec(prop_oneof![1..8usize, 1..400usize], 1..20),
    ) {
        let mut bytes = pieces.concat();
        if let Some((place, byte)) = change.filter(|_| !bytes.is_empty()) {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let whole = arrived(&bytes, &[usize::MAX]);
        prop_assert_eq!(&arrived(&bytes, &[1]), &whole);
        prop_assert_eq!(&arrived(&bytes, &cuts), &whole);
    }

    // DESIGN invariant 5.
    #[test]
    fn no_bytes_panic_the_decoder(bytes in vec(any::<u8>(), 0..200), content in vec(any::<u8>(), 0..200), kind in 1..=8u8) {
        let _ = decode(&mut BytesMut::from(&bytes[..]));
        let _ = decode(&mut handmade_bytes(Kind::from_number(kind).unwrap(), &content));
    }

    #[test]
    fn a_message_with_one_byte_changed_is_read_or_refused_and_never_panics(
        message in message(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut wire = BytesMut::new();
        encode(&mut wire, 1, 2, 3, &message).unwrap();
        let place = place.index(wire.len());
        wire[place] = byte;
        let _ = decode(&mut wire);
    }

    #[test]
    fn no_text_panics_the_reader_of_envelopes(content in "[<>/?!a-zA-Z:= \"'&;#x0-9\u{e4}\r\n]{0,120}") {
        for kind in Kind::ALL {
            let _ = read(kind, &content);
            let _ = read(kind, &format!("<cx:Submit xmlns:cx=\"{NAMESPACE}\" {content}></cx:Submit>"));
        }
    }
}

#[test]
fn a_header_is_refused_as_soon_as_its_bytes_show_that_it_is_none() {
    let good = handmade(Kind::Request, "<x/>");
    let refused = |place: usize, byte: u8, length: usize| {
        let mut bytes = good.clone();
        bytes[place] = byte;
        bytes.truncate(length);
        let framing = decode(&mut bytes).unwrap_err();
        (framing.fault.code, framing.number)
    };
    assert_eq!(decode(&mut BytesMut::from(&b"GET / HTTP/1.1"[..])).unwrap_err().fault.code, Code::MessageMalformed);
    assert_eq!(refused(1, b'Y', 2), (Code::MessageMalformed, 0), "two bytes are enough to see it");
    assert_eq!(refused(4, 2, 5), (Code::VersionUnknown, 0));
    assert_eq!(refused(5, 0, HEADER_BYTES), (Code::MessageMalformed, 7));
    assert_eq!(refused(5, 9, HEADER_BYTES), (Code::MessageMalformed, 7));
    assert_eq!(refused(7, 2, HEADER_BYTES), (Code::MessageMalformed, 7), "there is one flag");
    assert_eq!(refused(15, 0, HEADER_BYTES), (Code::MessageMalformed, 0), "numbers count from one");
    assert_eq!(refused(24, 0xff, HEADER_BYTES), (Code::MessageTooLarge, 7));
    assert!(decode(&mut BytesMut::from(&good[..31])).unwrap().is_none());
}

// Found by fuzzing: the refusal named up to four bytes, of which a slow network had brought one.
#[test]
fn a_wrong_beginning_is_refused_in_the_same_words_whether_more_of_it_has_come_or_not() {
    for bytes in [&b"\0\0\0\0"[..], b"GET / HTTP/1.1", b"CXIQ\x01", b"CXxP"] {
        let whole = arrived(bytes, &[usize::MAX]);
        assert!(whole.1.is_some());
        assert_eq!(arrived(bytes, &[1]), whole);
    }
    let (_, refused) = arrived(b"CXML", &[usize::MAX]);
    let message = refused.unwrap().fault.message;
    assert!(message.ends_with("not with [43, 58, 4d]"), "{message}");
}

#[test]
fn nothing_is_allocated_for_what_a_header_announces() {
    let header = Header {
        kind: Kind::Request,
        number: 1,
        correlation: 0,
        more: false,
        content_bytes: limit::CXIP_FRAGMENT_BYTES_MAX as u32,
        credit: 1,
    };
    let mut bytes = BytesMut::from(&header.encode()[..]);
    assert!(decode(&mut bytes).unwrap().is_none());
    assert!(bytes.capacity() < 1_024);
}

#[test]
fn any_prefix_and_any_form_of_xml_names_the_same_message() {
    let transaction = "00000000000000000000000005";
    let expected = Message::Await { transaction: TransactionId(5) };
    for content in [
        format!("<cx:Await xmlns:cx=\"{NAMESPACE}\" transaction=\"{transaction}\"/>"),
        format!("<Await xmlns='{NAMESPACE}' transaction='{transaction}'></Await>"),
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<a:Await\n transaction = '{transaction}'\txmlns:a='{NAMESPACE}' >\n</a:Await >\n"
        ),
        format!("<Await xmlns='urn:hansa:cxip&#58;1' xmlns:b='urn:b' transaction='&#x30;{}'/>", &transaction[1..]),
    ] {
        assert_eq!(read(Kind::Request, &content), Ok(expected.clone()), "{content}");
    }
}

#[test]
fn a_content_that_is_not_exactly_one_of_the_protocol_is_refused_and_says_why() {
    let id = "00000000000000000000000005";
    for (content, code, words) in [
        (format!("<Await transaction='{id}'/>"), Code::MessageMalformed, "namespace"),
        (format!("<Await xmlns='urn:other' transaction='{id}'/>"), Code::MessageMalformed, "namespace"),
        (format!("<Await xmlns='{NAMESPACE}'/>"), Code::MessageMalformed, "transaction"),
        (format!("<Await xmlns='{NAMESPACE}' transaction='5'/>"), Code::IdentityMalformed, "transaction id"),
        (
            format!("<Await xmlns='{NAMESPACE}' transaction='{id}' now='1'/>"),
            Code::MessageMalformed,
            "no attribute now",
        ),
        (
            format!("<Await xmlns='{NAMESPACE}' transaction='{id}' transaction='{id}'/>"),
            Code::MessageMalformed,
            "twice",
        ),
        (format!("<Await xmlns='{NAMESPACE}' transaction='{id}'>x</Await>"), Code::MessageMalformed, "is empty"),
        (format!("<Await xmlns='{NAMESPACE}' transaction='{id}'/><x/>"), Code::MessageMalformed, "end"),
        (format!("<Await xmlns='{NAMESPACE}' transaction='{id}'></Wait>"), Code::MessageMalformed, "end"),
        (format!("<Await xmlns='{NAMESPACE}' transaction='{id}<'/>"), Code::MessageMalformed, "'<'"),
        (format!("<Await xmlns='{NAMESPACE}' transaction='{id}&nbsp;'/>"), Code::MessageMalformed, "reference"),
        (format!("<Wait xmlns='{NAMESPACE}'/>"), Code::MessageUnsupported, "no content Wait"),
        (format!("<Cancel xmlns='{NAMESPACE}' transaction='{id}'/>"), Code::MessageMalformed, "Cancel"),
        (format!("<!DOCTYPE x><Await xmlns='{NAMESPACE}' transaction='{id}'/>"), Code::MessageMalformed, "name"),
        (format!("<Submit xmlns='{NAMESPACE}' definition='a b'><x/></Submit>"), Code::NameMalformed, "definition name"),
        (format!("<Submit xmlns='{NAMESPACE}' definition='a'> </Submit>"), Code::MessageMalformed, "no document"),
        (format!("<Submit xmlns='{NAMESPACE}' definition='a'><x></Submit>"), Code::DocumentMalformed, ""),
        (format!("<Submit xmlns='{NAMESPACE}' definition='a'><x/><y/></Submit>"), Code::DocumentMalformed, ""),
        (
            format!("<Submit xmlns='{NAMESPACE}' definition='a'><?xml version='1.0'?><x/></Submit>"),
            Code::MessageMalformed,
            "declaration",
        ),
        (
            format!("<Register xmlns='{NAMESPACE}' service='s' public='true' credit='1'/>"),
            Code::MessageMalformed,
            "operations",
        ),
        (
            format!("<Register xmlns='{NAMESPACE}' service='s' public='yes' credit='1'/>"),
            Code::MessageMalformed,
            "public",
        ),
        (
            format!("<Register xmlns='{NAMESPACE}' service='s' public='true' credit='-1'/>"),
            Code::MessageMalformed,
            "credit",
        ),
        (format!("<Connect xmlns='{NAMESPACE}' name='n' version='2'/>"), Code::VersionUnknown, "version"),
        ("".to_owned(), Code::MessageMalformed, "root"),
    ] {
        let fault = read(Kind::Request, &content).unwrap_err();
        assert_eq!(fault.code, code, "{content}: {fault}");
        assert!(fault.message.contains(words), "{content}: {fault}");
    }
    let subscribe = format!("<Subscribe xmlns='{NAMESPACE}' topic='prices' subscriber='audit' credit='1'/>");
    assert!(read(Kind::Subscribe, &subscribe).is_ok());
    for kind in [Kind::Publish, Kind::Notify, Kind::Unsubscribe, Kind::Request] {
        assert_eq!(read(kind, &subscribe).unwrap_err().code, Code::MessageMalformed);
    }
    let latin = decode(&mut handmade_bytes(Kind::Request, b"<\xe4/>")).unwrap().unwrap().message;
    assert_eq!(latin.unwrap_err().code, Code::DocumentEncoding);
}

#[test]
fn a_wrapped_document_is_taken_byte_for_byte_and_stands_by_itself() {
    let submit = |inside: &str| {
        read(
            Kind::Request,
            &format!("<cx:Submit xmlns:cx=\"{NAMESPACE}\" xmlns:p='urn:p' definition=\"d\">{inside}</cx:Submit>"),
        )
    };
    let inside = "<!-- why --><Order  xmlns:q='urn:q'>\r\n<q:Line a='1'/><![CDATA[</cx:Submit>]]></Order>";
    let Ok(Message::Submit { document, .. }) = submit(&format!("\n  {inside}\n")) else { panic!("it is one") };
    assert_eq!(document.as_str(), inside);
    let leaning = submit("<p:Order/>").unwrap_err();
    assert_eq!(leaning.code, Code::DocumentMalformed, "the envelope's prefixes do not reach inside");

    let declared = text("<?xml version='1.0' encoding='UTF-8'?><Order/>");
    let mut wire = BytesMut::new();
    let message = Message::Submit { definition: "d".parse().unwrap(), transaction: None, document: declared };
    encode(&mut wire, 1, 0, 1, &message).unwrap();
    let Ok(Message::Submit { document, .. }) = decode(&mut wire).unwrap().unwrap().message else { panic!("it is one") };
    assert_eq!(document.as_str(), "<Order/>", "a declaration cannot travel inside");
}

#[test]
fn words_that_xml_cannot_say_are_replaced_and_codes_of_a_newer_version_are_kept_in_words() {
    let mut wire = BytesMut::new();
    let fault = Fault::new(Code::OperationFailed, "bell \u{7} and \u{ffff}");
    let failed = Message::Failed { invocation: InvocationId(1), service: "s".parse().unwrap(), fault };
    encode(&mut wire, 1, 0, 1, &failed).unwrap();
    let Ok(Message::Failed { fault, .. }) = decode(&mut wire).unwrap().unwrap().message else { panic!("it is one") };
    assert_eq!(fault.message, "bell \u{fffd} and \u{fffd}");

    let content = format!("<Refused xmlns='{NAMESPACE}' code='out-of-luck'><Message>no luck</Message></Refused>");
    let Ok(Message::Refused(refusal)) = read(Kind::Acknowledge, &content) else { panic!("it is one") };
    assert_eq!(refusal.fault.message, "no luck (code out-of-luck)");
}

#[test]
fn no_log_shows_a_password() {
    let connect =
        Message::Connect { name: "erp".to_owned(), account: None, password: Some(Password("hush".to_owned())) };
    assert!(!format!("{connect:?}").contains("hush"));
}
