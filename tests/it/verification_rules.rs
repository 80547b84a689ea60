//! The rules of verification over gRPC, on a clock moved by hand: to the millisecond, and across a restart.

use std::time::Duration;

use tonic::{Code, Status};
use verigate::clock::Timestamp;
use verigate::proto::messaging::v1::{Channel, FailureReason, MessageStatus, Recipient, recipient};
use verigate::proto::verification::v1::{
    AlphabetClass, CheckOutcome, CheckVerificationRequest, CheckVerificationResponse, CodePolicy, OnExisting,
    ResendVerificationRequest, ScopedRecipient, StartVerificationRequest, Verification, VerificationStatus,
    check_verification_request,
};

use crate::support::gateway::{
    CONFIG, Gateway, PHONE, START, Verifications, cancel, check, get_verification, judge, phone, reason, resend,
    retry_after, seconds, start, start_now, wrong, wrong_fields,
};

/// Accepted and delivered half a minute later.
const LATE: &str = "+60123451001";
const FAILED: &str = "+60123451002";
const REJECTED: &str = "+60123451003";
/// Accepted after three seconds.
const SLOW: &str = "+60123451005";
/// Never answered.
const HANGS: &str = "+60123451006";

const MILLISECOND: Duration = Duration::from_millis(1);

fn at(time: Option<&prost_types::Timestamp>) -> Timestamp {
    let time = time.expect("a time");
    let millis = time.seconds * 1000 + i64::from(time.nanos) / 1_000_000;
    Timestamp::from_millis(millis.try_into().unwrap())
}

fn scoped(scope: &str) -> StartVerificationRequest {
    StartVerificationRequest { scope: scope.to_owned(), ..start(PHONE) }
}

fn custom(code: &str) -> StartVerificationRequest {
    StartVerificationRequest { custom_code: code.to_owned(), ..start(PHONE) }
}

fn policed(policy: CodePolicy) -> StartVerificationRequest {
    StartVerificationRequest { policy: Some(policy), ..start(PHONE) }
}

fn email(address: &str) -> Recipient {
    Recipient { address: Some(recipient::Address::Email(address.to_owned())) }
}

/// Checks by scope and recipient.
async fn check_newest(
    client: &mut Verifications,
    scope: &str,
    recipient: Recipient,
    code: &str,
) -> Result<CheckVerificationResponse, Status> {
    let scoped = ScopedRecipient { scope: scope.to_owned(), recipient: Some(recipient) };
    let request = CheckVerificationRequest {
        target: Some(check_verification_request::Target::ScopedRecipient(scoped)),
        code: code.to_owned(),
        ..CheckVerificationRequest::default()
    };
    client.check_verification(request).await.map(tonic::Response::into_inner)
}

async fn resend_on(client: &mut Verifications, id: &str, channel: Channel) -> Result<Verification, Status> {
    let request = ResendVerificationRequest { id: id.to_owned(), channel: channel.into() };
    client.resend_verification(request).await.map(|answer| answer.into_inner().verification.unwrap())
}

/// Asks until the verification is as wanted; what a vendor reports comes by itself.
async fn until(client: &mut Verifications, id: &str, wanted: impl Fn(&Verification) -> bool) -> Verification {
    for _ in 0..5_000 {
        let verification = get_verification(client, id).await;
        if wanted(&verification) {
            return verification;
        }
    }
    panic!("it never was: {:?}", get_verification(client, id).await);
}

async fn text(gateway: &Gateway, recipient: &str) -> String {
    gateway.inbox(recipient).await[0]["text"].as_str().unwrap().to_owned()
}

fn assert_cools_down(refused: Result<Verification, Status>, wait: Duration) {
    let refused = refused.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::ResourceExhausted, "COOL_DOWN"));
    assert_eq!(retry_after(&refused), Some(wait));
}

