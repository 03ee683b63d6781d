//! Processes as `/proc` tells of them, and each column as ps shows it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Pid,
    Thread,
    Parent,
    Group,
    Session,
    Foreground,
    User,
    UserId,
    RealUser,
    RealUserId,
    GroupName,
    GroupId,
    Name,
    Command,
    Share,
    Percent,
    Memory,
    Virtual,
    Resident,
    Pages,
    Terminal,
    Stat,
    State,
    Flags,
    Started,
    StartedExactly,
    StartedInFull,
    Time,
    ShortTime,
    Seconds,
    Age,
    AgeSeconds,
    Threads,
    Nice,
    Priority,
    PriorityUp,
    Processor,
    Waits,
    MinorFaults,
    MajorFaults,
    Cgroup,
    /// What no kernel tells any more.
    Nothing,
}

impl Field {
    /// A column by ps's name for it, and its heading.
    pub(super) fn named(name: &str) -> Option<(Self, &'static str)> {
        Some(match name {
            "pid" => (Self::Pid, "PID"),
            "tgid" => (Self::Pid, "TGID"),
            "lwp" => (Self::Thread, "LWP"),
            "tid" => (Self::Thread, "TID"),
            "spid" => (Self::Thread, "SPID"),
            "ppid" => (Self::Parent, "PPID"),
            "pgid" => (Self::Group, "PGID"),
            "pgrp" => (Self::Group, "PGRP"),
            "sid" => (Self::Session, "SID"),
            "sess" | "session" => (Self::Session, "SESS"),
            "tpgid" => (Self::Foreground, "TPGID"),
            "user" | "uname" => (Self::User, "USER"),
            "euser" => (Self::User, "EUSER"),
            "ruser" => (Self::RealUser, "RUSER"),
            "uid" => (Self::UserId, "UID"),
            "euid" => (Self::UserId, "EUID"),
            "ruid" => (Self::RealUserId, "RUID"),
            "group" => (Self::GroupName, "GROUP"),
            "egroup" => (Self::GroupName, "EGROUP"),
            "gid" => (Self::GroupId, "GID"),
            "egid" => (Self::GroupId, "EGID"),
            "comm" | "ucomm" => (Self::Name, "COMMAND"),
            "ucmd" => (Self::Name, "CMD"),
            "args" | "command" => (Self::Command, "COMMAND"),
            "cmd" => (Self::Command, "CMD"),
            "c" => (Self::Share, "C"),
            "pcpu" | "%cpu" => (Self::Percent, "%CPU"),
            "pmem" | "%mem" => (Self::Memory, "%MEM"),
            "vsz" | "vsize" => (Self::Virtual, "VSZ"),
            "rss" | "rssize" => (Self::Resident, "RSS"),
            "rsz" => (Self::Resident, "RSZ"),
            "sz" => (Self::Pages, "SZ"),
            "tty" | "tt" => (Self::Terminal, "TT"),
            "tname" => (Self::Terminal, "TTY"),
            "stat" => (Self::Stat, "STAT"),
            "s" | "state" => (Self::State, "S"),
            "f" | "flag" | "flags" => (Self::Flags, "F"),
            "stime" => (Self::Started, "STIME"),
            "start_time" | "bsdstart" => (Self::Started, "START"),
            "start" => (Self::StartedExactly, "STARTED"),
            "lstart" => (Self::StartedInFull, "STARTED"),
            "time" | "cputime" => (Self::Time, "TIME"),
            "bsdtime" => (Self::ShortTime, "TIME"),
            "times" | "cputimes" => (Self::Seconds, "TIME"),
            "etime" => (Self::Age, "ELAPSED"),
            "etimes" => (Self::AgeSeconds, "ELAPSED"),
            "nlwp" => (Self::Threads, "NLWP"),
            "thcount" => (Self::Threads, "THCNT"),
            "ni" | "nice" => (Self::Nice, "NI"),
            "pri" => (Self::Priority, "PRI"),
            "opri" => (Self::PriorityUp, "PRI"),
            "psr" => (Self::Processor, "PSR"),
            "wchan" => (Self::Waits, "WCHAN"),
            "min_flt" | "minflt" => (Self::MinorFaults, "MINFLT"),
            "maj_flt" | "majflt" | "pagein" => (Self::MajorFaults, "MAJFLT"),
            "cgroup" => (Self::Cgroup, "CGROUP"),
            _ => return None,
        })
    }
}

