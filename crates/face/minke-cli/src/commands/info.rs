//! `info`: client and engine at a glance.

use super::inspect::FORMAT;
use super::{schema, version};
use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, short};
use crate::given::Given;
use crate::printer::complain;
use crate::session::Session;
use minke_base::size;
use minke_template::{Mode, Template};
use serde_json::{Value, json};

const FLAGS: &[Flag] = &[short("format", 'f', Kind::Str, FORMAT)];

pub(crate) const INFO: Command = Command {
    paths: &["system info", "info"],
    usage: "[OPTIONS]",
    about: "Show what client and engine are",
    details: "",
    args: Args::None,
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let context = session.context_name()?;
    let debug = session.globals.on("debug");
    let format = given.str("format");
    let answer = session.client()?.get("/info").send();
    let (server, error) = match answer.and_then(minke_client::Response::json) {
        Ok(server) => (Some(server), None),
        Err(error) => (None, Some(error.to_string())),
    };
    if !format.is_empty() {
        return formatted(session, format, server, error);
    }
    let mut page = Page::default();
    page.line("Client:");
    page.pair(1, "Version", &format!("   {}", crate::VERSION));
    page.pair(1, "Context", &format!("   {context}"));
    page.pair(1, "Debug Mode", &debug.to_string());
    page.line("");
    page.line("Server:");
    if let Some(server) = &server {
        body(&mut page, server);
        page.line("");
    }
    session.out.text(&page.0);
    session.out.flush()?;
    if let Some(server) = &server {
        for warning in server.get("Warnings").and_then(Value::as_array).into_iter().flatten() {
            complain(warning.as_str().unwrap_or_default());
        }
    }
    match error {
        None => Ok(0),
        Some(error) => Err(Failure::new(1, error)),
    }
}

