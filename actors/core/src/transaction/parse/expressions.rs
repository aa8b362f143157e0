//! The reading of expressions, and of the places in documents that they and joins refer to.
//!
//! Bottom up: an operator or a function is made of operands that are well typed already, by the constructors of
//! [`Expression`], which check the types. Depth is bounded by [`limit::EXPRESSION_DEPTH_MAX`].

use super::{Reader, Reference, Scope};
use crate::{
    code::{Code, Fault, Place},
    document::Element,
    ident::LibraryName,
    limit,
    transaction::{
        expression::{Expression, Operator, Side, Variable},
        function::{FUNCTIONS, Function, Site},
        library,
        path::Path,
        value::{Value, ValueType},
    },
};

impl Reader<'_> {
    pub(super) fn condition(&mut self, element: &Element, scope: Scope, whose: &str) -> Option<Expression> {
        let expression = self.expression(element, scope, 1)?;
        self.well_typed(expression.check_condition(whose).map(|()| expression))
    }

    fn well_typed<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.faults.add(fault)).ok()
    }

    pub(super) fn expression(&mut self, element: &Element, scope: Scope, depth: usize) -> Option<Expression> {
        if depth > limit::EXPRESSION_DEPTH_MAX {
            let message = format!("expressions nest deeper than {} levels", limit::EXPRESSION_DEPTH_MAX);
            self.faults.invalid(element.place, message, "let an operation of its own compute part of it");
            return None;
        }
        let fields = self.fields(element, "EXPR");
        let kinds: Vec<&str> =
            ["VALUE", "OPERATOR", "FUNCTION", "VAR"].into_iter().filter(|kind| fields.one(kind).is_some()).collect();
        if kinds.len() != 1 {
            let message = format!("<EXPR> has {} of <VALUE>, <OPERATOR>, <FUNCTION>, <VAR>", kinds.len());
            self.faults.invalid(
                element.place,
                message,
                "an expression is exactly one of them; combine several with OPERATOR",
            );
        }
        if let Some(at) = fields.one("VALTYPE")
            && !kinds.contains(&"VALUE")
        {
            self.faults.invalid(
                at.place,
                "<VALTYPE> in <EXPR> goes with <VALUE> alone",
                "put it into the VAR or FUNCTION",
            );
        }
        let place = element.place;
        // Of several, all are read, so that one fault does not hide those in them.
        let mut read =
            kinds.into_iter().filter_map(|kind| Some((kind, fields.one(kind)?))).map(|(kind, at)| match kind {
                "VALUE" => self.value(at, fields.one("VALTYPE"), place),
                "OPERATOR" => self.operator(at, scope, depth, place),
                "FUNCTION" => self.function(at, scope, depth, place),
                _ => self.variable(at, scope, place),
            });
        let first = read.next()?;
        read.for_each(drop);
        first
    }

    fn value(&mut self, element: &Element, value_type: Option<&Element>, place: Place) -> Option<Expression> {
        let text = self.text(element)?;
        let Some(at) = value_type else {
            self.faults.invalid(place, "<VALUE> has no <VALTYPE> beside it", "add NUMVALUE, STRVALUE or BOOLVALUE");
            return None;
        };
        match Value::read(&text, self.value_type(at)?) {
            Ok(value) => Some(Expression::value(value, place)),
            Err(message) => {
                self.add(Code::DefinitionType, element.place, message, "correct the value or its VALTYPE");
                None
            }
        }
    }

    fn operator(&mut self, element: &Element, scope: Scope, depth: usize, place: Place) -> Option<Expression> {
        let fields = self.fields(element, "OPERATOR");
        let names: Vec<&str> = Operator::ALL.iter().map(|operator| operator.as_str()).collect();
        let operator =
            fields.one("OPNAME").and_then(|at| self.chosen(at, Code::DefinitionType, &names, Operator::named));
        let mut operands: Vec<_> =
            fields.all("EXPR").map(|operand| self.expression(operand, scope, depth + 1)).collect();
        if operands.len() != 2 {
            return None;
        }
        let (right, left) = (operands.pop()??, operands.pop()??);
        self.well_typed(Expression::operator(operator?, left, right, place))
    }

    fn function(&mut self, element: &Element, scope: Scope, depth: usize, place: Place) -> Option<Expression> {
        let fields = self.fields(element, "FUNCTION");
        let names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
        let library = fields.one("LIBNAME");
        let function = match library {
            Some(_) => None,
            None => {
                let at = fields.one("FUNCNAME");
                Some(at.and_then(|at| self.chosen(at, Code::DefinitionType, &names, Function::named)))
            }
        };
        let declared = fields.one("VALTYPE").map(|at| self.value_type(at).map(|value_type| (value_type, at.place)));
        let arguments: Vec<_> =
            fields.all("EXPR").map(|argument| self.expression(argument, scope, depth + 1)).collect();
        let declared = match declared {
            None => None,
            Some(read) => Some(read?),
        };
        let arguments = arguments.into_iter().collect::<Option<Vec<_>>>()?;
        let namespace = |prefix: &str| element.namespace_of(prefix).map(str::to_owned);
        let site = Site { place, declared, namespace: &namespace };
        let called = match (function, library) {
            (Some(function), _) => function?.on(arguments, &site),
            (None, at) => self.library(at?, fields.one("FUNCNAME")?, arguments, &site)?,
        };
        match called {
            Ok(expression) => Some(expression),
            Err(faults) => {
                faults.into_iter().for_each(|fault| self.faults.add(fault));
                None
            }
        }
    }

    /// The call of a library's function; `None` where the names cannot be read.
    fn library(
        &mut self,
        at: &Element,
        function: &Element,
        arguments: Vec<Expression>,
        site: &Site<'_>,
    ) -> Option<Result<Expression, Vec<Fault>>> {
        let name = self.parsed::<LibraryName>(at)?;
        let called = self.text(function)?;
        let library = match self.libraries.find(&name, at.place) {
            Ok(library) => library,
            Err(fault) => return Some(Err(vec![fault])),
        };
        self.called.insert(name.clone(), library.hash());
        Some(library::call((&name, library), (&called, function.place), arguments, site))
    }

    fn variable(&mut self, element: &Element, scope: Scope, place: Place) -> Option<Expression> {
        let fields = self.fields(element, "VAR");
        let side = fields.one("OPDOCIOTYPE").and_then(|at| self.side(at));
        let operation = fields.one("OPID").and_then(|at| self.document_of(at, side, scope));
        let value_type = fields.one("VALTYPE").and_then(|at| self.value_type(at));
        let section = match fields.one("OPDOCVARTYPE") {
            None => Some(Path::whole()),
            Some(at) => self.path(at),
        };
        let name = fields.one("VARNAME").and_then(|at| Some((at, self.path(at)?)));
        let (section, (at, name), value_type) = (section?, name?, value_type?);
        let Some(path) = section.clone().then(name) else {
            let message = format!("nothing can be found below '{section}'");
            self.faults.invalid(at.place, message, "an attribute belongs at the end of VARNAME, not into OPDOCVARTYPE");
            return None;
        };
        if path.is_attribute() && value_type == ValueType::Document {
            let message = format!("'{path}' leads to an attribute, which is no document section");
            self.add(Code::DefinitionType, element.place, message, "give it VALTYPE STRVALUE");
        }
        let (operation, id) = operation?;
        let variable = Variable { operation, id, name: self.names[operation].clone(), side: side?, path };
        Some(Expression::variable(variable, value_type, place))
    }

    /// The operation whose document is used in `scope`, as index and OPID.
    pub(super) fn document_of(&mut self, element: &Element, side: Option<Side>, scope: Scope) -> Option<(usize, u32)> {
        let id = self.identity(element)?;
        let Some(&of) = self.indexes.get(&id) else {
            self.nowhere(Code::DefinitionVariable, element.place, "the variable", id);
            return None;
        };
        // Which of the two operations with this number is meant, nobody knows.
        if !self.ambiguous.contains(&id) {
            self.references.push(Reference { by: scope.operation, of, side, own: scope.own, place: element.place });
        }
        Some((of, id))
    }

    pub(super) fn path(&mut self, element: &Element) -> Option<Path> {
        let text = self.text(element)?;
        match text.parse() {
            Ok(path) => Some(path),
            Err((message, help)) => {
                self.faults.invalid(element.place, message, help);
                None
            }
        }
    }
}
