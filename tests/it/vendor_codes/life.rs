//! The life of such a code when all is well: made, typed, right, wrong, sent again, canceled, over.

use std::time::Duration;

use verigate::proto::messaging::v1::{Channel, MessageStatus, PreviewMessageRequest, preview_message_request};
use verigate::proto::verification::v1::{
    CheckOutcome, OnExisting, ResendVerificationRequest, StartVerificationRequest, VerificationStatus,
    WatchVerificationRequest,
};

use crate::support::code_maker::{CodeMaker, Kind, State};
use crate::support::gateway::{
    CONFIG, Gateway, cancel, check, eventually, get_verification, judge, phone, reason, resend, start, start_now,
    text_to,
};
use crate::vendor_codes::{config, each, house, wrong};

#[tokio::test]
async fn each_vendors_code_is_approved_once_when_it_is_typed() {
    for (maker, gateway) in each().await {
        let (kind, mut client) = (maker.kind, gateway.verifications().await);
        let phone = kind.phone(1);
        let begun = gateway.begin(&mut client, &phone).await;
        assert!(begun.vendor_makes_code, "{kind:?}");
        let send = &begun.sends[0];
        // What the vendor calls the code is nobody's business.
        assert_eq!((send.vendor.as_str(), send.status(), &*send.vendor_reference), ("maker0", MessageStatus::Sent, ""));
        let code = maker.code(&phone);
        let missed = check(&mut client, &begun.id, &wrong(&code, 0)).await.unwrap();
        assert_eq!((missed.outcome(), missed.checks_left), (CheckOutcome::WrongCode, 4), "{kind:?}");
        let right = check(&mut client, &begun.id, &format!(" {code} ")).await.unwrap();
        assert_eq!((right.outcome(), right.checks_left), (CheckOutcome::Approved, 0), "{kind:?}");
        let verification = right.verification.unwrap();
        assert_eq!((verification.status(), verification.checks_used), (VerificationStatus::Approved, 1), "{kind:?}");
        for candidate in [&code, &wrong(&code, 1)] {
            assert_eq!(judge(&mut client, &begun.id, candidate).await, CheckOutcome::AlreadyApproved, "{kind:?}");
        }
        assert_eq!((maker.checks(), maker.made().len()), (2, 1), "{kind:?}");
    }
}

#[tokio::test]
async fn a_code_that_has_ended_at_its_vendor_has_expired() {
    for kind in [Kind::Hasun, Kind::Octopush, Kind::Simpu] {
        let maker = CodeMaker::start(kind).await;
        let gateway = house(&[&maker]).await;
        let mut client = gateway.verifications().await;
        let phone = kind.phone(1);
        let id = gateway.begin(&mut client, &phone).await.id;
        maker.set_all(State::Expired);
        let late = check(&mut client, &id, &maker.code(&phone)).await.unwrap();
        assert_eq!((late.outcome(), late.checks_left), (CheckOutcome::Expired, 0), "{kind:?}");
        // It was not compared, so it counts for nothing; and an end is an end.
        let verification = late.verification.unwrap();
        assert_eq!((verification.status(), verification.checks_used), (VerificationStatus::Expired, 0), "{kind:?}");
        assert_eq!(verification.decide_time, verification.expire_time, "{kind:?}");
        maker.set_all(State::Live);
        assert_eq!(judge(&mut client, &id, &maker.code(&phone)).await, CheckOutcome::Expired, "{kind:?}");
        assert_eq!(maker.checks(), 1, "{kind:?}");
    }
}

/// The vendor would still take it, but we do not.
#[tokio::test]
async fn a_code_that_has_ended_with_us_is_not_asked_about() {
    for (maker, gateway) in each().await {
        let mut client = gateway.verifications().await;
        let phone = maker.kind.phone(1);
        let id = gateway.begin(&mut client, &phone).await.id;
        gateway.clock.advance(Duration::from_secs(600));
        assert_eq!(judge(&mut client, &id, &maker.code(&phone)).await, CheckOutcome::Expired);
        assert_eq!((maker.checks(), get_verification(&mut client, &id).await.checks_used), (0, 0));
    }
}

