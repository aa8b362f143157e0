//! The reading of joins, and of the documents that they map.
//!
//! The reader of operations calls it, for an operation's own JOIN and for that of its compensation.

use super::{Own, Reader, Scope};
use crate::{
    code::Code,
    document::Element,
    transaction::{
        definition::{Argument, Join, Mapping, Source},
        expression::Expression,
        path::{Path, is_step_name, shown},
        value::ValueType,
    },
};
use std::collections::BTreeSet;

impl Reader<'_> {
    pub(super) fn join(&mut self, element: &Element, scope: Scope) -> Join {
        let fields = self.fields(element, "JOIN");
        let mut arguments = Vec::new();
        let mut names = BTreeSet::new();
        for element in fields.all("ARG") {
            arguments.extend(self.argument(element, scope, &mut names));
        }
        let mut documents = Vec::new();
        for (count, element) in fields.all("DOCUMENT").enumerate() {
            if count == 0 && fields.one("ARG").is_some() {
                let help = "put the DOCUMENT into an ARG of its own, with a NAME and VALTYPE DOCVALUE";
                self.faults.invalid(element.place, "<JOIN> has both <ARG> and <DOCUMENT>", help);
            }
            documents.extend(self.mapping(element, scope));
        }
        if let Some(element) = fields.one("EXPR") {
            if fields.one("ARG").is_some() || fields.one("DOCUMENT").is_some() {
                let help = "put the EXPR into an ARG of its own, with a NAME and a VALTYPE";
                self.faults.invalid(element.place, "<JOIN> has an <EXPR>, which is the whole document, and more", help);
            }
            let Some(expression) = self.expression(element, scope, 1) else { return Join::Default };
            if expression.value_type() != ValueType::Document {
                let message = format!("the request is a document, and this is a {}", expression.value_type());
                let help = "give it VALTYPE DOCVALUE, or put it into an ARG";
                self.add(Code::DefinitionType, element.place, message, help);
            }
            return Join::Expression(expression);
        }
        if fields.one("DOCUMENT").is_some() { Join::Documents(documents) } else { Join::Arguments(arguments) }
    }

    fn argument(&mut self, element: &Element, scope: Scope, names: &mut BTreeSet<String>) -> Option<Argument> {
        let fields = self.fields(element, "ARG");
        let name = fields.one("NAME").and_then(|at| {
            let name = self.text(at)?;
            if !is_step_name(&name) {
                let message = format!("'{}' is no name of an argument", shown(&name));
                self.faults.invalid(at.place, message, "use letters, digits, dots, dashes and underscores");
            } else if !names.insert(name.clone()) {
                let message = format!("two arguments have the name '{name}'");
                self.faults.invalid(at.place, message, "give every argument a name of its own");
            }
            Some(name)
        });
        let value_type = fields.one("VALTYPE").and_then(|at| self.value_type(at));
        let optional = fields.one("OPTIONAL").and_then(|at| self.yes_or_no(at)).unwrap_or(false);
        let source = match (fields.one("EXPR"), fields.one("DOCUMENT")) {
            (Some(at), None) => {
                let expression = self.expression(at, scope, 1)?;
                if let Some(wanted) = value_type
                    && wanted != expression.value_type()
                {
                    let given = expression.value_type();
                    let message = format!("the argument is a {wanted}, but its expression is a {given}");
                    self.add(
                        Code::DefinitionType,
                        at.place,
                        message,
                        format!("write VALTYPE {}, or convert the value", given.as_str()),
                    );
                }
                Source::Expression(expression)
            }
            (None, Some(at)) => {
                let mapping = self.mapping(at, scope)?;
                if mapping.path.is_attribute() && value_type == Some(ValueType::Document) {
                    let message = format!("'{}' leads to an attribute, which is no document section", mapping.path);
                    self.add(Code::DefinitionType, at.place, message, "give the argument VALTYPE STRVALUE");
                }
                Source::Document(mapping)
            }
            (None, None) => {
                self.faults.invalid(
                    element.place,
                    "<ARG> has neither <EXPR> nor <DOCUMENT>",
                    "say where its value comes from",
                );
                return None;
            }
            (Some(expression), Some(at)) => {
                let _ = (self.expression(expression, scope, 1), self.mapping(at, scope));
                self.faults.invalid(at.place, "<ARG> has both <EXPR> and <DOCUMENT>", "keep one of them");
                return None;
            }
        };
        Some(Argument { name: name?, value_type: value_type?, optional, source, place: element.place })
    }

    pub(super) fn mapping(&mut self, element: &Element, scope: Scope) -> Option<Mapping> {
        let fields = self.fields(element, "DOCUMENT");
        let side = fields.one("OPDOCIOTYPE").and_then(|at| self.side(at));
        let operation = fields.one("OPID").and_then(|at| self.document_of(at, side, scope));
        let path = match fields.one("OPDOCVARTYPE") {
            None => Some(Path::whole()),
            Some(at) => self.path(at),
        };
        let (operation, id) = operation?;
        let name = self.names[operation].clone();
        Some(Mapping { operation, id, name, side: side?, path: path?, place: element.place })
    }

    pub(super) fn organization(&mut self, element: &Element, index: usize) -> Option<Expression> {
        let at = self.fields(element, "hx:ORGANIZATION").one("EXPR")?;
        let expression = self.expression(at, Scope { operation: index, own: Own::Neither }, 1)?;
        if expression.value_type() != ValueType::Text {
            let message = format!("an organization is named by a text, and this is a {}", expression.value_type());
            self.add(Code::DefinitionType, at.place, message, "give it VALTYPE STRVALUE");
        }
        Some(expression)
    }
}
