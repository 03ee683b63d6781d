//! The functions templates may call: Go's own and docker's (`json`, `split`, `join`, `title`, `lower`, `upper`, `pad`,
//! `truncate`).
//!
//! One table holds each name with the number and kind of its arguments, so that counts and types are checked in one
//! place with Go's words.

use crate::json::compact;
use crate::print::{argument, quoted, sprint, sprintf, sprintln};
use crate::value::{List, Value};
use std::rc::Rc;

#[derive(Clone, Copy, PartialEq)]
enum Arg {
    Any,
    Str,
    Int,
    Strings,
}

struct Function {
    name: &'static str,
    args: &'static [Arg],
    /// The last kind repeats; the count is only a minimum.
    many: bool,
}

const fn fixed(name: &'static str, args: &'static [Arg]) -> Function {
    Function { name, args, many: false }
}

const fn many(name: &'static str, args: &'static [Arg]) -> Function {
    Function { name, args, many: true }
}

const FUNCTIONS: &[Function] = &[
    many("and", &[Arg::Any, Arg::Any]),
    many("eq", &[Arg::Any, Arg::Any]),
    fixed("ge", &[Arg::Any, Arg::Any]),
    fixed("gt", &[Arg::Any, Arg::Any]),
    many("html", &[Arg::Any]),
    many("index", &[Arg::Any, Arg::Any]),
    fixed("join", &[Arg::Strings, Arg::Str]),
    many("js", &[Arg::Any]),
    fixed("json", &[Arg::Any]),
    fixed("le", &[Arg::Any, Arg::Any]),
    fixed("len", &[Arg::Any]),
    fixed("lower", &[Arg::Str]),
    fixed("lt", &[Arg::Any, Arg::Any]),
    fixed("ne", &[Arg::Any, Arg::Any]),
    fixed("not", &[Arg::Any]),
    many("or", &[Arg::Any, Arg::Any]),
    fixed("pad", &[Arg::Str, Arg::Int, Arg::Int]),
    many("print", &[Arg::Any]),
    many("printf", &[Arg::Str, Arg::Any]),
    many("println", &[Arg::Any]),
    many("slice", &[Arg::Any, Arg::Any]),
    fixed("split", &[Arg::Str, Arg::Str]),
    fixed("title", &[Arg::Str]),
    fixed("truncate", &[Arg::Str, Arg::Int]),
    fixed("upper", &[Arg::Str]),
    many("urlquery", &[Arg::Any]),
];

fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.name == name)
}

pub(crate) fn known(name: &str) -> bool {
    find(name).is_some()
}

/// In a row of headers these hand their word through.
pub(crate) fn plain_in_headers(name: &str) -> bool {
    matches!(name, "json" | "title" | "lower" | "upper" | "truncate")
}

pub(crate) fn wrong_count(name: &str, given: usize) -> Option<String> {
    let function = find(name)?;
    let want = function.args.len();
    if function.many && given + 1 < want {
        let least = want - 1;
        return Some(format!("wrong number of args for {name}: want at least {least} got {given}"));
    }
    (!function.many && given != want)
        .then(|| format!("wrong number of args for {name}: want {want} got {given}"))
}

pub(crate) fn wrong_type(name: &str, at: usize, value: &Value) -> Option<String> {
    let function = find(name)?;
    let want = function.args.get(at).or(function.args.last())?;
    let value = value.target();
    let (fits, expected) = match want {
        Arg::Any => (true, ""),
        Arg::Str => (matches!(value, Value::Str(_)), "string"),
        Arg::Int => (matches!(value, Value::Int(_)), "int"),
        Arg::Strings => {
            let strings = |l: &List| l.items.iter().all(|i| matches!(i.target(), Value::Str(_)));
            (matches!(value, Value::List(l) if strings(l)), "[]string")
        }
    };
    if fits {
        return None;
    }
    Some(match value {
        Value::Missing | Value::Nil => format!("invalid value; expected {expected}"),
        other => format!("wrong type for value; expected {expected}; got {}", other.type_name()),
    })
}

