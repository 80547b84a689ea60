//! What an attempt has a vendor do: send a text of ours, or make a code of its own and send that.
//!
//! Pure. A wish for a code is the same for every vendor of a route; what becomes of it at one of them depends on what that
//! vendor can do, and on how much of the code's time is left by then.

use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::id::TenantName;
use crate::recipient::Recipient;
use crate::vendor::{Channel, CodeFor, CodeLimits, CodeRequest, Codes, Outgoing};

/// Where the code belongs in a text that goes to a vendor which makes it.
pub const PLACE_OF_CODE: &str = "{code}";

/// One attempt's work for a vendor.
#[derive(Debug, Clone)]
pub enum Errand {
    Text(Outgoing),
    Code(CodeErrand),
}

/// A code that a vendor is to make and send.
#[derive(Debug, Clone)]
pub struct CodeErrand {
    /// Ours, and this attempt's alone.
    pub reference: Arc<str>,
    pub tenant: TenantName,
    pub channel: Channel,
    pub recipient: Recipient,
    pub sender: Option<String>,
    pub wish: CodeWish,
    /// A language tag (BCP 47).
    pub locale: Option<String>,
    pub brand: Option<String>,
    /// Our words, with [`PLACE_OF_CODE`] in them.
    pub text: Option<String>,
    /// When the code ends for us, whatever the vendor says.
    pub expires_at: Timestamp,
}

/// What a vendor's code is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CodeWish {
    /// Characters.
    #[n(0)]
    pub length: u32,
    /// No other length will do.
    #[n(1)]
    pub just_this_length: bool,
    /// It must not end sooner at the vendor than for us.
    #[n(2)]
    pub all_of_its_time: bool,
    /// It must come in our words.
    #[n(3)]
    pub in_our_words: bool,
}

// === impl Errand ===

impl Errand {
    pub fn reference(&self) -> &Arc<str> {
        match self {
            Self::Text(outgoing) => &outgoing.reference,
            Self::Code(code) => &code.reference,
        }
    }

    pub fn tenant(&self) -> &TenantName {
        match self {
            Self::Text(outgoing) => &outgoing.tenant,
            Self::Code(code) => &code.tenant,
        }
    }

    pub fn channel(&self) -> Channel {
        match self {
            Self::Text(outgoing) => outgoing.channel,
            Self::Code(code) => code.channel,
        }
    }

    pub fn recipient(&self) -> &Recipient {
        match self {
            Self::Text(outgoing) => &outgoing.recipient,
            Self::Code(code) => &code.recipient,
        }
    }

    pub fn expires_at(&self) -> Timestamp {
        match self {
            Self::Text(outgoing) => outgoing.expires_at,
            Self::Code(code) => code.expires_at,
        }
    }
}

// === impl CodeErrand ===

impl CodeErrand {
    /// What this vendor is asked for. In our words where it takes them, else in its own. `None` when it cannot make such a
    /// code.
    pub fn request(&self, codes: &dyn Codes, now: Timestamp) -> Option<CodeRequest> {
        let limits = codes.limits();
        if !codes.serves(&self.tenant) {
            return None;
        }
        let wanted = self.expires_at.since(now);
        let lifetime = limits.lifetime_for(wanted);
        let in_its_words = CodeRequest {
            reference: Arc::clone(&self.reference),
            tenant: self.tenant.clone(),
            channel: self.channel,
            recipient: self.recipient.clone(),
            sender: self.sender.clone(),
            length: self.wish.length_at(limits)?,
            lifetime: Some(lifetime).filter(|lifetime| *lifetime >= wanted || !self.wish.all_of_its_time)?,
            locale: self.locale.clone(),
            brand: self.brand.clone(),
            template: None,
        };
        let in_ours = CodeRequest { template: self.text.clone(), ..in_its_words.clone() };
        if in_ours.template.is_some() && codes.takes(&in_ours) {
            return Some(in_ours);
        }
        (!self.wish.in_our_words && codes.takes(&in_its_words)).then_some(in_its_words)
    }

    pub fn whom(&self) -> CodeFor<'_> {
        let Self { tenant, channel, recipient, sender, .. } = self;
        CodeFor { tenant, channel: *channel, recipient, sender: sender.as_deref() }
    }
}

// === impl CodeWish ===

