//! The areas that the guard has closed because codes do not come back from there, and the button that opens one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Redirect;
use axum::{Extension, Router, routing};
use maud::{Markup, html};
use tracing::info;

use crate::console::desk::Desk;
use crate::console::forms::{Form, Visit};
use crate::console::shell::{Place, Trouble, When, page};
use crate::error::Error;
use crate::guard::area::Area;
use crate::messaging::page::MAX_SIZE;

pub(crate) fn router() -> Router<Arc<Desk>> {
    Router::new().route("/blocks", routing::get(show)).route("/blocks/end", routing::post(end))
}

async fn show(State(desk): State<Arc<Desk>>, Extension(visit): Extension<Visit>) -> Result<Markup, Trouble> {
    let found = desk.guard.blocks(None, MAX_SIZE, None)?;
    let body = html! {
        h1 { "Blocks" }
        p.quiet {
            "Areas from which too few codes come back are closed to a tenant by themselves. Opening one begins the counting "
            "anew there."
        }
        @if found.blocks.is_empty() { p.note { "No area is blocked." } }
        ul.records {
            @for block in &found.blocks {
                li {
                    strong { (block.area.to_string()) }
                    span { "for tenant " (block.tenant) }
                    span.quiet { "since " (When(block.since)) ", probes from " (When(block.until)) }
                    form method="post" action="/blocks/end" {
                        (visit.token())
                        input type="hidden" name="tenant" value=(block.tenant);
                        input type="hidden" name="area" value=(block.area.to_string());
                        button type="submit" { "Unblock " (block.area.to_string()) " for " (block.tenant) }
                    }
                }
            }
        }
        @if found.next.is_some() { p.quiet { "There are more; ListBlocks tells all." } }
    };
    Ok(page(visit.nav, Some(Place::Blocks), "Blocks", "console.js", body))
}

async fn end(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Visit>,
    Extension(form): Extension<Form>,
) -> Result<Redirect, Trouble> {
    let tenant = desk.tenant(form.required("tenant")?)?;
    let area: Area = form.required("area")?.parse().map_err(|wanted: &str| Error::invalid("area", wanted))?;
    desk.guard.unblock(&tenant.name, &area)?;
    let (by, tenant) = (visit.operator.as_str(), tenant.name.as_str());
    info!(by, tenant, area = area.to_string(), "an area was unblocked in the console");
    Ok(Redirect::to("/blocks"))
}
