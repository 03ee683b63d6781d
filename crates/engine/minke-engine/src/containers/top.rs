//! Top: the processes of a container, read from the host's `/proc` as ps would show them.
//!
//! Docker runs the host's ps; minke needs no other program, so the forms that people and programs use (`-ef`, `aux`,
//! `-o list`) are made here and anything else is refused with a sentence.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use minke_api::container::TopResponse;

use super::{Containers, kill};
use crate::error::{Error, Result};

const FULL: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
const USER: [&str; 11] =
    ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"];

impl Containers {
    /// The processes of a running container.
    pub async fn top(self: &Arc<Self>, reference: &str, ps_args: &str) -> Result<TopResponse> {
        let columns = parse_args(ps_args)?;
        let container = self.find(reference)?;
        if !container.phase().is_live() {
            return Err(kill::not_running(&container));
        }
        let path = self.cgroup_path(&container.record(), container.id.as_str());
        let init = container.pid();
        let processes = tokio::task::spawn_blocking(move || read_processes(&path, init, &columns))
            .await
            .map_err(|source| Error::failed("read the container's processes", source))??;
        self.publish(&container, "top", &[]);
        Ok(processes)
    }
}

/// Which columns: each a heading and what is shown under it.
fn parse_args(text: &str) -> Result<Vec<(String, &'static str)>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let plain = |titles: &[&'static str]| titles.iter().map(|title| ((*title).to_owned(), *title)).collect();
    match words.as_slice() {
        [] | ["-ef" | "-fe" | "-Af"] => return Ok(plain(&FULL)),
        ["aux" | "-aux" | "auxw" | "auxww" | "axu" | "ux" | "-ux" | "-u" | "u"] => return Ok(plain(&USER)),
        _ => {}
    }
    let list = match words.as_slice() {
        ["-o" | "-eo" | "-Ao" | "o" | "axo" | "--format", list @ ..] if !list.is_empty() => list.join(","),
        [one] if one.starts_with("-o") || one.starts_with("-eo") => {
            one.trim_start_matches("-eo").trim_start_matches("-o").to_owned()
        }
        ["-e" | "-A" | "ax", "-o" | "o", list @ ..] if !list.is_empty() => list.join(","),
        _ => {
            return Err(Error::invalid(format!(
                "ps arguments {text:?} are not known here: use none, -ef, aux, or -o with a list of columns"
            )));
        }
    };
    let columns: Vec<(String, &'static str)> = list
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| {
            let (name, title) =
                name.split_once('=').map_or((name, None), |(name, title)| (name, Some(title)));
            let shown = column(name).ok_or_else(|| {
                Error::system(format!("ps: error: unknown user-defined format specifier \"{name}\""))
            })?;
            Ok((title.map_or_else(|| heading(name, shown), str::to_owned), shown))
        })
        .collect::<Result<_>>()?;
    if !columns.iter().any(|(_, shown)| *shown == "PID") {
        return Err(Error::system("Couldn't find PID field in ps output"));
    }
    Ok(columns)
}

fn column(name: &str) -> Option<&'static str> {
    Some(match name {
        "pid" | "tgid" => "PID",
        "ppid" => "PPID",
        "user" | "euser" | "uname" | "ruser" => "USER",
        "uid" | "euid" => "UIDN",
        "comm" | "ucmd" | "ucomm" => "COMM",
        "args" | "cmd" | "command" => "CMD",
        "c" => "C",
        "pcpu" | "%cpu" => "%CPU",
        "pmem" | "%mem" => "%MEM",
        "vsz" | "vsize" => "VSZ",
        "rss" | "rssize" | "rsz" => "RSS",
        "tty" | "tt" | "tname" => "TTY",
        "stat" => "STAT",
        "s" | "state" => "S",
        "stime" | "start_time" | "start" | "bsdstart" => "STIME",
        "time" | "cputime" => "TIME",
        "etime" => "ELAPSED",
        "nlwp" | "thcount" => "NLWP",
        "ni" | "nice" => "NI",
        _ => return None,
    })
}

/// ps's own heading of a column.
fn heading(name: &str, shown: &'static str) -> String {
    match (name, shown) {
        (_, "UIDN") => "UID",
        (_, "COMM") | ("args" | "command", "CMD") => "COMMAND",
        ("tt", "TTY") => "TT",
        (_, "STIME") if name == "start" => "STARTED",
        (_, shown) => shown,
    }
    .to_owned()
}

fn read_processes(
    cgroup: &std::path::Path,
    init: i32,
    columns: &[(String, &'static str)],
) -> Result<TopResponse> {
    let mut pids = crate::recovery::read_pids(cgroup)?;
    if pids.is_empty() {
        pids.push(init);
    }
    pids.sort_unstable();
    let host = Host::read();
    let processes = pids
        .into_iter()
        .filter_map(|pid| Process::read(pid, &host))
        .map(|process| columns.iter().map(|(_, shown)| process.show(shown, &host)).collect())
        .collect();
    Ok(TopResponse { processes, titles: columns.iter().map(|(title, _)| title.clone()).collect() })
}

/// What is the same for all processes.
struct Host {
    users: HashMap<u32, String>,
    ticks: u64,
    page_kb: u64,
    memory_kb: u64,
    uptime: f64,
    now: i64,
}

impl Host {
    fn read() -> Self {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let users = passwd
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
            })
            .collect();
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        Self {
            users,
            ticks: rustix::param::clock_ticks_per_second().max(1),
            page_kb: rustix::param::page_size() as u64 / 1024,
            memory_kb: rustix::system::sysinfo().totalram / 1024,
            uptime: uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
            now: chrono::Utc::now().timestamp(),
        }
    }
}

