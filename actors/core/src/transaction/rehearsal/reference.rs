//! The whole definitions of the reference run as it says (T1): each is given an input and answers, and comes to its output.

use super::{Rehearsal, Script, dry_run};
use crate::{
    document::Text,
    fixture::{Fed, Shop, asker, organization, service, text},
    moment::Moment,
    offer::{Offers, PeerOffer},
    transaction::{Around, Catalogue, Definitions, Loader, catalogue},
};
use std::{collections::BTreeSet, sync::Arc};

const REFERENCE: &str = include_str!("../../../../../docs/transactions.md");

/// A definition of the reference, what it is given, and what comes of it.
struct Play {
    name: &'static str,
    input: &'static str,
    answers: &'static str,
    state: &'static str,
    /// What the output has in it, in this order.
    output: &'static [&'static str],
    /// What it has not.
    absent: &'static [&'static str],
}

const PLAYS: &[Play] = &[
    Play {
        name: "weigh-parcel",
        input: "<Parcel/>",
        answers: r#"{"operations": {"weigh": {"answers": [{"document": "<Weight>2.5</Weight>"}]}}}"#,
        state: "completed",
        output: &["<Weight>2.5</Weight>"],
        absent: &["Data"],
    },
    Play {
        name: "weigh-parcel",
        input: "<Parcel/>",
        answers: r#"{"operations": {"weigh": {"answers": [{"document": "<Weight>2.5</Weight>", "after_ms": 20001}]}}}"#,
        state: "failed",
        output: &[],
        absent: &[],
    },
    Play {
        name: "choose-carrier",
        input: "<Parcel/>",
        answers: r#"{"operations": {"weigh": {"answers": [{"document": "<Weight>31.6</Weight>"}]},
                     "send-freight": {"answers": [{"document": "<Freight/>"}]}}}"#,
        state: "completed",
        output: &["<Freight"],
        absent: &["send-parcel"],
    },
    Play {
        name: "choose-carrier",
        input: "<Parcel/>",
        answers: r#"{"operations": {"weigh": {"answers": [{"document": "<Weight>31.5</Weight>"}]},
                     "send-parcel": {"answers": [{"document": "<Post/>"}]}}}"#,
        state: "completed",
        output: &["<Post"],
        absent: &["send-freight"],
    },
    Play {
        name: "ask-carriers",
        input: "<Parcel/>",
        answers: r#"{"operations": {"quote": {"answers": [
                     {"document": "<Offer><Price>12.50</Price></Offer>"}, {"document": "<Offer><Price>9</Price></Offer>"}]}}}"#,
        state: "completed",
        output: &["<Responses", "service=\"north\"", "counted=\"true\"", "service=\"south\"", "counted=\"true\""],
        absent: &["counted=\"false\""],
    },
    Play {
        name: "ask-carriers",
        input: "<Parcel/>",
        answers: r#"{"operations": {"quote": {"answers": [
                     {"document": "<Offer><Price>12.50</Price></Offer>"}, {"document": "<Full/>"}]}}}"#,
        state: "failed",
        output: &[],
        absent: &[],
    },
    Play {
        name: "ask-member",
        input: "<Parcel><Carrier>Cedar Supply</Carrier></Parcel>",
        answers: r#"{"operations": {"quote": {"answers": [{"document": "<Offer/>"}]}}}"#,
        state: "completed",
        output: &["<Offer/>"],
        absent: &[],
    },
    Play {
        name: "ask-member",
        input: "<Parcel><Carrier>Nobody</Carrier></Parcel>",
        answers: r#"{"operations": {"quote": {"answers": [{"document": "<Offer/>"}]}}}"#,
        state: "failed",
        output: &[],
        absent: &[],
    },
    Play {
        name: "label-parcel",
        input: "<Parcel><Weight>2.5</Weight><Goods><Item/></Goods></Parcel>",
        answers: r#"{"operations": {"print-label": {"answers": [{"document": "<Label/>"}]}}}"#,
        state: "completed",
        output: &["<Label/>"],
        absent: &[],
    },
    Play {
        name: "label-parcel",
        input: "<Parcel><Goods><Item/></Goods></Parcel>",
        answers: r#"{"operations": {"print-label": {"answers": [{"document": "<Label/>"}]}}}"#,
        state: "failed",
        output: &[],
        absent: &[],
    },
    Play {
        name: "price-parcel",
        input: "<Parcel><Weight>10</Weight><Zone>EU</Zone></Parcel>",
        answers: r#"{"operations": {"bill-parcel": {"answers": [{"document": "<Bill/>"}]}}}"#,
        state: "completed",
        output: &["<Bill/>"],
        absent: &[],
    },
    Play {
        name: "price-parcel",
        input: "<Parcel><Weight>10</Weight><Zone>MARS</Zone></Parcel>",
        answers: "{}",
        state: "failed",
        output: &[],
        absent: &[],
    },
    Play {
        name: "weigh-twice",
        input: "<Parcel/>",
        answers: r#"{"operations": {"weigh-packed": {"answers": [{"document": "<Packed/>"}]},
                     "weigh-loaded": {"answers": [{"document": "<Loaded/>"}]}}}"#,
        state: "completed",
        output: &["name=\"weigh-loaded\"", "<Loaded"],
        absent: &[],
    },
    Play {
        name: "ship-safely",
        input: "<Order/>",
        answers: r#"{"operations": {"reserve-stock": {"answers": [{"document": "<Reserved/>"}]},
                     "ship": {"answers": [{"failure": {}}, {"failure": {}}, {"document": "<Shipped/>"}]}}}"#,
        state: "completed",
        output: &["<Shipped/>"],
        absent: &[],
    },
    Play {
        name: "ship-safely",
        input: "<Order/>",
        answers: r#"{"operations": {"reserve-stock": {"answers": [{"document": "<Reserved/>"}],
                     "compensation": [{"document": "<Released/>"}]},
                     "ship": {"answers": [{"failure": {"code": "no-performer"}}, {"document": "<Shipped/>"}]}}}"#,
        state: "failed",
        output: &[],
        absent: &[],
    },
    Play {
        name: "pack-lines",
        input: "<Order><Line>a</Line><Line>b</Line></Order>",
        answers: r#"{"operations": {"pack": {"answers": [{"leg": 1, "document": "<A/>", "after_ms": 9},
                     {"leg": 2, "document": "<B/>"}]}}}"#,
        state: "completed",
        output: &["line=\"1\"", "<A", "line=\"2\"", "<B"],
        absent: &[],
    },
    Play {
        name: "pay-and-ship",
        input: "<Order/>",
        answers: r#"{"signals": [{"name": "payment-received", "document": "<Paid/>", "after_ms": 86400000}],
                     "transactions": {"ship-safely": {"operations": {
                     "reserve-stock": {"answers": [{"document": "<Reserved/>"}]},
                     "ship": {"answers": [{"document": "<Shipped/>"}]}}}}}"#,
        state: "completed",
        output: &["<Shipped/>"],
        absent: &[],
    },
];

