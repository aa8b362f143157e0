//! Where two machines differ, for whoever compares one that was made anew with the one that is stored. It decides how the
//! first difference is told, and must not know what a machine means.

use ciborium::Value;
use serde::Serialize;

/// Characters of a value that are shown.
const SHOWN_MAX: usize = 120;

/// The first difference between two values, and where it is; none if there is none.
pub(crate) fn first_difference<T: Serialize>(stored: &T, anew: &T) -> Option<String> {
    let value = |of: &T| Value::serialized(of).expect("a machine can be serialized");
    let (stored, anew) = (value(stored), value(anew));
    let mut path = Vec::new();
    descend(&mut path, &stored, &anew).map(|(stored, anew)| {
        let place = if path.is_empty() { "the machine".to_owned() } else { path.join("/") };
        format!("{place}: stored is {}, and the records make {}", shown(stored), shown(anew))
    })
}

/// Go down to the first two parts that differ. Machines nest no deeper than their types, so this recursion is bounded.
fn descend<'a>(
    path: &mut Vec<String>,
    stored: &'a Value,
    anew: &'a Value,
) -> Option<(Option<&'a Value>, Option<&'a Value>)> {
    match (stored, anew) {
        _ if stored == anew => None,
        (Value::Array(ours), Value::Array(theirs)) => {
            for place in 0..ours.len().max(theirs.len()) {
                path.push(place.to_string());
                if let Some(found) = step(path, ours.get(place), theirs.get(place)) {
                    return Some(found);
                }
                path.pop();
            }
            None
        }
        (Value::Map(ours), Value::Map(theirs)) => {
            let only_theirs = theirs.iter().filter(|(key, _)| !ours.iter().any(|(other, _)| other == key));
            let pairs = ours.iter().map(|(key, value)| (key, Some(value)));
            for (key, value) in pairs.chain(only_theirs.map(|(key, _)| (key, None))) {
                let other = theirs.iter().find(|(other, _)| other == key).map(|(_, value)| value);
                path.push(name(key));
                if let Some(found) = step(path, value, other) {
                    return Some(found);
                }
                path.pop();
            }
            None
        }
        _ => Some((Some(stored), Some(anew))),
    }
}

fn step<'a>(
    path: &mut Vec<String>,
    stored: Option<&'a Value>,
    anew: Option<&'a Value>,
) -> Option<(Option<&'a Value>, Option<&'a Value>)> {
    match (stored, anew) {
        (Some(stored), Some(anew)) => descend(path, stored, anew),
        (None, None) => None,
        one_is_missing => Some(one_is_missing),
    }
}

fn name(key: &Value) -> String {
    match key {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => i128::from(*number).to_string(),
        other => shown(Some(other)),
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None => return "nothing".to_owned(),
        Some(Value::Text(text)) => format!("{text:?}"),
        Some(Value::Integer(number)) => i128::from(*number).to_string(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::Null) => "nothing".to_owned(),
        Some(other) => format!("{other:?}"),
    };
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::first_difference;
    use std::collections::BTreeMap;

    #[test]
    fn the_first_difference_is_told_with_its_place() {
        let one = BTreeMap::from([("a", vec![1, 2, 3]), ("b", vec![4])]);
        assert_eq!(first_difference(&one, &one), None);
        let mut other = one.clone();
        other.insert("a", vec![1, 7, 3]);
        let told = first_difference(&one, &other).unwrap();
        assert_eq!(told, "a/1: stored is 2, and the records make 7");
        other.insert("a", vec![1, 2]);
        assert_eq!(first_difference(&one, &other).unwrap(), "a/2: stored is 3, and the records make nothing");
        other.insert("a", vec![1, 2, 3]);
        other.insert("c", vec![]);
        assert!(first_difference(&one, &other).unwrap().starts_with("c: stored is nothing"));
    }

    #[test]
    fn a_long_value_is_shown_by_its_beginning() {
        let told = first_difference(&"x".repeat(1_000), &"ü".repeat(1_000)).unwrap();
        assert!(told.len() < 500, "{told}");
    }
}
