//! `cargo xtask bench`: minke beside Docker, Podman, crun and runc, in one run on one machine.
//!
//! Every row is measured round-robin, one sample of each engine after the other with an idle pause between, so that whatever the
//! machine does meanwhile hits all of them alike. Wall-clock time of the commands a person types is what counts; their exit status is
//! checked, and an engine that fails a row says so in the table instead of a figure. The rows and promises are SPECIFICATION.md's.
//!
//! [`options`] is the command line, [`engines`] finds who takes part, [`timer`] takes the time (also inside another mount namespace),
//! [`rows`] holds the work, [`memory`] and [`binaries`] weigh, [`report`] writes.

mod binaries;
mod builds;
mod bundle;
mod daemon;
mod engines;
mod images;
mod log_lines;
mod memory;
mod network;
mod options;
mod quiet;
mod report;
mod rows;
mod sizes;
mod stats;
mod timer;
mod traffic;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{fixtures, step};
use daemon::PrivateDaemon;
use engines::{Engine, Peers};
use options::Options;
use report::{Report, Weight};
use rows::Row;
use stats::Samples;

pub(crate) fn main(args: &[String]) -> Result<()> {
    if args.first().is_some_and(|word| word == timer::AGENT) {
        return timer::serve();
    }
    let Some(options) = Options::parse(args)? else {
        step::say(options::HELP);
        return Ok(());
    };
    let image = image(&options)?;
    let mut daemon = match options.peers_only {
        true => None,
        false => Some(PrivateDaemon::start(&minke_binary(&options)?, &options)?),
    };
    let mut peers = Peers::find(&options, daemon.as_ref())?;
    peers.load_image(&image)?;
    step::say(&format!("engines: {}", peers.names().join(", ")));

    let (load, quiet) = quiet::listen();
    if !quiet {
        step::complain(&format!(
            "the machine is not quiet ({load}): figures that somebody is to believe need it to be"
        ));
    }
    let mut report = Report::new(&options, &peers, daemon.as_ref(), load);
    for row in rows::all().into_iter().filter(|row| options.wants_row(row.key)) {
        let cells = measure(&row, &mut peers, &options);
        report.add_row(&row, cells);
        step::say(&report.last_line());
    }
    for weight in weigh(&mut peers, daemon.as_ref(), &options) {
        report.add_weight(weight);
        step::say(&report.last_line());
    }
    images::tear_down();
    builds::tear_down();
    drop(peers);
    if let Some(daemon) = &mut daemon {
        daemon.stop()?;
    }
    step::say(&format!("\n{}", report.table()));
    if options.write {
        let paths = report.write(&step::workspace().join("benches"))?;
        step::say(&format!("written to {}", paths.join(" and ")));
    }
    Ok(())
}

/// One row for every engine: the samples, or why there are none.
fn measure(row: &Row, peers: &mut Peers, options: &Options) -> Vec<(Engine, Result<Samples, String>)> {
    let rounds = options.rounds_of(row);
    let mut cells: Vec<(Engine, Result<Samples, String>)> = peers
        .engines()
        .filter(|engine| row.suits(*engine))
        .map(|engine| (engine, Ok(Samples::default())))
        .collect();
    for (engine, cell) in &mut cells {
        if let Err(error) = (row.prepare)(peers, *engine) {
            *cell = Err(format!("{error:#}"));
        }
    }
    // The first round warms caches up and does not count.
    for round in 0..=rounds {
        for (engine, cell) in &mut cells {
            let Ok(samples) = cell else { continue };
            std::thread::sleep(options.idle);
            match (row.sample)(peers, *engine, round) {
                Ok(time) if round > 0 => samples.push(time),
                Ok(_) => {}
                Err(error) => *cell = Err(format!("{error:#}")),
            }
        }
    }
    for (engine, _) in &cells {
        (row.clean)(peers, *engine);
    }
    cells
}

fn weigh(peers: &mut Peers, daemon: Option<&PrivateDaemon>, options: &Options) -> Vec<Weight> {
    let mut weights = Vec::new();
    if options.wants_row("keeper-memory") {
        weights.push(memory::per_container(peers));
    }
    if options.wants_row("engine-memory") {
        // What the rows before stirred up has settled by then.
        std::thread::sleep(Duration::from_secs(2));
        weights.push(memory::at_rest(peers, daemon));
    }
    if options.wants_row("transfer-memory") {
        weights.push(memory::in_transfer(peers, daemon));
    }
    weights.extend(sizes::weigh(peers, daemon, |key| options.wants_row(key)));
    if options.wants_row("log-lines-cpu") {
        weights.push(log_lines::weigh(peers, daemon));
    }
    if options.wants_row("binaries") {
        weights.push(binaries::weigh(peers, daemon));
    }
    weights
}

/// The archive of the busybox image: the one named, or the fixture.
fn image(options: &Options) -> Result<PathBuf> {
    if let Some(path) = &options.image {
        return path.canonicalize().with_context(|| format!("find the image archive {}", path.display()));
    }
    let path = minke_testkit::fixtures::dir().join("busybox.tar");
    if !path.exists() {
        fixtures::main()?;
    }
    Ok(path)
}

/// The binary under test: the one named, or a release build made now.
fn minke_binary(options: &Options) -> Result<PathBuf> {
    let path = match &options.minke {
        Some(path) => path.clone(),
        None => {
            step::run(&["cargo", "build", "--release", "--package", "minke"])?;
            minke_testkit::tools::minke().into()
        }
    };
    path.canonicalize().with_context(|| format!("find the binary {}", path.display()))
}
