//! Ways to reach a person over several channels: which one a verification takes, and how far it has come on it.
//!
//! A workflow is a row of steps. Each sends the code on a channel and is waited for; the next one follows when the wait is
//! over, or at once when nothing of the step can have arrived. A verification carries the steps that it has yet to take,
//! so a changed configuration or a restart does not lead it astray.

use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::Deserialize;

use crate::clock::Timestamp;
use crate::error::{Error, Result, Violation};
use crate::id::TenantName;
use crate::messaging::request::channel_for;
use crate::recipient::{Country, Recipient};
use crate::vendor::Channel;
use crate::verification::request::NewVerification;
use crate::violations::Violations;

/// One `[[workflows]]` entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WorkflowConfig {
    /// What calls ask for. Several may share it, for different tenants and countries; the first that fits is taken.
    pub name: String,
    /// Not empty, and either all by e-mail or none.
    pub steps: Vec<Step>,
    /// Countries that it serves; empty for all. A recipient without a country fits only an empty list.
    #[serde(default)]
    pub countries: Vec<Country>,
    /// Tenants that may use it; empty for all.
    #[serde(default)]
    pub tenants: Vec<TenantName>,
    /// Whether it is for starts that name neither a workflow nor a channel.
    #[serde(default)]
    pub default: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Encode, Decode)]
pub struct Step {
    #[n(0)]
    pub channel: Channel,
    /// How long to wait before the next step. The last one has none.
    #[n(1)]
    #[serde(default)]
    pub wait: Option<Duration>,
}

/// All workflows, in the order of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workflows(Vec<WorkflowConfig>);

/// How far a verification has come.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    #[n(0)]
    name: String,
    /// Steps to come.
    #[n(1)]
    ahead: Vec<Step>,
    /// How long the step under way is waited for.
    #[n(2)]
    wait: Duration,
    /// When the next one is due.
    #[n(3)]
    next_at: Timestamp,
    /// The number of the first send of the step under way; those after it belong to it, too.
    #[n(4)]
    first_send: u8,
}

/// How long a step may be waited for.
const WAIT: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

const MAX_NAME: usize = 40;

// === impl WorkflowConfig ===

impl WorkflowConfig {
    /// What is wrong with it, by key. `max_sends`: of one verification.
    pub fn violations(&self, max_sends: u32) -> Vec<Violation> {
        let mut found = Violations::default();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if !(1..=MAX_NAME).contains(&self.name.len()) || !self.name.chars().all(plain) {
            found.add("name", format!("must be 1 to {MAX_NAME} of a-z, 0-9, '-' and '_', but is {:?}", self.name));
        }
        if self.steps.is_empty() {
            found.add("steps", "must hold at least one step".to_owned());
        }
        if self.steps.len() > max_sends as usize {
            let message = format!("must be at most {max_sends} steps, which is verification.limits.max_sends");
            found.add("steps", format!("{message}, but are {}", self.steps.len()));
        }
        let mails = |step: &Step| step.channel == Channel::Email;
        if self.steps.iter().any(mails) && !self.steps.iter().all(mails) {
            found.add("steps", "must be all by email or none, for a recipient has but one address".to_owned());
        }
        for (index, step) in self.steps.iter().enumerate() {
            let path = format!("steps[{index}].wait");
            match (&step.wait, index + 1 == self.steps.len()) {
                (None, false) => found.add(&path, "is missing: how long to wait before the next step".to_owned()),
                (Some(_), true) => found.add(&path, "must be left out, for no step follows the last".to_owned()),
                (Some(wait), false) => found.range(&path, wait, WAIT),
                (None, true) => {}
            }
        }
        found.0
    }

    fn fits(&self, tenant: &TenantName, recipient: &Recipient) -> bool {
        let of_country = |country| self.countries.contains(&country);
        (self.tenants.is_empty() || self.tenants.contains(tenant))
            && (self.countries.is_empty() || recipient.country().is_some_and(of_country))
            && self.steps.iter().all(|step| channel_for(recipient, Some(step.channel)).is_ok())
    }
}

// === impl Workflows ===

impl Workflows {
    pub fn new(workflows: Vec<WorkflowConfig>) -> Self {
        Self(workflows)
    }

