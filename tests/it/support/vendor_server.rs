//! A vendor played from a script over real HTTP, and whatever can go wrong on the way to any vendor.
//!
//! It speaks HTTP/1.1 by hand and knows no vendor: most faults lie in bytes that a proper server would never write.
//! Where a fault leaves room for a body, that body is what the script answers, so that an adapter which overlooks the
//! fault takes it for a yes.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::StreamExt;

/// What [`Fault::TooMany`] asks for.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(7);

/// Running until the test's runtime ends.
pub(crate) struct VendorServer {
    address: SocketAddr,
    stage: Arc<Stage>,
    door: tokio::sync::Mutex<Door>,
    /// Bound and never listening, so that the port stays ours while the door is shut.
    _port: TcpSocket,
}

/// A request as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in small letters, in the order in which they came.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What the script says to a request.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

/// What happens instead of the script's answer.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Nobody listens. Connections that are open close.
    Refuse,
    /// A connection never comes about.
    BlackHole,
    /// Takes the request and never answers.
    Silence,
    /// Answers one byte each 20 ms, for longer than anyone waits.
    Drip,
    /// Takes the request and resets the connection.
    Reset,
    /// Begins an answer and hangs up.
    BreakOff,
    /// 500, with the body of a yes.
    ServerError,
    /// 429 with `Retry-After` of [`RETRY_AFTER`], with the body of a yes.
    TooMany,
    /// 200 with a page for people.
    Html,
    /// The body of a yes, and 8 MiB of blanks.
    Huge,
    /// 302 to there, with the body of a yes.
    Redirect(String),
    /// The body of a yes with two bytes in it that no UTF-8 has.
    NotUtf8,
    /// This status, and all of the request for a body.
    Echo(u16),
    /// This and nothing else.
    Answer(Answer),
}

/// What all connections share.
struct Stage {
    script: Box<dyn Fn(&Recorded) -> Answer + Send + Sync>,
    fault: Mutex<Option<Fault>>,
    requests: Mutex<Vec<Recorded>>,
}

