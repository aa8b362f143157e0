//! How documents are put together: what an operation is asked with, what the tail answers, what a broadcast collected
//! (T6).
//!
//! The instance calls it with the documents that it has. What is built goes out to services, so it is checked like any
//! document from outside: parts that are right alone can be too much together.

use super::{
    definition::{Argument, Definition, Iteration, Join, Mapping, Source, Work},
    expression::{Documents, Evaluation, Expression, Side, Trouble, single},
    path::{DATA_NAMESPACE, Found, is_data},
    value::{Value, ValueType},
};
use crate::{
    code::{Code, Fault},
    document::{Document, Element, Limits, Name, Node, Text},
    ident::{OrganizationId, OrganizationName, ServiceName},
    limit,
    moment::Moment,
};
use std::{cell::Cell, collections::BTreeSet};

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
        Join::Expression(expression) => expressed_document(expression, &evaluation),
    }
    .map_err(|fault| not_built(definition, operation, "the request of operation", fault))
}

fn not_built(definition: &Definition, operation: usize, what: &str, fault: Fault) -> Fault {
    let asked = &definition.operations[operation];
    let message = format!("{what} {} ({}) cannot be built: {}", asked.id, asked.name, fault.message);
    let mut failed = Fault::new(Code::JoinFailed, message);
    failed.place = Some(fault.place.unwrap_or(asked.place));
    failed.help = fault.help;
    failed
}

/// What undoes the operation with index `operation` is asked with: by default, what the operation was asked and answered.
///
/// # Errors
/// As [`request_document`].
pub fn compensation_document(
    definition: &Definition,
    operation: usize,
    documents: &impl Documents,
) -> Result<Text, Fault> {
    let evaluation = Evaluation::new(documents);
    let defined = &definition.operations[operation];
    match defined.compensation.as_ref().map_or(&Join::Default, |compensation| &compensation.join) {
        Join::Default => {
            let mut out = Builder::new("Documents");
            out.operation(definition, operation, &evaluation, true).and_then(|()| out.finish())
        }
        Join::Documents(mappings) => mapped_document(mappings, &evaluation),
        Join::Arguments(arguments) => arguments_document(arguments, &evaluation),
        Join::Expression(expression) => expressed_document(expression, &evaluation),
    }
    .map_err(|fault| not_built(definition, operation, "the request of the compensation of operation", fault))
}

/// The lines of an iteration, each a document of its own.
///
/// # Errors
/// [`Code::JoinFailed`] where the document is not there.
pub fn lines(iteration: &Iteration, documents: &impl Documents) -> Result<Vec<Text>, Fault> {
    let evaluation = Evaluation::new(documents);
    let mapping = &iteration.lines;
    let tree = tree(mapping, &evaluation).map_err(Trouble::into_fault)?;
    let found = mapping.path.find(&tree.root);
    // A cut that is too long is not cut any further.
    let most = (iteration.lines_max as usize).saturating_add(1);
    match found {
        Found::Elements(elements) => elements.into_iter().take(most).map(checked).collect(),
        Found::Attributes(_) => Err(failed(format!("'{}' leads to attributes, which are no lines", mapping.path))),
    }
}

/// What an operation with an iteration is asked with, for each line: its JOIN, to which the operation's own INPUT is the
/// line; without a JOIN, the line. Other documents are read once for all lines.
///
/// # Errors
/// As [`request_document`], for the first line whose request cannot be built, and where all are too large together.
pub fn line_documents(
    definition: &Definition,
    operation: usize,
    documents: &impl Documents,
    lines: &[Text],
) -> Result<Vec<Text>, Fault> {
    let at = Cell::new(0);
    let with_line = WithLine { documents, operation, lines, at: &at };
    let evaluation = Evaluation::new(&with_line);
    let mut bytes = 0;
    let mut requests = Vec::with_capacity(lines.len());
    for (number, line) in lines.iter().enumerate() {
        at.set(number);
        evaluation.forget(operation, Side::Input);
        let request = match &definition.operations[operation].join {
            Join::Default => Ok(line.clone()),
            Join::Documents(mappings) => mapped_document(mappings, &evaluation),
            Join::Arguments(arguments) => arguments_document(arguments, &evaluation),
            Join::Expression(expression) => expressed_document(expression, &evaluation),
        }
        .map_err(|mut fault| {
            fault.message = format!("line {}: {}", number + 1, fault.message);
            not_built(definition, operation, "the request of operation", fault)
        })?;
        bytes += request.as_str().len();
        if bytes > limit::ITERATION_BYTES_MAX {
            let message = format!("the requests of its lines are more than {} bytes", limit::ITERATION_BYTES_MAX);
            return Err(Fault::new(Code::DocumentTooLarge, message)
                .help("pick the sections that a line needs in its JOIN, or divide the document"));
        }
        requests.push(request);
    }
    Ok(requests)
}

