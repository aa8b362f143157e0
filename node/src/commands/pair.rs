//! `hansa pair …`: two sub-nodes with one log. Make a pair, join it, see how it is, let the other one serve.

use super::{
    Context, Failure,
    render::{self, count},
    run::Run,
};
use crate::{
    admin::few_witnesses,
    admin::protocol::{PairAppointed, PairEnded, PairInitiated, PairStatus, PairSwitched, Request},
    config,
    folder::Folder,
    pairing::{self, Pairing, PairingCode, Whereabouts},
};
use clap::{Args, Subcommand};
use ed25519_dalek::SigningKey;
use hansa_actors::clock;
use hansa_core::{
    code::{Code, Fault},
    ident::{City, OrganizationId, OrganizationName, SubnodeId},
};
use hansa_federation::Keys;
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Two sub-nodes in two cities with one log: while one lives, nothing acknowledged is lost
///
/// One is active: it serves. The other follows, and takes over when the active is lost. A few other members remember who is
/// active, as witnesses. docs/pairs.md tells how it is set up, and what to do when something is lost.
#[derive(Debug, Args)]
pub struct PairArguments {
    #[command(subcommand)]
    command: PairCommand,
}

#[derive(Debug, Subcommand)]
enum PairCommand {
    Init(Init),
    Join(Join),
    Status(StatusOfPair),
    Switch(Switch),
    Appoint(Appoint),
    End(End),
}

/// Make a pair of this node and another that is to come, and print the code with which that joins
///
/// Members that are connected are asked to be witnesses. Where there is a pair already whose other sub-node is lost, only
/// the code is made anew. Whoever has the code can become this organization once, within an hour: give it to the other
/// machine only.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa pair init\n  \
    hansa pair init --city Hamburg --witness \"Birch GmbH\" --witness \"Cedar Pte\"\n  \
    ssh frankfurt hansa pair join $(hansa pair init) --city Frankfurt")]
struct Init {
    /// The city in which this node stands, as a check [default: organization.city]
    #[arg(long, value_name = "CITY")]
    city: Option<City>,
    /// A member that shall be a witness, by name or id; can be repeated [default: up to four that are connected]
    #[arg(long = "witness", value_name = "NAME")]
    witnesses: Vec<String>,
}

/// Make the other sub-node of a pair on this machine, and run it
///
/// The data folder must be new: everything comes from the active sub-node. If anything goes wrong, none is left behind.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa pair join hansa-pair-… --city Hamburg\n  \
    hansa pair join hansa-pair-… --city Hamburg --data /var/lib/hansa --no-run")]
struct Join {
    /// The code that `hansa pair init` printed
    #[arg(value_name = "CODE")]
    code: String,
    /// The city in which this sub-node stands
    #[arg(long, value_name = "CITY")]
    city: City,
    /// Only make the data folder; `hansa run` starts it later
    #[arg(long)]
    no_run: bool,
}

/// Show how the pair is: who is active, how far the mirror is, who the witnesses are, and what to see to
#[derive(Debug, Args)]
#[command(name = "status", after_help = "Examples:\n  hansa pair status\n  hansa pair status --json | jq .lag_entries")]
struct StatusOfPair {}

/// Let the mirror serve, and wait until it does
///
/// To be asked at the active sub-node, for instance before its machine is maintained. Nothing is lost, and services and
/// clients that know both addresses go on by themselves.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa pair switch")]
struct Switch {}

/// Have other members be the witnesses of the pair
///
/// To be asked at the active sub-node, when a witness is lost for good, has a new disk, or is to be one no more. Those that there are
/// decide on it, so as many of them as it takes to decide must be connected; from then on the others decide. The node goes on to serve
/// meanwhile. Without --witness those that are connected stay, and others take the place of those that are not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa pair appoint\n  \
    hansa pair appoint --witness \"Birch GmbH\" --witness \"Cedar Pte\" --witness \"Dogwood AB\" --witness \"Elm Oy\"")]
