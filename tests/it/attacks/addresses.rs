//! A key that opens from some networks only, on every way in: what counts is who connects, whatever the headers say.
//!
//! All of 127.0.0.0/8 is this machine, so a test can come from one address or another.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use verigate::proto::verification::v1::ListVerificationsRequest;
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;

use crate::support::gateway::{CONFIG, Credentials, Gateway, reason};

const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

const KEY: &str = r#"
[[tenants]]
name = "fixed"
keys = [{ id = "fixed", secret = "fixed-secret-of-some-length", from = ["10.0.0.0/8", "127.0.0.9"] }]
"#;

/// Headers in which proxies name a caller.
const CLAIMS: [(&str, &str); 5] = [
    ("x-forwarded-for", "127.0.0.9"),
    ("x-real-ip", "127.0.0.9"),
    ("forwarded", "for=127.0.0.9"),
    ("cf-connecting-ip", "127.0.0.9"),
    ("true-client-ip", "127.0.0.9"),
];

/// A call over gRPC from there.
async fn call(gateway: &Gateway, from: Ipv4Addr, key: &str) -> Result<(), Status> {
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.grpc())).unwrap();
    let channel = endpoint.local_address(Some(IpAddr::V4(from))).connect().await.unwrap();
    let mut client = VerificationServiceClient::with_interceptor(channel, Credentials::new(key));
    let mut request = Request::new(ListVerificationsRequest::default());
    for (name, value) in CLAIMS {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    client.list_verifications(request).await.map(drop)
}

/// The answer to a GET from there.
async fn get(gateway: &Gateway, from: Ipv4Addr, target: &str, key: &str) -> String {
    get_as(gateway, from, target, &format!("Bearer {key}")).await
}

/// The same with credentials as they stand in the head.
async fn get_as(gateway: &Gateway, from: Ipv4Addr, target: &str, authorization: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let mut stream = socket.connect(gateway.addresses.http).await.unwrap();
    let claims: String = CLAIMS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let authorization = format!("Authorization: {authorization}\r\n");
    let head = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}{claims}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn over_grpc() {
    let gateway = Gateway::start_with(&format!("{CONFIG}{KEY}")).await;
    let refused = call(&gateway, ELSEWHERE, "fixed.fixed-secret-of-some-length").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));
    assert!(refused.message().contains("127.0.0.1"), "{}", refused.message());
    call(&gateway, HERE, "fixed.fixed-secret-of-some-length").await.unwrap();
    // Who does not know the secret does not learn where it opens.
    for from in [HERE, ELSEWHERE] {
        assert_eq!(call(&gateway, from, "fixed.wrong").await.unwrap_err().code(), Code::Unauthenticated);
    }
    // Other keys open from everywhere.
    call(&gateway, HERE, "acme.acme-secret-of-some-length").await.unwrap();
}

#[tokio::test]
async fn over_json() {
    let gateway = Gateway::start_with(&format!("{CONFIG}{KEY}")).await;
    for (from, key, status) in [
        (HERE, "fixed.fixed-secret-of-some-length", "200"),
        (ELSEWHERE, "fixed.fixed-secret-of-some-length", "403"),
        (ELSEWHERE, "fixed.wrong", "401"),
        (HERE, "acme.acme-secret-of-some-length", "200"),
    ] {
        let answer = get(&gateway, from, "/v1/verifications", key).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{from} {key}: {answer}");
    }
}

#[tokio::test]
async fn over_the_dialects() {
    let gateway = Gateway::start_with(&format!("{CONFIG}{KEY}")).await;
    let balance = "/esms/sms/balance?user=fixed&pass=fixed-secret-of-some-length";
    for (from, esms, status) in [(HERE, r#""status":0"#, "200"), (ELSEWHERE, r#""status":2"#, "403")] {
        let answer = get(&gateway, from, balance, "").await;
        assert!(answer.contains(esms), "{from}: {answer}");
        for (target, authorization) in [
            ("/hasun/fixed/status", "Bearer fixed-secret-of-some-length"),
            ("/simpu/otp/get-by-recipient?recipient=60123456789", "fixed.fixed-secret-of-some-length"),
            ("/octopush/wallet/check-balance", "none\r\napi-login: fixed\r\napi-key: fixed-secret-of-some-length"),
        ] {
            let answer = get_as(&gateway, from, target, authorization).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{from} {target}: {answer}");
        }
    }
}

#[tokio::test]
async fn over_a_unix_socket_from_this_machine() {
    let config = CONFIG.replacen("grpc = \"127.0.0.1:0\"", "grpc = \"unix:PLACE/grpc\"", 1);
    for (from, opens) in [("127.0.0.1", true), ("127.0.0.9", false)] {
        let gateway = Gateway::start_with(&format!("{config}{}", KEY.replace("127.0.0.9", from))).await;
        let mut client = gateway.verifications_as("fixed.fixed-secret-of-some-length").await;
        let listed = client.list_verifications(ListVerificationsRequest::default()).await;
        assert_eq!(listed.is_ok(), opens, "{from}: {listed:?}");
    }
}
