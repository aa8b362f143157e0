//! All the faults of one definition, collected while it is read and checked (T2).

use crate::{
    code::{Code, Fault, Place},
    limit,
};

/// Collects faults, up to a maximum.
#[derive(Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
    more: usize,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        if self.list.len() < limit::DEFINITION_FAULTS_MAX {
            self.list.push(fault);
        } else {
            self.more += 1;
        }
    }

    /// Adds one of the most common kind.
    pub(super) fn invalid(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.add(Fault::new(Code::DefinitionInvalid, message).at(place).help(help));
    }

    /// All of them as the text has them.
    pub(super) fn in_order(mut self) -> Vec<Fault> {
        self.list.sort_by_key(|fault| fault.place);
        if self.more > 0 {
            self.list.push(Fault::new(Code::DefinitionInvalid, format!("and {} more faults", self.more)));
        }
        self.list
    }
}