fn text(value: &Value) -> &str {
    match value.target() {
        Value::Str(s) => s,
        _ => "",
    }
}

fn int(value: &Value) -> usize {
    match value.target() {
        Value::Int(i) => usize::try_from(*i).unwrap_or(0),
        _ => 0,
    }
}

/// Widest padding asked of `pad`; more is a mistake.
const MAX_PAD: usize = 100_000;

pub(crate) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    match name {
        "json" => {
            let html = matches!(args[0].target(), Value::Record(r) if r.escapes_html());
            Ok(Value::str(compact(&args[0].to_json(), html)))
        }
        "split" => Ok(split(text(&args[0]), text(&args[1]))),
        "join" => match args[0].target() {
            Value::List(l) => {
                Ok(Value::str(l.items.iter().map(text).collect::<Vec<_>>().join(text(&args[1]))))
            }
            _ => Ok(Value::str("")),
        },
        "title" => Ok(Value::str(title(text(&args[0])))),
        "lower" => Ok(Value::str(text(&args[0]).to_lowercase())),
        "upper" => Ok(Value::str(text(&args[0]).to_uppercase())),
        "pad" => {
            let blanks = |v| " ".repeat(int(v).min(MAX_PAD));
            let word = text(&args[0]);
            if word.is_empty() {
                return Ok(Value::str(""));
            }
            Ok(Value::str(format!("{}{}{}", blanks(&args[1]), word, blanks(&args[2]))))
        }
        "truncate" => Ok(Value::str(text(&args[0]).chars().take(int(&args[1])).collect::<String>())),
        "print" => Ok(Value::str(sprint(args))),
        "println" => Ok(Value::str(sprintln(args))),
        "printf" => Ok(Value::str(sprintf(text(&args[0]), &args[1..]))),
        "len" => length(&args[0]),
        "index" => index(&args[0], &args[1..]),
        "slice" => slice(&args[0], &args[1..]),
        "not" => Ok(Value::Bool(!args[0].is_true())),
        "eq" => equal(args).map(Value::Bool),
        "ne" => equal(args).map(|same| Value::Bool(!same)),
        "lt" => less(&args[0], &args[1]).map(Value::Bool),
        "le" => Ok(Value::Bool(less(&args[0], &args[1])? || equal(args)?)),
        "gt" => Ok(Value::Bool(!(less(&args[0], &args[1])? || equal(args)?))),
        "ge" => less(&args[0], &args[1]).map(|l| Value::Bool(!l)),
        "html" => Ok(Value::str(html(&sprint(args)))),
        "js" => Ok(Value::str(js(&sprint(args)))),
        "urlquery" => Ok(Value::str(urlquery(&sprint(args)))),
        other => Err(format!("no function {other}")),
    }
}

fn split(word: &str, separator: &str) -> Value {
    if separator.is_empty() {
        return Value::strings(word.chars().map(|c| c.to_string()));
    }
    Value::strings(word.split(separator))
}

fn title(word: &str) -> String {
    let mut start = true;
    word.chars()
        .map(|c| {
            let upper = if start && c.is_lowercase() { c.to_uppercase().next().unwrap_or(c) } else { c };
            start = !(c.is_alphanumeric() || c == '_' || c == '\'');
            upper
        })
        .collect()
}

