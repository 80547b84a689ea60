//! The services behind all surfaces, wired on one store and one outbox.

use std::sync::Arc;

use crate::auth::directory::Directory;
use crate::auth::registry::Registry;
use crate::config::{Config, Loaded};
use crate::console::desk::Desk as ConsoleDesk;
use crate::console::pulse::Pulse;
use crate::contacts::push::{Pusher, Queue};
use crate::contacts::service::Contacts;
use crate::error::Result;
use crate::feed::feeds::{Crew, Feeds};
use crate::grpc::Services;
use crate::grpc::people::People;
use crate::guard::service::Guard;
use crate::keeping::service::Keeping;
use crate::messaging::callbacks::Receivers;
use crate::messaging::holder::Ground;
use crate::messaging::outbox::Outbox;
use crate::messaging::oversight::Oversight;
use crate::messaging::receipt_urls::ReceiptUrls;
use crate::messaging::retention::Wishes;
use crate::messaging::route::Routes;
use crate::messaging::service::Messaging;
use crate::messaging::template::Templates;
use crate::messaging::vendors::Vendors;
use crate::messaging::worker::Steps;
use crate::nodes::Nodes;
use crate::rest::desk::Desk;
use crate::server::callbacks::{self, Guarded};
use crate::server::{settings, vendors};
use crate::store::WholeStore;
use crate::telemetry::trace::Tracer;
use crate::verification::service::Verifications;
use crate::verification::workflow::Workflows;
use crate::webhook::authorization::Authorization;
use crate::webhook::client::Client;

/// All services, and who may call them.
pub(crate) struct Wired {
    pub(crate) registry: Arc<Registry>,
    verifications: Arc<Verifications>,
    messaging: Arc<Messaging>,
    contacts: Arc<Contacts>,
    oversight: Arc<Oversight>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) steps: Steps,
    pub(crate) pushers: Vec<Pusher>,
    pub(crate) keeping: Arc<Keeping>,
    pub(crate) nodes: Nodes,
    people: Arc<People>,
    feeds: Arc<Feeds>,
    pub(crate) crew: Crew,
}

// === impl Wired ===

impl Wired {
    /// Errors: those of a store that cannot be read, and of a vendor that is configured wrongly.
    pub(crate) async fn build(
        loaded: &Loaded,
        ground: &Ground,
        vendors: Vendors,
        (whole, tracer): (Option<Arc<dyn WholeStore>>, Tracer),
    ) -> Result<Self> {
        let config = &loaded.config;
        let Ground { store, keys, clock, random, .. } = ground.clone();
        let nodes = Nodes::new(store, keys, clock, random);
        let (contacts, pushers) = contacts(loaded, ground, &vendors, &nodes)?;
        let guard = Arc::new(guard(config, ground)?);
        guard.load().await?;
        let registry = registry(config, ground).await?;
        let outbox = outbox(config, ground.clone(), vendors.clone())?.guarded_by(Arc::clone(&guard));
        let outbox = Arc::new(outbox.keeping(wishes(registry.directory())).traced_by(tracer).among(nodes.clone()));
        let measuring = Arc::clone(outbox.measuring());
        let timeout = config.messaging.attempt_timeout;
        let oversight = Arc::new(Oversight::new(vendors, measuring, Arc::clone(&ground.clock), timeout));
        let templates = Arc::new(config.templates()?);
        let receivers = Arc::new(Guarded::new(Client::new(&config.callbacks)?)) as Arc<dyn Receivers>;
        let messaging = Messaging::new(Arc::clone(&outbox), Arc::clone(&templates), config.messaging.retention);
        let messaging = Arc::new(messaging.telling(Arc::clone(&receivers)));
        let verifications = Arc::new(verifications(config, &outbox, templates, registry.directory()));
        outbox.hold(messaging.holder(), verifications.holder());
        outbox.load_measures().await?;
        let callbacks = Arc::new(callbacks::build(config, &outbox, receivers));
        let steps = Steps { messages: Some(callbacks), verifications: Some(Arc::clone(&verifications) as _) };
        let (feeds, crew) = Feeds::open(Arc::clone(&outbox), &config.events, &config.callbacks).await?;
        let (store, clock) = (Arc::clone(&ground.store), Arc::clone(&ground.clock));
        let keeping = Arc::new(Keeping::new(whole, store, ground.keys.clone(), clock));
        let people = Arc::new(People {
            directory: Arc::clone(registry.directory()),
            verifications: Arc::clone(&verifications),
            messaging: Arc::clone(&messaging),
            contacts: Arc::clone(&contacts),
            clock: Arc::clone(&ground.clock),
        });
        Ok(Self {
            registry,
            verifications,
            messaging,
            contacts,
            oversight,
            guard,
            outbox,
            steps,
            pushers,
            keeping,
            nodes,
            people,
            feeds,
            crew,
        })
    }

