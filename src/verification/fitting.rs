//! What a start may ask of codes that vendors make. Pure.
//!
//! What the caller asked for is made as asked, or refused with the range of what can be; what only the configuration says
//! gives way to the nearest that the vendors can. How long a code lasts and how many checks it takes stay with us: a
//! vendor may keep its code longer than we accept it, but must not end it sooner.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::messaging::errand::CodeWish;
use crate::vendor::CodeLimits;
use crate::verification::code::Class;
use crate::verification::policy::{LIFETIME, Policy};
use crate::verification::request::NewVerification;
use crate::violations::Violations;

/// What comes of a wish at the vendors of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    pub wish: CodeWish,
    /// How long the code is accepted.
    pub lifetime: Duration,
}

/// What vendors with these limits can do of a start. `limits` is not empty.
///
/// Errors: `Invalid` that names every field that none of them can do, and what they can.
pub fn fit(new: &NewVerification, policy: &Policy, limits: &[&CodeLimits]) -> Result<Fit> {
    let mut found = Violations::default();
    let mut no_place = |field: &str, is_set: bool, why: &str| {
        if is_set {
            found.add(field, format!("must be left out: on this route vendors make the code, and {why}"));
        }
    };
    no_place("custom_code", new.custom_code.is_some(), "take none");
    no_place("return_code", new.return_code, "nobody else knows it");
    no_place("web_otp_domain", new.web_otp_domain.is_some(), "write it once");
    let able = Able { new, limits };
    let in_our_words = new.android_app_hash.is_some();
    if in_our_words && !limits.iter().any(|limits| limits.template) {
        no_place("android_app_hash", true, "choose the words");
    }
    if new.policy.alphabet.as_ref().is_some_and(|asked| asked.iter().any(|class| *class != Class::Digits)) {
        found.add("policy.alphabet", "must be DIGITS alone: on this route vendors make the code".to_owned());
    }
    if !limits.iter().any(|limits| able.of_length(limits)) {
        found.add(
            "policy.length",
            format!("must be {} characters, which the vendors of this route can", able.lengths()),
        );
    }
    if !limits.iter().any(|limits| able.of_lifetime(limits)) {
        let (least, most) = (LIFETIME.start().as_secs(), able.longest().as_secs());
        let can = "as long as vendors of this route keep a code";
        found.add("policy.lifetime", format!("must be {least} to {most} seconds, {can}"));
    }
    if !found.0.is_empty() {
        return Err(Error::invalid_fields(found.0));
    }
    let fitting = |limits: &&&CodeLimits| {
        able.of_length(limits) && able.of_lifetime(limits) && (limits.template || !in_our_words)
    };
    let fitting: Vec<_> = limits.iter().filter(fitting).collect();
    if fitting.is_empty() {
        let message =
            "must fit the others: no vendor of this route can do length, lifetime and android_app_hash at once";
        return Err(Error::invalid("policy", message));
    }
    let length = fitting.iter().fold(policy.length, |length, limits| limits.length_for(length));
    let lasting = fitting.iter().map(|limits| *limits.lifetimes.end()).min().unwrap_or(policy.lifetime);
    let wish = CodeWish {
        length: new.policy.length.unwrap_or(length),
        just_this_length: new.policy.length.is_some(),
        all_of_its_time: new.policy.lifetime.is_some(),
        in_our_words,
    };
    Ok(Fit { wish, lifetime: new.policy.lifetime.unwrap_or(policy.lifetime.min(lasting)) })
}

/// Who can do what was asked for.
struct Able<'a> {
    new: &'a NewVerification,
    limits: &'a [&'a CodeLimits],
}

impl Able<'_> {
    fn of_length(&self, limits: &CodeLimits) -> bool {
        self.new.policy.length.is_none_or(|length| limits.lengths.contains(&length))
    }

    fn of_lifetime(&self, limits: &CodeLimits) -> bool {
        self.new.policy.lifetime.is_none_or(|lifetime| lifetime <= *limits.lifetimes.end())
    }

    /// Such as `6 or 4 to 8`.
    fn lengths(&self) -> String {
        let mut told = Vec::new();
        for limits in self.limits {
            let (least, most) = (limits.lengths.start(), limits.lengths.end());
            let range = if least == most { least.to_string() } else { format!("{least} to {most}") };
            if !told.contains(&range) {
                told.push(range);
            }
        }
        told.join(" or ")
    }

    fn longest(&self) -> Duration {
        self.limits.iter().map(|limits| *limits.lifetimes.end()).max().unwrap_or_default()
    }
}
