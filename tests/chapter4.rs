//! Chapter 4 of the book: volumes. MariaDB stands for Cassandra (its life with a volume is the same), nginx for httpd. All
//! scenarios are parity tests; what only minke promises is behind `is_peer`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use minke_testkit::{Client, Daemon, Options, wait_until};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

fn with_images(images: &[&'static str]) -> Daemon {
    Daemon::with(Options { images: images.to_vec(), ..Options::default() })
}

/// A client and a daemon, with the words most tests use.
struct Book<'a> {
    daemon: &'a Daemon,
    client: Client,
}

impl Book<'_> {
    #[track_caller]
    fn run(&self, args: &[&str]) -> minke_testkit::Run {
        self.daemon.run(self.client, args)
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok().text().to_owned()
    }

    /// `docker run ARGS` to its end.
    #[track_caller]
    fn says(&self, args: &[&str]) -> String {
        self.ok(&[&["run"], args].concat())
    }

    #[track_caller]
    fn inspect(&self, name: &str, format: &str) -> String {
        self.ok(&["inspect", "-f", format, name])
    }

    /// The volume or path that is mounted at `target`.
    #[track_caller]
    fn mounted(&self, name: &str, target: &str) -> String {
        let format = format!(
            "{{{{range .Mounts}}}}{{{{if eq .Destination {target:?}}}}}{{{{.Name}}}}|{{{{.Source}}}}{{{{end}}}}{{{{end}}}}"
        );
        self.inspect(name, &format)
    }

    /// The name of the volume at `target`.
    #[track_caller]
    fn volume(&self, name: &str, target: &str) -> String {
        let mounted = self.mounted(name, target);
        mounted.split_once('|').map(|(name, _)| name.to_owned()).unwrap_or_default()
    }

    fn has_volume(&self, name: &str) -> bool {
        let there = self.run(&["volume", "inspect", name]).code == 0;
        if !self.daemon.is_peer() {
            assert_eq!(self.daemon.data_root().join("volumes").join(name).exists(), there, "{name}");
        }
        there
    }

    fn remove(&self, names: &[&str]) {
        self.ok(&[&["rm", "-vf"], names].concat());
    }
}

#[track_caller]
fn with_both(images: &[&'static str], story: impl Fn(&Book<'_>)) {
    let daemon = with_images(images);
    for client in BOTH {
        story(&Book { daemon: &daemon, client });
    }
}

/// A directory of the host that containers may look into.
fn host_directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), mode).expect("everybody may look");
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// What a web server on port 80 of a container answers to `GET /`.
fn get(daemon: &Daemon, name: &str) -> String {
    let address = daemon.address_of(name, "bridge");
    daemon.host_netns().run(|| {
        let Ok(mut stream) = TcpStream::connect((address.as_str(), 80)) else { return String::new() };
        let mut answer = String::new();
        let asked =
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").and_then(|()| stream.read_to_string(&mut answer));
        asked.map(|_| answer).unwrap_or_default()
    })
}

#[track_caller]
fn serves(daemon: &Daemon, name: &str, text: &str) {
    wait_until(&format!("{name} serves {text}"), Duration::from_secs(20), || {
        get(daemon, name).contains(text)
    });
}

fn sql(book: &Book<'_>, link: &str, statement: &str) -> minke_testkit::Run {
    let client = ["mariadb", "-h", "db", "-uroot", "-pch4", "-N", "-e", statement];
    book.run(&[&["run", "--rm", "--link", link, "lamp"], &client[..]].concat())
}

#[track_caller]
fn answers_sql(book: &Book<'_>, name: &str) {
    let link = format!("{name}:db");
    wait_until("the database answers", Duration::from_secs(60), || sql(book, &link, "SELECT 1").code == 0);
}

