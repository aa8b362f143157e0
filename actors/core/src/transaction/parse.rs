//! From the XML of a definition to its operations, with every fault of structure, value and type on the way (T1, T2).
//!
//! [`Definition::parse`](super::Definition::parse) calls it, and `check` then looks at the graph. A fault never stops the
//! reading: what is wrong is noted, something harmless stands in for it, and the definition is refused at the end.

mod elements;
mod expressions;
mod extensions;
mod identities;
mod joins;

pub(super) use self::{elements::key, identities::Identity};
use self::{
    elements::{Fields, own_text},
    identities::Nowhere,
};
use super::{
    definition::{ANY, Broadcast, HEAD, Join, Operation, Split, Statement, TAIL},
    expression::Side,
    faults::Faults,
    library::Libraries,
    path::shown,
};
use crate::{
    code::{Code, Fault, Place},
    document::Element,
    ident::{DefinitionName, LibraryHash, LibraryName, OperationName, ServiceName},
    limit,
};
use std::collections::{BTreeMap, BTreeSet};

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
    /// The versions of the libraries that are called.
    pub(super) libraries: BTreeMap<LibraryName, LibraryHash>,
    /// How well each operation is known by its number.
    pub(super) identities: Vec<Identity>,
    /// Of each operation, whether it has a link that may lead to any other, for where it leads cannot be told.
    pub(super) open: Vec<bool>,
    /// Of each operation, whether all statements of its SPLIT could be read.
    pub(super) statements_read: Vec<bool>,
}

/// The use of a document.
pub(super) struct Reference {
    /// The operation that uses it.
    pub(super) by: usize,
    /// The operation whose document it is.
    pub(super) of: usize,
    /// Which of them, where that could be read.
    pub(super) side: Option<Side>,
    /// Which of its own documents the operation may use there.
    pub(super) own: Own,
    pub(super) place: Place,
}

/// Which of its own documents an operation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// None: its request is not built yet.
    Neither,
    /// The line that it is performed for, as its INPUT.
    Line,
    /// Both: it has been performed.
    Both,
}

/// Reads a definition. `None` where the root is something else.
pub(super) fn draft(root: &Element, libraries: &Libraries, faults: &mut Faults) -> Option<Draft> {
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
        name: None,
        indexes: BTreeMap::new(),
        names: Vec::new(),
        references: Vec::new(),
        libraries,
        called: BTreeMap::new(),
        ambiguous: BTreeSet::new(),
        unidentified: 0,
        nowhere: Vec::new(),
        links_left: limit::LINKS_MAX,
    };
    let fields = reader.fields(root, "TRANSACTION");
    reader.name = fields.one("NAME").and_then(|name| reader.parsed(name));
    let priority = fields.one("hx:PRIORITY").and_then(|priority| reader.priority(priority)).unwrap_or(0);
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
    let identities = reader.identify(&elements, &operation_fields);
    let (mut operations, mut link_places, mut open, mut statements_read) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (index, (element, fields)) in elements.iter().zip(&operation_fields).enumerate() {
        let links = reader.links(fields, identities[index]);
        let (split, split_read) = match fields.one("SPLIT") {
            None => (None, true),
            Some(split) => {
                let (split, is_read) = reader.split(split, index, &links.targets);
                (Some(split), is_read)
            }
        };
        reader.combinations(fields, index);
        let iteration = fields.one("hx:ITERATE").and_then(|iterate| reader.iteration(iterate, index));
        let own = if fields.one("hx:ITERATE").is_some() { Own::Line } else { Own::Neither };
        let timeout_ms = fields.one("TIMEOUT").and_then(|timeout| reader.timeout(timeout));
        let service = fields.one("CXCNAME").and_then(|name| reader.service(name, index));
        operations.push(Operation {
            id: identities[index].number().unwrap_or_default(),
            name: reader.names[index].clone(),
            performs: reader.performs(fields, index),
            work: reader.work(fields),
            timeout_ms,
            broadcast: fields.one("BROADCAST").map(|broadcast| reader.broadcast(broadcast, index, service.as_ref())),
            split,
            service,
            join: fields.one("JOIN").map_or(Join::Default, |join| reader.join(join, Scope { operation: index, own })),
            organization: fields
                .one("hx:ORGANIZATION")
                .and_then(|organization| reader.organization(organization, index)),
            retry: fields.one("hx:RETRY").and_then(|retry| reader.retry(retry, timeout_ms)),
            compensation: fields
                .one("hx:COMPENSATION")
                .and_then(|compensation| reader.compensation(compensation, index)),
            iteration,
            priority: fields.one("hx:PRIORITY").map_or(Some(priority), |own| reader.priority(own)).unwrap_or(priority),
            links: links.sure,
            predecessors: Vec::new(),
            place: element.place,
        });
        link_places.push(links.places);
        open.push(links.open);
        statements_read.push(split_read);
    }
    reader.tell_nowhere();
    Some(Draft {
        place: root.place,
        timeout_ms: fields.one("TIMEOUT").and_then(|timeout| reader.timeout(timeout)),
        save: fields.one("SAVE").and_then(|save| reader.yes_or_no(save)).unwrap_or(true),
        operations,
        name: reader.name,
        indexes: reader.indexes,
        link_places,
        references: reader.references,
        libraries: reader.called,
        identities,
        open,
        statements_read,
    })
}

