//! Writes readings in the OpenMetrics text format, version 1.0.0.

use crate::admin::protocol::{Reading, ReadingKind};
use std::{collections::BTreeMap, fmt::Write as _};

/// The content type that goes with the format.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The exposition of `readings`. Those of one name become one family, wherever they stand in the list.
pub fn text(readings: &[Reading]) -> String {
    let mut families: BTreeMap<&str, Vec<&Reading>> = BTreeMap::new();
    for reading in readings {
        families.entry(&reading.name).or_default().push(reading);
    }
    let mut text = String::new();
    for (name, members) in families {
        let first = members[0];
        let (kind, suffix) = match first.kind {
            ReadingKind::Gauge => ("gauge", ""),
            ReadingKind::Counter => ("counter", "_total"),
        };
        let _ = writeln!(text, "# TYPE {name} {kind}\n# HELP {name} {}", escaped(&first.help));
        for reading in members {
            let _ = write!(text, "{name}{suffix}");
            for (place, (label, value)) in reading.labels.iter().enumerate() {
                let _ = write!(text, "{}{label}=\"{}\"", if place == 0 { '{' } else { ',' }, escaped(value));
            }
            let _ = writeln!(text, "{} {}", if reading.labels.is_empty() { "" } else { "}" }, number(reading.value));
        }
    }
    text.push_str("# EOF\n");
    text
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        value.to_string()
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_one_name_are_one_family_with_one_type_and_help_and_the_text_ends_with_eof() {
        let readings = [
            Reading::gauge("hansa_services", "Services.", 2.0),
            Reading::counter("hansa_transactions_ended", "Ended.", 3.0).label("state", "completed"),
            Reading::gauge("hansa_journal_sync_seconds", "Last sync.", 0.000_125),
            Reading::counter("hansa_transactions_ended", "Ended.", 1.0)
                .label("state", "failed")
                .label("by", "a\"b\\c\nd"),
        ];
        assert_eq!(
            text(&readings),
            "# TYPE hansa_journal_sync_seconds gauge\n# HELP hansa_journal_sync_seconds Last sync.\n\
             hansa_journal_sync_seconds 0.000125\n\
             # TYPE hansa_services gauge\n# HELP hansa_services Services.\nhansa_services 2\n\
             # TYPE hansa_transactions_ended counter\n# HELP hansa_transactions_ended Ended.\n\
             hansa_transactions_ended_total{state=\"completed\"} 3\n\
             hansa_transactions_ended_total{state=\"failed\",by=\"a\\\"b\\\\c\\nd\"} 1\n\
             # EOF\n"
        );
    }

    #[test]
    fn numbers_that_are_none_have_their_names() {
        let value = |value| text(&[Reading::gauge("x", "X.", value)]).lines().nth(2).unwrap().to_owned();
        assert_eq!([value(f64::NAN), value(f64::INFINITY), value(f64::NEG_INFINITY)], ["x NaN", "x +Inf", "x -Inf"]);
    }
}