    /// What the gRPC surface is built from.
    pub(crate) fn for_grpc(&self, reflection: bool) -> Services {
        Services {
            registry: Arc::clone(&self.registry),
            random: Arc::clone(&self.outbox.ground.random),
            verifications: Arc::clone(&self.verifications),
            messaging: Arc::clone(&self.messaging),
            contacts: Arc::clone(&self.contacts),
            oversight: Arc::clone(&self.oversight),
            guard: Arc::clone(&self.guard),
            keeping: Arc::clone(&self.keeping),
            people: Arc::clone(&self.people),
            feeds: Arc::clone(&self.feeds),
            reflection,
        }
    }

    /// What the console is built from. `inboxes`: the names of vendors from which nothing leaves this machine.
    pub(crate) fn for_console(&self, pulse: &Arc<Pulse>, inboxes: Vec<String>) -> ConsoleDesk {
        ConsoleDesk {
            directory: Arc::clone(self.registry.directory()),
            verifications: Arc::clone(&self.verifications),
            messaging: Arc::clone(&self.messaging),
            oversight: Arc::clone(&self.oversight),
            guard: Arc::clone(&self.guard),
            random: Arc::clone(&self.outbox.ground.random),
            pulse: Arc::clone(pulse),
            inboxes,
        }
    }

    /// What the dialects are built from.
    pub(crate) fn for_dialects(&self, config: &Config) -> Desk {
        let Ground { clock, random, .. } = &self.outbox.ground;
        Desk {
            directory: Arc::clone(self.registry.directory()),
            verifications: Arc::clone(&self.verifications),
            messaging: Arc::clone(&self.messaging),
            contacts: Arc::clone(&self.contacts),
            oversight: Arc::clone(&self.oversight),
            clock: Arc::clone(clock),
            random: Arc::clone(random),
            wait: config.rest.wait,
            balance: config.rest.balance,
            peer: None,
        }
    }
}

/// The guard, and who is asked by it.
fn guard(config: &Config, ground: &Ground) -> Result<Guard> {
    let Ground { store, keys, clock, random, .. } = ground.clone();
    let guard = Guard::new(&config.guard, store, keys, Arc::clone(&clock));
    Ok(match Authorization::new(&config.guard.authorization, clock, random)? {
        Some(authorization) => guard.authorized_by(Arc::new(authorization)),
        None => guard,
    })
}

fn outbox(config: &Config, ground: Ground, vendors: Vendors) -> Result<Outbox> {
    let tokens = settings::receipt_tokens(&config.receipts)?.unwrap_or_else(|| ground.keys.receipt_tokens());
    let receipt_urls = ReceiptUrls::new(config.receipts.public_url.as_deref(), tokens);
    let routes = Routes::new(config.routes.clone());
    let outbox = Outbox::new(ground, vendors, routes, settings::outbox(&config.messaging));
    Ok(outbox.reachable_at(receipt_urls))
}

/// How long tenants have their records kept, as it is whenever one is written.
fn wishes(directory: &Arc<Directory>) -> Wishes {
    let directory = Arc::clone(directory);
    Arc::new(move |tenant| directory.tenant(tenant).map(|tenant| tenant.retention).unwrap_or_default())
}

/// The contacts, and who gives them to vendors.
fn contacts(
    loaded: &Loaded,
    ground: &Ground,
    vendors: &Vendors,
    nodes: &Nodes,
) -> Result<(Arc<Contacts>, Vec<Pusher>)> {
    let config = &loaded.config.contacts;
    let queue = Arc::new(Queue::new(config.push.clone()));
    let books = vendors::books(loaded, vendors, &ground.clock)?;
    let pusher = |book| Pusher::new(ground.clone(), &queue, Arc::new(book)).among(nodes.clone());
    let pushers = books.into_iter().map(pusher).collect();
    Ok((Arc::new(Contacts::new(ground.clone(), config, queue)), pushers))
}

async fn registry(config: &Config, ground: &Ground) -> Result<Arc<Registry>> {
    let Ground { store, keys, clock, .. } = ground.clone();
    Registry::open(store, keys, clock, settings::configured(config)?).await
}

fn verifications(
    config: &Config,
    outbox: &Arc<Outbox>,
    templates: Arc<Templates>,
    directory: &Arc<Directory>,
) -> Verifications {
    let workflows = Workflows::new(config.workflows.clone());
    let directory = Arc::clone(directory);
    let brands = Box::new(move |tenant: &_| directory.tenant(tenant)?.brand.clone());
    Verifications::new(Arc::clone(outbox), config.verification.clone(), templates, brands, workflows)
}
