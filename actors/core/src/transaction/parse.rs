//! From the XML of a definition to its operations, with every fault of structure, value and type on the way (T1, T2).
//!
//! [`Definition::parse`](super::Definition::parse) calls it, and `check` then looks at the graph. A fault never stops the
//! reading: what is wrong is noted, something harmless stands in for it, and the definition is refused at the end.

mod expressions;

use super::{
    definition::{ANY, Argument, Broadcast, HEAD, Join, Mapping, Operation, Source, Split, Statement, TAIL, Work},
    expression::{Expression, Side},
    faults::Faults,
    grammar::{EXTENSIONS, Occurs, meant, rule},
    path::{Path, is_step_name, shown},
    value::ValueType,
};
use crate::{
    code::{Code, Fault, Place},
    document::{Element, Node},
    ident::{DefinitionName, OperationName, ServiceName},
    limit,
};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    str::FromStr,
};

/// What was read, sound or not.
pub(super) struct Draft {
    pub(super) place: Place,
    pub(super) name: Option<DefinitionName>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) save: bool,
    pub(super) operations: Vec<Operation>,
    pub(super) indexes: BTreeMap<u32, usize>,
    /// Of each operation's links, where the definition has them.
    pub(super) link_places: Vec<Vec<Place>>,
    /// Every use of one operation's documents by another.
    pub(super) references: Vec<Reference>,
    /// Whether every OPID and every link could be read, so that the graph is the one that was meant.
    pub(super) whole: bool,
}

/// The use of a document.
pub(super) struct Reference {
    /// The operation that uses it.
    pub(super) by: usize,
    /// The operation whose document it is.
    pub(super) of: usize,
    /// Whether the operation may use its own documents there.
    pub(super) own: bool,
    pub(super) place: Place,
}

/// The element as the grammar names it; `None` for one of a namespace that definitions do not have.
fn key(element: &Element) -> Option<String> {
    match element.name.namespace.as_deref() {
        None | Some("") => Some(element.name.local.to_string()),
        Some(EXTENSIONS) => Some(format!("hx:{}", element.name.local)),
        Some(_) => None,
    }
}

/// The text right in an element, not in those below it.
fn own_text(element: &Element) -> String {
    let texts = element.children.iter().filter_map(|child| match child {
        Node::Text(text) => Some(text.as_str()),
        Node::Element(_) => None,
    });
    texts.collect()
}

/// The children of an element, as its rule allows them.
struct Fields<'a>(Vec<(&'static str, &'a Element)>);

impl<'a> Fields<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a Element> {
        self.0.iter().filter(move |(key, _)| *key == name).map(|(_, element)| *element)
    }

    fn one(&self, name: &str) -> Option<&'a Element> {
        self.all(name).next()
    }
}

/// Reads a definition. `None` where the root is something else.
pub(super) fn draft(root: &Element, faults: &mut Faults) -> Option<Draft> {
    if key(root).as_deref() != Some("TRANSACTION") {
        faults.invalid(
            root.place,
            format!(
                "the root element is <{}>, and a transaction definition's is <TRANSACTION>",
                shown(&root.name.local)
            ),
            "write <TRANSACTION> without a namespace; docs/transactions.md has examples",
        );
        return None;
    }
    let mut reader = Reader {
        faults,
        indexes: BTreeMap::new(),
        names: Vec::new(),
        references: Vec::new(),
        whole: true,
        ids_read: true,
    };
    let fields = reader.fields(root, "TRANSACTION");
    let elements: Vec<&Element> = fields.all("OPERATION").collect();
    if elements.len() > limit::OPERATIONS_MAX {
        let message = format!("{} operations are more than the limit of {}", elements.len(), limit::OPERATIONS_MAX);
        reader.faults.invalid(
            elements[limit::OPERATIONS_MAX].place,
            message,
            "divide the work into several transactions",
        );
        return None;
    }

    let operation_fields: Vec<Fields<'_>> =
        elements.iter().map(|element| reader.fields(element, "OPERATION")).collect();
    let ids = reader.identify(&elements, &operation_fields);
    let mut operations = Vec::new();
    let mut link_places = Vec::new();
    let mut links_left = limit::LINKS_MAX;
    for (index, (element, fields)) in elements.iter().zip(&operation_fields).enumerate() {
        let (links, places) = reader.links(fields, ids[index], &mut links_left);
        let targets: BTreeSet<usize> = links.iter().copied().collect();
        operations.push(Operation {
            id: ids[index].unwrap_or_default(),
            name: reader.names[index].clone(),
            performs: reader.names[index].clone(),
            work: Work::Service,
            service: fields.one("CXCNAME").and_then(|name| reader.service(name, index)),
            timeout_ms: fields.one("TIMEOUT").and_then(|timeout| reader.timeout(timeout)),
            broadcast: fields.one("BROADCAST").map(|broadcast| reader.broadcast(broadcast, index)),
            split: fields.one("SPLIT").map(|split| reader.split(split, index, &targets)),
            join: fields.one("JOIN").map_or(Join::Default, |join| reader.join(join, index)),
            organization: fields
                .one("hx:ORGANIZATION")
                .and_then(|organization| reader.organization(organization, index)),
            retry: None,
            compensation: None,
            iteration: None,
            priority: 0,
            links,
            predecessors: Vec::new(),
            place: element.place,
        });
        link_places.push(places);
    }
    Some(Draft {
        place: root.place,
        name: fields.one("NAME").and_then(|name| reader.parsed(name)),
        timeout_ms: fields.one("TIMEOUT").and_then(|timeout| reader.timeout(timeout)),
        save: fields.one("SAVE").and_then(|save| reader.yes_or_no(save)).unwrap_or(true),
        operations,
        indexes: reader.indexes,
        link_places,
        references: reader.references,
        whole: reader.whole && reader.ids_read,
    })
}

