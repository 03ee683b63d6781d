//! D-Bus messages as bytes: as much of the format as asking systemd for a unit takes, and no more.
//!
//! Written little-endian, read in either order, every length checked against what is there. Names, paths and what a message
//! means are for [`super::bus`] and [`super::unit`].

/// A value of a unit's property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    I32(i32),
    U32(u32),
    U64(u64),
    Text(String),
    Bytes(Vec<u8>),
    Texts(Vec<String>),
    Numbers(Vec<u32>),
    Pairs(Vec<(String, String)>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::I32(_) => "i",
            Self::U32(_) => "u",
            Self::U64(_) => "t",
            Self::Text(_) => "s",
            Self::Bytes(_) => "ay",
            Self::Texts(_) => "as",
            Self::Numbers(_) => "au",
            Self::Pairs(_) => "a(ss)",
        }
    }
}

/// Kinds of messages.
pub(super) const CALL: u8 = 1;
pub(super) const REPLY: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

/// No message that concerns us is larger.
pub(super) const MAX_MESSAGE: usize = 1 << 20;
/// Up to the length of the header fields.
pub(super) const FIXED_HEADER: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.bytes.extend(text.bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.bytes.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.bytes.extend(signature.bytes());
        self.bytes.push(0);
    }

    /// The length counts from the first element, after its alignment.
    pub(super) fn array<T>(
        &mut self,
        align: usize,
        items: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) {
        self.u32(0);
        let length_at = self.bytes.len() - 4;
        self.align(align);
        let start = self.bytes.len();
        for one in items {
            self.align(align);
            item(self, one);
        }
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => self.bool(*value),
            Value::I32(value) => self.u32(value.cast_unsigned()),
            Value::U32(value) => self.u32(*value),
            Value::U64(value) => self.u64(*value),
            Value::Text(value) => self.text(value),
            Value::Bytes(list) => self.array(1, list, |w, byte| w.bytes.push(*byte)),
            Value::Texts(list) => self.array(4, list, |w, text| w.text(text)),
            Value::Numbers(list) => self.array(4, list, |w, number| w.u32(*number)),
            Value::Pairs(list) => self.array(8, list, |w, (first, second)| {
                w.text(first);
                w.text(second);
            }),
        }
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        self.value(value);
    }

    /// `a(sv)`.
    pub(super) fn properties(&mut self, list: &[(String, Value)]) {
        self.array(8, list, |w, (name, value)| {
            w.text(name);
            w.variant(value);
        });
    }
}

/// A method call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// None on a connection that has only one other end.
    pub(super) destination: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) signature: &'a str,
    pub(super) body: &'a [u8],
}

impl Call<'_> {
    pub(super) fn encode(&self, serial: u32) -> Vec<u8> {
        let mut writer = Writer { bytes: vec![b'l', CALL, 0, 1] };
        writer.u32(u32::try_from(self.body.len()).unwrap_or(u32::MAX));
        writer.u32(serial);
        let fields = [
            (1, 'o', Some(self.path)),
            (2, 's', Some(self.interface)),
            (3, 's', Some(self.member)),
            (6, 's', self.destination),
            (8, 'g', Some(self.signature).filter(|s| !s.is_empty())),
        ];
        let present = fields.into_iter().filter_map(|(code, kind, text)| Some((code, kind, text?)));
        writer.array(8, present, |w, (code, kind, text)| {
            w.bytes.push(code);
            w.signature(kind.encode_utf8(&mut [0; 4]));
            if kind == 'g' { w.signature(text) } else { w.text(text) }
        });
        writer.align(8);
        writer.bytes.extend(self.body);
        writer.bytes
    }
}

/// A message that came in.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) reply_to: u32,
    /// The name of an error.
    pub(super) error: String,
    pub(super) interface: String,
    pub(super) member: String,
    pub(super) body: Vec<u8>,
    pub(super) big_endian: bool,
}

impl Message {
    /// How long the whole message is, from its first bytes.
    pub(super) fn length(header: &[u8; FIXED_HEADER]) -> Option<usize> {
        let mut reader = Reader { bytes: header, at: 4, big_endian: header[0] == b'B' };
        let body = reader.u32()? as usize;
        reader.u32()?;
        let fields = reader.u32()? as usize;
        let length = FIXED_HEADER.checked_add(fields)?.checked_next_multiple_of(8)?.checked_add(body)?;
        Some(length).filter(|length| *length <= MAX_MESSAGE && [b'l', b'B'].contains(&header[0]))
    }

