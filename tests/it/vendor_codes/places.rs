//! Vendors that keep one code for a recipient: the code of one purpose, or of one tenant, proves nothing for another.

use std::time::Duration;

use verigate::proto::messaging::v1::{FailureReason, MessageStatus};
use verigate::proto::verification::v1::{
    CheckOutcome, OnExisting, StartVerificationRequest, Verification, VerificationStatus,
};

use crate::support::code_maker::{CodeMaker, Kind};
use crate::support::gateway::{
    Gateway, Verifications, cancel, eventually, get_verification, judge, resend, start, start_now,
};
use crate::support::vendor_server::Fault;
use crate::vendor_codes::{config, house};

const STRANGER: &str = "other.other-secret-of-some-length";

/// Those of the vendors that keep one code for a recipient.
const SINGLE: [Kind; 2] = [Kind::Esms, Kind::Hasun];

async fn begin(client: &mut Verifications, phone: &str, scope: &str) -> Verification {
    let request = StartVerificationRequest { scope: scope.to_owned(), ..start(phone) };
    start_now(client, request).await.unwrap()
}

/// Longer than a cool-down, and than a start may be under way.
fn pause(gateway: &Gateway) {
    gateway.clock.advance(Duration::from_secs(60));
}

#[tokio::test]
async fn the_newest_verification_has_the_vendors_code_and_the_one_before_is_canceled() {
    for kind in SINGLE {
        let maker = CodeMaker::start(kind).await;
        let gateway = house(&[&maker]).await;
        let (phone, mut client) = (kind.phone(1), gateway.verifications().await);
        let login = begin(&mut client, &phone, "login").await.id;
        let first = maker.code(&phone);
        pause(&gateway);
        let payment = begin(&mut client, &phone, "payment").await.id;
        let second = maker.code(&phone);
        // Neither code opens what it was not sent for, and the vendor is not even asked about the first verification.
        assert_eq!(judge(&mut client, &payment, &first).await, CheckOutcome::WrongCode, "{kind:?}");
        assert_eq!(judge(&mut client, &login, &second).await, CheckOutcome::Canceled, "{kind:?}");
        assert_eq!(maker.checks(), 1, "{kind:?}");
        let seen = get_verification(&mut client, &login).await;
        assert_eq!((seen.status(), seen.checks_used), (VerificationStatus::Canceled, 0), "{kind:?}");
        assert_eq!(judge(&mut client, &payment, &second).await, CheckOutcome::Approved, "{kind:?}");
    }
}

#[tokio::test]
async fn one_that_is_sent_again_takes_the_place_back() {
    for kind in SINGLE {
        let maker = CodeMaker::start(kind).await;
        let gateway = house(&[&maker]).await;
        let (phone, mut client) = (kind.phone(1), gateway.verifications().await);
        let login = begin(&mut client, &phone, "login").await.id;
        pause(&gateway);
        let parallel = StartVerificationRequest {
            on_existing: OnExisting::Parallel.into(),
            scope: "login".to_owned(),
            ..start(&phone)
        };
        let beside = start_now(&mut client, parallel).await.unwrap().id;
        pause(&gateway);
        let request = StartVerificationRequest { scope: "login".to_owned(), ..start(&phone) };
        // By scope and recipient the newest is sent again; by its id the older one.
        assert_eq!(start_now(&mut client, request).await.unwrap().id, beside);
        gateway.clock.advance(Duration::from_secs(120));
        resend(&mut client, &login).await.unwrap();
        eventually(async || (maker.made().len() == 4).then_some(())).await;
        eventually(async || {
            let seen = get_verification(&mut client, &login).await;
            (seen.sends[1].status() == MessageStatus::Sent).then_some(())
        })
        .await;
        let newest = maker.code(&phone);
        assert_eq!(judge(&mut client, &beside, &newest).await, CheckOutcome::Canceled, "{kind:?}");
        assert_eq!(judge(&mut client, &login, &newest).await, CheckOutcome::Approved, "{kind:?}");
    }
}

