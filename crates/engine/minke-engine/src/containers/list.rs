//! List: one line per container, filtered and in the order of their making, newest first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use minke_api::container::{ContainerSummary, PortSummary, SummaryHostConfig, SummaryNetworkSettings};
use minke_api::network::EndpointSettings;

use super::Containers;
use super::container::Container;
use super::health::{Health, Verdict};
use super::record::{Life, Phase, Record};
use super::requests::ListOptions;
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::filters::{Filters, pattern_matches};
use crate::networks::ports::{self, Port};

const KNOWN: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATES: &[&str] = &["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/// A container with copies of what the filters look at.
struct Seen {
    container: Arc<Container>,
    record: Arc<Record>,
    life: Life,
}

impl Containers {
    /// The containers that pass.
    pub async fn list(self: &Arc<Self>, options: ListOptions) -> Result<Vec<ContainerSummary>> {
        let now = Moment::now();
        let chosen = self.choose(&options)?;
        let mut summaries = Vec::with_capacity(chosen.len());
        for seen in chosen {
            let mut summary = self.summary(&seen, now);
            if options.size {
                (summary.size_rw, summary.size_root_fs) = self.measure(&seen.container).await?;
            }
            summaries.push(summary);
        }
        Ok(summaries)
    }

    fn choose(&self, options: &ListOptions) -> Result<Vec<Seen>> {
        let filters = &options.filters;
        check_filters(filters)?;
        let bound = |name: &str| -> Result<Option<Moment>> {
            let mut found = None;
            for reference in filters.values(name) {
                if reference.is_empty() {
                    return Err(Error::not_found(minke_api::texts::no_such_container(reference)));
                }
                found = Some(self.find(reference)?.record().created);
            }
            Ok(found)
        };
        let (before, since) = (bound("before")?, bound("since")?);
        let ancestors = match filters.has("ancestor") {
            true => Some(self.parts.images.resolve_ancestors(filters.values("ancestor"))),
            false => None,
        };
        let everything = options.all || options.limit > 0 || filters.has("status") || filters.has("exited");
        let mut seen: Vec<Seen> = self
            .parts
            .registry
            .all()
            .into_iter()
            .map(|container| Seen { record: container.record(), life: container.life(), container })
            .filter(|seen| everything || seen.life.phase.is_live() || seen.life.phase == Phase::Restarting)
            .filter(|seen| before.is_none_or(|before| seen.record.created < before))
            .filter(|seen| since.is_none_or(|since| seen.record.created > since))
            .filter(|seen| ancestors.as_ref().is_none_or(|ids| ids.contains(&seen.record.image)))
            .filter(|seen| passes(seen, filters))
            .collect();
        seen.sort_by_key(|seen| std::cmp::Reverse(seen.record.created));
        if options.limit > 0 {
            seen.truncate(options.limit);
        }
        Ok(seen)
    }

    fn summary(&self, seen: &Seen, now: Moment) -> ContainerSummary {
        let (record, life) = (&seen.record, &seen.life);
        ContainerSummary {
            id: seen.container.id.as_str().to_owned(),
            names: self.names(seen),
            image: self.parts.images.name_for_list(&record.config.image, &record.image),
            image_id: record.image.clone(),
            command: command(record),
            created: record.created.seconds(),
            ports: shown_ports(record, life),
            labels: record.labels(),
            state: life.phase.word().to_owned(),
            status: status(life, now),
            host_config: SummaryHostConfig {
                network_mode: record.host.network_mode.clone(),
                annotations: record.host.annotations.clone(),
            },
            network_settings: SummaryNetworkSettings { networks: self.listed_endpoints(seen) },
            mounts: self.listed_mounts(record),
            health: Some(Health::to_summary(life.health.as_deref())),
            ..ContainerSummary::default()
        }
    }
}

impl Containers {
    /// Its own name, and those that links give it.
    fn names(&self, seen: &Seen) -> Vec<String> {
        let links = self.parts.registry.links_to(&seen.container.id);
        let links = links.into_iter().map(|(container, alias)| format!("/{container}/{alias}"));
        let mut names: Vec<String> = std::iter::once(format!("/{}", seen.record.name)).chain(links).collect();
        names.sort_unstable();
        names
    }

    /// A listing tells less of each network than inspect does.
    fn listed_endpoints(&self, seen: &Seen) -> BTreeMap<String, EndpointSettings> {
        let mut endpoints = self.endpoints(seen.container.id.as_str(), &seen.record, &seen.life);
        for settings in endpoints.values_mut() {
            settings.aliases = None;
            settings.links = None;
            settings.driver_opts = None;
            settings.dns_names = None;
        }
        endpoints
    }
}

fn check_filters(filters: &Filters) -> Result<()> {
    filters.allow_only(KNOWN)?;
    for value in filters.values("status") {
        if !STATES.contains(&value.as_str()) {
            return Err(Error::invalid(format!(
                "invalid filter 'status={value}': invalid value for state ({value}): must be one of {}",
                STATES.join(", ")
            )));
        }
    }
    for value in filters.values("exited") {
        value.parse::<i64>().map_err(|source| {
            Error::invalid(format!(
                "invalid filter 'exited={value}': strconv.Atoi: parsing {value:?}: invalid syntax"
            ))
            .caused_by(source)
        })?;
    }
    for value in filters.values("health") {
        if !matches!(value.as_str(), "starting" | "healthy" | "unhealthy" | "none") {
            return Err(Error::invalid(format!(
                "invalid filter 'health={value}': invalid value for health ({value}): must be one of none, starting, healthy, unhealthy"
            )));
        }
    }
    for name in ["expose", "publish"] {
        for value in filters.values(name) {
            ports::read_filter(name, value)?;
        }
    }
    filters.boolean("is-task").map(|_truth| ())
}

fn passes(seen: &Seen, filters: &Filters) -> bool {
    let (record, life) = (&seen.record, &seen.life);
    let labels = record.config.labels.as_ref();
    let network = |wanted: &str| {
        record.endpoints().contains_key(wanted)
            || life.places.iter().any(|place| wanted.len() >= 12 && place.network.starts_with(wanted))
    };
    filters.any("id", |id| seen.container.id.as_str().starts_with(id))
        && filters.any("name", |pattern| {
            pattern_matches(pattern, &record.name) || pattern_matches(pattern, &format!("/{}", record.name))
        })
        && filters.exact("status", life.phase.word())
        && filters.any("exited", |code| life.phase == Phase::Exited && code.parse() == Ok(life.exit_code))
        && filters.labels("label", |key| labels.and_then(|map| map.get(key)).map(String::as_str))
        && filters.any("network", network)
        && filters.any("volume", |wanted| {
            record
                .mounts()
                .iter()
                .filter_map(|wish| wish.to_mount_point(|_name| std::path::PathBuf::new()))
                .any(|point| point.destination == wanted || point.source == wanted || point.name == wanted)
        })
        && filters.exact("health", &Health::to_summary(life.health.as_deref()).status)
        && filters.any("is-task", |wanted| matches!(wanted, "0" | "false" | "f" | "F" | "False" | "FALSE"))
        && filters.any("expose", |port| {
            let own = ports::exposed(&record.config);
            has_port("expose", port, |wanted| own.contains(wanted))
        })
        && filters.any("publish", |port| {
            let bindings = life.bindings();
            has_port("publish", port, |wanted| {
                bindings.iter().any(|own| own.host_port == wanted.number && own.protocol == wanted.protocol)
            })
        })
}

/// Whether one of the ports that a filter means is among a container's. The filter was checked before.
fn has_port(name: &str, wanted: &str, own: impl Fn(&Port) -> bool) -> bool {
    ports::read_filter(name, wanted).is_ok_and(|wanted| wanted.iter().any(own))
}

/// The program with its arguments, words with blanks in quotes, as Docker lists it.
fn command(record: &Record) -> String {
    let (program, args) = record.program();
    std::iter::once(&program)
        .chain(&args)
        .enumerate()
        .map(|(at, word)| match at > 0 && word.contains(' ') {
            true => format!("'{word}'"),
            false => word.clone(),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Ports show while the container runs in a network of its own.
fn shown_ports(record: &Record, life: &Life) -> Vec<PortSummary> {
    if !life.phase.is_live() || life.places.iter().all(|place| place.endpoint.is_none()) {
        return Vec::new();
    }
    ports::to_summary(&record.config, &life.bindings())
}

/// `Up 3 minutes (Paused)`, `Exited (0) 2 hours ago` …
pub(super) fn status(life: &Life, now: Moment) -> String {
    let since = |moment: Moment| human(now.since(moment));
    match life.phase {
        Phase::Created => "Created".to_owned(),
        Phase::Running => match life.health.as_deref().map(|health| health.status) {
            None => format!("Up {}", since(life.started_at)),
            Some(Verdict::Starting) => format!("Up {} (health: starting)", since(life.started_at)),
            Some(status) => format!("Up {} ({})", since(life.started_at), status.word()),
        },
        Phase::Paused => format!("Up {} (Paused)", since(life.started_at)),
        Phase::Restarting => format!("Restarting ({}) {} ago", life.exit_code, since(life.finished_at)),
        Phase::Removing => "Removal In Progress".to_owned(),
        Phase::Dead => "Dead".to_owned(),
        Phase::Exited if life.finished_at.is_never() => String::new(),
        Phase::Exited => format!("Exited ({}) {} ago", life.exit_code, since(life.finished_at)),
    }
}

fn human(span: Duration) -> String {
    minke_base::duration::human(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_how_long() {
        let now = Moment(1_000_000_000_000);
        let ago = |seconds: i64| Moment(now.0 - seconds * 1_000_000_000);
        let life = |phase| Life {
            phase,
            started_at: ago(180),
            finished_at: ago(5),
            exit_code: 3,
            ..Life::default()
        };
        assert_eq!(status(&life(Phase::Running), now), "Up 3 minutes");
        assert_eq!(status(&life(Phase::Paused), now), "Up 3 minutes (Paused)");
        assert_eq!(status(&life(Phase::Exited), now), "Exited (3) 5 seconds ago");
        assert_eq!(status(&life(Phase::Restarting), now), "Restarting (3) 5 seconds ago");
        assert_eq!(status(&life(Phase::Created), now), "Created");
    }

    #[test]
    fn a_wrong_filter_is_refused_in_dockers_words() {
        let filters = Filters::from_iter([("exited", "x")]);
        let error = check_filters(&filters).expect_err("no number");
        assert_eq!(error.message(), "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax");
        assert!(check_filters(&Filters::from_iter([("status", "x")])).is_err());
    }
}
