//! Text into lines that belong together: directives, comments, continuations, here-documents.

use crate::ast::{Directives, MAX_BYTES, Span};
use crate::error::Error;
use crate::heredoc::{self, Raw};

/// One instruction's text, not looked into yet.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// The first word as written.
    pub(crate) word: String,
    pub(crate) flags: Vec<String>,
    /// Behind word and flags, blanks around it removed.
    pub(crate) rest: String,
    /// Continuations joined.
    pub(crate) text: String,
    pub(crate) heredocs: Vec<Raw>,
    pub(crate) span: Span,
    /// A continuation went on over an empty line.
    pub(crate) gap: bool,
}

/// All instructions of a file.
pub(crate) fn lines(text: &str) -> Result<(Directives, Vec<Line>), Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::file(format!("the Dockerfile is larger than {MAX_BYTES} bytes")));
    }
    let mut directives = Directives {
        syntax: None,
        escape: '\\',
        skipped_checks: Vec::new(),
        experimental_checks: Vec::new(),
        checks_are_errors: false,
    };
    let mut seen = Seen::default();
    let mut found = Vec::new();
    let mut source = Numbered { lines: text.split_inclusive('\n'), number: 0 };
    while let Some(raw) = source.next() {
        let first = source.number;
        let line = raw.trim_end_matches(['\r', '\n']).trim_start();
        if !seen.done {
            seen.directive(line, &mut directives).map_err(|error| error.at(Span { first, last: first }))?;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (mut text, mut ends) = without_continuation(line, directives.escape);
        if ends && text.is_empty() {
            continue;
        }
        let mut gap = false;
        while !ends {
            let Some(next) = source.next() else { break };
            let next = next.trim_end_matches(['\r', '\n']);
            let bare = next.trim_start();
            if bare.starts_with('#') {
                continue;
            }
            if bare.is_empty() {
                gap = true;
                continue;
            }
            let (more, last) = without_continuation(next, directives.escape);
            text.push_str(&more);
            ends = last;
        }
        let span = |last| Span { first, last };
        let mut line = split(&text).map_err(|error| error.at(span(source.number)))?;
        line.gap = gap;
        if line.may_hold_heredocs() && text.contains("<<") {
            for mut heredoc in heredoc::in_line(&text, directives.escape) {
                read_heredoc(&mut source, &mut heredoc).map_err(|error| error.at(span(source.number)))?;
                line.heredocs.push(heredoc);
            }
        }
        line.span = span(source.number);
        found.push(line);
    }
    if found.is_empty() {
        return Err(Error::syntax("file with no instructions"));
    }
    Ok((directives, found))
}

struct Numbered<'t> {
    lines: std::str::SplitInclusive<'t, char>,
    number: u32,
}

impl<'t> Numbered<'t> {
    fn next(&mut self) -> Option<&'t str> {
        let line = self.lines.next()?;
        self.number = self.number.saturating_add(1);
        Some(if self.number == 1 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line })
    }
}

fn read_heredoc(source: &mut Numbered<'_>, heredoc: &mut Raw) -> Result<(), Error> {
    while let Some(line) = source.next() {
        let bare = line.trim_end_matches(['\r', '\n']);
        let bare = if heredoc.strip_tabs { bare.trim_start_matches('\t') } else { bare };
        if bare == heredoc.name {
            return Ok(());
        }
        heredoc.content.push_str(line);
    }
    Err(Error::syntax("unterminated heredoc"))
}

/// The line without an escape at its end, and whether it ends there.
fn without_continuation(line: &str, escape: char) -> (String, bool) {
    let bare = line.trim_end_matches([' ', '\t']);
    match bare.strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest.to_owned(), false),
        _ => (line.to_owned(), true),
    }
}

/// Which directives a file had so far; the first line that is none ends them.
#[derive(Default)]
struct Seen {
    names: Vec<String>,
    done: bool,
}

impl Seen {
    fn directive(&mut self, line: &str, directives: &mut Directives) -> Result<(), Error> {
        let Some((name, value)) = directive(line) else {
            self.done = true;
            return Ok(());
        };
        if !matches!(name.as_str(), "escape" | "syntax" | "check") {
            return Ok(());
        }
        if self.names.contains(&name) {
            return Err(Error::syntax(format!("only one {name} parser directive can be used")));
        }
        match name.as_str() {
            "escape" => match value {
                "\\" => directives.escape = '\\',
                "`" => directives.escape = '`',
                other => {
                    return Err(Error::syntax(format!(
                        "invalid escape token '{other}' does not match ` or \\"
                    )));
                }
            },
            "syntax" => directives.syntax = Some(value.to_owned()),
            _ => checks(value, directives)?,
        }
        self.names.push(name);
        Ok(())
    }
}

/// `# name = value`
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.strip_prefix('#')?.trim_start().split_once('=')?;
    let (name, value) = (name.trim_end(), value.trim());
    let valid = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric());
    (valid && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

/// `skip=Rule,Rule;error=true`
fn checks(value: &str, directives: &mut Directives) -> Result<(), Error> {
    for part in value.split(';').filter(|part| !part.trim().is_empty()) {
        let (key, value) =
            part.split_once('=').ok_or_else(|| Error::syntax(format!("invalid check option {part:?}")))?;
        match key.trim() {
            "skip" => directives.skipped_checks.extend(value.split(',').map(|rule| rule.trim().to_owned())),
            "error" => {
                directives.checks_are_errors = match value.trim() {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    other => return Err(Error::syntax(format!("failed to parse check option {other:?}"))),
                }
            }
            "experimental" => {
                directives.experimental_checks.extend(value.split(',').map(|rule| rule.trim().to_owned()));
            }
            other => return Err(Error::syntax(format!("invalid check option {other:?}"))),
        }
    }
    Ok(())
}

/// A single instruction out of an image, with its here-documents.
pub(crate) fn split(text: &str) -> Result<Line, Error> {
    let trimmed = text.trim();
    let (word, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
    let (flags, rest) = flags(rest);
    Ok(Line {
        word: word.to_owned(),
        flags,
        rest: rest.trim().to_owned(),
        text: trimmed.to_owned(),
        heredocs: Vec::new(),
        span: Span { first: 1, last: 1 },
        gap: false,
    })
}

impl Line {
    pub(crate) fn keyword(&self) -> String {
        self.word.to_ascii_uppercase()
    }

    fn may_hold_heredocs(&self) -> bool {
        let mut word = self.keyword();
        if word == "ONBUILD" {
            word = self.rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        }
        matches!(word.as_str(), "RUN" | "COPY" | "ADD")
    }
}

/// The words that begin with `--`, quotes and escapes taken off, and what follows them.
fn flags(line: &str) -> (Vec<String>, &str) {
    let mut found = Vec::new();
    let mut rest = line.trim_start();
    while rest.starts_with("--") {
        let mut word = String::new();
        let mut quote = None;
        let mut end = rest.len();
        let mut letters = rest.char_indices();
        while let Some((place, letter)) = letters.next() {
            match (letter, quote) {
                (mark, Some(open)) if mark == open => quote = None,
                ('"' | '\'', None) => quote = Some(letter),
                ('\\', _) => word.extend(letters.next().map(|(_, next)| next)),
                (blank, None) if blank.is_whitespace() => {
                    end = place;
                    break;
                }
                (other, _) => word.push(other),
            }
        }
        rest = rest[end..].trim_start();
        if word == "--" {
            break;
        }
        found.push(word);
    }
    (found, rest)
}
