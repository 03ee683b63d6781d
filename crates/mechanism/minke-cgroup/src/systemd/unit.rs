//! A container's unit: asked for, changed and ended through systemd.
//!
//! A scope holds processes that somebody else started, and must have one from the start; whoever asks brings it. The
//! container's own follow later, straight into the scope's cgroup.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use super::bus::{Bus, BusError};
use super::properties;
use super::scope::Wish;
use super::wire::{Value, Writer};
use super::{SystemdError, SystemdPath};
use crate::group::Cgroup;
use crate::host::{Host, Mode, Version, read_memberships};
use crate::plan::{Stage, plan_devices};

/// Which systemd is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The machine's.
    Machine,
    /// The caller's own, for containers without root.
    User,
}

/// A conversation with systemd.
#[derive(Debug)]
pub(super) struct Manager {
    bus: Bus,
}

fn failed(doing: impl Into<String>) -> impl FnOnce(BusError) -> SystemdError {
    let doing = doing.into();
    move |source| SystemdError::Bus { doing, source }
}

impl Manager {
    /// Connects to systemd's own socket, or by way of the bus where that is out of reach.
    pub(super) fn connect(of: Of) -> Result<Self, SystemdError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (private, bus) = match of {
            Of::Machine => {
                let given = variable("DBUS_SYSTEM_BUS_ADDRESS").and_then(|address| unix_path(&address));
                ("/run/systemd/private".into(), given.unwrap_or_else(|| "/run/dbus/system_bus_socket".into()))
            }
            Of::User => {
                let runtime = PathBuf::from(variable("XDG_RUNTIME_DIR").ok_or(SystemdError::NoUserSession)?);
                let given = variable("DBUS_SESSION_BUS_ADDRESS").and_then(|address| unix_path(&address));
                (runtime.join("systemd/private"), given.unwrap_or_else(|| runtime.join("bus")))
            }
        };
        // The second failure is the one to tell: the bus is what is documented.
        let connected = Bus::connect_private(&private).or_else(|_private| Bus::connect_bus(&bus));
        Ok(Self { bus: connected.map_err(failed("connect to systemd"))? })
    }

    /// Starts the unit of a container, with `pid` in it when it is a scope, and waits until it is there.
    pub(super) fn start(&mut self, request: &Start<'_>) -> Result<(), SystemdError> {
        let properties = request.properties()?;
        let unit = request.wish.path.unit();
        let doing = || format!("start unit {unit}");
        match self.start_once(&unit, &properties) {
            Err(error) if error.is("UnitExists") => {
                // Left over from a container of that name that failed; one that lives is not reset, and fails again.
                drop(self.named("ResetFailedUnit", &unit));
                self.start_once(&unit, &properties).map_err(failed(doing()))
            }
            other => other.map_err(failed(doing())),
        }
        .and_then(|result| match result.as_str() {
            "done" => Ok(()),
            _ => {
                drop(self.named("ResetFailedUnit", &unit));
                Err(SystemdError::Job { unit, result })
            }
        })
    }

    fn start_once(&mut self, unit: &str, properties: &[properties::Property]) -> Result<String, BusError> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        body.properties(properties);
        // No auxiliary units: a(sa(sv)).
        body.array(8, [(); 0], |_, ()| {});
        self.job("StartTransientUnit", "ssa(sv)a(sa(sv))", &body.bytes)
    }

    /// Ends the unit and forgets how it ended. One that is gone already is what is wanted.
    pub(super) fn stop(&mut self, unit: &str) -> Result<(), SystemdError> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        match self.job("StopUnit", "ss", &body.bytes) {
            Err(error) if error.is("NoSuchUnit") => return Ok(()),
            other => other.map_err(failed(format!("stop unit {unit}")))?,
        };
        // Only a unit that failed is still known.
        match self.named("ResetFailedUnit", unit) {
            Err(error) if !error.is("NoSuchUnit") => Err(failed(format!("reset unit {unit}"))(error)),
            _ => Ok(()),
        }
    }

    /// Tells systemd of other limits, until the unit ends.
    pub(super) fn update(
        &mut self,
        unit: &str,
        version: Version,
        resources: &LinuxResources,
    ) -> Result<(), SystemdError> {
        let properties = properties::of_limits(version, resources)?;
        if properties.is_empty() {
            return Ok(());
        }
        let mut body = Writer::default();
        body.text(unit);
        body.bool(true);
        body.properties(&properties);
        let set = self.bus.call("SetUnitProperties", "sba(sv)", &body.bytes);
        set.map(drop).map_err(failed(format!("set properties of unit {unit}")))
    }

    fn named(&mut self, member: &str, unit: &str) -> Result<(), BusError> {
        let mut body = Writer::default();
        body.text(unit);
        self.bus.call(member, "s", &body.bytes).map(drop)
    }

    /// Calls what answers with a job, and waits for its end.
    fn job(&mut self, member: &str, signature: &str, body: &[u8]) -> Result<String, BusError> {
        let reply = self.bus.call(member, signature, body)?;
        let job = reply.reader().text().ok_or(BusError::Malformed)?.to_owned();
        self.bus.wait_for_job(&job)
    }
}

