//! Topics from outside (T13): publish, subscribe, who is there and how far, and a node that is killed in between.

use super::{PATIENCE, Place};
use serde_json::Value;
use std::{
    fs,
    process::{Child, Stdio},
    time::Instant,
};

struct Exchange(Place);

impl Exchange {
    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.0.say(&[&["topic"], arguments, &["--json"]].concat());
        assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
        said.json()
    }

    fn publish(&self, what: &str) -> Value {
        let file = self.0.0.path().join("price.xml");
        fs::write(&file, format!("<Price>{what}</Price>")).unwrap();
        self.json(&["publish", "prices", "--document", file.to_str().unwrap()])
    }

    fn subscribe(&self, count: &str) -> Child {
        let mut command =
            self.0.command(&["topic", "subscribe", "prices", "--subscriber", "audit", "--count", count, "--json"]);
        command.stdout(Stdio::piped()).spawn().unwrap()
    }

    /// The one subscriber of the topic, once it is there or gone.
    fn subscriber(&self, connected: bool) -> Value {
        let begun = Instant::now();
        loop {
            let topics = self.json(&["list"]);
            let subscriber = topics[0]["subscribers"][0].clone();
            if subscriber["connected"] == connected {
                return subscriber;
            }
            assert!(begun.elapsed() < PATIENCE, "{topics}");
        }
    }
}

fn documents(child: Child) -> Vec<String> {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    let each = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    each.map(|line| line["document"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_published_comes_to_a_subscriber_also_after_it_was_away_and_the_node_was_killed() {
    let place = Place::new();
    let node = place.run(&["--organization", "Acme BV", "--city", "Rotterdam"]);
    let exchange = Exchange(place);
    assert_eq!(exchange.json(&["list"]), Value::Array(Vec::new()));
    assert_eq!(exchange.0.say(&["topic", "show", "prices", "--json"]).fault(), "topic-unknown");

    let reader = exchange.subscribe("2");
    assert_eq!(exchange.subscriber(true)["subscriber"], "audit");
    let first = exchange.publish("1");
    exchange.publish("2");
    assert_eq!(documents(reader), ["<Price>1</Price>", "<Price>2</Price>"]);
    assert_eq!(exchange.subscriber(false)["lag"], 0, "what was printed was acknowledged");

    exchange.publish("3");
    let file = exchange.0.0.path().join("price.xml");
    fs::write(&file, "<Price>1</Price>").unwrap();
    let id = first["publication"].as_str().unwrap();
    let again = exchange.json(&["publish", "prices", "--document", file.to_str().unwrap(), "--id", id]);
    assert_eq!(again["repeated"], true);
    drop(node);
    fs::remove_file(exchange.0.data().join("listening.json")).unwrap();
    let _node = exchange.0.run(&[]);
    assert_eq!(exchange.subscriber(false)["lag"], 1);
    assert_eq!(documents(exchange.subscribe("1")), ["<Price>3</Price>"]);

    let shown = exchange.0.say(&["topic", "show", "prices"]);
    assert!(shown.out.contains("audit") && shown.out.contains("PRESENCE"), "{}", shown.out);
    exchange.json(&["unsubscribe", "prices", "--subscriber", "audit"]);
    assert_eq!(exchange.json(&["list"]), Value::Array(Vec::new()));
}
