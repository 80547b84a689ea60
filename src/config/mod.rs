//! Configuration: compiled-in defaults, one file and the environment, laid over each other and read once at start.
//!
//! This file composes the sections and checks what spans them. It knows no concrete store or vendor: a vendor's own
//! keys stay a [`Section`] until the server reads them. Nothing below this floor imports it.
//!
//! Without a file the dev profile lies over the defaults: it runs at once, sends nothing, and is open to everybody
//! who read the manual, so it listens to this machine only.

pub mod fault;
mod layers;
mod read;
mod render;
mod secret_files;
pub mod section;
pub mod settings;
pub mod transport;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use serde::{Deserialize, Deserializer};

use crate::auth::key_config::KeyConfig;
use crate::auth::secret::WEAK_SECRET_BYTES;
use crate::config::fault::{ConfigError, Fault, Origin};
use crate::config::layers::Node;
use crate::config::read::{Quoting, read};
use crate::config::section::{Section, sections};
use crate::config::settings::{ServerConfig, StoreConfig, TenantConfig};
use crate::contacts::service::ContactsConfig;
use crate::error::{Result, Violation};
use crate::feed;
use crate::guard;
use crate::id::TenantName;
use crate::messaging::route::{RouteConfig, RouteVendor};
use crate::messaging::service::MessagingConfig;
use crate::messaging::template::{TemplateConfig, Templates};
use crate::receipts;
use crate::recipient::Country;
use crate::rest;
use crate::telemetry;
use crate::vendor::Channel;
use crate::verification::policy::VerificationConfig;
use crate::verification::workflow::WorkflowConfig;
use crate::violations::Violations;
use crate::webhook;

/// Every key with its comment: the manual.
pub const DEFAULTS: &str = include_str!("defaults.toml");

const DEV_PROFILE: &str = include_str!("dev_profile.toml");

/// The API key of the dev profile.
pub const DEV_KEY: &str = "dev.dev-secret";

/// The secret of the dev profile. Published, so it opens nothing that others can reach.
const DEV_SECRET: &str = "dev-secret";

/// Everything that can be configured.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    pub server: ServerConfig,
    pub log: telemetry::Config,
    pub otlp: telemetry::otlp::settings::Config,
    pub store: StoreConfig,
    pub verification: VerificationConfig,
    pub guard: guard::settings::Config,
    pub messaging: MessagingConfig,
    pub contacts: ContactsConfig,
    pub receipts: receipts::Config,
    pub rest: rest::Config,
    pub callbacks: webhook::settings::Config,
    pub events: feed::settings::Config,
    #[serde(default)]
    pub tenants: Vec<TenantConfig>,
    /// By the names that routes use.
    #[serde(default, deserialize_with = "leave_for_later")]
    pub vendors: BTreeMap<String, Section>,
    #[serde(default)]
    pub routes: Vec<RouteConfig>,
    #[serde(default)]
    pub workflows: Vec<WorkflowConfig>,
    #[serde(default)]
    pub templates: Vec<TemplateConfig>,
}

/// A configuration that passed every check.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// No file was given.
    pub dev_profile: bool,
    /// What works but should not stay so, a line each, for the log at start.
    pub warnings: Vec<String>,
    tree: Tree,
}

/// The merged tree. Shows nothing of itself in `Debug`.
struct Tree(Node);

/// Reads and checks a configuration. With no file, the dev profile.
///
/// `environment` is every variable of the process; those that do not begin with `VERIGATE__` are passed over.
/// Errors: everything that is wrong, a line each; the process should end with [`fault::EXIT_CODE`].
pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
    let mut root = Node::parse(DEFAULTS, &Origin::Defaults)?;
    root.merge(match file {
        Some(path) => read_file(path)?,
        None => Node::parse(DEV_PROFILE, &Origin::DevProfile)?,
    });
    root.merge(Node::from_environment(environment)?);
    let mut config: Config = read(&root, "", Quoting::Allowed)?;
    config.vendors = sections(&root, "vendors")?;
    let dev_profile = file.is_none();
    let violations = config.violations(dev_profile);
    let warnings = if dev_profile { Vec::new() } else { config.warnings() };
    let loaded = Loaded { config, dev_profile, warnings, tree: Tree(root) };
    if violations.is_empty() { Ok(loaded) } else { Err(loaded.refuse(violations)) }
}

