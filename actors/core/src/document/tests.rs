//! What is accepted, what is refused and with which words, and that trees survive being written and read.

use super::*;
use crate::code::{Code, Place};
use proptest::prelude::*;

fn tree(xml: &str) -> Document {
    Document::parse(xml.as_bytes(), &Limits::default()).unwrap_or_else(|fault| panic!("{xml}: {fault}"))
}

/// Both ways to read a document; they must agree.
fn judge(bytes: &[u8], limits: &Limits) -> Result<Document, Fault> {
    let built = Document::parse(bytes, limits);
    let checked = Text::parse_within(bytes, limits);
    assert_eq!(checked.as_ref().err(), built.as_ref().err());
    built
}

/// I5: malformed XML is refused with a code, a place and words.
#[test]
fn what_is_not_well_formed_is_refused_at_its_place() {
    use Code::{DocumentDoctype as Doctype, DocumentEncoding as Encoding, DocumentMalformed as Malformed};
    #[rustfmt::skip]
    let table: &[(&str, Code, u32, u32, &str)] = &[
        // The root, and what stands around it.
        ("", Malformed, 1, 1, "no root element"),
        (" \n ", Malformed, 2, 2, "no root element"),
        ("<!-- a -->", Malformed, 1, 11, "no root element"),
        ("hello", Malformed, 1, 1, "text stands before the root"),
        ("{\"a\": 1}", Malformed, 1, 1, "text stands before the root"),
        ("<a/>b", Malformed, 1, 5, "text stands behind the root"),
        ("<a/>\n<b/>", Malformed, 2, 1, "a second root element, <b>"),
        ("<a></a><a>", Malformed, 1, 8, "a second root element, <a>"),
        ("&amp;<a/>", Malformed, 1, 1, "a reference stands before the root"),
        ("<a/>&#32;", Malformed, 1, 5, "a reference stands behind the root"),
        ("<![CDATA[ ]]><a/>", Malformed, 1, 1, "a CDATA section stands before the root"),
        ("\u{FEFF}\u{FEFF}<a/>", Malformed, 1, 1, "a second byte order mark"),
        // Tags.
        ("<a>", Malformed, 1, 1, "the element <a>, which begins here, is never closed"),
        ("<a>\n <b></b>", Malformed, 1, 1, "<a>, which begins here, is never closed"),
        ("<a>\n   <b>\n</a>", Malformed, 3, 1, "</a> does not close <b>, which was opened at line 2, column 4"),
        ("<a></A>", Malformed, 1, 4, "</A> does not close <a>"),
        ("<a/></a>", Malformed, 1, 5, "</a> closes nothing"),
        ("</a>", Malformed, 1, 1, "</a> closes nothing"),
        ("<a></a b='c'>", Malformed, 1, 8, "'b' cannot stand in an end tag"),
        ("<a></a/>", Malformed, 1, 7, "'/' cannot stand in an end tag"),
        ("<a></ a>", Malformed, 1, 6, "should stand here, not U+0020"),
        ("<a></>", Malformed, 1, 6, "should stand here, not '>'"),
        ("<>", Malformed, 1, 2, "should stand here, not '>'"),
        ("< a/>", Malformed, 1, 2, "should stand here, not U+0020"),
        ("<a", Malformed, 1, 1, "a tag that begins here is not closed"),
        ("<", Malformed, 1, 2, "not the end of the document"),
        ("<a><b</a>", Malformed, 1, 6, "white space should stand before '<'"),
        ("<a>1 < 2</a>", Malformed, 1, 7, "should stand here, not U+0020"),
        ("<a / >", Malformed, 1, 4, "an attribute should stand here, not '/'"),
        // Names.
        ("<1a/>", Malformed, 1, 2, "'1' cannot begin the name '1a' of an element"),
        ("<-a/>", Malformed, 1, 2, "'-' cannot begin"),
        ("<aé×b/>", Malformed, 1, 4, "'×' cannot stand in the name"),
        ("<\u{300}a/>", Malformed, 1, 2, "cannot begin the name"),
        ("<a b$='c'/>", Malformed, 1, 4, "'b' has no value"),
        ("<a 1='c'/>", Malformed, 1, 4, "'1' cannot begin the name '1' of an attribute"),
        ("<a:b:c xmlns:a='u'/>", Malformed, 1, 2, "a colon in the wrong place"),
        ("<:a/>", Malformed, 1, 2, "a colon in the wrong place"),
        ("<a:/>", Malformed, 1, 2, "a colon in the wrong place"),
        // Attributes.
        ("<a b/>", Malformed, 1, 4, "the attribute 'b' has no value"),
        ("<a b=c/>", Malformed, 1, 6, "the value of the attribute 'b' is not in quotes"),
        ("<a b=/>", Malformed, 1, 6, "is not in quotes"),
        ("<a b='c'd='e'/>", Malformed, 1, 9, "white space should stand before 'd'"),
        ("<a\n b='1'\n b='2'/>", Malformed, 3, 2, "the attribute 'b' is there twice"),
        ("<a b='<'/>", Malformed, 1, 7, "a '<' stands in the value of the attribute 'b'"),
        ("<a b='1>text</a>", Malformed, 1, 6, "'b' is not closed with a quote"),
        ("<a b='1><c d='2'/></a>", Malformed, 1, 9, "a '<' stands in the value"),
        ("<a b='&x;'/>", Malformed, 1, 7, "the entity &x; is not defined"),
        ("<a b='x&'/>", Malformed, 1, 8, "a '&' stands here that begins no reference"),
        ("<a 'b'/>", Malformed, 1, 4, "an attribute should stand here"),
        // Namespaces.
        ("<p:a/>", Malformed, 1, 2, "the namespace prefix 'p' of 'p:a' is not declared"),
        ("<a p:b=''/>", Malformed, 1, 4, "the namespace prefix 'p' of 'p:b' is not declared"),
        ("<a><b xmlns:p='u'/><p:c/></a>", Malformed, 1, 21, "'p' of 'p:c' is not declared"),
        ("<a xmlns:p='u' xmlns:q='u' p:b='' q:b=''/>", Malformed, 1, 35, "'p:b' and 'q:b' have the same name"),
        ("<a xmlns:p='u' xmlns:p='v'/>", Malformed, 1, 16, "'xmlns:p' is there twice"),
        ("<a xmlns='u' xmlns='u'/>", Malformed, 1, 14, "'xmlns' is there twice"),
        ("<a xmlns:p=''/>", Malformed, 1, 4, "the prefix 'p' is bound to no namespace"),
        ("<a xmlns:xmlns='u'/>", Malformed, 1, 4, "the prefix 'xmlns' cannot be declared"),
        ("<a xmlns:xml='u'/>", Malformed, 1, 4, "belong to each other alone"),
        ("<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>", Malformed, 1, 4, "belong to each other alone"),
        ("<a xmlns='http://www.w3.org/XML/1998/namespace'/>", Malformed, 1, 4, "belong to each other alone"),
        ("<a xmlns='http://www.w3.org/2000/xmln&#x73;/'/>", Malformed, 1, 4, "nothing can be bound"),
        ("<xmlns:a/>", Malformed, 1, 2, "the prefix 'xmlns' is reserved"),
        // Characters and references.
        ("<a>\u{1}</a>", Malformed, 1, 4, "the character U+0001 here is forbidden"),
        ("<a>\n\tab\0</a>", Malformed, 2, 4, "the character U+0000 here is forbidden"),
        ("<a b='\u{FFFE}'/>", Malformed, 1, 7, "U+FFFE"),
        ("<a><!-- \u{FFFF} --></a>", Malformed, 1, 9, "U+FFFF"),
        ("<a\u{B}/>", Malformed, 1, 3, "U+000B"),
        ("<a>&#0;</a>", Malformed, 1, 4, "&#0; stands for a character that XML forbids"),
        ("<a>&#x1F;</a>", Malformed, 1, 4, "&#x1F; stands for"),
        ("<a>&#xD800;</a>", Malformed, 1, 4, "forbids"),
        ("<a>&#xFFFE;</a>", Malformed, 1, 4, "forbids"),
        ("<a>&#x110000;</a>", Malformed, 1, 4, "forbids"),
        ("<a>&#99999999999999999999;</a>", Malformed, 1, 4, "forbids"),
        ("<a>&#;</a>", Malformed, 1, 4, "no number"),
        ("<a>&#x;</a>", Malformed, 1, 4, "no number"),
        ("<a>&#X41;</a>", Malformed, 1, 4, "no number"),
        ("<a>&#+65;</a>", Malformed, 1, 4, "no number"),
        ("<a>&nbsp;</a>", Malformed, 1, 4, "the entity &nbsp; is not defined"),
        ("<a>R&D</a>", Malformed, 1, 5, "begins no reference"),
        ("<a>R & D;</a>", Malformed, 1, 6, "begins no reference"),
        ("<a>&amp", Malformed, 1, 4, "begins no reference"),
        ("<a>]]></a>", Malformed, 1, 4, "']]>' stands in text"),
        // Comments, CDATA sections, processing instructions.
        ("<a><!-- -- --></a>", Malformed, 1, 9, "'--' stands in a comment"),
        ("<a><!-- ---></a>", Malformed, 1, 9, "'--"),
        ("<a><!-- </a>", Malformed, 1, 4, "a comment that begins here is not closed"),
        ("<a><![CDATA[ </a>", Malformed, 1, 4, "a CDATA section that begins here is not closed"),
        ("<a><![cdata[ ]]></a>", Malformed, 1, 4, "neither a comment nor a CDATA section"),
        ("<a><!ELEMENT b ANY></a>", Malformed, 1, 4, "neither a comment nor a CDATA section"),
        ("<a><?b </a>", Malformed, 1, 4, "a processing instruction that begins here is not closed"),
        ("<a><??></a>", Malformed, 1, 6, "a processing instruction should stand here"),
        ("<a><? b?></a>", Malformed, 1, 6, "a processing instruction should stand here"),
        ("<a><?b:c?></a>", Malformed, 1, 7, "a ':' stands in the name of a processing instruction"),
        ("<a><?b+c?></a>", Malformed, 1, 7, "'+' cannot stand in the name"),
        ("<a/><?XML b?>", Malformed, 1, 7, "'XML' cannot name a processing instruction"),
        // The XML declaration.
        (" <?xml version='1.0'?><a/>", Malformed, 1, 2, "not at the very beginning"),
        ("<a><?xml version='1.0'?></a>", Malformed, 1, 4, "not at the very beginning"),
        ("<?xml version='1.1'?><a/>", Malformed, 1, 16, "XML version '1.1' is not supported"),
        ("<?xml?><a/>", Malformed, 1, 1, "does not begin with the version"),
        ("<?xml encoding='UTF-8'?><a/>", Malformed, 1, 1, "does not begin with the version"),
        ("<?xml version='1.0' standalone='maybe'?><a/>", Malformed, 1, 33, "neither 'yes' nor 'no'"),
        ("<?xml version='1.0' standalone='no' encoding='UTF-8'?><a/>", Malformed, 1, 37, "'encoding' cannot stand here"),
        ("<?xml version='1.0'encoding='UTF-8'?><a/>", Malformed, 1, 20, "white space should stand before 'e'"),
        ("<?xml version=1.0?><a/>", Malformed, 1, 15, "not in quotes"),
        ("<?xml version='1.0' encoding='ISO-8859-1'?><a/>", Encoding, 1, 31, "the encoding 'ISO-8859-1', not UTF-8"),
        ("<?xml version='1.0' encoding='UTF-16'?><a/>", Encoding, 1, 31, "'UTF-16', not UTF-8"),
        ("<?xml version='1.0' encoding='us-ascii'?>\n<a>ü</a>", Encoding, 2, 4, "declares US-ASCII, but 'ü'"),
        // Document types, wherever and however written.
        ("<!DOCTYPE a><a/>", Doctype, 1, 1, "a DOCTYPE is not allowed"),
        ("<?xml version='1.0'?>\r\n<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", Doctype, 2, 1, "a DOCTYPE"),
        ("<!DOCTYPE a [", Doctype, 1, 1, "a DOCTYPE"),
        ("<!doctype html><html></html>", Doctype, 1, 1, "a DOCTYPE"),
        ("<a><!DOCTYPE a></a>", Doctype, 1, 4, "a DOCTYPE"),
    ];
    for &(xml, code, line, column, words) in table {
        let fault = judge(xml.as_bytes(), &Limits::default()).expect_err(xml);
        assert_eq!((fault.code, fault.place), (code, Some(Place { line, column })), "{xml}: {fault}");
        assert!(fault.message.contains(words), "{xml}: {fault}");
        assert!(!fault.message.ends_with('.') && fault.advice().ends_with('.'), "{xml}: {fault}: {}", fault.advice());
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_at_the_first_of_them() {
    let fault = |bytes: &[u8]| judge(bytes, &Limits::default()).unwrap_err();
    assert_eq!(
        fault(b"<a>\r\n\xC3\xBC\xE9</a>").to_string(),
        "the byte 0xE9 here is not valid UTF-8 (line 2, column 2) [document-encoding]"
    );
    assert!(fault(b"\xFF\xFE<\0a\0/\0>\0").message.contains("UTF-16"));
    // Surrogates and overlong forms are not UTF-8 either.
    assert_eq!(fault(b"<a>\xED\xA0\x80</a>").code, Code::DocumentEncoding);
    assert_eq!(fault(b"<a>\xC0\x80</a>").code, Code::DocumentEncoding);
}

#[test]
fn of_two_faults_the_one_that_comes_first_is_reported() {
    let fault = judge(b"<a>\n<b c=1/>\x01", &Limits::default()).unwrap_err();
    assert_eq!(fault.place, Some(Place { line: 2, column: 6 }));
    let fault = judge(b"<a>\n\x01<b c=1/>", &Limits::default()).unwrap_err();
    assert_eq!(fault.place, Some(Place { line: 2, column: 1 }));
}

#[test]
fn a_message_shows_only_the_beginning_of_a_long_name() {
    let long = format!("<{0}></b>", "a".repeat(100_000));
    let fault = judge(long.as_bytes(), &Limits::default()).unwrap_err();
    assert!(fault.message.len() < 300 && fault.help.unwrap().len() < 300);
}

#[test]
fn well_formed_documents_are_accepted() {
    for xml in [
        "<a/>",
        "\u{FEFF}<a/>",
        "\u{FEFF}<?xml version=\"1.0\"?><a/>",
        "<?xml version = '1.0'\tencoding=\"utf-8\" standalone='yes' ?>\n<!-- - - --><?b c?><a/>\n<!----><?b ??>\r\n",
        "<?xml version='1.0' encoding='US-ASCII'?><a/>",
        "<a ></a\t\n>",
        "<a b='\"' c=\"'\" d = '>' e='/'\n/>",
        "<a>&lt;&gt;&amp;&apos;&quot;&#x10FFFF;&#9;]] ]&gt; ]]&#62; ></a>",
        "<a><![CDATA[<b>&c;]]]]><![CDATA[>]]></a>",
        "<a>]]<!-- -->></a>",
        "<ä-1.2·é xmlns:日本='u' 日本:語='x'/>",
        "<a xmlns='u'><b xmlns=''><c/></b></a>",
        "<a xmlns:p='u' xmlns:q='v' p:b='' q:b='' b=''/>",
        "<a xmlns='u' xmlns:p='u' p:b='' b=''/>",
        "<a xml:lang='de' xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<p:a p:b='' xmlns:p='u'><p:c xmlns:p='v'/></p:a>",
        "<a>\u{7F}\u{85}\u{A0}\u{FEFF}\u{FFFD}\u{1FFFE}</a>",
        "<xmlish/>",
        "<a><?xml-stylesheet href='b'?></a>",
    ] {
        let document = judge(xml.as_bytes(), &Limits::default()).unwrap_or_else(|fault| panic!("{xml}: {fault}"));
        assert_eq!(document.to_text().tree().as_ref(), Ok(&document), "{xml}");
    }
}

#[test]
fn the_tree_has_values_normalized_and_references_resolved() {
    let document = tree(
        "<a b='1\t2\r\n3\n\r4&#10;&#9;&lt;&#x41;'>\r\nx\r<!-- gone -->&amp;<![CDATA[&\r\n]]>&#13;<?gone?><c/>\n</a>",
    );
    assert_eq!(document.root.attribute("b"), Some("1 2 3  4\n\t<A"));
    assert_eq!(document.root.children[0], Node::Text("\nx\n&&\n\r".into()));
    assert_eq!(document.root.children.len(), 3);
    assert_eq!(document.root.text(), "\nx\n&&\n\r\n");
}

#[test]
fn names_are_resolved_to_namespaces() {
    let document =
        tree("<a xmlns='u' xmlns:p='v' b='1' p:b='2' xml:lang='de'><p:a/><a xmlns=''/><b xmlns:p='w' p:c='3'/></a>");
    let root = &document.root;
    assert!(root.name.is(Some("u"), "a"));
    assert_eq!((root.attribute("b"), root.attribute_in(Some("v"), "b")), (Some("1"), Some("2")));
    assert_eq!(root.attribute_in(Some("http://www.w3.org/XML/1998/namespace"), "lang"), Some("de"));
    let names: Vec<_> = root.elements().map(|element| element.name.namespace.as_deref()).collect();
    assert_eq!(names, [Some("v"), None, Some("u")]);
    assert_eq!(root.child_in(None, "a").map(|element| element.namespace_of("p")), Some(Some("v")));
    assert_eq!(root.child("b").and_then(|element| element.attribute_in(Some("w"), "c")), Some("3"));
    assert_eq!(root.attribute("lang"), None);
}

/// T1 asks that faults of definitions are shown at their place.
#[test]
fn elements_and_attributes_know_their_place_in_lines_and_characters() {
    let document = tree("<?xml version='1.0'?>\r\n<a>äöü<b\r\n c='日本' d=''/>\r<e/></a>");
    let b = document.root.child("b").unwrap();
    assert_eq!(document.root.place, Place { line: 2, column: 1 });
    assert_eq!(b.place, Place { line: 2, column: 7 });
    assert_eq!(b.attributes[0].place, Place { line: 3, column: 2 });
    assert_eq!(b.attributes[1].place, Place { line: 3, column: 9 });
    assert_eq!(document.root.child("e").unwrap().place, Place { line: 4, column: 1 });
}

#[test]
fn every_limit_is_kept_exactly_and_named_in_its_refusal() {
    let limits = Limits { bytes_max: 200, depth_max: 3, nodes_max: 8, attributes_max: 3, namespaces_max: 2 };
    let fits = |xml: &str| assert!(judge(xml.as_bytes(), &limits).is_ok(), "{xml}");
    let refused = |xml: &str, code: Code, column: Option<u32>, figure: &str| {
        let fault = judge(xml.as_bytes(), &limits).expect_err(xml);
        assert_eq!((fault.code, fault.place.map(|place| place.column)), (code, column), "{xml}: {fault}");
        assert!(fault.message.contains(figure), "{fault}");
    };
    fits(&format!("<a>{}</a>", "x".repeat(193)));
    refused(&format!("<a>{}</a>", "x".repeat(194)), Code::DocumentTooLarge, None, "200");
    fits("<a><b><c/><c/></b><b/></a>");
    refused("<a><b><c><d/></c></b></a>", Code::DocumentTooDeep, Some(10), "deeper than 3");
    fits("<a b='' c=''>x<d/>y<d/><!-- -->&amp;<![CDATA[]]></a>");
    refused("<a b='' c=''>x<d/>y<d/>z<d/></a>", Code::DocumentTooComplex, Some(25), "more than 8");
    fits("<a xmlns='' b='' c=''/>");
    refused("<a b='' c='' d='' e=''/>", Code::DocumentTooComplex, Some(19), "more than 3 attributes");
    fits("<a xmlns:p='u'><b xmlns:q='v'/><b xmlns:q='v'/></a>");
    refused(
        "<a xmlns='s' xmlns:p='u'><b xmlns:q='v'/></a>",
        Code::DocumentTooComplex,
        Some(29),
        "more than 2 namespace",
    );
}

#[test]
fn the_deepest_document_is_read_written_cloned_and_dropped() {
    let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    let document = tree(&deep(limit::DOCUMENT_DEPTH_MAX));
    assert_eq!(document.clone().to_text().tree().unwrap(), document);
    // Whoever allows more gets no more: stacks are finite.
    let limits = Limits { depth_max: usize::MAX, ..Limits::default() };
    let fault = judge(deep(limit::DOCUMENT_DEPTH_MAX + 1).as_bytes(), &limits).unwrap_err();
    assert_eq!(fault.code, Code::DocumentTooDeep);
    assert_eq!(judge("<a>".repeat(1_000_000).as_bytes(), &limits).unwrap_err().code, Code::DocumentTooDeep);
}

#[test]
fn many_attributes_are_searched_for_duplicates_too() {
    let attributes: String = (0..200).map(|number| format!(" a{number}=''")).collect();
    assert!(judge(format!("<a{attributes}/>").as_bytes(), &Limits::default()).is_ok());
    let fault = judge(format!("<a{attributes} a7='' a3=''/>").as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(fault.message, "the attribute 'a7' is there twice");
}

#[test]
fn an_element_cut_out_of_its_document_takes_its_namespaces_along() {
    let document =
        tree("<a xmlns='u' xmlns:p='v' xmlns:q='w'><p:b><c xmlns:q='x' q:d='' e='p:type'/></p:b><f xmlns=''/></a>");
    let b = document.root.child("b").unwrap();
    assert_eq!(b.child("c").unwrap().to_xml(), "<c xmlns:q=\"x\" xmlns=\"u\" xmlns:p=\"v\" q:d=\"\" e=\"p:type\"/>");
    for element in [b, b.child("c").unwrap(), document.root.child("f").unwrap()] {
        let alone = tree(&element.to_xml()).root;
        assert_eq!(
            (&alone.name, &alone.attributes, &alone.children),
            (&element.name, &element.attributes, &element.children)
        );
    }
    // In another document it means the same, and declares only what is not so there already.
    let host = tree("<h xmlns='u' xmlns:p='other'/>").root.with_child(b.clone()).with_child(Element::new("g"));
    assert_eq!(
        host.to_xml(),
        "<h xmlns=\"u\" xmlns:p=\"other\"><p:b xmlns:p=\"v\" xmlns:q=\"w\"><c xmlns:q=\"x\" q:d=\"\" e=\"p:type\"/></p:b>\
         <g xmlns=\"\"/></h>"
    );
}

#[test]
fn an_inner_declaration_hides_the_outer_one_also_when_cut_out() {
    let document = tree("<a xmlns:p='outer'><b xmlns:p='inner'><c d='p:type'/></b></a>");
    let c = document.root.child("b").and_then(|b| b.child("c")).unwrap();
    assert_eq!(c.namespace_of("p"), Some("inner"));
    let host = Element::new("h").with_declaration("p", "inner").with_child(c.clone());
    assert_eq!(host.to_xml(), "<h xmlns:p=\"inner\"><c d=\"p:type\"/></h>");
}

#[test]
fn built_documents_are_well_formed_whatever_their_texts_are() {
    let built = Element::new("Header")
        .with_namespace("cx", "urn:cx")
        .with_attribute("To", "a<b>&\"'\t\n\r\u{1}")
        .with_attribute_in(Name::within("urn:other", "o", "id"), "1")
        .with_attribute("To", "a<b>&\"'\t\n\r")
        .with_child(Element::new("plain").with_text("]]>").with_text("&amp;\r\u{0}"))
        .with_child(Element::new("Body").with_namespace("", "urn:cx"));
    let text = Document::from(built).to_checked_text(&Limits::default()).unwrap();
    let root = text.tree().unwrap().root;
    assert!(root.name.is(Some("urn:cx"), "Header"));
    assert_eq!(root.attribute("To"), Some("a<b>&\"'\t\n\r"));
    assert_eq!(root.attribute_in(Some("urn:other"), "id"), Some("1"));
    assert_eq!(root.child_in(None, "plain").unwrap().text(), "]]>&amp;\r\u{FFFD}");
    assert!(root.child_in(Some("urn:cx"), "Body").is_some());
    // A name that is none is found out before anybody else sees it.
    let faulty = Document::from(Element::new("a b"));
    assert_eq!(faulty.to_checked_text(&Limits::default()).unwrap_err().code, Code::DocumentMalformed);
    assert!(is_name("_ä-1") && !is_name("a b") && !is_name("") && !is_name("a:b") && !is_name("1"));
}

#[test]
fn a_text_without_its_declaration_can_stand_in_another_document() {
    for prolog in
        ["", "<?xml version='1.0'?>", " \r\n", "<!--> <a> -->", "<!---->\t<?p <a> ??>\n", "<?xml version='1.0'?><?p?>"]
    {
        let text = Text::parse(format!("\u{FEFF}{prolog}<a><!-- b --></a> ").as_bytes()).unwrap();
        assert_eq!(text.without_declaration(), "<a><!-- b --></a> ", "{prolog}");
        assert!(Text::parse(format!("<h>{}</h>", text.without_declaration()).as_bytes()).is_ok());
    }
    // A short processing instruction.
    assert_eq!(Text::parse(b"<?p?><a/>").unwrap().without_declaration(), "<a/>");
}

#[test]
fn a_text_is_a_string_in_records_and_short_in_logs() {
    let text = Text::parse(format!("<a>{}</a>", "é".repeat(100)).as_bytes()).unwrap();
    let json = serde_json::to_string(&text).unwrap();
    assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text.as_str());
    assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), text);
    let mut cbor = Vec::new();
    ciborium::into_writer(&text, &mut cbor).unwrap();
    assert_eq!(ciborium::from_reader::<Text, _>(cbor.as_slice()).unwrap(), text);
    assert_eq!(format!("{text:?}"), format!("Text(\"<a>{}\"…, 207 bytes)", "é".repeat(37)));
    assert!(Text::trusted("<a>").tree().is_err());
}

