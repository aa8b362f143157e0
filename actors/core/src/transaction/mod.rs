//! Transactions: what a definition says, and (in `instance`) how one runs.
//!
//! [`Definition::parse`] turns XML into a checked graph of operations, or into every fault that it has. Instances then ask
//! the definition: which links a SPLIT follows ([`Split::followed`]), whether a response counts ([`Broadcast::counts`]),
//! what an operation is asked with ([`request_document`]). Nothing here knows services, peers or records.
//! `docs/transactions.md` is the reference of the language.

pub mod catalogue;
mod check;
mod definition;
mod difference;
mod expression;
mod faults;
mod function;
mod grammar;
mod instance;
mod join;
mod library;
mod parse;
mod path;
pub mod rehearsal;
mod value;

#[cfg(test)]
mod tests;

pub use catalogue::{Catalogue, Definitions};
pub use definition::{
    ANY, Argument, Broadcast, Compensation, Definition, HEAD, Iteration, Join, Mapping, Operation, Retry, Source,
    Split, Statement, TAIL, Work,
};
pub use difference::{Change, difference};
pub use expression::{Documents, Evaluation, Expression, Operator, Side, Variable};
pub use function::{Count, FUNCTIONS, Function, Makes, Parameter, Sample, Takes};
pub use grammar::EXTENSIONS;
pub use instance::{
    Again, Answerer, Around, Asked, COMPENSATION, CompensationPicture, Effect, Glance, Input, Instance, LegPicture,
    Link, OperationPicture, OperationState, OutcomeKind, Parent, Picture, Record, Refusal, Refused, Request,
    SignalPicture, Teller,
};
pub use join::{Response, compensation_document, line_documents, lines, request_document, responses_document};
pub use library::{Libraries, Library, Load, Loader, Signature};
pub use path::{DATA_NAMESPACE, Found, Path};
pub use value::{Value, ValueType};