/// The variables of this process. Unlike [`std::env::vars`] it takes bytes that are not Unicode without a panic.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (text(name), text(value)))
}

fn read_file(path: &Path) -> Result<Node, Fault> {
    let origin = Origin::File { name: path.display().to_string().into(), line: None };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Fault::new(&origin, "", format!("the file cannot be read: {error}")))?;
    Node::parse(&text, &origin)
}

/// Passes over the vendors' tables: [`sections`] takes them from the tree, which still knows their lines.
fn leave_for_later<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Section>, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| BTreeMap::new())
}

// === impl Loaded ===

impl Loaded {
    /// The API key to show in examples: one that works as it is in the dev profile, else a placeholder.
    pub fn example_key(&self) -> &'static str {
        if self.dev_profile { DEV_KEY } else { "ID.SECRET" }
    }

    /// The error for violations that were found in what was loaded; their fields are keys. `violations` is not empty.
    pub fn refuse(&self, violations: Vec<Violation>) -> ConfigError {
        let place = |v: Violation| Fault::new(self.tree.0.origin_of(&v.field), v.field.as_str(), v.description);
        ConfigError::new(violations.into_iter().map(place).collect())
    }

    /// The files that hold secrets, each with the key that names it, or the first key of its own that is one.
    pub fn secret_files(&self) -> Vec<(String, PathBuf)> {
        secret_files::find(&self.tree.0)
    }

    /// The merged configuration as TOML: secrets hidden, and beside every value that is no default where it came from.
    pub fn render(&self) -> String {
        render::render(&self.tree.0, &["vendors", "rest.octopush.callbacks", "events.endpoints"])
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tree")
    }
}

// === impl Config ===

impl Config {
    /// The texts that can be sent.
    ///
    /// Errors: none once the configuration was loaded, for the checks found the same.
    pub fn templates(&self) -> Result<Templates> {
        Templates::new(&self.templates)
    }

    fn violations(&self, dev_profile: bool) -> Vec<Violation> {
        let mut found = Violations::default();
        found.nest("server", self.server.violations());
        found.nest("log", self.log.violations());
        found.nest("otlp", self.otlp.violations());
        found.nest("store", self.store.violations());
        found.nest("verification", self.verification.violations());
        found.nest("guard", self.guard.violations());
        found.nest("messaging", self.messaging.violations());
        found.nest("contacts", self.contacts.violations());
        found.nest("receipts", self.receipts.violations());
        found.nest("rest", self.rest.violations());
        found.nest("callbacks", self.callbacks.violations());
        found.nest("events", self.events.violations(&self.callbacks));
        for (index, tenant) in self.tenants.iter().enumerate() {
            found.nest(&format!("tenants[{index}]"), tenant.violations());
        }
        for (index, route) in self.routes.iter().enumerate() {
            found.nest(&format!("routes[{index}]"), route.violations());
        }
        self.check_exposure(dev_profile, &mut found);
        self.check_key_file(dev_profile, &mut found);
        self.check_tenants(&mut found);
        self.check_callbacks(&mut found);
        self.check_events(&mut found);
        self.check_routes(&mut found);
        self.check_guard(&mut found);
        for (at, vendor) in self.contacts.push.iter().enumerate() {
            self.check_vendor(&format!("contacts.push[{at}]"), vendor, &mut found);
        }
        self.check_workflows(&mut found);
        self.check_templates(&mut found);
        for (at, name) in self.rest.simpu.v1_tenants.iter().enumerate() {
            self.check_tenant(&format!("rest.simpu.v1_tenants[{at}]"), name, &mut found);
        }
        found.0
    }

