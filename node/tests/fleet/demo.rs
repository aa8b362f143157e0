//! The demo as a stranger runs it, and what it leaves behind: nothing.

use super::{ALONE, executable, nodes_below};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

/// `hansa testnet …`, with its temporary files in `folder`.
fn testnet(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(executable().0);
    command.env("TMPDIR", folder).arg("testnet").args(words).stdin(Stdio::null());
    command
}

fn said(command: &mut Command) -> Output {
    command.output().expect("the program under test can be started")
}

fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is an object")).collect()
}

// The main job of the first release: an order crosses the federation, survives killed processes, comes back answered.
#[test]
fn the_demo_ends_with_a_summary_and_leaves_nothing_behind() {
    let _alone = ALONE.blocking_lock();
    let folder = tempfile::tempdir().unwrap();
    let output = said(&mut testnet(folder.path(), &["demo", "--json"]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let events = objects(&output);
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!(of("node").len(), 5);
    assert_eq!(of("killed").len(), 2);
    assert_eq!(
        of("answered").iter().map(|it| it["response"]["code"].as_str()).collect::<Vec<_>>(),
        [Some("AP"), Some("CA"), Some("RE"), Some("AP"), Some("AP")]
    );
    assert_eq!(of("summary")[0]["transactions"], 5);
    assert!(nodes_below(folder.path()).is_empty());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the data of the nodes is gone");
}

// M1 to M4: a pair's active sub-node is killed under load and its mirror's disk is lost; every order is answered, once.
#[test]
fn the_demo_of_failures_ends_with_a_summary_and_leaves_nothing_behind() {
    let _alone = ALONE.blocking_lock();
    let folder = tempfile::tempdir().unwrap();
    let output = said(&mut testnet(folder.path(), &["demo", "failover", "--brief", "--json"]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let events = objects(&output);
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!((of("node").len(), of("trouble").len(), of("taken-over").len(), of("whole").len()), (5, 2, 1, 3));
    let summary = of("survived")[0];
    assert!(summary["subnodes"] == 6 && summary["takeovers"] == 1 && summary["transactions"].as_u64() > Some(0));
    assert!(nodes_below(folder.path()).is_empty());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the data of the nodes is gone");
}

#[test]
fn an_interrupted_demo_takes_its_nodes_with_it() {
    for signal in [Signal::INT, Signal::KILL] {
        let _alone = ALONE.blocking_lock();
        let folder = tempfile::tempdir().unwrap();
        let mut command = testnet(folder.path(), &["demo", "--json"]);
        let mut demo = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("\"event\":\"node\"")), "the nodes come up");
        assert!(!nodes_below(folder.path()).is_empty());
        kill_process(Pid::from_raw(i32::try_from(demo.id()).unwrap()).unwrap(), signal).unwrap();
        assert!(!demo.wait().unwrap().success());
        // The system ends them when their starter has gone; nothing tells when it has done so.
        while !nodes_below(folder.path()).is_empty() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_federation_that_is_up_stays_until_it_is_taken_down() {
    let _alone = ALONE.blocking_lock();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("net");
    let place = place.to_str().unwrap();
    let up = said(&mut testnet(folder.path(), &["up", "--cities", "Rotterdam,Hamburg", "--folder", place]));
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    assert!(String::from_utf8_lossy(&up.stdout).contains("hansa testnet down"), "it says how to end it");
    assert_eq!(nodes_below(folder.path()).len(), 2);

    let again = said(&mut testnet(folder.path(), &["up", "--cities", "Santos", "--folder", place, "--json"]));
    assert_eq!(objects_whole(&again)["fault"]["code"], "testnet-failed", "one testnet has the folder");

    let status = objects(&said(&mut testnet(folder.path(), &["status", "--folder", place, "--json"])));
    for node in status[0]["nodes"].as_array().unwrap() {
        assert_eq!(node["status"]["peers"][0]["connected"], true);
    }
    assert!(said(&mut testnet(folder.path(), &["down", "--folder", place])).status.success());
    assert!(nodes_below(folder.path()).is_empty() && !Path::new(place).exists());
    let gone = said(&mut testnet(folder.path(), &["status", "--folder", place]));
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("no testnet"));
}

/// An answer that spreads over several lines.
fn objects_whole(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("the answer is JSON")
}
