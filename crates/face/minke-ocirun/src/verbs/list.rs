//! `state`, `list`, `ps`: looking.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde::Serialize;

use super::id;
use crate::flags::{FlagError, Parsed};
use crate::report::print;
use crate::state::{Home, Record, Status};
use crate::{Globals, OciError};

/// The keys of runc's `state` and `list`.
#[derive(Debug, Serialize)]
struct View {
    #[serde(rename = "ociVersion")]
    oci_version: String,
    id: String,
    pid: i32,
    status: &'static str,
    bundle: PathBuf,
    rootfs: PathBuf,
    created: String,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    annotations: std::collections::BTreeMap<String, String>,
    owner: String,
}

impl View {
    fn new(home: &Home, record: Record) -> Self {
        let status = record.status(home);
        Self {
            pid: if status == Status::Stopped { 0 } else { record.init_process_pid },
            status: status.word(),
            owner: user_name(record.owner),
            oci_version: record.oci_version,
            id: record.id,
            bundle: record.bundle,
            rootfs: record.rootfs,
            created: record.created,
            annotations: record.annotations.into_iter().collect(),
        }
    }
}

/// The name in /etc/passwd, else the number with a `#`, as runc shows it.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

pub(super) fn state(globals: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let home = Home::new(&globals.root, &id(parsed))?;
    let view = View::new(&home, home.load()?);
    let text = serde_json::to_string_pretty(&view).expect("a view has string keys only");
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn list(globals: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let views = read_all(&globals.root)?;
    if parsed.is_set("quiet") {
        print(&views.iter().fold(String::new(), |text, view| text + &view.id + "\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = match format(parsed)? {
        Shape::Json if views.is_empty() => "null".to_owned(),
        Shape::Json => serde_json::to_string(&views).expect("a view has string keys only"),
        Shape::Table => table(&views),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Clone, Copy)]
enum Shape {
    Table,
    Json,
}

fn format(parsed: &Parsed) -> Result<Shape, OciError> {
    match parsed.text("format").as_deref() {
        None | Some("table" | "") => Ok(Shape::Table),
        Some("json") => Ok(Shape::Json),
        Some(other) => {
            let reason = "table or json is expected";
            Err(FlagError::Invalid { name: "format", value: other.to_owned(), reason }.into())
        }
    }
}

/// A root that does not exist holds no containers; a directory without a record is being made or unmade.
fn read_all(root: &Path) -> Result<Vec<View>, OciError> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(OciError::io("read", root, e)),
    };
    let mut views = Vec::new();
    for entry in entries.flatten() {
        let Ok(home) = Home::new(root, &entry.file_name().to_string_lossy()) else { continue };
        if let Ok(record) = home.load() {
            views.push(View::new(&home, record));
        }
    }
    views.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(views)
}

/// Columns of at least 12, three spaces apart.
fn table(views: &[View]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |v: &View| {
        [
            v.id.clone(),
            v.pid.to_string(),
            v.status.to_owned(),
            v.bundle.display().to_string(),
            v.created.clone(),
            v.owner.clone(),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(views.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|r| r[column].len()).max().unwrap_or(0).max(9) + 3;
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row[..5].iter().zip(&widths) {
            // Writing to a string cannot fail.
            write!(text, "{cell:<width$}").ok();
        }
        text += &row[5];
        text.push('\n');
    }
    text
}

pub(super) fn ps(globals: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let home = Home::new(&globals.root, &id(parsed))?;
    let pids = home.load()?.require_cgroup()?.pids()?;
    let text = match format(parsed)? {
        Shape::Json => serde_json::to_string(&pids).expect("numbers are JSON") + "\n",
        Shape::Table => {
            let options: Vec<_> =
                parsed.arguments[1..].iter().map(|a| a.to_string_lossy().into_owned()).collect();
            let options = if options.is_empty() { vec!["-ef".to_owned()] } else { options };
            let out = Command::new("ps").args(&options).output();
            let out =
                out.map_err(|e| OciError::kernel("run ps, which the table needs (use --format json)", e))?;
            if !out.status.success() {
                let text =
                    format!("ps {}: {}", options.join(" "), String::from_utf8_lossy(&out.stderr).trim());
                return Err(OciError::Usage(text));
            }
            of_container(&String::from_utf8_lossy(&out.stdout), &pids)?
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The header and those lines whose PID column names one of the container's processes.
fn of_container(listing: &str, pids: &[i32]) -> Result<String, OciError> {
    let mut lines = listing.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| OciError::Usage("couldn't find PID field in ps output".to_owned()))?;
    let ours = lines.filter(|line| {
        let pid = line.split_whitespace().nth(column).and_then(|p| p.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    });
    Ok(std::iter::once(header).chain(ours).fold(String::new(), |text, line| text + line + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_columns_of_at_least_twelve() {
        let header = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n";
        assert_eq!(table(&[]), header);
    }

    #[test]
    fn only_the_containers_processes_are_shown_whatever_the_column_order() {
        let listing = "UID PID CMD\nroot 7 sh\nroot 17 top\nroot x y\n";
        assert_eq!(of_container(listing, &[17]).unwrap(), "UID PID CMD\nroot 17 top\n");
        assert!(of_container("UID CMD\n", &[]).is_err());
    }

    #[test]
    fn a_user_without_a_name_is_shown_by_number() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(3_999_999_999), "#3999999999");
    }
}