fn any_name() -> impl Strategy<Value = String> {
    prop::string::string_regex("[a-cA-C_äé][a-c0-9.·-]{0,3}").unwrap()
}

fn any_text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => prop::char::range('a', 'e'),
        3 => prop::sample::select(vec!['<', '>', '&', '"', '\'', ']', '\t', '\n', '\r', ' ', '-', '\u{85}', '\u{FFFD}']),
        1 => any::<char>().prop_filter("XML has it", |&character| syntax::is_character(character)),
    ];
    prop::collection::vec(character, 0..8).prop_map(String::from_iter)
}

/// Any element: several namespaces under clashing prefixes, attributes, texts.
fn any_element() -> impl Strategy<Value = Element> {
    let namespace = || prop::sample::select(vec!["", "u", "v", "w&<\"\n"]);
    let attribute = (any_name(), prop::sample::select(vec!["", "u", "v"]), any_text());
    let bare =
        (any_name(), prop::sample::select(vec!["", "p", "q"]), namespace(), prop::collection::vec(attribute, 0..4));
    let leaf = bare.prop_map(|(local, prefix, namespace, attributes)| {
        let element = Element::new(&local);
        let element = if namespace.is_empty() { element } else { element.with_namespace(prefix, namespace) };
        attributes.into_iter().fold(element, |element, (local, namespace, value)| {
            element.with_attribute_in(Name::within(namespace, &format!("n{namespace}"), &local), value)
        })
    });
    leaf.prop_recursive(5, 40, 5, |inner| {
        let child = prop_oneof![inner.clone().prop_map(Ok), any_text().prop_map(Err)];
        (inner, prop::collection::vec(child, 0..5)).prop_map(|(element, children)| {
            children.into_iter().fold(element, |element, child| match child {
                Ok(child) => element.with_child(child),
                Err(text) => element.with_text(&text),
            })
        })
    })
}

