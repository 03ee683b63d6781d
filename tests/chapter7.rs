//! Chapter 7 of the book: packaging software in images by hand. Scenarios 7-S01 to 7-S13; the rows (7-Cnn, 7-Bnn) that a scenario does not name are
//! beside what shows them. The book's `git` is a program of three lines here: what is promised is how images carry it.

use minke_testkit::{Client, Daemon, Options, Run, Terminal};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

fn with(images: &[&'static str]) -> Daemon {
    Daemon::with(Options { images: images.to_vec(), ..Options::default() })
}

/// One client on one daemon.
struct On<'d> {
    daemon: &'d Daemon,
    client: Client,
}

impl On<'_> {
    #[track_caller]
    fn run(&self, args: &[&str]) -> Run {
        self.daemon.run(self.client, args).ok()
    }

    #[track_caller]
    fn text(&self, args: &[&str]) -> String {
        self.run(args).text().to_owned()
    }

    fn id(&self, name: &str) -> String {
        self.daemon.inspect(name, "{{.Id}}")
    }

    fn json(&self, name: &str, field: &str) -> serde_json::Value {
        serde_json::from_str(&self.daemon.inspect(name, &format!("{{{{json {field}}}}}"))).expect("JSON")
    }
}

fn on_both(images: &[&'static str], mut work: impl FnMut(On<'_>)) {
    for client in BOTH {
        let daemon = with(images);
        work(On { daemon: &daemon, client });
        for container in daemon.minke(&["ps", "-aq"]).ok().text().lines() {
            daemon.minke(&["rm", "-vf", container]).ok().done();
        }
    }
}

const GIT: &str = "printf '#!/bin/sh\\nif [ \"$1\" = version ]; then echo git version 1.9.1; else echo usage: git COMMAND; exit 1; fi\\n' \
    > /usr/bin/git && chmod 755 /usr/bin/git && echo a package list > /var/packages";

/// 7-S01, SL-S01 (7-C01 to 7-C04; 7-B01 to 7-B03, 7-O05): the flat verbs and the grouped ones do the same.
#[test]
fn s7_01_hello_image() {
    on_both(&["busybox"], |on| {
        for (number, group) in [None, Some("container")].into_iter().enumerate() {
            let verb = |args: &[&str]| {
                let words: Vec<&str> = group.iter().copied().chain(args.iter().copied()).collect();
                on.text(&words)
            };
            let (container, image) = (format!("hw_container{number}"), format!("hw_image{number}"));
            verb(&["run", "--name", &container, "busybox:latest", "touch", "/HelloWorld"]);
            assert_eq!(on.daemon.inspect(&container, "{{.State.ExitCode}}"), "0");
            let id = verb(&["commit", &container, &image]);
            assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
            assert_eq!(on.id(&format!("{image}:latest")), id);
            verb(&["rm", "-vf", &container]);
            assert!(verb(&["run", "--rm", &image, "ls", "-l", "/HelloWorld"]).ends_with("/HelloWorld"));
        }
    });
}

