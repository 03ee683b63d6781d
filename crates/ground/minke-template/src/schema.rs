//! Go's structs for JSON documents: what a field is when the JSON does not have it.
//!
//! `docker inspect --format` runs over typed structs, so an absent field is `0`, ``, `[]` or `<nil>` by its type, and a
//! struct prints as `{a b}` in the order of its fields. A [`Schema`] is a compact text that says these types; JSON read
//! through it becomes values that behave like Docker's.
//!
//! ```text
//! State *container.State
//! Status s Running b Pid i Health *Health
//! ```
//! Each struct is a header line (`Key GoName`) and a line of `Field type` pairs. Types: `s` string, `i` integer,
//! `f` float, `b` bool, `d` duration in nanoseconds, `t` time, `a` any, `[]T`, `{}T` map, `*T` pointer, `=` an empty
//! struct, otherwise the key of a struct. `Field<jsonName` gives the JSON name when it differs, `@Key` embeds, `@*Key` embeds a pointer;
//! a line `-` is a struct without fields.

use crate::value::{List, Map, Record, Value, number};
use serde_json::Value as Json;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// A set of struct descriptions, parsed when first asked for.
#[derive(Debug)]
pub struct Schema {
    structs: HashMap<&'static str, Description>,
    cache: RefCell<HashMap<&'static str, Rc<Vec<Field>>>>,
}

/// The text form of a schema.
pub type Structs = &'static str;

#[derive(Debug)]
struct Description {
    name: Rc<str>,
    fields: &'static str,
}

#[derive(Debug, Clone)]
struct Field {
    name: &'static str,
    json: &'static str,
    kind: &'static str,
}

impl Schema {
    /// Reads the text form.
    pub fn parse(text: Structs) -> Rc<Schema> {
        let mut structs = HashMap::new();
        let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
        while let (Some(head), Some(fields)) = (lines.next(), lines.next()) {
            let (key, name) = head.split_once(' ').unwrap_or((head, head));
            structs.insert(key, Description { name: name.into(), fields });
        }
        Rc::new(Schema { structs, cache: RefCell::default() })
    }

    /// `json` as the struct `key` would hold it.
    pub fn read(self: &Rc<Self>, key: &'static str, json: &Json) -> Value {
        self.value(key, Some(json))
    }

    fn fields(&self, key: &str) -> Rc<Vec<Field>> {
        let Some((&key, description)) = self.structs.get_key_value(key) else { return Rc::default() };
        if let Some(found) = self.cache.borrow().get(key) {
            return found.clone();
        }
        let mut fields = Vec::new();
        let mut words = description.fields.split(' ');
        while let Some(name) = words.next() {
            if name == "-" {
                continue;
            }
            if let Some(embedded) = name.strip_prefix('@') {
                fields.push(Field { name: "", json: "", kind: embedded });
                continue;
            }
            let Some(kind) = words.next() else { break };
            let (name, json) = name.split_once('<').unwrap_or((name, name));
            fields.push(Field { name, json, kind });
        }
        let fields = Rc::new(fields);
        self.cache.borrow_mut().insert(key, fields.clone());
        fields
    }

