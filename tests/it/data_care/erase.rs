//! Everything of one recipient: shown, and erased.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tonic::Code;
use verigate::proto::admin::v1::export_recipient_response::Record;
use verigate::proto::admin::v1::{
    EraseRecipientRequest, EraseRecipientResponse, ExportRecipientRequest, ExportRecipientResponse,
};
use verigate::proto::contacts::v1::CreateRowRequest;
use verigate::proto::messaging::v1::{GetMessageRequest, SendMessageRequest};
use verigate::proto::verification::v1::{
    CheckOutcome, GetVerificationRequest, ListVerificationsRequest, StartVerificationRequest, WatchVerificationRequest,
};
use verigate::store::seal::KeyRing;
use verigate::store::space::Space;

use crate::data_care::traces::{Traces, administered, back_up, records, rewrite};
use crate::events::house::House;
use crate::support::gateway::{
    Admin, Gateway, PHONE, check, email, eventually, judge, phone, reason, start, start_now, text_to, wrong,
    wrong_fields,
};
use crate::support::log::Log;
use crate::support::vendor_server::{Answer, VendorServer};

const BESIDE: &str = "+60123456780";
const MAIL: &str = "ann@example.com";

fn of(phone: &str) -> EraseRecipientRequest {
    EraseRecipientRequest { recipient: Some(self::phone(phone)), ..EraseRecipientRequest::default() }
}

async fn erase(admin: &mut Admin, request: EraseRecipientRequest) -> EraseRecipientResponse {
    admin.erase_recipient(request).await.unwrap().into_inner()
}

async fn export(admin: &mut Admin, request: ExportRecipientRequest) -> Vec<ExportRecipientResponse> {
    let mut answers = admin.export_recipient(request).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        all.push(answer);
    }
    all
}

async fn export_of(admin: &mut Admin, phone: &str) -> Vec<ExportRecipientResponse> {
    export(admin, ExportRecipientRequest { recipient: Some(self::phone(phone)), ..Default::default() }).await
}

fn row(cells: &[(&str, &str)]) -> CreateRowRequest {
    let cell = |(name, text): &(&str, &str)| {
        let kind = Some(prost_types::value::Kind::StringValue((*text).to_owned()));
        ((*name).to_owned(), prost_types::Value { kind })
    };
    CreateRowRequest { columns: cells.iter().map(cell).collect(), ..CreateRowRequest::default() }
}

/// A scheduled message.
fn later(phone: &str) -> SendMessageRequest {
    let send_at = prost_types::Timestamp { seconds: 1_795_335_360, nanos: 0 };
    SendMessageRequest { send_at: Some(send_at), ..text_to(phone, "See you tomorrow.") }
}

#[tokio::test]
async fn what_is_kept_of_a_recipient_is_shown_without_codes() {
    let gateway = Gateway::start_with(&administered()).await;
    let mut client = gateway.verifications().await;
    let variables = [("name".to_owned(), "Ann".to_owned())].into();
    let started = StartVerificationRequest { variables, ..start(PHONE) };
    // The built-in template has no such variable, so none is set here.
    let started = StartVerificationRequest { variables: Default::default(), ..started };
    let begun = start_now(&mut client, started).await.unwrap();
    let code = gateway.code(PHONE).await;
    start_now(&mut client, start(BESIDE)).await.unwrap();
    let mut messages = gateway.messages().await;
    let sent = messages.send_message(text_to(PHONE, "Your table is ready.")).await.unwrap().into_inner();
    messages.send_message(text_to(BESIDE, "Not yours.")).await.unwrap();
    let mut contacts = gateway.contacts().await;
    contacts.create_row(row(&[("phone_number", PHONE), ("first_name", "Ann")])).await.unwrap();
    contacts.create_row(row(&[("phone_number", BESIDE)])).await.unwrap();
    let mut other = gateway.verifications_as("other.other-secret-of-some-length").await;
    start_now(&mut other, start(PHONE)).await.unwrap();

    let mut admin = gateway.admin().await;
    let all = export_of(&mut admin, PHONE).await;
    let kinds: Vec<_> = all.iter().map(|answer| (answer.tenant.as_str(), answer.record.as_ref().unwrap())).collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    let ids = |name: &str| {
        let ids = kinds.iter().filter(|(tenant, _)| *tenant == name).map(|(_, record)| match record {
            Record::Verification(verification) => ("verification", verification.id.clone()),
            Record::Message(message) => ("message", message.text.clone()),
            Record::Contact(_) => ("contact", String::new()),
        });
        ids.collect::<Vec<_>>()
    };
    let message = sent.message.unwrap();
    assert_eq!(
        ids("acme"),
        [("verification", begun.id), ("message", message.text), ("contact", String::new())],
        "{kinds:?}"
    );
    assert_eq!(ids("other").len(), 1);
    let wire: Vec<u8> = all.iter().flat_map(prost::Message::encode_to_vec).collect();
    assert!(!wire.windows(code.len()).any(|window| window == code.as_bytes()), "the code is shown");
    let one = ExportRecipientRequest { recipient: Some(phone(PHONE)), tenant: "other".to_owned() };
    assert_eq!(export(&mut admin, one).await.len(), 1);
    assert!(export_of(&mut admin, "+60123456000").await.is_empty());
}

