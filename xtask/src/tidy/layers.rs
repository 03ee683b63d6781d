//! Imports point downwards: face → engine → mechanism → ground; nothing but tests and helpers imports a dev crate.

use anyhow::{Context, Result};

use crate::step;

const LAYERS: [&str; 4] = ["ground", "mechanism", "engine", "face"];

pub(super) fn check(findings: &mut Vec<String>) -> Result<()> {
    let metadata = step::output(&["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"])?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let layer_of = |name: &str| {
        let package = packages.iter().find(|p| p["name"] == name)?;
        let path = package["manifest_path"].as_str()?;
        LAYERS.iter().position(|layer| path.contains(&format!("crates/{layer}/")))
    };
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(own) = layer_of(name) else { continue };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let (on, kind) = (dependency["name"].as_str().unwrap_or_default(), &dependency["kind"]);
            if let Some(theirs) = layer_of(on)
                && theirs > own
            {
                findings.push(format!(
                    "{name} ({}) imports {on} ({}): imports point downwards",
                    LAYERS[own], LAYERS[theirs]
                ));
            }
            if on == "minke-testkit" && kind.is_null() {
                findings.push(format!("{name} imports minke-testkit: only tests may"));
            }
            if on == "tokio"
                && kind.is_null()
                && ["minke-runtime", "minke-keeper", "minke-sys"].contains(&name)
            {
                findings.push(format!(
                    "{name} imports tokio: the runtime and the keeper are single-threaded and synchronous"
                ));
            }
        }
    }
    Ok(())
}
