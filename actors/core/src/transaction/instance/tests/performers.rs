//! Who performs an operation: here first, then peers; found later, or given up (T10, F6).

use super::*;

fn single(rest: &str, offers: Offers) -> Fed<Instance> {
    let line = format!("1 confirm > 9 | {rest}");
    run(define("purchase", "", &["0 CXtsHeadOp > 1", &line, "9 CXtsTailOp"]), offers)
}

fn peers() -> Offers {
    offers(&[], &[(2, "Birch", &["confirm"]), (3, "Cedar", &["confirm"])])
}

fn refusal(code: Code) -> Outcome {
    Outcome::Failed(Fault::new(code, "not here"))
}

/// The peer that was asked.
fn asked(came: &Came<Instance>) -> Option<OrganizationId> {
    came.effects.iter().rev().find_map(|effect| match effect {
        Effect::Ask { organization, .. } => Some(*organization),
        _ => None,
    })
}

fn answer_of(run: &Fed<Instance>, peer: OrganizationId, outcome: Outcome) -> Input {
    answer_of_peer(peer.0[0], run.invocation(1, 0), outcome)
}

// T10.
#[test]
fn a_service_here_comes_before_any_peer() {
    let both = offers(&["confirm"], &[(2, "Birch", &["confirm"])]);
    let mut run = single("", both);
    let came = run.give(submit());
    assert_eq!(run.told(&came), ["submitted", "desk does confirm"]);
}

// F6: fall-over to the next peer, under a new attempt.
#[test]
fn a_peer_that_refuses_is_followed_by_the_next() {
    for code in [Code::NoPerformer, Code::Busy, Code::LimitReached] {
        let mut run = single("", peers());
        let came = run.give(submit());
        let first = asked(&came).unwrap();
        let before = run.invocation(1, 0);
        let refuse = answer_of(&run, first, refusal(code));
        let came = run.give(refuse);
        let second = asked(&came).unwrap();
        assert_ne!(first, second);
        assert_ne!(before, run.invocation(1, 0), "another attempt, another id");
        assert!(matches!(came.effects[1], Effect::Settle { .. }) || matches!(came.effects[0], Effect::Settle { .. }));
        let done = answer_of(&run, second, completed("<Confirmed/>"));
        run.give(done);
        run.output();
    }
}

// T5: an operation that a peer tried is not tried elsewhere.
#[test]
fn a_peer_that_failed_is_not_followed_by_another() {
    let mut run = single("", peers());
    let came = run.give(submit());
    let fail = answer_of(&run, asked(&came).unwrap(), failed());
    assert_eq!(asked(&run.give(fail)), None);
    assert_eq!(run.state(1), Some(OperationState::Failed));
}

// F6: when all have refused, they are asked again after a pause, for a while.
#[test]
fn peers_that_were_busy_are_asked_again_after_a_pause() {
    let mut run = single("", peers());
    let mut came = run.give(submit());
    for _ in 0..2 {
        let busy = answer_of(&run, asked(&came).unwrap(), refusal(Code::Busy));
        came = run.give(busy);
    }
    assert_eq!((asked(&came), run.state(1)), (None, Some(OperationState::Seeking)));
    let came = run.pass(limit::PERFORMER_RETRY_MS_MIN);
    assert!(asked(&came).is_some());
}

// F7: peers that do nothing but refuse cost a bounded number of attempts, and the last refusal is told.
#[test]
fn attempts_are_bounded() {
    let mut run = single("", peers());
    let mut came = run.give(submit());
    let mut attempts = 0;
    while let Some(peer) = asked(&came) {
        attempts += 1;
        let busy = answer_of(&run, peer, refusal(Code::Busy));
        came = run.give(busy);
        if run.state(1) == Some(OperationState::Seeking) {
            came = run.pass(limit::PERFORMER_RETRY_MS_MIN);
            if asked(&came).is_none() {
                came = run.pass(limit::PERFORMER_RETRY_MS_MAX);
            }
        }
    }
    assert!(attempts <= limit::OPERATION_ATTEMPTS_MAX);
    assert_eq!(run.state(1), Some(OperationState::Failed));
}

