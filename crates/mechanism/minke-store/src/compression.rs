//! How a blob is compressed, told by its first bytes, and its decompression with a guard against bombs.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::layer::Limits;

/// xz and zstd may ask for as much memory as their author liked; this is what the strongest usual settings take.
const MEMORY_MAX: u64 = 256 << 20;
const INPUT_BUFFER: usize = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Compression {
    /// Tells the compression from a stream's first bytes (six are enough).
    #[must_use]
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A zstd frame, or one of the sixteen skippable ones.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            _ => Self::None,
        }
    }

    /// The media type of a layer compressed so.
    #[must_use]
    pub const fn layer_media_type(self) -> &'static str {
        use crate::document::media_type;
        match self {
            Self::None => media_type::OCI_LAYER,
            Self::Gzip => media_type::OCI_LAYER_GZIP,
            Self::Zstd => media_type::OCI_LAYER_ZSTD,
            // The specification has no types for these two; the name follows its pattern, and readers go by the bytes.
            Self::Xz => "application/vnd.oci.image.layer.v1.tar+xz",
            Self::Bzip2 => "application/vnd.oci.image.layer.v1.tar+bzip2",
        }
    }
}

/// A stream, decompressed if it was compressed.
pub struct Decoder<'a> {
    inner: Box<dyn Read + Send + 'a>,
    compression: Compression,
    taken: Arc<AtomicU64>,
    given: u64,
    limits: Limits,
}

impl std::fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("compression", &self.compression).finish_non_exhaustive()
    }
}

/// The announced kind of [`io::Error`] for input that unpacks to too much.
#[derive(Debug, thiserror::Error)]
#[error(
    "decompresses to more than {ratio} times its size ({given} bytes from {taken}): refused as a decompression bomb"
)]
pub struct Bomb {
    ratio: u64,
    given: u64,
    taken: u64,
}

impl<'a> Decoder<'a> {
    pub fn new(input: impl Read + Send + 'a, limits: Limits) -> io::Result<Self> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut input =
            BufReader::with_capacity(INPUT_BUFFER, Counted { inner: input, count: Arc::clone(&taken) });
        // A pipe may deliver the first bytes one at a time.
        let mut start = Vec::new();
        (&mut input).take(6).read_to_end(&mut start)?;
        let compression = Compression::detect(&start);
        let input = io::Cursor::new(start).chain(input);
        let inner: Box<dyn Read + Send + 'a> = match compression {
            Compression::None => Box::new(input),
            Compression::Gzip => Box::new(Members::<flate2::bufread::GzDecoder<_>, _>::new(input)),
            Compression::Zstd => Box::new(Members::<zstd::stream::read::Decoder<'static, _>, _>::new(input)),
            Compression::Xz => {
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(MEMORY_MAX, liblzma::stream::CONCATENATED)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            Compression::Bzip2 => Box::new(Members::<bzip2::bufread::BzDecoder<_>, _>::new(input)),
        };
        Ok(Self { inner, compression, taken, given: 0, limits })
    }

    #[must_use]
    pub const fn compression(&self) -> Compression {
        self.compression
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.given += got as u64;
        if self.compression != Compression::None && self.given > self.limits.ratio_floor {
            let taken = self.taken.load(Ordering::Relaxed).max(1);
            if self.given / taken > self.limits.ratio {
                let bomb = Bomb { ratio: self.limits.ratio, given: self.given, taken };
                return Err(io::Error::new(io::ErrorKind::QuotaExceeded, bomb));
            }
        }
        Ok(got)
    }
}

/// A decoder of one member of a compressed file.
trait Member<R>: Read + Sized {
    fn open(input: R) -> io::Result<Self>;
    fn close(self) -> R;
}

impl<R: BufRead> Member<R> for flate2::bufread::GzDecoder<R> {
    fn open(input: R) -> io::Result<Self> {
        Ok(Self::new(input))
    }
    fn close(self) -> R {
        self.into_inner()
    }
}

impl<R: BufRead> Member<R> for zstd::stream::read::Decoder<'static, R> {
    fn open(input: R) -> io::Result<Self> {
        Ok(Self::with_buffer(input)?.single_frame())
    }
    fn close(self) -> R {
        self.finish()
    }
}

