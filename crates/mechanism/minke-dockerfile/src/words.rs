//! The little shell language of Dockerfiles: quotes, escapes and `$`.
//!
//! `${x:-y} ${x-y} ${x:+y} ${x+y} ${x:?y} ${x?y} ${x#p} ${x##p} ${x%p} ${x%%p} ${x/p/r} ${x//p/r}`,
//! where a pattern knows `*`, `?` and the escape.

use crate::error::Error;

/// A substitution inside a substitution, and so on.
const MAX_DEPTH: u32 = 64;
/// What a text may become: `${x}${x}` over many lines doubles at each.
const MAX_EXPANDED: usize = 4 << 20;

type Lookup<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

/// One text as one word.
pub(crate) fn expand<'a>(text: &str, escape: char, lookup: Lookup<'a>) -> Result<String, Error> {
    run(text, escape, lookup, true).map(|(whole, _)| whole)
}

/// A here-document: quotes are letters like any other.
pub(crate) fn expand_document<'a>(text: &str, escape: char, lookup: Lookup<'a>) -> Result<String, Error> {
    run(text, escape, lookup, false).map(|(whole, _)| whole)
}

/// One text as many words.
pub(crate) fn expand_words<'a>(text: &str, escape: char, lookup: Lookup<'a>) -> Result<Vec<String>, Error> {
    run(text, escape, lookup, true).map(|(_, words)| words)
}

fn run<'a>(
    text: &str,
    escape: char,
    lookup: Lookup<'a>,
    quotes: bool,
) -> Result<(String, Vec<String>), Error> {
    let letters: Vec<char> = text.chars().collect();
    let mut reader =
        Reader { letters: &letters, place: 0, escape, lookup, depth: 0, quotes, words: Words::default() };
    let whole = reader
        .until(None, false)
        .map_err(|message| Error::expansion(format!("failed to process {text:?}: {message}")))?;
    Ok((whole, reader.words.finish()))
}

/// The words met so far at the outermost level.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
    /// Something was there, be it an empty pair of quotes.
    begun: bool,
}

impl Words {
    fn literal(&mut self, letter: char) {
        if letter.is_whitespace() {
            self.end();
        } else {
            self.quoted(letter);
        }
    }

    fn quoted(&mut self, letter: char) {
        self.current.push(letter);
        self.begun = true;
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.begun) {
            self.done.push(std::mem::take(&mut self.current));
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.end();
        self.done
    }
}

struct Reader<'t, 'a> {
    letters: &'t [char],
    place: usize,
    escape: char,
    lookup: Lookup<'a>,
    depth: u32,
    /// Whether quotes mean anything.
    quotes: bool,
    words: Words,
}

