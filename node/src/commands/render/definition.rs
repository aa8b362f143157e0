//! How the faults of a definition look: each with its place in the text, in the manner of the Rust compiler.

use hansa_core::code::{Fault, Place};
use std::fmt::Write as _;
use unicode_width::UnicodeWidthChar as _;

/// Columns of a line that are shown at most.
const COLUMNS_MAX: usize = 120;
/// Of those, how many before the place, where the line is longer.
const COLUMNS_BEFORE: usize = 60;
/// Spaces that a tab is shown as.
const TAB: &str = "    ";

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// None: for files, pipes, and whoever declined them.
    Plain,
    /// As terminals show them.
    Coloured,
}

impl Look {
    fn paint(self, colour: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[1;{colour}m{text}\x1b[0m"),
        }
    }

    fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn blue(self, text: &str) -> String {
        self.paint("34", text)
    }

    fn bold(self, text: &str) -> String {
        self.paint("39", text)
    }
}

/// The faults of the definition in `source`, which `file` names, in the order of the text, and how many there are.
pub fn definition_faults(file: &str, source: &str, faults: &[Fault], look: Look) -> String {
    let mut text = String::new();
    let mut reader = Reader { lines: source.split('\n'), line: 0, text: "", column: 1, rest: "" };
    let gutter =
        faults.iter().filter_map(|fault| fault.place).map(|place| place.line).max().unwrap_or(1).to_string().len();
    let bar = look.blue("|");
    for fault in faults {
        let head = format!("error[{}]", fault.code);
        let _ = writeln!(text, "{}{}", look.red(&head), look.bold(&format!(": {}", clean(&fault.message))));
        match fault.place {
            None => drop(writeln!(text, "{:gutter$}{} {}", "", look.blue("-->"), clean(file))),
            Some(place) => {
                let arrow = look.blue("-->");
                let _ = writeln!(text, "{:gutter$}{arrow} {}:{}:{}", "", clean(file), place.line, place.column);
                if let Some((line, before, under)) = reader.window(place) {
                    let number = look.blue(&format!("{:gutter$}", place.line));
                    let carets = look.red(&"^".repeat(under.max(1)));
                    let _ = writeln!(text, "{:gutter$} {bar}\n{number} {bar} {line}", "");
                    let _ = writeln!(text, "{:gutter$} {bar} {:before$}{carets}", "", "");
                    let _ = writeln!(text, "{:gutter$} {bar}", "");
                }
            }
        }
        let mut note = |word: &str, what: &str| {
            let (sign, word) = (look.blue("="), look.bold(&format!("{word}:")));
            let _ = writeln!(text, "{:gutter$} {sign} {word} {}", "", clean(what));
        };
        if let Some(why) = fault.code.why() {
            note("why", why);
        }
        note("help", fault.advice());
        text.push('\n');
    }
    let count = super::count(faults.len() as u64, "fault");
    let _ = writeln!(text, "{}{}", look.red("error"), look.bold(&format!(": {} has {count}", clean(file))));
    text
}

/// Goes through the lines of a text; faults come in its order, so that even a very long line is walked through once.
struct Reader<'a> {
    lines: std::str::Split<'a, char>,
    /// The line that `text` is, from one; zero before the first.
    line: u32,
    text: &'a str,
    /// The column that `rest` begins at.
    column: u32,
    rest: &'a str,
}

impl Reader<'_> {
    /// What is shown of the line of a place, how many columns come before the place there, and how many it has.
    fn window(&mut self, place: Place) -> Option<(String, usize, usize)> {
        while self.line < place.line {
            self.text = self.lines.next()?.trim_end_matches('\r');
            (self.line, self.column, self.rest) = (self.line + 1, 1, self.text);
        }
        if self.line != place.line || place.column < self.column {
            return None;
        }
        let skip = (place.column - self.column) as usize;
        let at = self.rest.char_indices().nth(skip).map_or(self.rest.len(), |(at, _)| at);
        self.rest = &self.rest[at..];
        self.column = place.column;

        let before = &self.text[..self.text.len() - self.rest.len()];
        let (mut shown, mut columns) = (Vec::new(), 0);
        let mut all = true;
        for character in before.chars().rev() {
            let piece = visible(character);
            columns += width(&piece);
            if columns > COLUMNS_BEFORE {
                all = false;
                break;
            }
            shown.push(piece);
        }
        if !all {
            shown.push("…".to_owned());
        }
        let mut line: String = shown.iter().rev().map(String::as_str).collect();
        let before = width(&line);
        let marked = marked(self.rest);
        let (mut under, mut column) = (0, before);
        for (index, character) in self.rest.chars().enumerate() {
            let piece = visible(character);
            if column + width(&piece) >= COLUMNS_MAX {
                line.push('…');
                break;
            }
            column += width(&piece);
            line.push_str(&piece);
            if index < marked {
                under += width(&piece);
            }
        }
        Some((line, before, under))
    }
}

