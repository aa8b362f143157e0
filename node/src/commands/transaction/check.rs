//! `hansa transaction check`: every fault of a definition at once, without a node. `define` and `submit --define` check
//! the same way first.

use super::super::{Context, Failure, document::read_bytes, library::GivenLibraries, print, render};
use clap::Args;
use hansa_core::{
    code::{Code, Fault, Place},
    document::Text,
    transaction::{Definition, Libraries},
};
use serde_json::json;
use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

/// Check a transaction definition, and show every fault with its place
///
/// No node is needed, so libraries of functions that it calls are given with --library. With --json the answer is always a list of faults, each with line, column, code, message and help; an
/// empty list if there are none. Line and column are null where the file itself cannot be read or is too large. The exit code is 1 if there are any.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hansa transaction check purchase.xml\n  hansa transaction check - --json < purchase.xml"
)]
pub struct Check {
    /// The definition, XML; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    libraries: GivenLibraries,
}

impl Check {
    pub fn perform(self, context: &Context) -> Result<(), Failure> {
        let libraries = self.libraries.load().map_err(|fault| unread(fault, context))?;
        let bytes = read(&self.file).map_err(|fault| match fault.code {
            Code::DocumentTooLarge if !context.json => told(&self.file, "", &[fault]),
            _ => unread(fault, context),
        })?;
        let (_, definition) = checked(&self.file, &bytes, &libraries, context)?;
        let none: [Fault; 0] = [];
        context.show(&none[..], |_| {
            format!(
                "{} is sound: {} of {}, version {}.",
                name_of(&self.file),
                definition.name,
                render::count(definition.operations.len() as u64, "operation"),
                definition.hash.short()
            )
        });
        Ok(())
    }
}

/// The text of a file and the definition that it is where these libraries are, or all its faults, which are shown already.
pub fn sound(file: &Path, libraries: &Libraries, context: &Context) -> Result<(String, Definition), Failure> {
    let bytes = read(file).map_err(|fault| match fault.code {
        Code::DocumentTooLarge if !context.json => told(file, "", &[fault]),
        _ => fault.into(),
    })?;
    checked(file, &bytes, libraries, context)
}

fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    read_bytes(file, Code::DefinitionInvalid)
}

fn checked(
    file: &Path,
    bytes: &[u8],
    libraries: &Libraries,
    context: &Context,
) -> Result<(String, Definition), Failure> {
    let checked = Text::parse(bytes).map_err(|fault| vec![fault]).and_then(|text| {
        let definition = Definition::parse_with(&text, libraries)?;
        Ok((text.as_str().to_owned(), definition))
    });
    let faults = match checked {
        Ok(sound) => return Ok(sound),
        Err(faults) => faults,
    };
    let source = String::from_utf8_lossy(bytes);
    if context.json {
        print_list(&faults, Some(Place { line: 1, column: 1 }));
    } else {
        return Err(told(file, &source, &faults));
    }
    Err(Failure::Told)
}

/// Shows the faults of a file with this text to a person.
fn told(file: &Path, source: &str, faults: &[Fault]) -> Failure {
    let shown = render::definition_faults(&name_of(file), source, faults, look());
    let _ = io::stderr().lock().write_all(shown.as_bytes());
    Failure::Told
}

/// There is no text in which a fault could have a place: it is a list all the same, as the answers of a check are.
fn unread(fault: Fault, context: &Context) -> Failure {
    if !context.json {
        return fault.into();
    }
    print_list(&[fault], None);
    Failure::Told
}

/// Faults as JSON; those that are about the whole text are `otherwise`.
fn print_list(faults: &[Fault], otherwise: Option<Place>) {
    let list = faults.iter().map(|fault| {
        let place = fault.place.or(otherwise);
        json!({
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
            "code": fault.code,
            "message": fault.message,
            "help": fault.advice(),
        })
    });
    print(&serde_json::to_string_pretty(&list.collect::<Vec<_>>()).expect("faults are JSON"));
}

/// A file as messages name it.
fn name_of(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

/// Colours are for people at a terminal that did not decline them (<https://no-color.org>).
fn look() -> render::Look {
    let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if io::stderr().is_terminal() && !declined && !dumb { render::Look::Coloured } else { render::Look::Plain }
}
