//! Every fault of a definition has a code, a place, words and help; and all of them are told at once (T2).

use super::{SOUND, around, document, parse};
use crate::{
    code::{Code, Place},
    limit,
    transaction::Definition,
};

/// Stands in a text where a fault must be found.
const HERE: char = '¶';
/// In place of the words where a fault must be found: at the mark.
const MARK: &str = "¶";

/// Line and column of what begins at this byte.
fn place_of(text: &str, at: usize) -> Place {
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[..line_start].matches('\n').count() + 1;
    Place { line: line as u32, column: text[line_start..at].chars().count() as u32 + 1 }
}

/// That this definition has these faults at these places, in this order, and no others.
fn check(text: &str, wanted: &[(Code, &str)], words: &str) {
    let clean = text.replace(HERE, "");
    let place = |needle: &str| {
        let at = if needle == MARK { text.find(HERE) } else { clean.find(needle) };
        place_of(&clean, at.unwrap_or_else(|| panic!("'{needle}' is not in {clean}")))
    };
    let faults = parse(&clean).expect_err(words);
    let found: Vec<_> = faults.iter().map(|fault| (fault.code, fault.place.unwrap())).collect();
    let wanted: Vec<_> = wanted.iter().map(|(code, needle)| (*code, place(needle))).collect();
    assert_eq!(found, wanted, "{words}: {faults:#?}");
    assert!(faults.iter().any(|fault| fault.message.contains(words)), "'{words}' is in none of {faults:#?}");
    assert!(faults.iter().all(|fault| fault.help.is_some()), "without help: {faults:#?}");
}

/// What is replaced in the sound definition, by what, the faults that this makes and where, and words of one of them.
type Case = (&'static str, &'static str, &'static [(Code, &'static str)], &'static str);

