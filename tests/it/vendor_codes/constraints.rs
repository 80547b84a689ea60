//! What a start asks for and a vendor cannot do: passed over, refused with the range, or, where only the configuration
//! says so, the nearest that can be done. And what is wrong with a configuration.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use verigate::clock::ManualClock;
use verigate::config::load;
use verigate::proto::messaging::v1::MessageStatus;
use verigate::proto::verification::v1::{AlphabetClass, CheckOutcome, CodePolicy, StartVerificationRequest};
use verigate::server;

use crate::support::code_maker::{CodeMaker, Kind};
use crate::support::gateway::{
    CONFIG, Gateway, START, eventually, get_verification, judge, resend, seconds, start, start_now, violations,
    wrong_fields,
};
use crate::vendor_codes::{config, house};

fn with_policy(phone: &str, policy: CodePolicy) -> StartVerificationRequest {
    StartVerificationRequest { policy: Some(policy), ..start(phone) }
}

fn of_length(length: i32) -> CodePolicy {
    CodePolicy { length, ..CodePolicy::default() }
}

fn lasting(lifetime: i64) -> CodePolicy {
    CodePolicy { lifetime: seconds(lifetime), ..CodePolicy::default() }
}

#[tokio::test]
async fn what_only_we_can_do_is_refused() {
    let maker = CodeMaker::start(Kind::Simpu).await;
    let text = config(&[&maker], "").replacen("brand = \"Acme\"", "brand = \"Acme\"\nreturn_code = true", 1);
    let gateway = Gateway::start_with(&text).await;
    let (phone, mut client) = (maker.kind.phone(1), gateway.verifications().await);
    let letters = CodePolicy { alphabet: vec![AlphabetClass::Upper.into()], ..CodePolicy::default() };
    let digits = CodePolicy { alphabet: vec![AlphabetClass::Digits.into()], ..CodePolicy::default() };
    for (request, fields) in [
        (StartVerificationRequest { custom_code: "012345".to_owned(), ..start(&phone) }, &["custom_code"][..]),
        (StartVerificationRequest { return_code: true, ..start(&phone) }, &["return_code"]),
        (StartVerificationRequest { web_otp_domain: "example.com".to_owned(), ..start(&phone) }, &["web_otp_domain"]),
        (
            StartVerificationRequest { android_app_hash: "FA+9qCX9VSu".to_owned(), ..start(&phone) },
            &["android_app_hash"],
        ),
        (with_policy(&phone, letters), &["policy.alphabet"]),
        (with_policy(&phone, of_length(9)), &["policy.length"]),
        (with_policy(&phone, lasting(3601)), &["policy.lifetime"]),
        (
            StartVerificationRequest {
                custom_code: "012345".to_owned(),
                return_code: true,
                ..with_policy(&phone, CodePolicy { length: 9, ..lasting(3601) })
            },
            &["custom_code", "return_code", "policy.length", "policy.lifetime"],
        ),
    ] {
        let refused = start_now(&mut client, request.clone()).await.unwrap_err();
        assert_eq!(
            (refused.code(), wrong_fields(&refused)),
            (tonic::Code::InvalidArgument, fields.iter().map(|it| (*it).to_owned()).collect()),
            "{request:?}"
        );
    }
    let refused = start_now(&mut client, with_policy(&phone, CodePolicy { length: 9, ..lasting(3601) })).await;
    let told: Vec<_> = violations(&refused.unwrap_err()).into_iter().map(|(_, wrong)| wrong).collect();
    assert_eq!(
        told,
        [
            "must be 4 to 8 characters, which the vendors of this route can",
            "must be 3 to 3600 seconds, as long as vendors of this route keep a code",
        ]
    );
    assert_eq!(maker.made().len(), 0, "nobody was asked");
    let fine = CodePolicy { length: 8, lifetime: seconds(61), max_checks: 10, ..digits };
    let begun = start_now(&mut client, with_policy(&phone, fine)).await.unwrap();
    assert_eq!(begun.checks_left, 10);
    let made = maker.made().remove(0);
    // Our own clock ends it to the second; the vendor counts in minutes.
    assert_eq!((made.code.len(), made.lifetime_seconds), (8, 120));
    assert_eq!(begun.expire_time.unwrap().seconds - begun.create_time.unwrap().seconds, 61);
    gateway.clock.advance(Duration::from_secs(61));
    assert_eq!(judge(&mut client, &begun.id, &made.code).await, CheckOutcome::Expired);
}

