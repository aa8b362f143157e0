//! Reads a UBL 2.1 Order, and makes orders of other sizes out of the one in `data/order.xml`.

use super::{all_named, at, elements_of, number_at, sum, text_at, times, unusable};
use hansa_core::{
    code::Fault,
    document::{Document, Element, Node, Text},
};
use rust_decimal::Decimal;

/// The order that the demo sends, as it is kept.
pub const ORDER: &str = include_str!("../../data/order.xml");
/// The namespace of the root of an order.
pub const ORDER_NAMESPACE: &str = "urn:oasis:names:specification:ubl:schema:xsd:Order-2";

/// What the services want to know of an order.
#[derive(Clone, Debug)]
pub struct Order {
    /// The buyer's number of it.
    pub id: String,
    /// The day on which it was issued.
    pub issued: String,
    /// The currency of its amounts.
    pub currency: String,
    /// What the buyer expects to pay.
    pub payable: Decimal,
    /// Its lines.
    pub lines: Vec<Line>,
    /// The buyer, as the order describes it.
    pub buyer: Element,
}

/// One line of an order.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number.
    pub id: String,
    /// The seller's number of the item.
    pub item: String,
    /// The item's name.
    pub name: String,
    /// How much is wanted.
    pub quantity: Decimal,
    /// In which unit.
    pub unit: String,
    /// How many units a price is for.
    pub base: Decimal,
    /// The tax category of the item: its code and percentage.
    pub tax: (String, Decimal),
}

impl Order {
    /// The order in a request, wherever it stands there.
    ///
    /// # Errors
    /// There is none, or it lacks what the services need; the message names what.
    pub fn find(root: &Element) -> Result<Self, Fault> {
        let order = all_named(root, "Order")
            .into_iter()
            .find(|element| element.name.namespace.as_deref() == Some(ORDER_NAMESPACE))
            .ok_or_else(|| unusable("the request has no UBL order"))?;
        let lines = order.elements().filter(|element| *element.name.local == *"OrderLine").map(Line::read);
        let lines: Vec<Line> = lines.collect::<Result<_, _>>()?;
        if lines.is_empty() {
            return Err(unusable("the order has no lines").at(order.place));
        }
        let payable = ["AnticipatedMonetaryTotal", "PayableAmount"];
        let currency = at(order, &payable).and_then(|amount| amount.attribute("currencyID"));
        let buyer = order.child("BuyerCustomerParty");
        Ok(Self {
            id: text_at(order, &["ID"])?,
            issued: text_at(order, &["IssueDate"])?,
            currency: currency.ok_or_else(|| unusable("the order says no currency").at(order.place))?.into(),
            payable: number_at(order, &payable)?,
            lines,
            buyer: buyer.ok_or_else(|| unusable("the order has no buyer").at(order.place))?.clone(),
        })
    }

    /// How much is wanted, over all lines.
    ///
    /// # Errors
    /// The numbers are out of reach.
    pub fn wanted(&self) -> Result<Decimal, Fault> {
        sum(self.lines.iter().map(|line| line.quantity))
    }
}

impl Line {
    fn read(line: &Element) -> Result<Self, Fault> {
        let item = line.child("LineItem").ok_or_else(|| unusable("an order line has no item").at(line.place))?;
        let quantity = number_at(item, &["Quantity"])?;
        let base = match at(item, &["Price", "BaseQuantity"]) {
            Some(_) => number_at(item, &["Price", "BaseQuantity"])?,
            None => Decimal::ONE,
        };
        if quantity <= Decimal::ZERO || base <= Decimal::ZERO {
            return Err(unusable("an order line wants nothing, or less").at(line.place));
        }
        let unit = item.child("Quantity").and_then(|quantity| quantity.attribute("unitCode"));
        Ok(Self {
            id: text_at(item, &["ID"])?,
            item: text_at(item, &["Item", "SellersItemIdentification", "ID"])?,
            name: text_at(item, &["Item", "Name"])?,
            quantity,
            unit: unit.unwrap_or("EA").into(),
            base,
            tax: (
                text_at(item, &["Item", "ClassifiedTaxCategory", "ID"])?,
                number_at(item, &["Item", "ClassifiedTaxCategory", "Percent"])?,
            ),
        })
    }

    /// What `quantity` of this line costs at `price` for [`Line::base`] units, to the cent.
    ///
    /// # Errors
    /// The numbers are out of reach.
    pub fn cost(&self, quantity: Decimal, price: Decimal) -> Result<Decimal, Fault> {
        let cost = times(quantity, price)? / self.base;
        Ok(cost.round_dp_with_strategy(2, rust_decimal::RoundingStrategy::MidpointAwayFromZero))
    }
}

/// The order of `data/order.xml` under another number and, in every quantity and amount, `factor` times as large.
///
/// # Errors
/// The order that is kept cannot be read.
pub fn order_of(number: u32, factor: u32) -> Result<Text, Fault> {
    let mut document: Document = Text::parse(ORDER.as_bytes())?.tree()?;
    for element in elements_of(&mut document.root) {
        match &*element.name.local {
            "ID" => set_text(element, &format!("PO-2026-{number:06}")),
            "UUID" => set_text(element, &random_uuid()),
            _ => {}
        }
    }
    let factor = Decimal::from(factor);
    let mut open = vec![&mut document.root];
    while let Some(element) = open.pop() {
        let scaled = match &*element.name.local {
            "PriceAmount" => false,
            "Quantity" => true,
            _ => element.attribute("currencyID").is_some(),
        };
        if scaled {
            let text = element.text();
            let value: Decimal = text.trim().parse().map_err(|_| unusable("an amount of the order is no number"))?;
            set_text(element, &times(value, factor)?.to_string());
        }
        open.extend(elements_of(element));
    }
    Ok(document.to_text())
}

fn set_text(element: &mut Element, text: &str) {
    element.children = vec![Node::Text(text.to_owned())];
}

/// A random UUID, version 4.
pub(super) fn random_uuid() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let digits = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}
