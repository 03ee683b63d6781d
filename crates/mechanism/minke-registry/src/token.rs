//! Being let in: answers to challenges, and tokens for as long as they last.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Response, Url};
use serde::Deserialize;

use crate::challenge::{Challenge, parse_challenges};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::transport::{Ask, Web, read, refusal};

const MAX_TOKEN: u64 = 1 << 20;
/// Tokens that say nothing last so long, and none is taken to last shorter.
const SHORTEST: Duration = Duration::from_secs(60);
/// A token is not used in its last seconds.
const MARGIN: Duration = Duration::from_secs(5);
const MAX_CACHED: usize = 256;
const CLIENT_ID: &str = "docker";

/// What authorizations are good for: a place, what is done there, and who does it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Purpose {
    origin: String,
    scopes: Vec<String>,
    who: [u8; 32],
}

impl Purpose {
    pub(crate) fn new(place: &Url, scopes: &[String], credentials: &Credentials) -> Self {
        Self {
            origin: place.origin().ascii_serialization(),
            scopes: scopes.to_vec(),
            who: credentials.fingerprint(),
        }
    }

    /// The same, whatever is done.
    fn anything(&self) -> Self {
        Self { scopes: Vec::new(), ..self.clone() }
    }
}

#[derive(Debug, Clone)]
struct Pass {
    authorization: HeaderValue,
    until: Option<Instant>,
}

/// Authorizations that were good before.
#[derive(Debug, Default)]
pub(crate) struct Passes(Mutex<HashMap<Purpose, Pass>>);

impl Passes {
    pub(crate) fn get(&self, purpose: &Purpose) -> Option<HeaderValue> {
        let passes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = passes.get(purpose).or_else(|| passes.get(&purpose.anything()))?;
        pass.until.is_none_or(|until| Instant::now() < until).then(|| pass.authorization.clone())
    }

    fn keep(&self, purpose: Purpose, pass: Pass) {
        let mut passes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if passes.len() >= MAX_CACHED {
            passes.clear();
        }
        passes.insert(purpose, pass);
    }

    /// Answers the challenge of a 401. `None` when there is nothing (else) to show.
    pub(crate) async fn answer(
        &self,
        web: &Web,
        refused: &Response,
        purpose: &Purpose,
        credentials: &Credentials,
        unverified: bool,
    ) -> Result<Option<HeaderValue>, Error> {
        let url = refused.url();
        let challenges: Vec<Challenge> = refused
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(parse_challenges)
            .collect();
        let find = |scheme| challenges.iter().find(|challenge| challenge.scheme == scheme);
        if let Some(bearer) = find("bearer") {
            let token =
                fetch_token(web, bearer, &purpose.scopes, credentials, (url, unverified), false).await?;
            let authorization = header(&format!("Bearer {}", token.value()), url)?;
            let lasts = Duration::from_secs(token.expires_in.unwrap_or(0)).max(SHORTEST) - MARGIN;
            let pass = Pass { authorization: authorization.clone(), until: Some(Instant::now() + lasts) };
            self.keep(purpose.clone(), pass);
            return Ok(Some(authorization));
        }
        if find("basic").is_some() {
            if !credentials.has_password() {
                return Err(Error::NoCredentials { method: "GET", url: url.to_string() });
            }
            let authorization = header(&credentials.basic(), url)?;
            let pass = Pass { authorization: authorization.clone(), until: None };
            self.keep(purpose.anything(), pass);
            return Ok(Some(authorization));
        }
        Ok(None)
    }

    /// What was shown was not good (any more).
    pub(crate) fn forget(&self, purpose: &Purpose) {
        let mut passes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        passes.remove(purpose);
        passes.remove(&purpose.anything());
    }
}

