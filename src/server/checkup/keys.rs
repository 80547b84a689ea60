//! API keys of the configuration that open no more, or will not for long. Those that a running server was given are for
//! AdminService to list.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::settings::TenantConfig;
use crate::server::checkup::finding::Finding;

const CHECK: &str = "api key";

const SOON: Duration = Duration::from_secs(30 * 86_400);

pub(crate) fn check(tenants: &[TenantConfig], now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut lasting = 0;
    let keys = tenants.iter().flat_map(|tenant| tenant.keys.iter().map(move |key| (tenant, key)));
    for (tenant, key) in keys {
        let about = format!("{} of {}", key.id, tenant.name);
        let advice = "make another with `verigate key new`, configure both, and take this one out once nobody uses it";
        match key.expires_at {
            Some(at) if at <= now => {
                findings.push(Finding::warning(CHECK, about, format!("opens no more since {at}"), advice));
            }
            Some(at) if at.since(now) < SOON => {
                findings.push(Finding::warning(CHECK, about, format!("opens until {at}"), advice));
            }
            _ => lasting += 1,
        }
    }
    if findings.is_empty() {
        findings.push(Finding::good(CHECK, "", format!("{lasting} configured, none of which ends within 30 days")));
    }
    findings
}
