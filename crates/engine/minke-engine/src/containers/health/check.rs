//! What a health check asks, when, and what its answers come to: decisions without anybody being asked.

use std::time::Duration;

use minke_api::container::{ContainerConfig, HealthConfig, HealthResult, HealthSummary};
use minke_store::document::Healthcheck;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::error::{Error, Result};

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// The shortest time that may be asked for.
const SHORTEST: i64 = 1_000_000;
/// How many answers are kept.
const KEPT: usize = 5;

/// A container's health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    interval: Duration,
    pub(crate) timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

impl Check {
    /// The check of a configuration; `None` when there is none, or it is switched off.
    pub(crate) fn of(config: &ContainerConfig) -> Option<Self> {
        let health = config.healthcheck.as_ref()?;
        let (kind, words) = health.test.as_deref()?.split_first()?;
        let command: Vec<String> = match kind.as_str() {
            "CMD" => words.to_vec(),
            "CMD-SHELL" => {
                let shell = config.shell.as_ref().filter(|shell| !shell.is_empty());
                let shell =
                    shell.map_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()], |shell| shell.to_vec());
                shell.into_iter().chain(words.iter().cloned()).collect()
            }
            // "NONE", and what nobody knows.
            _ => return None,
        };
        let or = |nanos: i64, default: Duration| match u64::try_from(nanos) {
            Ok(nanos) if nanos > 0 => Duration::from_nanos(nanos),
            _ => default,
        };
        Some(Self {
            command,
            interval: or(health.interval, INTERVAL),
            timeout: or(health.timeout, TIMEOUT),
            start_period: or(health.start_period, Duration::ZERO),
            start_interval: or(health.start_interval, START_INTERVAL),
            retries: u32::try_from(health.retries).ok().filter(|retries| *retries > 0).unwrap_or(RETRIES),
        })
    }

    /// How long after an answer (or the start) it is asked again.
    pub(super) fn pause(&self, status: Verdict, up: Duration) -> Duration {
        if status == Verdict::Starting && up < self.start_period {
            self.start_interval
        } else {
            self.interval
        }
    }
}

/// How a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It has not been well yet, and may take its time.
    #[default]
    Starting,
    /// It was well when it was last asked, or has not failed often enough since.
    Healthy,
    /// It failed too often in a row, or is not asked any more.
    Unhealthy,
}

impl Verdict {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When it was asked.
    pub start: Moment,
    /// When it had answered.
    pub end: Moment,
    /// The program's exit code, -1 when there was none.
    pub exit_code: i64,
    /// The beginning of what it said.
    pub output: String,
}

/// What is known of a container's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// How it is.
    pub status: Verdict,
    /// How often in a row it has failed.
    pub failing_streak: u32,
    /// The last answers, oldest first.
    pub log: Vec<Outcome>,
}

impl Health {
    /// The container starts; what it answered before is kept to be looked at.
    pub(crate) fn restart(self) -> Self {
        Self { status: Verdict::Starting, failing_streak: 0, log: self.log }
    }

    /// One more answer.
    pub(super) fn judge(&mut self, check: &Check, started_at: Moment, outcome: Outcome) {
        if outcome.exit_code == 0 {
            self.failing_streak = 0;
            self.status = Verdict::Healthy;
        } else {
            let may_fail =
                self.status == Verdict::Starting && outcome.start.since(started_at) < check.start_period;
            if !may_fail {
                self.failing_streak = self.failing_streak.saturating_add(1);
                if self.failing_streak >= check.retries {
                    self.status = Verdict::Unhealthy;
                }
            }
        }
        if self.log.len() >= KEPT {
            self.log.drain(..=self.log.len() - KEPT);
        }
        self.log.push(outcome);
    }

    /// As `inspect` shows it.
    pub(crate) fn to_wire(&self) -> minke_api::container::Health {
        let result = |outcome: &Outcome| HealthResult {
            start: outcome.start.rfc3339(),
            end: outcome.end.rfc3339(),
            exit_code: outcome.exit_code,
            output: outcome.output.clone(),
        };
        minke_api::container::Health {
            status: self.status.word().to_owned(),
            failing_streak: i64::from(self.failing_streak),
            log: self.log.iter().map(result).collect(),
        }
    }

    /// As a listing shows it.
    pub(crate) fn to_summary(health: Option<&Self>) -> HealthSummary {
        HealthSummary {
            status: health.map_or("none", |health| health.status.word()).to_owned(),
            failing_streak: health.map_or(0, |health| i64::from(health.failing_streak)),
        }
    }
}

