//! How long to wait before the next try.

use std::time::Duration;

/// A registry that asks to wait longer than this is not waited for.
const LONGEST: Duration = Duration::from_secs(30);

/// The wait after the `failures`th failure in a row: short at first, as most cuts are, then four times longer each; with a random
/// part, so that many do not come back at once.
pub(crate) fn pause(failures: u32) -> Duration {
    let base = 50_u64 << (2 * failures.saturating_sub(1).min(4));
    Duration::from_millis(base + rand::random_range(0..=base / 2)).min(LONGEST)
}

/// What `Retry-After` asks for, in seconds; the form with a date is left to [`pause`].
pub(crate) fn asked(headers: &reqwest::header::HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds)).filter(|wait| *wait <= LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        assert!(pause(1) < Duration::from_millis(80));
        assert!(pause(4) >= Duration::from_secs(3));
        assert!(pause(60) <= LONGEST);
    }
}
