//! How documents are put together: what an operation is asked with, what the tail answers, what a broadcast collected
//! (T6).
//!
//! The instance calls it with the documents that it has. What is built goes out to services, so it is checked like any
//! document from outside: parts that are right alone can be too much together.

use super::{
    definition::{Argument, Definition, Join, Mapping, Source},
    expression::{Documents, Evaluation, Side, Trouble, single},
    path::{DATA_NAMESPACE, Found, is_data},
    value::{Value, ValueType},
};
use crate::{
    code::{Code, Fault},
    document::{Document, Element, Limits, Name, Node, Text},
    ident::{OrganizationId, OrganizationName, ServiceName},
    limit,
};

/// What the operation with index `operation` is asked with; of the tail: the transaction's output document.
///
/// The default join takes the predecessors that have an output: all that ended well.
///
/// # Errors
/// [`Code::JoinFailed`] where a mandatory argument has no value, with the operation, the argument and the reason.
pub fn request_document(definition: &Definition, operation: usize, documents: &impl Documents) -> Result<Text, Fault> {
    let evaluation = Evaluation::new(documents);
    match &definition.operations[operation].join {
        Join::Default => default_document(definition, operation, &evaluation),
        Join::Documents(mappings) => mapped_document(mappings, &evaluation),
        Join::Arguments(arguments) => arguments_document(arguments, &evaluation),
    }
    .map_err(|fault| {
        let asked = &definition.operations[operation];
        let message =
            format!("the request of operation {} ({}) cannot be built: {}", asked.id, asked.name, fault.message);
        let mut failed = Fault::new(Code::JoinFailed, message);
        failed.place = Some(fault.place.unwrap_or(asked.place));
        failed.help = fault.help;
        failed
    })
}

/// One response to a broadcast.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The name of the organization that answered.
    pub organization: &'a OrganizationName,
    /// Its id.
    pub organization_id: OrganizationId,
    /// The service that answered, where it is known.
    pub service: Option<&'a ServiceName>,
    /// Whether it counted towards the minimum.
    pub counted: bool,
    /// The answer.
    pub document: &'a Text,
}

/// A broadcast's output document.
///
/// # Errors
/// [`Code::DocumentTooLarge`] and the like, where the responses are more than one document can hold.
pub fn responses_document(responses: &[Response<'_>]) -> Result<Text, Fault> {
    let mut out = Builder::new("Responses");
    for response in responses {
        let mut attributes = vec![
            ("organization", response.organization.as_str().to_owned()),
            ("organization-id", response.organization_id.to_string()),
        ];
        attributes.extend(response.service.map(|service| ("service", service.to_string())));
        attributes.push(("counted", response.counted.to_string()));
        out.open("Response", &attributes);
        out.embed(response.document)?;
        out.close("Response");
    }
    out.finish()
}

fn default_document(
    definition: &Definition,
    operation: usize,
    evaluation: &Evaluation<'_, impl Documents>,
) -> Result<Text, Fault> {
    let predecessors = &definition.operations[operation].predecessors;
    if let [only] = predecessors[..]
        && only == definition.head()
    {
        let input = evaluation.text_of(only, Side::Output);
        return input.cloned().ok_or_else(|| failed("the transaction has no input"));
    }
    let mut out = Builder::new("Documents");
    for &predecessor in predecessors {
        let Some(output) = evaluation.text_of(predecessor, Side::Output) else { continue };
        let before = &definition.operations[predecessor];
        out.open("Operation", &[("id", before.id.to_string()), ("name", before.name.to_string())]);
        // The head's two documents are one.
        if predecessor != definition.head()
            && let Some(input) = evaluation.text_of(predecessor, Side::Input)
        {
            out.open("Input", &[]);
            out.embed(input)?;
            out.close("Input");
        }
        out.open("Output", &[]);
        out.embed(output)?;
        out.close("Output");
        out.close("Operation");
    }
    out.finish()
}

/// One document is the request itself; of several, each becomes a variable.
fn mapped_document(mappings: &[Mapping], evaluation: &Evaluation<'_, impl Documents>) -> Result<Text, Fault> {
    if let [mapping] = mappings {
        if mapping.path.is_whole() {
            return whole(mapping, evaluation).cloned();
        }
        return match value_of(mapping, ValueType::Document, evaluation).map_err(Trouble::into_fault)? {
            Value::Document(sections) if sections.len() == 1 => checked(&sections[0]),
            Value::Document(sections) => {
                let help = "pick one with [1], or give the section a name in an ARG";
                let count = sections.len();
                Err(failed(format!("'{}' leads to {count} elements, and a document has one root", mapping.path))
                    .help(help))
            }
            _ => Err(failed(format!("'{}' leads to no element", mapping.path))),
        };
    }
    let mut data = data();
    for mapping in mappings {
        if mapping.path.is_whole() {
            let tree = tree(mapping, evaluation).map_err(Trouble::into_fault)?;
            if is_data(&tree.root) {
                // Variables stay the variables that they are.
                data.children.extend(tree.root.elements().cloned().map(Node::Element));
            } else {
                data.children.push(Node::Element(variable(mapping.name.as_str()).with_child(tree.root.clone())));
            }
            continue;
        }
        let value_type = if mapping.path.is_attribute() { ValueType::Text } else { ValueType::Document };
        let value = value_of(mapping, value_type, evaluation).map_err(Trouble::into_fault)?;
        data.children.push(Node::Element(holding(mapping.path.last_name().unwrap_or(mapping.name.as_str()), value)));
    }
    checked(&data)
}

fn arguments_document(arguments: &[Argument], evaluation: &Evaluation<'_, impl Documents>) -> Result<Text, Fault> {
    let mut data = data();
    for argument in arguments {
        let value = match &argument.source {
            Source::Expression(expression) => evaluation.evaluate(expression),
            Source::Document(mapping) => value_of(mapping, argument.value_type, evaluation),
        };
        match value {
            Ok(value) => data.children.push(Node::Element(holding(&argument.name, value))),
            Err(Trouble::Missing(_)) if argument.optional => {}
            Err(trouble) => {
                let missing = matches!(trouble, Trouble::Missing(_));
                let fault = trouble.into_fault();
                let kind = if argument.optional { "optional" } else { "mandatory" };
                let mut told =
                    failed(format!("the {kind} argument '{}' has no value: {}", argument.name, fault.message));
                told.place = Some(fault.place.unwrap_or(argument.place));
                if !missing {
                    told.help = Some("correct the document that it comes from, or the expression".to_owned());
                }
                return Err(told);
            }
        }
    }
    checked(&data)
}

fn failed(message: impl Into<String>) -> Fault {
    Fault::new(Code::JoinFailed, message)
}

fn data() -> Element {
    Element::new("Data").with_namespace("", DATA_NAMESPACE)
}

fn variable(name: &str) -> Element {
    let mut variable = Element::new("Variable").with_attribute("name", name);
    variable.name = Name::within(DATA_NAMESPACE, "", "Variable");
    variable
}

fn holding(name: &str, value: Value) -> Element {
    match value {
        Value::Document(sections) => sections.into_iter().fold(variable(name), Element::with_child),
        value => variable(name).with_text(&value.to_string()),
    }
}

fn checked(root: &Element) -> Result<Text, Fault> {
    Text::parse_within(root.to_xml().as_bytes(), &Limits::default())
}

fn not_there(mapping: &Mapping) -> Fault {
    failed(format!("operation {} ({}) has no {} document", mapping.id, mapping.name, mapping.side.as_str()))
        .at(mapping.place)
        .help("the operation failed or was not performed; make the argument optional if the request can do without")
}

fn whole<'a>(mapping: &Mapping, evaluation: &Evaluation<'a, impl Documents>) -> Result<&'a Text, Fault> {
    evaluation.text_of(mapping.operation, mapping.side).ok_or_else(|| not_there(mapping))
}

