//! Templates: the words around a code, or of a whole message, in the reader's language.
//!
//! Holds the built-in texts and the configured ones, chooses among them, and renders; does not know how long an SMS may
//! be. A rendered text is as secret as the code in it, so it is written into a buffer that never moves and is wiped.
//!
//! Which text is taken: first whose, then in which language. Whoever has a text of the wanted name comes before all
//! others, in this order: the tenant, the configuration for all tenants, we ourselves. Among that one's texts the
//! language asked for is looked up with its broader ones (`zh-hant-tw`, `zh-hant`, `zh`), and failing that English, and
//! failing that the text declared first. So a tenant's own text in another language goes before ours in the right one:
//! what a tenant may send is often what was registered with carriers, word for word, and anything else is filtered on
//! the way; its variables are its own, so that a request would be right or wrong by the reader's language; and a code
//! can be read in any language. Who wants ours for a language configures it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use minijinja::value::{Object, ObjectRepr, Value};
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::error::{Error, Result, Violation};
use crate::id::TenantName;
use crate::messaging::locale::Locale;
use crate::messaging::scratch::Scratch;
use crate::messaging::template_source::{Source, line_of, misread_at};
use crate::messaging::variables::{self, breaks_line, marks_line};
use crate::violations::Violations;

/// The template of a verification that asks for no other.
pub const DEFAULT: &str = "default";

/// Longest brand in characters.
pub const MAX_BRAND_CHARACTERS: usize = 20;

/// Longest name of a template in characters.
const MAX_NAME: usize = 40;

/// The locale that every built-in template has, and that stands in for others where it is declared.
const FALLBACK_LOCALE: &str = "en";

/// Longest source of a template in bytes.
const MAX_SOURCE_BYTES: usize = 2_048;

/// Longest rendered text in bytes: room for ten segments of SMS in any script.
const MAX_TEXT_BYTES: usize = 3_072;

/// Name, locale, source.
///
/// In each language one segment holds the text for a lifetime of up to 9,999 minutes: in GSM-7 with the longest code
/// that an alphabet draws and the longest brand, in UCS-2 with a code of 8 characters and no brand. Tamil spends all of
/// it.
const BUILTIN: [(&str, &str, &str); 6] = [
    (DEFAULT, "en", include_str!("templates/default/en.txt")),
    (DEFAULT, "fr", include_str!("templates/default/fr.txt")),
    (DEFAULT, "ms", include_str!("templates/default/ms.txt")),
    (DEFAULT, "si", include_str!("templates/default/si.txt")),
    (DEFAULT, "ta", include_str!("templates/default/ta.txt")),
    (DEFAULT, "zh", include_str!("templates/default/zh.txt")),
];

/// The longest that a verification can put into a text.
const LONGEST: CodeFacts<'_> = CodeFacts {
    code: "WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW",
    lifetime: Duration::from_secs(9_999_999 * 60),
    scope: "WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW",
};

/// One `[[templates]]` entry: one text of a template.
#[derive(Debug, Clone, Deserialize)]
pub struct TemplateConfig {
    /// 1 to 40 of a-z, 0-9, '-' and '_'. All texts of one name, kind and tenant are one template.
    pub name: String,
    /// Whose it is; without, everybody's.
    #[serde(default)]
    pub tenant: Option<TenantName>,
    /// The language that it is in, as a BCP 47 tag.
    pub locale: String,
    #[serde(default)]
    pub kind: Kind,
    pub text: String,
}

/// What a template is for. Each kind has names of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Carries a code.
    #[default]
    Verification,
    /// Carries no code.
    Message,
}

/// The text that a caller asks for, and what the caller puts into it.
#[derive(Clone, Copy)]
pub struct Wording<'a> {
    pub tenant: &'a TenantName,
    /// The template's name.
    pub template: &'a str,
    /// A language tag, the caller's own or that of the recipient's country; without, the template's own choice.
    pub locale: Option<&'a str>,
    /// A value for each variable that the template uses beside ours, and no others.
    pub variables: &'a BTreeMap<String, String>,
    /// What the tenant calls itself: 1 to [`MAX_BRAND_CHARACTERS`] characters on one line.
    pub brand: Option<&'a str>,
}

/// What a text tells of a verification.
#[derive(Clone, Copy)]
pub struct CodeFacts<'a> {
    pub code: &'a str,
    /// Told in whole minutes, rounded up, at least 1.
    pub lifetime: Duration,
    pub scope: &'a str,
}

