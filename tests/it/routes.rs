//! Routes that draw which vendor is first, as clients see them.

use std::collections::BTreeMap;

use verigate::messaging::conversion_list::{ConversionFilter, ConversionPageRequest};
use verigate::proto::admin::v1::submit_feedback_request::Subject;
use verigate::proto::admin::v1::{FeedbackOutcome, ListConversionsRequest, SubmitFeedbackRequest};
use verigate::proto::messaging::v1::{PreviewMessageRequest, RouteCandidate, preview_message_request};
use verigate::proto::verification::v1::{CheckOutcome, Verification};
use verigate::recipient::Country;
use verigate::vendor::Channel;

use crate::support::floor::{Floor, Plan};
use crate::support::gateway::{CONFIG, Gateway, eventually, get_verification, judge, phone, start, start_now, text_to};

/// Text messages over two vendors in this order.
fn config(order: &str, vendors: &str, outcomes_of_second: &str) -> String {
    let route = format!("channel = \"sms\"\norder = \"{order}\"\nvendors = {vendors}\n");
    let second = format!("\n[vendors.second]\nkind = \"inbox\"\noutcomes = [{outcomes_of_second}]\n");
    let config = CONFIG.replace("brand = \"Acme\"", "brand = \"Acme\"\nadmin = true");
    config.replacen("channel = \"sms\"\nvendors = [\"inbox\"]\n", &route, 1) + &second
}

async fn preview(gateway: &Gateway) -> Vec<RouteCandidate> {
    let request = PreviewMessageRequest {
        recipient: Some(phone("+60123456789")),
        content: Some(preview_message_request::Content::Text("Hello".to_owned())),
        ..PreviewMessageRequest::default()
    };
    gateway.messages().await.preview_message(request).await.unwrap().into_inner().candidates
}

fn number(last: usize) -> String {
    format!("+60123{last:04}1{}", last % 9)
}

#[tokio::test]
async fn by_weight_each_vendor_gets_its_part_and_stands_in_for_the_other() {
    let weights = r#"[{ vendor = "second", weight = 1 }, { vendor = "inbox", weight = 3 }]"#;
    let gateway = Gateway::start_with(&config("weight", weights, "")).await;
    let candidates = preview(&gateway).await;
    let told: Vec<_> = candidates.iter().map(|it| (it.vendor.as_str(), it.usable, it.why.as_str())).collect();
    assert_eq!(
        told,
        [
            ("inbox", true, "called first for 75 % of the sends, by weight 3 of 4"),
            ("second", true, "called first for 25 % of the sends, by weight 1 of 4"),
        ]
    );
    let mut client = gateway.messages().await;
    for last in 0..120 {
        client.send_message(text_to(&number(last), "Hello")).await.unwrap();
    }
    let messages = eventually(async || Some(gateway.whole_inbox().await).filter(|all| all.len() == 120)).await;
    let second = messages.iter().filter(|message| message["vendor"] == "second").count();
    // Six standard deviations.
    assert!((2..=58).contains(&second), "{second}");

    let down = r#"{ pattern = "*", outcome = "unavailable" }"#;
    let gateway = gateway.restart_with(&config("weight", weights, down)).await;
    let mut client = gateway.messages().await;
    for last in 0..40 {
        client.send_message(text_to(&number(last), "Hello")).await.unwrap();
    }
    eventually(async || (gateway.whole_inbox().await.len() == 40).then_some(())).await;
}