fn formatted(session: &Session, format: &str, server: Option<Value>, error: Option<String>) -> Outcome {
    let mut document = server.unwrap_or_else(|| json!({}));
    let mut client = version::client(session, version::API)?;
    let mut about = json!({"Debug": session.globals.on("debug")});
    if let (Some(about), Some(client)) = (about.as_object_mut(), client.as_object_mut()) {
        client.shift_remove("ApiVersion");
        about.append(client);
        about.insert("Plugins".into(), json!([]));
        about.insert("Warnings".into(), Value::Null);
    }
    if let Some(error) = &error {
        document["ServerErrors"] = json!([error]);
    }
    document["ClientInfo"] = about;
    let text = if format == "json" { "{{json .}}".to_owned() } else { crate::format::unescape(format) };
    let template =
        Template::parse(&text).map_err(|e| Failure::new(64, format!("template parsing error: {e}")))?;
    let value = schema::info().read("Info", &document);
    let mut out = String::new();
    let ran = template.execute(&value, Mode::Lenient, &mut out);
    session.out.line(&out);
    session.out.flush()?;
    ran.map_err(|e| Failure::new(1, e.to_string()))?;
    match error {
        None => Ok(0),
        Some(error) => Err(Failure::new(1, format!("errors pretty printing info\n{error}"))),
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn pair(&mut self, depth: usize, key: &str, value: &str) {
        self.line(&format!("{}{key}: {value}", " ".repeat(depth)));
    }

    /// Left out when there is nothing to say.
    fn maybe(&mut self, depth: usize, key: &str, value: &str) {
        if !value.is_empty() {
            self.pair(depth, key, value);
        }
    }
}

fn body(page: &mut Page, info: &Value) {
    let text = |key: &str| info.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |key: &str| info.get(key).and_then(Value::as_i64).unwrap_or(0).to_string();
    let flag = |key: &str| info.get(key).and_then(Value::as_bool).unwrap_or(false);
    let list = |value: Option<&Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    page.pair(1, "Containers", &number("Containers"));
    page.pair(2, "Running", &number("ContainersRunning"));
    page.pair(2, "Paused", &number("ContainersPaused"));
    page.pair(2, "Stopped", &number("ContainersStopped"));
    page.pair(1, "Images", &number("Images"));
    page.maybe(1, "Server Version", &text("ServerVersion"));
    page.maybe(1, "Storage Driver", &text("Driver"));
    for pair in info.get("DriverStatus").and_then(Value::as_array).into_iter().flatten() {
        let part = |n: usize| pair.get(n).and_then(Value::as_str).unwrap_or_default().to_owned();
        page.pair(2, &part(0), &part(1));
    }
    page.maybe(1, "Logging Driver", &text("LoggingDriver"));
    page.maybe(1, "Cgroup Driver", &text("CgroupDriver"));
    page.maybe(1, "Cgroup Version", &text("CgroupVersion"));
    page.line(" Plugins:");
    for kind in ["Volume", "Network"] {
        page.pair(2, kind, &list(info.pointer(&format!("/Plugins/{kind}"))).join(" "));
    }
    for (kind, name) in [("Authorization", "Authorization"), ("Log", "Log")] {
        page.maybe(2, name, &list(info.pointer(&format!("/Plugins/{kind}"))).join(" "));
    }
    let specs = list(info.get("CDISpecDirs"));
    if !specs.is_empty() {
        page.line(" CDI spec directories:");
        for directory in specs {
            page.line(&format!("  {directory}"));
        }
    }
    page.pair(
        1,
        "Swarm",
        info.pointer("/Swarm/LocalNodeState").and_then(Value::as_str).unwrap_or("inactive"),
    );
    if let Some(runtimes) = info.get("Runtimes").and_then(Value::as_object).filter(|r| !r.is_empty()) {
        let mut names: Vec<&str> = runtimes.keys().map(String::as_str).collect();
        names.sort_unstable();
        page.pair(1, "Runtimes", &names.join(" "));
        page.pair(1, "Default Runtime", &text("DefaultRuntime"));
    }
    if text("OSType") == "linux" {
        page.pair(1, "Init Binary", &text("InitBinary"));
        for (name, key) in [
            ("containerd version", "ContainerdCommit"),
            ("runc version", "RuncCommit"),
            ("init version", "InitCommit"),
        ] {
            let id = info.get(key).and_then(|c| c.get("ID")).and_then(Value::as_str);
            page.pair(1, name, id.unwrap_or_default());
        }
        let options = list(info.get("SecurityOptions"));
        if !options.is_empty() {
            page.line(" Security Options:");
            for option in options {
                security(page, &option);
            }
        }
    }
    page.pair(1, "Kernel Version", &text("KernelVersion"));
    page.maybe(1, "Operating System", &text("OperatingSystem"));
    page.maybe(1, "OSType", &text("OSType"));
    page.maybe(1, "Architecture", &text("Architecture"));
    page.pair(1, "CPUs", &number("NCPU"));
    let memory = info.get("MemTotal").and_then(Value::as_u64).unwrap_or(0);
    page.pair(1, "Total Memory", &size::binary(memory));
    page.maybe(1, "Name", &text("Name"));
    page.maybe(1, "ID", &text("ID"));
    page.pair(1, "Docker Root Dir", &text("DockerRootDir"));
    page.pair(1, "Debug Mode", &flag("Debug").to_string());
    if flag("Debug") {
        page.pair(2, "File Descriptors", &number("NFd"));
        page.pair(2, "Goroutines", &number("NGoroutines"));
        page.pair(2, "System Time", &text("SystemTime"));
        page.pair(2, "EventsListeners", &number("NEventsListener"));
    }
    page.maybe(1, "HTTP Proxy", &text("HttpProxy"));
    page.maybe(1, "HTTPS Proxy", &text("HttpsProxy"));
    page.maybe(1, "No Proxy", &text("NoProxy"));
    let labels = list(info.get("Labels"));
    if !labels.is_empty() {
        page.line(" Labels:");
        for label in labels {
            page.line(&format!("  {label}"));
        }
    }
    page.pair(1, "Experimental", &flag("ExperimentalBuild").to_string());
    registries(page, info, &list);
    page.pair(1, "Live Restore Enabled", &flag("LiveRestoreEnabled").to_string());
    page.maybe(1, "Product License", &text("ProductLicense"));
    let pools = info.get("DefaultAddressPools").and_then(Value::as_array);
    if let Some(pools) = pools.filter(|p| !p.is_empty()) {
        page.line(" Default Address Pools:");
        for pool in pools {
            let base = pool.get("Base").and_then(Value::as_str).unwrap_or_default();
            let size = pool.get("Size").and_then(Value::as_i64).unwrap_or(0);
            page.line(&format!("   Base: {base}, Size: {size}"));
        }
    }
}

/// `name=seccomp,profile=builtin` as a name and its settings below.
fn security(page: &mut Page, option: &str) {
    let mut name = "";
    let mut settings = Vec::new();
    for part in option.split(',') {
        match part.split_once('=') {
            Some(("name", value)) => name = value,
            Some(pair) => settings.push(pair),
            None => name = part,
        }
    }
    page.line(&format!("  {name}"));
    for (key, value) in settings {
        let shown = if key == "profile" { "Profile" } else { key };
        page.line(&format!("   {shown}: {value}"));
    }
}

fn registries(page: &mut Page, info: &Value, list: &dyn Fn(Option<&Value>) -> Vec<String>) {
    let Some(config) = info.get("RegistryConfig").filter(|c| !c.is_null()) else { return };
    let mut insecure = Vec::new();
    if let Some(indexes) = config.get("IndexConfigs").and_then(Value::as_object) {
        for index in indexes.values() {
            if index.get("Secure").and_then(Value::as_bool) == Some(false) {
                insecure.push(index.get("Name").and_then(Value::as_str).unwrap_or_default().to_owned());
            }
        }
    }
    insecure.extend(list(config.get("InsecureRegistryCIDRs")));
    if !insecure.is_empty() {
        page.line(" Insecure Registries:");
        for registry in insecure {
            page.line(&format!("  {registry}"));
        }
    }
    let mirrors = list(config.get("Mirrors"));
    if !mirrors.is_empty() {
        page.line(" Registry Mirrors:");
        for mirror in mirrors {
            page.line(&format!("  {mirror}"));
        }
    }
}
