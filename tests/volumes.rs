//! Volumes beside the book's scenarios: every form of a mount, what an empty volume gets, file systems of volumes' own, events,
//! the commands, and daemons killed at bad moments. What is not about minke's insides is a parity test.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use minke_testkit::{Client, Daemon, Options, Run, wait_until};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

fn with_images(images: &[&'static str]) -> Daemon {
    Daemon::with(Options { images: images.to_vec(), ..Options::default() })
}

/// `run --rm ARGS`.
#[track_caller]
fn once(daemon: &Daemon, args: &[&str]) -> Run {
    daemon.docker(&[&["run", "--rm"], args].concat())
}

/// Where a volume's data is; only on a private daemon.
fn data(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.data_root().join("volumes").join(name).join("_data")
}

fn mounts_of(daemon: &Daemon) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the host's mounts");
    let root = daemon.data_root();
    table.lines().filter(|line| line.contains(root.to_str().expect("plain"))).map(str::to_owned).collect()
}

#[test]
fn the_commands_say_what_dockers_say() {
    let daemon = Daemon::start();
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, &[&["volume"], args].concat());
        assert_eq!(run(&["create", "--label", "a=1", "--label", "b", "mktone"]).ok().text(), "mktone");
        assert_eq!(run(&["create", "mktone"]).ok().text(), "mktone");
        let anonymous = run(&["create"]).ok().text().to_owned();
        assert_eq!(anonymous.len(), 64);
        assert_eq!(run(&["ls", "-q", "-f", "name=mktone"]).ok().text(), "mktone");
        assert_eq!(run(&["ls", "-f", "label=a=1"]).ok().text(), "DRIVER    VOLUME NAME\nlocal     mktone");
        assert_eq!(run(&["ls", "-f", "label=a=2"]).ok().text(), "DRIVER    VOLUME NAME");
        let row = run(&["ls", "-f", "name=mktone", "--format", "{{.Name}} {{.Labels}} {{.Size}} {{.Links}}"]);
        let row = row.ok().text().to_owned();
        // docker's client lists labels in any order.
        let turned = client == Client::Docker && row == "mktone b=,a=1 N/A N/A";
        assert!(turned || row == "mktone a=1,b= N/A N/A", "{row}");
        let shown = run(&["inspect", "mktone"]).ok().json();
        assert_eq!(shown[0]["Name"], "mktone");
        assert_eq!(shown[0]["Labels"], serde_json::json!({"a": "1", "b": ""}));
        assert!(shown[0]["Options"].as_object().is_none_or(serde_json::Map::is_empty), "{shown}");
        assert_eq!(run(&["inspect", "-f", "{{.Driver}} {{.Scope}}", "mktone"]).ok().text(), "local local");
        run(&["inspect", "nosuch"]).exits(1).complains("get nosuch: no such volume").done();
        run(&["rm", "nosuch"]).exits(1).complains("get nosuch: no such volume").done();
        assert_eq!(run(&["rm", "-f", "nosuch"]).ok().text(), "nosuch");
        run(&["create", "a/b"])
            .exits(1)
            .complains("includes invalid characters for a local volume name")
            .done();
        run(&["create", "-d", "nosuch", "mktz"]).exits(1).complains("plugin \"nosuch\" not found").done();
        run(&["create", "-o", "foo=bar", "mktz"]).exits(1).complains("invalid option: \"foo\"").done();
        run(&["ls", "-f", "dangling=maybe"]).exits(1).complains("invalid filter 'dangling=[maybe]'").done();
        run(&["update", "mktone"]).exits(1).complains("an only update cluster volumes").done();
        assert_eq!(run(&["rm", "mktone", &anonymous]).ok().text(), format!("mktone\n{anonymous}"));
    }
}

