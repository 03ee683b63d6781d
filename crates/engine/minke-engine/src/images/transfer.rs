//! Images in and out as streams: load, save, import.
//!
//! The streams are read and written on threads that may block; progress goes to the client over a channel.

use std::io::{Read, Write};
use std::sync::Arc;

use minke_api::progress::ProgressMessage;
use minke_base::Reference;
use minke_store::archive::{self, LoadOptions, Progress, SaveImage};
use minke_store::document::{History, ImageConfig, Platform};
use tokio::sync::mpsc;

use super::{Images, changes};
use crate::clock::Moment;
use crate::error::{Error, Result};

/// How an archive of a root file system becomes an image.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// The name it gets, if any.
    pub repository: String,
    /// The tag, `latest` when empty.
    pub tag: String,
    /// A comment.
    pub message: String,
    /// Instructions (`CMD …`, `ENV …`) for its configuration.
    pub changes: Vec<String>,
    /// For which platform; the host's when empty.
    pub platform: String,
    /// Where it came from, for the history (`-` for a stream).
    pub source: String,
}

fn step_of(progress: &Progress<'_>) -> ProgressMessage {
    let short = |layer: &str| {
        let bare = layer.strip_prefix("sha256:").unwrap_or(layer);
        bare.get(..12).unwrap_or(bare).to_owned()
    };
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    match progress {
        Progress::Reading { layer, current, total } => {
            ProgressMessage::step(short(layer), "Loading layer", number(*current), number(*total))
        }
        Progress::Read { layer } => {
            ProgressMessage { id: short(layer), ..ProgressMessage::status("Load complete") }
        }
    }
}

impl Images {
    /// Takes the images of an archive. The client hears of each layer and each image over `told`, unless `quiet`.
    pub async fn load(
        self: &Arc<Self>,
        input: Box<dyn Read + Send>,
        quiet: bool,
        platform: Option<&str>,
        told: mpsc::Sender<ProgressMessage>,
    ) -> Result<()> {
        let platform = parse_platform(platform.unwrap_or_default())?;
        let images = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let hold = images.store.hold();
            // A client that went away stops listening; the load goes on to a clean end.
            let tell = |message: ProgressMessage| drop(told.blocking_send(message));
            let mut progress = |step: Progress<'_>| {
                if !quiet {
                    tell(step_of(&step));
                }
            };
            let loaded = archive::load(&images.store, input, &LoadOptions { platform }, &mut progress)
                .map_err(|source| Error::failed("load the archive", source))?;
            for one in &loaded {
                images.untag_replaced(&one.names, &one.image.id.to_string(), &tell);
                let image = images.record(&one.image, &one.names)?;
                images.publish(&image, "load", &image.id);
                if one.names.is_empty() {
                    tell(ProgressMessage::stream(format!("Loaded image ID: {}\n", image.id)));
                }
                for name in &one.names {
                    tell(ProgressMessage::stream(format!("Loaded image: {}\n", name.familiar())));
                }
            }
            drop(hold);
            Ok(())
        })
        .await
        .map_err(|source| Error::failed("load the archive", source))?
    }

    /// Docker says which image lost its name to a loaded one.
    fn untag_replaced(&self, names: &[Reference], id: &str, tell: &dyn Fn(ProgressMessage)) {
        let catalogue = self.read();
        for name in names {
            if let Some(tag) = catalogue.tags.get(&name.to_string())
                && tag.image != id
            {
                tell(ProgressMessage::stream(format!(
                    "The image {} already exists, renaming the old one with ID {} to empty string\n",
                    name.familiar(),
                    tag.image
                )));
            }
        }
    }

    /// Checks what `save` is asked for, so that a wrong name is an error and not a broken archive.
    pub fn plan_save(&self, names: &[String]) -> Result<Vec<SaveImage>> {
        let mut list: Vec<SaveImage> = Vec::new();
        for name in names {
            let image = self.resolve_for_save(name)?;
            let Some(manifest) = image.0.manifest else { continue };
            match list.iter_mut().find(|entry| entry.manifest == manifest) {
                Some(entry) => entry.names.extend(image.1),
                None => list.push(SaveImage { manifest, names: image.1 }),
            }
            self.publish(&image.0, "save", &image.0.id);
        }
        if list.is_empty() {
            return Err(Error::invalid("name at least one image to save"));
        }
        Ok(list)
    }

    fn resolve_for_save(&self, name: &str) -> Result<(Arc<super::Image>, Vec<Reference>)> {
        let image = self.resolve(name)?;
        let bare = name.strip_prefix("sha256:").unwrap_or(name);
        if image.id.strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(bare)) {
            return Ok((image, Vec::new()));
        }
        let reference =
            Reference::parse(name).map_err(|source| Error::invalid(source.to_string()).caused_by(source))?;
        Ok((image, vec![reference.or_latest()]))
    }

    /// Writes images as one archive.
    pub async fn save(
        self: &Arc<Self>,
        list: Vec<SaveImage>,
        mut output: Box<dyn Write + Send>,
    ) -> Result<()> {
        let images = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let hold = images.store.hold();
            archive::save(&images.store, &list, &mut output)
                .map_err(|source| Error::failed("save the images", source))?;
            output.flush().map_err(|source| Error::failed("save the images", source))?;
            drop(hold);
            Ok(())
        })
        .await
        .map_err(|source| Error::failed("save the images", source))?
    }

    /// Makes an image of a root file system's archive; answers with its id.
    pub async fn import(
        self: &Arc<Self>,
        mut input: Box<dyn Read + Send>,
        request: ImportRequest,
    ) -> Result<String> {
        let invalid = |source: minke_base::reference::InvalidReference| {
            Error::invalid(source.to_string()).caused_by(source)
        };
        let name = match request.repository.as_str() {
            "" => None,
            repository => {
                let name = Reference::parse(repository).map_err(invalid)?;
                if name.digest().is_some() {
                    return Err(Error::invalid("cannot import digest reference"));
                }
                Some(if request.tag.is_empty() {
                    name.or_latest()
                } else {
                    name.with_tag(&request.tag).map_err(invalid)?
                })
            }
        };
        let platform = parse_platform(&request.platform)?.unwrap_or_else(Platform::host);
        let mut defaults = minke_store::document::ContainerConfig::default();
        for change in &request.changes {
            changes::apply(&mut defaults, change)?;
        }
        let now = Moment::now().rfc3339();
        let comment = match request.message.as_str() {
            "" => format!("Imported from {}", if request.source.is_empty() { "-" } else { &request.source }),
            message => message.to_owned(),
        };
        let config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            config: Some(defaults),
            created: Some(now.clone()),
            history: vec![History { created: Some(now), comment: Some(comment), ..History::default() }],
            ..ImageConfig::default()
        };
        let images = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let hold = images.store.hold();
            let image = archive::import(&images.store, input.as_mut(), config)
                .map_err(|source| Error::failed("import the archive", source))?;
            let names: Vec<Reference> = name.into_iter().collect();
            let image = images.record(&image, &names)?;
            drop(hold);
            for name in &names {
                images.publish(&image, "tag", &name.familiar());
            }
            images.publish(&image, "import", &image.id);
            Ok(image.id.clone())
        })
        .await
        .map_err(|source| Error::failed("import the archive", source))?
    }
}

pub(super) fn parse_platform(text: &str) -> Result<Option<Platform>> {
    if text.is_empty() {
        return Ok(None);
    }
    Platform::parse(text).map(Some).map_err(|source| {
        Error::invalid(format!("{text:?}: cannot parse platform specifier: invalid argument"))
            .caused_by(source)
    })
}
