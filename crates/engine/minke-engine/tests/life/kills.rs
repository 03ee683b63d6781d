//! The engine goes away at random moments while clients create, start and remove.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use minke_engine::Containers;
use minke_engine::containers::{ListOptions, RemoveOptions};

use super::harness::{Sandbox, create};

/// What clients were told, by name: `Some(running)` of a container that is there, `None` of one that is gone. A name
/// is missing while a request about it is under way: then either outcome is right.
type Told = Arc<Mutex<BTreeMap<String, Option<bool>>>>;

fn tell(told: &Told, name: &str, what: Option<Option<bool>>) {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    match what {
        Some(what) => drop(told.insert(name.to_owned(), what)),
        None => drop(told.remove(name)),
    }
}

async fn traffic(containers: Arc<Containers>, told: Told, client: usize, round: usize) {
    for number in 0.. {
        let name = format!("c{client}-{round}-{number}");
        containers.create(Some(&name), None, create(&["sleep", "600"])).await.expect("created");
        tell(&told, &name, Some(Some(false)));
        tell(&told, &name, None);
        containers.start(&name).await.expect("started");
        tell(&told, &name, Some(Some(true)));
        if number % 3 != 0 {
            tell(&told, &name, None);
            let force = RemoveOptions { force: true, ..RemoveOptions::default() };
            containers.remove(&name, force).await.expect("removed");
            tell(&told, &name, Some(None));
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kills_at_random_moments_and_nothing_leaks() {
    let mut sandbox = Sandbox::open();
    let told = Told::default();
    for round in 0..8 {
        let containers = sandbox.engine().containers;
        sandbox.block_on(async {
            for client in 0..3 {
                tokio::spawn(traffic(Arc::clone(&containers), Arc::clone(&told), client, round));
            }
        });
        drop(containers);
        let moment = Duration::from_millis(30 + u64::from(std::process::id() % 7) * 13 + 41 * round as u64);
        sandbox.block_on(async move { tokio::time::sleep(moment).await });
        sandbox.kill();
        sandbox.reopen();
        let containers = sandbox.engine().containers;
        let list = sandbox.block_on(containers.list(ListOptions { all: true, ..ListOptions::default() }));
        let found: BTreeMap<String, bool> = list
            .expect("listed")
            .into_iter()
            .map(|one| (one.names[0].trim_start_matches('/').to_owned(), one.state == "running"))
            .collect();
        for (name, what) in told.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            assert_eq!(found.get(name).copied(), *what, "{name} in round {round}");
        }
    }
    sandbox.close();
}
