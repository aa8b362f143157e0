//! What the documents' parser accepts, refuses, and says about it.

use super::*;

#[test]
fn a_document_is_written_and_read_back_unchanged() {
    let text = Text::parse(b"\xEF\xBB\xBF<?xml version='1.0'?>\r\n<!-- - --><a xmlns='u' b=\"&lt;\n&#10;\"><p:c xmlns:p='v' p:d=''>x&amp;<![CDATA[<]]></p:c> y\r\n</a>").unwrap();
    let document = text.tree().unwrap();
    let again = document.to_text();
    assert_eq!(again.as_str(), "<a xmlns=\"u\" b=\"&lt; &#10;\"><p:c xmlns:p=\"v\" p:d=\"\">x&amp;&lt;</p:c> y\n</a>");
    assert_eq!(again.tree().unwrap(), document);
}
