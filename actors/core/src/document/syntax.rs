//! The smallest parts of XML 1.0: characters, names, references, white space and attributes, as text and byte offsets.
//!
//! The checker calls it with the text that it walks through; nothing here knows elements, namespaces in scope or limits.
//! What is wrong comes back as a [`Flaw`], with a byte offset; lines and columns are counted only for the one flaw that
//! is reported.

use crate::code::{Code, Fault, Place};
use std::borrow::Cow;

/// What is wrong, and at which byte of the text.
#[derive(Debug)]
pub(super) struct Flaw {
    pub code: Code,
    pub at: usize,
    pub message: String,
    pub help: Option<String>,
}

impl Flaw {
    pub fn new(code: Code, at: usize, message: impl Into<String>) -> Self {
        Self { code, at, message: message.into(), help: None }
    }

    pub fn malformed(at: usize, message: impl Into<String>) -> Self {
        Self::new(Code::DocumentMalformed, at, message)
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The fault for people: the offset becomes line and column of `text`.
    pub fn into_fault(self, text: &str) -> Fault {
        let place = place_of(text, self.at);
        Fault { code: self.code, message: self.message, place: Some(place), help: self.help }
    }
}

/// Counts lines and characters forward through a text, so that many places cost one pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceCounter {
    at: usize,
    place: Place,
}

impl PlaceCounter {
    pub fn new() -> Self {
        Self { at: 0, place: Place { line: 1, column: 1 } }
    }

    /// The place of byte `at`, which must not lie before the one asked for last. A line ends with `\n`, `\r` or both.
    pub fn advance(&mut self, text: &str, at: usize) -> Place {
        let bytes = text.as_bytes();
        while self.at < at {
            match bytes[self.at] {
                // The `\n` after it will end the line.
                b'\r' if bytes.get(self.at + 1) == Some(&b'\n') => {
                    self.place.column = self.place.column.saturating_add(1)
                }
                b'\n' | b'\r' => self.place = Place { line: self.place.line.saturating_add(1), column: 1 },
                // Continuation bytes of UTF-8 belong to the character before.
                0x80..=0xBF => {}
                _ => self.place.column = self.place.column.saturating_add(1),
            }
            self.at += 1;
        }
        self.place
    }
}

/// Line and column of byte `at`.
pub(super) fn place_of(text: &str, at: usize) -> Place {
    PlaceCounter::new().advance(text, at)
}

/// A piece of the document as a message shows it: never longer than a line, never with control characters.
pub(super) fn shown(piece: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let mut shown: String = piece
        .chars()
        .take(CHARACTERS_MAX)
        .map(|character| if character.is_control() { '\u{FFFD}' } else { character })
        .collect();
    if piece.chars().nth(CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// The character at byte `at` for a message.
pub(super) fn shown_character(text: &str, at: usize) -> String {
    match text.get(at..).and_then(|rest| rest.chars().next()) {
        None => "the end of the document".into(),
        Some(character) if character.is_control() || character.is_whitespace() => format!("U+{:04X}", character as u32),
        Some(character) => format!("'{character}'"),
    }
}

/// The production `S`.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The production `Char`.
pub(super) const fn is_character(character: char) -> bool {
    !matches!(character, '\0'..='\x08' | '\x0B' | '\x0C' | '\x0E'..='\x1F' | '\u{FFFE}' | '\u{FFFF}')
}

/// The first byte of the first character that XML 1.0 forbids.
pub(super) fn first_forbidden(text: &str) -> Option<usize> {
    // Whole documents pass through here, so the common case is a loop without branches that compilers vectorize. 0xEF
    // begins U+FFFE and U+FFFF, and also some characters that are allowed.
    let suspicious = text.as_bytes().iter().fold(false, |found, &byte| {
        found | ((byte < 0x20) & (byte != b'\t') & (byte != b'\n') & (byte != b'\r')) | (byte == 0xEF)
    });
    if !suspicious {
        return None;
    }
    text.char_indices().find(|&(_, character)| !is_character(character)).map(|(at, _)| at)
}

/// The production `NameStartChar`, without the colon, which namespaces give a meaning of its own.
const fn is_name_start(character: char) -> bool {
    matches!(character,
        'A'..='Z' | 'a'..='z' | '_' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}'
        | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}'
        | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}'
        | '\u{10000}'..='\u{EFFFF}')
}