/// S4-01 (C4-01 to C4-06, B4-02): a database survives its container.
#[test]
fn s4_01_a_database_survives_its_container() {
    let daemon = with_images(&["busybox", "lamp"]);
    let book = Book { daemon: &daemon, client: Client::Docker };
    let data = "/var/lib/mysql";
    book.says(&["-d", "--volume", data, "--name", "db-shared", "busybox", "echo", "Data Container"]);
    assert_eq!(book.ok(&["wait", "db-shared"]), "0");
    let volume = book.volume("db-shared", data);
    let server = ["-e", "MYSQL_ROOT_PASSWORD=ch4", "lamp", "database"];
    book.says(&[&["-d", "--volumes-from", "db-shared", "--name", "db1"], &server[..]].concat());
    assert_eq!(book.volume("db1", data), volume);
    answers_sql(&book, "db1");
    let look = "SHOW DATABASES LIKE 'docker_hello_world'";
    assert_eq!(sql(&book, "db1:db", look).ok().text(), "");
    sql(&book, "db1:db", "CREATE DATABASE docker_hello_world").ok().done();
    assert_eq!(sql(&book, "db1:db", look).ok().text(), "docker_hello_world");
    assert!(!book.ok(&["ps", "-a"]).contains("mariadb"), "clients are gone");
    book.ok(&["stop", "db1"]);
    book.remove(&["db1"]);
    assert!(book.has_volume(&volume));
    book.says(&[&["-d", "--volumes-from", "db-shared", "--name", "db2"], &server[..]].concat());
    answers_sql(&book, "db2");
    assert_eq!(sql(&book, "db2:db", look).ok().text(), "docker_hello_world");
    book.remove(&["db2", "db-shared"]);
    assert!(!book.has_volume(&volume));
}

/// S4-02 (C4-07 to C4-10, B4-01, B4-03, B4-06): what is edited on the host is served.
#[test]
fn s4_02_edit_and_serve() {
    with_both(&["busybox", "nginx"], |book| {
        let docs = host_directory();
        let index = docs.path().join("index.html");
        let edit = |edition: &str| {
            if book.daemon.is_peer() {
                // It may have a /tmp of its own, where the host is what containers see.
                let write = format!("echo {edition} > /w/index.html");
                book.says(&[
                    "--rm",
                    "-v",
                    &format!("{}:/w", text(docs.path())),
                    "busybox",
                    "sh",
                    "-c",
                    &write,
                ]);
            } else {
                std::fs::write(&index, edition).expect("written");
            }
        };
        edit("first edition");
        let bind = format!("{}:/var/www/html", text(docs.path()));
        book.says(&["-d", "--name", "bmweb", "-v", &bind, "nginx"]);
        serves(book.daemon, "bmweb", "first edition");
        edit("second edition");
        serves(book.daemon, "bmweb", "second edition");
        book.remove(&["bmweb"]);
        assert!(book.daemon.is_peer() || index.exists());
        let readonly = format!("{}:/var/www/html/:ro", text(docs.path()));
        book.says(&["-d", "--name", "bmweb_ro", "--volume", &readonly, "nginx"]);
        serves(book.daemon, "bmweb_ro", "second edition");
        let write = ["exec", "bmweb_ro", "sh", "-c", "echo x > /var/www/html/index.html"];
        let refused = book.run(&write);
        assert_ne!(refused.code, 0);
        refused.complains("Read-only file system").done();
        book.remove(&["bmweb_ro"]);
        let space = format!("{}:/testspace:ro", text(docs.path()));
        let write = ["run", "--rm", "-v", &space, "busybox", "/bin/sh", "-c", "echo test > /testspace/test"];
        let refused = book.run(&write);
        assert_ne!(refused.code, 0);
        refused.complains("Read-only file system").done();
        assert!(!docs.path().join("test").exists());
    });
}

