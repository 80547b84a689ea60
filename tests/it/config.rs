//! Configuration as an operator meets it: files, variables, and the lines that say what is wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tempfile::TempDir;
use verigate::auth::scope::Scope;
use verigate::config::fault::ConfigError;
use verigate::config::settings::Address;
use verigate::config::{DEFAULTS, Loaded, load};
use verigate::error::Violation;
use verigate::messaging::route::Order;
use verigate::verification::code::Class;

/// Enough to start with; its last line is 5.
const TENANT: &str = r#"
[[tenants]]
name = "acme"
keys = [{ id = "one", secret = "canary-secret-of-one" }]

"#;

const HASH: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A folder with a key file and a configuration.
struct Home {
    dir: TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap() };
        home.write("store.key", "not read here");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Loads `text` as the file, with a key file from the environment, so that lines count from the text's start.
    fn load(&self, text: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        let file = self.write("verigate.toml", text);
        let key_file = self.path("store.key").display().to_string();
        let variables = [&[("VERIGATE__STORE__KEY_FILE", key_file.as_str())], variables].concat();
        load(Some(&file), owned(&variables))
    }

    /// The lines that say what is wrong, without the folder's name.
    fn errors(&self, text: &str, variables: &[(&str, &str)]) -> Vec<String> {
        self.lines(&self.load(text, variables).unwrap_err())
    }

    fn lines(&self, error: &ConfigError) -> Vec<String> {
        let folder = format!("{}/", self.dir.path().display());
        error.to_string().lines().map(|line| line.replace(&folder, "")).collect()
    }
}

fn owned(variables: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let pairs: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    pairs.into_iter()
}

fn dev(variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    load(None, owned(variables))
}

