//! Transactions from outside: looking through them, into one, back at what was recorded, and upkeep (T11, T12, T17).

use super::{PATIENCE, Place, Running};
use serde_json::Value;
use std::{
    fs,
    process::{Child, Command},
    time::{Duration, Instant},
};

const PURCHASE: &str = include_str!("../../../docs/examples/purchase.xml");
const ORDER: &str = include_str!("../../../docs/examples/order.xml");

/// A service that answers with the same document always, as a process of its own.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node that knows the purchase of the documentation.
struct Shop {
    place: Place,
    node: Running,
}

impl Shop {
    fn open() -> Self {
        let place = Place::new();
        let node = place.run(&["--organization", "Acme BV", "--city", "Rotterdam"]);
        let shop = Self { place, node };
        let definition = shop.file("purchase.xml", PURCHASE);
        shop.json(&["define", &definition]);
        shop.file("order.xml", ORDER);
        shop
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.place.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn say(&self, words: &[&str]) -> super::Said {
        self.place.say(&[&["transaction"], words].concat())
    }

    fn json(&self, words: &[&str]) -> Value {
        let said = self.say(&[words, &["--json"]].concat());
        assert_eq!(said.code, 0, "{words:?}: {}{}", said.out, said.err);
        said.json()
    }

    fn fault(&self, words: &[&str]) -> String {
        self.say(&[words, &["--json"]].concat()).fault()
    }

    /// Somebody who performs every operation of the purchase.
    fn serve(&self) -> Service {
        let granted = self.file("granted.xml", include_str!("../../../docs/examples/granted.xml"));
        let mut words = vec!["service", "answer", "--service", "credit", "--with", &granted];
        let operations = operations();
        operations.iter().for_each(|operation| words.extend(["--operation", operation]));
        let mut command: Command = self.place.command(&words);
        let service = Service(command.stdout(std::process::Stdio::null()).spawn().unwrap());
        until("the service is there", || {
            let services = self.place.say(&["service", "list", "--json"]).json();
            services.as_array().unwrap().iter().any(|service| service["sessions"] == 1)
        });
        service
    }

    /// A purchase is begun; gives its id.
    fn submit(&self) -> String {
        let order = self.place.0.path().join("order.xml");
        let submitted = self.json(&["submit", "purchase", "--input", order.to_str().unwrap()]);
        submitted["transaction"].as_str().unwrap().to_owned()
    }

    fn listed(&self, words: &[&str]) -> Vec<String> {
        let all = self.json(&[&["list"], words].concat());
        all.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    }

    fn until_completed(&self, id: &str) {
        until("it is completed", || self.json(&["show", id])["state"] == "completed");
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The operations of the purchase that somebody must perform.
fn operations() -> Vec<String> {
    let names = PURCHASE.split("<NAME>").skip(2).filter_map(|rest| rest.split_once("</NAME>"));
    let names = names.map(|(name, _)| name.to_owned());
    names.filter(|name| !name.starts_with("CXts")).collect()
}

#[test]
fn a_transaction_is_looked_at_proven_and_purged() {
    let shop = Shop::open();
    let service = shop.serve();
    let (id, other) = (shop.submit(), shop.submit());
    shop.until_completed(&id);
    shop.until_completed(&other);

    let shown = shop.json(&["show", &id]);
    let work = shown["operations"].as_array().unwrap().iter().find(|one| one["name"] == operations()[0].as_str());
    assert!(work.unwrap()["input"].is_string() && work.unwrap()["output"].is_string(), "{shown}");

    let history = shop.json(&["history", &id]);
    assert_eq!(history["beginning_dropped"], false);
    let entries = history["entries"].as_array().unwrap();
    let words: Vec<&str> = entries
        .iter()
        .flat_map(|entry| entry["records"].as_array().unwrap())
        .map(|record| record["words"].as_str().unwrap())
        .collect();
    assert!(words[0].starts_with("submitted: purchase"), "{words:?}");
    assert!(words.last().unwrap().starts_with("the transaction completed"), "{words:?}");
    assert!(entries.iter().all(|entry| entry["hash"].as_str().unwrap().len() == 64));
    assert!(shop.say(&["history", &id]).out.contains("asked of credit"));

    let replayed = shop.json(&["replay", &id]);
    assert_eq!((&replayed["difference"], &replayed["entries"]), (&Value::Null, &Value::from(entries.len())));
    let said = shop.say(&["replay", &id]).out;
    assert!(said.contains("is the stored transaction") && said.contains("decides the same"), "{said}");

    assert_eq!(shop.json(&["purge", &id])["transaction"], id.as_str());
    for gone in [["show", &id], ["history", &id], ["replay", &id], ["purge", &id]] {
        assert_eq!(shop.fault(&gone), "transaction-unknown");
    }
    // What was purged does not come back with the next start, though the journal has it still.
    drop(service);
    assert_eq!(shop.place.say(&["stop"]).code, 0);
    let Shop { place, mut node } = shop;
    assert_eq!(node.ended(), 0);
    let shop = Shop { node: place.run(&[]), place };
    assert_eq!(shop.listed(&[]), [other]);
    assert_eq!(shop.json(&["purge", "--ended-before", "0s"])["purged"], 1);
    assert_eq!(shop.listed(&[]), [""; 0]);
    drop(shop.node);
}

#[test]
fn a_list_has_what_fits_everything_that_is_said() {
    let shop = Shop::open();
    let waiting = shop.submit();
    let service = shop.serve();
    let completed = shop.submit();
    shop.until_completed(&completed);
    shop.until_completed(&waiting);
    drop(service);
    let open = shop.submit();
    let all = vec![open.clone(), completed.clone(), waiting.clone()];
    let ended = vec![completed.clone(), waiting.clone()];
    let first = operations()[0].clone();
    let in_state = |state: &str| format!("{first}={state}");
    let cases: [(&[&str], &[String]); 14] = [
        (&[], &all),
        (&["--limit", "1"], &all[..1]),
        (&["--state", "completed"], &ended),
        (&["--state", "running"], &all[..1]),
        (&["--state", "failed"], &[]),
        (&["--definition", "purchase"], &all),
        (&["--definition", "sale"], &[]),
        (&["--since", "1h"], &all),
        (&["--until", "1h"], &[]),
        (&["--operation", &first, "--limit", "2"], &all[..2]),
        (&["--operation", &in_state("completed")], &ended),
        (&["--operation", "=failed"], &[]),
        (&["--organization", "Acme BV", "--state", "completed"], &ended),
        (&["--text", "no such words"], &[]),
    ];
    for (words, expected) in cases {
        assert_eq!(shop.listed(words), expected, "{words:?}");
    }
    let text = ORDER.split('>').nth(2).unwrap().split('<').next().unwrap().trim();
    assert!(!text.is_empty() && shop.listed(&["--text", text]) == all, "'{text}' stands in every order");
    assert_eq!(shop.fault(&["list", "--organization", "Nobody"]), "member-unknown");
    assert_eq!(shop.say(&["list", "--since", "yesterday"]).code, 2);
}

#[test]
fn open_transactions_are_recovered_and_cancelled_and_not_purged() {
    let shop = Shop::open();
    let id = shop.submit();
    assert_eq!(shop.fault(&["purge", &id]), "transaction-open");
    assert_eq!(shop.json(&["recover", &id])["state"], "running");
    assert_eq!(shop.json(&["recover", "--all"])["recovered"], 1);
    assert_eq!(shop.fault(&["signal", &id, "approved"]), "signal-unknown");
    assert_eq!(shop.json(&["replay", &id])["difference"], Value::Null);
    assert_eq!(shop.json(&["cancel", &id])["state"], "cancelled");
    assert_eq!(shop.fault(&["recover", &id]), "transaction-ended");
    assert_eq!(shop.json(&["recover", "--all"])["recovered"], 0);
    assert_eq!(shop.json(&["purge", &id])["transaction"], id.as_str());
    assert_eq!(shop.say(&["recover"]).code, 2);
    assert_eq!(shop.say(&["purge"]).code, 2);
}

// T17: a dry run needs no service, and with the definition's file no node either.
#[test]
fn a_dry_run_shows_what_the_transaction_would_be() {
    let place = Place::new();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples");
    let [definition, order, answers] =
        ["purchase.xml", "order.xml", "answers.json"].map(|name| format!("{examples}/{name}"));
    let words = ["transaction", "dry-run", "purchase", "--input", &order, "--answers", &answers];
    let alone = place.say(&[&words[..], &["--definition", &definition, "--history", "--json"]].concat());
    assert_eq!(alone.code, 0, "{}{}", alone.out, alone.err);
    let alone = alone.json();
    assert_eq!(alone["transaction"]["state"], "completed");
    assert_eq!(alone["took_ms"], 1_500);
    assert_eq!((&alone["unanswered"], &alone["refused"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert!(alone["transaction"]["output"].as_str().unwrap().contains("<Granted>yes</Granted>"));
    assert!(alone["history"][0]["words"].as_str().unwrap().starts_with("submitted: purchase"));

    let shop = Shop::open();
    let said = shop.place.say(&words);
    assert!(said.code == 0 && said.out.contains("✔ 1 check-credit"), "{}{}", said.out, said.err);
    assert!(said.out.contains("It would have taken 1.5 s."), "{}", said.out);
    assert_eq!(shop.listed(&[]), [""; 0], "nothing was begun");

    let silent = shop.file("silent.json", "{}");
    let said = shop.say(&["dry-run", "purchase", "--input", &order, "--answers", &silent]);
    assert!(said.code == 1 && said.out.contains("no answer for operation 1 check-credit of purchase"), "{}", said.out);
    let wrong = shop.file("wrong.json", "{ \"operations\": { \"check-credit\": 7 } }");
    assert_eq!(shop.fault(&["dry-run", "purchase", "--input", &order, "--answers", &wrong]), "message-malformed");
    // What would never be answered is told with where it is, and so is a list in place of an object.
    let typo = shop.file("typo.json", "{\n  \"signals\": [],\n  \"operations\": {\n    \"check-credits\": {}\n  }\n}");
    let said = shop.say(&["dry-run", "purchase", "--input", &order, "--answers", &typo]);
    for part in ["message-malformed", "typo.json", "operations.check-credits", "line 4", "did you mean 'check-credit'?"]
    {
        assert!(said.code == 1 && said.err.contains(part), "no '{part}' in {}", said.err);
    }
    let list = shop.file("list.json", "[]");
    let said = shop.say(&["dry-run", "purchase", "--input", &order, "--answers", &list]);
    assert!(said.code == 1 && said.err.contains("expected an object") && said.err.contains("line 1"), "{}", said.err);
    assert_eq!(shop.fault(&["dry-run", "sale", "--input", &order, "--answers", &answers]), "definition-unknown");
}

// T17: what waits for a signal goes on with it, once; and the whole is proven and shown.
#[test]
fn a_signal_from_the_command_line_lets_a_transaction_go_on() {
    let shop = Shop::open();
    let link = |from: u32, to: u32| format!("<OPLINK><SRCOPID>{from}</SRCOPID><DSTOPID>{to}</DSTOPID></OPLINK>");
    let definition = format!(
        "<TRANSACTION xmlns:hx=\"urn:hansa:transaction:1\"><NAME>purchase</NAME>\
         <OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID>{}</OPERATION>\
         <OPERATION><NAME>approval</NAME><OPID>1</OPID>{}<hx:SIGNAL>approved</hx:SIGNAL></OPERATION>\
         <OPERATION><NAME>CXtsTailOp</NAME><OPID>2</OPID><JOIN><DOCUMENT><OPID>1</OPID>\
         <OPDOCIOTYPE>OUTPUT</OPDOCIOTYPE></DOCUMENT></JOIN></OPERATION></TRANSACTION>",
        link(0, 1),
        link(1, 2)
    );
    shop.json(&["define", &shop.file("waits.xml", &definition)]);
    let id = shop.submit();
    assert_eq!(shop.listed(&["--operation", "approval=running"]), [id.as_str()]);
    assert!(shop.say(&["show", &id]).out.contains("signal approved"));
    assert_eq!(shop.fault(&["signal", &id, "denied"]), "signal-unknown");
    let document = shop.file("yes.xml", "<Approval>yes</Approval>");
    let signal = ["signal", &id, "approved", "--document", &document];
    assert_eq!(shop.json(&signal)["repeated"], false);
    shop.until_completed(&id);
    assert_eq!(shop.json(&signal)["repeated"], true);
    assert_eq!(shop.fault(&["signal", &id, "approved"]), "signal-conflict");
    let shown = shop.json(&["show", &id]);
    assert!(shown["output"].as_str().unwrap().contains("<Approval>yes</Approval>"), "{shown}");
    assert_eq!(shown["signals"][0]["name"], "approved");
    assert_eq!(shop.json(&["replay", &id])["difference"], Value::Null);
}
