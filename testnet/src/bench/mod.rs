//! Benchmarks of one node in a process of its own, with services and clients in this one, over CXIP on loopback; beside
//! each figure the limit of the machine that was measured in the same run.

pub mod catchup;
pub mod choir;
pub mod machine;
pub mod mirrored;
pub mod recovery;
pub mod samples;
mod sites;
pub mod size;
pub mod stages;
pub mod stored;
pub mod takeover;
pub mod transactions;
pub mod usage;
pub mod waiting;

use crate::{
    cities::{CITIES, City},
    cluster::{Cluster, Distances, Member, Plan},
    pair::{PairStatus, Side, ensure_known},
    process::{Executable, Lifetime, Node},
};
use anyhow::{Context as _, Result, ensure};
use hansa_core::{code::Fault, document::Text};
use serde_json::json;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const WITNESS: &str = "Witness";

/// The least that a document of a benchmark takes.
pub const DOCUMENT_BYTES_MIN: usize = 100;

/// A node alone, for a benchmark; it is killed when this value is dropped.
struct Laboratory {
    cluster: Cluster,
    /// That of the mirror, where it is not among the others'. After the cluster, so that the mirror is dead before it goes.
    mirror_folder: Option<TempDir>,
}

impl Laboratory {
    /// Start a node with these settings and give it `definition`.
    async fn open(executable: &Executable, settings: toml::Table, definition: &str) -> Result<Self> {
        let member = Member::single("Bench", &CITIES[0]);
        let cluster = Self::started(executable, settings, vec![member], Distances::None).await?;
        let laboratory = Self { cluster, mirror_folder: None };
        laboratory.define(definition).await?;
        Ok(laboratory)
    }

    /// Start a node that has a mirror, and a witness of theirs, all as near to each other as this machine is to itself; and give it
    /// `definition`.
    async fn open_pair(executable: &Executable, definition: &str) -> Result<Self> {
        Self::open_pair_in(executable, definition, [&CITIES[0]; 2], Distances::None, None).await
    }

    /// Start a node in the first of these cities that has a mirror in the second, where a witness is as well; the mirror keeps its files
    /// in a folder of its own in `mirror_folder`, if there is one.
    async fn open_pair_in(
        executable: &Executable,
        definition: &str,
        [active, mirror]: [&'static City; 2],
        distances: Distances,
        mirror_folder: Option<&Path>,
    ) -> Result<Self> {
        ensure_known(executable).await?;
        let pair = Member { mirror: Some(mirror), ..Member::single("Bench", active) };
        let members = vec![pair, Member::single(WITNESS, mirror)];
        let mirror_folder = mirror_folder.map(folder_in).transpose()?;
        let mut cluster = Self::started(executable, toml::Table::new(), members, distances).await?;
        if let Some(folder) = &mirror_folder {
            cluster.subnode_mut(0, Side::Second)?.home.data = folder.path().join("data");
        }
        cluster.federate().await?;
        cluster.make_pair(0, &[WITNESS]).await?;
        let laboratory = Self { cluster, mirror_folder };
        laboratory.define(definition).await?;
        Ok(laboratory)
    }

    async fn started(
        executable: &Executable,
        settings: toml::Table,
        members: Vec<Member>,
        distances: Distances,
    ) -> Result<Cluster> {
        let plan = Plan { members, folder: None, lifetime: Lifetime::OfStarter, settings, distances };
        let mut cluster = Cluster::prepare(executable, plan).await?;
        cluster.start().await?;
        Ok(cluster)
    }

    /// Keep all folders; gives where the logs are.
    fn keep_folder(&mut self) -> PathBuf {
        // It is a temporary one, whose path is known from the mirror's configuration.
        self.mirror_folder.take().map(TempDir::keep);
        self.cluster.keep_folder()
    }

    /// How long a word to the witness and back takes, as the node measured it last; none before it did.
    async fn round_trip_ms(&self) -> Result<Option<f64>> {
        let status = self.node().ask("status", json!({})).await?;
        let witness = status["peers"].as_array().into_iter().flatten().find(|peer| peer["name"] == WITNESS);
        Ok(witness.and_then(|witness| witness["rtt_ms"].as_f64()))
    }

    /// How the node sees its pair.
    async fn pair(&self) -> Result<PairStatus> {
        PairStatus::of(self.node()).await
    }

    /// Give the node one more definition.
    async fn define(&self, definition: &str) -> Result<()> {
        self.node().ask("define", json!({ "text": definition })).await?;
        Ok(())
    }

    fn node(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    fn node_mut(&mut self) -> &mut Node {
        &mut self.cluster.nodes[0]
    }

    fn address(&self) -> String {
        self.node().home.cxip.to_string()
    }
}

fn folder_in(place: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix("hansa-testnet-").tempdir_in(place);
    made.with_context(|| format!("could not make a folder in {}", place.display()))
}

/// An order of about `bytes` bytes, as a benchmark sends it.
fn document_of(bytes: usize) -> Result<Text, Fault> {
    let head = "<Order xmlns=\"urn:hansa:bench:1\"><Id>4711</Id><Buyer>Acme BV</Buyer><Note>";
    let tail = "</Note></Order>";
    let filling = bytes.saturating_sub(head.len() + tail.len());
    Text::parse(format!("{head}{}{tail}", "x".repeat(filling)).as_bytes())
}

fn ensure_document_bytes(bytes: usize) -> Result<()> {
    let max = hansa_core::limit::DOCUMENT_BYTES_MAX;
    ensure!((DOCUMENT_BYTES_MIN..=max).contains(&bytes), "--document-bytes is {DOCUMENT_BYTES_MIN} to {max}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_the_size_that_was_asked_for() {
        for bytes in [DOCUMENT_BYTES_MIN, 500, 10_000] {
            assert_eq!(document_of(bytes).unwrap().as_str().len(), bytes);
        }
        assert!(ensure_document_bytes(10).is_err() && ensure_document_bytes(usize::MAX).is_err());
    }

    #[test]
    fn the_definitions_of_the_benchmarks_are_well_formed() {
        let three = include_str!("../../data/bench-three.xml");
        let hold = include_str!("../../data/bench-hold.xml");
        let signal = include_str!("../../data/bench-signal.xml");
        for definition in [three, hold, signal, include_str!("../../data/bench-none.xml")] {
            Text::parse(definition.as_bytes()).unwrap();
        }
    }
}
