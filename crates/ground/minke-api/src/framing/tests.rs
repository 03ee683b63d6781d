use proptest::prelude::*;

use super::*;

#[test]
fn a_frame_has_docker_s_header() {
    let mut out = Vec::new();
    encode(Stream::Stderr, b"oops\n", &mut out);
    assert_eq!(out, b"\x02\0\0\0\0\0\0\x05oops\n");
}

#[test]
fn an_empty_payload_is_still_a_frame() {
    let mut out = Vec::new();
    encode(Stream::Stdin, b"", &mut out);
    let mut decoder = Decoder::default();
    decoder.push(&out);
    assert_eq!(decoder.next_frame(), Ok(Some((Stream::Stdin, &b""[..]))));
    assert!(decoder.is_empty());
}

#[test]
fn an_unknown_stream_is_an_error() {
    let mut decoder = Decoder::default();
    decoder.push(b"HTTP/1.1 500");
    assert_eq!(decoder.next_frame(), Err(FramingError::UnknownStream(b'H')));
}

#[test]
fn a_corrupt_length_asks_for_no_memory() {
    let mut decoder = Decoder::default();
    decoder.push(b"\x01\0\0\0\xff\xff\xff\xff");
    assert_eq!(decoder.next_frame(), Err(FramingError::TooLong(0xffff_ffff)));
}

proptest! {
    #[test]
    fn frames_survive_any_split(
        frames in proptest::collection::vec((0u8..5, proptest::collection::vec(any::<u8>(), 0..300)), 0..20),
        cuts in proptest::collection::vec(1usize..50, 1..40),
    ) {
        let mut wire = Vec::new();
        for (stream, payload) in &frames {
            encode(Stream::try_from(*stream).unwrap(), payload, &mut wire);
        }
        let mut decoder = Decoder::default();
        let mut got = Vec::new();
        let mut rest = &wire[..];
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            decoder.push(piece);
            rest = tail;
            while let Some((stream, payload)) = decoder.next_frame().unwrap() {
                got.push((stream as u8, payload.to_vec()));
            }
        }
        prop_assert_eq!(got, frames);
        prop_assert!(decoder.is_empty());
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_frame() {}
    }
}