#[test]
fn pruning_takes_what_nobody_named_or_all() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        // Others have volumes there.
        return;
    }
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().text().to_owned();
        run(&["volume", "create", "named"]);
        run(&[
            "run",
            "--name",
            "cc",
            "-v",
            "named:/n",
            "-v",
            "/a",
            "busybox",
            "sh",
            "-c",
            "echo seven. > /n/f",
        ]);
        let anonymous = run(&["volume", "ls", "-q", "-f", "name=^[0-9a-f]{64}$"]);
        assert!(run(&["volume", "prune", "-f"]).ends_with("Total reclaimed space: 0B"));
        let df = run(&["system", "df", "-v"]);
        assert!(df.lines().any(|line| line.split_whitespace().eq(["named", "1", "7B"])), "{df}");
        let rows = run(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}}"]);
        assert!(rows.contains("Local Volumes 2 2 7B"), "{rows}");
        run(&["rm", "cc"]);
        assert!(run(&["system", "prune", "-f", "--volumes"]).contains(&anonymous));
        assert_eq!(run(&["volume", "ls", "-q"]), "named");
        let kept = run(&["volume", "prune", "-af", "--filter", "label=x"]);
        assert_eq!(kept, "Total reclaimed space: 0B");
        assert_eq!(run(&["volume", "prune", "-af"]), "Deleted Volumes:\nnamed\n\nTotal reclaimed space: 7B");
    }
}

#[test]
fn events_tell_of_a_volume_s_life() {
    let daemon = Daemon::start();
    let since = daemon.docker(&["info", "-f", "{{.SystemTime}}"]).ok().text().to_owned();
    daemon.docker(&["volume", "create", "mktev"]).ok().done();
    let run = ["-v", "mktev:/x:ro", "-v", "/anonymous", "--name", "mktother", "busybox", "true"];
    once(&daemon, &run).ok().done();
    daemon.docker(&["volume", "rm", "mktev"]).ok().done();
    let until = daemon.docker(&["info", "-f", "{{.SystemTime}}"]).ok().text().to_owned();
    let events = |filter: &str| {
        let format = "{{.Action}} {{.Actor.Attributes}}";
        let args = ["events", "--since", &since, "--until", &until, "--filter", filter, "--format", format];
        daemon.docker(&args).ok().text().to_owned()
    };
    let named = events("volume=mktev");
    let actions: Vec<&str> = named.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(actions, ["create", "mount", "unmount", "destroy"], "{named}");
    let mount = named.lines().find(|line| line.starts_with("mount")).expect("one");
    for part in ["destination:/x", "driver:local", "read/write:false", "propagation:", "container:"] {
        assert!(mount.contains(part), "{mount}");
    }
    let all = events("type=volume");
    assert_eq!(all.lines().filter(|line| line.starts_with("destroy")).count(), 2, "{all}");
}

#[test]
fn every_form_of_a_mount_shows_in_inspect() {
    let daemon = Daemon::start();
    for client in BOTH {
        let run = |args: &[&str]| daemon.run(client, args).ok().text().to_owned();
        run(&[
            "create",
            "--name",
            "mktforms",
            "-v",
            "mktq:/x:ro,nocopy",
            "-v",
            "/anon",
            "--mount",
            "type=volume,src=mktm,dst=/m,volume-label=l=1",
            "--mount",
            "type=tmpfs,dst=/t,tmpfs-size=1m",
            "--mount",
            "type=bind,src=/tmp,dst=/bb,readonly",
            "--tmpfs",
            "/tm",
            "busybox",
            "true",
        ]);
        let format = "{{range .Mounts}}{{.Destination}} {{.Type}} {{.Mode}} {{.RW}} {{.Propagation}}|{{end}}";
        let shown = daemon.inspect("mktforms", format);
        let mut rows: Vec<&str> = shown.trim_end_matches('|').split('|').collect();
        rows.sort_unstable();
        let wanted = [
            "/anon volume  true ",
            "/bb bind  false rprivate",
            "/m volume z true ",
            "/t tmpfs  true ",
            "/x volume ro,nocopy false ",
        ];
        assert_eq!(rows, wanted);
        assert_eq!(daemon.inspect("mktforms", "{{json .HostConfig.Binds}}"), "[\"mktq:/x:ro,nocopy\"]");
        assert_eq!(daemon.inspect("mktforms", "{{json .Config.Volumes}}"), "{\"/anon\":{}}");
        assert_eq!(daemon.inspect("mktm", "{{json .Labels}}"), "{\"l\":\"1\"}");
        let ps = run(&["ps", "-a", "--filter", "volume=mktm", "--format", "{{.Names}} {{.LocalVolumes}}"]);
        assert_eq!(ps, "mktforms 3");
        assert_eq!(run(&["ps", "-aq", "--filter", "volume=/x"]).lines().count(), 1);
        run(&["rm", "-v", "mktforms"]);
        run(&["volume", "rm", "mktq", "mktm"]);
    }
}

