//! The published schemas and the reference say what the reader reads (T1).

use super::{around, document};
use crate::{
    code::Fault,
    document::Element,
    fixture::Shop,
    transaction::{
        Definition, FUNCTIONS, Libraries, Load as _, Operator, ValueType,
        grammar::{Occurs, RULES},
    },
};
use std::collections::BTreeMap;

const DTD: &str = include_str!("../../../../../docs/schemas/transaction.dtd");
const XSD: &str = include_str!("../../../../../docs/schemas/transaction.xsd");
const EXTENSIONS_XSD: &str = include_str!("../../../../../docs/schemas/transaction-extensions.xsd");
const REFERENCE: &str = include_str!("../../../../../docs/transactions.md");

/// A definition where the library is that the reference calls.
fn parse(text: &str) -> Result<Definition, Vec<Fault>> {
    let mut libraries = Libraries::default();
    libraries.add("freight".parse().unwrap(), Shop.load(b"shipping_cost(NUMVALUE,STRVALUE)NUMVALUE").unwrap());
    Definition::parse_with(&document(text), &libraries)
}

/// How often each child may stand in an element: the least and the most.
type Content = BTreeMap<String, (u32, u32)>;
const MANY: u32 = u32::MAX;

/// What the reader takes, element by element.
fn rules() -> BTreeMap<String, Content> {
    let bounds = |occurs: Occurs| match occurs {
        Occurs::Once => (1, 1),
        Occurs::Optional => (0, 1),
        Occurs::Any => (0, MANY),
        Occurs::AtLeastOnce => (1, MANY),
        Occurs::Twice => (2, 2),
    };
    let content = |children: &[(&str, Occurs)]| {
        children.iter().map(|(name, occurs)| ((*name).to_owned(), bounds(*occurs))).collect()
    };
    RULES.iter().map(|rule| (rule.name.to_owned(), content(rule.children))).collect()
}

/// One of several may be absent for another.
fn alternative(content: Content) -> Content {
    content.into_iter().map(|(name, (_, most))| (name, (0, most))).collect()
}

fn add(content: &mut Content, other: Content) {
    for (name, (least, most)) in other {
        let sum = content.entry(name).or_insert((0, 0));
        *sum = (sum.0 + least, sum.1.saturating_add(most));
    }
}