impl Reader<'_, '_> {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.place).copied()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek();
        self.place += usize::from(letter.is_some());
        letter
    }

    /// Reads to the end, or to a letter outside quotes, which is eaten. `raw` keeps escapes (in patterns).
    fn until(&mut self, stop: Option<char>, raw: bool) -> Result<String, String> {
        let mut text = String::new();
        let outermost = self.depth == 0;
        while let Some(letter) = self.peek() {
            if Some(letter) == stop {
                self.place += 1;
                return Ok(text);
            }
            match letter {
                '\'' if self.quotes => self.single(&mut text)?,
                '"' if self.quotes => self.double(&mut text)?,
                '$' => {
                    let value = self.dollar()?;
                    if outermost {
                        value.chars().for_each(|letter| self.words.literal(letter));
                    }
                    text.push_str(&value);
                }
                _ => {
                    self.place += 1;
                    let mut letter = letter;
                    let escaped = letter == self.escape;
                    if escaped {
                        let Some(next) = self.next() else {
                            // An escape with nothing behind it stands for nothing, except in patterns.
                            if raw {
                                text.push(letter);
                            }
                            break;
                        };
                        if raw {
                            text.push(letter);
                        }
                        letter = next;
                    }
                    text.push(letter);
                    if outermost {
                        if escaped { self.words.quoted(letter) } else { self.words.literal(letter) }
                    }
                }
            }
            if text.len() > MAX_EXPANDED {
                return Err(format!("becomes longer than {MAX_EXPANDED} bytes"));
            }
        }
        match stop {
            Some('}') => Err("syntax error: missing '}'".to_owned()),
            Some('/') => Err("syntax error: missing '/' in ${}".to_owned()),
            Some(other) => Err(format!("unexpected end of statement while looking for matching {other}")),
            None => Ok(text),
        }
    }

    fn single(&mut self, text: &mut String) -> Result<(), String> {
        self.place += 1;
        self.words.begun |= self.depth == 0;
        loop {
            match self.next() {
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching single-quote".to_owned()
                    );
                }
                Some('\'') => return Ok(()),
                Some(letter) => self.keep(text, letter),
            }
        }
    }

    fn double(&mut self, text: &mut String) -> Result<(), String> {
        self.place += 1;
        self.words.begun |= self.depth == 0;
        loop {
            match self.peek() {
                None => {
                    return Err(
                        "unexpected end of statement while looking for matching double-quote".to_owned()
                    );
                }
                Some('"') => {
                    self.place += 1;
                    return Ok(());
                }
                Some('$') => {
                    let value = self.dollar()?;
                    for letter in value.chars() {
                        self.keep(text, letter);
                    }
                }
                Some(letter) => {
                    self.place += 1;
                    if letter != self.escape {
                        self.keep(text, letter);
                        continue;
                    }
                    match self.next() {
                        None => {
                            let message =
                                "unexpected end of statement while looking for matching double-quote";
                            return Err(message.to_owned());
                        }
                        Some(next) if next == '"' || next == '$' || next == self.escape => {
                            self.keep(text, next)
                        }
                        Some(next) => {
                            self.keep(text, letter);
                            self.keep(text, next);
                        }
                    }
                }
            }
        }
    }

    /// A letter inside quotes.
    fn keep(&mut self, text: &mut String, letter: char) {
        text.push(letter);
        if self.depth == 0 {
            self.words.quoted(letter);
        }
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.place += 1;
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() { "$".to_owned() } else { self.value(&name).unwrap_or_default() });
        }
        self.place += 1;
        match self.peek() {
            None => return Err("syntax error: missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        if self.depth >= MAX_DEPTH {
            return Err("substitutions are nested too deeply".to_owned());
        }
        self.depth += 1;
        let value = self.braced();
        self.depth -= 1;
        value
    }

    /// Behind `${`.
    fn braced(&mut self) -> Result<String, String> {
        let name = self.name();
        let value = self.value(&name);
        let first = self.next().ok_or("syntax error: missing '}'")?;
        let (modifier, with_colon) = match first {
            '}' => return Ok(value.unwrap_or_default()),
            ':' => (self.next().ok_or("syntax error: missing '}'")?, true),
            other => (other, false),
        };
        let unsupported = || {
            let colon = if with_colon { ":" } else { "" };
            format!("unsupported modifier ({colon}{modifier}) in substitution")
        };
        let present = value.as_ref().is_some_and(|value| !(with_colon && value.is_empty()));
        match modifier {
            '-' | '+' | '?' => {
                let word = self.until(Some('}'), false)?;
                match modifier {
                    '-' if present => Ok(value.unwrap_or_default()),
                    '-' => Ok(word),
                    '+' => Ok(if present { word } else { String::new() }),
                    _ if present => Ok(value.unwrap_or_default()),
                    _ if !word.is_empty() => Err(format!("{name}: {word}")),
                    _ if value.is_none() => Err(format!("{name}: is not allowed to be unset")),
                    _ => Err(format!("{name}: is not allowed to be empty")),
                }
            }
            '#' | '%' if !with_colon => {
                let word = self.until(Some('}'), true)?;
                let (pattern, greedy) = match word.strip_prefix(modifier) {
                    Some(rest) => (rest, true),
                    None => (word.as_str(), false),
                };
                let value: Vec<char> = value.unwrap_or_default().chars().collect();
                let pattern = Pattern::of(pattern, self.escape);
                Ok(if modifier == '#' {
                    pattern.trim_start(&value, greedy)
                } else {
                    pattern.trim_end(&value, greedy)
                })
            }
            '/' if !with_colon => {
                let all = self.peek() == Some('/');
                self.place += usize::from(all);
                let pattern = self.until(Some('/'), true)?;
                let replacement = self.until(Some('}'), true)?;
                let value: Vec<char> = value.unwrap_or_default().chars().collect();
                Ok(Pattern::of(&pattern, self.escape).replace(&value, &replacement, all))
            }
            _ => Err(unsupported()),
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(str::to_owned)
    }

    /// Letters, digits and `_`; digits alone; or one of the shell's special signs.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.peek() {
            Some(first) if first.is_numeric() => {
                while let Some(digit) = self.peek().filter(|letter| letter.is_numeric()) {
                    name.push(digit);
                    self.place += 1;
                }
            }
            Some(sign @ ('@' | '*' | '#' | '?' | '-' | '!' | '$')) => {
                name.push(sign);
                self.place += 1;
            }
            _ => {
                while let Some(letter) =
                    self.peek().filter(|letter| letter.is_alphanumeric() || *letter == '_')
                {
                    name.push(letter);
                    self.place += 1;
                }
            }
        }
        name
    }
}

