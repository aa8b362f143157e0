//! What must be so where a condition is true: for each thing that conditions look at, the values that it can have.
//!
//! `choices` asks, for the statements of SPLITs. Facts never say more than is certain: what is not understood, or would
//! cost too much to follow, is left open.

use crate::{
    document::Text,
    moment::Moment,
    transaction::{
        expression::{Documents, Expression, Kind, Operator, Side},
        value::{Value, ValueType},
    },
};
use rust_decimal::Decimal;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// How many things are followed at once; of more, the latest.
const KNOWN_MAX: usize = 64;
/// How many single values are told apart.
const VALUES_MAX: usize = 16;
/// Characters of what a thing is told from others by.
const SHAPE_MAX: usize = 2_048;

/// An end of an interval, and whether it belongs to it.
type End = Option<(Decimal, bool)>;

/// The values that something can have.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Range {
    /// Numbers between two ends, but for some.
    Numbers { low: End, high: End, except: BTreeSet<Decimal> },
    /// One of these texts.
    Only(BTreeSet<String>),
    /// Any text but these.
    Not(BTreeSet<String>),
}

impl Range {
    fn number(low: End, high: End) -> Self {
        Self::Numbers { low, high, except: BTreeSet::new() }
    }

    fn truth(truth: bool) -> Self {
        Self::Only([truth.to_string()].into())
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Numbers { low: Some((low, low_in)), high: Some((high, high_in)), except } => {
                low > high || low == high && (!(*low_in && *high_in) || except.contains(low))
            }
            Self::Only(values) => values.is_empty(),
            Self::Numbers { .. } | Self::Not(_) => false,
        }
    }

    /// What is in both.
    fn meet(&self, other: &Self) -> Self {
        match (self, other) {
            (
                Self::Numbers { low, high, except },
                Self::Numbers { low: other_low, high: other_high, except: other_except },
            ) => Self::Numbers {
                low: tighter(*low, *other_low, |one, other| one > other),
                high: tighter(*high, *other_high, |one, other| one < other),
                except: except.union(other_except).copied().take(VALUES_MAX).collect(),
            },
            (Self::Only(one), Self::Only(other)) => Self::Only(one.intersection(other).cloned().collect()),
            (Self::Only(only), Self::Not(not)) | (Self::Not(not), Self::Only(only)) => {
                Self::Only(only.difference(not).cloned().collect())
            }
            (Self::Not(one), Self::Not(other)) => Self::Not(one.union(other).take(VALUES_MAX).cloned().collect()),
            // One thing has one type.
            (one, _) => one.clone(),
        }
    }

    /// What is in one of them or between; `None` if that says nothing.
    fn hull(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (
                Self::Numbers { low, high, except },
                Self::Numbers { low: other_low, high: other_high, except: other_except },
            ) => {
                let low = wider(*low, *other_low, |one, other| one < other);
                let high = wider(*high, *other_high, |one, other| one > other);
                let except: BTreeSet<_> = except.intersection(other_except).copied().collect();
                (low.is_some() || high.is_some() || !except.is_empty()).then_some(Self::Numbers { low, high, except })
            }
            (Self::Only(one), Self::Only(other)) => {
                let both: BTreeSet<_> = one.union(other).cloned().collect();
                (both.len() <= VALUES_MAX).then_some(Self::Only(both))
            }
            (Self::Only(only), Self::Not(not)) | (Self::Not(not), Self::Only(only)) => {
                Some(Self::Not(not.difference(only).cloned().collect()))
            }
            (Self::Not(one), Self::Not(other)) => Some(Self::Not(one.intersection(other).cloned().collect())),
            _ => None,
        }
        .filter(|range| !matches!(range, Self::Not(not) if not.is_empty()))
    }

    /// In words, behind "is".
    pub(super) fn words(&self) -> String {
        let list = |values: &BTreeSet<String>| {
            values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(" or ")
        };
        match self {
            Self::Numbers { low: Some((low, true)), high: Some((high, true)), .. } if low == high => low.to_string(),
            Self::Numbers { low, high, except } => {
                let mut parts = Vec::new();
                if let Some((low, within)) = low {
                    parts.push(format!("{} {low}", if *within { "at least" } else { "more than" }));
                }
                if let Some((high, within)) = high {
                    parts.push(format!("{} {high}", if *within { "at most" } else { "less than" }));
                }
                parts.extend(except.iter().map(|number| format!("not {number}")));
                parts.join(" and ")
            }
            Self::Only(values)
                if values.len() == 1 && values.iter().all(|value| value == "true" || value == "false") =>
            {
                values.iter().next().cloned().unwrap_or_default()
            }
            Self::Only(values) => list(values),
            Self::Not(values) => format!("not {}", list(values)),
        }
    }
}

