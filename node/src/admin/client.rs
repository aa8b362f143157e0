//! Asks a running node, over its administration socket or its administration port. Every command that needs a node goes
//! through here.

use super::protocol::{Reply, Request};
use crate::folder::Folder;
use hansa_core::{
    code::{Code, Fault},
    limit,
};
use hansa_sdk::Administrator;
use serde::de::DeserializeOwned;
use std::{io, path::Path};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

/// A connection to a running node.
#[derive(Debug)]
pub struct Client(Way);

#[derive(Debug)]
enum Way {
    Socket(BufReader<UnixStream>),
    Port(Box<Administrator>),
}

impl Client {
    /// Connect to the node that runs in `folder`.
    ///
    /// # Errors
    /// [`Code::NodeStopped`] if none does; [`Code::DataMissing`] if there is no organization that could have one.
    pub async fn of(folder: &Folder) -> Result<Self, Fault> {
        folder.check()?;
        let stopped = || {
            Fault::new(Code::NodeStopped, format!("no node runs in '{}'", folder.path().display())).help(format!(
                "start it with `hansa run --data {}`, or name the right folder with --data",
                folder.path().display()
            ))
        };
        match folder.listening() {
            Some(listening) => Self::connect(&listening.admin).await.map_err(|_| stopped()),
            None if folder.is_in_use() => Err(Fault::new(
                Code::NodeStopped,
                format!("the node in '{}' is starting or stopping, and takes no requests", folder.path().display()),
            )
            .help("try again in a moment; its log tells what it is at")),
            None => Err(stopped()),
        }
    }

    /// Connect to the socket at `path`.
    ///
    /// # Errors
    /// If nobody answers there.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self(Way::Socket(BufReader::new(UnixStream::connect(path).await?))))
    }

    /// Over a connection to the administration port of a node.
    pub fn through(administrator: Administrator) -> Self {
        Self(Way::Port(Box::new(administrator)))
    }

    /// Ask, and wait for the answer.
    ///
    /// # Errors
    /// The node's refusal, or [`Code::NodeStopped`] if it went away before it answered.
    pub async fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, Fault> {
        let line = serde_json::to_string(request).expect("requests are JSON");
        let answer = match &mut self.0 {
            Way::Socket(stream) => ask_over(stream, line).await?,
            Way::Port(administrator) => administrator.ask(&line).await?.into_bytes(),
        };
        match serde_json::from_slice::<Reply<T>>(&answer) {
            Ok(Reply::Ok(value)) => Ok(value),
            Ok(Reply::Fault(fault)) => Err(fault),
            Err(error) => {
                Err(Fault::new(Code::VersionUnknown, format!("the node's answer cannot be understood: {error}"))
                    .help("use the `hansa` of the version that runs: `hansa status` and `hansa --version` tell both"))
            }
        }
    }
}

async fn ask_over(stream: &mut BufReader<UnixStream>, mut line: String) -> Result<Vec<u8>, Fault> {
    let gone = |error: io::Error| {
        Fault::new(Code::NodeStopped, format!("the node went away before it answered: {error}"))
            .help("look at its log; when it runs again, `hansa transaction list` shows what was taken")
    };
    line.push('\n');
    // A node that refuses early answers and closes while we still write: its answer says more than our error.
    let written = stream.get_mut().write_all(line.as_bytes()).await;
    let mut answer = Vec::new();
    let read = stream.take(limit::ADMIN_ANSWER_BYTES_MAX as u64).read_until(b'\n', &mut answer).await;
    if answer.last() != Some(&b'\n') {
        written.map_err(gone)?;
        read.map_err(gone)?;
        return Err(gone(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(answer)
}
