//! The query of `POST /build` as what the engine is asked for.

use std::collections::BTreeMap;

use minke_api::container::Ulimit;
use minke_base::Reference;
use minke_engine::builds::{BuildLimits, BuildRequest, CacheSource, OutputKind};
use serde::de::DeserializeOwned;

use crate::http::Failure;
use crate::http::query::Query;

/// Everything but files.
pub(super) fn request(query: &Query) -> Result<BuildRequest, Failure> {
    refuse(query)?;
    let names = query.all("t").filter(|name| !name.is_empty()).map(reference).collect::<Result<_, _>>()?;
    Ok(BuildRequest {
        id: query.get("buildid").to_owned(),
        names,
        args: document(query, "buildargs", "build args")?,
        labels: document(query, "labels", "labels")?,
        target: query.get("target").to_owned(),
        platform: query.get("platform").to_owned(),
        pull: query.flag("pull"),
        no_cache: query.flag("nocache"),
        cache_from: cache_sources(query)?,
        squash: query.flag("squash"),
        network: query.get("networkmode").to_owned(),
        extra_hosts: extra_hosts(query)?,
        limits: limits(query)?,
        ..BuildRequest::default()
    })
}

/// What is understood and not done.
fn refuse(query: &Query) -> Result<(), Failure> {
    match query.get("version") {
        "" | "1" => {}
        "2" => {
            return Err(Failure::not_built(
                "BuildKit's protocol (version=2) is not spoken: leave version out, everything in a Dockerfile is \
                 understood without it. Its sessions are",
            ));
        }
        other => return Err(Failure::invalid(format!("invalid version {other:?}: want 1"))),
    }
    match query.get("isolation") {
        "" | "default" => {}
        other => return Err(Failure::invalid(format!("Unsupported isolation: {other:?}"))),
    }
    Ok(())
}

fn reference(text: &str) -> Result<Reference, Failure> {
    let reference = Reference::parse(text).map_err(|error| Failure::invalid(error.to_string()))?;
    if reference.digest().is_some() {
        return Err(Failure::invalid("build tag cannot contain a digest"));
    }
    Ok(reference.or_latest())
}

/// Docker's names of images that are here, and `BuildKit`'s `type=registry,ref=NAME`.
fn cache_sources(query: &Query) -> Result<Vec<CacheSource>, Failure> {
    let texts: Vec<String> = document(query, "cachefrom", "cache from")?;
    let read = |text: String| match text.split_once('=') {
        None => Ok(CacheSource { name: text, pull: false }),
        Some(_) => {
            let field = |name: &str| text.split(',').find_map(|field| field.trim().strip_prefix(name));
            match (field("type="), field("ref=")) {
                (Some("registry") | None, Some(name)) => {
                    Ok(CacheSource { name: name.to_owned(), pull: true })
                }
                _ => Err(Failure::invalid(format!(
                    "cache from {text:?}: only images can be taken from (NAME or type=registry,ref=NAME)"
                ))),
            }
        }
    };
    texts.into_iter().map(read).collect()
}

/// A parameter that is JSON.
fn document<T: DeserializeOwned + Default>(query: &Query, name: &str, what: &str) -> Result<T, Failure> {
    match query.text(name) {
        None | Some("null") => Ok(T::default()),
        Some(text) => minke_api::lenient::from_slice(text.as_bytes())
            .map_err(|error| Failure::invalid(format!("error reading {what}: {error}"))),
    }
}

/// Clients send `a:1,b:2`, each in a parameter of its own, or JSON.
fn extra_hosts(query: &Query) -> Result<Vec<String>, Failure> {
    let mut hosts = Vec::new();
    for text in query.all("extrahosts").filter(|text| !text.is_empty()) {
        if text.starts_with('[') {
            hosts.extend(document::<Vec<String>>(query, "extrahosts", "extra hosts")?);
        } else if text.starts_with('{') {
            let pairs: BTreeMap<String, String> = document(query, "extrahosts", "extra hosts")?;
            hosts.extend(pairs.into_iter().map(|(name, address)| format!("{name}:{address}")));
        } else {
            hosts.extend(text.split(',').map(str::to_owned));
        }
    }
    Ok(hosts)
}

