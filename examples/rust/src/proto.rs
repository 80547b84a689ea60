//! The generated stubs: a module for each package of the contract, nested as their names are.
#![allow(clippy::all, dead_code, reason = "generated, and more than one program calls")]

pub mod error {
    pub mod v1 {
        tonic::include_proto!("verigate.error.v1");
    }
}

pub mod messaging {
    pub mod v1 {
        tonic::include_proto!("verigate.messaging.v1");
    }
}

pub mod verification {
    pub mod v1 {
        tonic::include_proto!("verigate.verification.v1");
    }
}
