//! Where people live, and where money is earned by being sent to: ranges of mobile numbers, as the plans have them.

use verigate::recipient::Recipient;

use super::dice::Dice;

/// A country and the people in it.
#[derive(Debug)]
pub(crate) struct Land {
    pub(crate) name: &'static str,
    /// Of all honest starts.
    pub(crate) share: f64,
    /// Of honest starts, how many codes come back in the end.
    pub(crate) conversion: f64,
    /// Hours before UTC.
    pub(crate) hours: u64,
    /// The first digits of its mobile numbers, and how many more there are.
    ranges: &'static [&'static str],
    digits: u32,
}

/// Honest traffic comes from the first nine. The others are dear, and have none.
pub(crate) const LANDS: &[Land] = &[
    land("MY", 0.28, 0.78, 8, &["+6010", "+6012", "+6013", "+6014", "+6016", "+6017", "+6018", "+6019"], 7),
    land("SG", 0.10, 0.85, 8, &["+658", "+659"], 7),
    land("ID", 0.15, 0.62, 7, &["+62811", "+62812", "+62813", "+62852", "+62857", "+62878"], 8),
    land("GB", 0.11, 0.82, 0, &["+4474", "+4475", "+4477", "+4478", "+4479"], 8),
    land("FR", 0.10, 0.80, 1, &["+336", "+337"], 8),
    land("DE", 0.08, 0.81, 1, &["+49151", "+49152", "+49157", "+49176"], 8),
    land("US", 0.08, 0.72, 18, &["+1212", "+1310", "+1415", "+1512", "+1617", "+1702", "+1773", "+1917"], 7),
    land("IN", 0.06, 0.66, 5, &["+9170", "+9188", "+9197", "+9198", "+9199"], 8),
    land("NG", 0.04, 0.55, 1, &["+234803", "+234806", "+234813", "+234703"], 7),
    land("AZ", 0.0, 0.0, 4, &["+99450", "+99451", "+99455", "+99470"], 7),
    land("TN", 0.0, 0.0, 1, &["+2162", "+2165", "+2169"], 7),
    land("UZ", 0.0, 0.0, 5, &["+99890", "+99891", "+99893", "+99894"], 7),
    land("PK", 0.0, 0.0, 5, &["+92300", "+92301", "+92333", "+92345"], 7),
    land("LK", 0.0, 0.0, 5, &["+9471", "+9472", "+9477", "+9478"], 7),
    land("KG", 0.0, 0.0, 6, &["+99655", "+99670", "+99677"], 7),
    land("TJ", 0.0, 0.0, 5, &["+99291", "+99292", "+99293"], 7),
    land("GE", 0.0, 0.0, 4, &["+99551", "+99555", "+99559"], 7),
    land("BD", 0.0, 0.0, 6, &["+88017", "+88018", "+88019"], 8),
    land("MG", 0.0, 0.0, 3, &["+26132", "+26133", "+26134"], 7),
];

const fn land(
    name: &'static str,
    share: f64,
    conversion: f64,
    hours: u64,
    ranges: &'static [&'static str],
    digits: u32,
) -> Land {
    Land { name, share, conversion, hours, ranges, digits }
}

/// A country by its name; there is one.
pub(crate) fn named(name: &str) -> &'static Land {
    LANDS.iter().find(|land| land.name == name).unwrap_or(&LANDS[0])
}

// === impl Land ===

impl Land {
    /// A mobile number, each as likely as the others.
    pub(crate) fn number(&self, dice: &mut Dice) -> Recipient {
        let prefix = self.prefix(dice);
        self.number_in(&prefix, dice.below(1_000_000))
    }

    /// All but the last six digits of one.
    pub(crate) fn prefix(&self, dice: &mut Dice) -> String {
        let mut prefix = (*dice.pick(self.ranges)).to_owned();
        for _ in 6..self.digits {
            // No plan begins a subscriber's number with what its trunk prefix is.
            let digit = char::from(b'2' + dice.below(8) as u8);
            prefix.push(digit);
        }
        prefix
    }

    /// `last`: below a million.
    pub(crate) fn number_in(&self, prefix: &str, last: u64) -> Recipient {
        let text = format!("{prefix}{last:06}");
        let Ok(recipient) = Recipient::parse_canonical(&text, self.name.parse().ok()) else {
            panic!("{text} is no number in E.164");
        };
        recipient
    }
}
