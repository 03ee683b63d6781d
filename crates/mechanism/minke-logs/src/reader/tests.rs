//! What is written reads back: both drivers, all ways to start, through rotation and compression.

use std::{collections::BTreeMap, path::PathBuf};

use super::*;
use crate::{Background, Job, Stream, Writer};

/// Compresses on the spot, so that tests see its end.
#[derive(Debug)]
struct AtOnce;

impl Background for AtOnce {
    fn start(&mut self, job: Job) {
        job.run().unwrap();
    }

    fn finish(&mut self) {}
}

struct Log {
    config: LogConfig,
    _directory: tempfile::TempDir,
}

fn log(driver: Driver, max_size: Option<u64>, max_file: u32, compress: bool) -> Log {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("c-json.log");
    let config = LogConfig { driver, path, max_size, max_file, compress, attrs: BTreeMap::new() };
    Log { config, _directory: directory }
}

impl Log {
    fn writer(&self) -> Writer {
        Writer::open(&self.config, Some(Box::new(AtOnce))).unwrap()
    }

    fn cursor(&self, options: Options) -> Cursor {
        read(&self.config, options).unwrap()
    }

    fn texts(&self, options: Options) -> Vec<String> {
        drain(&mut self.cursor(options))
    }
}

fn drain(cursor: &mut Cursor) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let lines = cursor.next_batch().unwrap();
        if lines.is_empty() {
            return texts;
        }
        texts.extend(lines.into_iter().map(|line| String::from_utf8(line.bytes).unwrap()));
    }
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}\n")).collect()
}

fn write_numbered(writer: &mut Writer, range: std::ops::Range<usize>) {
    for number in range {
        let time = i64::try_from(number).unwrap() * 1000;
        writer.write(Stream::Stdout, format!("line {number}\n").as_bytes(), time).unwrap();
    }
}

const EVERY: [(Driver, Option<u64>, u32, bool); 6] = [
    (Driver::JsonFile, None, 1, false),
    (Driver::Local, None, 1, false),
    (Driver::JsonFile, Some(4000), 100, false),
    (Driver::JsonFile, Some(4000), 100, true),
    (Driver::Local, Some(2000), 100, true),
    (Driver::Local, Some(2000), 100, false),
];

#[test]
fn all_lines_come_back_in_order() {
    for (driver, size, files, compress) in EVERY {
        let log = log(driver, size, files, compress);
        write_numbered(&mut log.writer(), 0..1000);
        assert_eq!(log.texts(Options::default()), numbered(0..1000), "{driver:?} {size:?} {compress}");
    }
}

#[test]
fn tail_gives_the_last_lines_across_files() {
    for (driver, size, files, compress) in EVERY {
        let log = log(driver, size, files, compress);
        write_numbered(&mut log.writer(), 0..1000);
        for count in [0, 1, 7, 63, 64, 500, 999, 1000, 5000] {
            let texts = log.texts(Options { tail: Tail::Last(count), ..Options::default() });
            let expected = numbered(1000 - count.min(1000)..1000);
            assert_eq!(texts, expected, "{driver:?} {size:?} {compress} tail {count}");
        }
    }
}

#[test]
fn what_is_written_after_the_opening_is_for_followers_only() {
    for (driver, size, files, compress) in EVERY {
        // Enough to grow within the last file, and to turn it over several times.
        for more in [1, 1000] {
            for tail in [Tail::All, Tail::Last(0), Tail::Last(10), Tail::Last(5000)] {
                let log = log(driver, size, files, compress);
                let mut writer = log.writer();
                write_numbered(&mut writer, 0..500);
                let mut cursor = log.cursor(Options { tail, ..Options::default() });
                let mut follower = log.cursor(Options { tail, follow: true, ..Options::default() });
                write_numbered(&mut writer, 500..500 + more);
                let first = match tail {
                    Tail::All => 0,
                    Tail::Last(count) => 500 - count.min(500),
                };
                assert_eq!(drain(&mut cursor), numbered(first..500), "{driver:?} {size:?} {tail:?} {more}");
                assert!(cursor.is_finished());
                let followed = drain(&mut follower);
                assert_eq!(followed, numbered(first..500 + more), "{driver:?} {size:?} {tail:?} {more}");
            }
        }
    }
}

