//! What must hold for any definition and any order of events, against a model that is too simple to be wrong: who is
//! performed, how each operation ends, that it always ends, that nothing is performed twice, and what is undone (T5, T7, T8,
//! T11, T12, T17). Operations may be transactions with others in them, which crash with it and come back.
//!
//! `Fed` compares replay and life after every step (DESIGN invariant 2), and at the end the rehearsal computes every record
//! anew. `HANSA_CASES` sets how many cases are tried.

mod family;

use super::*;
use crate::transaction::rehearsal::replay;
use family::Family;
use proptest::prelude::*;
use std::collections::BTreeSet;

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
    kind: Kind,
    /// How often each leg is tried.
    attempts: u32,
    /// Whether it can be undone, and whether that succeeds.
    undo: Option<bool>,
    /// What its legs do, in turn, and attempt after attempt.
    behaviours: Vec<Behaviour>,
    /// Who performs it.
    performer: PerformedBy,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum PerformedBy {
    Services,
    /// A transaction, in which there may be one more; whether what those did can be undone.
    Transactions {
        nested: bool,
        undone: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Plain,
    /// How many answers it needs.
    Broadcast(Option<u32>),
    /// Over so many lines, so many of them at once.
    Iteration {
        lines: u32,
        concurrent: u32,
    },
    /// Waits for a signal, which comes or does not.
    Signal(bool),
}

#[derive(Clone, Debug)]
struct Case {
    /// Index 0 is the head.
    plans: Vec<Plan>,
    /// What happens, in turn: choices among what can happen.
    happenings: Vec<u32>,
    /// Whether it may be cancelled on the way.
    cancels: bool,
}

impl Case {
    fn tail(&self) -> u32 {
        self.plans.len() as u32
    }

    /// Whether time alone ends it.
    fn timed(plan: &Plan) -> bool {
        plan.kind == Kind::Signal(false) || plan.attempts == 1 && plan.behaviours.contains(&Behaviour::Never)
    }

    fn definition(&self) -> Text {
        let tail = self.tail();
        let mut lines: Vec<String> = (0..)
            .zip(&self.plans)
            .map(|(id, plan)| {
                let name = if id == 0 { "CXtsHeadOp".to_owned() } else { format!("op{id}") };
                let links: Vec<_> = plan.links.iter().map(u32::to_string).collect();
                let mut rest = String::new();
                if id > 0 && Self::timed(plan) {
                    rest.push_str("<TIMEOUT>5</TIMEOUT>");
                }
                match plan.kind {
                    Kind::Plain => {}
                    Kind::Broadcast(None) => rest.push_str("<BROADCAST/>"),
                    Kind::Broadcast(Some(minimum)) => {
                        rest.push_str(&format!("<BROADCAST><RESPONSE><MIN>{minimum}</MIN></RESPONSE></BROADCAST>"));
                    }
                    Kind::Iteration { lines, concurrent } => rest.push_str(&format!(
                        "<hx:ITERATE><DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE>\
                         <OPDOCVARTYPE>Line{lines}</OPDOCVARTYPE></DOCUMENT><hx:MAX>9</hx:MAX>\
                         <hx:CONCURRENT>{concurrent}</hx:CONCURRENT></hx:ITERATE>"
                    )),
                    Kind::Signal(_) => rest.push_str(&format!("<hx:SIGNAL>signal{id}</hx:SIGNAL>")),
                }
                match plan.performer {
                    PerformedBy::Services => {}
                    PerformedBy::Transactions { nested: false, .. } => rest.push_str(&runs("inner")),
                    PerformedBy::Transactions { nested: true, .. } => rest.push_str(&runs("outer")),
                }
                if plan.attempts > 1 {
                    rest.push_str(&format!(
                        "<hx:RETRY><hx:ATTEMPTS>{}</hx:ATTEMPTS><hx:PAUSE>0.5</hx:PAUSE>\
                         <hx:ATTEMPTTIMEOUT>1</hx:ATTEMPTTIMEOUT></hx:RETRY>",
                        plan.attempts
                    ));
                }
                if plan.undo.is_some() {
                    rest.push_str(&format!("<hx:COMPENSATION><NAME>undo{id}</NAME></hx:COMPENSATION>"));
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

    /// The transactions that operations run: each prepares something, which can be undone, and then does what was asked.
    fn inner_definitions() -> [Text; 2] {
        let prepares = "1 prepare > 2 | <hx:COMPENSATION><NAME>unprepare</NAME></hx:COMPENSATION>";
        let answers =
            "3 CXtsTailOp | <JOIN><DOCUMENT><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>";
        let works = format!("2 inside > 3 | {}", runs("inner"));
        [
            define("inner", "<SAVE>NO</SAVE>", &["0 CXtsHeadOp > 1", prepares, "2 work > 3", answers]),
            define("outer", "", &["0 CXtsHeadOp > 1", prepares, &works, answers]),
        ]
    }

    /// An input with one to four lines of each name.
    fn input() -> Input {
        let lines: String = (1..=4).map(|lines| format!("<Line{lines}/>").repeat(lines)).collect();
        submit_as(1, "purchase", &format!("<Order>{lines}</Order>"))
    }

    /// Three services perform everything, so that a broadcast has three legs.
    fn offers(&self) -> Offers {
        let operations: Vec<_> = (1..self.tail()).flat_map(|id| [format!("op{id}"), format!("undo{id}")]).collect();
        let inner = ["prepare", "unprepare", "work"];
        let operations: Vec<_> = operations.iter().map(String::as_str).chain(inner).collect();
        let services = ["north", "south", "west"].map(|name| service(name, &operations));
        Offers::new(organization(1), "Acme".parse().unwrap(), services, [])
    }

    fn answer(plan: &Plan) -> Text {
        let elements: String = plan.follows.iter().flatten().map(|target| format!("<to{target}/>")).collect();
        text(&format!("<Answer>{elements}</Answer>"))
    }

    /// What comes of an attempt, counted from one.
    fn outcome(&self, id: u32, leg: u32, attempt: u32) -> Option<Outcome> {
        let plan = &self.plans[id as usize];
        if leg == COMPENSATION {
            return Some(if plan.undo == Some(true) { completed("<Undone/>") } else { failed() });
        }
        match plan.behaviour(leg, attempt) {
            Behaviour::Never => None,
            Behaviour::Fails => Some(failed()),
            Behaviour::Answers => Some(Outcome::Completed(Self::answer(plan))),
        }
    }

    /// What comes of an operation of a transaction that an operation of this one runs.
    fn outcome_inside(&self, errand: (u32, u32, u32), id: u32, leg: u32) -> Option<Outcome> {
        let (operation, of_leg, attempt) = errand;
        let undone = matches!(self.plans[operation as usize].performer, PerformedBy::Transactions { undone: true, .. });
        match (id, leg) {
            (_, COMPENSATION) => Some(if undone { completed("<Unprepared/>") } else { failed() }),
            (1, _) => Some(completed("<Prepared/>")),
            _ => self.outcome(operation, of_leg, attempt),
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
        let legs = match plan.kind {
            Kind::Plain => 1,
            Kind::Broadcast(_) => 3,
            Kind::Iteration { lines, .. } => plan.begun(lines),
            Kind::Signal(true) => return OperationState::Completed,
            Kind::Signal(false) => return OperationState::TimedOut,
        };
        let count = |wanted| (0..legs).filter(|leg| plan.comes_to(*leg) == wanted).count() as u32;
        let (good, bad, missing) = (count(Behaviour::Answers), count(Behaviour::Fails), count(Behaviour::Never));
        // With attempts that run out of time, a leg that never answers has ended.
        let open = if plan.attempts > 1 { 0 } else { missing };
        let enough = match plan.kind {
            Kind::Broadcast(None) => open == 0 && good > 0,
            Kind::Broadcast(Some(minimum)) => good >= minimum,
            _ => good == legs,
        };
        match plan.kind {
            _ if enough => OperationState::Completed,
            Kind::Plain if missing > 0 => OperationState::TimedOut,
            Kind::Plain => OperationState::Failed,
            Kind::Iteration { .. } if bad > 0 => OperationState::Failed,
            _ if open > 0 => OperationState::TimedOut,
            _ => OperationState::Failed,
        }
    }
}

/// An operation that is a transaction itself.
fn runs(name: &str) -> String {
    format!("<hx:TRANSACTION>{name}</hx:TRANSACTION>")
}

impl Plan {
    /// How many of so many lines are begun: those that never end hold up others.
    fn begun(&self, lines: u32) -> u32 {
        let Kind::Iteration { concurrent, .. } = self.kind else { return lines };
        if self.attempts > 1 {
            return lines;
        }
        let mut free = concurrent;
        (0..lines)
            .take_while(|line| {
                let is_begun = free > 0;
                free -= u32::from(is_begun && self.behaviour(*line, 1) == Behaviour::Never);
                is_begun
            })
            .count() as u32
    }

    fn behaviour(&self, leg: u32, attempt: u32) -> Behaviour {
        self.behaviours[(leg + attempt - 1) as usize % self.behaviours.len()]
    }

    /// What comes of a leg after all its attempts.
    fn comes_to(&self, leg: u32) -> Behaviour {
        let mut all = (1..=self.attempts).map(|attempt| self.behaviour(leg, attempt));
        all.clone().find(|it| *it == Behaviour::Answers).or(all.next_back()).expect("there is one attempt at least")
    }
}

fn plan(id: u32, tail: u32) -> impl Strategy<Value = Plan> {
    let links = proptest::collection::btree_set(id + 1..=tail, 1..4);
    let behaviour =
        prop_oneof![6 => Just(Behaviour::Answers), 1 => Just(Behaviour::Fails), 1 => Just(Behaviour::Never)];
    let behaviours = proptest::collection::vec(behaviour, 3);
    let kind = 0..if id == 0 { 2u32 } else { 8 };
    let undo = proptest::option::weighted(0.5, proptest::bool::weighted(0.8));
    let rest = (kind, 1..4u32, any::<u32>(), 1..4u32, undo);
    (links, behaviours, rest).prop_map(move |(links, behaviours, (kind, number, bits, attempts, undo))| {
        let kind_of = match kind {
            3 => Kind::Broadcast(None),
            4 => Kind::Broadcast(Some(number)),
            5 => Kind::Iteration { lines: number, concurrent: 1 + (bits >> 26) % 3 },
            6 => Kind::Signal(bits >> 30 > 0),
            _ => Kind::Plain,
        };
        let some = || (0..).zip(&links).filter(|(place, _)| bits >> place & 1 == 1).map(|(_, link)| *link).collect();
        // The head's document is the input, which has no such elements, so a split there would follow nothing.
        let follows = (kind == 1 && id > 0).then(some);
        let is_signal = matches!(kind_of, Kind::Signal(_));
        let undo = undo.filter(|_| id > 0 && !is_signal);
        let attempts = if id == 0 || is_signal { 1 } else { attempts };
        let can_be_inner = id > 0 && matches!(kind_of, Kind::Plain | Kind::Iteration { .. });
        let performer = match bits >> 20 & 7 {
            which @ 0..3 if can_be_inner => {
                PerformedBy::Transactions { nested: which == 0, undone: bits >> 23 & 7 > 0 }
            }
            _ => PerformedBy::Services,
        };
        Plan { links, follows, kind: kind_of, attempts, undo, behaviours, performer }
    })
}

fn case() -> impl Strategy<Value = Case> {
    (2..9u32)
        .prop_flat_map(|tail| {
            let plans: Vec<_> = (0..tail).map(|id| plan(id, tail)).collect();
            (plans, proptest::collection::vec(any::<u32>(), 60), proptest::bool::weighted(0.15))
        })
        .prop_map(|(mut plans, happenings, cancels)| {
            // Every operation must be reached from the head.
            for id in 1..plans.len() as u32 {
                if !plans[..id as usize].iter().any(|before| before.links.contains(&id)) {
                    let before = &mut plans[id as usize - 1];
                    before.links.insert(id);
                }
            }
            Case { plans, happenings, cancels }
        })
}

/// What can happen next.
enum Can {
    Answer(TransactionId, InvocationId, Outcome),
    Signal(u32),
    Arrive(usize),
}

fn can_happen(family: &Family, case: &Case) -> Vec<Can> {
    let mut can: Vec<_> = family.arrivals().into_iter().map(Can::Arrive).collect();
    for (id, run) in family.members() {
        let definition = run.definition();
        for (index, operation) in &run.begun().operations {
            let opid = definition.operations[*index as usize].id;
            let undoing = operation.compensation.iter().map(|undoing| (COMPENSATION, &undoing.leg));
            let legs = (0..).zip(&operation.legs).chain(undoing).filter(|(_, leg)| leg.is_open);
            can.extend(legs.filter_map(|(number, leg)| {
                let outcome = match (id, &leg.performer) {
                    // It answers by itself.
                    (_, Some(Performer::Transaction(_))) => None,
                    (ID, _) => case.outcome(opid, number, leg.attempt),
                    (inner, _) => case.outcome_inside(family.errand(inner), opid, number),
                };
                Some(Can::Answer(id, leg.invocation?, outcome?))
            }));
        }
    }
    let begun = family.head().begun();
    let comes = (0..).zip(&case.plans).filter(|(_, plan)| plan.kind == Kind::Signal(true)).map(|(id, _)| id);
    if begun.compensating.is_none() && begun.ended.is_none() {
        can.extend(comes.filter(|id| !begun.signals.contains_key(&signal(*id))).map(Can::Signal));
    }
    can
}

fn signal(id: u32) -> SignalName {
    format!("signal{id}").parse().unwrap()
}

/// Run a case to its end; each happening chooses one of what can happen.
fn live(case: &Case) -> Family {
    let mut texts = vec![case.definition()];
    texts.extend(Case::inner_definitions());
    let mut family = Family::new(Around { definitions: definitions(&texts), offers: case.offers(), lived: None });
    let mut happenings = case.happenings.iter().copied();
    family.give(ID, Case::input()).unwrap();
    let mut answered: Vec<(TransactionId, InvocationId, Outcome)> = Vec::new();
    let mut steps = 0;
    while !family.is_done() {
        steps += 1;
        assert!(steps < 20_000, "it goes on and on: {:?}", family.head().machine);
        let mut can = can_happen(&family, case);
        let happening = happenings.next().unwrap_or(15);
        let choice = happening as usize >> 4;
        match happening % 16 {
            // A crash: any part of what was not yet durable is lost.
            0 | 1 => {
                family.crash(choice % 6);
                if family.head().machine.begun.is_none() {
                    family.give(ID, Case::input()).unwrap();
                }
            }
            2 | 3 => family.restart(),
            // Whoever answered answers once more, or somebody answers what was never asked.
            4 | 5 => {
                let again = answered.get(choice % answered.len().max(1)).cloned();
                let (id, invocation, outcome) = again.unwrap_or((ID, InvocationId(3), failed()));
                let run = family.get(id).filter(|run| run.machine.begun.is_some());
                if let Some(run) = run.filter(|run| run.begun().waiting_for(invocation).is_none()) {
                    let states = states(run);
                    let _refused_or_late = family.give(id, run.answer_to(invocation, outcome));
                    assert_eq!(states, self::states(family.get(id).unwrap()), "a second answer changes nothing");
                }
            }
            6 if case.cancels => drop(family.give(ID, Input::Cancel { asker: asker(1, 9) })),
            // A signal that came comes once more, the same or another, or one comes that nobody waits for.
            7 => {
                let run = family.head();
                let came = run.begun().signals.iter().next();
                let (name, document) = match came {
                    Some((name, (_, document))) if choice.is_multiple_of(2) => (name.clone(), document.clone()),
                    Some((name, _)) => (name.clone(), text("<Other/>")),
                    None => ("stranger".parse().unwrap(), text("<Other/>")),
                };
                let before = (states(run), run.begun().signals.clone());
                let _repeated_or_refused =
                    family.give(ID, Input::Signal { asker: asker(2, 0), signal: name, document });
                let run = family.head();
                assert_eq!(before, (states(run), run.begun().signals.clone()), "a signal counts once");
            }
            _ if can.is_empty() => family.pass(),
            _ => match can.swap_remove(choice % can.len()) {
                Can::Answer(id, invocation, outcome) => {
                    answered.push((id, invocation, outcome.clone()));
                    let input = family.get(id).expect("it is there").answer_to(invocation, outcome);
                    family.give(id, input).unwrap();
                }
                Can::Signal(id) => {
                    let document = Case::answer(&case.plans[id as usize]);
                    let input = Input::Signal { asker: asker(2, u64::from(id)), signal: signal(id), document };
                    family.give(ID, input).unwrap();
                }
                Can::Arrive(place) => family.arrive(place),
            },
        }
    }
    family
}

fn states(run: &Fed<Instance>) -> Vec<OperationState> {
    run.begun().operations.values().map(|operation| operation.state).collect()
}

fn cases() -> u32 {
    // A slip in it would run a fraction of what was meant, and say that all is well.
    let read = |cases: String| cases.parse().unwrap_or_else(|_| panic!("HANSA_CASES is '{cases}', and no number"));
    std::env::var("HANSA_CASES").map_or(256, read)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_transaction_ends_as_the_model_says_and_performs_everything_once(case in case()) {
        let family = live(&case);
        family.members().for_each(|(_, member)| glances::agree(member, 1 + case.plans.len() % 3));
        let run = family.head();
        let tail = case.tail();
        let reached = case.is_reached(tail);
        let was_cancelled = match run.machine.ending() {
            Some(Ending::Completed(_)) => {
                prop_assert!(reached, "no link leads to the tail");
                false
            }
            Some(Ending::Cancelled) => true,
            Some(Ending::Failed(fault)) if fault.code == Code::CompensationFailed => {
                prop_assert!(!undone_whole(run));
                true
            }
            Some(Ending::Failed(fault)) => {
                prop_assert!(!reached, "a link leads to the tail");
                let told = fault.help.as_ref().is_some_and(|help| help.contains("not undone"));
                prop_assert!(told || undone_whole(run));
                // What a transaction in it could not undo is told as well, if that is why it failed.
                prop_assert!(!told || family.members().any(|(_, member)| !undone_whole(member)));
                false
            }
            other => return Err(TestCaseError::fail(format!("it ended as {other:?}"))),
        };
        prop_assert!(!was_cancelled || case.cancels);
        for id in 0..tail {
            // Where the transaction failed, what lies apart from the way to the tail cannot exist: all ways lead there.
            if !was_cancelled {
                prop_assert_eq!(run.state(id), Some(case.ends(id)), "operation {}", id);
            }
        }

        let can_undo = |id: &u32| case.plans.get(*id as usize).is_some_and(|plan| plan.undo.is_some());
        let asked = performed_once(run, can_undo)?;
        for (operation, leg, attempt) in asked {
            prop_assert!(case.is_reached(operation), "eliminated, and asked for");
            prop_assert!(leg == COMPENSATION || attempt <= case.plans[operation as usize].attempts);
        }
        for (id, inner) in family.members().filter(|(id, _)| *id != ID) {
            let (operation, leg, attempt) = family.errand(id);
            let plan = &case.plans[operation as usize];
            prop_assert!(plan.performer != PerformedBy::Services);
            // It does what it was asked for, or is called off.
            let behaviour = plan.behaviour(leg, attempt);
            match inner.machine.ending() {
                Some(Ending::Completed(_)) => prop_assert_eq!(behaviour, Behaviour::Answers),
                Some(Ending::Failed(_)) => prop_assert!(was_cancelled || behaviour != Behaviour::Answers || !undone_whole(inner)),
                Some(Ending::Cancelled) => {}
                other => return Err(TestCaseError::fail(format!("a transaction in it ended as {other:?}"))),
            }
            performed_once(inner, |id| *id == 1)?;
        }
    }
}

fn undone_whole(run: &Fed<Instance>) -> bool {
    let mut undoings = run.begun().operations.values().filter_map(|operation| operation.compensation.as_ref());
    undoings.all(|undoing| matches!(undoing.leg.outcome, Some(Outcome::Completed(_))))
}

/// Nothing was asked for twice, exactly what was done is undone if the transaction did not complete, nothing is left to
/// wait for, and the records are what follows from what came from outside. Says the operations, legs and attempts.
fn performed_once(
    run: &Fed<Instance>,
    can_undo: impl Fn(&u32) -> bool,
) -> Result<BTreeSet<(u32, u32, u32)>, TestCaseError> {
    let records = run.journal.iter().map(|bytes| ciborium::from_reader::<Record, _>(&bytes[..]).unwrap());
    let records: Vec<Record> = records.collect();
    let (mut attempts, mut ended, mut completed) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let (mut to_undo, mut undone) = (None, Vec::new());
    for record in &records {
        match record {
            Record::Requested { operation, asked, .. } => {
                for asked in asked {
                    prop_assert!(attempts.insert((*operation, asked.leg, asked.attempt)), "performed twice");
                    undone.extend((asked.leg == COMPENSATION).then_some(*operation));
                }
            }
            Record::Ended { operation, state, .. } => {
                prop_assert!(ended.insert(*operation), "it ended twice");
                completed.extend((*state == OperationState::Completed).then_some(*operation));
            }
            Record::CompensationBegan { operations, .. } => to_undo = Some(operations.clone()),
            _ => {}
        }
    }
    // Exactly what was done and can be undone is undone, in reverse, where the transaction did not complete.
    let mut expected: Vec<u32> = completed.into_iter().rev().filter(can_undo).collect();
    if matches!(run.machine.ending(), Some(Ending::Completed(_))) {
        expected.clear();
    }
    prop_assert_eq!(to_undo.unwrap_or_default(), &expected[..]);
    prop_assert_eq!(undone, expected);
    // Nothing is left to wait for.
    let begun = run.begun();
    prop_assert!(begun.ready.is_empty() && begun.dead.is_empty() && begun.timers.is_empty());
    prop_assert!(begun.asking.is_empty() && begun.signalled.is_empty());
    prop_assert!(run.machine.requesters.is_empty() && run.machine.wakes_at().is_none());
    prop_assert!(begun.operations.values().all(|operation| operation.legs.iter().all(|leg| !leg.is_open)));

    // Computed anew from what came from outside, it is the same.
    let replayed = replay(run.machine.id, &run.around, &records);
    prop_assert!(replayed.is_ok(), "{}", replayed.unwrap_err());
    prop_assert!(replayed.is_ok_and(|replayed| replayed.instance.is_same_as(&run.machine)));
    Ok(attempts)
}
