//! TLS on every listener, with certificates of the test's own.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use verigate::proto::verification::v1::ListVerificationsRequest;
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;

use crate::support::authority::{Authority, Certified};
use crate::support::gateway::{CONFIG, Credentials, Gateway, PHONE};
use crate::support::http;

const KEY: &str = "acme.acme-secret-of-some-length";

/// An authority, what it gave the gateway, and the folder where that lies.
struct Tls {
    authority: Authority,
    folder: TempDir,
    own: Certified,
}

// === impl Tls ===

impl Tls {
    fn new() -> Self {
        let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
        let own = authority.certify();
        own.write(folder.path());
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        Self { authority, folder, own }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn section(&self, listener: &str, clients: Option<&str>) -> String {
        let (certificate, key) = (self.path("certificate.pem"), self.path("key.pem"));
        let clients = clients.map(|file| format!("client_ca_file = '{file}'\n")).unwrap_or_default();
        format!("[server.tls.{listener}]\ncertificate_file = '{certificate}'\nkey_file = '{key}'\n{clients}")
    }

    async fn gateway(&self, listeners: &[&str]) -> Gateway {
        let sections: String = listeners.iter().map(|listener| self.section(listener, None)).collect();
        Gateway::start_with(&format!("{CONFIG}\n{sections}")).await
    }

    /// A gRPC channel, which shakes hands when it is first used.
    fn channel(&self, gateway: &Gateway, own: Option<&Certified>) -> Channel {
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.authority.pem()));
        let config = match own {
            Some(own) => config.identity(Identity::from_pem(&own.certificate, &own.key)),
            None => config,
        };
        let endpoint = Endpoint::from_shared(format!("https://{}", gateway.grpc())).unwrap();
        endpoint.tls_config(config).unwrap().connect_lazy()
    }
}

async fn call(channel: &Channel) -> Result<(), tonic::Status> {
    let mut client = VerificationServiceClient::with_interceptor(channel.clone(), Credentials::new(KEY));
    client.list_verifications(ListVerificationsRequest::default()).await.map(drop)
}

#[tokio::test]
async fn every_listener_can_speak_it() {
    let tls = Tls::new();
    let gateway = tls.gateway(&["grpc", "http", "admin"]).await;
    call(&tls.channel(&gateway, None)).await.unwrap();
    for (address, target, wanted) in [
        (gateway.addresses.http, "/v1/verifications", "{\"verifications\":[]"),
        (gateway.addresses.admin, "/healthz", "ok\n"),
    ] {
        let mut stream = tls.authority.connect(address, &["http/1.1"], None).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n");
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        // Who closes a connection need not say so within TLS.
        drop(stream.read_to_string(&mut answer).await);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(wanted), "{answer}");

        let stream = tls.authority.connect(address, &["h2", "http/1.1"], None).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = ::http::Request::get(format!("https://localhost{target}"));
        let request = request.header("authorization", format!("Bearer {KEY}")).body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let mut answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = answer.body_mut().data().await.unwrap().unwrap();
        assert!(body.starts_with(wanted.as_bytes()), "{body:?}");
    }
    // Who speaks plain text, or nothing that we speak, is not answered.
    let plain = Endpoint::from_shared(format!("http://{}", gateway.grpc())).unwrap().connect_lazy();
    assert!(call(&plain).await.is_err());
    assert!(tls.authority.connect(gateway.addresses.http, &["spdy/3"], None).await.is_err());
    assert!(tls.authority.connect(gateway.grpc(), &["http/1.1"], None).await.is_err());
    // Who trusts another authority does not trust ours.
    let other = Authority::new();
    assert!(other.connect(gateway.grpc(), &["h2"], None).await.is_err());
}

#[tokio::test]
async fn clients_need_a_certificate_where_they_are_asked_for_one() {
    let tls = Tls::new();
    let clients = Authority::new();
    std::fs::write(tls.folder.path().join("clients.pem"), clients.pem()).unwrap();
    let file = tls.path("clients.pem");
    let config = format!("{CONFIG}\n{}{}", tls.section("grpc", Some(&file)), tls.section("http", None));
    let gateway = Gateway::start_with(&config).await;
    call(&tls.channel(&gateway, Some(&clients.certify()))).await.unwrap();
    for wrong in [None, Some(tls.own.clone()), Some(Authority::new().certify())] {
        assert!(call(&tls.channel(&gateway, wrong.as_ref())).await.is_err());
    }
    // Another listener asks for none.
    assert!(tls.authority.connect(gateway.addresses.http, &["http/1.1"], None).await.is_ok());
    call(&tls.channel(&gateway, Some(&clients.certify()))).await.unwrap();
}

