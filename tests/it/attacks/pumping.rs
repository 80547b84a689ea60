//! Attacks 8, 18 and 19 on every surface: sending much, to many, through many, or as somebody else each time. The rules lie
//! beneath all surfaces and have tests of their own in `guard`; here it is that no surface leads past them.

use tonic::Request;
use verigate::proto::verification::v1::StartVerificationRequest;

use crate::attacks::everywhere::{client, surfaces};
use crate::attacks::surfaces::{ACME, Client, Surface, Tenant, open_house};
use crate::support::gateway::{Gateway, reason, seconds, start};
use crate::support::http::call;

/// Most sends to one block of ten thousand numbers, and to one number in a day.
const OF_A_BLOCK: usize = 50;
const TO_A_NUMBER: usize = 12;

/// A gateway where these rules of the guard are as a configuration that says nothing of them has them, and everything is
/// delivered: no number of a block waits for a clock that stands still.
fn guarded(rules: &[&str]) -> String {
    let is_kept = |line: &&str| {
        !line.contains("{ pattern")
            && !rules.iter().any(|rule| line.starts_with(&format!("{rule} = {{ mode = \"off\"")))
    };
    open_house().lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect()
}

/// Attack 18.
#[tokio::test]
async fn a_block_of_numbers_trips_on_every_surface() {
    for surface in surfaces([18]) {
        let gateway = Gateway::start_with(&guarded(&["number_block", "sequence"])).await;
        let client = client(&gateway, surface).await;
        let mut numbers = (0..10_000).map(|last| format!("+9477123{last:04}"));
        let mut passed = 0;
        let refused = loop {
            let number = numbers.next().unwrap();
            match client.start(&number, None).await {
                Ok(_) => passed += 1,
                Err(_) => break number,
            }
        };
        assert!((1..=OF_A_BLOCK).contains(&passed), "{surface:?}: {passed}");
        assert_eq!(gateway.whole_inbox().await.len(), passed, "{surface:?}");
        for other in Surface::ALL {
            for number in [&refused, &numbers.next().unwrap()] {
                let started = client.at(other).start(number, None).await;
                assert!(started.is_err(), "{other:?} goes on with the block of {surface:?}");
                let texted = client.at(other).send_text(number, "Hello", "").await;
                assert!(texted.is_err(), "{other:?} writes to the block of {surface:?}");
            }
        }
        assert_eq!(gateway.whole_inbox().await.len(), passed, "{surface:?}");
    }
}

/// Attack 19.
#[tokio::test]
async fn one_number_through_many_tenants_trips_on_every_surface() {
    const TENANTS: usize = 20;
    let tenants: String = (0..TENANTS)
        .map(|turn| {
            let Tenant { id, secret, mask } = tenant(turn);
            format!(
                "[[tenants]]\nname = \"{id}\"\nbrand = \"Acme\"\nreturn_code = true\n\
                 keys = [{{ id = \"{id}\", secret = \"{secret}\" }}]\n[rest.hasun.masks.{id}]\n{mask} = \"ACME\"\n"
            )
        })
        .collect();
    let config = format!("{}\n{tenants}", guarded(&["recipient"]));
    for surface in surfaces([19]) {
        let gateway = Gateway::start_with(&config).await;
        let phone = "+94771234567";
        let mut refused = 0;
        for turn in 0..TENANTS {
            let client = Client::new(&gateway, surface, tenant(turn)).await;
            refused += usize::from(client.start(phone, None).await.is_err());
        }
        assert_eq!((gateway.inbox(phone).await.len(), refused), (TO_A_NUMBER, TENANTS - TO_A_NUMBER), "{surface:?}");
        let last = Client::new(&gateway, surface, ACME).await;
        for other in Surface::ALL {
            assert!(last.at(other).start(phone, None).await.is_err(), "{other:?} goes on after {surface:?}");
        }
        assert_eq!(gateway.inbox(phone).await.len(), TO_A_NUMBER, "{surface:?}");
    }
}

fn tenant(turn: usize) -> Tenant {
    Tenant {
        id: format!("t{turn}").leak(),
        secret: format!("secret-of-tenant-{turn:03}").leak(),
        mask: format!("MASK{turn}").leak(),
    }
}

/// Attack 8: whoever names another address in each call is known by the one that the proxy saw, or by none that a header
/// names.
#[tokio::test]
async fn no_header_makes_a_caller_somebody_else_on_any_surface() {
    let rules = "client_address_of_peer = true\nclient_address = { sends = 3 }\n";
    let config = open_house().replacen("[guard]\n", &format!("[guard]\n{rules}"), 1);
    let behind = config.replacen("[server]\n", "[server]\nproxies = [\"127.0.0.1/32\"]\n", 1);
    // Who calls from this machine itself is not counted.
    for (config, passes) in [(&behind, 3), (&config, 6)] {
        for surface in surfaces([8]) {
            let gateway = Gateway::start_with(config).await;
            let client = client(&gateway, surface).await;
            for turn in 0..6 {
                // Far apart: neither neighbours nor one block.
                spoof(&client, &format!("+9477{:07}", 3_000_100 + turn * 31_400), turn).await;
            }
            assert_eq!(gateway.whole_inbox().await.len(), passes, "{surface:?}");
        }
    }
}

/// Starts as somebody else, by all the names that there are for it.
async fn spoof(client: &Client, phone: &str, turn: usize) {
    let forwarded = format!("192.0.2.{turn}, 203.0.113.7");
    let claims = [
        ("x-forwarded-for", forwarded),
        ("x-real-ip", format!("192.0.2.{turn}")),
        ("forwarded", format!("for=192.0.2.{turn}")),
        ("cf-connecting-ip", format!("192.0.2.{turn}")),
        ("true-client-ip", format!("192.0.2.{turn}")),
    ];
    if client.surface == Surface::Grpc {
        let mut request = Request::new(StartVerificationRequest { delivery_wait: seconds(5), ..start(phone) });
        for (name, value) in claims {
            request.metadata_mut().insert(name, value.parse().unwrap());
        }
        let started = client.verifications().start_verification(request).await;
        assert!(started.as_ref().map_err(reason).err().is_none_or(|reason| reason == "CLIENT_ADDRESS_LIMIT"));
        return;
    }
    let (path, body) = client.begin_call(phone);
    let fields: Vec<_> =
        client.fields(None).into_iter().chain(claims.map(|(name, value)| format!("{name}: {value}"))).collect();
    let fields: Vec<_> = fields.iter().map(String::as_str).collect();
    call(client.http(), "POST", &path, &fields, body.to_string()).await;
}
