//! Tenants and API keys on the wire: from requests to what the registry is asked for, and from what it keeps to messages.

use std::time::Duration;

use crate::auth::account::{Account, Origin};
use crate::auth::changes::{AccountChange, NewKey, Rotation};
use crate::auth::key::Key;
use crate::auth::pages::{NameToken, NamedPageRequest};
use crate::auth::scope::{Scope, Scopes};
use crate::auth::secret::{ApiKey, SecretHash};
use crate::error::{Error, Result};
use crate::grpc::convert::{parse_duration, parse_page_size, parse_text, parse_time, to_time};
use crate::id::TenantName;
use crate::messaging::page::{DEFAULT_SIZE, MAX_SIZE};
use crate::messaging::template::check_brand;
use crate::network::Network;
use crate::proto::admin::v1 as pb;
use crate::recipient::Country;
use crate::tenant::{Retention, Tenant, check_sender};
use crate::violations::Violations;

/// Whether a vendor of this name is configured.
pub type IsVendor<'a> = &'a dyn Fn(&str) -> bool;

pub fn parse_new_tenant(request: pb::CreateTenantRequest, is_vendor: IsVendor<'_>) -> Result<Tenant> {
    let mut found = Violations::default();
    let name = found.note(parse_name("name", &request.name))?;
    let default_country = found.note(parse_country(request.default_country))?.flatten();
    let brand = parse_brand(request.brand, &mut found);
    let sender = parse_sender(request.sender, &mut found);
    let balance_of = parse_balance_of(request.balance_of, is_vendor, &mut found);
    let (verifications, messages) =
        (parse_retention(request.verification_retention), parse_retention(request.message_retention));
    let retention = Retention { verifications: verifications.flatten(), messages: messages.flatten() };
    found.0.extend(retention.violations());
    match name {
        Some(name) if found.0.is_empty() => Ok(Tenant {
            name,
            default_country,
            brand,
            sender,
            may_return_code: request.return_code,
            balance_of,
            may_administer: request.admin,
            retention,
        }),
        _ => Err(Error::invalid_fields(found.0)),
    }
}

pub fn parse_tenant_change(
    request: pb::UpdateTenantRequest,
    is_vendor: IsVendor<'_>,
) -> Result<(TenantName, AccountChange)> {
    let mut found = Violations::default();
    let name = found.note(parse_name("name", &request.name))?;
    let country = request.default_country.map(parse_country).transpose();
    let change = AccountChange {
        default_country: found.note(country)?.flatten(),
        brand: request.brand.map(|brand| parse_brand(brand, &mut found)),
        sender: request.sender.map(|sender| parse_sender(sender, &mut found)),
        return_code: request.return_code,
        admin: request.admin,
        balance_of: request.balance_of.map(|vendor| parse_balance_of(vendor, is_vendor, &mut found)),
        verification_retention: parse_retention(request.verification_retention),
        message_retention: parse_retention(request.message_retention),
        disabled: request.disabled,
    };
    let (verifications, messages) = (change.verification_retention, change.message_retention);
    let retention = Retention { verifications: verifications.flatten(), messages: messages.flatten() };
    found.0.extend(retention.violations());
    match name {
        Some(name) if found.0.is_empty() => Ok((name, change)),
        _ => Err(Error::invalid_fields(found.0)),
    }
}

/// `made`: what is taken where the request has no id or no hash. Told with it whether its secret is.
pub fn parse_new_key(request: pb::CreateApiKeyRequest, made: &ApiKey) -> Result<(NewKey, bool)> {
    let mut found = Violations::default();
    let tenant = found.note(parse_name("tenant", &request.tenant))?;
    let hash = parse_text(request.secret_hash).map(|hash| hash.parse::<SecretHash>()).transpose();
    let hash = found.note(hash)?.flatten();
    let scopes = found.note(parse_scopes(&request.scopes))?;
    let expires_at = found.note(parse_time("expire_time", request.expire_time))?.flatten();
    let from = found.note(parse_networks(&request.from))?;
    match (tenant, scopes, from) {
        (Some(tenant), Some(scopes), Some(from)) if found.0.is_empty() => {
            let id = parse_text(request.key_id).unwrap_or_else(|| made.id.clone());
            let new =
                NewKey { id, tenant, hash: hash.unwrap_or(made.hash), scopes, expires_at, from, alone: request.alone };
            Ok((new, hash.is_none()))
        }
        _ => Err(Error::invalid_fields(found.0)),
    }
}

pub fn parse_rotation(request: pb::RotateApiKeyRequest, made: &ApiKey) -> Result<Rotation> {
    let mut found = Violations::default();
    let id = found.note(parse_key_id(request.key_id))?;
    let expires_at = found.note(parse_time("expire_time", request.expire_time))?.flatten();
    match id {
        Some(id) if found.0.is_empty() => Ok(Rotation {
            id,
            new_id: made.id.clone(),
            new_hash: made.hash,
            overlap: parse_duration(request.overlap).unwrap_or(Duration::ZERO),
            expires_at,
        }),
        _ => Err(Error::invalid_fields(found.0)),
    }
}

pub fn parse_key_id(text: String) -> Result<String> {
    parse_text(text).ok_or_else(|| Error::invalid("key_id", "must be the id of an API key"))
}