/// One process as `/proc` tells it.
struct Process {
    pid: i32,
    ppid: String,
    uid: u32,
    comm: String,
    command: String,
    state: String,
    session_leader: bool,
    foreground: bool,
    threads: u64,
    nice: i64,
    tty: i64,
    cpu_seconds: u64,
    age: f64,
    vsz_kb: u64,
    rss_kb: u64,
}

impl Process {
    fn read(pid: i32, host: &Host) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let open = stat.find('(')?;
        let close = stat.rfind(')')?;
        let fields: Vec<&str> = stat[close + 1..].split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let unsigned = |at: usize| u64::try_from(number(at)).unwrap_or(0);
        let comm = stat[open + 1..close].to_owned();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|ids| ids.split_whitespace().nth(1))
            .and_then(|id| id.parse().ok())?;
        let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = match String::from_utf8_lossy(&raw).trim_end_matches('\0') {
            "" => format!("[{comm}]"),
            words => words.replace('\0', " "),
        };
        #[expect(clippy::cast_precision_loss, reason = "ticks since boot are far below 2^52")]
        let age = (host.uptime - unsigned(19) as f64 / host.ticks as f64).max(0.0);
        Some(Self {
            pid,
            ppid: fields.get(1).map(|text| (*text).to_owned()).unwrap_or_default(),
            uid,
            comm,
            command,
            state: fields.first().map(|text| (*text).to_owned()).unwrap_or_default(),
            session_leader: number(3) == i64::from(pid),
            foreground: number(5) > 0 && number(5) == number(2),
            threads: unsigned(17),
            nice: number(16),
            tty: number(4),
            cpu_seconds: (unsigned(11) + unsigned(12)) / host.ticks,
            age,
            vsz_kb: unsigned(20) / 1024,
            rss_kb: unsigned(21) * host.page_kb,
        })
    }

    fn show(&self, column: &str, host: &Host) -> String {
        let user = || host.users.get(&self.uid).cloned().unwrap_or_else(|| self.uid.to_string());
        match column {
            "UID" | "USER" => user(),
            "UIDN" => self.uid.to_string(),
            "PID" => self.pid.to_string(),
            "PPID" => self.ppid.clone(),
            "C" => format!("{}", self.percent().trunc()),
            "%CPU" => format!("{:.1}", self.percent()),
            "%MEM" => {
                #[expect(clippy::cast_precision_loss, reason = "kilobytes of memory are far below 2^52")]
                let share = 100.0 * self.rss_kb as f64 / host.memory_kb.max(1) as f64;
                format!("{share:.1}")
            }
            "VSZ" => self.vsz_kb.to_string(),
            "RSS" => self.rss_kb.to_string(),
            "TTY" => self.tty_name(),
            "STAT" => self.stat(),
            "S" => self.state.clone(),
            "STIME" | "START" => self.started(host),
            "TIME" => clock(self.cpu_seconds),
            "ELAPSED" => elapsed(self.age),
            "NLWP" => self.threads.to_string(),
            "NI" => self.nice.to_string(),
            "COMM" => self.comm.clone(),
            _ => self.command.clone(),
        }
    }

    fn percent(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "seconds of processor time are far below 2^52")]
        let used = self.cpu_seconds as f64;
        if self.age < 0.1 { 0.0 } else { (100.0 * used / self.age).min(999.0) }
    }

    fn tty_name(&self) -> String {
        // The kernel's encoding: the major number above the low byte, pts are 136 to 143.
        let (major, minor) = ((self.tty >> 8) & 0xfff, (self.tty & 0xff) | ((self.tty >> 12) & 0xfff00));
        match major {
            136..=143 => format!("pts/{}", minor + (major - 136) * 256),
            4 => format!("tty{minor}"),
            _ => "?".to_owned(),
        }
    }

    fn stat(&self) -> String {
        let mut text = self.state.clone();
        for (mark, shown) in [
            ('<', self.nice < 0),
            ('N', self.nice > 0),
            ('s', self.session_leader),
            ('l', self.threads > 1),
            ('+', self.foreground),
        ] {
            if shown {
                text.push(mark);
            }
        }
        text
    }

    fn started(&self, host: &Host) -> String {
        use chrono::TimeZone as _;
        #[expect(clippy::cast_possible_truncation, reason = "an age in seconds fits")]
        let at = host.now - self.age as i64;
        let Some(at) = chrono::Local.timestamp_opt(at, 0).single() else { return "?".to_owned() };
        if self.age < 86_400.0 { at.format("%H:%M").to_string() } else { at.format("%b%d").to_string() }
    }
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn elapsed(age: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an age is positive and fits"
    )]
    let seconds = age as u64;
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

    fn titles(args: &str) -> Vec<String> {
        parse_args(args).expect(args).into_iter().map(|(title, _)| title).collect()
    }

    #[test]
    fn the_usual_forms_have_pss_headings() {
        assert_eq!(titles(""), FULL);
        assert_eq!(titles("aux"), USER);
        assert_eq!(titles("-o pid,comm"), ["PID", "COMMAND"]);
        assert_eq!(titles("-eo pid,args=WHAT"), ["PID", "WHAT"]);
    }

    #[test]
    fn without_a_pid_there_is_nothing_to_choose_by() {
        let error = parse_args("-o comm").expect_err("no pid");
        assert_eq!(error.message(), "Couldn't find PID field in ps output");
        assert!(parse_args("--forest").is_err());
    }

    #[test]
    fn this_process_can_be_shown() {
        let host = Host::read();
        let process = Process::read(std::process::id().cast_signed(), &host).expect("it runs");
        assert_eq!(process.show("PID", &host), std::process::id().to_string());
        assert!(!process.show("CMD", &host).is_empty());
    }
}