/// Every template that can be rendered.
#[derive(Debug)]
pub struct Templates {
    /// Sources by the keys of the texts.
    environment: Environment<'static>,
    own: BTreeMap<TenantName, Vec<Template>>,
    shared: Vec<Template>,
    builtin: Vec<Template>,
}

/// A template in all its languages.
#[derive(Debug)]
struct Template {
    kind: Kind,
    name: String,
    /// What callers give: the same in every language, or a request would be right or wrong by its locale.
    variables: BTreeSet<String>,
    /// In the order of their declaration. Not empty.
    texts: Vec<Text>,
}

#[derive(Debug)]
struct Text {
    locale: Locale,
    /// Where the environment keeps its source.
    key: String,
}

/// What the engine finds when it looks for a variable.
struct Filling {
    code: Option<Value>,
    minutes: Option<Value>,
    scope: Option<Value>,
    /// Empty when there is none: then `{% if brand %}` does not hold.
    brand: Value,
    given: Vec<(Box<str>, Value)>,
}

/// Why there is no text.
enum Unwritten {
    TooLong,
    Failed(ErrorKind),
}

/// Lets the engine write a code into the text without keeping a copy of it.
#[derive(Debug)]
struct SecretValue(SecretString);

// === impl Templates ===

impl Templates {
    /// The templates that are compiled in.
    ///
    /// Errors: `Internal` when one of them is not right, which a test rules out.
    pub fn builtin() -> Result<Self> {
        // No filters, tests, functions or globals; no markup, so no escaping.
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let mut templates = Self { environment, own: BTreeMap::new(), shared: Vec::new(), builtin: Vec::new() };
        for (name, locale, source) in BUILTIN {
            let key = format!("{name}/{locale}");
            let locale = Locale::parse(locale)?;
            let source = templates.compile(&key, Kind::Verification, source).map_err(Error::internal)?;
            let variables = source.callers_variables();
            insert(&mut templates.builtin, Kind::Verification, name, variables, Text { locale, key })
                .map_err(|clash| Error::internal(clash.description))?;
        }
        Ok(templates)
    }

    /// Those that are compiled in, and the configured ones before them.
    ///
    /// Errors: `Invalid` with all that is wrong, by paths such as `templates[0].text`.
    pub fn new(configured: &[TemplateConfig]) -> Result<Self> {
        let mut templates = Self::builtin()?;
        let mut found = Violations::default();
        for (index, config) in configured.iter().enumerate() {
            found.nest(&format!("templates[{index}]"), templates.add(index, config));
        }
        if found.0.is_empty() { Ok(templates) } else { Err(Error::invalid_fields(found.0)) }
    }

    /// The text that carries a code to a person.
    ///
    /// Errors: `Invalid`, fields `template`, `locale`, `brand`, `variables` and `variables.NAME`; `Internal` when the
    /// template is at fault.
    pub fn render_verification(&self, wording: &Wording<'_>, facts: &CodeFacts<'_>) -> Result<SecretString> {
        let template = self.find(Kind::Verification, Some(wording.tenant), wording.template)?;
        self.render(template, wording, Some(facts))
    }

    /// Whether a verification can be worded so, whatever its code and lifetime: what passes here renders later, too.
    ///
    /// Errors: as for [`Templates::render_verification`].
    pub fn check_verification(&self, wording: &Wording<'_>) -> Result<()> {
        if wording.variables.is_empty() {
            // Whether it can be written was found out when its source was read.
            let template = self.find(Kind::Verification, Some(wording.tenant), wording.template)?;
            return choose(template, wording).map(drop);
        }
        self.render_verification(wording, &LONGEST).map(drop)
    }

    /// The text of a message without a code.
    ///
    /// Errors: as for [`Templates::render_verification`].
    pub fn render_text(&self, wording: &Wording<'_>) -> Result<SecretString> {
        let template = self.find(Kind::Message, Some(wording.tenant), wording.template)?;
        self.render(template, wording, None)
    }

