//! `login`, `logout`: who the user is at a registry.

use crate::command::{Args, Command, Outcome};
use crate::credentials::{self, HUB, Stored, server_of};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::printer::{complain, write_stdout};
use crate::session::Session;
use crate::terminal;
use std::io::{BufRead as _, Read as _};

const FLAGS: &[Flag] = &[
    // Registries do not ask for it any more; book and scripts give it.
    short("email", 'e', Kind::Str, "Address of the account; not needed").hidden(),
    short("password", 'p', Kind::Str, "Password or access token"),
    flag("password-stdin", Kind::Bool, "Read the password or access token from stdin"),
    short("username", 'u', Kind::Str, "User name"),
];

pub(crate) const LOGIN: Command = Command {
    paths: &["login"],
    usage: "[OPTIONS] [SERVER]",
    about: "Log in to a registry",
    details: "Log in to a registry; Docker Hub when none is named.\nThe credentials are kept in config.json, or by the credential helper it names.",
    args: Args::AtMost(1),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run: login,
};

pub(crate) const LOGOUT: Command = Command {
    paths: &["logout"],
    usage: "[SERVER]",
    about: "Log out of a registry",
    details: "Forget who the user is at a registry; at Docker Hub when none is named.",
    args: Args::AtMost(1),
    flags: &[],
    interspersed: true,
    complete: Complete::Nothing,
    run: logout,
};

fn login(session: &Session, given: &Given) -> Outcome {
    let server = server_of(given.args.first().map_or("", String::as_str));
    let mut username = given.str("username").trim().to_owned();
    let mut password = given.str("password").to_owned();
    if given.on("password-stdin") {
        if given.changed("password") {
            return Err("conflicting options: cannot specify both --password and --password-stdin".into());
        }
        if username.is_empty() {
            return Err("the --password-stdin option requires --username to be set".into());
        }
        std::io::stdin().read_to_string(&mut password)?;
        password.truncate(password.trim_end_matches(['\r', '\n']).len());
    } else if given.changed("password") {
        if password.is_empty() {
            return Err("password is empty".into());
        }
        complain("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    if username.is_empty()
        && password.is_empty()
        && let Some(stored) = credentials::find(session, &server)?
    {
        complain(&format!("Authenticating with existing credentials... [Username: {}]\n", stored.username));
        complain(&format!(
            " Info -> To login with a different account, run '{0} logout' followed by '{0} login'\n\n",
            session.program
        ));
        match authenticate(session, &server, stored) {
            Ok(code) => return Ok(code),
            Err(failure) => complain(&format!("Login did not succeed, error: {}", failure.text)),
        }
    }
    if username.is_empty() || password.is_empty() {
        (username, password) = ask(&server, username, password)?;
    }
    authenticate(session, &server, Stored { username, password, ..Stored::default() })
}

/// Asks the person at the terminal for what was not given.
fn ask(server: &str, mut username: String, mut password: String) -> Result<(String, String), Failure> {
    if !terminal::stdin_is() {
        return Err("Error: Cannot perform an interactive login from a non TTY device".into());
    }
    if username.is_empty() {
        if server == HUB {
            write_stdout(
                b"Log in with your Docker ID or email address to push and pull images from Docker Hub.\n",
            )?;
        }
        username = prompt("Username: ", false)?.trim().to_owned();
        if username.is_empty() {
            return Err("Error: Non-null Username Required".into());
        }
    }
    if password.is_empty() {
        password = prompt("Password: ", true)?;
        write_stdout(b"\n")?;
        if password.is_empty() {
            return Err("Error: Password Required".into());
        }
    }
    Ok((username, password))
}

fn prompt(text: &str, secret: bool) -> Result<String, Failure> {
    write_stdout(text.as_bytes())?;
    let _quiet = if secret { Some(terminal::Silent::enter()?) } else { None };
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// Shows it to the registry, through the engine, and remembers it when it is good.
fn authenticate(session: &Session, server: &str, stored: Stored) -> Outcome {
    let answer = session.client()?.post("/auth").json(&stored.to_json(server)).send()?.json()?;
    let text = |key: &str| answer.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let token = text("IdentityToken");
    let stored = match token.as_str() {
        "" => stored,
        // Good for what the password was good for, and can be taken back.
        _ => Stored { identity_token: token, password: String::new(), ..stored },
    };
    if credentials::store(session, server, &stored)? {
        let path = session.config().directory.join("config.json");
        complain(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove \
             this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            path.display()
        ));
    }
    session.out.line(&text("Status"));
    Ok(0)
}

fn logout(session: &Session, given: &Given) -> Outcome {
    let server = server_of(given.args.first().map_or("", String::as_str));
    session.out.line(&format!("Removing login credentials for {server}"));
    credentials::erase(session, &server)
        .map_err(|failure| format!("WARNING: could not erase credentials:\n{server}: {}", failure.text))?;
    Ok(0)
}
