//! Verigate: a self-hosted verification and messaging gateway.
//!
//! The house has floors; a module imports only from floors below its own.
//!
//! | floor | modules | may know |
//! |---|---|---|
//! | 9 | `main` · `cli` | `server bench config console keeping telemetry auth proto`, words |
//! | 8 | `server` | every concrete type: build, bind, run, drain |
//! | 8 | `bench` | the store port, `proto`, words; never `server` |
//! | 7 | `config` · `grpc` · `rest` · `receipts` · `console` | services, `auth status proto`, words; no concrete store or vendor |
//! | 6 | `verification` · `contacts` · `feed` | messaging, webhook, event, store port, words |
//! | 5 | `messaging` · `webhook` | vendor port, event, store port, words |
//! | 4 | `vendor` · `guard` · `event` · `auth` · `keeping` · `nodes` | store port, words |
//! | 3 | `store` | words |
//! | 1–2 | `error clock http_client random id network number_type page page_token recipient segment shedding status proto telemetry` | nothing of ours, or each other downwards |
//!
//! Invariants, checked by `tests/it/architecture.rs`:
//! 1. `verification`, `contacts`, `messaging`, `guard` and `event` name no tonic, prost, axum, reqwest, sled or redis type.
//! 2. Nothing outside `store/` parses a key; nothing outside its own file spells a vendor's name.
//! 3. `verification.rs`, `judging.rs`, `message.rs`, `callback.rs`, `segment.rs`, `route.rs`, `policy.rs`, `code.rs`, what
//!    limits calls of vendors (`breaker.rs`, `budget.rs`, `rate.rs`, `backoff.rs`, `rounds.rs`, `health.rs`), what a contact
//!    may be (`table.rs`, `column.rs`, `row.rs`, `cell.rs`, `filter.rs`), what the guard counts by (`gcra.rs`, `conversion.rs`,
//!    `block.rs`, `tally.rs`, `changes.rs`, `standing.rs`, `sequence.rs`, `area.rs`, `price.rs`), and who may call (`roster.rs`, `scope.rs`,
//!    `act.rs`, `key.rs`, `changes.rs`), are synchronous and take `now`.
//! 4. A `mod.rs` is a port (imports none of its children) or an assembler (no child imports it), never both;
//!    this file re-exports nothing.
//! 5. Wire types are separate from domain types; conversions are `parse_*` in and `to_*` out.
//! 6. Each module owns its `Config`; `config` composes them; nothing below imports it.
//! 7. The clock and randomness are passed in; `.clippy.toml` bans them elsewhere.

// Floors 1 and 2: words.
pub mod clock;
pub mod error;
pub mod http_client;
pub mod id;
pub mod network;
pub mod number_type;
pub mod page;
pub mod page_token;
pub mod proto;
pub mod random;
pub mod recipient;
pub mod segment;
pub mod shedding;
pub mod status;
pub mod telemetry;
pub mod tenant;
pub mod violations;

// Floor 3: where state is kept.
pub mod store;

// Floor 4: the outside world, what happened, and who may call.
pub mod auth;

pub mod event;
pub mod guard;
pub mod keeping;
pub mod nodes;
pub mod vendor;

// Floor 5: messages, and calls to those who want to hear of them.
pub mod messaging;
pub mod webhook;

// Floor 6: verifications, contacts, and who is told of what happened.
pub mod contacts;
pub mod feed;
pub mod verification;

// Floor 7: the surfaces and the configuration.
pub mod config;
pub mod console;
pub mod grpc;
pub mod receipts;
pub mod rest;

// Floor 8: the whole, and how fast it is.
pub mod bench;
pub mod server;
