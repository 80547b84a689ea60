//! `verigate health`, as container engines ask.

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::ServingStatus;

use crate::cli::program::Place;
use crate::support::authority::Authority;

#[test]
fn a_gateway_that_serves_is_healthy_whoever_asks() {
    let place = Place::new();
    let socket = format!("unix:{}", place.path("grpc.sock").display());
    let _served = place.serve(&[], &[("VERIGATE__SERVER__GRPC", &socket)]);
    let ask = |more: &[&str]| place.run_with(&[&["health", "--address", &socket], more].concat(), &[]);
    assert_eq!(ask(&[]).succeeded(), "serving\n");
    assert_eq!(ask(&["--json"]).json()["status"], "SERVING");
    assert_eq!(ask(&["--key", "un.known"]).succeeded(), "serving\n", "no key is asked for");
    assert_eq!(ask(&["--service", "verigate.messaging.v1.MessagingService"]).succeeded(), "serving\n");
    assert_eq!(ask(&["--service", "verigate.messaging.v1.Pigeons"]).failed_with(1).len(), 1);
}

#[test]
fn a_gateway_with_tls_is_asked_under_the_name_of_its_certificate() {
    let place = Place::new();
    let authority = Authority::new();
    let (certificate, key) = authority.certify().write(&place.path("."));
    place.write("ca.crt", &authority.pem());
    let served = place.serve(
        &[],
        &[
            ("VERIGATE__SERVER__TLS__GRPC__CERTIFICATE_FILE", certificate.to_str().unwrap()),
            ("VERIGATE__SERVER__TLS__GRPC__KEY_FILE", key.to_str().unwrap()),
        ],
    );
    let address = format!("https://{}", served.grpc);
    let ask = |name: &str| place.run(&["health", "--address", &address, "--ca", "ca.crt", "--server-name", name]);
    assert_eq!(ask("localhost").succeeded(), "serving\n");
    let other = ask("sms.example.com");
    assert!(matches!(other.failed_with(69)[..], [line] if line.contains("certificate")), "{other:?}");
    let idle = place.run(&["health", "--address", &served.grpc, "--server-name", "localhost"]);
    assert!(idle.failed_with(2)[0].starts_with("verigate: --server-name: is for an address"), "{idle:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_does_not_serve_is_not_healthy() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("", ServingStatus::NotServing).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let incoming = TcpListenerStream::new(listener);
    let server = tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let place = Place::new();
    let ended = place.run_with(&["health"], &[("VERIGATE_ADDRESS", &address)]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, "not serving\n"), "{ended:?}");
    server.abort();
    drop(server.await);
    assert_eq!(place.run(&["health", "--address", &address]).failed_with(69).len(), 1);
}