#[test]
fn since_and_until_are_both_inclusive_and_until_ends_the_reading() {
    for (driver, size, files, compress) in EVERY {
        let log = log(driver, size, files, compress);
        write_numbered(&mut log.writer(), 0..1000);
        let span = Options { since: Some(100_000), until: Some(200_000), ..Options::default() };
        assert_eq!(log.texts(span), numbered(100..201));
        let mut cursor = log.cursor(Options { until: Some(5000), follow: true, ..Options::default() });
        assert_eq!(drain(&mut cursor), numbered(0..6));
        assert!(cursor.is_finished());
    }
}

#[test]
fn tail_counts_before_since_filters_as_with_docker() {
    let log = log(Driver::JsonFile, None, 1, false);
    write_numbered(&mut log.writer(), 0..10);
    let options = Options { tail: Tail::Last(5), since: Some(8000), ..Options::default() };
    assert_eq!(log.texts(options), numbered(8..10));
}

#[test]
fn a_follower_loses_nothing_through_rotation() {
    for (driver, size, files, compress) in EVERY {
        let log = log(driver, size, files, compress);
        let mut writer = log.writer();
        write_numbered(&mut writer, 0..10);
        let mut cursor = log.cursor(Options { follow: true, ..Options::default() });
        let mut texts = drain(&mut cursor);
        for start in (10..1000).step_by(90) {
            // Several rotations happen between two looks.
            write_numbered(&mut writer, start..start + 90);
            texts.extend(drain(&mut cursor));
        }
        assert!(!cursor.is_finished());
        assert_eq!(texts, numbered(0..1000), "{driver:?} {size:?} {compress}");
    }
}

#[test]
fn a_follower_that_was_overtaken_goes_on_with_the_oldest_file() {
    let log = log(Driver::JsonFile, Some(2000), 3, true);
    let mut writer = log.writer();
    write_numbered(&mut writer, 0..5);
    let mut cursor = log.cursor(Options { follow: true, ..Options::default() });
    drain(&mut cursor);
    write_numbered(&mut writer, 5..500);
    let all = log.texts(Options::default());
    let seen = drain(&mut cursor);
    // It still held its first file open, whose rest comes before the oldest that is left.
    assert!(seen.ends_with(&all), "{} of {}", seen.len(), all.len());
}

#[test]
fn a_follower_of_a_log_that_is_not_there_yet_sees_it_begin() {
    let log = log(Driver::Local, None, 1, false);
    let mut cursor = log.cursor(Options { follow: true, ..Options::default() });
    assert!(drain(&mut cursor).is_empty());
    write_numbered(&mut log.writer(), 0..3);
    assert_eq!(drain(&mut cursor), numbered(0..3));
}

