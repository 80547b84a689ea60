//! What is kept of one recipient: the rows of contact lists that hold it, found, shown and erased.
//!
//! A row belongs to a recipient when one of its cells is the recipient's number or address, written in whatever way. What
//! stands within longer texts is not looked for.

use crate::clock::Timestamp;
use crate::contacts::cell::Cell;
use crate::contacts::row::{Row, RowView};
use crate::contacts::service::Contacts;
use crate::error::{Kind, Result};
use crate::id::{Id, TenantName};
use crate::messaging::sought::{Erased, SLICE, Sought};
use crate::recipient::{Email, Phone, Recipient};
use crate::store::record;

// === impl Contacts ===

impl Contacts {
    /// The next rows of a recipient. There may be more though these are none.
    pub async fn of_recipient(
        &self,
        tenant: &TenantName,
        recipient: &Recipient,
        after: Option<Id>,
    ) -> Result<Sought<RowView>> {
        let found = self.look_through(tenant, recipient, after).await?;
        let (_, table) = self.load_table(self.ground.keys.tenant(tenant)).await?;
        Ok(Sought { items: found.items.iter().map(|row| row.view(&table)).collect(), after: found.after })
    }

    /// Deletes the rows of a recipient that were there until now, whole: what else stands in them is about the same person.
    ///
    /// Errors: `Conflict`; `Unavailable`. Some may be deleted then.
    pub async fn erase(&self, tenant: &TenantName, recipient: &Recipient, until: Timestamp) -> Result<Erased> {
        let mut erased = Erased::new();
        let mut after = None;
        loop {
            let found = self.look_through(tenant, recipient, after).await?;
            for row in &found.items {
                match self.delete_row(tenant, row.id).await {
                    Ok(()) => drop(erased.insert(row.id)),
                    // Somebody else was first.
                    Err(error) if error.kind() == Kind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            match found.after.filter(|last| last.created_at() <= until) {
                Some(last) => after = Some(last),
                None => return Ok(erased),
            }
        }
    }

    async fn look_through(&self, tenant: &TenantName, recipient: &Recipient, after: Option<Id>) -> Result<Sought<Row>> {
        tokio::task::yield_now().await;
        let tag = self.ground.keys.tenant(tenant);
        let after = after.map(|id| self.ground.keys.contact_row(tag, id));
        let read = self.ground.store.scan(&self.ground.keys.contact_rows(tag), after.as_ref(), SLICE).await?;
        let mut rows = Vec::new();
        for (_, found) in &read {
            rows.push(record::decode::<Row>(&found.value)?);
        }
        let last = rows.last().map(|row| row.id).filter(|_| read.len() == SLICE);
        rows.retain(|row| row.cells().any(|cell| is_about(cell, recipient)));
        Ok(Sought { items: rows, after: last })
    }
}

fn is_about(cell: &Cell, recipient: &Recipient) -> bool {
    let Cell::Text(text) = cell else { return false };
    match recipient {
        Recipient::Phone(phone) => {
            // Reading a number is slow; nobody writes one without its last digits.
            let digits = |text: &str| text.bytes().rev().filter(u8::is_ascii_digit).take(4).collect::<Vec<_>>();
            let is_alike = text.len() <= 64 && digits(text) == digits(phone.e164());
            let read = || Phone::parse(text, phone.country()).is_ok_and(|read| read.e164() == phone.e164());
            text == phone.e164() || is_alike && read()
        }
        Recipient::Email(email) => text == email.as_str() || Email::parse(text).is_ok_and(|read| read == *email),
    }
}