pub(crate) fn header(text: &str, url: &Url) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(|_source| Error::Token {
        realm: url.to_string(),
        reason: "the token or the credentials hold characters that no header may".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a token server gives.
#[derive(Deserialize)]
pub(crate) struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    pub(crate) refresh_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Token {
    pub(crate) fn value(&self) -> &str {
        if self.token.is_empty() { &self.access_token } else { &self.token }
    }
}

/// Asks the token server that the challenge names. `offline` asks for a refresh token as well.
pub(crate) async fn fetch_token(
    web: &Web,
    challenge: &Challenge,
    scopes: &[String],
    credentials: &Credentials,
    (registry, unverified): (&Url, bool),
    offline: bool,
) -> Result<Token, Error> {
    if !credentials.registry_token.is_empty() {
        return Ok(Token {
            token: credentials.registry_token.clone(),
            access_token: String::new(),
            refresh_token: String::new(),
            expires_in: None,
        });
    }
    let realm = challenge.get("realm");
    let failed = |reason: &str| Error::Token { realm: realm.to_owned(), reason: reason.to_owned() };
    let url: Url = realm.parse().map_err(|_source| failed("the registry names no address"))?;
    match (url.scheme(), registry.scheme()) {
        ("https", _) | ("http", "http") => {}
        // A registry that shows itself behind TLS does not ask for secrets in the open, unless it was waived.
        ("http", _) if unverified => {}
        ("http", _) => return Err(failed("it is not protected, and the registry is")),
        _ => return Err(failed("want an http:// or https:// address")),
    }
    let service = challenge.get("service");
    let mut wanted: Vec<&str> = scopes.iter().map(String::as_str).collect();
    // Where nothing certain is done (search, login), what the registry says is needed.
    if wanted.is_empty() && !challenge.get("scope").is_empty() {
        wanted.push(challenge.get("scope"));
    }
    let mut ask = if credentials.identity_token.is_empty() {
        ask_with_password(url, service, &wanted, credentials, offline)?
    } else {
        ask_with_refresh_token(url, service, &wanted, credentials)?
    };
    ask.unverified = web.is_insecure(&ask.url) || (unverified && ask.url.host_str() == registry.host_str());
    let (method, patience) = (ask.method.clone(), web.settings().patience);
    let response = web.ask(ask).await?;
    if !response.status().is_success() {
        return Err(refusal(&method, response, patience).await);
    }
    let bytes = read(response, "the answer", MAX_TOKEN, patience).await?;
    let token: Token =
        serde_json::from_slice(&bytes).map_err(|_source| failed("its answer holds no token"))?;
    if token.value().is_empty() { Err(failed("its answer holds no token")) } else { Ok(token) }
}

fn ask_with_password(
    mut url: Url,
    service: &str,
    scopes: &[&str],
    credentials: &Credentials,
    offline: bool,
) -> Result<Ask, Error> {
    {
        let mut query = url.query_pairs_mut();
        if !service.is_empty() {
            query.append_pair("service", service);
        }
        for scope in scopes {
            query.append_pair("scope", scope);
        }
        if credentials.has_password() {
            query.append_pair("account", &credentials.username);
        }
        if offline {
            query.append_pair("offline_token", "true").append_pair("client_id", CLIENT_ID);
        }
    }
    let mut ask = Ask::get(url);
    if credentials.has_password() {
        ask.authorization = Some(header(&credentials.basic(), &ask.url)?);
    }
    Ok(ask)
}

fn ask_with_refresh_token(
    url: Url,
    service: &str,
    scopes: &[&str],
    credentials: &Credentials,
) -> Result<Ask, Error> {
    // The form's encoding is a query's; this address goes nowhere.
    let mut form = url.clone();
    form.set_query(None);
    form.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("service", service)
        .append_pair("client_id", CLIENT_ID)
        .append_pair("refresh_token", &credentials.identity_token)
        .append_pair("scope", &scopes.join(" "));
    let mut ask = Ask::new(Method::POST, url);
    ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    ask.body = Some(form.query().unwrap_or_default().to_owned().into());
    Ok(ask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[tokio::test]
    async fn secrets_that_tls_protects_are_not_told_to_a_token_server_without() {
        let web = Web::new(Settings::default(), Vec::new());
        let registry: Url = "https://r.example/v2/".parse().unwrap();
        for realm in ["http://r.example/token", "ftp://r.example/token", "r.example", ""] {
            let challenges = parse_challenges(&format!("Bearer realm=\"{realm}\""));
            let credentials = Credentials::password("alice", "secret");
            let place = (&registry, false);
            let refused = fetch_token(&web, &challenges[0], &[], &credentials, place, false).await;
            assert!(matches!(refused, Err(Error::Token { .. })), "{realm}");
        }
    }
}
