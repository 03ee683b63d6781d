//! Docker's table of copies: what comes where under which name. Pure.

use minke_store::copying::CopyError;

use crate::failure::Failure;

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// Where it is, links before the last component gone.
    pub(super) path: String,
    pub(super) is_dir: bool,
    /// The name it was asked for by, when a link gave it another.
    pub(super) rebase: Option<String>,
}

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) path: String,
    pub(super) exists: bool,
    pub(super) is_dir: bool,
}

/// What comes of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The directory to unpack in.
    pub(super) directory: String,
    /// The name in the archive, and the one it gets.
    pub(super) rename: Option<(Vec<u8>, Vec<u8>)>,
}

impl Plan {
    /// The name to put in an archive that is made here.
    pub(super) fn final_name(&self, source: &Source) -> String {
        match (&self.rename, &source.rebase) {
            (Some((_, to)), _) => String::from_utf8_lossy(to).into_owned(),
            (None, Some(name)) => name.clone(),
            (None, None) => split(&source.path).1,
        }
    }
}

/// Decides.
pub(super) fn plan(source: &Source, destination: &Destination) -> Result<Plan, Failure> {
    let archived = split(&source.path).1;
    let from = if archived == "/" { String::new() } else { archived };
    if destination.exists && destination.is_dir {
        let rename = source.rebase.as_ref().map(|name| (from.into_bytes(), name.clone().into_bytes()));
        return Ok(Plan { directory: destination.path.clone(), rename });
    }
    if destination.exists && source.is_dir {
        return Err("cannot copy directory".into());
    }
    if !destination.exists && !source.is_dir && asserts_directory(&destination.path) {
        return Err("no such directory".into());
    }
    let (directory, name) = split(&destination.path);
    Ok(Plan { directory, rename: Some((from.into_bytes(), name.into_bytes())) })
}

/// A path that can only be a directory's.
fn asserts_directory(path: &str) -> bool {
    path.ends_with('/') || ends_in_dot(path)
}

/// `…/.`, or a dot alone.
pub(super) fn ends_in_dot(path: &str) -> bool {
    path.rsplit('/').next() == Some(".")
}

/// Parent and last component, as Docker's `SplitPathDirEntry`: a dot at the end is a component.
pub(super) fn split(path: &str) -> (String, String) {
    let clean = clean(path);
    if ends_in_dot(path) {
        return (clean, ".".to_owned());
    }
    match clean.rsplit_once('/') {
        Some(("", "")) => ("/".to_owned(), "/".to_owned()),
        Some(("", name)) => ("/".to_owned(), name.to_owned()),
        Some((parent, name)) => (parent.to_owned(), name.to_owned()),
        None => (".".to_owned(), clean),
    }
}

/// Go's `filepath.Clean`.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Go's `filepath.Base`.
fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (path.is_empty(), trimmed.is_empty()) {
        (true, _) => ".",
        (_, true) => "/",
        _ => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

/// The way a link leads, with the end that was asked for kept, and the name that was asked for when it is another.
pub(super) fn rebase_name(asked: &str, mut resolved: String) -> (String, Option<String>) {
    if ends_in_dot(asked) && !ends_in_dot(&resolved) {
        resolved.push_str("/.");
    }
    if asked.ends_with('/') && !resolved.ends_with('/') {
        resolved.push('/');
    }
    let other = base(asked) != base(&resolved);
    let name = other.then(|| base(asked).to_owned());
    (resolved, name)
}

/// Why unpacking here failed.
pub(super) fn sentence(error: &CopyError) -> Failure {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if !text.contains(&cause.to_string()) {
            text = format!("{text}: {cause}");
        }
        next = cause.source();
    }
    Failure::new(1, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(source: (&str, bool), destination: (&str, bool, bool)) -> Result<(String, String), String> {
        let source = Source { path: source.0.into(), is_dir: source.1, rebase: None };
        let (path, exists, is_dir) = destination;
        let end = Destination { path: path.into(), exists, is_dir };
        let plan = plan(&source, &end).map_err(|failure| failure.text)?;
        let name = plan.final_name(&source);
        Ok((plan.directory, name))
    }

    #[test]
    fn what_comes_where_is_docker_s_table() {
        let ok = |directory: &str, name: &str| Ok((directory.to_owned(), name.to_owned()));
        let no = |text: &str| Err(text.to_owned());
        assert_eq!(planned(("/s/f", false), ("/d", true, true)), ok("/d", "f"));
        assert_eq!(planned(("/s", true), ("/d", true, true)), ok("/d", "s"));
        assert_eq!(planned(("/s/.", true), ("/d", true, true)), ok("/d", "."));
        assert_eq!(planned(("/s/f", false), ("/d/x", true, false)), ok("/d", "x"));
        assert_eq!(planned(("/s/f", false), ("/d/x", false, false)), ok("/d", "x"));
        assert_eq!(planned(("/s", true), ("/d/x", false, false)), ok("/d", "x"));
        assert_eq!(planned(("/s/.", true), ("/d/x", false, false)), ok("/d", "x"));
        assert_eq!(planned(("/s/f", false), ("/d/x/", false, false)), no("no such directory"));
        assert_eq!(planned(("/s", true), ("/d/x", true, false)), no("cannot copy directory"));
    }

    #[test]
    fn paths_are_split_as_docker_splits_them() {
        let two = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(split("/a/b/"), two("/a", "b"));
        assert_eq!(split("/a/b/."), two("/a/b", "."));
        assert_eq!(split("/"), two("/", "/"));
        assert_eq!(split("rel"), two(".", "rel"));
        assert_eq!(rebase_name("/x/link", "/y/real".into()), ("/y/real".into(), Some("link".into())));
        assert_eq!(rebase_name("/x/link/.", "/y/real".into()), ("/y/real/.".into(), None));
    }
}
