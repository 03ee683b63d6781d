//! Netlink's wire form: messages of a header, a fixed part and attributes, each aligned to four bytes.
//!
//! A [`Batch`] holds one or more requests that leave in one system call. Sequence numbers are filled in by the socket.

/// Request flags (`linux/netlink.h`).
pub(crate) const REQUEST: u16 = 0x1;
pub(crate) const ACK: u16 = 0x4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCLUSIVE: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;
/// Answer flags: the request is not repeated; attributes follow.
pub(crate) const CAPPED: u16 = 0x100;
pub(crate) const ACK_TLVS: u16 = 0x200;

pub(crate) const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

pub(crate) fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Requests for one send, each with a word of what it does for error texts.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Where each message starts, and what it does.
    pub(crate) messages: Vec<(usize, String)>,
    /// A closing message that the kernel never answers follows the one whose answer ends the exchange.
    pub(crate) is_transaction: bool,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends a request of type `kind`; `fill` writes its fixed part and attributes.
    pub(crate) fn push(
        &mut self,
        what: impl Into<String>,
        kind: u16,
        flags: u16,
        fill: impl FnOnce(&mut Message<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEADER]);
        fill(&mut Message { bytes: &mut self.bytes });
        let length = u32::try_from(self.bytes.len() - start).expect("a netlink message is far below 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 4..start + 6].copy_from_slice(&kind.to_ne_bytes());
        self.bytes[start + 6..start + 8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.resize(start + align(self.bytes.len() - start), 0);
        self.messages.push((start, what.into()));
    }

    /// Index of the message whose answer comes last.
    pub(crate) fn awaited(&self) -> usize {
        self.messages.len().saturating_sub(if self.is_transaction { 2 } else { 1 })
    }

    /// Sets flags of the message whose answer is awaited.
    pub(crate) fn flag_awaited(&mut self, flags: u16) {
        if let Some((start, _)) = self.messages.get(self.awaited()) {
            let at = start + 6;
            let old = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
            self.bytes[at..at + 2].copy_from_slice(&(old | flags).to_ne_bytes());
        }
    }

    pub(crate) fn set_sequence(&mut self, first: u32) {
        let mut sequence = first;
        for (start, _) in &self.messages {
            self.bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
            sequence = sequence.wrapping_add(1);
        }
    }
}

/// The inside of a message, or of a nested attribute, while it is written.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Message<'_> {
    /// Bytes without attribute header: the fixed part of a message. The length must be a multiple of four.
    pub(crate) fn fixed(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len().is_multiple_of(4), "fixed parts are aligned");
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).expect("an attribute is below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(align(self.bytes.len()), 0);
    }

    /// A string with its closing zero.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.bytes(kind, &bytes);
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A number in network byte order, as nfnetlink wants all of its numbers.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(crate) fn be64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Message<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; ATTRIBUTE_HEADER]);
        fill(&mut Message { bytes: self.bytes });
        let length = u16::try_from(self.bytes.len() - start).expect("a nested attribute is below 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
    }
}

/// The attributes of a received message; malformed rests end the iteration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes that follow a fixed part of `fixed` bytes.
    pub(crate) fn after(payload: &'a [u8], fixed: usize) -> Self {
        Self(payload.get(align(fixed)..).unwrap_or_default())
    }

    /// The value of the first attribute of this kind.
    pub(crate) fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        Iterator::find(&mut self, |(found, _)| *found == kind).map(|(_, value)| value)
    }

    pub(crate) fn nested(self, kind: u16) -> Self {
        Self(self.get(kind).unwrap_or_default())
    }

    pub(crate) fn u32(self, kind: u16) -> Option<u32> {
        self.get(kind)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }

    pub(crate) fn be32(self, kind: u16) -> Option<u32> {
        self.u32(kind).map(u32::from_be)
    }

    pub(crate) fn text(self, kind: u16) -> Option<String> {
        let bytes = self.get(kind)?;
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(*self.0.first_chunk()?));
        let kind = u16::from_ne_bytes(*self.0.get(2..)?.first_chunk()?) & TYPE_MASK;
        let value = self.0.get(ATTRIBUTE_HEADER..length)?;
        self.0 = self.0.get(align(length)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_attributes_are_aligned_and_counted() {
        let mut batch = Batch::new();
        batch.push("first", 16, ACK, |m| {
            m.fixed(&[0; 16]);
            m.text(3, "eth0");
            m.nest(18, |m| m.u8(1, 7));
        });
        batch.push("second", 20, 0, |m| m.fixed(&[0; 8]));
        batch.set_sequence(41);
        let first = &batch.bytes[..batch.messages[1].0];
        assert_eq!(first.len(), 16 + 16 + 12 + 12);
        assert_eq!(u32::from_ne_bytes(*first.first_chunk().unwrap()), 56);
        assert_eq!(&first[8..12], &41_u32.to_ne_bytes());
        let attributes = Attributes::after(&first[HEADER..], 16);
        assert_eq!(attributes.text(3).as_deref(), Some("eth0"));
        assert_eq!(attributes.nested(18).get(1), Some(&[7][..]));
    }

    #[test]
    fn a_torn_attribute_ends_the_reading() {
        let torn = [8, 0, 1, 0, 9, 9, 9, 9, 200, 0, 2, 0, 1];
        let kinds: Vec<_> = Attributes(&torn).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [1]);
        assert_eq!(Attributes(&[2, 0, 1, 0]).count(), 0);
        assert_eq!(Attributes(&[0, 0, 0]).count(), 0);
    }
}
