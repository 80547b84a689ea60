//! A form that starts a verification in the name of a tenant, to see one live.
//!
//! It must not spend money or reach a person unasked, so it sends only where nothing can leave this machine: on a channel
//! that the person at the page chose, so that no workflow goes on to another one, and over a route all of whose vendors are
//! dev inboxes. A route with any other vendor in it is refused, even one that would be called last. It stands beside what
//! the tenant itself has pending, in a scope of its own; the limits of the tenant and of the recipient hold as for any call.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Redirect;
use axum::{Extension, Router, routing};
use maud::{Markup, html};
use tracing::info;

use crate::console::desk::Desk;
use crate::console::forms::{Form, Visit};
use crate::console::record::RecordKind;
use crate::console::shell::{Place, Trouble, page};
use crate::console::whom;
use crate::error::{Error, Kind, Reason, Result};
use crate::tenant::Tenant;
use crate::vendor::Channel;
use crate::verification::request::{NewVerification, OnExisting};

/// The scope of what is started here.
const SCOPE: &str = "console";

pub(crate) fn router() -> Router<Arc<Desk>> {
    Router::new().route("/try", routing::get(show).post(start))
}

async fn show(State(desk): State<Arc<Desk>>, Extension(visit): Extension<Visit>) -> Markup {
    let body = html! {
        h1 { "Try it" }
        p {
            "Starts a verification as the tenant's own service would. It goes only over routes that end in a dev inbox, so "
            "nothing leaves this machine and nothing is paid for."
        }
        form.fields method="post" action="/try" {
            (visit.token())
            (whom::fields(&desk, "", "+60123456789"))
            div {
                label for="channel" { "Channel" }
                select #channel name="channel" {
                    @for channel in Channel::ALL { option value=(channel.as_str()) { (channel.as_str()) } }
                }
            }
            div {
                label for="locale" { "Language, if any" }
                input #locale name="locale" placeholder="en" autocomplete="off" spellcheck="false" maxlength="35";
            }
            button.primary type="submit" { "Start" }
        }
        p.quiet { "The text and its code then stand in " a href="/inbox" { "the inbox" } ". Scope: " code { (SCOPE) } "." }
    };
    page(visit.nav, Some(Place::TryIt), "Try it", "console.js", body)
}

async fn start(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Visit>,
    Extension(form): Extension<Form>,
) -> Result<Redirect, Trouble> {
    let tenant = desk.tenant(form.required("tenant")?)?;
    let new = parse_new(&desk, &tenant, &form)?;
    let started = desk.verifications.start(&tenant, new).await?;
    let id = started.view.verification.id;
    info!(by = visit.operator.as_str(), tenant = tenant.name.as_str(), %id, "a verification was started in the console");
    Ok(Redirect::to(&RecordKind::Verification.target(&tenant.name, id)))
}

fn parse_new(desk: &Desk, tenant: &Tenant, form: &Form) -> Result<NewVerification> {
    let written = form.required("recipient")?;
    let named = form.required("channel")?;
    let channel = Channel::ALL.into_iter().find(|channel| channel.as_str() == named);
    let channel = channel.ok_or_else(|| Error::invalid("channel", "must be one of the list"))?;
    let country = whom::address(written).parse(tenant.default_country)?.country();
    let candidates = desk.messaging.candidates(&tenant.name, channel, country)?;
    if let Some(other) = candidates.iter().find(|candidate| !desk.inboxes.contains(&candidate.vendor)) {
        return Err(would_leave(channel, &other.vendor));
    }
    Ok(NewVerification {
        channel: Some(channel),
        scope: Some(SCOPE.to_owned()),
        locale: form.text("locale").map(str::to_owned),
        on_existing: OnExisting::Parallel,
        ..NewVerification::to(whom::address(written))
    })
}

fn would_leave(channel: Channel, vendor: &str) -> Error {
    let message = format!(
        "the route for {channel} goes through {vendor}, which is no dev inbox: a try must not leave this machine. Add a \
         [[routes]] entry for it whose vendors are inboxes, above the others"
    );
    Error::new(Kind::Precondition, Reason::NotPermitted, message)
}