// T10, T11: nobody is there: it looks again, ever more rarely, and gives up.
#[test]
fn an_operation_that_nobody_performs_is_looked_for_and_given_up() {
    let mut run = single("", offers(&[], &[]));
    let came = run.give(submit());
    assert_eq!(recorded(&came).last().unwrap(), "sought 1");
    let came = run.pass(limit::PERFORMER_WAIT_MS_MAX - 1);
    assert!(came.effects.is_empty());
    let looks = recorded(&came).len();
    assert!((10..30).contains(&looks), "{looks} looks");
    let came = run.pass(1);
    assert_eq!(run.told(&came), ["respond 1 completed"], "what follows goes on");
    assert_eq!(run.begun().cause.as_ref().unwrap().code, Code::NoPerformer);
}

#[test]
fn nobody_is_looked_for_longer_than_the_operation_may_take() {
    let mut run = single("<TIMEOUT>1</TIMEOUT>", offers(&[], &[]));
    run.give(submit());
    run.pass(999);
    assert_eq!(run.state(1), Some(OperationState::Seeking));
    run.pass(1);
    assert_eq!(run.state(1), Some(OperationState::Failed));
}

#[test]
fn a_performer_that_appears_later_is_found() {
    let mut run = single("<TIMEOUT>5</TIMEOUT>", offers(&[], &[]));
    run.give(submit());
    let began = run.now;
    run.pass(250);
    run.around.offers = offers(&["confirm"], &[]);
    let came = run.pass(limit::PERFORMER_RETRY_MS_MAX);
    let [Effect::Offer { invocation, .. }] = &came.effects[..] else { panic!() };
    assert_eq!(invocation.deadline, Some(began.plus_ms(5_000)), "the time of looking counts");
}

/// The definition names the organization by what the input says.
fn bound_to_choice() -> &'static str {
    "<hx:ORGANIZATION><EXPR><VAR><VARNAME>Supplier</VARNAME><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE>\
     <VALTYPE>STRVALUE</VALTYPE></VAR></EXPR></hx:ORGANIZATION>"
}

// F6: a named organization.
#[test]
fn an_operation_goes_to_the_organization_that_its_definition_names() {
    for (name, expected) in [("Birch", 2), ("Cedar", 3)] {
        let mut run = single(bound_to_choice(), peers());
        let came = run.give(submit_as(1, "purchase", &format!("<Order><Supplier>{name}</Supplier></Order>")));
        assert_eq!(asked(&came), Some(organization(expected)));
        let refuse = answer_of(&run, organization(expected), refusal(Code::NoPerformer));
        assert_eq!(asked(&run.give(refuse)), None, "nobody else will do");
        assert_eq!(run.state(1), Some(OperationState::Failed));
    }
    let here = offers(&["confirm"], &[(2, "Birch", &["confirm"])]);
    let mut run = single(bound_to_choice(), here);
    let came = run.give(submit_as(1, "purchase", "<Order><Supplier>Acme</Supplier></Order>"));
    assert_eq!(run.told(&came), ["submitted", "desk does confirm"], "its own name is this node's");
}

#[test]
fn an_organization_that_is_not_known_is_waited_for_and_one_that_is_not_named_fails() {
    let mut run = single(bound_to_choice(), peers());
    run.give(submit_as(1, "purchase", "<Order><Supplier>Elm</Supplier></Order>"));
    assert_eq!(run.state(1), Some(OperationState::Seeking));
    let mut run = single(bound_to_choice(), peers());
    run.give(submit_as(1, "purchase", "<Order/>"));
    assert_eq!(run.state(1), Some(OperationState::Failed));
}

// T10: CXCNAME names a service, which must have signed up for the operation.
#[test]
fn a_named_service_performs_only_what_it_signed_up_for() {
    let named = "<CXCNAME>desk</CXCNAME>";
    let mut run = single(named, offers(&["confirm"], &[(2, "Birch", &["confirm"])]));
    let came = run.give(submit());
    assert_eq!(run.told(&came), ["submitted", "desk does confirm"]);
    let mut run = single(named, offers(&["other"], &[(2, "Birch", &["confirm"])]));
    run.give(submit());
    assert_eq!(run.state(1), Some(OperationState::Seeking));
}
