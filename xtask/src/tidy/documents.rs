//! The documents that must be there, and the paths they name.

use anyhow::Result;

use crate::step;

const REQUIRED: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "SPECIFICATION.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "deny.toml",
];

pub(super) fn check(findings: &mut Vec<String>) -> Result<()> {
    let root = step::workspace();
    for name in REQUIRED {
        if !root.join(name).exists() {
            findings.push(format!("{name} is missing"));
        }
    }
    for name in step::output(&["git", "ls-files", "*.md"])?.lines() {
        let Ok(text) = std::fs::read_to_string(root.join(name)) else { continue };
        for path in paths_in(&text) {
            if !root.join(path).exists() {
                findings.push(format!("{name} names {path}, which does not exist"));
            }
        }
    }
    Ok(())
}

/// Words in backticks that look like paths of this repository.
fn paths_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|word| {
        let top = ["crates/", "xtask/", "tests/", "benches/", "docs/"];
        top.iter().any(|prefix| word.starts_with(prefix)) && !word.contains([' ', '*', '<', '{', '…'])
    })
}
