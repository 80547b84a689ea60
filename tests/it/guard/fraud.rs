//! Signs of fraud: where it goes, what kind of number it is, that codes do not come back; and answers that tell nothing.

use std::time::Duration;

use futures_util::future::join_all;
use tonic::Code;
use verigate::proto::admin::v1::{Block, ListBlocksRequest, UnblockRequest};
use verigate::proto::messaging::v1::MessageStatus;
use verigate::proto::verification::v1::{CheckOutcome, StartVerificationRequest};

use crate::guard::{guarded, number, try_number, try_start, until_refused, with};
use crate::support::gateway::{Admin, Gateway, PHONE, Verifications, judge, reason, retry_after, start, text_to};

const MINUTE: Duration = Duration::from_secs(60);

/// Numbers of one block, none beside another.
fn of_block(turn: u32) -> String {
    format!("+6012345{:04}", 100 + turn * 97)
}

#[tokio::test]
async fn countries_are_allowed_denied_or_watched() {
    let rows = [
        ("deny = [\"MY\"]", false, true),
        ("allow = [\"SG\"]", false, true),
        ("allow = [\"MY\"]", true, false),
        ("monitor = [\"MY\"]", true, true),
        ("mode = \"off\"\ndeny = [\"MY\"]", true, true),
        ("mode = \"monitor\"\ndeny = [\"MY\"]", true, true),
    ];
    for (lists, malaysia, singapore) in rows {
        let gateway = guarded(&format!("[guard.countries]\n{lists}")).await;
        let mut client = gateway.verifications().await;
        for (number, passes) in [(PHONE, malaysia), ("+6591234567", singapore)] {
            let started = try_number(&mut client, number).await;
            assert_eq!(started.is_ok(), passes, "{lists} {number}");
            if let Err(status) = started {
                assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "COUNTRY_DENIED"));
                assert_eq!(retry_after(&status), None, "waiting does not help");
            }
        }
    }
}

#[tokio::test]
async fn one_tenants_list_of_countries_is_its_own() {
    let own = "[guard.tenants.other.countries]\nmode = \"enforce\"\nallow = [\"SG\"]\ndeny = []\nmonitor = []";
    let gateway = guarded(own).await;
    try_number(&mut gateway.verifications().await, PHONE).await.unwrap();
    let mut other = gateway.verifications_as("other.other-secret-of-some-length").await;
    assert_eq!(reason(&try_number(&mut other, PHONE).await.unwrap_err()), "COUNTRY_DENIED");
}

#[tokio::test]
async fn premium_numbers_are_not_sent_to_unless_the_operator_wants_it() {
    let premium = "+449012345678";
    let gateway = guarded("").await;
    let mut client = gateway.verifications().await;
    let status = try_number(&mut client, premium).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "NUMBER_TYPE_DENIED"));
    let status = gateway.messages().await.send_message(text_to(premium, "Hello")).await.unwrap_err();
    assert_eq!(reason(&status), "NUMBER_TYPE_DENIED");
    let gateway = gateway.restart_with(&with("[guard.number_types]\ndeny = [\"fixed_line\"]")).await;
    let mut client = gateway.verifications().await;
    try_number(&mut client, premium).await.unwrap();
    assert_eq!(reason(&try_number(&mut client, "+60323456789").await.unwrap_err()), "NUMBER_TYPE_DENIED");
}

async fn blocks(admin: &mut Admin) -> Vec<Block> {
    admin.list_blocks(ListBlocksRequest::default()).await.unwrap().into_inner().blocks
}

/// Sends codes that nobody gives back to numbers all over Malaysia, one a minute, until all of it is blocked.
async fn provoke_all_over(gateway: &Gateway, client: &mut Verifications) {
    for turn in 0.. {
        // No more than two of one million.
        let range = ["2", "3", "7", "9"][turn % 4];
        let number = format!("+601{range}{}{:06}", 2 + turn / 4 % 8, 101_000 + turn);
        match try_number(client, &number).await {
            Ok(_) => gateway.clock.advance(MINUTE),
            Err(status) => return assert_eq!((reason(&status).as_str(), turn), ("CONVERSION_TOO_LOW", 59)),
        }
    }
}

/// Sends codes that nobody gives back, until the block of numbers is blocked.
async fn provoke(gateway: &Gateway, client: &mut Verifications) {
    for turn in 0..20 {
        try_number(client, &of_block(turn)).await.unwrap();
    }
    gateway.clock.advance(12 * MINUTE);
}

