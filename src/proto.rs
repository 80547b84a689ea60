//! The wire types of the gRPC contract, generated from `proto/` at build time, and the contract itself as a descriptor.
//!
//! Knows no rule: what a field may hold is decided where requests are parsed.

pub mod codec;

macro_rules! generated {
    ($package:literal) => {
        tonic::include_proto!($package);
        // `Debug` without the secrets, for messages that carry any.
        include!(concat!(env!("OUT_DIR"), "/", $package, ".debug.rs"));
    };
}

pub mod admin {
    pub mod v1 {
        generated!("verigate.admin.v1");
    }
}

pub mod contacts {
    pub mod v1 {
        generated!("verigate.contacts.v1");
    }
}

pub mod error {
    pub mod v1 {
        generated!("verigate.error.v1");
    }
}

pub mod event {
    pub mod v1 {
        generated!("verigate.event.v1");
    }
}

pub mod messaging {
    pub mod v1 {
        generated!("verigate.messaging.v1");
    }
}

pub mod verification {
    pub mod v1 {
        generated!("verigate.verification.v1");
    }
}

/// The whole contract with its comments, and the well-known types that it imports, as an encoded
/// `google.protobuf.FileDescriptorSet`: what reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));
