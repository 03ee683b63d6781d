//! Dockerfiles and lists of what a context leaves out.

use std::sync::Arc;

use minke_dockerfile::{Around, Given, Ignore, Instruction, Scope, lint, parse};

/// A Dockerfile: parsed, linted, every instruction expanded, every span quoted.
pub fn dockerfile(text: &[u8]) {
    let Ok(file) = parse("Dockerfile", text) else { return };
    for warning in lint(&file, &Around::default()) {
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
}

/// A path that is asked about, on the first line, and the `.dockerignore` behind it.
pub fn dockerignore(bytes: &[u8]) {
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (path, text) = bytes.split_at(line);
    let Ok(path) = std::str::from_utf8(path) else { return };
    let Ok(ignore) = Ignore::parse(text.get(1..).unwrap_or_default()) else { return };
    // Whoever leaves a directory out without looking below it must not lose what an exception takes back.
    if ignore.excludes(path) && !ignore.may_return_below(path) {
        assert!(ignore.excludes(&format!("{path}/below")), "{path}");
    }
}
