//! One node of a testnet: its folder, its configuration, its process. It starts, stops and kills; what the nodes are told
//! to do with each other is the cluster's business.

use crate::admin::Admin;
use anyhow::{Context as _, Result, anyhow, bail};
use hansa_core::code::Fault;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

/// The `hansa` executable that plays the nodes.
#[derive(Clone, Debug)]
pub struct Executable(pub PathBuf);

/// How long a node may take to listen after its start.
const READY_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a node may take to end after it was asked to.
const STOP_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the second sub-node of a pair may take to get its papers.
const JOIN_WAIT_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks at a file or a process.
const LOOK_PAUSE: Duration = Duration::from_millis(2);
/// Lines of a log that are shown when a node ends by itself.
const LOG_LINES_SHOWN: usize = 12;

/// What `listening.json` says of a node that runs.
#[derive(Clone, Debug, Deserialize)]
pub struct Listening {
    /// The process.
    pub pid: i32,
    /// Where services and clients attach.
    pub cxip: String,
    /// Where health and metrics are.
    #[serde(default)]
    pub http: Option<String>,
    /// Where peers connect.
    #[serde(default)]
    pub federation: Vec<String>,
    /// The administration socket.
    pub admin: PathBuf,
}

impl Listening {
    /// Read it from a data folder; nothing if the node there has not written it (yet).
    #[must_use]
    pub fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(data.join("listening.json")).ok()?).ok()
    }
}

/// Where a node lives and listens: what the state file of a kept testnet remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// The organization.
    pub organization: String,
    /// Its city.
    pub city: String,
    /// Its data folder.
    pub data: PathBuf,
    /// The file that takes what the process prints.
    pub log: PathBuf,
    /// Where services and clients attach.
    pub cxip: SocketAddr,
    /// Where peers connect, by TCP.
    pub federation: SocketAddr,
    /// Where health and metrics are.
    pub http: SocketAddr,
}

/// How a node is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The process ends with the one that started it, however that ends.
    OfStarter,
    /// The process goes on by itself.
    Own,
}

/// What runs a program so that it has the processors only while nobody else wants them; or, on a system that cannot, hardly.
fn yielding() -> Command {
    let idle = ("chrt", ["--idle", "0"]);
    let tried = std::process::Command::new(idle.0).args(idle.1).arg("true").output();
    let has_idle = tried.is_ok_and(|tried| tried.status.success());
    let (program, options) = if has_idle { idle } else { ("nice", ["-n", "19"]) };
    let mut command = Command::new(program);
    command.args(options);
    command
}

impl Home {
    /// Make the folders that its data folder and its log go to.
    fn make_room(&self) -> Result<()> {
        for parent in [&self.data, &self.log].into_iter().filter_map(|path| path.parent()) {
            fs::create_dir_all(parent).with_context(|| format!("could not make {}", parent.display()))?;
        }
        Ok(())
    }
}

/// A node, running or not. One whose lifetime is that of its starter is killed when this value is dropped.
#[derive(Debug)]
pub struct Node {
    /// Where it lives.
    pub home: Home,
    executable: Executable,
    lifetime: Lifetime,
    child: Option<Child>,
    listening: Option<Listening>,
    yields: bool,
}

impl Node {
    /// A node that does not run yet.
    #[must_use]
    pub fn new(home: Home, executable: Executable, lifetime: Lifetime) -> Self {
        Self { home, executable, lifetime, child: None, listening: None, yields: false }
    }

    fn command(&self, word: &str) -> Command {
        let mut command = self.plain_command();
        command.arg(word).arg("--data").arg(&self.home.data);
        command
    }

    /// Whether its process, from the next start on, lets all others on this machine go before: as if it stood on a machine of its own,
    /// where it would be in nobody's way.
    pub fn set_yields(&mut self, yields: bool) {
        self.yields = yields;
    }

