//! How values cross the border between a node and a module: each a letter for its type, its length, and its text.
//!
//! | byte 0 | bytes 1 to 4 | then |
//! | --- | --- | --- |
//! | `N` `S` `B` `D` for a number, a text, a truth value, elements; `E` for a fault, as result alone | length, little-endian | UTF-8 text as documents write it |

use hansa_core::{
    document::{Document, Element, Limits, Node},
    limit,
    transaction::{Value, ValueType},
};

const HEADER_BYTES: usize = 5;

/// The arguments of a call, one behind the other.
pub fn encode(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        let (letter, text) = match value {
            Value::Number(number) => (b'N', number.to_string()),
            Value::Text(text) => (b'S', text.clone()),
            Value::Boolean(truth) => (b'B', truth.to_string()),
            Value::Document(elements) => (b'D', elements.iter().map(Element::to_xml).collect()),
        };
        bytes.push(letter);
        // Values are bounded by what a document may hold, far below 4 GiB.
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// The result of a call, which must be one value of this type.
///
/// # Errors
/// What the function itself says is wrong; or what is wrong with what it returned.
pub fn decode(bytes: &[u8], wanted: ValueType) -> Result<Value, String> {
    let strange = |why: &str| format!("what it returned is no value: {why}");
    let (header, text) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| strange("it is too short"))?;
    let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]);
    if usize::try_from(length) != Ok(text.len()) {
        return Err(strange("its length is another than it says"));
    }
    if text.len() > limit::DOCUMENT_BYTES_MAX {
        return Err(strange("it is longer than a document may be"));
    }
    let text = std::str::from_utf8(text).map_err(|_| strange("it is not UTF-8"))?;
    let given = match header[0] {
        b'N' => ValueType::Number,
        b'S' => ValueType::Text,
        b'B' => ValueType::Boolean,
        b'D' => ValueType::Document,
        b'E' => return Err(text.chars().take(500).collect()),
        _ => return Err(strange("its type is unknown")),
    };
    if given != wanted {
        return Err(format!("it returned a {given}, and its signature says that it makes a {wanted}"));
    }
    match given {
        ValueType::Text if !text.chars().all(is_xml) => Err(strange("it has characters that XML cannot carry")),
        ValueType::Text => Ok(Value::Text(text.to_owned())),
        ValueType::Document => elements(text),
        _ => Value::read(text, given),
    }
}

fn is_xml(character: char) -> bool {
    !matches!(character, '\0'..='\u{8}' | '\u{B}' | '\u{C}' | '\u{E}'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}')
}

/// One element or several: a document, and what would be one if it had a root.
fn elements(text: &str) -> Result<Value, String> {
    let rooted = format!("<_>{text}</_>");
    let document = Document::parse(rooted.as_bytes(), &Limits::default())
        .map_err(|fault| format!("the document that it returned is none: {}", fault.message))?;
    let mut elements = Vec::new();
    for child in document.root.children {
        match child {
            Node::Element(element) => elements.push(element),
            Node::Text(text) if text.trim().is_empty() => {}
            Node::Text(_) => return Err("the document that it returned has text around its elements".to_owned()),
        }
    }
    if elements.is_empty() {
        return Err("the document that it returned has no element".to_owned());
    }
    Ok(Value::Document(elements))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn returned(letter: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![letter];
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    #[test]
    fn a_value_is_a_letter_a_length_and_its_text() {
        let values =
            [Value::read("-2.50", ValueType::Number).unwrap(), Value::Text("Köln".to_owned()), Value::Boolean(true)];
        assert_eq!(encode(&values), [returned(b'N', "-2.50"), returned(b'S', "Köln"), returned(b'B', "true")].concat());
        for value in values {
            assert_eq!(decode(&encode(std::slice::from_ref(&value)), value.value_type()), Ok(value));
        }
    }

    #[test]
    fn elements_cross_the_border_with_the_namespaces_that_they_are_in() {
        let Ok(Value::Document(elements)) =
            decode(&returned(b'D', "<a xmlns='urn:x'><b/></a>\n<c/>"), ValueType::Document)
        else {
            panic!("they are elements")
        };
        assert_eq!(elements.len(), 2);
        let sections = [Value::Document(vec![elements[0].elements().next().unwrap().clone()])];
        assert_eq!(encode(&sections), returned(b'D', r#"<b xmlns="urn:x"/>"#));
    }

    #[test]
    fn what_is_no_value_is_refused_in_words() {
        for (bytes, words) in [
            (vec![], "too short"),
            (vec![b'S', 1, 0, 0, 0], "another than it says"),
            (vec![b'S', 255, 255, 255, 255], "another than it says"),
            (vec![b'S', 1, 0, 0, 0, 255], "not UTF-8"),
            (returned(b'X', "a"), "its type is unknown"),
            (returned(b'N', "1"), "it returned a number, and its signature says that it makes a text"),
            (returned(b'S', "\u{1}"), "XML cannot carry"),
            (returned(b'E', "no such zone"), "no such zone"),
        ] {
            let message = decode(&bytes, ValueType::Text).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
        for (text, words) in [("a", "text around"), ("", "no element"), ("</_><b/><_>", "is none"), ("<a>", "is none")]
        {
            let message = decode(&returned(b'D', text), ValueType::Document).unwrap_err();
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..40), letter in "[NSBDE]") {
            for value_type in ValueType::ALL {
                let _ = decode(&bytes, value_type);
                let mut framed = vec![letter.as_bytes()[0]];
                framed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                framed.extend_from_slice(&bytes);
                if let Ok(value) = decode(&framed, value_type) {
                    prop_assert_eq!(value.value_type(), value_type);
                }
            }
        }
    }
}