#[tokio::test]
async fn a_vendor_that_takes_no_more_checks_ends_the_verification() {
    for kind in [Kind::Hasun, Kind::Octopush] {
        let maker = CodeMaker::start(kind).await;
        let gateway = house(&[&maker]).await;
        let mut client = gateway.verifications().await;
        let phone = kind.phone(1);
        let id = gateway.begin(&mut client, &phone).await.id;
        maker.set_all(State::Exhausted);
        let code = maker.code(&phone);
        assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::ChecksExhausted, "{kind:?}");
        let verification = get_verification(&mut client, &id).await;
        assert_eq!(verification.status(), VerificationStatus::ChecksExhausted, "{kind:?}");
        maker.set_all(State::Live);
        assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::ChecksExhausted, "{kind:?}");
        assert_eq!(maker.checks(), 1, "{kind:?}");
    }
}

/// The last check that is allowed must still be able to approve.
#[tokio::test]
async fn the_last_allowed_check_approves_when_it_is_right() {
    for (maker, gateway) in each().await {
        let (kind, mut client) = (maker.kind, gateway.verifications().await);
        let phone = kind.phone(1);
        let id = gateway.begin(&mut client, &phone).await.id;
        let code = maker.code(&phone);
        for turn in 0..4 {
            assert_eq!(judge(&mut client, &id, &wrong(&code, turn)).await, CheckOutcome::WrongCode, "{kind:?}");
        }
        assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::Approved, "{kind:?}");
        assert_eq!(get_verification(&mut client, &id).await.checks_used, 4, "{kind:?}");
    }
}

/// The failures of the window, too, are given back what was no failure.
#[tokio::test]
async fn right_codes_leave_the_recipients_window_alone() {
    let maker = CodeMaker::start(Kind::Simpu).await;
    let limits = "[verification.limits]\nfailures = 2\n\n[[tenants]]\nname = \"acme\"";
    let gateway = Gateway::start_with(&config(&[&maker], "").replacen("[[tenants]]\nname = \"acme\"", limits, 1)).await;
    let (phone, mut client) = (maker.kind.phone(1), gateway.verifications().await);
    for _ in 0..4 {
        let begun = gateway.begin(&mut client, &phone).await;
        assert_eq!(begun.checks_left, 2);
        assert_eq!(judge(&mut client, &begun.id, &maker.code(&phone)).await, CheckOutcome::Approved);
        gateway.clock.advance(Duration::from_secs(300));
    }
}

#[tokio::test]
async fn sending_again_makes_a_new_code_and_the_one_before_holds_no_more() {
    for (maker, gateway) in each().await {
        let (kind, mut client) = (maker.kind, gateway.verifications().await);
        let phone = kind.phone(1);
        let begun = gateway.begin(&mut client, &phone).await;
        let first = maker.code(&phone);
        let early = resend(&mut client, &begun.id).await.unwrap_err();
        assert_eq!(reason(&early), "COOL_DOWN", "{kind:?}");
        gateway.clock.advance(Duration::from_secs(30));
        resend(&mut client, &begun.id).await.unwrap();
        eventually(async || (maker.made().len() == 2).then_some(())).await;
        let sent = eventually(async || {
            let seen = get_verification(&mut client, &begun.id).await;
            (seen.sends[1].status() == MessageStatus::Sent).then_some(seen)
        })
        .await;
        assert_eq!((sent.sends.len(), sent.expire_time), (2, begun.expire_time), "{kind:?}");
        let second = maker.code(&phone);
        assert_ne!(first, second);
        assert_eq!(judge(&mut client, &begun.id, &first).await, CheckOutcome::WrongCode, "{kind:?}");
        assert_eq!(judge(&mut client, &begun.id, &second).await, CheckOutcome::Approved, "{kind:?}");
        // By then less is left of the code's time, and the vendor is told so.
        let lifetimes: Vec<_> = maker.made().iter().map(|made| made.lifetime_seconds).collect();
        assert!(lifetimes[1] <= lifetimes[0], "{kind:?}: {lifetimes:?}");
    }
}

