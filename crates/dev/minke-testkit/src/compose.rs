//! docker-compose against a daemon: the program of Debian's package, as it is.

use std::path::Path;
use std::process::Command;

use crate::Daemon;

impl Daemon {
    /// Runs docker-compose on the file in `directory` as the project `name`; it must succeed. Answers what it printed.
    #[track_caller]
    pub fn compose(&self, directory: &Path, name: &str, args: &[&str]) -> String {
        let done = Command::new("/usr/bin/docker-compose")
            .args(args)
            .current_dir(directory)
            .env("DOCKER_HOST", self.host())
            .env("COMPOSE_PROJECT_NAME", name)
            .output()
            .expect("docker-compose (Debian: docker-compose)");
        let text =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "docker-compose {args:?}: {text}");
        text
    }
}