/// What is the same for all processes.
pub(super) struct Host {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    ticks: u64,
    page_kb: u64,
    memory_kb: u64,
    uptime: f64,
    now: i64,
}

impl Host {
    pub(super) fn read() -> Self {
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        Self {
            users: names("/etc/passwd"),
            groups: names("/etc/group"),
            ticks: rustix::param::clock_ticks_per_second().max(1),
            page_kb: rustix::param::page_size() as u64 / 1024,
            memory_kb: rustix::system::sysinfo().totalram / 1024,
            uptime: uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
            now: chrono::Utc::now().timestamp(),
        }
    }
}

/// Names by number: both files have the number in the third place.
fn names(file: &str) -> HashMap<u32, String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

/// One process, or one thread of it.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) pid: i32,
    tid: i32,
    pub(super) parent: i32,
    /// Effective and real.
    users: [u32; 2],
    group: u32,
    pub(super) name: String,
    command: String,
    cgroup: String,
    waits: String,
    /// The numbers of `stat` behind the name; the first is the state.
    numbers: Vec<String>,
    age: f64,
    host_page_kb: u64,
    ticks: u64,
}

/// Places in `stat`, counted behind the name.
mod place {
    pub(super) const PARENT: usize = 1;
    pub(super) const GROUP: usize = 2;
    pub(super) const SESSION: usize = 3;
    pub(super) const TERMINAL: usize = 4;
    pub(super) const FOREGROUND: usize = 5;
    pub(super) const FLAGS: usize = 6;
    pub(super) const MINOR: usize = 7;
    pub(super) const MAJOR: usize = 9;
    pub(super) const USER_TIME: usize = 11;
    pub(super) const KERNEL_TIME: usize = 12;
    pub(super) const PRIORITY: usize = 15;
    pub(super) const NICE: usize = 16;
    pub(super) const THREADS: usize = 17;
    pub(super) const STARTED: usize = 19;
    pub(super) const VIRTUAL: usize = 20;
    pub(super) const RESIDENT: usize = 21;
    pub(super) const PROCESSOR: usize = 36;
}

impl Process {
    pub(super) fn read(pid: i32, host: &Host) -> Option<Self> {
        Self::read_at(Path::new(&format!("/proc/{pid}")), pid, pid, host)
    }

    /// All threads of a process.
    pub(super) fn read_threads(pid: i32, host: &Host) -> Vec<Self> {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
        let number = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
        let mut tids: Vec<i32> = tasks.flatten().filter_map(|entry| number(&entry)).collect();
        tids.sort_unstable();
        let at = |tid: i32| format!("/proc/{pid}/task/{tid}");
        tids.into_iter().filter_map(|tid| Self::read_at(Path::new(&at(tid)), pid, tid, host)).collect()
    }

