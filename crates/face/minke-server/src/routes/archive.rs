//! Files in and out of containers: `HEAD`, `GET` and `PUT …/archive`, and `…/export`.

use base64::Engine as _;
use bytes::Bytes;
use futures_util::stream;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use minke_engine::containers::{ArchivePieces, PathStat, PutOptions};
use serde::Serialize;

use crate::http::Call;
use crate::http::answer::{self, Answer, Failure, Outcome};
use crate::http::blocking::BodyReader;
use crate::http::body::Pieces;
use crate::serve::Shared;

/// The type of every archive here.
const TAR: &str = "application/x-tar";
/// What a path is, in JSON in base64.
const STAT: &str = "x-docker-container-path-stat";

/// The header's JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: String,
    size: i64,
    mode: u32,
    mtime: String,
    link_target: String,
}

/// A mode as Go counts it: types and special bits have places of their own.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = special.iter().filter(|(bit, _)| mode & bit != 0).fold(0, |all, (_, place)| all | place);
    kind | special | (mode & 0o777)
}

fn show(stat: PathStat) -> Result<HeaderValue, Failure> {
    let at = chrono::DateTime::from_timestamp(stat.mtime, stat.mtime_nanos).unwrap_or_default();
    let shown = Shown {
        name: stat.name,
        size: stat.size,
        mode: go_mode(stat.mode),
        mtime: minke_base::time::rfc3339_nano(at),
        link_target: stat.link_target,
    };
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(minke_base::Kind::System, format!("say what the path is: {error}"))
    };
    let json = serde_json::to_vec(&shown).map_err(|error| failed(&error))?;
    let text = base64::engine::general_purpose::STANDARD.encode(json);
    HeaderValue::from_str(&text).map_err(|error| failed(&error))
}

fn with_stat(outcome: Outcome, stat: PathStat) -> Outcome {
    let mut answer = outcome?;
    let value = show(stat)?;
    if let Answer::Http(response) = &mut answer {
        response.headers_mut().insert(STAT, value);
    }
    Ok(answer)
}

pub(super) async fn stat(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let stat = shared.engine.containers.archive_stat(name, call.query.get("path")).await?;
    with_stat(answer::done(StatusCode::OK), stat)
}

pub(super) async fn get(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let (stat, pieces) = shared.engine.containers.archive_get(name, call.query.get("path")).await?;
    with_stat(answer::stream(TAR, body(pieces)), stat)
}

pub(super) async fn put(shared: &Shared, call: Call, name: &str) -> Outcome {
    let options = PutOptions {
        path: call.query.get("path").to_owned(),
        keep_kinds: call.query.flag("noOverwriteDirNonDir"),
        container_owner: call.query.flag("copyUIDGID"),
    };
    let archive = Box::new(BodyReader::new(call.body));
    shared.engine.containers.archive_put(name, options, archive).await?;
    answer::done(StatusCode::OK)
}

pub(super) async fn export(shared: &Shared, name: &str) -> Outcome {
    let pieces = shared.engine.containers.export(name).await?;
    answer::stream("application/octet-stream", body(pieces))
}

/// An archive that broke off ends its body with an error, so that nobody takes it for whole.
fn body(pieces: ArchivePieces) -> Pieces {
    Box::pin(stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece.map(Bytes::from), pieces))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_counted_as_go_counts_them() {
        assert_eq!(go_mode(0o041_777), 2_148_532_735);
        assert_eq!(go_mode(0o120_777), 134_218_239);
        assert_eq!(go_mode(0o040_755), 2_147_484_141);
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o104_755), 0o755 | 1 << 23);
    }
}
