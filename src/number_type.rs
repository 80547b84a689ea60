//! What a phone number is for, as its country's plan has it.
//!
//! The plan is a library's, which stays behind this type, as behind `recipient`.

use rlibphonenumber::PhoneNumberType;
use serde::Deserialize;

/// The types that libphonenumber tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberType {
    FixedLine,
    Mobile,
    /// In countries whose plan does not tell them apart.
    FixedLineOrMobile,
    TollFree,
    PremiumRate,
    SharedCost,
    Voip,
    /// Follows a person from line to line, often at the caller's cost.
    PersonalNumber,
    Pager,
    /// A company's, routed to its offices (universal access number).
    Uan,
    Voicemail,
    Unknown,
}

// === impl NumberType ===

impl From<PhoneNumberType> for NumberType {
    fn from(kind: PhoneNumberType) -> Self {
        match kind {
            PhoneNumberType::FixedLine => Self::FixedLine,
            PhoneNumberType::Mobile => Self::Mobile,
            PhoneNumberType::FixedLineOrMobile => Self::FixedLineOrMobile,
            PhoneNumberType::TollFree => Self::TollFree,
            PhoneNumberType::PremiumRate => Self::PremiumRate,
            PhoneNumberType::SharedCost => Self::SharedCost,
            PhoneNumberType::VoIP => Self::Voip,
            PhoneNumberType::PersonalNumber => Self::PersonalNumber,
            PhoneNumberType::Pager => Self::Pager,
            PhoneNumberType::UAN => Self::Uan,
            PhoneNumberType::VoiceMail => Self::Voicemail,
            PhoneNumberType::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipient::Phone;

    #[test]
    fn numbers_have_the_types_of_their_plans() {
        let rows = [
            ("+60123456789", NumberType::Mobile),
            ("+60323456789", NumberType::FixedLine),
            ("+449012345678", NumberType::PremiumRate),
            ("+12025550123", NumberType::FixedLineOrMobile),
            ("+18002345678", NumberType::TollFree),
            ("+447012345678", NumberType::PersonalNumber),
            ("+447640123456", NumberType::Pager),
            ("+80012345678", NumberType::TollFree),
        ];
        for (number, expected) in rows {
            let phone = Phone::parse(number, None).unwrap_or_else(|error| panic!("{number}: {error}"));
            assert_eq!(phone.number_type(), expected, "{number}");
        }
    }
}