/// Reads a group of the DTD, from behind its parenthesis to behind its end and what follows that.
fn group(model: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Content {
    let (mut content, mut choice) = (Content::new(), false);
    loop {
        let item = match model.next() {
            Some('(') => group(model),
            Some(' ' | '\n' | ',') => continue,
            Some('|') => {
                choice = true;
                continue;
            }
            Some(')') | None => break,
            Some(first) => {
                let mut name = String::from(first);
                while let Some(next) = model.next_if(|next| !" ,|()?*+".contains(*next)) {
                    name.push(next);
                }
                repeated(Content::from([(name, (1, 1))]), model)
            }
        };
        add(&mut content, item);
    }
    repeated(if choice { alternative(content) } else { content }, model)
}

fn repeated(content: Content, model: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Content {
    let Some(sign) = model.next_if(|next| "?*+".contains(*next)) else { return content };
    let change = |(least, most): (u32, u32)| match sign {
        '?' => (0, most),
        '*' => (0, MANY),
        _ => (least, MANY),
    };
    content.into_iter().map(|(name, bounds)| (name, change(bounds))).collect()
}

#[test]
fn the_dtd_has_the_elements_that_the_reader_takes() {
    let mut declared = BTreeMap::new();
    let mut texts = Vec::new();
    for declaration in DTD.split("<!ELEMENT ").skip(1) {
        let (name, model) = declaration.split_once(' ').unwrap();
        let model = model.split_once('>').unwrap().0;
        if model == "(#PCDATA)" {
            texts.push(name.to_owned());
        } else {
            let mut model = model.chars().peekable();
            assert_eq!(model.next(), Some('('));
            declared.insert(name.to_owned(), group(&mut model));
        }
    }
    assert_eq!(declared, rules());
    assert_eq!(sorted(texts), texts_of_rules());
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// The elements that hold text: those that stand somewhere and have no rule.
fn texts_of_rules() -> Vec<String> {
    let rules = rules();
    let mut names: Vec<String> = rules.values().flat_map(|content| content.keys().cloned()).collect();
    names.retain(|name| !rules.contains_key(name));
    names.sort();
    names.dedup();
    names
}

/// The content that a particle of the schema describes.
fn particle(element: &Element) -> Content {
    let bound = |name: &str| match element.attribute(name) {
        Some("unbounded") => MANY,
        Some(number) => number.parse().unwrap(),
        None => 1,
    };
    if &*element.name.local == "element" {
        return Content::from([(
            element.attribute("ref").unwrap().to_owned(),
            (bound("minOccurs"), bound("maxOccurs")),
        )]);
    }
    let mut content = Content::new();
    for inside in element.elements().filter(|inside| ["sequence", "choice", "element"].contains(&&*inside.name.local)) {
        add(&mut content, particle(inside));
    }
    if &*element.name.local == "choice" { alternative(content) } else { content }
}

#[test]
fn the_schema_has_the_elements_that_the_reader_takes() {
    let (mut declared, mut texts) = (BTreeMap::new(), Vec::new());
    for (schema, prefix) in [(XSD, ""), (EXTENSIONS_XSD, "hx:")] {
        for element in
            document(schema).tree().unwrap().root.elements().filter(|element| &*element.name.local == "element")
        {
            let name = format!("{prefix}{}", element.attribute("name").unwrap());
            match element.child("complexType") {
                Some(content) => drop(declared.insert(name, particle(content))),
                None => texts.push(name),
            }
        }
    }
    assert_eq!(declared, rules());
    assert_eq!(sorted(texts), texts_of_rules());
}

#[test]
fn the_schema_and_the_reference_name_every_operator_function_and_type() {
    let schema = document(XSD).tree().unwrap();
    let values = |name: &str| -> Vec<String> {
        let element = schema.root.elements().find(|element| element.attribute("name") == Some(name)).unwrap();
        let restriction = element.child("simpleType").unwrap_or(element).child("restriction").unwrap();
        restriction.elements().map(|value| value.attribute("value").unwrap().to_owned()).collect()
    };
    assert_eq!(values("OPNAME"), Operator::ALL.iter().map(|operator| operator.as_str()).collect::<Vec<_>>());
    assert_eq!(values("function"), FUNCTIONS.iter().map(|function| function.name).collect::<Vec<_>>());
    assert_eq!(values("VALTYPE"), ValueType::ALL.map(ValueType::as_str));
    for word in ["OPNAME", "function", "VALTYPE"].iter().flat_map(|name| values(name)) {
        assert!(REFERENCE.contains(&format!("`{word}`")), "docs/transactions.md does not name {word}");
    }
    for name in rules().into_keys().chain(texts_of_rules()) {
        assert!(REFERENCE.contains(&format!("`{name}`")), "docs/transactions.md does not name {name}");
        assert!(REFERENCE.contains(&format!("<{name}")), "docs/transactions.md has no example of {name}");
    }
}

#[test]
fn every_example_of_the_reference_is_sound() {
    let mut examples = 0;
    for block in REFERENCE.split("```xml\n").skip(1) {
        let block = block.split_once("```").unwrap().0;
        let begin = block.trim_start();
        if begin.starts_with("<hx:TRANSACTION") || begin.starts_with("<hx:SIGNAL") {
            // In place of the service that performs it.
            parse(&around(block).replace("<CXCNAME>ANY</CXCNAME>", ""))
                .unwrap_or_else(|faults| panic!("{block}\n{faults:#?}"));
            examples += 1;
            continue;
        }
        let text = if begin.starts_with("<TRANSACTION") {
            block.to_owned()
        } else if begin.starts_with("<EXPR") {
            // A fragment may be of any type.
            let typed = |value_type: &&&str| {
                let argument = format!("<ARG><NAME>x</NAME><VALTYPE>{value_type}</VALTYPE>{block}</ARG>");
                parse(&around(&format!("<JOIN>{argument}</JOIN>"))).is_ok()
            };
            assert!(ValueType::ALL.map(ValueType::as_str).iter().any(|it| typed(&it)), "{block}");
            examples += 1;
            continue;
        } else if begin.starts_with("<Data") || begin.starts_with("<Documents") || begin.starts_with("<Responses") {
            document(block);
            continue;
        } else {
            around(block)
        };
        parse(&text).unwrap_or_else(|faults| panic!("{block}\n{faults:#?}"));
        examples += 1;
    }
    assert!(examples >= 10, "there are only {examples}");
}

/// The whole definitions of the reference.
fn definitions_of_the_reference() -> Vec<&'static str> {
    let blocks = REFERENCE.split("```xml\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.filter(|block| block.starts_with("<TRANSACTION")).collect()
}

#[test]
fn every_element_is_in_a_whole_definition_of_the_reference_that_can_be_run() {
    // `rehearsal/reference.rs` runs them.
    for name in rules().into_keys().chain(texts_of_rules()) {
        let begins = [format!("<{name}>"), format!("<{name} ")];
        let is_there = |text: &&str| begins.iter().any(|begin| text.contains(begin));
        assert!(definitions_of_the_reference().iter().any(is_there), "no whole definition has <{name}>");
    }
}

/// The examples that are files, so that a stranger can run them as they are.
macro_rules! files {
    ($($name:literal),*) => { [$(($name, include_str!(concat!("../../../../../docs/examples/", $name, ".xml")))),*] };
}

#[test]
fn the_whole_definitions_of_the_reference_are_files_too() {
    let files = files![
        "ask-carriers",
        "ask-member",
        "choose-carrier",
        "label-parcel",
        "pack-lines",
        "pay-and-ship",
        "price-parcel",
        "ship-safely",
        "weigh-twice"
    ];
    for (name, file) in files {
        assert!(definitions_of_the_reference().contains(&file), "docs/examples/{name}.xml is not as in the reference");
    }
}
