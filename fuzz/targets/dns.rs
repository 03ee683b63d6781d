//! A question from a container, and a server's answer to it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minke_dns::{View, fuzz};

fuzz_target!(|parts: (&[u8], &[u8], bool)| {
    let (query, answer, by_stream) = parts;
    if let Some(told) = fuzz::answer(&[], &View::default(), query, by_stream) {
        assert_eq!(told.get(..2), query.get(..2), "the answer has the question's id");
    }
    if let Some(passed) = fuzz::believe(query, answer, 512) {
        assert!(passed.len() <= 512);
    }
});
