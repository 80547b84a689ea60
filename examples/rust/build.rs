//! Makes the stubs from `proto/`. By itself it needs neither protoc nor buf. Where `VERIGATE_DESCRIPTORS` names a file that
//! one of them has made, it takes that: see README.md.

use std::error::Error;
use std::path::Path;

use prost::Message;
use prost_types::FileDescriptorSet;

/// What the program calls, and what these refer to.
const SERVICES: [&str; 2] =
    ["verigate/verification/v1/verification_service.proto", "verigate/messaging/v1/messaging_service.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../../proto");
    println!("cargo:rerun-if-env-changed=VERIGATE_DESCRIPTORS");
    let descriptors = match std::env::var_os("VERIGATE_DESCRIPTORS") {
        Some(file) => {
            println!("cargo:rerun-if-changed={}", Path::new(&file).display());
            FileDescriptorSet::decode(std::fs::read(file)?.as_slice())?
        }
        None => protox::compile(SERVICES, ["../../proto"])?,
    };
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
