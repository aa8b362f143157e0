//! What operations are asked with, and what a transaction answers (T6).

use super::{PURCHASE_ORDER, Papers, SOUND, around, document, parse};
use crate::{
    code::Code,
    document::Text,
    ident::OrganizationId,
    limit,
    transaction::{Response, Side, request_document, responses_document},
};

const INPUT: &str = r#"<?xml version="1.0"?><!-- an order --><Order xmlns:c="urn:c"><Item n="1">bolt</Item><Item n="2"><c:ID>7</c:ID></Item></Order>"#;

/// What operation 1 with this JOIN is asked with; or the message of the fault.
fn joined(join: &str, papers: &Papers) -> Result<String, String> {
    let definition = parse(&around(join)).unwrap_or_else(|faults| panic!("{faults:#?}"));
    request_document(&definition, 1, papers).map(|text| text.as_str().to_owned()).map_err(|fault| {
        assert_eq!(fault.code, Code::JoinFailed);
        assert!(fault.place.is_some(), "{fault}");
        fault.message
    })
}

fn mapping(path: &str) -> String {
    format!("<DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE><OPDOCVARTYPE>{path}</OPDOCVARTYPE></DOCUMENT>")
}

fn argument(name: &str, value_type: &str, optional: bool, source: &str) -> String {
    let optional = if optional { "<OPTIONAL>yes</OPTIONAL>" } else { "" };
    format!("<ARG><NAME>{name}</NAME><VALTYPE>{value_type}</VALTYPE>{optional}{source}</ARG>")
}

const DIVISION: &str = "<EXPR><OPERATOR><OPNAME>DIVIDE</OPNAME><EXPR><VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR><EXPR><VALUE>0</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR></OPERATOR></EXPR>";

