//! Waiting for what comes of a send, for callers who want to know before they are answered.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::error::Result;
use crate::messaging::holder::SendRecord;
use crate::store::keys::SendRef;
use crate::verification::service::Verifications;
use crate::verification::view::View;

impl Verifications {
    /// Waits until a vendor has the send, perhaps has it or will not get it, if the caller wants that, and looks at the
    /// verification again. A send that waits for room or goes on to another vendor is waited for, too.
    pub(crate) async fn after_delivery(
        &self,
        view: View,
        send: &SendRef,
        call: Option<JoinHandle<()>>,
        wait: Option<Duration>,
    ) -> Result<View> {
        match wait.filter(|wait| !wait.is_zero()) {
            // In a box, so that calls that do not wait carry no room for it.
            Some(wait) => Box::pin(self.wait_for_outcome(view, send, call, wait)).await,
            None => Ok(view),
        }
    }

    async fn wait_for_outcome(
        &self,
        view: View,
        send: &SendRef,
        call: Option<JoinHandle<()>>,
        wait: Duration,
    ) -> Result<View> {
        let tenant = &view.verification.tenant;
        let mut deadline = self.ground.clock.sleep_until(self.ground.clock.now() + wait);
        let mut waits = true;
        if let Some(call) = call {
            tokio::select! {
                _ = call => {}
                () = &mut deadline => waits = false,
            }
        }
        // As a rule the first call tells, and nothing needs to be watched.
        let mut watch = None;
        loop {
            let view = self.get(tenant, send.id).await?;
            let sending = view.verification.sends().iter().find(|sending| sending.number == send.number);
            if !waits || sending.is_none_or(|sending| sending.status.is_outcome()) {
                return Ok(view);
            }
            let Some(watch) = &mut watch else {
                watch = Some(self.outbox.watches.watch(send.id));
                continue;
            };
            let look_again = self.ground.clock.now() + watch.patience();
            tokio::select! {
                () = watch.changed() => {}
                () = self.ground.clock.sleep_until(look_again) => {}
                () = &mut deadline => waits = false,
                () = self.outbox.stopped().cancelled() => waits = false,
            }
        }
    }
}
