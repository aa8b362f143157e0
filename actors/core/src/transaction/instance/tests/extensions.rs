//! What this project adds to the source: retries, undoing, sub-transactions, iterations and signals (T11, T13, T17).

use super::*;

const RETRY: &str = "<hx:RETRY><hx:ATTEMPTS>3</hx:ATTEMPTS><hx:PAUSE>1</hx:PAUSE><hx:FACTOR>2</hx:FACTOR>\
    <hx:ATTEMPTTIMEOUT>4</hx:ATTEMPTTIMEOUT><hx:EXCEPT>access-denied</hx:EXCEPT></hx:RETRY>";

/// A tail that answers with what operation 1 did.
const TAIL: &str = "9 CXtsTailOp | <JOIN><DOCUMENT><OPID>1</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>";

fn one(rest: &str) -> Fed<Instance> {
    let line = format!("1 work > 9 | {rest}");
    run(define("purchase", "", &["0 CXtsHeadOp > 1", &line, TAIL]), offers(&["work"], &[]))
}

/// The pause before an attempt, without what chance adds.
fn pause_ms(run: &Fed<Instance>) -> u64 {
    run.machine.wakes_at().expect("it waits").since_ms(run.now)
}

#[test]
fn what_fails_is_tried_again_after_pauses_that_grow_and_its_attempts_are_bounded() {
    let mut run = one(RETRY);
    run.give(submit());
    let first = run.invocation(1, 0);
    assert_eq!(recorded(&run.answer(1, failed())), ["answered 1.0 uncounted, again"]);
    assert!((1_000..=1_100).contains(&pause_ms(&run)));
    let came = run.pass(1_100);
    assert_eq!(run.told(&came), ["desk does work"]);
    assert_ne!(run.invocation(1, 0), first, "each attempt has an id of its own");
    run.answer(1, failed());
    assert!((2_000..=2_200).contains(&pause_ms(&run)));
    run.pass(2_200);
    assert_eq!(recorded(&run.answer(1, failed()))[..2], ["answered 1.0 uncounted", "ended 1 failed"]);
    assert_eq!(run.failure(), Code::OperationFailed);
}

#[test]
fn an_attempt_that_is_not_answered_in_time_is_withdrawn_and_its_late_answer_refused() {
    let mut run = one(RETRY);
    run.give(submit());
    let first = run.invocation(1, 0);
    let came = run.pass(4_000);
    assert_eq!(
        (recorded(&came), run.told(&came)),
        (vec!["answered 1.0 uncounted, again".into()], vec!["desk stops".into()])
    );
    run.pass(1_200);
    let came = run.give(answer(first, completed("<Late/>")));
    assert_eq!((recorded(&came), run.told(&came)), (vec!["late 1.0".into()], vec!["refuse response-refused".into()]));
    run.answer(1, completed("<Done/>"));
    assert!(run.output().contains("Done"));
    let refused = &run.machine.picture(&run.definition()).unwrap().refused[0];
    assert_eq!((refused.outcome, refused.at), (OutcomeKind::Completed, run.now), "what came, and when");
}

#[test]
fn a_code_that_is_excepted_is_final_at_once() {
    let mut run = one(RETRY);
    run.give(submit());
    run.answer(1, Outcome::Failed(Fault::new(Code::AccessDenied, "no")));
    assert_eq!(run.state(1), Some(OperationState::Failed));
}

#[test]
fn the_timeout_of_an_operation_is_over_all_its_attempts() {
    let mut run = one(&format!("<TIMEOUT>6</TIMEOUT>{RETRY}"));
    run.give(submit());
    run.pass(4_000);
    run.pass(1_200);
    assert_eq!(run.state(1), Some(OperationState::Running));
    let came = run.pass(1_000);
    assert_eq!(run.told(&came)[0], "desk stops");
    assert_eq!(run.state(1), Some(OperationState::TimedOut));
}