impl<R: BufRead> Member<R> for bzip2::bufread::BzDecoder<R> {
    fn open(input: R) -> io::Result<Self> {
        Ok(Self::new(input))
    }
    fn close(self) -> R {
        self.into_inner()
    }
}

/// The members of a compressed file one after the other. Zeros behind the last are padding, which tar programs add.
struct Members<M, R> {
    member: Option<M>,
    waiting: Option<R>,
}

impl<M: Member<R>, R: BufRead> Members<M, R> {
    const fn new(input: R) -> Self {
        Self { member: None, waiting: Some(input) }
    }

    /// Opens the next member; `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(input) = &mut self.waiting else { return Ok(true) };
        let padded = loop {
            let bytes = match input.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            let zeros = bytes.iter().take_while(|b| **b == 0).count();
            if bytes.is_empty() {
                return Ok(false);
            }
            if zeros < bytes.len() {
                break zeros > 0;
            }
            input.consume(zeros);
        };
        if padded {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "data behind the padding of a compressed file",
            ));
        }
        self.member = self.waiting.take().map(M::open).transpose()?;
        Ok(true)
    }
}

impl<M: Member<R>, R: BufRead> Read for Members<M, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.advance()? {
            let Some(member) = &mut self.member else { break };
            let got = member.read(buffer)?;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            self.waiting = self.member.take().map(M::close);
        }
        Ok(0)
    }
}

struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.count.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(bytes: &[u8], limits: Limits) -> io::Result<(Compression, Vec<u8>)> {
        let mut decoder = Decoder::new(bytes, limits)?;
        let mut out = Vec::new();
        decoder.read_to_end(&mut out)?;
        Ok((decoder.compression(), out))
    }

    #[test]
    fn every_compression_is_told_by_its_first_bytes_and_members_are_joined() {
        let text = b"layers upon layers ".repeat(500);
        let twice = text.repeat(2);
        let check = |member: Vec<u8>, compression| {
            let (found, out) = decode(&member.repeat(2), Limits::default()).unwrap();
            assert_eq!(found, compression);
            assert!(out == twice, "{compression:?}");
            if compression != Compression::None {
                let padded = [&member[..], &[0; 1000]].concat();
                assert!(decode(&padded, Limits::default()).unwrap().1 == text, "{compression:?} padded");
                let followed = [&member[..], &[0; 1000], &[1]].concat();
                assert!(decode(&followed, Limits::default()).is_err(), "{compression:?} followed by junk");
            }
        };
        check(gzip(&text), Compression::Gzip);
        check(zstd::encode_all(&text[..], 1).unwrap(), Compression::Zstd);
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).unwrap();
        check(xz.finish().unwrap(), Compression::Xz);
        let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bz.write_all(&text).unwrap();
        check(bz.finish().unwrap(), Compression::Bzip2);
        check(text.clone(), Compression::None);
    }

    #[test]
    fn a_bomb_is_refused_once_it_passed_the_floor() {
        let bomb = gzip(&vec![0; 4 << 20]);
        let limits = Limits { ratio_floor: 1 << 20, ratio: 20, ..Limits::default() };
        let error = decode(&bomb, limits).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("decompression bomb"), "{error}");
        assert!(decode(&bomb, Limits::default()).is_ok(), "small zeros are no bomb");
    }

    #[test]
    fn a_cut_off_stream_is_an_error_in_every_compression() {
        let text = b"0123456789".repeat(50_000);
        for whole in [gzip(&text), zstd::encode_all(&text[..], 1).unwrap()] {
            assert!(decode(&whole[..whole.len() / 2], Limits::default()).is_err());
        }
    }
}
