//! Attack 28 from every surface: markup in all that a caller may write, of which the console shows some as text and none as
//! markup. What a browser makes of the inbox, which shows texts, is tried in a real one.

use serde_json::{Value, json};
use verigate::proto::messaging::v1::SendMessageRequest;

use crate::attacks::everywhere::{client, surfaces};
use crate::attacks::surfaces::{Client, Surface, house, number};
use crate::console::Browser;
use crate::support::gateway::{Messages, text_to};
use crate::support::http::get;

const SENDER: &str = "<b>Ann</b>";
const MARKUP: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>";

/// Sends markup in each place that the surface has.
async fn send(client: &Client, messages: &mut Messages, phone: &str) {
    if client.surface == Surface::Grpc {
        let request = SendMessageRequest {
            sender: SENDER.to_owned(),
            metadata: [(MARKUP[..20].to_owned(), MARKUP.to_owned())].into(),
            ..text_to(phone, MARKUP)
        };
        messages.send_message(request).await.unwrap();
        return;
    }
    let (path, mut body) = client.text_call(phone, MARKUP, "");
    match client.surface {
        Surface::Json => {
            body["sender"] = SENDER.into();
            body["metadata"] = json!({ &MARKUP[..20]: MARKUP });
        }
        Surface::Octopush => {
            body["recipients"] = json!([{"phone_number": phone, "first_name": MARKUP}]);
            body["sender"] = SENDER.into();
        }
        Surface::Simpu => (body["sender_id"], body["external_ref"]) = (SENDER.into(), MARKUP.into()),
        Surface::Grpc | Surface::Esms | Surface::Hasun => {}
    }
    client.post("POST", &path, None, &body).await;
}

#[tokio::test]
async fn markup_from_any_surface_is_text_on_every_page() {
    let gateway = house().await;
    let browser = Browser::at(&gateway);
    let mut messages = gateway.messages().await;
    for (turn, surface) in surfaces([28]).enumerate() {
        let client = client(&gateway, surface).await;
        let phone = number(turn);
        send(&client, &mut messages, &phone).await;
        let message = client.newest_text(&phone).await.unwrap_or_else(|| panic!("{surface:?} sent nothing"));
        let record = format!("/records/message/acme/{}", message.id);
        let mut pages = vec![browser.post(&format!("{record}/reveal"), &[]).await];
        for target in [record.as_str(), &format!("{record}/live"), "/overview", "/overview/live", "/vendors", "/inbox"]
        {
            pages.push(browser.get(target).await);
        }
        pages.push(browser.post("/search", &[("tenant", "acme"), ("recipient", &phone)]).await);
        for page in &pages {
            assert_eq!(page.status, 200, "{surface:?}: {page:?}");
            for raw in ["<script>", "<img src=x", SENDER] {
                assert!(!page.body.contains(raw), "{surface:?}: {}", page.body);
            }
        }
        let attached = matches!(surface, Surface::Grpc | Surface::Json | Surface::Simpu);
        let shown = pages[0].body.contains("&lt;script&gt;alert(1)&lt;/script&gt;");
        assert_eq!(shown, attached, "{surface:?}: {}", pages[0].body);

        // The inbox hands it to its page as data.
        let host = format!("Host: {}", gateway.addresses.admin);
        let target = format!("/inbox/messages?recipient={}", phone.replace('+', "%2B"));
        let data = get(gateway.addresses.admin, &target, &[&host]).await;
        assert_eq!(data.header("content-type"), Some("application/json"), "{surface:?}");
        assert_eq!(data.header("x-content-type-options"), Some("nosniff"), "{surface:?}");
        let told: Value = serde_json::from_str(&data.body).unwrap();
        assert_eq!(told[0]["text"], MARKUP, "{surface:?}");
    }
}
