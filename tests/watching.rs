//! Watching containers: `stats`, `top`, `exec`, `update`, sizes.

use std::time::Duration;

use minke_testkit::{Client, Daemon, Terminal, wait_until};
use serde_json::Value;

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

fn name(client: Client, what: &str) -> String {
    format!("copy-{what}-{client:?}").to_lowercase()
}

#[track_caller]
fn sleeper(daemon: &Daemon, client: Client, name: &str, args: &[&str]) {
    daemon
        .run(client, &[&["run", "-d", "--name", name], args, &["busybox", "sleep", "1000"]].concat())
        .ok()
        .done();
}

#[track_caller]
fn drop_all(daemon: &Daemon, names: &[&str]) {
    daemon.docker(&[&["rm", "-f", "-v"], names].concat()).ok().done();
}

/// A JSON answer of the API, by curl.
#[track_caller]
fn get(daemon: &Daemon, path: &str) -> Value {
    let mut command = std::process::Command::new("curl");
    let host = daemon.host();
    let socket = host.strip_prefix("unix://").expect("a unix socket");
    command.args(["-s", "--max-time", "20", "--unix-socket", socket, &format!("http://d{path}")]);
    let output = command.output().expect("curl");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!("{path}: {e}: {}", String::from_utf8_lossy(&output.stdout));
    })
}

fn number(sample: &Value, pointer: &str) -> u64 {
    sample.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer} in {sample}"))
}

#[test]
fn a_sample_has_every_field_that_clients_read() {
    let daemon = Daemon::start();
    let script = "i=0; while :; do i=$((i+1)); done";
    daemon
        .docker(&[
            "run",
            "-d",
            "--name",
            "copy-busy",
            "-m",
            "64m",
            "--cpus",
            "0.5",
            "busybox",
            "sh",
            "-c",
            script,
        ])
        .ok()
        .done();
    std::thread::sleep(Duration::from_millis(300));
    let sample = get(&daemon, "/v1.44/containers/copy-busy/stats?stream=0");
    assert_eq!(sample["name"], "/copy-busy");
    assert_eq!(sample["id"].as_str().map(str::len), Some(64));
    assert_eq!(number(&sample, "/memory_stats/limit"), 64 << 20);
    assert!(number(&sample, "/memory_stats/usage") > 0);
    assert_eq!(number(&sample, "/pids_stats/current"), 1);
    let used = number(&sample, "/cpu_stats/cpu_usage/total_usage");
    let before = number(&sample, "/precpu_stats/cpu_usage/total_usage");
    let all =
        number(&sample, "/cpu_stats/system_cpu_usage") - number(&sample, "/precpu_stats/system_cpu_usage");
    assert!(used > before && all > 0, "{sample}");
    assert!(number(&sample, "/cpu_stats/online_cpus") > 0);
    assert!(number(&sample, "/cpu_stats/throttling_data/periods") > 0, "{sample}");
    assert!(sample["memory_stats"]["stats"].is_object());
    assert!(sample["networks"]["eth0"]["rx_bytes"].is_u64(), "{sample}");
    assert!(
        sample["blkio_stats"].as_object().is_some_and(|all| all.contains_key("io_service_bytes_recursive"))
    );
    assert!(sample["storage_stats"].is_object());
    assert!(sample["read"].as_str() > sample["preread"].as_str());

    let shot = get(&daemon, "/v1.44/containers/copy-busy/stats?stream=0&one-shot=1");
    assert_eq!(shot["preread"], "0001-01-01T00:00:00Z");
    let refused = get(&daemon, "/v1.44/containers/copy-busy/stats?stream=1&one-shot=1");
    assert_eq!(refused["message"], "cannot have stream=true and one-shot=true");
    let missing = get(&daemon, "/v1.44/containers/copy-nobody/stats?stream=0");
    assert_eq!(missing["message"], "No such container: copy-nobody");

    daemon.docker(&["kill", "copy-busy"]).ok().done();
    let rest = get(&daemon, "/v1.44/containers/copy-busy/stats?stream=0");
    assert_eq!(
        (&rest["read"], &rest["pids_stats"]),
        (&Value::from("0001-01-01T00:00:00Z"), &serde_json::json!({}))
    );
    drop_all(&daemon, &["copy-busy"]);
}

