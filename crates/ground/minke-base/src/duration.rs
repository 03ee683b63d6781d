//! Durations: Go's text form (`1m30s`), which Docker's flags and API use, and the rough words of its listings
//! (`2 hours`, `About a minute`).

use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    #[error("time: invalid duration {0:?}")]
    Form(String),
    #[error("time: missing unit in duration {0:?}")]
    Unit(String),
}

/// Reads Go's form: numbers with a unit each (`h m s ms us µs ns`), an optional sign; a bare `0` is allowed.
/// The result is in nanoseconds, since Go's durations may be negative.
pub fn parse_go(text: &str) -> Result<i64, InvalidDuration> {
    let form = || InvalidDuration::Form(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(form());
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_e| form())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let nanos = match &rest[..letters] {
            "h" => 3600e9,
            "m" => 60e9,
            "s" => 1e9,
            "ms" => 1e6,
            "us" | "µs" | "μs" => 1e3,
            "ns" => 1.0,
            "" => return Err(InvalidDuration::Unit(text.to_owned())),
            _ => return Err(form()),
        };
        rest = &rest[letters..];
        total += number * nanos;
    }
    if total > 9.2e18 {
        return Err(form());
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked against the range of i64 just before")]
    let nanos = total.round() as i64;
    Ok(if negative { -nanos } else { nanos })
}

/// Writes Go's form of a duration in nanoseconds.
#[must_use]
pub fn format_go(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let abs = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64, name: &str| {
        let digits = unit.to_string().len() - 1;
        let text = format!("{}.{:0digits$}", value / unit, value % unit);
        format!("{sign}{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match abs {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{abs}ns"),
        1_000..1_000_000 => fraction(abs, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(abs, 1_000_000, "ms"),
        _ => {
            let seconds = abs / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = abs - (hours * 3600 + minutes * 60) * 1_000_000_000;
            let tail = fraction(rest, 1_000_000_000, "s");
            let tail = tail.trim_start_matches('-');
            match (hours, minutes) {
                (0, 0) => format!("{sign}{tail}"),
                (0, _) => format!("{sign}{minutes}m{tail}"),
                _ => format!("{sign}{hours}h{minutes}m{tail}"),
            }
        }
    }
}

/// The rough words of listings: `Less than a second`, `5 seconds`, `About an hour`, `3 weeks`.
#[must_use]
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    let rounded_hours = (seconds + 1800) / 3600;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if rounded_hours == 1 => "About an hour".to_owned(),
        _ if rounded_hours < 48 => format!("{rounded_hours} hours"),
        _ if rounded_hours < 24 * 7 * 2 => format!("{} days", rounded_hours / 24),
        _ if rounded_hours < 24 * 30 * 2 => format!("{} weeks", rounded_hours / 24 / 7),
        _ if rounded_hours < 24 * 365 * 2 => format!("{} months", rounded_hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read_and_written() {
        for (text, nanos) in [
            ("1m30s", 90_000_000_000),
            ("1h0m0s", 3_600_000_000_000),
            ("100ms", 100_000_000),
            ("1.5s", 1_500_000_000),
            ("0s", 0),
            ("-2s", -2_000_000_000),
            ("15µs", 15_000),
            ("7ns", 7),
        ] {
            assert_eq!(parse_go(text), Ok(nanos), "{text}");
            assert_eq!(format_go(nanos), text);
        }
        assert_eq!(parse_go("0"), Ok(0));
        assert_eq!(parse_go("5"), Err(InvalidDuration::Unit("5".into())));
        for bad in ["", "s", "1x", "-", "1..2s"] {
            assert!(parse_go(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn listings_use_rough_words() {
        let hour = 3600;
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (61, "About a minute"),
            (130, "2 minutes"),
            (hour, "About an hour"),
            (2 * hour, "2 hours"),
            (50 * hour, "2 days"),
            (24 * 15 * hour, "2 weeks"),
            (24 * 70 * hour, "2 months"),
            (24 * 800 * hour, "2 years"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), text, "{seconds}");
        }
    }
}
