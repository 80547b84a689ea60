//! Settings that are refused at start, each by the key that is wrong.

use verigate::config;

/// The errors of a configuration with these settings under `[store.redis]`.
fn faults(settings: &str) -> String {
    let place = tempfile::tempdir().unwrap();
    let (key, file) = (place.path().join("key"), place.path().join("verigate.toml"));
    std::fs::write(&key, "").unwrap();
    let text = format!(
        "[store]\nkind = \"redis\"\nkey_file = {:?}\n[store.redis]\n{settings}\n[[tenants]]\nname = \"acme\"\nkeys = [{{ id = \
         \"acme\", secret = \"acme-secret-of-some-length\" }}]\n",
        key.display().to_string()
    );
    std::fs::write(&file, text).unwrap();
    match config::load(Some(&file), std::iter::empty()) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

const SENTINEL: &str = "mode = \"sentinel\"\nreplicas = 1\n";
const CLUSTER: &str = "mode = \"cluster\"\nreplicas = 1\n";

#[test]
fn good_settings_are_taken() {
    for good in [
        "".to_owned(),
        "addresses = [\"redis\"]".to_owned(),
        "addresses = [\"[::1]:6380\"]\ndatabase = 3\nprefix = \"a.b-c_D1\"".to_owned(),
        "password = \"secret\"".to_owned(),
        "user = \"u\"\npassword = \"secret\"".to_owned(),
        "durability = \"standard\"".to_owned(),
        "replicas = 2\nreplica_fsync = true\nreplica_timeout = \"2s\"\ntimeout = \"3s\"".to_owned(),
        format!("{SENTINEL}sentinel = {{ master = \"m\", password = \"p\" }}"),
        format!("{CLUSTER}addresses = [\"a:1\", \"b:2\"]"),
        "mode = \"cluster\"\ndurability = \"standard\"".to_owned(),
        "tls = { enabled = true, ca_file = \"ca.pem\", certificate_file = \"c.pem\", key_file = \"k.pem\" }".to_owned(),
    ] {
        assert_eq!(faults(&good), "", "{good}");
    }
}

#[test]
fn bad_settings_are_refused_by_their_key() {
    for (bad, key, why) in [
        ("addresses = []".to_owned(), "addresses", "at least one"),
        ("addresses = [\"a\", \"b\"]".to_owned(), "addresses", "one address in mode \"single\""),
        ("addresses = [\"redis:port\"]".to_owned(), "addresses[0]", "a host and a port"),
        ("addresses = [\"redis:0\"]".to_owned(), "addresses[0]", "a host and a port"),
        ("addresses = [\"redis://u:secret@host:1\"]".to_owned(), "addresses[0]", "a host and a port"),
        ("mode = \"many\"".to_owned(), "mode", "many"),
        (format!("{CLUSTER}database = 1"), "database", "must be 0"),
        ("prefix = \"\"".to_owned(), "prefix", "must be 1 to 32"),
        ("prefix = \"a{b}\"".to_owned(), "prefix", "must be 1 to 32"),
        ("user = \"u\"".to_owned(), "password", "is missing"),
        ("mode = \"cluster\"".to_owned(), "replicas", "1 or more"),
        ("durability = \"standard\"\nreplicas = 1".to_owned(), "replicas", "must be 0"),
        ("replicas = 6".to_owned(), "replicas", "0 to 5"),
        ("replica_fsync = true".to_owned(), "replica_fsync", "must be false"),
        ("replicas = 1\nreplica_fsync = true".to_owned(), "replica_timeout", "2s or more with replica_fsync"),
        ("replicas = 1\nreplica_timeout = \"2s\"".to_owned(), "replica_timeout", "shorter than timeout"),
        ("replica_timeout = \"1ms\"".to_owned(), "replica_timeout", "10ms to 30s"),
        ("timeout = \"1m\"".to_owned(), "timeout", "50ms to 30s"),
        ("connections = 0".to_owned(), "connections", "1 to 64"),
        ("clock = \"mine\"".to_owned(), "clock", "mine"),
        (SENTINEL.to_owned(), "sentinel.master", "is missing"),
        (format!("{SENTINEL}sentinel = {{ master = \"a b\" }}"), "sentinel.master", "visible ASCII"),
        (format!("{SENTINEL}sentinel = {{ master = \"m\", user = \"u\" }}"), "sentinel.password", "is missing"),
        ("sentinel = { master = \"m\" }".to_owned(), "sentinel.master", "mode \"sentinel\" only"),
        ("tls = { ca_file = \"ca.pem\" }".to_owned(), "tls.ca_file", "needs enabled"),
        ("tls = { enabled = true, key_file = \"k.pem\" }".to_owned(), "tls.certificate_file", "is missing"),
        ("tls = { enabled = true, certificate_file = \"c.pem\" }".to_owned(), "tls.key_file", "is missing"),
        ("passwort = \"x\"".to_owned(), "passwort", ""),
    ] {
        let told = faults(&bad);
        assert!(told.contains(&format!("store.redis.{key}")) && told.contains(why), "{bad}: {told}");
        assert!(!told.contains("secret@"), "{told}");
    }
}
