//! The functions on days and moments, which are texts in the forms of ISO 8601.
//!
//! A day is `2026-11-24` or `20261124`, as invoices and EDI write it; a moment has a time behind `T`, and `Z`, an offset,
//! or nothing, which means UTC. What comes out is `2026-11-24`, or `2026-11-24T09:30:00Z`. There is no clock and no
//! database of time zones: an offset counts as it is written, and the present is the transaction's submission.

use super::{Call, Prepared};
use crate::{
    moment::Moment,
    transaction::{path::shown, value::Value},
};
use jiff::{
    Span, Unit as Measure,
    civil::{Date, DateTime},
    fmt::temporal::DateTimeParser,
    tz::TimeZone,
};
use rust_decimal::Decimal;

type Made = Result<Value, String>;

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transaction) enum Unit {
    Seconds,
    Minutes,
    Hours,
    Days,
    Weeks,
    Months,
    Years,
}

impl Unit {
    pub(super) const ALL: [(Self, &'static str); 7] = [
        (Self::Seconds, "SECONDS"),
        (Self::Minutes, "MINUTES"),
        (Self::Hours, "HOURS"),
        (Self::Days, "DAYS"),
        (Self::Weeks, "WEEKS"),
        (Self::Months, "MONTHS"),
        (Self::Years, "YEARS"),
    ];

    pub(super) fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(unit, _)| unit)
    }

    fn is_time(self) -> bool {
        matches!(self, Self::Seconds | Self::Minutes | Self::Hours)
    }

    fn measure(self) -> Measure {
        match self {
            Self::Seconds => Measure::Second,
            Self::Minutes => Measure::Minute,
            Self::Hours => Measure::Hour,
            Self::Days => Measure::Day,
            Self::Weeks => Measure::Week,
            Self::Months => Measure::Month,
            Self::Years => Measure::Year,
        }
    }

    fn span(self, amount: i64) -> Result<Span, String> {
        let span = Span::new();
        let span = match self {
            Self::Seconds => span.try_seconds(amount),
            Self::Minutes => span.try_minutes(amount),
            Self::Hours => span.try_hours(amount),
            Self::Days => span.try_days(amount),
            Self::Weeks => span.try_weeks(amount),
            Self::Months => span.try_months(amount),
            Self::Years => span.try_years(amount),
        };
        span.map_err(|_| format!("{amount} is more than dates can be moved by"))
    }
}

/// A day, or a moment: as it is written, and in UTC.
#[derive(Clone, Copy, Debug)]
enum Point {
    Day(Date),
    Moment { written: DateTime, utc: DateTime },
}

const PARSER: DateTimeParser = DateTimeParser::new();

impl Point {
    fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || format!("'{}' is no date: write it as 2026-11-24, or as 2026-11-24T09:30:00Z", shown(text));
        if !text.contains(['T', 't', ' ']) {
            // A day may have an offset in XML documents; it is the same day everywhere.
            let day = match text.get(10..) {
                Some(offset) if is_offset(offset) => &text[..10],
                _ => text,
            };
            if day.len() != 10 && day.len() != 8 {
                return Err(wrong());
            }
            return PARSER.parse_date(day).map(Self::Day).map_err(|_| wrong());
        }
        let written = PARSER.parse_datetime(text);
        if let Ok(moment) = PARSER.parse_timestamp(text) {
            let utc = TimeZone::UTC.to_datetime(moment);
            return Ok(Self::Moment { written: written.unwrap_or(utc), utc });
        }
        written.map(|written| Self::Moment { written, utc: written }).map_err(|_| wrong())
    }

    fn day(self) -> Date {
        match self {
            Self::Day(day) => day,
            Self::Moment { written, .. } => written.date(),
        }
    }

    /// A day begins at midnight.
    fn utc(self) -> DateTime {
        match self {
            Self::Day(day) => day.at(0, 0, 0, 0),
            Self::Moment { utc, .. } => utc,
        }
    }
}

