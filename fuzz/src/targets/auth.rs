//! Credentials as callers send them, and keys as operators write them.

use std::net::IpAddr;

use secrecy::ExposeSecret;
use verigate::auth::account::Account;
use verigate::auth::caller::Caller;
use verigate::auth::key_config::KeyConfig;
use verigate::auth::roster::Roster;
use verigate::auth::secret::SecretHash;
use verigate::clock::Timestamp;
use verigate::error::{Kind, Result};
use verigate::network::Network;
use verigate::tenant::Tenant;

use crate::targets::parts;

/// Ids with dots in them, beside one that is the beginning of another.
const KEYS: [(&str, &str, &str, bool); 4] = [
    ("acme", "acme", "acme-secret-of-some-length", false),
    ("acme", "acme.eu", "eu.secret.with.dots.in.it", false),
    ("other", "ann.lee@example.com", "other-secret-of-some-length", false),
    ("other", "alone", "a-secret-that-opens-alone-1", true),
];

const NOW: Timestamp = Timestamp::from_millis(1_795_324_560_125);

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let roster = roster(&KEYS.map(|(tenant, id, secret, alone)| (tenant, config(id, secret, alone))));
    let bearer = text.trim_matches(' ').split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    expect(roster.authenticate(Some(text), NOW), bearer.map(|(_, token)| token.trim_start_matches(' ')), false);
    expect(roster.check_token(text, NOW), Some(text), true);
    if let [id, secret, ..] = parts(text).as_slice() {
        let known = KEYS.iter().find(|(_, known, right, _)| known == id && right == secret);
        let found = roster.check(id, secret, NOW).ok();
        assert_eq!(found.as_ref().map(Caller::key_id), known.map(|(_, id, ..)| *id));
    }
    written(text);
}

fn config(id: &str, secret: &str, alone: bool) -> KeyConfig {
    KeyConfig { id: id.to_owned(), secret: Some(secret.into()), alone, ..KeyConfig::default() }
}

fn roster(keys: &[(&str, KeyConfig)]) -> Roster {
    let mut roster = Roster::default();
    for name in ["acme", "other"] {
        let tenant = Tenant {
            name: name.parse().unwrap(),
            default_country: None,
            brand: None,
            sender: None,
            may_return_code: false,
            balance_of: None,
            may_administer: false,
        };
        roster.add_account(Account::configured(tenant).into()).unwrap();
    }
    for (tenant, config) in keys {
        roster.add_key(config.to_key(&tenant.parse().unwrap()).unwrap().into()).unwrap();
    }
    roster
}

/// Opens for `ID.SECRET` of a key, or the secret of one that opens alone, and for nothing else.
fn expect(found: Result<Caller>, token: Option<&str>, alone: bool) {
    let right = KEYS.iter().find(|(_, id, secret, opens_alone)| {
        token.is_some_and(|token| token == format!("{id}.{secret}") || alone && *opens_alone && token == *secret)
    });
    match found {
        Ok(caller) => {
            let (tenant, id, ..) = right.expect("opened for what is no key");
            assert_eq!((caller.tenant.name.as_str(), caller.key_id()), (*tenant, *id));
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
    let config = config(text, text, text.len().is_multiple_of(2));
    if config.violations().is_empty() {
        let secret = config.secret.as_ref().unwrap().expose_secret().to_owned();
        let roster = roster(&[("acme", config)]);
        assert!(roster.check(text, &secret, NOW).is_ok(), "a key that opens nothing");
        assert!(roster.check_token(&format!("{text}.{text}"), NOW).is_ok(), "a token that opens nothing");
    }
}