/// Starts so many, and of the codes that came over the vendor `good` gives back each other one, and says of the rest that
/// they were received.
async fn verify(gateway: &Gateway, good: &str, lasts: std::ops::Range<usize>) -> BTreeMap<String, usize> {
    let (mut client, mut admin) = (gateway.verifications().await, gateway.admin().await);
    let mut carried = BTreeMap::new();
    for last in lasts {
        let number = number(last);
        let started = start_now(&mut client, start(&number)).await.unwrap();
        let vendor_of = |verification: &Verification| verification.sends[0].vendor.clone();
        if vendor_of(&started) == good && last % 2 == 0 {
            let subject = Some(Subject::VerificationId(started.id.clone()));
            let outcome = FeedbackOutcome::Received.into();
            let request = SubmitFeedbackRequest { subject, outcome, ..SubmitFeedbackRequest::default() };
            assert!(admin.submit_feedback(request).await.unwrap().into_inner().counted);
        } else if vendor_of(&started) == good {
            let code = gateway.code(&number).await;
            assert_eq!(judge(&mut client, &started.id, &code).await, CheckOutcome::Approved);
        }
        let seen = get_verification(&mut client, &started.id).await;
        *carried.entry(vendor_of(&seen)).or_default() += 1;
    }
    carried
}

#[tokio::test]
async fn by_conversion_the_vendor_whose_codes_come_back_is_first() {
    let gateway = Gateway::start_with(&config("conversion", r#"["inbox", "second"]"#, "")).await;
    assert!(preview(&gateway).await[0].why.contains("by weight 1 of 2, for not every vendor has 100 measured codes"));
    let carried = verify(&gateway, "second", 0..300).await;
    assert!(carried.values().all(|count| *count >= 100), "{carried:?}");
    let told = preview(&gateway).await;
    assert_eq!(told[0].vendor, "second");
    // By chance one may have so many that it comes to a whole hundred.
    let by = |share: &str| {
        told[0].why.starts_with(&format!("called first for 95 % of the sends, by conversion: {share} % of 1"))
    };
    assert!(by("99") || by("100"), "{}", told[0].why);
    assert!(told[1].why.starts_with("called first for 5 % of the sends, by conversion: 1 % of 1"), "{}", told[1].why);
    let listed = gateway.admin().await.list_conversions(ListConversionsRequest::default()).await.unwrap().into_inner();
    let listed = listed.conversions.into_iter().map(|row| (row.vendor, row.enough, row.rate >= 990, row.rate <= 10));
    let expected = [("inbox", true, false, true), ("second", true, true, false)];
    assert_eq!(listed.collect::<Vec<_>>(), expected.map(|(vendor, a, b, c)| (vendor.to_owned(), a, b, c)));
    // What was measured outlives the process.
    let gateway = gateway.restart().await;
    assert_eq!(preview(&gateway).await, told);
    let carried = verify(&gateway, "second", 300..360).await;
    assert!(carried["second"] > 45, "{carried:?}");
}

/// However many vendors and countries there are, what was measured fits into what the store takes.
#[tokio::test]
async fn what_is_measured_all_over_the_world_outlives_the_process() {
    let plan = Plan { vendors: &[("only", 1, "")], routes: &[("sms", &["only"])], longest_line: 10 };
    let floor = Floor::with(&plan).await;
    let letters = || 'A'..='Z';
    let codes = letters().flat_map(|one| letters().map(move |two| format!("{one}{two}")));
    let countries: Vec<_> = codes.filter_map(|code| code.parse::<Country>().ok()).collect();
    assert!(countries.len() > 200);
    let vendors: Vec<_> = (10..30).map(|number| format!("{number}{}", "n".repeat(61))).collect();
    for vendor in &vendors {
        for channel in Channel::ALL {
            countries.iter().for_each(|country| floor.outbox.measuring().sent(vendor, channel, Some(*country)));
        }
    }
    floor.outbox.save_measures().await.unwrap();
    let floor = floor.restart_with(&plan).await;
    floor.outbox.load_measures().await.unwrap();
    let (filter, mut page, mut rows) = (ConversionFilter::default(), ConversionPageRequest::default(), Vec::new());
    page.size = Some(500);
    loop {
        let read = floor.outbox.measuring().list(&filter, &page).unwrap();
        rows.extend(read.rows);
        page.token = read.next;
        if page.token.is_none() {
            break;
        }
    }
    assert_eq!(rows.len(), vendors.len() * Channel::ALL.len() * countries.len());
    assert!(rows.is_sorted_by_key(|(place, _)| place) && rows.iter().all(|(_, tally)| tally.sends == 1.0));
}
