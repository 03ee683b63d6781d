//! Questions as they come, answers as they go, in the wire's own bytes.
//!
//! Written by hand, because this is the way of every look-up: a question is read in place and its answer written into the
//! buffer that is sent, without an allocation. A whole message library takes several times as long for the same (figures in
//! `examples/flood.rs`); it is what the tests compare with. Names stay in wire form, lower case, without the root's zero.

use std::net::IpAddr;

/// Bytes before the question.
pub(crate) const HEADER: usize = 12;
/// Most bytes of a datagram whose asker has not said more.
pub(crate) const PLAIN: usize = 512;
/// Longest message over a stream.
pub(crate) const LONGEST: usize = 65_535;
/// Longest name in wire form, the root's zero included.
pub(crate) const NAME: usize = 255;
const LABEL: usize = 63;
/// What we say we take in a datagram: no fragments on usual links.
const OUR_SIZE: u16 = 1232;
/// How long answers may be kept, in seconds: Docker's.
const TTL: u32 = 600;

/// Types of records that mean something here.
pub(crate) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const ANY: u16 = 255;
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
}

/// What is wrong with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not even that: no answer.
    Silent,
    /// Answered with this code, and nothing else of it.
    Answer(Code),
}

/// A name as a key: lower case.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    bytes: [u8; NAME],
    length: u8,
}

impl Name {
    /// The labels, without the root's zero.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Reads `a.b.c`, with or without a dot at the end; `None` when that is no name.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut name = Self { bytes: [0; NAME], length: 0 };
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            let start = usize::from(name.length);
            let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
            // The root's zero must have room too.
            if start + label.len() + 2 > NAME {
                return None;
            }
            name.bytes[start] = length;
            name.bytes[start + 1..=start + label.len()].copy_from_slice(label.as_bytes());
            name.bytes[start + 1..=start + label.len()].make_ascii_lowercase();
            name.length += length + 1;
        }
        Some(name)
    }

    /// How many labels it has.
    pub(crate) fn labels(&self) -> usize {
        self.starts().1
    }

    /// Where each label begins, as many as the second value says: a name has 127 at most.
    fn starts(&self) -> ([u8; 128], usize) {
        let (mut starts, mut count, mut at) = ([0; 128], 0, 0);
        while let Some(length) = self.as_bytes().get(usize::from(at)) {
            starts[count] = at;
            count += 1;
            at += length + 1;
        }
        (starts, count)
    }

    /// Every way to part it before a label other than the first, the shortest end first: `a.b` and `c`, `a` and `b.c`.
    pub(crate) fn splits(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (starts, count) = self.starts();
        (1..count).rev().map(move |index| self.as_bytes().split_at(usize::from(starts[index])))
    }

    /// The address that a reverse name (`4.3.2.1.in-addr.arpa`) means.
    pub(crate) fn reverse(&self) -> Option<IpAddr> {
        const V4: &[u8] = b"\x07in-addr\x04arpa";
        const V6: &[u8] = b"\x03ip6\x04arpa";
        if let Some(labels) = self.as_bytes().strip_suffix(V4) {
            let mut octets = [0_u8; 4];
            let mut rest = labels;
            for octet in octets.iter_mut().rev() {
                let (length, tail) = rest.split_first()?;
                let (digits, tail) = tail.split_at_checked(usize::from(*length))?;
                *octet = std::str::from_utf8(digits).ok()?.parse().ok()?;
                rest = tail;
            }
            return rest.is_empty().then(|| IpAddr::from(octets));
        }
        let labels = self.as_bytes().strip_suffix(V6)?;
        if labels.len() != 64 {
            return None;
        }
        let mut octets = [0_u8; 16];
        let (nibbles, _) = labels.as_chunks::<2>();
        for (index, [length, digit]) in nibbles.iter().rev().enumerate() {
            let value = char::from(*digit).to_digit(16).filter(|_| *length == 1)?;
            let value = u8::try_from(value).ok()?;
            octets[index / 2] |= if index % 2 == 0 { value << 4 } else { value };
        }
        Some(IpAddr::from(octets))
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes().escape_ascii().fmt(formatter)
    }
}

