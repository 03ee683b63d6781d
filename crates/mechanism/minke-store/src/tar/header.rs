//! The 512-byte block: fields, numbers, checksum.

use super::{BLOCK, Kind, Moment, Segment};

pub(super) type Block = [u8; BLOCK];

/// Which of the three dialects the block is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Old,
    Ustar,
    Star,
    Gnu,
}

/// A header block's own fields, before any extension.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) type_byte: u8,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) device: (u32, u32),
}

impl Header {
    pub(super) fn parse(block: &Block) -> Result<Self, &'static str> {
        if !checksum_holds(block) {
            return Err("the header's checksum is wrong");
        }
        let dialect = dialect(block);
        let mut path = text(&block[0..100]);
        let prefix: &[u8] = match dialect {
            Dialect::Ustar => &block[345..500],
            Dialect::Star => &block[345..476],
            Dialect::Old | Dialect::Gnu => &[],
        };
        let prefix = text(prefix);
        if !prefix.is_empty() {
            path = [&prefix[..], b"/", &path[..]].concat();
        }
        let small = |field: &[u8], what| unsigned(field).and_then(|n| u32::try_from(n).ok()).ok_or(what);
        // Archives of the old kind have no device fields; others may hold blanks there.
        let device = match (dialect, block[156]) {
            (Dialect::Old, _) => (0, 0),
            (_, b'3' | b'4') => (
                small(&block[329..337], "the device number is not a number")?,
                small(&block[337..345], "the device number is not a number")?,
            ),
            _ => (0, 0),
        };
        Ok(Self {
            path,
            link: text(&block[157..257]),
            type_byte: block[156],
            mode: small(&block[100..108], "the mode is not a number")? & 0o7777,
            uid: unsigned(&block[108..116]).ok_or("the owner is not a number")?,
            gid: unsigned(&block[116..124]).ok_or("the group is not a number")?,
            size: unsigned(&block[124..136]).ok_or("the size is not a number")?,
            mtime: signed(&block[136..148]).ok_or("the time is not a number")?,
            device,
        })
    }

    /// What the type byte means. Old archives mark a directory by its trailing slash alone.
    pub(super) fn kind(&self) -> Kind {
        match self.type_byte {
            b'0' | b'\0' | b'7' | b'S' if self.path.ends_with(b"/") => Kind::Directory,
            b'0' | b'\0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' | b'D' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => Kind::Other(other),
        }
    }
}

fn dialect(block: &Block) -> Dialect {
    match (&block[257..263], &block[263..265], &block[508..512]) {
        (b"ustar\0", _, b"tar\0") => Dialect::Star,
        (b"ustar\0", _, _) => Dialect::Ustar,
        (b"ustar ", b" \0", _) => Dialect::Gnu,
        _ => Dialect::Old,
    }
}

/// Whether a stream that begins with these bytes may be a tar: a header whose checksum holds, or the zeros of an empty one.
pub(crate) fn looks_like_header(start: &[u8]) -> bool {
    let Some(block) = start.first_chunk::<BLOCK>() else { return false };
    block.iter().all(|b| *b == 0) || checksum_holds(block)
}

fn checksum_holds(block: &Block) -> bool {
    let Some(stated) = signed(&block[148..156]) else { return false };
    let bytes = || block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { b' ' } else { *b });
    // Some old writers summed signed bytes.
    stated == bytes().map(i64::from).sum::<i64>()
        || stated == bytes().map(|b| i64::from(b.cast_signed())).sum::<i64>()
}

/// The bytes up to the first NUL.
fn text(field: &[u8]) -> Vec<u8> {
    field.split(|b| *b == 0).next().unwrap_or_default().to_vec()
}

pub(super) fn unsigned(field: &[u8]) -> Option<u64> {
    u64::try_from(signed(field)?).ok()
}

/// Octal digits between blanks, or GNU's base 256 (two's complement, first bit set).
pub(super) fn signed(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let mut value: i64 = if negative { -1 } else { 0 };
        for (i, byte) in field.iter().enumerate() {
            let byte = if i == 0 && !negative { byte & 0x7f } else { *byte };
            value = value.checked_mul(256)? | i64::from(byte);
        }
        return Some(value);
    }
    let start = field.iter().position(|b| !matches!(b, b' ' | 0)).unwrap_or(field.len());
    let digits = field[start..].split(|b| matches!(b, b' ' | 0)).next().unwrap_or_default();
    let mut value: i64 = 0;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

/// The sparse map inside an old GNU header: its segments, whether more follow in the next block, and the file's real size.
pub(super) fn gnu_sparse(block: &Block) -> Result<(Vec<Segment>, bool, u64), &'static str> {
    let real = unsigned(&block[483..495]).ok_or("the real size is not a number")?;
    Ok((segments(&block[386..482])?, block[482] != 0, real))
}

/// A continuation block of the same.
pub(super) fn gnu_sparse_more(block: &Block) -> Result<(Vec<Segment>, bool), &'static str> {
    Ok((segments(&block[0..504])?, block[504] != 0))
}

fn segments(field: &[u8]) -> Result<Vec<Segment>, &'static str> {
    let mut found = Vec::new();
    for pair in field.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let number = |field| unsigned(field).ok_or("the sparse map is not made of numbers");
        found.push(Segment { offset: number(&pair[..12])?, length: number(&pair[12..])? });
    }
    Ok(found)
}

/// Whole seconds as a moment.
pub(super) const fn whole(seconds: i64) -> Moment {
    Moment { seconds, nanoseconds: 0 }
}
