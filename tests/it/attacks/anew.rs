//! Attacks 3, 4 and 5 on every surface, each in its own words: sending again, calling off, and asking for another purpose
//! bring no fresh guesses. What a surface lacks of these it does by starting anew.

use std::time::Duration;

use serde_json::{Value, json};
use verigate::proto::verification::v1::{ListVerificationsRequest, StartVerificationRequest, VerificationStatus};

use crate::attacks::everywhere::{FAILURES, client, other_code, surfaces};
use crate::attacks::surfaces::{Begun, Client, Surface, Verdict, house, number, open_house};
use crate::support::gateway::{self, Gateway, phone, start, start_now};

/// Longer than any wait between sends, and short enough for all of a test to lie in one window.
const PAUSE: Duration = Duration::from_secs(300);

// === impl Client ===

impl Client {
    /// Calls a code off; `None` where a surface has no such call.
    async fn call_off(&self, begun: &Begun) -> Option<bool> {
        let name = &begun.name;
        let answer = match self.surface {
            Surface::Grpc => return Some(gateway::cancel(&mut self.verifications(), name).await.is_ok()),
            Surface::Json => self.post("POST", &format!("/v1/verifications/{name}/cancel"), None, &json!({})).await,
            Surface::Simpu => self.post("DELETE", &format!("/simpu/otp/{name}"), None, &json!({})).await,
            Surface::Esms | Surface::Hasun | Surface::Octopush => return None,
        };
        Some((200..300).contains(&answer.status))
    }

    /// Starts for another purpose than usual; `None` where a surface knows only one.
    async fn start_elsewhere(&self, phone: &str) -> Option<Result<(), String>> {
        let (field, purpose) = match self.surface {
            Surface::Grpc => {
                let request = StartVerificationRequest { scope: "reset".to_owned(), ..start(phone) };
                let started = start_now(&mut self.verifications(), request).await;
                return Some(started.map(drop).map_err(|refused| gateway::reason(&refused)));
            }
            Surface::Json => ("scope", "reset"),
            Surface::Esms => ("app-id", "8"),
            Surface::Hasun => ("mask_token", "RESETMASK"),
            Surface::Octopush | Surface::Simpu => return None,
        };
        let (path, mut body) = self.begin_call(phone);
        body[field] = Value::from(purpose);
        let answer = self.post("POST", &path, None, &body).await;
        Some(self.read_begun(phone, &answer).map(drop))
    }

    /// Wrong codes that were judged of all that was sent to a number.
    async fn used_in_all(&self, number: &str) -> i32 {
        let recipient = Some(phone(number));
        let request = ListVerificationsRequest { recipient, ..ListVerificationsRequest::default() };
        let page = self.verifications().list_verifications(request).await.unwrap().into_inner();
        page.verifications.iter().map(|verification| verification.checks_used).sum()
    }
}

#[tokio::test]
async fn neither_sending_again_nor_calling_off_brings_fresh_guesses() {
    let gateway = house().await;
    let mut turn = 0;
    for surface in surfaces([3, 4]) {
        for calls_off in [false, true] {
            let client = client(&gateway, surface).await;
            let (phone, case) = (number(turn), format!("{surface:?}, calls off: {calls_off}"));
            turn += 1;
            let mut rounds = 0;
            while let Ok(begun) = client.start(&phone, None).await {
                rounds += 1;
                assert!(rounds < 6, "{case}: it goes on and on");
                let code = gateway.code(&phone).await;
                for turn in 0..4 {
                    assert!(client.check(&begun, &other_code(&code, turn)).await != Verdict::Right, "{case}");
                }
                let used = client.used_in_all(&phone).await;
                assert!(used <= FAILURES, "{case}: {used}");
                if used == FAILURES {
                    assert!(client.check(&begun, &code).await != Verdict::Right, "{case}: after its last check");
                } else if calls_off && let Some(is_off) = client.call_off(&begun).await {
                    assert!(is_off, "{case}");
                    assert_eq!(client.newest(&phone).await.unwrap().status(), VerificationStatus::Canceled, "{case}");
                    assert!(client.start(&phone, None).await.is_err(), "{case}: within the cool-down");
                }
                gateway.clock.advance(PAUSE);
            }
            assert_eq!(client.used_in_all(&phone).await, FAILURES, "{case}");
        }
    }
}

#[tokio::test]
async fn another_purpose_brings_no_fresh_guesses() {
    let config = open_house().replacen("[[tenants]]", "[verification.limits]\nfailures = 5\n\n[[tenants]]", 1);
    let config = config.replacen("ACMEMASK = \"ACME\"", "ACMEMASK = \"ACME\", RESETMASK = \"ACME\"", 1);
    let gateway = Gateway::start_with(&config).await;
    for (turn, surface) in surfaces([5]).enumerate() {
        let client = client(&gateway, surface).await;
        let (phone, free) = (number(2 * turn), number(2 * turn + 1));
        let begun = client.start(&phone, None).await.unwrap();
        let code = gateway.code(&phone).await;
        for turn in 0..5 {
            assert!(client.check(&begun, &other_code(&code, turn)).await != Verdict::Right, "{surface:?}");
        }
        gateway.clock.advance(PAUSE);
        assert!(client.start_elsewhere(&free).await.unwrap().is_ok(), "{surface:?}: of who has failed nowhere");
        assert!(client.start_elsewhere(&phone).await.unwrap().is_err(), "{surface:?}");
        assert_eq!(gateway.inbox(&phone).await.len(), 1, "{surface:?}");
    }
}
