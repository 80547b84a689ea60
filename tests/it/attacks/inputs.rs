//! Codes and numbers that are not quite themselves: other spellings, other scripts, other types, other sizes.

use std::time::Duration;

use prost::Message;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use verigate::proto::verification::v1::{
    CheckOutcome, CheckVerificationRequest, CheckVerificationResponse, CodePolicy, ScopedRecipient,
    StartVerificationRequest, check_verification_request,
};

use crate::support::gateway::{
    Credentials, Gateway, PHONE, Verifications, check, get_verification, judge, phone, reason, start, start_now, wrong,
    wrong_fields,
};

const CHECK: &str = "/verigate.verification.v1.VerificationService/CheckVerification";

/// A check whose code is a number on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct NumericCheck {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(uint64, tag = "3")]
    code: u64,
}

/// A check whose code is any bytes, or several codes.
#[derive(Clone, PartialEq, prost::Message)]
struct RawCheck {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bytes = "vec", repeated, tag = "3")]
    codes: Vec<Vec<u8>>,
}

/// Sends a check as it stands, whether or not it follows the contract.
async fn send_raw<M: Message + Default + 'static>(
    gateway: &Gateway,
    request: M,
) -> Result<CheckVerificationResponse, tonic::Status> {
    let credentials = Credentials::new("acme.acme-secret-of-some-length");
    let service = tonic::service::interceptor::InterceptedService::new(gateway.channel().await, credentials);
    let mut client = tonic::client::Grpc::new(service);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<M, CheckVerificationResponse>::default();
    let answer = client.unary(tonic::Request::new(request), PathAndQuery::from_static(CHECK), codec).await;
    answer.map(tonic::Response::into_inner)
}

/// A verification whose code is `012345`, with the most checks.
async fn begin(client: &mut Verifications) -> String {
    let policy = CodePolicy { max_checks: 10, ..CodePolicy::default() };
    let request = StartVerificationRequest { policy: Some(policy), custom_code: "012345".to_owned(), ..start(PHONE) };
    start_now(client, request).await.unwrap().id
}

async fn used(client: &mut Verifications, id: &str) -> i32 {
    get_verification(client, id).await.checks_used
}

#[tokio::test]
async fn only_the_exact_characters_are_the_code() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = begin(&mut client).await;
    for (counted, candidate) in
        ["12345", "+12345", "1.2345e4", "0x3039", "null", "[]", "{\"code\":\"012345\"}", "0123450", "012345,111111"]
            .iter()
            .enumerate()
    {
        assert_eq!(judge(&mut client, &id, candidate).await, CheckOutcome::WrongCode, "{candidate}");
        assert_eq!(used(&mut client, &id).await, counted as i32 + 1, "{candidate}");
    }
    assert_eq!(judge(&mut client, &id, " 012345\r\n").await, CheckOutcome::Approved);
}

#[tokio::test]
async fn what_cannot_be_a_code_is_refused_and_not_counted() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = begin(&mut client).await;
    let megabyte = "012345".repeat(1_000_000 / 6);
    for candidate in [
        "",
        " ",
        "０１２３４５",
        "٠١٢٣٤٥",
        "०१२३४५",
        "012 345",
        "012345\0",
        "\u{feff}012345",
        "\u{202e}543210",
        "012\u{200b}345",
        &"0".repeat(65),
        &megabyte,
    ] {
        let refused = check(&mut client, &id, candidate).await.unwrap_err();
        let shown: String = candidate.chars().take(20).collect();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, "INVALID_FIELD"), "{shown:?}");
        assert_eq!(wrong_fields(&refused), ["code"], "{shown:?}");
        assert!(!format!("{refused:?}").contains("012345"), "{shown:?}");
    }
    // More than a whole request may have: refused before it is read.
    let refused = check(&mut client, &id, &"0".repeat(2 << 20)).await.unwrap_err();
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused:?}");
    assert_eq!(used(&mut client, &id).await, 0);
    assert_eq!(judge(&mut client, &id, "012345").await, CheckOutcome::Approved);
}

/// Loosely typed comparisons took a number, or one element of a list, for the code.
#[tokio::test]
async fn other_types_on_the_wire_are_no_codes() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = begin(&mut client).await;
    let number = send_raw(&gateway, NumericCheck { id: id.clone(), code: 12_345 }).await;
    assert!(number.is_err());
    let not_text = RawCheck { id: id.clone(), codes: vec![vec![0xff, 0xfe, b'0']] };
    assert!(send_raw(&gateway, not_text).await.is_err());
    assert_eq!(used(&mut client, &id).await, 0);

    // Of a field that is given several times, protobuf takes the last: so many codes are one check.
    let guesses = (0..200).map(|turn| wrong("012345", turn).into_bytes());
    let mut codes: Vec<_> = std::iter::once(b"012345".to_vec()).chain(guesses).collect();
    let several = send_raw(&gateway, RawCheck { id: id.clone(), codes: codes.clone() }).await.unwrap();
    assert_eq!((several.outcome(), used(&mut client, &id).await), (CheckOutcome::WrongCode, 1));
    codes.push(b"012345".to_vec());
    let last = send_raw(&gateway, RawCheck { id, codes }).await.unwrap();
    assert_eq!(last.outcome(), CheckOutcome::Approved);
}