    /// Its process has the processors like others from now on, if it [yielded](Self::set_yields) and the system can take that back.
    pub async fn stop_yielding(&mut self) -> Result<()> {
        if std::mem::take(&mut self.yields)
            && let Some(pid) = self.pid()
        {
            let mut command = Command::new("chrt");
            command.args(["--all-tasks", "--other", "--pid", "0", &pid.to_string()]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let told = command.status().await;
            // Without it, it was started otherwise.
            if told.is_ok_and(|told| !told.success()) {
                bail!("the node's process could not be given the processors back");
            }
        }
        Ok(())
    }

    fn plain_command(&self) -> Command {
        let mut command = if self.yields {
            let mut yielding = yielding();
            yielding.arg(&self.executable.0);
            yielding
        } else {
            Command::new(&self.executable.0)
        };
        command.stdin(Stdio::null());
        // A setting of whoever runs the testnet must not reach into its nodes.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HANSA_")) {
            command.env_remove(name);
        }
        command
    }

    /// Make the data folder with the organization's keys, and put `settings` into its configuration.
    ///
    /// # Errors
    /// The command failed, or the configuration could not be written.
    pub async fn initialize(&self, settings: &toml::Table) -> Result<()> {
        let home = &self.home;
        home.make_room()?;
        let mut command = self.command("init");
        command.arg("--organization").arg(&home.organization).arg("--city").arg(&home.city);
        let output = command.output().await.with_context(|| self.start_failure())?;
        if !output.status.success() {
            bail!("`hansa init` for {} failed: {}", home.organization, String::from_utf8_lossy(&output.stderr).trim());
        }
        self.configure(settings)
    }

