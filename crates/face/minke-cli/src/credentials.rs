//! Who the user is at which registry: docker's `config.json` (`auths`, `credsStore`, `credHelpers`), the helpers it names, and
//! `DOCKER_AUTH_CONFIG`. The engine keeps none of it: each request that needs some brings its own.

use crate::config::Config;
use crate::failure::Failure;
use crate::session::Session;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Docker Hub, under the name it has in the file.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";
/// What a helper that knows nobody says.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// What is stored for one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) identity_token: String,
    pub(crate) registry_token: String,
}

impl Stored {
    /// As requests to the engine have it.
    pub(crate) fn to_json(&self, server: &str) -> Value {
        let mut document = Map::new();
        for (key, value) in [
            ("username", &self.username),
            ("password", &self.password),
            ("identitytoken", &self.identity_token),
            ("registrytoken", &self.registry_token),
        ] {
            if !value.is_empty() {
                document.insert(key.to_owned(), value.as_str().into());
            }
        }
        document.insert("serveraddress".to_owned(), server.into());
        Value::Object(document)
    }

    fn from_entry(entry: &Value) -> Stored {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut stored = Stored {
            username: text("username"),
            password: text("password"),
            identity_token: text("identitytoken"),
            registry_token: text("registrytoken"),
        };
        if let Ok(bytes) = STANDARD.decode(text("auth"))
            && let Some((username, password)) = String::from_utf8_lossy(&bytes).split_once(':')
        {
            username.clone_into(&mut stored.username);
            password.trim_end_matches('\0').clone_into(&mut stored.password);
        }
        stored
    }

    fn to_entry(&self) -> Value {
        let mut entry = Map::new();
        let auth = STANDARD.encode(format!("{}:{}", self.username, self.password));
        entry.insert("auth".to_owned(), auth.into());
        if !self.identity_token.is_empty() {
            entry.insert("identitytoken".to_owned(), self.identity_token.as_str().into());
        }
        Value::Object(entry)
    }
}

/// The name that a registry has in the file: Docker Hub's address, and hosts for the others.
pub(crate) fn server_of(domain: &str) -> String {
    let host = host_of(domain);
    if matches!(host, "" | "docker.io" | "index.docker.io" | "registry-1.docker.io") {
        HUB.to_owned()
    } else {
        host.to_owned()
    }
}

fn host_of(server: &str) -> &str {
    let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    bare.split('/').next().unwrap_or_default()
}

/// What is stored for a registry.
pub(crate) fn find(session: &Session, server: &str) -> Result<Option<Stored>, Failure> {
    let config = session.config();
    if let Ok(text) = std::env::var("DOCKER_AUTH_CONFIG")
        && let Ok(document) = serde_json::from_str::<Value>(&text)
        && let Some(stored) = in_auths(document.get("auths"), server)
    {
        return Ok(Some(stored));
    }
    match helper(config, server) {
        Some(helper) => helper_get(&helper, server),
        None => Ok(in_auths(Some(&auths(config)), server)),
    }
}

/// The value of the header `X-Registry-Auth` for a registry, if the user is somebody there.
pub(crate) fn header(session: &Session, domain: &str) -> Result<Option<String>, Failure> {
    let server = server_of(domain);
    let stored = find(session, &server)?;
    Ok(stored.map(|stored| URL_SAFE.encode(stored.to_json(&server).to_string())))
}

/// The value of the header `X-Registry-Config`: everything that is stored, by registry, for builds.
pub(crate) fn all_header(session: &Session) -> Result<Option<String>, Failure> {
    let config = session.config();
    let mut servers: Vec<String> =
        auths(config).as_object().into_iter().flat_map(Map::keys).cloned().collect();
    let helpers = config.value("credHelpers").and_then(Value::as_object);
    servers.extend(helpers.into_iter().flat_map(Map::keys).cloned());
    if let Some(store) = config.text("credsStore")
        && let Ok(listed) = helper_call(store, "list", "")
        && let Ok(Value::Object(listed)) = serde_json::from_str(&listed)
    {
        servers.extend(listed.keys().cloned());
    }
    servers.sort();
    servers.dedup();
    let mut document = Map::new();
    for server in servers {
        if let Some(stored) = find(session, &server)? {
            document.insert(server.clone(), stored.to_json(&server));
        }
    }
    Ok((!document.is_empty()).then(|| URL_SAFE.encode(Value::Object(document).to_string())))
}

/// Remembers somebody; whether there is something new that whoever has the file can read.
pub(crate) fn store(session: &Session, server: &str, stored: &Stored) -> Result<bool, Failure> {
    let config = session.config();
    let mut auths = auths(config);
    if let Some(helper) = helper(config, server) {
        let (username, secret) = match stored.identity_token.as_str() {
            "" => (stored.username.as_str(), stored.password.as_str()),
            token => ("<token>", token),
        };
        let document = json!({"ServerURL": server, "Username": username, "Secret": secret});
        helper_call(&helper, "store", &document.to_string())
            .map_err(|why| format!("Error saving credentials: {why}"))?;
        // docker lists in the file whom the helper knows.
        auths[server] = json!({});
        config.store_value("auths", Some(auths))?;
        return Ok(false);
    }
    let entry = stored.to_entry();
    let changed = auths.get(server) != Some(&entry);
    auths[server] = entry;
    config.store_value("auths", Some(auths))?;
    Ok(changed)
}