#[test]
fn every_fault_is_told_with_its_code_and_its_place() {
    use Code::{
        DefinitionCycle as Cycle, DefinitionDuplicate as Duplicate, DefinitionInvalid as Invalid,
        DefinitionLink as Link, DefinitionReserved as Reserved, DefinitionType as Type,
        DefinitionUnreachable as Unreachable, DefinitionVariable as Variable,
    };
    let table: &[Case] = &[
        // Structure.
        ("<NAME>sound</NAME>", "", &[(Invalid, "<TRANSACTION")], "<TRANSACTION> has no <NAME>"),
        ("  <NAME>sound</NAME>", "<NAME>a</NAME>¶<NAME>b</NAME>", &[(Invalid, MARK)], "more than one <NAME>"),
        ("<SAVE>NO</SAVE>", "¶<SAFE>NO</SAFE>", &[(Invalid, MARK)], "<SAFE> does not belong into <TRANSACTION>"),
        ("<SAVE>NO</SAVE>", "¶<SAVE>maybe</SAVE>", &[(Invalid, MARK)], "<SAVE> cannot be 'maybe'"),
        ("<SAVE>NO</SAVE>", "<SAVE>¶<NO/></SAVE>", &[(Invalid, MARK)], "<SAVE> holds text"),
        ("<SAVE>NO</SAVE>", "¶<SAVE xmlns=\"urn:other\">NO</SAVE>", &[(Invalid, MARK)], "does not belong"),
        ("<SAVE>NO</SAVE>", "¶<SAVE kind=\"x\">NO</SAVE>", &[(Invalid, MARK)], "the attribute 'kind'"),
        ("<TIMEOUT>5</TIMEOUT>", "¶<TIMEOUT>soon</TIMEOUT>", &[(Invalid, MARK)], "<TIMEOUT> cannot be 'soon'"),
        ("<TIMEOUT>5</TIMEOUT>", "¶<TIMEOUT>-5</TIMEOUT>", &[(Invalid, MARK)], "cannot be '-5'"),
        ("<TIMEOUT>5</TIMEOUT>", "¶<TIMEOUT>99999999999</TIMEOUT>", &[(Invalid, MARK)], "cannot be '99999999999'"),
        ("<CXCNAME>scales</CXCNAME>", "¶<CXCNAME>two words</CXCNAME>", &[(Invalid, MARK)], "is no service name"),
        ("<NAME>weigh</NAME>", "¶<NAME>weigh/it</NAME>", &[(Invalid, MARK)], "is no operation name"),
        ("<OPERATION>\n    <NAME>weigh</NAME>", "¶<OPERATION>\n", &[(Invalid, MARK)], "<OPERATION> has no <NAME>"),
        (
            "<OPERATION>\n    <NAME>weigh</NAME>\n    <OPID>2</OPID>\n    <CXCNAME>scales</CXCNAME>",
            "¶<OPERATION><NAME>weigh</NAME><OPID>2</OPID>",
            &[(Invalid, MARK)],
            "has no <CXCNAME>",
        ),
        (
            "    <NAME>weigh</NAME>",
            "¶<hx:NAME>weigh</hx:NAME><NAME>weigh</NAME>",
            &[(Invalid, MARK)],
            "does not belong",
        ),
        (
            "<hx:SCOPE>FEDERATION</hx:SCOPE>",
            "¶<SCOPE>FEDERATION</SCOPE>",
            &[(Invalid, MARK)],
            "<SCOPE> does not belong",
        ),
        ("<hx:SCOPE>FEDERATION</hx:SCOPE>", "¶<hx:SCOPE>WORLD</hx:SCOPE>", &[(Invalid, MARK)], "cannot be 'WORLD'"),
        ("<RESPONSE><MIN>2</MIN></RESPONSE>", "¶<RESPONSE/>", &[(Invalid, MARK)], "<RESPONSE> has no <MIN>"),
        ("<MIN>2</MIN>", "¶<MIN>0</MIN>", &[(Invalid, MARK)], "<MIN> cannot be 0"),
        ("<MIN>2</MIN>", "¶<MIN>20001</MIN>", &[(Invalid, MARK)], "<MIN> cannot be 20001"),
        ("<SRCOPID>3</SRCOPID>", "", &[(Invalid, "<OPLINK><DSTOPID>")], "<OPLINK> has no <SRCOPID>"),
        ("        <OPID>3</OPID>\n", "", &[(Invalid, "<STMT>")], "<STMT> has no <OPID>"),
        ("<EXPR><VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR>", "¶<EXPR/>", &[(Invalid, MARK)], "has 0 of"),
        (
            "<VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE>",
            "<VALUE>1</VALUE>",
            &[(Invalid, "<EXPR><VALUE>1</VALUE></EXPR>")],
            "no <VALTYPE> beside it",
        ),
        ("<VALUE>1</VALUE>", "\n\n  ¶loose<VALUE>1</VALUE>", &[(Invalid, MARK)], "text between its elements"),
        ("<SAVE>NO</SAVE>", "<SAVE>NO</SAVE>\n ¶&amp; stray", &[(Invalid, MARK)], "text between its elements"),
        (
            "<SAVE>NO</SAVE>",
            "<SAVE>NO</SAVE><![CDATA[\n ]]><![CDATA[\n ¶stray]]>",
            &[(Invalid, MARK)],
            "text between its elements",
        ),
        ("<OPDOCIOTYPE>INPUT<", "¶<OPDOCIOTYPE>BOTH<", &[(Invalid, MARK)], "cannot be 'BOTH'"),
        (
            "    <JOIN>\n      <ARG>",
            "<JOIN>¶<DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE></DOCUMENT><ARG>",
            &[(Invalid, MARK)],
            "both <ARG> and <DOCUMENT>",
        ),
        ("<NAME>offers</NAME>", "¶<NAME>weight</NAME>", &[(Invalid, MARK)], "two arguments have the name 'weight'"),
        ("<NAME>offers</NAME>", "¶<NAME>the offers</NAME>", &[(Invalid, MARK)], "is no name of an argument"),
        ("<OPTIONAL>YES</OPTIONAL>", "¶<OPTIONAL>perhaps</OPTIONAL>", &[(Invalid, MARK)], "cannot be 'perhaps'"),
        ("<VARNAME>Price</VARNAME>", "¶<VARNAME>cbc:Price</VARNAME>", &[(Invalid, MARK)], "has a prefix"),
        ("<VARNAME>Price</VARNAME>", "¶<VARNAME>a//b</VARNAME>", &[(Invalid, MARK)], "a step is empty"),
        ("<VARNAME>Price</VARNAME>", "¶<VARNAME>a[0]</VARNAME>", &[(Invalid, MARK)], "is no position"),
        ("<VARNAME>Price</VARNAME>", "¶<VARNAME>@a/b</VARNAME>", &[(Invalid, MARK)], "nothing can follow"),
        (
            "<OPDOCVARTYPE>.<",
            "<OPDOCVARTYPE>@a<",
            &[(Invalid, "<VARNAME>Weight</VARNAME><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><OPDOCVARTYPE>@a")],
            "nothing can be found below '@a'",
        ),
        (
            "<DOCUMENT><OPID>1</OPID>",
            "<EXPR><VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR>¶<DOCUMENT><OPID>1</OPID>",
            &[(Invalid, MARK)],
            "both <EXPR> and <DOCUMENT>",
        ),
        // Ids, links and targets.
        (
            "<OPID>2</OPID>\n    <CXCNAME>",
            "¶<OPID>1</OPID>\n    <CXCNAME>",
            &[(Duplicate, MARK)],
            "OPID 1 is the operation's in line 11",
        ),
        (
            "<OPID>2</OPID>\n    <CXCNAME>",
            "¶<OPID>two</OPID>\n    <CXCNAME>",
            &[(Invalid, MARK)],
            "<OPID> cannot be 'two'",
        ),
        (
            "<SRCOPID>3</SRCOPID><DSTOPID>9<",
            "<SRCOPID>3</SRCOPID>¶<DSTOPID>7<",
            &[(Link, MARK)],
            "leads to operation 7, which is not there",
        ),
        (
            "<SRCOPID>3</SRCOPID>",
            "¶<SRCOPID>2</SRCOPID>",
            &[(Link, MARK)],
            "a link in operation 3 starts from operation 2",
        ),
        (
            "<OPLINK><SRCOPID>3</SRCOPID><DSTOPID>9</DSTOPID></OPLINK>",
            "<OPLINK><SRCOPID>3</SRCOPID><DSTOPID>9</DSTOPID></OPLINK>¶<OPLINK><SRCOPID>3</SRCOPID><DSTOPID>9</DSTOPID></OPLINK>",
            &[(Link, MARK)],
            "two links to operation 9",
        ),
        ("        <OPID>3</OPID>\n", "        ¶<OPID>1</OPID>\n", &[(Link, MARK)], "which is no link of its operation"),
        ("        <OPID>3</OPID>\n", "        ¶<OPID>77</OPID>\n", &[(Link, MARK)], "leads to operation 77"),
        // The graph.
        (
            "<OPLINK><SRCOPID>3</SRCOPID><DSTOPID>9</DSTOPID></OPLINK>",
            "<OPLINK><SRCOPID>3</SRCOPID><DSTOPID>9</DSTOPID></OPLINK>¶<OPLINK><SRCOPID>3</SRCOPID><DSTOPID>2</DSTOPID></OPLINK>",
            &[(Cycle, MARK)],
            "2 → 3 → 2",
        ),
        (
            "<OPLINK><SRCOPID>3</SRCOPID><DSTOPID>9</DSTOPID></OPLINK>",
            "<OPLINK><SRCOPID>3</SRCOPID><DSTOPID>9</DSTOPID></OPLINK>¶<OPLINK><SRCOPID>3</SRCOPID><DSTOPID>3</DSTOPID></OPLINK>",
            &[(Cycle, MARK)],
            "3 → 3",
        ),
        (
            "    <OPLINK><SRCOPID>0</SRCOPID><DSTOPID>2</DSTOPID></OPLINK>\n  </OPERATION>\n",
            "  </OPERATION><OPERATION><NAME>lost</NAME><OPID>5</OPID><CXCNAME>ANY</CXCNAME><OPLINK><SRCOPID>5</SRCOPID><DSTOPID>9</DSTOPID></OPLINK></OPERATION>",
            &[(Unreachable, "<OPERATION><NAME>lost<"), (Unreachable, "<OPERATION>\n    <NAME>weigh<")],
            "operation 2 (weigh) cannot be reached from CXtsHeadOp",
        ),
        (
            "    <OPLINK><SRCOPID>3</SRCOPID><DSTOPID>9</DSTOPID></OPLINK>\n",
            "",
            &[(Unreachable, "<OPERATION>\n    <NAME>ask<"), (Unreachable, "<OPERATION>\n    <NAME>carry<")],
            "operation 3 (carry) cannot reach CXtsTailOp",
        ),
        // Head and tail.
        (
            "<NAME>CXtsHeadOp<",
            "<CXCNAME>ANY</CXCNAME><NAME>begin<",
            &[(Reserved, "<TRANSACTION")],
            "no operation is CXtsHeadOp",
        ),
        (
            "<OPERATION>\n    <NAME>CXtsTailOp<",
            "¶<OPERATION>\n    <CXCNAME>ANY</CXCNAME><NAME>CxtsTailOp<",
            &[(Reserved, MARK)],
            "no operation is CXtsTailOp",
        ),
        (
            "  <OPERATION>\n    <NAME>CXtsTailOp<",
            "<OPERATION><NAME>CXtsTailOp</NAME><OPID>8</OPID></OPERATION>¶<OPERATION>\n    <NAME>CXtsTailOp<",
            &[(Reserved, MARK)],
            "CXtsTailOp is in line",
        ),
        (
            "  <OPERATION>\n    <NAME>CXtsHeadOp<",
            "<OPERATION><NAME>early</NAME><OPID>8</OPID><CXCNAME>ANY</CXCNAME></OPERATION>¶<OPERATION>\n    <NAME>CXtsHeadOp<",
            &[(Unreachable, "<OPERATION><NAME>early<"), (Unreachable, "<OPERATION><NAME>early<"), (Reserved, MARK)],
            "CXtsHeadOp is not the first",
        ),
        (
            "</OPERATION>\n</TRANSACTION>",
            "</OPERATION><OPERATION><NAME>late</NAME><OPID>8</OPID><CXCNAME>ANY</CXCNAME></OPERATION></TRANSACTION>",
            &[
                (Reserved, "<OPERATION>\n    <NAME>CXtsTailOp<"),
                (Unreachable, "<OPERATION><NAME>late<"),
                (Unreachable, "<OPERATION><NAME>late<"),
            ],
            "CXtsTailOp is not the last",
        ),
        (
            "<OPID>9</OPID>\n  </OPERATION>",
            "<OPID>9</OPID><BROADCAST/></OPERATION>",
            &[(Reserved, "<OPERATION>\n    <NAME>CXtsTailOp<")],
            "CXtsTailOp cannot have <BROADCAST>",
        ),
        (
            "<OPID>0</OPID>\n",
            "<OPID>0</OPID><JOIN/>\n",
            &[(Reserved, "<OPERATION>\n    <NAME>CXtsHeadOp<")],
            "CXtsHeadOp cannot have <JOIN>",
        ),
        (
            "<hx:ORGANIZATION>",
            "<BROADCAST/><hx:ORGANIZATION>",
            &[(Code::DefinitionCombination, "<hx:ORGANIZATION>")],
            "both broadcast and bound to one organization",
        ),
        // Variables.
        (
            "<DOCUMENT><OPID>0</OPID>",
            "<DOCUMENT>¶<OPID>3</OPID>",
            &[(Variable, MARK)],
            "operation 3 (carry) does not come before operation 2 (weigh)",
        ),
        (
            "<DOCUMENT><OPID>0</OPID>",
            "<DOCUMENT>¶<OPID>1</OPID>",
            &[(Variable, MARK)],
            "operation 1 (ask) does not come before operation 2 (weigh)",
        ),
        ("<DOCUMENT><OPID>0</OPID>", "<DOCUMENT>¶<OPID>2</OPID>", &[(Variable, MARK)], "uses its own document"),
        ("<DOCUMENT><OPID>0</OPID>", "<DOCUMENT>¶<OPID>44</OPID>", &[(Variable, MARK)], "leads to operation 44"),
        (
            "<VARNAME>Price</VARNAME><OPID>1</OPID>",
            "<VARNAME>Price</VARNAME>¶<OPID>3</OPID>",
            &[(Variable, MARK)],
            "does not come before",
        ),
        // Types.
        ("<VALUE>10</VALUE>", "¶<VALUE>ten</VALUE>", &[(Type, MARK)], "'ten' is no number"),
        (
            "<VALUE>10</VALUE><VALTYPE>NUMVALUE</VALTYPE>",
            "<VALUE>10</VALUE>¶<VALTYPE>NUMBER</VALTYPE>",
            &[(Type, MARK)],
            "<VALTYPE> cannot be 'NUMBER'",
        ),
        (
            "<EXPR><VALUE>10</VALUE><VALTYPE>NUMVALUE<",
            "¶<EXPR><VALUE>10</VALUE><VALTYPE>STRVALUE<",
            &[(Type, MARK)],
            "GREATER works on numbers, and this is a text",
        ),
        (
            "<EXPR><VALUE>10</VALUE><VALTYPE>NUMVALUE<",
            "<EXPR>¶<VALUE>10</VALUE><VALTYPE>DOCVALUE<",
            &[(Type, MARK)],
            "is no document section",
        ),
        (
            "<OPNAME>GREATER</OPNAME>",
            "¶<OPNAME>GREATERTHAN</OPNAME>",
            &[(Type, MARK)],
            "<OPNAME> cannot be 'GREATERTHAN'",
        ),
        (
            "GREATER</OPNAME><EXPR><VAR><VARNAME>Weight</VARNAME><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>NUMVALUE<",
            "EQUAL</OPNAME><EXPR><VAR><VARNAME>Weight</VARNAME><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>STRVALUE<",
            &[(Type, "<EXPR><OPERATOR>")],
            "EQUAL has a text on its left and a number on its right",
        ),
        (
            "GREATER</OPNAME><EXPR><VAR><VARNAME>Weight</VARNAME><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>NUMVALUE<",
            "PLUS</OPNAME>¶<EXPR><VAR><VARNAME>Weight</VARNAME><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>DOCVALUE<",
            &[(Type, MARK)],
            "PLUS cannot work on a whole document section",
        ),
        (
            "GREATER</OPNAME><EXPR><VAR><VARNAME>Weight</VARNAME><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>NUMVALUE<",
            "AND</OPNAME>¶<EXPR><VAR><VARNAME>Weight</VARNAME><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>STRVALUE<",
            &[(Type, MARK)],
            "AND needs a condition, and this is a text",
        ),
        (
            "EXISTS</FUNCNAME><VALTYPE>BOOLVALUE</VALTYPE><EXPR><VAR>",
            "EXISTS</FUNCNAME><EXPR><VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR><EXPR><VAR>",
            &[(Type, "<EXPR><FUNCTION>")],
            "EXISTS takes one argument, and here are 2",
        ),
        (
            "<EXPR><VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR>",
            "<EXPR><FUNCTION><FUNCNAME>COUNT</FUNCNAME>¶<EXPR><VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR></FUNCTION></EXPR>",
            &[(Type, MARK)],
            "COUNT takes a variable",
        ),
        (
            "<EXPR><VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR>",
            "<EXPR><FUNCTION><FUNCNAME>SUM</FUNCNAME>¶<EXPR><VALUE>1</VALUE><VALTYPE>STRVALUE</VALTYPE></EXPR></FUNCTION></EXPR>",
            &[(Type, MARK)],
            "SUM works on numbers",
        ),
        (
            "<EXPR><VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR>",
            "¶<EXPR><FUNCTION><FUNCNAME>CONCAT</FUNCNAME><EXPR><VALUE>1</VALUE><VALTYPE>STRVALUE</VALTYPE></EXPR></FUNCTION></EXPR>",
            &[(Type, MARK)],
            "a statement needs a condition",
        ),
        (
            "<VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE>",
            "<VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE><VAR><VARNAME>Weight</VARNAME><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>NUMVALUE</VALTYPE></VAR>",
            &[(Invalid, "<EXPR><VALUE>1<")],
            "has 2 of",
        ),
        ("<FUNCNAME>EXISTS</FUNCNAME>", "¶<FUNCNAME>exists</FUNCNAME>", &[(Type, MARK)], "cannot be 'exists'"),
        (
            "<FUNCNAME>EXISTS</FUNCNAME><VALTYPE>BOOLVALUE<",
            "<FUNCNAME>EXISTS</FUNCNAME>¶<VALTYPE>NUMVALUE<",
            &[(Type, MARK)],
            "EXISTS makes a truth value, not a number",
        ),
        (
            "<EXPR><VALUE>1</VALUE><VALTYPE>NUMVALUE<",
            "¶<EXPR><VALUE>1</VALUE><VALTYPE>STRVALUE<",
            &[(Type, MARK)],
            "a statement needs a condition",
        ),
        (
            "<NAME>weight</NAME>\n        <VALTYPE>NUMVALUE<",
            "<NAME>weight</NAME>\n        <VALTYPE>STRVALUE<",
            &[(
                Type,
                "<EXPR><VAR><VARNAME>Weight</VARNAME><OPID>2</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><OPDOCVARTYPE>",
            )],
            "the argument is a text, but its expression is a number",
        ),
        (
            "<OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>STRVALUE<",
            "<OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>NUMVALUE<",
            &[(Type, "<EXPR><VAR><VARNAME>Response[1]")],
            "an organization is named by a text",
        ),
    ];
    let mut failures = Vec::new();
    for (from, to, wanted, words) in table {
        assert!(SOUND.contains(from), "not in the sound definition: {from}");
        let text = SOUND.replacen(from, to, 1);
        if let Err(panic) = std::panic::catch_unwind(|| check(&text, wanted, words)) {
            failures.push(panic.downcast_ref::<String>().cloned().unwrap_or_default());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n=====\n"));
}

#[test]
fn all_faults_of_a_definition_are_told_at_once_in_the_order_of_the_text() {
    let text = SOUND
        .replace("<SAVE>NO</SAVE>", "<SAVE>never</SAVE>")
        .replace("<TIMEOUT>5</TIMEOUT>", "<TIMEOUT>x</TIMEOUT>")
        .replace("<MIN>2</MIN>", "<MIN>0</MIN>")
        .replace("<VALUE>10</VALUE>", "<VALUE>ten</VALUE>")
        .replace("<SRCOPID>3</SRCOPID><DSTOPID>9<", "<SRCOPID>3</SRCOPID><DSTOPID>70<");
    let faults = parse(&text).unwrap_err();
    let codes: Vec<_> = faults.iter().map(|fault| fault.code).collect();
    use Code::{DefinitionInvalid, DefinitionLink, DefinitionType};
    assert_eq!(
        codes,
        [DefinitionInvalid, DefinitionInvalid, DefinitionInvalid, DefinitionType, DefinitionLink],
        "what cannot be reached because of the broken link is not told as a fault of its own: {faults:#?}"
    );
    assert!(faults.is_sorted_by_key(|fault| fault.place));
}

#[test]
fn a_slip_of_the_pen_is_answered_with_what_was_meant() {
    for (from, to, help) in [
        ("<SAVE>NO</SAVE>", "<SAFE>NO</SAFE>", "did you mean <SAVE>?"),
        (
            "<hx:SCOPE>FEDERATION</hx:SCOPE>",
            "<SCOPE>FEDERATION</SCOPE>",
            "<hx:SCOPE xmlns:hx=\"urn:hansa:transaction:1\">",
        ),
        ("<OPNAME>GREATER</OPNAME>", "<OPNAME>greater</OPNAME>", "did you mean GREATER?"),
        ("<OPDOCIOTYPE>INPUT<", "<OPDOCIOTYPE>Input<", "did you mean INPUT?"),
        ("<NAME>CXtsTailOp<", "<CXCNAME>ANY</CXCNAME><NAME>CxtsTailOp<", "write CXtsTailOp instead of CxtsTailOp"),
    ] {
        let faults = parse(&SOUND.replacen(from, to, 1)).unwrap_err();
        assert!(faults.iter().any(|fault| fault.advice().contains(help)), "{help}: {faults:#?}");
    }
}

#[test]
fn every_knot_of_circles_is_shown() {
    let knot = |one: u32, other: u32| {
        format!(
            "<OPERATION><NAME>a{one}</NAME><OPID>{one}</OPID><CXCNAME>ANY</CXCNAME><OPLINK><SRCOPID>{one}</SRCOPID><DSTOPID>{other}</DSTOPID></OPLINK></OPERATION>\
             <OPERATION><NAME>b{other}</NAME><OPID>{other}</OPID><CXCNAME>ANY</CXCNAME><OPLINK><SRCOPID>{other}</SRCOPID><DSTOPID>{one}</DSTOPID></OPLINK>\
             <OPLINK><SRCOPID>{other}</SRCOPID><DSTOPID>2</DSTOPID></OPLINK></OPERATION>"
        )
    };
    let links = "<OPLINK><SRCOPID>1</SRCOPID><DSTOPID>3</DSTOPID></OPLINK><OPLINK><SRCOPID>1</SRCOPID><DSTOPID>5</DSTOPID></OPLINK>";
    let tail = "<OPERATION><NAME>CXtsTailOp<";
    let text = around(links).replace(tail, &format!("{}{}{tail}", knot(3, 4), knot(5, 6)));
    let faults = parse(&text).unwrap_err();
    let told: Vec<_> = faults.iter().map(|fault| fault.message.rsplit(": ").next().unwrap()).collect();
    assert_eq!(told, ["3 → 4 → 3", "5 → 6 → 5"]);
}

#[test]
fn an_expression_that_nests_too_deep_is_a_fault_not_a_crash() {
    let nested = |levels: usize| {
        let (open, close) = ("<EXPR><FUNCTION><FUNCNAME>NOT</FUNCNAME>", "</FUNCTION></EXPR>");
        let value = "<EXPR><FUNCTION><FUNCNAME>EXISTS</FUNCNAME><EXPR><VAR><VARNAME>a</VARNAME><OPID>1</OPID>\
            <OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE><VALTYPE>STRVALUE</VALTYPE></VAR></EXPR></FUNCTION></EXPR>";
        let levels = levels - 1;
        let expression = format!("{}{value}{}", open.repeat(levels - 1), close.repeat(levels - 1));
        around(&format!("<SPLIT><STMT>{expression}<OPID>2</OPID></STMT></SPLIT>"))
    };
    assert!(parse(&nested(limit::EXPRESSION_DEPTH_MAX)).is_ok());
    let faults = parse(&nested(limit::EXPRESSION_DEPTH_MAX + 1)).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].message.contains("nest deeper than 32 levels"), "{faults:?}");
}