enum Door {
    Open(JoinHandle<()>),
    Shut,
    /// A listener whose queue is full, so that the kernel drops whoever knocks.
    Walled(#[expect(dead_code, reason = "held open")] (TcpListener, TcpStream)),
}

// === impl VendorServer ===

impl VendorServer {
    pub(crate) async fn start(script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Self {
        let port = bind("127.0.0.1:0".parse().unwrap());
        let address = port.local_addr().unwrap();
        let stage = Arc::new(Stage { script: Box::new(script), fault: Mutex::default(), requests: Mutex::default() });
        let door = tokio::sync::Mutex::new(Door::Shut);
        let server = Self { address, stage, door, _port: port };
        server.set_fault(None).await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, until told otherwise. Requests under way end as they began.
    pub(crate) async fn set_fault(&self, fault: impl Into<Option<Fault>>) {
        let fault = fault.into();
        let mut door = self.door.lock().await;
        let opens = !matches!(fault, Some(Fault::Refuse | Fault::BlackHole));
        let stays_open = opens && matches!(*door, Door::Open(_));
        if !stays_open && let Door::Open(listening) = std::mem::replace(&mut *door, Door::Shut) {
            listening.abort();
            // Ends when the listener and all connections are dropped.
            drop(listening.await);
        }
        *self.stage.fault.lock().unwrap() = fault.clone();
        match fault {
            Some(Fault::Refuse) => {}
            Some(Fault::BlackHole) => {
                let listener = bind(self.address).listen(0).unwrap();
                *door = Door::Walled((listener, TcpStream::connect(self.address).await.unwrap()));
            }
            _ if matches!(*door, Door::Open(_)) => {}
            _ => {
                let listener = bind(self.address).listen(1024).unwrap();
                *door = Door::Open(tokio::spawn(listen(listener, self.stage.clone())));
            }
        }
    }

    /// All that came, oldest first.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.stage.requests.lock().unwrap().clone()
    }
}

/// A socket that shares its port with other such sockets, as long as one of them listens at most.
fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn listen(listener: TcpListener, stage: Arc<Stage>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let stage = stage.clone();
        connections.spawn(async move { stage.serve(BufReader::new(stream)).await });
        while connections.try_join_next().is_some() {}
    }
}

// === impl Stage ===

impl Stage {
    /// One connection, until the other side or a fault ends it.
    async fn serve(&self, mut stream: BufReader<TcpStream>) -> io::Result<()> {
        while let Some(request) = Recorded::read(&mut stream).await? {
            self.requests.lock().unwrap().push(request.clone());
            let fault = self.fault.lock().unwrap().clone();
            let yes = || (self.script)(&request);
            let answer = match fault {
                None => yes(),
                Some(Fault::Answer(answer)) => answer,
                Some(Fault::ServerError) => Answer { status: 500, ..yes() },
                Some(Fault::TooMany) => {
                    let after = ("retry-after", RETRY_AFTER.as_secs().to_string());
                    Answer { status: 429, headers: vec![after], ..yes() }
                }
                Some(Fault::Html) => Answer::new(200, "<!doctype html><html><body>Welcome!</body></html>")
                    .with_header("content-type", "text/html"),
                Some(Fault::Huge) => {
                    let mut answer = yes();
                    answer.body.resize(answer.body.len() + (8 << 20), b' ');
                    answer
                }
                Some(Fault::Redirect(to)) => Answer { status: 302, ..yes() }.with_header("location", to),
                Some(Fault::NotUtf8) => yes().spoiled(),
                Some(Fault::Echo(status)) => {
                    Answer::new(status, [format!("{request:?}").as_bytes(), &request.body].concat())
                }
                Some(Fault::Silence) => std::future::pending().await,
                Some(Fault::Drip) => return drip(stream.get_mut()).await,
                Some(Fault::Reset) => return stream.get_ref().set_zero_linger(),
                Some(Fault::BreakOff) => {
                    let begun = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
                    return stream.get_mut().write_all(begun).await;
                }
                // The door was shut while this connection was on its way in.
                Some(Fault::Refuse | Fault::BlackHole) => return Ok(()),
            };
            stream.get_mut().write_all(&answer.to_bytes()).await?;
        }
        Ok(())
    }
}

async fn drip(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n").await?;
    let mut drops = pin!(tokio_stream::iter(std::iter::repeat(b" ")).throttle(Duration::from_millis(20)));
    while let Some(drop) = drops.next().await {
        stream.write_all(drop).await?;
    }
    Ok(())
}

// === impl Recorded ===

impl Recorded {
    /// `None` when the other side hung up instead.
    async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let mut first = String::new();
        if stream.read_line(&mut first).await? == 0 {
            return Ok(None);
        }
        let mut words = first.split_whitespace().map(str::to_owned);
        let mut request = Self { method: words.next().unwrap(), target: words.next().unwrap(), ..Self::default() };
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.split_once(':') else { break };
            request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        request.body = vec![0; length];
        stream.read_exact(&mut request.body).await?;
        Ok(Some(request))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// The body as JSON; `null` when it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Method and target, then every header that says something of the vendor's, in order of names, then the body: what
    /// a golden request is compared with.
    pub(crate) fn to_text(&self) -> String {
        const OURS: [&str; 4] = ["accept", "content-length", "host", "user-agent"];
        let said = |(name, _): &&(String, String)| !OURS.contains(&name.as_str());
        let mut headers: Vec<_> =
            self.headers.iter().filter(said).map(|(name, value)| format!("{name}: {value}\n")).collect();
        headers.sort();
        let body = String::from_utf8(self.body.clone()).unwrap();
        format!("{} {}\n{}\n{body}", self.method, self.target, headers.concat())
    }
}

// === impl Answer ===

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn json(status: u16, body: impl ToString) -> Self {
        Self::new(status, body.to_string()).with_header("content-type", "application/json")
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// In the middle of a JSON object, where only a look at every byte finds it.
    fn spoiled(mut self) -> Self {
        let bad = b"\"note\":\"\xff\xfe\",";
        let at = usize::from(self.body.first() == Some(&b'{'));
        self.body.splice(at..at, bad.iter().copied());
        self
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Played\r\ncontent-length: {}\r\n", self.status, self.body.len());
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }
}