    /// The channel of a start's first send, and the workflow that goes on from there.
    ///
    /// Errors: `Invalid`, field `channel` or `workflow`.
    pub fn way(
        &self,
        tenant: &TenantName,
        recipient: &Recipient,
        new: &NewVerification,
    ) -> Result<(Channel, Option<Progress>)> {
        match self.find(tenant, recipient, new.workflow.as_deref(), new.channel)?.and_then(Progress::new) {
            Some((channel, workflow)) => Ok((channel, Some(workflow))),
            None => Ok((channel_for(recipient, new.channel)?, None)),
        }
    }

    /// The workflow of a start that asks for one by name, or else names a channel, or nothing.
    ///
    /// Errors: `Invalid`, field `workflow` when there is none for this tenant and recipient, field `channel` when both
    /// are named.
    fn find(
        &self,
        tenant: &TenantName,
        recipient: &Recipient,
        asked: Option<&str>,
        channel: Option<Channel>,
    ) -> Result<Option<&WorkflowConfig>> {
        let mut fitting = self.0.iter().filter(|workflow| workflow.fits(tenant, recipient));
        let Some(name) = asked else {
            return Ok(fitting.find(|workflow| workflow.default && channel.is_none()));
        };
        if channel.is_some() {
            return Err(Error::invalid("channel", "must not be set beside workflow, which names the channels"));
        }
        let found = fitting.find(|workflow| workflow.name == name);
        found.map(Some).ok_or_else(|| Error::invalid("workflow", "must name a workflow for this tenant and recipient"))
    }
}

// === impl Progress ===

