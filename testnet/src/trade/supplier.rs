//! A supplier: what lies on its shelves, what it says about an order, and what it reserves.

use super::{
    Call, Decimal, NAMESPACE, leaf, ledger::Ledger, money, number_at, order::Order, own, own_document, own_inside, sum,
    text_at, with,
};
use hansa_core::{
    code::Fault,
    document::{Document, Element, Text},
    moment::Moment,
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

const DAY_MS: u64 = 86_400_000;

/// A supplier with its shelves.
#[derive(Debug)]
pub struct Supplier {
    organization: String,
    lead_days: u64,
    shelves: Mutex<BTreeMap<String, Shelf>>,
    /// What was confirmed, by idempotency key.
    pub ledger: Ledger,
}

/// What lies there of one item, and for how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelf {
    /// How much there is.
    pub available: Decimal,
    /// The price of as many units as the order's price is for.
    pub price: Decimal,
}

/// What a supplier can say about one line of an order.
struct Offer<'o> {
    line: &'o super::order::Line,
    available: Decimal,
    price: Decimal,
}

impl Supplier {
    /// A supplier with these shelves, who delivers after so many days.
    #[must_use]
    pub fn new(organization: &str, lead_days: u64, shelves: impl IntoIterator<Item = (String, Shelf)>) -> Self {
        let shelves = Mutex::new(shelves.into_iter().collect());
        Self { organization: organization.into(), lead_days, shelves, ledger: Ledger::default() }
    }

    fn offers<'o>(&self, shelves: &BTreeMap<String, Shelf>, order: &'o Order) -> Vec<Offer<'o>> {
        let nothing = Shelf { available: Decimal::ZERO, price: Decimal::ZERO };
        let offer = |line: &'o super::order::Line| {
            let shelf = shelves.get(&line.item).unwrap_or(&nothing);
            Offer { line, available: shelf.available.min(line.quantity), price: shelf.price }
        };
        order.lines.iter().map(offer).collect()
    }

    /// `check-stock`: what there is of what an order wants. Nothing changes.
    ///
    /// # Errors
    /// The request has no order that can be read.
    pub fn check_stock(&self, call: &Call) -> Result<Text, Fault> {
        let request = call.document.tree()?;
        let order = Order::find(&request.root)?;
        let shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let offers = self.offers(&shelves, &order);
        let quantity = sum(offers.iter().map(|offer| offer.available))?;
        let complete = offers.iter().all(|offer| offer.available == offer.line.quantity);
        let price =
            sum(offers.iter().map(|it| it.line.cost(it.available, it.price)).collect::<Result<Vec<_>, _>>()?)?;
        let mut stock = with(own("Stock"), "Organization", &self.organization);
        stock = with(stock, "Quantity", &quantity.normalize().to_string());
        stock = with(stock, "Complete", &complete.to_string());
        stock = stock.with_child(leaf("Price", &money(price)).with_attribute("currency", &order.currency));
        stock = with(stock, "LeadDays", &self.lead_days.to_string());
        for offer in offers {
            let mut line = line_of(&offer, "Wanted", offer.line.quantity);
            line = with(line, "Available", &offer.available.normalize().to_string());
            stock = stock.with_child(with(line, "UnitPrice", &money(offer.price)));
        }
        Ok(Document::from(stock).to_text())
    }

    /// `confirm-order`: take what there is of what an order wants off the shelves. Once for each idempotency key.
    ///
    /// # Errors
    /// The request has no order that can be read, or it is for somebody else.
    pub fn confirm_order(&self, call: &Call, now: Moment) -> Result<Text, Fault> {
        let request = call.document.tree()?;
        let order = Order::find(&request.root)?;
        if let Some(choice) = own_document(&request.root, "Choice") {
            let chosen = text_at(choice, &["Organization"])?;
            if chosen != self.organization {
                return Err(super::unusable(format!("the order is for {chosen}, not for {}", self.organization)));
            }
        }
        self.ledger.once(call, || {
            let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
            let offers = self.offers(&shelves, &order);
            let mut confirmation = with(own("Confirmation"), "Organization", &self.organization);
            confirmation = with(confirmation, "Reservation", &format!("RES-{}", short(&call.key)));
            confirmation = with(confirmation, "DeliveryDate", &day_after(now, self.lead_days));
            let mut taken = Vec::with_capacity(offers.len());
            for offer in &offers {
                let line = line_of(offer, "Quantity", offer.available);
                confirmation = confirmation.with_child(with(line, "UnitPrice", &money(offer.price)));
                taken.push((offer.line.item.clone(), offer.available));
            }
            for (item, quantity) in taken {
                if let Some(shelf) = shelves.get_mut(&item) {
                    shelf.available -= quantity;
                }
            }
            Ok(Document::from(confirmation).to_text())
        })
    }

    /// What lies on the shelves, over all items.
    #[must_use]
    pub fn units(&self) -> Decimal {
        let shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        shelves.values().map(|shelf| shelf.available).sum()
    }
}

fn line_of(offer: &Offer<'_>, quantity_name: &str, quantity: Decimal) -> Element {
    let line = with(own_inside("Line"), "LineID", &offer.line.id);
    let line = with(line, "Item", &offer.line.item);
    with(line, quantity_name, &quantity.normalize().to_string())
}

/// The first digits of an idempotency key, as part of a number for people.
pub(super) fn short(key: &str) -> String {
    key.chars().take(8).flat_map(char::to_uppercase).collect()
}

/// The day so many days after a moment, as documents write it.
pub(super) fn day_after(now: Moment, days: u64) -> String {
    let mut day = now.plus_ms(days * DAY_MS).to_string();
    day.truncate("2026-11-23".len());
    day
}

/// What a supplier answered to `check-stock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stock {
    pub organization: String,
    pub quantity: Decimal,
    pub complete: bool,
    pub price: Decimal,
    pub lead_days: Decimal,
}

impl Stock {
    /// Every answer in a request, wherever they stand there.
    pub fn all_in(root: &Element) -> Result<Vec<Self>, Fault> {
        super::all_named(root, "Stock")
            .into_iter()
            .filter(|element| element.name.namespace.as_deref() == Some(NAMESPACE))
            .map(|stock| {
                Ok(Self {
                    organization: text_at(stock, &["Organization"])?,
                    quantity: number_at(stock, &["Quantity"])?,
                    complete: text_at(stock, &["Complete"])? == "true",
                    price: number_at(stock, &["Price"])?,
                    lead_days: number_at(stock, &["LeadDays"])?,
                })
            })
            .collect()
    }
}
