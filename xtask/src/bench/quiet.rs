//! Whether the machine has nothing else to do: figures of a busy one are nobody's.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// How long is listened.
const WINDOW: Duration = Duration::from_secs(3);
/// What daemons at rest do; more is somebody else's work.
const QUIET: u64 = 5;

/// Processor time since the start: all, and what of it was work.
fn read_ticks() -> Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = stat.lines().next().context("an empty /proc/stat")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are part of user.
    let all: u64 = ticks.iter().take(8).sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    Ok((all, all - idle))
}

/// How busy the processors are with other things, for the report; `true` when that is next to nothing.
pub(crate) fn listen() -> (String, bool) {
    let measured = || -> Result<u64> {
        let before = read_ticks()?;
        std::thread::sleep(WINDOW);
        let after = read_ticks()?;
        Ok((after.1 - before.1) * 100 / (after.0 - before.0).max(1))
    };
    match measured() {
        Ok(busy) => (format!("{busy} % busy with other things at the start"), busy <= QUIET),
        Err(error) => (format!("unknown: {error:#}"), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_a_part_of_all_that_passes() {
        let (all, work) = read_ticks().unwrap();
        assert!(work > 0 && work < all);
    }
}
