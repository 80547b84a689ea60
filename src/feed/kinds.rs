//! What events are called where they are told, and which of them somebody wants.

use crate::error::Violation;
use crate::event::history::EventKind;
use crate::store::keys::Holder;

/// Every type, with what it means and how a record stands after it.
pub const TYPES: [Type; 29] = [
    of("verification.started", "PENDING", "A verification was started."),
    of("verification.check_failed", "PENDING", "A wrong code was counted."),
    of("verification.approved", "APPROVED", "The person proved control of the recipient."),
    of("verification.checks_exhausted", "CHECKS_EXHAUSTED", "The last check that was allowed has failed."),
    of("verification.canceled", "CANCELED", "The caller gave the verification up."),
    of("verification.undeliverable", "UNDELIVERABLE", "No send can have reached the person."),
    of("verification.expired", "EXPIRED", "Its time ran out before the code was given back."),
    of("verification.send.queued", "QUEUED", "A send of the code was accepted and will be tried."),
    of("verification.send.attempted", "SENDING", "The send was handed to a vendor."),
    of("verification.send.sent", "SENT", "A vendor took the send."),
    of("verification.send.rejected", "REJECTED", "Every vendor refused the send."),
    of("verification.send.unknown", "UNKNOWN", "Whether the send left is not known."),
    of("verification.send.delivered", "DELIVERED", "A vendor reported that the send arrived."),
    of("verification.send.undelivered", "UNDELIVERED", "A vendor reported that the send did not arrive."),
    of("verification.send.expired", "EXPIRED", "The send was given up, for its time was over."),
    of("verification.send.canceled", "CANCELED", "The send was given up, for nobody waits for it."),
    of("verification.send.confirmed", "", "Somebody who knows said that the send was received."),
    of("verification.send.denied", "", "Somebody who knows said that the send was not received."),
    of("message.queued", "QUEUED", "A message was accepted and will be tried."),
    of("message.attempted", "SENDING", "The message was handed to a vendor."),
    of("message.sent", "SENT", "A vendor took the message."),
    of("message.rejected", "REJECTED", "Every vendor refused the message."),
    of("message.unknown", "UNKNOWN", "Whether the message left is not known."),
    of("message.delivered", "DELIVERED", "A vendor reported that the message arrived."),
    of("message.undelivered", "UNDELIVERED", "A vendor reported that the message did not arrive."),
    of("message.expired", "EXPIRED", "The message was given up, for its time was over."),
    of("message.canceled", "CANCELED", "The message was given up before a vendor took it."),
    of("message.confirmed", "", "Somebody who knows said that the message was received."),
    of("message.denied", "", "Somebody who knows said that the message was not received."),
];

/// Names that somebody may want: all of them, and groups.
const MAX_NAMES: usize = 40;

/// A type of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    pub name: &'static str,
    /// The status of what it is about right after it; empty where it changes none.
    pub status: &'static str,
    pub meaning: &'static str,
}

/// Which types somebody wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted(Vec<String>);

const fn of(name: &'static str, status: &'static str, meaning: &'static str) -> Type {
    Type { name, status, meaning }
}

/// The type of an event of such a record.
pub fn type_of(holder: Holder, kind: EventKind) -> &'static Type {
    let of_verification = usize::from(holder == Holder::Message) * 11 + 7;
    let place = match kind {
        EventKind::Started => 0,
        EventKind::CheckFailed => 1,
        EventKind::Approved => 2,
        EventKind::ChecksExhausted => 3,
        EventKind::Canceled => 4,
        EventKind::Undeliverable => 5,
        EventKind::Expired => 6,
        EventKind::Queued(_) => of_verification,
        EventKind::Attempted(..) => of_verification + 1,
        EventKind::Sent(_) => of_verification + 2,
        EventKind::Rejected(_) => of_verification + 3,
        EventKind::Unknown(_) => of_verification + 4,
        EventKind::Delivered(_) => of_verification + 5,
        EventKind::Undelivered(_) => of_verification + 6,
        EventKind::SendExpired(_) => of_verification + 7,
        EventKind::SendCanceled(_) => of_verification + 8,
        EventKind::Confirmed(_) => of_verification + 9,
        EventKind::Denied(_) => of_verification + 10,
    };
    &TYPES[place]
}

