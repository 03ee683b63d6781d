//! Whether, and after how long, a container whose program ended starts again: restart policies as pure decisions.
//!
//! The waiting itself, and cancelling it when somebody stops the container meanwhile, is done by `supervise`.

use std::time::Duration;

/// Docker's four policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Stay stopped.
    No,
    /// Start again after a failure, at most `limit` times (zero: without end).
    OnFailure {
        /// How many times at most.
        limit: u32,
    },
    /// Start again whatever the exit code, and when the engine starts.
    Always,
    /// As `Always`, but a container that was stopped stays so when the engine starts.
    UnlessStopped,
}

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// A program that ran this long starts the series anew.
const STEADY: Duration = Duration::from_secs(10);

/// What a policy looks at when a program has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// The exit code.
    pub code: i64,
    /// Whether a person stopped or killed it.
    pub by_hand: bool,
    /// How long it ran.
    pub ran: Duration,
    /// How often the engine has restarted it so far.
    pub restarts: u32,
    /// The pause before the last restart, zero when there was none.
    pub last_pause: Duration,
}

impl Policy {
    /// Reads the wire's name and count; the API has already refused what makes no sense.
    pub fn from_wire(name: &str, limit: i64) -> Self {
        match name {
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure { limit: u32::try_from(limit).unwrap_or(0) },
            _ => Self::No,
        }
    }

    /// The pause before the next start, or nothing when the container stays stopped.
    pub fn plan_restart(self, ending: Ending) -> Option<Duration> {
        let wanted = !ending.by_hand
            && match self {
                Self::No => false,
                Self::Always | Self::UnlessStopped => true,
                Self::OnFailure { limit } => ending.code != 0 && (limit == 0 || ending.restarts < limit),
            };
        wanted.then(|| next_pause(ending))
    }

    /// Whether a container found stopped is started when the engine starts.
    ///
    /// `was_running` says that it ran (or waited for a restart) when the last engine ended.
    pub fn starts_with_engine(self, code: i64, stopped_by_hand: bool, was_running: bool) -> bool {
        match self {
            Self::No => false,
            Self::Always => true,
            Self::UnlessStopped => !stopped_by_hand,
            Self::OnFailure { .. } => was_running && code != 0,
        }
    }
}

fn next_pause(ending: Ending) -> Duration {
    if ending.last_pause.is_zero() || ending.ran >= STEADY {
        FIRST
    } else {
        (ending.last_pause * 2).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(code: i64) -> Ending {
        Ending { code, by_hand: false, ran: Duration::ZERO, restarts: 0, last_pause: Duration::ZERO }
    }

    #[test]
    fn the_pause_doubles_from_100_ms_up_to_a_minute() {
        let mut last_pause = Duration::ZERO;
        let mut seen = Vec::new();
        for _ in 0..12 {
            last_pause =
                Policy::Always.plan_restart(Ending { last_pause, ..ending(0) }).expect("always restarts");
            seen.push(last_pause.as_millis());
        }
        assert_eq!(seen, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
    }

    #[test]
    fn a_program_that_ran_ten_seconds_starts_the_series_anew() {
        let after = Ending { ran: STEADY, last_pause: LONGEST, ..ending(1) };
        assert_eq!(Policy::Always.plan_restart(after), Some(FIRST));
    }

    #[test]
    fn on_failure_counts_and_ignores_success() {
        let policy = Policy::OnFailure { limit: 2 };
        assert!(policy.plan_restart(ending(0)).is_none());
        assert!(policy.plan_restart(Ending { restarts: 1, ..ending(1) }).is_some());
        assert!(policy.plan_restart(Ending { restarts: 2, ..ending(1) }).is_none());
        assert!(Policy::OnFailure { limit: 0 }.plan_restart(Ending { restarts: 99, ..ending(1) }).is_some());
    }

    #[test]
    fn who_stops_by_hand_is_obeyed() {
        assert!(Policy::Always.plan_restart(Ending { by_hand: true, ..ending(0) }).is_none());
        assert!(Policy::Always.starts_with_engine(0, true, false));
        assert!(!Policy::UnlessStopped.starts_with_engine(0, true, false));
        assert!(Policy::UnlessStopped.starts_with_engine(0, false, true));
        assert!(!Policy::No.starts_with_engine(1, false, true));
    }
}
