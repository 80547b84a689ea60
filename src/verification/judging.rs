//! Checks that vendors judge, as pure transitions of a verification.
//!
//! A vendor takes its time, so such a check has two ends: it is counted as failed before the vendor is asked, and what the
//! vendor says may take that back. At most one is under way at a time, so that no more are asked about than the
//! verification allows, and a right one that is the last allowed can still approve.

use std::cmp::Reverse;

use crate::clock::Timestamp;
use crate::event::history::EventKind;
use crate::messaging::code_calls::{CodesOf, SentCode};
use crate::messaging::holder::SendRecord;
use crate::messaging::sending::{MadeCode, Sending};
use crate::vendor::Channel;
use crate::verification::answers::Judgement;
use crate::verification::vendor_code::{Heard, UnderWay};
use crate::verification::verification::{Status, Verdict, Verification};

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// `None` when it was not judged, or nobody can tell how.
    pub verdict: Option<Verdict>,
    /// Whether it stays counted as failed.
    pub is_counted: bool,
}

impl Verification {
    /// Until when a check may be under way, if one is.
    pub fn check_under_way(&self, now: Timestamp) -> Option<Timestamp> {
        let under_way = self.vendor_code.as_ref()?.under_way?;
        Some(under_way.until).filter(|until| now < *until)
    }

    /// Counts a check that a vendor is about to judge, and gives it a number. `None`, and no change, when none can be
    /// judged: the verification has ended, or one is under way.
    pub fn begin_check(&mut self, until: Timestamp, now: Timestamp) -> Option<u32> {
        if self.status(now) != Status::Pending || self.check_under_way(now).is_some() || self.checks_left() == 0 {
            return None;
        }
        self.give_up_lost_check(now);
        let code = self.vendor_code.as_mut()?;
        code.checks_begun = code.checks_begun.wrapping_add(1);
        let number = code.checks_begun;
        code.under_way = Some(UnderWay { number, until });
        self.checks_used = self.checks_used.saturating_add(1);
        Some(number)
    }

    /// Takes in what was heard of a check.
    pub fn settle_check(&mut self, number: u32, heard: Heard, now: Timestamp) -> Settled {
        self.end_by_time(now);
        let status = self.status(now);
        let ended = (status != Status::Pending).then_some(Verdict::Ended(status));
        let code = self.vendor_code.as_mut().filter(|code| code.under_way.is_some_and(|it| it.number == number));
        let Some(code) = code else { return Settled { verdict: ended, is_counted: true } };
        code.under_way = None;
        if ended.is_some() {
            let is_counted = matches!(heard, Heard::Wrong | Heard::Unclear);
            self.count_check(is_counted, now);
            return Settled { verdict: ended, is_counted };
        }
        let is_counted = !matches!(heard, Heard::Right | Heard::Expired | Heard::NotJudged);
        self.count_check(is_counted, now);
        let verdict = match heard {
            Heard::Right => {
                self.end(Status::Approved, EventKind::Approved, now);
                Some(Verdict::Judged(Judgement::Approved))
            }
            Heard::Expired => {
                self.expires_at = self.expires_at.min(now);
                self.end_by_time(now);
                Some(Verdict::Ended(self.status(now)))
            }
            Heard::NotJudged => None,
            Heard::Wrong | Heard::Unclear | Heard::Exhausted => {
                let is_last = self.checks_left() == 0 || heard == Heard::Exhausted;
                if is_last {
                    self.end(Status::ChecksExhausted, EventKind::ChecksExhausted, now);
                }
                let judgement = if is_last { Judgement::LastWrong } else { Judgement::Wrong };
                Some(Verdict::Judged(judgement)).filter(|_| heard != Heard::Unclear)
            }
        };
        Settled { verdict, is_counted }
    }

    /// The codes that vendors made or may have made for it, newest first.
    pub fn codes_of_vendors(&self) -> CodesOf {
        let of = |sending: &Sending| {
            let (channel, number) = (sending.channel, sending.number);
            sending.made_codes().into_iter().map(move |code| (code, channel, number))
        };
        let mut made: Vec<_> = self.sends().iter().flat_map(of).collect();
        made.sort_by_key(|(code, _, number)| Reverse((code.asked_at, *number, code.attempt)));
        let sent = |(code, channel, _): (MadeCode, Channel, u8)| SentCode {
            vendor: code.vendor,
            channel,
            reference: code.reference,
        };
        CodesOf {
            id: self.id,
            tenant: self.tenant.clone(),
            recipient: self.recipient.clone(),
            sender: self.sender.clone(),
            codes: made.into_iter().map(sent).collect(),
        }
    }

    fn count_check(&mut self, is_counted: bool, now: Timestamp) {
        if is_counted {
            self.add_event(now, EventKind::CheckFailed);
        } else {
            self.checks_used = self.checks_used.saturating_sub(1);
        }
    }
}
