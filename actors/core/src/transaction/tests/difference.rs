//! Two versions of a definition are told apart by what they say, not by how it is written (T3).

use super::{SOUND, parse};
use crate::transaction::{Change, difference};

fn changes(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (parse(old).unwrap(), parse(new).unwrap());
    let words = |change: Change| {
        let operation = change.operation.map(|operation| format!("{operation}: ")).unwrap_or_default();
        format!(
            "{operation}{}: {:?} → {:?}",
            change.what,
            change.old.unwrap_or_default(),
            change.new.unwrap_or_default()
        )
    };
    difference(&old, &new).into_iter().map(words).collect()
}

#[test]
fn comments_space_and_order_are_no_difference() {
    let written = SOUND
        .replace("<NAME>ask</NAME>\n", "<!-- later -->")
        .replace("</BROADCAST>\n", "</BROADCAST><NAME> ask\n</NAME>");
    assert_ne!(written, SOUND);
    assert_eq!(changes(SOUND, &written), [""; 0]);
}

#[test]
fn what_differs_is_told_part_by_part() {
    for (from, to, told) in [
        ("<TIMEOUT>60</TIMEOUT>", "", r#"TIMEOUT: "60" → """#),
        ("<TIMEOUT>5</TIMEOUT>", "<TIMEOUT>7</TIMEOUT>", r#"ask: TIMEOUT: "5" → "7""#),
        ("<CXCNAME>scales</CXCNAME>", "<CXCNAME>ANY</CXCNAME>", r#"weigh: CXCNAME: "scales" → "ANY""#),
        (
            "<VALUE>10</VALUE>",
            "<VALUE>12</VALUE>",
            r#"weigh: SPLIT to carry: "(Weight in OUTPUT of weigh > 10)" → "(Weight in OUTPUT of weigh > 12)""#,
        ),
        ("<MIN>2</MIN>", "<MIN>3</MIN>", r#"ask: BROADCAST RESPONSE MIN: "2" → "3""#),
        (
            "<OPTIONAL>YES</OPTIONAL>",
            "",
            r#"carry: JOIN ARG weight: "Weight in OUTPUT of weigh (NUMVALUE, optional)" → "Weight in OUTPUT of weigh (NUMVALUE)""#,
        ),
        ("<NAME>carry</NAME>", "<NAME>bear</NAME>", r#"bear: NAME: "carry" → "bear""#),
        (
            "<OPLINK><SRCOPID>0</SRCOPID><DSTOPID>2</DSTOPID></OPLINK>",
            "<OPLINK><SRCOPID>0</SRCOPID><DSTOPID>2</DSTOPID></OPLINK><OPLINK><SRCOPID>0</SRCOPID><DSTOPID>9</DSTOPID></OPLINK>",
            r#"CXtsHeadOp: link to CXtsTailOp: "" → """#,
        ),
    ] {
        assert!(SOUND.contains(from), "{from}");
        assert_eq!(changes(SOUND, &SOUND.replacen(from, to, 1)), [told]);
    }
}

#[test]
fn operations_that_came_and_went_are_told_with_what_they_say() {
    let more = SOUND
        .replace(
            "  <OPERATION>\n    <NAME>CXtsTailOp<",
            "<OPERATION><NAME>insure</NAME><OPID>5</OPID><CXCNAME>ANY</CXCNAME>\
             <OPLINK><SRCOPID>5</SRCOPID><DSTOPID>9</DSTOPID></OPLINK></OPERATION><OPERATION>\n    <NAME>CXtsTailOp<",
        )
        .replace(
            "<OPLINK><SRCOPID>3</SRCOPID><DSTOPID>9</DSTOPID></OPLINK>",
            "<OPLINK><SRCOPID>3</SRCOPID><DSTOPID>9</DSTOPID></OPLINK><OPLINK><SRCOPID>3</SRCOPID><DSTOPID>5</DSTOPID></OPLINK>",
        );
    let told = changes(SOUND, &more);
    assert_eq!(told[0], r#"carry: link to insure: "" → """#);
    assert_eq!(told[1], r#"insure: operation: "" → "insure""#);
    assert!(told.contains(&r#"insure: CXCNAME: "" → "ANY""#.to_owned()), "{told:#?}");
    let back = changes(&more, SOUND);
    assert_eq!(back, [r#"carry: link to insure: "" → """#, r#"insure: operation: "insure" → """#]);
}
