//! Exact decimals of up to 28 digits, as expressions compute with, in as little code as that takes.

use std::{cmp::Ordering, fmt, str::FromStr};

/// The digits that a number has at most.
const DIGITS_MAX: u32 = 28;

/// An exact decimal: NUMVALUE.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    units: i128,
    /// How many of the digits stand behind the point.
    places: u32,
}

fn power(exponent: u32) -> Result<i128, String> {
    10i128.checked_pow(exponent).ok_or_else(overflow)
}

fn overflow() -> String {
    format!("the result has more than {DIGITS_MAX} digits")
}

impl Number {
    fn checked(units: i128, places: u32) -> Result<Self, String> {
        if units.unsigned_abs() >= 10u128.pow(DIGITS_MAX) || places > DIGITS_MAX {
            return Err(overflow());
        }
        Ok(Self { units, places })
    }

    /// With more places, and the same value.
    fn scaled(self, places: u32) -> Result<i128, String> {
        self.units.checked_mul(power(places - self.places)?).ok_or_else(overflow)
    }

    fn aligned(self, other: Self) -> Result<(i128, i128, u32), String> {
        let places = self.places.max(other.places);
        Ok((self.scaled(places)?, other.scaled(places)?, places))
    }

    /// The sum.
    ///
    /// # Errors
    /// It has too many digits.
    pub fn plus(self, other: Self) -> Result<Self, String> {
        let (one, two, places) = self.aligned(other)?;
        Self::checked(one.checked_add(two).ok_or_else(overflow)?, places)
    }

    /// The difference.
    ///
    /// # Errors
    /// It has too many digits.
    pub fn minus(self, other: Self) -> Result<Self, String> {
        self.plus(Self { units: -other.units, places: other.places })
    }

    /// The product.
    ///
    /// # Errors
    /// It has too many digits.
    pub fn times(self, other: Self) -> Result<Self, String> {
        Self::checked(self.units.checked_mul(other.units).ok_or_else(overflow)?, self.places + other.places)
    }

    /// The quotient, rounded to so many places; halves away from zero.
    ///
    /// # Errors
    /// The divisor is zero, or it has too many digits.
    pub fn divided(self, divisor: Self, places: u32) -> Result<Self, String> {
        let (one, two, _) = self.aligned(divisor)?;
        if two == 0 {
            return Err("a division by zero".to_owned());
        }
        let one = one.checked_mul(power(places)?).ok_or_else(overflow)?;
        Self::checked(rounded_quotient(one, two), places)
    }

    /// To exactly so many places; halves away from zero.
    ///
    /// # Errors
    /// It has too many digits.
    pub fn rounded(self, places: u32) -> Result<Self, String> {
        if places >= self.places {
            return Self::checked(self.scaled(places)?, places);
        }
        Self::checked(rounded_quotient(self.units, power(self.places - places)?), places)
    }

    /// Whether it is less than zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.units < 0
    }
}

fn rounded_quotient(number: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (number / divisor, number % divisor);
    let away = rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs() && rest != 0;
    quotient + if away { rest.signum() * divisor.signum() } else { 0 }
}

impl From<i64> for Number {
    fn from(units: i64) -> Self {
        Self { units: units.into(), places: 0 }
    }
}

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no number of up to {DIGITS_MAX} digits");
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let digits: String = [whole, fraction].concat();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let units: i128 = digits.parse().map_err(|_| wrong())?;
        // The node counts up to 2^96, a little more than 28 digits.
        if units >= 1 << 96 || fraction.len() > DIGITS_MAX as usize {
            return Err(wrong());
        }
        Ok(Self { units: if negative { -units } else { units }, places: fraction.len() as u32 })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.places as usize;
        let digits = format!("{:0>width$}", self.units.unsigned_abs(), width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let sign = if self.units < 0 { "-" } else { "" };
        if places == 0 { write!(out, "{sign}{whole}") } else { write!(out, "{sign}{whole}.{fraction}") }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let whole = |number: &Self| number.units / 10i128.pow(number.places);
        // 28 digits behind the point fit beside one that has been taken off before it.
        let rest = |number: &Self| (number.units % 10i128.pow(number.places)) * 10i128.pow(DIGITS_MAX - number.places);
        (whole(self), rest(self)).cmp(&(whole(other), rest(other)))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_are_read_and_written_as_they_are() {
        for text in ["0", "-0.5", "12.50", "79228162514264337593543950335", "0.0000000000000000000000000001"] {
            assert_eq!(number(text).to_string(), text);
        }
        for text in
            ["", ".", "1e5", "1,5", "--1", "+ 1", "79228162514264337593543950336", "0.00000000000000000000000000001"]
        {
            assert!(text.parse::<Number>().is_err(), "{text}");
        }
    }

    #[test]
    fn arithmetic_is_exact_and_says_when_it_is_too_much() {
        assert_eq!(number("0.1").plus(number("0.2")).unwrap().to_string(), "0.3");
        assert_eq!(number("1").minus(number("0.95")).unwrap().to_string(), "0.05");
        assert_eq!(number("19.99").times(3.into()).unwrap().to_string(), "59.97");
        assert_eq!(number("10").divided(number("-3"), 2).unwrap().to_string(), "-3.33");
        assert_eq!(number("-2").divided(number("3"), 0).unwrap().to_string(), "-1");
        assert!(number("1").divided(number("0.0"), 2).is_err());
        assert!(number("9999999999999999999999999999").plus(1.into()).is_err());
        assert!(number("9999999999999999").times(number("9999999999999999")).is_err());
    }

    #[test]
    fn rounding_takes_halves_away_from_zero_and_fills_places() {
        for (text, places, rounded) in
            [("2.675", 2, "2.68"), ("-2.5", 0, "-3"), ("2.4", 0, "2"), ("7", 2, "7.00"), ("-0.004", 2, "0.00")]
        {
            assert_eq!(number(text).rounded(places).unwrap().to_string(), rounded);
        }
    }

    #[test]
    fn numbers_compare_as_numbers_whatever_their_places() {
        assert_eq!(number("2.50"), number("2.5"));
        assert!(number("79228162514264337593543950335") > number("7.9228162514264337593543950335"));
        assert!(number("-1.01") < number("-1"));
        assert!(number("-0.1").is_negative() && number("-0.1") < number("0"));
    }
}