    /// Reads a whole message; `None` when it is not one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 0, big_endian: bytes.first() == Some(&b'B') };
        let [_, kind, _, _] = *reader.take(4)? else { return None };
        let mut message = Self { kind, big_endian: reader.big_endian, ..Self::default() };
        let body = reader.u32()? as usize;
        reader.u32()?;
        let end = FIXED_HEADER.checked_add(reader.u32()? as usize)?;
        while reader.at < end {
            reader.align(8)?;
            let code = reader.take(1)?[0];
            let signature = reader.signature()?;
            let text = match signature {
                "s" | "o" => reader.text()?,
                "g" => reader.signature()?,
                "u" => {
                    let number = reader.u32()?;
                    if code == 5 {
                        message.reply_to = number;
                    }
                    continue;
                }
                // No other type belongs into a header.
                _ => return None,
            };
            match code {
                2 => text.clone_into(&mut message.interface),
                3 => text.clone_into(&mut message.member),
                4 => text.clone_into(&mut message.error),
                _ => {}
            }
        }
        reader.align(8)?;
        message.body = reader.take(body)?.to_owned();
        Some(message)
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0, big_endian: self.big_endian }
    }
}

/// Reads values one after the other; `None` as soon as something does not fit.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.checked_next_multiple_of(to)?;
        (self.at <= self.bytes.len()).then_some(())
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4)?;
        let bytes: [u8; 4] = self.take(4)?.try_into().ok()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.take(1)?;
        Some(text)
    }

    fn signature(&mut self) -> Option<&'a str> {
        let length = usize::from(self.take(1)?[0]);
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.take(1)?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_layout_of_the_specification() {
        let mut body = Writer::default();
        body.text("a");
        let call = Call {
            destination: Some("d.e"),
            path: "/p",
            interface: "i.f",
            member: "M",
            signature: "s",
            body: &body.bytes,
        };
        let bytes = call.encode(7);
        let expected: &[u8] = b"l\x01\x00\x01\x06\x00\x00\x00\x07\x00\x00\x00\x47\x00\x00\x00\
            \x01\x01o\x00\x02\x00\x00\x00/p\x00\x00\x00\x00\x00\x00\
            \x02\x01s\x00\x03\x00\x00\x00i.f\x00\x00\x00\x00\x00\
            \x03\x01s\x00\x01\x00\x00\x00M\x00\x00\x00\x00\x00\x00\x00\
            \x06\x01s\x00\x03\x00\x00\x00d.e\x00\x00\x00\x00\x00\
            \x08\x01g\x00\x01s\x00\x00\
            \x01\x00\x00\x00a\x00";
        assert_eq!(bytes, expected);
        let header: [u8; FIXED_HEADER] = bytes[..FIXED_HEADER].try_into().unwrap();
        assert_eq!(Message::length(&header), Some(bytes.len()));
        let message = Message::decode(&bytes).unwrap();
        assert_eq!((message.kind, &*message.member, &*message.interface), (CALL, "M", "i.f"));
        assert_eq!(message.reader().text(), Some("a"));
    }

    #[test]
    fn properties_are_an_array_of_names_and_variants() {
        let mut writer = Writer::default();
        writer.properties(&[
            ("A".into(), Value::Bool(true)),
            ("P".into(), Value::Numbers(vec![5])),
            ("D".into(), Value::Pairs(vec![("x".into(), "r".into())])),
        ]);
        let expected: &[u8] = b"\x4e\x00\x00\x00\x00\x00\x00\x00\
            \x01\x00\x00\x00A\x00\x01b\x00\x00\x00\x00\x01\x00\x00\x00\
            \x01\x00\x00\x00P\x00\x02au\x00\x00\x00\x04\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\
            \x01\x00\x00\x00D\x00\x05a(ss)\x00\x00\x00\x00\x0e\x00\x00\x00\x00\x00\x00\x00\
            \x01\x00\x00\x00x\x00\x00\x00\x01\x00\x00\x00r\x00";
        assert_eq!(writer.bytes, expected, "{:?}", writer.bytes);
    }

    #[test]
    fn a_message_cut_short_or_too_long_is_refused() {
        let call =
            Call { destination: None, path: "/", interface: "a.b", member: "C", signature: "", body: &[] };
        let bytes = call.encode(1);
        for length in 0..bytes.len() {
            assert_eq!(Message::decode(&bytes[..length]), None, "{length}");
        }
        let mut header: [u8; FIXED_HEADER] = bytes[..FIXED_HEADER].try_into().unwrap();
        header[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Message::length(&header), None);
    }

    #[test]
    fn a_message_of_the_other_byte_order_is_read() {
        let bytes: &[u8] = b"B\x02\x00\x01\x00\x00\x00\x06\x00\x00\x00\x01\x00\x00\x00\x08\
            \x05\x01u\x00\x00\x00\x00\x09\x00\x00\x00\x01a\x00";
        let message = Message::decode(bytes).unwrap();
        assert_eq!((message.kind, message.reply_to), (REPLY, 9));
        assert_eq!(message.reader().text(), Some("a"));
    }
}
