//! Expressions: what decides a SPLIT, counts a broadcast's response, fills an argument (T9).
//!
//! An expression is well typed from the moment it exists: the constructors here check operands as the parser reads them,
//! so evaluation meets no operator that does not fit its operands. What is left to go wrong depends on the documents (a
//! variable that is not there, a division by zero) and is a [`Fault`] with a place in the definition, never a panic.
//!
//! Numbers are exact decimals of up to 28 digits, for expressions compute money.

use super::{
    function::{Function, Prepared, weight},
    library::Library,
    path::{Found, Path, shown},
    value::{Value, ValueType},
};
use crate::{
    code::{Code, Fault, Place},
    document::{Document, Text},
    ident::{LibraryName, OperationName},
    limit,
    moment::Moment,
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
};

/// Which of an operation's two documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// What it was asked with. Of the head: the transaction's input.
    Input,
    /// What it answered. Of the head: the transaction's input.
    Output,
}

impl Side {
    /// As definitions write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "INPUT",
            Self::Output => "OUTPUT",
        }
    }
}

/// What expressions and joins look at; the instance has it.
pub trait Documents {
    /// The document of the operation with this index, if there is one: an operation that was not performed has none, one
    /// that failed has no output. The head has the transaction's input on both sides.
    fn document(&self, operation: usize, side: Side) -> Option<&Text>;

    /// When the transaction was submitted: the present, as far as functions know, so that replay agrees.
    fn submitted(&self) -> Moment;
}

/// A well-typed expression.
#[derive(Clone, Debug)]
pub struct Expression {
    kind: Kind,
    value_type: ValueType,
    place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Value(Value),
    Operator(Operator, Box<[Expression; 2]>),
    /// With what was made of a constant argument.
    Function(&'static Function, Vec<Expression>, Option<Prepared>),
    /// A function of a library, by its index.
    Library {
        name: LibraryName,
        library: Arc<dyn Library>,
        function: usize,
        arguments: Vec<Expression>,
    },
    Variable(Variable),
}

/// Where a variable is.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Index of the operation whose document has it.
    pub operation: usize,
    /// The OPID of that operation, for messages.
    pub id: u32,
    /// The name of that operation, for messages.
    pub name: OperationName,
    /// In which of the operation's documents.
    pub side: Side,
    /// Where in it.
    pub path: Path,
}

impl Variable {
    /// "the output document of operation 3 (check-stock)".
    pub(super) fn document_words(&self) -> String {
        let side = match self.side {
            Side::Input => "input",
            Side::Output => "output",
        };
        format!("the {side} document of operation {} ({})", self.id, self.name)
    }
}

/// Declares an enum whose members have the names that definitions write.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($member:ident $text:literal)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $(#[doc = $text] $member,)* }

        impl $name {
            /// All of them, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$member,)*];

            /// As definitions write it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$member => $text,)* }
            }

            /// The member that a definition means.
            #[must_use]
            pub fn named(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|member| member.as_str() == text)
            }
        }
    };
}

words! {
    /// What OPNAME can be.
    Operator {
        Greater "GREATER" Less "LESS" Equal "EQUAL" NotEqual "NOTEQUAL" GreaterOrEqual "GREATEROREQUAL"
        LessOrEqual "LESSOREQUAL" Plus "PLUS" Minus "MINUS" Multiply "MULTIPLY" Divide "DIVIDE" And "AND" Or "OR"
    }
}

fn mistyped(place: Place, message: String, help: impl Into<String>) -> Fault {
    Fault::new(Code::DefinitionType, message).at(place).help(help)
}

impl Expression {
    /// A configured value.
    #[must_use]
    pub fn value(value: Value, place: Place) -> Self {
        Self { value_type: value.value_type(), kind: Kind::Value(value), place }
    }

    /// The value of a variable.
    #[must_use]
    pub fn variable(variable: Variable, value_type: ValueType, place: Place) -> Self {
        Self { kind: Kind::Variable(variable), value_type, place }
    }