/// 7-S02 (7-C05, 7-C06, 7-C11 to 7-C14; 7-B04, 7-B08 to 7-B10) and 7-S03 (7-C15 to 7-C18; 7-B11, 7-B12, SL-C07).
#[test]
fn s7_02_and_s7_03_git_by_hand_and_as_an_entrypoint() {
    on_both(&["debian"], |on| {
        let command =
            on.daemon.command(on.client, &["run", "-it", "--name", "image-dev", "debian", "/bin/bash"]);
        let mut terminal = Terminal::spawn(&command, 24, 200);
        terminal.expect("# ");
        terminal.send(&format!("{GIT}\r"));
        terminal.send("git version\r");
        terminal.expect("git version 1.9.1");
        terminal.send("exit\r");
        assert_eq!(terminal.wait(), 0, "{}", terminal.shown());
        assert_eq!(on.daemon.inspect("image-dev", "{{.State.Status}}"), "exited");
        assert!(on.text(&["ps", "-a", "--format", "{{.Names}}"]).lines().any(|name| name == "image-dev"));
        let diff = on.text(&["diff", "image-dev"]);
        for line in ["A /usr/bin/git", "C /usr/bin", "C /usr", "C /var", "A /var/packages"] {
            assert!(diff.lines().any(|found| found == line), "{line}: {diff}");
        }
        let id = on.text(&["commit", "-a", "@dockerinaction", "-m", "Added git", "image-dev", "ubuntu-git"]);
        assert_eq!(on.json("ubuntu-git", ".Author"), "@dockerinaction");
        assert_eq!(on.json("ubuntu-git", ".Comment"), "Added git");
        let list = on.text(&["images", "--format", "{{.Repository}} {{.Tag}} {{.ID}}"]);
        assert!(list.contains(&format!("ubuntu-git latest {}", &id[7..19])), "{list}");
        assert_eq!(on.text(&["run", "--rm", "ubuntu-git", "git", "version"]), "git version 1.9.1");
        assert_eq!(on.text(&["run", "--rm", "ubuntu-git"]), "", "the shell has no input");

        let usage =
            on.daemon.run(on.client, &["run", "--name", "cmd-git", "--entrypoint", "git", "ubuntu-git"]);
        usage.exits(1).says("usage: git").done();
        assert_eq!(
            on.json("cmd-git", ".Config.Cmd"),
            serde_json::Value::Null,
            "the image's command is not for it"
        );
        let second =
            on.text(&["commit", "-m", "Set CMD git", "-a", "@dockerinaction", "cmd-git", "ubuntu-git"]);
        assert_eq!(on.id("ubuntu-git:latest"), second);
        assert_ne!(id, second, "the name has moved");
        assert_eq!(on.json(&id, ".RepoTags"), serde_json::json!([]), "the earlier image stays (7-B45)");
        on.run(&["rm", "-vf", "cmd-git"]).done();
        assert_eq!(on.text(&["run", "--name", "cmd-git", "ubuntu-git", "version"]), "git version 1.9.1");
        assert_eq!(on.json("ubuntu-git", ".Config.Entrypoint"), serde_json::json!(["git"]));
        assert_eq!(on.json("ubuntu-git", ".Parent"), serde_json::Value::String(id), "7-B22");
    });
}

/// 7-S04 (7-C07 to 7-C10, 7-C25 to 7-C27; 7-B05 to 7-B07, SL-C05).
#[test]
fn s7_04_diff_truth_table() {
    on_both(&["busybox"], |on| {
        let cases: [(&str, &[&str]); 10] = [
            ("touch /HelloWorld", &["A /HelloWorld"]),
            ("touch /mychange", &["A /mychange"]),
            ("rm /bin/vi", &["C /bin", "D /bin/vi"]),
            ("touch /bin/vi", &["C /bin", "C /bin/busybox"]),
            ("rm /etc/passwd", &["C /etc", "D /etc/passwd"]),
            ("touch /etc/passwd", &["C /etc", "C /etc/passwd"]),
            ("mkdir /new && touch /new/file", &["A /new", "A /new/file"]),
            ("rm /etc/passwd && echo again > /etc/passwd", &["C /etc", "C /etc/passwd"]),
            ("chmod 700 /etc/passwd", &["C /etc", "C /etc/passwd"]),
            (
                "mkdir -p /etc/a/b/c/d && touch /etc/a/b/c/d/e",
                &["C /etc", "A /etc/a", "A /etc/a/b", "A /etc/a/b/c", "A /etc/a/b/c/d", "A /etc/a/b/c/d/e"],
            ),
        ];
        for (number, (script, expected)) in cases.into_iter().enumerate() {
            let name = format!("tweak-{number}");
            on.run(&["run", "--name", &name, "busybox", "sh", "-c", script]).done();
            let diff = on.text(&["diff", &name]);
            let mut lines: Vec<&str> = diff.lines().collect();
            lines.sort_by_key(|line| &line[2..]);
            assert_eq!(lines, expected, "{script}");
            on.run(&["rm", "-vf", &name]).done();
        }
        // A change five deep is a row for each level, the root's excepted.
        on.run(&["run", "--name", "deep", "busybox", "sh", "-c", "mkdir -p /a/b/c/d && echo x > /a/b/c/d/e"])
            .done();
        on.run(&["commit", "deep", "deep"]).done();
        on.run(&["run", "--name", "deeper", "deep", "sh", "-c", "echo more >> /a/b/c/d/e"]).done();
        let diff = on.text(&["diff", "deeper"]);
        let mut lines: Vec<&str> = diff.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["C /a", "C /a/b", "C /a/b/c", "C /a/b/c/d", "C /a/b/c/d/e"]);
    });
}

