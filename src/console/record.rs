//! One verification or message: where it stands, what happened when, which vendors were called and why these.
//!
//! Neither code nor text is ever shown, whoever asks. The recipient and what the caller attached are shown only by a
//! button, and the log says who pressed it for which record.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Redirect;
use axum::{Extension, Router, routing};
use maud::{Markup, Render, html};
use tracing::info;

use crate::console::desk::Desk;
use crate::console::forms::{Form, Visit};
use crate::console::sends::{self, badge, status_of_send};
use crate::console::shell::{Place, Trouble, When, page};
use crate::error::{Error, Result};
use crate::feed::timeline::{self, Moment};
use crate::id::{Id, TenantName};
use crate::messaging::holder::SendRecord;
use crate::messaging::sending::Sending;
use crate::recipient::Recipient;
use crate::vendor::FeedbackOutcome;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Verification,
    Message,
}

/// A record as it is shown.
struct Shown {
    kind: RecordKind,
    tenant: TenantName,
    id: Id,
    recipient: Recipient,
    status: &'static str,
    facts: Vec<(&'static str, Markup)>,
    sends: Vec<Sending>,
    moments: Vec<Moment>,
    metadata: BTreeMap<String, String>,
}

type Target = (String, String, String);

pub(crate) fn router() -> Router<Arc<Desk>> {
    Router::new()
        .route("/records/{kind}/{tenant}/{id}", routing::get(show))
        .route("/records/{kind}/{tenant}/{id}/live", routing::get(show_live))
        .route("/records/{kind}/{tenant}/{id}/reveal", routing::post(reveal))
        .route("/records/{kind}/{tenant}/{id}/feedback", routing::post(feedback))
}

async fn show(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Visit>,
    Path(target): Path<Target>,
) -> Result<Markup, Trouble> {
    Ok(whole(&desk, &visit, &load(&desk, &target).await?, false))
}

async fn show_live(State(desk): State<Arc<Desk>>, Path(target): Path<Target>) -> Result<Markup, Trouble> {
    Ok(live(&desk, &load(&desk, &target).await?))
}

async fn reveal(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Visit>,
    Path(target): Path<Target>,
) -> Result<Markup, Trouble> {
    let shown = load(&desk, &target).await?;
    let (kind, tenant, id) = (shown.kind.as_str(), shown.tenant.as_str(), shown.id);
    info!(by = visit.operator.as_str(), kind, tenant, %id, "the recipient of a record was revealed in the console");
    Ok(whole(&desk, &visit, &shown, true))
}

async fn feedback(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Visit>,
    Extension(form): Extension<Form>,
    Path(target): Path<Target>,
) -> Result<Redirect, Trouble> {
    let (kind, tenant, id) = parse(&desk, &target)?;
    let outcome = match form.required("outcome")? {
        "received" => FeedbackOutcome::Received,
        "not_received" => FeedbackOutcome::NotReceived,
        _ => return Err(Error::invalid("outcome", "must be received or not_received").into()),
    };
    match kind {
        RecordKind::Verification => desk.verifications.feedback(&tenant, id, outcome).await?,
        RecordKind::Message => desk.messaging.feedback(&tenant, id, outcome).await?,
    };
    let (by, tenant_name) = (visit.operator.as_str(), tenant.as_str());
    info!(by, kind = kind.as_str(), tenant = tenant_name, %id, ?outcome, "feedback was given in the console");
    Ok(Redirect::to(&kind.target(&tenant, id)))
}

fn parse(desk: &Desk, (kind, tenant, id): &Target) -> Result<(RecordKind, TenantName, Id)> {
    Ok((kind.parse()?, desk.tenant(tenant)?.name.clone(), id.parse()?))
}

async fn load(desk: &Desk, target: &Target) -> Result<Shown> {
    let (kind, tenant, id) = parse(desk, target)?;
    match kind {
        RecordKind::Verification => load_verification(desk, tenant, id).await,
        RecordKind::Message => load_message(desk, tenant, id).await,
    }
}

async fn load_verification(desk: &Desk, tenant: TenantName, id: Id) -> Result<Shown> {
    let view = desk.verifications.get(&tenant, id).await?;
    let it = view.verification;
    let mut facts = vec![
        ("Scope", html! { (it.scope) }),
        ("Began", When(it.created_at).render()),
        ("Ends", When(it.expires_at).render()),
        ("Failed checks", html! { (it.checks_used) " of " (it.max_checks) ", " (view.checks_left) " left" }),
        ("Code made by", html! { @if it.is_of_vendors_code() { "the vendor" } @else { "this gateway" } }),
        ("Template", html! { @if it.text.is_some() { "words of the call" } @else { (it.template) } }),
    ];
    facts.extend(it.locale.as_ref().map(|locale| ("Locale", html! { (locale) })));
    facts.extend(it.workflow().map(|name| ("Workflow", html! { (name) })));
    facts.extend(view.next_step_at.map(|at| ("Next step", When(at).render())));
    facts.extend(view.decided_at.map(|at| ("Ended", When(at).render())));
    let moments = timeline::of_verification(it.history());
    let (recipient, sends) = (it.recipient.clone(), it.sends().to_vec());
    let (kind, status) = (RecordKind::Verification, view.status.as_str());
    Ok(Shown { kind, tenant, id, recipient, status, facts, sends, moments, metadata: it.metadata })
}

async fn load_message(desk: &Desk, tenant: TenantName, id: Id) -> Result<Shown> {
    let it = desk.messaging.get(&tenant, id).await?;
    let mut facts = vec![
        ("Accepted", When(it.created_at()).render()),
        ("Given up at", When(it.sending.expires_at).render()),
        ("Text", html! { (it.text.expose().chars().count()) " characters, not shown here" }),
    ];
    facts.extend(it.send_at.map(|at| ("To be sent at", When(at).render())));
    let moments = timeline::of_message(&it.history);
    let (kind, status) = (RecordKind::Message, status_of_send(it.sending.status));
    let (recipient, sends, metadata) = (it.recipient, vec![it.sending], it.metadata);
    Ok(Shown { kind, tenant, id, recipient, status, facts, sends, moments, metadata })
}

fn whole(desk: &Desk, visit: &Visit, shown: &Shown, revealed: bool) -> Markup {
    let target = shown.kind.target(&shown.tenant, shown.id);
    let title = format!("{} {}", shown.kind.title(), shown.id);
    let body = html! {
        div.heading { h1 { (shown.kind.title()) } p.live-state data-live-state="" { "As of loading this page" } }
        dl.facts {
            div { dt { "Recipient" } dd { @if revealed { (shown.recipient.as_str()) } @else { (shown.recipient.masked()) } } }
            div { dt { "Tenant" } dd { (shown.tenant) } }
            div { dt { "Id" } dd { code { (shown.id) } } }
            @for (key, value) in &shown.metadata {
                div { dt { "Metadata " (key) } dd { @if revealed { (value) } @else { "•••" } } }
            }
        }
        div data-live={ (target) "/live" } data-every="1000" { (live(desk, shown)) }
        h2 { "Actions" }
        div.buttons {
            @if !revealed {
                form method="post" action={ (target) "/reveal" } {
                    (visit.token())
                    button type="submit" { "Reveal recipient and metadata" }
                }
            }
            @for (outcome, words) in [("received", "It was received"), ("not_received", "It was not received")] {
                form method="post" action={ (target) "/feedback" } {
                    (visit.token())
                    button type="submit" name="outcome" value=(outcome) { (words) }
                }
            }
        }
        p.quiet {
            @if revealed { "The log says who saw this and when." } @else { "Revealing is logged with your name." }
            " What you say of its arrival counts for the vendor, and cannot be taken back."
        }
    };
    page(visit.nav, Some(Place::Search), &title, "console.js", body)
}

/// What changes by itself.
fn live(desk: &Desk, shown: &Shown) -> Markup {
    html! {
        p.status-line role="status" { "Status " (badge(shown.status)) }
        dl.facts { @for (name, value) in &shown.facts { div { dt { (name) } dd { (value) } } } }
        h2 { "Timeline" }
        ol.timeline { @for moment in &shown.moments { (step(shown, moment)) } }
        h2 { "Sends" }
        @for sending in &shown.sends {
            (sends::card(sending, desk.messaging.candidates(&shown.tenant, sending.channel, shown.recipient.country())))
        }
    }
}

fn step(shown: &Shown, moment: &Moment) -> Markup {
    html! {
        li {
            (When(moment.at))
            span.what { (moment.kind.meaning) }
            span.quiet {
                code { (moment.kind.name) }
                @if let Some(send) = moment.send.filter(|_| shown.sends.len() > 1) { " send " (u32::from(send) + 1) }
                @if let Some(attempt) = moment.attempt { " attempt " (attempt) }
            }
        }
    }
}

// === impl RecordKind ===

impl RecordKind {
    /// Where its page is.
    pub(crate) fn target(self, tenant: &TenantName, id: Id) -> String {
        format!("/records/{}/{tenant}/{id}", self.as_str())
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::Message => "message",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Verification => "Verification",
            Self::Message => "Message",
        }
    }
}

impl FromStr for RecordKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "verification" => Ok(Self::Verification),
            "message" => Ok(Self::Message),
            _ => Err(Error::invalid("kind", "must be verification or message")),
        }
    }
}
