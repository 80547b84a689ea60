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
