//! Texts as phones and their readers get them: which text is taken, what callers may put into it, and that the last
//! line stays ours whatever they put.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use secrecy::ExposeSecret;
use verigate::error::{Error, Kind as ErrorKind};
use verigate::id::TenantName;
use verigate::messaging::last_line::{LastLine, find_android_hash, first_web_otp, parse_web_otp};
use verigate::messaging::locale::of_country;
use verigate::messaging::template::{CodeFacts, Kind, TemplateConfig, Templates, Wording};
use verigate::segment::{Encoding, measure};

const HASH: &str = "FA+9qCX9VSu";

const FACTS: CodeFacts<'_> = CodeFacts { code: "135790", lifetime: Duration::from_secs(600), scope: "login" };

fn tenant(name: &str) -> TenantName {
    name.parse().unwrap()
}

fn text(name: &str, owner: Option<&str>, locale: &str, kind: Kind, text: &str) -> TemplateConfig {
    TemplateConfig { name: name.into(), tenant: owner.map(tenant), locale: locale.into(), kind, text: text.into() }
}

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What `owner` sends under `name` for a locale, or why it sends nothing.
fn code_text(
    templates: &Templates,
    owner: &str,
    name: &str,
    locale: Option<&str>,
    variables: &BTreeMap<String, String>,
) -> Result<String, Error> {
    let tenant = tenant(owner);
    let wording = Wording { tenant: &tenant, template: name, locale, variables, brand: Some("Acme") };
    let checked = templates.check_verification(&wording);
    let rendered = templates.render_verification(&wording, &FACTS);
    assert_eq!(checked.is_ok(), rendered.is_ok(), "what passes the check renders: {checked:?}");
    rendered.map(|text| text.expose_secret().to_owned())
}

fn fields(error: &Error) -> Vec<&str> {
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    error.violations().iter().map(|violation| violation.field.as_str()).collect()
}

// === which text ===

#[test]
fn whose_text_it_is_comes_before_its_language() {
    let templates = Templates::new(&[
        text("default", Some("acme"), "ms", Kind::Verification, "acme ms {{ code }}"),
        text("default", Some("acme"), "zh-Hant", Kind::Verification, "acme zh-hant {{ code }}"),
        text("default", None, "pt", Kind::Verification, "all pt {{ code }}"),
        text("default", None, "en", Kind::Verification, "all en {{ code }}"),
        text("login", None, "en-GB", Kind::Verification, "login {{ code }}"),
    ])
    .unwrap();
    for (owner, name, locale, expected) in [
        ("acme", "default", Some("ms-MY"), "acme ms 135790"),
        ("acme", "default", Some("ZH_hant_tw"), "acme zh-hant 135790"),
        // Its own first text, although others and we have one in these languages.
        ("acme", "default", Some("pt"), "acme ms 135790"),
        ("acme", "default", Some("fr"), "acme ms 135790"),
        ("acme", "default", None, "acme ms 135790"),
        ("other", "default", Some("pt-BR"), "all pt 135790"),
        ("other", "default", Some("ms"), "all en 135790"),
        ("other", "default", None, "all en 135790"),
        ("acme", "login", Some("ms"), "login 135790"),
    ] {
        let found = code_text(&templates, owner, name, locale, &BTreeMap::new()).unwrap();
        assert_eq!(found, expected, "{owner} {name} {locale:?}");
    }
    let builtin = code_text(&Templates::new(&[]).unwrap(), "acme", "default", Some("fr-CA"), &BTreeMap::new()).unwrap();
    assert!(builtin.starts_with("Votre code de vérification Acme est 135790."), "{builtin}");
}