/// The one line that `text` after a working tenant is refused with.
fn refused(text: &str) -> String {
    let errors = Home::new().errors(&format!("{TENANT}{text}"), &[]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.into_iter().next().unwrap()
}

// === layers ===

#[test]
fn without_a_file_the_dev_profile_runs_at_once() {
    let loaded = dev(&[]).unwrap();
    assert!(loaded.dev_profile);
    assert!(loaded.warnings.is_empty());
    let config = &loaded.config;
    assert!(config.server.reflection);
    assert_eq!(config.server.grpc.to_string(), "127.0.0.1:50051");
    assert_eq!(config.store.key_file.as_deref(), Some(Path::new("./verigate-data/key")));
    assert_eq!(config.vendors["inbox"].kind(), "inbox");
    let channels: Vec<_> = config.routes.iter().map(|route| route.channel).collect();
    assert_eq!(channels, verigate::vendor::Channel::ALL);
    let tenant = &config.tenants[0];
    assert!(tenant.name.as_str() == "dev" && tenant.keys[0].id == "dev" && tenant.keys[0].opens_with("dev-secret"));
}

#[test]
fn any_file_turns_the_dev_profile_off() {
    let home = Home::new();
    assert_eq!(home.errors("", &[]), ["verigate.toml: tenants: must hold at least one tenant, or nobody can call"]);
    let loaded = home.load(TENANT, &[]).unwrap();
    assert!(!loaded.dev_profile && !loaded.config.server.reflection && loaded.config.vendors.is_empty());
    let keys: Vec<_> = loaded.config.tenants.iter().flat_map(|tenant| &tenant.keys).collect();
    assert!(!keys.is_empty() && keys.iter().all(|key| key.id != "dev" && !key.opens_with("dev-secret")));
}

#[test]
fn defaults_lie_under_the_file_and_the_environment_over_it() {
    let text = format!("{TENANT}[verification.policy]\nlength = 8\nmax_checks = 3\n");
    let loaded = Home::new().load(&text, &[("VERIGATE__VERIFICATION__POLICY__LENGTH", "10")]).unwrap();
    let policy = &loaded.config.verification.policy;
    assert_eq!((policy.length, policy.max_checks), (10, 3));
    assert_eq!(policy.lifetime, Duration::from_secs(600));
    assert_eq!(policy.alphabet, [Class::Digits]);
    assert_eq!(loaded.config.verification.limits.cool_downs.len(), 5);
    assert_eq!(loaded.config.verification.limits.cool_downs[4], Duration::from_secs(900));
}

#[test]
fn variables_are_toml_where_they_read_as_toml_and_texts_where_texts_are_wanted() {
    let keys = r#"[{ name = "acme", sender = "007", keys = [{ id = "one", secret = "canary-secret-of-one" }] }]"#;
    let loaded = Home::new()
        .load(
            "[vendors.acme]\nkind = 'any'",
            &[
                ("VERIGATE__TENANTS", keys),
                ("verigate__verification__policy__alphabet", r#"["digits", "upper"]"#),
                ("Verigate__Server__Reflection", "true"),
                ("VERIGATE__SERVER__GRPC", "unix:/run/verigate.sock"),
                ("VERIGATE__LOG__FILTER", "debug"),
                ("VERIGATE__VERIFICATION__POLICY__LIFETIME", "5m"),
                ("VERIGATE__VENDORS__ACME__API_KEY", "12345678"),
                ("VERIGATE_LOG", "not ours"),
                ("PATH", "/bin"),
            ],
        )
        .unwrap();
    #[derive(Deserialize)]
    struct Acme {
        api_key: SecretString,
    }
    let config = &loaded.config;
    assert_eq!(config.tenants[0].sender.as_deref(), Some("007"));
    assert_eq!(config.verification.policy.alphabet, [Class::Digits, Class::Upper]);
    assert!(config.server.reflection);
    assert_eq!(config.server.grpc, Address::Unix("/run/verigate.sock".into()));
    assert_eq!(config.log.filter, "debug");
    assert_eq!(config.verification.policy.lifetime, Duration::from_secs(300));
    assert_eq!(config.vendors["acme"].parse::<Acme>().unwrap().api_key.expose_secret(), "12345678");
}

#[test]
fn a_variable_that_names_nothing_is_an_error_that_names_the_variable() {
    let errors = |name: &str| Home::new().errors(TENANT, &[(name, "canary")]);
    assert_eq!(
        errors("VERIGATE__SERVER__GRCP"),
        ["VERIGATE__SERVER__GRCP: server.grcp: is not a known key; did you mean grpc?"]
    );
    assert_eq!(
        errors("VERIGATE__SERVERS__GRPC"),
        ["VERIGATE__SERVERS__GRPC: servers: is not a known key; did you mean server?"]
    );
    let wanted = "names no key: write VERIGATE__SECTION__KEY";
    assert_eq!(errors("VERIGATE__"), [format!("VERIGATE__: {wanted}")]);
    assert_eq!(errors("VERIGATE__SERVER____GRPC"), [format!("VERIGATE__SERVER____GRPC: {wanted}")]);
    assert_eq!(
        errors("VERIGATE__TENANTS__0__NAME"),
        ["VERIGATE__TENANTS__0__NAME: tenants: must be a list, but is a table"]
    );
    let twice = [("VERIGATE__LOG__FILTER", "info"), ("verigate__log__filter", "debug")];
    assert_eq!(
        Home::new().errors(TENANT, &twice),
        ["verigate__log__filter: is given twice: variables are read in any case"]
    );
}

// === what errors say ===

#[test]
fn every_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    let text = format!("{TENANT}[server]\ngprc = '127.0.0.1:1'\nzzzzzzzz = 1\n\n[verification.polizy]\nlength = 6\n");
    assert_eq!(
        Home::new().errors(&text, &[]),
        [
            "verigate.toml:7: server.gprc: is not a known key; did you mean grpc?",
            "verigate.toml:8: server.zzzzzzzz: is not a known key; known here: grpc, http, admin, reflection, \
             drain_deadline, proxies, proxy_header, admin_hosts, admin_access, unix, tls, limits",
            "verigate.toml:10: verification.polizy: is not a known key; did you mean policy?",
        ]
    );
    let text = TENANT.replace("id =", "idd = 'x', id =");
    assert_eq!(
        Home::new().errors(&text, &[]),
        ["verigate.toml:4: tenants[0].keys[0].idd: is not a known key; did you mean id?"]
    );
}

#[test]
fn a_value_out_of_range_is_named_with_what_is_wanted() {
    assert_eq!(
        refused("[verification.policy]\nlength = 3"),
        "verigate.toml:7: verification.policy.length: must be 4 to 32, but is 3"
    );
    assert_eq!(
        refused("[verification.policy]\nlifetime = '25h'\nmax_lifetime = '2h'"),
        "verigate.toml:7: verification.policy.lifetime: must be 30s to 2h, but is 25h"
    );
    assert_eq!(
        refused("[messaging]\nworkers = -1"),
        "verigate.toml:7: messaging.workers: must be a whole number from 0 to 4294967295, but is -1"
    );
    assert_eq!(
        refused("[verification.limits]\ncool_downs = ['60s', '30s']"),
        "verigate.toml:7: verification.limits.cool_downs: must be one or more times, each at least as long as the last"
    );
    assert_eq!(
        refused("[contacts]\nmax_rows = 0"),
        "verigate.toml:7: contacts.max_rows: must be 1 to 10000000, but is 0"
    );
    assert_eq!(
        refused("[store]\ncache_bytes = 1"),
        "verigate.toml:7: store.cache_bytes: must be 1048576 to 1099511627776, but is 1"
    );
    assert_eq!(
        refused("[store]\njournal_bytes = 1073741825"),
        "verigate.toml:7: store.journal_bytes: must be 1048576 to 1073741824, but is 1073741825"
    );
    assert_eq!(
        refused("[store]\nrewrite_interval = '59s'"),
        "verigate.toml:7: store.rewrite_interval: must be 1m to 8760h, but is 59s"
    );
    for (key, bad, range) in
        [("verification_retention", "59s", "1m to 2160h"), ("message_retention", "2161h", "1h to 2160h")]
    {
        let text = TENANT.replacen("keys =", &format!("{key} = '{bad}'\nkeys ="), 1);
        let wanted = format!("verigate.toml:4: tenants[0].{key}: must be {range}, but is {bad}");
        assert_eq!(Home::new().errors(&text, &[]), [wanted]);
    }
    let variable = [("VERIGATE__VERIFICATION__POLICY__LENGTH", "33")];
    assert_eq!(
        Home::new().errors(TENANT, &variable),
        ["VERIGATE__VERIFICATION__POLICY__LENGTH: verification.policy.length: must be 4 to 32, but is 33"]
    );
}

#[test]
fn several_values_out_of_range_are_told_at_once() {
    let text = format!("{TENANT}[messaging]\nworkers = 0\nmax_attempts = 0\n[log]\nfilter = 'x=loud'\n");
    let errors = Home::new().errors(&text, &[]);
    assert_eq!(
        errors,
        [
            "verigate.toml:10: log.filter: must be levels by target such as \"info,verigate::messaging=debug\"",
            "verigate.toml:7: messaging.workers: must be 1 to 4096, but is 0",
            "verigate.toml:8: messaging.max_attempts: must be 1 to 20, but is 0",
        ]
    );
}

#[test]
fn a_wrong_type_is_named_in_the_words_of_a_file() {
    let cases = [
        ("[server]\nreflection = 'yes'", "server.reflection: must be true or false, but is a text"),
        ("[verification.policy]\nlength = '6'", "verification.policy.length: must be a whole number"),
        ("[log]\nfilter = 7", "log.filter: must be a text in quotes, but is a whole number"),
        ("[log]\nformat = 'xml'", "log.format: must be one of auto, pretty, json, but is \"xml\""),
        ("[verification.policy]\nalphabet = 'digits'", "verification.policy.alphabet: must be a list, but is a text"),
        ("[verification]\npolicy = 7", "verification.policy: must be a table, but is a whole number"),
        (
            "[server]\nhttp = 'localhost'",
            "server.http: must be an IP address and a port such as 127.0.0.1:8080, but is \"localhost\"",
        ),
        ("[server]\ngrpc = 'unix:x'", "server.grpc: must be unix: and a path that begins with a slash"),
    ];
    for (text, wanted) in cases {
        let error = refused(text);
        assert!(error.starts_with(&format!("verigate.toml:7: {wanted}")), "{error}");
    }
    assert_eq!(
        refused("[verification.policy]\nalphabet = [\n  'digits',\n  'runes',\n]"),
        "verigate.toml:9: verification.policy.alphabet[1]: must be one of digits, upper, lower, special, but is \
         \"runes\""
    );
}

#[test]
fn times_are_longer_than_zero_and_have_a_unit() {
    let wanted = "must be a time longer than zero, such as \"90s\", \"10m\" or \"1h30m\"";
    for bad in ["'0s'", "'-5m'", "'10'", "'soon'", "''", "10", "1.5", "['10s']"] {
        let error = refused(&format!("[server]\ndrain_deadline = {bad}"));
        assert!(error.starts_with(&format!("verigate.toml:7: server.drain_deadline: {wanted}")), "{bad}: {error}");
    }
    for (good, millis) in [("1m30s", 90_000), ("90s", 90_000), ("0.5m", 30_000), ("250ms", 250)] {
        let text = format!("{TENANT}[server]\ndrain_deadline = '{good}'");
        let loaded = Home::new().load(&text, &[]).unwrap();
        assert_eq!(loaded.config.server.drain_deadline, Duration::from_millis(millis), "{good}");
    }
}

#[test]
fn a_missing_key_and_broken_toml_are_named_with_their_line() {
    assert_eq!(refused("[[routes]]\nchannel = 'sms'"), "verigate.toml:6: routes[0].vendors: is missing");
    let error = refused("[server]\ngrpc = 'canary\n");
    assert!(error.starts_with("verigate.toml:7: is not TOML: "), "{error}");
    assert!(!error.contains("canary"), "{error}");
    assert!(refused("[store]\npath = 'a'\npath = 'b'").starts_with("verigate.toml:8: is not TOML: "));
    assert_eq!(
        refused("[messaging]\nworkers = 99999999999999999999"),
        "verigate.toml:7: holds a number that does not fit into 64 bits"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = load(Some(Path::new("/nowhere/verigate.toml")), owned(&[])).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/verigate.toml: the file cannot be read: "), "{error}");
}

// === checks over sections ===

#[test]
fn tenants_and_keys_are_unique_and_complete() {
    let home = Home::new();
    let one = "{ id = 'one', secret = 'canary-secret-of-one' }";
    let text = format!(
        "[[tenants]]\nname = 'acme'\nkeys = [{one}]\n[[tenants]]\nname = 'acme'\nkeys = [\n  {one},\n]\n\
         [[tenants]]\nname = 'zeta'\nkeys = []\n"
    );
    assert_eq!(
        home.errors(&text, &[]),
        [
            "verigate.toml:5: tenants[1].name: must be unique, but is \"acme\" like tenants[0]",
            "verigate.toml:7: tenants[1].keys[0].id: must be unique over all tenants, but is \"one\" like \
             tenants[0].keys[0]",
        ]
    );
    let bad = [
        ("name = 'Acme'", "tenants[0].name: ", "must be 1 to 63 of a-z, 0-9"),
        ("name = 'acme'\ndefault_country = 'Malaysia'", "tenants[0].default_country: ", "ISO 3166-1"),
        ("name = 'acme'\nbrand = \"a\\nb\"", "tenants[0].brand: ", "on one line"),
        ("name = 'acme'\nbrand = 'A name of 21 letters.'", "tenants[0].brand: ", "1 to 20 characters"),
    ];
    for (lines, path, wanted) in bad {
        let errors = home.errors(&TENANT.replace("name = \"acme\"", lines), &[]);
        assert!(errors[0].contains(path) && errors[0].contains(wanted), "{errors:?}");
    }
}

#[test]
fn a_key_has_exactly_one_secret_and_never_an_empty_one() {
    let error = |key: &str| {
        let text = format!("[[tenants]]\nname = 'acme'\nkeys = [{{ id = 'one'{key} }}]\n");
        let errors = Home::new().errors(&text, &[]);
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors[0].strip_prefix("verigate.toml:3: tenants[0].keys[0].").expect("the key's line and path").to_owned()
    };
    let missing = "is missing: give one of secret, secret_file and secret_hash";
    assert_eq!(error(""), format!("secret: {missing}"));
    assert_eq!(error(", secret = ''"), "secret: must not be empty");
    assert_eq!(error(", secret_hash = ''"), "secret_hash: must not be empty");
    let hash_of_nothing = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(
        error(&format!(", secret_hash = '{hash_of_nothing}'")),
        "secret_hash: must not be the hash of an empty secret"
    );
    assert_eq!(error(", secret = 'a', secret_file = '/x'"), "secret_file: must not be given together with secret");
    let both = format!(", secret = 'a', secret_hash = '{hash_of_nothing}'");
    assert_eq!(error(&both), "secret_hash: must not be given together with a secret");
}

#[test]
fn routes_name_what_is_configured() {
    let text = "[vendors.inbox]\nkind = 'inbox'\n[[routes]]\nchannel = 'sms'\nvendors = ['inbox', 'outbox']\n\
                countries = ['MY']\ntenants = ['acme', 'zeta']\n";
    assert_eq!(
        Home::new().errors(&format!("{TENANT}{text}"), &[]),
        [
            "verigate.toml:10: routes[0].vendors[1]: must be a configured vendor (inbox), but is \"outbox\"",
            "verigate.toml:12: routes[0].tenants[1]: must be a configured tenant, but is \"zeta\"",
        ]
    );
    let none = refused("[[routes]]\nchannel = 'sms'\nvendors = []");
    assert_eq!(none, "verigate.toml:8: routes[0].vendors: must name at least one vendor");
    let country = refused("[[routes]]\nchannel = 'sms'\nvendors = []\ncountries = ['Malaysia']");
    assert!(country.starts_with("verigate.toml:9: routes[0].countries[0]: "), "{country}");
}

#[test]
fn receipts_need_a_url_that_can_be_built_upon_and_a_secret_that_cannot_be_guessed() {
    let home = Home::new();
    for url in ["", "https://sms.example", "http://10.0.0.1:8080/in/"] {
        home.load(&format!("{TENANT}[receipts]\npublic_url = \"{url}\"\n"), &[]).unwrap();
    }
    for url in [
        "sms.example",
        "/receipts",
        "ftp://sms.example",
        "https://",
        "https://u:p@sms.example",
        "https://a/?b",
        "https://a/#b",
    ] {
        let lines = home.errors(&format!("{TENANT}[receipts]\npublic_url = \"{url}\"\n"), &[]);
        assert_eq!(lines.len(), 1, "{url} {lines:?}");
        assert!(lines[0].starts_with("verigate.toml:7: receipts.public_url: must be"), "{url} {lines:?}");
    }
    let lines = home.errors(&format!("{TENANT}[receipts]\nsecret = \"canary\"\n"), &[]);
    assert_eq!(lines, ["verigate.toml:7: receipts.secret: must have at least 32 bytes, or it can be guessed"]);
}

#[test]
fn number_masks_belong_to_a_tenant_and_name_a_sender() {
    let home = Home::new();
    let fine = "[rest.hasun]\ntext = 'Code {code}, {minutes} min'\n[rest.hasun.masks.acme]\nFD43GDET = 'ACME'\n";
    let config = home.load(&format!("{TENANT}{fine}"), &[]).unwrap().config;
    let acme = "acme".parse().unwrap();
    assert_eq!(config.rest.hasun.sender(&acme, "FD43GDET"), Some("ACME"));
    assert_eq!(config.rest.hasun.sender(&acme, "fd43gdet"), None);
    let masks = "[rest.hasun.masks.acme]\nFD43GDET = 'A sender of 21 letters'\n'a b' = 'ACME'\n";
    let zeta = "[rest.hasun.masks.zeta]\nR432FDESD = 'ZETA'\n";
    assert_eq!(
        home.errors(&format!("{TENANT}{masks}{zeta}"), &[]),
        [
            "verigate.toml:7: rest.hasun.masks.acme.FD43GDET: must be 1 to 20 characters without control characters",
            "verigate.toml:8: rest.hasun.masks.acme.a b: its name must be 1 to 64 characters of A-Z, a-z, 0-9, '.', \
             '_', ':' and '-'",
            "verigate.toml:9: rest.hasun.masks.zeta: must be a configured tenant, but is \"zeta\"",
        ]
    );
    for text in ["Your code", "", "{CODE}", "{code}\\r"] {
        let error = refused(&format!("[rest.hasun]\ntext = \"{text}\""));
        assert!(error.starts_with("verigate.toml:7: rest.hasun.text: must hold {code}, at most 1600"), "{error}");
    }
}

#[test]
fn keys_may_be_bound_to_networks() {
    let key = |from: &str| {
        format!(
            "[[tenants]]\nname = 'acme'\nkeys = [\n  {{ id = 'one', secret = 'canary-secret-of-one', from = [{from}] }},\n]\n"
        )
    };
    assert!(Home::new().load(&key("'10.0.0.0/8', '2001:db8::/32', '192.0.2.7'"), &[]).is_ok());
    for (from, wanted) in [("'10.0.0.1/8'", "no bits beyond"), ("'localhost'", "10.1.0.0/16"), ("7", "must be a text")]
    {
        let errors = Home::new().errors(&key(from), &[]);
        assert!(errors[0].starts_with("verigate.toml:4: tenants[0].keys[0].from[0]: "), "{errors:?}");
        assert!(errors[0].contains(wanted), "{errors:?}");
    }
}

#[test]
fn keys_may_be_good_for_less_and_not_for_ever() {
    let key = |rest: &str| {
        format!("[[tenants]]\nname = 'acme'\nkeys = [\n  {{ id = 'one', secret_hash = '{HASH}', {rest} }},\n]\n")
    };
    let fine = "scopes = ['verify', 'send', 'read', 'admin', 'return-code'], expires_at = '2027-01-31T08:00:00+08:00'";
    let loaded = Home::new().load(&key(fine), &[]).unwrap();
    let read = &loaded.config.tenants[0].keys[0];
    assert_eq!(read.scopes.as_deref(), Some(&Scope::ALL[..]));
    assert_eq!(read.expires_at.unwrap().to_string(), "2027-01-31T00:00:00.000Z");
    // TOML has times of its own.
    let loaded = Home::new().load(&key("expires_at = 2027-01-31 08:00:00+08:00"), &[]).unwrap();
    assert_eq!(loaded.config.tenants[0].keys[0].expires_at, read.expires_at);
    let time = "must be a time such as \"2027-01-31T00:00:00Z\"";
    let scope = "must be verify, send, read, admin or return-code";
    for (rest, path, wanted) in [
        ("scopes = []", "scopes: ", "must name at least one scope; leave it out for all that the tenant may do"),
        ("scopes = ['all']", "scopes[0]: ", scope),
        ("scopes = ['send', 'return_code']", "scopes[1]: ", scope),
        ("scopes = 'send'", "scopes: ", "must be a list"),
        ("expires_at = 'never'", "expires_at: ", time),
        ("expires_at = '2027-02-30T00:00:00Z'", "expires_at: ", time),
        ("expires_at = 7", "expires_at: ", "must be a text"),
    ] {
        let errors = Home::new().errors(&key(rest), &[]);
        let found = errors[0].strip_prefix("verigate.toml:4: tenants[0].keys[0].").expect("the key's line and path");
        assert!(found.starts_with(path) && found.contains(wanted), "{errors:?}");
    }
}

#[test]
fn keys_that_are_missing_or_allow_nothing_are_warned_of() {
    let routes = "[vendors.inbox]\nkind = 'inbox'\n[[routes]]\nchannel = 'sms'\nvendors = ['inbox']\n";
    let text = format!("[[tenants]]\nname = 'acme'\n{routes}");
    let warnings = Home::new().load(&text, &[]).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("tenants[0].keys: holds none"), "{warnings:?}");
    let key = format!("keys = [{{ id = 'one', secret_hash = '{HASH}', scopes = ['send', 'admin', 'return-code'] }}]");
    let with =
        |rest: &str| Home::new().load(&format!("[[tenants]]\nname = 'acme'\n{rest}{key}\n{routes}"), &[]).unwrap();
    let warnings = with("").warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("tenants[0].keys[0].scopes: \"admin\" allows nothing"), "{warnings:?}");
    assert!(with("admin = true\nreturn_code = true\n").warnings.is_empty());
}

