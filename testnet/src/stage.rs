//! The stage of the demo and of the fault tests: five organizations in five cities, their nodes, and their services.

use crate::{
    attach::attach,
    cities::City,
    cluster::{Cluster, Distances, Member, Plan},
    process::{Executable, Lifetime, Node},
    trade::{
        buyer::Buyer,
        role::{Gate, Role, shelves},
        supplier::Supplier,
    },
};
use anyhow::{Context as _, Result, bail};
use hansa_sdk::Running;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// The transaction definition that the buyer runs.
pub const PURCHASE_ORDER: &str = include_str!("../data/purchase-order.xml");
/// What that definition is called.
pub const PURCHASE_ORDER_NAME: &str = "purchase-order";

/// Who plays: name, city, and the city of the second sub-node where they are pairs. The first is the buyer.
const CAST: [(&str, &str, &str); 5] = [
    ("Acme BV", "Rotterdam", "London"),
    ("Birch & Söhne", "Hamburg", "Gdansk"),
    ("Cedar Supply", "Singapore", "Hong Kong"),
    ("Douglas Trading", "Chicago", "New York"),
    ("Elm Logistics", "Santos", "Cape Town"),
];
/// How many organizations there are.
pub const ORGANIZATIONS: usize = CAST.len();
/// What the buyer may order at once.
const CREDIT_LIMIT_EUR: u32 = 250_000;
/// How long the directory may take to bring the suppliers' offers to the buyer.
const OFFERS_WAIT_MAX: Duration = Duration::from_secs(20);
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The organizations, their nodes and what they do.
#[derive(Debug)]
pub struct Stage {
    /// The nodes.
    pub cluster: Cluster,
    /// What each organization does, in the order of the nodes.
    pub roles: Vec<Role>,
    /// Holds up `confirm-order` at every supplier.
    pub gate: Gate,
    services: Vec<Running>,
}

impl Stage {
    /// Prepare the nodes; none runs yet. The suppliers have enough for `orders` orders of the usual size. The first `pairs`
    /// of them have a second sub-node in another city, which has still to join.
    ///
    /// # Errors
    /// As [`Cluster::prepare`].
    pub async fn set(
        executable: &Executable,
        folder: Option<PathBuf>,
        lifetime: Lifetime,
        orders: u32,
        pairs: usize,
    ) -> Result<Self> {
        let known = |city: &str| City::named(city).with_context(|| format!("there is no city {city}"));
        let member = |(place, (organization, city, second)): (usize, (&str, &str, &str))| -> Result<Member> {
            let mirror = if place < pairs { Some(known(second)?) } else { None };
            Ok(Member { mirror, ..Member::single(organization, known(city)?) })
        };
        let members = CAST.into_iter().enumerate().map(member).collect::<Result<_>>()?;
        let (settings, distances) = (toml::Table::new(), Distances::OfCities);
        let cluster = Cluster::prepare(executable, Plan { members, folder, lifetime, settings, distances });
        let gate = Gate::default();
        let supplier = |place: usize, lead_days, percent, missing: &[&str]| {
            let supplier = Supplier::new(CAST[place].0, lead_days, shelves(orders, percent, missing));
            Role::Supplier(Arc::new(supplier), gate.clone())
        };
        let roles = vec![
            Role::Buyer(Arc::new(Buyer::new(Decimal::from(CREDIT_LIMIT_EUR)))),
            // Nearest and cheapest, but without grease, so it never gets the whole order.
            supplier(1, 5, 96, &["GRS-EP2-18"]),
            supplier(2, 12, 107, &[]),
            supplier(3, 7, 103, &[]),
            Role::Carrier,
        ];
        Ok(Self { cluster: cluster.await?, roles, gate, services: Vec::new() })
    }

    /// Attach everybody's services, wait until the buyer knows who offers what, and give it the definition.
    ///
    /// # Errors
    /// A node refuses, or the offers do not reach the buyer in time.
    pub async fn open(&mut self) -> Result<()> {
        for (role, node) in self.roles.iter().zip(&self.cluster.nodes) {
            self.services.extend(attach(role, node.home.cxip).await?);
        }
        let suppliers = self.roles.iter().filter(|role| matches!(role, Role::Supplier(..))).count();
        let began = Instant::now();
        for operation in ["check-stock", "confirm-order"] {
            loop {
                let offers = self.buyer().ask("directory", json!({ "operation": operation })).await?;
                let offering = offers.as_array().map_or(0, Vec::len);
                if offering >= suppliers {
                    break;
                }
                if began.elapsed() > OFFERS_WAIT_MAX {
                    bail!("only {offering} of {suppliers} suppliers are in the buyer's directory with '{operation}'");
                }
                sleep(LOOK_PAUSE).await;
            }
        }
        self.buyer().ask("define", json!({ "text": PURCHASE_ORDER })).await?;
        Ok(())
    }

    /// The buyer's node.
    #[must_use]
    pub fn buyer(&self) -> &Node {
        &self.cluster.nodes[0]
    }

    /// How many organizations offer what, as the buyer's directory has it.
    ///
    /// # Errors
    /// The buyer's node does not answer.
    pub async fn directory(&self) -> Result<Value> {
        self.buyer().ask("directory", json!({})).await
    }

    /// How often an operation had its effect for a transaction, over all organizations.
    #[must_use]
    pub fn effects_of(&self, transaction: &str, operation: &str) -> u32 {
        self.roles.iter().map(|role| role.account().effects_of(transaction, operation)).sum()
    }

    /// Every effect that happened more than once, in words.
    #[must_use]
    pub fn doubled(&self) -> Vec<String> {
        let mut whole = crate::trade::ledger::Account::default();
        for account in self.roles.iter().map(Role::account) {
            for (what, count) in account.effects {
                *whole.effects.entry(what).or_default() += count;
            }
        }
        whole.doubled()
    }

    /// How many invocations came again and were answered with what the first one did.
    #[must_use]
    pub fn repeated(&self) -> u32 {
        self.roles.iter().map(|role| role.account().repeated).sum()
    }

    /// Detach the services and stop the nodes.
    ///
    /// # Errors
    /// A node had to be killed or ended with an error.
    pub async fn close(mut self) -> Result<()> {
        self.detach().await;
        self.cluster.stop().await
    }

    /// Detach the services and leave the nodes running; returns their folder.
    pub async fn leave(mut self) -> PathBuf {
        self.detach().await;
        self.cluster.release()
    }

    async fn detach(&mut self) {
        self.gate.open();
        futures::future::join_all(self.services.drain(..).map(Running::stop)).await;
    }
}