    /// Make the data folder as that of the second sub-node of a pair, with the code that the first one gave, and put
    /// `settings` into its configuration.
    ///
    /// # Errors
    /// As [`Self::initialize`].
    pub async fn join_pair(&self, code: &str, settings: &toml::Table) -> Result<()> {
        let home = &self.home;
        home.make_room()?;
        let mut command = self.plain_command();
        command.args(["pair", "join", code, "--city", &home.city, "--no-run", "--data"]).arg(&home.data);
        let joined = tokio::time::timeout(JOIN_WAIT_MAX, command.kill_on_drop(true).output()).await;
        let waited = JOIN_WAIT_MAX.as_secs();
        let output = joined.with_context(|| format!("`hansa pair join` did not end within {waited} s"))?;
        let output = output.with_context(|| self.start_failure())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`hansa pair join` for {} in {} failed: {}", home.organization, home.city, said.trim());
        }
        self.configure(settings)
    }

    /// What its configuration says.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn settings(&self) -> Result<toml::Table> {
        let path = self.home.data.join("hansa.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        text.parse().with_context(|| format!("{} is not TOML", path.display()))
    }

    fn configure(&self, settings: &toml::Table) -> Result<()> {
        let path = self.home.data.join("hansa.toml");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut configuration: toml::Table = text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
        merge(&mut configuration, settings);
        fs::write(&path, configuration.to_string()).with_context(|| format!("could not write {}", path.display()))
    }

    /// Start the process and wait until it listens; returns after how long it did.
    ///
    /// # Errors
    /// It could not be started, ended by itself, or did not listen in time. The message has the end of its log.
    pub async fn start(&mut self) -> Result<Duration> {
        let began = self.launch()?;
        self.wait_until_ready().await?;
        Ok(began.elapsed())
    }

    /// Start the process, without waiting for anything; returns the moment of the start.
    ///
    /// # Errors
    /// It runs already or could not be started.
    pub fn launch(&mut self) -> Result<Instant> {
        if self.child.is_some() {
            bail!("the node of {} runs already", self.home.organization);
        }
        // A killed node leaves the file behind; only what the new process writes counts.
        let _ = fs::remove_file(self.home.data.join("listening.json"));
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.home.log);
        let log = log.with_context(|| format!("could not open {}", self.home.log.display()))?;
        let mut command = self.command("run");
        if self.lifetime == Lifetime::OfStarter {
            command.arg("--exit-with-parent").kill_on_drop(true);
        }
        // A group of its own: an interrupt at the terminal goes to us alone, and we end the nodes.
        command.process_group(0).stdout(log.try_clone()?).stderr(log);
        let began = Instant::now();
        self.child = Some(command.spawn().with_context(|| self.start_failure())?);
        Ok(began)
    }

    fn start_failure(&self) -> String {
        format!("could not start {}", self.executable.0.display())
    }

    /// Wait until the process has written where it listens.
    ///
    /// # Errors
    /// It ended by itself, or took too long.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        let began = Instant::now();
        let child = self.child.as_mut().context("the node was not started")?;
        loop {
            if let Some(listening) =
                Listening::read(&self.home.data).filter(|it| u32::try_from(it.pid).ok() == child.id())
            {
                self.listening = Some(listening);
                return Ok(());
            }
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Err(anyhow!("the node of {} ended ({status})\n{}", self.home.organization, self.log_end()));
            }
            if began.elapsed() > READY_WAIT_MAX {
                let waited = READY_WAIT_MAX.as_secs();
                bail!("the node of {} does not listen after {waited} s\n{}", self.home.organization, self.log_end());
            }
            sleep(LOOK_PAUSE).await;
        }
    }

    /// A process that was started and not ended from here still runs.
    ///
    /// # Errors
    /// It ended by itself; the message has the end of its log.
    pub fn ensure_running(&mut self) -> Result<()> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        if let Some(status) = child.try_wait()? {
            self.child = None;
            bail!("the node of {} ended ({status})\n{}", self.home.organization, self.log_end());
        }
        Ok(())
    }

    fn log_end(&self) -> String {
        let text = fs::read(&self.home.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        format!("the end of its log {}:\n  {}", self.home.log.display(), shown.join("\n  "))
    }

    /// The process, if it was started and not ended by us.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Its administration socket.
    ///
    /// # Errors
    /// The node has never listened.
    pub fn admin(&self) -> Result<Admin> {
        let listening = self.listening.as_ref();
        let listening = listening.with_context(|| format!("the node of {} does not run", self.home.organization))?;
        Ok(Admin::at(&listening.admin))
    }

    /// Ask its administration socket.
    ///
    /// # Errors
    /// As [`Admin::ask`].
    pub async fn ask(&self, command: &str, arguments: Value) -> Result<Value> {
        let asked = self.admin()?.ask(command, arguments).await;
        asked.map_err(|error| match error.downcast::<Fault>() {
            Ok(fault) => Fault { message: format!("{}: {}", self.home.organization, fault.message), ..fault }.into(),
            Err(error) => error.context(format!("at the node of {}", self.home.organization)),
        })
    }

    /// End the process with SIGKILL, as a power failure would, and wait until it is gone.
    ///
    /// # Errors
    /// It does not run, or the system refused.
    pub async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the node does not run")?;
        child.start_kill().with_context(|| format!("could not kill the node of {}", self.home.organization))?;
        child.wait().await?;
        Ok(())
    }

    /// Let the process stand still, as a machine does whose disk hangs or whose host is moved.
    ///
    /// # Errors
    /// It does not run, or the system refused.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Let a process that stands still go on.
    ///
    /// # Errors
    /// As [`Self::pause`].
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("the node of {} does not run", self.home.organization))?;
        kill_process(pid, signal).with_context(|| format!("the node of {} takes no signal", self.home.organization))
    }

    /// Ask the process to end with SIGTERM; one that does not within its time is killed.
    ///
    /// # Errors
    /// It had to be killed, or ended with an error.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            // It may have ended by itself a moment ago, which `wait` tells.
            let _ = kill_process(pid, Signal::TERM);
        }
        match tokio::time::timeout(STOP_WAIT_MAX, child.wait()).await {
            Ok(status) => match status? {
                status if status.success() => Ok(()),
                status => bail!("the node of {} ended with {status}\n{}", self.home.organization, self.log_end()),
            },
            Err(_) => {
                child.start_kill()?;
                child.wait().await?;
                bail!("the node of {} did not stop within {} s", self.home.organization, STOP_WAIT_MAX.as_secs())
            }
        }
    }

    /// Let the process go on by itself when this value is dropped.
    pub fn release(&mut self) {
        if self.lifetime == Lifetime::Own {
            self.child = None;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It can only fail if the process has ended already.
            let _ = child.start_kill();
        }
    }
}

