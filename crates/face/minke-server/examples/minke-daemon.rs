//! The smallest binary that plays the daemon's role and its keepers': what this crate's tests start instead of `minke`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let code = if Path::new(&name).file_name().is_some_and(|name| name == minke_keeper::init::NAME) {
        minke_keeper::init::main(args)
    } else {
        let rest: Vec<OsString> = args.collect();
        if rest.first().is_none_or(|word| word != minke_keeper::nursery::ROLE) {
            return minke_server::daemon::main(rest);
        }
        minke_keeper::nursery::main()
    };
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}