fn tighter(one: End, other: End, beyond: impl Fn(Decimal, Decimal) -> bool) -> End {
    match (one, other) {
        (Some((a, a_in)), Some((b, b_in))) if a == b => Some((a, a_in && b_in)),
        (Some(a), Some(b)) => Some(if beyond(a.0, b.0) { a } else { b }),
        (end, None) | (None, end) => end,
    }
}

fn wider(one: End, other: End, beyond: impl Fn(Decimal, Decimal) -> bool) -> End {
    match (one?, other?) {
        ((a, a_in), (b, b_in)) if a == b => Some((a, a_in || b_in)),
        (a, b) => Some(if beyond(a.0, b.0) { a } else { b }),
    }
}

/// What must be so.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// By the number of the thing that [`Things`] gave it.
    known: BTreeMap<usize, Range>,
    /// The thing for which no value is left, or the constant that is never true.
    pub(super) impossible: Option<Conflict>,
}

/// Why something can never be.
#[derive(Clone, Debug)]
pub(super) enum Conflict {
    /// A constant is not true.
    Constant,
    /// A thing cannot be both.
    Thing(usize, Range, Range),
}

impl Facts {
    fn add(&mut self, thing: usize, range: Range) {
        let met = match self.known.get(&thing) {
            None => range,
            Some(before) => {
                let met = before.meet(&range);
                if met.is_empty() && self.impossible.is_none() {
                    self.impossible = Some(Conflict::Thing(thing, before.clone(), range));
                }
                met
            }
        };
        self.known.insert(thing, met);
        while self.known.len() > KNOWN_MAX {
            self.known.pop_first();
        }
    }

    /// These facts and others.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.impossible = both.impossible.or_else(|| other.impossible.clone());
        for (thing, range) in &other.known {
            both.add(*thing, range.clone());
        }
        both
    }

    /// What is so if these or others are.
    pub(super) fn or(self, other: &Self) -> Self {
        if self.impossible.is_some() {
            return other.clone();
        }
        if other.impossible.is_some() {
            return self;
        }
        let both = self.known.into_iter().filter_map(|(thing, range)| {
            let hull = range.hull(other.known.get(&thing)?)?;
            Some((thing, hull))
        });
        Self { known: both.collect(), impossible: None }
    }

    /// The thing that these and others cannot agree on.
    pub(super) fn conflict(&self, other: &Self) -> Option<Conflict> {
        let few = if self.known.len() <= other.known.len() { self } else { other };
        few.known.keys().find_map(|thing| {
            let (mine, others) = (self.known.get(thing)?, other.known.get(thing)?);
            mine.meet(others).is_empty().then(|| Conflict::Thing(*thing, mine.clone(), others.clone()))
        })
    }
}

/// The things that conditions look at: variables, and whatever is computed from them.
#[derive(Default)]
pub(super) struct Things {
    numbers: BTreeMap<String, usize>,
    words: Vec<String>,
}

/// No transaction at all: what constants are evaluated on.
struct Nothing;

impl Documents for Nothing {
    fn document(&self, _: usize, _: Side) -> Option<&Text> {
        None
    }

    fn submitted(&self) -> Moment {
        Moment(0)
    }
}

impl Things {
    /// What a thing is called in messages.
    pub(super) fn words(&self, thing: usize) -> &str {
        self.words.get(thing).map_or("a condition", String::as_str)
    }

