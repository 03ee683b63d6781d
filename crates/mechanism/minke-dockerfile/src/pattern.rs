//! Patterns over paths: Go's `filepath.Match` for `COPY`'s wildcards, and the same with `**` for ignore lists.

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no pattern: {reason}")]
pub struct PatternError {
    pub pattern: String,
    pub reason: &'static str,
}

/// Whether a path fits a pattern of `* ? [a-z] \x`, where none of them stands for a slash.
///
/// # Errors
/// When the pattern is malformed.
pub fn matches(pattern: &str, path: &str) -> Result<bool, PatternError> {
    let glob = Glob::parse_plain(pattern)?;
    Ok(glob.matches(path))
}

/// A pattern, parsed.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Letter(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// `**/`: nothing, or any number of whole components.
    Components,
    /// `**` at the end: anything.
    Rest,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// With `**`.
    pub(crate) fn parse(pattern: &str) -> Result<Self, PatternError> {
        Self::read(pattern, true)
    }

    fn parse_plain(pattern: &str) -> Result<Self, PatternError> {
        Self::read(pattern, false)
    }

    fn read(pattern: &str, deep: bool) -> Result<Self, PatternError> {
        let wrong = |reason| PatternError { pattern: pattern.to_owned(), reason };
        let mut parts = Vec::new();
        let mut letters = pattern.chars().peekable();
        while let Some(letter) = letters.next() {
            parts.push(match letter {
                '*' if deep && letters.peek() == Some(&'*') => {
                    letters.next();
                    match letters.peek() {
                        None => Part::Rest,
                        Some('/') => {
                            letters.next();
                            Part::Components
                        }
                        // As moby's matcher: `**x` is anything, then x.
                        Some(_) => Part::Components,
                    }
                }
                '*' => Part::Many,
                '?' => Part::One,
                '\\' => Part::Letter(letters.next().ok_or_else(|| wrong("it ends with a backslash"))?),
                '[' => {
                    let negated = letters.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    loop {
                        let mut one = || match letters.next() {
                            None => Err(wrong("a [ without its ]")),
                            Some('\\') => letters.next().ok_or_else(|| wrong("it ends with a backslash")),
                            Some(letter) => Ok(letter),
                        };
                        let low = one()?;
                        if low == ']' && !ranges.is_empty() {
                            break;
                        }
                        if low == ']' || low == '-' {
                            return Err(wrong("an empty or broken range in []"));
                        }
                        let high = if letters.next_if_eq(&'-').is_some() {
                            match letters.next() {
                                None | Some(']' | '-') => return Err(wrong("a broken range in []")),
                                Some('\\') => {
                                    letters.next().ok_or_else(|| wrong("it ends with a backslash"))?
                                }
                                Some(letter) => letter,
                            }
                        } else {
                            low
                        };
                        ranges.push((low, high));
                    }
                    Part::Class { negated, ranges }
                }
                letter => Part::Letter(letter),
            });
        }
        Ok(Self { parts })
    }

    /// Whole paths only. Runs in (pattern × path) steps whatever the pattern is.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let letters: Vec<char> = path.chars().collect();
        self.reached(&letters)[letters.len()]
    }

    /// Whether some path below a directory could fit: the pattern can go on behind `directory/`.
    pub(crate) fn may_match_below(&self, directory: &str) -> bool {
        let letters: Vec<char> = directory.chars().chain(std::iter::once('/')).collect();
        // A state other than the very end is alive behind the slash, or the directory itself fits.
        self.states(&letters).iter().any(|alive| *alive) || self.matches(directory)
    }

    /// Which places of the path the whole pattern may end at.
    fn reached(&self, letters: &[char]) -> Vec<bool> {
        let mut reached = vec![false; letters.len() + 1];
        reached[0] = true;
        for part in &self.parts {
            reached = part.step(&reached, letters);
        }
        reached
    }

    /// Which parts may be next (or under way) when all letters are read.
    fn states(&self, letters: &[char]) -> Vec<bool> {
        let mut reached = vec![false; letters.len() + 1];
        reached[0] = true;
        let mut alive = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            alive.push(reached[letters.len()]);
            reached = part.step(&reached, letters);
        }
        alive
    }
}

impl Part {
    fn step(&self, before: &[bool], letters: &[char]) -> Vec<bool> {
        let mut after = vec![false; before.len()];
        match self {
            Self::Rest => {
                let mut open = false;
                for (place, slot) in after.iter_mut().enumerate() {
                    open |= before[place];
                    *slot = open;
                }
            }
            Self::Components => {
                let mut open = false;
                for (place, slot) in after.iter_mut().enumerate() {
                    open |= before[place];
                    *slot = before[place] || (open && place > 0 && letters[place - 1] == '/');
                }
            }
            Self::Many => {
                let mut open = false;
                for (place, slot) in after.iter_mut().enumerate() {
                    if place > 0 && letters[place - 1] == '/' {
                        open = false;
                    }
                    open |= before[place];
                    *slot = open;
                }
            }
            one => {
                for (place, letter) in letters.iter().enumerate() {
                    after[place + 1] = before[place] && one.fits(*letter);
                }
            }
        }
        after
    }

    fn fits(&self, letter: char) -> bool {
        match self {
            Self::Letter(own) => *own == letter,
            Self::One => letter != '/',
            Self::Class { negated, ranges } => {
                letter != '/' && ranges.iter().any(|(low, high)| (*low..=*high).contains(&letter)) != *negated
            }
            Self::Many | Self::Components | Self::Rest => false,
        }
    }
}

/// Go's `filepath.Clean` for a pattern.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
