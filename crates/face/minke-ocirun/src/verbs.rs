//! The commands, one file per group, and the table that lists them.

use std::process::ExitCode;

use crate::flags::{Flag, Order, Parsed, switch, value, values};
use crate::{Globals, OciError};

mod control;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod list;
mod spec;
mod update;

/// One command of the command line.
#[derive(Debug)]
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static str,
    pub(crate) about: &'static str,
    pub(crate) flags: &'static [Flag],
    /// How many arguments, at least and at most.
    pub(crate) count: (usize, usize),
    pub(crate) order: Order,
    pub(crate) run: fn(&Globals, &Parsed) -> Result<ExitCode, OciError>,
}

const BUNDLE: Flag =
    value(&["bundle", "b"], "path to the root of the bundle directory, defaults to the current directory");
const CONSOLE: Flag = value(
    &["console-socket"],
    "path to a socket which will receive the master end of the console's pseudoterminal",
);
const PIDFD: Flag = value(&["pidfd-socket"], "path to a socket which will receive the pidfd of the process");
const PID_FILE: Flag = value(&["pid-file"], "the file to write the process id to");
const NO_PIVOT: Flag = switch(&["no-pivot"], "do not use pivot root to jail process inside rootfs");
const NO_KEYRING: Flag = switch(&["no-new-keyring"], "do not create a new session keyring for the container");
const PRESERVE: Flag =
    value(&["preserve-fds"], "pass N additional file descriptors to the container (stdio + N)");
const FORMAT: Flag = value(&["format", "f"], "select one of: table or json");

const NOT_BUILT: &str = "checkpoints need CRIU; start the container anew instead";

const fn one(
    name: &'static str,
    about: &'static str,
    flags: &'static [Flag],
    run: fn(&Globals, &Parsed) -> Result<ExitCode, OciError>,
) -> Verb {
    Verb { name, arguments: "<container-id>", about, flags, count: (1, 1), order: Order::Anywhere, run }
}

pub(crate) static VERBS: &[Verb] = &[
    one(
        "create",
        "create a container",
        &[BUNDLE, CONSOLE, PIDFD, PID_FILE, NO_PIVOT, NO_KEYRING, PRESERVE],
        create::create,
    ),
    one(
        "run",
        "create and run a container",
        &[
            BUNDLE,
            CONSOLE,
            PIDFD,
            PID_FILE,
            NO_PIVOT,
            NO_KEYRING,
            PRESERVE,
            switch(&["detach", "d"], "detach from the container's process"),
            switch(&["keep"], "do not delete the container after it exits"),
            switch(&["no-subreaper"], "disable the use of the subreaper used to reap reparented processes"),
        ],
        create::run,
    ),
    one("start", "executes the user defined process in a created container", &[], control::start),
    Verb {
        name: "exec",
        arguments: "<container-id> <command> [command options]  || --process process.json <container-id>",
        about: "execute new process inside the container",
        flags: &[
            CONSOLE,
            PIDFD,
            value(&["cwd"], "current working directory in the container"),
            values(&["env", "e"], "set environment variables"),
            switch(&["tty", "t"], "allocate a pseudo-TTY"),
            value(&["user", "u"], "UID (format: <uid>[:<gid>])"),
            values(&["additional-gids", "g"], "additional gids"),
            value(&["process", "p"], "path to the process.json"),
            switch(&["detach", "d"], "detach from the container's process"),
            PID_FILE,
            value(&["process-label"], "set the asm process label for the process commonly used with selinux"),
            value(&["apparmor"], "set the apparmor profile for the process"),
            switch(&["no-new-privs"], "set the no new privileges value for the process"),
            values(&["cap", "c"], "add a capability to the bounding set for the process"),
            PRESERVE,
            values(
                &["cgroup"],
                "run the process in an (existing) sub-cgroup(s). Format is [<controller>:]<cgroup>",
            ),
            switch(&["ignore-paused"], "allow exec in a paused container"),
        ],
        count: (1, usize::MAX),
        order: Order::First,
        run: exec::exec,
    },
    one("state", "output the state of a container", &[], list::state),
    Verb {
        name: "kill",
        arguments: "<container-id> [signal]",
        about: "kill sends the specified signal (default: SIGTERM) to the container's init process",
        flags: &[switch(&["all", "a"], "send the specified signal to all processes inside the container")],
        count: (1, 2),
        order: Order::Anywhere,
        run: control::kill,
    },
    one(
        "delete",
        "delete any resources held by the container often used with detached container",
        &[switch(&["force", "f"], "forcibly deletes the container if it is still running (uses SIGKILL)")],
        delete::delete,
    ),
    one("pause", "pause suspends all processes inside the container", &[], control::pause),
    one("resume", "resumes all processes that have been previously paused", &[], control::resume),
    Verb {
        name: "ps",
        arguments: "<container-id> [ps options]",
        about: "ps displays the processes running inside a container",
        flags: &[FORMAT],
        count: (1, usize::MAX),
        order: Order::First,
        run: list::ps,
    },
    Verb {
        name: "list",
        arguments: "",
        about: "lists containers started by minke with the given root",
        flags: &[FORMAT, switch(&["quiet", "q"], "display only container IDs")],
        count: (0, 0),
        order: Order::Anywhere,
        run: list::list,
    },
    one("update", "update container resource constraints", update::FLAGS, update::update),
    one(
        "events",
        "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
        &[
            value(&["interval"], "set the stats collection interval"),
            switch(&["stats"], "display the container's stats then exit"),
        ],
        events::events,
    ),
    Verb {
        name: "spec",
        arguments: "",
        about: "create a new specification file",
        flags: &[BUNDLE, switch(&["rootless"], "generate a configuration for a rootless container")],
        count: (0, 0),
        order: Order::Anywhere,
        run: spec::spec,
    },
    Verb {
        name: "features",
        arguments: "",
        about: "show the enabled features",
        flags: &[],
        count: (0, 0),
        order: Order::Anywhere,
        run: features::features,
    },
    Verb {
        name: "checkpoint",
        arguments: "<container-id>",
        about: "checkpoint a running container (not built)",
        flags: &[],
        count: (0, usize::MAX),
        order: Order::First,
        run: |_, _| Err(OciError::Refused { command: "checkpoint", reason: NOT_BUILT }),
    },
    Verb {
        name: "restore",
        arguments: "<container-id>",
        about: "restore a container from a previous checkpoint (not built)",
        flags: &[],
        count: (0, usize::MAX),
        order: Order::First,
        run: |_, _| Err(OciError::Refused { command: "restore", reason: NOT_BUILT }),
    },
];

/// An exit code as the shell sees it.
pub(crate) fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}

/// The container's name: the first argument.
pub(crate) fn id(parsed: &Parsed) -> String {
    parsed.arguments[0].to_string_lossy().into_owned()
}
