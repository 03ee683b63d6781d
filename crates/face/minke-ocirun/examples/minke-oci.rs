//! The command alone, for tests of this crate; the released binary answers to the same name.

fn main() -> std::process::ExitCode {
    minke_ocirun::main(std::env::args_os().skip(1))
}
