//! What a user of `hansa pair` meets: codes that open nothing, folders that stay as they were, and a node without a mirror.

use super::Place;
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use serde_bytes::ByteBuf;
use std::fs;

/// A pairing code as the program writes it, by its documented form.
fn code(expires: u64) -> String {
    #[derive(Serialize)]
    struct PairingCode {
        active: ByteBuf,
        addresses: Vec<String>,
        secret: ByteBuf,
        expires: u64,
    }
    let code = PairingCode {
        active: ByteBuf::from(ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes()),
        addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned()],
        secret: ByteBuf::from([8; 32]),
        expires,
    };
    let mut bytes = Vec::new();
    ciborium::into_writer(&code, &mut bytes).unwrap();
    let hash = blake3::hash(&bytes);
    bytes.extend(&hash.as_bytes()[..4]);
    format!("hansa-pair-{}", BASE64URL_NOPAD.encode(&bytes))
}

#[test]
fn a_code_that_opens_nothing_leaves_nothing_behind() {
    let place = Place::new();
    let join = |code: &str, more: &[&str]| {
        let words: Vec<&str> = ["pair", "join", code, "--json"].iter().chain(more).copied().collect();
        place.say(&words).fault()
    };
    assert_eq!(join("hansa-pair-broken", &["--city", "Hamburg"]), "pairing-malformed");
    assert_eq!(join(&code(1), &["--city", "Hamburg"]), "pairing-expired");
    // Nobody listens there.
    assert_eq!(join(&code(u64::MAX / 4), &["--city", "Hamburg"]), "peer-unreachable");
    assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 0);
}

#[test]
fn an_organization_that_is_there_is_not_replaced_by_a_pair() {
    let place = Place::new();
    place.init();
    let key = fs::read(place.data().join("organization.key")).unwrap();
    let said = place.say(&["pair", "join", &code(u64::MAX / 4), "--city", "Hamburg", "--json"]);
    assert_eq!(said.fault(), "data-exists");
    assert_eq!(fs::read(place.data().join("organization.key")).unwrap(), key);
}

#[test]
fn a_node_without_a_mirror_says_so_and_how_to_get_one() {
    let place = Place::new();
    let _node = place.run(&["--organization", "Acme BV", "--city", "Rotterdam"]);
    let status = place.say(&["pair", "status", "--json"]).json();
    assert_eq!((&status["role"], &status["mode"]), (&"single".into(), &"single".into()));
    assert_eq!(status["active"]["city"], "Rotterdam");
    assert!(status["mirror"].is_null() && status["committed"] == status["tail"], "{status}");
    let said = place.say(&["pair", "status"]);
    assert!(said.code == 0 && said.out.contains("no mirror") && said.out.contains("hansa pair init"), "{}", said.out);
    for command in ["switch", "end"] {
        assert_eq!(place.say(&["pair", command, "--json"]).fault(), "pair-not-ready");
    }
    let found = place.say(&["doctor", "--json"]).json();
    let pair = found.as_array().unwrap().iter().find(|finding| finding["check"] == "pair").unwrap().clone();
    assert!(pair["state"] == "well" && pair["advice"].as_str().unwrap().contains("hansa pair join"), "{pair}");
}