fn limits(query: &Query) -> Result<BuildLimits, Failure> {
    let number = |name: &str| query.number(name).map(Option::unwrap_or_default);
    let ulimits: Vec<Ulimit> = document(query, "ulimits", "ulimits")?;
    Ok(BuildLimits {
        memory: number("memory")?,
        memory_swap: number("memswap")?,
        shm_size: number("shmsize")?,
        cpu_shares: number("cpushares")?,
        cpu_period: number("cpuperiod")?,
        cpu_quota: number("cpuquota")?,
        cpuset_cpus: query.get("cpusetcpus").to_owned(),
        cpuset_mems: query.get("cpusetmems").to_owned(),
        cgroup_parent: query.get("cgroupparent").to_owned(),
        ulimits,
        security: query.all("securityopt").filter(|text| !text.is_empty()).map(str::to_owned).collect(),
    })
}

/// What each `--output` was.
pub(super) fn outputs(words: &str) -> Result<Vec<OutputKind>, Failure> {
    let known = |word: &str| {
        Ok(match word {
            "image" => OutputKind::Image,
            "tar" => OutputKind::Tar,
            "oci" => OutputKind::Oci,
            "docker" => OutputKind::Docker,
            "none" => OutputKind::None,
            other => return Err(Failure::invalid(format!("unknown output {other:?}"))),
        })
    };
    words.split(',').filter(|word| !word.is_empty()).map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_a_request() {
        let query = Query::parse(
            "t=a%2Fb%3A1&t=c&buildargs=%7B%22x%22%3A%221%22%2C%22y%22%3Anull%7D&memory=1024&nocache=1&\
             ulimits=%5B%7B%22Name%22%3A%22nofile%22%2C%22Soft%22%3A1%2C%22Hard%22%3A2%7D%5D&cachefrom=%5B%22i%22,%22type=registry,ref=r/i%22%5D",
        );
        let request = request(&query).expect("all fine");
        let names: Vec<String> = request.names.iter().map(Reference::familiar).collect();
        assert_eq!(names, ["a/b:1", "c:latest"]);
        assert_eq!(request.args["x"].as_deref(), Some("1"));
        assert_eq!(request.args["y"], None);
        assert_eq!((request.limits.memory, request.no_cache), (1024, true));
        assert_eq!((request.limits.ulimits[0].soft, request.limits.ulimits[0].hard), (1, 2));
        let lenders: Vec<_> = request.cache_from.iter().map(|from| (from.name.as_str(), from.pull)).collect();
        assert_eq!(lenders, [("i", false), ("r/i", true)]);
    }

    #[test]
    fn hosts_come_in_three_ways() {
        let hosts = |text: &str| extra_hosts(&Query::parse(text)).expect("fine");
        assert_eq!(hosts("extrahosts=a%3A1&extrahosts=b%3A2%2Cc%3A3"), ["a:1", "b:2", "c:3"]);
        assert_eq!(hosts("extrahosts=%5B%22a%3A1%22%5D"), ["a:1"]);
        assert_eq!(hosts("extrahosts=%7B%22a%22%3A%221%22%7D"), ["a:1"]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refused = |text: &str| request(&Query::parse(text)).expect_err("refused").message().to_owned();
        assert!(refused("version=2").contains("BuildKit"));
        assert!(refused("buildargs=x").starts_with("error reading build args: "));
        assert!(refused("t=Bad").contains("must be lowercase"));
        assert!(refused("cachefrom=%5B%22type=local,src=x%22%5D").contains("only images"));
        assert!(refused("isolation=hyperv").contains("isolation"));
    }
}