#[test]
fn more_operations_links_or_faults_than_the_limit_are_answered_with_the_limit() {
    let operation = "<OPERATION><NAME>a</NAME><OPID>1</OPID><CXCNAME>ANY</CXCNAME></OPERATION>";
    let text = format!("<TRANSACTION><NAME>t</NAME>{}</TRANSACTION>", operation.repeat(limit::OPERATIONS_MAX + 1));
    let faults = Definition::parse(&document(&text)).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].message.contains("limit of 20000"), "{faults:?}");

    let link = "<OPLINK><SRCOPID>1</SRCOPID><DSTOPID>2</DSTOPID></OPLINK>";
    let faults = parse(&around(&link.repeat(limit::LINKS_MAX))).unwrap_err();
    assert_eq!(faults.len(), limit::DEFINITION_FAULTS_MAX + 1);
    assert!(faults.last().unwrap().message.contains("more faults"), "{:?}", faults.last());
    assert!(faults.iter().any(|fault| fault.message.contains("two links")));
}

#[test]
fn a_document_of_another_kind_is_no_definition() {
    check("¶<DEFINITION/>", &[(Code::DefinitionInvalid, MARK)], "the root element is <DEFINITION>");
    check("¶<TRANSACTION xmlns='urn:other'/>", &[(Code::DefinitionInvalid, MARK)], "the root element is <TRANSACTION>");
}

