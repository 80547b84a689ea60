//! Templates as operators write them and texts as callers fill them, in parts between `%%`: source, brand, variables one
//! `NAME=VALUE` a line, locale, code, domain of the last line.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::ExposeSecret;
use verigate::clock::Timestamp;
use verigate::error::Kind as Fault;
use verigate::messaging::code_text::{CodeText, Part};
use verigate::messaging::last_line::{LastLine, find_android_hash, parse_web_otp};
use verigate::messaging::template::{CodeFacts, Kind, TemplateConfig, Templates, Wording};
use verigate::messaging::template_source::Source;
use verigate::verification::code::Code;

use crate::targets::parts;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parts = parts(text);
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    drop(Source::read(part(0)));
    filled(part(0), part(4));
    let variables: BTreeMap<String, String> = part(2)
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.replace("\\n", "\n")))
        .collect();
    let given = |text: &'static str| part(if text == "brand" { 1 } else { 3 });
    let (brand, locale) =
        (Some(given("brand")).filter(|b| !b.is_empty()), Some(given("locale")).filter(|l| !l.is_empty()));
    for kind in [Kind::Verification, Kind::Message] {
        let config = TemplateConfig {
            name: "fuzzed".to_owned(),
            tenant: None,
            locale: "en".to_owned(),
            kind,
            text: part(0).to_owned(),
        };
        let Ok(templates) = Templates::new(&[config]) else { continue };
        let tenant = "acme".parse().unwrap();
        for template in ["fuzzed", "default"] {
            let wording = Wording { tenant: &tenant, template, locale, variables: &variables, brand };
            render(&templates, &wording, kind, part(4), part(5));
        }
    }
}

fn render(templates: &Templates, wording: &Wording<'_>, kind: Kind, code: &str, domain: &str) {
    if kind == Kind::Message {
        if let Err(error) = templates.render_text(wording) {
            assert_ne!(error.kind(), Fault::Internal, "a template that was accepted is at fault: {error:?}");
        }
        return;
    }
    let Ok(code) = Code::custom(code) else { return };
    let facts = CodeFacts { code: code.expose(), lifetime: Duration::from_secs(300), scope: "login" };
    let checked = templates.check_verification(wording);
    match templates.render_verification(wording, &facts) {
        Ok(text) => {
            assert!(text.expose_secret().contains(code.expose()), "a text without its code");
            last_line(text, code.expose(), domain);
        }
        Err(error) => {
            assert_ne!(error.kind(), Fault::Internal, "a template that was accepted is at fault: {error:?}");
            assert!(checked.is_err(), "what passed the check does not render: {error:?}");
        }
    }
}

/// Whatever the text says, phones read our last line.
fn last_line(text: secrecy::SecretString, code: &str, domain: &str) {
    let Ok(line) = LastLine::parse(Some(domain), Some("FA+9qCX9VSu")) else { return };
    match line.append(text.clone(), code) {
        Ok(whole) => {
            let whole = whole.expose_secret();
            assert!(whole.starts_with(text.expose_secret()), "the text was changed");
            assert_eq!(parse_web_otp(whole), Some((domain, code)));
            assert_eq!(find_android_hash(whole), Some("FA+9qCX9VSu"));
        }
        Err(error) => assert_ne!(error.kind(), Fault::Internal, "what templates let through misleads a browser"),
    }
}

/// The other kind of text, with marks of its own.
fn filled(text: &str, code: &str) {
    let marks = [("#otp#", Part::Code), ("#duration#", Part::Minutes), ("#ends#", Part::EndsAt)];
    let split = CodeText::split(text, &marks);
    let has_code = split.contains(&Part::Code);
    if let Ok(words) = CodeText::new(split) {
        let filled = words.fill(code, Duration::from_secs(61), Timestamp::from_millis(1_795_324_560_125));
        assert!(filled.expose_secret().contains(code), "a text without its code");
    } else {
        assert!(!has_code || text.chars().count() > 100 || text.chars().any(char::is_control));
    }
}