#[test]
fn templates_are_refused_with_the_line_of_what_is_wrong() {
    let entry = "[[templates]]\nname = 'hi'\nlocale = 'en'\n";
    for (rest, expected) in [
        (
            "text = '{{ code'",
            "verigate.toml:9: templates[0].text: unexpected end of input, expected end of variable block",
        ),
        (
            "text = \"\"\"\nYour code:\n{% if a %}{{ code }}\n\"\"\"",
            "verigate.toml:9: templates[0].text: line 2 of the text: unexpected end of input, expected end of block",
        ),
        ("text = '{{ code | upper }}'", "verigate.toml:9: templates[0].text: {{ }} must hold the name of a variable"),
        ("text = 'Hello.'", "verigate.toml:9: templates[0].text: must hold {{ code }} in every case"),
        ("text = '{{ code }} for {{ what }}'", "verigate.toml:9: templates[0].text: must not end with a variable"),
        ("text = '{{ code }} by @acme'", "verigate.toml:9: templates[0].text: phones may take this @ for a mark"),
        ("text = ''", "verigate.toml:9: templates[0].text: must be 1 to 2048 bytes"),
        ("kind = 'message'\ntext = '{{ code }}'", "verigate.toml:10: templates[0].text: must not use code"),
        ("kind = 'both'\ntext = 'Hi'", "verigate.toml:9: templates[0].kind: must be one of verification, message"),
        ("tenant = 'other'\ntext = '{{ code }}'", "verigate.toml:9: templates[0].tenant: must be a configured tenant"),
        (
            "txt = 'Hi'\ntext = '{{ code }}'",
            "verigate.toml:9: templates[0].txt: is not a known key; did you mean text?",
        ),
    ] {
        let error = refused(&format!("{entry}{rest}"));
        assert!(error.starts_with(expected), "{error}");
    }
    for (key, value) in [("name", "Hi"), ("name", ""), ("locale", "english language"), ("locale", "")] {
        let other = if key == "name" { "locale = 'en'" } else { "name = 'hi'" };
        let error = refused(&format!("[[templates]]\n{key} = '{value}'\n{other}\ntext = '{{{{ code }}}}'"));
        assert!(error.starts_with(&format!("verigate.toml:7: templates[0].{key}: must be ")), "{error}");
    }
}

