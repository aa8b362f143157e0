//! What an organization of the demo does: which services it has, and who answers each of their operations.
//!
//! A [`Gate`] holds up one operation, so that whoever kills a process can be certain that it is in the middle of it.

use super::{
    Call,
    buyer::Buyer,
    ledger::Account,
    supplier::{Shelf, Supplier},
    unusable,
};
use hansa_core::{code::Fault, document::Text, moment::Moment};
use rust_decimal::Decimal;
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// Who an organization is in the trade.
#[derive(Clone, Debug)]
pub enum Role {
    /// It orders.
    Buyer(Arc<Buyer>),
    /// It sells.
    Supplier(Arc<Supplier>, Gate),
    /// It carries goods and has none, so nobody asks it for stock.
    Carrier,
}

/// A place that a call passes only when it is open.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Sides>);

#[derive(Debug)]
struct Sides {
    open: watch::Sender<bool>,
    arrived: watch::Sender<u64>,
}

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Sides { open: watch::Sender::new(true), arrived: watch::Sender::new(0) }))
    }
}

impl Gate {
    /// Let nobody pass from now on; returns how many have arrived so far.
    pub fn close(&self) -> u64 {
        self.0.open.send_replace(false);
        *self.0.arrived.borrow()
    }

    /// Let everybody pass.
    pub fn open(&self) {
        self.0.open.send_replace(true);
    }

    /// Wait until more than `count` calls have arrived, passed or not.
    pub async fn arrived_after(&self, count: u64) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.0.arrived.subscribe().wait_for(|arrived| *arrived > count).await;
    }

    /// Arrive, and wait until it is open.
    pub async fn pass(&self) {
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        let _ = self.0.open.subscribe().wait_for(|open| *open).await;
    }
}

/// The moment on this machine's clock.
pub(crate) fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Role {
    /// Its services, each with the operations that it signs up for.
    #[must_use]
    pub fn services(&self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Self::Buyer(_) => &[
                ("credit", &["check-credit"]),
                ("purchasing", &["choose-supplier"]),
                ("back-orders", &["book-back-order"]),
                ("correspondence", &["write-response"]),
            ],
            Self::Supplier(..) => &[("stock", &["check-stock"]), ("sales", &["confirm-order"])],
            Self::Carrier => &[("freight", &["quote-freight"])],
        }
    }

    /// Whether the federation may know its services: a buyer's are its own affair.
    #[must_use]
    pub fn is_public(&self) -> bool {
        !matches!(self, Self::Buyer(_))
    }

    /// Do what a call asks for.
    ///
    /// # Errors
    /// The document cannot be worked with, or nobody here does such a thing.
    pub async fn perform(&self, call: Call) -> Result<Text, Fault> {
        match (self, call.operation.as_str()) {
            (Self::Buyer(buyer), "check-credit") => buyer.check_credit(&call),
            (Self::Buyer(buyer), "choose-supplier") => buyer.choose_supplier(&call),
            (Self::Buyer(buyer), "book-back-order") => buyer.book_back_order(&call, now()),
            (Self::Buyer(buyer), "write-response") => buyer.write_response(&call, now()),
            (Self::Supplier(supplier, _), "check-stock") => supplier.check_stock(&call),
            (Self::Supplier(supplier, gate), "confirm-order") => {
                gate.pass().await;
                supplier.confirm_order(&call, now())
            }
            (_, operation) => Err(unusable(format!("nobody here performs '{operation}'"))),
        }
    }

    /// What its services did so far.
    #[must_use]
    pub fn account(&self) -> Account {
        match self {
            Self::Buyer(buyer) => buyer.ledger.account(),
            Self::Supplier(supplier, _) => supplier.ledger.account(),
            Self::Carrier => Account::default(),
        }
    }
}

/// What a supplier pays for the goods of `data/order.xml` before its own margin, as the order prices them, and how much of each one order
/// wants.
const GOODS: &[(&str, u32, &str)] = &[
    ("BR-6204-2RS", 400, "3.85"),
    ("BLT-M12-60-A2", 5_000, "24.60"),
    ("NUT-M12-A2", 5_000, "7.90"),
    ("VBT-A68", 120, "6.15"),
    ("HYH-12-2SN", 250, "7.42"),
    ("BVL-DN50-316", 36, "118.50"),
    ("SEL-45-62-8", 300, "2.18"),
    ("GRS-EP2-18", 24, "96.75"),
    ("CBL-4G25", 1_200, "2.15"),
    ("BK-BRG-05", 6, "70.00"),
];

/// Shelves with enough for `orders` orders of `data/order.xml`, at `percent` of the order's prices, without the items in
/// `missing`.
#[must_use]
pub fn shelves(orders: u32, percent: u32, missing: &[&str]) -> Vec<(String, Shelf)> {
    GOODS
        .iter()
        .filter(|(item, ..)| !missing.contains(item))
        .map(|(item, wanted, price)| {
            let price: Decimal = price.parse().expect("the prices of the table are numbers");
            let price = (price * Decimal::from(percent) / Decimal::ONE_HUNDRED).round_dp(2);
            ((*item).to_owned(), Shelf { available: Decimal::from(*wanted) * Decimal::from(orders), price })
        })
        .collect()
}
