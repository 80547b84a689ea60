//! The server that the commands of a page call: the real program in the dev profile, on free ports in an empty folder.

use std::io::{BufRead, BufReader, Read, pipe};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::JoinHandle;

use tempfile::TempDir;

/// `verigate serve` without a file, in an empty folder.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) place: TempDir,
    /// What it prints on both outputs, in the end.
    printed: Option<JoinHandle<String>>,
    /// In the order of [`LISTENERS`].
    addresses: [SocketAddr; 3],
}

/// The listeners, and where they are on the pages.
pub(crate) const LISTENERS: [(&str, &str); 3] =
    [("grpc", "127.0.0.1:50051"), ("http", "127.0.0.1:8080"), ("admin", "127.0.0.1:9090")];

/// Free ports in place of the fixed ones.
pub(crate) const FREE_PORTS: [(&str, &str); 3] = [
    ("VERIGATE__SERVER__GRPC", "127.0.0.1:0"),
    ("VERIGATE__SERVER__HTTP", "127.0.0.1:0"),
    ("VERIGATE__SERVER__ADMIN", "127.0.0.1:0"),
];

// === impl Gateway ===

impl Gateway {
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// With a configuration in place of the dev profile.
    pub(crate) fn start_with(config: Option<&Path>) -> Self {
        let place = TempDir::new().unwrap();
        let (output, input) = pipe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_verigate"));
        command.arg("serve").current_dir(place.path()).envs(FREE_PORTS);
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        let child = command.stdout(input.try_clone().unwrap()).stderr(input).spawn().unwrap();
        // It holds the writing ends, which would keep the pipe open.
        drop(command);
        let mut output = BufReader::new(output);
        let mut printed = String::new();
        let addresses = loop {
            let read = output.read_line(&mut printed).unwrap();
            assert_ne!(read, 0, "the server ended before it told its addresses:\n{printed}");
            if let [Some(grpc), Some(http), Some(admin)] = LISTENERS.map(|(name, _)| address_after(&printed, name)) {
                break [grpc, http, admin];
            }
        };
        let printed = std::thread::spawn(move || {
            output.read_to_string(&mut printed).unwrap();
            printed
        });
        Self { child, place, printed: Some(printed), addresses }
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.addresses[2]
    }

    /// A command of a page, for this server.
    pub(crate) fn to_command(&self, text: &str) -> String {
        let pairs = LISTENERS.iter().zip(self.addresses);
        pairs.fold(text.to_owned(), |text, ((_, shown), address)| text.replace(shown, &address.to_string()))
    }

    /// An output of this server, with the addresses of the pages.
    pub(crate) fn to_shown(&self, text: &str) -> String {
        let pairs = LISTENERS.iter().zip(self.addresses);
        pairs.fold(text.to_owned(), |text, ((_, shown), address)| text.replace(&address.to_string(), shown))
    }

    /// Stops it as Ctrl-C does, and gives all that it printed.
    pub(crate) fn stop(mut self) -> String {
        let killed = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let status = self.child.wait().unwrap();
        let printed = self.printed.take().unwrap().join().unwrap();
        assert!(status.success(), "{status}\n{printed}");
        self.to_shown(&printed)
    }
}

/// A test that fails leaves no server behind.
impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The first address after the name of a listener, once it stands there in full.
fn address_after(text: &str, listener: &str) -> Option<SocketAddr> {
    let after = &text[text.find(listener)?..];
    let start = after.find("127.0.0.1:")?;
    let address = &after[start..];
    let end = address.find(|c: char| !c.is_ascii_digit() && !".:".contains(c))?;
    address[..end].parse().ok()
}