#[test]
fn new_lines_make_the_descriptor_readable() {
    let log = log(Driver::JsonFile, None, 1, false);
    let mut writer = log.writer();
    let mut cursor = log.cursor(Options { follow: true, ..Options::default() });
    drain(&mut cursor);
    let ready = |cursor: &Cursor| {
        let mut fds = [rustix::event::PollFd::new(cursor, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap()
    };
    assert_eq!(ready(&cursor), 0);
    write_numbered(&mut writer, 0..1);
    assert_eq!(ready(&cursor), 1);
    assert_eq!(drain(&mut cursor), numbered(0..1));
    assert_eq!(ready(&cursor), 0);
}

#[test]
fn tail_zero_with_follow_shows_only_what_comes() {
    for driver in [Driver::JsonFile, Driver::Local] {
        let log = log(driver, None, 1, false);
        let mut writer = log.writer();
        write_numbered(&mut writer, 0..10);
        let mut cursor = log.cursor(Options { follow: true, tail: Tail::Last(0), ..Options::default() });
        assert!(drain(&mut cursor).is_empty());
        write_numbered(&mut writer, 10..12);
        assert_eq!(drain(&mut cursor), numbered(10..12));
    }
}

#[test]
fn only_so_many_files_are_kept() {
    for (max_file, compress) in [(1, false), (2, false), (3, true)] {
        let log = log(Driver::JsonFile, Some(1000), max_file, compress);
        write_numbered(&mut log.writer(), 0..500);
        let directory = log.config.path.parent().unwrap();
        let count = std::fs::read_dir(directory).unwrap().count();
        assert_eq!(count, max_file as usize);
        let lengths =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        assert!(lengths.max().unwrap() < 1100);
        assert_eq!(log.texts(Options::default()).last(), numbered(499..500).first());
    }
}

#[test]
fn a_torn_end_is_cut_off_before_the_next_writer_goes_on() {
    for driver in [Driver::JsonFile, Driver::Local] {
        let log = log(driver, None, 1, false);
        write_numbered(&mut log.writer(), 0..3);
        let whole = std::fs::read(&log.config.path).unwrap();
        for torn in 1..20 {
            std::fs::write(&log.config.path, &whole[..whole.len() - torn]).unwrap();
            assert_eq!(log.texts(Options::default()), numbered(0..2), "{driver:?} {torn}");
            assert_eq!(log.texts(Options { tail: Tail::Last(1), ..Options::default() }), numbered(1..2));
            write_numbered(&mut log.writer(), 7..8);
            let expected: Vec<_> = numbered(0..2).into_iter().chain(numbered(7..8)).collect();
            assert_eq!(log.texts(Options::default()), expected, "{driver:?} {torn}");
        }
    }
}

/// The pieces are those Docker 28 wrote for the same bytes.
#[test]
fn long_lines_are_cut_as_docker_cuts_them() {
    for chunk in [1, 1000, 16_383, 16_384, 16_385, 65_536, 200_000] {
        for driver in [Driver::JsonFile, Driver::Local] {
            let log = log(driver, None, 1, false);
            let mut input = Vec::new();
            for (byte, count) in [(b'x', 40_000), (b'y', 16_384), (b'z', 16_383)] {
                input.extend(std::iter::repeat_n(byte, count));
                input.push(b'\n');
            }
            input.extend_from_slice(b"no newline");
            let mut writer = log.writer();
            for (index, part) in input.chunks(chunk).enumerate() {
                writer.write(Stream::Stdout, part, i64::try_from(index).unwrap() * 1_000_000).unwrap();
            }
            writer.finish(Stream::Stdout, 0).unwrap();
            let lines = log.cursor(Options::default()).next_batch().unwrap();
            let lengths: Vec<_> = lines.iter().map(|line| line.bytes.len()).collect();
            assert_eq!(lengths, [16_384, 16_384, 7233, 16_384, 1, 16_384, 10], "{driver:?} {chunk}");
            assert_eq!(lines.concat_bytes(), input);
            assert!(
                lines[0].time == lines[1].time && lines[1].time == lines[2].time,
                "a line's pieces share its time"
            );
        }
    }
}

trait ConcatBytes {
    fn concat_bytes(&self) -> Vec<u8>;
}

impl ConcatBytes for Vec<LogLine> {
    fn concat_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|line| line.bytes.clone()).collect()
    }
}

#[test]
fn streams_do_not_mix_within_a_line() {
    let log = log(Driver::JsonFile, None, 1, false);
    let mut writer = log.writer();
    writer.write(Stream::Stdout, b"out", 1).unwrap();
    writer.write(Stream::Stderr, b"err\n", 2).unwrap();
    writer.write(Stream::Stdout, b"put\n", 3).unwrap();
    let lines = log.cursor(Options::default()).next_batch().unwrap();
    let seen: Vec<_> = lines.iter().map(|line| (line.stream, line.bytes.as_slice())).collect();
    assert_eq!(seen, [(Stream::Stderr, &b"err\n"[..]), (Stream::Stdout, &b"output\n"[..])]);
}

#[test]
fn lines_of_one_batch_have_times_in_order() {
    let log = log(Driver::JsonFile, None, 1, false);
    let mut writer = log.writer();
    writer.write(Stream::Stdout, b"a\nb\nc\n", 5).unwrap();
    writer.write(Stream::Stderr, b"d\n", 6).unwrap();
    let times: Vec<_> =
        log.cursor(Options::default()).next_batch().unwrap().iter().map(|line| line.time).collect();
    assert_eq!(times, [5, 6, 7, 8]);
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let log = log(Driver::JsonFile, None, 1, false);
    let config = LogConfig { path: "/dev/full".into(), ..log.config.clone() };
    let Ok(mut writer) = Writer::open(&config, None) else { return };
    assert!(matches!(writer.write(Stream::Stdout, b"x\n", 1), Err(crate::WriteError::Write { .. })));
    assert!(writer.lost() > 0);
}

#[test]
fn the_none_driver_keeps_nothing_and_cannot_be_read() {
    let log = log(Driver::None, None, 1, false);
    write_numbered(&mut log.writer(), 0..3);
    assert!(matches!(read(&log.config, Options::default()), Err(ReadError::Unsupported)));
    assert!(!log.config.path.exists());
}

#[test]
fn attributes_come_back_with_each_line() {
    let mut log = log(Driver::JsonFile, None, 1, false);
    log.config.attrs.insert("k".into(), "v\"".into());
    write_numbered(&mut log.writer(), 0..2);
    let lines = log.cursor(Options::default()).next_batch().unwrap();
    assert_eq!(lines[1].attrs["k"], "v\"");
}
