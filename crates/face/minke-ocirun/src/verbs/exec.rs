//! `exec`: one more process in a running container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use minke_cgroup::{Cgroup, Host, Mode};
use minke_runtime::{Exec, Filter, Limits, Stdio, exec as start};
use minke_sys::pidfd;
use oci_spec::runtime::{Capability, Process, Spec};

use super::{exit_code, id};
use crate::bundle::read_json;
use crate::flags::{FlagError, Parsed};
use crate::handover::{send_console, send_pidfd, write_pid_file};
use crate::relay::Foreground;
use crate::state::{Home, Record, Status};
use crate::{Globals, OciError};

pub(super) fn exec(globals: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let home = Home::new(&globals.root, &id(parsed))?;
    let record = home.load()?;
    match record.status(&home) {
        Status::Stopped => return Err(OciError::ExecStopped),
        Status::Paused if !parsed.is_set("ignore-paused") => return Err(OciError::ExecPaused),
        _ => {}
    }
    let spec: Spec = read_json(&record.bundle.join("config.json"))?;
    let process = read_process(parsed, &spec)?;
    let pid = u32::try_from(record.init_process_pid).unwrap_or(0);
    let init = pidfd::open(pid).map_err(|_gone| OciError::ExecStopped)?;
    if !record.is_alive() {
        return Err(OciError::ExecStopped);
    }
    let group = cgroup(&record, parsed)?;
    let profile = spec.linux().as_ref().and_then(|l| l.seccomp().as_ref());
    let program = profile.map(minke_seccomp::compile).transpose();
    let program = program.map_err(|e| OciError::Spec(e.to_string()))?;
    let detach = parsed.is_set("detach");
    let socket = parsed.path("console-socket");
    let terminal = process.terminal() == Some(true);
    if terminal && detach && socket.is_none() {
        let text = "cannot allocate tty if minke will detach without setting console socket";
        return Err(OciError::Usage(text.to_owned()));
    }
    let signals = if detach { None } else { Some(Foreground::signals()?) };
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let stdio = if terminal {
        Stdio::Terminal { size: None }
    } else {
        Stdio::Fds { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() }
    };
    let (preserved, listen_fds) = preserved(parsed)?;
    let preserved: Vec<BorrowedFd<'_>> = preserved.iter().map(AsFd::as_fd).collect();
    let launched = start(&Exec {
        init_pid: pid,
        init: init.as_fd(),
        process: &process,
        stdio,
        cgroup: group.as_ref(),
        seccomp: program.as_ref().map(|p| Filter { program: &p.instructions, flags: p.flags }),
        preserve_fds: &preserved,
        listen_fds,
        limits: Limits::Strict,
    })?;
    launched.warnings.iter().for_each(|w| globals.log.warn(w));
    if let (Some(path), Some(console)) = (&socket, &launched.console) {
        send_console(path, console)?;
    }
    if let Some(path) = parsed.path("pidfd-socket") {
        send_pidfd(&path, &launched.pidfd)?;
    }
    if let Some(path) = parsed.path("pid-file") {
        write_pid_file(&path, launched.pid)?;
    }
    let Some(signals) = signals else { return Ok(ExitCode::SUCCESS) };
    let console = if socket.is_some() { None } else { launched.console };
    Ok(exit_code(Foreground { pidfd: launched.pidfd, console }.stay(&signals)?))
}

/// The process from `--process`, or the container's own with what the flags change.
fn read_process(parsed: &Parsed, spec: &Spec) -> Result<Process, OciError> {
    if let Some(path) = parsed.path("process") {
        return read_json(&path);
    }
    let command: Vec<String> =
        parsed.arguments[1..].iter().map(|a| a.to_string_lossy().into_owned()).collect();
    if command.is_empty() {
        return Err(OciError::Usage("process args cannot be empty".to_owned()));
    }
    let mut process = spec.process().clone().unwrap_or_default();
    process.set_args(Some(command)).set_terminal(Some(parsed.is_set("tty")));
    if let Some(cwd) = parsed.path("cwd") {
        if !cwd.is_absolute() {
            return Err(OciError::Usage("cwd must be an absolute path".to_owned()));
        }
        process.set_cwd(cwd);
    }
    let added = parsed.all("env").map(|e| e.to_string_lossy().into_owned());
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(added);
    process.set_env(Some(env));
    if let Some(profile) = parsed.text("apparmor") {
        process.set_apparmor_profile(Some(profile));
    }
    if let Some(label) = parsed.text("process-label") {
        process.set_selinux_label(Some(label));
    }
    if parsed.is_set("no-new-privs") {
        process.set_no_new_privileges(Some(true));
    }
    set_user(&mut process, parsed)?;
    add_capabilities(&mut process, parsed)?;
    Ok(process)
}