/// Two operations that can be undone, and one that decides.
fn undoable(head: &str, rest: &str) -> Fed<Instance> {
    let undo =
        |name: &str| format!("<hx:COMPENSATION><NAME>{name}</NAME><TIMEOUT>5</TIMEOUT>{RETRY}</hx:COMPENSATION>");
    let lines = [
        "0 CXtsHeadOp > 1".to_owned(),
        format!("1 reserve > 2 | {}", undo("release")),
        format!("2 charge > 3 | {}", undo("refund")),
        format!("3 send > 9 | {rest}"),
        "9 CXtsTailOp | <JOIN><DOCUMENT><OPID>3</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>".to_owned(),
    ];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let services = ["reserve", "release", "charge", "refund", "send"];
    run(define("purchase", head, &lines), offers(&services, &[]))
}

/// Answer what undoes operation `id`.
fn undo(run: &mut Fed<Instance>, id: u32, outcome: Outcome) -> Came<Instance> {
    let index = run.definition().index_of(id).unwrap() as u32;
    let invocation = run.begun().operations[&index].compensation.as_ref().unwrap().leg.invocation.unwrap();
    run.give(run.answer_to(invocation, outcome))
}

// T11, T17: a service that never answers does not keep a transaction open for ever.
#[test]
fn a_compensation_without_a_timeout_is_given_up_after_two_days_and_told() {
    let undo = "<hx:COMPENSATION><NAME>release</NAME></hx:COMPENSATION>";
    let lines = [
        "0 CXtsHeadOp > 1".to_owned(),
        format!("1 reserve > 2 | {undo}"),
        format!("2 book > 3 | {undo}"),
        "3 send > 9".to_owned(),
        "9 CXtsTailOp | <JOIN><DOCUMENT><OPID>3</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>".to_owned(),
    ];
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let mut run = run(define("purchase", "", &lines), offers(&["reserve", "release", "book", "send"], &[]));
    run.give(submit());
    run.answer(1, completed("<Reserved/>"));
    run.answer(2, completed("<Booked/>"));
    run.answer(3, failed());
    let states = |run: &Fed<Instance>| -> Vec<String> {
        let picture = run.machine.picture(&run.definition()).unwrap();
        picture.operations.into_iter().filter_map(|operation| Some(operation.compensation?.state)).collect()
    };
    assert_eq!(states(&run), ["waiting", "asked"]);
    let picture = run.machine.picture(&run.definition()).unwrap();
    let given_up = run.now.plus_ms(limit::COMPENSATION_TIMEOUT_MS);
    assert_eq!(picture.operations[2].compensation.as_ref().unwrap().deadline, Some(given_up));
    run.pass(limit::COMPENSATION_TIMEOUT_MS - 1);
    assert_eq!(states(&run), ["waiting", "asked"]);
    let came = run.pass(1);
    assert_eq!(run.told(&came), ["desk stops", "desk does release"], "the others go on");
    undo_all(&mut run);
    assert_eq!(states(&run), ["completed", "expired"]);
    let Some(Ending::Failed(fault)) = run.machine.ending() else { panic!("it has ended") };
    assert!(fault.help.as_ref().unwrap().contains("operation 2 (book)"), "{fault:?}");
}

// A policy that is written down is not cut short by a bound that is not.
#[test]
fn the_bound_of_a_compensation_without_a_timeout_leaves_room_for_its_retries() {
    let retry = "<hx:RETRY><hx:ATTEMPTS>4</hx:ATTEMPTS><hx:PAUSE>100000</hx:PAUSE><hx:FACTOR>1</hx:FACTOR>\
                 <hx:PAUSEMAX>100000</hx:PAUSEMAX></hx:RETRY>";
    let undoable = format!("1 work > 2 | <hx:COMPENSATION><NAME>release</NAME>{retry}</hx:COMPENSATION>");
    let tail = "9 CXtsTailOp | <JOIN><DOCUMENT><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>";
    let lines = ["0 CXtsHeadOp > 1", &undoable, "2 send > 9", tail];
    let mut run = run(define("purchase", "", &lines), offers(&["work", "release", "send"], &[]));
    run.give(submit());
    run.answer(1, completed("<Done/>"));
    run.answer(2, failed());
    for _ in 0..3 {
        undo(&mut run, 1, failed());
        assert!(run.machine.ending().is_none(), "three pauses of more than a day are longer than 48 hours");
        run.pass(110_000_000);
    }
    undo(&mut run, 1, completed("<Undone/>"));
    let picture = run.machine.picture(&run.definition()).unwrap();
    assert_eq!(picture.operations[1].compensation.as_ref().unwrap().state, "completed");
}

