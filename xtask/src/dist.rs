//! The release binary, optimised as far as it goes, with its links and completions, under `target/dist`.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, bail};

use crate::step;

pub(crate) fn main() -> Result<()> {
    let arch = std::env::consts::ARCH;
    let musl = format!("{arch}-unknown-linux-musl");
    let gnu = format!("{arch}-unknown-linux-gnu");
    // A musl build starts sooner and is smaller; where its target is not installed, glibc is linked in instead.
    let target = if has_target(&musl) { musl } else { gnu };
    step::run(&["cargo", "build", "--profile", "dist", "--package", "minke", "--target", &target])?;
    let out = step::workspace().join("target/dist");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir_all(&out)?;
    let built = step::workspace().join(format!("target/{target}/dist/minke"));
    let binary = out.join("minke");
    fs::copy(&built, &binary).with_context(|| format!("copy {}", built.display()))?;
    for name in ["docker", "dockerd", "minke-oci"] {
        symlink("minke", out.join(name))?;
    }
    let binary = binary.to_string_lossy().into_owned();
    for shell in ["bash", "zsh", "fish"] {
        fs::write(out.join(format!("minke.{shell}")), step::output(&[&binary, "completion", shell])?)?;
    }
    if !step::output(&["file", "-L", &binary]).map_or(true, |kind| kind.contains("static")) {
        bail!("{binary} is not linked statically");
    }
    step::say(&format!("target/dist: {} bytes for {target}", fs::metadata(&binary)?.len()));
    Ok(())
}

fn has_target(target: &str) -> bool {
    step::output(&["rustc", "--print", "target-libdir", "--target", target])
        .is_ok_and(|dir| std::path::Path::new(dir.trim()).join("self-contained").exists())
}