/// Where a vendor keeps several codes, one that it has lost does not stand in the way of the one before.
#[tokio::test]
async fn an_older_code_is_asked_about_only_where_the_newest_is_not_known() {
    let maker = CodeMaker::start(Kind::Simpu).await;
    let gateway = house(&[&maker]).await;
    let (phone, mut client) = (maker.kind.phone(1), gateway.verifications().await);
    let id = gateway.begin(&mut client, &phone).await.id;
    let first = maker.code(&phone);
    gateway.clock.advance(Duration::from_secs(30));
    resend(&mut client, &id).await.unwrap();
    eventually(async || {
        let seen = get_verification(&mut client, &id).await;
        (seen.sends.len() == 2 && seen.sends[1].status() == MessageStatus::Sent).then_some(())
    })
    .await;
    assert_eq!((judge(&mut client, &id, &first).await, maker.checks()), (CheckOutcome::WrongCode, 1));
    maker.set_newest(State::Gone);
    assert_eq!((judge(&mut client, &id, &first).await, maker.checks()), (CheckOutcome::Approved, 3));
}

#[tokio::test]
async fn canceling_and_replacing_void_the_code_at_the_vendor_that_takes_it() {
    for (maker, gateway) in each().await {
        let (kind, mut client) = (maker.kind, gateway.verifications().await);
        let phone = kind.phone(1);
        let first = gateway.begin(&mut client, &phone).await.id;
        gateway.clock.advance(Duration::from_secs(30));
        let replace = StartVerificationRequest { on_existing: OnExisting::Replace.into(), ..start(&phone) };
        let second = start_now(&mut client, replace).await.unwrap().id;
        assert_ne!(first, second);
        let codes: Vec<_> = maker.made().into_iter().map(|made| made.code).collect();
        assert_eq!(judge(&mut client, &first, &codes[0]).await, CheckOutcome::Canceled, "{kind:?}");
        cancel(&mut client, &second).await.unwrap();
        assert_eq!(judge(&mut client, &second, &codes[1]).await, CheckOutcome::Canceled, "{kind:?}");
        assert_eq!(maker.checks(), 0, "{kind:?}");
        if kind == Kind::Simpu {
            let mut names: Vec<_> = maker.made().into_iter().map(|made| made.name).collect();
            names.sort();
            eventually(async || {
                let mut canceled = maker.canceled();
                canceled.sort();
                (canceled == names).then_some(())
            })
            .await;
        } else {
            assert_eq!(maker.canceled(), [""; 0], "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_restart_forgets_neither_the_code_nor_what_was_counted() {
    for (maker, gateway) in each().await {
        let (kind, mut client) = (maker.kind, gateway.verifications().await);
        let phone = kind.phone(1);
        let id = gateway.begin(&mut client, &phone).await.id;
        let code = maker.code(&phone);
        assert_eq!(judge(&mut client, &id, &wrong(&code, 0)).await, CheckOutcome::WrongCode, "{kind:?}");
        drop(client);
        let gateway = gateway.restart().await;
        let mut client = gateway.verifications().await;
        assert_eq!(get_verification(&mut client, &id).await.checks_used, 1, "{kind:?}");
        assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::Approved, "{kind:?}");
        drop(client);
        let gateway = gateway.restart().await;
        let mut client = gateway.verifications().await;
        assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::AlreadyApproved, "{kind:?}");
    }
}

/// Watchers and lists see such a verification as any other.
#[tokio::test]
async fn a_watch_ends_with_the_approval() {
    let maker = CodeMaker::start(Kind::Hasun).await;
    let gateway = house(&[&maker]).await;
    let (phone, mut client) = (maker.kind.phone(1), gateway.verifications().await);
    let id = gateway.begin(&mut client, &phone).await.id;
    let watch = client.watch_verification(WatchVerificationRequest { id: id.clone() }).await;
    let mut watch = watch.unwrap().into_inner();
    assert_eq!(judge(&mut client, &id, &maker.code(&phone)).await, CheckOutcome::Approved);
    let mut last = None;
    while let Some(seen) = watch.message().await.unwrap() {
        last = seen.verification;
    }
    assert_eq!(last.unwrap().status(), VerificationStatus::Approved);
}

/// Other messages go over the route as over any other.
#[tokio::test]
async fn a_plain_message_is_sent_as_it_is() {
    for (maker, gateway) in each().await {
        let mut messages = gateway.messages().await;
        let to = maker.kind.phone(1);
        messages.send_message(text_to(&to, "Your parcel is here")).await.unwrap();
        eventually(async || (maker.server.requests().len() == 1).then_some(())).await;
        assert!(maker.server.requests()[0].path().ends_with("/send"), "{:?}", maker.kind);
        assert_eq!(maker.made().len(), 0);
        let request = PreviewMessageRequest {
            recipient: Some(phone(&to)),
            content: Some(preview_message_request::Content::Text("Your parcel is here".to_owned())),
            ..PreviewMessageRequest::default()
        };
        let preview = messages.preview_message(request).await.unwrap().into_inner();
        let told: Vec<_> =
            preview.candidates.iter().map(|it| (it.vendor.as_str(), it.usable, it.why.as_str())).collect();
        assert_eq!(told, [("maker0", true, "first in the route that fits")]);
    }
}

// === workflows ===

fn workflow(steps: &str, rest: &str) -> String {
    format!("\n[[workflows]]\nname = \"ladder\"\nsteps = {steps}\n{rest}\n")
}

/// Text messages and calls by the vendor, e-mail and WhatsApp by us.
async fn ladder(maker: &CodeMaker, steps: &str) -> Gateway {
    let more = "[[routes]]\nchannel = \"voice\"\ncodes = \"vendor\"\nvendors = [\"maker0\"]\n\
                [[routes]]\nchannel = \"whatsapp\"\nvendors = [\"inbox\"]\n";
    Gateway::start_with(&(config(&[maker], more) + &workflow(steps, ""))).await
}

#[tokio::test]
async fn a_workflow_goes_on_with_new_codes_and_passes_over_steps_with_codes_of_others() {
    let maker = CodeMaker::start(Kind::Octopush).await;
    let steps = r#"[{ channel = "sms", wait = "30s" }, { channel = "voice" }]"#;
    let gateway = ladder(&maker, steps).await;
    let (phone, mut client) = (maker.kind.phone(1), gateway.verifications().await);
    let request = StartVerificationRequest { workflow: "ladder".to_owned(), ..start(&phone) };
    let id = start_now(&mut client, request).await.unwrap().id;
    gateway.clock.advance(Duration::from_secs(30));
    eventually(async || {
        let seen = get_verification(&mut client, &id).await;
        (seen.sends.len() == 2 && seen.sends[1].status() == MessageStatus::Sent).then_some(())
    })
    .await;
    let channels: Vec<_> = maker.made().into_iter().map(|made| made.channel).collect();
    assert_eq!(channels, ["sms", "voice_sms"]);
    assert_eq!(judge(&mut client, &id, &maker.code(&phone)).await, CheckOutcome::Approved);
    drop(client);

    // A verification keeps who makes its code, also when it is asked for by hand.
    let gateway = ladder(&maker, steps).await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, &phone).await.id;
    gateway.clock.advance(Duration::from_secs(30));
    let request = ResendVerificationRequest { id: id.clone(), channel: Channel::Whatsapp.into() };
    let refused = client.resend_verification(request).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (tonic::Code::FailedPrecondition, "NO_ROUTE"));
    let mut request = start(&phone);
    request.channel = Channel::Whatsapp.into();
    let refused = start_now(&mut client, request.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "NO_ROUTE");
    request.on_existing = OnExisting::Replace.into();
    let other = start_now(&mut client, request).await.unwrap();
    assert!(!other.vendor_makes_code);
    assert_eq!(judge(&mut client, &other.id, &gateway.code(&phone).await).await, CheckOutcome::Approved);
}

