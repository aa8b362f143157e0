//! Whether the operations of a definition make a graph that can run: from head to tail, without a circle, every variable
//! known before it is used (T2).
//!
//! [`Definition::parse`] calls it with what `parse` read. A fault hides no other that can be known in spite of it. Every pass
//! is iterative, and linear in operations and links; that of references makes one pass for each 64 operations whose documents
//! are used.

mod choices;
mod order;

use super::{
    definition::{Definition, HEAD, Join, Operation, TAIL},
    faults::Faults,
    parse::Draft,
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
    let mut groups: Vec<Vec<usize>> = order.iter().map(|&index| vec![index]).collect();
    if order.len() < draft.operations.len() {
        let knots = knots(&draft.operations, &order);
        cycles(&draft, &knots, faults);
        groups.extend(knots);
    }
    order::reachability(&draft, faults);
    order::references(&draft, &groups, faults);
    choices::check(&draft, &order, faults);
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

/// The one operation of this name; `None` if there are none or several.
fn only(operations: &[Operation], name: &str) -> Option<usize> {
    let mut named = (0..operations.len()).filter(|&index| is_named(&operations[index], name));
    named.next().filter(|_| named.next().is_none())
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
fn cycles(draft: &Draft, knots: &[Vec<usize>], faults: &mut Faults) {
    let operations = &draft.operations;
    let mut knot_of: Vec<Option<usize>> = vec![None; operations.len()];
    for (knot, members) in knots.iter().enumerate() {
        members.iter().for_each(|&member| knot_of[member] = Some(knot));
    }
    let mut walked: Vec<Option<usize>> = vec![None; operations.len()];
    let mut told = vec![false; knots.len()];
    for start in 0..operations.len() {
        let Some(knot) = knot_of[start].filter(|&knot| !std::mem::replace(&mut told[knot], true)) else { continue };
        // A walk that stays in the knot always goes on, so it comes back to where it has been.
        let (mut walk, mut at) = (Vec::new(), start);
        while walked[at].is_none() {
            walked[at] = Some(walk.len());
            walk.push(at);
            let Some(&next) = operations[at].links.iter().find(|&&target| knot_of[target] == Some(knot)) else { break };
            at = next;
        }
        if operations[walk[walk.len() - 1]].links.contains(&at) {
            tell_cycle(draft, &walk[walked[at].unwrap_or_default()..], faults);
        }
    }
}

/// The operations outside `order`, each with all that it reaches and is reached by, in an order in which the links between
/// these sets lead forward (Kosaraju's algorithm).
fn knots(operations: &[Operation], order: &[usize]) -> Vec<Vec<usize>> {
    let mut seen = vec![false; operations.len()];
    for &index in order {
        seen[index] = true;
    }
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
    let mut knots = Vec::new();
    for &root in ended.iter().rev() {
        let (mut knot, mut waiting) = (Vec::new(), vec![root]);
        while let Some(index) = waiting.pop() {
            if std::mem::replace(&mut unassigned[index], false) {
                knot.push(index);
                waiting.extend_from_slice(&operations[index].predecessors);
            }
        }
        if !knot.is_empty() {
            knots.push(knot);
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
