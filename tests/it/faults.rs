//! Faults of our own: the caller learns only that there was one, and the log what it was, under the name of the call.

use std::sync::Arc;

use tempfile::TempDir;
use tonic::{Code, Request, Status};
use verigate::clock::SystemClock;
use verigate::config;
use verigate::error::Kind;
use verigate::proto::verification::v1::{GetVerificationRequest, StartVerificationRequest};
use verigate::random::OsRandom;
use verigate::server::{Server, Surroundings, create_store_key};
use verigate::telemetry;

use crate::support::gateway::{CONFIG, Gateway, Verifications, by_id, reason, seconds, start};
use crate::support::log::Log;

const PHONE: &str = "+60123451477";
const CODE: &str = "Canary-Code-4711";
const SECRETS: [&str; 6] =
    [PHONE, "60123451477", "123451477", CODE, "acme-secret-of-some-length", "canary of a tenant"];

fn named<T>(name: &str, request: T) -> Request<T> {
    let mut request = Request::new(request);
    request.metadata_mut().insert("x-request-id", name.parse().unwrap());
    request
}

/// Looks at a verification and checks its code, each under a name of its own.
async fn call(client: &mut Verifications, name: &str, id: &str) -> [Status; 2] {
    let get = GetVerificationRequest { id: id.to_owned() };
    let got = client.get_verification(named(&format!("{name}-get"), get)).await.map(drop).unwrap_err();
    let checked =
        client.check_verification(named(&format!("{name}-check"), by_id(id, CODE))).await.map(drop).unwrap_err();
    [got, checked]
}

/// On one thread, whose log is taken down. With the coarsest filter that shows faults at all.
#[tokio::test]
async fn a_fault_is_logged_under_the_name_of_its_call_and_nowhere_told() {
    let log = Log::start("error");
    let mut gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let mut ids = Vec::new();
    for scope in ["cut", "future"] {
        let request = StartVerificationRequest {
            scope: scope.to_owned(),
            custom_code: CODE.to_owned(),
            metadata: [("note".to_owned(), "canary of a tenant".to_owned())].into(),
            delivery_wait: seconds(5),
            ..start(PHONE)
        };
        ids.push(client.start_verification(request).await.unwrap().into_inner().verification.unwrap().id);
        gateway.clock.advance(std::time::Duration::from_secs(30));
    }
    drop(client);
    // A record whose end is missing, and one of a version that is not known yet: both begin with all that is secret.
    gateway = gateway.damage(&ids[0], |record| record[..record.len() - 5].to_vec()).await;
    gateway = gateway.damage(&ids[1], |record| [&[200], &record[1..]].concat()).await;
    let mut client = gateway.verifications().await;
    let mut told = Vec::new();
    for (name, id) in ["cut", "future"].into_iter().zip(&ids) {
        told.extend(call(&mut client, name, id).await);
    }
    let log = String::from_utf8(log.bytes()).unwrap();

    for status in &told {
        assert_eq!((status.code(), status.message(), &*reason(status)), (Code::Internal, "internal error", "INTERNAL"));
    }
    for (name, cause) in [
        ("cut-get", "end of input"),
        ("cut-check", "end of input"),
        ("future-get", "version 200"),
        ("future-check", "version 200"),
    ] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&format!("request_id=\"{name}\""))).collect();
        assert!(lines.len() == 1 && lines[0].contains(cause) && lines[0].contains("ERROR"), "{name}: {log}");
    }
    let told = told.iter().map(|status| format!("{status:?} {}", String::from_utf8_lossy(status.details())));
    let told = told.collect::<String>();
    for secret in SECRETS {
        assert!(!log.contains(secret), "the log shows {secret:?}: {log}");
        assert!(!told.contains(secret), "an answer shows {secret:?}: {told}");
    }
    assert!(!told.contains("version 200") && !told.contains("end of input"), "{told}");
}

/// A key file of another store is the operator's mistake and not a fault of ours, so the way out is told.
#[tokio::test]
async fn a_store_that_the_key_file_does_not_open_says_so() {
    let place = TempDir::new().unwrap();
    let (key, file) = (place.path().join("key"), place.path().join("verigate.toml"));
    std::fs::write(&file, CONFIG.replace("PLACE", place.path().to_str().unwrap())).unwrap();
    let build = async || {
        create_store_key(&key, &OsRandom).unwrap();
        let (clock, random) = (Arc::new(SystemClock), Arc::new(OsRandom));
        let surroundings = Surroundings { clock, random, metrics: telemetry::start_metrics().unwrap() };
        Server::build(&config::load(Some(&file), std::iter::empty()).unwrap(), surroundings).await
    };
    let server = build().await.unwrap();
    server.run(std::future::ready(())).await.unwrap();
    std::fs::remove_file(&key).unwrap();
    let error = build().await.err().expect("another key opens nothing");
    assert_eq!(error.kind(), Kind::Precondition);
    assert!(error.message().starts_with("store.key_file: does not open"), "{}", error.message());
}
