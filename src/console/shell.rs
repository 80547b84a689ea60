//! What all pages of the console share: head, links, and the pages that say that something did not work.
//!
//! maud escapes whatever is put into a page. No page carries style or script of its own, which the policy forbids anyway.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use maud::{Markup, Render, html};
use tracing::error;

use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::page::document;
use crate::status;

/// Which pages there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Nav {
    /// Those that stand on the services.
    pub(crate) services: bool,
    /// Those of the dev inbox.
    pub(crate) inbox: bool,
}

/// A page that has a link on every other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Overview,
    Search,
    Vendors,
    Blocks,
    TryIt,
    Inbox,
}

/// An error that becomes a page; by `?` in handlers.
pub(crate) struct Trouble(Error);

/// A moment, for people.
pub(crate) struct When(pub(crate) Timestamp);

/// A page. `script`: the file of its own script, if it has another one than all.
pub(crate) fn page(nav: Nav, here: Option<Place>, title: &str, script: &str, body: Markup) -> Markup {
    let links = html! {
        link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
        link rel="stylesheet" href="/assets/console.css";
        @if here == Some(Place::Inbox) { link rel="stylesheet" href="/assets/inbox.css"; }
        script src={ "/assets/" (script) } defer {}
    };
    let body = html! {
        body {
            a.skip href="#main" { "Skip to the content" }
            header.top {
                div.top-inner {
                    a.brand href="/" { img src="/assets/icon.svg" alt="" width="28" height="28"; "Verigate" }
                    nav aria-label="Pages" {
                        @for (place, target, name) in nav.links() {
                            a href=(target) aria-current=[(here == Some(place)).then_some("page")] { (name) }
                        }
                    }
                }
            }
            main #main tabindex="-1" class=[(here == Some(Place::Inbox)).then_some("narrow")] { (body) }
        }
    };
    document(title, links, body)
}

/// The page of a form that was not let in.
pub(crate) fn refusal(nav: Nav, why: &str) -> Markup {
    let body = html! {
        h1 { "Nothing was changed" }
        p { (why) " Go back, load that page again, and press the button once more." }
    };
    page(nav, None, "Nothing was changed", "console.js", body)
}

/// The page of an error.
pub(crate) fn trouble(nav: Nav, error: &Error) -> Markup {
    let body = html! {
        h1 { "That did not work" }
        p.problem role="alert" { (error.message()) }
        @if error.violations().len() > 1 {
            ul { @for violation in error.violations() { li { code { (violation.field) } " " (violation.description) } } }
        }
        dl.facts {
            div { dt { "Reason" } dd { code { (error.reason().as_str()) } } }
            @for (name, value) in error.details() { div { dt { (name) } dd { (value) } } }
            @if let Some(wait) = error.retry_after() {
                div { dt { "Try again in" } dd { (wait.as_secs().max(1)) " s" } }
            }
        }
        p { "Go back to change what was asked for, or start again from " a href="/" { "the first page" } "." }
    };
    page(nav, None, "That did not work", "console.js", body)
}

// === impl Nav ===

impl Nav {
    fn links(self) -> impl Iterator<Item = (Place, &'static str, &'static str)> {
        let all = [
            (Place::Overview, "/overview", "Overview"),
            (Place::Search, "/search", "Search"),
            (Place::Vendors, "/vendors", "Vendors"),
            (Place::Blocks, "/blocks", "Blocks"),
            (Place::TryIt, "/try", "Try it"),
            (Place::Inbox, "/inbox", "Inbox"),
        ];
        all.into_iter().filter(move |(place, ..)| match place {
            Place::Inbox => self.inbox,
            Place::TryIt => self.inbox && self.services,
            _ => self.services,
        })
    }
}

// === impl Trouble ===

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        if self.0.kind() == Kind::Internal {
            error!(error = ?self.0, "a page of the console could not be made");
        }
        let (_, status) = status::of(self.0.kind());
        let mut response = status.into_response();
        response.extensions_mut().insert(Arc::new(self.0));
        response
    }
}

// === impl When ===

impl Render for When {
    fn render(&self) -> Markup {
        let exact = self.0.to_string();
        let (day, time) = exact.split_once('T').unwrap_or_default();
        html! { time datetime=(exact) { (day) " " (time.trim_end_matches('Z')) " UTC" } }
    }
}
