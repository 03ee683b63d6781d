//! The release binary, optimised as far as it goes, with its links, completions and manual, under `target/dist`.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, bail};

use crate::step;

pub(crate) fn main() -> Result<()> {
    let target = choose_target();
    step::run(&["cargo", "build", "--profile", "dist", "--package", "minke", "--target", &target])?;
    let out = step::target_directory().join("dist");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir_all(&out)?;
    let built = step::target_directory().join(format!("{target}/dist/minke"));
    let binary = out.join("minke");
    fs::copy(&built, &binary).with_context(|| format!("copy {}", built.display()))?;
    for name in ["docker", "dockerd", "minke-oci"] {
        symlink("minke", out.join(name))?;
    }
    let binary = binary.to_string_lossy().into_owned();
    for shell in ["bash", "zsh", "fish"] {
        fs::write(out.join(format!("minke.{shell}")), step::output(&[&binary, "completion", shell])?)?;
    }
    fs::write(out.join("minke.ps1"), step::output(&[&binary, "completion", "powershell"])?)?;
    step::run(&[&binary, "man", &out.join("man1").to_string_lossy()])?;
    if !step::output(&["file", "-L", &binary]).map_or(true, |kind| kind.contains("static")) {
        bail!("{binary} is not linked statically");
    }
    step::say(&format!("{}: {} bytes for {target}", binary, fs::metadata(&binary)?.len()));
    Ok(())
}

/// musl where it can be had: such a program starts in half the time and takes less memory. Else glibc, which every machine has.
fn choose_target() -> String {
    let arch = std::env::consts::ARCH;
    let musl = format!("{arch}-unknown-linux-musl");
    if step::output(&["musl-gcc", "--version"]).is_err() {
        step::say("glibc is linked in: there is no musl-gcc (Debian: apt-get install musl-tools)");
    } else if !has_target(&musl) && step::run(&["rustup", "target", "add", &musl]).is_err() {
        step::say(&format!("glibc is linked in: the target {musl} is not installed and cannot be"));
    } else {
        return musl;
    }
    format!("{arch}-unknown-linux-gnu")
}

fn has_target(target: &str) -> bool {
    step::output(&["rustc", "--print", "target-libdir", "--target", target])
        .is_ok_and(|dir| std::path::Path::new(dir.trim()).join("self-contained").exists())
}
