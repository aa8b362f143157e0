//! Where a testnet's commands print: lines for a person, or one JSON object a line. It knows colours, not content.

use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};

/// A colour with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A heading.
    Strong,
    /// It went well.
    Good,
    /// It went wrong, or was broken on purpose.
    Bad,
    /// On its way.
    Lively,
    /// Of less weight.
    Faint,
}

/// Where to print.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    json: bool,
    colours: bool,
}

impl Screen {
    /// Standard output: for a person, unless `json`. Colours only on a terminal whose user has not asked for none.
    #[must_use]
    pub fn new(json: bool) -> Self {
        let wanted =
            std::env::var_os("NO_COLOR").is_none() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { json, colours: !json && wanted && std::io::stdout().is_terminal() }
    }

    /// Whether objects are printed, and no lines.
    #[must_use]
    pub const fn is_json(self) -> bool {
        self.json
    }

    /// `text` in a colour.
    #[must_use]
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Lively => "36",
            Tone::Faint => "2",
        };
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Print lines for a person.
    pub fn say(self, text: &str) {
        if !self.json {
            write(text);
        }
    }

    /// Print an object for a program.
    pub fn object(self, object: &impl Serialize) {
        if self.json
            && let Ok(line) = serde_json::to_string(object)
        {
            write(&line);
        }
    }
}

fn write(text: &str) {
    // Whoever reads may have gone, as `head` does; the work goes on and its result is the exit code.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Columns of text, each as wide as its widest cell, two spaces between.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_aligned_columns_and_no_space_at_its_ends() {
        let rows = [vec!["a".into(), "Söhne".into(), String::new()], vec!["long".into(), "b".into()]];
        assert_eq!(table(&rows), ["a     Söhne", "long  b"]);
    }

    #[test]
    fn without_a_terminal_there_are_no_colours() {
        assert_eq!(Screen { json: false, colours: false }.tone(Tone::Bad, "x"), "x");
        assert_eq!(Screen { json: false, colours: true }.tone(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
