//! The `filters` parameter of the API, in both of its forms.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minke_api::filters::Filters;

fuzz_target!(|text: &str| {
    if let Ok(filters) = Filters::parse(text) {
        let again = Filters::parse(&filters.to_json()).expect("what was read can be written and read again");
        assert_eq!(again.to_json(), filters.to_json());
    }
});