#[test]
fn texts_of_one_template_agree_with_each_other() {
    let text = |locale: &str, text: &str| format!("[[templates]]\nname = 'hi'\nlocale = '{locale}'\ntext = '{text}'\n");
    let twice = [text("zh-Hant", "{{ code }}"), text("ms", "{{ code }}"), text("ZH_hant", "{{ code }}")].concat();
    assert_eq!(
        refused(&twice),
        "verigate.toml:16: templates[2].locale: must be unique for name, kind and tenant, but is \"zh-hant\" like templates[0]"
    );
    let differing = [text("en", "{{ a }} {{ b }} {{ code }}"), text("ms", "{{ a }} {{ code }}")].concat();
    assert_eq!(
        refused(&differing),
        "verigate.toml:13: templates[1].text: must use the same variables in every language: \
         those of templates[0] are [a, b], these are [a]"
    );
    let apart = [text("en", "{{ a }} {{ code }}"), format!("{}tenant = 'acme'\n", text("en", "{{ code }}"))].concat();
    assert!(Home::new().load(&format!("{TENANT}{apart}kind = 'verification'"), &[]).is_ok());
}

#[test]
fn a_text_may_lie_in_a_file_and_is_shown_where_it_came_from() {
    let home = Home::new();
    let path = home.write("hi.txt", "Line one\r\n{{ code }}\r\n");
    let entry = format!("[[templates]]\nname = 'hi'\nlocale = 'en'\ntext_file = {:?}\n", path.display().to_string());
    let loaded = home.load(&format!("{TENANT}{entry}"), &[]).unwrap();
    assert!(loaded.config.templates().is_ok());
    assert!(loaded.render().contains("text_file = "), "{}", loaded.render());
}

