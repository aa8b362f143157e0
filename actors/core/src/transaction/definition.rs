//! What a transaction definition says once it has been found right: its operations, the links between them, and what
//! decides which are performed on what (T1, T3).
//!
//! Made by [`Definition::parse`] alone, so whoever holds one may rely on everything that `check` checks: one head, one
//! tail, no cycle, every index in range, every type agreed. Instances read it and share it; nothing here knows of them.

use super::{
    check,
    expression::{Documents, Evaluation, Expression, Side},
    faults::Faults,
    library::Libraries,
    parse,
    path::Path,
    value::{Value, ValueType},
};
use crate::{
    code::{Code, Fault, Place},
    document::Text,
    ident::{DefinitionHash, DefinitionName, LibraryHash, LibraryName, OperationName, ServiceName, SignalName},
    moment::Moment,
};
use std::collections::BTreeMap;

/// The name of the operation that every transaction begins with: it ends at once, and its document is the input.
pub const HEAD: &str = "CXtsHeadOp";
/// The name of the operation that every transaction ends with: its JOIN makes the transaction's output.
pub const TAIL: &str = "CXtsTailOp";
/// What CXCNAME says when any service that signed up for the operation may perform it.
pub const ANY: &str = "ANY";

/// A whole and checked transaction definition.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The name that requests call it by.
    pub name: DefinitionName,
    /// The version: the hash of the text as it was given, and of the libraries that it calls.
    pub hash: DefinitionHash,
    /// The versions of the libraries that it calls.
    pub libraries: BTreeMap<LibraryName, LibraryHash>,
    /// How long a transaction may take; without it, as long as it needs.
    pub timeout_ms: Option<u64>,
    /// Whether transactions are kept after they end.
    pub save: bool,
    /// The operations as the definition orders them: the head first, the tail last. Everything refers to them by index.
    pub operations: Vec<Operation>,
    /// The text that all this was read from.
    pub text: Text,
    /// Index of each OPID.
    pub(super) indexes: BTreeMap<u32, usize>,
}

/// One step of a transaction.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its OPID.
    pub id: u32,
    /// Its name within the definition; [`HEAD`] and [`TAIL`] keep their reserved names.
    pub name: OperationName,
    /// What services sign up for: its name, unless the definition says otherwise.
    pub performs: OperationName,
    /// What it consists of.
    pub work: Work,
    /// The service that shall do it; without one, any that signed up for it (T10).
    pub service: Option<ServiceName>,
    /// How long it may take; without it, as long as it needs.
    pub timeout_ms: Option<u64>,
    /// The operations that may follow, as the links order them.
    pub links: Vec<usize>,
    /// The operations that must be complete before.
    pub predecessors: Vec<usize>,
    /// Whether and how it is asked of many at once (T8).
    pub broadcast: Option<Broadcast>,
    /// What decides which of the links are followed; without it, all are (T7).
    pub split: Option<Split>,
    /// How its request document is built (T6).
    pub join: Join,
    /// The organization that shall perform it, by name or id; without it, the router chooses (F6).
    pub organization: Option<Expression>,
    /// When it is asked for again; without it, never for what a performer answered (T11).
    pub retry: Option<Retry>,
    /// What undoes it (T17).
    pub compensation: Option<Compensation>,
    /// The lines of a document for each of which it is performed (T17).
    pub iteration: Option<Iteration>,
    /// How urgent it is, from 0 to 9; services are given what is more urgent first.
    pub priority: u8,
    /// Where the definition has it.
    pub place: Place,
}

/// What an operation consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A service performs it.
    Service,
    /// A transaction of this definition runs in its place: its request is the input, the output its answer (T17).
    Transaction(DefinitionName),
    /// It waits for a signal of this name from outside, whose document is its answer.
    Signal(SignalName),
}

