//! What this project adds to the source's elements: what each says, what it says where it says nothing, and what it cannot
//! stand beside (T1, T2, T11, T13, T17).

use super::{around, parse};
use crate::{
    code::{Code, Fault},
    transaction::{Join, Operation, Side, Work},
};

/// The only operation between head and tail, with this inside.
fn operation(inside: &str) -> Result<Operation, Vec<Fault>> {
    let text = around(inside);
    let performed = !inside.contains("<hx:TRANSACTION>") && !inside.contains("<hx:SIGNAL>");
    let text = if performed { text } else { text.replace("<CXCNAME>ANY</CXCNAME>", "") };
    parse(&text).map(|definition| definition.operations[1].clone())
}

fn sound(inside: &str) -> Operation {
    operation(inside).unwrap_or_else(|faults| panic!("{inside}: {faults:#?}"))
}

#[test]
fn an_operation_may_be_performed_under_another_name_than_its_own() {
    let plain = sound("");
    assert_eq!((plain.name.as_str(), plain.performs.as_str()), ("work", "work"));
    let other = sound("<hx:PERFORMS>weigh</hx:PERFORMS>");
    assert_eq!((other.name.as_str(), other.performs.as_str()), ("work", "weigh"));
}

#[test]
fn an_operation_is_a_service_a_transaction_or_a_signal() {
    // T17
    assert_eq!(sound("").work, Work::Service);
    assert_eq!(sound("<hx:TRANSACTION>ship</hx:TRANSACTION>").work, Work::Transaction("ship".parse().unwrap()));
    assert_eq!(sound("<hx:SIGNAL>paid</hx:SIGNAL>").work, Work::Signal("paid".parse().unwrap()));
}

#[test]
fn a_retry_says_how_often_and_how_long_between_and_has_defaults_for_the_rest() {
    // T11
    let retry = sound("<hx:RETRY><hx:ATTEMPTS>3</hx:ATTEMPTS></hx:RETRY>").retry.unwrap();
    assert_eq!((retry.attempts_max, retry.pause_ms, retry.factor_percent, retry.pause_ms_max), (3, 1_000, 200, 60_000));
    assert_eq!((retry.attempt_timeout_ms, &retry.except[..]), (None, &[][..]));

    let retry = sound(
        "<hx:RETRY><hx:ATTEMPTS>100</hx:ATTEMPTS><hx:PAUSE>0.25</hx:PAUSE><hx:FACTOR>1.5</hx:FACTOR>\
         <hx:PAUSEMAX>2</hx:PAUSEMAX><hx:ATTEMPTTIMEOUT>0.5</hx:ATTEMPTTIMEOUT>\
         <hx:EXCEPT>operation-failed</hx:EXCEPT><hx:EXCEPT>no-performer</hx:EXCEPT></hx:RETRY>",
    );
    let retry = retry.retry.unwrap();
    assert_eq!((retry.attempts_max, retry.pause_ms, retry.factor_percent, retry.pause_ms_max), (100, 250, 150, 2_000));
    assert_eq!(retry.attempt_timeout_ms, Some(500));
    assert_eq!(retry.except, [Code::OperationFailed, Code::NoPerformer]);

    let long = sound("<hx:RETRY><hx:ATTEMPTS>2</hx:ATTEMPTS><hx:PAUSE>300</hx:PAUSE></hx:RETRY>").retry.unwrap();
    assert_eq!(long.pause_ms_max, 300_000, "the longest pause is never shorter than the first");
}

#[test]
fn a_compensation_may_use_what_its_operation_was_asked_and_answered() {
    // T17
    let compensation = sound("<hx:COMPENSATION><NAME>undo</NAME></hx:COMPENSATION>").compensation.unwrap();
    assert_eq!((compensation.performs.as_str(), &compensation.service), ("undo", &None));
    assert!(matches!(compensation.join, Join::Default) && compensation.retry.is_none());

    let own = "<DOCUMENT><OPID>1</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT>";
    let compensation = sound(&format!(
        "<hx:COMPENSATION><NAME>undo</NAME><CXCNAME>desk</CXCNAME><TIMEOUT>5</TIMEOUT>\
         <hx:RETRY><hx:ATTEMPTS>9</hx:ATTEMPTS></hx:RETRY><JOIN>{own}</JOIN></hx:COMPENSATION>"
    ));
    let compensation = compensation.compensation.unwrap();
    assert_eq!(compensation.service.as_ref().map(|service| service.as_str()), Some("desk"));
    assert_eq!((compensation.timeout_ms, compensation.retry.map(|retry| retry.attempts_max)), (Some(5_000), Some(9)));
    let Join::Documents(documents) = &compensation.join else { panic!("it maps a document") };
    assert_eq!((documents[0].operation, documents[0].side), (1, Side::Output));
}

