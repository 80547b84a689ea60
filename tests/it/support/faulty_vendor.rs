//! A vendor that speaks as eSMS Malaysia does, byte by byte, and misbehaves in whichever way it is told to. It remembers
//! every request that reached it whole, and whether that may have sent something.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_stream::StreamExt;
use verigate::clock::{Clock, SystemClock, Timestamp};

/// What it does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Well,
    /// Never answers.
    BlackHole,
    /// A byte of an endless answer now and then.
    Drip,
    /// Closes the connection in place of an answer.
    HangUp,
    ServerError,
    /// Asks to come back after so many seconds; sends nothing.
    TooFast(u32),
    /// A page for people.
    Page,
    /// More than anybody wants to read.
    Huge,
    /// Names another place, where nobody is.
    Redirect,
    /// An answer that is no text.
    Garbled,
}

/// A request that came whole.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// Digits.
    pub(crate) recipient: String,
    pub(crate) at: Timestamp,
    pub(crate) manner: Manner,
}

/// Serves until the test's runtime ends.
pub(crate) struct FaultyVendor {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    /// Bound to its address, but not listening: whoever calls is refused.
    closed: Option<TcpSocket>,
}

struct Shared {
    manner: Mutex<Manner>,
    arrivals: Mutex<Vec<Arrival>>,
}

/// Between two bytes.
const DRIP: Duration = Duration::from_millis(20);

// === impl Manner ===

impl Manner {
    /// Whether a request that is treated so may have sent something.
    pub(crate) fn may_send(self) -> bool {
        !matches!(self, Self::TooFast(_))
    }
}

// === impl FaultyVendor ===

impl FaultyVendor {
    /// Refuses connections until it is opened.
    pub(crate) fn closed() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Shared { manner: Mutex::new(Manner::Well), arrivals: Mutex::default() });
        Self { address, shared, closed: Some(socket) }
    }

    pub(crate) fn open(&mut self) {
        let listener = self.closed.take().expect("it is closed").listen(1024).unwrap();
        tokio::spawn(accept(listener, Arc::clone(&self.shared)));
    }

    /// From now on.
    pub(crate) fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// What came while it behaved so.
    pub(crate) fn count(&self, manner: Manner) -> usize {
        self.shared.arrivals.lock().unwrap().iter().filter(|arrival| arrival.manner == manner).count()
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // One that breaks off is the caller's affair.
        tokio::spawn({
            let shared = Arc::clone(&shared);
            async move { drop(serve(stream, &shared).await) }
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut read = Vec::new();
    while let Some(body) = read_request(&mut stream, &mut read).await? {
        let request: Value = serde_json::from_slice(&body).unwrap();
        let recipient = request["to"].as_str().unwrap().to_owned();
        let manner = *shared.manner.lock().unwrap();
        shared.arrivals.lock().unwrap().push(Arrival { recipient, at: SystemClock.now(), manner });
        let html = "<html><body>Down for maintenance</body></html>";
        match manner {
            Manner::Well => answer(&mut stream, "200 OK", "", br#"{"status":0,"id":"88ce9c6e-1707-41b8"}"#).await?,
            Manner::ServerError => answer(&mut stream, "500 Internal Server Error", "", b"oops").await?,
            Manner::TooFast(after) => {
                let field = format!("Retry-After: {after}\r\n");
                answer(&mut stream, "429 Too Many Requests", &field, b"").await?;
            }
            Manner::Page => answer(&mut stream, "200 OK", "Content-Type: text/html\r\n", html.as_bytes()).await?,
            Manner::Huge => answer(&mut stream, "200 OK", "", &vec![b' '; 1 << 20]).await?,
            Manner::Redirect => answer(&mut stream, "302 Found", "Location: http://127.0.0.1:1/\r\n", b"").await?,
            Manner::Garbled => answer(&mut stream, "200 OK", "", b"{\"status\":\xff\xfe}").await?,
            Manner::HangUp => return Ok(()),
            Manner::BlackHole => {
                // Until the caller has had enough.
                stream.read_to_end(&mut read).await?;
                return Ok(());
            }
            Manner::Drip => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n").await?;
                let mut drops = pin!(tokio_stream::iter(std::iter::repeat(b" ")).throttle(DRIP));
                while let Some(drop) = drops.next().await {
                    stream.write_all(drop).await?;
                }
            }
        }
    }
    Ok(())
}

/// The body of the next request; `None` at the end.
async fn read_request(stream: &mut TcpStream, read: &mut Vec<u8>) -> std::io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(read[..end].to_vec()).unwrap().to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
            let whole = end + 4 + length.trim().parse::<usize>().unwrap();
            if read.len() >= whole {
                let body = read[end + 4..whole].to_vec();
                read.drain(..whole);
                return Ok(Some(body));
            }
        }
        if stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

async fn answer(stream: &mut TcpStream, status: &str, fields: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await
}
