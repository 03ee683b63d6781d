//! `minke oci`: the runtime behind runc's command line, so that Podman, containerd and Docker can use it.
//!
//! Each command is a short life: read the record of the container, do one thing through `minke-runtime` and `minke-cgroup`,
//! write the record, end. Between `create` and `start` nobody but the container's own first process waits, at a socket in
//! the container's directory. What belongs elsewhere: making processes (`minke-runtime`), keeping them company (`minke-keeper`).
//!
//! - Who starts it: another engine, or a person with a bundle.
//! - Inherits: standard streams, which become the container's; with `--preserve-fds` more of them.
//! - Touches: `<root>/<id>/`, the container's cgroup, and what the bundle asks for.
//! - Reports: by exit code, on standard error, and in the log file given by `--log`.
//! - Ends: at once; `run` and `exec` without `--detach` when the process has ended.

mod bundle;
mod error;
mod flags;
mod handover;
mod relay;
mod report;
mod scope;
mod state;
mod verbs;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

pub use error::OciError;
pub use flags::FlagError;
use flags::{Flag, Order, Parsed, switch, value};
use report::{Format, Log, print};
use verbs::{VERBS, Verb};

static GLOBAL_FLAGS: &[Flag] = &[
    switch(&["debug"], "enable debug logging"),
    value(&["log"], "set the log file to write logs to (default is '/dev/stderr')"),
    value(&["log-format"], "set the log format ('text' (default), or 'json')"),
    value(&["root"], "root directory for storage of container state"),
    value(&["criu"], "accepted for old callers; checkpoints are not built"),
    switch(
        &["systemd-cgroup"],
        "enable systemd cgroup support, expects cgroupsPath to be of form \"slice:prefix:name\"",
    ),
    value(
        &["cgroup-manager"],
        "crun's way to say it: 'cgroupfs' (default), 'systemd', or 'disabled' for no cgroup of its own",
    ),
    value(&["rootless"], "ignore cgroup permission errors ('true', 'false', or 'auto')"),
    switch(&["help", "h"], "show help"),
    switch(&["version", "v"], "print the version"),
];

/// What stands before the command.
#[derive(Debug)]
pub(crate) struct Globals {
    pub(crate) root: PathBuf,
    pub(crate) log: Log,
    pub(crate) systemd: bool,
    /// The container stays in the caller's cgroup.
    pub(crate) no_cgroup: bool,
    /// Permission errors of cgroups are no obstacle unless a limit was asked for.
    pub(crate) rootless: bool,
}

/// Runs one command line; `args` are the words after `minke oci` (or after the name `minke-oci`).
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let parsed = match Parsed::read(GLOBAL_FLAGS, Order::First, args) {
        Ok(parsed) => parsed,
        Err(e) => {
            report::complain(&format!("minke-oci: {e}\nRun 'minke-oci --help' for what there is."));
            return ExitCode::FAILURE;
        }
    };
    let globals = match read_globals(&parsed) {
        Ok(globals) => globals,
        Err(e) => {
            report::complain(&e.chain());
            return ExitCode::FAILURE;
        }
    };
    match dispatch(&globals, parsed) {
        Ok(code) => code,
        Err(Failure { error, code, prefix }) => {
            globals.log.fail(&format!("{prefix}{}", error.chain()));
            code
        }
    }
}

/// A failed command with its exit code and how runc introduces it.
struct Failure {
    error: OciError,
    code: ExitCode,
    prefix: &'static str,
}

impl From<OciError> for Failure {
    fn from(error: OciError) -> Self {
        Self { error, code: ExitCode::FAILURE, prefix: "" }
    }
}

fn read_globals(parsed: &Parsed) -> Result<Globals, OciError> {
    let wrong = |name, value, reason| OciError::Flag(FlagError::Invalid { name, value, reason });
    let format = match parsed.text("log-format").as_deref() {
        None | Some("text" | "") => Format::Text,
        Some("json") => Format::Json,
        Some(other) => return Err(wrong("log-format", other.to_owned(), "text or json is expected")),
    };
    let unprivileged = !rustix::process::geteuid().is_root();
    let rootless = match parsed.text("rootless").as_deref() {
        None | Some("auto" | "") => unprivileged,
        Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(wrong("rootless", other.to_owned(), "true, false or auto is expected")),
    };
    let root = match parsed.path("root") {
        Some(root) => root,
        None => default_root(unprivileged),
    };
    let root = std::path::absolute(&root).map_err(|e| OciError::io("resolve", &root, e))?;
    let path = parsed.path("log").filter(|p| p != "/dev/stderr");
    let log = Log { path, format, debug: parsed.is_set("debug") };
    let manager = parsed.text("cgroup-manager");
    let (systemd, no_cgroup) = match manager.as_deref() {
        None | Some("cgroupfs" | "") => (parsed.is_set("systemd-cgroup"), false),
        Some("systemd") => (true, false),
        Some("disabled") => (false, true),
        Some(other) => {
            let reason = "cgroupfs, systemd or disabled is expected";
            return Err(wrong("cgroup-manager", other.to_owned(), reason));
        }
    };
    Ok(Globals { root, log, systemd, no_cgroup, rootless })
}

