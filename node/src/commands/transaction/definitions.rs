//! `hansa transaction definitions`, `definition` and `diff`: what is defined, what was before, and what changed.

use super::{
    super::{
        Context, Failure,
        library::{GivenLibraries, bound},
        print, render,
    },
    check::sound,
};
use crate::admin::{
    client::Client,
    protocol::{DefinitionEntry, DefinitionSource, DefinitionVersion, Request},
};
use clap::Args;
use hansa_core::{
    code::{Code, Fault},
    document::Text,
    ident::{DefinitionHash, DefinitionName},
    transaction::{Definition, Libraries, difference},
};
use serde_json::json;
use std::path::Path;

/// List the transaction definitions, or the versions of one
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hansa transaction definitions\n  hansa transaction definitions --versions purchase"
)]
pub struct Definitions {
    /// List the versions of this definition, the oldest first
    #[arg(long, value_name = "NAME")]
    versions: Option<DefinitionName>,
}

impl Definitions {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let mut client = context.client().await?;
        match self.versions {
            Some(name) => {
                let versions: Vec<DefinitionVersion> = client.ask(&Request::DefinitionVersions { name }).await?;
                context.show(&versions, |versions| render::definition_versions(versions));
            }
            None => {
                let definitions: Vec<DefinitionEntry> = client.ask(&Request::Definitions).await?;
                context.show(&definitions, |definitions| render::definitions(definitions));
            }
        }
        Ok(())
    }
}

/// Print the text of a transaction definition
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hansa transaction definition purchase\n  hansa transaction definition purchase --version def-2kq7f3xa"
)]
pub struct DefinitionCommand {
    /// The definition
    #[arg(value_name = "NAME")]
    name: DefinitionName,
    /// This version, by its hash or the first characters of it [default: the current one]
    #[arg(long, value_name = "HASH")]
    version: Option<String>,
}

impl DefinitionCommand {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let mut client = context.client().await?;
        let text = text_of(&mut client, &self.name, self.version.as_deref()).await?;
        context.show(&text, |text| text.text.clone());
        Ok(())
    }
}

/// Show what differs between two versions of a transaction definition, or between two files
///
/// With a name alone, the current version is compared with the one before; with one version, that one with the current.
/// What the versions say differently comes first, operation by operation; then the changed lines.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hansa transaction diff purchase\n  \
    hansa transaction diff purchase def-2kq7f3xa\n  \
    hansa transaction diff purchase def-2kq7f3xa def-w4m1c8zd\n  \
    hansa transaction diff purchase.xml changed.xml")]
pub struct Diff {
    /// The definition, or the old file
    #[arg(value_name = "NAME|FILE")]
    what: String,
    /// The old version, or the new file
    #[arg(value_name = "OLD|FILE")]
    old: Option<String>,
    /// The new version
    #[arg(value_name = "NEW")]
    new: Option<String>,
    #[command(flatten)]
    libraries: GivenLibraries,
}

impl Diff {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let [old, new] = match (&self.old, &self.new) {
            (Some(new), None) if is_file(new) => {
                let libraries = self.libraries.load()?;
                let side = |file: &str| -> Result<Side, Failure> {
                    let (text, definition) = sound(Path::new(file), &libraries, context)?;
                    Ok(Side { label: file.to_owned(), text, definition })
                };
                [side(&self.what)?, side(new)?]
            }
            _ => self.versions(context).await?,
        };
        let changes = difference(&old.definition, &new.definition);
        let lines = render::changed_lines(&old.label, &new.label, &old.text, &new.text);
        if context.json {
            let answer = json!({ "old": old.label, "new": new.label, "changes": changes, "lines": lines });
            print(&serde_json::to_string_pretty(&answer).expect("changes are JSON"));
        } else {
            print(render::difference(&old.label, &new.label, &changes, &lines).trim_end());
        }
        Ok(())
    }

    async fn versions(&self, context: &Context) -> Result<[Side; 2], Failure> {
        let name: DefinitionName = self.what.parse()?;
        let mut client = context.client().await?;
        let old = match &self.old {
            Some(old) => old.clone(),
            None => {
                let versions: Vec<DefinitionVersion> =
                    client.ask(&Request::DefinitionVersions { name: name.clone() }).await?;
                let before = versions.iter().rev().find(|version| !version.current);
                let only = || {
                    Fault::new(Code::DefinitionUnknown, format!("there is only one version of {name}"))
                        .help("compare files instead: `hansa transaction diff OLD.xml NEW.xml`")
                };
                before.ok_or_else(only)?.hash.to_string()
            }
        };
        let old = text_of(&mut client, &name, Some(&old)).await?;
        let new = text_of(&mut client, &name, self.new.as_deref()).await?;
        let libraries = [bound(&mut client, &old).await?, bound(&mut client, &new).await?];
        Ok([Side::of(old, &libraries[0])?, Side::of(new, &libraries[1])?])
    }
}

/// Whether a file is meant, and not a version: also one that is not there, so that its absence is what is told.
fn is_file(text: &str) -> bool {
    text == "-" || text.contains('/') || text.ends_with(".xml") || Path::new(text).is_file()
}

/// One of the two that are compared.
struct Side {
    label: String,
    text: String,
    definition: Definition,
}

impl Side {
    fn of(text: DefinitionSource, libraries: &Libraries) -> Result<Self, Failure> {
        let faulty = |faults: Vec<Fault>| {
            Failure::Faults(
                Fault::new(
                    Code::DefinitionInvalid,
                    "this version was right for another version of hansa, and is not for this one",
                ),
                faults,
            )
        };
        let definition = Definition::parse_with(&Text::parse(text.text.as_bytes())?, libraries).map_err(faulty)?;
        Ok(Self { label: format!("{} {}", text.name, text.hash.short()), text: text.text, definition })
    }
}

/// A version of a definition that `version` is the beginning of; without it, the current one.
async fn text_of(client: &mut Client, name: &DefinitionName, version: Option<&str>) -> Result<DefinitionSource, Fault> {
    let version = match version {
        None => None,
        Some(beginning) => Some(version_of(client, name, beginning).await?),
    };
    client.ask(&Request::DefinitionSource { name: name.clone(), version }).await
}

async fn version_of(client: &mut Client, name: &DefinitionName, beginning: &str) -> Result<DefinitionHash, Fault> {
    let versions: Vec<DefinitionVersion> = client.ask(&Request::DefinitionVersions { name: name.clone() }).await?;
    let fits = |hash: &DefinitionHash| {
        let hash = hash.to_string();
        hash.starts_with(beginning) || hash.split_once('-').is_some_and(|(_, rest)| rest.starts_with(beginning))
    };
    let found: Vec<DefinitionHash> = versions.into_iter().map(|version| version.hash).filter(fits).collect();
    let list = format!("`hansa transaction definitions --versions {name}` lists them");
    match found[..] {
        [one] => Ok(one),
        [] => Err(Fault::new(
            Code::DefinitionUnknown,
            format!("no version of {name} begins with '{}'", beginning.escape_debug()),
        )
        .help(list)),
        _ => Err(Fault::new(
            Code::DefinitionUnknown,
            format!("{} versions of {name} begin with '{}'", found.len(), beginning.escape_debug()),
        )
        .help(list)),
    }
}
