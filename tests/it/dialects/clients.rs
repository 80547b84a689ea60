//! Programs of vendors' customers, as those would write them, against the real program: only base URL and credentials are
//! ours. They need nothing beside their language.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::cli::program::{Place, Served};

/// How long one may take, in seconds. They take one when the machine has nothing else to do.
const PATIENCE: &str = "300";

/// An organisation that may see its codes.
const ORGANISATION: &str = r#"
[store]
path = "data"
key_file = "key"

[[tenants]]
name = "lanka"
return_code = true
keys = [{ id = "a1b2c3d4", secret = "lanka-secret-of-some-length" }]

[rest.hasun.masks.lanka]
FD43GDET = "ACME"

[vendors.inbox]
kind = "inbox"

[[routes]]
channel = "sms"
vendors = ["inbox"]
"#;

/// Runs a program of the folder against a gateway. `base`: what follows the address of the gateway in the base URL.
fn run(language: &str, program: &str, served: &Served, base: &str, variables: &[(&str, &str)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/dialects/clients");
    let output = Command::new("timeout")
        .args(["--kill-after=5", PATIENCE, language, program])
        .current_dir(folder)
        .env("BASE", format!("http://{}{base}", served.http))
        .env("ADMIN", format!("http://{}", served.admin))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let Output { status, stdout, stderr } = &output;
    let (out, err) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
    assert!(status.success(), "{program}: {status}\n{out}\n{err}");
}

#[test]
fn a_customer_of_esms_in_python() {
    let place = Place::new();
    let served = place.serve(&[], &[]);
    run("python3", "esms.py", &served, "/esms", &[("KEY", "dev"), ("SECRET", "dev-secret")]);
}

#[test]
fn a_customer_of_hasun_in_javascript() {
    let place = Place::new();
    assert_eq!(place.run(&["store-key", "new", "key"]).code, 0);
    place.write("verigate.toml", ORGANISATION);
    let served = place.serve(&["--config", "verigate.toml"], &[]);
    let key = [("ORGANISATION", "a1b2c3d4"), ("TOKEN", "lanka-secret-of-some-length"), ("MASK", "FD43GDET")];
    run("node", "hasun.mjs", &served, "/hasun/v1", &key);
    run(
        "node",
        "hasun.mjs",
        &served,
        "/hasun",
        &[("ORGANISATION", "lanka"), ("TOKEN", "a1b2c3d4.lanka-secret-of-some-length"), ("MASK", "FD43GDET")],
    );
}

#[test]
fn a_customer_of_simpu_in_javascript() {
    let place = Place::new();
    let served = place.serve(&[], &[]);
    run("node", "simpu.mjs", &served, "/simpu", &[("KEY", "dev.dev-secret")]);
}
