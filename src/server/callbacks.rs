//! Callbacks: who writes them, and how their calls get out.

use std::sync::Arc;

use async_trait::async_trait;

use crate::config::Config;
use crate::error::Result;
use crate::id::TenantName;
use crate::messaging::callback::Called;
use crate::messaging::callback_writer::{CallbackCall, CallbackWriters};
use crate::messaging::callbacks::{Callbacks, Receivers, Settings, Turn};
use crate::messaging::outbox::Outbox;
use crate::rest::esms::report::{self, ReportWriter};
use crate::rest::octopush::status::{self, StatusWriter};
use crate::rest::simpu::callback::{self, SimpuCallbacks};
use crate::webhook::client::{self, Call, Client, Outcome};

/// The receivers of callbacks, behind the client that guards against their callers.
pub struct Guarded(Client);

struct GuardedTurn(client::Turn);

/// Who writes what became of a message, one entry for each kind.
fn writers() -> CallbackWriters {
    CallbackWriters::default()
        .add(report::KIND, Arc::new(ReportWriter))
        .add(status::KIND, Arc::new(StatusWriter))
        .add(callback::KIND, Arc::new(SimpuCallbacks))
}

pub(crate) fn build(config: &Config, outbox: &Arc<Outbox>, receivers: Arc<dyn Receivers>) -> Callbacks {
    let settings = Settings {
        timeout: config.callbacks.timeout,
        attempts: u8::try_from(config.callbacks.attempts).unwrap_or(u8::MAX),
        retention: config.messaging.retention,
    };
    Callbacks::new(Arc::clone(outbox), receivers, writers(), settings)
}

// === impl Guarded ===

impl Guarded {
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

#[async_trait]
impl Receivers for Guarded {
    fn check(&self, url: &str) -> Result<()> {
        self.0.parse(url).map(drop)
    }

    async fn turn(&self, tenant: &TenantName, url: &str) -> Option<Box<dyn Turn>> {
        let turn = self.0.turn(tenant.as_str(), url).await?;
        Some(Box::new(GuardedTurn(turn)))
    }
}

#[async_trait]
impl Turn for GuardedTurn {
    async fn call(self: Box<Self>, call: CallbackCall) -> Called {
        let CallbackCall { method, url, headers, body } = call;
        match self.0.call(Call { method, url, headers, body }).await {
            Outcome::Answered { status, .. } if status.is_success() => Called::Taken,
            Outcome::Answered { status: http::StatusCode::GONE, .. } => Called::Gone,
            Outcome::Answered { after, .. } => Called::Refused { after },
            Outcome::Unanswered => Called::Unanswered,
            Outcome::Forbidden => Called::Forbidden,
        }
    }
}
