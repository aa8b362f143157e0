//! A federation of real processes: one node per organization, each in its city, with the latency between the cities
//! injected into their links. It is founded at the first node; the others join with an invite.
//!
//! The demo, the benchmarks and the tests stand on this. What the organizations do with each other is theirs.

use crate::{
    cities::City,
    ports::free_ports,
    process::{Executable, Home, Lifetime, Node},
};
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::time::sleep;

/// Nodes of one testnet: more would only compete for one machine.
pub const NODES_MAX: usize = 64;
/// How long the members may take to find each other.
const ACQUAINTED_WAIT_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks at who knows whom.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// The state file of a testnet, in its folder.
const STATE_FILE: &str = "testnet.json";

/// An organization of a testnet, before it has a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its name.
    pub organization: String,
    /// Where it is.
    pub city: &'static City,
    /// Where its second sub-node is, if it is to be a mirrored pair.
    pub mirror: Option<&'static City>,
}

impl Member {
    /// One with a single sub-node.
    #[must_use]
    pub fn single(organization: impl Into<String>, city: &'static City) -> Self {
        Self { organization: organization.into(), city, mirror: None }
    }
}

/// The second sub-node of a member. It has no data folder before the pair is made, which [`crate::pair`] does.
#[derive(Debug)]
pub struct Mirror {
    /// Of which member, by its place among them.
    pub of: usize,
    /// The sub-node.
    pub node: Node,
    /// What its configuration shall say.
    pub(crate) settings: toml::Table,
}

/// What a testnet shall be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who takes part; the first founds the federation.
    pub members: Vec<Member>,
    /// Where its folders go; without it, a temporary folder that goes with the cluster.
    pub folder: Option<PathBuf>,
    /// Whether the processes outlive the one that starts them.
    pub lifetime: Lifetime,
    /// Settings of every node's configuration, beyond those that a testnet makes by itself.
    pub settings: toml::Table,
    /// How long messages take between the nodes.
    pub distances: Distances,
}

/// How long messages take between the nodes of a testnet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distances {
    /// As long as between their cities.
    #[default]
    OfCities,
    /// As long as this machine takes to carry them.
    None,
}

/// What the state file of a kept testnet says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The version of the file's form.
    pub version: u32,
    /// Where the nodes live.
    pub nodes: Vec<Home>,
}

impl State {
    /// Read the state file of a testnet's folder.
    ///
    /// # Errors
    /// There is none, or it is not one that this version writes.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(STATE_FILE);
        let text = fs::read(&path).with_context(|| format!("there is no testnet in {}", folder.display()))?;
        let state: Self = serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
        if state.version != 1 {
            bail!("{} was written by another version of hansa", path.display());
        }
        Ok(state)
    }

    /// Remove the state file of a testnet that is down, and its folder if nothing else is in it.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(folder: &Path) -> Result<()> {
        let path = folder.join(STATE_FILE);
        fs::remove_file(&path).with_context(|| format!("could not remove {}", path.display()))?;
        // It stays if somebody put something else there.
        let _ = fs::remove_dir(folder);
        Ok(())
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(STATE_FILE);
        let text = serde_json::to_vec_pretty(self).context("the state is plain data")?;
        fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))
    }
}

/// Where the folders of a testnet are.
#[derive(Debug)]
enum Folder {
    Temporary(TempDir),
    Given(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Given(path) => path,
        }
    }
}

/// A testnet that this process started.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes, in the order of the plan; of pairs, those of the first city.
    pub nodes: Vec<Node>,
    /// The second sub-nodes of those who are to be pairs.
    pub mirrors: Vec<Mirror>,
    members: Vec<Member>,
    // After the nodes, so that they are dead before their folder goes.
    folder: Folder,
}

