//! Whether the operations of a definition make a graph that can run: from head to tail, without a circle, every variable
//! known before it is used (T2).
//!
//! [`Definition::parse`] calls it with what `parse` read. Every pass is iterative, and linear in operations and links; the
//! last makes one pass for each 64 operations whose documents are used.

mod choices;

use super::{
    definition::{Definition, HEAD, Join, Operation, TAIL},
    expression::Side,
    faults::Faults,
    parse::{Draft, Own},
};
use crate::{
    code::{Code, Fault, Place},
    document::Text,
};

/// Checks the graph of a draft. `None` where there is too little to make a definition of.
pub(super) fn definition(draft: Option<Draft>, text: &Text, faults: &mut Faults) -> Option<Definition> {
    let mut draft = draft?;
    reserved(&draft, faults);
    connect(&mut draft.operations);
    let order = topological(&draft.operations);
    if order.len() < draft.operations.len() {
        cycles(&draft, &order, faults);
    }
    // With a link missing, half of the graph may be out of reach: what follows from one fault is not told as others.
    let ends = |name| {
        let named: Vec<usize> =
            (0..draft.operations.len()).filter(|&index| is_named(&draft.operations[index], name)).collect();
        if let [only] = named[..] { Some(only) } else { None }
    };
    let ends = ends(HEAD) == Some(0) && ends(TAIL) == draft.operations.len().checked_sub(1);
    if draft.whole && ends {
        reachability(&draft.operations, faults);
        if order.len() == draft.operations.len() {
            references(&draft, &order, faults);
            if draft.statements_read {
                choices::check(&draft.operations, &order, faults);
            }
        }
    }
    if draft.operations.is_empty() {
        return None;
    }
    Some(Definition {
        name: draft.name?,
        hash: Definition::hash_with(text, &draft.libraries),
        libraries: draft.libraries,
        timeout_ms: draft.timeout_ms,
        save: draft.save,
        operations: draft.operations,
        text: text.clone(),
        indexes: draft.indexes,
    })
}

fn add(faults: &mut Faults, code: Code, place: Place, message: String, help: impl Into<String>) {
    faults.add(Fault::new(code, message).at(place).help(help));
}

fn is_named(operation: &Operation, name: &str) -> bool {
    operation.name.as_str() == name
}

/// "operation 3 (check-stock)".
fn words(operation: &Operation) -> String {
    format!("operation {} ({})", operation.id, operation.name)
}

/// Head first, tail last, each once, and neither with what belongs to operations that somebody performs.
fn reserved(draft: &Draft, faults: &mut Faults) {
    let last = draft.operations.len().saturating_sub(1);
    for (name, position, where_to) in [(HEAD, 0, "first"), (TAIL, last, "last")] {
        let mut named = draft.operations.iter().enumerate().filter(|(_, operation)| is_named(operation, name));
        let Some((index, operation)) = named.next() else {
            let alike = draft.operations.iter().find(|operation| operation.name.as_str().eq_ignore_ascii_case(name));
            let (place, help) = match alike {
                Some(alike) => (alike.place, format!("write {name} instead of {}", alike.name)),
                None => (draft.place, format!("add it as the {where_to} operation")),
            };
            add(faults, Code::DefinitionReserved, place, format!("no operation is {name}"), help);
            continue;
        };
        if index != position && named.next().is_none() {
            let message = format!("{name} is not the {where_to} operation");
            add(faults, Code::DefinitionReserved, operation.place, message, format!("move it to be the {where_to}"));
        }
        for (_, again) in draft.operations.iter().enumerate().filter(|(_, operation)| is_named(operation, name)).skip(1)
        {
            let message = format!("{name} is in line {} already", operation.place.line);
            add(faults, Code::DefinitionReserved, again.place, message, "keep one of them");
        }
    }
    for operation in &draft.operations {
        let (head, tail) = (is_named(operation, HEAD), is_named(operation, TAIL));
        let wrong = [
            ((head || tail) && operation.broadcast.is_some(), "BROADCAST", "nobody is asked to perform it"),
            ((head || tail) && operation.organization.is_some(), "hx:ORGANIZATION", "nobody is asked to perform it"),
            (tail && operation.split.is_some(), "SPLIT", "nothing follows it"),
            (tail && !operation.links.is_empty(), "OPLINK", "nothing follows it"),
            (head && !matches!(operation.join, Join::Default), "JOIN", "its document is the transaction's input"),
        ];
        for (_, element, why) in wrong.into_iter().filter(|(wrong, ..)| *wrong) {
            let message = format!("{} cannot have <{element}>: {why}", operation.name);
            add(faults, Code::DefinitionReserved, operation.place, message, format!("remove the <{element}>"));
        }
    }
}

