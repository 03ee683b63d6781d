//! The program runs, and its image is whole.

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[test]
fn the_program_prints_the_message_and_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hello");
    let program = if cfg!(target_arch = "x86_64") {
        elf::x86_64(MESSAGE.as_bytes())
    } else {
        elf::aarch64(MESSAGE.as_bytes())
    };
    std::fs::write(&path, program).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&path).output().unwrap();
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stdout).unwrap().as_str()),
        (Some(0), message())
    );
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let failed = Command::new(&path).stdout(full).status().unwrap();
    assert_eq!(failed.code(), Some(1), "a text that could not be written is a failure");
}

#[test]
#[ignore = "needs qemu-aarch64-static; run with --ignored where it is installed"]
fn the_program_for_arm_prints_the_message_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hello");
    std::fs::write(&path, elf::aarch64(MESSAGE.as_bytes())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = |out: std::process::Stdio| {
        Command::new("qemu-aarch64-static")
            .arg(&path)
            .stdout(out)
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap()
    };
    let output = run(std::process::Stdio::piped());
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stdout).unwrap().as_str()),
        (Some(0), message())
    );
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(run(full.into()).status.code(), Some(1));
}

#[test]
fn the_image_is_the_same_wherever_it_is_made_and_opens_with_the_promised_words() {
    let install_in_new_store = || {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &crate::StoreOptions::default()).unwrap();
        let image = install(&store).unwrap();
        let read = store.read_image(image.manifest.digest).unwrap();
        assert_eq!(read.config.container_defaults().cmd, Some(vec!["/hello".to_owned()]));
        let history = store.image_history(&read).unwrap();
        assert_eq!(history.iter().map(|step| step.size > 0).collect::<Vec<_>>(), [false, true]);
        image.id
    };
    assert_eq!(install_in_new_store(), install_in_new_store());
    assert!(message().trim_start().starts_with("Hello from minke!"));
}
