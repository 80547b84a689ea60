//! The calls of `verigate.admin.v1.AdminService` that are about what the store holds: of one person, and as a whole.

use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use tonic::Status;
use tracing::info;

use crate::auth::caller::Caller;
use crate::auth::directory::Directory;
use crate::error::{Error, Result};
use crate::grpc::contacts::to_row;
use crate::grpc::convert::{parse_address, parse_text, to_count, to_metadata, to_status};
use crate::grpc::follow::{Answers, until};
use crate::grpc::messaging::to_message;
use crate::grpc::people::{Kept, People};
use crate::grpc::verification::to_verification;
use crate::id::TenantName;
use crate::keeping::service::{Keeping, Progress};
use crate::keeping::writer::Chunk;
use crate::proto::admin::v1 as pb;
use crate::proto::admin::v1::export_recipient_response::Record;
use crate::proto::messaging::v1::Recipient as PbRecipient;
use crate::recipient::Recipient;
use crate::violations::Violations;

/// What these calls are answered from.
pub struct Data {
    people: Arc<People>,
    keeping: Arc<Keeping>,
    directory: Arc<Directory>,
}

// === impl Data ===

impl Data {
    pub fn new(people: Arc<People>, keeping: Arc<Keeping>, directory: Arc<Directory>) -> Self {
        Self { people, keeping, directory }
    }

    pub(crate) fn export(
        &self,
        caller: Caller,
        request: pb::ExportRecipientRequest,
    ) -> Result<Answers<pb::ExportRecipientResponse>> {
        let (recipient, tenant) = parse_whose(request.recipient, request.tenant)?;
        info!(by = caller.key_id(), tenant = of(tenant.as_ref()), "what is kept of a recipient was asked for");
        let export = self.people.export(recipient, tenant);
        let answers = unfold(Some(export), async |export| {
            let mut export = export?;
            match export.next().await {
                Ok(kept) => kept.map(|kept| (Ok(to_export(kept)), Some(export))),
                Err(error) => Some((Err(to_status(error)), None)),
            }
        });
        Ok(self.while_open(caller, answers))
    }

    pub(crate) async fn erase(
        &self,
        caller: &Caller,
        request: pb::EraseRecipientRequest,
    ) -> Result<pb::EraseRecipientResponse> {
        let (recipient, tenant) = parse_whose(request.recipient, request.tenant)?;
        let named = tenant.clone();
        let erased = self.people.erase(recipient, tenant).await?;
        info!(by = caller.key_id(), tenant = of(named.as_ref()), ?erased, "a recipient was erased");
        Ok(pb::EraseRecipientResponse {
            verifications: to_count(erased.verifications),
            messages: to_count(erased.messages),
            contacts: to_count(erased.contacts),
            notes: to_count(erased.notes),
        })
    }

    pub(crate) async fn backup(&self, caller: Caller) -> Result<Answers<pb::BackupStoreResponse>> {
        let backup = self.keeping.backup().await?;
        info!(by = caller.key_id(), "a backup was begun");
        let answers = unfold(Some(backup), async |backup| {
            let mut backup = backup?;
            match backup.next().await {
                Ok(chunk) => chunk.map(|chunk| (Ok(to_chunk(chunk)), Some(backup))),
                Err(error) => Some((Err(to_status(error)), None)),
            }
        });
        Ok(self.while_open(caller, answers))
    }

    pub(crate) async fn rewrite(&self, caller: Caller) -> Result<Answers<pb::RewriteStoreResponse>> {
        let renewal = self.keeping.renew().await?;
        info!(by = caller.key_id(), "the files of the store are being written anew");
        let state = Some((renewal, Progress::default()));
        let answers = unfold(state, async |state| {
            let (mut renewal, last) = state?;
            match renewal.next().await {
                Ok(Some(progress)) => Some((Ok(to_progress(progress, false)), Some((renewal, progress)))),
                Ok(None) => Some((Ok(to_progress(last, true)), None)),
                Err(error) => Some((Err(to_status(error)), None)),
            }
        });
        Ok(self.while_open(caller, answers))
    }

    /// Answers for as long as the caller may have them.
    fn while_open<T: Send + 'static>(
        &self,
        caller: Caller,
        answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Answers<T> {
        let directory = Arc::clone(&self.directory);
        until(answers, async move { directory.closed_to(&caller).await })
    }
}

/// Who it is about, and with which tenant.
fn parse_whose(recipient: Option<PbRecipient>, tenant: String) -> Result<(Recipient, Option<TenantName>)> {
    let mut found = Violations::default();
    let missing = || Error::invalid("recipient", "must be set, with either a phone number or an e-mail address");
    let recipient = parse_address(recipient).ok_or_else(missing).and_then(|address| address.parse(None));
    let recipient = found.note(recipient)?;
    let tenant = found.note(parse_text(tenant).map(|name| name.parse()).transpose())?;
    match (recipient, tenant) {
        (Some(recipient), Some(tenant)) => Ok((recipient, tenant)),
        _ => Err(Error::invalid_fields(found.0)),
    }
}

/// For the log.
fn of(tenant: Option<&TenantName>) -> &str {
    tenant.map_or("*", TenantName::as_str)
}

fn to_export(kept: Kept) -> pb::ExportRecipientResponse {
    let (tenant, record, variables) = match kept {
        Kept::Verification(tenant, view) => {
            let variables = to_metadata(&view.verification.variables);
            (tenant, Record::Verification(to_verification(&view)), variables)
        }
        Kept::Message(tenant, message) => (tenant, Record::Message(to_message(&message)), Default::default()),
        Kept::Contact(tenant, row) => (tenant, Record::Contact(to_row(row)), Default::default()),
    };
    pb::ExportRecipientResponse { tenant: tenant.as_str().to_owned(), record: Some(record), variables }
}

fn to_chunk(chunk: Chunk) -> pb::BackupStoreResponse {
    pb::BackupStoreResponse { chunk: chunk.bytes, records: to_count(chunk.records), complete: chunk.is_complete }
}

fn to_progress(progress: Progress, done: bool) -> pb::RewriteStoreResponse {
    pb::RewriteStoreResponse {
        records: to_count(progress.records),
        done,
        megabytes: to_count(progress.bytes.div_ceil(1_000_000)),
    }
}
