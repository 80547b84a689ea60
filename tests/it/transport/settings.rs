//! The settings of the listeners: what is refused at start, in a line that says where, and what is warned of.

use std::sync::Arc;

use tempfile::TempDir;
use verigate::clock::SystemClock;
use verigate::config::{self, Loaded};
use verigate::server;

use crate::support::authority::Authority;

const TENANT: &str = "[store]\nkey_file = 'PLACE/store.key'\n[[tenants]]\nname = 'acme'\n\
                      keys = [{ id = 'one', secret = 'a-secret-of-one-that-is-long' }]\n\
                      [vendors.inbox]\nkind = 'inbox'\n[[routes]]\nchannel = 'sms'\nvendors = ['inbox']\n";

fn load(place: &TempDir, text: &str) -> Result<Loaded, String> {
    std::fs::write(place.path().join("store.key"), "").unwrap();
    let file = place.path().join("verigate.toml");
    let text = format!("{TENANT}{text}").replace("PLACE", place.path().to_str().unwrap());
    std::fs::write(&file, text).unwrap();
    config::load(Some(&file), std::iter::empty()).map_err(|error| error.to_string())
}

/// The lines that a configuration is refused with, from the key on.
fn refused(text: &str) -> Vec<String> {
    let place = TempDir::new().unwrap();
    let refusal = load(&place, text).expect_err(text);
    refusal.lines().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect()
}

fn warnings(text: &str) -> Vec<String> {
    let place = TempDir::new().unwrap();
    load(&place, text).unwrap().warnings
}

#[test]
fn what_makes_no_sense_is_refused() {
    let unix = "[server]\ngrpc = 'unix:/tmp/verigate-test.sock'\n";
    let half = "is missing, while";
    for (text, key, wanted) in [
        ("[server.tls.grpc]\ncertificate_file = 'x'", "server.tls.grpc.key_file", half),
        ("[server.tls.http]\nkey_file = 'x'", "server.tls.http.certificate_file", half),
        ("[server.tls.admin]\ncertificate_file = 'x'\nclient_ca_file = 'x'", "server.tls.admin.key_file", half),
        (
            &format!("{unix}[server.tls.grpc]\ncertificate_file = 'x'\nkey_file = 'x'"),
            "server.tls.grpc.certificate_file",
            "must not be set while server.grpc is a Unix socket",
        ),
        ("[server]\nadmin = '0.0.0.0:9090'", "server.admin", "unless server.admin_access.password is set"),
        ("[server]\nadmin = '[::]:9090'", "server.admin", "must listen to this machine only"),
        ("[server.admin_access]\npassword = ''", "server.admin_access.password", "must not be empty"),
        ("[server.admin_access]\npassword_hash = 'x'", "server.admin_access.password_hash", "must be \"sha256:\""),
        ("[server.admin_access]\nuser = 'a:b'", "server.admin_access.user", "without a colon"),
        ("[server.unix]\nmode = '0066'", "server.unix.mode", "must be permissions"),
        ("[server.unix]\nusers = ['']", "server.unix.users", "one of them is empty"),
        ("[server.unix]\nkey = 'one'", "server.unix.key", "needs users or groups"),
        ("[server.unix]\nkey = 'two'\nusers = ['0']", "server.unix.key", "must be the id of a configured API key"),
        ("[server]\nproxies = ['10.0.0.1/8']", "server.proxies[0]", "no bits beyond"),
        ("[server]\nproxies = ['proxy.example']", "server.proxies[0]", "must be a network"),
        ("[server]\nproxy_header = 'x-real-ip'", "server.proxy_header", "x-forwarded-for"),
        ("[server.limits]\nconnections = 0", "server.limits.connections", "1 to 1000000, but is 0"),
        ("[server.limits]\nconnections_per_address = 0", "server.limits.connections_per_address", "1 to 1000000"),
        ("[server.limits]\ncalls = 3", "server.limits.calls", "4 to 1000000, but is 3"),
        ("[server.limits]\nhandshake_timeout = '1ms'", "server.limits.handshake_timeout", "10ms to 2m, but is 1ms"),
        ("[server.limits]\nread_timeout = '2h'", "server.limits.read_timeout", "10ms to 1h, but is 2h"),
        ("[server.limits]\nidle_timeout = '25h'", "server.limits.idle_timeout", "10ms to 24h, but is 25h"),
        ("[server.limits]\ncall_timeout = '500ms'", "server.limits.call_timeout", "1s to 1h, but is 500ms"),
    ] {
        let lines = refused(text);
        assert_eq!(lines.len(), 1, "{text}: {lines:?}");
        assert!(lines[0].starts_with(&format!("{key}: ")) && lines[0].contains(wanted), "{text}: {lines:?}");
    }
    assert_eq!(refused("[server.tls.grpc]\nclient_ca_file = 'x'").len(), 2);
}

