//! Answers about images.

use serde_json::{Map, Value, json};

use super::{fill, object};
use crate::ApiVersion;
use crate::image::{ImageInspect, ImageSummary};

/// The form of [`inspect`] that a client understands which says `agent` of itself and asks for `version`.
///
/// docker-compose 1 (Python, still in Debian 12) asks for the newest version and reads `ContainerConfig`, which 1.45 took away, when
/// it makes a container anew: on Docker since 25 it ends with `KeyError: 'ContainerConfig'`.
#[must_use]
pub fn understood_by(agent: &str, version: ApiVersion) -> ApiVersion {
    if agent.starts_with("docker-compose/1.") { version.min(ApiVersion::v1(44)) } else { version }
}

/// `GET /images/{name}/json`.
pub fn inspect(version: ApiVersion, image: &ImageInspect) -> Value {
    let mut document = object(image);
    if version.before(52) {
        for name in ["Parent", "Comment", "DockerVersion", "Author"] {
            fill(&mut document, name, "");
        }
        if let Some(Value::Object(config)) = document.get_mut("Config") {
            fill_config(config);
            if version.before(50) {
                fill_container_half(config);
            }
        }
    }
    if version.before(45) {
        let mut config = Map::new();
        fill_config(&mut config);
        fill_container_half(&mut config);
        document.insert("ContainerConfig".to_owned(), Value::Object(config));
    }
    if version.before(44) {
        document.insert("VirtualSize".to_owned(), image.size.into());
        fill(&mut document, "Created", crate::ZERO_TIME);
    }
    Value::Object(document)
}

/// Until 1.51 empty fields of the configuration were shown.
fn fill_config(config: &mut Map<String, Value>) {
    for name in ["Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "Volumes"] {
        fill(config, name, Value::Null);
    }
    for name in ["User", "WorkingDir"] {
        fill(config, name, "");
    }
}

/// Until 1.49 an image's configuration had the fields of a container's, never set.
fn fill_container_half(config: &mut Map<String, Value>) {
    for name in ["AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"] {
        fill(config, name, false);
    }
    for name in ["Domainname", "Hostname", "Image"] {
        fill(config, name, "");
    }
}

/// One entry of `GET /images/json`.
pub fn summary(version: ApiVersion, image: &ImageSummary) -> Value {
    let mut document = object(image);
    if version.before(51) {
        document.insert("Containers".to_owned(), json!(-1));
    }
    if version.before(44) {
        document.insert("VirtualSize".to_owned(), image.size.into());
    }
    if version.before(43) {
        let nameless = image.repo_tags.is_empty() && image.repo_digests.is_empty();
        let empty = |none: &str| if nameless { json!([none]) } else { Value::Null };
        if image.repo_tags.is_empty() {
            document.insert("RepoTags".to_owned(), empty("<none>:<none>"));
        }
        if image.repo_digests.is_empty() {
            document.insert("RepoDigests".to_owned(), empty("<none>@<none>"));
        }
    }
    Value::Object(document)
}
