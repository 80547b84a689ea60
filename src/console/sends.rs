//! One send on a page: which vendors were called, what came of it, and which way one would go now.

use maud::{Markup, Render, html};

use crate::console::shell::When;
use crate::error::Result;
use crate::messaging::list::Candidate;
use crate::messaging::sending::{SendReason, SendStatus, Sending};
use crate::vendor::{FeedbackOutcome, Rejection};

/// `route`: the vendors that its channel leads to now.
pub(crate) fn card(sending: &Sending, route: Result<Vec<Candidate>>) -> Markup {
    html! {
        section.card {
            h3 { "Send " (u32::from(sending.number) + 1) " by " (sending.channel.as_str()) " " (badge(status_of_send(sending.status))) }
            dl.facts {
                @for (name, value) in facts(sending) { div { dt { (name) } dd { (value) } } }
            }
            (why(sending))
            (way(route))
        }
    }
}

fn facts(sending: &Sending) -> Vec<(&'static str, Markup)> {
    let mut facts = vec![("Attempts", html! { (sending.attempts) })];
    facts.extend(sending.vendor.as_ref().map(|vendor| ("Vendor", html! { (vendor) })));
    facts.extend(sending.vendor_reference.as_ref().map(|name| ("Vendor's name for it", html! { code { (name) } })));
    facts.push(("Last change", When(sending.updated_at).render()));
    let looks = sending.due_at.filter(|_| !sending.status.is_terminal());
    facts.extend(looks.map(|at| ("Looked at again", When(at).render())));
    facts.extend(sending.feedback.map(|feedback| {
        let said = match feedback {
            FeedbackOutcome::Received => "it was received",
            FeedbackOutcome::NotReceived => "it was not received",
        };
        ("Somebody said", html! { (said) })
    }));
    facts
}

/// What is kept of why it went as it did.
fn why(sending: &Sending) -> Markup {
    html! {
        ul.why {
            @if let Some(rule) = &sending.withheld {
                li { "It only looks sent. Rule " code { (rule) } " of the guard stopped it, and its caller is not to notice." }
            }
            @if let Some(reason) = sending.reason { li { (words_of(reason)) " " code { (reason.as_str()) } } }
            @for (attempt, vendor) in &sending.earlier { li { "Attempt " (attempt) " was given to " (vendor) ", and failed." } }
            @for vendor in &sending.refused_by { li { (vendor) " was passed over: it refused, or cannot do what was asked." } }
            @for (vendor, until) in &sending.paused { li { (vendor) " asked for a pause until " (When(*until)) "." } }
            @if sending.unknowns > 0 { li { (sending.unknowns) " attempts ended in doubt: perhaps sent, perhaps not." } }
            @if let Some(next) = sending.next_vendor.as_ref().filter(|_| !sending.status.is_outcome()) {
                li { "The next attempt goes to " (next) "." }
            }
        }
    }
}

fn way(route: Result<Vec<Candidate>>) -> Markup {
    html! {
        details {
            summary { "The route as it stands now" }
            @match route {
                Ok(candidates) => {
                    ol.route { @for one in candidates {
                        li { strong { (one.vendor) } ": " (one.why) }
                    } }
                }
                Err(error) => { p { (error.message()) } }
            }
        }
    }
}

fn words_of(reason: SendReason) -> &'static str {
    match reason {
        SendReason::Rejected(Rejection::InvalidRecipient) => "The vendor says that there is no such recipient.",
        SendReason::Rejected(Rejection::InvalidContent) => "The vendor does not carry this text or this sender.",
        SendReason::Rejected(Rejection::Unauthorized) => "The vendor refused our credentials: check its configuration.",
        SendReason::Rejected(Rejection::InsufficientCredit) => "Our account with the vendor has no money left.",
        SendReason::Rejected(Rejection::Blocked) => "The vendor sends nothing to this recipient.",
        SendReason::Rejected(Rejection::Occupied) => "The vendor has another code pending for this recipient.",
        SendReason::Throttled => "The vendor asked for fewer calls.",
        SendReason::Unavailable => "The vendor could not be reached.",
        SendReason::NoClearAnswer => "The vendor gave no clear answer.",
        SendReason::NoVendor => "The vendor that the route names is not configured any more.",
    }
}

/// A status, told apart by its word and only then by its colour.
pub(crate) fn badge(status: &str) -> Markup {
    html! { span class={ "badge " (status.to_ascii_lowercase().replace('_', "-")) } { (status) } }
}

pub(crate) fn status_of_send(status: SendStatus) -> &'static str {
    match status {
        SendStatus::Queued => "QUEUED",
        SendStatus::Sending => "SENDING",
        SendStatus::Sent => "SENT",
        SendStatus::Rejected => "REJECTED",
        SendStatus::Unknown => "UNKNOWN",
        SendStatus::Delivered => "DELIVERED",
        SendStatus::Undelivered => "UNDELIVERED",
        SendStatus::Expired => "EXPIRED",
        SendStatus::Canceled => "CANCELED",
    }
}
