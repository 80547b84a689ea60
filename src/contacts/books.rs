//! The contact lists of configured vendors, called within the limits that each vendor has for messages.
//!
//! How such a call ends is not counted as the vendor's health: that a list is broken says nothing of messages, and must
//! not hold up any.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::contacts::push::Book;
use crate::error::Result;
use crate::messaging::budget::Try;
use crate::messaging::vendors::Vendors;
use crate::vendor::{ContactBook, ContactRow, Failure};

/// A configured vendor's contact list.
pub struct VendorBook {
    vendors: Vendors,
    name: String,
    clock: Arc<dyn Clock>,
    /// How long one call may take.
    timeout: Duration,
}

// === impl VendorBook ===

impl VendorBook {
    /// `None` when there is no such vendor, or it keeps no contact list.
    pub fn new(vendors: &Vendors, name: &str, clock: Arc<dyn Clock>, timeout: Duration) -> Option<Self> {
        vendors.get(name)?.contacts()?;
        Some(Self { vendors: vendors.clone(), name: name.to_owned(), clock, timeout })
    }

    fn book(&self) -> Option<&dyn ContactBook> {
        self.vendors.get(&self.name)?.contacts()
    }
}

#[async_trait]
impl Book for VendorBook {
    fn vendor(&self) -> &str {
        &self.name
    }

    fn takes(&self, column: &str) -> bool {
        self.book().is_some_and(|book| book.takes(column))
    }

    fn keeps_lists(&self) -> bool {
        self.book().is_some_and(ContactBook::keeps_lists)
    }

    async fn push(&self, row: &ContactRow) -> Result<(), Failure> {
        let began = self.clock.now();
        let full = Failure::Throttled { after: None };
        let (_, permit) = self.vendors.try_permit(&[&self.name], Try::First, began).ok_or(full)?;
        let Some(book) = permit.vendor().contacts() else { return Err(Failure::Unavailable) };
        tokio::select! {
            outcome = book.push(row) => outcome,
            () = self.clock.sleep_until(began + self.timeout) => Err(Failure::Unknown),
        }
    }
}
