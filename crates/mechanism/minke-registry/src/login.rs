//! Whether a registry knows somebody.

use reqwest::{StatusCode, Url};

use crate::challenge::parse_challenges;
use crate::client::Client;
use crate::credentials::Credentials;
use crate::endpoint::{host_of, plan_endpoints};
use crate::error::Error;
use crate::token::{Purpose, fetch_token};
use crate::transport::Ask;

/// A registry knows who this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// What may be shown instead of the password from now on; often empty.
    pub identity_token: String,
}

impl Client {
    /// Shows credentials to a registry, named by its domain.
    pub async fn login(&self, domain: &str, credentials: &Credentials) -> Result<LoggedIn, Error> {
        let addresses = match domain {
            crate::endpoint::HUB => Vec::new(),
            domain => crate::resolve::lookup(host_of(domain)).await.unwrap_or_default(),
        };
        let mut failure = None;
        for endpoint in plan_endpoints(domain, &addresses, false, self.settings()) {
            let url = endpoint.url("").ok_or_else(|| Error::BadUrl { url: domain.to_owned() })?;
            match self.login_at(url, endpoint.unverified, credentials).await {
                Err(error @ Error::Unreachable { .. }) => failure = Some(error),
                done => return done,
            }
        }
        Err(failure.unwrap_or_else(|| Error::BadUrl { url: domain.to_owned() }))
    }

    async fn login_at(
        &self,
        url: Url,
        unverified: bool,
        credentials: &Credentials,
    ) -> Result<LoggedIn, Error> {
        let web = &self.inner.web;
        let ask = |authorization| {
            let mut ask = Ask::get(url.clone());
            ask.unverified = unverified;
            ask.authorization = authorization;
            ask
        };
        let first = web.ask(ask(None)).await?;
        if first.status().is_success() {
            return Ok(LoggedIn { identity_token: String::new() });
        }
        if first.status() != StatusCode::UNAUTHORIZED {
            return Err(attempt(&url, first.status()));
        }
        let bearer = first
            .headers()
            .get_all(reqwest::header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(parse_challenges)
            .find(|challenge| challenge.scheme == "bearer");
        let (authorization, identity_token) = match bearer {
            Some(bearer) => {
                let token = fetch_token(web, &bearer, &[], credentials, (&url, unverified), true).await?;
                let authorization = format!("Bearer {}", token.value());
                (crate::token::header(&authorization, &url)?, token.refresh_token)
            }
            None => {
                let purpose = Purpose::new(&url, &[], credentials);
                let passes = crate::token::Passes::default();
                match passes.answer(web, &first, &purpose, credentials, unverified).await? {
                    Some(authorization) => (authorization, String::new()),
                    None => return Err(attempt(&url, first.status())),
                }
            }
        };
        let second = web.ask(ask(Some(authorization))).await?;
        if second.status().is_success() {
            Ok(LoggedIn { identity_token })
        } else {
            Err(attempt(&url, second.status()))
        }
    }
}

fn attempt(url: &Url, status: StatusCode) -> Error {
    Error::Login {
        url: url.to_string(),
        status: status.as_u16(),
        reason: status.canonical_reason().unwrap_or_default().to_owned(),
    }
}
