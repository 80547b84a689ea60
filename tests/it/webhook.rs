//! The client that calls URLs of callers, over real sockets: whom it calls, and what receivers can do to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use http::header::CONNECTION;
use http::{HeaderMap, Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use verigate::webhook::client::{Call, Client, Outcome};

use crate::support::gateway::eventually;
use crate::support::vendor_server::{Answer, Fault, VendorServer};

/// Longer than anything takes that should happen, for a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

const OK: Outcome = Outcome::Answered { status: StatusCode::OK, after: None };

/// `allow`: networks, as in a list of a configuration.
fn client(allow: &str, settings: &[(&str, &str)]) -> Client {
    let allow = ("ALLOW", format!("[{allow}]"));
    let others = settings.iter().map(|(key, value)| (*key, (*value).to_owned()));
    let settings = std::iter::once(allow).chain(others);
    let variables = settings.map(|(key, value)| (format!("VERIGATE__CALLBACKS__{key}"), value));
    Client::new(&verigate::config::load(None, variables).unwrap().config.callbacks).unwrap()
}

fn local() -> Client {
    client(r#""127.0.0.0/8""#, &[])
}

/// One that gives up soon: for receivers that would never answer.
fn impatient() -> Client {
    client(r#""127.0.0.0/8""#, &[("TIMEOUT", "500ms"), ("CONNECT_TIMEOUT", "400ms")])
}

fn get(url: &str) -> Call {
    Call { method: Method::GET, url: url.to_owned(), headers: HeaderMap::new(), body: Vec::new() }
}

/// Calls a URL when its turn has come.
async fn call(client: &Client, url: &str) -> Outcome {
    call_with(client, get(url)).await
}

async fn call_with(client: &Client, call: Call) -> Outcome {
    let turn = client.turn("acme", &call.url).await.expect("room to wait");
    timeout(PATIENCE, turn.call(call)).await.expect("every call ends")
}

/// A receiver that does as it likes with each connection.
async fn receiver<W: Future<Output = ()> + Send>(work: impl Fn(TcpStream) -> W + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let work = Arc::new(work);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let work = Arc::clone(&work);
            tokio::spawn(async move { work(stream).await });
        }
    });
    address
}

async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
}

/// Writes one thing again and again until the other side has had enough, and counts what it took.
async fn pour(stream: &mut TcpStream, what: &[u8], poured: &AtomicUsize) {
    while stream.write_all(what).await.is_ok() {
        poured.fetch_add(what.len(), Ordering::SeqCst);
    }
}

// === whom it calls ===

#[tokio::test]
async fn nobody_is_called_on_our_own_networks_in_whatever_spelling() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let strict = client("", &[]);
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST",
        "user@localhost",
        "8.8.8.8@localhost",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "10.0.0.1",
    ] {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:{port}/");
            assert_eq!(call(&strict, &url).await, Outcome::Forbidden, "{url}");
        }
    }
    // Names that lead there if they lead anywhere, and what is read in another way than it looks.
    for rest in [
        "localhost.",
        "ip6-localhost",
        "a.localhost",
        "example.invalid",
        "127.0.0.1\\@8.8.8.8",
        "127.0.0.1%2f@8.8.8.8",
        "127.0.0.1%00",
        "[::1%25lo]",
        "127.0.0.1:80:80",
    ] {
        let url = format!("http://{rest}:{port}/");
        assert!(matches!(call(&strict, &url).await, Outcome::Forbidden | Outcome::Unanswered), "{url}");
    }
    let ours = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (_, first) = listener.accept().await.unwrap();
    assert_eq!(first, ours.local_addr().unwrap(), "nobody else came");
}

