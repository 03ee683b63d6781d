//! One request, decoded as far as every endpoint needs it.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, UPGRADE};
use hyper::{HeaderMap, Method};
use minke_api::{ApiVersion, lenient, texts};
use minke_base::Kind;
use serde::de::DeserializeOwned;

use super::Failure;
use super::query::Query;
use super::upload::Upload;

/// No document of the API comes near this.
const MAX_DOCUMENT: usize = 16 << 20;

pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) version: ApiVersion,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Upload,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("version", &self.version)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    pub(crate) fn wants_upgrade(&self) -> bool {
        self.headers.contains_key(UPGRADE)
    }

    fn is_empty(&self) -> bool {
        self.body.is_end_stream() || self.headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0")
    }

    /// Whether the body claims to be JSON; a missing claim is fine as long as there is no body.
    fn check_json(&self) -> Result<(), Failure> {
        let given = self.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
        match given {
            None if self.is_empty() => Ok(()),
            Some(given)
                if given.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json") =>
            {
                Ok(())
            }
            given => Err(Failure::invalid(texts::bad_content_type(given.unwrap_or("")))),
        }
    }

    /// The whole body, up to the limit for documents.
    pub(crate) async fn bytes(&mut self) -> Result<Bytes, Failure> {
        match Limited::new(&mut self.body, MAX_DOCUMENT).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Failure::new(
                Kind::TooLarge,
                format!("the request's body is longer than the {MAX_DOCUMENT} bytes that are taken"),
            )),
            Err(error) => Err(Failure::invalid(format!("read the request's body: {error}"))),
        }
    }

    /// A body that must be JSON and must be there.
    pub(crate) async fn document_bytes(&mut self) -> Result<Bytes, Failure> {
        self.check_json()?;
        self.bytes().await
    }

    /// A JSON body; no body at all is the default.
    pub(crate) async fn document<T: DeserializeOwned + Default>(&mut self) -> Result<T, Failure> {
        self.check_json()?;
        if self.is_empty() {
            return Ok(T::default());
        }
        Ok(lenient::from_slice(&self.bytes().await?)?)
    }
}