/// A question, read in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'bytes> {
    /// The whole message.
    pub(crate) bytes: &'bytes [u8],
    pub(crate) name: Name,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    /// Where the question section ends.
    pub(crate) end: usize,
    /// The size of datagram its asker takes, when it speaks EDNS.
    pub(crate) edns: Option<u16>,
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

/// The id of a message.
pub(crate) fn id(bytes: &[u8]) -> Option<u16> {
    number(bytes, 0)
}

/// Gives a message another id.
pub(crate) fn set_id(bytes: &mut [u8], id: u16) {
    if let Some(slot) = bytes.first_chunk_mut::<2>() {
        *slot = id.to_be_bytes();
    }
}

/// Reads the name of a question, which nothing stands before that it could point to.
fn read_name(bytes: &[u8], mut at: usize) -> Option<(Name, usize)> {
    let mut name = Name { bytes: [0; NAME], length: 0 };
    loop {
        let length = *bytes.get(at)?;
        if length == 0 {
            return Some((name, at + 1));
        }
        let label = bytes.get(at..=at + usize::from(length))?;
        let start = usize::from(name.length);
        if usize::from(length) > LABEL || start + label.len() + 1 > NAME {
            return None;
        }
        let slot = &mut name.bytes[start..start + label.len()];
        slot.copy_from_slice(label);
        // A length is never a capital letter: those begin at 65.
        slot.make_ascii_lowercase();
        name.length += length + 1;
        at += label.len();
    }
}

/// Where a name ends that may be compressed. Pointers are not followed.
fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length if usize::from(length) <= LABEL => at += usize::from(length) + 1,
            _ => return None,
        }
    }
}

/// Finds the OPT record behind the question.
fn read_edns(bytes: &[u8], mut at: usize, records: usize) -> Option<Option<u16>> {
    let mut edns = None;
    for _ in 0..records {
        let start = at;
        at = skip_name(bytes, at)?;
        let (kind, class) = (number(bytes, at)?, number(bytes, at + 2)?);
        at += 10 + usize::from(number(bytes, at + 8)?);
        if at > bytes.len() {
            return None;
        }
        if kind == kind::OPT && bytes[start] == 0 {
            edns = Some(class);
        }
    }
    Some(edns)
}

impl<'bytes> Question<'bytes> {
    /// Reads a message that should be a question.
    pub(crate) fn read(bytes: &'bytes [u8]) -> Result<Self, Fault> {
        if bytes.len() < HEADER || bytes[2] & 0x80 != 0 {
            return Err(Fault::Silent);
        }
        if bytes[2] >> 3 != 0 {
            return Err(Fault::Answer(Code::NotImp));
        }
        let count = |at| number(bytes, at).map_or(0, usize::from);
        let records = count(6) + count(8) + count(10);
        // As many as any real question has.
        if count(4) != 1 || records > 4 {
            return Err(Fault::Answer(Code::FormErr));
        }
        let malformed = Fault::Answer(Code::FormErr);
        let (name, at) = read_name(bytes, HEADER).ok_or(malformed)?;
        let (kind, class) = number(bytes, at).zip(number(bytes, at + 2)).ok_or(malformed)?;
        let edns = read_edns(bytes, at + 4, records).ok_or(malformed)?;
        Ok(Self { bytes, name, kind, class, end: at + 4, edns })
    }

    /// The longest datagram its asker takes.
    pub(crate) fn limit(&self) -> usize {
        self.edns.map_or(PLAIN, |size| usize::from(size).max(PLAIN))
    }

    /// Whether this answer is to this question: the same name, type and class. An error may come without the question.
    pub(crate) fn is_answered_by(&self, answer: &[u8], id: u16) -> bool {
        let Some(header) = answer.first_chunk::<HEADER>() else { return false };
        let is_answer = header[2] & 0x80 != 0 && header[2] >> 3 & 0xf == 0;
        if !is_answer || self::id(answer) != Some(id) {
            return false;
        }
        match number(answer, 4) {
            Some(1) => {
                let Some((name, at)) = read_name(answer, HEADER) else { return false };
                name.as_bytes() == self.name.as_bytes()
                    && number(answer, at) == Some(self.kind)
                    && number(answer, at + 2) == Some(self.class)
            }
            Some(0) => header[3] & 0xf != 0,
            _ => false,
        }
    }
}

