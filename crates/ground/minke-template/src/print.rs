//! Printing values as Go's `fmt` does: `%v` for `{{.X}}`, and the verbs of `printf`.
//!
//! Kept apart from execution because users compare these strings in scripts (`{no 0}`, `map[a:b]`).

use crate::json;
use crate::value::Value;
use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

/// `fmt.Print` of one value as a template action prints it: top-level pointers are followed.
pub(crate) fn display(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Missing | Value::Nil => out.push_str("<no value>"),
        Value::Ptr(inner) => verb_v(&mut out, inner.target(), false),
        other => verb_v(&mut out, other, false),
    }
    out
}

/// `%v` inside `print`, `println` and `printf`.
pub(crate) fn argument(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Ptr(inner) => verb_v(&mut out, inner.target(), false),
        other => verb_v(&mut out, other, false),
    }
    out
}

fn verb_v(out: &mut String, value: &Value, nested: bool) {
    match value {
        Value::Missing | Value::Nil | Value::NilPtr(_) => out.push_str("<nil>"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(i) => write!(out, "{i}").unwrap_or_default(),
        Value::Float(f) => out.push_str(&json::go_float(*f, 21)),
        Value::Str(s) => out.push_str(s),
        Value::List(l) => {
            out.push('[');
            spaced(out, l.items.iter());
            out.push(']');
        }
        Value::Map(m) => {
            out.push_str("map[");
            for (at, (key, value)) in m.entries.iter().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                verb_v(out, value, true);
            }
            out.push(']');
        }
        Value::Record(r) => {
            out.push('{');
            spaced(out, r.fields().iter());
            out.push('}');
        }
        // Go prints where a nested pointer points to; a fixed address says "a pointer" just as well.
        Value::Ptr(_) if nested => out.push_str("0xc000000000"),
        Value::Ptr(inner) => verb_v(out, inner.target(), false),
    }
}

fn spaced<'a>(out: &mut String, items: impl Iterator<Item = &'a Value>) {
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(' ');
        }
        verb_v(out, item, true);
    }
}

/// `fmt.Sprint`: a blank only between operands of which neither is a string.
pub(crate) fn sprint(args: &[Value]) -> String {
    let mut out = String::new();
    for (at, arg) in args.iter().enumerate() {
        let string = |v: &Value| matches!(v, Value::Str(_));
        if at > 0 && !string(arg) && !string(&args[at - 1]) {
            out.push(' ');
        }
        out.push_str(&argument(arg));
    }
    out
}

/// `fmt.Sprintln`.
pub(crate) fn sprintln(args: &[Value]) -> String {
    let mut out = args.iter().map(argument).collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}

#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    zero: bool,
    sharp: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Widths beyond this are a mistake; Go refuses them as well.
const MAX_WIDTH: usize = 1_000_000;

/// `fmt.Sprintf`.
pub(crate) fn sprintf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.peek().copied() {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '0' => spec.zero = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                _ => break,
            }
            chars.next();
        }
        spec.width = digits(&mut chars);
        if spec.width.is_none() && chars.peek() == Some(&'*') {
            chars.next();
            spec.width = star(args, &mut next);
        }
        if chars.peek() == Some(&'.') {
            chars.next();
            spec.precision = Some(digits(&mut chars).unwrap_or(0));
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(arg) = args.get(next) else {
            write!(out, "%!{verb}(MISSING)").unwrap_or_default();
            continue;
        };
        next += 1;
        out.push_str(&formatted(&spec, verb, arg.target()));
    }
    if next < args.len() {
        let extra: Vec<_> =
            args[next..].iter().map(|a| format!("{}={}", a.type_name(), argument(a))).collect();
        write!(out, "%!(EXTRA {})", extra.join(", ")).unwrap_or_default();
    }
    out
}

fn digits(chars: &mut Peekable<Chars<'_>>) -> Option<usize> {
    let mut n = None;
    while let Some(d) = chars.peek().and_then(|c| c.to_digit(10)) {
        n = Some((n.unwrap_or(0) * 10 + d as usize).min(MAX_WIDTH));
        chars.next();
    }
    n
}