/// Tells every operation its predecessors.
fn connect(operations: &mut [Operation]) {
    for index in 0..operations.len() {
        for link in 0..operations[index].links.len() {
            let target = operations[index].links[link];
            operations[target].predecessors.push(index);
        }
    }
}

/// The operations in an order in which every link leads forward; those on and behind circles are left out.
fn topological(operations: &[Operation]) -> Vec<usize> {
    let mut waiting: Vec<usize> = operations.iter().map(|operation| operation.predecessors.len()).collect();
    let mut order: Vec<usize> = (0..operations.len()).filter(|&index| waiting[index] == 0).collect();
    let mut next = 0;
    while let Some(&index) = order.get(next) {
        next += 1;
        for &target in &operations[index].links {
            waiting[target] -= 1;
            if waiting[target] == 0 {
                order.push(target);
            }
        }
    }
    order
}

/// Names one circle in every knot, that is, in every set of operations that all reach each other.
fn cycles(draft: &Draft, order: &[usize], faults: &mut Faults) {
    let operations = &draft.operations;
    let knots = knots(operations, order);
    let mut walked: Vec<Option<usize>> = vec![None; operations.len()];
    let mut told = vec![false; operations.len()];
    for start in 0..operations.len() {
        let Some(knot) = knots[start].filter(|&knot| !std::mem::replace(&mut told[knot], true)) else { continue };
        // A walk that stays in the knot always goes on, so it comes back to where it has been.
        let (mut walk, mut at) = (Vec::new(), start);
        while walked[at].is_none() {
            walked[at] = Some(walk.len());
            walk.push(at);
            let Some(&next) = operations[at].links.iter().find(|&&target| knots[target] == Some(knot)) else { break };
            at = next;
        }
        if operations[walk[walk.len() - 1]].links.contains(&at) {
            tell_cycle(draft, &walk[walked[at].unwrap_or_default()..], faults);
        }
    }
}

/// For every operation outside `order`, the knot that it belongs to, named by one of its members (Kosaraju's algorithm).
fn knots(operations: &[Operation], order: &[usize]) -> Vec<Option<usize>> {
    let mut seen = vec![false; operations.len()];
    for &index in order {
        seen[index] = true;
    }
    let mut knots = vec![None; operations.len()];
    let mut unassigned: Vec<bool> = seen.iter().map(|&seen| !seen).collect();
    let mut ended = Vec::new();
    for start in 0..operations.len() {
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        let mut open = vec![(start, operations[start].links.iter())];
        while let Some((index, links)) = open.last_mut() {
            match links.find(|&&target| !seen[target]) {
                Some(&target) => {
                    seen[target] = true;
                    open.push((target, operations[target].links.iter()));
                }
                None => {
                    ended.push(*index);
                    open.pop();
                }
            }
        }
    }
    for &root in ended.iter().rev() {
        let mut waiting = vec![root];
        while let Some(index) = waiting.pop() {
            if std::mem::replace(&mut unassigned[index], false) {
                knots[index] = Some(root);
                waiting.extend_from_slice(&operations[index].predecessors);
            }
        }
    }
    knots
}

