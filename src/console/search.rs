//! Finds the verifications and messages of one recipient of one tenant. The recipient is in the form, not in the address
//! of the page, so that it stays out of histories; the answers show it masked.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Router, routing};
use maud::{Markup, html};

use crate::console::desk::Desk;
use crate::console::forms::{Form, Visit};
use crate::console::record::RecordKind;
use crate::console::sends::{badge, status_of_send};
use crate::console::shell::{Place, Trouble, When, page};
use crate::console::whom;
use crate::messaging::holder::SendRecord;
use crate::messaging::list::MessageFilter;
use crate::messaging::message::Message;
use crate::messaging::page::PageRequest;
use crate::verification::list::VerificationFilter;
use crate::verification::view::View;

pub(crate) fn router() -> Router<Arc<Desk>> {
    Router::new().route("/search", routing::get(show).post(find))
}

async fn show(State(desk): State<Arc<Desk>>, Extension(visit): Extension<Visit>) -> Markup {
    let body = html! {
        h1 { "Search" }
        (form(&desk, &visit, "", ""))
        p.quiet {
            "A start or a message that was refused left no record; " a href="/overview" { "the overview" }
            " counts refusals by reason."
        }
    };
    page(visit.nav, Some(Place::Search), "Search", "console.js", body)
}

async fn find(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Visit>,
    Extension(asked): Extension<Form>,
) -> Result<Markup, Trouble> {
    let (name, written) = (asked.required("tenant")?, asked.required("recipient")?);
    let tenant = desk.tenant(name)?;
    let recipient = whom::address(written).parse(tenant.default_country)?;
    let newest = PageRequest::default();
    let filter = VerificationFilter { recipient: Some(whom::address(written)), ..VerificationFilter::default() };
    let verifications = desk.verifications.list(&tenant, &filter, &newest).await?;
    let filter = MessageFilter { recipient: Some(whom::address(written)), ..MessageFilter::default() };
    let messages = desk.messaging.list(&tenant, &filter, &newest).await?;
    let body = html! {
        h1 { "Search" }
        (form(&desk, &visit, name, written))
        h2 { "Verifications of " (recipient.masked()) }
        @if verifications.items.is_empty() { p.quiet { "None is kept for this recipient." } }
        ul.records { @for view in &verifications.items { (verification(view)) } }
        h2 { "Messages to " (recipient.masked()) }
        @if messages.items.is_empty() { p.quiet { "None is kept for this recipient." } }
        ul.records { @for one in &messages.items { (message(one)) } }
        @if verifications.next.is_some() || messages.next.is_some() {
            p.quiet { "There are more; these are the newest. ListVerifications and ListMessages tell all." }
        }
    };
    Ok(page(visit.nav, Some(Place::Search), "Search", "console.js", body))
}

fn form(desk: &Desk, visit: &Visit, tenant: &str, recipient: &str) -> Markup {
    html! {
        form.fields method="post" action="/search" role="search" {
            (visit.token())
            (whom::fields(desk, tenant, recipient))
            button.primary type="submit" { "Find" }
        }
    }
}

fn verification(view: &View) -> Markup {
    let it = &view.verification;
    let sent = it.sends().last();
    html! {
        li {
            a href=(RecordKind::Verification.target(&it.tenant, it.id)) { (When(it.created_at)) }
            (badge(view.status.as_str()))
            span.quiet {
                "scope " (it.scope) ", " (it.sends().len()) @if it.sends().len() == 1 { " send" } @else { " sends" }
                @if let Some(sent) = sent {
                    ", last by " (sent.channel.as_str())
                    @if let Some(vendor) = &sent.vendor { " through " (vendor) }
                    ", " (status_of_send(sent.status))
                }
            }
        }
    }
}

fn message(message: &Message) -> Markup {
    let sending = &message.sending;
    html! {
        li {
            a href=(RecordKind::Message.target(&message.tenant, message.id)) { (When(message.created_at())) }
            (badge(status_of_send(sending.status)))
            span.quiet {
                (sending.channel.as_str())
                @if let Some(vendor) = &sending.vendor { " through " (vendor) }
                @if let Some(reason) = sending.reason { ", " (reason.as_str()) }
            }
        }
    }
}