    /// Neither the published secret nor what the admin listener shows may meet the public.
    fn check_exposure(&self, dev_profile: bool, found: &mut Violations) {
        let listeners = self.server.listeners();
        let exposed: Vec<_> = listeners.iter().filter(|(_, address)| !address.is_local()).collect();
        let Some((key, address)) = exposed.first() else { return };
        for (key, address) in exposed.iter().filter(|_| dev_profile) {
            let message = "the dev profile has a published secret, so it must listen to this machine only";
            found.add(&format!("server.{key}"), format!("{message}, but is {address}; configure a file"));
        }
        let open = exposed.iter().any(|(key, _)| *key == "admin") && self.server.admin_access.hash().is_none();
        if open && !dev_profile {
            let message = "must listen to this machine only, unless server.admin_access.password is set";
            found.add("server.admin", format!("{message}, but is {}", self.server.admin));
        }
        for (path, config) in self.paths_of_keys() {
            if !dev_profile && config.opens_with(DEV_SECRET) {
                let message = format!("must not be the published secret while server.{key} is {address}");
                found.add(&format!("{path}.secret"), message);
            }
        }
    }

    fn check_key_file(&self, dev_profile: bool, found: &mut Violations) {
        match &self.store.key_file {
            None => {
                let message = "is missing: records are sealed with the key that it holds; make one with";
                found.add("store.key_file", format!("{message} `verigate store-key new FILE`"));
            }
            // The dev profile makes its own when there is none yet.
            Some(_) if dev_profile => {}
            Some(path) => {
                if let Err(error) = std::fs::File::open(path) {
                    let absent = error.kind() == std::io::ErrorKind::NotFound;
                    let help = if absent { "; make it with `verigate store-key new FILE`" } else { "" };
                    found.add("store.key_file", format!("the file {path:?} cannot be read: {error}{help}"));
                }
            }
        }
    }

    fn check_tenants(&self, found: &mut Violations) {
        if self.tenants.is_empty() {
            found.add("tenants", "must hold at least one tenant, or nobody can call".to_owned());
        }
        let mut tenants = BTreeMap::new();
        for (index, tenant) in self.tenants.iter().enumerate() {
            if let Some(first) = tenants.insert(&tenant.name, index) {
                let message = format!("must be unique, but is {:?} like tenants[{first}]", tenant.name.as_str());
                found.add(&format!("tenants[{index}].name"), message);
            }
            if let Some(vendor) = &tenant.balance_of {
                self.check_vendor(&format!("tenants[{index}].balance_of"), vendor, found);
            }
        }
        for name in self.rest.hasun.masks.keys() {
            self.check_tenant(&format!("rest.hasun.masks.{name}"), name, found);
        }
        if let Some(id) =
            self.server.unix.key.as_deref().filter(|id| self.paths_of_keys().all(|(_, key)| key.id != *id))
        {
            found.add("server.unix.key", format!("must be the id of a configured API key, but is {id:?}"));
        }
        let mut ids = BTreeMap::new();
        for (path, key) in self.paths_of_keys() {
            if let Some(first) = ids.insert(&key.id, path.clone()) {
                let message = format!("must be unique over all tenants, but is {:?} like {first}", key.id);
                found.add(&format!("{path}.id"), message);
            }
        }
    }

    fn check_callbacks(&self, found: &mut Violations) {
        found.nest("rest.octopush", self.rest.octopush.violations(&self.callbacks.reach()));
        for tenant in self.rest.octopush.callbacks.keys() {
            self.check_tenant(&format!("rest.octopush.callbacks.{tenant}"), tenant, found);
        }
    }

    fn check_events(&self, found: &mut Violations) {
        for (at, endpoint) in self.events.endpoints.iter().enumerate() {
            self.check_tenant(&format!("events.endpoints[{at}].tenant"), &endpoint.tenant, found);
        }
    }