/// The codes and messages of a definition's faults.
fn told(text: &str) -> Vec<(Code, String)> {
    parse(text).err().unwrap_or_default().into_iter().map(|fault| (fault.code, fault.message)).collect()
}

#[test]
fn one_bad_opid_hides_no_other_fault() {
    use Code::{DefinitionDuplicate as Duplicate, DefinitionInvalid as Invalid, DefinitionLink as Link};
    // Two links lead nowhere, whatever becomes of the operation whose OPID is bad.
    let text = |opid: &str, links: &str| {
        around(&format!(
            "<OPLINK><SRCOPID>1</SRCOPID><DSTOPID>77</DSTOPID></OPLINK>\
             <SPLIT><STMT><EXPR><VALUE>true</VALUE><VALTYPE>BOOLVALUE</VALTYPE></EXPR><OPID>55</OPID></STMT></SPLIT>\
             </OPERATION><OPERATION><NAME>c</NAME>{opid}<CXCNAME>ANY</CXCNAME>{links}"
        ))
    };
    let own = "<OPLINK><SRCOPID>3</SRCOPID><DSTOPID>2</DSTOPID></OPLINK>";
    for (opid, links, code) in [
        ("<OPID>1</OPID>", "<OPLINK><SRCOPID>1</SRCOPID><DSTOPID>2</DSTOPID></OPLINK>", Duplicate),
        ("<OPID>1</OPID>", own, Duplicate),
        ("<OPID>three</OPID>", own, Invalid),
        ("", own, Invalid),
        // Its links do not say which number it has, but it cannot have both that lead nowhere.
        ("", "<OPLINK><SRCOPID>x</SRCOPID><DSTOPID>2</DSTOPID></OPLINK>", Invalid),
    ] {
        let told = told(&text(opid, links));
        let nowhere: Vec<_> = told.iter().filter(|(code, _)| *code == Link).map(|(_, message)| &**message).collect();
        let wanted = [
            "a link of operation 1 leads to operation 77, which is not there",
            "the statement leads to operation 55, which is not there",
        ];
        assert_eq!(nowhere, wanted, "{opid}{links}: {told:#?}");
        assert!(told.iter().any(|(told, _)| *told == code), "{told:#?}");
    }
}

