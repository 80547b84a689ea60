//! What several forms ask: a tenant, and a person by phone number or e-mail address.

use maud::{Markup, html};

use crate::console::desk::Desk;
use crate::recipient::Address;

/// The fields `tenant` and `recipient`, with what is in them at first.
pub(crate) fn fields(desk: &Desk, tenant: &str, recipient: &str) -> Markup {
    html! {
        div {
            label for="tenant" { "Tenant" }
            select #tenant name="tenant" {
                @for name in desk.tenants() { option value=(name) selected[name == tenant] { (name) } }
            }
        }
        div.wide {
            label for="recipient" { "Phone number or e-mail address" }
            input #recipient name="recipient" value=(recipient) required autocomplete="off" autocapitalize="off"
                spellcheck="false" inputmode="email" maxlength="320";
        }
    }
}

/// What was written into `recipient`.
pub(crate) fn address(written: &str) -> Address {
    if written.contains('@') { Address::Email(written.to_owned()) } else { Address::Phone(written.to_owned()) }
}
