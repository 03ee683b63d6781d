//! Documents as the wild writes them.

use super::*;

#[test]
fn a_config_written_by_go_with_nulls_is_read() {
    let text = r#"{"architecture":"amd64","config":{"Hostname":"","User":"","AttachStdin":false,"Env":null,"Cmd":"sh",
        "Volumes":null,"Entrypoint":null,"OnBuild":null,"Labels":null,"Healthcheck":{"Test":["CMD","true"],"Interval":5000000000}},
        "history":null,"os":"linux","rootfs":{"type":"layers","diff_ids":null},"moby.buildkit.buildinfo.v1":"x"}"#;
    let config: ImageConfig = serde_json::from_str(text).unwrap();
    let defaults = config.container_defaults();
    assert_eq!(defaults.cmd, Some(vec!["sh".to_owned()]));
    assert_eq!(defaults.entrypoint, None);
    assert_eq!(defaults.healthcheck.unwrap().interval, 5_000_000_000);
    assert_eq!(config.extra["moby.buildkit.buildinfo.v1"], "x");
    let written = serde_json::to_string(&config).unwrap();
    assert!(written.contains("moby.buildkit.buildinfo.v1"), "{written}");
}

#[test]
fn an_empty_command_is_not_a_missing_one() {
    let config: ContainerConfig = serde_json::from_str(r#"{"Cmd":[]}"#).unwrap();
    assert_eq!(config.cmd, Some(Vec::new()));
    assert_eq!(serde_json::to_string(&config).unwrap(), r#"{"Cmd":[]}"#);
}

#[test]
fn a_platform_is_read_in_every_spelling_people_use() {
    let check =
        |text: &str, want: &str| assert_eq!(Platform::parse(text).unwrap().to_string(), want, "{text}");
    check("linux/amd64", "linux/amd64");
    check("x86_64", "linux/amd64");
    check("linux/arm64/v8", "linux/arm64/v8");
    check("armhf", "linux/arm/v7");
    for bad in ["", "linux/", "a/b/c/d", "linux/a b"] {
        assert!(Platform::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_older_arm_variant_serves_a_newer_host_and_not_the_reverse() {
    let v6 = Platform::new("linux", "arm", Some("v6"));
    let v7 = Platform::new("linux", "arm", None);
    assert_eq!(v6.rank(&v7), Some(1));
    assert_eq!(v7.rank(&v7), Some(0));
    assert_eq!(v7.rank(&v6), None);
    assert!(Platform::new("linux", "arm64", None).serves(&Platform::new("linux", "arm64", Some("v8"))));
    assert!(!Platform::new("linux", "arm64", None).serves(&Platform::new("linux", "amd64", None)));
}
