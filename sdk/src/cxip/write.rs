//! From a message to its XML. Elements carry the prefix `cx`, so that no namespace reaches into the document that they wrap.

use super::{Acknowledgement, Message, NAMESPACE, Refusal, administration, envelope::is_xml, topics, whereabouts};
use bytes::BytesMut;
use hansa_core::{
    code::Fault,
    document::Text,
    invocation::Invocation,
    session::{Ending, Response},
};
use std::fmt::{Display, Write as _};

/// Append the content of `message`.
pub(super) fn content(buffer: &mut BytesMut, message: &Message) {
    match message {
        Message::Connect { name, account, password } => {
            let root = Root::open(buffer, "Connect").text("name", name).value("version", super::VERSION);
            let root = root.optional("account", account.as_ref());
            match password {
                None => root.end(),
                Some(password) => root.children(|buffer| child(buffer, "Password", &password.0)),
            }
        }
        Message::Register { service, credit } => Root::open(buffer, "Register")
            .value("service", &service.name)
            .value("public", service.public)
            .value("credit", credit)
            .children(|buffer| {
                for operation in &service.operations {
                    child(buffer, "Operation", operation.as_str());
                }
            }),
        Message::Submit { definition, transaction, document } => Root::open(buffer, "Submit")
            .value("definition", definition)
            .optional("transaction", transaction.as_ref())
            .document(document),
        Message::Await { transaction } => Root::open(buffer, "Await").value("transaction", transaction).end(),
        Message::Query { transaction } => Root::open(buffer, "Query").value("transaction", transaction).end(),
        Message::Cancel { transaction } => Root::open(buffer, "Cancel").value("transaction", transaction).end(),
        Message::Perform { service, invocation } => {
            let Invocation { id, context, target, document, deadline } = invocation;
            Root::open(buffer, "Perform")
                .value("service", service)
                .value("operation", &target.operation)
                .value("invocation", id)
                .value("transaction", context.transaction)
                .value("definition", &context.definition)
                .value("operation-id", context.operation)
                .value("attempt", context.attempt)
                .optional("priority", (context.priority > 0).then_some(context.priority).as_ref())
                .optional("deadline", deadline.map(|moment| moment.0).as_ref())
                .value("organization", context.organization)
                .document(document);
        }
        Message::Withdraw { invocation } => Root::open(buffer, "Withdraw").value("invocation", invocation).end(),
        Message::Completed { invocation, service, document } => {
            Root::open(buffer, "Completed").value("invocation", invocation).value("service", service).document(document)
        }
        Message::Failed { invocation, service, fault } => {
            let root = Root::open(buffer, "Failed").value("invocation", invocation).value("service", service);
            place(root.value("code", fault.code), fault).children(|buffer| words(buffer, fault));
        }
        Message::Response(response) => self::response(buffer, response),
        Message::Status(status) => Root::open(buffer, "Status")
            .value("transaction", status.transaction)
            .value("definition", &status.definition)
            .text("state", &status.state)
            .value("operations", status.operations)
            .value("operations-ended", status.operations_ended)
            .end(),
        Message::Acknowledged(Acknowledgement { tracking, organization, city, alternates }) => {
            Root::open(buffer, "Acknowledged")
                .optional("transaction", tracking.transaction.as_ref())
                .optional("invocation", tracking.invocation.as_ref())
                .optional("publication", tracking.publication.as_ref())
                .optional("moment", tracking.moment.map(|moment| moment.0).as_ref())
                .optional_text("word", tracking.word.as_deref())
                .optional("durability", tracking.durability.as_ref())
                .optional_text("organization", organization.as_ref().map(|name| name.as_str()))
                .optional_text("city", city.as_ref().map(|city| city.as_str()))
                .optional_text("alternates", whereabouts::joined(alternates).as_deref())
                .end()
        }
        Message::Refused(Refusal { fault, retry_after_ms, address }) => {
            let root = Root::open(buffer, "Refused").value("code", fault.code);
            let address = address.as_deref().filter(|address| whereabouts::is_address(address));
            place(
                root.optional("retry-after-ms", retry_after_ms.as_ref()).optional("address", address.as_ref()),
                fault,
            )
            .children(|buffer| words(buffer, fault));
        }
        Message::Publish { .. }
        | Message::Notify { .. }
        | Message::Subscribe { .. }
        | Message::Unsubscribe { .. }
        | Message::Signal { .. } => topics::write(buffer, message),
        Message::Administer { .. } | Message::Administered { .. } => administration::write(buffer, message),
        Message::Probe => (),
    }
}

