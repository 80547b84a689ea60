//! One attempt to prove that a person controls a recipient: its states, as pure transitions. Time is passed in.
//!
//! ```text
//! PENDING -> APPROVED | EXPIRED | CANCELED | CHECKS_EXHAUSTED | UNDELIVERABLE
//! ```
//!
//! An ended verification never changes its status again, and has forgotten its code.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::clock::{self, Timestamp};
use crate::event::history::{EventKind, History};
use crate::id::{Id, TenantName};
use crate::messaging::code_text::CodeText;
use crate::messaging::holder::{About, SendRecord};
use crate::messaging::last_line::LastLine;
use crate::messaging::sending::{Sending, Step};
use crate::recipient::Recipient;
use crate::store::Key;
use crate::store::keys::{Keys, SendRef};
use crate::vendor::{Channel, FeedbackOutcome};
use crate::verification::answers::{Answer, Answers, CheckKey, Judgement, Known};
use crate::verification::beginning::{Beginning, Secret};
use crate::verification::code::{Candidate, Code};
use crate::verification::vendor_code::VendorCode;
use crate::verification::workflow::Progress;

/// A verification and all that is known of it.
#[derive(Debug, Clone, Encode, Decode)]
pub struct Verification {
    #[n(0)]
    pub id: Id,
    #[n(1)]
    pub tenant: TenantName,
    #[n(2)]
    pub recipient: Recipient,
    #[n(3)]
    pub scope: String,
    /// As stored. What a caller sees is [`Verification::status`].
    #[n(4)]
    status: Status,
    /// Present while pending, where we make it.
    #[n(5)]
    code: Option<Code>,
    #[n(6)]
    pub created_at: Timestamp,
    #[n(7)]
    pub expires_at: Timestamp,
    #[n(8)]
    decided_at: Option<Timestamp>,
    #[n(9)]
    pub max_checks: u32,
    #[n(10)]
    pub checks_used: u32,
    #[n(11)]
    sends: Vec<Sending>,
    #[n(12)]
    pub locale: Option<String>,
    #[n(13)]
    pub sender: Option<String>,
    #[n(14)]
    pub metadata: BTreeMap<String, String>,
    #[n(15)]
    history: History,
    /// The name of the template that makes its texts.
    #[n(16)]
    pub template: String,
    /// What the caller puts into them.
    #[n(17)]
    pub variables: BTreeMap<String, String>,
    /// What ends them.
    #[n(18)]
    pub last_line: LastLine,
    /// What judged checks with an idempotency key were answered.
    #[n(19)]
    #[cbor(default)]
    answers: Answers,
    /// Where it goes from channel to channel by itself.
    #[n(20)]
    workflow: Option<Progress>,
    /// The words of its texts, where no template makes them.
    #[n(21)]
    pub text: Option<CodeText>,
    /// What stands here for the code, where vendors make it.
    #[n(22)]
    pub(crate) vendor_code: Option<VendorCode>,
    /// Whether the caller vouches for the person.
    #[n(23)]
    trusted: Option<bool>,
    /// Whether somebody wants to hear that time has ended it, so that it is written down by then.
    #[n(24)]
    ends_aloud: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Status {
    #[n(1)]
    Pending,
    #[n(2)]
    Approved,
    #[n(3)]
    Expired,
    #[n(4)]
    Canceled,
    #[n(5)]
    ChecksExhausted,
    #[n(6)]
    Undeliverable,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Judged(Judgement),
    /// Not judged: the verification has this status.
    Ended(Status),
}

/// What came of somebody's word on whether the code arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It is news of these sends.
    New(Vec<Sending>),
    /// It was known. Nothing has changed.
    Known,
    /// It cannot be true beside what was known.
    Contradicts,
    /// There is nothing that it can be about.
    NothingSent,
}

// === impl Verification ===