#[test]
fn listeners_differ_unless_any_port_will_do() {
    assert_eq!(
        refused("[server]\nadmin = '127.0.0.1:50051'"),
        "verigate.toml:7: server.admin: must differ from server.grpc, but both are 127.0.0.1:50051"
    );
    let free = "[server]\ngrpc = '127.0.0.1:0'\nhttp = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n";
    assert!(Home::new().load(&format!("{TENANT}{free}"), &[]).is_ok());
}

#[test]
fn a_file_needs_a_key_file_that_can_be_read() {
    let home = Home::new();
    let file = home.write("verigate.toml", TENANT);
    let lines = home.lines(&load(Some(&file), owned(&[])).unwrap_err());
    let missing = "defaults: store.key_file: is missing: records are sealed with the key that it holds; make one with \
                   `verigate store-key new FILE`";
    assert_eq!(lines, [missing]);
    let errors = home.errors(TENANT, &[("verigate__store__path", ""), ("VERIGATE__LOG__FORMAT", "json")]);
    assert_eq!(errors, ["verigate__store__path: store.path: must not be empty"]);
    home.write("verigate.toml", &format!("{TENANT}[store]\nkey_file = '/nowhere/key'\n"));
    let lines = home.lines(&load(Some(&file), owned(&[])).unwrap_err());
    assert!(lines[0].starts_with("verigate.toml:7: store.key_file: the file \"/nowhere/key\" cannot be read: "));
}

#[test]
fn the_published_secret_never_meets_the_public() {
    for (key, address) in [("GRPC", "0.0.0.0:50051"), ("HTTP", "[::]:8080"), ("ADMIN", "192.0.2.1:9090")] {
        let name = format!("VERIGATE__SERVER__{key}");
        let error = dev(&[(&name, address)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name}: server.{}: the dev profile", key.to_lowercase())), "{error}");
    }
    for local in ["127.0.0.2:50051", "[::1]:50051", "[::ffff:127.0.0.1]:50051", "unix:/tmp/verigate.sock"] {
        assert!(dev(&[("VERIGATE__SERVER__GRPC", local)]).is_ok(), "{local}");
    }
    let copied = TENANT.replace("canary-secret-of-one", "dev-secret");
    assert!(Home::new().load(&copied, &[]).is_ok());
    let public = [("VERIGATE__SERVER__GRPC", "0.0.0.0:50051")];
    let wanted = "verigate.toml:4: tenants[0].keys[0].secret: must not be the published secret while server.grpc is \
                  0.0.0.0:50051";
    assert_eq!(Home::new().errors(&copied, &public), [wanted]);
    assert!(Home::new().load(TENANT, &public).is_ok());
}

#[test]
fn what_should_not_stay_so_is_warned_of() {
    let home = Home::new();
    let routed = "[vendors.inbox]\nkind = 'inbox'\n[[routes]]\nchannel = 'sms'\nvendors = ['inbox']\n";
    assert!(home.load(&format!("{TENANT}{routed}"), &[]).unwrap().warnings.is_empty());
    let warnings = home.load(&TENANT.replace("canary-secret-of-one", "canary"), &[]).unwrap().warnings;
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].starts_with("tenants[0].keys[0].secret: ") && warnings[1].starts_with("routes: "));
    assert!(!warnings[0].contains("canary"));
    for (allow, warned) in [("'10.0.0.0/8'", 0), ("'127.0.0.1'", 1), ("'10.0.0.0/8', '0.0.0.0/0'", 1)] {
        let text = format!("{TENANT}{routed}[callbacks]\nallow = [{allow}]");
        let warnings = home.load(&text, &[]).unwrap().warnings;
        assert_eq!(warnings.iter().filter(|line| line.starts_with("callbacks.allow: ")).count(), warned, "{allow}");
    }
}

// === secrets ===

#[test]
fn a_secret_may_lie_in_a_file_of_its_own() {
    let home = Home::new();
    for (content, secret) in [("s3cret\n", "s3cret"), ("s3cret", "s3cret"), ("s3cret\r\n", "s3cret"), ("s\n\n", "s\n")]
    {
        let path = home.write("one.secret", content);
        let text = TENANT.replace("secret = \"canary-secret-of-one\"", &format!("secret_file = {path:?}"));
        let loaded = home.load(&text, &[]).unwrap();
        assert!(loaded.config.tenants[0].keys[0].opens_with(secret), "{content:?}");
        assert!(loaded.render().contains(&format!("secret_file = {path:?}")));
    }
    let at = |name: &str| TENANT.replace("secret = \"canary-secret-of-one\"", &format!("secret_file = '{name}'"));
    let errors = home.errors(&at("/nowhere/secret"), &[]);
    let wanted = "verigate.toml:4: tenants[0].keys[0].secret_file: the file \"/nowhere/secret\" cannot be read: ";
    assert!(errors[0].starts_with(wanted), "{errors:?}");
    let empty = home.write("empty", "\n");
    assert!(home.errors(&at(empty.to_str().unwrap()), &[])[0].ends_with("is empty"));
    let soon = home.write("soon", "canary");
    let errors = home.errors(TENANT, &[("VERIGATE__VERIFICATION__RETENTION_FILE", soon.to_str().unwrap())]);
    assert!(
        errors[0].contains("verification.retention: must be a time") && !errors[0].contains("canary"),
        "{errors:?}"
    );
    let short = home.write("short", "1");
    let numbers = [("VERIGATE__MESSAGING__WORKERS_FILE", short.to_str().unwrap())];
    let errors = home.errors(TENANT, &numbers);
    assert!(errors[0].contains("messaging.workers: must be a whole number"), "{errors:?}");
}

