//! What dry runs and replays promise (T17).

use super::*;
use crate::{
    code::Code,
    document::Text,
    fixture::{organization, service, text},
    machine::Machine,
    moment::Moment,
    offer::Offers,
    session::Asker,
    transaction::{Around, Catalogue, Definitions, Record, catalogue},
};

const BEGINS: Moment = Moment(1_000_000);

fn definitions(texts: &[Text]) -> Definitions {
    let mut catalogue = crate::fixture::Fed::<Catalogue>::new((), crate::transaction::Loader::default());
    let mut drawn = Definitions::default();
    for text in texts {
        let asker = Asker { session: crate::session::SessionId(1), message: 1 };
        for effect in catalogue.give(catalogue::Input::Define { asker, text: text.clone() }).effects {
            if let catalogue::Effect::Redraw(picture) = effect {
                drawn = picture;
            }
        }
    }
    drawn
}

/// Everything at once: retry, undoing, broadcast, iteration, sub-transaction, signal.
fn around() -> Around {
    let link = |from: u32, to: u32| format!("<OPLINK><SRCOPID>{from}</SRCOPID><DSTOPID>{to}</DSTOPID></OPLINK>");
    let whole =
        |id: u32, side: &str| format!("<DOCUMENT><OPID>{id}</OPID><OPDOCIOTYPE>{side}</OPDOCIOTYPE></DOCUMENT>");
    let purchase = format!(
        "<TRANSACTION xmlns:hx=\"urn:hansa:transaction:1\"><NAME>purchase</NAME>\
         <OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID>{}</OPERATION>\
         <OPERATION><NAME>quote</NAME><OPID>1</OPID><CXCNAME>ANY</CXCNAME>\
           <BROADCAST><RESPONSE><MIN>2</MIN></RESPONSE></BROADCAST>{}</OPERATION>\
         <OPERATION><NAME>reserve</NAME><OPID>2</OPID><CXCNAME>ANY</CXCNAME>\
           <hx:RETRY><hx:ATTEMPTS>3</hx:ATTEMPTS><hx:PAUSE>10</hx:PAUSE></hx:RETRY>\
           <hx:COMPENSATION><NAME>release</NAME></hx:COMPENSATION>{}</OPERATION>\
         <OPERATION><NAME>pick</NAME><OPID>3</OPID><CXCNAME>ANY</CXCNAME>\
           <hx:ITERATE><DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE><OPDOCVARTYPE>Line</OPDOCVARTYPE></DOCUMENT>\
           <hx:MAX>5</hx:MAX><hx:CONCURRENT>1</hx:CONCURRENT></hx:ITERATE>{}</OPERATION>\
         <OPERATION><NAME>inner</NAME><OPID>4</OPID><hx:TRANSACTION>transport</hx:TRANSACTION>{}</OPERATION>\
         <OPERATION><NAME>approval</NAME><OPID>5</OPID><TIMEOUT>60</TIMEOUT><hx:SIGNAL>approved</hx:SIGNAL>{}</OPERATION>\
         <OPERATION><NAME>CXtsTailOp</NAME><OPID>9</OPID><JOIN>{}{}</JOIN></OPERATION></TRANSACTION>",
        link(0, 1),
        link(1, 2),
        link(2, 3),
        link(3, 4),
        link(4, 5),
        link(5, 9),
        whole(4, "OUTPUT"),
        whole(5, "OUTPUT"),
    );
    let transport = format!(
        "<TRANSACTION><NAME>transport</NAME><OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID>{}</OPERATION>\
         <OPERATION><NAME>drive</NAME><OPID>1</OPID><CXCNAME>ANY</CXCNAME>{}</OPERATION>\
         <OPERATION><NAME>CXtsTailOp</NAME><OPID>9</OPID><JOIN>{}</JOIN></OPERATION></TRANSACTION>",
        link(0, 1),
        link(1, 9),
        whole(1, "OUTPUT"),
    );
    let definitions = definitions(&[text(&purchase), text(&transport)]);
    let offers = Offers::new(organization(1), "Acme".parse().unwrap(), [service("desk", &[])], []);
    Around { definitions, offers, lived: None }
}

