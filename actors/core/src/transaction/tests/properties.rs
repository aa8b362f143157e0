//! What holds for any definition and any document, not only for those that somebody thought of.

use super::{PURCHASE_ORDER, Papers, SOUND, document, parse};
use crate::{
    document::Text,
    transaction::{Definition, HEAD, Path, Side, TAIL, Value, ValueType, request_document},
};
use proptest::prelude::*;

/// A definition of `links.len() + 2` operations in which the operation at position `n` of those between head and tail has
/// links to later ones only: as many as `links[n]` asks for, and one to the tail. Each reads a document of one before it.
fn forward(links: &[Vec<u16>]) -> String {
    let count = links.len() as u32;
    let mut text = String::from("<TRANSACTION><NAME>t</NAME>");
    let link = |from: u32, to: u32| format!("<OPLINK><SRCOPID>{from}</SRCOPID><DSTOPID>{to}</DSTOPID></OPLINK>");
    let head: String = (1..=count + 1).map(|to| link(0, to)).collect();
    text += &format!("<OPERATION><NAME>{HEAD}</NAME><OPID>0</OPID>{head}</OPERATION>");
    let mut before: Vec<u32> = vec![0; links.len() + 2];
    for (index, targets) in links.iter().enumerate() {
        let id = index as u32 + 1;
        let mut to: Vec<u32> = targets.iter().map(|&target| id + 1 + u32::from(target) % (count + 1 - id)).collect();
        to.push(count + 1);
        to.sort_unstable();
        to.dedup();
        let of = before[id as usize];
        to.iter().for_each(|&target| before[target as usize] = id);
        text += &format!(
            "<OPERATION><NAME>o{id}</NAME><OPID>{id}</OPID><CXCNAME>ANY</CXCNAME>{}\
             <JOIN><DOCUMENT><OPID>{of}</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE></DOCUMENT></JOIN></OPERATION>",
            to.iter().map(|&to| link(id, to)).collect::<String>()
        );
    }
    text + &format!("<OPERATION><NAME>{TAIL}</NAME><OPID>{}</OPID></OPERATION></TRANSACTION>", count + 1)
}

