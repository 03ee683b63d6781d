//! One call of the CLI: who we are called as, which engine is meant, where output goes.
//!
//! Everything is made when first asked for, so that `--help` touches no file and `ps` reads at most one.

use crate::config::Config;
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::printer::Printer;
use minke_client::contexts::{Contexts, DEFAULT};
use minke_client::{Client, DEFAULT_SOCKET, Endpoint, TlsFiles};
use std::cell::OnceCell;
use std::env;
use std::path::PathBuf;

/// Flags before the command.
pub(crate) const GLOBALS: [Flag; 11] = [
    flag("config", Kind::Str, "Directory of the client's settings").complete(Complete::Files),
    short(
        "context",
        'c',
        Kind::Str,
        "Context that names the engine to talk to (wins over DOCKER_HOST and \"context use\")",
    )
    .complete(Complete::Contexts),
    short("debug", 'D', Kind::Bool, "Enable debug mode"),
    short("host", 'H', Kind::List, "Engine's address: unix:// or tcp://"),
    short(
        "log-level",
        'l',
        Kind::Str,
        "Least severe messages to show (\"debug\", \"info\", \"warn\", \"error\", \"fatal\")",
    )
    .default("info")
    .complete(Complete::Words(&["debug", "info", "warn", "error", "fatal"])),
    flag("tls", Kind::Bool, "Use TLS; implied by --tlsverify"),
    flag("tlscacert", Kind::Str, "CA whose certificates are trusted").complete(Complete::Files),
    flag("tlscert", Kind::Str, "Certificate to show to the engine").complete(Complete::Files),
    flag("tlskey", Kind::Str, "Key of that certificate").complete(Complete::Files),
    flag("tlsverify", Kind::Bool, "Use TLS and check the engine's certificate"),
    short("version", 'v', Kind::Bool, "Print the version and quit"),
];

/// One call.
#[derive(Debug)]
pub(crate) struct Session {
    /// `docker` or `minke`, as typed.
    pub(crate) program: String,
    pub(crate) globals: Given,
    pub(crate) out: Printer,
    config: OnceCell<Config>,
    client: OnceCell<Client>,
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|v| !v.is_empty())
}

impl Session {
    pub(crate) fn new(program: String, globals: Given) -> Session {
        Session {
            program,
            globals,
            out: Printer::default(),
            config: OnceCell::new(),
            client: OnceCell::new(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        self.config.get_or_init(|| Config::read(Config::locate(self.globals.get("config"))))
    }

    pub(crate) fn contexts(&self) -> Contexts {
        Contexts::new(&Config::locate(self.globals.get("config")))
    }

    /// The context in force, by docker's order: flag, host given, environment, config.
    pub(crate) fn context_name(&self) -> Result<String, Failure> {
        let hosts = self.globals.list("host");
        if let Some(name) = self.globals.get("context") {
            if !hosts.is_empty() {
                return Err("conflicting options: cannot specify both --host and --context".into());
            }
            return Ok(name.to_owned());
        }
        if !hosts.is_empty() || variable("DOCKER_HOST").is_some() {
            return Ok(DEFAULT.to_owned());
        }
        if let Some(name) = variable("DOCKER_CONTEXT") {
            return Ok(name);
        }
        Ok(self.config().text("currentContext").unwrap_or(DEFAULT).to_owned())
    }

    /// The host the user named, when no context does.
    pub(crate) fn named_host(&self) -> Result<Option<String>, Failure> {
        match self.globals.list("host").as_slice() {
            [] => Ok(variable("DOCKER_HOST")),
            [one] => Ok(Some((*one).to_owned())),
            _ => Err("Specify only one -H".into()),
        }
    }

    /// TLS as flags and environment ask for it.
    fn tls(&self) -> Option<TlsFiles> {
        let given = &self.globals;
        let verify = if given.changed("tlsverify") {
            given.on("tlsverify")
        } else {
            variable("DOCKER_TLS_VERIFY").is_some()
        };
        let files = ["tlscacert", "tlscert", "tlskey"].iter().any(|f| given.changed(f));
        let wanted = verify || given.on("tls") || variable("DOCKER_TLS").is_some() || files;
        if !wanted {
            return None;
        }
        let directory = variable("DOCKER_CERT_PATH")
            .map_or_else(|| Config::locate(self.globals.get("config")), PathBuf::from);
        let file = |flag: &str, name: &str| match given.get(flag) {
            Some(path) => Some(PathBuf::from(path)),
            None => Some(directory.join(name)).filter(|p| p.exists()),
        };
        Some(TlsFiles {
            ca: file("tlscacert", "ca.pem"),
            cert: file("tlscert", "cert.pem"),
            key: file("tlskey", "key.pem"),
            verify,
        })
    }

    /// The engine's address, and whether it is minke's own default.
    pub(crate) fn endpoint(&self) -> Result<(Endpoint, bool), Failure> {
        let unresolved = |e: &dyn std::fmt::Display| {
            format!("Failed to initialize: unable to resolve docker endpoint: {e}")
        };
        let name = self.context_name()?;
        if name != DEFAULT {
            let endpoint = self.contexts().endpoint(&name).map_err(|e| unresolved(&e))?;
            return Ok((endpoint, false));
        }
        match self.named_host()? {
            Some(host) => Ok((Endpoint::parse(&host, self.tls()).map_err(|e| unresolved(&e))?, false)),
            None => Ok((Endpoint::Unix(DEFAULT_SOCKET.into()), true)),
        }
    }

    /// The client of that engine.
    pub(crate) fn client(&self) -> Result<&Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let (endpoint, own) = self.endpoint()?;
        let mut client = Client::new(endpoint);
        if let Some(version) = variable("DOCKER_API_VERSION") {
            client = client.with_version(&version);
        }
        if own && env::var("MINKE_AUTOSTART").as_deref() != Ok("0") && rustix::process::geteuid().is_root() {
            client = client.with_autostart();
        }
        let headers = self.config().headers();
        if !headers.is_empty() {
            client = client.with_headers(headers);
        }
        Ok(self.client.get_or_init(|| client))
    }
}
