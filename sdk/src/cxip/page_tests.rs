//! The page `docs/protocols/cxip.md` shows what the codec does: every byte of it is compared here.

use super::{Acknowledgement, Kind, Message, Password, Refusal, decode, encode, tests::text};
use bytes::BytesMut;
use hansa_core::{
    code::{Code, Fault, Place},
    durability::Durability,
    ident::{InvocationId, OrganizationId, PublicationId, TopicAddress, TransactionId},
    invocation::{Context, Invocation, Target},
    limit,
    moment::Moment,
    offer::Service,
    session::{Ending, Notification, Response, Status, Tracking},
};
use std::{collections::BTreeSet, fmt::Write as _};

const PAGE: &str = include_str!("../../../docs/protocols/cxip.md");

const NOW: Moment = Moment(1_795_219_200_007);

/// A message of the page's conversation: its title, its header's numbers, its content.
type Example = (&'static str, u64, u64, u32, Message);

fn acknowledged(tracking: Tracking) -> Message {
    Message::Acknowledged(Acknowledgement { tracking, ..Acknowledgement::default() })
}

/// A service and a client at work, and what can happen besides. Message numbers are those of three connections: of a
/// service, of a client, and of one that is refused.
fn conversation() -> Vec<Example> {
    let transaction = TransactionId::new(NOW, [7; 16]);
    let invocation = InvocationId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let credit: hansa_core::ident::ServiceName = "credit".parse().unwrap();
    let purchase: hansa_core::ident::DefinitionName = "purchase".parse().unwrap();
    let order = text("<Order number=\"4711\"/>");
    let word = |word: &str| Tracking { word: Some(word.to_owned()), ..Tracking::default() };
    let of = |transaction, word: &str| Tracking {
        transaction: Some(transaction),
        moment: Some(NOW),
        word: Some(word.to_owned()),
        durability: Some(Durability::TwoSites),
        ..Tracking::default()
    };
    let connected = Message::Acknowledged(Acknowledgement {
        tracking: word("connected"),
        organization: Some("Acme BV".parse().unwrap()),
        city: Some("Rotterdam".parse().unwrap()),
        alternates: Vec::new(),
    });
    let connected_to_a_pair = Message::Acknowledged(Acknowledgement {
        tracking: word("connected"),
        organization: Some("Acme BV".parse().unwrap()),
        city: Some("Rotterdam".parse().unwrap()),
        alternates: vec!["cxip.antwerp.acme.example:7400".to_owned(), "10.2.0.4:7400".to_owned()],
    });
    let service = Service {
        name: credit.clone(),
        operations: vec!["check-credit".parse().unwrap(), "release-credit".parse().unwrap()],
        public: true,
    };
    let perform = Invocation {
        id: invocation,
        context: Context {
            organization: OrganizationId([7; 32]),
            transaction,
            definition: purchase.clone(),
            operation: 2,
            attempt: 1,
            priority: 0,
            hops: 0,
        },
        target: Target { operation: "check-credit".parse().unwrap(), service: None },
        document: order.clone(),
        deadline: Some(NOW.plus_ms(30_000)),
    };
    let no_credit = Fault::new(Code::OperationFailed, "no credit for A & B").help("ask for payment in advance");
    let status = Status {
        transaction,
        definition: purchase.clone(),
        state: "running".to_owned(),
        operations_ended: 1,
        operations: 4,
    };
    let ended = |ending| {
        let durability = Some(Durability::TwoSites);
        Message::Response(Response { transaction, definition: purchase.clone(), ending, durability })
    };
    let torn =
        Fault::new(Code::DocumentMalformed, "the end tag </Orde> closes <Order>").at(Place { line: 1, column: 23 });
    let prices = TopicAddress::own("prices".parse().unwrap());
    let audit: hansa_core::ident::SubscriberName = "audit".parse().unwrap();
    let publication = PublicationId::new(NOW, [9; 16]);
    let price = text("<Price of=\"copper\">8120</Price>");
    let taken = |publication, word: &str| Tracking {
        publication,
        moment: Some(NOW),
        word: Some(word.to_owned()),
        durability: Some(Durability::OneSite),
        ..Tracking::default()
    };
    let password = Some(Password("open sesame".to_owned()));
    vec![
        ("S1 Connect", 1, 0, 256, Message::Connect { name: "credit".to_owned(), account: None, password }),
        ("S1 Acknowledged", 1, 1, 1024, connected.clone()),
        ("S2 Register", 2, 0, 256, Message::Register { service, credit: 64 }),
        ("S2 Acknowledged", 2, 2, 1024, acknowledged(word("registered"))),
        ("S3 Perform", 3, 0, 1024, Message::Perform { service: credit.clone(), invocation: perform }),
        ("S3 Acknowledged", 3, 3, 256, acknowledged(Tracking { invocation: Some(invocation), ..Tracking::default() })),
        (
            "S4 Completed",
            4,
            3,
            256,
            Message::Completed { invocation, service: credit.clone(), document: text("<Credit granted=\"true\"/>") },
        ),
        (
            "S4 Acknowledged",
            4,
            4,
            1024,
            acknowledged(Tracking { durability: Some(Durability::OneSite), ..word("answered") }),
        ),
        ("S5 Failed", 5, 3, 256, Message::Failed { invocation, service: credit, fault: no_credit.clone() }),
        (
            "S5 Refused",
            5,
            5,
            1024,
            Message::Refused(Refusal::new(Fault::new(Code::ResponseRefused, "the invocation was answered before"))),
        ),
        ("S6 Withdraw", 6, 0, 1024, Message::Withdraw { invocation }),
        ("C1 Connect", 1, 0, 64, Message::Connect { name: "acme-erp".to_owned(), account: None, password: None }),
        (
            "C2 Submit",
            2,
            0,
            64,
            Message::Submit { definition: purchase.clone(), transaction: Some(transaction), document: order },
        ),
        ("C2 Acknowledged", 2, 2, 1024, acknowledged(of(transaction, "submitted"))),
        ("C3 Query", 3, 0, 64, Message::Query { transaction }),
        ("C3 Status", 4, 3, 1024, Message::Status(status)),
        ("C4 Response completed", 6, 2, 1024, ended(Ending::Completed(text("<Purchase accepted=\"true\"/>")))),
        ("C4 Response failed", 6, 2, 1024, ended(Ending::Failed(no_credit))),
        ("C4 Response timed out", 6, 2, 1024, ended(Ending::TimedOut)),
        ("C5 Await", 2, 0, 64, Message::Await { transaction }),
        ("C6 Cancel", 3, 0, 64, Message::Cancel { transaction }),
        (
            "C7 Signal",
            4,
            0,
            64,
            Message::Signal {
                transaction,
                signal: "paid".parse().unwrap(),
                document: text("<Payment number=\"4711\"/>"),
            },
        ),
        (
            "T1 Subscribe",
            2,
            0,
            256,
            Message::Subscribe { topic: prices.clone(), subscriber: audit.clone(), credit: 16 },
        ),
        ("T1 Acknowledged", 2, 2, 1024, acknowledged(taken(None, "subscribed"))),
        (
            "T2 Publish",
            3,
            0,
            64,
            Message::Publish {
                topic: prices.name.clone(),
                publication: Some(publication),
                public: true,
                document: price.clone(),
            },
        ),
        ("T2 Acknowledged", 3, 3, 1024, acknowledged(taken(Some(publication), "published"))),
        (
            "T3 Notify",
            3,
            0,
            1024,
            Message::Notify {
                topic: prices.clone(),
                subscriber: audit.clone(),
                notification: Notification { number: 41, publication, published: NOW, missed: 0, document: price },
            },
        ),
        ("T3 Acknowledged", 3, 3, 256, acknowledged(Tracking::default())),
        ("T4 Unsubscribe", 4, 0, 256, Message::Unsubscribe { topic: prices, subscriber: audit }),
        ("R1 Refused malformed", 9, 8, 1024, Message::Refused(Refusal::new(torn))),
        (
            "R2 Refused busy",
            10,
            9,
            1024,
            Message::Refused(Refusal {
                fault: Fault::new(Code::Busy, "the node has as many open transactions as it admits"),
                retry_after_ms: Some(limit::BUSY_RETRY_MS),
                address: None,
            }),
        ),
        ("M1 Acknowledged", 1, 1, 1024, connected_to_a_pair),
        (
            "M2 Refused",
            1,
            1,
            1024,
            Message::Refused(Refusal {
                fault: Fault::new(Code::NotActive, "this sub-node is the mirror; the active one is in Rotterdam"),
                retry_after_ms: None,
                address: Some("10.1.0.4:7400".to_owned()),
            }),
        ),
        ("A1 Administer", 2, 0, 16, Message::Administer { request: "{\"command\":\"services\"}".to_owned() }),
        ("A1 Acknowledged", 2, 2, 16, acknowledged(word("begun"))),
        ("A1 Administered", 3, 2, 16, Message::Administered { answer: "{\"ok\":[]}".to_owned(), more: false }),
        ("P1 Probe", 11, 0, 1024, Message::Probe),
        ("P1 Answer", 12, 11, 256, Message::Probe),
    ]
}

/// Sixteen bytes a line: offset, bytes, and what is printable of them.
fn dump(bytes: &[u8]) -> String {
    let mut lines = String::new();
    for (line, sixteen) in bytes.chunks(16).enumerate() {
        let hex: Vec<_> = sixteen.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown: String =
            sixteen.iter().map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' }).collect();
        writeln!(lines, "{:04x}  {:<47}  {shown}", line * 16, hex.join(" ")).unwrap();
    }
    lines
}

fn encoded((_, number, correlation, credit, message): &Example) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(&mut bytes, *number, *correlation, *credit, message).unwrap();
    bytes
}

