//! Entries out of a stream, one after the other.

use std::io::{self, BufRead, Read};
use std::mem;

use super::header::{self, Block, Header, whole};
use super::pax::Extensions;
use super::{BLOCK, EXTENSION_MAX, Entry, Kind, Segment, TarError, show, sparse};

/// Reads a tar stream. After [`Reader::next_entry`] the entry's bytes come from [`Reader::chunk`] and [`Reader::consume`] (without
/// a copy) or from [`Read`]; what is not read of them is skipped.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Bytes of the current entry not read yet, and the padding behind them.
    remaining: u64,
    padding: u64,
    current: String,
    ended: bool,
}

/// What precedes an entry and belongs to it.
#[derive(Default)]
struct Prefix {
    extensions: Extensions,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    pub fn new(input: R) -> Self {
        Self { input, remaining: 0, padding: 0, current: "the first entry".to_owned(), ended: false }
    }

    /// The next entry; `None` at the archive's end. What stands behind the end is not looked at ([`Self::into_inner`]).
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip_rest()?;
        let mut prefix = Prefix::default();
        loop {
            let Some(block) = self.read_header()? else { return Ok(None) };
            let header = Header::parse(&block).map_err(|problem| self.malformed(problem))?;
            if !matches!(header.type_byte, b'x' | b'X' | b'g' | b'L' | b'K') {
                self.current = format!("entry {}", show(&header.path));
            }
            match header.type_byte {
                b'x' | b'X' => {
                    let text = self.read_extension("PAX header", header.size)?;
                    prefix.extensions =
                        Extensions::parse(&text).map_err(|problem| self.malformed(problem))?;
                }
                // A global header would apply to all that follow. Docker ignores them, and so must we, or a layer would
                // unpack differently here.
                b'g' => drop(self.read_extension("global PAX header", header.size)?),
                b'L' => prefix.long_path = Some(self.read_name(header.size)?),
                b'K' => prefix.long_link = Some(self.read_name(header.size)?),
                _ => return self.finish_entry(header, &block, prefix).map(Some),
            }
        }
    }

    fn finish_entry(&mut self, mut header: Header, block: &Block, prefix: Prefix) -> Result<Entry, TarError> {
        let Prefix { extensions, long_path, long_link } = prefix;
        let sparse = extensions.sparse;
        if let Some(path) = sparse.name.or(extensions.path).or(long_path) {
            header.path = path;
        }
        if let Some(link) = extensions.link.or(long_link) {
            header.link = link;
        }
        self.current = format!("entry {}", show(&header.path));
        if header.path.contains(&0) || header.link.contains(&0) {
            return Err(self.malformed("its name holds a NUL byte"));
        }
        let kind = header.kind();
        // Links, devices and the like have no bytes, whatever their header says (as Go reads them).
        let has_bytes = matches!(kind, Kind::File | Kind::Other(_)) || header.type_byte == b'D';
        let stored = if has_bytes { extensions.size.unwrap_or(header.size) } else { 0 };
        self.remaining = stored;
        self.padding = (BLOCK as u64 - stored % BLOCK as u64) % BLOCK as u64;
        let owner = |given: Option<u64>, own: u64| u32::try_from(given.unwrap_or(own));
        let (Ok(uid), Ok(gid)) = (owner(extensions.uid, header.uid), owner(extensions.gid, header.gid))
        else {
            return Err(self.malformed("its owner is out of range"));
        };
        let mut entry = Entry {
            path: mem::take(&mut header.path),
            kind,
            link: mem::take(&mut header.link),
            mode: header.mode,
            uid,
            gid,
            size: stored,
            mtime: extensions.mtime.unwrap_or_else(|| whole(header.mtime)),
            device: header.device,
            xattrs: extensions.xattrs,
            sparse: None,
        };
        if kind != Kind::File {
            if kind != Kind::Directory {
                return Ok(entry);
            }
            entry.size = 0;
            return Ok(entry);
        }
        let found = if header.type_byte == b'S' {
            let (mut segments, mut more, real) =
                header::gnu_sparse(block).map_err(|problem| self.malformed(problem))?;
            while more {
                let block = self.read_block()?;
                let (next, again) =
                    header::gnu_sparse_more(&block).map_err(|problem| self.malformed(problem))?;
                segments.extend(next);
                more = again;
                if segments.len() > sparse::SEGMENTS_MAX {
                    return Err(self.malformed("its sparse map has too many pieces"));
                }
            }
            Some((segments, real))
        } else if sparse.major == Some(1) {
            let real =
                sparse.real_size.ok_or_else(|| self.malformed("its sparse map lacks the real size"))?;
            Some((self.read_map()?, real))
        } else if let Some(map) = sparse.map {
            Some((map, sparse.real_size.ok_or_else(|| self.malformed("its sparse map lacks the real size"))?))
        } else {
            None
        };
        if let Some((segments, real)) = found {
            sparse::check(&segments, real, self.remaining).map_err(|problem| self.malformed(problem))?;
            entry.size = real;
            entry.sparse = Some(segments);
        }
        Ok(entry)
    }

    /// The next stretch of the current entry's bytes; empty at their end.
    pub fn chunk(&mut self) -> Result<&[u8], TarError> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let available = loop {
            match self.input.fill_buf() {
                Ok(bytes) => break bytes.len(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TarError::Read { entry: self.current.clone(), source }),
            }
        };
        if available == 0 {
            return Err(TarError::Truncated { entry: self.current.clone() });
        }
        let wanted = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available);
        // The buffer is full, so this neither reads nor fails.
        let bytes = self.input.fill_buf();
        bytes.map(|b| &b[..wanted]).map_err(|source| TarError::Read { entry: self.current.clone(), source })
    }

    /// Marks bytes of the last [`Self::chunk`] as used.
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.remaining -= count as u64;
    }

    /// The stream behind the archive's end.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn malformed(&self, problem: &'static str) -> TarError {
        TarError::Malformed { entry: self.current.clone(), problem }
    }

    fn read_failed(&self, source: io::Error) -> TarError {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => TarError::Truncated { entry: self.current.clone() },
            _ => TarError::Read { entry: self.current.clone(), source },
        }
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        while self.remaining > 0 {
            let count = self.chunk()?.len();
            self.consume(count);
        }
        // The last entry's padding may be cut off: then the next header is simply not there.
        let mut rest = mem::take(&mut self.padding);
        while rest > 0 {
            let available = match self.input.fill_buf() {
                Ok(bytes) => bytes.len(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.read_failed(source)),
            };
            if available == 0 {
                break;
            }
            let count = usize::try_from(rest).unwrap_or(usize::MAX).min(available);
            self.input.consume(count);
            rest -= count as u64;
        }
        Ok(())
    }

    /// A header block; `None` at the end, which is a block of zeros or, as Go also takes it, the end of the stream.
    fn read_header(&mut self) -> Result<Option<Block>, TarError> {
        if self.ended {
            return Ok(None);
        }
        let at_end = loop {
            match self.input.fill_buf() {
                Ok(bytes) => break bytes.is_empty(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.read_failed(source)),
            }
        };
        if at_end {
            self.ended = true;
            return Ok(None);
        }
        let block = self.read_block()?;
        if block.iter().any(|b| *b != 0) {
            return Ok(Some(block));
        }
        self.ended = true;
        Ok(None)
    }

    fn read_block(&mut self) -> Result<Block, TarError> {
        let mut block = [0_u8; BLOCK];
        self.input.read_exact(&mut block).map_err(|e| self.read_failed(e))?;
        Ok(block)
    }

    fn read_extension(&mut self, what: &'static str, size: u64) -> Result<Vec<u8>, TarError> {
        if size > EXTENSION_MAX {
            return Err(TarError::Extension { entry: self.current.clone(), what, size });
        }
        let mut bytes = Vec::new();
        let padded = size.next_multiple_of(BLOCK as u64);
        let got = (&mut self.input).take(padded).read_to_end(&mut bytes).map_err(|e| self.read_failed(e))?;
        if got as u64 != padded {
            return Err(TarError::Truncated { entry: self.current.clone() });
        }
        bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    fn read_name(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let mut name = self.read_extension("long name", size)?;
        if let Some(end) = name.iter().position(|b| *b == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    /// PAX 1.0 keeps the map in whole blocks in front of the data.
    fn read_map(&mut self) -> Result<Vec<Segment>, TarError> {
        let mut lines = sparse::MapLines::default();
        loop {
            self.remaining = self
                .remaining
                .checked_sub(BLOCK as u64)
                .ok_or_else(|| self.malformed("its sparse map does not end"))?;
            let block = self.read_block()?;
            if lines.take(&block).map_err(|problem| self.malformed(problem))? {
                return Ok(lines.segments);
            }
        }
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let got = self.input.read(&mut buffer[..wanted])?;
        if got == 0 {
            let error = TarError::Truncated { entry: self.current.clone() };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
        }
        self.remaining -= got as u64;
        Ok(got)
    }
}
