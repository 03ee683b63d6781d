//! The key sequence that leaves a container running and goes away (Ctrl-P Ctrl-Q).
//!
//! The sequence may come in several reads; keys that turn out not to be it are sent on late, as docker does.

/// Ctrl-P Ctrl-Q.
pub(crate) const DEFAULT: &[u8] = &[16, 17];

/// Reads `ctrl-p,ctrl-q`, `a,b`, `ctrl-[`.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, String> {
    let bad = |key: &str| format!("Unknown character: '{key}'");
    text.split(',')
        .map(|key| match (key.strip_prefix("ctrl-"), key.as_bytes()) {
            (None, &[byte]) => Ok(byte),
            (Some("@"), _) => Ok(0),
            (Some("["), _) => Ok(27),
            (Some("\\"), _) => Ok(28),
            (Some("]"), _) => Ok(29),
            (Some("^"), _) => Ok(30),
            (Some("_"), _) => Ok(31),
            (Some(letter), _) => match letter.as_bytes() {
                &[l @ b'a'..=b'z'] => Ok(l - b'a' + 1),
                _ => Err(bad(key)),
            },
            _ => Err(bad(key)),
        })
        .collect()
}

/// Watches a stream of keys for the sequence.
#[derive(Debug)]
pub(crate) struct Watch {
    sequence: Vec<u8>,
    seen: usize,
}

impl Watch {
    pub(crate) fn new(sequence: Vec<u8>) -> Watch {
        Watch { sequence, seen: 0 }
    }

    /// What of `input` is to be sent on; true when the sequence was completed, and the rest is dropped.
    pub(crate) fn pass(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(input.len());
        for &byte in input {
            if self.sequence.get(self.seen) == Some(&byte) {
                self.seen += 1;
                if self.seen == self.sequence.len() {
                    return (out, true);
                }
                continue;
            }
            out.extend_from_slice(&self.sequence[..self.seen]);
            self.seen = 0;
            if self.sequence.first() == Some(&byte) {
                self.seen = 1;
            } else {
                out.push(byte);
            }
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_read_in_dockers_notation() {
        assert_eq!(parse("ctrl-p,ctrl-q").unwrap(), DEFAULT);
        assert_eq!(parse("a,ctrl-[,ctrl-@").unwrap(), [b'a', 27, 0]);
        assert!(parse("xx").is_err() && parse("ctrl-A").is_err() && parse("").is_err());
    }

    #[test]
    fn the_sequence_is_found_across_reads_and_other_keys_pass() {
        let mut watch = Watch::new(DEFAULT.to_vec());
        assert_eq!(watch.pass(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(watch.pass(b"b"), (b"\x10b".to_vec(), false));
        assert_eq!(watch.pass(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(watch.pass(b"\x11zz"), (Vec::new(), true));
    }
}