struct Reader<'f> {
    faults: &'f mut Faults,
    /// The definition's own name.
    name: Option<DefinitionName>,
    indexes: BTreeMap<u32, usize>,
    names: Vec<OperationName>,
    references: Vec<Reference>,
    /// What may be called, and what is.
    libraries: &'f Libraries,
    called: BTreeMap<LibraryName, LibraryHash>,
    /// The OPIDs that more than one operation has.
    ambiguous: BTreeSet<u32>,
    /// How many operations there are whose number nothing tells.
    unidentified: usize,
    /// What leads nowhere.
    nowhere: Vec<Nowhere>,
    links_left: usize,
}

/// The links of one operation.
#[derive(Default)]
struct Links {
    /// Those that lead where they say, and where they stand.
    sure: Vec<usize>,
    places: Vec<Place>,
    /// All operations that they may lead to.
    targets: BTreeSet<usize>,
    /// Whether there is one that may lead to any operation.
    open: bool,
}

/// The operation whose documents an expression may use.
#[derive(Clone, Copy)]
struct Scope {
    operation: usize,
    /// Which of its own documents are there already.
    own: Own,
}

impl Reader<'_> {
    fn add(&mut self, code: Code, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.faults.add(Fault::new(code, message).at(place).help(help));
    }

    fn service(&mut self, element: &Element, index: usize) -> Option<ServiceName> {
        // No service performs head and tail; what stands there is a custom of the source's examples.
        if [HEAD, TAIL].contains(&self.names[index].as_str()) || own_text(element).trim() == ANY {
            return None;
        }
        self.parsed(element)
    }

    fn links(&mut self, fields: &Fields<'_>, identity: Identity) -> Links {
        let id = identity.number();
        let shown_id = id.map_or_else(String::new, |id| format!(" {id}"));
        let mut links = Links::default();
        for element in fields.all("OPLINK") {
            if self.links_left == 0 {
                let message = format!("there are more links than the limit of {}", limit::LINKS_MAX);
                self.faults.invalid(element.place, message, "divide the work into several transactions");
                links.open = true;
                break;
            }
            self.links_left -= 1;
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
                links.open = true;
                continue;
            };
            match self.indexes.get(&number) {
                Some(&target) if links.targets.insert(target) => {
                    if self.ambiguous.contains(&number) {
                        links.open = true;
                    } else {
                        links.sure.push(target);
                        links.places.push(element.place);
                    }
                }
                Some(_) => {
                    let message = format!("operation{shown_id} has two links to operation {number}");
                    self.add(Code::DefinitionLink, element.place, message, "remove one of them");
                }
                None => {
                    let whose = format!("a link of operation{shown_id}");
                    self.nowhere(Code::DefinitionLink, destination.place, &whose, number);
                    links.open = true;
                }
            }
        }
        links
    }

    fn broadcast(&mut self, element: &Element, index: usize, only: Option<&ServiceName>) -> Broadcast {
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
            Some((number, minimum.place))
        });
        let scope = Scope { operation: index, own: Own::Both };
        let expression = fields.one("EXPR").and_then(|element| self.condition(element, scope, "a broadcast's EXPR"));
        let services = self.recipients(&fields);
        let federation = fields.one("hx:SCOPE").and_then(|scope| {
            self.chosen(scope, Code::DefinitionInvalid, &["LOCAL", "FEDERATION"], |text| match text {
                "LOCAL" => Some(false),
                "FEDERATION" => Some(true),
                _ => None,
            })
        });
        if let Some(only) = only {
            self.never_asked(&fields, only);
        }
        // Names of services are unique here, but every member may have a service of the same name.
        let asked_max = match only {
            _ if federation == Some(true) => None,
            Some(_) => Some(1),
            None => Some(services.len()).filter(|&named| named > 0),
        };
        if let (Some((number, place)), Some(asked_max)) = (minimum, asked_max)
            && number as usize > asked_max
        {
            let asked = if asked_max == 1 { "one service is".to_owned() } else { format!("{asked_max} services are") };
            let message = format!("<MIN> asks for {number} responses, and at most {asked} asked");
            let help = match only {
                Some(_) => "lower MIN, write ANY as CXCNAME, or ask the FEDERATION with hx:SCOPE",
                None => "lower MIN, name more services, or ask the FEDERATION with hx:SCOPE",
            };
            self.add(Code::DefinitionCombination, place, message, help);
        }
        let minimum = minimum.map(|(number, _)| number);
        Broadcast { minimum, expression, federation: federation.unwrap_or(false), services }
    }

    /// Reads a SPLIT; also whether all of it could be read, so that what no statement leads to was meant so.
    fn split(&mut self, element: &Element, index: usize, links: &BTreeSet<usize>) -> (Split, bool) {
        let mut statements = Vec::new();
        let mut is_read = true;
        for statement in self.fields(element, "SPLIT").all("STMT") {
            let fields = self.fields(statement, "STMT");
            let scope = Scope { operation: index, own: Own::Both };
            let expression = fields.one("EXPR").and_then(|element| self.condition(element, scope, "a statement"));
            let (mut targets, mut seen) = (Vec::new(), BTreeSet::new());
            for target in fields.all("OPID") {
                let Some(number) = self.identity(target) else { continue };
                match self.indexes.get(&number) {
                    Some(index) if !seen.insert(*index) => {
                        let message = format!("the statement names operation {number} twice");
                        self.add(Code::DefinitionDuplicate, target.place, message, "remove one of them");
                    }
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
            is_read &= targets.len() == fields.all("OPID").count();
            match expression {
                Some(expression) => statements.push(Statement { expression, targets }),
                None => is_read = false,
            }
        }
        (Split { statements }, is_read)
    }
}
