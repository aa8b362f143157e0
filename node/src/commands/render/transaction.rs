//! How transactions look as text: lists, the graph of one, its history. Pure functions from data to text.

use super::{count, duration, indented, table};
use crate::admin::protocol::*;
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

/// `hansa transaction list`.
pub fn transactions(transactions: &[TransactionEntry]) -> String {
    if transactions.is_empty() {
        return "There is no such transaction.\n".into();
    }
    let rows = transactions.iter().map(|transaction| {
        vec![
            transaction.id.to_string(),
            transaction.definition.to_string(),
            format!("{} {}", transaction_mark(transaction.state), transaction.state),
            format!("{}/{}", transaction.operations_ended, transaction.operations),
            transaction.submitted.to_string(),
            duration(transaction.duration_ms),
            transaction.requester.clone().unwrap_or_default(),
        ]
    });
    table(&["TRANSACTION", "DEFINITION", "STATE", "DONE", "SUBMITTED", "TOOK", "BY"], rows)
}

const fn transaction_mark(state: TransactionState) -> &'static str {
    match state {
        TransactionState::Running => "▶",
        TransactionState::Compensating => "◀",
        TransactionState::Completed => "✔",
        TransactionState::Failed | TransactionState::TimedOut => "✘",
        TransactionState::Cancelled => "⊘",
    }
}

const fn operation_mark(state: OperationState) -> &'static str {
    match state {
        OperationState::Waiting => "·",
        OperationState::Running => "▶",
        OperationState::Completed => "✔",
        OperationState::Failed | OperationState::TimedOut => "✘",
        OperationState::Cancelled => "⊘",
        OperationState::Eliminated => "–",
    }
}

/// `hansa transaction show`.
pub fn show(show: &Show) -> String {
    let mut text = format!("{} {} {}\n", transaction_mark(show.state), show.definition, show.id);
    let by = show.requester.as_ref().map(|requester| format!(" by {requester}")).unwrap_or_default();
    let took = duration(show.duration_ms);
    let mut rows = vec![
        vec![
            "state".to_owned(),
            match show.ending {
                Some(ending) => format!("{}: it will be {ending} when all is undone", show.state),
                None => show.state.to_string(),
            },
        ],
        vec!["version".to_owned(), show.hash.short()],
        vec!["submitted".to_owned(), format!("{}{by}", show.submitted)],
        match show.ended {
            Some(ended) => vec!["ended".to_owned(), format!("{ended}, after {took}")],
            None => vec!["running".to_owned(), format!("for {took}")],
        },
    ];
    rows.extend(show.deadline.filter(|_| show.ended.is_none()).map(|at| vec!["times out".to_owned(), at.to_string()]));
    rows.extend(show.parent.map(|parent| vec!["belongs to".to_owned(), parent.to_string()]));
    let ended = show.operations.iter().filter(|operation| operation.state.is_ended()).count();
    rows.push(vec!["operations".to_owned(), format!("{ended} of {} have ended", show.operations.len())]);
    if let Some(fault) = &show.fault {
        rows.push(vec!["fault".to_owned(), fault.to_string()]);
        rows.push(vec![String::new(), format!("→ {}", fault.advice())]);
    }
    text.push_str(&indented(&table(&[], rows)));
    let _ = write!(text, "\n{}", graph(&show.operations));
    for signal in &show.signals {
        let _ = writeln!(text, "\n  ⚑ signal {} came at {}", signal.name, signal.at);
    }
    for refused in &show.refused {
        let operation = refused.operation.map(|id| format!(" to operation {id}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "\n  ! {}: {} answered '{}'{operation}, which was refused: {}",
            refused.at, refused.from, refused.outcome, refused.why
        );
    }
    document(&mut text, "Input", show.input.as_ref());
    for one in &show.operations {
        let name = |part: &str| format!("{} {}: {part}", one.id, one.name);
        document(&mut text, &name("in"), one.input.as_ref());
        for (place, leg) in (1..).zip(&one.performers) {
            document(
                &mut text,
                &name(&format!("{} {place} in", if one.iteration { "line" } else { "recipient" })),
                leg.input.as_ref(),
            );
            document(
                &mut text,
                &name(&format!("{} {place} out", if one.iteration { "line" } else { "recipient" })),
                leg.output.as_ref(),
            );
        }
        document(&mut text, &name("out"), one.output.as_ref());
        if let Some(undone) = one.compensation.as_ref().and_then(|it| it.performer.as_ref()) {
            document(&mut text, &name("undone with"), undone.input.as_ref());
            document(&mut text, &name("undone"), undone.output.as_ref());
        }
    }
    document(&mut text, "Output", show.output.as_ref());
    if show.documents_left_out > 0 {
        let left_out = count(u64::from(show.documents_left_out), "document");
        let _ = writeln!(
            text,
            "\n{left_out} of operations left out: `hansa transaction history {} --json` has them.",
            show.id
        );
    }
    text
}

fn document(text: &mut String, name: &str, document: Option<&String>) {
    if let Some(document) = document {
        let _ = write!(text, "\n{name}\n{}", indented(document));
    }
}

/// The operations in layers: each stands below all that link to it, and names those that it links to.
fn graph(operations: &[Operation]) -> String {
    let layers = layers(operations);
    let mut lines = Vec::new();
    let mut breaks = Vec::new();
    for layer in layers.values() {
        if !lines.is_empty() {
            breaks.push(lines.len());
        }
        for &place in layer {
            operation(&operations[place], &mut lines);
        }
    }
    let text = table(&[], lines);
    let mut drawn = String::new();
    for (number, line) in text.lines().enumerate() {
        if breaks.contains(&number) {
            drawn.push_str("  │\n");
        }
        let _ = writeln!(drawn, "  {line}");
    }
    drawn
}

/// Places of operations by their distance from the head, the longest way.
fn layers(operations: &[Operation]) -> BTreeMap<usize, Vec<usize>> {
    let by_id: HashMap<u32, usize> = operations.iter().enumerate().map(|(place, one)| (one.id, place)).collect();
    let targets = |place: usize| operations[place].links.iter().filter_map(|id| by_id.get(id).copied());
    let mut before = vec![0usize; operations.len()];
    (0..operations.len()).flat_map(targets).for_each(|target| before[target] += 1);
    let mut depth = vec![0usize; operations.len()];
    let mut ready: Vec<usize> = (0..operations.len()).filter(|&place| before[place] == 0).collect();
    while let Some(place) = ready.pop() {
        for target in targets(place) {
            depth[target] = depth[target].max(depth[place] + 1);
            before[target] -= 1;
            if before[target] == 0 {
                ready.push(target);
            }
        }
    }
    let mut layers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, depth) in depth.into_iter().enumerate() {
        layers.entry(depth).or_default().push(place);
    }
    layers
}