    fn check_routes(&self, found: &mut Violations) {
        for (index, route) in self.routes.iter().enumerate() {
            for (at, RouteVendor { vendor, weight }) in route.vendors.iter().enumerate() {
                let key = if weight.is_some() { ".vendor" } else { "" };
                self.check_vendor(&format!("routes[{index}].vendors[{at}]{key}"), vendor, found);
            }
            for (at, name) in route.tenants.iter().enumerate() {
                self.check_tenant(&format!("routes[{index}].tenants[{at}]"), name, found);
            }
        }
    }

    fn check_guard(&self, found: &mut Violations) {
        found.nest("guard.authorization", webhook::authorization::violations(&self.guard.authorization));
        for tenant in self.guard.tenants.keys() {
            self.check_tenant(&format!("guard.tenants.{tenant}"), tenant, found);
        }
        for (at, budget) in self.guard.budgets.iter().enumerate() {
            if let Some(tenant) = &budget.tenant {
                self.check_tenant(&format!("guard.budgets[{at}].tenant"), tenant, found);
            }
            if let Some(vendor) = &budget.vendor {
                self.check_vendor(&format!("guard.budgets[{at}].vendor"), vendor, found);
            }
        }
        for (at, price) in self.guard.prices.iter().enumerate() {
            if let Some(vendor) = &price.vendor {
                self.check_vendor(&format!("guard.prices[{at}].vendor"), vendor, found);
            }
        }
    }

    fn check_workflows(&self, found: &mut Violations) {
        for (index, workflow) in self.workflows.iter().enumerate() {
            let path = format!("workflows[{index}]");
            found.nest(&path, workflow.violations(self.verification.limits.max_sends));
            for (at, name) in workflow.tenants.iter().enumerate() {
                self.check_tenant(&format!("{path}.tenants[{at}]"), name, found);
            }
            for (at, step) in workflow.steps.iter().enumerate() {
                let change = || self.change_of_maker(workflow, step.channel);
                if let Some(wrong) = self.gap(workflow, step.channel).or_else(change) {
                    found.add(&format!("{path}.steps[{at}].channel"), wrong);
                }
            }
        }
    }

    /// Of whom and whereto no route carries a channel of a workflow, if somebody and somewhere. Where the workflow is for
    /// all countries, one that is carried is enough: the steps of the others are passed over.
    fn gap(&self, workflow: &WorkflowConfig, channel: Channel) -> Option<String> {
        let every: Vec<_> = self.tenants.iter().map(|tenant| &tenant.name).collect();
        let tenants = if workflow.tenants.is_empty() { every } else { workflow.tenants.iter().collect() };
        tenants.into_iter().find_map(|tenant| {
            let carried = |country| self.routes.iter().any(|route| route.carries(tenant, channel, country));
            let missing = match workflow.countries.iter().find(|country| !carried(Some(**country))) {
                Some(country) => format!(" to {country}"),
                None if !workflow.countries.is_empty() || carried(None) => return None,
                None => String::new(),
            };
            let message = format!("has no route for tenant {:?}{missing}", tenant.as_str());
            Some(format!("{message}; add a [[routes]] entry for {channel}"))
        })
    }

