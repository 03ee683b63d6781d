//! `.dockerignore`: a list, and a path that is asked about.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minke_dockerfile::Ignore;

fuzz_target!(|input: (&[u8], &str)| {
    let (text, path) = input;
    let Ok(ignore) = Ignore::parse(text) else { return };
    let below = format!("{path}/below");
    // Whoever leaves a directory out without looking below it must not lose what an exception takes back.
    if ignore.excludes(path) && !ignore.may_return_below(path) {
        assert!(ignore.excludes(&below), "{path}");
    }
});
