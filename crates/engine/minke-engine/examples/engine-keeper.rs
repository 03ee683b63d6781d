//! The smallest binary that plays the keeper's roles: what this crate's tests start instead of `minke`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let code = if std::path::Path::new(&name).file_name().is_some_and(|name| name == minke_keeper::init::NAME)
    {
        minke_keeper::init::main(args)
    } else if args.next().is_some_and(|word| word == minke_keeper::nursery::ROLE) {
        minke_keeper::nursery::main()
    } else {
        2
    };
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}
