//! One binary, many roles. argv[0] and the first word choose; each role's page says who starts it, what it inherits, and how
//! it ends.
//!
//! | called as | role | page |
//! |---|---|---|
//! | `minke …`, `docker …` | the CLI | [`minke_cli`] |
//! | `minke daemon …`, `dockerd …` | the engine | [`minke_server::daemon`] |
//! | `minke oci …`, `minke-oci …` | the OCI runtime | [`minke_ocirun`] |
//! | `minke keeper-nursery` | forks keepers ahead of need | [`minke_keeper::nursery`] |
//! | `minke porter` | carries files in and out of a container | [`minke_store::porter`] |
//! | `docker-init …` | PID 1 of a container with `--init` | [`minke_keeper::init`] |

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "what runs before the C library is written in assembly")]
mod entry;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// What this process is to be.
enum Role {
    Cli,
    Daemon,
    Oci,
    Nursery,
    Porter,
    Init,
}

impl Role {
    /// The role, and how many of the first words named it.
    fn of(name: Option<&str>, word: Option<&str>) -> (Self, usize) {
        match (name, word) {
            (Some("dockerd"), _) => (Self::Daemon, 0),
            (Some("minke-oci"), _) => (Self::Oci, 0),
            (Some("docker-init"), _) => (Self::Init, 0),
            (_, Some("daemon")) => (Self::Daemon, 1),
            (_, Some("oci")) => (Self::Oci, 1),
            (_, Some(minke_keeper::nursery::ROLE)) => (Self::Nursery, 1),
            (_, Some(minke_store::porter::ROLE)) => (Self::Porter, 1),
            _ => (Self::Cli, 0),
        }
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let called_as = args.next().unwrap_or_else(|| OsString::from("minke"));
    let mut args = args.peekable();
    let name = Path::new(&called_as).file_name().and_then(OsStr::to_str);
    let (role, words) = Role::of(name, args.peek().and_then(|word| word.to_str()));
    let args = args.skip(words);
    match role {
        Role::Cli => minke_cli::main(called_as, args.collect()),
        Role::Daemon => minke_server::daemon::main(args.collect()),
        Role::Oci => minke_ocirun::main(args),
        Role::Nursery => status(minke_keeper::nursery::main()),
        Role::Porter => status(minke_store::porter::main()),
        Role::Init => status(minke_keeper::init::main(args)),
    }
}

fn status(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}
