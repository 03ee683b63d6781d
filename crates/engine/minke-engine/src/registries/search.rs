//! Searching a registry for repositories, and which of those found are wanted.

use minke_api::system::AuthConfig;

use super::wire::SearchHit;
use super::{Registries, credentials, failed};
use crate::error::{Error, Result};
use crate::filters::Filters;

const DEFAULT_LIMIT: i64 = 25;
const MAX_LIMIT: i64 = 100;

impl Registries {
    /// Searches the registry that the term begins with, or Docker Hub.
    pub async fn search(
        &self,
        term: &str,
        limit: Option<i64>,
        filters: &Filters,
        auth: Option<&AuthConfig>,
    ) -> Result<Vec<SearchHit>> {
        let wanted = Wanted::read(filters)?;
        let limit = match limit {
            None | Some(0) => DEFAULT_LIMIT,
            Some(limit @ 1..=MAX_LIMIT) => limit,
            Some(limit) => {
                return Err(Error::invalid(format!(
                    "limit {limit} is outside the range of [1, {MAX_LIMIT}]"
                )));
            }
        };
        if term.contains("://") {
            return Err(Error::invalid(format!(
                "invalid repository name: repository name ({term}) should not have a scheme"
            )));
        }
        let (domain, term) = split_term(term);
        let limit = u32::try_from(limit).unwrap_or_default();
        let found = self.client().search(&domain, &term, limit, &credentials(auth)).await.map_err(failed)?;
        let hits = found.results.into_iter().map(|hit| SearchHit {
            star_count: hit.star_count,
            is_official: hit.is_official,
            name: hit.name,
            // Docker Hub builds nothing by itself any more; the field stays for its readers.
            is_automated: hit.is_automated,
            description: hit.description,
        });
        Ok(hits.filter(|hit| wanted.takes(hit)).collect())
    }
}

/// The registry of a term and what is looked for there.
fn split_term(term: &str) -> (String, String) {
    match term.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
            (super::domain_of(host), rest.to_owned())
        }
        _ => ("docker.io".to_owned(), term.strip_prefix("library/").unwrap_or(term).to_owned()),
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    official: Option<bool>,
    automated: Option<bool>,
    stars: i64,
}

impl Wanted {
    fn read(filters: &Filters) -> Result<Self> {
        filters.allow_only(&["is-automated", "is-official", "stars"])?;
        let mut stars = 0;
        for text in filters.values("stars") {
            let number: i64 =
                text.parse().map_err(|_source| Error::invalid(format!("invalid filter 'stars={text}'")))?;
            stars = stars.max(number);
        }
        Ok(Self {
            official: filters.boolean("is-official")?,
            automated: filters.boolean("is-automated")?,
            stars,
        })
    }

    fn takes(&self, hit: &SearchHit) -> bool {
        self.official.is_none_or(|wanted| wanted == hit.is_official)
            && self.automated.is_none_or(|wanted| wanted == hit.is_automated)
            && hit.star_count >= self.stars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_may_begin_with_a_registry() {
        let split = |term| {
            let (domain, term) = split_term(term);
            format!("{domain} {term}")
        };
        assert_eq!(split("hello"), "docker.io hello");
        assert_eq!(split("library/hello"), "docker.io hello");
        assert_eq!(split("user/hello"), "docker.io user/hello");
        assert_eq!(split("localhost:5000/user/hello"), "localhost:5000 user/hello");
    }
}
