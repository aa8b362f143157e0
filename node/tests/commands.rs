//! What a user of the command line meets: the real binary, in real data folders, with and without a running node.

#[path = "commands/definitions.rs"]
mod definitions;
#[path = "commands/libraries.rs"]
mod libraries;
#[path = "commands/pairs.rs"]
mod pairs;
#[path = "commands/topics.rs"]
mod topics;
#[path = "commands/transactions.rs"]
mod transactions;

use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command printed and how it ended.
struct Said {
    out: String,
    err: String,
    code: i32,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }

    fn fault(&self) -> String {
        assert_eq!(self.code, 1, "{}\n{}", self.out, self.err);
        self.json()["fault"]["code"].as_str().expect("a fault has a code").to_owned()
    }
}

/// A folder for one test, with a data folder in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hansa"));
        // Nothing of the developer's own surroundings shall show.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HANSA_")) {
            command.env_remove(name);
        }
        command.env("HANSA_DATA", self.data()).args(arguments).stdin(Stdio::null());
        command
    }

    fn say(&self, arguments: &[&str]) -> Said {
        finished(&mut self.command(arguments))
    }

    fn init(&self) {
        let said = self.say(&["init", "--organization", "Acme BV", "--city", "Rotterdam"]);
        assert_eq!(said.code, 0, "{}", said.err);
    }

    fn run(&self, arguments: &[&str]) -> Running {
        let free = ["run", "--set", "cxip.listen=127.0.0.1:0", "--set", "http.listen=127.0.0.1:0"];
        let federation = ["--set", "federation.listen=/ip4/127.0.0.1/tcp/0", "--set", "federation.mdns=false"];
        let arguments: Vec<&str> = free.iter().chain(&federation).chain(arguments).copied().collect();
        let mut child = self.command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut running = Running { child, log: String::new() };
        let begun = Instant::now();
        let mut lines = log.lines();
        while !self.data().join("listening.json").exists() {
            match lines.next() {
                Some(line) => running.log.push_str(&(line.unwrap() + "\n")),
                None => panic!("the node ended: {}", running.log),
            }
            assert!(begun.elapsed() < PATIENCE, "the node is not ready: {}", running.log);
        }
        // Somebody must read on, or the node would wait for its log to be read.
        std::thread::spawn(move || lines.for_each(drop));
        running
    }
}

fn finished(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { out: text(output.stdout), err: text(output.stderr), code: output.status.code().unwrap_or(-1) }
}

/// A node that ends with the test.
struct Running {
    child: Child,
    log: String,
}

impl Running {
    fn ended(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(begun.elapsed() < PATIENCE, "the node does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    let place = Place::new();
    let all = place.say(&["--help"]);
    assert_eq!(all.code, 0);
    let commands = [
        "init",
        "run",
        "stop",
        "status",
        "invite",
        "join",
        "directory",
        "pair init",
        "pair join",
        "pair status",
        "pair appoint",
        "pair switch",
        "pair end",
        "doctor",
        "config",
        "explain",
        "service list",
        "service answer",
        "transaction define",
        "transaction definitions",
        "transaction list",
        "transaction show",
        "transaction submit",
        "transaction cancel",
        "transaction history",
        "transaction replay",
        "transaction dry-run",
        "transaction signal",
        "transaction recover",
        "transaction purge",
    ];
    for command in commands {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = place.say(&words);
        assert_eq!(help.code, 0, "{command}: {}", help.err);
        assert!(help.out.contains("Usage: hansa ") && help.out.contains("Example"), "{command}:\n{}", help.out);
        assert!(all.out.contains(words[0]), "hansa --help does not name {command}");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_was_meant() {
    let place = Place::new();
    assert_eq!(place.say(&[]).code, 2);
    let said = place.say(&["statsu"]);
    assert!(said.code == 2 && said.err.contains("status"), "{}", said.err);
    let said = place.say(&["transaction", "show", "not-an-id"]);
    assert!(said.code == 2 && said.err.contains("no transaction id"), "{}", said.err);
    assert_eq!(place.say(&["init", "--organization", "\u{7}", "--city", "Rotterdam"]).code, 2);
}

// F1: an organization's identity is made once, with one command, and never by accident a second time.
#[test]
fn an_organization_is_made_once() {
    let place = Place::new();
    let made = place.say(&["init", "--organization", "Acme BV", "--city", "Rotterdam", "--json"]).json();
    assert!(made["organization"].as_str().unwrap().starts_with("org-"), "{made}");
    let mode = |name: &str| fs::metadata(place.data().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(""), mode("organization.key"), mode("node.key")], [0o700, 0o600, 0o600]);
    let key = fs::read(place.data().join("organization.key")).unwrap();

    let again = place.say(&["init", "--organization", "Acme BV", "--city", "Rotterdam", "--json"]);
    assert_eq!(again.fault(), "data-exists");
    let other = place.say(&["init", "--organization", "Birch GmbH", "--city", "Hamburg", "--json"]);
    assert_eq!(other.fault(), "data-foreign");
    let other = place.say(&["run", "--organization", "Birch GmbH", "--city", "Hamburg", "--json"]);
    assert_eq!(other.fault(), "data-foreign");
    assert_eq!(fs::read(place.data().join("organization.key")).unwrap(), key, "the key is still the same");
}

#[test]
fn an_organization_comes_back_from_its_key_alone() {
    let place = Place::new();
    let init = ["init", "--organization", "Acme BV", "--city", "Rotterdam", "--json"];
    let made = place.say(&init).json();
    let key = fs::read(place.data().join("organization.key")).unwrap();
    let other = Place::new();
    fs::create_dir(other.data()).unwrap();
    let path = other.data().join("organization.key");
    fs::write(&path, key).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let back = other.say(&init).json();
    assert_eq!(back["organization"], made["organization"]);
    assert_ne!(back["node"], made["node"]);
}

#[test]
fn a_folder_with_other_things_in_it_is_left_alone() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    fs::write(place.data().join("thesis.tex"), "important").unwrap();
    let said = place.say(&["init", "--organization", "Acme BV", "--city", "Rotterdam", "--json"]);
    assert_eq!(said.fault(), "data-foreign");
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 1);
}

#[test]
fn a_wrong_configuration_lists_every_fault_and_starts_nothing() {
    let place = Place::new();
    place.init();
    let file = place.data().join("hansa.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\n[jornal]\nx = 1\n").replace("#listen = \"127.0.0.1:4080\"", "listn = 7"))
        .unwrap();
    let mut command = place.command(&["run", "--set", "transactions.open_max=none"]);
    let said = finished(command.env("HANSA_LOG_FORMAT", "xml"));
    assert_eq!(said.code, 1);
    for part in [
        "4 faults",
        "did you mean 'journal'",
        "did you mean 'listen'",
        "HANSA_LOG_FORMAT",
        "transactions.open_max",
        "line ",
    ] {
        assert!(said.err.contains(part), "'{part}' is missing in:\n{}", said.err);
    }
    assert!(!place.data().join("listening.json").exists());