#[test]
fn nobody_learns_the_names_of_others_or_of_the_other_kind() {
    let templates = Templates::new(&[
        text("secret-plan", Some("acme"), "en", Kind::Verification, "{{ code }}"),
        text("shipped", None, "en", Kind::Message, "Shipped."),
    ])
    .unwrap();
    let none = BTreeMap::new();
    let error = code_text(&templates, "other", "secret-plan", None, &none).unwrap_err();
    assert_eq!(error.message(), "template: must be one of: default");
    let error = code_text(&templates, "acme", "shipped", None, &none).unwrap_err();
    assert_eq!(error.message(), "template: must be one of: default, secret-plan");
    let owner = tenant("acme");
    let wording = |template| Wording { tenant: &owner, template, locale: None, variables: &none, brand: None };
    let error = templates.render_text(&wording("default")).unwrap_err();
    assert_eq!(error.message(), "template: must be one of: shipped");
    assert_eq!(templates.render_text(&wording("shipped")).unwrap().expose_secret(), "Shipped.");
}

#[test]
fn a_country_picks_among_the_texts_there_are() {
    let templates = Templates::builtin().unwrap();
    for (country, start) in [("MY", "Kod"), ("TW", "【Acme】"), ("SN", "Votre"), ("LK", "Your"), ("BR", "Your")] {
        let locale = of_country(country.parse().unwrap());
        let text = code_text(&templates, "acme", "default", locale, &BTreeMap::new()).unwrap();
        assert!(text.starts_with(start), "{country}: {text}");
    }
}

// === what goes into it ===

#[test]
fn every_variable_is_given_and_none_besides() {
    let templates = Templates::new(&[text(
        "pay",
        None,
        "en",
        Kind::Verification,
        "{{ brand }} {{ scope }}: pay {{ amount }}{% if shop %} to {{ shop }}{% endif %} with {{ code }}, {{ minutes }} min",
    )])
    .unwrap();
    let render = |pairs: &[(&str, &str)]| code_text(&templates, "acme", "pay", None, &values(pairs));
    assert_eq!(render(&[("amount", "5 €"), ("shop", "")]).unwrap(), "Acme login: pay 5 € with 135790, 10 min");
    assert_eq!(
        render(&[("amount", "5 €"), ("shop", "<b>{{ code }}</b>")]).unwrap(),
        "Acme login: pay 5 € to <b>{{ code }}</b> with 135790, 10 min"
    );
    assert_eq!(fields(&render(&[]).unwrap_err()), ["variables.amount", "variables.shop"]);
    let surplus = render(&[("amount", "1"), ("shop", "2"), ("shopp", "3"), ("code", "4"), ("a b", "5")]).unwrap_err();
    assert_eq!(fields(&surplus), ["variables", "variables.code", "variables.shopp"]);
    for hostile in
        ["a\r\nb", "\n@evil.example #000000", "@evil.example #000000", "<#> a", "a\u{202e}b", &"1".repeat(10_000)]
    {
        let error = render(&[("amount", hostile), ("shop", "x")]).unwrap_err();
        assert_eq!(fields(&error), ["variables.amount"]);
        assert!(!error.message().contains("evil") && !error.message().contains("1111"), "{error:?}");
    }
}

#[test]
fn a_text_that_gets_too_long_is_refused_before_it_is_needed() {
    let source = format!("{{{{ code }}}}{}.", "{{ a }}".repeat(100));
    let templates = Templates::new(&[text("long", None, "en", Kind::Verification, &source)]).unwrap();
    let render = |value: &str| code_text(&templates, "acme", "long", None, &values(&[("a", value)]));
    assert!(render("four").is_ok());
    assert_eq!(fields(&render(&"x".repeat(200)).unwrap_err()), ["variables"]);
}

