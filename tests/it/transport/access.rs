//! Who may connect and ask: whom proxies speak for, what the admin listener wants to be told, and which users' processes
//! a Unix socket is for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UnixStream};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use verigate::auth::secret::SecretHash;
use verigate::proto::verification::v1::ListVerificationsRequest;
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;

use crate::support::gateway::{CONFIG, Credentials, Gateway};
use crate::support::http;

const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const STRANGER: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A key that opens from an address that nobody here has, for somebody whom the proxy speaks for.
const FIXED: &str = r#"
[[tenants]]
name = "fixed"
keys = [{ id = "fixed", secret = "fixed-secret-of-some-length", from = ["192.0.2.0/24"] }]
"#;

/// The headers of a request.
type Headers<'a> = &'a [(&'a str, &'a str)];

async fn over_grpc(gateway: &Gateway, from: Ipv4Addr, headers: Headers<'_>) -> Result<(), Status> {
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.grpc())).unwrap();
    let channel = endpoint.local_address(Some(IpAddr::V4(from))).connect().await.unwrap();
    let credentials = Credentials::new("fixed.fixed-secret-of-some-length");
    let mut client = VerificationServiceClient::with_interceptor(channel, credentials);
    let mut request = Request::new(ListVerificationsRequest::default());
    for (name, value) in headers {
        let name: tonic::metadata::MetadataKey<_> = name.parse().unwrap();
        request.metadata_mut().append(name, value.parse().unwrap());
    }
    client.list_verifications(request).await.map(drop)
}

/// The status of a call of our own, and of one in a dialect.
async fn over_http(gateway: &Gateway, from: Ipv4Addr, headers: Headers<'_>) -> [String; 2] {
    let get = async |target: &str, credentials: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        let mut stream = socket.connect(gateway.addresses.http).await.unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{credentials}{headers}Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let pair = "api-login: fixed\r\napi-key: fixed-secret-of-some-length\r\n";
    [
        get("/v1/verifications", "Authorization: Bearer fixed.fixed-secret-of-some-length\r\n").await,
        get("/octopush/wallet/check-credits", pair).await,
    ]
}

async fn assert_admitted(gateway: &Gateway, from: Ipv4Addr, headers: Headers<'_>, admitted: bool) {
    let answer = over_grpc(gateway, from, headers).await;
    match answer {
        Ok(()) => assert!(admitted, "{from} {headers:?}"),
        Err(status) => assert!(!admitted && status.code() == Code::PermissionDenied, "{from} {headers:?} {status}"),
    }
    let [native, dialect] = over_http(gateway, from, headers).await;
    assert_eq!(native == "200", admitted, "{from} {headers:?} {native}");
    assert_eq!(dialect == "200", admitted, "{from} {headers:?} {dialect}");
}

