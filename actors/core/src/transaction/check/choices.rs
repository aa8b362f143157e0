//! What the choices of a definition exclude: statements that are never true, operations that are therefore never
//! performed, and documents that are never there where they are used (T2, T7).
//!
//! `check` calls it. For every operation it works out what must be so where the operation is performed: what all ways to it
//! from the head have in common. It tells only what holds for every transaction: nothing of operations on or behind circles,
//! and where a link may lead anywhere, only of statements that contradict themselves. One pass over the links, with a bounded
//! number of facts at each operation.

use super::{add, only, words};
use crate::{
    code::{Code, Place},
    transaction::{
        definition::{HEAD, Join, Operation, Source},
        faults::Faults,
        parse::Draft,
    },
};
use facts::{Conflict, Facts, Things};
use std::collections::{BTreeMap, BTreeSet};

mod facts;

/// How many operations are looked at to name the one that excludes another.
const LOOKED_AT_MAX: usize = 64;

/// Checks the choices of a draft, of whose operations those in `order` have links that lead forward.
pub(super) fn check(draft: &Draft, order: &[usize], faults: &mut Faults) {
    let operations = &draft.operations;
    if operations.iter().all(|operation| operation.split.is_none() && operation.broadcast.is_none()) {
        return;
    }
    let mut things = Things::default();
    let chosen: Vec<Option<BTreeMap<usize, Facts>>> = operations
        .iter()
        .zip(&draft.statements_read)
        // Where a statement could not be read, any link may be followed.
        .map(|(operation, is_read)| chosen(operation, &mut things, faults).filter(|_| *is_read))
        .collect();
    let Some(head) = only(operations, HEAD).filter(|_| !draft.open.contains(&true)) else { return };
    // What must be so where an operation is performed; none for one that never is.
    let mut performed: Vec<Option<Facts>> = vec![None; operations.len()];
    for &index in order {
        if index == head {
            performed[index] = Some(Facts::default());
        } else {
            performed[index] = reached(operations, index, &performed, &chosen);
            if performed[index].is_none() {
                never(operations, index, &performed, &chosen, &things, faults);
            }
        }
        statements(&operations[index], performed[index].as_ref(), &mut things, faults);
    }
    for index in 0..operations.len() {
        documents(operations, index, &performed, &things, faults);
    }
}

/// Tells of documents that an operation needs and that are never there: because whoever makes them is never performed
/// where it is, or two of them never together.
fn documents(
    operations: &[Operation],
    index: usize,
    performed: &[Option<Facts>],
    things: &Things,
    faults: &mut Faults,
) {
    let Some(here) = &performed[index] else { return };
    let operation = &operations[index];
    // What must be so where all that was looked at is there, and whose documents that were.
    let mut together = here.clone();
    let mut before: BTreeSet<usize> = BTreeSet::new();
    for (of, place) in needed(operation) {
        let Some(there) = performed.get(of).and_then(Option::as_ref).filter(|_| of != index) else { continue };
        if let Some(Conflict::Thing(thing, one, other)) = here.conflict(there) {
            let message = format!(
                "{} is never performed where {} is, so its document is never there: {} would have to be {} and {}",
                words(&operations[of]),
                words(operation),
                things.words(thing),
                one.words(),
                other.words()
            );
            let help = "make the argument OPTIONAL, use another document, or correct the SPLIT";
            add(faults, Code::DefinitionContradiction, place, message, help);
            continue;
        }
        if before.contains(&of) {
            continue;
        }
        if let Some(Conflict::Thing(thing, one, other)) = together.conflict(there) {
            let excluded = before
                .iter()
                .take(LOOKED_AT_MAX)
                .find(|&&earlier| performed[earlier].as_ref().is_some_and(|earlier| earlier.conflict(there).is_some()));
            let excluded = excluded.map_or_else(
                || "the others whose documents it needs".to_owned(),
                |&earlier| words(&operations[earlier]),
            );
            let message = format!(
                "{} needs documents that are never there together: {} is never performed where {excluded} is, for {} would \
                 have to be {} and {}",
                words(operation),
                words(&operations[of]),
                things.words(thing),
                other.words(),
                one.words()
            );
            let help = "make both arguments OPTIONAL, use other documents, or correct the SPLIT";
            add(faults, Code::DefinitionContradiction, place, message, help);
            continue;
        }
        together = together.and(there);
        before.insert(of);
    }
}

