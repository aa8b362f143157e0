//! A real `hansa run` in a folder of its own, which can be killed and started again at the same port.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A process that ends with the test.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    /// Start it, and have what it says on standard output line by line; its errors go to the test's.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap_or_else(|error| {
            panic!("{command:?}: {error}");
        });
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (tells, lines) = channel();
        std::thread::spawn(move || {
            // When the test wants no more lines, it is over.
            output.lines().map_while(Result::ok).all(|line| tells.send(line).is_ok())
        });
        Self { child, lines }
    }

    /// The next line that it says.
    pub fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(timeout) => panic!("the process says nothing: {timeout}"),
        }
    }

    /// End it at once, without asking.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started here");
    }

    /// Wait for its own end; everything that it said since the last line that was asked for.
    pub fn finish(mut self) -> Vec<String> {
        let lines: Vec<_> = std::iter::from_fn(|| self.line()).collect();
        assert!(self.child.wait().expect("it was started here").success(), "{lines:#?}");
        lines
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node.
pub struct Node<'a> {
    folder: &'a Path,
    port: u16,
    /// What the configuration says besides.
    settings: Vec<String>,
    process: Option<Process>,
}

impl<'a> Node<'a> {
    /// A node in `folder`, running.
    pub fn start(folder: &'a Path) -> Self {
        Self::start_with(folder, Vec::new())
    }

    /// The same with more in its configuration, each `key=value`.
    pub fn start_with(folder: &'a Path, settings: Vec<String>) -> Self {
        Self::of("Acme BV", folder, settings)
    }

    /// The same of another organization.
    pub fn of(organization: &str, folder: &'a Path, settings: Vec<String>) -> Self {
        let port = hansa_testnet::ports::free_ports(1).expect("there are free ports")[0];
        let mut node = Self { folder, port, settings, process: None };
        node.say(["init", "--organization", organization, "--city", "Rotterdam"]);
        node.run();
        node
    }

    /// Where services and clients attach, also after a restart.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn run(&mut self) {
        let ready = self.folder.join("data/listening.json");
        // A killed node leaves it behind.
        let _ = fs::remove_file(&ready);
        let listen = format!("cxip.listen={}", self.address());
        let mut command = self.command();
        command.args(["run", "--set", &listen, "--set", "http.listen=127.0.0.1:0", "--set", "federation.mdns=false"]);
        command.args(["--set", "federation.listen=/ip4/127.0.0.1/tcp/0"]).stderr(Stdio::null());
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        self.process = Some(Process::start(&mut command));
        let begun = Instant::now();
        while !ready.exists() {
            assert!(begun.elapsed() < PATIENCE, "the node is not ready");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL, and up again.
    pub fn kill_and_start(&mut self) {
        self.process.take().expect("it runs").kill();
        self.run();
    }

    fn command(&self) -> Command {
        let mut command = hansa();
        command.arg("--data").arg(self.folder.join("data"));
        command
    }

    /// Say something on the command line, which must work; what is answered.
    pub fn say<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> String {
        done(self.command().args(words))
    }
}

/// The program under test, without the developer's own surroundings.
pub fn hansa() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hansa"));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HANSA_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// How a command ended.
pub fn said(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a command said that must succeed.
pub fn done(command: &mut Command) -> String {
    let output = said(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout) + &text(&output.stderr)
}
