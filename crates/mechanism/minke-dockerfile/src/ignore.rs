//! `.dockerignore`: what a context leaves out, as moby's pattern matcher decides it.
//!
//! Patterns are matched in order against a path and its parents, the last that matches wins; `!` takes back.
//! A path that no pattern names follows its parents.

use crate::pattern::{Glob, PatternError, clean};

/// A list of patterns.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Entry>,
    exceptions: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    glob: Glob,
    exception: bool,
    /// How many components a path must have to be matched itself.
    text: String,
}

/// Comparable with the largest file that Docker reads.
const MAX_PATTERNS: usize = 100_000;

impl Ignore {
    /// Reads a `.dockerignore`: a pattern a line, `#` begins a comment line.
    ///
    /// # Errors
    /// When a pattern is malformed; the message names it.
    pub fn parse(text: &[u8]) -> Result<Self, PatternError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let text = String::from_utf8_lossy(text);
        let lines =
            text.lines().filter(|line| !line.starts_with('#')).map(str::trim).filter(|line| !line.is_empty());
        Self::of(lines.map(|line| match line.strip_prefix('!') {
            Some(rest) if !rest.trim().is_empty() => format!("!{}", inside(rest.trim())),
            Some(_) => line.to_owned(),
            None => inside(line),
        }))
    }

    /// Patterns from elsewhere (`COPY --exclude`).
    ///
    /// # Errors
    /// When a pattern is malformed.
    pub fn of(patterns: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, PatternError> {
        let mut list = Self::default();
        for pattern in patterns {
            let pattern = pattern.as_ref().trim();
            if pattern.is_empty() {
                continue;
            }
            let (exception, text) = match pattern.strip_prefix('!') {
                Some("") => {
                    return Err(PatternError {
                        pattern: "!".to_owned(),
                        reason: "illegal exclusion pattern",
                    });
                }
                Some(rest) => (true, rest),
                None => (false, pattern),
            };
            let text = clean(text);
            list.exceptions |= exception;
            list.patterns.push(Entry { glob: Glob::parse(&text)?, exception, text });
            if list.patterns.len() > MAX_PATTERNS {
                return Err(PatternError {
                    pattern: list.patterns[0].text.clone(),
                    reason: "too many patterns",
                });
            }
        }
        Ok(list)
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a path (relative, `/` between components, no `.` or `..`) stays out.
    pub fn excludes(&self, path: &str) -> bool {
        let mut out = false;
        for entry in &self.patterns {
            // An exception changes only what is out so far, a pattern only what is in.
            if entry.exception == out && entry.touches(path) {
                out = !entry.exception;
            }
        }
        out
    }

    /// Whether something below an excluded directory may come back in: otherwise nobody has to look.
    pub fn may_return_below(&self, directory: &str) -> bool {
        self.exceptions
            && self.patterns.iter().any(|entry| entry.exception && entry.glob.may_match_below(directory))
    }
}

impl Entry {
    /// The path itself or one of its parents.
    fn touches(&self, path: &str) -> bool {
        self.glob.matches(path) || path.match_indices('/').any(|(place, _)| self.glob.matches(&path[..place]))
    }
}

/// A leading slash means the context's root, as every path does.
fn inside(pattern: &str) -> String {
    let cleaned = clean(pattern);
    match cleaned.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => cleaned,
    }
}
