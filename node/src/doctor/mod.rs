//! What `hansa doctor` looks at: everything that can be found out about a node from its machine, without changing it.
//!
//! Each check gives findings; none of them stops the others. How they are shown is not decided here.

mod network;

use crate::{
    admin::{
        client::Client,
        protocol::{PairMode, PairRole, PairStatus, Request, Status},
        time::Time,
    },
    commands::{pair_concerns, render_bytes},
    config::{Configuration, Sources},
    disk,
    folder::Folder,
};
use hansa_core::{
    code::{Code, Fault},
    moment::Moment,
};
use hansa_federation::Keys;
use serde::Serialize;
use std::time::{Duration, Instant};

/// 2025-01-01: a clock before it was never set.
const CLOCK_MIN: Moment = Moment(1_735_689_600_000);
/// By how much a peer's clock may differ before deadlines and expiries look odd.
const CLOCK_DIFFERENCE_MS_MAX: u64 = 5_000;
/// A disk slower than this makes every transaction feel slow.
const SYNC_SLOW: Duration = Duration::from_millis(20);

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Well,
    /// It works, and may not for long or not well.
    Doubtful,
    /// It does not work.
    Wrong,
    /// It could not be looked at.
    Skipped,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The code that `hansa explain` tells more about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

impl Finding {
    fn new(check: &'static str, state: State, message: impl Into<String>) -> Self {
        Self { check, state, message: message.into(), advice: None, code: None }
    }

    fn well(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, State::Well, message)
    }

    fn skipped(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, State::Skipped, message)
    }

    fn fault(check: &'static str, state: State, fault: &Fault) -> Self {
        let place = fault.place.map(|place| format!(" ({place})")).unwrap_or_default();
        Self {
            check,
            state,
            message: format!("{}{place}", fault.message),
            advice: Some(fault.advice().to_owned()),
            code: Some(fault.code),
        }
    }

    fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// Check everything.
pub async fn examine(folder: &Folder, sources: &Result<Sources, Fault>) -> Vec<Finding> {
    let mut findings = Vec::new();
    data(folder, &mut findings);
    let configuration = configuration(sources, &mut findings);
    keys(folder, &mut findings);
    room(folder, &mut findings);
    let seen = node(Client::of(folder), folder.is_in_use(), &mut findings).await;
    pair(seen.as_ref().map(|seen| &seen.pair), configuration.as_ref(), &mut findings);
    let status = seen.map(|seen| seen.status);
    match &configuration {
        Some(configuration) => network::ports(configuration, status.as_ref(), &mut findings),
        None => findings.push(Finding::skipped("ports", "not tried, because the configuration does not name them")),
    }
    clock(Time::now().0, status.as_ref(), &mut findings);
    network::peers(configuration.as_ref(), status.as_ref(), &mut findings).await;
    findings
}

/// Check what can be seen of a node elsewhere: what it says itself, and its clock against this one's.
pub async fn examine_elsewhere(client: impl Future<Output = Result<Client, Fault>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let seen = node(client, true, &mut findings).await;
    pair(seen.as_ref().map(|seen| &seen.pair), None, &mut findings);
    let status = seen.map(|seen| seen.status);
    clock(Time::now().0, status.as_ref(), &mut findings);
    findings
}

fn data(folder: &Folder, findings: &mut Vec<Finding>) {
    findings.push(match folder.check() {
        Ok(()) => Finding::well("data", format!("{} holds an organization", folder.path().display())),
        Err(fault) => Finding::fault("data", State::Wrong, &fault),
    });
}

fn configuration(sources: &Result<Sources, Fault>, findings: &mut Vec<Finding>) -> Option<Configuration> {
    let loaded = match sources {
        Ok(sources) => Configuration::load(sources),
        Err(fault) => Err(vec![fault.clone()]),
    };
    match loaded {
        Ok((configuration, _)) => {
            let organization = configuration.organization();
            let message = format!("every value fits; {} in {}", organization.name(), organization.city());
            findings.push(Finding::well("configuration", message));
            Some(configuration)
        }
        Err(faults) => {
            findings.extend(faults.iter().map(|fault| Finding::fault("configuration", State::Wrong, fault)));
            None
        }
    }
}