#[tokio::test]
async fn an_area_from_which_no_code_comes_back_is_blocked_until_a_probe_does() {
    let gateway = guarded("[guard.conversion]\nmode = \"enforce\"").await;
    let mut client = gateway.verifications().await;
    provoke(&gateway, &mut client).await;
    let status = try_number(&mut client, &of_block(50)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "CONVERSION_TOO_LOW"));
    assert_eq!(retry_after(&status), Some(60 * MINUTE));
    let mut admin = gateway.admin().await;
    let blocked = blocks(&mut admin).await;
    let areas: Vec<_> = blocked.iter().map(|block| (block.tenant.as_str(), block.area.as_str())).collect();
    assert_eq!(areas, [("acme", "+6012345")], "and nobody who lives around it");
    try_number(&mut client, "+60123111111").await.unwrap();
    // Another tenant's codes may well come back.
    let mut other = gateway.verifications_as("other.other-secret-of-some-length").await;
    try_number(&mut other, &of_block(51)).await.unwrap();

    // It outlives a restart, and three probes go through after it.
    let gateway = gateway.restart_with(&with("[guard.conversion]\nmode = \"enforce\"")).await;
    let mut client = gateway.verifications().await;
    gateway.clock.advance(30 * MINUTE);
    assert_eq!(retry_after(&try_number(&mut client, &of_block(50)).await.unwrap_err()), Some(30 * MINUTE));
    gateway.clock.advance(30 * MINUTE);
    // Three, however many ask at once.
    let probes = (50..82).map(|turn| {
        let mut client = client.clone();
        async move { try_number(&mut client, &of_block(turn)).await }
    });
    let probes = join_all(probes).await;
    let refused: Vec<_> = probes.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 29);
    assert!(refused.iter().all(|status| reason(status) == "CONVERSION_TOO_LOW"), "{refused:?}");
    gateway.clock.advance(11 * MINUTE);
    let status = try_number(&mut client, &of_block(90)).await.unwrap_err();
    assert!(retry_after(&status).is_some_and(|wait| wait > 100 * MINUTE), "twice as long: {status:?}");
    gateway.clock.advance(120 * MINUTE);
    let probe = try_number(&mut client, &of_block(90)).await.unwrap().verification.unwrap();
    let code = gateway.code(&of_block(90)).await;
    assert_eq!(judge(&mut client, &probe.id, &code).await, CheckOutcome::Approved);
    for turn in 91..100 {
        try_number(&mut client, &of_block(turn)).await.unwrap();
    }
    assert_eq!(blocks(&mut gateway.admin().await).await, []);
}

#[tokio::test]
async fn an_operator_lists_blocks_and_ends_them() {
    let gateway = guarded("[guard.conversion]\nmode = \"enforce\"").await;
    let mut client = gateway.verifications().await;
    provoke(&gateway, &mut client).await;
    let before = try_number(&mut client, &of_block(50)).await.unwrap_err();
    assert_eq!(reason(&before), "CONVERSION_TOO_LOW");
    provoke_all_over(&gateway, &mut client).await;
    let mut admin = gateway.admin().await;
    let areas: Vec<_> = blocks(&mut admin).await.into_iter().map(|block| block.area).collect();
    assert_eq!(areas, ["MY", "+6012345"], "from wide to narrow");
    let unblock = |tenant: &str, area: &str| UnblockRequest { tenant: tenant.to_owned(), area: area.to_owned() };
    for wrong in [unblock("", "+60124"), unblock("other", "MY"), unblock("nobody", "MY")] {
        let status = admin.unblock(wrong).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "BLOCK_NOT_FOUND"));
    }
    let status = admin.unblock(unblock("", "Malaysia")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let since = blocks(&mut admin).await[1].block_time;
    // With what lies within it, but not with what lies around it.
    assert_eq!(admin.unblock(unblock("", "+60123")).await.unwrap().into_inner().block_time, since);
    let areas: Vec<_> = blocks(&mut admin).await.into_iter().map(|block| block.area).collect();
    assert_eq!(areas, ["MY"]);
    assert_eq!(reason(&try_number(&mut client, &of_block(50)).await.unwrap_err()), "CONVERSION_TOO_LOW");
    admin.unblock(unblock("acme", "MY")).await.unwrap();
    try_number(&mut client, &of_block(50)).await.unwrap();
    assert_eq!(blocks(&mut admin).await, []);
}

fn from(number: &str, client_ip: &str) -> StartVerificationRequest {
    StartVerificationRequest { client_ip: client_ip.to_owned(), ..start(number) }
}

/// Sends a code and gives it back.
async fn give_back(gateway: &Gateway, client: &mut Verifications, number: &str, client_ip: &str) {
    let id = try_start(client, from(number, client_ip)).await.unwrap().verification.unwrap().id;
    let code = gateway.code(number).await;
    // What is sent meanwhile for another purpose changes nothing.
    gateway.messages().await.send_message(text_to(number, "Hello")).await.unwrap();
    assert_eq!(judge(client, &id, &code).await, CheckOutcome::Approved);
}

#[tokio::test]
async fn who_gave_a_code_back_is_sent_to_though_all_around_is_blocked() {
    let gateway = guarded("[guard.conversion]\nmode = \"enforce\"").await;
    let mut client = gateway.verifications().await;
    give_back(&gateway, &mut client, &of_block(60), "").await;
    gateway.clock.advance(60 * 60 * MINUTE);
    provoke(&gateway, &mut client).await;
    assert_eq!(reason(&try_number(&mut client, &of_block(50)).await.unwrap_err()), "CONVERSION_TOO_LOW");
    try_number(&mut client, &of_block(60)).await.unwrap();
    // Also after a restart, for a month.
    let gateway = gateway.restart_with(&with("[guard.conversion]\nmode = \"enforce\"")).await;
    let mut client = gateway.verifications().await;
    gateway.clock.advance(15 * MINUTE);
    try_number(&mut client, &of_block(60)).await.unwrap();
    gateway.clock.advance(30 * 24 * 60 * MINUTE);
    provoke(&gateway, &mut client).await;
    assert_eq!(reason(&try_number(&mut client, &of_block(60)).await.unwrap_err()), "CONVERSION_TOO_LOW");
}

