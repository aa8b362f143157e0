//! Tests with real processes: federations of `hansa` nodes, real libp2p over loopback, services and clients over CXIP.

mod appointing;
mod bench;
mod cut;
mod demo;
mod ending;
mod regions;
mod storm;
mod upheaval;

use hansa_testnet::{
    cities::City,
    cluster::{Distances, Member, Plan},
    process::{Executable, Lifetime},
};
use tokio::sync::Mutex;

/// The program under test.
fn executable() -> Executable {
    Executable(env!("CARGO_BIN_EXE_hansa").into())
}

/// What the environment says, if anything. A slip in it would test something else than was meant.
fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let said = std::env::var(name).ok()?;
    Some(said.parse().unwrap_or_else(|_| panic!("{name} is '{said}', and no number")))
}

/// One federation at a time: more would only compete for the processors, and time limits are for one.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Wait until it is so, for as long as the whole test may take.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    while !is_so().await {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A pair in one city, with these single organizations around it.
fn pair_among(organization: &str, others: &[&str]) -> Plan {
    let [rotterdam, antwerp] = ["Rotterdam", "Antwerp"].map(|city| City::named(city).unwrap());
    let pair = Member { organization: organization.into(), city: rotterdam, mirror: Some(rotterdam) };
    let members = [pair].into_iter().chain(others.iter().map(|name| Member::single(*name, antwerp))).collect();
    let settings = toml::Table::try_from(serde_json::json!({ "pair": { "profile": "lan" } })).unwrap();
    Plan { members, folder: None, lifetime: Lifetime::OfStarter, settings, distances: Distances::OfCities }
}

/// The processes that run as nodes below `folder`.
fn nodes_below(folder: &std::path::Path) -> Vec<u32> {
    let folder = folder.as_os_str().as_encoded_bytes();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            line.split(|byte| *byte == 0).any(|argument| argument.starts_with(folder)).then_some(pid)
        })
        .collect()
}