/// The production `NameChar`, without the colon.
const fn is_name_character(character: char) -> bool {
    is_name_start(character)
        || matches!(character, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

/// Bytes that a name can consist of, the colon and all of non-ASCII included; those are looked at more closely later.
const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte >= 0x80 || byte == b':' as usize || is_name_character(byte as u8 as char);
        byte += 1;
    }
    table
};

/// Whether `text` is a name without a colon (`NCName`), so that it can name an element or an attribute.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(is_name_start) && characters.all(is_name_character)
}

/// A name as it is written: whole, and where its prefix ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'a> {
    pub whole: &'a str,
    colon: Option<usize>,
}

impl<'a> Written<'a> {
    /// What stands before the colon, or nothing.
    pub fn prefix(&self) -> &'a str {
        self.colon.map_or("", |colon| &self.whole[..colon])
    }

    /// What stands after the colon, or the whole.
    pub fn local(&self) -> &'a str {
        self.colon.map_or(self.whole, |colon| &self.whole[colon + 1..])
    }
}

/// The name that begins at byte `from`; `of` says whose, for messages.
pub(super) fn name<'a>(text: &'a str, from: usize, to: usize, of: &'static str) -> Result<Written<'a>, Flaw> {
    let bytes = text.as_bytes();
    let (mut end, mut colon, mut ascii) = (from, None, true);
    while end < to && NAME_BYTES[usize::from(bytes[end])] {
        if bytes[end] == b':' && colon.is_none() {
            colon = Some(end - from);
        }
        ascii &= bytes[end].is_ascii();
        end += 1;
    }
    let whole = &text[from..end];
    let written = Written { whole, colon };
    let starts = |at: usize| bytes.get(at).is_some_and(|&byte| is_name_start(byte as char));
    // The common case is decided by two bytes; all others, faulty or not ASCII, are decided by characters.
    let plain = ascii
        && starts(from)
        && colon.is_none_or(|colon| {
            colon + 1 < whole.len() && starts(from + colon + 1) && !bytes[from + colon + 1..end].contains(&b':')
        });
    if plain || (!whole.is_empty() && whole.split(':').count() <= 2 && whole.split(':').all(is_name)) {
        return Ok(written);
    }
    Err(name_flaw(text, written, from, of))
}

/// Says what is wrong with a name that is none.
#[cold]
fn name_flaw(text: &str, written: Written<'_>, from: usize, of: &'static str) -> Flaw {
    if written.whole.is_empty() {
        return Flaw::malformed(from, format!("{of} should stand here, not {}", shown_character(text, from))).help(
            "Give it a name that begins with a letter or '_'; a literal '<' is written &lt; and a literal '&' &amp;.",
        );
    }
    let mut part_begins = true;
    for (at, character) in written.whole.char_indices() {
        let right = match character {
            // Where colons stand is judged last.
            ':' => true,
            _ if part_begins => is_name_start(character),
            _ => is_name_character(character),
        };
        if !right {
            let message = format!(
                "{} cannot {} the name '{}' of {of}",
                shown_character(written.whole, at),
                if part_begins { "begin" } else { "stand in" },
                shown(written.whole)
            );
            return Flaw::malformed(from + at, message)
                .help("Use letters, digits, '_', '-' and '.', and begin with a letter or '_'.");
        }
        part_begins = character == ':';
    }
    Flaw::malformed(from, format!("the name '{}' of {of} has a colon in the wrong place", shown(written.whole)))
        .help("Write either a plain name, or a namespace prefix, one colon and a name.")
}

/// One attribute as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawAttribute<'a> {
    pub name: Written<'a>,
    pub name_at: usize,
    pub value: &'a str,
    pub value_at: usize,
}

/// Walks through the attributes between the bytes `at` and `to`, where a tag's name and its end are.
pub(super) struct RawAttributes<'a> {
    pub text: &'a str,
    pub at: usize,
    pub to: usize,
}