#[test]
fn refusals_are_in_dockers_words() {
    let daemon = Daemon::start();
    for (args, words) in [
        (["-v", "mktq:/x:bad"], "invalid mode: bad"),
        (["-v", "mktq:rel"], "mount path must be absolute"),
        (["-v", "mktq:/"], "invalid specification: destination can't be '/'"),
        (["-v", "mktq:/x:shared"], "field BindOptions must not be specified"),
        (["-v", "/tmp:/x:nocopy"], "field VolumeOptions must not be specified"),
        (["--volumes-from", "nosuch"], "No such container: nosuch"),
        (["--volumes-from", "nosuch:zz"], "invalid mode: zz"),
        (["-v", "/etc/passwd"], "cannot mount volume over existing file, file exists"),
        (["--mount", "type=volume,src=mktq,dst=/x,volume-subpath=../x"], "subpath must be a relative path"),
        (
            ["--mount", "type=volume,src=mktq,dst=/x,volume-opt=foo=bar"],
            "create mktq: invalid option: \"foo\"",
        ),
        (["--mount", "type=bind,src=rel,dst=/x"], "invalid mount path: 'rel' mount path must be absolute"),
        (["--mount", "type=npipe,src=x,dst=/x"], "mount type unknown"),
    ] {
        let run = once(&daemon, &[&args[..], &["busybox", "true"]].concat());
        assert_eq!(run.code, 125, "{args:?}: {run}");
        run.complains(words).done();
    }
    let twice = ["-v", "mktq:/x", "--tmpfs", "/x", "busybox", "true"];
    once(&daemon, &twice).exits(125).complains("Duplicate mount point: /x").done();
    assert_eq!(
        daemon.docker(&["volume", "ls", "-q", "-f", "name=mktq"]).ok().text(),
        "",
        "nothing is left behind"
    );
}

/// An image as an archive: files of one layer, and the paths it declares as volumes.
fn image(daemon: &Daemon, tag: &str, volumes: &[&str], fill: impl Fn(&Path)) {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    let busybox = minke_testkit::fixtures::busybox_rootfs();
    let copied = std::process::Command::new("cp").arg("-a").arg(&busybox).arg(&root).status();
    assert!(copied.expect("cp").success());
    fill(&root);
    let archive = dir.path().join("root.tar");
    let tar = std::process::Command::new("tar")
        .args(["--xattrs", "-C", root.to_str().expect("plain"), "-cf", archive.to_str().expect("plain"), "."])
        .status();
    assert!(tar.expect("tar").success());
    let mut args = vec!["import".to_owned()];
    volumes.iter().for_each(|path| args.extend(["-c".to_owned(), format!("VOLUME {path}")]));
    args.extend([archive.to_str().expect("plain").to_owned(), tag.to_owned()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    daemon.docker(&args).ok().done();
}

#[test]
fn an_empty_volume_gets_what_the_image_has_there() {
    let daemon = Daemon::start();
    image(&daemon, "mktseed", &["/srv/data"], |root| {
        let data = root.join("srv/data");
        std::fs::create_dir_all(data.join("sub")).expect("made");
        std::fs::write(data.join("file"), "of the image").expect("written");
        std::fs::hard_link(data.join("file"), data.join("sub/twin")).expect("linked");
        symlink("file", data.join("link")).expect("linked");
        std::fs::set_permissions(data.join("file"), std::fs::Permissions::from_mode(0o4751)).expect("set");
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o2770)).expect("set");
        std::os::unix::fs::chown(&data, Some(1000), Some(2000)).expect("set");
        symlink("/srv/data", root.join("alias")).expect("linked");
    });
    let look =
        "stat -c '%a %u %g' /srv/data /srv/data/file; readlink /srv/data/link; stat -c %h /srv/data/sub/twin";
    let wanted = "2770 1000 2000\n4751 0 0\nfile\n2";
    for mount in [
        &["-v", "/srv/data"][..],
        &["-v", "mktfull:/srv/data"],
        &[],
        &["--mount", "type=volume,src=mktfull2,dst=/srv/data"],
    ] {
        let run = once(&daemon, &[mount, &["mktseed", "sh", "-c", look]].concat());
        assert_eq!(run.ok().text(), wanted, "{mount:?}");
    }
    // Through the image's own link; an empty volume that is there already; not with nocopy; not over what is in it.
    let ls = |args: &[&str]| {
        once(&daemon, &[args, &["mktseed", "sh", "-c", "ls -A /v | tr '\\n' ' '"]].concat())
            .ok()
            .text()
            .to_owned()
    };
    daemon.docker(&["volume", "create", "mktlate"]).ok().done();
    let through = once(&daemon, &["-v", "mktlate:/alias", "mktseed", "ls", "/alias/"]).ok();
    assert_eq!(through.text(), "file\nlink\nsub");
    assert_eq!(ls(&["-v", "mktlate:/v"]), "file link sub");
    let bare = once(&daemon, &["-v", "mktbare:/srv/data:nocopy", "mktseed", "ls", "/srv/data"]).ok();
    assert_eq!(bare.text(), "");
    once(&daemon, &["-v", "mktbare:/x", "busybox", "touch", "/x/mine"]).ok().done();
    let kept = once(&daemon, &["-v", "mktbare:/srv/data", "mktseed", "ls", "/srv/data"]).ok();
    assert_eq!(kept.text(), "mine");
    // A bind hides (B4-05).
    let hidden = once(&daemon, &["-v", "/var/empty-for-a-test:/srv/data", "mktseed", "ls", "/srv/data"]);
    assert_eq!(hidden.ok().text(), "");
    if !daemon.is_peer() {
        std::fs::remove_dir("/var/empty-for-a-test").ok();
    }
    daemon.docker(&["rmi", "-f", "mktseed"]).ok().done();
}

