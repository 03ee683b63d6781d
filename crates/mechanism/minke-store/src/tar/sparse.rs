//! Sparse maps: the one that precedes the data (PAX 1.0), and the check that every map must pass.

use super::Segment;
use super::pax::decimal;

/// No real file is in more pieces; each takes memory.
pub(super) const SEGMENTS_MAX: usize = 1_000_000;

/// Collects PAX 1.0's map: a count, then offsets and lengths, each a line.
#[derive(Debug, Default)]
pub(super) struct MapLines {
    line: Vec<u8>,
    count: Option<usize>,
    offset: Option<u64>,
    pub(super) segments: Vec<Segment>,
}

impl MapLines {
    /// Takes one block; `true` when the map is complete (the rest of the block is padding).
    pub(super) fn take(&mut self, block: &[u8]) -> Result<bool, &'static str> {
        const BAD: &str = "its sparse map is not made of numbers";
        for byte in block {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > 20 {
                    return Err(BAD);
                }
                continue;
            }
            let number = decimal(&self.line).ok_or(BAD)?;
            self.line.clear();
            match (self.count, self.offset.take()) {
                (None, _) => {
                    let count = usize::try_from(number).ok().filter(|n| *n <= SEGMENTS_MAX);
                    self.count = Some(count.ok_or("its sparse map has too many pieces")?);
                }
                (Some(_), None) => self.offset = Some(number),
                (Some(_), Some(offset)) => self.segments.push(Segment { offset, length: number }),
            }
            if self.count == Some(self.segments.len()) && self.offset.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Segments must ascend without overlap, end inside the file, and account for every stored byte.
pub(super) fn check(segments: &[Segment], real_size: u64, stored: u64) -> Result<(), &'static str> {
    if segments.len() > SEGMENTS_MAX {
        return Err("its sparse map has too many pieces");
    }
    let mut end = 0_u64;
    let mut bytes = 0_u64;
    for segment in segments {
        let next = segment.offset.checked_add(segment.length).ok_or("its sparse map overflows")?;
        if segment.offset < end || next > real_size {
            return Err("its sparse map is out of order or beyond the file's end");
        }
        end = next;
        bytes += segment.length;
    }
    if bytes == stored { Ok(()) } else { Err("its sparse map does not account for the stored bytes") }
}