/// A public gateway put the code that it expected into the answer to a wrong one.
#[tokio::test]
async fn the_answer_to_a_wrong_code_holds_nothing_of_the_right_one() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let policy = CodePolicy { length: 24, ..CodePolicy::default() };
    let id =
        start_now(&mut client, StartVerificationRequest { policy: Some(policy), ..start(PHONE) }).await.unwrap().id;
    let code = gateway.code(PHONE).await;
    assert_eq!(code.len(), 24);
    for turn in 0..6 {
        let answer = check(&mut client, &id, &format!("{turn:024}")).await.unwrap();
        let wire = answer.encode_to_vec();
        for part in code.as_bytes().windows(6) {
            assert!(!wire.windows(6).any(|window| window == part), "{answer:?}");
        }
        assert!(!wire.windows(12).any(|window| window == b"verification"), "the text of the message: {answer:?}");
    }
}

/// Ways to write one number, for a tenant in Malaysia.
const SPELLINGS: [&str; 12] = [
    "+60123456789",
    "0123456789",
    "60123456789",
    "0060123456789",
    "+60 12-345 6789",
    "(012) 345.6789",
    "012/345 6789",
    "tel:+60-12-345-6789",
    "TEL:+60123456789",
    "+60\u{2010}12\u{2011}345\u{2013}6789",
    "+60\u{a0}12\u{2009}345\u{3000}6789",
    "  +60123456789  ",
];

#[tokio::test]
async fn a_number_written_otherwise_is_the_same_recipient() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    for spelling in SPELLINGS {
        let refused = start_now(&mut client, start(spelling)).await.unwrap_err();
        assert_eq!(reason(&refused), "COOL_DOWN", "{spelling:?}");
    }
    let mut outcomes = Vec::new();
    for (turn, spelling) in SPELLINGS.into_iter().enumerate() {
        let scoped = ScopedRecipient { scope: String::new(), recipient: Some(phone(spelling)) };
        let request = CheckVerificationRequest {
            target: Some(check_verification_request::Target::ScopedRecipient(scoped)),
            code: wrong(&code, turn as u32),
            ..CheckVerificationRequest::default()
        };
        let answer = client.check_verification(request).await.unwrap().into_inner();
        let verification = answer.verification.as_ref().unwrap();
        assert_eq!((&verification.id, &verification.recipient), (&id, &Some(phone(PHONE))), "{spelling:?}");
        outcomes.push(answer.outcome());
    }
    assert_eq!(outcomes[..4], [CheckOutcome::WrongCode; 4]);
    assert_eq!(outcomes[4..], [CheckOutcome::ChecksExhausted; 8]);
    gateway.clock.advance(Duration::from_secs(30));
    let again = start_now(&mut client, start(SPELLINGS[1])).await.unwrap();
    assert_eq!((again.recipient, gateway.inbox(PHONE).await.len()), (Some(phone(PHONE)), 2));
}

#[tokio::test]
async fn what_is_no_number_is_refused_by_the_name_of_its_field() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    for spelling in [
        "",
        "+",
        "++60123456789",
        "+60123456789+",
        "+60123456789;ext=5",
        "+60123456789 x5",
        "+60123456789,5",
        "+60123456789#",
        "+60123456789\0",
        "+60123456789\n",
        "\u{200f}+60123456789",
        "\u{202e}98765432106+",
        "+601234\u{200b}56789",
        "+６０１２３４５６７８９",
        "+٦٠١٢٣٤٥٦٧٨٩",
        "+6012EXAMPLE",
        "tel:0123456789",
        "+60123456789, +60123456780",
        "+601234567890123456",
        "+6012345",
        "999",
        &"+60123456789".repeat(10),
        "ann@example.com",
    ] {
        let refused = start_now(&mut client, start(spelling)).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, "INVALID_FIELD"), "{spelling:?}");
        assert_eq!(wrong_fields(&refused), ["recipient.phone"], "{spelling:?}");
        assert!(spelling.len() < 5 || !format!("{refused:?}").contains(spelling), "{spelling:?}");
    }
    assert_eq!(gateway.inbox(PHONE).await.len(), 0);
    // None of them began a cool-down of the number that they resemble.
    gateway.begin(&mut client, PHONE).await;
}