impl Verification {
    pub fn new(beginning: Beginning, now: Timestamp) -> Self {
        let mut history = History::default();
        history.add(now, EventKind::Started);
        let (code, vendor_code) = match beginning.secret {
            Secret::Ours(code) => (Some(code), None),
            Secret::Vendors(wish) => (None, Some(VendorCode::new(wish))),
        };
        Self {
            id: beginning.id,
            tenant: beginning.tenant,
            recipient: beginning.recipient,
            scope: beginning.scope,
            status: Status::Pending,
            code,
            created_at: now,
            expires_at: beginning.expires_at,
            decided_at: None,
            max_checks: beginning.max_checks,
            checks_used: 0,
            sends: Vec::new(),
            locale: beginning.locale,
            sender: beginning.sender,
            metadata: beginning.metadata,
            history,
            template: beginning.template,
            variables: beginning.variables,
            last_line: beginning.last_line,
            answers: Answers::default(),
            workflow: beginning.workflow,
            text: beginning.text,
            vendor_code,
            // Written only where it is so.
            trusted: beginning.trusted.then_some(true),
            ends_aloud: beginning.ends_aloud.then_some(true),
        }
    }

    /// The status at this moment: time ends a pending one without anybody writing it down.
    pub fn status(&self, now: Timestamp) -> Status {
        match self.status {
            Status::Pending => self.end_of_time(now).map_or(Status::Pending, |(status, _)| status),
            status => status,
        }
    }

    /// Whether nobody has written down an end.
    pub fn is_open(&self) -> bool {
        self.status == Status::Pending
    }

    /// When it ended; for an expired one the time at which it ran out.
    pub fn decided_at(&self, now: Timestamp) -> Option<Timestamp> {
        let by_time = || self.end_of_time(now).filter(|_| self.is_open()).map(|(_, at)| at);
        self.decided_at.or_else(by_time)
    }

    /// Whether vendors make and check its code.
    pub fn is_of_vendors_code(&self) -> bool {
        self.vendor_code.is_some()
    }

    /// Whether the caller vouches for the person.
    pub fn is_trusted(&self) -> bool {
        self.trusted.unwrap_or_default()
    }

    /// The code, to be written into a message or compared with. `None` once ended, and where vendors make it.
    pub fn code(&self) -> Option<&Code> {
        self.code.as_ref()
    }

    pub fn checks_left(&self) -> u32 {
        self.max_checks.saturating_sub(self.checks_used)
    }

    /// What happened to it.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Compares a candidate with the code, which we have made. A wrong one is counted, and the last allowed one ends the
    /// verification.
    pub fn check(&mut self, candidate: &Candidate, now: Timestamp) -> Verdict {
        let code = match (self.status(now), &self.code) {
            // No transition leaves one like this, but a record may come from anywhere.
            (Status::Pending, Some(_)) if self.checks_left() == 0 => {
                self.end(Status::ChecksExhausted, EventKind::ChecksExhausted, now);
                return Verdict::Ended(Status::ChecksExhausted);
            }
            (Status::Pending, Some(code)) => code,
            (status, _) => {
                self.end_by_time(now);
                return Verdict::Ended(status);
            }
        };
        if code.matches(candidate) {
            self.end(Status::Approved, EventKind::Approved, now);
            return Verdict::Judged(Judgement::Approved);
        }
        self.checks_used = self.checks_used.saturating_add(1);
        self.history.add(now, EventKind::CheckFailed);
        if self.checks_left() > 0 {
            return Verdict::Judged(Judgement::Wrong);
        }
        self.end(Status::ChecksExhausted, EventKind::ChecksExhausted, now);
        Verdict::Judged(Judgement::LastWrong)
    }

    /// What is known of a check from when it came before.
    pub fn known(&self, key: &CheckKey) -> Known {
        self.answers.find(key)
    }

    /// Keeps what a judged check was answered.
    pub fn remember(&mut self, answer: Answer) {
        self.answers.add(answer);
    }

    /// Gives the approval to nobody again.
    pub fn forget_approval(&mut self) {
        self.answers.forget_approval();
    }

    /// Checks whose answers are kept.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Adds a send of the same code, which wants its first attempt at once. `None`, and no change, when the verification
    /// has ended or was sent `max_sends` times.
    pub fn add_send(
        &mut self,
        channel: Channel,
        max_sends: u32,
        now: Timestamp,
    ) -> Option<(&mut Sending, &mut History)> {
        if self.status(now) != Status::Pending || self.sends.len() >= max_sends as usize {
            return None;
        }
        let number = u8::try_from(self.sends.len()).ok()?;
        // A second copy of a code does no harm, so doubt is answered with another attempt.
        let sending = Sending::new(number, channel, now, self.expires_at, true);
        self.sends.push(if self.is_of_vendors_code() { sending.of_vendors_code() } else { sending });
        self.history.add(now, EventKind::Queued(number));
        if let Some(workflow) = &mut self.workflow {
            workflow.sent(now);
        }
        self.sends.last_mut().map(|sending| (sending, &mut self.history))
    }