    fn of(&mut self, expressions: &[&Expression]) -> Option<usize> {
        let mut shape = String::new();
        for expression in expressions {
            write_shape(expression, &mut shape)?;
        }
        if let Some(&known) = self.numbers.get(&shape) {
            return Some(known);
        }
        let words = match (expressions[0].kind(), expressions) {
            (Kind::Variable(variable), [_]) => format!("'{}' in {}", variable.path, variable.document_words()),
            (_, [one]) => format!("what is computed in line {}", one.place().line),
            (_, [one, ..]) => format!("the difference that is computed in line {}", one.place().line),
            (_, []) => return None,
        };
        let number = self.words.len();
        self.numbers.insert(shape, number);
        self.words.push(words);
        Some(number)
    }

    /// What must be so where `expression` comes to `truth`.
    pub(super) fn assume(&mut self, expression: &Expression, truth: bool) -> Facts {
        use Operator as O;
        if let Some(value) = constant(expression) {
            let mut facts = Facts::default();
            if value.truth(expression).is_ok_and(|is| is != truth) {
                facts.impossible = Some(Conflict::Constant);
            }
            return facts;
        }
        match expression.kind() {
            Kind::Operator(operator @ (O::And | O::Or), operands) => {
                let [left, right] = operands.each_ref().map(|operand| self.assume(operand, truth));
                // Both must be so, or one of them.
                if (*operator == O::And) == truth { left.and(&right) } else { left.or(&right) }
            }
            Kind::Operator(operator, operands) => {
                let mut facts = Facts::default();
                if let Some((thing, range)) = self.compared(*operator, operands, truth) {
                    facts.add(thing, range);
                }
                facts
            }
            Kind::Function(function, arguments, _) if function.name == "NOT" && arguments.len() == 1 => {
                self.assume(&arguments[0], !truth)
            }
            _ => {
                let mut facts = Facts::default();
                if let Some(thing) = self.of(&[expression]) {
                    match expression.value_type() {
                        ValueType::Boolean => facts.add(thing, Range::truth(truth)),
                        ValueType::Number if truth => facts.add(thing, not_number(Decimal::ZERO)),
                        ValueType::Number => facts.add(thing, exactly(Decimal::ZERO)),
                        ValueType::Text | ValueType::Document => {}
                    }
                }
                facts
            }
        }
    }

    fn compared(&mut self, operator: Operator, [left, right]: &[Expression; 2], truth: bool) -> Option<(usize, Range)> {
        use Operator as O;
        let (mut operator, mut left, mut right) = (operator, left, right);
        if constant(left).is_some() {
            (left, right) = (right, left);
            operator = turned(operator);
        }
        let against = constant(right);
        match (left.value_type(), against) {
            (ValueType::Number, Some(Value::Number(number))) => {
                Some((self.of(&[left])?, numbers(operator, number, truth)?))
            }
            (ValueType::Number, None) => {
                // Two things that are compared always come in the same order, so that 'a > b' and 'b > a' meet.
                let (mut one, mut other) = (String::new(), String::new());
                write_shape(left, &mut one)?;
                write_shape(right, &mut other)?;
                if one > other {
                    (left, right) = (right, left);
                    operator = turned(operator);
                }
                Some((self.of(&[left, right])?, numbers(operator, Decimal::ZERO, truth)?))
            }
            (_, Some(value @ (Value::Text(_) | Value::Boolean(_)))) => {
                let same = match operator {
                    O::Equal => truth,
                    O::NotEqual => !truth,
                    _ => return None,
                };
                let thing = self.of(&[left])?;
                Some((
                    thing,
                    match value {
                        Value::Boolean(value) => Range::truth(value == same),
                        value if same => Range::Only([value.to_string()].into()),
                        value => Range::Not([value.to_string()].into()),
                    },
                ))
            }
            _ => None,
        }
    }
}

fn exactly(number: Decimal) -> Range {
    Range::number(Some((number, true)), Some((number, true)))
}

fn not_number(number: Decimal) -> Range {
    Range::Numbers { low: None, high: None, except: [number].into() }
}

/// The operator with its sides exchanged.
fn turned(operator: Operator) -> Operator {
    use Operator as O;
    match operator {
        O::Greater => O::Less,
        O::Less => O::Greater,
        O::GreaterOrEqual => O::LessOrEqual,
        O::LessOrEqual => O::GreaterOrEqual,
        same => same,
    }
}