fn star(args: &[Value], next: &mut usize) -> Option<usize> {
    let value = args.get(*next)?;
    *next += 1;
    match value {
        Value::Int(i) => usize::try_from(*i).ok().map(|w| w.min(MAX_WIDTH)),
        _ => None,
    }
}

fn formatted(spec: &Spec, verb: char, arg: &Value) -> String {
    let text = match (verb, arg) {
        ('v', Value::Str(s)) if spec.sharp => quoted(s),
        ('v' | 's', Value::Str(s)) => cut(s, spec.precision),
        ('v', other) => argument(other),
        ('T', other) => other.type_name().to_string(),
        ('t', Value::Bool(b)) => b.to_string(),
        ('d', Value::Int(i)) => signed(spec, *i, format!("{}", i.unsigned_abs())),
        ('x', Value::Int(i)) => signed(spec, *i, prefixed(spec, "0x", format!("{:x}", i.unsigned_abs()))),
        ('X', Value::Int(i)) => signed(spec, *i, prefixed(spec, "0X", format!("{:X}", i.unsigned_abs()))),
        ('o', Value::Int(i)) => signed(spec, *i, prefixed(spec, "0", format!("{:o}", i.unsigned_abs()))),
        ('b', Value::Int(i)) => signed(spec, *i, format!("{:b}", i.unsigned_abs())),
        ('c', Value::Int(i)) => {
            u32::try_from(*i).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        ('q', Value::Str(s)) => quoted(&cut(s, spec.precision)),
        ('x', Value::Str(s)) => s.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Str(s)) => s.bytes().map(|b| format!("{b:02X}")).collect(),
        ('f' | 'F', Value::Float(f)) => format!("{:.*}", spec.precision.unwrap_or(6).min(300), f),
        ('g', Value::Float(f)) => json::go_float(*f, 21),
        ('e', Value::Float(f)) => exponent(*f, spec.precision.unwrap_or(6)),
        ('s' | 'd' | 'q' | 'x', Value::List(l)) => {
            let inner = Spec { precision: spec.precision, ..Spec::default() };
            let items: Vec<_> = l.items.iter().map(|i| formatted(&inner, verb, i.target())).collect();
            format!("[{}]", items.join(" "))
        }
        ('s', Value::Record(_) | Value::Map(_)) => argument(arg),
        (_, Value::Nil | Value::Missing) => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({}={})", arg.type_name(), argument(arg)),
    };
    padded(spec, text)
}

fn prefixed(spec: &Spec, prefix: &str, digits: String) -> String {
    if spec.sharp { format!("{prefix}{digits}") } else { digits }
}

fn signed(spec: &Spec, value: i128, digits: String) -> String {
    if value < 0 {
        format!("-{digits}")
    } else if spec.plus {
        format!("+{digits}")
    } else if spec.space {
        format!(" {digits}")
    } else {
        digits
    }
}

fn exponent(f: f64, precision: usize) -> String {
    let text = format!("{:.*e}", precision.min(300), f);
    match text.split_once('e') {
        Some((mantissa, exp)) => {
            let (sign, digits) = exp.strip_prefix('-').map_or(('+', exp), |d| ('-', d));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

fn cut(text: &str, precision: Option<usize>) -> String {
    match precision {
        Some(n) => text.chars().take(n).collect(),
        None => text.to_owned(),
    }
}

/// `strconv.Quote`.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                write!(out, "\\x{:02x}", c as u32).unwrap_or_default();
            }
            c if c.is_control() => write!(out, "\\u{:04x}", c as u32).unwrap_or_default(),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn padded(spec: &Spec, text: String) -> String {
    let Some(width) = spec.width else { return text };
    let length = text.chars().count();
    if length >= width {
        return text;
    }
    let fill = width - length;
    if spec.minus {
        format!("{text}{}", " ".repeat(fill))
    } else if spec.zero {
        match text.strip_prefix(['-', '+']) {
            Some(digits) => format!("{}{}{digits}", &text[..1], "0".repeat(fill)),
            None => format!("{}{text}", "0".repeat(fill)),
        }
    } else {
        format!("{}{text}", " ".repeat(fill))
    }
}