fn set_user(process: &mut Process, parsed: &Parsed) -> Result<(), OciError> {
    let number = |name, text: &str| {
        let wrong = || FlagError::Invalid { name, value: text.to_owned(), reason: "a number is expected" };
        text.parse::<u32>().map_err(|_unreadable| OciError::Flag(wrong()))
    };
    let mut user = process.user().clone();
    if let Some(text) = parsed.text("user") {
        let (uid, gid) = text.split_once(':').map_or((text.as_str(), None), |(u, g)| (u, Some(g)));
        user.set_uid(number("user", uid)?);
        if let Some(gid) = gid {
            user.set_gid(number("user", gid)?);
        }
    }
    let mut groups = user.additional_gids().clone().unwrap_or_default();
    for text in parsed.all("additional-gids") {
        groups.push(number("additional-gids", &text.to_string_lossy())?);
    }
    user.set_additional_gids(Some(groups));
    process.set_user(user);
    Ok(())
}

/// As runc: into bounding, effective and permitted, and ambient where something is inheritable at all.
fn add_capabilities(process: &mut Process, parsed: &Parsed) -> Result<(), OciError> {
    let mut sets = process.capabilities().clone().unwrap_or_else(|| {
        oci_spec::runtime::LinuxCapabilitiesBuilder::default().build().expect("every field has a default")
    });
    for text in parsed.all("cap") {
        let text = text.to_string_lossy().to_ascii_uppercase();
        let bare = text.strip_prefix("CAP_").unwrap_or(&text);
        let wrong = || OciError::Usage(format!("unknown capability {text:?}"));
        let capability: Capability = bare.parse().map_err(|_unknown| wrong())?;
        let with = |set: &Option<std::collections::HashSet<Capability>>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        let (bounding, effective, permitted) =
            (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
        if sets.inheritable().is_some() {
            let ambient = with(sets.ambient());
            sets.set_ambient(ambient);
        }
        sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    }
    if parsed.all("cap").next().is_some() {
        process.set_capabilities(Some(sets));
    }
    Ok(())
}

/// On v2 the container may have moved its processes into cgroups of its own making; then only theirs can be joined.
fn cgroup(record: &Record, parsed: &Parsed) -> Result<Option<Cgroup>, OciError> {
    if record.cgroup_paths.is_empty() {
        return Ok(None);
    }
    let host = Host::probe()?;
    let mut paths = record.cgroup_paths.clone();
    let mut asked = false;
    for text in parsed.all("cgroup") {
        asked = true;
        let text = text.to_string_lossy();
        let (controllers, sub) = text.split_once(':').map_or((None, &*text), |(c, s)| (Some(c), s));
        let sub = sub.trim_start_matches('/');
        if sub.split('/').any(|part| part == "..") {
            return Err(OciError::Usage(format!("--cgroup {text} leaves the container's cgroup")));
        }
        let wanted = |name: &String| controllers.is_none_or(|c| c.split(',').any(|c| c == name));
        for (_, path) in paths.iter_mut().filter(|(name, _)| wanted(name)) {
            path.push(sub);
            if !path.is_dir() {
                return Err(OciError::io("open cgroup", &*path, std::io::ErrorKind::NotFound));
            }
        }
    }
    if !asked && host.mode() == Mode::V2 {
        return Ok(Some(Cgroup::of_process(&host, record.init_process_pid)?));
    }
    let paths: Vec<PathBuf> = paths.into_values().collect();
    Ok(Some(Cgroup::reopen(&host, &paths)?))
}

/// Descriptors from 3 up that the process is to have, and how many of them are sockets of systemd's activation.
pub(super) fn preserved(parsed: &Parsed) -> Result<(Vec<OwnedFd>, u32), OciError> {
    let own = std::env::var("LISTEN_PID").ok().and_then(|p| p.parse().ok()) == Some(std::process::id());
    let listen = std::env::var("LISTEN_FDS").ok().and_then(|n| n.parse::<u32>().ok());
    let listen = listen.filter(|_| own || std::env::var_os("LISTEN_PID").is_none()).unwrap_or(0);
    let count = parsed.number::<u32>("preserve-fds")?.unwrap_or(0);
    let total = count.checked_add(listen).filter(|n| *n <= 1024).ok_or_else(|| {
        OciError::Usage(format!("--preserve-fds={count} is more than a process can pass on"))
    })?;
    let mut fds = Vec::new();
    for number in 3..3 + total {
        let taken = minke_sys::fds::duplicate(i32::try_from(number).unwrap_or(-1));
        fds.push(taken.map_err(|e| {
            let doing = "find the descriptors of --preserve-fds: one of them is not open";
            OciError::kernel(doing, e)
        })?);
    }
    Ok((fds, listen))
}