/// Forgets somebody.
pub(crate) fn erase(session: &Session, server: &str) -> Result<(), Failure> {
    let config = session.config();
    if let Some(helper) = helper(config, server) {
        match helper_call(&helper, "erase", server) {
            Err(why) if !why.contains(NOT_FOUND) => return Err(why.into()),
            _ => {}
        }
    }
    let mut auths = auths(config);
    let Some(map) = auths.as_object_mut() else { return Ok(()) };
    let before = map.len();
    map.retain(|known, _| known != server && host_of(known) != host_of(server));
    if map.len() != before {
        config.store_value("auths", Some(auths))?;
    }
    Ok(())
}

/// The file's entries; where it has none, those of docker's file before `config.json`.
fn auths(config: &Config) -> Value {
    if let Some(auths) = config.value("auths").filter(|auths| auths.is_object()) {
        return auths.clone();
    }
    legacy().unwrap_or_else(|| json!({}))
}

/// `~/.dockercfg`: the entries alone.
fn legacy() -> Option<Value> {
    let home = std::env::var_os("HOME")?;
    let bytes = std::fs::read(std::path::Path::new(&home).join(".dockercfg")).ok()?;
    serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
}

/// By its name, or by the host of a name that is written in another way.
fn in_auths(auths: Option<&Value>, server: &str) -> Option<Stored> {
    let auths = auths?.as_object()?;
    let entry = auths.get(server).or_else(|| {
        auths.iter().find(|(known, _)| host_of(known) == host_of(server)).map(|(_, entry)| entry)
    })?;
    Some(Stored::from_entry(entry)).filter(|stored| *stored != Stored::default())
}

/// The helper that keeps this registry's credentials.
fn helper(config: &Config, server: &str) -> Option<String> {
    let own =
        config.value("credHelpers").and_then(|helpers| helpers.get(host_of(server)).or(helpers.get(server)));
    let own = own.and_then(Value::as_str).filter(|name| !name.is_empty());
    own.or_else(|| config.text("credsStore")).map(str::to_owned)
}

fn helper_get(helper: &str, server: &str) -> Result<Option<Stored>, Failure> {
    let said = match helper_call(helper, "get", server) {
        Ok(said) => said,
        Err(why) if why.contains(NOT_FOUND) => return Ok(None),
        Err(why) => return Err(format!("error getting credentials - {why}").into()),
    };
    let answer: Value = serde_json::from_str(&said)
        .map_err(|why| format!("error getting credentials - docker-credential-{helper}: {why}"))?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (username, secret) = (text("Username"), text("Secret"));
    Ok(Some(match username.as_str() {
        "<token>" => Stored { identity_token: secret, ..Stored::default() },
        _ => Stored { username, password: secret, ..Stored::default() },
    }))
}

/// Runs `docker-credential-HELPER ACTION`; what it says, or why not.
fn helper_call(helper: &str, action: &str, input: &str) -> Result<String, String> {
    let program = format!("docker-credential-{helper}");
    let failed = |why: std::io::Error| match why.kind() {
        std::io::ErrorKind::NotFound => {
            format!("err: exec: {program:?}: executable file not found in $PATH, out: ``")
        }
        _ => format!("err: {program}: {}", crate::failure::go_io(&why)),
    };
    if helper.contains('/') {
        return Err(format!("{helper:?} is no name of a credential helper"));
    }
    let mut child = Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that reads nothing has its reasons, and says them below.
        drop(stdin.write_all(input.as_bytes()));
    }
    let done = child.wait_with_output().map_err(failed)?;
    let said = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    if done.status.success() { Ok(said) } else { Err(format!("err: {}, out: `{said}`", done.status)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_have_their_names_of_the_file() {
        for hub in ["docker.io", "", "https://index.docker.io/v1/"] {
            assert_eq!(server_of(hub), HUB);
        }
        assert_eq!(server_of("https://r.example:5000/v2/"), "r.example:5000");
    }

    #[test]
    fn an_entry_is_found_by_its_host_too() {
        let auths = json!({"https://r.example/v1/": {"auth": "YTpiOmM="}, "other": {}});
        let stored = in_auths(Some(&auths), "r.example").unwrap();
        assert_eq!((stored.username.as_str(), stored.password.as_str()), ("a", "b:c"));
        assert_eq!(in_auths(Some(&auths), "other"), None);
        assert_eq!(Stored::from_entry(&stored.to_entry()), stored);
    }
}