/// Answer whatever is being undone.
fn undo_all(run: &mut Fed<Instance>) {
    while let Some(index) = run.begun().compensating.as_ref().and_then(|it| it.left.front()).copied() {
        let id = run.definition().operations[index as usize].id;
        undo(run, id, completed("<Undone/>"));
    }
}

#[test]
fn what_was_done_is_undone_in_reverse_before_a_failure_is_told() {
    let mut run = undoable("", "");
    run.give(submit());
    run.answer(1, completed("<Reserved/>"));
    run.answer(2, completed("<Charged/>"));
    let came = run.answer(3, failed());
    assert_eq!(recorded(&came)[2..], ["undoing [2, 1] before failed", "requested to undo 2"]);
    assert_eq!(run.told(&came), ["answered", "desk does refund"], "the requester waits");
    let Some(Effect::Offer { invocation, .. }) = came.effects.last() else { panic!() };
    let asked = invocation.document.as_str();
    assert!(
        asked.contains("<Input>") && asked.contains("<Charged "),
        "by default, what was asked and answered: {asked}"
    );
    assert_eq!(run.machine.picture(&run.definition()).unwrap().state, "compensating");
    let came = undo(&mut run, 2, completed("<Refunded/>"));
    assert_eq!(run.told(&came), ["answered", "desk does release"]);
    let came = undo(&mut run, 1, completed("<Released/>"));
    assert_eq!(run.told(&came), ["answered", "respond 1 failed"]);
    assert_eq!(run.failure(), Code::OperationFailed);
}

#[test]
fn undoing_is_tried_again_survives_restarts_and_what_cannot_be_undone_is_told_and_passed_over() {
    let mut run = undoable("", "");
    run.give(submit());
    run.answer(1, completed("<Reserved/>"));
    run.answer(2, completed("<Charged/>"));
    let came = run.give(Input::Cancel { asker: asker(1, 2) });
    assert_eq!(run.told(&came), ["cancelled", "desk stops", "desk does refund"], "acknowledged at once");
    let came = run.give(Input::Cancel { asker: asker(1, 3) });
    assert_eq!(run.told(&came), ["cancelled"]);
    assert_eq!(recorded(&undo(&mut run, 2, failed())), ["not undone 2, again"]);
    let came = run.restart();
    assert_eq!(run.told(&came), nothing(), "it pauses");
    let came = run.pass(1_100);
    assert_eq!(run.told(&came), ["desk does refund"]);
    let came = run.restart();
    assert_eq!(run.told(&came), ["desk does refund"]);
    let came = run.pass(5_000);
    assert_eq!(run.told(&came), ["desk stops", "desk does release"], "its TIMEOUT is over all attempts");
    let came = undo(&mut run, 1, completed("<Released/>"));
    assert_eq!(run.told(&came), ["answered"]);
    let Some(Ending::Failed(fault)) = run.machine.ending() else { panic!() };
    assert_eq!(fault.code, Code::CompensationFailed);
    assert!(
        fault.advice().contains("operation 2 (charge)") && !fault.advice().contains("reserve"),
        "{}",
        fault.advice()
    );
}

#[test]
fn a_transaction_that_completes_undoes_nothing_and_one_that_times_out_undoes_what_was_done() {
    let mut run = undoable("<TIMEOUT>60</TIMEOUT>", "");
    run.give(submit());
    (1..=3).for_each(|id| drop(run.answer(id, completed("<Done/>"))));
    assert!(matches!(run.machine.ending(), Some(Ending::Completed(_))));

    let mut run = undoable("<TIMEOUT>60</TIMEOUT>", "");
    run.give(submit());
    run.answer(1, completed("<Reserved/>"));
    let came = run.pass(60_000);
    assert_eq!(run.told(&came), ["desk stops", "desk does release"]);
    assert_eq!(run.refused(Input::Cancel { asker: asker(1, 2) }).code, Code::TransactionEnded);
    undo(&mut run, 1, completed("<Released/>"));
    assert_eq!(run.machine.ending(), Some(&Ending::TimedOut));
}