struct Appoint {
    /// A member that shall be a witness, by name or id; can be repeated: then it is these, and no others
    #[arg(long = "witness", value_name = "NAME")]
    witnesses: Vec<String>,
}

/// End the pair: this sub-node goes on as a single node
///
/// To be asked at the active sub-node, when the other one is stopped for good and `hansa pair status` says solo. It takes effect
/// when this one is started again. Nothing is lost; what is acknowledged is on one disk only, and nobody takes over. The data
/// folder of the other sub-node is of no use any more. `hansa pair init` takes the pair up again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa pair end && systemctl restart hansa")]
struct End {}

impl PairArguments {
    /// Whether it makes something on this very machine.
    pub fn is_of_this_machine(&self) -> bool {
        matches!(self.command, PairCommand::Join(_))
    }

    /// Whether it goes on as a node.
    pub fn runs(&self) -> bool {
        matches!(self.command, PairCommand::Join(Join { no_run: false, .. }))
    }

    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            PairCommand::Init(init) => init.perform(context).await,
            PairCommand::Join(join) => join.perform(context).await,
            PairCommand::Status(status) => status.perform(context).await,
            PairCommand::Switch(switch) => switch.perform(context).await,
            PairCommand::Appoint(appoint) => appoint.perform(context).await,
            PairCommand::End(end) => end.perform(context).await,
        }
    }
}

impl Init {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        few_witnesses(&self.witnesses)?;
        let request = Request::PairInit { city: self.city, witnesses: self.witnesses };
        let initiated: PairInitiated = context.client().await?.ask(&request).await?;
        // The code alone is on standard output, so that it can be piped; the rest is for the person.
        if !context.json {
            eprint!("{}", render::pair_initiated(&initiated));
        }
        context.show(&initiated, |initiated| initiated.code.clone());
        Ok(())
    }
}

impl StatusOfPair {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        let status: PairStatus = context.client().await?.ask(&Request::PairStatus).await?;
        context.show(&status, render::pair);
        Ok(())
    }
}

impl Switch {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        let switched: PairSwitched = context.client().await?.ask(&Request::PairSwitch).await?;
        context.show(&switched, render::pair_switched);
        Ok(())
    }
}

impl Appoint {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        few_witnesses(&self.witnesses)?;
        let request = Request::PairAppoint { witnesses: self.witnesses };
        let appointed: PairAppointed = context.client().await?.ask(&request).await?;
        context.show(&appointed, render::pair_appointed);
        Ok(())
    }
}

impl End {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        let ended: PairEnded = context.client().await?.ask(&Request::PairEnd).await?;
        context.show(&ended, render::pair_ended);
        Ok(())
    }
}

/// A sub-node was made.
#[derive(Debug, Serialize)]
struct Made {
    organization: OrganizationId,
    name: OrganizationName,
    city: City,
    node: SubnodeId,
    data: PathBuf,
    configuration: PathBuf,
    active: Whereabouts,
    /// Where it is known, how many addresses of other members came along.
    members: usize,
}

impl Join {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        let code: PairingCode = self.code.parse()?;
        code.check(clock::now())?;
        let city = self.city;
        let configuration = laid_there(context, &city)?;
        let ask = async |node: &SigningKey| pairing::ask_active(&code, node, &city).await;
        let made = make(&context.folder, &city, configuration.as_ref(), ask).await?;
        let no_run = self.no_run;
        context.show(&made, |made| {
            let mut text = format!(
                "Made a sub-node of {} in {}; the active one is in {}.\n  node           {}\n  data           {}\n  \
                 configuration  {}\n  members        addresses of {}\n",
                made.name,
                made.city,
                made.active.city,
                made.node,
                made.data.display(),
                made.configuration.display(),
                count(made.members as u64, "member"),
            );
            if no_run {
                text.push_str(&format!("\nStart it:\n  hansa run --data {}", made.data.display()));
            }
            text
        });
        if no_run { Ok(()) } else { Run::default().perform(context).await }
    }
}

