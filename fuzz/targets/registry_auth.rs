//! The headers in which clients show who they are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minke_api::system::{AuthConfig, auth_configs_from_header};

fuzz_target!(|header: &str| {
    if let Ok(auth) = AuthConfig::from_header(header) {
        assert_eq!(AuthConfig::from_header(&auth.to_header()).as_ref(), Ok(&auth));
        assert!(auth.normalised().auth.is_empty());
    }
    let _read = auth_configs_from_header(header);
});
