//! Every parser of bytes from outside, each with what must hold whatever it is given.
//!
//! A target takes any bytes and panics where a promise is broken. libFuzzer runs it by `fuzz/run`, and the test
//! `fuzz_corpus` runs it over every input that is kept in `fuzz/corpus`, so both mount this file under the same name.

mod answer;
mod auth;
mod calls;
mod code;
mod config;
mod filter;
mod house;
mod journal;
mod keyring;
mod page;
mod receipt;
mod recipient;
mod record;
mod reference;
mod segment;
mod template;
mod url;
mod vendors;

/// Breaks a promise, or does not.
pub(crate) type Target = fn(&[u8]);

/// All of them, by the names of their programs and of their folders of inputs.
pub(crate) const ALL: [(&str, Target); 20] = [
    ("answer", answer::run),
    ("auth", auth::run),
    ("code", code::run),
    ("config", config::run),
    ("esms", calls::esms),
    ("filter", filter::run),
    ("hasun", calls::hasun),
    ("journal", journal::run),
    ("keyring", keyring::run),
    ("native", calls::native),
    ("octopush", calls::octopush),
    ("page", page::run),
    ("receipt", receipt::run),
    ("recipient", recipient::run),
    ("record", record::run),
    ("reference", reference::run),
    ("segment", segment::run),
    ("simpu", calls::simpu),
    ("template", template::run),
    ("url", url::run),
];

/// The first byte as a choice of `count`, told by a letter in inputs that people write, and the rest.
pub(crate) fn choose(data: &[u8], count: usize) -> Option<(usize, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((usize::from(first.wrapping_sub(b'a')) % count, rest))
}

/// The parts of a text between lines that hold nothing but `%%`.
pub(crate) fn parts(text: &str) -> Vec<&str> {
    text.split("\n%%\n").collect()
}
