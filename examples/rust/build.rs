//! Makes the stubs from `proto/`. By itself it needs neither protoc nor buf. Where `VERIGATE_DESCRIPTORS` names a file that
//! one of them has made, it takes that: see README.md.

use std::error::Error;
use std::path::Path;

use prost::Message;
use prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../../proto");
    println!("cargo:rerun-if-env-changed=VERIGATE_DESCRIPTORS");
    let descriptors = match std::env::var_os("VERIGATE_DESCRIPTORS") {
        Some(file) => {
            println!("cargo:rerun-if-changed={}", Path::new(&file).display());
            FileDescriptorSet::decode(std::fs::read(file)?.as_slice())?
        }
        None => protox::compile(["verigate/verification/v1/verification_service.proto"], ["../../proto"])?,
    };
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
