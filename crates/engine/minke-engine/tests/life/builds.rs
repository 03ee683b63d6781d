//! Builds through the engine alone.

use std::collections::BTreeMap;

use minke_base::Reference;
use minke_engine::Engine;
use minke_engine::builds::{BuildEvent, BuildOutcome, BuildRequest, CacheSource, DockerfileText, OutputKind};
use tokio::sync::mpsc;

use super::harness::Sandbox;

/// What a build told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) cached: Vec<String>,
    pub(super) done: Vec<String>,
    pub(super) output: String,
    warnings: Vec<String>,
    failed: Option<(String, Option<i64>, String)>,
}

pub(super) fn context(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_600_000_000);
        archive.append_data(&mut header, path, text.as_bytes()).expect("into memory");
    }
    archive.into_inner().expect("into memory")
}

pub(super) async fn build(
    engine: &Engine,
    text: &str,
    files: &[(&str, &str)],
    change: impl FnOnce(&mut BuildRequest),
) -> (minke_engine::Result<BuildOutcome>, Told) {
    let sent = std::io::Cursor::new(context(files));
    let context = engine.builds.receive_context(Box::new(sent)).await.expect("a context");
    let mut request = BuildRequest {
        dockerfile: DockerfileText { name: "Dockerfile".into(), text: text.into() },
        context: Some(context),
        network: "none".into(),
        ..BuildRequest::default()
    };
    change(&mut request);
    let (events, mut received) = mpsc::unbounded_channel();
    let outcome = engine.builds.build(request, events).await;
    let (mut told, mut texts) = (Told::default(), BTreeMap::new());
    while let Some(event) = received.recv().await {
        match event {
            BuildEvent::Vertex(vertex) => drop(texts.insert(vertex.id, vertex.text)),
            BuildEvent::Done { vertex, cached, .. } => {
                let text = texts[&vertex].clone();
                if cached { told.cached.push(text) } else { told.done.push(text) }
            }
            BuildEvent::Log { bytes, .. } => told.output.push_str(&String::from_utf8_lossy(&bytes)),
            BuildEvent::Warning { message, .. } => told.warnings.push(message),
            BuildEvent::Failed { message, code, excerpt, .. } => told.failed = Some((message, code, excerpt)),
            _ => {}
        }
    }
    (outcome, told)
}

fn named(name: &str) -> Reference {
    Reference::parse(name).expect("a name").or_latest()
}

/// What a container of the image says.
async fn show(engine: &Engine, image: &str, script: &str) -> String {
    let text = format!("FROM {image}\nUSER root\nENTRYPOINT []\nRUN {script}\n");
    let (outcome, told) = build(engine, &text, &[], |request| {
        request.no_cache = true;
        request.outputs = vec![OutputKind::None];
    })
    .await;
    outcome.expect("it runs");
    told.output
}

const TEXT: &str = "FROM busybox AS tools\nRUN echo tool > /tool\nFROM busybox\nARG WHO=world\nENV GREETING=\"hello $WHO\"\n\
    WORKDIR /app\nCOPY src/ ./\nCOPY --from=tools --chown=7:8 --chmod=640 /tool /opt/\nRUN echo $GREETING > said && cat said\n\
    LABEL a=b\nEXPOSE 80\nCMD [\"cat\", \"said\"]\n";

#[test]
fn a_build_runs_copies_and_is_found_again() {
    let sandbox = Sandbox::open();
    let engine = sandbox.engine();
    sandbox.block_on(async {
        let files = [("src/a", "A"), ("src/deep/b", "B")];
        let (outcome, told) =
            build(&engine, TEXT, &files, |request| request.names = vec![named("built")]).await;
        let first = outcome.expect("it builds");
        assert!(told.cached.is_empty() && told.output.contains("hello world"), "{told:?}");
        let said = show(&engine, "built", "ls -ln /opt/tool /app; cat /app/deep/b /app/said").await;
        assert!(said.contains("-rw-r-----    1 7        8                5"), "{said}");
        assert!(said.contains("Bhello world"), "{said}");
        let image = engine.images.resolve("built").expect("it has a name");
        assert_eq!(image.id, first.image);
        assert_eq!(image.defaults.cmd.as_deref(), Some(&["cat".to_owned(), "said".to_owned()][..]));
        assert_eq!((image.defaults.working_dir.as_str(), image.defaults.labels["a"].as_str()), ("/app", "b"));
        // Again, as it is: nothing is done, and it is the same image.
        let (outcome, told) = build(&engine, TEXT, &files, |_| {}).await;
        assert_eq!(outcome.expect("it builds").image, first.image);
        assert!(told.done.len() == 2 && told.done.iter().all(|text| text.starts_with("FROM")), "{told:?}");
        // A file that is copied changes: what was before stays.
        let (outcome, told) = build(&engine, TEXT, &[("src/a", "other")], |_| {}).await;
        assert_ne!(outcome.expect("it builds").image, first.image);
        assert!(
            told.cached.contains(&"WORKDIR /app".to_owned())
                && told.done.contains(&"COPY src/ ./".to_owned())
        );
    });
    sandbox.close();
}

