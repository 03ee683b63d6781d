//! The composition root: opens the parts in order, wires them, shuts them down. It has no verbs.

use std::collections::BTreeSet;
use std::sync::Arc;

use minke_store::{Store, StoreOptions};

use crate::builds::Builds;
use crate::config::Config;
use crate::containers::{Container, Containers, Parts, Phase, Registry};
use crate::error::{Error, Result};
use crate::events::Events;
use crate::images::Images;
use crate::keepers::Blanks;
use crate::ledger::Ledger;
use crate::networks::Networks;
use crate::recovery::{self, Lock};
use crate::registries::Registries;
use crate::spec::HostFacts;
use crate::system::System;
use crate::volumes::Volumes;

/// An open engine. Cheap to clone; the services live as long as somebody holds one.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Builds.
    pub builds: Arc<Builds>,
    /// Containers.
    pub containers: Arc<Containers>,
    /// Images.
    pub images: Arc<Images>,
    /// Networks.
    pub networks: Arc<Networks>,
    /// Volumes.
    pub volumes: Arc<Volumes>,
    /// Registries.
    pub registries: Arc<Registries>,
    /// What happens.
    pub events: Arc<Events>,
    /// The engine about itself.
    pub system: Arc<System>,
    ledger: Arc<Ledger>,
    /// Kept until the last clone goes: the directories are this engine's until then.
    _locks: Arc<[Lock; 2]>,
}

impl Engine {
    /// Opens the engine: afterwards every container that runs is adopted and every record is true.
    pub async fn open(config: Config) -> Result<Self> {
        let config = Arc::new(config);
        config.cgroup_driver.require().map_err(Error::invalid)?;
        make_directories(&config)?;
        let locks = Arc::new([Lock::take(&config.data_root)?, Lock::take(&config.exec_root)?]);
        // Before anything else takes memory: the nursery is another program, started once.
        let cgroup_parent = config.cgroup_driver.prepared(&config.cgroup_parent);
        if let Some(parent) = &cgroup_parent
            && let Err(error) = recovery::note_missing(&config.exec_root, parent)
        {
            tracing::warn!(%error, "the cgroups that are made now will stay");
        }
        let blanks = Blanks::start(config.keeper_program.clone(), cgroup_parent, config.blanks)
            .map_err(|source| Error::failed("start the nursery of keepers", source))?;
        let registries = Arc::new(Registries::new(config.registries.clone())?);
        let ledger = Arc::new(
            Ledger::open(&config.data_root.join("minke.db"))
                .map_err(|source| Error::failed("open the engine's records", source))?,
        );
        let facts = Arc::new(HostFacts::read());
        let events = Arc::new(Events::new());
        let registry = Arc::new(Registry::default());
        let options = StoreOptions { driver: config.storage_driver, ..StoreOptions::default() };
        let store = Arc::new(
            Store::open(&config.data_root, &options)
                .map_err(|source| Error::failed("open the image store", source))?,
        );
        let (images, warnings) = Images::open(
            Arc::clone(&store),
            Arc::clone(&ledger),
            Arc::clone(&events),
            Arc::clone(&registry),
            config.transfers,
        )?;
        let images = Arc::new(images);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        restore_containers(&ledger, &images, &registry)?;
        let networks = Arc::new(Networks::open(
            &config,
            Arc::clone(&ledger),
            Arc::clone(&events),
            Arc::clone(&registry),
        )?);
        for warning in networks.warnings() {
            tracing::warn!("{warning}");
        }
        let volumes =
            Arc::new(Volumes::open(&config.data_root, Arc::clone(&ledger), Arc::clone(&events), &registry)?);
        let containers = Containers::new(Parts {
            config: Arc::clone(&config),
            facts: Arc::clone(&facts),
            ledger: Arc::clone(&ledger),
            events: Arc::clone(&events),
            images: Arc::clone(&images),
            networks: Arc::clone(&networks),
            volumes: Arc::clone(&volumes),
            store: Arc::clone(&store),
            blanks,
            registry,
        });
        containers.restore_links();
        recovery::adopt_all(&containers).await;
        recovery::report_lost(&containers);
        let strays = recovery::sweep(&containers, BTreeSet::new()).await;
        recovery::sweep_again_later(&containers, strays);
        let builds = Builds::open(Arc::clone(&store), Arc::clone(&containers), Arc::clone(&ledger))?;
        let id = ledger.setting("engine.id", uuid)?;
        let system = Arc::new(System {
            id,
            config,
            facts,
            store,
            events: Arc::clone(&events),
            images: Arc::clone(&images),
            networks: Arc::clone(&networks),
            volumes: Arc::clone(&volumes),
            containers: Arc::clone(&containers),
            builds: Arc::clone(&builds),
        });
        Ok(Self {
            builds,
            containers,
            images,
            networks,
            volumes,
            registries,
            events,
            system,
            ledger,
            _locks: locks,
        })
    }

    /// Before the process ends: what was removed goes off the disk, cgroups that nothing is in any more go, and the ledger's log
    /// goes into its file. Containers run on, unless they were stopped ([`Containers::stop_all`]).
    pub async fn shutdown(&self) {
        self.containers.save_all_health();
        self.containers.settle(std::time::Duration::from_secs(5)).await;
        let ledger = Arc::clone(&self.ledger);
        let done = tokio::task::spawn_blocking(move || ledger.checkpoint()).await;
        if let Err(error) = recovery::remove_empty(&self.system.config.exec_root) {
            tracing::warn!(%error, "empty cgroups stay");
        }
        if let Ok(Err(error)) = done {
            tracing::warn!(error = %crate::error::chain(&error), "the ledger's log stays beside its file");
        }
    }
}

fn make_directories(config: &Config) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    for (path, mode) in [
        (config.data_root.clone(), 0o710),
        (config.data_root.join("containers"), 0o710),
        (config.exec_root.clone(), 0o711),
        (config.exec_root.join("containers"), 0o700),
    ] {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(&path)
            .map_err(|source| Error::failed(format!("make {}", path.display()), source))?;
    }
    Ok(())
}

/// A record that cannot be read is reported and left alone: throwing it away is for a person to decide.
fn restore_containers(ledger: &Ledger, images: &Images, registry: &Registry) -> Result<()> {
    for row in ledger.containers()? {
        let id = row.id.parse::<minke_base::ContainerId>();
        let (Ok(id), Ok(record), Ok(life)) = (
            id,
            serde_json::from_str::<crate::containers::Record>(&row.record),
            serde_json::from_str::<crate::containers::Life>(&row.life),
        ) else {
            tracing::error!(container = row.id, "its record cannot be read");
            continue;
        };
        let image = images.of_container(&record.image, &record.layers);
        let mut life = life;
        if life.phase == Phase::Removing {
            // A removal that was not finished is recorded only when it is: the container is still there.
            life.phase = Phase::Exited;
        }
        let container = Container::new(id, record, life, image);
        container.set_recorded();
        registry.restore(container);
    }
    Ok(())
}

fn uuid() -> String {
    let digits = minke_base::ContainerId::random();
    let text = digits.as_str();
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..32])
}
