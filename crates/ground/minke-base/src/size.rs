//! Sizes in bytes: read as Docker's flags take them (`512m`, `1.5GiB`, powers of 1024), shown as its listings do
//! (`4.26MB`, powers of 1000; `1.5GiB` for memory).

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSize {
    #[error("invalid size: '{0}'")]
    Number(String),
    #[error("invalid suffix: '{0}'")]
    Suffix(String),
}

/// Reads a size where `k`, `m`, `g`, `t`, `p` are powers of 1024, with an optional `b` or `ib` behind, as `-m` does.
pub fn parse_ram(text: &str) -> Result<i64, InvalidSize> {
    parse(text, 1024.0)
}

/// Reads a size where `k`, `m`, … are powers of 1000 (`--log-opt max-size` uses [`parse_ram`] instead).
pub fn parse_human(text: &str) -> Result<i64, InvalidSize> {
    parse(text, 1000.0)
}

fn parse(text: &str, base: f64) -> Result<i64, InvalidSize> {
    let invalid = || InvalidSize::Number(text.to_owned());
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_e| invalid())?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let suffix = || InvalidSize::Suffix(unit.clone());
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit == "ib" => return Err(suffix()),
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(suffix()),
    };
    let bytes = number * base.powi(power);
    #[expect(clippy::cast_possible_truncation, reason = "checked against the range of i64 just before")]
    if bytes.is_finite() && bytes < 9.2e18 { Ok(bytes as i64) } else { Err(invalid()) }
}

/// `4.26MB`: four significant digits, powers of 1000.
#[must_use]
pub fn human(bytes: u64) -> String {
    human_with(bytes, 4)
}

/// As [`human`] with `digits` significant digits (listings of images use 3).
#[must_use]
pub fn human_with(bytes: u64, digits: usize) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"], digits)
}

/// `1.5GiB`: four significant digits, powers of 1024.
#[must_use]
pub fn binary(bytes: u64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"], 4)
}

fn scaled(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits only")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// As C's `%.*g` for values from 0 up: `digits` significant digits, no trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let mut whole = 1;
    let mut limit = 10.0;
    while value >= limit {
        whole += 1;
        limit *= 10.0;
    }
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_as_docker_shows_them() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (4_261_550, "4.262MB"),
            (1_000_000_000, "1GB"),
            (18_400_000_000, "18.4GB"),
        ] {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(human_with(4_261_550, 3), "4.26MB");
        assert_eq!(human_with(116_540_000, 3), "117MB");
        assert_eq!(binary(1_610_612_736), "1.5GiB");
    }

    #[test]
    fn sizes_are_read_in_every_spelling() {
        for (text, bytes) in [
            ("32", 32),
            ("32b", 32),
            ("32k", 32768),
            ("32KB", 32768),
            ("32kib", 32768),
            ("1.5g", 1_610_612_736),
            ("64m", 67_108_864),
            ("1 mb", 1_048_576),
        ] {
            assert_eq!(parse_ram(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_human("32kB"), Ok(32000));
        for bad in ["", "-1", "m", "1.2.3", "ib"] {
            assert_eq!(parse_ram(bad), Err(InvalidSize::Number(bad.to_owned())), "{bad}");
        }
        for (bad, suffix) in [("1x", "x"), ("1MM", "mm"), ("64 foo", "foo")] {
            assert_eq!(parse_ram(bad), Err(InvalidSize::Suffix(suffix.to_owned())), "{bad}");
        }
    }
}
