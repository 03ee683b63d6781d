//! Every dependency's licence is one that an Apache-2.0 binary may carry. `deny.toml` says the same to cargo-deny.

use anyhow::{Context, Result};

use crate::step;

const ALLOWED: [&str; 12] = [
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "Unicode-3.0",
    "Unlicense",
    "bzip2-1.0.6",
    "CDLA-Permissive-2.0",
];

pub(super) fn check(findings: &mut Vec<String>) -> Result<()> {
    let metadata = step::output(&["cargo", "metadata", "--format-version", "1", "--locked"])?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    for package in metadata["packages"].as_array().context("cargo metadata lists packages")? {
        let licence = package["license"].as_str().unwrap_or("none given");
        if !permits(licence) {
            findings.push(format!("{} has the licence {licence}, which is not on the list", package["name"]));
        }
    }
    Ok(())
}

/// Reads the few forms that SPDX expressions take here: `A OR B`, `A AND B`, `A WITH EXCEPTION`, one level of brackets.
fn permits(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    flat.split(" AND ").all(|part| {
        part.split(" OR ").any(|one| ALLOWED.contains(&one.split(" WITH ").next().unwrap_or_default().trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::permits;

    #[test]
    fn a_choice_needs_one_permitted_licence_and_a_conjunction_all() {
        assert!(permits("MIT OR GPL-2.0"));
        assert!(permits("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(permits("Apache-2.0 WITH LLVM-exception"));
        assert!(permits("MIT/Apache-2.0"));
        assert!(!permits("GPL-3.0"));
        assert!(!permits("MIT AND GPL-2.0"));
        assert!(!permits("none given"));
    }
}