#[tokio::test]
async fn a_recipient_is_erased_with_everything_that_was_still_to_come() {
    let log = Log::start("info");
    let gateway = Gateway::start_with(&administered()).await;
    let mut client = gateway.verifications().await;
    let keyed = StartVerificationRequest { idempotency_key: "k1".to_owned(), ..start(PHONE) };
    let begun = start_now(&mut client, keyed).await.unwrap();
    let code = gateway.code(PHONE).await;
    judge(&mut client, &begun.id, &wrong(&code, 1)).await;
    let mut messages = gateway.messages().await;
    let scheduled = SendMessageRequest { idempotency_key: "k2".to_owned(), ..later(PHONE) };
    let scheduled = messages.send_message(scheduled).await.unwrap().into_inner().message.unwrap();
    let kept = start_now(&mut client, start(BESIDE)).await.unwrap();
    let mut contacts = gateway.contacts().await;
    // In a column of another type, written in another way.
    contacts.create_row(row(&[("phone_number", PHONE)])).await.unwrap();
    contacts.create_row(row(&[("phone_number", BESIDE), ("first_name", "012-345 6789")])).await.unwrap();
    contacts.create_row(row(&[("phone_number", BESIDE)])).await.unwrap();
    let mut watch =
        client.watch_verification(WatchVerificationRequest { id: begun.id.clone() }).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    let mut admin = gateway.admin().await;
    let mut traces = Traces::default();
    traces.note(&mut admin, &begun.id).await;
    traces.note(&mut admin, &scheduled.id).await;
    assert_eq!(traces.len(), 4);
    assert!(!traces.files(&gateway.data()).is_empty(), "the scan finds nothing");

    let erased = erase(&mut admin, of(PHONE)).await;
    let expected = EraseRecipientResponse { verifications: 1, messages: 1, contacts: 2, notes: 2 };
    assert_eq!(erased, expected);
    assert_eq!(erase(&mut admin, of(PHONE)).await, EraseRecipientResponse::default());
    assert!(export_of(&mut admin, PHONE).await.is_empty());
    assert_eq!(export_of(&mut admin, BESIDE).await.len(), 2);

    // Nobody finds it, and whoever watched it is told.
    assert_eq!(watch.message().await.unwrap_err().code(), Code::NotFound);
    assert_eq!(check(&mut client, &begun.id, &code).await.unwrap_err().code(), Code::NotFound);
    let get = GetVerificationRequest { id: begun.id.clone() };
    assert_eq!(client.get_verification(get).await.unwrap_err().code(), Code::NotFound);
    let listed = ListVerificationsRequest::default();
    let listed = client.list_verifications(listed).await.unwrap().into_inner().verifications;
    assert_eq!(listed.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), [kept.id.as_str()]);
    let get = GetMessageRequest { id: scheduled.id.clone() };
    assert_eq!(messages.get_message(get).await.unwrap_err().code(), Code::NotFound);
    // What was scheduled is not sent.
    let sent = gateway.inbox(PHONE).await.len();
    gateway.clock.advance(Duration::from_secs(48 * 3600));
    let mark = text_to("+60123456781", "after");
    messages.send_message(mark).await.unwrap();
    eventually(async || (!gateway.inbox("+60123456781").await.is_empty()).then_some(())).await;
    assert_eq!(gateway.inbox(PHONE).await.len(), sent);

    // Neither the files nor a new backup have a trace of it.
    rewrite(&mut admin).await;
    assert_eq!(traces.files(&gateway.data()), Vec::<std::path::PathBuf>::new());
    assert!(!traces.are_in(&back_up(&mut admin).await));
    drop((client, messages, contacts, admin, watch));
    let gateway = gateway.restart().await;
    assert_eq!(traces.files(&gateway.data()), Vec::<std::path::PathBuf>::new());
    let log = String::from_utf8_lossy(&log.bytes()).into_owned();
    assert!(log.contains("a recipient was erased") && !log.contains(&PHONE[3..]), "{log}");
}

