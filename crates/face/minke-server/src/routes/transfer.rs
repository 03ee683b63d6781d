//! Images in and out: load, save, import. Long work with progress in the answer.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use minke_api::progress::ProgressMessage;
use minke_api::system::AuthConfig;
use minke_base::{Digest, Kind, Reference};
use minke_engine::images::{ImportRequest, PullRequest, PushRequest};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::images::refuse_platform;
use crate::http::Call;
use crate::http::answer::{self, Failure, Outcome};
use crate::http::blocking::{BodyReader, BodyWriter, pieces};
use crate::serve::Shared;

/// Lines of progress that may wait for a slow client before the work waits for it.
const PROGRESS_DEPTH: usize = 64;

pub(super) async fn load(shared: &Shared, call: Call) -> Outcome {
    let quiet = call.query.flag_or("quiet", true);
    let platform = platform(&call)?;
    let images = Arc::clone(&shared.engine.images);
    let (progress, lines) = mpsc::channel(PROGRESS_DEPTH);
    let reader = Box::new(BodyReader::new(call.body));
    let work =
        shared.work.start(async move { images.load(reader, quiet, platform.as_deref(), progress).await });
    answer_with_progress(lines, work).await
}

pub(super) async fn create(shared: &Shared, call: Call) -> Outcome {
    if let Some(image) = call.query.text("fromImage") {
        return pull(shared, &call, image).await;
    }
    let Some(source) = call.query.text("fromSrc").map(str::to_owned) else {
        return Err(Failure::invalid("give the image to pull as fromImage, or what to import as fromSrc"));
    };
    let request = ImportRequest {
        repository: call.query.get("repo").to_owned(),
        tag: call.query.get("tag").to_owned(),
        message: call.query.get("message").to_owned(),
        changes: call.query.all("changes").map(str::to_owned).collect(),
        platform: call.query.get("platform").to_owned(),
        source: source.clone(),
    };
    let images = Arc::clone(&shared.engine.images);
    let (progress, lines) = mpsc::channel(PROGRESS_DEPTH);
    let input: Box<dyn Read + Send> = if source == "-" {
        Box::new(BodyReader::new(call.body))
    } else {
        {
            let client = shared.engine.registries.client();
            let opened = client.download(&source).await;
            Box::new(opened.map_err(|error| Failure::new(error.kind(), error.to_string()))?)
        }
    };
    let work = shared.work.start(async move {
        if request.source != "-" {
            tell(&progress, format!("Downloading from {}", request.source)).await;
        }
        let id = images.import(input, request).await?;
        tell(&progress, id).await;
        Ok(())
    });
    answer_with_progress(lines, work).await
}

/// Who the client is at a registry.
fn auth(call: &Call) -> Result<AuthConfig, Failure> {
    let header = call.headers.get("x-registry-auth").and_then(|value| value.to_str().ok());
    AuthConfig::from_header(header.unwrap_or_default()).map_err(|error| Failure::invalid(error.to_string()))
}

fn invalid(error: &minke_base::reference::InvalidReference) -> Failure {
    Failure::invalid(error.to_string())
}

/// A pull goes on as long as its client listens: it is nothing that a daemon that ends has to wait for.
async fn pull(shared: &Shared, call: &Call, image: &str) -> Outcome {
    let mut name = Reference::parse(image).map_err(|error| invalid(&error))?;
    let tag = call.query.get("tag");
    if !tag.is_empty() {
        name = match tag.parse::<Digest>() {
            Ok(digest) => name.with_digest(digest),
            Err(_no_digest) => name.with_tag(tag).map_err(|error| invalid(&error))?,
        };
    }
    let request = PullRequest {
        all_tags: name.tag().is_none() && name.digest().is_none(),
        platform: call.query.get("platform").to_owned(),
        repository: shared.engine.registries.repository(&name, Some(&auth(call)?)),
        name,
    };
    let images = Arc::clone(&shared.engine.images);
    let (progress, lines) = mpsc::channel(PROGRESS_DEPTH);
    let work = tokio::spawn(async move { images.pull(request, progress).await });
    answer_with_progress(lines, work).await
}

pub(super) async fn push(shared: &Shared, call: &Call, name: &str) -> Outcome {
    refuse_platform(call)?;
    let mut name = Reference::parse(name).map_err(|error| invalid(&error))?;
    let tag = call.query.get("tag");
    if !tag.is_empty() {
        name = name.with_tag(tag).map_err(|error| invalid(&error))?;
    }
    let repository = shared.engine.registries.repository(&name, Some(&auth(call)?));
    let request = PushRequest { name, repository };
    let images = Arc::clone(&shared.engine.images);
    let (progress, lines) = mpsc::channel(PROGRESS_DEPTH);
    let work = tokio::spawn(async move { images.push(request, progress).await });
    answer_with_progress(lines, work).await
}

