//! Binary messages: the names' service, and the frames between daemon and keeper.

use minke_dns::{View, fuzz};
use minke_keeper::protocol::{Decoder, Message};

/// A question from a container, and a server's answer to it: one byte of length, the question of that length, the answer.
pub fn dns(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (query, answer) = rest.split_at(rest.len().min(usize::from(*length)));
    for by_stream in [false, true] {
        if let Some(told) = fuzz::answer(&[], &View::default(), query, by_stream) {
            assert_eq!(told.get(..2), query.get(..2), "the answer has the question's id");
        }
    }
    if let Some(passed) = fuzz::believe(query, answer, 512) {
        assert!(passed.len() <= 512);
    }
}

/// The frames between daemon and keeper, cut anywhere: the first byte says into how long pieces.
pub fn frame(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let mut decoder = Decoder::new();
    for piece in rest.chunks(usize::from(*length).max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next_message::<Message>() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) if error.is_fatal() => return,
                Err(_) => {}
            }
        }
    }
}
