//! The elements of a transaction definition and what may stand in each, as one table (T1).
//!
//! The parser checks structure by it; tests hold `docs/schemas/transaction.dtd` and `.xsd` to the same table. It knows
//! names and counts, not meanings.

/// Namespace of what this project adds to the source's elements; the table writes it as the prefix `hx`.
pub const EXTENSIONS: &str = "urn:hansa:transaction:1";

/// How often an element may stand in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occurs {
    Once,
    Optional,
    Any,
    AtLeastOnce,
    Twice,
}

impl Occurs {
    pub(super) fn allows(self, count: usize) -> bool {
        match self {
            Self::Once => count == 1,
            Self::Optional => count <= 1,
            Self::Any => true,
            Self::AtLeastOnce => count >= 1,
            Self::Twice => count == 2,
        }
    }
}

/// What may stand in one element; with nothing, it holds text.
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) children: &'static [(&'static str, Occurs)],
}

use Occurs::{Any, AtLeastOnce, Once, Optional, Twice};

/// Every element that has others in it. An element that has no rule holds text. Order is free, but the schemas have it.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "TRANSACTION",
        children: &[
            ("NAME", Once),
            ("TIMEOUT", Optional),
            ("SAVE", Optional),
            ("hx:PRIORITY", Optional),
            ("OPERATION", AtLeastOnce),
        ],
    },
    Rule {
        name: "OPERATION",
        children: &[
            ("NAME", Once),
            ("OPID", Once),
            ("CXCNAME", Optional),
            ("TIMEOUT", Optional),
            ("OPLINK", Any),
            ("BROADCAST", Optional),
            ("SPLIT", Optional),
            ("JOIN", Optional),
            ("hx:ORGANIZATION", Optional),
            ("hx:PERFORMS", Optional),
            ("hx:TRANSACTION", Optional),
            ("hx:SIGNAL", Optional),
            ("hx:ITERATE", Optional),
            ("hx:PRIORITY", Optional),
            ("hx:RETRY", Optional),
            ("hx:COMPENSATION", Optional),
        ],
    },
    Rule { name: "OPLINK", children: &[("SRCOPID", Once), ("DSTOPID", Once)] },
    Rule {
        name: "BROADCAST",
        children: &[("RESPONSE", Optional), ("EXPR", Optional), ("hx:SCOPE", Optional), ("hx:SERVICE", Any)],
    },
    Rule { name: "RESPONSE", children: &[("MIN", Once)] },
    Rule { name: "SPLIT", children: &[("STMT", AtLeastOnce)] },
    Rule { name: "STMT", children: &[("EXPR", Once), ("OPID", AtLeastOnce)] },
    Rule { name: "JOIN", children: &[("ARG", Any), ("DOCUMENT", Any), ("EXPR", Optional)] },
    Rule {
        name: "ARG",
        children: &[
            ("NAME", Once),
            ("VALTYPE", Once),
            ("OPTIONAL", Optional),
            ("EXPR", Optional),
            ("DOCUMENT", Optional),
        ],
    },
    Rule { name: "DOCUMENT", children: &[("OPID", Once), ("OPDOCIOTYPE", Once), ("OPDOCVARTYPE", Optional)] },
    Rule {
        name: "EXPR",
        children: &[
            ("VALUE", Optional),
            ("VALTYPE", Optional),
            ("OPERATOR", Optional),
            ("FUNCTION", Optional),
            ("VAR", Optional),
        ],
    },
    Rule { name: "OPERATOR", children: &[("OPNAME", Once), ("EXPR", Twice)] },
    Rule {
        name: "FUNCTION",
        children: &[("FUNCNAME", Once), ("LIBNAME", Optional), ("VALTYPE", Optional), ("EXPR", Any)],
    },
    Rule {
        name: "VAR",
        children: &[
            ("VARNAME", Once),
            ("OPID", Once),
            ("OPDOCIOTYPE", Once),
            ("OPDOCVARTYPE", Optional),
            ("VALTYPE", Once),
        ],
    },
    Rule { name: "hx:ORGANIZATION", children: &[("EXPR", Once)] },
    Rule { name: "hx:ITERATE", children: &[("DOCUMENT", Once), ("hx:MAX", Once), ("hx:CONCURRENT", Optional)] },
    Rule {
        name: "hx:RETRY",
        children: &[
            ("hx:ATTEMPTS", Once),
            ("hx:PAUSE", Optional),
            ("hx:FACTOR", Optional),
            ("hx:PAUSEMAX", Optional),
            ("hx:ATTEMPTTIMEOUT", Optional),
            ("hx:EXCEPT", Any),
        ],
    },
    Rule {
        name: "hx:COMPENSATION",
        children: &[
            ("NAME", Once),
            ("CXCNAME", Optional),
            ("TIMEOUT", Optional),
            ("hx:RETRY", Optional),
            ("JOIN", Optional),
        ],
    },
];

/// The rule of an element.
pub(super) fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

/// The candidate that whoever wrote `text` most likely meant.
pub(super) fn meant<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > 40 {
        return None;
    }
    let upper = text.to_ascii_uppercase();
    candidates
        .into_iter()
        .map(|candidate| (distance(&upper, &candidate.to_ascii_uppercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters must be put in, taken out or replaced to make one word the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, character) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, &against) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(character != against);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
