//! The trade as a whole: the order is one that the schema allows and whose sums are right, and the services answer it.

use super::{
    Call, all_named, at,
    buyer::Buyer,
    number_at,
    order::{ORDER, Order, order_of},
    response::Summary,
    role::shelves,
    supplier::Supplier,
};
use hansa_core::{
    document::{Document, Element, Text},
    moment::Moment,
};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet};

const NOW: Moment = Moment(1_795_392_000_000);

fn root_of(text: &Text) -> Element {
    text.tree().unwrap().root
}

/// What the schemas prescribe: for each element its children in order, each with its marks.
fn sequences() -> BTreeMap<&'static str, Vec<(&'static str, bool, bool)>> {
    let mut sequences = BTreeMap::new();
    for line in include_str!("../../data/ubl-2.1-sequences.txt").lines().filter(|line| !line.starts_with('#')) {
        let (elements, children) = line.split_once(": ").unwrap();
        let child = |word: &'static str| (word.trim_end_matches(['!', '*']), word.contains('!'), word.contains('*'));
        let children: Vec<_> = children.split(' ').map(child).collect();
        sequences.extend(elements.split(' ').map(|element| (element, children.clone())));
    }
    sequences
}

/// Whether every aggregate below has exactly the children that its schema allows, in their order.
fn assert_schema(element: &Element, sequences: &BTreeMap<&str, Vec<(&str, bool, bool)>>) {
    let name = &*element.name.local;
    let Some(sequence) = sequences.get(name) else {
        assert_eq!(element.elements().count(), 0, "{name} has children and no sequence is known for it");
        assert!(!element.text().trim().is_empty(), "{name} is empty");
        return;
    };
    let mut allowed = sequence.iter().peekable();
    for child in element.elements() {
        let local = &*child.name.local;
        while allowed.peek().is_some_and(|(other, ..)| *other != local) {
            allowed.next();
        }
        let (.., repeated) = allowed.peek().unwrap_or_else(|| panic!("{local} is not allowed here in {name}"));
        if !repeated {
            allowed.next();
        }
        assert_schema(child, sequences);
    }
    for (child, ..) in sequence.iter().filter(|(_, mandatory, _)| *mandatory) {
        assert!(element.child(child).is_some(), "{name} must have {child}");
    }
}

/// Recompute every sum of an order.
fn assert_sums(order: &Element) {
    let number = |path: &[&str]| number_at(order, path).unwrap();
    let mut by_category: BTreeMap<String, Decimal> = BTreeMap::new();
    let mut lines = Decimal::ZERO;
    for line in all_named(order, "LineItem") {
        let of = |path: &[&str]| number_at(line, path).unwrap();
        let extension = of(&["LineExtensionAmount"]);
        let exact = of(&["Quantity"]) * of(&["Price", "PriceAmount"]) / of(&["Price", "BaseQuantity"]);
        assert_eq!(extension, exact, "line {}", of(&["ID"]));
        lines += extension;
        *by_category.entry(at(line, &["Item", "ClassifiedTaxCategory", "ID"]).unwrap().text()).or_default() +=
            extension;
    }
    let (mut allowances, mut charges) = (Decimal::ZERO, Decimal::ZERO);
    for it in order.elements().filter(|it| *it.name.local == *"AllowanceCharge") {
        let amount = number_at(it, &["Amount"]).unwrap();
        let category = by_category.get_mut(&at(it, &["TaxCategory", "ID"]).unwrap().text()).unwrap();
        if it.child("ChargeIndicator").unwrap().text() == "true" {
            charges += amount;
            *category += amount;
        } else {
            allowances += amount;
            *category -= amount;
        }
    }
    let mut tax = Decimal::ZERO;
    let subtotals = all_named(order, "TaxSubtotal");
    assert_eq!(subtotals.len(), by_category.len());
    for it in subtotals {
        let of = |path: &[&str]| number_at(it, path).unwrap();
        assert_eq!(of(&["TaxableAmount"]), by_category[&at(it, &["TaxCategory", "ID"]).unwrap().text()]);
        let exact = of(&["TaxableAmount"]) * of(&["TaxCategory", "Percent"]) / Decimal::ONE_HUNDRED;
        assert_eq!(of(&["TaxAmount"]), exact.round_dp(2));
        tax += of(&["TaxAmount"]);
    }
    let of_total = |local: &str| number(&["AnticipatedMonetaryTotal", local]);
    assert_eq!(number(&["TaxTotal", "TaxAmount"]), tax);
    assert_eq!(of_total("LineExtensionAmount"), lines);
    assert_eq!(of_total("AllowanceTotalAmount"), allowances);
    assert_eq!(of_total("ChargeTotalAmount"), charges);
    assert_eq!(of_total("TaxExclusiveAmount"), lines - allowances + charges);
    assert_eq!(of_total("TaxInclusiveAmount"), lines - allowances + charges + tax);
    assert_eq!(of_total("PayableAmount"), of_total("TaxInclusiveAmount"));
    for it in all_named(order, "PayableAmount") {
        assert_eq!(it.attribute("currencyID"), Some("EUR"));
    }
}

