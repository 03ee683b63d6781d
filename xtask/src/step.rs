//! Runs the steps of a task, each announced so that it can be repeated alone.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

#[expect(clippy::print_stdout, reason = "the one place where the helper speaks")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "the one place where the helper complains")]
pub(crate) fn complain(text: &str) {
    eprintln!("{text}");
}

pub(crate) fn workspace() -> PathBuf {
    minke_testkit::tools::workspace()
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace().join(chosen)
}

/// A command of `words`, in the workspace's root, without what cargo told this program of its own package: crates whose build
/// scripts watch such variables would be built anew.
pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(workspace());
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Runs one step, shows how to repeat it and how long it took.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    run_with(command(words))
}

pub(crate) fn run_with(mut command: Command) -> Result<()> {
    let line = describe(&command);
    say(&format!("\n== {line}"));
    let start = Instant::now();
    let status = command.status().with_context(|| format!("start `{line}`"))?;
    say(&format!("== {:.1} s, {status}", start.elapsed().as_secs_f32()));
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// The standard output of a command that must succeed.
pub(crate) fn output(words: &[&str]) -> Result<String> {
    let mut command = command(words);
    let line = describe(&command);
    let output = command.output().with_context(|| format!("start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn describe(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            line.push_str(&format!("{}={} ", name.to_string_lossy(), value.to_string_lossy()));
        }
    }
    line.push_str(&command.get_program().to_string_lossy());
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// Installs Debian packages whose `probe` is not there yet (a program on the path, or an absolute path).
pub(crate) fn ensure(wanted: &[(&str, &str)]) -> Result<()> {
    let present = |probe: &str| {
        if probe.starts_with('/') {
            std::path::Path::new(probe).exists()
        } else {
            minke_testkit::tools::on_path(probe)
        }
    };
    let missing: Vec<&str> =
        wanted.iter().filter(|(probe, _)| !present(probe)).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !minke_testkit::tools::on_path("apt-get") {
        bail!("these Debian packages (or their like) are needed: {}", missing.join(" "));
    }
    run(&["apt-get", "update", "-q"])?;
    let mut install = command(&["apt-get", "install", "-y", "-q", "--no-install-recommends"]);
    install.args(missing).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    run_with(install)
}