/// How many characters of what begins at a place are meant: an element in one line, a tag, or one character.
fn marked(rest: &str) -> usize {
    const ELEMENT_MAX: usize = 60;
    let Some(tag) = rest.strip_prefix('<') else { return 1 };
    let name: String =
        tag.chars().take(ELEMENT_MAX).take_while(|next| !next.is_whitespace() && !"/>".contains(*next)).collect();
    let near: String = rest.chars().take(ELEMENT_MAX).collect();
    let end = format!("</{name}>");
    match (near.find(&end), near.find('>')) {
        (Some(at), _) => near[..at].chars().count() + end.chars().count(),
        (None, Some(at)) => near[..=at].chars().count(),
        (None, None) => 1 + name.chars().count(),
    }
}

/// A character as it is shown: what would move the cursor or colour the screen is not.
fn visible(character: char) -> String {
    match character {
        '\t' => TAB.to_owned(),
        _ if character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
            '\u{fffd}'.to_string()
        }
        _ => character.to_string(),
    }
}

fn width(text: &str) -> usize {
    text.chars().map(|character| character.width().unwrap_or(0)).sum()
}

fn clean(text: &str) -> String {
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_core::code::Code;

    fn shown(source: &str, line: u32, column: u32) -> Vec<String> {
        let fault = Fault::new(Code::DefinitionLink, "it leads nowhere").at(Place { line, column }).help("mend it");
        definition_faults("a.xml", source, &[fault], Look::Plain).lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_fault_shows_its_line_and_what_of_it_is_meant_and_why_and_help() {
        // T2
        let text = shown("<A>\n  <B>7</B> <C/>\n</A>", 2, 3);
        assert_eq!(text[0], "error[definition-link]: it leads nowhere");
        assert_eq!(text[1], " --> a.xml:2:3");
        assert_eq!(text[2..6], ["  |", "2 |   <B>7</B> <C/>", "  |   ^^^^^^^^", "  |"]);
        assert!(text[6].starts_with("  = why: The transaction would not know"), "{text:?}");
        assert_eq!(text[7], "  = help: mend it");
        assert_eq!(text[9], "error: a.xml has 1 fault");
    }

    #[test]
    fn carets_stand_below_what_they_mean_behind_tabs_and_wide_characters() {
        let text = shown("\t<名>重</名><B/>", 1, 10);
        assert_eq!(text[3], "1 |     <名>重</名><B/>");
        assert_eq!(text[4], format!("  | {}^^^^", " ".repeat(4 + 4 + 2 + 5)));
        let text = shown("\t<名>重</名><B/>", 1, 2);
        assert_eq!(text[4], format!("  |     {}", "^".repeat(4 + 2 + 5)), "a wide character has two columns");
    }

    #[test]
    fn of_a_very_long_line_only_what_is_around_the_place_is_shown() {
        let long = format!("<A>{}<B>7</B>{}</A>", "ä".repeat(2_000_000), "x".repeat(2_000_000));
        let text = shown(&long, 1, 2_000_004);
        assert!(text[3].chars().count() <= COLUMNS_MAX + 5, "{}", text[3]);
        assert!(text[3].contains("ä<B>7</B>x") && text[3].ends_with('…') && text[3].contains("| …"), "{}", text[3]);
        assert_eq!(text[4].find('^').map(|at| text[4][at..].to_owned()), Some("^^^^^^^^".to_owned()));
        assert_eq!(text[4].chars().position(|next| next == '^'), text[3].chars().position(|next| next == '<'));
    }

    #[test]
    fn what_would_move_the_cursor_is_not_shown_and_a_place_behind_the_text_is_none() {
        let text = shown("<A>\u{1b}[2J\u{202e}</A>\r", 1, 1).join("\n");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}') && !text.contains('\r'), "{text:?}");
        for (line, column) in [(1, 99), (9, 1), (2, 1)] {
            assert!(shown("<A/>", line, column).iter().any(|line| line.contains("= help: mend it")));
        }
    }

    #[test]
    fn colours_are_there_only_where_they_are_wanted() {
        let fault = Fault::new(Code::DefinitionLink, "it leads nowhere").at(Place { line: 1, column: 1 });
        let coloured = definition_faults("a.xml", "<A/>", std::slice::from_ref(&fault), Look::Coloured);
        assert!(coloured.contains("\u{1b}[1;31merror[definition-link]\u{1b}[0m"), "{coloured:?}");
        assert!(!definition_faults("a.xml", "<A/>", &[fault], Look::Plain).contains('\u{1b}'));
    }
}