#[test]
fn the_order_has_the_elements_of_the_schema_in_its_sequence() {
    let order = root_of(&Text::parse(ORDER.as_bytes()).unwrap());
    assert_schema(&order, &sequences());
    assert_eq!(all_named(&order, "OrderLine").len(), 10);
    assert_eq!(number_at(&order, &["LineCountNumeric"]).unwrap(), Decimal::TEN);
}

#[test]
fn the_sums_of_an_order_are_right_to_the_cent_at_any_size() {
    assert_sums(&root_of(&Text::parse(ORDER.as_bytes()).unwrap()));
    for factor in [1, 3, 10] {
        let order = order_of(5_000 + factor, factor).unwrap();
        assert_sums(&root_of(&order));
        assert_schema(&root_of(&order), &sequences());
        assert_eq!(Order::find(&root_of(&order)).unwrap().id, format!("PO-2026-{:06}", 5_000 + factor));
    }
}

#[test]
fn the_check_digits_of_item_and_location_numbers_are_right() {
    let order = root_of(&Text::parse(ORDER.as_bytes()).unwrap());
    let mut checked = BTreeSet::new();
    for element in all_named(&order, "ID").into_iter().chain(all_named(&order, "EndpointID")) {
        if matches!(element.attribute("schemeID"), Some("0160" | "0088")) {
            let digits: Vec<u32> = element.text().chars().map(|digit| digit.to_digit(10).unwrap()).collect();
            let weighted =
                digits.iter().rev().enumerate().map(|(place, digit)| digit * if place % 2 == 0 { 1 } else { 3 });
            assert_eq!(weighted.sum::<u32>() % 10, 0, "{}", element.text());
            checked.insert(element.text());
        }
    }
    assert_eq!(checked.len(), 13, "ten items and three places, each with a number of its own");
}

fn call(operation: &str, key: &str, documents: &[&Text]) -> Call {
    // As a default JOIN or a broadcast wraps them.
    let inside: String = documents.iter().map(|document| document.without_declaration()).collect();
    let document = Text::parse(format!("<Documents xmlns='urn:hansa:data:1'>{inside}</Documents>").as_bytes()).unwrap();
    Call { key: key.into(), transaction: "T".into(), operation: operation.into(), document }
}

fn birch() -> Supplier {
    Supplier::new("Birch & Söhne", 5, shelves(9, 96, &["GRS-EP2-18"]))
}

fn cedar() -> Supplier {
    Supplier::new("Cedar Supply", 9, shelves(9, 103, &[]))
}

#[test]
fn the_cheapest_of_those_who_have_everything_is_chosen_and_the_order_confirmed() {
    let buyer = Buyer::new(Decimal::from(250_000));
    let (birch, cedar) = (birch(), cedar());
    let order = order_of(1, 1).unwrap();
    let credit = buyer.check_credit(&call("check-credit", "1", &[&order])).unwrap();
    assert_eq!(at(&root_of(&credit), &["Approved"]).unwrap().text(), "true");
    let stocks = [&birch, &cedar].map(|it| it.check_stock(&call("check-stock", "2", &[&order])).unwrap());
    let choice = buyer.choose_supplier(&call("choose-supplier", "3", &[&order, &stocks[0], &stocks[1]])).unwrap();
    let chosen = root_of(&choice);
    // Birch is cheaper and lacks the grease.
    assert_eq!(at(&chosen, &["Organization"]).unwrap().text(), "Cedar Supply");
    assert_eq!(number_at(&chosen, &["Quantity"]).unwrap(), number_at(&chosen, &["Wanted"]).unwrap());
    let before = cedar.units();
    let confirm = call("confirm-order", "4", &[&order, &choice]);
    let confirmation = cedar.confirm_order(&confirm, NOW).unwrap();
    assert_eq!(before - cedar.units(), Decimal::from(12_336));
    assert!(birch.confirm_order(&confirm, NOW).is_err(), "an order for another is refused");
    let written = call("write-response", "5", &[&order, &choice, &confirmation]);
    let response = buyer.write_response(&written, NOW).unwrap();
    assert_schema(&root_of(&response), &sequences());
    let summary = Summary::read(&response).unwrap();
    assert_eq!((summary.code.as_str(), summary.lines.len()), ("AP", 10));
    // 16,000.00 and 3 % of it, as far as the prices to the cent go, and tax.
    let net = number_at(&root_of(&response), &["LegalMonetaryTotal", "LineExtensionAmount"]).unwrap();
    let sum: Decimal = all_named(&root_of(&response), "LineItem")
        .into_iter()
        .map(|line| number_at(line, &["LineExtensionAmount"]).unwrap())
        .sum();
    assert!(net == sum && (net - Decimal::from(16_480)).abs() < Decimal::from(25), "{net}");
}