const ITERATE: &str = "<hx:ITERATE><DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE><OPDOCVARTYPE>Line</OPDOCVARTYPE>\
    </DOCUMENT><hx:MAX>4</hx:MAX><hx:CONCURRENT>2</hx:CONCURRENT></hx:ITERATE>";

fn submit_lines(lines: &[&str]) -> Input {
    let lines: String = lines.iter().map(|line| format!("<Line><No>{line}</No></Line>")).collect();
    submit_as(1, "purchase", &format!("<Order>{lines}</Order>"))
}

fn documents(came: &Came<Instance>) -> Vec<String> {
    let asked = came.effects.iter().filter_map(|effect| match effect {
        Effect::Offer { invocation, .. } => Some(invocation.document.as_str().to_owned()),
        _ => None,
    });
    asked.collect()
}

#[test]
fn an_iteration_asks_for_each_line_so_many_at_once_and_answers_in_the_order_of_the_lines() {
    let mut run = one(ITERATE);
    let came = run.give(submit_lines(&["a", "b", "c"]));
    assert_eq!(documents(&came), ["<Line><No>a</No></Line>", "<Line><No>b</No></Line>"]);
    assert_eq!(documents(&run.answer_leg(1, 1, completed("<B/>"))), ["<Line><No>c</No></Line>"]);
    run.answer_leg(1, 2, completed("<C/>"));
    run.restart();
    run.answer_leg(1, 0, completed("<A/>"));
    let output = run.output();
    let places: Vec<_> =
        ["line=\"1\"", "<A ", "line=\"2\"", "<B ", "line=\"3\"", "<C "].map(|it| output.find(it)).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{output}");
}

#[test]
fn the_join_of_an_iteration_sees_one_line_as_the_input_of_its_operation() {
    let join = "<JOIN><ARG><NAME>no</NAME><VALTYPE>STRVALUE</VALTYPE><EXPR><VAR><VARNAME>No</VARNAME><OPID>1</OPID>\
        <OPDOCIOTYPE>INPUT</OPDOCIOTYPE><VALTYPE>STRVALUE</VALTYPE></VAR></EXPR></ARG></JOIN>";
    let mut run = one(&format!("{ITERATE}{join}"));
    let came = run.give(submit_lines(&["a", "b"]));
    let asked = documents(&came);
    assert!(asked[0].contains(">a</Variable>") && asked[1].contains(">b</Variable>"), "{asked:?}");
}

#[test]
fn too_many_lines_fail_an_iteration_no_lines_complete_it_and_one_failed_line_fails_it() {
    let mut run = one(ITERATE);
    run.give(submit_lines(&["a", "b", "c", "d", "e"]));
    assert_eq!(run.failure(), Code::IterationTooLong);
    // However many there are: no more of them are looked for than the fault can know.
    for count in [5, 600] {
        let mut run = one(ITERATE);
        run.give(submit_lines(&vec!["x"; count]));
        let Some(Ending::Failed(fault)) = run.machine.ending() else { panic!("{:?}", run.machine.ending()) };
        assert!(fault.message.contains("may iterate over 4 lines, and there are more than 4"), "{fault:?}");
    }

    let mut run = one(ITERATE);
    run.give(submit_lines(&[]));
    assert!(run.output().contains("<Responses"));

    let mut run = one(&format!("{ITERATE}{RETRY}"));
    run.give(submit_lines(&["a", "b", "c"]));
    run.answer_leg(1, 0, failed());
    assert_eq!(run.open_legs().len(), 1, "the line waits for its next attempt, and keeps its place");
    run.pass(1_100);
    run.answer_leg(1, 0, failed());
    run.pass(2_200);
    let came = run.answer_leg(1, 0, failed());
    assert_eq!(run.state(1), Some(OperationState::Failed));
    assert!(run.told(&came).contains(&"desk stops".to_owned()), "the others are not waited for");
}

fn waiting() -> Fed<Instance> {
    let lines = [
        "0 CXtsHeadOp > 1",
        "1 work > 2",
        "2 approval > 9 | <hx:SIGNAL>approved</hx:SIGNAL><TIMEOUT>60</TIMEOUT>",
        "9 CXtsTailOp | <JOIN><DOCUMENT><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>",
    ];
    run(define("purchase", "", &lines), offers(&["work"], &[]))
}

