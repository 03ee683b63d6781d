use super::v1::parse_entries;
use super::v2::parse_io;
use super::*;

#[test]
fn flat_files_are_read_line_by_line_and_oddities_passed_over() {
    let parsed = parse_flat("cache 4096\nrss 12\nbroken\nodd x\n");
    assert_eq!(parsed.into_iter().collect::<Vec<_>>(), [("cache".into(), 4096), ("rss".into(), 12)]);
}

#[test]
fn blkio_rows_carry_device_operation_and_value() {
    let rows = parse_entries("8:0 Read 4096\n8:0 Total 4096\n254:16 7\nTotal 4103\n");
    let row = |major, minor, op: &str, value| BlkioEntry { major, minor, op: op.into(), value };
    assert_eq!(rows, [row(8, 0, "Read", 4096), row(8, 0, "Total", 4096), row(254, 16, "", 7)]);
}

#[test]
fn io_stat_becomes_rows_of_bytes_and_of_operations() {
    let (bytes, operations) = parse_io("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:1\n");
    let row = |op: &str, value| BlkioEntry { major: 8, minor: 0, op: op.into(), value };
    assert_eq!(bytes, [row("Read", 1), row("Write", 2)]);
    assert_eq!(operations, [row("Read", 3), row("Write", 4)]);
}