const LINES: &str =
    "<DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE><OPDOCVARTYPE>Order/Line</OPDOCVARTYPE></DOCUMENT>";

#[test]
fn an_iteration_says_which_lines_and_how_many_and_its_operation_may_use_the_line() {
    // T17
    let own = "<JOIN><DOCUMENT><OPID>1</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE></DOCUMENT></JOIN>";
    let iteration = sound(&format!("<hx:ITERATE>{LINES}<hx:MAX>500</hx:MAX></hx:ITERATE>{own}")).iteration.unwrap();
    assert_eq!((iteration.lines.operation, iteration.lines.path.to_string().as_str()), (0, "Order/Line"));
    assert_eq!((iteration.lines_max, iteration.concurrent_max), (500, 16));

    let few = sound(&format!("<hx:ITERATE>{LINES}<hx:MAX>3</hx:MAX></hx:ITERATE>")).iteration.unwrap();
    assert_eq!(few.concurrent_max, 3, "never more than there can be");
    let one = "<hx:CONCURRENT>1</hx:CONCURRENT>";
    let one = sound(&format!("<hx:ITERATE>{LINES}<hx:MAX>3</hx:MAX>{one}</hx:ITERATE>")).iteration.unwrap();
    assert_eq!(one.concurrent_max, 1);
}

#[test]
fn the_priority_of_a_definition_is_that_of_its_operations_unless_they_say_another() {
    assert_eq!(sound("").priority, 0);
    assert_eq!(sound("<hx:PRIORITY>9</hx:PRIORITY>").priority, 9);
    let text = around("").replace("<NAME>t</NAME>", "<NAME>t</NAME><hx:PRIORITY>4</hx:PRIORITY>");
    assert_eq!(parse(&text).unwrap().operations[1].priority, 4);
    let text =
        around("<hx:PRIORITY>0</hx:PRIORITY>").replace("<NAME>t</NAME>", "<NAME>t</NAME><hx:PRIORITY>4</hx:PRIORITY>");
    assert_eq!(parse(&text).unwrap().operations[1].priority, 0);
}

#[test]
fn a_broadcast_may_be_limited_to_some_services() {
    // T13
    let multicast = sound("<BROADCAST><hx:SERVICE>north</hx:SERVICE><hx:SERVICE>south</hx:SERVICE></BROADCAST>");
    let services = multicast.broadcast.unwrap().services;
    assert_eq!(services.iter().map(|service| service.as_str()).collect::<Vec<_>>(), ["north", "south"]);
    assert!(sound("<BROADCAST/>").broadcast.unwrap().services.is_empty());
}

