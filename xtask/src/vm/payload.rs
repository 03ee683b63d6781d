//! The second disk of one run: a tar archive of the files it needs, each at the path it has on the host, and the script.
//!
//! Same paths, because test programs carry the paths of their fixtures and of other programs in them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::options::{Init, Options};
use crate::step;

const INIT: &str = include_str!("guest/init.sh");
const RUN: &str = include_str!("guest/run.sh");
const UNIT: &str = include_str!("guest/minke-vm.service");

pub(crate) fn make(dir: &Path, options: &Options) -> Result<tempfile::NamedTempFile> {
    let mut script = String::from("set -e\n");
    let mut files = options.files.clone();
    let minke = minke(options)?;
    files.push(minke.clone());
    script.push_str(&format!("export MINKE_BIN='{}'\n", minke.display()));
    let docker = docker();
    files.extend(docker.clone());
    let links = [("minke", &minke), ("minke-oci", &minke), ("docker", docker.as_ref().unwrap_or(&minke))];
    for (name, program) in links {
        let link = Path::new("/usr/local/bin").join(name);
        if link != *program {
            script.push_str(&format!("ln -sf '{}' '{}'\n", program.display(), link.display()));
        }
    }
    let fixtures = minke_testkit::fixtures::dir();
    if fixtures.exists() {
        script.push_str(&format!("export MINKE_FIXTURES='{}'\n", fixtures.display()));
        let archives = std::fs::read_dir(&fixtures)?.filter_map(|entry| Some(entry.ok()?.path()));
        files.extend(archives.filter(|path| path.extension().is_some_and(|e| e == "tar")));
        files.push(fixtures.join("busybox-rootfs"));
    }
    script.push_str(&format!("export MINKE_TEST_PATIENCE={}\n", options.slow));
    // Golden files are looked for below the workspace, which cargo would name if it were there.
    script.push_str(&format!("export INSTA_WORKSPACE_ROOT='{}'\n", step::workspace().display()));
    let programs = programs(options)?;
    if !programs.is_empty() {
        // All of them, then the verdict.
        script.push_str("failed=0\n");
        for (directory, program) in &programs {
            let Some(directory) = directory else {
                files.push(program.clone());
                continue;
            };
            script.push_str(&format!(
                "mkdir -p '{0}'; echo '== {1}'; (cd '{0}' && '{1}' {2}) || failed=1\n",
                directory.display(),
                program.display(),
                options.filter
            ));
            files.push(program.clone());
            // Snapshots and scripts that tests read beside their sources.
            files.push(directory.clone());
        }
        script.push_str("test $failed = 0\n");
    }
    script.push_str(&options.script);
    script.push('\n');

    let archive = tempfile::Builder::new().prefix("payload-").suffix(".tar").tempfile_in(dir)?;
    let mut tar = tar::Builder::new(archive.reopen()?);
    tar.follow_symlinks(false);
    tar.sparse(false);
    files.sort();
    files.dedup();
    for path in &files {
        add(&mut tar, path).with_context(|| format!("pack {}", path.display()))?;
    }
    text(&mut tar, "vm/init", INIT)?;
    text(&mut tar, "vm/run", RUN)?;
    text(&mut tar, "vm/job", &script)?;
    if options.init == Init::Systemd {
        text(&mut tar, "etc/systemd/system/minke-vm.service", UNIT)?;
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        let name = "etc/systemd/system/multi-user.target.wants/minke-vm.service";
        tar.append_link(&mut link, name, "../minke-vm.service")?;
    }
    tar.finish()?;
    Ok(archive)
}

fn add(tar: &mut tar::Builder<std::fs::File>, path: &Path) -> Result<()> {
    let name = path.strip_prefix("/").unwrap_or(path);
    if path.is_dir() {
        tar.append_dir_all(name, path)?;
    } else {
        tar.append_path_with_name(std::fs::canonicalize(path)?, name)?;
    }
    Ok(())
}

fn text(tar: &mut tar::Builder<std::fs::File>, name: &str, text: &str) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, name, text.as_bytes())?;
    Ok(())
}

fn minke(options: &Options) -> Result<PathBuf> {
    let path = options.minke.clone().unwrap_or_else(|| minke_testkit::tools::minke().into());
    if !path.exists() {
        bail!("{} is not there: build it with `cargo build --release`", path.display());
    }
    Ok(path)
}

/// The host's `docker` CLI, which is one static program wherever it comes from.
fn docker() -> Option<PathBuf> {
    let name = minke_testkit::tools::docker();
    minke_testkit::tools::on_path(&name).then(|| minke_testkit::tools::resolve(&name))
}

/// Builds the tests asked for. Answers each program, a test with its package's directory, a helper of tests without.
fn programs(options: &Options) -> Result<Vec<(Option<PathBuf>, PathBuf)>> {
    let mut programs = Vec::new();
    for test in &options.tests {
        let (package, target) = test.split_once(':').unwrap_or((test, ""));
        let mut words =
            vec!["cargo", "test", "--no-run", "--message-format=json-render-diagnostics", "-p", package];
        if has_kernel_tests(package)? {
            words.extend(["--features", "kernel-tests"]);
        }
        match target {
            "" => {}
            "lib" => words.push("--lib"),
            name => words.extend(["--test", name]),
        }
        step::say(&format!("== {}", words.join(" ")));
        let before = programs.len();
        read_artifacts(&step::output(&words)?, &mut programs);
        if programs.len() == before {
            bail!("{test} has no test programs");
        }
        // Some tests drive a small program of their own.
        let build =
            ["cargo", "build", "--examples", "--message-format=json-render-diagnostics", "-p", package];
        read_artifacts(&step::output(&build)?, &mut programs);
    }
    Ok(programs)
}

/// Picks the programs out of what cargo says it made.
fn read_artifacts(messages: &str, programs: &mut Vec<(Option<PathBuf>, PathBuf)>) {
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let Some(program) = message["executable"].as_str() else { continue };
        let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
        let is_test = message["profile"]["test"] == true;
        let directory = manifest.parent().filter(|_| is_test).map(Path::to_owned);
        programs.push((directory, program.into()));
    }
}

fn has_kernel_tests(package: &str) -> Result<bool> {
    let metadata = step::output(&["cargo", "metadata", "--no-deps", "--format-version=1", "--offline"])?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let found = metadata["packages"].as_array().into_iter().flatten().find(|p| p["name"] == package);
    let found = found.with_context(|| format!("no package {package} in this workspace"))?;
    Ok(found["features"].get("kernel-tests").is_some())
}
