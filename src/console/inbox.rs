//! The inbox page: what the development vendor has taken, live, and the same as JSON for tests and scripts.
//!
//! The page itself holds no message. Its script asks for them as JSON and writes them as text, so nothing that a message
//! says can become markup.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing};
use maud::{Markup, html};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::console::shell::{self, Nav, Place};
use crate::error::{Error, Result};
use crate::vendor::inbox::{Entry, Inbox};

const STYLE: &str = include_str!("assets/inbox.css");
const SCRIPT: &str = include_str!("assets/inbox.js");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    recipient: Option<String>,
}

/// One message on the wire.
#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    tenant: &'a str,
    channel: &'a str,
    vendor: &'a str,
    sender: Option<&'a str>,
    recipient: &'a str,
    text: &'a str,
    /// RFC 3339 in UTC with milliseconds.
    sent_at: String,
}

/// A problem on the wire (RFC 9457).
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    reason: &'a str,
}

pub(crate) fn router(inboxes: Vec<Arc<Inbox>>, first_send: &str, nav: Nav) -> Router {
    let page = page(first_send, nav).into_string();
    let asset = |kind: &'static str, text: &'static str| {
        routing::get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
    };
    Router::new()
        .route("/inbox", routing::get(move || async move { axum::response::Html(page) }))
        .route("/inbox/messages", routing::get(list))
        .route("/assets/inbox.css", asset("text/css; charset=utf-8", STYLE))
        .route("/assets/inbox.js", asset("text/javascript; charset=utf-8", SCRIPT))
        .with_state(Arc::from(inboxes))
}

async fn list(State(inboxes): State<Arc<[Arc<Inbox>]>>, uri: Uri) -> Response {
    let query = match parse_query(&uri) {
        Ok(query) => query,
        Err(error) => return to_problem(&error),
    };
    let recipient = query.recipient.as_deref();
    let mut entries: Vec<Arc<Entry>> = inboxes.iter().flat_map(|inbox| inbox.messages(recipient)).collect();
    // Each inbox is in order by itself; a stable sort keeps that for messages of one millisecond.
    entries.sort_by_key(|entry| Reverse(entry.sent_at));
    Json(entries.iter().map(|entry| to_message(entry)).collect::<Vec<_>>()).into_response()
}

fn parse_query(uri: &Uri) -> Result<ListQuery> {
    let wrong = |description: &str| Error::invalid("recipient", description);
    let Query(query) = Query::<ListQuery>::try_from_uri(uri)
        .map_err(|_| wrong("is the only key that the query may hold, and at most once"))?;
    match query.recipient.as_deref().map(str::trim) {
        Some("") => Err(wrong("must not be empty; leave it out to see every message")),
        _ => Ok(query),
    }
}

fn to_message(entry: &Entry) -> Message<'_> {
    Message {
        id: &entry.id,
        tenant: entry.tenant.as_str(),
        channel: entry.channel.as_str(),
        vendor: &entry.vendor,
        sender: entry.sender.as_deref(),
        recipient: &entry.recipient,
        text: entry.text.expose_secret(),
        sent_at: entry.sent_at.to_string(),
    }
}

fn to_problem(error: &Error) -> Response {
    let status = StatusCode::BAD_REQUEST;
    let problem = Problem {
        r#type: "about:blank",
        title: "Bad Request",
        status: status.as_u16(),
        detail: error.message(),
        reason: error.reason().as_str(),
    };
    (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(problem)).into_response()
}

fn page(first_send: &str, nav: Nav) -> Markup {
    let body = html! {
        div.bar-inner {
            h1 { "Inbox" }
            form.filter role="search" action="/inbox" {
                label.hidden-visually for="filter" { "Show only messages to this recipient" }
                input #filter name="recipient" type="search" placeholder="Filter by recipient"
                    autocomplete="off" autocapitalize="off" spellcheck="false";
                kbd aria-hidden="true" { "/" }
            }
            p #state .state data-state="connecting" { span.dot aria-hidden="true" {} span #state-text { "Connecting" } }
        }
        p #count .count { "\u{a0}" }
        p #announcer .hidden-visually role="status" aria-live="polite" {}
        noscript { p.note { "This page needs JavaScript. The same messages as JSON: " a href="/inbox/messages" { "/inbox/messages" } } }
        ol #messages .messages aria-label="Messages, newest first" {}
        p #no-match .note hidden {
            "No message to this recipient yet. " button #clear .link type="button" { "Show all" }
        }
        (empty_state(first_send, nav))
        (message_template())
    };
    shell::page(nav, Some(Place::Inbox), "Inbox", "inbox.js", body)
}

fn empty_state(first_send: &str, nav: Nav) -> Markup {
    html! {
        section #empty .empty hidden {
            h2 { "No messages yet" }
            p {
                "Whatever is sent through the inbox vendor appears here as it happens. Nothing leaves this machine. "
                "Start a first verification"
                @if nav.services { " " a href="/try" { "by a form" } ", or like a service would" }
                ":"
            }
            div.command {
                pre tabindex="0" aria-label="Command" { code #command { (first_send) } }
                button #copy-command .copy type="button" { "Copy" }
            }
        }
    }
}

/// What the script clones for each message, and fills with text alone.
fn message_template() -> Markup {
    html! {
        template #message {
            li.message {
                article {
                    header {
                        h2.recipient {}
                        span.channel {}
                        time.when { span.ago {} span.clock {} }
                    }
                    button.code type="button" title="Copy the code" hidden { span.code-text {} span.code-copy { "Copy" } }
                    p.text dir="auto" {}
                    dl.meta {
                        div { dt { "Tenant" } dd.tenant {} }
                        div { dt { "Vendor" } dd.vendor {} }
                        div.sender-field { dt { "Sender" } dd.sender {} }
                        div.id-field { dt { "Id" } dd.id {} }
                    }
                }
            }
        }
    }
}
