//! The vendors: what each offers, how it fares, and what is left in our account with it. That last costs a call, so it is
//! asked by a button.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::{Extension, Router, routing};
use maud::{Markup, html};
use tracing::info;

use crate::console::chart::{bar, number, share};
use crate::console::desk::Desk;
use crate::console::forms::Visit;
use crate::console::shell::{Place, Trouble, When, page};
use crate::messaging::oversight::VendorView;
use crate::vendor::Balance;

pub(crate) fn router() -> Router<Arc<Desk>> {
    Router::new().route("/vendors", routing::get(show)).route("/vendors/{name}/balance", routing::post(ask_balance))
}

async fn show(State(desk): State<Arc<Desk>>, Extension(visit): Extension<Visit>) -> Markup {
    whole(&desk, &visit, None)
}

async fn ask_balance(
    State(desk): State<Arc<Desk>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
) -> Result<Markup, Trouble> {
    let balance = desk.oversight.balance(&name).await?;
    info!(by = visit.operator.as_str(), vendor = name, "a balance was asked for in the console");
    Ok(whole(&desk, &visit, Some((&name, &balance))))
}

fn whole(desk: &Desk, visit: &Visit, told: Option<(&str, &Balance)>) -> Markup {
    let vendors = desk.oversight.vendors();
    let body = html! {
        h1 { "Vendors" }
        p.quiet { "Calls of the last five minutes, by this process." }
        @if vendors.is_empty() { p { "No vendor is configured; add one under " code { "[vendors.NAME]" } "." } }
        @for vendor in &vendors {
            (card(visit, vendor, told.filter(|(name, _)| *name == vendor.health.vendor).map(|(_, balance)| balance)))
        }
    };
    page(visit.nav, Some(Place::Vendors), "Vendors", "console.js", body)
}

fn card(visit: &Visit, vendor: &VendorView, balance: Option<&Balance>) -> Markup {
    let health = &vendor.health;
    let (calls, total) = (health.calls, health.calls.total());
    let outcomes = [
        ("taken", "approved", calls.accepted),
        ("recipient or text refused", "refused", calls.rejected),
        ("our account refused", "refused", calls.account_refused),
        ("throttled", "sent", calls.throttled),
        ("unavailable", "refused", calls.unavailable),
        ("no clear answer", "refused", calls.unknown),
    ];
    html! {
        section.card {
            h2 {
                (health.vendor) " "
                span class={ "badge " (health.breaker.as_str()) } { "breaker " (health.breaker.as_str()) }
            }
            dl.facts {
                div { dt { "Channels" } dd { (vendor.channels.iter().map(|channel| channel.as_str()).collect::<Vec<_>>().join(", ")) } }
                div { dt { "Half of the calls within" } dd { (millis(health.latency_p50)) } }
                div { dt { "99 of 100 within" } dd { (millis(health.latency_p99)) } }
                div { dt { "Under way" } dd { (health.under_way) } }
                div { dt { "Waiting for room" } dd { (health.waiting) } }
                @if let Some(at) = health.free_at { div { dt { "Called again at" } dd { (When(at)) } } }
                div { dt { "Makes codes" } dd { (yes(vendor.makes_codes)) } }
                div { dt { "Tells of delivery" } dd { (yes(vendor.reports_delivery)) } }
                div { dt { "Takes feedback" } dd { (yes(vendor.takes_feedback)) } }
                @if let Some(balance) = balance {
                    div { dt { "Balance" } dd.big role="status" { (balance.amount) " " (balance.unit) } }
                }
            }
            ul.bars {
                @for (name, class, count) in outcomes {
                    @if count > 0 || class == "approved" {
                        li {
                            span.name { (name) } (bar(number(count) / number(total.max(1)), class))
                            span.number { (count) " of " (total) ", " (share(number(count), number(total))) }
                        }
                    }
                }
            }
            @if vendor.tells_balance {
                form method="post" action={ "/vendors/" (health.vendor) "/balance" } {
                    (visit.token())
                    button type="submit" { "Ask " (health.vendor) " for our balance" }
                }
            } @else { p.quiet { "This vendor tells no balance." } }
        }
    }
}

fn millis(time: Option<Duration>) -> String {
    time.map_or_else(|| "–".to_owned(), |time| format!("{} ms", time.as_millis()))
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}
