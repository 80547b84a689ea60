//! What callers put into a text: their values cannot end it, speak for another site to a browser or an app, or be read
//! as a template. Callers pass on what their own users typed, so a value is as hostile as anybody.

use std::collections::HashMap;

use tonic::{Code, Status};
use verigate::messaging::last_line::{find_android_hash, first_web_otp, parse_web_otp};
use verigate::proto::messaging::v1::{
    PreviewMessageRequest, SendMessageRequest, Template, preview_message_request, send_message_request,
};
use verigate::proto::verification::v1::StartVerificationRequest;

use crate::support::gateway::{CONFIG, Gateway, phone, reason, start, start_now, wrong_fields};

pub(crate) const TEMPLATES: &str = r#"
[[templates]]
name = "pay"
locale = "en"
text = "{{ code }} pays {{ amount }} to {{ shop }}{% if note %} ({{ note }}){% endif %}."

[[templates]]
name = "shipped"
locale = "en"
kind = "message"
text = "Hello {{ shop }}, your order is on its way."
"#;

pub(crate) const DOMAIN: &str = "acme.example";
pub(crate) const HASH: &str = "FA+9qCX9VSu";

/// Values that are refused: they break the line, begin one of their own, turn the writing, or are no honest length.
pub(crate) const REFUSED: [&str; 12] = [
    "a\r\nb",
    "a\nb",
    "a\rb",
    "\n@evil.example #000000",
    "@evil.example #000000",
    "see @evil.example #000000",
    "<#> a",
    "a\u{2028}b",
    "a\u{85}b",
    "a\u{202e}b",
    "a\0b",
    "\u{1b}[2Ja",
];

/// Values that are taken as they are: what they would do elsewhere, they do not do in a text.
pub(crate) const NEUTRAL: [&str; 7] = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "{{ code }}{% for x in y %}",
    "%s%n${jndi:ldap://evil.example/a}",
    "'; DROP TABLE codes; --",
    "evil.example/#000000",
    "您的 Café € ]]>",
];

async fn house() -> Gateway {
    Gateway::start_with(&format!("{CONFIG}{TEMPLATES}")).await
}

