//! Moments as the engine stores and shows them: nanoseconds since 1970 in UTC.
//!
//! Docker shows a moment that never came as year one (`0001-01-01T00:00:00Z`), in RFC 3339 with as many digits of the
//! second as are needed. The value is stored as an integer so that records stay small and comparisons cheap.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A moment in nanoseconds since 1970; zero stands for "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub i64);

impl Moment {
    /// The moment that never came.
    pub const NEVER: Self = Self(0);

    /// The wall clock's moment.
    pub fn now() -> Self {
        let now = Utc::now();
        Self(now.timestamp_nanos_opt().unwrap_or(i64::MAX))
    }

    /// Whether this moment never came.
    pub fn is_never(self) -> bool {
        self.0 == 0
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Time from `earlier` to this moment, zero when the clock went back.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 as Go's `RFC3339Nano` prints it: no trailing zeros in the fraction, year one for "never".
    pub fn rfc3339(self) -> String {
        if self.is_never() {
            return minke_base::time::ZERO.to_owned();
        }
        minke_base::time::rfc3339_nano(self.utc())
    }

    /// The same as a calendar date.
    pub fn utc(self) -> DateTime<Utc> {
        DateTime::<Utc>::from_timestamp_nanos(self.0)
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// A `since`/`until` parameter: empty means none; a moment otherwise, or an error in Docker's words.
pub fn parse_moment(text: &str) -> Result<Option<Moment>, minke_base::time::InvalidTime> {
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    minke_base::time::parse_since(text, Utc::now()).map(|at| at.timestamp_nanos_opt().map(Moment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_never_came_is_year_one() {
        assert_eq!(Moment::NEVER.rfc3339(), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn a_fraction_loses_its_trailing_zeros() {
        assert_eq!(Moment(1_700_000_000_120_000_000).rfc3339(), "2023-11-14T22:13:20.12Z");
        assert_eq!(Moment(1_700_000_000_000_000_000).rfc3339(), "2023-11-14T22:13:20Z");
    }
}