#[tokio::test]
async fn the_configured_policy_gives_way_to_what_the_vendors_can() {
    for (kind, length, lifetime, made) in [
        (Kind::Esms, 8, "10m", (6, 540)),
        (Kind::Esms, 4, "90s", (6, 120)),
        (Kind::Hasun, 8, "1h", (6, 1_800)),
        (Kind::Hasun, 6, "30s", (6, 30)),
        (Kind::Simpu, 10, "10m", (8, 600)),
        (Kind::Octopush, 10, "10m", (10, 600)),
    ] {
        let maker = CodeMaker::start(kind).await;
        let policy = format!(
            "[verification.policy]\nlength = {length}\nlifetime = \"{lifetime}\"\nalphabet = [\"digits\", \"upper\"]\n\n[[tenants]]\nname = \"acme\""
        );
        let text = config(&[&maker], "").replacen("[[tenants]]\nname = \"acme\"", &policy, 1);
        let gateway = Gateway::start_with(&text).await;
        let (phone, mut client) = (kind.phone(1), gateway.verifications().await);
        let begun = gateway.begin(&mut client, &phone).await;
        let code = maker.made().remove(0);
        assert_eq!((code.code.len(), code.lifetime_seconds), made, "{kind:?} {length} {lifetime}");
        // What the record says is what holds.
        let lasts = begun.expire_time.unwrap().seconds - begun.create_time.unwrap().seconds;
        assert_eq!(lasts.unsigned_abs(), made.1.min(lasts.unsigned_abs()), "{kind:?}");
        assert!(lasts.unsigned_abs() + 60 > made.1, "{kind:?} {lasts}");
        assert_eq!(judge(&mut client, &begun.id, &code.code).await, CheckOutcome::Approved, "{kind:?}");
    }
}

/// The first in the route cannot, the second can; and so it stays when the code is sent again.
#[tokio::test]
async fn a_vendor_that_cannot_do_what_was_asked_is_passed_over() {
    let (first, second) = (CodeMaker::start(Kind::Hasun).await, CodeMaker::start(Kind::Simpu).await);
    let gateway = house(&[&first, &second]).await;
    let mut client = gateway.verifications().await;
    let phone = Kind::Hasun.phone(1);
    let begun = start_now(&mut client, with_policy(&phone, of_length(8))).await.unwrap();
    assert_eq!(begun.sends[0].vendor, "maker1");
    gateway.clock.advance(Duration::from_secs(30));
    resend(&mut client, &begun.id).await.unwrap();
    let sends = eventually(async || {
        let seen = get_verification(&mut client, &begun.id).await;
        (seen.sends[1].status() == MessageStatus::Sent).then_some(seen.sends)
    })
    .await;
    assert_eq!(sends[1].vendor, "maker1");
    assert_eq!(judge(&mut client, &begun.id, &second.code(&phone)).await, CheckOutcome::Approved);
    let phone = Kind::Hasun.phone(2);
    let begun = start_now(&mut client, with_policy(&phone, lasting(1_801))).await.unwrap();
    assert_eq!(begun.sends[0].vendor, "maker1");
    assert_eq!(judge(&mut client, &begun.id, &second.code(&phone)).await, CheckOutcome::Approved);
    assert_eq!(first.made().len(), 0);
    // Each can one of the two, and neither can both.
    let both = CodePolicy { length: 6, ..lasting(3_601) };
    let refused = start_now(&mut client, with_policy(&Kind::Hasun.phone(3), both)).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["policy.lifetime"]);
}

#[tokio::test]
async fn lengths_and_lifetimes_suit_every_vendor_that_may_get_the_code() {
    let makers = [CodeMaker::start(Kind::Octopush).await, CodeMaker::start(Kind::Hasun).await];
    let policy = "[verification.policy]\nlength = 8\nlifetime = \"1h\"\n\n[[tenants]]\nname = \"acme\"";
    let text = config(&[&makers[0], &makers[1]], "").replacen("[[tenants]]\nname = \"acme\"", policy, 1);
    let gateway = Gateway::start_with(&text).await;
    let mut client = gateway.verifications().await;
    let begun = gateway.begin(&mut client, &Kind::Hasun.phone(1)).await;
    let made = makers[0].made().remove(0);
    assert_eq!((made.code.len(), made.lifetime_seconds), (6, 1_800));
    assert_eq!(begun.expire_time.unwrap().seconds - begun.create_time.unwrap().seconds, 1_800);
}

