//! The daemon's role.
//!
//! | | |
//! |---|---|
//! | started by | the service manager, a person, or the CLI on demand (`minke daemon`, `dockerd`) |
//! | inherits | sockets from 3 on when `LISTEN_FDS` says so; the pipe that `MINKE_READY_FD` names |
//! | touches | data-root, exec-root, its sockets; everything the engine touches |
//! | reports | log on stderr, one byte on the ready pipe, `READY=1` to `NOTIFY_SOCKET` |
//! | ends | on SIGTERM and SIGINT, with 0; containers run on unless `live-restore` is off |

mod containers;
mod file;
mod flags;
mod options;
mod ready;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use minke_engine::Engine;
use minke_engine::images::TransferLimits;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload;

use self::flags::Given;
use self::options::{LogOptions, Plan, Reader};
use self::ready::Pidfile;
use crate::listen::{self, Address, Listener};
use crate::serve::Shared;
use crate::settings::Settings;

/// A timeout that never comes.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Runs the daemon until it is told to end.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let args: Vec<String> = args.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    // Whoever started this one may have blocked signals; the daemon ends by them, and keepers inherit the mask.
    if let Err(error) = minke_sys::signals::set_mask(0) {
        return fail(&format!("failed to start daemon: unblock signals: {error}"), 1);
    }
    let flags = match flags::parse(&args) {
        Ok(flags) => flags,
        Err(error) => return fail(&format!("{error}\nSee 'minke daemon --help'."), 125),
    };
    let reader = Reader(&flags);
    if reader.flag("help") {
        return print(&flags::help());
    }
    if reader.flag("version") {
        return print(&format!("minke version {}\n", env!("CARGO_PKG_VERSION")));
    }
    let (given, plan) = match configure(&flags) {
        Ok(configured) => configured,
        Err(text) => return fail(&text, 1),
    };
    if reader.flag("validate") {
        return print("configuration OK\n");
    }
    let log = start_log(&plan.log);
    match run(plan, &flags, given, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => fail(&format!("failed to start daemon: {text}"), 1),
    }
}

/// Where the configuration file is, and whether somebody said so.
fn config_file(flags: &Given) -> (PathBuf, bool) {
    let reader = Reader(flags);
    (PathBuf::from(reader.text("config-file")), reader.has("config-file"))
}

/// Flags and file together, and what they mean.
fn configure(flags: &Given) -> Result<(Given, Plan), String> {
    let (path, named) = config_file(flags);
    let file = file::read(&path, named).map_err(|error| error.to_string())?;
    let given = file::merge(flags.clone(), file).map_err(|what| {
        format!("unable to configure the Docker daemon with file {}: {what}", path.display())
    })?;
    let plan = options::plan(&given)?;
    Ok((given, plan))
}

#[expect(clippy::print_stdout, reason = "what --help and --version are for")]
fn print(text: &str) -> ExitCode {
    print!("{text}");
    match std::io::stdout().flush() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[expect(clippy::print_stderr, reason = "the daemon's last words, with or without a log")]
fn fail(text: &str, code: u8) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(code)
}

/// Changes the log's level later.
type Level = reload::Handle<LevelFilter, tracing_subscriber::Registry>;

fn start_log(options: &LogOptions) -> Option<Level> {
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(options.level));
    let colours = options.colours && std::io::stderr().is_terminal();
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false);
    // A second start in one process (tests) keeps the first log.
    tracing_subscriber::registry().with(filter).with(layer).try_init().is_ok().then_some(handle)
}

fn run(plan: Plan, flags: &Given, given: Given, log: &Option<Level>) -> Result<(), String> {
    // A client that goes away is an error of the write, not a signal to die of; Rust has arranged that. Sockets first: whoever
    // is second must not touch what belongs to the first.
    let (listeners, sockets) = open_sockets(&plan)?;
    let _sockets = Sockets(sockets);
    let _pidfile = Pidfile::create(&plan.pidfile)?;
    // One thread runs all connections and the engine's services: what a request needs is then done without waking another.
    // Work that blocks has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_secs(10))
        .build()
        .map_err(|error| format!("start the runtime: {error}"))?;
    runtime.block_on(async {
        // Before anything is opened: who is told to end while it starts ends properly.
        let signals = Signals::listen()?;
        let engine = Engine::open(plan.engine.clone()).await.map_err(|error| error.to_string())?;
        let shared = Shared::new(engine.clone(), plan.settings.clone());
        let mut accepting = Vec::new();
        for listener in listeners {
            accepting.push(tokio::spawn(listen::serve(listener, Arc::clone(&shared))));
        }
        let resting = tokio::spawn(Arc::clone(&shared.rest).keep());
        ready::announce();
        tracing::info!(version = %plan.settings.version, "ready");
        wait_for_end(signals, flags, given, log, &shared).await;
        ready::notify("STOPPING=1");
        resting.abort();
        for task in accepting {
            task.abort();
        }
        let patience = shared.settings().shutdown_timeout.map(Duration::from_secs);
        let lives_on = shared.settings().live_restore;
        if lives_on {
            drain(&shared, patience).await;
        } else {
            // Requests may be waiting for containers that are about to end.
            tokio::join!(engine.containers.stop_all(patience), drain(&shared, patience));
        }
        engine.shutdown().await;
        tracing::info!("ended; containers {}", if lives_on { "run on" } else { "ended too" });
        Ok(())
    })
}