fn operation(operation: &Operation, lines: &mut Vec<Vec<String>>) {
    let links = operation.links.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    lines.push(vec![
        format!("{} {} {}", operation_mark(operation.state), operation.id, operation.name),
        format!("{}{}", operation.state.word(), attempt(operation.attempt, operation.attempts_max)),
        operation.duration_ms.map(duration).unwrap_or_default(),
        who(operation),
        if links.is_empty() { String::new() } else { format!("→ {links}") },
    ]);
    let performers = &operation.performers;
    if performers.len() > 1 || operation.iteration {
        let shown = performers.len().min(PERFORMERS_SHOWN);
        for (place, one) in performers.iter().take(shown).enumerate() {
            let branch = if place + 1 == performers.len() { "└" } else { "├" };
            let mut line = leg(one);
            line[0] = format!("  {branch} {}", line[0]);
            lines.push(line);
        }
        if shown < performers.len() {
            lines.push(vec![format!("  └ … and {} more; --json has them all", performers.len() - shown)]);
        }
    } else if let Some(at) = performers.first().and_then(|one| one.again_at) {
        lines.push(vec![format!("  ↻ to be asked again at {at}")]);
    }
    let late: u32 = performers.iter().map(|one| one.late).sum();
    if late > 0 {
        lines.push(vec![format!("  ! {} when nobody waited any more", count(u64::from(late), "answer"))]);
    }
    if let Some(fault) = &operation.fault {
        lines.push(vec![format!("  ! {fault}")]);
    }
    if let Some(compensation) = operation.compensation.as_ref().filter(|it| it.state != "not-needed") {
        let mut line = match &compensation.performer {
            Some(one) => leg(one),
            None => vec![String::new(), compensation.state.clone()],
        };
        line[0] = format!("  ↶ {}: {}", compensation.performs, line[0]).trim_end().trim_end_matches(':').to_owned();
        lines.push(line);
        if let Some(deadline) = compensation.deadline {
            lines.push(vec![format!(
                "    · without an answer it is given up at {deadline}, and the transaction goes on to its end"
            )]);
        }
        if let Some(fault) = compensation.performer.as_ref().and_then(|one| one.fault.as_ref()) {
            lines.push(vec![format!("    ! {fault}")]);
        }
    }
}