    /// The send that was added last, to be begun.
    pub fn last_send(&mut self) -> Option<(&mut Sending, &mut History)> {
        self.sends.last_mut().map(|sending| (sending, &mut self.history))
    }

    /// The name of the workflow that it takes.
    pub fn workflow(&self) -> Option<&str> {
        self.workflow.as_ref().map(Progress::name)
    }

    /// When the next step of its workflow is due; `None` when none will be taken.
    pub fn next_step_at(&self) -> Option<Timestamp> {
        let next_at = self.workflow.as_ref().filter(|_| self.status == Status::Pending)?.next_at();
        next_at.filter(|at| *at < self.expires_at)
    }

    /// Goes on to the next step of its workflow, which is due, and returns the channel on which a send is to be added.
    /// `None` when there is nothing to send: it has ended, was sent `max_sends` times, no step is left whose channel is
    /// carried, or the recipient is locked, in which case the step is put off.
    pub fn begin_step(
        &mut self,
        locked_until: Option<Timestamp>,
        max_sends: u32,
        carries: impl Fn(Channel) -> bool,
        now: Timestamp,
    ) -> Option<Channel> {
        if self.status(now) != Status::Pending {
            self.end_by_time(now);
            return None;
        }
        let workflow = self.workflow.as_mut()?;
        if let Some(until) = locked_until {
            workflow.put_off(until);
            return None;
        }
        let number = u8::try_from(self.sends.len()).ok().filter(|number| u32::from(*number) < max_sends);
        let channel = match number {
            Some(number) => workflow.advance(number, carries),
            None => {
                workflow.end();
                None
            }
        };
        if channel.is_none() {
            self.send_moved(now);
            return None;
        }
        // What still waits for room would only come after what follows it now.
        for sending in &mut self.sends {
            sending.withdraw(now, &mut self.history);
        }
        channel
    }

    /// The send that the person most likely read: the last that some vendor has, or perhaps has, and that has not failed;
    /// else the last whose vendor says that it has. `None` when nothing can have reached anyone.
    pub fn carrier(&self) -> Option<&Sending> {
        let out = || self.sends.iter().rev().filter(|sending| sending.may_be_out());
        out().find(|sending| !sending.failed()).or_else(|| out().next())
    }

    /// Whether somebody said of one of its sends that it was received.
    pub fn is_told_received(&self) -> bool {
        self.sends.iter().any(|sending| sending.feedback == Some(FeedbackOutcome::Received))
    }

    /// Takes in what somebody says who knows: that the code was received, as it went out last, or that nothing was of all
    /// that went out so far. An approval says that it was. Neither the code nor the workflow is touched by it.
    pub fn hear(&mut self, outcome: FeedbackOutcome, now: Timestamp) -> Heard {
        let Some(last) = self.carrier().map(|carrier| carrier.number) else { return Heard::NothingSent };
        if self.status == Status::Approved || self.is_told_received() {
            return if outcome == FeedbackOutcome::Received { Heard::Known } else { Heard::Contradicts };
        }
        let mut news = Vec::new();
        for sending in &mut self.sends {
            let is_meant = outcome == FeedbackOutcome::NotReceived || sending.number == last;
            if is_meant && sending.hear(outcome, now, &mut self.history) == Step::Done {
                news.push(sending.clone());
            }
        }
        match outcome {
            _ if !news.is_empty() => Heard::New(news),
            FeedbackOutcome::NotReceived => Heard::Known,
            // Nothing went out since it was said that nothing had arrived.
            FeedbackOutcome::Received => Heard::Contradicts,
        }
    }

    /// Gives up. False, and no change, when it has ended otherwise; a canceled one may be canceled again.
    pub fn cancel(&mut self, now: Timestamp) -> bool {
        if self.status(now) == Status::Pending {
            self.give_up_lost_check(now);
            self.end(Status::Canceled, EventKind::Canceled, now);
        }
        self.status(now) == Status::Canceled
    }