/// S4-03 (C4-11, B4-07, B4-08): a source that is not there.
#[test]
fn s4_03_absent_source() {
    with_both(&["busybox"], |book| {
        let dir = host_directory();
        // A real Docker may have a /tmp of its own.
        let seen = |path: &Path| book.daemon.is_peer() || path.is_dir();
        let absent = dir.path().join("deep/absent");
        let bind = format!("{}:/absent", text(&absent));
        assert!(!absent.exists());
        let mount = book.says(&["--rm", "-v", &bind, "busybox", "/bin/sh", "-c", "mount | grep absent"]);
        assert!(mount.contains(" /absent "), "{mount}");
        assert!(seen(&absent));
        // By --mount it is an error, unless asked for.
        let missing = dir.path().join("missing");
        let wish = format!("type=bind,src={},dst=/x", text(&missing));
        let refused = book.run(&["run", "--rm", "--mount", &wish, "busybox", "true"]);
        assert_eq!(refused.code, 125);
        refused
            .complains(&format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                text(&missing)
            ))
            .done();
        // A file that is not there becomes a directory, which does not fit on a file.
        let file = dir.path().join("file.txt");
        book.says(&[
            "--rm",
            "-v",
            &format!("{}:/x/file.txt", text(&file)),
            "busybox",
            "test",
            "-d",
            "/x/file.txt",
        ]);
        assert!(seen(&file));
        let over =
            book.run(&["run", "--rm", "-v", &format!("{}:/etc/passwd", text(&file)), "busybox", "true"]);
        assert!([125, 126, 127].contains(&over.code), "{}", over.code);
        over.complains("not a directory").done();
        // One file over another leaves those beside it.
        if !book.daemon.is_peer() {
            let single = dir.path().join("single");
            std::fs::write(&single, "replaced\n").expect("written");
            let bind = format!("{}:/etc/group:ro", text(&single));
            let shown =
                book.says(&["--rm", "-v", &bind, "busybox", "sh", "-c", "cat /etc/group; ls /etc/passwd"]);
            assert_eq!(shown, "replaced\n/etc/passwd");
        }
    });
}

/// S4-04 (C4-01, C4-12): where a managed volume is.
#[test]
fn s4_04_managed_volume_location() {
    with_both(&["busybox"], |book| {
        let data = "/var/lib/cassandra/data";
        let write = "echo from inside > /var/lib/cassandra/data/file";
        book.says(&["--name", "cass-shared", "-v", data, "busybox", "sh", "-c", write]);
        let volume = book.volume("cass-shared", data);
        assert_eq!(volume.len(), 64);
        let source = book.mounted("cass-shared", data);
        assert!(source.ends_with(&format!("/volumes/{volume}/_data")), "{source}");
        let config = book.inspect("cass-shared", "{{json .Config.Volumes}}");
        assert_eq!(config, format!("{{{data:?}:{{}}}}"));
        let labels = book.ok(&["volume", "inspect", "-f", "{{json .Labels}}", &volume]);
        assert_eq!(labels, "{\"com.docker.volume.anonymous\":\"\"}");
        if !book.daemon.is_peer() {
            let path = PathBuf::from(source.split_once('|').expect("two").1);
            assert!(path.starts_with(book.daemon.data_root()));
            assert_eq!(std::fs::read_to_string(path.join("file")).expect("there"), "from inside\n");
            if book.client == Client::Minke {
                // As the book has it.
                let map = book.inspect("cass-shared", "{{json .Volumes}}");
                assert_eq!(map, format!("{{{data:?}:{:?}}}", text(&path)));
                assert_eq!(book.inspect("cass-shared", "{{json .VolumesRW}}"), format!("{{{data:?}:true}}"));
            }
        }
        book.remove(&["cass-shared"]);
        assert!(!book.has_volume(&volume));
    });
}

/// S4-05 (C4-13 to C4-16, B4-11): logs shared through the host.
#[test]
fn s4_05_shared_logs() {
    let daemon = with_images(&["busybox", "ch4_writer_a", "ch4_writer_b"]);
    let book = Book { daemon: &daemon, client: Client::Docker };
    let logs = host_directory();
    let bind = |target: &str| format!("{}:{target}", text(logs.path()));
    let writer = |name: &str, image: &str| {
        book.says(&["--name", name, "-d", "--volume", &bind("/data"), image]);
    };
    writer("plath", "dockerinaction/ch4_writer_a");
    let head = |target: &str, log: &str, mode: &str| {
        let file = format!("{target}/{log}");
        book.run(&[
            "run",
            "--rm",
            "--entrypoint",
            "head",
            "-v",
            &bind(&format!("{target}{mode}")),
            "busybox",
            &file,
        ])
    };
    wait_until("logA is there", Duration::from_secs(10), || head("/reader-data", "logA", "").code == 0);
    head("/reader-data", "logA", "").ok().says("A line of log A.").done();
    book.ok(&["stop", "-t", "0", "plath"]);
    let count = || book.says(&["--rm", "-v", &bind("/r"), "busybox", "cat", "/r/logA"]).lines().count();
    let before = count();
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(count(), before, "a stopped writer writes no more");
    writer("woolf", "dockerinaction/ch4_writer_a");
    writer("alcott", "dockerinaction/ch4_writer_b");
    wait_until("both logs grow", Duration::from_secs(10), || {
        count() > before && head("/toread", "logB", ":ro").code == 0
    });
    head("/towatch", "logA", ":ro").ok().says("A line of log A.").done();
    head("/toread", "logB", ":ro").ok().says("A line of log B.").done();
    let touch = ["run", "--rm", "-v", &bind("/towatch:ro"), "busybox", "touch", "/towatch/x"];
    book.run(&touch).exits(1).complains("Read-only file system").done();
    if !daemon.is_peer() {
        assert!(std::fs::read_to_string(logs.path().join("logA")).expect("on the host").contains("A line"));
    }
    book.remove(&["plath", "woolf", "alcott"]);
}

