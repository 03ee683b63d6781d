//! Command lines as people type them, and the pages they read.

use crate::commands::body::{self, Streams};
use crate::commands::variables;
use crate::flag::{Complete, Flag};
use crate::given::{Given, Help};
use crate::session::{GLOBALS, Session};
use crate::table::{self, Found};
use crate::{completion, help};
use serde_json::{Value, json};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn given(line: &str) -> Result<Given, String> {
    let words = words(line);
    let Found::Command { path, command, used } = table::find(&words) else { panic!("no command: {line}") };
    let flags: Vec<&'static Flag> = command.flags().collect();
    let mut given = Given::parse(&flags, command.interspersed, &words[used..])?;
    given.path = path.to_owned();
    Ok(given)
}

#[test]
fn clustered_flags_and_values_in_every_form_are_understood() {
    let run = given("run -itd --rm=false --name=x -e A=1 -eB=2 --env=C=3 -m=5m -u 1 busybox sh -c -x --rm")
        .unwrap();
    assert!(run.on("interactive") && run.on("tty") && run.on("detach") && !run.on("rm"));
    assert_eq!((run.str("name"), run.str("memory"), run.str("user")), ("x", "5m", "1"));
    assert_eq!(run.list("env"), ["A=1", "B=2", "C=3"]);
    assert_eq!(run.args, ["busybox", "sh", "-c", "-x", "--rm"]);
}

#[test]
fn flags_may_follow_arguments_unless_those_are_a_command_line() {
    let rm = given("rm a -f b").unwrap();
    assert!(rm.on("force"));
    assert_eq!(rm.args, ["a", "b"]);
    assert_eq!(given("rm -- -f").unwrap().args, ["-f"]);
    assert_eq!(given("exec c ls -l").unwrap().args, ["c", "ls", "-l"]);
}

#[test]
fn wrong_flags_are_refused_in_pflags_words() {
    let fails = |line: &str, why: &str| assert_eq!(given(line).unwrap_err(), why, "{line}");
    fails("run --foo x", "unknown flag: --foo");
    fails("run -Zx", "unknown shorthand flag: 'Z' in -Zx");
    fails("run -itZ", "unknown shorthand flag: 'Z' in -Z");
    fails("run -p", "flag needs an argument: 'p' in -p");
    fails("run --name", "flag needs an argument: --name");
    fails("run --=x", "bad flag syntax: --=x");
    fails("run -m zz x", "invalid argument \"zz\" for \"-m, --memory\" flag: invalid size: 'zz'");
    fails(
        "ps -n x",
        "invalid argument \"x\" for \"-n, --last\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
    );
    fails(
        "ps -f x",
        "invalid argument \"x\" for \"-f, --filter\" flag: bad format of filter (expected name=value)",
    );
    fails(
        "run --cpus 1.0000000001 x",
        "invalid argument \"1.0000000001\" for \"--cpus\" flag: value is too precise",
    );
}

#[test]
fn help_is_asked_for_long_or_short_but_dash_h_of_run_is_the_host_name() {
    assert_eq!(given("ps --help").unwrap().help, Some(Help::Long));
    assert_eq!(given("ps -h").unwrap().help, Some(Help::Short));
    assert_eq!(given("ps --help=false").unwrap().help, None);
    let run = given("run -h box busybox").unwrap();
    assert_eq!((run.help, run.str("hostname")), (None, "box"));
}

#[test]
fn every_command_is_found_by_each_of_its_names() {
    for command in table::commands() {
        for path in command.paths {
            match table::find(&words(path)) {
                Found::Command { command: found, .. } => assert!(std::ptr::eq(found, command), "{path}"),
                other => panic!("{path}: {other:?}"),
            }
        }
    }
    assert!(matches!(table::find(&words("container")), Found::Group { name: "container", .. }));
    assert!(matches!(
        table::find(&words("container frob")),
        Found::UnknownInGroup { group: "container", .. }
    ));
    assert!(matches!(table::find(&words("trust ls")), Found::Later { .. }));
    assert!(matches!(table::find(&words("service ls")), Found::Later { path } if path == "service ls"));
    assert!(matches!(table::find(&words("frob")), Found::Unknown { .. }));
}