#[tokio::test]
async fn a_code_holds_to_the_last_millisecond_of_its_lifetime() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let begun = gateway.begin(&mut client, PHONE).await;
    let other = "+60123459876";
    let lost = gateway.begin(&mut client, other).await;
    assert_eq!(at(begun.create_time.as_ref()), START);
    assert_eq!(at(begun.expire_time.as_ref()), START + Duration::from_secs(600));
    let (code, lost_code) = (gateway.code(PHONE).await, gateway.code(other).await);
    gateway.clock.advance(Duration::from_secs(600) - MILLISECOND);
    assert_eq!(judge(&mut client, &lost.id, &wrong(&lost_code, 0)).await, CheckOutcome::WrongCode);
    assert_eq!(judge(&mut client, &begun.id, &code).await, CheckOutcome::Approved);

    gateway.clock.advance(MILLISECOND);
    for candidate in [&lost_code, &wrong(&lost_code, 1)] {
        assert_eq!(judge(&mut client, &lost.id, candidate).await, CheckOutcome::Expired);
        let newest = check_newest(&mut client, "", phone(other), candidate).await.unwrap();
        assert_eq!(newest.outcome(), CheckOutcome::Expired);
    }
    let expired = get_verification(&mut client, &lost.id).await;
    assert_eq!((expired.status(), expired.checks_used, expired.checks_left), (VerificationStatus::Expired, 1, 0));
    assert_eq!((expired.decide_time, expired.next_resend_time), (expired.expire_time, None));
    assert_eq!(reason(&resend(&mut client, &lost.id).await.unwrap_err()), "VERIFICATION_NOT_PENDING");
    assert_eq!(reason(&cancel(&mut client, &lost.id).await.unwrap_err()), "VERIFICATION_NOT_PENDING");
    // Only the one wrong code counts against the recipient.
    let again = start_now(
        &mut client,
        StartVerificationRequest {
            policy: Some(CodePolicy { max_checks: 10, ..CodePolicy::default() }),
            ..start(other)
        },
    );
    assert_eq!(again.await.unwrap().checks_left, 9);
    // Nor does time undo an approval.
    assert_eq!(judge(&mut client, &begun.id, &code).await, CheckOutcome::AlreadyApproved);
}

#[tokio::test]
async fn resends_keep_the_code_and_wait_longer_each_time() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let mut verification = gateway.begin(&mut client, PHONE).await;
    let (id, expires, code) = (verification.id.clone(), verification.expire_time, gateway.code(PHONE).await);
    judge(&mut client, &id, &wrong(&code, 0)).await;
    let mut now = START;
    for (sends, wait) in [30, 60, 120, 300].into_iter().enumerate() {
        let wait = Duration::from_secs(wait);
        assert_eq!(at(verification.next_resend_time.as_ref()), now + wait);
        assert_cools_down(resend(&mut client, &id).await, wait);
        gateway.clock.advance(wait - MILLISECOND);
        assert_cools_down(resend(&mut client, &id).await, MILLISECOND);
        gateway.clock.advance(MILLISECOND);
        now = now + wait;
        verification = resend(&mut client, &id).await.unwrap();
        assert_eq!(verification.expire_time, expires);
        assert_eq!((verification.checks_used, verification.checks_left), (1, 4));
        let sent = until(&mut client, &id, |now| now.sends.iter().all(|send| send.attempts == 1)).await.sends;
        assert_eq!(sent.iter().map(|send| send.number).collect::<Vec<_>>(), (1..=sends as i32 + 2).collect::<Vec<_>>());
        until(&mut client, &id, |now| now.sends.iter().all(|send| send.status() == MessageStatus::Delivered)).await;
        let messages = gateway.inbox(PHONE).await;
        assert_eq!(messages.len(), sends + 2);
        assert_eq!(gateway.code(PHONE).await, code);
    }
    // Five sends are the most, so that waiting for the cool-down would not help: the code's time must run out.
    assert_eq!(verification.next_resend_time, None);
    gateway.clock.advance(Duration::from_secs(80));
    assert_cools_down(resend(&mut client, &id).await, Duration::from_secs(900 - 80));
    assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::Approved);
}

