//! The images that tests and benchmarks run, made from Debian's packages and never pulled.
//!
//! Each becomes a docker-archive `target/fixtures/NAME.tar`. What exists is kept; delete the file to have it made again.

mod archive;
mod books;
pub(crate) mod debian;
mod recipes;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::step;
use archive::Image;

pub(crate) fn main() -> Result<()> {
    let dir = minke_testkit::fixtures::dir();
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    step::ensure(&[("dpkg-deb", "dpkg"), ("tar", "tar"), ("debootstrap", "debootstrap")])?;
    let made = Kitchen { dir };
    made.cook("busybox", recipes::busybox)?;
    made.cook("hello_world", recipes::hello_world)?;
    made.cook("wordpress", recipes::wordpress)?;
    made.cook("ch5_expose", recipes::ch5_expose)?;
    made.cook("ch5_ff", recipes::ch5_ff)?;
    for (name, recipe) in books::RECIPES {
        made.cook(name, recipe)?;
    }
    made.cook("debian", recipes::debian)?;
    made.cook("nginx", recipes::nginx)?;
    made.cook("supervised", recipes::supervised)?;
    made.cook("lamp", books::lamp)?;
    Ok(())
}

/// Where fixtures are made and kept.
pub(crate) struct Kitchen {
    dir: PathBuf,
}

impl Kitchen {
    /// The unpacked root file system of `name`; `fill` makes it when it is not there.
    pub(crate) fn rootfs(&self, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.dir.join(format!("{name}-rootfs"));
        if !path.exists() {
            let unfinished = self.dir.join(format!("{name}-rootfs.unfinished"));
            if unfinished.exists() {
                std::fs::remove_dir_all(&unfinished)?;
            }
            std::fs::create_dir_all(&unfinished)?;
            fill(&unfinished).with_context(|| format!("make the root file system of {name}"))?;
            std::fs::rename(&unfinished, &path)?;
        }
        Ok(path)
    }

    fn cook(&self, name: &str, recipe: impl FnOnce(&Self) -> Result<Image>) -> Result<()> {
        let path = self.dir.join(format!("{name}.tar"));
        if path.exists() {
            step::say(&format!("fixture {name}: there"));
            return Ok(());
        }
        let start = std::time::Instant::now();
        let image = recipe(self).with_context(|| format!("fixture {name}"))?;
        let unfinished = self.dir.join(format!("{name}.tar.unfinished"));
        image.write(&unfinished)?;
        std::fs::rename(&unfinished, &path)?;
        step::say(&format!("fixture {name}: made in {:.1} s", start.elapsed().as_secs_f32()));
        Ok(())
    }
}
