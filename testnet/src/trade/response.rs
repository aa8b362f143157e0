//! Writes a UBL 2.1 OrderResponse, its elements in the sequence of the schema, its sums right to the cent.

use super::{
    Decimal, at,
    buyer::{quantities_in, total},
    money,
    order::{Line, Order, random_uuid},
    supplier::day_after,
    text_at, times, unusable,
};
use hansa_core::{
    code::Fault,
    document::{Document, Element, Name, Text},
    moment::Moment,
};
use std::collections::BTreeMap;

/// The namespace of the root of an order response.
pub const RESPONSE_NAMESPACE: &str = "urn:oasis:names:specification:ubl:schema:xsd:OrderResponse-2";
const AGGREGATES: &str = "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2";
const BASICS: &str = "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2";

/// What an order is answered with.
pub(super) enum Answer<'d> {
    /// A supplier has confirmed it.
    Confirmed(&'d Element),
    /// Nobody has everything; it is on the list.
    BackOrdered {
        /// What was booked.
        back_order: &'d Element,
        /// Who has most of it.
        seller: Option<String>,
    },
    /// It was not even asked for.
    Refused(&'static str),
}

fn basic(local: &str, text: &str) -> Element {
    let mut element = Element::new(local);
    element.name = Name::within(BASICS, "cbc", local);
    element.with_text(text)
}

fn aggregate(local: &str, children: impl IntoIterator<Item = Element>) -> Element {
    let mut element = Element::new(local);
    element.name = Name::within(AGGREGATES, "cac", local);
    children.into_iter().fold(element, Element::with_child)
}

fn amount(local: &str, value: Decimal, currency: &str) -> Element {
    basic(local, &money(value)).with_attribute("currencyID", currency)
}

/// A line as it is answered.
struct Answered<'o> {
    line: &'o Line,
    quantity: Decimal,
    price: Decimal,
    cost: Decimal,
    back_ordered: Decimal,
}

/// The response to `order`. Its number is made of the order's and `suffix`.
pub(super) fn write(order: &Order, answer: &Answer<'_>, suffix: &str, now: Moment) -> Result<Text, Fault> {
    let (seller, note, delivery) = match answer {
        Answer::Confirmed(confirmation) => {
            let seller = text_at(confirmation, &["Organization"])?;
            let note = format!("Confirmed by {seller} as {}", text_at(confirmation, &["Reservation"])?);
            (seller, note, Some(text_at(confirmation, &["DeliveryDate"])?))
        }
        Answer::BackOrdered { back_order, seller } => {
            let note = format!("Not in stock anywhere; on back-order as {}", text_at(back_order, &["Number"])?);
            let seller = seller.clone().unwrap_or_else(|| "not yet known".into());
            (seller, note, Some(text_at(back_order, &["ExpectedDate"])?))
        }
        Answer::Refused(reason) => ("not asked".to_owned(), format!("Refused: {reason}"), None),
    };
    let lines = answered_lines(order, answer)?;
    let complete = lines.iter().all(|it| it.quantity == it.line.quantity);
    let code = match answer {
        Answer::Refused(_) => "RE",
        _ if complete => "AP",
        _ => "CA",
    };
    let time = now.to_string();
    let mut response = Element::new("OrderResponse")
        .with_namespace("", RESPONSE_NAMESPACE)
        .with_declaration("cac", AGGREGATES)
        .with_declaration("cbc", BASICS)
        .with_child(basic("UBLVersionID", "2.1"))
        .with_child(basic("ID", &format!("OR-{}-{suffix}", order.id)))
        .with_child(basic("CopyIndicator", "false"))
        .with_child(basic("UUID", &random_uuid()))
        .with_child(basic("IssueDate", &day_after(now, 0)))
        .with_child(basic("IssueTime", &format!("{}Z", &time[11..19])))
        .with_child(basic("OrderResponseCode", code))
        .with_child(basic("Note", &note).with_attribute("languageID", "en"))
        .with_child(basic("DocumentCurrencyCode", &order.currency))
        .with_child(basic("LineCountNumeric", &lines.len().to_string()))
        .with_child(aggregate("OrderReference", [basic("ID", &order.id), basic("IssueDate", &order.issued)]))
        .with_child(aggregate(
            "SellerSupplierParty",
            [aggregate("Party", [aggregate("PartyName", [basic("Name", &seller)])])],
        ))
        .with_child(order.buyer.clone());
    if let Some(day) = &delivery {
        let period = aggregate("PromisedDeliveryPeriod", [basic("StartDate", day), basic("EndDate", day)]);
        response = response.with_child(aggregate("Delivery", [period]));
    }
    let costs: Vec<_> = lines.iter().map(|it| it.cost).collect();
    let net = total(&costs)?;
    let (tax, tax_total) = tax_of(&lines, &order.currency)?;
    response = response.with_child(tax_total).with_child(aggregate(
        "LegalMonetaryTotal",
        [
            amount("LineExtensionAmount", net, &order.currency),
            amount("TaxExclusiveAmount", net, &order.currency),
            amount("TaxInclusiveAmount", net + tax, &order.currency),
            amount("PayableAmount", net + tax, &order.currency),
        ],
    ));
    let response = lines.iter().fold(response, |it, line| it.with_child(line_element(line, &order.currency)));
    Ok(Document::from(response).to_text())
}