/// A configuration that was named and is there already, with the organization that it is for.
fn laid_there(context: &Context, city: &City) -> Result<Option<(PathBuf, OrganizationName)>, Failure> {
    let Some(path) = &context.config else { return Ok(None) };
    let (configuration, _) = context.configuration()?;
    let organization = configuration.organization();
    if organization.city() != city {
        let message = format!("'{}' is for a node in {}, not in {city}", path.display(), organization.city());
        return Err(Fault::new(Code::DataForeign, message).help("correct one of them, or leave --config out").into());
    }
    Ok(Some((path.clone(), organization.name().clone())))
}

/// Make the data folder of a sub-node whose papers `ask` fetches, with the configuration that is there or a new one. It
/// appears whole or not at all.
async fn make(
    folder: &Folder,
    city: &City,
    configuration: Option<&(PathBuf, OrganizationName)>,
    ask: impl AsyncFnOnce(&SigningKey) -> Result<Pairing, Fault>,
) -> Result<Made, Fault> {
    if folder.is_initialized() {
        folder.check()?;
        return Err(Fault::new(
            Code::DataExists,
            format!("'{}' holds an organization already", folder.path().display()),
        )
        .help("choose a new folder with --data; what is in this one stays as it is"));
    }
    let unfinished = Unfinished::beside(folder)?;
    let node = Keys::generate().node;
    let pairing = ask(&node).await?;
    if let Some((path, name)) = configuration
        && *name != pairing.name
    {
        let message = format!("'{}' is for {name}, and the pair is one of {}", path.display(), pairing.name);
        return Err(Fault::new(Code::DataForeign, message)
            .help("correct the name in the file; then make another code with `hansa pair init`"));
    }
    let organization = pairing.key();
    let new = &unfinished.0;
    new.keep_keys(&Keys { organization: organization.clone(), node: node.clone() })?;
    if configuration.is_none() {
        new.write_whole(&new.configuration(), config::file_text(&pairing.name, city).as_bytes())?;
    }
    new.keep_papers(&pairing.papers.to_bytes())?;
    new.seal()?;
    unfinished.become_whole(folder)?;
    Ok(Made {
        organization: OrganizationId(organization.verifying_key().to_bytes()),
        name: pairing.name,
        city: city.clone(),
        node: SubnodeId(node.verifying_key().to_bytes()),
        data: folder.path().to_owned(),
        configuration: configuration.map_or_else(|| folder.configuration(), |(path, _)| path.clone()),
        active: pairing.papers.active,
        members: pairing.papers.members.len(),
    })
}

/// A folder that is gone again unless it becomes the one that it is for.
struct Unfinished(Folder);

impl Unfinished {
    /// Beside that, so that a renaming suffices.
    fn beside(folder: &Folder) -> Result<Self, Fault> {
        let path = folder.path();
        let foreign = fs::read_dir(path).into_iter().flatten().flatten().next();
        if let Some(entry) = foreign {
            let message = format!(
                "'{}' has things in it: {}",
                path.display(),
                entry.file_name().to_string_lossy().escape_debug()
            );
            return Err(Fault::new(Code::DataForeign, message).help("choose a new or empty folder with --data"));
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(cannot(path, &io::Error::from(io::ErrorKind::InvalidInput)));
        };
        let name = format!(".{}.joining-{}", name.to_string_lossy(), std::process::id());
        let beside = Self(Folder::new(&parent.join(name))?);
        beside.0.create()?;
        Ok(beside)
    }

    fn become_whole(self, folder: &Folder) -> Result<(), Fault> {
        let (from, to) = (self.0.path(), folder.path());
        // Over a folder that is empty this works as well, and over any other it does not.
        fs::rename(from, to).map_err(|error| cannot(to, &error))?;
        let parent = to.parent().unwrap_or(to);
        fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(|error| cannot(parent, &error))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // There is none any more if it became whole.
        let _ = fs::remove_dir_all(self.0.path());
    }
}

