//! What must hold for any definition and any order of events, against a model that is too simple to be wrong: who is
//! performed, how each operation ends, that it always ends, and that nothing is performed twice (T5, T7, T8, T11, T12).
//!
//! `Fed` compares replay and life after every step (DESIGN invariant 2). `HANSA_CASES` sets how many cases are tried.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What a recipient does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behaviour {
    Answers,
    Fails,
    Never,
}

/// One operation between head and tail.
#[derive(Clone, Debug)]
struct Plan {
    /// The operations that it links to; the tail is the last.
    links: BTreeSet<u32>,
    /// With a split: to which of them it goes.
    follows: Option<BTreeSet<u32>>,
    /// With a broadcast: how many answers it needs.
    broadcast: Option<Option<u32>>,
    /// What its recipients do, in turn.
    behaviours: Vec<Behaviour>,
}

#[derive(Clone, Debug)]
struct Case {
    /// Index 0 is the head.
    plans: Vec<Plan>,
    /// What happens, in turn: choices among what can happen.
    happenings: Vec<u32>,
}

impl Case {
    fn tail(&self) -> u32 {
        self.plans.len() as u32
    }

    fn timed(plan: &Plan) -> bool {
        plan.behaviours.contains(&Behaviour::Never)
    }

    fn definition(&self) -> Text {
        let tail = self.tail();
        let mut lines: Vec<String> = (0..)
            .zip(&self.plans)
            .map(|(id, plan)| {
                let name = if id == 0 { "CXtsHeadOp".to_owned() } else { format!("op{id}") };
                let links: Vec<_> = plan.links.iter().map(u32::to_string).collect();
                let mut rest = String::new();
                if Self::timed(plan) {
                    rest.push_str("<TIMEOUT>5</TIMEOUT>");
                }
                match plan.broadcast {
                    None => {}
                    Some(None) => rest.push_str("<BROADCAST/>"),
                    Some(Some(minimum)) => {
                        rest.push_str(&format!("<BROADCAST><RESPONSE><MIN>{minimum}</MIN></RESPONSE></BROADCAST>"));
                    }
                }
                if plan.follows.is_some() {
                    rest.push_str(&split(id, &plan.links.iter().copied().collect::<Vec<_>>()));
                }
                format!("{id} {name} > {} | {rest}", links.join(" "))
            })
            .collect();
        lines.push(format!("{tail} CXtsTailOp"));
        define("purchase", "", &lines.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Three services perform everything, so that a broadcast has three legs.
    fn offers(&self) -> Offers {
        let operations: Vec<_> = (1..self.tail()).map(|id| format!("op{id}")).collect();
        let operations: Vec<_> = operations.iter().map(String::as_str).collect();
        let services = ["north", "south", "west"].map(|name| service(name, &operations));
        Offers::new(organization(1), "Acme".parse().unwrap(), services, [])
    }

    fn outcome(&self, id: u32, leg: usize) -> Option<Outcome> {
        let plan = &self.plans[id as usize];
        match plan.behaviours[leg % plan.behaviours.len()] {
            Behaviour::Never => None,
            Behaviour::Fails => Some(failed()),
            Behaviour::Answers => {
                let elements: String = plan.follows.iter().flatten().map(|target| format!("<to{target}/>")).collect();
                Some(completed(&format!("<Answer>{elements}</Answer>")))
            }
        }
    }

    // The model: what becomes of an operation, said as a definition would be read aloud.

    fn is_reached(&self, id: u32) -> bool {
        id == 0 || (0..id).any(|before| self.leads(before, id))
    }

    fn leads(&self, from: u32, to: u32) -> bool {
        let plan = &self.plans[from as usize];
        plan.links.contains(&to)
            && self.is_reached(from)
            && plan
                .follows
                .as_ref()
                .is_none_or(|follows| self.ends(from) == OperationState::Completed && follows.contains(&to))
    }

    fn ends(&self, id: u32) -> OperationState {
        if !self.is_reached(id) {
            return OperationState::Eliminated;
        }
        if id == 0 {
            return OperationState::Completed;
        }
        let plan = &self.plans[id as usize];
        let legs = if plan.broadcast.is_some() { 3 } else { 1 };
        let count = |wanted| (0..legs).filter(|leg| plan.behaviours[leg % plan.behaviours.len()] == wanted).count();
        let (good, missing) = (count(Behaviour::Answers), count(Behaviour::Never));
        let enough = match plan.broadcast {
            None => good == 1,
            Some(None) => missing == 0 && good > 0,
            Some(Some(minimum)) => good >= minimum as usize,
        };
        match (enough, missing) {
            (true, _) => OperationState::Completed,
            (false, 0) => OperationState::Failed,
            (false, _) => OperationState::TimedOut,
        }
    }
}

fn plan(id: u32, tail: u32) -> impl Strategy<Value = Plan> {
    let links = proptest::collection::btree_set(id + 1..=tail, 1..4);
    let behaviour =
        prop_oneof![6 => Just(Behaviour::Answers), 1 => Just(Behaviour::Fails), 1 => Just(Behaviour::Never)];
    let behaviours = proptest::collection::vec(behaviour, 3);
    let kind = 0..if id == 0 { 2u32 } else { 5 };
    (links, behaviours, kind, 1..4u32, any::<u32>()).prop_map(move |(links, behaviours, kind, minimum, bits)| {
        let broadcast = match kind {
            3 => Some(None),
            4 => Some(Some(minimum)),
            _ => None,
        };
        let behaviours = if broadcast.is_some() { behaviours } else { behaviours[..1].to_vec() };
        let some = || (0..).zip(&links).filter(|(place, _)| bits >> place & 1 == 1).map(|(_, link)| *link).collect();
        // The head's document is the input, which has no such elements, so a split there would follow nothing.
        let follows = (kind == 1 && id > 0).then(some);
        Plan { links, follows, broadcast, behaviours }
    })
}

fn case() -> impl Strategy<Value = Case> {
    (2..9u32)
        .prop_flat_map(|tail| {
            let plans: Vec<_> = (0..tail).map(|id| plan(id, tail)).collect();
            (plans, proptest::collection::vec(any::<u32>(), 60))
        })
        .prop_map(|(mut plans, happenings)| {
            // Every operation must be reached from the head.
            for id in 1..plans.len() as u32 {
                if !plans[..id as usize].iter().any(|before| before.links.contains(&id)) {
                    let before = &mut plans[id as usize - 1];
                    before.links.insert(id);
                }
            }
            Case { plans, happenings }
        })
}

/// Run a case to its end; each happening chooses one of what can happen.
fn live(case: &Case) -> Fed<Instance> {
    let mut run = run(case.definition(), case.offers());
    let mut happenings = case.happenings.iter().copied();
    run.give(submit());
    let mut answered: Vec<(InvocationId, Outcome)> = Vec::new();
    let mut steps = 0;
    while !run.machine.is_ended() {
        steps += 1;
        assert!(steps < 1_000, "it goes on and on: {:?}", run.machine);
        let can: Vec<_> = run
            .open_legs()
            .into_iter()
            .filter_map(|(id, leg, invocation)| Some((invocation, case.outcome(id, leg)?)))
            .collect();
        let happening = happenings.next().unwrap_or(1);
        match happening % 8 {
            // A crash: any part of what was not yet durable is lost.
            0 => {
                let lost = (happening as usize >> 3) % 4;
                let durable = run.journal.len().saturating_sub(lost);
                run.restart_with(durable);
                if run.machine.begun.is_none() {
                    run.give(submit());
                }
            }
            2 => drop(run.restart()),
            // Whoever answered answers once more, or somebody answers what was never asked.
            4 => {
                let again = answered.get((happening as usize >> 3) % answered.len().max(1)).cloned();
                let (invocation, outcome) = again.unwrap_or((InvocationId(3), failed()));
                if !can.iter().any(|(open, _)| *open == invocation) {
                    let states: Vec<_> = run.begun().operations.values().map(|operation| operation.state).collect();
                    let _refused_or_late = run.try_give(run.answer_to(invocation, outcome));
                    let after: Vec<_> = run.begun().operations.values().map(|operation| operation.state).collect();
                    assert_eq!(states, after, "a second answer changes nothing");
                }
            }
            _ => match can.get((happening as usize >> 3) % can.len().max(1)) {
                Some((invocation, outcome)) => {
                    answered.push((*invocation, outcome.clone()));
                    run.give(run.answer_to(*invocation, outcome.clone()));
                }
                None => {
                    let wake = run.machine.wakes_at().expect("nothing can happen, and it waits for no time either");
                    run.pass(wake.since_ms(run.now));
                }
            },
        }
    }
    run
}

fn cases() -> u32 {
    std::env::var("HANSA_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_transaction_ends_as_the_model_says_and_performs_everything_once(case in case()) {
        let run = live(&case);
        let tail = case.tail();
        let reached = case.is_reached(tail);
        match run.machine.ending() {
            Some(Ending::Completed(_)) => prop_assert!(reached, "no link leads to the tail"),
            Some(Ending::Failed(_)) => prop_assert!(!reached, "a link leads to the tail"),
            other => prop_assert!(false, "it ended as {:?}", other),
        }
        for id in 0..tail {
            // Where the transaction failed, what lies apart from the way to the tail cannot exist: all ways lead there.
            prop_assert_eq!(run.state(id), Some(case.ends(id)), "operation {}", id);
        }

        let records = run.journal.iter().map(|bytes| ciborium::from_reader::<Record, _>(&bytes[..]).unwrap());
        let (mut requested, mut ended) = (BTreeMap::new(), BTreeMap::new());
        for record in records {
            match record {
                Record::Requested { operation, .. } => *requested.entry(operation).or_insert(0) += 1,
                Record::Ended { operation, .. } => *ended.entry(operation).or_insert(0) += 1,
                _ => {}
            }
        }
        prop_assert!(requested.values().chain(ended.values()).all(|times| *times == 1));
        for id in requested.keys() {
            prop_assert!(case.is_reached(*id), "operation {} was eliminated, and asked for", id);
        }
        // Nothing is left to wait for.
        let begun = run.begun();
        prop_assert!(begun.ready.is_empty() && begun.dead.is_empty() && begun.timers.is_empty());
        prop_assert!(run.machine.requesters.is_empty() && run.machine.wakes_at().is_none());
    }
}
