//! What is not an element: the encoding of the bytes, the XML declaration and processing instructions.
//!
//! The checker calls it for events of these kinds; it knows nothing of what stands around them.

use super::{
    Limits,
    syntax::{self, Flaw, RawAttribute, RawAttributes, is_space, shown, shown_character},
};
use crate::code::{Code, Fault};

/// The bytes as text in which offsets count, without a byte order mark; refused when too large or not UTF-8.
pub(super) fn decode<'a>(bytes: &'a [u8], limits: &Limits) -> Result<&'a str, Fault> {
    if bytes.len() > limits.bytes_max {
        let message = format!("the document has {} bytes, and at most {} are allowed", bytes.len(), limits.bytes_max);
        return Err(Fault::new(Code::DocumentTooLarge, message));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let (right, rest) = bytes.split_at(error.valid_up_to());
        let message = match rest {
            [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] if right.is_empty() => "the document is in UTF-16, not UTF-8".into(),
            _ => format!("the byte 0x{:02X} here is not valid UTF-8", rest.first().copied().unwrap_or_default()),
        };
        let right = std::str::from_utf8(right).unwrap_or_default();
        Flaw::new(Code::DocumentEncoding, right.len(), message).into_fault(right)
    })
}

/// `<?…?>` in the bytes `from..to`: a processing instruction or the XML declaration.
pub(super) fn instruction(text: &str, from: usize, to: usize) -> Result<(), Flaw> {
    let (content, end) = (from + 2, to - 2);
    let target = syntax::name(text, content, end, "a processing instruction")?;
    let behind = content + target.whole.len();
    if target.whole.eq_ignore_ascii_case("xml") {
        if target.whole != "xml" {
            let message = format!("'{}' cannot name a processing instruction", target.whole);
            return Err(Flaw::malformed(content, message).help("An XML declaration is written <?xml … ?>."));
        }
        if from != 0 {
            return Err(Flaw::malformed(from, "an XML declaration stands here and not at the very beginning")
                .help("Remove it, or everything before it, white space too."));
        }
        return declaration(text, behind, end);
    }
    if let Some(colon) = target.whole.find(':') {
        return Err(Flaw::malformed(content + colon, "a ':' stands in the name of a processing instruction"));
    }
    if behind < end && !is_space(text.as_bytes()[behind]) {
        let message = format!("{} cannot stand in the name of a processing instruction", shown_character(text, behind));
        return Err(Flaw::malformed(behind, message));
    }
    Ok(())
}

/// What stands between `<?xml` and `?>`: version, encoding, standalone, in this order.
fn declaration(text: &str, at: usize, to: usize) -> Result<(), Flaw> {
    let mut raw = RawAttributes { text, at, to };
    let mut next = raw.next()?;
    match next {
        Some(version) if version.name.whole == "version" && version.value == "1.0" => next = raw.next()?,
        Some(version) if version.name.whole == "version" => {
            let message = format!("XML version '{}' is not supported", shown(version.value));
            return Err(Flaw::malformed(version.value_at, message).help("Send XML 1.0."));
        }
        _ => {
            return Err(Flaw::malformed(0, "the XML declaration does not begin with the version")
                .help("Write <?xml version=\"1.0\"?>, or leave the declaration out."));
        }
    }
    if let Some(encoding) = next.filter(|attribute| attribute.name.whole == "encoding") {
        self::encoding(text, &encoding)?;
        next = raw.next()?;
    }
    if let Some(standalone) = next.filter(|attribute| attribute.name.whole == "standalone") {
        if !matches!(standalone.value, "yes" | "no") {
            return Err(Flaw::malformed(standalone.value_at, "standalone is neither 'yes' nor 'no'"));
        }
        next = raw.next()?;
    }
    match next {
        None => Ok(()),
        Some(extra) => {
            let message = format!("'{}' cannot stand here in the XML declaration", shown(extra.name.whole));
            Err(Flaw::malformed(extra.name_at, message)
                .help("It has version, encoding and standalone, in this order, each once."))
        }
    }
}

/// The declared encoding is UTF-8, or the part of it that is called US-ASCII.
fn encoding(text: &str, encoding: &RawAttribute<'_>) -> Result<(), Flaw> {
    if encoding.value.eq_ignore_ascii_case("UTF-8") {
        return Ok(());
    }
    if !encoding.value.eq_ignore_ascii_case("US-ASCII") {
        let message = format!("the document declares the encoding '{}', not UTF-8", shown(encoding.value));
        return Err(Flaw::new(Code::DocumentEncoding, encoding.value_at, message));
    }
    match text.bytes().position(|byte| !byte.is_ascii()) {
        None => Ok(()),
        Some(at) => {
            let message = format!("the document declares US-ASCII, but {} is not in it", shown_character(text, at));
            Err(Flaw::new(Code::DocumentEncoding, at, message).help("Declare UTF-8."))
        }
    }
}