/// Lets requests that are under way end.
async fn drain(shared: &Shared, patience: Option<Duration>) {
    let patience = patience.unwrap_or(FOREVER);
    if !shared.work.drain(patience).await {
        tracing::warn!("requests under way did not end in {} s", patience.as_secs());
    }
}

/// Socket files that are ours, removed at the end.
struct Sockets(Vec<PathBuf>);

impl Drop for Sockets {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!("remove {}: {error}", path.display());
            }
        }
    }
}

fn open_sockets(plan: &Plan) -> Result<(Vec<Listener>, Vec<PathBuf>), String> {
    let group = Some(plan.group.as_str());
    if plan.group_named && crate::listen::group_id(group).is_none() {
        return Err(format!("group {} not found", plan.group));
    }
    let mut listeners = Vec::new();
    for host in &plan.hosts {
        let opened = listen::open(host, group, &plan.protection).map_err(|error| chain(&error))?;
        listeners.extend(opened);
    }
    if plan.docker_socket {
        listeners.extend(open_docker_socket(group));
    }
    let sockets = listeners.iter().filter_map(|listener| listener.path().cloned()).collect();
    Ok((listeners, sockets))
}

/// Docker's own address, unless somebody answers there or somebody else's file is in the way.
fn open_docker_socket(group: Option<&str>) -> Vec<Listener> {
    let path = Path::new(DOCKER_SOCKET);
    if listen::is_served(path) {
        return Vec::new();
    }
    match listen::open(&Address::Unix(path.to_owned()), group, &listen::Protection::default()) {
        Ok(listeners) => listeners,
        Err(error) => {
            tracing::info!("not serving {DOCKER_SOCKET}: {}", chain(&error));
            Vec::new()
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// The signals that mean something to the daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("listen for signals: {error}"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }
}

/// Until SIGTERM or SIGINT; SIGHUP reads the configuration file again on the way.
async fn wait_for_end(
    mut signals: Signals,
    flags: &Given,
    mut given: Given,
    log: &Option<Level>,
    shared: &Shared,
) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hangup.recv() => reload_file(flags, &mut given, log, shared),
        }
    }
}

/// Options that a running daemon takes over when it reads its configuration again.
const RELOADABLE: &[&str] = &[
    "debug",
    "feature",
    "insecure-registry",
    "label",
    "live-restore",
    "log-level",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "http-proxy",
    "https-proxy",
    "no-proxy",
    "registry-mirror",
    "shutdown-timeout",
];

/// What can change while the daemon runs does; the rest is named. A file that is wrong changes nothing.
fn reload_file(flags: &Given, given: &mut Given, log: &Option<Level>, shared: &Shared) {
    ready::notify("RELOADING=1");
    match configure(flags) {
        Ok((new, plan)) => {
            if let Some(log) = log
                && let Err(error) = log.modify(|level| *level = LevelFilter::from_level(plan.log.level))
            {
                tracing::warn!("change the log's level: {error}");
            }
            let changed: Vec<&str> = flags::FLAGS
                .iter()
                .map(|flag| flag.name)
                .filter(|name| given.get(name) != new.get(name) && !RELOADABLE.contains(name))
                .collect();
            if !changed.is_empty() {
                tracing::warn!("changes of {} take effect when the daemon starts again", changed.join(", "));
            }
            // What does not change with the file stays as it was when the daemon started.
            if let Err(error) = shared.engine.registries.configure(plan.engine.registries) {
                tracing::warn!("registries are reached as before: {error}");
            }
            let transfers = plan.engine.transfers;
            shared.engine.images.limit_transfers(transfers);
            let before = shared.settings();
            shared.set_settings(Settings {
                version: before.version.clone(),
                experimental: before.experimental,
                default_address_pools: before.default_address_pools.clone(),
                warnings: before.warnings.clone(),
                ..plan.settings
            });
            *given = new;
            publish_reload(shared, transfers);
            tracing::info!("configuration read again");
        }
        Err(text) => tracing::warn!("configuration not read again, everything stays as it was: {text}"),
    }
    ready::notify("READY=1");
}

/// `docker events` shows that a daemon has read its configuration again, and what counts now.
fn publish_reload(shared: &Shared, transfers: TransferLimits) {
    let (settings, info) = (shared.settings(), shared.engine.system.info());
    let list = |items: &[String]| serde_json::Value::from(items).to_string();
    let attributes = [
        ("name", info.name),
        ("debug", settings.debug.to_string()),
        ("insecure-registries", list(&settings.insecure_registries)),
        ("labels", list(&settings.labels)),
        ("registry-mirrors", list(&settings.registry_mirrors)),
        ("live-restore", settings.live_restore.to_string()),
        ("max-concurrent-downloads", transfers.downloads.to_string()),
        ("max-concurrent-uploads", transfers.uploads.to_string()),
        (
            "shutdown-timeout",
            settings.shutdown_timeout.map_or_else(|| "-1".to_owned(), |seconds| seconds.to_string()),
        ),
    ];
    let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    shared.engine.events.publish("daemon", "reload", info.id, attributes);
}
