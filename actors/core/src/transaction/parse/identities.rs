//! Who is who: the OPID and NAME of every operation, and what it means for others where one of them cannot be told.
//!
//! The reader calls it before anything else, for links and variables may lead to operations later in the text, and once
//! more at the end, when it is known which numbers lead nowhere. One bad OPID hides no other fault: an operation without
//! one is known by the SRCOPID of its links, and what may lead to it is the only thing that is left open.

use super::{Fields, Reader, elements::own_text};
use crate::{
    code::{Code, Place},
    document::Element,
    ident::OperationName,
    transaction::definition::{HEAD, TAIL},
};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// How well an operation is known by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transaction) enum Identity {
    /// It has an OPID of its own.
    Own(u32),
    /// Its OPID is missing, cannot be read or is taken, and its links say which one was meant.
    Meant(u32),
    /// Another has the same OPID; what leads to that number may mean the one or the other.
    Shared(u32),
    /// Nothing tells its number.
    Unknown,
}

impl Identity {
    /// Its number, for messages.
    pub(in crate::transaction) fn number(self) -> Option<u32> {
        match self {
            Self::Own(number) | Self::Meant(number) | Self::Shared(number) => Some(number),
            Self::Unknown => None,
        }
    }

    /// Whether what leads to its number leads to it.
    pub(in crate::transaction) fn is_sure(self) -> bool {
        matches!(self, Self::Own(_) | Self::Meant(_))
    }
}

/// An OPID that no operation has, where it is used.
pub(super) struct Nowhere {
    code: Code,
    place: Place,
    whose: String,
    number: u32,
}

impl Reader<'_> {
    /// Finds out the names and numbers of all operations.
    pub(super) fn identify(&mut self, elements: &[&Element], fields: &[Fields<'_>]) -> Vec<Identity> {
        let mut identities = Vec::new();
        let mut lines: BTreeMap<OperationName, u32> = BTreeMap::new();
        for (index, (element, fields)) in elements.iter().zip(fields).enumerate() {
            self.name_operation(element, fields, &mut lines);
            let identity = match fields.one("OPID").and_then(|id| self.identity(id)) {
                None => Identity::Unknown,
                Some(number) => match self.indexes.entry(number) {
                    Entry::Vacant(vacant) => {
                        vacant.insert(index);
                        Identity::Own(number)
                    }
                    Entry::Occupied(first) => {
                        let line = elements[*first.get()].place.line;
                        let place = fields.one("OPID").map_or(element.place, |at| at.place);
                        let message = format!("OPID {number} is the operation's in line {line} already");
                        self.add(Code::DefinitionDuplicate, place, message, "give every operation an OPID of its own");
                        Identity::Shared(number)
                    }
                },
            };
            identities.push(identity);
            let performed = ["CXCNAME", "hx:TRANSACTION", "hx:SIGNAL"].iter().any(|name| fields.one(name).is_some());
            if !performed && ![HEAD, TAIL].contains(&self.names[index].as_str()) {
                let message = format!("<OPERATION> {} has no <CXCNAME>", self.names[index]);
                self.faults.invalid(element.place, message, "name the service that performs it, or write ANY");
            }
        }
        // Only when all numbers are known that are taken.
        for (index, fields) in fields.iter().enumerate() {
            if matches!(identities[index], Identity::Own(_)) {
                continue;
            }
            let said = number_of_links(fields);
            if let Some(number) = said
                && let Entry::Vacant(vacant) = self.indexes.entry(number)
            {
                vacant.insert(index);
                identities[index] = Identity::Meant(number);
            } else if let Identity::Shared(number) = identities[index] {
                self.ambiguous.insert(number);
                self.unidentified += usize::from(said != Some(number));
            } else {
                self.unidentified += 1;
            }
        }
        identities
    }

    fn name_operation(&mut self, element: &Element, fields: &Fields<'_>, lines: &mut BTreeMap<OperationName, u32>) {
        let name = fields.one("NAME").and_then(|at| {
            let name = self.parsed::<OperationName>(at)?;
            if ![HEAD, TAIL].contains(&name.as_str()) {
                match lines.entry(name.clone()) {
                    Entry::Vacant(vacant) => drop(vacant.insert(element.place.line)),
                    Entry::Occupied(line) => {
                        let message = format!("the operation in line {} has the name {name} already", line.get());
                        let help = format!(
                            "give it a NAME of its own; with <hx:PERFORMS>{name}</hx:PERFORMS> the same services perform it"
                        );
                        self.add(Code::DefinitionDuplicate, at.place, message, help);
                    }
                }
            }
            Some(name)
        });
        // What stands in is never performed: its fault is noted, so the definition is refused.
        self.names.push(name.unwrap_or_else(|| "unnamed".parse().expect("it has letters alone")));
    }

    /// Notes that an OPID leads nowhere.
    pub(super) fn nowhere(&mut self, code: Code, place: Place, whose: &str, number: u32) {
        self.nowhere.push(Nowhere { code, place, whose: whose.to_owned(), number });
    }

    /// Tells what leads nowhere. Where there are no more such numbers than operations whose number nothing tells, each of
    /// them may be one of these operations, whose own fault is told.
    pub(super) fn tell_nowhere(&mut self) {
        let numbers: BTreeSet<u32> = self.nowhere.iter().map(|nowhere| nowhere.number).collect();
        if numbers.len() <= self.unidentified {
            return;
        }
        for Nowhere { code, place, whose, number } in std::mem::take(&mut self.nowhere) {
            let message = format!("{whose} leads to operation {number}, which is not there");
            self.add(code, place, message, "correct the OPID, or add the operation");
        }
    }
}

/// The number that all links of an operation say they start from. What cannot be read there is told by the reader of links.
fn number_of_links(fields: &Fields<'_>) -> Option<u32> {
    let sources = fields.all("OPLINK").flat_map(Element::elements).filter(|child| &*child.name.local == "SRCOPID");
    let mut numbers = sources.map(|source| own_text(source).trim().parse::<u32>().ok());
    let first = numbers.next()??;
    numbers.all(|number| number == Some(first)).then_some(first)
}