    /// Of whom the codes of a step would always be made by somebody else than those of the first step, if of anybody: a
    /// verification keeps who makes its code, so such a step would never be taken.
    fn change_of_maker(&self, workflow: &WorkflowConfig, channel: Channel) -> Option<String> {
        let first = workflow.steps.first()?.channel;
        let every: Vec<_> = self.tenants.iter().map(|tenant| &tenant.name).collect();
        let tenants = if workflow.tenants.is_empty() { every } else { workflow.tenants.iter().collect() };
        let countries: Vec<_> = workflow.countries.iter().copied().map(Some).collect();
        let countries = if countries.is_empty() { vec![None] } else { countries };
        let makers = |tenant, channel, country: Option<Country>| {
            let routes = self.routes.iter().filter(move |route| route.carries(tenant, channel, country));
            // Where the country is open, any of them may be taken.
            routes.take(if country.is_some() { 1 } else { usize::MAX }).map(|route| route.codes)
        };
        tenants.into_iter().find_map(|tenant| {
            let kept = |country: Option<Country>| {
                let firsts: Vec<_> = makers(tenant, first, country).collect();
                makers(tenant, channel, country).any(|maker| firsts.contains(&maker))
            };
            let lost = countries.iter().any(|country| !kept(*country));
            let message = "is on a route whose codes are made by somebody else than those of the first step, which";
            lost.then(|| {
                format!("{message} the code of a verification of tenant {:?} cannot change to", tenant.as_str())
            })
        })
    }

    fn check_templates(&self, found: &mut Violations) {
        if let Err(error) = self.templates() {
            found.0.extend_from_slice(error.violations());
        }
        for (index, template) in self.templates.iter().enumerate() {
            if let Some(name) = &template.tenant {
                self.check_tenant(&format!("templates[{index}].tenant"), name, found);
            }
        }
    }

    fn check_vendor(&self, path: &str, name: &str, found: &mut Violations) {
        if !self.vendors.contains_key(name) {
            let known = self.vendors.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none" } else { &known };
            found.add(path, format!("must be a configured vendor ({known}), but is {name:?}"));
        }
    }

    fn check_tenant(&self, path: &str, name: &TenantName, found: &mut Violations) {
        if !self.tenants.iter().any(|tenant| tenant.name == *name) {
            found.add(path, format!("must be a configured tenant, but is {:?}", name.as_str()));
        }
    }

    fn warnings(&self) -> Vec<String> {
        let weak = self.paths_of_keys().filter(|(_, key)| key.is_weak()).map(|(path, _)| {
            let least = WEAK_SECRET_BYTES;
            format!("{path}.secret: is shorter than {least} characters and can be guessed; make one with `key new`")
        });
        let unrouted = self.routes.is_empty().then(|| "routes: there is none, so nothing can be sent".to_owned());
        let exposed = self.callbacks.reach().may_reach(Ipv4Addr::LOCALHOST.into()).then(|| {
            let message = "callbacks.allow: holds this machine, so whoever may send a message can have calls made to";
            format!("{message} whatever listens here, server.admin among it")
        });
        let keyless = self.tenants.iter().enumerate().filter(|(_, tenant)| tenant.keys.is_empty()).map(|(at, _)| {
            format!("tenants[{at}].keys: holds none, so only keys that AdminService has made open for this tenant")
        });
        let idle = self.tenants.iter().enumerate().flat_map(|(index, tenant)| {
            let path = move |(at, scope): (usize, &str)| format!("tenants[{index}].keys[{at}].scopes: {scope}");
            tenant.idle_scopes().map(path)
        });
        let admin = self
            .server
            .admin_access
            .password
            .as_ref()
            .is_some_and(|password| password.expose_secret().len() < WEAK_SECRET_BYTES);
        let guessable = admin.then(|| {
            let least = WEAK_SECRET_BYTES;
            format!("server.admin_access.password: is shorter than {least} characters and can be guessed")
        });
        weak.chain(keyless)
            .chain(idle)
            .chain(unrouted)
            .chain(exposed)
            .chain(guessable)
            .chain(self.server.plain_listeners())
            .collect()
    }

    /// Every key with its path, such as `tenants[0].keys[1]`.
    fn paths_of_keys(&self) -> impl Iterator<Item = (String, &KeyConfig)> {
        self.tenants.iter().enumerate().flat_map(|(index, tenant)| {
            let path = move |at: usize| format!("tenants[{index}].keys[{at}]");
            tenant.keys.iter().enumerate().map(move |(at, key)| (path(at), key))
        })
    }
}