/// 7-S05 (7-C19 to 7-C24; 7-B13, 7-B14, SL-B01).
#[test]
fn s7_05_context_is_inherited() {
    on_both(&["busybox"], |on| {
        let values = ["-e", "ENV_EXAMPLE1=Rich", "-e", "ENV_EXAMPLE2=Example"];
        let more = ["-w", "/srv", "-v", "/data", "--expose", "80"];
        let name = ["run", "--name", "rich-image-example"];
        on.run(&[&name[..], &values, &more, &["busybox:latest"]].concat()).done();
        on.run(&["commit", "rich-image-example", "rie"]).done();
        let echo = "echo $ENV_EXAMPLE1 $ENV_EXAMPLE2";
        assert_eq!(on.text(&["run", "--rm", "rie", "/bin/sh", "-c", echo]), "Rich Example");
        let second = ["run", "--name", "rich-image-example-2", "--entrypoint", "/bin/sh", "rie", "-c", echo];
        assert_eq!(on.text(&second), "Rich Example");
        let before = on.json("rie", ".RootFS.Layers");
        on.run(&["commit", "rich-image-example-2", "rie"]).done();
        assert_eq!(on.text(&["run", "--rm", "rie"]), "Rich Example");
        let config = on.json("rie", ".Config");
        assert_eq!(config["WorkingDir"], "/srv");
        assert_eq!(config["ExposedPorts"], serde_json::json!({"80/tcp": {}}));
        assert_eq!(config["Volumes"], serde_json::json!({"/data": {}}));
        assert_eq!(config["Entrypoint"], serde_json::json!(["/bin/sh"]));
        assert_eq!(config["Cmd"], serde_json::json!(["-c", echo]));
        let environment = config["Env"].as_array().expect("a list");
        assert!(environment.contains(&"ENV_EXAMPLE1=Rich".into()), "{config}");
        // Nothing of the host that it ran on.
        assert!(config.get("Hostname").is_none_or(|name| name == ""), "{config}");
        // It behaves otherwise and has no file more.
        assert_eq!(on.json("rie", ".RootFS.Layers"), before);
        let sizes = on.text(&["history", "--human=false", "--format", "{{.Size}}", "rie"]);
        assert_eq!(sizes.lines().next(), Some("0"), "{sizes}");
    });
}

/// 7-S06 (7-C28 to 7-C31; 7-B21, 7-B23 to 7-B28, 7-O03, SL-C08) and the three kinds of names.
#[test]
fn s7_06_ids_and_tags() {
    on_both(&["busybox"], |on| {
        on.run(&["run", "--name", "mod_ubuntu", "busybox", "touch", "/mychange"]).done();
        let nameless = on.text(&["commit", "mod_ubuntu"]);
        let named = on.text(&["commit", "mod_ubuntu", "myuser/myfirstrepo:mytag"]);
        assert_ne!(nameless, named);
        let layers = |id: &str| on.json(id, ".RootFS.Layers");
        assert_eq!(layers(&nameless), layers(&named), "the same files are the same layer");
        for name in [&nameless, &nameless[7..], &nameless[7..19]] {
            on.run(&["run", "--rm", name, "ls", "/mychange"]).done();
        }
        on.run(&["tag", "myuser/myfirstrepo:mytag", "myuser/mod_ubuntu"]).done();
        assert_eq!(on.id("myuser/mod_ubuntu:latest"), named);
        let rows = on.text(&["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}"]);
        let of = |name: &str| {
            rows.lines().find(|row| row.starts_with(name)).map(|row| row[name.len()..].to_owned())
        };
        assert_eq!(of("myuser/myfirstrepo:mytag"), of("myuser/mod_ubuntu:latest"), "{rows}");
        on.run(&["rmi", "myuser/myfirstrepo:mytag"]).says("Untagged: myuser/myfirstrepo:mytag").done();
        assert_eq!(on.id("myuser/mod_ubuntu"), named);
        on.daemon.run(on.client, &["inspect", "myuser/myfirstrepo:latest"]).exits(1).done();
    });
}

fn image_bytes(on: &On<'_>, name: &str) -> i64 {
    on.json(name, ".Size").as_i64().expect("a number")
}