    fn read_at(directory: &Path, pid: i32, tid: i32, host: &Host) -> Option<Self> {
        let text = |name: &str| fs::read_to_string(directory.join(name)).ok();
        let stat = text("stat")?;
        let (open, close) = (stat.find('(')?, stat.rfind(')')?);
        let name = stat[open + 1..close].to_owned();
        let status = text("status")?;
        let ids = |what: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(what))?;
            line.split_whitespace().map(|id| id.parse().ok()).collect()
        };
        let (users, groups) = (ids("Uid:")?, ids("Gid:")?);
        let raw = fs::read(directory.join("cmdline")).unwrap_or_default();
        let command = match String::from_utf8_lossy(&raw).trim_end_matches('\0') {
            "" => format!("[{name}]"),
            words => words.replace('\0', " "),
        };
        let numbers: Vec<String> = stat[close + 1..].split_whitespace().map(str::to_owned).collect();
        let mut process = Self {
            pid,
            tid,
            users: [*users.get(1)?, *users.first()?],
            group: *groups.get(1)?,
            name,
            command,
            cgroup: text("cgroup").unwrap_or_default().lines().collect::<Vec<_>>().join(","),
            waits: text("wchan").unwrap_or_default(),
            numbers,
            host_page_kb: host.page_kb,
            ticks: host.ticks,
            ..Self::default()
        };
        process.parent = i32::try_from(process.number(place::PARENT)).unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "ticks since boot are far below 2^52")]
        let started = process.unsigned(place::STARTED) as f64 / host.ticks as f64;
        process.age = (host.uptime - started).max(0.0);
        Some(process)
    }

    fn number(&self, at: usize) -> i64 {
        self.numbers.get(at).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn unsigned(&self, at: usize) -> u64 {
        u64::try_from(self.number(at)).unwrap_or(0)
    }

    fn seconds(&self) -> u64 {
        (self.unsigned(place::USER_TIME) + self.unsigned(place::KERNEL_TIME)) / self.ticks
    }

    fn virtual_kb(&self) -> u64 {
        self.unsigned(place::VIRTUAL) / 1024
    }

    fn resident_kb(&self) -> u64 {
        self.unsigned(place::RESIDENT) * self.host_page_kb
    }

    /// What it is sorted by: a number where the column is one or stands for one.
    pub(super) fn key(&self, field: Field, host: &Host) -> (f64, String) {
        #[expect(clippy::cast_precision_loss, reason = "seconds of processor time are far below 2^52")]
        let number = match field {
            Field::Time | Field::ShortTime => Some(self.seconds() as f64),
            Field::Age => Some(self.age),
            Field::Started | Field::StartedExactly | Field::StartedInFull => Some(-self.age),
            _ => None,
        };
        let shown = self.show(field, host);
        match number.or_else(|| shown.parse().ok()) {
            Some(number) => (number, String::new()),
            None => (f64::INFINITY, shown),
        }
    }

    pub(super) fn show(&self, field: Field, host: &Host) -> String {
        let user = |id: u32| host.users.get(&id).cloned().unwrap_or_else(|| id.to_string());
        match field {
            Field::Pid => self.pid.to_string(),
            Field::Thread => self.tid.to_string(),
            Field::Parent => self.parent.to_string(),
            Field::Group => self.number(place::GROUP).to_string(),
            Field::Session => self.number(place::SESSION).to_string(),
            Field::Foreground => self.number(place::FOREGROUND).to_string(),
            Field::User => user(self.users[0]),
            Field::UserId => self.users[0].to_string(),
            Field::RealUser => user(self.users[1]),
            Field::RealUserId => self.users[1].to_string(),
            Field::GroupName => {
                host.groups.get(&self.group).cloned().unwrap_or_else(|| self.group.to_string())
            }
            Field::GroupId => self.group.to_string(),
            Field::Name => self.name.clone(),
            Field::Command => self.command.clone(),
            Field::Share => format!("{}", self.percent().trunc()),
            Field::Percent => format!("{:.1}", self.percent()),
            Field::Memory => {
                #[expect(clippy::cast_precision_loss, reason = "kilobytes of memory are far below 2^52")]
                let share = 100.0 * self.resident_kb() as f64 / host.memory_kb.max(1) as f64;
                format!("{share:.1}")
            }
            Field::Virtual => self.virtual_kb().to_string(),
            Field::Resident => self.resident_kb().to_string(),
            Field::Pages => (self.virtual_kb() / host.page_kb.max(1)).to_string(),
            Field::Terminal => self.terminal(),
            Field::Stat => self.stat(),
            Field::State => self.state().to_owned(),
            Field::Flags => (self.unsigned(place::FLAGS) >> 6 & 7).to_string(),
            Field::Started => self.started(host, "%H:%M", "%b%d"),
            Field::StartedExactly => self.started(host, "%H:%M:%S", "%b %d"),
            Field::StartedInFull => self.started(host, FULL_DATE, FULL_DATE),
            Field::Time => clock(self.seconds()),
            Field::ShortTime => format!("{}:{:02}", self.seconds() / 60, self.seconds() % 60),
            Field::Seconds => self.seconds().to_string(),
            Field::Age => elapsed(whole(self.age)),
            Field::AgeSeconds => whole(self.age).to_string(),
            Field::Threads => self.number(place::THREADS).to_string(),
            Field::Nice => self.number(place::NICE).to_string(),
            Field::Priority => (39 - self.number(place::PRIORITY)).to_string(),
            Field::PriorityUp => (60 + self.number(place::PRIORITY)).to_string(),
            Field::Processor => self.number(place::PROCESSOR).to_string(),
            Field::Waits => self.waits_in(),
            Field::MinorFaults => self.number(place::MINOR).to_string(),
            Field::MajorFaults => self.number(place::MAJOR).to_string(),
            Field::Cgroup => self.cgroup.clone(),
            Field::Nothing => "-".to_owned(),
        }
    }

    fn state(&self) -> &str {
        self.numbers.first().map_or("?", String::as_str)
    }

    /// The kernel's function without what all of them begin with, as wide as ps's column.
    fn waits_in(&self) -> String {
        let name = self.waits.trim_start_matches('_');
        let name = name.strip_prefix("do_").or_else(|| name.strip_prefix("sys_")).unwrap_or(name);
        if name.is_empty() || name == "0" { "-".to_owned() } else { name.chars().take(6).collect() }
    }

    fn percent(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "seconds of processor time are far below 2^52")]
        let used = self.seconds() as f64;
        if self.age < 0.1 { 0.0 } else { (100.0 * used / self.age).min(999.0) }
    }

    fn terminal(&self) -> String {
        let tty = self.number(place::TERMINAL);
        // The kernel's encoding: the major number above the low byte, pts are 136 to 143.
        let (major, minor) = ((tty >> 8) & 0xfff, (tty & 0xff) | ((tty >> 12) & 0xfff00));
        match major {
            136..=143 => format!("pts/{}", minor + (major - 136) * 256),
            4 => format!("tty{minor}"),
            _ => "?".to_owned(),
        }
    }

    fn stat(&self) -> String {
        let mut text = self.state().to_owned();
        let (nice, foreground) = (self.number(place::NICE), self.number(place::FOREGROUND));
        for (mark, shown) in [
            ('<', nice < 0),
            ('N', nice > 0),
            ('s', self.number(place::SESSION) == i64::from(self.pid)),
            ('l', self.number(place::THREADS) > 1),
            ('+', foreground > 0 && foreground == self.number(place::GROUP)),
        ] {
            if shown {
                text.push(mark);
            }
        }
        text
    }

    fn started(&self, host: &Host, today: &str, before: &str) -> String {
        use chrono::TimeZone as _;
        let at = host.now - i64::try_from(whole(self.age)).unwrap_or(0);
        let Some(at) = chrono::Local.timestamp_opt(at, 0).single() else { return "?".to_owned() };
        at.format(if self.age < 86_400.0 { today } else { before }).to_string()
    }
}

const FULL_DATE: &str = "%a %b %e %H:%M:%S %Y";

fn whole(age: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an age is positive and fits"
    )]
    let seconds = age as u64;
    seconds
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn elapsed(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    match (days, rest / 3600) {
        (0, 0) => format!("{:02}:{:02}", rest / 60, rest % 60),
        (0, _) => clock(rest),
        _ => format!("{days}-{}", clock(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_shown() {
        let host = Host::read();
        let own = std::process::id().cast_signed();
        let process = Process::read(own, &host).expect("it runs");
        assert_eq!(process.show(Field::Pid, &host), own.to_string());
        assert_eq!(process.key(Field::Pid, &host).0, f64::from(own));
        for field in [Field::Command, Field::Stat, Field::Started, Field::Age, Field::Cgroup, Field::Waits] {
            assert!(!process.show(field, &host).is_empty(), "{field:?}");
        }
        assert!(Process::read_threads(own, &host).iter().all(|thread| thread.pid == own));
    }
}
