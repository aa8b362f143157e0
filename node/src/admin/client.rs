//! Asks a running node over its administration socket. Every command that needs a node goes through here.

use super::protocol::{Reply, Request};
use crate::folder::Folder;
use hansa_core::code::{Code, Fault};
use serde::de::DeserializeOwned;
use std::{io, path::Path};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

/// Bytes of an answer: two documents and their operations, as JSON.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A connection to a running node.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
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
        Ok(Self { stream: BufReader::new(UnixStream::connect(path).await?) })
    }

    /// Ask, and wait for the answer.
    ///
    /// # Errors
    /// The node's refusal, or [`Code::NodeStopped`] if it went away before it answered.
    pub async fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, Fault> {
        let gone = |error: io::Error| {
            Fault::new(Code::NodeStopped, format!("the node went away before it answered: {error}"))
                .help("look at its log; when it runs again, `hansa transaction list` shows what was taken")
        };
        let mut line = serde_json::to_vec(request).expect("requests are JSON");
        line.push(b'\n');
        // A node that refuses early answers and closes while we still write: its answer says more than our error.
        let written = self.stream.get_mut().write_all(&line).await;
        let mut answer = Vec::new();
        let read = (&mut self.stream).take(ANSWER_BYTES_MAX).read_until(b'\n', &mut answer).await;
        if answer.last() != Some(&b'\n') {
            written.map_err(gone)?;
            read.map_err(gone)?;
            return Err(gone(io::ErrorKind::UnexpectedEof.into()));
        }
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