/// A shell pattern over letters.
struct Pattern(Vec<Part>);

enum Part {
    Letter(char),
    Any,
    Many,
}

impl Pattern {
    fn of(text: &str, escape: char) -> Self {
        let mut parts = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            parts.push(match letter {
                '*' => Part::Many,
                '?' => Part::Any,
                letter if letter == escape => match letters.next() {
                    Some(next @ ('*' | '?')) => Part::Letter(next),
                    Some(next) if next == escape => Part::Letter(next),
                    Some(next) => Part::Letter(next),
                    None => Part::Letter(escape),
                },
                letter => Part::Letter(letter),
            });
        }
        Self(parts)
    }

    /// Where a match that begins at the start may end, by places.
    fn ends(&self, value: &[char]) -> Vec<bool> {
        let mut reached = vec![false; value.len() + 1];
        reached[0] = true;
        for part in &self.0 {
            let mut next = vec![false; value.len() + 1];
            match part {
                Part::Many => {
                    let mut open = false;
                    for (place, slot) in next.iter_mut().enumerate() {
                        open |= reached[place];
                        *slot = open;
                    }
                }
                Part::Any | Part::Letter(_) => {
                    for (place, letter) in value.iter().enumerate() {
                        let fits = match part {
                            Part::Letter(own) => own == letter,
                            _ => true,
                        };
                        next[place + 1] = reached[place] && fits;
                    }
                }
            }
            reached = next;
        }
        reached
    }

    fn trim_start(&self, value: &[char], greedy: bool) -> String {
        let ends = self.ends(value);
        let end = if greedy { ends.iter().rposition(|end| *end) } else { ends.iter().position(|end| *end) };
        value[end.unwrap_or(0)..].iter().collect()
    }

    fn trim_end(&self, value: &[char], greedy: bool) -> String {
        let backwards = Self(self.0.iter().rev().map(Part::copy).collect());
        let reversed: Vec<char> = value.iter().rev().copied().collect();
        let left = backwards.trim_start(&reversed, greedy);
        left.chars().rev().collect()
    }

    /// The longest match at each place is replaced, from the left.
    fn replace(&self, value: &[char], with: &str, all: bool) -> String {
        let mut text = String::new();
        let mut place = 0;
        while place < value.len() {
            match self.ends(&value[place..]).iter().rposition(|end| *end).filter(|length| *length > 0) {
                Some(length) => {
                    text.push_str(with);
                    place += length;
                    if !all {
                        break;
                    }
                }
                None => {
                    text.push(value[place]);
                    place += 1;
                }
            }
            if text.len() > MAX_EXPANDED {
                return text;
            }
        }
        text.extend(&value[place..]);
        text
    }
}

impl Part {
    fn copy(&self) -> Self {
        match self {
            Self::Letter(letter) => Self::Letter(*letter),
            Self::Any => Self::Any,
            Self::Many => Self::Many,
        }
    }
}