/// Whether `pid` is still the `hansa` process of this data folder, and not another that got its number later.
#[must_use]
pub fn is_node_of(pid: i32, data: &Path) -> bool {
    let Ok(arguments) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let data = data.as_os_str().as_encoded_bytes();
    arguments.split(|byte| *byte == 0).any(|argument| argument == data)
}

/// End the node of a data folder that another process started; says whether one ran.
///
/// # Errors
/// It does not end.
pub async fn end_node_of(data: &Path) -> Result<bool> {
    let Some(pid) = Listening::read(data).map(|it| it.pid).filter(|pid| is_node_of(*pid, data)) else {
        return Ok(false);
    };
    let process = Pid::from_raw(pid).context("listening.json names no process")?;
    for signal in [Signal::TERM, Signal::KILL] {
        let _ = kill_process(process, signal);
        let began = Instant::now();
        while began.elapsed() < STOP_WAIT_MAX {
            if !is_node_of(pid, data) {
                return Ok(true);
            }
            sleep(LOOK_PAUSE).await;
        }
    }
    bail!("the process {pid} does not end, not even by SIGKILL")
}

/// Put `more` into `into`, table by table; what is not a table is replaced.
fn merge(into: &mut toml::Table, more: &toml::Table) {
    for (key, value) in more {
        match (into.get_mut(key), value) {
            (Some(toml::Value::Table(into)), toml::Value::Table(more)) => merge(into, more),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_merged_table_by_table() {
        let mut into: toml::Table = "[organization]\nname = 'A'\n[cxip]\nlisten = 'x'\nother = 1\n".parse().unwrap();
        merge(&mut into, &"[cxip]\nlisten = 'y'\n[[emulation.link]]\naddress = 'z'\n".parse().unwrap());
        assert_eq!(into["organization"]["name"].as_str(), Some("A"));
        assert_eq!((into["cxip"]["listen"].as_str(), into["cxip"]["other"].as_integer()), (Some("y"), Some(1)));
        assert_eq!(into["emulation"]["link"][0]["address"].as_str(), Some("z"));
    }

    fn node_of(folder: &Path, executable: &str) -> Node {
        let nowhere = "127.0.0.1:0".parse().unwrap();
        let home = Home {
            organization: "Acme BV".into(),
            city: "Rotterdam".into(),
            data: folder.join("data"),
            log: folder.join("node.log"),
            cxip: nowhere,
            federation: nowhere,
            http: nowhere,
        };
        Node::new(home, Executable(executable.into()), Lifetime::OfStarter)
    }

    #[tokio::test]
    async fn a_node_that_ends_by_itself_is_told_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("hansa");
        fs::write(&script, "#!/bin/sh\necho the port is in use >&2\nexit 1\n").unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut node = node_of(folder.path(), script.to_str().unwrap());
        let failure = node.start().await.unwrap_err().to_string();
        assert!(failure.contains("Acme BV ended") && failure.contains("the port is in use"), "{failure}");
        assert!(node.pid().is_none());
    }

    #[tokio::test]
    async fn a_process_that_is_dropped_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("hansa");
        fs::write(&script, "#!/bin/sh\nexec sleep 600\n").unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut node = node_of(folder.path(), script.to_str().unwrap());
        node.launch().unwrap();
        let pid = node.pid().unwrap();
        drop(node);
        // The runtime reaps it; until then it is at most a zombie, which holds no command line.
        while !fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_executable_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let failure = node_of(folder.path(), "/nowhere/hansa").start().await.unwrap_err().to_string();
        assert!(failure.contains("/nowhere/hansa"), "{failure}");
    }
}