impl<'a> RawAttributes<'a> {
    /// The next attribute, or `None` behind the last one. Values are as written: not yet checked, not normalized.
    pub fn next(&mut self) -> Result<Option<RawAttribute<'a>>, Flaw> {
        let before = self.at;
        self.skip_space();
        if self.at == self.to {
            return Ok(None);
        }
        let name_at = self.at;
        if before == name_at {
            let message = format!("white space should stand before {}", shown_character(self.text, name_at));
            return Err(Flaw::malformed(name_at, message).help("Separate the name and each attribute by a space."));
        }
        let name = name(self.text, name_at, self.to, "an attribute")?;
        self.at += name.whole.len();
        self.skip_space();
        if self.byte() != Some(b'=') {
            let message = format!("the attribute '{0}' has no value: write {0}=\"…\"", shown(name.whole));
            return Err(Flaw::malformed(name_at, message));
        }
        self.at += 1;
        self.skip_space();
        let Some(quote) = self.byte().filter(|byte| matches!(byte, b'"' | b'\'')) else {
            let message = format!("the value of the attribute '{}' is not in quotes", shown(name.whole));
            return Err(Flaw::malformed(self.at, message).help("Put the value in quotes: name=\"value\"."));
        };
        let value_at = self.at + 1;
        let Some(length) = self.text.as_bytes()[value_at..self.to].iter().position(|&byte| byte == quote) else {
            let message = format!("the value of the attribute '{}' is not closed with a quote", shown(name.whole));
            return Err(Flaw::malformed(self.at, message));
        };
        self.at = value_at + length + 1;
        Ok(Some(RawAttribute { name, name_at, value: &self.text[value_at..value_at + length], value_at }))
    }

    fn byte(&self) -> Option<u8> {
        (self.at < self.to).then(|| self.text.as_bytes()[self.at])
    }

    fn skip_space(&mut self) {
        while self.byte().is_some_and(is_space) {
            self.at += 1;
        }
    }
}

/// The reference whose `&` is at byte `at`, and the byte behind its `;`.
pub(super) fn reference(text: &str, at: usize, to: usize) -> Result<(char, usize), Flaw> {
    let bytes = &text.as_bytes()[..to];
    let body = at + 1;
    if bytes.get(body) == Some(&b'#') {
        return numeric_reference(text, at, to);
    }
    let length = bytes[body..].iter().take_while(|&&byte| NAME_BYTES[usize::from(byte)]).count();
    let entity = &text[body..body + length];
    if entity.is_empty() || bytes.get(body + length) != Some(&b';') {
        return Err(Flaw::malformed(at, "a '&' stands here that begins no reference")
            .help("Write a literal '&' as &amp;; a reference ends with ';'."));
    }
    let character = match entity {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "apos" => '\'',
        "quot" => '"',
        _ => {
            return Err(Flaw::malformed(at, format!("the entity &{}; is not defined", shown(entity)))
                .help("Only &lt; &gt; &amp; &apos; and &quot; are; write other characters as they are, in UTF-8."));
        }
    };
    Ok((character, body + length + 1))
}

/// `&#…;` or `&#x…;` at byte `at`.
fn numeric_reference(text: &str, at: usize, to: usize) -> Result<(char, usize), Flaw> {
    let bytes = &text.as_bytes()[..to];
    let (first, radix) = if bytes.get(at + 2) == Some(&b'x') { (at + 3, 16) } else { (at + 2, 10) };
    let mut end = first;
    let mut number = 0_u32;
    while let Some(digit) = bytes.get(end).and_then(|&byte| (byte as char).to_digit(radix)) {
        number = number.saturating_mul(radix).saturating_add(digit);
        end += 1;
    }
    if end == first || bytes.get(end) != Some(&b';') {
        return Err(Flaw::malformed(at, "a character reference begins here that has no number or no ';'")
            .help("Write &#10; or &#xA;; write a literal '&' as &amp;."));
    }
    match char::from_u32(number).filter(|&character| is_character(character)) {
        Some(character) => Ok((character, end + 1)),
        None => {
            let message = format!("{} stands for a character that XML forbids", shown(&text[at..=end]));
            Err(Flaw::malformed(at, message).help("Remove it; XML has no way to write most control characters."))
        }
    }
}

/// An attribute's value as XML means it: references resolved, every literal line end or tab a space.
pub(super) fn normalized_value(raw: &str) -> Cow<'_, str> {
    if !raw.bytes().any(|byte| matches!(byte, b'&' | b'\t' | b'\n' | b'\r')) {
        return Cow::Borrowed(raw);
    }
    let mut value = String::with_capacity(raw.len());
    let (mut at, mut copied) = (0, 0);
    while at < raw.len() {
        let (replacement, next) = match raw.as_bytes()[at] {
            b'&' => reference(raw, at, raw.len()).unwrap_or(('&', at + 1)),
            b'\r' if raw.as_bytes().get(at + 1) == Some(&b'\n') => (' ', at + 2),
            b'\t' | b'\n' | b'\r' => (' ', at + 1),
            _ => {
                at += 1;
                continue;
            }
        };
        value.push_str(&raw[copied..at]);
        value.push(replacement);
        (at, copied) = (next, next);
    }
    value.push_str(&raw[copied..]);
    Cow::Owned(value)
}