#[test]
fn an_image_that_wants_out_gets_nothing_of_the_host() {
    let daemon = Daemon::start();
    let secret = tempfile::tempdir().expect("a directory");
    std::fs::write(secret.path().join("secret"), "of the host").expect("written");
    let target = secret.path().to_owned();
    image(&daemon, "mkthostile", &["/out", "/up", "/loop"], |root| {
        symlink(&target, root.join("out")).expect("linked");
        symlink(format!("../../../../..{}", target.display()), root.join("up")).expect("linked");
        symlink("/loop", root.join("loop")).expect("linked");
        std::fs::create_dir(root.join("in")).expect("made");
        symlink(target.join("secret"), root.join("in/secret")).expect("linked");
    });
    for path in ["/out", "/up", "/in"] {
        let volume = format!("mkt{}:{path}", path.trim_start_matches('/'));
        drop(once(&daemon, &["-v", &volume, "-v", "/loop2:/loop", "mkthostile", "true"]));
        let inside = volume.replace(path, "/look");
        let found = once(&daemon, &["-v", &inside, "busybox", "sh", "-c", "cat /look/secret"]);
        assert!(!found.stdout.contains("of the host"), "{path}: {found}");
    }
    std::fs::remove_dir("/loop2").ok();
    daemon.docker(&["rmi", "-f", "mkthostile"]).ok().done();
}

#[test]
fn a_part_of_a_volume_stays_in_it() {
    let daemon = Daemon::start();
    let make = "mkdir -p /m/sub/dir; ln -s /etc /m/out; echo hi > /m/sub/f";
    once(&daemon, &["-v", "mktpart:/m", "busybox", "sh", "-c", make]).ok().done();
    let mount = |subpath: &str| format!("type=volume,src=mktpart,dst=/p,volume-subpath={subpath}");
    let part = |subpath: &str, words: &[&str]| {
        once(&daemon, &[&["--mount", &mount(subpath), "busybox"], words].concat())
    };
    assert_eq!(part("sub", &["ls", "/p"]).ok().text(), "dir\nf");
    assert_eq!(part("sub/f", &["cat", "/p"]).ok().text(), "hi");
    part("sub", &["touch", "/p/new"]).ok().done();
    assert_eq!(once(&daemon, &["-v", "mktpart:/m", "busybox", "ls", "/m/sub"]).ok().text(), "dir\nf\nnew");
    let out = part("out", &["ls", "/p"]);
    assert_ne!(out.code, 0);
    out.complains("path concatenation escapes the base directory").done();
    let missing = part("nosuch", &["ls", "/p"]);
    assert_ne!(missing.code, 0);
    missing.complains("no such file or directory").done();
}

