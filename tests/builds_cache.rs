//! The build cache as its clients see it: what it holds, and what of it goes.

use std::time::Duration;

use minke_testkit::{Client, Daemon, Run, Spawned, wait_until};
use serde_json::Value;

const SECONDS: Duration = Duration::from_secs(20);

#[track_caller]
fn build(daemon: &Daemon, name: &str, text: &str) -> Run {
    Run::new(daemon.command(Client::Minke, &["build", "-t", name, "-"]), text.as_bytes()).ok()
}

/// The records that `system df` knows.
fn records(daemon: &Daemon) -> Vec<Value> {
    let told = daemon.minke(&["system", "df", "-v", "--format", "{{json .BuildCache}}"]).ok();
    serde_json::from_str(told.text()).expect("JSON")
}

fn of_kind(daemon: &Daemon, kind: &str) -> usize {
    records(daemon).iter().filter(|record| record["CacheType"] == kind).count()
}

/// The line of a table that begins with a word, its fields by two spaces or more.
fn line(table: &str, begin: &str) -> Vec<String> {
    let line = table.lines().find(|line| line.starts_with(begin)).unwrap_or_default();
    line.split("  ").map(|field| field.trim().to_owned()).filter(|field| !field.is_empty()).collect()
}

const TEXT: &str = "FROM busybox\nRUN dd if=/dev/zero of=/two bs=1000000 count=2\n\
    RUN --mount=type=cache,id=kept,target=/c dd if=/dev/zero of=/c/three bs=1000000 count=3\nENV A=b\n";

#[test]
fn system_df_shows_what_the_cache_holds() {
    let daemon = Daemon::start();
    for client in [Client::Minke, Client::Docker] {
        let table = daemon.run(client, &["system", "df"]).ok();
        assert_eq!(line(table.text(), "Build Cache"), ["Build Cache", "0", "0", "0B", "0B"]);
    }
    build(&daemon, "df:1", TEXT).done();
    for client in [Client::Minke, Client::Docker] {
        // The image has its layers as well: they count there.
        let table = daemon.run(client, &["system", "df"]).ok();
        assert_eq!(line(table.text(), "Build Cache"), ["Build Cache", "4", "0", "3MB", "3MB"]);
        let long = daemon.run(client, &["system", "df", "-v"]).ok();
        let text = long.text();
        assert!(text.contains("\nBuild cache usage: 3MB\n\nCACHE ID"), "{long}");
        let head = ["CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"];
        assert_eq!(line(text, "CACHE ID"), head);
        let kinds: Vec<Vec<String>> = text
            .lines()
            .skip_while(|line| !line.starts_with("CACHE ID"))
            .skip(1)
            .map(|row| line(row, ""))
            .collect();
        assert_eq!(kinds.len(), 4, "{long}");
        for row in kinds {
            let (mount, shared) = (row[1] == "exec.cachemount", row[6] == "true");
            let size = if mount {
                "3MB"
            } else if shared && row[2] != "0B" {
                "2MB"
            } else {
                "0B"
            };
            assert_eq!((row.len(), row[0].len(), row[2].as_str()), (7, 12, size), "{row:?}");
        }
    }
    build(&daemon, "df:2", TEXT).done();
    let script = "import docker, json, sys\n\
        c = docker.APIClient(base_url=sys.argv[1], version=sys.argv[2])\n\
        d = c.df()\n\
        print(json.dumps({'b': d['BuildCache'], 's': d.get('BuilderSize')}))\n";
    let asked = |version: &str| -> Value {
        let mut command = std::process::Command::new("python3");
        command.args(["-c", script, &daemon.host(), version]);
        serde_json::from_str(Run::new(command, b"").ok().text()).expect("JSON")
    };
    let told = asked("1.51");
    let find = |text: &str| {
        let mut all = told["b"].as_array().expect("a list").iter();
        all.find(|record| record["Description"] == text).unwrap_or_else(|| panic!("{text}: {told}"))
    };
    let first = find("RUN dd if=/dev/zero of=/two bs=1000000 count=2");
    assert_eq!(
        (&first["Type"], first["Size"].as_u64(), first.get("Parents")),
        (&"regular".into(), Some(2_000_000), None)
    );
    assert_eq!(
        (&first["InUse"], &first["Shared"], first["UsageCount"].as_u64()),
        (&false.into(), &true.into(), Some(1))
    );
    assert_ne!(first["CreatedAt"], first["LastUsedAt"], "{first}");
    let last = find("ENV A=b");
    let between =
        told["b"].as_array().expect("a list").iter().find(|record| last["Parents"][0] == record["ID"]);
    assert_eq!(between.expect("its parent")["Parents"][0], first["ID"], "{told}");
    assert_eq!(find("cached mount with id \"kept\"")["Size"].as_u64(), Some(3_000_000));
    let old = asked("1.41");
    assert_eq!(old["s"].as_u64(), Some(5_000_000));
    assert!(old["b"].as_array().expect("a list").iter().all(|record| record.get("Parents").is_none()));
}