/// S4-06 (C4-17 to C4-20, B4-12, B4-13): a union of volumes, and a union of unions.
#[test]
fn s4_06_union_and_transitive_copy() {
    with_both(&["busybox"], |book| {
        let books = host_directory();
        let bind = format!("{}:/library/PoEAA", text(books.path()));
        book.says(&["--name", "fowler", "-v", &bind, "-v", "/library/DSL", "busybox", "echo", "created"]);
        let taocp = ["vol1", "vol2", "vol3", "vol4.a"].map(|part| format!("/library/TAoCP.{part}"));
        let mut args = vec!["--name", "knuth"];
        taocp.iter().for_each(|path| args.extend(["-v", path]));
        book.says(&[&args[..], &["busybox", "echo", "created"]].concat());
        let six = "DSL\nPoEAA\nTAoCP.vol1\nTAoCP.vol2\nTAoCP.vol3\nTAoCP.vol4.a";
        let from = ["--volumes-from", "fowler", "--volumes-from", "knuth"];
        let list = ["busybox", "ls", "/library/"];
        assert_eq!(book.says(&[&["--name", "reader"], &from[..], &list].concat()), six);
        book.says(&[&["--name", "aggregator"], &from[..], &["busybox", "echo", "created"]].concat());
        assert_eq!(
            book.says(&[&["--name", "consumer", "--volumes-from", "aggregator"], &list[..]].concat()),
            six
        );
        for target in taocp.iter().map(String::as_str).chain(["/library/PoEAA", "/library/DSL"]) {
            let source = if target.contains("TAoCP") { "knuth" } else { "fowler" };
            for name in ["reader", "aggregator", "consumer"] {
                assert_eq!(book.mounted(name, target), book.mounted(source, target), "{name} {target}");
            }
        }
        book.says(&["--rm", "--volumes-from", "reader", "busybox", "touch", "/library/DSL/note"]);
        assert_eq!(book.says(&["--rm", "--volumes-from", "fowler", "busybox", "ls", "/library/DSL"]), "note");
        book.remove(&["fowler", "knuth", "reader", "aggregator", "consumer"]);
        assert!(books.path().exists(), "what is the host's stays (B4-20)");
    });
}

/// S4-07 (C4-21, C4-22, B4-14 to B4-16): two sources with one path.
#[test]
fn s4_07_mount_point_conflict() {
    with_both(&["busybox"], |book| {
        for name in ["chomsky", "lamport"] {
            book.says(&["--name", name, "--volume", "/library/ss", "busybox", "echo", "created"]);
        }
        let student =
            ["--volumes-from", "chomsky", "--volumes-from", "lamport", "busybox", "ls", "-l", "/library/"];
        let run = book.run(&[&["run", "--name", "student"], &student[..]].concat()).ok();
        if !book.daemon.is_peer() {
            let warning = "containers chomsky and lamport both have a volume at /library/ss: the one of lamport is mounted";
            run.complains(warning).done();
        }
        assert_eq!(book.inspect("student", "{{len .Mounts}}"), "1");
        let winner = book.volume("lamport", "/library/ss");
        assert_eq!(book.volume("student", "/library/ss"), winner);
        for _ in 0..if book.daemon.is_peer() { 2 } else { 20 } {
            book.ok(&[&["create", "--name", "again"], &student[..]].concat());
            assert_eq!(book.volume("again", "/library/ss"), winner);
            book.ok(&["rm", "-v", "again"]);
        }
        // Its own mount stands before both.
        book.ok(&[&["create", "--name", "own", "-v", "mktown:/library/ss"], &student[..]].concat());
        assert_eq!(book.volume("own", "/library/ss"), "mktown");
        book.ok(&["rm", "-v", "own", "student"]);
        assert!(book.has_volume(&winner));
        book.remove(&["chomsky", "lamport"]);
        book.ok(&["volume", "rm", "mktown"]);
    });
}

