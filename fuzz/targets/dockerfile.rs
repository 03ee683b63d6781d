//! Dockerfiles: parsed, linted, every instruction expanded, every span quoted.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use minke_dockerfile::{Given, Instruction, Scope, lint, parse};

fuzz_target!(|text: &[u8]| {
    let Ok(file) = parse("Dockerfile", text) else { return };
    for warning in lint(&file) {
        assert!(file.source.excerpt(warning.span).contains("Dockerfile:"));
    }
    let Ok(globals) = Scope::of_globals(&file, Arc::new(Given::default())) else { return };
    for stage in &file.stages {
        let _image = globals.expand(&stage.from.image);
        let mut scope = globals.of_stage(&["PATH=/bin".to_owned()]);
        for step in &stage.steps {
            match step.expanded(&scope) {
                Ok(Instruction::Arg(arguments)) => scope.declare(&arguments),
                Ok(Instruction::Env(pairs)) => scope.set(&pairs),
                Ok(_) => {}
                Err(error) => assert!(error.span.is_some(), "an error of a step says where"),
            }
        }
    }
});
