//! Where the node of a door may be found: the addresses that its user gave, and what the node itself told of the other
//! sub-node of its pair (M2, M3). It only remembers and orders; [`super::approach`] goes there.

use crate::over_http::is_url;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The addresses of one node. Everything that came from one door shares them, so that what one connection was told the next one
/// knows.
#[derive(Debug)]
pub(crate) struct Known(Mutex<Addresses>);

#[derive(Debug, Default)]
struct Addresses {
    given: Vec<String>,
    /// As the last node told that let somebody in.
    told: Vec<String>,
    /// Where somebody was sent last.
    pointed: Option<String>,
    /// Where somebody was let in last.
    reached: Option<String>,
    /// Whether it is better to look there last.
    is_doubtful: bool,
}

impl Known {
    /// Those in `text`, with commas between.
    pub(crate) fn of(text: &str) -> Self {
        let mut given: Vec<String> = Vec::new();
        for address in text.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            if !given.iter().any(|known| known == address) {
                given.push(address.to_owned());
            }
        }
        if given.is_empty() {
            // Whoever connects to it says what is wrong with it.
            given.push(text.to_owned());
        }
        Self(Mutex::new(Addresses { given, ..Addresses::default() }))
    }

    /// All of them, each once, in the order in which to try them.
    pub(crate) fn in_order(&self) -> Vec<String> {
        let known = self.lock();
        let first = known.reached.iter().filter(|_| !known.is_doubtful);
        let all = first.chain(&known.pointed).chain(&known.given).chain(&known.told).chain(&known.reached);
        let mut order: Vec<String> = Vec::new();
        for address in all {
            if !order.contains(address) {
                order.push(address.clone());
            }
        }
        order
    }

    pub(crate) fn are_several(&self) -> bool {
        self.in_order().len() > 1
    }

    /// The node at `address` let somebody in, and told of these.
    pub(crate) fn welcomed(&self, address: &str, alternates: &[String]) {
        let mut known = self.lock();
        known.reached = Some(address.to_owned());
        known.is_doubtful = false;
        // A proxy for HTTP is there because nothing else gets through.
        known.told = if is_url(address) { Vec::new() } else { alternates.to_vec() };
    }

    /// The node at `from`, or that which was reached last, sends on to `address`. Says whether that is a way.
    pub(crate) fn point(&self, from: Option<&str>, address: &str) -> bool {
        let mut known = self.lock();
        if from.or(known.reached.as_deref()).is_some_and(is_url) {
            return false;
        }
        known.pointed = Some(address.to_owned());
        known.is_doubtful = true;
        true
    }

    /// The node that was reached last does not answer any more, and trying it again would take long.
    pub(crate) fn doubt(&self) {
        self.lock().is_doubtful = true;
    }

    fn lock(&self) -> MutexGuard<'_, Addresses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For people: where the node is, or was last, or may be.
impl std::fmt::Display for Known {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.lock();
        match &known.reached {
            Some(reached) => out.write_str(reached),
            None => out.write_str(&known.given.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(|address| (*address).to_owned()).collect()
    }

    // M3: what was told is kept beside what was given, the latest counts, and the way that worked is never forgotten.
    #[test]
    fn what_was_told_is_tried_beside_what_was_given() {
        let known = Known::of("a:1, b:1,,a:1");
        assert_eq!(known.in_order(), ["a:1", "b:1"]);
        known.welcomed("b:1", &told(&["c:1"]));
        assert_eq!(known.in_order(), ["b:1", "a:1", "c:1"]);
        known.welcomed("c:1", &told(&["d:1"]));
        assert_eq!(known.in_order(), ["c:1", "a:1", "b:1", "d:1"]);
        assert!(known.point(None, "d:1"));
        assert_eq!(known.in_order(), ["d:1", "a:1", "b:1", "c:1"]);
        known.welcomed("d:1", &[]);
        assert_eq!(known.in_order(), ["d:1", "a:1", "b:1"]);
        known.doubt();
        assert_eq!(known.in_order(), ["d:1", "a:1", "b:1"], "it is the last that was pointed at as well");
        assert!(!Known::of("a:1").are_several());
        assert_eq!(Known::of(" , ").in_order(), [" , "]);
    }

    #[test]
    fn behind_a_proxy_for_http_only_what_was_given_is_a_way() {
        let known = Known::of("http://one.example,http://other.example");
        known.welcomed("http://one.example", &told(&["c:1"]));
        assert!(!known.point(None, "d:1"));
        assert!(!known.point(Some("http://other.example"), "d:1"));
        assert_eq!(known.in_order(), ["http://one.example", "http://other.example"]);
    }
}
