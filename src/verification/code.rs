//! Codes: the secret that is sent, the candidate that comes back, and the comparison of the two.
//!
//! Knows nothing of lifetimes, counters or who may see a code. What it promises is that codes are drawn without bias,
//! compared in constant time, wiped from memory when dropped, and shown by nothing but [`Code::expose`].

use std::fmt;
use std::ops::RangeInclusive;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::id::Id;
use crate::random::Random;
use crate::store::keys::{Fingerprint, Keys};

/// How many characters a code may have.
pub const CODE_LENGTHS: RangeInclusive<usize> = 4..=32;

/// Longest candidate in bytes, blanks around it included: room for a slip of the finger, and no more.
pub const MAX_CANDIDATE_BYTES: usize = 64;

/// Bytes drawn at once for each character still missing. The worst alphabet refuses one byte in five, so a second draw
/// is rare.
const BYTES_PER_CHARACTER: usize = 2;

/// A one-time code: 4 to 32 printable ASCII characters without blanks.
///
/// Cloning copies the secret; each copy is wiped on its own. Not `PartialEq`: use [`Code::matches`].
#[derive(Clone)]
pub struct Code(SecretString);

/// What a person typed in, not yet judged. As secret as a code, for it may be one.
pub struct Candidate(SecretString);

/// The characters that codes are drawn from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alphabet {
    characters: Box<[u8]>,
}

/// A class of characters that an alphabet is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// `0` to `9`
    Digits,
    /// `A` to `Z`
    Upper,
    /// `a` to `z`
    Lower,
    /// `! # $ % & ? @`: all one septet in the GSM alphabet, so they cost no more than letters.
    Special,
}

// === impl Code ===

impl Code {
    /// Draws a code of `length` characters. Leading zeros are kept: a code is text, not a number.
    ///
    /// Every character is equally likely at every position, so a code holds [`Alphabet::entropy_bits`]. With several
    /// classes a code need not contain one of each: forcing that would make codes more guessable.
    ///
    /// Errors: `Invalid` when the length is not in [`CODE_LENGTHS`].
    pub fn generate(length: usize, alphabet: &Alphabet, random: &dyn Random) -> Result<Self> {
        if !CODE_LENGTHS.contains(&length) {
            return Err(Error::invalid("code_length", "must be 4 to 32 characters"));
        }
        let mut text = Zeroizing::new(String::with_capacity(length));
        let mut drawn = Zeroizing::new(vec![0; BYTES_PER_CHARACTER * length]);
        while text.len() < length {
            let drawn = &mut drawn[..BYTES_PER_CHARACTER * (length - text.len())];
            random.fill(drawn);
            for byte in drawn {
                if text.len() < length
                    && let Some(character) = alphabet.pick(*byte)
                {
                    text.push(character);
                }
            }
        }
        Ok(Self::copied(&text))
    }

    /// Draws a code as [`Code::generate`] does, and again until it begins with no zero: for callers that carry it as a
    /// number, which would lose one. Each code that is left is as likely as any other.
    ///
    /// Errors: `Invalid` when the length is not in [`CODE_LENGTHS`].
    pub fn generate_number(length: usize, alphabet: &Alphabet, random: &dyn Random) -> Result<Self> {
        loop {
            let code = Self::generate(length, alphabet, random)?;
            if !code.expose().starts_with('0') {
                return Ok(code);
            }
        }
    }

    /// A code that the caller chose.
    ///
    /// Errors: `Invalid`, field `custom_code`, when it is not 4 to 32 printable ASCII characters without blanks.
    pub fn custom(text: &str) -> Result<Self> {
        if CODE_LENGTHS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self::copied(text))
        } else {
            Err(Error::invalid("custom_code", "must be 4 to 32 printable ASCII characters without blanks"))
        }
    }

    /// The code itself. Only for rendering the text that goes to a vendor, and for a caller that may see it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether the candidate is exactly this code: same characters, same case. How long this takes depends on neither,
    /// nor on whether their lengths agree.
    pub fn matches(&self, candidate: &Candidate) -> bool {
        padded(self.expose()).ct_eq(padded(candidate.0.expose_secret()).as_slice()).into()
    }

    /// Makes a copy of the exact size, for a buffer that had to grow or shrink would leave the old one behind unwiped.
    fn copied(text: &str) -> Self {
        Self(SecretString::new(Box::from(text)))
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(***)")
    }
}

