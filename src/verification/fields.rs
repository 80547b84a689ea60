//! The fields of a start, looked at together before anything happens: what is wrong is told at once.

use crate::error::{Error, Result};
use crate::messaging::last_line::LastLine;
use crate::messaging::request::parse_recipient;
use crate::messaging::template::{self, Wording};
use crate::recipient::Recipient;
use crate::tenant::Tenant;
use crate::vendor::Channel;
use crate::verification::policy::Policy;
use crate::verification::request::NewVerification;
use crate::verification::service::Verifications;
use crate::verification::workflow::Progress;

/// What the fields of a start came to.
pub(crate) struct Checked {
    pub(crate) policy: Policy,
    pub(crate) recipient: Recipient,
    pub(crate) channel: Channel,
    pub(crate) last_line: LastLine,
    pub(crate) workflow: Option<Progress>,
}

impl Verifications {
    /// Errors: `Invalid` that names every field that is wrong.
    pub(crate) fn check_new(&self, tenant: &Tenant, new: &NewVerification) -> Result<Checked> {
        let mut found = new.violations();
        let policy = found.note(self.config.policy.with(&new.policy))?;
        let recipient = found.note(parse_recipient(new.recipient.as_ref(), tenant.default_country))?;
        let way = recipient.as_ref().map(|recipient| self.workflows.way(&tenant.name, recipient, new)).transpose();
        let way = found.note(way)?.flatten();
        let last_line = LastLine::parse(new.web_otp_domain.as_deref(), new.android_app_hash.as_deref());
        let last_line = found.note(last_line)?;
        if let (Some(policy), Some(last_line)) = (&policy, &last_line) {
            let characters = match &new.custom_code {
                Some(code) => code.expose().to_owned(),
                None => policy.alphabet()?.characters(),
            };
            found.note(last_line.check_code(&characters))?;
        }
        let wording = Wording {
            tenant: &tenant.name,
            template: new.template.as_deref().unwrap_or(template::DEFAULT),
            // A locale that is wrong has been told already.
            locale: new.locale.as_deref().filter(|_| found.0.iter().all(|violation| violation.field != "locale")),
            variables: &new.variables,
            brand: tenant.brand.as_deref(),
        };
        if new.text.is_none() {
            found.note(self.templates.check_verification(&wording))?;
        }
        match (policy, recipient, way, last_line) {
            (Some(policy), Some(recipient), Some((channel, workflow)), Some(last_line)) if found.0.is_empty() => {
                Ok(Checked { policy, recipient, channel, last_line, workflow })
            }
            _ => Err(Error::invalid_fields(found.0)),
        }
    }
}
