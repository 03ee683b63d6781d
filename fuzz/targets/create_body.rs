//! The body of container create, as any client may send it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minke_api::container::ContainerCreateRequest;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = ContainerCreateRequest::from_json(bytes) {
        let again = serde_json::to_vec(&request).expect("what was read can be written");
        ContainerCreateRequest::from_json(&again).expect("and read again");
    }
});
