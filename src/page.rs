//! What all pages of ours share, whichever listener they are on: the head of their document,
//! and, in `page/page.css`, their colours.

use maud::{DOCTYPE, Markup, html};

/// A document. `links`: what else its head names; `body`: with its own tag.
pub fn document(title: &str, links: Markup, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Verigate" }
                (links)
            }
            (body)
        }
    }
}
