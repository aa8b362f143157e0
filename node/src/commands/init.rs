//! `hansa init`: makes a data folder with the organization's keys and its configuration.

use super::{Context, Failure};
use crate::config;
use clap::Args;
use hansa_core::{
    code::{Code, Fault},
    ident::{City, OrganizationId, OrganizationName, SubnodeId},
};
use hansa_federation::Keys;
use serde::Serialize;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Make an organization: its keys, its data folder and its configuration
///
/// The organization key, organization.key, is the organization: whoever has it can speak for it, and nobody can make it
/// again. Keep a copy in a safe place.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa init --organization \"Acme BV\" --city Rotterdam --data ./acme")]
pub struct Init {
    /// The organization's name, as the other members shall see it
    #[arg(long, value_name = "NAME")]
    organization: OrganizationName,
    /// The city in which the node stands
    #[arg(long, value_name = "CITY")]
    city: City,
}

#[derive(Debug, Serialize)]
struct Initialized {
    organization: OrganizationId,
    name: OrganizationName,
    city: City,
    node: SubnodeId,
    data: PathBuf,
    configuration: PathBuf,
}

impl Init {
    pub fn perform(self, context: &Context) -> Result<(), Failure> {
        let initialized = initialize(context, &self.organization, &self.city)?;
        context.show(&initialized, |made| {
            format!(
                "Made the organization {} in {}.\n  identity       {}\n  data           {}\n  configuration  {}\n\n\
                 Keep a copy of {} in a safe place: whoever has it speaks for {}.\n\
                 Start the node:\n  hansa run --data {}",
                made.name,
                made.city,
                made.organization,
                made.data.display(),
                made.configuration.display(),
                made.data.join("organization.key").display(),
                made.name,
                made.data.display(),
            )
        });
        Ok(())
    }
}

/// Make the organization. Interrupted at any point, it can be repeated: it takes up the keys that are there.
fn initialize(context: &Context, name: &OrganizationName, city: &City) -> Result<Initialized, Failure> {
    let folder = &context.folder;
    if folder.is_initialized() {
        folder.check()?;
        return Err(exists(context, name).into());
    }
    refuse_foreign_files(folder.path())?;
    folder.create()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).map_err(|error| {
        Fault::new(Code::DataPermissions, format!("'{}' is not ours alone: {error}", folder.path().display()))
            .help("choose a folder of your own with --data")
    })?;
    let _lock = folder.lock()?;
    let keys = Keys::ensure(folder.path())?;
    let configuration = context.configuration_path();
    if configuration.exists() {
        // From an interrupted init, or laid there beforehand: it stays as it is, if it is for this organization.
        let (existing, _) = context.configuration()?;
        let organization = existing.organization();
        if (organization.name(), organization.city()) != (name, city) {
            let message = format!(
                "'{}' is for {} in {}, not for {name} in {city}",
                configuration.display(),
                organization.name(),
                organization.city()
            );
            return Err(Fault::new(Code::DataForeign, message).help("correct one of them, or remove the file").into());
        }
    } else {
        folder.write_whole(&configuration, config::file_text(name, city).as_bytes())?;
    }
    folder.seal()?;
    Ok(Initialized {
        organization: keys.organization_id(),
        name: name.clone(),
        city: city.clone(),
        node: keys.subnode_id(),
        data: folder.path().to_owned(),
        configuration,
    })
}

/// Make the organization where there is none; where there is one, check that it is the one that is named.
pub fn ensure(context: &Context, name: Option<&OrganizationName>, city: Option<&City>) -> Result<(), Failure> {
    if !context.folder.is_initialized() {
        return match (name, city) {
            (Some(name), Some(city)) => initialize(context, name, city).map(|made| {
                tracing::info!(organization = %made.name, city = %made.city, "made the organization");
            }),
            // The check says that there is none, and what to do.
            _ => context.folder.check().map_err(Failure::Fault),
        };
    }
    match (name, context.configuration()) {
        (Some(name), Ok((configuration, _))) if configuration.organization().name() != name => {
            Err(foreign(context, configuration.organization().name(), name).into())
        }
        _ => Ok(()),
    }
}

fn exists(context: &Context, name: &OrganizationName) -> Fault {
    match context.configuration() {
        Ok((configuration, _)) if configuration.organization().name() != name => {
            foreign(context, configuration.organization().name(), name)
        }
        _ => {
            Fault::new(Code::DataExists, format!("'{}' holds an organization already", context.folder.path().display()))
                .help(format!(
                    "start it with `hansa run --data {}`, or choose another folder",
                    context.folder.path().display()
                ))
        }
    }
}

fn foreign(context: &Context, there: &OrganizationName, named: &OrganizationName) -> Fault {
    Fault::new(Code::DataForeign, format!("'{}' belongs to {there}, not to {named}", context.folder.path().display()))
        .help("choose another folder with --data; every organization has its own")
}

/// A folder in which other things lie is most likely the wrong one.
fn refuse_foreign_files(path: &Path) -> Result<(), Fault> {
    const OURS: [&str; 5] = ["organization.key", "node.key", "hansa.toml", "lock", "invite.pending"];
    let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let foreign = entries.into_iter().find(|name| {
        let name = name.to_string_lossy();
        !OURS.contains(&name.as_ref()) && !name.ends_with(".unfinished") && !name.ends_with(".new")
    });
    match foreign {
        Some(name) => Err(Fault::new(
            Code::DataForeign,
            format!("'{}' has other things in it: {}", path.display(), name.to_string_lossy().escape_debug()),
        )
        .help("choose a new or empty folder with --data")),
        None => Ok(()),
    }
}
