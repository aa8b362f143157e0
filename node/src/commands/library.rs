//! `hansa library …`: the libraries of functions that transaction definitions may call.

use super::{Context, Failure, render};
use crate::admin::protocol::{LibraryAdded, LibraryEntry, LibraryFunction, LibraryRemoved, Request};
use clap::{Args, Subcommand};
use data_encoding::BASE64;
use hansa_core::{
    code::{Code, Fault},
    ident::LibraryName,
    limit,
    transaction::Load as _,
};
use hansa_library::Runtime;
use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Add functions of your own to the expressions of transaction definitions
///
/// A library is a WebAssembly module; docs/functions.md says how to write one, in Rust or in anything else.
#[derive(Debug, Args)]
pub struct LibraryArguments {
    #[command(subcommand)]
    command: LibraryCommand,
}

#[derive(Debug, Subcommand)]
enum LibraryCommand {
    Add(Add),
    List(List),
    Show(Show),
    Remove(Remove),
}

/// Store a library under a name, or its next version
///
/// Definitions that were stored before keep the version that they were stored with; define them again to give them this one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa library add freight freight.wasm")]
struct Add {
    /// The name by which definitions call it, as LIBNAME
    #[arg(value_name = "NAME")]
    name: LibraryName,
    /// The module, WebAssembly
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// List the libraries
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa library list")]
struct List {}

/// Show a library: its version, its functions with what they take and make, and who calls it
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa library show freight")]
struct Show {
    /// The library
    #[arg(value_name = "NAME")]
    name: LibraryName,
}

/// Forget the name of a library
///
/// Definitions that call it keep it, and go on; new ones cannot call it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa library remove freight")]
struct Remove {
    /// The library
    #[arg(value_name = "NAME")]
    name: LibraryName,
}

impl LibraryArguments {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            LibraryCommand::Add(Add { name, file }) => {
                let bytes = read_library(&file)?;
                // Found here, so that a slip is told whether a node runs or not.
                Runtime::new()?.load(&bytes)?;
                let request = Request::AddLibrary { name, bytes: BASE64.encode(&bytes) };
                let added: LibraryAdded = context.client().await?.ask(&request).await?;
                context.show(&added, |added| {
                    let what = if added.unchanged { "is stored already" } else { "is stored" };
                    format!("{} {what}: {}", added.name, added.hash)
                });
            }
            LibraryCommand::List(List {}) => {
                let libraries = libraries(context).await?;
                context.show(&libraries, |libraries| list(libraries));
            }
            LibraryCommand::Show(Show { name }) => {
                let libraries = libraries(context).await?;
                let library = libraries
                    .iter()
                    .find(|library| library.name == name)
                    .ok_or_else(|| Fault::new(Code::LibraryUnknown, format!("there is no library '{name}' here")))?;
                context.show(library, show);
            }
            LibraryCommand::Remove(Remove { name }) => {
                let removed: LibraryRemoved = context.client().await?.ask(&Request::RemoveLibrary { name }).await?;
                context.show(&removed, |removed| match &removed.definitions[..] {
                    [] => format!("{} is removed.", removed.name),
                    some => format!("{} is removed; {} keep it.", removed.name, words(some)),
                });
            }
        }
        Ok(())
    }
}

async fn libraries(context: &Context) -> Result<Vec<LibraryEntry>, Fault> {
    context.client().await?.ask(&Request::Libraries).await
}

fn words<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn list(libraries: &[LibraryEntry]) -> String {
    if libraries.is_empty() {
        return "There are no libraries. Add one with `hansa library add NAME FILE.wasm`.".to_owned();
    }
    render::table(
        &["NAME", "FUNCTIONS", "SIZE", "ADDED", "VERSION", "CALLED BY"],
        libraries.iter().map(|library| {
            vec![
                library.name.to_string(),
                library.functions.len().to_string(),
                render::bytes(library.bytes),
                library.added.to_string(),
                library.hash.short(),
                words(&library.definitions),
            ]
        }),
    )
}

fn show(library: &LibraryEntry) -> String {
    let called = if library.definitions.is_empty() { "nobody".to_owned() } else { words(&library.definitions) };
    let size = render::bytes(library.bytes);
    let head = format!("{}  {}\n{size}, added {}\ncalled by {called}\n\n", library.name, library.hash, library.added);
    let row = |function: &LibraryFunction| {
        vec![function.name.clone(), function.parameters.join(", "), function.makes.clone()]
    };
    head + &render::table(&["FUNCTION", "TAKES", "MAKES"], library.functions.iter().map(row))
}

/// The bytes of a module in a file.
fn read_library(path: &Path) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let most = limit::LIBRARY_BYTES_MAX as u64;
    File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)).map_err(|error| {
        Fault::new(Code::LibraryInvalid, format!("'{}' cannot be read: {error}", path.display()))
            .help("name a file that can be read")
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_shown_with_what_its_functions_take_and_make() {
        let library = LibraryEntry {
            name: "freight".parse().unwrap(),
            hash: hansa_core::ident::LibraryHash([7; 32]),
            added: crate::admin::pretended::NOW,
            bytes: 2_048,
            functions: vec![LibraryFunction {
                name: "shipping_cost".into(),
                parameters: vec!["NUMVALUE".into(), "STRVALUE".into()],
                makes: "NUMVALUE".into(),
            }],
            definitions: vec!["send".parse().unwrap()],
        };
        let shown = show(&library);
        for word in ["freight", "lib-", "called by send", "shipping_cost", "NUMVALUE, STRVALUE"] {
            assert!(shown.contains(word), "{shown}");
        }
        assert!(list(&[]).contains("hansa library add"));
        assert!(list(&[library]).contains("CALLED BY"));
    }
}