#[test]
fn what_nobody_has_goes_to_back_order() {
    let buyer = Buyer::new(Decimal::from(250_000));
    let order = order_of(2, 10).unwrap();
    let stocks = [birch(), cedar()].map(|it| it.check_stock(&call("check-stock", "2", &[&order])).unwrap());
    let choice = buyer.choose_supplier(&call("choose-supplier", "3", &[&order, &stocks[0], &stocks[1]])).unwrap();
    let chosen = root_of(&choice);
    assert_eq!(at(&chosen, &["Complete"]).unwrap().text(), "false");
    assert!(number_at(&chosen, &["Quantity"]).unwrap() < number_at(&chosen, &["Wanted"]).unwrap());
    let booked = buyer.book_back_order(&call("book-back-order", "4", &[&order, &choice]), NOW).unwrap();
    let response = buyer.write_response(&call("write-response", "5", &[&order, &choice, &booked]), NOW).unwrap();
    assert_schema(&root_of(&response), &sequences());
    let summary = Summary::read(&response).unwrap();
    assert_eq!(summary.code, "CA");
    assert_eq!(summary.lines[0], ("BR-6204-2RS".into(), "0".into(), "4000".into()));
}

#[test]
fn an_order_beyond_the_credit_limit_is_refused_with_a_response() {
    let buyer = Buyer::new(Decimal::from(10_000));
    let order = order_of(3, 1).unwrap();
    let credit = buyer.check_credit(&call("check-credit", "1", &[&order])).unwrap();
    let response = buyer.write_response(&call("write-response", "2", &[&order, &credit]), NOW).unwrap();
    assert_schema(&root_of(&response), &sequences());
    assert_eq!(Summary::read(&response).unwrap().code, "RE");
}

// DESIGN invariant 4: performed at most once per idempotency key.
#[test]
fn a_repeated_invocation_has_no_second_effect_and_the_same_answer() {
    let cedar = cedar();
    let confirm = call("confirm-order", "key", &[&order_of(1, 1).unwrap()]);
    let first = cedar.confirm_order(&confirm, NOW).unwrap();
    let units = cedar.units();
    assert_eq!(cedar.confirm_order(&confirm, NOW.plus_ms(86_400_000)).unwrap(), first);
    assert_eq!(cedar.units(), units);
    let account = cedar.ledger.account();
    assert_eq!((account.effects_of("T", "confirm-order"), account.repeated), (1, 1));
    assert!(account.doubled().is_empty());
    cedar.confirm_order(&Call { key: "another".into(), ..confirm }, NOW).unwrap();
    assert_eq!(cedar.ledger.account().doubled(), ["confirm-order of T: 2 times"]);
}

#[test]
fn a_document_that_cannot_be_worked_with_is_refused_in_words() {
    let (buyer, cedar) = (Buyer::new(Decimal::ONE), cedar());
    let nothing = Text::parse(b"<Nothing/>").unwrap();
    let no_order = call("check-stock", "1", &[&nothing]);
    assert!(cedar.check_stock(&no_order).unwrap_err().message.contains("no UBL order"));
    assert!(buyer.choose_supplier(&call("choose-supplier", "1", &[&order_of(1, 1).unwrap()])).is_err());
    let huge = ORDER.replace(">400</cbc:Quantity>", ">79228162514264337593543950335</cbc:Quantity>");
    let huge = Text::parse(huge.as_bytes()).unwrap();
    assert!(Document::parse(huge.as_str().as_bytes(), &Default::default()).is_ok());
    for wrong in [huge, Text::parse(ORDER.replace(">400<", ">much<").as_bytes()).unwrap()] {
        assert!(buyer.choose_supplier(&call("choose-supplier", "1", &[&wrong])).is_err());
        let _ = cedar.check_stock(&call("check-stock", "1", &[&wrong]));
    }
}