fn values(amount: &str, shop: &str, note: &str) -> HashMap<String, String> {
    [("amount", amount), ("shop", shop), ("note", note)].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn paying(to: &str, variables: HashMap<String, String>) -> StartVerificationRequest {
    StartVerificationRequest {
        template: "pay".to_owned(),
        locale: "en".to_owned(),
        variables,
        web_otp_domain: DOMAIN.to_owned(),
        android_app_hash: HASH.to_owned(),
        ..start(to)
    }
}

fn shipped(shop: &str) -> Template {
    Template {
        name: "shipped".to_owned(),
        variables: [("shop".to_owned(), shop.to_owned())].into(),
        ..Template::default()
    }
}

/// The call is refused for these fields alone, and does not repeat what was in them.
fn assert_refused(refused: &Status, fields: &[&str], hostile: &str) {
    assert_eq!((refused.code(), &*reason(refused)), (Code::InvalidArgument, "INVALID_FIELD"), "{hostile:?}");
    assert_eq!(wrong_fields(refused), fields, "{hostile:?}");
    let told = format!("{refused:?}{}", String::from_utf8_lossy(refused.details()));
    assert!(!told.contains("evil") && !told.contains("000000") && !told.contains(hostile), "{told}");
}

/// A text that a phone and a browser read as ours.
pub(crate) fn assert_ours(text: &str) {
    let code: String = text.chars().take_while(char::is_ascii_digit).collect();
    assert_eq!(code.len(), 6, "{text}");
    assert_eq!(parse_web_otp(text), Some((DOMAIN, code.as_str())), "{text}");
    assert_eq!(first_web_otp(text), Some((DOMAIN, code.as_str())), "{text}");
    assert_eq!(find_android_hash(text), Some(HASH), "{text}");
    assert!(text.lines().last().unwrap().starts_with(&format!("@{DOMAIN} #{code}")), "{text}");
}

#[tokio::test]
async fn hostile_values_in_the_text_of_a_code_are_refused() {
    let gateway = house().await;
    let mut client = gateway.verifications().await;
    let to = "+60123451477";
    let long = "1".repeat(10_000);
    for hostile in REFUSED.into_iter().chain([long.as_str()]) {
        for (variables, field) in [
            (values(hostile, "shop", ""), "variables.amount"),
            (values("5", hostile, "fine"), "variables.shop"),
            (values("5", "shop", hostile), "variables.note"),
        ] {
            let refused = start_now(&mut client, paying(to, variables)).await.unwrap_err();
            assert_refused(&refused, &[field], hostile);
        }
    }
    // Names are values too: of what was given beyond the template, nothing is repeated that is no name.
    let mut variables = values("5", "shop", "");
    variables.insert("@evil.example #000000".to_owned(), "x".to_owned());
    let refused = start_now(&mut client, paying(to, variables)).await.unwrap_err();
    assert_refused(&refused, &["variables"], "@evil.example #000000");
    assert!(gateway.inbox(to).await.is_empty());
    // No refusal has begun a pause.
    start_now(&mut client, paying(to, values("5", "shop", ""))).await.unwrap();
    assert_ours(gateway.inbox(to).await[0]["text"].as_str().unwrap());
}

#[tokio::test]
async fn harmless_values_stand_in_the_text_as_they_are_and_the_last_line_stays_ours() {
    let gateway = house().await;
    let mut client = gateway.verifications().await;
    for (turn, value) in NEUTRAL.into_iter().enumerate() {
        let to = format!("+6012345{:04}", 1100 + turn);
        start_now(&mut client, paying(&to, values("5", value, value))).await.unwrap();
        let messages = gateway.inbox(&to).await;
        let text = messages[0]["text"].as_str().unwrap();
        assert_eq!(text.matches(value).count(), 2, "{text}");
        assert_ours(text);
    }
}

/// What no value does alone, two that stand side by side might.
#[tokio::test]
async fn halves_of_a_mark_in_two_values_make_no_mark() {
    let gateway = house().await;
    let mut client = gateway.verifications().await;
    let mut sent = 0;
    for (turn, (amount, shop, note)) in [
        ("@", "evil.example", "#000000"),
        ("5 @", "evil.example #000000", ""),
        ("5", "ann@", "evil.example #000000"),
        ("5", "@evil.example", "#000000"),
        ("<", "#", ">"),
        ("5", "<#", "> FA+9qCX9VS0"),
        ("5", "FA+9qCX9VS0", "FA+9qCX9VS0"),
    ]
    .into_iter()
    .enumerate()
    {
        let to = format!("+6012345{:04}", 1100 + turn);
        match start_now(&mut client, paying(&to, values(amount, shop, note))).await {
            Ok(_) => {
                assert_ours(gateway.inbox(&to).await[0]["text"].as_str().unwrap());
                sent += 1;
            }
            Err(refused) => {
                assert_eq!(reason(&refused), "INVALID_FIELD");
                assert!(wrong_fields(&refused).iter().all(|field| field.starts_with("variables")), "{refused:?}");
                assert!(gateway.inbox(&to).await.is_empty());
            }
        }
    }
    assert!(sent > 0, "all were refused, so no text was looked at");
}

#[tokio::test]
async fn hostile_values_in_messages_are_refused_and_harmless_ones_stand_as_they_are() {
    let gateway = house().await;
    let mut client = gateway.messages().await;
    let to = "+60123451477";
    let long = "1".repeat(10_000);
    let sending = |shop: &str| SendMessageRequest {
        recipient: Some(phone(to)),
        content: Some(send_message_request::Content::Template(shipped(shop))),
        ..SendMessageRequest::default()
    };
    for hostile in REFUSED.into_iter().chain([long.as_str()]) {
        let preview = PreviewMessageRequest {
            recipient: Some(phone(to)),
            content: Some(preview_message_request::Content::Template(shipped(hostile))),
            ..PreviewMessageRequest::default()
        };
        let refused = [
            client.send_message(sending(hostile)).await.map(drop).unwrap_err(),
            client.preview_message(preview).await.map(drop).unwrap_err(),
        ];
        for refused in refused {
            let field = wrong_fields(&refused).concat();
            assert!(field.ends_with("variables.shop"), "{field}");
            assert_refused(&refused, &[&field], hostile);
        }
    }
    assert!(gateway.inbox(to).await.is_empty());
    for value in NEUTRAL {
        let sent = client.send_message(sending(value)).await.unwrap().into_inner().message.unwrap();
        assert_eq!(sent.text, format!("Hello {value}, your order is on its way."));
        assert_eq!(first_web_otp(&sent.text), None);
    }
}
