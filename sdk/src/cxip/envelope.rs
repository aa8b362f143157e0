//! The envelope around a message's content: its root's start tag, and where what lies between the tags begins and ends.
//! One pass over the start tag, none over what is inside; [`super::read`] asks, and gives the meaning.
//!
//! A root element that wraps a document is checked here by hand, the document by core's checker as a document of its own.
//! Together that is the well-formedness of the whole: the wrapped document may lean on nothing of the envelope.

use super::NAMESPACE;
use hansa_core::code::{Code, Fault, Place};
use std::borrow::Cow;

/// Attributes of an envelope's root, namespace declarations included.
const ATTRIBUTES_MAX: usize = 32;

/// The start tag of a content's root element.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    content: &'a str,
    /// The name as written, with its prefix.
    qualified: &'a str,
    /// The name without its prefix.
    pub(super) local: &'a str,
    attributes: Vec<(&'a str, Cow<'a, str>)>,
    /// Where the start tag ends.
    end: usize,
    empty: bool,
}

impl<'a> Envelope<'a> {
    /// Read the start tag of `content`'s root element.
    pub(super) fn open(content: &'a str) -> Result<Self, Fault> {
        let mut scan = Scan { content, at: 0 };
        scan.declaration()?;
        scan.spaces();
        if !scan.took(b'<') {
            return Err(scan.fault("here the root element should begin"));
        }
        let qualified = scan.name()?;
        let mut attributes: Vec<(&str, Cow<str>)> = Vec::with_capacity(12);
        let empty = loop {
            let spaced = scan.spaces();
            if scan.took(b'>') {
                break false;
            }
            if scan.took(b'/') {
                if scan.took(b'>') {
                    break true;
                }
                return Err(scan.fault("here the start tag should end with '/>'"));
            }
            if !spaced {
                return Err(scan.fault("attributes are separated by space"));
            }
            let name = scan.name()?;
            scan.spaces();
            if !scan.took(b'=') {
                return Err(scan.fault(format!("the attribute {name} has no value")));
            }
            scan.spaces();
            let value = scan.value()?;
            if attributes.len() == ATTRIBUTES_MAX {
                return Err(scan.fault(format!("the root element has more than {ATTRIBUTES_MAX} attributes")));
            }
            if attributes.iter().any(|(other, _)| *other == name) {
                return Err(scan.fault(format!("the attribute {name} is there twice")));
            }
            attributes.push((name, value));
        };
        let (prefix, local) =
            split(qualified).ok_or_else(|| scan.fault("the root element's name has several colons"))?;
        let mut envelope = Self { content, qualified, local, attributes, end: scan.at, empty };
        envelope.check_namespaces(prefix).map_err(|message| Scan { content, at: 0 }.fault(message))?;
        Ok(envelope)
    }

    /// Take the namespace declarations out of the attributes; what remains has no prefix.
    fn check_namespaces(&mut self, prefix: &str) -> Result<(), String> {
        let mut namespace = None;
        let mut wrong = None;
        self.attributes.retain(|(name, value)| {
            let declared = match split(name) {
                Some(("", "xmlns")) => "",
                Some(("", _)) => return true,
                Some(("xmlns", declared)) if !declared.starts_with("xml") && !value.is_empty() => declared,
                _ => {
                    wrong.get_or_insert_with(|| {
                        format!("the root element has an attribute {name}, which does not belong there")
                    });
                    return false;
                }
            };
            if declared == prefix {
                namespace = Some(value.clone());
            }
            false
        });
        match (wrong, namespace) {
            (Some(wrong), _) => Err(wrong),
            (None, Some(namespace)) if namespace == NAMESPACE => Ok(()),
            _ => Err(format!("the root element {} is not in the namespace {NAMESPACE}", self.qualified)),
        }
    }

    /// Take out the value of an attribute, if it is there.
    pub(super) fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let place = self.attributes.iter().position(|(other, _)| *other == name)?;
        Some(self.attributes.swap_remove(place).1)
    }

    /// Take out the value of an attribute that must be there.
    pub(super) fn need(&mut self, name: &str) -> Result<Cow<'a, str>, Fault> {
        self.take(name).ok_or_else(|| self.fault(format!("the attribute {name} of {} is missing", self.local)))
    }

    /// Nothing may be left of the attributes.
    pub(super) fn no_more(&self) -> Result<(), Fault> {
        match self.attributes.first() {
            None => Ok(()),
            Some((name, _)) => Err(self.fault(format!("{} has no attribute {name}", self.local))),
        }
    }

    /// What lies between the root's tags.
    pub(super) fn inside(&self) -> Result<&'a str, Fault> {
        let rest = trim(&self.content[self.end..]);
        if self.empty {
            return if rest.is_empty() { Ok("") } else { Err(self.trailing()) };
        }
        rest.strip_suffix('>')
            .map(|rest| rest.trim_end_matches(is_space))
            .and_then(|rest| rest.strip_suffix(self.qualified))
            .and_then(|rest| rest.strip_suffix("</"))
            .ok_or_else(|| self.trailing())
    }

    /// There is nothing between the root's tags.
    pub(super) fn nothing_inside(&self) -> Result<(), Fault> {
        if trim(self.inside()?).is_empty() {
            return Ok(());
        }
        Err(self.fault(format!("{} is empty, but for its attributes", self.local)))
    }

    /// Whether the root is an empty-element tag with nothing behind it.
    pub(super) fn is_empty(&self) -> bool {
        self.empty && trim(&self.content[self.end..]).is_empty()
    }

    /// A fault of this envelope.
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Scan { content: self.content, at: 0 }.fault(message)
    }

    fn trailing(&self) -> Fault {
        Scan { content: self.content, at: self.content.trim_end_matches(is_space).len() }
            .fault(format!("the content does not end with the end of its root element {}", self.qualified))
    }
}