#[tokio::test]
async fn where_one_route_changes_hands_its_steps_are_passed_over() {
    let maker = CodeMaker::start(Kind::Octopush).await;
    // In Singapore we make the codes of text messages ourselves, so the step that follows is not for these codes.
    let steps = r#"[{ channel = "sms", wait = "30s" }, { channel = "whatsapp", wait = "30s" }, { channel = "sms" }]"#;
    let own = "[[routes]]\nchannel = \"sms\"\ncountries = [\"SG\"]\nvendors = [\"inbox\"]\n\n[[routes]]\nchannel = \"sms\"\ncodes";
    let more = "[[routes]]\nchannel = \"whatsapp\"\nvendors = [\"inbox\"]\n";
    let text = config(&[&maker], more).replacen("[[routes]]\nchannel = \"sms\"\ncodes", own, 1) + &workflow(steps, "");
    let gateway = Gateway::start_with(&text).await;
    let mut client = gateway.verifications().await;
    for (phone, channels) in [
        ("+60123450001", &[Channel::Sms, Channel::Sms][..]),
        ("+6581234567", &[Channel::Sms, Channel::Whatsapp, Channel::Sms][..]),
    ] {
        let request = StartVerificationRequest { workflow: "ladder".to_owned(), ..start(phone) };
        let id = start_now(&mut client, request).await.unwrap().id;
        for sends in 2..=channels.len() {
            gateway.clock.advance(Duration::from_secs(30));
            eventually(async || {
                let seen = get_verification(&mut client, &id).await;
                (seen.sends.len() == sends).then_some(())
            })
            .await;
        }
        let seen = get_verification(&mut client, &id).await;
        let taken: Vec<_> = seen.sends.iter().map(|send| send.channel()).collect();
        assert_eq!((taken.as_slice(), seen.next_step_time), (channels, None), "{phone}");
    }
}

