//! `verigate key new` and `verigate store-key new`: secrets, made where they are used.
//!
//! An API key goes to standard output and nowhere else; a store key goes to its file and nowhere else.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use secrecy::ExposeSecret;
use verigate::auth::scope::Scope;
use verigate::auth::secret::ApiKey;
use verigate::clock::{Clock, SystemClock, Timestamp};
use verigate::id::TenantName;
use verigate::random::OsRandom;
use verigate::server;

use crate::cli::exit::{CANNOT_CREATE, Failure, Outcome, USAGE, with_causes};
use crate::cli::output;

/// Make an API key
///
/// Prints the key, which is shown this once, and what to write into the configuration: only the hash of its secret.
/// Nothing is stored, and no gateway needs to run.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  verigate key new --tenant acme\n  verigate key new --scopes verify,read --valid-for 90d\n  \
                        verigate key new --json | jq -r .key"
)]
pub(crate) struct KeyArguments {
    /// The tenant whose key it is to be
    #[arg(long, value_name = "NAME", default_value = "acme")]
    tenant: TenantName,
    /// What it is to be good for: verify, send, read, admin, return-code; all that the tenant may do unless given
    #[arg(long, value_name = "SCOPE,…", value_delimiter = ',')]
    scopes: Vec<Scope>,
    /// From when on it opens no more, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "valid_for")]
    expires: Option<Timestamp>,
    /// How long it is to open from now on, such as 90d, 12w or 36h
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    valid_for: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Make a key file for the store
///
/// Every record is sealed with this key, so whoever takes the store's files alone can read nothing, and whoever loses
/// the key has lost the records. Keep a copy of it apart from them.
///
/// An existing file is left as it is; then the exit code is 73.
#[derive(Args)]
#[command(after_help = "Example:\n  verigate store-key new /etc/verigate/store.key")]
pub(crate) struct StoreKeyArguments {
    /// The file to make; only its owner can read it
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) fn new_key(arguments: &KeyArguments) -> Outcome {
    let expires = expiry(arguments)?;
    let ApiKey { id, secret, hash } = ApiKey::generate(&OsRandom);
    let secret = secret.expose_secret();
    let tenant = arguments.tenant.as_str();
    let scopes: Vec<_> = arguments.scopes.iter().map(|scope| scope.as_str()).collect();
    let text = if arguments.json {
        let mut key = serde_json::json!({
            "id": id,
            "secret": secret,
            "key": format!("{id}.{secret}"),
            "secret_hash": hash.to_string(),
            "tenant": tenant,
        });
        if !scopes.is_empty() {
            key["scopes"] = scopes.into();
        }
        if let Some(at) = expires {
            key["expires_at"] = at.to_string().into();
        }
        format!("{key}\n")
    } else {
        let scopes = if scopes.is_empty() { String::new() } else { format!(", scopes = {scopes:?}") };
        let expires = expires.map(|at| format!(", expires_at = \"{at}\"")).unwrap_or_default();
        format!(
            "The API key, shown this once; callers send it as \"authorization: Bearer KEY\":\n\n  {id}.{secret}\n\n\
             What to configure, or to add to the keys that the tenant has:\n\n  [[tenants]]\n  name = \"{tenant}\"\n  \
             keys = [{{ id = \"{id}\", secret_hash = \"{hash}\"{scopes}{expires} }}]\n"
        )
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Errors: a time that is over.
fn expiry(arguments: &KeyArguments) -> Result<Option<Timestamp>, Failure> {
    let now = SystemClock.now();
    let at = arguments.expires.or_else(|| arguments.valid_for.map(|span| now + span));
    match at.filter(|at| *at <= now) {
        Some(at) => Err(Failure::new(USAGE, format!("--expires must be in the future, but is {at}"))),
        None => Ok(at),
    }
}

/// Days have 24 hours and weeks seven days.
fn parse_span(text: &str) -> Result<Duration, String> {
    let wanted = || "must be a span such as 90d, 12w or 36h".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| wanted())?;
    let span = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wanted())?;
    span.try_into().ok().filter(|span: &Duration| !span.is_zero()).ok_or_else(wanted)
}

pub(crate) fn new_store_key(arguments: &StoreKeyArguments) -> Outcome {
    let file = &arguments.file;
    // A link that leads nowhere is something, too.
    if file.symlink_metadata().is_ok() {
        let message = format!("{} is there already and was left as it is", file.display());
        return Err(Failure::new(CANNOT_CREATE, message));
    }
    server::create_store_key(file, &OsRandom).map_err(|error| Failure::new(CANNOT_CREATE, with_causes(&error)))?;
    let absolute = file.canonicalize().unwrap_or_else(|_| file.clone());
    let path = toml::Value::String(absolute.display().to_string());
    output::print(&format!(
        "Made {}. Keep a copy apart from the store: without this key nothing in it can be read.\n\n\
         What to configure:\n\n  [store]\n  key_file = {path}\n",
        file.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
