//! Docker's context store: named engines under `contexts/` of the config directory.
//!
//! `meta/<sha256 of the name>/meta.json` describes one, `tls/<same>/docker/` holds its certificates. The store is
//! Docker's own, so contexts made by either program serve both. Which context is current is a line of `config.json`
//! and not known here.

use crate::endpoint::{Endpoint, EndpointError, TlsFiles};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The name that means "no context: environment and defaults".
pub const DEFAULT: &str = "default";

/// A context that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error("context \"{name}\": context not found: open {path}: no such file or directory", path = path.display())]
    Missing { name: String, path: PathBuf },
    #[error("context \"{name}\" already exists")]
    Exists { name: String },
    #[error("context name cannot be empty")]
    Empty,
    #[error("\"{DEFAULT}\" is a reserved context name")]
    Reserved,
    #[error(
        "context name \"{0}\" is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
    )]
    Name(String),
    #[error("context \"{name}\": {path}: {source}", path = path.display())]
    Io { name: String, path: PathBuf, source: io::Error },
    #[error("context \"{name}\": {path}: {source}", path = path.display())]
    Json { name: String, path: PathBuf, source: serde_json::Error },
    #[error("context \"{0}\" has no docker endpoint")]
    NoEndpoint(String),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// The store under one config directory.
#[derive(Debug, Clone)]
pub struct Contexts {
    root: PathBuf,
}

/// One stored context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    pub name: String,
    pub description: String,
    pub host: String,
    pub skip_tls_verify: bool,
    /// The document as stored.
    pub document: Value,
}

/// Names of certificate files, as docker stores them.
pub const TLS_FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

impl Contexts {
    /// The store of a config directory such as `~/.docker`.
    pub fn new(config: &Path) -> Contexts {
        Contexts { root: config.join("contexts") }
    }

    fn id(name: &str) -> String {
        minke_base::id::hex(&Sha256::digest(name.as_bytes()))
    }

    /// Directory of a context's description.
    pub fn meta_dir(&self, name: &str) -> PathBuf {
        self.root.join("meta").join(Self::id(name))
    }

    /// Directory of a context's certificates.
    pub fn tls_dir(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(Self::id(name))
    }

    /// Every stored context, by name.
    pub fn list(&self) -> Result<Vec<Context>, ContextError> {
        let mut found = Vec::new();
        let Ok(entries) = fs::read_dir(self.root.join("meta")) else { return Ok(found) };
        for entry in entries.flatten() {
            let path = entry.path().join("meta.json");
            if path.exists() {
                let shown = entry.file_name().to_string_lossy().into_owned();
                found.push(read(&path, &shown)?);
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// One context.
    pub fn get(&self, name: &str) -> Result<Context, ContextError> {
        let path = self.meta_dir(name).join("meta.json");
        if !path.exists() {
            return Err(ContextError::Missing { name: name.to_owned(), path });
        }
        read(&path, name)
    }

    /// Where the context's engine is, with its certificates.
    pub fn endpoint(&self, name: &str) -> Result<Endpoint, ContextError> {
        let context = self.get(name)?;
        let directory = self.tls_dir(name).join("docker");
        let file = |name: &str| Some(directory.join(name)).filter(|p| p.exists());
        let tls = directory.is_dir().then(|| TlsFiles {
            ca: file(TLS_FILES[0]),
            cert: file(TLS_FILES[1]),
            key: file(TLS_FILES[2]),
            verify: !context.skip_tls_verify,
        });
        Ok(Endpoint::parse(&context.host, tls)?)
    }

    /// Names of the certificate files a context has, by endpoint.
    pub fn tls_material(&self, name: &str) -> Vec<String> {
        let directory = self.tls_dir(name).join("docker");
        TLS_FILES.iter().filter(|f| directory.join(f).exists()).map(|f| (*f).to_owned()).collect()
    }

    /// Writes a context; `tls` are the contents of the certificate files.
    pub fn save(&self, context: &Context, tls: &[(&str, Vec<u8>)]) -> Result<(), ContextError> {
        let name = context.name.clone();
        let fail = |path: &Path| {
            let (name, path) = (name.clone(), path.to_owned());
            move |source| ContextError::Io { name, path, source }
        };
        let meta = self.meta_dir(&context.name);
        fs::create_dir_all(&meta).map_err(fail(&meta))?;
        let path = meta.join("meta.json");
        let fresh = meta.join(".meta.json.new");
        fs::write(&fresh, context.document.to_string()).map_err(fail(&fresh))?;
        fs::rename(&fresh, &path).map_err(fail(&path))?;
        if !tls.is_empty() {
            let directory = self.tls_dir(&context.name).join("docker");
            fs::create_dir_all(&directory).map_err(fail(&directory))?;
            for (file, bytes) in tls {
                let path = directory.join(file);
                fs::write(&path, bytes).map_err(fail(&path))?;
                let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                fs::set_permissions(&path, private).map_err(fail(&path))?;
            }
        }
        Ok(())
    }

    /// Removes a context and its certificates.
    pub fn remove(&self, name: &str) -> Result<(), ContextError> {
        self.get(name)?;
        for directory in [self.meta_dir(name), self.tls_dir(name)] {
            match fs::remove_dir_all(&directory) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(ContextError::Io { name: name.to_owned(), path: directory, source });
                }
            }
        }
        Ok(())
    }
}

fn read(path: &Path, name: &str) -> Result<Context, ContextError> {
    let name = name.to_owned();
    let text = fs::read(path).map_err(|source| ContextError::Io {
        name: name.clone(),
        path: path.to_owned(),
        source,
    })?;
    let document: Value = serde_json::from_slice(&text).map_err(|source| ContextError::Json {
        name: name.clone(),
        path: path.to_owned(),
        source,
    })?;
    let text =
        |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text("/Name");
    Ok(Context {
        description: text("/Metadata/Description"),
        host: text("/Endpoints/docker/Host"),
        skip_tls_verify: document
            .pointer("/Endpoints/docker/SkipTLSVerify")
            .and_then(Value::as_bool)
            .unwrap_or_default(),
        name,
        document,
    })
}

impl Context {
    /// A context as docker would store it.
    pub fn new(name: &str, description: &str, host: &str, skip_tls_verify: bool) -> Context {
        let metadata = if description.is_empty() { json!({}) } else { json!({"Description": description}) };
        Context {
            name: name.to_owned(),
            description: description.to_owned(),
            host: host.to_owned(),
            skip_tls_verify,
            document: json!({
                "Name": name,
                "Metadata": metadata,
                "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": skip_tls_verify}},
            }),
        }
    }
}

/// Refuses what docker refuses as a name.
pub fn check_name(name: &str) -> Result<(), ContextError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-');
    match name {
        "" => Err(ContextError::Empty),
        DEFAULT => Err(ContextError::Reserved),
        n if n.len() >= 2 && n.starts_with(|c: char| c.is_ascii_alphanumeric()) && n.chars().all(allowed) => {
            Ok(())
        }
        other => Err(ContextError::Name(other.to_owned())),
    }
}
