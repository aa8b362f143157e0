//! The buyer: its credit limit, how it chooses a supplier, its back-orders, and the answer that it writes.

use super::{
    Call, Decimal, leaf,
    ledger::Ledger,
    money,
    order::Order,
    own, own_document, own_inside, response, sum,
    supplier::{Stock, day_after, short},
    text_at, unusable, with,
};
use hansa_core::{
    code::Fault,
    document::{Document, Text},
    moment::Moment,
};

/// Days until goods that nobody has are expected.
const BACK_ORDER_DAYS: u64 = 42;

/// The buyer of the demo.
#[derive(Debug)]
pub struct Buyer {
    credit_limit: Decimal,
    /// What was decided, booked and written, by idempotency key.
    pub ledger: Ledger,
}

impl Buyer {
    /// A buyer who may order for so much at once.
    #[must_use]
    pub fn new(credit_limit: Decimal) -> Self {
        Self { credit_limit, ledger: Ledger::default() }
    }

    /// `check-credit`: whether the order is within the limit.
    ///
    /// # Errors
    /// The request has no order that can be read.
    pub fn check_credit(&self, call: &Call) -> Result<Text, Fault> {
        let request = call.document.tree()?;
        let order = Order::find(&request.root)?;
        self.ledger.once(call, || {
            let amount = |local, value| leaf(local, &money(value)).with_attribute("currency", &order.currency);
            let credit = with(own("Credit"), "Approved", &(order.payable <= self.credit_limit).to_string())
                .with_child(amount("Limit", self.credit_limit))
                .with_child(amount("Requested", order.payable));
            Ok(Document::from(credit).to_text())
        })
    }

    /// `choose-supplier`: of those who have everything, the cheapest; if nobody has, whoever has most.
    ///
    /// # Errors
    /// The request has no order that can be read, or no supplier's answer.
    pub fn choose_supplier(&self, call: &Call) -> Result<Text, Fault> {
        let request = call.document.tree()?;
        let order = Order::find(&request.root)?;
        let mut answers = Stock::all_in(&request.root)?;
        // The names decide last, so that the choice does not depend on whose answer came first.
        answers.sort_by(|one, other| {
            let best = |stock: &Stock| (!stock.complete, if stock.complete { Decimal::ZERO } else { -stock.quantity });
            let cheapest = |stock: &Stock| (stock.price, stock.lead_days);
            best(one)
                .cmp(&best(other))
                .then_with(|| cheapest(one).cmp(&cheapest(other)))
                .then_with(|| one.organization.cmp(&other.organization))
        });
        let chosen = answers.first().ok_or_else(|| unusable("no supplier has answered"))?;
        let wanted = order.wanted()?;
        self.ledger.once(call, || {
            let mut choice = with(own("Choice"), "Organization", &chosen.organization);
            choice = with(choice, "Quantity", &chosen.quantity.normalize().to_string());
            choice = with(choice, "Wanted", &wanted.normalize().to_string());
            choice = with(choice, "Complete", &chosen.complete.to_string());
            choice = choice.with_child(leaf("Price", &money(chosen.price)).with_attribute("currency", &order.currency));
            choice = with(choice, "LeadDays", &chosen.lead_days.normalize().to_string());
            Ok(Document::from(with(choice, "Answers", &answers.len().to_string())).to_text())
        })
    }

    /// `book-back-order`: note what nobody has.
    ///
    /// # Errors
    /// The request has no order that can be read.
    pub fn book_back_order(&self, call: &Call, now: Moment) -> Result<Text, Fault> {
        let request = call.document.tree()?;
        let order = Order::find(&request.root)?;
        self.ledger.once(call, || {
            let mut booked = with(own("BackOrder"), "Number", &format!("BO-{}", short(&call.key)));
            booked = with(booked, "ExpectedDate", &day_after(now, BACK_ORDER_DAYS));
            for line in &order.lines {
                let entry = with(with(own_inside("Line"), "LineID", &line.id), "Item", &line.item);
                booked = booked.with_child(with(entry, "Quantity", &line.quantity.normalize().to_string()));
            }
            Ok(Document::from(booked).to_text())
        })
    }

    /// `write-response`: the UBL OrderResponse to the order, out of what was confirmed, booked or refused.
    ///
    /// # Errors
    /// The request has no order that can be read, or nothing to answer it with.
    pub fn write_response(&self, call: &Call, now: Moment) -> Result<Text, Fault> {
        let request = call.document.tree()?;
        let root = &request.root;
        let order = Order::find(root)?;
        let credit_refused = match own_document(root, "Credit") {
            Some(credit) => text_at(credit, &["Approved"])? == "false",
            None => false,
        };
        let (confirmation, back_order) = (own_document(root, "Confirmation"), own_document(root, "BackOrder"));
        let answer = match (confirmation, back_order) {
            (Some(confirmation), _) => response::Answer::Confirmed(confirmation),
            (None, Some(back_order)) => {
                let seller = own_document(root, "Choice").map(|choice| text_at(choice, &["Organization"]));
                response::Answer::BackOrdered { back_order, seller: seller.transpose()? }
            }
            (None, None) if credit_refused => response::Answer::Refused("the credit limit does not cover the order"),
            (None, None) => return Err(unusable("the request has neither a confirmation nor a back-order")),
        };
        self.ledger.once(call, || response::write(&order, &answer, &short(&call.key), now))
    }
}

/// How much of an order's lines a confirmation covers, in the lines' order.
pub(super) fn quantities_in(lines: &hansa_core::document::Element) -> Result<Vec<(String, Decimal, Decimal)>, Fault> {
    let lines = lines.elements().filter(|element| *element.name.local == *"Line");
    lines
        .map(|line| {
            let price = line.child("UnitPrice").map(|_| super::number_at(line, &["UnitPrice"])).transpose()?;
            Ok((text_at(line, &["LineID"])?, super::number_at(line, &["Quantity"])?, price.unwrap_or_default()))
        })
        .collect()
}

/// The sum of money over lines, for the response.
pub(super) fn total(amounts: &[Decimal]) -> Result<Decimal, Fault> {
    sum(amounts.iter().copied())
}
