//! Template text to tokens.
//!
//! Positions are byte offsets into the template, because error texts show `line:column` of them. Trim markers are
//! applied here, so the parser never sees them.

use crate::parse::ParseError;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.Name`
    Field(String),
    /// `$` or `$name`
    Variable(String),
    Word(String),
    Str(String),
    Number(String),
    Char(char),
    Dot,
    Space,
    Pipe,
    Paren,
    Unparen,
    Declare,
    Assign,
    Comma,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) at: usize,
    /// As written, for error contexts.
    pub(crate) raw: String,
}

pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    Lexer { text, at: 0, out: Vec::new(), parens: 0 }.run()
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    out: Vec<Token>,
    parens: usize,
}

fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn name_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::at(self.text, self.at, message))
    }

    fn push(&mut self, kind: Kind, length: usize) {
        let raw = self.text[self.at..self.at + length].to_owned();
        self.out.push(Token { kind, at: self.at, raw });
        self.at += length;
    }

    fn run(mut self) -> Result<Vec<Token>, ParseError> {
        let mut trim_left = false;
        loop {
            let rest = self.rest();
            let open = rest.find("{{");
            let mut text = &rest[..open.unwrap_or(rest.len())];
            if trim_left {
                text = text.trim_start_matches(blank);
            }
            let marker = open.is_some_and(|o| {
                let inside = &rest[o + 2..];
                inside.starts_with('-') && inside[1..].starts_with(blank)
            });
            if marker {
                text = text.trim_end_matches(blank);
            }
            if !text.is_empty() {
                let token = Token { kind: Kind::Text(text.to_owned()), at: self.at, raw: text.to_owned() };
                self.out.push(token);
            }
            let Some(open) = open else { return Ok(self.out) };
            self.at += open;
            let after = &self.rest()[2..];
            let skip = if marker { 2 } else { 0 };
            if after[skip..].starts_with("/*") {
                trim_left = self.comment(2 + skip)?;
                continue;
            }
            self.push(Kind::Open, 2);
            if marker {
                self.at += 2;
            }
            trim_left = self.action()?;
        }
    }

    /// Skips `/* … */` and its closing braces; tells whether they trim what follows.
    fn comment(&mut self, start: usize) -> Result<bool, ParseError> {
        let body = &self.rest()[start..];
        let Some(end) = body.find("*/") else { return self.fail("unclosed comment") };
        let tail = &body[end + 2..];
        let (trim, tail) = match tail.strip_prefix(blank).and_then(|t| t.strip_prefix('-')) {
            Some(t) if t.starts_with("}}") => (true, t),
            _ => (false, tail),
        };
        if !tail.starts_with("}}") {
            return self.fail("comment ends before closing delimiter");
        }
        self.at = self.text.len() - tail.len() + 2;
        Ok(trim)
    }

    /// Tokens up to `}}`; tells whether the text that follows is trimmed.
    fn action(&mut self) -> Result<bool, ParseError> {
        self.parens = 0;
        loop {
            let rest = self.rest();
            let Some(c) = rest.chars().next() else { return self.fail("unclosed action") };
            if rest.starts_with("}}") {
                if self.parens > 0 {
                    return self.fail("unclosed left paren");
                }
                self.push(Kind::Close, 2);
                return Ok(false);
            }
            if blank(c) {
                let length = rest.len() - rest.trim_start_matches(blank).len();
                if rest[length..].starts_with("-}}") {
                    if self.parens > 0 {
                        return self.fail("unclosed left paren");
                    }
                    self.at += length + 1;
                    self.push(Kind::Close, 2);
                    return Ok(true);
                }
                self.push(Kind::Space, length);
                continue;
            }
            self.item(c, rest)?;
        }
    }

    fn item(&mut self, c: char, rest: &str) -> Result<(), ParseError> {
        match c {
            '"' => self.string(rest),
            '`' => match rest[1..].find('`') {
                Some(end) => {
                    let value = rest[1..=end].to_owned();
                    self.push(Kind::Str(value), end + 2);
                    Ok(())
                }
                None => self.fail("unterminated raw quoted string"),
            },
            '\'' => self.character(rest),
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(rest),
            '.' => {
                let length = name_length(&rest[1..]);
                if length == 0 {
                    self.push(Kind::Dot, 1);
                } else {
                    self.push(Kind::Field(rest[1..=length].to_owned()), length + 1);
                    self.terminated()?;
                }
                Ok(())
            }
            '$' => {
                let length = name_length(&rest[1..]);
                self.push(Kind::Variable(rest[..=length].to_owned()), length + 1);
                self.terminated()
            }
            '+' | '-' | '0'..='9' => self.number(rest),
            '|' => self.one(Kind::Pipe),
            ',' => self.one(Kind::Comma),
            '=' => self.one(Kind::Assign),
            '(' => {
                self.parens += 1;
                self.one(Kind::Paren)
            }
            ')' => {
                if self.parens == 0 {
                    return self.fail("unexpected right paren");
                }
                self.parens -= 1;
                self.one(Kind::Unparen)
            }
            ':' if rest.starts_with(":=") => {
                self.push(Kind::Declare, 2);
                Ok(())
            }
            ':' => self.fail("expected :="),
            c if name_char(c) => {
                let length = name_length(rest);
                self.push(Kind::Word(rest[..length].to_owned()), length);
                self.terminated()
            }
            c => {
                self.fail(format!("unexpected bad character U+{:04X} {} in command", c as u32, quote_rune(c)))
            }
        }
    }

    fn one(&mut self, kind: Kind) -> Result<(), ParseError> {
        self.push(kind, 1);
        Ok(())
    }

    /// A name must be followed by something that can end it.
    fn terminated(&mut self) -> Result<(), ParseError> {
        match self.rest().chars().next() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | ')' | '(' | '=') => Ok(()),
            Some('}') if self.rest().starts_with("}}") => Ok(()),
            Some(c) => self.fail(format!("bad character U+{:04X} {}", c as u32, quote_rune(c))),
        }
    }

    fn string(&mut self, rest: &str) -> Result<(), ParseError> {
        let mut value = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.push(Kind::Str(value), at + 1);
                    return Ok(());
                }
                '\n' => break,
                '\\' => match escape(&mut chars, '"') {
                    Some(c) => value.push(c),
                    None => return self.fail("invalid syntax"),
                },
                c => value.push(c),
            }
        }
        self.fail("unterminated quoted string")
    }

    fn character(&mut self, rest: &str) -> Result<(), ParseError> {
        let mut chars = rest.char_indices().skip(1);
        let value = match chars.next() {
            Some((_, '\\')) => escape(&mut chars, '\''),
            Some((_, c)) if c != '\n' && c != '\'' => Some(c),
            _ => None,
        };
        match (value, chars.next()) {
            (Some(c), Some((at, '\''))) => {
                self.push(Kind::Char(c), at + 1);
                Ok(())
            }
            _ => self.fail("malformed character constant"),
        }
    }

    fn number(&mut self, rest: &str) -> Result<(), ParseError> {
        let sign = usize::from(rest.starts_with(['+', '-']));
        let length = sign
            + rest[sign..]
                .char_indices()
                .find(|(i, c)| {
                    let after_e = *i > 0 && rest[sign..][..*i].ends_with(['e', 'E']);
                    !(c.is_ascii_alphanumeric()
                        || matches!(c, '.' | '_')
                        || (after_e && matches!(c, '+' | '-')))
                })
                .map_or(rest.len() - sign, |(i, _)| i);
        let text = &rest[..length];
        if length == sign || parse_number(text).is_none() {
            return self.fail(format!("bad number syntax: {text:?}"));
        }
        self.push(Kind::Number(text.to_owned()), length);
        Ok(())
    }
}

fn quote_rune(c: char) -> String {
    format!("'{c}'")
}

fn name_length(text: &str) -> usize {
    text.find(|c| !name_char(c)).unwrap_or(text.len())
}

/// The character an escape stands for, as in Go's string literals.
fn escape(chars: &mut impl Iterator<Item = (usize, char)>, quote: char) -> Option<char> {
    let c = chars.next()?.1;
    let mut digits = |count: u32, radix: u32, start: u32| {
        let mut value = start;
        for _ in 0..count {
            value = value * radix + chars.next()?.1.to_digit(radix)?;
        }
        char::from_u32(value)
    };
    match c {
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        '\\' => Some('\\'),
        'x' => digits(2, 16, 0),
        'u' => digits(4, 16, 0),
        'U' => digits(8, 16, 0),
        '0'..='7' => digits(2, 8, c.to_digit(8)?),
        c if c == quote => Some(c),
        _ => None,
    }
}

/// A literal's value: integer when it has no fraction, as Go's untyped constants.
pub(crate) fn parse_number(text: &str) -> Option<crate::Value> {
    let clean: String = text.chars().filter(|c| *c != '_').collect();
    let (negative, digits) = match clean.strip_prefix('-') {
        Some(d) => (true, d),
        None => (false, clean.strip_prefix('+').unwrap_or(&clean)),
    };
    let lower = digits.to_ascii_lowercase();
    let radix = |prefix: &str, radix| lower.strip_prefix(prefix).map(|d| i64::from_str_radix(d, radix).ok());
    let whole = match radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2)) {
        Some(prefixed) => Some(prefixed?),
        None if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit()) => {
            Some(i64::from_str_radix(&lower, 8).ok()?)
        }
        None => lower.parse::<i64>().ok(),
    };
    match whole {
        Some(i) => Some(crate::Value::Int(if negative { -i128::from(i) } else { i128::from(i) })),
        None if lower.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            let f: f64 = lower.parse().ok()?;
            Some(crate::Value::Float(if negative { -f } else { f }))
        }
        None => None,
    }
}