#[test]
fn a_secret_by_value_replaces_one_by_file_of_the_layer_below() {
    #[derive(Deserialize)]
    struct Acme {
        api_secret: SecretString,
    }
    let home = Home::new();
    let text = format!("{TENANT}[vendors.acme]\nkind = 'any'\napi_secret_file = '/nowhere/secret'\n");
    let over = [("VERIGATE__VENDORS__ACME__API_SECRET", "from the environment")];
    let loaded = home.load(&text, &over).unwrap();
    let acme: Acme = loaded.config.vendors["acme"].parse().unwrap();
    assert_eq!(acme.api_secret.expose_secret(), "from the environment");
    let error = home.load(&text, &[]).unwrap().config.vendors["acme"].parse::<Acme>().err().unwrap();
    assert!(home.lines(&error)[0].starts_with("verigate.toml:8: vendors.acme.api_secret_file: the file "));
}

#[test]
fn no_error_shows_a_secret() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the errors matter")]
    struct Acme {
        user: SecretString,
        pin: SecretString,
    }
    let home = Home::new();
    let texts = [
        "[[tenants]]\nname = 'a'\nkeys = [{ id = 'one', secret = ['canary-424242'] }]",
        "[[tenants]]\nname = 'a'\nkeys = [{ id = 'one', secret = 424242 }]",
        "[[tenants]]\nname = 'a'\nkeys = [{ id = 'one', secret_hash = 'canary-424242' }]",
        "[[tenants]]\nname = 'a'\nkeys = [{ id = 'one', secrets = 'canary-424242' }]",
        "[[tenants]]\nname = 'a'\nkeys = [{ id = 'one', secret = 'canary-424242 }]",
        "[[tenants]]\nname = 'a'\nkeys = [{ id = 'one', secret = 'canary-424242'\n\n",
        "[[tenants]]\nname = 'a'\nkeys = ['canary-424242']",
        "[[tenants]]\nname = 'a'\nsecret = 'canary-424242'",
    ];
    for text in texts {
        let error = home.load(text, &[]).unwrap_err();
        assert!(!format!("{error}{error:?}").contains("424242"), "{error}");
    }
    for keys in ["user = 424242\npin = 'x'", "user = 'x'\npin = ['424242']", "user = 'x'\npine = '424242'"] {
        let loaded = home.load(&format!("{TENANT}[vendors.acme]\nkind = 'any'\n{keys}"), &[]).unwrap();
        let error = loaded.config.vendors["acme"].parse::<Acme>().unwrap_err();
        assert!(!format!("{error}{error:?}").contains("424242"), "{error}");
    }
}