fn keys(folder: &Folder, findings: &mut Vec<Finding>) {
    if !folder.is_initialized() {
        findings.push(Finding::skipped("keys", "there are none yet"));
        return;
    }
    match Keys::open(folder.path()) {
        // Of these below, each with its own file.
        Err(fault) if fault.code == Code::DataPermissions => {}
        Err(fault) => findings.push(Finding::fault("keys", State::Wrong, &fault)),
        Ok(_) => {}
    }
    let exposed = folder.exposed();
    findings.extend(exposed.iter().map(|path| {
        let (message, mode) = if path == folder.path() {
            ("others can enter the data folder", "700")
        } else {
            ("others can read a private key", "600")
        };
        let fault = Fault::new(Code::DataPermissions, format!("{message}: {}", path.display()));
        Finding::fault("keys", State::Wrong, &fault.help(format!("run `chmod {mode} {}`", path.display())))
    }));
    if !findings.iter().any(|finding| finding.check == "keys") {
        findings.push(Finding::well("keys", "whole, and only their owner can read them"));
    }
}

fn room(folder: &Folder, findings: &mut Vec<Finding>) {
    if !folder.path().is_dir() {
        findings.push(Finding::skipped("disk", "there is no data folder yet"));
        return;
    }
    findings.push(match disk::space(folder.path()) {
        Ok(disk) => {
            let message = format!("{} free of {}", render_bytes(disk.free_bytes), render_bytes(disk.total_bytes));
            if disk.free_bytes < disk::FREE_BYTES_MIN {
                Finding { code: Some(Code::DiskFull), ..Finding::new("disk", State::Doubtful, message) }
                    .advice("make room, or move the data folder to a larger disk while the node is stopped")
            } else {
                Finding::well("disk", message)
            }
        }
        Err(error) => Finding::new("disk", State::Wrong, format!("its room cannot be told: {error}"))
            .advice("check that the data folder can be read"),
    });
    findings.push(match disk::sync_time(folder.path()) {
        Ok(time) if time > SYNC_SLOW => Finding::new(
            "disk",
            State::Doubtful,
            format!("slow: a small write takes {} ms to be durable", time.as_millis()),
        )
        .advice("put the data folder on a local solid-state disk; every transaction waits for this several times"),
        Ok(time) => Finding::well("disk", format!("a small write is durable in {} µs", time.as_micros())),
        Err(error) => Finding::new("disk", State::Wrong, format!("nothing can be written: {error}"))
            .advice("check the data folder's owner and permissions, and the room on the disk"),
    });
}

/// What a running node says of itself.
struct Seen {
    status: Status,
    pair: Result<PairStatus, Fault>,
}

/// The status of the running node, if there is one. It is wrong that it says nothing if it should run.
async fn node(
    client: impl Future<Output = Result<Client, Fault>>,
    should_run: bool,
    findings: &mut Vec<Finding>,
) -> Option<Seen> {
    let asked = async {
        let mut client = client.await?;
        let status: Status = client.ask(&Request::Status).await?;
        Ok(Seen { status, pair: client.ask(&Request::PairStatus).await })
    };
    let asked = tokio::time::timeout(Duration::from_secs(5), asked)
        .await
        .unwrap_or_else(|_| Err(Fault::new(Code::Busy, "the node runs, and did not answer within 5 s")));
    match asked {
        Ok(seen) => {
            let status = &seen.status;
            let up = format!("runs as process {} since {}", status.node.pid, status.node.started);
            findings.push(Finding::well("node", up));
            let state = if status.health.ok { State::Doubtful } else { State::Wrong };
            findings.extend(status.health.findings.iter().map(|fault| Finding::fault("health", state, fault)));
            if status.health.ok && status.health.findings.is_empty() {
                findings.push(Finding::well("health", "the node finds nothing wrong with itself"));
            }
            Some(seen)
        }
        Err(fault) => {
            // A node that nobody started is no fault of it; one that runs and does not answer is.
            let state = if should_run { State::Wrong } else { State::Skipped };
            findings.push(Finding::fault("node", state, &fault));
            None
        }
    }
}