fn signal(message: u64, name: &str, xml: &str) -> Input {
    Input::Signal { asker: asker(4, message), signal: name.parse().unwrap(), document: text(xml) }
}

#[test]
fn a_signal_completes_the_operation_that_waits_for_it_also_if_it_comes_before() {
    for early in [true, false] {
        let mut run = waiting();
        run.give(submit());
        if early {
            let came = run.give(signal(1, "approved", "<By>Ann</By>"));
            assert_eq!(run.told(&came), ["signalled"]);
            run.restart();
            run.answer(1, completed("<Done/>"));
        } else {
            run.answer(1, completed("<Done/>"));
            assert_eq!(run.state(2), Some(OperationState::Running));
            run.restart();
            run.give(signal(1, "approved", "<By>Ann</By>"));
        }
        assert_eq!(run.output(), "<By>Ann</By>");
        let came = run.give(signal(2, "approved", "<By>Ann</By>"));
        assert_eq!(run.told(&came), ["repeated"]);
        assert_eq!(run.refused(signal(3, "approved", "<By>Bob</By>")).code, Code::SignalConflict);
    }
}

#[test]
fn signals_that_nobody_waits_for_are_refused_and_an_operation_may_wait_in_vain() {
    let mut run = waiting();
    assert_eq!(run.refused(signal(1, "approved", "<By/>")).code, Code::TransactionUnknown);
    run.give(submit());
    assert_eq!(run.refused(signal(1, "denied", "<By/>")).code, Code::SignalUnknown);
    run.answer(1, completed("<Done/>"));
    run.pass(60_000);
    assert_eq!(run.state(2), Some(OperationState::TimedOut));
    assert_eq!(run.refused(signal(2, "approved", "<By/>")).code, Code::TransactionEnded);
}

#[test]
fn a_multicast_asks_the_services_that_it_names_and_urgency_goes_with_the_invocation() {
    let line = "1 quote > 9 | <hx:PERFORMS>price</hx:PERFORMS><hx:PRIORITY>7</hx:PRIORITY>\
        <BROADCAST><hx:SERVICE>north</hx:SERVICE><hx:SERVICE>west</hx:SERVICE></BROADCAST>";
    let services = ["north", "south", "west"].map(|name| service(name, &["price"]));
    let offers = Offers::new(organization(1), "Acme".parse().unwrap(), services, []);
    let mut run = run(define("purchase", "", &["0 CXtsHeadOp > 1", line, "9 CXtsTailOp"]), offers);
    let came = run.give(submit());
    assert_eq!(run.told(&came), ["submitted", "north does price", "west does price"]);
    let Some(Effect::Offer { invocation, .. }) = came.effects.last() else { panic!() };
    assert_eq!(invocation.context.priority, 7);
}

/// A transaction that runs another one, and that one.
fn parent_and_child() -> (Fed<Instance>, Definitions) {
    let undo = "<hx:COMPENSATION><NAME>release</NAME></hx:COMPENSATION>";
    let parent = define(
        "purchase",
        "",
        &["0 CXtsHeadOp > 1", "1 inner > 9 | <hx:TRANSACTION>reservation</hx:TRANSACTION>", TAIL],
    );
    let reserve = format!("1 reserve > 2 | {undo}");
    let child =
        define("reservation", "<SAVE>NO</SAVE>", &["0 CXtsHeadOp > 1", &reserve, "2 confirm > 9", "9 CXtsTailOp"]);
    let both = definitions(&[parent, child]);
    let around =
        Around { definitions: both.clone(), offers: offers(&["reserve", "confirm", "release"], &[]), lived: None };
    (Fed::new(ID, around), both)
}

/// The child that was begun, with the input that begins it.
fn begun(came: &Came<Instance>) -> (TransactionId, impl Fn() -> Input + use<>) {
    let begin = came.effects.iter().find_map(|effect| match effect {
        Effect::Begin { transaction, parent, definition, document } => {
            Some((*transaction, parent.clone(), definition.clone(), document.clone()))
        }
        _ => None,
    });
    let (id, parent, definition, document) = begin.expect("a child was begun");
    (id, move || Input::Begin { parent: parent.clone(), definition: definition.clone(), document: document.clone() })
}