fn default_root(unprivileged: bool) -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| unprivileged && !dir.is_empty());
    own.map_or_else(|| "/run/minke-oci".into(), |dir| PathBuf::from(dir).join("minke-oci"))
}

fn dispatch(globals: &Globals, mut parsed: Parsed) -> Result<ExitCode, Failure> {
    if parsed.is_set("version") {
        return Ok(print(&version()).map(|()| ExitCode::SUCCESS)?);
    }
    let mut words = std::mem::take(&mut parsed.arguments).into_iter();
    let name = words.next().map(|w| w.to_string_lossy().into_owned());
    let verb = match name.as_deref() {
        None | Some("help" | "h") => return Ok(print(&help()).map(|()| ExitCode::SUCCESS)?),
        _ if parsed.is_set("help") => return Ok(print(&help()).map(|()| ExitCode::SUCCESS)?),
        Some(name) => VERBS.iter().find(|v| v.name == name),
    };
    let Some(verb) = verb else {
        let name = name.unwrap_or_default();
        return Err(OciError::Usage(format!(
            "No help topic for '{name}'; run 'minke-oci --help' for the commands"
        ))
        .into());
    };
    let words: Vec<OsString> = words.collect();
    if words.first().is_some_and(|w| ["--help", "-h", "-help"].iter().any(|h| w == h)) {
        return Ok(print(&verb_help(verb)).map(|()| ExitCode::SUCCESS)?);
    }
    run(globals, verb, words)
}

fn run(globals: &Globals, verb: &Verb, words: Vec<OsString>) -> Result<ExitCode, Failure> {
    let parsed = Parsed::read(verb.flags, verb.order, words).map_err(OciError::from)?;
    let (least, most) = verb.count;
    if !(least..=most).contains(&parsed.arguments.len()) {
        let wanted = match verb.count {
            (least, most) if least == most => format!("exactly {least}"),
            (least, usize::MAX) => format!("a minimum of {least}"),
            (least, most) => format!("{least} to {most}"),
        };
        let text = format!("minke-oci: {:?} requires {wanted} argument(s)", verb.name);
        return Err(OciError::Usage(text).into());
    }
    if ["create", "run", "exec"].contains(&verb.name) {
        // What enters a container must not be reachable from it for writing (CVE-2019-5736); everything is read, nothing done yet.
        minke_sys::sealed::ensure_protected()
            .map_err(|e| OciError::io("protect", std::path::Path::new("/proc/self/exe"), e))?;
    }
    (verb.run)(globals, &parsed).map_err(|error| match verb.name {
        // Where runc says at which point it was.
        "create" if matches!(error, OciError::Cgroup(_)) => Failure {
            error,
            code: ExitCode::FAILURE,
            prefix: "minke create failed: unable to start container process: ",
        },
        "create" => Failure { error, code: ExitCode::FAILURE, prefix: "minke create failed: " },
        "run" => Failure { error, code: ExitCode::FAILURE, prefix: "minke run failed: " },
        "exec" => Failure { error, code: ExitCode::from(255), prefix: "exec failed: " },
        _ => error.into(),
    })
}

fn version() -> String {
    format!(
        "minke-oci version {}\nspec: {}\nlibseccomp: none (compiled by minke)\n",
        env!("CARGO_PKG_VERSION"),
        state::OCI_VERSION
    )
}

fn help() -> String {
    let mut text = String::from(
        "NAME:\n   minke-oci - Open Container Initiative runtime\n\nUSAGE:\n   minke-oci [global options] command [command options] [arguments...]\n\nCOMMANDS:\n",
    );
    for verb in VERBS {
        text += &format!("   {:<11} {}\n", verb.name, verb.about);
    }
    text + "\nGLOBAL OPTIONS:\n" + &flag_help(GLOBAL_FLAGS)
}

fn verb_help(verb: &Verb) -> String {
    let options = if verb.flags.is_empty() {
        String::new()
    } else {
        format!("\n\nOPTIONS:\n{}", flag_help(verb.flags).trim_end())
    };
    format!(
        "NAME:\n   minke-oci {0} - {1}\n\nUSAGE:\n   minke-oci {0} [command options] {2}{options}\n",
        verb.name, verb.about, verb.arguments
    )
}

fn flag_help(flags: &[Flag]) -> String {
    let line = |flag: &Flag| {
        let dashed = |n: &&str| if n.len() == 1 { format!("-{n}") } else { format!("--{n}") };
        let names: Vec<_> = flag.names.iter().map(dashed).collect();
        let value = if flag.takes == flags::Takes::Nothing { "" } else { " value" };
        format!("   {:<32} {}\n", names.join(", ") + value, flag.about)
    };
    flags.iter().map(line).collect()
}