fn script(json: &str) -> Script {
    serde_json::from_str(json).unwrap()
}

fn rehearse(json: &str) -> Rehearsal {
    let input = text("<Order><Line>a</Line><Line>b</Line></Order>");
    dry_run(&around(), &"purchase".parse().unwrap(), input, &script(json), BEGINS).unwrap()
}

const GOOD: &str = r#"{
    "operations": {
        "quote": { "answers": [{ "document": "<Price>1</Price>" }, { "document": "<Price>2</Price>", "after_ms": 5 }] },
        "2": { "answers": [{ "failure": { "message": "not yet" }, "after_ms": 7 }, { "document": "<Held/>" }],
               "compensation": [{ "document": "<Released/>" }] },
        "pick": { "answers": [{ "document": "<Picked/>" }, { "leg": 2, "document": "<Second/>", "after_ms": 3 }] },
        "drive": { "answers": [{ "document": "<Driven/>", "after_ms": 100 }] }
    },
    "signals": [{ "name": "approved", "document": "<Yes/>", "after_ms": 40000 }]
}"#;

#[test]
fn a_dry_run_plays_the_whole_transaction_in_virtual_time_without_a_service() {
    let rehearsal = rehearse(GOOD);
    let picture = &rehearsal.picture;
    assert_eq!(picture.state, "completed", "{:?}", picture.fault);
    let output = picture.output.as_ref().unwrap().as_str();
    assert!(output.contains("<Driven") && output.contains("<Yes"), "{output}");
    assert_eq!(picture.ended, Some(BEGINS.plus_ms(40_000)), "the signal came last");
    let states: Vec<_> = picture.operations.iter().map(|operation| operation.state.as_str()).collect();
    assert_eq!(states, ["completed"; 7]);
    assert_eq!((picture.operations[2].attempt, picture.operations[3].legs.len()), (2, 2));
    assert!(picture.operations[3].output.as_ref().unwrap().as_str().contains("<Second"));
    assert_eq!(rehearsal.transactions.len(), 1);
    assert_eq!(rehearsal.transactions[0].picture.parent, Some(picture.id));
    assert!(rehearsal.unanswered.is_empty() && rehearsal.refused.is_empty());
    assert_eq!(rehearse(GOOD).records, rehearsal.records, "it always goes the same way");
}

