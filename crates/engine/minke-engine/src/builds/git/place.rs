//! Where a repository is, and what of it is wanted: `URL#ref:directory`, or `URL?ref=…&subdir=…`. Pure.

use crate::error::{Error, Result};

/// A repository, and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Place {
    pub(super) url: String,
    /// A branch, a tag or a commit; what the repository points at when none.
    pub(super) reference: Option<String>,
    /// A directory in it; empty for all of it.
    pub(super) below: String,
    /// Which commit it has to be, as far as that is written.
    pub(super) commit: Option<String>,
    pub(super) keep_git_dir: bool,
    pub(super) submodules: bool,
}

/// Whether an address is that of a repository.
#[must_use]
pub fn is_place(text: &str) -> bool {
    let bare = text.split(['#', '?']).next().unwrap_or(text);
    let web = bare.starts_with("http://") || bare.starts_with("https://");
    ["git://", "git@", "ssh://"].iter().any(|start| bare.starts_with(start))
        || (web && bare.ends_with(".git"))
}

impl Place {
    /// Reads an address of `ADD`; `None`: it is none of a repository.
    pub(in super::super) fn parse(text: &str) -> Result<Option<Self>> {
        if is_place(text) { Self::read(text).map(Some) } else { Ok(None) }
    }

    /// Reads what is known to be a repository's.
    pub(super) fn read(text: &str) -> Result<Self> {
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (url, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (reference, below) = fragment.split_once(':').unwrap_or((fragment, ""));
        let mut place = Self {
            url: url.to_owned(),
            reference: Some(reference.to_owned()).filter(|name| !name.is_empty()),
            below: below.trim_matches('/').to_owned(),
            commit: None,
            keep_git_dir: false,
            submodules: true,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            place.take(text, pair)?;
        }
        let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
        if let Some(name) = &place.reference
            && (name.starts_with('-') || name.contains("..") || name.contains(odd))
        {
            return Err(Error::invalid(format!("{text}: invalid ref {name:?}")));
        }
        Ok(place)
    }

    fn take(&mut self, text: &str, pair: &str) -> Result<()> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let flag = || match value {
            "" | "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(Error::invalid(format!("{text}: invalid {key} value: {value:?}"))),
        };
        match key {
            "ref" => self.reference = Some(value.to_owned()),
            "branch" => self.reference = Some(format!("refs/heads/{value}")),
            "tag" => self.reference = Some(format!("refs/tags/{value}")),
            "subdir" => value.trim_matches('/').clone_into(&mut self.below),
            "checksum" | "commit" => self.commit = Some(value.to_owned()),
            "keep-git-dir" => self.keep_git_dir = flag()?,
            "submodules" => self.submodules = flag()?,
            _ => return Err(Error::invalid(format!("{text}: unexpected query {key:?}"))),
        }
        Ok(())
    }

    /// The address without a password.
    pub(super) fn shown(&self) -> String {
        let Some((scheme, rest)) = self.url.split_once("://") else { return self.url.clone() };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        match host.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://xxxxx@{host}/{path}"),
            None => self.url.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_which_repository_and_what_of_it() {
        let read = |text: &str| Place::parse(text).expect("fine").expect("a repository");
        let place = read("https://host/r.git#v1:docker/");
        assert_eq!((place.url.as_str(), place.below.as_str()), ("https://host/r.git", "docker"));
        assert_eq!(place.reference.as_deref(), Some("v1"));
        let place = read("git@host:a/b.git");
        assert_eq!(
            (place.url.as_str(), place.reference, place.below),
            ("git@host:a/b.git", None, String::new())
        );
        let place =
            read("https://host/r.git?tag=v1&subdir=/d&checksum=abcdef1&keep-git-dir=1&submodules=false");
        assert_eq!((place.reference.as_deref(), place.below.as_str()), (Some("refs/tags/v1"), "d"));
        assert_eq!(
            (place.commit.as_deref(), place.keep_git_dir, place.submodules),
            (Some("abcdef1"), true, false)
        );
        assert_eq!(Place::parse("https://host/r.tar.gz").expect("fine"), None);
        for wrong in ["git://h/r#--upload-pack=x", "https://h/r.git?x=1", "git://h/r#a..b", "git://h/r#a b"] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let place = Place::read("https://me:secret@host/r.git").expect("fine");
        assert_eq!(place.shown(), "https://xxxxx@host/r.git");
    }
}
