//! Query parameters and paths, decoded as Go decodes them.

use minke_base::Kind;

use super::Failure;

/// The parameters of one request, in order; a name may come more than once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        Self(
            text.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name, true), decode(value, true))
                })
                .collect(),
        )
    }

    /// The first value, `""` when there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(given, _)| given == name)
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The value when it is there and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }

    /// True unless absent, empty, 0, no, false or none.
    pub(crate) fn flag(&self, name: &str) -> bool {
        !matches!(self.get(name).trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// Like [`Self::flag`], with another answer for a parameter that is absent.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> bool {
        if self.has(name) { self.flag(name) } else { default }
    }

    /// A whole number, in the words of Go's `strconv.Atoi` when it is none.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_source: std::num::ParseIntError| {
                    Failure::new(
                        Kind::InvalidParameter,
                        format!("strconv.Atoi: parsing {text:?}: invalid syntax"),
                    )
                })
            })
            .transpose()
    }
}

/// The pieces of a path between slashes, decoded.
pub(crate) fn segments(path: &str) -> Vec<String> {
    decode(path, false).trim_start_matches('/').split('/').map(str::to_owned).collect()
}

/// Undoes percent encoding; what is no escape stays as it is.
fn decode(text: &str, plus_is_space: bool) -> String {
    if !text.bytes().any(|byte| byte == b'%' || (plus_is_space && byte == b'+')) {
        return text.to_owned();
    }
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                match (bytes.get(at + 1).copied().and_then(hex), bytes.get(at + 2).copied().and_then(hex)) {
                    (Some(high), Some(low)) => {
                        out.push(high << 4 | low);
                        at += 2;
                    }
                    _ => out.push(b'%'),
                }
            }
            b'+' if plus_is_space => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("a=1&b=x%20y+z&c&a=2&%66=%zz&filters=%7B%22a%22%3A1%7D");
        assert_eq!(query.get("a"), "1");
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.get("b"), "x y z");
        assert!(query.has("c") && query.text("c").is_none());
        assert_eq!(query.get("f"), "%zz");
        assert_eq!(query.get("filters"), r#"{"a":1}"#);
    }

    #[test]
    fn flags_are_read_as_docker_reads_them() {
        let query = Query::parse("a=1&b=0&c=False&d=none&e=whatever&f=");
        let yes: Vec<&str> =
            ["a", "b", "c", "d", "e", "f", "g"].into_iter().filter(|name| query.flag(name)).collect();
        assert_eq!(yes, ["a", "e"]);
        assert!(query.flag_or("g", true));
    }

    #[test]
    fn a_bad_number_is_told_in_go_s_words() {
        let failure = Query::parse("t=x").number("t").unwrap_err();
        assert_eq!(failure.message(), r#"strconv.Atoi: parsing "x": invalid syntax"#);
        assert_eq!(Query::parse("t=-1").number("t").unwrap(), Some(-1));
    }

    #[test]
    fn paths_split_after_decoding() {
        assert_eq!(segments("/images/a%2Fb:c+d/json"), ["images", "a", "b:c+d", "json"]);
    }
}
