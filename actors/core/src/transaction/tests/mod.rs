//! What definitions promise, as tables: sound and faulty definitions, expressions, joins; and what must hold for any.

mod choices;
mod difference;
mod evaluation;
mod extensions;
mod faults;
mod functions;
mod joins;
mod libraries;
mod properties;
mod schemas;

use super::{Definition, Documents, Side};
use crate::{code::Fault, document::Text, moment::Moment};
use std::collections::BTreeMap;

/// A sound definition that uses every element; the tables of faults change one thing in it.
const SOUND: &str = r#"<TRANSACTION xmlns:hx="urn:hansa:transaction:1">
  <NAME>sound</NAME>
  <TIMEOUT>60</TIMEOUT>
  <SAVE>NO</SAVE>
  <OPERATION>
    <NAME>CXtsHeadOp</NAME>
    <OPID>0</OPID>
    <OPLINK><SRCOPID>0</SRCOPID><DSTOPID>1</DSTOPID></OPLINK>
    <OPLINK><SRCOPID>0</SRCOPID><DSTOPID>2</DSTOPID></OPLINK>
  </OPERATION>
  <OPERATION>
    <NAME>ask</NAME>
    <OPID>1</OPID>
    <CXCNAME>ANY</CXCNAME>
    <TIMEOUT>5</TIMEOUT>
    <OPLINK><SRCOPID>1</SRCOPID><DSTOPID>3</DSTOPID></OPLINK>
    <BROADCAST>
      <RESPONSE><MIN>2</MIN></RESPONSE>
      <EXPR><FUNCTION><FUNCNAME>EXISTS</FUNCNAME><VALTYPE>BOOLVALUE</VALTYPE><EXPR><VAR><VARNAME>Price</VARNAME><OPID>1</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>NUMVALUE</VALTYPE></VAR></EXPR></FUNCTION></EXPR>
      <hx:SCOPE>FEDERATION</hx:SCOPE>
    </BROADCAST>
  </OPERATION>
  <OPERATION>
    <NAME>weigh</NAME>
    <OPID>2</OPID>
    <CXCNAME>scales</CXCNAME>
    <OPLINK><SRCOPID>2</SRCOPID><DSTOPID>3</DSTOPID></OPLINK>
    <OPLINK><SRCOPID>2</SRCOPID><DSTOPID>9</DSTOPID></OPLINK>
    <SPLIT>
      <STMT>
        <EXPR><OPERATOR><OPNAME>GREATER</OPNAME><EXPR><VAR><VARNAME>Weight</VARNAME><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>NUMVALUE</VALTYPE></VAR></EXPR><EXPR><VALUE>10</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR></OPERATOR></EXPR>
        <OPID>3</OPID>
      </STMT>
      <STMT>
        <EXPR><VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR>
        <OPID>9</OPID>
      </STMT>
    </SPLIT>
    <JOIN>
      <DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE><OPDOCVARTYPE>Item</OPDOCVARTYPE></DOCUMENT>
    </JOIN>
  </OPERATION>
  <OPERATION>
    <NAME>carry</NAME>
    <OPID>3</OPID>
    <CXCNAME>ANY</CXCNAME>
    <OPLINK><SRCOPID>3</SRCOPID><DSTOPID>9</DSTOPID></OPLINK>
    <JOIN>
      <ARG>
        <NAME>weight</NAME>
        <VALTYPE>NUMVALUE</VALTYPE>
        <OPTIONAL>YES</OPTIONAL>
        <EXPR><VAR><VARNAME>Weight</VARNAME><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><OPDOCVARTYPE>.</OPDOCVARTYPE><VALTYPE>NUMVALUE</VALTYPE></VAR></EXPR>
      </ARG>
      <ARG>
        <NAME>offers</NAME>
        <VALTYPE>DOCVALUE</VALTYPE>
        <DOCUMENT><OPID>1</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT>
      </ARG>
    </JOIN>
    <hx:ORGANIZATION><EXPR><VAR><VARNAME>Response[1]/@organization</VARNAME><OPID>1</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>STRVALUE</VALTYPE></VAR></EXPR></hx:ORGANIZATION>
  </OPERATION>
  <OPERATION>
    <NAME>CXtsTailOp</NAME>
    <OPID>9</OPID>
  </OPERATION>
</TRANSACTION>
"#;

/// The definition in the folder of the demo's documents.
const PURCHASE_ORDER: &str = include_str!("../../../../../testnet/data/purchase-order.xml");

