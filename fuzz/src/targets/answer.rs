//! What vendors answer our calls: a letter for the vendor, one for the call, one for the status, and the body. With the
//! status of the last letter the rest is the whole answer, head included.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use tokio::runtime::{Builder, Runtime};
use verigate::clock::Timestamp;
use verigate::recipient::{Phone, Recipient};
use verigate::vendor::{
    Channel, CodeHandle, CodeRequest, CodeVerdict, ContactRow, Failure, FeedbackOutcome, Outgoing, Vendor,
};

use crate::targets::{choose, vendors};

const STATUSES: [u16; 15] = [200, 201, 202, 204, 301, 400, 401, 402, 403, 404, 409, 422, 429, 500, 503];
const CALLS: usize = 9;
const CODE: &str = "480913";

/// Vendors, and the server that they call.
struct World {
    runtime: Runtime,
    vendors: Vec<Arc<dyn Vendor>>,
    answer: Arc<Mutex<Vec<u8>>>,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

pub(crate) fn run(data: &[u8]) {
    WORLD.with_borrow_mut(|world| world.get_or_insert_with(World::new).judge(data));
}

impl World {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let told = Arc::clone(&told);
                std::thread::spawn(move || serve(stream, &told));
            }
        });
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let vendors = runtime.block_on(async { vendors::all(&url) });
        Self { runtime, vendors, answer }
    }

    fn judge(&mut self, data: &[u8]) {
        let Some((vendor, rest)) = choose(data, self.vendors.len()) else { return };
        let Some((call, rest)) = choose(rest, CALLS) else { return };
        let Some((status, body)) = choose(rest, STATUSES.len() + 1) else { return };
        let status = STATUSES.get(status).copied();
        *self.answer.lock().unwrap() = match status {
            Some(status) => whole(status, body),
            None => body.to_vec(),
        };
        let outcome = self.runtime.block_on(ask(&*self.vendors[vendor], call));
        if outcome == Some(true) {
            assert!(status.is_none_or(|status| status < 300), "a yes with status {status:?}");
        }
    }
}

fn whole(status: u16, body: &[u8]) -> Vec<u8> {
    let moved = if status == 301 { "location: http://169.254.169.254/\r\n" } else { "" };
    let head = format!("HTTP/1.1 {status} Told\r\n{moved}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Makes one call. Whether the vendor said yes; `None` where it has no such call.
async fn ask(vendor: &dyn Vendor, call: usize) -> Option<bool> {
    let handle = CodeHandle { vendor_reference: Some("7".to_owned()), channel: Channel::Sms, recipient: phone() };
    Some(match call {
        0 => {
            let sent = vendor.send(&outgoing()).await;
            if let Ok(accepted) = &sent {
                let name = accepted.vendor_reference.as_deref().unwrap_or("-");
                assert!((1..=128).contains(&name.chars().count()), "a name of {} characters", name.len());
            }
            shown(&sent.as_ref().err());
            sent.is_ok()
        }
        1 => {
            let made = vendor.codes()?.start(&request()).await;
            let name = made.as_ref().ok().and_then(|handle| handle.vendor_reference.as_deref());
            assert!(name.is_none_or(|name| (1..=128).contains(&name.chars().count())), "{name:?}");
            made.is_ok()
        }
        2 => vendor.codes()?.check(&handle, &SecretString::from(CODE)).await == Ok(CodeVerdict::Right),
        3 => {
            drop(vendor.codes()?.cancel(&handle).await);
            return None;
        }
        4 => matches!(vendor.statuses()?.status("m-1").await, Ok(Some(_))),
        5 => vendor.feedback()?.tell("m-1", FeedbackOutcome::Received).await.is_ok(),
        6 => {
            let told = vendor.account()?.balance().await;
            assert!(told.as_ref().is_ok_and(|balance| !balance.amount.is_empty()) || told.is_err());
            told.is_ok()
        }
        7 => {
            let row = ContactRow {
                list: "contact".to_owned(),
                cells: [("phone_number".to_owned(), "+60123456789".to_owned())].into(),
            };
            vendor.contacts()?.push(&row).await.is_ok()
        }
        _ => {
            let mut email = outgoing();
            email.channel = Channel::WhatsApp;
            vendor.send(&email).await.is_ok()
        }
    })
}

/// A failure repeats nothing that the vendor wrote.
fn shown(failure: &Option<&Failure>) {
    let shown = format!("{failure:?}");
    assert!(!shown.contains(CODE) && !shown.contains(vendors::SECRET), "{shown}");
}

fn phone() -> Recipient {
    Recipient::Phone(Phone::parse("+60123456789", None).unwrap())
}

fn outgoing() -> Outgoing {
    Outgoing {
        reference: "m-1".into(),
        tenant: "acme".parse().unwrap(),
        channel: Channel::Sms,
        recipient: phone(),
        sender: Some("Acme".to_owned()),
        text: format!("RM0.00 Your code is {CODE}.").into(),
        receipt_url: Some("https://hooks.example/receipts/main/token/m-1".into()),
        expires_at: Timestamp::from_millis(u64::MAX),
    }
}

fn request() -> CodeRequest {
    CodeRequest {
        reference: "m-1".into(),
        tenant: "acme".parse().unwrap(),
        channel: Channel::Sms,
        recipient: phone(),
        sender: None,
        length: 6,
        lifetime: Duration::from_secs(300),
        locale: None,
        brand: Some("Acme".to_owned()),
        template: None,
    }
}

/// Answers each request of a connection with what is to be answered now, until one cannot be read.
fn serve(stream: TcpStream, answer: &Mutex<Vec<u8>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => {
                    if let Some((name, value)) = line.split_once(':')
                        && name.eq_ignore_ascii_case("content-length")
                    {
                        length = value.trim().parse().unwrap_or(0);
                    }
                }
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let answer = answer.lock().unwrap().clone();
        // One that we did not write the head of has an end only with the connection.
        let ours = answer.starts_with(b"HTTP/1.1 ") && answer.windows(6).any(|part| part == b" Told\r");
        if reader.get_mut().write_all(&answer).is_err() || !ours {
            return;
        }
    }
}