#[test]
fn no_command_promised_for_later_is_already_there() {
    for command in table::commands() {
        for path in command.paths {
            assert!(!matches!(table::find(&words(path)), Found::Later { .. }), "{path}");
        }
    }
}

#[test]
fn flags_of_a_command_have_names_of_their_own() {
    for command in table::commands() {
        let flags: Vec<_> = command.flags().collect();
        for (at, flag) in flags.iter().enumerate() {
            for other in &flags[at + 1..] {
                assert_ne!(flag.long, other.long, "{}", command.paths[0]);
                assert!(
                    flag.short == '\0' || flag.short != other.short,
                    "{} -{}",
                    command.paths[0],
                    flag.short
                );
            }
        }
    }
}

#[test]
fn slips_are_answered_with_a_guess() {
    assert_eq!(table::similar("imges"), ["images", "image"]);
    assert_eq!(table::similar("rn"), ["run", "rm"]);
    assert!(table::similar("zzzzzz").is_empty());
}

fn session() -> Session {
    let flags: Vec<&'static Flag> = GLOBALS.iter().collect();
    let globals = words("--config /nonexistent -H unix:///nonexistent/s");
    Session::new("docker".into(), Given::parse(&flags, false, &globals).unwrap())
}

fn body_of(line: &str) -> Result<Value, String> {
    let given = given(line).unwrap();
    body::build(&session(), &given, Streams::of(&given))
}

#[test]
fn a_plain_run_sends_what_docker_sends() {
    let body = body_of("run --rm busybox true").unwrap();
    let expected = include_str!("../testdata/create-plain.json");
    assert_eq!(body.to_string(), expected.trim());
}

#[test]
fn a_run_with_many_flags_sends_what_docker_sends() {
    let line = include_str!("../testdata/create-full.txt");
    let expected = include_str!("../testdata/create-full.json");
    assert_eq!(body_of(line).unwrap().to_string(), expected.trim());
}

#[test]
fn several_networks_gpus_and_health_off_send_what_docker_sends() {
    let line = include_str!("../testdata/create-networks.txt");
    let expected = include_str!("../testdata/create-networks.json");
    assert_eq!(body_of(line).unwrap().to_string(), expected.trim());
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let fails = |line: &str, why: &str| assert_eq!(body_of(line).unwrap_err(), why, "{line}");
    fails("run --rm --restart=always x", "conflicting options: cannot specify both --restart and --rm");
    fails("run --no-healthcheck --health-cmd y x", "--no-healthcheck conflicts with --health-* options");
    fails("run --pid zz x", "--pid: invalid PID mode");
    fails("run --memory-swappiness 200 x", "invalid value: 200. Valid memory swappiness range is 0-100");
    fails("run --env-file /nonexistent x", "open /nonexistent: no such file or directory");
    fails("run --log-driver none --log-opt a=b x", "invalid logging opts for driver none");
}

#[test]
fn streams_follow_attach_and_interactive() {
    let streams = |line: &str| {
        let s = Streams::of(&given(line).unwrap());
        (s.stdin, s.stdout, s.stderr)
    };
    assert_eq!(streams("run x"), (false, true, true));
    assert_eq!(streams("run -i x"), (true, true, true));
    assert_eq!(streams("run -a stdout x"), (false, true, false));
    assert_eq!(streams("run -a STDIN -a stderr x"), (true, false, true));
}