#[test]
fn the_files_of_an_image_can_be_mounted() {
    let daemon = with_images(&["busybox", "ch4_packed"]);
    let image = "dockerinaction/ch4_packed";
    let look = |more: &str, words: &[&str]| {
        let mount = format!("type=image,src={image},dst=/img{more}");
        once(&daemon, &[&["--mount", &mount, "busybox"], words].concat())
    };
    assert_eq!(
        look("", &["cat", "/img/packed/packedData"]).ok().text(),
        "Data that came packed in an image."
    );
    // Of two layers: what each has.
    look("", &["/img/bin/busybox", "true"]).ok().done();
    assert_eq!(look(",image-subpath=packed", &["ls", "/img"]).ok().text(), "packedData");
    look("", &["touch", "/img/x"]).exits(1).complains("Read-only file system").done();
    let missing = look(",image-subpath=nosuch", &["true"]);
    assert_ne!(missing.code, 0);
    missing.complains("no such file or directory").done();
    let mount = format!("type=image,src={image},dst=/img");
    daemon.docker(&["create", "--name", "mktuser", "--mount", &mount, "busybox", "true"]).ok().done();
    assert_eq!(
        daemon.inspect(
            "mktuser",
            "{{(index .Mounts 0).Type}} {{(index .Mounts 0).Name}} {{(index .Mounts 0).RW}}"
        ),
        format!("image {image} false")
    );
    if !daemon.is_peer() {
        daemon.docker(&["rmi", image]).exits(1).complains("container").done();
    }
    daemon.docker(&["rm", "mktuser"]).ok().done();
}

#[test]
fn read_only_volumes_from_and_binds_below_stay_read_only() {
    let daemon = Daemon::start();
    daemon.docker(&["create", "--name", "mktsource", "-v", "/data", "busybox", "true"]).ok().done();
    let touch = ["busybox", "touch", "/data/x"];
    let refused = once(&daemon, &[&["--volumes-from", "mktsource:ro"], &touch[..]].concat());
    refused.exits(1).complains("Read-only file system").done();
    once(&daemon, &[&["--volumes-from", "mktsource"], &touch[..]].concat()).ok().done();
    // Read-only stays so through another container.
    daemon
        .docker(&["create", "--name", "mktreader", "--volumes-from", "mktsource:ro", "busybox", "true"])
        .ok()
        .done();
    let refused = once(&daemon, &[&["--volumes-from", "mktreader"], &touch[..]].concat());
    refused.exits(1).complains("Read-only file system").done();
    // The mode that was typed is the source's own affair.
    assert_eq!(daemon.inspect("mktreader", "{{(index .Mounts 0).Mode}}|{{(index .Mounts 0).RW}}"), "|false");
    daemon.docker(&["rm", "-v", "mktsource", "mktreader"]).ok().done();
}

#[test]
fn what_is_mounted_below_a_bind_follows_the_options() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        // It has mounts of its own.
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let below = dir.path().join("below");
    std::fs::create_dir(&below).expect("made");
    let host = ["mount", "-t", "tmpfs", "mkt", below.to_str().expect("plain")];
    assert!(std::process::Command::new(host[0]).args(&host[1..]).status().expect("mount").success());
    std::fs::write(below.join("file"), "below").expect("written");
    let look = |more: &str, words: &str| {
        let mount = format!("type=bind,src={},dst=/b{more}", dir.path().display());
        once(&daemon, &["--mount", &mount, "busybox", "sh", "-c", words])
    };
    let seen = [
        look("", "cat /b/below/file && touch /b/below/x").code,
        look(",readonly", "touch /b/below/y").code,
        look(",readonly,bind-recursive=writable", "touch /b/below/z").code,
        look(",bind-recursive=disabled", "cat /b/below/file").code,
        look(",readonly,bind-recursive=readonly,bind-propagation=rprivate", "touch /b/below/y").code,
    ];
    assert!(std::process::Command::new("umount").arg(&below).status().expect("umount").success());
    assert_eq!(seen, [0, 1, 0, 1, 1]);
    let slave = look(",bind-propagation=rslave", "true");
    if slave.code != 0 {
        slave.complains("but it is not a shared or slave mount").done();
    }
}