struct Reader<'f> {
    faults: &'f mut Faults,
    indexes: BTreeMap<u32, usize>,
    names: Vec<OperationName>,
    references: Vec<Reference>,
    whole: bool,
    /// Whether every operation has an OPID of its own, so that one that is not found is not there.
    ids_read: bool,
}

/// The operation whose documents an expression may use.
#[derive(Clone, Copy)]
struct Scope {
    operation: usize,
    /// Whether its own documents are there already.
    own: bool,
}

impl Reader<'_> {
    fn add(&mut self, code: Code, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.faults.add(Fault::new(code, message).at(place).help(help));
    }

    /// Finds out who is who before anything else, for links and variables may lead to operations later in the text.
    fn identify(&mut self, elements: &[&Element], fields: &[Fields<'_>]) -> Vec<Option<u32>> {
        let mut ids = Vec::new();
        for (index, (element, fields)) in elements.iter().zip(fields).enumerate() {
            let name = fields.one("NAME").and_then(|name| self.parsed::<OperationName>(name));
            // What stands in is never performed: its fault is noted, so the definition is refused.
            self.names.push(name.unwrap_or_else(|| "unnamed".parse().expect("it has letters alone")));
            let mut id = fields.one("OPID").and_then(|id| self.identity(id));
            if let Some(number) = id {
                match self.indexes.entry(number) {
                    Entry::Vacant(vacant) => drop(vacant.insert(index)),
                    Entry::Occupied(first) => {
                        let line = elements[*first.get()].place.line;
                        let place = fields.one("OPID").map_or(element.place, |at| at.place);
                        let message = format!("OPID {number} is the operation's in line {line} already");
                        self.add(Code::DefinitionDuplicate, place, message, "give every operation an OPID of its own");
                        id = None;
                    }
                }
            }
            self.ids_read &= id.is_some();
            ids.push(id);
            if fields.one("CXCNAME").is_none() && ![HEAD, TAIL].contains(&self.names[index].as_str()) {
                let message = format!("<OPERATION> {} has no <CXCNAME>", self.names[index]);
                self.faults.invalid(element.place, message, "name the service that performs it, or write ANY");
            }
        }
        ids
    }

    /// The children of `element`, whose name in the grammar is `name`; faults for all that does not belong.
    fn fields<'a>(&mut self, element: &'a Element, name: &'static str) -> Fields<'a> {
        let rule = rule(name).expect("fields are asked of elements that have a rule");
        self.no_attributes(element);
        if !own_text(element).trim().is_empty() {
            let message = format!("<{name}> has text between its elements");
            self.faults.invalid(
                element.place,
                message,
                "remove the text, or put it into the element that it belongs to",
            );
        }
        let mut fields = Fields(Vec::new());
        for child in element.elements() {
            let key = key(child);
            if let Some((known, _)) = rule.children.iter().find(|(known, _)| Some(*known) == key.as_deref()) {
                fields.0.push((known, child));
                continue;
            }
            let names = rule.children.iter().map(|(known, _)| *known);
            let help = match meant(&child.name.local, names.clone().map(|name| name.trim_start_matches("hx:"))) {
                Some(meant) if names.clone().any(|name| name.strip_prefix("hx:") == Some(meant)) => {
                    format!("write it as <hx:{meant} xmlns:hx=\"{EXTENSIONS}\">")
                }
                Some(meant) if meant == &*child.name.local => format!("write <{meant}> without a namespace"),
                Some(meant) => format!("did you mean <{meant}>?"),
                None => format!("<{name}> can have {}", names.collect::<Vec<_>>().join(", ")),
            };
            self.faults.invalid(
                child.place,
                format!("<{}> does not belong into <{name}>", shown(&child.name.local)),
                help,
            );
        }
        for (child, occurs) in rule.children {
            let count = fields.all(child).count();
            if occurs.allows(count) {
                continue;
            }
            let (place, message, help) = match (count, occurs) {
                (0, _) => (element.place, format!("<{name}> has no <{child}>"), format!("add <{child}>")),
                (_, Occurs::Twice) => (
                    element.place,
                    format!("<{name}> has {count} <{child}>, and needs two"),
                    "give it a left and a right side".to_owned(),
                ),
                _ => {
                    let second = fields.all(child).nth(1).map_or(element.place, |second| second.place);
                    (second, format!("<{name}> has more than one <{child}>"), "keep one of them".to_owned())
                }
            };
            self.faults.invalid(place, message, help);
        }
        fields
    }

    fn no_attributes(&mut self, element: &Element) {
        // Attributes of other namespaces are for other tools, as xsi:noNamespaceSchemaLocation is.
        let own = element.attributes.iter().find(|attribute| attribute.name.namespace.is_none());
        if let Some(attribute) = own {
            let message =
                format!("<{}> has the attribute '{}'", shown(&element.name.local), shown(&attribute.name.local));
            self.faults.invalid(element.place, message, "definitions have no attributes; values are elements");
        }
    }

    /// The text of an element that holds nothing else.
    fn text(&mut self, element: &Element) -> Option<String> {
        self.no_attributes(element);
        if let Some(child) = element.elements().next() {
            let message =
                format!("<{}> holds text, not the element <{}>", shown(&element.name.local), shown(&child.name.local));
            self.faults.invalid(child.place, message, "write the value itself");
            return None;
        }
        Some(own_text(element).trim().to_owned())
    }

    fn parsed<T: FromStr<Err = Fault>>(&mut self, element: &Element) -> Option<T> {
        let text = self.text(element)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(fault) => {
                let help = fault.advice().to_owned();
                self.faults.invalid(element.place, fault.message, help);
                None
            }
        }
    }

    /// A text that must be one of a few.
    fn chosen<T>(
        &mut self,
        element: &Element,
        code: Code,
        choices: &[&str],
        choose: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(element)?;
        let chosen = choose(&text);
        if chosen.is_none() {
            let help = match meant(&text, choices.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("it is one of {}", choices.join(", ")),
            };
            let message = format!("<{}> cannot be '{}'", element.name.local, shown(&text));
            self.add(code, element.place, message, help);
        }
        chosen
    }

    fn yes_or_no(&mut self, element: &Element) -> Option<bool> {
        self.chosen(element, Code::DefinitionInvalid, &["YES", "NO"], |text| match text {
            "YES" | "yes" => Some(true),
            "NO" | "no" => Some(false),
            _ => None,
        })
    }

    fn side(&mut self, element: &Element) -> Option<Side> {
        self.chosen(element, Code::DefinitionInvalid, &["INPUT", "OUTPUT"], |text| match text {
            "INPUT" => Some(Side::Input),
            "OUTPUT" => Some(Side::Output),
            _ => None,
        })
    }

    fn value_type(&mut self, element: &Element) -> Option<ValueType> {
        self.chosen(element, Code::DefinitionType, &ValueType::ALL.map(ValueType::as_str), ValueType::named)
    }

    fn whole_number(&mut self, element: &Element, what: &str) -> Option<u32> {
        let text = self.text(element)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        if number.is_none() {
            let message = format!("<{}> cannot be '{}'", element.name.local, shown(&text));
            self.faults.invalid(element.place, message, format!("write {what} as a whole number up to {}", u32::MAX));
        }
        number
    }

    fn identity(&mut self, element: &Element) -> Option<u32> {
        self.whole_number(element, "an operation's id")
    }

    /// Zero means that there is none.
    fn timeout(&mut self, element: &Element) -> Option<u64> {
        self.whole_number(element, "seconds").filter(|&seconds| seconds > 0).map(|seconds| u64::from(seconds) * 1_000)
    }

    fn service(&mut self, element: &Element, index: usize) -> Option<ServiceName> {
        // No service performs head and tail; what stands there is a custom of the source's examples.
        if [HEAD, TAIL].contains(&self.names[index].as_str()) || own_text(element).trim() == ANY {
            return None;
        }
        self.parsed(element)
    }

    fn links(&mut self, fields: &Fields<'_>, id: Option<u32>, left: &mut usize) -> (Vec<usize>, Vec<Place>) {
        let shown_id = id.map_or_else(String::new, |id| format!(" {id}"));
        let (mut links, mut places, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        for element in fields.all("OPLINK") {
            if *left == 0 {
                let message = format!("there are more links than the limit of {}", limit::LINKS_MAX);
                self.faults.invalid(element.place, message, "divide the work into several transactions");
                self.whole = false;
                break;
            }
            *left -= 1;
            let link = self.fields(element, "OPLINK");
            if let Some(source) = link.one("SRCOPID")
                && let Some(number) = self.identity(source)
                && let Some(id) = id
                && number != id
            {
                let message = format!("a link in operation {id} starts from operation {number}");
                self.add(
                    Code::DefinitionLink,
                    source.place,
                    message,
                    format!("write {id}, or move the link into operation {number}"),
                );
            }
            let Some((destination, number)) = link.one("DSTOPID").and_then(|at| Some((at, self.identity(at)?))) else {
                self.whole = false;
                continue;
            };
            match self.indexes.get(&number) {
                Some(&target) if seen.insert(target) => {
                    links.push(target);
                    places.push(element.place);
                }
                Some(_) => {
                    let message = format!("operation{shown_id} has two links to operation {number}");
                    self.add(Code::DefinitionLink, element.place, message, "remove one of them");
                }
                None => {
                    self.nowhere(
                        Code::DefinitionLink,
                        destination.place,
                        &format!("a link of operation{shown_id}"),
                        number,
                    );
                    self.whole = false;
                }
            }
        }
        (links, places)
    }

    /// Notes that an OPID leads nowhere, unless it may be one that could not be read.
    fn nowhere(&mut self, code: Code, place: Place, whose: &str, number: u32) {
        if self.ids_read {
            let message = format!("{whose} leads to operation {number}, which is not there");
            self.add(code, place, message, "correct the OPID, or add the operation");
        }
    }

    fn broadcast(&mut self, element: &Element, index: usize) -> Broadcast {
        let fields = self.fields(element, "BROADCAST");
        let minimum = fields.one("RESPONSE").and_then(|response| {
            let minimum = self.fields(response, "RESPONSE").one("MIN")?;
            let number = self.whole_number(minimum, "how many responses are enough")?;
            if number == 0 || number as usize > limit::BROADCAST_LEGS_MAX {
                let message = format!("<MIN> cannot be {number}");
                let help = format!(
                    "it is from 1 to {}; without <RESPONSE>, everybody who is asked must have ended",
                    limit::BROADCAST_LEGS_MAX
                );
                self.faults.invalid(minimum.place, message, help);
            }
            Some(number)
        });
        let scope = Scope { operation: index, own: true };
        let expression = fields.one("EXPR").and_then(|element| self.condition(element, scope, "a broadcast's EXPR"));
        let federation = fields.one("hx:SCOPE").and_then(|scope| {
            self.chosen(scope, Code::DefinitionInvalid, &["LOCAL", "FEDERATION"], |text| match text {
                "LOCAL" => Some(false),
                "FEDERATION" => Some(true),
                _ => None,
            })
        });
        Broadcast { minimum, expression, federation: federation.unwrap_or(false), services: Vec::new() }
    }

    fn split(&mut self, element: &Element, index: usize, links: &BTreeSet<usize>) -> Split {
        let mut statements = Vec::new();
        for statement in self.fields(element, "SPLIT").all("STMT") {
            let fields = self.fields(statement, "STMT");
            let scope = Scope { operation: index, own: true };
            let expression = fields.one("EXPR").and_then(|element| self.condition(element, scope, "a statement"));
            let mut targets = Vec::new();
            for target in fields.all("OPID") {
                let Some(number) = self.identity(target) else { continue };
                match self.indexes.get(&number) {
                    Some(index) if links.contains(index) => targets.push(*index),
                    Some(_) => {
                        let message =
                            format!("the statement leads to operation {number}, which is no link of its operation");
                        self.add(
                            Code::DefinitionLink,
                            target.place,
                            message,
                            format!("add an OPLINK to {number}, or correct the OPID"),
                        );
                    }
                    None => self.nowhere(Code::DefinitionLink, target.place, "the statement", number),
                }
            }
            if let Some(expression) = expression {
                statements.push(Statement { expression, targets });
            }
        }
        Split { statements }
    }

    fn join(&mut self, element: &Element, index: usize) -> Join {
        let fields = self.fields(element, "JOIN");
        let scope = Scope { operation: index, own: false };
        let mut arguments = Vec::new();
        let mut names = BTreeSet::new();
        for element in fields.all("ARG") {
            arguments.extend(self.argument(element, scope, &mut names));
        }
        let mut documents = Vec::new();
        for (count, element) in fields.all("DOCUMENT").enumerate() {
            if count == 0 && fields.one("ARG").is_some() {
                let help = "put the DOCUMENT into an ARG of its own, with a NAME and VALTYPE DOCVALUE";
                self.faults.invalid(element.place, "<JOIN> has both <ARG> and <DOCUMENT>", help);
            }
            documents.extend(self.mapping(element, scope));
        }
        if fields.one("DOCUMENT").is_some() { Join::Documents(documents) } else { Join::Arguments(arguments) }
    }

    fn argument(&mut self, element: &Element, scope: Scope, names: &mut BTreeSet<String>) -> Option<Argument> {
        let fields = self.fields(element, "ARG");
        let name = fields.one("NAME").and_then(|at| {
            let name = self.text(at)?;
            if !is_step_name(&name) {
                let message = format!("'{}' is no name of an argument", shown(&name));
                self.faults.invalid(at.place, message, "use letters, digits, dots, dashes and underscores");
            } else if !names.insert(name.clone()) {
                let message = format!("two arguments have the name '{name}'");
                self.faults.invalid(at.place, message, "give every argument a name of its own");
            }
            Some(name)
        });
        let value_type = fields.one("VALTYPE").and_then(|at| self.value_type(at));
        let optional = fields.one("OPTIONAL").and_then(|at| self.yes_or_no(at)).unwrap_or(false);
        let source = match (fields.one("EXPR"), fields.one("DOCUMENT")) {
            (Some(at), None) => {
                let expression = self.expression(at, scope, 1)?;
                if let Some(wanted) = value_type
                    && wanted != expression.value_type()
                {
                    let given = expression.value_type();
                    let message = format!("the argument is a {wanted}, but its expression is a {given}");
                    self.add(
                        Code::DefinitionType,
                        at.place,
                        message,
                        format!("write VALTYPE {}, or convert the value", given.as_str()),
                    );
                }
                Source::Expression(expression)
            }
            (None, Some(at)) => {
                let mapping = self.mapping(at, scope)?;
                if mapping.path.is_attribute() && value_type == Some(ValueType::Document) {
                    let message = format!("'{}' leads to an attribute, which is no document section", mapping.path);
                    self.add(Code::DefinitionType, at.place, message, "give the argument VALTYPE STRVALUE");
                }
                Source::Document(mapping)
            }
            (None, None) => {
                self.faults.invalid(
                    element.place,
                    "<ARG> has neither <EXPR> nor <DOCUMENT>",
                    "say where its value comes from",
                );
                return None;
            }
            (Some(_), Some(at)) => {
                self.faults.invalid(at.place, "<ARG> has both <EXPR> and <DOCUMENT>", "keep one of them");
                return None;
            }
        };
        Some(Argument { name: name?, value_type: value_type?, optional, source, place: element.place })
    }

    fn mapping(&mut self, element: &Element, scope: Scope) -> Option<Mapping> {
        let fields = self.fields(element, "DOCUMENT");
        let operation = fields.one("OPID").and_then(|at| self.document_of(at, scope));
        let side = fields.one("OPDOCIOTYPE").and_then(|at| self.side(at));
        let path = match fields.one("OPDOCVARTYPE") {
            None => Some(Path::whole()),
            Some(at) => self.path(at),
        };
        let (operation, id) = operation?;
        let name = self.names[operation].clone();
        Some(Mapping { operation, id, name, side: side?, path: path?, place: element.place })
    }

    fn organization(&mut self, element: &Element, index: usize) -> Option<Expression> {
        let at = self.fields(element, "hx:ORGANIZATION").one("EXPR")?;
        let expression = self.expression(at, Scope { operation: index, own: false }, 1)?;
        if expression.value_type() != ValueType::Text {
            let message = format!("an organization is named by a text, and this is a {}", expression.value_type());
            self.add(Code::DefinitionType, at.place, message, "give it VALTYPE STRVALUE");
        }
        Some(expression)
    }
}