/// The numbers that compare so with `number`.
fn numbers(operator: Operator, number: Decimal, truth: bool) -> Option<Range> {
    use Operator as O;
    Some(match (operator, truth) {
        (O::Greater, true) | (O::LessOrEqual, false) => Range::number(Some((number, false)), None),
        (O::GreaterOrEqual, true) | (O::Less, false) => Range::number(Some((number, true)), None),
        (O::Less, true) | (O::GreaterOrEqual, false) => Range::number(None, Some((number, false))),
        (O::LessOrEqual, true) | (O::Greater, false) => Range::number(None, Some((number, true))),
        (O::Equal, true) | (O::NotEqual, false) => exactly(number),
        (O::Equal, false) | (O::NotEqual, true) => not_number(number),
        _ => return None,
    })
}

/// The value of an expression without variables, if it has one.
fn constant(expression: &Expression) -> Option<Value> {
    fn is_constant(expression: &Expression) -> bool {
        match expression.kind() {
            Kind::Value(_) => true,
            Kind::Operator(_, operands) => operands.iter().all(is_constant),
            Kind::Function(function, arguments, _) => {
                !arguments.is_empty()
                    && !["XPATH", "TODAY", "NOW"].contains(&function.name)
                    && arguments.iter().all(is_constant)
            }
            // Nothing of a library runs while a definition is checked.
            Kind::Library { .. } | Kind::Variable(_) => false,
        }
    }
    is_constant(expression).then(|| expression.evaluate(&Nothing).ok()).flatten()
}

/// Writes what makes an expression equal to another. `None` for one that cannot be told from others.
fn write_shape(expression: &Expression, out: &mut String) -> Option<()> {
    match expression.kind() {
        Kind::Value(Value::Document(_)) => return None,
        Kind::Value(value) => {
            let text = value.to_string();
            let _ = write!(out, "{}:{}:{text}", value.value_type().as_str(), text.len());
        }
        Kind::Variable(variable) => {
            let (side, value_type) = (variable.side.as_str(), expression.value_type().as_str());
            let _ = write!(out, "{}/{side}/{value_type}/{}", variable.operation, variable.path);
        }
        Kind::Operator(operator, operands) => {
            let _ = write!(out, "({}", operator.as_str());
            for operand in operands.iter() {
                out.push(' ');
                write_shape(operand, out)?;
            }
            out.push(')');
        }
        // What its prefixes mean is not in its arguments.
        Kind::Function(function, ..) if function.name == "XPATH" => return None,
        Kind::Function(function, arguments, _) => {
            let _ = write!(out, "({}", function.name);
            for argument in arguments {
                out.push(' ');
                write_shape(argument, out)?;
            }
            out.push(')');
        }
        Kind::Library { name, function, arguments, .. } => {
            let _ = write!(out, "({name}:{function}");
            for argument in arguments {
                out.push(' ');
                write_shape(argument, out)?;
            }
            out.push(')');
        }
    }
    (out.len() <= SHAPE_MAX).then_some(())
}

/// The variables without which an expression has no value, each with where it stands.
pub(super) fn needed<'a>(expression: &'a Expression, found: &mut Vec<(usize, &'a Expression)>) {
    match expression.kind() {
        Kind::Variable(variable) => found.push((variable.operation, expression)),
        // The right side is not looked at where the left decides.
        Kind::Operator(Operator::And | Operator::Or, operands) => needed(&operands[0], found),
        Kind::Operator(_, operands) => operands.iter().for_each(|operand| needed(operand, found)),
        Kind::Function(function, arguments, _) if EVALUATING.contains(&function.name) => {
            arguments.iter().for_each(|argument| needed(argument, found));
        }
        Kind::Library { arguments, .. } => arguments.iter().for_each(|argument| needed(argument, found)),
        Kind::Function(..) | Kind::Value(_) => {}
    }
}

/// Functions that have no value without all their arguments.
const EVALUATING: &[&str] = &[
    "NOT", "SUM", "AVERAGE", "MIN", "MAX", "CONCAT", "NUMBER", "STRING", "UPPER", "LOWER", "TRIM", "LENGTH", "ROUND",
    "ABS",
];
