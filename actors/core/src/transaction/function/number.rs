//! The functions on numbers: exact decimals of up to 28 digits, rounded as merchants do.

use super::Call;
use crate::{
    limit,
    transaction::value::{self, Value},
};
use rust_decimal::{Decimal, RoundingStrategy};

type Made = Result<Value, String>;

fn overflow() -> String {
    "the result has more than 28 digits".to_owned()
}

fn numbers(call: &Call<'_>) -> Result<Vec<Decimal>, String> {
    (0..call.values.len()).map(|position| call.number(position)).collect()
}

fn most(call: &Call<'_>, choose: fn(Decimal, Decimal) -> Decimal) -> Made {
    numbers(call)?.into_iter().reduce(choose).map(Value::Number).ok_or_else(|| "it has nothing to work on".to_owned())
}

fn total(call: &Call<'_>) -> Result<Decimal, String> {
    numbers(call)?
        .into_iter()
        .try_fold(None, |sum: Option<Decimal>, number| match sum {
            None => Ok(Some(number)),
            Some(sum) => sum.checked_add(number).map(Some).ok_or_else(overflow),
        })?
        .ok_or_else(|| "it has nothing to work on".to_owned())
}

pub(super) fn sum(call: &Call<'_>) -> Made {
    total(call).map(Value::Number)
}

pub(super) fn average(call: &Call<'_>) -> Made {
    let mean = total(call)?.checked_div(Decimal::from(call.values.len())).ok_or_else(overflow)?;
    Ok(Value::Number(mean.normalize()))
}

pub(super) fn min(call: &Call<'_>) -> Made {
    most(call, Decimal::min)
}

pub(super) fn max(call: &Call<'_>) -> Made {
    most(call, Decimal::max)
}

pub(super) fn number(call: &Call<'_>) -> Made {
    match call.values.first() {
        Some(Value::Boolean(truth)) => Ok(Value::Number(Decimal::from(u8::from(*truth)))),
        Some(Value::Text(text)) => value::number(text).map(Value::Number),
        _ => call.number(0).map(Value::Number),
    }
}

const PLACES_MAX: i64 = 28;

/// To exactly so many places: what is missing is filled with zeros.
fn rounded(number: Decimal, places: i64) -> Result<Decimal, String> {
    let places = places as u32;
    let mut rounded = number.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero);
    rounded.rescale(places);
    // `rescale` fills as many zeros as there is room for.
    if rounded.scale() == places { Ok(rounded) } else { Err(overflow()) }
}

pub(super) fn round(call: &Call<'_>) -> Made {
    let places = call.whole(1, "places", 0, PLACES_MAX, 0)?;
    rounded(call.number(0)?, places).map(Value::Number)
}

pub(super) fn floor(call: &Call<'_>) -> Made {
    Ok(Value::Number(call.number(0)?.floor()))
}

pub(super) fn ceiling(call: &Call<'_>) -> Made {
    Ok(Value::Number(call.number(0)?.ceil()))
}

pub(super) fn abs(call: &Call<'_>) -> Made {
    Ok(Value::Number(call.number(0)?.abs()))
}

pub(super) fn modulo(call: &Call<'_>) -> Made {
    let (number, divisor) = (call.number(0)?, call.number(1)?);
    if divisor.is_zero() {
        return Err("its divisor is zero".to_owned());
    }
    let rest = number.checked_rem(divisor).ok_or_else(overflow)?;
    // The rest has the sign of the divisor, as in books: MODULO(-1, 7) is 6.
    let signed = if !rest.is_zero() && rest.is_sign_negative() != divisor.is_sign_negative() {
        rest.checked_add(divisor).ok_or_else(overflow)?
    } else {
        rest
    };
    Ok(Value::Number(signed))
}

pub(super) fn power(call: &Call<'_>) -> Made {
    let base = call.number(0)?;
    let exponent = call.whole(1, "exponent", -limit::FUNCTION_EXPONENT_MAX, limit::FUNCTION_EXPONENT_MAX, 1)?;
    let mut result = Decimal::ONE;
    for _ in 0..exponent.unsigned_abs() {
        result = result.checked_mul(base).ok_or_else(overflow)?;
    }
    if exponent < 0 {
        if result.is_zero() {
            return Err("zero has no negative power".to_owned());
        }
        result = Decimal::ONE.checked_div(result).ok_or_else(overflow)?;
    }
    Ok(Value::Number(result.normalize()))
}

/// With so many places, a point of the caller's choice, and groups of three digits if there is a sign for them.
pub(super) fn format(call: &Call<'_>) -> Made {
    let number = rounded(call.number(0)?, call.whole(1, "places", 0, PLACES_MAX, 0)?)?;
    let mark = |position: usize, otherwise: &'static str| {
        let mark = if call.values.len() > position { call.text(position)? } else { otherwise };
        if mark.chars().count() > 1 {
            return Err("a mark is one character or none".to_owned());
        }
        Ok(mark)
    };
    let (point, group) = (mark(2, ".")?, mark(3, "")?);
    let plain = number.abs().to_string();
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut text = String::new();
    if number.is_sign_negative() && !number.is_zero() {
        text.push('-');
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push_str(group);
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push_str(point);
        text.push_str(fraction);
    }
    Ok(Value::Text(text))
}
