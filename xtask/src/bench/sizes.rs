//! What the engine holds at most, image by image: small and large ones, many layers, many files.
//!
//! Memory that grows with an image shows here: each is loaded, pushed (its layers are packed then), pulled, saved, exported, imported,
//! copied and unpacked by a build, written by a `RUN` and by a container that is committed. Nothing of the bytes compresses.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use minke_testkit::registries::{Registry, RegistryOptions};
use sha2::{Digest as _, Sha256};

use super::daemon::PrivateDaemon;
use super::engines::{Engine, Peers};
use super::images::{Dice, Hashing, hex};
use super::report::{Bound, Weight};
use super::rows::name;

/// A kind of image.
struct Shape {
    key: &'static str,
    title: &'static str,
    layers: u64,
    /// In each layer.
    files: u64,
    /// Of each file.
    bytes: u64,
}

const SHAPES: [Shape; 5] = [
    Shape {
        key: "memory-100mb",
        title: "engine at most, resident, with an image of 100 MB",
        layers: 10,
        files: 10,
        bytes: 1 << 20,
    },
    Shape { key: "memory-500mb", title: "the same, 500 MB", layers: 10, files: 5, bytes: 10 << 20 },
    Shape { key: "memory-2gb", title: "the same, 2 GB in four files", layers: 4, files: 1, bytes: 512 << 20 },
    Shape {
        key: "memory-layers",
        title: "the same, 8 MB in 125 layers",
        layers: 125,
        files: 4,
        bytes: 16 << 10,
    },
    Shape {
        key: "memory-files",
        title: "the same, 200,000 files of 100 bytes",
        layers: 4,
        files: 50_000,
        bytes: 100,
    },
];

pub(crate) const KEYS: [&str; SHAPES.len()] =
    [SHAPES[0].key, SHAPES[1].key, SHAPES[2].key, SHAPES[3].key, SHAPES[4].key];

/// The weights of those that are wanted.
pub(crate) fn weigh(
    peers: &mut Peers,
    daemon: Option<&PrivateDaemon>,
    wanted: impl Fn(&str) -> bool,
) -> Vec<Weight> {
    let Some(daemon) = daemon else { return Vec::new() };
    let wanted = SHAPES.iter().filter(|shape| wanted(shape.key));
    let weighed = wanted.map(|shape| {
        let mut weight = Weight::new(shape.title, Bound::Kilobytes { at_most: 150_000, stretch: 80_000 });
        match Course::new(peers, daemon.pid()).and_then(|mut course| course.run(shape)) {
            Ok((kilobytes, when)) => weight.add(Engine::Minke, kilobytes, when.to_owned()),
            Err(error) => weight.fail(Engine::Minke, format!("{error:#}")),
        }
        weight
    });
    weighed.collect()
}

/// Everything that is done with one image.
struct Course<'a> {
    peers: &'a mut Peers,
    daemon: u32,
    dir: tempfile::TempDir,
    registry: Registry,
    most: (u64, &'static str),
}

impl<'a> Course<'a> {
    fn new(peers: &'a mut Peers, daemon: u32) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("minke-bench-sizes-").tempdir_in("/var/lib")?;
        let storage = Some(dir.path().join("registry"));
        let options = RegistryOptions { storage, ..RegistryOptions::default() };
        let registry = Registry::start(peers.host_pid(Engine::Minke), &options);
        Ok(Self { peers, daemon, dir, registry, most: (0, "") })
    }

    /// Kilobytes at most, and doing what.
    fn run(&mut self, shape: &Shape) -> Result<(u64, &'static str)> {
        let image = self.registry.named(shape.key);
        let container = name(Engine::Minke, "sizes");
        let done = self.all(shape, &image, &container);
        let quietly = |peers: &mut Peers, words: &[&str]| drop(peers.output(Engine::Minke, words));
        quietly(self.peers, &["rm", "-f", &container]);
        quietly(self.peers, &["rmi", "-f", &image, IMPORTED, COPIED, RUN, COMMITTED]);
        quietly(self.peers, &["builder", "prune", "-a", "-f"]);
        done.map(|()| self.most)
    }