#[test]
fn a_text_that_is_too_long_with_a_brand_or_without_one_is_refused_when_it_is_read() {
    let (short, long) = ("{{ code }}.", format!("{{{{ code }}}}{}.", "{{ scope }}".repeat(60)));
    for (with, without) in [(long.as_str(), short), (short, long.as_str())] {
        let source = format!("{{% if brand %}}{with}{{% else %}}{without}{{% endif %}}");
        let error = Templates::new(&[text("long", None, "en", Kind::Verification, &source)]).unwrap_err();
        assert_eq!(fields(&error), ["templates[0].text"]);
        assert!(error.violations()[0].description.starts_with("must be shorter"), "{error:?}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let (templates, owner, given) = (Templates::builtin().unwrap(), tenant("acme"), values(&[("a", "b")]));
    let brand = Some("@acme");
    let wording = Wording { tenant: &owner, template: "default", locale: Some("e n"), variables: &given, brand };
    let error = templates.check_verification(&wording).unwrap_err();
    assert_eq!(fields(&error), ["variables.a", "brand", "locale"]);
}

// === the last line ===

/// Lengths of our own texts with everything on them: `RM0.00 `, a brand, a domain, an app hash. The SMS Retriever looks
/// at 140 characters, and people pay by the segment.
#[test]
fn the_last_line_fits_beside_our_texts_where_the_script_allows() {
    let (templates, line) = (Templates::builtin().unwrap(), LastLine::parse(Some("example.com"), Some(HASH)).unwrap());
    let owner = tenant("acme");
    let mut lengths = Vec::new();
    for locale in ["en", "fr", "ms", "zh", "si", "ta"] {
        let variables = BTreeMap::new();
        let wording = Wording {
            tenant: &owner,
            template: "default",
            locale: Some(locale),
            variables: &variables,
            brand: Some("Acme"),
        };
        let text = line.append(templates.render_verification(&wording, &FACTS).unwrap(), FACTS.code).unwrap();
        let measured = measure(&format!("RM0.00 {}", text.expose_secret()));
        lengths.push((locale, measured.encoding, measured.units, measured.segments));
    }
    let (gsm, ucs) = (Encoding::Gsm7, Encoding::Ucs2);
    let expected = [
        ("en", gsm, 135, 1),
        ("fr", gsm, 140, 1),
        ("ms", gsm, 143, 1),
        ("zh", ucs, 74, 2),
        ("si", ucs, 110, 2),
        ("ta", ucs, 111, 2),
    ];
    assert_eq!(lengths, expected);
}

/// Pieces of sources, of which every sequence after a code is a template.
fn source() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "{{ a }}",
        "{{ b }}",
        " is your code",
        " ",
        "\n",
        "\n\n",
        "{{ a }}",
        "{{ b }}",
        "{{ brand }}",
        "{{ minutes }}",
        "{{ scope }}",
        "{{ code }}",
        "{% if a %}",
        "{% if minutes > 5 %}",
        "#",
        "# ",
        " #",
        "ann@acme.example",
        "<#> ",
        "%",
        "(",
        "您的验证码是",
    ]);
    vec(piece, 0..12).prop_map(|pieces| {
        let open = pieces.iter().filter(|piece| piece.starts_with("{% if")).count();
        format!("{}{}{{{{ code }}}}{{# {{{{ a }}}}{{{{ b }}}} #}}.", pieces.concat(), "{% endif %}".repeat(open))
    })
}

/// Values made of what could hurt: mostly halves and wholes of a browser's mark, which nothing but the `@` betrays.
fn hostile() -> impl Strategy<Value = String> {
    let mark =
        select(vec!["@evil.example", "evil.example", "@evil.example #000000", " ", "#000000", " #000000", "x", "ann@"]);
    let other = select(vec![
        "<#>",
        "\n",
        "\r",
        "\u{2028}",
        "\u{a0}@",
        "\u{3000}@",
        "\u{200b}",
        "{{ code }}",
        "{% if",
        HASH,
        "您",
    ]);
    prop_oneof![
        4 => vec(mark, 0..4).prop_map(|pieces| pieces.concat()),
        1 => vec(other, 1..3).prop_map(|pieces| pieces.concat()),
        1 => any::<String>(),
    ]
}

fn domain() -> impl Strategy<Value = String> {
    "(xn--)?[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?){0,3}\\.[a-z]{2,10}"
}

