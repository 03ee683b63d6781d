//! JSON written as Go's `encoding/json` writes it, and re-indented without being decoded.
//!
//! `docker inspect` shows the daemon's own bytes with new white space, so [`indent`] works on text: key order, number
//! spelling and escapes survive. [`compact`] is the encoder behind `{{json .}}`.

use std::fmt::Write;

/// One line of JSON; `html` also escapes `<`, `>` and `&` as Go's `Marshal` does.
pub fn compact(value: &serde_json::Value, html: bool) -> String {
    let mut out = String::new();
    write_value(&mut out, value, html);
    out
}

fn write_value(out: &mut String, value: &serde_json::Value, html: bool) {
    match value {
        serde_json::Value::Null => out.push_str("null"),
        serde_json::Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        serde_json::Value::Number(n) => match (n.is_f64(), n.as_f64()) {
            (true, Some(f)) => out.push_str(&go_json_float(f)),
            _ => write!(out, "{n}").unwrap_or_default(),
        },
        serde_json::Value::String(s) => write_string(out, s, html),
        serde_json::Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_value(out, item, html);
            }
            out.push(']');
        }
        serde_json::Value::Object(map) => {
            out.push('{');
            for (at, (key, item)) in map.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_string(out, key, html);
                out.push(':');
                write_value(out, item, html);
            }
            out.push('}');
        }
    }
}

/// A JSON string with Go's choice of escapes.
pub fn write_string(out: &mut String, text: &str, html: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' if html => write!(out, "\\u{:04x}", c as u32).unwrap_or_default(),
            '\u{2028}' | '\u{2029}' => write!(out, "\\u{:04x}", c as u32).unwrap_or_default(),
            c if (c as u32) < 0x20 => write!(out, "\\u{:04x}", c as u32).unwrap_or_default(),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Go's shortest `%g`-like form; the exponent form starts at `10^big`.
pub(crate) fn go_float(f: f64, big: i32) -> String {
    if f.is_nan() {
        return "NaN".into();
    }
    if f.is_infinite() {
        return if f > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{f:e}");
    let exponent = scientific.split_once('e').and_then(|(_, e)| e.parse::<i32>().ok()).unwrap_or(0);
    if f != 0.0 && !(-4..big).contains(&exponent) {
        let mantissa = scientific.split_once('e').map_or("", |(m, _)| m);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{f}")
}

/// A float as Go's JSON encoder writes it: exponents below 1e-6 and from 1e21 on, without padding zero.
fn go_json_float(f: f64) -> String {
    let size = f.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{f:e}");
        return match text.split_once('e') {
            Some((m, e)) if !e.starts_with('-') => format!("{m}e+{e}"),
            _ => text,
        };
    }
    format!("{f}")
}

/// Gives JSON text new white space: each level after `prefix` is one `step`. Text that is not JSON is passed through
/// as it came.
pub fn indent(text: &str, prefix: &str, step: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0usize;
    let mut bytes = text.char_indices().peekable();
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(prefix);
        for _ in 0..depth {
            out.push_str(step);
        }
    };
    while let Some((at, c)) = bytes.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => {}
            '"' => {
                let mut end = text.len();
                let mut escaped = false;
                for (i, c) in bytes.by_ref() {
                    match c {
                        _ if escaped => escaped = false,
                        '\\' => escaped = true,
                        '"' => {
                            end = i + 1;
                            break;
                        }
                        _ => {}
                    }
                }
                out.push_str(&text[at..end]);
            }
            '{' | '[' => {
                out.push(c);
                while bytes.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
                let close = if c == '{' { '}' } else { ']' };
                if bytes.next_if(|(_, c)| *c == close).is_some() {
                    out.push(close);
                } else {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => out.push(c),
        }
    }
    out
}
