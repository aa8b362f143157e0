//! The project that `hansa service new` writes: it is built, its own test passes, it is formatted, and it runs beside a real
//! node (T15). It is built with the dependencies of this workspace, which are on the machine already, without a network.

use super::node::{Node, Process, done, hansa, said};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Where projects are built: beside what the workspace has built, so that a second time is quick.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("service-new")
}

/// Cargo, on a project that shares what this workspace has locked.
fn cargo(project: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(project).args(words).env("CARGO_TARGET_DIR", target()).env("CARGO_PROFILE_DEV_DEBUG", "0");
    command
}

#[test]
fn a_new_service_is_built_and_passes_its_own_test() {
    let place = tempfile::tempdir().unwrap();
    let project = place.path().join("credit-check");
    let told = done(hansa().args(["service", "new", "credit-check", "--path"]).arg(&project));
    assert!(told.contains("not on crates.io"), "{told}");
    if Command::new("cargo").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no cargo here, so what `hansa service new` writes was not built");
        return;
    }
    fs::copy(workspace().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let told = done(&mut cargo(&project, &["test", "--offline"]));
    for test in [
        "what_is_asked_is_answered",
        "what_cannot_be_done_is_refused",
        "the_whole_transaction_completes_also_when_connections_break",
        "what_comes_again_is_answered_alike",
    ] {
        assert!(told.contains(&format!("{test} ... ok")), "{told}");
    }
    assert!(!told.contains("warning"), "{told}");
    done(&mut cargo(&project, &["fmt", "--check"]));
    // The twenty lines of a service (T15), with as many around it that attach it.
    let code = |file: &str| {
        let text = fs::read_to_string(project.join(file)).unwrap();
        text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with("//")).count()
    };
    assert!(code("src/lib.rs") <= 20 && code("src/main.rs") <= 20, "a service in some twenty lines");

    let folder = place.path().join("node");
    fs::create_dir(&folder).unwrap();
    let node = Node::start(&folder);
    done(&mut cargo(&project, &["build", "--offline"]));
    let serving = Process::start(Command::new(target().join("debug/credit-check")).arg(node.address()));
    assert!(serving.line().is_some_and(|line| line.contains("credit-check serves")));
    let file = |name: &str| project.join(name).to_str().unwrap().to_owned();
    let (definition, request) = (file("definition.xml"), file("request.xml"));
    let words = ["transaction", "submit", "credit-check", "--define", &definition, "--input", &request, "--wait"];
    let answer = node.say(words);
    assert!(answer.contains("<Accepted>true</Accepted>"), "{answer}");
}

#[test]
fn a_new_service_overwrites_nothing_and_its_name_is_checked() {
    let place = tempfile::tempdir().unwrap();
    let new = |name: &str| said(hansa().current_dir(place.path()).args(["--json", "service", "new", name]));
    let fault = |output: Output| -> String {
        assert_eq!(output.status.code(), Some(1));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        told["fault"]["code"].as_str().unwrap().to_owned()
    };
    let written = new("credit");
    let told: serde_json::Value = serde_json::from_slice(&written.stdout).unwrap();
    assert_eq!((told["service"].as_str(), told["files"].as_array().unwrap().len()), (Some("credit"), 8));
    fs::write(place.path().join("credit/src/lib.rs"), "mine").unwrap();
    assert_eq!(fault(new("credit")), "data-exists");
    assert_eq!(fs::read_to_string(place.path().join("credit/src/lib.rs")).unwrap(), "mine");
    assert_eq!(fault(new("Credit!")), "name-malformed");
    assert_eq!(fault(new("match")), "name-malformed");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "and nothing else was written");
}
