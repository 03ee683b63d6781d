//! Steps that do not wait for the one before them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use minke_engine::Engine;
use minke_engine::builds::{
    BuildEvent, BuildOutcome, BuildRequest, DockerfileText, Fetch, Fetched, OutputKind, VertexId,
};
use tokio::sync::mpsc;

use super::builds::{build, context};
use super::harness::Sandbox;

/// A web of one file.
#[derive(Debug)]
struct Web;

impl Fetch for Web {
    fn open(&self, _url: &str) -> BoxFuture<'static, minke_engine::Result<Fetched>> {
        Box::pin(async {
            Ok(Fetched { body: Box::new(std::io::Cursor::new(b"from far away")), modified: None })
        })
    }
}

/// What happens to which step, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Story {
    Started(String),
    Done(String),
}

/// Builds; when `wanted` have started, another build makes the file that a step waits for.
async fn build_until(engine: &Engine, text: &str, wanted: &[&str]) -> (BuildOutcome, Vec<Story>) {
    let sent = std::io::Cursor::new(context(&[("a", "A")]));
    let context = engine.builds.receive_context(Box::new(sent)).await.expect("a context");
    let request = BuildRequest {
        dockerfile: DockerfileText { name: "Dockerfile".into(), text: text.into() },
        context: Some(context),
        network: "none".into(),
        ..BuildRequest::default()
    };
    let (events, mut received) = mpsc::unbounded_channel();
    let builds = Arc::clone(&engine.builds);
    let building = tokio::spawn(async move { builds.build(request, events).await });
    let (mut story, mut texts) = (Vec::new(), BTreeMap::<VertexId, String>::new());
    let mut waiting: Vec<&str> = wanted.to_vec();
    while let Some(event) = received.recv().await {
        match event {
            BuildEvent::Vertex(vertex) => drop(texts.insert(vertex.id, vertex.text)),
            BuildEvent::Started { vertex } => {
                let text = texts[&vertex].clone();
                let before = waiting.len();
                waiting.retain(|start| !text.starts_with(start));
                story.push(Story::Started(text));
                if before > 0 && waiting.is_empty() {
                    let go = "FROM busybox\nRUN --mount=type=cache,id=sign,target=/sign touch /sign/go\n";
                    let (given, told) = build(engine, go, &[], |request| {
                        request.no_cache = true;
                        request.outputs = vec![OutputKind::None];
                    })
                    .await;
                    given.unwrap_or_else(|error| panic!("the sign is given: {error} {told:?}"));
                }
            }
            BuildEvent::Done { vertex, .. } => story.push(Story::Done(texts[&vertex].clone())),
            _ => {}
        }
    }
    let outcome = building.await.expect("no panic").expect("it builds");
    (outcome, story)
}

const WAIT: &str = "RUN --mount=type=cache,id=sign,target=/sign until [ -e /sign/go ]; do sleep 0.02; done";

#[test]
fn downloads_and_layers_that_stand_alone_do_not_wait_for_the_step_before() {
    let sandbox = Sandbox::open();
    let engine = sandbox.engine();
    engine.builds.set_fetch(Arc::new(Web));
    sandbox.block_on(async {
        let text = format!(
            "FROM busybox\nENV PLACE=/opt\n{WAIT}\nADD http://far.example/file $PLACE/\nWORKDIR /w\nCOPY --link a linked/\n\
             RUN cat $PLACE/file linked/a\n"
        );
        // Nothing ends before the others have begun: who waits for its turn would wait for ever.
        let (first, story) = build_until(&engine, &text, &["RUN --mount", "ADD", "COPY --link"]).await;
        let at = |wanted: &Story| story.iter().position(|told| told == wanted).expect("it is told");
        let ended = at(&Story::Done(WAIT.to_owned()));
        for step in ["ADD http://far.example/file $PLACE/", "COPY --link a linked/"] {
            assert!(at(&Story::Started(step.to_owned())) < ended, "{story:?}");
            assert!(at(&Story::Done(step.to_owned())) > ended, "the stage is told in its order: {story:?}");
            assert_eq!(story.iter().filter(|told| **told == Story::Started(step.to_owned())).count(), 1);
        }
        let (again, told) = build(&engine, &text, &[("a", "A")], |_| {}).await;
        assert_eq!(again.expect("it builds").image, first.image);
        assert_eq!(told.cached.len(), 6, "{told:?}");
        let (_, told) = build(&engine, &format!("{text}RUN cat /opt/file /w/linked/a\n"), &[("a", "A")], |_| {}).await;
        assert_eq!(told.output, "from far awayA");
    });
    sandbox.close();
}