/// S4-08 (B4-17 to B4-19, B4-21): the last one turns off the light.
#[test]
fn s4_08_reference_counting() {
    with_both(&["busybox"], |book| {
        book.ok(&["create", "--name", "aa", "-v", "/v", "busybox", "true"]);
        let volume = book.volume("aa", "/v");
        let share = || {
            for name in ["bb", "cc"] {
                book.ok(&["create", "--name", name, "--volumes-from", "aa", "busybox", "true"]);
            }
        };
        share();
        book.ok(&["rm", "-v", "aa"]);
        assert!(book.has_volume(&volume));
        book.ok(&["rm", "bb"]);
        assert!(book.has_volume(&volume));
        let used = book.run(&["volume", "rm", &volume]);
        used.exits(1).complains(&format!("remove {volume}: volume is in use - [")).done();
        book.ok(&["rm", "-v", "cc"]);
        assert!(!book.has_volume(&volume));
        // Without -v it is left behind.
        book.ok(&["create", "--name", "aa", "-v", "/v", "busybox", "true"]);
        let volume = book.volume("aa", "/v");
        let dangling = || book.ok(&["volume", "ls", "-q", "-f", "dangling=true"]);
        assert!(!dangling().contains(&volume));
        book.ok(&["rm", "aa"]);
        assert!(dangling().contains(&volume));
        if !book.daemon.is_peer() {
            let pruned = book.ok(&["volume", "prune", "-f"]);
            assert_eq!(pruned, format!("Deleted Volumes:\n{volume}\n\nTotal reclaimed space: 0B"));
        } else {
            book.ok(&["volume", "rm", &volume]);
        }
        assert!(!book.has_volume(&volume));
    });
}