#[tokio::test]
async fn what_protects_a_person_outlives_the_erasure_and_ends_by_itself() {
    let gateway = Gateway::start_with(&administered()).await;
    let mut client = gateway.verifications().await;
    let begun = gateway.begin(&mut client, PHONE).await;
    let code = gateway.code(PHONE).await;
    for turn in 0..5 {
        judge(&mut client, &begun.id, &wrong(&code, turn)).await;
    }
    gateway.clock.advance(Duration::from_secs(30));
    let again = gateway.begin(&mut client, PHONE).await;
    let code = gateway.code(PHONE).await;
    for turn in 0..4 {
        judge(&mut client, &again.id, &wrong(&code, turn)).await;
    }
    let mut admin = gateway.admin().await;
    assert_eq!(erase(&mut admin, of(PHONE)).await.verifications, 2);
    // Who has somebody's data erased must not get fresh guesses for that, nor have them bombarded.
    let refused = start_now(&mut client, start(PHONE)).await.unwrap_err();
    assert_eq!(reason(&refused), "COOL_DOWN");
    gateway.clock.advance(Duration::from_secs(60));
    let third = gateway.begin(&mut client, PHONE).await;
    let code = gateway.code(PHONE).await;
    judge(&mut client, &third.id, &wrong(&code, 0)).await;
    assert_eq!(judge(&mut client, &third.id, &code).await, CheckOutcome::RecipientLocked);
    // An hour later nothing at all is left.
    erase(&mut admin, of(PHONE)).await;
    gateway.clock.advance(Duration::from_secs(2 * 3600));
    rewrite(&mut admin).await;
    let left = records(&back_up(&mut admin).await);
    let kinds: Vec<_> = left.iter().map(|(key, _)| Space::of(key).as_str()).collect();
    assert!(!kinds.contains(&"recipients' counters") && !kinds.contains(&"verifications"), "{kinds:?}");
}

/// What every record of a gateway holds, opened.
async fn opened(gateway: &Gateway, admin: &mut Admin) -> Vec<(Space, Vec<u8>)> {
    let ring = KeyRing::load(&gateway.key_file()).unwrap();
    let records = records(&back_up(admin).await);
    records.into_iter().map(|(key, value)| (Space::of(&key), ring.open_record(&key, &value).unwrap())).collect()
}

/// The kinds of the records that name the recipient, or hold what was said of it.
fn telling(opened: &[(Space, Vec<u8>)]) -> BTreeSet<Space> {
    let is_told = |value: &[u8]| [&PHONE[3..], "canary"].iter().any(|it| find(value, it.as_bytes()));
    opened.iter().filter(|(_, value)| is_told(value)).map(|(space, _)| *space).collect()
}