fn pair(
    status: Option<&Result<PairStatus, Fault>>,
    configuration: Option<&Configuration>,
    findings: &mut Vec<Finding>,
) {
    let status = match status {
        None => return findings.push(Finding::skipped("pair", "the node does not run, so it cannot be asked")),
        Some(Err(fault)) => return findings.push(Finding::fault("pair", State::Skipped, fault)),
        Some(Ok(status)) => status,
    };
    let mut concerns = pair_concerns(status);
    if status.role == PairRole::Single {
        // Many nodes need none, so that is nothing to worry about.
        let advice = concerns.pop().map(|concern| concern.advice).unwrap_or_default();
        return findings.push(Finding::well("pair", "single: this node has no mirror").advice(advice));
    }
    findings.extend(concerns.iter().map(|concern| {
        let state = if concern.is_wrong { State::Wrong } else { State::Doubtful };
        Finding::new("pair", state, &concern.what).advice(&concern.advice)
    }));
    if let Some(cxip) = configuration.map(Configuration::cxip)
        && cxip.announce().is_none()
        && (cxip.listen().ip().is_unspecified() || cxip.listen().ip().is_loopback())
    {
        let message = format!("clients are told to go to {}, which is no address for another machine", cxip.listen());
        let advice = "set cxip.announce to where services and clients reach this sub-node";
        findings.push(Finding::new("pair", State::Doubtful, message).advice(advice));
    }
    if concerns.is_empty() {
        let mirror = if status.mode == PairMode::Pair { "with a mirror" } else { "alone" };
        let message = format!("epoch {}, {mirror}; {} entries behind", status.epoch, status.lag_entries);
        findings.push(Finding::well("pair", message));
    }
}