#[tokio::test]
async fn networks_that_are_allowed_are_called_by_address_and_by_name() {
    let server = VendorServer::start(|_| Answer::new(200, "ok")).await;
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    // Where the name has another address as well, only this one is tried.
    let local = local();
    let hosts = ["127.0.0.1", "127.1", "2130706433", "127.0.0.1.", "localhost", "LocalHost"];
    for host in hosts {
        assert_eq!(call(&local, &format!("http://{host}:{port}/path?query=1#part")).await, OK, "{host}");
    }
    let requests = server.requests();
    assert_eq!(requests.len(), hosts.len());
    assert!(requests.iter().all(|it| (it.method.as_str(), it.target.as_str()) == ("GET", "/path?query=1")));
    assert_eq!(requests[4].header("host"), Some(format!("localhost:{port}").as_str()));
    // Others are not.
    let other = client(r#""127.0.0.2", "10.0.0.0/8", "::1""#, &[]);
    assert_eq!(call(&other, &server.url()).await, Outcome::Forbidden);
    let ports = client(r#""127.0.0.0/8""#, &[("PORTS", r#"["443"]"#)]);
    assert_eq!(call(&ports, &server.url()).await, Outcome::Forbidden);
    assert_eq!(server.requests().len(), hosts.len());
}

#[tokio::test]
async fn a_turn_is_good_for_one_receiver() {
    let server = VendorServer::start(|_| Answer::new(200, "ok")).await;
    let other = VendorServer::start(|_| Answer::new(200, "ok")).await;
    let local = local();
    let turn = local.turn("acme", &server.url()).await.unwrap();
    assert_eq!(turn.call(get(&other.url())).await, Outcome::Forbidden);
    assert_eq!((server.requests().len(), other.requests().len()), (0, 0));
}

#[tokio::test]
async fn redirects_are_answers_and_not_followed() {
    let inside = VendorServer::start(|_| Answer::new(200, "secret")).await;
    let server = VendorServer::start(|_| Answer::new(200, "ok")).await;
    let local = local();
    for status in [301, 302, 303, 307, 308] {
        let answer = Answer::new(status, "").with_header("location", inside.url());
        server.set_fault(Fault::Answer(answer)).await;
        let outcome = call(&local, &server.url()).await;
        let Outcome::Answered { status: told, after: None } = outcome else { panic!("{outcome:?}") };
        assert_eq!(told.as_u16(), status);
    }
    assert_eq!(inside.requests(), []);
}

#[tokio::test]
async fn what_is_said_arrives_and_what_is_answered_is_told() {
    let server = VendorServer::start(|_| Answer::new(503, "later").with_header("retry-after", "120")).await;
    let headers = HeaderMap::from_iter([("x-signature".parse().unwrap(), "abc".parse().unwrap())]);
    let url = format!("{}/there", server.url());
    let outcome = call_with(&local(), Call { method: Method::POST, url, headers, body: b"{}".to_vec() }).await;
    let after = Some(Duration::from_secs(120));
    assert_eq!(outcome, Outcome::Answered { status: StatusCode::SERVICE_UNAVAILABLE, after });
    let request = &server.requests()[0];
    assert_eq!((request.method.as_str(), request.path(), request.body.as_slice()), ("POST", "/there", &b"{}"[..]));
    assert_eq!(request.header("x-signature"), Some("abc"));
    assert!(request.header("user-agent").unwrap().starts_with("verigate/"));
}

// === what receivers do ===

#[tokio::test]
async fn receivers_that_do_not_answer_are_given_up() {
    let server = VendorServer::start(|_| Answer::new(200, "ok")).await;
    let impatient = impatient();
    for fault in [Fault::Refuse, Fault::BlackHole, Fault::Silence, Fault::Reset] {
        server.set_fault(fault.clone()).await;
        assert_eq!(call(&impatient, &server.url()).await, Outcome::Unanswered, "{fault:?}");
    }
    server.set_fault(None).await;
    assert_eq!(call(&local(), &server.url()).await, OK);
}

#[tokio::test]
async fn heads_that_drip_or_never_end_are_cut() {
    let drip = receiver(async |mut stream| {
        read_head(&mut stream).await;
        let mut drops = std::pin::pin!(tokio_stream::iter(0..).throttle(Duration::from_millis(20)));
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        while drops.next().await.is_some() && stream.write_all(b"x").await.is_ok() {}
    });
    let drip = drip.await;
    assert_eq!(call(&impatient(), &format!("http://{drip}/")).await, Outcome::Unanswered);

    for (first, again) in [
        ("HTTP/1.1 200 OK\r\n", "x: and so on\r\n"),
        ("HTTP/1.1 200 OK\r\nx: ", "and so on "),
        ("HTTP/1.1 200 ", "and so on "),
        ("", "\r\n"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "no HTTP at all "),
    ] {
        let poured = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&poured);
        let endless = receiver(move |mut stream: TcpStream| {
            let count = Arc::clone(&count);
            async move {
                read_head(&mut stream).await;
                stream.write_all(first.as_bytes()).await.unwrap();
                pour(&mut stream, again.repeat(100).as_bytes(), &count).await;
            }
        });
        let endless = endless.await;
        assert_eq!(call(&impatient(), &format!("http://{endless}/")).await, Outcome::Unanswered, "{first}{again}");
    }
}

#[tokio::test]
async fn bodies_are_not_heard_to_their_end() {
    let gigabyte = 1 << 30;
    for (head, piece) in [
        (format!("content-length: {gigabyte}"), vec![b'x'; 64 * 1024]),
        ("transfer-encoding: chunked".to_owned(), [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat()),
        ("connection: close".to_owned(), vec![b'x'; 64 * 1024]),
    ] {
        let poured = Arc::new(AtomicUsize::new(0));
        let (count, ended) = (Arc::clone(&poured), Arc::new(tokio::sync::Notify::new()));
        let end = Arc::clone(&ended);
        let endless = receiver(move |mut stream: TcpStream| {
            let (count, end) = (Arc::clone(&count), Arc::clone(&end));
            let (head, piece) = (format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"), piece.clone());
            async move {
                read_head(&mut stream).await;
                stream.write_all(head.as_bytes()).await.unwrap();
                pour(&mut stream, &piece, &count).await;
                end.notify_one();
            }
        });
        let endless = endless.await;
        assert_eq!(call(&local(), &format!("http://{endless}/")).await, OK);
        timeout(PATIENCE, ended.notified()).await.expect("the connection is closed");
        // What the kernel buffers on both sides, and no more.
        let poured = poured.load(Ordering::SeqCst);
        assert!(poured < 64 << 20, "{poured} bytes");
    }
    // One that drips has answered as well, and is not waited for; not even when its head took almost all the time.
    let server = VendorServer::start(|_| Answer::new(200, "ok")).await;
    server.set_fault(Fault::Drip).await;
    for client in [local(), impatient()] {
        assert_eq!(call(&client, &server.url()).await, OK);
    }
}

#[tokio::test]
async fn a_receiver_that_never_reads_is_given_up() {
    let deaf = receiver(async |stream| {
        let _kept = stream;
        std::future::pending::<()>().await;
    });
    let url = format!("http://{}/", deaf.await);
    let body = vec![b'x'; 64 << 20];
    let call = Call { method: Method::POST, url, headers: HeaderMap::new(), body };
    assert_eq!(call_with(&impatient(), call).await, Outcome::Unanswered);
}

#[tokio::test]
async fn slow_receivers_take_no_room_from_others() {
    let slow = VendorServer::start(|_| Answer::new(200, "ok")).await;
    slow.set_fault(Fault::Silence).await;
    let quick = VendorServer::start(|_| Answer::new(200, "ok")).await;
    let client = client(r#""127.0.0.0/8""#, &[("CONCURRENCY", "16"), ("PER_RECEIVER", "2"), ("TIMEOUT", "30s")]);
    let calling: Vec<_> = (0..50)
        .map(|_| {
            let (client, url) = (client.clone(), slow.url());
            tokio::spawn(async move { call(&client, &url).await })
        })
        .collect();
    eventually(async || (slow.requests().len() == 2).then_some(())).await;
    // Its account may use no more, others may.
    let turn = client.turn("other", &quick.url()).await.unwrap();
    assert_eq!(timeout(PATIENCE, turn.call(get(&quick.url()))).await.unwrap(), OK);
    assert_eq!(slow.requests().len(), 2, "no more than it may have");
    calling.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn connections_are_kept_only_while_others_wait_for_the_receiver() {
    let server = VendorServer::start(|_| Answer::new(200, "ok")).await;
    let client = client(r#""127.0.0.0/8""#, &[("PER_RECEIVER", "1")]);
    let first = client.turn("acme", &server.url()).await.unwrap();
    let url = server.url();
    let mut second = Box::pin(call(&client, &url));
    assert_eq!(second.as_mut().now_or_never(), None, "it waits");
    assert_eq!(first.call(get(&url)).await, OK);
    assert_eq!(second.await, OK);
    let closes = server.requests().iter().map(|it| it.header(CONNECTION.as_str()) == Some("close")).collect::<Vec<_>>();
    assert_eq!(closes, [false, true]);
}
