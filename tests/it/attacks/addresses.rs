//! A key that opens from some networks only, on every way in: what counts is who connects, whatever the headers say.

use tonic::{Code, Request};
use verigate::proto::verification::v1::ListVerificationsRequest;

use crate::support::gateway::{CONFIG, Gateway, reason};
use crate::support::http::get;

/// Where the tests call from is in one of these networks and not in the other.
const KEYS: &str = r#"
[[tenants]]
name = "fixed"
keys = [
  { id = "far", secret = "far-secret-of-some-length", from = ["10.0.0.0/8"] },
  { id = "near", secret = "near-secret-of-some-length", from = ["10.0.0.0/8", "127.0.0.0/8"] },
]
"#;

/// Headers in which proxies name a caller.
const CLAIMS: [(&str, &str); 4] = [
    ("x-forwarded-for", "10.0.0.1"),
    ("x-real-ip", "10.0.0.1"),
    ("forwarded", "for=10.0.0.1"),
    ("cf-connecting-ip", "10.0.0.1"),
];

#[tokio::test]
async fn over_grpc() {
    let gateway = Gateway::start_with(&format!("{CONFIG}{KEYS}")).await;
    let claiming = || {
        let mut request = Request::new(ListVerificationsRequest::default());
        for (name, value) in CLAIMS {
            request.metadata_mut().insert(name, value.parse().unwrap());
        }
        request
    };
    let mut far = gateway.verifications_as("far.far-secret-of-some-length").await;
    let refused = far.list_verifications(claiming()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));
    assert!(refused.message().contains("127.0.0.1"), "{}", refused.message());
    // Who does not know the secret does not learn where it opens.
    let mut wrong = gateway.verifications_as("far.wrong").await;
    assert_eq!(wrong.list_verifications(claiming()).await.unwrap_err().code(), Code::Unauthenticated);
    let mut near = gateway.verifications_as("near.near-secret-of-some-length").await;
    assert!(near.list_verifications(claiming()).await.is_ok());
}

#[tokio::test]
async fn over_json() {
    let gateway = Gateway::start_with(&format!("{CONFIG}{KEYS}")).await;
    let list = async |key: &str| {
        let mut head = vec!["Host: 127.0.0.1".to_owned(), format!("Authorization: Bearer {key}")];
        head.extend(CLAIMS.map(|(name, value)| format!("{name}: {value}")));
        let head: Vec<_> = head.iter().map(String::as_str).collect();
        get(gateway.addresses.http, "/v1/verifications", &head).await.status
    };
    assert_eq!(list("far.far-secret-of-some-length").await, 403);
    assert_eq!(list("far.wrong").await, 401);
    assert_eq!(list("near.near-secret-of-some-length").await, 200);
}

#[tokio::test]
async fn over_a_unix_socket_from_this_machine() {
    let config = CONFIG.replacen("grpc = \"127.0.0.1:0\"", "grpc = \"unix:PLACE/grpc\"", 1);
    // To this machine itself a key may be bound, too.
    let keys = KEYS.replace("\"127.0.0.0/8\"", "\"127.0.0.1\"");
    let gateway = Gateway::start_with(&format!("{config}{keys}")).await;
    let mut far = gateway.verifications_as("far.far-secret-of-some-length").await;
    let refused = far.list_verifications(ListVerificationsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let mut near = gateway.verifications_as("near.near-secret-of-some-length").await;
    assert!(near.list_verifications(ListVerificationsRequest::default()).await.is_ok());
}