#[test]
fn what_an_extension_cannot_be_or_stand_beside_is_told_with_a_place_and_help() {
    use Code::{
        DefinitionCombination as Combination, DefinitionCycle as Cycle, DefinitionDuplicate as Duplicate,
        DefinitionInvalid as Invalid, DefinitionReserved as Reserved, DefinitionVariable as Variable,
    };
    let retry = |inside: &str| format!("<hx:RETRY><hx:ATTEMPTS>3</hx:ATTEMPTS>{inside}</hx:RETRY>");
    let lines = |inside: &str| format!("<hx:ITERATE>{LINES}{inside}</hx:ITERATE>");
    let own_output = "<JOIN><DOCUMENT><OPID>1</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>";
    let organization = "<hx:ORGANIZATION><EXPR><VALUE>Acme</VALUE><VALTYPE>STRVALUE</VALTYPE></EXPR></hx:ORGANIZATION>";
    let table = [
        // What cannot be.
        ("<hx:PERFORMS>two words</hx:PERFORMS>".to_owned(), Invalid, "is no operation name"),
        ("<hx:PERFORMS>CXtsTailOp</hx:PERFORMS>".to_owned(), Reserved, "nobody can perform CXtsTailOp"),
        ("<hx:PRIORITY>10</hx:PRIORITY>".to_owned(), Invalid, "<hx:PRIORITY> cannot be '10'"),
        ("<hx:RETRY/>".to_owned(), Invalid, "<hx:RETRY> has no <hx:ATTEMPTS>"),
        ("<hx:RETRY><hx:ATTEMPTS>1</hx:ATTEMPTS></hx:RETRY>".to_owned(), Invalid, "<hx:ATTEMPTS> cannot be '1'"),
        ("<hx:RETRY><hx:ATTEMPTS>101</hx:ATTEMPTS></hx:RETRY>".to_owned(), Invalid, "cannot be '101'"),
        (retry("<hx:PAUSE>-1</hx:PAUSE>"), Invalid, "<hx:PAUSE> cannot be '-1'"),
        (retry("<hx:PAUSE>0.0001</hx:PAUSE>"), Invalid, "<hx:PAUSE> cannot be '0.0001'"),
        (retry("<hx:PAUSE>604800.001</hx:PAUSE>"), Invalid, "cannot be '604800.001'"),
        (retry("<hx:PAUSE>79228162514264337593543950335</hx:PAUSE>"), Invalid, "<hx:PAUSE> cannot be"),
        (retry("<hx:FACTOR>0.99</hx:FACTOR>"), Invalid, "<hx:FACTOR> cannot be '0.99'"),
        (retry("<hx:FACTOR>1.001</hx:FACTOR>"), Invalid, "<hx:FACTOR> cannot be '1.001'"),
        (retry("<hx:PAUSE>5</hx:PAUSE><hx:PAUSEMAX>4</hx:PAUSEMAX>"), Invalid, "shorter than the first pause of 5 s"),
        (retry("<hx:EXCEPT>operation-fails</hx:EXCEPT>"), Invalid, "'operation-fails' is no error code"),
        (retry("<hx:EXCEPT>busy</hx:EXCEPT><hx:EXCEPT>busy</hx:EXCEPT>"), Duplicate, "names busy twice"),
        (
            "<TIMEOUT>5</TIMEOUT>".to_owned() + &retry("<hx:ATTEMPTTIMEOUT>5</hx:ATTEMPTTIMEOUT>"),
            Combination,
            "never reached",
        ),
        ("<hx:COMPENSATION/>".to_owned(), Invalid, "<hx:COMPENSATION> has no <NAME>"),
        (lines(""), Invalid, "<hx:ITERATE> has no <hx:MAX>"),
        (lines("<hx:MAX>0</hx:MAX>"), Invalid, "<hx:MAX> cannot be '0'"),
        (lines("<hx:MAX>20001</hx:MAX>"), Invalid, "<hx:MAX> cannot be '20001'"),
        (lines("<hx:MAX>9</hx:MAX><hx:CONCURRENT>10</hx:CONCURRENT>"), Invalid, "<hx:CONCURRENT> cannot be '10'"),
        (lines("<hx:MAX>9</hx:MAX>").replace("Order/Line", "."), Invalid, "not the whole of it"),
        (lines("<hx:MAX>9</hx:MAX>").replace("Order/Line", "Order/@id"), Invalid, "leads to an attribute"),
        (lines("<hx:MAX>9</hx:MAX>") + own_output, Variable, "uses its own document"),
        (lines("<hx:MAX>9</hx:MAX>").replace("<OPID>0<", "<OPID>1<"), Variable, "uses its own document"),
        ("<BROADCAST><hx:SERVICE>ANY</hx:SERVICE></BROADCAST>".to_owned(), Invalid, "<hx:SERVICE> cannot be ANY"),
        ("<BROADCAST><hx:SERVICE>a</hx:SERVICE><hx:SERVICE>a</hx:SERVICE></BROADCAST>".to_owned(), Duplicate, "twice"),
        ("<hx:TRANSACTION>t</hx:TRANSACTION>".to_owned(), Cycle, "t runs itself"),
        // What cannot stand together.
        (
            "<hx:TRANSACTION>a</hx:TRANSACTION><hx:SIGNAL>b</hx:SIGNAL>".to_owned(),
            Combination,
            "runs a transaction or waits",
        ),
        ("<hx:TRANSACTION>a</hx:TRANSACTION><CXCNAME>desk</CXCNAME>".to_owned(), Combination, "no service performs it"),
        (
            "<hx:TRANSACTION>a</hx:TRANSACTION><hx:PERFORMS>b</hx:PERFORMS>".to_owned(),
            Combination,
            "nobody signs up for it",
        ),
        ("<hx:TRANSACTION>a</hx:TRANSACTION><BROADCAST/>".to_owned(), Combination, "runs once"),
        (format!("<hx:TRANSACTION>a</hx:TRANSACTION>{organization}"), Combination, "runs at this node"),
        ("<hx:SIGNAL>a</hx:SIGNAL><CXCNAME>desk</CXCNAME>".to_owned(), Combination, "no service performs it"),
        ("<hx:SIGNAL>a</hx:SIGNAL><BROADCAST/>".to_owned(), Combination, "nobody is asked"),
        (format!("<hx:SIGNAL>a</hx:SIGNAL>{organization}"), Combination, "nobody is asked"),
        ("<hx:SIGNAL>a</hx:SIGNAL>".to_owned() + &retry(""), Combination, "cannot be asked for again"),
        ("<hx:SIGNAL>a</hx:SIGNAL>".to_owned() + &lines("<hx:MAX>9</hx:MAX>"), Combination, "not for one a line"),
        ("<hx:SIGNAL>a</hx:SIGNAL><hx:PRIORITY>1</hx:PRIORITY>".to_owned(), Combination, "more urgent"),
        ("<hx:SIGNAL>a</hx:SIGNAL><JOIN/>".to_owned(), Combination, "no request to build"),
        (lines("<hx:MAX>9</hx:MAX>") + "<BROADCAST/>", Combination, "for each line or by everybody"),
        (format!("<BROADCAST/>{organization}"), Combination, "bound to one organization"),
    ];
    for (inside, code, words) in table {
        let faults = operation(&inside).expect_err(&inside);
        assert_eq!(faults.len(), 1, "{inside}: {faults:#?}");
        assert_eq!(faults[0].code, code, "{inside}: {faults:#?}");
        assert!(faults[0].message.contains(words), "'{words}' is not in {faults:#?}");
        assert!(faults[0].place.is_some() && faults[0].help.is_some(), "{faults:#?}");
    }
}