    /// The template of this name that comes first for the tenant.
    fn find(&self, kind: Kind, tenant: Option<&TenantName>, name: &str) -> Result<&Template> {
        let own = tenant.and_then(|tenant| self.own.get(tenant)).map_or(&[][..], Vec::as_slice);
        let of_kind = own.iter().chain(&self.shared).chain(&self.builtin).filter(|template| template.kind == kind);
        if let Some(found) = of_kind.clone().find(|template| template.name == name) {
            return Ok(found);
        }
        // Another tenant's names are nobody's business.
        let known: BTreeSet<_> = of_kind.map(|template| template.name.as_str()).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        let wanted =
            if known.is_empty() { "there is none for messages".to_owned() } else { format!("must be one of: {known}") };
        Err(Error::invalid("template", wanted))
    }

    /// `facts`: for templates that carry a code.
    fn render(
        &self,
        template: &Template,
        wording: &Wording<'_>,
        facts: Option<&CodeFacts<'_>>,
    ) -> Result<SecretString> {
        let text = choose(template, wording)?;
        let Wording { variables: given, brand, .. } = *wording;
        self.write(&text.key, Filling::new(given, brand, facts)).map_err(|error| match error {
            Unwritten::TooLong if !given.is_empty() => {
                Error::invalid("variables", "must be shorter: the text gets too long")
            }
            Unwritten::TooLong => Error::internal(format!("template {}: the text gets too long", text.key)),
            Unwritten::Failed(kind) => Error::internal(format!("template {}: {kind}", text.key)),
        })
    }

    fn write(&self, key: &str, filling: Filling) -> Result<SecretString, Unwritten> {
        // Only the kind of an error is kept: its detail may tell a value.
        let failed = |error: minijinja::Error| match error.kind() {
            ErrorKind::WriteFailure => Unwritten::TooLong,
            kind => Unwritten::Failed(kind),
        };
        let template = self.environment.get_template(key).map_err(failed)?;
        let mut text = Scratch::<MAX_TEXT_BYTES>::new();
        template.render_captured_to(Value::from_object(filling), &mut text).map_err(failed)?;
        let text = str::from_utf8(text.written()).map_err(|_| Unwritten::Failed(ErrorKind::BadSerialization))?;
        Ok(SecretString::new(Box::from(text)))
    }

    /// Takes one configured text. What is wrong is told by key.
    fn add(&mut self, index: usize, config: &TemplateConfig) -> Vec<Violation> {
        let mut found = Violations::default();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if !(1..=MAX_NAME).contains(&config.name.len()) || !config.name.chars().all(plain) {
            found.add("name", format!("must be 1 to {MAX_NAME} of a-z, 0-9, '-' and '_'"));
        }
        let locale = Locale::parse(&config.locale).map_err(|error| found.0.extend_from_slice(error.violations()));
        let key = format!("templates[{index}]");
        let source = self.compile(&key, config.kind, &config.text).map_err(|wrong| found.add("text", wrong));
        if let (Ok(locale), Ok(source), true) = (locale, source, found.0.is_empty()) {
            let among = match &config.tenant {
                Some(tenant) => self.own.entry(tenant.clone()).or_default(),
                None => &mut self.shared,
            };
            let text = Text { locale, key };
            if let Err(clash) = insert(among, config.kind, &config.name, source.callers_variables(), text) {
                found.0.push(clash);
            }
        }
        found.0
    }

    /// Gives a source to the engine, unless something is wrong with it. What passes here renders whatever its values
    /// are, but for the length.
    fn compile(&mut self, key: &str, kind: Kind, source: &str) -> Result<Source, String> {
        let text = if source.contains('\r') { Cow::from(source.replace("\r\n", "\n")) } else { Cow::from(source) };
        let trimmed = text.trim();
        let begins_at = line_of(&text, text.len() - text.trim_start().len());
        let at_line = |line: usize, wrong: &str| match text.trim_end().contains('\n') {
            true => format!("line {} of the text: {wrong}", begins_at + line - 1),
            false => wrong.to_owned(),
        };
        if trimmed.is_empty() || trimmed.len() > MAX_SOURCE_BYTES {
            return Err(format!("must be 1 to {MAX_SOURCE_BYTES} bytes"));
        }
        if let Some(at) = trimmed.find(|c: char| c.is_control() && c != '\n') {
            return Err(at_line(line_of(trimmed, at), "control characters other than line breaks cannot be sent"));
        }
        self.environment.add_template_owned(key.to_owned(), trimmed.to_owned()).map_err(|error| {
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            at_line(error.line().unwrap_or(1), &detail)
        })?;
        let read = Source::read(trimmed).map_err(|flaw| at_line(flaw.line, &flaw.message))?;
        if let Some(at) = misread_at(trimmed, kind == Kind::Verification) {
            return Err(at_line(
                line_of(trimmed, at),
                "phones may take this @ for a mark of theirs; the line @domain #code is added on request",
            ));
        }
        check_kind(kind, &read)?;
        let facts = Some(&LONGEST).filter(|_| kind == Kind::Verification);
        // In as many bytes as a brand can have.
        let longest_brand = "𠮷".repeat(MAX_BRAND_CHARACTERS);
        let blank = read.callers_variables().into_iter().map(|name| (name, String::new())).collect();
        for brand in [Some(longest_brand.as_str()), None] {
            self.write(key, Filling::new(&blank, brand, facts)).map_err(|error| match error {
                Unwritten::TooLong => {
                    "must be shorter: with a long code and brand nothing of this length can be sent".to_owned()
                }
                Unwritten::Failed(kind) => format!("cannot be rendered: {kind}"),
            })?;
        }
        Ok(read)
    }
}