#[tokio::test]
async fn a_verification_is_sent_only_so_often() {
    let config = CONFIG.replace(
        "[[tenants]]\nname = \"acme\"",
        "[verification.limits]\nmax_sends = 2\ncool_downs = [\"1s\"]\n\n[[tenants]]\nname = \"acme\"",
    );
    let gateway = Gateway::start_with(&config).await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    gateway.clock.advance(Duration::from_secs(1));
    resend(&mut client, &id).await.unwrap();
    gateway.clock.advance(Duration::from_secs(1));
    for refused in [resend(&mut client, &id).await, start_now(&mut client, start(PHONE)).await] {
        assert_cools_down(refused, Duration::from_secs(598));
    }
    assert_eq!(get_verification(&mut client, &id).await.sends.len(), 2);
    gateway.clock.advance(Duration::from_secs(598));
    assert_ne!(gateway.begin(&mut client, PHONE).await.id, id);
}

#[tokio::test]
async fn the_row_of_waits_belongs_to_the_recipient_and_begins_anew_after_an_hour() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    for wait in [30, 60, 120, 300, 900, 900] {
        let id = gateway.begin(&mut client, PHONE).await.id;
        cancel(&mut client, &id).await.unwrap();
        assert_cools_down(start_now(&mut client, scoped("another")).await, Duration::from_secs(wait));
        gateway.clock.advance(Duration::from_secs(wait));
    }
    gateway.begin(&mut client, PHONE).await;
    gateway.clock.advance(Duration::from_secs(3600));
    gateway.begin(&mut client, PHONE).await;
    assert_cools_down(start_now(&mut client, start(PHONE)).await, Duration::from_secs(30));
}

#[tokio::test]
async fn a_resend_may_change_the_channel_and_the_next_stays_there() {
    let route = "\n[[routes]]\nchannel = \"whatsapp\"\nvendors = [\"inbox\"]\n";
    let gateway = Gateway::start_with(&[CONFIG, route].concat()).await;
    let mut client = gateway.verifications().await;
    let begun = gateway.begin(&mut client, PHONE).await;
    assert_eq!(begun.channel(), Channel::Sms);
    let code = gateway.code(PHONE).await;
    gateway.clock.advance(Duration::from_secs(30));
    let refused = resend_on(&mut client, &begun.id, Channel::Email).await.unwrap_err();
    assert_eq!((refused.code(), wrong_fields(&refused)), (Code::InvalidArgument, vec!["channel".to_owned()]));
    let refused = resend_on(&mut client, &begun.id, Channel::Voice).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "NO_ROUTE"));

    let resent = resend_on(&mut client, &begun.id, Channel::Whatsapp).await.unwrap();
    assert_eq!((resent.channel(), resent.sends.len()), (Channel::Whatsapp, 2));
    gateway.clock.advance(Duration::from_secs(60));
    let resent = resend(&mut client, &begun.id).await.unwrap();
    assert_eq!((resent.channel(), resent.sends.len()), (Channel::Whatsapp, 3));
    until(&mut client, &begun.id, |now| now.sends.iter().all(|send| send.status() == MessageStatus::Delivered)).await;
    let messages = gateway.inbox(PHONE).await;
    let channels: Vec<_> = messages.iter().map(|message| message["channel"].as_str().unwrap()).collect();
    assert_eq!(channels, ["whatsapp", "whatsapp", "sms"]);
    assert!(messages.iter().all(|message| message["text"].as_str().unwrap().contains(&code)));
    assert_eq!(judge(&mut client, &begun.id, &code).await, CheckOutcome::Approved);
}

