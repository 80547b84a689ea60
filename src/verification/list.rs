//! Looking at verifications: pages of them, and one as it changes.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::id::{Id, TenantName};
use crate::messaging::holder::SendRecord;
use crate::messaging::page::{Page, PageRequest, Source};
use crate::messaging::sending::Sending;
use crate::messaging::watches::{Watch, stopping};
use crate::recipient::{Address, Recipient};
use crate::tenant::Tenant;
use crate::verification::request::check_scope;
use crate::verification::service::Verifications;
use crate::verification::verification::Status;
use crate::verification::view::View;

/// Which verifications to list; what is not given does not matter.
#[derive(Debug, Default)]
pub struct VerificationFilter {
    /// Only the last [`MAX_LISTED`](crate::verification::recipient_state::MAX_LISTED) of a recipient are found.
    pub recipient: Option<Address>,
    pub scope: Option<String>,
    /// Any of these; empty for all.
    pub statuses: Vec<Status>,
}

/// One verification as it changes.
pub struct VerificationWatch {
    verifications: Arc<Verifications>,
    tenant: TenantName,
    id: Id,
    watch: Watch,
    /// What the last view showed that can change.
    seen: Option<Seen>,
}

#[derive(PartialEq)]
struct Seen {
    status: Status,
    checks_left: u32,
    next_resend_at: Option<Timestamp>,
    next_step_at: Option<Timestamp>,
    sends: Vec<Sending>,
}

// === impl Verifications ===

impl Verifications {
    /// A page of a tenant's verifications, newest first.
    ///
    /// Errors: `Invalid` with each field out of range.
    pub async fn list(&self, tenant: &Tenant, filter: &VerificationFilter, page: &PageRequest) -> Result<Page<View>> {
        let mut violations: Vec<_> = page.check().into_iter().collect();
        violations.extend(filter.scope.as_deref().and_then(check_scope));
        if !violations.is_empty() {
            return Err(Error::invalid_fields(violations));
        }
        let recipient = filter.recipient.as_ref().map(|address| address.parse(tenant.default_country)).transpose()?;
        let source = match &recipient {
            Some(recipient) => {
                let state = self.storage.load_state(self.storage.tags(&tenant.name, recipient)).await?;
                Source::Listed(state.value.listed().to_vec())
            }
            None => Source::Keys(self.ground.keys.verifications(self.ground.keys.tenant(&tenant.name))),
        };
        let asked = format!("{:?}", (&filter.scope, &filter.statuses, page.from, page.before));
        let list = self.ground.keys.fingerprint(&[
            "verifications",
            tenant.name.as_str(),
            recipient.as_ref().map_or("", Recipient::as_str),
            &asked,
        ]);
        let fits = |view: &View| {
            filter.scope.as_ref().is_none_or(|scope| *scope == view.verification.scope)
                && (filter.statuses.is_empty() || filter.statuses.contains(&view.status))
        };
        let mut pager = page.begin(source, list)?;
        let mut views = Vec::new();
        while let Some(id) = pager.next(&self.ground, views.len()).await? {
            match self.get(&tenant.name, id).await {
                Ok(view) => views.extend(Some(view).filter(fits)),
                // It has passed its retention since its id was read.
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pager.page(views))
    }

    /// Watches a verification from now until it ends.
    ///
    /// Errors: `NotFound`, from the first [`VerificationWatch::next`].
    pub fn watch(self: &Arc<Self>, tenant: &TenantName, id: Id) -> VerificationWatch {
        let watch = self.outbox.watches.watch(id);
        VerificationWatch { verifications: Arc::clone(self), tenant: tenant.clone(), id, watch, seen: None }
    }
}

// === impl VerificationWatch ===

impl VerificationWatch {
    /// The verification as it is, the first time; then each time that it has changed; `None` once it was shown ended.
    ///
    /// Errors: `NotFound`; `Unavailable` when the server stops.
    pub async fn next(&mut self) -> Result<Option<View>> {
        if self.seen.as_ref().is_some_and(|seen| seen.status != Status::Pending) {
            return Ok(None);
        }
        loop {
            let view = self.verifications.get(&self.tenant, self.id).await?;
            let seen = Seen {
                status: view.status,
                checks_left: view.checks_left,
                next_resend_at: view.next_resend_at,
                next_step_at: view.next_step_at,
                sends: view.verification.sends().to_vec(),
            };
            if self.seen.as_ref() != Some(&seen) {
                self.seen = Some(seen);
                return Ok(Some(view));
            }
            let clock = &self.verifications.ground.clock;
            let look_again = view.verification.expires_at.min(clock.now() + self.watch.patience());
            tokio::select! {
                () = self.watch.changed() => {}
                () = clock.sleep_until(look_again) => {}
                () = self.verifications.outbox.stopped().cancelled() => return Err(stopping()),
            }
        }
    }
}