#[test]
fn a_step_that_fails_says_where_and_leaves_nothing() {
    let sandbox = Sandbox::open();
    let engine = sandbox.engine();
    sandbox.block_on(async {
        let text = "FROM busybox\nRUN echo kept\nRUN echo oh; exit 7\nRUN true\n";
        let (outcome, told) = build(&engine, text, &[], |_| {}).await;
        let error = outcome.expect_err("it fails");
        assert_eq!(error.message(), "The command '/bin/sh -c echo oh; exit 7' returned a non-zero code: 7");
        let (_, code, excerpt) = told.failed.expect("it is told");
        assert!(code == Some(7) && excerpt.contains("   3 | >>> RUN echo oh; exit 7"), "{excerpt}");
        let (_, told) = build(&engine, text, &[], |_| {}).await;
        assert_eq!(told.cached, ["RUN echo kept"]);
        let (outcome, _) = build(&engine, "FROM busybox\nCOPY missing /\n", &[], |_| {}).await;
        let text = outcome.expect_err("nothing is there").message().to_owned();
        assert!(text.contains("COPY failed: file not found in build context"), "{text}");
        let (outcome, _) = build(&engine, "FROM busybox\nCOPY ../x /\n", &[], |_| {}).await;
        let text = outcome.expect_err("it is outside").message().to_owned();
        assert!(text.contains("forbidden path outside the build context"), "{text}");
    });
    sandbox.close();
}

#[test]
fn mounts_heredocs_and_triggers_do_what_they_say() {
    let sandbox = Sandbox::open();
    let engine = sandbox.engine();
    sandbox.block_on(async {
        let text = "FROM busybox AS src\nCOPY <<EOF /words/one\nfirst\nEOF\nFROM busybox\n\
            RUN --mount=type=cache,target=/cache echo run >> /cache/log; cat /cache/log > /seen\n\
            RUN --mount=type=bind,from=src,source=/words,target=/w --mount=type=bind,source=own,target=/own cat /w/one /own > /bound\n\
            RUN --mount=type=secret,id=key cat /run/secrets/key; ls /run/secrets > /secret-was\n\
            RUN --mount=type=tmpfs,target=/t echo x > /t/x\nRUN <<END\necho a\necho b\nEND\n";
        let with = |request: &mut BuildRequest| {
            request.secrets = BTreeMap::from([("key".to_owned(), b"hidden".to_vec())]);
            request.names = vec![named("mounted")];
        };
        let (outcome, told) = build(&engine, text, &[("own", "mine")], with).await;
        outcome.expect("it builds");
        assert!(told.output.contains("hidden") && told.output.contains("a\nb\n"), "{}", told.output);
        let said = show(&engine, "mounted", "cat /seen /bound; ls -d /cache /w /own /t /run/secrets; true").await;
        assert!(said.starts_with("run\nfirst\nmine"), "{said}");
        for gone in ["/cache", "/w", "/own", "/t"] {
            assert!(said.contains(&format!("ls: {gone}: No such file")), "{gone} stayed: {said}");
        }
        let (outcome, _) = build(&engine, "FROM busybox\nONBUILD RUN echo fired > /fired\n", &[], |request| {
            request.names = vec![named("parent")];
        })
        .await;
        outcome.expect("it builds");
        let (outcome, told) = build(&engine, "FROM parent\nRUN cat /fired\n", &[], |request| {
            request.names = vec![named("child")];
        })
        .await;
        outcome.expect("it builds");
        assert!(told.output.contains("fired") && told.done.contains(&"RUN echo fired > /fired".to_owned()), "{told:?}");
        assert!(engine.images.resolve("child").expect("built").defaults.on_build.is_empty());
    });
    sandbox.close();
}