fn parse(text: &str) -> Result<Definition, Vec<Fault>> {
    Definition::parse(&document(text))
}

fn document(text: &str) -> Text {
    Text::parse(text.as_bytes()).unwrap_or_else(|fault| panic!("{fault} in {text:.2000}"))
}

/// Head, one operation with OPID 1 and this content beside its name and link, and tail.
fn around(inside: &str) -> String {
    format!(
        "<TRANSACTION xmlns:hx=\"urn:hansa:transaction:1\"><NAME>t</NAME>\
         <OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID><OPLINK><SRCOPID>0</SRCOPID><DSTOPID>1</DSTOPID></OPLINK></OPERATION>\
         <OPERATION><NAME>work</NAME><OPID>1</OPID><CXCNAME>ANY</CXCNAME>\
         <OPLINK><SRCOPID>1</SRCOPID><DSTOPID>2</DSTOPID></OPLINK>{inside}</OPERATION>\
         <OPERATION><NAME>CXtsTailOp</NAME><OPID>2</OPID></OPERATION></TRANSACTION>"
    )
}

/// The documents of a transaction that is under way.
#[derive(Default)]
struct Papers(BTreeMap<(usize, Side), Text>);

impl Papers {
    fn with(mut self, operation: usize, side: Side, text: &str) -> Self {
        self.0.insert((operation, side), document(text));
        self
    }

    /// With this input, which the head has on both sides.
    fn input(text: &str) -> Self {
        Self::default().with(0, Side::Input, text).with(0, Side::Output, text)
    }
}

impl Documents for Papers {
    fn document(&self, operation: usize, side: Side) -> Option<&Text> {
        self.0.get(&(operation, side))
    }

    fn submitted(&self) -> Moment {
        // 2026-11-24T09:30:00.007Z
        Moment(1_795_512_600_007)
    }
}

#[test]
fn a_sound_definition_becomes_what_it_says() {
    // T1
    let definition = parse(SOUND).unwrap();
    assert_eq!(definition.name.as_str(), "sound");
    assert_eq!((definition.timeout_ms, definition.save), (Some(60_000), false));
    assert_eq!(definition.hash, Definition::hash_of(&document(SOUND)));
    assert_eq!((definition.head(), definition.tail()), (0, 4));
    assert_eq!((definition.index_of(9), definition.index_of(3), definition.index_of(4)), (Some(4), Some(3), None));

    let [head, ask, weigh, carry, tail] = &definition.operations[..] else { panic!("there are five operations") };
    assert_eq!((head.name.as_str(), tail.name.as_str()), ("CXtsHeadOp", "CXtsTailOp"));
    assert_eq!((ask.timeout_ms, weigh.timeout_ms), (Some(5_000), None));
    assert_eq!((ask.service.as_ref(), weigh.service.as_ref().map(|name| name.as_str())), (None, Some("scales")));
    assert_eq!((&head.links[..], &weigh.links[..], &tail.links[..]), (&[1, 2][..], &[3, 4][..], &[][..]));
    assert_eq!((&carry.predecessors[..], &tail.predecessors[..]), (&[1, 2][..], &[2, 3][..]));
    let broadcast = ask.broadcast.as_ref().unwrap();
    assert_eq!((broadcast.minimum, broadcast.federation), (Some(2), true));
    assert_eq!(weigh.split.as_ref().unwrap().statements[1].targets, [4]);
    assert!(carry.organization.is_some());
}

#[test]
fn the_elements_of_a_definition_may_stand_in_any_order_and_carry_comments() {
    let text = SOUND
        .replace("<NAME>ask</NAME>\n", "<!-- later -->")
        .replace("</BROADCAST>\n", "</BROADCAST><NAME> ask\n</NAME>");
    assert_eq!(parse(&text).unwrap().operations[1].name.as_str(), "ask");
}

#[test]
fn a_transaction_is_kept_unless_the_definition_says_no_and_has_no_timeout_unless_it_has_one() {
    let text = SOUND.replace("<SAVE>NO</SAVE>", "").replace("<TIMEOUT>60<", "<TIMEOUT>0<");
    let definition = parse(&text).unwrap();
    assert!(definition.save);
    assert_eq!(definition.timeout_ms, None, "zero means that it may take as long as it needs");
}

#[test]
fn the_definition_of_the_demo_is_sound() {
    let definition = parse(PURCHASE_ORDER).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(definition.name.as_str(), "purchase-order");
    assert_eq!(definition.operations.len(), 8);
}
