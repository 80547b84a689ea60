//! What a supervisor hears, as systemd is told.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::process::Signal;

use crate::cli::program::Place;

const PATIENCE: Duration = Duration::from_secs(60);

fn hear(socket: &UnixDatagram) -> String {
    let mut word = [0; 1024];
    let length = socket.recv(&mut word).expect("a word in time");
    String::from_utf8(word[..length].to_vec()).unwrap()
}

/// Passes over signs of life.
fn hear_news(socket: &UnixDatagram) -> String {
    std::iter::repeat_with(|| hear(socket)).find(|word| word != "WATCHDOG=1").unwrap()
}

#[test]
fn a_supervisor_hears_how_it_goes() {
    let place = Place::new();
    let path = place.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "100000")];
    let served = place.serve(&[], &variables);

    assert_eq!(hear(&socket), "STATUS=Opening the store");
    let ready =
        format!("READY=1\nSTATUS=Listening: gRPC {}, HTTP {}, admin {}", served.grpc, served.http, served.admin);
    assert_eq!(hear(&socket), ready);
    assert_eq!([hear(&socket), hear(&socket)], ["WATCHDOG=1", "WATCHDOG=1"]);

    // Without certificates there is nothing to read again, but who is told to reload is told that it was done.
    served.program.signal(Signal::HUP);
    let word = hear_news(&socket);
    let micros = word.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{word}"));
    assert!(micros.parse::<u64>().unwrap() > 0);
    assert_eq!(hear_news(&socket), "READY=1");

    served.program.signal(Signal::TERM);
    assert_eq!(hear_news(&socket), "STOPPING=1\nSTATUS=Finishing the calls under way");
    assert_eq!(served.program.end().code, 0);
}

#[test]
fn the_socket_may_have_a_name_and_no_path_and_the_watchdog_may_be_for_another() {
    let place = Place::new();
    let name = format!("verigate-test-{}-{}", std::process::id(), place.path(".").display());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let at = format!("@{name}");
    let served = place.serve(&[], &[("NOTIFY_SOCKET", &at), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")]);
    assert_eq!(hear(&socket), "STATUS=Opening the store");
    assert!(hear(&socket).starts_with("READY=1\n"));
    served.program.signal(Signal::TERM);
    assert!(hear(&socket).starts_with("STOPPING=1\n"), "no sign of life is for us to give");
}

#[test]
fn a_supervisor_that_cannot_be_told_stops_nothing() {
    let place = Place::new();
    for socket in ["/nowhere/at/all", "nowhere", "@"] {
        let served = place.serve(&[], &[("NOTIFY_SOCKET", socket)]);
        served.program.signal(Signal::TERM);
        let ended = served.program.end();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stderr.contains("NOTIFY_SOCKET cannot be used") || socket == "@", "{ended:?}");
    }
}