#[tokio::test]
async fn a_proxy_that_is_trusted_says_who_calls_and_nobody_else_does() {
    let trusting = CONFIG.replacen("[server]", "[server]\nproxies = ['127.0.0.9']", 1);
    let gateway = Gateway::start_with(&format!("{trusting}{FIXED}")).await;
    for (headers, admitted) in [
        (&[("x-forwarded-for", "192.0.2.7")] as Headers<'_>, true),
        (&[("x-forwarded-for", "1.1.1.1, 192.0.2.7:4711")], true),
        (&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.7, 127.0.0.9")], true),
        (&[("x-forwarded-for", "::ffff:192.0.2.7")], true),
        (&[], false),
        (&[("x-forwarded-for", "192.0.2.7, 1.1.1.1")], false),
        (&[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-for", "1.1.1.1")], false),
        (&[("x-forwarded-for", "192.0.2.7, unknown")], false),
        // The other header, and those that have no standing at all.
        (&[("forwarded", "for=192.0.2.7")], false),
        (&[("x-real-ip", "192.0.2.7")], false),
    ] {
        assert_admitted(&gateway, PROXY, headers, admitted).await;
    }
    // Whoever is no proxy may write what it likes.
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-for", "192.0.2.7, 127.0.0.9"),
        ("forwarded", "for=192.0.2.7"),
        ("x-real-ip", "192.0.2.7"),
    ] {
        assert_admitted(&gateway, STRANGER, &[(name, value)], false).await;
    }
}

#[tokio::test]
async fn the_header_of_the_standard_counts_where_it_is_chosen() {
    let chosen = "[server]\nproxies = ['127.0.0.9']\nproxy_header = 'forwarded'";
    let gateway = Gateway::start_with(&format!("{}{FIXED}", CONFIG.replacen("[server]", chosen, 1))).await;
    assert_admitted(&gateway, PROXY, &[("forwarded", "for=1.1.1.1, for=\"192.0.2.7:1\";proto=http")], true).await;
    assert_admitted(&gateway, PROXY, &[("x-forwarded-for", "192.0.2.7")], false).await;
    assert_admitted(&gateway, PROXY, &[("forwarded", "for=192.0.2.7, for=_hidden")], false).await;
    assert_admitted(&gateway, STRANGER, &[("forwarded", "for=192.0.2.7")], false).await;
}

#[tokio::test]
async fn the_admin_listener_asks_for_its_password() {
    let hash = SecretHash::of("canary-password-of-admin").to_string();
    for secret in ["password = 'canary-password-of-admin'", &format!("password_hash = '{hash}'")] {
        let config = format!("{CONFIG}\n[server.admin_access]\nuser = 'ops'\n{secret}\n");
        let gateway = Gateway::start_with(&config).await;
        let admin = gateway.addresses.admin;
        let get = async |target: &str, authorization: Option<String>| {
            let fields =
                [Some("Host: localhost".to_owned()), authorization.map(|value| format!("Authorization: {value}"))];
            let fields: Vec<_> = fields.into_iter().flatten().collect();
            http::get(admin, target, &fields.iter().map(String::as_str).collect::<Vec<_>>()).await
        };
        let basic = |pair: &str| Some(format!("Basic {}", STANDARD.encode(pair)));
        for target in ["/metrics", "/inbox", "/inbox/messages", "/"] {
            for right in [basic("ops:canary-password-of-admin"), Some("Bearer canary-password-of-admin".to_owned())] {
                let answer = get(target, right).await;
                assert!(answer.status == 200 || answer.status == 307, "{target} {}", answer.status);
            }
            for wrong in [
                None,
                basic("ops:"),
                basic("ops:canary-password"),
                basic("admin:canary-password-of-admin"),
                Some("Bearer acme.acme-secret-of-some-length".to_owned()),
                Some(format!("Bearer {hash}")),
            ] {
                let answer = get(target, wrong.clone()).await;
                assert_eq!(answer.status, 401, "{target} {wrong:?}");
                assert!(answer.header("www-authenticate").unwrap().starts_with("Basic realm="), "{}", answer.head);
                assert!(!answer.body.contains("canary") && !answer.body.contains("verigate_"), "{}", answer.body);
            }
        }
        // Who only asks whether we live needs none.
        assert_eq!(get("/healthz", None).await.status, 200);
        assert_eq!(get("/readyz", None).await.status, 200);
    }
}

#[tokio::test]
async fn the_console_is_found_under_configured_names() {
    let gateway =
        Gateway::start_with(&CONFIG.replacen("[server]", "[server]\nadmin_hosts = ['verigate.internal']", 1)).await;
    for (host, status) in [("verigate.internal:9090", 200), ("localhost", 200), ("evil.example", 421)] {
        let answer = http::get(gateway.addresses.admin, "/inbox", &[&format!("Host: {host}")]).await;
        assert_eq!(answer.status, status, "{host}");
    }
}

#[tokio::test]
async fn a_socket_is_for_the_users_and_groups_that_are_named() {
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let config = CONFIG.replace("grpc = \"127.0.0.1:0\"", "grpc = \"unix:PLACE/grpc\"");
    for (named, admitted) in [
        (String::new(), true),
        (format!("users = ['{user}']"), true),
        (format!("groups = ['{group}']"), true),
        (format!("users = ['{}', '{user}']", user + 1), true),
        (format!("users = ['{}']", user + 1), false),
        (format!("users = ['{}']\ngroups = ['{}']", user + 1, group + 1), false),
    ] {
        let gateway = Gateway::start_with(&format!("{config}\n[server.unix]\nmode = '0600'\n{named}\n")).await;
        let path = gateway.data().parent().unwrap().join("grpc");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        if admitted {
            let mut client = gateway.verifications().await;
            client.list_verifications(ListVerificationsRequest::default()).await.expect(&named);
        } else {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            // Hung up on at once, without a word.
            assert_eq!(stream.read(&mut [0; 64]).await.unwrap_or_default(), 0, "{named}");
        }
    }
}

#[tokio::test]
async fn a_program_beside_us_needs_no_secret() {
    let user = rustix::process::getuid().as_raw();
    let config = CONFIG.replace("grpc = \"127.0.0.1:0\"", "grpc = \"unix:PLACE/grpc\"");
    let unix = format!("[server.unix]\nusers = ['{user}']\n");
    let list = async |gateway: &Gateway, key: Option<&str>| {
        let mut client = VerificationServiceClient::new(gateway.channel().await);
        let mut request = Request::new(ListVerificationsRequest::default());
        if let Some(key) = key {
            request.metadata_mut().insert("authorization", key.parse().unwrap());
        }
        let listed = client.list_verifications(request).await;
        listed.map(|listed| listed.into_inner().verifications.len())
    };
    let gateway = Gateway::start_with(&format!("{config}\n{unix}key = 'acme'\n")).await;
    let mut client = gateway.verifications().await;
    gateway.begin(&mut client, "+60123456789").await;
    assert_eq!(list(&gateway, None).await.unwrap(), 1);
    // Who shows credentials is who they say, and wrong ones stay wrong.
    assert_eq!(list(&gateway, Some("Bearer other.other-secret-of-some-length")).await.unwrap(), 0);
    for wrong in ["Bearer acme.wrong", "Bearer ", "Basic YWNtZTo="] {
        assert_eq!(list(&gateway, Some(wrong)).await.unwrap_err().code(), Code::Unauthenticated, "{wrong}");
    }
    // The other listeners know nobody.
    let answer = http::get(gateway.addresses.http, "/v1/verifications", &["Host: x"]).await;
    assert_eq!(answer.status, 401);
    let gateway = Gateway::start_with(&format!("{config}\n{unix}")).await;
    assert_eq!(list(&gateway, None).await.unwrap_err().code(), Code::Unauthenticated);
}