#[tokio::test]
async fn texts_go_around_the_code_where_the_vendor_takes_them() {
    let templates = "\n[[templates]]\nname = \"login\"\nlocale = \"en\"\ntext = \"{{ code }} logs {{ user }} in for {{ minutes }} min at {{ brand }}.\"\n";
    for (kind, text, hashed) in [
        (
            Kind::Esms,
            Some("RM0.00 #otp# logs ann in for 9 min at Acme."),
            Some("RM0.00 #otp# logs ann in for 9 min at Acme.\nFA+9qCX9VSu"),
        ),
        (
            Kind::Octopush,
            Some("{code} logs ann in for 10 min at Acme."),
            Some("{code} logs ann in for 10 min at Acme.\nFA+9qCX9VSu"),
        ),
        (Kind::Hasun, None, None),
        (Kind::Simpu, None, None),
    ] {
        let maker = CodeMaker::start(kind).await;
        let gateway = Gateway::start_with(&(config(&[&maker], "") + templates)).await;
        let mut client = gateway.verifications().await;
        let mut request = StartVerificationRequest { template: "login".to_owned(), ..start(&kind.phone(1)) };
        request.variables.insert("user".to_owned(), "ann".to_owned());
        start_now(&mut client, request.clone()).await.unwrap();
        assert_eq!(maker.made()[0].text.as_deref(), text, "{kind:?}");
        if hashed.is_some() {
            let request = StartVerificationRequest {
                recipient: start(&kind.phone(2)).recipient,
                android_app_hash: "FA+9qCX9VSu".to_owned(),
                ..request
            };
            start_now(&mut client, request).await.unwrap();
            assert_eq!(maker.made()[1].text.as_deref(), hashed, "{kind:?}");
        }
        // Without one, the built-in text, in the language of the recipient.
        start_now(&mut client, start(&kind.phone(3))).await.unwrap();
        let built_in = maker.made().pop().unwrap().text;
        let mark = if kind == Kind::Esms { "#otp#" } else { "{code}" };
        assert_eq!(
            built_in.is_some_and(|it| it.contains(&format!("Kod pengesahan Acme anda ialah {mark}"))),
            text.is_some()
        );
    }
}

/// One part is all that this vendor sends of a code, and in Tamil ours takes more.
#[tokio::test]
async fn the_vendors_own_words_stand_in_where_ours_do_not_fit() {
    let maker = CodeMaker::start(Kind::Esms).await;
    let gateway = house(&[&maker]).await;
    let mut client = gateway.verifications().await;
    let phone = maker.kind.phone(1);
    let request = StartVerificationRequest { locale: "ta".to_owned(), ..start(&phone) };
    let begun = start_now(&mut client, request).await.unwrap();
    assert_eq!(maker.made()[0].text, None);
    assert_eq!(judge(&mut client, &begun.id, &maker.code(&phone)).await, CheckOutcome::Approved);
}

// === configuration ===

/// What is wrong with `config`, without the place of the file.
async fn faults(config: &str) -> Vec<String> {
    let place = TempDir::new().unwrap();
    std::fs::write(place.path().join("key"), "").unwrap();
    let file = place.path().join("verigate.toml");
    let text = config.replace("PLACE", place.path().to_str().unwrap());
    std::fs::write(&file, &text).unwrap();
    let named = format!("{}:", file.display());
    let lines = |error: String| error.lines().map(|line| line.replace(&named, "line ")).collect();
    let loaded = match load(Some(&file), std::iter::empty()) {
        Ok(loaded) => loaded,
        Err(error) => return lines(error.to_string()),
    };
    let checked = server::check(&loaded, Arc::new(ManualClock::new(START)));
    checked.err().map(|error| lines(error.to_string())).unwrap_or_default()
}

