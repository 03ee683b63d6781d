//! One binary, many roles. argv[0] and the first word choose; each role's page says who starts it, what it inherits, and how it ends.
//!
//! | called as | role | page |
//! |---|---|---|
//! | `minke …`, `docker …` | the CLI | [`minke_cli`] |
//! | `minke daemon …`, `dockerd …` | the engine | [`minke_server::daemon`] |
//! | `minke oci …`, `minke-oci …` | the OCI runtime | [`minke_ocirun`] |
//! | `minke keeper-nursery` | forks keepers ahead of need | [`minke_keeper::nursery`] |
//! | `docker-init …` | PID 1 of a container with `--init` | [`minke_keeper::init`] |

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let called_as = args.next().unwrap_or_else(|| OsString::from("minke"));
    let rest: Vec<OsString> = args.collect();
    let name = Path::new(&called_as).file_name().unwrap_or(OsStr::new("minke"));
    match (name.to_str(), rest.first().and_then(|word| word.to_str())) {
        (Some("minke-oci"), _) => minke_ocirun::main(rest.into_iter()),
        (Some("dockerd"), _) => minke_server::daemon::main(rest),
        (_, Some("daemon")) => minke_server::daemon::main(rest.into_iter().skip(1).collect()),
        (_, Some("oci")) => minke_ocirun::main(rest.into_iter().skip(1)),
        _ => minke_cli::main(called_as, rest),
    }
}