/// S4-09 (B4-22, B4-32): volumes that nobody asked for.
#[test]
fn s4_09_image_declared_volume_leak() {
    with_both(&["busybox", "ch4_polyapp"], |book| {
        let dangling = || {
            let list = book.ok(&["volume", "ls", "-q", "-f", "dangling=true"]);
            list.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let image = "dockerinaction/ch4_polyapp";
        let run = |args: &[&str]| book.says(&[args, &[image, "true"]].concat());
        run(&["--name", "leak"]);
        let volume = book.volume("leak", "/config");
        book.ok(&["rm", "leak"]);
        assert!(dangling().contains(&volume));
        book.ok(&["volume", "rm", &volume]);
        run(&["--name", "leak"]);
        let volume = book.volume("leak", "/config");
        book.ok(&["rm", "-v", "leak"]);
        assert!(!book.has_volume(&volume));
        if !book.daemon.is_peer() {
            run(&["--rm"]);
            assert_eq!(dangling(), Vec::<String>::new());
            // Also when it does not come to run, or is refused for its name.
            book.run(&["run", "--rm", image, "nosuchprogram"]).exits(127).done();
            book.ok(&["create", "--name", "taken", image]);
            book.run(&["create", "--name", "taken", image]).exits(1).done();
            assert_eq!(dangling(), Vec::<String>::new());
            book.ok(&["rm", "-v", "taken"]);
        }
    });
}

/// S4-10 (C4-24, C4-25, B4-27): data that came packed.
#[test]
fn s4_10_data_packed_config() {
    with_both(&["busybox", "ch4_packed"], |book| {
        let copy = "cp /packed/* /config/";
        book.says(&["--name", "dpvc", "-v", "/config", "dockerinaction/ch4_packed", "/bin/sh", "-c", copy]);
        let volume = book.volume("dpvc", "/config");
        let read =
            |words: &[&str]| book.says(&[&["--rm", "--volumes-from", "dpvc", "busybox"], words].concat());
        assert_eq!(read(&["ls", "/config"]), "packedData");
        assert_eq!(read(&["cat", "/config/packedData"]), "Data that came packed in an image.");
        assert!(book.has_volume(&volume));
        book.ok(&["rm", "-v", "dpvc"]);
        assert!(!book.has_volume(&volume));
    });
}

/// S4-11 (C4-26, C4-27, B4-29): a tool that the image lacks.
#[test]
fn s4_11_injected_tool() {
    with_both(&["busybox", "ch4_tools", "ch4_ia"], |book| {
        book.says(&["--name", "tools", "dockerinaction/ch4_tools"]);
        let listed = book.says(&["--rm", "--volumes-from", "tools", "busybox", "ls", "-R", "/operations"]);
        assert!(listed.contains("diagnostics"), "{listed}");
        let tool = "/operations/tools/diagnostics";
        book.says(&[
            "-d",
            "--name",
            "important_application",
            "--volumes-from",
            "tools",
            "dockerinaction/ch4_ia",
        ]);
        assert_eq!(book.ok(&["exec", "important_application", tool]), "diagnostics: all is well");
        book.remove(&["important_application"]);
        book.says(&["-d", "--name", "without", "dockerinaction/ch4_ia"]);
        let missing = book.run(&["exec", "without", tool]);
        assert!([126, 127].contains(&missing.code), "{}", missing.code);
        book.remove(&["without"]);
        let volume = book.volume("tools", "/operations/tools");
        book.ok(&["rm", "-v", "tools"]);
        assert!(!book.has_volume(&volume));
    });
}

/// S4-12 (C4-28, C4-29, B4-28): one image, two behaviours.
#[test]
fn s4_12_dev_prod_polymorphism() {
    with_both(&["busybox", "ch4_packed_config", "ch4_polyapp"], |book| {
        for (name, place, app, wanted) in [
            ("devConfig", "development", "devApp", "{\"env\":\"dev\"}"),
            ("prodConfig", "production", "prodApp", "{\"env\":\"prod\"}"),
        ] {
            let copy = format!("cp /{place}/* /config/");
            let image = "dockerinaction/ch4_packed_config:latest";
            book.says(&["--name", name, "-v", "/config", image, "/bin/sh", "-c", &copy]);
            let shown = book.says(&["--name", app, "--volumes-from", name, "dockerinaction/ch4_polyapp"]);
            assert_eq!(shown, wanted);
            assert_eq!(book.inspect(app, "{{len .Mounts}}"), "1");
        }
        assert_eq!(book.inspect("devApp", "{{.Image}}"), book.inspect("prodApp", "{{.Image}}"));
        book.remove(&["devConfig", "prodConfig", "devApp", "prodApp"]);
    });
}

/// C4-23, B4-04, B4-10, B4-25, B4-26: what a path is, and who keeps to it.
#[test]
fn paths_of_volumes_are_contracts_that_nobody_checks() {
    with_both(&["busybox"], |book| {
        // In the order of their paths, whatever the order of the flags.
        book.ok(&["create", "--name", "order", "-v", "/z", "-v", "/a", "-v", "/m", "busybox", "true"]);
        let order = "{{range .Mounts}}{{.Destination}} {{end}}{{json .Config.Volumes}}";
        assert!(
            book.inspect("order", order).ends_with("{\"/a\":{},\"/m\":{},\"/z\":{}}"),
            "{}",
            book.inspect("order", order)
        );
        // A provider of /logs, a consumer of /var/logs: no complaint, and no logs.
        book.says(&["--name", "provider", "-v", "/logs", "busybox", "sh", "-c", "echo one > /logs/log"]);
        let consumer = ["--rm", "--volumes-from", "provider", "busybox", "ls"];
        assert_eq!(book.says(&[&consumer[..], &["/logs"]].concat()), "log");
        let missing = book.run(&[&["run"], &consumer[..], &["/var/logs"]].concat());
        assert_ne!(missing.code, 0);
        missing.complains("/var/logs: No such file or directory").done();
        // A volume more than was wanted hides what the consumer has there.
        book.says(&["--name", "shadow", "-v", "/etc/network", "busybox", "true"]);
        book.says(&["--name", "hider", "-v", "/bin/extra", "busybox", "true"]);
        let seen = ["--rm", "--volumes-from", "hider", "busybox", "ls", "/bin/extra"];
        assert_eq!(book.says(&seen), "");
        // A path that does not begin at the root is a name, or refused.
        let refused = book.run(&["create", "-v", "relative/path:/x", "busybox", "true"]);
        assert_ne!(refused.code, 0);
        refused.complains("includes invalid characters for a local volume name").done();
        // All that has stopped goes, with its volumes; what runs is named and stays.
        book.says(&["-d", "--name", "runs", "-v", "/r", "busybox", "sleep", "1000"]);
        let (gone, kept) = (book.volume("provider", "/logs"), book.volume("runs", "/r"));
        let all = ["order", "provider", "shadow", "hider", "runs"];
        let removed = book.run(&[&["rm", "-v"], &all[..]].concat()).exits(1);
        removed.complains("container is running").done();
        assert!(!book.has_volume(&gone) && book.has_volume(&kept));
        book.remove(&["runs"]);
    });
}

/// S4-13 (B4-23, B4-30): backed up, upgraded, restored.
#[test]
fn s4_13_database_upgrade_and_backup() {
    let daemon = with_images(&["busybox", "lamp"]);
    let book = Book { daemon: &daemon, client: Client::Minke };
    let data = "/var/lib/mysql";
    book.ok(&["tag", "lamp", "lamp:newer"]);
    let serve = |name: &str, from: &str, image: &str| {
        let args = [
            "-d",
            "--name",
            name,
            "--volumes-from",
            from,
            "-e",
            "MYSQL_ROOT_PASSWORD=ch4",
            image,
            "database",
        ];
        book.says(&args);
        answers_sql(&book, name);
    };
    book.says(&["--name", "vc_data", "-v", data, "busybox", "true"]);
    serve("old", "vc_data", "lamp");
    sql(&book, "old:db", "CREATE DATABASE kept; CREATE TABLE kept.t (n INT); INSERT INTO kept.t VALUES (42)")
        .ok()
        .done();
    book.ok(&["stop", "old"]);
    book.remove(&["old"]);
    let backup = host_directory();
    let here = format!("{}:/backup", text(backup.path()));
    let tar = ["busybox", "tar", "-C", data, "-cf", "/backup/data.tar", "."];
    book.says(&[&["--rm", "--volumes-from", "vc_data", "-v", &here], &tar[..]].concat());
    serve("newer", "vc_data", "lamp:newer");
    let look = "SELECT n FROM kept.t";
    assert_eq!(sql(&book, "newer:db", look).ok().text(), "42");
    book.remove(&["newer"]);
    book.says(&["--name", "vc_fresh", "-v", data, "busybox", "true"]);
    let untar = ["busybox", "tar", "-C", data, "-xf", "/backup/data.tar"];
    book.says(&[&["--rm", "--volumes-from", "vc_fresh", "-v", &here], &untar[..]].concat());
    serve("restored", "vc_fresh", "lamp");
    assert_eq!(sql(&book, "restored:db", look).ok().text(), "42");
    book.remove(&["restored", "vc_data", "vc_fresh"]);
    book.ok(&["rmi", "lamp:newer"]);
}

/// B4-31: which storage a directory is on is its host's affair; who wants memory, or a disk, binds it from there.
#[test]
fn b4_31_storage_is_chosen_by_binding_it() {
    let daemon = with_images(&["busybox"]);
    if daemon.is_peer() {
        // Its directories may not be this process's.
        return;
    }
    let fast = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let slow = host_directory();
    for client in BOTH {
        let book = Book { daemon: &daemon, client };
        let (fast, slow) = (format!("{}:/fast", text(fast.path())), format!("{}:/slow", text(slow.path())));
        let look = ["busybox", "sh", "-c", "touch /fast/a /slow/a; stat -f -c %T /fast"];
        assert_eq!(book.says(&[&["--rm", "-v", &fast, "-v", &slow], &look[..]].concat()), "tmpfs");
    }
    for directory in [fast.path(), slow.path()] {
        assert!(directory.join("a").exists(), "{}", directory.display());
    }
}
