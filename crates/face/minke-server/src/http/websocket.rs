//! The server's side of RFC 6455, as much as `attach/ws` needs: binary messages out, messages of any kind in.
//!
//! A shuttle between the client's socket and one end of a socket pair whose other end the keeper holds, so the keeper need
//! not know what a websocket is. Lives in the daemon: unlike other attached clients a websocket ends with it.

use std::io;

use base64::Engine as _;
use bytes::{Buf, BytesMut};
use minke_api::framing;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

/// Messages from a client are keystrokes and pasted text; longer ones are an attack or a mistake.
const MAX_MESSAGE: usize = 16 << 20;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The answer to `Sec-WebSocket-Key`.
pub(crate) fn accept_key(key: &str) -> String {
    let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    base64::engine::general_purpose::STANDARD.encode(digest)
}

/// One frame from a client.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    opcode: u8,
    payload: Vec<u8>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum FrameError {
    #[error("a client's frame is not masked")]
    Unmasked,
    #[error("a frame of {0} bytes is longer than the {MAX_MESSAGE} that are taken")]
    TooLong(u64),
    #[error("unknown kind of frame {0}")]
    UnknownOpcode(u8),
    #[error("a control frame is too long or in pieces")]
    BadControl,
}

/// Takes one whole frame from the front of the buffer, if it has arrived.
fn take_frame(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let [first, second, ..] = buffer[..] else { return Ok(None) };
    let opcode = first & 0x0f;
    if !matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
        return Err(FrameError::UnknownOpcode(opcode));
    }
    if second & 0x80 == 0 {
        return Err(FrameError::Unmasked);
    }
    let (len, head) = match second & 0x7f {
        126 => match buffer.get(2..4) {
            Some(bytes) => (bytes.iter().fold(0, |len, byte| len << 8 | u64::from(*byte)), 4),
            None => return Ok(None),
        },
        127 => match buffer.get(2..10) {
            Some(bytes) => (bytes.iter().fold(0, |len, byte| len << 8 | u64::from(*byte)), 10),
            None => return Ok(None),
        },
        len => (u64::from(len), 2),
    };
    if opcode >= CLOSE && (len > 125 || first & 0x80 == 0) {
        return Err(FrameError::BadControl);
    }
    let len = usize::try_from(len).ok().filter(|len| *len <= MAX_MESSAGE).ok_or(FrameError::TooLong(len))?;
    if buffer.len() < head + 4 + len {
        return Ok(None);
    }
    buffer.advance(head);
    let mask = buffer.split_to(4);
    let payload =
        buffer.split_to(len).iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Ok(Some(Frame { opcode, payload }))
}

fn put_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..126 => out.push(u8::try_from(len).unwrap_or(0)),
        len @ 126..65536 => {
            out.push(126);
            out.extend_from_slice(&u16::try_from(len).unwrap_or(0).to_be_bytes());
        }
        len => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Carries bytes both ways until the engine's side ends or the client leaves. `framed`: the engine's side sends stdcopy frames,
/// of which the client gets the payloads.
pub(crate) async fn shuttle<S>(client: S, early: Vec<u8>, engine: UnixStream, framed: bool) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_engine, mut to_engine) = engine.into_split();
    let (pong, mut pongs) = tokio::sync::mpsc::channel::<Vec<u8>>(4);

    let inbound = async {
        let mut buffer = BytesMut::from(&early[..]);
        loop {
            while let Some(frame) = take_frame(&mut buffer).map_err(io::Error::other)? {
                match frame.opcode {
                    CLOSE => return Ok::<_, io::Error>(()),
                    PING => {
                        if pong.try_send(frame.payload).is_err() {
                            tracing::debug!(
                                "websocket client pings faster than it reads; a pong was left out"
                            );
                        }
                    }
                    PONG => {}
                    _ => to_engine.write_all(&frame.payload).await?,
                }
            }
            if from_client.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    };
    let outbound = async {
        let mut decoder = framing::Decoder::default();
        let mut bytes = vec![0; 32 << 10];
        let mut out = Vec::new();
        loop {
            tokio::select! {
                Some(payload) = pongs.recv() => put_frame(PONG, &payload, &mut out),
                read = from_engine.read(&mut bytes) => {
                    let read = read?;
                    if read == 0 {
                        put_frame(CLOSE, &1000u16.to_be_bytes(), &mut out);
                        to_client.write_all(&out).await?;
                        return to_client.shutdown().await;
                    }
                    if framed {
                        decoder.push(&bytes[..read]);
                        while let Some((_, payload)) = decoder.next_frame().map_err(io::Error::other)? {
                            put_frame(BINARY, payload, &mut out);
                        }
                    } else {
                        put_frame(BINARY, &bytes[..read], &mut out);
                    }
                }
            }
            to_client.write_all(&out).await?;
            out.clear();
        }
    };
    tokio::select! {
        result = inbound => result,
        result = outbound => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = Vec::new();
        put_frame(opcode, payload, &mut frame);
        let head = frame.len() - payload.len();
        frame[1] |= 0x80;
        let body: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        frame.truncate(head);
        frame.extend_from_slice(&mask);
        frame.extend_from_slice(&body);
        frame
    }

    #[test]
    fn the_handshake_key_is_the_rfc_s() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_of_every_length_come_back() {
        for len in [0, 1, 125, 126, 65535, 65536] {
            let payload = vec![7; len];
            let wire = masked(BINARY, &payload);
            let mut buffer = BytesMut::from(&wire[..wire.len() - usize::from(len > 0)]);
            if len > 0 {
                assert_eq!(take_frame(&mut buffer), Ok(None));
                buffer.extend_from_slice(&wire[wire.len() - 1..]);
            }
            assert_eq!(take_frame(&mut buffer), Ok(Some(Frame { opcode: BINARY, payload })));
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_client_that_does_not_mask_is_refused() {
        let mut wire = Vec::new();
        put_frame(BINARY, b"x", &mut wire);
        assert_eq!(take_frame(&mut BytesMut::from(&wire[..])), Err(FrameError::Unmasked));
    }

    #[test]
    fn an_absurd_length_asks_for_no_memory() {
        let mut wire = BytesMut::from(&[0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0][..]);
        assert!(matches!(take_frame(&mut wire), Err(FrameError::TooLong(_))));
    }

    #[tokio::test]
    async fn the_shuttle_unpacks_both_ways() {
        let (client, server) = UnixStream::pair().unwrap();
        let (engine, keeper) = UnixStream::pair().unwrap();
        let task = tokio::spawn(shuttle(server, masked(TEXT, b"ty"), engine, true));
        let (mut read, mut write) = client.into_split();
        write.write_all(&masked(BINARY, b"ped")).await.unwrap();
        let mut keeper = keeper;
        let mut typed = [0; 5];
        keeper.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"typed");
        let mut wire = Vec::new();
        framing::encode(framing::Stream::Stdout, b"out", &mut wire);
        keeper.write_all(&wire).await.unwrap();
        drop(keeper);
        let mut got = Vec::new();
        read.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"\x82\x03out\x88\x02\x03\xe8");
        task.await.unwrap().unwrap();
    }
}