/// A name for a folder, out of the name of an organization.
fn folder_name(place: usize, organization: &str) -> String {
    let mut name = format!("{}-", place + 1);
    for character in organization.chars().flat_map(char::to_lowercase) {
        if character.is_ascii_alphanumeric() {
            name.push(character);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    name.trim_end_matches('-').chars().take(40).collect()
}

/// A sub-node before it has a folder: whose it is, by the member's place, and where it stands.
#[derive(Clone, Copy, Debug)]
struct Seat {
    of: usize,
    city: &'static City,
}

/// The sub-nodes of these members: the first of each, then the second ones.
fn seats(members: &[Member]) -> Vec<Seat> {
    let first = members.iter().enumerate().map(|(of, member)| Seat { of, city: member.city });
    let second = members.iter().enumerate().filter_map(|(of, member)| Some(Seat { of, city: member.mirror? }));
    first.chain(second).collect()
}

/// The configuration of the node at `place`: its own addresses, and the latency towards all others.
fn settings_of(place: usize, seats: &[Seat], homes: &[Home], distances: Distances) -> Result<toml::Table> {
    let home = &homes[place];
    let others = homes.iter().zip(seats).enumerate().filter(|(other, _)| *other != place);
    let others = others.filter(|_| distances == Distances::OfCities);
    let links = others.map(|(_, (peer, seat))| {
        json!({ "address": peer.federation.to_string(), "one_way_ms": seats[place].city.one_way_ms(seat.city) })
    });
    let settings = json!({
        "cxip": { "listen": home.cxip.to_string() },
        "http": { "listen": home.http.to_string() },
        "federation": {
            "listen": [format!("/ip4/{}/tcp/{}", home.federation.ip(), home.federation.port())],
            "mdns": false,
            "name": "testnet",
        },
        "emulation": { "link": links.collect::<Vec<_>>() },
    });
    toml::Table::try_from(settings).context("the settings of a node are plain data")
}

impl Cluster {
    /// Make the folders, keys and configurations of a testnet. No process runs yet.
    ///
    /// # Errors
    /// The plan has no or too many members, the folder is in use, there are no ports, or `hansa init` fails.
    pub async fn prepare(executable: &Executable, plan: Plan) -> Result<Self> {
        let Plan { members, folder, lifetime, settings, distances } = plan;
        let seats = seats(&members);
        if members.is_empty() || seats.len() > NODES_MAX {
            bail!("a testnet has 1 to {NODES_MAX} nodes, not {}", seats.len());
        }
        let folder = match folder {
            Some(path) => Folder::Given(claim(path)?),
            None => Folder::Temporary(tempfile::Builder::new().prefix("hansa-testnet-").tempdir()?),
        };
        let ports = free_ports(seats.len() * 3)?;
        let address = |port: &u16| SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        let homes: Vec<Home> = seats
            .iter()
            .zip(ports.chunks_exact(3))
            .enumerate()
            .map(|(place, (seat, ports))| {
                let organization = &members[seat.of].organization;
                let own = folder.path().join(folder_name(place, organization));
                Home {
                    organization: organization.clone(),
                    city: seat.city.name.into(),
                    data: own.join("data"),
                    log: own.join("node.log"),
                    cxip: address(&ports[0]),
                    federation: address(&ports[1]),
                    http: address(&ports[2]),
                }
            })
            .collect();
        State { version: 1, nodes: homes.clone() }.write(folder.path())?;
        let (mut nodes, mut mirrors) = (Vec::with_capacity(members.len()), Vec::new());
        for (place, home) in homes.iter().enumerate() {
            let mut own = settings.clone();
            own.extend(settings_of(place, &seats, &homes, distances)?);
            let node = Node::new(home.clone(), executable.clone(), lifetime);
            if place < members.len() {
                node.initialize(&own).await?;
                nodes.push(node);
            } else {
                mirrors.push(Mirror { of: seats[place].of, node, settings: own });
            }
        }
        Ok(Self { nodes, mirrors, members, folder })
    }

    /// Start every process but those of second sub-nodes, and wait until all of them listen; returns how long each took.
    ///
    /// # Errors
    /// One does not come up.
    pub async fn start(&mut self) -> Result<Vec<Duration>> {
        futures::future::try_join_all(self.nodes.iter_mut().map(Node::start)).await
    }

    /// Found the federation at the first node and let the others join it; returns when everybody knows everybody.
    ///
    /// # Errors
    /// A node refuses, or they do not find each other in time.
    pub async fn federate(&mut self) -> Result<()> {
        let Some((first, others)) = self.nodes.split_first() else { return Ok(()) };
        for node in others {
            // An invite is for one organization, so each joins with its own.
            let invited = first.ask("invite", json!({ "hours": 1 })).await?;
            let invite = invited.get("invite").and_then(Value::as_str).context("the invite has an unknown shape")?;
            node.ask("join", json!({ "invite": invite })).await?;
        }
        self.wait_until_acquainted().await
    }

    /// Wait until every node is connected with every other.
    ///
    /// # Errors
    /// They do not find each other in time; the message says who misses whom.
    pub async fn wait_until_acquainted(&self) -> Result<()> {
        let began = Instant::now();
        for node in &self.nodes {
            loop {
                let known = Peer::all_of(&node.ask("status", json!({})).await?)?;
                let missing: Vec<_> = self
                    .members
                    .iter()
                    .map(|member| member.organization.as_str())
                    .filter(|name| *name != node.home.organization)
                    .filter(|name| !known.iter().any(|peer| peer.name == *name && peer.connected))
                    .collect();
                if missing.is_empty() {
                    break;
                }
                if began.elapsed() > ACQUAINTED_WAIT_MAX {
                    bail!("{} is not connected with {}", node.home.organization, missing.join(", "));
                }
                sleep(LOOK_PAUSE).await;
            }
        }
        Ok(())
    }

    /// Stop every process in order; the last fault is returned after all were tried.
    ///
    /// # Errors
    /// A node had to be killed or ended with an error.
    pub async fn stop(&mut self) -> Result<()> {
        let all = self.nodes.iter_mut().chain(self.mirrors.iter_mut().map(|mirror| &mut mirror.node));
        let ended = futures::future::join_all(all.map(Node::stop)).await;
        ended.into_iter().collect()
    }

    /// Leave the processes running and the folders in place; only for those whose lifetime is their own.
    pub fn release(mut self) -> PathBuf {
        self.nodes.iter_mut().for_each(Node::release);
        self.mirrors.iter_mut().for_each(|mirror| mirror.node.release());
        self.keep_folder()
    }

    /// Leave the folders in place when the cluster goes, to look at the logs; says where they are.
    pub fn keep_folder(&mut self) -> PathBuf {
        if let Folder::Temporary(folder) = &mut self.folder {
            folder.disable_cleanup(true);
        }
        self.folder.path().to_owned()
    }

    /// Where the folders of the testnet are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Who takes part, in the order of the nodes.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }
}

/// Take a folder for a new testnet: it must be empty, or hold one that is down.
fn claim(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path).with_context(|| format!("could not make {}", path.display()))?;
    let path = path.canonicalize()?;
    if path.join(STATE_FILE).exists() {
        bail!("there is a testnet in {} already; end it with `hansa testnet down`", path.display());
    }
    if fs::read_dir(&path)?.next().is_some() {
        bail!("{} is not empty; choose another folder with --folder", path.display());
    }
    Ok(path)
}

/// What a node's status says about one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// The organization's name.
    pub name: String,
    /// Its city.
    #[serde(default)]
    pub city: String,
    /// Whether there is a connection now.
    #[serde(default)]
    pub connected: bool,
    /// Since when there has been one, or none.
    #[serde(default)]
    pub since: Option<String>,
    /// The round trip, as last measured.
    #[serde(default)]
    pub rtt_ms: Option<f64>,
    /// How the node came to know of it.
    #[serde(default)]
    pub discovered_by: Option<String>,
}