/// What stands between the fences that open with this word.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("\n```{language}\n");
    PAGE.split(&*fence).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

#[test]
fn the_page_shows_every_message_of_the_conversation_byte_for_byte() {
    let mut missing = String::new();
    for example in conversation() {
        let block = format!("\n**{}**\n\n```hex\n{}```\n", example.0, dump(&encoded(&example)));
        if !PAGE.contains(&block) {
            missing.push_str(&block);
        }
    }
    assert!(missing.is_empty(), "the page lacks these blocks:\n{missing}");
}

#[test]
fn every_hex_dump_of_the_page_is_a_message_and_is_written_so() {
    let dumps = blocks("hex");
    assert_eq!(dumps.len(), conversation().len());
    let mut seen = BTreeSet::new();
    for dump in dumps {
        let hex = dump.lines().flat_map(|line| line[6..line.len().min(53)].split_whitespace());
        let bytes: Vec<u8> = hex.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let frame = decode(&mut BytesMut::from(&bytes[..])).unwrap().expect("a whole message");
        let message = frame.message.unwrap_or_else(|fault| panic!("{fault}:\n{dump}"));
        let mut again = BytesMut::new();
        encode(&mut again, frame.header.number, frame.header.correlation, frame.header.credit, &message).unwrap();
        assert_eq!(again, bytes, "{dump}");
        seen.insert(std::mem::discriminant(&message).fmt_for_set());
    }
    assert_eq!(seen.len(), 22, "one dump at least of every content");
}

