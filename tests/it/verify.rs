//! The main job over gRPC: start, read the message, check.

use verigate::proto::verification::v1::{CheckOutcome, VerificationStatus};

use crate::support::gateway::{Gateway, PHONE, check};

#[tokio::test]
async fn a_person_is_verified() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let verification = gateway.begin(&mut client, PHONE).await;
    assert_eq!(verification.status(), VerificationStatus::Pending);
    let code = gateway.code(PHONE).await;
    let checked = check(&mut client, &verification.id, &code).await.unwrap();
    assert_eq!(checked.outcome(), CheckOutcome::Approved);
    assert_eq!(checked.verification.unwrap().status(), VerificationStatus::Approved);
}
