//! The documents of a transaction, as expressions and joins look at them.

use super::state::Begun;
use crate::{
    document::Text,
    moment::Moment,
    transaction::{Documents, Side},
};

/// The documents of one transaction.
pub(super) struct View<'a> {
    begun: &'a Begun,
    /// The output of an operation that is about to end.
    coming: Option<(usize, &'a Text)>,
}

impl<'a> View<'a> {
    pub(super) fn of(begun: &'a Begun) -> Self {
        Self { begun, coming: None }
    }

    /// The same with an output that is not recorded yet.
    pub(super) fn with(begun: &'a Begun, operation: u32, output: Option<&'a Text>) -> Self {
        Self { begun, coming: output.map(|output| (operation as usize, output)) }
    }
}

impl Documents for View<'_> {
    fn document(&self, operation: usize, side: Side) -> Option<&Text> {
        if operation == 0 {
            return Some(&self.begun.input);
        }
        if let (Side::Output, Some((coming, output))) = (side, self.coming)
            && coming == operation
        {
            return Some(output);
        }
        let state = self.begun.operations.get(&u32::try_from(operation).ok()?)?;
        match side {
            Side::Input => self.begun.request(state),
            Side::Output => self.begun.output(state),
        }
    }

    fn submitted(&self) -> Moment {
        self.begun.submitted
    }
}