/// The text of a template in the language asked for, if all is right that goes into it.
fn choose<'a>(template: &'a Template, wording: &Wording<'_>) -> Result<&'a Text> {
    let mut wrong = variables::check(&template.variables, wording.variables);
    wrong.extend(wording.brand.and_then(check_brand));
    let locale = wording.locale.map(Locale::parse).transpose().unwrap_or_else(|error| {
        wrong.extend_from_slice(error.violations());
        None
    });
    if !wrong.is_empty() {
        return Err(Error::invalid_fields(wrong));
    }
    let text = template.text(locale.as_ref());
    text.ok_or_else(|| Error::internal(format!("template {} has no text", template.name)))
}

/// What a template of this kind must do, and what it cannot.
fn check_kind(kind: Kind, source: &Source) -> Result<(), String> {
    match kind {
        Kind::Verification if !source.always_writes_code => {
            Err("must hold {{ code }} in every case; a text without one is of kind \"message\"".to_owned())
        }
        // Whoever chooses a value could choose an app's hash, and have the phone give that app the code.
        Kind::Verification if source.may_end_with_callers_value => {
            Err("must not end with a variable, for phones look for marks at the end; a full stop will do".to_owned())
        }
        Kind::Verification => Ok(()),
        Kind::Message => match ["code", "minutes", "scope"].into_iter().find(|name| source.variables.contains(*name)) {
            Some(name) => Err(format!("must not use {name}: a text of kind \"message\" belongs to no verification")),
            None => Ok(()),
        },
    }
}

/// Adds a text to the template that it belongs to.
fn insert(
    among: &mut Vec<Template>,
    kind: Kind,
    name: &str,
    variables: BTreeSet<String>,
    text: Text,
) -> Result<(), Violation> {
    let Some(template) = among.iter_mut().find(|template| template.kind == kind && template.name == name) else {
        among.push(Template { kind, name: name.to_owned(), variables, texts: vec![text] });
        return Ok(());
    };
    let clash = |field: &str, description: String| Err(Violation { field: field.to_owned(), description });
    if let Some(same) = template.texts.iter().find(|other| other.locale == text.locale) {
        let locale = text.locale.as_str();
        return clash(
            "locale",
            format!("must be unique for name, kind and tenant, but is {locale:?} like {}", same.key),
        );
    }
    if template.variables != variables {
        let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let first = template.texts.first().map_or("", |text| text.key.as_str());
        let (theirs, ours) = (list(&template.variables), list(&variables));
        let wanted = "must use the same variables in every language";
        return clash("text", format!("{wanted}: those of {first} are [{theirs}], these are [{ours}]"));
    }
    template.texts.push(text);
    Ok(())
}

/// What is wrong with a brand, if anything: the lines of a message are ours.
pub fn check_brand(brand: &str) -> Option<Violation> {
    let fits = brand.chars().count() <= MAX_BRAND_CHARACTERS && !brand.trim().is_empty();
    (!fits || brand.contains(breaks_line) || marks_line(brand)).then(|| Violation {
        field: "brand".to_owned(),
        description: format!(
            "must be 1 to {MAX_BRAND_CHARACTERS} characters on one line, without control or invisible characters, and \
             no word beginning with @"
        ),
    })
}