/// The documents as the JOIN of an iteration sees them: the INPUT of its own operation is one line.
struct WithLine<'a, D> {
    documents: &'a D,
    operation: usize,
    lines: &'a [Text],
    at: &'a Cell<usize>,
}

impl<D: Documents> Documents for WithLine<'_, D> {
    fn document(&self, operation: usize, side: Side) -> Option<&Text> {
        if operation == self.operation && side == Side::Input {
            self.lines.get(self.at.get())
        } else {
            self.documents.document(operation, side)
        }
    }

    fn submitted(&self) -> Moment {
        self.documents.submitted()
    }
}

/// One response to a broadcast, or to one line of an iteration.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The number of the line, from one.
    pub line: Option<u32>,
    /// The name of the organization that answered, where it is known.
    pub organization: Option<&'a OrganizationName>,
    /// Its id.
    pub organization_id: OrganizationId,
    /// The service that answered, where it is known.
    pub service: Option<&'a ServiceName>,
    /// Whether it counted towards the minimum.
    pub counted: bool,
    /// The answer.
    pub document: &'a Text,
}

/// The output document of a broadcast or an iteration.
///
/// # Errors
/// [`Code::DocumentTooLarge`] and the like, where the responses are more than one document can hold.
pub fn responses_document(responses: &[Response<'_>]) -> Result<Text, Fault> {
    let mut out = Builder::new("Responses");
    for response in responses {
        let mut attributes = Vec::new();
        attributes.extend(response.line.map(|line| ("line", line.to_string())));
        attributes.extend(response.organization.map(|name| ("organization", name.as_str().to_owned())));
        attributes.push(("organization-id", response.organization_id.to_string()));
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
    // What an operation before was asked with is what those before it were asked and answered, if its own join was the
    // default: they stand beside it, each once, and not inside it.
    let mut shown = BTreeSet::new();
    let mut next = predecessors.clone();
    while let Some(index) = next.pop() {
        if evaluation.text_of(index, Side::Output).is_some()
            && shown.insert(index)
            && is_consolidated(definition, index)
        {
            next.extend(&definition.operations[index].predecessors);
        }
    }
    let mut out = Builder::new("Documents");
    for index in shown {
        out.operation(definition, index, evaluation, !is_consolidated(definition, index))?;
    }
    out.finish()
}

/// Whether an operation is asked with what the operations before it were asked and answered.
fn is_consolidated(definition: &Definition, operation: usize) -> bool {
    let defined = &definition.operations[operation];
    let is_after_head_alone = matches!(defined.predecessors[..], [only] if only == definition.head());
    operation != definition.head()
        && !is_after_head_alone
        && matches!((&defined.join, &defined.iteration), (Join::Default, None))
        && !matches!(defined.work, Work::Signal(_))
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

/// The one element that an expression makes.
fn expressed_document(expression: &Expression, evaluation: &Evaluation<'_, impl Documents>) -> Result<Text, Fault> {
    match evaluation.value(expression)? {
        Value::Document(sections) if sections.len() == 1 => checked(&sections[0]),
        Value::Document(sections) => {
            let message = format!("its expression makes {} elements, and a document has one root", sections.len());
            Err(failed(message).at(expression.place()))
        }
        value => Err(failed(format!("its expression makes a {}", value.value_type())).at(expression.place())),
    }
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

    /// What an operation was asked and answered.
    fn operation(
        &mut self,
        definition: &Definition,
        index: usize,
        evaluation: &Evaluation<'_, impl Documents>,
        with_input: bool,
    ) -> Result<(), Fault> {
        let defined = &definition.operations[index];
        self.open("Operation", &[("id", defined.id.to_string()), ("name", defined.name.to_string())]);
        // The head's two documents are one.
        if index != definition.head()
            && with_input
            && let Some(input) = evaluation.text_of(index, Side::Input)
        {
            self.open("Input", &[]);
            self.embed(input)?;
            self.close("Input");
        }
        if let Some(output) = evaluation.text_of(index, Side::Output) {
            self.open("Output", &[]);
            self.embed(output)?;
            self.close("Output");
        }
        self.close("Operation");
        Ok(())
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
