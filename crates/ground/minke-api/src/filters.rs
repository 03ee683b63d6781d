//! The `filters` query parameter: `{"label": {"a=b": true}}`, or the older `{"label": ["a=b"]}`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Named lists of wanted values. What a name means is the engine's business; which names are allowed, the endpoint's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    fields: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FilterError {
    #[error("invalid filter")]
    Syntax,
    #[error("invalid filter '{0}'")]
    Unknown(String),
    #[error("invalid filter '{name}={value}'")]
    BadValue { name: String, value: String },
}

impl Filters {
    /// Reads the parameter's JSON; nothing given means no filter.
    pub fn parse(json: &str) -> Result<Self, FilterError> {
        if json.is_empty() {
            return Ok(Self::default());
        }
        let Ok(Value::Object(map)) = serde_json::from_str::<Value>(json) else {
            return Err(FilterError::Syntax);
        };
        let mut filters = Self::default();
        for (name, values) in map {
            let values: BTreeSet<String> = match values {
                Value::Array(list) => list
                    .into_iter()
                    .map(|value| match value {
                        Value::String(text) => Ok(text),
                        _ => Err(FilterError::Syntax),
                    })
                    .collect::<Result<_, _>>()?,
                // Values set to false are kept: Docker only looks at the keys.
                Value::Object(set) => set
                    .into_iter()
                    .map(|(value, flag)| if flag.is_boolean() { Ok(value) } else { Err(FilterError::Syntax) })
                    .collect::<Result<_, _>>()?,
                _ => return Err(FilterError::Syntax),
            };
            filters.fields.insert(name, values);
        }
        Ok(filters)
    }

    /// The JSON that clients send.
    pub fn to_json(&self) -> String {
        let map: BTreeMap<&str, BTreeMap<&str, bool>> = self
            .fields
            .iter()
            .map(|(name, values)| {
                (name.as_str(), values.iter().map(|value| (value.as_str(), true)).collect())
            })
            .collect();
        serde_json::to_string(&map).expect("strings and booleans always encode")
    }

    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.fields.entry(name.into()).or_default().insert(value.into());
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    pub fn get(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.get(name).into_iter().flatten().map(String::as_str)
    }

    /// An error naming the first filter that is not among `allowed`.
    pub fn check(&self, allowed: &[&str]) -> Result<(), FilterError> {
        match self.names().find(|name| !allowed.contains(name)) {
            Some(name) => Err(FilterError::Unknown(name.to_owned())),
            None => Ok(()),
        }
    }

    /// A filter that says yes or no (`dangling=true`); several values that contradict each other are an error.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, FilterError> {
        let mut answer = None;
        for value in self.get(name) {
            let flag = match value.to_ascii_lowercase().as_str() {
                "1" | "true" => true,
                "0" | "false" => false,
                _ => return Err(FilterError::BadValue { name: name.to_owned(), value: value.to_owned() }),
            };
            if answer.is_some_and(|earlier| earlier != flag) {
                return Err(FilterError::BadValue { name: name.to_owned(), value: value.to_owned() });
            }
            answer = Some(flag);
        }
        Ok(answer)
    }

    /// Whether every wanted `key` or `key=value` (or `key!=value` under `name!`) is among `labels`.
    pub fn match_labels<'a>(&self, name: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.get(name).all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => lookup(key) == Some(value),
            None => lookup(wanted).is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let new = Filters::parse(r#"{"label":{"a=b":true}}"#).unwrap();
        let old = Filters::parse(r#"{"label":["a=b"]}"#).unwrap();
        assert_eq!(new, old);
        assert_eq!(Filters::parse(&new.to_json()), Ok(new));
    }

    #[test]
    fn an_unknown_name_is_told() {
        let filters = Filters::parse(r#"{"nosuch":["x"]}"#).unwrap();
        assert_eq!(filters.check(&["label"]).unwrap_err().to_string(), "invalid filter 'nosuch'");
    }

    #[test]
    fn a_flag_must_be_a_flag() {
        let filters = Filters::parse(r#"{"dangling":["maybe"]}"#).unwrap();
        assert_eq!(filters.flag("dangling").unwrap_err().to_string(), "invalid filter 'dangling=maybe'");
        assert_eq!(Filters::parse(r#"{"dangling":["1"]}"#).unwrap().flag("dangling"), Ok(Some(true)));
    }

    #[test]
    fn labels_match_by_key_or_pair() {
        let filters = Filters::parse(r#"{"label":["a","b=2"]}"#).unwrap();
        let labels = [("a", "1"), ("b", "2")];
        let find = |labels: &[(&'static str, &'static str)], key: &str| {
            labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
        };
        assert!(filters.match_labels("label", |key| find(&labels, key)));
        assert!(!filters.match_labels("label", |key| find(&labels[..1], key)));
    }
}
