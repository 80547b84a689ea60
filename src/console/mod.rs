//! The console: pages for the people who run the gateway, on the admin listener.
//!
//! Codes in clear stand on the page of the dev inbox and on no other, so whoever reaches the listener may read them, and nobody else: requests under
//! a foreign host name are refused (a web page elsewhere could point its own name at this machine and read along), other
//! sites may neither frame nor load anything of it, and nothing is cached.

mod blocks;
mod chart;
pub mod desk;
mod forms;
mod inbox;
pub mod operator;
mod overview;
pub mod pulse;
mod record;
mod search;
mod sends;
mod shell;
mod try_it;
mod vendors;
mod whom;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{StatusCode, uri::Authority};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{self, MethodRouter};

use crate::console::desk::Desk;
use crate::console::forms::{Gate, admit};
use crate::console::shell::Nav;
use crate::vendor::inbox::Inbox;

const STYLE: &str = concat!(include_str!("../page/page.css"), "\n", include_str!("assets/console.css"));
const SCRIPT: &str = include_str!("assets/console.js");
const ICON: &str = include_str!("assets/icon.svg");

/// Nothing may run or load but our own files.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// On every answer of the console.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Not `no-referrer`: with that, browsers say of our own forms that they come from nowhere.
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Who may ask for the console's pages.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Host names, without port, under which the console may be asked for, beside `localhost` and any IP address.
    pub hosts: Vec<String>,
}

/// The console's routes: its pages, the dev inbox under `/inbox` where there is one, and `/assets/…`. Without a desk the
/// inbox alone, and without that none.
///
/// `first_send` is a command that sends a first message, for those who see an empty inbox; [`first_send_command`] makes
/// the usual one.
pub fn router(desk: Option<Desk>, inboxes: Vec<Arc<Inbox>>, config: Config, first_send: &str) -> Router {
    let nav = Nav { services: desk.is_some(), inbox: !inboxes.is_empty() };
    if nav == Nav::default() {
        return Router::new();
    }
    let first = if nav.services { "/overview" } else { "/inbox" };
    let mut router = Router::new()
        .route("/", routing::get(move || async move { Redirect::temporary(first) }))
        .route("/assets/console.css", asset("text/css; charset=utf-8", STYLE))
        .route("/assets/console.js", asset("text/javascript; charset=utf-8", SCRIPT))
        .route("/assets/icon.svg", asset("image/svg+xml", ICON));
    if nav.inbox {
        router = router.merge(inbox::router(inboxes, first_send, nav));
    }
    if let Some(desk) = desk {
        router = router.merge(pages(desk, nav));
    }
    router.route_layer(middleware::from_fn_with_state(Arc::new(config), guard))
}

/// The pages that stand on the services.
fn pages(desk: Desk, nav: Nav) -> Router {
    let gate = Arc::new(Gate::new(&*desk.random, nav));
    let mut pages = overview::router()
        .merge(search::router())
        .merge(record::router())
        .merge(vendors::router())
        .merge(blocks::router());
    if nav.inbox {
        pages = pages.merge(try_it::router());
    }
    pages.with_state(Arc::new(desk)).route_layer(middleware::from_fn_with_state(gate, admit))
}

fn asset(kind: &'static str, text: &'static str) -> MethodRouter {
    routing::get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
}

/// A `grpcurl` line that starts a verification over plain text at `address` (`host:port`), as the key `ID.SECRET`.
pub fn first_send_command(address: &str, key: &str) -> String {
    [
        &format!("grpcurl -plaintext -H 'authorization: Bearer {key}'"),
        r#"  -d '{"recipient": {"phone": "+60123456789"}, "locale": "en"}'"#,
        &format!("  {address}"),
        "  verigate.verification.v1.VerificationService/StartVerification",
    ]
    .join(" \\\n")
}

async fn guard(State(config): State<Arc<Config>>, request: Request, next: Next) -> Response {
    let mut response = if is_for_us(&request, &config) {
        next.run(request).await
    } else {
        let text = "This is the console of a Verigate gateway. It shows messages in clear, so it answers only to an IP \
                    address, to localhost, and to the names listed under `hosts` in the console's configuration.\n";
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether the request is addressed to this machine and not to a name that somebody pointed at it. An absolute target
/// and the `Host` field must both pass (RFC 9112 §3.2.2).
fn is_for_us(request: &Request, config: &Config) -> bool {
    let fields = request.headers().get_all(header::HOST).iter().map(|value| value.to_str().unwrap_or_default());
    let hosts: Vec<&str> = fields.chain(request.uri().authority().map(Authority::as_str)).collect();
    !hosts.is_empty() && hosts.iter().all(|host| is_known_host(host, config))
}

fn is_known_host(host: &str, config: &Config) -> bool {
    let Some(authority) = host.parse::<Authority>().ok().filter(|_| !host.contains('@')) else {
        return false;
    };
    let name = authority.host();
    let bracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    bracketed.is_some_and(|name| name.parse::<Ipv6Addr>().is_ok())
        || name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || config.hosts.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_command_is_one_shell_command() {
        let command = first_send_command("127.0.0.1:50051", "dev.dev-secret");
        let joined = command.replace(" \\\n ", "");
        let wanted = "grpcurl -plaintext -H 'authorization: Bearer dev.dev-secret' -d \
                      '{\"recipient\": {\"phone\": \"+60123456789\"}, \"locale\": \"en\"}' 127.0.0.1:50051 \
                      verigate.verification.v1.VerificationService/StartVerification";
        assert_eq!(joined, wanted);
    }

    #[test]
    fn only_addresses_localhost_and_configured_names_are_known() {
        let config = Config { hosts: vec!["verigate.internal".to_owned()] };
        for host in [
            "127.0.0.1:9090",
            "192.168.1.7",
            "[::1]:9090",
            "[fe80::1]",
            "localhost",
            "LocalHost:80",
            "verigate.internal:9090",
            "Verigate.Internal",
        ] {
            assert!(is_known_host(host, &config), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "127.0.0.1@evil.example",
            "evil@localhost",
            "[localhost]",
            "127.1",
            "2130706433",
            "sub.verigate.internal",
            "local host",
        ] {
            assert!(!is_known_host(host, &config), "{host}");
        }
    }
}