/// For the sealed record only.
impl<C> minicbor::Encode<C> for Code {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(self.expose())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Code {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::custom(d.str()?).map_err(|_| minicbor::decode::Error::message("not a code"))
    }
}

/// The text followed by zeros. No code or candidate holds a zero byte, so two are equal only when their texts are.
fn padded(text: &str) -> Zeroizing<[u8; MAX_CANDIDATE_BYTES]> {
    let mut bytes = Zeroizing::new([0; MAX_CANDIDATE_BYTES]);
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

// === impl Candidate ===

impl Candidate {
    /// Takes what was typed, without ASCII blanks around it.
    ///
    /// Errors: `Invalid`, field `code`, when it is empty, longer than [`MAX_CANDIDATE_BYTES`], or holds a blank inside
    /// or anything else that is not printable ASCII. Full-width digits and those of other scripts are refused, never
    /// read as `0` to `9`. What is refused here can be no code, so it need not count as a failed check.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_CANDIDATE_BYTES {
            return Err(Error::invalid("code", "must be at most 64 bytes long"));
        }
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        if text.is_empty() {
            return Err(Error::invalid("code", "must not be empty"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid(
                "code",
                "must be printable ASCII characters without blanks between them, with 0 to 9 as the only digits",
            ));
        }
        Ok(Self(SecretString::new(Box::from(text))))
    }

    /// One that is no code: for what was typed where a surface has no answer but "wrong" for what cannot be read.
    pub fn hopeless() -> Self {
        Self(SecretString::new(Box::from("")))
    }

    /// The candidate itself. Only for the vendor that made the code.
    pub fn expose(&self) -> &SecretString {
        &self.0
    }

    /// By what a check of this candidate is known when it comes again: a keyed hash, which tells nobody the candidate
    /// and is another one for every verification and every idempotency key.
    pub fn fingerprint(&self, keys: &Keys, id: Id, idempotency_key: &str) -> Fingerprint {
        let candidate = self.0.expose_secret().as_bytes();
        keys.fingerprint(&[b"check", id.as_bytes().as_slice(), idempotency_key.as_bytes(), candidate])
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Candidate(***)")
    }
}

// === impl Alphabet ===

impl Alphabet {
    /// The union of the classes, in which each character counts once however often its class is named.
    ///
    /// `exclude_confusing` leaves out `0 O 1 l I`, which people misread for each other, but not from an alphabet without
    /// letters: where only digits can appear nobody types an `O`, and a fifth of the digits would be lost for nothing.
    ///
    /// Errors: `Invalid`, field `alphabet`, when no class is named.
    pub fn new(classes: &[Class], exclude_confusing: bool) -> Result<Self> {
        if classes.is_empty() {
            return Err(Error::invalid("alphabet", "must name at least one of digits, upper, lower and special"));
        }
        let letters = classes.iter().any(|class| matches!(class, Class::Upper | Class::Lower));
        let left_out: &[u8] = if exclude_confusing && letters { b"0O1lI" } else { b"" };
        let named = Class::ALL.into_iter().filter(|class| classes.contains(class));
        let characters = named.flat_map(Class::characters).filter(|c| !left_out.contains(c)).copied().collect();
        Ok(Self { characters })
    }

    /// How hard a code of `length` characters is to guess at once, in bits: 19.9 for six digits, the least that
    /// NIST SP 800-63B-4 §3.1.3.2 takes.
    pub fn entropy_bits(&self, length: usize) -> f64 {
        (self.characters.len() as f64).log2() * length as f64
    }

    /// All characters that a code may have.
    pub fn characters(&self) -> String {
        self.characters.iter().copied().map(char::from).collect()
    }

