//! Tenants and keys as records of the store.

use std::sync::Arc;
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::auth::account::{Account, Origin};
use crate::auth::key::{Key, LastUse};
use crate::auth::scope::Scopes;
use crate::auth::secret::SecretHash;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::TenantName;
use crate::network::Network;
use crate::recipient::Country;
use crate::store::record;
use crate::tenant::{Retention, Tenant};

#[derive(Encode, Decode)]
struct AccountRecord {
    #[n(0)]
    name: TenantName,
    #[n(1)]
    default_country: Option<Country>,
    #[n(2)]
    brand: Option<String>,
    #[n(3)]
    sender: Option<String>,
    #[n(4)]
    return_code: bool,
    #[n(5)]
    admin: bool,
    #[n(6)]
    balance_of: Option<String>,
    #[n(7)]
    disabled: bool,
    #[n(8)]
    created_at: Option<Timestamp>,
    #[n(9)]
    updated_at: Option<Timestamp>,
    /// In milliseconds, as the next.
    #[n(10)]
    verification_retention: Option<u64>,
    #[n(11)]
    message_retention: Option<u64>,
}

#[derive(Encode, Decode)]
struct KeyRecord {
    #[n(0)]
    id: String,
    #[n(1)]
    tenant: TenantName,
    #[n(2)]
    hash: SecretHash,
    #[n(3)]
    scopes: Scopes,
    #[n(4)]
    expires_at: Option<Timestamp>,
    /// As they are written.
    #[n(5)]
    from: Vec<String>,
    #[n(6)]
    alone: bool,
    #[n(7)]
    created_at: Option<Timestamp>,
}

// === impl AccountRecord ===

pub(crate) fn encode_account(account: &Account) -> Result<Vec<u8>> {
    let tenant = Tenant::clone(&account.tenant);
    record::encode(&AccountRecord {
        name: tenant.name,
        default_country: tenant.default_country,
        brand: tenant.brand,
        sender: tenant.sender,
        return_code: tenant.may_return_code,
        admin: tenant.may_administer,
        balance_of: tenant.balance_of,
        disabled: account.disabled,
        created_at: account.created_at,
        updated_at: account.updated_at,
        verification_retention: to_millis(tenant.retention.verifications),
        message_retention: to_millis(tenant.retention.messages),
    })
}

fn to_millis(span: Option<Duration>) -> Option<u64> {
    span.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// Errors: `Internal` for a damaged record, or one of the future.
pub(crate) fn decode_account(bytes: &[u8]) -> Result<Account> {
    let read: AccountRecord = record::decode(bytes)?;
    let tenant = Tenant {
        name: read.name,
        default_country: read.default_country,
        brand: read.brand,
        sender: read.sender,
        may_return_code: read.return_code,
        balance_of: read.balance_of,
        may_administer: read.admin,
        retention: Retention {
            verifications: read.verification_retention.map(Duration::from_millis),
            messages: read.message_retention.map(Duration::from_millis),
        },
    };
    Ok(Account {
        tenant: Arc::new(tenant),
        disabled: read.disabled,
        origin: Origin::Stored,
        created_at: read.created_at,
        updated_at: read.updated_at,
    })
}

// === impl KeyRecord ===

pub(crate) fn encode_key(key: &Key) -> Result<Vec<u8>> {
    record::encode(&KeyRecord {
        id: key.id.as_ref().to_owned(),
        tenant: key.tenant.clone(),
        hash: key.hash,
        scopes: key.scopes,
        expires_at: key.expires_at,
        from: key.from.iter().map(Network::to_string).collect(),
        alone: key.alone,
        created_at: key.created_at,
    })
}

/// Errors: `Internal` for a damaged record, or one of the future.
pub(crate) fn decode_key(bytes: &[u8]) -> Result<Key> {
    let read: KeyRecord = record::decode(bytes)?;
    let from = read.from.iter().map(|network| network.parse()).collect::<Result<Vec<Network>, _>>();
    Ok(Key {
        id: read.id.into(),
        tenant: read.tenant,
        hash: read.hash,
        scopes: read.scopes,
        expires_at: read.expires_at,
        from: from.map_err(Error::internal)?.into(),
        alone: read.alone,
        origin: Origin::Stored,
        created_at: read.created_at,
        last_use: LastUse::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scope::Scope;

    #[test]
    fn records_read_back() {
        let key = Key {
            id: "one".into(),
            tenant: "acme".parse().unwrap(),
            hash: SecretHash::of("x"),
            scopes: Scopes::of(&[Scope::Send, Scope::ReturnCode]),
            expires_at: Some(Timestamp::from_millis(7)),
            from: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()].into(),
            alone: true,
            origin: Origin::Stored,
            created_at: Some(Timestamp::from_millis(3)),
            last_use: LastUse::default(),
        };
        let read = decode_key(&encode_key(&key).unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{key:?}"));
        assert_eq!(read.hash.as_bytes(), key.hash.as_bytes());
        let tenant = Tenant {
            name: "acme".parse().unwrap(),
            default_country: "MY".parse().ok(),
            brand: Some("Acme".to_owned()),
            sender: None,
            may_return_code: true,
            balance_of: Some("carrier".to_owned()),
            may_administer: false,
            retention: Retention { verifications: Some(Duration::from_secs(60)), messages: None },
        };
        let account = Account { origin: Origin::Stored, disabled: true, ..Account::configured(tenant) };
        let account = Account { created_at: Some(Timestamp::from_millis(3)), ..account };
        assert_eq!(decode_account(&encode_account(&account).unwrap()).unwrap(), account);
    }
}
