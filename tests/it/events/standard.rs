//! Our signatures as a library of others sees them: `standardwebhooks` of PyPI, in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use verigate::clock::{Clock, SystemClock};

use crate::events::house::{FIRST, House, LOCAL, SECOND, SECOND_ONE};
use crate::support::gateway::PHONE;
use crate::support::http::call;

/// A receiver in Python; killed when dropped.
struct Receiver {
    process: Child,
    lines: mpsc::UnboundedReceiver<String>,
    port: u16,
}

impl Receiver {
    async fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut process = Command::new(root.join("tests/.cache/webhooks/bin/python"))
            .arg(root.join("tests/it/events/receiver.py"))
            .args([FIRST, SECOND_ONE])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`tests/run setup` installs what this needs");
        let (sender, mut lines) = mpsc::unbounded_channel();
        let printed = process.stdout.take().unwrap();
        std::thread::spawn(move || {
            // Nobody may listen any more.
            BufReader::new(printed).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        let port = lines.recv().await.expect("a port").parse().unwrap();
        Self { process, lines, port }
    }

    /// What it found of the next call.
    async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(60 * SECOND, self.lines.recv()).await.expect("a call");
        serde_json::from_str(&line.expect("a line")).unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[tokio::test]
async fn a_library_of_others_verifies_us_during_a_rotation_too() {
    let mut receiver = Receiver::start().await;
    // It looks at the time.
    let mut house = House::at(SystemClock.now(), LOCAL).await;
    let endpoint = house.endpoint(&format!("http://127.0.0.1:{}/", receiver.port), &["message.delivered"]).await;
    house.send(PHONE).await;
    let told = receiver.next().await;
    assert_eq!((&told["verified"], &told["signatures"]), (&json!(["old"]), &json!(1)), "{told}");
    assert_eq!((&told["type"], &told["forged"]), (&json!("message.delivered"), &json!(false)));

    let minute = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let rotate = house.change(&endpoint.id, |it| {
        (it.rotate_secret, it.secret, it.overlap) = (true, SECOND_ONE.to_owned(), minute);
    });
    let (rotating, shown) = rotate.await.unwrap();
    assert!(rotating.rotation_end_time.is_some() && shown.is_empty());
    house.send(PHONE).await;
    let told = receiver.next().await;
    assert_eq!((&told["verified"], &told["signatures"]), (&json!(["old", "new"]), &json!(2)), "{told}");
    assert_eq!(told["forged"], false);

    house.gateway.clock.advance(61 * SECOND);
    house.send(PHONE).await;
    let told = receiver.next().await;
    assert_eq!((&told["verified"], &told["signatures"]), (&json!(["new"]), &json!(1)), "{told}");
    assert_eq!(told["forged"], false);

    // Whoever does not know the secret is turned away.
    let fields = [
        "Host: x",
        "Content-Type: application/json",
        "webhook-id: evt_forged",
        &format!("webhook-timestamp: {}", SystemClock.now().as_millis() / 1000),
        "webhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    ];
    let address = ([127, 0, 0, 1], receiver.port).into();
    let answer = call(address, "POST", "/", &fields, r#"{"type": "message.delivered"}"#).await;
    assert_eq!(answer.status, 401);
    assert_eq!(receiver.next().await["verified"], json!([]));
}
