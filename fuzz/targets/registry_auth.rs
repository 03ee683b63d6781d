//! libFuzzer over the check of the same name in `minke-strangers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| minke_strangers::registry_auth(bytes));