/// The whole definitions of the reference.
fn examples() -> Vec<Text> {
    let blocks = REFERENCE.split("```xml\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.filter(|block| block.starts_with("<TRANSACTION")).map(text).collect()
}

fn around() -> Around {
    let mut catalogue = Fed::<Catalogue>::new((), Loader::new(Arc::new(Shop))).uncompared();
    let bytes = catalogue::Bytes::new(b"shipping_cost(NUMVALUE,STRVALUE)NUMVALUE");
    catalogue.give(catalogue::Input::AddLibrary { asker: asker(1, 1), name: "freight".parse().unwrap(), bytes });
    let mut definitions = Definitions::default();
    for text in examples() {
        for effect in catalogue.give(catalogue::Input::Define { asker: asker(1, 1), text }).effects {
            if let catalogue::Effect::Redraw(picture) = effect {
                definitions = picture;
            }
        }
    }
    let peer = PeerOffer {
        organization: organization(2),
        name: "Cedar Supply".parse().unwrap(),
        city: "Singapore".parse().unwrap(),
        services: vec![service("depot", &["quote"])],
    };
    let offers = Offers::new(organization(1), "Acme".parse().unwrap(), [service("desk", &[])], [peer]);
    Around { definitions, offers, lived: None }
}

fn played(play: &Play) -> Rehearsal {
    let script: Script = serde_json::from_str(play.answers).unwrap();
    dry_run(&around(), &play.name.parse().unwrap(), text(play.input), &script, Moment(1_000_000)).unwrap()
}

#[test]
fn every_whole_definition_of_the_reference_comes_to_what_it_promises() {
    for play in PLAYS {
        let rehearsal = played(play);
        let picture = &rehearsal.picture;
        assert_eq!(picture.state, play.state, "{} on {}: {:?}", play.name, play.input, picture.fault);
        assert!(rehearsal.unanswered.is_empty() && rehearsal.refused.is_empty(), "{}: {rehearsal:#?}", play.name);
        let output = picture.output.as_ref().map_or("", Text::as_str);
        let mut rest = output;
        for part in play.output {
            rest = rest.split_once(part).unwrap_or_else(|| panic!("{}: no '{part}' in {output}", play.name)).1;
        }
        assert!(play.absent.iter().all(|part| !output.contains(part)), "{}: {output}", play.name);
    }
}

#[test]
fn no_definition_of_the_reference_is_without_a_play() {
    let played: BTreeSet<&str> = PLAYS.iter().map(|play| play.name).collect();
    let name = |text: Text| text.tree().unwrap().root.child("NAME").unwrap().text();
    let names: BTreeSet<String> = examples().into_iter().map(name).collect();
    assert_eq!(names.iter().map(String::as_str).collect::<BTreeSet<_>>(), played);
}

#[test]
fn operations_of_the_reference_are_asked_with_what_it_says() {
    let named = |name: &str, state: &str| PLAYS.iter().find(|play| play.name == name && play.state == state).unwrap();
    let label = played(named("label-parcel", "completed"));
    let asked = label.picture.operations[1].input.as_ref().unwrap().as_str();
    assert!(asked.contains("<Variable name=\"weight\">2.5</Variable>"), "{asked}");
    assert!(asked.contains("name=\"goods\"") && !asked.contains("name=\"note\""), "{asked}");

    let priced = played(named("price-parcel", "completed"));
    let asked = priced.picture.operations[1].input.as_ref().unwrap().as_str();
    assert!(asked.contains("<Variable name=\"cost\">16.00</Variable>"), "{asked}");

    let undone = played(named("ship-safely", "failed"));
    let compensation = undone.picture.operations[1].compensation.as_ref().unwrap();
    assert_eq!((compensation.performs.as_str(), compensation.state.as_str()), ("release-stock", "completed"));
    assert_eq!(undone.picture.operations[2].attempt, 1, "hx:EXCEPT is final at once");
    assert_eq!(played(named("ship-safely", "completed")).picture.operations[2].attempt, 3);

    let urgent: Vec<u8> =
        played(named("weigh-twice", "completed")).picture.operations[1..3].iter().map(|it| it.priority).collect();
    assert_eq!(urgent, [5, 9]);
}