fn tell_cycle(draft: &Draft, circle: &[usize], faults: &mut Faults) {
    const SHOWN_MAX: usize = 24;
    // It begins with the operation that the text has first, so that it reads forward.
    let Some(first) = circle.iter().enumerate().min_by_key(|(_, index)| **index).map(|(position, _)| position) else {
        return;
    };
    let ids: Vec<String> =
        circle[first..].iter().chain(&circle[..first]).map(|&index| draft.operations[index].id.to_string()).collect();
    let mut shown = ids.clone();
    if ids.len() > SHOWN_MAX {
        shown.truncate(SHOWN_MAX);
        shown.push("…".to_owned());
    }
    let (from, to) = (circle[(first + circle.len() - 1) % circle.len()], circle[first]);
    let back = draft.operations[from].links.iter().position(|&target| target == to);
    let place = back.map_or(draft.operations[from].place, |link| draft.link_places[from][link]);
    let message = format!("the links run in a circle: {} → {}", shown.join(" → "), ids[0]);
    add(faults, Code::DefinitionCycle, place, message, "remove one of these links; a transaction goes forward only");
}

/// Every operation must be on a way from head to tail.
fn reachability(operations: &[Operation], faults: &mut Faults) {
    let from_head = reached(operations, 0, |operation| &operation.links);
    let to_tail = reached(operations, operations.len() - 1, |operation| &operation.predecessors);
    for (index, operation) in operations.iter().enumerate() {
        if !from_head[index] {
            let message = format!("{} cannot be reached from {HEAD}", words(operation));
            add(
                faults,
                Code::DefinitionUnreachable,
                operation.place,
                message,
                "link it from an operation before it, or remove it",
            );
        }
        if !to_tail[index] {
            let message = format!("{} cannot reach {TAIL}", words(operation));
            let id = operations[operations.len() - 1].id;
            add(
                faults,
                Code::DefinitionUnreachable,
                operation.place,
                message,
                format!("give it an OPLINK, to {id} if nothing follows it"),
            );
        }
    }
}

fn reached(operations: &[Operation], start: usize, next: impl Fn(&Operation) -> &Vec<usize>) -> Vec<bool> {
    let mut reached = vec![false; operations.len()];
    reached[start] = true;
    let mut waiting = vec![start];
    while let Some(index) = waiting.pop() {
        for &target in next(&operations[index]) {
            if !std::mem::replace(&mut reached[target], true) {
                waiting.push(target);
            }
        }
    }
    reached
}

/// A document can be used only behind the operation that it belongs to.
fn references(draft: &Draft, order: &[usize], faults: &mut Faults) {
    let operations = &draft.operations;
    let mut far = Vec::new();
    for reference in &draft.references {
        let operation = &operations[reference.by];
        if reference.by == reference.of {
            let there = match reference.own {
                Own::Both => true,
                Own::Line => reference.side != Some(Side::Output),
                Own::Neither => false,
            };
            if !there {
                let message = format!("{} uses its own document to build its request", words(operation));
                add(
                    faults,
                    Code::DefinitionVariable,
                    reference.place,
                    message,
                    "use a document of an operation before it",
                );
            }
        } else if reference.of != 0 {
            far.push(reference);
        }
    }
    let mut used: Vec<usize> = far.iter().map(|reference| reference.of).collect();
    used.sort_unstable();
    used.dedup();
    far.sort_by_key(|reference| reference.of);
    let mut far = far.into_iter().peekable();
    for batch in used.chunks(u64::BITS as usize) {
        let behind = behind(operations, order, batch);
        while let Some(reference) = far.next_if(|reference| Some(&reference.of) <= batch.last()) {
            let bit = batch.binary_search(&reference.of).expect("the batch was made of the references");
            if behind[reference.by] & (1 << bit) == 0 {
                let message = format!(
                    "{} does not come before {}",
                    words(&operations[reference.of]),
                    words(&operations[reference.by])
                );
                let help = "use a document of an operation before it, or add the links that bring the other before it";
                add(faults, Code::DefinitionVariable, reference.place, message, help);
            }
        }
    }
}

/// For every operation, one bit for each of `batch` that comes before it.
fn behind(operations: &[Operation], order: &[usize], batch: &[usize]) -> Vec<u64> {
    let mut own = vec![0u64; operations.len()];
    for (bit, &index) in batch.iter().enumerate() {
        own[index] = 1 << bit;
    }
    let mut behind = vec![0u64; operations.len()];
    for &index in order {
        let passed = behind[index] | own[index];
        for &target in &operations[index].links {
            behind[target] |= passed;
        }
    }
    behind
}