#[test]
fn prune_takes_what_filters_and_limits_say() {
    let daemon = Daemon::start();
    let prune = |client: Client, args: &[&str]| {
        let mut command = daemon.command(client, &[&["builder", "prune"], args].concat());
        command.env("DOCKER_BUILDKIT", "0");
        Run::new(command, b"n\n").ok().stdout
    };
    let nothing = "Total reclaimed space: 0B\n";
    build(&daemon, "pruned", TEXT).done();
    for client in [Client::Minke, Client::Docker] {
        let asked =
            "WARNING! This will remove all dangling build cache. Are you sure you want to continue? [y/N] ";
        assert!(prune(client, &[]).starts_with(asked));
        assert_eq!(prune(client, &["-f", "--filter", "until=24h"]), nothing);
        assert_eq!(prune(client, &["-f", "--filter", "type=regular", "--filter", "shared=true"]), nothing);
        assert_eq!(prune(client, &["-f", "--keep-storage", "4mb"]), nothing);
        daemon
            .run(client, &["builder", "prune", "-f", "--filter", "colour=red"])
            .exits(1)
            .complains("failed to prune build cache: invalid filter 'colour'")
            .done();
    }
    for limit in ["--reserved-space=3mb", "--max-used-space=3mb", "--min-free-space=1b"] {
        assert_eq!(prune(Client::Minke, &["-f", limit]), nothing, "{limit}");
    }
    // Only what the image does not have is 3 MB, in one piece.
    let gone = prune(Client::Docker, &["-f", "--keep-storage", "1mb"]);
    assert!(gone.contains("\n\nTotal reclaimed space: 3MB\n"), "{gone}");
    assert_eq!(of_kind(&daemon, "exec.cachemount"), 0, "{:?}", records(&daemon));
    daemon.minke(&["rmi", "pruned"]).ok().done();
    assert!(of_kind(&daemon, "regular") >= 2, "the cache keeps the layers: {:?}", records(&daemon));
    let table = daemon.minke(&["system", "df"]).ok();
    assert_eq!(line(table.text(), "Build Cache")[3..], ["2MB", "2MB"], "{table}");
    let gone = prune(
        Client::Minke,
        &["-f", "--filter", "description=RUN dd if=/dev/zero of=/two bs=1000000 count=2"],
    );
    assert_eq!(
        (gone.lines().count(), gone.lines().last()),
        (4, Some("Total reclaimed space: 2MB")),
        "{gone}"
    );
    let run = build(&daemon, "pruned", TEXT);
    assert!(run.stderr.contains("[2/4] RUN dd") && run.stderr.matches("CACHED").count() < 3, "{run}");
    run.done();
    // `system prune` takes what nobody uses, and tells it as docker does.
    daemon.minke(&["rmi", "pruned"]).ok().done();
    let all = daemon.docker(&["system", "prune", "-f"]).ok();
    assert!(all.text().starts_with("Deleted build cache objects:\n"), "{all}");
    assert!(all.text().ends_with("\n\nTotal reclaimed space: 2MB"), "{all}");
    assert!(records(&daemon).is_empty());
    build(&daemon, "pruned", TEXT).done();
    let all = daemon.minke(&["system", "prune", "-af"]).ok();
    assert!(
        all.text().contains("deleted: sha256:") && all.text().contains("\nDeleted build cache objects:\n"),
        "{all}"
    );
    assert!(records(&daemon).is_empty());
}

#[test]
fn what_a_build_has_in_use_stays() {
    let daemon = Daemon::start();
    let text = "FROM busybox\nRUN echo before > /before\n\
        RUN --mount=type=cache,id=busy,target=/c echo kept > /c/f; sleep 600\n";
    std::fs::write(daemon.path().join("Dockerfile"), text).expect("written");
    let path = daemon.path().join("Dockerfile").display().to_string();
    let building = Spawned::new(
        daemon.command(Client::Minke, &["build", "-f", &path, &daemon.path().display().to_string()]),
    );
    let written = || {
        let records = records(&daemon);
        records.len() == 2
            && records.iter().any(|record| record["Size"] == "5B" && record["CacheType"] != "regular")
    };
    wait_until("the step has written to its cache", SECONDS, written);
    let table = daemon.docker(&["system", "df"]).ok();
    assert_eq!(line(table.text(), "Build Cache")[1..3], ["2", "2"], "{table}");
    let pruned = daemon.minke(&["builder", "prune", "-af"]).ok();
    assert_eq!(pruned.text(), "Total reclaimed space: 0B");
    building.signal(rustix::process::Signal::KILL);
    drop(building);
    let active = || line(daemon.minke(&["system", "df"]).ok().text(), "Build Cache")[2].clone();
    wait_until("the build has ended", SECONDS, || active() == "0");
    let pruned = daemon.minke(&["builder", "prune", "-f", "--filter", "type=regular"]).ok();
    assert_eq!(pruned.text().lines().count(), 4, "{pruned}");
    build(&daemon, "after", "FROM busybox\nRUN --mount=type=cache,id=busy,target=/c cat /c/f > /f\n").done();
    assert_eq!(daemon.minke(&["run", "--rm", "after", "cat", "/f"]).ok().text(), "kept");
}
