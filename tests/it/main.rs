//! The one integration test binary.
#![cfg(test)] // lets helpers unwrap, as tests may

mod support;
/// The same functions that the fuzzer runs.
#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

mod access;
mod admin;
mod architecture;
mod attacks;
mod bad_input;
mod bench;
mod callbacks;
mod chain;
mod cli;
mod clients;
mod config;
mod console;
mod console_inbox;
mod contacts;
mod data_care;
mod deadlines;
mod deploy;
mod dialects;
mod docs;
mod events;
mod faults;
mod feedback;
mod fuzz_corpus;
mod guard;
mod idempotency;
mod interruptions;
mod kill;
mod lists_and_watches;
mod native_json;
mod nodes;
mod outbox;
mod proto;
mod queues;
mod readme;
mod receipts;
mod redis;
mod routes;
mod security;
mod soak;
mod store;
mod telemetry;
mod templates;
mod transitions;
mod transport;
mod vendor_codes;
mod vendor_faults;
mod vendor_inbox;
mod vendor_limits;
mod vendors;
mod verification_rules;
mod verify;
mod webhook;
mod workflows;