/// A tenant in a field of this name.
pub fn parse_name(field: &str, text: &str) -> Result<TenantName> {
    let wanted = "must be 1 to 63 of a-z, 0-9, '-' and '_', beginning with a letter or digit";
    text.parse().map_err(|_| Error::invalid(field, wanted))
}

pub fn parse_named_page(size: i32, token: String) -> Result<NamedPageRequest> {
    let mut found = Violations::default();
    let size = parse_page_size(size, &mut found).unwrap_or(DEFAULT_SIZE).min(MAX_SIZE);
    let token = found.note(parse_text(token).map(|token| token.parse::<NameToken>()).transpose())?.flatten();
    if found.0.is_empty() { Ok(NamedPageRequest { size, token }) } else { Err(Error::invalid_fields(found.0)) }
}

fn parse_country(text: String) -> Result<Option<Country>> {
    let wanted = "must be two capital letters of a country that there is (ISO 3166-1)";
    let country = parse_text(text).map(|text| text.parse()).transpose();
    country.map_err(|_| Error::invalid("default_country", wanted))
}

fn parse_brand(text: String, found: &mut Violations) -> Option<String> {
    let brand = parse_text(text);
    found.0.extend(brand.as_deref().and_then(check_brand));
    brand
}

fn parse_sender(text: String, found: &mut Violations) -> Option<String> {
    let sender = parse_text(text);
    found.0.extend(sender.as_deref().and_then(check_sender));
    sender
}

fn parse_balance_of(text: String, is_vendor: IsVendor<'_>, found: &mut Violations) -> Option<String> {
    let vendor = parse_text(text);
    if vendor.as_deref().is_some_and(|vendor| !is_vendor(vendor)) {
        found.add("balance_of", "must be the name of a vendor in the configuration".to_owned());
    }
    vendor
}

/// None where it is not said, and nothing where it is as for everybody.
fn parse_retention(span: Option<prost_types::Duration>) -> Option<Option<Duration>> {
    parse_duration(span).map(|span| Some(span).filter(|span| !span.is_zero()))
}

/// None for all.
fn parse_scopes(scopes: &[i32]) -> Result<Scopes> {
    let scopes = scopes.iter().map(|scope| parse_scope(*scope)).collect::<Result<Vec<_>>>()?;
    Ok(if scopes.is_empty() { Scopes::ALL } else { Scopes::of(&scopes) })
}

fn parse_scope(scope: i32) -> Result<Scope> {
    match pb::Scope::try_from(scope) {
        Ok(pb::Scope::Verify) => Ok(Scope::Verify),
        Ok(pb::Scope::Send) => Ok(Scope::Send),
        Ok(pb::Scope::Read) => Ok(Scope::Read),
        Ok(pb::Scope::Admin) => Ok(Scope::Admin),
        Ok(pb::Scope::ReturnCode) => Ok(Scope::ReturnCode),
        Ok(pb::Scope::Unspecified) | Err(_) => Err(Error::invalid(
            "scopes",
            format!("must name VERIFY, SEND, READ, ADMIN or RETURN_CODE, but has {scope}"),
        )),
    }
}

fn parse_networks(networks: &[String]) -> Result<Vec<Network>> {
    let parsed = networks
        .iter()
        .enumerate()
        .map(|(at, text)| text.parse::<Network>().map_err(|wanted| Error::invalid(format!("from[{at}]"), wanted)));
    parsed.collect()
}

pub fn to_tenant(account: &Account) -> pb::Tenant {
    let tenant = &account.tenant;
    pb::Tenant {
        name: tenant.name.to_string(),
        default_country: tenant.default_country.map(|country| country.to_string()).unwrap_or_default(),
        brand: tenant.brand.clone().unwrap_or_default(),
        sender: tenant.sender.clone().unwrap_or_default(),
        return_code: tenant.may_return_code,
        admin: tenant.may_administer,
        balance_of: tenant.balance_of.clone().unwrap_or_default(),
        disabled: account.disabled,
        origin: to_origin(account.origin).into(),
        create_time: account.created_at.map(to_time),
        update_time: account.updated_at.map(to_time),
        verification_retention: tenant.retention.verifications.and_then(|span| span.try_into().ok()),
        message_retention: tenant.retention.messages.and_then(|span| span.try_into().ok()),
    }
}

pub fn to_api_key(key: &Key) -> pb::ApiKey {
    let scopes = if key.scopes.is_all() { Vec::new() } else { key.scopes.iter().collect() };
    pb::ApiKey {
        key_id: key.id.as_ref().to_owned(),
        tenant: key.tenant.to_string(),
        scopes: scopes.into_iter().map(|scope| to_scope(scope).into()).collect(),
        expire_time: key.expires_at.map(to_time),
        from: key.from.iter().map(Network::to_string).collect(),
        alone: key.alone,
        origin: to_origin(key.origin).into(),
        create_time: key.created_at.map(to_time),
        last_use_time: key.last_use.at().map(to_time),
    }
}

fn to_origin(origin: Origin) -> pb::Origin {
    match origin {
        Origin::Configured => pb::Origin::Configured,
        Origin::Stored => pb::Origin::Stored,
    }
}

fn to_scope(scope: Scope) -> pb::Scope {
    match scope {
        Scope::Verify => pb::Scope::Verify,
        Scope::Send => pb::Scope::Send,
        Scope::Read => pb::Scope::Read,
        Scope::Admin => pb::Scope::Admin,
        Scope::ReturnCode => pb::Scope::ReturnCode,
    }
}