#[test]
fn the_dev_profile_meets_the_public_on_no_listener() {
    let variables = ["GRPC", "HTTP", "ADMIN"].map(|key| (format!("VERIGATE__SERVER__{key}"), "0.0.0.0:0".to_owned()));
    let refusal = config::load(None, variables.into_iter()).unwrap_err().to_string();
    let told = |key: &str| refusal.lines().any(|line| line.contains(&format!("server.{key}: the dev profile")));
    assert!(told("grpc") && told("http") && told("admin"), "{refusal}");
}

#[test]
fn listeners_in_the_open_are_warned_of() {
    assert!(warnings("").is_empty());
    let open = "[server]\ngrpc = '0.0.0.0:1'\nhttp = '192.0.2.1:2'\nadmin = '[::]:3'\n[server.admin_access]\n";
    let lines = warnings(&format!("{open}password = 'a-password-that-is-long'"));
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, key) in lines.iter().zip(["grpc", "http", "admin"]) {
        assert!(line.starts_with(&format!("server.{key}: ")) && line.contains("without TLS"), "{line}");
        assert!(line.contains(&format!("set server.tls.{key}")), "{line}");
    }
    let tls = "[server.tls.http]\ncertificate_file = 'x'\nkey_file = 'x'\n";
    let lines = warnings(&format!("{open}password = 'a-password-that-is-long'\n{tls}"));
    assert_eq!(lines.len(), 2, "{lines:?}");
    let lines = warnings("[server.admin_access]\npassword = 'canary-short'");
    assert!(lines.len() == 1 && lines[0].contains("can be guessed") && !lines[0].contains("canary"), "{lines:?}");
}

#[test]
fn files_that_are_no_good_are_told_with_their_key() {
    let place = TempDir::new().unwrap();
    let (authority, other) = (Authority::new(), Authority::new());
    let own = authority.certify();
    let (certificate, key) = own.write(place.path());
    let file = |name: &str, text: &str| {
        std::fs::write(place.path().join(name), text).unwrap();
        format!("PLACE/{name}")
    };
    let (other_key, garbage, ca) =
        (file("other.pem", &other.certify().key), file("garbage.pem", "canary"), file("ca.pem", &authority.pem()));
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let check = |certificate: &str, key: &str, ca: &str| {
        let files = format!("certificate_file = '{certificate}'\nkey_file = '{key}'\nclient_ca_file = '{ca}'\n");
        let loaded = load(&place, &format!("[server.tls.http]\n{files}")).unwrap();
        server::check(&loaded, Arc::new(SystemClock)).map_err(|error| error.message().to_owned())
    };
    for (certificate, key, ca, wrong, wanted) in [
        (&*certificate, &*other_key, &*ca, "key_file", "is not the key of the first certificate"),
        (&certificate, &garbage, &ca, "key_file", "holds no private key in PEM"),
        (&certificate, &certificate, "", "key_file", "holds no private key in PEM"),
        (&certificate, "/nowhere", "", "key_file", "cannot be read"),
        (&garbage, &key, &ca, "certificate_file", "holds no certificates in PEM"),
        ("/nowhere", &key, "", "certificate_file", "cannot be read"),
        (&certificate, &key, &garbage, "client_ca_file", "holds no certificates in PEM"),
        (&certificate, &key, "/nowhere", "client_ca_file", "cannot be read"),
    ] {
        let error = check(certificate, key, ca).unwrap_err();
        let place = format!("verigate.toml:{}: server.tls.http.{wrong}: ", 12 + line_of(wrong));
        assert!(error.contains(&place) && error.contains(wanted), "{error}");
        assert!(!error.contains("canary") && error.lines().count() == 1, "{error}");
    }
    // A key that everybody may read works, and is told of.
    use std::os::unix::fs::PermissionsExt;
    let permit = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    permit(0o600);
    assert_eq!(check(&certificate, &key, &ca).unwrap(), [] as [String; 0]);
    permit(0o644);
    let lines = check(&certificate, &key, "").unwrap();
    assert!(lines.len() == 1 && lines[0].starts_with("server.tls.http.key_file: everybody"), "{lines:?}");
    let loaded = load(&place, "[server]\ngrpc = 'unix:/tmp/x'\n[server.unix]\nusers = ['no such user']").unwrap();
    let error = server::check(&loaded, Arc::new(SystemClock)).unwrap_err();
    assert!(error.message().contains("server.unix.users[0]: must be a number or a name"), "{}", error.message());
}

fn line_of(key: &str) -> usize {
    ["certificate_file", "key_file", "client_ca_file"].iter().position(|known| *known == key).unwrap()
}
