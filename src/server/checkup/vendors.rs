//! Whether vendors can be reached, and take our credentials. Nothing is sent: their doors are knocked at, and they are
//! asked for our balance.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::clock::{Clock, Timestamp};
use crate::messaging::vendors::Vendors;
use crate::server::checkup::finding::Finding;
use crate::vendor::{Account, Door, Failure, Rejection, Vendor, Welcome};

const CHECK: &str = "vendor";

/// How long a name may take to be looked up.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(5);

/// Who told their time, which was theirs, and ours just then.
pub(crate) type Times = Vec<(String, Timestamp, Timestamp)>;

/// All at once, for one that hangs is waited for.
pub(crate) async fn check(
    names: impl Iterator<Item = &String>,
    vendors: &Vendors,
    clock: &dyn Clock,
) -> (Vec<Finding>, Times) {
    let each = names.filter_map(|name| Some(check_one(name, &**vendors.get(name)?, clock)));
    let (mut findings, mut times) = (Vec::new(), Vec::new());
    for (found, time) in join_all(each).await {
        findings.extend(found);
        times.extend(time);
    }
    (findings, times)
}

async fn check_one(
    name: &str,
    vendor: &dyn Vendor,
    clock: &dyn Clock,
) -> (Vec<Finding>, Option<(String, Timestamp, Timestamp)>) {
    let Some(door) = vendor.door() else {
        return (vec![Finding::good(CHECK, name, "is part of this program")], None);
    };
    let (host, port) = door.host();
    let found = match look_up(host, port).await {
        Ok(addresses) => addresses,
        Err(why) => {
            let advice = "check the name in its section, and the resolver of this machine";
            return (vec![Finding::failed(CHECK, name, format!("{host} cannot be looked up: {why}"), advice)], None);
        }
    };
    let Welcome { time, credentials } = match door.knock().await {
        Ok(welcome) => welcome,
        Err(why) => return (vec![not_reached(name, door, &why)], None),
    };
    let time = time.map(|time| (host.to_owned(), time, clock.now()));
    let reached = Finding::good(CHECK, name, format!("{host} port {port} answers ({found})"));
    let shown = match (credentials, vendor.account()) {
        (Some(taken), _) => judge(name, taken.map(|()| "taken".to_owned())),
        (None, Some(account)) => judge(name, ask_balance(account).await),
        (None, None) => {
            Finding::skipped(CHECK, name, "credentials were not tried: it has no call for that which sends nothing")
        }
    };
    (vec![reached, shown], time)
}

/// The addresses in words.
async fn look_up(host: &str, port: u16) -> Result<String, String> {
    let found = timeout(LOOKUP_PATIENCE, lookup_host((host, port))).await.map_err(|_| "nobody answers".to_owned())?;
    let found = found.map_err(|error| error.to_string())?;
    let addresses: BTreeSet<_> = found.map(|address| address.ip().to_string()).collect();
    if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(Vec::from_iter(addresses).join(", ")) }
}

fn not_reached(name: &str, door: &dyn Door, why: &str) -> Finding {
    let (host, port) = door.host();
    let advice = "let this machine connect there; its messages go to the next vendor of the route until it can";
    Finding::failed(CHECK, name, format!("{host} port {port} cannot be reached: {why}"), advice)
}

async fn ask_balance(account: &dyn Account) -> Result<String, Failure> {
    let balance = account.balance().await?;
    Ok(format!("taken; balance {} {}", balance.amount, balance.unit))
}

fn judge(name: &str, answer: Result<String, Failure>) -> Finding {
    let again = "look again later, and at the vendor's status page";
    let warning = |found: &str| Finding::warning(CHECK, name, found, again);
    match answer {
        Ok(told) => Finding::good(CHECK, name, format!("credentials {told}")),
        Err(Failure::Rejected(Rejection::Unauthorized)) => {
            let advice = "compare them with those of the vendor's own pages";
            Finding::failed(CHECK, name, "credentials are refused", advice)
        }
        Err(Failure::Rejected(Rejection::InsufficientCredit)) => {
            Finding::warning(CHECK, name, "credentials taken; the account has no money", "top it up")
        }
        Err(Failure::Rejected(_)) => warning("credentials were not tried: it refuses to tell our balance"),
        Err(Failure::Throttled { .. }) => warning("credentials were not tried: it asks us to be slower"),
        Err(Failure::Unavailable | Failure::Unknown) => {
            warning("credentials were not tried: no answer that makes sense")
        }
    }
}
