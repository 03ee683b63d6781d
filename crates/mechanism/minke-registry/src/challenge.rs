//! The `WWW-Authenticate` header: what a registry wants to see.

use std::collections::BTreeMap;

/// Longer headers are not read.
const MAX: usize = 16 << 10;

/// One way to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// In lower case: `basic`, `bearer`.
    pub scheme: String,
    /// By names in lower case.
    pub parameters: BTreeMap<String, String>,
}

impl Challenge {
    pub(crate) fn get(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

/// Parses one header, which may hold several challenges. What is no challenge is left out.
#[must_use]
pub fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    if header.len() > MAX {
        return found;
    }
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let word = take_token(&mut rest);
        if word.is_empty() {
            return found;
        }
        let after = rest.trim_start_matches([' ', '\t']);
        // `name=value` belongs to the challenge before; anything else begins the next one.
        if let (Some(value), Some(challenge)) = (after.strip_prefix('='), found.last_mut()) {
            rest = value.trim_start_matches([' ', '\t']);
            let Some(value) = take_value(&mut rest) else { return found };
            challenge.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
        } else if after.starts_with('=') {
            return found;
        } else {
            found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: BTreeMap::new() });
        }
    }
}

fn take_token<'a>(rest: &mut &'a str) -> &'a str {
    let text = *rest;
    let end = text
        .bytes()
        .position(|b| !(b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)))
        .unwrap_or(text.len());
    *rest = &text[end..];
    &text[..end]
}

/// A word, or a quoted string; `None` when the quote never ends.
fn take_value(rest: &mut &str) -> Option<String> {
    let text = *rest;
    let Some(quoted) = text.strip_prefix('"') else {
        // Unquoted addresses are against the rules, and occur.
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        *rest = &text[end..];
        return Some(text[..end].to_owned());
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, character) in quoted.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => {
                *rest = &quoted[at + 1..];
                return Some(value);
            }
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_server_is_named() {
        let found = parse_challenges(
            r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push""#,
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].scheme, "bearer");
        assert_eq!(found[0].get("realm"), "https://auth.example/token");
        assert_eq!(found[0].get("scope"), "repository:a/b:pull,push");
    }

    #[test]
    fn several_challenges_share_a_header() {
        let found =
            parse_challenges(r#"Basic realm="a \"b\", c", BEARER Realm=https://x/y?z=1 , service = s"#);
        let schemes: Vec<&str> = found.iter().map(|challenge| challenge.scheme.as_str()).collect();
        assert_eq!(schemes, ["basic", "bearer"]);
        assert_eq!(found[0].get("realm"), r#"a "b", c"#);
        assert_eq!(found[1].get("realm"), "https://x/y?z=1");
        assert_eq!(found[1].get("service"), "s");
    }

    #[test]
    fn what_is_no_challenge_is_left_out() {
        for nothing in ["", ",,", "=x", "\"\"", &"x".repeat(MAX + 1)] {
            assert!(parse_challenges(nothing).is_empty(), "{nothing:.20}");
        }
        assert_eq!(parse_challenges(r#"Basic realm="never ends"#)[0].get("realm"), "");
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_panic(header in ".{0,200}") {
            for challenge in parse_challenges(&header) {
                prop_assert!(!challenge.scheme.is_empty());
            }
        }
    }
}
