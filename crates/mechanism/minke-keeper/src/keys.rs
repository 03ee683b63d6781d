//! Finding a client's detach keys in what it types, also when they come in pieces.

/// Passes bytes on and holds back those that may be the beginning of the key sequence.
#[derive(Debug)]
pub(crate) struct KeyMatcher {
    keys: Vec<u8>,
    matched: usize,
}

impl KeyMatcher {
    /// An empty sequence never matches.
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Gives what the process is to get; says whether the sequence is complete, in which case the rest is dropped.
    pub(crate) fn pass(&mut self, input: &[u8], mut give: impl FnMut(&[u8])) -> bool {
        if self.keys.is_empty() {
            give(input);
            return false;
        }
        let mut plain = 0;
        for (at, byte) in input.iter().enumerate() {
            if *byte == self.keys[self.matched] {
                if self.matched == 0 {
                    give(&input[plain..at]);
                }
                self.matched += 1;
                plain = at + 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return true;
                }
            } else if self.matched > 0 {
                // Not the sequence after all: what was held back goes first. This byte may begin it anew.
                give(&self.keys[..self.matched]);
                self.matched = usize::from(*byte == self.keys[0]);
                plain = at + self.matched;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return true;
                }
            }
        }
        give(&input[plain..]);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &[u8], parts: &[&str], passed: &str, detached: bool) {
        let mut matcher = KeyMatcher::new(keys.to_vec());
        let mut got = Vec::new();
        let found =
            parts.iter().any(|part| matcher.pass(part.as_bytes(), |bytes| got.extend_from_slice(bytes)));
        assert_eq!((String::from_utf8(got).unwrap().as_str(), found), (passed, detached), "{parts:?}");
    }

    #[test]
    fn the_sequence_is_found_in_one_piece_and_in_several() {
        check(b"pq", &["abcpq"], "abc", true);
        check(b"pq", &["ab", "p", "q", "x"], "ab", true);
        check(b"pq", &["pq"], "", true);
        check(b"p", &["abp"], "ab", true);
        check(b"p", &["p"], "", true);
        check(b"abc", &["xa", "b", "c"], "x", true);
    }

    #[test]
    fn a_beginning_that_leads_nowhere_is_passed_on() {
        check(b"pq", &["p", "x"], "px", false);
        check(b"pq", &["ppx"], "ppx", false);
        check(b"abc", &["ab", "d", "abab"], "abdab", false);
        check(b"pq", &["ppq"], "p", true);
        check(b"pq", &["hello", " world"], "hello world", false);
    }

    #[test]
    fn without_keys_everything_passes() {
        check(b"", &["\u{10}\u{11}"], "\u{10}\u{11}", false);
    }
}