/// 7-S07 (7-C33 to 7-C38; 7-B30, 7-B31, 7-B33, 7-O01, 7-O02) and 7-S08 (7-B29, 7-B34, 7-B35).
#[test]
fn s7_07_and_s7_08_size_never_shrinks_and_branches_share() {
    on_both(&["debian"], |on| {
        let install = format!("{GIT} && head -c 300000 /dev/urandom > /usr/share/git-data");
        on.run(&["run", "--name", "dev", "--entrypoint", "/bin/sh", "debian", "-c", &install]).done();
        on.run(&["commit", "-c", "ENTRYPOINT [\"git\"]", "dev", "ubuntu-git"]).done();
        on.run(&["tag", "ubuntu-git:latest", "ubuntu-git:1.9"]).done();
        let remove = ["-c", "rm /usr/bin/git /usr/share/git-data; echo gone >> /var/packages"];
        let entry = ["run", "--name", "image-dev2", "--entrypoint", "/bin/bash", "ubuntu-git:latest"];
        on.run(&[&entry[..], &remove].concat()).done();
        on.run(&["commit", "image-dev2", "ubuntu-git:removed"]).done();
        on.run(&["tag", "ubuntu-git:removed", "ubuntu-git:latest"]).done();
        assert_eq!(on.id("ubuntu-git:latest"), on.id("ubuntu-git:removed"));
        assert_ne!(on.id("ubuntu-git:1.9"), on.id("ubuntu-git:removed"));
        assert!(image_bytes(&on, "ubuntu-git:removed") >= image_bytes(&on, "ubuntu-git:1.9"));
        assert_eq!(on.text(&["run", "--rm", "ubuntu-git:1.9", "version"]), "git version 1.9.1");

        let history = on.text(&[
            "history",
            "--no-trunc",
            "--human=false",
            "--format",
            "{{.ID}}\t{{.Size}}\t{{.CreatedBy}}",
            "ubuntu-git:removed",
        ]);
        let rows: Vec<Vec<&str>> = history.lines().map(|row| row.split('\t').collect()).collect();
        let base = on.text(&["history", "-q", "debian"]).lines().count();
        assert_eq!(rows.len(), base + 2, "{history}");
        assert_eq!(rows[0][0], on.id("ubuntu-git:removed"));
        assert_eq!(rows[1][0], on.id("ubuntu-git:1.9"), "steps made here have their images' ids");
        assert!(rows[0][2].contains("rm /usr/bin/git"), "{history}");
        let sum: i64 = rows.iter().map(|row| row[1].parse::<i64>().expect("bytes")).sum();
        assert_eq!(sum, image_bytes(&on, "ubuntu-git:removed"), "{history}");
        let table = on.text(&["history", "ubuntu-git:removed"]);
        for column in ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"] {
            assert!(table.lines().next().is_some_and(|head| head.contains(column)), "{table}");
        }

        // A branch from the base shares it.
        let other = format!("{GIT} && sed -i s/1.9.1/2.0/ /usr/bin/git");
        on.run(&["run", "--name", "branch", "--entrypoint", "/bin/sh", "debian", "-c", &other]).done();
        on.run(&["commit", "branch", "ubuntu-git:v2"]).done();
        let layers = |name: &str| on.json(name, ".RootFS.Layers").as_array().expect("a list").clone();
        let below = layers("debian");
        assert_eq!(layers("ubuntu-git:v2")[..below.len()], below[..]);
        assert_eq!(layers("ubuntu-git:1.9")[..below.len()], below[..]);
        let shared = on.text(&["system", "df", "-v", "--format", "{{json .}}"]);
        let df: serde_json::Value = serde_json::from_str(&shared).expect("JSON");
        let rows = df["Images"].as_array().expect("images");
        let unique = |tag: &str| {
            let row = rows.iter().find(|row| row["Repository"] == "ubuntu-git" && row["Tag"] == tag);
            row.expect("the image")["UniqueSize"].as_str().expect("a size").to_owned()
        };
        assert!(unique("v2").ends_with('B') && !unique("v2").contains("MB"), "{shared}");
    });
}

