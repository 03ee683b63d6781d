//! `pull`: an image from a registry.

use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::progress::{self, To};
use crate::session::Session;
use minke_base::Reference;
use minke_client::Response;

const FLAGS: &[Flag] = &[
    short("all-tags", 'a', Kind::Bool, "Pull every tag of the repository"),
    flag("disable-content-trust", Kind::Bool, "Do not ask for signatures").default("true").hidden(),
    flag("platform", Kind::Str, "Pull for this platform (os[/arch[/variant]])"),
    short("quiet", 'q', Kind::Bool, "Print the name only"),
];

pub(crate) const PULL: Command = Command {
    paths: &["image pull", "pull"],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Fetch an image from a registry",
    details: "",
    args: Args::Exactly(1),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Images,
    run: pull,
};

/// Asks the engine for a pull, with what is known of the user at that registry. A reference without tag and digest is all its tags.
pub(crate) fn request(
    session: &Session,
    reference: &Reference,
    platform: Option<&str>,
) -> Result<Response, Failure> {
    let tag = match reference.digest() {
        Some(digest) => digest.to_string(),
        None => reference.tag().unwrap_or_default().to_owned(),
    };
    let mut call = session
        .client()?
        .post("/images/create")
        .query("fromImage", reference.familiar_name())
        .query("tag", tag);
    if let Some(platform) = platform {
        call = call.query("platform", platform);
    }
    if let Some(auth) = crate::credentials::header(session, reference.domain())? {
        call = call.header("X-Registry-Auth", &auth);
    }
    Ok(call.send()?)
}

/// Signatures of Docker's content trust are not looked at: who asks for them is told.
pub(crate) fn refuse_trust(given: &Given) -> Result<(), Failure> {
    match given.on_unless("disable-content-trust") {
        true => Ok(()),
        false => Err("content trust (notary signatures) is not built into minke: pull by digest to be sure of an image".into()),
    }
}

fn pull(session: &Session, given: &Given) -> Outcome {
    refuse_trust(given)?;
    let mut reference = Reference::parse(&given.args[0]).map_err(|e| e.to_string())?;
    let named = reference.tag().is_some() || reference.digest().is_some();
    if given.on("all-tags") {
        if named {
            return Err("tag can't be used with --all-tags/-a".into());
        }
    } else {
        if !named && !given.on("quiet") {
            session.out.line("Using default tag: latest");
            session.out.flush()?;
        }
        reference = reference.or_latest();
    }
    let platform = given.get("platform").filter(|p| !p.is_empty());
    let response = request(session, &reference, platform)?;
    if given.on("quiet") {
        progress::listen(response)?;
    } else {
        progress::show(response, To::Stdout)?;
    }
    let name = if given.on("all-tags") { reference.canonical_name() } else { reference.to_string() };
    session.out.line(&name);
    Ok(0)
}