#[test]
fn stats_are_shown_as_a_table() {
    let daemon = Daemon::start();
    for client in BOTH {
        let own = name(client, "table");
        sleeper(&daemon, client, &own, &["-m", "32m"]);
        let table = daemon.run(client, &["stats", "--no-stream", &own]).ok();
        let mut lines = table.text().lines();
        let heading: Vec<&str> =
            lines.next().expect("a heading").split("  ").filter(|w| !w.is_empty()).map(str::trim).collect();
        assert_eq!(
            heading,
            ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]
        );
        let row = lines.next().expect("a row");
        assert!(row.contains(&own) && row.contains("/ 32MiB") && row.trim_end().ends_with('1'), "{row}");
        let json = daemon.run(client, &["stats", "--no-stream", "--format", "json", &own]).ok().json();
        assert_eq!((json["Name"].as_str(), json["PIDs"].as_str()), (Some(own.as_str()), Some("1")));
        assert!(json["CPUPerc"].as_str().is_some_and(|text| text.ends_with('%')), "{json}");
        daemon.run(client, &["stats", "--no-stream"]).ok().says(&own).done();
        daemon
            .run(client, &["stats", "--no-stream", "copy-nobody"])
            .exits(1)
            .complains("No such container: copy-nobody")
            .done();
        drop_all(&daemon, &[&own]);
    }
}

/// The table goes on by itself, and follows what comes and goes.
#[test]
fn a_stream_of_stats_follows_the_containers() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    sleeper(&daemon, Client::Minke, "first", &[]);
    let mut terminal = Terminal::spawn(&daemon.command(Client::Minke, &["stats"]), 24, 120);
    terminal.expect("first");
    sleeper(&daemon, Client::Minke, "second", &[]);
    terminal.expect("second");
    terminal.send("\x03");
    terminal.wait();
    drop_all(&daemon, &["first", "second"]);
}

#[test]
fn top_shows_the_host_s_view_in_ps_s_columns() {
    let daemon = Daemon::start();
    for client in BOTH {
        let own = name(client, "top");
        sleeper(&daemon, client, &own, &[]);
        let shown = daemon.run(client, &["top", &own]).ok();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut lines = shown.text().lines();
        assert_eq!(
            words(lines.next().expect("a heading")),
            ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        );
        assert!(lines.next().is_some_and(|row| row.contains("sleep 1000")), "{shown}");
        let shown = daemon.run(client, &["top", &own, "-o", "pid,args"]).ok();
        assert_eq!(words(shown.text().lines().next().expect("a heading")), ["PID", "COMMAND"]);
        daemon.run(client, &["top", &own, "aux"]).ok().says("%MEM").says("sleep 1000").done();
        daemon.docker(&["kill", &own]).ok().done();
        daemon.run(client, &["top", &own]).exits(1).complains("is not running").done();
        drop_all(&daemon, &[&own]);
    }
}