/// 7-S09 (7-C39 to 7-C42, 7-C47; 7-B36, 7-E06, SL-C10).
#[test]
fn s7_09_export() {
    on_both(&["busybox"], |on| {
        let make =
            "mkdir /packed && cp /bin/echo /packed/echo && echo readme > /packed/readme && rm /bin/wget";
        on.run(&["run", "--name", "make", "busybox", "sh", "-c", make]).done();
        on.run(&["commit", "-c", "WORKDIR /packed", "make", "ch7_packed"]).done();
        let says = on.text(&["run", "--name", "export-test", "ch7_packed", "./echo", "For", "Export"]);
        assert_eq!(says, "For Export", "relative to the working directory");
        let path = on.daemon.path().join("contents.tar");
        on.run(&["export", "--output", &path.to_string_lossy(), "export-test"]).done();
        let piped = on.daemon.path().join("piped.tar");
        let mut command = on.daemon.command(on.client, &["export", "export-test"]);
        command.stdout(std::fs::File::create(&piped).expect("a file"));
        assert!(command.status().expect("export runs").success());
        on.run(&["rm", "export-test"]).done();
        let list = |path: &std::path::Path| -> Vec<String> {
            let mut tar = tar::Archive::new(std::fs::File::open(path).expect("the archive"));
            tar.entries()
                .expect("entries")
                .map(|entry| entry.expect("an entry").path().expect("a path").to_string_lossy().into_owned())
                .collect()
        };
        let names = list(&path);
        assert_eq!(names, list(&piped));
        for name in ["packed/echo", "packed/readme"] {
            assert!(names.iter().any(|found| found == name), "{name}");
        }
        assert!(
            !names.iter().any(|name| name.ends_with("wget") || name.contains(".wh.")),
            "what was removed"
        );
    });
}

/// 7-S10 (7-C43 to 7-C46; 7-B37 to 7-B39, 7-O06). A Go compiler is no package of these fixtures: busybox is the static program.
#[test]
fn s7_10_static_image_round_trip() {
    on_both(&["busybox"], |on| {
        let program =
            std::fs::read(minke_testkit::fixtures::busybox_rootfs().join("bin/busybox")).expect("busybox");
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(program.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, "busybox", &program[..]).expect("pack");
        let plain = tar.into_inner().expect("pack");
        let path = on.daemon.path().join("static_hello.tar");
        std::fs::write(&path, &plain).expect("write");
        let pack = |program: &str| {
            let output = std::process::Command::new(program).arg("-c").arg(&path).output();
            output.unwrap_or_else(|error| panic!("{program} is needed: {error}")).stdout
        };
        let inputs =
            [("plain", plain.clone()), ("gz", pack("gzip")), ("bz2", pack("bzip2")), ("xz", pack("xz"))];
        for (kind, bytes) in inputs {
            let name = format!("dockerinaction/ch7_static:{kind}");
            let args = [
                "import",
                "-c",
                "ENTRYPOINT [\"/busybox\", \"echo\"]",
                "-c",
                "CMD [\"hello, world!\"]",
                "-",
                &name,
            ];
            let id = on.daemon.run_with_input(on.client, &args, &bytes).ok();
            assert_eq!(on.id(&name), id.text(), "{kind}");
            assert_eq!(on.text(&["run", "--rm", &name]), "hello, world!");
            let history = on.text(&[
                "history",
                "--no-trunc",
                "--human=false",
                "--format",
                "{{.CreatedBy}}|{{.Size}}",
                &name,
            ]);
            assert_eq!(history, format!("|{}", program.len()), "one row that says nothing of a command");
        }
        // From an address, and without any instruction: nothing is known of it.
        let server = on.daemon.host_netns().serve_http("127.0.0.1:0", move |head, _body| {
            head.starts_with("GET /static_hello.tar ").then(|| plain.clone())
        });
        let from = |file: &str| format!("http://{}/{file}", server.address());
        on.run(&["import", &from("static_hello.tar"), "dockerinaction/ch7_static:url"]).done();
        let config = on.json("dockerinaction/ch7_static:url", ".Config");
        for key in ["Cmd", "Entrypoint", "Env", "ExposedPorts", "Volumes"] {
            assert!(
                config
                    .get(key)
                    .is_none_or(|value| value.is_null() || value.as_array().is_some_and(Vec::is_empty)),
                "{key}: {config}"
            );
        }
        assert_eq!(
            on.text(&["run", "--rm", "dockerinaction/ch7_static:url", "/busybox", "echo", "hello"]),
            "hello"
        );
        on.daemon
            .run(on.client, &["import", &from("nothing.tar"), "nothing"])
            .exits(1)
            .complains("404")
            .done();
    });
}

