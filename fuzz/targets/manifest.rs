//! The documents of an image as a registry gives them: what is read can be written and is the same when it is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minke_store::{ImageConfig, Index, Manifest};

fuzz_target!(|bytes: &[u8]| {
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
});
