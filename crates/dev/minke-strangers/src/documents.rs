//! JSON: what images are described by, and what clients and configurations ask for.

use minke_api::container::ContainerCreateRequest;
use minke_store::{ImageConfig, Index, Manifest};
use oci_spec::runtime::LinuxSeccomp;

/// The documents of an image as a registry gives them: what is read can be written and is the same when it is read again.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
        let again = serde_json::to_vec(&manifest).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<Manifest>(&again).expect("and read again"), manifest);
    }
    if let Ok(index) = serde_json::from_slice::<Index>(bytes) {
        let again = serde_json::to_vec(&index).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<Index>(&again).expect("and read again"), index);
    }
    if let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) {
        let again = serde_json::to_vec(&config).expect("what was read can be written");
        serde_json::from_slice::<ImageConfig>(&again).expect("and read again");
    }
}

/// The body of container create, as any client may send it.
pub fn create_body(bytes: &[u8]) {
    if let Ok(request) = ContainerCreateRequest::from_json(bytes) {
        let again = serde_json::to_vec(&request).expect("what was read can be written");
        ContainerCreateRequest::from_json(&again).expect("and read again");
    }
}

/// A seccomp section of a configuration, compiled.
pub fn seccomp(bytes: &[u8]) {
    if let Ok(profile) = serde_json::from_slice::<LinuxSeccomp>(bytes) {
        let _outcome = minke_seccomp::compile(&profile);
    }
}