/// `top` as ps prints it with these options; on a real Docker that is the host's ps.
#[test]
fn top_takes_what_ps_takes() {
    let daemon = Daemon::start();
    for client in BOTH {
        let own = name(client, "ps");
        let script = "sleep 1001 & sleep 1002 & wait";
        daemon.run(client, &["run", "-d", "--name", &own, "busybox", "sh", "-c", script]).ok().done();
        let rows = |args: &[&str]| -> Vec<Vec<String>> {
            let run = daemon.run(client, &[&["top", &own], args].concat()).ok();
            run.stdout.lines().map(|row| row.split_whitespace().map(str::to_owned).collect()).collect()
        };
        wait_until("all of it runs", Duration::from_secs(20), || rows(&["-C", "sleep"]).len() == 3);
        for (args, wanted) in [
            (&["-eo", "pid,comm"][..], "PID COMMAND"),
            (&["-o", "pid", "-o", "comm"], "PID COMMAND"),
            (&["-e"], "PID TTY TIME CMD"),
            (&["ax"], "PID TTY STAT TIME COMMAND"),
            (&["aux"], "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            (&["-eLf"], "UID PID PPID LWP C NLWP STIME TTY TIME CMD"),
            (&["-el"], "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD"),
            (&["-F"], "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD"),
            (&["-ej"], "PID PGID SID TTY TIME CMD"),
            (&["-o", "pid,tty,tname,start_time,start"], "PID TT TTY START STARTED"),
        ] {
            let shown = rows(args);
            assert_eq!(shown[0].join(" "), wanted, "{args:?}");
            assert_eq!(shown.len(), 4, "{args:?}: {shown:?}");
        }
        let column = |args: &[&str], at: usize| {
            rows(args).into_iter().skip(1).map(|row| row[at..].join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(column(&["-eo", "pid,comm"], 1), ["sh", "sleep", "sleep"]);
        let sorted = column(&["-eo", "pid,args", "--sort=-pid"], 1);
        assert_eq!(sorted, ["sleep 1002", "sleep 1001", &format!("sh -c {script}")]);
        assert_eq!(column(&["-o", "pid,s,nlwp"], 1), ["S 1", "S 1", "S 1"]);
        assert_eq!(
            column(&["x"], 3),
            [format!("0:00 sh -c {script}"), "0:00 sleep 1001".into(), "0:00 sleep 1002".into()]
        );
        assert_eq!(column(&["axf"], 4)[1], "\\_ sleep 1001");
        for (args, told) in [
            (&["-eo", "comm"][..], "Couldn't find PID field in ps output"),
            (&["-o", "pid,bad"], "ps: error: unknown user-defined format specifier \"bad\""),
        ] {
            daemon.run(client, &[&["top", &own], args].concat()).exits(1).complains(told).done();
        }
        daemon.run(client, &["rm", "-f", &own]).ok().done();
    }
}

#[test]
fn exec_has_its_user_place_variables_and_statuses() {
    let daemon = Daemon::start();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "FROM_FILE=yes\n# no\nC=file\n").expect("write it");
    let env_file = file.path().to_str().expect("a path");
    for client in BOTH {
        let own = name(client, "exec");
        sleeper(&daemon, client, &own, &["-e", "A=1"]);
        let exec = |args: &[&str]| daemon.run(client, &[&["exec"], args].concat());
        let script = "echo $(id -u):$(id -g) $PWD $A $B $FROM_FILE";
        let said =
            exec(&["-u", "5:6", "-w", "/tmp", "-e", "B=2", "--env-file", env_file, &own, "sh", "-c", script]);
        assert_eq!(said.ok().text(), "5:6 /tmp 1 2 yes");
        exec(&[&own, "sh", "-c", "exit 9"]).exits(9).done();
        exec(&[&own, "nosuch"]).exits(127).done();
        exec(&[&own, "/etc"]).exits(126).done();
        let typed = daemon.run_with_input(client, &["exec", "-i", &own, "cat"], b"typed\n").ok();
        assert_eq!(typed.stdout, "typed\n");
        exec(&["-d", &own, "sh", "-c", "echo $$ > /tmp/detached; sleep 1000"]).ok().done();
        wait_until("it ran", Duration::from_secs(5), || exec(&[&own, "cat", "/tmp/detached"]).code == 0);
        let ids = daemon.inspect(&own, "{{json .ExecIDs}}");
        let ids: Vec<String> = serde_json::from_str(&ids).unwrap_or_else(|e| panic!("{ids}: {e}"));
        assert_eq!(ids.len(), 1, "{ids:?}");
        let found = get(&daemon, &format!("/v1.44/exec/{}/json", ids[0]));
        assert_eq!((&found["Running"], &found["ExitCode"]), (&Value::Bool(true), &Value::Null));
        assert_eq!(found["ProcessConfig"]["entrypoint"], "sh");
        assert!(found["Pid"].as_i64().is_some_and(|pid| pid > 0));

        daemon.docker(&["pause", &own]).ok().done();
        exec(&[&own, "true"]).exits(1).complains("is paused, unpause the container before exec").done();
        daemon.docker(&["unpause", &own]).ok().done();
        daemon.docker(&["kill", &own]).ok().done();
        exec(&[&own, "true"]).exits(1).complains("is not running").done();
        exec(&["copy-nobody", "true"]).exits(1).complains("No such container: copy-nobody").done();
        drop_all(&daemon, &[&own]);
    }
}

#[test]
fn exec_in_a_terminal_can_be_left_by_keys() {
    let daemon = Daemon::start();
    for client in BOTH {
        let own = name(client, "keys");
        sleeper(&daemon, client, &own, &[]);
        let command = daemon.command(client, &["exec", "-it", "--detach-keys", "ctrl-x,q", &own, "sh"]);
        let mut terminal = Terminal::spawn(&command, 20, 70);
        terminal.expect("/ # ");
        terminal.send("stty size\r");
        terminal.expect("20 70");
        terminal.send("\x18q");
        terminal.wait();
        let ids = daemon.inspect(&own, "{{len .ExecIDs}}");
        assert_eq!(ids, "1", "the shell runs on");
        drop_all(&daemon, &[&own]);
    }
}

#[test]
fn limits_of_a_running_container_can_be_changed() {
    let daemon = Daemon::start();
    for client in BOTH {
        let own = name(client, "update");
        sleeper(&daemon, client, &own, &["-m", "64m", "--cpus", "1"]);
        let update = |args: &[&str]| daemon.run(client, &[&["update"], args, &[own.as_str()]].concat());
        update(&[]).exits(1).complains("you must provide one or more flags when using this command").done();
        assert_eq!(
            update(&["-m", "96m", "--memory-swap", "192m", "--pids-limit", "77", "--cpu-shares", "300"])
                .ok()
                .text(),
            own
        );
        let shown = daemon
            .inspect(&own, "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.CpuShares}}");
        assert_eq!(shown, format!("{} 77 300", 96 << 20));
        let sample = get(&daemon, &format!("/v1.44/containers/{own}/stats?stream=0&one-shot=1"));
        assert_eq!(number(&sample, "/memory_stats/limit"), 96 << 20);
        assert_eq!(number(&sample, "/pids_stats/limit"), 77);
        update(&["--cpus", "0.5"]).ok().done();
        assert_eq!(daemon.inspect(&own, "{{.HostConfig.NanoCpus}}"), "500000000");
        update(&["--restart", "on-failure:3"]).ok().done();
        assert_eq!(daemon.inspect(&own, "{{.HostConfig.RestartPolicy.Name}}"), "on-failure");
        update(&["--cpu-quota", "50000"])
            .exits(1)
            .complains("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
            .done();
        update(&["-m", "500m"])
            .exits(1)
            .complains("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
            .done();
        update(&["-m", "1m"]).exits(1).complains("Minimum memory limit allowed is 6MB").done();
        update(&["--restart", "foo"])
            .exits(1)
            .complains("invalid restart policy: unknown policy 'foo'")
            .done();
        drop_all(&daemon, &[&own]);
    }
}

/// Each is changed while the container runs, and read back from its own cgroup.
#[test]
fn the_other_resources_can_be_changed_too() {
    let daemon = Daemon::start();
    for client in BOTH {
        let own = name(client, "resources");
        sleeper(&daemon, client, &own, &["-m", "64m", "--pids-limit", "50", "--cpuset-cpus", "0,1"]);
        let update = |args: &[&str]| daemon.run(client, &[&["update"], args, &[own.as_str()]].concat());
        let value = |v1: &str, v2: &str| {
            let script = format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}");
            daemon.run(client, &["exec", &own, "sh", "-c", &script]).ok().text().to_owned()
        };
        for (flag, word, v1, v2, wanted) in [
            ("--cpuset-cpus", "1", "cpuset/cpuset.cpus", "cpuset.cpus", "1"),
            ("--cpuset-mems", "0", "cpuset/cpuset.mems", "cpuset.mems", "0"),
            ("--memory-reservation", "48m", "memory/memory.soft_limit_in_bytes", "memory.low", "50331648"),
            ("--cpu-period", "50000", "cpu/cpu.cfs_period_us", "cpu.max", "50000"),
            ("--cpu-quota", "25000", "cpu/cpu.cfs_quota_us", "cpu.max", "25000"),
            ("--pids-limit", "-1", "pids/pids.max", "pids.max", "max"),
        ] {
            assert_eq!(update(&[flag, word]).ok().text(), own);
            let found = value(v1, v2);
            assert!(found.split_whitespace().any(|part| part == wanted), "{flag} {word}: {found}");
        }
        let facts = "{{.HostConfig.CpusetCpus}} {{.HostConfig.CpusetMems}} {{.HostConfig.MemoryReservation}} \
            {{.HostConfig.CpuPeriod}} {{.HostConfig.CpuQuota}}";
        assert_eq!(daemon.inspect(&own, facts), "1 0 50331648 50000 25000");
        update(&["--cpuset-cpus", "4096"]).exits(1).done();
        assert_eq!(daemon.inspect(&own, "{{.HostConfig.CpusetCpus}}"), "1", "what fails changes nothing");
        drop_all(&daemon, &[&own]);
    }
}

/// `--privileged` gives the command what the container lacks; who has no root keeps none.
#[test]
fn exec_can_be_privileged() {
    let daemon = Daemon::start();
    for client in BOTH {
        let own = name(client, "raised");
        sleeper(&daemon, client, &own, &[]);
        let effective = |flags: &[&str]| {
            let tail = ["grep", "CapEff", "/proc/self/status"];
            let found = daemon.run(client, &[&["exec"], flags, &[own.as_str()], &tail].concat()).ok();
            let word = found.text().split_whitespace().last().unwrap_or_default().to_owned();
            u64::from_str_radix(&word, 16).unwrap_or_else(|e| panic!("{word}: {e}"))
        };
        let all =
            daemon.run(client, &["run", "--rm", "--privileged", "busybox", "cat", "/proc/self/status"]).ok();
        let all =
            all.text().lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("a line").to_owned();
        assert_eq!(format!("{:016x}", effective(&["--privileged"])), all);
        assert_eq!(format!("{:016x}", effective(&[])), "00000000a80425fb");
        assert_eq!(effective(&["-u", "1000"]), 0);
        drop_all(&daemon, &[&own]);
    }
}

#[test]
fn sizes_are_counted() {
    let daemon = Daemon::start();
    for client in BOTH {
        let own = name(client, "size");
        let script = "dd if=/dev/zero of=/big bs=1M count=2 2>/dev/null; sleep 1000";
        daemon.run(client, &["run", "-d", "--name", &own, "busybox", "sh", "-c", script]).ok().done();
        let size =
            || daemon.run(client, &["inspect", "-s", "-f", "{{.SizeRw}}", &own]).ok().text().to_owned();
        wait_until("it was written", Duration::from_secs(5), || {
            size().parse::<u64>().is_ok_and(|s| s >= 2 << 20)
        });
        let verbose = daemon.run(client, &["system", "df", "-v"]).ok();
        for part in [
            "Images space usage:",
            "Containers space usage:",
            "Local Volumes space usage:",
            "Build cache usage: ",
            &own,
        ] {
            assert!(verbose.stdout.contains(part), "{part}: {verbose}");
        }
        let json = daemon.run(client, &["system", "df", "-v", "--format", "json"]).ok().json();
        let found = json["Containers"].as_array().into_iter().flatten().any(|c| c["Names"] == own.as_str());
        assert!(found && json["Images"].is_array() && json["Volumes"].is_array(), "{json}");
        drop_all(&daemon, &[&own]);
    }
}