impl Peer {
    /// The peers in a node's status.
    ///
    /// # Errors
    /// The status has another shape.
    pub fn all_of(status: &Value) -> Result<Vec<Self>> {
        let peers = status.get("peers").cloned().unwrap_or_else(|| json!([]));
        serde_json::from_value(peers).context("the peers of a node's status have an unknown shape")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> (Vec<Member>, Vec<Home>) {
        let member = |organization: &str, city| Member::single(organization, City::named(city).unwrap());
        let members =
            vec![member("Acme BV", "Rotterdam"), member("Birch & Söhne", "Hamburg"), member("C", "Singapore")];
        let home = |place: u16, member: &Member| Home {
            organization: member.organization.clone(),
            city: member.city.name.into(),
            data: "data".into(),
            log: "log".into(),
            cxip: SocketAddr::from(([127, 0, 0, 1], 100 + place)),
            federation: SocketAddr::from(([127, 0, 0, 1], 200 + place)),
            http: SocketAddr::from(([127, 0, 0, 1], 300 + place)),
        };
        let homes = members.iter().zip(0..).map(|(member, place)| home(place, member)).collect();
        (members, homes)
    }

    #[test]
    fn each_node_is_told_the_latency_towards_every_other() {
        let (members, homes) = plan();
        let settings = settings_of(0, &seats(&members), &homes, Distances::OfCities).unwrap();
        let links = settings["emulation"]["link"].as_array().unwrap();
        assert_eq!(links.len(), 2);
        assert_eq!(links[0]["address"].as_str(), Some("127.0.0.1:201"));
        assert_eq!(links[0]["one_way_ms"].as_integer(), Some(4));
        assert!(links[1]["one_way_ms"].as_integer().unwrap() > 70);
        assert_eq!(settings["federation"]["listen"][0].as_str(), Some("/ip4/127.0.0.1/tcp/200"));
        assert_eq!(settings["federation"]["mdns"].as_bool(), Some(false));
        let settings = settings_of(0, &seats(&members), &homes, Distances::None).unwrap();
        assert!(settings["emulation"]["link"].as_array().unwrap().is_empty());
    }

    // M1: both sub-nodes of a pair have a place of their own, and know how far everybody is.
    #[test]
    fn the_second_sub_nodes_come_behind_the_first_ones() {
        let (mut members, _) = plan();
        members[0].mirror = City::named("Antwerp");
        members[2].mirror = City::named("Hong Kong");
        let seats = seats(&members);
        let shown: Vec<_> = seats.iter().map(|seat| (seat.of, seat.city.name)).collect();
        let all = [(0, "Rotterdam"), (1, "Hamburg"), (2, "Singapore"), (0, "Antwerp"), (2, "Hong Kong")];
        assert_eq!(shown, all);
    }

    #[test]
    fn folders_are_named_after_organizations_and_never_twice() {
        assert_eq!(folder_name(0, "Acme BV"), "1-acme-bv");
        assert_eq!(folder_name(1, "Birch & Söhne"), "2-birch-s-hne");
        assert_eq!(folder_name(2, "../../etc"), "3-etc");
        assert_ne!(folder_name(3, "商社"), folder_name(4, "商社"));
    }

    #[test]
    fn a_folder_with_something_in_it_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert!(claim(folder.path().join("new")).is_ok());
        let refused = claim(folder.path().to_owned()).unwrap_err().to_string();
        assert!(refused.contains("not empty"), "{refused}");
        State { version: 1, nodes: plan().1 }.write(&folder.path().join("new")).unwrap();
        let refused = claim(folder.path().join("new")).unwrap_err().to_string();
        assert!(refused.contains("testnet down"), "{refused}");
        assert_eq!(State::read(&folder.path().join("new")).unwrap().nodes, plan().1);
        assert!(State::read(folder.path()).unwrap_err().to_string().contains("no testnet"));
    }

    #[test]
    fn the_peers_of_a_status_are_read_by_name() {
        let status = json!({ "peers": [{ "name": "C", "connected": true, "discovered_by": "invite", "more": 1 }] });
        let peers = Peer::all_of(&status).unwrap();
        assert!(peers[0].connected && peers[0].discovered_by.as_deref() == Some("invite"));
        assert!(Peer::all_of(&json!({})).unwrap().is_empty());
        assert!(Peer::all_of(&json!({ "peers": [3] })).is_err());
    }
}