#[test]
fn a_cancelled_build_takes_its_container_along() {
    let sandbox = Sandbox::open();
    let engine = sandbox.engine();
    sandbox.block_on(async {
        let other = engine.clone();
        let cancelling = tokio::spawn(async move {
            while !other.builds.cancel("mine") {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        let (outcome, _) = build(&engine, "FROM busybox\nRUN sleep 1000\n", &[], |request| {
            request.id = "mine".to_owned();
        })
        .await;
        assert_eq!(outcome.expect_err("cancelled").message(), "the build was cancelled");
        cancelling.await.expect("it cancelled");
    });
    sandbox.close();
}

#[test]
fn the_same_bytes_come_out_where_the_time_is_given() {
    let ids: Vec<String> = (0..2)
        .map(|_| {
            let sandbox = Sandbox::open();
            let engine = sandbox.engine();
            let id = sandbox.block_on(async {
                let text = "FROM scratch\nCOPY a /d/\nCOPY --link a /l\nLABEL x=y\n";
                let (outcome, _) = build(&engine, text, &[("a", "A")], |request| {
                    request.args =
                        BTreeMap::from([("SOURCE_DATE_EPOCH".to_owned(), Some("1000".to_owned()))]);
                })
                .await;
                outcome.expect("it builds").image
            });
            sandbox.close();
            id
        })
        .collect();
    assert_eq!(ids[0], ids[1]);
}

/// Archives of what a build makes in an engine of its own and of its base, and its id.
fn built_elsewhere(text: &str, files: &[(&str, &str)]) -> ([tempfile::NamedTempFile; 2], String) {
    let sandbox = Sandbox::open();
    let engine = sandbox.engine();
    let made = sandbox.block_on(async {
        let base = exported(&engine, "FROM busybox\n", &[], "busybox").await;
        let (image, id) = exported(&engine, text, files, "elsewhere").await;
        ([base.0, image], id)
    });
    sandbox.close();
    made
}

async fn exported(
    engine: &Engine,
    text: &str,
    files: &[(&str, &str)],
    name: &str,
) -> (tempfile::NamedTempFile, String) {
    let (outcome, _) = build(engine, text, files, |request| {
        request.names = vec![named(name)];
        request.outputs = vec![OutputKind::Docker];
    })
    .await;
    let mut outcome = outcome.expect("it builds");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let output = Box::new(file.reopen().expect("the same file"));
    outcome.exports.remove(0).write(output).await.expect("written");
    (file, outcome.image)
}

async fn load(engine: &Engine, archives: &[tempfile::NamedTempFile]) {
    for archive in archives {
        let (told, mut heard) = mpsc::channel(64);
        let input = Box::new(archive.reopen().expect("the archive"));
        let load = engine.images.load(input, true, None, told);
        let (loaded, ()) = tokio::join!(load, async { while heard.recv().await.is_some() {} });
        loaded.expect("loaded");
    }
}

fn from(name: &str) -> Vec<CacheSource> {
    vec![CacheSource { name: name.to_owned(), pull: false }]
}

#[test]
fn steps_are_borrowed_from_an_image_that_came_from_elsewhere() {
    let text = "FROM busybox\nENV A=b\nCOPY a /d/\nWORKDIR /w\nRUN echo made > /made\nLABEL x=y\n";
    let (archives, id) = built_elsewhere(text, &[("a", "A")]);
    let sandbox = Sandbox::open();
    let engine = sandbox.engine();
    sandbox.block_on(async {
        load(&engine, &archives).await;
        let (outcome, told) =
            build(&engine, text, &[("a", "A")], |request| request.cache_from = from("elsewhere")).await;
        assert_eq!(outcome.expect("it builds").image, id, "{told:?}");
        assert_eq!(told.cached.len(), 5, "{told:?}");
        // The words are the same, the files are not; and what stands on them is done anew.
        let (_, told) =
            build(&engine, text, &[("a", "B")], |request| request.cache_from = from("elsewhere")).await;
        assert_eq!(told.cached, ["ENV A=b"], "{told:?}");
        // Who does not name the image gets nothing of it.
        let (_, told) = build(&engine, text, &[("a", "A")], |_| {}).await;
        assert!(told.cached.is_empty(), "{told:?}");
        // What follows the borrowed steps is found again behind them.
        let longer = format!("{text}RUN echo more > /more\n");
        for found in [5, 6] {
            let (_, told) =
                build(&engine, &longer, &[("a", "A")], |request| request.cache_from = from("elsewhere"))
                    .await;
            assert_eq!(told.cached.len(), found, "{told:?}");
        }
        let (outcome, told) =
            build(&engine, text, &[("a", "A")], |request| request.cache_from = from("nothing")).await;
        outcome.expect("it builds all the same");
        assert!(told.warnings.iter().any(|text| text.contains("--cache-from nothing")), "{told:?}");
    });
    sandbox.close();
}

#[test]
fn words_that_leave_something_out_lend_nothing() {
    let lent = "FROM busybox\nENV A=\"b c=d\"\nRUN echo $A > /a\n";
    let (archives, _) = built_elsewhere(lent, &[]);
    let sandbox = Sandbox::open();
    let engine = sandbox.engine();
    sandbox.block_on(async {
        load(&engine, &archives).await;
        let ran = |told: &Told| told.done.iter().any(|text| text.starts_with("RUN"));
        for (text, runs) in [
            (lent, false),
            ("FROM busybox\nENV A=b c=d\nRUN echo $A > /a\n", true),
            ("FROM busybox\nENV A=\"b c=d\"\nRUN --mount=type=tmpfs,target=/t echo $A > /a\n", true),
            ("FROM busybox\nENV A=\"b c=d\"\nRUN --network=none echo $A > /a\n", true),
        ] {
            let (outcome, told) =
                build(&engine, text, &[], |request| request.cache_from = from("elsewhere")).await;
            outcome.expect("it builds");
            assert_eq!(ran(&told), runs, "{text}: {told:?}");
        }
    });
    sandbox.close();
}