fn find(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[tokio::test]
async fn events_that_are_still_told_say_nothing_of_whom_was_erased() {
    // Never taken, so that all of it stays to be told.
    let receiver = VendorServer::start(|_| Answer::new(500, "")).await;
    let mut house = House::new().await;
    house.endpoint(&receiver.url(), &[]).await;
    let metadata = || [("order".to_owned(), "canary".to_owned())].into();
    let mut client = house.gateway.verifications().await;
    start_now(&mut client, StartVerificationRequest { metadata: metadata(), ..start(PHONE) }).await.unwrap();
    let request = SendMessageRequest { metadata: metadata(), ..text_to(PHONE, "hello") };
    house.gateway.messages().await.send_message(request).await.unwrap();
    let called = House::called(&receiver, 4).await;
    assert!(called.iter().all(|request| request.to_text().contains(PHONE)), "{called:?}");
    let before = opened(&house.gateway, &mut house.admin).await;
    let spaces: BTreeSet<_> = before.iter().map(|(space, _)| *space).collect();
    let of_events = [Space::FeedHead, Space::FeedEntry, Space::Endpoint, Space::ReadTo, Space::Delivery];
    assert!(spaces.is_superset(&of_events.into()) && !spaces.contains(&Space::Unknown), "{spaces:?}");
    assert_eq!(telling(&before), [Space::Verification, Space::Message].into());

    erase(&mut house.admin, of(PHONE)).await;
    let after = opened(&house.gateway, &mut house.admin).await;
    assert_eq!(telling(&after), BTreeSet::new());
    let times = receiver.requests().len();
    house.gateway.clock.advance(Duration::from_secs(6));
    let called = House::called(&receiver, times + 4).await.split_off(times);
    assert!(!called.iter().any(|request| find(request.to_text().as_bytes(), &PHONE.as_bytes()[3..])), "{called:?}");
    assert!(!called.iter().any(|request| request.to_text().contains("canary")), "{called:?}");
}

#[tokio::test]
async fn tenants_are_erased_apart() {
    let gateway = Gateway::start_with(&administered()).await;
    let mut client = gateway.verifications().await;
    let mut other = gateway.verifications_as("other.other-secret-of-some-length").await;
    let ours = start_now(&mut client, start(PHONE)).await.unwrap();
    let theirs = start_now(&mut other, start(PHONE)).await.unwrap();
    let mail = StartVerificationRequest { recipient: Some(email(MAIL)), ..start("") };
    start_now(&mut client, mail).await.unwrap();
    let mut admin = gateway.admin().await;
    let only = EraseRecipientRequest { tenant: "acme".to_owned(), ..of(PHONE) };
    assert_eq!(erase(&mut admin, only).await.verifications, 1);
    assert!(client.get_verification(GetVerificationRequest { id: ours.id }).await.is_err());
    other.get_verification(GetVerificationRequest { id: theirs.id.clone() }).await.unwrap();
    let nobody = EraseRecipientRequest { tenant: "nobody".to_owned(), ..of(PHONE) };
    assert_eq!(erase(&mut admin, nobody).await, EraseRecipientResponse::default());
    assert_eq!(erase(&mut admin, of(PHONE)).await.verifications, 1);
    let mail = EraseRecipientRequest { recipient: Some(email("ann@EXAMPLE.com")), ..Default::default() };
    assert_eq!(erase(&mut admin, mail).await.verifications, 1);

    let mut stranger = gateway.admin_as("other.other-secret-of-some-length").await;
    let refused = stranger.erase_recipient(of(PHONE)).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_PERMITTED");
    let refused = stranger.export_recipient(ExportRecipientRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_PERMITTED");
}

#[tokio::test]
async fn whom_it_is_about_must_be_said() {
    let gateway = Gateway::start_with(&administered()).await;
    let mut admin = gateway.admin().await;
    for (recipient, tenant, fields) in [
        (None, "", vec!["recipient"]),
        (Some(phone("012-345 6789")), "", vec!["recipient.phone"]),
        (Some(email("nobody")), "No", vec!["recipient.email", "tenant"]),
    ] {
        let request = EraseRecipientRequest { recipient: recipient.clone(), tenant: tenant.to_owned() };
        assert_eq!(wrong_fields(&admin.erase_recipient(request).await.unwrap_err()), fields);
        let request = ExportRecipientRequest { recipient, tenant: tenant.to_owned() };
        assert_eq!(wrong_fields(&admin.export_recipient(request).await.unwrap_err()), fields);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasing_under_load_takes_one_person_and_nobody_else() {
    let gateway = Arc::new(Gateway::start_with(&administered()).await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for caller in 0..6 {
        let (gateway, stop) = (Arc::clone(&gateway), Arc::clone(&stop));
        load.spawn(async move {
            let (mut client, mut ids, mut turn) = (gateway.verifications().await, Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                turn += 10;
                let request = start(&format!("+6011{:08}", 10_000_000 + caller * 1_000_000 + turn));
                let started = client.start_verification(request).await.unwrap().into_inner();
                ids.push(started.verification.unwrap().id);
            }
            ids
        });
    }
    let (mut client, mut messages) = (gateway.verifications().await, gateway.messages().await);
    let mut admin = gateway.admin().await;
    for round in 0..12 {
        let phone = format!("+6012345{round:02}00");
        // With sends under way.
        client.start_verification(start(&phone)).await.unwrap();
        for _ in 0..8 {
            messages.send_message(text_to(&phone, "hello")).await.unwrap();
        }
        let erased = erase(&mut admin, of(&phone)).await;
        assert_eq!((erased.verifications, erased.messages), (1, 8), "{erased:?}");
        assert!(export_of(&mut admin, &phone).await.is_empty());
    }
    stop.store(true, Ordering::Relaxed);
    let ids: Vec<_> = load.join_all().await.into_iter().flatten().collect();
    assert!(ids.len() > 50, "{}", ids.len());
    for id in ids {
        client.get_verification(GetVerificationRequest { id }).await.unwrap();
    }
}
