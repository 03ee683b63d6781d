//! `push`: an image to a registry.

use super::pull::refuse_trust;
use crate::command::{Args, Command, Outcome};
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::progress::{self, To};
use crate::session::Session;
use minke_base::Reference;
use minke_client::Client;

const FLAGS: &[Flag] = &[
    short("all-tags", 'a', Kind::Bool, "Push every tag of the repository"),
    flag("disable-content-trust", Kind::Bool, "Do not sign").default("true").hidden(),
    flag("platform", Kind::Str, "Push this platform's manifest only (os[/arch[/variant]])"),
    short("quiet", 'q', Kind::Bool, "Print the name only"),
];

pub(crate) const PUSH: Command = Command {
    paths: &["image push", "push"],
    usage: "[OPTIONS] NAME[:TAG]",
    about: "Send an image to a registry",
    details: "",
    args: Args::Exactly(1),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Images,
    run: push,
};

fn push(session: &Session, given: &Given) -> Outcome {
    refuse_trust(given)?;
    let mut reference = Reference::parse(&given.args[0]).map_err(|e| e.to_string())?;
    if given.on("all-tags") {
        if reference.tag().is_some() || reference.digest().is_some() {
            return Err("tag can't be used with --all-tags/-a".into());
        }
    } else {
        if reference.tag().is_none() && reference.digest().is_none() && !given.on("quiet") {
            session.out.line("Using default tag: latest");
            session.out.flush()?;
        }
        reference = reference.or_latest();
    }
    if reference.digest().is_some() {
        return Err("cannot push a digest reference".into());
    }
    let path = format!("/images/{}/push", Client::segment(&reference.familiar_name()));
    let mut call = session.client()?.post(&path).query("tag", reference.tag().unwrap_or_default());
    if let Some(platform) = given.get("platform").filter(|p| !p.is_empty()) {
        call = call.query("platform", crate::check::platform(platform)?.to_string());
    }
    // The API wants the header even from nobody.
    let auth = crate::credentials::header(session, reference.domain())?;
    call = call.header("X-Registry-Auth", auth.as_deref().unwrap_or("e30="));
    let response = call.send()?;
    if given.on("quiet") {
        progress::listen(response)?;
        let name = if given.on("all-tags") { reference.canonical_name() } else { reference.to_string() };
        session.out.line(&name);
    } else {
        progress::show(response, To::Stdout)?;
    }
    Ok(0)
}
