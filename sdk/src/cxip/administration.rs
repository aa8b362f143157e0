//! The contents of the administration port as XML: what [`super::read`] and [`super::write`] do for all others. They carry
//! JSON, whose meaning is the node's; here it is text, which is written so that it stays as short as it is.

use super::{
    Message,
    envelope::{Envelope, is_xml, resolve, trim},
    read::truth,
    write::Root,
};
use bytes::BytesMut;
use hansa_core::code::Fault;

/// The content of this name, if it is one of these.
pub(super) fn read(envelope: &mut Envelope) -> Result<Option<Message>, Fault> {
    Ok(Some(match envelope.local {
        "Administer" => Message::Administer { request: json(envelope)? },
        "Administered" => {
            Message::Administered { more: truth(envelope, "more")?.unwrap_or(false), answer: json(envelope)? }
        }
        _ => return Ok(None),
    }))
}

/// Append the content of `message`, if it is one of these.
pub(super) fn write(buffer: &mut BytesMut, message: &Message) {
    match message {
        Message::Administer { request } => {
            Root::open(buffer, "Administer").children(|buffer| put(buffer, request));
        }
        Message::Administered { answer, more } => Root::open(buffer, "Administered")
            .optional("more", more.then_some(true).as_ref())
            .children(|buffer| put(buffer, answer)),
        _ => (),
    }
}

/// JSON as CDATA sections, in which nothing has to be escaped but what would end one, a carriage return, which a reader of XML
/// takes for the end of a line, and what XML cannot say at all. The last has an escape in JSON, in whose strings alone it can be.
fn put(buffer: &mut BytesMut, json: &str) {
    buffer.extend_from_slice(b"<![CDATA[");
    let mut plain = 0;
    for (place, character) in json.char_indices() {
        let escaped = match character {
            '>' if json[..place].ends_with("]]") => "]]><![CDATA[>".to_owned(),
            '\r' => "]]>&#13;<![CDATA[".to_owned(),
            character if is_xml(character) => continue,
            character => format!("\\u{:04x}", u32::from(character)),
        };
        buffer.extend_from_slice(&json.as_bytes()[plain..place]);
        buffer.extend_from_slice(escaped.as_bytes());
        plain = place + character.len_utf8();
    }
    buffer.extend_from_slice(&json.as_bytes()[plain..]);
    buffer.extend_from_slice(b"]]>");
}

/// The text inside: plain, with references, in CDATA sections, or mixed. There are no elements and no comments.
fn json(envelope: &Envelope) -> Result<String, Fault> {
    let wrong = |what: &str| envelope.fault(format!("{} holds JSON as text, and {what}", envelope.local));
    let mut rest = trim(envelope.inside()?);
    let mut text = String::with_capacity(rest.len());
    while !rest.is_empty() {
        if let Some(section) = rest.strip_prefix("<![CDATA[") {
            let (inside, behind) =
                section.split_once("]]>").ok_or_else(|| wrong("a CDATA section in it does not end"))?;
            push_lines(&mut text, inside);
            rest = behind;
        } else if let Some(reference) = rest.strip_prefix('&') {
            // The longest reference to a character, &#x10ffff; with some zeros, is short.
            let end = reference.bytes().take(16).position(|byte| byte == b';');
            let end = end.ok_or_else(|| wrong("an '&' in it begins no reference"))?;
            text.push(resolve(&reference[..end]).ok_or_else(|| wrong("a reference in it is none of XML's"))?);
            rest = &reference[end + 1..];
        } else if rest.starts_with('<') {
            return Err(wrong("there is an element or a comment in it"));
        } else {
            let end = rest.find(['<', '&']).unwrap_or(rest.len());
            if rest[..end].contains("]]>") {
                return Err(wrong("']]>' in it ends no CDATA section"));
            }
            push_lines(&mut text, &rest[..end]);
            rest = &rest[end..];
        }
    }
    if !text.chars().all(is_xml) {
        return Err(wrong("a character in it is none that XML can have"));
    }
    if text.is_empty() {
        return Err(wrong("there is none"));
    }
    Ok(text)
}