fn answered_lines<'o>(order: &'o Order, answer: &Answer<'_>) -> Result<Vec<Answered<'o>>, Fault> {
    let confirmed = match answer {
        Answer::Confirmed(confirmation) => quantities_in(confirmation)?,
        _ => Vec::new(),
    };
    let mut confirmed: BTreeMap<String, (Decimal, Decimal)> =
        confirmed.into_iter().map(|(id, quantity, price)| (id, (quantity, price))).collect();
    let lines = order.lines.iter().map(|line| {
        let (quantity, price) = confirmed.remove(&line.id).unwrap_or_default();
        let back_ordered = match answer {
            Answer::Refused(_) => Decimal::ZERO,
            _ => line.quantity - quantity.min(line.quantity),
        };
        Ok(Answered { line, quantity, price, cost: line.cost(quantity, price)?, back_ordered })
    });
    let lines = lines.collect::<Result<Vec<_>, Fault>>()?;
    match confirmed.into_keys().next() {
        Some(line) => Err(unusable(format!("line {line} was confirmed and is not in the order"))),
        None => Ok(lines),
    }
}

/// The tax in all, and the element that says it by category.
fn tax_of(lines: &[Answered<'_>], currency: &str) -> Result<(Decimal, Element), Fault> {
    let mut categories: BTreeMap<(&str, Decimal), Vec<Decimal>> = BTreeMap::new();
    for it in lines {
        categories.entry((&it.line.tax.0, it.line.tax.1)).or_default().push(it.cost);
    }
    let mut taxes = Vec::new();
    let mut subtotals = Vec::new();
    for ((code, percent), costs) in categories {
        let taxable = total(&costs)?;
        let tax = (times(taxable, percent)? / Decimal::ONE_HUNDRED)
            .round_dp_with_strategy(2, rust_decimal::RoundingStrategy::MidpointAwayFromZero);
        taxes.push(tax);
        let scheme = aggregate("TaxScheme", [basic("ID", "VAT")]);
        let category = [basic("ID", code), basic("Percent", &percent.normalize().to_string()), scheme];
        subtotals.push(aggregate(
            "TaxSubtotal",
            [
                amount("TaxableAmount", taxable, currency),
                amount("TaxAmount", tax, currency),
                aggregate("TaxCategory", category),
            ],
        ));
    }
    let tax = total(&taxes)?;
    Ok((tax, aggregate("TaxTotal", std::iter::once(amount("TaxAmount", tax, currency)).chain(subtotals))))
}

/// 5: as ordered; 3: with changes; 7: not accepted (UN/CEFACT 1229, as Peppol uses it).
fn line_element(it: &Answered<'_>, currency: &str) -> Element {
    let status = match (it.quantity == it.line.quantity, it.back_ordered.is_zero()) {
        (true, _) => "5",
        (false, false) => "3",
        (false, true) => "7",
    };
    let quantity = |local: &str, value: Decimal| {
        basic(local, &value.normalize().to_string()).with_attribute("unitCode", &it.line.unit)
    };
    let mut item = vec![
        basic("ID", &it.line.id),
        basic("LineStatusCode", status),
        quantity("Quantity", it.quantity),
        amount("LineExtensionAmount", it.cost, currency),
    ];
    if !it.back_ordered.is_zero() {
        item.push(quantity("MaximumBackorderQuantity", it.back_ordered));
    }
    if !it.quantity.is_zero() {
        item.push(aggregate(
            "Price",
            [amount("PriceAmount", it.price, currency), quantity("BaseQuantity", it.line.base)],
        ));
    }
    let identification = aggregate("SellersItemIdentification", [basic("ID", &it.line.item)]);
    item.push(aggregate("Item", [basic("Name", &it.line.name), identification]));
    aggregate("OrderLine", [aggregate("LineItem", item)])
}

/// What a response says, in short: for a screen.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Its number.
    pub id: String,
    /// AP accepted, CA accepted with changes, RE refused.
    pub code: String,
    /// The note of its writer.
    pub note: String,
    /// What is to be paid, with the currency.
    pub payable: String,
    /// When it is to be delivered.
    pub delivery: Option<String>,
    /// Each line: item, quantity, what is on back-order.
    pub lines: Vec<(String, String, String)>,
}

impl Summary {
    /// Read an order response.
    ///
    /// # Errors
    /// It is none.
    pub fn read(text: &Text) -> Result<Self, Fault> {
        let document = text.tree()?;
        let root = &document.root;
        if !root.name.is(Some(RESPONSE_NAMESPACE), "OrderResponse") {
            return Err(unusable(format!("the answer is no UBL order response but a '{}'", root.name.local)));
        }
        let payable = ["LegalMonetaryTotal", "PayableAmount"];
        let currency = at(root, &payable).and_then(|it| it.attribute("currencyID")).unwrap_or_default();
        let lines = root.elements().filter(|element| *element.name.local == *"OrderLine").map(|line| {
            let back_ordered = at(line, &["LineItem", "MaximumBackorderQuantity"]).map(Element::text);
            Ok((
                text_at(line, &["LineItem", "Item", "SellersItemIdentification", "ID"])?,
                text_at(line, &["LineItem", "Quantity"])?,
                back_ordered.unwrap_or_default(),
            ))
        });
        Ok(Self {
            id: text_at(root, &["ID"])?,
            code: text_at(root, &["OrderResponseCode"])?,
            note: text_at(root, &["Note"])?,
            payable: format!("{} {currency}", text_at(root, &payable)?),
            delivery: at(root, &["Delivery", "PromisedDeliveryPeriod", "EndDate"]).map(|it| it.text()),
            lines: lines.collect::<Result<_, Fault>>()?,
        })
    }
}
