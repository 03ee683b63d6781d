//! Every source opens with what it is; none has grown past one reading; nothing is left for later without a word.

use std::path::Path;

use anyhow::Result;

use crate::step;

const LONGEST: usize = 700;

pub(super) fn check(findings: &mut Vec<String>) -> Result<()> {
    for name in step::output(&["git", "ls-files", "*.rs"])?.lines() {
        let path = step::workspace().join(name);
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        check_source(name, &text, findings);
    }
    Ok(())
}

fn check_source(name: &str, text: &str, findings: &mut Vec<String>) {
    let is_module_root =
        !name.contains("/tests/") && Path::new(name).file_name().is_some_and(|f| f != "tests.rs");
    if is_module_root && !text.trim_start().starts_with("//!") {
        findings
            .push(format!("{name} does not open with `//!`: say what it is and what it leaves to others"));
    }
    let lines = text.lines().count();
    if lines > LONGEST {
        findings
            .push(format!("{name} has {lines} lines: look for a second subject (the limit is {LONGEST})"));
    }
    for (number, line) in text.lines().enumerate() {
        let left = ["todo!(", "unimplemented!("].iter().any(|word| line.contains(word));
        if left && !name.starts_with("xtask/") {
            findings.push(format!("{name}:{}: unfinished: {}", number + 1, line.trim()));
        }
    }
}
