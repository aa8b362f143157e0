//! `hansa library …`: the libraries of functions that transaction definitions may call.

use super::{Context, Failure, render};
use crate::admin::{
    client::Client,
    protocol::{DefinitionSource, LibraryAdded, LibraryEntry, LibraryFunction, LibraryRemoved, LibrarySource, Request},
};
use clap::{Args, Subcommand};
use data_encoding::BASE64;
use hansa_core::{
    code::{Code, Fault},
    ident::{LibraryHash, LibraryName},
    limit,
    transaction::{Libraries, Library, Load as _, Signature, Value},
};
use hansa_library::Runtime;
use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
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

/// Libraries for a command that needs no node
#[derive(Clone, Debug, Default, Args)]
pub struct GivenLibraries {
    /// A library that definitions may call, from a file; can be repeated
    #[arg(long = "library", value_name = "NAME=FILE", value_parser = pair)]
    pairs: Vec<(LibraryName, PathBuf)>,
}

fn pair(text: &str) -> Result<(LibraryName, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("it is not of the form NAME=FILE, such as freight=freight.wasm")?;
    Ok((name.parse().map_err(|fault: Fault| fault.message)?, file.into()))
}

impl GivenLibraries {
    /// Them, loaded.
    ///
    /// # Errors
    /// [`Code::LibraryInvalid`] for a file that is none.
    pub fn load(&self) -> Result<Libraries, Fault> {
        let mut libraries = Libraries::default();
        if self.pairs.is_empty() {
            return Ok(libraries);
        }
        let runtime = Runtime::new()?;
        for (name, file) in &self.pairs {
            libraries.add(name.clone(), runtime.load(&read_library(file)?)?);
        }
        Ok(libraries)
    }
}

/// A library of a node, as far as a check needs it.
#[derive(Debug)]
struct Known {
    hash: LibraryHash,
    functions: Vec<Signature>,
}

impl Library for Known {
    fn hash(&self) -> LibraryHash {
        self.hash
    }

    fn functions(&self) -> &[Signature] {
        &self.functions
    }

    fn call(&self, _: usize, _: &[Value], _: &mut u64) -> Result<Value, String> {
        Err("it is checked here, and run by the node".to_owned())
    }
}

/// The libraries that a node has, to check definitions with before they are stored there.
///
/// # Errors
/// The node says so.
pub async fn known(client: &mut Client) -> Result<Libraries, Fault> {
    let mut libraries = Libraries::default();
    for LibraryEntry { name, hash, functions, .. } in client.ask::<Vec<LibraryEntry>>(&Request::Libraries).await? {
        let signature = |function: LibraryFunction| {
            format!("{}({}){}", function.name, function.parameters.join(","), function.makes).parse()
        };
        let functions = functions.into_iter().map(signature).collect::<Result<_, String>>();
        let functions = functions.map_err(|why| Fault::new(Code::LibraryInvalid, why))?;
        libraries.add(name, Arc::new(Known { hash, functions }));
    }
    Ok(libraries)
}

/// The libraries that a definition of a node is bound to.
///
/// # Errors
/// The node says so.
pub async fn bound(client: &mut Client, definition: &DefinitionSource) -> Result<Libraries, Fault> {
    let mut libraries = Libraries::default();
    if definition.libraries.is_empty() {
        return Ok(libraries);
    }
    let runtime = Runtime::new()?;
    for (name, hash) in &definition.libraries {
        let source: LibrarySource = client.ask(&Request::LibrarySource { hash: *hash }).await?;
        let bytes = BASE64
            .decode(source.bytes.as_bytes())
            .map_err(|error| Fault::new(Code::LibraryInvalid, format!("the library is not in base 64: {error}")))?;
        libraries.add(name.clone(), runtime.load(&bytes)?);
    }
    Ok(libraries)
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

    #[test]
    fn libraries_without_a_node_are_given_as_name_and_file() {
        assert!(pair("freight").unwrap_err().contains("NAME=FILE"));
        assert!(pair("no name=freight.wasm").is_err());
        let none = GivenLibraries { pairs: vec![pair("freight=/nowhere/a=b.wasm").unwrap()] };
        let fault = none.load().unwrap_err();
        assert_eq!(fault.code, Code::LibraryInvalid);
        assert!(fault.message.contains("/nowhere/a=b.wasm"), "{fault}");
    }
}
