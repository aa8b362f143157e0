//! What comes before what: whether every operation is on a way from head to tail, and every document there when it is used.
//!
//! `check` calls it for every draft, however faulty. Where a link may lead anywhere, or operations run in a circle, it tells
//! only what is so whatever the mended definition will be.

use super::{add, only, words};
use crate::{
    code::Code,
    transaction::{
        definition::{HEAD, Operation, TAIL},
        expression::Side,
        faults::Faults,
        parse::{Draft, Own},
    },
};

/// Every operation must be on a way from head to tail.
pub(super) fn reachability(draft: &Draft, faults: &mut Faults) {
    let operations = &draft.operations;
    let (head, tail) = (only(operations, HEAD), only(operations, TAIL));
    // Of a doubled head or tail, one must go; so nothing is said of their links.
    let is_told = |index: usize| match operations[index].name.as_str() {
        HEAD => head.is_some(),
        TAIL => tail.is_some(),
        _ => true,
    };
    let from_head = head.map(|head| reached(operations, vec![head], |operation| &operation.links));
    // One link that may lead anywhere, and everything may be reached.
    let from_head =
        from_head.filter(|reached| !reached.iter().zip(&draft.open).any(|(reached, open)| *reached && *open));
    let to_tail = tail.map(|tail| {
        let open = (0..operations.len()).filter(|&index| draft.open[index]);
        reached(operations, std::iter::once(tail).chain(open).collect(), |operation| &operation.predecessors)
    });
    for (index, operation) in operations.iter().enumerate().filter(|(index, _)| is_told(*index)) {
        let identity = draft.identities[index];
        if from_head.as_ref().is_some_and(|reached| !reached[index]) && identity.is_sure() {
            let message = format!("{} cannot be reached from {HEAD}", words(operation));
            let help = "link it from an operation before it, or remove it";
            add(faults, Code::DefinitionUnreachable, operation.place, message, help);
        }
        if to_tail.as_ref().is_some_and(|reached| !reached[index]) && identity.number().is_some() {
            let message = format!("{} cannot reach {TAIL}", words(operation));
            let id = tail.and_then(|tail| draft.identities[tail].number());
            let help = match id {
                Some(id) => format!("give it an OPLINK, to {id} if nothing follows it"),
                None => format!("give it an OPLINK, to {TAIL} if nothing follows it"),
            };
            add(faults, Code::DefinitionUnreachable, operation.place, message, help);
        }
    }
}

fn reached(operations: &[Operation], mut waiting: Vec<usize>, next: impl Fn(&Operation) -> &Vec<usize>) -> Vec<bool> {
    let mut reached = vec![false; operations.len()];
    waiting.iter().for_each(|&start| reached[start] = true);
    while let Some(index) = waiting.pop() {
        for &target in next(&operations[index]) {
            if !std::mem::replace(&mut reached[target], true) {
                waiting.push(target);
            }
        }
    }
    reached
}

/// A document can be used only behind the operation that it belongs to. `groups` has the operations in an order in which
/// links lead forward, those that all reach each other together.
pub(super) fn references(draft: &Draft, groups: &[Vec<usize>], faults: &mut Faults) {
    let operations = &draft.operations;
    let open = (0..operations.len()).filter(|&index| draft.open[index]).collect();
    // From these, a link may lead to any other.
    let anywhere = reached(operations, open, |operation| &operation.predecessors);
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
                let help = "use a document of an operation before it";
                add(faults, Code::DefinitionVariable, reference.place, message, help);
            }
        } else if reference.of != 0
            && operations[reference.of].name.as_str() != HEAD
            && !anywhere[reference.of]
            // Links to it may be among those that lead anywhere.
            && draft.identities[reference.by].is_sure()
        {
            far.push(reference);
        }
    }
    let mut used: Vec<usize> = far.iter().map(|reference| reference.of).collect();
    used.sort_unstable();
    used.dedup();
    far.sort_by_key(|reference| reference.of);
    let mut far = far.into_iter().peekable();
    for batch in used.chunks(u64::BITS as usize) {
        let behind = behind(operations, groups, batch);
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

/// For every operation, one bit for each of `batch` that comes before it; in a circle, all may.
fn behind(operations: &[Operation], groups: &[Vec<usize>], batch: &[usize]) -> Vec<u64> {
    let mut own = vec![0u64; operations.len()];
    for (bit, &index) in batch.iter().enumerate() {
        own[index] = 1 << bit;
    }
    let mut behind = vec![0u64; operations.len()];
    for group in groups {
        if group.len() > 1 {
            let all = group.iter().fold(0, |all, &member| all | behind[member] | own[member]);
            group.iter().for_each(|&member| behind[member] = all);
        }
        for &member in group {
            let passed = behind[member] | own[member];
            for &target in &operations[member].links {
                behind[target] |= passed;
            }
        }
    }
    behind
}