#[test]
fn head_and_tail_are_not_performed_so_they_have_none_of_it() {
    let (head, tail) = ("<NAME>CXtsHeadOp</NAME>", "<NAME>CXtsTailOp</NAME>");
    for inside in [
        "<hx:PERFORMS>a</hx:PERFORMS>",
        "<hx:TRANSACTION>a</hx:TRANSACTION>",
        "<hx:SIGNAL>a</hx:SIGNAL>",
        "<hx:PRIORITY>1</hx:PRIORITY>",
        "<hx:RETRY><hx:ATTEMPTS>3</hx:ATTEMPTS></hx:RETRY>",
        "<hx:COMPENSATION><NAME>undo</NAME></hx:COMPENSATION>",
    ] {
        for name in [head, tail] {
            let faults = parse(&around("").replace(name, &format!("{name}{inside}"))).expect_err(inside);
            let codes: Vec<_> = faults.iter().map(|fault| fault.code).collect();
            assert_eq!(codes, [Code::DefinitionReserved], "{name}{inside}: {faults:#?}");
        }
    }
}

#[test]
fn names_are_unique_in_a_definition() {
    // T2: the source wants it; hx:PERFORMS is there for those who want one thing done twice.
    let twice = "<OPLINK><SRCOPID>1</SRCOPID><DSTOPID>5</DSTOPID></OPLINK>";
    let tail = "<OPERATION><NAME>CXtsTailOp<";
    let second = |name: &str| {
        format!(
            "<OPERATION><NAME>{name}</NAME><OPID>5</OPID><CXCNAME>ANY</CXCNAME><OPLINK><SRCOPID>5</SRCOPID><DSTOPID>2</DSTOPID></OPLINK>\
             <hx:PERFORMS>work</hx:PERFORMS></OPERATION>{tail}"
        )
    };
    let faults = parse(&around(twice).replace(tail, &second("work"))).unwrap_err();
    assert_eq!((faults.len(), faults[0].code), (1, Code::DefinitionDuplicate), "{faults:#?}");
    assert!(faults[0].advice().contains("<hx:PERFORMS>work</hx:PERFORMS>"), "{faults:#?}");
    assert!(parse(&around(twice).replace(tail, &second("work-again"))).is_ok());
}
