//! Wrong codes over all of a tenant's recipients: who tries a few guesses on each of very many gets through in the end.
//!
//! A check takes one from the tenant's bucket and gives it back unless the code was wrong; one that was right gives back
//! a few more, for where people sign in, people also mistype.

use crate::error::Result;
use crate::guard::gcra::{Decision, Limit};
use crate::guard::rule::{Mode, Rule};
use crate::guard::service::{Guard, found, refusal};
use crate::id::TenantName;

/// Wrong codes that one right one makes up for.
const MADE_UP: u32 = 4;

/// Leave to make one check. Counts as one that was not wrong unless it is told otherwise.
pub struct Attempt<'a> {
    guard: &'a Guard,
    /// `None` where nothing is counted.
    taken: Option<(u64, Limit)>,
    wrong: bool,
}

// === impl Guard ===

impl Guard {
    /// Errors: `Limited`/`TenantFailures` with the time to wait.
    pub fn attempt(&self, tenant: &TenantName) -> Result<Attempt<'_>> {
        let settings = &self.rules(tenant).tenant_failures;
        if settings.mode == Mode::Off {
            return Ok(Attempt { guard: self, taken: None, wrong: false });
        }
        let (name, limit) = (self.names.of(Rule::TenantFailures, &[tenant.as_str().as_bytes()]), settings.limit());
        let (taken, wait) = match self.take(name, limit, self.clock.now()) {
            Decision::Pass { .. } => (Some((name, limit)), None),
            Decision::Wait(wait) => (None, Some(Some(wait))),
        };
        match found(Rule::TenantFailures, settings.mode, wait) {
            Some(broken) => Err(refusal(broken)),
            None => Ok(Attempt { guard: self, taken, wrong: false }),
        }
    }
}

// === impl Attempt ===

impl Attempt<'_> {
    /// The code was wrong.
    pub fn failed(mut self) {
        self.wrong = true;
    }

    /// The code was right.
    pub fn succeeded(self) {
        self.give_back(MADE_UP);
    }

    fn give_back(&self, times: u32) {
        if let Some((name, limit)) = self.taken {
            let now = self.guard.clock.now();
            (0..times).for_each(|_| self.guard.give_back(name, limit, now));
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.wrong {
            self.give_back(1);
        }
    }
}