/// For the targets of an operation's SPLIT, what must be so where one of its statements leads there. Tells of statements
/// that contradict themselves. `None` without a SPLIT.
fn chosen(operation: &Operation, things: &mut Things, faults: &mut Faults) -> Option<BTreeMap<usize, Facts>> {
    if let Some(expression) = operation.broadcast.as_ref().and_then(|broadcast| broadcast.expression.as_ref())
        && things.assume(expression, true).impossible.is_some()
    {
        let message = format!("no response to {} ever counts, for its EXPR is never true", words(operation));
        let help = "correct the EXPR, or remove it so that every response counts";
        add(faults, Code::DefinitionContradiction, expression.place(), message, help);
    }
    let mut targets: BTreeMap<usize, Facts> = BTreeMap::new();
    for statement in &operation.split.as_ref()?.statements {
        let facts = things.assume(&statement.expression, true);
        if let Some(conflict) = &facts.impossible {
            let message = match conflict {
                Conflict::Constant => "this statement is never true: it is a constant".to_owned(),
                Conflict::Thing(thing, one, other) => format!(
                    "this statement is never true: {} cannot be {} and {}",
                    things.words(*thing),
                    one.words(),
                    other.words()
                ),
            };
            let help = "correct the condition, or remove the STMT";
            add(faults, Code::DefinitionContradiction, statement.expression.place(), message, help);
        }
        for &target in &statement.targets {
            let before = targets.remove(&target);
            targets.insert(target, before.map_or_else(|| facts.clone(), |before| before.or(&facts)));
        }
    }
    Some(targets)
}

/// What all ways to an operation have in common. `None` if there is no way.
fn reached(
    operations: &[Operation],
    index: usize,
    performed: &[Option<Facts>],
    chosen: &[Option<BTreeMap<usize, Facts>>],
) -> Option<Facts> {
    let mut common: Option<Facts> = None;
    for &before in &operations[index].predecessors {
        let Some(there) = &performed[before] else { continue };
        let way = match &chosen[before] {
            None => there.clone(),
            Some(targets) => match targets.get(&index) {
                None => continue,
                Some(choice) => there.and(choice),
            },
        };
        if way.impossible.is_some() {
            continue;
        }
        common = Some(common.map_or_else(|| way.clone(), |common| common.or(&way)));
    }
    common
}

/// Tells why an operation is never performed, unless that follows from what is told already.
fn never(
    operations: &[Operation],
    index: usize,
    performed: &[Option<Facts>],
    chosen: &[Option<BTreeMap<usize, Facts>>],
    things: &Things,
    faults: &mut Faults,
) {
    let mut why = None;
    for &before in &operations[index].predecessors {
        let Some(there) = &performed[before] else { return };
        match chosen[before].as_ref().map(|targets| targets.get(&index)) {
            // The statement itself is told of.
            Some(Some(choice)) => {
                if choice.impossible.is_some() || there.conflict(choice).is_some() {
                    return;
                }
                let Some(Conflict::Thing(thing, one, other)) = there.and(choice).impossible else { return };
                why = Some(format!("{} cannot be {} and {}", things.words(thing), one.words(), other.words()));
            }
            Some(None) => why = Some(format!("no statement of {} leads to it", words(&operations[before]))),
            None => return,
        }
    }
    let Some(why) = why else { return };
    let message = format!("{} is never performed: {why}", words(&operations[index]));
    let help = "name its OPID in a statement that can be true, or remove it";
    add(faults, Code::DefinitionContradiction, operations[index].place, message, help);
}

/// Tells of statements that are never true where their own operation is performed.
fn statements(operation: &Operation, performed: Option<&Facts>, things: &mut Things, faults: &mut Faults) {
    let (Some(here), Some(split)) = (performed, &operation.split) else { return };
    for statement in &split.statements {
        let facts = things.assume(&statement.expression, true);
        if facts.impossible.is_some() {
            continue;
        }
        if let Some(Conflict::Thing(thing, one, other)) = here.conflict(&facts) {
            let message = format!(
                "this statement is never true: {} is performed only where {} is {}, and the statement needs {}",
                words(operation),
                things.words(thing),
                one.words(),
                other.words()
            );
            let help = "correct the condition, or the SPLIT before that leads here";
            add(faults, Code::DefinitionContradiction, statement.expression.place(), message, help);
        }
    }
}

/// The operations without whose documents an operation cannot be performed or decide, each with where it is used.
fn needed(operation: &Operation) -> Vec<(usize, Place)> {
    let mut expressions: Vec<_> = operation.organization.iter().collect();
    let mut uses = Vec::new();
    match &operation.join {
        Join::Default => {}
        Join::Expression(expression) => expressions.push(expression),
        Join::Documents(mappings) => uses.extend(mappings.iter().map(|mapping| (mapping.operation, mapping.place))),
        Join::Arguments(arguments) => {
            for argument in arguments.iter().filter(|argument| !argument.optional) {
                match &argument.source {
                    Source::Expression(expression) => expressions.push(expression),
                    Source::Document(mapping) => uses.push((mapping.operation, mapping.place)),
                }
            }
        }
    }
    uses.extend(operation.iteration.iter().map(|iteration| (iteration.lines.operation, iteration.lines.place)));
    expressions
        .extend(operation.split.iter().flat_map(|split| &split.statements).map(|statement| &statement.expression));
    let mut variables = Vec::new();
    expressions.iter().for_each(|expression| facts::needed(expression, &mut variables));
    uses.extend(variables.into_iter().map(|(of, expression)| (of, expression.place())));
    uses
}