/// A start of which nobody knows whether it came about may have left the code of another verification where it is.
#[tokio::test]
async fn a_start_in_doubt_lets_no_other_code_in() {
    for kind in SINGLE {
        let maker = CodeMaker::start(kind).await;
        let gateway = house(&[&maker]).await;
        let (phone, mut client) = (kind.phone(1), gateway.verifications().await);
        let login = begin(&mut client, &phone, "login").await.id;
        let first = maker.code(&phone);
        pause(&gateway);
        // The vendor takes the request and does nothing.
        maker.set_fault(Fault::Reset).await;
        let payment = begin(&mut client, &phone, "payment").await;
        assert_eq!((payment.sends[0].status(), payment.sends[0].attempts), (MessageStatus::Unknown, 2), "{kind:?}");
        maker.set_fault(None).await;
        assert_eq!(maker.made().len(), 1);
        assert_eq!(judge(&mut client, &payment.id, &first).await, CheckOutcome::WrongCode, "{kind:?}");
        assert_eq!(judge(&mut client, &login, &first).await, CheckOutcome::Canceled, "{kind:?}");
        assert_eq!(maker.checks(), 0, "{kind:?}");
        // A restart forgets no doubt.
        drop(client);
        let gateway = gateway.restart().await;
        let mut client = gateway.verifications().await;
        assert_eq!(judge(&mut client, &payment.id, &first).await, CheckOutcome::WrongCode, "{kind:?}");
        assert_eq!(maker.checks(), 0, "{kind:?}");
        // Once one surely came about, its code holds.
        pause(&gateway);
        resend(&mut client, &payment.id).await.unwrap();
        eventually(async || {
            let seen = get_verification(&mut client, &payment.id).await;
            (seen.sends[1].status() == MessageStatus::Sent).then_some(())
        })
        .await;
        assert_eq!(judge(&mut client, &payment.id, &first).await, CheckOutcome::WrongCode, "{kind:?}");
        assert_eq!(judge(&mut client, &payment.id, &maker.code(&phone)).await, CheckOutcome::Approved, "{kind:?}");
    }
}

#[tokio::test]
async fn a_start_that_surely_did_not_come_about_leaves_the_code_before_it_alone() {
    for kind in SINGLE {
        let (maker, second) = (CodeMaker::start(kind).await, CodeMaker::start(Kind::Octopush).await);
        let gateway = house(&[&maker, &second]).await;
        let (phone, mut client) = (kind.phone(1), gateway.verifications().await);
        let login = begin(&mut client, &phone, "login").await.id;
        let first = maker.code(&phone);
        pause(&gateway);
        for (number, fault) in [Fault::Refuse, CodeMaker::too_often()].into_iter().enumerate() {
            maker.set_fault(fault).await;
            let payment = begin(&mut client, &phone, &format!("payment{number}")).await;
            assert_eq!(payment.sends[0].vendor, "maker1", "{kind:?}");
            gateway.clock.advance(Duration::from_secs(120));
        }
        maker.set_fault(None).await;
        assert_eq!(judge(&mut client, &login, &first).await, CheckOutcome::Approved, "{kind:?}");
    }
}

/// Each of these two names its codes, so that they do not get into each other's way.
#[tokio::test]
async fn vendors_that_name_their_codes_keep_scopes_apart_by_themselves() {
    for kind in [Kind::Octopush, Kind::Simpu] {
        let maker = CodeMaker::start(kind).await;
        let gateway = house(&[&maker]).await;
        let (phone, mut client) = (kind.phone(1), gateway.verifications().await);
        let mut stranger = gateway.verifications_as(STRANGER).await;
        let login = begin(&mut client, &phone, "login").await.id;
        let first = maker.code(&phone);
        let theirs = begin(&mut stranger, &phone, "login").await.id;
        let second = maker.code(&phone);
        pause(&gateway);
        let payment = begin(&mut client, &phone, "payment").await.id;
        let third = maker.code(&phone);
        for (client, id, code, others) in [
            (&mut client.clone(), &login, &first, [&second, &third]),
            (&mut stranger, &theirs, &second, [&first, &third]),
            (&mut client, &payment, &third, [&first, &second]),
        ] {
            for other in others {
                assert_eq!(judge(client, id, other).await, CheckOutcome::WrongCode, "{kind:?}");
            }
            assert_eq!(judge(client, id, code).await, CheckOutcome::Approved, "{kind:?}");
        }
    }
}

// === between tenants ===

/// Each has an app-id of its own.
#[tokio::test]
async fn tenants_with_places_of_their_own_do_not_meet() {
    let maker = CodeMaker::start(Kind::Esms).await;
    let gateway = house(&[&maker]).await;
    let (phone, mut client) = (maker.kind.phone(1), gateway.verifications().await);
    let mut stranger = gateway.verifications_as(STRANGER).await;
    let ours = begin(&mut client, &phone, "login").await.id;
    let our_code = maker.code(&phone);
    let theirs = begin(&mut stranger, &phone, "login").await.id;
    let their_code = maker.code(&phone);
    assert_eq!(judge(&mut client, &ours, &their_code).await, CheckOutcome::WrongCode);
    assert_eq!(judge(&mut stranger, &theirs, &our_code).await, CheckOutcome::WrongCode);
    assert_eq!(judge(&mut client, &ours, &our_code).await, CheckOutcome::Approved);
    assert_eq!(judge(&mut stranger, &theirs, &their_code).await, CheckOutcome::Approved);
}

