//! One tenant after another's verifications: they are simply not there.

use tonic::Status;
use verigate::proto::verification::v1::{
    CheckOutcome, CheckVerificationRequest, GetVerificationRequest, ScopedRecipient, StartVerificationRequest,
    VerificationStatus, check_verification_request,
};

use crate::support::gateway::{
    Gateway, PHONE, Verifications, cancel, check, get_verification, judge, phone, reason, resend, start, start_now,
};

const OTHER: &str = "other.other-secret-of-some-length";

/// The id with its last digit changed: as well formed as any, and unknown.
fn unknown(id: &str) -> String {
    let (head, last) = id.split_at(id.len() - 1);
    format!("{head}{}", if last == "0" { "1" } else { "0" })
}

/// What each call that names an id answers, to the last byte.
async fn refusals(client: &mut Verifications, id: &str, code: &str) -> Vec<(i32, String, Vec<u8>)> {
    let request = GetVerificationRequest { id: id.to_owned() };
    let got = client.get_verification(request).await.map(drop).unwrap_err();
    let checked = check(client, id, code).await.map(drop).unwrap_err();
    let resent = resend(client, id).await.map(drop).unwrap_err();
    let canceled = cancel(client, id).await.map(drop).unwrap_err();
    let told = |status: Status| (status.code() as i32, status.message().to_owned(), status.details().to_vec());
    [got, checked, resent, canceled].map(told).into()
}

async fn check_scoped(client: &mut Verifications, recipient: &str, code: &str) -> Result<CheckOutcome, Status> {
    let scoped = ScopedRecipient { scope: String::new(), recipient: Some(phone(recipient)) };
    let request = CheckVerificationRequest {
        target: Some(check_verification_request::Target::ScopedRecipient(scoped)),
        code: code.to_owned(),
        ..CheckVerificationRequest::default()
    };
    client.check_verification(request).await.map(|answer| answer.into_inner().outcome())
}

#[tokio::test]
async fn another_tenants_id_is_as_unknown_as_any() {
    let gateway = Gateway::start().await;
    let mut acme = gateway.verifications().await;
    let mut other = gateway.verifications_as(OTHER).await;
    let id = gateway.begin(&mut acme, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    let refused = refusals(&mut other, &id, &code).await;
    assert_eq!(refused, refusals(&mut other, &unknown(&id), &code).await);
    assert_eq!(refused, refusals(&mut acme, &unknown(&id), &code).await);
    assert!(refused.iter().all(|(status, ..)| *status == tonic::Code::NotFound as i32), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused[0].2).contains("VERIFICATION_NOT_FOUND"));

    let verification = get_verification(&mut acme, &id).await;
    assert_eq!(verification.status(), VerificationStatus::Pending);
    assert_eq!((verification.checks_used, verification.checks_left, verification.sends.len()), (0, 5, 1));
    assert_eq!(judge(&mut acme, &id, &code).await, CheckOutcome::Approved);
}

#[tokio::test]
async fn guessing_at_another_tenants_id_costs_that_tenant_nothing() {
    let gateway = Gateway::start().await;
    let mut acme = gateway.verifications().await;
    let mut other = gateway.verifications_as(OTHER).await;
    let begun = gateway.begin(&mut acme, PHONE).await;
    let code = gateway.code(PHONE).await;
    for _ in 0..20 {
        assert_eq!(reason(&check(&mut other, &begun.id, "000000").await.unwrap_err()), "VERIFICATION_NOT_FOUND");
        let scoped = check_scoped(&mut other, PHONE, "000000").await;
        assert_eq!(reason(&scoped.unwrap_err()), "VERIFICATION_NOT_FOUND");
    }
    let verification = get_verification(&mut acme, &begun.id).await;
    assert_eq!((verification.checks_used, verification.checks_left), (0, 5));
    assert_eq!(judge(&mut acme, &begun.id, &code).await, CheckOutcome::Approved);
}

/// Both tenants know the person; neither one's code proves anything to the other, nor do their waits meet.
#[tokio::test]
async fn codes_of_two_tenants_for_one_recipient_cannot_be_swapped() {
    let gateway = Gateway::start().await;
    let mut acme = gateway.verifications().await;
    let mut other = gateway.verifications_as(OTHER).await;
    let begin = |code: &str| StartVerificationRequest { custom_code: code.to_owned(), ..start(PHONE) };
    let for_acme = start_now(&mut acme, begin("111111")).await.unwrap().id;
    let for_other = start_now(&mut other, begin("222222")).await.unwrap().id;
    assert_eq!(judge(&mut acme, &for_acme, "222222").await, CheckOutcome::WrongCode);
    assert_eq!(judge(&mut other, &for_other, "111111").await, CheckOutcome::WrongCode);
    assert_eq!(check_scoped(&mut acme, PHONE, "222222").await.unwrap(), CheckOutcome::WrongCode);
    assert_eq!(check_scoped(&mut other, PHONE, "111111").await.unwrap(), CheckOutcome::WrongCode);
    assert_eq!(reason(&check(&mut acme, &for_other, "222222").await.unwrap_err()), "VERIFICATION_NOT_FOUND");
    assert_eq!(get_verification(&mut acme, &for_acme).await.checks_used, 2);
    assert_eq!(judge(&mut acme, &for_acme, "111111").await, CheckOutcome::Approved);
    assert_eq!(check_scoped(&mut other, PHONE, "222222").await.unwrap(), CheckOutcome::Approved);
}

/// Who locks a person out at one tenant has not locked them out at another.
#[tokio::test]
async fn a_lock_holds_for_its_tenant_only() {
    let gateway = Gateway::start_with(&crate::support::gateway::CONFIG.replace(
        "[[tenants]]\nname = \"acme\"",
        "[verification.limits]\nfailures = 3\n\n[[tenants]]\nname = \"acme\"",
    ))
    .await;
    let mut acme = gateway.verifications().await;
    let mut other = gateway.verifications_as(OTHER).await;
    let begin = || StartVerificationRequest { custom_code: "111111".to_owned(), ..start(PHONE) };
    let for_acme = start_now(&mut acme, begin()).await.unwrap().id;
    let for_other = start_now(&mut other, begin()).await.unwrap().id;
    for _ in 0..3 {
        assert_eq!(judge(&mut acme, &for_acme, "222222").await, CheckOutcome::WrongCode);
    }
    assert_eq!(judge(&mut acme, &for_acme, "111111").await, CheckOutcome::RecipientLocked);
    assert_eq!(judge(&mut other, &for_other, "111111").await, CheckOutcome::Approved);
}
