//! Moments as the log files spell them: RFC 3339 in UTC with up to nine digits, trailing zeros cut, as Go writes them.
//!
//! Formatting keeps the second it wrote last, because a million lines a second share it; parsing does the same.

use std::time::{SystemTime, UNIX_EPOCH};

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400;
/// `2006-01-02T15:04:05`
const PREFIX: usize = 19;

/// Now, in nanoseconds since 1970.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Writes moments, remembering the last second.
#[derive(Debug, Clone)]
pub(crate) struct Formatter {
    second: i64,
    text: [u8; PREFIX],
}

impl Formatter {
    pub(crate) fn new() -> Self {
        let mut formatter = Self { second: 0, text: [0; PREFIX] };
        formatter.set_second(0);
        formatter
    }

    /// Appends `at` as RFC3339Nano.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, at: i64) {
        let second = at.div_euclid(SECOND);
        if second != self.second {
            self.set_second(second);
        }
        let mut fraction = at.rem_euclid(SECOND);
        // One copy of the longest form, then a cut: cheaper than growing the vector piece by piece.
        let mut text = [b'0'; PREFIX + 11];
        text[..PREFIX].copy_from_slice(&self.text);
        text[PREFIX] = b'.';
        let mut end = PREFIX;
        let mut position = PREFIX + 9;
        while fraction != 0 {
            let digit = digit(fraction % 10);
            if end == PREFIX && digit != b'0' {
                end = position + 1;
            }
            text[position] = digit;
            fraction /= 10;
            position -= 1;
        }
        text[end] = b'Z';
        out.extend_from_slice(&text[..=end]);
    }

    fn set_second(&mut self, second: i64) {
        self.second = second;
        let (year, month, day) = civil(second.div_euclid(DAY));
        let of_day = second.rem_euclid(DAY);
        let t = &mut self.text;
        pad(&mut t[0..4], year);
        pad(&mut t[5..7], month);
        pad(&mut t[8..10], day);
        pad(&mut t[11..13], of_day / 3600);
        pad(&mut t[14..16], of_day / 60 % 60);
        pad(&mut t[17..19], of_day % 60);
        (t[4], t[7], t[10], t[13], t[16]) = (b'-', b'-', b'T', b':', b':');
    }
}

fn digit(value: i64) -> u8 {
    b'0' + u8::try_from(value).unwrap_or(0)
}

fn pad(place: &mut [u8], mut value: i64) {
    for byte in place.iter_mut().rev() {
        *byte = digit(value.rem_euclid(10));
        value /= 10;
    }
}

/// Day number since 1970 to year, month, day of the proleptic Gregorian calendar. Years start in March here, so that
/// the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

/// Reads moments, remembering the last second.
#[derive(Debug, Clone)]
pub(crate) struct Parser {
    second: i64,
    text: [u8; PREFIX],
}

impl Parser {
    pub(crate) fn new() -> Self {
        Self { second: 0, text: [0; PREFIX] }
    }

    /// The moment an RFC 3339 text means; `None` when it is not one.
    pub(crate) fn parse(&mut self, text: &[u8]) -> Option<i64> {
        let (prefix, rest) = text.split_first_chunk::<PREFIX>()?;
        if *prefix != self.text {
            self.second = parse_second(prefix)?;
            self.text = *prefix;
        }
        let (nanos, zone) = parse_fraction(rest)?;
        let offset = match zone {
            [b'Z'] => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let minutes = number(&[*h1, *h2])? * 60 + number(&[*m1, *m2])?;
                if *sign == b'+' { minutes * 60 } else { -minutes * 60 }
            }
            _ => return None,
        };
        (self.second - offset).checked_mul(SECOND)?.checked_add(nanos)
    }
}

fn parse_second(text: &[u8; PREFIX]) -> Option<i64> {
    let marks = [text[4], text[7], text[10], text[13], text[16]];
    if marks != *b"--T::" {
        return None;
    }
    let (year, month, day) = (number(&text[0..4])?, number(&text[5..7])?, number(&text[8..10])?);
    let (hour, minute, second) = (number(&text[11..13])?, number(&text[14..16])?, number(&text[17..19])?);
    let plausible =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    plausible.then(|| days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second)
}

fn parse_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 || length > 9 {
        return None;
    }
    let scale = 10_i64.pow(9 - u32::try_from(length).ok()?);
    Some((number(&digits[..length])? * scale, &digits[length..]))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0_i64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(at: i64) -> String {
        let mut out = Vec::new();
        Formatter::new().append(&mut out, at);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn moments_read_as_go_writes_them() {
        assert_eq!(format(0), "1970-01-01T00:00:00Z");
        assert_eq!(format(1), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(format(1_500_000_000), "1970-01-01T00:00:01.5Z");
        assert_eq!(format(1_000_100), "1970-01-01T00:00:00.0010001Z");
        assert_eq!(format(1_795_275_692_895_525_500), "2026-11-21T15:41:32.8955255Z");
        assert_eq!(format(951_782_400 * SECOND), "2000-02-29T00:00:00Z");
        assert_eq!(format(4_107_542_399 * SECOND), "2100-02-28T23:59:59Z");
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut parser = Parser::new();
        for at in
            [0, 1, 999_999_999, 1_795_275_692_895_525_500, 951_868_799 * SECOND + 120, 4_107_542_400 * SECOND]
        {
            assert_eq!(parser.parse(format(at).as_bytes()), Some(at), "{}", format(at));
        }
    }

    #[test]
    fn offsets_are_subtracted() {
        assert_eq!(Parser::new().parse(b"1970-01-01T02:00:00.5+02:00"), Some(SECOND / 2));
        assert_eq!(Parser::new().parse(b"1969-12-31T22:30:00-01:30"), Some(0));
    }

    #[test]
    fn other_texts_are_not_moments() {
        for text in [
            "",
            "2026",
            "2026-11-21T15:41:32",
            "2026-13-21T15:41:32Z",
            "2026-11-21T15:41:32.Z",
            "2026-11-21 15:41:32Z",
        ] {
            assert_eq!(Parser::new().parse(text.as_bytes()), None, "{text}");
        }
    }
}
