//! What a process has that a test does not share with others: signals, open files and memory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::cli::program::Place;
use crate::support::authority::Authority;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The answer to a call that needs nothing, or nothing when there is none.
fn get(address: SocketAddr) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        drop(stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        drop(stream.read_to_string(&mut answer));
    }
    answer
}

fn until_served(address: SocketAddr) {
    while !get(address).starts_with("HTTP/1.1 ") {
        std::thread::yield_now();
    }
}

/// Bytes of memory that a process has, by `/proc/PID/status`.
fn memory(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_hang_up_has_certificates_read_again_and_ends_nothing() {
    let place = Place::new();
    let authority = Authority::new();
    let folder = place.path(".");
    let (certificate, key) = authority.certify().write(&folder);
    let variables = [
        ("VERIGATE__SERVER__TLS__HTTP__CERTIFICATE_FILE", certificate.to_str().unwrap()),
        ("VERIGATE__SERVER__TLS__HTTP__KEY_FILE", key.to_str().unwrap()),
    ];
    let mut served = place.serve(&[], &variables);
    authority.certify().write(&folder);
    served.program.signal(Signal::HUP);
    let line = served.program.wait_for("new certificates are in use for new connections");
    assert_eq!(line["listener"], "http");
    assert!(get(served.admin).starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn who_has_no_more_open_files_goes_on_when_there_are_some() {
    let place = Place::new();
    let mut served = place.serve(&[], &[]);
    let few = Rlimit { current: Some(60), maximum: Some(60) };
    prlimit(Some(served.program.pid()), Resource::Nofile, few).unwrap();
    let held: Vec<_> = (0..100).map(|_| TcpStream::connect(served.http).unwrap()).collect();
    let full = "connections cannot be taken: Too many open files (os error 24); not told again within a minute";
    served.program.wait_for(full);
    drop(held);
    until_served(served.http);
    until_served(served.admin);
}

#[test]
fn those_who_send_and_send_take_little_memory() {
    let place = Place::new();
    let served = place.serve(&[], &[]);
    let address: SocketAddr = served.grpc.parse().unwrap();
    until_served(served.admin);
    let before = memory(served.program.pid());
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let literal = |name: &str, value: &str| [vec![0], text(name), text(value)].concat();
    let headers = [
        vec![0x83, 0x86],
        literal(":path", "/verigate.verification.v1.VerificationService/StartVerification"),
        literal(":authority", "localhost"),
        literal("content-type", "application/grpc"),
        literal("te", "trailers"),
        literal("authorization", "Bearer dev.dev-secret"),
    ]
    .concat();
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[length[1], length[2], length[3], kind, flags], &stream.to_be_bytes()[..], payload].concat()
    };
    // Each begins calls until it may begin no more, and sends of each as much as it may, but never all.
    let boast = [&[0_u8, 0, 0x0f, 0xff, 0xff], &[0; 8_000][..]].concat();
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).unwrap();
        drop(stream.write_all(PREFACE));
        for call in 0..30 {
            drop(stream.write_all(&frame(1, 4, 1 + 2 * call, &headers)));
            drop(stream.write_all(&frame(0, 0, 1 + 2 * call, &boast)));
        }
        held.push(stream);
    }
    until_served(served.admin);
    let grown = memory(served.program.pid()).saturating_sub(before);
    // 100 connections with at most 256 KiB on their way, and as much again for all that is kept of 3000 calls.
    assert!(grown < 100 << 20, "{grown}");
    drop(held);
    until_served(served.admin);
}