#[tokio::test]
async fn a_start_sends_the_pending_code_again_or_replaces_it() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let first = gateway.begin(&mut client, PHONE).await;
    let first_code = gateway.code(PHONE).await;
    judge(&mut client, &first.id, &wrong(&first_code, 0)).await;
    gateway.clock.advance(Duration::from_secs(30));
    let again = gateway.begin(&mut client, PHONE).await;
    assert_eq!((&again.id, again.sends.len(), again.checks_used), (&first.id, 2, 1));
    assert_eq!((again.create_time, again.expire_time), (first.create_time, first.expire_time));
    assert_eq!(gateway.code(PHONE).await, first_code);

    let replace = StartVerificationRequest { on_existing: OnExisting::Replace.into(), ..start(PHONE) };
    assert_cools_down(start_now(&mut client, replace.clone()).await, Duration::from_secs(60));
    gateway.clock.advance(Duration::from_secs(60));
    // A second one could draw the first's code, once in a million runs.
    let replace = StartVerificationRequest { custom_code: wrong(&first_code, 7), ..replace };
    let second = start_now(&mut client, replace).await.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(get_verification(&mut client, &first.id).await.status(), VerificationStatus::Canceled);
    assert_eq!(judge(&mut client, &first.id, &first_code).await, CheckOutcome::Canceled);
    assert_eq!(judge(&mut client, &second.id, &first_code).await, CheckOutcome::WrongCode);
    assert_eq!(judge(&mut client, &second.id, &wrong(&first_code, 7)).await, CheckOutcome::Approved);
}

#[tokio::test]
async fn an_approval_lifts_the_wait_and_a_cancel_does_not() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    assert_eq!(judge(&mut client, &id, &gateway.code(PHONE).await).await, CheckOutcome::Approved);
    let id = gateway.begin(&mut client, PHONE).await.id;
    cancel(&mut client, &id).await.unwrap();
    // The row of waits has gone on.
    assert_cools_down(start_now(&mut client, start(PHONE)).await, Duration::from_secs(60));
    assert_cools_down(start_now(&mut client, scoped("another")).await, Duration::from_secs(60));
}

#[tokio::test]
async fn scopes_share_a_recipient_and_nothing_else() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let login = StartVerificationRequest { custom_code: "111111".to_owned(), ..scoped("login") };
    let login = start_now(&mut client, login).await.unwrap();
    let payment = StartVerificationRequest { custom_code: "222222".to_owned(), ..scoped("payment") };
    assert_cools_down(start_now(&mut client, payment.clone()).await, Duration::from_secs(30));
    gateway.clock.advance(Duration::from_secs(30));
    let payment = start_now(&mut client, payment).await.unwrap();
    assert_ne!(login.id, payment.id);
    assert_eq!((&*login.scope, &*payment.scope), ("login", "payment"));
    let newest = check_newest(&mut client, "login", phone(PHONE), "222222").await.unwrap();
    assert_eq!(newest.outcome(), CheckOutcome::WrongCode);
    assert_eq!(get_verification(&mut client, &payment.id).await.checks_used, 0);
    cancel(&mut client, &payment.id).await.unwrap();
    assert_eq!(judge(&mut client, &login.id, "111111").await, CheckOutcome::Approved);

    for bad in ["a b", "über", &"s".repeat(65)] {
        let refused = start_now(&mut client, scoped(bad)).await.unwrap_err();
        assert_eq!((refused.code(), wrong_fields(&refused)), (Code::InvalidArgument, vec!["scope".to_owned()]));
    }
}

#[tokio::test]
async fn scope_and_recipient_name_the_newest_verification() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let nothing = check_newest(&mut client, "", phone(PHONE), "111111").await.unwrap_err();
    assert_eq!((nothing.code(), &*reason(&nothing)), (Code::NotFound, "VERIFICATION_NOT_FOUND"));
    start_now(&mut client, custom("111111")).await.unwrap();
    let wrong = check_newest(&mut client, "", phone("012-345 6789"), "222222").await.unwrap();
    assert_eq!((wrong.outcome(), wrong.checks_left), (CheckOutcome::WrongCode, 4));
    let elsewhere = check_newest(&mut client, "payment", phone(PHONE), "111111").await.unwrap_err();
    assert_eq!(reason(&elsewhere), "VERIFICATION_NOT_FOUND");
    for outcome in [CheckOutcome::Approved, CheckOutcome::AlreadyApproved] {
        let right = check_newest(&mut client, "default", phone(PHONE), "111111").await.unwrap();
        assert_eq!(right.outcome(), outcome);
    }
    let second = start_now(&mut client, custom("333333")).await.unwrap();
    let right = check_newest(&mut client, "default", phone(PHONE), "333333").await.unwrap();
    assert_eq!((right.outcome(), right.verification.unwrap().id), (CheckOutcome::Approved, second.id));
}

