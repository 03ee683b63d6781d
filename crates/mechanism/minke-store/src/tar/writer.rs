//! Entries into a stream: ustar blocks, with PAX records for what does not fit them.

use std::io::{self, Read, Write};

use super::{BLOCK, Entry, Kind, pax};

/// Writes a tar stream. The same entries give the same bytes: no clock, no user names, no process id goes in.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    /// What a file's content passes through; there once a file had some.
    buffer: Vec<u8>,
}

/// Enough that a call into the kernel, and waking who takes the pieces, costs little beside the bytes.
const BUFFER: usize = 256 << 10;

impl<W: Write> Writer<W> {
    pub const fn new(output: W) -> Self {
        Self { output, buffer: Vec::new() }
    }

    /// Appends an entry; `data` must give `entry.size` bytes, which only a file has.
    pub fn append(&mut self, entry: &Entry, data: &mut dyn Read) -> io::Result<()> {
        let mut records = Vec::new();
        let block = plan_block(entry, &mut records);
        if !records.is_empty() {
            let mut name = b"PaxHeaders.0/".to_vec();
            name.extend_from_slice(base(&entry.path));
            name.truncate(100);
            let head = Entry { path: name, mode: 0o644, size: records.len() as u64, ..Entry::default() };
            self.output.write_all(&seal(plan_block(&head, &mut Vec::new()), b'x'))?;
            self.output.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.output.write_all(&seal(block, type_byte(entry.kind)))?;
        if entry.kind != Kind::File {
            return Ok(());
        }
        self.copy(data, entry)?;
        self.pad(entry.size)
    }

    fn copy(&mut self, data: &mut dyn Read, entry: &Entry) -> io::Result<()> {
        let mut left = entry.size;
        if left > 0 {
            self.buffer.resize(BUFFER, 0);
        }
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            match data.read(&mut self.buffer[..most]) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        format!("{} became shorter while it was read", entry.name()),
                    ));
                }
                Ok(count) => {
                    self.output.write_all(&self.buffer[..count])?;
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes the end mark and hands the stream back.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn pad(&mut self, written: u64) -> io::Result<()> {
        let rest = usize::try_from(written % BLOCK as u64).unwrap_or_default();
        self.output.write_all(&[0; BLOCK][..(BLOCK - rest) % BLOCK])
    }
}

fn base(path: &[u8]) -> &[u8] {
    path.split(|b| *b == b'/').rfind(|part| !part.is_empty()).unwrap_or(path)
}

const fn type_byte(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
        Kind::Other(byte) => byte,
    }
}

/// The block without type and checksum; what does not fit goes to `records`.
fn plan_block(entry: &Entry, records: &mut Vec<u8>) -> [u8; BLOCK] {
    let mut block = [0_u8; BLOCK];
    let size = if entry.kind == Kind::File { entry.size } else { 0 };
    if let Some(split) = split_path(&entry.path) {
        block[..entry.path.len() - split].copy_from_slice(&entry.path[split..]);
        block[345..345 + split.saturating_sub(1)].copy_from_slice(&entry.path[..split.saturating_sub(1)]);
    } else {
        pax::append_record(records, b"path", &entry.path);
        let name = base(&entry.path);
        block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    }
    let link = entry.link.len().min(100);
    block[157..157 + link].copy_from_slice(&entry.link[..link]);
    if entry.link.len() > 100 {
        pax::append_record(records, b"linkpath", &entry.link);
    }
    let mut number = |range: std::ops::Range<usize>, value: u64, key: &[u8]| {
        let width = range.len() - 1;
        let text = format!("{value:0width$o}");
        if text.len() <= width {
            block[range.start..range.start + width].copy_from_slice(text.as_bytes());
        } else {
            block[range.start..range.start + width].fill(b'0');
            pax::append_record(records, key, value.to_string().as_bytes());
        }
    };
    number(100..108, u64::from(entry.mode & 0o7777), b"mode");
    number(108..116, u64::from(entry.uid), b"uid");
    number(116..124, u64::from(entry.gid), b"gid");
    number(124..136, size, b"size");
    let seconds = u64::try_from(entry.mtime.seconds).unwrap_or(0);
    number(136..148, seconds.min(0o77_777_777_777), b"mtime");
    if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
        number(329..337, u64::from(entry.device.0), b"SCHILY.devmajor");
        number(337..345, u64::from(entry.device.1), b"SCHILY.devminor");
    }
    if entry.mtime.nanoseconds != 0
        || u64::try_from(entry.mtime.seconds) != Ok(seconds)
        || seconds > 0o77_777_777_777
    {
        pax::append_record(records, b"mtime", spell(entry).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        pax::append_record(records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    block[257..265].copy_from_slice(b"ustar\x0000");
    block
}

/// A PAX time without needless zeros.
fn spell(entry: &Entry) -> String {
    let (seconds, nanoseconds) = (entry.mtime.seconds, entry.mtime.nanoseconds);
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    // Before 1970 the fraction counts away from zero.
    let text = if seconds < 0 {
        format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds)
    } else {
        format!("{seconds}.{nanoseconds:09}")
    };
    text.trim_end_matches('0').to_owned()
}

/// Where the name starts when the path fits the block: 0, or behind the slash that ends the prefix.
fn split_path(path: &[u8]) -> Option<usize> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= 100 {
        return Some(0);
    }
    let slash = (0..path.len().min(156)).rev().find(|i| path[*i] == b'/')?;
    let name = path.len() - slash - 1;
    (slash > 0 && name > 0 && name <= 100).then_some(slash + 1)
}

fn seal(mut block: [u8; BLOCK], type_byte: u8) -> [u8; BLOCK] {
    block[156] = type_byte;
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}
