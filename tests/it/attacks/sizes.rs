//! Requests that are too large, too deep, or grow when they are unpacked: refused, on every surface, while others are
//! served.

use std::net::SocketAddr;

use http::Request;
use prost::Message;
use prost::bytes::Bytes;
use tokio::net::TcpStream;
use tonic::Code;
use verigate::proto::verification::v1::{ListVerificationsRequest, StartVerificationRequest};

use crate::attacks::everywhere::{client, surfaces};
use crate::attacks::surfaces::{Client, Surface, house};
use crate::support::gateway::{Gateway, PHONE, start};
use crate::support::http as by_hand;

const KEY: &str = "acme.acme-secret-of-some-length";

/// What the server makes of bytes that stand for a message: the gRPC status.
async fn sent(address: SocketAddr, encoding: Option<&str>, key: &str, body: Vec<u8>) -> Option<String> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let path = "/verigate.verification.v1.VerificationService/StartVerification";
    let mut request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {key}"));
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let (answer, mut stream) = client.send_request(request.body(()).unwrap(), false).unwrap();
    // The server may have enough before it has seen all.
    drop(stream.send_data(Bytes::from(body), true));
    let mut answer = answer.await.ok()?;
    if let Some(status) = answer.headers().get("grpc-status") {
        return Some(status.to_str().unwrap().to_owned());
    }
    while let Some(Ok(data)) = answer.body_mut().data().await {
        answer.body_mut().flow_control().release_capacity(data.len()).unwrap();
    }
    let trailers = answer.body_mut().trailers().await.ok()??;
    Some(trailers["grpc-status"].to_str().unwrap().to_owned())
}

/// A message with its prefix, which says whether it is compressed, and how long it is.
fn framed(compressed: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[compressed], &length[..], message].concat()
}

/// Clients of every surface over HTTP.
async fn clients(gateway: &Gateway) -> Vec<Client> {
    let mut clients = Vec::new();
    for surface in surfaces([27]).filter(|surface| *surface != Surface::Grpc) {
        clients.push(client(gateway, surface).await);
    }
    clients
}

/// What a surface says to a start whose body is anything. With these lines of the head beside its own.
async fn start_with(client: &Client, head: &[&str], body: impl AsRef<[u8]>) -> by_hand::Answer {
    let own = client.fields(None);
    let fields: Vec<_> = own.iter().map(String::as_str).chain(head.iter().copied()).collect();
    by_hand::call(client.http(), "POST", &client.begin_call(PHONE).0, &fields, body).await
}

/// One dialect says so in the body alone, by a status that is not zero.
fn is_refusal(answer: &by_hand::Answer) -> bool {
    let in_body = answer.body.contains("\"status\":") && !answer.body.contains("\"status\":0");
    (400..500).contains(&answer.status) || (answer.status == 200 && in_body)
}

async fn assert_unharmed(gateway: &Gateway) {
    let mut client = gateway.verifications().await;
    client.list_verifications(ListVerificationsRequest::default()).await.unwrap();
}

#[tokio::test]
async fn long_messages_are_refused() {
    let gateway = house().await;
    let mut client = gateway.verifications().await;
    let long = |length: usize| StartVerificationRequest { scope: "x".repeat(length), ..start(PHONE) };
    let status = client.start_verification(long(64 * 1024)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let status = client.start_verification(long(4 * 1024 * 1024)).await.unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status}");
    // One that says that it is longer than anything, and one that is shorter than it says.
    let boast = [&[0_u8], &u32::MAX.to_be_bytes()[..], b"x"].concat();
    assert_ne!(sent(gateway.grpc(), None, KEY, boast).await.as_deref(), Some("0"));
    let short = [&[0_u8], &100_u32.to_be_bytes()[..], b"x"].concat();
    assert_ne!(sent(gateway.grpc(), None, KEY, short).await.as_deref(), Some("0"));

    for client in clients(&gateway).await {
        for (length, native_wanted) in [(64 * 1024, 400), (4 * 1024 * 1024, 413)] {
            let body = client.begin_call(&"9".repeat(length)).1;
            let answer = start_with(&client, &[], body.to_string()).await;
            let (surface, shown) = (client.surface, answer.body.get(..200).unwrap_or(&answer.body));
            assert!(is_refusal(&answer), "{surface:?} {length} {} {shown}", answer.status);
            assert!(surface != Surface::Json || answer.status == native_wanted, "{length} {}", answer.status);
        }
    }
    assert!(gateway.whole_inbox().await.is_empty());
    assert_unharmed(&gateway).await;
}

#[tokio::test]
async fn nothing_is_unpacked() {
    let gateway = house().await;
    // What gzip makes of ten million zeros begins like this; what matters is that nobody looks further.
    let bomb = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3][..], &[0xec; 10_000]].concat();
    for encoding in [Some("gzip"), Some("deflate"), Some("zstd"), None] {
        let status = sent(gateway.grpc(), encoding, KEY, framed(1, &bomb)).await;
        // Unimplemented, or internal where no encoding was named at all.
        assert!(matches!(status.as_deref(), Some("12" | "13")), "{encoding:?} {status:?}");
    }
    for client in clients(&gateway).await {
        for encoding in ["gzip", "deflate", "br", "zstd"] {
            let answer = start_with(&client, &[&format!("Content-Encoding: {encoding}")], &bomb).await;
            assert!(is_refusal(&answer), "{:?} {encoding} {} {}", client.surface, answer.status, answer.body);
        }
    }
    assert_unharmed(&gateway).await;
}

#[tokio::test]
async fn nothing_is_followed_without_end() {
    let gateway = house().await;
    // Groups within groups, of a field that nobody knows; then messages within messages.
    let groups = [0xfb_u8, 0x7f].repeat(100_000);
    let status = sent(gateway.grpc(), None, KEY, framed(0, &groups)).await;
    assert_ne!(status.as_deref(), Some("0"));
    let mut nested = start(PHONE).encode_to_vec();
    for _ in 0..200 {
        let mut outer = vec![0x0a];
        prost::encoding::encode_varint(nested.len() as u64, &mut outer);
        outer.extend(&nested);
        nested = outer;
    }
    let status = sent(gateway.grpc(), None, KEY, framed(0, &nested)).await;
    assert_ne!(status.as_deref(), Some("0"));

    for client in clients(&gateway).await {
        for body in [
            "[".repeat(100_000),
            "{\"recipient\":".repeat(20_000),
            format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)),
        ] {
            let answer = start_with(&client, &[], &body).await;
            assert!(is_refusal(&answer), "{:?} {} {}", client.surface, answer.status, answer.body);
        }
    }
    assert_unharmed(&gateway).await;
}

#[tokio::test]
async fn long_heads_are_refused() {
    let gateway = Gateway::start().await;
    let long = format!("X-Long: {}", "x".repeat(40_000));
    let many: Vec<_> = (0..120).map(|number| format!("X-{number}: x")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    for address in [gateway.addresses.http, gateway.addresses.admin] {
        assert_eq!(by_hand::get(address, "/", &["Host: x", &long]).await.status, 431);
        assert_eq!(by_hand::get(address, "/", &[&["Host: x"], &many[..]].concat()).await.status, 431);
        let target = format!("/{}", "x".repeat(40_000));
        let answer = by_hand::get(address, &target, &["Host: x"]).await;
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    assert_unharmed(&gateway).await;
}