    let json = place.say(&["config", "--json"]);
    assert_eq!(json.fault(), "configuration-invalid");
    let faults = json.json()["faults"].as_array().unwrap().clone();
    assert_eq!(faults.len(), 2);
    assert!(faults.iter().all(|fault| fault["place"]["line"].is_u64() && fault["help"].is_string()), "{faults:?}");
}

#[test]
fn the_configuration_in_force_tells_who_said_each_value() {
    let place = Place::new();
    place.init();
    let mut command = place.command(&["config", "--json", "--set", "log.level=debug"]);
    let said = finished(command.env("HANSA_JOURNAL_SEGMENT_MIB", "8")).json();
    assert_eq!(said["log.level"]["origin"], "flag --set log.level");
    assert_eq!(said["journal.segment_mib"]["value"], 8);
    assert_eq!(said["journal.segment_mib"]["origin"], "environment HANSA_JOURNAL_SEGMENT_MIB");
    assert_eq!(said["cxip.listen"]["origin"], "default");
    assert!(said["organization.name"]["origin"].as_str().unwrap().contains("hansa.toml, line "));
}

#[test]
fn without_a_running_node_commands_say_how_to_start_one() {
    let place = Place::new();
    assert_eq!(place.say(&["status", "--json"]).fault(), "data-missing");
    place.init();
    let id = "01JD5M6Q0000000000000000AB";
    let file = place.0.path().join("order.xml");
    fs::write(&file, "<Order/>").unwrap();
    let file = file.to_str().unwrap();
    // What is no definition would be told before the node is asked.
    let definition = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/purchase.xml");
    let commands: [&[&str]; 13] = [
        &["status"],
        &["stop"],
        &["invite"],
        &["directory"],
        &["pair", "init"],
        &["pair", "status"],
        &["pair", "switch"],
        &["service", "list"],
        &["service", "answer", "--service", "credit", "--operation", "check-credit", "--with", file],
        &["transaction", "list"],
        &["transaction", "show", id],
        &["transaction", "define", definition],
        &["transaction", "submit", "purchase", "--input", file],
    ];
    for command in commands {
        let said = place.say(command);
        assert_eq!(said.code, 1, "{command:?}");
        assert!(
            said.out.is_empty() && said.err.contains("[node-stopped]") && said.err.contains("hansa run"),
            "{}",
            said.err
        );
        let json: Vec<&str> = command.iter().copied().chain(["--json"]).collect();
        let said = place.say(&json);
        assert_eq!(said.fault(), "node-stopped");
        assert!(said.json()["fault"]["help"].is_string() && said.err.is_empty());
    }
    // What a killed node left behind fools nobody.
    let admin = place.data().join("admin.sock");
    let left = format!(
        r#"{{"pid":1,"cxip":"127.0.0.1:1","http":"127.0.0.1:2","federation":[],"admin":{admin:?},"started":"2026-11-21T00:00:00.000Z"}}"#
    );
    fs::write(place.data().join("listening.json"), left).unwrap();
    assert_eq!(place.say(&["status", "--json"]).fault(), "node-stopped");
}