#[test]
fn what_may_lead_to_the_operation_whose_opid_is_bad_is_no_fault_of_its_own() {
    // The tail has no links that could tell its number.
    let sound = SOUND.replace("<OPID>9</OPID>\n  </OPERATION>", "<OPID>nine</OPID></OPERATION>");
    assert_eq!(told(&sound).len(), 1, "{:#?}", told(&sound));
    // Of two with one number, either may be meant by what leads to it.
    let text = around(
        "</OPERATION><OPERATION><NAME>c</NAME><OPID>1</OPID><CXCNAME>ANY</CXCNAME><OPLINK><SRCOPID>1</SRCOPID><DSTOPID>2</DSTOPID></OPLINK>",
    );
    let told = told(&text);
    assert!(matches!(&told[..], [(Code::DefinitionDuplicate, _)]), "{told:#?}");
}

#[test]
fn a_circle_or_a_broken_link_hides_no_document_that_does_not_come_before() {
    use Code::{DefinitionCycle as Cycle, DefinitionLink as Link, DefinitionVariable as Variable};
    let link = |from: &str, to: &str| format!("<OPLINK><SRCOPID>{from}</SRCOPID><DSTOPID>{to}</DSTOPID></OPLINK>");
    // 0 → 1 → 2 (tail); 1 → 3 → 4 → 3, 4 → 2; 1 → 5 → 2. Operation 3 uses what is not before it.
    let text = |of: &str, back: &str| {
        let operation = |id: &str, inside: &str| {
            format!("<OPERATION><NAME>o{id}</NAME><OPID>{id}</OPID><CXCNAME>ANY</CXCNAME>{inside}</OPERATION>")
        };
        let join = format!("<JOIN><DOCUMENT><OPID>{of}</OPID><OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN>");
        let more = [
            operation("3", &(link("3", "4") + &join)),
            operation("4", &(link("4", back) + &link("4", "2"))),
            operation("5", &link("5", "2")),
        ]
        .concat();
        let tail = "<OPERATION><NAME>CXtsTailOp<";
        around(&(link("1", "3") + &link("1", "5"))).replace(tail, &format!("{more}{tail}"))
    };
    let codes = |text: &str| told(text).into_iter().map(|(code, _)| code).collect::<Vec<_>>();
    assert_eq!(codes(&text("5", "3")), [Variable, Cycle], "5 is on no way to 3, whichever link of the circle goes");
    assert_eq!(codes(&text("4", "3")), [Cycle], "4 may come before 3, if the other link of the circle goes");
    assert_eq!(codes(&text("1", "3")), [Cycle]);
    assert_eq!(codes(&text("5", "77")), [Variable, Link], "5 has no broken link before it");
    assert_eq!(codes(&text("4", "77")), [Link], "the broken link of 4 may lead to 3");
    // A statement that contradicts itself does so in any graph.
    let never = "<SPLIT><STMT><EXPR><VALUE>0</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR><OPID>4</OPID></STMT></SPLIT>";
    for back in ["3", "77"] {
        let text = text("1", back).replace("<NAME>o3</NAME>", &format!("<NAME>o3</NAME>{never}"));
        assert!(codes(&text).contains(&Code::DefinitionContradiction), "{:#?}", told(&text));
    }
}

