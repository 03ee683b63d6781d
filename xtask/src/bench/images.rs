//! Images as they travel: `pull` from a registry on loopback, `load` and `save` of an archive, and what the engine holds meanwhile.
//!
//! The image has ten layers of fifty megabytes: files of many sizes, half of them text that compresses well, half bytes that do not,
//! as in real images. skopeo puts it into docker-registry, once with gzip and once with zstd, and makes the archive that is loaded:
//! Docker's own form, its layers not compressed. Each engine pulls from a registry in the network namespace that it calls its host;
//! both serve the same files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use minke_testkit::registries::{Registry, RegistryOptions};
use sha2::{Digest as _, Sha256};

use super::engines::{Engine, Peers};

const LAYERS: u64 = 10;
const LAYER: usize = 50 << 20;
const NAME: &str = "minke-bench-transfer";

/// What is made once for all rows.
#[derive(Debug)]
struct Stage {
    dir: tempfile::TempDir,
    storage: PathBuf,
    /// By the process whose network namespace they are in.
    registries: Mutex<Vec<(u32, Registry)>>,
}

static STAGE: OnceLock<Result<Stage, String>> = OnceLock::new();

fn stage() -> Result<&'static Stage> {
    match STAGE.get_or_init(|| Stage::make().map_err(|error| format!("{error:#}"))) {
        Ok(stage) => Ok(stage),
        Err(error) => bail!("{error}"),
    }
}

/// Removes what the rows needed. Nothing of it lives longer than the run.
pub(crate) fn tear_down() {
    if let Some(Ok(stage)) = STAGE.get() {
        stage.registries.lock().unwrap_or_else(PoisonError::into_inner).clear();
        drop(fs::remove_dir_all(stage.dir.path()));
    }
}

impl Stage {
    fn make() -> Result<Self> {
        // Where engines keep their data, so that everybody reads and writes the same kind of file system.
        let dir = tempfile::Builder::new().prefix("minke-bench-images-").tempdir_in("/var/lib")?;
        let layout = dir.path().join("layout");
        make_layout(&layout)?;
        let storage = dir.path().join("registry");
        let stage = Self { dir, storage, registries: Mutex::default() };
        let registry = stage.registry(std::process::id())?;
        let from = format!("oci:{}:plain", layout.display());
        for kind in ["gzip", "zstd"] {
            let packed = stage.dir.path().join(kind);
            let to = format!("dir:{}", packed.display());
            skopeo(&["copy", "-q", "--dest-compress", "--dest-compress-format", kind, &from, &to])?;
            let there = format!("docker://{registry}/{NAME}:{kind}");
            skopeo(&["copy", "-q", "--preserve-digests", "--dest-tls-verify=false", &to, &there])?;
            fs::remove_dir_all(&packed)?;
        }
        let archive = format!("docker-archive:{}:localhost/{NAME}:load", stage.archive().display());
        skopeo(&["copy", "-q", &from, &archive])?;
        fs::remove_dir_all(&layout)?;
        Ok(stage)
    }

    fn archive(&self) -> PathBuf {
        self.dir.path().join("archive.tar")
    }

    /// The registry that a process reaches by loopback, `host:port`.
    fn registry(&self, pid: u32) -> Result<String> {
        let mut registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = registries.iter().find(|(known, _)| *known == pid) {
            return Ok(known.domain());
        }
        ensure!(minke_testkit::tools::on_path("docker-registry"), "docker-registry is not here");
        let storage = Some(self.storage.clone());
        let registry = Registry::start(pid, &RegistryOptions { storage, ..RegistryOptions::default() });
        let domain = registry.domain();
        registries.push((pid, registry));
        Ok(domain)
    }
}

