//! Calls of what is not in the contract, by names close to those that are.

use prost::Message;
use tonic::Code;

use crate::access::raw::call_at;
use crate::access::scopes::key;
use crate::support::gateway::{Gateway, PHONE, start};

const SERVICE: &str = "/verigate.verification.v1.VerificationService";

/// Of a service of ours, only callers are told what it has not.
#[tokio::test]
async fn a_method_that_a_service_does_not_have_is_not_served() {
    let gateway = Gateway::start().await;
    let channel = gateway.channel().await;
    for method in [
        "/NoSuchMethod",
        "/startverification",
        "/StartVerification/",
        "/StartVerification/more",
        "//StartVerification",
        "/",
        "",
    ] {
        let path = format!("{SERVICE}{method}");
        let told = call_at(&channel, Some(&key("acme")), &path, start(PHONE).encode_to_vec()).await.unwrap_err();
        assert_eq!(told.code(), Code::Unimplemented, "{path}: {told:?}");
    }
    let stranger = call_at(&channel, None, &format!("{SERVICE}/NoSuchMethod"), Vec::new()).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unauthenticated, "{stranger:?}");
    assert!(gateway.whole_inbox().await.is_empty());
}

#[tokio::test]
async fn a_service_that_is_not_there_is_not_served() {
    let gateway = Gateway::start().await;
    let channel = gateway.channel().await;
    let close = [
        "/verigate.verification.v1.VerificationServices",
        "/verigate.Verification.v1.VerificationService",
        "/VerificationService",
        "/",
        "/x",
    ];
    for service in close {
        for key in [Some(&*key("acme")), None] {
            let path = format!("{service}/StartVerification");
            let told = call_at(&channel, key, &path, start(PHONE).encode_to_vec()).await.unwrap_err();
            assert_eq!(told.code(), Code::Unimplemented, "{path}: {told:?}");
        }
    }
    let path = format!("{SERVICE}/StartVerification").replacen('/', "//", 1);
    let told = call_at(&channel, Some(&key("acme")), &path, start(PHONE).encode_to_vec()).await.unwrap_err();
    assert_eq!(told.code(), Code::Unimplemented, "{told:?}");
    assert!(gateway.whole_inbox().await.is_empty());
}
