//! What an endpoint gives back: an ordinary answer, a hijacked connection, or a failure. The one place where an error's
//! kind becomes a status.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use minke_api::ErrorResponse;
use minke_base::Kind;
use serde::Serialize;

use super::Body;
use super::body::Pieces;
use super::hijack::Hijack;

pub(crate) type Outcome = Result<Answer, Failure>;

#[derive(Debug)]
pub(crate) enum Answer {
    Http(Response<Body>),
    Hijack(Hijack),
}

/// An error answer in the making.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidParameter, message)
    }

    /// A thing of a later issue: a sentence, never silence.
    pub(crate) fn not_built(what: &str) -> Self {
        Self::new(Kind::NotImplemented, format!("{what} not built into this version of minke yet"))
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let status = status_of(self.kind);
        if status == StatusCode::NOT_MODIFIED {
            return bare(status);
        }
        if status.is_server_error() {
            tracing::error!(status = status.as_u16(), "{}", self.message);
        } else {
            tracing::debug!(status = status.as_u16(), "{}", self.message);
        }
        json_response(status, &ErrorResponse::new(self.message))
    }
}

/// The status of each kind of error.
pub(crate) fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::InvalidParameter => StatusCode::BAD_REQUEST,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::NotModified => StatusCode::NOT_MODIFIED,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::System => StatusCode::INTERNAL_SERVER_ERROR,
        // Not registered, but what proxies use for a client that went away; nobody reads it.
        Kind::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

impl From<minke_engine::Error> for Failure {
    fn from(error: minke_engine::Error) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<minke_api::lenient::DecodeError> for Failure {
    fn from(error: minke_api::lenient::DecodeError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<minke_api::filters::FilterError> for Failure {
    fn from(error: minke_api::filters::FilterError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        Self::Http(response)
    }
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

fn typed(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = bare(status);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    *response.body_mut() = body;
    response
}

/// JSON with the newline that Go's encoder puts after it.
pub(crate) fn json_response<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            typed(status, "application/json", Body::Full(Bytes::from(bytes)))
        }
        Err(error) => {
            tracing::error!("encode an answer: {error}");
            bare(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

pub(crate) fn json<T: Serialize>(value: &T) -> Outcome {
    Ok(json_response(StatusCode::OK, value).into())
}

pub(crate) fn created<T: Serialize>(value: &T) -> Outcome {
    Ok(json_response(StatusCode::CREATED, value).into())
}

pub(crate) fn no_content() -> Outcome {
    Ok(bare(StatusCode::NO_CONTENT).into())
}

/// `200` or `201` with nothing in it.
pub(crate) fn done(status: StatusCode) -> Outcome {
    Ok(bare(status).into())
}

pub(crate) fn text(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    typed(status, content_type, Body::Full(text.into()))
}

/// A document of a registry, as it is there.
pub(crate) fn document(media_type: &str, digest: &str, platforms: &str, bytes: Bytes) -> Outcome {
    let mut response = typed(StatusCode::OK, "application/octet-stream", Body::Full(bytes));
    let named = HeaderName::from_static;
    for (name, value) in [
        (CONTENT_TYPE, media_type),
        (named("docker-content-digest"), digest),
        (named("minke-platforms"), platforms),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response.into())
}

/// A body that comes in pieces; its head goes out at once.
pub(crate) fn stream(content_type: &'static str, pieces: Pieces) -> Outcome {
    Ok(typed(StatusCode::OK, content_type, Body::Stream(pieces)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_docker_s_status() {
        let kinds = [
            Kind::InvalidParameter,
            Kind::Unauthorized,
            Kind::Forbidden,
            Kind::NotFound,
            Kind::Conflict,
            Kind::NotModified,
            Kind::TooLarge,
            Kind::NotImplemented,
            Kind::Unavailable,
            Kind::Cancelled,
            Kind::System,
        ];
        for kind in kinds {
            assert_eq!(status_of(kind).as_u16(), kind.http_status(), "{kind:?}");
        }
    }

    #[test]
    fn a_304_has_no_body() {
        let response = Failure::new(Kind::NotModified, "already started").into_response();
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert!(matches!(response.body(), Body::Empty));
    }
}
