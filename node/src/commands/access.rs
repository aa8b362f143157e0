//! `hansa access …`: who may attach to the node, what each may do, and the certificates for it.

use super::{Context, Failure, render};
use crate::{
    access::{certificates, verifier},
    admin::protocol::{AccountChanged, AccountEntry, Request},
};
use clap::{Args, Subcommand};
use hansa_core::{
    access::{Granted, Rights},
    code::{Code, Fault},
    ident::AccountName,
};
use serde_json::json;
use std::{
    io::{IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

/// Say who may attach to the node, and what each may do; make certificates
#[derive(Debug, Args)]
pub struct AccessArguments {
    #[command(subcommand)]
    command: AccessCommand,
}

#[derive(Debug, Subcommand)]
enum AccessCommand {
    Add(Add),
    List(List),
    Remove(Remove),
    Certificate(Certificate),
}

/// Let somebody in, or give somebody who is known another password or other rights
///
/// As soon as there is an account, only accounts are let in. What is granted here replaces what was granted before; `*`
/// grants all. Without --password-file, only a client certificate of this name opens the account.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa access add credit --service credit --password-file credit.password\n  \
    hansa access add erp --definition '*' --topic prices --password-file - < erp.password\n  \
    hansa access add operator --administer")]
struct Add {
    /// The account; a service or client comes as the account of its own name unless it says otherwise
    #[arg(value_name = "NAME")]
    name: AccountName,
    /// A file with the password on its first line; - reads standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A service that it may register
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,
    /// A definition by which it may submit transactions
    #[arg(long = "definition", value_name = "NAME")]
    definitions: Vec<String>,
    /// A topic that it may publish and subscribe to
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Let it administer the node
    #[arg(long)]
    administer: bool,
}

/// List the accounts and what each may do
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa access list")]
struct List {}

/// Let somebody in no more; what it has under way is refused from now on
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hansa access remove erp")]
struct Remove {
    /// The account
    #[arg(value_name = "NAME")]
    name: AccountName,
}

/// Make certificates: for the node's TLS, and for clients and services
///
/// The first time it makes an authority in the folder too, which vouches for all that are made there later. Nothing is
/// overwritten. The node is given node.pem, node.key and authority.pem; each client its own two files and authority.pem.
/// Keep authority.key where nobody else can read it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hansa access certificate --out tls --host node.acme.example --host 127.0.0.1\n  \
    hansa access certificate --out tls --client credit --client erp")]
struct Certificate {
    /// The folder of the authority and of what is made
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A host name or address by which the node is reached
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// An account that gets a client certificate
    #[arg(long = "client", value_name = "NAME", required_unless_present = "hosts")]
    clients: Vec<AccountName>,
}

impl AccessArguments {
    pub async fn perform(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            AccessCommand::Add(add) => add.perform(context).await,
            AccessCommand::List(list) => list.perform(context).await,
            AccessCommand::Remove(remove) => remove.perform(context).await,
            AccessCommand::Certificate(certificate) => certificate.perform(context),
        }
    }
}

impl Add {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        let rights = Rights {
            services: Granted::of(self.services.iter().map(String::as_str))?,
            definitions: Granted::of(self.definitions.iter().map(String::as_str))?,
            topics: Granted::of(self.topics.iter().map(String::as_str))?,
            administer: self.administer,
        };
        let password = self.password_file.as_deref().map(password_in).transpose()?;
        let has_password = password.is_some();
        let verifier = password.as_deref().map(verifier).transpose()?;
        let request = Request::AddAccount { name: self.name, verifier, rights };
        let changed: AccountChanged = context.client().await?.ask(&request).await?;
        context.show(&changed, |changed| {
            let how = if has_password { "with its password" } else { "with a client certificate of this name" };
            format!("The account {} is {}; it comes in {how}.", changed.name, changed.done)
        });
        Ok(())
    }
}

impl List {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        let entries: Vec<AccountEntry> = context.client().await?.ask(&Request::Accounts).await?;
        context.show(&entries, |entries| accounts(entries));
        Ok(())
    }
}

impl Remove {
    async fn perform(self, context: &Context) -> Result<(), Failure> {
        let changed: AccountChanged = context.client().await?.ask(&Request::RemoveAccount { name: self.name }).await?;
        context.show(&changed, |changed| format!("The account {} is removed.", changed.name));
        Ok(())
    }
}

impl Certificate {
    fn perform(self, context: &Context) -> Result<(), Failure> {
        let clients: Vec<String> = self.clients.iter().map(ToString::to_string).collect();
        let made = certificates::make(&self.out, &self.hosts, &clients)?;
        let written: Vec<String> = made.written.iter().map(|file| file.display().to_string()).collect();
        context.show(&json!({ "written": written, "authority": made.authority.display().to_string() }), |_| {
            let mut text = format!("Made {}.", written.join(", "));
            if !self.hosts.is_empty() {
                let file = |name: &str| self.out.join(name).display().to_string();
                text.push_str(&format!(
                    "\n\nIn the node's configuration:\n\n[cxip]\ntls_certificate = \"{}\"\ntls_key = \"{}\"\nclient_authority = \"{}\"",
                    file("node.pem"),
                    file("node.key"),
                    file("authority.pem")
                ));
            }
            text
        });
        Ok(())
    }
}

fn accounts(entries: &[AccountEntry]) -> String {
    if entries.is_empty() {
        return "There are no accounts: whoever reaches a port of this machine is let in, and nobody from elsewhere unless cxip.open is set.".to_owned();
    }
    let list = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(", ") };
    let rows = entries.iter().map(|entry| {
        vec![
            entry.name.to_string(),
            if entry.password { "password" } else { "certificate" }.to_owned(),
            list(&entry.services),
            list(&entry.definitions),
            list(&entry.topics),
            if entry.administer { "yes" } else { "no" }.to_owned(),
        ]
    });
    render::table(&["ACCOUNT", "COMES IN WITH", "SERVICES", "DEFINITIONS", "TOPICS", "ADMINISTERS"], rows)
}

/// The first line of a file, or of standard input.
pub fn password_in(file: &Path) -> Result<String, Fault> {
    let mut text = String::new();
    if file == Path::new("-") {
        if std::io::stdin().is_terminal() {
            eprintln!("Type the password (it is shown), then Return and Ctrl-D:");
        }
        std::io::stdin().read_to_string(&mut text).map_err(|error| unreadable("standard input", &error))?;
    } else {
        text = std::fs::read_to_string(file).map_err(|error| unreadable(&file.display().to_string(), &error))?;
    }
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn unreadable(what: &str, error: &std::io::Error) -> Fault {
    Fault::new(Code::AccessDenied, format!("no password can be read from {what}: {error}"))
        .help("name a file whose first line is the password")
}