fn whole_minutes(lifetime: Duration) -> u64 {
    let begun = u64::from(lifetime.subsec_nanos() > 0);
    lifetime.as_secs().saturating_add(begun).div_ceil(60).max(1)
}

// === impl Template ===

impl Template {
    fn text(&self, locale: Option<&Locale>) -> Option<&Text> {
        let find = |tag: &str| self.texts.iter().find(|text| text.locale.as_str() == tag);
        let asked = locale.and_then(|locale| locale.and_broader().find_map(find));
        asked.or_else(|| find(FALLBACK_LOCALE)).or_else(|| self.texts.first())
    }
}

// === impl Filling ===

impl Filling {
    fn new(given: &BTreeMap<String, String>, brand: Option<&str>, facts: Option<&CodeFacts<'_>>) -> Self {
        Self {
            code: facts.map(|facts| Value::from_object(SecretValue(SecretString::new(Box::from(facts.code))))),
            minutes: facts.map(|facts| Value::from(whole_minutes(facts.lifetime))),
            scope: facts.map(|facts| Value::from(facts.scope)),
            brand: Value::from(brand.unwrap_or_default()),
            given: given.iter().map(|(name, value)| (Box::from(name.as_str()), Value::from(value.as_str()))).collect(),
        }
    }
}

impl Object for Filling {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        match name.as_str()? {
            "code" => self.code.clone(),
            "minutes" => self.minutes.clone(),
            "scope" => self.scope.clone(),
            "brand" => Some(self.brand.clone()),
            name => self.given.iter().find(|(given, _)| **given == *name).map(|(_, value)| value.clone()),
        }
    }
}

impl fmt::Debug for Filling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filling")
    }
}

// === impl SecretValue ===