fn skopeo(args: &[&str]) -> Result<()> {
    let output = Command::new("skopeo").arg("--insecure-policy").args(args).output().context("run skopeo")?;
    ensure!(
        output.status.success(),
        "skopeo {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Numbers that are the same in every run.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A writer that hashes.
pub(super) struct Hashing<W> {
    pub(super) inner: W,
    pub(super) hash: Sha256,
    pub(super) length: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn put(blobs: &Path, bytes: &[u8]) -> Result<(String, u64)> {
    let digest = hex(&Sha256::digest(bytes));
    fs::write(blobs.join(&digest), bytes)?;
    Ok((format!("sha256:{digest}"), bytes.len() as u64))
}

fn make_layout(dir: &Path) -> Result<()> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let mut layers = Vec::new();
    for number in 0..LAYERS {
        let path = blobs.join("new");
        let file = io::BufWriter::new(File::create(&path)?);
        let mut output = Hashing { inner: file, hash: Sha256::new(), length: 0 };
        write_layer(number, &mut output)?;
        output.flush()?;
        let digest = hex(&output.hash.finalize());
        fs::rename(&path, blobs.join(&digest))?;
        layers.push((format!("sha256:{digest}"), output.length));
    }
    let diff_ids: Vec<&String> = layers.iter().map(|(digest, _)| digest).collect();
    let config = serde_json::json!({
        "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"), "os": "linux",
        "config": {"Cmd": ["true"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = put(&blobs, config.to_string().as_bytes())?;
    let descriptor = |kind: &str, (digest, size): &(String, u64)| serde_json::json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size});
    let listed: Vec<_> = layers.iter().map(|layer| descriptor("layer.v1.tar", layer)).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config), "layers": listed,
    });
    let manifest = put(&blobs, manifest.to_string().as_bytes())?;
    let mut entry = descriptor("manifest.v1+json", &manifest);
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "plain"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(dir.join("index.json"), index.to_string())?;
    fs::write(dir.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
    Ok(())
}

/// Files from a hundred bytes to two megabytes, text and noise in turn.
fn write_layer(number: u64, output: &mut impl Write) -> Result<()> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (number + 1));
    let words: Vec<String> = (0..2000).map(|_| format!("{:x} ", dice.next() & 0xff_ffff)).collect();
    let mut tar = tar::Builder::new(output);
    let (mut written, mut count) = (0, 0_u64);
    while written < LAYER {
        let size = match dice.next() % 100 {
            0..60 => 100 + dice.next() % 8000,
            60..95 => 8000 + dice.next() % 120_000,
            _ => 200_000 + dice.next() % 1_800_000,
        };
        let size = usize::try_from(size)?.min(LAYER - written + 1);
        let mut bytes = Vec::with_capacity(size + 16);
        while bytes.len() < size {
            if count.is_multiple_of(2) {
                bytes.extend_from_slice(words[usize::try_from(dice.next() % 2000)?].as_bytes());
            } else {
                bytes.extend_from_slice(&dice.next().to_le_bytes());
            }
        }
        bytes.truncate(size);
        let mut header = tar::Header::new_ustar();
        header.set_size(size as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        tar.append_data(&mut header, format!("layer{number}/{}/file{count}", count % 64), &bytes[..])?;
        written += size;
        count += 1;
    }
    tar.finish()?;
    Ok(())
}

/// The image's name for an engine, in the registry that it reaches.
fn remote(peers: &Peers, engine: Engine, kind: &str) -> Result<String> {
    let registry = stage()?.registry(peers.host_pid(engine))?;
    Ok(format!("{registry}/{NAME}:{kind}"))
}

fn pull_words(engine: Engine, name: &str) -> Vec<String> {
    let mut words = vec!["pull".to_owned(), "-q".to_owned()];
    if engine == Engine::Podman {
        words.push("--tls-verify=false".to_owned());
    }
    words.push(name.to_owned());
    words
}

fn forget(peers: &mut Peers, engine: Engine, name: &str) {
    drop(peers.output(engine, &["rmi", "-f", name]));
}

fn pull(peers: &mut Peers, engine: Engine, kind: &str) -> Result<Duration> {
    let name = remote(peers, engine, kind)?;
    forget(peers, engine, &name);
    let time = peers.time(engine, &[pull_words(engine, &name)], 1);
    forget(peers, engine, &name);
    time
}

pub(crate) fn pull_gzip(peers: &mut Peers, engine: Engine, _round: u32) -> Result<Duration> {
    pull(peers, engine, "gzip")
}

pub(crate) fn pull_zstd(peers: &mut Peers, engine: Engine, _round: u32) -> Result<Duration> {
    pull(peers, engine, "zstd")
}

/// A path that processes in other mount namespaces understand too.
fn seen_from_anywhere(path: &Path) -> String {
    format!("/proc/{}/root{}", std::process::id(), path.display())
}

fn loaded() -> String {
    format!("localhost/{NAME}:load")
}

fn load_words(stage: &Stage) -> Vec<String> {
    vec!["load".to_owned(), "-q".to_owned(), "-i".to_owned(), seen_from_anywhere(&stage.archive())]
}

pub(crate) fn load(peers: &mut Peers, engine: Engine, _round: u32) -> Result<Duration> {
    let stage = stage()?;
    forget(peers, engine, &loaded());
    peers.time(engine, &[load_words(stage)], 1)
}

pub(crate) fn prepare_save(peers: &mut Peers, engine: Engine) -> Result<()> {
    let stage = stage()?;
    let words = load_words(stage);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    peers.output(engine, &words).map(drop)
}

pub(crate) fn save(peers: &mut Peers, engine: Engine, _round: u32) -> Result<Duration> {
    let path = stage()?.dir.path().join(format!("saved-{}.tar", engine.name()));
    let words = vec!["save".to_owned(), "-o".to_owned(), seen_from_anywhere(&path), loaded()];
    let time = peers.time(engine, &[words], 1);
    let size = fs::metadata(&path).map(|found| found.len()).unwrap_or_default();
    drop(fs::remove_file(&path));
    ensure!(size > LAYERS * (LAYER as u64) / 4, "{size} bytes were saved");
    time
}

pub(crate) fn clean(peers: &mut Peers, engine: Engine) {
    forget(peers, engine, &loaded());
}

/// Kilobytes that the engine's daemon held at most while it pulled, loaded and saved.
pub(crate) fn at_most(peers: &mut Peers, engine: Engine, pid: u32) -> Result<u64> {
    // 5 resets the highest resident size there was.
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("reset what the engine held at most")?;
    for kind in ["gzip", "zstd"] {
        pull(peers, engine, kind)?;
    }
    load(peers, engine, 0)?;
    save(peers, engine, 0)?;
    clean(peers, engine);
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.split_whitespace().next().context("no number")?.parse()?)
}