#[test]
fn a_file_that_is_missing_or_is_not_text_is_refused_before_the_node_is_asked() {
    let place = Place::new();
    place.init();
    let submit = |file: &Path| place.say(&["transaction", "submit", "d", "--input", file.to_str().unwrap(), "--json"]);
    assert_eq!(submit(&place.0.path().join("none.xml")).fault(), "document-malformed");
    let file = place.0.path().join("binary.xml");
    fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(submit(&file).fault(), "document-encoding");
}

#[test]
fn an_invite_that_is_none_is_refused_whether_a_node_runs_or_not() {
    let place = Place::new();
    place.init();
    assert_eq!(place.say(&["join", "hansa-invite-broken", "--json"]).fault(), "invite-malformed");
    assert_eq!(place.say(&["run", "--join", "nonsense", "--json"]).fault(), "invite-malformed");
    assert!(!place.data().join("invite.pending").exists());
}

#[test]
fn every_code_is_explained() {
    let place = Place::new();
    let codes = place.say(&["explain", "--json"]).json();
    for entry in codes.as_array().unwrap() {
        let code = entry["code"].as_str().unwrap();
        let said = place.say(&["explain", code]);
        assert!(said.code == 0 && said.out.contains("What to do"), "{code}");
    }
    let said = place.say(&["explain", "data-in-us"]);
    assert!(said.code == 1 && said.err.contains("did you mean data-in-use"), "{}", said.err);
}

#[test]
fn the_doctor_names_what_is_wrong_and_ends_with_1() {
    let place = Place::new();
    place.init();
    let ports = ["--set", "cxip.listen=127.0.0.1:0", "--set", "http.listen=127.0.0.1:0"];
    let federation = ["--set", "federation.listen=/ip4/127.0.0.1/tcp/0"];
    let arguments = |last: &[&'static str]| -> Vec<&'static str> {
        ["doctor"].iter().chain(&ports).chain(&federation).chain(last).copied().collect()
    };
    let said = place.say(&arguments(&[]));
    // A slow disk is doubtful, not wrong.
    assert!(said.code == 0 && said.out.contains("✔ keys") && !said.out.contains('✘'), "{}", said.out);
    fs::set_permissions(place.data().join("organization.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = place.say(&arguments(&["--json"]));
    assert_eq!(said.code, 1);
    let findings = said.json();
    let wrong: Vec<&Value> =
        findings.as_array().unwrap().iter().filter(|finding| finding["state"] == "wrong").collect();
    assert!(!wrong.is_empty() && wrong.iter().all(|finding| finding["check"] == "keys"), "{findings}");
    assert!(wrong.iter().any(|finding| finding["advice"].as_str().unwrap().contains("chmod 600")), "{findings}");
}

#[test]
fn a_node_runs_once_tells_where_it_listens_and_stops_on_request() {
    let place = Place::new();
    let mut node = place.run(&["--organization", "Acme BV", "--city", "Rotterdam"]);
    let listening: Value = serde_json::from_slice(&fs::read(place.data().join("listening.json")).unwrap()).unwrap();
    assert_eq!(listening["pid"], node.child.id());
    assert!(!listening["http"].as_str().unwrap().ends_with(":0"), "{listening}");

    let status = place.say(&["status", "--json"]).json();
    assert_eq!(status["organization"]["name"], "Acme BV");
    assert_eq!(status["node"]["pid"], node.child.id());
    assert_eq!(place.say(&["run", "--json"]).fault(), "data-in-use");
    assert_eq!(place.say(&["run", "--json"]).fault(), "data-in-use");

    let said = place.say(&["stop"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(node.ended(), 0);
    for name in ["listening.json", "admin.sock"] {
        assert!(!place.data().join(name).exists(), "{name} is left");
    }
    assert_eq!(place.say(&["stop", "--json"]).fault(), "node-stopped");
}

#[test]
fn a_node_that_was_killed_starts_again_and_stops_on_a_signal() {
    let place = Place::new();
    place.init();
    drop(place.run(&[]));
    assert!(place.data().join("admin.sock").exists(), "a killed node cannot tidy up");
    assert!(place.data().join("listening.json").exists());
    fs::remove_file(place.data().join("listening.json")).unwrap();
    let mut node = place.run(&[]);
    assert_eq!(place.say(&["status"]).code, 0);
    let pid = node.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(node.ended(), 0);
}

#[test]
fn a_port_in_use_is_told_with_its_key() {
    let place = Place::new();
    place.init();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let flag = format!("http.listen={}", taken.local_addr().unwrap());
    let said = place.say(&["run", "--set", &flag, "--json"]);
    assert_eq!(said.fault(), "port-in-use");
    assert!(said.json()["fault"]["message"].as_str().unwrap().contains("http.listen"));
}