/// 7-S11 (7-B40 to 7-B45).
#[test]
fn s7_11_tag_scheme() {
    on_both(&["busybox"], |on| {
        let build = |version: &str| {
            let name = format!("build-{version}");
            on.run(&["run", "--name", &name, "busybox", "sh", "-c", &format!("echo {version} > /version")])
                .done();
            on.text(&["commit", &name])
        };
        let first = build("1.9.1");
        for tag in ["1", "1.9", "1.9.1", "latest"] {
            on.run(&["tag", &first, &format!("app:{tag}")]).done();
        }
        let second = build("1.9.2");
        for tag in ["1", "1.9", "1.9.2", "latest"] {
            on.run(&["tag", &second, &format!("app:{tag}")]).done();
        }
        for (tag, version) in
            [("1", "1.9.2"), ("1.9", "1.9.2"), ("1.9.2", "1.9.2"), ("latest", "1.9.2"), ("1.9.1", "1.9.1")]
        {
            assert_eq!(on.text(&["run", "--rm", &format!("app:{tag}"), "cat", "/version"]), version, "{tag}");
        }
        let tags = on.text(&["images", "app", "--format", "{{.Tag}}"]);
        let mut tags: Vec<&str> = tags.lines().collect();
        tags.sort_unstable();
        assert_eq!(tags, ["1", "1.9", "1.9.1", "1.9.2", "latest"]);
    });
}

/// 7-S12 (figure 7.4; 7-B15 to 7-B20).
#[test]
fn s7_12_layers_stack() {
    on_both(&["busybox"], |on| {
        let steps = [
            "mkdir /f && cd /f && for n in 1 2 3 4 5 6; do echo one > $n; done",
            "cd /f && rm 2 4 && echo two > 3 && echo two > 7 && echo two >> 5",
            "cd /f && echo three > 4 && rm 3 7 && chmod 600 6",
        ];
        let mut base = "busybox".to_owned();
        for (number, step) in steps.iter().enumerate() {
            let name = format!("step{number}");
            on.run(&["run", "--name", &name, &base, "sh", "-c", step]).done();
            base = format!("fig:{number}");
            on.run(&["commit", &name, &base]).done();
        }
        let show = "cd /f && for n in *; do echo $n $(stat -c %a $n) $(cat $n); done";
        let seen = |image: &str| on.text(&["run", "--rm", image, "sh", "-c", show]);
        assert_eq!(seen("fig:0"), "1 644 one\n2 644 one\n3 644 one\n4 644 one\n5 644 one\n6 644 one");
        assert_eq!(seen("fig:1"), "1 644 one\n3 644 two\n5 644 one two\n6 644 one\n7 644 two");
        let last = "1 644 one\n4 644 three\n5 644 one two\n6 600 one";
        assert_eq!(seen("fig:2"), last);
        // As a file, what was deleted stays so.
        let file = on.daemon.path().join("fig.tar");
        on.run(&["save", "-o", &file.to_string_lossy(), "fig:2"]).done();
        on.daemon.run(on.client, &["rmi", "-f", "fig:2", "fig:1", "fig:0"]).done();
        on.run(&["load", "-i", &file.to_string_lossy()]).done();
        assert_eq!(seen("fig:2"), last);
    });
}

/// 7-S13 (7-B32, 7-O04): far beyond AUFS's 42, and a sentence at the end.
#[test]
fn s7_13_layer_limit() {
    let daemon = with(&["busybox"]);
    let on = On { daemon: &daemon, client: Client::Minke };
    let mut base = "busybox".to_owned();
    let mut refused = None;
    for number in 0..130 {
        on.run(&["run", "--name", "step", &base, "sh", "-c", &format!("echo {number} > /layer-{number}")])
            .done();
        let commit = daemon.minke(&["commit", "step", "deep"]);
        on.run(&["rm", "step"]).done();
        if !commit.stderr.is_empty() {
            refused = Some((number, commit));
            break;
        }
        base = "deep".to_owned();
    }
    let (number, commit) = refused.expect("there is a limit");
    commit.exits(1).complains("max depth exceeded").done();
    assert!(number > 43, "{number}");
    let count = on.text(&["run", "--rm", "deep", "sh", "-c", "ls / | grep -c layer-"]);
    assert_eq!(count, number.to_string());
}