/// What elements say, without the declarations that writing adds.
fn without_declarations(element: &Element) -> Element {
    let children = element.children.iter().map(|child| match child {
        Node::Element(child) => Node::Element(without_declarations(child)),
        Node::Text(text) => Node::Text(text.clone()),
    });
    Element { namespaces: Vec::new(), children: children.collect(), ..element.clone() }
}

/// Pieces of which most of the grammar can be put together, rightly and wrongly.
const PIECES: &[&str] = &[
    "<a>",
    "</a>",
    "<b c='d'>",
    "</b>",
    "<p:a xmlns:p='u'>",
    "</p:a>",
    "<a/>",
    "<",
    ">",
    "/",
    "'",
    "\"",
    "=",
    " ",
    "\r\n",
    "&",
    ";",
    "&amp;",
    "&#65;",
    "&#0;",
    "&#x",
    "x",
    "é",
    "\u{1}",
    "\u{FFFF}",
    "<!--",
    "-->",
    "-",
    "<![CDATA[",
    "]]>",
    "]",
    "<?",
    "?>",
    "<?xml version='1.0'?>",
    "xmlns:q='v'",
    "xmlns=''",
    "q:",
    ":",
    "<!DOCTYPE",
    "<!",
    "\u{FEFF}",
    "p:c='d'",
    "c='d'",
];

