//! The main job over gRPC: start, read the message, check.

use verigate::proto::verification::v1::{
    CancelVerificationRequest, CheckOutcome, ResendVerificationRequest, VerificationStatus,
};

use crate::support::gateway::{Gateway, PHONE, check, reason};

#[tokio::test]
async fn a_person_is_verified() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let verification = gateway.begin(&mut client, PHONE).await;
    assert_eq!(verification.status(), VerificationStatus::Pending);
    assert_eq!(verification.sends.iter().map(|send| send.number).collect::<Vec<_>>(), [1]);
    let code = gateway.code(PHONE).await;
    let checked = check(&mut client, &verification.id, &code).await.unwrap();
    assert_eq!(checked.outcome(), CheckOutcome::Approved);
    assert_eq!(checked.verification.unwrap().status(), VerificationStatus::Approved);
}

/// Its recipient still cools down, but waiting would not help.
#[tokio::test]
async fn one_that_has_ended_is_not_resent() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    client.cancel_verification(CancelVerificationRequest { id: id.clone() }).await.unwrap();
    let request = ResendVerificationRequest { id, ..ResendVerificationRequest::default() };
    let refused = client.resend_verification(request).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (tonic::Code::FailedPrecondition, "VERIFICATION_NOT_PENDING"));
}

#[tokio::test]
async fn every_call_has_a_name_that_its_answer_tells() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let mut name = async |given: Option<&str>, to: &str| {
        let mut request = tonic::Request::new(crate::support::gateway::start(to));
        if let Some(given) = given {
            request.metadata_mut().insert("x-request-id", given.parse().unwrap());
        }
        let told = match client.start_verification(request).await {
            Ok(answer) => answer.metadata().clone(),
            Err(status) => status.metadata().clone(),
        };
        told.get("x-request-id").unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(name(Some("order-7"), PHONE).await, "order-7");
    assert_eq!(name(Some("order-7"), "no number").await, "order-7", "a refusal tells it too");
    for unfit in ["a b", &"x".repeat(65)] {
        let made = name(Some(unfit), "no number").await;
        assert!(made.len() == 16 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    }
    assert_ne!(name(None, "no number").await, name(None, "no number").await);
}