#[tokio::test]
async fn who_comes_from_where_codes_are_given_back_is_sent_to_until_they_are_not() {
    let gateway = guarded("[guard.conversion]\nmode = \"enforce\"").await;
    let mut client = gateway.verifications().await;
    for turn in 0..4 {
        give_back(&gateway, &mut client, &number(turn), &format!("192.0.2.{turn}")).await;
    }
    provoke(&gateway, &mut client).await;
    for nobody in ["198.51.100.1", "2001:db8::1", ""] {
        let status = try_start(&mut client, from(&of_block(50), nobody)).await.unwrap_err();
        assert_eq!(reason(&status), "CONVERSION_TOO_LOW");
    }
    // Four of ten are just enough for a place.
    for turn in 50..55 {
        try_start(&mut client, from(&of_block(turn), "192.0.2.200")).await.unwrap();
    }
    gateway.clock.advance(MINUTE);
    try_start(&mut client, from(&of_block(55), "192.0.2.200")).await.unwrap();
    let status = try_start(&mut client, from(&of_block(56), "192.0.2.200")).await.unwrap_err();
    assert_eq!(reason(&status), "CONVERSION_TOO_LOW");
}

#[tokio::test]
async fn a_code_that_comes_back_gives_back_what_its_send_took() {
    let gateway = guarded("[guard.client_address]\nsends = 2\nwindow = \"1h\"").await;
    let mut client = gateway.verifications().await;
    for turn in 0..10 {
        give_back(&gateway, &mut client, &number(turn), "192.0.2.7").await;
    }
    for turn in 10..12 {
        try_start(&mut client, from(&number(turn), "192.0.2.7")).await.unwrap();
    }
    let status = try_start(&mut client, from(&number(12), "192.0.2.7")).await.unwrap_err();
    assert_eq!(reason(&status), "CLIENT_ADDRESS_LIMIT");
}

#[tokio::test]
async fn codes_that_come_back_block_nothing() {
    let gateway = guarded("[guard.conversion]\nmode = \"enforce\"").await;
    let mut client = gateway.verifications().await;
    for turn in 0..60 {
        let id = try_number(&mut client, &of_block(turn)).await.unwrap().verification.unwrap().id;
        if turn % 2 == 0 {
            let code = gateway.code(&of_block(turn)).await;
            assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::Approved);
        }
        gateway.clock.advance(2 * MINUTE);
    }
}

#[tokio::test]
async fn what_no_vendor_took_says_nothing_of_people() {
    let gateway = guarded("[guard.conversion]\nmode = \"enforce\"").await;
    let mut client = gateway.verifications().await;
    for turn in 0..60 {
        try_number(&mut client, &format!("+6012{:04}003", 1000 + turn * 97)).await.unwrap();
    }
    gateway.clock.advance(12 * MINUTE);
    try_number(&mut client, PHONE).await.unwrap();
}

#[tokio::test]
async fn in_the_shadow_a_refused_send_looks_like_any_other() {
    let shadow = "[guard]\nanswers = \"shadow\"\n[guard.countries]\ndeny = [\"MY\"]\n[guard.tenant]\nmode = \"enforce\"\nsends = 3";
    let gateway = guarded(shadow).await;
    let mut client = gateway.verifications().await;
    let shown = try_number(&mut client, PHONE).await.unwrap().verification.unwrap();
    let real = try_number(&mut client, "+6591234567").await.unwrap().verification.unwrap();
    assert_eq!((shown.status, shown.checks_left, shown.sends.len()), (real.status, real.checks_left, real.sends.len()));
    let (shown_send, real_send) = (&shown.sends[0], &real.sends[0]);
    assert_eq!((shown_send.status(), &shown_send.vendor), (MessageStatus::Sent, &real_send.vendor));
    assert!(gateway.inbox(PHONE).await.is_empty(), "nothing left");
    assert_eq!(judge(&mut client, &shown.id, "000000").await, CheckOutcome::WrongCode);
    gateway.clock.advance(MINUTE);
    let message = gateway.messages().await.send_message(text_to(PHONE, "Hello")).await.unwrap().into_inner();
    assert_eq!(message.message.unwrap().status(), MessageStatus::Sent);
    assert!(gateway.inbox(PHONE).await.is_empty());
    // What the tenant itself has to know is told.
    let numbers = (0..9).map(|last| start(&format!("+659123456{last}")));
    let (_, status) = until_refused(&mut client, numbers.skip(1)).await;
    assert_eq!(reason(&status), "TENANT_LIMIT");
}
