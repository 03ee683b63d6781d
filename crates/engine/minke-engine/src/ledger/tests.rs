//! Tests of the ledger: what was acknowledged is there again, whatever happened to the writer.

use super::*;

fn open(directory: &Path) -> Ledger {
    Ledger::open(&directory.join("minke.db")).expect("a fresh directory takes a ledger")
}

fn names(ledger: &Ledger) -> Vec<String> {
    let mut names: Vec<_> = ledger.containers().expect("readable").into_iter().map(|row| row.name).collect();
    names.sort();
    names
}

#[test]
fn what_was_inserted_is_there_after_a_reopen() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = open(directory.path());
    ledger.insert_container("1", "web", &"record", &"life").expect("inserted");
    ledger.save_life("1", &"later").expect("saved");
    drop(ledger);
    let row = open(directory.path()).containers().expect("readable").remove(0);
    assert_eq!(
        (row.name.as_str(), row.record.as_str(), row.life.as_str()),
        ("web", "\"record\"", "\"later\"")
    );
}

#[test]
fn what_was_acknowledged_survives_a_writer_that_never_closes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = open(directory.path());
    for n in 0..50 {
        ledger.insert_container(&n.to_string(), &format!("c{n:02}"), &n, &n).expect("inserted");
    }
    // A killed process runs no destructor: the connection is leaked and the file copied as the kernel has it now.
    let copy = tempfile::tempdir().expect("a temporary directory");
    for name in ["minke.db", "minke.db-wal"] {
        std::fs::copy(directory.path().join(name), copy.path().join(name)).expect("both files are there");
    }
    std::mem::forget(ledger);
    assert_eq!(names(&open(copy.path())).len(), 50);
}

#[test]
fn a_log_torn_in_the_middle_loses_the_tail_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = open(directory.path());
    ledger.insert_container("1", "first", &1, &1).expect("inserted");
    ledger.checkpoint().expect("checkpointed");
    for n in 2..20 {
        ledger.insert_container(&n.to_string(), &format!("later{n}"), &n, &n).expect("inserted");
    }
    let copy = tempfile::tempdir().expect("a temporary directory");
    for name in ["minke.db", "minke.db-wal"] {
        std::fs::copy(directory.path().join(name), copy.path().join(name)).expect("both files are there");
    }
    let log = std::fs::OpenOptions::new()
        .write(true)
        .open(copy.path().join("minke.db-wal"))
        .expect("the log is there");
    let length = log.metadata().expect("it has a length").len();
    log.set_len(length * 2 / 3).expect("it can be cut");
    let survivors = names(&open(copy.path()));
    assert!(survivors.contains(&"first".to_owned()));
    assert!(survivors.len() < 19);
}

#[test]
fn two_containers_cannot_have_one_name() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = open(directory.path());
    ledger.insert_container("1", "web", &1, &1).expect("inserted");
    assert!(ledger.insert_container("2", "web", &1, &1).is_err());
}

#[test]
fn tags_go_with_their_image() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = open(directory.path());
    let image = ImageRow { id: "sha256:1".into(), manifest: "sha256:2".into(), record: "{}".into() };
    let tag =
        TagRow { reference: "docker.io/library/a:latest".into(), image: "sha256:1".into(), tagged_at: 1 };
    ledger.record_images(std::slice::from_ref(&image), std::slice::from_ref(&tag)).expect("recorded");
    assert_eq!(
        (ledger.images().expect("readable"), ledger.tags().expect("readable")),
        (vec![image], vec![tag])
    );
    ledger.remove_images(&[], &["sha256:1".to_owned()]).expect("removed");
    assert!(ledger.tags().expect("readable").is_empty());
}

#[test]
fn a_newer_schema_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    drop(open(directory.path()));
    let connection = Connection::open(directory.path().join("minke.db")).expect("opens");
    connection.pragma_update(None, "user_version", 99).expect("set");
    drop(connection);
    let error = Ledger::open(&directory.path().join("minke.db")).expect_err("too new");
    assert!(matches!(error, LedgerError::TooNew { found: 99, .. }), "{error}");
}

#[test]
fn a_setting_is_made_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = open(directory.path());
    assert_eq!(ledger.setting("id", || "a".to_owned()).expect("set"), "a");
    assert_eq!(ledger.setting("id", || "b".to_owned()).expect("read"), "a");
}

#[test]
fn a_ledger_of_the_first_schema_gets_the_networks_and_keeps_its_containers() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = open(directory.path());
    ledger.insert_container("1", "web", &1, &1).expect("inserted");
    drop(ledger);
    let connection = Connection::open(directory.path().join("minke.db")).expect("opens");
    connection
        .execute_batch("DROP TABLE networks; DROP TABLE volumes; DROP TABLE builds; PRAGMA user_version = 1")
        .expect("as the first schema was");
    drop(connection);
    let ledger = open(directory.path());
    assert_eq!(names(&ledger), ["web"]);
    ledger.insert_network("n1", "front", &"record").expect("inserted");
    assert!(ledger.insert_network("n2", "front", &"record").is_err(), "two networks cannot have one name");
    assert_eq!(ledger.networks().expect("readable"), [("n1".to_owned(), "\"record\"".to_owned())]);
    ledger.remove_network("n1").expect("removed");
    assert!(ledger.networks().expect("readable").is_empty());
}

#[test]
fn a_container_goes_together_with_its_volumes_and_leaves_the_others_for_good() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = open(directory.path());
    ledger.insert_container("1", "web", &1, &1).expect("inserted");
    for (name, maker) in [("a", Some("1")), ("b", Some("1")), ("c", Some("2")), ("d", None)] {
        ledger.insert_volume(name, &"record", maker).expect("inserted");
    }
    ledger.remove_container_and("1", &["a".to_owned()]).expect("removed");
    assert!(names(&ledger).is_empty());
    let rows: Vec<(String, Option<String>)> =
        ledger.volumes().expect("readable").into_iter().map(|row| (row.name, row.maker)).collect();
    let row = |name: &str, maker: Option<&str>| (name.to_owned(), maker.map(str::to_owned));
    assert_eq!(rows, [row("b", None), row("c", Some("2")), row("d", None)]);
}