#[test]
fn a_dry_run_undoes_what_fails_and_says_what_it_has_no_answer_for() {
    let failing =
        GOOD.replace(r#"{ "document": "<Driven/>", "after_ms": 100 }"#, r#"{ "failure": { "code": "no-performer" } }"#);
    let rehearsal = rehearse(&failing.replace("40000", "90000"));
    assert_eq!(rehearsal.picture.state, "failed");
    let undone = rehearsal.picture.operations[2].compensation.as_ref().unwrap();
    assert_eq!(undone.state, "completed");
    assert_eq!(rehearsal.transactions[0].picture.state, "failed");

    let open = rehearse(&GOOD.replace("\"drive\"", "\"fly\""));
    assert_eq!(open.picture.state, "running");
    let inner = &open.transactions[0];
    assert_eq!(inner.unanswered[0].name.as_str(), "drive");
    let unknown = rehearse(&GOOD.replace("\"approved\"", "\"denied\""));
    assert_eq!(unknown.refused[0].code, Code::SignalUnknown);
    let answered = rehearse(&GOOD.replace("\"drive\"", "\"inner\""));
    assert!(answered.transactions.is_empty(), "a script may answer in place of a sub-transaction");
    assert_eq!(answered.picture.state, "completed");
}

#[test]
fn a_script_that_is_none_is_refused() {
    for bad in [
        r#"{ "operation": {} }"#,
        r#"{ "operations": { "a": { "answers": [{ "document": "<a>" }] } } }"#,
        r#"{ "operations": { "a": { "answers": [{ "failure": { "code": "no-such-code" } }] } } }"#,
    ] {
        assert!(serde_json::from_str::<Script>(bad).is_err(), "{bad}");
    }
    let nothing = dry_run(&around(), &"missing".parse().unwrap(), text("<a/>"), &Script::default(), BEGINS);
    assert_eq!(nothing.unwrap_err().code, Code::DefinitionUnknown);
}

#[test]
fn a_replay_computes_what_was_recorded_from_what_came_from_outside() {
    for json in [GOOD.to_owned(), GOOD.replace("<Driven/>\", \"after_ms\": 100", "<Driven/>\", \"after_ms\": 90000")] {
        let rehearsal = rehearse(&json);
        for played in std::iter::once(&rehearsal).chain(&rehearsal.transactions) {
            let replayed = replay(played.picture.id, &around(), &played.records).unwrap_or_else(|it| panic!("{it}"));
            assert_eq!(replayed.records, played.records.len());
            let definitions = around().definitions;
            let picture = replayed.instance.picture(definitions.version(&played.picture.hash).unwrap());
            assert_eq!(picture.as_ref(), Some(&played.picture));
        }
    }
}

#[test]
fn a_replay_names_the_first_record_that_is_not_what_the_machine_decides() {
    let rehearsal = rehearse(GOOD);
    let id = rehearsal.picture.id;
    for index in 0..rehearsal.records.len() {
        let mut records = rehearsal.records.clone();
        let is_decided = match &mut records[index] {
            Record::Ended { followed, .. } => !std::mem::take(followed).is_empty(),
            Record::Iterated { requests, .. } => requests.pop().is_some(),
            Record::Requested { asked, .. } => {
                asked[0].attempt += 1;
                true
            }
            Record::Finished { ending, .. } => {
                *ending = crate::session::Ending::TimedOut;
                true
            }
            _ => false,
        };
        if is_decided {
            let difference = replay(id, &around(), &records).expect_err("it was changed");
            assert_eq!(difference.index, index, "{difference}");
            assert!(difference.to_string().contains(&format!("record {}", index + 1)));
        }
    }
    let mut missing = rehearsal.records.clone();
    missing.remove(1);
    assert!(replay(id, &around(), &missing).is_err());
    assert!(crate::transaction::Instance::new(&id).is_same_as(&crate::transaction::Instance::new(&id)));
}

#[test]
fn what_a_script_names_that_no_definition_has_is_told_with_where_it_is() {
    let unknown = |json: &str| {
        let script = script(json);
        let unknown = script.unknown(&around().definitions, &"purchase".parse().unwrap());
        unknown.into_iter().map(|unknown| (unknown.path.join("/"), unknown.message)).collect::<Vec<_>>()
    };
    // By NAME or OPID; those of a sub-transaction too, as long as it has no script of its own.
    let carry = around().definitions.named(&"transport".parse().unwrap()).unwrap().operations[1].name.to_string();
    assert_eq!(unknown(&format!(r#"{{"operations": {{"quote": {{}}, "2": {{}}, "{carry}": {{}}}}}}"#)), []);
    let told = unknown(r#"{"operations": {"qoute": {}, "77": {}}, "transactions": {"transprot": {}}}"#);
    assert_eq!(told.len(), 3, "{told:#?}");
    assert_eq!(told[0], ("operations/77".to_owned(), "no operation has the NAME or OPID '77'".to_owned()));
    assert_eq!(told[1].0, "operations/qoute");
    assert!(told[1].1.ends_with("did you mean 'quote'?"), "{told:#?}");
    assert_eq!(told[2].0, "transactions/transprot");
    let told = unknown(&format!(
        r#"{{"operations": {{"{carry}": {{}}}}, "transactions": {{"transport": {{"operations": {{"quote": {{}}}}}}}}}}"#
    ));
    let places: Vec<_> = told.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, [&format!("operations/{carry}"), "transactions/transport/operations/quote"]);
}

#[test]
fn a_list_is_no_script() {
    for (json, column) in [
        ("[]", 0),
        (r#"{"operations": {"quote": []}}"#, 25),
        (r#"{"operations": {"quote": {"answers": [[]]}}}"#, 38),
        (r#"{"transactions": {"transport": []}}"#, 31),
    ] {
        let error = serde_json::from_str::<Script>(json).unwrap_err();
        assert!(error.to_string().contains("expected an object"), "{json}: {error}");
        assert!(error.column() >= column, "{json}: {error}");
    }
}
