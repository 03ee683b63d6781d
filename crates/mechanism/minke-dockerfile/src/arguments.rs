//! What stands behind an instruction's word, split the way that instruction wants it.

use crate::error::Error;

/// `["a", "b"]`; nothing when it is no JSON at all.
///
/// # Errors
/// When it is JSON, but not of strings only.
pub(crate) fn json(text: &str) -> Result<Option<Vec<String>>, Error> {
    let text = text.trim();
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(list) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    list.into_iter()
        .map(|value| match value {
            serde_json::Value::String(text) => Ok(text),
            _ => Err(Error::syntax("when using JSON array syntax, arrays must be comprised of strings only")),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// A JSON list, or words between blanks.
pub(crate) fn json_or_blanks(text: &str) -> Result<Vec<String>, Error> {
    Ok(json(text)?.unwrap_or_else(|| blanks(text)))
}

pub(crate) fn blanks(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Words with their quotes and escapes still on.
pub(crate) fn words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut begun = false;
    let mut quote = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (blank, None) if blank.is_whitespace() => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            // An escape at the very end is dropped.
            (mark, None | Some('"')) if mark == escape => match letters.next() {
                Some(next) => word.extend([mark, next]),
                None => break,
            },
            (mark, Some(open)) if mark == open => {
                quote = None;
                word.push(mark);
            }
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.push(letter);
            }
            (other, _) => word.push(other),
        }
        begun = true;
    }
    if begun {
        words.push(word);
    }
    words
}

/// `a=b c="d e"`, or the old `a rest of the line`. True when it was the old form.
pub(crate) fn pairs(text: &str, escape: char, keyword: &str) -> Result<(Vec<(String, String)>, bool), Error> {
    let words = words(text, escape);
    let Some(first) = words.first() else { return Ok((Vec::new(), false)) };
    if !first.contains('=') {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::syntax(format!("{keyword} must have two arguments")))?;
        return Ok((vec![(name.to_owned(), value.trim_start().to_owned())], true));
    }
    let pairs = words.iter().map(|word| match word.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Error::syntax(format!(
            "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
        ))),
    });
    Ok((pairs.collect::<Result<_, _>>()?, false))
}