/// Refuses what makes no sense, in Docker's words.
pub(crate) fn validate(health: &HealthConfig) -> Result<()> {
    let times = [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ];
    for (name, nanos) in times {
        if nanos != 0 && nanos < SHORTEST {
            return Err(Error::invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    if health.retries < 0 {
        return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
    }
    Ok(())
}

/// Fills in what the image says and the request does not.
pub(crate) fn inherit(own: &mut Option<HealthConfig>, image: Option<&Healthcheck>) {
    let Some(image) = image else { return };
    let own = own.get_or_insert_default();
    if own.test.as_ref().is_none_or(Vec::is_empty) {
        own.test = Some(image.test.clone()).filter(|test| !test.is_empty());
    }
    for (own, image) in [
        (&mut own.interval, image.interval),
        (&mut own.timeout, image.timeout),
        (&mut own.start_period, image.start_period),
        (&mut own.start_interval, image.start_interval),
        (&mut own.retries, image.retries),
    ] {
        if *own == 0 {
            *own = image;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: serde_json::Value) -> ContainerConfig {
        serde_json::from_value(serde_json::json!({ "Healthcheck": json })).expect("a configuration")
    }

    fn check(json: serde_json::Value) -> Check {
        Check::of(&config(json)).expect("a check")
    }

    fn answer(exit_code: i64, after: i64) -> Outcome {
        let at = Moment(after * 1_000_000_000);
        Outcome { start: at, end: at, exit_code, output: String::new() }
    }

    #[test]
    fn what_is_not_said_has_docker_s_defaults() {
        let check = check(serde_json::json!({"Test": ["CMD-SHELL", "true"]}));
        assert_eq!(check.command, ["/bin/sh", "-c", "true"]);
        assert_eq!((check.interval.as_secs(), check.timeout.as_secs(), check.retries), (30, 30, 3));
        assert_eq!(check.pause(Verdict::Starting, Duration::ZERO), INTERVAL, "without a start period");
        for none in [serde_json::json!({}), serde_json::json!({"Test": ["NONE"]})] {
            assert_eq!(Check::of(&config(none)), None);
        }
    }

    #[test]
    fn while_it_starts_it_is_asked_more_often_and_may_fail() {
        let check = check(serde_json::json!({
            "Test": ["CMD", "x"], "Interval": 60_000_000_000_i64, "StartPeriod": 10_000_000_000_i64,
            "StartInterval": 1_000_000_000, "Retries": 1
        }));
        assert_eq!(check.pause(Verdict::Starting, Duration::from_secs(9)).as_secs(), 1);
        assert_eq!(check.pause(Verdict::Healthy, Duration::from_secs(9)).as_secs(), 60);
        assert_eq!(check.pause(Verdict::Starting, Duration::from_secs(11)).as_secs(), 60);
        let mut health = Health::default();
        health.judge(&check, Moment(0), answer(1, 9));
        assert_eq!((health.status, health.failing_streak), (Verdict::Starting, 0));
        health.judge(&check, Moment(0), answer(1, 11));
        assert_eq!((health.status, health.failing_streak), (Verdict::Unhealthy, 1));
    }

    #[test]
    fn failures_in_a_row_make_unhealthy_and_one_success_makes_healthy() {
        let check = check(serde_json::json!({"Test": ["CMD", "x"], "Retries": 2}));
        let mut health = Health::default();
        let mut seen = Vec::new();
        for code in [1, 0, 1, 1, 0, 0, 0] {
            health.judge(&check, Moment(0), answer(code, 1));
            seen.push(health.status.word());
        }
        let (starting, healthy) = ("starting", "healthy");
        assert_eq!(seen, [starting, healthy, healthy, "unhealthy", healthy, healthy, healthy]);
        assert_eq!(health.log.len(), KEPT);
        assert_eq!(health.log[0].exit_code, 1, "the oldest answers are gone");
    }

    #[test]
    fn the_image_fills_in_what_the_request_leaves_out() {
        let image = Healthcheck {
            test: vec!["CMD".to_owned(), "image".to_owned()],
            interval: 5,
            retries: 7,
            ..Healthcheck::default()
        };
        let mut own = Some(HealthConfig { interval: 9, ..HealthConfig::default() });
        inherit(&mut own, Some(&image));
        let own = own.expect("there");
        assert_eq!((own.interval, own.retries), (9, 7));
        assert_eq!(own.test.as_deref(), Some(&["CMD".to_owned(), "image".to_owned()][..]));
        let mut none = None;
        inherit(&mut none, None);
        assert_eq!(none, None);
    }

    #[test]
    fn times_that_are_too_short_are_refused_in_docker_s_words() {
        let short = HealthConfig { interval: 1000, ..HealthConfig::default() };
        let error = validate(&short).expect_err("too short");
        assert_eq!(error.message(), "Interval in Healthcheck cannot be less than 1ms");
        let negative = HealthConfig { retries: -1, ..HealthConfig::default() };
        assert!(validate(&negative).is_err());
    }
}