impl CodeWish {
    fn length_at(&self, limits: &CodeLimits) -> Option<u32> {
        let length = limits.length_for(self.length);
        (length == self.length || !self.just_this_length).then_some(length)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use secrecy::SecretString;

    use super::*;
    use crate::recipient::Phone;
    use crate::vendor::{CodeHandle, CodeVerdict, Failure};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    /// Takes texts of at most so many bytes.
    struct Maker(CodeLimits, usize);

    #[async_trait]
    impl Codes for Maker {
        fn limits(&self) -> &CodeLimits {
            &self.0
        }

        fn serves(&self, tenant: &TenantName) -> bool {
            tenant.as_str() == "acme"
        }

        fn takes(&self, request: &CodeRequest) -> bool {
            self.0.allow(request) && request.template.as_ref().is_none_or(|text| text.len() <= self.1)
        }

        async fn start(&self, _: &CodeRequest) -> Result<CodeHandle, Failure> {
            Err(Failure::Unavailable)
        }

        async fn check(&self, _: &CodeHandle, _: &SecretString) -> Result<CodeVerdict, Failure> {
            Err(Failure::Unavailable)
        }

        async fn cancel(&self, _: &CodeHandle) -> Result<(), Failure> {
            Ok(())
        }
    }

    /// Codes of 4 to 8 digits that live 1 to 9 whole minutes.
    fn maker() -> Maker {
        let limits = CodeLimits {
            channels: vec![Channel::Sms],
            lengths: 4..=8,
            lifetimes: MINUTE..=9 * MINUTE,
            lifetime_step: MINUTE,
            letters: false,
            template: true,
            cancel: false,
        };
        Maker(limits, 20)
    }

    fn errand(length: u32, lifetime: Duration) -> CodeErrand {
        CodeErrand {
            reference: "r".into(),
            tenant: "acme".parse().unwrap(),
            channel: Channel::Sms,
            recipient: Recipient::Phone(Phone::parse("+60123456789", None).unwrap()),
            sender: None,
            wish: CodeWish { length, just_this_length: false, all_of_its_time: false, in_our_words: false },
            locale: None,
            brand: None,
            text: Some("Code: {code}".to_owned()),
            expires_at: NOW + lifetime,
        }
    }

    #[test]
    fn what_was_not_asked_for_is_as_near_as_the_vendor_can() {
        let (maker, second) = (maker(), Duration::from_secs(1));
        for (length, lifetime, asked) in [
            (6, 5 * MINUTE, (6, 5)),
            (4, 5 * MINUTE - second, (4, 5)),
            (2, 5 * MINUTE + second, (4, 6)),
            (32, second, (8, 1)),
            (8, 9 * MINUTE + second, (8, 9)),
            (8, 900 * MINUTE, (8, 9)),
        ] {
            let request = errand(length, lifetime).request(&maker, NOW).unwrap();
            assert_eq!((request.length, request.lifetime), (asked.0, asked.1 * MINUTE), "{length} {lifetime:?}");
        }
    }

    #[test]
    fn what_was_asked_for_is_made_or_not_at_all() {
        let maker = maker();
        let strict = |length, lifetime| {
            let wish = CodeWish { length, just_this_length: true, all_of_its_time: true, in_our_words: false };
            CodeErrand { wish, ..errand(length, lifetime) }
        };
        for (length, lifetime, fits) in [
            (4, 9 * MINUTE, true),
            (8, Duration::from_secs(3), true),
            (3, MINUTE, false),
            (9, MINUTE, false),
            (6, 9 * MINUTE + Duration::from_millis(1), false),
        ] {
            assert_eq!(strict(length, lifetime).request(&maker, NOW).is_some(), fits, "{length} {lifetime:?}");
        }
        // By the time of a second attempt less is left of it.
        assert!(strict(6, 10 * MINUTE).request(&maker, NOW + MINUTE).is_some());
        let strangers = CodeErrand { tenant: "other".parse().unwrap(), ..errand(6, MINUTE) };
        assert_eq!(strangers.request(&maker, NOW).map(|request| request.length), None);
        let voice = CodeErrand { channel: Channel::Voice, ..errand(6, MINUTE) };
        assert!(voice.request(&maker, NOW).is_none());
    }

    #[test]
    fn the_vendors_own_words_stand_in_for_ours_unless_something_hangs_on_them() {
        let maker = maker();
        let template = |text: Option<&str>, in_our_words| {
            let text = text.map(str::to_owned);
            let wish = CodeWish { in_our_words, ..errand(6, MINUTE).wish };
            let request = CodeErrand { text, wish, ..errand(6, MINUTE) }.request(&maker, NOW);
            request.map(|request| request.template)
        };
        assert_eq!(template(Some("Code: {code}"), false), Some(Some("Code: {code}".to_owned())));
        assert_eq!(template(Some("Code: {code}"), true), Some(Some("Code: {code}".to_owned())));
        assert_eq!(template(Some("This is your code: {code}"), false), Some(None));
        assert_eq!(template(Some("This is your code: {code}"), true), None);
        assert_eq!(template(None, false), Some(None));
        assert_eq!(template(None, true), None);
    }
}
