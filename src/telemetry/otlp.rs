//! Export of traces and metrics by the OpenTelemetry protocol (OTLP), in protobuf over HTTP/1.1.
//!
//! That is the protocol's default, and needs nothing that calls of vendors do not need. The SDK of OpenTelemetry is left
//! out on purpose: with it, whatever any library of ours says about itself would be exported, URLs of vendors among it.

pub mod export;
mod page;
pub mod settings;
mod spans;
mod wire;
