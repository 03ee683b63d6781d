//! The `hello-world` image that the binary carries as code: no network, no file, and no executable in the repository.
//!
//! The program is assembled byte by byte ([`elf`]), wrapped in a one-file tar and stored like any other image. Everything is fixed,
//! times included, so the image has the same ID wherever it is made.

mod elf;

use crate::archive::{ArchiveError, build_image};
use crate::content::Expected;
use crate::document::{ContainerConfig, Descriptor, History, ImageConfig};
use crate::store::{Image, Store};
use crate::tar::{Entry, Writer};

/// When the image says it was made.
const CREATED: &str = "2026-01-01T00:00:00Z";

const MESSAGE: &str = "
Hello from minke!
Your installation works: this text was printed by a program in a container of its own.

What happened to show it:
 1. The minke command found the engine, or started it.
 2. The engine made a container from the \"hello-world\" image, which is built into minke.
 3. The container's only program wrote this text, and minke passed it on to your terminal.

Something larger to try, once you have an image for it:
 $ minke run -it debian bash
";

/// What the program prints.
#[must_use]
pub const fn message() -> &'static str {
    MESSAGE
}

/// Makes the image for the host's architecture and puts it into the store. The caller tags it `hello-world:latest`. Take a
/// [`crate::pins::Hold`] first.
pub fn install(store: &Store) -> Result<Image, ArchiveError> {
    let (architecture, program) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", elf::x86_64(MESSAGE.as_bytes())),
        "aarch64" => ("arm64", elf::aarch64(MESSAGE.as_bytes())),
        other => {
            return Err(ArchiveError::Unsupported(format!("the hello-world image is not made for {other}")));
        }
    };
    let tar = plan_tar(&program).map_err(ArchiveError::Write)?;
    let added = store.add_layer(&mut &*tar, Expected::default())?;
    let blob = Descriptor::new(added.compression.layer_media_type(), added.blob.digest, added.blob.size);
    build_image(store, plan_config(architecture), vec![(blob, added.layer.diff_id)])
}

fn plan_tar(program: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    let entry =
        Entry { path: b"hello".to_vec(), mode: 0o755, size: program.len() as u64, ..Entry::default() };
    writer.append(&entry, &mut &*program)?;
    writer.finish()
}

fn plan_config(architecture: &str) -> ImageConfig {
    let step = |by: &str, empty_layer| History {
        created: Some(CREATED.to_owned()),
        created_by: Some(by.to_owned()),
        empty_layer,
        ..History::default()
    };
    ImageConfig {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        created: Some(CREATED.to_owned()),
        config: Some(ContainerConfig {
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            cmd: Some(vec!["/hello".to_owned()]),
            working_dir: "/".to_owned(),
            ..ContainerConfig::default()
        }),
        history: vec![step("COPY hello / # built into minke", false), step("CMD [\"/hello\"]", true)],
        ..ImageConfig::default()
    }
}

#[cfg(test)]
mod tests;