#[tokio::test]
async fn a_place_that_tenants_share_is_the_first_ones_until_its_verification_ends() {
    let maker = CodeMaker::start(Kind::Hasun).await;
    let gateway = house(&[&maker]).await;
    let (phone, mut client) = (maker.kind.phone(1), gateway.verifications().await);
    let mut stranger = gateway.verifications_as(STRANGER).await;
    let ours = begin(&mut client, &phone, "login").await.id;
    let code = maker.code(&phone);
    pause(&gateway);
    let theirs = begin(&mut stranger, &phone, "login").await;
    let told = (theirs.status(), theirs.sends[0].status(), theirs.sends[0].reason());
    assert_eq!(told, (VerificationStatus::Undeliverable, MessageStatus::Rejected, FailureReason::OtherCodePending));
    assert_eq!(judge(&mut stranger, &theirs.id, &code).await, CheckOutcome::Undeliverable);
    assert_eq!(maker.made().len(), 1, "the vendor was not asked, for that would have ended our code");
    assert_eq!(judge(&mut client, &ours, &code).await, CheckOutcome::Approved);

    // From then on they may have it.
    pause(&gateway);
    let theirs = begin(&mut stranger, &phone, "login").await;
    let their_code = maker.code(&phone);
    assert_eq!(judge(&mut stranger, &theirs.id, &code).await, CheckOutcome::WrongCode);
    assert_eq!(judge(&mut stranger, &theirs.id, &their_code).await, CheckOutcome::Approved);

    // The same when it is canceled, and when nobody says anything and its time is over.
    for ends in [true, false] {
        gateway.clock.advance(Duration::from_secs(3600));
        let ours = begin(&mut client, &phone, "login").await.id;
        if ends {
            cancel(&mut client, &ours).await.unwrap();
            pause(&gateway);
        } else {
            gateway.clock.advance(Duration::from_secs(700));
        }
        let theirs = begin(&mut stranger, &phone, "login").await;
        assert_eq!(judge(&mut stranger, &theirs.id, &maker.code(&phone)).await, CheckOutcome::Approved, "{ends}");
    }
}

/// Another vendor of the route takes what the first cannot.
#[tokio::test]
async fn a_tenant_whose_place_is_taken_gets_the_next_vendor() {
    let (maker, second) = (CodeMaker::start(Kind::Hasun).await, CodeMaker::start(Kind::Simpu).await);
    let gateway = house(&[&maker, &second]).await;
    let (phone, mut client) = (maker.kind.phone(1), gateway.verifications().await);
    let mut stranger = gateway.verifications_as(STRANGER).await;
    let ours = begin(&mut client, &phone, "login").await.id;
    pause(&gateway);
    let theirs = begin(&mut stranger, &phone, "login").await;
    assert_eq!(theirs.sends[0].vendor, "maker1");
    assert_eq!(judge(&mut stranger, &theirs.id, &second.code(&phone)).await, CheckOutcome::Approved);
    assert_eq!(judge(&mut client, &ours, &maker.code(&phone)).await, CheckOutcome::Approved);
}

/// A mask is part of the place, and may be chosen by the sender.
#[tokio::test]
async fn tenants_with_masks_of_their_own_do_not_meet() {
    let maker = CodeMaker::start(Kind::Hasun).await;
    let text = config(&[&maker], "").replacen("name = \"other\"", "name = \"other\"\nsender = \"OTHER\"", 1);
    let gateway = Gateway::start_with(&text).await;
    let (phone, mut client) = (maker.kind.phone(1), gateway.verifications().await);
    let mut stranger = gateway.verifications_as(STRANGER).await;
    let ours = begin(&mut client, &phone, "login").await.id;
    let our_code = maker.code(&phone);
    let theirs = begin(&mut stranger, &phone, "login").await.id;
    let their_code = maker.code(&phone);
    assert_eq!(judge(&mut client, &ours, &their_code).await, CheckOutcome::WrongCode);
    assert_eq!(judge(&mut stranger, &theirs, &our_code).await, CheckOutcome::WrongCode);
    assert_eq!(judge(&mut client, &ours, &our_code).await, CheckOutcome::Approved);
    assert_eq!(judge(&mut stranger, &theirs, &their_code).await, CheckOutcome::Approved);
}

/// One account under two names of ours, such as to give it other limits, is one account.
#[tokio::test]
async fn the_same_account_under_another_name_has_the_same_places() {
    let maker = CodeMaker::start(Kind::Hasun).await;
    let routes = "tenants = [\"acme\"]\n\n[[routes]]\nchannel = \"sms\"\ncodes = \"vendor\"\nvendors = [\"again\"]\n";
    let gateway = Gateway::start_with(&(config(&[&maker], routes) + &maker.config("again"))).await;
    let (phone, mut client) = (maker.kind.phone(1), gateway.verifications().await);
    let mut stranger = gateway.verifications_as(STRANGER).await;
    let ours = begin(&mut client, &phone, "login").await.id;
    pause(&gateway);
    let theirs = begin(&mut stranger, &phone, "login").await;
    assert_eq!(theirs.sends[0].reason(), FailureReason::OtherCodePending);
    assert_eq!(judge(&mut client, &ours, &maker.code(&phone)).await, CheckOutcome::Approved);
}
