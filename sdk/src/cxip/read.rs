//! From a content's XML to the message. A content that says too little, too much or something else is refused with the
//! name of what is wrong; nothing is guessed.

use super::{
    Acknowledgement, Kind, Message, NAMESPACE, Password, Refusal, Unread, VERSION, administration,
    envelope::{Envelope, is_declared, trim},
    topics, whereabouts,
};
use hansa_core::{
    code::{Code, Fault, Place},
    document::{Element, Text},
    invocation::{Context, Invocation, Target},
    limit,
    moment::Moment,
    offer,
    session::{Ending, Response, Status, Tracking},
    transaction::OutcomeKind,
};
use std::{borrow::Cow, str::FromStr};

/// The message of type `kind` with this content.
pub(super) fn message(kind: Kind, content: &[u8]) -> Result<Message, Fault> {
    let content = std::str::from_utf8(content)
        .map_err(|_| Fault::new(Code::DocumentEncoding, "the message's content is not valid UTF-8"))?;
    if kind == Kind::Acknowledge && content.is_empty() {
        return Ok(Message::Probe);
    }
    let mut envelope = Envelope::open(content)?;
    let message = of_envelope(&mut envelope, content)?;
    envelope.no_more()?;
    if message.kind() != kind {
        let message = format!("{} comes in a {:?}, not in a {kind:?}", envelope.local, message.kind());
        return Err(envelope.fault(message));
    }
    Ok(message)
}

/// What an answer was to answer that cannot be read: its first tag is enough for that.
pub(super) fn unread(kind: Kind, content: &[u8]) -> Option<Unread> {
    if kind != Kind::Reply {
        return None;
    }
    let content = match std::str::from_utf8(content) {
        Ok(content) => content,
        Err(flaw) => std::str::from_utf8(&content[..flaw.valid_up_to()]).ok()?,
    };
    let mut envelope = Envelope::open(content).ok()?;
    let outcome = match envelope.local {
        "Completed" => OutcomeKind::Completed,
        "Failed" => OutcomeKind::Failed,
        _ => return None,
    };
    let (invocation, service) = (needed(&mut envelope, "invocation").ok()?, needed(&mut envelope, "service").ok()?);
    Some(Unread { invocation, service, outcome })
}

fn of_envelope(envelope: &mut Envelope, content: &str) -> Result<Message, Fault> {
    Ok(match envelope.local {
        "Perform" => perform(envelope)?,
        "Submit" => Message::Submit {
            definition: needed(envelope, "definition")?,
            transaction: optional(envelope, "transaction")?,
            document: document(envelope)?,
        },
        "Completed" => Message::Completed {
            invocation: needed(envelope, "invocation")?,
            service: needed(envelope, "service")?,
            document: document(envelope)?,
        },
        "Response" => Message::Response(Response {
            transaction: needed(envelope, "transaction")?,
            definition: needed(envelope, "definition")?,
            durability: optional(envelope, "durability")?,
            ending: ending(envelope, content)?,
        }),
        "Acknowledged" => {
            envelope.nothing_inside()?;
            Message::Acknowledged(Acknowledgement {
                tracking: Tracking {
                    transaction: optional(envelope, "transaction")?,
                    invocation: optional(envelope, "invocation")?,
                    publication: optional(envelope, "publication")?,
                    moment: optional_number(envelope, "moment")?.map(Moment),
                    word: envelope.take("word").map(Cow::into_owned),
                    durability: optional(envelope, "durability")?,
                },
                organization: optional(envelope, "organization")?,
                city: optional(envelope, "city")?,
                alternates: whereabouts::alternates(envelope)?,
            })
        }
        "Refused" => {
            let retry_after_ms = optional_number(envelope, "retry-after-ms")?;
            let code = envelope.need("code")?.into_owned();
            let address = whereabouts::address(envelope)?;
            let fault = fault(envelope, content, &code, Code::Internal)?;
            Message::Refused(Refusal { fault, retry_after_ms, address })
        }
        "Failed" => {
            let code = envelope.take("code").map_or(Cow::Borrowed(Code::OperationFailed.as_str()), |code| code);
            Message::Failed {
                invocation: needed(envelope, "invocation")?,
                service: needed(envelope, "service")?,
                fault: fault(envelope, content, &code, Code::OperationFailed)?,
            }
        }
        "Await" => Message::Await { transaction: alone(envelope, "transaction")? },
        "Query" => Message::Query { transaction: alone(envelope, "transaction")? },
        "Cancel" => Message::Cancel { transaction: alone(envelope, "transaction")? },
        "Withdraw" => Message::Withdraw { invocation: alone(envelope, "invocation")? },
        "Status" => {
            envelope.nothing_inside()?;
            Message::Status(Status {
                transaction: needed(envelope, "transaction")?,
                definition: needed(envelope, "definition")?,
                state: envelope.need("state")?.into_owned(),
                operations: number(envelope, "operations")?,
                operations_ended: number(envelope, "operations-ended")?,
            })
        }
        "Connect" => connect(envelope, content)?,
        "Register" => register(envelope, content)?,
        other => {
            let read = match topics::read(envelope)? {
                None => administration::read(envelope)?,
                read => read,
            };
            read.ok_or_else(|| {
                let words = format!("version {VERSION} has no content {other}");
                Fault { code: Code::MessageUnsupported, ..envelope.fault(words) }
            })?
        }
    })
}

