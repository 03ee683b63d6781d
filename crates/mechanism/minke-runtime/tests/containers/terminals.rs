//! A terminal from the container's own devpts.

use minke_runtime::Stdio;
use minke_sys::{pidfd, pty};
use serde_json::json;

use crate::harness::{Pipes, both_ways, read};

#[test]
fn a_program_with_a_terminal_has_it_as_console_and_controlling_terminal() {
    for sandbox in both_ways(
        "tty; stty size; echo x > /dev/console; echo y > /dev/tty; stat -c '%t:%T' /dev/console; ls -1 /dev/pts",
    ) {
        let (stdio, _pipes) = Pipes::new();
        let launched = sandbox
            .launch(&stdio, |launch| {
                launch.stdio = Stdio::Terminal { size: Some(pty::Size { rows: 33, cols: 101 }) }
            })
            .unwrap();
        let out = read(launched.console.unwrap());
        assert_eq!(pidfd::wait(&launched.pidfd).unwrap().code(), 0, "{out}");
        assert_eq!(out, "/dev/pts/0\r\n33 101\r\nx\r\ny\r\n88:0\r\n0\r\nptmx\r\n");
    }
}

#[test]
fn the_size_of_the_configuration_counts_when_the_caller_gives_none() {
    for sandbox in both_ways("stty size") {
        let sandbox = sandbox.set("/process/consoleSize", json!({"height": 10, "width": 20}));
        let (stdio, _pipes) = Pipes::new();
        let launched =
            sandbox.launch(&stdio, |launch| launch.stdio = Stdio::Terminal { size: None }).unwrap();
        assert_eq!(read(launched.console.unwrap()), "10 20\r\n");
        pidfd::wait(&launched.pidfd).unwrap();
    }
}