    /// The character that a random byte stands for. `None` for the bytes that would make the first ones more likely
    /// than the rest, that is for those after the last whole run of the alphabet.
    fn pick(&self, byte: u8) -> Option<char> {
        let size = self.characters.len();
        let whole_runs = 256 - 256 % size;
        let index = usize::from(byte);
        (index < whole_runs).then(|| char::from(self.characters[index % size]))
    }
}

/// Digits: what people expect, and what keypads and autofill take.
impl Default for Alphabet {
    fn default() -> Self {
        Self { characters: Class::Digits.characters().into() }
    }
}

// === impl Class ===

impl Class {
    pub const ALL: [Self; 4] = [Self::Digits, Self::Upper, Self::Lower, Self::Special];

    fn characters(self) -> &'static [u8] {
        match self {
            Self::Digits => b"0123456789",
            Self::Upper => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            Self::Lower => b"abcdefghijklmnopqrstuvwxyz",
            Self::Special => b"!#$%&?@",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::thread;

    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::error::Kind;
    use crate::random::OsRandom;

    /// The system's randomness, drawn a megabyte at a time: ten million codes would otherwise be mostly system calls.
    #[derive(Debug)]
    struct BufferedRandom(Mutex<(Vec<u8>, usize)>);

    impl BufferedRandom {
        fn new() -> Self {
            Self(Mutex::new((vec![0; 1 << 20], 1 << 20)))
        }
    }

    impl Random for BufferedRandom {
        fn fill(&self, bytes: &mut [u8]) {
            let (buffer, used) = &mut *self.0.lock().unwrap();
            if buffer.len() - *used < bytes.len() {
                OsRandom.fill(buffer);
                *used = 0;
            }
            bytes.copy_from_slice(&buffer[*used..*used + bytes.len()]);
            *used += bytes.len();
        }
    }

    /// Hands out the given bytes in turn, for ever.
    #[derive(Debug)]
    struct Scripted(Vec<u8>, Mutex<usize>);

    impl Random for Scripted {
        fn fill(&self, bytes: &mut [u8]) {
            let mut next = self.1.lock().unwrap();
            for byte in bytes {
                *byte = self.0[*next % self.0.len()];
                *next += 1;
            }
        }
    }

    fn every_alphabet() -> impl Iterator<Item = (Alphabet, Vec<Class>, bool)> {
        (1..32_usize)
            .map(|bits| {
                let exclude_confusing = bits & 16 != 0;
                let classes: Vec<_> = (0..4).filter(|bit| bits & (1 << bit) != 0).map(|bit| Class::ALL[bit]).collect();
                (classes, exclude_confusing)
            })
            .filter(|(classes, _)| !classes.is_empty())
            .map(|(classes, exclude)| (Alphabet::new(&classes, exclude).unwrap(), classes, exclude))
    }

    fn chi_square(counts: &[u64]) -> f64 {
        let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum()
    }

    /// How often each digit stood at each position of `codes` six-digit codes.
    fn count_digits(codes: usize) -> [[u64; 10]; 6] {
        let random = BufferedRandom::new();
        let alphabet = Alphabet::default();
        let mut counts = [[0; 10]; 6];
        for _ in 0..codes {
            let code = Code::generate(6, &alphabet, &random).unwrap();
            for (position, byte) in counts.iter_mut().zip(code.expose().as_bytes()) {
                position[usize::from(byte - b'0')] += 1;
            }
        }
        counts
    }

    #[test]
    fn ten_million_codes_are_uniform_at_every_position() {
        let [first, second] = thread::scope(|scope| {
            [(); 2].map(|()| scope.spawn(|| count_digits(5_000_000))).map(|half| half.join().unwrap())
        });
        for (position, (first, second)) in first.iter().zip(&second).enumerate() {
            let counts: Vec<_> = first.iter().zip(second).map(|(first, second)| first + second).collect();
            assert_eq!(counts.iter().sum::<u64>(), 10_000_000);
            // Nine degrees of freedom: a fair source exceeds 75 about once in 10^12 runs, one that takes bytes modulo
            // ten lies above 3,000.
            let statistic = chi_square(&counts);
            assert!(statistic < 75.0, "position {position}: {statistic}: {counts:?}");
        }
    }

    #[test]
    fn every_alphabet_picks_each_of_its_characters_from_equally_many_bytes() {
        for (alphabet, classes, exclude_confusing) in every_alphabet() {
            let mut counts = [0; 256];
            (0..=u8::MAX).filter_map(|byte| alphabet.pick(byte)).for_each(|c| counts[usize::from(c as u8)] += 1);
            let each = 256 / alphabet.characters.len();
            for character in 0..=u8::MAX {
                let letters = classes.contains(&Class::Upper) || classes.contains(&Class::Lower);
                let confusing = exclude_confusing && letters && b"0O1lI".contains(&character);
                let class = match character {
                    b'0'..=b'9' => Some(Class::Digits),
                    b'A'..=b'Z' => Some(Class::Upper),
                    b'a'..=b'z' => Some(Class::Lower),
                    b'!' | b'#' | b'$' | b'%' | b'&' | b'?' | b'@' => Some(Class::Special),
                    _ => None,
                };
                let wanted = class.is_some_and(|class| classes.contains(&class)) && !confusing;
                assert_eq!(counts[usize::from(character)], if wanted { each } else { 0 }, "{character} {classes:?}");
            }
        }
    }

    #[test]
    fn all_lengths_of_all_alphabets_can_be_drawn() {
        for (alphabet, ..) in every_alphabet() {
            for length in CODE_LENGTHS {
                let code = Code::generate(length, &alphabet, &OsRandom).unwrap();
                assert_eq!(code.expose().len(), length);
                assert!(code.expose().bytes().all(|byte| alphabet.characters.contains(&byte)));
                assert!(code.matches(&Candidate::parse(code.expose()).unwrap()));
            }
        }
        for length in [0, 3, 33, usize::MAX] {
            assert_eq!(Code::generate(length, &Alphabet::default(), &OsRandom).unwrap_err().kind(), Kind::Invalid);
        }
    }

    #[test]
    fn bytes_that_would_bias_are_drawn_again() {
        let draw = |bytes: &[u8], length| {
            let random = Scripted(bytes.to_vec(), Mutex::new(0));
            Code::generate(length, &Alphabet::default(), &random).unwrap().expose().to_owned()
        };
        assert_eq!(draw(&[0, 10, 249, 7], 4), "0097");
        // Eight bytes of which one serves, then another eight, until there are four characters.
        assert_eq!(draw(&[250, 251, 252, 253, 254, 255, 255, 3], 4), "3333");
    }

    #[test]
    fn confusing_characters_stay_where_there_are_no_letters() {
        assert_eq!(Alphabet::new(&[Class::Digits], true).unwrap(), Alphabet::default());
        assert_eq!(Alphabet::new(&[Class::Upper], true).unwrap().characters.len(), 24);
        assert_eq!(Alphabet::new(&[Class::Digits, Class::Upper, Class::Digits], true).unwrap().characters.len(), 32);
        assert_eq!(Alphabet::new(&Class::ALL, false).unwrap().characters.len(), 69);
        assert_eq!(Alphabet::new(&[], false).unwrap_err().violations()[0].field, "alphabet");
    }

    #[test]
    fn entropy_grows_with_length_and_alphabet() {
        assert!((Alphabet::default().entropy_bits(6) - 19.93).abs() < 0.01);
        assert!((Alphabet::new(&[Class::Digits, Class::Upper], true).unwrap().entropy_bits(8) - 40.0).abs() < 1e-9);
    }

    #[test]
    fn a_number_begins_with_no_zero_and_is_otherwise_as_likely_as_any() {
        let mut first = [0_u32; 10];
        let mut last = [0_u32; 10];
        for _ in 0..20_000 {
            let code = Code::generate_number(6, &Alphabet::default(), &OsRandom).unwrap();
            let number: u32 = code.expose().parse().unwrap();
            assert!((100_000..=999_999).contains(&number) && code.expose().len() == 6);
            first[(number / 100_000) as usize] += 1;
            last[(number % 10) as usize] += 1;
        }
        assert_eq!(first[0], 0);
        // Each is off by more than six standard deviations once in a billion runs.
        for count in &first[1..] {
            assert!((1_960..=2_490).contains(count), "{first:?}");
        }
        for count in last {
            assert!((1_740..=2_260).contains(&count), "{last:?}");
        }
    }

    #[test]
    fn codes_from_the_system_differ() {
        let draw = |_| Code::generate(16, &Alphabet::default(), &OsRandom).unwrap().expose().to_owned();
        assert_eq!((0..1_000).map(draw).collect::<BTreeSet<_>>().len(), 1_000);
    }

    #[test]
    fn only_the_exact_characters_match() {
        let code = Code::custom("012345").unwrap();
        for right in ["012345", " 012345", "012345\r\n", "\t012345 "] {
            assert!(code.matches(&Candidate::parse(right).unwrap()), "{right:?}");
        }
        for wrong in ["12345", "+12345", "1.2345e4", "0123456", "01234", "0012345", "012346", "0", "null", "[]", "{}"] {
            assert!(!code.matches(&Candidate::parse(wrong).unwrap()), "{wrong:?}");
        }
        let letters = Code::custom("aBcD").unwrap();
        assert!(letters.matches(&Candidate::parse("aBcD").unwrap()));
        assert!(!letters.matches(&Candidate::parse("abcd").unwrap()));
    }

    #[test]
    fn what_cannot_be_a_code_is_refused_and_not_repeated() {
        let megabyte = "012345".repeat(1 << 18);
        let refused =
            ["", " ", "０１２３４５", "٠١٢٣٤٥", "०१२३४५", "012\u{200b}345", "012\u{0}345", "012 345", "\u{a0}012345"];
        for text in refused.into_iter().chain([megabyte.as_str(), &"1".repeat(65)]) {
            let error = Candidate::parse(text).unwrap_err();
            assert_eq!((error.kind(), error.violations()[0].field.as_str()), (Kind::Invalid, "code"));
            assert!(!format!("{error:?}").contains("345"));
        }
        assert!(Candidate::parse(&"1".repeat(64)).is_ok());
    }

    #[test]
    fn custom_codes_have_4_to_32_printable_characters() {
        for good in ["1234", "!#$%&?@~", &"x".repeat(32)] {
            assert_eq!(Code::custom(good).unwrap().expose(), good);
        }
        for bad in ["", "123", &"x".repeat(33), "12 34", " 1234", "1234\n", "１２３４", "éééé", "12\u{7f}4"] {
            assert_eq!(Code::custom(bad).unwrap_err().violations()[0].field, "custom_code", "{bad:?}");
        }
    }

    #[test]
    fn neither_codes_nor_candidates_show() {
        assert_eq!(format!("{:?}", Code::custom("012345").unwrap()), "Code(***)");
        assert_eq!(format!("{:?}", Candidate::parse("012345").unwrap()), "Candidate(***)");
    }

    #[test]
    fn codes_survive_their_record_and_nothing_else_reads_as_one() {
        let bytes = minicbor::to_vec(Code::custom("012345").unwrap()).unwrap();
        assert_eq!(minicbor::decode::<Code>(&bytes).unwrap().expose(), "012345");
        for other in [minicbor::to_vec(12_345).unwrap(), minicbor::to_vec("12").unwrap()] {
            assert!(minicbor::decode::<Code>(&other).is_err());
        }
    }

    proptest! {
        #[test]
        fn matching_is_equality(code in "[!-~]{4,32}", other in "[!-~]{1,64}") {
            let parsed = Code::custom(&code).unwrap();
            prop_assert!(parsed.matches(&Candidate::parse(&code).unwrap()));
            prop_assert_eq!(parsed.matches(&Candidate::parse(&other).unwrap()), code == other);
        }

        #[test]
        fn parsing_a_candidate_never_panics(text in any::<String>()) {
            drop(Candidate::parse(&text));
        }
    }
}
