//! Names of images: what is accepted is written back to the same name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minke_base::Reference;

fuzz_target!(|text: &str| {
    if let Ok(reference) = Reference::parse(text) {
        let familiar = reference.familiar();
        let again = Reference::parse(&familiar).expect("a familiar name is a name");
        assert_eq!(again, reference);
    }
});