proptest! {
    #[test]
    fn a_tree_is_the_same_after_being_written_and_read(root in any_element()) {
        let built = Document::from(root);
        let text = built.to_checked_text(&Limits::default()).unwrap();
        let read = text.tree().unwrap();
        prop_assert_eq!(without_declarations(&read.root), without_declarations(&built.root));
        prop_assert_eq!(read.to_text().tree().unwrap(), read);
    }

    #[test]
    fn every_part_of_a_tree_can_stand_alone_and_elsewhere(root in any_element(), host in any_element()) {
        let read = Document::from(root).to_text().tree().unwrap();
        let host = Document::from(host).to_text().tree().unwrap().root;
        for part in read.root.elements() {
            prop_assert_eq!(without_declarations(&tree(&part.to_xml()).root), without_declarations(part));
            let moved = Document::from(host.clone().with_child(part.clone()));
            let again = moved.to_text().tree().unwrap();
            prop_assert_eq!(without_declarations(&again.root), without_declarations(&moved.root));
        }
    }

    #[test]
    fn whatever_bytes_come_in_both_ways_of_reading_agree(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = judge(&bytes, &Limits::default());
    }

    #[test]
    fn whatever_is_put_together_from_xml_both_ways_of_reading_agree(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24),
        small in any::<bool>(),
    ) {
        let tight = Limits { bytes_max: 100, depth_max: 2, nodes_max: 5, attributes_max: 1, namespaces_max: 1 };
        let xml = pieces.concat();
        if let Ok(document) = judge(xml.as_bytes(), &if small { tight } else { Limits::default() }) {
            prop_assert_eq!(document.to_text().tree().unwrap(), document);
        }
    }

    #[test]
    fn a_mutated_document_never_breaks_its_reader(
        root in any_element(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(PIECES), any::<bool>()), 1..4),
    ) {
        let mut bytes = root.to_xml().into_bytes();
        for (index, piece, replace) in edits {
            let at = index.index(bytes.len());
            bytes.splice(at..at + usize::from(replace), piece.bytes());
        }
        if let Ok(document) = judge(&bytes, &Limits::default()) {
            prop_assert_eq!(document.to_text().tree().unwrap(), document);
        }
    }
}
