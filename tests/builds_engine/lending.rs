//! `--cache-from`.

use minke_testkit::registries::parts::open;
use minke_testkit::{Client, Daemon, Options};

use crate::{build, context};

const TEXT: &str = "FROM busybox:latest\nENV A=b\nCOPY a /d/\nRUN echo made > /made\nLABEL x=y\n";

/// What was built, pushed and forgotten lends every step again, out of the registry or once it is here; other files lend nothing that
/// stands on them.
#[test]
fn an_image_lends_its_steps_to_an_engine_that_never_did_them() {
    let daemon = Daemon::with(Options { images: vec!["busybox"], ..Options::default() });
    let registry = open(&daemon);
    let name = registry.named(&minke_testkit::unique("lender"));
    let directory = context(&daemon, "context", TEXT, &[("a", "A")]);
    let directory = directory.to_string_lossy();
    build(&daemon, Client::Minke, &["-q", "-t", &name, &directory]).ok().done();
    let id = daemon.inspect(&name, "{{.Id}}");
    daemon.minke(&["push", "-q", &name]).ok().done();
    let forget = || {
        daemon.minke(&["rmi", &name]).ok().done();
        daemon.minke(&["builder", "prune", "-af"]).ok().done();
    };
    forget();
    let source = format!("type=registry,ref={name}");
    let run = build(&daemon, Client::Minke, &["--cache-from", &source, "-t", &name, &directory]).ok();
    assert_eq!(run.stderr.matches("CACHED").count(), 4, "{run}");
    assert_eq!(daemon.inspect(&name, "{{.Id}}"), id);
    forget();
    daemon.minke(&["pull", "-q", &name]).ok().done();
    let run = build(&daemon, Client::Docker, &["--cache-from", &name, &directory]).ok();
    assert_eq!(run.text().matches(" ---> Using cache").count(), 4, "{}", run.text());
    // Docker's words of a copy name the files; they are compared all the same.
    std::fs::write(format!("{directory}/a"), "B").expect("another file");
    let run = build(&daemon, Client::Docker, &["--cache-from", &name, &directory]).ok();
    assert_eq!(run.text().matches(" ---> Using cache").count(), 1, "{}", run.text());
    forget();
}