    /// An operator on two operands.
    ///
    /// # Errors
    /// [`Code::DefinitionType`] where the operands do not fit it.
    pub fn operator(operator: Operator, left: Self, right: Self, place: Place) -> Result<Self, Fault> {
        use Operator as O;
        use ValueType as T;
        let name = operator.as_str();
        let (left_type, right_type) = (left.value_type, right.value_type);
        for operand in [&left, &right] {
            if operand.value_type == T::Document {
                return Err(mistyped(
                    operand.place,
                    format!("{name} cannot work on a whole document section (DOCVALUE)"),
                    "lead the variable's path to a number or a text, and give it NUMVALUE or STRVALUE; COUNT and EXISTS take sections",
                ));
            }
        }
        let value_type = match operator {
            O::And | O::Or => {
                for operand in [&left, &right] {
                    operand.check_condition(name)?;
                }
                T::Boolean
            }
            O::Equal | O::NotEqual | O::Plus if left_type != right_type => {
                return Err(mistyped(
                    place,
                    format!("{name} has a {left_type} on its left and a {right_type} on its right"),
                    "give both sides the same VALTYPE, or convert one with the function NUMBER or STRING",
                ));
            }
            O::Equal | O::NotEqual => T::Boolean,
            O::Plus if left_type == T::Text => T::Text,
            O::Greater
            | O::Less
            | O::GreaterOrEqual
            | O::LessOrEqual
            | O::Plus
            | O::Minus
            | O::Multiply
            | O::Divide => {
                for operand in [&left, &right] {
                    if operand.value_type != T::Number {
                        return Err(mistyped(
                            operand.place,
                            format!("{name} works on numbers, and this is a {}", operand.value_type),
                            "give it VALTYPE NUMVALUE, or convert it with the function NUMBER",
                        ));
                    }
                }
                if matches!(operator, O::Plus | O::Minus | O::Multiply | O::Divide) { T::Number } else { T::Boolean }
            }
        };
        Ok(Self { kind: Kind::Operator(operator, Box::new([left, right])), value_type, place })
    }

    /// One whose parts were found to fit.
    pub(super) fn of(kind: Kind, value_type: ValueType, place: Place) -> Self {
        Self { kind, value_type, place }
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Whether it can be a condition.
    ///
    /// # Errors
    /// [`Code::DefinitionType`] where it is neither true, false nor a number.
    pub fn check_condition(&self, whose: &str) -> Result<(), Fault> {
        if matches!(self.value_type, ValueType::Boolean | ValueType::Number) {
            return Ok(());
        }
        Err(mistyped(
            self.place,
            format!("{whose} needs a condition, and this is a {}", self.value_type),
            "compare it with something, for example with the operator EQUAL, or ask with the function EXISTS",
        ))
    }

    /// What it evaluates to.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        self.value_type
    }

    /// Where the definition has it.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Its value on these documents.
    ///
    /// # Errors
    /// [`Code::ExpressionFailed`], with the operation and the variable, where the documents do not have what it needs.
    pub fn evaluate(&self, documents: &impl Documents) -> Result<Value, Fault> {
        Evaluation::new(documents).value(self)
    }

    /// The fault that evaluating this expression met.
    pub(super) fn failed(&self, message: impl Into<String>) -> Fault {
        Fault::new(Code::ExpressionFailed, message).at(self.place)
    }
}

impl Value {
    /// The value as a condition: true, or a number other than zero.
    ///
    /// # Errors
    /// [`Code::ExpressionFailed`] for a text or a document; a checked definition has none there.
    pub fn truth(&self, expression: &Expression) -> Result<bool, Fault> {
        match self {
            Self::Boolean(truth) => Ok(*truth),
            Self::Number(number) => Ok(!number.is_zero()),
            Self::Text(_) | Self::Document(_) => {
                Err(expression.failed(format!("a {} is neither true nor false", self.value_type())))
            }
        }
    }
}

/// Why an expression has no value.
pub(super) enum Trouble {
    /// A variable is not there: an optional argument can do without.
    Missing(Fault),
    /// What is there cannot be used.
    Wrong(Fault),
}

impl Trouble {
    pub(super) fn into_fault(self) -> Fault {
        match self {
            Self::Missing(fault) | Self::Wrong(fault) => fault,
        }
    }
}

/// Evaluates expressions on the same documents and reads each document once.
pub struct Evaluation<'a, D> {
    documents: &'a D,
    trees: RefCell<BTreeMap<(usize, Side), Rc<Document>>>,
    /// How many bytes of values it may still make: a few elements of a definition can ask for very much of a large
    /// document.
    bytes_left: Cell<usize>,
    /// How much work functions of libraries may still do.
    fuel_left: Cell<u64>,
}

