//! The CLI alone, for trying it against any engine: `cargo run -p minke-cli --example minke-cli -- ps -a`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    minke_cli::main(args.next().unwrap_or_default(), args.collect())
}