#[test]
fn a_volume_in_memory_is_shared_and_gone_with_its_last_user() {
    let daemon = Daemon::start();
    let create =
        ["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,mode=1770", "mktmem"];
    daemon.docker(&create).ok().done();
    for name in ["mktm1", "mktm2"] {
        daemon
            .docker(&["run", "-d", "--name", name, "-v", "mktmem:/m", "busybox", "sleep", "1000"])
            .ok()
            .done();
    }
    daemon.docker(&["exec", "mktm1", "sh", "-c", "echo shared > /m/file"]).ok().done();
    assert_eq!(daemon.docker(&["exec", "mktm2", "cat", "/m/file"]).ok().text(), "shared");
    daemon
        .docker(&["exec", "mktm2", "grep", " /m tmpfs rw,relatime,size=1024k,mode=1770", "/proc/mounts"])
        .ok()
        .done();
    if !daemon.is_peer() {
        // A person finds it where inspect says; the mount survives the daemon.
        assert_eq!(std::fs::read_to_string(data(&daemon, "mktmem").join("file")).expect("there"), "shared\n");
        assert_eq!(mounts_of(&daemon).len(), 1);
    }
    daemon.docker(&["rm", "-f", "mktm1"]).ok().done();
    assert_eq!(daemon.docker(&["exec", "mktm2", "cat", "/m/file"]).ok().text(), "shared");
    daemon.docker(&["rm", "-f", "mktm2"]).ok().done();
    if !daemon.is_peer() {
        assert_eq!(mounts_of(&daemon), Vec::<String>::new());
    }
    let empty = once(&daemon, &["-v", "mktmem:/m", "busybox", "ls", "/m"]).ok();
    assert_eq!(empty.text(), "");
    // What is no volume of the engine's disk is neither measured nor pruned.
    if !daemon.is_peer() {
        daemon.docker(&["volume", "prune", "-af"]).ok().done();
        assert_eq!(daemon.docker(&["volume", "ls", "-q"]).ok().text(), "mktmem");
    }
    daemon.docker(&["volume", "rm", "mktmem"]).ok().done();
}

#[test]
fn a_volume_may_be_a_directory_of_the_host() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("file"), "of the host").expect("written");
    let device = format!("device={}", dir.path().display());
    let create = |options: &str, name: &str, device: &str| {
        daemon
            .docker(&["volume", "create", "-o", "type=none", "-o", options, "-o", device, name])
            .ok()
            .done();
    };
    create("o=bind", "mktbind", &device);
    create("o=bind,ro", "mktbindro", &device);
    assert_eq!(once(&daemon, &["-v", "mktbind:/m", "busybox", "cat", "/m/file"]).ok().text(), "of the host");
    once(&daemon, &["-v", "mktbind:/m", "busybox", "touch", "/m/new"]).ok().done();
    assert!(dir.path().join("new").exists());
    let refused = once(&daemon, &["-v", "mktbindro:/m", "busybox", "touch", "/m/newer"]);
    refused.exits(1).complains("Read-only file system").done();
    create("o=bind", "mktnone", "device=/no/such/directory");
    let failed = once(&daemon, &["-v", "mktnone:/m", "busybox", "true"]);
    assert_ne!(failed.code, 0);
    failed
        .complains("failed to mount local volume: mount /no/such/directory:")
        .complains("flags: 0x1000: no such file or directory")
        .done();
    assert_eq!(mounts_of(&daemon), Vec::<String>::new());
    daemon.docker(&["volume", "rm", "mktbind", "mktbindro", "mktnone"]).ok().done();
    assert!(dir.path().join("file").exists(), "what is the host's stays");
}

