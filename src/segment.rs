//! How many SMS segments a text takes, and in which encoding: what a message costs.
//!
//! Rules: 3GPP TS 23.038 (alphabets) and TS 23.040 §9.2.3.24.1 (concatenation with an 8-bit reference, whose header
//! takes 6 of the 140 octets of each segment). It changes no text: a character outside the GSM alphabet, however alike
//! it looks to one inside, makes the whole text UCS-2. It knows no national language shift tables (TS 23.038 §A.3):
//! vendors seldom take them.

/// How the text travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// The GSM 7-bit default alphabet with its extension table. A unit is a septet.
    Gsm7,
    /// UCS-2, in truth UTF-16 on every handset. A unit is 16 bits.
    Ucs2,
}

/// What a text takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    pub encoding: Encoding,
    /// Septets or 16-bit units of the text itself, without headers and padding.
    pub units: usize,
    /// At least 1: an empty message is sent, and paid for, too.
    pub segments: usize,
    /// What each of these segments can hold: less when there is more than one.
    pub units_per_segment: usize,
}

/// Measures `text`. Takes time in proportion to its length and allocates nothing.
pub fn measure(text: &str) -> Segments {
    let is_gsm = text.chars().all(|c| septets(c).is_some());
    measure_in(text, if is_gsm { Encoding::Gsm7 } else { Encoding::Ucs2 })
}

/// Measures `text` as it travels where the sender insists on UCS-2, though it may need less.
pub fn measure_ucs2(text: &str) -> Segments {
    measure_in(text, Encoding::Ucs2)
}

fn measure_in(text: &str, encoding: Encoding) -> Segments {
    let widths = || text.chars().map(|c| encoding.width(c));
    let units = widths().sum();
    if units <= encoding.units_alone() {
        return Segments { encoding, units, segments: 1, units_per_segment: encoding.units_alone() };
    }
    let units_per_segment = encoding.units_joined();
    let (segments, _) = widths().fold((1, 0), |(segments, used), width| {
        // A pair is never split, so a segment may end one unit early.
        if used + width > units_per_segment { (segments + 1, width) } else { (segments, used + width) }
    });
    Segments { encoding, units, segments, units_per_segment }
}

// === impl Encoding ===

impl Encoding {
    /// Units in a message of one segment.
    pub fn units_alone(self) -> usize {
        match self {
            Self::Gsm7 => 160,
            Self::Ucs2 => 70,
        }
    }

    /// Units in each segment of a message of several.
    pub fn units_joined(self) -> usize {
        match self {
            Self::Gsm7 => 153,
            Self::Ucs2 => 67,
        }
    }

    /// Units that a character takes; they stay together in one segment.
    fn width(self, character: char) -> usize {
        match self {
            Self::Gsm7 => septets(character).unwrap_or(1),
            Self::Ucs2 => character.len_utf16(),
        }
    }
}

