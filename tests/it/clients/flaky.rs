//! A way to a gateway that fails at first: the first connection is closed at once, as if nobody were there yet; the second
//! is cut in the moment in which an answer comes, so that the gateway has done what the caller never hears of; from the
//! third on all is well.
//!
//! Knows of HTTP/2 how its frames begin, and nothing of what is in them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::spawn;

/// The type of the frame that an answer begins with.
const HEADERS: u8 = 1;

/// Until the process ends: nobody comes once the test is over.
pub(crate) struct Flaky {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

// === impl Flaky ===

impl Flaky {
    pub(crate) fn before(gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let nth = count.fetch_add(1, Ordering::Relaxed);
                if nth > 0
                    && let Ok(server) = TcpStream::connect(gateway)
                {
                    pass_on(client, server, nth > 1);
                }
            }
        });
        Self { address, connections }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn pass_on(client: TcpStream, server: TcpStream, is_well: bool) {
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    spawn(move || {
        let passed = std::io::copy(&mut from_client, &mut to_server);
        drop(to_server.shutdown(Shutdown::Write));
        passed
    });
    spawn(move || {
        // One side may have gone; then there is nothing more to pass on.
        drop(pass_frames(&server, &client, is_well));
        drop((client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both)));
    });
}

/// Passes on what the server says, up to its first answer unless all is well.
fn pass_frames(mut server: &TcpStream, mut client: &TcpStream, is_well: bool) -> std::io::Result<()> {
    loop {
        let mut head = [0; 9];
        server.read_exact(&mut head)?;
        if head[3] == HEADERS && !is_well {
            return Ok(());
        }
        let mut frame = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        server.read_exact(&mut frame)?;
        client.write_all(&[&head[..], &frame].concat())?;
    }
}