#[test]
fn a_type_that_repeats_what_it_refuses_cannot_give_a_secret_away() {
    #[derive(Debug)]
    struct Repeats;

    impl<'de> Deserialize<'de> for Repeats {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            Err(serde::de::Error::custom(format!("{text} is not to my taste")))
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        One,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the errors matter")]
    struct Acme {
        #[serde(default)]
        api_secret: Option<Repeats>,
        #[serde(default)]
        token: Option<Choice>,
        #[serde(default)]
        plain: Option<Choice>,
    }

    let home = Home::new();
    let file = home.write("plain", "canary");
    let error = |key: &str| {
        let loaded = home.load(&format!("{TENANT}[vendors.acme]\nkind = 'any'\n{key}"), &[]).unwrap();
        home.lines(&loaded.config.vendors["acme"].parse::<Acme>().unwrap_err())
    };
    assert_eq!(error("api_secret = 'canary'"), ["verigate.toml:8: vendors.acme.api_secret: is not valid"]);
    assert_eq!(error("token = 'canary'"), ["verigate.toml:8: vendors.acme.token: must be one of one"]);
    assert_eq!(error("plain = 'x'"), ["verigate.toml:8: vendors.acme.plain: must be one of one, but is \"x\""]);
    assert_eq!(error(&format!("plain_file = {file:?}")), ["verigate.toml:8: vendors.acme.plain: must be one of one"]);
    assert!(matches!(
        home.load(&format!("{TENANT}[vendors.acme]\nkind = 'any'\nplain = 'one'"), &[]).unwrap().config.vendors["acme"]
            .parse::<Acme>()
            .unwrap()
            .plain,
        Some(Choice::One)
    ));
}

#[test]
fn the_rendered_configuration_shows_where_values_come_from_and_no_secret() {
    let home = Home::new();
    let text = format!(
        "{TENANT}[verification.policy]\nlength = 8\n[vendors.acme]\nkind = 'any'\nuser = 'canary-user'\n\
         pass = 'canary-pass'\nbase_url = 'https://api.example.com'\ntimeout = '3s'\nproxy = 'http://a:canary@b'\n\
         headers = {{ Authorization = 'canary' }}\n[[vendors.acme.rules]]\npattern = 'canary'\n"
    );
    let loaded = home.load(&text, &[("VERIGATE__VERIFICATION__POLICY__MAX_CHECKS", "3")]).unwrap();
    let page = loaded.render().replace(&format!("{}/", home.dir.path().display()), "");
    for line in [
        "length = 8  # verigate.toml:7",
        "max_checks = 3  # VERIGATE__VERIFICATION__POLICY__MAX_CHECKS",
        "lifetime = \"10m\"",
        "secret = \"<redacted>\"  # verigate.toml:4",
        "base_url = \"https://api.example.com\"  # verigate.toml:12",
        "timeout = \"3s\"  # verigate.toml:13",
        "[vendors.acme]",
        "user = \"<redacted>\"  # verigate.toml:10",
    ] {
        assert!(page.lines().any(|other| other == line), "{line}\n\n{page}");
    }
    assert!(!page.contains("canary"), "{page}");
    assert!(!format!("{loaded:?}").contains("canary"), "{loaded:?}");
    let parsed: toml::Table = toml::from_str(&page).unwrap();
    assert_eq!(parsed["tenants"][0]["name"].as_str(), Some("acme"));
    assert_eq!(parsed["vendors"]["acme"]["rules"][0]["pattern"].as_str(), Some("<redacted>"));
    assert_eq!(parsed["verification"]["limits"]["cool_downs"].as_array().unwrap().len(), 5);
}

#[test]
fn what_is_rendered_loads_again_but_for_its_secrets() {
    let home = Home::new();
    let page = dev(&[]).unwrap().render().replace("./verigate-data/key", home.path("store.key").to_str().unwrap());
    let again = home.load(&page, &[]).unwrap();
    assert_eq!(again.config.tenants[0].name.as_str(), "dev");
    assert_eq!(again.config.routes.len(), 4);
}

/// What a query holds may be as good as a password.
#[test]
fn urls_that_accounts_are_told_at_are_checked_and_their_queries_hidden() {
    let at = |url: &str| format!("[rest.octopush.callbacks]\nacme = \"{url}\"\n");
    let place = "verigate.toml:7: rest.octopush.callbacks.acme: ";
    for (url, wrong) in [
        ("nowhere", "must be a URL such as https://example.com/callback"),
        ("ftp://example.com", "must begin with http:// or https://"),
        ("https://10.0.0.1/status", "must lead to a public address, or to one that the configuration allows"),
        (&format!("https://example.com/{}", "x".repeat(2_048)), "must be at most 2048 bytes long"),
    ] {
        let told = refused(&at(url));
        assert!(told.starts_with(&format!("{place}{wrong}")), "{told}");
    }
    let told = refused("[rest.octopush.callbacks]\nnobody = \"https://example.com\"\n");
    assert_eq!(told, "verigate.toml:7: rest.octopush.callbacks.nobody: must be a configured tenant, but is \"nobody\"");
    let text = format!("{TENANT}{}[callbacks]\nallow = [\"10.0.0.1\"]\n", at("https://10.0.0.1/status?key=canary-url"));
    let loaded = Home::new().load(&text, &[]).unwrap();
    assert!(!format!("{loaded:?}{}", loaded.render()).contains("canary-url"));
    assert!(loaded.render().contains("acme = \"<redacted>\""));
}

#[test]
fn whoever_speaks_an_old_interface_is_a_tenant() {
    let told = refused("[rest.simpu]\nv1_tenants = [\"acme\", \"nobody\"]\n");
    assert_eq!(told, "verigate.toml:7: rest.simpu.v1_tenants[1]: must be a configured tenant, but is \"nobody\"");
}

// === vendors' sections ===

#[derive(Debug, Deserialize)]
struct Acme {
    #[serde(default)]
    keep: Option<u32>,
    #[serde(default)]
    timeout: Option<Duration>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    pattern: String,
}

#[test]
fn a_section_is_read_later_with_the_same_care() {
    let home = Home::new();
    let load = |text: &str| home.load(&format!("{TENANT}{text}"), &[]).unwrap().config.vendors["acme"].clone();
    let section = load("[vendors.acme]\nkind = 'any'\nkeep = 7\ntimeout = '2s'\n[[vendors.acme.rules]]\npattern = 'x'");
    assert_eq!((section.name(), section.kind()), ("acme", "any"));
    let acme: Acme = section.parse().unwrap();
    assert_eq!((acme.keep, acme.timeout), (Some(7), Some(Duration::from_secs(2))));
    assert_eq!(acme.rules[0].pattern, "x");

    let fault = |text: &str| home.lines(&load(text).parse::<Acme>().unwrap_err());
    assert_eq!(
        fault("[vendors.acme]\nkind = 'any'\nkeeep = 7"),
        ["verigate.toml:8: vendors.acme.keeep: is not a known key; did you mean keep?"]
    );
    assert_eq!(
        fault("[vendors.acme]\nkind = 'any'\n[[vendors.acme.rules]]\npattern = 7"),
        ["verigate.toml:9: vendors.acme.rules[0].pattern: must be a text in quotes, but is a whole number"]
    );
    let violation = Violation { field: "rules[0].pattern".into(), description: "must be shorter".into() };
    assert_eq!(
        home.lines(&section.refuse(&[violation])),
        ["verigate.toml:11: vendors.acme.rules[0].pattern: must be shorter"]
    );
}

#[test]
fn a_section_has_a_plain_name_a_kind_and_no_empty_text() {
    assert_eq!(refused("[vendors.acme]\nkeep = 1"), "verigate.toml:6: vendors.acme.kind: is missing");
    assert_eq!(
        refused("[vendors.acme]\nkind = 'any'\nwebhook_secret = ''"),
        "verigate.toml:8: vendors.acme.webhook_secret: must not be empty; leave the key out instead"
    );
    assert!(refused("[vendors.Acme]\nkind = 'any'").contains("vendors.Acme: must have a name of"));
    assert_eq!(refused("[vendors]\nacme = 7"), "verigate.toml:7: vendors.acme: must be a table");
}

// === callbacks ===

#[test]
fn callbacks_say_what_is_wrong_with_them() {
    let public = Home::new().load(TENANT, &[]).unwrap().config.callbacks;
    assert!((public.allow.len(), public.attempts) == (0, 10) && public.reach().may_use_port(8080));
    let network = "callbacks.allow[1]: must be a network";
    for (wrong, told) in [
        ("allow = ['10.0.0.0/8', '10.0.0.0/33']", format!("{network} such as \"10.1.0.0/16\" or \"fd00::/8\"")),
        ("allow = ['10.0.0.0/8', 'localhost']", format!("{network} such as \"10.1.0.0/16\" or \"fd00::/8\"")),
        (
            "allow = ['10.0.0.0/8', '10.1.2.3/8']",
            format!("{network} whose address has no bits beyond those that it shares"),
        ),
        ("ports = ['0']", "callbacks.ports[0]: must be ports such as \"443\" or \"1024-65535\"".to_owned()),
        ("ports = []", "callbacks.ports: must hold at least one, or nobody can be called".to_owned()),
        ("timeout = '2m'", "callbacks.timeout: must be 10ms to 1m, but is 2m".to_owned()),
        ("timeout = '3s'", "callbacks.connect_timeout: must be shorter than callbacks.timeout".to_owned()),
        ("attempts = 21", "callbacks.attempts: must be 1 to 20, but is 21".to_owned()),
        ("concurrency = 0", "callbacks.concurrency: must be 1 to 4096, but is 0".to_owned()),
        ("per_receiver = 0", "callbacks.per_receiver: must be 1 to 4096, but is 0".to_owned()),
        ("attemps = 1", "callbacks.attemps: is not a known key; did you mean attempts?".to_owned()),
    ] {
        let error = refused(&format!("[callbacks]\n{wrong}"));
        assert!(error.contains(&told), "{error}");
    }
}

// === events ===

#[test]
fn events_say_what_is_wrong_with_them() {
    let good = "name = 'main'\ntenant = 'acme'\nurl = 'https://example.com/?canary-url'\n\
                secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'\n";
    let endpoint = |text: &str| format!("[[events.endpoints]]\n{text}");
    let home = Home::new();
    let loaded = home.load(&format!("{TENANT}{}types = ['message.*']", endpoint(good)), &[]).unwrap();
    assert_eq!(loaded.config.events.endpoints[0].types, ["message.*"]);
    let page = loaded.render();
    assert!(!page.contains("canary-url") && !page.contains("whsec_"), "{page}");
    let place = "events.endpoints[0]";
    let many: String = (0..21).map(|at| endpoint(&good.replace("main", &format!("main-{at}")))).collect();
    for (wrong, told) in [
        ("[events]\nretention = '3d'".to_owned(), "events.retention: must be ".to_owned()),
        ("[events]\nbacklog = 99".to_owned(), "events.backlog: must be 100 to 1000000, but is 99".to_owned()),
        ("[events]\nper_endpoint = 0".to_owned(), "events.per_endpoint: must be 1 to 256, but is 0".to_owned()),
        ("[events]\nallow = ['x']".to_owned(), "events.allow[0]: must be a network".to_owned()),
        ("[events]\nremote = true".to_owned(), "events.remote: is not a known key".to_owned()),
        (endpoint(&good.replace("'main'", "'Main'")), format!("{place}.name: must be 1 to 63 of")),
        (endpoint(&good.replace("'acme'", "'globex'")), format!("{place}.tenant: must be a configured tenant")),
        (endpoint(&good.replace("https://example.com", "http://example.com")), format!("{place}.url: must begin with")),
        (endpoint(&good.replace("https://example.com", "https://10.0.0.1")), format!("{place}.url: must lead to")),
        (endpoint(&good.replace("https://example.com", "http://127.0.0.1")), format!("{place}.url: must lead to")),
        (endpoint(&good.replace("whsec_", "")), format!("{place}.secret: must begin with")),
        (endpoint(&good.replace("secret", "sekret")), format!("{place}.secret: is missing")),
        (endpoint(&format!("{good}types = ['message']")), format!("{place}.types[0]: must be a type of events")),
        (endpoint(&format!("{good}description = \"a\\nb\"")), format!("{place}.description: must be at most 256")),
        (endpoint(&format!("{good}{}", endpoint(good))), "events.endpoints[1].name: must be unique".to_owned()),
        (many, "events.endpoints[20].tenant: must be of a tenant with at most 20 endpoints".to_owned()),
    ] {
        let errors = Home::new().errors(&format!("{TENANT}{wrong}"), &[]).join("\n");
        assert!(errors.contains(&told), "{wrong}: {errors}");
        assert!(!errors.contains("canary-url") && !errors.contains("MfKQ9r8GKY"), "{errors}");
    }
}

// === routes and workflows ===

#[test]
fn routes_take_names_and_weights_and_say_what_is_wrong_with_them() {
    let vendors = "[vendors.a]\nkind = 'inbox'\n[vendors.b]\nkind = 'inbox'\n[[routes]]\nchannel = 'sms'\n";
    let weighted = format!("{vendors}order = 'weight'\nvendors = ['a', {{ vendor = 'b', weight = 3 }}]");
    let loaded = Home::new().load(&format!("{TENANT}{weighted}"), &[]).unwrap();
    let route = &loaded.config.routes[0];
    assert_eq!((route.order, route.vendors[1].weight, route.vendors[0].weight), (Order::Weight, Some(3), None));
    for (wrong, told) in [
        ("order = 'price'\nvendors = ['a']", "routes[0].order: "),
        ("vendors = ['a', { vendor = 'b', weight = 3 }]", "routes[0].vendors[1].weight: means nothing in a route by"),
        (
            "order = 'weight'\nvendors = [{ vendor = 'b', weight = 0 }]",
            "routes[0].vendors[0].weight: must be 1 to 1000",
        ),
        ("order = 'weight'\nvendors = [{ vendor = 'c', weight = 1 }]", "routes[0].vendors[0].vendor: must be a config"),
        ("vendors = [{ vendor = 'b', wait = 1 }]", "routes[0].vendors[0]"),
        ("vendors = [7]", "routes[0].vendors[0]: "),
    ] {
        let refused = refused(&format!("{vendors}{wrong}"));
        assert!(refused.contains(told), "{refused}");
    }
}

#[test]
fn workflows_say_what_is_wrong_with_them() {
    let ground = "[vendors.a]\nkind = 'inbox'\n[[routes]]\nchannel = 'sms'\nvendors = ['a']\n[[routes]]\n\
                  channel = 'voice'\ncountries = ['MY']\nvendors = ['a']\n[[workflows]]\nname = 'w'\n";
    let good = "steps = [{ channel = 'sms', wait = '30s' }, { channel = 'voice' }]";
    let load = |text: &str| Home::new().load(&format!("{TENANT}{ground}{text}"), &[]);
    assert_eq!(load(good).unwrap().config.workflows[0].steps[0].wait, Some(Duration::from_secs(30)));
    assert!(load(&format!("{good}\ncountries = ['MY']")).is_ok());
    for (wrong, told) in [
        ("steps = []", "workflows[0].steps: must hold at least one step"),
        ("tenants = ['acme']", "workflows[0].steps: is missing"),
        ("steps = [{ channel = 'fax' }]", "workflows[0].steps[0].channel: "),
        (
            "steps = [{ channel = 'sms', wait = '2h' }, { channel = 'sms' }]",
            "workflows[0].steps[0].wait: must be 1s to",
        ),
        ("steps = [{ channel = 'sms' }]\ntenants = ['other']", "workflows[0].tenants[0]: must be a configured tenant"),
        (
            "steps = [{ channel = 'whatsapp' }]",
            "workflows[0].steps[0].channel: has no route for tenant \"acme\"; add a [[routes]] entry for whatsapp",
        ),
        (
            "steps = [{ channel = 'voice' }]\ncountries = ['MY', 'SG']",
            "workflows[0].steps[0].channel: has no route for tenant \"acme\" to SG; add a [[routes]] entry for voice",
        ),
        ("steps = [{ channel = 'sms' }]\nstops = 1", "workflows[0].stops: is not a known key"),
    ] {
        let errors = Home::new().errors(&format!("{TENANT}{ground}{wrong}"), &[]);
        assert!(errors[0].contains(told), "{errors:?}");
    }
}

// === the manual ===

#[test]
fn the_examples_of_the_manual_load() {
    let example =
        |line: &str| line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' ')).is_some();
    let inner = |line: &str| line.starts_with("#  {");
    let examples: Vec<_> =
        DEFAULTS.lines().filter(|line| example(line) || inner(line)).map(|line| &line[1..]).collect();
    assert!(examples.len() > 10);
    let loaded = Home::new().load(&examples.join("\n"), &[]).unwrap();
    assert_eq!(loaded.config.tenants[0].default_country, Some("MY".parse().unwrap()));
    assert_eq!(loaded.config.routes[0].countries, ["MY", "SG"].map(|code| code.parse().unwrap()));
}

#[test]
fn every_key_of_the_manual_has_a_comment_above_it() {
    let mut previous = "";
    for line in DEFAULTS.lines() {
        let is_key =
            line.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        assert!(!is_key || previous.starts_with("# "), "{line}");
        assert!(line.len() <= 120, "{line}");
        previous = line;
    }
}