fn length(value: &Value) -> Result<Value, String> {
    let length = match value.target() {
        Value::Str(s) => s.len(),
        Value::List(l) => l.items.len(),
        Value::Map(m) => m.entries.len(),
        Value::Missing | Value::Nil => return Err("len of nil pointer".into()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(length as i128))
}

fn position(value: &Value, length: usize) -> Result<usize, String> {
    match value.target() {
        Value::Int(i) => match usize::try_from(*i) {
            // Go lets the length itself through and fails one step later, with other words.
            Ok(at) if at <= length => Ok(at),
            _ => Err(format!("index out of range: {i}")),
        },
        Value::Missing | Value::Nil => Err("cannot index slice/array with nil".into()),
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value.target().clone();
    for key in keys {
        value = match &value {
            Value::List(l) => {
                let at = position(key, l.items.len())?;
                match l.items.get(at) {
                    Some(item) => item.target().clone(),
                    None => return Err("reflect: slice index out of range".into()),
                }
            }
            Value::Str(s) => {
                let at = position(key, s.len())?;
                match s.as_bytes().get(at) {
                    Some(byte) => Value::Int((*byte).into()),
                    None => return Err("reflect: string index out of range".into()),
                }
            }
            Value::Map(m) => match key.target() {
                Value::Str(name) => m.entries.get(name.as_ref()).unwrap_or(&m.zero).clone(),
                Value::Missing | Value::Nil => return Err("value is nil; should be of type string".into()),
                other => {
                    return Err(format!("value has type {}; should be string", other.type_name()));
                }
            },
            Value::Missing | Value::Nil => return Err("index of untyped nil".into()),
            Value::NilPtr(_) => return Err("index of nil pointer".into()),
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let length = match value.target() {
        Value::Str(_) if bounds.len() == 3 => return Err("cannot 3-index slice a string".into()),
        Value::Str(s) => s.len(),
        Value::List(l) => l.items.len(),
        Value::Missing | Value::Nil => return Err("slice of untyped nil".into()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let at = |n: usize, default| bounds.get(n).map_or(Ok(default), |b| position(b, length));
    let (from, to) = (at(0, 0)?, at(1, length)?);
    at(2, length)?;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match value.target() {
        Value::Str(s) => Value::str(String::from_utf8_lossy(&s.as_bytes()[from..to])),
        Value::List(l) => Value::List(Rc::new(List {
            items: l.items[from..to].to_vec(),
            type_name: l.type_name.clone(),
            nil: l.nil,
        })),
        _ => Value::Missing,
    })
}

fn equal(args: &[Value]) -> Result<bool, String> {
    let first = args[0].target();
    if args.len() < 2 {
        return Err("missing argument for comparison".into());
    }
    for other in &args[1..] {
        let same = match (first, other.target()) {
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Missing | Value::Nil | Value::NilPtr(_), b) => {
                matches!(b, Value::Missing | Value::Nil | Value::NilPtr(_))
            }
            (_, Value::Missing | Value::Nil | Value::NilPtr(_)) => false,
            (Value::List(_) | Value::Map(_) | Value::Record(_), _) => {
                return Err(format!("non-comparable type {}: {}", argument(first), first.type_name()));
            }
            _ => return Err("incompatible types for comparison".into()),
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

fn less(a: &Value, b: &Value) -> Result<bool, String> {
    match (a.target(), b.target()) {
        (Value::Str(a), Value::Str(b)) => Ok(a < b),
        (Value::Int(a), Value::Int(b)) => Ok(a < b),
        (Value::Float(a), Value::Float(b)) => Ok(a < b),
        (Value::Bool(_) | Value::List(_) | Value::Map(_) | Value::Record(_), _) => {
            Err("invalid type for comparison".into())
        }
        _ => Err("incompatible types for comparison".into()),
    }
}

fn html(word: &str) -> String {
    let mut out = String::new();
    for c in word.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn js(word: &str) -> String {
    let mut out = String::new();
    for c in word.chars() {
        match c {
            '\\' | '\'' | '"' => {
                out.push('\\');
                out.push(c);
            }
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if c.is_control() => out.push_str(quoted(&c.to_string()).trim_matches('"')),
            c => out.push(c),
        }
    }
    out
}

fn urlquery(word: &str) -> String {
    let mut out = String::new();
    for byte in word.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}