/// The certificate that a new connection is shown.
async fn shown(tls: &Tls, gateway: &Gateway) -> Vec<u8> {
    let stream = tls.authority.connect(gateway.grpc(), &["h2"], None).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Lets time pass until new connections are shown this certificate; until then they are shown one of `before`.
async fn until_shown(tls: &Tls, gateway: &Gateway, certified: &Certified, before: &[&Certified]) {
    for _ in 0..10_000 {
        gateway.clock.advance(Duration::from_secs(10));
        let shown = shown(tls, gateway).await;
        if shown == certified.der().to_vec() {
            return;
        }
        assert!(before.iter().any(|before| shown == before.der().to_vec()));
    }
    panic!("the certificate was never taken");
}

#[tokio::test]
async fn new_certificates_are_taken_while_connections_stay_open() {
    let tls = Tls::new();
    let gateway = tls.gateway(&["grpc"]).await;
    let open = tls.channel(&gateway, None);
    call(&open).await.unwrap();
    // Before the time comes, and where the content is the same, nothing changes.
    let second = tls.authority.certify();
    assert_eq!(shown(&tls, &gateway).await, tls.own.der().to_vec());
    second.write(tls.folder.path());
    assert_eq!(shown(&tls, &gateway).await, tls.own.der().to_vec());
    until_shown(&tls, &gateway, &second, &[&tls.own]).await;
    call(&open).await.unwrap();

    // What is no good is passed over, and does not stand in the way of what comes after it.
    let third = tls.authority.certify();
    for (name, content) in [
        ("certificate.pem", "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n"),
        ("certificate.pem", ""),
        // Half of a new pair.
        ("certificate.pem", &third.certificate),
        ("key.pem", "canary"),
    ] {
        std::fs::write(tls.folder.path().join(name), content).unwrap();
        for _ in 0..5 {
            gateway.clock.advance(Duration::from_secs(10));
            assert_eq!(shown(&tls, &gateway).await, second.der().to_vec());
        }
    }
    std::fs::remove_file(tls.path("key.pem")).unwrap();
    gateway.clock.advance(Duration::from_secs(10));
    assert_eq!(shown(&tls, &gateway).await, second.der().to_vec());
    third.write(tls.folder.path());
    until_shown(&tls, &gateway, &third, &[&second]).await;
    call(&open).await.unwrap();
}

/// Runs a program beside the gateway, which this thread serves.
async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn grpcurl_speaks_it() {
    let tls = Tls::new();
    let ca = tls.path("ca.pem");
    let gateway = Gateway::start_with(&format!("{CONFIG}\n{}", tls.section("grpc", Some(&ca)))).await;
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache/bin");
    let tools = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let grpcurl = |identity: bool| {
        let mut command = Command::new("sh");
        command.env("PATH", &tools).args(["-c", "grpcurl \"$@\"", "sh", "-cacert", &ca]);
        if identity {
            command.args(["-cert", &tls.path("certificate.pem"), "-key", &tls.path("key.pem")]);
        }
        command.args(["-H", &format!("authorization: Bearer {KEY}"), "-connect-timeout", "20"]);
        command.args([&gateway.grpc().to_string(), "verigate.verification.v1.VerificationService/ListVerifications"]);
        command
    };
    let Output { status, stdout, stderr } = run(grpcurl(true)).await;
    assert!(status.success() && stdout.starts_with(b"{"), "{}", String::from_utf8_lossy(&stderr));
    assert!(!run(grpcurl(false)).await.status.success());
}

#[tokio::test]
async fn our_own_client_speaks_it() {
    let tls = Tls::new();
    let ca = tls.path("ca.pem");
    let gateway = Gateway::start_with(&format!("{CONFIG}\n{}", tls.section("grpc", Some(&ca)))).await;
    let both = format!("{}{}", tls.own.certificate, tls.own.key);
    std::fs::write(tls.folder.path().join("both.pem"), both).unwrap();
    let send = |address: &str, options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verigate"));
        command.env_clear().args(["send", PHONE, "Hello", "--key", KEY, "--address", address]).args(options);
        command
    };
    let (address, both) = (format!("https://{}", gateway.grpc()), tls.path("both.pem"));
    let sent = run(send(&address, &["--ca", &ca, "--certificate", &both])).await;
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    for (options, code, wanted) in [
        (&["--ca", &ca] as &[&str], 69, "cannot reach"),
        // Nobody on the web vouches for us.
        (&["--certificate", &both], 69, "cannot reach"),
        (&["--ca", "/nowhere/ca.pem"], 2, "--ca: the file \"/nowhere/ca.pem\" cannot be read"),
        (&["--certificate", "/nowhere.pem"], 2, "--certificate: the file \"/nowhere.pem\" cannot be read"),
    ] {
        let Output { status, stderr, .. } = run(send(&address, options)).await;
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.code() == Some(code) && stderr.contains(wanted), "{options:?} {status} {stderr}");
    }
    let plain = format!("http://{}", gateway.grpc());
    let Output { status, stderr, .. } = run(send(&plain, &["--ca", &ca])).await;
    assert_eq!(status.code(), Some(2), "{}", String::from_utf8_lossy(&stderr));
}

#[tokio::test]
async fn who_shakes_no_hands_is_hung_up_on() {
    let tls = Tls::new();
    let limits = "[server.limits]\nhandshake_timeout = \"50ms\"\n";
    let config = format!("{CONFIG}\n{}{}{limits}", tls.section("grpc", None), tls.section("http", None));
    let gateway = Gateway::start_with(&config).await;
    for address in [gateway.grpc(), gateway.addresses.http] {
        let mut silent = tokio::net::TcpStream::connect(address).await.unwrap();
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
        // The first bytes of a hello, and no more.
        let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
        slow.write_all(&[0x16, 3, 1, 2]).await.unwrap();
        drop(slow.read_to_end(&mut Vec::new()).await);
        // After a good handshake, no call.
        let mut idle = tls.authority.connect(address, &["h2"], None).await.unwrap();
        drop(idle.read_to_end(&mut Vec::new()).await);
    }
    assert_eq!(http::get(gateway.addresses.admin, "/healthz", &["Host: localhost"]).await.status, 200);
}