#[test]
fn env_files_have_comments_and_names_without_values() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("env");
    std::fs::write(&file, "\u{feff}# comment\n  A=1 \n\nHOME\nNOT_SET_ANYWHERE_AT_ALL\nB=x=y\n").unwrap();
    let home = std::env::var("HOME").unwrap();
    let env = variables::environment(&[file.to_str().unwrap()], &["C=3", "NOT_SET_ANYWHERE_AT_ALL"]).unwrap();
    assert_eq!(env, ["A=1 ", format!("HOME={home}").as_str(), "B=x=y", "C=3", "NOT_SET_ANYWHERE_AT_ALL"]);
    std::fs::write(&file, "A B=1\n").unwrap();
    assert!(
        variables::environment(&[file.to_str().unwrap()], &[]).unwrap_err().contains("contains whitespaces")
    );
}

/// Pages are compared with files; `MINKE_BLESS=1` writes them.
fn golden(name: &str, text: &str) {
    let path = format!("{}/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("MINKE_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == expected,
        "{name} changed; look at the difference and run the test with MINKE_BLESS=1:\n{text}"
    );
}

#[test]
fn help_pages_are_as_written_down() {
    let flags: Vec<&'static Flag> = GLOBALS.iter().collect();
    golden("help.txt", &help::top_page("minke", &flags, 80));
    golden("help-container.txt", &help::group_page("minke", "container", "Look after containers"));
    for name in ["run", "ps", "stop", "exec", "images"] {
        let line = words(name);
        let Found::Command { path, command, .. } = table::find(&line) else { panic!("{name}") };
        golden(&format!("help-{name}.txt"), &help::command_page("minke", path, command, 80));
    }
}

#[test]
fn completion_scripts_know_every_command_and_flag() {
    for script in [completion::bash("minke"), completion::zsh("minke"), completion::fish("minke")] {
        for command in table::commands() {
            let name = command.paths[0].rsplit(' ').next().unwrap();
            assert!(script.contains(name), "{name}");
        }
    }
    let bash = completion::bash("minke");
    assert!(bash.contains("--cidfile") && bash.contains("ps -a --format '{{.Names}}'"));
    let file = flag_of("run", "cidfile");
    assert_eq!(file.complete, Complete::Files);
}

fn flag_of(command: &str, long: &str) -> &'static Flag {
    let Found::Command { command, .. } = table::find(&words(command)) else { panic!("{command}") };
    command.flags().find(|f| f.long == long).unwrap()
}

#[test]
fn bash_takes_its_script() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("c.bash");
    std::fs::write(&script, completion::bash("minke")).unwrap();
    let ask = |line: &str| {
        let count = line.split(' ').count() - 1;
        let code = format!(
            "source {}; COMP_WORDS=({line}); [ {count} -lt ${{#COMP_WORDS[@]}} ] || COMP_WORDS+=(''); COMP_CWORD={count}; _minke_complete; echo ${{COMPREPLY[*]}}",
            script.display()
        );
        let out = std::process::Command::new("bash").args(["-c", &code]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(ask("minke rena"), "rename");
    assert_eq!(ask("minke container rest"), "restart");
    assert_eq!(ask("minke run --cidf"), "--cidfile");
    assert_eq!(ask("minke -D run --restart un"), "unless-stopped");
}

#[test]
fn counts_of_arguments_are_checked_in_dockers_words() {
    let refuse = |line: &str| {
        let words = words(line);
        let Found::Command { path, command, used } = table::find(&words) else { panic!("{line}") };
        command.check_args("docker", path, words.len() - used).unwrap_err().text
    };
    assert_eq!(
        refuse("rename a"),
        "docker: 'docker rename' requires 2 arguments\n\nUsage:  docker rename CONTAINER NEW_NAME\n\nRun 'docker rename --help' for more information"
    );
    assert!(
        refuse("container rm").starts_with("docker: 'docker container rm' requires at least 1 argument\n")
    );
    assert!(refuse("ps x").contains("accepts no arguments"));
}

#[test]
fn the_network_of_a_run_is_default_unless_said() {
    let body = body_of("run x").unwrap();
    assert_eq!(body["HostConfig"]["NetworkMode"], "default");
    assert_eq!(body_of("run --net host x").unwrap()["NetworkingConfig"]["EndpointsConfig"], json!({}));
}