#[test]
fn joins_make_the_documents_that_they_describe() {
    let data = |inside: &str| format!(r#"<Data xmlns="urn:hansa:data:1">{inside}</Data>"#);
    let arguments = |arguments: &[String]| format!("<JOIN>{}</JOIN>", arguments.concat());
    let table: &[(String, String)] = &[
        // One whole document is the request, letter for letter; so is the input without any join.
        (format!("<JOIN>{}</JOIN>", mapping(".")), INPUT.to_owned()),
        (String::new(), INPUT.to_owned()),
        // One section is a document of its own.
        (format!("<JOIN>{}</JOIN>", mapping("Item[1]")), r#"<Item xmlns:c="urn:c" n="1">bolt</Item>"#.to_owned()),
        (format!("<JOIN>{}</JOIN>", mapping("Item[2]/ID")), r#"<c:ID xmlns:c="urn:c">7</c:ID>"#.to_owned()),
        // Several are variables, and keep the namespaces that they have.
        (
            format!("<JOIN>{}{}</JOIN>", mapping("Item[2]/ID"), mapping("Item[1]/@n")),
            data(r#"<Variable name="ID"><c:ID xmlns:c="urn:c">7</c:ID></Variable><Variable name="n">1</Variable>"#),
        ),
        // Arguments: a text, a number, a section, several sections, and none.
        (
            arguments(&[argument("item", "STRVALUE", false, &mapping("Item[1]"))]),
            data(r#"<Variable name="item">bolt</Variable>"#),
        ),
        (
            arguments(&[argument("id", "NUMVALUE", false, &mapping("Item/ID"))]),
            data(r#"<Variable name="id">7</Variable>"#),
        ),
        (
            arguments(&[argument("items", "DOCVALUE", false, &mapping("Item"))]),
            data(concat!(
                r#"<Variable name="items"><Item xmlns:c="urn:c" xmlns="" n="1">bolt</Item>"#,
                r#"<Item xmlns:c="urn:c" xmlns="" n="2"><c:ID>7</c:ID></Item></Variable>"#
            )),
        ),
        ("<JOIN/>".to_owned(), r#"<Data xmlns="urn:hansa:data:1"/>"#.to_owned()),
        // What is optional and not there is left out.
        (
            arguments(&[
                argument("gone", "STRVALUE", true, &mapping("Nothing")),
                argument("item", "STRVALUE", true, &mapping("Item[1]")),
            ]),
            data(r#"<Variable name="item">bolt</Variable>"#),
        ),
    ];
    for (join, expected) in table {
        assert_eq!(joined(join, &Papers::input(INPUT)).as_ref(), Ok(expected), "{join}");
    }
}

#[test]
fn a_join_that_cannot_be_built_says_which_argument_of_which_operation_and_why() {
    let table = [
        (
            argument("id", "STRVALUE", false, &mapping("Nothing")),
            "the request of operation 1 (work) cannot be built: the mandatory argument 'id' has no value: 'Nothing' in the INPUT document of operation 0 (CXtsHeadOp) is not there",
        ),
        (argument("id", "NUMVALUE", false, &mapping("Item[1]")), "'bolt' is no number"),
        (argument("id", "STRVALUE", false, &mapping("Item")), "2 values where one is needed"),
        // Optional is what may be absent, not what may be wrong.
        (argument("id", "NUMVALUE", true, &mapping("Item[1]")), "the optional argument 'id' has no value"),
        (argument("id", "NUMVALUE", true, DIVISION), "DIVIDE by zero"),
        (mapping("Item"), "leads to 2 elements, and a document has one root"),
        (mapping("Nothing"), "is not there"),
    ];
    for (inside, expected) in table {
        let message = joined(&format!("<JOIN>{inside}</JOIN>"), &Papers::input(INPUT)).expect_err(&inside);
        assert!(message.contains(expected), "{message}");
    }
    let message = joined(&format!("<JOIN>{}</JOIN>", mapping(".")), &Papers::default()).unwrap_err();
    assert!(message.contains("operation 0 (CXtsHeadOp) has no INPUT document"), "{message}");
}

#[test]
fn the_default_join_has_what_the_predecessors_were_asked_and_answered() {
    let definition = parse(SOUND).unwrap();
    let tail = definition.tail();
    let papers = Papers::input("<In/>")
        .with(2, Side::Input, "<?xml version='1.0'?><Ask/>")
        .with(2, Side::Output, "<w:Weight xmlns:w='urn:w'><Unit>kg</Unit></w:Weight>\n<!-- weighed -->")
        .with(3, Side::Input, "<Carry/>");
    // Operation 3 was asked and failed, so it answered nothing.
    assert_eq!(
        request_document(&definition, tail, &papers).unwrap().as_str(),
        concat!(
            r#"<Documents xmlns="urn:hansa:data:1"><Operation id="2" name="weigh"><Input><Ask xmlns=""/></Input>"#,
            r#"<Output><w:Weight xmlns="" xmlns:w='urn:w'><Unit>kg</Unit></w:Weight>"#,
            "\n<!-- weighed --></Output></Operation></Documents>"
        )
    );
    let nothing = request_document(&definition, tail, &Papers::default()).unwrap();
    assert_eq!(nothing.as_str(), r#"<Documents xmlns="urn:hansa:data:1"></Documents>"#);
}

#[test]
fn documents_that_are_put_into_others_keep_their_namespaces_and_their_letters() {
    for inside in [
        "<a/>",
        "<a></a>",
        "<a\n b='>'\tc=\"xmlns='x'\"><b/></a>",
        "<a xmlns='urn:x'><b/></a>",
        "<a xmlns=''><b/></a>",
        "<a b = \"/\" xmlns\n=\n'urn:x'/>",
        "<p:a xmlns:p='urn:p' p:xmlns='no declaration'><b/></p:a>",
        "<ä xmlns:xmlns2='urn:y'>text</ä>",
    ] {
        let organization = "Acme BV".parse().unwrap();
        let service = "stock".parse().unwrap();
        let document = document(inside);
        let response = Response {
            line: None,
            organization: Some(&organization),
            organization_id: OrganizationId([7; 32]),
            service: Some(&service),
            counted: true,
            document: &document,
        };
        let responses = responses_document(&[response]).unwrap().tree().unwrap();
        let embedded = responses.root.child("Response").unwrap().elements().next().unwrap();
        let names = |element: &crate::document::Element| {
            std::iter::once(element).chain(element.elements()).map(|it| it.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(embedded), names(&document.tree().unwrap().root), "{inside}");
        assert_eq!(embedded.attributes, document.tree().unwrap().root.attributes);
        assert_eq!(embedded.text(), document.tree().unwrap().root.text());
    }
}

#[test]
fn the_responses_of_a_broadcast_are_one_document_that_says_who_answered_what() {
    let (one, other) = ("Acme & Söhne".parse().unwrap(), "Cedar Supply".parse().unwrap());
    let service = "stock".parse().unwrap();
    let (answer, refusal) = (document("<Stock xmlns='urn:s'/>"), document("<Sorry/>"));
    let id = OrganizationId([1; 32]);
    let text = responses_document(&[
        Response {
            line: None,
            organization: Some(&one),
            organization_id: id,
            service: Some(&service),
            counted: true,
            document: &answer,
        },
        Response {
            line: None,
            organization: Some(&other),
            organization_id: id,
            service: None,
            counted: false,
            document: &refusal,
        },
    ])
    .unwrap();
    assert_eq!(
        text.as_str(),
        format!(
            r#"<Responses xmlns="urn:hansa:data:1"><Response organization="Acme &amp; Söhne" organization-id="{id}" service="stock" counted="true"><Stock xmlns='urn:s'/></Response><Response organization="Cedar Supply" organization-id="{id}" counted="false"><Sorry xmlns=""/></Response></Responses>"#
        )
    );
    assert_eq!(responses_document(&[]).unwrap().as_str(), r#"<Responses xmlns="urn:hansa:data:1"></Responses>"#);
}

#[test]
fn documents_that_are_too_much_together_are_refused_not_built() {
    let half = Text::trusted(format!("<a>{}</a>", "x".repeat(limit::DOCUMENT_BYTES_MAX / 2)));
    let name = "Acme".parse().unwrap();
    let response = Response {
        line: None,
        organization: Some(&name),
        organization_id: OrganizationId([1; 32]),
        service: None,
        counted: true,
        document: &half,
    };
    assert_eq!(responses_document(&[response, response]).unwrap_err().code, Code::DocumentTooLarge);

    let depth = limit::DOCUMENT_DEPTH_MAX;
    let deep = format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    let join = format!("<JOIN>{}</JOIN>", argument("deep", "DOCVALUE", false, &mapping(".")));
    let message = joined(&join, &Papers::input(&deep)).unwrap_err();
    assert!(message.contains("deep"), "{message}");
}

#[test]
fn variables_stay_variables_when_documents_of_variables_are_joined() {
    let data = |name: &str| format!(r#"<Data xmlns="urn:hansa:data:1"><Variable name="{name}">1</Variable></Data>"#);
    let both = "<DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE></DOCUMENT>".repeat(2);
    assert_eq!(
        joined(&format!("<JOIN>{both}</JOIN>"), &Papers::input(&data("a"))).unwrap(),
        r#"<Data xmlns="urn:hansa:data:1"><Variable name="a">1</Variable><Variable name="a">1</Variable></Data>"#
    );
}

#[test]
fn the_demo_answers_with_what_the_way_that_was_gone_has() {
    let definition = parse(PURCHASE_ORDER).unwrap();
    let write = definition.index_of(6).unwrap();
    let refused = Papers::input("<Order xmlns='urn:o'/>").with(1, Side::Output, "<Credit xmlns='urn:d'/>");
    assert_eq!(
        request_document(&definition, write, &refused).unwrap().as_str(),
        r#"<Data xmlns="urn:hansa:data:1"><Variable name="order"><Order xmlns="urn:o"/></Variable><Variable name="credit"><Credit xmlns="urn:d"/></Variable></Data>"#
    );
    let confirmed = refused.with(3, Side::Output, "<Choice/>").with(4, Side::Output, "<Confirmation/>");
    let request = request_document(&definition, write, &confirmed).unwrap();
    assert!(request.as_str().contains(r#"<Variable name="confirmation"><Confirmation xmlns=""/></Variable>"#));
    assert!(!request.as_str().contains("back-order"));

    let answered = confirmed.with(6, Side::Output, "<OrderResponse/>");
    assert_eq!(request_document(&definition, definition.tail(), &answered).unwrap().as_str(), "<OrderResponse/>");
}