// === what we measure ===

#[tokio::test]
async fn conversion_is_measured_as_for_codes_of_ours() {
    let (good, bad) = (CodeMaker::start(Kind::Octopush).await, CodeMaker::start(Kind::Simpu).await);
    let gateway = Gateway::start_with(&config(&[&bad, &good], "order = \"conversion\"")).await;
    let (mut client, mut messages) = (gateway.verifications().await, gateway.messages().await);
    let (mut of_bad, mut of_good, mut number) = (0, 0, 0);
    // So many of each are needed before they are judged by.
    while of_bad < 100 || of_good < 100 {
        number += 1;
        let phone = Kind::Octopush.phone(number);
        let begun = gateway.begin(&mut client, &phone).await;
        match begun.sends[0].vendor.as_str() {
            "maker1" => {
                let code = good.code(&phone);
                assert_eq!(judge(&mut client, &begun.id, &code).await, CheckOutcome::Approved);
                of_good += 1;
            }
            _ => of_bad += 1,
        }
    }
    let request = PreviewMessageRequest {
        recipient: Some(phone("+60123450001")),
        content: Some(preview_message_request::Content::Text("Hello".to_owned())),
        ..PreviewMessageRequest::default()
    };
    let told = messages.preview_message(request).await.unwrap().into_inner().candidates;
    assert_eq!(told[0].vendor, "maker1");
    assert!(told[0].why.contains("by conversion: 99 % of 1"), "{}", told[0].why);
    assert!(told[1].why.contains("by conversion: 1 % of 1"), "{}", told[1].why);
}

/// Nothing of this changes for codes of ours.
#[tokio::test]
async fn a_route_makes_codes_of_ours_unless_it_says_otherwise() {
    for codes in ["", "codes = \"own\"\n"] {
        let route = format!("channel = \"sms\"\n{codes}");
        let gateway = Gateway::start_with(&CONFIG.replacen("channel = \"sms\"\n", &route, 1)).await;
        let mut client = gateway.verifications().await;
        let begun = gateway.begin(&mut client, "+60123456789").await;
        assert!(!begun.vendor_makes_code);
        let code = gateway.code("+60123456789").await;
        assert_eq!(judge(&mut client, &begun.id, &code).await, CheckOutcome::Approved);
    }
}