/// `commit` of a container that runs: it is frozen while its files are read, unless it must not be; what an instruction changes, and what no image
/// can be named.
#[test]
fn a_running_container_is_frozen_for_a_commit_unless_told_otherwise() {
    on_both(&["busybox"], |on| {
        let name = &minke_testkit::unique(&format!("runs-{:?}", on.client));
        on.run(&["run", "-d", "--name", name, "busybox", "sh", "-c", "echo kept > /file; sleep 100"]).done();
        minke_testkit::wait_until("the file is there", std::time::Duration::from_secs(5), || {
            on.text(&["diff", name]).contains("/file")
        });
        let changes = [
            "-c",
            "CMD [\"cat\", \"/file\"]",
            "-c",
            "ENV A=b",
            "-c",
            "LABEL one=two",
            "--change",
            "USER nobody",
        ];
        let args = [&["commit", "-m", "x"][..], &changes, &[name, "frozen"]].concat();
        on.run(&args).done();
        on.run(&["commit", "--pause=false", name, "quick"]).done();
        assert_eq!(on.daemon.inspect(name, "{{.State.Status}}"), "running");
        assert_eq!(on.text(&["run", "--rm", "frozen"]), "kept");
        let config = on.json("frozen", ".Config");
        assert_eq!(config["User"], "nobody");
        assert_eq!(config["Labels"], serde_json::json!({"one": "two"}));
        let events = on.daemon.events_of(name, "{{.Action}}");
        assert_eq!(events.iter().filter(|action| *action == "pause").count(), 1, "{events:?}");
        assert_eq!(events.iter().filter(|action| *action == "commit").count(), 2, "{events:?}");
        let bad = on.daemon.run(on.client, &["commit", name, "Upper"]);
        bad.exits(1).complains("must be lowercase").done();
        let bad = on.daemon.run(on.client, &["commit", "-c", "RUN true", name, "x"]);
        bad.exits(1).complains("is not a valid change command").done();
        on.daemon
            .run(on.client, &["commit", "nosuch"])
            .exits(1)
            .complains("No such container: nosuch")
            .done();
    });
}

/// What was built on an image keeps it; nameless ones below go with the last on top, unless they are to stay (`--no-prune`).
#[test]
fn parents_are_kept_by_children_and_go_with_them() {
    on_both(&["busybox"], |on| {
        let step = |base: &str, name: &str, text: &str| {
            on.run(&["run", "--name", "step", base, "sh", "-c", text]).done();
            let id = match name {
                "" => on.text(&["commit", "step"]),
                name => on.text(&["commit", "step", name]),
            };
            on.run(&["rm", "step"]).done();
            id
        };
        let short = |ids: String| -> Vec<String> { ids.lines().map(str::to_owned).collect() };
        let listed = |args: &[&str]| short(on.text(&[&["images", "-q", "--no-trunc"][..], args].concat()));
        let lower = step("busybox", "", "touch /1");
        let top = step(&lower, "top", "touch /2");
        let refused = on.daemon.run(on.client, &["rmi", &lower]);
        refused.exits(1).complains("image has dependent child images").done();
        assert!(!listed(&[]).contains(&lower), "a step of another image is not shown");
        assert!(listed(&["-a"]).contains(&lower));
        assert!(!listed(&["--filter", "dangling=true"]).contains(&lower));
        on.run(&["image", "prune", "-f"]).done();
        assert_eq!(on.id(&lower), lower, "nor pruned");
        on.run(&["rmi", "--no-prune", "top"]).says(&format!("Deleted: {top}")).done();
        assert_eq!(on.id(&lower), lower);
        let top = step(&lower, "top", "touch /2");
        on.run(&["rmi", "top"]).says(&format!("Deleted: {top}")).says(&format!("Deleted: {lower}")).done();
        let left = listed(&["-a"]);
        assert!(!left.contains(&top) && !left.contains(&lower), "{left:?}");
        if !on.daemon.is_peer() {
            assert_eq!(left.len(), 1, "busybox is left");
        }
    });
}
