//! The real program, killed right after it has answered: a key that was acknowledged opens, and one that was revoked does
//! not.

use tempfile::TempDir;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use verigate::proto::admin::v1::admin_service_client::AdminServiceClient;
use verigate::proto::verification::v1::ListVerificationsRequest;
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;

use crate::access::accounts::{add, named};
use crate::access::keys::{create, for_tenant, revoke, whole};
use crate::support::gateway::{Admin, Credentials, reason};
use crate::support::process::{KEY, Process};

const ROUNDS: usize = 8;

async fn channel(process: &Process) -> Channel {
    Endpoint::from_shared(process.grpc.clone()).unwrap().connect().await.unwrap()
}

async fn admin(process: &Process) -> Admin {
    AdminServiceClient::with_interceptor(channel(process).await, Credentials::new(KEY))
}

async fn call(process: &Process, key: &str) -> Result<(), Status> {
    let mut client = VerificationServiceClient::with_interceptor(channel(process).await, Credentials::new(key));
    client.list_verifications(ListVerificationsRequest::default()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_keys_and_revocations_survive_a_kill() {
    let place = TempDir::new().unwrap();
    let (mut good, mut revoked) = (Vec::new(), Vec::new());
    let mut process = Process::start(place.path(), &[]).await;
    for round in 0..ROUNDS {
        let mut client = admin(&process).await;
        let tenant = format!("tenant-{round}");
        add(&mut client, named(&tenant)).await.unwrap();
        let ending = create(&mut client, for_tenant(&tenant)).await.unwrap();
        let key = create(&mut client, for_tenant(&tenant)).await.unwrap();
        // The last word before the kill is a revocation in one round, a creation in the next.
        if round % 2 == 0 {
            revoke(&mut client, &ending.0.key_id).await.unwrap();
            revoked.push(whole(&ending));
        } else {
            good.push(whole(&ending));
        }
        process.kill();
        good.push(whole(&key));
        process = Process::start(place.path(), &[]).await;
        for key in &good {
            call(&process, key).await.unwrap();
        }
        for key in &revoked {
            assert_eq!(reason(&call(&process, key).await.unwrap_err()), "CREDENTIALS_INVALID");
        }
    }
}