    fn value(self: &Rc<Self>, kind: &'static str, json: Option<&Json>) -> Value {
        let json = json.filter(|j| !j.is_null());
        if let Some(inner) = kind.strip_prefix('*') {
            return match json {
                None => Value::NilPtr(self.type_name(kind)),
                Some(json) => Value::Ptr(Rc::new(self.value(inner, Some(json)))),
            };
        }
        if let Some(inner) = kind.strip_prefix("[]") {
            let items = json.and_then(Json::as_array);
            return Value::List(Rc::new(List {
                items: items.into_iter().flatten().map(|i| self.value(inner, Some(i))).collect(),
                type_name: self.type_name(kind),
                nil: items.is_none(),
            }));
        }
        if let Some(inner) = kind.strip_prefix("{}") {
            let entries = json.and_then(Json::as_object);
            return Value::Map(Rc::new(Map {
                entries: entries
                    .into_iter()
                    .flatten()
                    .map(|(k, v)| (k.clone(), self.value(inner, Some(v))))
                    .collect::<BTreeMap<_, _>>(),
                type_name: self.type_name(kind),
                zero: self.value(inner, None),
                nil: entries.is_none(),
            }));
        }
        match kind {
            "s" => Value::str(json.and_then(Json::as_str).unwrap_or_default()),
            "t" => Value::str(go_time(json.and_then(Json::as_str).unwrap_or("0001-01-01T00:00:00Z"))),
            "b" => Value::Bool(json.and_then(Json::as_bool).unwrap_or_default()),
            "i" => match json {
                Some(Json::Number(n)) => number(n),
                _ => Value::Int(0),
            },
            "f" => Value::Float(json.and_then(Json::as_f64).unwrap_or_default()),
            "d" => {
                Value::str(minke_base::duration::format_go(json.and_then(Json::as_i64).unwrap_or_default()))
            }
            "a" => json.map_or(Value::Nil, Value::from_json),
            key => Value::Record(Rc::new(Struct {
                schema: self.clone(),
                key,
                json: json.cloned().unwrap_or(Json::Object(serde_json::Map::new())),
            })),
        }
    }

    fn type_name(&self, kind: &str) -> Rc<str> {
        if let Some(inner) = kind.strip_prefix('*') {
            return format!("*{}", self.type_name(inner)).into();
        }
        if let Some(inner) = kind.strip_prefix("[]") {
            return format!("[]{}", self.type_name(inner)).into();
        }
        if let Some(inner) = kind.strip_prefix("{}") {
            return format!("map[string]{}", self.type_name(inner)).into();
        }
        match kind {
            "s" | "t" => "string".into(),
            "b" => "bool".into(),
            "i" => "int64".into(),
            "f" => "float64".into(),
            "d" => "time.Duration".into(),
            "a" => "interface {}".into(),
            "=" => "struct {}".into(),
            key => self.structs.get(key).map_or_else(|| key.into(), |d| d.name.clone()),
        }
    }
}

/// RFC 3339 as Go prints a time: `2006-01-02 15:04:05.5 +0000 UTC`.
#[must_use]
pub fn go_time(text: &str) -> String {
    let Some((date, time)) = text.split_once('T') else { return text.to_owned() };
    if let Some(time) = time.strip_suffix('Z') {
        return format!("{date} {time} +0000 UTC");
    }
    match time.rfind(['+', '-']) {
        Some(at) => {
            let zone = time[at..].replace(':', "");
            format!("{date} {} {zone} {zone}", &time[..at])
        }
        None => text.to_owned(),
    }
}

struct Struct {
    schema: Rc<Schema>,
    key: &'static str,
    json: Json,
}

impl std::fmt::Debug for Struct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Struct").field("key", &self.key).field("json", &self.json).finish_non_exhaustive()
    }
}

impl Record for Struct {
    fn type_name(&self) -> Rc<str> {
        self.schema.type_name(self.key)
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let fields = self.schema.fields(self.key);
        for field in fields.iter() {
            if field.name.is_empty() {
                let key = field.kind.trim_start_matches('*');
                let embedded = Struct { schema: self.schema.clone(), key, json: self.json.clone() };
                // An embedded struct is reachable by its own name as well.
                if key == name {
                    return Some(Ok(Value::Record(Rc::new(embedded))));
                }
                if let Some(found) = embedded.get(name, args) {
                    return Some(found);
                }
            } else if field.name == name {
                if !args.is_empty() {
                    return Some(Err(format!("{name} has arguments but cannot be invoked as function")));
                }
                return Some(Ok(self.schema.value(field.kind, self.json.get(field.json))));
            }
        }
        None
    }

    fn fields(&self) -> Vec<Value> {
        let fields = self.schema.fields(self.key);
        let value = |f: &Field| {
            if f.name.is_empty() {
                self.schema.value(f.kind, Some(&self.json))
            } else {
                self.schema.value(f.kind, self.json.get(f.json))
            }
        };
        fields.iter().map(value).collect()
    }

    fn json(&self) -> Json {
        self.json.clone()
    }
}
