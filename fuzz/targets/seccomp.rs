//! A seccomp section of a configuration, compiled.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_spec::runtime::LinuxSeccomp;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(profile) = serde_json::from_slice::<LinuxSeccomp>(bytes) {
        let _outcome = minke_seccomp::compile(&profile);
    }
});
