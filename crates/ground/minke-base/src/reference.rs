//! Image references in the grammar of the distribution project: `[domain[:port]/]path[:tag][@digest]`, with the two ways of
//! writing them: familiar (`busybox:latest`) and canonical (`docker.io/library/busybox:latest`).

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, InvalidDigest};

pub const DEFAULT_DOMAIN: &str = "docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const NAME_MAX: usize = 255;

/// A parsed, normalised reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    #[error("invalid reference format")]
    Format,
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    #[error("repository name must not be longer than {NAME_MAX} characters")]
    TooLong,
    #[error("cannot specify 64-byte hexadecimal strings as a repository name ({0})")]
    LooksLikeId(String),
    #[error("invalid reference format: {0}")]
    Digest(InvalidDigest),
}

impl Reference {
    /// Parses what a user typed. Without a domain it is Docker Hub's, without a slash the official library's; a missing tag
    /// stays missing ([`Self::or_latest`] adds it).
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        if is_id(text) {
            return Err(InvalidReference::LooksLikeId(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(InvalidReference::Digest)?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if tag.is_some_and(|t| !is_tag(t)) || name.is_empty() {
            return Err(InvalidReference::Format);
        }
        let (domain, path) = split_domain(name);
        if !is_domain(domain) {
            return Err(InvalidReference::Format);
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            let library = if domain == DEFAULT_DOMAIN && !path.contains('/') { "library/" } else { "" };
            return Err(InvalidReference::Uppercase(format!("{library}{path}")));
        }
        if path.is_empty() || !path.split('/').all(is_component) {
            return Err(InvalidReference::Format);
        }
        let official = domain == DEFAULT_DOMAIN && !path.contains('/');
        let path = if official { format!("{OFFICIAL_PREFIX}{path}") } else { path.to_owned() };
        if path.len() > NAME_MAX {
            return Err(InvalidReference::TooLong);
        }
        Ok(Self { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }

    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path, `library/` included.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    #[must_use]
    pub const fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The repository as people write it: `busybox`, `user/app`, `quay.io/user/app`. Where the short name would mean something else
    /// (an ID, another registry) it is the canonical one.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.canonical_name();
        }
        let bare = match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(bare) if !bare.contains('/') => bare,
            _ => &self.path,
        };
        if is_id(bare) || split_domain(bare) != (DEFAULT_DOMAIN, bare) {
            return self.canonical_name();
        }
        bare.to_owned()
    }

    /// The whole reference as people write it.
    #[must_use]
    pub fn familiar(&self) -> String {
        self.spelled(self.familiar_name())
    }

    /// The repository with its domain: `docker.io/library/busybox`.
    #[must_use]
    pub fn canonical_name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    fn spelled(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }

    /// With `latest` as tag when there is neither a tag nor a digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository with another tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, InvalidReference> {
        if !is_tag(tag) {
            return Err(InvalidReference::Format);
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository named by digest alone.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && crate::id::is_id_prefix(text)
}

/// The tag is what follows a colon behind the last slash.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let after_slash = text.rfind('/').map_or(0, |i| i + 1);
    match text[after_slash..].find(':') {
        Some(i) => (&text[..after_slash + i], Some(&text[after_slash + i + 1..])),
        None => (text, None),
    }
}

/// The first component is a domain when it has a dot or a port, is `localhost`, or has an upper-case letter.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (if first == "index.docker.io" { DEFAULT_DOMAIN } else { first }, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= 128 && bytes.next().is_some_and(word) && bytes.all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, rest)) => {
            if !v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') || v6.is_empty() {
                return false;
            }
            return rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        }
        None => domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port))),
    };
    port.is_none_or(is_port)
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

/// Runs of letters and digits, joined by one dot, one or two underscores, or any number of dashes.
fn is_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut at = 0;
    loop {
        let start = at;
        while at < bytes.len() && word(bytes[at]) {
            at += 1;
        }
        if at == start {
            return false;
        }
        if at == bytes.len() {
            return true;
        }
        let start = at;
        while at < bytes.len() && !word(bytes[at]) {
            at += 1;
        }
        let separator = &component[start..at];
        let valid = matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
        if !valid {
            return false;
        }
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;
    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        Self::parse(text)
    }
}

/// The canonical spelling, with the domain.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelled(self.canonical_name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, canonical: &str, familiar: &str) {
        let parsed = Reference::parse(text).unwrap();
        assert_eq!(
            (parsed.to_string().as_str(), parsed.familiar().as_str()),
            (canonical, familiar),
            "{text}"
        );
    }

    #[test]
    fn names_are_normalised_as_docker_does() {
        check("busybox", "docker.io/library/busybox", "busybox");
        check("busybox:1.35", "docker.io/library/busybox:1.35", "busybox:1.35");
        check("docker.io/library/busybox", "docker.io/library/busybox", "busybox");
        check("index.docker.io/user/app:x", "docker.io/user/app:x", "user/app:x");
        check("quay.io/user/app", "quay.io/user/app", "quay.io/user/app");
        check("localhost/app", "localhost/app", "localhost/app");
        check("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1");
        check("[::1]:5000/a/b", "[::1]:5000/a/b", "[::1]:5000/a/b");
        let digest = format!("sha256:{}", "ab".repeat(32));
        check(
            &format!("app:1@{digest}"),
            &format!("docker.io/library/app:1@{digest}"),
            &format!("app:1@{digest}"),
        );
    }

    #[test]
    fn a_short_name_that_would_mean_something_else_stays_long() {
        let id = "0".repeat(64);
        let canonical = format!("docker.io/library/{id}");
        check(&format!("library/{id}"), &canonical, &canonical);
        check("docker.io/localhost/a", "docker.io/localhost/a", "docker.io/localhost/a");
        check("docker.io/a.b/c:1", "docker.io/a.b/c:1", "docker.io/a.b/c:1");
        check("docker.io/docker.io/a", "docker.io/docker.io/a", "docker.io/docker.io/a");
        check("docker.io/library/a.b", "docker.io/library/a.b", "a.b");
    }

    #[test]
    fn what_no_registry_would_take_is_refused() {
        for bad in
            ["", ":tag", "a:", "a//b", "-a", "a-", "a___b", "a..b", "a:b:c", "a@sha256:xx", " a", "a b", "/a"]
        {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Reference::parse("user/App"), Err(InvalidReference::Uppercase("user/App".into())));
        assert_eq!(Reference::parse(&"a".repeat(300)), Err(InvalidReference::TooLong));
        assert_eq!(Reference::parse(&"a".repeat(64)), Err(InvalidReference::LooksLikeId("a".repeat(64))));
    }

    #[test]
    fn latest_is_added_only_where_neither_tag_nor_digest_is() {
        assert_eq!(Reference::parse("a").unwrap().or_latest().familiar(), "a:latest");
        assert_eq!(Reference::parse("a:b").unwrap().or_latest().familiar(), "a:b");
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails_without_panic_and_the_spelling_is_stable(text in ".{0,80}") {
            if let Ok(reference) = Reference::parse(&text) {
                let again = Reference::parse(&reference.to_string()).unwrap();
                prop_assert_eq!(&again, &reference);
                prop_assert_eq!(Reference::parse(&reference.familiar()).unwrap(), reference);
            }
        }
    }
}