/// The code an answer ends with.
pub(crate) fn code(answer: &[u8]) -> u8 {
    answer.get(3).map_or(0, |flags| flags & 0xf)
}

/// Whether an answer says that there is more than it holds.
pub(crate) fn is_truncated(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// Cuts an answer that is longer than its asker takes down to header and question, and says so in it.
pub(crate) fn truncate(answer: &mut Vec<u8>, limit: usize) {
    if answer.len() <= limit {
        return;
    }
    let question = number(answer, 4) == Some(1);
    let end = question.then(|| read_name(answer, HEADER)).flatten().map_or(HEADER, |(_, at)| at + 4);
    answer.truncate(end);
    if let Some(header) = answer.first_chunk_mut::<HEADER>() {
        header[2] |= 0x02;
        header[5] = u8::from(end > HEADER);
        header[6..].fill(0);
    }
}

/// An answer being written into a buffer of at least [`PLAIN`] bytes; it is never longer than its limit.
#[derive(Debug)]
pub(crate) struct Answer<'buffer> {
    buffer: &'buffer mut [u8],
    length: usize,
    limit: usize,
    records: u16,
    full: bool,
    edns: bool,
}

const OPT_LENGTH: usize = 11;

impl<'buffer> Answer<'buffer> {
    /// Begins the answer to a question: its header and itself. `limit` is the longest its asker takes.
    pub(crate) fn to(question: &Question<'_>, buffer: &'buffer mut [u8], limit: usize) -> Self {
        let limit = limit.min(buffer.len());
        let edns = question.edns.is_some();
        buffer[..question.end].copy_from_slice(&question.bytes[..question.end]);
        // Recursion is desired and checking disabled as in the question; recursion is there.
        buffer[2] = 0x80 | question.bytes[2] & 0x01;
        buffer[3] = 0x80 | question.bytes[3] & 0x10;
        buffer[4..HEADER].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        let limit = if edns { limit - OPT_LENGTH } else { limit };
        Self { buffer, length: question.end, limit, records: 0, full: false, edns }
    }

    fn record(&mut self, kind: u16, data: &[u8]) {
        let end = self.length + 12 + data.len();
        if self.full || end > self.limit || self.records == u16::MAX {
            self.full = true;
            return;
        }
        let slot = &mut self.buffer[self.length..end];
        // The name is the question's.
        slot[..2].copy_from_slice(&[0xc0, 12]);
        slot[2..4].copy_from_slice(&kind.to_be_bytes());
        slot[4..6].copy_from_slice(&[0, 1]);
        slot[6..10].copy_from_slice(&TTL.to_be_bytes());
        slot[10..12].copy_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
        slot[12..].copy_from_slice(data);
        self.length = end;
        self.records += 1;
    }

    /// Adds an address.
    pub(crate) fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.record(kind::A, &v4.octets()),
            IpAddr::V6(v6) => self.record(kind::AAAA, &v6.octets()),
        }
    }

    /// Adds the name of an address, in wire form with the root's zero.
    pub(crate) fn pointer(&mut self, name: &[u8]) {
        self.record(kind::PTR, name);
    }

    /// Whether nothing more fits.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Ends the answer and gives its length.
    pub(crate) fn finish(mut self, code: Code) -> usize {
        self.buffer[3] |= code as u8;
        if self.full {
            self.buffer[2] |= 0x02;
        }
        self.buffer[6..8].copy_from_slice(&self.records.to_be_bytes());
        if self.edns {
            let [high, low] = OUR_SIZE.to_be_bytes();
            let record = [0, 0, 41, high, low, 0, 0, 0, 0, 0, 0];
            self.buffer[self.length..self.length + OPT_LENGTH].copy_from_slice(&record);
            self.buffer[11] = 1;
            self.length += OPT_LENGTH;
        }
        self.length
    }
}

/// Answers what is no question with a code alone; gives the length.
pub(crate) fn answer_fault(bytes: &[u8], buffer: &mut [u8], code: Code) -> usize {
    let Some((header, slot)) = bytes.first_chunk::<HEADER>().zip(buffer.first_chunk_mut::<HEADER>()) else {
        return 0;
    };
    *slot = [header[0], header[1], 0x80 | header[2] & 0x79, 0x80 | code as u8, 0, 0, 0, 0, 0, 0, 0, 0];
    HEADER
}
