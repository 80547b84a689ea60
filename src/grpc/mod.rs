//! The gRPC surface: services behind authentication, health and reflection.
//!
//! Handlers parse in, call a service, and write out; rules live below.

pub mod access;
pub mod accounts;
pub mod acts;
pub mod admin;
mod blocks;
pub mod contacts;
pub mod convert;
pub mod data;
pub mod deadline;
pub mod endpoints;
pub mod events;
pub mod follow;
pub mod held;
pub mod messaging;
pub mod people;
pub mod request_id;
pub mod shedding;
pub mod switchboard;
pub mod told;
pub mod verification;

use std::sync::Arc;

use tonic::service::Routes;

use crate::auth::registry::Registry;
use crate::contacts::service::Contacts;
use crate::error::{Error, Result};
use crate::feed::feeds::Feeds;
use crate::grpc::access::Access;
use crate::grpc::admin::AdminApi;
use crate::grpc::contacts::ContactsApi;
use crate::grpc::data::Data;
use crate::grpc::events::EventApi;
use crate::grpc::messaging::MessagingApi;
use crate::grpc::people::People;
use crate::grpc::switchboard::Switchboard;
use crate::grpc::verification::VerificationApi;
use crate::guard::service::Guard;
use crate::keeping::service::Keeping;
use crate::messaging::oversight::Oversight;
use crate::messaging::service::Messaging;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::admin::v1::admin_service_server::AdminServiceServer;
use crate::proto::contacts::v1::contacts_service_server::ContactsServiceServer;
use crate::proto::event::v1::event_service_server::EventServiceServer;
use crate::proto::messaging::v1::messaging_service_server::MessagingServiceServer;
use crate::proto::verification::v1::verification_service_server::VerificationServiceServer;
use crate::random::Random;
use crate::verification::service::Verifications;

/// Largest request that is read, in bytes. The largest honest one, a batch of 500 recipients, stays far below.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// What the surface is built from.
pub struct Services {
    pub registry: Arc<Registry>,
    pub random: Arc<dyn Random>,
    pub verifications: Arc<Verifications>,
    pub messaging: Arc<Messaging>,
    pub contacts: Arc<Contacts>,
    pub oversight: Arc<Oversight>,
    pub guard: Arc<Guard>,
    pub keeping: Arc<Keeping>,
    pub people: Arc<People>,
    pub feeds: Arc<Feeds>,
    /// Whether to serve reflection, v1 and v1alpha, to anyone who can connect.
    pub reflection: bool,
}

/// All services; the reporter says whether they are healthy.
///
/// Errors: `Internal` when the compiled-in contract cannot be read.
pub fn routes(services: Services) -> Result<(Switchboard, tonic_health::server::HealthReporter)> {
    let Services { registry, random, verifications, messaging, contacts, oversight, guard, feeds, .. } = services;
    let Services { keeping, people, reflection, .. } = services;
    let (reporter, health) = tonic_health::server::health_reporter();
    let directory = Arc::clone(registry.directory());
    let access = Access::new(Arc::clone(&directory));
    let admin = AdminApi::new(admin::Parts {
        registry,
        random,
        oversight,
        guard,
        verifications: Arc::clone(&verifications),
        messaging: Arc::clone(&messaging),
        feeds: Arc::clone(&feeds),
        data: Data::new(people, keeping, Arc::clone(&directory)),
    });
    let events = EventServiceServer::new(EventApi::new(feeds, Arc::clone(&directory)))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let admin = AdminServiceServer::new(admin).max_decoding_message_size(MAX_REQUEST_BYTES);
    let verification = VerificationServiceServer::new(VerificationApi::new(verifications, Arc::clone(&directory)))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let messaging = MessagingServiceServer::new(MessagingApi::new(messaging, directory))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let contacts = ContactsServiceServer::new(ContactsApi::new(contacts)).max_decoding_message_size(MAX_REQUEST_BYTES);
    let mut others = Routes::new(health)
        .add_service(access.guard(contacts))
        .add_service(access.guard(events))
        .add_service(access.guard(admin));
    if reflection {
        // With the error details in it, clients that reflect show them in words instead of base64.
        let builder = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        others = others
            .add_service(builder().build_v1().map_err(Error::internal)?)
            .add_service(builder().build_v1alpha().map_err(Error::internal)?);
    }
    let (verification, messaging) = (access.guard(verification), access.guard(messaging));
    Ok((Switchboard::new(verification, messaging, others), reporter))
}
