//! The reading of what this project adds to the source's elements, and of what cannot stand together.
//!
//! The reader of operations calls it. What a retry, a compensation, an iteration or a signal does is the instance's matter.

use super::{Fields, Own, Reader, Scope, elements::own_text};
use crate::{
    code::Code,
    document::Element,
    ident::{DefinitionName, OperationName, ServiceName, SignalName},
    limit,
    transaction::{
        definition::{ANY, Compensation, HEAD, Iteration, Join, Retry, TAIL, Work},
        grammar::meant,
        path::shown,
    },
};
use std::collections::BTreeSet;

/// Two elements of one operation that exclude each other, and why.
const APART: &[(&str, &str, &str)] = &[
    ("hx:TRANSACTION", "hx:SIGNAL", "an operation runs a transaction or waits for a signal"),
    ("hx:TRANSACTION", "CXCNAME", "a transaction runs in its place, so no service performs it"),
    ("hx:TRANSACTION", "hx:PERFORMS", "a transaction runs in its place, so nobody signs up for it"),
    ("hx:TRANSACTION", "BROADCAST", "the transaction runs once and is not asked of many"),
    (
        "hx:TRANSACTION",
        "hx:ORGANIZATION",
        "the transaction runs at this node, and its own operations choose who performs",
    ),
    ("hx:SIGNAL", "CXCNAME", "it waits for a signal, so no service performs it"),
    ("hx:SIGNAL", "hx:PERFORMS", "it waits for a signal, so nobody signs up for it"),
    ("hx:SIGNAL", "BROADCAST", "it waits for one signal, and nobody is asked"),
    ("hx:SIGNAL", "hx:ORGANIZATION", "it waits for a signal, and nobody is asked"),
    ("hx:SIGNAL", "hx:RETRY", "a signal comes from outside and cannot be asked for again"),
    ("hx:SIGNAL", "hx:ITERATE", "it waits for one signal, not for one a line"),
    ("hx:SIGNAL", "hx:PRIORITY", "nobody is asked, so nothing is more urgent"),
    ("hx:SIGNAL", "JOIN", "nobody is asked, so there is no request to build"),
    ("hx:ITERATE", "BROADCAST", "an operation is performed for each line or by everybody, not both"),
    ("BROADCAST", "hx:ORGANIZATION", "it is both broadcast and bound to one organization"),
];

/// What head and tail cannot have, for nobody performs them.
const PERFORMED: &[&str] =
    &["hx:PERFORMS", "hx:TRANSACTION", "hx:SIGNAL", "hx:PRIORITY", "hx:RETRY", "hx:ITERATE", "hx:COMPENSATION"];