fn cannot(path: &Path, error: &io::Error) -> Fault {
    Fault::new(Code::DataMissing, format!("'{}' cannot be made: {error}", path.display()))
        .help("choose with --data a folder that is not there yet, in one in which you may write")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn place() -> (tempfile::TempDir, Folder) {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(&temporary.path().join("deep/data")).unwrap();
        (temporary, folder)
    }

    fn hamburg() -> City {
        "Hamburg".parse().unwrap()
    }

    async fn answered(node: &SigningKey) -> Result<Pairing, Fault> {
        Ok(pairing::tests::answer(SubnodeId(node.verifying_key().to_bytes())))
    }

    /// Whatever lies where the folder shall be, and beside it.
    fn left(folder: &Folder) -> Vec<String> {
        let names = |path: &Path| {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        [names(folder.path().parent().unwrap()), names(folder.path())].concat()
    }

    // M2: a sub-node is made of nothing but a code, and has then all that it needs to begin.
    #[tokio::test]
    async fn a_sub_node_is_made_whole_with_the_organizations_key_and_one_of_its_own() {
        let (_temporary, folder) = place();
        let made = make(&folder, &hamburg(), None, answered).await.unwrap();
        folder.check().unwrap();
        assert_eq!(folder.exposed(), Vec::<PathBuf>::new(), "only its owner reads the keys");
        let keys = Keys::open(folder.path()).unwrap();
        assert_eq!((keys.organization_id(), keys.subnode_id()), (made.organization, made.node));
        let text = fs::read_to_string(folder.configuration()).unwrap();
        let sources = config::Sources { file: Some((folder.configuration(), text)), ..config::Sources::default() };
        let (configuration, _) = config::Configuration::load(&sources).unwrap();
        assert_eq!(configuration.organization().city(), &hamburg());
        let papers = pairing::Papers::from_bytes(&folder.pending_papers().unwrap()).unwrap();
        assert_eq!(papers, pairing::tests::answer(made.node).papers);
        assert_eq!(left(&folder).iter().filter(|name| name.contains("joining")).count(), 0);

        let again = make(&folder, &hamburg(), None, answered).await.unwrap_err();
        assert_eq!(again.code, Code::DataExists);
        assert_eq!(Keys::open(folder.path()).unwrap().subnode_id(), made.node, "and nothing of it changed");
    }

    #[tokio::test]
    async fn whatever_goes_wrong_nothing_is_left_behind() {
        let (_temporary, folder) = place();
        let away = async |_: &SigningKey| Err(Fault::new(Code::PeerUnreachable, "nobody answers"));
        assert_eq!(make(&folder, &hamburg(), None, away).await.unwrap_err().code, Code::PeerUnreachable);
        let named = (PathBuf::from("hansa.toml"), "Birch GmbH".parse().unwrap());
        assert_eq!(make(&folder, &hamburg(), Some(&named), answered).await.unwrap_err().code, Code::DataForeign);
        assert_eq!(left(&folder), Vec::<String>::new());
        // Somebody else makes the folder while the active answers.
        let raced = async |node: &SigningKey| {
            fs::create_dir_all(folder.path()).unwrap();
            fs::write(folder.path().join("thesis.tex"), "important").unwrap();
            answered(node).await
        };
        assert_eq!(make(&folder, &hamburg(), None, raced).await.unwrap_err().code, Code::DataMissing);
        assert_eq!(left(&folder), ["data", "thesis.tex"]);
        assert_eq!(make(&folder, &hamburg(), None, answered).await.unwrap_err().code, Code::DataForeign);
    }

    #[tokio::test]
    async fn a_folder_that_is_there_and_empty_is_taken() {
        let (_temporary, folder) = place();
        fs::create_dir_all(folder.path()).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        make(&folder, &hamburg(), None, answered).await.unwrap();
        assert_eq!(folder.exposed(), Vec::<PathBuf>::new());
    }
}