/// Performers of one operation that a screen shows.
const PERFORMERS_SHOWN: usize = 20;

fn attempt(attempt: u32, attempts_max: u32) -> String {
    match (attempt, attempts_max) {
        (0 | 1, 0 | 1) | (0, _) => String::new(),
        (attempt, 0 | 1) => format!(", attempt {attempt}"),
        (attempt, attempts_max) => format!(", attempt {attempt} of {attempts_max}"),
    }
}

/// Who is at an operation, or what is waited for.
fn who(operation: &Operation) -> String {
    if let Some(signal) = &operation.signal {
        return format!("signal {signal}");
    }
    match operation.performers.as_slice() {
        [] => operation.subtransaction.as_ref().map(|name| format!("transaction {name}")).unwrap_or_default(),
        [one] if !operation.iteration => performer(one),
        several => {
            let completed = several.iter().filter(|one| one.state == OperationState::Completed).count();
            let word = if operation.iteration { "lines done" } else { "answered" };
            format!("{completed} of {} {word}", several.len())
        }
    }
}

/// The columns of one performer.
fn leg(one: &OperationPerformer) -> Vec<String> {
    let line = one.line.map(|line| format!("line {line} ")).unwrap_or_default();
    let again = one.again_at.map(|at| format!(", again at {at}")).unwrap_or_default();
    vec![
        format!("{} {line}{}", operation_mark(one.state), performer(one)),
        format!("{}{}{again}", one.state.word(), attempt(one.attempt, 0)),
        one.duration_ms.map(duration).unwrap_or_default(),
    ]
}

fn performer(performer: &OperationPerformer) -> String {
    if let Some(transaction) = performer.transaction {
        return format!("transaction {transaction}");
    }
    let service = performer.service.as_ref().map_or("somebody", |service| service.as_str());
    let organization = performer
        .organization_name
        .as_ref()
        .map(ToString::to_string)
        .or_else(|| performer.organization.map(|organization| organization.short()));
    match (organization, &performer.city) {
        (Some(organization), Some(city)) => format!("{service} at {organization}, {city}"),
        (Some(organization), None) => format!("{service} at {organization}"),
        (None, _) => service.to_owned(),
    }
}

/// `hansa transaction history`: a line for each record, the entry's place, time and hash before its first.
pub fn history(page: &HistoryPage) -> String {
    let mut text = format!("{} {} {}\n", transaction_mark(page.state), page.definition, page.id);
    if page.beginning_dropped {
        let _ = writeln!(text, "  The journal begins at entry {} now; what came before is gone.", page.first_kept);
    }
    let rows = page.entries.iter().flat_map(|entry| {
        entry.records.iter().enumerate().map(|(place, record)| {
            let first = |text: String| if place == 0 { text } else { String::new() };
            vec![
                first(entry.sequence.to_string()),
                first(entry.moment.to_string()),
                first(entry.hash.chars().take(HASH_SHOWN).collect()),
                record.words.clone(),
            ]
        })
    });
    text.push_str(&indented(&table(&["ENTRY", "MOMENT", "HASH", "WHAT HAPPENED"], rows)));
    text
}

/// `hansa transaction dry-run`.
pub fn dry_run(dry_run: &DryRun) -> String {
    let mut text = show(&dry_run.transaction);
    for one in &dry_run.subtransactions {
        let _ = write!(text, "\n{}", show(one));
    }
    if !dry_run.history.is_empty() {
        let rows = dry_run.history.iter().map(|step| vec![duration(step.after_ms), step.words.clone()]);
        let _ = write!(text, "\n{}", indented(&table(&["AFTER", "WHAT HAPPENED"], rows)));
    }
    let _ = writeln!(text, "\nIt would have taken {}.", duration(dry_run.took_ms));
    for one in &dry_run.unanswered {
        let what = match one.leg {
            None => ", to be undone".to_owned(),
            Some(1) => String::new(),
            Some(leg) => format!(", recipient or line {leg}"),
        };
        let attempt = attempt(one.attempt, 0);
        let _ = writeln!(
            text,
            "! The file has no answer for operation {} {} of {}{what}{attempt}.",
            one.operation, one.name, one.definition
        );
    }
    for fault in &dry_run.refused {
        let _ = writeln!(text, "! Refused: {fault}");
    }
    text
}

