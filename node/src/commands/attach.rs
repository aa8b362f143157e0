//! How the commands that attach to a node as a service or a client show who they are: the same flags for all of them.

use super::access::password_in;
use clap::Args;
use hansa_core::code::{Code, Fault};
use hansa_sdk::{Connecting, Service, Tls};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What a node with accounts, or with TLS, wants to see
#[derive(Debug, Default, Args)]
pub struct Credentials {
    /// The account to come as, where the node has accounts
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// A file with the account's password on its first line
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Speak TLS, and trust nodes that this authority vouches for, PEM
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// A client certificate, PEM
    #[arg(long, value_name = "FILE", requires_all = ["authority", "key"])]
    certificate: Option<PathBuf>,
    /// The key of the client certificate, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
}

impl Credentials {
    /// A service that shows them.
    pub fn of_service(&self, mut service: Service) -> Result<Service, Fault> {
        if let Some(account) = &self.account {
            service = service.account(account)?;
        }
        if let Some(file) = &self.password_file {
            service = service.password(password_in(file)?);
        }
        Ok(match self.tls()? {
            Some(tls) => service.tls(tls),
            None => service,
        })
    }

    /// A client that shows them.
    pub fn of_client(&self, mut client: Connecting) -> Result<Connecting, Fault> {
        if let Some(account) = &self.account {
            client = client.account(account)?;
        }
        if let Some(file) = &self.password_file {
            client = client.password(password_in(file)?);
        }
        Ok(match self.tls()? {
            Some(tls) => client.tls(tls),
            None => client,
        })
    }

    fn tls(&self) -> Result<Option<Tls>, Fault> {
        let Some(authority) = &self.authority else { return Ok(None) };
        let tls = Tls::trusting(&read(authority)?)?;
        Ok(Some(match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => tls.presenting(&read(certificate)?, &read(key)?)?,
            _ => tls,
        }))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    fs::read(file).map_err(|error| Fault::new(Code::TlsFailed, format!("{} cannot be read: {error}", file.display())))
}
