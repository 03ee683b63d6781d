//! A build's files as they come: one archive, a place to fetch it from, or minke's own head and archives.

use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minke_api::build::{BuildHead, MAX_HEAD};
use minke_base::Kind;
use minke_dockerfile::Ignore;
use minke_engine::Engine;
use minke_engine::builds::{BuildRequest, Context, DockerfileText, NamedContext};

use super::parameters;
use crate::http::blocking::BodyReader;
use crate::http::{Call, Failure};

/// As the parser takes it.
const MAX_DOCKERFILE: u64 = 16 << 20;
const MAX_IGNORE: u64 = 4 << 20;
const DEFAULT: &str = "Dockerfile";
const IGNORE: &str = ".dockerignore";

/// The body, or what `remote` names.
pub(super) async fn files(engine: &Engine, call: Call, request: &mut BuildRequest) -> Result<(), Failure> {
    let remote = call.query.get("remote").to_owned();
    let path = match call.query.get("dockerfile") {
        "" => DEFAULT.to_owned(),
        given => given.to_owned(),
    };
    if remote.is_empty() || remote == "client-session" {
        if !remote.is_empty() {
            return Err(Failure::not_built("contexts of BuildKit's sessions are"));
        }
        let mut context = engine.builds.receive_context(Box::new(BodyReader::new(call.body))).await?;
        request.dockerfile = take_dockerfile(&mut context, &path)?;
        request.context = Some(context);
        return Ok(());
    }
    remote_files(engine, remote, &path, request).await
}

/// What an address names: a Dockerfile that stands alone, or an archive with one in it.
async fn remote_files(
    engine: &Engine,
    remote: String,
    path: &str,
    request: &mut BuildRequest,
) -> Result<(), Failure> {
    if is_git(&remote) {
        let context = engine.builds.receive_repository(&remote).await?;
        return take_unfiltered(context, path, request);
    }
    let reader = engine.registries.client().download(&remote).await.map_err(|error| {
        Failure::new(error.kind(), format!("error downloading remote context {remote}: {error}"))
    })?;
    let (head, reader) = blocking(move || peek(reader)).await?;
    if !is_archive(&head) {
        let text = blocking(move || read_text(reader)).await?;
        request.dockerfile = DockerfileText { name: remote, text };
        return Ok(());
    }
    let context = engine.builds.receive_context(Box::new(reader)).await?;
    take_unfiltered(context, path, request)
}

fn take_unfiltered(mut context: Context, path: &str, request: &mut BuildRequest) -> Result<(), Failure> {
    request.dockerfile = take_dockerfile(&mut context, path)?;
    // Nobody has filtered it before.
    if let Some(ignore) = read_ignore(&context, path)? {
        context.exclude(&|path, directory| {
            ignore.excludes(path) && !(directory && ignore.may_return_below(path))
        })?;
    }
    request.context = Some(context);
    Ok(())
}

/// minke's own body: see `minke_api::build`.
pub(super) async fn own_files(
    engine: &Engine,
    call: Call,
    request: &mut BuildRequest,
) -> Result<(), Failure> {
    let remote = call.query.get("remote").to_owned();
    let path = match call.query.get("dockerfile") {
        "" => DEFAULT.to_owned(),
        given => given.to_owned(),
    };
    let pieces = Pieces::new(BodyReader::new(call.body));
    let head = blocking({
        let pieces = pieces.clone();
        move || read_head(&mut pieces.section().body)
    })
    .await?;
    for entry in &head.contexts {
        let context = engine.builds.receive_context(pieces.begin()).await?;
        let rest = pieces.clone();
        blocking(move || rest.finish()).await?;
        if entry.name.is_empty() {
            request.context = Some(context);
        } else {
            request.contexts.insert(entry.name.clone(), NamedContext::Files(context));
        }
    }
    request.contexts.extend(head.images.into_iter().map(|(name, image)| (name, NamedContext::Image(image))));
    request.no_cache_stages = head.no_cache_stages;
    request.outputs = parameters::outputs(&head.output)?;
    for (id, secret) in head.secrets {
        let bytes = STANDARD
            .decode(secret)
            .map_err(|_source| Failure::invalid(format!("secret {id:?} is not base64")))?;
        request.secrets.insert(id, bytes);
    }
    if !remote.is_empty() {
        remote_files(engine, remote, &path, request).await?;
        if head.dockerfile.is_none() {
            return Ok(());
        }
    }
    request.dockerfile = match (head.dockerfile, &mut request.context) {
        (None, _) if is_url(&path) => DockerfileText { text: fetch_text(engine, &path).await?, name: path },
        (Some(file), _) => DockerfileText {
            text: STANDARD
                .decode(file.content)
                .map_err(|_source| Failure::invalid("the Dockerfile is not base64"))?,
            name: file.name,
        },
        (None, Some(context)) => take_dockerfile(context, &path)?,
        (None, None) => return Err(Failure::invalid(format!("Cannot locate specified Dockerfile: {path}"))),
    };
    check_empty(&request.dockerfile)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Failure::new(Kind::System, format!("the engine failed inside: {error}"))),
    }
}

fn read_head(body: &mut BodyReader) -> Result<BuildHead, Failure> {
    let failed = |error: io::Error| Failure::invalid(format!("read the build's head: {error}"));
    let mut length = [0; 4];
    body.read_exact(&mut length).map_err(failed)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_HEAD {
        return Err(Failure::new(
            Kind::TooLarge,
            format!("the build's head is longer than {MAX_HEAD} bytes"),
        ));
    }
    let mut json = vec![0; length];
    body.read_exact(&mut json).map_err(failed)?;
    Ok(minke_api::lenient::from_slice(&json)?)
}

