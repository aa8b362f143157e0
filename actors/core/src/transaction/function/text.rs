//! The functions on texts. Characters are Unicode scalar values, and counted from one.

use super::{Call, Prepared};
use crate::{limit, transaction::value::Value};
use rust_decimal::Decimal;

type Made = Result<Value, String>;

const TOO_LONG: &str = "the text would be longer than a document may be";
const LENGTH_MAX: i64 = limit::DOCUMENT_BYTES_MAX as i64;

fn made(text: String) -> Made {
    if text.len() > limit::DOCUMENT_BYTES_MAX { Err(TOO_LONG.to_owned()) } else { Ok(Value::Text(text)) }
}

fn count(number: usize) -> Value {
    Value::Number(Decimal::from(number))
}

/// Puts texts one behind the other, if a document could hold the result.
pub(super) fn together<'a>(parts: impl Iterator<Item = &'a str> + Clone) -> Made {
    let length = parts.clone().map(str::len).fold(0, usize::saturating_add);
    if length > limit::DOCUMENT_BYTES_MAX { Err(TOO_LONG.to_owned()) } else { Ok(Value::Text(parts.collect())) }
}

fn texts<'a>(call: &Call<'a>, from: usize) -> Result<Vec<&'a str>, String> {
    (from..call.values.len()).map(|position| call.text(position)).collect()
}

pub(super) fn concat(call: &Call<'_>) -> Made {
    together(texts(call, 0)?.into_iter())
}

pub(super) fn join(call: &Call<'_>) -> Made {
    let separator = call.text(0)?;
    let parts = texts(call, 1)?;
    let separated = parts.iter().enumerate().flat_map(|(index, part)| [if index == 0 { "" } else { separator }, *part]);
    together(separated)
}

pub(super) fn substring(call: &Call<'_>) -> Made {
    let text = call.text(0)?;
    let from = call.whole(1, "from", 1, LENGTH_MAX, 1)?;
    let length = call.whole(2, "length", 0, LENGTH_MAX, LENGTH_MAX)?;
    made(text.chars().skip(from as usize - 1).take(length as usize).collect())
}

pub(super) fn length(call: &Call<'_>) -> Made {
    Ok(count(call.text(0)?.chars().count()))
}

pub(super) fn upper(call: &Call<'_>) -> Made {
    made(call.text(0)?.to_uppercase())
}

pub(super) fn lower(call: &Call<'_>) -> Made {
    made(call.text(0)?.to_lowercase())
}

pub(super) fn trim(call: &Call<'_>) -> Made {
    let words: Vec<&str> = call.text(0)?.split_whitespace().collect();
    made(words.join(" "))
}

pub(super) fn contains(call: &Call<'_>) -> Made {
    Ok(Value::Boolean(call.text(0)?.contains(call.text(1)?)))
}

pub(super) fn starts_with(call: &Call<'_>) -> Made {
    Ok(Value::Boolean(call.text(0)?.starts_with(call.text(1)?)))
}

pub(super) fn ends_with(call: &Call<'_>) -> Made {
    Ok(Value::Boolean(call.text(0)?.ends_with(call.text(1)?)))
}

pub(super) fn position(call: &Call<'_>) -> Made {
    let (text, part) = (call.text(0)?, call.text(1)?);
    Ok(count(text.find(part).map_or(0, |at| text[..at].chars().count() + 1)))
}

pub(super) fn before(call: &Call<'_>) -> Made {
    let (text, part) = (call.text(0)?, call.text(1)?);
    made(text.split_once(part).map_or("", |(before, _)| before).to_owned())
}

pub(super) fn after(call: &Call<'_>) -> Made {
    let (text, part) = (call.text(0)?, call.text(1)?);
    made(text.split_once(part).map_or("", |(_, after)| after).to_owned())
}

pub(super) fn replace(call: &Call<'_>) -> Made {
    let (text, what, with) = (call.text(0)?, call.text(1)?, call.text(2)?);
    if what.is_empty() {
        return Err("what it shall replace is empty".to_owned());
    }
    let grown = text.matches(what).count().saturating_mul(with.len());
    if text.len().saturating_add(grown) > 2 * limit::DOCUMENT_BYTES_MAX {
        return Err(TOO_LONG.to_owned());
    }
    made(text.replace(what, with))
}

pub(super) fn part(call: &Call<'_>) -> Made {
    let (text, separator) = (call.text(0)?, call.text(1)?);
    if separator.is_empty() {
        return Err("its separator is empty".to_owned());
    }
    let number = call.whole(2, "number", 1, LENGTH_MAX, 1)?;
    let part = text.split(separator).nth(number as usize - 1);
    part.map(|part| Value::Text(part.to_owned())).ok_or_else(|| format!("the text has fewer than {number} parts"))
}

pub(super) fn pad_left(call: &Call<'_>) -> Made {
    let (text, filling) = (call.text(0)?, padding(call)?);
    made(filling + text)
}

pub(super) fn pad_right(call: &Call<'_>) -> Made {
    let (text, filling) = (call.text(0)?, padding(call)?);
    made(text.to_owned() + &filling)
}

/// What brings the text to the wanted length.
fn padding(call: &Call<'_>) -> Result<String, String> {
    let length = call.whole(1, "length", 0, limit::FUNCTION_PADDING_MAX, 0)?;
    let filling = if call.values.len() > 2 { call.text(2)? } else { " " };
    let mut characters = filling.chars();
    let (Some(filling), None) = (characters.next(), characters.next()) else {
        return Err("what it shall fill with is not one character".to_owned());
    };
    let missing = (length as usize).saturating_sub(call.text(0)?.chars().count());
    Ok(std::iter::repeat_n(filling, missing).collect())
}

pub(super) fn matches(call: &Call<'_>) -> Made {
    let Some(Prepared::Pattern(pattern)) = call.prepared else { return Err("its pattern is missing".to_owned()) };
    Ok(Value::Boolean(pattern.is_match(call.text(0)?)))
}

pub(super) fn string(call: &Call<'_>) -> Made {
    call.values.first().map(|value| Value::Text(value.to_string())).ok_or_else(|| "it has no argument".to_owned())
}
