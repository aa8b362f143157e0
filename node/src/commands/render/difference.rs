//! How versions of a definition and what differs between two of them look.

use crate::admin::protocol::DefinitionVersion;
use hansa_core::transaction::Change;
use similar::TextDiff;
use std::{fmt::Write as _, time::Duration};

/// How long the shortest way from one text to the other is looked for; then any will do.
const SEARCH: Duration = Duration::from_secs(2);

/// `hansa transaction definitions --versions`.
pub fn definition_versions(versions: &[DefinitionVersion]) -> String {
    let rows = versions.iter().map(|version| {
        let current = if version.current { "current" } else { "" };
        let (hash, since) = (version.hash.short(), version.defined.to_string());
        vec![hash, since, version.operations.to_string(), current.to_owned()]
    });
    super::table(&["VERSION", "DEFINED", "OPERATIONS", ""], rows)
}

/// The changed lines of two texts, with three lines around each.
pub fn changed_lines(old_label: &str, new_label: &str, old: &str, new: &str) -> String {
    let diff = TextDiff::configure().timeout(SEARCH).diff_lines(old, new);
    diff.unified_diff().context_radius(3).header(old_label, new_label).to_string()
}

/// `hansa transaction diff`.
pub fn difference(old: &str, new: &str, changes: &[Change], lines: &str) -> String {
    let mut text = format!("{old} → {new}\n\n");
    if changes.is_empty() {
        text.push_str(match lines {
            "" => "They are the same.\n",
            _ => "They say the same; only how it is written differs.\n",
        });
    }
    let mut operation = None;
    for change in changes {
        if change.what == "operation" {
            let (sign, name) = match (&change.old, &change.new) {
                (Some(old), _) => ('-', old),
                (None, new) => ('+', new.as_ref().unwrap_or(&change.what)),
            };
            let _ = writeln!(text, "{sign} operation {name}");
            operation = change.operation.as_ref();
            continue;
        }
        if operation != change.operation.as_ref() {
            operation = change.operation.as_ref();
            if let Some(name) = operation {
                let _ = writeln!(text, "~ operation {name}");
            }
        }
        let indent = if operation.is_some() { "    " } else { "" };
        let says = |words: &str| if words.is_empty() { String::new() } else { format!(": {words}") };
        let _ = match (&change.old, &change.new) {
            (Some(old), Some(new)) => writeln!(text, "{indent}~ {}: {old} → {new}", change.what),
            (Some(old), None) => writeln!(text, "{indent}- {}{}", change.what, says(old)),
            (None, new) => writeln!(text, "{indent}+ {}{}", change.what, says(new.as_deref().unwrap_or_default())),
        };
    }
    if !lines.is_empty() {
        let _ = write!(text, "\n{lines}");
    }
    text
}