fn perform(envelope: &mut Envelope) -> Result<Message, Fault> {
    Ok(Message::Perform {
        service: needed(envelope, "service")?,
        invocation: Invocation {
            id: needed(envelope, "invocation")?,
            context: Context {
                organization: needed(envelope, "organization")?,
                transaction: needed(envelope, "transaction")?,
                definition: needed(envelope, "definition")?,
                operation: number(envelope, "operation-id")?,
                attempt: number(envelope, "attempt")?,
                priority: optional_number(envelope, "priority")?.unwrap_or_default(),
                // How the invocation came to the node is none of the service's business.
                hops: 0,
            },
            target: Target { operation: needed(envelope, "operation")?, service: None },
            document: document(envelope)?,
            deadline: optional_number(envelope, "deadline")?.map(Moment),
        },
    })
}

fn ending(envelope: &mut Envelope, content: &str) -> Result<Ending, Fault> {
    Ok(match &*envelope.need("ending")? {
        "completed" => Ending::Completed(document(envelope)?),
        "timed-out" => {
            envelope.nothing_inside()?;
            Ending::TimedOut
        }
        "cancelled" => {
            envelope.nothing_inside()?;
            Ending::Cancelled
        }
        "failed" => {
            let root = root(envelope, content)?;
            let [child] = children(envelope, &root, &["Fault"])?[..] else {
                return Err(envelope.fault("a Response with the ending failed has one Fault"));
            };
            let code =
                child.attribute("code").ok_or_else(|| envelope.fault("the attribute code of Fault is missing"))?;
            let place = |name| child.attribute(name).and_then(|value| value.parse().ok());
            let place = place("line").zip(place("column"));
            Ending::Failed(fault_of(envelope, child, code, Code::Internal, place)?)
        }
        other => return Err(envelope.fault(format!("'{other}' is no ending of a transaction"))),
    })
}

fn connect(envelope: &mut Envelope, content: &str) -> Result<Message, Fault> {
    let name = envelope.need("name")?.into_owned();
    if name.is_empty() || name.len() > limit::NAME_BYTES_MAX {
        return Err(envelope.fault(format!("the name has 1 to {} bytes", limit::NAME_BYTES_MAX)));
    }
    let version = envelope.need("version")?;
    if version.parse() != Ok(VERSION) {
        let message = format!("the connection is to speak version '{version}'; this side speaks version {VERSION}");
        return Err(Fault::new(Code::VersionUnknown, message));
    }
    let account = optional(envelope, "account")?;
    let mut password = None;
    if !envelope.is_empty() {
        let root = root(envelope, content)?;
        let passwords = children(envelope, &root, &["Password"])?;
        if passwords.len() > 1 {
            return Err(envelope.fault("Connect has at most one Password"));
        }
        password = passwords.first().map(|element| Password(element.text()));
    }
    Ok(Message::Connect { name, account, password })
}

fn register(envelope: &mut Envelope, content: &str) -> Result<Message, Fault> {
    let name = needed(envelope, "service")?;
    let public =
        truth(envelope, "public")?.ok_or_else(|| envelope.fault("the attribute public of Register is missing"))?;
    let credit = number(envelope, "credit")?;
    let root = root(envelope, content)?;
    let operations = children(envelope, &root, &["Operation"])?;
    if operations.is_empty() || operations.len() > limit::SERVICE_OPERATIONS_MAX {
        let message = format!("a service signs up for 1 to {} operations", limit::SERVICE_OPERATIONS_MAX);
        return Err(envelope.fault(message));
    }
    let operations = operations.iter().map(|element| trim(&element.text()).parse()).collect::<Result<_, _>>()?;
    Ok(Message::Register { service: offer::Service { name, operations, public }, credit })
}

