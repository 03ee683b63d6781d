//! Detach keys: from Docker's notation (`ctrl-p,ctrl-q`, `ctrl-@`, `a`) to the bytes a terminal sends.

/// What Docker uses when a client with a terminal names none: Ctrl-P, Ctrl-Q.
pub const DEFAULT: [u8; 2] = [16, 17];

/// The bytes of a key sequence; `None` when it is not one: the caller says so in its own words.
///
/// An empty text is the empty sequence, which never matches.
#[must_use]
pub fn parse(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',').map(parse_key).collect()
}

fn parse_key(key: &str) -> Option<u8> {
    if let [single] = key.as_bytes() {
        return Some(*single);
    }
    match key.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [b'@'] => Some(0),
        [sign @ b'['..=b'_'] => Some(sign - b'[' + 27),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_notation_gives_the_bytes_a_terminal_sends() {
        assert_eq!(parse("ctrl-p,ctrl-q").as_deref(), Some(&DEFAULT[..]));
        assert_eq!(
            parse("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,a").unwrap(),
            [0, 27, 28, 29, 30, 31, b'a']
        );
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn other_words_are_refused() {
        for text in ["ctrl-", "ctrl-A", "shift-a", "ab", "a,,b", "ctrl-p,"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
