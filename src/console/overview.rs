//! The first page: how far verifications get right now, how well vendors' codes come back, and what is refused. Its live
//! part is also served alone, for the script that renews it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Router, routing};
use maud::{Markup, html};

use crate::console::chart::{self, Line, bar, number, share};
use crate::console::desk::Desk;
use crate::console::forms::Visit;
use crate::console::pulse::{Counts, Reading, STEP};
use crate::console::shell::{Place, Trouble, page};
use crate::messaging::conversion_list::{ConversionFilter, ConversionPageRequest};

/// Rows of conversion that are shown; the call lists all.
const MOST_ROWS: usize = 100;

pub(crate) fn router() -> Router<Arc<Desk>> {
    Router::new().route("/overview", routing::get(show)).route("/overview/live", routing::get(show_live))
}

async fn show(State(desk): State<Arc<Desk>>, Extension(visit): Extension<Visit>) -> Result<Markup, Trouble> {
    let body = html! {
        div.heading { h1 { "Overview" } p.live-state data-live-state="" { "As of loading this page" } }
        div data-live="/overview/live" data-every="3000" { (live(&desk)?) }
    };
    Ok(page(visit.nav, Some(Place::Overview), "Overview", "console.js", body))
}

async fn show_live(State(desk): State<Arc<Desk>>) -> Result<Markup, Trouble> {
    live(&desk)
}

fn live(desk: &Desk) -> Result<Markup, Trouble> {
    let reading = desk.pulse.read();
    let steps = desk.pulse.steps(reading.counts);
    Ok(html! {
        (funnel(reading.counts, &steps))
        (vendors(desk))
        (conversion(desk)?)
        div.columns { (countries(&reading)) (refusals(&reading)) }
    })
}

fn funnel(counts: Counts, steps: &[Counts]) -> Markup {
    let stages = [
        ("Started", "started", counts.started),
        ("Sent", "sent", counts.sent),
        ("Delivered", "delivered", counts.delivered),
        ("Approved", "approved", counts.approved),
    ];
    let line = |name, class, value: fn(&Counts) -> u64| Line { name, class, values: steps.iter().map(value).collect() };
    let lines = [
        line("Started", "started", |step| step.started),
        line("Sent", "sent", |step| step.sent),
        line("Delivered", "delivered", |step| step.delivered),
        line("Approved", "approved", |step| step.approved),
    ];
    let recent = |values: &Line<'_>| values.values.iter().sum::<u64>();
    let span = words_of(STEP * u32::try_from(steps.len()).unwrap_or(u32::MAX));
    let about = format!(
        "Of the last {span}: {} started, {} sent, {} delivered, {} approved",
        recent(&lines[0]),
        recent(&lines[1]),
        recent(&lines[2]),
        recent(&lines[3])
    );
    html! {
        section aria-labelledby="funnel" {
            h2 #funnel { "Verifications" }
            dl.stages {
                @for (at, (name, class, count)) in stages.into_iter().enumerate() {
                    div.stage {
                        dt { (name) }
                        dd {
                            span.big { (count) }
                            span.quiet { (share(number(count), number(counts.started))) " of started" }
                            span.quiet { (recent(&lines[at])) " in the last " (span) }
                            (bar(number(count) / number(counts.started.max(1)), class))
                        }
                    }
                }
            }
            (chart::lines(&lines, &format!("{span} ago"), &about))
            p.quiet { "Since this process began. Sent and delivered count sends, of which a verification may have several." }
        }
    }
}

fn vendors(desk: &Desk) -> Markup {
    html! {
        section aria-labelledby="health" {
            h2 #health { "Vendors" }
            ul.tiles {
                @for vendor in desk.oversight.vendors() {
                    @let calls = vendor.health.calls;
                    li.tile {
                        a href="/vendors" { (vendor.health.vendor) }
                        span class={ "badge " (vendor.health.breaker.as_str()) } { (vendor.health.breaker.as_str()) }
                        span.quiet {
                            (calls.accepted) " of " (calls.total()) " calls taken in 5 min"
                            @if let Some(half) = vendor.health.latency_p50 { ", half within " (half.as_millis()) " ms" }
                        }
                        (bar(number(calls.accepted) / number(calls.total().max(1)), "approved"))
                    }
                }
            }
        }
    }
}

fn conversion(desk: &Desk) -> Result<Markup, Trouble> {
    let wanted = ConversionPageRequest { size: Some(MOST_ROWS), token: None };
    let found = desk.oversight.conversions(&ConversionFilter::default(), &wanted)?;
    Ok(html! {
        section aria-labelledby="conversion" {
            h2 #conversion { "Conversion" }
            @if found.rows.is_empty() {
                p.quiet { "Nothing was measured yet: no vendor has carried a code." }
            } @else {
                div.scroll tabindex="0" role="region" aria-labelledby="conversion" {
                    table {
                        thead { tr {
                            th scope="col" { "Vendor" } th scope="col" { "Channel" } th scope="col" { "Country" }
                            th.number scope="col" { "Codes" } th.number scope="col" { "Approved" } th scope="col" { "Share" }
                        } }
                        tbody { @for ((vendor, channel, country), tally) in &found.rows {
                            tr {
                                th scope="row" { (vendor) } td { (channel.as_str()) }
                                td { @match country { Some(country) => { (country) }, None => { "–" } } }
                                td.number { (format!("{:.0}", tally.sends)) }
                                td.number { (format!("{:.0}", tally.approvals)) }
                                td.share { (share(tally.approvals, tally.sends)) (bar(tally.approvals / tally.sends, "approved")) }
                            }
                        } }
                    }
                }
                p.quiet {
                    "Codes that were given back; what is older than three days weighs half."
                    @if found.next.is_some() { " Only the first " (MOST_ROWS) " rows; ListConversions tells all." }
                }
            }
        }
    })
}

fn countries(reading: &Reading) -> Markup {
    let mut rows: Vec<_> = reading.countries.iter().collect();
    rows.sort_by_key(|(_, (started, _))| std::cmp::Reverse(*started));
    html! {
        section aria-labelledby="countries" {
            h2 #countries { "Countries" }
            @if rows.is_empty() { p.quiet { "Nothing was started yet." } }
            ul.bars {
                @for (country, (started, approved)) in rows.into_iter().take(20) {
                    li {
                        span.name { @if country == "none" { "no country" } @else { (country) } }
                        (bar(number(*approved) / number((*started).max(1)), "approved"))
                        span.number { (approved) " of " (started) " approved" }
                    }
                }
            }
        }
    }
}

fn refusals(reading: &Reading) -> Markup {
    let most = reading.refusals.values().chain(reading.rules.values()).copied().max().unwrap_or(1);
    let row = |name: String, count: u64| {
        html! { li {
            span.name { (name) } (bar(number(count) / number(most.max(1)), "refused")) span.number { (count) }
        } }
    };
    html! {
        section aria-labelledby="refusals" {
            h2 #refusals { "Refused" }
            @if reading.refusals.is_empty() && reading.rules.is_empty() { p.quiet { "Nothing was refused yet." } }
            ul.bars {
                @for (reason, count) in &reading.refusals { (row(reason.clone(), *count)) }
                @for ((rule, verdict), count) in &reading.rules {
                    (row(format!("rule {rule}, {verdict}"), *count))
                }
            }
            p.quiet { "What was refused left no record; callers were told the reason." }
        }
    }
}

/// A time of ten seconds or more, for people.
fn words_of(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}
