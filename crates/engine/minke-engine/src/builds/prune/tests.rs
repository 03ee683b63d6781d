use super::*;

fn item(id: &str, size: u64, used: i64, uses: i64) -> CacheItem {
    let layer = Some(format!("layer of {id}"));
    CacheItem {
        id: id.to_owned(),
        kind: "regular",
        size,
        used: Moment(used),
        uses,
        layer,
        ..CacheItem::default()
    }
}

fn limits(reserved_space: i64, max_used_space: i64, min_free_space: i64) -> PruneLimits {
    PruneLimits { reserved_space, max_used_space, min_free_space }
}

fn ids(going: &[CacheItem]) -> Vec<&str> {
    going.iter().map(|item| item.id.as_str()).collect()
}

fn taken(filters: &[(&str, &str)], all: bool, items: &[CacheItem]) -> Result<String> {
    let request = PruneRequest { all, filters: filters.iter().copied().collect(), ..PruneRequest::default() };
    let choice = Choice::of(&request)?;
    Ok(ids(&plan_prune(items, |item| choice.takes(item), None)).join(" "))
}

#[test]
fn limits_come_to_one_number() {
    assert_eq!(keep_bytes(limits(0, 0, 0), 10, 100), None);
    assert_eq!(keep_bytes(limits(30, 0, 0), 10, 100), Some(30));
    assert_eq!(keep_bytes(limits(0, 50, 0), 10, 100), Some(50));
    assert_eq!(keep_bytes(limits(70, 50, 0), 10, 100), Some(70), "what is reserved is never taken");
    assert_eq!(keep_bytes(limits(0, 0, 40), 10, 100), Some(70), "30 more have to be free");
    assert_eq!(keep_bytes(limits(0, 50, 40), 10, 100), Some(50));
    assert_eq!(keep_bytes(limits(0, 90, 40), 10, 100), Some(70));
    assert_eq!(keep_bytes(limits(80, 90, 40), 10, 100), Some(80));
    assert_eq!(keep_bytes(limits(0, 0, 40), 60, 100), Some(100), "so much is free: nothing goes");
    assert_eq!(keep_bytes(limits(0, 20, 40), 60, 100), Some(20));
}

#[test]
fn the_least_useful_goes_until_the_limit_is_kept() {
    let items = [item("old", 10, 1, 0), item("often", 10, 2, 9), item("new", 10, 3, 0)];
    let going = |keep| ids(&plan_prune(&items, |_| true, keep)).join(" ");
    assert_eq!(going(None), "old often new");
    assert_eq!(going(Some(30)), "");
    assert_eq!(going(Some(29)), "old");
    assert_eq!(going(Some(15)), "old new", "what is used often stays longer");
    assert_eq!(going(Some(-1)), "old new often");
}

#[test]
fn a_layer_is_free_when_its_last_step_is_gone() {
    let mut items = [item("a", 10, 1, 0), item("b", 10, 2, 0), item("c", 10, 3, 0)];
    items[1].layer = items[0].layer.clone();
    assert_eq!(unshared_bytes(&items), 20);
    assert_eq!(ids(&plan_prune(&items, |_| true, Some(10))), ["a", "b"]);
    items[2].shared = true;
    assert_eq!(unshared_bytes(&items), 10);
}

#[test]
fn filters_choose() {
    let mut items = [item("aa1", 1, 1, 0), item("bb2", 1, 2, 0), item("cc3", 1, 3, 0), item("dd4", 1, 4, 0)];
    items[1].parents = vec!["aa1".to_owned()];
    items[1].description = "RUN make".to_owned();
    items[2].kind = "exec.cachemount";
    items[3].shared = true;
    let ok = |filters: &[(&str, &str)], all| taken(filters, all, &items).expect("known filters");
    assert_eq!(ok(&[], false), "aa1 bb2 cc3", "what images have stays");
    assert_eq!(ok(&[], true), "aa1 bb2 cc3 dd4");
    assert_eq!(ok(&[("shared", "true")], true), "dd4");
    assert_eq!(ok(&[("private", "1")], true), "aa1 bb2 cc3");
    assert_eq!(ok(&[("id", "^b|3$")], false), "bb2 cc3");
    assert_eq!(ok(&[("parent", "aa1")], false), "bb2");
    assert_eq!(ok(&[("type", "exec.cachemount")], false), "cc3");
    assert_eq!(ok(&[("description", "RUN make")], false), "bb2");
    assert_eq!(ok(&[("description", "RUN")], false), "");
    assert_eq!(ok(&[("until", "0.000000002")], false), "aa1 bb2");
    assert_eq!(ok(&[("unused-for", "24h")], false), "aa1 bb2 cc3");
    assert_eq!(ok(&[("inuse", "true")], true), "", "what is in use stays whatever is asked");
    items[0].in_use = true;
    assert_eq!(taken(&[], true, &items).expect("none"), "bb2 cc3 dd4");
    let nothing = BTreeMap::from([("shared".to_owned(), Vec::new())]);
    let request = PruneRequest { all: true, filters: nothing.into(), ..PruneRequest::default() };
    let choice = Choice::of(&request).expect("a filter without a value");
    assert_eq!(ids(&plan_prune(&items, |item| choice.takes(item), None)), ["dd4"]);
}

#[test]
fn filters_that_make_no_sense_are_refused_in_dockers_words() {
    for (filters, words) in [
        (&[("nope", "1")][..], "invalid filter 'nope'"),
        (&[("id", "a"), ("id", "b")], "filters expect only one value"),
        (&[("until", "1h"), ("unused-for", "1h")], "conflicting filters: \"until\" and \"unused-for\""),
        (
            &[("until", "abc")],
            "\"until\" filter expects a duration (e.g., '24h') or a timestamp: failed to parse value as time or duration: \"abc\"",
        ),
    ] {
        assert_eq!(taken(filters, false, &[]).expect_err("refused").to_string(), words);
    }
}