/// What the child returns to its parent.
fn returned(came: &Came<Instance>) -> Option<(InvocationId, Outcome)> {
    came.effects.iter().find_map(|effect| match effect {
        Effect::Return { invocation, outcome, .. } => Some((*invocation, outcome.clone())),
        _ => None,
    })
}

fn child_of(came: &Came<Instance>, run: &Fed<Instance>) -> (Fed<Instance>, Came<Instance>) {
    let (id, begin) = begun(came);
    let around = Around { definitions: run.around.definitions.clone(), offers: run.around.offers.clone(), lived: None };
    let mut child = Fed::new(id, around);
    let came = child.give(begin());
    let again = child.give(begin());
    assert!(again.records.is_empty() && again.effects.len() <= 1, "begun again, it is one still");
    (child, came)
}

#[test]
fn a_transaction_runs_in_the_place_of_an_operation_and_is_kept_until_its_outcome_is_recorded() {
    let (mut run, _) = parent_and_child();
    let came = run.give(submit());
    assert_eq!(run.told(&came), ["submitted", "child does reservation"]);
    let (mut child, _) = child_of(&came, &run);
    assert!(returned(&child.answer(1, completed("<Reserved/>"))).is_none());
    let (invocation, outcome) = returned(&child.answer(2, completed("<Confirmed/>"))).expect("it has ended");
    assert!(child.machine.is_open() && child.machine.is_kept(), "though it is not saved");
    let again = child.restart();
    assert_eq!(returned(&again), Some((invocation, outcome.clone())), "told again until it is settled");
    let came = run.give(run.answer_to(invocation, outcome.clone()));
    assert_eq!(run.told(&came), ["settle", "respond 1 completed"]);
    let came = run.give(run.answer_to(invocation, outcome));
    assert_eq!((recorded(&came), run.told(&came)), (nothing(), vec!["settle".to_owned()]));
    assert_eq!(recorded(&child.give(Input::Settle { invocation })), ["settled"]);
    assert!(!child.machine.is_open() && !child.machine.is_kept());
}

#[test]
fn a_transaction_that_is_cancelled_cancels_those_in_it_which_undo_themselves() {
    let (mut run, _) = parent_and_child();
    let came = run.give(submit());
    let (mut child, _) = child_of(&came, &run);
    child.answer(1, completed("<Reserved/>"));
    let came = run.give(Input::Cancel { asker: asker(1, 2) });
    assert_eq!(run.told(&came), ["cancelled", "child stops", "respond 1 cancelled"]);
    let Some(Effect::Withdraw { invocation, .. }) = came.effects.get(1) else { panic!() };
    let came = child.give(Input::Withdraw { invocation: *invocation });
    assert_eq!(child.told(&came), ["desk stops", "desk does release"]);
    let (invocation, outcome) = returned(&undo(&mut child, 1, completed("<Released/>"))).expect("it has ended");
    assert_eq!(outcome, Outcome::Cancelled);
    let came = run.give(run.answer_to(invocation, outcome));
    assert_eq!((recorded(&came), run.told(&came)), (nothing(), vec!["settle".to_owned()]), "as expected");
}

#[test]
fn after_a_restart_parent_and_child_find_each_other() {
    let (mut run, _) = parent_and_child();
    let came = run.give(submit());
    let (mut child, _) = child_of(&came, &run);
    let again = run.restart();
    assert_eq!(begun(&again).0, begun(&came).0, "the same child");
    let came = child.restart();
    assert_eq!(child.told(&came), ["inquire", "desk does reserve"]);
    let Some(Effect::Inquire { invocation, .. }) = came.effects.first() else { panic!() };
    let inquire = || Input::Inquire { invocation: *invocation, performer: Performer::Transaction(ID) };
    assert!(run.give(inquire()).effects.is_empty());
    run.give(Input::Cancel { asker: asker(1, 2) });
    let came = run.give(inquire());
    assert_eq!(run.told(&came), ["child stops"], "nobody waits for it any more");
}

