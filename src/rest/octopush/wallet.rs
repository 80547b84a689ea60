//! What is left: money, and messages to a country.
//!
//! Nobody counts credits here, so what is told is what the account of a vendor holds, or the number that is configured. A
//! credit buys one message of any kind that a route carries.

use http::StatusCode;
use serde_json::{Map, Number, Value, json};

use crate::auth::caller::Caller;
use crate::recipient::Country;
use crate::rest::desk::Desk;
use crate::rest::input::Call;
use crate::rest::octopush::caller::authenticate;
use crate::rest::octopush::refusal::Refusal;
use crate::tenant::Tenant;
use crate::vendor::{Balance, Channel};

/// What the vendor's accounts are kept in.
const MONEY: &str = "euros";

/// Most countries of one question.
const MAX_COUNTRIES: usize = 300;

/// The balance as money, or as messages of one kind to one country.
pub(super) async fn balance(desk: &Desk, call: &Call) -> Result<(StatusCode, Value), Refusal> {
    let caller = authenticate(desk, call)?;
    let product = match (given(call, "country_code"), given(call, "product_name")) {
        (Some(_), Some(product)) => Some(parse_product(product)?),
        (None, None) => None,
        _ => return Err(Refusal::bad(112, "country_code and product_name must be given together.")),
    };
    let balance = left(desk, &caller).await?;
    let body = match product {
        None => json!({ "amount": amount(&balance), "unit": unit(&caller.tenant, &balance) }),
        Some(product) => json!({ "amount": whole(&balance), "unit": product, "wallet_packs": [] }),
    };
    Ok((StatusCode::OK, body))
}

/// Messages of each kind to each country that is asked for.
pub(super) async fn credits(desk: &Desk, call: &Call) -> Result<(StatusCode, Value), Refusal> {
    let caller = authenticate(desk, call)?;
    let balance = left(desk, &caller).await?;
    let asked = call.query.iter().filter(|(name, _)| name.trim_end_matches("[]") == "country_codes");
    let countries = asked.filter_map(|(_, code)| code.trim().to_ascii_uppercase().parse::<Country>().ok());
    let mut body = Map::new();
    for country in countries.take(MAX_COUNTRIES) {
        let of = |channel| if desk.carries(&caller.tenant.name, channel, Some(country)) { whole(&balance) } else { 0 };
        let (sms, voice) = (of(Channel::Sms), of(Channel::Voice));
        // Numbers are looked up for nobody.
        let told = json!({ "premium_sms": sms, "vocal_sms": voice, "low_cost_sms": sms, "hlr": 0 });
        body.insert(country.to_string(), told);
    }
    Ok((StatusCode::OK, body.into()))
}

async fn left(desk: &Desk, caller: &Caller) -> Result<Balance, Refusal> {
    desk.balance(caller).await.map_err(|trouble| Refusal::of(&trouble))
}

fn given<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    call.query(name).map(str::trim).filter(|value| !value.is_empty())
}

fn parse_product(text: &str) -> Result<&'static str, Refusal> {
    let known = ["sms_low_cost", "sms_premium", "vocal_sms", "hlr"];
    let product = known.into_iter().find(|known| known.eq_ignore_ascii_case(text));
    product.ok_or_else(|| Refusal::bad(112, format!("product_name must be one of {}.", known.join(", "))))
}

fn amount(balance: &Balance) -> Value {
    serde_json::from_str::<Number>(&balance.amount).map_or_else(|_| 0.into(), Value::from)
}

fn whole(balance: &Balance) -> i64 {
    // A cast from a float saturates.
    balance.amount.parse::<f64>().map_or(0, |amount| amount.floor() as i64)
}

/// A number that is only configured is money to the vendor's clients; an account of some other vendor says what it holds.
fn unit(tenant: &Tenant, balance: &Balance) -> String {
    let euros = tenant.balance_of.is_none() || balance.unit.eq_ignore_ascii_case("EUR");
    if euros { MONEY.to_owned() } else { balance.unit.clone() }
}
