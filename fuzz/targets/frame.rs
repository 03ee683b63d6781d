//! The frames between daemon and keeper, cut anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minke_keeper::protocol::{Decoder, Message};

fuzz_target!(|pieces: Vec<&[u8]>| {
    let mut decoder = Decoder::new();
    for piece in pieces {
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
});
