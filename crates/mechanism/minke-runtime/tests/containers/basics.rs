//! A program starts, is isolated, and ends with its own code.

use crate::harness::Sandbox;

#[test]
fn a_program_runs_and_its_output_and_code_come_back() {
    let outcome = Sandbox::new("echo hello; echo oops >&2; exit 7").run();
    assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (7, "hello\n", "oops\n"));
}
