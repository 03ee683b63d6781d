//! An engine in directories of its own, with real keepers: what happens to containers from create to remove, and
//! across the engine's own end. Needs root; every test cleans up what it made.

mod builds;
mod figures;
mod harness;
mod kills;
mod overlap;

use std::time::Duration;

use harness::{Sandbox, create};
use minke_engine::containers::{ListOptions, LogOptions, RemoveOptions, WaitCondition};
use minke_engine::{Filters, Moment};

#[test]
fn a_program_runs_logs_and_ends_with_its_code() {
    let sandbox = Sandbox::open();
    let containers = sandbox.engine().containers;
    sandbox.block_on(async move {
        let id = containers
            .create(Some("one"), None, create(&["sh", "-c", "echo hello; echo oops >&2; exit 3"]))
            .await
            .expect("created")
            .id;
        let waiter = containers.wait("one", WaitCondition::NextExit).expect("there");
        containers.start("one").await.expect("started");
        assert_eq!(waiter.outcome().await.status_code, 3);
        let inspected = containers.inspect(&id[..12], false).await.expect("there");
        assert_eq!((inspected.state.status.as_str(), inspected.state.exit_code), ("exited", 3));
        assert_ne!(inspected.state.finished_at, minke_base::time::ZERO);
        let options = LogOptions { stdout: true, stderr: true, ..LogOptions::default() };
        let mut logs = containers.logs("one", options).expect("readable");
        let mut text = Vec::new();
        while let Some(batch) = logs.next().await {
            text.extend(
                batch
                    .expect("readable")
                    .into_iter()
                    .map(|line| String::from_utf8_lossy(&line.bytes).into_owned()),
            );
        }
        text.sort();
        assert_eq!(text, ["hello\n", "oops\n"]);
        containers.remove("one", RemoveOptions::default()).await.expect("removed");
        assert_eq!(
            containers.inspect(&id, false).await.expect_err("gone").message(),
            format!("No such container: {id}")
        );
    });
    sandbox.close();
}

#[test]
fn a_program_that_is_not_there_fails_with_127_and_a_name_that_is_taken_conflicts() {
    let sandbox = Sandbox::open();
    let containers = sandbox.engine().containers;
    sandbox.block_on(async move {
        containers.create(Some("lost"), None, create(&["nosuch"])).await.expect("created");
        let error = containers.start("lost").await.expect_err("no such program");
        assert!(error.message().contains("exec: \"nosuch\": executable file not found in $PATH"), "{error}");
        assert_eq!(containers.inspect("lost", false).await.expect("there").state.exit_code, 127);
        let error = containers.create(Some("lost"), None, create(&["true"])).await.expect_err("taken");
        assert!(
            error.message().starts_with("Conflict. The container name \"/lost\" is already in use"),
            "{error}"
        );
        containers.remove("lost", RemoveOptions::default()).await.expect("removed");
    });
    sandbox.close();
}

#[test]
fn stop_ends_politely_kill_at_once_and_remove_by_force() {
    let sandbox = Sandbox::open();
    let containers = sandbox.engine().containers;
    sandbox.block_on(async move {
        containers
            .create(
                Some("polite"),
                None,
                create(&["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"]),
            )
            .await
            .expect("created");
        containers.start("polite").await.expect("started");
        tokio::time::sleep(Duration::from_millis(200)).await;
        let error = containers.remove("polite", RemoveOptions::default()).await.expect_err("runs");
        assert!(error.message().contains("stop the container before removing or force remove"), "{error}");
        containers.stop("polite", Some(5), None).await.expect("stopped");
        assert_eq!(containers.inspect("polite", false).await.expect("there").state.exit_code, 7);
        containers.start("polite").await.expect("started again");
        containers.kill("polite", None).await.expect("killed");
        assert_eq!(containers.inspect("polite", false).await.expect("there").state.exit_code, 137);
        containers.start("polite").await.expect("started a third time");
        let force = RemoveOptions { force: true, ..RemoveOptions::default() };
        containers.remove("polite", force).await.expect("removed");
        assert!(
            containers
                .list(ListOptions { all: true, ..ListOptions::default() })
                .await
                .expect("listed")
                .is_empty()
        );
    });
    sandbox.close();
}

#[test]
fn a_container_outlives_its_engine_and_is_adopted() {
    let mut sandbox = Sandbox::open();
    let containers = sandbox.engine().containers;
    let pid = sandbox.block_on(async move {
        for (name, script) in [("stays", "echo first; sleep 600"), ("ends", "sleep 0.5; exit 9")] {
            containers.create(Some(name), None, create(&["sh", "-c", script])).await.expect("created");
            containers.start(name).await.expect("started");
        }
        containers.inspect("stays", false).await.expect("there").state.pid
    });
    sandbox.kill();
    std::thread::sleep(Duration::from_millis(900));
    sandbox.reopen();
    let containers = sandbox.engine().containers;
    sandbox.block_on(async move {
        let stays = containers.inspect("stays", false).await.expect("there").state;
        assert_eq!((stays.status.as_str(), stays.pid), ("running", pid));
        let ends = containers.inspect("ends", false).await.expect("there").state;
        assert_eq!((ends.status.as_str(), ends.exit_code), ("exited", 9));
        containers.stop("stays", Some(0), None).await.expect("its new engine stops it");
        for name in ["stays", "ends"] {
            containers.remove(name, RemoveOptions::default()).await.expect("removed");
        }
    });
    sandbox.close();
}

#[test]
fn a_restart_policy_starts_it_again_until_its_limit() {
    let sandbox = Sandbox::open();
    let (containers, events) = (sandbox.engine().containers, sandbox.engine().events);
    sandbox.block_on(async move {
        let mut request = create(&["sh", "-c", "exit 1"]);
        request.host_config.restart_policy.name = "on-failure".into();
        request.host_config.restart_policy.maximum_retry_count = 2;
        containers.create(Some("again"), None, request).await.expect("created");
        containers.start("again").await.expect("started");
        let mut events = events.subscribe(Some(Moment(1)), None, Filters::from_iter([("event", "die")]));
        for _ in 0..3 {
            tokio::time::timeout(Duration::from_secs(10), events.next())
                .await
                .expect("in time")
                .expect("open");
        }
        let state = containers.inspect("again", false).await.expect("there");
        assert_eq!((state.state.status.as_str(), state.restart_count), ("exited", 2));
        containers.remove("again", RemoveOptions::default()).await.expect("removed");
    });
    sandbox.close();
}