fn tree(mapping: &Mapping, evaluation: &Evaluation<'_, impl Documents>) -> Result<std::rc::Rc<Document>, Trouble> {
    match evaluation.tree_of(mapping.operation, mapping.side) {
        Ok(Some(tree)) => Ok(tree),
        Ok(None) => Err(Trouble::Missing(not_there(mapping))),
        Err(fault) => Err(Trouble::Wrong(fault)),
    }
}

fn value_of(
    mapping: &Mapping,
    value_type: ValueType,
    evaluation: &Evaluation<'_, impl Documents>,
) -> Result<Value, Trouble> {
    let tree = tree(mapping, evaluation)?;
    let found: Found<'_> = mapping.path.find(&tree.root);
    let words = || {
        format!(
            "'{}' in the {} document of operation {} ({})",
            mapping.path,
            mapping.side.as_str(),
            mapping.id,
            mapping.name
        )
    };
    if found.count() == 0 {
        return Err(Trouble::Missing(failed(format!("{} is not there", words())).at(mapping.place)));
    }
    single(&found, value_type)
        .map_err(|message| Trouble::Wrong(failed(format!("{}: {message}", words())).at(mapping.place)))
}

/// Puts whole documents into one, letter for letter, so that what was signed in them stays so.
struct Builder {
    out: String,
    root: &'static str,
}

impl Builder {
    fn new(root: &'static str) -> Self {
        Self { out: format!("<{root} xmlns=\"{DATA_NAMESPACE}\">"), root }
    }

    fn open(&mut self, name: &str, attributes: &[(&str, String)]) {
        // An element without content ends in "/>", which is taken off again: names and escapes are the document room's.
        let element = attributes
            .iter()
            .fold(Element::new(name), |element, (name, value)| element.with_attribute(name, value.clone()));
        let tag = element.to_xml();
        self.out.push_str(tag.strip_suffix("/>").unwrap_or(&tag));
        self.out.push('>');
    }

    fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    fn embed(&mut self, document: &Text) -> Result<(), Fault> {
        let text = document.without_declaration();
        if self.out.len() + text.len() > limit::DOCUMENT_BYTES_MAX {
            let message = format!("the documents together are more than {} bytes", limit::DOCUMENT_BYTES_MAX);
            return Err(Fault::new(Code::DocumentTooLarge, message).help("pick the sections that are needed in a JOIN"));
        }
        let (name, rest) = text.split_at(root_name_end(text));
        self.out.push_str(name);
        if !declares_default(rest) {
            // Names without a prefix must not fall into the namespace of the document around.
            self.out.push_str(" xmlns=\"\"");
        }
        self.out.push_str(rest);
        Ok(())
    }

    fn finish(mut self) -> Result<Text, Fault> {
        self.close(self.root);
        Text::parse(self.out.as_bytes())
    }
}

/// Where the name in the first tag of a checked text ends.
fn root_name_end(text: &str) -> usize {
    text.find(|character: char| character.is_ascii_whitespace() || character == '/' || character == '>')
        .unwrap_or(text.len())
}

/// Whether the attributes at the beginning of `rest` declare a default namespace.
fn declares_default(mut rest: &str) -> bool {
    loop {
        rest = rest.trim_start();
        let Some((name, after)) = rest.split_once('=').filter(|_| !rest.starts_with(['/', '>'])) else { return false };
        if name.trim_end() == "xmlns" {
            return true;
        }
        let after = after.trim_start();
        let Some(quote) = after.chars().next() else { return false };
        let Some((_, next)) = after[1..].split_once(quote) else { return false };
        rest = next;
    }
}
