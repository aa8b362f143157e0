//! Moments as text, in JSON that people and scripts read: RFC 3339 in UTC with milliseconds.

use hansa_core::moment::Moment;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

/// A moment that is written as RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Moment);

impl Time {
    /// The time by this machine's clock.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(Moment(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }

    /// A point in time as people give it: RFC 3339, or how long ago, such as `90s`, `2h` or `7d`.
    ///
    /// # Errors
    /// What would fit.
    pub fn point(text: &str) -> Result<Self, String> {
        Self::point_from(text, Self::now())
    }

    fn point_from(text: &str, now: Self) -> Result<Self, String> {
        let unfit =
            || "it is neither a time such as 2026-11-24T18:00:00Z nor how long ago, such as 90s, 2h or 7d".to_owned();
        if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
            return u64::try_from(timestamp.as_millisecond())
                .map(|milliseconds| Self(Moment(milliseconds)))
                .map_err(|_| "it is before 1970".to_owned());
        }
        let span: jiff::Span = text.parse().map_err(|_| unfit())?;
        let ago = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| unfit())?;
        let ago_ms = u64::try_from(ago.as_millis()).map_err(|_| unfit())?;
        Ok(Self(Moment(now.0.0.saturating_sub(ago_ms))))
    }
}

impl From<Moment> for Time {
    fn from(moment: Moment) -> Self {
        Self(moment)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let timestamp: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        u64::try_from(timestamp.as_millisecond())
            .map(|milliseconds| Self(Moment(milliseconds)))
            .map_err(|_| D::Error::custom("a time before 1970"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_is_a_date_or_how_long_ago() {
        let now = Time(Moment(1_795_219_200_000));
        let point = |text| Time::point_from(text, now).map(|time| now.0.since_ms(time.0));
        assert_eq!(point("90s"), Ok(90_000));
        assert_eq!(point("2h"), Ok(7_200_000));
        assert_eq!(point("1h 30m"), Ok(5_400_000));
        assert_eq!(point("7d"), Ok(7 * 86_400_000));
        assert_eq!(point("2026-11-20T23:59:59Z"), Ok(1_000));
        for unfit in ["yesterday", "", "-2h", "1969-12-31T00:00:00Z", "1 month"] {
            assert!(point(unfit).is_err(), "{unfit}");
        }
    }

    #[test]
    fn a_time_survives_its_text() {
        let time = Time(Moment(1_795_219_200_007));
        let text = serde_json::to_string(&time).unwrap();
        assert_eq!(text, "\"2026-11-21T00:00:00.007Z\"");
        assert_eq!(serde_json::from_str::<Time>(&text).unwrap(), time);
        assert!(serde_json::from_str::<Time>("\"yesterday\"").is_err());
        assert!(serde_json::from_str::<Time>("\"1969-12-31T00:00:00Z\"").is_err());
    }
}