trait ForSet {
    fn fmt_for_set(&self) -> String;
}

impl<T> ForSet for std::mem::Discriminant<T> {
    fn fmt_for_set(&self) -> String {
        format!("{self:?}")
    }
}

#[test]
fn every_xml_example_of_the_page_is_a_content_of_exactly_one_type() {
    let examples = blocks("xml");
    assert!(examples.len() >= 22, "one at least of every content: {}", examples.len());
    for example in examples {
        let read: Vec<_> = Kind::ALL.into_iter().map(|kind| super::read::message(kind, example.as_bytes())).collect();
        let fitting = read.iter().filter(|message| message.is_ok()).count();
        assert_eq!(fitting, 1, "{example}\n{:?}", read[0]);
    }
}

#[test]
fn the_page_states_the_limits_in_force() {
    for limit in [
        limit::CXIP_CONTENT_BYTES_MAX as u64,
        limit::DOCUMENT_BYTES_MAX as u64,
        u64::from(limit::CXIP_CREDIT),
        u64::from(limit::SESSION_CREDIT_MAX),
        limit::CXIP_CONNECTIONS_MAX as u64,
        limit::CXIP_QUEUE_BYTES_MAX as u64,
        limit::CXIP_QUEUES_BYTES_MAX as u64,
        (limit::CXIP_QUEUES_BYTES_MAX / limit::CXIP_CONNECTIONS_MAX) as u64,
        limit::CXIP_FRAGMENT_BYTES_MAX as u64,
        limit::CXIP_HTTP_SESSIONS_MAX as u64,
        limit::CXIP_HTTP_RESPONSE_BYTES_MAX as u64,
        limit::CXIP_FRAGMENTED_MAX as u64,
        limit::ADMIN_CONNECTIONS_MAX as u64,
        limit::ADMIN_REQUESTS_MAX as u64,
        u64::from(limit::ADMIN_CREDIT),
        limit::ADMIN_REQUESTS_BYTES_MAX as u64,
        limit::ADMIN_PART_BYTES_MAX as u64,
        limit::CXIP_ASSEMBLY_BYTES_MAX as u64,
        u64::from(limit::CXIP_FRAGMENT_PROBES_MAX) * limit::CXIP_PROBE_MS,
        u64::from(limit::CXIP_FRAGMENTS_PROBES_MAX) * limit::CXIP_PROBE_MS,
        limit::CXIP_CONNECT_MS_MAX,
        limit::CXIP_PROBE_MS,
        limit::CXIP_SILENCE_MS_MAX,
        limit::BUSY_RETRY_MS,
        limit::CXIP_ALTERNATES_MAX as u64,
        limit::CXIP_ADDRESS_BYTES_MAX as u64,
        limit::CXIP_PAIR_PROBE_MS,
        limit::CXIP_PAIR_SILENCE_MS_MAX,
        limit::RECONNECT_STAGGER_MS,
        limit::NAME_BYTES_MAX as u64,
        limit::SERVICE_OPERATIONS_MAX as u64,
        limit::DOCUMENT_DEPTH_MAX as u64,
    ] {
        let digits = limit.to_string();
        let mut shown = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place) % 3 == 0 {
                shown.push(',');
            }
            shown.push(digit);
        }
        assert!(PAGE.contains(&format!(" {shown} ")), "the page does not state {shown}");
    }
}

#[test]
fn every_code_that_the_page_lists_is_one() {
    let rows: Vec<_> = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).collect();
    let codes: Vec<_> = rows.iter().filter(|(_, meaning)| meaning.contains("code:")).collect();
    assert!(codes.len() >= 15);
    for (code, _) in codes {
        assert!(code.parse::<Code>().is_ok(), "{code}");
    }
}