    fn all(&mut self, shape: &Shape, image: &str, container: &str) -> Result<()> {
        let path = |name: &str| self.dir.path().join(name).to_string_lossy().into_owned();
        let (archive, saved, context) = (path("archive.tar"), path("saved.tar"), path("context"));
        write_archive(shape, image, Path::new(&archive))?;
        self.step("load", &["load", "-q", "-i", &archive])?;
        fs::remove_file(&archive)?;
        self.step("push", &["push", "-q", image])?;
        self.peers.output(Engine::Minke, &["rmi", "-f", image])?;
        self.step("pull", &["pull", "-q", image])?;
        self.step("save", &["save", "-o", &saved, image])?;
        fs::remove_file(&saved)?;
        fs::create_dir(&context)?;
        let exported = format!("{context}/exported.tar");
        self.peers.output(Engine::Minke, &["create", "--name", container, image])?;
        self.step("export", &["export", "-o", &exported, container])?;
        self.peers.output(Engine::Minke, &["rm", container])?;
        self.step("import", &["import", &exported, IMPORTED])?;
        fs::write(
            format!("{context}/Dockerfile"),
            "FROM scratch\nCOPY exported.tar /\nADD exported.tar /x/\n",
        )?;
        self.step("build of COPY and ADD", &["build", "-q", "-t", COPIED, &context])?;
        fs::remove_file(&exported)?;
        let script = script(shape);
        fs::write(format!("{context}/Dockerfile"), format!("FROM busybox\nRUN {script}\n"))?;
        self.step("build of RUN", &["build", "-q", "--network", "none", "-t", RUN, &context])?;
        let words = ["run", "--net", "none", "--name", container, "busybox", "sh", "-c", &script];
        self.peers.output(Engine::Minke, &words)?;
        self.step("commit", &["commit", container, COMMITTED])?;
        self.step("save of what was committed", &["save", "-o", &saved, COMMITTED])
    }

    /// One command, and what the engine held at most meanwhile.
    fn step(&mut self, what: &'static str, words: &[&str]) -> Result<()> {
        // 5 resets the highest resident size there was.
        fs::write(format!("/proc/{}/clear_refs", self.daemon), "5").context("reset what the engine held")?;
        self.peers.output(Engine::Minke, words).with_context(|| what.to_owned())?;
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let held: u64 = line.split_whitespace().next().context("no number")?.parse()?;
        self.most = self.most.max((held, what));
        Ok(())
    }
}

const IMPORTED: &str = "minke-bench-sizes-imported";
const COPIED: &str = "minke-bench-sizes-copied";
const RUN: &str = "minke-bench-sizes-run";
const COMMITTED: &str = "minke-bench-sizes-committed";

/// Writes as much as the image has, in as many files.
fn script(shape: &Shape) -> String {
    let files = shape.layers * shape.files;
    if shape.bytes < 4096 {
        return format!("mkdir /many && cd /many && for i in $(seq {files}); do echo $i > $i; done");
    }
    format!("head -c {} /dev/urandom > /large", files * shape.bytes)
}

/// The image as `docker save` wrote it for long: a tar of tars.
fn write_archive(shape: &Shape, image: &str, path: &Path) -> Result<()> {
    let layer = path.with_extension("layer");
    let mut archive = tar::Builder::new(BufWriter::new(File::create(path)?));
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for number in 0..shape.layers {
        let file = BufWriter::new(File::create(&layer)?);
        let mut output = Hashing { inner: file, hash: Sha256::new(), length: 0 };
        write_layer(shape, number, &mut output)?;
        output.flush()?;
        diff_ids.push(format!("sha256:{}", hex(&output.hash.finalize())));
        let name = format!("layer{number}.tar");
        archive.append_file(&name, &mut File::open(&layer)?)?;
        layers.push(name);
    }
    fs::remove_file(&layer)?;
    let config = serde_json::json!({
        "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"), "os": "linux",
        "config": {"Cmd": ["true"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [format!("{image}:latest")], "Layers": layers}]);
    for (name, document) in [("config.json", config), ("manifest.json", manifest)] {
        let bytes = document.to_string();
        archive.append_data(&mut header(bytes.len() as u64), name, bytes.as_bytes())?;
    }
    archive.into_inner()?.flush()?;
    Ok(())
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(1_700_000_000);
    header
}

fn write_layer(shape: &Shape, number: u64, output: &mut impl Write) -> Result<()> {
    let mut noise = Noise(Dice(0x9e37_79b9_7f4a_7c15 ^ (number + 1)));
    let mut tar = tar::Builder::new(output);
    for count in 0..shape.files {
        let path = format!("layer{number}/{}/file{count}", count / 500);
        tar.append_data(&mut header(shape.bytes), path, io::Read::take(&mut noise, shape.bytes))?;
    }
    tar.finish()?;
    Ok(())
}

/// Bytes without an end.
struct Noise(Dice);

impl io::Read for Noise {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        for piece in out.chunks_mut(8) {
            piece.copy_from_slice(&self.0.next().to_le_bytes()[..piece.len()]);
        }
        Ok(out.len())
    }
}