#[tokio::test]
async fn a_code_of_the_callers_own_is_sent_and_checked_and_never_shown() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let request = StartVerificationRequest { delivery_wait: seconds(5), ..custom("sesame#42") };
    let answer = client.start_verification(request).await.unwrap().into_inner();
    assert!(answer.code.is_empty() && !format!("{answer:?}").contains("sesame"), "{answer:?}");
    let id = answer.verification.unwrap().id;
    assert!(text(&gateway, PHONE).await.contains("sesame#42"));
    assert!(!format!("{:?}", get_verification(&mut client, &id).await).contains("sesame"));

    gateway.clock.advance(Duration::from_secs(30));
    let refused = start_now(&mut client, custom("another#43")).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "VERIFICATION_NOT_PENDING"));
    assert!(!format!("{refused:?}").contains("another#43") && !format!("{refused:?}").contains("sesame"));
    assert_eq!(gateway.inbox(PHONE).await.len(), 1);
    assert_eq!(judge(&mut client, &id, "Sesame#42").await, CheckOutcome::WrongCode);
    assert_eq!(judge(&mut client, &id, "sesame#42").await, CheckOutcome::Approved);

    for bad in ["123", "12 34", "１２３４", " 1234", &"1".repeat(33)] {
        let refused = start_now(&mut client, custom(bad)).await.unwrap_err();
        assert_eq!((refused.code(), wrong_fields(&refused)), (Code::InvalidArgument, vec!["custom_code".to_owned()]));
    }
}