#[test]
fn an_unknown_definition_or_too_many_transactions_in_each_other_fail_the_operation() {
    let runs = |name: &str, other: &str| {
        let inner = format!("1 inner > 9 | <hx:TRANSACTION>{other}</hx:TRANSACTION>");
        define(name, "", &["0 CXtsHeadOp > 1", &inner, TAIL])
    };
    let definitions = definitions(&[runs("purchase", "order"), runs("order", "purchase")]);
    let mut outer = Fed::new(ID, Around { definitions, offers: offers(&[], &[]), lived: None });
    let mut came = outer.give(submit());
    let mut depth = 0;
    while came.effects.iter().any(|effect| matches!(effect, Effect::Begin { .. })) {
        let (child, next) = child_of(&came, &outer);
        depth += 1;
        (outer, came) = (child, next);
    }
    assert_eq!(depth, limit::SUBTRANSACTION_DEPTH_MAX);
    assert_eq!(outer.failure(), Code::SubtransactionTooDeep);

    let lines = ["0 CXtsHeadOp > 1", "1 inner > 9 | <hx:TRANSACTION>missing</hx:TRANSACTION>", TAIL];
    let mut outer = run(define("purchase", "", &lines), offers(&[], &[]));
    let came = outer.give(submit());
    let (id, begin) = begun(&came);
    let mut child = Fed::<Instance>::new(id, Around { offers: offers(&[], &[]), ..Around::default() });
    let (_, outcome) = returned(&child.give(begin())).unwrap();
    assert_eq!(outcome.fault().unwrap().code, Code::DefinitionUnknown);
    assert!(!child.machine.is_open());
}

// T12: what no longer waits for anything keeps nothing, whatever came too late.
#[test]
fn answers_that_nobody_asked_for_are_recorded_up_to_a_bound() {
    let mut run = one("");
    run.give(submit());
    for number in 0..limit::ANSWERS_REFUSED_MAX as u128 + 5 {
        run.give(answer(InvocationId(number), failed()));
    }
    let picture = run.machine.picture(&run.definition()).unwrap();
    assert_eq!(picture.refused.len(), limit::ANSWERS_REFUSED_MAX);
    assert!(picture.refused.iter().all(|refused| refused.refusal == Refusal::Foreign));
    let from = Performer::Local("stranger".parse().unwrap());
    let foreign = Input::Answer { invocation: run.invocation(1, 0), outcome: completed("<No/>"), from, asker: None };
    run.give(foreign);
    assert_eq!(run.state(1), Some(OperationState::Running), "it was not asked");
}

#[test]
fn answers_that_are_none_are_recorded_up_to_a_bound_for_each_operation() {
    // T8: a service that answers nonsense, or for another, leaves its trace, and cannot fill the journal.
    let mut run = one("");
    run.give(submit());
    let invocation = *run.begun().invocations.keys().next().unwrap();
    let strayed = |invocation, refusal| Input::Strayed {
        invocation,
        from: Performer::Local("desk".parse().unwrap()),
        outcome: OutcomeKind::Completed,
        refusal,
    };
    for number in 0..limit::ANSWERS_STRAYED_MAX {
        let refusal = if number % 2 == 0 { Refusal::Malformed } else { Refusal::Foreign };
        run.give(strayed(invocation, refusal));
    }
    let length = run.journal.len();
    assert_eq!(run.refused(strayed(invocation, Refusal::Malformed)).code, Code::ResponseRefused, "only counted");
    assert_eq!(run.refused(strayed(InvocationId(77), Refusal::Foreign)).code, Code::ResponseRefused, "nobody asked");
    assert_eq!(run.journal.len(), length);
    let picture = run.machine.picture(&run.definition()).unwrap();
    let malformed = picture.refused.iter().filter(|refused| refused.refusal == Refusal::Malformed).count();
    assert_eq!((picture.refused.len(), malformed), (limit::ANSWERS_STRAYED_MAX, limit::ANSWERS_STRAYED_MAX / 2));
    // The right answer counts all the same.
    run.give(answer(invocation, completed("<Done/>")));
    assert!(matches!(run.machine.ending(), Some(Ending::Completed(_))), "{:?}", run.machine.ending());
}
