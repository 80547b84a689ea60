//! From the sections of a configuration to the settings of the modules.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::account::Account;
use crate::auth::registry::Configured;
use crate::config::Config;
use crate::config::settings::{StoreConfig, TenantConfig};
use crate::error::Result;
use crate::messaging::outbox;
use crate::messaging::sending::Persistence;
use crate::messaging::service::MessagingConfig;
use crate::receipts;
use crate::server::memory;
use crate::store::keys::ReceiptTokens;
use crate::store::sled;
use crate::tenant::Tenant;

/// The wait after the first round of a route in which no vendor was reachable.
const FIRST_BACKOFF: Duration = Duration::from_secs(2);

pub(crate) fn store(config: &StoreConfig) -> sled::Config {
    let ours = memory::shares();
    let set = |bytes: u64, ours: u64| if bytes == 0 { ours } else { bytes };
    sled::Config {
        path: config.path.clone(),
        cache_bytes: set(config.cache_bytes, ours.cache),
        journal_bytes: set(config.journal_bytes, ours.journal),
        ..sled::Config::default()
    }
}

pub(crate) fn outbox(config: &MessagingConfig) -> outbox::Settings {
    let max_attempts = u8::try_from(config.max_attempts).unwrap_or(u8::MAX);
    outbox::Settings {
        attempt_timeout: config.attempt_timeout,
        persistence: Persistence { max_attempts, backoff: FIRST_BACKOFF },
        longest_line: outbox::LONGEST_LINE,
    }
}

/// `None` where the configuration leaves them to the store's own secret.
pub(crate) fn receipt_tokens(config: &receipts::Config) -> Result<Option<ReceiptTokens>> {
    config.secret.as_ref().map(ReceiptTokens::from_secret).transpose()
}

/// The tenants and keys that the configuration names.
///
/// Errors: `Invalid` for a key without a usable secret.
pub(crate) fn configured(config: &Config) -> Result<Configured> {
    let account = |tenant: &TenantConfig| {
        Arc::new(Account::configured(Tenant {
            name: tenant.name.clone(),
            default_country: tenant.default_country,
            brand: tenant.brand.clone(),
            sender: tenant.sender.clone(),
            may_return_code: tenant.return_code,
            balance_of: tenant.balance_of.clone(),
            may_administer: tenant.admin,
            retention: tenant.retention(),
        }))
    };
    let keys = config.tenants.iter().flat_map(|tenant| tenant.keys.iter().map(|key| key.to_key(&tenant.name)));
    Ok(Configured {
        accounts: config.tenants.iter().map(account).collect(),
        keys: keys.map(|key| key.map(Arc::new)).collect::<Result<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_follows_the_memory_and_what_is_set_stays() {
        let settings = |cache: u64, journal: u64| {
            let variables = [("CACHE", cache), ("JOURNAL", journal)]
                .map(|(name, bytes)| (format!("VERIGATE__STORE__{name}_BYTES"), bytes.to_string()));
            let sled = store(&crate::config::load(None, variables.into_iter()).unwrap().config.store);
            (sled.cache_bytes, sled.journal_bytes)
        };
        let ours = memory::shares();
        assert_eq!(settings(0, 0), (ours.cache, ours.journal));
        assert_eq!(settings(1 << 20, 2 << 20), (1 << 20, 2 << 20));
        let defaults = store(&crate::config::load(None, [].into_iter()).unwrap().config.store);
        assert_eq!((defaults.cache_bytes, defaults.journal_bytes), (ours.cache, ours.journal));
    }
}