#[tokio::test]
async fn a_route_that_leaves_codes_to_vendors_names_those_who_make_them() {
    let octopush = CodeMaker::start(Kind::Octopush).await;
    let esms = CodeMaker::start(Kind::Esms).await;
    let vendors = octopush.config("octo")
        + &esms.config("malay")
        + &esms.config("bare").replace("app_ids = { acme = 1, other = 2 }\n", "");
    let text = |routes: &str| format!("{CONFIG}{vendors}{routes}");
    let line = |text: &str, of: &str| 1 + text.lines().position(|line| line == of).unwrap();
    let wants = "as this route wants with codes = \"vendor\"";

    let good = text(
        "\n[[routes]]\nchannel = \"voice\"\nvendors = [\"octo\"]\ncodes = \"vendor\"\n[[routes]]\nchannel = \"sms\"\nvendors = [\"malay\", \"octo\"]\ncodes = \"vendor\"\n",
    );
    assert_eq!(faults(&good).await, [""; 0]);
    let bad = text(
        "\n[[routes]]\nchannel = \"whatsapp\"\norder = \"weight\"\ncodes = \"vendor\"\n\
         vendors = [\"inbox\", { vendor = \"octo\", weight = 2 }, \"bare\"]\n",
    );
    let at = line(&bad, "vendors = [\"inbox\", { vendor = \"octo\", weight = 2 }, \"bare\"]");
    assert_eq!(
        faults(&bad).await,
        [
            format!("line {at}: routes[2].vendors[0]: makes no codes of its own, or none as it is configured, {wants}"),
            format!(
                "line {at}: routes[2].vendors[1].vendor: makes codes for sms and voice alone and not for whatsapp, {wants}"
            ),
            format!("line {at}: routes[2].vendors[2]: makes no codes of its own, or none as it is configured, {wants}"),
        ]
    );
    let third =
        "\n[[tenants]]\nname = \"third\"\nkeys = [{ id = \"third\", secret = \"third-secret-of-some-length\" }]\n";
    let route = "\n[[routes]]\nchannel = \"sms\"\ncodes = \"vendor\"\nvendors = [\"octo\", \"malay\"]\n";
    let strangers = text(&format!("{third}{route}"));
    let at = line(&strangers, "vendors = [\"octo\", \"malay\"]");
    assert_eq!(
        faults(&strangers).await,
        [format!("line {at}: routes[2].vendors[1]: is not configured to make codes for tenant \"third\", {wants}")]
    );
    assert_eq!(faults(&text(&format!("{third}{route}tenants = [\"acme\", \"other\"]\n"))).await, [""; 0]);
    let neither = faults(&text("\n[[routes]]\nchannel = \"sms\"\nvendors = [\"octo\"]\ncodes = \"theirs\"\n")).await;
    assert!(neither[0].contains("routes[2].codes: must be one of own, vendor, but is \"theirs\""), "{neither:?}");
}

#[tokio::test]
async fn a_step_that_could_never_be_taken_is_told_at_the_start() {
    let maker = CodeMaker::start(Kind::Octopush).await;
    let own = "[[routes]]\nchannel = \"whatsapp\"\nvendors = [\"inbox\"]\n";
    let steps = |steps: &str, rest: &str| {
        config(&[&maker], own) + &format!("\n[[workflows]]\nname = \"ladder\"\nsteps = [{steps}]\n{rest}")
    };
    let both = "{ channel = \"sms\", wait = \"30s\" }, { channel = \"whatsapp\" }";
    let told = "routes[";
    let wrong = faults(&steps(both, "")).await;
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(
        wrong[0]
            .contains("workflows[0].steps[1].channel: is on a route whose codes are made by somebody else than those")
            && !wrong[0].contains(told),
        "{wrong:?}"
    );
    assert_eq!(faults(&steps("{ channel = \"sms\", wait = \"30s\" }, { channel = \"sms\" }", "")).await, [""; 0]);
    assert_eq!(faults(&steps(both, "countries = [\"MY\"]\n")).await.len(), 1);
    // With a route of ours for one country it is taken there.
    let my = "[[routes]]\nchannel = \"sms\"\ncountries = [\"MY\"]\nvendors = [\"inbox\"]\n\n[[routes]]\nchannel = \"sms\"\ncodes";
    let mixed = |rest: &str| steps(both, rest).replacen("[[routes]]\nchannel = \"sms\"\ncodes", my, 1);
    assert_eq!(faults(&mixed("")).await, [""; 0]);
    assert_eq!(faults(&mixed("countries = [\"MY\"]\n")).await, [""; 0]);
    assert_eq!(faults(&mixed("countries = [\"MY\", \"SG\"]\n")).await.len(), 1);
}