impl Object for SecretValue {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.expose_secret())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error;
    use crate::segment::{Encoding, measure};

    impl Templates {
        /// A text for nobody in particular, without variables.
        fn render_code(
            &self,
            template: &str,
            locale: Option<&str>,
            code: &str,
            lifetime: Duration,
            brand: Option<&str>,
        ) -> Result<SecretString> {
            let (tenant, variables) = ("nobody".parse()?, BTreeMap::new());
            let wording = Wording { tenant: &tenant, template, locale, variables: &variables, brand };
            self.render_verification(&wording, &CodeFacts { code, lifetime, scope: "" })
        }
    }

    const TEN_MINUTES: Duration = Duration::from_secs(600);

    fn render(locale: Option<&str>, code: &str, lifetime: Duration, brand: Option<&str>) -> Result<String> {
        let text = Templates::builtin()?.render_code(DEFAULT, locale, code, lifetime, brand)?;
        Ok(text.expose_secret().to_owned())
    }

    #[test]
    fn each_language_reads_as_written() {
        for (locale, expected) in [
            ("en", "Your verification code is 012345. It is valid for 10 minutes. Do not share it with anyone."),
            ("fr", "Votre code de vérification est 012345. Il est valable 10 minutes. Ne le communiquez à personne."),
            (
                "ms",
                "Kod pengesahan anda ialah 012345. Kod ini sah selama 10 minit. Jangan kongsikannya dengan sesiapa.",
            ),
            ("si", "ඔබේ සත්\u{200d}යාපන කේතය 012345. විනාඩි 10ක් වලංගුයි. කිසිවෙකුට නොදෙන්න."),
            ("ta", "சரிபார்ப்புக் குறியீடு 012345. 10 நிமிடம் செல்லும். பகிர வேண்டாம்."),
            ("zh", "您的验证码是012345，10分钟内有效，请勿告诉他人。"),
        ] {
            assert_eq!(render(Some(locale), "012345", TEN_MINUTES, None).unwrap(), expected);
        }
    }

    #[test]
    fn a_brand_stands_where_the_language_puts_it() {
        for (locale, expected) in [
            ("en", "Your Acme verification code is 1234."),
            ("fr", "Votre code de vérification Acme est 1234."),
            ("ms", "Kod pengesahan Acme anda ialah 1234."),
            ("si", "ඔබේ Acme සත්\u{200d}යාපන කේතය 1234."),
            ("ta", "Acme சரிபார்ப்புக் குறியீடு 1234."),
            ("zh", "【Acme】您的验证码是1234，"),
        ] {
            assert!(render(Some(locale), "1234", TEN_MINUTES, Some("Acme")).unwrap().starts_with(expected), "{locale}");
        }
    }

    #[test]
    fn every_text_fits_one_segment() {
        let longest = Duration::from_secs(9_999 * 60);
        for (_, locale, _) in BUILTIN {
            let text = match locale {
                "en" | "fr" | "ms" => render(Some(locale), &"8".repeat(32), longest, Some(&"W".repeat(20))),
                _ => render(Some(locale), "88888888", longest, None),
            };
            let measured = measure(&text.unwrap());
            let encoding = if matches!(locale, "en" | "fr" | "ms") { Encoding::Gsm7 } else { Encoding::Ucs2 };
            assert_eq!((measured.encoding, measured.segments), (encoding, 1), "{locale}: {measured:?}");
        }
    }

    #[test]
    fn a_locale_falls_back_from_its_end_and_then_to_english() {
        let start = |locale| render(locale, "1234", TEN_MINUTES, None).unwrap().chars().next().unwrap();
        for locale in ["zh", "zh-Hant-TW", "ZH_hans_CN", "zh-x-private"] {
            assert_eq!(start(Some(locale)), '您', "{locale}");
        }
        for locale in [None, Some("en-GB"), Some("de"), Some("de-CH-1996"), Some("zhx")] {
            assert_eq!(start(locale), 'Y', "{locale:?}");
        }
    }

    #[test]
    fn what_is_no_language_tag_is_refused() {
        for locale in ["", "-", "en-", "en us", "../en", "zh\0", "日本", "abcdefghi", &"a-".repeat(18)] {
            let error = render(Some(locale), "1234", TEN_MINUTES, None).unwrap_err();
            assert_eq!(error.violations()[0].field, "locale", "{locale:?}");
        }
    }

    #[test]
    fn an_unknown_template_is_answered_with_the_known_ones() {
        let templates = Templates::builtin().unwrap();
        for name in ["other", "", "default/en", "Default"] {
            let error = templates.render_code(name, None, "1234", TEN_MINUTES, None).unwrap_err();
            assert_eq!((error.kind(), error.message()), (error::Kind::Invalid, "template: must be one of: default"));
        }
    }

    #[test]
    fn minutes_are_rounded_up_and_agree_with_their_noun() {
        for (lifetime, expected) in [
            (Duration::ZERO, " 1 minute."),
            (Duration::from_secs(60), " 1 minute."),
            (Duration::new(60, 1), " 2 minutes."),
            (Duration::from_secs(61), " 2 minutes."),
            (Duration::from_secs(599), " 10 minutes."),
        ] {
            assert!(render(None, "1234", lifetime, None).unwrap().contains(expected), "{lifetime:?}");
        }
        assert!(render(None, "1234", Duration::MAX, None).is_ok());
    }

    #[test]
    fn codes_and_brands_are_text_and_not_markup_or_lines() {
        let text = render(None, "<&{{%}!#", TEN_MINUTES, Some("A&B {{ code }}")).unwrap();
        assert!(text.starts_with("Your A&B {{ code }} verification code is <&{{%}!#."), "{text}");
        for brand in
            ["", " ", "a\nb", "a\r\n@evil.example #000000", "a\u{2028}b", "a\u{202e}b", "a\u{200f}b", &"a".repeat(21)]
        {
            assert_eq!(render(None, "1234", TEN_MINUTES, Some(brand)).unwrap_err().violations()[0].field, "brand");
        }
    }

    #[test]
    fn a_text_too_long_fails_without_telling_it() {
        let error = render(None, &"7".repeat(MAX_TEXT_BYTES), TEN_MINUTES, None).unwrap_err();
        assert_eq!(error.kind(), error::Kind::Internal);
        assert!(!format!("{error:?}").contains("777"));
    }

    #[test]
    fn a_value_that_a_template_forgot_is_an_error() {
        let mut templates = Templates::builtin().unwrap();
        templates.environment.add_template("default/en", "{{ code }} {{ nobody }}").unwrap();
        let error = templates.render_code(DEFAULT, None, "1234", TEN_MINUTES, None).unwrap_err();
        assert_eq!(error.kind(), error::Kind::Internal);
    }

    #[test]
    fn a_rendered_text_does_not_show() {
        let text = Templates::builtin().unwrap().render_code(DEFAULT, None, "123456", TEN_MINUTES, None).unwrap();
        assert!(!format!("{text:?} {:?}", SecretValue(text.clone())).contains("123456"));
    }
}
