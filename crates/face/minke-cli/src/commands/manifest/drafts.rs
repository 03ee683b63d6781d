//! Lists that were begun: one directory per list and one file per image, named and written as docker's CLI does.

use crate::config::{Config, write_atomically};
use crate::failure::{Failure, go_io};
use crate::session::Session;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minke_base::Reference;
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One image of a list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) descriptor: Value,
    /// The manifest, byte for byte.
    pub(super) raw: Vec<u8>,
}

/// The directory of lists.
#[derive(Debug)]
pub(super) struct Drafts(PathBuf);

impl Drafts {
    pub(super) fn of(session: &Session) -> Self {
        Self(Config::locate(session.globals.get("config")).join("manifests"))
    }

    fn directory(&self, list: &Reference) -> PathBuf {
        self.0.join(file_name(list))
    }

    /// All images of a list, by file name.
    pub(super) fn entries(&self, list: &Reference) -> Result<Vec<Entry>, Failure> {
        let directory = self.directory(list);
        let mut files: Vec<PathBuf> = match fs::read_dir(&directory) {
            Ok(found) => found.flatten().map(|entry| entry.path()).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(explain("open", &directory, &error)),
        };
        files.sort();
        files.iter().map(|file| read(file)).collect()
    }

    pub(super) fn entry(&self, list: &Reference, name: &Reference) -> Result<Option<Entry>, Failure> {
        let file = self.directory(list).join(file_name(name));
        if file.exists() { read(&file).map(Some) } else { Ok(None) }
    }

    pub(super) fn keep(&self, list: &Reference, name: &Reference, entry: &Entry) -> Result<(), Failure> {
        let file = self.directory(list).join(file_name(name));
        write_atomically(&file, entry.verbose().to_string().as_bytes(), 0o600)
    }

    pub(super) fn forget(&self, list: &Reference) -> Result<(), Failure> {
        let directory = self.directory(list);
        fs::remove_dir_all(&directory).map_err(|error| explain("remove", &directory, &error))
    }
}

/// A reference as a file's name: `docker.io_library_x-latest`.
fn file_name(name: &Reference) -> String {
    name.to_string().replace(':', "-").replace('/', "_")
}

fn explain(what: &str, path: &Path, error: &io::Error) -> Failure {
    format!("{what} {}: {}", path.display(), go_io(error)).into()
}

fn read(file: &Path) -> Result<Entry, Failure> {
    let bytes = fs::read(file).map_err(|error| explain("open", file, &error))?;
    let document: Value =
        serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", file.display()))?;
    let raw = STANDARD
        .decode(document["Raw"].as_str().unwrap_or_default())
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let name = document["Ref"].as_str().unwrap_or_default().to_owned();
    Ok(Entry { name, descriptor: document["Descriptor"].clone(), raw })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_kept_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let drafts = Drafts(directory.path().join("manifests"));
        let list = Reference::parse("r.example:5000/a/list:1").unwrap();
        let name = Reference::parse("r.example:5000/a/b:1").unwrap();
        let entry = Entry {
            name: name.familiar(),
            descriptor: serde_json::json!({"mediaType": "x", "digest": "y", "size": 2}),
            raw: b"{}".to_vec(),
        };
        drafts.keep(&list, &name, &entry).unwrap();
        assert!(directory.path().join("manifests/r.example-5000_a_list-1/r.example-5000_a_b-1").exists());
        assert_eq!(drafts.entries(&list).unwrap(), [entry]);
        drafts.forget(&list).unwrap();
        assert!(drafts.entries(&list).unwrap().is_empty());
    }
}
