//! Attack 23 on every surface where callers name a URL to be told at: one that leads to this machine or its networks, in
//! any spelling, is refused with the call that names it, and nothing is sent. What a name leads to is found out when it is
//! called, which is the same for all surfaces and has tests in `webhook.rs` and `callbacks.rs`.

use serde_json::{Value, json};
use verigate::proto::admin::v1::CreateEventEndpointRequest;

use crate::attacks::everywhere::{client, surfaces};
use crate::attacks::surfaces::{Client, Surface, number, open_house};
use crate::support::gateway::Gateway;
use crate::support::vendor_server::{Answer, VendorServer};

/// Hosts that are this machine, its network, or the one who knows its secrets.
const INSIDE: [&str; 19] = [
    "127.0.0.1",
    "127.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "10.0.0.1",
    "169.254.169.254",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "100.64.0.1",
];

/// Whether the surface takes a call that wants to be told there.
async fn takes(gateway: &Gateway, client: &Client, phone: &str, address: &str) -> bool {
    // Endpoints of events are told by https alone.
    let endpoint = format!("https://{address}/told");
    match client.surface {
        Surface::Grpc => {
            let request = CreateEventEndpointRequest {
                tenant: "acme".to_owned(),
                url: endpoint,
                ..CreateEventEndpointRequest::default()
            };
            gateway.admin().await.create_event_endpoint(request).await.is_ok()
        }
        Surface::Json => {
            let body: Value = json!({"url": endpoint});
            client.post("POST", "/v1/admin/tenants/acme/endpoints", None, &body).await.status == 200
        }
        _ => client.send_text(phone, "Hello", &format!("http://{address}/told")).await.is_ok(),
    }
}

#[tokio::test]
async fn nobody_is_told_on_our_own_networks_through_any_surface() {
    let config = open_house().replacen("name = \"acme\"", "name = \"acme\"\nadmin = true", 1);
    let gateway = Gateway::start_with(&config).await;
    let receiver = VendorServer::start(|_| Answer::new(204, "")).await;
    let (_, port) = receiver.url().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
    let mut turn = 0;
    for surface in surfaces([23]) {
        let client = client(&gateway, surface).await;
        for host in INSIDE {
            turn += 1;
            let phone = number(turn);
            for address in [format!("{host}:{port}"), host.to_owned()] {
                assert!(!takes(&gateway, &client, &phone, &address).await, "{surface:?} takes {address}");
            }
            assert!(gateway.inbox(&phone).await.is_empty(), "{surface:?} and {host}");
        }
        // All that was wrong was where it led. Where a name leads, nobody knows before it is called.
        turn += 1;
        assert!(takes(&gateway, &client, &number(turn), &format!("localhost:{port}")).await, "{surface:?}");
    }
    assert_eq!(receiver.requests(), []);
}