    /// Writes down that time has ended it, so that a clock set back revives nothing.
    pub fn end_by_time(&mut self, now: Timestamp) {
        let Some((status, at)) = self.end_of_time(now).filter(|_| self.is_open()) else { return };
        self.give_up_lost_check(now);
        let event = if status == Status::ChecksExhausted { EventKind::ChecksExhausted } else { EventKind::Expired };
        self.history.add(now, event);
        self.status = status;
        self.decided_at = Some(at);
        self.code = None;
        self.abandon_sends(now);
    }

    /// What time alone has made of one whose end nobody has written down, and when: it has run out, or the last check
    /// that it allows was lost on the way to a vendor. Of one that was begun at a time yet to come, because the clock was
    /// set back, nobody can say how old it is, so it counts as run out.
    fn end_of_time(&self, now: Timestamp) -> Option<(Status, Timestamp)> {
        let under_way = self.vendor_code.as_ref().and_then(|code| code.under_way);
        let lost_at = under_way.filter(|_| self.checks_left() == 0).map(|check| check.until);
        match lost_at.filter(|at| *at < self.expires_at) {
            _ if now + clock::TOLERANCE < self.created_at => Some((Status::Expired, self.created_at)),
            Some(at) if now >= at => Some((Status::ChecksExhausted, at)),
            _ => (now >= self.expires_at).then_some((Status::Expired, self.expires_at)),
        }
    }

    /// Leaves a check of which nobody will hear any more as it was counted.
    pub(crate) fn give_up_lost_check(&mut self, now: Timestamp) {
        let lost = |code: &mut VendorCode| code.under_way.take_if(|check| now >= check.until);
        if self.vendor_code.as_mut().and_then(lost).is_some() {
            self.history.add(now, EventKind::CheckFailed);
        }
    }

    pub(crate) fn add_event(&mut self, at: Timestamp, event: EventKind) {
        self.history.add(at, event);
    }

    pub(crate) fn end(&mut self, status: Status, event: EventKind, now: Timestamp) {
        self.status = status;
        self.decided_at = Some(now);
        self.code = None;
        self.history.add(now, event);
        self.abandon_sends(now);
    }

    fn abandon_sends(&mut self, now: Timestamp) {
        for sending in &mut self.sends {
            sending.abandon(now, &mut self.history);
        }
    }
}

impl SendRecord for Verification {
    fn key(keys: &Keys, send: &SendRef) -> Key {
        keys.verification(send.tenant, send.id)
    }

    fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    fn sends(&self) -> &[Sending] {
        &self.sends
    }

    fn send_mut(&mut self, number: u8) -> Option<(&mut Sending, &mut History)> {
        let sending = self.sends.iter_mut().find(|sending| sending.number == number)?;
        Some((sending, &mut self.history))
    }

    /// Ends the verification when no send can have reached the person, or has the next step taken at once; and ends the
    /// sends when it has ended.
    fn send_moved(&mut self, now: Timestamp) {
        if self.status(now) != Status::Pending {
            return self.abandon_sends(now);
        }
        match self.workflow.as_mut().filter(|workflow| workflow.next_at().is_some()) {
            Some(workflow) if self.sends.iter().skip(workflow.first_send()).all(Sending::failed) => {
                workflow.hasten(now);
            }
            None if self.sends.iter().all(Sending::failed) => {
                self.end(Status::Undeliverable, EventKind::Undeliverable, now);
            }
            _ => {}
        }
    }

    fn history(&self) -> &History {
        &self.history
    }

    fn about(&self) -> About {
        About::of(&self.recipient, &self.scope, &self.metadata, &self.history)
    }

    fn checks_left(&self) -> Option<u32> {
        Some(if self.is_open() { self.max_checks.saturating_sub(self.checks_used) } else { 0 })
    }

    fn due_at(&self) -> Option<Timestamp> {
        let end = || Some(self.expires_at).filter(|_| self.ends_aloud.is_some() && self.is_open());
        self.next_step_at().or_else(end)
    }

    fn ends_at(&self) -> Timestamp {
        self.expires_at
    }
}

// === impl Verdict ===

impl Verdict {
    /// Whether it counts as a failed check.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Judged(judgement) if judgement.is_failure())
    }
}

// === impl Status ===

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Approved => "APPROVED",
            Self::Expired => "EXPIRED",
            Self::Canceled => "CANCELED",
            Self::ChecksExhausted => "CHECKS_EXHAUSTED",
            Self::Undeliverable => "UNDELIVERABLE",
        }
    }
}
