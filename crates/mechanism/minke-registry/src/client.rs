//! The client: connections and authorizations that repositories share.

use std::sync::Arc;

use futures_util::StreamExt as _;
use reqwest::Url;
use tokio::sync::mpsc;

use crate::blob::{BlobReader, PIECES};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::repository::Repository;
use crate::settings::{InvalidSetting, Settings};
use crate::token::Passes;
use crate::transport::{Ask, Web, innermost, refusal};

/// Cheap to clone. Other settings are another client.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) web: Web,
    pub(crate) passes: Passes,
}

impl Client {
    pub fn new(settings: Settings) -> Result<Self, InvalidSetting> {
        let proxies = settings.proxies.plan()?;
        Ok(Self { inner: Arc::new(Inner { web: Web::new(settings, proxies), passes: Passes::default() }) })
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.inner.web.settings()
    }

    /// A repository, by the domain and the path of a reference. Nobody is asked yet.
    #[must_use]
    pub fn repository(&self, domain: &str, path: &str, credentials: Credentials) -> Repository {
        Repository::new(self.clone(), domain, path, credentials)
    }

    /// Opens any address, for `ADD URL` and `import URL`. Redirects are followed; the reader is for blocking code.
    pub async fn download(&self, url: &str) -> Result<BlobReader, Error> {
        let bad = || Error::BadUrl { url: url.to_owned() };
        let url: Url = url.parse().map_err(|_source| bad())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad());
        }
        let ask = Ask::get(url.clone());
        let method = ask.method.clone();
        let patience = self.inner.web.settings().patience;
        let response = self.inner.web.ask(ask).await?;
        if !response.status().is_success() {
            return Err(refusal(&method, response, patience).await);
        }
        let (send, pieces) = mpsc::channel(PIECES);
        let mut body = response.bytes_stream();
        tokio::spawn(async move {
            loop {
                let piece = match tokio::time::timeout(patience.answer, body.next()).await {
                    Ok(None) => return,
                    Ok(Some(piece)) => piece.map_err(|error| std::io::Error::other(innermost(&error))),
                    Err(_elapsed) => {
                        let text = format!("{url}: no byte for {} s", patience.answer.as_secs());
                        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
                    }
                };
                let last = piece.is_err();
                if send.send(piece).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(BlobReader::from_pieces(pieces))
    }
}

#[cfg(test)]
mod tests {
    use minke_base::Kind;

    use super::*;

    #[tokio::test]
    async fn other_schemes_are_refused() {
        let client = Client::new(Settings::default()).unwrap();
        let error = client.download("ftp://example.org/x").await.err().unwrap();
        assert_eq!(error.kind(), Kind::InvalidParameter);
    }
}
