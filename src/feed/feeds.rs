//! Feeds as a service. Watching, the log of deliveries and replays stand beside it.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::feed::courier::Couriers;
use crate::feed::endpoints::Endpoints;
use crate::feed::scribe::Scribe;
use crate::feed::settings::Config;
use crate::feed::shelf::Shelf;
use crate::feed::telling::Teller;
use crate::messaging::outbox::Outbox;
use crate::webhook::client::Client;
use crate::webhook::settings::Config as CallConfig;

/// Shows feeds, and who is called for them.
pub struct Feeds {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) teller: Teller,
    pub(crate) outbox: Arc<Outbox>,
}

/// What writes and reads feeds in the background.
pub struct Crew {
    pub scribe: Scribe,
    pub couriers: Couriers,
    pub endpoints: Arc<Endpoints>,
    pub shelf: Arc<Shelf>,
}

// === impl Feeds ===

impl Feeds {
    /// Errors: those of a store that cannot be read or written.
    pub async fn open(outbox: Arc<Outbox>, config: &Config, calls: &CallConfig) -> Result<(Arc<Self>, Crew)> {
        let shelf = Arc::new(Shelf::new(outbox.ground.clone(), config.retention).among(outbox.nodes.clone()));
        let bounds = config.bounds(calls);
        let endpoints = Endpoints::open(Arc::clone(&shelf), config, bounds.clone()).await?;
        // Their own client, so that callbacks of messages do not wait for endpoints, nor these for them.
        let client = Client::new(&config.calls(calls))?;
        let couriers =
            Couriers::new(Arc::clone(&shelf), Arc::clone(&endpoints), Arc::clone(&outbox), (client, bounds), config);
        let scribe = Scribe::new(Arc::clone(&shelf));
        let crew = Crew { scribe, couriers, endpoints: Arc::clone(&endpoints), shelf: Arc::clone(&shelf) };
        let teller = Teller::new(Arc::clone(&outbox));
        Ok((Arc::new(Self { shelf, endpoints, teller, outbox }), crew))
    }

    pub fn now(&self) -> Timestamp {
        self.shelf.ground.clock.now()
    }

    /// Who is called.
    pub fn endpoints(&self) -> &Arc<Endpoints> {
        &self.endpoints
    }
}
