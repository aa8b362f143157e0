//! Whatever bytes come as a definition: they are one, or every fault says where it is; and the same definition written
//! another way is the same definition. Run by `.ci/fuzz`.

#![no_main]

use hansa_core::{
    document::Text,
    moment::Moment,
    transaction::{Definition, Documents, Side, request_document},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = Text::parse(bytes) else { return };
    let tree = text.tree().expect("what was checked has a tree");
    let again = Text::parse(tree.to_text().as_str().as_bytes()).expect("what is written can be read");
    assert_eq!(again.tree().expect("what was checked has a tree"), tree, "a document changes when it is written");

    match (Definition::parse(&text), Definition::parse(&again)) {
        (Ok(definition), Ok(rewritten)) => {
            assert_eq!(definition.hash, Definition::hash_of(&text));
            assert_eq!(content(&definition), content(&rewritten));
            perform(&definition);
        }
        (Err(faults), Err(rewritten)) => {
            assert!(!faults.is_empty() && faults.iter().all(|fault| fault.place.is_some()), "{faults:?}");
            assert!(faults.is_sorted_by_key(|fault| fault.place), "{faults:?}");
            let codes = |faults: &[hansa_core::code::Fault]| {
                let mut codes: Vec<_> = faults.iter().map(|fault| fault.code.as_str()).collect();
                codes.sort_unstable();
                codes
            };
            assert_eq!(codes(&faults), codes(&rewritten));
        }
        (one, other) => panic!("written another way it is judged another way: {one:?}, {other:?}"),
    }
});

/// All that a definition says, without where it says it.
fn content(definition: &Definition) -> String {
    let said = format!("{:?}", (&definition.name, definition.timeout_ms, definition.save, &definition.operations));
    let mut parts = said.split("Place { ");
    let mut content = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        content.push_str(part.split_once('}').map_or(part, |(_, rest)| rest));
    }
    content
}

/// Every operation has been asked `<a><b>1</b><b c="x"/></a>` and has answered the same.
struct Papers(Text);

impl Documents for Papers {
    fn document(&self, _: usize, _: Side) -> Option<&Text> {
        Some(&self.0)
    }

    fn submitted(&self) -> Moment {
        Moment(1_795_547_700_000)
    }
}

/// What passes the check can be asked for all that a running transaction asks it for.
fn perform(definition: &Definition) {
    let papers = Papers(Text::parse(br#"<a><b>1</b><b c="x"/></a>"#).expect("it is well formed"));
    for (index, operation) in definition.operations.iter().enumerate() {
        assert_eq!(definition.index_of(operation.id), Some(index));
        if let Ok(request) = request_document(definition, index, &papers) {
            Text::parse(request.as_str().as_bytes()).expect("a request is a document");
        }
        if let Some(Ok(followed)) = operation.split.as_ref().map(|split| split.followed(&papers)) {
            assert!(followed.iter().all(|target| operation.links.contains(target)));
        }
        let _ = operation.organization(&papers);
        let _ = operation.broadcast.as_ref().map(|broadcast| broadcast.counts(index, &papers, &papers.0));
    }
}