fn clock(now: Moment, status: Option<&Status>, findings: &mut Vec<Finding>) {
    let before = findings.len();
    if now < CLOCK_MIN {
        findings.push(
            Finding::new("clock", State::Wrong, format!("it says {now}, which is long past"))
                .advice("set the clock, and keep it right with a time service such as chrony or systemd-timesyncd"),
        );
    }
    // Both clocks run side by side for a moment: if the wall clock jumps, somebody is setting it.
    let (wall, steady) = (Time::now().0, Instant::now());
    std::thread::sleep(Duration::from_millis(50));
    let passed = i64::try_from(Time::now().0.0).unwrap_or(i64::MAX) - i64::try_from(wall.0).unwrap_or(i64::MAX);
    let should = i64::try_from(steady.elapsed().as_millis()).unwrap_or(i64::MAX);
    if (passed - should).abs() > 1_000 {
        findings.push(
            Finding::new("clock", State::Doubtful, format!("it jumped by {} ms while we watched", passed - should))
                .advice("let one time service adjust it slowly, not several and not by steps"),
        );
    }
    for peer in status.iter().flat_map(|status| &status.peers) {
        if let Some(ahead) = peer.clock_ahead_ms.filter(|ahead| ahead.unsigned_abs() > CLOCK_DIFFERENCE_MS_MAX) {
            let message = format!("the clock of {} in {} differs from ours by {ahead} ms", peer.name, peer.city);
            findings.push(
                Finding::new("clock", State::Doubtful, message)
                    .advice("find out which is wrong, and set it by a time service"),
            );
        }
    }
    if findings.len() == before {
        findings.push(Finding::well("clock", format!("it says {now}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::pretended;
    use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

    fn of<'a>(findings: &'a [Finding], check: &str) -> Vec<&'a Finding> {
        findings.iter().filter(|finding| finding.check == check).collect()
    }

    fn sources(extra: &str) -> Result<Sources, Fault> {
        let text = format!(
            "[organization]\nname = \"Acme BV\"\ncity = \"Rotterdam\"\n[federation]\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\n\
             [cxip]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n{extra}"
        );
        Ok(Sources { file: Some((PathBuf::from("hansa.toml"), text)), ..Sources::default() })
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(&temporary.path().join("data")).unwrap();
        folder.create().unwrap();
        Keys::ensure(folder.path()).unwrap();
        folder.seal().unwrap();
        (temporary, folder)
    }

    #[tokio::test]
    async fn a_new_node_that_does_not_run_has_nothing_wrong() {
        let (_temporary, folder) = folder();
        let findings = examine(&folder, &sources("")).await;
        assert!(findings.iter().all(|finding| finding.state != State::Wrong), "{findings:#?}");
        assert_eq!(of(&findings, "node")[0].state, State::Skipped);
        assert_eq!(of(&findings, "keys")[0].state, State::Well);
    }

    #[tokio::test]
    async fn each_thing_that_is_wrong_is_found_and_has_advice() {
        let (_temporary, folder) = folder();
        fs::set_permissions(folder.path().join("node.key"), fs::Permissions::from_mode(0o644)).unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let good = sources("").unwrap();
        let flags = vec![format!("http.listen={address}")];
        let findings = examine(&folder, &Ok(Sources { flags, ..good })).await;
        for check in ["keys", "ports"] {
            let wrong = of(&findings, check).into_iter().find(|finding| finding.state == State::Wrong).unwrap();
            assert!(wrong.advice.is_some() && wrong.code.is_some(), "{wrong:?}");
        }
        let findings = examine(&folder, &sources("[log]\nlevel = \"x\"\nformat = \"y\"\n")).await;
        assert_eq!(of(&findings, "configuration").len(), 2, "{findings:#?}");
        assert_eq!(of(&findings, "ports")[0].state, State::Skipped);
    }

    #[tokio::test]
    async fn a_folder_without_an_organization_is_told_as_such() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(&temporary.path().join("none")).unwrap();
        let missing = Err(Fault::new(Code::ConfigurationInvalid, "no file"));
        let findings = examine(&folder, &missing).await;
        assert_eq!(of(&findings, "data")[0].code, Some(Code::DataMissing));
        assert!(!folder.path().exists(), "looking changes nothing");
    }

    #[test]
    fn a_pair_is_well_or_each_thing_about_it_is_told_with_advice() {
        let examined = |status: Result<PairStatus, Fault>, flags: &[&str]| {
            let flags = flags.iter().map(ToString::to_string).collect();
            let (configuration, _) = Configuration::load(&Sources { flags, ..sources("").unwrap() }).unwrap();
            let mut findings = Vec::new();
            pair(Some(&status), Some(&configuration), &mut findings);
            findings
        };
        let mut status = pretended::pair_status();
        let single = PairStatus {
            role: PairRole::Single,
            mode: PairMode::Single,
            mirror: None,
            witnesses: Vec::new(),
            witnesses_needed: 0,
            ..status.clone()
        };
        let findings = examined(Ok(single), &[]);
        assert!(findings.len() == 1 && findings[0].state == State::Well, "{findings:#?}");
        assert!(findings[0].advice.as_ref().unwrap().contains("hansa pair init"));

        status.alarm = Some("the two logs differ".into());
        let findings = examined(Ok(status.clone()), &[]);
        let states: Vec<_> = findings.iter().map(|finding| finding.state).collect();
        assert_eq!(states, [State::Wrong, State::Wrong, State::Doubtful], "{findings:#?}");
        assert!(findings.iter().all(|finding| finding.advice.is_some()));
        assert!(findings[2].message.contains("127.0.0.1:0"));

        status.alarm = None;
        status.witnesses[1].linked = true;
        let findings = examined(Ok(status), &["cxip.announce=acme.example:4000"]);
        assert!(findings.len() == 1 && findings[0].state == State::Well, "{findings:#?}");
        let fault = Fault::new(Code::MessageMalformed, "this is no request");
        assert_eq!(examined(Err(fault), &[])[0].state, State::Skipped);
        let mut findings = Vec::new();
        pair(None, None, &mut findings);
        assert_eq!(findings[0].state, State::Skipped);
    }

    #[test]
    fn a_clock_that_was_never_set_or_differs_from_a_peers_is_found() {
        let found = |now, status: Option<&Status>| {
            let mut findings = Vec::new();
            clock(now, status, &mut findings);
            findings.remove(0).state
        };
        assert_eq!(found(Moment(0), None), State::Wrong);
        let mut status = pretended::status();
        assert_eq!(found(pretended::NOW.0, Some(&status)), State::Well);
        status.peers[0].clock_ahead_ms = Some(-60_000);
        assert_eq!(found(pretended::NOW.0, Some(&status)), State::Doubtful);
    }
}