#[tokio::test]
async fn a_request_may_bend_the_policy_within_its_ranges() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let policy = CodePolicy {
        length: 20,
        alphabet: vec![AlphabetClass::Upper.into(), AlphabetClass::Digits.into()],
        exclude_confusing: Some(true),
        lifetime: seconds(120),
        max_checks: 1,
    };
    let request = StartVerificationRequest { locale: "en".to_owned(), ..policed(policy) };
    let begun = start_now(&mut client, request).await.unwrap();
    assert_eq!(at(begun.expire_time.as_ref()), START + Duration::from_secs(120));
    assert_eq!(begun.checks_left, 1);
    let text = text(&gateway, PHONE).await;
    let code = text.split(' ').map(|word| word.trim_end_matches('.')).max_by_key(|word| word.len()).unwrap();
    assert_eq!(code.len(), 20);
    let fits = |c: char| (c.is_ascii_uppercase() || c.is_ascii_digit()) && !"0O1I".contains(c);
    assert!(code.chars().all(fits), "{text}");
    assert!(text.contains("Your Acme verification code is") && text.contains("valid for 2 minutes"), "{text}");
    assert_eq!(judge(&mut client, &begun.id, "0").await, CheckOutcome::ChecksExhausted);
    assert_eq!(judge(&mut client, &begun.id, code).await, CheckOutcome::ChecksExhausted);

    let bad = CodePolicy {
        length: 33,
        alphabet: Vec::new(),
        exclude_confusing: None,
        lifetime: seconds(24 * 3600 + 1),
        max_checks: 11,
    };
    let refused = start_now(&mut client, policed(bad)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(wrong_fields(&refused), ["policy.length", "policy.lifetime", "policy.max_checks"]);
    let bad = CodePolicy { alphabet: vec![0], ..CodePolicy::default() };
    assert_eq!(wrong_fields(&start_now(&mut client, policed(bad)).await.unwrap_err()), ["policy.alphabet"]);
    for policy in [
        CodePolicy { length: -6, ..CodePolicy::default() },
        CodePolicy { max_checks: -1, ..CodePolicy::default() },
        CodePolicy { lifetime: seconds(-1), ..CodePolicy::default() },
        CodePolicy { lifetime: seconds(2), ..CodePolicy::default() },
    ] {
        let refused = start_now(&mut client, policed(policy)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
}

#[tokio::test]
async fn the_locale_picks_the_text_and_falls_back() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    for (turn, (locale, begins)) in [
        ("ms", "Kod pengesahan Acme anda"),
        ("MS-my", "Kod pengesahan Acme anda"),
        ("zh-Hant-TW", "【Acme】您的验证码是"),
        ("de", "Your Acme verification code"),
        ("", "Kod pengesahan Acme anda"),
    ]
    .into_iter()
    .enumerate()
    {
        let number = format!("+601234520{:02}", 10 + turn);
        let request = StartVerificationRequest { locale: locale.to_owned(), ..start(&number) };
        start_now(&mut client, request).await.unwrap();
        let text = text(&gateway, &number).await;
        assert!(text.starts_with(begins), "{locale}: {text}");
    }
    let refused = start_now(&mut client, StartVerificationRequest { locale: "en_US".to_owned(), ..start(PHONE) });
    assert_eq!(wrong_fields(&refused.await.unwrap_err()), ["locale"]);
}

#[tokio::test]
async fn a_locked_recipient_is_neither_checked_nor_sent_to_until_the_lock_ends() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let policy = CodePolicy { lifetime: seconds(7200), max_checks: 10, ..CodePolicy::default() };
    let request = |scope: &str| StartVerificationRequest {
        scope: scope.to_owned(),
        policy: Some(policy.clone()),
        ..custom("111111")
    };
    let login = start_now(&mut client, request("login")).await.unwrap().id;
    assert_eq!(judge(&mut client, &login, "222222").await, CheckOutcome::WrongCode);
    gateway.clock.advance(Duration::from_secs(30));
    let payment = start_now(&mut client, request("payment")).await.unwrap();
    assert_eq!(payment.checks_left, 9);
    for _ in 0..8 {
        let checked = check(&mut client, &payment.id, "222222").await.unwrap();
        assert_eq!((checked.outcome(), checked.next_check_time), (CheckOutcome::WrongCode, None));
    }
    // The tenth failure in all is told apart by the time from which checks are taken again.
    let ends = START + Duration::from_secs(3600);
    let tenth = check(&mut client, &payment.id, "222222").await.unwrap();
    assert_eq!((tenth.outcome(), tenth.checks_left), (CheckOutcome::WrongCode, 0));
    assert_eq!(at(tenth.next_check_time.as_ref()), ends);

    gateway.clock.set(ends.saturating_sub(MILLISECOND));
    for id in [&login, &payment.id] {
        let locked = check(&mut client, id, "111111").await.unwrap();
        assert_eq!(locked.outcome(), CheckOutcome::RecipientLocked);
        assert_eq!((locked.checks_left, at(locked.next_check_time.as_ref())), (0, ends));
        assert_eq!(locked.verification.unwrap().status(), VerificationStatus::Pending);
    }
    let sent = gateway.inbox(PHONE).await.len();
    for refused in [start_now(&mut client, scoped("another")).await, resend(&mut client, &login).await] {
        let refused = refused.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::ResourceExhausted, "RECIPIENT_LOCKED"));
        assert_eq!(retry_after(&refused), Some(MILLISECOND));
    }
    assert_eq!(gateway.inbox(PHONE).await.len(), sent);
    // Being refused is not counted, so the lock does not grow.
    gateway.clock.set(ends);
    assert_eq!(judge(&mut client, &login, "111111").await, CheckOutcome::Approved);
    start_now(&mut client, scoped("another")).await.unwrap();
    // The nine other failures still stand: the next one locks again.
    let checked = check(&mut client, &payment.id, "222222").await.unwrap();
    assert_eq!(at(checked.next_check_time.as_ref()), START + Duration::from_secs(3630));
}

#[tokio::test]
async fn a_cancel_may_be_repeated_and_undoes_no_other_ending() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    let canceled = cancel(&mut client, &id).await.unwrap();
    assert_eq!((canceled.status(), canceled.checks_left), (VerificationStatus::Canceled, 0));
    assert_eq!((at(canceled.decide_time.as_ref()), canceled.next_resend_time), (START, None));
    gateway.clock.advance(Duration::from_secs(30));
    assert_eq!(cancel(&mut client, &id).await.unwrap().decide_time, canceled.decide_time);
    assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::Canceled);
    assert_eq!(reason(&resend(&mut client, &id).await.unwrap_err()), "VERIFICATION_NOT_PENDING");

    let id = gateway.begin(&mut client, PHONE).await.id;
    judge(&mut client, &id, &gateway.code(PHONE).await).await;
    let refused = cancel(&mut client, &id).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "VERIFICATION_NOT_PENDING"));
    assert_eq!(get_verification(&mut client, &id).await.status(), VerificationStatus::Approved);
}