fn response(buffer: &mut BytesMut, response: &Response) {
    let root = Root::open(buffer, "Response")
        .value("transaction", response.transaction)
        .value("definition", &response.definition)
        .value("ending", response.ending.word())
        .optional("durability", response.durability.as_ref());
    match &response.ending {
        Ending::Completed(document) => root.document(document),
        Ending::Failed(fault) => root.children(|buffer| {
            place(Root::inner(buffer, "Fault").value("code", fault.code), fault)
                .children(|buffer| words(buffer, fault));
        }),
        Ending::TimedOut | Ending::Cancelled => root.end(),
    }
}

fn place<'b>(root: Root<'b>, fault: &Fault) -> Root<'b> {
    root.optional("line", fault.place.map(|place| place.line).as_ref())
        .optional("column", fault.place.map(|place| place.column).as_ref())
}

fn words(buffer: &mut BytesMut, fault: &Fault) {
    child(buffer, "Message", &fault.message);
    if let Some(help) = &fault.help {
        child(buffer, "Help", help);
    }
}

/// An element whose start tag is being written.
pub(super) struct Root<'b> {
    buffer: &'b mut BytesMut,
    name: &'static str,
}

impl<'b> Root<'b> {
    pub(super) fn open(buffer: &'b mut BytesMut, name: &'static str) -> Self {
        let root = Self::inner(buffer, name);
        put(root.buffer, " xmlns:cx=\"");
        put(root.buffer, NAMESPACE);
        put(root.buffer, "\"");
        root
    }

    /// An element inside another, where the prefix is declared already.
    fn inner(buffer: &'b mut BytesMut, name: &'static str) -> Self {
        put(buffer, "<cx:");
        put(buffer, name);
        Self { buffer, name }
    }

    /// An attribute whose value has nothing to escape: a number, an id, a checked name.
    pub(super) fn value(self, name: &str, value: impl Display) -> Self {
        put(self.buffer, " ");
        put(self.buffer, name);
        write!(self.buffer, "=\"{value}\"").expect("a buffer in memory takes everything");
        self
    }

    pub(super) fn optional(self, name: &str, value: Option<&impl Display>) -> Self {
        match value {
            Some(value) => self.value(name, value),
            None => self,
        }
    }

    fn text(self, name: &str, value: &str) -> Self {
        put(self.buffer, " ");
        put(self.buffer, name);
        put(self.buffer, "=\"");
        escape(self.buffer, value);
        put(self.buffer, "\"");
        self
    }

    fn optional_text(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    pub(super) fn end(self) {
        put(self.buffer, "/>");
    }

    pub(super) fn document(self, document: &Text) {
        self.children(|buffer| put(buffer, document.without_declaration()));
    }

    pub(super) fn children(self, write: impl FnOnce(&mut BytesMut)) {
        put(self.buffer, ">");
        write(self.buffer);
        put(self.buffer, "</cx:");
        put(self.buffer, self.name);
        put(self.buffer, ">");
    }
}

fn child(buffer: &mut BytesMut, name: &'static str, text: &str) {
    Root::inner(buffer, name).children(|buffer| escape(buffer, text));
}

fn put(buffer: &mut BytesMut, text: &str) {
    buffer.extend_from_slice(text.as_bytes());
}

/// Good for attributes and for text. What XML cannot say at all becomes the replacement character.
fn escape(buffer: &mut BytesMut, text: &str) {
    let mut plain = 0;
    for (place, character) in text.char_indices() {
        let escaped = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\t' => "&#9;",
            '\n' => "&#10;",
            '\r' => "&#13;",
            character if is_xml(character) => continue,
            _ => "\u{fffd}",
        };
        put(buffer, &text[plain..place]);
        put(buffer, escaped);
        plain = place + character.len_utf8();
    }
    put(buffer, &text[plain..]);
}
