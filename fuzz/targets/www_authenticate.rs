//! The header by which a registry asks who is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minke_registry::parse_challenges;

fuzz_target!(|header: &str| {
    for challenge in parse_challenges(header) {
        assert!(!challenge.scheme.is_empty());
        assert!(challenge.parameters.keys().all(|name| *name == name.to_ascii_lowercase()));
    }
});
