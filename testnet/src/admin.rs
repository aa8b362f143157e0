//! The client side of a node's administration socket, as far as a testnet needs it: one line of JSON asks, one answers.
//!
//! The types of the answers belong to the node, which this crate does not link; what is read here is read by name, so
//! that a node may say more than it is asked for.

use anyhow::{Context as _, Result, bail};
use hansa_core::code::Fault;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    time::timeout,
};

/// Bytes of one answer.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// No command that is used here takes longer, unless it waits by itself.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// The administration socket of one node. Each question has a connection of its own, so a restart in between is nothing
/// to take care of.
#[derive(Clone, Debug)]
pub struct Admin {
    socket: PathBuf,
}

impl Admin {
    /// The socket at this path.
    #[must_use]
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Where the socket is.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Ask `command` with these arguments and return what the node says is `ok`.
    ///
    /// # Errors
    /// The node's own [`Fault`] (to be found by `downcast_ref`) if it refuses; else why it could not be asked.
    pub async fn ask(&self, command: &str, arguments: Value) -> Result<Value> {
        let mut request = json!({ "command": command });
        if let (Some(request), Value::Object(arguments)) = (request.as_object_mut(), arguments) {
            request.extend(arguments);
        }
        let answer = timeout(ANSWER_WAIT_MAX, self.exchange(&request))
            .await
            .with_context(|| format!("the node at {} did not answer '{command}' in time", self.socket.display()))?
            .with_context(|| format!("could not ask the node at {} for '{command}'", self.socket.display()))?;
        read_answer(&answer).with_context(|| format!("the node refused '{command}'"))
    }

    async fn exchange(&self, request: &Value) -> Result<String> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        stream.write_all(format!("{request}\n").as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut line).await?;
        if !line.ends_with('\n') {
            bail!("the connection ended in the middle of the answer");
        }
        Ok(line)
    }
}

fn read_answer(line: &str) -> Result<Value> {
    let mut answer: Value = serde_json::from_str(line).context("the answer is not JSON")?;
    if let Some(fault) = answer.get("fault") {
        return Err(serde_json::from_value::<Fault>(fault.clone()).context("the fault has an unknown shape")?.into());
    }
    answer.get_mut("ok").map(Value::take).context("the answer has neither 'ok' nor 'fault'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_core::code::Code;
    use tokio::net::UnixListener;

    async fn answer_once(listener: UnixListener, answer: &str) -> Value {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.split();
        let mut line = String::new();
        BufReader::new(reader).read_line(&mut line).await.unwrap();
        writer.write_all(answer.as_bytes()).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    #[tokio::test]
    async fn a_question_is_one_line_and_so_is_the_answer() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let admin = Admin::at(&socket);
        let (asked, answer) = tokio::join!(
            answer_once(listener, "{\"ok\":{\"invite\":\"abc\"}}\n"),
            admin.ask("invite", json!({"hours": 3})),
        );
        assert_eq!(asked, json!({"command": "invite", "hours": 3}));
        assert_eq!(answer.unwrap(), json!({"invite": "abc"}));
    }

    #[test]
    fn a_refusal_keeps_the_code_of_the_node() {
        let refused = read_answer(r#"{"fault":{"code":"transaction-unknown","message":"there is none"}}"#).unwrap_err();
        assert_eq!(refused.downcast_ref::<Fault>().unwrap().code, Code::TransactionUnknown);
    }

    #[test]
    fn an_answer_that_is_none_is_said_to_be_none() {
        for line in ["", "{", "[]", "{}", r#"{"fault":7}"#] {
            assert!(read_answer(line).is_err(), "{line}");
        }
    }
}