impl<'a, D: Documents> Evaluation<'a, D> {
    /// An evaluation on these documents.
    pub fn new(documents: &'a D) -> Self {
        let bytes_left = Cell::new(limit::EVALUATION_BYTES_MAX);
        let fuel_left = Cell::new(limit::EVALUATION_FUEL_MAX);
        Self { documents, trees: RefCell::new(BTreeMap::new()), bytes_left, fuel_left }
    }

    /// The value of an expression.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub fn value(&self, expression: &Expression) -> Result<Value, Fault> {
        self.evaluate(expression).map_err(Trouble::into_fault)
    }

    pub(super) fn evaluate(&self, expression: &Expression) -> Result<Value, Trouble> {
        let value = match &expression.kind {
            Kind::Value(value) => value.clone(),
            Kind::Variable(variable) => self.single(expression, variable)?,
            Kind::Operator(operator, operands) => self.operate(expression, *operator, operands)?,
            Kind::Function(function, arguments, prepared) => {
                self.call(expression, function, arguments, prepared.as_ref())?
            }
            Kind::Library { name, library, function, arguments } => {
                self.call_library(expression, (name, library, *function), arguments)?
            }
        };
        self.charge(expression, &value)?;
        Ok(value)
    }

    fn charge(&self, expression: &Expression, value: &Value) -> Result<(), Trouble> {
        let left = self.bytes_left.get().checked_sub(weight(value)).ok_or_else(|| {
            let most = limit::EVALUATION_BYTES_MAX >> 20;
            let fault = expression.failed(format!("its values are more than {most} MiB together"));
            Trouble::Wrong(fault.help("lead variables to the elements that are needed"))
        })?;
        self.bytes_left.set(left);
        Ok(())
    }

    /// Does work that takes from what libraries may still do.
    pub(super) fn with_fuel<T>(&self, work: impl FnOnce(&mut u64) -> T) -> T {
        let mut fuel = self.fuel_left.get();
        let done = work(&mut fuel);
        self.fuel_left.set(fuel);
        done
    }

    /// When the transaction was submitted.
    pub(super) fn submitted(&self) -> Moment {
        self.documents.submitted()
    }

    fn operate(
        &self,
        expression: &Expression,
        operator: Operator,
        [left, right]: &[Expression; 2],
    ) -> Result<Value, Trouble> {
        use Operator as O;
        let truth = |operand: &Expression| self.evaluate(operand)?.truth(operand).map_err(Trouble::Wrong);
        match operator {
            // The right side is not looked at where the left decides, so that EXISTS can guard it.
            O::And => return Ok(Value::Boolean(truth(left)? && truth(right)?)),
            O::Or => return Ok(Value::Boolean(truth(left)? || truth(right)?)),
            _ => {}
        }
        let wrong = |message: &str| Trouble::Wrong(expression.failed(message));
        match (self.evaluate(left)?, self.evaluate(right)?) {
            (Value::Number(left), Value::Number(right)) => {
                let overflow = || wrong(&format!("{} has a result of more than 28 digits", operator.as_str()));
                Ok(match operator {
                    O::Greater => Value::Boolean(left > right),
                    O::Less => Value::Boolean(left < right),
                    O::Equal => Value::Boolean(left == right),
                    O::NotEqual => Value::Boolean(left != right),
                    O::GreaterOrEqual => Value::Boolean(left >= right),
                    O::LessOrEqual => Value::Boolean(left <= right),
                    O::Plus => Value::Number(left.checked_add(right).ok_or_else(overflow)?),
                    O::Minus => Value::Number(left.checked_sub(right).ok_or_else(overflow)?),
                    O::Multiply => Value::Number(left.checked_mul(right).ok_or_else(overflow)?),
                    O::Divide if right.is_zero() => return Err(wrong("DIVIDE by zero")),
                    // How many zeros a quotient ends in is an accident of the division.
                    O::Divide => Value::Number(left.checked_div(right).ok_or_else(overflow)?.normalize()),
                    O::And | O::Or => return Err(wrong("AND and OR are decided above")),
                })
            }
            (Value::Text(left), Value::Text(right)) if operator == O::Plus => {
                join_texts([left, right].iter()).map(Value::Text).ok_or_else(|| wrong(TEXT_TOO_LONG))
            }
            (left, right) => match operator {
                O::Equal => Ok(Value::Boolean(left == right)),
                O::NotEqual => Ok(Value::Boolean(left != right)),
                _ => Err(wrong(&format!("{} cannot work on a {}", operator.as_str(), left.value_type()))),
            },
        }
    }

    /// The values of an argument that may be many: all that a variable leads to, at least one.
    pub(super) fn values(&self, expression: &Expression) -> Result<Vec<Value>, Trouble> {
        match &expression.kind {
            Kind::Variable(variable) => {
                let values = self.read(expression, variable, |found| {
                    texts_as(&found, expression.value_type).map_err(|message| unusable(expression, variable, &message))
                })?;
                values.iter().try_for_each(|value| self.charge(expression, value))?;
                Ok(values)
            }
            _ => Ok(vec![self.evaluate(expression)?]),
        }
    }

    fn single(&self, expression: &Expression, variable: &Variable) -> Result<Value, Trouble> {
        self.read(expression, variable, |found| {
            single(&found, expression.value_type).map_err(|message| unusable(expression, variable, &message))
        })
    }

    /// Reads what a variable leads to, at least one.
    fn read<T>(
        &self,
        expression: &Expression,
        variable: &Variable,
        take: impl FnOnce(Found<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let Some(tree) = self.tree(expression, variable.operation, variable.side)? else {
            return Err(Trouble::Missing(expression.failed(format!(
                "the variable '{}' is not there, because operation {} ({}) has no {} document",
                variable.path,
                variable.id,
                variable.name,
                variable.side.as_str()
            ))));
        };
        let found = variable.path.find(&tree.root);
        if found.count() == 0 {
            return Err(Trouble::Missing(expression.failed(format!(
                "the variable '{}' is not in {}",
                variable.path,
                variable.document_words()
            ))));
        }
        take(found)
    }

    /// The tree of a document, read once.
    pub(super) fn tree(
        &self,
        expression: &Expression,
        operation: usize,
        side: Side,
    ) -> Result<Option<Rc<Document>>, Trouble> {
        self.tree_of(operation, side).map_err(|fault| Trouble::Wrong(expression.failed(fault.to_string())))
    }

    pub(super) fn tree_of(&self, operation: usize, side: Side) -> Result<Option<Rc<Document>>, Fault> {
        if let Some(tree) = self.trees.borrow().get(&(operation, side)) {
            return Ok(Some(Rc::clone(tree)));
        }
        let Some(text) = self.documents.document(operation, side) else {
            return Ok(None);
        };
        let tree = Rc::new(text.tree()?);
        self.trees.borrow_mut().insert((operation, side), Rc::clone(&tree));
        Ok(Some(tree))
    }

    /// A document has become another one.
    pub(super) fn forget(&self, operation: usize, side: Side) {
        self.trees.borrow_mut().remove(&(operation, side));
        self.bytes_left.set(limit::EVALUATION_BYTES_MAX);
    }

    /// A document as it is.
    pub(super) fn text_of(&self, operation: usize, side: Side) -> Option<&'a Text> {
        self.documents.document(operation, side)
    }
}

