//! The flags of `build`, docker's and buildx's, and the query they become.

use minke_client::Request;
use serde_json::{Map, Value, json};

use crate::check;
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::session::Session;

pub(super) const FLAGS: &[Flag] = &[
    flag("add-host", Kind::List, "Add a name to /etc/hosts of steps (\"host:ip\")").check(check::extra_host),
    flag("build-arg", Kind::List, "Give a variable of the Dockerfile a value"),
    flag("build-context", Kind::List, "Further files by name (NAME=PATH, NAME=docker-image://IMAGE)"),
    flag("cache-from", Kind::List, "Images whose steps may be taken over"),
    flag("cgroup-parent", Kind::Str, "Parent cgroup of the steps that run programs"),
    flag("check", Kind::Bool, "Only warn about what the Dockerfile says, do not build"),
    flag("compress", Kind::Bool, "Send the context compressed (it travels over a socket: it is not)")
        .hidden(),
    flag("cpu-period", Kind::Int, "Period of the CPU limit, microseconds"),
    flag("cpu-quota", Kind::Int, "CPU time in each period, microseconds"),
    short("cpu-shares", 'c', Kind::Int, "Share of the CPU against others"),
    flag("cpuset-cpus", Kind::Str, "CPUs to run on (0-3, 0,1)"),
    flag("cpuset-mems", Kind::Str, "Memory nodes to use (0-3, 0,1)"),
    short("file", 'f', Kind::Str, "The Dockerfile: a path, an address or - (default PATH/Dockerfile)")
        .complete(Complete::Files),
    flag("force-rm", Kind::Bool, "Keep nothing of a step that failed (nothing ever is)"),
    flag("iidfile", Kind::Str, "Write the image's ID to this file").complete(Complete::Files),
    flag("isolation", Kind::Str, "Isolation of steps: default"),
    flag("label", Kind::List, "Put a label on the image").check(check::label),
    flag("load", Kind::Bool, "Put the result among the images (it always is)"),
    short("memory", 'm', Kind::Bytes, "Memory limit of steps"),
    flag("memory-swap", Kind::Bytes, "Limit of memory and swap, -1 for no limit")
        .check(|text| check::swap(text).map(drop)),
    flag("metadata-file", Kind::Str, "Write what was built to this file, as JSON").complete(Complete::Files),
    flag("network", Kind::Str, "Network of steps that run programs").default("default"),
    flag("no-cache", Kind::Bool, "Do every step anew"),
    flag("no-cache-filter", Kind::Strings, "Do the steps of these stages anew"),
    short(
        "output",
        'o',
        Kind::List,
        "Where the result goes: DIRECTORY, -, type=local|tar|oci|docker|image|cacheonly[,dest=PATH]",
    ),
    flag("platform", Kind::Str, "Platform of the result (os[/arch[/variant]])"),
    flag("progress", Kind::Str, "How progress is shown: auto, plain, tty, quiet")
        .default("auto")
        .complete(Complete::Words(&["auto", "plain", "quiet", "tty"])),
    flag("pull", Kind::Bool, "Look for newer base images"),
    short("quiet", 'q', Kind::Bool, "Print the image's ID only"),
    flag("rm", Kind::Bool, "Keep no containers of steps (none are)").default("true"),
    flag("secret", Kind::List, "A secret for steps (id=NAME[,src=PATH|,env=VARIABLE])"),
    flag("security-opt", Kind::List, "Security options of steps"),
    flag("shm-size", Kind::Bytes, "Size of /dev/shm in steps"),
    flag("squash", Kind::Bool, "One layer on top of the base image"),
    short("tag", 't', Kind::List, "Name of the image (NAME[:TAG]), several times"),
    flag("target", Kind::Str, "The stage to build"),
    flag("ulimit", Kind::Ulimit, "Limits of steps (name=soft[:hard])")
        .check(|text| check::ulimit(text).map(drop)),
    // Understood so that the refusal can say why.
    flag("allow", Kind::List, "").hidden(),
    flag("annotation", Kind::List, "").hidden(),
    flag("attest", Kind::List, "").hidden(),
    flag("builder", Kind::Str, "").hidden(),
    flag("cache-to", Kind::List, "").hidden(),
    flag("provenance", Kind::Str, "").hidden(),
    flag("push", Kind::Bool, "").hidden(),
    flag("sbom", Kind::Str, "").hidden(),
    flag("ssh", Kind::List, "").hidden(),
];

/// Flags of buildx that ask for what is not there.
pub(super) fn refuse(given: &Given) -> Result<(), Failure> {
    const WHY: &[(&str, &str)] = &[
        ("allow", "entitlements are not built: no step runs with more than a container has"),
        ("annotation", "annotations of manifests are not built yet: use --label"),
        ("attest", "attestations are not built yet"),
        (
            "cache-to",
            "exporting the cache is not built yet: it stays with the engine, and --cache-from takes images",
        ),
        ("provenance", "attestations are not built yet"),
        ("push", "pushing is a command of its own: minke push"),
        ("sbom", "attestations are not built yet"),
        ("ssh", "forwarding an SSH agent is not built yet: give a key as --secret"),
    ];
    for (name, why) in WHY {
        let off = matches!(given.str(name), "false" | "0") && matches!(*name, "push" | "provenance" | "sbom");
        if given.changed(name) && !off {
            return Err(Failure::new(1, format!("--{name}: {why}")));
        }
    }
    Ok(())
}

