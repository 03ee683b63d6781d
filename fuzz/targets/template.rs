//! `--format`: parsed and executed on a small value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minke_template::{Mode, Template, Value};

fuzz_target!(|text: &str| {
    if let Ok(template) = Template::parse(text) {
        let json = serde_json::json!({"Name": "a", "List": [1, 2], "Map": {"k": "v"}, "Nothing": null});
        let mut out = String::new();
        let _outcome = template.execute(&Value::from_json(&json), Mode::Lenient, &mut out);
    }
});
