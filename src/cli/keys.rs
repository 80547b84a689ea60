//! `verigate key new` and `verigate store-key new`: secrets, made where they are used.
//!
//! An API key goes to standard output and nowhere else; a store key goes to its file and nowhere else.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use secrecy::ExposeSecret;
use verigate::auth::ApiKey;
use verigate::id::TenantName;
use verigate::random::OsRandom;
use verigate::server;

use crate::cli::exit::{CANNOT_CREATE, Failure, Outcome, with_causes};
use crate::cli::output;

/// Make an API key
///
/// Prints the key, which is shown this once, and what to write into the configuration: only the hash of its secret.
/// Nothing is stored, and no gateway needs to run.
#[derive(Args)]
#[command(after_help = "Examples:\n  verigate key new --tenant acme\n  verigate key new --json | jq -r .key")]
pub(crate) struct KeyArguments {
    /// The tenant whose key it is to be
    #[arg(long, value_name = "NAME", default_value = "acme")]
    tenant: TenantName,
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
    let ApiKey { id, secret, hash } = ApiKey::generate(&OsRandom);
    let secret = secret.expose_secret();
    let tenant = arguments.tenant.as_str();
    let text = if arguments.json {
        let key = serde_json::json!({
            "id": id,
            "secret": secret,
            "key": format!("{id}.{secret}"),
            "secret_hash": hash.to_string(),
            "tenant": tenant,
        });
        format!("{key}\n")
    } else {
        format!(
            "The API key, shown this once; callers send it as \"authorization: Bearer KEY\":\n\n  {id}.{secret}\n\n\
             What to configure, or to add to the keys that the tenant has:\n\n  [[tenants]]\n  name = \"{tenant}\"\n  \
             keys = [{{ id = \"{id}\", secret_hash = \"{hash}\" }}]\n"
        )
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
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
