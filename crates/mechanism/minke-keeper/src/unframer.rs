//! What minke's own client sends: 8-byte-header frames, of which type 0 is stdin and an empty one its end.

const HEADER: usize = 8;
const STDIN: u8 = 0;

/// A piece of input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'bytes> {
    /// Bytes for the process.
    Bytes(&'bytes [u8]),
    /// There is no more.
    End,
}

/// Takes frames apart as their bytes come. Frames of other types are passed over.
#[derive(Debug, Default)]
pub(crate) struct Unframer {
    header: [u8; HEADER],
    have: usize,
    /// Payload bytes still to come.
    left: usize,
}

impl Unframer {
    pub(crate) fn feed(&mut self, mut input: &[u8], mut give: impl FnMut(Piece<'_>)) {
        while !input.is_empty() {
            if self.left > 0 {
                let (payload, rest) = input.split_at(self.left.min(input.len()));
                self.left -= payload.len();
                input = rest;
                if self.header[0] == STDIN {
                    give(Piece::Bytes(payload));
                }
                continue;
            }
            let (part, rest) = input.split_at((HEADER - self.have).min(input.len()));
            self.header[self.have..self.have + part.len()].copy_from_slice(part);
            self.have += part.len();
            input = rest;
            if self.have == HEADER {
                self.have = 0;
                let [kind, _, _, _, length @ ..] = self.header;
                self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                if self.left == 0 && kind == STDIN {
                    give(Piece::End);
                }
            }
        }
    }
}

/// The header before `length` bytes of this type, as Docker's multiplexed streams have it too.
pub(crate) fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cut_anywhere_give_the_same_input() {
        let mut stream = Vec::new();
        for (kind, payload) in [(0, "hello "), (4, "{}"), (0, "world"), (9, ""), (0, "")] {
            stream.extend_from_slice(&header(kind, payload.len()));
            stream.extend_from_slice(payload.as_bytes());
        }
        for cut in 0..=stream.len() {
            let mut unframer = Unframer::default();
            let mut text = Vec::new();
            let mut ends = 0;
            for part in [&stream[..cut], &stream[cut..]] {
                unframer.feed(part, |piece| match piece {
                    Piece::Bytes(bytes) => text.extend_from_slice(bytes),
                    Piece::End => ends += 1,
                });
            }
            assert_eq!((text.as_slice(), ends), (&b"hello world"[..], 1), "cut at {cut}");
        }
    }
}
