//! A vendor that lies, through the whole gateway: it answers 200 with a page, another schema, broken bytes or megabytes,
//! sends us elsewhere, or gives back what it was given. Nobody is told that a message went out when nobody knows; codes
//! take the next vendor; and nothing that the vendor says comes through.

use tonic::Response;
use verigate::proto::messaging::v1::{FailureReason, GetMessageRequest, Message, MessageStatus};
use verigate::proto::verification::v1::CheckOutcome;

use crate::attacks::canary::{Told, assert_clean, files, generated};
use crate::attacks::liar::{End, Liar, MARK, PASS, TEXT, USER};
use crate::support::gateway::{
    CONFIG, Gateway, Messages, Verifications, check, eventually, get_verification, start_now, text_to,
};
use crate::support::http::get;
use crate::support::log::Log;

/// A gateway whose first vendor lies, and whose second takes everything.
struct House {
    gateway: Gateway,
    verifications: Verifications,
    messages: Messages,
    liar: Liar,
    told: Told,
    /// Codes that the liar was given.
    codes: Vec<String>,
}

// === impl House ===

impl House {
    async fn new() -> Self {
        let liar = Liar::start(code_in).await;
        let gateway = Gateway::start_with(&liar.before_the_inbox(CONFIG)).await;
        Self {
            verifications: gateway.verifications().await,
            messages: gateway.messages().await,
            gateway,
            liar,
            told: Told::default(),
            codes: Vec::new(),
        }
    }

    /// A text that the vendor was given last, without what it wants at its head.
    fn given(&self) -> String {
        self.liar.given().strip_prefix("RM0.00 ").unwrap().to_owned()
    }

    async fn texts(&self, phone: &str) -> Vec<String> {
        let messages = self.gateway.inbox(phone).await;
        messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
    }

    async fn verify(&mut self, phone: &str, end: End, case: &str) {
        let before = self.liar.asked();
        let begun = start_now(&mut self.verifications, generated(phone)).await;
        let begun = self.told.hear(begun).unwrap();
        assert_eq!(self.liar.asked(), before + 1, "{case}: a code goes to a vendor in doubt once");
        let text = self.given();
        let code = code_in(&text);
        assert_eq!(code.len(), 30, "{case}");
        let went_on = matches!(end, End::Doubt | End::Elsewhere);
        let expected: &[String] = if went_on { &[text] } else { &[] };
        assert_eq!(self.texts(phone).await, expected, "{case}: the same code, by the next vendor");
        let seen = get_verification(&mut self.verifications, &begun.id).await;
        self.told.hear(Ok(seen));
        if end != End::Refused {
            let checked = check(&mut self.verifications, &begun.id, &code).await;
            assert_eq!(self.told.hear(checked).unwrap().outcome(), CheckOutcome::Approved, "{case}");
        }
        self.codes.push(code);
    }

    async fn write_to(&mut self, phone: &str, end: End, case: &str) {
        let before = self.liar.asked();
        let sent = self.messages.send_message(text_to(phone, TEXT)).await.map(Response::into_inner);
        let id = self.told.hear(sent).unwrap().message.unwrap().id;
        let message = self.settled(&id).await;
        let (status, reason, copies) = match end {
            End::Doubt => (MessageStatus::Unknown, FailureReason::VendorNoClearAnswer, 0),
            End::Elsewhere => (MessageStatus::Delivered, FailureReason::Unspecified, 1),
            End::Refused => (MessageStatus::Rejected, FailureReason::InvalidRecipient, 0),
            End::Sent => (MessageStatus::Sent, FailureReason::Unspecified, 0),
        };
        assert_eq!((message.status(), message.reason()), (status, reason), "{case}");
        assert_eq!(self.texts(phone).await.len(), copies, "{case}: no second copy of what perhaps went out");
        assert_eq!(self.liar.asked(), before + 1, "{case}: asked once");
        self.told.hear(Ok(message));
    }

    /// Where the message rests. What the second vendor takes is delivered at once.
    async fn settled(&mut self, id: &str) -> Message {
        eventually(async || {
            let request = GetMessageRequest { id: id.to_owned() };
            let message = self.messages.get_message(request).await.unwrap().into_inner().message.unwrap();
            let moving = matches!(message.status(), MessageStatus::Queued | MessageStatus::Sending)
                || (message.status() == MessageStatus::Sent && message.vendor == "inbox");
            (!moving).then_some(message)
        })
        .await
    }
}

/// The longest run of letters.
fn code_in(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_alphabetic()).max_by_key(|run| run.len()).unwrap().to_owned()
}

#[tokio::test]
async fn a_vendor_that_lies_is_not_believed_and_not_repeated() {
    let log = Log::start("trace");
    let mut house = House::new().await;
    for (i, (fault, status, end)) in house.liar.lies().into_iter().enumerate() {
        let case = format!("{fault:?}, status {status}");
        house.liar.tell(fault, status).await;
        house.verify(&format!("+60123451{:03}", 100 + i), end, &case).await;
        house.write_to(&format!("+60123452{:03}", 100 + i), end, &case).await;
    }
    assert_eq!(house.liar.elsewhere.requests(), [], "credentials and texts go nowhere else");

    let House { gateway, codes, told, .. } = house;
    let host = format!("Host: {}", gateway.addresses.admin);
    let metrics = get(gateway.addresses.admin, "/metrics", &[&host]).await.body;
    let gateway = gateway.restart().await;
    let logged = log.bytes();
    assert!(String::from_utf8_lossy(&logged).contains("vendor's answer makes no sense"));
    let secrets: Vec<_> = codes.into_iter().chain([USER, PASS, MARK].map(str::to_owned)).collect();
    assert_clean("an answer", &told.answers, &secrets);
    let secrets = [secrets, vec![TEXT.to_owned()]].concat();
    assert_clean("the log", &logged, &secrets);
    assert_clean("the metrics", metrics.as_bytes(), &secrets);
    assert_clean("the store", &files(&gateway.data()), &secrets);
}
