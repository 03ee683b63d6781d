//! Here-documents: which words of a line begin one, and what becomes of their text.

use crate::ast::Heredoc;

/// A here-document while it is being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) name: String,
    pub(crate) content: String,
    pub(crate) expand: bool,
    pub(crate) strip_tabs: bool,
}

impl Raw {
    /// With the leading tabs gone where `<<-` says so.
    pub(crate) fn finished(&self) -> Heredoc {
        let content = if self.strip_tabs {
            self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
        } else {
            self.content.clone()
        };
        Heredoc { name: self.name.clone(), content, expand: self.expand }
    }
}

/// The here-documents that a line announces, in order.
pub(crate) fn in_line(text: &str, escape: char) -> Vec<Raw> {
    raw_words(text, escape).iter().filter_map(|word| of_word(word)).collect()
}

/// `<<name`, `<<-name`, `<<"name"`, `3<<name`.
pub(crate) fn of_word(word: &str) -> Option<Raw> {
    let rest = word.trim_start_matches(|letter: char| letter.is_ascii_digit()).strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let quoted = |mark: char| rest.len() > 1 && rest.starts_with(mark) && rest.ends_with(mark);
    let expand = !(quoted('"') || quoted('\''));
    let name = if expand { rest } else { &rest[1..rest.len() - 1] };
    if name.is_empty() || name.contains(['"', '\'']) {
        return None;
    }
    Some(Raw { name: name.to_owned(), content: String::new(), expand, strip_tabs })
}

/// Words with their quotes and escapes still on, `${…}` in one piece.
fn raw_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut braces = 0_u32;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (mark, Some(open)) if mark == open => {
                quote = None;
                word.push(mark);
            }
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.push(letter);
            }
            (mark, None | Some('"')) if mark == escape => {
                word.push(mark);
                word.extend(letters.next());
            }
            ('$', None) if letters.peek() == Some(&'{') => {
                word.push(letter);
                word.extend(letters.next());
                braces += 1;
            }
            ('}', None) if braces > 0 => {
                word.push(letter);
                braces -= 1;
            }
            (blank, None) if blank.is_whitespace() && braces == 0 => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (other, _) => word.push(other),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
