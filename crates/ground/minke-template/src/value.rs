//! What a template can see: Go's reflect values, cut down to what the Engine API needs.
//!
//! A Go template distinguishes things JSON does not: a missing map key from a nil pointer, a struct from a map, a
//! typed slice from `interface {}`. Every variant here exists because templates print or compare it differently.
//! Turning JSON into these values is the work of `schema.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// A value as Go's reflection would present it.
#[derive(Clone, Debug)]
pub enum Value {
    /// No value at all: a key that a map does not have. Prints `<no value>`.
    Missing,
    /// A nil `interface {}`: JSON `null` without a schema.
    Nil,
    /// A nil pointer to the named type: prints `<nil>`, and a field of it is an error.
    NilPtr(Rc<str>),
    Bool(bool),
    /// Every integer type; Go's templates compare them by value.
    Int(i128),
    Float(f64),
    Str(Rc<str>),
    List(Rc<List>),
    Map(Rc<Map>),
    /// A struct, or a row with methods.
    Record(Rc<dyn Record>),
    /// A pointer to a value that is there: transparent, except that a nested one prints as an address.
    Ptr(Rc<Value>),
}

/// A slice.
#[derive(Clone, Debug)]
pub struct List {
    pub items: Vec<Value>,
    /// Go's name of the type, such as `[]string`.
    pub type_name: Rc<str>,
    /// JSON `null` rather than `[]`.
    pub nil: bool,
}

/// A map with string keys; ranging goes by sorted key as in Go.
#[derive(Clone, Debug)]
pub struct Map {
    pub entries: BTreeMap<String, Value>,
    /// Go's name of the type, such as `map[string]string`.
    pub type_name: Rc<str>,
    /// What `index` gives for a key that is not there.
    pub zero: Value,
    /// JSON `null` rather than `{}`.
    pub nil: bool,
}

/// A struct or a row: named fields, and methods that look like fields.
pub trait Record: fmt::Debug {
    /// Go's name of the type, as error texts show it.
    fn type_name(&self) -> Rc<str>;
    /// The field or method `name` called with `args`; `None` when there is no such name.
    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>>;
    /// Fields in declaration order, for `%v`.
    fn fields(&self) -> Vec<Value>;
    /// The `json` function's view.
    fn json(&self) -> serde_json::Value;
    /// Whether `json` writes `<`, `>` and `&` as escapes (types with a `MarshalJSON` of their own do).
    fn escapes_html(&self) -> bool {
        false
    }
    /// `map[string]string`-like records answer missing names with [`Value::Missing`].
    fn open(&self) -> bool {
        false
    }
}

impl Value {
    /// A string value.
    pub fn str(text: impl AsRef<str>) -> Value {
        Value::Str(Rc::from(text.as_ref()))
    }

    /// A `[]string`.
    pub fn strings<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Value {
        let items = items.into_iter().map(Value::str).collect();
        Value::List(Rc::new(List { items, type_name: "[]string".into(), nil: false }))
    }

    /// JSON without a schema, as Go decodes it into `interface {}`.
    pub fn from_json(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Nil,
            serde_json::Value::Bool(b) => Value::Bool(*b),
            serde_json::Value::Number(n) => number(n),
            serde_json::Value::String(s) => Value::str(s),
            serde_json::Value::Array(items) => Value::List(Rc::new(List {
                items: items.iter().map(Value::from_json).collect(),
                type_name: "[]interface {}".into(),
                nil: false,
            })),
            serde_json::Value::Object(map) => Value::Map(Rc::new(Map {
                entries: map.iter().map(|(k, v)| (k.clone(), Value::from_json(v))).collect(),
                type_name: "map[string]interface {}".into(),
                zero: Value::Nil,
                nil: false,
            })),
        }
    }

    /// Go's truth: false is the zero value, the empty collection and nil.
    pub fn is_true(&self) -> bool {
        match self {
            Value::Missing | Value::Nil | Value::NilPtr(_) => false,
            Value::Bool(b) => *b,
            Value::Int(i) => *i != 0,
            Value::Float(f) => *f != 0.0,
            Value::Str(s) => !s.is_empty(),
            Value::List(l) => !l.items.is_empty(),
            Value::Map(m) => !m.entries.is_empty(),
            Value::Record(_) | Value::Ptr(_) => true,
        }
    }

    /// Go's name of the value's type.
    pub fn type_name(&self) -> Rc<str> {
        match self {
            Value::Missing | Value::Nil => "interface {}".into(),
            Value::NilPtr(name) => name.clone(),
            Value::Bool(_) => "bool".into(),
            Value::Int(_) => "int".into(),
            Value::Float(_) => "float64".into(),
            Value::Str(_) => "string".into(),
            Value::List(l) => l.type_name.clone(),
            Value::Map(m) => m.type_name.clone(),
            Value::Record(r) => r.type_name(),
            Value::Ptr(inner) => match &**inner {
                Value::Record(r) => r.type_name(),
                other => format!("*{}", other.type_name()).into(),
            },
        }
    }

    /// Follows pointers.
    pub fn target(&self) -> &Value {
        match self {
            Value::Ptr(inner) => inner.target(),
            other => other,
        }
    }

    /// The value as JSON, for the `json` function.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Missing | Value::Nil | Value::NilPtr(_) => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Int(i) => match i64::try_from(*i) {
                Ok(small) => small.into(),
                Err(_) => u64::try_from(*i).map_or(serde_json::Value::Null, Into::into),
            },
            Value::Float(f) => (*f).into(),
            Value::Str(s) => s.as_ref().into(),
            Value::List(l) if l.nil => serde_json::Value::Null,
            Value::List(l) => l.items.iter().map(Value::to_json).collect(),
            Value::Map(m) if m.nil => serde_json::Value::Null,
            Value::Map(m) => m.entries.iter().map(|(k, v)| (k.clone(), v.to_json())).collect(),
            Value::Record(r) => r.json(),
            Value::Ptr(inner) => inner.to_json(),
        }
    }
}

/// A JSON number as Go's templates see it: integers stay integers.
pub(crate) fn number(n: &serde_json::Number) -> Value {
    if let Some(i) = n.as_i64() {
        Value::Int(i.into())
    } else if let Some(u) = n.as_u64() {
        Value::Int(u.into())
    } else {
        Value::Float(n.as_f64().unwrap_or(f64::NAN))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::str(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::str(text)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Value {
        Value::Bool(b)
    }
}

impl From<i64> for Value {
    fn from(i: i64) -> Value {
        Value::Int(i.into())
    }
}
