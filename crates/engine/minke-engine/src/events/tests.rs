//! Tests of the bus.

use super::*;

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_subscriber_gets_the_past_and_then_the_present_once() {
    let bus = Events::new();
    bus.publish("container", "create", "c1", attributes(&[("name", "web")]));
    let mut stream = bus.subscribe(Some(Moment::NEVER), None, Filters::default());
    bus.publish("container", "start", "c1", attributes(&[("name", "web")]));
    assert_eq!(stream.next().await.map(|e| e.action.clone()).as_deref(), Some("create"));
    assert_eq!(stream.next().await.map(|e| e.action.clone()).as_deref(), Some("start"));
}

#[tokio::test]
async fn a_stream_with_an_end_in_the_past_ends_after_the_kept_events() {
    let bus = Events::new();
    bus.publish("container", "create", "c1", BTreeMap::new());
    let mut stream = bus.subscribe(Some(Moment::NEVER), Some(Moment::now()), Filters::default());
    assert!(stream.next().await.is_some());
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn filters_choose_by_type_action_label_and_container() {
    let bus = Events::new();
    bus.publish("container", "exec_start: sh", "abcdef", attributes(&[("name", "web"), ("tier", "front")]));
    bus.publish("image", "tag", "sha256:1", attributes(&[("name", "busybox:latest")]));
    let check = |pairs: &[(&str, &str)]| {
        let mut stream = bus.subscribe(
            Some(Moment::NEVER),
            Some(Moment::now()),
            pairs.iter().copied().collect::<Filters>(),
        );
        async move {
            let mut actions = Vec::new();
            while let Some(event) = stream.next().await {
                actions.push(event.action.clone());
            }
            actions
        }
    };
    assert_eq!(check(&[("event", "exec_start")]).await, ["exec_start: sh"]);
    assert_eq!(check(&[("type", "image")]).await, ["tag"]);
    assert_eq!(check(&[("label", "tier=front")]).await, ["exec_start: sh"]);
    assert_eq!(check(&[("container", "web")]).await, ["exec_start: sh"]);
    assert_eq!(check(&[("container", "abc")]).await, ["exec_start: sh"]);
    assert_eq!(check(&[("image", "busybox")]).await, ["tag"]);
    assert!(check(&[("container", "db")]).await.is_empty());
}

#[test]
fn old_events_make_room() {
    let bus = Events::new();
    for _ in 0..KEPT + 10 {
        bus.publish("daemon", "reload", "x", BTreeMap::new());
    }
    assert_eq!(bus.past.lock().expect("no test panics holding it").len(), KEPT);
}