/// A name as prefix and local part.
fn split(name: &str) -> Option<(&str, &str)> {
    match name.split_once(':') {
        None => Some(("", name)),
        Some((prefix, local)) => {
            let whole = !prefix.is_empty()
                && local.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
                && !local.contains(':');
            whole.then_some((prefix, local))
        }
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

/// Whether it begins with an XML declaration.
pub(super) fn is_declared(text: &str) -> bool {
    text.strip_prefix("<?xml").is_some_and(|rest| rest.starts_with(is_space))
}

/// Without the white space of XML around it, which is less than Unicode's.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether XML 1.0 can have this character at all.
pub(super) fn is_xml(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// A byte of a name.
const NAME: u8 = 1;
/// A byte that stands for itself in an attribute's value.
const PLAIN: u8 = 2;

/// What each byte is.
const CLASS: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':') {
            classes[byte as usize] |= NAME;
        }
        if !matches!(byte, b'&' | b'<') {
            classes[byte as usize] |= PLAIN;
        }
        byte += 1;
    }
    classes
};

struct Scan<'a> {
    content: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        &self.content[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.content.as_bytes().get(self.at).copied()
    }

    fn took(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn spaces(&mut self) -> bool {
        let before = self.at;
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.at > before
    }

    /// An XML declaration may stand at the very beginning; it must not name another encoding.
    fn declaration(&mut self) -> Result<(), Fault> {
        if !is_declared(self.content) {
            return Ok(());
        }
        let end = self.content.find("?>").ok_or_else(|| self.fault("the XML declaration does not end"))?;
        let declaration = self.content[6..end].to_ascii_lowercase();
        if declaration.contains(['<', '>']) || !declaration.contains("version") {
            return Err(self.fault("the XML declaration is malformed"));
        }
        if declaration.contains("encoding") && !declaration.contains("utf-8") {
            return Err(Fault::new(Code::DocumentEncoding, "the content declares another encoding than UTF-8"));
        }
        self.at = end + 2;
        Ok(())
    }

    /// The envelope's own names, prefixes included, are ASCII.
    fn name(&mut self) -> Result<&'a str, Fault> {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| CLASS[byte as usize] & NAME == 0).unwrap_or(rest.len());
        if !rest.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_') {
            return Err(self.fault("here a name should be"));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn value(&mut self) -> Result<Cow<'a, str>, Fault> {
        let quote = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => quote,
            _ => return Err(self.fault("an attribute's value stands in quotes")),
        };
        self.at += 1;
        let rest = self.rest();
        let length =
            rest.bytes().position(|byte| byte == quote).ok_or_else(|| self.fault("a value has no end quote"))?;
        let raw = &rest[..length];
        let plain = raw.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'&' && byte != b'<');
        let value = if plain { Cow::Borrowed(raw) } else { Cow::Owned(self.unescape(raw)?) };
        self.at += length + 1;
        Ok(value)
    }

    /// Resolve references and normalize white space, as XML has it for attributes.
    fn unescape(&self, raw: &str) -> Result<String, Fault> {
        let mut value = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(character) = rest.chars().next() {
            let mut used = character.len_utf8();
            match character {
                '<' => return Err(self.fault("a value has a '<'; write '&lt;'")),
                '&' => {
                    let (reference, _) = rest[1..]
                        .split_once(';')
                        .ok_or_else(|| self.fault("a value has an '&' that begins no reference; write '&amp;'"))?;
                    used += reference.len() + 1;
                    value.push(
                        resolve(reference)
                            .ok_or_else(|| self.fault("a value has a reference that XML does not know"))?,
                    );
                }
                // White space as such becomes one space; the end of a line of CR LF is one.
                '\r' if rest[1..].starts_with('\n') => (),
                '\t' | '\n' | '\r' => value.push(' '),
                character if is_xml(character) => value.push(character),
                _ => return Err(self.fault("a value has a character that XML cannot have")),
            }
            rest = &rest[used..];
        }
        Ok(value)
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        let before = &self.content.as_bytes()[..self.at.min(self.content.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        // Columns count characters: every byte that does not continue one.
        let column = before[line_start..].iter().filter(|byte| **byte & 0xc0 != 0x80).count() + 1;
        Fault::new(Code::MessageMalformed, message).at(Place { line: line as u32, column: column as u32 })
    }
}

pub(super) fn resolve(reference: &str) -> Option<char> {
    match reference {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = reference.strip_prefix('#')?;
            let digits = number.strip_prefix('x').unwrap_or(number);
            let radix = if digits.len() < number.len() { 16 } else { 10 };
            let numeric = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let code = numeric.then(|| u32::from_str_radix(digits, radix).ok())??;
            char::from_u32(code).filter(|character| is_xml(*character))
        }
    }
}