/// The query that `POST /build` and minke's own have in common.
pub(super) fn query<'a>(
    session: &Session,
    given: &Given,
    mut call: Request<'a>,
) -> Result<Request<'a>, Failure> {
    for name in given.list("tag") {
        minke_base::Reference::parse(name).map_err(|error| {
            Failure::new(1, format!("invalid argument {name:?} for \"-t, --tag\" flag: {error}"))
        })?;
        call = call.query("t", name);
    }
    let arguments = build_arguments(session, given)?;
    if !arguments.is_empty() {
        call = call.query("buildargs", Value::Object(arguments).to_string());
    }
    let labels = super::super::variables::labels(given)?;
    if !labels.is_empty() {
        call = call.query("labels", Value::Object(labels).to_string());
    }
    let cache_from: Vec<String> =
        given.list("cache-from").into_iter().map(cache_source).collect::<Result<_, Failure>>()?;
    if !cache_from.is_empty() {
        call = call.query("cachefrom", json!(cache_from).to_string());
    }
    for host in given.list("add-host") {
        call = call.query("extrahosts", host.replacen('=', ":", 1));
    }
    for option in given.list("security-opt") {
        call = call.query("securityopt", option);
    }
    let ulimits: Vec<Value> = given
        .list("ulimit")
        .into_iter()
        .map(|text| {
            check::ulimit(text).map(|(name, soft, hard)| json!({"Name": name, "Soft": soft, "Hard": hard}))
        })
        .collect::<Result<_, _>>()?;
    if !ulimits.is_empty() {
        call = call.query("ulimits", Value::Array(ulimits).to_string());
    }
    for (flag, parameter) in [("memory", "memory"), ("shm-size", "shmsize")] {
        if let Some(text) = given.get(flag) {
            call = call.query(parameter, check::bytes(text)?.to_string());
        }
    }
    if let Some(text) = given.get("memory-swap") {
        call = call.query("memswap", check::swap(text)?.to_string());
    }
    for (flag, parameter) in
        [("cpu-period", "cpuperiod"), ("cpu-quota", "cpuquota"), ("cpu-shares", "cpushares")]
    {
        if let Some(number) = given.int(flag) {
            call = call.query(parameter, number.to_string());
        }
    }
    for (flag, parameter) in [
        ("cgroup-parent", "cgroupparent"),
        ("cpuset-cpus", "cpusetcpus"),
        ("cpuset-mems", "cpusetmems"),
        ("isolation", "isolation"),
        ("target", "target"),
    ] {
        if let Some(text) = given.get(flag).filter(|text| !text.is_empty()) {
            call = call.query(parameter, text);
        }
    }
    if let Some(network) = given.get("network").filter(|network| !network.is_empty() && *network != "default")
    {
        call = call.query("networkmode", network);
    }
    if let Some(platform) = given.get("platform").filter(|platform| !platform.is_empty()) {
        check::platform(platform)?;
        call = call.query("platform", platform.to_lowercase());
    }
    if let Some(credentials) = crate::credentials::all_header(session)? {
        call = call.header("X-Registry-Config", &credentials);
    }
    Ok(call
        .flag("nocache", given.on("no-cache"))
        .flag("pull", given.on("pull"))
        .flag("squash", given.on("squash"))
        .query("rm", if given.on_unless("rm") { "1" } else { "0" })
        .flag("forcerm", given.on("force-rm")))
}

/// `--build-arg`, and the proxies of the client's configuration, which flags overrule.
fn build_arguments(session: &Session, given: &Given) -> Result<Map<String, Value>, Failure> {
    let host = session.named_host()?.unwrap_or_default();
    let mut arguments: Map<String, Value> = session
        .config()
        .proxies(&host)
        .into_iter()
        .map(|(name, value)| (name, Value::String(value)))
        .collect();
    for text in given.list("build-arg") {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, std::env::var(text).ok()),
        };
        if name.is_empty() {
            return Err(Failure::new(1, format!("invalid build argument {text:?}: it has no name")));
        }
        arguments.insert(name.to_owned(), value.map_or(Value::Null, Value::String));
    }
    if !arguments.contains_key("SOURCE_DATE_EPOCH")
        && let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH")
        && !epoch.is_empty()
    {
        arguments.insert("SOURCE_DATE_EPOCH".to_owned(), Value::String(epoch));
    }
    Ok(arguments)
}

/// An image's name, or buildx's `type=registry,ref=NAME`.
fn cache_source(text: &str) -> Result<String, Failure> {
    if !text.contains('=') {
        return Ok(text.to_owned());
    }
    let fields = super::super::mounts::fields(text)?;
    let field = |name: &str| fields.iter().find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    match (field("type"), field("ref")) {
        (Some("registry") | None, Some(name)) => Ok(format!("type=registry,ref={name}")),
        _ => Err(Failure::new(
            1,
            format!("--cache-from {text:?}: only images can be taken from (NAME or type=registry,ref=NAME)"),
        )),
    }
}