/// What a container's unit is started with.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) wish: Wish<'a>,
    /// The process that is in the scope from the start; slices have none.
    pub(super) pid: Option<u32>,
    pub(super) version: Version,
}

impl Start<'_> {
    fn properties(&self) -> Result<Vec<properties::Property>, SystemdError> {
        let wish = &self.wish;
        let mut list = vec![("Description".to_owned(), Value::Text(format!("minke container {}", wish.id)))];
        if wish.path.is_slice() {
            list.push(("Wants".to_owned(), Value::Texts(vec![wish.path.slice.clone()])));
        } else {
            list.push(("Slice".to_owned(), Value::Text(wish.path.slice.clone())));
            list.push(("Delegate".to_owned(), Value::Bool(true)));
            list.push(("PIDs".to_owned(), Value::Numbers(self.pid.into_iter().collect())));
        }
        if wish.collect {
            list.push(("CollectMode".to_owned(), Value::Text("inactive-or-failed".to_owned())));
        }
        list.extend(properties::of_unit(self.version));
        list.extend(properties::of_limits(self.version, wish.resources)?);
        if let Some(devices) = plan_devices(wish.resources, Stage::Create) {
            let groups = std::fs::read_to_string("/proc/devices").unwrap_or_default();
            list.extend(properties::of_devices(&devices, &groups));
        }
        // What the caller asks for by name replaces what was decided here.
        for (name, value) in properties::of_annotations(wish.annotations.into_iter().flatten())? {
            list.retain(|(known, _)| *known != name);
            list.push((name, value));
        }
        Ok(list)
    }
}

/// Opens the cgroup that systemd made for a unit, where it put `pid`; the hierarchies it does not tend get the same directory.
pub(super) fn open_cgroup(host: &Host, path: &SystemdPath, pid: Option<u32>) -> Result<Cgroup, SystemdError> {
    let place = match pid.and_then(|pid| i32::try_from(pid).ok()) {
        Some(pid) => {
            let memberships = read_memberships(pid)?;
            let wanted: &[String] = if host.mode() == Mode::V2 { &[] } else { &["name=systemd".to_owned()] };
            memberships.into_iter().find(|m| m.controllers == wanted).map(|m| m.path)
        }
        None => None,
    };
    let place = match place {
        Some(place) if place.ends_with(path.unit()) => place,
        _ => path.cgroup_path()?,
    };
    Ok(Cgroup::adopt(host, &place)?)
}

/// The path of `unix:path=/a/b;…`, with its escapes; other kinds of addresses are not for local use.
fn unix_path(addresses: &str) -> Option<PathBuf> {
    addresses.split(';').find_map(|address| {
        let options = address.strip_prefix("unix:")?;
        let path = options.split(',').find_map(|option| option.strip_prefix("path="))?;
        let mut bytes = Vec::new();
        let mut rest = path.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            if byte == b'%' {
                let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &tail[2..];
            } else {
                bytes.push(byte);
                rest = tail;
            }
        }
        Some(Path::new(&*String::from_utf8_lossy(&bytes)).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_address_is_read_with_its_escapes() {
        let read = |text: &str| unix_path(text).map(|p| p.display().to_string());
        assert_eq!(read("unix:path=/run/user/1000/bus"), Some("/run/user/1000/bus".into()));
        assert_eq!(read("tcp:host=x;unix:guid=1,path=/a%20b"), Some("/a b".into()));
        assert_eq!(read("unix:abstract=/x"), None);
    }

    #[test]
    fn a_scope_is_delegated_and_an_annotation_has_the_last_word() {
        let path = SystemdPath::parse("machine.slice:libpod:abc").unwrap();
        let annotations = [("org.systemd.property.DefaultDependencies".to_owned(), "true".to_owned())]
            .into_iter()
            .collect();
        let wish = Wish {
            path: &path,
            id: "abc",
            of: Of::Machine,
            resources: &LinuxResources::default(),
            annotations: Some(&annotations),
            collect: true,
        };
        let start = Start { wish, pid: Some(7), version: Version::V2 };
        let list = start.properties().unwrap();
        let get =
            |name: &str| list.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect::<Vec<_>>();
        assert_eq!(get("Slice"), [Value::Text("machine.slice".into())]);
        assert_eq!(get("PIDs"), [Value::Numbers(vec![7])]);
        assert_eq!(get("CollectMode"), [Value::Text("inactive-or-failed".into())]);
        assert_eq!(get("Delegate"), [Value::Bool(true)]);
        assert_eq!(get("DefaultDependencies"), [Value::Bool(true)]);
        assert_eq!(get("DevicePolicy"), [Value::Text("strict".into())]);
    }
}
