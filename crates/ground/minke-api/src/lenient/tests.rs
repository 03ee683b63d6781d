use serde_json::json;

use super::*;
use crate::container::{ContainerCreateRequest, HostConfig, StrSlice};

fn error(body: &str) -> String {
    ContainerCreateRequest::from_json(body.as_bytes()).unwrap_err().to_string()
}

#[test]
fn keys_match_whatever_their_case() {
    let host: HostConfig =
        from_value(&json!({"MEMORY": 4, "networkmode": "none", "DNS": ["1.1.1.1"]})).unwrap();
    assert_eq!((host.memory, host.network_mode.as_str()), (4, "none"));
    assert_eq!(host.dns.as_deref(), Some(&["1.1.1.1".to_owned()][..]));
}

#[test]
fn null_leaves_the_default() {
    let host: HostConfig = from_value(
        &json!({"Memory": null, "NetworkMode": null, "LogConfig": null, "Binds": null, "ConsoleSize": null}),
    )
    .unwrap();
    assert_eq!(host, HostConfig::default());
}

#[test]
fn unknown_keys_are_ignored() {
    assert_eq!(from_value::<HostConfig>(&json!({"NoSuchThing": {"a": [1]}})).unwrap(), HostConfig::default());
}

#[test]
fn a_command_may_be_one_string() {
    let request =
        ContainerCreateRequest::from_json(br#"{"Image":"i","Cmd":"true","Entrypoint":["a","b"]}"#).unwrap();
    assert_eq!(request.config.cmd, Some(StrSlice(vec!["true".into()])));
    assert_eq!(request.config.entrypoint.unwrap().len(), 2);
}

#[test]
fn an_empty_list_is_not_a_missing_one() {
    let request =
        ContainerCreateRequest::from_json(br#"{"Cmd":[],"HostConfig":{"MaskedPaths":[]}}"#).unwrap();
    assert_eq!(request.config.cmd, Some(StrSlice::default()));
    assert_eq!(request.config.entrypoint, None);
    assert_eq!(request.host_config.masked_paths, Some(vec![]));
    assert_eq!(request.host_config.readonly_paths, None);
}

#[test]
fn a_wrong_type_is_told_in_go_s_words() {
    assert_eq!(
        error(r#"{"Image":5}"#),
        "invalid JSON: json: cannot unmarshal number into Go struct field .Image of type string"
    );
    assert_eq!(
        error(r#"{"HostConfig":{"Memory":"x"}}"#),
        "invalid JSON: json: cannot unmarshal string into Go struct field .HostConfig.Memory of type int64"
    );
}

#[test]
fn bodies_that_are_not_one_document_are_refused() {
    assert_eq!(error(""), "invalid JSON: got EOF while reading request body");
    assert_eq!(error(r#"{"Image":"#), "invalid JSON: unexpected EOF");
    assert_eq!(error(r#"{"Image":"busybox"} x"#), "unexpected content after JSON");
}

#[test]
fn the_last_of_two_spellings_wins() {
    let host: HostConfig = from_value(&json!({"Memory": 1, "memory": 2})).unwrap();
    assert_eq!(host.memory, 2);
}

#[test]
fn a_short_array_is_filled_with_zeros() {
    let host: HostConfig = from_value(&json!({"ConsoleSize": [24]})).unwrap();
    assert_eq!(host.console_size, [24, 0]);
}
