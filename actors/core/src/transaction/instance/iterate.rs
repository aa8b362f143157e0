//! Iterations: an operation that is performed for each line of a document, so many at once (T17).

use super::{Instance, OperationState, Record, Request, state::Begun, view::View};
use crate::{
    code::{Code, Fault},
    document::Text,
    machine::Decision,
    moment::Moment,
    transaction::{Definition, Iteration, line_documents, lines, responses_document},
};

impl Instance {
    /// Find the lines, and make what each is asked with, all at once: every document is read once, and a line that cannot be
    /// asked for fails the operation before anything is performed.
    pub(super) fn iterate(
        definition: &Definition,

        begun: &Begun,
        now: Moment,
        index: u32,
        iteration: &Iteration,
    ) -> Decision<Self> {
        let defined = &definition.operations[index as usize];
        let requests = match Self::requests(definition, begun, index, iteration) {
            Ok(requests) => requests,
            Err(fault) => {
                return Self::ended(definition, begun, index, OperationState::Failed, None, Some(fault), now);
            }
        };
        if requests.is_empty() {
            return match responses_document(&[]) {
                Ok(nothing) => {
                    Self::ended(definition, begun, index, OperationState::Completed, Some(nothing), None, now)
                }
                Err(fault) => Self::ended(definition, begun, index, OperationState::Failed, None, Some(fault), now),
            };
        }
        Decision::nothing().record(Record::Iterated {
            operation: index,
            requests: requests.into_iter().map(Request::Made).collect(),
            concurrent: iteration.concurrent_max.max(1),
            at: now,
            deadline: defined.timeout_ms.map(|timeout_ms| now.plus_ms(timeout_ms)),
        })
    }

    fn requests(definition: &Definition, begun: &Begun, index: u32, iteration: &Iteration) -> Result<Vec<Text>, Fault> {
        let view = View::of(begun);
        let lines = lines(iteration, &view)?;
        if lines.len() > iteration.lines_max as usize {
            let name = &definition.operations[index as usize].name;
            // No more lines are looked for than it takes to know that there are too many.
            let most = iteration.lines_max;
            let message = format!("operation {name} may iterate over {most} lines, and there are more than {most}");
            return Err(Fault::new(Code::IterationTooLong, message).at(iteration.place));
        }
        line_documents(definition, index as usize, &view, &lines)
    }
}
