//! Which names of a tree a pattern means.

use rustix::fs::{FileType, OFlags};

use crate::copying::{CopyError, Root};
use crate::layer::directory_names;

/// A name that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As it was named, clean, without a slash in front.
    pub named: Vec<u8>,
    /// Without links.
    pub path: Vec<u8>,
    pub is_dir: bool,
}

/// Finds what `pattern` means, in order of the names; `matches` compares one component with one of the pattern's that has wildcards.
/// A pattern without wildcards that finds nothing is an error, one with them just finds nothing.
pub fn choose(
    root: &Root,
    pattern: &str,
    matches: &dyn Fn(&str, &str) -> bool,
) -> Result<Vec<Found>, CopyError> {
    let parts: Vec<&str> = pattern.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let mut named: Vec<Vec<u8>> = vec![Vec::new()];
    let mut wild = false;
    for part in parts {
        let mut next = Vec::new();
        for above in &named {
            let below = |name: &[u8]| {
                if above.is_empty() { name.to_vec() } else { [&above[..], b"/", name].concat() }
            };
            if part.contains(['*', '?', '[', '\\']) {
                wild = true;
                let Ok(directory) = root.open(above, OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
                let names = directory_names(&directory).map_err(CopyError::at("list", above))?;
                for name in names {
                    if matches(part, &String::from_utf8_lossy(name.to_bytes())) {
                        next.push(below(name.to_bytes()));
                    }
                }
            } else {
                next.push(below(part.as_bytes()));
            }
        }
        named = next;
    }
    let mut found = Vec::with_capacity(named.len());
    for named in named {
        let path = match root.real_path(&named) {
            Ok(path) => path.strip_prefix(b"/").unwrap_or(&path).to_vec(),
            Err(CopyError::Missing { .. }) if wild => continue,
            Err(error) => return Err(error),
        };
        let stat = root.lstat(&path).map_err(CopyError::at("stat", &named))?;
        found.push(Found {
            named,
            path,
            is_dir: FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
        });
    }
    Ok(found)
}
