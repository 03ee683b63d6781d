//! The rules of the repository that a compiler does not know. Each finding says what to do.

mod documents;
mod layers;
mod licences;
mod sources;

use anyhow::{Result, bail};

use crate::step;

pub(crate) fn main() -> Result<()> {
    let mut findings = Vec::new();
    layers::check(&mut findings)?;
    sources::check(&mut findings)?;
    documents::check(&mut findings)?;
    licences::check(&mut findings)?;
    for finding in &findings {
        step::complain(&format!("tidy: {finding}"));
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    step::say("tidy: in order");
    Ok(())
}