/// Text as it stands in the message: every end of a line in it is read as one line feed (XML 1.0, 2.11).
fn push_lines(text: &mut String, written: &str) {
    let mut lines = written.split('\r');
    text.push_str(lines.next().unwrap_or_default());
    for line in lines {
        text.push('\n');
        text.push_str(line.strip_prefix('\n').unwrap_or(line));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Assembly, Frame, Kind, NAMESPACE, encode, read::message};
    use super::*;
    use hansa_core::code::Code;

    fn there_and_back(message: &Message) -> Message {
        let mut bytes = BytesMut::new();
        encode(&mut bytes, 1, 0, 1, message).unwrap();
        let frames = std::iter::from_fn({
            let mut assembly = Assembly::default();
            move || assembly.decode(&mut bytes).unwrap()
        });
        let [Frame { message, .. }] = &frames.collect::<Vec<_>>()[..] else { panic!("one message") };
        message.clone().unwrap()
    }

    // T14: what the JSON says survives, whatever it has that XML cares for.
    #[test]
    fn json_says_the_same_behind_the_wire() {
        let words = "<a b=\"c\">]]>]]&gt;</a>\r\n\u{fffe} ü 😀 & ]] > \u{7f}";
        let json = serde_json_text(words);
        let request = Message::Administer { request: json.clone() };
        let Message::Administer { request } = there_and_back(&request) else { panic!("it is the same content") };
        assert_eq!(json_words(&request), words);
        for more in [false, true] {
            let large = Message::Administered { answer: format!("\"{}\"", "x".repeat(300_000)), more };
            assert_eq!(there_and_back(&large), large);
        }
    }

    /// A JSON string that leaves in as much as JSON lets it.
    fn serde_json_text(words: &str) -> String {
        format!("\"{}\"", words.replace('\\', "\\\\").replace('"', "\\\"").replace('\r', "\\r").replace('\n', "\\n"))
    }

    fn json_words(json: &str) -> String {
        let inside = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap();
        inside.replace("\\ufffe", "\u{fffe}").replace("\\r", "\r").replace("\\n", "\n").replace("\\\"", "\"")
    }

    // Found by fuzzing: a carriage return was read as such and written as two other characters.
    #[test]
    fn what_was_read_is_written_so_that_it_is_read_as_the_same() {
        for (inside, read) in [
            ("<![CDATA[{\r\n\r}\r]]>", "{\n\n}\n"),
            ("{\r\n}", "{\n}"),
            ("{&#13;&#10;}&#13;", "{\r\n}\r"),
            ("]]&gt;]]]]&gt;", "]]>]]]]>"),
        ] {
            let content = format!("<Administer xmlns='{NAMESPACE}'>{inside}</Administer>");
            let first = message(Kind::Request, content.as_bytes()).unwrap();
            assert_eq!(first, Message::Administer { request: read.to_owned() });
            assert_eq!(there_and_back(&first), first);
        }
    }

    #[test]
    fn text_may_be_written_as_any_xml_library_writes_it_and_nothing_else_is_json() {
        let read = |inside: &str| {
            let content = format!("<Administer xmlns='{NAMESPACE}'>{inside}</Administer>");
            message(Kind::Request, content.as_bytes())
        };
        for inside in ["{\"a\":\"&lt;\"}", " {&quot;a&quot;:<![CDATA[\"<\"]]>} ", "<![CDATA[{\"a\":\"<\"}]]>"] {
            let Ok(Message::Administer { request }) = read(inside) else { panic!("{inside}") };
            assert_eq!(request, "{\"a\":\"<\"}");
        }
        for inside in [
            "",
            " ",
            "<a/>",
            "<!-- {} -->",
            "{}<![CDATA[",
            "&unknown;",
            "&amp",
            "]]>",
            "{\u{1}}",
            "<![CDATA[\u{fffe}]]>",
        ] {
            assert_eq!(read(inside).unwrap_err().code, Code::MessageMalformed, "{inside}");
        }
    }
}
