//! A client that knows HTTP and JSON and nothing else of us.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::gateway::Gateway;
use crate::support::http::{Answer, call};

pub(crate) const ACME: &str = "acme.acme-secret-of-some-length";
pub(crate) const OTHER: &str = "other.other-secret-of-some-length";

/// A caller with a key.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    key: String,
}

/// What came back, with its JSON read.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) json: Value,
    pub(crate) answer: Answer,
}

/// A stream of events.
pub(crate) struct Stream {
    reader: BufReader<TcpStream>,
    pub(crate) head: String,
    lines: VecDeque<String>,
    /// The beginning of a line whose end has not come yet.
    begun: String,
    ended: bool,
}

/// One of it, or a comment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Event { name: String, id: Option<String>, data: Value },
    Comment(String),
}

// === impl Caller ===

impl Caller {
    pub(crate) fn acme(gateway: &Gateway) -> Self {
        Self::with(gateway, ACME)
    }

    pub(crate) fn with(gateway: &Gateway, key: &str) -> Self {
        Self { address: gateway.addresses.http, key: key.to_owned() }
    }

    /// Of what asks for no key.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, key: "none.none".to_owned() }
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.send("GET", target, &[], "").await
    }

    pub(crate) async fn post(&self, target: &str, body: &Value) -> Reply {
        self.post_with(target, &[], body).await
    }

    pub(crate) async fn post_with(&self, target: &str, fields: &[&str], body: &Value) -> Reply {
        self.send("POST", target, &[fields, &["Content-Type: application/json"]].concat(), body.to_string()).await
    }

    /// A body that need not be JSON, said to be.
    pub(crate) async fn post_bytes(&self, target: &str, body: impl AsRef<[u8]>) -> Reply {
        self.send("POST", target, &["Content-Type: application/json"], body).await
    }

    pub(crate) async fn send(&self, method: &str, target: &str, fields: &[&str], body: impl AsRef<[u8]>) -> Reply {
        let (host, key) = (format!("Host: {}", self.address), format!("Authorization: Bearer {}", self.key));
        let answer = call(self.address, method, target, &[&[host.as_str(), key.as_str()], fields].concat(), body).await;
        Reply::of(answer)
    }

    /// A `GET` that is answered by events.
    pub(crate) async fn watch(&self, target: &str, fields: &[&str]) -> Stream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let key = &self.key;
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\n{fields}\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).await.unwrap(), 0, "{head}");
        }
        Stream { reader, head, lines: VecDeque::new(), begun: String::new(), ended: false }
    }
}

// === impl Reply ===

impl Reply {
    fn of(answer: Answer) -> Self {
        let json = match answer.body.as_str() {
            "" => Value::Null,
            // A stream, read to its end.
            _ if answer.header("content-type") == Some("text/event-stream") => Value::Null,
            body => serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer:?}")),
        };
        Self { status: answer.status, json, answer }
    }

    /// Asserts success, and gives the JSON.
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.answer.header("content-type"), Some("application/json"), "{self:?}");
        self.json
    }

    /// Asserts a well-formed problem with this status, and gives its reason.
    pub(crate) fn refused_with(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.answer.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.json["status"], status, "{self:?}");
        assert_eq!(self.json["type"], "about:blank", "{self:?}");
        assert_eq!(self.json["request_id"].as_str(), self.answer.header("x-request-id"), "{self:?}");
        assert!(["title", "detail"].iter().all(|name| !self.json[name].as_str().unwrap().is_empty()), "{self:?}");
        self.json["reason"].as_str().unwrap_or_default()
    }

    /// Asserts an invalid request, and gives each field that is named with what is wrong with it.
    pub(crate) fn violations(&self) -> Vec<(&str, &str)> {
        assert_eq!(self.refused_with(400), "INVALID_FIELD");
        let violations = self.json["violations"].as_array().unwrap().iter();
        violations.map(|one| (one["field"].as_str().unwrap(), one["description"].as_str().unwrap())).collect()
    }

    /// The only one.
    pub(crate) fn violation(&self) -> (&str, &str) {
        let violations = self.violations();
        assert_eq!(violations.len(), 1, "{violations:?}");
        violations[0]
    }
}

// === impl Stream ===

impl Stream {
    /// What is told next; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        let (mut name, mut id, mut data) = (String::new(), None, String::new());
        loop {
            let line =
                tokio::time::timeout(Duration::from_secs(60), self.line()).await.expect("an event or the end")?;
            match line.split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data.push_str(value),
                Some(("", comment)) => {
                    assert_eq!(self.line().await.unwrap(), "");
                    return Some(Told::Comment(comment.to_owned()));
                }
                None if line.is_empty() => {
                    return Some(Told::Event { name, id, data: serde_json::from_str(&data).unwrap() });
                }
                _ => panic!("no line of an event: {line:?}"),
            }
        }
    }

    /// The data of the next event, which must have this name.
    pub(crate) async fn event(&mut self, expected: &str) -> Value {
        match self.next().await {
            Some(Told::Event { name, data, .. }) if name == expected => data,
            other => panic!("no event {expected}: {other:?}"),
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.ended {
                assert_eq!(self.begun, "");
                return None;
            }
            let text = self.begun.clone() + &self.chunk().await;
            let mut lines: Vec<_> = text.split('\n').map(str::to_owned).collect();
            self.begun = lines.pop().unwrap();
            self.lines.extend(lines);
        }
    }

    /// The next part, as HTTP/1.1 cuts it.
    async fn chunk(&mut self) -> String {
        use tokio::io::AsyncReadExt;
        let mut size = String::new();
        if self.reader.read_line(&mut size).await.unwrap() == 0 {
            panic!("the connection broke off");
        }
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut bytes = vec![0; size + 2];
        self.reader.read_exact(&mut bytes).await.unwrap();
        self.ended = size == 0;
        String::from_utf8(bytes[..size].to_vec()).unwrap()
    }
}