#[test]
fn volumes_survive_a_daemon_that_is_killed() {
    let mut daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let mem = ["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "mem"];
    daemon.minke(&mem).ok().done();
    let args = [
        "-v",
        "named:/n",
        "-v",
        "/a",
        "-v",
        "mem:/m",
        "busybox",
        "sh",
        "-c",
        "echo 1 > /n/f; echo 2 > /a/f; echo 3 > /m/f; sleep 1000",
    ];
    daemon.minke(&[&["run", "-d", "--name", "cc"], &args[..]].concat()).ok().done();
    let once = ["run", "-d", "--rm", "--name", "short", "-v", "/gone", "busybox", "sleep", "1000"];
    daemon.minke(&once).ok().done();
    let volumes = |daemon: &Daemon| daemon.minke(&["volume", "ls", "-q"]).ok().text().lines().count();
    assert_eq!(volumes(&daemon), 4);
    let read =
        |daemon: &Daemon| daemon.minke(&["exec", "cc", "cat", "/n/f", "/a/f", "/m/f"]).ok().text().to_owned();
    wait_until("it has written", Duration::from_secs(10), || {
        daemon.minke(&["exec", "cc", "test", "-s", "/m/f"]).code == 0
    });
    daemon.kill();
    daemon.spawn();
    assert_eq!(read(&daemon), "1\n2\n3");
    daemon.minke(&["volume", "rm", "named"]).exits(1).complains("volume is in use").done();
    // One ends while no daemon is there: its volumes go when the next one hears of it.
    let short: i32 = daemon.inspect("short", "{{.State.Pid}}").parse().expect("a pid");
    daemon.kill();
    let short = rustix::process::Pid::from_raw(short).expect("a pid");
    rustix::process::kill_process(short, rustix::process::Signal::KILL).expect("killed");
    daemon.spawn();
    wait_until("--rm has taken its volume along", Duration::from_secs(10), || volumes(&daemon) == 3);
    daemon.minke(&["rm", "-vf", "cc"]).ok().done();
    assert_eq!(volumes(&daemon), 2);
    assert_eq!(mounts_of(&daemon), Vec::<String>::new());
}

#[test]
fn killed_in_the_middle_of_a_flood_no_volume_is_half_there() {
    let mut daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    for round in 0..5_u64 {
        let clients: Vec<_> = (0..4)
            .map(|at| {
                let volume = format!("v{round}x{at}:/bin");
                let args = ["run", "--rm", "-v", &volume, "-v", "/bin2", "-v", "/etc", "busybox", "true"];
                daemon.start_client(Client::Docker, &args)
            })
            .collect();
        std::thread::sleep(Duration::from_millis(60 + 70 * round));
        daemon.kill();
        for client in clients {
            drop(client.finish(Duration::from_secs(20)));
        }
        daemon.spawn();
        let containers = daemon.minke(&["ps", "-aq"]).ok();
        let ids: Vec<&str> = containers.text().lines().collect();
        if !ids.is_empty() {
            daemon.minke(&[&["rm", "-vf"], &ids[..]].concat()).ok().done();
        }
        // What nobody named went; what somebody named is empty or full, never half.
        let names = daemon.minke(&["volume", "ls", "-q"]).ok();
        for name in names.text().lines() {
            assert!(name.starts_with('v'), "{name} is nobody's");
            let count = std::fs::read_dir(data(&daemon, name)).expect("its data").count();
            let whole = std::fs::read_dir(minke_testkit::fixtures::busybox_rootfs().join("bin"))
                .expect("bin")
                .count();
            assert!(count == 0 || count == whole, "{name}: {count} of {whole}");
            assert!(!daemon.data_root().join("volumes").join(name).join("_new").exists());
            let mode = std::fs::metadata(data(&daemon, name).parent().expect("one")).expect("there").mode();
            assert_eq!(mode & 0o777, 0o701);
        }
    }
}

#[test]
fn copies_reach_volumes_of_running_and_stopped_containers() {
    let daemon = Daemon::start();
    daemon.docker(&["create", "--name", "mktcp", "-v", "/data", "busybox", "sleep", "1000"]).ok().done();
    let file = daemon.path().join("hello");
    std::fs::write(&file, "hello").expect("written");
    let copy = |from: &str, to: &str| daemon.docker(&["cp", "-q", from, to]).ok().done();
    copy(file.to_str().expect("plain"), "mktcp:/data/stopped");
    daemon.docker(&["start", "mktcp"]).ok().done();
    copy(file.to_str().expect("plain"), "mktcp:/data/running");
    assert_eq!(daemon.docker(&["exec", "mktcp", "ls", "/data"]).ok().text(), "running\nstopped");
    daemon.docker(&["rm", "-vf", "mktcp"]).ok().done();
}
