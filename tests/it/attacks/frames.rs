//! HTTP/2 by hand, against the gRPC listener: what it says that it allows, and what becomes of those who do more.
//!
//! Every attack has its own connection; meanwhile another caller goes on, on one that was there before.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use verigate::proto::verification::v1::ListVerificationsRequest;

use crate::support::gateway::{CONFIG, Gateway, Verifications};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it came (RFC 9113 §4.1).
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A connection on which everything can be said.
struct Peer(TcpStream);

// === impl Peer ===

impl Peer {
    /// Says what a connection begins with, and hears the same.
    async fn connect(gateway: &Gateway) -> (Self, Frame) {
        let mut peer = Self(TcpStream::connect(gateway.grpc()).await.unwrap());
        peer.0.write_all(PREFACE).await.unwrap();
        peer.send(SETTINGS, 0, 0, &[]).await;
        let settings = peer.next().await.unwrap();
        peer.send(SETTINGS, ACK, 0, &[]).await;
        (peer, settings)
    }

    /// What is no longer wanted is no fault.
    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.0.write_all(&frame(kind, flags, stream, payload)).await.is_ok()
    }

    /// `None` once the other end has hung up.
    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Everything until the answer to a ping, or the end.
    async fn until_pong(&mut self) -> Vec<Frame> {
        self.send(PING, 0, 0, b"are you?").await;
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            if frame.kind == PING && frame.flags == ACK {
                break;
            }
            frames.push(frame);
        }
        frames
    }

    /// Everything until the other end hangs up.
    async fn until_the_end(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

// === impl Frame ===

impl Frame {
    /// The last number of the payload of RST_STREAM, or of GOAWAY without more data.
    fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    fn settings(&self) -> Vec<(u16, u32)> {
        let setting = |part: &[u8]| {
            (u16::from_be_bytes([part[0], part[1]]), u32::from_be_bytes([part[2], part[3], part[4], part[5]]))
        };
        self.payload.chunks(6).map(setting).collect()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header as a literal without index, its name and value of fewer than 127 bytes each (RFC 7541 §6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// The headers of a call, which has no credentials, as nobody needs any to get this far.
fn call_headers() -> Vec<u8> {
    let path = "/verigate.verification.v1.VerificationService/ListVerifications";
    let mut headers = vec![0x83, 0x86];
    headers.extend(literal(":path", path));
    headers.extend(literal(":authority", "localhost"));
    headers.extend(literal("content-type", "application/grpc"));
    headers.extend(literal("te", "trailers"));
    headers
}

async fn start() -> (Gateway, Verifications) {
    let gateway = Gateway::start_with(CONFIG).await;
    let other = gateway.verifications().await;
    (gateway, other)
}

/// Another caller is served as if nothing was.
async fn assert_unharmed(other: &mut Verifications) {
    for _ in 0..10 {
        other.list_verifications(ListVerificationsRequest::default()).await.unwrap();
    }
}

fn calm(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| frame.kind == GOAWAY && frame.error() == ENHANCE_YOUR_CALM)
}

#[tokio::test]
async fn the_limits_are_told_before_anything_else() {
    let (gateway, _) = start().await;
    let (_peer, settings) = Peer::connect(&gateway).await;
    assert_eq!((settings.kind, settings.flags, settings.stream), (SETTINGS, 0, 0));
    let told = settings.settings();
    // SETTINGS_MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE and _MAX_HEADER_LIST_SIZE (RFC 9113 §6.5.2).
    for setting in [(3, 256), (4, 65_536), (6, 16_384)] {
        assert!(told.contains(&setting), "{told:?}");
    }
}

#[tokio::test]
async fn streams_above_the_limit_are_refused() {
    let (gateway, mut other) = start().await;
    // A key, so that the calls wait for their messages.
    let mut headers = call_headers();
    headers.extend(literal("authorization", "Bearer acme.acme-secret-of-some-length"));
    let (mut peer, _) = Peer::connect(&gateway).await;
    for call in 0..300 {
        assert!(peer.send(HEADERS, END_HEADERS, 1 + 2 * call, &headers).await);
    }
    let frames = peer.until_pong().await;
    let refused: Vec<_> = frames.iter().filter(|frame| frame.kind == RST_STREAM).collect();
    assert_eq!(refused.len(), 44, "{frames:?}");
    assert!(refused.iter().all(|frame| frame.error() == REFUSED_STREAM && frame.stream > 2 * 256), "{refused:?}");
    assert_unharmed(&mut other).await;
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let (gateway, mut other) = start().await;
    let (mut peer, _) = Peer::connect(&gateway).await;
    let mut said = 0;
    let headers = call_headers();
    for call in 0..20_000 {
        let stream = 1 + 2 * call;
        let mut both = frame(HEADERS, END_HEADERS, stream, &headers);
        both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        if peer.0.write_all(&both).await.is_err() {
            break;
        }
        said += 1;
    }
    let frames = peer.until_the_end().await;
    assert!(calm(&frames) || said < 20_000, "{said} {:?}", frames.last());
    assert_unharmed(&mut other).await;
}

#[tokio::test]
async fn streams_that_we_have_to_reset_end_the_connection() {
    let (gateway, mut other) = start().await;
    let (mut peer, _) = Peer::connect(&gateway).await;
    let headers = call_headers();
    let mut said = 0;
    // A window that would grow by nothing is a fault that we answer with a reset (CVE-2025-8671).
    for call in 0..20_000 {
        let stream = 1 + 2 * call;
        let mut both = frame(HEADERS, END_HEADERS, stream, &headers);
        both.extend(frame(8, 0, stream, &0_u32.to_be_bytes()));
        if peer.0.write_all(&both).await.is_err() {
            break;
        }
        said += 1;
    }
    let frames = peer.until_the_end().await;
    assert!(calm(&frames) || said < 20_000, "{said} {:?}", frames.last());
    assert_unharmed(&mut other).await;
}

/// Whoever is refused before their message came has done nothing wrong by sending it, however often: their connection may
/// be a proxy's, with everybody else's calls on it.
#[tokio::test]
async fn messages_of_calls_that_were_refused_already_harm_no_connection() {
    let (gateway, _) = start().await;
    let (mut peer, _) = Peer::connect(&gateway).await;
    let headers = call_headers();
    for round in 0..4 {
        // Many at once, for what arrives late on the last few streams is forgiven anyway.
        let streams: Vec<_> = (0..200).map(|call| 1 + 2 * (round * 200 + call)).collect();
        let calls: Vec<_> = streams.iter().flat_map(|stream| frame(HEADERS, END_HEADERS, *stream, &headers)).collect();
        peer.0.write_all(&calls).await.unwrap();
        let mut refused = 0;
        while refused < streams.len() {
            let frame = peer.next().await.expect("the connection is open");
            assert_ne!(frame.kind, GOAWAY, "round {round}: {frame:?}");
            refused += usize::from(frame.kind == HEADERS && frame.flags & END_STREAM != 0);
        }
        let messages: Vec<_> = streams.iter().flat_map(|stream| frame(DATA, END_STREAM, *stream, &[0; 5])).collect();
        peer.0.write_all(&messages).await.unwrap();
    }
    assert!(!calm(&peer.until_pong().await));
}

#[tokio::test]
async fn headers_above_the_limit_are_not_kept() {
    let (gateway, mut other) = start().await;
    let value = "x".repeat(100);
    // 20,000 bytes of headers, in two frames.
    let mut headers = call_headers();
    let full: Vec<u8> = (0..160).flat_map(|number| literal(&format!("x-{number}"), &value)).collect();
    let (mut peer, _) = Peer::connect(&gateway).await;
    headers.extend(&full[..8_000]);
    peer.send(HEADERS, END_STREAM, 1, &headers).await;
    peer.send(CONTINUATION, END_HEADERS, 1, &full[8_000..]).await;
    let frames = peer.until_pong().await;
    // Status 431, or no word at all: but the call is not begun.
    let answered = frames.iter().find(|frame| frame.stream == 1);
    assert!(answered.is_none_or(|frame| frame.kind == RST_STREAM || frame.flags & END_STREAM != 0), "{frames:?}");
    assert!(!frames.iter().any(|frame| frame.kind == DATA), "{frames:?}");
    assert_unharmed(&mut other).await;
}

#[tokio::test]
async fn headers_without_end_end_the_connection() {
    let (gateway, mut other) = start().await;
    let (mut peer, _) = Peer::connect(&gateway).await;
    let block: Vec<u8> = (0..150).flat_map(|number| literal(&format!("x-{number}"), &"x".repeat(90))).collect();
    assert!(peer.send(HEADERS, 0, 1, &call_headers()).await);
    let mut said = 0;
    while said < 10_000 && peer.send(CONTINUATION, 0, 1, &block).await {
        said += 1;
    }
    // 150 MB would have been taken.
    assert!(said < 10_000);
    assert_unharmed(&mut other).await;
}

#[tokio::test]
async fn what_is_no_http_ends_the_connection() {
    let (gateway, mut other) = start().await;
    for wrong in [
        frame(HEADERS, END_HEADERS, 2, &call_headers()),
        frame(HEADERS, END_HEADERS, 1, &[0xff; 40]),
        frame(DATA, 0, 1, b"before any headers"),
        frame(PING, 0, 0, b"short"),
        frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        [vec![0xff, 0xff, 0xff, DATA, 0], 1_u32.to_be_bytes().to_vec()].concat(),
    ] {
        let (mut peer, _) = Peer::connect(&gateway).await;
        drop(peer.0.write_all(&wrong).await);
        drop(peer.until_the_end().await);
        assert_unharmed(&mut other).await;
    }
    let mut stream = TcpStream::connect(gateway.grpc()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    assert_unharmed(&mut other).await;
}