/// When an operation that failed, or was not answered in time, is asked for again (T11).
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// How often it is asked for at all, the first time included.
    pub attempts_max: u32,
    /// The pause before the second attempt; it is lengthened at random by up to a tenth.
    pub pause_ms: u64,
    /// What each pause is multiplied with to make the next, in hundredths.
    pub factor_percent: u32,
    /// The longest pause.
    pub pause_ms_max: u64,
    /// How long one attempt may take; the operation's own TIMEOUT is over all of them.
    pub attempt_timeout_ms: Option<u64>,
    /// Failures with these codes are final at once.
    pub except: Vec<Code>,
}

/// The operation that undoes another: asked for when the transaction fails, runs out of time or is cancelled after the
/// other was completed, the last completed first (T17).
#[derive(Clone, Debug)]
pub struct Compensation {
    /// What services sign up for.
    pub performs: OperationName,
    /// The service that shall do it; without one, any that signed up for it.
    pub service: Option<ServiceName>,
    /// How long it may take over all its attempts.
    pub timeout_ms: Option<u64>,
    /// When it is asked for again.
    pub retry: Option<Retry>,
    /// What it is asked with; by default, what the operation was asked and what it answered.
    pub join: Join,
    /// Where the definition has it.
    pub place: Place,
}

/// An operation that is performed once for each of the elements that a path leads to (T17). In its JOIN, its own INPUT is
/// the one line; without a JOIN, the line is the request.
#[derive(Clone, Debug)]
pub struct Iteration {
    /// Where the lines are.
    pub lines: Mapping,
    /// More lines than this fail the operation.
    pub lines_max: u32,
    /// How many lines are under way at once.
    pub concurrent_max: u32,
    /// Where the definition has it.
    pub place: Place,
}

/// An operation that is asked of everybody who signed up for it.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// How many counted responses are enough; without it, everybody who was asked must have ended.
    pub minimum: Option<u32>,
    /// What makes a response count; without it, every response does.
    pub expression: Option<Expression>,
    /// Whether peers are asked too.
    pub federation: bool,
    /// The services that are asked, where not all are: a multicast (T13). Empty, everybody who signed up is.
    pub services: Vec<ServiceName>,
}

impl Broadcast {
    /// Whether `response` to the broadcast with index `operation` counts towards the minimum.
    ///
    /// # Errors
    /// [`Code::ExpressionFailed`] where the expression cannot be evaluated.
    pub fn counts(&self, operation: usize, documents: &impl Documents, response: &Text) -> Result<bool, Fault> {
        match &self.expression {
            None => Ok(true),
            Some(expression) => expression.evaluate(&Judging { documents, operation, response })?.truth(expression),
        }
    }
}

/// The documents as a broadcast's expression sees them: its own OUTPUT is the one response that is being judged.
struct Judging<'a, D> {
    documents: &'a D,
    operation: usize,
    response: &'a Text,
}

impl<D: Documents> Documents for Judging<'_, D> {
    fn document(&self, operation: usize, side: Side) -> Option<&Text> {
        if operation == self.operation && side == Side::Output {
            Some(self.response)
        } else {
            self.documents.document(operation, side)
        }
    }

    fn submitted(&self) -> Moment {
        self.documents.submitted()
    }
}

/// The conditions on an operation's links.
#[derive(Clone, Debug)]
pub struct Split {
    /// In the order of the definition.
    pub statements: Vec<Statement>,
}

/// Links that are followed where an expression is true.
#[derive(Clone, Debug)]
pub struct Statement {
    /// True: the targets go on.
    pub expression: Expression,
    /// Indexes of linked operations.
    pub targets: Vec<usize>,
}

impl Split {
    /// The operations that go on: the targets of the statements that are true, each once, in the order of the
    /// definition's operations. A link that no true statement names is not followed.
    ///
    /// # Errors
    /// [`Code::ExpressionFailed`] where a statement cannot be evaluated.
    pub fn followed(&self, documents: &impl Documents) -> Result<Vec<usize>, Fault> {
        let evaluation = Evaluation::new(documents);
        let mut followed = Vec::new();
        for statement in &self.statements {
            if evaluation.value(&statement.expression)?.truth(&statement.expression)? {
                followed.extend_from_slice(&statement.targets);
            }
        }
        followed.sort_unstable();
        followed.dedup();
        Ok(followed)
    }
}

