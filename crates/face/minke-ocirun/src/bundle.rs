//! An OCI bundle on disk: a directory with `config.json` and a root file system.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, Spec};

use crate::OciError;

/// A bundle that was read.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Absolute, without links.
    pub(crate) dir: PathBuf,
    pub(crate) spec: Spec,
    pub(crate) rootfs: PathBuf,
}

impl Bundle {
    /// Reads the bundle in `dir` (the working directory when not given) and checks what every container needs.
    pub(crate) fn read(dir: Option<PathBuf>) -> Result<Self, OciError> {
        let dir = dir.unwrap_or_else(|| ".".into());
        let dir = dir.canonicalize().map_err(|e| OciError::io("open bundle", &dir, e))?;
        let spec: Spec = read_json(&dir.join("config.json"))?;
        let missing = |what: &str| OciError::Spec(format!("config.json has no {what}"));
        let root = spec.root().as_ref().ok_or_else(|| missing("root"))?;
        let rootfs = dir.join(root.path());
        let process = spec.process().as_ref().ok_or_else(|| missing("process"))?;
        if process.args().as_ref().is_none_or(Vec::is_empty) {
            return Err(OciError::Spec("process.args of config.json is empty".to_owned()));
        }
        if !process.cwd().is_absolute() {
            return Err(OciError::Spec("cwd must be an absolute path".to_owned()));
        }
        spec.linux().as_ref().ok_or_else(|| missing("linux section"))?;
        Ok(Self { dir, spec, rootfs })
    }

    pub(crate) fn process(&self) -> &Process {
        self.spec.process().as_ref().expect("Bundle::read checks it")
    }

    pub(crate) fn wants_terminal(&self) -> bool {
        self.process().terminal() == Some(true)
    }
}

/// Reads a JSON document, naming the file in every error.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, OciError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(OciError::NoSpec(path.to_owned())),
        Err(e) => return Err(OciError::io("read", path, e)),
    };
    serde_json::from_slice(&bytes).map_err(|source| OciError::Parse { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &str) -> Result<Bundle, OciError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        Bundle::read(Some(dir.path().to_owned()))
    }

    #[test]
    fn a_bundle_without_what_every_container_needs_is_refused_by_name() {
        for (config, text) in [
            (
                r#"{"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0},"args":["a"],"cwd":"/"},"linux":{}}"#,
                "config.json has no root",
            ),
            (r#"{"ociVersion":"1.0.2","root":{"path":"r"},"linux":{}}"#, "config.json has no process"),
            (
                r#"{"ociVersion":"1.0.2","root":{"path":"r"},"process":{"user":{"uid":0,"gid":0},"args":[],"cwd":"/"},"linux":{}}"#,
                "process.args of config.json is empty",
            ),
            (
                r#"{"ociVersion":"1.0.2","root":{"path":"r"},"process":{"user":{"uid":0,"gid":0},"args":["a"],"cwd":"x"},"linux":{}}"#,
                "cwd must be an absolute path",
            ),
        ] {
            assert_eq!(check(config).unwrap_err().to_string(), text);
        }
        let missing = Bundle::read(Some(tempfile::tempdir().unwrap().path().to_owned()));
        assert!(missing.is_err());
    }
}
