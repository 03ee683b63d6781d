//! One file being read: bytes in blocks, records out of them, whichever the driver and however it is stored.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use crate::{
    Driver, LineRef, files, jsonfile, local,
    reader::tail::{Place, Start},
};

const BLOCK: usize = 128 << 10;

#[derive(Debug)]
enum Bytes {
    Plain(File),
    Zipped(Box<files::Unzip>),
}

/// A file being read.
#[derive(Debug)]
pub(super) struct Source {
    bytes: Bytes,
    identity: u64,
    decoder: Decoder,
    buffer: Vec<u8>,
    /// Unread part of the buffer.
    start: usize,
    /// How many bytes were read from the file.
    offset: u64,
    /// Where to stop, whatever comes behind it: as long as a plain file was when it was opened. A follower has no end.
    end: Option<u64>,
    /// Records to pass over.
    skip: usize,
}

#[derive(Debug)]
enum Decoder {
    JsonFile { decoder: jsonfile::Decoder, text: Vec<u8> },
    Local { text: Vec<u8> },
}

impl Source {
    pub(super) fn open(driver: Driver, opened: files::Opened, follow: bool) -> io::Result<Self> {
        let end = (!follow && !opened.compressed).then_some(opened.length);
        let bytes = if opened.compressed {
            Bytes::Zipped(Box::new(files::unzip(opened.file)))
        } else {
            let mut file = opened.file;
            file.seek(SeekFrom::Start(0))?;
            Bytes::Plain(file)
        };
        let decoder = match driver {
            Driver::Local => Decoder::Local { text: Vec::new() },
            _ => Decoder::JsonFile { decoder: jsonfile::Decoder::new(), text: Vec::new() },
        };
        Ok(Self {
            bytes,
            identity: opened.identity,
            decoder,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            end,
            skip: 0,
        })
    }

    pub(super) fn start_at(&mut self, place: Place) -> io::Result<()> {
        match (place.start, &mut self.bytes) {
            (Start::Offset(offset), Bytes::Plain(file)) => {
                file.seek(SeekFrom::Start(offset))?;
                self.offset = offset;
            }
            (Start::Offset(_), Bytes::Zipped(_)) => {}
            (Start::Skip(records), _) => self.skip = records,
        }
        Ok(())
    }

    pub(super) fn identity(&self) -> u64 {
        self.identity
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Back to the first byte of a file that was truncated.
    pub(super) fn restart(&mut self) -> io::Result<bool> {
        if let Bytes::Plain(file) = &mut self.bytes {
            file.seek(SeekFrom::Start(0))?;
        }
        self.buffer.clear();
        (self.start, self.offset) = (0, 0);
        Ok(true)
    }

    /// Reads one block and shows the records it completes, those not before `since`. Gives how many bytes were read;
    /// 0 = the end, for good or (for a follower) for now.
    pub(super) fn visit(
        &mut self,
        since: Option<i64>,
        mut show: impl FnMut(LineRef<'_>),
    ) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let before = self.buffer.len();
        let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.offset));
        let block = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        self.buffer.resize(before + block, 0);
        let read = match &mut self.bytes {
            Bytes::Plain(file) => file.read(&mut self.buffer[before..]),
            Bytes::Zipped(unzip) => match unzip.read(&mut self.buffer[before..]) {
                // A file cut short gives what it holds.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
        };
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                self.buffer.truncate(before);
                return Err(error);
            }
        };
        self.buffer.truncate(before + read);
        self.offset += read as u64;
        if read == 0 {
            self.buffer.shrink_to(before);
            return Ok(0);
        }
        let filter = Filter { skip: &mut self.skip, since };
        self.start = match &mut self.decoder {
            Decoder::JsonFile { decoder, text } => {
                visit_json(decoder, text, &self.buffer, before, filter, &mut show)
            }
            Decoder::Local { text } => visit_local(text, &self.buffer, filter, &mut show),
        };
        Ok(read)
    }
}

/// Which records are not shown.
struct Filter<'source> {
    skip: &'source mut usize,
    since: Option<i64>,
}

impl Filter<'_> {
    /// Counts a record; says whether it is one of those to pass over.
    fn skips(&mut self) -> bool {
        let skips = *self.skip > 0;
        *self.skip = self.skip.saturating_sub(1);
        skips
    }

    fn is_too_old(&self, time: i64) -> bool {
        self.since.is_some_and(|since| time < since)
    }
}

/// Shows every whole line's record; gives how many bytes they took. Bytes before `searched` hold no newline.
fn visit_json(
    decoder: &mut jsonfile::Decoder,
    text: &mut Vec<u8>,
    buffer: &[u8],
    searched: usize,
    mut filter: Filter<'_>,
    show: &mut impl FnMut(LineRef<'_>),
) -> usize {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', &buffer[searched..]) {
        let line = &buffer[start..searched + end];
        start = searched + end + 1;
        if filter.skips() {
            continue;
        }
        if filter.since.is_some() && decoder.time(line).is_some_and(|time| filter.is_too_old(time)) {
            continue;
        }
        text.clear();
        // A torn line is passed over: the records around it are still good.
        if let Some(record) = decoder.decode(line, text)
            && !filter.is_too_old(record.time)
        {
            let attrs = record.attrs.as_ref();
            show(LineRef { stream: record.stream, time: record.time, bytes: text, attrs });
        }
    }
    start
}

fn visit_local(
    text: &mut Vec<u8>,
    buffer: &[u8],
    mut filter: Filter<'_>,
    show: &mut impl FnMut(LineRef<'_>),
) -> usize {
    let mut start = 0;
    loop {
        match local::decode(&buffer[start..]) {
            local::Start::Record(record, length) => {
                start += length;
                if filter.skips() || filter.is_too_old(record.time) {
                    continue;
                }
                text.clear();
                text.extend_from_slice(record.text);
                if record.newline {
                    text.push(b'\n');
                }
                show(LineRef { stream: record.stream, time: record.time, bytes: text, attrs: None });
            }
            local::Start::More => return start,
            // One byte on: the next whole record is found again.
            local::Start::Torn => start += 1,
        }
    }
}