/// Digits of a hash that a screen shows.
const HASH_SHOWN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::pretended::NOW;
    use hansa_core::ident::{DefinitionHash, TransactionId};

    fn an_operation(id: u32, name: &str, state: OperationState, links: &[u32]) -> Operation {
        Operation {
            id,
            name: name.parse().unwrap(),
            state,
            attempt: 1,
            performers: Vec::new(),
            started: Some(NOW),
            ended: state.is_ended().then_some(NOW),
            duration_ms: Some(12),
            fault: None,
            links: links.to_vec(),
            input: None,
            output: None,
            performs: None,
            subtransaction: None,
            signal: None,
            attempts_max: 1,
            priority: 0,
            broadcast: false,
            iteration: false,
            deadline: None,
            compensation: None,
        }
    }

    fn a_performer(service: &str, place: Option<(&str, &str)>, state: OperationState) -> OperationPerformer {
        OperationPerformer {
            service: Some(service.parse().unwrap()),
            organization: None,
            organization_name: place.map(|(name, _)| name.parse().unwrap()),
            city: place.map(|(_, city)| city.parse().unwrap()),
            invocation: None,
            state,
            duration_ms: Some(48),
            fault: None,
            late: 0,
            transaction: None,
            line: None,
            attempt: 1,
            again_at: None,
            input: None,
            output: None,
        }
    }

    fn a_transaction() -> Show {
        use OperationState::{Completed, Eliminated, Failed, Running};
        let mut credit = an_operation(2, "check-credit", Completed, &[4, 5]);
        credit.performers = vec![a_performer("credit", None, Completed)];
        let mut stock = an_operation(3, "check-stock", Running, &[4, 5]);
        stock.attempt = 2;
        credit.input = Some("<Credit/>".into());
        credit.output = Some("<Granted/>".into());
        stock.performers = vec![
            a_performer("depot", Some(("Birch GmbH", "Hamburg")), Completed),
            a_performer("store", Some(("Cedar Pte", "Singapore")), Failed),
        ];
        Show {
            id: TransactionId(7),
            definition: "purchase".parse().unwrap(),
            hash: DefinitionHash([0; 32]),
            state: TransactionState::Running,
            submitted: NOW,
            ended: None,
            duration_ms: 1_234,
            requester: Some("acme-erp".into()),
            input: Some("<Order>\n  <Id>1</Id>\n</Order>".into()),
            output: None,
            fault: None,
            operations: vec![
                an_operation(1, "CXtsHeadOp", Completed, &[2, 3]),
                credit,
                stock,
                an_operation(4, "confirm", OperationState::Waiting, &[6]),
                an_operation(5, "back-order", Eliminated, &[6]),
                an_operation(6, "CXtsTailOp", OperationState::Waiting, &[]),
            ],
            documents_left_out: 0,
            ending: None,
            parent: None,
            deadline: None,
            signals: Vec::new(),
            refused: Vec::new(),
        }
    }

    #[test]
    fn a_transaction_is_drawn_in_layers_with_states_times_and_performers() {
        let text = show(&a_transaction());
        let expected = "\
▶ purchase 00000000000000000000000007
  state       running
  version     def-aaaaaaaa
  submitted   2026-11-21T00:00:00.000Z by acme-erp
  running     for 1.2 s
  operations  3 of 6 have ended

  ✔ 1 CXtsHeadOp                       completed           12 ms                   → 2 3
  │
  ✔ 2 check-credit                     completed           12 ms  credit           → 4 5
  ▶ 3 check-stock                      running, attempt 2  12 ms  1 of 2 answered  → 4 5
    ├ ✔ depot at Birch GmbH, Hamburg   completed           48 ms
    └ ✘ store at Cedar Pte, Singapore  failed              48 ms
  │
  · 4 confirm                          waiting             12 ms                   → 6
  – 5 back-order                       eliminated          12 ms                   → 6
  │
  · 6 CXtsTailOp                       waiting             12 ms

Input
  <Order>
    <Id>1</Id>
  </Order>

2 check-credit: in
  <Credit/>

2 check-credit: out
  <Granted/>
";
        assert_eq!(text.replace(" \n", "\n"), expected.replace(" \n", "\n"), "\n{text}");
    }

    #[test]
    fn a_graph_with_a_circle_or_a_link_to_nowhere_is_drawn_all_the_same() {
        let operations = [
            an_operation(1, "a", OperationState::Waiting, &[2, 99]),
            an_operation(2, "b", OperationState::Waiting, &[1]),
        ];
        assert_eq!(graph(&operations).lines().count(), 2);
        assert_eq!(graph(&[]), "");
    }

    /// T17: what goes beyond the source is shown as well.
    #[test]
    fn retries_lines_signals_subtransactions_and_compensations_are_shown() {
        use OperationState::{Completed, Failed, Running, Waiting};
        let mut book = an_operation(1, "book", Completed, &[2]);
        book.performers = vec![a_performer("desk", None, Completed)];
        book.compensation = Some(Compensation {
            performs: "unbook".parse().unwrap(),
            state: "running".into(),
            started: Some(NOW),
            deadline: Some(NOW),
            performer: Some(a_performer("desk", None, Running)),
        });
        let mut pack = an_operation(2, "pack", Failed, &[3]);
        (pack.iteration, pack.attempt, pack.attempts_max) = (true, 3, 3);
        pack.performers = (1..=25)
            .map(|line| {
                let mut one = a_performer("depot", None, if line == 2 { Failed } else { Completed });
                (one.line, one.attempt) = (Some(line), if line == 2 { 3 } else { 1 });
                one
            })
            .collect();
        let mut approve = an_operation(3, "approve", Waiting, &[]);
        approve.signal = Some("approved".parse().unwrap());
        let mut part = an_operation(4, "deliver", Running, &[]);
        part.performers = vec![a_performer("x", None, Running)];
        part.performers[0].transaction = Some(TransactionId(9));
        (part.attempts_max, part.performers[0].again_at) = (4, Some(NOW));
        let transaction = Show {
            state: TransactionState::Compensating,
            ending: Some(TransactionState::Failed),
            parent: Some(TransactionId(8)),
            operations: vec![book, pack, approve, part],
            signals: vec![ShownSignal { name: "paid".parse().unwrap(), at: NOW, document: None }],
            refused: vec![RefusedAnswer {
                at: NOW,
                operation: Some(1),
                from: "desk".into(),
                outcome: "completed".into(),
                why: "duplicate".into(),
                invocation: hansa_core::ident::InvocationId(0),
            }],
            ..a_transaction()
        };
        let text = show(&transaction);
        for part in [
            "compensating: it will be failed when all is undone",
            "belongs to  00000000000000000000000008",
            "↶ unbook: ▶ desk",
            "failed, attempt 3 of 3",
            "24 of 25 lines done",
            "├ ✘ line 2 depot",
            "… and 5 more",
            "signal approved",
            "transaction 00000000000000000000000009",
            "running, attempt 1 of 4",
            "↻ to be asked again at 2026-11-21",
            "⚑ signal paid came at 2026-11-21",
            "desk answered 'completed' to operation 1, which was refused: duplicate",
        ] {
            assert!(text.contains(part), "'{part}' is missing in:\n{text}");
        }
    }

    #[test]
    fn a_history_has_a_line_for_each_record_and_says_what_is_gone() {
        let record = |words: &str| HistoryRecord { words: words.into(), record: serde_json::Value::Null };
        let page = HistoryPage {
            id: TransactionId(7),
            definition: "purchase".parse().unwrap(),
            version: DefinitionHash([0; 32]),
            state: TransactionState::Completed,
            entries: vec![HistoryEntry {
                sequence: 42,
                epoch: 1,
                moment: NOW,
                hash: "ab".repeat(32),
                previous: "cd".repeat(32),
                records: vec![record("operation 2 work: completed"), record("the transaction completed")],
            }],
            beginning_dropped: true,
            first_kept: 40,
            next: None,
        };
        let expected = "\
✔ purchase 00000000000000000000000007
  The journal begins at entry 40 now; what came before is gone.
  ENTRY  MOMENT                    HASH          WHAT HAPPENED
  42     2026-11-21T00:00:00.000Z  abababababab  operation 2 work: completed
                                                 the transaction completed
";
        assert_eq!(history(&page), expected);
    }
}