/// The length that says: there is no more, and it is not all.
const BROKEN: u32 = u32::MAX;

/// One of the archives in the body: pieces until an empty one.
#[derive(Clone)]
struct Pieces(Arc<Mutex<Section>>);

struct Section {
    body: BodyReader,
    left: usize,
    ended: bool,
}

impl Pieces {
    fn new(body: BodyReader) -> Self {
        Self(Arc::new(Mutex::new(Section { body, left: 0, ended: true })))
    }

    fn section(&self) -> MutexGuard<'_, Section> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next archive begins here.
    fn begin(&self) -> Box<Self> {
        self.section().ended = false;
        Box::new(self.clone())
    }

    /// Reads what stands behind the end of an archive: who unpacks it stops there.
    fn finish(mut self) -> Result<(), Failure> {
        let rest = io::copy(&mut self, &mut io::sink());
        rest.map(drop).map_err(|error| Failure::invalid(format!("read a context: {error}")))
    }
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut section = self.section();
        if section.left == 0 && !section.ended {
            let mut length = [0; 4];
            section.body.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length);
            if length == BROKEN {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the client could not read all of its files",
                ));
            }
            section.left = usize::try_from(length).unwrap_or(usize::MAX);
            section.ended = section.left == 0;
        }
        if section.ended {
            return Ok(0);
        }
        let most = out.len().min(section.left);
        let count = section.body.read(&mut out[..most])?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        section.left -= count;
        Ok(count)
    }
}

/// The Dockerfile out of a context. Where `.dockerignore` names it, or itself, steps do not see it.
fn take_dockerfile(context: &mut Context, path: &str) -> Result<DockerfileText, Failure> {
    let clean = path.trim_start_matches("./").trim_start_matches('/').to_owned();
    let mut name = clean.clone();
    let mut text = context.read(&clean, MAX_DOCKERFILE)?;
    if text.is_none() && clean == DEFAULT {
        name = DEFAULT.to_lowercase();
        text = context.read(&name, MAX_DOCKERFILE)?;
    }
    let text = text.ok_or_else(|| Failure::invalid(format!("Cannot locate specified Dockerfile: {path}")))?;
    let file = DockerfileText { name: name.clone(), text };
    check_empty(&file)?;
    if let Some(ignore) = read_ignore(context, &name)? {
        let hidden: Vec<&str> = [IGNORE, &name].into_iter().filter(|path| ignore.excludes(path)).collect();
        if !hidden.is_empty() {
            context.exclude(&|path, _| hidden.contains(&path))?;
        }
    }
    Ok(file)
}

fn check_empty(file: &DockerfileText) -> Result<(), Failure> {
    if file.text.is_empty() {
        return Err(Failure::invalid(format!("the Dockerfile ({}) cannot be empty", file.name)));
    }
    Ok(())
}

/// `<Dockerfile>.dockerignore` before `.dockerignore`.
fn read_ignore(context: &Context, dockerfile: &str) -> Result<Option<Ignore>, Failure> {
    for name in [format!("{dockerfile}{IGNORE}"), IGNORE.to_owned()] {
        if let Some(text) = context.read(&name, MAX_IGNORE)? {
            let ignore = Ignore::parse(&text)
                .map_err(|error| Failure::invalid(format!("error reading {name}: {error}")))?;
            return Ok(Some(ignore));
        }
    }
    Ok(None)
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// `--file URL`
async fn fetch_text(engine: &Engine, url: &str) -> Result<Vec<u8>, Failure> {
    let opened = engine.registries.client().download(url).await;
    let reader = opened.map_err(|error| Failure::new(error.kind(), error.to_string()))?;
    blocking(move || read_text(reader)).await
}

fn is_git(remote: &str) -> bool {
    remote.starts_with("github.com/") || minke_engine::builds::is_repository(remote)
}

/// Enough to tell an archive from a text, put back in front of the rest.
fn peek<R: Read + Send + 'static>(mut reader: R) -> Result<(Vec<u8>, impl Read + Send + 'static), Failure> {
    let mut head = Vec::with_capacity(512);
    (&mut reader)
        .take(512)
        .read_to_end(&mut head)
        .map_err(|error| Failure::new(Kind::System, format!("error downloading remote context: {error}")))?;
    Ok((head.clone(), Cursor::new(head).chain(reader)))
}

fn is_archive(head: &[u8]) -> bool {
    const MAGIC: &[&[u8]] =
        &[&[0x1f, 0x8b], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z', 0], &[0x28, 0xb5, 0x2f, 0xfd]];
    MAGIC.iter().any(|magic| head.starts_with(magic))
        || head.get(257..262) == Some(b"ustar")
        || head.contains(&0)
}

fn read_text(reader: impl Read) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    reader
        .take(MAX_DOCKERFILE + 1)
        .read_to_end(&mut text)
        .map_err(|error| Failure::new(Kind::System, format!("error downloading the Dockerfile: {error}")))?;
    if text.len() as u64 > MAX_DOCKERFILE {
        return Err(Failure::invalid(format!("the Dockerfile is larger than {MAX_DOCKERFILE} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_git_are_known() {
        for place in ["git://x/y", "git@x:y", "https://x/y.git#main:docker", "github.com/a/b"] {
            assert!(is_git(place), "{place}");
        }
        assert!(!is_git("https://x/y.tar.gz"));
    }

    #[test]
    fn archives_are_told_from_texts() {
        assert!(is_archive(&[0x1f, 0x8b, 8]));
        assert!(!is_archive(b"FROM scratch\n"));
    }
}
