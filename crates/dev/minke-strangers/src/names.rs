//! Short texts: names of images, filters, templates, headers.

use minke_api::filters::Filters;
use minke_api::system::{AuthConfig, auth_configs_from_header};
use minke_base::Reference;
use minke_registry::parse_challenges;
use minke_template::{Mode, Template, Value};

/// Names of images: what is accepted is written back to the same name.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(reference) = Reference::parse(text) {
        let familiar = reference.familiar();
        let again = Reference::parse(&familiar).expect("a familiar name is a name");
        assert_eq!(again, reference);
    }
}

/// The `filters` parameter of the API, in both of its forms.
pub fn filters(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(filters) = Filters::parse(text) {
        let again = Filters::parse(&filters.to_json()).expect("what was read can be written and read again");
        assert_eq!(again.to_json(), filters.to_json());
    }
}

/// `--format`: parsed and executed on a small value.
pub fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(template) = Template::parse(text) {
        let json = serde_json::json!({"Name": "a", "List": [1, 2], "Map": {"k": "v"}, "Nothing": null});
        let mut out = String::new();
        let _outcome = template.execute(&Value::from_json(&json), Mode::Lenient, &mut out);
    }
}

/// The headers in which clients show who they are.
pub fn registry_auth(bytes: &[u8]) {
    let Ok(header) = std::str::from_utf8(bytes) else { return };
    if let Ok(auth) = AuthConfig::from_header(header) {
        assert_eq!(AuthConfig::from_header(&auth.to_header()).as_ref(), Ok(&auth));
        assert!(auth.normalised().auth.is_empty());
    }
    let _read = auth_configs_from_header(header);
}

/// The header by which a registry asks who is there.
pub fn www_authenticate(bytes: &[u8]) {
    let Ok(header) = std::str::from_utf8(bytes) else { return };
    for challenge in parse_challenges(header) {
        assert!(!challenge.scheme.is_empty());
        assert!(challenge.parameters.keys().all(|name| *name == name.to_ascii_lowercase()));
    }
}
