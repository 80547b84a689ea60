//! Getting fresh guesses by a resend, a cancel, another scope, a restart or a second use of the right code.

use std::time::Duration;

use verigate::proto::verification::v1::{CheckOutcome, OnExisting, StartVerificationRequest, VerificationStatus};

use crate::support::gateway::{
    Gateway, PHONE, Verifications, cancel, get_verification, judge, reason, resend, retry_after, start, start_now,
    wrong,
};

fn scoped(scope: &str) -> StartVerificationRequest {
    StartVerificationRequest { scope: scope.to_owned(), ..start(PHONE) }
}

/// Gives `count` wrong codes, one after the other.
async fn miss(client: &mut Verifications, id: &str, code: &str, count: u32) -> Vec<CheckOutcome> {
    let mut outcomes = Vec::new();
    for turn in 0..count {
        outcomes.push(judge(client, id, &wrong(code, turn)).await);
    }
    outcomes
}

/// Until when the recipient is locked: starting tells it as a wait.
async fn assert_locked(gateway: &Gateway, client: &mut Verifications, scope: &str, wait: Duration) {
    let sent = gateway.inbox(PHONE).await.len();
    for on_existing in [OnExisting::Resend, OnExisting::Replace] {
        let request = StartVerificationRequest { on_existing: on_existing.into(), ..scoped(scope) };
        let refused = start_now(client, request).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (tonic::Code::ResourceExhausted, "RECIPIENT_LOCKED"));
        assert_eq!(retry_after(&refused), Some(wait));
    }
    assert_eq!(gateway.inbox(PHONE).await.len(), sent);
}

/// NIST SP 800-63B-4 §3.1.3.2 limits attempts, not attempts for each copy of a message.
#[tokio::test]
async fn a_resend_brings_no_fresh_guesses() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    assert_eq!(miss(&mut client, &id, &code, 4).await, [CheckOutcome::WrongCode; 4]);
    gateway.clock.advance(Duration::from_secs(30));
    let verification = resend(&mut client, &id).await.unwrap();
    assert_eq!((verification.checks_used, verification.checks_left), (4, 1));
    assert_eq!(miss(&mut client, &id, &code, 4).await, [CheckOutcome::ChecksExhausted; 4]);
    assert_eq!(get_verification(&mut client, &id).await.checks_used, 5);
    assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::ChecksExhausted);
}

#[tokio::test]
async fn a_cancel_frees_neither_the_window_nor_the_cool_down() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    miss(&mut client, &id, &gateway.code(PHONE).await, 5).await;
    assert_eq!(reason(&cancel(&mut client, &id).await.unwrap_err()), "VERIFICATION_NOT_PENDING");
    let refused = start_now(&mut client, start(PHONE)).await.unwrap_err();
    assert_eq!((&*reason(&refused), retry_after(&refused)), ("COOL_DOWN", Some(Duration::from_secs(30))));

    gateway.clock.advance(Duration::from_secs(30));
    let id = gateway.begin(&mut client, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    miss(&mut client, &id, &code, 4).await;
    cancel(&mut client, &id).await.unwrap();
    let refused = start_now(&mut client, start(PHONE)).await.unwrap_err();
    assert_eq!((&*reason(&refused), retry_after(&refused)), ("COOL_DOWN", Some(Duration::from_secs(60))));

    gateway.clock.advance(Duration::from_secs(60));
    let last = gateway.begin(&mut client, PHONE).await;
    assert_eq!(last.checks_left, 1);
    miss(&mut client, &last.id, &gateway.code(PHONE).await, 1).await;
    // The window began with the failures of the first verification, 90 seconds ago.
    assert_locked(&gateway, &mut client, "default", Duration::from_secs(3600 - 90)).await;
}

#[tokio::test]
async fn another_scope_has_the_same_recipient() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let login = start_now(&mut client, scoped("login")).await.unwrap().id;
    miss(&mut client, &login, &gateway.code(PHONE).await, 5).await;
    assert_eq!(reason(&start_now(&mut client, scoped("reset")).await.unwrap_err()), "COOL_DOWN");
    gateway.clock.advance(Duration::from_secs(30));
    let reset = start_now(&mut client, scoped("reset")).await.unwrap().id;
    let code = gateway.code(PHONE).await;
    assert_eq!(miss(&mut client, &reset, &code, 4).await, [CheckOutcome::WrongCode; 4]);
    assert_eq!(miss(&mut client, &reset, &code, 1).await, [CheckOutcome::ChecksExhausted]);
    for scope in ["login", "reset", "payment"] {
        assert_locked(&gateway, &mut client, scope, Duration::from_secs(3570)).await;
    }
}

/// Stopping and starting the service is within reach of who can make it run out of memory.
#[tokio::test]
async fn a_restart_forgets_no_failure() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let first = gateway.begin(&mut client, PHONE).await.id;
    let first_code = gateway.code(PHONE).await;
    miss(&mut client, &first, &first_code, 3).await;
    drop(client);

    let gateway = gateway.restart().await;
    let mut client = gateway.verifications().await;
    assert_eq!(get_verification(&mut client, &first).await.checks_used, 3);
    miss(&mut client, &first, &first_code, 2).await;
    assert_eq!(reason(&start_now(&mut client, start(PHONE)).await.unwrap_err()), "COOL_DOWN");
    drop(client);

    let gateway = gateway.restart().await;
    let mut client = gateway.verifications().await;
    assert_eq!(judge(&mut client, &first, &first_code).await, CheckOutcome::ChecksExhausted);
    gateway.clock.advance(Duration::from_secs(30));
    let second = gateway.begin(&mut client, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    miss(&mut client, &second, &code, 5).await;
    assert_locked(&gateway, &mut client, "default", Duration::from_secs(3570)).await;
    drop(client);

    let gateway = gateway.restart().await;
    let mut client = gateway.verifications().await;
    assert_eq!(judge(&mut client, &second, &code).await, CheckOutcome::RecipientLocked);
    let refused = start_now(&mut client, start(PHONE)).await.unwrap_err();
    assert_eq!((&*reason(&refused), retry_after(&refused)), ("RECIPIENT_LOCKED", Some(Duration::from_secs(3570))));
}

#[tokio::test]
async fn a_code_works_once() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::Approved);
    assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::AlreadyApproved);
    assert_eq!(judge(&mut client, &id, &wrong(&code, 0)).await, CheckOutcome::AlreadyApproved);
    drop(client);
    let gateway = gateway.restart().await;
    let mut client = gateway.verifications().await;
    assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::AlreadyApproved);
    let verification = get_verification(&mut client, &id).await;
    assert_eq!((verification.status(), verification.checks_used), (VerificationStatus::Approved, 0));
}
