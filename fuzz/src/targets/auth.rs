//! Credentials as callers send them, and keys as operators write them.

use std::net::IpAddr;

use secrecy::ExposeSecret;
use verigate::auth::{Keys, KeyConfig, SecretHash};
use verigate::error::Kind;
use verigate::id::TenantName;
use verigate::network::Network;

use crate::targets::parts;

/// Ids with dots in them, beside one that is the beginning of another.
const KEYS: [(&str, &str, &str, bool); 4] = [
    ("acme", "acme", "acme-secret-of-some-length", false),
    ("acme", "acme.eu", "eu.secret.with.dots.in.it", false),
    ("other", "ann.lee@example.com", "other-secret-of-some-length", false),
    ("other", "alone", "a-secret-that-opens-alone-1", true),
];

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let configs: Vec<_> = KEYS.into_iter().map(config).collect();
    let keys = Keys::new(configs.iter().map(|(tenant, config)| (tenant, config))).unwrap();
    let bearer = text.trim_matches(' ').split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    expect(keys.authenticate(Some(text)), bearer.map(|(_, token)| token.trim_start_matches(' ')), false);
    expect(keys.check_token(text), Some(text), true);
    if let [id, secret, ..] = parts(text).as_slice() {
        let known = KEYS.iter().find(|(_, known, right, _)| known == id && right == secret);
        let found = keys.check(id, secret).ok();
        assert_eq!(found.map(|caller| caller.key_id.to_string()), known.map(|(_, id, ..)| (*id).to_owned()));
    }
    written(text);
}

fn config((tenant, id, secret, alone): (&str, &str, &str, bool)) -> (TenantName, KeyConfig) {
    let config = KeyConfig { id: id.into(), secret: Some(secret.into()), secret_hash: None, alone, from: Vec::new() };
    (tenant.parse().unwrap(), config)
}

/// Opens for `ID.SECRET` of a key, or the secret of one that opens alone, and for nothing else.
fn expect(found: verigate::error::Result<verigate::auth::Caller>, token: Option<&str>, alone: bool) {
    let right = KEYS.iter().find(|(_, id, secret, opens_alone)| {
        token.is_some_and(|token| token == format!("{id}.{secret}") || alone && *opens_alone && token == *secret)
    });
    match found {
        Ok(caller) => {
            let (tenant, id, ..) = right.expect("opened for what is no key");
            assert_eq!((caller.tenant.as_str(), &*caller.key_id), (*tenant, *id));
        }
        Err(error) => {
            assert!(right.is_none(), "refused {token:?}");
            assert_eq!(error.kind(), Kind::Unauthenticated);
            assert!(token.is_none_or(|token| token.len() < 12 || !format!("{error:?}").contains(token)), "repeated");
        }
    }
}

fn written(text: &str) {
    if let Ok(hash) = text.parse::<SecretHash>() {
        assert_eq!(hash.to_string(), text.to_ascii_lowercase());
        assert!(!format!("{hash:?}").contains(&text[7..]));
    }
    if let Ok(network) = text.parse::<Network>() {
        let address: &str = text.split('/').next().unwrap();
        let address: IpAddr = address.parse().unwrap();
        assert!(network.contains(address.to_canonical()) || network.contains(address), "{text}");
    }
    let config = KeyConfig {
        id: text.to_owned(),
        secret: Some(text.into()),
        secret_hash: None,
        alone: text.len().is_multiple_of(2),
        from: Vec::new(),
    };
    if config.violations().is_empty() {
        let (tenant, token) = ("acme".parse().unwrap(), format!("{text}.{text}"));
        let keys = Keys::new([(&tenant, &config)]).unwrap();
        let secret = config.secret.as_ref().unwrap().expose_secret();
        assert!(keys.check(&config.id, secret).is_ok(), "a key that opens nothing");
        assert!(keys.check_token(&token).is_ok(), "a token that opens nothing");
    }
}
