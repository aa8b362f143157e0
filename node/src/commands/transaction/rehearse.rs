//! `hansa transaction dry-run`: a definition against given answers, with no service at all. It runs here, in the command;
//! a node is asked only for definitions that no file brings.

use super::super::{
    Context, Failure,
    document::read_document,
    library::{self, GivenLibraries},
    render,
};
use crate::{
    admin::{
        protocol::{
            DefinitionSource, DirectoryEntry, DryRun, DryRunStep, Request, TransactionState, UnansweredOperation,
        },
        time::Time,
    },
    wiring::views,
};
use clap::Args;
use hansa_core::{
    code::{Code, Fault, Place},
    document::Text,
    ident::{DefinitionName, OrganizationId},
    offer::{Offers, PeerOffer},
    transaction::{
        Around, Definition, Definitions, Teller, Work,
        rehearsal::{Rehearsal, Script, Unknown, dry_run},
    },
};
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Run a definition against given answers, with no service at all
///
/// The shipped engine runs it, with a clock that jumps to whatever comes next. What it shows is what `show` would show of the
/// transaction. The exit code is 1 unless it completes. docs/transactions.md describes the answers' file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa transaction dry-run purchase --input order.xml --answers answers.json\n  \
    hansa transaction dry-run purchase --input order.xml --answers answers.json --definition purchase.xml")]
pub struct DryRunCommand {
    /// The definition
    #[arg(value_name = "NAME")]
    name: DefinitionName,
    /// The input document, XML; - reads standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// What services answer, which signals come, and when
    #[arg(long, value_name = "FILE")]
    answers: PathBuf,
    /// Take definitions from this file and ask no node; can be repeated, for sub-transactions
    #[arg(long, value_name = "FILE")]
    definition: Vec<PathBuf>,
    #[command(flatten)]
    libraries: GivenLibraries,
    /// Tell every record as well
    #[arg(long)]
    history: bool,
}

impl DryRunCommand {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        let input = parsed(&self.input, Code::DocumentMalformed)?;
        let (script, written) = script(&self.answers)?;
        let libraries = self.libraries.load()?;
        let mut definitions = Vec::new();
        for file in &self.definition {
            let text = parsed(file, Code::DefinitionInvalid)?;
            let definition =
                Definition::parse_with(&text, &libraries).map_err(|faults| several("the definition", file, faults))?;
            definitions.push(Arc::new(definition));
        }
        let mut offers = Offers::default();
        if definitions.is_empty() {
            definitions = defined(context, &self.name).await?;
            offers = organizations(context).await?;
        }
        let around = Around { definitions: Definitions::of(definitions), offers, ..Around::default() };
        let unknown = script.unknown(&around.definitions, &self.name);
        if !unknown.is_empty() && around.definitions.named(&self.name).is_some() {
            let faults = unknown.into_iter().map(|Unknown { path, message }| {
                let fault = Fault::new(
                    Code::MessageMalformed,
                    format!("{}, {}: {message}", self.answers.display(), path.join(".")),
                );
                let fault = fault.help("correct the key, or remove it: what stands there would never be answered");
                match place_of(&written, &path) {
                    Some(place) => fault.at(place),
                    None => fault,
                }
            });
            return Err(several("the answers' file", &self.answers, faults.collect()));
        }
        let began = Time::now();
        let rehearsal = dry_run(&around, &self.name, input, &script, began.0)?;
        let told = told(&rehearsal, &around, began, self.history);
        context.show(&told, render::dry_run);
        if told.transaction.state == TransactionState::Completed { Ok(()) } else { Err(Failure::Told) }
    }
}

/// What is answered, from a JSON file, and its text.
fn script(file: &Path) -> Result<(Script, String), Fault> {
    let text = read_document(file, Code::MessageMalformed)?;
    let script = serde_json::from_str(&text).map_err(|error| {
        let place = Place { line: error.line() as u32, column: error.column() as u32 };
        let message = format!("the answers' file {} is not what it must be: {error}", file.display());
        Fault::new(Code::MessageMalformed, message).at(place).help("docs/transactions.md describes it, under Dry runs.")
    })?;
    Ok((script, text))
}