#[tokio::test]
async fn a_verification_shows_how_far_its_sends_have_come() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let begun = gateway.begin(&mut client, LATE).await;
    let [send] = &begun.sends[..] else { panic!("{begun:?}") };
    assert_eq!((send.number, send.channel(), send.status()), (1, Channel::Sms, MessageStatus::Sent));
    assert_eq!((&*send.vendor, send.attempts), ("inbox", 1));
    assert_eq!(send.reason(), FailureReason::Unspecified);
    gateway.clock.advance(Duration::from_secs(30));
    let told = until(&mut client, &begun.id, |now| now.sends[0].status() == MessageStatus::Delivered).await;
    assert_eq!(at(told.sends[0].update_time.as_ref()), START + Duration::from_secs(30));
    assert_eq!(told.status(), VerificationStatus::Pending);
    let again = resend(&mut client, &begun.id).await.unwrap();
    assert_eq!(again.sends[0], told.sends[0]);
    assert_eq!((again.sends[1].number, at(again.sends[1].create_time.as_ref())), (2, START + Duration::from_secs(30)));
}

#[tokio::test]
async fn what_no_vendor_takes_or_delivers_is_undeliverable() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let rejected = gateway.begin(&mut client, REJECTED).await;
    assert_eq!((rejected.status(), rejected.next_resend_time), (VerificationStatus::Undeliverable, None));
    assert_eq!(rejected.sends[0].status(), MessageStatus::Rejected);
    assert_eq!(rejected.sends[0].reason(), FailureReason::InvalidRecipient);
    let id = gateway.begin(&mut client, FAILED).await.id;
    let failed = until(&mut client, &id, |now| now.status() != VerificationStatus::Pending).await;
    assert_eq!(failed.status(), VerificationStatus::Undeliverable);
    assert_eq!(failed.sends[0].status(), MessageStatus::Undelivered);
    for id in [&rejected.id, &failed.id] {
        assert_eq!(judge(&mut client, id, "000000").await, CheckOutcome::Undeliverable);
        assert_eq!(get_verification(&mut client, id).await.checks_used, 0);
        assert_eq!(reason(&resend(&mut client, id).await.unwrap_err()), "VERIFICATION_NOT_PENDING");
    }
}

/// On one thread: whatever can run has run once a few calls have come and gone.
#[tokio::test]
async fn a_start_waits_for_the_first_outcome_and_never_longer_than_asked() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    for (number, wait, answered_after, taken) in [(SLOW, 10, 3, true), (HANGS, 4, 4, false)] {
        let mut starting = client.clone();
        let request = StartVerificationRequest { delivery_wait: seconds(wait), ..start(number) };
        let started = tokio::spawn(async move { start_with(&mut starting, request).await });
        // Once there is something to check, the start is committed.
        while check_newest(&mut client, "", phone(number), "x").await.is_err() {}
        settle(&mut client).await;
        gateway.clock.advance(Duration::from_secs(answered_after) - MILLISECOND);
        settle(&mut client).await;
        assert!(!started.is_finished(), "{number}");
        gateway.clock.advance(MILLISECOND);
        let [send] = &started.await.unwrap().sends[..] else { panic!("{number}") };
        // What was taken may even have arrived by now.
        assert_eq!(matches!(send.status(), MessageStatus::Sent | MessageStatus::Delivered), taken, "{send:?}");
        assert_eq!(send.status() == MessageStatus::Sending, !taken, "{send:?}");
    }
    let at_once = start_with(&mut client, start(PHONE)).await;
    assert_eq!(at_once.sends[0].status(), MessageStatus::Sending);
    let request = StartVerificationRequest { delivery_wait: seconds(31), ..start("+60123459876") };
    assert_eq!(wrong_fields(&client.start_verification(request).await.unwrap_err()), ["delivery_wait"]);
}