#[test]
fn a_broken_link_hides_no_operation_that_is_out_of_reach_all_the_same() {
    let lost = "<OPERATION><NAME>lost</NAME><OPID>5</OPID><CXCNAME>ANY</CXCNAME></OPERATION>";
    let tail = "<OPERATION><NAME>CXtsTailOp<";
    let text =
        around("<OPLINK><SRCOPID>1</SRCOPID><DSTOPID>77</DSTOPID></OPLINK>").replace(tail, &format!("{lost}{tail}"));
    let told = told(&text);
    let messages: Vec<_> = told.iter().map(|(_, message)| &**message).collect();
    assert_eq!(
        messages,
        [
            "a link of operation 1 leads to operation 77, which is not there",
            "operation 5 (lost) cannot reach CXtsTailOp"
        ],
        "the broken link may lead to it, but nothing leads from it"
    );
}

#[test]
fn what_stands_in_a_faulty_expression_is_read_all_the_same() {
    let wrong = "<EXPR><VALUE>ten</VALUE><VALTYPE>NUMVALUE</VALTYPE></EXPR>";
    for expression in [
        format!("<EXPR><FUNCTION><FUNCNAME>NOT</FUNCNAME><VALTYPE>LOGICAL</VALTYPE>{wrong}</FUNCTION></EXPR>"),
        format!(
            "<EXPR><VALUE>1</VALUE><VALTYPE>NUMVALUE</VALTYPE><FUNCTION><FUNCNAME>NOT</FUNCNAME>{wrong}</FUNCTION></EXPR>"
        ),
    ] {
        let text = around(&format!("<SPLIT><STMT>{expression}<OPID>2</OPID></STMT></SPLIT>"));
        let told = told(&text);
        assert_eq!(told.len(), 2, "{told:#?}");
        assert!(told.iter().any(|(_, message)| message.contains("'ten' is no number")), "{told:#?}");
    }
}