impl Progress {
    /// Before the first step, which whoever calls takes; `None` for a workflow without steps.
    pub fn new(workflow: &WorkflowConfig) -> Option<(Channel, Self)> {
        let (first, ahead) = workflow.steps.split_first()?;
        let progress = Self {
            name: workflow.name.clone(),
            ahead: ahead.to_vec(),
            wait: first.wait.unwrap_or_default(),
            next_at: Timestamp::default(),
            first_send: 0,
        };
        Some((first.channel, progress))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// When the next step is due; `None` when none follows.
    pub fn next_at(&self) -> Option<Timestamp> {
        (!self.ahead.is_empty()).then_some(self.next_at)
    }

    /// The number of the first send of the step under way.
    pub fn first_send(&self) -> usize {
        usize::from(self.first_send)
    }

    /// Waits anew, for something was sent just now.
    pub fn sent(&mut self, now: Timestamp) {
        self.next_at = now + self.wait;
    }

    /// Waits no longer, for nothing of the step under way can have arrived.
    pub fn hasten(&mut self, now: Timestamp) {
        self.next_at = self.next_at.min(now);
    }

    pub fn put_off(&mut self, until: Timestamp) {
        self.next_at = self.next_at.max(until);
    }

    /// Goes on to the next step whose channel can be sent on, passing over the others, and returns its channel. Its first
    /// send will have this number.
    pub fn advance(&mut self, first_send: u8, carries: impl Fn(Channel) -> bool) -> Option<Channel> {
        let Some(at) = self.ahead.iter().position(|step| carries(step.channel)) else {
            self.end();
            return None;
        };
        let step = self.ahead.drain(..=at).next_back()?;
        self.wait = step.wait.unwrap_or_default();
        self.first_send = first_send;
        Some(step.channel)
    }

    /// Takes no more steps.
    pub fn end(&mut self) {
        self.ahead.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipient::{Email, Phone};

    fn workflow(text: &str) -> WorkflowConfig {
        #[derive(Deserialize)]
        struct Written {
            name: String,
            steps: Vec<(Channel, u64)>,
            #[serde(default)]
            countries: Vec<Country>,
            #[serde(default)]
            tenants: Vec<TenantName>,
            #[serde(default)]
            default: bool,
        }
        let Written { name, steps, countries, tenants, default } = toml::from_str(text).unwrap();
        let wait = |seconds| Some(Duration::from_secs(seconds)).filter(|wait| !wait.is_zero());
        let steps = steps.into_iter().map(|(channel, seconds)| Step { channel, wait: wait(seconds) }).collect();
        WorkflowConfig { name, steps, countries, tenants, default }
    }

    fn phone(number: &str) -> Recipient {
        Recipient::Phone(Phone::parse(number, None).unwrap())
    }

    #[test]
    fn the_first_that_fits_is_taken() {
        let workflows = Workflows::new(vec![
            workflow("name = 'a'\nsteps = [['sms', 30], ['voice', 0]]\ncountries = ['MY']\ntenants = ['acme']"),
            workflow("name = 'a'\nsteps = [['whatsapp', 0]]\ndefault = true"),
            workflow("name = 'm'\nsteps = [['email', 0]]\ndefault = true"),
        ]);
        let (acme, other) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let (my, sg) = (phone("+60123456789"), phone("+6581234567"));
        let mail = Recipient::Email(Email::parse("a@example.com").unwrap());
        let first = |tenant, recipient, asked, channel| {
            let found = workflows.find(tenant, recipient, asked, channel).map_err(|e| e.violations()[0].field.clone());
            found.map(|workflow| workflow.map(|workflow| workflow.steps[0].channel))
        };
        assert_eq!(first(&acme, &my, Some("a"), None), Ok(Some(Channel::Sms)));
        assert_eq!(first(&acme, &sg, Some("a"), None), Ok(Some(Channel::WhatsApp)));
        assert_eq!(first(&other, &my, Some("a"), None), Ok(Some(Channel::WhatsApp)));
        assert_eq!(first(&acme, &my, None, None), Ok(Some(Channel::WhatsApp)));
        assert_eq!(first(&acme, &my, None, Some(Channel::Voice)), Ok(None));
        assert_eq!(first(&acme, &mail, None, None), Ok(Some(Channel::Email)));
        assert_eq!(first(&acme, &mail, Some("a"), None), Err("workflow".to_owned()));
        assert_eq!(first(&acme, &my, Some("b"), None), Err("workflow".to_owned()));
        assert_eq!(first(&acme, &my, Some("a"), Some(Channel::Sms)), Err("channel".to_owned()));
    }

    #[test]
    fn what_is_wrong_names_its_key() {
        let wrong = |text: &str| -> Vec<_> {
            workflow(text).violations(3).into_iter().map(|violation| violation.field).collect()
        };
        assert_eq!(wrong("name = 'ok'\nsteps = [['sms', 1], ['voice', 3600], ['sms', 0]]"), [""; 0]);
        assert_eq!(wrong("name = 'No'\nsteps = []"), ["name", "steps"]);
        assert_eq!(wrong("name = 'a'\nsteps = [['sms', 0], ['voice', 5]]"), ["steps[0].wait", "steps[1].wait"]);
        assert_eq!(wrong("name = 'a'\nsteps = [['sms', 3601], ['email', 0]]"), ["steps", "steps[0].wait"]);
        assert_eq!(wrong("name = 'a'\nsteps = [['sms', 1], ['sms', 1], ['sms', 1], ['sms', 0]]"), ["steps"]);
    }

    #[test]
    fn steps_follow_one_another_and_those_without_a_route_are_passed_over() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let all = workflow("name = 'a'\nsteps = [['sms', 30], ['whatsapp', 40], ['voice', 50], ['sms', 0]]");
        let (channel, mut progress) = Progress::new(&all).unwrap();
        progress.sent(at(100));
        assert_eq!((channel, progress.next_at()), (Channel::Sms, Some(at(130))));
        progress.put_off(at(120));
        assert_eq!(progress.next_at(), Some(at(130)));
        progress.hasten(at(110));
        assert_eq!(progress.next_at(), Some(at(110)));
        progress.hasten(at(115));
        assert_eq!(progress.next_at(), Some(at(110)));
        assert_eq!(progress.advance(1, |channel| channel != Channel::WhatsApp), Some(Channel::Voice));
        progress.sent(at(200));
        assert_eq!((progress.first_send(), progress.next_at()), (1, Some(at(250))));
        assert_eq!(progress.advance(2, |_| true), Some(Channel::Sms));
        progress.sent(at(300));
        assert_eq!(progress.next_at(), None);
        assert_eq!(progress.advance(3, |_| true), None);

        let (_, mut progress) = Progress::new(&all).unwrap();
        assert_eq!((progress.advance(1, |_| false), progress.next_at()), (None, None));
    }
}