const TEXT_TOO_LONG: &str = "the text would be longer than a document may be";

fn join_texts<'a>(texts: impl Iterator<Item = &'a String> + Clone) -> Option<String> {
    let length: usize = texts.clone().map(String::len).sum();
    (length <= limit::DOCUMENT_BYTES_MAX).then(|| texts.map(String::as_str).collect())
}

fn unusable(expression: &Expression, variable: &Variable, message: &str) -> Trouble {
    let message = format!("the variable '{}' in {}: {message}", variable.path, variable.document_words());
    Trouble::Wrong(expression.failed(message))
}

fn texts_as(found: &Found<'_>, value_type: ValueType) -> Result<Vec<Value>, String> {
    found.texts().iter().map(|text| Value::read(text, value_type)).collect()
}

/// The one value that was found.
pub(super) fn single(found: &Found<'_>, value_type: ValueType) -> Result<Value, String> {
    if value_type == ValueType::Document {
        return match found {
            Found::Elements(elements) => Ok(Value::Document(elements.iter().map(|&element| element.clone()).collect())),
            Found::Attributes(values) => {
                Err(format!("the attribute '{}' is no section", shown(values.first().unwrap_or(&""))))
            }
        };
    }
    match found.count() {
        1 => Ok(texts_as(found, value_type)?.remove(0)),
        count => Err(format!(
            "{count} values where one is needed; pick one with [1], or combine them with SUM, MIN, MAX or CONCAT"
        )),
    }
}