/// Every operation has its predecessors' links, and the other way round.
fn check_links(definition: &Definition) {
    for (index, operation) in definition.operations.iter().enumerate() {
        assert_eq!(definition.index_of(operation.id), Some(index));
        assert!(operation.links.iter().all(|&target| definition.operations[target].predecessors.contains(&index)));
        assert!(operation.predecessors.iter().all(|&source| definition.operations[source].links.contains(&index)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_graph_that_runs_forward_is_a_definition(links in prop::collection::vec(prop::collection::vec(any::<u16>(), 0..4), 1..40)) {
        let definition = parse(&forward(&links)).map_err(|faults| TestCaseError::fail(format!("{faults:#?}")))?;
        check_links(&definition);
    }

    #[test]
    fn a_link_back_to_what_comes_before_is_always_found(
        links in prop::collection::vec(prop::collection::vec(any::<u16>(), 0..4), 2..40),
        from in any::<prop::sample::Index>(),
    ) {
        let from = from.index(links.len()) + 1;
        let text = forward(&links);
        let at = text.find(&format!("<OPID>{from}</OPID><CXCNAME>")).expect("every operation has an id");
        let back = format!("<OPLINK><SRCOPID>{from}</SRCOPID><DSTOPID>{from}</DSTOPID></OPLINK>");
        let faults = parse(&format!("{}{back}{}", &text[..at], &text[at..])).expect_err("it has a circle");
        prop_assert!(faults.iter().any(|fault| fault.message.contains(&format!("{from} → {from}"))), "{faults:?}");
    }

    #[test]
    fn no_change_of_a_definition_makes_the_checker_panic(
        demo in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..4), 1..6),
    ) {
        // Whole elements are moved, doubled, removed and emptied, so that the XML stays well formed.
        let mut text = (if demo { PURCHASE_ORDER } else { SOUND }).to_owned();
        for (from, to, kind) in edits {
            let starts: Vec<usize> = text.match_indices('<').map(|(at, _)| at)
                .filter(|&at| text[at + 1..].starts_with(|next: char| next.is_ascii_uppercase()) && !text[at..].starts_with("<TRANSACTION"))
                .collect();
            if starts.is_empty() {
                break;
            }
            let piece = element_at(&text, starts[from.index(starts.len())]);
            let target = starts[to.index(starts.len())];
            let copy = text[piece.clone()].to_owned();
            match kind {
                0 => text.replace_range(piece, ""),
                1 => text.insert_str(target, &copy),
                2 => text.replace_range(element_at(&text, target), &copy),
                _ => {
                    let name: String = copy[1..].chars().take_while(|character| character.is_ascii_alphanumeric()).collect();
                    text.replace_range(piece, &format!("<{name}>9</{name}>"));
                }
            }
        }
        match Definition::parse(&document(&text)) {
            Ok(definition) => {
                check_links(&definition);
                // Whatever passes can be asked for its documents without a panic, found or not.
                let papers = Papers::input("<Order><Item>1</Item></Order>").with(1, Side::Output, "<Stock><Quantity>1</Quantity></Stock>");
                for (index, operation) in definition.operations.iter().enumerate() {
                    let _ = request_document(&definition, index, &papers);
                    let _ = operation.split.as_ref().map(|split| split.followed(&papers));
                    let _ = operation.organization(&papers);
                }
            }
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                prop_assert!(faults.is_sorted_by_key(|fault| fault.place));
                prop_assert!(faults.iter().all(|fault| fault.place.is_some()));
            }
        }
    }

    #[test]
    fn any_text_is_a_path_or_a_reason_why_not(text in "[a-c/@.\\[\\]0-2: é-]{0,12}") {
        if let Ok(path) = text.parse::<Path>() {
            prop_assert_eq!(path.to_string().parse::<Path>(), Ok(path.clone()));
            let _ = path.find(&document("<a a='1'><b><a b='2'/><a/></b></a>").tree().expect("it was checked").root);
        }
    }

    #[test]
    fn numbers_are_read_as_they_are_written(whole in 0u64..10_000_000_000_000, cents in 0u32..100, minus in any::<bool>()) {
        let text = format!("{}{whole}.{cents:02}", if minus && (whole > 0 || cents > 0) { "-" } else { "" });
        prop_assert_eq!(Value::read(&text, ValueType::Number).map(|value| value.to_string()), Ok(text));
    }

    #[test]
    fn any_text_is_a_number_or_a_reason_why_not(text in "[-+.0-9eE_ ,]{0,40}") {
        if let Ok(value) = Value::read(&text, ValueType::Number) {
            prop_assert_eq!(Value::read(&value.to_string(), ValueType::Number), Ok(value));
        }
    }
}

/// The bytes of the element that begins at `start`, up to and with its end tag.
fn element_at(text: &str, start: usize) -> std::ops::Range<usize> {
    let (mut depth, mut at) = (0usize, start);
    loop {
        let end = at + text[at..].find('>').expect("the text is well formed") + 1;
        if text[at..].starts_with("<!--") {
            at += text[at..].find("-->").expect("the text is well formed");
        } else if text[at..].starts_with("</") {
            depth -= 1;
        } else if !text[..end].ends_with("/>") {
            depth += 1;
        }
        if depth == 0 {
            return start..end;
        }
        at = end.max(at);
        at += text[at..].find('<').expect("the text is well formed");
    }
}

#[test]
fn a_definition_of_ten_thousand_operations_is_read_whole() {
    let links: Vec<Vec<u16>> = (0..10_000u16).map(|index| vec![0, index % 7]).collect();
    let definition = parse(&forward(&links)).unwrap_or_else(|faults| panic!("{:?}", &faults[..1]));
    assert_eq!(definition.operations.len(), 10_002);
    let chain = Text::trusted(forward(&links).replace("<DSTOPID>10001<", "<DSTOPID>1<"));
    assert!(Definition::parse(&chain).is_err(), "circles of this size are found, not followed for ever");
}