/// Where in a JSON text the last of these keys ends, each in the object that the one before leads to.
fn place_of(text: &str, path: &[String]) -> Option<Place> {
    /// Reads as far as that, and fails there: then the reader says where it is.
    struct Way<'p>(&'p [String]);
    impl<'de> DeserializeSeed<'de> for Way<'_> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_map(self)
        }
    }
    impl<'de> Visitor<'de> for Way<'_> {
        type Value = ();
        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("an object")
        }
        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
            while let Some(key) = map.next_key::<String>()? {
                match self.0 {
                    [last] if *last == key => return Err(M::Error::custom("here it is")),
                    [first, rest @ ..] if *first == key => map.next_value_seed(Way(rest))?,
                    _ => drop(map.next_value::<IgnoredAny>()?),
                }
            }
            Ok(())
        }
    }
    let error = Way(path).deserialize(&mut serde_json::Deserializer::from_str(text)).err()?;
    Some(Place { line: error.line() as u32, column: error.column() as u32 })
}

/// The organizations that the node knows, for operations that name one.
async fn organizations(context: &Context) -> Result<Offers, Fault> {
    let request = Request::Directory { operation: None, city: None };
    let entries: Vec<DirectoryEntry> = context.client().await?.ask(&request).await?;
    let own = entries.iter().find(|entry| entry.own).map(|entry| (entry.organization, entry.name.clone()));
    let (own, name) = own.unwrap_or_else(|| (OrganizationId([0; 32]), "here".parse().expect("a word is a name")));
    let peers = entries.into_iter().filter(|entry| !entry.own).map(|entry| PeerOffer {
        organization: entry.organization,
        name: entry.name,
        city: entry.city,
        services: Vec::new(),
    });
    Ok(Offers::new(own, name, [], peers))
}

fn parsed(file: &Path, code: Code) -> Result<Text, Fault> {
    Text::parse(read_document(file, code)?.as_bytes())
}

fn several(what: &str, file: &Path, faults: Vec<Fault>) -> Failure {
    match <[Fault; 1]>::try_from(faults) {
        Ok([fault]) => Failure::Fault(fault),
        Err(faults) => {
            let code = faults.first().map_or(Code::DocumentMalformed, |fault| fault.code);
            let message = format!("{what} {} has {} faults", file.display(), faults.len());
            Failure::Faults(Fault::new(code, message), faults)
        }
    }
}

/// The definition of a name as the node has it, and those that it runs as operations.
async fn defined(context: &Context, name: &DefinitionName) -> Result<Vec<Arc<Definition>>, Failure> {
    let mut client = context.client().await?;
    let (mut known, mut wanted, mut definitions) = (BTreeSet::new(), vec![name.clone()], Vec::new());
    while let Some(name) = wanted.pop() {
        if !known.insert(name.clone()) {
            continue;
        }
        let source =
            client.ask::<DefinitionSource>(&Request::DefinitionSource { name: name.clone(), version: None }).await;
        let source = match source {
            // The operation that would run it fails, and that is seen.
            Err(fault) if fault.code == Code::DefinitionUnknown && !definitions.is_empty() => continue,
            source => source?,
        };
        let text = Text::parse(source.text.as_bytes())?;
        let libraries = library::bound(&mut client, &source).await?;
        let definition = Definition::parse_with(&text, &libraries).map_err(views::all_faults)?;
        wanted.extend(definition.operations.iter().filter_map(|operation| match &operation.work {
            Work::Transaction(name) => Some(name.clone()),
            _ => None,
        }));
        definitions.push(Arc::new(definition));
    }
    Ok(definitions)
}

fn told(rehearsal: &Rehearsal, around: &Around, began: Time, history: bool) -> DryRun {
    let (mut subtransactions, mut unanswered, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = vec![rehearsal];
    while let Some(one) = next.pop() {
        unanswered.extend(one.unanswered.iter().map(|it| UnansweredOperation {
            definition: one.picture.definition.clone(),
            operation: it.operation,
            name: it.name.clone(),
            leg: it.leg,
            attempt: it.attempt,
        }));
        refused.extend(one.refused.iter().cloned());
        subtransactions.extend(one.transactions.iter().map(|it| views::show(&it.picture, &around.offers)));
        next.extend(&one.transactions);
    }
    let of = |definitions: &Definitions| definitions.version(&rehearsal.picture.hash).cloned();
    let definition = of(&around.definitions);
    let mut teller = Teller::new(definition.as_deref(), &around.offers);
    let last = rehearsal.records.iter().filter_map(|record| record.at()).max().unwrap_or(began.0);
    let records = rehearsal.records.iter().filter(|_| history);
    DryRun {
        transaction: views::show(&rehearsal.picture, &around.offers),
        subtransactions,
        took_ms: last.since_ms(began.0),
        unanswered,
        refused,
        history: records
            .map(|record| DryRunStep {
                after_ms: record.at().unwrap_or(last).since_ms(began.0),
                words: teller.tell(record),
            })
            .collect(),
    }
}
