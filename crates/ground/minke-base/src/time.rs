//! Moments as Docker writes and reads them: RFC 3339 with nanoseconds in UTC, and the forms that `--since` takes.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Offset, SecondsFormat, TimeZone, Timelike, Utc};

/// The zero moment of Go, which Docker shows where nothing happened yet.
pub const ZERO: &str = "0001-01-01T00:00:00Z";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse value as time or duration: {0:?}")]
pub struct InvalidTime(pub String);

/// Go's RFC3339Nano: as many fractional digits as are not zero at the end.
#[must_use]
pub fn rfc3339_nano(at: DateTime<Utc>) -> String {
    if at.nanosecond() == 0 {
        return at.to_rfc3339_opts(SecondsFormat::Secs, true);
    }
    let text = at.to_rfc3339_opts(SecondsFormat::Nanos, true);
    format!("{}Z", text.trim_end_matches('Z').trim_end_matches('0'))
}

/// With all nine digits, as `logs --timestamps` prints it.
#[must_use]
pub fn rfc3339_nano_fixed(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// Whether `at` is Go's zero moment.
#[must_use]
pub fn is_zero(at: DateTime<Utc>) -> bool {
    at.year() == 1 && at.ordinal() == 1 && at.num_seconds_from_midnight() == 0
}

/// Reads `--since`/`--until`: unix seconds with an optional fraction, a Go duration before `now`, RFC 3339 with or without
/// zone, or a date. What has no zone is local time.
pub fn parse_since(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, InvalidTime> {
    let invalid = || InvalidTime(text.to_owned());
    if let Some(at) = parse_unix(text) {
        return Ok(at);
    }
    if let Ok(nanos) = crate::duration::parse_go(text) {
        return now.checked_sub_signed(chrono::TimeDelta::nanoseconds(nanos)).ok_or_else(invalid);
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"] {
        if let Ok(at) = NaiveDateTime::parse_from_str(text, format) {
            return from_local(at).ok_or_else(invalid);
        }
    }
    let zoned = text.strip_suffix('Z');
    if let Ok(date) = NaiveDate::parse_from_str(zoned.unwrap_or(text), "%Y-%m-%d") {
        let midnight = date.and_hms_opt(0, 0, 0).ok_or_else(invalid)?;
        return if zoned.is_some() {
            Ok(midnight.and_utc())
        } else {
            from_local(midnight).ok_or_else(invalid)
        };
    }
    Err(invalid())
}

/// `1136073845.000000001`: seconds and nanoseconds, as the API's `since` has them.
#[must_use]
pub fn parse_unix(text: &str) -> Option<DateTime<Utc>> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    DateTime::from_timestamp(seconds, nanos)
}

fn from_local(at: NaiveDateTime) -> Option<DateTime<Utc>> {
    let offset = chrono::Local.offset_from_local_datetime(&at).earliest()?.fix();
    offset.from_local_datetime(&at).earliest().map(|at| at.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_lose_their_zeros_as_in_go() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        for text in ["2015-10-01T10:00:00Z", "2015-10-01T10:00:00.5Z", "2015-10-01T10:00:00.123456789Z"] {
            assert_eq!(rfc3339_nano(at(text)), text);
        }
        assert!(is_zero(at(ZERO)));
    }

    #[test]
    fn since_takes_every_form() {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        for (text, unix) in
            [("10m", 999_400), ("1000", 1000), ("1970-01-02T00:00:00Z", 86400), ("1970-01-02Z", 86400)]
        {
            assert_eq!(parse_since(text, now).unwrap().timestamp(), unix, "{text}");
        }
        assert_eq!(parse_since("12.5", now).unwrap().timestamp_subsec_millis(), 500);
        assert!(parse_since("yesterday", now).is_err());
    }
}