/// How a request document is built.
#[derive(Clone, Debug)]
pub enum Join {
    /// From what the predecessors answered; of the head alone, the input itself.
    Default,
    /// From documents or sections of them.
    Documents(Vec<Mapping>),
    /// From named arguments.
    Arguments(Vec<Argument>),
    /// From an expression that makes the whole document.
    Expression(Expression),
}

/// One named value of a request document.
#[derive(Clone, Debug)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// What it must be.
    pub value_type: ValueType,
    /// Whether the request can do without it.
    pub optional: bool,
    /// Where it comes from.
    pub source: Source,
    /// Where the definition has it.
    pub place: Place,
}

/// Where the value of an argument comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From an expression.
    Expression(Expression),
    /// From a document, or a section of one.
    Document(Mapping),
}

/// A document, or a section of one.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Index of the operation.
    pub operation: usize,
    /// Its OPID, for messages.
    pub id: u32,
    /// Its name, for messages and for the variable that a whole document becomes.
    pub name: OperationName,
    /// Which of its documents.
    pub side: Side,
    /// Which section; [`Path::whole`] for all of it.
    pub path: Path,
    /// Where the definition has it.
    pub place: Place,
}

impl Definition {
    /// Reads and checks a definition that calls no library (T2).
    ///
    /// # Errors
    /// As [`Definition::parse_with`].
    pub fn parse(text: &Text) -> Result<Self, Vec<Fault>> {
        Self::parse_with(text, &Libraries::default())
    }

    /// Reads and checks a definition that may call these libraries (T2, T9).
    ///
    /// # Errors
    /// Every fault there is, in the order of the text, each with its place and what to do.
    pub fn parse_with(text: &Text, libraries: &Libraries) -> Result<Self, Vec<Fault>> {
        let tree = text.tree().map_err(|fault| vec![fault])?;
        let mut faults = Faults::default();
        let draft = parse::draft(&tree.root, libraries, &mut faults);
        let definition = check::definition(draft, text, &mut faults);
        let faults = faults.in_order();
        match definition {
            Some(definition) if faults.is_empty() => Ok(definition),
            _ => Err(faults),
        }
    }

    /// Index of the first operation.
    #[must_use]
    pub fn head(&self) -> usize {
        0
    }

    /// Index of the last operation.
    #[must_use]
    pub fn tail(&self) -> usize {
        self.operations.len() - 1
    }

    /// Index of the operation with this OPID.
    #[must_use]
    pub fn index_of(&self, id: u32) -> Option<usize> {
        self.indexes.get(&id).copied()
    }

    /// The version of a definition's text, if it calls no library.
    #[must_use]
    pub fn hash_of(text: &Text) -> DefinitionHash {
        Self::hash_with(text, &BTreeMap::new())
    }

    /// The version of a definition's text that calls these versions of libraries.
    #[must_use]
    pub fn hash_with(text: &Text, libraries: &BTreeMap<LibraryName, LibraryHash>) -> DefinitionHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(text.as_str().as_bytes());
        for (name, hash) in libraries {
            // No document has this byte, and no name.
            hasher.update(&[0]).update(name.as_str().as_bytes()).update(&[0]).update(&hash.0);
        }
        DefinitionHash(*hasher.finalize().as_bytes())
    }
}

impl Operation {
    /// The organization that shall perform the operation, where the definition says.
    ///
    /// # Errors
    /// [`Code::ExpressionFailed`] where it cannot be evaluated.
    pub fn organization(&self, documents: &impl Documents) -> Result<Option<String>, Fault> {
        match &self.organization {
            None => Ok(None),
            Some(expression) => match expression.evaluate(documents)? {
                Value::Text(text) if !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
                _ => Err(expression.failed("the organization that it names is empty")),
            },
        }
    }
}
