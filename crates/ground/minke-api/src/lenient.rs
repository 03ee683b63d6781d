//! JSON as Go's decoder reads it, which is what clients of Docker rely on.
//!
//! Keys match whatever their case, `null` leaves a field as it was, unknown keys are ignored. Works for every type that
//! derives `Deserialize` without `flatten`, because serde tells a deserializer the field names of the struct it wants.
//! Type errors name the field by its path, in the words of Go's decoder.

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use serde_json::Value;

use crate::texts;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("{}", texts::EMPTY_BODY)]
    Empty,
    #[error("invalid JSON: {0}")]
    Syntax(String),
    #[error("{}", texts::TRAILING_CONTENT)]
    Trailing,
    #[error("invalid JSON: json: cannot {what} into Go struct field {path} of type {wanted}", path = dotted(path))]
    Type { what: String, path: String, wanted: String },
    #[error("invalid JSON: {path}: {text}", path = dotted(path))]
    Value { path: String, text: String },
}

fn dotted(path: &str) -> String {
    format!(".{path}")
}

/// Parses one JSON document and nothing after it.
pub fn parse(body: &[u8]) -> Result<Value, DecodeError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(DecodeError::Empty);
    }
    let mut stream = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    let value = match stream.next() {
        Some(Ok(value)) => value,
        Some(Err(error)) if error.is_eof() => return Err(DecodeError::Syntax("unexpected EOF".to_owned())),
        Some(Err(error)) => return Err(DecodeError::Syntax(error.to_string())),
        None => return Err(DecodeError::Empty),
    };
    let rest = &body[stream.byte_offset()..];
    if rest.iter().all(u8::is_ascii_whitespace) { Ok(value) } else { Err(DecodeError::Trailing) }
}

/// Parses and decodes.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    from_value(&parse(body)?)
}

/// Decodes a parsed document.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, DecodeError> {
    T::deserialize(Lenient { value }).map_err(|error| match error.wanted {
        Some(wanted) => DecodeError::Type { what: error.text, path: error.path, wanted },
        None => DecodeError::Value { path: error.path, text: error.text },
    })
}

/// `deserialize_with` for strict decoders (the client's): `null` is the default.
pub fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// An error on its way up, collecting the path.
#[derive(Debug)]
struct Error {
    path: String,
    text: String,
    wanted: Option<String>,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self { path: String::new(), text: message.to_string(), wanted: None }
    }
}

impl Error {
    fn mismatch(value: &Value, wanted: &str) -> Self {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(number) => {
                let whole = number.is_i64() || number.is_u64();
                let text = if whole && !wanted.contains("int") {
                    "unmarshal number".to_owned()
                } else {
                    format!("unmarshal number {number}")
                };
                return Self { path: String::new(), text, wanted: Some(wanted.to_owned()) };
            }
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        Self { path: String::new(), text: format!("unmarshal {found}"), wanted: Some(wanted.to_owned()) }
    }

    fn below(mut self, step: &str) -> Self {
        self.path = if self.path.is_empty() { step.to_owned() } else { format!("{step}.{}", self.path) };
        self
    }
}

#[derive(Clone, Copy)]
struct Lenient<'a> {
    value: &'a Value,
}

macro_rules! integers {
    ($($method:ident $visit:ident $int:ty, $name:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.value {
                Value::Null => visitor.$visit(0),
                Value::Number(number) => {
                    let wide = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
                    match wide.and_then(|wide| <$int>::try_from(wide).ok()) {
                        Some(fits) => visitor.$visit(fits),
                        None => Err(Error::mismatch(self.value, $name)),
                    }
                }
                other => Err(Error::mismatch(other, $name)),
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Lenient<'_> {
    type Error = Error;

    integers! {
        deserialize_i8 visit_i8 i8, "int8";
        deserialize_i16 visit_i16 i16, "int16";
        deserialize_i32 visit_i32 i32, "int32";
        deserialize_i64 visit_i64 i64, "int64";
        deserialize_u8 visit_u8 u8, "uint8";
        deserialize_u16 visit_u16 u16, "uint16";
        deserialize_u32 visit_u32 u32, "uint";
        deserialize_u64 visit_u64 u64, "uint64";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(items) => visitor.visit_seq(Items(items.iter())),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_bool(false),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            other => Err(Error::mismatch(other, "bool")),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_f64(0.0),
            Value::Number(number) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            other => Err(Error::mismatch(other, "float64")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_str(""),
            Value::String(text) => visitor.visit_str(text),
            other => Err(Error::mismatch(other, "string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_seq(Items([].iter())),
            Value::Array(items) => visitor.visit_seq(Items(items.iter())),
            other => Err(Error::mismatch(other, "[]string")),
        }
    }

    /// A fixed array takes what it needs and fills up with zeros, as Go's does.
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        static FILL: Value = Value::Null;
        let given: &[Value] = match self.value {
            Value::Null => &[],
            Value::Array(items) => items,
            other => return Err(Error::mismatch(other, "array")),
        };
        visitor.visit_seq(Items(given.iter().chain(std::iter::repeat(&FILL)).take(len)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_map(Entries { entries: [].into_iter(), value: None }),
            Value::Object(map) => visitor.visit_map(Entries {
                entries: map.iter().map(|(key, value)| (key.as_str(), value)),
                value: None,
            }),
            other => Err(Error::mismatch(other, "map")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_map(Entries { entries: [].into_iter(), value: None }),
            Value::Object(map) => {
                // Of keys that differ only in case the last one wins, as in Go; serde would call it a duplicate.
                let mut chosen: Vec<(&str, &Value)> = Vec::with_capacity(map.len());
                for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                    let Some(field) = field_named(fields, key) else { continue };
                    match chosen.iter_mut().find(|(taken, _)| *taken == field) {
                        Some(slot) => slot.1 = value,
                        None => chosen.push((field, value)),
                    }
                }
                visitor.visit_map(Entries { entries: chosen.into_iter(), value: None })
            }
            other => Err(Error::mismatch(other, name)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            other => Err(Error::mismatch(other, "string")),
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple_struct ignored_any
    }
}

fn field_named(fields: &'static [&'static str], key: &str) -> Option<&'static str> {
    fields
        .iter()
        .find(|field| **field == key)
        .or_else(|| fields.iter().find(|field| field.eq_ignore_ascii_case(key)))
        .copied()
}

struct Items<I>(I);

impl<'de, 'a, I: Iterator<Item = &'a Value>> de::SeqAccess<'de> for Items<I> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|value| seed.deserialize(Lenient { value })).transpose()
    }
}

struct Entries<'a, I> {
    entries: I,
    value: Option<(&'a str, &'a Value)>,
}

impl<'de, 'a, I: Iterator<Item = (&'a str, &'a Value)>> de::MapAccess<'de> for Entries<'a, I> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key, value));
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, value) =
            self.value.take().ok_or_else(|| de::Error::custom("value asked for before its key"))?;
        seed.deserialize(Lenient { value }).map_err(|error| error.below(key))
    }
}

#[cfg(test)]
mod tests;
