//! PAX extended headers: `LENGTH KEY=VALUE\n` records that override the block's fields.

use super::{Moment, Segment};

/// The records of one extended header that mean something here.
#[derive(Debug, Clone, Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Moment>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Sparse,
}

/// GNU's sparse records, in all three versions.
#[derive(Debug, Clone, Default)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// The map of versions 0.0 and 0.1.
    pub(super) map: Option<Vec<Segment>>,
    pending_offset: Option<u64>,
}

impl Extensions {
    pub(super) fn parse(mut text: &[u8]) -> Result<Self, &'static str> {
        const BAD: &str = "its PAX header is not made of records";
        let mut found = Self::default();
        while !text.is_empty() {
            // Some writers pad with NUL.
            if text.iter().all(|b| *b == 0) {
                break;
            }
            let space = text.iter().take(20).position(|b| *b == b' ').ok_or(BAD)?;
            let length = decimal(&text[..space]).and_then(|n| usize::try_from(n).ok()).ok_or(BAD)?;
            if length <= space + 1 || length > text.len() || text[length - 1] != b'\n' {
                return Err(BAD);
            }
            let record = &text[space + 1..length - 1];
            let equals = record.iter().position(|b| *b == b'=').ok_or(BAD)?;
            found.take(&record[..equals], &record[equals + 1..])?;
            text = &text[length..];
        }
        Ok(found)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let number = || decimal(value).ok_or("a PAX number is not a number");
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            if name.is_empty() || name.contains(&0) {
                return Err("an extended attribute has no proper name");
            }
            self.xattrs.retain(|(known, _)| known != name);
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        // An empty value withdraws the record: the block's own field counts.
        let given = !value.is_empty();
        match key {
            b"path" => self.path = given.then(|| value.to_vec()),
            b"linkpath" => self.link = given.then(|| value.to_vec()),
            b"size" => self.size = given.then(number).transpose()?,
            b"uid" => self.uid = given.then(number).transpose()?,
            b"gid" => self.gid = given.then(number).transpose()?,
            b"mtime" => {
                self.mtime = given.then(|| moment(value).ok_or("a PAX time is not a time")).transpose()?;
            }
            b"GNU.sparse.major" => self.sparse.major = Some(number()?),
            b"GNU.sparse.name" => self.sparse.name = given.then(|| value.to_vec()),
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = Some(number()?),
            b"GNU.sparse.offset" => self.sparse.pending_offset = Some(number()?),
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.pending_offset.take().ok_or("its sparse map lacks an offset")?;
                let segment = Segment { offset, length: number()? };
                self.sparse.map.get_or_insert_default().push(segment);
            }
            b"GNU.sparse.map" => self.sparse.map = Some(map(value)?),
            _ => {}
        }
        Ok(())
    }
}

/// Version 0.1's map: `offset,length,offset,length…`.
fn map(value: &[u8]) -> Result<Vec<Segment>, &'static str> {
    const BAD: &str = "its sparse map is not made of pairs";
    let mut numbers = value.split(|b| *b == b',').map(decimal);
    let mut segments = Vec::new();
    while let Some(offset) = numbers.next() {
        let (Some(offset), Some(Some(length))) = (offset, numbers.next()) else { return Err(BAD) };
        segments.push(Segment { offset, length });
    }
    Ok(segments)
}

pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.iter().try_fold(0_u64, |value, digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

/// `[-]seconds[.fraction]`; digits beyond nanoseconds are cut.
fn moment(text: &[u8]) -> Option<Moment> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let point = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(decimal(&text[..point])?).ok()?;
    let fraction = text.get(point + 1..).unwrap_or_default();
    let mut nanoseconds = 0_u32;
    for i in 0..9 {
        let digit = fraction.get(i).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        nanoseconds = nanoseconds * 10 + u32::from(digit - b'0');
    }
    Some(match (negative, nanoseconds) {
        (false, _) => Moment { seconds, nanoseconds },
        (true, 0) => Moment { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Moment { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

/// Appends one record; its length counts its own digits.
pub(super) fn append_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}