/// The document that the envelope wraps: a whole document by itself, without XML declaration.
pub(super) fn document(envelope: &Envelope) -> Result<Text, Fault> {
    let inside = trim(envelope.inside()?);
    if inside.is_empty() {
        return Err(envelope.fault(format!("{} wraps no document", envelope.local)));
    }
    if is_declared(inside) {
        return Err(envelope.fault("the document inside has an XML declaration; send it without"));
    }
    Text::parse(inside.as_bytes())
}

/// Line and column, where a fault's element has both.
fn fault(envelope: &mut Envelope, content: &str, code: &str, unknown: Code) -> Result<Fault, Fault> {
    let line = optional_number(envelope, "line")?;
    let column = optional_number(envelope, "column")?;
    fault_of(envelope, &root(envelope, content)?, code, unknown, line.zip(column))
}

/// A fault from its element. A code that this side does not know, of a newer one perhaps, is kept in the message.
fn fault_of(
    envelope: &Envelope,
    element: &Element,
    code: &str,
    unknown: Code,
    place: Option<(u32, u32)>,
) -> Result<Fault, Fault> {
    let words = children(envelope, element, &["Message", "Help"])?;
    let text = |name: &str| words.iter().find(|element| *element.name.local == *name).map(|element| element.text());
    let message = text("Message").ok_or_else(|| envelope.fault("a fault has a Message"))?;
    Ok(Fault {
        code: code.parse().unwrap_or(unknown),
        message: if code.parse::<Code>().is_ok() { message } else { format!("{message} (code {code})") },
        place: place.map(|(line, column)| Place { line, column }),
        help: text("Help"),
    })
}

/// The root element as a tree, for contents that come seldom and hold elements of the protocol.
fn root(envelope: &Envelope, content: &str) -> Result<Element, Fault> {
    envelope.inside()?;
    Ok(Text::parse(content.as_bytes())?.tree()?.root)
}

/// The child elements, which all are of the protocol and of these names.
fn children<'e>(envelope: &Envelope, element: &'e Element, names: &[&str]) -> Result<Vec<&'e Element>, Fault> {
    let children: Vec<_> = element.elements().collect();
    for child in &children {
        let local: &str = &child.name.local;
        if child.name.namespace.as_deref() != Some(NAMESPACE) || !names.contains(&local) {
            return Err(envelope.fault(format!("{} has no element {local} of namespace {NAMESPACE}", envelope.local)));
        }
    }
    Ok(children)
}

pub(super) fn needed<T: FromStr<Err = Fault>>(envelope: &mut Envelope, name: &str) -> Result<T, Fault> {
    envelope.need(name)?.parse()
}

pub(super) fn optional<T: FromStr<Err = Fault>>(envelope: &mut Envelope, name: &str) -> Result<Option<T>, Fault> {
    envelope.take(name).map(|value| value.parse()).transpose()
}

pub(super) fn number<T: FromStr>(envelope: &mut Envelope, name: &str) -> Result<T, Fault> {
    let value = envelope.need(name)?;
    parsed(envelope, name, &value)
}

pub(super) fn optional_number<T: FromStr>(envelope: &mut Envelope, name: &str) -> Result<Option<T>, Fault> {
    envelope.take(name).map(|value| parsed(envelope, name, &value)).transpose()
}

fn parsed<T: FromStr>(envelope: &Envelope, name: &str, value: &str) -> Result<T, Fault> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().ok()).flatten().ok_or_else(|| {
        envelope.fault(format!("the attribute {name} of {} is a number in decimal digits that fits", envelope.local))
    })
}

/// An attribute that is `true` or `false`.
pub(super) fn truth(envelope: &mut Envelope, name: &str) -> Result<Option<bool>, Fault> {
    match envelope.take(name).as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(envelope.fault(format!("the attribute {name} is true or false, not '{other}'"))),
    }
}

/// The one attribute of an element that has nothing else.
fn alone<T: FromStr<Err = Fault>>(envelope: &mut Envelope, name: &str) -> Result<T, Fault> {
    envelope.nothing_inside()?;
    needed(envelope, name)
}