/// Septets of a character in the default alphabet (1) or its extension table (2, with the escape); `None` outside both.
///
/// The escape itself (0x1B) is no character: a text that holds U+001B is not GSM text.
fn septets(character: char) -> Option<usize> {
    match character {
        '^' | '{' | '}' | '\\' | '[' | '~' | ']' | '|' | '€' | '\u{c}' => Some(2),
        '`' => None,
        '\n' | '\r' | ' '..='~' => Some(1),
        '£' | '¥' | 'è' | 'é' | 'ù' | 'ì' | 'ò' | 'Ç' | 'Ø' | 'ø' | 'Å' | 'å' => Some(1),
        'Δ' | 'Φ' | 'Γ' | 'Λ' | 'Ω' | 'Π' | 'Ψ' | 'Σ' | 'Θ' | 'Ξ' => Some(1),
        'Æ' | 'æ' | 'ß' | 'É' | '¤' | '¡' | '¿' | '§' => Some(1),
        'Ä' | 'Ö' | 'Ñ' | 'Ü' | 'ä' | 'ö' | 'ñ' | 'ü' | 'à' => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    /// TS 23.038 §6.2.1 in order of its codes 0x00 to 0x7F; the escape at 0x1B stands as U+001B.
    const DEFAULT_ALPHABET: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1b}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                                    ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

    /// TS 23.038 §6.2.1.1 in order of its codes 0x0A to 0x65.
    const EXTENSION_TABLE: &str = "\u{c}^{}\\[~]|€";

    fn shape(text: &str) -> (Encoding, usize, usize) {
        let Segments { encoding, units, segments, .. } = measure(text);
        (encoding, units, segments)
    }

    /// Cuts a text the plain way, one character after the other, and returns the pieces.
    fn split(text: &str, limit: usize, width: impl Fn(char) -> usize) -> Vec<String> {
        let mut pieces = vec![String::new()];
        let mut free = limit;
        for character in text.chars() {
            if width(character) > free {
                pieces.push(String::new());
                free = limit;
            }
            free -= width(character);
            pieces.last_mut().unwrap().push(character);
        }
        pieces
    }

    #[test]
    fn the_alphabet_is_that_of_the_specification_and_nothing_else() {
        assert_eq!(DEFAULT_ALPHABET.chars().count(), 128);
        assert_eq!(EXTENSION_TABLE.chars().count(), 10);
        for character in '\0'..=char::MAX {
            let expected = if character == '\u{1b}' {
                None
            } else if DEFAULT_ALPHABET.contains(character) {
                Some(1)
            } else if EXTENSION_TABLE.contains(character) {
                Some(2)
            } else {
                None
            };
            assert_eq!(septets(character), expected, "{character:?}");
        }
    }

    #[test]
    fn gsm_text_breaks_at_160_and_then_every_153() {
        for (length, segments) in [(0, 1), (1, 1), (160, 1), (161, 2), (306, 2), (307, 3), (1_224, 8), (1_225, 9)] {
            assert_eq!(shape(&"a".repeat(length)), (Encoding::Gsm7, length, segments));
        }
        assert_eq!(measure(&"a".repeat(160)).units_per_segment, 160);
        assert_eq!(measure(&"a".repeat(161)).units_per_segment, 153);
    }

    #[test]
    fn ucs2_text_breaks_at_70_and_then_every_67() {
        for (length, segments) in [(1, 1), (70, 1), (71, 2), (134, 2), (135, 3)] {
            assert_eq!(shape(&"码".repeat(length)), (Encoding::Ucs2, length, segments));
        }
        assert_eq!(measure(&"码".repeat(70)).units_per_segment, 70);
        assert_eq!(measure(&"码".repeat(71)).units_per_segment, 67);
    }

    #[test]
    fn one_character_outside_the_alphabet_makes_the_whole_text_ucs2() {
        assert_eq!(shape(&("a".repeat(69) + "ç")), (Encoding::Ucs2, 70, 1));
        assert_eq!(shape(&("a".repeat(70) + "’")), (Encoding::Ucs2, 71, 2));
        assert_eq!(measure("\u{1b}").encoding, Encoding::Ucs2);
    }

    #[test]
    fn an_escaped_pair_is_not_split() {
        assert_eq!(shape(&"€".repeat(80)), (Encoding::Gsm7, 160, 1));
        // 76 pairs fill 152 of 153 septets.
        assert_eq!(shape(&"€".repeat(152)), (Encoding::Gsm7, 304, 2));
        assert_eq!(shape(&"€".repeat(153)), (Encoding::Gsm7, 306, 3));
        assert_eq!(shape(&("a".repeat(152) + "€" + &"a".repeat(151))), (Encoding::Gsm7, 305, 2));
        assert_eq!(shape(&("a".repeat(152) + "€" + &"a".repeat(152))), (Encoding::Gsm7, 306, 3));
    }

    #[test]
    fn plain_text_may_be_measured_as_if_it_were_not() {
        for (length, segments) in [(1, 1), (70, 1), (71, 2), (135, 3)] {
            let measured = measure_ucs2(&"a".repeat(length));
            assert_eq!((measured.encoding, measured.units, measured.segments), (Encoding::Ucs2, length, segments));
        }
        for text in ["码", "a€b", "😀"] {
            let wide = measure_ucs2(text);
            assert_eq!((wide.units, wide.segments), (text.encode_utf16().count(), 1), "{text}");
        }
    }

    #[test]
    fn a_surrogate_pair_is_not_split() {
        assert_eq!(shape(&"😀".repeat(35)), (Encoding::Ucs2, 70, 1));
        // 33 pairs fill 66 of 67 units.
        assert_eq!(shape(&"😀".repeat(66)), (Encoding::Ucs2, 132, 2));
        assert_eq!(shape(&"😀".repeat(67)), (Encoding::Ucs2, 134, 3));
    }

    proptest! {
        #[test]
        fn counting_agrees_with_cutting(
            text in prop_oneof!["[a-zé€^\n]{0,400}", "[a-z码😀€]{0,200}"]
        ) {
            let gsm = text.chars().all(|c| (DEFAULT_ALPHABET.contains(c) && c != '\u{1b}') || EXTENSION_TABLE.contains(c));
            let width = |c: char| match gsm {
                true if EXTENSION_TABLE.contains(c) => 2,
                true => 1,
                false => c.encode_utf16(&mut [0; 2]).len(),
            };
            let (alone, joined) = if gsm { (160, 153) } else { (70, 67) };
            let mut pieces = split(&text, alone, width);
            let limit = if pieces.len() > 1 { joined } else { alone };
            pieces = split(&text, limit, width);

            let measured = measure(&text);
            prop_assert_eq!(pieces.concat(), text.clone());
            prop_assert_eq!(measured.encoding == Encoding::Gsm7, gsm);
            prop_assert_eq!(measured.units, text.chars().map(width).sum::<usize>());
            prop_assert_eq!(measured.segments, pieces.len());
            prop_assert_eq!(measured.units_per_segment, limit);
            prop_assert!(measured.units <= measured.segments * limit);
        }
    }
}