// === impl Wanted ===

impl Wanted {
    /// Empty for all; a name that ends with `.*` stands for all that begin so.
    pub fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|wanted| fits(wanted, name))
    }

    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Names that stand for no type, or more of them than there can be.
    pub fn violations(&self, field: &str) -> Vec<Violation> {
        if self.0.len() > MAX_NAMES {
            let description = format!("must be at most {MAX_NAMES}");
            return vec![Violation { field: field.to_owned(), description }];
        }
        let unknown = |(at, wanted): (usize, &String)| {
            let known = TYPES.iter().any(|known| fits(wanted, known.name));
            let wanted =
                "must be a type of events such as \"message.delivered\", or \"message.*\" for all that begin so";
            (!known).then(|| Violation { field: format!("{field}[{at}]"), description: wanted.to_owned() })
        };
        self.0.iter().enumerate().filter_map(unknown).collect()
    }
}

fn fits(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix(".*") {
        Some(group) => name.strip_prefix(group).is_some_and(|rest| rest.starts_with('.')),
        None => wanted == name,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_event_has_the_type_that_is_meant() {
        for (kind, of_verification, of_message) in [
            (EventKind::Queued(0), "verification.send.queued", "message.queued"),
            (EventKind::Attempted(0, 1), "verification.send.attempted", "message.attempted"),
            (EventKind::Sent(3), "verification.send.sent", "message.sent"),
            (EventKind::Rejected(0), "verification.send.rejected", "message.rejected"),
            (EventKind::Unknown(0), "verification.send.unknown", "message.unknown"),
            (EventKind::Delivered(0), "verification.send.delivered", "message.delivered"),
            (EventKind::Undelivered(0), "verification.send.undelivered", "message.undelivered"),
            (EventKind::SendExpired(0), "verification.send.expired", "message.expired"),
            (EventKind::SendCanceled(0), "verification.send.canceled", "message.canceled"),
            (EventKind::Confirmed(0), "verification.send.confirmed", "message.confirmed"),
            (EventKind::Denied(0), "verification.send.denied", "message.denied"),
        ] {
            assert_eq!(type_of(Holder::Verification, kind).name, of_verification);
            assert_eq!(type_of(Holder::Message, kind).name, of_message);
        }
        for (kind, name) in [
            (EventKind::Started, "verification.started"),
            (EventKind::CheckFailed, "verification.check_failed"),
            (EventKind::Approved, "verification.approved"),
            (EventKind::ChecksExhausted, "verification.checks_exhausted"),
            (EventKind::Canceled, "verification.canceled"),
            (EventKind::Undeliverable, "verification.undeliverable"),
            (EventKind::Expired, "verification.expired"),
        ] {
            assert_eq!(type_of(Holder::Verification, kind).name, name);
        }
        assert_eq!(TYPES.iter().map(|known| known.name).collect::<BTreeSet<_>>().len(), TYPES.len());
    }

    #[test]
    fn a_group_stands_for_all_that_begin_like_it_and_unknown_names_are_refused() {
        let wanted = Wanted::new(vec!["verification.send.*".to_owned(), "message.sent".to_owned()]);
        assert!(wanted.has("verification.send.sent") && wanted.has("message.sent"));
        assert!(!wanted.has("verification.started") && !wanted.has("message.delivered"));
        assert!(Wanted::default().has("message.queued"));
        assert!(wanted.violations("types").is_empty());
        for wrong in ["", "*", ".*", "messages.*", "message", "message.", "MESSAGE.SENT", "mess.*"] {
            let found = Wanted::new(vec!["message.*".to_owned(), wrong.to_owned()]).violations("types");
            assert_eq!(found.len(), 1, "{wrong}");
            assert_eq!(found[0].field, "types[1]");
        }
        let [most, too_many] = [40, 41].map(|count| Wanted::new(vec!["message.*".to_owned(); count]));
        assert!(most.violations("types").is_empty());
        assert_eq!(too_many.violations("types")[0].field, "types");
    }
}