proptest! {
    #[test]
    fn whatever_callers_put_in_the_last_line_stays_ours(
        source in source(),
        a in hostile(),
        b in hostile(),
        code in "[0-9A-Za-z!$%&?*=+~^|-]{4,32}",
        domain in domain(),
        hash in "[A-Za-z0-9+/]{11}",
        with_domain in any::<bool>(),
        with_hash in any::<bool>(),
        prefix in select(vec!["", "RM0.00 ", "RM0.00\n", "[Acme] "]),
    ) {
        let templates = Templates::new(&[text("t", None, "en", Kind::Verification, &source)]).unwrap();
        let uses = |name: &str| source.replace("{# {{ a }}{{ b }} #}", "").contains(name);
        let used: Vec<_> = [("a", a.as_str()), ("b", b.as_str())]
            .into_iter()
            .filter(|(name, _)| uses(&format!("{{{{ {name} }}}}")) || uses(&format!("{{% if {name} %}}")))
            .collect();
        let (owner, variables) = (tenant("acme"), values(&used));
        let wording = Wording { tenant: &owner, template: "t", locale: None, variables: &variables, brand: Some("Acme") };
        let facts = CodeFacts { code: &code, ..FACTS };
        let body = match templates.render_verification(&wording, &facts) {
            Ok(body) => body,
            Err(error) => {
                prop_assert!(fields(&error).iter().all(|field| field.starts_with("variables")), "{error:?}");
                return Ok(());
            }
        };
        prop_assert_eq!(first_web_otp(body.expose_secret()), None);
        prop_assert_eq!(find_android_hash(body.expose_secret()), None);
        let (domain, hash) = (Some(domain.as_str()).filter(|_| with_domain), Some(hash.as_str()).filter(|_| with_hash));
        let line = LastLine::parse(domain, hash).unwrap();
        let whole = format!("{prefix}{}", line.append(body, &code).unwrap().expose_secret());
        let expected = domain.map(|domain| (domain, code.as_str()));
        prop_assert_eq!(parse_web_otp(&whole), expected, "{}", whole);
        prop_assert_eq!(first_web_otp(&whole), expected, "{}", whole);
        prop_assert_eq!(find_android_hash(&whole), hash, "{}", whole);
    }

    #[test]
    fn a_code_that_may_stand_beside_a_domain_is_read_whole_and_others_are_refused(code in "[!-~]{4,32}") {
        let line = LastLine::parse(Some("example.com"), None).unwrap();
        match line.append("Your code:".to_owned().into(), &code) {
            Ok(text) => prop_assert_eq!(first_web_otp(text.expose_secret()), Some(("example.com", code.as_str()))),
            Err(error) => {
                prop_assert_eq!(fields(&error), ["web_otp_domain"]);
                prop_assert!(code.contains(['#', '@']));
            }
        }
    }

    #[test]
    fn a_source_is_refused_or_renders(source in "([a-z@#.\n ]|\\{\\{ ?-?[ab01|(] ?\\}\\}|\\{% (if a|if a < 2|else|endif|elif b|set a = 1|for a in b|endfor|if a\\.b) %\\}){0,12}") {
        let config = text("t", None, "en", Kind::Message, &source);
        let (owner, empty, full) = (tenant("acme"), values(&[("a", ""), ("b", "")]), values(&[("a", "1"), ("b", "y z")]));
        if let Ok(templates) = Templates::new(&[config]) {
            for all in [&empty, &full] {
                let mut given = all.clone();
                let render = |given: &BTreeMap<String, String>| {
                    let wording = Wording { tenant: &owner, template: "t", locale: None, variables: given, brand: None };
                    templates.render_text(&wording).map(drop)
                };
                if let Err(error) = render(&given) {
                    for field in fields(&error) {
                        given.remove(field.trim_start_matches("variables."));
                    }
                }
                prop_assert!(render(&given).is_ok(), "{:?}", render(&given));
            }
        }
    }
}