impl Reader<'_> {
    /// Notes which elements of an operation exclude each other.
    pub(super) fn combinations(&mut self, fields: &Fields<'_>, index: usize) {
        let name = self.names[index].clone();
        if [HEAD, TAIL].contains(&name.as_str()) {
            for element in PERFORMED.iter().filter_map(|element| fields.one(element)) {
                let element_name = format!("hx:{}", element.name.local);
                let message = format!("{name} cannot have <{element_name}>: nobody is asked to perform it");
                self.add(Code::DefinitionReserved, element.place, message, format!("remove the <{element_name}>"));
            }
            // Zero is none, here as everywhere.
            let timeout =
                fields.one("TIMEOUT").filter(|at| own_text(at).trim().parse().is_ok_and(|seconds: u32| seconds > 0));
            if let Some(timeout) = timeout {
                let message = format!("{name} cannot have <TIMEOUT>: it ends at once");
                let help = "remove it; the TIMEOUT of the TRANSACTION is over all operations";
                self.add(Code::DefinitionReserved, timeout.place, message, help);
            }
            return;
        }
        for (one, other, why) in APART {
            if let (Some(first), Some(second)) = (fields.one(one), fields.one(other)) {
                let message = format!("<{one}> and <{other}> cannot go together: {why}");
                let help = format!("keep <{one}> or <{other}>");
                self.add(Code::DefinitionCombination, first.place.max(second.place), message, help);
            }
        }
    }

    /// What an operation consists of.
    pub(super) fn work(&mut self, fields: &Fields<'_>) -> Work {
        if let Some(at) = fields.one("hx:TRANSACTION") {
            let name = self.parsed::<DefinitionName>(at);
            if name.is_some() && name == self.name {
                let message =
                    format!("{} runs itself, and so would never end", shown(&self.text(at).unwrap_or_default()));
                let help = "name another definition; hx:ITERATE repeats an operation";
                self.add(Code::DefinitionCycle, at.place, message, help);
            }
            if let Some(signal) = fields.one("hx:SIGNAL") {
                let _: Option<SignalName> = self.parsed(signal);
            }
            return name.map_or(Work::Service, Work::Transaction);
        }
        let signal = fields.one("hx:SIGNAL").and_then(|at| self.parsed(at));
        signal.map_or(Work::Service, Work::Signal)
    }

    /// What services sign up for to perform an operation.
    pub(super) fn performs(&mut self, fields: &Fields<'_>, index: usize) -> OperationName {
        let name = self.names[index].clone();
        fields.one("hx:PERFORMS").and_then(|at| self.performed(at)).unwrap_or(name)
    }

    /// A name that services sign up for.
    fn performed(&mut self, element: &Element) -> Option<OperationName> {
        let name: OperationName = self.parsed(element)?;
        if [HEAD, TAIL].contains(&name.as_str()) {
            let message = format!("nobody can perform {name}, whose name is reserved");
            self.add(Code::DefinitionReserved, element.place, message, "name an operation that services sign up for");
        }
        Some(name)
    }

    pub(super) fn priority(&mut self, element: &Element) -> Option<u8> {
        let priority = self.bounded(element, "the higher, the more urgent", 0..=limit::PRIORITY_MAX.into())?;
        u8::try_from(priority).ok()
    }

    /// When an operation with this TIMEOUT is asked for again.
    pub(super) fn retry(&mut self, element: &Element, timeout_ms: Option<u64>) -> Option<Retry> {
        const PAUSE_MS: u64 = 1_000;
        const PAUSE_MS_MAX: u64 = 60_000;
        const FACTOR_PERCENT: u64 = 200;
        let fields = self.fields(element, "hx:RETRY");
        let attempts = fields.one("hx:ATTEMPTS").and_then(|at| {
            self.bounded(at, "how often it is asked for in all, the first time included", 2..=limit::RETRY_ATTEMPTS_MAX)
        });
        let mut seconds = |name: &str, what: &str| {
            fields.one(name).and_then(|at| self.decimal(at, what, 1_000, 0..=limit::RETRY_PAUSE_MS_MAX))
        };
        let pause_ms = seconds("hx:PAUSE", "seconds before the second attempt").unwrap_or(PAUSE_MS);
        let pause_ms_max = seconds("hx:PAUSEMAX", "seconds of the longest pause");
        let attempt_timeout_ms = seconds("hx:ATTEMPTTIMEOUT", "seconds that one attempt may take").filter(|&ms| ms > 0);
        let factor = fields.one("hx:FACTOR").and_then(|at| {
            self.decimal(
                at,
                "what each pause is multiplied with to make the next",
                100,
                100..=limit::RETRY_FACTOR_PERCENT_MAX.into(),
            )
        });
        if let (Some(at), Some(longest)) = (fields.one("hx:PAUSEMAX"), pause_ms_max)
            && longest < pause_ms
        {
            let message = format!("<hx:PAUSEMAX> is shorter than the first pause of {} s", seconds_of(pause_ms));
            self.faults.invalid(at.place, message, "raise hx:PAUSEMAX, or lower hx:PAUSE");
        }
        if let (Some(at), Some(attempt), Some(all)) = (fields.one("hx:ATTEMPTTIMEOUT"), attempt_timeout_ms, timeout_ms)
            && attempt >= all
        {
            let message = format!(
                "<hx:ATTEMPTTIMEOUT> is never reached: the TIMEOUT of {} s over all attempts ends the operation before",
                seconds_of(all)
            );
            self.add(Code::DefinitionCombination, at.place, message, "lower hx:ATTEMPTTIMEOUT, or raise TIMEOUT");
        }
        let mut except = Vec::new();
        for at in fields.all("hx:EXCEPT") {
            let names: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
            let Some(text) = self.text(at) else { continue };
            match text.parse::<Code>() {
                Ok(code) if except.contains(&code) => {
                    let message = format!("<hx:EXCEPT> names {code} twice");
                    self.add(Code::DefinitionDuplicate, at.place, message, "remove one of them");
                }
                Ok(code) => except.push(code),
                Err(_) => {
                    let help = match meant(&text, names.iter().copied()) {
                        Some(meant) => format!("did you mean {meant}?"),
                        None => "write a code as messages have it, such as operation-failed".to_owned(),
                    };
                    self.faults.invalid(at.place, format!("'{}' is no error code", shown(&text)), help);
                }
            }
        }
        Some(Retry {
            attempts_max: attempts?,
            pause_ms,
            factor_percent: u32::try_from(factor.unwrap_or(FACTOR_PERCENT)).unwrap_or(limit::RETRY_FACTOR_PERCENT_MAX),
            pause_ms_max: pause_ms_max.unwrap_or(PAUSE_MS_MAX).max(pause_ms),
            attempt_timeout_ms,
            except,
        })
    }

    /// What undoes the operation with this index.
    pub(super) fn compensation(&mut self, element: &Element, index: usize) -> Option<Compensation> {
        let fields = self.fields(element, "hx:COMPENSATION");
        let performs = fields.one("NAME").and_then(|at| self.performed(at));
        let timeout_ms = fields.one("TIMEOUT").and_then(|timeout| self.timeout(timeout));
        let service = fields.one("CXCNAME").and_then(|name| self.service(name, index));
        let retry = fields.one("hx:RETRY").and_then(|retry| self.retry(retry, timeout_ms));
        let scope = Scope { operation: index, own: Own::Both };
        let join = fields.one("JOIN").map_or(Join::Default, |join| self.join(join, scope));
        Some(Compensation { performs: performs?, service, timeout_ms, retry, join, place: element.place })
    }

    /// The lines that the operation with this index is performed for.
    pub(super) fn iteration(&mut self, element: &Element, index: usize) -> Option<Iteration> {
        let fields = self.fields(element, "hx:ITERATE");
        let lines = fields.one("DOCUMENT").and_then(|at| {
            let mapping = self.mapping(at, Scope { operation: index, own: Own::Neither })?;
            let (message, help) = if mapping.path.is_whole() {
                (
                    "the lines are elements of a document, not the whole of it",
                    "lead OPDOCVARTYPE to them, as in OrderLine",
                )
            } else if mapping.path.is_attribute() {
                ("the lines are elements, and the path leads to an attribute", "end OPDOCVARTYPE before the attribute")
            } else {
                return Some(mapping);
            };
            self.faults.invalid(at.place, message, help);
            Some(mapping)
        });
        let lines_max = fields
            .one("hx:MAX")
            .and_then(|at| self.bounded(at, "more lines fail the operation", 1..=limit::ITERATION_LINES_MAX));
        let concurrent_max = fields.one("hx:CONCURRENT").and_then(|at| {
            let most = lines_max.unwrap_or(u32::MAX).min(limit::ITERATION_CONCURRENT_MAX);
            self.bounded(at, "how many lines are under way at once, at most hx:MAX", 1..=most)
        });
        Some(Iteration {
            lines: lines?,
            lines_max: lines_max?,
            concurrent_max: concurrent_max.unwrap_or(limit::ITERATION_CONCURRENT.min(lines_max?)),
            place: element.place,
        })
    }

    /// Notes which services a broadcast names although its operation is bound to another.
    pub(super) fn never_asked(&mut self, fields: &Fields<'_>, only: &ServiceName) {
        for at in fields.all("hx:SERVICE") {
            let named = own_text(at);
            let Ok(named) = named.trim().parse::<ServiceName>() else { continue };
            if named != *only && named.as_str() != ANY {
                let message = format!("<hx:SERVICE> {named} is never asked: <CXCNAME> says that {only} alone is");
                let help = "write ANY as CXCNAME, or remove the hx:SERVICE";
                self.add(Code::DefinitionCombination, at.place, message, help);
            }
        }
    }

    /// The services that a broadcast is limited to.
    pub(super) fn recipients(&mut self, fields: &Fields<'_>) -> Vec<ServiceName> {
        let (mut services, mut seen) = (Vec::new(), BTreeSet::new());
        for at in fields.all("hx:SERVICE") {
            let Some(service) = self.parsed::<ServiceName>(at) else { continue };
            if service.as_str() == ANY {
                let help = "name services, or leave out hx:SERVICE to ask everybody who signed up";
                self.faults.invalid(at.place, format!("<hx:SERVICE> cannot be {ANY}"), help);
            } else if !seen.insert(service.clone()) {
                let message = format!("<hx:SERVICE> names {service} twice");
                self.add(Code::DefinitionDuplicate, at.place, message, "remove one of them");
            } else {
                services.push(service);
            }
        }
        services
    }
}

/// Milliseconds as seconds, for messages.
fn seconds_of(milliseconds: u64) -> rust_decimal::Decimal {
    (rust_decimal::Decimal::from(milliseconds) / rust_decimal::Decimal::from(1_000)).normalize()
}
