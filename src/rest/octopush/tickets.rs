//! The names that the vendor's clients know things by: a prefix of the vendor's, and one of our ids as 32 hexadecimal
//! digits.
//!
//! | name | stands for |
//! |---|---|
//! | `otp_…`, the request token | a verification |
//! | `sms_…` of a code | the same verification |
//! | `sms_…` of a campaign | a batch of messages; each message has it in its metadata, under `ticket` |

use uuid::Uuid;

use crate::id::Id;

const TOKEN: &str = "otp_";
const TICKET: &str = "sms_";

/// The entry of a message's metadata that names its campaign.
pub(super) const ENTRY: &str = "ticket";

pub(super) fn to_token(id: Id) -> String {
    written(TOKEN, id)
}

pub(super) fn to_ticket(id: Id) -> String {
    written(TICKET, id)
}

pub(super) fn parse_token(text: &str) -> Option<Id> {
    read(TOKEN, text)
}

pub(super) fn parse_ticket(text: &str) -> Option<Id> {
    read(TICKET, text)
}

fn written(prefix: &str, id: Id) -> String {
    format!("{prefix}{}", Uuid::from_bytes(*id.as_bytes()).simple())
}

/// Only what [`written`] writes.
fn read(prefix: &str, text: &str) -> Option<Id> {
    let id = Id::from_bytes(Uuid::try_parse(text.strip_prefix(prefix)?).ok()?.into_bytes());
    Some(id).filter(|id| written(prefix, *id) == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::id::Partition;
    use crate::random::OsRandom;

    #[test]
    fn names_read_back_and_nothing_else_does() {
        let id = Id::new(Timestamp::from_millis(1_795_324_560_125), Partition::new(7), &OsRandom);
        let (token, ticket) = (to_token(id), to_ticket(id));
        assert_eq!((token.len(), parse_token(&token), parse_ticket(&ticket)), (36, Some(id), Some(id)));
        for bad in ["", "otp_", &ticket, &token.to_uppercase(), &format!("otp_{id}"), &format!("{token}0")] {
            assert_eq!(parse_token(bad), None, "{bad}");
        }
        assert_eq!(parse_token(&format!("otp_{{{id}}}")), None);
    }
}