/// A line of progress. A client that went away does not stop the work.
async fn tell(progress: &mpsc::Sender<ProgressMessage>, status: String) {
    if progress.send(ProgressMessage::status(status)).await.is_err() {
        tracing::debug!("the client of an import went away");
    }
}

/// The platform to load, which is JSON (`{"os": "linux", "architecture": "amd64"}`), as `os/architecture/variant`.
fn platform(call: &Call) -> Result<Option<String>, Failure> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Platform {
        os: String,
        architecture: String,
        variant: String,
    }
    let mut given = call.query.all("platform").filter(|text| !text.is_empty());
    let Some(text) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Failure::not_built("choosing several platforms of an image is"));
    }
    if !text.starts_with('{') {
        return Ok(Some(text.to_owned()));
    }
    let platform: Platform = minke_api::lenient::from_slice(text.as_bytes())
        .map_err(|error| Failure::invalid(format!("failed to parse platform: {error}")))?;
    let parts = [platform.os, platform.architecture, platform.variant];
    Ok(Some(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")))
}

/// Streams progress. Work that fails before it has anything to say is an ordinary error; later the error is its last line.
///
/// When the client goes away the lines' receiver is dropped and the body's reader ends with an error: the work notices at
/// its next step and leaves nothing half done.
async fn answer_with_progress(
    mut lines: mpsc::Receiver<ProgressMessage>,
    work: JoinHandle<minke_engine::Result<()>>,
) -> Outcome {
    let Some(first) = lines.recv().await else {
        return match finish(work).await {
            None => answer::stream("application/json", Box::pin(stream::empty())),
            Some(failure) => Err(failure),
        };
    };
    let state = (Some(first), lines, Some(work));
    let body = stream::unfold(state, |(first, mut lines, work)| async move {
        let line = match first {
            Some(line) => Some(line),
            None => lines.recv().await,
        };
        if let Some(line) = line {
            return Some((encode(&line), (None, lines, work)));
        }
        let failure = finish(work?).await?;
        Some((encode(&ProgressMessage::error(failure.message())), (None, lines, None)))
    });
    answer::stream("application/json", Box::pin(body))
}

/// Waits for the work's end; what it failed with, if it did.
async fn finish(work: JoinHandle<minke_engine::Result<()>>) -> Option<Failure> {
    match work.await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.into()),
        Err(error) => Some(Failure::new(Kind::System, format!("the engine failed inside: {error}"))),
    }
}

fn encode(line: &ProgressMessage) -> std::io::Result<Bytes> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.extend_from_slice(b"\r\n");
    Ok(Bytes::from(bytes))
}

pub(super) async fn save_one(shared: &Shared, call: &Call, name: String) -> Outcome {
    refuse_platform(call)?;
    save(shared, vec![name]).await
}

pub(super) async fn save_many(shared: &Shared, call: &Call) -> Outcome {
    refuse_platform(call)?;
    let names: Vec<String> = call.query.all("names").map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Failure::invalid("no image to save: give at least one as names"));
    }
    save(shared, names).await
}

async fn save(shared: &Shared, names: Vec<String>) -> Outcome {
    const TAR: &str = "application/x-tar";
    let images = Arc::clone(&shared.engine.images);
    let list = images.plan_save(&names)?;
    let (writer, mut archive) = BodyWriter::new();
    let work = tokio::spawn(async move { images.save(list, Box::new(writer)).await });
    let Some(first) = archive.recv().await else {
        return match finish(work).await {
            Some(failure) => Err(failure),
            None => answer::stream(TAR, Box::pin(stream::empty())),
        };
    };
    let state = (Box::pin(pieces(Some(first), archive)), Some(work));
    let body = stream::unfold(state, |(mut rest, work)| async move {
        if let Some(piece) = rest.next().await {
            return Some((piece, (rest, work)));
        }
        // An archive that broke off must not look like a whole one: the body ends with an error, not with its last chunk.
        let failure = finish(work?).await?;
        tracing::error!("save: {}", failure.message());
        Some((Err(std::io::Error::other(failure.message().to_owned())), (rest, None)))
    });
    answer::stream(TAR, Box::pin(body))
}