/// "Z", or "+01:00".
fn is_offset(text: &str) -> bool {
    match text.as_bytes() {
        [b'Z'] => true,
        [b'+' | b'-', a, b, b':', c, d] => [a, b, c, d].into_iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn text_of_moment(utc: DateTime) -> String {
    format!("{utc}Z")
}

fn point(call: &Call<'_>, position: usize) -> Result<Point, String> {
    Point::read(call.text(position)?)
}

/// The day on which a transaction was submitted, in UTC.
pub(super) fn today(submitted: Moment) -> Made {
    utc_of(submitted).map(|utc| Value::Text(utc.date().to_string()))
}

/// The moment at which a transaction was submitted.
pub(super) fn now(submitted: Moment) -> Made {
    utc_of(submitted).map(|utc| Value::Text(text_of_moment(utc)))
}

fn utc_of(moment: Moment) -> Result<DateTime, String> {
    i64::try_from(moment.0)
        .ok()
        .and_then(|milliseconds| jiff::Timestamp::from_millisecond(milliseconds).ok())
        .map(|timestamp| TimeZone::UTC.to_datetime(timestamp))
        .ok_or_else(|| "the transaction's submission is outside of the calendar".to_owned())
}

pub(super) fn date(call: &Call<'_>) -> Made {
    Ok(Value::Text(point(call, 0)?.day().to_string()))
}

pub(super) fn moment(call: &Call<'_>) -> Made {
    Ok(Value::Text(text_of_moment(point(call, 0)?.utc())))
}

fn unit(call: &Call<'_>) -> Result<Unit, String> {
    match call.prepared {
        Some(Prepared::Unit(unit)) => Ok(*unit),
        _ => Err("its unit is missing".to_owned()),
    }
}

pub(super) fn add(call: &Call<'_>) -> Made {
    let (point, unit) = (point(call, 0)?, unit(call)?);
    let amount = call.whole(1, "amount", -1_000_000_000_000, 1_000_000_000_000, 0)?;
    let span = unit.span(amount)?;
    let beyond = |_| "the result is outside of the calendar".to_owned();
    match point {
        Point::Day(day) if !unit.is_time() => {
            day.checked_add(span).map(|day| Value::Text(day.to_string())).map_err(beyond)
        }
        _ => point.utc().checked_add(span).map(|utc| Value::Text(text_of_moment(utc))).map_err(beyond),
    }
}

pub(super) fn difference(call: &Call<'_>) -> Made {
    let (from, to) = (point(call, 0)?.utc(), point(call, 1)?.utc());
    let unit = if call.values.len() > 2 { unit(call)? } else { Unit::Days };
    let span = from.until((unit.measure(), to)).map_err(|_| "the dates are too far apart".to_owned())?;
    let whole = match unit {
        Unit::Seconds => span.get_seconds(),
        Unit::Minutes => span.get_minutes(),
        Unit::Hours => span.get_hours().into(),
        Unit::Days => span.get_days().into(),
        Unit::Weeks => span.get_weeks().into(),
        Unit::Months => span.get_months().into(),
        Unit::Years => span.get_years().into(),
    };
    Ok(Value::Number(Decimal::from(whole)))
}

fn whole(number: i16) -> Made {
    Ok(Value::Number(Decimal::from(number)))
}

pub(super) fn year(call: &Call<'_>) -> Made {
    whole(point(call, 0)?.day().year())
}

pub(super) fn month(call: &Call<'_>) -> Made {
    whole(point(call, 0)?.day().month().into())
}

pub(super) fn day(call: &Call<'_>) -> Made {
    whole(point(call, 0)?.day().day().into())
}

pub(super) fn weekday(call: &Call<'_>) -> Made {
    whole(point(call, 0)?.day().weekday().to_monday_one_offset().into())
}

pub(super) fn is_before(call: &Call<'_>) -> Made {
    Ok(Value::Boolean(point(call, 0)?.utc() < point(call, 1)?.utc()))
}

pub(super) fn is_after(call: &Call<'_>) -> Made {
    Ok(Value::Boolean(point(call, 0)?.utc() > point(call, 1)?.utc()))
}

pub(super) fn format(call: &Call<'_>) -> Made {
    let Some(Prepared::Format(form)) = call.prepared else { return Err("its form is missing".to_owned()) };
    let point = point(call, 0)?;
    let written = match point {
        Point::Day(day) => day.at(0, 0, 0, 0),
        Point::Moment { written, .. } => written,
    };
    formatted(form, written).map(Value::Text)
}

fn formatted(form: &str, moment: DateTime) -> Result<String, String> {
    jiff::fmt::strtime::format(form, moment).map_err(|error| error.to_string())
}

/// Whether a form can be used with any date.
pub(super) fn check_format(form: &str) -> Result<(), String> {
    if form.len() > crate::limit::NAME_BYTES_MAX {
        return Err(format!("it has more than {} bytes", crate::limit::NAME_BYTES_MAX));
    }
    // A wide field such as `%1000000Y` would make much of little.
    let directives = "YmdHMSyjeBbAaVGuFT%";
    let mut characters = form.chars();
    while let Some(character) = characters.next() {
        if character == '%' {
            match characters.next() {
                Some(directive) if directives.contains(directive) => {}
                other => return Err(format!("it has '%{}'", other.map(String::from).unwrap_or_default())),
            }
        }
    }
    formatted(form, Date::constant(2026, 11, 24).at(9, 30, 0, 0)).map(drop)
}
