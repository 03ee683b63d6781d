//! Top: the processes of a container, read from the host's `/proc` as ps would show them.
//!
//! Docker runs the host's ps; minke needs no other program: what ps is asked for (`arguments.rs`) and what it shows (`process.rs`) are made
//! here, and anything else is refused with a sentence. A column holds what is under its heading, where Docker splits a command in the
//! middle of a row at its blanks.

mod arguments;
mod process;

use std::sync::Arc;

use arguments::{Listing, Tree};
use minke_api::container::TopResponse;
use process::{Field, Host, Process};

use super::{Containers, kill};
use crate::error::{Error, Result};

impl Containers {
    /// The processes of a running container.
    pub async fn top(self: &Arc<Self>, reference: &str, ps_args: &str) -> Result<TopResponse> {
        let listing = arguments::parse(if ps_args.trim().is_empty() { "-ef" } else { ps_args })?;
        let container = self.find(reference)?;
        if !container.phase().is_live() {
            return Err(kill::not_running(&container));
        }
        let path = self.cgroup_path(&container.record(), container.id.as_str());
        let init = container.pid();
        let processes = tokio::task::spawn_blocking(move || read_processes(&path, init, &listing))
            .await
            .map_err(|source| Error::failed("read the container's processes", source))??;
        self.publish(&container, "top", &[]);
        Ok(processes)
    }
}

fn read_processes(cgroup: &std::path::Path, init: i32, listing: &Listing) -> Result<TopResponse> {
    let mut pids = crate::recovery::read_pids(cgroup)?;
    if pids.is_empty() {
        pids.push(init);
    }
    pids.sort_unstable();
    let host = Host::read();
    let mut found: Vec<Process> = match listing.threads {
        true => pids.into_iter().flat_map(|pid| Process::read_threads(pid, &host)).collect(),
        false => pids.into_iter().filter_map(|pid| Process::read(pid, &host)).collect(),
    };
    found.retain(|process| {
        let named = listing.names.contains(&process.name);
        let numbered = listing.pids.contains(&process.pid);
        named || numbered || (listing.names.is_empty() && listing.pids.is_empty())
    });
    for (field, largest_first) in listing.order.iter().rev() {
        found.sort_by(|one, other| {
            let ((one, one_text), (other, other_text)) = (one.key(*field, &host), other.key(*field, &host));
            let order = one.total_cmp(&other).then_with(|| one_text.cmp(&other_text));
            if *largest_first { order.reverse() } else { order }
        });
    }
    let rows = match listing.tree {
        Some(_) => below_parents(&found),
        None => (0..found.len()).map(|at| (at, String::new())).collect(),
    };
    let show = |(at, branch): (usize, String)| {
        let shown = listing.columns.iter().map(|column| {
            let text = found[at].show(column.field, &host);
            let drawn = listing.tree == Some(Tree::Drawn) && column.field == Field::Command;
            if drawn { format!("{branch}{text}") } else { text }
        });
        shown.collect()
    };
    let processes = rows.into_iter().map(show).collect();
    Ok(TopResponse { processes, titles: listing.columns.iter().map(|column| column.title.clone()).collect() })
}

/// Where each process stands among `found`, children below their parents, and the branch that leads to it.
fn below_parents(found: &[Process]) -> Vec<(usize, String)> {
    let is_root = |process: &Process| !found.iter().any(|other| other.pid == process.parent);
    let mut rows = Vec::with_capacity(found.len());
    // What is still to be shown, the next one last; each with the branches of those above it.
    let mut waiting: Vec<(usize, String)> = Vec::new();
    waiting.extend((0..found.len()).rev().filter(|at| is_root(&found[*at])).map(|at| (at, String::new())));
    while let Some((at, above)) = waiting.pop() {
        rows.push((at, format!("{above}\\_ ")));
        let children: Vec<usize> = (0..found.len())
            .filter(|child| found[*child].parent == found[at].pid && found[*child].pid != found[at].pid)
            .collect();
        let has_sibling = waiting
            .iter()
            .any(|(other, _)| !is_root(&found[*other]) && found[*other].parent == found[at].parent);
        let above = if has_sibling { format!("{above}| ") } else { above };
        waiting.extend(children.into_iter().rev().map(|child| (child, above.clone())));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_stand_below_their_parents() {
        let process = |pid, parent| {
            let mut process = Process::default();
            (process.pid, process.parent) = (pid, parent);
            process
        };
        let found = [process(10, 1), process(11, 10), process(12, 10), process(13, 11), process(14, 13)];
        let rows: Vec<(i32, String)> =
            below_parents(&found).into_iter().map(|(at, branch)| (found[at].pid, branch)).collect();
        let rows: Vec<(i32, &str)> = rows.iter().map(|(pid, branch)| (*pid, branch.as_str())).collect();
        assert_eq!(rows, [(10, "\\_ "), (11, "\\_ "), (13, "| \\_ "), (14, "| \\_ "), (12, "\\_ ")]);
    }
}