async fn start_with(client: &mut Verifications, request: StartVerificationRequest) -> Verification {
    client.start_verification(request).await.unwrap().into_inner().verification.unwrap()
}

/// Lets everything run that waits for no time.
async fn settle(client: &mut Verifications) {
    for _ in 0..20 {
        drop(check_newest(client, "nothing", phone(PHONE), "x").await);
    }
}

#[tokio::test]
async fn an_email_address_is_verified_by_email() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let request = |address: &str| StartVerificationRequest {
        recipient: Some(email(address)),
        ..StartVerificationRequest::default()
    };
    let begun = start_now(&mut client, request("Ann@Example.COM")).await.unwrap();
    assert_eq!((begun.channel(), begun.recipient), (Channel::Email, Some(email("Ann@example.com"))));
    assert_cools_down(start_now(&mut client, request("Ann@EXAMPLE.com")).await, Duration::from_secs(30));
    let code = gateway.code("Ann@example.com").await;
    let checked = check_newest(&mut client, "", email("Ann@exAMple.com"), &code).await.unwrap();
    assert_eq!(checked.outcome(), CheckOutcome::Approved);
    let by_sms = StartVerificationRequest { channel: Channel::Sms.into(), ..request("bob@example.com") };
    assert_eq!(wrong_fields(&start_now(&mut client, by_sms).await.unwrap_err()), ["channel"]);
    for bad in ["", "ann", "ann@example", "Ann <ann@example.com>", "ann@example.com\n", "ann@exämple.com"] {
        let refused = start_now(&mut client, request(bad)).await.unwrap_err();
        assert_eq!(wrong_fields(&refused), ["recipient.email"], "{bad:?}");
    }
}

#[tokio::test]
async fn after_a_restart_all_of_it_still_holds() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let login = StartVerificationRequest { custom_code: "111111".to_owned(), ..scoped("login") };
    let login = start_now(&mut client, login).await.unwrap().id;
    judge(&mut client, &login, "222222").await;
    gateway.clock.advance(Duration::from_secs(30));
    let payment = StartVerificationRequest { custom_code: "333333".to_owned(), ..scoped("payment") };
    let payment = start_now(&mut client, payment).await.unwrap().id;
    cancel(&mut client, &payment).await.unwrap();
    let (number, approved) = ("+60123459876", "444444");
    let other = StartVerificationRequest { custom_code: approved.to_owned(), ..start(number) };
    let other = start_now(&mut client, other).await.unwrap().id;
    judge(&mut client, &other, approved).await;
    let mut before = Vec::new();
    for id in [&login, &payment, &other] {
        let delivered = |now: &Verification| now.sends.iter().all(|send| send.status() == MessageStatus::Delivered);
        before.push(until(&mut client, id, delivered).await);
    }
    drop(client);

    let gateway = gateway.restart().await;
    let mut client = gateway.verifications().await;
    for (id, before) in [&login, &payment, &other].into_iter().zip(before) {
        assert_eq!(get_verification(&mut client, id).await, before);
    }
    assert_cools_down(resend(&mut client, &login).await, Duration::from_secs(60));
    assert_eq!(judge(&mut client, &payment, "333333").await, CheckOutcome::Canceled);
    assert_eq!(judge(&mut client, &other, approved).await, CheckOutcome::AlreadyApproved);
    gateway.clock.advance(Duration::from_secs(60));
    let again = start_now(&mut client, scoped("login")).await.unwrap();
    assert_eq!((again.id, again.checks_used, again.sends.len()), (login, 1, 2));
    assert!(text(&gateway, PHONE).await.contains("111111"));
    let right = check_newest(&mut client, "login", phone(PHONE), "111111").await.unwrap();
    assert_eq!(right.outcome(), CheckOutcome::Approved);
    // The approval lifts the wait of the recipient after a restart, too.
    drop(client);
    let gateway = gateway.restart().await;
    let mut client = gateway.verifications().await;
    start_now(&mut client, scoped("login")).await.unwrap();
}
