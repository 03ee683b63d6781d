//! Where the last so many records of a file begin, found from its end.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use crate::{Driver, files, local};

const BLOCK: u64 = 64 << 10;

/// Where to start reading a file, and how many records lie behind that place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: Start,
    pub(super) records: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At this byte.
    Offset(u64),
    /// After so many records: compressed files cannot be read from the middle.
    Skip(usize),
}

/// Finds the place behind which `wanted` records lie, or the start when there are fewer.
pub(super) fn find(driver: Driver, opened: &files::Opened, wanted: usize) -> io::Result<Place> {
    if opened.compressed {
        let records = count_records(driver, opened.file.try_clone()?)?;
        io::Seek::rewind(&mut &opened.file)?;
        let skip = records.saturating_sub(wanted);
        return Ok(Place { start: Start::Skip(skip), records: records - skip });
    }
    match driver {
        Driver::Local => last_records(&opened.file, opened.length, wanted),
        _ => last_lines(&opened.file, opened.length, wanted),
    }
}

/// A last line without a newline is being written right now: it is not counted and comes later or never.
fn last_lines(file: &File, length: u64, wanted: usize) -> io::Result<Place> {
    let mut block = vec![0; usize::try_from(BLOCK).unwrap_or(0)];
    let mut end = length;
    // The newline that ends the record `wanted + 1` places from the end is where to start.
    let mut newlines = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let part = &mut block[..usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(part, start)?;
        for at in memchr::memrchr_iter(b'\n', part) {
            newlines += 1;
            if newlines > wanted {
                return Ok(Place { start: Start::Offset(start + at as u64 + 1), records: wanted });
            }
        }
        end = start;
    }
    Ok(Place { start: Start::Offset(0), records: newlines })
}

/// Steps back from record to record. A torn end, which only a crash leaves, is looked through from the start.
fn last_records(file: &File, length: u64, wanted: usize) -> io::Result<Place> {
    let mut records = 0;
    let mut end = length;
    let mut window = Vec::new();
    let mut window_start = length;
    while end > 0 && records < wanted {
        let step = match usize::try_from(end - window_start)
            .ok()
            .and_then(|used| local::last_length(window.get(..used)?))
        {
            Some(step) if end - window_start >= 4 => step as u64,
            _ if window_start > 0 && end - window_start < 4 => {
                window_start = end.saturating_sub(BLOCK);
                window.resize(usize::try_from(end - window_start).unwrap_or(0), 0);
                file.read_exact_at(&mut window, window_start)?;
                continue;
            }
            _ => return from_start(file, length, wanted),
        };
        let Some(next) = end.checked_sub(step) else { return from_start(file, length, wanted) };
        // The first length must agree, or this is the head of a record that was torn right behind it.
        let mut head = [0; 4];
        file.read_exact_at(&mut head, next)?;
        if local::last_length(&head) != usize::try_from(step).ok() {
            return from_start(file, length, wanted);
        }
        (end, records) = (next, records + 1);
        if end < window_start {
            window_start = end;
            window.clear();
        }
    }
    Ok(Place { start: Start::Offset(end), records })
}

fn from_start(file: &File, length: u64, wanted: usize) -> io::Result<Place> {
    let mut file = file.try_clone()?;
    io::Seek::rewind(&mut file)?;
    let records = count(Driver::Local, &mut file.take(length))?;
    let skip = records.saturating_sub(wanted);
    Ok(Place { start: Start::Skip(skip), records: records - skip })
}

fn count_records(driver: Driver, file: File) -> io::Result<usize> {
    count(driver, &mut files::unzip(file))
}

fn count(driver: Driver, reader: &mut dyn Read) -> io::Result<usize> {
    let mut records = 0;
    let mut buffer = Vec::new();
    let block = usize::try_from(BLOCK).unwrap_or(0);
    loop {
        let before = buffer.len();
        buffer.resize(before + block, 0);
        let read = match reader.read(&mut buffer[before..]) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error),
        };
        buffer.truncate(before + read);
        if read == 0 {
            return Ok(records);
        }
        let used = match driver {
            Driver::Local => {
                let mut start = 0;
                loop {
                    match local::decode(&buffer[start..]) {
                        local::Start::Record(_, length) => (start, records) = (start + length, records + 1),
                        local::Start::More => break start,
                        local::Start::Torn => start += 1,
                    }
                }
            }
            _ => {
                records += memchr::memchr_iter(b'\n', &buffer).count();
                buffer.len()
            }
        };
        buffer.drain(..used);
    }
}
