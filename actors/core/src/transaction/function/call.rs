//! Running a function of the table: which arguments are evaluated, and what its value is on these documents (T9).

use super::{Call, Function, Prepared, Run, Takes, date};
use crate::transaction::{
    expression::{Documents, Evaluation, Expression, Kind, Trouble},
    value::Value,
};
use rust_decimal::Decimal;

impl<D: Documents> Evaluation<'_, D> {
    pub(in crate::transaction) fn call(
        &self,
        expression: &Expression,
        function: &'static Function,
        arguments: &[Expression],
        prepared: Option<&Prepared>,
    ) -> Result<Value, Trouble> {
        let wrong = |message: String| Trouble::Wrong(expression.failed(format!("{}: {message}", function.name)));
        match (function.run, arguments) {
            (Run::Values(run), _) => {
                let mut values = Vec::with_capacity(arguments.len());
                for (position, argument) in arguments.iter().enumerate() {
                    match function.parameter(position).map(|parameter| parameter.takes) {
                        Some(Takes::All(_)) => values.extend(self.values(argument)?),
                        _ => values.push(self.evaluate(argument)?),
                    }
                }
                run(&Call { values: &values, prepared }).map_err(wrong)
            }
            (Run::Not, [condition]) => Ok(Value::Boolean(!self.truth(condition)?)),
            (Run::Count | Run::Exists, [argument]) => {
                let Kind::Variable(variable) = argument.kind() else {
                    return Err(wrong("it takes a variable".to_owned()));
                };
                let count = match self.tree(argument, variable.operation, variable.side)? {
                    Some(tree) => variable.path.find(&tree.root).count(),
                    None => 0,
                };
                Ok(match function.run {
                    Run::Exists => Value::Boolean(count > 0),
                    _ => Value::Number(Decimal::from(count)),
                })
            }
            (Run::If, [condition, then, otherwise]) => {
                self.evaluate(if self.truth(condition)? { then } else { otherwise })
            }
            (Run::Coalesce, [first @ .., last]) => {
                for argument in first {
                    match self.evaluate(argument) {
                        Err(Trouble::Missing(_)) => {}
                        found => return found,
                    }
                }
                self.evaluate(last)
            }
            (Run::Today, []) => date::today(self.submitted()).map_err(wrong),
            (Run::Now, []) => date::now(self.submitted()).map_err(wrong),
            (Run::Xpath, [_, document]) => {
                let Some(Prepared::Xpath(xpath)) = prepared else {
                    return Err(wrong("its expression is missing".to_owned()));
                };
                let missing = || {
                    let message = format!("the XPath expression '{}' finds nothing", xpath.shown());
                    Trouble::Missing(expression.failed(message))
                };
                let found = match document.kind() {
                    // The document is there as text and as tree already.
                    Kind::Variable(variable) if variable.path.is_whole() => {
                        let tree = self.tree(document, variable.operation, variable.side)?;
                        let text = self.text_of(variable.operation, variable.side);
                        let (Some(tree), Some(text)) = (tree, text) else {
                            return self.evaluate(document);
                        };
                        xpath.find(text.as_str(), &tree.root, expression.value_type())
                    }
                    _ => match self.evaluate(document)? {
                        Value::Document(sections) if sections.len() == 1 => {
                            xpath.find(&sections[0].to_xml(), &sections[0], expression.value_type())
                        }
                        Value::Document(sections) => {
                            let count = sections.len();
                            return Err(wrong(format!("its document is {count} elements; pick one with [1]")));
                        }
                        value => return Err(wrong(format!("it works on a document, not on a {}", value.value_type()))),
                    },
                };
                found.map_err(wrong)?.ok_or_else(missing)
            }
            _ => Err(wrong("it has other arguments than it takes".to_owned())),
        }
    }

    fn truth(&self, condition: &Expression) -> Result<bool, Trouble> {
        self.evaluate(condition)?.truth(condition).map_err(Trouble::Wrong)
    }
}

/// How much work a value was to make, in bytes, for the bound on one evaluation.
pub(in crate::transaction) fn weight(value: &Value) -> usize {
    match value {
        Value::Number(_) | Value::Boolean(_) => size_of::<Value>(),
        Value::Text(text) => size_of::<Value>() + text.len(),
        Value::Document(sections) => sections.iter().map(|section| section.weight()).fold(0, usize::saturating_add),
    }
}
