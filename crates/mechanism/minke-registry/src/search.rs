//! Searching: Docker Hub's old `/v1/search`, which other registries offer here and there.

use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde::Deserialize;

use crate::client::Client;
use crate::credentials::Credentials;
use crate::endpoint::{HUB, host_of, plan_endpoints};
use crate::error::Error;
use crate::token::Purpose;
use crate::transport::{Ask, read, refusal};

const MAX_ANSWER: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(15);
const HUB_INDEX: &str = "https://index.docker.io/";

/// What a registry found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    pub query: String,
    pub num_results: u64,
    pub results: Vec<SearchHit>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SearchHit {
    pub name: String,
    pub description: String,
    pub star_count: i64,
    pub is_official: bool,
    pub is_automated: bool,
}

impl Client {
    /// Searches a registry, named by its domain, for at most so many repositories. Somebody waits for the answer: it comes soon, or an
    /// error does.
    pub async fn search(
        &self,
        domain: &str,
        term: &str,
        limit: u32,
        credentials: &Credentials,
    ) -> Result<Found, Error> {
        let searching = self.search_everywhere(domain, term, limit, credentials);
        tokio::time::timeout(PATIENCE, searching).await.unwrap_or_else(|_elapsed| {
            Err(Error::Unreachable {
                method: "GET",
                url: domain.to_owned(),
                reason: format!("no answer for {} s", PATIENCE.as_secs()),
                reached: true,
            })
        })
    }

    async fn search_everywhere(
        &self,
        domain: &str,
        term: &str,
        limit: u32,
        credentials: &Credentials,
    ) -> Result<Found, Error> {
        let addresses = match domain {
            HUB => Vec::new(),
            domain => crate::resolve::lookup(host_of(domain)).await.unwrap_or_default(),
        };
        let mut failure = None;
        for endpoint in plan_endpoints(domain, &addresses, false, self.settings()) {
            let base = match domain {
                HUB => HUB_INDEX.parse().unwrap_or(endpoint.base),
                _ => endpoint.base,
            };
            let mut url =
                base.join("v1/search").map_err(|_source| Error::BadUrl { url: base.to_string() })?;
            url.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
            match self.search_at(url, endpoint.unverified, credentials).await {
                Err(error @ Error::Unreachable { .. }) => failure = Some(error),
                done => return done,
            }
        }
        Err(failure.unwrap_or_else(|| Error::BadUrl { url: domain.to_owned() }))
    }

    async fn search_at(&self, url: Url, unverified: bool, credentials: &Credentials) -> Result<Found, Error> {
        let inner = &self.inner;
        let patience = inner.web.settings().patience;
        let ask = |authorization| {
            let mut ask = Ask::get(url.clone());
            ask.unverified = unverified;
            ask.authorization = authorization;
            ask
        };
        let mut response = inner.web.ask(ask(None)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let purpose = Purpose::new(&url, &[], credentials);
            let answer =
                inner.passes.answer(&inner.web, &response, &purpose, credentials, unverified).await?;
            if let Some(authorization) = answer {
                response = inner.web.ask(ask(Some(authorization))).await?;
            }
        }
        if !response.status().is_success() {
            return Err(refusal(&reqwest::Method::GET, response, patience).await);
        }
        let bytes = read(response, "the answer", MAX_ANSWER, patience).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::Protocol { url: url.to_string(), reason: format!("its answer: {error}") })
    }
}
